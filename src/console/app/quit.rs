//! Leaving: who watches then, and leaving a supervisor behind.

use super::{App, Overlay, Page, Pending};
use crate::console::msg::{Effect, Msg};
use crate::console::widgets::dialog::{Consequence, Dialog};
use crate::services::behind::Left;
use crate::services::handle::Trouble;
use crate::services::text::one_line;

/// The token under which a supervisor is being left behind: no wish has it.
const LEAVING: u64 = u64::MAX;

impl App {
    pub(super) fn quit(&mut self, effects: &mut Vec<Effect>) {
        if self.page != Page::Home {
            return self.go_home();
        }
        if self.pending.contains_key(&LEAVING) {
            return;
        }
        let mut lines = self.broken_off();
        if let Some(words) = self.opening.farewell.clone() {
            lines.push(words);
            return self.ask_to_leave(lines, None);
        }
        if !self.anybody_works() {
            return if lines.is_empty() { self.leave(effects) } else { self.ask_to_leave(lines, None) };
        }
        let facts = &self.snapshot.facts;
        lines.push("The agents go on working.".to_owned());
        let also = match &facts.supervisor {
            Some(holder) if !holder.ours && holder.behind => {
                lines.push(format!("The supervisor left behind (process {}) watches on.", holder.pid));
                None
            }
            Some(holder) if !holder.ours => {
                lines.push(format!("Process {} supervises, and watches on.", holder.pid));
                None
            }
            _ => {
                // Whether another console of this home waits for its turn is not known here.
                lines.push("Nobody watches them then, unless another metawsm is open: it takes over.".to_owned());
                lines.push(if facts.keeper {
                    "A supervisor left behind watches without a screen, until no run is left that needs it.".to_owned()
                } else {
                    "None can be left behind: tmux.socket is \"default\", and that server has no keeper session."
                        .to_owned()
                });
                facts.keeper.then_some("leave a supervisor")
            }
        };
        self.ask_to_leave(lines, also);
    }

    /// What leaving would end before it is done.
    fn broken_off(&self) -> Vec<String> {
        let under_way = self.pending.values().filter(|pending| pending.broken_off);
        let mut lines: Vec<String> = under_way.map(|pending| format!("Not done yet: {}.", pending.words)).collect();
        if !lines.is_empty() {
            lines.push("Leaving breaks it off.".to_owned());
        }
        lines
    }

    /// What is to be said on the terminal once the screen is left: also of what was wished and, as has come in since, was
    /// not done.
    pub fn parting(&mut self, last: impl Iterator<Item = Msg>) -> String {
        let mut text = self.parting.take().unwrap_or_default();
        for msg in last {
            if let Msg::Done(token, done) = msg
                && let (Some(pending), Err(trouble)) = (self.pending.remove(&token), done)
            {
                let why = super::update::words(&trouble);
                text.push_str(&one_line(&format!("Not done: {}: {why}", pending.words)));
                text.push('\n');
            }
        }
        text
    }

    fn ask_to_leave(&mut self, lines: Vec<String>, also: Option<&'static str>) {
        let yes = if also.is_some() { "just leave" } else { "leave" };
        let dialog = Dialog { no: "stay", also, ..Dialog::new("Leave metawsm?", lines, yes, Consequence::Quit) };
        self.overlay = Some(Overlay::Dialog(dialog));
    }

    /// The supervision is given to a process without a screen; one leaves when that has it.
    pub(super) fn leave_behind(&mut self, effects: &mut Vec<Effect>) {
        self.overlay = None;
        self.keep_draft(effects);
        let words = "leaving a supervisor behind".to_owned();
        self.pending.insert(LEAVING, Pending { words, since: self.time.up, broken_off: false });
        effects.push(Effect::LeaveBehind);
    }

    pub(super) fn left_behind(&mut self, done: Result<Left, Trouble>, effects: &mut Vec<Effect>) {
        self.pending.remove(&LEAVING);
        match done {
            Ok(left) => {
                self.parting = Some(format!(
                    "A supervisor watches on (process {}) until no run is left that needs it. It ends before with: kill {0}\n\
                     What it sees is in {}\n",
                    left.pid,
                    left.log.display()
                ));
                self.leave(effects);
            }
            Err(trouble) => {
                let trouble = Trouble { message: format!("none was left behind: {}", trouble.message), ..trouble };
                self.complain(super::update::words(&trouble));
                effects.push(Effect::Supervise);
            }
        }
    }
}

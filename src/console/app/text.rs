//! Writing: opening a form, sending it, keeping it.

use super::act::session_line;
use super::update::words;
use super::{App, Overlay, Page, Pending};
use crate::console::msg::Effect;
use crate::console::widgets::composer::{Composer, Purpose};
use crate::console::widgets::dialog::{Consequence, Dialog};
use crate::console::widgets::list::Scroll;
use crate::domain::thread::LONGEST_TITLE;
use crate::services::handle::{Trouble, Wish};

impl App {
    /// Opens a form; a draft of it is fetched.
    pub(super) fn compose(&mut self, purpose: Purpose, first: &str, effects: &mut Vec<Effect>) {
        self.keep_draft(effects);
        let token = self.token();
        effects.push(Effect::LoadDraft(token, purpose.draft()));
        let mut composer = Composer::new(purpose, first);
        composer.fetching = Some(token);
        self.composer = Some(composer);
    }

    /// Opens a thread, its end in view.
    pub(super) fn open_thread(&mut self, thread_id: &str) {
        self.page = Page::Thread(thread_id.to_owned());
        self.scroll = Scroll::end();
    }

    /// Opens the reply to a thread.
    pub(super) fn reply(&mut self, effects: &mut Vec<Effect>) {
        let Some(thread_id) = self.reply_target() else { return };
        let row = self.snapshot.thread_row(&thread_id);
        let waits = row.is_some_and(|row| row.waits());
        let who = row.map(|row| row.speaker().to_owned());
        let answers = who.filter(|_| waits);
        self.open_thread(&thread_id);
        self.compose(Purpose::Reply { thread_id, answers }, "", effects);
    }

    /// Somebody may have answered meanwhile, or asked anew: a reply is what its thread needs when it is sent.
    pub(super) fn follow_thread(&mut self) {
        let Some(composer) = self.composer.as_mut().filter(|composer| composer.sending.is_none()) else { return };
        let Purpose::Reply { thread_id, answers } = &mut composer.purpose else { return };
        let page = self.snapshot.thread.as_ref().filter(|page| page.thread.thread_id == *thread_id);
        let Some(waits) = page.map(|page| page.thread.waits_for_human()) else { return };
        match (waits, answers.take()) {
            (true, None) => *answers = self.snapshot.thread_row(thread_id).map(|row| row.speaker().to_owned()),
            (true, known) => *answers = known,
            (false, Some(name)) => {
                self.say(format!("{name}'s question was answered meanwhile: what you send is added to it"));
            }
            (false, None) => {}
        }
    }

    /// The thread that a reply would go to.
    pub(super) fn reply_target(&self) -> Option<String> {
        use super::{Attention, Pane};
        match (&self.page, self.focus) {
            (Page::Thread(thread_id), _) => Some(thread_id.clone()),
            (Page::Run(run_id), _) => self.digest.run_asks.get(run_id).cloned(),
            (Page::Operator, _) => self.entry()?.thread_id().map(str::to_owned),
            (Page::Home, Pane::Forum) => self.thread().map(|row| row.thread_id.clone()),
            (Page::Home, Pane::Attention) => match self.item()? {
                Attention::Escalation(row) => row.thread_id.clone(),
                Attention::Suggestion(_) => None,
            },
            (Page::Home, Pane::Agents | Pane::Live) => self.digest.asks.get(&self.agent()?.key).cloned(),
            (Page::Home, Pane::Runs) => self.digest.run_asks.get(&self.run()?.run_id).cloned(),
        }
    }

    /// Sends what was written; the form keeps it until it was taken.
    pub(super) fn send(&mut self, effects: &mut Vec<Effect>) {
        let Some(composer) = &self.composer else { return };
        if composer.sending.is_some() {
            return;
        }
        let ask = composer.purpose == Purpose::Ask;
        let last = composer.text(if ask { 2 } else { 0 });
        if ask && composer.text(1).chars().count() > LONGEST_TITLE {
            return self.say(format!("a title has at most {LONGEST_TITLE} characters"));
        }
        if last.trim().is_empty() {
            return self.say(if ask {
                "there is no question yet: tab goes to the body"
            } else {
                "there is nothing to send yet"
            });
        }
        let wish = match &composer.purpose {
            Purpose::Reply { thread_id, answers } => {
                let answer = answers.is_some();
                Wish::Reply { thread_id: thread_id.clone(), body: last, answer }
            }
            Purpose::Ask => {
                let (ticket, title) = (composer.text(0).trim().to_owned(), composer.text(1).trim().to_owned());
                if ticket.is_empty() || title.is_empty() {
                    return self.say("a thread needs a ticket and a title");
                }
                Wish::Ask { ticket, title, body: last }
            }
            Purpose::Iterate(run_id) => return self.iterate(run_id.clone(), last, effects),
            Purpose::Note(ids) => match &ids.clone()[..] {
                [id] if !composer.of_marked => Wish::ResolveEscalation(id.clone(), last),
                ids => return self.ask_resolve(ids, &last),
            },
            Purpose::Type(keys) => match &keys.clone()[..] {
                [key] if !composer.of_marked => Wish::Type { key: key.clone(), text: last },
                keys => return self.ask_type(keys, &last),
            },
        };
        self.send_off(wish, effects);
    }

    /// Feedback ends what the run's agents are at: where any is at work, that is asked first.
    fn iterate(&mut self, run_id: String, feedback: String, effects: &mut Vec<Effect>) {
        let agents = || self.snapshot.agents.iter().filter(|agent| agent.key.run_id == run_id);
        let at_work = agents().any(|agent| agent.status.alive() || agent.starting);
        let hit = agents().filter(|agent| agent.may_live).map(session_line).collect();
        let title = format!("Start the agents of {run_id} again?");
        let wish = Wish::Iterate { run_id, feedback };
        if !at_work {
            return self.send_off(wish, effects);
        }
        let lines = vec!["they start again with your feedback".to_owned()];
        let dialog = Dialog::new(title, lines, "start again", Consequence::Written(wish));
        self.overlay = Some(Overlay::Dialog(Dialog { hit, ..dialog }));
    }

    /// The wish goes out with what was written; the form waits for what comes of it.
    pub(super) fn send_off(&mut self, wish: Wish, effects: &mut Vec<Effect>) {
        let token = self.token();
        // A crash between here and the ledger's word must not lose it.
        self.keep_draft(effects);
        self.pending.insert(token, Pending::of(&wish, self.time.up));
        if let Some(composer) = &mut self.composer {
            composer.sending = Some(token);
        }
        effects.push(Effect::Do(token, wish));
    }

    /// Writes what is being written into its draft.
    pub(super) fn keep_draft(&mut self, effects: &mut Vec<Effect>) {
        if let Some(composer) = &mut self.composer
            && composer.dirty.take().is_some()
        {
            effects.push(Effect::KeepDraft(composer.purpose.draft(), composer.draft()));
        }
    }

    /// Goes on writing in another program; what it leaves comes back here.
    pub(super) fn edit(&mut self, effects: &mut Vec<Effect>) {
        let ready = |composer: &&mut Composer| composer.sending.is_none() && composer.fetching.is_none();
        let Some(composer) = self.composer.as_mut().filter(ready) else { return };
        composer.dirty = None;
        effects.push(Effect::Edit(composer.purpose.draft(), composer.whole()));
    }

    /// The other program is done.
    pub(super) fn edited(&mut self, name: &str, done: Result<String, Trouble>) {
        match done {
            Ok(text) => {
                let up = self.time.up;
                if let Some(composer) = self.composer.as_mut().filter(|composer| composer.purpose.draft() == name) {
                    composer.replace(&text, up);
                }
            }
            Err(trouble) => self.complain(words(&trouble)),
        }
    }

    /// A draft has been fetched. What was typed since it was asked for stays, behind it.
    pub(super) fn drafted(&mut self, token: u64, text: Option<String>) {
        let Some(composer) = self.composer.as_mut().filter(|composer| composer.fetching == Some(token)) else { return };
        composer.fetching = None;
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            composer.restore(&text, self.time.up);
            self.say("your draft is back");
        }
    }
}

//! Since you left: who sits at this console, since when he was away, and what is told to him then.

use crossterm::event::KeyEvent;

use super::update::{step_of, words};
use super::{App, Overlay, Page, Pane};
use crate::console::action::Action;
use crate::console::keymap::{Place, find};
use crate::console::msg::Effect;
use crate::console::widgets::list::{List, Scroll};
use crate::domain::agent::AgentKey;
use crate::domain::report::{Line, Restarted};
use crate::domain::time::{Moment, age};
use crate::services::handle::Trouble;
use crate::services::report::{AWAY, Told};
use crate::services::report_words::deeds;

/// So often at most it is noted that somebody is there.
const NOTED_EVERY_SECONDS: u64 = 60;

/// Who sits here.
#[derive(Debug, Default)]
pub struct Seat {
    /// When it was noted last that somebody is there.
    noted: Moment,
    /// When he left the last time.
    pub(super) left: Option<Moment>,
    /// What is still to be told, when nothing is being written or answered any more.
    due: Option<Box<Told>>,
}

impl Seat {
    /// Somebody sits down.
    pub fn taken(now: Moment) -> Self {
        Self { noted: now, ..Self::default() }
    }
}

/// What happened, over the screen.
#[derive(Debug)]
pub struct Panel {
    /// What happened.
    pub told: Box<Told>,
    /// What the operator did and would have done, in words.
    pub deeds: Vec<String>,
    /// Its lines.
    pub list: List<usize>,
}

/// A line of it that leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// What ended, stands still or waits.
    Line(&'a Line),
    /// Who was started again.
    Restarted(&'a Restarted),
    /// What the operator did.
    Deed(&'a str),
}

impl Panel {
    fn new(told: Box<Told>) -> Self {
        let mut panel = Self { deeds: deeds(&told.report.operator), list: List::default(), told };
        let count = panel.parts().iter().sum();
        panel.list.refresh(count, |at| at, |_| true);
        panel
    }

    /// How many lines there are of each kind: finished, stuck, restarted, waiting, the operator's.
    pub fn parts(&self) -> [usize; 5] {
        let (told, report) = (&self.told, &self.told.report);
        [report.finished.len(), told.stuck.len(), report.restarted.len(), told.waiting.len(), self.deeds.len()]
    }

    /// The line at a place, and the number of its part.
    pub fn item_at(&self, place: usize) -> Option<(usize, Item<'_>)> {
        let mut place = place;
        let mut part = 0;
        for count in self.parts() {
            if place < count {
                break;
            }
            place -= count;
            part += 1;
        }
        let (told, report) = (&self.told, &self.told.report);
        let item = match part {
            0 => report.finished.get(place).map(Item::Line),
            1 => told.stuck.get(place).map(Item::Line),
            2 => report.restarted.get(place).map(Item::Restarted),
            3 => told.waiting.get(place).map(Item::Line),
            _ => self.deeds.get(place).map(|words| Item::Deed(words)),
        };
        Some((part, item?))
    }
}

impl App {
    /// Somebody has pressed a key, or looks here again.
    pub(super) fn is_there(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let since = now.since(self.seat.noted);
        // A clock that was set back is followed.
        if since.as_secs() < NOTED_EVERY_SECONDS && now >= self.seat.noted {
            return;
        }
        self.seat.noted = now;
        effects.push(if since >= AWAY { Effect::ComeBack } else { Effect::There });
    }

    /// What happened meanwhile has come.
    pub(super) fn told_since(&mut self, told: Result<Option<Box<Told>>, Trouble>) {
        match told {
            Ok(None) => {}
            Ok(Some(told)) => {
                self.seat.left = Some(told.since);
                if told.is_empty() {
                    self.say(format!("nothing happened since you left {} ago", age(told.until.since(told.since))));
                } else {
                    self.seat.due = Some(told);
                }
            }
            Err(trouble) => self.complain(format!("what happened meanwhile cannot be told: {}", words(&trouble))),
        }
    }

    /// It is shown when nothing else has the keys.
    pub(super) fn show_since(&mut self) {
        if self.overlay.is_none() && self.composer.is_none() && !self.filtering {
            let due = self.seat.due.take();
            self.overlay = due.map(|told| Overlay::Since(Panel::new(told)));
        }
    }

    pub(super) fn since_key(&mut self, key: &KeyEvent) {
        let Some(Overlay::Since(panel)) = &mut self.overlay else { return };
        let action = find(Place::Since, key).map(|row| row.action);
        if let Some(step) = action.and_then(step_of) {
            return step.select(&mut panel.list, |at| at);
        }
        let chosen = panel.list.place().filter(|_| action == Some(Action::Take));
        let Some(Overlay::Since(panel)) = self.overlay.take() else { return };
        match chosen.and_then(|place| panel.item_at(place)).map(|(_, item)| item) {
            Some(Item::Line(line)) => self.go_to(line),
            Some(Item::Deed(_)) => self.open_operator(None),
            Some(Item::Restarted(one)) => self.go_to_agent(&AgentKey::new(&one.run_id, &one.workspace, &one.agent)),
            None => {}
        }
    }

    /// To what a line is about.
    fn go_to(&mut self, line: &Line) {
        let letter = line.id.as_ref().and_then(|id| {
            let call = self.snapshot.escalations.iter().find(|call| call.id == *id)?;
            call.letter
        });
        let agent = match (&line.run_id, &line.workspace, &line.agent) {
            (Some(run), Some(workspace), Some(name)) => Some(AgentKey::new(run, workspace, name)),
            (_, _, _) => None,
        };
        match (letter, &line.thread_id, agent, &line.run_id) {
            (Some(letter), _, _, _) => self.open_operator(Some(letter)),
            (None, Some(thread_id), _, _) => {
                self.look_at(Pane::Forum);
                self.open_thread(thread_id);
            }
            (None, None, Some(key), _) => self.go_to_agent(&key),
            (None, None, None, Some(run_id)) => {
                self.look_at(Pane::Runs);
                self.select_run(run_id);
                self.page = Page::Run(run_id.clone());
                self.scroll = Scroll::top();
            }
            (None, None, None, None) => self.look_at(Pane::Attention),
        }
    }

    fn go_to_agent(&mut self, key: &AgentKey) {
        // Over a run's page the agents would be those of that run.
        self.look_at(Pane::Agents);
        self.select_agent(key);
    }
}

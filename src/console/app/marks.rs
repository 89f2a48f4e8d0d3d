//! Rows that are marked, and what is done to all of them at once: asked once, naming exactly what is hit, and who of the
//! marked is left out because it makes no sense for him.

use std::collections::{BTreeMap, BTreeSet};

use super::pick::About;
use super::{App, Attention, Overlay, Page, Pane};
use crate::console::action::Action;
use crate::console::widgets::dialog::{Consequence, Dialog};
use crate::domain::agent::AgentKey;
use crate::domain::thread::ThreadState;
use crate::services::handle::{Change, Named, Wish};
use crate::services::snapshot::{AgentRow, RunRow, Snapshot, ThreadRow};
use crate::services::text::{cut, one_line};

mod judge;

use judge::{
    Judged, Words, change_thread, hold_agent, judge_item, pause_run, reason_of, release_agent, restart_agent,
    resume_run, stop_agent, stop_run, type_to,
};

/// So many names stand in a line, the others are counted.
const NAMES: usize = 6;
/// A thread's title, or why a human is called, in a line about something else.
const TITLE: usize = 40;

/// A row that is marked: the item, not its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Marked {
    /// A run.
    Run(String),
    /// An agent.
    Agent(AgentKey),
    /// An escalation or a suggestion.
    Item(String),
    /// A thread.
    Thread(String),
}

impl Marked {
    const fn pane(&self) -> Pane {
        match self {
            Self::Run(_) => Pane::Runs,
            Self::Agent(_) => Pane::Agents,
            Self::Item(_) => Pane::Attention,
            Self::Thread(_) => Pane::Forum,
        }
    }
}

/// What would be done to the marked, and who is left out.
#[derive(Debug, Default)]
pub struct Batch {
    /// What is hit: its name, what happens to it in a line, and the wish.
    hit: Vec<(String, String, Wish)>,
    /// Who is not, and why.
    out: Vec<(String, String)>,
}

impl Batch {
    fn weigh(&mut self, name: String, judged: Judged) {
        match judged {
            Ok((line, wish)) => self.hit.push((name, line, wish)),
            Err(why) => self.out.push((name, why)),
        }
    }

    /// Whether there is anything to be done.
    pub fn any(&self) -> bool {
        !self.hit.is_empty()
    }

    /// Who is left out and why, in a line.
    pub(super) fn left_out(&self) -> Option<String> {
        let names: Vec<String> = self.out.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        (!names.is_empty()).then(|| format!("left out: {}", some_of(&names)))
    }

    /// Whom a line would be typed to.
    pub(super) fn keys(&self) -> Vec<AgentKey> {
        let key = |wish: &Wish| if let Wish::Type { key, .. } = wish { Some(key.clone()) } else { None };
        self.hit.iter().filter_map(|(_, _, wish)| key(wish)).collect()
    }

    /// Which escalations would be resolved.
    pub(super) fn ids(&self) -> Vec<String> {
        let id = |wish: &Wish| if let Wish::ResolveEscalation(id, _) = wish { Some(id.clone()) } else { None };
        self.hit.iter().filter_map(|(_, _, wish)| id(wish)).collect()
    }

    fn wishes(self) -> Wish {
        Wish::All(self.hit.into_iter().map(|(name, _, wish)| Named { name, wish }).collect())
    }
}

/// The first names, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    match names.len().checked_sub(NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES].join(", ")),
    }
}

impl App {
    /// What a place of a pane's list is when it is marked.
    fn markable(&self, pane: Pane, place: usize) -> Option<Marked> {
        match pane {
            Pane::Runs => self.snapshot.runs.get(place).map(|run| Marked::Run(run.run_id.clone())),
            Pane::Agents => self.snapshot.agents.get(place).map(|agent| Marked::Agent(agent.key.clone())),
            Pane::Attention => {
                super::attention_at(&self.snapshot, place).map(|item| Marked::Item(item.id().to_owned()))
            }
            Pane::Forum => self.thread_rows().get(place).map(|row| Marked::Thread(row.thread_id.clone())),
            Pane::Live => None,
        }
    }

    /// Whether the row at this place of a pane's list is marked.
    pub fn is_marked(&self, pane: Pane, place: usize) -> bool {
        !self.marks.is_empty() && self.markable(pane, place).is_some_and(|row| self.marks.contains(&row))
    }

    fn places(&self, pane: Pane) -> &[usize] {
        match pane {
            Pane::Runs => self.runs.places(),
            Pane::Agents => self.agents.places(),
            Pane::Attention => self.attention.places(),
            Pane::Forum => self.thread_list().map_or(&[], |list| list.places()),
            Pane::Live => &[],
        }
    }

    /// How many rows of a pane are marked, and how many of those it does not show now.
    pub fn marked(&self, pane: Pane) -> (usize, usize) {
        let all = self.marks.iter().filter(|row| row.pane() == pane).count();
        if all == 0 {
            return (0, 0);
        }
        let shown = self.places(pane).iter().filter(|place| self.is_marked(pane, **place)).count();
        (all, all.saturating_sub(shown))
    }

    /// Whether a key would mean marked rows, not the selected one.
    pub fn means_marked(&self) -> bool {
        self.page == Page::Home && self.marks.iter().any(|row| row.pane() == self.focus)
    }

    /// Whether a key among threads means the marked ones.
    pub(super) fn marks_threads(&self) -> bool {
        self.focus == Pane::Forum && self.means_marked()
    }

    /// Marks the selected row, or takes its mark away, and goes one down.
    pub(super) fn mark(&mut self) {
        let place = match self.focus {
            Pane::Runs => self.runs.place(),
            Pane::Agents => self.agents.place(),
            Pane::Attention => self.attention.place(),
            Pane::Forum => self.thread_list().and_then(|list| list.place()),
            Pane::Live => None,
        };
        let Some(row) = place.and_then(|place| self.markable(self.focus, place)) else { return };
        if !self.marks.remove(&row) {
            self.marks.insert(row);
        }
        self.navigate(super::lists::Step::By(1));
    }

    /// The marks of the pane in focus go.
    pub(super) fn unmark(&mut self) {
        let focus = self.focus;
        self.marks.retain(|row| row.pane() != focus);
    }

    /// What is not there any more is not marked any more.
    pub(super) fn keep_marks(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let there = Present::of(&snapshot);
        self.marks.retain(|row| match row {
            Marked::Run(id) => snapshot.run(id).is_some(),
            Marked::Agent(key) => there.agents.contains(key),
            Marked::Item(id) => there.items.contains(id.as_str()),
            Marked::Thread(id) => there.threads.contains(id.as_str()),
        });
    }

    /// What an action would do to the marked rows; `None` where it is not one that is done to many, or nothing is marked.
    pub fn batch(&self, action: Action) -> Option<Batch> {
        if !self.means_marked() {
            return None;
        }
        match action {
            Action::Stop if self.focus == Pane::Runs => Some(self.weigh_runs(stop_run)),
            Action::Pause if self.focus == Pane::Runs => Some(self.weigh_runs(pause_run)),
            Action::Resume if self.focus == Pane::Runs => Some(self.weigh_runs(resume_run)),
            Action::Restart => self.weigh_marked_agents(restart_agent),
            Action::Stop => self.weigh_marked_agents(stop_agent),
            Action::Hold => {
                // Who is held already is not in the way of holding the others; where all are, they are released.
                let batch = self.weigh_marked_agents(hold_agent)?;
                if batch.any() { Some(batch) } else { self.weigh_marked_agents(release_agent) }
            }
            Action::Type => self.weigh_marked_agents(type_to("")),
            Action::Accept | Action::Dismiss | Action::Acknowledge | Action::Resolve
                if self.focus == Pane::Attention =>
            {
                Some(self.weigh_items(self.marked_items(), |app, item| judge_item(app, item, action, "")))
            }
            Action::CloseThread if self.focus == Pane::Forum => {
                Some(self.weigh_threads(|row| change_thread(row, Change::Close)))
            }
            Action::ReopenThread if self.focus == Pane::Forum => {
                Some(self.weigh_threads(|row| change_thread(row, Change::Reopen)))
            }
            _ => None,
        }
    }

    fn weigh_runs(&self, judge: impl Fn(&App, &RunRow) -> Judged) -> Batch {
        let mut batch = Batch::default();
        for run in self.snapshot.runs.iter().filter(|run| self.marks.contains(&Marked::Run(run.run_id.clone()))) {
            batch.weigh(run.run_id.clone(), judge(self, run));
        }
        batch
    }

    /// The agents that are marked, or that marked escalations, suggestions and threads are about; and what of those is about
    /// none.
    fn marked_agents(&self) -> (BTreeSet<AgentKey>, Vec<(String, String)>) {
        let (mut keys, mut out) = (BTreeSet::new(), Vec::new());
        let mut add = |key: Option<AgentKey>, name: &str| match key {
            Some(key) => drop(keys.insert(key)),
            None => out.push((cut(&one_line(name), TITLE), "no agent".to_owned())),
        };
        match self.focus {
            Pane::Attention => self.marked_items().for_each(|item| add(item.agent(), reason_of(item))),
            Pane::Forum => {
                self.marked_threads().iter().for_each(|thread| add(thread.agent.clone(), &thread.title));
            }
            Pane::Agents | Pane::Runs | Pane::Live => {
                let agents = self.marks.iter().filter_map(|row| match row {
                    Marked::Agent(key) => Some(key.clone()),
                    Marked::Run(_) | Marked::Item(_) | Marked::Thread(_) => None,
                });
                keys.extend(agents);
            }
        }
        (keys, out)
    }

    fn weigh_marked_agents(&self, judge: impl Fn(&App, &AgentRow) -> Judged) -> Option<Batch> {
        if self.focus == Pane::Runs {
            return None;
        }
        let (keys, out) = self.marked_agents();
        let batch = self.weigh_agents(&keys, judge);
        Some(Batch { out: batch.out.into_iter().chain(out).collect(), ..batch })
    }

    fn weigh_agents(&self, keys: &BTreeSet<AgentKey>, judge: impl Fn(&App, &AgentRow) -> Judged) -> Batch {
        let mut batch = Batch::default();
        let mut namesakes: BTreeMap<&str, usize> = BTreeMap::new();
        keys.iter().for_each(|key| *namesakes.entry(&key.name).or_default() += 1);
        let mut gone: BTreeSet<&AgentKey> = keys.iter().collect();
        for agent in self.snapshot.agents.iter().filter(|agent| keys.contains(&agent.key)) {
            let key = &agent.key;
            gone.remove(key);
            let alone = namesakes.get(key.name.as_str()) == Some(&1);
            batch.weigh(if alone { key.name.clone() } else { key.within_run() }, judge(self, agent));
        }
        gone.into_iter().for_each(|key| batch.weigh(key.name.clone(), Err("gone".to_owned())));
        batch
    }

    fn items(&self) -> impl Iterator<Item = Attention<'_>> {
        let count = self.snapshot.escalations.len() + self.snapshot.suggestions.len();
        (0..count).filter_map(|at| super::attention_at(&self.snapshot, at))
    }

    fn marked_items(&self) -> impl Iterator<Item = Attention<'_>> {
        self.items().filter(|item| self.marks.contains(&Marked::Item(item.id().to_owned())))
    }

    fn weigh_items<'a>(
        &'a self,
        items: impl Iterator<Item = Attention<'a>>,
        judge: impl Fn(&App, Attention<'_>) -> Judged,
    ) -> Batch {
        let mut batch = Batch::default();
        items.for_each(|item| batch.weigh(cut(&one_line(reason_of(item)), TITLE), judge(self, item)));
        batch
    }

    fn weigh_threads(&self, judge: impl Fn(&ThreadRow) -> Judged) -> Batch {
        let mut batch = Batch::default();
        for row in self.marked_threads() {
            batch.weigh(cut(&one_line(&row.title), TITLE), judge(row));
        }
        batch
    }

    fn marked_threads(&self) -> Vec<&ThreadRow> {
        let ids = self.marks.iter().filter_map(|row| match row {
            Marked::Thread(id) => self.snapshot.thread_row(id),
            Marked::Run(_) | Marked::Agent(_) | Marked::Item(_) => None,
        });
        ids.collect()
    }

    /// What a menu that was opened on one thread of several marked ones would do to all of them.
    pub(super) fn change_of_marked(&self, change: &Change) -> Batch {
        self.weigh_threads(|row| change_thread(row, change.clone()))
    }

    /// A thread that stands for the marked ones in a menu: what it may become, so may at least one of them.
    pub(super) fn marked_thread(&self) -> Option<(About, usize)> {
        if !self.marks_threads() {
            return None;
        }
        let rows = self.marked_threads();
        let open = rows.iter().find(|row| row.state != ThreadState::Closed)?;
        let mut about = super::pick::about(open);
        (about.assignee, about.agent) = (None, None);
        Some((about, rows.len()))
    }

    /// Asks once for all that are marked; says so where there is nothing to be done.
    pub(super) fn ask_many(&mut self, action: Action, batch: Batch) {
        let releases = batch.hit.iter().any(|(_, _, wish)| matches!(wish, Wish::Release(_)));
        let words = if releases { judge::RELEASE } else { Words::of(action, self.focus == Pane::Runs) };
        if !batch.any() {
            let why = batch.left_out().unwrap_or_default();
            return self.say(format!("{}: none of the marked; {why}", words.yes));
        }
        self.ask_batch(words, batch, words.after);
    }

    /// Asks for a change of all marked threads.
    pub(super) fn ask_change(&mut self, change: &Change) {
        let batch = self.change_of_marked(change);
        let verb = match change {
            Change::Close => "Close",
            Change::Reopen => "Reopen",
            Change::State(_) | Change::Priority(_) | Change::Assignee(..) => "Change",
        };
        let yes = if *change == Change::Close { "close them" } else { "change them" };
        let words = Words { verb, yes, noun: "thread", after: None };
        if !batch.any() {
            let why = batch.left_out().unwrap_or_default();
            return self.say(format!("none of the marked threads; {why}"));
        }
        self.ask_batch(words, batch, None);
    }

    fn ask_batch(&mut self, words: Words, batch: Batch, after: Option<&str>) {
        let title = match &batch.hit[..] {
            [(name, ..)] => format!("{} {name}?", words.verb),
            hit => format!("{} {} {}s?", words.verb, hit.len(), words.noun),
        };
        let lines = after.map(str::to_owned).into_iter().chain(batch.left_out()).collect();
        let hit = batch.hit.iter().map(|(_, line, _)| line.clone()).collect();
        let then = Consequence::Marked(batch.wishes());
        self.overlay = Some(Overlay::Dialog(Dialog { hit, ..Dialog::new(title, lines, words.yes, then) }));
    }

    /// Asks whether this line is to go to all of these.
    pub(super) fn ask_type(&mut self, keys: &[AgentKey], text: &str) {
        let batch = self.weigh_agents(&keys.iter().cloned().collect(), type_to(text));
        self.ask_written(Action::Type, batch);
    }

    /// Asks whether all of these are to be resolved with this note.
    pub(super) fn ask_resolve(&mut self, ids: &[String], note: &str) {
        let wanted = self.items().filter(|item| ids.iter().any(|known| known == item.id()));
        let batch = self.weigh_items(wanted, |app, item| judge_item(app, item, Action::Resolve, note));
        self.ask_written(Action::Resolve, batch);
    }

    fn ask_written(&mut self, action: Action, batch: Batch) {
        if !batch.any() {
            return self.complain(format!("nothing was sent; {}", batch.left_out().unwrap_or_default()));
        }
        self.ask_batch(Words::of(action, false), batch, None);
    }
}

/// What there is, so that marks are kept without going through lists for each.
struct Present<'a> {
    agents: BTreeSet<&'a AgentKey>,
    items: BTreeSet<&'a str>,
    threads: BTreeSet<&'a str>,
}

impl<'a> Present<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let found = snapshot.found.iter().flat_map(|found| &found.queue.rows);
        let tabs = crate::services::snapshot::Tab::ALL;
        let threads = tabs.iter().flat_map(|tab| &snapshot.queues.of(*tab).rows).chain(found);
        let escalations = snapshot.escalations.iter().map(|row| row.id.as_str());
        Self {
            agents: snapshot.agents.iter().map(|agent| &agent.key).collect(),
            items: escalations.chain(snapshot.suggestions.iter().map(|row| row.id.as_str())).collect(),
            threads: threads.map(|row| row.thread_id.as_str()).collect(),
        }
    }
}

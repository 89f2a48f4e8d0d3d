//! What the screen knows, and how it changes: keys become actions, actions become effects. Pure: no clock, no
//! file, no thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::action::Pane;
use super::keymap::Place;
use super::msg::{Effect, Msg, Time};
use super::theme::Theme;
use super::widgets::composer::Composer;
use super::widgets::dialog::Dialog;
use super::widgets::list::{List, Scroll};
use super::widgets::picker::Picker;
use super::widgets::terminal::Emulated;
use crate::domain::agent::AgentKey;
use crate::domain::policy::{OperatorMode, RuleMode};
use crate::domain::time::Moment;
use crate::services::explain::Explanation;
use crate::services::handle::Wish;
use crate::services::live::Target;
use crate::services::operator::Conduct;
use crate::services::snapshot::{AgentRow, Asked, RunPage, RunRow, Snapshot, Tab, ThreadPage, ThreadRow, Want};

mod act;
mod digest;
mod lists;
mod marks;
pub mod operator;
mod pick;
pub mod query;
mod quit;
mod sense;
pub mod since;
mod text;
mod update;

pub use lists::{Attention, attention_at};
pub use marks::Marked;

/// Ages are redrawn together, so often at most.
const AGES_EVERY: Duration = Duration::from_secs(5);
/// What went well is said for so long.
const TOLD_FOR: Duration = Duration::from_secs(4);
/// An action that takes longer has something in its way.
const SLOW: Duration = Duration::from_secs(3);
/// A second Ctrl-C within this leaves at once.
const TWICE_WITHIN: Duration = Duration::from_secs(2);
/// A question is read for at least so long: a `y` that comes sooner was not meant for it.
pub const READ_FOR: Duration = Duration::from_millis(400);
/// So many messages are remembered.
const REMEMBERED: usize = 50;
/// A console that is open for so long has asked for the lease, and has seen who holds it.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// Without word from the database for so long, something holds it.
const SILENT_FOR: Duration = Duration::from_secs(6);

/// Which screen is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The five panes.
    Home,
    /// A run.
    Run(String),
    /// A thread.
    Thread(String),
    /// The operator.
    Operator,
}

/// How the home screen is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All five panes.
    Wide,
    /// Two columns; the live pane in place of the right one.
    Medium,
    /// One pane at a time.
    Narrow,
    /// There is no room.
    Tiny,
}

impl Layout {
    /// The layout for a size.
    pub const fn of((width, height): (u16, u16)) -> Self {
        match (width, height) {
            (..40, _) | (_, ..10) => Self::Tiny,
            (120.., 30..) => Self::Wide,
            (80.., 24..) => Self::Medium,
            (_, _) => Self::Narrow,
        }
    }
}

/// Something said about an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// The words.
    pub text: String,
    /// An error stays until it is dismissed.
    pub error: bool,
    /// Something that was wished for has been done; else it is only said.
    pub done: bool,
    /// When it goes by itself.
    pub until: Option<Duration>,
}

/// Something that was said, for those who look later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub at: Moment,
    /// The words.
    pub text: String,
    /// Whether something went wrong.
    pub error: bool,
}

/// An action under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What is being done.
    pub words: String,
    /// Since when.
    pub since: Duration,
    /// Leaving ends it where it stands.
    pub broken_off: bool,
}

impl Pending {
    fn of(wish: &Wish, since: Duration) -> Self {
        Self { words: act::under_way(wish), since, broken_off: wish.is_broken_off() }
    }
}

/// What lies over the screen.
#[derive(Debug)]
pub enum Overlay {
    /// The keys.
    Help(Place, Scroll),
    /// What was said.
    Messages(Scroll),
    /// Why something stands as it does, once that has come.
    Explained(u64, Option<Box<Explanation>>, Scroll),
    /// A question.
    Dialog(Dialog),
    /// A choice.
    Picker(Picker),
    /// What happened since one left.
    Since(since::Panel),
}

/// What a console is opened with.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The home's name in the header.
    pub title: String,
    /// Lines for a newcomer.
    pub guide: Vec<String>,
    /// The run to begin at.
    pub run_id: Option<String>,
    /// What this process was told about the operator.
    pub conduct: Conduct,
    /// What leaving means, instead of the usual words.
    pub farewell: Option<String>,
}

/// What the screen knows.
#[derive(Debug)]
pub struct App {
    /// How it looks.
    pub theme: Theme,
    /// What it was opened with.
    pub opening: Opening,
    /// The clocks as the screen shows them: the calendar's moves in steps.
    pub time: Time,
    /// Columns and rows.
    pub size: (u16, u16),
    /// The home.
    pub snapshot: Arc<Snapshot>,
    /// Whether there is a snapshot.
    pub loaded: bool,
    /// The screen.
    pub page: Page,
    /// The pane in focus.
    pub focus: Pane,
    /// The runs.
    pub runs: List<String>,
    /// The agents.
    pub agents: List<AgentKey>,
    /// Escalations and suggestions.
    pub attention: List<String>,
    /// The queues.
    pub threads: BTreeMap<Tab, List<String>>,
    /// The queue in view.
    pub tab: Tab,
    /// What was found of what is looked for in the forum.
    pub found: List<String>,
    /// What is looked for in the forum, if anything.
    pub asked: Option<Asked>,
    /// What of it is not understood.
    pub misread: Option<String>,
    /// The rows that are marked.
    pub marks: BTreeSet<Marked>,
    /// Agents of all runs are shown.
    pub all_agents: bool,
    /// The operator's page.
    pub operator: operator::View,
    /// Who sits here, and since when he was away.
    seat: since::Seat,
    /// The page below this one, where that is not the home screen.
    beneath: Option<Page>,
    /// What lists are narrowed to.
    pub filters: BTreeMap<Pane, String>,
    /// The filter of the focused pane is being typed.
    pub filtering: bool,
    /// What is being written.
    pub composer: Option<Composer>,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// What was said about actions, the newest last.
    pub toasts: Vec<Toast>,
    /// What was said lately, in full, the newest last.
    pub said: VecDeque<Said>,
    /// Actions under way.
    pub pending: BTreeMap<u64, Pending>,
    /// The run's page, when it has come.
    pub run_page: Option<Box<RunPage>>,
    /// Where the page is scrolled to.
    pub scroll: Scroll,
    /// Where the live pane is scrolled to.
    pub live_scroll: Scroll,
    /// The agent's screen in view.
    pub screen: Option<(AgentKey, Emulated, bool)>,
    /// Why the database cannot be read.
    pub store_trouble: Option<String>,
    /// What was counted of the snapshot.
    pub digest: digest::Digest,
    /// What is to be said on the terminal once the screen is left.
    parting: Option<String>,
    watched: Option<Target>,
    stirred: Option<Moment>,
    want: Want,
    /// The tab that `want` goes deeper in.
    deep_in: Tab,
    paging: Option<i64>,
    seen: BTreeMap<String, i64>,
    known: Option<BTreeSet<(String, u32)>>,
    title: String,
    tokens: u64,
    interrupted: Option<Duration>,
    /// Since when the question in view can be read.
    questioned: Duration,
    heard: Duration,
    began: Duration,
    aged: Duration,
    pub(super) wrapped: super::screens::thread::Cache,
}

impl App {
    /// A screen that has seen nothing yet.
    pub fn new(theme: Theme, opening: Opening, time: Time, size: (u16, u16)) -> Self {
        let mut runs = List::default();
        if let Some(run_id) = &opening.run_id {
            runs.select(run_id.clone(), |_| String::new());
        }
        Self {
            theme,
            opening,
            time,
            size,
            snapshot: Arc::default(),
            loaded: false,
            page: Page::Home,
            focus: Pane::Runs,
            runs,
            agents: List::default(),
            attention: List::default(),
            threads: Tab::ALL.iter().map(|tab| (*tab, List::default())).collect(),
            tab: Tab::NeedsMe,
            found: List::default(),
            asked: None,
            misread: None,
            marks: BTreeSet::new(),
            all_agents: false,
            operator: operator::View::default(),
            seat: since::Seat::taken(time.now),
            beneath: None,
            filters: BTreeMap::new(),
            filtering: false,
            composer: None,
            overlay: None,
            toasts: Vec::new(),
            said: VecDeque::new(),
            pending: BTreeMap::new(),
            run_page: None,
            scroll: Scroll::top(),
            live_scroll: Scroll::end(),
            screen: None,
            store_trouble: None,
            digest: digest::Digest::default(),
            parting: None,
            watched: None,
            stirred: None,
            want: Want::default(),
            deep_in: Tab::default(),
            paging: None,
            seen: BTreeMap::new(),
            known: None,
            title: String::new(),
            tokens: 0,
            interrupted: None,
            questioned: time.up,
            heard: time.up,
            began: time.up,
            aged: time.up,
            wrapped: super::screens::thread::Cache::default(),
        }
    }

    /// The layout of the home screen.
    pub fn layout(&self) -> Layout {
        Layout::of(self.size)
    }

    /// Where keys are taken now.
    pub fn place(&self) -> Place {
        match (&self.overlay, &self.composer, &self.page) {
            (Some(Overlay::Dialog(_)), _, _) => Place::Dialog,
            (Some(Overlay::Picker(_)), _, _) => Place::Picker,
            (Some(Overlay::Since(_)), _, _) => Place::Since,
            (Some(Overlay::Help(place, _)), _, _) => *place,
            (_, Some(_), _) => Place::Text,
            (_, None, Page::Home) => Place::Home,
            (_, None, Page::Run(_)) => Place::Run,
            (_, None, Page::Thread(_)) => Place::Thread,
            (_, None, Page::Operator) => Place::Operator,
        }
    }

    /// The selected run: that of the page, else of the list.
    pub fn run(&self) -> Option<&RunRow> {
        match &self.page {
            Page::Run(run_id) => self.snapshot.run(run_id),
            Page::Home | Page::Thread(_) | Page::Operator => self.snapshot.runs.get(self.runs.place()?),
        }
    }

    /// The selected agent.
    pub fn agent(&self) -> Option<&AgentRow> {
        self.snapshot.agents.get(self.agents.place()?)
    }

    /// The selected escalation or suggestion.
    pub fn item(&self) -> Option<Attention<'_>> {
        lists::attention_at(&self.snapshot, self.attention.place()?)
    }

    /// The list of threads in view: what was found where something is looked for, else the queue of the tab.
    pub fn thread_list(&self) -> Option<&List<String>> {
        if self.asked.is_some() { Some(&self.found) } else { self.threads.get(&self.tab) }
    }

    /// The rows of that list.
    pub fn thread_rows(&self) -> &[ThreadRow] {
        lists::thread_rows(&self.snapshot, self.asked.is_some(), self.tab)
    }

    /// Whether what is shown was found for what is asked now.
    pub fn answered(&self) -> bool {
        let now = self.asked.as_ref().map(|asked| (self.tab, asked));
        now.is_none_or(|(tab, asked)| {
            self.snapshot.found.as_ref().is_some_and(|found| found.asked.0 == tab && found.asked.1 == *asked)
        })
    }

    /// The selected thread: the open one, else that of the list in view.
    pub fn thread(&self) -> Option<&ThreadRow> {
        match &self.page {
            Page::Thread(thread_id) => self.snapshot.thread_row(thread_id),
            Page::Home | Page::Run(_) | Page::Operator => self.thread_rows().get(self.thread_list()?.place()?),
        }
    }

    /// The open thread, when it has come.
    pub fn thread_page(&self) -> Option<&ThreadPage> {
        let Page::Thread(wanted) = &self.page else { return None };
        self.snapshot.thread.as_ref().filter(|page| page.thread.thread_id == *wanted)
    }

    /// Whether the live pane is on the screen.
    pub fn shows_live(&self) -> bool {
        self.page == Page::Home
            && match self.layout() {
                Layout::Wide => true,
                Layout::Medium | Layout::Narrow => self.focus == Pane::Live,
                Layout::Tiny => false,
            }
    }

    /// Takes something in and says what is to be done.
    pub fn update(&mut self, msg: Msg, time: Time) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take(msg, time, &mut effects);
        self.show_since();
        self.settle(&mut effects);
        effects
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> Duration {
        let toasts = self.toasts.iter().filter_map(|toast| toast.until);
        let draft = self.composer.as_ref().and_then(Composer::draft_due);
        let ages = self.aged + AGES_EVERY;
        let slow = self.pending.values().map(|pending| pending.since + SLOW).filter(|due| *due > self.time.up);
        toasts.chain(draft).chain(slow).chain([ages]).min().unwrap_or(ages)
    }

    /// Says something.
    fn say(&mut self, text: impl Into<String>) {
        self.tell(text.into(), false);
    }

    /// Says that something was done.
    fn report(&mut self, text: impl Into<String>) {
        self.tell(text.into(), true);
    }

    fn tell(&mut self, text: String, done: bool) {
        self.remember(&text, false);
        self.toasts.retain(|toast| toast.error);
        self.toasts.push(Toast { text, error: false, done, until: Some(self.time.up + TOLD_FOR) });
    }

    /// Says what went wrong.
    fn complain(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.remember(&text, true);
        self.toasts.retain(|toast| toast.text != text);
        self.toasts.push(Toast { text, error: true, done: false, until: None });
    }

    fn remember(&mut self, text: &str, error: bool) {
        self.said.push_back(Said { at: self.time.now, text: text.to_owned(), error });
        if self.said.len() > REMEMBERED {
            self.said.pop_front();
        }
    }

    /// Whether a rule that wants a restart does it; else it offers to.
    pub fn rules_restart(&self) -> bool {
        let facts = &self.snapshot.facts;
        // What this process was told holds while it supervises.
        let ours = facts.supervisor.as_ref().is_some_and(|holder| holder.ours);
        let told = self.opening.conduct.mode.filter(|_| ours).map(|mode| mode.word());
        let assists = told.unwrap_or(&facts.operator) == OperatorMode::Assist.word();
        match facts.restart_rule {
            Some(rule) => rule == RuleMode::Act,
            None => !assists,
        }
    }

    /// Whether this console has just begun, and has not yet heard of its own supervision.
    pub fn settling(&self) -> bool {
        self.time.up.saturating_sub(self.began) < SETTLED_AFTER
    }

    /// An action that takes long, in words.
    pub fn held_up(&self) -> Option<&'static str> {
        let slow = |pending: &&Pending| self.time.up.saturating_sub(pending.since) >= SLOW;
        // What may take long by itself may do so without anybody being in its way.
        match self.pending.values().filter(slow).map(|pending| pending.broken_off).min() {
            Some(true) => Some("still at it: tests, hooks and the network take their time"),
            Some(false) => Some("still waiting: the database or the run may be held by another process"),
            None => None,
        }
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}

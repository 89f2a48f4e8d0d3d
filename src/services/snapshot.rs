//! What a screen shows of a home at one moment: plain data, read off the screen's thread.
//!
//! A snapshot holds no clock and nothing that is asked of tmux or git: it is painted at once, whatever their mood.

use std::collections::BTreeSet;

use crate::domain::agent::{AgentKey, AgentStatus, Health, Held, WaitingFor};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::feedback::Feedback;
use crate::domain::plan::Step;
use crate::domain::policy::RuleMode;
use crate::domain::pull_request::PullRequest;
use crate::domain::run::{Brief, RunStatus};
use crate::domain::thread::{Post, Priority, Thread, ThreadState};
use crate::domain::time::Moment;

use super::error::Gate;

mod operator;
mod outbox;
mod page;
mod read;
mod watch;

pub use operator::{Adviser, BudgetRow, LetterRow, Offers, OperatorPage, PostOffice, RuleRow};
pub use outbox::Outbox;
pub use page::run_page;
pub use read::Source;
pub use watch::{Look, Watch};

/// Health not seen for this long is not known.
const SEEN_WITHIN_SECONDS: u64 = 10;

/// What a screen wants to see beyond the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// The open thread.
    pub thread: Option<String>,
    /// Pages of each queue beyond the first.
    pub deeper: usize,
    /// What is looked for in the forum, and in which queue.
    pub asked: Option<(Tab, Asked)>,
    /// The operator's page.
    pub operator: bool,
}

/// What is looked for in the forum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Words that stand in a title or a post; where there are any, all threads are looked through.
    pub text: String,
    /// Only in this state.
    pub state: Option<ThreadState>,
    /// Only of this priority.
    pub priority: Option<Priority>,
    /// Only of this ticket.
    pub ticket: Option<String>,
    /// Only of this run.
    pub run_id: Option<String>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only assigned to this name.
    pub assignee: Option<String>,
}

/// Words of a post around what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The words.
    pub text: String,
    /// What of them was looked for, in bytes.
    pub marks: Vec<std::ops::Range<usize>>,
}

/// What was found in the forum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// What was looked for, and in which queue.
    pub asked: (Tab, Asked),
    /// What fits.
    pub queue: Queue,
    /// How much of the posts can be found yet, in percent; `None` when all of them.
    pub indexed: Option<u8>,
}

/// A home at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The newest place in the journal.
    pub seq: i64,
    /// Runs: those that need a human first, then the unhealthy, then the running, then the rest.
    pub runs: Vec<RunRow>,
    /// The agents of all runs, in the order of their runs.
    pub agents: Vec<AgentRow>,
    /// What waits for a human, and why.
    pub escalations: Vec<EscalationRow>,
    /// What the operator would do.
    pub suggestions: Vec<SuggestionRow>,
    /// The tabs of the forum.
    pub queues: Queues,
    /// How many pages of its lists beyond the first were read.
    pub deeper: usize,
    /// What was found of what is looked for.
    pub found: Option<Found>,
    /// The open thread.
    pub thread: Option<ThreadPage>,
    /// The operator's page, where it is wanted.
    pub operator: Option<OperatorPage>,
    /// What is still to be done outside metawsm.
    pub outbox: Outbox,
    /// Texts for sessions about which something happened lately, the newest first.
    pub deliveries: Vec<DeliveryRow>,
    /// What is true of the home as a whole.
    pub facts: Facts,
}

impl Snapshot {
    /// The run.
    pub fn run(&self, run_id: &str) -> Option<&RunRow> {
        self.runs.iter().find(|run| run.run_id == run_id)
    }

    /// The thread, in whichever list it is.
    pub fn thread_row(&self, thread_id: &str) -> Option<&ThreadRow> {
        let found = self.found.iter().flat_map(|found| &found.queue.rows);
        self.queues.find(thread_id).or_else(|| found.into_iter().find(|row| row.thread_id == thread_id))
    }

    /// The agent.
    pub fn agent(&self, key: &AgentKey) -> Option<&AgentRow> {
        self.agents.iter().find(|agent| agent.key == *key)
    }
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Identity.
    pub run_id: String,
    /// Its tickets.
    pub tickets: Vec<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it stands there.
    pub reason: String,
    /// Stored, not executed.
    pub dry_run: bool,
    /// Steps that are settled, and all.
    pub steps: (usize, usize),
    /// Where its agents stand, and what they wait for.
    pub agents: Vec<(AgentStatus, WaitingFor)>,
    /// Questions that wait for a human.
    pub questions: usize,
    /// When anything of it last changed.
    pub updated_at: Moment,
    /// The newest event about it.
    pub last_seq: i64,
}

impl RunRow {
    /// Whether a human has to do something about it.
    pub fn needs_human(&self) -> bool {
        self.questions > 0 || self.status == RunStatus::AwaitingGuidance
    }

    /// Whether an agent of it is dead, failed or stalled.
    pub fn unhealthy(&self) -> bool {
        self.status == RunStatus::Failed
            || self
                .agents
                .iter()
                .any(|(status, _)| matches!(status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled))
    }
}

/// One agent in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRow {
    /// Identity.
    pub key: AgentKey,
    /// Its ticket.
    pub ticket: String,
    /// Its tmux session.
    pub session: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// What its supervisor last made of its signals.
    pub health: Health,
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// Why it stands there.
    pub reason: String,
    /// Since when it stands there.
    pub since: Moment,
    /// How its program ended, in a word: its status or signal.
    pub exit: Option<String>,
    /// When its screen last changed.
    pub last_output_at: Option<Moment>,
    /// When a supervisor last looked at it.
    pub last_seen_at: Option<Moment>,
    /// When it last made progress.
    pub last_progress_at: Option<Moment>,
    /// Restarts by rule: used, and allowed.
    pub restarts: (u32, u32),
    /// Who has it in hand, so that rules leave it alone.
    pub held: Option<Held>,
    /// When a rule starts it again, or offers to, where that is decided already.
    pub restart_at: Option<Moment>,
    /// No rule starts it again before then.
    pub cooldown_until: Option<Moment>,
    /// Until then it has announced that nothing will be heard of it.
    pub quiet_until: Option<Moment>,
    /// The last launch.
    pub launch: u32,
    /// Whether its program was started and is not known to have ended.
    pub may_live: bool,
    /// A start of it is due.
    pub starting: bool,
}

impl AgentRow {
    /// Its health at `now`: what nobody has looked at for ten seconds is not known.
    pub fn health_at(&self, now: Moment) -> Health {
        let seen = self.last_seen_at.unwrap_or(self.since).max(self.since);
        if self.status.working() && now.since(seen).as_secs() > SEEN_WITHIN_SECONDS {
            return Health::Unknown;
        }
        self.health
    }
}

/// A text on its way into an agent's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The agent.
    pub key: AgentKey,
    /// Where it stands.
    pub state: DeliveryState,
    /// Whether who looks has written it.
    pub ours: bool,
    /// Why it failed.
    pub reason: Option<String>,
    /// The newest event about it.
    pub last_seq: i64,
}

/// A durable item saying that a human is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationRow {
    /// Identity.
    pub id: String,
    /// What it is about.
    pub kind: String,
    /// How bad it is.
    pub severity: String,
    /// Whether a human knows of it.
    pub acknowledged: bool,
    /// Why a human is needed.
    pub reason: String,
    /// Its ticket.
    pub ticket: Option<String>,
    /// Its run.
    pub run_id: Option<String>,
    /// The workspace of its agent.
    pub workspace: Option<String>,
    /// Its agent.
    pub agent: Option<String>,
    /// Its thread.
    pub thread_id: Option<String>,
    /// The letter that was given up.
    pub letter: Option<i64>,
    /// Since when.
    pub opened_at: Moment,
    /// Until when.
    pub due_at: Option<Moment>,
    /// How often it has called again.
    pub notified: u32,
}

impl EscalationRow {
    /// Whether it calls now: nobody has said that he knows of it, or that was long enough ago.
    pub fn calls(&self, now: Moment) -> bool {
        !self.acknowledged || self.due_at.is_some_and(|due| due <= now)
    }
}

/// What the operator proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestionRow {
    /// Identity.
    pub id: String,
    /// What it would do, in words.
    pub offer: String,
    /// Why.
    pub reason: String,
    /// Its ticket.
    pub ticket: Option<String>,
    /// Its run.
    pub run_id: Option<String>,
    /// What it is about, as the rules name it.
    pub target: String,
    /// The workspace of its agent.
    pub workspace: Option<String>,
    /// Its agent.
    pub agent: Option<String>,
    /// Since when.
    pub created_at: Moment,
}

/// One tab of the forum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub enum Tab {
    /// Waits for us, or is assigned to us.
    #[default]
    NeedsMe,
    /// Holds posts we have not seen.
    Unseen,
    /// Assigned to us.
    Assigned,
    /// Everything.
    All,
}

impl Tab {
    /// In the order shown.
    pub const ALL: [Self; 4] = [Self::NeedsMe, Self::Unseen, Self::Assigned, Self::All];

    /// Its title.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NeedsMe => "needs me",
            Self::Unseen => "unseen",
            Self::Assigned => "assigned",
            Self::All => "all",
        }
    }
}

/// The tabs of the forum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queues {
    /// Waits for us, or is assigned to us: the most pressing first.
    pub needs_me: Queue,
    /// Holds posts we have not seen: the newest first.
    pub unseen: Queue,
    /// Assigned to us.
    pub assigned: Queue,
    /// Everything, the newest first.
    pub all: Queue,
    /// How many threads wait for a human, read or not.
    pub waiting: usize,
}

impl Queues {
    /// The tab's rows.
    pub fn of(&self, tab: Tab) -> &Queue {
        match tab {
            Tab::NeedsMe => &self.needs_me,
            Tab::Unseen => &self.unseen,
            Tab::Assigned => &self.assigned,
            Tab::All => &self.all,
        }
    }

    /// The thread, in whichever tab it is.
    pub fn find(&self, thread_id: &str) -> Option<&ThreadRow> {
        Tab::ALL.iter().flat_map(|tab| &self.of(*tab).rows).find(|row| row.thread_id == thread_id)
    }
}

/// The rows of a tab.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    /// Those read so far.
    pub rows: Vec<ThreadRow>,
    /// Whether there are more.
    pub more: bool,
    /// How many there are in all.
    pub total: usize,
}

impl Queue {
    /// How many there are, read or not.
    pub fn count(&self) -> usize {
        let read = self.rows.len();
        if self.more { self.total.max(read + 1) } else { read }
    }
}

/// One thread in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadRow {
    /// Identity.
    pub thread_id: String,
    /// One line.
    pub title: String,
    /// Its ticket.
    pub ticket: String,
    /// Its run.
    pub run_id: Option<String>,
    /// The agent it belongs to.
    pub agent: Option<AgentKey>,
    /// Who opened it.
    pub opened_by: String,
    /// Where it stands.
    pub state: ThreadState,
    /// How much it presses.
    pub priority: Priority,
    /// Since when a human has to speak.
    pub waiting_since: Option<Moment>,
    /// When it becomes an escalation.
    pub due_at: Option<Moment>,
    /// Whose it is.
    pub assignee: Option<String>,
    /// Where what is looked for stands in it.
    pub snippet: Option<Snippet>,
    /// Whether it holds posts we have not seen.
    pub unseen: bool,
    /// Whether it carries signals.
    pub control: bool,
    /// When anything of it last changed.
    pub updated_at: Moment,
}

impl ThreadRow {
    /// When it becomes an escalation, where that is not at once.
    pub fn due(&self) -> Option<Moment> {
        self.due_at.filter(|due| self.waiting_since.is_none_or(|since| since < *due))
    }

    /// Who speaks in it: its agent, else who opened it.
    pub fn speaker(&self) -> &str {
        self.agent.as_ref().map_or(self.opened_by.as_str(), |agent| agent.name.as_str())
    }

    /// Whether a human has to speak.
    pub fn waits(&self) -> bool {
        self.waiting_since.is_some()
    }
}

/// An open thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadPage {
    /// The thread.
    pub thread: Thread,
    /// Its posts, the newest last.
    pub posts: Vec<Post>,
    /// How those for its agent come into its session.
    pub deliveries: Vec<Delivery>,
    /// The requests among them that have no answer yet.
    pub open: Vec<String>,
    /// How many older posts were left out.
    pub earlier: usize,
    /// What of it was seen before it was opened.
    pub seen_to: i64,
    /// Who looks.
    pub viewer: String,
}

/// A run's page.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    /// The run.
    pub run_id: String,
    /// The newest event of it that the page knows of.
    pub seq: i64,
    /// The plan.
    pub steps: Vec<Step>,
    /// Attempts a failed step gets beyond the first.
    pub step_retries: u32,
    /// The close gates; the reason where they could not be evaluated.
    pub gates: Result<Vec<Gate>, String>,
    /// The brief.
    pub brief: Option<Brief>,
    /// Repositories and their bases.
    pub repos: Vec<(String, String)>,
    /// Its pull requests.
    pub pull_requests: Vec<PullRequest>,
    /// What reviewers said to them.
    pub feedback: Vec<Feedback>,
    /// Ticket docs: ticket, place, whether they are there.
    pub docs: Vec<(String, String, bool)>,
    /// What happened lately: when, and in words.
    pub events: Vec<(Moment, String)>,
}

/// What is true of the home as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Who supervises.
    pub supervisor: Option<Supervising>,
    /// Who looks.
    pub viewer: String,
    /// The operator's mode.
    pub operator: String,
    /// What the policy says about restarts by rule, where it does.
    pub restart_rule: Option<RuleMode>,
    /// Whether our tmux server has a keeper session, in which a supervisor can be left.
    pub keeper: bool,
    /// Whether the bell may ring.
    pub bell: bool,
    /// Whether calls may show on the desktop.
    pub desktop: bool,
    /// What is wrong, most pressing first.
    pub troubles: BTreeSet<Trouble>,
}

/// Who supervises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervising {
    /// Its process.
    pub pid: u32,
    /// Whether that is this one.
    pub ours: bool,
    /// Whether a console has left it behind.
    pub behind: bool,
    /// Since when.
    pub since: Moment,
}

/// Something that is wrong with the home as a whole; the rest goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The tmux server is gone although agents should be in it.
    TmuxGone,
    /// The policy file does not hold: where and why. The last good one is in force.
    Policy(String),
    /// The database cannot be read.
    Store(String),
    /// Another process supervises.
    Elsewhere(u32),
    /// The process that supervises has not stirred since then: it hangs, or was stopped.
    Hangs(u32, Moment),
}

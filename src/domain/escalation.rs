//! What waits on a human beside the forum: escalations, which call, and suggestions, which offer (spec 2.7).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::Subject;
use super::operator::Intent;
use super::time::Moment;

/// What an escalation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An agent asks.
    Guidance,
    /// An agent waits for a key on its own screen.
    Input,
    /// A runner's provider has had enough.
    Limit,
    /// An agent is down and nothing will start it by itself.
    Blocked,
    /// A thread waits longer than it should.
    Sla,
    /// A run failed.
    Failed,
    /// A step failed for good while agents of its run live on.
    Step,
    /// Nothing of a run lives any more.
    Stale,
    /// tmux does not answer.
    TmuxUnreachable,
    /// The tmux server went, and its agents with it.
    TmuxServerLost,
    /// A side effect was given up.
    DeadLetter,
    /// It is not known whether a text reached an agent.
    Delivery,
    /// Something was decided again and again and never done.
    NotActed,
    /// The adviser thinks a human should look.
    Adviser,
}

impl Kind {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guidance => "guidance",
            Self::Input => "input",
            Self::Limit => "limit",
            Self::Blocked => "blocked",
            Self::Sla => "sla",
            Self::Failed => "failed",
            Self::Step => "step",
            Self::Stale => "stale",
            Self::TmuxUnreachable => "tmux_unreachable",
            Self::TmuxServerLost => "tmux_server_lost",
            Self::DeadLetter => "dead_letter",
            Self::Delivery => "delivery",
            Self::NotActed => "not_acted",
            Self::Adviser => "adviser",
        }
    }

    /// Whether it calls a human to a thread that waits.
    pub const fn calls_to_thread(self) -> bool {
        matches!(self, Self::Guidance | Self::Sla)
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Blocked | Self::Failed | Self::TmuxUnreachable | Self::TmuxServerLost => Severity::Critical,
            Self::Guidance
            | Self::Input
            | Self::Limit
            | Self::Sla
            | Self::Step
            | Self::Stale
            | Self::DeadLetter
            | Self::Delivery
            | Self::NotActed
            | Self::Adviser => Severity::Warning,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The target of what concerns the tmux server: it belongs to no run.
pub const TMUX_TARGET: &str = "tmux";

/// The target of what concerns the right to act on a run: somebody has it and does not let go.
pub const LEASE_TARGET: &str = "lease";
/// The target of calls that reviews of a run's pull requests cannot be fetched.
pub const REVIEWS_TARGET: &str = "reviews";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody waits, or something is not as it should be.
    Warning,
    /// Work stands still.
    Critical,
}

impl Severity {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where an escalation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalationState {
    /// Nobody has said anything to it.
    Open,
    /// A human knows; silent until it is due.
    Acknowledged,
    /// Its cause is gone, or a human said that it is settled.
    Resolved,
}

impl EscalationState {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// The commands that are legal now.
    pub const fn next_commands(self) -> &'static [&'static str] {
        match self {
            Self::Open | Self::Acknowledged => &["escalations ack", "escalations resolve"],
            Self::Resolved => &[],
        }
    }
}

/// An escalation as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// Identity.
    pub escalation_id: String,
    /// What it is about.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub state: EscalationState,
    /// Why, in words; for a question the question itself.
    pub reason: String,
    /// The run.
    pub run_id: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    /// The signals behind it.
    pub evidence: Value,
    /// When it was opened.
    pub opened_at: Moment,
    /// When it calls again.
    pub due_at: Option<Moment>,
    /// How often it has called again.
    #[serde(default, skip_serializing_if = "never")]
    pub notified: u32,
    /// When it did the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_at: Option<Moment>,
    /// Who knows of it.
    pub acknowledged_by: Option<String>,
    /// Who resolved it.
    pub resolved_by: Option<String>,
    /// When it was resolved.
    pub resolved_at: Option<Moment>,
    /// What was said to it last.
    pub note: Option<String>,
    /// What exactly it is about: at most one of a kind is open for each.
    pub target: String,
    /// Which occurrence of the cause brought it about last.
    pub cause: String,
    /// Whether a human resolved it: then the same occurrence does not call again.
    pub by_human: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn never(times: &u32) -> bool {
    *times == 0
}

impl Escalation {
    /// Whether it is not resolved.
    pub const fn stands(&self) -> bool {
        match self.state {
            EscalationState::Open | EscalationState::Acknowledged => true,
            EscalationState::Resolved => false,
        }
    }

    /// A command that leads on to what it is about.
    pub fn leads_to(&self) -> String {
        let run_id = self.run_id.as_deref().unwrap_or_default();
        match (&self.thread_id, &self.agent) {
            (Some(thread), _) => format!("metawsm forum answer --thread-id {thread} --body TEXT"),
            // A restart would end the program whose question waits for a key.
            (None, Some(agent)) if self.kind == Kind::Input => {
                format!("metawsm attach --run-id {run_id} --agent {agent}")
            }
            (None, Some(agent)) => format!("metawsm restart --run-id {run_id} --agent {agent}"),
            (None, None) if run_id.is_empty() => "metawsm doctor".to_owned(),
            (None, None) => format!("metawsm status --run-id {run_id}"),
        }
    }

    /// What events about it are about.
    pub fn subject(&self) -> Subject {
        Subject {
            run_id: self.run_id.clone(),
            ticket: self.ticket.clone(),
            workspace: self.workspace.clone(),
            agent_name: self.agent.clone(),
            thread_id: self.thread_id.clone(),
        }
    }

    /// Whether it is due to call again. A thread that waits is told of again by its rule, with how long it waits.
    pub fn is_due(&self, now: Moment) -> bool {
        let by_its_rule = self.kind == Kind::Sla && self.state == EscalationState::Open;
        self.stands() && !by_its_rule && self.due_at.is_some_and(|due| due <= now || self.called_by_another_clock(now))
    }

    /// Whether it called the last time before the clock was set back: it is not silent until that time comes again. Until
    /// when a human wants it silent is his own word.
    fn called_by_another_clock(&self, now: Moment) -> bool {
        self.state == EscalationState::Open && self.notified_at.unwrap_or(self.opened_at).is_of_another_clock(now)
    }

    /// Whether it calls now: open, or acknowledged and due again.
    pub fn calls(&self, now: Moment) -> bool {
        match self.state {
            EscalationState::Open => true,
            EscalationState::Acknowledged => self.due_at.is_some_and(|due| due <= now),
            EscalationState::Resolved => false,
        }
    }
}

/// Where a suggestion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionState {
    /// It waits for a human.
    Open,
    /// It was done.
    Accepted,
    /// A human does not want it.
    Dismissed,
    /// Its cause is gone.
    Withdrawn,
}

impl SuggestionState {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Dismissed => "dismissed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What a rule would have done, had it been allowed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Identity.
    pub suggestion_id: String,
    /// What is suggested.
    pub intent: Intent,
    /// The run.
    pub run_id: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    /// Why.
    pub reason: String,
    /// The signals behind it.
    pub evidence: Value,
    /// Where it stands.
    pub state: SuggestionState,
    /// When it was made.
    pub created_at: Moment,
    /// Who settled it.
    pub settled_by: Option<String>,
    /// What exactly it is about.
    pub target: String,
    /// Which occurrence of the cause brought it about.
    pub cause: String,
}

impl Suggestion {
    /// What events about it are about.
    pub fn subject(&self) -> Subject {
        Subject {
            run_id: self.run_id.clone(),
            ticket: self.ticket.clone(),
            workspace: self.workspace.clone(),
            agent_name: self.agent.clone(),
            thread_id: self.thread_id.clone(),
        }
    }
}

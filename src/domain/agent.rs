//! The agent: a named worker in one workspace (spec 2.4).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::Refusal;
use super::time::Moment;

/// Where an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Planned, not started.
    Pending,
    /// At work.
    Running,
    /// Alive and quiet.
    Idle,
    /// Alive and quiet for too long.
    Stalled,
    /// Gone without having ended by itself.
    Dead,
    /// Ended by itself, not well.
    Failed,
    /// Being ended by command.
    Stopping,
    /// Ended by command.
    Stopped,
    /// Said that it is done, or exited with 0 where that counts.
    Done,
}

use AgentStatus as A;

impl AgentStatus {
    /// All of them.
    pub const ALL: [Self; 9] =
        [A::Pending, A::Running, A::Idle, A::Stalled, A::Dead, A::Failed, A::Stopping, A::Stopped, A::Done];

    /// The states it may turn into.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            A::Pending => &[A::Running, A::Failed, A::Stopped],
            A::Running => &[A::Idle, A::Stalled, A::Dead, A::Failed, A::Stopping, A::Done],
            A::Idle => &[A::Running, A::Stalled, A::Dead, A::Failed, A::Stopping, A::Done],
            A::Stalled => &[A::Running, A::Idle, A::Dead, A::Failed, A::Stopping, A::Done],
            A::Dead | A::Failed | A::Done => &[A::Running, A::Stopped],
            A::Stopping => &[A::Stopped],
            A::Stopped => &[A::Running],
        }
    }

    /// Whether it may turn into `next`.
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// Whether its program is believed to work: running, idle or stalled.
    pub const fn working(self) -> bool {
        matches!(self, A::Running | A::Idle | A::Stalled)
    }

    /// Whether it counts as alive for its run.
    pub const fn alive(self) -> bool {
        self.working() || matches!(self, A::Stopping)
    }

    /// The word in JSON, SQL and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            A::Pending => "pending",
            A::Running => "running",
            A::Idle => "idle",
            A::Stalled => "stalled",
            A::Dead => "dead",
            A::Failed => "failed",
            A::Stopping => "stopping",
            A::Stopped => "stopped",
            A::Done => "done",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == text)
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the supervisor last made of an agent's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Output or progress is recent.
    Healthy,
    /// Quiet, within what is allowed.
    Idle,
    /// Quiet for longer than is allowed.
    Stalled,
    /// Gone.
    Dead,
    /// Nobody could or did look.
    Unknown,
}

impl Health {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// What an idle agent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// Nothing.
    #[default]
    None,
    /// A key on its own screen.
    Input,
    /// An answer in the forum.
    Guidance,
    /// Its provider's limit to pass.
    Limit,
}

impl WaitingFor {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Input => "input",
            Self::Guidance => "guidance",
            Self::Limit => "limit",
        }
    }

    /// Whether only a supervisor that looks can know it; that a question waits is written in the forum.
    pub const fn seen_on_screen(self) -> bool {
        matches!(self, Self::Input | Self::Limit)
    }
}

/// A silence that an agent announced: until then it is no stall.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quiet {
    /// When it said so.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Quiet {
    /// Whether it is still to be expected.
    pub fn holds(&self, now: Moment) -> bool {
        now < self.until
    }

    /// In words.
    pub fn words(&self) -> String {
        let until = format!("quiet until {}", self.until.clock(self.since));
        if self.reason.is_empty() { until } else { format!("{until}: {}", self.reason) }
    }
}

/// Somebody has an agent in hand: until it is released no rule starts it again, calls to it, or stops its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Moment,
    /// Why, where that was said.
    pub reason: Option<String>,
}

impl Held {
    /// In words, seen from a moment.
    pub fn words(&self, now: Moment) -> String {
        let held = format!("held by {} since {}", self.by, self.since.clock(now));
        self.reason.as_ref().map_or(held.clone(), |reason| format!("{held}: {reason}"))
    }
}

/// What an agent said of how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub at: Moment,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// Which end of an agent's program counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// Only its own word.
    Signal,
    /// Only exit status 0.
    ExitZero,
    /// Whichever comes first.
    #[default]
    Either,
}

/// The identity of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentKey {
    /// Its run.
    pub run_id: String,
    /// Its workspace.
    pub workspace: String,
    /// Its name.
    pub name: String,
}

impl AgentKey {
    /// The identity made of these three.
    pub fn new(run_id: impl Into<String>, workspace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { run_id: run_id.into(), workspace: workspace.into(), name: name.into() }
    }

    /// How it is told apart from its namesakes in the other workspaces of its run.
    pub fn within_run(&self) -> String {
        format!("{}/{}", self.workspace, self.name)
    }
}

/// How an agent's program ended, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status 0–255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Name of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why it could not be started at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
    /// Who saw it: `launcher`, `record`, `tmux`, `missing`, `process table`.
    pub source: String,
    /// Whether its terminal was taken away before it ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hung_up: bool,
    /// The tmux server it went with, where that was its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_lost: Option<String>,
}

impl Exit {
    /// The end in words.
    pub fn describe(&self) -> String {
        match (&self.error, self.status, &self.signal) {
            (Some(error), _, _) => error.clone(),
            (None, Some(status), _) => format!("exited with {status}"),
            (None, None, Some(signal)) => format!("ended by {signal}"),
            (None, None, None) => "is gone, how it ended is not known".to_owned(),
        }
    }
}

/// Restarts used and left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restarts {
    /// Restarts by rule since the last one by a human.
    pub used: u32,
    /// How many there may be.
    pub budget: u32,
    /// No restart by rule before this.
    pub cooldown_until: Option<Moment>,
    /// No restart that is not counted before this: a tmux server may have gone because of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_until: Option<Moment>,
    /// How often it began anew by rule since a human did something about it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub anew: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// An agent as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// The ticket of its workspace.
    pub ticket: String,
    /// Its one tmux session.
    pub session: String,
    /// The profile that says how it is started.
    pub profile: String,
    /// The runner of that profile.
    pub runner: String,
    /// Which end counts as done.
    pub completion: Completion,
    /// Restarts by rule it may use.
    pub restart_budget: u32,
    /// What it may do beyond its own affairs: `run`.
    #[serde(default)]
    pub may: Vec<String>,
    /// Whether what is said to it in the forum is typed into its session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paste: bool,
}

/// An agent as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Identity.
    pub key: AgentKey,
    /// How it was planned.
    pub spec: AgentSpec,
    /// Where it stands.
    pub status: AgentStatus,
    /// What was last made of its signals.
    pub health: Health,
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// Since when its screen has shown that it waits for a key or a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Moment>,
    /// The silence it announced last, in this life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
    /// Who has it in hand, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// When it was last given back to the rules, in this life: what it is then is another occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Moment>,
    /// What it last said of how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
    /// Why it stands there.
    pub reason: String,
    /// Since when it stands there.
    pub since: Moment,
    /// The signals behind health and status.
    pub evidence: Value,
    /// Counts iterations; completion and validation count only in the present one.
    pub epoch: u32,
    /// The last launch that took place, from 1; 0 before the first.
    pub launch: u32,
    /// The launch that is wanted; ahead of `launch` while a start is due.
    pub wanted: u32,
    /// How the last launch ended.
    pub exit: Option<Exit>,
    /// When it last made progress that metawsm knows of.
    pub last_progress_at: Option<Moment>,
    /// Restarts used and left.
    pub restarts: Restarts,
    /// Since when it has been well without a break; kept only while there are restarts to forget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Moment>,
    /// Whether it is to begin anew and has not yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// The epoch in which it signalled completion.
    pub completed_in: Option<u32>,
    /// The epoch in which it signalled a passed validation that repeats the brief's criteria.
    pub validated_in: Option<u32>,
}

impl Agent {
    /// Whether a start is due that has not taken place.
    pub fn start_due(&self) -> bool {
        self.wanted > self.launch
    }

    /// Whether its program has been started and is not known to have ended.
    pub fn program_may_live(&self) -> bool {
        self.launch > 0 && self.exit.is_none()
    }

    /// Why it says nothing about another ticket than its own.
    pub fn not_its_ticket(&self, other: &str) -> Refusal {
        let (name, own) = (&self.key.name, &self.spec.ticket);
        Refusal::not_allowed(format!("agent {name} works on ticket {own}, not on {other}"))
            .hint(format!("leave out --ticket: {own} is meant"))
    }

    /// The tmux server it went with, while it is down for that and for nothing it did itself.
    pub fn went_with_server(&self) -> Option<&str> {
        let down = matches!(self.status, AgentStatus::Dead | AgentStatus::Failed);
        self.exit.as_ref().filter(|_| down)?.server_lost.as_deref()
    }

    /// Whether a rule may still start it again: what went with the tmux server costs no restart.
    pub fn restart_left(&self) -> bool {
        self.went_with_server().is_some() || self.restarts.used < self.restarts.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_transitions_of_the_spec_are_legal() {
        let table: Vec<String> = AgentStatus::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<&str> = from.successors().iter().map(|to| to.word()).collect();
                format!("{from} -> {}", to.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        pending -> running failed stopped
        running -> idle stalled dead failed stopping done
        idle -> running stalled dead failed stopping done
        stalled -> running idle dead failed stopping done
        dead -> running stopped
        failed -> running stopped
        stopping -> stopped
        stopped -> running
        done -> running stopped
        ");
    }

    #[test]
    fn how_it_ended_in_words() {
        let exit = |status: Option<i32>, signal: Option<&str>, error: Option<&str>| Exit {
            status,
            signal: signal.map(str::to_owned),
            error: error.map(str::to_owned),
            ..Exit::default()
        };
        assert_eq!(exit(Some(3), None, None).describe(), "exited with 3");
        assert_eq!(exit(None, Some("SIGKILL"), None).describe(), "ended by SIGKILL");
        assert_eq!(exit(Some(127), None, Some("codex: not found")).describe(), "codex: not found");
        assert_eq!(exit(None, None, None).describe(), "is gone, how it ended is not known");
    }
}

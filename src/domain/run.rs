//! The run: one attempt at one or more tickets, and its lifecycle (spec 2.2; original 3.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Moment;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Written down, nothing decided.
    Created,
    /// The plan is compiled.
    Planning,
    /// Steps or agents at work.
    Running,
    /// A question of one of its agents waits for a human.
    AwaitingGuidance,
    /// Hands off: sessions live on, rules leave it alone.
    Paused,
    /// Nothing of it is alive and nothing can go on.
    Failed,
    /// Its sessions are being ended.
    Stopping,
    /// Its sessions were ended; `resume` starts them again.
    Stopped,
    /// The gates were passed, the last things are being done.
    Closing,
    /// Over for good.
    Closed,
    /// Every agent is done.
    Completed,
}

use RunStatus as S;

impl RunStatus {
    /// All of them, in the order of the original's table.
    pub const ALL: [Self; 11] = [
        S::Created,
        S::Planning,
        S::Running,
        S::AwaitingGuidance,
        S::Paused,
        S::Failed,
        S::Stopping,
        S::Stopped,
        S::Closing,
        S::Closed,
        S::Completed,
    ];

    /// The states it may turn into.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            S::Created => &[S::Planning],
            S::Planning => &[S::Running, S::Paused, S::Failed, S::Stopping],
            S::Running => &[S::AwaitingGuidance, S::Paused, S::Failed, S::Completed, S::Stopping],
            S::AwaitingGuidance => &[S::Running, S::Paused, S::Failed, S::Completed, S::Stopping],
            S::Paused => &[S::Running, S::AwaitingGuidance, S::Stopping],
            S::Failed => &[S::Running, S::Stopping],
            S::Stopping => &[S::Stopped],
            S::Stopped => &[S::Running],
            S::Closing => &[S::Closed, S::Failed, S::Completed],
            S::Closed => &[],
            S::Completed => &[S::Closing, S::Running],
        }
    }

    /// Whether it may turn into `next`.
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// The word in JSON, SQL and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            S::Created => "created",
            S::Planning => "planning",
            S::Running => "running",
            S::AwaitingGuidance => "awaiting_guidance",
            S::Paused => "paused",
            S::Failed => "failed",
            S::Stopping => "stopping",
            S::Stopped => "stopped",
            S::Closing => "closing",
            S::Closed => "closed",
            S::Completed => "completed",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == text)
    }

    /// Whether its agents and steps are to be moved on by whoever executes plans.
    pub const fn at_work(self) -> bool {
        matches!(self, S::Running | S::AwaitingGuidance)
    }

    /// The commands that are legal now, most useful first.
    pub const fn next_commands(self) -> &'static [&'static str] {
        match self {
            S::Created => &["stop"],
            S::Planning => &["resume", "stop"],
            S::Running => &["attach", "restart", "pause", "stop", "iterate"],
            S::AwaitingGuidance => &["forum answer", "attach", "restart", "pause", "stop", "iterate"],
            S::Paused => &["resume", "stop", "cleanup"],
            S::Failed => &["resume", "restart", "iterate", "stop", "cleanup"],
            S::Stopping => &["stop"],
            S::Stopped => &["resume", "restart", "iterate", "cleanup"],
            S::Closing => &["close"],
            S::Closed => &["cleanup"],
            S::Completed => &["commit", "pr", "merge", "close", "iterate", "restart", "cleanup"],
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a run is for: plain work, or work measured against a brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    /// Agents are done when they say so or exit with 0.
    Run,
    /// Agents are done only with completion and a passed validation.
    Bootstrap,
}

/// Where a run's workspaces come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// New branches from the base.
    Create,
    /// New branches from another workspace's branches.
    Fork,
    /// An existing workspace as it is.
    Reuse,
}

impl Strategy {
    /// The word in JSON and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Fork => "fork",
            Self::Reuse => "reuse",
        }
    }
}

/// One repository of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoSpec {
    /// Its name, and that of its directory in each workspace.
    pub name: String,
    /// The checkout it was found at, absolute.
    pub path: String,
    /// The branch that work starts from and is merged into.
    pub base: String,
}

/// One workspace of a run, named once and never recomputed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    /// Its name.
    pub name: String,
    /// The ticket it is made for.
    pub ticket: String,
    /// Its directory, absolute.
    pub path: String,
    /// The one branch of the run in it.
    pub branch: String,
}

/// What was asked for, all names resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Identity.
    pub run_id: String,
    /// Plain or bootstrap.
    pub mode: RunMode,
    /// The tickets, in the order given.
    pub tickets: Vec<String>,
    /// The repositories, in the order given.
    pub repos: Vec<RepoSpec>,
    /// Name of the repository that holds the ticket docs and is the agents' working directory.
    pub doc_home_repo: String,
    /// The base branch asked for.
    pub base_branch: String,
    /// Where workspaces come from.
    pub strategy: Strategy,
    /// The workspace forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether ticket docs are copied into the workspace.
    pub seed: bool,
    /// The user's own words to every agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Stored but not executed.
    pub dry_run: bool,
    /// The workspaces, one a ticket.
    pub workspaces: Vec<WorkspaceSpec>,
    /// Extra attempts a failed step gets.
    pub step_retries: u32,
}

/// What a bootstrap run is measured against.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Brief {
    /// What is wanted.
    pub goal: String,
    /// What belongs to it and what does not.
    pub scope: String,
    /// When it is done; a validation must repeat it word for word.
    pub done_criteria: String,
    /// What must hold meanwhile.
    pub constraints: String,
    /// What is to happen with the result.
    pub merge_intent: String,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What was asked for.
    pub spec: RunSpec,
    /// The brief of a bootstrap run.
    pub brief: Option<Brief>,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it stands there.
    pub reason: String,
    /// When it was created.
    pub created_at: Moment,
    /// When anything of it last changed.
    pub updated_at: Moment,
    /// The newest event about it.
    pub last_seq: i64,
}

impl Run {
    /// Its identity.
    pub fn id(&self) -> &str {
        &self.spec.run_id
    }

    /// The workspace named `name`.
    pub fn workspace(&self, name: &str) -> Option<&WorkspaceSpec> {
        self.spec.workspaces.iter().find(|workspace| workspace.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_originals_with_our_four_additions() {
        let table: Vec<String> = RunStatus::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<&str> = from.successors().iter().map(|to| to.word()).collect();
                format!("{from} -> {}", to.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        created -> planning
        planning -> running paused failed stopping
        running -> awaiting_guidance paused failed completed stopping
        awaiting_guidance -> running paused failed completed stopping
        paused -> running awaiting_guidance stopping
        failed -> running stopping
        stopping -> stopped
        stopped -> running
        closing -> closed failed completed
        closed -> 
        completed -> closing running
        ");
    }

    #[test]
    fn words_are_read_back() {
        for status in RunStatus::ALL {
            assert_eq!(RunStatus::parse(status.word()), Some(status));
        }
        assert_eq!(RunStatus::parse("Running"), None);
    }

    #[test]
    fn only_a_closed_run_has_no_way_on() {
        for status in RunStatus::ALL {
            assert_eq!(status.successors().is_empty(), status == RunStatus::Closed, "{status}");
            assert!(!status.next_commands().is_empty(), "{status} leaves its reader without a next command");
        }
    }
}

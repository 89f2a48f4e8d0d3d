//! Exit statuses and the one error shape (spec 3).

use serde_json::{Value, json};

use super::print;

use crate::domain::refusal::RefusalKind;
use crate::domain::run::RunStatus;
use crate::services::error::EngineError;
use crate::services::git::{GitError, MergeProblem};
use crate::services::tmux::TmuxError;
use crate::store::StoreError;

/// Done.
pub const DONE: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// The call does not fit.
pub const USAGE: u8 = 2;
/// Not found.
pub const NOT_FOUND: u8 = 3;
/// Refused.
pub const REFUSED: u8 = 4;
/// Policy or brief invalid.
pub const POLICY: u8 = 5;
/// An outside program is missing or failed.
pub const OUTSIDE: u8 = 6;
/// Busy, or the database is newer.
pub const BUSY: u8 = 7;
/// Waiting for a human.
pub const GUIDANCE: u8 = 10;
/// Time-out.
pub const TIMEOUT: u8 = 124;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// How a program that follows a run ends by it; none while the run goes on.
pub const fn of_run(status: RunStatus) -> Option<u8> {
    match status {
        RunStatus::Completed | RunStatus::Closed => Some(DONE),
        RunStatus::Failed => Some(FAILED),
        RunStatus::Stopped => Some(REFUSED),
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Closing => None,
    }
}

/// A command that did not come through.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// What failed and why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// State and what is allowed, gates, or files.
    pub details: Value,
}

impl Failure {
    /// A failure of this status.
    pub fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, details: Value::Null }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it to a person, on stderr.
    pub fn tell(&self) {
        print::err(&format!("metawsm: {}", print::harmless(&self.message)));
        for gate in self.details["gates"].as_array().into_iter().flatten().filter(|gate| gate["ok"] == false) {
            let word = |key: &str| print::one_line(gate[key].as_str().unwrap_or_default());
            print::err(&format!("  {}: {}  →  {}", word("name"), word("reason"), word("mend")));
        }
        if let Some(hint) = &self.hint {
            print::err(&format!("  next: {}", print::harmless(hint)));
        }
    }

    /// The one error shape.
    pub fn to_json(&self) -> Value {
        json!({ "error": {
            "code": code(self.status),
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        } })
    }
}

fn code(status: u8) -> &'static str {
    match status {
        USAGE => "usage",
        NOT_FOUND => "not_found",
        REFUSED => "refused",
        POLICY => "policy_invalid",
        OUTSIDE => "outside",
        BUSY => "busy",
        GUIDANCE => "guidance",
        TIMEOUT => "timeout",
        INTERRUPTED => "interrupted",
        _ => "failed",
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self { status: status(&error), hint: error.hint(), details: details(&error), message: error.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<crate::domain::refusal::Refusal> for Failure {
    fn from(refusal: crate::domain::refusal::Refusal) -> Self {
        EngineError::from(refusal).into()
    }
}

fn status(error: &EngineError) -> u8 {
    match error {
        EngineError::Store(StoreError::Refused(refusal)) => match refusal.kind {
            RefusalKind::NotFound => NOT_FOUND,
            RefusalKind::Invalid => USAGE,
            RefusalKind::Illegal | RefusalKind::NotAllowed | RefusalKind::KeyReused => REFUSED,
        },
        EngineError::Store(StoreError::Absent { .. }) | EngineError::NotFound { .. } => NOT_FOUND,
        EngineError::Store(StoreError::Newer { .. } | StoreError::Locked { .. }) | EngineError::Busy { .. } => BUSY,
        EngineError::Git(error) if error.is_cancelled() => INTERRUPTED,
        EngineError::Git(error) => git_status(error),
        EngineError::Merge(MergeProblem::Git(error)) => git_status(error),
        EngineError::Merge(MergeProblem::NoBase { .. }) => NOT_FOUND,
        EngineError::Merge(_) | EngineError::Gates { .. } | EngineError::Refused { .. } => REFUSED,
        EngineError::Tmux(TmuxError::SessionExists { .. }) => REFUSED,
        EngineError::Tmux(TmuxError::NoTarget { .. }) => NOT_FOUND,
        EngineError::Tmux(_) | EngineError::Outside { .. } => OUTSIDE,
        EngineError::Policy { .. } => POLICY,
        EngineError::Name(_) | EngineError::Usage { .. } => USAGE,
        EngineError::Interrupted(_) | EngineError::Store(StoreError::Interrupted) => INTERRUPTED,
        EngineError::Store(_)
        | EngineError::Ticket(_)
        | EngineError::Record(_)
        | EngineError::Lease(_)
        | EngineError::Io { .. } => FAILED,
    }
}

fn git_status(error: &GitError) -> u8 {
    match error {
        GitError::NoSuchPath { .. }
        | GitError::NotARepository { .. }
        | GitError::Bare { .. }
        | GitError::Empty { .. }
        | GitError::BaseMissing { .. }
        | GitError::NoSuchRef { .. } => NOT_FOUND,
        GitError::Missing { .. } | GitError::Failed { .. } | GitError::Run { .. } | GitError::Unexpected { .. } => {
            OUTSIDE
        }
        GitError::BadName { .. } => USAGE,
        GitError::Io { .. } => FAILED,
        GitError::LockCancelled { .. } => INTERRUPTED,
        GitError::Diverged { .. }
        | GitError::BranchTaken { .. }
        | GitError::BranchInUse { .. }
        | GitError::BranchMoved { .. }
        | GitError::Occupied { .. }
        | GitError::Damaged { .. }
        | GitError::Dirty { .. }
        | GitError::OutsideWorktree { .. }
        | GitError::InProgress { .. }
        | GitError::NestedRepository { .. }
        | GitError::BackupExists { .. } => REFUSED,
    }
}

fn details(error: &EngineError) -> Value {
    if let Some(refusal) = error.refusal().filter(|refusal| refusal.state.is_some()) {
        return json!({ "state": refusal.state, "allowed": refusal.allowed });
    }
    if let EngineError::Gates { gates, .. } = error {
        return json!({ "gates": gates });
    }
    if let EngineError::Policy { faults, .. } = error {
        let faults: Vec<Value> = faults
            .iter()
            .map(|fault| {
                json!({
                    "path": fault.path, "value": fault.value, "rule": fault.rule,
                    "line": fault.line, "column": fault.column, "hint": fault.hint,
                })
            })
            .collect();
        return json!({ "faults": faults });
    }
    let files = error.files();
    if files.is_empty() { Value::Null } else { json!({ "files": files }) }
}

//! What can go wrong between the store and the world: one error for all faces.

use thiserror::Error;

use crate::domain::name::BadName;
use crate::domain::policy::Fault;
use crate::domain::refusal::Refusal;
use crate::services::git::{GitError, MergeProblem};
use crate::services::launcher::RecordError;
use crate::services::process::lease::{Holder, LeaseError};
use crate::services::tickets::TicketError;
use crate::services::tmux::TmuxError;
use crate::store::StoreError;

/// One close gate: what must hold, whether it does, and how it is mended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// Whether it is passed.
    pub ok: bool,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub mend: Option<String>,
}

/// Why the engine did not do what it was asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A merge is not possible as things are.
    #[error(transparent)]
    Merge(#[from] MergeProblem),
    /// Ticket docs.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// tmux.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// A launch record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A lease could not be asked for.
    #[error(transparent)]
    Lease(LeaseError),
    /// Somebody else works on the run.
    #[error("busy: {}", busy(holder.as_ref()))]
    Busy {
        /// Who, if it is known.
        holder: Option<Holder>,
    },
    /// The policy file does not hold.
    #[error("the policy {path} is not valid:\n{}", lines(faults))]
    Policy {
        /// Its path.
        path: String,
        /// All that is wrong with it.
        faults: Vec<Fault>,
    },
    /// A name is refused at the door.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Something asked for is not there.
    #[error("{message}")]
    NotFound {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The way it was asked does not fit.
    #[error("{message}")]
    Usage {
        /// What does not fit.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Gates are not passed.
    #[error("{what}: {}", failed(gates))]
    Gates {
        /// What was refused.
        what: String,
        /// All gates.
        gates: Vec<Gate>,
    },
    /// The world is not as it must be.
    #[error("{message}")]
    Refused {
        /// What and why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// An outside program failed.
    #[error("{message}")]
    Outside {
        /// What and why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The operating system refused something.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// The work was interrupted by `stop`, `pause`, or a signal.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

fn busy(holder: Option<&Holder>) -> String {
    match holder {
        None => "another process works on this run".to_owned(),
        Some(holder) => format!(
            "{} by {} (pid {} on {}) since {}",
            holder.operation,
            holder.holder,
            holder.pid,
            holder.host,
            crate::domain::time::Moment::from_millis(holder.since_ms)
        ),
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

fn failed(gates: &[Gate]) -> String {
    let open: Vec<String> =
        gates.iter().filter(|gate| !gate.ok).map(|gate| format!("{} ({})", gate.name, gate.reason)).collect();
    open.join("; ")
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        Self::Store(StoreError::Refused(refusal))
    }
}

impl EngineError {
    /// Something asked for is not there.
    pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound { message: message.into(), hint: Some(hint.into()) }
    }

    /// The way it was asked does not fit.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// The world is not as it must be.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: Some(hint.into()) }
    }

    /// An outside program failed.
    pub fn outside(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Outside { message: message.into(), hint: Some(hint.into()) }
    }

    /// The operating system refused `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The refusal of the domain in it.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Store(StoreError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// Whether it means: not now, because somebody interrupted it.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Interrupted(_) => true,
            Self::Git(error) => error.is_cancelled(),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::NotFound { hint, .. }
            | Self::Usage { hint, .. }
            | Self::Refused { hint, .. }
            | Self::Outside { hint, .. } => hint.clone(),
            Self::Busy { .. } => Some("wait for it to end, then repeat the command".to_owned()),
            Self::Policy { .. } => Some("mend the file, then: metawsm policy check".to_owned()),
            Self::Gates { gates, .. } => gates.iter().find(|gate| !gate.ok).and_then(|gate| gate.mend.clone()),
            Self::Merge(problem) => Some(merge_hint(problem).to_owned()),
            Self::Git(error) => git_hint(error).map(str::to_owned),
            Self::Tmux(TmuxError::NotInstalled { .. }) => Some("install tmux 3.2 or newer".to_owned()),
            Self::Ticket(_)
            | Self::Tmux(_)
            | Self::Record(_)
            | Self::Lease(_)
            | Self::Name(_)
            | Self::Io { .. }
            | Self::Interrupted(_) => None,
        }
    }

    /// Files that are in the way, where that is what is wrong.
    pub fn files(&self) -> Vec<String> {
        match self {
            Self::Merge(MergeProblem::Conflicts { files, .. } | MergeProblem::InTheWay { files, .. }) => {
                files.iter().map(|file| file.display().to_string()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn git_hint(error: &GitError) -> Option<&'static str> {
    Some(match error {
        GitError::Missing { .. } => "install git 2.38 or newer",
        GitError::BaseMissing { .. } => "name one that is there with --base-branch, or make it",
        GitError::Diverged { .. } => "merge or rebase one onto the other, and repeat",
        GitError::NoSuchPath { .. } | GitError::NotARepository { .. } | GitError::Bare { .. } => {
            "name a checkout with --repos"
        }
        GitError::Empty { .. } => "make a first commit there, and repeat",
        GitError::InProgress { .. } => "finish or abort it there, and repeat",
        _ => return None,
    })
}

fn merge_hint(problem: &MergeProblem) -> &'static str {
    match problem {
        MergeProblem::Conflicts { .. } => "merge the base into the run's branch in its worktree, commit, and repeat",
        MergeProblem::InTheWay { .. } => "commit, stash or move those files in that checkout, and repeat",
        MergeProblem::Busy { .. } => "finish or abort what is under way in that checkout, and repeat",
        MergeProblem::NoBase { .. } => "make that branch, or name another with --base-branch",
        MergeProblem::BaseMoved { .. } | MergeProblem::OnlyTried { .. } | MergeProblem::Git(_) => "repeat the command",
    }
}

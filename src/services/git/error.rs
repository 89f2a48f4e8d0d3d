//! What can go wrong with git: what was tried, why it failed, what to do.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::status::Change;
use crate::services::process::exec::ExecError;

/// A git operation that did not happen. Paths are printed quoted, so that a hostile name stays one word.
#[derive(Debug, Error)]
pub enum GitError {
    /// The git program is not there.
    #[error("{program} is not installed or not on PATH; install git 2.38 or newer")]
    Missing {
        /// The program as called.
        program: String,
    },
    /// The path does not exist or is no directory.
    #[error("{path:?} does not exist or is not a directory; check the path")]
    NoSuchPath {
        /// The path asked for.
        path: PathBuf,
    },
    /// The directory is in no repository.
    #[error("{path:?} is not inside a git repository; run `git init` there or name another path")]
    NotARepository {
        /// The path asked for.
        path: PathBuf,
    },
    /// The repository has no checkout.
    #[error("{path:?} is a bare repository or inside .git; metawsm needs a checkout, clone it first")]
    Bare {
        /// The path asked for.
        path: PathBuf,
    },
    /// git said no.
    #[error("`{tried}` in {dir:?} failed: {why}")]
    Failed {
        /// The call, shortened.
        tried: String,
        /// Where it was made.
        dir: PathBuf,
        /// The end of what git said.
        why: String,
    },
    /// git could not be run to its end.
    #[error("`{tried}` in {dir:?}: {source}")]
    Run {
        /// The call, shortened.
        tried: String,
        /// Where it was made.
        dir: PathBuf,
        /// Time-out, cancellation, or the operating system's reason.
        source: ExecError,
    },
    /// git answered in a form that is not understood.
    #[error("`{tried}` answered in an unexpected form: {what}; git 2.38 or newer is needed")]
    Unexpected {
        /// The call, shortened.
        tried: String,
        /// What was not understood.
        what: String,
    },
    /// A file system operation beside git failed.
    #[error("could not {tried} {path:?}: {source}")]
    Io {
        /// The operation, as a verb.
        tried: &'static str,
        /// The path it was about.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Waiting for the repository's write lock was cancelled.
    #[error("interrupted while waiting for another metawsm to finish writing to this repository ({lock:?})")]
    LockCancelled {
        /// The lock file.
        lock: PathBuf,
    },
    /// The repository has no commit yet.
    #[error("{repo:?} has no commits yet; make a first commit on `{base}`")]
    Empty {
        /// The repository.
        repo: PathBuf,
        /// The base branch wanted.
        base: String,
    },
    /// Neither the local nor the remote base branch exists.
    #[error("no base branch in {repo:?}: looked for {}; branches there: {}", looked_for.join(", "), list(branches))]
    BaseMissing {
        /// The repository.
        repo: PathBuf,
        /// The refs looked for.
        looked_for: Vec<String>,
        /// Branches which exist, at most twenty.
        branches: Vec<String>,
    },
    /// Local and remote base have both moved.
    #[error(
        "`{local}` ({local_sha}) and `{remote}` ({remote_sha}) in {repo:?} have diverged; merge or rebase one onto the other, metawsm does not choose"
    )]
    Diverged {
        /// The repository.
        repo: PathBuf,
        /// Local branch.
        local: String,
        /// Its abbreviated commit.
        local_sha: String,
        /// Remote-tracking branch.
        remote: String,
        /// Its abbreviated commit.
        remote_sha: String,
    },
    /// No such branch, commit or ref.
    #[error("{repo:?} has no `{name}`; fetch it or name another")]
    NoSuchRef {
        /// The repository.
        repo: PathBuf,
        /// What was asked for.
        name: String,
    },
    /// A name that git does not allow.
    #[error("`{name}` is not a valid {what}")]
    BadName {
        /// What kind of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The branch for a new worktree exists and holds other commits.
    #[error(
        "branch `{branch}` already exists at {tip}, not at the start {start}; it is left as it is: use its worktree again, or delete or rename it"
    )]
    BranchTaken {
        /// The branch.
        branch: String,
        /// Its abbreviated commit.
        tip: String,
        /// The abbreviated commit the worktree was to start from.
        start: String,
    },
    /// The branch is checked out somewhere else.
    #[error("branch `{branch}` is checked out at {at:?}; finish there first")]
    BranchInUse {
        /// The branch.
        branch: String,
        /// Where.
        at: PathBuf,
    },
    /// The branch is not where the caller last saw it.
    #[error("branch `{branch}` is at {actual}, not at {expected} as last seen; look at it again")]
    BranchMoved {
        /// The branch.
        branch: String,
        /// Where it was expected.
        expected: String,
        /// Where it is.
        actual: String,
    },
    /// Something that metawsm did not make is at a worktree's path.
    #[error("{path:?} holds {what}; metawsm does not remove it: move it away or name another workspace")]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A finished worktree is not as it should be; it was not touched.
    #[error(
        "worktree {path:?} is not as it was left: {what}; nothing was changed, restore it or clean the workspace up"
    )]
    Damaged {
        /// The worktree.
        path: PathBuf,
        /// What is missing or other.
        what: String,
    },
    /// A worktree has changes and `force` was not given.
    #[error("worktree {path:?} has {} uncommitted changes; commit them, or force (a backup is kept)", changes.len())]
    Dirty {
        /// The worktree.
        path: PathBuf,
        /// The changes.
        changes: Vec<Change>,
    },
    /// A path leads out of its worktree.
    #[error("{path:?} is not a plain path inside the worktree")]
    OutsideWorktree {
        /// The path.
        path: PathBuf,
    },
    /// A merge, rebase or the like is under way.
    #[error("a {what} is in progress in {path:?}; finish or abort it there first")]
    InProgress {
        /// The checkout.
        path: PathBuf,
        /// merge, rebase, cherry-pick or revert.
        what: &'static str,
    },
    /// Repositories inside the worktree hold what a backup commit cannot.
    #[error(
        "cannot back up {path:?}: {} inside it are repositories of their own; save or remove them first",
        list_paths(inner)
    )]
    NestedRepository {
        /// The worktree.
        path: PathBuf,
        /// The nested repositories or changed submodules.
        inner: Vec<PathBuf>,
    },
    /// The backup ref is taken by another backup.
    #[error("backup ref `{name}` already exists with other content; choose another name")]
    BackupExists {
        /// The ref.
        name: String,
    },
}

impl GitError {
    /// Whether the caller's cancel flag ended it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::LockCancelled { .. } | Self::Run { source: ExecError::Cancelled { .. }, .. })
    }

    /// The time it was given, when it ran out of it.
    pub fn timed_out(&self) -> Option<Duration> {
        match self {
            Self::Run { source: ExecError::TimedOut { after, .. }, .. } => Some(*after),
            _ => None,
        }
    }
}

/// Makes an `io::Error` into a [`GitError::Io`] that says what was tried.
pub(super) fn io(tried: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> GitError {
    let path = path.into();
    move |source| GitError::Io { tried, path, source }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn list_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ")
}

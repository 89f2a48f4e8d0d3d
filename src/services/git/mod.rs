//! git, as metawsm needs it: worktrees, changes, commits limited to paths, merges tried before they are made.
//!
//! What holds for every call here:
//! - the environment carries none of the caller's `GIT_*`, git never prompts, and messages are in English;
//! - reads leave the repository byte for byte as it was (`GIT_OPTIONAL_LOCKS=0`);
//! - writes are one at a time per repository, across processes, by a file lock in [`Git::new`]'s directory;
//! - **no hook of the repository runs**: an unattended call must not hang on, or be changed by, what someone
//!   put into `.git/hooks`. Filters (git-lfs, line ends) and merge drivers are no hooks and do run. The one exception
//!   are commits of agents' work ([`Git::commit_work`]): who guards a repository by a hook means just these.
//! - nothing is ever reset, stashed, or force-checked-out.

pub mod backup;
pub mod blob;
pub mod branch;
pub mod call;
pub mod commit;
pub mod error;
pub mod merge;
pub mod push;
pub mod repo;
pub mod status;
pub mod work;
pub mod worktree;

mod lock;
mod scratch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use backup::Risk;
pub use blob::{blob_of, blob_of_bytes};
pub use branch::{Fetched, StartPoint};
pub use commit::CommitLine;
pub use error::GitError;
pub use merge::{MergeKind, MergePlan, MergeProblem};
pub use repo::RepoInfo;
pub use status::{Change, ChangeKind, parse_status};
pub use work::Author;
pub use worktree::Worktree;

/// The git adapter: cheap to clone, knows no repository of its own.
#[derive(Debug, Clone)]
pub struct Git {
    lock_dir: PathBuf,
    cancel: Option<Arc<AtomicBool>>,
    program: OsString,
    env: Vec<(OsString, OsString)>,
}

impl Git {
    /// An adapter whose write locks live in `lock_dir` (made at the first write, mode 0700). Every process
    /// that writes to the same repositories must be given the same directory.
    pub fn new(lock_dir: impl Into<PathBuf>) -> Self {
        Self { lock_dir: lock_dir.into(), cancel: None, program: OsString::from("git"), env: Vec::new() }
    }

    /// A flag that, once raised, ends reads, fetches, checkouts of new worktrees, and waits for the write lock.
    /// Short writes (commits, ref updates, merges) run to their end: cutting them would leave a stale lock.
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// The same, which nothing cuts off.
    fn to_the_end(&self) -> Self {
        Self { cancel: None, ..self.clone() }
    }

    /// Sets one variable in the environment of every call, after the inherited `GIT_*` were dropped.
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The program to call in place of `git`.
    pub fn with_program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }
}

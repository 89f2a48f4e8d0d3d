//! Worktrees: found, made, verified, removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::branch::{check_branch_name, short};
use super::call::Kind;
use super::error::io;
use super::lock::RepoLock;
use super::repo::path_of;
use super::{Git, GitError};

/// The reason that `git worktree add` itself gives while it is at work; left behind when it was killed.
const INITIALIZING: &str = "initializing";

/// A worktree as it was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Its top directory.
    pub path: PathBuf,
    /// The branch checked out there.
    pub branch: String,
    /// Full name of the commit at HEAD.
    pub head: String,
    /// Made by this very call; false: an earlier attempt had made it whole.
    pub created: bool,
}

/// One record of `git worktree list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registered {
    pub path: PathBuf,
    pub branch: Option<String>,
    pub locked: Option<String>,
}

impl Git {
    /// All worktrees, the main one first.
    pub(super) fn worktrees(&self, repo: &Path) -> Result<Vec<Registered>, GitError> {
        Ok(parse_worktrees(&self.read(repo).args(["worktree", "list", "--porcelain", "-z"]).ok()?))
    }

    fn registered_at(&self, repo: &Path, path: &Path) -> Result<Option<Registered>, GitError> {
        let wanted = resolved(path);
        Ok(self.worktrees(repo)?.into_iter().find(|found| found.path == path || resolved(&found.path) == wanted))
    }

    /// Makes sure that `path` is a worktree of `repo` on `branch`.
    ///
    /// With `finished` it only looks, and says what is missing. Without, the worktree was never handed to an
    /// agent: a whole one is taken as it is, what a killed earlier attempt left is removed and made afresh from
    /// `start_commit`. The branch is made, or used again when it is still at `start_commit`.
    ///
    /// # Errors
    /// [`GitError::Damaged`] (finished, but not as left), [`GitError::BranchTaken`], [`GitError::BranchInUse`],
    /// [`GitError::Occupied`] (something not ours at `path`), [`GitError::NoSuchRef`], [`GitError::Failed`].
    pub fn ensure_worktree(
        &self,
        repo: &Path,
        path: &Path,
        branch: &str,
        start_commit: &str,
        finished: bool,
    ) -> Result<Worktree, GitError> {
        check_branch_name(branch)?;
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(GitError::BadName { what: "absolute worktree path", name: path.display().to_string() });
        }
        if finished {
            return self.verify_worktree(repo, path, branch);
        }
        let lock = self.lock_repo(&self.common_dir(repo)?)?;
        let start = self.rev_parse(repo, start_commit)?;
        // The branch is judged before anything at `path` is touched.
        let tip = self.branch_tip(repo, branch)?;
        if let Some(tip) = tip.as_deref().filter(|tip| *tip != start) {
            let (tip, start) = (short(tip), short(&start));
            return Err(GitError::BranchTaken { branch: branch.to_owned(), tip, start });
        }
        if let Some(head) = self.whole_worktree(repo, path, branch, &start)? {
            return Ok(Worktree { path: path.to_path_buf(), branch: branch.to_owned(), head, created: false });
        }
        self.clear_leftover(&lock, repo, path, branch)?;
        if let Some(at) = self.branch_checked_out_at(repo, branch)? {
            return Err(GitError::BranchInUse { branch: branch.to_owned(), at });
        }
        self.add_worktree(&lock, repo, path, branch, tip.is_none().then_some(start.as_str()))?;
        let head = self.rev_parse(path, "HEAD")?;
        Ok(Worktree { path: path.to_path_buf(), branch: branch.to_owned(), head, created: true })
    }

    fn add_worktree(
        &self,
        _: &RepoLock,
        repo: &Path,
        path: &Path,
        branch: &str,
        new_at: Option<&str>,
    ) -> Result<(), GitError> {
        let call = self.call(Kind::Interruptible, repo).args(["worktree", "add", "--quiet"]);
        let call = match new_at {
            Some(start) => call.args(["--no-track", "-b", branch, "--"]).arg(path).arg(start),
            None => call.arg("--").arg(path).arg(branch),
        };
        call.ok().map(drop)
    }

    /// The finished worktree, or what is not right about it.
    fn verify_worktree(&self, repo: &Path, path: &Path, branch: &str) -> Result<Worktree, GitError> {
        let damaged = |what: String| Err(GitError::Damaged { path: path.to_path_buf(), what });
        let registered = self.registered_at(repo, path)?;
        if !path.is_dir() {
            return damaged("the directory is missing".to_owned());
        }
        let Some(registered) = registered else {
            return damaged(format!("{repo:?} does not know it as a worktree (`git worktree repair` may help)"));
        };
        if fs::symlink_metadata(path.join(".git")).is_err() {
            return damaged("its .git file is missing (`git worktree repair` may help)".to_owned());
        }
        if registered.branch.as_deref() != Some(branch) {
            let on = registered.branch.map_or("a detached HEAD".to_owned(), |other| format!("branch `{other}`"));
            return damaged(format!("it is on {on}, not on `{branch}`"));
        }
        match self.resolve(path, "HEAD") {
            Ok(Some(head)) => {
                Ok(Worktree { path: path.to_path_buf(), branch: branch.to_owned(), head, created: false })
            }
            Ok(None) => damaged(format!("branch `{branch}` has no commit")),
            Err(GitError::Failed { why, .. }) => damaged(why),
            Err(error) => Err(error),
        }
    }

    /// The HEAD of a worktree that an earlier attempt made to its end: on the branch, at the start, clean, and
    /// without a lock of a git that was killed.
    fn whole_worktree(&self, repo: &Path, path: &Path, branch: &str, start: &str) -> Result<Option<String>, GitError> {
        let Some(registered) = self.registered_at(repo, path)? else { return Ok(None) };
        if registered.branch.as_deref() != Some(branch) || registered.locked.is_some() {
            return Ok(None);
        }
        if !path.join(".git").is_file() || self.toplevel(path).is_ok_and(|top| resolved(&top) != resolved(path)) {
            return Ok(None);
        }
        let whole = || -> Result<Option<String>, GitError> {
            let git_dir = self.git_dir(path)?;
            if git_dir.join("index.lock").exists() || !git_dir.join("index").exists() {
                return Ok(None);
            }
            let head = self.resolve(path, "HEAD")?.filter(|head| head == start);
            Ok(head.filter(|_| self.status(path).is_ok_and(|changes| changes.is_empty())))
        };
        match whole() {
            // What git cannot even read is a leftover, not an error.
            Err(GitError::Failed { .. }) => Ok(None),
            other => other,
        }
    }

    /// Removes what a killed attempt left at `path`, and nothing else.
    fn clear_leftover(&self, _: &RepoLock, repo: &Path, path: &Path, branch: &str) -> Result<(), GitError> {
        let registered = self.registered_at(repo, path)?;
        self.check_is_leftover(repo, path, branch, registered.as_ref())?;
        // The directory goes first: git removes its own record of a worktree only if that one is intact or gone.
        remove_dir(path)?;
        if registered.is_some() {
            self.write(repo).args(["worktree", "remove", "--force", "--force", "--"]).arg(path).ok()?;
        }
        Ok(())
    }

    fn check_is_leftover(
        &self,
        repo: &Path,
        path: &Path,
        branch: &str,
        registered: Option<&Registered>,
    ) -> Result<(), GitError> {
        let occupied = |what: String| Err(GitError::Occupied { path: path.to_path_buf(), what });
        let common = self.common_dir(repo)?;
        let here = resolved(path);
        if resolved(&common).starts_with(&here) {
            return occupied("the repository itself".to_owned());
        }
        if let Some(Registered { branch: found, locked, .. }) = registered {
            if let Some(reason) = locked.as_deref().filter(|reason| *reason != INITIALIZING) {
                return occupied(format!("a locked worktree ({reason:?})"));
            }
            if let Some(other) = found.as_deref().filter(|other| *other != branch) {
                return occupied(format!("a worktree on branch `{other}`"));
            }
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io("look at", path)(error)),
            Ok(found) if !found.is_dir() => return occupied("something that is no directory".to_owned()),
            Ok(_) => {}
        }
        if path.join(".git").is_dir() {
            return occupied("a repository of its own".to_owned());
        }
        // A readable .git file that leads elsewhere makes it someone else's worktree; an unreadable one is a leftover.
        match fs::read_to_string(path.join(".git")) {
            Ok(text) => match text.trim_end().strip_prefix("gitdir: ").map(Path::new) {
                Some(target) if target.exists() && !resolved(target).starts_with(resolved(&common)) => {
                    occupied(format!("a worktree of another repository ({target:?})"))
                }
                _ => Ok(()),
            },
            Err(_) => Ok(()),
        }
    }

    /// Removes a worktree and git's record of it; nothing there any more is fine. Without `force` it must be
    /// clean; with `force` the caller has kept a [backup](Git::backup). A locked worktree is never removed.
    ///
    /// # Errors
    /// [`GitError::Dirty`], [`GitError::Occupied`], [`GitError::Damaged`] (not on `branch`, or without its `.git`
    /// file, and no `force`), [`GitError::Failed`].
    pub fn remove_worktree(&self, repo: &Path, path: &Path, branch: &str, force: bool) -> Result<(), GitError> {
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        let damaged = |what: String| Err(GitError::Damaged { path: path.to_path_buf(), what });
        let Some(registered) = self.registered_at(repo, path)? else {
            return match fs::symlink_metadata(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                _ => Err(GitError::Occupied {
                    path: path.to_path_buf(),
                    what: format!("something that is no worktree of {repo:?}"),
                }),
            };
        };
        if let Some(reason) = registered.locked.filter(|reason| !(force && reason == INITIALIZING)) {
            return Err(GitError::Occupied {
                path: path.to_path_buf(),
                what: format!("a locked worktree ({reason:?})"),
            });
        }
        if resolved(&self.common_dir(repo)?).starts_with(resolved(path)) {
            return Err(GitError::Occupied { path: path.to_path_buf(), what: "the repository itself".to_owned() });
        }
        let whole = path.join(".git").is_file();
        if path.exists() && !force {
            if !whole {
                return damaged("its .git file is missing; force removes it".to_owned());
            }
            if registered.branch.as_deref() != Some(branch) {
                return damaged(format!("it is no longer on `{branch}`; force removes it"));
            }
            let changes = self.status(path)?;
            if !changes.is_empty() {
                return Err(GitError::Dirty { path: path.to_path_buf(), changes });
            }
        }
        if !whole {
            remove_dir(path)?;
        }
        // One --force is for what is dirty, the second for the lock that a killed `worktree add` leaves.
        let forces = if force { &["--force", "--force"][..] } else { &[] };
        self.write(repo).args(["worktree", "remove"]).args(forces).arg("--").arg(path).ok().map(drop)
    }
}

fn remove_dir(path: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The path with every link on the way followed, also when its last part does not exist.
pub(super) fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

/// Reads `git worktree list --porcelain -z`.
pub(super) fn parse_worktrees(bytes: &[u8]) -> Vec<Registered> {
    let mut all: Vec<Registered> = Vec::new();
    for line in bytes.split(|byte| *byte == 0) {
        let (key, value) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[..0]),
        };
        if key == b"worktree" {
            all.push(Registered { path: path_of(value), ..Registered::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        let text = String::from_utf8_lossy(value);
        match key {
            b"branch" => last.branch = text.strip_prefix("refs/heads/").map(str::to_owned),
            b"locked" => last.locked = Some(text.into_owned()),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn worktrees_with_odd_paths_and_locks() {
        let text = b"worktree /a b\nc\0HEAD 1\0branch refs/heads/x/y\0\0worktree /d\0HEAD 2\0detached\0locked initializing\0\0";
        let found = parse_worktrees(text);
        assert_eq!(found[0].path, Path::new("/a b\nc"));
        assert_eq!(found[0].branch.as_deref(), Some("x/y"));
        assert_eq!((found[1].branch.as_deref(), found[1].locked.as_deref()), (None, Some("initializing")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_worktrees(&bytes);
        }
    }
}

//! Which repository a path belongs to.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::call::refused;
use super::{Git, GitError};

/// The repository around a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoInfo {
    /// Top directory of the checkout.
    pub toplevel: PathBuf,
    /// The `.git` directory shared by all worktrees.
    pub common_dir: PathBuf,
    /// Short name of the branch checked out, `None` with a detached HEAD.
    pub current_branch: Option<String>,
}

impl Git {
    /// git's version, such as `2.47.3`.
    ///
    /// # Errors
    /// [`GitError::Missing`] when git is not installed.
    pub fn version(&self) -> Result<String, GitError> {
        let line = self.read(Path::new("/")).arg("--version").line()?;
        line.split_whitespace()
            .nth(2)
            .map(str::to_owned)
            .ok_or_else(|| GitError::Unexpected { tried: "git --version".to_owned(), what: line.clone() })
    }

    /// The repository that `path` (a directory) is in.
    ///
    /// # Errors
    /// [`GitError::NoSuchPath`], [`GitError::NotARepository`], [`GitError::Bare`], [`GitError::Missing`].
    pub fn inspect(&self, path: &Path) -> Result<RepoInfo, GitError> {
        if !path.is_dir() {
            return Err(GitError::NoSuchPath { path: path.to_path_buf() });
        }
        let call = self.read(path).args(["rev-parse", "--is-bare-repository", "--is-inside-work-tree"]);
        let (output, tried) = call.args(["--path-format=absolute", "--git-common-dir"]).output()?;
        if !output.ok() {
            if output.complaint().contains("not a git repository") {
                return Err(GitError::NotARepository { path: path.to_path_buf() });
            }
            return Err(refused(tried, path.to_path_buf(), &output));
        }
        // The two answers come first, so that a line end in the directory's name does no harm.
        let (bare, inside, common) = split_two_lines(&output.stdout).ok_or_else(|| GitError::Unexpected {
            tried,
            what: String::from_utf8_lossy(&output.stdout).into_owned(),
        })?;
        if bare || !inside {
            return Err(GitError::Bare { path: path.to_path_buf() });
        }
        let top = self.read(path).args(["rev-parse", "--path-format=absolute", "--show-toplevel"]).ok()?;
        Ok(RepoInfo { toplevel: path_line(&top), common_dir: common, current_branch: self.current_branch(path)? })
    }

    /// The branch checked out in this worktree, `None` with a detached HEAD.
    ///
    /// # Errors
    /// [`GitError::Failed`] when this is no checkout.
    pub fn current_branch(&self, worktree: &Path) -> Result<Option<String>, GitError> {
        let name = self.read(worktree).args(["symbolic-ref", "-q", "HEAD"]).maybe()?;
        Ok(name.and_then(|bytes| {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            text.strip_prefix("refs/heads/").map(str::to_owned)
        }))
    }

    /// The directory shared by all worktrees of the repository, also of a bare one.
    pub(super) fn common_dir(&self, repo: &Path) -> Result<PathBuf, GitError> {
        self.dir_of(repo, "--git-common-dir")
    }

    /// The git directory of this very worktree.
    pub(super) fn git_dir(&self, worktree: &Path) -> Result<PathBuf, GitError> {
        self.dir_of(worktree, "--git-dir")
    }

    /// The top directory of this checkout.
    pub(super) fn toplevel(&self, worktree: &Path) -> Result<PathBuf, GitError> {
        self.dir_of(worktree, "--show-toplevel")
    }

    fn dir_of(&self, path: &Path, which: &str) -> Result<PathBuf, GitError> {
        Ok(path_line(&self.read(path).args(["rev-parse", "--path-format=absolute", which]).ok()?))
    }

    /// A merge or the like that someone has begun in this checkout, by name.
    ///
    /// # Errors
    /// [`GitError::Failed`] when this is no checkout.
    pub fn operation_in_progress(&self, worktree: &Path) -> Result<Option<&'static str>, GitError> {
        const MARKS: [(&str, &str); 5] = [
            ("MERGE_HEAD", "merge"),
            ("rebase-merge", "rebase"),
            ("rebase-apply", "rebase"),
            ("CHERRY_PICK_HEAD", "cherry-pick"),
            ("REVERT_HEAD", "revert"),
        ];
        let dir = self.git_dir(worktree)?;
        Ok(MARKS.iter().find(|(mark, _)| dir.join(mark).exists()).map(|(_, what)| *what))
    }
}

/// A path printed on a line of its own, whatever bytes it has.
pub(super) fn path_line(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec()))
}

/// A path as git printed it between NULs.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn split_two_lines(bytes: &[u8]) -> Option<(bool, bool, PathBuf)> {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let bare = parts.next()? == b"true";
    let inside = parts.next()? == b"true";
    Some((bare, inside, path_line(parts.next()?)))
}

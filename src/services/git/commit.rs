//! Commits: listed, and made of exactly the paths that metawsm wrote (D31).

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::branch::short;
use super::scratch::Scratch;
use super::{Git, GitError};

/// Who signs commits where the user has configured nobody.
pub(super) const NOBODY: [(&str, &str); 2] = [("NAME", "metawsm"), ("EMAIL", "metawsm@localhost")];

/// A commit in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitLine {
    /// Full commit name.
    pub sha: String,
    /// First line of its message.
    pub subject: String,
}

impl Git {
    /// The commits in `head` and in none of `exclude_refs`, newest first. Refs that do not exist exclude nothing.
    ///
    /// # Errors
    /// [`GitError::NoSuchRef`] when `head` is no commit.
    pub fn commits_between(&self, repo: &Path, exclude_refs: &[&str], head: &str) -> Result<Vec<CommitLine>, GitError> {
        let mut excluded = Vec::new();
        for name in exclude_refs {
            excluded.extend(self.resolve(repo, name)?);
        }
        let head = self.rev_parse(repo, head)?;
        self.list_commits(repo, &[head], &excluded, false)
    }

    /// Commits in `heads`, not in `excluded`, nor (on demand) in any remote-tracking branch.
    pub(super) fn list_commits(
        &self,
        repo: &Path,
        heads: &[String],
        excluded: &[String],
        exclude_remotes: bool,
    ) -> Result<Vec<CommitLine>, GitError> {
        let mut call = self.read(repo).args(["rev-list", "--no-commit-header", "--encoding=UTF-8", "--format=%H %s"]);
        call = call.args(heads).arg("--not").args(excluded);
        if exclude_remotes {
            call = call.arg("--remotes");
        }
        let text = String::from_utf8_lossy(&call.arg("--").ok()?).into_owned();
        Ok(text.lines().filter_map(commit_line).collect())
    }

    /// Commits exactly `paths` (files relative to the top of the checkout; deleted ones too) as they are on disk.
    /// What others have staged or changed stays as it is. No hooks, no signature; the user's identity, or
    /// `metawsm <metawsm@localhost>`. Untracked paths that the repository ignores are left out.
    /// `None` when nothing of them differs from HEAD.
    ///
    /// Done with a second index beside the real one: `git commit --only` would run hooks and refuse new files.
    ///
    /// # Errors
    /// [`GitError::InProgress`] during a merge or rebase, [`GitError::OutsideWorktree`], [`GitError::Failed`]
    /// (also when the branch moved meanwhile, or the index is locked by another git).
    pub fn commit_paths<P: AsRef<Path>>(
        &self,
        worktree: &Path,
        paths: &[P],
        message: &str,
    ) -> Result<Option<String>, GitError> {
        for path in paths.iter().map(AsRef::as_ref) {
            check_inside(path)?;
        }
        let top = self.toplevel(worktree)?;
        let _lock = self.lock_repo(&self.common_dir(worktree)?)?;
        if let Some(what) = self.operation_in_progress(worktree)? {
            return Err(GitError::InProgress { path: top, what });
        }
        let list = self.without_ignored(&top, paths.iter().map(|path| path.as_ref().to_path_buf()).collect())?;
        if list.is_empty() {
            return Ok(None);
        }
        let scratch = Scratch::new()?;
        let index = scratch.join("index");
        let head = self.resolve(&top, "HEAD")?;
        let tree = self.tree_with(&top, &index, head.as_deref(), &list)?;
        let old_tree = match &head {
            Some(head) => self.read(&top).args(["rev-parse", "--verify"]).arg(format!("{head}^{{tree}}")).line()?,
            None => self.write(&top).args(["hash-object", "-t", "tree", "-w", "--stdin"]).line()?,
        };
        // The real index comes first: killed in between, the paths are staged, and the next call commits them.
        self.update_index(&top, None, &list)?;
        if tree == old_tree {
            return Ok(None);
        }
        let parents: Vec<&str> = head.as_deref().into_iter().collect();
        let commit = self.commit_tree(&top, &tree, &parents, message, &[])?;
        let note = format!("commit: {}", message.lines().next().unwrap_or_default());
        let old = head.unwrap_or_else(|| "0".repeat(commit.len()));
        self.write(&top).args(["update-ref", "-m"]).arg(note).args(["HEAD", &commit, &old]).ok()?;
        Ok(Some(commit))
    }

    /// The tree of HEAD with these paths as they are on disk.
    fn tree_with(&self, top: &Path, index: &Path, head: Option<&str>, list: &[PathBuf]) -> Result<String, GitError> {
        let read_tree = self.write(top).env("GIT_INDEX_FILE", index).args(["-c", "core.splitIndex=false", "read-tree"]);
        read_tree.arg(head.unwrap_or("--empty")).ok()?;
        self.update_index(top, Some(index), list)?;
        self.write(top).env("GIT_INDEX_FILE", index).arg("write-tree").line()
    }

    fn update_index(&self, top: &Path, index: Option<&Path>, list: &[PathBuf]) -> Result<(), GitError> {
        let mut call = self.write(top);
        if let Some(index) = index {
            call = call.env("GIT_INDEX_FILE", index).args(["-c", "core.splitIndex=false"]);
        }
        call.args(["update-index", "--add", "--remove", "-z", "--stdin"]).stdin(nul_list(list)).ok().map(drop)
    }

    /// Without those that are not tracked and ignored, sorted (a file before what replaces it as a directory).
    fn without_ignored(&self, top: &Path, mut list: Vec<PathBuf>) -> Result<Vec<PathBuf>, GitError> {
        list.sort();
        list.dedup();
        // check-ignore reads pathspecs; with `./` in front none of them is taken for magic such as `:(top)`.
        let dotted: Vec<PathBuf> = list.iter().map(|path| Path::new(".").join(path)).collect();
        let ignored = self.read(top).args(["check-ignore", "-z", "--stdin"]).stdin(nul_list(&dotted)).maybe()?;
        let ignored = ignored.unwrap_or_default();
        let ignored: HashSet<&[u8]> = ignored.split(|byte| *byte == 0).collect();
        let mut dotted = dotted.iter();
        list.retain(|_| dotted.next().is_none_or(|path| !ignored.contains(path.as_os_str().as_bytes())));
        Ok(list)
    }

    /// A commit object, in nobody's branch yet. `env` may send it to another object directory.
    pub(super) fn commit_tree(
        &self,
        repo: &Path,
        tree: &str,
        parents: &[&str],
        message: &str,
        env: &[(&str, OsString)],
    ) -> Result<String, GitError> {
        let mut call = self.write(repo);
        for role in ["AUTHOR", "COMMITTER"] {
            if !self.has_identity(repo, role)? {
                for (part, value) in NOBODY {
                    call = call.env(&format!("GIT_{role}_{part}"), value);
                }
            }
        }
        for (name, value) in env {
            call = call.env(name, value);
        }
        call = call.args(["commit-tree", tree]);
        for parent in parents {
            call = call.args(["-p", parent]);
        }
        call.args(["-F", "-"]).stdin(message.as_bytes()).line()
    }

    /// Whether git has a configured identity for this role; guesses from the host's name do not count.
    pub(super) fn has_identity(&self, repo: &Path, role: &str) -> Result<bool, GitError> {
        let call = self.read(repo).args(["-c", "user.useConfigOnly=true", "var"]);
        Ok(call.arg(format!("GIT_{role}_IDENT")).output()?.0.ok())
    }

    /// Errors when `branch` is not at `expected` any more.
    ///
    /// # Errors
    /// [`GitError::BranchMoved`], [`GitError::NoSuchRef`].
    pub fn expect_tip(&self, repo: &Path, branch: &str, expected: &str) -> Result<(), GitError> {
        let actual = self.tip_of(repo, branch)?;
        if actual == expected {
            return Ok(());
        }
        Err(GitError::BranchMoved { branch: branch.to_owned(), expected: short(expected), actual: short(&actual) })
    }
}

fn commit_line(line: &str) -> Option<CommitLine> {
    let (sha, subject) = line.split_once(' ').unwrap_or((line, ""));
    (!sha.is_empty()).then(|| CommitLine { sha: sha.to_owned(), subject: subject.to_owned() })
}

pub(super) fn nul_list(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| path.as_os_str().as_bytes().iter().copied().chain([0])).collect()
}

/// A path must be relative, plain, and out of `.git`.
pub(super) fn check_inside(path: &Path) -> Result<(), GitError> {
    let mut parts = path.components().peekable();
    let plain = parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git")));
    // NUL separates paths on their way to git.
    if plain && !path.as_os_str().as_bytes().contains(&0) {
        return Ok(());
    }
    Err(GitError::OutsideWorktree { path: path.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_inside() {
        for good in ["a", "a/b c", "-x", ":(top)a"] {
            assert!(check_inside(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["", "/a", "../a", "a/../../b", ".git/config", "a/.GIT/x", "./a/.."] {
            assert!(check_inside(Path::new(bad)).is_err(), "{bad}");
        }
    }
}

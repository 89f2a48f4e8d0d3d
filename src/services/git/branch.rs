//! Branches, commits, the base they start from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::call::Kind;
use super::{Git, GitError};

/// Branches named in an error; more would not be read.
const BRANCHES_NAMED: &str = "--count=20";

/// How a fetch of the base branch ended. None of these stops a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// `origin/<base>` is as the remote has it.
    Done,
    /// There is no remote `origin`.
    NoRemote,
    /// It could not be fetched; this is why.
    Failed(String),
}

/// Where new work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPoint {
    /// `main` or `origin/main`.
    pub ref_name: String,
    /// Full commit name.
    pub commit: String,
}

impl Git {
    /// Fetches `origin <base>` into `refs/remotes/origin/<base>`, within `timeout`, without ever prompting, and
    /// without touching FETCH_HEAD, tags or submodules.
    ///
    /// # Errors
    /// Only when git is missing, the repository cannot be read, or the caller cancelled; a fetch that fails or
    /// takes too long is [`Fetched::Failed`].
    pub fn fetch_base(&self, repo: &Path, base: &str, timeout: Duration) -> Result<Fetched, GitError> {
        check_branch_name(base)?;
        if self.read(repo).args(["config", "--get-all", "remote.origin.url"]).maybe()?.is_none() {
            return Ok(Fetched::NoRemote);
        }
        let ssh = self.ssh_command(repo)?;
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        let fetched = self
            .call(Kind::Network(timeout), repo)
            .env("GIT_SSH_COMMAND", ssh)
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "origin"])
            .arg(format!("+refs/heads/{base}:refs/remotes/origin/{base}"))
            .ok();
        match fetched {
            Ok(_) => Ok(Fetched::Done),
            Err(GitError::Failed { why, .. }) => Ok(Fetched::Failed(why)),
            Err(error) => match error.timed_out() {
                Some(after) => {
                    Ok(Fetched::Failed(format!("the remote did not answer within {} s", after.as_secs_f32())))
                }
                None => Err(error),
            },
        }
    }

    /// Where work on `base` starts: whichever of `origin/<base>` and `<base>` contains the other.
    ///
    /// # Errors
    /// [`GitError::Empty`], [`GitError::BaseMissing`], [`GitError::Diverged`].
    pub fn start_point(&self, repo: &Path, base: &str) -> Result<StartPoint, GitError> {
        check_branch_name(base)?;
        let remote_name = format!("origin/{base}");
        let local = self.resolve(repo, &format!("refs/heads/{base}"))?;
        let remote = self.resolve(repo, &format!("refs/remotes/{remote_name}"))?;
        let (ref_name, commit) = match (local, remote) {
            (Some(local), None) => (base.to_owned(), local),
            (None, Some(remote)) => (remote_name, remote),
            (Some(local), Some(remote)) if self.is_ancestor(repo, &remote, &local)? => (base.to_owned(), local),
            (Some(local), Some(remote)) if self.is_ancestor(repo, &local, &remote)? => (remote_name, remote),
            (Some(local), Some(remote)) => {
                return Err(GitError::Diverged {
                    repo: repo.to_path_buf(),
                    local: base.to_owned(),
                    local_sha: short(&local),
                    remote: remote_name,
                    remote_sha: short(&remote),
                });
            }
            (None, None) => return Err(self.no_base(repo, base, remote_name)?),
        };
        Ok(StartPoint { ref_name, commit })
    }

    fn no_base(&self, repo: &Path, base: &str, remote_name: String) -> Result<GitError, GitError> {
        let names = self
            .read(repo)
            .args(["for-each-ref", BRANCHES_NAMED, "--format=%(refname:short)", "refs/heads", "refs/remotes"])
            .line()?;
        let branches: Vec<String> = names.lines().map(str::to_owned).collect();
        if branches.is_empty() && self.resolve(repo, "HEAD")?.is_none() {
            return Ok(GitError::Empty { repo: repo.to_path_buf(), base: base.to_owned() });
        }
        Ok(GitError::BaseMissing { repo: repo.to_path_buf(), looked_for: vec![base.to_owned(), remote_name], branches })
    }

    /// Whether there is a local branch of this name.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository cannot be read.
    pub fn branch_exists(&self, repo: &Path, branch: &str) -> Result<bool, GitError> {
        Ok(self.branch_tip(repo, branch)?.is_some())
    }

    /// The full commit name of a local branch, `None` when there is no such branch.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository cannot be read.
    pub fn branch_tip(&self, repo: &Path, branch: &str) -> Result<Option<String>, GitError> {
        check_branch_name(branch)?;
        self.resolve(repo, &format!("refs/heads/{branch}"))
    }

    /// The tip of a branch that must be there: what a fork of it starts from.
    ///
    /// # Errors
    /// [`GitError::NoSuchRef`].
    pub fn tip_of(&self, repo: &Path, branch: &str) -> Result<String, GitError> {
        self.branch_tip(repo, branch)?
            .ok_or_else(|| GitError::NoSuchRef { repo: repo.to_path_buf(), name: branch.to_owned() })
    }

    /// The full name of the commit that `revision` stands for.
    ///
    /// # Errors
    /// [`GitError::NoSuchRef`].
    pub fn rev_parse(&self, repo: &Path, revision: &str) -> Result<String, GitError> {
        self.resolve(repo, revision)?
            .ok_or_else(|| GitError::NoSuchRef { repo: repo.to_path_buf(), name: revision.to_owned() })
    }

    /// The commit a revision stands for, if there is one.
    pub(super) fn resolve(&self, repo: &Path, revision: &str) -> Result<Option<String>, GitError> {
        let call = self.read(repo).args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        // With --quiet git answers 1 for "no such", 128 for some malformed revisions, and says nothing.
        let (output, tried) = call.arg(format!("{revision}^{{commit}}")).output()?;
        match output.status {
            Some(0) => Ok(Some(output.text().trim_end().to_owned())),
            Some(1) => Ok(None),
            Some(128) if output.stderr.is_empty() => Ok(None),
            _ => Err(super::call::refused(tried, repo.to_path_buf(), &output)),
        }
    }

    /// Whether `descendant` contains `ancestor` (a commit contains itself).
    ///
    /// # Errors
    /// [`GitError::Failed`] when one of them is no commit.
    pub fn is_ancestor(&self, repo: &Path, ancestor: &str, descendant: &str) -> Result<bool, GitError> {
        self.read(repo).args(["merge-base", "--is-ancestor", "--end-of-options", ancestor, descendant]).yes()
    }

    /// The checkout that has this branch, if one has; also one whose directory is missing but still registered.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository cannot be read.
    pub fn branch_checked_out_at(&self, repo: &Path, branch: &str) -> Result<Option<PathBuf>, GitError> {
        let all = self.worktrees(repo)?;
        Ok(all.into_iter().find(|found| found.branch.as_deref() == Some(branch)).map(|found| found.path))
    }

    /// Deletes a local branch, if it is still at `expected_tip`. True: deleted; false: it was not there.
    ///
    /// # Errors
    /// [`GitError::BranchInUse`], [`GitError::BranchMoved`].
    pub fn delete_branch(&self, repo: &Path, branch: &str, expected_tip: &str) -> Result<bool, GitError> {
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        let Some(actual) = self.branch_tip(repo, branch)? else { return Ok(false) };
        if actual != expected_tip {
            let (expected, actual) = (short(expected_tip), short(&actual));
            return Err(GitError::BranchMoved { branch: branch.to_owned(), expected, actual });
        }
        if let Some(at) = self.branch_checked_out_at(repo, branch)? {
            return Err(GitError::BranchInUse { branch: branch.to_owned(), at });
        }
        self.write(repo).args(["update-ref", "-d"]).arg(format!("refs/heads/{branch}")).arg(expected_tip).ok()?;
        // Most branches of ours have no section of their own; its absence is the usual case.
        let section = format!("branch.{branch}");
        let _ = self.write(repo).args(["config", "--local", "--remove-section"]).arg(section).output()?;
        Ok(true)
    }
}

/// The abbreviated name of a commit, for people.
pub(super) fn short(sha: &str) -> String {
    sha.chars().take(10).collect()
}

/// What `git check-ref-format --branch` refuses, without starting a process for it.
pub(super) fn check_branch_name(name: &str) -> Result<(), GitError> {
    let bad_char = |c: char| c.is_control() || c == '\u{7f}' || " ~^:?*[\\".contains(c);
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad = name.is_empty()
        || name == "@"
        || name == "HEAD"
        || name.starts_with('-')
        || name.ends_with('.')
        || name.contains("..")
        || name.contains("@{")
        || name.chars().any(bad_char)
        || name.split('/').any(bad_part);
    if bad { Err(GitError::BadName { what: "branch name", name: name.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names_are_checked_as_git_does() {
        for good in ["main", "feature/x-1", "metawsm/met-1-2026", "ünïcode"] {
            assert!(check_branch_name(good).is_ok(), "{good}");
        }
        for bad in
            ["", "-x", "a..b", "a b", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "@", "a@{1}", "a\n"]
        {
            assert!(check_branch_name(bad).is_err(), "{bad:?}");
        }
    }
}

//! Pushing a commit to a branch of `origin`.

use std::path::Path;
use std::time::Duration;

use super::branch::check_branch_name;
use super::call::Kind;
use super::{Git, GitError};

impl Git {
    /// Where `origin` is; `None` where there is no such remote.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the repository cannot be read.
    pub fn origin(&self, repo: &Path) -> Result<Option<String>, GitError> {
        let url = self.read(repo).args(["config", "--get", "remote.origin.url"]).maybe()?;
        Ok(url.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()).filter(|url| !url.is_empty()))
    }

    /// Pushes a commit to a branch of `origin`, never over what is there, never prompting, within `limit`. The owner's
    /// `pre-push` hook runs: without it files kept by git-lfs would stay behind.
    ///
    /// # Errors
    /// [`GitError::Failed`] with git's words, [`GitError::Run`] when it takes too long.
    pub fn push(&self, repo: &Path, commit: &str, branch: &str, limit: Duration) -> Result<(), GitError> {
        check_branch_name(branch)?;
        let ssh = self.ssh_command(repo)?;
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        self.call(Kind::Hooked(limit), repo)
            .env("GIT_SSH_COMMAND", ssh)
            .args(["-c", "credential.interactive=false", "push", "--quiet", "--no-follow-tags", "origin"])
            .arg(format!("{commit}:refs/heads/{branch}"))
            .ok()
            .map(drop)
    }

    /// The user's own ssh command, which may not ask: keys and proxies may depend on it.
    pub(super) fn ssh_command(&self, repo: &Path) -> Result<String, GitError> {
        let own = self.read(repo).args(["config", "--get", "core.sshCommand"]).maybe()?;
        let own = own.map_or_else(|| "ssh".to_owned(), |bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
        Ok(format!("{own} -o BatchMode=yes"))
    }
}

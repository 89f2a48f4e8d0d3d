//! What would be lost with a worktree, and a copy of it that outlives the worktree.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::io;
use super::repo::path_of;
use super::scratch::Scratch;
use super::status::Change;
use super::{CommitLine, Git, GitError};

/// Under which all backups are recorded: out of the way of branches, tags and remotes, safe from gc.
const BACKUP_PREFIX: &str = "refs/metawsm/backup/";

/// What would be lost with a worktree and its branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Risk {
    /// Changes not committed.
    pub dirty: Vec<Change>,
    /// Commits in neither a base nor any remote-tracking branch, newest first.
    pub unmerged: Vec<CommitLine>,
}

impl Risk {
    /// Whether nothing would be lost.
    pub fn is_none(&self) -> bool {
        self.dirty.is_empty() && self.unmerged.is_empty()
    }
}

impl Git {
    /// What would be lost with `worktree` and `branch`. `base_refs` such as `main`, `origin/main`; those that do
    /// not exist are passed over, so is a worktree or branch that is already gone. A detached HEAD counts too.
    ///
    /// # Errors
    /// [`GitError::Failed`] when the worktree is there but cannot be read.
    pub fn at_risk(&self, repo: &Path, worktree: &Path, branch: &str, base_refs: &[&str]) -> Result<Risk, GitError> {
        // Without its .git file a directory would be taken for a part of a repository around it.
        let there = fs::symlink_metadata(worktree.join(".git")).is_ok();
        let dirty = if there { self.status(worktree)? } else { Vec::new() };
        let mut heads: Vec<String> = self.branch_tip(repo, branch)?.into_iter().collect();
        if there {
            heads.extend(self.resolve(worktree, "HEAD")?);
        }
        if heads.is_empty() {
            return Ok(Risk { dirty, unmerged: Vec::new() });
        }
        let mut excluded = Vec::new();
        for base in base_refs {
            excluded.extend(self.resolve(repo, base)?);
        }
        Ok(Risk { dirty, unmerged: self.list_commits(repo, &heads, &excluded, true)? })
    }

    /// A commit with HEAD as its parent and every modified, deleted and untracked (not ignored) file as it is on
    /// disk, recorded at `ref_name`, which begins with `refs/metawsm/backup/`. The worktree and its index stay
    /// as they are. The same backup again gives the first one's commit.
    ///
    /// # Errors
    /// [`GitError::NestedRepository`] when a repository or changed submodule inside could not be kept,
    /// [`GitError::BackupExists`], [`GitError::BadName`], [`GitError::Failed`] (an unreadable file, say).
    pub fn backup(&self, repo: &Path, worktree: &Path, ref_name: &str) -> Result<String, GitError> {
        self.check_backup_ref(repo, ref_name)?;
        let top = self.toplevel(worktree)?;
        if super::worktree::resolved(&top) != super::worktree::resolved(worktree) {
            let what = "it has no .git file of its own".to_owned();
            return Err(GitError::Damaged { path: worktree.to_path_buf(), what });
        }
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        let scratch = Scratch::new()?;
        let index = scratch.join("index");
        let head = self.resolve(&top, "HEAD")?;
        let tree = self.tree_of_everything(&top, &index, head.as_deref())?;
        if let Some(kept) = self.resolve(repo, ref_name)? {
            let same = self.rev_names(repo, &kept)? == (tree, head);
            return if same { Ok(kept) } else { Err(GitError::BackupExists { name: ref_name.to_owned() }) };
        }
        let parents: Vec<&str> = head.as_deref().into_iter().collect();
        let message = format!("metawsm backup of {}\n", top.display());
        let commit = self.commit_tree(&top, &tree, &parents, &message, &[])?;
        let nothing = "0".repeat(commit.len());
        self.write(repo).args(["update-ref", "-m", "metawsm: backup", ref_name, &commit, &nothing]).ok()?;
        Ok(commit)
    }

    fn tree_of_everything(&self, top: &Path, index: &Path, head: Option<&str>) -> Result<String, GitError> {
        let changed_submodules = self.status_entries(top)?.into_iter().filter(|entry| entry.submodule);
        let mut inner: Vec<PathBuf> = changed_submodules.map(|entry| entry.change.path).collect();
        // An untracked repository shows as one path with a slash at its end.
        let untracked = self.status(top)?.into_iter().map(|change| change.path);
        inner.extend(untracked.filter(|path| path.as_os_str().as_encoded_bytes().ends_with(b"/")));
        self.refuse_nested(top, inner)?;
        let real = self.git_dir(top)?.join("index");
        if real.is_file() {
            // A copy of the real index keeps what git knows about unchanged files, so that they are not read again.
            fs::copy(&real, index).map_err(io("copy the index", &real))?;
        } else {
            self.with_index(top, index).arg("read-tree").arg(head.unwrap_or("--empty")).ok()?;
        }
        self.with_index(top, index).args(["-c", "core.safecrlf=false", "add", "--all", "--", "."]).ok()?;
        let against = match head {
            Some(head) => head.to_owned(),
            None => self.write(top).args(["hash-object", "-t", "tree", "-w", "--stdin"]).line()?,
        };
        let raw = self.with_index(top, index).args(["diff-index", "--cached", "--raw", "-z", "--no-renames"]);
        self.refuse_nested(top, new_gitlinks(&raw.arg(against).ok()?))?;
        self.with_index(top, index).arg("write-tree").line()
    }

    fn with_index(&self, top: &Path, index: &Path) -> super::call::Call<'_> {
        self.write(top).env("GIT_INDEX_FILE", index).args(["-c", "core.splitIndex=false", "-c", "core.fsmonitor=false"])
    }

    fn refuse_nested(&self, top: &Path, inner: Vec<PathBuf>) -> Result<(), GitError> {
        if inner.is_empty() { Ok(()) } else { Err(GitError::NestedRepository { path: top.to_path_buf(), inner }) }
    }

    /// The tree and the first parent of a commit.
    fn rev_names(&self, repo: &Path, commit: &str) -> Result<(String, Option<String>), GitError> {
        let tree = self.read(repo).args(["rev-parse", "--verify"]).arg(format!("{commit}^{{tree}}")).line()?;
        Ok((tree, self.resolve(repo, &format!("{commit}^1"))?))
    }

    fn check_backup_ref(&self, repo: &Path, name: &str) -> Result<(), GitError> {
        let good = name.starts_with(BACKUP_PREFIX) && self.read(repo).args(["check-ref-format", name]).output()?.0.ok();
        if good { Ok(()) } else { Err(GitError::BadName { what: "backup ref", name: name.to_owned() }) }
    }
}

/// The submodule entries that `diff-index --raw -z` shows as new or changed.
fn new_gitlinks(raw: &[u8]) -> Vec<PathBuf> {
    let mut records = raw.split(|byte| *byte == 0);
    let mut found = Vec::new();
    while let (Some(meta), Some(path)) = (records.next(), records.next()) {
        // `:old_mode new_mode old_hash new_hash status`
        if meta.split(|byte| *byte == b' ').nth(1) == Some(b"160000") {
            found.push(path_of(path));
        }
    }
    found
}

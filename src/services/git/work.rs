//! Commits of agents' work: added to the branch as it stands (D2), through the repository's own hooks.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::call::Kind;
use super::commit::{NOBODY, check_inside, nul_list};
use super::repo::path_of;
use super::{Git, GitError};

/// Who is named as the author of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The address, where it is not the user's own.
    pub email: Option<String>,
}

impl Author {
    /// Reads `NAME` or `NAME <EMAIL>`; `None` where there is no name in it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, email) = match text.strip_suffix('>').and_then(|head| head.rsplit_once('<')) {
            Some((name, email)) => (name.trim(), Some(email.trim()).filter(|email| !email.is_empty())),
            None => (text, None),
        };
        let plain = |part: &str| !part.is_empty() && !part.contains(['<', '>']) && !part.chars().any(char::is_control);
        let fits = plain(name) && email.is_none_or(plain);
        fits.then(|| Self { name: name.to_owned(), email: email.map(str::to_owned) })
    }
}

impl Git {
    /// Stages these paths as they are on disk (deleted ones too) and commits what is staged then. Hooks run, for at most
    /// `limit` altogether; nothing is signed, for nobody is there to be asked. `None` when nothing differs from HEAD.
    ///
    /// What a hook refuses is not left staged, where nothing else was staged meanwhile. Killed in between, the paths are
    /// staged, and the next call commits them.
    ///
    /// # Errors
    /// [`GitError::InProgress`] during a merge or rebase, [`GitError::Failed`] with the words of a hook that says no,
    /// [`GitError::Run`] when one takes too long.
    pub fn commit_work(
        &self,
        worktree: &Path,
        paths: &[PathBuf],
        message: &str,
        author: Option<&Author>,
        limit: Duration,
    ) -> Result<Option<String>, GitError> {
        paths.iter().try_for_each(|path| check_inside(path))?;
        let top = self.toplevel(worktree)?;
        let _lock = self.lock_repo(&self.common_dir(worktree)?)?;
        if let Some(what) = self.operation_in_progress(worktree)? {
            return Err(GitError::InProgress { path: top, what });
        }
        let mut list = paths.to_vec();
        // A file before what replaces it as a directory.
        list.sort();
        list.dedup();
        let index = self.git_dir(&top)?.join("index");
        let before = std::fs::read(&index).ok();
        let stage = self.write(&top).args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
        stage.stdin(nul_list(&list)).ok()?;
        if self.read(&top).args(["diff", "--cached", "--quiet", "--no-ext-diff"]).yes()? {
            return Ok(None);
        }
        let mut call = self.call(Kind::Hooked(limit), &top);
        for role in ["AUTHOR", "COMMITTER"] {
            if !self.has_identity(&top, role)? {
                for (part, value) in NOBODY {
                    call = call.env(&format!("GIT_{role}_{part}"), value);
                }
            }
        }
        if let Some(author) = author {
            call = call.env("GIT_AUTHOR_NAME", &author.name);
            if let Some(email) = &author.email {
                call = call.env("GIT_AUTHOR_EMAIL", email);
            }
        }
        let staged = self.staged(&top)?;
        let done = call.args(["commit", "--quiet", "--no-gpg-sign", "-F", "-"]).stdin(message.as_bytes()).ok();
        // Also who was told to end sees that it is as it was, or notes what is done.
        let after = self.to_the_end();
        if let (Err(_), Some(before)) = (&done, before)
            && after.staged(&top).is_ok_and(|now| now == staged)
        {
            // Where it cannot be put back it stays staged, which loses nothing.
            let _ = put_back(&index, &before);
        }
        done?;
        after.rev_parse(&top, "HEAD").map(Some)
    }

    fn staged(&self, top: &Path) -> Result<Vec<u8>, GitError> {
        self.read(top).args(["ls-files", "--stage", "-z"]).ok()
    }

    /// The author of a commit, as `NAME <EMAIL>`.
    ///
    /// # Errors
    /// [`GitError::Failed`] when there is no such commit.
    pub fn author_of(&self, repo: &Path, commit: &str) -> Result<String, GitError> {
        self.read(repo).args(["show", "--no-patch", "--format=%an <%ae>", "--end-of-options", commit]).line()
    }

    /// The files that `head` has otherwise than `base` had where the two parted, those that are gone left out.
    ///
    /// # Errors
    /// [`GitError::Failed`] when one of them is no commit, or they have nothing in common.
    pub fn changed_since(&self, repo: &Path, base: &str, head: &str) -> Result<Vec<PathBuf>, GitError> {
        let call = self.read(repo).args(["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff"]);
        let out = call.args(["--diff-filter=d", "--end-of-options"]).arg(format!("{base}...{head}")).arg("--").ok()?;
        Ok(out.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(path_of).collect())
    }
}

/// Puts an index back under its own lock, so that another git is not disturbed.
fn put_back(index: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let lock = index.with_file_name("index.lock");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&lock)?;
    let put = file.write_all(bytes).and_then(|()| std::fs::rename(&lock, index));
    if put.is_err() {
        let _ = std::fs::remove_file(&lock);
    }
    put
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_a_name_with_or_without_an_address() {
        let author =
            |name: &str, email: Option<&str>| Some(Author { name: name.to_owned(), email: email.map(str::to_owned) });
        assert_eq!(Author::parse(" Ada L. "), author("Ada L.", None));
        assert_eq!(Author::parse("Ada <ada@example.org>"), author("Ada", Some("ada@example.org")));
        assert_eq!(Author::parse("Ada <>"), author("Ada", None));
        for bad in ["", "<ada@example.org>", "A <b> c", "A\nB", "A <b<c>"] {
            assert_eq!(Author::parse(bad), None, "{bad:?}");
        }
    }
}

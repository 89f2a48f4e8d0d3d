//! The checks before a commit or a pull request (`git_pr.required_checks`), each as a gate with its mend.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};

use super::{Ready, named, workflow};
use crate::domain::event::Worktree;
use crate::domain::policy::{GitPrPolicy, RequiredCheck};
use crate::domain::run::Run;
use crate::services::error::{EngineError, Gate};
use crate::services::gates::{gate, source_of};
use crate::services::git::{Change, ChangeKind, Git, GitError};
use crate::services::process::exec::{Exec, ExecError};
use crate::store::Reader;

/// Bytes kept of what a test says.
const WORDS_OF_A_TEST: usize = 4_000;
/// Files named in a reason.
const NAMED: usize = 8;

/// Whether tests are run.
#[derive(Debug, Clone, Copy)]
pub enum Tests<'a> {
    /// They are not: nothing may change (D16).
    Named,
    /// They are.
    Run {
        /// Each for at most this long.
        limit: Duration,
        /// Ends them.
        cancel: Option<&'a AtomicBool>,
    },
}

/// Who judges a change set.
#[derive(Debug)]
pub struct Judge<'a> {
    /// git.
    pub git: &'a Git,
    /// What is known of the run.
    pub reader: &'a Reader,
    /// What is required.
    pub policy: &'a GitPrPolicy,
    /// The run.
    pub run: &'a Run,
    /// What it is for.
    pub what: What,
}

/// What checks are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A commit.
    Commit,
    /// A pull request.
    PullRequest,
}

type Result<T> = std::result::Result<T, EngineError>;

impl Judge<'_> {
    /// Each worktree is on the branch of the run, and git is in the middle of nothing there.
    ///
    /// # Errors
    /// What git says.
    pub fn places(&self, ready: &[Ready]) -> Result<Gate> {
        let mut wrong = Vec::new();
        let mut mend = String::new();
        for Ready { tree, .. } in ready {
            let path = Path::new(&tree.path);
            if let Some(what) = self.git.operation_in_progress(path)? {
                wrong.push(format!("{}: a {what} is in progress", tree.repo));
                mend = format!("finish or abort it in {}", tree.path);
            }
            let branch = self.git.current_branch(path)?;
            if branch.as_deref() != Some(&tree.branch) {
                let is = branch.map_or_else(|| "no branch".to_owned(), |branch| format!("branch {branch}"));
                wrong.push(format!("{} is on {is}, not on {}", tree.repo, tree.branch));
                mend = format!("git -C {} switch {}", tree.path, tree.branch);
            }
        }
        if wrong.is_empty() {
            return Ok(gate("branch", true, "every worktree is on the run's branch", ""));
        }
        Ok(gate("branch", false, wrong.join("; "), mend))
    }

    /// Nothing in conflict, and no repository within a worktree: neither can be put into a commit as it is.
    pub fn plain(&self, ready: &[Ready]) -> Gate {
        let odd = |change: &&Change| {
            let nested = change.kind == ChangeKind::Untracked && change.path.to_string_lossy().ends_with('/');
            change.kind == ChangeKind::Conflicted || nested
        };
        let found = ready.iter().flat_map(|ready| ready.changes.iter().filter(odd).map(move |odd| (ready, odd)));
        let found: Vec<String> = found
            .map(|(ready, change)| {
                let what =
                    if change.kind == ChangeKind::Conflicted { "in conflict" } else { "a repository of its own" };
                format!("{}/{} is {what}", ready.tree.repo, change.path.display())
            })
            .collect();
        if found.is_empty() {
            return gate("files", true, "all that changed can be committed", "");
        }
        gate("files", false, found.join(", "), "settle the conflict, or move the repository away, and repeat")
    }

    /// The checks that the policy requires. Where one is enough, the failed ones beside a passed one are only told.
    ///
    /// # Errors
    /// What git or the store says; that a test fails is a gate's reason.
    pub fn required(&self, ready: &[Ready], tests: &Tests<'_>) -> Result<Vec<Gate>> {
        let mut gates = Vec::new();
        for check in &self.policy.required_checks {
            match check {
                RequiredCheck::Tests => gates.extend(self.tests(ready, tests)?),
                RequiredCheck::ForbiddenFiles => gates.push(self.forbidden(ready)?),
                RequiredCheck::TicketWorkflow => gates.extend(workflow::gate(self.reader, self.run, ready)?),
                // What is not clean is what a commit is for.
                RequiredCheck::CleanTree if self.what == What::Commit => {}
                RequiredCheck::CleanTree => gates.push(self.clean(ready)),
            }
        }
        if !self.policy.require_all && gates.iter().any(|gate| gate.ok) {
            for gate in gates.iter_mut().filter(|gate| !gate.ok) {
                gate.ok = true;
                gate.mend = None;
                gate.reason.insert_str(0, "not passed, which git_pr.require_all lets pass: ");
            }
        }
        Ok(gates)
    }

    fn clean(&self, ready: &[Ready]) -> Gate {
        let dirty: Vec<String> = ready
            .iter()
            .filter(|ready| !ready.changes.is_empty())
            .map(|ready| format!("{}: {}", ready.tree.repo, named(&ready.changes)))
            .collect();
        if dirty.is_empty() {
            return gate("clean_tree", true, "every worktree is clean", "");
        }
        let mend = format!("metawsm commit --run-id {}", self.run.id());
        gate("clean_tree", false, format!("not committed: {}", dirty.join("; ")), mend)
    }

    fn tests(&self, ready: &[Ready], tests: &Tests<'_>) -> Result<Option<Gate>> {
        let commands = &self.policy.test_commands;
        if commands.is_empty() {
            return Ok(None);
        }
        let Tests::Run { limit, cancel } = tests else {
            return Ok(Some(gate("tests", true, format!("not run now: {}", commands.join("; ")), "")));
        };
        for Ready { tree, .. } in ready {
            for command in commands {
                if let Some(why) = fails(command, tree, *limit, *cancel)? {
                    let reason = format!("{}: `{command}` {why}", tree.repo);
                    return Ok(Some(gate("tests", false, reason, format!("cd {} && {command}", tree.path))));
                }
            }
        }
        Ok(Some(gate("tests", true, format!("passed: {}", commands.join("; ")), "")))
    }

    /// Judged on every path that a commit would add or change, and on what the branch holds already (D17). A pull
    /// request holds what is committed, whatever became of it in the worktree.
    fn forbidden(&self, ready: &[Ready]) -> Result<Gate> {
        let patterns = self.policy.forbidden_file_patterns.iter().map(|pattern| Forbidden::new(pattern));
        let patterns = patterns.collect::<Result<Vec<_>>>()?;
        let mut found = Vec::new();
        for Ready { tree, head, changes, .. } in ready {
            let changes = if self.what == What::Commit { changes.as_slice() } else { &[] };
            let changed = changes.iter().filter(|change| change.kind != ChangeKind::Deleted);
            let mut paths: Vec<PathBuf> = changed.map(|change| change.path.clone()).collect();
            let base = self.base_of(tree)?;
            let gone = |path: &PathBuf| {
                changes.iter().any(|change| match &change.kind {
                    ChangeKind::Deleted => change.path == *path,
                    ChangeKind::Renamed { from } => from == path,
                    _ => false,
                })
            };
            let held = self.git.changed_since(Path::new(&tree.path), &base, head)?;
            paths.extend(held.into_iter().filter(|path| !gone(path)));
            paths.sort();
            paths.dedup();
            let forbidden = paths.iter().filter(|path| patterns.iter().any(|pattern| pattern.fits(path)));
            found.extend(forbidden.map(|path| format!("{}/{}", tree.repo, path.display())));
        }
        if found.is_empty() {
            return Ok(gate("forbidden_files", true, "no forbidden file is in the change", ""));
        }
        let more = found.len().saturating_sub(NAMED);
        found.truncate(NAMED);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let mend = "remove them, let git ignore them, or change git_pr.forbidden_file_patterns";
        Ok(gate("forbidden_files", false, format!("{}{tail}", found.join(", ")), mend))
    }

    /// What a branch's commits are counted from: the base as far as it is known, else where the branch began.
    fn base_of(&self, tree: &Worktree) -> Result<String> {
        match self.git.start_point(Path::new(source_of(self.run, tree)), &tree.base) {
            Ok(start) => Ok(start.commit),
            Err(GitError::Diverged { .. } | GitError::BaseMissing { .. } | GitError::Empty { .. }) => {
                Ok(tree.start.clone())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a test did not pass; `None` where it did.
fn fails(command: &str, tree: &Worktree, limit: Duration, cancel: Option<&AtomicBool>) -> Result<Option<String>> {
    let mut exec = Exec::new("sh")
        .args(["-c", command])
        .cwd(Path::new(&tree.path))
        .without_env("GIT_")
        .env("GIT_TERMINAL_PROMPT", "0")
        .keep_tail(WORDS_OF_A_TEST)
        .timeout(limit);
    if let Some(flag) = cancel {
        exec = exec.cancel(flag);
    }
    match exec.run() {
        Ok(output) if output.ok() => Ok(None),
        Ok(output) => {
            let how = match (output.status, output.signal) {
                (Some(status), _) => format!("ended with {status}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended without a status".to_owned(),
            };
            let said = output.complaint();
            Ok(Some(if said.is_empty() { how } else { format!("{how}: {said}") }))
        }
        Err(error @ ExecError::TimedOut { .. }) => Ok(Some(error.to_string())),
        Err(ExecError::Cancelled { .. }) => Err(EngineError::Interrupted(format!("the test `{command}`"))),
        Err(error) => Err(EngineError::outside(error.to_string(), "look at git_pr.test_commands")),
    }
}

/// A pattern of files that may not be committed: a glob of the path or of its last name, or a directory.
struct Forbidden {
    text: PathBuf,
    glob: GlobMatcher,
}

impl Forbidden {
    fn new(pattern: &str) -> Result<Self> {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
            EngineError::refused(
                format!("git_pr.forbidden_file_patterns {pattern}: {error}"),
                "mend the pattern in the policy",
            )
        })?;
        Ok(Self { text: PathBuf::from(pattern.trim_end_matches('/')), glob: glob.compile_matcher() })
    }

    fn fits(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new);
        self.glob.is_match(path) || name.is_some_and(|name| self.glob.is_match(name)) || path.starts_with(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_file_is_found_by_name_path_and_directory() {
        let fits = |pattern: &str, path: &str| Forbidden::new(pattern).unwrap().fits(Path::new(path));
        for (pattern, path) in [
            (".env", ".env"),
            (".env", "config/.env"),
            (".env.*", "a/b/.env.local"),
            ("*.pem", "deep/down/key.pem"),
            ("secrets/", "secrets/one"),
            ("secrets", "secrets/deep/one"),
            ("config/*.key", "config/a.key"),
            ("id_rsa", "name with space/id_rsa"),
        ] {
            assert!(fits(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [(".env", "x.env"), ("*.pem", "pem"), ("secrets", "secrets.txt"), ("config/*.key", "config/a/b.key")]
        {
            assert!(!fits(pattern, path), "{pattern} {path}");
        }
        assert!(Forbidden::new("[").is_err());
    }
}

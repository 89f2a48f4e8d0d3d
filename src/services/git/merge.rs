//! Merges: tried in the object store first, then made by moving one ref. A checkout is touched only by
//! `merge --ff-only`, after it is known that nothing is in the way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::branch::{check_branch_name, short};
use super::call::refused;
use super::repo::path_of;
use super::scratch::Scratch;
use super::status::ChangeKind;
use super::{Git, GitError};

/// Directories deep that a path in the way is searched; deeper than any real tree.
const DEEPEST: usize = 64;

/// A merge that is known to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// The repository.
    pub repo: PathBuf,
    /// The local branch that moves.
    pub base: String,
    /// Where it is.
    pub old: String,
    /// Where it goes. After a dry run this commit does not exist, unless the kind is up to date or fast-forward.
    pub new: String,
    /// How.
    pub kind: MergeKind,
    /// Made by a dry run: it cannot be applied.
    pub dry_run: bool,
}

/// How a base branch takes a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeKind {
    /// There is nothing to take.
    UpToDate,
    /// It moves along.
    FastForward,
    /// By a merge commit.
    Merge,
    /// By one ordinary commit with all changes.
    Squash,
}

/// Why a merge cannot be, or was not, made. The base is where it was.
#[derive(Debug, Error)]
pub enum MergeProblem {
    /// Both sides changed the same places.
    #[error("merging into `{base}` of {repo:?} conflicts in {}; merge `{base}` into the branch first", names(files))]
    Conflicts {
        /// The repository.
        repo: PathBuf,
        /// The base branch.
        base: String,
        /// The files, as far as git names them.
        files: Vec<PathBuf>,
    },
    /// The base is checked out, and changed or untracked files there would be overwritten.
    #[error("files in the way in {checkout:?}: {}; commit or move them first", names(files))]
    InTheWay {
        /// The checkout of the base.
        checkout: PathBuf,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Someone is in the middle of a merge or rebase of the base.
    #[error("a {what} of the base is in progress in {checkout:?}; finish or abort it first")]
    Busy {
        /// The checkout.
        checkout: PathBuf,
        /// merge, rebase, cherry-pick or revert.
        what: String,
    },
    /// There is no such local branch.
    #[error("{repo:?} has no local branch `{base}` to merge into; create it with `git branch {base} origin/{base}`")]
    NoBase {
        /// The repository.
        repo: PathBuf,
        /// The base branch.
        base: String,
    },
    /// The base moved after the merge was tried.
    #[error("`{base}` of {repo:?} moved to {actual} after the merge was tried on {expected}; try again")]
    BaseMoved {
        /// The repository.
        repo: PathBuf,
        /// The base branch.
        base: String,
        /// Abbreviated commit that was tried on.
        expected: String,
        /// Abbreviated commit it is at.
        actual: String,
    },
    /// The plan is of a dry run.
    #[error("this merge into `{base}` was only tried; try it again without dry run")]
    OnlyTried {
        /// The base branch.
        base: String,
    },
    /// git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

fn names(files: &[PathBuf]) -> String {
    let mut text = files.iter().take(10).map(|file| format!("{file:?}")).collect::<Vec<_>>().join(", ");
    if files.len() > 10 {
        text.push_str(&format!(" and {} more", files.len() - 10));
    }
    text
}

/// Where objects of a trial go: into the repository, or into a directory that is thrown away.
struct Trial {
    env: Vec<(&'static str, OsString)>,
    _scratch: Option<Scratch>,
}

impl Git {
    /// Tries to merge `head_commit` into the local branch `base`, without touching a checkout or a ref. With
    /// `dry_run` not a byte of the repository changes, otherwise the new commit is in its object store.
    ///
    /// A squash whose changes the base has already is up to date.
    ///
    /// # Errors
    /// [`MergeProblem`]: conflicts, files in the way, no base.
    pub fn try_merge(
        &self,
        repo: &Path,
        base: &str,
        head_commit: &str,
        squash: bool,
        message: &str,
        dry_run: bool,
    ) -> Result<MergePlan, MergeProblem> {
        check_branch_name(base)?;
        let _lock = if dry_run { None } else { Some(self.lock_repo(&self.common_dir(repo)?)?) };
        let no_base = || MergeProblem::NoBase { repo: repo.to_path_buf(), base: base.to_owned() };
        let old = self.branch_tip(repo, base)?.ok_or_else(no_base)?;
        let head = self.rev_parse(repo, head_commit)?;
        let trial = self.trial(repo, dry_run)?;
        let (kind, new) = if self.is_ancestor(repo, &head, &old)? {
            (MergeKind::UpToDate, old.clone())
        } else if !squash && self.is_ancestor(repo, &old, &head)? {
            (MergeKind::FastForward, head)
        } else {
            let tree = self.merged_tree(repo, base, &old, &head, &trial)?;
            if squash && tree == self.tree_of(repo, &old)? {
                (MergeKind::UpToDate, old.clone())
            } else {
                let parents = if squash { vec![old.as_str()] } else { vec![old.as_str(), head.as_str()] };
                let new = self.commit_tree(repo, &tree, &parents, message, &trial.env)?;
                (if squash { MergeKind::Squash } else { MergeKind::Merge }, new)
            }
        };
        let plan = MergePlan { repo: repo.to_path_buf(), base: base.to_owned(), old, new, kind, dry_run };
        self.checkout_for(&plan, &trial)?;
        Ok(plan)
    }

    /// Moves the base to the merge that was tried: by `merge --ff-only` where it is checked out, else by its ref.
    /// No hook runs, `post-merge` included (see the [module](super)). Applied already: nothing to do, and fine.
    ///
    /// # Errors
    /// [`MergeProblem::BaseMoved`], [`MergeProblem::InTheWay`], [`MergeProblem::OnlyTried`].
    pub fn apply_merge(&self, plan: &MergePlan) -> Result<(), MergeProblem> {
        let MergePlan { repo, base, old, new, .. } = plan;
        if plan.dry_run {
            return Err(MergeProblem::OnlyTried { base: base.clone() });
        }
        let _lock = self.lock_repo(&self.common_dir(repo)?)?;
        let actual = self.tip_of(repo, base)?;
        if actual == *new {
            return Ok(());
        }
        if actual != *old {
            let (expected, actual) = (short(old), short(&actual));
            return Err(MergeProblem::BaseMoved { repo: repo.clone(), base: base.clone(), expected, actual });
        }
        let trial = Trial { env: Vec::new(), _scratch: None };
        match self.checkout_for(plan, &trial)? {
            Some(checkout) => {
                let call = self.write(&checkout).args(["merge", "--ff-only", "--quiet", "--no-stat", "--no-autostash"]);
                // Ignored files would be overwritten without a word; what is in the way by now is refused by git.
                call.args(["--no-overwrite-ignore", "--no-verify-signatures", "--no-edit", new]).ok()?;
            }
            None => {
                let name = format!("refs/heads/{base}");
                self.write(repo).args(["update-ref", "-m", "metawsm: merge", &name, new, old]).ok()?;
            }
        }
        self.expect_tip(repo, base, new)?;
        Ok(())
    }

    fn trial(&self, repo: &Path, dry_run: bool) -> Result<Trial, GitError> {
        if !dry_run {
            return Ok(Trial { env: Vec::new(), _scratch: None });
        }
        let scratch = Scratch::new()?;
        let objects = self.common_dir(repo)?.join("objects");
        let env = vec![
            ("GIT_OBJECT_DIRECTORY", scratch.path().as_os_str().to_owned()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&objects)),
        ];
        Ok(Trial { env, _scratch: Some(scratch) })
    }

    fn tree_of(&self, repo: &Path, commit: &str) -> Result<String, GitError> {
        self.read(repo).args(["rev-parse", "--verify"]).arg(format!("{commit}^{{tree}}")).line()
    }

    fn merged_tree(
        &self,
        repo: &Path,
        base: &str,
        old: &str,
        head: &str,
        trial: &Trial,
    ) -> Result<String, MergeProblem> {
        // A write in kind: it makes objects. Its optional locks are off, for the dry run.
        let mut call = self.write(repo).env("GIT_OPTIONAL_LOCKS", "0");
        for (name, value) in &trial.env {
            call = call.env(name, value);
        }
        let call = call.args(["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", old, head]);
        let (output, tried) = call.output()?;
        if !matches!(output.status, Some(0 | 1)) {
            return Err(refused(tried, repo.to_path_buf(), &output).into());
        }
        let mut records = output.stdout.split(|byte| *byte == 0);
        let tree = String::from_utf8_lossy(records.next().unwrap_or_default()).trim().to_owned();
        if tree.len() < 40 || !tree.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(GitError::Unexpected { tried, what: tree }.into());
        }
        if output.ok() {
            return Ok(tree);
        }
        let files: BTreeSet<PathBuf> = records.take_while(|path| !path.is_empty()).map(path_of).collect();
        let (repo, base) = (repo.to_path_buf(), base.to_owned());
        Err(MergeProblem::Conflicts { repo, base, files: files.into_iter().collect() })
    }

    /// Where the base is checked out, once it is known that nothing there is in the way.
    fn checkout_for(&self, plan: &MergePlan, trial: &Trial) -> Result<Option<PathBuf>, MergeProblem> {
        if plan.kind == MergeKind::UpToDate {
            return Ok(None);
        }
        self.refuse_rebase_of(&plan.repo, &plan.base)?;
        let Some(checkout) = self.branch_checked_out_at(&plan.repo, &plan.base)? else { return Ok(None) };
        if !checkout.is_dir() {
            // Registered, but gone: there is nothing to overwrite and nothing to run in.
            return Ok(None);
        }
        if let Some(what) = self.operation_in_progress(&checkout)? {
            return Err(MergeProblem::Busy { checkout, what: what.to_owned() });
        }
        let files = self.in_the_way(&checkout, plan, trial)?;
        if files.is_empty() { Ok(Some(checkout)) } else { Err(MergeProblem::InTheWay { checkout, files }) }
    }

    /// A rebase detaches HEAD, so that the branch looks free; it moves the branch when it ends.
    fn refuse_rebase_of(&self, repo: &Path, base: &str) -> Result<(), MergeProblem> {
        let common = self.common_dir(repo)?;
        let linked = fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten().map(|entry| entry.path());
        for dir in std::iter::once(common.clone()).chain(linked) {
            for state in ["rebase-merge", "rebase-apply"] {
                let name = fs::read_to_string(dir.join(state).join("head-name")).unwrap_or_default();
                if name.trim_end().strip_prefix("refs/heads/") == Some(base) {
                    return Err(MergeProblem::Busy { checkout: dir, what: "rebase".to_owned() });
                }
            }
        }
        Ok(())
    }

    /// Files of `old..new` that are changed, untracked or ignored in the checkout.
    fn in_the_way(&self, checkout: &Path, plan: &MergePlan, trial: &Trial) -> Result<Vec<PathBuf>, GitError> {
        let mut call = self.read(checkout);
        for (name, value) in &trial.env {
            call = call.env(name, value);
        }
        let diff = call.args(["diff-tree", "-r", "-z", "--name-status", "--no-renames", &plan.old, &plan.new]).ok()?;
        let (added, others) = parse_name_status(&diff);
        let mut files = BTreeSet::new();
        for change in self.status(checkout)? {
            let before = match &change.kind {
                ChangeKind::Renamed { from } => Some(from.clone()),
                // Untracked files are judged below, with the ignored ones and the directories.
                ChangeKind::Untracked => continue,
                ChangeKind::Modified | ChangeKind::Added | ChangeKind::Deleted | ChangeKind::Conflicted => None,
            };
            let touched = [Some(change.path), before].into_iter().flatten();
            files.extend(touched.filter(|path| added.contains(path) || others.contains(path)));
        }
        for path in &added {
            stray(checkout, path, &others, &mut files);
        }
        Ok(files.into_iter().collect())
    }
}

/// Paths which `diff-tree --name-status -z` calls added, and all others.
fn parse_name_status(bytes: &[u8]) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let (mut added, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut records = bytes.split(|byte| *byte == 0);
    while let (Some(status), Some(path)) = (records.next(), records.next()) {
        let side = if status == b"A" { &mut added } else { &mut others };
        side.insert(path_of(path));
    }
    (added, others)
}

/// Collects what is on disk where `path` will be added: the file itself, a file where one of its directories will
/// be, files in a directory where it will be. Files that the merge itself removes (`others`) are not in the way.
fn stray(checkout: &Path, path: &Path, others: &BTreeSet<PathBuf>, found: &mut BTreeSet<PathBuf>) {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let is_file = fs::symlink_metadata(checkout.join(above)).is_ok_and(|meta| !meta.is_dir());
        if is_file && !others.contains(above) {
            found.insert(above.to_path_buf());
        }
    }
    collect_files(checkout, path, others, found, DEEPEST);
}

fn collect_files(
    checkout: &Path,
    path: &Path,
    others: &BTreeSet<PathBuf>,
    found: &mut BTreeSet<PathBuf>,
    deeper: usize,
) {
    let Ok(meta) = fs::symlink_metadata(checkout.join(path)) else { return };
    if !meta.is_dir() {
        if !others.contains(path) {
            found.insert(path.to_path_buf());
        }
        return;
    }
    if deeper == 0 {
        found.insert(path.to_path_buf());
        return;
    }
    for entry in fs::read_dir(checkout.join(path)).into_iter().flatten().flatten() {
        collect_files(checkout, &path.join(entry.file_name()), others, found, deeper - 1);
    }
}

/// A directory as one entry of `GIT_ALTERNATE_OBJECT_DIRECTORIES`, whose entries `:` separates.
fn quoted(dir: &Path) -> OsString {
    let bytes = dir.as_os_str().as_bytes();
    if !bytes.contains(&b':') && bytes.first() != Some(&b'"') {
        return dir.as_os_str().to_owned();
    }
    let mut text = vec![b'"'];
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    OsString::from_vec(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_with_a_colon_are_quoted() {
        assert_eq!(quoted(Path::new("/a b/c")), "/a b/c");
        assert_eq!(quoted(Path::new("/a:b\"\\c")), "\"/a:b\\\"\\\\c\"");
    }

    #[test]
    fn name_status_keeps_added_apart() {
        let (added, others) = parse_name_status(b"A\0x y\0M\0z\0D\0q\0");
        assert_eq!((added.len(), others.len()), (1, 2));
        assert!(added.contains(Path::new("x y")));
        parse_name_status(b"\0\0A");
    }
}

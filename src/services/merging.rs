//! Merges a run's branches into their bases: all are tried first, then each base moves; nothing is half done.

use std::path::Path;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::gates::{source_of, trees};
use super::git::{Git, MergeKind, MergePlan, MergeProblem};
use super::outbox::{self, Consumers};
use super::own_work;
use crate::domain::command::RunWish;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Workspace;
use crate::store::Reader;

/// One merge that is possible.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// The commit that is merged.
    pub head: String,
    /// How its base would move.
    pub plan: MergePlan,
}

impl Tried {
    /// In words.
    pub fn describe(&self) -> String {
        self.describe_after(false)
    }

    /// In words. Where a commit of our own comes before, the place the base moves to is not known yet.
    fn describe_after(&self, before_own_commit: bool) -> String {
        match self.plan.kind {
            MergeKind::UpToDate | MergeKind::FastForward if before_own_commit => {
                format!("{}: {} moves from {} to that commit", self.repo, self.plan.base, short(&self.plan.old))
            }
            MergeKind::Merge | MergeKind::Squash if before_own_commit => format!(
                "{}: {} moves from {} to a new commit ({})",
                self.repo,
                self.plan.base,
                short(&self.plan.old),
                word(self.plan.kind)
            ),
            MergeKind::UpToDate => format!("{}: {} holds everything already", self.repo, self.plan.base),
            MergeKind::FastForward | MergeKind::Merge | MergeKind::Squash => format!(
                "{}: {} moves from {} to {} ({})",
                self.repo,
                self.plan.base,
                short(&self.plan.old),
                short(&self.plan.new),
                word(self.plan.kind)
            ),
        }
    }
}

fn short(sha: &str) -> &str {
    sha.get(..10).unwrap_or(sha)
}

fn word(kind: MergeKind) -> &'static str {
    match kind {
        MergeKind::UpToDate => "up_to_date",
        MergeKind::FastForward => "fast_forward",
        MergeKind::Merge => "merge",
        MergeKind::Squash => "squash",
    }
}

/// Tries every merge of a run; with `dry_run` not one byte of a repository changes.
///
/// # Errors
/// All that is in the way, conflicts and files named.
pub fn try_all(git: &Git, reader: &Reader, run: &Run, squash: bool, dry_run: bool) -> Result<Vec<Tried>, EngineError> {
    let workspaces: Vec<Workspace> =
        reader.workspaces(run.id())?.into_iter().filter(|workspace| !workspace.removed).collect();
    let mut tried = Vec::new();
    for (workspace, tree) in trees(&workspaces) {
        let repo = Path::new(source_of(run, tree));
        let head = git.tip_of(repo, &tree.branch)?;
        let message = format!("Merge {} of {}", tree.branch, run.id());
        // What was squashed before is in the base, though not by its own commits.
        let before = reader.merged(run.id(), &workspace.name, &tree.repo)?;
        if before.is_some_and(|merged| merged.head == head) {
            continue;
        }
        let plan = git.try_merge(repo, &tree.base, &head, squash, &message, dry_run)?;
        tried.push(Tried { workspace: workspace.name.clone(), repo: tree.repo.clone(), head, plan });
    }
    Ok(tried)
}

/// What merging would do, in words; not one byte of a repository changes.
///
/// # Errors
/// All that is in the way.
pub fn preview(git: &Git, reader: &Reader, run: &Run, squash: bool) -> Result<Vec<String>, EngineError> {
    let tried = try_all(git, reader, run, squash, true)?;
    let pending = own_work::pending(git, reader, run)?;
    Ok(pending
        .iter()
        .map(|repo| format!("{repo}: commit the ticket docs that metawsm wrote"))
        .chain(tried.iter().map(|tried| tried.describe_after(pending.contains(&tried.repo))))
        .collect())
}

/// Merges a run. The caller holds the run's lease.
///
/// # Errors
/// All that is in the way; then no base has moved.
pub fn merge(engine: &Engine, caller: &Caller, run_id: &str, squash: bool) -> Result<Vec<Tried>, EngineError> {
    let run = engine.run(run_id)?;
    if run.status != RunStatus::Closing {
        // What was answered until now belongs into the commit of the docs; a closing has seen to it.
        outbox::work_off_run(engine, &Consumers::default(), run_id)?;
    }
    own_work::commit(engine, caller, run_id)?;
    let reader = engine.reader()?;
    // First everything is only tried: what cannot be done is said before anything was done.
    try_all(&engine.git, &reader, &run, squash, true)?;
    let mut done = Vec::new();
    let workspaces: Vec<Workspace> =
        reader.workspaces(run_id)?.into_iter().filter(|workspace| !workspace.removed).collect();
    for (workspace, tree) in trees(&workspaces) {
        let repo = Path::new(source_of(&run, tree));
        let head = engine.git.tip_of(repo, &tree.branch)?;
        let before = reader.merged(run_id, &workspace.name, &tree.repo)?;
        if before.is_some_and(|merged| merged.head == head) {
            continue;
        }
        let message = format!("Merge {} of {run_id}", tree.branch);
        let plan = insist(engine, repo, &tree.base, &head, squash, &message)?;
        let wish = RunWish::Merged {
            workspace: workspace.name.clone(),
            repo: tree.repo.clone(),
            base: plan.base.clone(),
            old: plan.old.clone(),
            new: plan.new.clone(),
            head: head.clone(),
            how: word(plan.kind).to_owned(),
        };
        engine.order_run(caller, run_id, wish)?;
        done.push(Tried { workspace: workspace.name.clone(), repo: tree.repo.clone(), head, plan });
    }
    Ok(done)
}

/// A base that somebody moved between trying and moving is tried again, a few times.
fn insist(
    engine: &Engine,
    repo: &Path,
    base: &str,
    head: &str,
    squash: bool,
    message: &str,
) -> Result<MergePlan, EngineError> {
    let mut tries = 0;
    loop {
        let plan = engine.git.try_merge(repo, base, head, squash, message, false)?;
        match engine.git.apply_merge(&plan) {
            Ok(()) => return Ok(plan),
            Err(MergeProblem::BaseMoved { .. }) if tries < 3 => tries += 1,
            Err(problem) => return Err(problem.into()),
        }
    }
}

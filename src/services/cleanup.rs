//! Removes what a run left on the machine: sessions, worktrees, branches. Uncommitted and unmerged work never
//! goes without `--force`, and then it leaves a backup ref.

use std::path::Path;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::gates::{source_of, trees};
use super::git::{Git, Risk};
use super::{own_work, stopping};
use crate::domain::command::RunWish;
use crate::domain::event::Worktree;
use crate::domain::run::{RepoSpec, Run, RunStatus, Strategy, WorkspaceSpec};
use crate::domain::scene::Workspace;
use crate::store::Reader;

/// Stands for the start commit of a worktree that was never finished.
const UNFINISHED: &str = "";

/// What cleanup is to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Sessions only.
    pub keep_workspaces: bool,
    /// Branches that are not merged too.
    pub delete_branch: bool,
    /// Worktrees with unsaved work too, leaving a backup ref.
    pub force: bool,
}

/// What would be removed, in words.
///
/// # Errors
/// What is at risk without `--force`.
pub fn preview(git: &Git, reader: &Reader, run: &Run, options: Options) -> Result<Vec<String>, EngineError> {
    refuse_at_risk(git, reader, run, options)?;
    let mut lines = Vec::new();
    for agent in reader.agents(run.id())? {
        if agent.launch > 0 {
            lines.push(format!("end session {}", agent.spec.session));
        }
    }
    if options.keep_workspaces || run.spec.strategy == Strategy::Reuse {
        return Ok(lines);
    }
    for (workspace, tree) in trees(&present(reader, run)?) {
        lines.push(format!("remove worktree {}", tree.path));
        let merged = is_merged(git, reader, run, workspace, tree)?;
        if merged || options.delete_branch {
            lines.push(format!("delete branch {} of {}", tree.branch, tree.repo));
        }
    }
    Ok(lines)
}

/// The workspaces that are there: those journaled, and what a step that never came to its end left behind.
fn present(reader: &Reader, run: &Run) -> Result<Vec<Workspace>, EngineError> {
    let mut workspaces = reader.workspaces(run.id())?;
    for spec in &run.spec.workspaces {
        let known = workspaces.iter().any(|workspace| workspace.name == spec.name);
        if !known && Path::new(&spec.path).exists() {
            workspaces.push(unfinished(run, spec));
        }
    }
    workspaces.retain(|workspace| !workspace.removed);
    Ok(workspaces)
}

fn unfinished(run: &Run, spec: &WorkspaceSpec) -> Workspace {
    let tree = |repo: &RepoSpec| Worktree {
        repo: repo.name.clone(),
        path: Path::new(&spec.path).join(&repo.name).display().to_string(),
        branch: spec.branch.clone(),
        base: repo.base.clone(),
        start: UNFINISHED.to_owned(),
    };
    Workspace {
        run_id: run.id().to_owned(),
        name: spec.name.clone(),
        path: spec.path.clone(),
        worktrees: run.spec.repos.iter().map(tree).collect(),
        warnings: Vec::new(),
        removed: false,
    }
}

/// What a worktree holds that is nowhere else, our own files aside.
fn risk(git: &Git, reader: &Reader, run: &Run, workspace: &Workspace, tree: &Worktree) -> Result<Risk, EngineError> {
    let path = Path::new(&tree.path);
    if !path.is_dir() {
        return Ok(Risk { dirty: Vec::new(), unmerged: Vec::new() });
    }
    let local = format!("refs/heads/{}", tree.base);
    let repo = Path::new(source_of(run, tree));
    let mut risk = git.at_risk(repo, path, &tree.branch, &[&local])?;
    // Nobody has worked in a worktree that was never finished: what lies there is its set-up's.
    risk.dirty =
        if tree.start == UNFINISHED { Vec::new() } else { own_work::changes(git, reader, workspace, tree)?.others };
    let own = reader.own_commits(run.id(), &workspace.name, &tree.repo)?;
    risk.unmerged.retain(|commit| !own.contains(&commit.sha));
    let head = git.branch_tip(repo, &tree.branch)?;
    let squashed = reader.merged(run.id(), &workspace.name, &tree.repo)?;
    if squashed.is_some_and(|merged| Some(merged.head) == head) {
        risk.unmerged.clear();
    }
    Ok(risk)
}

fn refuse_at_risk(git: &Git, reader: &Reader, run: &Run, options: Options) -> Result<(), EngineError> {
    if options.force || options.keep_workspaces || run.spec.strategy == Strategy::Reuse {
        return Ok(());
    }
    let mut lost = Vec::new();
    for (workspace, tree) in trees(&present(reader, run)?) {
        let risk = risk(git, reader, run, workspace, tree)?;
        lost.extend(risk.dirty.iter().map(|change| format!("{}/{}", tree.repo, change.path.display())));
        lost.extend(risk.unmerged.iter().map(|commit| format!("{} commit {}", tree.repo, commit.subject)));
    }
    if lost.is_empty() {
        return Ok(());
    }
    Err(EngineError::refused(
        format!("this work is neither merged nor pushed: {}", lost.join(", ")),
        "commit and merge it, or --force, which keeps it under refs/metawsm/backup",
    ))
}

fn is_merged(
    git: &Git,
    reader: &Reader,
    run: &Run,
    workspace: &Workspace,
    tree: &Worktree,
) -> Result<bool, EngineError> {
    let repo = Path::new(source_of(run, tree));
    let Some(head) = git.branch_tip(repo, &tree.branch)? else { return Ok(false) };
    // A squash brings the content, not the commits.
    if reader.merged(run.id(), &workspace.name, &tree.repo)?.is_some_and(|merged| merged.head == head) {
        return Ok(true);
    }
    Ok(git.is_ancestor(repo, &head, &format!("refs/heads/{}", tree.base))?)
}

/// Removes. The caller holds the run's lease.
///
/// # Errors
/// What is at risk, or what could not be removed; what was removed until then is journaled.
pub fn cleanup(engine: &Engine, caller: &Caller, run_id: &str, options: Options) -> Result<Vec<String>, EngineError> {
    let run = engine.run(run_id)?;
    let reader = engine.reader()?;
    let lines = preview(&engine.git, &reader, &run, options)?;
    if !matches!(run.status, RunStatus::Stopped | RunStatus::Completed | RunStatus::Closed | RunStatus::Stopping) {
        engine.order_run(caller, run_id, RunWish::Stop)?;
    }
    stopping::finish(engine, caller, run_id)?;
    stopping::end_all(engine, caller, &reader.agents(run_id)?)?;
    if !options.keep_workspaces && run.spec.strategy != Strategy::Reuse {
        for workspace in present(&reader, &run)? {
            remove(engine, caller, &run, &workspace, options)?;
        }
    }
    stopping::end_server_if_unused(engine, run_id);
    Ok(lines)
}

fn remove(
    engine: &Engine,
    caller: &Caller,
    run: &Run,
    workspace: &Workspace,
    options: Options,
) -> Result<(), EngineError> {
    let reader = engine.reader()?;
    let mut backups = Vec::new();
    for tree in &workspace.worktrees {
        let repo = Path::new(source_of(run, tree));
        let path = Path::new(&tree.path);
        let risk = risk(&engine.git, &reader, run, workspace, tree)?;
        let lost = !risk.dirty.is_empty() || !risk.unmerged.is_empty();
        if lost && path.is_dir() {
            let name = format!("refs/metawsm/backup/{}/{}", workspace.name, tree.repo);
            let sha = engine.git.backup(repo, path, &name)?;
            backups.push(format!("{} {name} {sha}", tree.repo));
        }
        let merged = is_merged(&engine.git, &reader, run, workspace, tree)?;
        // What is dirty by now is ours, or backed up.
        engine.git.remove_worktree(repo, path, &tree.branch, true)?;
        if (merged || options.delete_branch)
            && let Some(tip) = engine.git.branch_tip(repo, &tree.branch)?
        {
            engine.git.delete_branch(repo, &tree.branch, &tip)?;
        }
    }
    let root = Path::new(&workspace.path);
    let inside = root.starts_with(engine.home.inside()) || root.starts_with(&engine.home.root);
    if inside && root.is_dir() {
        // The worktrees are gone; what is left is the brief and what agents put beside them.
        std::fs::remove_dir_all(root).map_err(EngineError::io(format!("remove {}", root.display())))?;
    }
    let wish = RunWish::WorkspaceRemoved { name: workspace.name.clone(), backups };
    engine.order_run(caller, run.id(), wish)?;
    Ok(())
}

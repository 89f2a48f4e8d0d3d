//! What metawsm itself wrote into a worktree: it does not count as dirty, and is committed apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::git::{Change, ChangeKind, Git, GitError, blob_of, blob_of_bytes};
use super::tickets;
use crate::domain::command::RunWish;
use crate::domain::event::Worktree;
use crate::domain::run::Run;
use crate::domain::scene::Workspace;
use crate::store::Reader;

/// The ticket's document that says what happened.
pub const CHANGELOG: &str = "changelog.md";
/// The ticket's document that says where it stands.
pub const INDEX: &str = "index.md";
/// Where a closed ticket stands.
pub const CLOSED_STATUS: &str = "complete";
/// Where a ticket may have stood before, in docmgr's words.
const STATUSES: [&str; 5] = ["active", "draft", "review", "planned", "archived"];

/// The changes of a worktree, told apart.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Files that are as metawsm wrote them.
    pub own: Vec<PathBuf>,
    /// Everything else.
    pub others: Vec<Change>,
}

/// Tells what metawsm wrote, and nobody has changed since, from everything else.
///
/// # Errors
/// What git or the store says.
pub fn changes(git: &Git, reader: &Reader, workspace: &Workspace, tree: &Worktree) -> Result<Changes, EngineError> {
    let ours: BTreeMap<PathBuf, String> = reader
        .own_files(&workspace.run_id, &workspace.name, &tree.repo)?
        .into_iter()
        .map(|(path, blob)| (PathBuf::from(path), blob))
        .collect();
    let mut found = Changes::default();
    for change in git.status(Path::new(&tree.path))? {
        if change.kind == ChangeKind::Untracked && tickets::is_temporary(&change.path) {
            continue;
        }
        let known = ours.get(&change.path).map(String::as_str);
        let whole = Path::new(&tree.path).join(&change.path);
        let as_written = known.is_some_and(|blob| blob_of(&whole).is_ok_and(|now| now == *blob));
        if as_written
            || only_entries_added(git, tree, &change.path, known)?
            || only_status_set(git, tree, &change.path, known)?
        {
            found.own.push(change.path);
        } else {
            found.others.push(change);
        }
    }
    Ok(found)
}

/// Whether a file of docs is as metawsm, or the last commit, left it, but for entries that metawsm has added since.
///
/// # Errors
/// What git or the store says.
pub fn holds_only_entries(
    git: &Git,
    reader: &Reader,
    workspace: &Workspace,
    tree: &Worktree,
    path: &Path,
) -> Result<bool, EngineError> {
    let ours = reader.own_files(&workspace.run_id, &workspace.name, &tree.repo)?;
    let known = ours.iter().find(|(own, _)| Path::new(own) == path).map(|(_, blob)| blob.as_str());
    only_entries_added(git, tree, path, known)
}

/// An entry is in the file a moment before it is in the journal: nobody is to take it for an agent's work then.
fn only_entries_added(git: &Git, tree: &Worktree, path: &Path, known: Option<&str>) -> Result<bool, EngineError> {
    let whole = Path::new(&tree.path).join(path);
    let feedback = path.ends_with(Path::new("reference").join(tickets::FEEDBACK_REFERENCE));
    if !(feedback || path.file_name().is_some_and(|name| name == CHANGELOG)) || whole.is_symlink() {
        return Ok(false);
    }
    let Ok(text) = std::fs::read_to_string(&whole) else { return Ok(false) };
    let mut rest = text.as_str();
    let mut committed = None;
    while let Some(before) = tickets::without_last_entry(rest) {
        let blob = blob_of_bytes(before.as_bytes());
        if known == Some(blob.as_str()) {
            return Ok(true);
        }
        if committed.is_none() {
            committed = Some(git.blob_in_head(Path::new(&tree.path), path)?);
        }
        if committed.as_ref().is_some_and(|head| head.as_deref() == Some(blob.as_str())) {
            return Ok(true);
        }
        // Feedback is the one document that may begin with an entry of ours.
        if feedback && before == tickets::FEEDBACK_TITLE && committed == Some(None) {
            return Ok(true);
        }
        rest = before;
    }
    Ok(false)
}

/// Closing sets a ticket's status a moment before that is in the journal, too.
fn only_status_set(git: &Git, tree: &Worktree, path: &Path, known: Option<&str>) -> Result<bool, EngineError> {
    let whole = Path::new(&tree.path).join(path);
    if path.file_name().is_none_or(|name| name != INDEX) || whole.is_symlink() {
        return Ok(false);
    }
    let Ok(text) = std::fs::read_to_string(&whole) else { return Ok(false) };
    if tickets::frontmatter::with_status(&text, CLOSED_STATUS).as_deref() != Some(text.as_str()) {
        return Ok(false);
    }
    let committed = git.blob_in_head(Path::new(&tree.path), path)?;
    let before = STATUSES.iter().filter_map(|status| tickets::frontmatter::with_status(&text, status));
    let mut blobs = before.map(|before| blob_of_bytes(before.as_bytes()));
    Ok(blobs.any(|blob| known == Some(blob.as_str()) || committed.as_deref() == Some(blob.as_str())))
}

/// The repositories in which files of ours wait to be committed.
///
/// # Errors
/// What git or the store says.
pub fn pending(git: &Git, reader: &Reader, run: &Run) -> Result<Vec<String>, EngineError> {
    let mut found = Vec::new();
    for workspace in reader.workspaces(run.id())?.into_iter().filter(|workspace| !workspace.removed) {
        for tree in &workspace.worktrees {
            if Path::new(&tree.path).is_dir() && !changes(git, reader, &workspace, tree)?.own.is_empty() {
                found.push(tree.repo.clone());
            }
        }
    }
    Ok(found)
}

/// Commits metawsm's own files of every worktree of the run, each in a commit of its own limited to those paths.
/// Nothing is committed where an agent works or where git is in the middle of something.
///
/// # Errors
/// What git or the store says.
pub fn commit(engine: &Engine, caller: &Caller, run_id: &str) -> Result<Vec<String>, EngineError> {
    let reader = engine.reader()?;
    let mut made = Vec::new();
    for workspace in reader.workspaces(run_id)?.into_iter().filter(|workspace| !workspace.removed) {
        for tree in &workspace.worktrees {
            if !Path::new(&tree.path).is_dir() {
                continue;
            }
            recover(engine, caller, &workspace, tree)?;
            let own = changes(&engine.git, &reader, &workspace, tree)?.own;
            if own.is_empty() {
                continue;
            }
            let message = message(run_id);
            match engine.git.commit_paths(Path::new(&tree.path), &own, &message) {
                Ok(Some(sha)) => {
                    journal(engine, caller, &workspace, tree, &sha, &message)?;
                    made.push(sha);
                }
                Ok(None) => {}
                Err(error @ GitError::InProgress { .. }) => return Err(error.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(made)
}

fn message(run_id: &str) -> String {
    format!("metawsm: ticket docs of {run_id}")
}

fn journal(
    engine: &Engine,
    caller: &Caller,
    workspace: &Workspace,
    tree: &Worktree,
    sha: &str,
    message: &str,
) -> Result<(), EngineError> {
    let wish = RunWish::Committed {
        workspace: workspace.name.clone(),
        repo: tree.repo.clone(),
        sha: sha.to_owned(),
        message: message.to_owned(),
        own: true,
        author: None,
    };
    engine.order_run(caller, &workspace.run_id, wish)?;
    Ok(())
}

/// A process killed between the commit and its journaling leaves a commit of ours that nobody knows.
fn recover(engine: &Engine, caller: &Caller, workspace: &Workspace, tree: &Worktree) -> Result<(), EngineError> {
    let repo = Path::new(&tree.path);
    let known = engine.reader()?.own_commits(&workspace.run_id, &workspace.name, &tree.repo)?;
    for commit in engine.git.commits_between(repo, &[&tree.start], "HEAD")? {
        let text = message(&workspace.run_id);
        if commit.subject == text && !known.contains(&commit.sha) {
            journal(engine, caller, workspace, tree, &commit.sha, &text)?;
        }
    }
    Ok(())
}

//! Commits what agents left uncommitted: every repository of a run is looked at and checked first, then each gets a
//! commit on top of the run's branch. Nothing is stashed, reset or checked out (D2); the same call again goes on where
//! the last one stopped.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::engine::{Caller, Engine};
use super::error::{EngineError, Gate};
use super::gates::{self, trees};
use super::git::{Author, Change, ChangeKind, Git, blob_of};
use super::outbox::{self, Consumers};
use super::{operator, own_work};
use crate::domain::command::RunWish;
use crate::domain::event::Worktree;
use crate::domain::operator::{Dirt, Intent, repo_target};
use crate::domain::policy::Policy;
use crate::domain::run::Run;
use crate::domain::scene::Workspace;
use crate::domain::thread::fingerprint;
use crate::store::Reader;

pub mod checks;
mod workflow;

pub use checks::{Judge, Tests};

/// The longest default message, in bytes.
const LONGEST_MESSAGE: usize = 72;
/// So many files are named where all of them would be too many.
const NAMED: usize = 8;
/// So many bytes of what differs are read to tell it from another change; the rest is told by sizes and times.
const MOST_READ: u64 = 32 * 1024 * 1024;

/// What is to be committed, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The message, where not the default one.
    pub message: Option<String>,
    /// Who is named as the author, where not git's user.
    pub author: Option<Author>,
    /// Only what belongs to this ticket.
    pub ticket: Option<String>,
    /// Only this repository of this workspace.
    pub only: Option<(String, String)>,
    /// Ends it where it stands, between two commits or within a test or hook.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// A worktree with something to commit.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The workspace.
    pub workspace: String,
    /// The worktree.
    pub tree: Worktree,
    /// The commit that holds what is judged beside the changes.
    pub head: String,
    /// The changes, our own writing aside.
    pub changes: Vec<Change>,
    /// The message of the commit.
    pub message: String,
}

impl Made {
    /// In words.
    pub fn words(&self) -> String {
        format!("{}: {} {}", self.repo, self.sha.get(..10).unwrap_or(&self.sha), self.message)
    }
}

/// A commit that was made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Made {
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// The commit.
    pub sha: String,
    /// Its first line.
    pub message: String,
    /// How many paths differ in it.
    pub files: usize,
}

/// What a commit would hold and whether it may be made.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Worktrees with something to commit.
    pub ready: Vec<Ready>,
    /// Repositories in which only files of ours wait, or they too.
    pub own: Vec<String>,
    /// All checks.
    pub gates: Vec<Gate>,
}

impl Prepared {
    /// What would be done, in words.
    pub fn would(&self) -> Vec<String> {
        let own = self.own.iter().map(|repo| format!("{repo}: commit the ticket docs that metawsm wrote"));
        let work = self.ready.iter().map(|ready| {
            format!(
                "{}: commit {} to {} as {:?}",
                ready.tree.repo,
                named(&ready.changes),
                ready.tree.branch,
                ready.message.lines().next().unwrap_or_default()
            )
        });
        own.chain(work).collect()
    }
}

/// Some files, in words.
fn named(changes: &[Change]) -> String {
    let names: Vec<String> = changes.iter().take(NAMED).map(|change| change.path.display().to_string()).collect();
    let more = changes.len() - names.len();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", names.join(", "))
}

/// Looks at every worktree that is meant and judges what is there. A dry run runs no tests and changes nothing.
///
/// # Errors
/// A refusal where the run is not completed or agents are at work, and what git or the store says.
pub fn prepare(
    git: &Git,
    reader: &Reader,
    policy: &Policy,
    run: &Run,
    options: &Options,
    tests: &Tests<'_>,
) -> Result<Prepared, EngineError> {
    gates::settled(reader, run, "committed")?;
    let mut prepared = Prepared { ready: Vec::new(), own: Vec::new(), gates: Vec::new() };
    let workspaces = chosen(reader, policy, run, options.ticket.as_ref(), options.only.as_ref())?;
    for (workspace, tree) in trees(&workspaces) {
        let changes = own_work::changes(git, reader, workspace, tree)?;
        if !changes.own.is_empty() {
            prepared.own.push(tree.repo.clone());
        }
        if !changes.others.is_empty() {
            prepared.ready.push(Ready {
                workspace: workspace.name.clone(),
                tree: tree.clone(),
                head: "HEAD".to_owned(),
                changes: changes.others,
                message: options.message.clone().unwrap_or_else(|| default_message(run, workspace)),
            });
        }
    }
    if !prepared.ready.is_empty() {
        let judge = Judge { git, reader, policy: &policy.git_pr, run, what: checks::What::Commit };
        prepared.gates.push(judge.places(&prepared.ready)?);
        prepared.gates.push(judge.plain(&prepared.ready));
        prepared.gates.extend(judge.required(&prepared.ready, tests)?);
    }
    Ok(prepared)
}

/// The workspaces that are meant, with the worktrees that are: those of the ticket, of repositories that are allowed.
///
/// # Errors
/// When the run has no such ticket, and what the store says.
pub fn chosen(
    reader: &Reader,
    policy: &Policy,
    run: &Run,
    ticket: Option<&String>,
    only: Option<&(String, String)>,
) -> Result<Vec<Workspace>, EngineError> {
    if let Some(ticket) = ticket.filter(|ticket| !run.spec.tickets.contains(ticket)) {
        let tickets = run.spec.tickets.join(", ");
        return Err(EngineError::usage(
            format!("run {} has no ticket {ticket}", run.id()),
            format!("its tickets: {tickets}"),
        ));
    }
    let mut found = reader.workspaces(run.id())?;
    found.retain(|workspace| {
        let of = run.workspace(&workspace.name).map(|spec| &spec.ticket);
        !workspace.removed && ticket.is_none_or(|wanted| Some(wanted) == of)
    });
    for workspace in &mut found {
        let name = workspace.name.clone();
        workspace.worktrees.retain(|tree| {
            let meant = only.is_none_or(|(ws, repo)| *ws == name && *repo == tree.repo);
            meant && is_allowed(policy, &tree.repo) && Path::new(&tree.path).is_dir()
        });
    }
    Ok(found)
}

/// Whether the policy lets this repository be committed in.
pub fn is_allowed(policy: &Policy, repo: &str) -> bool {
    let allowed = &policy.git_pr.allowed_repos;
    allowed.is_empty() || allowed.iter().any(|name| name == repo)
}

fn default_message(run: &Run, workspace: &Workspace) -> String {
    let ticket = run.workspace(&workspace.name).map_or(workspace.name.as_str(), |spec| spec.ticket.as_str());
    let goal = run.brief.as_ref().and_then(|brief| brief.goal.trim().lines().next()).map(str::trim);
    let what =
        goal.filter(|goal| !goal.is_empty()).map_or_else(|| format!("apply {} updates", run.id()), str::to_owned);
    let mut message = format!("{ticket}: {what}");
    let mut end = LONGEST_MESSAGE.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message.trim_end().to_owned()
}

/// Commits a run's work. The caller holds the run's lease.
///
/// # Errors
/// [`EngineError::Gates`] with all checks, and then nothing was committed; or what kept a repository from being
/// committed, and then those before it were.
pub fn commit(engine: &Engine, caller: &Caller, run_id: &str, options: &Options) -> Result<Vec<Made>, EngineError> {
    let prepared = ready(engine, run_id, options)?;
    carry_out(engine, caller, run_id, &prepared, options)
}

/// Looks, and has every check made.
///
/// # Errors
/// [`EngineError::Gates`] with all checks.
pub fn ready(engine: &Engine, run_id: &str, options: &Options) -> Result<Prepared, EngineError> {
    let (run, policy) = (engine.run(run_id)?, engine.policy_of(run_id)?);
    gates::settled(&*engine.reader()?, &run, "committed")?;
    // What was answered until now belongs into the commit of the docs.
    outbox::work_off_run(engine, &Consumers::default(), run_id)?;
    let tests = Tests::Run { limit: step_limit(&policy), cancel: options.cancel.as_deref() };
    let prepared = prepare(&engine.git, &*engine.reader()?, &policy, &run, options, &tests)?;
    if prepared.gates.iter().any(|gate| !gate.ok) {
        return Err(EngineError::Gates { what: format!("run {run_id} is not committed"), gates: prepared.gates });
    }
    Ok(prepared)
}

/// How long a test, a hook or a push may take.
pub fn step_limit(policy: &Policy) -> Duration {
    Duration::from_secs(u64::from(policy.execution.step_timeout_seconds))
}

/// Makes the commits that were prepared, ours first.
///
/// # Errors
/// What kept a repository from being committed; those before it were.
pub fn carry_out(
    engine: &Engine,
    caller: &Caller,
    run_id: &str,
    prepared: &Prepared,
    options: &Options,
) -> Result<Vec<Made>, EngineError> {
    let limit = step_limit(&engine.policy_of(run_id)?);
    own_work::commit(engine, caller, run_id)?;
    let git = match &options.cancel {
        Some(flag) => engine.git.clone().cancelled_by(Arc::clone(flag)),
        None => engine.git.clone(),
    };
    let mut made = Vec::new();
    for ready in &prepared.ready {
        let path = Path::new(&ready.tree.path);
        let paths = paths_of(&ready.changes);
        let Some(sha) = git.commit_work(path, &paths, &ready.message, options.author.as_ref(), limit)? else {
            continue;
        };
        let message = ready.message.lines().next().unwrap_or_default().to_owned();
        let wish = RunWish::Committed {
            workspace: ready.workspace.clone(),
            repo: ready.tree.repo.clone(),
            sha: sha.clone(),
            message: message.clone(),
            own: false,
            author: Some(engine.git.author_of(path, &sha)?),
        };
        engine.order_run(caller, run_id, wish)?;
        operator::handed_on(engine, run_id, &repo_target(&ready.workspace, &ready.tree.repo), Intent::CommitReady)?;
        let (workspace, repo) = (ready.workspace.clone(), ready.tree.repo.clone());
        made.push(Made { workspace, repo, sha, message, files: ready.changes.len() });
    }
    Ok(made)
}

/// Both names of what was renamed.
fn paths_of(changes: &[Change]) -> Vec<PathBuf> {
    let from = |change: &Change| match &change.kind {
        ChangeKind::Renamed { from } => Some(from.clone()),
        _ => None,
    };
    changes.iter().flat_map(|change| from(change).into_iter().chain([change.path.clone()])).collect()
}

/// What differs in a worktree, as the rules see it: told from another change by what is there, whatever is staged of it
/// and whenever it was written.
pub fn dirt(tree: &Worktree, changes: &[Change]) -> Option<Dirt> {
    if changes.is_empty() {
        return None;
    }
    let (mut text, mut left) = (String::new(), MOST_READ);
    for path in paths_of(changes).into_iter().collect::<BTreeSet<_>>() {
        text.push_str(&format!("{path:?} {}\n", content(&Path::new(&tree.path).join(&path), &mut left)));
    }
    for change in changes.iter().filter(|change| change.kind == ChangeKind::Conflicted) {
        text.push_str(&format!("{:?} in conflict\n", change.path));
    }
    let mut print = fingerprint("dirt", &text);
    print.truncate(16);
    let first = changes.iter().take(NAMED).map(|change| change.path.display().to_string()).collect();
    Some(Dirt { print, files: changes.len(), first })
}

/// What is at a path, in a word.
fn content(path: &Path, left: &mut u64) -> String {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return "gone".to_owned() };
    if meta.is_dir() {
        return "directory".to_owned();
    }
    let (size, runs) = (meta.len(), meta.permissions().mode() & 0o111 != 0);
    if size <= *left
        && let Ok(blob) = blob_of(path)
    {
        *left -= size;
        return format!("{blob} {runs}");
    }
    let time = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{size} {time:?} {runs}")
}

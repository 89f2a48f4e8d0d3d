//! Pushes what was committed and opens a pull request for it, or brings the one that is there up to date (D3).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::committing::{Judge, Ready, Tests, checks, chosen, step_limit};
use super::engine::{Caller, Engine};
use super::error::{EngineError, Gate};
use super::gates::{self, gate, source_of, trees, unmerged};
use super::gh::{Gh, New};
use super::git::Git;
use super::outbox::{self, Consumers};
use super::{operator, own_work};
use crate::domain::command::RunWish;
use crate::domain::event::{PullRequestFact, Worktree};
use crate::domain::operator::{Intent, repo_target};
use crate::domain::policy::Policy;
use crate::domain::pull_request::{PullRequest, PullRequestState, branch_of};
use crate::domain::run::Run;
use crate::domain::scene::Workspace;
use crate::store::Reader;

/// What is to be handed on, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The title, where not the default one.
    pub title: Option<String>,
    /// The text, where not the default one.
    pub body: Option<String>,
    /// Open it as a draft.
    pub draft: bool,
    /// On whose behalf.
    pub actor: Option<String>,
    /// Only what belongs to this ticket.
    pub ticket: Option<String>,
    /// Only this repository of this workspace.
    pub only: Option<(String, String)>,
    /// Ends it where it stands.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// A repository with commits for a pull request.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The workspace.
    pub workspace: String,
    /// The worktree.
    pub tree: Worktree,
    /// The branch that is pushed.
    pub branch: String,
    /// The commit that is judged, and pushed.
    pub head: String,
    /// The title.
    pub title: String,
    /// The text.
    pub body: String,
    /// The pull request that is known already.
    pub known: Option<PullRequest>,
}

/// What would be handed on and whether it may be.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Repositories with commits for a pull request.
    pub ready: Vec<Handover>,
    /// All checks.
    pub gates: Vec<Gate>,
}

impl Prepared {
    /// What would be done, in words.
    pub fn would(&self) -> Vec<String> {
        let one = |ready: &Handover| {
            let what = match &ready.known {
                Some(known) if known.state.is_open() => format!("bring pull request #{} up to date", known.number),
                Some(_) | None => format!("open a pull request into {}: {}", ready.tree.base, ready.title),
            };
            format!("{}: push {} to {} of origin and {what}", ready.tree.repo, ready.tree.branch, ready.branch)
        };
        self.ready.iter().map(one).collect()
    }
}

/// Looks at every repository that is meant and judges what is there. A dry run runs no tests, asks nobody and changes
/// nothing.
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
    gates::settled(reader, run, "handed on in a pull request")?;
    let workspaces = chosen(reader, policy, run, options.ticket.as_ref(), options.only.as_ref())?;
    let mut found = Vec::new();
    for (workspace, tree) in trees(&workspaces) {
        // Before anything is looked at: what comes after it is judged the next time.
        let Some(head) = git.branch_tip(Path::new(&tree.path), &tree.branch)? else { continue };
        let known = reader.pull_request(run.id(), &workspace.name, &tree.repo)?;
        let changed_words = known.is_some() && (options.title.is_some() || options.body.is_some());
        if changed_words || unmerged(git, reader, run, workspace, tree)? > 0 {
            let changes = own_work::changes(git, reader, workspace, tree)?.others;
            found.push((workspace, tree, head, known, changes));
        }
    }
    let several = found.len() > 1;
    let mut prepared = Prepared { ready: Vec::new(), gates: Vec::new() };
    let mut judged = Vec::new();
    for (workspace, tree, head, known, changes) in found {
        let handover = handover(run, policy, options, (workspace, tree, head), known, several);
        let message = handover.title.clone();
        judged.push(Ready {
            workspace: workspace.name.clone(),
            tree: tree.clone(),
            head: handover.head.clone(),
            changes,
            message,
        });
        prepared.ready.push(handover);
    }
    if !judged.is_empty() {
        let judge = Judge { git, reader, policy: &policy.git_pr, run, what: checks::What::PullRequest };
        prepared.gates.push(remotes(git, run, &prepared.ready)?);
        prepared.gates.push(judge.places(&judged)?);
        prepared.gates.extend(judge.required(&judged, tests)?);
    }
    Ok(prepared)
}

fn handover(
    run: &Run,
    policy: &Policy,
    options: &Options,
    (workspace, tree, head): (&Workspace, &Worktree, String),
    known: Option<PullRequest>,
    several: bool,
) -> Handover {
    let ticket = run.workspace(&workspace.name).map_or(workspace.name.as_str(), |spec| spec.ticket.as_str());
    let goal = run.brief.as_ref().and_then(|brief| brief.goal.trim().lines().next()).filter(|goal| !goal.is_empty());
    let what = goal.map_or_else(|| format!("{} updates", run.id()), str::to_owned);
    let tail = if several { format!(" ({})", tree.repo) } else { String::new() };
    let branch = branch_of(&policy.git_pr.branch_template, ticket, &tree.repo, run.id());
    Handover {
        workspace: workspace.name.clone(),
        tree: tree.clone(),
        head,
        title: options.title.clone().unwrap_or_else(|| format!("[{ticket}] {what}{tail}")),
        body: options.body.clone().unwrap_or_else(|| body(run, ticket, tree, &branch)),
        // What was pushed once goes on where it is, whatever the template says now.
        branch: known.as_ref().map_or(branch, |known| known.branch.clone()),
        known,
    }
}

fn body(run: &Run, ticket: &str, tree: &Worktree, branch: &str) -> String {
    let mut text = format!(
        "* Ticket: {ticket}\n* Run: {}\n* Repository: {}\n* Branch: `{branch}` into `{}`\n",
        run.id(),
        tree.repo,
        tree.base
    );
    if let Some(brief) = &run.brief {
        for (heading, words) in [("Goal", &brief.goal), ("Done criteria", &brief.done_criteria)] {
            if !words.trim().is_empty() {
                text.push_str(&format!("\n## {heading}\n\n{}\n", words.trim()));
            }
        }
    }
    text
}

fn remotes(git: &Git, run: &Run, ready: &[Handover]) -> Result<Gate, EngineError> {
    for handover in ready {
        let repo = source_of(run, &handover.tree);
        if git.origin(Path::new(repo))?.is_none() {
            let reason = format!("{} has no remote origin", handover.tree.repo);
            return Ok(gate("origin", false, reason, format!("git -C {repo} remote add origin URL")));
        }
    }
    Ok(gate("origin", true, "every repository has a remote origin", ""))
}

/// Looks, has every check made, and commits what metawsm wrote itself. The caller holds the run's lease.
///
/// # Errors
/// [`EngineError::Gates`] with all checks, and then nothing was pushed.
pub fn ready(engine: &Engine, caller: &Caller, run_id: &str, options: &Options) -> Result<Prepared, EngineError> {
    let (run, policy) = (engine.run(run_id)?, engine.policy_of(run_id)?);
    gates::settled(&*engine.reader()?, &run, "handed on in a pull request")?;
    outbox::work_off_run(engine, &Consumers::default(), run_id)?;
    own_work::commit(engine, caller, run_id)?;
    let tests = Tests::Run { limit: step_limit(&policy), cancel: options.cancel.as_deref() };
    let prepared = prepare(&engine.git, &*engine.reader()?, &policy, &run, options, &tests)?;
    if prepared.gates.iter().any(|gate| !gate.ok) {
        let what = format!("run {run_id} is not handed on in a pull request");
        return Err(EngineError::Gates { what, gates: prepared.gates });
    }
    Ok(prepared)
}

/// Pushes and opens, or brings up to date. The caller holds the run's lease.
///
/// # Errors
/// What git or `gh` says of one repository; those before it are handed on.
pub fn carry_out(
    engine: &Engine,
    caller: &Caller,
    run_id: &str,
    prepared: &Prepared,
    options: &Options,
) -> Result<Vec<PullRequest>, EngineError> {
    let policy = engine.policy_of(run_id)?;
    let git = match &options.cancel {
        Some(flag) => engine.git.clone().cancelled_by(Arc::clone(flag)),
        None => engine.git.clone(),
    };
    let mut done = Vec::new();
    for ready in &prepared.ready {
        let dir = PathBuf::from(&ready.tree.path);
        let gh = Gh { dir: &dir, cancel: options.cancel.as_deref() };
        // Asked before anything is pushed: also what another process opened, or this one before it was killed.
        let open = gh.open_from(&ready.branch)?;
        // What was committed since nobody has judged.
        git.expect_tip(&dir, &ready.tree.branch, &ready.head)?;
        git.push(&dir, &ready.head, &ready.branch, step_limit(&policy))?;
        let found = match open {
            Some(open) => {
                if options.title.is_some() || options.body.is_some() {
                    gh.edit(open.number, options.title.as_deref(), options.body.as_deref())?;
                }
                let title = options.title.clone().unwrap_or_else(|| open.title.clone());
                super::gh::Found { title, ..open }
            }
            None => gh.open(&New {
                base: &ready.tree.base,
                head: &ready.branch,
                title: &ready.title,
                body: &ready.body,
                draft: options.draft,
                labels: &policy.git_pr.default_labels,
                reviewers: &policy.git_pr.default_reviewers,
            })?,
        };
        let request = PullRequestFact {
            repo: ready.tree.repo.clone(),
            number: found.number,
            url: found.url,
            branch: ready.branch.clone(),
            base: ready.tree.base.clone(),
            head: ready.head.clone(),
            title: found.title,
            draft: found.is_draft,
            state: PullRequestState::Open,
        };
        let wish =
            RunWish::PullRequest { workspace: ready.workspace.clone(), request, on_behalf_of: options.actor.clone() };
        engine.order_run(caller, run_id, wish)?;
        let target = repo_target(&ready.workspace, &ready.tree.repo);
        operator::handed_on(engine, run_id, &target, Intent::PrReady)?;
        done.extend(engine.reader()?.pull_request(run_id, &ready.workspace, &ready.tree.repo)?);
    }
    Ok(done)
}

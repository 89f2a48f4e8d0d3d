//! What completed runs hold in their worktrees, as git tells it: asked beside the loop, one workspace at a time, and
//! each at most so often. Nothing of it matters to who comes after: git still knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::committing::{dirt, is_allowed};
use super::engine::Engine;
use super::error::EngineError;
use super::gates::{source_of, unmerged};
use super::git::Git;
use super::supervisor::Jump;
use super::{gh, own_work, reviews};
use crate::domain::event::Worktree;
use crate::domain::operator::{Ahead, Queued, RepoSeen, repo_target};
use crate::domain::policy::Policy;
use crate::domain::pull_request::PullRequestState;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Workspace;
use crate::domain::time::Moment;
use crate::store::Reader;

/// A run and the name of one of its workspaces.
pub type Key = (String, String);

/// What was seen in a workspace.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub at: Moment,
    /// How far the run's journal was then: what has happened since may have changed it.
    pub seq: i64,
    /// Its repositories, those left out about which git could not tell.
    pub repos: Vec<RepoSeen>,
    /// Why it could not.
    pub troubles: Vec<String>,
}

/// What the repositories of a workspace hold.
#[derive(Debug, Default)]
pub struct Sight {
    /// Those that could be looked at.
    pub repos: Vec<RepoSeen>,
    /// What kept the others from being looked at.
    pub troubles: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    known: BTreeMap<Key, Seen>,
    /// Whether git is being asked.
    pending: bool,
    /// How often it has answered.
    answers: u64,
}

/// What is known of the worktrees of completed runs.
#[derive(Debug, Default)]
pub struct Worktrees {
    shared: Arc<Mutex<Shared>>,
    asker: Option<Sender<Workspace>>,
}

impl Worktrees {
    /// Has git asked about the workspace that was looked at longest ago, where that is due.
    pub fn look<'a>(
        &mut self,
        runs: impl Iterator<Item = (&'a Run, &'a [Workspace])>,
        every: Duration,
        engine: &Arc<Engine>,
        now: Moment,
    ) {
        let completed = runs.filter(|(run, _)| run.status == RunStatus::Completed && !run.spec.dry_run);
        let there = completed.flat_map(|(_, workspaces)| workspaces).filter(|workspace| !workspace.removed);
        let there: BTreeMap<Key, &Workspace> =
            there.map(|workspace| ((workspace.run_id.clone(), workspace.name.clone()), workspace)).collect();
        let mut shared = self.shared();
        shared.known.retain(|key, _| there.contains_key(key));
        let at = |key: &Key| shared.known.get(key).map(|seen| seen.at);
        let oldest = there.iter().map(|(key, workspace)| (at(key), *workspace)).min_by_key(|(at, _)| *at);
        let due = oldest.filter(|(at, _)| at.is_none_or(|at| now.since(at) >= every));
        let Some((_, workspace)) = due.filter(|_| !shared.pending) else { return };
        shared.pending = true;
        drop(shared);
        self.ask(workspace, engine);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&mut self, workspace: &Workspace, engine: &Arc<Engine>) {
        if self.asker.is_none() {
            let (sender, questions) = channel();
            let (engine, shared) = (Arc::clone(engine), Arc::clone(&self.shared));
            let thread = std::thread::Builder::new().name("worktrees".to_owned());
            if thread.spawn(move || answer(&engine, &questions, &shared)).is_ok() {
                self.asker = Some(sender);
            }
        }
        if self.asker.as_ref().is_none_or(|asker| asker.send(workspace.clone()).is_err()) {
            self.asker = None;
            self.shared().pending = false;
        }
    }

    /// How often git has answered: it is another number after each answer.
    pub fn answers(&self) -> u64 {
        self.shared().answers
    }

    /// All that is known.
    pub fn known(&self) -> BTreeMap<Key, Seen> {
        self.shared().known.clone()
    }

    /// The clock was set.
    pub fn jumped(&mut self, jump: Jump) {
        self.shared().known.values_mut().for_each(|seen| seen.at = jump.carry(seen.at));
    }
}

/// Asks git for as long as somebody wants to know.
fn answer(engine: &Engine, questions: &Receiver<Workspace>, shared: &Mutex<Shared>) {
    for workspace in questions {
        let at = engine.now();
        let seen = seen_now(engine, &workspace);
        let (seq, Sight { repos, troubles }) =
            seen.unwrap_or_else(|error| (0, Sight { troubles: vec![error.to_string()], ..Sight::default() }));
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.known.insert((workspace.run_id.clone(), workspace.name.clone()), Seen { at, seq, repos, troubles });
        shared.answers += 1;
        shared.pending = false;
    }
}

/// How far the journal is first: what happens while git looks makes its answer old.
fn seen_now(engine: &Engine, workspace: &Workspace) -> Result<(i64, Sight), EngineError> {
    let reader = engine.reader()?;
    let Some(run) = reader.run(&workspace.run_id)? else { return Ok((0, Sight::default())) };
    let policy = engine.policy_of(run.id())?;
    let sight = see(&engine.git, &reader, (&policy, can_request(engine)), &run, workspace);
    Ok((run.last_seq, sight))
}

/// Whether pull requests can be made here at all: who has no `gh` is offered none.
pub fn can_request(engine: &Engine) -> bool {
    engine.surroundings.variables.get("PATH").is_some_and(|path| gh::is_on(path))
}

/// What is committed and handed on nowhere; nothing where the repository has no remote to hand it on to.
fn ahead(
    git: &Git,
    reader: &Reader,
    run: &Run,
    (workspace, tree): (&Workspace, &Worktree),
) -> Result<Option<Ahead>, EngineError> {
    let repo = Path::new(source_of(run, tree));
    let commits = unmerged(git, reader, run, workspace, tree)?;
    if commits == 0 || git.origin(repo)?.is_none() {
        return Ok(None);
    }
    let (request, head) =
        (reader.pull_request(run.id(), &workspace.name, &tree.repo)?, git.tip_of(repo, &tree.branch)?);
    // Whoever closed it wants no other one of the same.
    if request.as_ref().is_some_and(|request| request.state == PullRequestState::Closed && request.head == head) {
        return Ok(None);
    }
    Ok(Some(Ahead {
        commits,
        head,
        request: request.filter(|request| request.state.is_open()).map(|request| request.number),
    }))
}

/// So many remarks are named where all are counted.
const NAMED: usize = 3;

/// What reviewers said to a repository's pull request that no agent was told of.
fn queued(reader: &Reader, workspace: &Workspace, tree: &Worktree) -> Result<Option<Queued>, EngineError> {
    let mut items = reviews::queued(reader, &workspace.run_id, std::slice::from_ref(&workspace.name))?;
    items.retain(|item| item.repo == tree.repo);
    let Some(newest) = items.iter().map(|item| item.since).max() else { return Ok(None) };
    let first = items.iter().take(NAMED).map(|item| format!("{} on {}", item.remark.author, item.remark.place()));
    let agents = reader.agents(&workspace.run_id)?;
    let restarts = agents.iter().filter(|agent| agent.key.workspace == workspace.name).map(|agent| &agent.restarts);
    let anew = restarts.map(|restarts| (restarts.anew, restarts.budget)).max().unwrap_or_default();
    Ok(Some(Queued {
        count: items.len(),
        trusted: items.iter().filter(|item| item.remark.is_trusted()).count(),
        anew,
        first: first.collect(),
        print: format!("{} until {newest}", items.len()),
    }))
}

/// What the repositories of a workspace hold now, those left out that nothing may be committed in. Whether something is
/// ahead is looked at only where a pull request `can` be made of it. One that is broken keeps no other from being seen.
pub fn see(git: &Git, reader: &Reader, (policy, can): (&Policy, bool), run: &Run, workspace: &Workspace) -> Sight {
    let allowed = workspace.worktrees.iter().filter(|tree| is_allowed(policy, &tree.repo));
    let mut sight = Sight::default();
    for tree in allowed {
        match see_one(git, reader, (policy, can), run, (workspace, tree)) {
            Ok(repo) => sight.repos.push(repo),
            Err(error) => sight.troubles.push(format!("{}: {error}", tree.repo)),
        }
    }
    sight
}

fn see_one(
    git: &Git,
    reader: &Reader,
    (policy, can): (&Policy, bool),
    run: &Run,
    (workspace, tree): (&Workspace, &Worktree),
) -> Result<RepoSeen, EngineError> {
    let last = reader.decision(Some(&workspace.run_id), &repo_target(&workspace.name, &tree.repo))?;
    let mut seen = RepoSeen {
        workspace: workspace.name.clone(),
        repo: tree.repo.clone(),
        dirt: None,
        ahead: None,
        // Also where the worktree is gone: nobody else would tell of it.
        queued: if reviews::wanted(policy) { queued(reader, workspace, tree)? } else { None },
        last: last.map(|last| last.decision),
    };
    if Path::new(&tree.path).is_dir() {
        seen.dirt = dirt(tree, &own_work::changes(git, reader, workspace, tree)?.others);
        seen.ahead = if can { ahead(git, reader, run, (workspace, tree))? } else { None };
    }
    Ok(seen)
}

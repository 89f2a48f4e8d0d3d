//! What shows that an agent moves on, apart from what it prints (spec 2.4, D26): its word in the journal, HEAD and the
//! index of its worktrees, else the newest change that git does not have yet.
//!
//! Two files of each worktree are asked for their time, and only where something was printed, or now and then. For
//! more git is asked, off the tick's thread: at most once a minute for a workspace, and only where it matters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::engine::Engine;
use super::error::EngineError;
use super::own_work;
use super::supervisor::{Jump, Pendulum, Steady};
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::health::Source;
use crate::domain::run::Run;
use crate::domain::scene::Workspace;
use crate::domain::time::Moment;
use crate::store::Reader;

/// git need not be asked about a workspace more often than this.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// What git says is worth knowing once nothing else has shown progress for so long.
const WORTH_ASKING: Duration = Duration::from_secs(60);
/// The two files are asked for their time this often where an agent prints, and where all are silent.
const STAT_EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// A run and the name of one of its workspaces.
type Key = (String, String);

/// The two files of a worktree that change with what git has.
#[derive(Debug, Clone)]
struct GitFiles {
    /// Where HEAD has been: it grows with each commit.
    head: PathBuf,
    index: PathBuf,
}

/// What is remembered of a workspace.
#[derive(Debug, Default)]
struct Watched {
    files: Vec<GitFiles>,
    looked_at: Moment,
    /// When HEAD moved last; `None` before the first look.
    head: Option<Moment>,
    newest: Option<Moment>,
    /// What git was found to have said, as of the last look.
    asked: Option<Asked>,
}

/// What git said of a workspace.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Moment,
    /// The newest change then; `None` when git could not tell.
    newest: Option<Moment>,
}

/// What the thread that asks git has found, and what it still has to find.
#[derive(Debug, Default)]
struct Answers {
    known: BTreeMap<Key, Asked>,
    pending: BTreeSet<Key>,
}

/// What is known of the progress of agents. Nothing of it matters to who comes after: the files keep their times.
#[derive(Debug, Default)]
pub struct Progress {
    /// By run and name of the workspace.
    watched: HashMap<String, HashMap<String, Watched>>,
    answers: Arc<Mutex<Answers>>,
    asker: Option<Sender<Workspace>>,
    /// The newest progress of each agent.
    newest: Steady<AgentKey>,
    /// The workspace of which git was asked longest ago, among those where that is worth it.
    next: Option<(Moment, Workspace)>,
}

/// Stalled agents, and what their progress says.
#[derive(Debug, Default)]
pub struct Standstill {
    /// Their last progress is longer ago than their profile allows.
    pub overdue: Vec<AgentKey>,
    /// It is not known yet whether they have moved on.
    pub undecided: Vec<AgentKey>,
}

impl Progress {
    /// Looks at the workspaces of a run's working agents. `output_at` says when an agent last printed, `limit` how
    /// long it may be without progress. Those whose HEAD has moved are returned.
    pub fn look(
        &mut self,
        run: &Run,
        agents: &[Agent],
        workspaces: &[Workspace],
        (output_at, limit): (impl Fn(&Agent) -> Option<Moment>, impl Fn(&Agent) -> Duration),
        engine: &Arc<Engine>,
        (now, clock): (Moment, &Pendulum),
    ) -> Vec<AgentKey> {
        let mut working: HashMap<&str, (Vec<&Agent>, Option<Moment>)> = HashMap::new();
        for agent in agents.iter().filter(|agent| run.status.at_work() && agent.status.working()) {
            let (those, printed) = working.entry(agent.key.workspace.as_str()).or_default();
            those.push(agent);
            *printed = (*printed).max(output_at(agent));
        }
        let mut moved = Vec::new();
        self.hear(run.id(), workspaces);
        for workspace in workspaces {
            let Some((those, printed)) = working.get(workspace.name.as_str()) else { continue };
            if self.watch(workspace, *printed, now) {
                moved.extend(those.iter().map(|agent| agent.key.clone()));
            }
            for agent in those {
                if let Some((told, _)) = self.told(agent) {
                    self.newest.at(&agent.key, told, false, clock);
                }
                self.want(agent, workspace, limit(agent), *printed, (engine, now));
            }
        }
        moved
    }

    /// Ends a look at all runs: git is asked about one of the workspaces where that is only worth knowing.
    pub fn looked(&mut self, engine: &Arc<Engine>) {
        if let Some((_, workspace)) = self.next.take() {
            self.ask(&workspace, engine);
        }
    }

    /// Takes over what git has said meanwhile.
    fn hear(&mut self, run_id: &str, workspaces: &[Workspace]) {
        let Some(watched) = self.watched.get_mut(run_id) else { return };
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for workspace in workspaces.iter().filter(|_| !answers.known.is_empty()) {
            if let Some(watched) = watched.get_mut(&workspace.name) {
                watched.asked = answers.known.get(&key_of(workspace)).copied();
            }
        }
    }

    /// Asks the two files of each worktree for their time, where that is due; whether HEAD has moved.
    fn watch(&mut self, workspace: &Workspace, printed: Option<Moment>, now: Moment) -> bool {
        if self.seen(&workspace.run_id, &workspace.name).is_none() {
            let files = workspace.worktrees.iter().filter_map(|tree| git_files(Path::new(&tree.path))).collect();
            let watched = Watched { files, ..Watched::default() };
            self.watched.entry(workspace.run_id.clone()).or_default().insert(workspace.name.clone(), watched);
        }
        let of_run = self.watched.get_mut(&workspace.run_id);
        let Some(watched) = of_run.and_then(|of_run| of_run.get_mut(&workspace.name)) else { return false };
        let busy = printed.is_none_or(|printed| printed >= watched.looked_at.minus(Duration::from_secs(1)));
        let every = if busy { STAT_EVERY.0 } else { STAT_EVERY.1 };
        if now.since(watched.looked_at) < every {
            return false;
        }
        watched.looked_at = now;
        let head = watched.files.iter().filter_map(|files| modified(&files.head)).max();
        let index = watched.files.iter().filter_map(|files| modified(&files.index)).max();
        watched.newest = head.max(index);
        let before = watched.head.replace(head.unwrap_or_default());
        before.is_some_and(|before| before < head.unwrap_or_default())
    }

    /// Has git asked, where what is known is not enough: to judge by at once, else when there is time.
    fn want(
        &mut self,
        agent: &Agent,
        workspace: &Workspace,
        limit: Duration,
        printed: Option<Moment>,
        (engine, now): (&Arc<Engine>, Moment),
    ) {
        let still = self.newest(agent).map_or(Duration::MAX, |(at, _)| now.since(at));
        let asked = self.asked(&agent.key).map_or(Moment::default(), |asked| asked.at);
        if !limit.is_zero() && still >= limit {
            if now.since(asked) >= ask_every(limit) {
                self.ask(workspace, engine);
            }
        } else if still >= WORTH_ASKING
            && now.since(asked) >= ASK_EVERY
            && printed.is_some_and(|printed| printed > asked)
            && self.next.as_ref().is_none_or(|(oldest, _)| asked < *oldest)
        {
            self.next = Some((asked, workspace.clone()));
        }
    }

    fn seen(&self, run_id: &str, workspace: &str) -> Option<&Watched> {
        self.watched.get(run_id)?.get(workspace)
    }

    fn asked(&self, key: &AgentKey) -> Option<Asked> {
        self.seen(&key.run_id, &key.workspace)?.asked
    }

    fn ask(&mut self, workspace: &Workspace, engine: &Arc<Engine>) {
        if !self.answers.lock().unwrap_or_else(PoisonError::into_inner).pending.insert(key_of(workspace)) {
            return;
        }
        if self.asker.is_none() {
            let (sender, questions) = channel();
            let (engine, answers) = (Arc::clone(engine), Arc::clone(&self.answers));
            let thread = std::thread::Builder::new().name("progress".to_owned());
            if thread.spawn(move || answer(&engine, &questions, &answers)).is_ok() {
                self.asker = Some(sender);
            }
        }
        if self.asker.as_ref().is_none_or(|asker| asker.send(workspace.clone()).is_err()) {
            self.asker = None;
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).pending.remove(&key_of(workspace));
        }
    }

    /// The clock was set.
    pub fn jumped(&mut self, jump: Jump) {
        self.newest.jumped(jump);
        for watched in self.watched.values_mut().flat_map(HashMap::values_mut) {
            watched.looked_at = jump.carry(watched.looked_at);
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.known.values_mut().for_each(|asked| asked.at = jump.carry(asked.at));
    }

    /// The newest progress that is known, in the time that is in force now.
    pub fn newest(&self, agent: &Agent) -> Option<(Moment, Source)> {
        let (told, source) = self.told(agent)?;
        Some((self.newest.known(&agent.key, told), source))
    }

    fn told(&self, agent: &Agent) -> Option<(Moment, Source)> {
        let said = agent.last_progress_at.map(|at| (at, Source::Journal));
        said.max(self.in_worktrees(&agent.key))
    }

    /// The newest that shows in the worktrees.
    pub fn in_worktrees(&self, key: &AgentKey) -> Option<(Moment, Source)> {
        let watched = self.seen(&key.run_id, &key.workspace)?;
        let git = watched.newest.map(|at| (at, Source::Git));
        let files = watched.asked.and_then(|asked| asked.newest).map(|at| (at, Source::Files));
        git.max(files)
    }

    /// The newest progress, where it is known that there was none after it, as far as it is asked: within `limit`, or
    /// git was asked since. Judged is as it was then: what has changed meanwhile is not known yet.
    pub fn judged(&self, agent: &Agent, limit: Duration, now: Moment) -> Option<(Moment, Source)> {
        let newest = self.newest(agent)?;
        if limit.is_zero() || now.since(newest.0) < limit {
            return Some(newest);
        }
        let asked = self.asked(&agent.key)?;
        let fresh = now.since(asked.at) < ask_every(limit) * 3;
        (fresh && asked.newest.is_some() && asked.at.since(newest.0) >= limit).then_some(newest)
    }

    /// Whether git is still to say if an agent has moved on.
    pub fn is_open(&self, agent: &Agent) -> bool {
        let key = (agent.key.run_id.clone(), agent.key.workspace.clone());
        let pending = &self.answers.lock().unwrap_or_else(PoisonError::into_inner).pending;
        self.asked(&agent.key).is_none() || pending.contains(&key)
    }

    /// How the stalled agents of a run stand with their progress. What is not known is not overdue.
    ///
    /// # Errors
    /// What the store says.
    pub fn standstill(
        &self,
        engine: &Engine,
        reader: &Reader,
        run: &Run,
        now: Moment,
    ) -> Result<Standstill, EngineError> {
        let mut found = Standstill::default();
        let stalled = stalled(reader, run)?;
        if stalled.is_empty() {
            return Ok(found);
        }
        let limits = limits(engine, run, &stalled)?;
        for (agent, limit) in stalled.into_iter().zip(limits).filter(|(_, limit)| !limit.is_zero()) {
            match self.judged(&agent, limit, now) {
                Some((at, _)) if now.since(at) >= limit => found.overdue.push(agent.key),
                None if self.is_open(&agent) => found.undecided.push(agent.key),
                Some(_) | None => {}
            }
        }
        Ok(found)
    }

    /// Whose progress is overdue, for somebody who looks only now and has time to wait for git.
    ///
    /// # Errors
    /// What the store says.
    pub fn overdue_now(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        run: &Run,
        now: Moment,
    ) -> Result<Vec<AgentKey>, EngineError> {
        let stalled = stalled(reader, run)?;
        for workspace in reader.workspaces(run.id())? {
            if stalled.iter().any(|agent| agent.key.workspace == workspace.name) {
                self.watch(&workspace, None, now);
                let asked = Asked { at: now, newest: newest_in(engine, reader, &workspace) };
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.known.insert(key_of(&workspace), asked);
                drop(answers);
                self.hear(run.id(), &[workspace]);
            }
        }
        Ok(self.standstill(engine, reader, run, now)?.overdue)
    }
}

fn stalled(reader: &Reader, run: &Run) -> Result<Vec<Agent>, EngineError> {
    let mut agents = reader.agents(run.id())?;
    agents.retain(|agent| agent.status == AgentStatus::Stalled);
    Ok(agents)
}

/// How long each of the agents may be without progress.
fn limits(engine: &Engine, run: &Run, agents: &[Agent]) -> Result<Vec<Duration>, EngineError> {
    let policy = engine.policy_of(run.id())?;
    let limit =
        |agent: &Agent| Duration::from_secs(u64::from(policy.health_of(&agent.spec.profile).progress_stalled_seconds));
    Ok(agents.iter().map(limit).collect())
}

/// Where little time is allowed, git is asked more often than each minute.
fn ask_every(limit: Duration) -> Duration {
    ASK_EVERY.min(limit / 4)
}

fn key_of(workspace: &Workspace) -> Key {
    (workspace.run_id.clone(), workspace.name.clone())
}

/// Asks git for as long as somebody wants to know.
fn answer(engine: &Engine, questions: &Receiver<Workspace>, answers: &Mutex<Answers>) {
    for workspace in questions {
        let at = engine.now();
        let newest = engine.reader().ok().and_then(|reader| newest_in(engine, &reader, &workspace));
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.known.insert(key_of(&workspace), Asked { at, newest });
        answers.pending.remove(&key_of(&workspace));
    }
}

/// The newest change of what git does not have yet, our own writing aside; the checkout itself where there is none.
fn newest_in(engine: &Engine, reader: &Reader, workspace: &Workspace) -> Option<Moment> {
    let mut newest = None;
    for tree in &workspace.worktrees {
        let top = Path::new(&tree.path);
        let changes = own_work::changes(&engine.git, reader, workspace, tree).ok()?;
        let paths = changes.others.iter().map(|change| top.join(&change.path)).chain([top.join(".git")]);
        // A file that was deleted has no time; its directory has.
        let time = |path: PathBuf| modified(&path).or_else(|| path.parent().and_then(modified));
        newest = newest.max(paths.filter_map(time).max());
    }
    newest
}

/// The two files, in a worktree or in a plain checkout.
fn git_files(worktree: &Path) -> Option<GitFiles> {
    let at = worktree.join(".git");
    let dir = match std::fs::read_to_string(&at) {
        Ok(text) => worktree.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => at,
    };
    Some(GitFiles { head: dir.join("logs").join("HEAD"), index: dir.join("index") })
}

fn modified(path: &Path) -> Option<Moment> {
    let at = std::fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Moment::from_millis)
}

//! Compares what the journal says should be with what tmux and the process table show, and mends the difference.
//!
//! It takes no input and keeps nothing that matters: another process may take over at any tick.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::agents::{self, LaunchFiles, exit_of};
use super::closing;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::executor::{execute, no_drill};
use super::indexing;
use super::launcher::{Record, read_record};
use super::operator::{Conduct, Operator};
use super::outbox::{Consumers, Worker};
use super::process::lease::{Lease, LeaseError};
use super::server_watch::ServerWatch;
use super::stopping;
use super::tmux::{Pane, Panes};
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Exit, Health};
use crate::domain::command::{AgentWish, Command};
use crate::domain::health::{Signals, Thresholds, judge};
use crate::domain::plan::{Step, can_go_on};
use crate::domain::policy::Policy;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;
use crate::store::read::Vitals;

/// Vitals are rewritten at most this often.
const VITALS_EVERY: Duration = Duration::from_secs(5);
/// The write-ahead log is moved into the file this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// How long a launcher that lost its terminal may take to find out whether its tmux server is gone too.
const LAUNCHER_WORD: Duration = Duration::from_secs(2);
/// How long after an agent's end its tmux server's counts as the same blow.
const SAME_BLOW: Duration = Duration::from_secs(10);

/// The holder of the right to observe and act by rule.
pub struct Supervisor {
    /// Works off the outbox beside us. It stands first because it is to end before the lease does.
    _outbox: Worker,
    engine: Arc<Engine>,
    caller: Caller,
    lease: Lease,
    /// Plans being carried on by this process.
    carried: BTreeMap<String, JoinHandle<()>>,
    /// Why what was carried on did not come through, by run.
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
    ending: Arc<AtomicBool>,
    /// Fills the search index, while there is something to fill.
    indexing: Option<JoinHandle<()>>,
    vitals_at: Moment,
    checkpoint_at: Moment,
    /// What the rules conclude is carried out here.
    operator: Operator,
    /// Age of each worktree's last commit as last seen.
    heads: BTreeMap<PathBuf, SystemTime>,
    server: ServerWatch,
    /// Launches of which the server showed no pane at the last look.
    missing: BTreeMap<AgentKey, u32>,
    /// Whether an agent lives whose server is gone.
    orphans: bool,
    /// The launch of each agent as last seen, and whether it had ended.
    noted: BTreeMap<AgentKey, (u32, bool)>,
    /// Launch records as last read: one that is the same file still is not read again.
    records: BTreeMap<PathBuf, (Stamp, Record)>,
}

/// What tells one state of a file from another: a record is replaced, never changed.
type Stamp = (u64, u64, Option<SystemTime>);

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Takes the lease if nobody has it.
    ///
    /// # Errors
    /// What keeps the lease from being asked for.
    pub fn try_new(engine: &Arc<Engine>) -> Result<Option<Self>, EngineError> {
        Self::try_new_as(engine, Conduct::default())
    }

    /// The same, for a process that was told how the operator is to be conducted.
    ///
    /// # Errors
    /// What keeps the lease from being asked for.
    pub fn try_new_as(engine: &Arc<Engine>, conduct: Conduct) -> Result<Option<Self>, EngineError> {
        let holder = engine.holder("supervise", "metawsm");
        let lease = match Lease::try_acquire(&engine.home.supervisor_lease(), holder) {
            Ok(lease) => lease,
            Err(LeaseError::Held { .. }) => return Ok(None),
            Err(error) => return Err(EngineError::Lease(error)),
        };
        let caller = Caller::system("supervisor");
        let acquired = Command::Lease { acquired: true, pid: lease.holder().pid, host: lease.holder().host.clone() };
        engine.order(&caller, &acquired)?;
        // Whoever had letters in hand had this lease, and has neither any more.
        engine.ledger.release_letters()?;
        let ending = Arc::new(AtomicBool::new(false));
        Ok(Some(Self {
            _outbox: Worker::begin(engine, Box::new(Consumers)),
            indexing: indexing::begin(&engine.home, &ending),
            engine: Arc::clone(engine),
            caller,
            lease,
            carried: BTreeMap::new(),
            troubles: Arc::default(),
            ending,
            vitals_at: Moment::default(),
            checkpoint_at: engine.now(),
            operator: Operator::new(conduct),
            heads: BTreeMap::new(),
            server: ServerWatch::default(),
            missing: BTreeMap::new(),
            orphans: false,
            noted: BTreeMap::new(),
            records: BTreeMap::new(),
        }))
    }

    /// Gives the lease back; plans being carried on are interrupted, agents go on.
    pub fn end(mut self) {
        self.ending.store(true, Ordering::SeqCst);
        for thread in std::mem::take(&mut self.carried).into_values().chain(self.indexing.take()) {
            let _ = thread.join();
        }
        let lost = Command::Lease { acquired: false, pid: self.lease.holder().pid, host: String::new() };
        // The lock is what counts; the event is for readers of the journal.
        let _ = self.engine.order(&self.caller, &lost);
    }

    /// One look at everything.
    ///
    /// # Errors
    /// When the store cannot be used. A run that cannot be looked at does not keep the others from it: what went
    /// wrong there is returned as words.
    pub fn tick(&mut self) -> Result<Vec<String>, EngineError> {
        let now = self.engine.now();
        if let Err(error) = self.lease.touch(now.millis()) {
            return Err(EngineError::Lease(error));
        }
        let runs = self.engine.reader()?.runs()?;
        let mut complaints: Vec<String> =
            self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut open = Vec::new();
        for run in runs.iter().filter(|run| !matches!(run.status, RunStatus::Closed | RunStatus::Created)) {
            open.push((run, self.engine.reader()?.agents(run.id())?));
        }
        self.forget(&open);
        let mut agents = open.iter().flat_map(|(_, agents)| agents);
        let needed = agents.any(|agent| agent.program_may_live() || self.has_last_words(agent));
        let panes = self.server.look(&self.engine, &self.caller, needed, &mut complaints)?;
        self.orphans = false;
        let mut vitals = Vec::new();
        for (run, agents) in &open {
            if let Err(error) = self.look_after(run, agents, panes.as_ref(), now, &mut vitals) {
                complaints.push(format!("run {}: {error}", run.id()));
            }
        }
        // Before the rules: what went with the server is back a moment after they looked.
        self.server.reckon(&self.engine, &self.caller, self.orphans)?;
        complaints.extend(self.operator.turn(&self.engine, now)?);
        if now.since(self.vitals_at) >= VITALS_EVERY {
            self.engine.ledger.note_vitals(&vitals)?;
            self.vitals_at = now;
        }
        if now.since(self.checkpoint_at) >= CHECKPOINT_EVERY {
            self.engine.ledger.checkpoint()?;
            self.checkpoint_at = now;
        }
        Ok(complaints)
    }

    /// What is remembered of launches goes with them.
    fn forget(&mut self, open: &[(&Run, Vec<Agent>)]) {
        let live = || open.iter().flat_map(|(_, agents)| agents).filter(|agent| agent.program_may_live());
        let keys: BTreeSet<&AgentKey> = live().map(|agent| &agent.key).collect();
        self.missing.retain(|key, _| keys.contains(key));
        let engine = &self.engine;
        let files: BTreeSet<PathBuf> =
            live().map(|agent| LaunchFiles::new(engine, &agent.spec.session, agent.launch).record).collect();
        self.records.retain(|path, _| files.contains(path));
    }

    fn look_after(
        &mut self,
        run: &Run,
        agents: &[Agent],
        panes: Option<&Panes>,
        now: Moment,
        vitals: &mut Vec<(AgentKey, Vitals)>,
    ) -> Result<(), EngineError> {
        let policy = agents.iter().any(Agent::program_may_live).then(|| self.engine.policy_of(run.id())).transpose()?;
        for agent in agents.iter().filter(|agent| agent.program_may_live()) {
            let Some(policy) = &policy else { continue };
            let files = LaunchFiles::new(&self.engine, &agent.spec.session, agent.launch);
            let Some(record) = self.record(&files.record)? else { continue };
            if let Some(seen) = self.observe(run, (agent, &files, &record), policy, panes, now)? {
                vitals.push((agent.key.clone(), seen));
            }
        }
        for agent in agents.iter().filter(|agent| agent.launch > 0) {
            let stands = (agent.launch, agent.exit.is_some());
            // A launcher reports before it is gone itself: what it leaves is there to be kept once its pane is dead.
            let alive = pane_of(panes, agent).is_some_and(|pane| !pane.dead);
            if agent.exit.is_some() && alive {
                continue;
            }
            let news = self.noted.insert(agent.key.clone(), stands) != Some(stands);
            if news {
                // A new launch must not be shown with the age of the one before, nor an ended one without its own.
                self.vitals_at = Moment::default();
            }
            if news && agent.exit.is_some() {
                self.last_words(agent, panes, now, vitals)?;
            }
        }
        for agent in agents {
            self.same_blow(agent, now)?;
        }
        self.watch_heads(run, agents)?;
        let steps = self.engine.reader()?.steps(run.id())?;
        self.carry_on(run, agents, &steps);
        Ok(())
    }

    /// The launch record, read again only where it was written again.
    fn record(&mut self, path: &Path) -> Result<Option<Record>, EngineError> {
        let stamp = std::fs::metadata(path).map(|meta| (meta.ino(), meta.len(), meta.modified().ok())).ok();
        if let (Some(now), Some((then, record))) = (stamp, self.records.get(path))
            && now == *then
        {
            return Ok(Some(record.clone()));
        }
        let record = read_record(path)?;
        match (stamp, &record) {
            // What has ended is not asked for again.
            (Some(stamp), Some(record)) if record.ended_at_ms.is_none() => {
                drop(self.records.insert(path.to_path_buf(), (stamp, record.clone())));
            }
            (_, _) => drop(self.records.remove(path)),
        }
        Ok(record)
    }

    /// One agent whose program may live: its end, or what its signals say.
    fn observe(
        &mut self,
        run: &Run,
        (agent, files, record): (&Agent, &LaunchFiles, &Record),
        policy: &Policy,
        panes: Option<&Panes>,
        now: Moment,
    ) -> Result<Option<Vitals>, EngineError> {
        let processes = self.engine.processes.as_ref();
        let launcher_lives = processes.alive(record.launcher_pid, record.launcher_start);
        let server_gone = record.server_gone(processes).is_some();
        if let Some(exit) = exit_of(record, processes) {
            let fresh = exit.at.is_some_and(|at| now.since(at) < LAUNCHER_WORD);
            if record.hung_up && !server_gone && launcher_lives && fresh {
                // It is just finding out whether its server is gone as well.
                self.orphans = true;
                return Ok(None);
            }
            self.ended(agent, Exit { source: "record".to_owned(), ..exit })?;
            return Ok(None);
        }
        if !launcher_lives {
            return self.launcher_gone(agent, &files.record).map(|()| None);
        }
        self.orphans |= server_gone;
        if self.is_missing(agent, record, panes) {
            return self.launcher_gone(agent, &files.record).map(|()| None);
        }
        let pane = panes.and_then(|panes| {
            panes.panes.iter().find(|pane| pane.session == agent.spec.session && pane.pane_pid == record.launcher_pid)
        });
        let last_output = pane.map(|pane| Moment::from_millis(pane.activity.saturating_mul(1000)));
        let profile = policy.agent_profiles.iter().find(|profile| profile.name == agent.spec.profile);
        let health = profile.map_or_else(|| policy.health.clone(), |profile| policy.health_for(profile));
        let signals = Signals {
            output_age: last_output.map(|at| now.since(at)),
            // Progress is not judged before everything that shows it is watched: a guess would be worse.
            progress_age: None,
            asks: self.asks(run, agent)?,
        };
        let verdict = judge(
            &signals,
            &Thresholds {
                idle_seconds: health.idle_seconds,
                activity_stalled_seconds: health.activity_stalled_seconds,
                progress_stalled_seconds: health.progress_stalled_seconds,
            },
        );
        let news = verdict.health != agent.health
            || verdict.waiting_for != agent.waiting_for
            || (verdict.health == Health::Healthy && agent.status != AgentStatus::Running);
        if news && agent.status.working() {
            let wish = AgentWish::Observed {
                health: verdict.health,
                waiting_for: verdict.waiting_for,
                reason: verdict.reason,
                evidence: verdict.evidence,
            };
            self.engine.order_agent(&self.caller, &agent.key, wish)?;
        }
        Ok(Some(Vitals { last_output_at: last_output, last_seen_at: now, pid: Some(i64::from(record.launcher_pid)) }))
    }

    fn asks(&self, run: &Run, agent: &Agent) -> Result<bool, EngineError> {
        if run.status != RunStatus::AwaitingGuidance {
            return Ok(false);
        }
        let reader = self.engine.reader()?;
        let request = reader.open_requests(run.id())?.into_iter().any(|request| {
            request.workspace == agent.key.workspace
                && request.agent_name == agent.key.name
                && request.epoch == agent.epoch
        });
        let question = reader.blocking_threads(Some(run.id()))?.into_iter().any(|thread| {
            thread.waits_for_human()
                && thread.workspace.as_deref() == Some(agent.key.workspace.as_str())
                && thread.agent_name.as_deref() == Some(agent.key.name.as_str())
        });
        Ok(request || question)
    }

    fn ended(&self, agent: &Agent, exit: Exit) -> Result<(), EngineError> {
        if let Ok(policy) = self.engine.policy_of(&agent.key.run_id)
            && let Ok(tmux) = self.engine.tmux(&policy)
        {
            agents::keep_screen(&self.engine, tmux, agent)?;
        }
        self.engine.order_agent(&self.caller, &agent.key, AgentWish::Exited { launch: agent.launch, exit })?;
        Ok(())
    }

    /// Whether a launch ended since it was last looked at.
    fn has_last_words(&self, agent: &Agent) -> bool {
        let stands = (agent.launch, true);
        agent.launch > 0 && agent.exit.is_some() && self.noted.get(&agent.key) != Some(&stands)
    }

    /// A launcher reports an end without anybody looking: the screen it leaves, and when it last changed, are kept.
    fn last_words(
        &self,
        agent: &Agent,
        panes: Option<&Panes>,
        now: Moment,
        vitals: &mut Vec<(AgentKey, Vitals)>,
    ) -> Result<(), EngineError> {
        let (Some(pane), Some(tmux)) = (pane_of(panes, agent).filter(|pane| pane.dead), self.engine.tmux_if_known()?)
        else {
            return Ok(());
        };
        let last_output_at = Some(Moment::from_millis(pane.activity.saturating_mul(1000)));
        let pid = Some(i64::from(pane.pane_pid));
        vitals.push((agent.key.clone(), Vitals { last_output_at, last_seen_at: now, pid }));
        agents::keep_screen(&self.engine, tmux, agent)
    }

    /// Nobody can tell any more how the agent ends: what is left of it is ended, and it is dead, exit unknown.
    fn launcher_gone(&self, agent: &Agent, record: &Path) -> Result<(), EngineError> {
        let policy = self.engine.policy_of(&agent.key.run_id)?;
        let tmux = self.engine.tmux(&policy)?;
        agents::end_launch(&self.engine, tmux, agent, agent.launch, agents::grace(&policy))?;
        // It may have written its last word between our two looks.
        let record = read_record(record)?;
        let processes = self.engine.processes.as_ref();
        let exit = record.as_ref().and_then(|record| exit_of(record, processes));
        let server_lost = record.as_ref().and_then(|record| record.server_lost(processes));
        self.ended(agent, exit.unwrap_or(Exit { source: "missing".to_owned(), server_lost, ..Exit::default() }))
    }

    /// Whether a server that answers shows no pane of a launch, twice in a row: at the first look it may have been
    /// started after the server was asked. A pane that somebody moved elsewhere is still there.
    fn is_missing(&mut self, agent: &Agent, record: &Record, panes: Option<&Panes>) -> bool {
        let shown = |panes: &Panes| panes.panes.iter().any(|pane| pane.pane_pid == record.launcher_pid);
        match panes {
            Some(panes) if record.server_pid.is_some() && !shown(panes) => {
                self.missing.insert(agent.key.clone(), agent.launch) == Some(agent.launch)
            }
            Some(_) | None => {
                self.missing.remove(&agent.key);
                false
            }
        }
    }

    /// An end that was reported before its server was gone is the server's work all the same.
    fn same_blow(&self, agent: &Agent, now: Moment) -> Result<(), EngineError> {
        let Some(exit) = agent.exit.as_ref().filter(|exit| exit.hung_up && exit.server_lost.is_none()) else {
            return Ok(());
        };
        let down = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed);
        if !down || exit.at.is_none_or(|at| now.since(at) > SAME_BLOW) {
            return Ok(());
        }
        let files = LaunchFiles::new(&self.engine, &agent.spec.session, agent.launch);
        let Some(record) = read_record(&files.record)? else { return Ok(()) };
        let Some(server) = record.server_gone(self.engine.processes.as_ref()) else { return Ok(()) };
        let exit = Exit { server_lost: Some(server), ..exit.clone() };
        self.engine.order_agent(&self.caller, &agent.key, AgentWish::Exited { launch: agent.launch, exit })?;
        Ok(())
    }

    /// A commit in a workspace is progress of the agents in it.
    fn watch_heads(&mut self, run: &Run, agents: &[Agent]) -> Result<(), EngineError> {
        if !run.status.at_work() {
            return Ok(());
        }
        for workspace in self.engine.reader()?.workspaces(run.id())? {
            let mut moved = false;
            for tree in &workspace.worktrees {
                let Some(log) = head_log(Path::new(&tree.path)) else { continue };
                let Ok(at) = std::fs::metadata(&log).and_then(|meta| meta.modified()) else { continue };
                moved |= self.heads.insert(log, at).is_some_and(|before| before != at);
            }
            for agent in agents.iter().filter(|agent| moved && agent.key.workspace == workspace.name) {
                if agent.status.working() {
                    let wish = AgentWish::Progressed { source: "head".to_owned() };
                    self.engine.order_agent(&self.caller, &agent.key, wish)?;
                }
            }
        }
        Ok(())
    }

    /// Carries on what another process began and did not end: plans, starts, stops, closings.
    fn carry_on(&mut self, run: &Run, agents: &[Agent], steps: &[Step]) {
        self.carried.retain(|_, thread| !thread.is_finished());
        if self.carried.contains_key(run.id()) {
            return;
        }
        if !unfinished(run, agents, steps) {
            self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(run.id());
            return;
        }
        let Ok(lease) = self.engine.lease_run(run.id(), "carry on", &self.caller) else { return };
        let (engine, caller, ending) = (Arc::clone(&self.engine), self.caller.clone(), Arc::clone(&self.ending));
        let run = run.clone();
        let id = run.id().to_owned();
        let troubles = Arc::clone(&self.troubles);
        let work = move || {
            let _lease = lease;
            let carried = match run.status {
                RunStatus::Stopping => stopping::finish(&engine, &caller, run.id()),
                RunStatus::Closing => closing::carry_on(&engine, &caller, run.id()),
                RunStatus::Running | RunStatus::AwaitingGuidance => {
                    execute(&engine, &caller, run.id(), &ending, &no_drill).map(drop)
                }
                RunStatus::Created
                | RunStatus::Planning
                | RunStatus::Paused
                | RunStatus::Failed
                | RunStatus::Stopped
                | RunStatus::Closed
                | RunStatus::Completed => Ok(()),
            };
            // What did not come through is found again at the next tick; why it did not is said.
            let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
            match carried {
                Ok(()) => troubles.remove(run.id()),
                Err(error) => troubles.insert(run.id().to_owned(), format!("carrying on {}: {error}", run.id())),
            };
        };
        if let Ok(thread) = std::thread::Builder::new().name(format!("carry {id}")).spawn(work) {
            self.carried.insert(id, thread);
        }
    }
}

fn unfinished(run: &Run, agents: &[Agent], steps: &[Step]) -> bool {
    match run.status {
        RunStatus::Stopping | RunStatus::Closing => true,
        RunStatus::Running | RunStatus::AwaitingGuidance => {
            let all: Vec<&Step> = steps.iter().collect();
            can_go_on(&all, run.spec.step_retries) || agents.iter().any(|agent| agent.start_due() && agent.launch > 0)
        }
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Closed
        | RunStatus::Completed => false,
    }
}

fn pane_of<'a>(panes: Option<&'a Panes>, agent: &Agent) -> Option<&'a Pane> {
    panes?.panes.iter().find(|pane| pane.session == agent.spec.session)
}

/// The log of where HEAD of a worktree has been: it grows with each commit.
fn head_log(worktree: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(worktree.join(".git")).ok()?;
    let dir = text.strip_prefix("gitdir:")?.trim();
    Some(worktree.join(dir).join("logs").join("HEAD"))
}

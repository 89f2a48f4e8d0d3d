//! Compares what the journal says should be with what tmux and the process table show, and mends the difference.
//!
//! It takes no input and keeps nothing that matters: another process may take over at any tick.

use std::cell::OnceCell;
use std::collections::BTreeMap;
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
use super::launcher::{Record, read_record};
use super::operator::{Conduct, Operator};
use super::process::lease::{Lease, LeaseError};
use super::stopping;
use super::tmux::{Observe, Panes, TmuxError};
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

/// What tmux was found to show in one tick, once it was asked; inside, nothing where there is no server to ask.
type Seen = OnceCell<Option<Result<Panes, TmuxError>>>;

/// The holder of the right to observe and act by rule.
pub struct Supervisor {
    engine: Arc<Engine>,
    caller: Caller,
    lease: Lease,
    /// Plans being carried on by this process.
    carried: BTreeMap<String, JoinHandle<()>>,
    /// Why what was carried on did not come through, by run.
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
    ending: Arc<AtomicBool>,
    vitals_at: Moment,
    checkpoint_at: Moment,
    /// What the rules conclude is carried out here.
    operator: Operator,
    /// Age of each worktree's last commit as last seen.
    heads: BTreeMap<PathBuf, SystemTime>,
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
        Ok(Some(Self {
            engine: Arc::clone(engine),
            caller,
            lease,
            carried: BTreeMap::new(),
            troubles: Arc::default(),
            ending: Arc::new(AtomicBool::new(false)),
            vitals_at: Moment::default(),
            checkpoint_at: engine.now(),
            operator: Operator::new(conduct),
            heads: BTreeMap::new(),
            records: BTreeMap::new(),
        }))
    }

    /// Gives the lease back; plans being carried on are interrupted, agents go on.
    pub fn end(mut self) {
        self.ending.store(true, Ordering::SeqCst);
        for (_, thread) in std::mem::take(&mut self.carried) {
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
        let seen = Seen::new();
        let mut vitals = Vec::new();
        for run in runs.iter().filter(|run| !matches!(run.status, RunStatus::Closed | RunStatus::Created)) {
            if let Err(error) = self.look_after(run, &seen, now, &mut vitals) {
                complaints.push(format!("run {}: {error}", run.id()));
            }
        }
        if let Some(Some(Err(error))) = seen.get()
            && !matches!(error, TmuxError::NoServer { .. })
        {
            complaints.push(error.to_string());
        }
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

    /// What tmux shows, `None` when it could not be asked: that is no reason to think anything dead. It is asked
    /// once a tick, and only when somebody's program may live.
    fn panes<'a>(&self, seen: &'a Seen) -> Option<&'a Panes> {
        let ask = || Some(self.engine.tmux_if_known().ok().flatten()?.panes());
        seen.get_or_init(ask).as_ref()?.as_ref().ok()
    }

    fn look_after(
        &mut self,
        run: &Run,
        seen: &Seen,
        now: Moment,
        vitals: &mut Vec<(AgentKey, Vitals)>,
    ) -> Result<(), EngineError> {
        let engine = Arc::clone(&self.engine);
        let reader = engine.reader()?;
        let agents = reader.agents(run.id())?;
        let policy = agents.iter().any(Agent::program_may_live).then(|| self.engine.policy_of(run.id())).transpose()?;
        for agent in agents.iter().filter(|agent| agent.program_may_live()) {
            let Some(policy) = &policy else { continue };
            let files = LaunchFiles::new(&self.engine, &agent.spec.session, agent.launch);
            let Some(record) = self.record(&files.record)? else { continue };
            if let Some(seen) = self.observe(run, (agent, &files, &record), policy, self.panes(seen), now)? {
                vitals.push((agent.key.clone(), seen));
            }
        }
        self.watch_heads(run, &agents)?;
        self.carry_on(run, &agents, &reader.steps(run.id())?);
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
            (Some(stamp), Some(record)) if exit_of(record).is_none() => {
                drop(self.records.insert(path.to_path_buf(), (stamp, record.clone())));
            }
            (_, _) => drop(self.records.remove(path)),
        }
        Ok(record)
    }

    /// One agent whose program may live: its end, or what its signals say.
    fn observe(
        &self,
        run: &Run,
        (agent, files, record): (&Agent, &LaunchFiles, &Record),
        policy: &Policy,
        panes: Option<&Panes>,
        now: Moment,
    ) -> Result<Option<Vitals>, EngineError> {
        if let Some(exit) = exit_of(record) {
            self.ended(agent, Exit { source: "record".to_owned(), ..exit })?;
            return Ok(None);
        }
        if !self.engine.processes.alive(record.launcher_pid, record.launcher_start) {
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
        let question = reader.blocking_threads(run.id())?.into_iter().any(|thread| {
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

    /// Nobody can tell any more how the agent ends: what is left of it is ended, and it is dead, exit unknown.
    fn launcher_gone(&self, agent: &Agent, record: &Path) -> Result<(), EngineError> {
        let policy = self.engine.policy_of(&agent.key.run_id)?;
        let tmux = self.engine.tmux(&policy)?;
        agents::end_launch(&self.engine, tmux, agent, agent.launch, agents::grace(&policy))?;
        // It may have written its last word between our two looks.
        let exit = read_record(record)?.as_ref().and_then(exit_of);
        self.ended(agent, exit.unwrap_or(Exit { source: "missing".to_owned(), ..Exit::default() }))
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

/// The log of where HEAD of a worktree has been: it grows with each commit.
fn head_log(worktree: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(worktree.join(".git")).ok()?;
    let dir = text.strip_prefix("gitdir:")?.trim();
    Some(worktree.join(dir).join("logs").join("HEAD"))
}

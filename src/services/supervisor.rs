//! Compares what the journal says should be with what tmux and the process table show, and mends the difference.
//!
//! It takes no input and keeps nothing that matters: another process may take over at any tick.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::adviser::Adviser;
use super::agents::LaunchFiles;
use super::behind;
use super::delivery::Typist;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::indexing;
use super::launcher::read_record;
use super::operator::{Committer, Conduct, Operator};
use super::outbox::{Lane, Worker};
use super::policy_watch::PolicyWatch;
use super::process::default_ends;
use super::process::lease::{Lease, LeaseError};
use super::progress::Progress;
use super::review_watch::ReviewWatch;
use super::server_watch::ServerWatch;
use super::tmux::Panes;
use super::worktrees::Worktrees;
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Exit};
use crate::domain::command::{AgentWish, Command};
use crate::domain::time::Moment;
use crate::store::read::Vitals;
use carry::Carrier;
use farewell::Farewells;
use observe::{Eye, Shown, last_output};
use standing::{Open, Standing};
pub use steady::{Jump, Pendulum, Steady};

mod carry;
mod farewell;
mod observe;
mod screens;
mod standing;
mod steady;
mod stops;

/// Vitals are rewritten at most this often.
const VITALS_EVERY: Duration = Duration::from_secs(5);
/// The write-ahead log is moved into the file this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// How long after an agent's end its tmux server's counts as the same blow.
const SAME_BLOW: Duration = Duration::from_secs(10);

/// The holder of the right to observe and act by rule.
pub struct Supervisor {
    /// They work off the outbox beside us, and stand first because they are to end before the lease does.
    outbox: [Worker; 2],
    /// Types to agents, and ends before the lease as well.
    typist: Typist,
    /// Asks the adviser, and ends before the lease as well.
    adviser: Adviser,
    /// Commits by rule, and ends before the lease too.
    committer: Committer,
    engine: Arc<Engine>,
    caller: Caller,
    lease: Lease,
    ending: Arc<AtomicBool>,
    /// Fills the search index, while there is something to fill.
    indexing: Option<JoinHandle<()>>,
    vitals_at: Moment,
    checkpoint_at: Moment,
    /// What the rules conclude is carried out here.
    operator: Operator,
    policy: PolicyWatch,
    server: ServerWatch,
    standing: Standing,
    eye: Eye,
    farewells: Farewells,
    carrier: Carrier,
    progress: Progress,
    worktrees: Worktrees,
    reviews: ReviewWatch,
    clock: Pendulum,
    /// When each session last printed something.
    printed: Steady<String>,
    /// The launch of each agent as last seen, and whether it had ended.
    noted: BTreeMap<AgentKey, (u32, bool)>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Drop for Supervisor {
    /// All are told first: each may take its time, and they take it together.
    fn drop(&mut self) {
        self.outbox.iter().for_each(Worker::end_soon);
        self.typist.end_soon();
        self.adviser.end_soon();
        self.committer.end_soon();
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

    /// The same, for a process that was told how the operator is to be conducted. The thread that calls it is woken at
    /// each death.
    ///
    /// # Errors
    /// What keeps the lease from being asked for.
    pub fn try_new_as(engine: &Arc<Engine>, conduct: Conduct) -> Result<Option<Self>, EngineError> {
        let holder = engine.holder("supervise", if conduct.behind { behind::WHO } else { "metawsm" });
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
        let looker = std::thread::current();
        let adviser = Adviser::begin(engine, conduct.clone());
        let desk = adviser.desk();
        let committer = Committer::begin(engine, conduct.clone());
        Ok(Some(Self {
            outbox: [Lane::Files, Lane::Calls].map(|lane| Worker::begin(engine, lane)),
            typist: Typist::begin(engine),
            adviser,
            indexing: indexing::begin(&engine.home, &ending),
            eye: Eye::new(engine, &caller, default_ends(move || looker.unpark())),
            farewells: Farewells::new(engine, &caller),
            carrier: Carrier::new(engine, &caller, &ending),
            engine: Arc::clone(engine),
            caller,
            lease,
            ending,
            vitals_at: Moment::default(),
            checkpoint_at: engine.now(),
            operator: Operator::new(conduct, desk, committer.hands()),
            committer,
            policy: PolicyWatch::default(),
            server: ServerWatch::default(),
            standing: Standing::default(),
            progress: Progress::default(),
            worktrees: Worktrees::default(),
            reviews: ReviewWatch::default(),
            clock: Pendulum::default(),
            printed: Steady::default(),
            noted: BTreeMap::new(),
        }))
    }

    /// Gives the lease back; plans being carried on are interrupted, agents go on.
    pub fn end(mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.carrier.end();
        if let Some(thread) = self.indexing.take() {
            let _ = thread.join();
        }
        self.reviews.end();
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
        if let Some(jump) = self.clock.look(now, Instant::now()) {
            self.jumped(jump);
        }
        if let Err(error) = self.lease.touch(now.millis()) {
            return Err(EngineError::Lease(error));
        }
        let mut standing = std::mem::take(&mut self.standing);
        let refreshed = standing.refresh(&self.engine);
        let looked = refreshed.and_then(|()| self.look(&standing, now));
        self.standing = standing;
        let mut complaints = looked?;
        complaints.extend(self.policy.look(&self.engine, &self.caller)?);
        complaints.extend(self.operator.turn(&self.engine, (&self.progress, &self.worktrees), now)?);
        if now.since(self.checkpoint_at) >= CHECKPOINT_EVERY {
            self.engine.ledger.checkpoint()?;
            self.checkpoint_at = now;
        }
        Ok(complaints)
    }

    /// The clock was set: whoever remembers moments carries them over.
    fn jumped(&mut self, jump: Jump) {
        self.printed.jumped(jump);
        self.eye.jumped(jump);
        self.progress.jumped(jump);
        self.worktrees.jumped(jump);
        self.operator.jumped();
        // What was seen is not to look as if it had been an hour ago, or to come.
        (self.vitals_at, self.checkpoint_at) = (Moment::default(), jump.carry(self.checkpoint_at));
    }

    fn look(&mut self, standing: &Standing, now: Moment) -> Result<Vec<String>, EngineError> {
        let mut complaints = self.carrier.troubles();
        complaints.extend(self.farewells.troubles());
        self.eye.open(standing.agents().filter(|agent| agent.program_may_live()));
        self.look_after_the_gone(standing, now, &mut complaints);
        let needed = standing.agents().any(|agent| agent.program_may_live() || self.has_last_words(agent));
        let mut panes = self.server.look(&self.engine, &self.caller, needed, &mut complaints)?;
        panes.iter_mut().for_each(|panes| self.in_force(panes));
        let shown = panes.as_ref().map(Shown::of);
        if let Some(shown) = &shown {
            let (server, engine) = (&mut self.server, &self.engine);
            self.eye.screens.look(standing.runs.values(), shown, now, |panes| server.screens(engine, panes));
        }
        let mut vitals = Vec::new();
        for (run_id, open) in &standing.runs {
            if let Err(error) = self.look_after(open, shown.as_ref(), now, &mut vitals) {
                complaints.push(format!("run {run_id}: {error}"));
            }
        }
        self.eye.note_strays();
        self.progress.looked(&self.engine);
        let runs = standing.runs.values().map(|open| (&open.run, open.workspaces.as_slice()));
        self.worktrees.look(runs, self.operator.look_every(), &self.engine, now);
        self.reviews.look(standing.runs.values().map(|open| &open.run), &self.engine, &self.ending);
        // Before the rules: what went with the server is back a moment after they looked.
        self.server.reckon(&self.engine, &self.caller, self.eye.orphans)?;
        if now.since(self.vitals_at) >= VITALS_EVERY {
            self.engine.ledger.note_vitals(&vitals)?;
            self.vitals_at = now;
        }
        Ok(complaints)
    }

    /// Ends that are known before tmux is asked, which takes its time.
    fn look_after_the_gone(&mut self, standing: &Standing, now: Moment, complaints: &mut Vec<String>) {
        for open in standing.runs.values() {
            for agent in open.agents.iter().filter(|agent| agent.program_may_live()) {
                if self.eye.is_gone(agent) {
                    let with = (&mut self.farewells, &self.progress, &self.clock);
                    let looked = self.eye.look(open, agent, None, with, now);
                    complaints.extend(looked.err().map(|error| format!("agent {}: {error}", agent.key.name)));
                }
            }
        }
    }

    /// tmux tells by the clock as it was then.
    fn in_force(&mut self, panes: &mut Panes) {
        for pane in &mut panes.panes {
            pane.activity = self.printed.at(&pane.session, last_output(pane), true, &self.clock).seconds();
        }
        if self.printed.count() > panes.panes.len() {
            let there: HashSet<&str> = panes.panes.iter().map(|pane| pane.session.as_str()).collect();
            self.printed.keep(|session| there.contains(session.as_str()));
        }
    }

    fn look_after(
        &mut self,
        open: &Open,
        shown: Option<&Shown<'_>>,
        now: Moment,
        vitals: &mut Vec<(AgentKey, Vitals)>,
    ) -> Result<(), EngineError> {
        for agent in open.agents.iter().filter(|agent| agent.program_may_live()) {
            let with = (&mut self.farewells, &self.progress, &self.clock);
            if let Some(seen) = self.eye.look(open, agent, shown, with, now)? {
                vitals.push((agent.key.clone(), seen));
            }
        }
        for agent in open.agents.iter().filter(|agent| agent.launch > 0) {
            let stands = (agent.launch, agent.exit.is_some());
            if self.noted.get(&agent.key) == Some(&stands) {
                continue;
            }
            // A launcher reports before it is gone itself: what it leaves is there to be kept once its pane is dead.
            let pane = shown.and_then(|shown| shown.of_session(&agent.spec.session));
            if agent.exit.is_some() && pane.is_some_and(|pane| !pane.dead) {
                continue;
            }
            self.noted.insert(agent.key.clone(), stands);
            // A new launch must not be shown with the age of the one before, nor an ended one without its own.
            self.vitals_at = Moment::default();
            if agent.exit.is_some() {
                vitals.extend(self.last_words(agent, shown, now));
            }
        }
        for agent in &open.agents {
            self.same_blow(agent, now)?;
        }
        self.watch_progress(open, shown, now)?;
        self.carrier.carry_on(open);
        Ok(())
    }

    /// Whether a launch ended since it was last looked at.
    fn has_last_words(&self, agent: &Agent) -> bool {
        let stands = (agent.launch, true);
        agent.launch > 0 && agent.exit.is_some() && self.noted.get(&agent.key) != Some(&stands)
    }

    /// A launcher reports an end without anybody looking: the screen it leaves, and when it last changed, are kept.
    fn last_words(&mut self, agent: &Agent, shown: Option<&Shown<'_>>, now: Moment) -> Option<(AgentKey, Vitals)> {
        let pane = shown?.of_session(&agent.spec.session).filter(|pane| pane.dead)?;
        self.farewells.keep_screen(agent);
        let pid = Some(i64::from(pane.pane_pid));
        let last_output_at = Some(last_output(pane));
        let last_progress_at = self.progress.in_worktrees(&agent.key).map(|(at, _)| at);
        Some((agent.key.clone(), Vitals { last_output_at, last_seen_at: now, pid, last_progress_at }))
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

    /// A commit in a workspace is progress of the agents in it, and worth being written down.
    fn watch_progress(&mut self, open: &Open, shown: Option<&Shown<'_>>, now: Moment) -> Result<(), EngineError> {
        let output_at = |agent: &Agent| shown?.of_session(&agent.spec.session).map(last_output);
        let limit = |agent: &Agent| {
            let health = open.health_of(agent).ok();
            Duration::from_secs(health.map_or(0, |health| u64::from(health.progress_stalled_seconds)))
        };
        let how = (output_at, limit);
        let moved =
            self.progress.look(&open.run, &open.agents, &open.workspaces, how, &self.engine, (now, &self.clock));
        for key in moved {
            let wish = AgentWish::Progressed { source: "head".to_owned(), note: None, percent: None };
            self.engine.order_agent(&self.caller, &key, wish)?;
        }
        Ok(())
    }
}

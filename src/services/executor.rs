//! Executes a run's plan: steps that are not settled, then agents whose start is due.
//!
//! It keeps nothing of its own: each turn looks at the journal for what should be done, so the first execution,
//! the one after a crash and the one by another process are the same code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::agents;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::workspaces::{self, StepContext};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::command::{AgentWish, RunWish, StepEnd};
use crate::domain::plan::{Step, StepKind, StepStatus, ready};
use crate::domain::run::{Run, RunStatus};

/// The wait before a failed step is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(300);
/// How often the executor looks whether the run was stopped or paused.
const LOOK: Duration = Duration::from_millis(200);

/// What a plan's execution came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was to be done is done.
    Done,
    /// Steps failed for good: their names and reasons.
    Failed(Vec<(String, String)>),
    /// The run was stopped or paused meanwhile, or this process is to end.
    Interrupted,
}

/// A place in the execution of a step, for drills that end a process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// The step is marked running, nothing of it was done.
    Begun,
    /// The step's effect is there, its end is not written down.
    Effected,
    /// The step's end is written down.
    Ended,
}

/// Called at each checkpoint; answering `false` ends the execution as a killed process would: at once, with
/// nothing more written.
pub type Drill<'a> = &'a (dyn Fn(u32, Checkpoint) -> bool + Sync);

/// Executes what is to be done of a run. The caller holds the run's lease.
///
/// # Errors
/// [`EngineError`] when the store cannot be used; a failing step is an [`Outcome`].
pub fn execute(
    engine: &Engine,
    caller: &Caller,
    run_id: &str,
    cancel: &Arc<AtomicBool>,
    drill: Drill<'_>,
) -> Result<Outcome, EngineError> {
    let execution = Execution { engine, caller, run_id, cancel, stop: Arc::new(AtomicBool::new(false)), drill };
    execution.run()
}

/// No drill: every checkpoint is passed.
pub fn no_drill(_step: u32, _checkpoint: Checkpoint) -> bool {
    true
}

struct Execution<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    run_id: &'a str,
    cancel: &'a Arc<AtomicBool>,
    /// Raised when running steps are to end.
    stop: Arc<AtomicBool>,
    drill: Drill<'a>,
}

/// Something a worker may take on.
enum Job {
    Step(Box<Step>),
    Start(Box<Agent>),
}

impl Execution<'_> {
    fn run(&self) -> Result<Outcome, EngineError> {
        let watching = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| self.watch(&watching));
            let outcome = self.rounds();
            watching.store(false, Ordering::SeqCst);
            watch.thread().unpark();
            outcome
        })
    }

    /// Raises `stop` within a moment of the run being stopped or paused, or this process being told to end.
    fn watch(&self, watching: &AtomicBool) {
        while watching.load(Ordering::SeqCst) {
            let at_work = self.engine.run(self.run_id).map(|run| run.status.at_work());
            if self.cancel.load(Ordering::SeqCst) || matches!(at_work, Ok(false)) {
                self.stop.store(true, Ordering::SeqCst);
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Each round takes on everything that can be done now; a round that finds nothing is the last.
    fn rounds(&self) -> Result<Outcome, EngineError> {
        loop {
            let run = self.engine.run(self.run_id)?;
            if !run.status.at_work() {
                let failed = self.failures(&run)?;
                let over = matches!(run.status, RunStatus::Completed | RunStatus::Failed);
                return Ok(match (over, failed.is_empty()) {
                    (_, false) => Outcome::Failed(failed),
                    (true, true) => Outcome::Done,
                    (false, true) => Outcome::Interrupted,
                });
            }
            if self.stop.load(Ordering::SeqCst) {
                return Ok(Outcome::Interrupted);
            }
            let jobs = self.jobs(&run)?;
            if jobs.is_empty() {
                let failed = self.failures(&run)?;
                return Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Failed(failed) });
            }
            if !self.work_off(&run, jobs)? {
                return Ok(Outcome::Interrupted);
            }
        }
    }

    fn failures(&self, run: &Run) -> Result<Vec<(String, String)>, EngineError> {
        let steps = self.engine.reader()?.steps(run.id())?;
        let failed = steps.into_iter().filter(|step| step.given_up(run.spec.step_retries));
        Ok(failed.map(|step| (step.spec.name, step.error.unwrap_or_default())).collect())
    }

    fn jobs(&self, run: &Run) -> Result<Vec<Job>, EngineError> {
        let reader = self.engine.reader()?;
        let steps = reader.steps(run.id())?;
        let all: Vec<&Step> = steps.iter().collect();
        let open = |step: &&Step| match step.status {
            StepStatus::Pending | StepStatus::Running => true,
            StepStatus::Failed => !step.given_up(run.spec.step_retries),
            StepStatus::Done | StepStatus::Skipped => false,
        };
        let mut jobs: Vec<Job> = steps
            .iter()
            .filter(open)
            .filter(|step| ready(step, &all))
            .map(|step| Job::Step(Box::new(step.clone())))
            .collect();
        let due = reader.agents(run.id())?.into_iter().filter(|agent| agent.start_due() && agent.launch > 0);
        jobs.extend(due.map(|agent| Job::Start(Box::new(agent))));
        Ok(jobs)
    }

    /// Works the jobs off, some at a time; `false` when it was interrupted.
    fn work_off(&self, run: &Run, jobs: Vec<Job>) -> Result<bool, EngineError> {
        let policy = self.engine.policy_of(run.id())?;
        let workers = usize::try_from(policy.execution.max_parallel).unwrap_or(1).clamp(1, jobs.len());
        let queue = std::sync::Mutex::new(jobs.into_iter());
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        let failed: std::sync::Mutex<Option<EngineError>> = std::sync::Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(job) = next().filter(|_| !self.stop.load(Ordering::SeqCst)) {
                        let done = match job {
                            Job::Step(step) => self.step(run, &policy, &step),
                            Job::Start(agent) => self.start(run, &agent),
                        };
                        match done {
                            Ok(true) => {}
                            Ok(false) => self.stop.store(true, Ordering::SeqCst),
                            Err(error) => {
                                self.stop.store(true, Ordering::SeqCst);
                                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(!self.stop.load(Ordering::SeqCst)),
        }
    }

    /// One attempt at a step; `false` when the execution is to end.
    fn step(&self, run: &Run, policy: &crate::domain::policy::Policy, step: &Step) -> Result<bool, EngineError> {
        let index = step.spec.index;
        if step.status == StepStatus::Failed && !self.pause(retry_wait(step.attempts)) {
            return Ok(false);
        }
        if let Err(error) = self.engine.order_run(self.caller, self.run_id, RunWish::BeginStep { index }) {
            // Stopped or paused between our look and now.
            return if error.refusal().is_some() { Ok(false) } else { Err(error) };
        }
        if !(self.drill)(index, Checkpoint::Begun) {
            return Ok(false);
        }
        let context = StepContext { engine: self.engine, caller: self.caller, run, policy, cancel: &self.stop };
        let done = self.effect(&context, step);
        if !(self.drill)(index, Checkpoint::Effected) {
            return Ok(false);
        }
        let end = match &done {
            Ok(()) => StepEnd::Done,
            Err(error) if error.is_interruption() => StepEnd::Interrupted,
            Err(error) => StepEnd::Failed(match error.hint() {
                Some(hint) => format!("{error} ({hint})"),
                None => error.to_string(),
            }),
        };
        self.agent_never_started(step, &done, run)?;
        self.engine.order_run(self.caller, self.run_id, RunWish::EndStep { index, end })?;
        Ok((self.drill)(index, Checkpoint::Ended) && !matches!(&done, Err(error) if error.is_interruption()))
    }

    fn effect(&self, context: &StepContext<'_>, step: &Step) -> Result<(), EngineError> {
        let workspace = context.run.workspace(&step.spec.workspace).ok_or_else(|| {
            EngineError::not_found(format!("no workspace {}", step.spec.workspace), "metawsm doctor --verify")
        })?;
        match step.spec.kind {
            StepKind::VerifyTicket => workspaces::verify_ticket(context, workspace),
            StepKind::CreateWorkspace => workspaces::create(context, workspace),
            StepKind::SeedDocs => workspaces::seed(context, workspace),
            StepKind::StartAgent => {
                let agent = self.agent_of(step)?;
                // A launch that never took place is tried anew; any other is the step's work found done.
                let failed = agent.exit.as_ref().is_some_and(|exit| exit.error.is_some());
                if agent.launch > 0 && !failed {
                    return Ok(());
                }
                agents::start(self.engine, self.caller, context.run, &agent, agent.launch + 1, &self.stop)
            }
        }
    }

    fn agent_of(&self, step: &Step) -> Result<Agent, EngineError> {
        let name = step.spec.agent.as_deref().unwrap_or_default();
        self.engine
            .reader()?
            .agents(self.run_id)?
            .into_iter()
            .find(|agent| agent.key.name == name && agent.key.workspace == step.spec.workspace)
            .ok_or_else(|| EngineError::not_found(format!("no agent {name}"), "metawsm doctor --verify"))
    }

    /// An agent whose start has failed for good is failed, not pending for ever.
    fn agent_never_started(&self, step: &Step, done: &Result<(), EngineError>, run: &Run) -> Result<(), EngineError> {
        let (StepKind::StartAgent, Err(error)) = (step.spec.kind, done) else { return Ok(()) };
        if error.is_interruption() || step.attempts < run.spec.step_retries {
            return Ok(());
        }
        let agent = self.agent_of(step)?;
        if agent.status == AgentStatus::Pending {
            let wish = AgentWish::StartFailed { launch: 1, error: error.to_string() };
            self.engine.order_agent(self.caller, &agent.key, wish)?;
        }
        Ok(())
    }

    /// Starts an agent anew, ending what is left of its last life.
    fn start(&self, run: &Run, agent: &Agent) -> Result<bool, EngineError> {
        let started = restart_now(self.engine, self.caller, run, agent, &self.stop);
        match started {
            Ok(()) => Ok(true),
            Err(error) if error.is_interruption() => Ok(false),
            Err(error) => {
                let wish = AgentWish::StartFailed { launch: agent.wanted, error: error.to_string() };
                self.engine.order_agent(self.caller, &agent.key, wish)?;
                Ok(true)
            }
        }
    }

    /// Waits; `false` when the execution is to end meanwhile.
    fn pause(&self, span: Duration) -> bool {
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            if self.stop.load(Ordering::SeqCst) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20).min(deadline.saturating_duration_since(Instant::now())));
        }
        true
    }
}

fn retry_wait(attempts: u32) -> Duration {
    FIRST_RETRY * 2_u32.saturating_pow(attempts.saturating_sub(1).min(10))
}

fn restart_now(
    engine: &Engine,
    caller: &Caller,
    run: &Run,
    agent: &Agent,
    stop: &AtomicBool,
) -> Result<(), EngineError> {
    let launched = agents::LaunchFiles::new(engine, &agent.spec.session, agent.wanted).record.exists();
    if !launched {
        agents::end(engine, agent)?;
    }
    agents::start(engine, caller, run, agent, agent.wanted, stop)
}

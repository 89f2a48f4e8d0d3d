//! Carries out what the rules conclude: load, evaluate, command. The holder of the supervisor lease does it.
//!
//! It keeps nothing that matters: what was concluded, called, offered and done stands in the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::adviser::Desk;
use super::engine::{Caller, Engine, PATIENCE};
use super::error::EngineError;
use super::progress::{Progress, Standstill};
use super::stopping;
use super::worktrees::{Key, Worktrees};
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::AgentKey;
use crate::domain::command::{Command, EscalationWish, SuggestionWish};
use crate::domain::escalation::{Escalation, Kind, Suggestion, SuggestionState};
use crate::domain::operator::{Action, Conclusion, Intent, Measure, agent_target, in_time, runner_target};
use crate::domain::policy::{OperatorMode, Policy};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;
use crate::store::{Reader, StoreError};

mod busy;
mod deeds;
mod sight;
mod work;

pub use deeds::Done;
pub use work::{Committer, Hands, conclude_work, handed_on};

use busy::InTheWay;

pub use busy::{busy_by, patience};
pub use sight::{conclude, conclude_limits, conclude_outside, questions};

/// git is asked about a worktree in which nobody works any more at most this often, unless the rules are evaluated more
/// often than they are by default.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How soon it is asked again whether a restart is due or a human.
const UNDECIDED: Duration = Duration::from_secs(1);

/// What this process was told about the operator, beyond the policy.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// Who decides.
    pub mode: Option<OperatorMode>,
    /// Time between two evaluations.
    pub interval: Option<Duration>,
    /// Only this run.
    pub only: Option<String>,
    /// It was left behind by a console, and ends when nothing is left to watch.
    pub behind: bool,
    /// How long a decision may wait for who has its run, before a human is called.
    pub patience: Option<Duration>,
}

impl Conduct {
    /// The numbers and switches that hold for a run.
    ///
    /// # Errors
    /// When neither the live policy nor the run's own can be read.
    pub fn measure(&self, engine: &Engine, run_id: &str) -> Result<Measure, EngineError> {
        Ok(Measure { even_since: engine.now(), ..self.measure_by(&engine.policy_of(run_id)?) })
    }

    /// Those that hold outside of every run: the live policy's, else the defaults.
    pub fn measure_outside(&self, engine: &Engine) -> Measure {
        let live = engine.home.policy_in_force().unwrap_or_default();
        Measure { even_since: engine.now(), ..self.measure_by(&live) }
    }

    fn measure_by(&self, policy: &Policy) -> Measure {
        let mut measure = Measure::of(
            &policy.operator,
            policy.forum.sla.escalation_minutes,
            policy.health.input_wait_seconds,
            self.mode,
        );
        if let Some(interval) = self.interval {
            measure.interval = interval;
        }
        measure
    }
}

/// The operator of this process, while it supervises.
#[derive(Debug)]
pub struct Operator {
    conduct: Conduct,
    /// Where questions to the adviser are handed in.
    adviser: Arc<Desk>,
    /// Where commits are handed in.
    hands: Arc<Hands>,
    /// Which looks into worktrees were gone into, and by which measure.
    heard: HashMap<Key, (Moment, Measure)>,
    /// What git could not tell of which worktrees, as it was told last.
    troubled: HashMap<Key, Vec<String>>,
    caller: Caller,
    /// The journal's end at the last evaluation, and how often git had told of worktrees.
    seq: (i64, u64),
    /// Time between two evaluations.
    interval: Duration,
    /// When to look again at the latest.
    next: Moment,
    /// Since when the clock goes evenly, as far as is known here.
    even_since: Option<Moment>,
    in_the_way: InTheWay,
}

impl Operator {
    /// An operator that has not looked yet.
    pub fn new(conduct: Conduct, adviser: Arc<Desk>, hands: Arc<Hands>) -> Self {
        let caller = Caller { actor: Actor::new(ActorType::Operator, "operator"), identity: None };
        Self {
            conduct,
            adviser,
            hands,
            heard: HashMap::new(),
            troubled: HashMap::new(),
            caller,
            seq: (-1, 0),
            interval: LOOK_EVERY,
            next: Moment::default(),
            even_since: None,
            in_the_way: InTheWay::default(),
        }
    }

    /// How often git is asked about a worktree in which nobody works any more.
    pub fn look_every(&self) -> Duration {
        LOOK_EVERY.min(self.interval * 4)
    }

    /// The clock was set: when to look again is not known any more.
    pub fn jumped(&mut self) {
        (self.next, self.even_since) = (Moment::default(), None);
    }

    /// Evaluates the rules when something happened, something is due, or the interval is over.
    ///
    /// # Errors
    /// When the store cannot be used; what went wrong with one run is returned as words.
    pub fn turn(
        &mut self,
        engine: &Engine,
        (progress, worktrees): (&Progress, &Worktrees),
        now: Moment,
    ) -> Result<Vec<String>, EngineError> {
        self.even_since = self.even_since.or(Some(now));
        let reader = engine.reader()?;
        let seq = (reader.last_seq()?, worktrees.answers());
        if seq == self.seq && now < self.next {
            return Ok(Vec::new());
        }
        // What is written by this turn is looked at in the next one.
        self.seq = seq;
        self.next = now.plus(Duration::from_secs(24 * 3600));
        self.in_the_way.look();
        // All runs follow the live file; where it is broken each has its own.
        let live = engine.home.policy_in_force().map(|live| self.conduct.measure_by(&live));
        let live = live.as_ref();
        self.interval = self.measure(engine, live, None)?.interval;
        let mut complaints = self.look_at_work(engine, &reader, worktrees, live, now)?;
        let only = self.conduct.only.clone();
        let wanted = |run_id: Option<&str>| only.is_none() || only.as_deref() == run_id;
        let states = [RunStatus::Running, RunStatus::AwaitingGuidance, RunStatus::Failed];
        for run in reader.runs_in(&states)?.iter().filter(|run| wanted(Some(run.id()))) {
            if let Err(error) = self.look_after(engine, &reader, run, (live, progress), now) {
                complaints.push(format!("rules of run {}: {error}", run.id()));
            }
        }
        if wanted(None)
            && let Err(error) = self.look_outside(engine, &reader, live, now)
        {
            complaints.push(format!("rules for what waits outside of every run: {error}"));
        }
        if let Err(error) = self.look_at_limits(engine, &reader, live, now) {
            complaints.push(format!("rules for the limits of runners: {error}"));
        }
        let calls = reader.escalations(None, true)?;
        for call in calls.iter().filter(|call| call.kind == Kind::Sla && wanted(call.run_id.as_deref())) {
            if let Err(error) = self.ease(engine, &reader, call, live, now) {
                complaints.push(format!("call {}: {error}", call.escalation_id));
            }
        }
        let mode = self.measure(engine, live, None)?.mode;
        if let Err(error) = self.adviser.ease(&calls, mode) {
            complaints.push(format!("calls about the adviser: {error}"));
        }
        let of_ours: Vec<Escalation> = calls.into_iter().filter(|call| wanted(call.run_id.as_deref())).collect();
        if let Err(error) = self.in_the_way.ease(engine, &of_ours) {
            complaints.push(format!("calls about runs that somebody has: {error}"));
        }
        // Read anew: the rules may just have called.
        for call in engine.reader()?.escalations(None, true)?.iter().filter(|call| wanted(call.run_id.as_deref())) {
            if let Err(error) = self.call_again(engine, call, live, now) {
                complaints.push(format!("call {}: {error}", call.escalation_id));
            }
        }
        Ok(complaints)
    }

    /// Calls a human again to what stands and is due, once for each of its times.
    fn call_again(
        &mut self,
        engine: &Engine,
        call: &Escalation,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<(), EngineError> {
        if !call.is_due(now) {
            self.next = call.due_at.filter(|due| *due > now).map_or(self.next, |due| self.next.min(due));
            return Ok(());
        }
        let again = self.measure(engine, live, call.run_id.as_deref())?.call_again;
        let due_at = (!again.is_zero()).then(|| now.plus(again));
        let (escalation_id, wish) = (call.escalation_id.clone(), EscalationWish::CallAgain { due_at });
        engine.order(&Caller::system("rules"), &Command::Escalation { escalation_id, wish })?;
        self.next = due_at.map_or(self.next, |due| self.next.min(due));
        Ok(())
    }

    /// The measure of a run, or of what is outside of every run: the live policy's, else the run's own or the defaults.
    fn measure(&self, engine: &Engine, live: Option<&Measure>, run_id: Option<&str>) -> Result<Measure, EngineError> {
        let measure = match (live, run_id) {
            (Some(live), _) => live.clone(),
            (None, Some(run_id)) => self.conduct.measure(engine, run_id)?,
            (None, None) => self.conduct.measure_outside(engine),
        };
        Ok(Measure { even_since: self.even_since.unwrap_or(measure.even_since), ..measure })
    }

    fn look_after(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        run: &Run,
        (live, progress): (Option<&Measure>, &Progress),
        now: Moment,
    ) -> Result<(), EngineError> {
        let measure = self.measure(engine, live, Some(run.id()))?;
        self.next = self.next.min(now.plus(measure.interval));
        let Standstill { overdue, undecided } = progress.standstill(engine, reader, run, now)?;
        let mut conclusions = conclude(reader, run, &measure, &overdue, now)?;
        if !undecided.is_empty() {
            // Nobody is called to what a restart may be due for.
            let about = |key: &AgentKey, found: &Conclusion| found.decision.target == agent_target(key);
            conclusions.retain(|found| !undecided.iter().any(|key| about(key, found)));
            self.next = self.next.min(now.plus(UNDECIDED));
        }
        // Only whether a question is due is looked at here; it is asked, and takes its time, beside the loop.
        if let Some(next) = self.adviser.consider(reader, run, &conclusions, &overdue, measure.mode, now)? {
            self.next = self.next.min(next);
        }
        self.carry_out(engine, reader, conclusions, &measure, now)
    }

    /// What was asked outside of every run waits for a human all the same.
    fn look_outside(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<(), EngineError> {
        if !reader.waits_outside()? {
            return Ok(());
        }
        let measure = self.measure(engine, live, None)?;
        self.next = self.next.min(now.plus(measure.interval));
        self.carry_out(engine, reader, conclude_outside(reader, &measure, now)?, &measure, now)
    }

    /// The limit of a runner is one cause, however many agents of however many runs wait for it to pass.
    fn look_at_limits(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<(), EngineError> {
        let limited = reader.limited_agents()?;
        let measure = self.measure(engine, live, None)?;
        let only = self.conduct.only.clone();
        let conclusions = conclude_limits(reader, &limited, only.as_deref(), &measure, now)?;
        self.carry_out(engine, reader, conclusions, &measure, now)?;
        let over = |call: &&Escalation| {
            call.kind == Kind::Limit && !limited.iter().any(|agent| runner_target(&agent.spec.runner) == call.target)
        };
        for call in reader.escalations(None, true)?.iter().filter(over) {
            // Not a human's word: at the next limit they are called again.
            let wish = EscalationWish::Resolve { note: Some("no agent of the runner waits any more".to_owned()) };
            let escalation_id = call.escalation_id.clone();
            engine.order(&Caller::system("rules"), &Command::Escalation { escalation_id, wish })?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        conclusions: Vec<Conclusion>,
        measure: &Measure,
        now: Moment,
    ) -> Result<(), EngineError> {
        for conclusion in conclusions {
            if let Some(due) = conclusion.decision.due_at {
                self.next = self.next.min(due);
            }
            if is_known(reader, &conclusion)? {
                continue;
            }
            // Who works on the run has it; the next tick tries again, and not for ever without a word.
            let lease = match (conclusion.decision.action, &conclusion.about.run_id) {
                (Action::Act, Some(run_id)) => match engine.lease_run(run_id, "operator", &self.caller) {
                    Ok(lease) => Some(lease),
                    Err(EngineError::Busy { holder }) => {
                        self.next = now;
                        let patience = self.conduct.patience.unwrap_or_else(|| patience(measure.interval));
                        let (about, by) = ((run_id.as_str(), &conclusion), (measure, patience));
                        self.in_the_way.note(engine, about, holder.as_ref(), by, now)?;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                (Action::Act | Action::Suggest | Action::Escalate | Action::Nothing, _) => None,
            };
            engine.order(&self.caller, &command(engine, conclusion))?;
            drop(lease);
        }
        Ok(())
    }

    /// Ends a call to a thread that is in time again. That is said of it in whatever state its run is: no rule acts on
    /// the run by it.
    fn ease(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        call: &Escalation,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<(), EngineError> {
        let Some(thread) = call.thread_id.as_deref().map(|id| reader.thread(id)).transpose()?.flatten() else {
            return Ok(());
        };
        let measure = self.measure(engine, live, call.run_id.as_deref())?;
        self.next = self.next.min(now.plus(measure.interval));
        if in_time(&thread, &measure, now) {
            // Not a human's word: where the thread presses again it is called to again.
            let wish = EscalationWish::Resolve { note: Some("the thread is in time again".to_owned()) };
            let escalation_id = call.escalation_id.clone();
            engine.order(&Caller::system("rules"), &Command::Escalation { escalation_id, wish })?;
        }
        Ok(())
    }
}

/// The command that a conclusion comes to.
pub fn command(engine: &Engine, conclusion: Conclusion) -> Command {
    Command::Operator {
        conclusion: Box::new(conclusion),
        escalation_id: engine.ledger.new_id("esc"),
        suggestion_id: engine.ledger.new_id("sug"),
    }
}

/// Whether all that a conclusion says stands already: then it needs no command.
fn is_known(reader: &Reader, conclusion: &Conclusion) -> Result<bool, StoreError> {
    let (run_id, decision) = (conclusion.about.run_id.as_deref(), &conclusion.decision);
    let last = reader.decision(run_id, &decision.target)?;
    if !last.is_some_and(|last| decision.same_as(&last.decision)) {
        return Ok(false);
    }
    Ok(match decision.action {
        Action::Nothing => true,
        Action::Act => false,
        Action::Suggest => reader
            .suggestions(run_id, true)?
            .iter()
            .any(|suggestion| suggestion.target == decision.target && suggestion.intent == decision.intent),
        Action::Escalate => reader.escalations_about(run_id, &decision.target)?.iter().any(|escalation| {
            escalation.stands()
                && escalation.cause == decision.cause
                && conclusion.call.is_some_and(|(kind, _)| kind == escalation.kind)
        }),
    })
}

/// Accepts a suggestion: its rule is asked again, and carried out where its cause is still there.
///
/// What was handed on by it comes along; that ends where it stands once `cancel` is raised. The agent of an accepted
/// restart is started by the supervisor, or by the next execution of the run.
///
/// # Errors
/// A refusal: it is settled already, or its cause is gone, and then it is withdrawn.
pub fn accept(
    engine: &Engine,
    caller: &Caller,
    suggestion_id: &str,
    cancel: Option<&Arc<AtomicBool>>,
) -> Result<(Suggestion, Vec<Done>), EngineError> {
    let suggestion = find_suggestion(engine, suggestion_id)?;
    if suggestion.intent.hands_on_work() {
        return work::accept(engine, caller, &suggestion, cancel);
    }
    let run_id = suggestion.run_id.clone().unwrap_or_default();
    let lease = engine.lease_run_within(&run_id, "accept", caller, PATIENCE)?;
    let measure = Conduct::default().measure(engine, &run_id)?;
    let used = engine.reader()?.agents(&run_id)?.into_iter().find(|agent| {
        Some(&agent.key.workspace) == suggestion.workspace.as_ref()
            && Some(&agent.key.name) == suggestion.agent.as_ref()
    });
    let cooldown_until = used.map(|agent| {
        let counted = if agent.went_with_server().is_some() { 1 } else { agent.restarts.used.saturating_add(1) };
        engine.now().plus(measure.cooldown_after(counted))
    });
    let wish = SuggestionWish::Accept { cooldown_until };
    engine.order(caller, &Command::Suggestion { suggestion_id: suggestion_id.to_owned(), wish })?;
    drop(lease);
    let settled = find_suggestion(engine, suggestion_id)?;
    if settled.state == SuggestionState::Withdrawn {
        return Err(withdrawn(suggestion_id, &run_id));
    }
    if settled.intent == Intent::AutoStopStale {
        stopping::stop_run(engine, caller, &run_id)?;
    }
    Ok((settled, Vec::new()))
}

fn withdrawn(suggestion_id: &str, run_id: &str) -> EngineError {
    let what = format!("the cause of suggestion {suggestion_id} is gone: it is withdrawn");
    Refusal::illegal(what, SuggestionState::Withdrawn.word(), Vec::<String>::new())
        .hint(format!("look where it stands: metawsm status --run-id {run_id}"))
        .into()
}

/// Dismisses a suggestion: the same occurrence is not offered again.
///
/// # Errors
/// A refusal.
pub fn dismiss(engine: &Engine, caller: &Caller, suggestion_id: &str) -> Result<Suggestion, EngineError> {
    let command = Command::Suggestion { suggestion_id: suggestion_id.to_owned(), wish: SuggestionWish::Dismiss };
    engine.order(caller, &command)?;
    find_suggestion(engine, suggestion_id)
}

/// Notes that a human knows of an escalation: it is silent until `until`, or until it is due as it is.
///
/// # Errors
/// A refusal.
pub fn acknowledge(
    engine: &Engine,
    caller: &Caller,
    escalation_id: &str,
    until: Option<Moment>,
    note: Option<String>,
) -> Result<Escalation, EngineError> {
    settle_escalation(engine, caller, escalation_id, EscalationWish::Acknowledge { until, note })
}

/// Notes that a human has settled an escalation: the same occurrence does not call again.
///
/// # Errors
/// A refusal.
pub fn resolve(
    engine: &Engine,
    caller: &Caller,
    escalation_id: &str,
    note: Option<String>,
) -> Result<Escalation, EngineError> {
    settle_escalation(engine, caller, escalation_id, EscalationWish::Resolve { note })
}

fn settle_escalation(
    engine: &Engine,
    caller: &Caller,
    escalation_id: &str,
    wish: EscalationWish,
) -> Result<Escalation, EngineError> {
    engine.order(caller, &Command::Escalation { escalation_id: escalation_id.to_owned(), wish })?;
    engine.reader()?.escalation(escalation_id)?.ok_or_else(|| {
        EngineError::not_found(format!("no escalation {escalation_id}"), "metawsm escalations lists them")
    })
}

fn find_suggestion(engine: &Engine, suggestion_id: &str) -> Result<Suggestion, EngineError> {
    engine.reader()?.suggestion(suggestion_id)?.ok_or_else(|| {
        EngineError::not_found(format!("no suggestion {suggestion_id}"), "metawsm suggestions lists them")
    })
}

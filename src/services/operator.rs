//! Carries out what the rules conclude: load, evaluate, command. The holder of the supervisor lease does it.
//!
//! It keeps nothing that matters: what was concluded, called, offered and done stands in the journal.

use std::time::Duration;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::progress::Progress;
use super::stopping;
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::{Command, EscalationWish, SuggestionWish};
use crate::domain::escalation::{Escalation, Suggestion, SuggestionState};
use crate::domain::operator::{Action, Conclusion, Intent, Measure, Question, Sight, Waiting, eased, evaluate};
use crate::domain::policy::{OperatorMode, Policy};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::thread::{LONGEST_TITLE, Thread};
use crate::domain::time::Moment;
use crate::store::{Reader, StoreError};

/// How long a command waits for another one on the same run that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this process was told about the operator, beyond the policy.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// Who decides.
    pub mode: Option<OperatorMode>,
    /// Time between two evaluations.
    pub interval: Option<Duration>,
    /// Only this run.
    pub only: Option<String>,
}

impl Conduct {
    /// The numbers and switches that hold for a run.
    ///
    /// # Errors
    /// When neither the live policy nor the run's own can be read.
    pub fn measure(&self, engine: &Engine, run_id: &str) -> Result<Measure, EngineError> {
        Ok(self.measure_by(&engine.policy_of(run_id)?))
    }

    fn measure_by(&self, policy: &Policy) -> Measure {
        let mut measure = Measure::of(&policy.operator, policy.forum.sla.escalation_minutes, self.mode);
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
    caller: Caller,
    progress: Progress,
    /// The journal's end at the last evaluation.
    seq: i64,
    /// When to look again at the latest.
    next: Moment,
}

impl Operator {
    /// An operator that has not looked yet.
    pub fn new(conduct: Conduct) -> Self {
        let caller = Caller { actor: Actor::new(ActorType::Operator, "operator"), identity: None };
        Self { conduct, caller, progress: Progress::default(), seq: -1, next: Moment::default() }
    }

    /// Evaluates the rules when something happened, something is due, or the interval is over.
    ///
    /// # Errors
    /// When the store cannot be used; what went wrong with one run is returned as words.
    pub fn turn(&mut self, engine: &Engine, now: Moment) -> Result<Vec<String>, EngineError> {
        let reader = engine.reader()?;
        let seq = reader.last_seq()?;
        if seq == self.seq && now < self.next {
            return Ok(Vec::new());
        }
        // What is written by this turn is looked at in the next one.
        self.seq = seq;
        self.next = now.plus(Duration::from_secs(24 * 3600));
        // All runs follow the live file; where it is broken each has its own.
        let live = engine.home.load_policy(&[]).ok().map(|live| self.conduct.measure_by(&live.policy));
        let mut complaints = Vec::new();
        let states = [RunStatus::Running, RunStatus::AwaitingGuidance, RunStatus::Failed];
        for run in reader.runs_in(&states)? {
            if self.conduct.only.as_deref().is_some_and(|only| only != run.id()) {
                continue;
            }
            if let Err(error) = self.look_after(engine, &reader, &run, live.as_ref(), now) {
                complaints.push(format!("rules of run {}: {error}", run.id()));
            }
        }
        Ok(complaints)
    }

    fn look_after(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        run: &Run,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<(), EngineError> {
        let measure = match live {
            Some(live) => live.clone(),
            None => self.conduct.measure(engine, run.id())?,
        };
        self.next = self.next.min(now.plus(measure.interval));
        let overdue = self.progress.overdue(engine, reader, run, now)?;
        let known = Known::of(reader, run.id())?;
        for conclusion in conclude(reader, run, &measure, &overdue, now)? {
            if let Some(due) = conclusion.decision.due_at {
                self.next = self.next.min(due);
            }
            if known.says(&conclusion) {
                continue;
            }
            // Who works on the run has it; the next tick tries again.
            let lease = match conclusion.decision.action {
                Action::Act => match engine.lease_run(run.id(), "operator", &self.caller) {
                    Ok(lease) => Some(lease),
                    Err(EngineError::Busy { .. }) => {
                        self.next = now;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                Action::Suggest | Action::Escalate | Action::Nothing => None,
            };
            engine.order(&self.caller, &command(engine, run.id(), conclusion))?;
            drop(lease);
        }
        let waiting = waiting(reader, run, &reader.agents(run.id())?)?;
        for call in eased(&known.escalations, &waiting, &measure, now) {
            // Not a human's word: where the thread presses again it is called to again.
            let wish = EscalationWish::Resolve { note: Some("the thread is in time again".to_owned()) };
            let escalation_id = call.escalation_id.clone();
            engine.order(&Caller::system("rules"), &Command::Escalation { escalation_id, wish })?;
        }
        Ok(())
    }
}

/// The command that a conclusion comes to.
pub fn command(engine: &Engine, run_id: &str, conclusion: Conclusion) -> Command {
    Command::Operator {
        run_id: run_id.to_owned(),
        conclusion: Box::new(conclusion),
        escalation_id: engine.ledger.new_id("esc"),
        suggestion_id: engine.ledger.new_id("sug"),
    }
}

/// What stands already: a conclusion that says no more needs no command.
struct Known {
    decisions: Vec<crate::domain::scene::LastDecision>,
    escalations: Vec<Escalation>,
    suggestions: Vec<Suggestion>,
}

impl Known {
    fn of(reader: &Reader, run_id: &str) -> Result<Self, StoreError> {
        Ok(Self {
            decisions: reader.decisions(run_id)?,
            escalations: reader.escalations(Some(run_id), true)?,
            suggestions: reader.suggestions(Some(run_id), true)?,
        })
    }

    fn says(&self, conclusion: &Conclusion) -> bool {
        let decision = &conclusion.decision;
        let last = self.decisions.iter().find(|last| last.decision.target == decision.target);
        if !last.is_some_and(|last| decision.same_as(&last.decision)) {
            return false;
        }
        match decision.action {
            Action::Nothing => true,
            Action::Act => false,
            Action::Suggest => self
                .suggestions
                .iter()
                .any(|suggestion| suggestion.target == decision.target && suggestion.intent == decision.intent),
            Action::Escalate => self.escalations.iter().any(|escalation| {
                escalation.target == decision.target
                    && escalation.cause == decision.cause
                    && conclusion.call.is_some_and(|(kind, _)| kind == escalation.kind)
            }),
        }
    }
}

/// What the rules conclude about a run now. Nothing is changed.
///
/// # Errors
/// What the store says.
pub fn conclude(
    reader: &Reader,
    run: &Run,
    measure: &Measure,
    overdue: &[AgentKey],
    now: Moment,
) -> Result<Vec<Conclusion>, StoreError> {
    let agents = reader.agents(run.id())?;
    let steps = reader.steps(run.id())?;
    let questions = questions(reader, run, &agents)?;
    let waiting = waiting(reader, run, &agents)?;
    let sight = Sight { run, agents: &agents, steps: &steps, questions: &questions, waiting: &waiting, overdue };
    Ok(evaluate(&sight, measure, now))
}

/// Whether something asked in `epoch` belongs to its agent's present one.
fn is_present(agents: &[Agent], workspace: Option<&str>, name: Option<&str>, epoch: Option<u32>) -> bool {
    let agent = agents
        .iter()
        .find(|agent| Some(agent.key.workspace.as_str()) == workspace && Some(agent.key.name.as_str()) == name);
    agent.is_none_or(|agent| epoch.is_none_or(|epoch| agent.epoch == epoch))
}

/// The threads of a run that wait for a human.
fn waiting(reader: &Reader, run: &Run, agents: &[Agent]) -> Result<Vec<Waiting>, StoreError> {
    let mut found = Vec::new();
    for thread in reader.waiting_threads(run.id())? {
        if is_present(agents, thread.workspace.as_deref(), thread.agent_name.as_deref(), thread.epoch) {
            found.push(Waiting { priority: thread.priority, question: question_of(reader, thread)? });
        }
    }
    Ok(found)
}

fn question_of(reader: &Reader, thread: Thread) -> Result<Question, StoreError> {
    Ok(Question {
        text: asked(reader, &thread)?,
        since: thread.waiting_since.unwrap_or(thread.opened_at),
        post_id: None,
        ticket: Some(thread.ticket),
        workspace: thread.workspace,
        agent: thread.agent_name,
        thread_id: thread.thread_id,
    })
}

/// The questions of a run's agents that wait for a human, of the present epochs.
fn questions(reader: &Reader, run: &Run, agents: &[Agent]) -> Result<Vec<Question>, StoreError> {
    let present = |workspace: Option<&str>, name: Option<&str>, epoch| is_present(agents, workspace, name, epoch);
    let mut found = Vec::new();
    for request in reader.open_requests(run.id())? {
        if !present(Some(&request.workspace), Some(&request.agent_name), Some(request.epoch)) {
            continue;
        }
        found.push(Question {
            ticket: run.workspace(&request.workspace).map(|workspace| workspace.ticket.clone()),
            thread_id: request.thread_id,
            post_id: Some(request.post_id),
            workspace: Some(request.workspace),
            agent: Some(request.agent_name),
            text: request.question,
            since: request.opened_at,
        });
    }
    for thread in reader.blocking_threads(run.id())?.into_iter().filter(Thread::waits_for_human) {
        if !present(thread.workspace.as_deref(), thread.agent_name.as_deref(), thread.epoch) {
            continue;
        }
        found.push(question_of(reader, thread)?);
    }
    Ok(found)
}

/// The title with the last words of the agent.
fn asked(reader: &Reader, thread: &Thread) -> Result<String, StoreError> {
    let last = reader.posts(&thread.thread_id, Some(5))?;
    let words = last.iter().rev().find(|post| post.author_type == ActorType::Agent).map(|post| post.body.trim());
    Ok(match words.filter(|words| !words.is_empty() && *words != thread.title) {
        Some(words) => format!("{}: {}", thread.title, words.chars().take(4 * LONGEST_TITLE).collect::<String>()),
        None => thread.title.clone(),
    })
}

/// Accepts a suggestion: its rule is asked again, and carried out where its cause is still there.
///
/// The agent of an accepted restart is started by the supervisor, or by the next execution of the run.
///
/// # Errors
/// A refusal: it is settled already, or its cause is gone, and then it is withdrawn.
pub fn accept(engine: &Engine, caller: &Caller, suggestion_id: &str) -> Result<Suggestion, EngineError> {
    let suggestion = find_suggestion(engine, suggestion_id)?;
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
        return Err(Refusal::illegal(
            format!("the cause of suggestion {suggestion_id} is gone: it is withdrawn"),
            settled.state.word(),
            Vec::<String>::new(),
        )
        .hint(format!("look where it stands: metawsm status --run-id {run_id}"))
        .into());
    }
    if settled.intent == Intent::AutoStopStale {
        stopping::stop_run(engine, caller, &run_id)?;
    }
    Ok(settled)
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

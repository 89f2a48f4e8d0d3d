//! What comes of a question to the adviser: whether it is put, and what follows from its answer. That is little: where
//! the rules say nothing and an LLM may call, a human is called.

use super::operator::{Call, call_human};
use super::{Context, run_subject, shortened};
use crate::domain::adviser::{
    ADVISER_TARGET, Advice, Advised, Adviser, Aim, Asked, FAILURES_TOLD, Outcome, PROGRAM, Rejection, Why, as_of,
};
use crate::domain::agent::Agent;
use crate::domain::command::{AdviserTold, AdviserWish};
use crate::domain::escalation::{Escalation, Kind};
use crate::domain::event::{Draft, Fact, Subject};
use crate::domain::operator::{Action, RUN_TARGET, agent_cause, agent_target};
use crate::domain::policy::OperatorMode;
use crate::domain::refusal::Refusal;
use crate::domain::run::Run;
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

use serde_json::json;
use std::time::Duration;

/// How humans are called.
pub(super) struct Calling<'a> {
    pub due_at: Option<Moment>,
    pub ids: &'a [String; 2],
}

pub(super) fn decide(
    scene: &Scene,
    run_id: &str,
    wish: &AdviserWish,
    context: &Context,
    calling: &Calling<'_>,
) -> Result<Vec<Draft>, Refusal> {
    let run = scene.runs.get(run_id).ok_or_else(|| Refusal::not_found(format!("no run {run_id}")))?;
    Ok(match wish {
        AdviserWish::Ask { asked, interval_ms } => ask(scene, run, asked, *interval_ms, context.now),
        AdviserWish::Told(told) => answered(scene, run, told, context, calling),
    })
}

/// A question, unless the run is left alone or one was put not long ago, by whomever.
fn ask(scene: &Scene, run: &Run, asked: &Asked, interval_ms: u64, now: Moment) -> Vec<Draft> {
    let kept = scene.advisers.get(run.id());
    let interval = Duration::from_millis(interval_ms);
    if !run.status.at_work() || kept.is_some_and(|kept| now < kept.next_at(&asked.about, interval, now)) {
        return Vec::new();
    }
    vec![Draft::new(run_subject(run.id()), Fact::OperatorAsked(asked.clone()))]
}

fn answered(scene: &Scene, run: &Run, told: &AdviserTold, context: &Context, calling: &Calling<'_>) -> Vec<Draft> {
    let last = scene.advisers.get(run.id()).and_then(Adviser::open);
    // Said already, or by somebody who was taken for gone.
    let Some(last) = last.filter(|last| last.question_id == told.asked.question_id) else { return Vec::new() };
    let verdict = told.advice.clone().and_then(|advice| judge(scene, run, told, &advice, last.at));
    let call = match (&verdict, &told.advice) {
        (Ok(Outcome::Escalated), Ok(advice)) => Some((advice, call(scene, run, told, advice, calling))),
        _ => None,
    };
    let verdict = match &call {
        // What a human has settled is not brought up again.
        Some((advice, None)) if !stands(scene, run, &advice.target) => {
            Err(Rejection::new(Why::Differs, "a human has settled just this"))
        }
        Some(_) | None => verdict,
    };
    let eased = match (&verdict, &told.advice) {
        (Ok(Outcome::Agrees), Ok(advice)) if advice.intent == Aim::Noop => eased(scene, run, &advice.target),
        _ => Vec::new(),
    };
    let advised = Advised {
        question_id: told.asked.question_id.clone(),
        program: told.asked.program.clone(),
        request: told.asked.request.clone(),
        outcome: *verdict.as_ref().unwrap_or(&Outcome::Rejected),
        rejection: verdict.err().map(|rejection| Rejection { detail: shortened(&rejection.detail), ..rejection }),
        advice: told.advice.as_ref().ok().cloned(),
        rule: told.advice.is_ok().then(|| rule(told)),
        reply: told.reply.clone(),
        transcript: told.transcript.clone(),
        truncated: told.truncated,
        duration_ms: told.duration_ms,
        bytes_in: told.asked.bytes_in,
        bytes_out: told.bytes_out,
    };
    let about_program = of_program(scene, told, &advised, context.now, calling);
    let about = about(scene, run, told.advice.as_ref().ok());
    let fact = Draft::new(about, Fact::OperatorAdvised(advised));
    std::iter::once(fact).chain(call.and_then(|(_, call)| call)).chain(eased).chain(about_program).collect()
}

/// Nothing is to be done, the adviser says now as the rules do: what it called a human to is over. Said of the run as a
/// whole it is said of everything in it.
fn eased(scene: &Scene, run: &Run, target: &str) -> Vec<Draft> {
    let by_advice = scene.escalations.iter().filter(|call| call.kind == Kind::Adviser && call.stands());
    by_advice
        .filter(|call| call.run_id.as_deref() == Some(run.id()) && (target == RUN_TARGET || call.target == target))
        .map(|call| {
            let note = Some("the adviser sees nothing to be done any more".to_owned());
            let fact = Fact::EscalationResolved { escalation_id: call.escalation_id.clone(), note };
            Draft::new(call.subject(), fact).by_system()
        })
        .collect()
}

/// What the rules say about the answer's target now.
fn rule(told: &AdviserTold) -> Aim {
    told.says.as_ref().map_or(Aim::Noop, |says| Aim::Rule(says.wants))
}

/// What comes of an answer by what is so now.
fn judge(
    scene: &Scene,
    run: &Run,
    told: &AdviserTold,
    advice: &Advice,
    asked_at: Moment,
) -> Result<Outcome, Rejection> {
    let rejected = |why, detail: String| Err(Rejection::new(why, detail));
    if !run.status.at_work() {
        return rejected(Why::Overtaken, format!("the run is {} now", run.status));
    }
    let rule = rule(told);
    if rule == advice.intent {
        return Ok(Outcome::Agrees);
    }
    if rule != Aim::Noop {
        return rejected(Why::Differs, "the rules say otherwise, and they decide".to_owned());
    }
    if !advice.intent.only_calls() {
        return rejected(Why::Differs, "the rules say nothing, and advice does nothing but call a human".to_owned());
    }
    if told.mode != OperatorMode::Auto {
        return rejected(Why::Differs, "the rules say nothing, and advice calls a human only in mode auto".to_owned());
    }
    if agent_at(scene, run, &advice.target).is_some_and(|agent| agent.held.is_some()) {
        return rejected(Why::Differs, "somebody has it in hand".to_owned());
    }
    let Some(cause) = cause_now(scene, run, &advice.target) else {
        return rejected(Why::Differs, "the rules say nothing about it any more".to_owned());
    };
    if told.cause.as_ref() != Some(&cause) {
        return rejected(Why::Overtaken, format!("{} has changed since it was asked", advice.target));
    }
    // The rules looked without the lock: what they said since counts.
    let key = (run.id().to_owned(), advice.target.clone());
    let since = scene.decisions.get(&key).filter(|last| last.at >= asked_at);
    if since.is_some_and(|last| matches!(last.decision.action, Action::Act | Action::Suggest | Action::Escalate)) {
        return rejected(Why::Overtaken, "the rules have decided about it since it was asked".to_owned());
    }
    Ok(Outcome::Escalated)
}

fn agent_at<'a>(scene: &'a Scene, run: &Run, target: &str) -> Option<&'a Agent> {
    scene.agents_of(run.id()).into_iter().find(|agent| agent_target(&agent.key) == target)
}

/// Which occurrence a call by advice would be about: of an agent that nobody has in hand, or of the run as it was asked
/// about.
fn cause_now(scene: &Scene, run: &Run, target: &str) -> Option<String> {
    if target == RUN_TARGET {
        return scene.advisers.get(run.id())?.asked.as_ref().map(|asked| as_of(&asked.about));
    }
    agent_at(scene, run, target).filter(|agent| agent.held.is_none()).map(agent_cause)
}

fn about(scene: &Scene, run: &Run, advice: Option<&Advice>) -> Subject {
    let agent = advice.and_then(|advice| agent_at(scene, run, &advice.target));
    agent.map_or_else(|| run_subject(run.id()), |agent| super::agent_subject(&agent.key, &agent.spec.ticket))
}

fn stands(scene: &Scene, run: &Run, target: &str) -> bool {
    scene.escalations.iter().any(|call| {
        call.kind == Kind::Adviser && call.run_id.as_deref() == Some(run.id()) && call.target == target && call.stands()
    })
}

fn call(scene: &Scene, run: &Run, told: &AdviserTold, advice: &Advice, calling: &Calling<'_>) -> Option<Draft> {
    let cause = told.cause.as_deref()?;
    let about = about(scene, run, Some(advice));
    let call = Call {
        about: &about,
        kind: Kind::Adviser,
        target: &advice.target,
        cause,
        reason: &advice.reason,
        evidence: json!({
            "signal": "advice",
            "source": told.asked.program,
            "intent": advice.intent,
            "confidence": advice.confidence,
            "question_id": told.asked.question_id,
        }),
        due_at: calling.due_at,
    };
    call_human(scene, call, &calling.ids[0])
}

/// A program that fails again and again is told of once. One that was never there is a human's choice while its advice
/// is only shown.
fn of_program(
    scene: &Scene,
    told: &AdviserTold,
    advised: &Advised,
    now: Moment,
    calling: &Calling<'_>,
) -> Option<Draft> {
    let mut kept = scene.advisers.get(PROGRAM).cloned().unwrap_or_default();
    kept.note_advised(advised, now);
    if kept.failures < FAILURES_TOLD || (told.missing && told.mode != OperatorMode::Auto) {
        return None;
    }
    let rejection = advised.rejection.as_ref().filter(|rejection| rejection.why.is_failure())?;
    let since = kept.failing_since.unwrap_or(now);
    let reason = format!(
        "the adviser does not work: {} ({}); metawsm doctor looks for it, operator.llm.command names it",
        rejection.detail,
        rejection.why.word()
    );
    let call = Call {
        about: &Subject::default(),
        kind: Kind::Adviser,
        target: ADVISER_TARGET,
        cause: &format!("failing since {since}"),
        reason: &reason,
        evidence: json!({ "signal": "adviser", "source": told.asked.program, "since": since, "failures": kept.failures }),
        due_at: calling.due_at,
    };
    call_human(scene, call, &calling.ids[1])
}

/// Whether what the adviser called a human to is still so.
pub(super) fn cause_holds(scene: &Scene, escalation: &Escalation) -> bool {
    let Some(run_id) = escalation.run_id.as_deref() else {
        let works = |kept: &Adviser| kept.failures == 0;
        return !scene.advisers.get(PROGRAM).is_some_and(works);
    };
    let Some(run) = scene.runs.get(run_id).filter(|run| run.status.at_work()) else { return false };
    match escalation.target.as_str() {
        // Only who asks anew knows that the run is another one.
        RUN_TARGET => cause_now(scene, run, RUN_TARGET).is_none_or(|cause| cause == escalation.cause),
        target => cause_now(scene, run, target).as_ref() == Some(&escalation.cause),
    }
}

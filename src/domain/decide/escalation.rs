//! Escalations and suggestions: what a human says to them, and when their cause is gone.

use super::{Context, adviser, delivery, operator, shortened};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::EscalationWish;
use crate::domain::escalation::{
    Escalation, EscalationState, Kind, LEASE_TARGET, REVIEWS_TARGET, Suggestion, SuggestionState,
};
use crate::domain::event::{Draft, Fact};
use crate::domain::operator::{
    Intent, agent_cause, is_unhealthy, lifeless_since, question_target, repo_of, runner_target,
};
use crate::domain::outbox::is_about_calls;
use crate::domain::plan::Step;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Scene;

pub(super) fn decide(
    scene: &Scene,
    escalation_id: &str,
    wish: &EscalationWish,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    let escalation = scene.escalations.get(escalation_id).ok_or_else(|| {
        Refusal::not_found(format!("no escalation {escalation_id}")).hint("metawsm escalations lists them")
    })?;
    let note = |note: &Option<String>| note.as_deref().map(shortened);
    let fact = match wish {
        EscalationWish::Acknowledge { .. } if !escalation.stands() => {
            return Err(Refusal::illegal(
                format!("escalation {escalation_id} is resolved: there is nothing to acknowledge"),
                escalation.state.word(),
                escalation.state.next_commands().to_vec(),
            )
            .hint("metawsm escalations --open lists those that stand"));
        }
        EscalationWish::Resolve { .. } if !escalation.stands() => return Ok(Vec::new()),
        // Another supervisor, or a human, was quicker.
        EscalationWish::CallAgain { .. } if !escalation.is_due(context.now) => return Ok(Vec::new()),
        EscalationWish::CallAgain { due_at } => Fact::EscalationNotified {
            escalation_id: escalation_id.to_owned(),
            kind: Some(escalation.kind),
            about_calls: escalation.kind == Kind::DeadLetter && is_about_calls(&escalation.evidence),
            times: escalation.notified.saturating_add(1),
            due_at: due_at.filter(|due| *due > context.now),
        },
        EscalationWish::Acknowledge { until, note: words } => {
            let due_at = until.or_else(|| escalation.due_at.filter(|due| *due > context.now));
            let same = escalation.state == EscalationState::Acknowledged && escalation.due_at == due_at;
            if same && words.is_none() {
                return Ok(Vec::new());
            }
            Fact::EscalationAcknowledged { escalation_id: escalation_id.to_owned(), due_at, note: note(words) }
        }
        EscalationWish::Resolve { note: words } => {
            Fact::EscalationResolved { escalation_id: escalation_id.to_owned(), note: note(words) }
        }
    };
    Ok(vec![Draft::new(escalation.subject(), fact)])
}

/// The end of what stands about a run, or about the home outside of every run, and whose cause is gone.
pub(super) fn causes_gone(scene: &Scene, run_id: Option<&str>) -> Vec<Draft> {
    let of_run = |id: &Option<String>| id.as_deref() == run_id;
    let resolved = scene
        .escalations
        .iter()
        .filter(|escalation| of_run(&escalation.run_id) && escalation.stands() && !cause_holds(scene, escalation))
        .map(ended);
    let withdrawn = scene
        .suggestions
        .iter()
        .filter(|suggestion| of_run(&suggestion.run_id) && suggestion.state == SuggestionState::Open)
        .filter(|suggestion| !still_wanted(scene, suggestion))
        .map(|suggestion| settled(suggestion, SuggestionState::Withdrawn, Some("its cause is gone")).by_system());
    resolved.chain(withdrawn).collect()
}

/// An escalation's end without anybody's word: its cause is gone.
pub(super) fn ended(call: &Escalation) -> Draft {
    let fact = Fact::EscalationResolved { escalation_id: call.escalation_id.clone(), note: None };
    Draft::new(call.subject(), fact).by_system()
}

/// A suggestion's end.
pub(super) fn settled(suggestion: &Suggestion, to: SuggestionState, reason: Option<&str>) -> Draft {
    let fact = Fact::SuggestionSettled {
        suggestion_id: suggestion.suggestion_id.clone(),
        to,
        reason: reason.map(str::to_owned),
    };
    Draft::new(suggestion.subject(), fact)
}

/// The run, while it goes on or is only paused: then what waits in it still waits.
pub(super) fn open_run<'a>(scene: &'a Scene, run_id: Option<&str>) -> Option<&'a Run> {
    let run = scene.runs.get(run_id?)?;
    (run.status.at_work() || run.status == RunStatus::Paused).then_some(run)
}

/// Whether somebody may still wait there: outside of every run, or in one that is not over.
fn may_wait(scene: &Scene, run_id: Option<&str>) -> bool {
    run_id.is_none() || open_run(scene, run_id).is_some()
}

fn agent_of<'a>(
    scene: &'a Scene,
    run_id: &str,
    workspace: Option<&String>,
    name: Option<&String>,
) -> Option<&'a Agent> {
    scene.agents.get(&AgentKey::new(run_id, workspace?, name?))
}

/// Whether what an escalation is about is still so. What nobody has built yet is left to humans.
fn cause_holds(scene: &Scene, escalation: &Escalation) -> bool {
    let run_id = escalation.run_id.as_deref();
    match escalation.kind {
        Kind::Guidance => may_wait(scene, run_id) && question_waits(scene, &escalation.target),
        Kind::Blocked => open_run(scene, run_id)
            .and_then(|run| agent_of(scene, run.id(), escalation.workspace.as_ref(), escalation.agent.as_ref()))
            .is_some_and(is_unhealthy),
        Kind::Input => open_run(scene, run_id)
            .and_then(|run| agent_of(scene, run.id(), escalation.workspace.as_ref(), escalation.agent.as_ref()))
            .is_some_and(Agent::waits_for_key),
        Kind::Limit => limit_holds(scene, &escalation.target),
        Kind::Step => open_run(scene, run_id).is_some_and(|run| step_failed(scene, run, &escalation.target)),
        Kind::Failed => run_id.and_then(|id| scene.runs.get(id)).is_some_and(|run| run.status == RunStatus::Failed),
        Kind::Stale => run_id.and_then(|id| scene.runs.get(id)).is_some_and(|run| stays_stopped(scene, run)),
        Kind::Sla => may_wait(scene, run_id) && thread_waits(scene, escalation.thread_id.as_ref()),
        Kind::Delivery => open_run(scene, run_id).is_some() && delivery::cause_holds(scene, escalation),
        // Who has the run, and that he lets go, is seen outside.
        Kind::NotActed if escalation.target == LEASE_TARGET => {
            let completed = |run: &Run| run.status == RunStatus::Completed;
            open_run(scene, run_id).is_some() || run_id.and_then(|id| scene.runs.get(id)).is_some_and(completed)
        }
        // Whether GitHub answers is seen outside.
        Kind::NotActed if escalation.target == REVIEWS_TARGET => {
            let there =
                |run: &Run| scene.workspaces.iter().any(|workspace| workspace.run_id == run.id() && !workspace.removed);
            let run = run_id.and_then(|id| scene.runs.get(id));
            run.is_some_and(|run| run.status == RunStatus::Completed && there(run))
        }
        Kind::NotActed if repo_of(&escalation.target).is_some() => {
            let run = run_id.and_then(|id| scene.runs.get(id));
            run.is_some_and(|run| holds_work(scene, run, &escalation.target))
        }
        Kind::NotActed => open_run(scene, run_id).is_some_and(|run| operator::still_not_done(scene, run, escalation)),
        Kind::TmuxUnreachable | Kind::TmuxServerLost | Kind::DeadLetter => true,
        Kind::Adviser => adviser::cause_holds(scene, escalation),
    }
}

/// Whether an agent of the runner that a call is about still waits for its limit to pass. All that do are in the scene
/// wherever such a call is.
pub(super) fn limit_holds(scene: &Scene, target: &str) -> bool {
    scene.agents.iter().any(|agent| agent.is_limited() && runner_target(&agent.spec.runner) == target)
}

/// Whether a question of the present epoch waits for a human.
pub(super) fn question_waits(scene: &Scene, target: &str) -> bool {
    let request = scene.requests.iter().any(|request| {
        let agent = agent_of(scene, &request.run_id, Some(&request.workspace), Some(&request.agent_name));
        question_target(&request.thread_id, Some(&request.post_id)) == target
            && request.settled_by.is_none()
            && agent.is_none_or(|agent| agent.epoch == request.epoch)
    });
    request
        || scene.threads.iter().any(|thread| {
            question_target(&thread.thread_id, None) == target
                && thread.blocking
                && thread_waits(scene, Some(&thread.thread_id))
        })
}

/// Whether a thread waits for a human, and its agent has not begun anew since.
pub(super) fn thread_waits(scene: &Scene, thread_id: Option<&String>) -> bool {
    let Some(thread) = thread_id.and_then(|id| scene.threads.get(id)) else { return false };
    let present = match (&thread.run_id, &thread.epoch) {
        (Some(run_id), Some(epoch)) => agent_of(scene, run_id, thread.workspace.as_ref(), thread.agent_name.as_ref())
            .is_none_or(|agent| agent.epoch == *epoch),
        _ => true,
    };
    thread.waits_for_human() && present
}

pub(super) fn step_failed(scene: &Scene, run: &Run, target: &str) -> bool {
    let index = target.strip_prefix("step:").and_then(|index| index.parse::<u32>().ok());
    let step = index.and_then(|index| scene.steps.get(&(run.id().to_owned(), index)));
    step.is_some_and(|step| step.given_up(run.spec.step_retries))
}

/// A run that a rule stopped waits for a human until it is resumed or cleaned up.
fn stays_stopped(scene: &Scene, run: &Run) -> bool {
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance | RunStatus::Paused => lifeless_cause(scene, run).is_some(),
        RunStatus::Stopping | RunStatus::Stopped => scene.agents_of(run.id()).iter().all(|agent| !agent.start_due()),
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Failed
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => false,
    }
}

/// Since when nothing of a run lives, as the cause of a decision.
pub(super) fn lifeless_cause(scene: &Scene, run: &Run) -> Option<String> {
    let steps: Vec<&Step> = scene.steps_of(run.id());
    lifeless_since(run, &scene.agents_of(run.id()), &steps).map(|since| format!("lifeless since {since}"))
}

/// Whether a target is a repository of a completed run whose workspace is there: only git tells what is in it.
pub(super) fn holds_work(scene: &Scene, run: &Run, target: &str) -> bool {
    let Some((workspace, repo)) = repo_of(target) else { return false };
    let there = scene.workspaces.get(&(run.id().to_owned(), workspace.to_owned()));
    run.status == RunStatus::Completed
        && there.is_some_and(|there| !there.removed && there.worktrees.iter().any(|tree| tree.repo == repo))
}

/// Whether a suggestion's rule would still want it: the same occurrence, and still possible.
pub(super) fn still_wanted(scene: &Scene, suggestion: &Suggestion) -> bool {
    if suggestion.intent.hands_on_work() {
        let run = suggestion.run_id.as_ref().and_then(|id| scene.runs.get(id));
        return run.is_some_and(|run| holds_work(scene, run, &suggestion.target));
    }
    let Some(run) = open_run(scene, suggestion.run_id.as_deref()) else { return false };
    match suggestion.intent {
        Intent::AutoRestart => agent_of(scene, run.id(), suggestion.workspace.as_ref(), suggestion.agent.as_ref())
            .is_some_and(|agent| is_unhealthy(agent) && agent_cause(agent) == suggestion.cause && agent.restart_left()),
        Intent::AutoStopStale => lifeless_cause(scene, run).as_ref() == Some(&suggestion.cause),
        Intent::EscalateGuidance
        | Intent::EscalateInput
        | Intent::EscalateBlocked
        | Intent::EscalateSla
        | Intent::EscalateFailed
        | Intent::CommitReady
        | Intent::PrReady
        | Intent::ReviewFeedbackReady
        | Intent::ResetRestarts => false,
    }
}

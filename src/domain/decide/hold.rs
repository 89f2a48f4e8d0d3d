//! A person holds an agent: the rules that start agents again or stop their runs leave it alone until it is released.

use super::{Context, agent_subject, shortened};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::event::{Draft, Fact};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};

pub(super) fn hold(run: &Run, agent: &Agent, reason: Option<&str>, context: &Context) -> Result<Vec<Draft>, Refusal> {
    let name = &agent.key.name;
    if is_over(run) {
        let allowed = run.status.next_commands();
        return Err(Refusal::illegal(
            format!("run {} is {}: no rule starts agent {name} again", run.id(), run.status),
            run.status.word(),
            allowed.to_vec(),
        )
        .hint(format!("legal now: {}", allowed.join(", "))));
    }
    if let AgentStatus::Done | AgentStatus::Stopping | AgentStatus::Stopped = agent.status {
        return Err(Refusal::illegal(
            format!("agent {name} is {}: no rule starts it again", agent.status),
            agent.status.word(),
            ["restart"],
        )
        .hint("there is nothing to hold"));
    }
    if agent.start_due() {
        return Err(Refusal::illegal(
            format!("agent {name} is about to be started"),
            agent.status.word(),
            ["hold", "stop"],
        )
        .hint("hold it when it runs"));
    }
    let reason = reason.map(|reason| shortened(reason.trim())).filter(|reason| !reason.is_empty());
    let by = context.actor.name.clone();
    if agent.held.as_ref().is_some_and(|held| held.by == by && (reason.is_none() || held.reason == reason)) {
        return Ok(Vec::new());
    }
    Ok(vec![Draft::new(agent_subject(&agent.key, &agent.spec.ticket), Fact::AgentHeld { by, reason })])
}

/// The rules have it again.
pub(super) fn release(agent: &Agent, reason: Option<&str>) -> Vec<Draft> {
    let fact = Fact::AgentReleased { reason: reason.map(str::to_owned) };
    let held = agent.held.is_some();
    held.then(|| Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)).into_iter().collect()
}

/// A hold ends by itself with what a human does to the agent, and with its run.
pub(super) fn ends(run: &Run, agent: &Agent) -> Vec<Draft> {
    let why = if is_over(run) {
        "its run is over"
    } else if agent.start_due() {
        "it is started again"
    } else {
        match agent.status {
            AgentStatus::Stopping | AgentStatus::Stopped => "it is stopped",
            AgentStatus::Done => "it is done",
            AgentStatus::Pending
            | AgentStatus::Running
            | AgentStatus::Idle
            | AgentStatus::Stalled
            | AgentStatus::Dead
            | AgentStatus::Failed => return Vec::new(),
        }
    };
    release(agent, Some(why)).into_iter().map(Draft::by_system).collect()
}

const fn is_over(run: &Run) -> bool {
    match run.status {
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused => false,
        RunStatus::Failed
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => true,
    }
}

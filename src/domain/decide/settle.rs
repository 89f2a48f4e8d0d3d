//! What follows from facts without anybody wishing it: completion makes an agent done, its agents make a
//! run completed, a question makes it await guidance (spec 2.2, 2.7). Every command carries this along.

use super::{agent_subject, delivery, escalation, hold, run_subject, thread};
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Completion};
use crate::domain::event::{Draft, Fact};
use crate::domain::plan::can_go_on;
use crate::domain::run::{Run, RunMode, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::thread::Thread;

/// The facts about a run, or about the home outside of every run, that follow now; empty when nothing does. Apply them
/// and ask again: one may bring another.
pub fn settle(scene: &Scene, run_id: Option<&str>) -> Vec<Draft> {
    let Some(run_id) = run_id else { return escalation::causes_gone(scene, None) };
    let Some(run) = scene.runs.get(run_id) else { return Vec::new() };
    let agents = scene.agents_of(run_id);
    let done: Vec<Draft> = agents.iter().filter_map(|agent| agent_done(run, agent)).collect();
    if !done.is_empty() {
        return done;
    }
    let released: Vec<Draft> = agents.iter().flat_map(|agent| hold::ends(run, agent)).collect();
    if !released.is_empty() {
        return released;
    }
    let over = questions_over(scene, run);
    if !over.is_empty() {
        return over;
    }
    let delivered = delivery::follows(scene, run);
    if !delivered.is_empty() {
        return delivered;
    }
    let Some((to, reason)) = next_status(scene, run, &agents) else {
        return escalation::causes_gone(scene, Some(run_id));
    };
    let fact = Fact::RunTransitioned { from: run.status, to, reason };
    vec![Draft::new(run_subject(run_id), fact).by_system()]
}

fn agent_done(run: &Run, agent: &Agent) -> Option<Draft> {
    let said_so = agent.completed_in == Some(agent.epoch);
    let reason = match run.spec.mode {
        RunMode::Bootstrap if said_so && agent.validated_in == Some(agent.epoch) => "completed and validated",
        RunMode::Run if said_so && agent.spec.completion != Completion::ExitZero => "said that it is done",
        RunMode::Bootstrap | RunMode::Run => return None,
    };
    if !agent.status.working() {
        return None;
    }
    let fact =
        Fact::AgentTransitioned { from: agent.status, to: AgentStatus::Done, reason: reason.to_owned(), launch: None };
    Some(Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact).by_system())
}

/// Questions for whose answer an agent waited that has begun a new epoch since are closed by metawsm: nobody is there any
/// more who would read it (spec 2.4).
fn questions_over(scene: &Scene, run: &Run) -> Vec<Draft> {
    let over = |thread: &&Thread| {
        let (Some(workspace), Some(name), Some(epoch)) = (&thread.workspace, &thread.agent_name, thread.epoch) else {
            return false;
        };
        let agent = scene.agents.get(&AgentKey::new(run.id(), workspace, name));
        agent.is_some_and(|agent| agent.epoch > epoch)
    };
    let asked = scene.threads.iter().filter(|thread| {
        thread.run_id.as_deref() == Some(run.id()) && !thread.control && thread.blocking && thread.waits_for_human()
    });
    asked.filter(over).flat_map(thread::close).map(Draft::by_system).collect()
}

fn next_status(scene: &Scene, run: &Run, agents: &[&Agent]) -> Option<(RunStatus, String)> {
    let open = scene.guidance_open(run.id());
    match run.status {
        RunStatus::AwaitingGuidance if !open => {
            return Some((RunStatus::Running, "the question was settled".to_owned()));
        }
        RunStatus::Running if open => {
            return Some((RunStatus::AwaitingGuidance, "an agent waits for an answer".to_owned()));
        }
        RunStatus::Running | RunStatus::AwaitingGuidance => {}
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => return None,
    }
    let steps = scene.steps_of(run.id());
    if agents.iter().any(|agent| agent.status.alive() || agent.start_due()) || can_go_on(&steps, run.spec.step_retries)
    {
        return None;
    }
    let given_up = steps.iter().find(|step| step.given_up(run.spec.step_retries));
    if let Some(step) = given_up {
        return can_be_restarted(agents).is_none().then(|| {
            let error = step.error.as_deref().unwrap_or("no reason given");
            (RunStatus::Failed, format!("step {} failed: {error}", step.spec.name))
        });
    }
    let ended_well = |agent: &&Agent| matches!(agent.status, AgentStatus::Done | AgentStatus::Stopped);
    if agents.iter().all(ended_well) {
        let done = agents.iter().filter(|agent| agent.status == AgentStatus::Done).count();
        return (done > 0 && !open).then(|| (RunStatus::Completed, format!("{done} of {} agents done", agents.len())));
    }
    if can_be_restarted(agents).is_some() {
        return None;
    }
    let agent = agents.iter().find(|agent| matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed))?;
    let left = if agent.restart_left() { "" } else { ", no restart left" };
    Some((RunStatus::Failed, format!("agent {} {}{left}", agent.key.name, agent.reason)))
}

/// A dead or failed agent that somebody has in hand, or that a rule may still start again within its budget.
fn can_be_restarted<'a>(agents: &[&'a Agent]) -> Option<&'a Agent> {
    agents.iter().copied().find(|agent| {
        matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed)
            && agent.launch > 0
            && (agent.held.is_some() || could_be_started(agent))
    })
}

fn could_be_started(agent: &Agent) -> bool {
    // What has never been started will not start by being tried again.
    let ran = agent.restarts.used > 0 || agent.exit.as_ref().is_none_or(|exit| exit.error.is_none());
    ran && agent.restart_left()
}

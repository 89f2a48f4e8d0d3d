//! Why a run stands as it does.

use serde_json::json;

use super::{
    Explanation, Line, Since, Tone, busy, decision_lines, escalation_lines, event_lines, events_json, leases, line,
    not, part,
};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::operator::{Action, agent_target, work_stands};
use crate::domain::plan::Step;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::age;
use crate::services::error::EngineError;
use crate::services::view::View;
use crate::store::read::EventFilter;

/// So many of its last events are told.
const EVENTS: usize = 12;

pub(super) fn explain(view: &View<'_>, run_id: &str) -> Result<Explanation, EngineError> {
    let run = view
        .reader
        .run(run_id)?
        .ok_or_else(|| EngineError::not_found(format!("no run {run_id}"), "metawsm runs --all lists them"))?;
    let agents = view.reader.agents(run_id)?;
    let steps = view.reader.steps(run_id)?;
    let calls = view.reader.escalations(Some(run_id), true)?;
    let decisions = view.reader.decisions(run_id)?;
    let filter = EventFilter { run_id: Some(run_id.to_owned()), ..EventFilter::default() };
    let mut events = view.reader.newest_events(&filter, EVENTS)?;
    events.reverse();
    let (advice, adviser) = super::adviser::of_run(view, run_id)?;
    let (lease_lines, leases) = leases(view, Some(run_id));
    let stuck = |step: &&crate::domain::plan::Step| !step.status.settled() || step.error.is_some();
    let plan = steps.iter().filter(stuck).map(|step| {
        let error = step.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        line(step.spec.name.clone(), format!("{}, tried {} times{error}", step.status.word(), step.attempts))
    });
    let offers = view.reader.suggestions(Some(run_id), true)?;
    let busy = busy(view, run_id)?;
    let rules = decisions.iter().flat_map(|last| {
        let about = |agent: &&Agent| agent_target(&agent.key) == last.decision.target;
        let moved_on = agents.iter().find(about).is_some_and(|agent| agent.since > last.at);
        // A question that was answered, a limit that has passed: what was called to stands no more.
        let called = last.decision.action == Action::Escalate;
        let settled = called && !calls.iter().any(|call| call.target == last.decision.target);
        let handed_on = last.decision.intent.hands_on_work() && !work_stands(&run, last, &offers, &calls);
        let over = moved_on || settled || handed_on;
        let since = Since { over, busy: busy.as_deref() };
        let mut lines = decision_lines(view.now, last.at, &last.decision, since);
        lines.insert(0, not(last.decision.target.clone(), ""));
        lines
    });
    let parts = [
        part("What it waits for", waits(&run, &agents, &steps)),
        part("Agents", agents.iter().map(|agent| agent_line(view, agent)).collect()),
        part("Steps that are not done", plan.collect()),
        part("Operator", rules.collect()),
        part("Adviser", advice),
        part("Waits for you", escalation_lines(view.now, &calls)),
        part("Leases", lease_lines),
        part("Lately", event_lines(view.now, &events)),
    ];
    Ok(Explanation {
        title: format!("{run_id} ({})", run.spec.tickets.join(", ")),
        stands: format!("{}: {}", run.status, run.reason),
        parts: parts.into_iter().flatten().collect(),
        json: json!({
            "kind": "run",
            "run": view.run(&run)?,
            "waits": waits(&run, &agents, &steps).iter().map(|line| line.text.clone()).collect::<Vec<_>>(),
            "agents": view.agents(run_id)?,
            "steps": steps.iter().filter(stuck).map(|step| view.step(step)).collect::<Vec<_>>(),
            "operator": decisions.iter().map(|last| json!({ "decided_at": last.at, "decision": last.decision })).collect::<Vec<_>>(),
            "adviser": adviser,
            "escalations": calls.iter().map(crate::services::view::escalation).collect::<Vec<_>>(),
            "leases": leases,
            "events": events_json(&events),
        }),
    })
}

/// What has to happen before the run goes on, in words.
fn waits(run: &Run, agents: &[Agent], steps: &[Step]) -> Vec<Line> {
    let named = |status: &[AgentStatus]| {
        let those = agents.iter().filter(|agent| status.contains(&agent.status));
        those.map(|agent| agent.key.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance => {
            let works = named(&[AgentStatus::Running, AgentStatus::Idle, AgentStatus::Stalled, AgentStatus::Stopping]);
            let down = named(&[AgentStatus::Dead, AgentStatus::Failed]);
            if run.status == RunStatus::AwaitingGuidance {
                lines.push(Line { tone: Tone::Fits, ..line("", "an answer to what its agents ask") });
            }
            let retries = run.spec.step_retries;
            let given_up = steps.iter().find(|step| step.given_up(retries));
            let to_do = steps.iter().filter(|step| !step.status.settled()).map(|step| step.spec.name.as_str());
            let to_do = to_do.collect::<Vec<_>>().join(", ");
            match given_up {
                Some(step) => {
                    let why = step.error.as_deref().unwrap_or("no reason given");
                    let name = &step.spec.name;
                    lines.push(line("", format!("it cannot complete: step {name} failed ({why})")));
                    if !works.is_empty() {
                        lines.push(line("", format!("it fails when none of these works any more: {works}")));
                    }
                }
                None if !to_do.is_empty() => lines.push(line("", format!("steps that are to be done first: {to_do}"))),
                None => {}
            }
            if given_up.is_none() && !works.is_empty() {
                lines.push(line("", format!("it completes when these are done or stopped: {works}")));
            }
            if !down.is_empty() && given_up.is_none() {
                lines.push(line("", format!("it fails when none lives and these have no restart left: {down}")));
            }
        }
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => {}
    }
    let next = run.status.next_commands().join(", ");
    if !next.is_empty() {
        lines.push(not("", format!("legal now: {next}")));
    }
    lines
}

fn agent_line(view: &View<'_>, agent: &Agent) -> Line {
    let since = age(view.now.since(agent.since));
    line(agent.key.name.clone(), format!("{} for {since}: {}", agent.status, agent.reason))
}

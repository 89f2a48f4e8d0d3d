//! Rule 2 of spec 2.7: a human is called to what waits at a screen, to a key for each agent, to a limit once a runner.

use super::rules::{Found, about_agent};
use super::{Agent, Conclusion, Intent, Kind, Measure, Moment, Subject, agent_target, json};
use crate::domain::agent::WaitingFor;
use crate::domain::escalation::Escalation;

/// An agent that waits for a key, once it has waited long enough.
pub(super) fn waits_for_key(agent: &Agent, measure: &Measure, now: Moment) -> Option<Conclusion> {
    if !agent.waits_for_key() {
        return None;
    }
    measure.action(Intent::EscalateInput)?;
    let since = agent.waiting_since.unwrap_or(agent.since);
    let found = Found {
        about: about_agent(agent),
        target: agent_target(&agent.key),
        cause: format!("launch {} waits for a key since {since}", agent.launch),
        reason: format!("{} {}", agent.key.name, agent.reason),
        evidence: json!({ "since": since, "launch": agent.launch, "signals": agent.evidence }),
        considered: Vec::new(),
    };
    let due = measure.attainable(since.plus(measure.input_wait), measure.input_wait, now);
    if now < due {
        return Some(found.not_before(Intent::EscalateInput, due));
    }
    found.call(Intent::EscalateInput, Kind::Input, measure, now)
}

/// The target of what concerns all agents of a runner: they share its provider's limit.
pub fn runner_target(runner: &str) -> String {
    format!("runner:{runner}")
}

/// The agents of one runner whose screens show a limit.
#[derive(Debug, Clone)]
pub struct Limited<'a> {
    /// The runner.
    pub runner: &'a str,
    /// Its agents that wait.
    pub agents: Vec<&'a Agent>,
    /// The call to it that stands: while one agent waits it is the same limit.
    pub standing: Option<&'a Escalation>,
}

/// One call a runner, at once.
pub fn limits(limited: &[Limited<'_>], measure: &Measure, now: Moment) -> Vec<Conclusion> {
    limited.iter().filter_map(|limited| limit(limited, measure, now)).collect()
}

fn limit(limited: &Limited<'_>, measure: &Measure, now: Moment) -> Option<Conclusion> {
    let since = |agent: &Agent| agent.waiting_since.unwrap_or(agent.since);
    let first = limited.agents.iter().min_by_key(|agent| (since(agent), &agent.key))?;
    let cause = limited.standing.map(|call| call.cause.clone());
    let who: Vec<_> =
        limited.agents.iter().map(|agent| json!({ "run_id": agent.key.run_id, "agent": agent.key.name })).collect();
    let found = Found {
        about: Subject::default(),
        target: runner_target(limited.runner),
        cause: cause.unwrap_or_else(|| format!("limited since {}", since(first))),
        reason: format!("{}: {}", limited.runner, first.reason),
        evidence: json!({
            "runner": limited.runner,
            "since": since(first),
            "agents": who,
            "signals": first.evidence,
        }),
        considered: Vec::new(),
    };
    found.call(Intent::EscalateInput, Kind::Limit, measure, now)
}

impl Agent {
    /// Whether it lives and its screen shows a dialog.
    pub fn waits_for_key(&self) -> bool {
        self.status.working() && self.waiting_for == WaitingFor::Input
    }

    /// Whether it lives and its screen shows a limit.
    pub fn is_limited(&self) -> bool {
        self.status.working() && self.waiting_for == WaitingFor::Limit
    }
}

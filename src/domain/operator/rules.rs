//! Rules 3 to 5 and 7 of spec 2.7, one function a subject; rules 1 and 6 are in `waits`, rule 2 in `keys`.

use super::keys::waits_for_key;
use super::waits::calls;
use super::{
    Action, Agent, AgentStatus, Conclusion, Considered, Decision, Intent, Kind, Measure, Moment, RUN_TARGET, RunStatus,
    Sight, Step, Subject, Value, age, agent_cause, agent_target, failure_cause, is_unhealthy, json, lifeless_since,
    step_target,
};

/// What the rules conclude about each subject of a run, now. What there is nothing to say about is left out.
pub fn evaluate(sight: &Sight<'_>, measure: &Measure, now: Moment) -> Vec<Conclusion> {
    let rules = Rules { sight, measure, now };
    match sight.run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance => rules.at_work(),
        RunStatus::Failed => rules.failed().into_iter().collect(),
        // Hands off, or a command has it in its hands. What completed runs have left in worktrees is asked of `work`.
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => Vec::new(),
    }
}

struct Rules<'a> {
    sight: &'a Sight<'a>,
    measure: &'a Measure,
    now: Moment,
}

/// What a rule found, before it is known what may come of it.
pub(super) struct Found {
    pub about: Subject,
    pub target: String,
    pub cause: String,
    pub reason: String,
    pub evidence: Value,
    pub considered: Vec<Considered>,
}

impl Found {
    pub fn decide(self, intent: Intent, action: Action) -> Conclusion {
        let decision = Decision {
            target: self.target,
            cause: self.cause,
            rule: intent.rule(),
            intent,
            action,
            reason: self.reason,
            evidence: self.evidence,
            considered: self.considered,
            due_at: None,
            cooldown_until: None,
        };
        Conclusion { about: self.about, decision, call: None, call_again: None }
    }

    pub fn not_before(self, intent: Intent, due: Moment) -> Conclusion {
        let mut conclusion = self.decide(intent, Action::Nothing);
        conclusion.decision.due_at = Some(due);
        conclusion
    }

    /// A call to a human, where the rule is not switched off.
    pub fn call(self, intent: Intent, kind: Kind, measure: &Measure, now: Moment) -> Option<Conclusion> {
        let mut conclusion = self.decide(intent, measure.action(intent)?);
        conclusion.call = Some((kind, measure.again(now)));
        Some(conclusion)
    }
}

fn why_not(intent: Intent, why: &str) -> Considered {
    Considered { intent, why_not: why.to_owned() }
}

impl Rules<'_> {
    fn at_work(&self) -> Vec<Conclusion> {
        let sight = self.sight;
        let calls = calls(sight.questions, sight.waiting, self.measure, self.now);
        let key = |agent| waits_for_key(agent, self.measure, self.now);
        let agents = sight
            .agents
            .iter()
            .filter_map(|agent| key(agent).or_else(|| self.agent(agent)).or_else(|| self.well(agent)));
        let steps = sight.steps.iter().filter_map(|step| self.step(step));
        calls.into_iter().chain(agents).chain(steps).chain(self.stale()).collect()
    }

    /// Rules 3 and 4: an agent that is down, or hangs.
    fn agent(&self, agent: &Agent) -> Option<Conclusion> {
        if !is_unhealthy(agent) {
            return None;
        }
        // That no progress is seen is the other signal.
        let overdue = self.sight.overdue.contains(&agent.key) || agent.evidence["signal"] == "progress";
        let silent_only = agent.status == AgentStatus::Stalled && !overdue;
        let spent = !agent.restart_left();
        let confirming = self.measure.interval * self.measure.confirmations.saturating_sub(1);
        let confirmed = agent.since.plus(confirming);
        let confirmed = self.measure.attainable(confirmed, confirming, self.now);
        let may_restart = self.measure.action(Intent::AutoRestart);
        let why = if silent_only {
            "it is silent, but its progress is not known to be overdue"
        } else if spent {
            "no restart is left"
        } else if may_restart.is_none() {
            "the rule is switched off"
        } else {
            ""
        };
        match may_restart.filter(|_| why.is_empty()) {
            Some(action) => Some(self.restart(agent, action, confirmed)),
            None => self.blocked(agent, why, confirmed),
        }
    }

    fn unhealthy(&self, agent: &Agent, reason: String) -> Found {
        let restarts = &agent.restarts;
        Found {
            about: about_agent(agent),
            target: agent_target(&agent.key),
            cause: agent_cause(agent),
            reason,
            evidence: json!({
                "status": agent.status,
                "since": agent.since,
                "reason": agent.reason,
                "launch": agent.launch,
                "restarts": { "used": restarts.used, "budget": restarts.budget, "cooldown_until": restarts.cooldown_until },
                "server_lost": agent.went_with_server(),
                "progress_overdue": self.sight.overdue.contains(&agent.key),
                "signals": agent.evidence,
            }),
            considered: Vec::new(),
        }
    }

    /// Rule 3.
    fn restart(&self, agent: &Agent, action: Action, confirmed: Moment) -> Conclusion {
        if agent.went_with_server().is_some() {
            return self.restart_for_free(agent, action);
        }
        let (used, budget) = (agent.restarts.used + 1, agent.restarts.budget);
        let reason = format!("{} {}: restart {used} of {budget}", agent.key.name, describe(agent));
        let cooldown = self.measure.cooldown_after(agent.restarts.used);
        let cool = agent.restarts.cooldown_until.map(|until| self.measure.attainable(until, cooldown, self.now));
        let due = cool.map_or(confirmed, |cool| cool.max(confirmed));
        let mut found = self.unhealthy(agent, reason);
        if self.now < due {
            let waits = if due > confirmed { "the cooldown is not over" } else { "it is not confirmed yet" };
            found.considered.push(why_not(Intent::AutoRestart, waits));
            return found.not_before(Intent::AutoRestart, due);
        }
        found.considered.push(why_not(Intent::EscalateBlocked, "restarts are left"));
        let mut conclusion = found.decide(Intent::AutoRestart, action);
        conclusion.decision.cooldown_until = Some(self.now.plus(self.measure.cooldown_after(used)));
        conclusion.call_again = self.measure.again(self.now);
        conclusion
    }

    /// Rule 3 for what went with the tmux server: at once, and nothing is counted. A second time only when the cooldown
    /// is over: where it is the agent that takes the server down, it is not to go round in a circle.
    fn restart_for_free(&self, agent: &Agent, action: Action) -> Conclusion {
        let mut found = self.unhealthy(agent, format!("{} {}: restart, not counted", agent.key.name, describe(agent)));
        let free =
            agent.restarts.free_until.map(|until| self.measure.attainable(until, self.measure.cooldown, self.now));
        if let Some(due) = free.filter(|due| self.now < *due) {
            found.considered.push(why_not(Intent::AutoRestart, "the cooldown is not over"));
            return found.not_before(Intent::AutoRestart, due);
        }
        found.considered.push(why_not(Intent::EscalateBlocked, "the tmux server's end is no fault of the agent"));
        let mut conclusion = found.decide(Intent::AutoRestart, action);
        conclusion.decision.cooldown_until = Some(self.now.plus(self.measure.cooldown));
        conclusion.call_again = self.measure.again(self.now);
        conclusion
    }

    /// Rule 4.
    fn blocked(&self, agent: &Agent, why: &str, confirmed: Moment) -> Option<Conclusion> {
        self.measure.action(Intent::EscalateBlocked)?;
        let mut found = self.unhealthy(agent, format!("{} {}: {why}", agent.key.name, describe(agent)));
        found.considered.push(why_not(Intent::AutoRestart, why));
        if self.now < confirmed {
            found.considered.push(why_not(Intent::EscalateBlocked, "it is not confirmed yet"));
            return Some(found.not_before(Intent::EscalateBlocked, confirmed));
        }
        found.call(Intent::EscalateBlocked, Kind::Blocked, self.measure, self.now)
    }

    /// Long unbroken health gives an agent its restarts back.
    fn well(&self, agent: &Agent) -> Option<Conclusion> {
        let since = agent.well_since.filter(|_| agent.restarts.used > 0)?;
        if self.measure.healthy_reset.is_zero() || self.now.since(since) < self.measure.healthy_reset {
            return None;
        }
        let found = Found {
            about: about_agent(agent),
            target: agent_target(&agent.key),
            cause: format!("well since {since}"),
            reason: format!("{} has been well for {}", agent.key.name, age(self.now.since(since))),
            evidence: json!({ "well_since": since, "used": agent.restarts.used }),
            considered: Vec::new(),
        };
        Some(found.decide(Intent::ResetRestarts, Action::Act))
    }

    /// A step that failed for good beside agents that live on (spec 2.2).
    fn step(&self, step: &Step) -> Option<Conclusion> {
        let run = self.sight.run;
        let alive = self.sight.agents.iter().any(|agent| agent.status.alive());
        if !alive || !step.given_up(run.spec.step_retries) {
            return None;
        }
        let error = step.error.as_deref().unwrap_or("no reason given");
        let found = Found {
            about: Subject {
                run_id: Some(run.id().to_owned()),
                ticket: Some(step.spec.ticket.clone()),
                workspace: Some(step.spec.workspace.clone()),
                agent_name: step.spec.agent.clone(),
                thread_id: None,
            },
            target: step_target(step.spec.index),
            cause: format!("attempt {} at {}", step.attempts, step.finished_at.unwrap_or_default()),
            reason: format!("step {} failed: {error}", step.spec.name),
            evidence: json!({ "step": step.spec.index, "attempts": step.attempts, "finished_at": step.finished_at }),
            considered: Vec::new(),
        };
        found.call(Intent::EscalateBlocked, Kind::Step, self.measure, self.now)
    }

    /// Rule 5. What was restarted lives, so that it fires only where no restart was taken.
    fn stale(&self) -> Option<Conclusion> {
        let run = self.sight.run;
        if run.status != RunStatus::Running || self.measure.stale_age.is_zero() {
            return None;
        }
        let agents: Vec<&Agent> = self.sight.agents.iter().collect();
        let steps: Vec<&Step> = self.sight.steps.iter().collect();
        let since = lifeless_since(run, &agents, &steps)?;
        // Where the clock was set back since then it is stopped later, and never sooner.
        if self.now.since(since) < self.measure.stale_age {
            return None;
        }
        let found = Found {
            about: about_run(run.id()),
            target: RUN_TARGET.to_owned(),
            cause: format!("lifeless since {since}"),
            reason: format!("no agent has been alive for {}", age(self.now.since(since))),
            evidence: json!({
                "since": since,
                "agents": agents.iter().map(|agent| json!({ "agent": agent.key.name, "status": agent.status })).collect::<Vec<_>>(),
            }),
            considered: Vec::new(),
        };
        let action = self.measure.action(Intent::AutoStopStale)?;
        let mut conclusion = found.decide(Intent::AutoStopStale, action);
        // A suggestion waits for a human as it is; what was done without one is told.
        conclusion.call = (action == Action::Act).then(|| (Kind::Stale, self.measure.again(self.now)));
        conclusion.call_again = self.measure.again(self.now);
        Some(conclusion)
    }

    /// Rule 7.
    fn failed(&self) -> Option<Conclusion> {
        let run = self.sight.run;
        let agents: Vec<&Agent> = self.sight.agents.iter().collect();
        let steps: Vec<&Step> = self.sight.steps.iter().collect();
        let found = Found {
            about: about_run(run.id()),
            target: RUN_TARGET.to_owned(),
            cause: failure_cause(&agents, &steps),
            reason: format!("run {} failed: {}", run.id(), run.reason),
            evidence: json!({ "status": run.status, "reason": run.reason }),
            considered: Vec::new(),
        };
        found.call(Intent::EscalateFailed, Kind::Failed, self.measure, self.now)
    }
}

fn describe(agent: &Agent) -> String {
    format!("is {} ({})", agent.status, agent.reason)
}

fn about_run(run_id: &str) -> Subject {
    Subject { run_id: Some(run_id.to_owned()), ..Subject::default() }
}

pub(super) fn about_agent(agent: &Agent) -> Subject {
    Subject {
        run_id: Some(agent.key.run_id.clone()),
        ticket: Some(agent.spec.ticket.clone()),
        workspace: Some(agent.key.workspace.clone()),
        agent_name: Some(agent.key.name.clone()),
        thread_id: None,
    }
}

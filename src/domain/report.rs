//! What happened while nobody looked: a fold of the journal since a moment (spec 3 `report`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::actor::ActorType;
use super::adviser::{Advised, Outcome};
use super::agent::AgentStatus;
use super::escalation::{Kind, SuggestionState};
use super::event::{Event, Fact, Subject};
use super::operator::Intent;
use super::run::RunStatus;
use super::time::Moment;

/// What a line of the report is about, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Line {
    /// In one word: `completed`, `done`, `blocked`, …
    pub what: String,
    /// The run.
    pub run_id: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    /// The escalation or suggestion.
    pub id: Option<String>,
    /// When it happened, or since when it is so.
    pub at: Moment,
    /// Why.
    pub reason: String,
}

impl Line {
    /// A line about a subject.
    pub fn about(subject: &Subject, what: &str, at: Moment, reason: &str) -> Self {
        Self {
            what: what.to_owned(),
            run_id: subject.run_id.clone(),
            ticket: subject.ticket.clone(),
            workspace: subject.workspace.clone(),
            agent: subject.agent_name.clone(),
            thread_id: subject.thread_id.clone(),
            id: None,
            at,
            reason: reason.to_owned(),
        }
    }
}

/// An agent that was started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Restarted {
    /// The run.
    pub run_id: String,
    /// The workspace.
    pub workspace: String,
    /// The agent.
    pub agent: String,
    /// By rule, at the cost of its budget.
    pub by_rule: u32,
    /// By rule, because it went with the tmux server: that costs nothing.
    pub free: u32,
    /// By a human.
    pub by_human: u32,
    /// By a human who accepted a suggestion, at the cost of its budget.
    pub accepted: u32,
    /// With feedback on what it had done.
    pub anew: u32,
    /// The last time.
    pub last_at: Moment,
    /// Why, the last time.
    pub reason: String,
}

/// What became of what was suggested, by intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Offers {
    /// How many were made.
    pub made: u32,
    /// Done, because a human said so.
    pub accepted: u32,
    /// Not wanted.
    pub dismissed: u32,
    /// Their cause went.
    pub withdrawn: u32,
}

/// What the operator did, or would have done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Deeds {
    /// Decisions that were news.
    pub decided: u32,
    /// What was done, by intent; what a human accepted is among it.
    pub acted: BTreeMap<Intent, u32>,
    /// What was offered instead, by intent.
    pub suggested: BTreeMap<Intent, Offers>,
    /// Escalations that were opened.
    pub called: u32,
    /// How often one of them called again.
    pub called_again: u32,
    /// Escalations that ended because their cause went.
    pub eased: u32,
    /// Escalations that a human settled.
    pub settled: u32,
    /// What was asked of the adviser, and what came of it.
    pub adviser: Advices,
}

/// What was asked of the adviser, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Advices {
    /// Questions that were put.
    pub asked: u32,
    /// Answers that said what the rules say.
    pub agreed: u32,
    /// Answers by which a human was called.
    pub called: u32,
    /// Answers of which nothing came, failures among them.
    pub rejected: u32,
    /// Milliseconds that the program ran.
    pub duration_ms: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Runs and agents that came to their end, in order.
    pub finished: Vec<Line>,
    /// Who was started again, in order of their names.
    pub restarted: Vec<Restarted>,
    /// What the operator did.
    pub operator: Deeds,
    /// What each suggestion wanted.
    offered: BTreeMap<String, Intent>,
    /// The command by which a suggestion was accepted last: what it did was suggested.
    accepted: String,
}

impl Report {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event) {
        match &event.fact {
            Fact::RunTransitioned {
                to: to @ (RunStatus::Completed | RunStatus::Closed | RunStatus::Stopped),
                reason,
                ..
            } => {
                self.finish(event, to.word(), reason);
            }
            // What ended and goes on is not finished.
            Fact::RunTransitioned { .. } => self.goes_on(&event.subject),
            Fact::AgentTransitioned { to: to @ AgentStatus::Done, reason, .. } => self.finish(event, to.word(), reason),
            Fact::AgentRestarted { free, server_lost, anew, reason, .. } => {
                let by_rule = event.actor.kind == ActorType::Operator;
                let accepted = event.correlation_id == self.accepted;
                let Some(one) = self.restart(event, reason) else { return };
                let times = match (by_rule, accepted) {
                    _ if *anew => &mut one.anew,
                    _ if *server_lost || (by_rule && *free) => &mut one.free,
                    (true, _) => &mut one.by_rule,
                    (false, true) => &mut one.accepted,
                    (false, false) => &mut one.by_human,
                };
                *times += 1;
            }
            Fact::OperatorDecided(_) => self.operator.decided += 1,
            Fact::OperatorActed { intent, .. } => *self.operator.acted.entry(*intent).or_default() += 1,
            Fact::OperatorSuggested { suggestion_id, intent, .. } => {
                self.offered.insert(suggestion_id.clone(), *intent);
                self.operator.suggested.entry(*intent).or_default().made += 1;
            }
            Fact::SuggestionSettled { suggestion_id, to, .. } => {
                if *to == SuggestionState::Accepted {
                    event.correlation_id.clone_into(&mut self.accepted);
                }
                self.settle(suggestion_id, *to);
            }
            Fact::OperatorAsked(_) => self.operator.adviser.asked += 1,
            Fact::OperatorAdvised(advised) => self.advise(advised),
            Fact::EscalationOpened { update: false, .. } => self.operator.called += 1,
            Fact::EscalationOpened { kind: Kind::Sla, .. } => self.operator.called_again += 1,
            Fact::EscalationNotified { .. } => self.operator.called_again += 1,
            Fact::EscalationResolved { .. } if event.actor.kind == ActorType::System => self.operator.eased += 1,
            Fact::EscalationResolved { .. } => self.operator.settled += 1,
            _ => {}
        }
    }

    fn goes_on(&mut self, subject: &Subject) {
        let whose = (&subject.run_id, &subject.workspace, &subject.agent_name);
        self.finished.retain(|one| (&one.run_id, &one.workspace, &one.agent) != whose);
    }

    fn advise(&mut self, advised: &Advised) {
        let told = &mut self.operator.adviser;
        let count = match advised.outcome {
            Outcome::Agrees => &mut told.agreed,
            Outcome::Escalated => &mut told.called,
            Outcome::Rejected => &mut told.rejected,
        };
        *count += 1;
        told.duration_ms = told.duration_ms.saturating_add(advised.duration_ms);
    }

    fn finish(&mut self, event: &Event, what: &str, reason: &str) {
        self.goes_on(&event.subject);
        self.finished.push(Line::about(&event.subject, what, event.occurred_at, reason));
    }

    /// The agent that was started again, with the reason; how is still to be counted.
    fn restart(&mut self, event: &Event, reason: &str) -> Option<&mut Restarted> {
        let subject = &event.subject;
        let (run_id, workspace, agent) =
            (subject.run_id.as_ref()?, subject.workspace.as_ref()?, subject.agent_name.as_ref()?);
        self.goes_on(subject);
        let key = |one: &Restarted| (one.run_id.clone(), one.workspace.clone(), one.agent.clone());
        let wanted = (run_id.clone(), workspace.clone(), agent.clone());
        let at = match self.restarted.binary_search_by_key(&wanted, key) {
            Ok(at) => at,
            Err(at) => {
                let (run_id, workspace, agent) = wanted;
                self.restarted.insert(at, Restarted { run_id, workspace, agent, ..Restarted::default() });
                at
            }
        };
        let one = &mut self.restarted[at];
        one.last_at = event.occurred_at;
        reason.clone_into(&mut one.reason);
        Some(one)
    }

    fn settle(&mut self, suggestion_id: &str, to: SuggestionState) {
        // One that was made before the report begins is none of it.
        let Some(offers) = self.offered.get(suggestion_id).and_then(|intent| self.operator.suggested.get_mut(intent))
        else {
            return;
        };
        match to {
            SuggestionState::Accepted => offers.accepted += 1,
            SuggestionState::Dismissed => offers.dismissed += 1,
            SuggestionState::Withdrawn => offers.withdrawn += 1,
            SuggestionState::Open => {}
        }
    }
}

//! The fold's part for decisions, suggestions, escalations, and letters of the outbox.

use super::{LastDecision, Scene};
use crate::domain::actor::ActorType;
use crate::domain::adviser::{Adviser, PROGRAM};
use crate::domain::escalation::{Escalation, EscalationState, Suggestion, SuggestionState};
use crate::domain::event::{Event, Fact};
use crate::domain::outbox::LetterStatus;

impl Scene {
    pub(super) fn apply_operator(&mut self, event: &Event) {
        match &event.fact {
            Fact::OperatorDecided(decision) => {
                let run_id = event.subject.run_id.clone().unwrap_or_default();
                let last =
                    LastDecision { about: event.subject.clone(), at: event.occurred_at, decision: decision.clone() };
                self.decisions.put((run_id, decision.target.clone()), last);
            }
            Fact::OperatorAsked(asked) => self.advise(event, |kept| kept.note_asked(asked, event.occurred_at)),
            Fact::OperatorAdvised(advised) => self.advise(event, |kept| kept.note_advised(advised, event.occurred_at)),
            Fact::OperatorSuggested { suggestion_id, .. } => self.suggest(event, suggestion_id),
            Fact::SuggestionSettled { suggestion_id, to, .. } => {
                if let Some(suggestion) = self.suggestions.touch(suggestion_id) {
                    suggestion.state = *to;
                    suggestion.settled_by = Some(event.actor.to_string());
                }
            }
            Fact::EscalationOpened { escalation_id, .. } => self.escalate(event, escalation_id),
            Fact::EscalationNotified { escalation_id, times, due_at, .. } => {
                if let Some(escalation) = self.escalations.touch(escalation_id) {
                    // Who knew of it wanted to be told again now.
                    escalation.state = EscalationState::Open;
                    escalation.due_at = *due_at;
                    escalation.notified = *times;
                    escalation.notified_at = Some(event.occurred_at);
                }
            }
            Fact::EscalationAcknowledged { escalation_id, due_at, note } => {
                if let Some(escalation) = self.escalations.touch(escalation_id) {
                    escalation.state = EscalationState::Acknowledged;
                    escalation.acknowledged_by = Some(event.actor.to_string());
                    escalation.due_at = *due_at;
                    if note.is_some() {
                        escalation.note.clone_from(note);
                    }
                }
            }
            Fact::EscalationResolved { escalation_id, note } => {
                if let Some(escalation) = self.escalations.touch(escalation_id) {
                    escalation.state = EscalationState::Resolved;
                    escalation.resolved_by = Some(event.actor.to_string());
                    escalation.resolved_at = Some(event.occurred_at);
                    escalation.by_human = event.actor.kind != ActorType::System;
                    if note.is_some() {
                        escalation.note.clone_from(note);
                    }
                }
            }
            Fact::OutboxDead { id, error, .. } => {
                if let Some(letter) = self.letters.touch(id) {
                    letter.status = LetterStatus::Dead;
                    letter.last_error = Some(error.clone());
                }
            }
            Fact::OutboxRetried { id, .. } => {
                if let Some(letter) = self.letters.touch(id) {
                    letter.status = LetterStatus::Pending;
                    letter.attempts = 0;
                    letter.due_at = event.occurred_at;
                }
            }
            Fact::OutboxDropped { id, .. } => {
                if let Some(letter) = self.letters.touch(id) {
                    letter.status = LetterStatus::Dropped;
                }
            }
            // Runs, agents and threads are folded elsewhere.
            _ => {}
        }
    }

    /// What concerns a question is kept of its run and of the program.
    fn advise(&mut self, event: &Event, note: impl Fn(&mut Adviser)) {
        for name in [event.subject.run_id.as_deref().unwrap_or_default(), PROGRAM] {
            if let Some(kept) = self.advisers.touch(name) {
                note(kept);
            } else {
                let mut kept = Adviser::default();
                note(&mut kept);
                self.advisers.put(name.to_owned(), kept);
            }
        }
    }

    fn suggest(&mut self, event: &Event, suggestion_id: &str) {
        let Fact::OperatorSuggested { intent, target, cause, reason, evidence, .. } = &event.fact else { return };
        let about = event.subject.clone();
        let suggestion = Suggestion {
            suggestion_id: suggestion_id.to_owned(),
            intent: *intent,
            run_id: about.run_id,
            ticket: about.ticket,
            workspace: about.workspace,
            agent: about.agent_name,
            thread_id: about.thread_id,
            reason: reason.clone(),
            evidence: evidence.clone(),
            state: SuggestionState::Open,
            created_at: event.occurred_at,
            settled_by: None,
            target: target.clone(),
            cause: cause.clone(),
        };
        self.suggestions.put(suggestion_id.to_owned(), suggestion);
    }

    /// A repeat tells the one that stands what is new, and leaves who knows of it and when it is due.
    fn escalate(&mut self, event: &Event, escalation_id: &str) {
        let Fact::EscalationOpened { kind, severity, target, cause, reason, evidence, due_at, .. } = &event.fact else {
            return;
        };
        if let Some(escalation) = self.escalations.touch(escalation_id) {
            escalation.cause.clone_from(cause);
            escalation.reason.clone_from(reason);
            escalation.evidence = evidence.clone();
            return;
        }
        let about = event.subject.clone();
        let escalation = Escalation {
            escalation_id: escalation_id.to_owned(),
            kind: *kind,
            severity: *severity,
            state: EscalationState::Open,
            reason: reason.clone(),
            run_id: about.run_id,
            ticket: about.ticket,
            workspace: about.workspace,
            agent: about.agent_name,
            thread_id: about.thread_id,
            evidence: evidence.clone(),
            opened_at: event.occurred_at,
            due_at: *due_at,
            notified: 0,
            notified_at: None,
            acknowledged_by: None,
            resolved_by: None,
            resolved_at: None,
            note: None,
            target: target.clone(),
            cause: cause.clone(),
            by_human: false,
        };
        self.escalations.put(escalation_id.to_owned(), escalation);
    }
}

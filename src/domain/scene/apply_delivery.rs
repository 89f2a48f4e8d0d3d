//! The fold's part for texts on their way into sessions.

use serde_json::Value;

use super::Scene;
use crate::domain::agent::AgentKey;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::{Event, Fact};

impl Scene {
    pub(super) fn apply_delivery(&mut self, event: &Event) {
        match &event.fact {
            Fact::DeliveryQueued { .. } => self.queued(event),
            Fact::DeliveryTyped { delivery_id, launch, evidence } => {
                self.delivered(event, delivery_id, DeliveryState::Typed, |delivery| {
                    delivery.typed_at = Some(event.occurred_at);
                    delivery.launch = Some(*launch);
                    delivery.evidence = evidence.clone();
                });
            }
            Fact::DeliverySubmitted { delivery_id, evidence } => {
                self.delivered(event, delivery_id, DeliveryState::Submitted, |delivery| {
                    delivery.settled_at = Some(event.occurred_at);
                    delivery.evidence = evidence.clone();
                });
            }
            Fact::DeliveryFailed { delivery_id, reason } => {
                self.delivered(event, delivery_id, DeliveryState::Failed, |delivery| {
                    delivery.settled_at = Some(event.occurred_at);
                    delivery.reason = Some(reason.clone());
                });
            }
            _ => {}
        }
    }

    fn queued(&mut self, event: &Event) {
        let Fact::DeliveryQueued { delivery_id, from, text, post_id, urgent } = &event.fact else { return };
        let subject = &event.subject;
        let part = |field: &Option<String>| field.clone().unwrap_or_default();
        let delivery = Delivery {
            delivery_id: delivery_id.clone(),
            key: AgentKey::new(part(&subject.run_id), part(&subject.workspace), part(&subject.agent_name)),
            ticket: part(&subject.ticket),
            state: DeliveryState::Queued,
            from: from.clone(),
            urgent: *urgent,
            text: text.clone(),
            post_id: post_id.clone(),
            thread_id: subject.thread_id.clone(),
            queued_at: event.occurred_at,
            queued_seq: event.seq,
            typed_at: None,
            launch: None,
            settled_at: None,
            reason: None,
            evidence: Value::Null,
            last_seq: event.seq,
        };
        self.deliveries.put(delivery_id.clone(), delivery);
    }

    fn delivered(&mut self, event: &Event, id: &str, to: DeliveryState, change: impl FnOnce(&mut Delivery)) {
        if let Some(delivery) = self.deliveries.touch(id) {
            delivery.state = to;
            delivery.last_seq = event.seq;
            change(delivery);
        }
    }
}

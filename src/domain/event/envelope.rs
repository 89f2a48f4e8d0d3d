//! The one JSON shape of an event, everywhere.

use serde_json::{Map, Value};

use super::Event;

impl Event {
    /// The envelope as JSON: empty fields are absent.
    pub fn to_json(&self) -> Value {
        let (event_type, payload) = self.fact.split();
        envelope(self, &event_type, payload)
    }
}

fn envelope(event: &Event, event_type: &str, payload: Value) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        let empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
        if !empty {
            out.insert(key.to_owned(), value);
        }
    };
    put("seq", event.seq.into());
    put("event_id", event.event_id.as_str().into());
    put("event_type", event_type.into());
    put("event_version", 1.into());
    put("occurred_at", event.occurred_at.to_string().into());
    put("run_id", event.subject.run_id.as_deref().into());
    put("ticket", event.subject.ticket.as_deref().into());
    put("workspace", event.subject.workspace.as_deref().into());
    put("agent_name", event.subject.agent_name.as_deref().into());
    put("thread_id", event.subject.thread_id.as_deref().into());
    put("actor_type", event.actor.kind.word().into());
    put("actor_name", event.actor.name.as_str().into());
    put("correlation_id", event.correlation_id.as_str().into());
    put("causation_id", event.causation_id.as_deref().into());
    put("payload", payload);
    Value::Object(out)
}

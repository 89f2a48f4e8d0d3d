//! What the rules go by is written down when it changes: else nobody could say later why one thing was done and another
//! only suggested.

use serde_json::Value;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use crate::domain::command::Command;
use crate::domain::event::Fact;
use crate::domain::policy::Policy;

/// Under this word it is kept which event told of the policy last.
const TOLD: &str = "policy:told";

/// Looks at the policy file for the journal.
#[derive(Debug, Default)]
pub struct PolicyWatch {
    last: Option<Policy>,
}

impl PolicyWatch {
    /// Writes down what has changed since the journal was told; what is wrong with the file is returned.
    ///
    /// # Errors
    /// What the store says.
    pub fn look(&mut self, engine: &Engine, caller: &Caller) -> Result<Option<String>, EngineError> {
        let live = match engine.home.load_policy(&[]) {
            Ok(live) => live.policy,
            Err(error) => return Ok(Some(format!("the last good policy is in force: {error}"))),
        };
        if self.last.as_ref() == Some(&live) {
            return Ok(None);
        }
        let (followed, before) = (live.followed(), told(engine)?);
        if before.as_ref() != Some(&followed) {
            let mut changed = Vec::new();
            if let Some(before) = &before {
                differences("", before, &followed, &mut changed);
            }
            let command = Command::PolicyChanged { mode: live.operator.llm.mode, changed, followed };
            let receipt = engine.order(caller, &command)?;
            engine.ledger.set_meta(TOLD, &receipt.seq.to_string())?;
        }
        self.last = Some(live);
        Ok(None)
    }
}

fn told(engine: &Engine) -> Result<Option<Value>, EngineError> {
    let reader = engine.reader()?;
    let Some(seq) = reader.meta(TOLD)? else { return Ok(None) };
    Ok(reader.event(&seq)?.and_then(|event| match event.fact {
        Fact::PolicyChanged { followed, .. } => Some(followed),
        _ => None,
    }))
}

/// The paths at which two documents differ.
fn differences(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            found.push(at.to_owned());
        }
        return;
    };
    let path = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    for (key, value) in new {
        differences(&path(key), old.get(key).unwrap_or(&Value::Null), value, found);
    }
    found.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| path(key)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_by_their_path() {
        let mut found = Vec::new();
        let before = json!({ "a": { "b": 1, "c": [1], "gone": 0 }, "same": true });
        differences("", &before, &json!({ "a": { "b": 2, "c": [1, 2], "new": 1 }, "same": true }), &mut found);
        assert_eq!(found, ["a.b", "a.c", "a.new", "a.gone"]);
    }
}

//! Changes one key of the policy file and leaves every other byte as it is.

use serde_json::json;

use super::error::EngineError;
use super::home::{Home, write_private};
use crate::domain::policy::span::{Place, Spans, scan};
use crate::domain::policy::{self, OperatorMode};

/// Writes `operator.llm.mode` into the policy file, whole or not at all. A home without one gets one.
///
/// # Errors
/// The faults of the file, which then stays as it is; or what kept it from being written.
pub fn set_mode(home: &Home, mode: OperatorMode) -> Result<(), EngineError> {
    let read = match std::fs::read_to_string(&home.policy) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(EngineError::Io { what: format!("read {}", home.policy.display()), source }),
    };
    let faulty = |faults| EngineError::Policy { path: home.policy.display().to_string(), faults };
    // What does not hold as it stands is not touched.
    policy::load(read.as_deref(), &[]).map_err(faulty)?;
    let text = match &read {
        Some(text) => with_mode(text, word(mode)),
        None => format!("{:#}\n", json!({ "version": 3, "operator": { "llm": { "mode": mode } } })),
    };
    let written = policy::load(Some(&text), &[]).map_err(faulty)?;
    if written.policy.operator.llm.mode != mode {
        return Err(EngineError::refused(
            format!("the mode could not be placed in {}", home.policy.display()),
            format!("write it there yourself: \"operator\": {{\"llm\": {{\"mode\": \"{}\"}}}}", word(mode)),
        ));
    }
    if read.as_ref() == Some(&text) {
        return Ok(());
    }
    write_private(&home.policy, text.as_bytes())
}

/// The word of a mode in the policy.
pub const fn word(mode: OperatorMode) -> &'static str {
    match mode {
        OperatorMode::Off => "off",
        OperatorMode::Assist => "assist",
        OperatorMode::Auto => "auto",
    }
}

/// A policy's text with this mode: its value replaced, or the key added to the innermost object that is there.
fn with_mode(text: &str, mode: &str) -> String {
    let spans = scan(text);
    if let Some(at) = offset(text, spans.value("operator.llm.mode")) {
        // The value holds: it is a word in quotes.
        let end = text[at + 1..].find('"').map_or(text.len(), |length| at + 1 + length + 1);
        return format!("{}\"{mode}\"{}", &text[..at], &text[end..]);
    }
    let places = [
        ("operator.llm", format!("\"mode\": \"{mode}\"")),
        ("operator", format!("\"llm\": {{ \"mode\": \"{mode}\" }}")),
        ("", format!("\"operator\": {{ \"llm\": {{ \"mode\": \"{mode}\" }} }}")),
    ];
    for (path, entry) in places {
        if let Some(added) = add(text, &spans, path, &entry) {
            return added;
        }
    }
    text.to_owned()
}

/// The text with an entry at the beginning of the object at `path`.
fn add(text: &str, spans: &Spans, path: &str, entry: &str) -> Option<String> {
    let at = offset(text, spans.value(path))?;
    let inside = text[at..].strip_prefix('{')?;
    let blank = &inside[..inside.len() - inside.trim_start().len()];
    let comma = if inside.trim_start().starts_with('}') { "" } else { "," };
    Some(format!("{}{{{blank}{entry}{comma}{inside}", &text[..at]))
}

/// The byte at a place counted in lines and characters.
fn offset(text: &str, place: Option<Place>) -> Option<usize> {
    let place = place?;
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within = text.get(start..)?.char_indices().nth(column).map(|(at, _)| at)?;
    Some(start + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mode_changes() {
        for (before, after) in [
            (
                "{\n  \"version\": 3,\n\t\"operator\": {\"llm\":  { \"mode\" : \"off\", \"model\": \"ä\" } }\n}\n",
                "{\n  \"version\": 3,\n\t\"operator\": {\"llm\":  { \"mode\" : \"auto\", \"model\": \"ä\" } }\n}\n",
            ),
            (
                "{\n  \"operator\": {\n    \"llm\": {\n      \"model\": \"x\"\n    }\n  }\n}",
                "{\n  \"operator\": {\n    \"llm\": {\n      \"mode\": \"auto\",\n      \"model\": \"x\"\n    }\n  }\n}",
            ),
            (
                "{\"repos\": {\"ä\": \"p\"}, \"operator\": {}}",
                "{\"repos\": {\"ä\": \"p\"}, \"operator\": {\"llm\": { \"mode\": \"auto\" }}}",
            ),
            (
                "{\n  \"version\": 3\n}\n",
                "{\n  \"operator\": { \"llm\": { \"mode\": \"auto\" } },\n  \"version\": 3\n}\n",
            ),
            ("{}", "{\"operator\": { \"llm\": { \"mode\": \"auto\" } }}"),
        ] {
            assert_eq!(with_mode(before, "auto"), after);
        }
    }
}

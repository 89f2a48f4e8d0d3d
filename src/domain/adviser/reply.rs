//! Finds the answer in whatever a program wrote, and reads it strictly. What is not certain is rejected.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Advice, Aim, NOOP, Rejection, Why};
use crate::domain::operator::RUN_TARGET;

/// So much of the end of what was written is looked at, in bytes.
pub const TAIL: usize = 128 * 1024;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 1_000;

/// The longest answer that is kept as it is, in bytes.
const LARGEST_REPLY: usize = 4 * 1024;

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The run it was asked about.
    pub run_id: &'a str,
    /// What it may be about.
    pub targets: &'a [String],
    /// How sure it has to be.
    pub min_confidence: f64,
    /// What was asked: a program may repeat it.
    pub prompt: &'a str,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The object that was taken for the answer, where it is not large.
    pub reply: Option<Value>,
    /// The answer, or why it is none.
    pub advice: Result<Advice, Rejection>,
}

/// Reads the answer in what a program wrote to its output; only the last [`TAIL`] bytes of it are looked at.
///
/// The answer is the last object that has an `intent`. One with fields that an answer does not have, or with one of them
/// twice, is none.
pub fn read_reply(output: &[u8], expected: &Expected<'_>) -> Reading {
    let tail = &output[output.len().saturating_sub(TAIL)..];
    let text = plain(&String::from_utf8_lossy(tail));
    // The prompt holds no object with an intent; that it is taken out is for what agents said in it.
    let text = if expected.prompt.is_empty() { text } else { text.replace(expected.prompt.trim(), "\n") };
    let Some(Object { fields: reply, twice }) = last_reply(&text) else {
        let detail = match (text.trim().is_empty(), tail.len() < output.len()) {
            (true, false) => "it wrote nothing".to_owned(),
            (_, false) => "there is no JSON object with an intent in what it wrote".to_owned(),
            (_, true) => format!("there is no JSON object with an intent in the last {TAIL} bytes it wrote"),
        };
        return Reading { reply: None, advice: Err(Rejection::new(Why::Malformed, detail)) };
    };
    let odd = twice.map(|key| format!("it has {} twice", clip(&key)));
    let odd = odd.or_else(|| {
        let unknown = reply.keys().find(|key| !FIELDS.contains(&key.as_str()))?;
        Some(format!("it has {}, which no answer has", clip(unknown)))
    });
    let advice = match odd {
        Some(detail) => Err(Rejection::new(Why::Malformed, detail)),
        None => understood(&reply, expected),
    };
    let reply = Value::Object(reply);
    Reading { reply: Some(reply).filter(|reply| reply.to_string().len() <= LARGEST_REPLY), advice }
}

/// The text without what only acts on a terminal: sequences that begin with ESC, and control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// What follows an ESC, up to the end of its sequence. One that has no end goes no further than its line.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    let ahead = rest.clone();
    match rest.next() {
        Some('[') => {
            while let Some(c) = rest.clone().next() {
                let within = ('\u{20}'..='\u{3f}').contains(&c);
                if !within && !('\u{40}'..='\u{7e}').contains(&c) {
                    return;
                }
                rest.next();
                if !within {
                    return;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.clone().next() {
                match c {
                    '\n' => return,
                    '\u{7}' => {
                        rest.next();
                        return;
                    }
                    '\u{1b}' => {
                        rest.next();
                        if rest.clone().next() == Some('\\') {
                            rest.next();
                        }
                        return;
                    }
                    _ => {
                        rest.next();
                    }
                }
            }
        }
        Some('(' | ')' | '#' | ' ') => {
            rest.next();
        }
        Some('\n') => *rest = ahead,
        Some(_) | None => {}
    }
}

/// What an answer may have; where it has more, nobody knows what was meant by it.
const FIELDS: [&str; 7] = ["intent", "target", "confidence", "reason", "run_id", "target_run", "needs_human"];

/// An object, and a key that it has twice.
struct Object {
    fields: Map<String, Value>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let (mut fields, mut twice) = (Map::new(), None);
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(key.clone(), value).is_some() {
                        twice.get_or_insert(key);
                    }
                }
                Ok(Object { fields, twice })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The last object in the text that has an intent.
fn last_reply(text: &str) -> Option<Object> {
    let mut found = None;
    let mut at = 0;
    while let Some(open) = text[at..].find('{') {
        let start = at + open;
        let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Object>();
        match stream.next() {
            Some(Ok(object)) if object.fields.contains_key("intent") => {
                at = start + stream.byte_offset();
                found = Some(object);
            }
            // The answer may be wrapped in another object; half an object is none.
            Some(_) | None => at = start + 1,
        }
    }
    found
}

fn understood(reply: &Map<String, Value>, expected: &Expected<'_>) -> Result<Advice, Rejection> {
    let malformed = |detail: String| Rejection::new(Why::Malformed, detail);
    let text = |key: &str| match reply.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim())),
        Some(other) => Err(malformed(format!("its {key} is {}, not a text", kind(other)))),
    };
    let needed =
        |key: &str| text(key)?.filter(|text| !text.is_empty()).ok_or_else(|| malformed(format!("it has no {key}")));
    let word = needed("intent")?;
    for key in ["run_id", "target_run"] {
        if let Some(other) = text(key)?.filter(|run| !run.is_empty() && *run != expected.run_id) {
            return Err(Rejection::new(Why::OtherRun, format!("it is about run {}", clip(other))));
        }
    }
    let confidence = match reply.get("confidence") {
        None | Some(Value::Null) => return Err(malformed("it has no confidence".to_owned())),
        Some(Value::Number(number)) => number.as_f64().filter(|number| (0.0..=1.0).contains(number)),
        Some(other) => return Err(malformed(format!("its confidence is {}, not a number", kind(other)))),
    };
    let confidence = confidence.ok_or_else(|| malformed("its confidence is not from 0 to 1".to_owned()))?;
    let idle = word == NOOP;
    let target = match text("target")? {
        None | Some("") if idle => RUN_TARGET,
        _ => needed("target")?,
    };
    let reason = if idle { text("reason")?.unwrap_or_default() } else { needed("reason")? };
    if reason.chars().count() > LONGEST_REASON {
        return Err(malformed(format!("its reason is longer than {LONGEST_REASON} characters")));
    }
    let intent = Aim::parse(word)
        .ok_or_else(|| Rejection::new(Why::UnknownIntent, format!("{} is no intent it may have", clip(word))))?;
    if !expected.targets.iter().any(|known| known == target) {
        return Err(Rejection::new(Why::OtherTarget, format!("{} was not asked about", clip(target))));
    }
    if confidence < expected.min_confidence {
        let detail = format!("it is {confidence} sure, and {} is needed", expected.min_confidence);
        return Err(Rejection::new(Why::LowConfidence, detail));
    }
    Ok(Advice { intent, target: target.to_owned(), confidence, reason: reason.to_owned() })
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A word from outside, short enough to be told.
fn clip(word: &str) -> String {
    word.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str =
        r#"{"intent":"escalate_blocked","target":"agent:ws/a","confidence":0.9,"reason":"it goes round"}"#;

    fn read_after(prompt: &str, output: &[u8]) -> Reading {
        let targets = ["run".to_owned(), "agent:ws/a".to_owned()];
        read_reply(output, &Expected { run_id: "run-1", targets: &targets, min_confidence: 0.5, prompt })
    }

    fn read(output: &str) -> String {
        match read_after("", output.as_bytes()).advice {
            Ok(advice) => format!("{} {} {}", advice.intent.word(), advice.target, advice.confidence),
            Err(rejection) => rejection.why.word().to_owned(),
        }
    }

    #[test]
    fn the_answer_is_found_in_noise() {
        let good = "escalate_blocked agent:ws/a 0.9";
        for output in [
            GOOD.to_owned(),
            format!("thinking…\n```json\n{GOOD}\n```\nDone. {{\"tokens\": 12}}\n"),
            format!("{{\"intent\":\"noop\",\"confidence\":1}}\nno, rather:\n{GOOD}"),
            format!("\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[32m{}\u{1b}[0m\r\n", GOOD.replace(':', "\u{1b}[1m:\u{1b}[0m")),
            format!("{{ half {{\"intent\": \"noop\", \"confi\n{GOOD} {{\"intent\": \"noop\", "),
            format!("{{\"type\":\"result\",\"answer\":{GOOD},\"cost\":1}}"),
            format!("{{\"a\": NaN, {GOOD}"),
            GOOD.replace("\"confidence\"", "\"needs_human\":true,\"run_id\":\"run-1\",\"confidence\""),
            format!("{}\n{GOOD}", "x{".repeat(TAIL)),
        ] {
            let shown: String = output.chars().take(300).collect();
            assert_eq!(read(&output), good, "{shown}");
        }
        assert_eq!(read(r#"{"intent":"noop","confidence":1}"#), "noop run 1", "nothing needs no target and no reason");
    }

    #[test]
    fn what_is_not_certain_is_rejected() {
        let with = |key: &str, value: &str| {
            let mut reply: Map<String, Value> = serde_json::from_str(GOOD).unwrap();
            reply.insert(key.to_owned(), serde_json::from_str(value).unwrap());
            Value::Object(reply).to_string()
        };
        for (output, why) in [
            (String::new(), "malformed"),
            ("I would escalate.".to_owned(), "malformed"),
            ("{}".to_owned(), "malformed"),
            (GOOD[..GOOD.len() - 1].to_owned(), "malformed"),
            (GOOD.replace("0.9", "NaN"), "malformed"),
            (GOOD.replace("0.9", "1e999"), "malformed"),
            (with("confidence", "\"high\""), "malformed"),
            (with("confidence", "\"0.9\""), "malformed"),
            (with("confidence", "1.5"), "malformed"),
            (with("confidence", "-0.1"), "malformed"),
            (with("confidence", "null"), "malformed"),
            (with("intent", "[\"noop\"]"), "malformed"),
            (with("argv", "[\"rm\"]"), "malformed"),
            (GOOD.replacen('{', "{\"intent\":\"noop\",", 1), "malformed"),
            (GOOD.replacen('{', "{\"confidence\":0.1,", 1), "malformed"),
            (with("target", "7"), "malformed"),
            (with("target", "\"\""), "malformed"),
            (with("reason", "\" \""), "malformed"),
            (with("reason", &format!("\"{}\"", "x".repeat(1_001))), "malformed"),
            (with("run_id", "7"), "malformed"),
            (with("intent", "\"rm -rf /\""), "unknown_intent"),
            (with("intent", "\"reset_restarts\""), "unknown_intent"),
            (with("intent", "\"ESCALATE_BLOCKED\""), "unknown_intent"),
            (with("target", "\"agent:ws/b\""), "other_target"),
            (with("run_id", "\"run-2\""), "other_run"),
            (with("target_run", "\"run-2\""), "other_run"),
            (with("confidence", "0.49"), "low_confidence"),
            (with("confidence", "0.0"), "low_confidence"),
            // What comes last counts, whatever stood before it.
            (format!("{GOOD}\n{}", with("confidence", "\"high\"")), "malformed"),
            // Only the end is looked at.
            (format!("{GOOD}\n{}", "x".repeat(TAIL)), "malformed"),
        ] {
            let shown: String = output.chars().take(300).collect();
            assert_eq!(read(&output), why, "{shown}");
        }
        let reading = read_after("", with("reason", &format!("\"{}\"", "x".repeat(9_000))).as_bytes());
        assert_eq!(reading.reply, None, "what is large is not kept twice");
        let said = read_after("", &[b'x'; TAIL + 1]).advice.unwrap_err().detail;
        assert!(said.contains(&TAIL.to_string()), "{said}");
    }

    #[test]
    fn a_repeated_prompt_is_no_answer() {
        let prompt = format!("say it like this:\n{GOOD}\nwhat now?\n");
        assert_eq!(read_after(&prompt, prompt.as_bytes()).advice.unwrap_err().why, Why::Malformed);
        let both = format!("user\n{prompt}\ncodex\n{}", GOOD.replace("escalate_blocked", "auto_restart"));
        assert_eq!(read_after(&prompt, both.as_bytes()).advice.unwrap().intent.word(), "auto_restart");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_after("x", &bytes);
        }

        #[test]
        fn no_text_of_its_own_parts_does_either(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(GOOD.to_owned()), Just("{".to_owned()), Just("}".to_owned()), Just("\u{1b}[".to_owned()),
                    Just("\u{1b}]".to_owned()), Just("```".to_owned()), Just("\"intent\":".to_owned()),
                    Just("\u{7}".to_owned()), Just("\n".to_owned()), Just("\\".to_owned()), Just("\"".to_owned()),
                    ".{0,6}",
                ],
                0..40,
            )
        ) {
            let text = parts.concat();
            // Whatever comes of it is within what was asked.
            if let Ok(advice) = read_after("say it", text.as_bytes()).advice {
                prop_assert!(["run", "agent:ws/a"].contains(&advice.target.as_str()));
                prop_assert!((0.5..=1.0).contains(&advice.confidence));
            }
        }

        #[test]
        fn whatever_stands_around_an_answer_without_braces_it_is_found(
            before in "[^{}\u{1b}\u{90}\u{98}\u{9d}-\u{9f}]{0,60}", after in "[^{}]{0,60}"
        ) {
            prop_assert_eq!(read(&format!("{before}{GOOD}{after}")), "escalate_blocked agent:ws/a 0.9");
        }
    }
}

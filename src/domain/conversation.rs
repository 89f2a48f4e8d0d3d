//! Conversations of agent programs: which of those that a program keeps is an agent's own, and what a launch makes of
//! it. "The last one" may be another agent's and is never asked for.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Clocks of file systems and programs are this many milliseconds behind, at most.
const CLOCK_SLACK_MS: i64 = 2000;
/// Objects deeper than this in what a program says of a conversation are not looked at.
const DEEPEST: usize = 4;

/// The conversation of an agent, kept beside the records of its launches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The id by which its program knows it.
    pub id: String,
    /// Whether the program is known to have it: an id may be chosen for a conversation that never begins.
    pub begun: bool,
}

/// A conversation that a program has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
    /// Whether it holds the words by which the agent's prompt is known; `None`: nobody has looked.
    pub ours: Option<bool>,
}

/// What a launch that is not an agent's first makes of the conversation so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// It goes on.
    GoesOn {
        /// Its id.
        id: String,
        /// Whether the program takes a prompt along with it.
        prompted: bool,
    },
    /// A new one is begun.
    Anew {
        /// Why.
        because: String,
    },
}

impl Continuation {
    /// What came of it, as it stands in the reason of the agent's state.
    pub fn in_words(&self) -> String {
        match self {
            Self::GoesOn { id, prompted: true } => format!("its conversation {id} goes on"),
            Self::GoesOn { id, prompted: false } => {
                format!("its conversation {id} goes on; it is told so by a typed line")
            }
            Self::Anew { because } => format!("with a new conversation: {because}"),
        }
    }
}

/// The id that a file's name ends with, before its extension: a UUID.
pub fn id_of_file(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".json"))?;
    let id = stem.get(stem.len().checked_sub(36)?..)?;
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    id.bytes()
        .enumerate()
        .all(|(at, byte)| if dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
        .then_some(id)
}

/// Whether what a program says of a conversation names this working directory.
pub fn names_directory(about: &Value, directory: &Path) -> bool {
    fn search(value: &Value, directory: &Path, depth: usize) -> bool {
        let Value::Object(fields) = value else { return false };
        fields.iter().any(|(name, value)| match value {
            Value::String(text) => matches!(name.as_str(), "cwd" | "directory") && Path::new(text) == directory,
            deeper => depth < DEEPEST && search(deeper, directory, depth + 1),
        })
    }
    search(about, directory, 0)
}

/// The conversations in a listing (a JSON list of objects with `id`, `directory` and `created`) that began in this
/// directory.
pub fn listed(listing: &str, directory: &Path) -> Vec<Candidate> {
    let Ok(Value::Array(rows)) = serde_json::from_str(listing) else { return Vec::new() };
    rows.iter()
        .filter(|row| names_directory(row, directory))
        .filter_map(|row| {
            let created = row.get("created").or_else(|| row.pointer("/time/created"))?;
            Some(Candidate { id: row.get("id")?.as_str()?.to_owned(), created_ms: created.as_i64()?, ours: None })
        })
        .collect()
}

/// Those that may have begun with a launch that took place between these two moments.
pub fn of_launch(mut candidates: Vec<Candidate>, began_ms: i64, ended_ms: Option<i64>) -> Vec<Candidate> {
    let began = began_ms.saturating_sub(CLOCK_SLACK_MS);
    let ended = ended_ms.map_or(i64::MAX, |ms| ms.saturating_add(CLOCK_SLACK_MS));
    candidates.retain(|candidate| (began..=ended).contains(&candidate.created_ms));
    candidates.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
    candidates
}

/// The agent's own among those of its launch: the first that holds its prompt. What it began later, for helpers of its
/// own or by a copy, is not what it was started for.
pub fn own(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().find(|candidate| candidate.ours == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_of_files() {
        let id = "01a1fec1-67db-7201-a9bd-932ea76123a2";
        assert_eq!(id_of_file(&format!("rollout-2026-11-21T15-37-30-{id}.jsonl")), Some(id));
        assert_eq!(id_of_file(&format!("{id}.json")), Some(id));
        for none in
            ["", "x.jsonl", "rollout.jsonl", &format!("{id}.lock"), &format!("{}x.jsonl", &id[1..]), "ééé.jsonl"]
        {
            assert_eq!(id_of_file(none), None, "{none}");
        }
    }

    #[test]
    fn a_directory_is_found_where_programs_write_it_and_nowhere_else() {
        let here = Path::new("/w/shop");
        assert!(names_directory(&json!({ "type": "session_meta", "payload": { "cwd": "/w/shop" } }), here));
        assert!(names_directory(&json!({ "directory": "/w/shop/" }), here));
        for other in [json!({ "cwd": "/w/shop2" }), json!({ "text": "/w/shop" }), json!(["/w/shop"]), json!(null)] {
            assert!(!names_directory(&other, here), "{other}");
        }
    }

    #[test]
    fn only_a_conversation_of_the_launch_with_the_agents_own_prompt_is_its_own() {
        let listing = json!([
            { "id": "later", "directory": "/w", "created": 9_000 },
            { "id": "first", "directory": "/w", "created": 5_000 },
            { "id": "elsewhere", "directory": "/v", "created": 5_000 },
            { "id": "before", "directory": "/w", "created": 1_000 },
            { "id": "no time", "directory": "/w" },
        ]);
        let found = of_launch(listed(&listing.to_string(), Path::new("/w")), 4_000, Some(8_000));
        assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["first", "later"]);
        assert_eq!(own(&found), None, "nobody has looked into them");
        let read = |marks: [bool; 2]| {
            let mut read = found.clone();
            read.iter_mut().zip(marks).for_each(|(one, ours)| one.ours = Some(ours));
            own(&read).map(|one| one.id.clone())
        };
        assert_eq!(read([true, true]).as_deref(), Some("first"));
        assert_eq!(read([false, true]).as_deref(), Some("later"));
        assert_eq!(read([false, false]), None);
        assert_eq!(of_launch(found, 4_000, Some(5_500)).len(), 1);
        assert_eq!(listed("not json", Path::new("/w")), []);
    }

    #[test]
    fn what_becomes_of_it_in_words() {
        let goes_on = |prompted| Continuation::GoesOn { id: "c-1".into(), prompted }.in_words();
        assert_eq!(goes_on(true), "its conversation c-1 goes on");
        assert_eq!(goes_on(false), "its conversation c-1 goes on; it is told so by a typed line");
        let anew = Continuation::Anew { because: "codex had none".into() };
        assert_eq!(anew.in_words(), "with a new conversation: codex had none");
    }
}

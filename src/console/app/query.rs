//! What is typed to find a thread: words to look for, and `name:value` pairs that narrow.

use crate::domain::thread::{Priority, ThreadState};
use crate::services::snapshot::Asked;

/// The names that narrow, as the hint shows them.
pub const NAMES: &str = "state: priority: ticket: run: agent: to:";

/// Reads a line; the second value says what in it is not understood.
pub fn parse(line: &str) -> (Asked, Option<String>) {
    let (mut asked, mut wrong) = (Asked::default(), None);
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let Some((name, value)) = word.split_once(':').filter(|(_, value)| !value.is_empty()) else {
            // A name that has no value yet is about to get one.
            if !word.strip_suffix(':').is_some_and(is_name) {
                words.push(word);
            }
            continue;
        };
        match name {
            "state" => match state_of(value) {
                Some(state) => asked.state = Some(state),
                None => wrong = Some(format!("state: {}", ThreadState::ALL.map(ThreadState::word).join(" "))),
            },
            "priority" => match priority_of(value) {
                Some(priority) => asked.priority = Some(priority),
                None => wrong = Some(format!("priority: {}", Priority::ALL.map(Priority::word).join(" "))),
            },
            "ticket" => asked.ticket = Some(value.to_owned()),
            "run" => asked.run_id = Some(value.to_owned()),
            "agent" => asked.agent = Some(value.to_owned()),
            "to" => asked.assignee = Some(value.to_owned()),
            _ => words.push(word),
        }
    }
    asked.text = words.join(" ");
    (asked, wrong)
}

fn is_name(name: &str) -> bool {
    NAMES.split(' ').any(|known| known.strip_suffix(':') == Some(name))
}

/// The beginning of a word is enough where only one begins so; `waiting` alone is a human's.
fn state_of(value: &str) -> Option<ThreadState> {
    let value = value.to_ascii_lowercase().replace('-', "_");
    if value == "waiting" {
        return Some(ThreadState::WaitingHuman);
    }
    only(ThreadState::ALL.into_iter().filter(|state| state.word().starts_with(&value)))
}

fn priority_of(value: &str) -> Option<Priority> {
    let value = value.to_ascii_lowercase();
    only(Priority::ALL.into_iter().filter(|priority| priority.word().starts_with(&value)))
}

fn only<T>(mut found: impl Iterator<Item = T>) -> Option<T> {
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        parse(line).0
    }

    #[test]
    fn words_are_looked_for_and_pairs_narrow() {
        let wanted = Asked {
            text: "lease \"naming of\" http://x".to_owned(),
            state: Some(ThreadState::Closed),
            priority: Some(Priority::Urgent),
            ticket: Some("ACME-12".to_owned()),
            run_id: Some("run-1".to_owned()),
            agent: Some("planner".to_owned()),
            assignee: Some("kim".to_owned()),
        };
        let line =
            " lease state:cl  priority:Urg ticket:ACME-12 run:run-1 \"naming of\" agent:planner to:kim http://x ";
        assert_eq!(parse(line), (wanted, None));
    }

    #[test]
    fn what_is_not_finished_narrows_nothing_yet() {
        assert_eq!(parse("state:"), (Asked::default(), None));
        assert_eq!(asked("note:").text, "note:", "not a name of ours");
        assert_eq!(asked("waiting state:waiting").state, Some(ThreadState::WaitingHuman));
    }

    #[test]
    fn a_value_that_is_none_says_which_there_are() {
        let (narrowed, wrong) = parse("state:wait lease");
        assert_eq!((narrowed.state, narrowed.text.as_str()), (None, "lease"));
        assert!(wrong.is_some_and(|words| words.contains("waiting_operator")));
        assert!(parse("priority:soon").1.is_some_and(|words| words.contains("urgent")));
    }
}

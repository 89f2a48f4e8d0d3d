//! Names: which are taken at the door, and how others are derived from them (spec 2.1).

use std::fmt;

/// The longest name taken at the door.
pub const LONGEST_NAME: usize = 64;
/// The most characters of a person's name.
const LONGEST_PERSON: usize = 100;

/// Why a name is refused, with one that would be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName {
    /// What the name is of: `ticket`, `run id`, `agent`.
    pub what: &'static str,
    /// The name as given, shortened and printable.
    pub given: String,
    /// The rule it breaks.
    pub rule: &'static str,
    /// A valid name close to it.
    pub suggestion: String,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} name `{}` {}; `{}` would do", self.what, self.given, self.rule, self.suggestion)
    }
}

impl std::error::Error for BadName {}

/// A person's name may be of any language, on one line; what stands around it is no part of it.
///
/// # Errors
/// What is wrong with it, in words.
pub fn person(name: &str) -> Result<String, String> {
    let name = name.trim();
    // Also what changes the order of reading: it would stand beside everything the person says.
    let turns = |c: char| matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if name.is_empty() {
        Err("is empty".to_owned())
    } else if name.chars().count() > LONGEST_PERSON {
        Err(format!("is longer than {LONGEST_PERSON} characters"))
    } else if name.chars().any(|c| c.is_control() || turns(c)) {
        Err("holds control characters".to_owned())
    } else {
        Ok(name.to_owned())
    }
}

/// Checks a ticket, run or agent name; a wrong one is refused, never repaired.
pub fn check(what: &'static str, name: &str) -> Result<(), BadName> {
    match broken_rule(name) {
        None => Ok(()),
        Some(rule) => {
            let given: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            Err(BadName { what, given, rule, suggestion: suggest(name) })
        }
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > LONGEST_NAME {
        Some("is longer than 64 characters")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        Some("may hold only A-Z a-z 0-9 . _ -")
    } else if !name.as_bytes()[0].is_ascii_alphanumeric() {
        Some("must begin with a letter or digit")
    } else if name.contains("..") {
        Some("may not hold `..`")
    } else if name.ends_with('.') {
        Some("may not end with `.`")
    } else if name.to_ascii_lowercase().ends_with(".lock") {
        // git refuses refs that end so, and file systems differ on case.
        Some("may not end with `.lock`")
    } else {
        None
    }
}

fn suggest(name: &str) -> String {
    let mut kept = String::new();
    for c in name.chars().take(LONGEST_NAME) {
        let next = if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let repeats = (next == '-' && kept.ends_with('-')) || (next == '.' && kept.ends_with('.'));
        if !repeats {
            kept.push(next);
        }
    }
    let mut kept = kept.trim_matches(|c: char| "._-".contains(c)).to_owned();
    while kept.to_ascii_lowercase().ends_with(".lock") {
        kept.truncate(kept.len() - ".lock".len());
    }
    if kept.is_empty() { "ACME-12".to_owned() } else { kept }
}

/// A derived name: lower case, every other character a `-`, none doubled, none at the ends.
///
/// Only `[a-z0-9-_]` come out: tmux turns `.` and `:` in names into `_` without a word.
pub fn derive(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let next = match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_') => c,
            _ => '-',
        };
        if next != '-' || !(out.is_empty() || out.ends_with('-')) {
            out.push(next);
        }
    }
    let out = out.trim_matches('-');
    if out.is_empty() { "x".to_owned() } else { out.to_owned() }
}

/// `wanted`, or the first of `wanted-2`, `wanted-3` … that is not taken.
pub fn free(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let mut number: u64 = 2;
    loop {
        let candidate = format!("{wanted}-{number}");
        if !taken(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_door() {
        for good in ["ACME-12", "a", "9", "A.b_c-d", &"x".repeat(64)] {
            assert_eq!(check("ticket", good), Ok(()), "{good}");
        }
        for bad in
            ["", "..", "a..b", "a b", "a:b", "a/b", "../x", "-a", ".a", "a.", "x.lock", "x.LOCK", "é", &"x".repeat(300)]
        {
            let refused = check("ticket", bad).expect_err(bad);
            assert_eq!(check("ticket", &refused.suggestion), Ok(()), "{bad} -> {}", refused.suggestion);
        }
    }

    #[test]
    fn derived() {
        for (from, to) in
            [("ACME-12", "acme-12"), ("a.b:c d", "a-b-c-d"), ("--x--", "x"), ("é!", "x"), ("a__b", "a__b")]
        {
            assert_eq!(derive(from), to);
        }
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let taken = ["a", "a-2"];
        assert_eq!(free("a", |name| taken.contains(&name)), "a-3");
        assert_eq!(free("b", |name| taken.contains(&name)), "b");
    }

    proptest! {
        #[test]
        fn a_suggestion_is_always_valid(text in ".{0,100}") {
            prop_assert_eq!(check("agent", &suggest(&text)), Ok(()));
        }

        #[test]
        fn a_derived_name_is_safe_everywhere(text in "\\PC{0,80}") {
            let name = derive(&text);
            prop_assert!(!name.is_empty());
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'));
            prop_assert_eq!(derive(&name), name.clone());
        }
    }
}

//! What an agent's screen says (spec 2.4, health 5 and 6): its end, held against the patterns of its runner.
//!
//! A pattern sees the pane's title as a first line `title: …`, then the last lines that are not blank. An agent may
//! print any words: where a pattern may stand high up it says itself how far from the end, which is `\z`, and one that
//! does not counts only where nothing that takes text stands below, for then the dialog is over.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::runner::Runner;

/// So many lines that are not blank count.
pub const LAST_LINES: usize = 16;
/// With this the line begins that holds the title.
const TITLE: &str = "title: ";
/// The most memory a compiled pattern may take, in bytes.
const LARGEST_PATTERN: usize = 1 << 20;
/// A line is shown up to so many characters.
const LONGEST_LINE: usize = 300;

/// What a screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// Its provider has had enough, or is out of reach.
    Limit,
    /// A dialog that waits for a key.
    Input,
}

/// What a screen shows, and by what that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sign {
    /// What it shows.
    pub shows: Shows,
    /// The line that says so.
    pub line: String,
    /// What is asked, where a line above says it better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The pattern that fits.
    pub pattern: String,
}

impl Sign {
    /// What is asked, or what says so.
    pub fn words(&self) -> &str {
        self.question.as_deref().unwrap_or(&self.line)
    }
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: {why}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// One pattern, compiled. `^` and `$` mean the ends of a line.
///
/// # Errors
/// [`BadPattern`] when it is no regular expression, or too large a one.
pub fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let built = RegexBuilder::new(pattern).multi_line(true).size_limit(LARGEST_PATTERN).build();
    built.map_err(|error| {
        // The library draws the place below the pattern; its last line says what is wrong.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        BadPattern { pattern: pattern.to_owned(), why }
    })
}

/// The patterns of a runner, compiled once.
#[derive(Clone, Default)]
pub struct Patterns {
    limit: Vec<Regex>,
    waiting: Vec<Regex>,
    working: Vec<Regex>,
    ready: Vec<Regex>,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("limit", &self.limit.len()).field("waiting", &self.waiting.len()).finish()
    }
}

impl Patterns {
    /// Those of a runner.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn of(runner: &Runner) -> Result<Self, BadPattern> {
        let all = |patterns: &[String]| patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>();
        Ok(Self {
            limit: all(&runner.limit_patterns)?,
            waiting: all(&runner.waiting_patterns)?,
            working: all(&runner.working_patterns)?,
            ready: all(&runner.ready_patterns)?,
        })
    }

    /// Whether there is nothing to be recognised: then nobody needs to look at the screen.
    pub fn is_empty(&self) -> bool {
        self.limit.is_empty() && self.waiting.is_empty()
    }

    /// What a screen shows, with its pane's title; the patterns of a list in their order.
    pub fn read(&self, screen: &str, title: &str) -> Option<Sign> {
        let end = end_of(screen, title);
        self.limit(&end).or_else(|| self.input(&end))
    }

    /// A limit at the end of a screen, which is of [`end_of`].
    pub fn limit(&self, end: &str) -> Option<Sign> {
        self.limit.iter().find_map(|pattern| sign(Shows::Limit, end, pattern, 0))
    }

    /// A dialog there.
    pub fn input(&self, end: &str) -> Option<Sign> {
        let after = self.ready.iter().filter_map(|ready| ready.find_iter(end).last()).map(|found| found.start());
        let after = after.max().unwrap_or(0);
        self.waiting.iter().find_map(|pattern| sign(Shows::Input, end, pattern, after))
    }

    /// The line there that says that a turn runs.
    pub fn working(&self, end: &str) -> Option<String> {
        let found = self.working.iter().find_map(|pattern| pattern.find_iter(end).last())?;
        let line = end[found.start()..].lines().next().unwrap_or_default();
        Some(shown(line.strip_prefix(TITLE).unwrap_or(line)))
    }

    /// Whether what takes text is there.
    pub fn ready(&self, end: &str) -> bool {
        self.ready.iter().any(|pattern| pattern.is_match(end))
    }

    /// Whether it is known how what takes text looks.
    pub fn know_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The letters of a screen, those aside that make out what it shows: they stay the same while only a counter runs
    /// or something turns.
    pub fn standing(&self, screen: &str, title: &str) -> String {
        let mut rest = end_of(screen, title);
        for pattern in self.limit.iter().chain(&self.waiting) {
            rest = pattern.replace_all(&rest, "").into_owned();
        }
        rest.retain(char::is_alphabetic);
        rest
    }
}

/// The title, and the lines that count, without blanks at their ends.
pub fn end_of(screen: &str, title: &str) -> String {
    let lines: Vec<&str> = screen.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    format!("{TITLE}{}\n{}", title.replace(['\n', '\r'], " ").trim_end(), last.join("\n"))
}

/// The last place where a pattern fits: after the byte `after`, or up to the very end.
fn sign(shows: Shows, end: &str, pattern: &Regex, after: usize) -> Option<Sign> {
    // What the title says is about now.
    let title = end.find('\n').unwrap_or(0);
    let found = pattern
        .find_iter(end)
        .filter(|found| {
            !found.is_empty() && (found.start() >= after || found.end() == end.len() || found.start() < title)
        })
        .last()?;
    let at = end[..found.start()].matches('\n').count();
    let lines: Vec<String> = end.lines().map(shown).collect();
    let begin = end[..found.start()].rfind('\n').map_or(0, |at| at + 1);
    let line = column(end[begin..].lines().next().unwrap_or_default(), found.start() - begin);
    let question = (shows == Shows::Input).then(|| question(&lines, at)).flatten().filter(|text| *text != line);
    let line = line.strip_prefix(TITLE.trim_end()).map_or(line.clone(), |title| title.trim().to_owned());
    Some(Sign { shows, line, question, pattern: pattern.as_str().to_owned() })
}

/// What of a line stands together around a place in it: programs put several things on one line, far apart.
fn column(line: &str, at: usize) -> String {
    const GAP: &str = "   ";
    let from = line[..at].rfind(GAP).map_or(0, |gap| gap + GAP.len());
    let until = line[at..].find(GAP).map_or(line.len(), |gap| at + gap);
    shown(&line[from..until])
}

/// What a dialog asks: the nearest line with a question mark above its choices.
fn question(lines: &[String], at: usize) -> Option<String> {
    // What the title says is about the whole screen.
    let until = if at == 0 { lines.len() } else { at + 1 };
    let choices = lines[..until].iter().rposition(|line| {
        let text = line.trim_start_matches(|c: char| !c.is_alphanumeric());
        text.starts_with("1. ") || text.starts_with("Allow once ")
    })?;
    let asks = |line: &&String| {
        line.starts_with('△') || line.match_indices('?').any(|(at, _)| line[..at].ends_with(char::is_alphanumeric))
    };
    lines[1..choices.max(1)].iter().rev().find(asks).cloned()
}

/// A line without what frames it.
fn shown(line: &str) -> String {
    let frame = |c: char| c.is_whitespace() || ('\u{2500}'..='\u{259f}').contains(&c) || c == '⬝';
    line.trim_matches(frame).chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns() -> Patterns {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Patterns::of(&Runner {
            limit_patterns: list(&["^■ You.ve hit your usage limit", "Retrying in \\d+s"]),
            waiting_patterns: list(&[
                "^title: .*Action Required",
                "Do you want to proceed\\?",
                "^Press enter to confirm",
                "^Sign in.*(\\n.*){0,2}\\z",
            ]),
            ready_patterns: list(&["^› [A-Za-z]"]),
            ..Runner::default()
        })
        .unwrap()
    }

    fn shows(screen: &str) -> Option<(Shows, String)> {
        patterns().read(screen, "shop").map(|sign| (sign.shows, sign.words().to_owned()))
    }

    #[test]
    fn the_end_of_the_screen_says_what_is_waited_for() {
        let waits = |text: &str| Some((Shows::Input, text.to_owned()));
        let limited = |text: &str| Some((Shows::Limit, text.to_owned()));
        let far = format!("Do you want to proceed?\n{}", "more\n".repeat(LAST_LINES));
        for (screen, wanted) in [
            ("", None),
            ("$ make\nall good\n", None),
            ("│ Do you want to proceed?  │\n  1. Yes\n\n\n", waits("Do you want to proceed?")),
            // The question is told, not the line about keys, nor one asked before.
            ("what?\nRun rm -rf build?\n› 1. Yes\n\nPress enter to confirm or esc", waits("Run rm -rf build?")),
            ("what?\nPress enter to confirm or esc", waits("Press enter to confirm or esc")),
            ("Press enter to confirm", waits("Press enter to confirm")),
            // It was answered, or only printed: the composer stands below.
            ("Do you want to proceed?\n\n› Ask anything\n", None),
            ("› what I typed before\nDo you want to proceed?\n 1. Yes", waits("Do you want to proceed?")),
            (&far, None),
            // A pattern that says how far from the end it may stand needs no more.
            ("Sign in with a key\n\n› Ask anything", waits("Sign in with a key")),
            ("Sign in with a key\n1\n2\n3", None),
            ("  says: ■ You've hit your usage limit", None),
            ("■ You’ve hit your usage limit.\n\n› Ask anything", limited("■ You’ve hit your usage limit.")),
            // The limit has the lower number.
            ("Do you want to proceed?\nRetrying in 4s", limited("Retrying in 4s")),
        ] {
            assert_eq!(shows(screen), wanted, "{screen}");
        }
        let dialog = patterns().read("Make these edits?\n› 1. Yes\n  2. No", "[ ! ] Action Required | shop").unwrap();
        assert_eq!((dialog.words(), dialog.line.as_str()), ("Make these edits?", "[ ! ] Action Required | shop"));
    }

    #[test]
    fn only_a_counter_runs() {
        let screen = |second: u32, more: &str| format!("work\n{more}✻ Retrying in {second}s\n\n› \n⠦ 40 %");
        let standing =
            |second, more| patterns().standing(&screen(second, more), if second > 3 { "⠦ shop" } else { "⠧ shop" });
        assert_eq!(standing(4, ""), standing(3, ""));
        assert_ne!(standing(4, ""), standing(4, "and more work\n"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        assert_eq!(compile("network (").unwrap_err().why, "unclosed group");
        assert!(compile("(a{1000}){1000}").unwrap_err().why.contains("size limit"));
        assert!(Patterns::of(&Runner::default()).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_screen_makes_it_panic(screen in "(?s).{0,200}", parts in proptest::collection::vec(
            prop_oneof![Just("Do you want to proceed?"), Just("› "), Just("\n"), Just("Retrying in 3s"), Just("│ é ?"), Just("❯ 1. Yes"), Just("△ é")], 0..20))
        {
            let _ = shows(&screen);
            let _ = shows(&parts.concat());
            let _ = patterns().read(&parts.concat(), &screen);
            let _ = patterns().standing(&screen, &parts.concat());
        }
    }
}

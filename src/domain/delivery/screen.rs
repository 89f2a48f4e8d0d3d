//! What an agent's screen says about taking text: a pure reading of its last lines, its title and its cursor, by the
//! runner's patterns.
//!
//! An agent can print any of the patterns, so few lines count, and where two readings are possible the one wins that
//! keeps from typing.

use regex::Regex;

use crate::domain::runner::Runner;
use crate::domain::screen::{BadPattern, compile};

/// A dialog may be that high, in lines that are not blank.
const DIALOG_LINES: usize = 14;
/// What says that a turn runs stands in these.
const WORKING_LINES: usize = 10;
/// And the place to type in, in these.
const READY_LINES: usize = 6;
/// So many letters of a text's end are looked for on the screen.
const TAIL: usize = 24;
/// How programs show a longer paste that they keep folded.
const FOLDED: &str = "[Pasted";

/// A screen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen<'a> {
    /// Its lines.
    pub text: &'a str,
    /// The title that the program has given its terminal.
    pub title: &'a str,
    /// The column in which the cursor stands.
    pub cursor: u16,
}

/// What a screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// A dialog, by the line that says so.
    Dialog(String),
    /// A turn runs, or its model is out of reach, by the line that says so.
    Busy(String),
    /// The composer is there and nothing runs.
    Ready,
    /// The composer is there, and somebody's words stand in it.
    Draft,
    /// Nothing that is known.
    Unclear,
}

/// Reads the screens of one runner.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    waiting: Vec<Regex>,
    working: Vec<Regex>,
    limit: Vec<Regex>,
    ready: Vec<Regex>,
    home: Option<u16>,
}

impl Patterns {
    /// Those of a runner.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn of(runner: &Runner) -> Result<Self, BadPattern> {
        let all = |patterns: &[String]| patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>();
        Ok(Self {
            waiting: all(&runner.waiting_patterns)?,
            working: all(&runner.working_patterns)?,
            limit: all(&runner.limit_patterns)?,
            ready: all(&runner.ready_patterns)?,
            home: runner.home_column,
        })
    }

    /// Whether it is known how the composer looks.
    pub fn know_composer(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reads a screen.
    pub fn read(&self, screen: &Screen<'_>) -> Shows {
        let lines = lines(screen.text);
        let ready = last_fit(&lines, READY_LINES, &self.ready);
        let dialog = last_fit(&lines, DIALOG_LINES, &self.waiting).filter(|at| ready.is_none_or(|ready| *at > ready));
        if let Some(at) = dialog {
            return Shows::Dialog(asked(&lines[..=at]));
        }
        if screen.title.starts_with("[ ! ] ") || screen.title.starts_with("[ . ] ") {
            return Shows::Dialog(plain(screen.title));
        }
        let busy = last_fit(&lines, WORKING_LINES, &self.working).map(|at| plain(lines[at]));
        let turns = screen.title.starts_with(|c| ('\u{2801}'..='\u{28ff}').contains(&c)).then(|| plain(screen.title));
        if let Some(line) = busy.or(turns.filter(|_| self.know_composer())) {
            return Shows::Busy(line);
        }
        match (ready, last_fit(&lines, READY_LINES, &self.limit)) {
            (Some(_), _) if self.home.is_some_and(|home| home != screen.cursor) => Shows::Draft,
            (Some(_), _) => Shows::Ready,
            (None, Some(at)) => Shows::Busy(plain(lines[at])),
            (None, None) => Shows::Unclear,
        }
    }
}

fn lines(screen: &str) -> Vec<&str> {
    screen.lines().filter(|line| !line.trim().is_empty()).collect()
}

/// The lowest of the last `count` lines that a pattern fits.
fn last_fit(lines: &[&str], count: usize, patterns: &[Regex]) -> Option<usize> {
    let first = lines.len().saturating_sub(count);
    (first..lines.len()).rev().find(|at| patterns.iter().any(|pattern| pattern.is_match(lines[*at])))
}

/// What a dialog asks: its last question, else the line that gave it away.
fn asked(lines: &[&str]) -> String {
    let near = &lines[lines.len().saturating_sub(DIALOG_LINES)..];
    let question = near.iter().rev().map(|line| plain(line)).find(|line| line.ends_with('?'));
    question.unwrap_or_else(|| near.last().map(|line| plain(line)).unwrap_or_default())
}

/// A line without what frames it.
fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    line.trim_matches(|c: char| ('\u{2500}'..='\u{259f}').contains(&c) || c == ' ').to_owned()
}

/// How far above the screen's end the end of a text stands, in lines that are not blank; `None` where it is not seen.
///
/// Programs wrap and indent as they like: letters and digits are compared, and nothing else. A paste that is shown
/// folded counts as the text.
pub fn place_of(screen: &str, text: &str) -> Option<usize> {
    let mut tail: Vec<char> = text.chars().rev().filter(|c| c.is_alphanumeric()).take(TAIL).collect();
    tail.reverse();
    let lines = lines(screen);
    let mut letters = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        letters.extend(line.chars().filter(|c| c.is_alphanumeric()).map(|c| (c, at)));
    }
    let fits = |window: &&[(char, usize)]| window.iter().map(|(c, _)| c).eq(&tail);
    let whole = match tail.len() {
        0 => None,
        length => letters.windows(length).rev().find(|window| fits(window)).and_then(|window| window.last()),
    };
    let folded = lines.iter().rposition(|line| line.contains(FOLDED));
    whole.map(|(_, at)| *at).max(folded).map(|at| lines.len() - 1 - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::runner::builtin;

    fn shows(runner: &str, text: &str) -> String {
        shows_with(runner, text, "host", builtin(runner).unwrap().home_column.unwrap_or(0))
    }

    fn shows_with(runner: &str, text: &str, title: &str, cursor: u16) -> String {
        match Patterns::of(builtin(runner).unwrap()).unwrap().read(&Screen { text, title, cursor }) {
            Shows::Dialog(line) => format!("dialog: {line}"),
            Shows::Busy(line) => format!("busy: {line}"),
            Shows::Ready => "ready".to_owned(),
            Shows::Draft => "draft".to_owned(),
            Shows::Unclear => "unclear".to_owned(),
        }
    }

    const CLAUDE: &str = "● Understood\n\n────\n❯\u{a0}\n────\n  ? for shortcuts";
    const CLAUDE_WORKS: &str = "✽ Smooshing… (8s)\n\n────\n❯\u{a0}\n────\n  esc to interrupt · ← for agents\n\n\n";
    const CLAUDE_ASKS: &str = " Bash command\n   touch x\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. Yes, and always\n   3. No\n\n Esc to cancel · Tab to amend";
    const CODEX: &str = "› Ask Codex to do anything\n\n  GPT default · ~/shop";
    const CODEX_ASKS: &str = "  $ touch x\n\n› 1. Yes, proceed (y)\n  2. No, and tell Codex (esc)\n\n  Press enter to confirm or esc to cancel";
    const CODEX_TRUST: &str = "  Trust this folder? Codex can read\n  more.\n\n› 1. Trust and continue\n  2. Back to Agent Command Center\n\n  enter continue · esc back";
    const OPENCODE: &str = "  ┃\n  ┃\n  ┃  Build · model\n  ╹▀▀▀▀\n   /shop   940 (1%)  ctrl+p commands";
    const OPENCODE_ASKS: &str =
        "  ┃  △ Permission required\n  ┃  $ touch x\n  ┃   Allow once   Allow always   Reject  ctrl+f fullscreen";

    #[test]
    fn what_real_programs_show() {
        let table = [
            ("claude", CLAUDE),
            ("claude", CLAUDE_WORKS),
            ("claude", CLAUDE_ASKS),
            ("claude", "❯ an old prompt with a plain blank"),
            ("codex", CODEX),
            ("codex", "◦ Working (2s • esc to interrupt)\n\n\n› Ask Codex to do anything\n\n  GPT · ~/shop"),
            ("codex", CODEX_ASKS),
            ("codex", CODEX_TRUST),
            ("opencode", OPENCODE),
            ("opencode", OPENCODE_ASKS),
            ("opencode", ""),
            ("shell", "$ "),
        ];
        let told: Vec<String> =
            table.iter().map(|(runner, screen)| format!("{runner}: {}", shows(runner, screen))).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        claude: ready
        claude: busy: esc to interrupt · ← for agents
        claude: dialog: Do you want to proceed?
        claude: unclear
        codex: ready
        codex: busy: ◦ Working (2s • esc to interrupt)
        codex: dialog: Press enter to confirm or esc to cancel
        codex: dialog: enter continue · esc back
        opencode: ready
        opencode: dialog: Allow once Allow always Reject ctrl+f fullscreen
        opencode: unclear
        shell: unclear
        ");
    }

    #[test]
    fn title_and_cursor_tell_what_the_lines_do_not() {
        assert_eq!(shows_with("codex", CODEX, "⠙ shop", 2), "busy: ⠙ shop");
        assert_eq!(
            shows_with("codex", CODEX, "[ ! ] Action Required | shop", 2),
            "dialog: [ ! ] Action Required | shop"
        );
        assert_eq!(shows_with("codex", CODEX, "shop", 9), "draft");
        assert_eq!(shows_with("claude", CLAUDE, "✳ shop", 2), "ready");
        assert_eq!(shows_with("opencode", OPENCODE, "OC | shop", 5), "ready");
        // A shell's title is anybody's.
        assert_eq!(shows_with("shell", "$ ", "⠙ shop", 2), "unclear");
    }

    #[test]
    fn what_was_printed_before_does_not_count() {
        let before = format!("Do you want to proceed?\n{CLAUDE}");
        assert_eq!(shows("claude", &before), "ready", "the composer stands below it");
        let long_ago = format!("Do you want to proceed?\n{}", "line\n".repeat(20));
        assert_eq!(shows("claude", &long_ago), "unclear");
    }

    #[test]
    fn a_text_is_found_where_it_stands_however_it_is_wrapped() {
        let text = "[from human:bo]\nplease look at\nthe README file, ok?";
        let composer = "old\n❯ [from human:bo]\n  please look at\n  the READ\n  ME file, ok?\n────\n  ctrl+g";
        assert_eq!(place_of(composer, text), Some(2));
        let gone =
            "❯ [from human:bo]\n  please look at\n  the README file, ok?\n\n● Understood\n────\n❯\u{a0}\n────\n  ?";
        assert_eq!(place_of(gone, text), Some(5));
        assert_eq!(place_of("❯\u{a0}[Pasted text #1 +3 lines]\n───\n footer", text), Some(2));
        assert_eq!(place_of("nothing of it", text), None);
        assert_eq!(place_of("", "…"), None);
    }

    proptest! {
        #[test]
        fn a_dialog_below_everything_is_never_overlooked(above in "[a-z❯› \u{a0}\n]{0,60}", below in "[a-z \n]{0,20}") {
            let screen = format!("{above}\n Do you want to proceed?\n{below}");
            prop_assume!(below.lines().filter(|line| !line.trim().is_empty()).count() < DIALOG_LINES);
            prop_assert!(shows("claude", &screen).starts_with("dialog"));
        }

        #[test]
        fn a_text_at_the_end_is_found_at_the_end(above in "(?s).{0,60}", text in "(?s)[a-z].{0,60}[a-z]") {
            let screen = format!("{above}\n{text}");
            prop_assert_eq!(place_of(&screen, &text), Some(0));
        }

        #[test]
        fn no_screen_makes_it_panic(text in "(?s).{0,200}", title in "(?s).{0,20}", cursor: u16) {
            for runner in ["codex", "claude", "opencode", "shell"] {
                let _ = shows_with(runner, &text, &title, cursor);
            }
        }
    }
}

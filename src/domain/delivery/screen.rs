//! What an agent's screen says about taking text: its end, its title and its cursor, held against the patterns of its
//! runner. Where two readings are possible the one wins that keeps from typing.

use crate::domain::runner::Runner;
use crate::domain::screen::{self, BadPattern, end_of};

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
    signs: screen::Patterns,
    home: Option<u16>,
}

impl Patterns {
    /// Those of a runner.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn of(runner: &Runner) -> Result<Self, BadPattern> {
        Ok(Self { signs: screen::Patterns::of(runner)?, home: runner.home_column })
    }

    /// Whether it is known how the composer looks.
    pub fn know_composer(&self) -> bool {
        self.signs.know_ready()
    }

    /// Whether the composer is there and nothing stands in it.
    pub fn see_empty_composer(&self, screen: &Screen<'_>) -> bool {
        self.home == Some(screen.cursor) && self.signs.ready(&end_of(screen.text, screen.title))
    }

    /// Reads a screen.
    pub fn read(&self, screen: &Screen<'_>) -> Shows {
        let end = end_of(screen.text, screen.title);
        if let Some(dialog) = self.signs.input(&end) {
            return Shows::Dialog(dialog.words().to_owned());
        }
        if let Some(line) = self.signs.working(&end) {
            return Shows::Busy(line);
        }
        match (self.signs.ready(&end), self.signs.limit(&end)) {
            (true, _) if self.home.is_some_and(|home| home != screen.cursor) => Shows::Draft,
            // That the last turn ended at a limit does not keep the next one from being tried.
            (true, _) => Shows::Ready,
            (false, Some(limit)) => Shows::Busy(limit.words().to_owned()),
            (false, None) => Shows::Unclear,
        }
    }
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
    const CODEX: &str = "› Ask Codex to do anything\n\n  GPT default · ~/shop";

    #[test]
    fn title_and_cursor_tell_what_the_lines_do_not() {
        assert_eq!(shows_with("codex", CODEX, "⠙ shop", 2), "busy: ⠙ shop");
        assert_eq!(
            shows_with("codex", CODEX, "[ ! ] Action Required | shop", 2),
            "dialog: [ ! ] Action Required | shop"
        );
        assert_eq!(shows_with("codex", CODEX, "shop", 9), "draft");
        assert_eq!(shows_with("claude", CLAUDE, "✳ shop", 2), "ready");
        // A shell's title is anybody's.
        assert_eq!(shows_with("shell", "$ ", "⠙ shop", 2), "unclear");
    }

    #[test]
    fn what_was_printed_before_does_not_count() {
        let before = format!("Esc to cancel · Tab to amend\n{CLAUDE}");
        assert_eq!(shows("claude", &before), "ready", "the composer stands below it");
        let long_ago = format!("Esc to cancel · Tab to amend\n{}", "line\n".repeat(20));
        assert_eq!(shows("claude", &long_ago), "unclear");
    }

    proptest! {
        #[test]
        fn a_dialog_below_everything_is_never_overlooked(above in "[a-z❯› \u{a0}\n]{0,60}", below in "[ \n]{0,20}") {
            let screen = format!("{above}\n Esc to cancel · Tab to amend\n{below}");
            prop_assert!(shows("claude", &screen).starts_with("dialog"));
        }

        #[test]
        fn no_screen_makes_it_panic(text in "(?s).{0,200}", title in "(?s).{0,20}", cursor: u16) {
            for runner in ["codex", "claude", "opencode", "shell"] {
                let _ = shows_with(runner, &text, &title, cursor);
            }
        }
    }
}

//! What an agent's screen says about taking text: a pure reading of its last lines by the runner's patterns.
//!
//! An agent can print any of the patterns, so few lines count, and where two readings are possible the one wins that
//! keeps from typing.

use crate::domain::runner::Runner;

/// A dialog may be that high, in lines that are not blank.
const DIALOG_LINES: usize = 14;
/// What says that a turn runs, or where to type, stands in these.
const STATUS_LINES: usize = 9;
/// So many letters of a text's end are looked for on the screen.
const TAIL: usize = 24;
/// How programs show a longer paste that they keep folded.
const FOLDED: &str = "[Pasted";

/// What a screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// A dialog, by the line that says so.
    Dialog(String),
    /// A turn runs, or its model is out of reach, by the line that says so.
    Busy(String),
    /// The composer is there and nothing runs.
    Ready,
    /// Nothing that is known.
    Unclear,
}

/// Reads a screen.
pub fn read(screen: &str, runner: &Runner) -> Shows {
    let lines: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = |count: usize| &lines[lines.len().saturating_sub(count)..];
    let found = |lines: &[&str], patterns: &[String]| {
        let fits = |line: &&&str| patterns.iter().any(|pattern| line.contains(pattern.as_str()));
        lines.iter().rev().find(fits).map(|line| plain(line))
    };
    if let Some(line) = found(last(DIALOG_LINES), &runner.waiting_patterns) {
        return Shows::Dialog(line);
    }
    let status = last(STATUS_LINES);
    if let Some(line) = found(status, &runner.working_patterns).or_else(|| found(status, &runner.limit_patterns)) {
        return Shows::Busy(line);
    }
    match found(status, &runner.ready_patterns) {
        Some(_) => Shows::Ready,
        None => Shows::Unclear,
    }
}

/// A line without what frames it.
fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").trim_matches(|c: char| "│┃╹▀─ ".contains(c)).to_owned()
}

/// How far above the screen's end the end of a text stands, in lines that are not blank; `None` where it is not seen.
///
/// Programs wrap and indent as they like: letters and digits are compared, and nothing else. A paste that is shown
/// folded counts as the text.
pub fn place_of(screen: &str, text: &str) -> Option<usize> {
    let mut tail: Vec<char> = text.chars().rev().filter(|c| c.is_alphanumeric()).take(TAIL).collect();
    tail.reverse();
    let lines: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
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

    fn shows(runner: &str, screen: &str) -> String {
        match read(screen, builtin(runner).unwrap()) {
            Shows::Dialog(line) => format!("dialog: {line}"),
            Shows::Busy(line) => format!("busy: {line}"),
            Shows::Ready => "ready".to_owned(),
            Shows::Unclear => "unclear".to_owned(),
        }
    }

    const CLAUDE: &str = "● Understood\n\n────\n❯\u{a0}\n────\n  ? for shortcuts";
    const CLAUDE_WORKS: &str = "✽ Smooshing… (8s)\n\n────\n❯\u{a0}\n────\n  esc to interrupt · ← for agents\n\n\n";
    const CLAUDE_ASKS: &str = " Bash command\n   touch x\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. Yes, and always\n   3. No\n\n Esc to cancel · Tab to amend";
    const CODEX_ASKS: &str = "  $ touch x\n\n› 1. Yes, proceed (y)\n  2. No, and tell Codex (esc)\n\n  Press enter to confirm or esc to cancel";
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
            ("codex", "› Ask Codex to do anything\n\n  GPT default · ~/shop"),
            ("codex", "◦ Working (2s • esc to interrupt)\n\n\n› Ask Codex to do anything\n\n  GPT · ~/shop"),
            ("codex", CODEX_ASKS),
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
        claude: dialog: Esc to cancel · Tab to amend
        claude: unclear
        codex: ready
        codex: busy: ◦ Working (2s • esc to interrupt)
        codex: dialog: Press enter to confirm or esc to cancel
        opencode: ready
        opencode: dialog: Allow once Allow always Reject ctrl+f fullscreen
        opencode: unclear
        shell: unclear
        ");
    }

    #[test]
    fn what_was_printed_long_before_does_not_count() {
        let long_ago = format!("Do you want to proceed?\n{}{CLAUDE}", "line\n".repeat(20));
        assert_eq!(shows("claude", &long_ago), "ready");
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
        fn a_dialog_is_never_overlooked(above in "[a-z❯› \n]{0,60}", below in "[a-z❯› \u{a0}\n]{0,20}") {
            let screen = format!("{above}\n Do you want to proceed?\n{below}");
            prop_assume!(below.lines().filter(|line| !line.trim().is_empty()).count() < DIALOG_LINES);
            prop_assert!(shows("claude", &screen).starts_with("dialog"));
        }

        #[test]
        fn a_text_at_the_end_is_found_at_the_end(above in "(?s).{0,60}", text in "(?s)[a-z].{0,60}[a-z]") {
            let screen = format!("{above}\n{text}");
            prop_assert_eq!(place_of(&screen, &text), Some(0));
        }
    }
}

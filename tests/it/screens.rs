//! The screens of real agent programs: each state is recognised by its runner's patterns, and none is taken for another.

use std::path::Path;

use metawsm::domain::delivery::place::{Earlier, ends_of};
use metawsm::domain::delivery::screen as delivery;
use metawsm::domain::runner::builtin;
use metawsm::domain::screen::{Patterns, Shows, compile, end_of};

/// A screen as it was taken.
struct Taken {
    name: String,
    runner: String,
    title: String,
    means: String,
    cursor: u16,
    /// How many rows there are below the cursor.
    rows_below: usize,
    dead: bool,
    text: String,
}

fn all() -> Vec<Taken> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/screens");
    let mut all = Vec::new();
    for runner in std::fs::read_dir(root).unwrap().map(|dir| dir.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&runner).unwrap() {
            let path = file.unwrap().path();
            let whole = std::fs::read_to_string(&path).unwrap();
            let head = |name: &str| {
                let line = whole.lines().take(5).find_map(|line| line.strip_prefix(&format!("# {name}:")));
                line.unwrap_or_else(|| panic!("{}: no {name}", path.display())).trim().to_owned()
            };
            let (column, row) = head("cursor").split_once(',').map(|(x, y)| (x.to_owned(), y.to_owned())).unwrap();
            let rows: usize = if path.to_string_lossy().contains("160x45") { 45 } else { 24 };
            all.push(Taken {
                name: path.strip_prefix(runner.parent().unwrap()).unwrap().display().to_string(),
                runner: runner.file_name().unwrap().to_str().unwrap().to_owned(),
                title: head("title"),
                means: head("means"),
                cursor: column.parse().unwrap(),
                rows_below: rows - 1 - row.parse::<usize>().unwrap(),
                dead: head("dead") != "no",
                text: whole.lines().skip(5).map(|line| format!("{line}\n")).collect(),
            });
        }
    }
    assert!(all.len() > 200, "{}", all.len());
    all
}

#[test]
fn each_screen_of_a_real_program_is_taken_for_what_it_is() {
    let mut wrong = Vec::new();
    // A dead pane is never asked for its screen.
    for taken in all().into_iter().filter(|taken| !taken.dead) {
        let patterns = Patterns::of(builtin(&taken.runner).unwrap()).unwrap();
        let found = patterns.read(&taken.text, &taken.title);
        let wanted = match taken.means.as_str() {
            "waiting" | "signed out" => Some(Shows::Input),
            "limit" => Some(Shows::Limit),
            // A menu that a human left open waits for a key as well.
            "unknown" if found.is_some() && taken.name.contains("/dialog-") => Some(Shows::Input),
            "ready" | "typed" | "working" | "unknown" => None,
            other => panic!("{}: means {other}", taken.name),
        };
        if found.as_ref().map(|sign| sign.shows) != wanted {
            wrong.push(format!("{}: {} taken for {found:?}", taken.name, taken.means));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_dialog_asks_is_told_in_its_own_words() {
    let told = |name: &str| {
        let taken = all().into_iter().find(|taken| taken.name == name).unwrap();
        let patterns = Patterns::of(builtin(&taken.runner).unwrap()).unwrap();
        format!("{name}: {}", patterns.read(&taken.text, &taken.title).unwrap().words())
    };
    let names = [
        "codex/approval.80x24.txt",
        "codex/approval-edit.160x45.txt",
        "codex/trust.80x24.txt",
        "codex/unreachable.80x24.txt",
        "codex/limit.80x24.txt",
        "claude/approval.80x24.txt",
        "claude/approval-fetch.160x45.txt",
        "claude/question.80x24.txt",
        "claude/trust.80x24.txt",
        "claude/not-signed-in.80x24.txt",
        "claude/limit-429.80x24.txt",
        "opencode/approval.80x24.txt",
        "opencode/question.160x45.txt",
        "opencode/retrying.80x24.txt",
    ];
    insta::assert_snapshot!(names.map(told).join("\n"));
}

#[test]
fn who_works_and_who_can_be_written_to_is_told_apart() {
    let mut wrong = Vec::new();
    for taken in all().into_iter().filter(|taken| !taken.dead) {
        let runner = builtin(&taken.runner).unwrap();
        let end = end_of(&taken.text, &taken.title);
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| compile(pattern).unwrap().is_match(&end));
        let (works, ready) = (fits(&runner.working_patterns), fits(&runner.ready_patterns));
        // Whether there is text in the composer tells the cursor, not the lines.
        let right = match taken.means.as_str() {
            "working" => works,
            "ready" => ready && !works,
            _ => true,
        };
        if !right {
            wrong.push(format!("{}: {}, works {works}, ready {ready}", taken.name, taken.means));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_typed_into_a_screen_that_is_not_ready_for_it() {
    let mut wrong = Vec::new();
    for taken in all().into_iter().filter(|taken| !taken.dead) {
        let patterns = delivery::Patterns::of(builtin(&taken.runner).unwrap()).unwrap();
        let shows = patterns.read(&delivery::Screen { text: &taken.text, title: &taken.title, cursor: taken.cursor });
        let right = match taken.means.as_str() {
            // Before its first turn its cursor stands in the middle, where the width says: it is given its prompt then.
            "ready" if taken.name.starts_with("opencode/idle.") => shows == delivery::Shows::Draft,
            "ready" => shows == delivery::Shows::Ready,
            "waiting" | "signed out" => matches!(shows, delivery::Shows::Dialog(_)),
            "working" => matches!(shows, delivery::Shows::Busy(_)),
            // Whether the next turn may be tried is for whoever sends; a dialog about it is one.
            "limit" => shows != delivery::Shows::Draft,
            "typed" | "unknown" => shows != delivery::Shows::Ready,
            other => panic!("{}: means {other}", taken.name),
        };
        if !right {
            wrong.push(format!("{}: {} taken for {shows:?}", taken.name, taken.means));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_stands_in_a_composer_is_told_from_what_stands_above_it() {
    let long = format!("{}{}", "x\n".repeat(41), "y".repeat(1606 - 82));
    let mut wrong = Vec::new();
    for taken in all().into_iter().filter(|taken| taken.name.contains("/composer") && !taken.dead) {
        let text = match taken.name.split(['/', '.']).nth(1).unwrap() {
            "composer" => "an unsent line",
            "composer-lines" => "first line\nsecond line\nthird line",
            "composer-long" => &long,
            other => panic!("{other}"),
        };
        // The files end with the last line that holds something.
        let rows = if taken.name.contains("160x45") { 45 } else { 24 };
        let blank = rows - taken.text.lines().count();
        let screen = format!("{}{}", taken.text, "\n".repeat(blank));
        let end = ends_of(&screen, text).first().copied();
        let stands = |column: usize| end.is_some_and(|end| end.before_cursor(text, column, taken.rows_below));
        let column = usize::from(taken.cursor);
        if !stands(column) || stands(column - 2) || stands(column + 2) {
            wrong.push(format!("{}: {end:?}", taken.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn real_programs_show_what_they_have_taken() {
    let told = "[from human:ana · thread ft-12] Which colour shall it have?\nBlue would go with the till.\n\
                Please answer in the thread.";
    let shown = |screen: &str, text: &str| Earlier::on("", text).once_more_on(screen, text, false);
    let mut wrong = Vec::new();
    for taken in all() {
        let stands = match taken.name.split(['/', '.']).nth(1).unwrap() {
            "delivered" => shown(&taken.text, told),
            // Sent during a turn, after which it runs.
            "queued" => {
                let texts = ["A message while it thinks", "And a second message"];
                texts.iter().any(|text| shown(&taken.text, text))
            }
            "approval" | "idle" => !shown(&taken.text, told),
            _ => true,
        };
        if !stands {
            wrong.push(taken.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

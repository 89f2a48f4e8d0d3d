//! Where a text stands on a screen: in the composer into which it was typed, or further up, where programs show what
//! they were told.
//!
//! Programs wrap and indent as they like: letters and digits are compared, and nothing else. A longer paste that a
//! program keeps folded counts as the text. Beside it, far to the right, may stand something else.

use unicode_width::UnicodeWidthStr;

/// So many letters of a text's end, and of its words' beginning, are looked for on the screen.
const LETTERS: usize = 24;
/// How programs show a longer paste that they keep folded.
const FOLDED: &str = "[Pasted";
/// What is so many lines further down than all that stood there before is another.
const APART: usize = 3;
/// So many blanks set apart what stands beside a text.
const GAP: &str = "        ";

/// A text's end on a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How many lines that are not blank stand below it.
    pub below: usize,
    /// How many rows stand below it, blank ones among them.
    rows_below: usize,
    /// The column behind it.
    column: usize,
    /// Whether its line ends as the text does, and with nothing else.
    whole: bool,
}

impl End {
    /// Whether the cursor stands right behind it, as where it was typed and nothing since.
    pub fn before_cursor(&self, text: &str, column: usize, rows_below: usize) -> bool {
        let blanks = text.chars().rev().take_while(|c| c.is_whitespace()).count();
        self.whole && self.rows_below == rows_below && (self.column..=self.column + blanks + 1).contains(&column)
    }

    /// How many rows below it the cursor stands: one more after each line break.
    pub fn rows_to_cursor(&self, rows_below: usize) -> Option<usize> {
        self.rows_below.checked_sub(rows_below).filter(|_| self.whole)
    }

    /// Whether the cursor stands where the text stands, whatever somebody may have added to it.
    pub fn near_cursor(&self, rows_below: usize) -> bool {
        (rows_below..=rows_below + 1).contains(&self.rows_below)
    }
}

/// Where the end of a text is seen on a screen, the lowest first; one for each line.
pub fn ends_of(screen: &str, text: &str) -> Vec<End> {
    let lines: Vec<&str> = screen.lines().collect();
    let mut tail: Vec<char> = text.chars().rev().filter(|c| c.is_alphanumeric()).take(LETTERS).collect();
    tail.reverse();
    let rest = text.rsplit(char::is_alphanumeric).next().unwrap_or_default().trim_end();
    let mut found: Vec<(usize, usize, bool)> = Vec::new();
    for lines in [&lines, &first_column(&lines)] {
        for window in fitting(&letters(lines), &tail) {
            let Some((_, line, end)) = window.last() else { continue };
            let after = &lines[*line][*end..];
            let whole = after.strip_prefix(rest).is_some_and(|after| after.chars().all(frames));
            found.push((*line, end + if whole { rest.len() } else { 0 }, whole));
        }
    }
    for (line, words) in lines.iter().map(|line| before_gap(line)).enumerate() {
        let Some(begin) = words.rfind(FOLDED) else { continue };
        let end = words[begin..].find(']').map_or(words.len(), |end| begin + end + 1);
        let whole = folds(&words[begin..end], text) && words[end..].chars().all(frames);
        found.push((line, end, whole));
    }
    found.sort_unstable();
    found.reverse();
    // What fits both ways is the same one; the one that ends its line comes first.
    found.dedup_by_key(|(line, ..)| *line);
    let end = |(line, end, whole): (usize, usize, bool)| End {
        below: lines[line + 1..].iter().filter(|line| !line.trim().is_empty()).count(),
        rows_below: lines.len() - 1 - line,
        column: lines[line][..end].width(),
        whole,
    };
    found.into_iter().map(end).collect()
}

/// How far above the screen's end the lowest end of a text stands, in lines that are not blank; `None` where it is not
/// seen.
pub fn place_of(screen: &str, text: &str) -> Option<usize> {
    ends_of(screen, text).first().map(|end| end.below)
}

/// What of a text stood on a screen before it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    ends: usize,
    lowest: Option<usize>,
    beginnings: usize,
}

impl Earlier {
    /// What is seen of it on a screen.
    pub fn on(screen: &str, text: &str) -> Self {
        let ends = ends_of(screen, text);
        let lowest = ends.first().map(|end| end.below);
        Self { ends: ends.len(), lowest, beginnings: beginnings_of(screen, text) }
    }

    /// What is seen of it beside the one that stands in the composer.
    pub fn beside_the_lowest(screen: &str, text: &str) -> Self {
        let ends = ends_of(screen, text).len();
        Self { ends: ends.saturating_sub(1), lowest: None, beginnings: usize::MAX }
    }

    /// Whether it stands on a screen once more. Of a text of which the program shows its beginning alone that says
    /// something only while nothing stands in the composer.
    pub fn once_more_on(&self, screen: &str, text: &str, composer_empty: bool) -> bool {
        let ends = ends_of(screen, text);
        let lower = |end: &End| self.lowest.is_some_and(|lowest| end.below + APART < lowest);
        ends.len() > self.ends
            || ends.first().is_some_and(lower)
            || (composer_empty && beginnings_of(screen, text) > self.beginnings)
    }
}

/// How often the beginning of a text is seen: the line that says from whom, and some of its words.
fn beginnings_of(screen: &str, text: &str) -> usize {
    let lines: Vec<&str> = screen.lines().collect();
    let count = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let from = count(text.lines().next().unwrap_or_default());
    let head: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).take(from + LETTERS).collect();
    let seen = |lines: &[&str]| fitting(&letters(lines), &head).count();
    seen(&lines).max(seen(&first_column(&lines)))
}

/// Lines without what stands beside them.
fn first_column<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().map(|line| before_gap(line)).collect()
}

fn before_gap(line: &str) -> &str {
    let begin = line.find(|c| !frames(c)).unwrap_or(line.len());
    line[begin..].find(GAP).map_or(line, |gap| &line[..begin + gap])
}

/// The letters of lines, each with its line and the byte behind it.
fn letters(lines: &[&str]) -> Vec<(char, usize, usize)> {
    let mut letters = Vec::new();
    for (line, words) in lines.iter().enumerate() {
        let of_line = words.char_indices().filter(|(_, c)| c.is_alphanumeric());
        letters.extend(of_line.map(|(at, c)| (c, line, at + c.len_utf8())));
    }
    letters
}

fn fitting<'a>(
    letters: &'a [(char, usize, usize)],
    wanted: &'a [char],
) -> impl Iterator<Item = &'a [(char, usize, usize)]> {
    let windows = letters.windows(wanted.len().max(1));
    windows.filter(move |window| !wanted.is_empty() && window.iter().map(|(c, ..)| c).eq(wanted))
}

/// Whether a character only frames what stands in a line.
fn frames(c: char) -> bool {
    c.is_whitespace() || ('\u{2500}'..='\u{259f}').contains(&c)
}

/// Whether a folded paste may be this text: programs say how many characters it has, or lines or breaks of such.
fn folds(fold: &str, text: &str) -> bool {
    let number = |mark: &str| {
        let digits: String = fold.split_once(mark)?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    };
    let breaks = text.matches('\n').count();
    match (number("+").or_else(|| number("~")), number("Content ")) {
        (Some(lines), _) => lines == breaks || lines == breaks + 1,
        (None, Some(characters)) => characters == text.chars().count(),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "[from human:bo]\nplease look at\nthe README file, ok?";

    #[test]
    fn a_text_is_found_where_it_stands_however_it_is_wrapped() {
        let composer = "old\n❯ [from human:bo]\n  please look at\n  the READ\n  ME file, ok?\n────\n  ctrl+g";
        assert_eq!(place_of(composer, TEXT), Some(2));
        let gone =
            "❯ [from human:bo]\n  please look at\n  the README file, ok?\n\n● Understood\n────\n❯\u{a0}\n────\n  ?";
        assert_eq!(place_of(gone, TEXT), Some(5));
        assert_eq!(place_of("❯\u{a0}[Pasted text #1 +3 lines]\n───\n footer", TEXT), Some(2));
        let beside = "┃  [from human:bo]          A small task\n┃  please look at         \n┃  the README          940 tokens\n┃  file, ok?          1% used\n";
        assert_eq!(place_of(beside, TEXT), Some(0));
        assert!(ends_of(beside, TEXT)[0].before_cursor(TEXT, 12, 0));
        assert_eq!(place_of("nothing of it", TEXT), None);
        assert_eq!(place_of("", "…"), None);
    }

    #[test]
    fn a_text_stands_in_the_composer_where_the_cursor_is_right_behind_it_and_nothing_else() {
        let stands =
            |screen: &str, column, rows_below| ends_of(screen, TEXT)[0].before_cursor(TEXT, column, rows_below);
        let screen = "❯ [from human:bo]\n  please look at\n  the README file, ok?\n────\n\n";
        assert!(stands(screen, 22, 2) && stands(screen, 23, 2));
        assert!(!stands(screen, 2, 2) && !stands(screen, 22, 1) && !stands(screen, 25, 2));
        let more = "❯ [from human:bo]\n  please look at\n  the README file, ok? and\n────\n\n";
        assert!(!stands(more, 26, 2) && !stands(more, 22, 2));
        // Folded, it is told by how long it is.
        for (fold, is) in [
            ("› [Pasted Content 49 chars]", false),
            ("› [Pasted Content 51 chars]", true),
            ("❯ [Pasted text #3 +2 lines]", true),
            ("❯ [Pasted text #2 +9 lines]", false),
            ("┃ [Pasted ~3 lines]", true),
        ] {
            assert_eq!(stands(fold, fold.width(), 0), is, "{fold}");
        }
    }

    #[test]
    fn a_line_break_leaves_the_cursor_below_the_text() {
        let screen = "❯ [from human:bo]\n  please look at\n  the README file, ok?\n\n────\n";
        let end = ends_of(screen, TEXT)[0];
        assert_eq!([2, 1, 0, 3].map(|rows| end.rows_to_cursor(rows)), [Some(0), Some(1), Some(2), None]);
        assert!(end.near_cursor(1) && end.near_cursor(2) && !end.near_cursor(0));
    }

    #[test]
    fn a_text_was_taken_where_it_stands_once_more() {
        let once = "❯ [from human:bo]\n  please look at\n  the README file, ok?\n● Understood\n❯\n";
        let more = |before: &str, after: &str, empty| Earlier::on(before, TEXT).once_more_on(after, TEXT, empty);
        assert!(more("❯\n", once, true));
        assert!(!more(once, once, true), "it stood there before");
        assert!(more(once, &format!("{once}{once}"), true));
        assert!(!more("❯\n", "Do you want to proceed?\n", true));
        // Where another stood far above, this is another, although that has left the screen.
        assert!(more(&format!("{once}{}", "more\n".repeat(9)), once, true));
        // What waits is shown by its beginning.
        let queued = "↳ [from human:bo]\n  please look at\n  the README file…\n❯\n";
        assert!(more("❯\n", queued, true) && !more("❯\n", queued, false) && !more(queued, queued, true));
        let composer = format!("{once}[from human:bo]\n  please look at\n  the README file, ok?\n");
        let beside = Earlier::beside_the_lowest(&composer, TEXT);
        assert!(!beside.once_more_on(once, TEXT, true) && beside.once_more_on(&format!("{once}{once}"), TEXT, true));
    }

    proptest! {
        #[test]
        fn a_text_at_the_end_is_found_at_the_end(above in "(?s).{0,60}", text in "(?s)[a-z].{0,60}[a-z]") {
            let screen = format!("{above}\n{text}");
            prop_assert_eq!(place_of(&screen, &text), Some(0));
        }

        #[test]
        fn no_screen_makes_it_panic(screen in "(?s).{0,200}", text in "(?s).{0,60}", column: u8, rows: u8) {
            for end in ends_of(&screen, &text) {
                let _ = end.before_cursor(&text, column.into(), rows.into());
                let _ = (end.rows_to_cursor(rows.into()), end.near_cursor(rows.into()));
            }
            let earlier = Earlier::on(&screen, &text);
            prop_assert!(!earlier.once_more_on(&screen, &text, true));
        }
    }
}

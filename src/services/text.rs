//! Text of agents, made fit to be shown: without control sequences, as wide as there is room.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Makes text of agents harmless on a terminal: no control sequences, no bidi tricks. Line breaks stay.
pub fn harmless(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(c),
            c if c.is_control() => Some('\u{fffd}'),
            c if acts(c) => None,
            c => Some(c),
        })
        .collect()
}

/// Whether a character does something to a terminal or to the order of what is read there: C0, DEL, C1; bidi marks,
/// embeddings, overrides and isolates; line and paragraph separators; BOM.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Harmless text on one line.
pub fn one_line(text: &str) -> String {
    harmless(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// So much of a notification is sent.
const LONGEST_NOTICE: usize = 200;

/// What shows a notification on the desktop: OSC 9, which terminals that do not know it leave out.
pub fn desktop_notice(words: &str) -> String {
    let words: String = one_line(words).chars().take(LONGEST_NOTICE).collect();
    format!("\x1b]9;{words}\x1b\\")
}

/// The text in at most `width` columns, an ellipsis where it was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// The end of the text in at most `width` columns, an ellipsis before it where more was there.
pub fn cut_before(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let kept = text.char_indices().rev().take_while(|(_, c)| {
        used += c.width().unwrap_or(0);
        used <= width
    });
    let from = kept.last().map_or(text.len(), |(at, _)| at);
    format!("…{}", &text[from..])
}

/// The text in lines of at most `width` columns, broken at blanks where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        loop {
            let end = fitting(rest, width);
            if end == rest.len() {
                break;
            }
            let end = if end == 0 { rest.chars().next().map_or(rest.len(), char::len_utf8) } else { end };
            // A word that is longer than the line is broken where the line ends.
            let at = rest[..end].rfind(' ').filter(|at| *at > 0 && !rest[end..].starts_with(' ')).unwrap_or(end);
            lines.push(rest[..at].trim_end().to_owned());
            rest = rest[at..].trim_start_matches(' ');
        }
        if !rest.is_empty() || line.is_empty() {
            lines.push(rest.to_owned());
        }
    }
    lines
}

/// How many bytes of `text` fit into `width` columns.
fn fitting(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_cannot_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[31mb\u{9b}c\u{202e}d\r\n"), "a\u{fffd}[31mb\u{fffd}cd\u{fffd}\n");
        assert_eq!(one_line("a\n\tb  c"), "a b c");
    }

    #[test]
    fn lines_break_at_blanks_and_wide_characters_count_twice() {
        assert_eq!(wrap("one two three\n\nfour", 7), ["one two", "three", "", "four"]);
        assert_eq!(wrap("日本語日本語", 5), ["日本", "語日", "本語"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日", 1), ["日"]);
        assert_eq!(cut("日本語", 4), "日…");
        let ends = [("日本語", 4), ("日本語", 5), ("src/main.rs:7", 9), ("ab", 2), ("abc", 1)];
        assert_eq!(ends.map(|(text, width)| cut_before(text, width)), ["…語", "…本語", "…ain.rs:7", "ab", "…"]);
    }
}

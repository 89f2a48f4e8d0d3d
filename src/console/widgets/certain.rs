//! What is drawn is as wide on every terminal, and ASCII where that is asked for.
//!
//! A flag, a family, a face with a skin tone, a digit in a box: terminals disagree on how many columns such clusters
//! take, and one that was counted wrong leaves its other half behind when the row changes. They are drawn as the
//! signs they are made of, each of which is one or two columns everywhere.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for a sign that some terminals do not know yet.
const UNKNOWN: char = '?';

/// The text in signs of certain width.
pub fn certain(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| substitute(c) == Some(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter_map(substitute).collect())
}

/// What is drawn in a sign's place; `None` for what only changes the look of the one before it.
fn substitute(c: char) -> Option<char> {
    match c {
        '\0'..='\u{ff}' => Some(c),
        // Joiners, variation selectors, the box around a digit, skin tones, tags.
        '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2064}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{20e3}'
        | '\u{1f3fb}'..='\u{1f3ff}'
        | '\u{e0000}'..='\u{e0fff}' => None,
        // The letters that flags are made of.
        '\u{1f1e6}'..='\u{1f1ff}' => char::from_u32(u32::from('A') + u32::from(c) - 0x1_f1e6),
        // Younger than what terminals in use know, or made wide in between.
        '\u{2630}'..='\u{2637}'
        | '\u{268a}'..='\u{268f}'
        | '\u{302e}'..='\u{302f}'
        | '\u{1f6d8}'..='\u{1f6df}'
        | '\u{1f7da}'..='\u{1f7df}'
        | '\u{1f7ec}'..='\u{1f7ff}'
        | '\u{1fa75}'..='\u{1fa77}'
        | '\u{1fa7b}'..='\u{1fa7f}'
        | '\u{1fa87}'..='\u{1fa8f}'
        | '\u{1faa9}'..='\u{1faaf}'
        | '\u{1fab7}'..='\u{1fabf}'
        | '\u{1fac3}'..='\u{1facf}'
        | '\u{1fad7}'..='\u{1faff}' => Some(UNKNOWN),
        _ => Some(c),
    }
}

/// The last touch on a screen: what came from elsewhere (an agent's screen, a text area) is made certain too, and
/// in ASCII no line, sign or key name is anything else.
pub fn settle(buffer: &mut Buffer, ascii: bool) {
    let area = buffer.area;
    for y in area.top()..area.bottom() {
        let mut x = area.left();
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            if symbol.is_ascii() {
                x += 1;
                continue;
            }
            let wide = u16::try_from(symbol.width()).unwrap_or(1).max(1);
            let text = one_cell(symbol, ascii);
            put(buffer, x, y, &text, wide);
            x = x.saturating_add(wide);
        }
    }
}

fn one_cell(symbol: &str, ascii: bool) -> String {
    let text = certain(symbol);
    if ascii { text.chars().map(|c| in_ascii(c).unwrap_or(c)).collect() } else { text.into_owned() }
}

/// Puts signs where a cluster of `wide` columns stood; what is left of its room is blank.
fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, wide: u16) {
    if buffer[(x, y)].symbol() == text {
        return;
    }
    let style = buffer[(x, y)].style();
    let end = x.saturating_add(wide).min(buffer.area.right());
    let (mut at, mut last) = (x, None);
    for c in text.chars() {
        let columns = u16::try_from(c.width().unwrap_or(0)).unwrap_or(0);
        match last {
            // A mark on the sign before it.
            Some(before) if columns == 0 => {
                let marked = format!("{}{c}", buffer[(before, y)].symbol());
                buffer[(before, y)].set_symbol(&marked);
            }
            Some(_) | None if columns > 0 && at + columns <= end => {
                buffer[(at, y)].set_char(c).set_style(style);
                last = Some(at);
                at += columns;
            }
            Some(_) | None => {}
        }
    }
    for rest in at..end {
        buffer[(rest, y)].set_char(' ').set_style(style);
    }
}

/// A sign of ours in ASCII; what people wrote is left as it is.
const fn in_ascii(c: char) -> Option<char> {
    Some(match c {
        '…' | '◐' => '~',
        '·' | '─' | '━' | '—' | '–' => '-',
        '•' | '●' => '*',
        '│' | '┃' | '▏' => '|',
        '╭' | '╮' | '╰' | '╯' | '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '✓' => {
            '+'
        }
        '→' | '▸' | '↳' => '>',
        '←' | '↵' => '<',
        '↑' | '▲' => '^',
        '↓' => 'v',
        '○' => 'o',
        '✖' | '×' => 'x',
        '■' => '#',
        '⏸' => '=',
        '\u{fffd}' => '?',
        '\u{a0}' => ' ',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn clusters_become_the_signs_they_are_made_of() {
        for (cluster, drawn) in [
            ("🇩🇪 x", "DE x"),
            ("👨\u{200d}👩\u{200d}👧", "👨👩👧"),
            ("👍🏽", "👍"),
            ("❤\u{fe0f}", "❤"),
            ("1\u{fe0f}\u{20e3}", "1"),
            ("🏴\u{e0067}\u{e0062}\u{e007f}", "🏴"),
            ("\u{1fae8}", "?"),
            ("日本語 e\u{301} 🎉 plain", "日本語 e\u{301} 🎉 plain"),
        ] {
            assert_eq!(certain(cluster), drawn);
        }
    }

    #[test]
    fn a_screen_keeps_its_columns() {
        for (given, drawn) in
            [("🇩🇪|", "DE|"), ("👨\u{200d}👩\u{200d}👧|", "👨|"), ("❤\u{fe0f}|", "❤ |"), ("語e\u{301}|", "語e\u{301}|")]
        {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
            buffer.set_string(0, 0, given, Style::new());
            settle(&mut buffer, false);
            let mut expected = Buffer::empty(Rect::new(0, 0, 8, 1));
            expected.set_string(0, 0, drawn, Style::new());
            assert_eq!(buffer, expected, "{given}");
        }
    }
}

//! Text as it was pasted, kept byte for byte in an editor that shows some characters and drops others.
//!
//! While it is being written each character that must not reach a terminal changes places with one of Unicode's
//! private ones, which an editor treats as a letter. The exchange is its own inverse, so nothing is ever lost: what
//! is taken out is what was put in. On the screen a visible sign stands for it.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// The private characters begin here, at the end of the last plane.
const PRIVATE: u32 = 0x10_FF00;
/// Bidi marks, embeddings, overrides and isolates; line and paragraph separators; the mark at the begin of files.
const MARKS: [char; 15] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
    '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}', '\u{feff}',
];
/// Marks come behind C0, DEL and C1.
const FIRST_MARK: u32 = 0xA0;

/// The character that stands for `c` in the editor, and the other way round.
pub fn exchanged(c: char) -> char {
    let code = u32::from(c);
    let other = if c.is_control() && !matches!(c, '\n' | '\t') {
        PRIVATE.checked_add(code).and_then(char::from_u32)
    } else if let Some(at) = MARKS.iter().position(|mark| *mark == c) {
        u32::try_from(at).ok().and_then(|at| char::from_u32(PRIVATE + FIRST_MARK + at))
    } else {
        code.checked_sub(PRIVATE).and_then(original)
    };
    other.unwrap_or(c)
}

/// What the private character with this number stands for.
fn original(number: u32) -> Option<char> {
    match number.checked_sub(FIRST_MARK) {
        Some(at) => MARKS.get(usize::try_from(at).ok()?).copied(),
        None => char::from_u32(number).filter(|c| c.is_control() && !matches!(c, '\n' | '\t')),
    }
}

/// The text with all such characters exchanged.
pub fn exchange(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| exchanged(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(exchanged).collect())
}

/// Puts visible signs where the editor has drawn what stands for something else.
pub fn reveal(area: Rect, buffer: &mut Buffer) {
    for position in area.positions() {
        let Some(cell) = buffer.cell_mut(position) else { continue };
        if cell.symbol().chars().all(|c| exchanged(c) == c) {
            continue;
        }
        let shown: String = cell.symbol().chars().map(sign).collect();
        cell.set_symbol(&shown);
    }
}

/// The sign for what stands in the editor.
fn sign(c: char) -> char {
    match u32::from(exchanged(c)) {
        _ if exchanged(c) == c => c,
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::text::harmless;

    #[test]
    fn every_character_comes_back_and_none_that_harms_is_left() {
        for c in '\0'..=char::MAX {
            let stands = exchanged(c);
            assert_eq!(exchanged(stands), c, "{c:?}");
            let dangerous = harmless(&c.to_string()) != c.to_string() && c != '\u{fffd}';
            assert_eq!(dangerous, u32::from(stands) >= PRIVATE && stands != c, "{c:?}");
            let shown = sign(stands).to_string();
            assert_eq!(harmless(&shown), shown, "{c:?}");
        }
    }
}

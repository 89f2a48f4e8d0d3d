//! Text in columns. Whatever comes in is made harmless and certain, and is exactly as wide as it is told to be.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::certain::certain;
use crate::services::text::{cut, one_line};

/// One line, made of columns.
#[derive(Debug, Clone, Default)]
pub struct Row {
    spans: Vec<Span<'static>>,
}

impl Row {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Text as wide as it is.
    #[must_use]
    pub fn text(mut self, text: &str, style: Style) -> Self {
        self.spans.push(Span::styled(certain(&one_line_keeping_ends(text)).into_owned(), style));
        self
    }

    /// Another line after this one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// A column of text at its left, and a blank column after it.
    #[must_use]
    pub fn left(mut self, text: &str, width: usize, style: Style) -> Self {
        if width == 0 {
            return self;
        }
        let text = cut(&certain(&one_line(text)), width);
        let gap = width.saturating_sub(text.width());
        self.spans.push(Span::styled(text, style));
        self.spans.push(Span::raw(" ".repeat(gap + 1)));
        self
    }

    /// A column of text at its right, and a blank column after it.
    #[must_use]
    pub fn right(mut self, text: &str, width: usize, style: Style) -> Self {
        if width == 0 {
            return self;
        }
        let text = cut(&certain(&one_line(text)), width);
        let gap = width.saturating_sub(text.width());
        self.spans.push(Span::raw(" ".repeat(gap)));
        self.spans.push(Span::styled(text, style));
        self.spans.push(Span::raw(" "));
        self
    }

    /// A column of text at its left in which some parts, given in bytes, stand out.
    #[must_use]
    pub fn marked(mut self, text: &str, marks: &[Range<usize>], width: usize, styles: [Style; 2]) -> Self {
        let ends = marks.iter().flat_map(|mark| [mark.start, mark.end]).chain([text.len()]);
        let (mut from, mut room) = (0, width);
        for (at, to) in ends.enumerate() {
            let Some(part) = text.get(from..to).filter(|_| room > 0) else { break };
            from = to;
            let part = cut(&certain(&one_line_keeping_ends(part)), room);
            room -= part.width().min(room);
            self.spans.push(Span::styled(part, styles[at % 2]));
        }
        self.spans.push(Span::raw(" ".repeat(room + usize::from(width > 0))));
        self
    }

    /// How wide it is.
    pub fn width(&self) -> usize {
        self.spans.iter().map(Span::width).sum()
    }

    /// The line.
    pub fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }

    /// Draws it at the top of `area`, nothing beyond it.
    pub fn draw(self, area: Rect, buffer: &mut Buffer) {
        if area.height > 0 && area.width > 0 {
            buffer.set_line(area.x, area.y, &self.line(), area.width);
        }
    }
}

/// How wide columns become: each has what it needs, the first ones first; one that would get less than its least, and less
/// than it needs, gets nothing. With each goes the blank column after it. What is left over is said beside.
pub fn share<const N: usize>(room: usize, columns: [(usize, usize); N]) -> ([usize; N], usize) {
    // The last column needs no blank after it.
    let mut left = room + 1;
    let given = columns.map(|(need, least)| {
        let given = need.min(left.saturating_sub(1));
        if given == 0 || given < least.min(need) {
            return 0;
        }
        left -= given + 1;
        given
    });
    (given, left)
}

/// Harmless text on one line; blanks at its ends stay.
fn one_line_keeping_ends(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain {
        return text.to_owned();
    }
    crate::services::text::harmless(text).replace(['\n', '\t'], " ")
}

/// Two rows on one line: one at each end. What does not fit is left out at the right first.
pub fn ends(left: Row, right: Row, area: Rect, buffer: &mut Buffer) {
    let (wide, total) = (right.width(), usize::from(area.width));
    let room = total.saturating_sub(left.width());
    left.draw(area, buffer);
    if wide > 0 && wide < room {
        let x = area.right().saturating_sub(u16::try_from(wide).unwrap_or(area.width));
        right.draw(Rect { x, width: area.right() - x, ..area }, buffer);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::{Row, share};

    #[test]
    fn what_has_no_room_is_cut_once() {
        let shown = |width: usize| -> String {
            let row = Row::new().marked("one two three four", &[4..7, 8..13], width, [Style::new(); 2]);
            row.line().spans.iter().map(|span| span.content.as_ref()).collect()
        };
        assert_eq!(shown(18), "one two three four ");
        assert_eq!(shown(6), "one t… ");
        assert_eq!(shown(2), "o… ");
    }

    #[test]
    fn the_first_columns_get_what_they_need() {
        let columns = [(9, 9), (7, 4), (4, 4), (6, 1)];
        assert_eq!(share(32, columns), ([9, 7, 4, 6], 3));
        assert_eq!(share(29, columns), ([9, 7, 4, 6], 0));
        assert_eq!(share(22, columns), ([9, 7, 4, 0], 0));
        assert_eq!(share(16, columns), ([9, 6, 0, 0], 0));
        assert_eq!(share(32, [(9, 9), (1, 4), (4, 4), (6, 1)]), ([9, 1, 4, 6], 9), "a short name is a name");
        assert_eq!(share(0, columns), ([0, 0, 0, 0], 1));
    }
}

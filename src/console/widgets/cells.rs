//! Text in columns. Whatever comes in is made harmless, and is exactly as wide as it is told to be.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::services::text::{cut, one_line};

/// One line, made of columns.
#[derive(Debug, Default)]
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
        self.spans.push(Span::styled(one_line_keeping_ends(text), style));
        self
    }

    /// A column of text at its left, and a blank column after it.
    #[must_use]
    pub fn left(mut self, text: &str, width: usize, style: Style) -> Self {
        if width == 0 {
            return self;
        }
        let text = cut(&one_line(text), width);
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
        let text = cut(&one_line(text), width);
        let gap = width.saturating_sub(text.width());
        self.spans.push(Span::raw(" ".repeat(gap)));
        self.spans.push(Span::styled(text, style));
        self.spans.push(Span::raw(" "));
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

//! An agent's screen: its escape sequences are interpreted here by a terminal emulator, never passed through.

use std::num::NonZeroU16;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use crate::console::theme::{Palette, Theme};
use crate::services::text::harmless;

/// The widest screen that is kept; what lies beyond is not shown.
const WIDEST: u16 = 400;
/// The most lines.
const LONGEST: u16 = 2_000;

/// A screen as it was captured, line by line.
pub struct Emulated {
    parser: vt100::Parser,
    rows: u16,
}

impl std::fmt::Debug for Emulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulated").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Emulated {
    /// Interprets captured lines.
    pub fn new(bytes: &[u8]) -> Self {
        let trimmed = bytes.trim_ascii_end();
        let lines: Vec<&[u8]> = trimmed.split(|byte| *byte == b'\n').collect();
        let skipped = lines.len().saturating_sub(usize::from(LONGEST));
        let lines = &lines[skipped..];
        let rows = u16::try_from(lines.len()).unwrap_or(LONGEST).max(1);
        let size = |number: u16| NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN);
        let mut parser = vt100::Parser::new(size(rows), size(WIDEST), 0);
        for (at, line) in lines.iter().enumerate() {
            // Each line has its own place: one that is too long must not push the others.
            parser.process(format!("\x1b[{};1H", at + 1).as_bytes());
            parser.process(b"\x1b[?7l");
            parser.process(line.strip_suffix(b"\r").unwrap_or(line));
        }
        Self { parser, rows }
    }

    /// How many lines it has.
    pub fn rows(&self) -> usize {
        usize::from(self.rows)
    }

    /// Draws the lines from `first` on.
    pub fn draw(&self, first: usize, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let screen = self.parser.screen();
        for y in 0..area.height {
            let Ok(row) = u16::try_from(first + usize::from(y)) else { return };
            for x in 0..area.width {
                let Some(cell) = screen.cell(row, x).filter(|cell| !cell.is_wide_continuation()) else { continue };
                if !cell.has_contents() && cell.bgcolor() == vt100::Color::Default && !cell.inverse() {
                    continue;
                }
                if cell.is_wide() && x + 1 >= area.width {
                    continue;
                }
                let text = harmless(cell.contents()).replace(['\n', '\t'], " ");
                let text = if text.is_empty() { " " } else { text.as_str() };
                buffer.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style(cell, theme));
            }
        }
    }
}

fn style(cell: &vt100::Cell, theme: Theme) -> Style {
    let mut style = Style::new();
    if theme.palette != Palette::None {
        if let Some(color) = color(cell.fgcolor()) {
            style = style.fg(color);
        }
        if let Some(color) = color(cell.bgcolor()) {
            style = style.bg(color);
        }
    }
    for (on, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if on {
            style = style.add_modifier(modifier);
        }
    }
    style
}

fn color(color: vt100::Color) -> Option<Color> {
    match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Color::Indexed(index)),
        vt100::Color::Rgb(red, green, blue) => Some(Color::Rgb(red, green, blue)),
    }
}

//! A pane: a thin frame with a title, its keys' number, and its counts.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Widget};

use super::cells::Row;
use crate::console::theme::Theme;
use crate::services::text::wrap;

/// Draws the frame and says what is left inside.
pub fn frame(title: Row, focused: bool, theme: Theme, area: Rect, buffer: &mut Buffer) -> Rect {
    if area.width < 3 || area.height < 3 {
        return Rect { width: 0, height: 0, ..area };
    }
    let style = if focused { theme.accent() } else { theme.faint() };
    let block = Block::new().borders(Borders::ALL).border_set(border::ROUNDED).border_style(style);
    let inner = block.inner(area);
    block.render(area, buffer);
    if area.width > 6 {
        let room = area.width - 4;
        // The blank at a title's end needs no room.
        let cut = title.width() > usize::from(room) + 1;
        buffer.set_line(area.x + 2, area.y, &title.line(), room);
        if cut {
            buffer[(area.right() - 3, area.y)].set_char('…');
        }
    }
    inner
}

/// Says in an empty pane what fills it.
pub fn empty(text: &str, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width.saturating_sub(2));
    if width == 0 {
        return;
    }
    for (line, text) in (area.y..area.bottom()).zip(wrap(text, width)) {
        buffer.set_line(area.x + 1, line, &Line::styled(text, theme.dim()), area.width.saturating_sub(2));
    }
}

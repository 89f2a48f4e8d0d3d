//! All keys of a place, from the one table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Widget};

use super::cells::Row;
use super::list::Scroll;
use super::pane;
use crate::console::keymap::{Binding, Key, Place, rows};
use crate::console::theme::Theme;

/// Draws the keys of `place` over the screen.
pub fn draw(place: Place, scroll: &Scroll, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = area.width.min(92);
    // What acts comes first, ways through the lists after it.
    let mut bindings: Vec<&Binding> = rows(place).collect();
    bindings.sort_by_key(|row| row.rank == 0);
    let height = u16::try_from(bindings.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let frame = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(frame, buffer);
    let title = Row::new().text(" Keys ", theme.strong()).text("any other key closes ", theme.dim());
    let inner = pane::frame(title, true, theme, frame, buffer);
    let first = scroll.first(bindings.len(), usize::from(inner.height));
    for (y, binding) in (inner.y..inner.bottom()).zip(bindings.iter().skip(first)) {
        buffer.set_line(inner.x, y, &line(binding, theme), inner.width);
    }
}

fn line(binding: &Binding, theme: Theme) -> Line<'static> {
    let keys: Vec<String> = binding.keys.iter().map(|key: &Key| key.label()).collect();
    let row = Row::new()
        .right(&keys.join(" "), 20, theme.accent())
        .text(" ", theme.plain())
        .text(binding.what, theme.plain());
    if binding.destructive { row.text(" · asks first", theme.dim()).line() } else { row.line() }
}

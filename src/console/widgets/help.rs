//! All keys of a place, from the one table: first those of what is in focus, then those that hold everywhere.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::cells::Row;
use super::dialog::over;
use super::list::Scroll;
use super::pane;
use crate::console::action::Pane;
use crate::console::keymap::{Binding, Place, rows};
use crate::console::theme::Theme;
use crate::services::text::wrap;

/// Draws the keys of `place` over the screen.
pub fn draw((place, focus): (Place, Pane), scroll: &Scroll, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = area.width.min(92);
    let lines = lines(place, focus, usize::from(width.saturating_sub(3)), theme);
    let frame = over(area, width, lines.len(), buffer);
    let inner = pane::frame(title("Keys", lines.len(), frame, theme), true, theme, frame, buffer);
    let first = scroll.first(lines.len(), usize::from(inner.height));
    for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(first)) {
        buffer.set_line(inner.x + 1, y, line, inner.width.saturating_sub(1));
    }
}

/// The title of what lies over the screen and is read, not answered.
pub fn title(name: &str, lines: usize, frame: Rect, theme: Theme) -> Row {
    let scrolls = lines + 2 > usize::from(frame.height);
    let keys = if scrolls { "up and down scroll, any other key closes " } else { "any key closes " };
    Row::new().text(&format!(" {name} "), theme.strong()).text(keys, theme.dim())
}

fn lines(place: Place, focus: Pane, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let (name, of) = match place {
        Place::Home => (focus.title(), focus),
        Place::Run => ("Run", Pane::Runs),
        Place::Thread => ("Thread", Pane::Forum),
        Place::Operator => ("Operator", Pane::Attention),
        Place::Text | Place::Dialog | Place::Picker | Place::Since => ("Here", focus),
    };
    let (mut here, mut everywhere): (Vec<&Binding>, Vec<&Binding>) = rows(place)
        .filter(|row| row.panes.is_empty() || row.panes.contains(&of))
        .partition(|row| !row.panes.is_empty());
    // What acts comes first, ways through the lists after it.
    here.sort_by_key(|row| if row.rank == 0 { u8::MAX } else { row.rank });
    everywhere.sort_by_key(|row| row.rank == 0);
    let mut lines = Vec::new();
    for (name, bindings) in [(name, here), ("Everywhere", everywhere)] {
        if bindings.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Row::new().text(name, theme.strong()).line());
        for binding in bindings {
            entry(binding, width, theme, &mut lines);
        }
    }
    lines
}

/// A key and what it does, on as many lines as that takes.
fn entry(binding: &Binding, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let keys: Vec<String> = binding.keys.iter().map(|key| key.label(theme.ascii)).collect();
    let column = if width > 70 { 18 } else { 14 };
    let asks = if binding.destructive { " (asks first)" } else { "" };
    let keys = wrap(&keys.join(" "), column);
    let words = wrap(&format!("{}{asks}", binding.what), width.saturating_sub(column + 2));
    for at in 0..keys.len().max(words.len()) {
        let part = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let row = Row::new().right(&part(&keys), column, theme.accent()).text(" ", theme.plain());
        lines.push(row.text(&part(&words), theme.plain()).line());
    }
}

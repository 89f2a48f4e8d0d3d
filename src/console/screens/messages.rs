//! Everything that was said, in full: what is wrong with the home, errors that stand, and the last messages.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::{ago, troubles};
use crate::console::app::App;
use crate::console::widgets::cells::Row;
use crate::console::widgets::dialog::over;
use crate::console::widgets::help::title;
use crate::console::widgets::list::Scroll;
use crate::console::widgets::pane;
use crate::services::text::{harmless, wrap};

/// Its title needs so much.
const TITLE: usize = 52;

/// Draws them over the screen.
pub fn draw(app: &App, scroll: &Scroll, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let room = usize::from(area.width.min(100).saturating_sub(4));
    let mut lines = Vec::new();
    for (words, style) in troubles(app) {
        paragraph("now", &words, style, room, app, &mut lines);
    }
    for said in app.said.iter().rev() {
        let style = if said.error { theme.bad() } else { theme.plain() };
        paragraph(&ago(app.time.now, Some(said.at)), &said.text, style, room, app, &mut lines);
    }
    if lines.is_empty() {
        lines.push(Row::new().text("Nothing was said yet.", theme.dim()).line());
    }
    let widest = lines.iter().map(Line::width).max().unwrap_or_default().max(TITLE) + 4;
    let place = over(area, u16::try_from(widest).unwrap_or(area.width), lines.len(), buffer);
    let inner = pane::frame(title("Messages", lines.len(), place, theme), true, theme, place, buffer);
    let first = scroll.first(lines.len(), usize::from(inner.height));
    for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(first)) {
        buffer.set_line(inner.x + 1, y, line, inner.width.saturating_sub(1));
    }
}

fn paragraph(when: &str, text: &str, style: Style, room: usize, app: &App, lines: &mut Vec<Line<'static>>) {
    for (at, text) in wrap(&harmless(text), room.saturating_sub(5)).iter().enumerate() {
        let when = if at == 0 { when } else { "" };
        lines.push(Row::new().right(when, 4, app.theme.dim()).text(text, style).line());
    }
}

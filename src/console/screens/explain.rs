//! Why something stands as it does, over the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::app::App;
use crate::console::theme::{Mark, Theme};
use crate::console::widgets::cells::Row;
use crate::console::widgets::dialog::over;
use crate::console::widgets::help::title;
use crate::console::widgets::list::Scroll;
use crate::console::widgets::pane;
use crate::services::explain::{Explanation, Tone};
use crate::services::text::{one_line, wrap};

/// It is at most so wide: longer lines are hard to read.
const WIDEST: u16 = 104;
/// Names of lines stand in a column of at most this width.
const WIDEST_NAME: usize = 22;
/// Its title needs so much.
const TITLE: usize = 52;

/// Draws it over the screen.
pub fn draw(app: &App, told: Option<&Explanation>, scroll: &Scroll, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let room = usize::from(area.width.min(WIDEST).saturating_sub(4));
    let lines = match told {
        Some(told) => account(told, theme, room),
        None => vec![Row::new().text(&theme.under_way("looking it up"), theme.dim()).line()],
    };
    let widest = lines.iter().map(Line::width).max().unwrap_or_default().max(TITLE) + 4;
    let place = over(area, u16::try_from(widest).unwrap_or(area.width), lines.len(), buffer);
    let inner = pane::frame(title("Explain", lines.len(), place, theme), true, theme, place, buffer);
    let first = scroll.first(lines.len(), usize::from(inner.height));
    for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(first)) {
        buffer.set_line(inner.x + 1, y, line, inner.width.saturating_sub(1));
    }
}

fn account(told: &Explanation, theme: Theme, room: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Row::new().text(&one_line(&told.title), theme.strong()).line()];
    for words in wrap(&one_line(&told.stands), room) {
        lines.push(Row::new().text(&words, theme.plain()).line());
    }
    for part in &told.parts {
        lines.push(Line::default());
        lines.push(Row::new().text(part.heading, theme.dim()).line());
        let names = part.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default().min(WIDEST_NAME);
        let room = room.saturating_sub(names + 4).max(10);
        for line in &part.lines {
            let (sign, style) = match line.tone {
                Tone::Plain => (" ", theme.plain()),
                Tone::Fits => (theme.sign(Mark::Done), theme.plain()),
                Tone::Not => (" ", theme.dim()),
            };
            for (at, words) in wrap(&one_line(&line.text), room).iter().enumerate() {
                let (sign, name) = if at == 0 { (sign, one_line(&line.name)) } else { (" ", String::new()) };
                let row = Row::new().left(sign, 1, theme.good()).left(&name, names, theme.dim());
                lines.push(row.text(words, style).line());
            }
        }
    }
    lines
}

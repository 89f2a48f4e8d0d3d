//! The home screen: five panes, laid out for the room there is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{agents, attention, forum, live, runs, take_top};
use crate::console::action::Pane;
use crate::console::app::{App, Layout};
use crate::console::widgets::cells::Row;

/// Draws the panes.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    match app.layout() {
        Layout::Wide => wide(app, area, buffer),
        Layout::Medium => medium(app, area, buffer),
        Layout::Narrow => narrow(app, area, buffer),
        Layout::Tiny => {}
    }
}

fn pane(app: &App, pane: Pane, area: Rect, buffer: &mut Buffer) {
    match pane {
        Pane::Runs => runs::draw(app, area, buffer),
        Pane::Agents => agents::draw(app, area, buffer),
        Pane::Attention => attention::draw(app, area, buffer),
        Pane::Forum => forum::draw(app, area, buffer),
        Pane::Live => live::draw(app, area, buffer),
    }
}

fn wide(app: &App, area: Rect, buffer: &mut Buffer) {
    let longest = app.runs.len().max(app.agents.len()).max(app.attention.len());
    let wanted = u16::try_from(longest + 2).unwrap_or(u16::MAX).max(7);
    let top = wanted.min(area.height * 2 / 5).min(area.height);
    let (above, below) = (Rect { height: top, ..area }, Rect { y: area.y + top, height: area.height - top, ..area });
    let (first, rest) = split(above, above.width * 28 / 100);
    let (second, third) = split(rest, above.width * 43 / 100);
    pane(app, Pane::Runs, first, buffer);
    pane(app, Pane::Agents, second, buffer);
    pane(app, Pane::Attention, third, buffer);
    let (left, right) = split(below, below.width / 2);
    pane(app, Pane::Forum, left, buffer);
    pane(app, Pane::Live, right, buffer);
}

fn medium(app: &App, area: Rect, buffer: &mut Buffer) {
    let (left, right) = split(area, area.width * 46 / 100);
    let (runs, agents) = stack(left, left.height * 2 / 5);
    pane(app, Pane::Runs, runs, buffer);
    pane(app, Pane::Agents, agents, buffer);
    if app.focus == Pane::Live {
        return pane(app, Pane::Live, right, buffer);
    }
    let (above, below) = stack(right, right.height * 2 / 5);
    pane(app, Pane::Attention, above, buffer);
    pane(app, Pane::Forum, below, buffer);
}

fn narrow(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut body = area;
    let tabs = take_top(&mut body, 1);
    let theme = app.theme;
    let mut row = Row::new().text(" ", theme.plain());
    for pane in Pane::ALL {
        let style = if pane == app.focus { theme.accent() } else { theme.dim() };
        let count = match pane {
            Pane::Runs => app.snapshot.runs.len(),
            Pane::Agents => app.snapshot.agents.len(),
            Pane::Attention => app.digest.escalations.0,
            Pane::Forum => app.snapshot.queues.needs_me.count(),
            Pane::Live => 0,
        };
        let number = if count > 0 { format!(" {count}") } else { String::new() };
        let title = if area.width < 58 && pane != app.focus { "" } else { pane.title() };
        row = row.text(&format!("{} {title}{number}  ", pane.number()), style);
    }
    row.draw(tabs, buffer);
    pane(app, app.focus, body, buffer);
}

fn split(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

fn stack(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

/// A pane's title: its number, its name, and what it counts.
pub fn title(app: &App, pane: Pane, name: &str, counts: &str) -> Row {
    let (theme, focused) = (app.theme, app.focus == pane);
    let number = if focused { theme.accent() } else { theme.dim() };
    let row = Row::new().text(&format!(" {} ", pane.number()), number);
    let row = row.text(&format!("{name} "), super::bold_if(focused, theme.plain()));
    let row = if counts.is_empty() { row } else { row.text(&format!("{counts} "), theme.dim()) };
    let row = match app.marked(pane) {
        (0, _) => row,
        (count, 0) => row.text(&format!("{count} marked "), theme.accent()),
        (count, hidden) => row.text(&format!("{count} marked, {hidden} not shown "), theme.accent()),
    };
    match app.filters.get(&pane).filter(|text| !text.is_empty()) {
        Some(filter) => row.text(&format!("/{filter} "), theme.accent()),
        None => row,
    }
}

//! What happened since one left, over the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line as Text;
use unicode_width::UnicodeWidthStr;

use super::ago;
use crate::console::app::App;
use crate::console::app::since::{Item, Panel};
use crate::console::theme::{Mark, Theme};
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::dialog::over;
use crate::console::widgets::pane;
use crate::domain::report::Line;
use crate::domain::time::{Moment, age};
use crate::services::report_words::ways;

/// It is at most so wide: longer lines are hard to read.
const WIDEST: u16 = 116;

/// The parts, in their order: the heading, and the sign before each line.
const PARTS: [(&str, Mark); 5] = [
    ("Finished", Mark::Done),
    ("Stuck", Mark::Dead),
    ("Restarted", Mark::Starting),
    ("Waiting for you", Mark::Waits),
    ("The operator", Mark::Idle),
];

/// Draws it over the screen.
pub fn draw(app: &App, panel: &Panel, area: Rect, buffer: &mut Buffer) {
    let (theme, told) = (app.theme, &panel.told);
    let width = area.width.saturating_sub(2).min(WIDEST);
    let room = usize::from(width.saturating_sub(6));
    let headings = headings(panel, theme);
    let lines = panel.list.len() + headings.iter().map(|(_, lines)| lines.len()).sum::<usize>();
    let height = lines.min(usize::from(area.height.saturating_sub(4)));
    let place = over(area, width, height, buffer);
    let title = Row::new()
        .text(" Since you left ", theme.strong())
        .text(&format!("{} ago ", age(told.until.since(told.since))), theme.dim());
    let inner = pane::frame(title, true, theme, place, buffer);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let count = panel.parts().iter().sum();
    let columns = (0..count).filter_map(|at| panel.item_at(at)).filter_map(|(_, item)| columns_of(app, item));
    let widest = columns.fold((0, 0), |(name, what), one| (name.max(one.subject.width()), what.max(one.what.width())));
    panel.list.draw_parted(&headings, inner, buffer, theme, |at| match panel.item_at(at) {
        Some((_, Item::Deed(words))) => Row::new().left(words, room, theme.plain()).line(),
        Some((part, item)) => match columns_of(app, item) {
            Some(told) => row(app, PARTS[part].1, &told, widest, room),
            None => Text::default(),
        },
        None => Text::default(),
    });
}

/// The headings between the lines.
fn headings(panel: &Panel, theme: Theme) -> Vec<(usize, Vec<Text<'static>>)> {
    let (mut headings, mut at) = (Vec::new(), 0);
    for (count, (heading, mark)) in panel.parts().into_iter().zip(PARTS) {
        if count > 0 {
            let number = if mark == Mark::Idle { String::new() } else { format!(" {count}") };
            let mut lines = if headings.is_empty() { Vec::new() } else { vec![Text::default()] };
            lines.push(Row::new().text(heading, theme.accent()).text(&number, theme.dim()).line());
            headings.push((at, lines));
        }
        at += count;
    }
    headings
}

/// What stands in the columns of a line.
struct Columns<'a> {
    subject: String,
    what: String,
    reason: &'a str,
    at: Moment,
}

fn columns_of<'a>(app: &App, item: Item<'a>) -> Option<Columns<'a>> {
    Some(match item {
        Item::Deed(_) => return None,
        Item::Line(line) => {
            Columns { subject: subject(line), what: line.what.replace('_', " "), reason: &line.reason, at: line.at }
        }
        Item::Restarted(one) => Columns {
            subject: {
                let ticket = app.snapshot.run(&one.run_id).and_then(|run| run.tickets.first());
                format!("{}, {}", one.agent, ticket.unwrap_or(&one.workspace))
            },
            what: ways(one),
            reason: &one.reason,
            at: one.last_at,
        },
    })
}

fn row(app: &App, mark: Mark, told: &Columns<'_>, (name, what): (usize, usize), width: usize) -> Text<'static> {
    let theme = app.theme;
    let what = what.min(if width < 90 { 11 } else { 24 });
    let ([name, what, since, why], spare) =
        share(width.saturating_sub(2), [(name.min(30), 8), (what, 6), (4, 4), (200, 10)]);
    let (name, why) = if why > 0 { (name, why + spare) } else { (name + spare, 0) };
    Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .left(&told.subject, name, theme.plain())
        .left(&told.what, what, theme.dim())
        .left(told.reason, why, theme.plain())
        .right(&ago(app.time.now, Some(told.at)), since, theme.dim())
        .line()
}

fn subject(line: &Line) -> String {
    match (&line.agent, line.ticket.as_ref().or(line.run_id.as_ref())) {
        (Some(agent), Some(place)) => format!("{agent}, {place}"),
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (None, None) => "this home".to_owned(),
    }
}

//! Escalations and suggestions: what needs a human, and what the operator would do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::{ago, due_words, home};
use crate::console::action::Pane;
use crate::console::app::{App, Attention};
use crate::console::theme::Mark;
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::pane;
use crate::domain::time::{Moment, age};
use crate::services::snapshot::EscalationRow;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Attention;
    let (calls, known) = app.digest.escalations;
    let counts: Vec<String> = [(calls, ""), (known, " acknowledged"), (app.snapshot.suggestions.len(), " suggested")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| if what.is_empty() { format!("({count})") } else { format!("{count}{what}") })
        .collect();
    let counts = counts.join(&format!(" {} ", app.theme.dot()));
    let inner =
        pane::frame(home::title(app, Pane::Attention, "Escalations", &counts), focused, app.theme, area, buffer);
    if app.attention.is_empty() {
        let words = if app.waiting() > 0 {
            "Nothing is escalated. A question waits: w goes there."
        } else {
            "Nothing needs you. Deaths beyond their restarts and questions past their time come here."
        };
        return pane::empty(words, app.theme, inner, buffer);
    }
    let width = usize::from(inner.width.saturating_sub(3));
    app.attention.draw(
        inner,
        buffer,
        app.theme,
        focused,
        |place| app.is_marked(Pane::Attention, place),
        |place| {
            crate::console::app::attention_at(&app.snapshot, place)
                .map_or_else(Line::default, |item| row(app, item, width))
        },
    );
}

fn row(app: &App, item: Attention<'_>, width: usize) -> Line<'static> {
    let (theme, now, needs) = (app.theme, app.time.now, app.digest.needs.called.min(12));
    match item {
        Attention::Escalation(row) => {
            let (due, late) = due(row, now);
            let mark = if row.thread_id.is_some() { Mark::Waits } else { Mark::Dead };
            let (tone, plain) =
                if row.calls(now) { (theme.tone(mark), theme.strong()) } else { (theme.dim(), theme.dim()) };
            let ticket = row.ticket.as_deref().unwrap_or_default();
            let ([reason, place, wide, since], spare) =
                share(width.saturating_sub(2), [(12, 4), (needs, needs), (due.width(), due.width()), (4, 4)]);
            Row::new()
                .left(theme.sign(mark), 1, tone)
                .left(&row.reason, reason + spare, plain)
                .left(ticket, place, theme.dim())
                .right(&ago(now, Some(row.opened_at)), since, theme.dim())
                .right(&due, wide, if late { theme.bad() } else { theme.dim() })
                .line()
        }
        Attention::Suggestion(row) => {
            let ticket = row.ticket.as_deref().unwrap_or_default();
            let ([offer, place, since, reason], spare) =
                share(width.saturating_sub(2), [(row.offer.width(), 4), (needs, 4), (4, 4), (row.reason.width(), 8)]);
            let (offer, reason) = if reason > 0 { (offer, reason + spare) } else { (offer + spare, 0) };
            Row::new()
                .left("→", 1, theme.accent())
                .left(&row.offer, offer, theme.plain())
                .left(&row.reason, reason, theme.dim())
                .left(ticket, place, theme.dim())
                .right(&ago(now, Some(row.created_at)), since, theme.dim())
                .line()
        }
    }
}

/// When it calls again, or that it does, and whether that is overdue.
fn due(row: &EscalationRow, now: Moment) -> (String, bool) {
    match (row.due_at, row.calls(now)) {
        (Some(due), false) => (format!("silent {}", age(due.since(now))), false),
        (None, false) => ("acknowledged".to_owned(), false),
        (due, true) => due_words(due, now),
    }
}

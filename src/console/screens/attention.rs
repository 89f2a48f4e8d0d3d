//! Escalations and suggestions: what needs a human, and what the operator would do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{ago, home};
use crate::console::action::Pane;
use crate::console::app::{App, Attention};
use crate::console::theme::Mark;
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Attention;
    let (escalations, suggestions) = (app.snapshot.escalations.len(), app.snapshot.suggestions.len());
    let counts = match (escalations, suggestions) {
        (0, 0) => String::new(),
        (some, 0) => some.to_string(),
        (some, more) => format!("{some} {} {more} suggested", app.theme.dot()),
    };
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
    let width = usize::from(inner.width.saturating_sub(2));
    app.attention.draw(inner, buffer, app.theme, focused, |place| {
        crate::console::app::attention_at(&app.snapshot, place).map_or_else(Line::default, |item| row(app, item, width))
    });
}

fn row(app: &App, item: Attention<'_>, width: usize) -> Line<'static> {
    let theme = app.theme;
    let flexible = width.saturating_sub(8);
    match item {
        Attention::Escalation(row) => {
            let asks = row.thread_id.is_some();
            let mark = if asks { Mark::Waits } else { Mark::Dead };
            let tone = if row.state == "acknowledged" { theme.dim() } else { theme.tone(mark) };
            let due = row.due_at.is_some_and(|due| due <= app.time.now);
            Row::new()
                .left(theme.sign(mark), 1, tone)
                .left(&row.reason, flexible, super::bold_if(row.state != "acknowledged", theme.plain()))
                .right(&ago(app.time.now, Some(row.opened_at)), 4, if due { theme.bad() } else { theme.dim() })
                .line()
        }
        Attention::Suggestion(row) => Row::new()
            .left(if theme.ascii { ">" } else { "→" }, 1, theme.accent())
            .left(&format!("{}: {}", row.intent, row.reason), flexible, theme.plain())
            .right(&ago(app.time.now, Some(row.created_at)), 4, theme.dim())
            .line(),
    }
}

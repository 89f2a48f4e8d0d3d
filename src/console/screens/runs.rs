//! The runs, those that need a human first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{ago, home};
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::theme::Mark;
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;
use crate::domain::run::RunStatus;
use crate::services::snapshot::RunRow;

/// The most agents of a run that get a sign.
const SIGNS: usize = 6;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Runs;
    let counts = if app.runs.is_empty() { String::new() } else { app.runs.len().to_string() };
    let inner = pane::frame(home::title(app, Pane::Runs, "Runs", &counts), focused, app.theme, area, buffer);
    if app.runs.is_empty() {
        let words = match (app.loaded, app.snapshot.runs.is_empty()) {
            (false, _) => "reading…",
            (true, true) => "No run yet. In another terminal: metawsm run --ticket T --repos PATH",
            (true, false) => "No run fits the filter; esc clears it.",
        };
        return pane::empty(words, app.theme, inner, buffer);
    }
    let width = usize::from(inner.width.saturating_sub(2));
    app.runs.draw(inner, buffer, app.theme, focused, |place| row(app, &app.snapshot.runs[place], width));
}

fn row(app: &App, run: &RunRow, width: usize) -> Line<'static> {
    let theme = app.theme;
    let (word, mark) = state(run);
    let signs = if width >= 40 { run.agents.len().min(SIGNS) } else { 0 };
    let fixed = 2 + 12 + 5 + if signs > 0 { SIGNS + 1 } else { 0 } + 5;
    let flexible = width.saturating_sub(fixed + 1).max(4);
    let mut line = Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .left(&run.tickets.join(" "), flexible, super::bold_if(run.needs_human(), theme.plain()))
        .left(word, 11, theme.tone(mark))
        .right(&format!("{}/{}", run.steps.0, run.steps.1), 4, theme.dim());
    if signs > 0 {
        for status in run.agents.iter().take(SIGNS) {
            let mark = Mark::of_agent(*status);
            line = line.text(theme.sign(mark), theme.tone(mark));
        }
        line = line.text(&" ".repeat(SIGNS + 1 - signs), theme.plain());
    }
    line.right(&ago(app.time.now, Some(run.updated_at)), 4, theme.dim()).line()
}

/// A run's state in a word and a sign.
pub fn state(run: &RunRow) -> (&'static str, Mark) {
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance if run.needs_human() => ("needs you", Mark::Waits),
        RunStatus::Running if run.unhealthy() => ("running", Mark::Stalled),
        RunStatus::Running | RunStatus::AwaitingGuidance => ("running", Mark::Running),
        RunStatus::Created => ("created", Mark::Starting),
        RunStatus::Planning => ("planning", Mark::Starting),
        RunStatus::Paused if run.dry_run => ("dry run", Mark::Paused),
        RunStatus::Paused => ("paused", Mark::Paused),
        RunStatus::Failed => ("failed", Mark::Dead),
        RunStatus::Stopping => ("stopping", Mark::Stopped),
        RunStatus::Stopped => ("stopped", Mark::Stopped),
        RunStatus::Closing => ("closing", Mark::Starting),
        RunStatus::Closed => ("closed", Mark::Done),
        RunStatus::Completed => ("completed", Mark::Done),
    }
}

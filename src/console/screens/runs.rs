//! The runs, those that need a human first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{agents, ago, home};
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::theme::Mark;
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::pane;
use crate::domain::run::RunStatus;
use crate::services::snapshot::{RunRow, Trouble};

/// The most agents of a run that get a sign.
const SIGNS: usize = 6;
/// The least room for a reason.
const REASON: usize = 16;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Runs;
    let counts = if app.runs.is_empty() { String::new() } else { format!("({})", app.runs.len()) };
    let inner = pane::frame(home::title(app, Pane::Runs, "Runs", &counts), focused, app.theme, area, buffer);
    if app.runs.is_empty() {
        let reading = app.theme.under_way("reading");
        let words = match (app.loaded, app.snapshot.runs.is_empty()) {
            (false, _) => reading.as_str(),
            (true, true) => "No run yet. In another terminal: metawsm run --ticket T --repos PATH",
            (true, false) => "No run fits the filter; esc clears it.",
        };
        return pane::empty(words, app.theme, inner, buffer);
    }
    let width = usize::from(inner.width.saturating_sub(3));
    app.runs.draw(
        inner,
        buffer,
        app.theme,
        focused,
        |place| app.is_marked(Pane::Runs, place),
        |place| row(app, &app.snapshot.runs[place], width),
    );
}

fn row(app: &App, run: &RunRow, width: usize) -> Line<'static> {
    let theme = app.theme;
    let (word, mark) = state(run);
    let needs = app.digest.needs;
    let ([wide, tickets, steps, since, signs], spare) = share(
        width.saturating_sub(2),
        [(9, 9), (needs.tickets.min(24), 4), (needs.steps, 3), (4, 4), (needs.signs.min(SIGNS), 1)],
    );
    let mut line = Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .left(&run.tickets.join(" "), tickets, super::bold_if(run.needs_human(), theme.plain()))
        .left(word, wide, theme.tone(mark))
        .right(&format!("{}/{}", run.steps.0, run.steps.1), steps, theme.dim());
    let hangs = app.snapshot.facts.troubles.iter().any(|trouble| matches!(trouble, Trouble::Hangs(..)));
    if signs > 0 {
        for (status, waiting_for) in run.agents.iter().take(signs) {
            // What nobody has looked at for long is not known, whatever it was.
            let known = !(hangs && status.working());
            let mark = if known { agents::mark(*status, *waiting_for) } else { Mark::Idle };
            line = line.text(theme.sign(mark), theme.tone(mark));
        }
        line = line.text(&" ".repeat(signs + 1 - run.agents.len().min(signs)), theme.plain());
    }
    // Where there is room to spare, it says why.
    let line = if spare >= REASON {
        line.left(&why(app, run).unwrap_or_default(), spare - 1, theme.dim())
    } else {
        line.text(&" ".repeat(spare), theme.plain())
    };
    line.right(&ago(app.time.now, Some(run.updated_at)), since, theme.dim()).line()
}

/// Why a run stands where it does, as far as its state does not say it.
pub fn why(app: &App, run: &RunRow) -> Option<String> {
    let (word, _) = state(run);
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance if run.needs_human() => {
            let thread = app.digest.run_asks.get(&run.run_id).and_then(|id| app.snapshot.queues.find(id));
            thread.map(|thread| format!("{} asks: {}", thread.speaker(), thread.title))
        }
        // Why it once began to run says nothing about now.
        RunStatus::Running => app.digest.unwell.get(&run.run_id).cloned(),
        _ => (!run.reason.is_empty() && run.reason != word).then(|| run.reason.clone()),
    }
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

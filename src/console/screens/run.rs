//! A run's page: its plan, its gates, its docs, what happened.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use unicode_width::UnicodeWidthStr;

use super::ago;
use super::runs::{state, why};
use crate::console::app::App;
use crate::console::theme::{Mark, Theme};
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;
use crate::domain::feedback::{FeedbackStatus, tally};
use crate::domain::plan::Step;
use crate::domain::pull_request::PullRequestState;
use crate::services::snapshot::RunPage;
use crate::services::text::{cut_before, harmless, one_line, wrap};

/// From this width on the timeline stands beside the plan.
const BESIDE: u16 = 110;

/// Draws the page.
pub fn draw(app: &App, run_id: &str, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let dot = theme.dot();
    let mut title = Row::new().text(&format!(" {run_id} "), theme.strong());
    if let Some(run) = app.snapshot.run(run_id) {
        let (word, mark) = state(run);
        title = title
            .text(&format!("{dot} {} {dot} ", run.tickets.join(" ")), theme.dim())
            .text(&format!("{} {word} ", theme.sign(mark)), theme.tone(mark));
        if let Some(why) = why(app, run) {
            title = title.text(&format!("{dot} {why} "), theme.dim());
        }
    }
    let inner = pane::frame(title, true, theme, area, buffer);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(page) = app.run_page.as_ref().filter(|page| page.run_id == run_id) else {
        return pane::empty(&theme.under_way("looking at plan and gates"), theme, inner, buffer);
    };
    let beside = inner.width >= BESIDE;
    let left = if beside { inner.width * 58 / 100 } else { inner.width };
    let mut lines = plan(page, usize::from(left.saturating_sub(2)), theme);
    if beside {
        let place = Rect { x: inner.x + left, width: inner.width - left, ..inner };
        let events = timeline(app, page, usize::from(place.width), usize::from(place.height));
        show(&events, 0, place, buffer);
    } else {
        lines.push(Line::default());
        lines.extend(timeline(app, page, usize::from(left), 60));
    }
    let first = app.scroll.first(lines.len(), usize::from(inner.height));
    show(&lines, first, Rect { width: left, ..inner }, buffer);
}

fn show(lines: &[Line<'_>], first: usize, area: Rect, buffer: &mut Buffer) {
    for (y, line) in (area.y..area.bottom()).zip(lines.iter().skip(first)) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

fn heading(text: &str, theme: Theme) -> Line<'static> {
    Row::new().text(text, theme.accent()).line()
}

fn plan(page: &RunPage, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let done = page.steps.iter().filter(|step| step.status.settled()).count();
    let mut lines = vec![heading(&format!("Plan {done}/{}", page.steps.len()), theme)];
    for step in &page.steps {
        step_lines(step, page, width, theme, &mut lines);
    }
    lines.push(Line::default());
    gates(page, width, theme, &mut lines);
    requests(page, width, theme, &mut lines);
    if !page.docs.is_empty() {
        lines.push(Line::default());
        lines.push(heading("Docs", theme));
        for (ticket, place, there) in &page.docs {
            let mark = if *there { Mark::Done } else { Mark::Starting };
            let row = Row::new().left(theme.sign(mark), 1, theme.tone(mark)).left(ticket, 12, theme.plain());
            lines.push(row.left(place, width.saturating_sub(16), theme.dim()).line());
        }
    }
    if !page.repos.is_empty() {
        lines.push(Line::default());
        lines.push(heading("Repositories", theme));
        for (name, base) in &page.repos {
            lines.push(Row::new().left(name, 24, theme.plain()).text(&format!("base {base}"), theme.dim()).line());
        }
    }
    if let Some(brief) = &page.brief {
        lines.push(Line::default());
        lines.push(heading("Brief", theme));
        for (name, text) in [("goal", &brief.goal), ("done when", &brief.done_criteria)] {
            for (at, text) in wrap(&harmless(text), width.saturating_sub(12)).iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                lines.push(Row::new().left(name, 10, theme.dim()).text(text, theme.plain()).line());
            }
        }
    }
    lines
}

fn step_lines(step: &Step, page: &RunPage, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let mark = Mark::of_step(step.status);
    let tries = if step.attempts > 1 { format!("try {}", step.attempts) } else { String::new() };
    let row = Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .right(&step.spec.index.to_string(), 2, theme.dim())
        .left(&step.spec.name, width.saturating_sub(25), theme.plain())
        .left(step.status.word(), 8, theme.tone(mark));
    lines.push(row.right(&tries, 6, theme.dim()).line());
    if let Some(error) = &step.error {
        let given_up = if step.given_up(page.step_retries) { " — u tries again once it is mended" } else { "" };
        for text in wrap(&harmless(&format!("{error}{given_up}")), width.saturating_sub(5)) {
            lines.push(Row::new().text("     ", theme.plain()).text(&text, theme.bad()).line());
        }
    }
}

fn gates(page: &RunPage, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let gates = match &page.gates {
        Ok(gates) => gates,
        Err(reason) => {
            lines.push(heading("Gates", theme));
            lines.push(Row::new().text(reason, theme.bad()).line());
            return;
        }
    };
    let passed = gates.iter().filter(|gate| gate.ok).count();
    lines.push(heading(&format!("Gates {passed}/{}", gates.len()), theme));
    for gate in gates {
        let (mark, tone) = if gate.ok { (Mark::Done, theme.good()) } else { (Mark::Idle, theme.warn()) };
        for (at, text) in wrap(&harmless(&gate.reason), width.saturating_sub(14)).iter().enumerate() {
            let (sign, name) = if at == 0 { (theme.sign(mark), gate.name) } else { ("", "") };
            lines.push(Row::new().left(sign, 1, tone).left(name, 10, theme.plain()).text(text, theme.dim()).line());
        }
        let mend = gate.mend.iter().flat_map(|mend| wrap(&harmless(mend), width.saturating_sub(16)));
        for (at, text) in mend.enumerate() {
            let arrow = if at == 0 { "→ " } else { "  " };
            lines
                .push(Row::new().text(&format!("             {arrow}"), theme.dim()).text(&text, theme.plain()).line());
        }
    }
}

/// Where the work was handed on, and what reviewers said to it that no agent was told of yet.
fn requests(page: &RunPage, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    if !page.pull_requests.is_empty() {
        lines.push(Line::default());
        lines.push(heading("Pull requests", theme));
    }
    for request in &page.pull_requests {
        let mark = match request.state {
            PullRequestState::Open => Mark::Running,
            PullRequestState::Merged => Mark::Done,
            PullRequestState::Closed => Mark::Stopped,
        };
        let state = if request.draft && request.state.is_open() { "draft" } else { request.state.word() };
        let number = format!("#{}", request.number);
        let row = Row::new().left(theme.sign(mark), 1, theme.tone(mark)).left(&request.repo, 12, theme.plain());
        let row = row.right(&number, 6, theme.plain()).left(state, 6, theme.tone(mark));
        lines.push(row.left(&one_line(&request.title), width.saturating_sub(30), theme.plain()).line());
        lines.push(
            Row::new().text("    ", theme.plain()).left(&request.url, width.saturating_sub(5), theme.dim()).line(),
        );
    }
    if page.feedback.is_empty() {
        return;
    }
    let counts = tally(page.feedback.iter().map(|item| item.status));
    lines.push(Line::default());
    lines.push(heading(&format!("Reviews {counts}"), theme));
    for item in page.feedback.iter().filter(|item| item.status == FeedbackStatus::Queued) {
        let remark = &item.remark;
        let row = Row::new().left(theme.sign(Mark::Idle), 1, theme.warn());
        let row = row.left(&one_line(&remark.author), 12, theme.plain());
        let first = remark.first_line();
        let room = width.saturating_sub(16);
        let of = if page.pull_requests.len() > 1 { format!("{} ", item.repo) } else { String::new() };
        let place = cut_before(&one_line(&format!("{of}{}", remark.place())), room / 2);
        // Rules put such words to nobody: whoever accepts them is to have read them.
        let stranger = if remark.is_trusted() { "" } else { "stranger: " };
        let row = row.text(&place, theme.dim()).text("  ", theme.plain()).text(stranger, theme.warn());
        let left = room.saturating_sub(place.width() + stranger.width() + 2);
        lines.push(row.left(&one_line(&first), left, theme.plain()).line());
    }
}

/// What happened, the newest first.
fn timeline(app: &App, page: &RunPage, width: usize, most: usize) -> Vec<Line<'static>> {
    let mut lines = vec![heading("What happened", app.theme)];
    for (at, text) in page.events.iter().rev().take(most) {
        let row = Row::new().right(&ago(app.time.now, Some(*at)), 5, app.theme.dim());
        lines.push(row.left(text, width.saturating_sub(8), app.theme.plain()).line());
    }
    lines
}

//! The forum's queues.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::home;
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::theme::Theme;
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;
use crate::domain::thread::Priority;
use crate::domain::time::{Moment, age};
use crate::services::snapshot::{Queue, Tab, ThreadRow};

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Forum;
    let mut title = home::title(app, Pane::Forum, "Forum", "");
    let searched = app.asked.as_ref().is_some_and(|asked| !asked.text.is_empty());
    for tab in Tab::ALL.into_iter().filter(|_| !searched) {
        // Where there is little room, an empty tab gives way.
        if area.width < 60 && tab != app.tab && app.snapshot.queues.of(tab).rows.is_empty() {
            continue;
        }
        let style = if tab == app.tab { app.theme.accent() } else { app.theme.dim() };
        title = title.text(&format!("{} ", app.theme.dot()), app.theme.dim());
        title = title.text(&format!("{} {} ", tab.word(), app.snapshot.queues.of(tab).count()), style);
    }
    if let (Some(found), Some(_)) = (&app.snapshot.found, &app.asked) {
        title = title.text(&format!("{} found {} ", app.theme.dot(), found_count(&found.queue)), app.theme.accent());
        if let Some(percent) = found.indexed {
            title = title.text(&format!("indexing {percent} % "), app.theme.warn());
        }
    }
    let inner = pane::frame(title, focused, app.theme, area, buffer);
    let Some(list) = app.thread_list().filter(|list| !list.is_empty()) else {
        let words = match app.tab {
            _ if app.asked.is_some() && !app.answered() => "looking…",
            _ if app.asked.is_some() => "Nothing fits. esc shows the queue again.",
            Tab::NeedsMe => "No question waits for you. ← → shows the other queues, A opens a thread.",
            Tab::Unseen => "You have seen everything.",
            Tab::Assigned => "Nothing is assigned to you.",
            Tab::All => "No thread yet: agents ask with `metawsm forum ask`, you with A.",
        };
        return pane::empty(words, app.theme, inner, buffer);
    };
    let rows = app.thread_rows();
    let width = usize::from(inner.width.saturating_sub(2));
    list.draw(inner, buffer, app.theme, focused, |place| row(&rows[place], width, app.time.now, app.theme));
}

fn row(thread: &ThreadRow, width: usize, now: Moment, theme: Theme) -> Line<'static> {
    let (ticket, who, due) = match width {
        74.. => (10, 10, 8),
        56.. => (10, 10, 0),
        44.. => (0, 10, 0),
        _ => (0, 0, 0),
    };
    let spent = |width: usize| if width > 0 { width + 1 } else { 0 };
    let flexible = width.saturating_sub(2 + spent(ticket) + spent(who) + 13 + spent(due) + 1).max(4);
    let pressing = thread.priority >= Priority::High;
    let agent = thread.agent.as_ref().map_or(thread.opened_by.as_str(), |agent| agent.name.as_str());
    let (state, tone) = match thread.waiting_since {
        Some(since) => {
            (format!("waiting {}", age(now.since(since))), if pressing { theme.bad() } else { theme.warn() })
        }
        None => (thread.state.word().replace('_', " "), theme.dim()),
    };
    Row::new()
        .left(
            if pressing {
                "!"
            } else if thread.unseen {
                "•"
            } else {
                ""
            },
            1,
            if pressing { theme.bad() } else { theme.accent() },
        )
        .left(&thread.title, flexible, super::bold_if(thread.unseen, theme.plain()))
        .left(&thread.ticket, ticket, theme.dim())
        .left(agent, who, theme.dim())
        .left(&state, 12, tone)
        .right(&due_words(thread, now), due, if pressing { theme.bad() } else { theme.dim() })
        .line()
}

/// How many were found, as far as was looked.
fn found_count(queue: &Queue) -> String {
    format!("{}{}", queue.rows.len(), if queue.more { "+" } else { "" })
}

/// When it becomes an escalation.
fn due_words(thread: &ThreadRow, now: Moment) -> String {
    match thread.due_at {
        None => String::new(),
        Some(due) if due <= now => "due".to_owned(),
        Some(due) => format!("due {}", age(due.since(now))),
    }
}

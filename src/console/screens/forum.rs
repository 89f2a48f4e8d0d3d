//! The forum's queues.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{due_words, home};
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::pane;
use crate::domain::thread::Priority;
use crate::domain::time::age;
use crate::services::snapshot::{Queue, Snippet, Tab, ThreadRow};

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Forum;
    // What was found stands before what was looked for: that may be long.
    let found = app.snapshot.found.as_ref().filter(|_| app.asked.is_some());
    let counts = found.map_or(String::new(), |found| format!("found {}", found_count(&found.queue)));
    let mut title = home::title(app, Pane::Forum, "Forum", &counts);
    if let Some(percent) = found.and_then(|found| found.indexed) {
        title = title.text(&format!("indexing {percent} % "), app.theme.warn());
    }
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
    if app.misread.is_some() {
        title = title.text("not understood ", app.theme.warn());
    }
    let inner = pane::frame(title, focused, app.theme, area, buffer);
    let Some(list) = app.thread_list().filter(|list| !list.is_empty()) else {
        let words = match app.tab {
            _ if app.asked.is_some() && !app.answered() => "looking…",
            _ if app.asked.is_some() => "Nothing fits. esc shows the queue again.",
            Tab::NeedsMe => "No question waits for you. Left and right show the other queues, A opens a thread.",
            Tab::Unseen => "You have seen everything.",
            Tab::Assigned => "Nothing is assigned to you.",
            Tab::All => "No thread yet: agents ask with `metawsm forum ask`, you with A.",
        };
        return pane::empty(words, app.theme, inner, buffer);
    };
    let rows = app.thread_rows();
    let width = usize::from(inner.width.saturating_sub(3));
    list.draw(
        inner,
        buffer,
        app.theme,
        focused,
        |place| app.is_marked(Pane::Forum, place),
        |place| row(app, &rows[place], width),
    );
}

fn row(app: &App, thread: &ThreadRow, width: usize) -> Line<'static> {
    let (theme, now, needs) = (app.theme, app.time.now, app.digest.needs);
    let pressing = thread.priority >= Priority::High;
    let (due, late) = due_words(thread.due(), now);
    let ticket = needs.ticket.min(12);
    // The columns are the same in all rows, whatever each has to say.
    let ([wide, title, due_wide, ticket, who], spare) = share(
        width.saturating_sub(2),
        [(12, 8), (24, 4), (needs.due, needs.due), (ticket, ticket), (needs.opener.min(12), 4)],
    );
    let (word, tone) = match thread.waiting_since {
        Some(since) => {
            (format!("waiting {}", age(now.since(since))), if pressing { theme.bad() } else { theme.warn() })
        }
        None => (thread.state.word().replace('_', " "), theme.dim()),
    };
    let sign = match (pressing, thread.unseen) {
        (true, _) => "!",
        (false, true) => "•",
        (false, false) => "",
    };
    let room = title + spare;
    let bold = super::bold_if(thread.unseen, theme.plain());
    let start = Row::new().left(sign, 1, if pressing { theme.bad() } else { theme.accent() });
    let told = match &thread.snippet {
        None => start.left(&thread.title, room, bold),
        // What was found stands beside the title it was found under.
        Some(Snippet { text, marks }) => {
            let title = room * 2 / 5;
            start.left(&thread.title, title, bold).marked(text, marks, room - title - 1, [theme.dim(), theme.accent()])
        }
    };
    told.left(&thread.ticket, ticket, theme.dim())
        .left(thread.speaker(), who, theme.dim())
        .left(&word, wide, tone)
        .right(&due, due_wide, if late { theme.bad() } else { theme.dim() })
        .line()
}

/// How many were found, as far as was looked.
fn found_count(queue: &Queue) -> String {
    format!("{}{}", queue.rows.len(), if queue.more { "+" } else { "" })
}

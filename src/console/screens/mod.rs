//! The screens: each draws itself from what the app knows, and changes nothing.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthStr;

use super::action::{Action, Pane};
use super::app::query::NAMES;
use super::app::{App, Attention, Layout, Overlay, Page};
use super::keymap::{Place, TABLE};
use super::theme::{Mark, Theme};
use super::widgets::cells::{Row, ends};
use super::widgets::certain::settle;
use super::widgets::help;
use crate::domain::time::{Moment, age};
use crate::services::snapshot::{Outbox, Trouble};
use crate::services::text::{cut, one_line, wrap};

mod agents;
mod attention;
mod explain;
mod forum;
mod home;
mod live;
mod messages;
mod operator;
mod run;
mod runs;
mod since;
pub mod thread;

/// Draws the screen.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width == 0 || area.height == 0 {
        return;
    }
    if Layout::of((area.width, area.height)) == Layout::Tiny {
        Row::new().text(&asks_for_room(area), app.theme.plain()).draw(area, buffer);
        return settle(buffer, app.theme.ascii);
    }
    let mut body = area;
    header(app, take_top(&mut body, 1), buffer);
    banners(app, &mut body, buffer);
    // Half a hint is none: the guide is shown where all of it fits.
    let fits = |line: &String| line.replace('`', "").width() + 4 <= usize::from(area.width);
    if app.page == Page::Home && body.height > 18 && app.opening.guide.iter().all(fits) {
        for line in &app.opening.guide {
            guide(app, line, take_top(&mut body, 1), buffer);
        }
    }
    footer(app, take_bottom(&mut body, 1), buffer);
    message(app, take_bottom(&mut body, 1), buffer);
    let composing = app.composer.as_ref().map(|composer| {
        let height = composer.height().min(body.height.saturating_sub(3).max(3));
        take_bottom(&mut body, height)
    });
    match &app.page {
        Page::Home => home::draw(app, body, buffer),
        Page::Run(run_id) => run::draw(app, run_id, body, buffer),
        Page::Thread(thread_id) => thread::draw(app, thread_id, body, buffer),
        Page::Operator => operator::draw(app, body, buffer),
    }
    if let (Some(composer), Some(place)) = (&app.composer, composing) {
        composer.draw(app.theme, place, buffer);
    }
    over(app, area, buffer);
    settle(buffer, app.theme.ascii);
}

/// The longest way to say it that there is room for.
fn asks_for_room(area: Rect) -> String {
    let here = format!("{}×{}", area.width, area.height);
    let ways = [
        format!("metawsm needs 40×10, here are {here}: make the terminal larger"),
        format!("metawsm needs 40×10, here are {here}"),
        format!("needs 40×10, is {here}"),
        "needs 40×10".to_owned(),
    ];
    ways.into_iter().find(|words| words.width() <= usize::from(area.width)).unwrap_or_else(|| "40×10".to_owned())
}

fn over(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(overlay) = &app.overlay else { return };
    buffer.set_style(area, app.theme.dim().bg(ratatui::style::Color::Reset).remove_modifier(Modifier::BOLD));
    match overlay {
        Overlay::Help(place, scroll) => help::draw((*place, app.focus), scroll, app.theme, area, buffer),
        Overlay::Messages(scroll) => messages::draw(app, scroll, area, buffer),
        Overlay::Explained(_, told, scroll) => explain::draw(app, told.as_deref(), scroll, area, buffer),
        Overlay::Dialog(dialog) => dialog.draw(app.theme, area, buffer),
        Overlay::Picker(picker) => picker.draw(app.theme, area, buffer),
        Overlay::Since(panel) => since::draw(app, panel, area, buffer),
    }
}

fn take_top(body: &mut Rect, height: u16) -> Rect {
    let height = height.min(body.height);
    let taken = Rect { height, ..*body };
    body.y += height;
    body.height -= height;
    taken
}

fn take_bottom(body: &mut Rect, height: u16) -> Rect {
    let height = height.min(body.height);
    body.height -= height;
    Rect { y: body.y + body.height, height, ..*body }
}

fn header(app: &App, area: Rect, buffer: &mut Buffer) {
    let (theme, dot) = (app.theme, app.theme.dot());
    let (letters, stuck) = letters(app);
    let kept = if stuck { letters.width() + 2 } else { 0 };
    let left = counts(app, usize::from(area.width), kept);
    let who = who_decides(app);
    let all = Row::new().text(&format!("{who} {dot} "), theme.dim()).and(letters.clone());
    let right = match left.width() + all.width() < usize::from(area.width) {
        _ if !app.loaded => Row::new(),
        true => all,
        false if stuck => letters,
        false => Row::new().text(&format!("{who} "), theme.dim()),
    };
    ends(left, right, area, buffer);
}

/// How many there are, and how they are. The last columns are kept for something else.
fn counts(app: &App, width: usize, kept: usize) -> Row {
    let (theme, snapshot, digest) = (app.theme, &app.snapshot, &app.digest);
    let mut left = Row::new().text(" metawsm", theme.strong());
    if !app.opening.title.is_empty() {
        left = left.text(&format!(" {} ", theme.dot()), theme.dim()).text(&app.opening.title, theme.plain());
    }
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    left = left.text("  ", theme.plain());
    // Where there is little room, what needs a human stays.
    if width >= 100 {
        left = left.text(&format!("  {}", counted(snapshot.runs.len(), "run")), theme.dim());
        left = left.text(&format!("  {}", counted(snapshot.agents.len(), "agent")), theme.dim());
    }
    let mut tallies = vec![
        (digest.waiting, Mark::Waits, "waiting for you"),
        (digest.dead, Mark::Dead, "dead"),
        (digest.stalled, Mark::Stalled, "stalled"),
        (digest.healthy, Mark::Running, "healthy"),
    ];
    tallies.retain(|(number, ..)| *number > 0);
    let short = |number: usize, mark| format!("  {} {number}", theme.sign(mark));
    for (at, (number, mark, word)) in tallies.iter().enumerate() {
        // Words give way first: the numbers behind them are to have their place too.
        let behind: usize = tallies[at + 1..].iter().map(|(number, mark, _)| short(*number, *mark).width()).sum();
        let room = width.saturating_sub(left.width() + kept);
        let (bare, full) = (short(*number, *mark), format!("{} {word}", short(*number, *mark)));
        if let Some(text) = [(&full, behind), (&bare, 0)].iter().find(|(text, rest)| text.width() + rest <= room) {
            left = left.text(text.0, theme.tone(*mark));
        }
    }
    left
}

/// The operator's mode, and who supervises.
fn who_decides(app: &App) -> String {
    let (facts, dot) = (&app.snapshot.facts, app.theme.dot());
    let lease = match &facts.supervisor {
        Some(holder) if holder.ours => format!(" {dot} lease ours"),
        Some(holder) => format!(" {dot} lease pid {}", holder.pid),
        // Until this console has asked for it, nobody knows.
        None if app.settling() => String::new(),
        None => format!(" {dot} lease free"),
    };
    // What this process was told holds while it supervises.
    let told = app.opening.conduct.mode.filter(|_| facts.supervisor.as_ref().is_some_and(|holder| holder.ours));
    let mode = told.map_or(facts.operator.as_str(), |mode| mode.word());
    format!("operator {mode}{lease}")
}

/// What is still to be done outside; and whether that is stuck: then it stays where there is little room.
fn letters(app: &App) -> (Row, bool) {
    let (theme, outbox, now) = (app.theme, &app.snapshot.outbox, app.time.now);
    let stuck = outbox.stuck(now);
    // The colour alone says nothing to many.
    let (why, style) = match outbox {
        Outbox { dead: 1.., .. } => (format!(", {} dead", outbox.dead), theme.bad()),
        Outbox { failed: 1.., .. } => (format!(", {} failed", outbox.failed), theme.warn()),
        _ if stuck => (format!(", oldest {}", ago(now, outbox.oldest_at)), theme.warn()),
        _ => (String::new(), theme.dim()),
    };
    let row = Row::new().text(&format!("outbox {}{why}", outbox.count()), style).text(" ", theme.plain());
    (row, stuck)
}

/// Of one banner so many lines are shown; the messages have all of it.
const BANNER: usize = 3;

fn banners(app: &App, body: &mut Rect, buffer: &mut Buffer) {
    let all = format!("  {} tells all", key(Action::Messages, app.theme));
    for (words, style) in troubles(app) {
        let room = usize::from(body.width.saturating_sub(2));
        let mut lines = wrap(&one_line(&words), room);
        let longer = lines.len() > BANNER;
        lines.truncate(BANNER);
        for (at, line) in lines.iter().enumerate() {
            let row = if longer && at + 1 == BANNER {
                let line = cut(&format!("{line}…"), room.saturating_sub(all.width()));
                Row::new().text(&format!(" {line}"), style).text(&all, app.theme.dim())
            } else {
                Row::new().text(&format!(" {line}"), style)
            };
            row.draw(take_top(body, 1), buffer);
        }
    }
}

/// What is wrong with the home as a whole, in words; loud where a human has to do something about it.
fn troubles(app: &App) -> Vec<(String, Style)> {
    let (loud, calm) = (app.theme.bad(), app.theme.dim());
    let mut lines: Vec<(String, Style)> = Vec::new();
    if let Some(reason) = &app.store_trouble {
        lines.push((format!("{reason}; shown is what was last read"), loud));
    }
    for trouble in &app.snapshot.facts.troubles {
        lines.push(match trouble {
            Trouble::TmuxGone => {
                ("the tmux server is gone: R restarts an agent, which starts it again".to_owned(), loud)
            }
            Trouble::Policy(reason) => (format!("policy not valid, the last good one is in force: {reason}"), loud),
            Trouble::Store(reason) => (reason.clone(), loud),
            Trouble::Hangs(pid, since) => {
                let since = since.clock(app.time.now);
                let mend = format!("kill -CONT {pid} if it was stopped, kill -9 {pid} lets another take over");
                (format!("supervisor (process {pid}) not responding since {since}: {mend}"), loud)
            }
            Trouble::Elsewhere(pid) => {
                (format!("not supervising: process {pid} does; this console observes, keys work all the same"), calm)
            }
        });
    }
    lines.truncate(3);
    lines
}

/// A line for a newcomer; what stands in backquotes is a key.
fn guide(app: &App, line: &str, area: Rect, buffer: &mut Buffer) {
    let mut row = Row::new().text("   ", app.theme.plain());
    for (at, part) in line.split('`').enumerate() {
        row = row.text(part, if at % 2 == 1 { app.theme.accent() } else { app.theme.plain() });
    }
    row.draw(area, buffer);
}

/// What was just said, what is under way, or why the selection is as it is.
fn message(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let errors = app.toasts.iter().filter(|toast| toast.error).count();
    let pending: Vec<&str> =
        app.pending.values().map(|pending| pending.words.as_str()).filter(|words| !words.is_empty()).collect();
    let newest = app.toasts.iter().rfind(|toast| toast.error).or(app.toasts.last());
    let row = match (newest, pending.first()) {
        (Some(toast), _) if toast.error => {
            let more = if errors > 1 { format!("   {} more", errors - 1) } else { String::new() };
            let text = one_line(&toast.text);
            // Where one writes, the key leaves that.
            let dismiss = if app.composer.is_none() { "   esc dismisses" } else { "" };
            let mut hint = format!("{dismiss}{more}");
            let mut room = usize::from(area.width).saturating_sub(3 + hint.width());
            if text.width() > room {
                hint = format!("   {} tells all{hint}", key(Action::Messages, theme));
                room = usize::from(area.width).saturating_sub(3 + hint.width());
            }
            Row::new()
                .text(&format!(" {} ", theme.sign(Mark::Dead)), theme.bad())
                .text(&cut(&text, room), theme.bad())
                .text(&hint, theme.dim())
        }
        (_, Some(words)) => Row::new()
            .text(&format!(" {} {}", theme.sign(Mark::Starting), theme.under_way(words)), theme.accent())
            .text(&format!("  {}", app.held_up().unwrap_or_default()), theme.warn()),
        (Some(toast), None) => {
            let (sign, style) = if toast.done { (theme.sign(Mark::Done), theme.good()) } else { ("", theme.plain()) };
            let room = usize::from(area.width).saturating_sub(sign.width() + 3);
            let gap = if toast.done { " " } else { "" };
            Row::new().text(&format!(" {sign}{gap}{}", cut(&one_line(&toast.text), room)), style)
        }
        (None, None) => {
            let reason = cut(&one_line(&reason(app)), usize::from(area.width).saturating_sub(2));
            Row::new().text(&format!(" {reason}"), theme.dim())
        }
    };
    row.draw(area, buffer);
}

/// Why the selection is as it is.
fn reason(app: &App) -> String {
    match (&app.page, app.focus) {
        (Page::Home, Pane::Runs) => app.run().map(|run| match runs::why(app, run) {
            Some(why) => format!("{}: {why}", run.run_id),
            None => run.run_id.clone(),
        }),
        (Page::Home, Pane::Agents | Pane::Live) => app.agent().map(|agent| {
            let soon = agents::soon(app, agent).map(|soon| format!("; {}", soon.words())).unwrap_or_default();
            format!("{} {}: {}{soon}", agent.key.name, agent.status, agent.reason)
        }),
        (Page::Home, Pane::Attention) => app.item().map(|item| match item {
            Attention::Escalation(row) => row.reason.clone(),
            Attention::Suggestion(row) => format!("{}: {}", row.offer, row.reason),
        }),
        (Page::Operator, _) => app.entry().map(|entry| operator::why(entry)),
        (Page::Home, Pane::Forum) | (Page::Run(_) | Page::Thread(_), _) => None,
    }
    .unwrap_or_default()
}

fn footer(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    if app.filtering {
        let text = app.narrowed().unwrap_or_default();
        let row = Row::new().text(" / ", theme.accent()).text(text, theme.plain()).text("▏", theme.accent());
        let in_forum = app.page == Page::Home && app.focus == Pane::Forum;
        let row = match (&app.misread, in_forum) {
            (Some(words), true) => row.text(&format!("  {words}"), theme.warn()),
            (None, true) => row.text(&format!("  words, or {NAMES}"), theme.dim()),
            (_, _) => row,
        };
        let enter = key(Action::Open, theme);
        return row.text(&format!("  {enter} keeps  esc clears"), theme.dim()).draw(area, buffer);
    }
    let keys: Vec<(String, &str)> = app.footer().iter().map(|row| (row.label(theme.ascii), row.name)).collect();
    let width = |(key, name): &(String, &str)| key.width() + name.width() + 4;
    // The last one, help, has the others: it is shown wherever there is room for one.
    let last = keys.last().map(width).unwrap_or_default();
    let mut row = Row::new().text(" ", theme.plain());
    for (at, key) in keys.iter().enumerate() {
        let reserve = if at + 1 < keys.len() { last } else { 0 };
        if row.width() + width(key) + reserve <= usize::from(area.width) + 3 {
            row = row.text(&key.0, theme.accent()).text(&format!(" {}   ", key.1), theme.dim());
        }
    }
    if app.place() == Place::Text && app.composer.as_ref().is_some_and(|composer| composer.sending.is_some()) {
        row = Row::new().text(&format!(" {}", theme.under_way("sending")), theme.dim());
    }
    row.draw(area, buffer);
}

/// The key of an action, as it is written on screens.
fn key(action: Action, theme: Theme) -> String {
    TABLE.iter().find(|row| row.action == action).map(|row| row.label(theme.ascii)).unwrap_or_default()
}

/// How long ago, or a dash.
fn ago(now: Moment, at: Option<Moment>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| age(now.since(at)))
}

/// Until when something has to be done, or for how long that is past, which is the second.
fn due_words(due: Option<Moment>, now: Moment) -> (String, bool) {
    match due {
        None => (String::new(), false),
        Some(due) if due <= now => (format!("overdue {}", age(now.since(due))), true),
        Some(due) => (format!("due {}", age(due.since(now))), false),
    }
}

/// Bold where it is wanted.
fn bold_if(on: bool, style: Style) -> Style {
    if on { style.add_modifier(Modifier::BOLD) } else { style }
}

//! A thread as a conversation: the newest in view, who and when, signals as cards, what is new marked.

use std::cell::RefCell;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::ago;
use crate::console::app::App;
use crate::console::theme::Theme;
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;
use crate::domain::actor::Side;
use crate::domain::delivery::DeliveryState;
use crate::domain::signal::{Signal, SignalType};
use crate::domain::thread::{Post, Priority};
use crate::domain::time::Moment;
use crate::services::snapshot::ThreadPage;
use crate::services::text::{cut, harmless, one_line, wrap};
use crate::services::words;

/// Of a longer post only so much is laid out.
const LONGEST: usize = 48 * 1024;

/// The lines of a conversation as they were last laid out: with long posts that is not done for every key.
#[derive(Debug, Default)]
pub struct Cache(RefCell<Option<(Key, Vec<Line<'static>>)>>);

type Key = (String, (i64, i64), usize, usize, Moment, Theme);

/// Draws the page.
pub fn draw(app: &App, thread_id: &str, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let dot = theme.dot();
    let Some(page) = app.thread_page() else {
        let inner = pane::frame(Row::new().text(&format!(" {thread_id} "), theme.strong()), true, theme, area, buffer);
        return pane::empty(&theme.under_way("looking"), theme, inner, buffer);
    };
    let thread = &page.thread;
    let mut facts = Row::new().text(&format!("{dot} {} ", thread.ticket), theme.dim());
    if let Some(agent) = &thread.agent_name {
        facts = facts.text(&format!("{dot} {agent} "), theme.dim());
    }
    let state = thread.state.word().replace('_', " ");
    let waits = thread.waits_for_human();
    facts = facts.text(&format!("{dot} {state} "), if waits { theme.warn() } else { theme.dim() });
    if thread.priority >= Priority::High {
        facts = facts.text(&format!("{dot} {} ", thread.priority.word()), theme.bad());
    }
    // Where both do not fit, the title gives way: the conversation begins with all of it.
    let room = usize::from(area.width).saturating_sub(6 + facts.width()).max(12);
    let title = Row::new().text(&format!(" {} ", cut(&one_line(&thread.title), room)), theme.strong()).and(facts);
    let inner = pane::frame(title, app.composer.is_none(), theme, area, buffer);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let typed = page.deliveries.iter().map(|delivery| delivery.last_seq).max().unwrap_or_default();
    let (seq, width) = ((thread.last_event_sequence, typed), usize::from(inner.width));
    let key = (thread_id.to_owned(), seq, page.open.len(), width, app.time.now, theme);
    let mut cache = app.wrapped.0.borrow_mut();
    if cache.as_ref().is_none_or(|(known, _)| *known != key) {
        let mut lines = Vec::new();
        if one_line(&thread.title).width() > room {
            let words = wrap(&one_line(&thread.title), usize::from(inner.width));
            lines.extend(words.iter().map(|line| Row::new().text(line, theme.strong()).line()));
            lines.push(Line::default());
        }
        lines.extend(conversation(page, usize::from(inner.width), app.time.now, theme));
        *cache = Some((key, lines));
    }
    let Some((_, lines)) = cache.as_ref() else { return };
    let first = app.scroll.first(lines.len(), usize::from(inner.height));
    for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().skip(first)) {
        buffer.set_line(inner.x, y, line, inner.width);
    }
}

fn conversation(page: &ThreadPage, width: usize, now: Moment, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if page.earlier > 0 {
        lines.push(Row::new().text(&format!("{} earlier posts are not shown", page.earlier), theme.dim()).line());
    }
    let mut day = None;
    let mut new_said = false;
    for post in &page.posts {
        let date = post.created_at.date();
        if day.is_some_and(|day| day != date) {
            let (year, month, day) = date;
            lines.push(rule(&format!("{year:04}-{month:02}-{day:02}"), width, theme));
        }
        day = Some(date);
        if !new_said && page.seen_to > 0 && post.seq > page.seen_to {
            lines.push(rule("new", width, theme));
            new_said = true;
        }
        post_lines(post, page, width, now, theme, &mut lines);
        lines.push(Line::default());
    }
    lines.pop();
    lines
}

fn rule(text: &str, width: usize, theme: Theme) -> Line<'static> {
    let dash = "─";
    let side = width.saturating_sub(text.len() + 2) / 2;
    Row::new().text(&format!("{} {text} {}", dash.repeat(side), dash.repeat(side)), theme.faint()).line()
}

fn post_lines(post: &Post, page: &ThreadPage, width: usize, now: Moment, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let ours = page.viewer == format!("human:{}", post.author_name);
    let who = if ours { theme.accent() } else { theme.strong() };
    let kind = match (post.author_type.side(), ours) {
        (_, true) => "you".to_owned(),
        (Some(Side::Agent), false) => "agent".to_owned(),
        (Some(Side::Human) | None, false) => post.author_type.word().to_owned(),
    };
    let mut head = Row::new().text(&post.author_name, who).text(&format!("  {kind}"), theme.dim());
    if let Some(signal) = &post.signal {
        head = head.text(&format!("  {}", word(signal)), tone(signal, theme));
    }
    if let Some((words, style)) = came_of(post, page, theme) {
        head = head.text(&format!("  {words}"), style);
    }
    if let Some((words, style)) = way(post, page, theme) {
        head = head.text(&format!("  {words}"), style);
    }
    let head = head.text(&format!("  {}", ago(now, Some(post.created_at))), theme.dim());
    lines.push(head.line());
    let before = lines.len();
    match &post.signal {
        Some(signal) => {
            card(signal, width, theme, lines);
            if lines.len() == before {
                body(&signal.words(), width, theme, lines);
            }
        }
        None => body(&post.body, width, theme, lines),
    }
}

fn body(text: &str, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for line in wrap(&harmless(&text[..end]).replace('\t', "    "), width.saturating_sub(2)) {
        lines.push(Row::new().text("  ", theme.plain()).text(&line, theme.plain()).line());
    }
    if end < text.len() {
        let words = format!("  … {} more bytes; metawsm forum thread prints all", text.len() - end);
        lines.push(Row::new().text(&words, theme.dim()).line());
    }
}

/// A signal with each of its parts named.
fn card(signal: &Signal, width: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    let percent = signal.percent.map(|percent| format!("{percent} %"));
    for (name, text) in [
        ("question", &signal.question),
        ("context", &signal.context),
        ("answer", &signal.answer),
        ("summary", &signal.summary),
        ("status", &signal.status),
        ("criteria", &signal.done_criteria),
        ("progress", &percent),
        ("note", &signal.note),
    ] {
        let Some(text) = text.as_deref().filter(|text| !text.trim().is_empty()) else { continue };
        let mut short: String = text.chars().take(LONGEST / 4).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        for (at, line) in wrap(&harmless(&short), width.saturating_sub(14)).iter().enumerate() {
            let label = if at == 0 { name } else { "" };
            let row = Row::new().text("  ", theme.plain()).text("│ ", tone(signal, theme)).left(label, 9, theme.dim());
            lines.push(row.text(line, theme.plain()).line());
        }
    }
}

/// How it comes into its agent's session, where it does.
fn way(post: &Post, page: &ThreadPage, theme: Theme) -> Option<(String, ratatui::style::Style)> {
    let delivery = page.deliveries.iter().find(|delivery| delivery.post_id.as_ref() == Some(&post.post_id))?;
    let style = match delivery.state {
        DeliveryState::Queued => theme.dim(),
        DeliveryState::Typed => theme.warn(),
        DeliveryState::Submitted => theme.good(),
        DeliveryState::Failed => theme.bad(),
    };
    Some((words::way(delivery), style))
}

/// What came of a request: each has an answer of its own.
fn came_of(post: &Post, page: &ThreadPage, theme: Theme) -> Option<(String, ratatui::style::Style)> {
    let asks = post.signal.as_ref().is_some_and(|signal| signal.control_type == SignalType::GuidanceRequest);
    if !asks {
        return None;
    }
    let answer = page.posts.iter().find(|later| later.in_reply_to.as_ref() == Some(&post.post_id));
    Some(match (answer, page.open.contains(&post.post_id)) {
        (Some(answer), _) => (format!("answered by {}", answer.author_name), theme.good()),
        (None, true) => ("waits for an answer".to_owned(), theme.warn()),
        (None, false) => ("got no answer".to_owned(), theme.dim()),
    })
}

fn word(signal: &Signal) -> &'static str {
    match signal.control_type {
        SignalType::GuidanceRequest => "asks",
        SignalType::GuidanceAnswer => "answers",
        SignalType::Completion => "is done",
        SignalType::Validation => "validated",
        SignalType::Progress => "progress",
    }
}

fn tone(signal: &Signal, theme: Theme) -> ratatui::style::Style {
    match signal.control_type {
        SignalType::GuidanceRequest => theme.warn(),
        SignalType::GuidanceAnswer => theme.accent(),
        SignalType::Completion => theme.good(),
        SignalType::Validation if signal.passed() == Some(true) => theme.good(),
        SignalType::Validation => theme.bad(),
        SignalType::Progress => theme.dim(),
    }
}

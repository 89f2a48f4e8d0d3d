//! Where a person writes: a reply, a new thread, a note, feedback. The text is given up only when it was taken.

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::Widget;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tui_textarea::{CursorMove, TextArea, WrapMode};

use super::cells::{Row, ends};
use super::{pane, verbatim};
use crate::console::theme::Theme;
use crate::domain::agent::AgentKey;
use crate::services::handle::Wish;

/// After the last key a draft is written so soon.
pub const DRAFT_AFTER: Duration = Duration::from_millis(400);
/// A draft is written so soon however busily somebody types.
pub const DRAFT_AT_MOST: Duration = Duration::from_millis(900);

/// How a form's short fields begin in its draft.
const TICKET: &str = "ticket: ";
const TITLE: &str = "title: ";

/// What is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A reply in a thread.
    Reply {
        /// The thread.
        thread_id: String,
        /// Whose question it answers, where one waits.
        answers: Option<String>,
    },
    /// A new thread.
    Ask,
    /// A note with which escalations are resolved.
    Note(Vec<String>),
    /// A line for agents' sessions.
    Type(Vec<AgentKey>),
    /// Feedback on a run.
    Iterate(String),
}

impl Purpose {
    /// The name of its draft.
    pub fn draft(&self) -> String {
        match self {
            Self::Reply { thread_id, .. } => thread_id.clone(),
            Self::Ask => "new-thread".to_owned(),
            Self::Iterate(run_id) => format!("feedback-{run_id}"),
            Self::Note(ids) => match &ids[..] {
                [id] => format!("note-{id}"),
                ids => format!("note-marked-{}", set_of(ids)),
            },
            Self::Type(keys) => match &keys[..] {
                [key] => format!("to-{}-{}-{}", key.run_id, key.workspace, key.name),
                keys => format!("to-marked-{}", set_of(keys)),
            },
        }
    }

    /// The same for those only whom one of these wishes is about; the whole, where none is.
    pub fn only(&self, undone: &[Wish]) -> Self {
        let still = |about: &dyn Fn(&Wish) -> bool| undone.is_empty() || undone.iter().any(about);
        match self {
            Self::Type(keys) => {
                let wanted = |of: &&AgentKey| still(&|wish| matches!(wish, Wish::Type { key, .. } if key == *of));
                Self::Type(keys.iter().filter(wanted).cloned().collect())
            }
            Self::Note(ids) => {
                let wanted = |of: &&String| still(&|wish| matches!(wish, Wish::ResolveEscalation(id, _) if id == *of));
                Self::Note(ids.iter().filter(wanted).cloned().collect())
            }
            Self::Reply { .. } | Self::Ask | Self::Iterate(_) => self.clone(),
        }
    }

    /// What it is, in words.
    pub fn title(&self) -> String {
        match self {
            Self::Reply { answers: Some(name), .. } => format!("Answers {name}'s question"),
            Self::Reply { answers: None, .. } => "Reply".to_owned(),
            Self::Ask => "New thread".to_owned(),
            Self::Iterate(run_id) => format!("Feedback for {run_id}: its agents start again on it"),
            Self::Note(ids) if ids.len() > 1 => format!("Resolve {}, with a note", ids.len()),
            Self::Note(_) => "Resolve, with a note".to_owned(),
            Self::Type(keys) => match &keys[..] {
                [key] => format!("To {}", key.name),
                keys => {
                    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
                    format!("To {} agents: {}", keys.len(), names.join(", "))
                }
            },
        }
    }
}

/// A short name for a set, in whatever order it is told: what was written for one set is not found for another.
fn set_of<T: Ord + Hash>(items: &[T]) -> String {
    let set: BTreeSet<&T> = items.iter().collect();
    let mut hasher = DefaultHasher::new();
    set.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// One field of a form.
#[derive(Debug)]
struct Field {
    label: &'static str,
    area: TextArea<'static>,
    one_line: bool,
}

/// A form being filled in.
#[derive(Debug)]
pub struct Composer {
    /// What it is for.
    pub purpose: Purpose,
    /// It is for marked rows, even where only one of them is hit: it is asked before it goes.
    pub of_marked: bool,
    /// The wish under way that carries the text off.
    pub sending: Option<u64>,
    /// When the text was first and last changed since its draft was kept.
    pub dirty: Option<(Duration, Duration)>,
    /// The asking for its draft, while it is under way.
    pub fetching: Option<u64>,
    fields: Vec<Field>,
    /// What the first field began with.
    first: String,
    at: usize,
}

impl Composer {
    /// An empty form; `first` fills its first field where it has several.
    pub fn new(purpose: Purpose, first: &str) -> Self {
        let field = |label, text: &str, one_line: bool| {
            let mut area = TextArea::new(vec![text.to_owned()]);
            area.set_cursor_line_style(Style::new());
            area.set_max_histories(200);
            if !one_line {
                area.set_wrap_mode(WrapMode::WordOrGlyph);
            }
            area.move_cursor(CursorMove::End);
            Field { label, area, one_line }
        };
        let fields = match &purpose {
            Purpose::Reply { .. } | Purpose::Note(_) | Purpose::Iterate(_) => vec![field("", "", false)],
            Purpose::Type(_) => vec![field("", "", true)],
            Purpose::Ask => vec![field("ticket", first, true), field("title", "", true), field("body", "", false)],
        };
        let at = usize::from(fields.len() > 1 && !first.is_empty());
        Self {
            purpose,
            of_marked: false,
            sending: None,
            dirty: None,
            fetching: None,
            fields,
            first: first.to_owned(),
            at,
        }
    }

    /// The text of a field, byte for byte as it was typed and pasted.
    pub fn text(&self, at: usize) -> String {
        let text = self.fields.get(at).map(|field| field.area.lines().join("\n")).unwrap_or_default();
        match verbatim::exchange(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(text) => text,
        }
    }

    /// What is kept as a draft: of a form its short fields with their names, then the text.
    pub fn draft(&self) -> String {
        match self.fields.len() {
            1 => self.text(0),
            _ if self.text(0) == self.first && self.text(1).trim().is_empty() && self.text(2).trim().is_empty() => {
                String::new()
            }
            _ => self.whole(),
        }
    }

    /// The same, with the names of the fields even where there is nothing in them yet.
    pub fn whole(&self) -> String {
        match self.fields.len() {
            1 => self.text(0),
            _ => format!("{TICKET}{}\n{TITLE}{}\n\n{}", self.text(0), self.text(1), self.text(2)),
        }
    }

    /// A draft was found: it comes before what was typed meanwhile.
    pub fn restore(&mut self, draft: &str, up: Duration) {
        // What was typed meanwhile may be all that the draft holds now.
        if self.dirty.is_some() || !self.draft().is_empty() {
            self.touched(up);
        }
        if self.fields.len() == 1 {
            self.prepend(0, draft);
            return;
        }
        let (ticket, title, body) = parts_of(draft);
        if self.text(0).is_empty() {
            self.prepend(0, &ticket);
        }
        self.prepend(1, &title);
        self.prepend(2, &body);
    }

    /// It was written on elsewhere: what came back takes the place of what was there.
    pub fn replace(&mut self, text: &str, up: Duration) {
        let text = text.replace("\r\n", "\n");
        let parts = match self.fields.len() {
            1 => vec![text.trim_end_matches('\n').to_owned()],
            _ => {
                let (ticket, title, body) = parts_of(&text);
                vec![ticket, title, body]
            }
        };
        for (at, part) in parts.iter().enumerate() {
            let Some(field) = self.fields.get_mut(at) else { continue };
            field.area.select_all();
            field.area.cut();
            field.area.insert_str(verbatim::exchange(part));
        }
        self.touched(up);
    }

    fn prepend(&mut self, at: usize, text: &str) {
        let typed = self.text(at);
        let Some(field) = self.fields.get_mut(at) else { return };
        field.area.move_cursor(CursorMove::Top);
        field.area.move_cursor(CursorMove::Head);
        field.area.insert_str(verbatim::exchange(text));
        if !typed.is_empty() && !field.one_line {
            field.area.insert_newline();
        }
        field.area.move_cursor(CursorMove::Bottom);
        field.area.move_cursor(CursorMove::End);
    }

    fn touched(&mut self, up: Duration) {
        let first = self.dirty.map_or(up, |(first, _)| first);
        self.dirty = Some((first, up));
    }

    /// When its draft is to be kept.
    pub fn draft_due(&self) -> Option<Duration> {
        self.dirty.map(|(first, last)| (last + DRAFT_AFTER).min(first + DRAFT_AT_MOST))
    }

    /// A key that is not of the table.
    pub fn key(&mut self, key: KeyEvent, up: Duration) {
        use crossterm::event::KeyCode;
        if self.sending.is_some() {
            return;
        }
        let last = self.fields.len().saturating_sub(1);
        let enter = key.code == KeyCode::Enter;
        let key = match key.code {
            KeyCode::Char(letter) => KeyEvent { code: KeyCode::Char(verbatim::exchanged(letter)), ..key },
            _ => key,
        };
        let Some(field) = self.fields.get_mut(self.at) else { return };
        if enter && field.one_line {
            self.at = (self.at + 1).min(last);
            return;
        }
        // The text area's own undo is ctrl-u: ctrl-z is the shell's.
        if field.area.input(key) {
            self.touched(up);
        }
    }

    /// Pasted text. Line ends become ours (a terminal pastes them as CR); everything else stays as it is.
    ///
    /// # Errors
    /// Says why the text was not taken.
    pub fn paste(&mut self, text: &str, up: Duration) -> Result<(), &'static str> {
        if self.sending.is_some() {
            return Err("it is being sent: nothing can be added");
        }
        if text.contains('\0') {
            return Err("what was pasted holds a NUL byte, which no post can hold: nothing was taken");
        }
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let Some(field) = self.fields.get_mut(self.at) else { return Ok(()) };
        let text = if field.one_line { text.replace('\n', " ") } else { text };
        if field.area.insert_str(verbatim::exchange(&text)) {
            self.touched(up);
        }
        Ok(())
    }

    /// The next field.
    pub fn next_field(&mut self) {
        self.at = (self.at + 1) % self.fields.len().max(1);
    }

    /// How many lines it would like to have, frame and all.
    pub fn height(&self) -> u16 {
        match self.purpose {
            Purpose::Reply { .. } | Purpose::Iterate(_) => {
                u16::try_from(self.fields[0].area.lines().len().clamp(3, 10)).unwrap_or(3) + 2
            }
            Purpose::Ask => 14,
            Purpose::Note(_) => 8,
            Purpose::Type(_) => 3,
        }
    }

    /// Draws it, frame and all.
    pub fn draw(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let title = Row::new().text(&format!(" {} ", self.purpose.title()), theme.strong());
        let inner = pane::frame(title, true, theme, area, buffer);
        if inner.height == 0 || inner.width < 4 {
            return;
        }
        let state = if self.sending.is_some() {
            format!(" {} ", theme.under_way("sending"))
        } else {
            let key = if matches!(self.purpose, Purpose::Type(_)) { "enter" } else { "ctrl-s" };
            format!(" {key} sends  esc keeps the draft ")
        };
        let foot = Rect { x: area.x + 2, y: area.bottom() - 1, width: area.width.saturating_sub(4), height: 1 };
        ends(Row::new(), Row::new().text(&state, theme.dim()), foot, buffer);
        let mut y = inner.y;
        for (at, field) in self.fields.iter().enumerate() {
            if y >= inner.bottom() {
                return;
            }
            let label = if field.label.is_empty() { 1 } else { 8 };
            let style = if at == self.at { theme.accent() } else { theme.dim() };
            Row::new()
                .text(field.label, style)
                .draw(Rect { x: inner.x + 1, y, width: 7.min(inner.width), height: 1 }, buffer);
            let height = if field.one_line { 1 } else { inner.bottom() - y };
            let place = Rect { x: inner.x + label, y, width: inner.width.saturating_sub(label + 1), height };
            draw_area(&field.area, at == self.at && self.sending.is_none(), place, buffer);
            y += height;
        }
    }
}

/// A form's fields, as [`Composer::whole`] writes them; what has no names is all text.
fn parts_of(draft: &str) -> (String, String, String) {
    let mut rest = draft;
    let mut field = |name: &str| -> String {
        let Some(text) = rest.strip_prefix(name) else { return String::new() };
        let (value, after) = text.split_once('\n').unwrap_or((text, ""));
        rest = after;
        value.trim().to_owned()
    };
    let (ticket, title) = (field(TICKET), field(TITLE));
    (ticket, title, rest.strip_prefix('\n').unwrap_or(rest).trim_end_matches('\n').to_owned())
}

fn draw_area(area: &TextArea<'static>, focused: bool, place: Rect, buffer: &mut Buffer) {
    if place.width == 0 || place.height == 0 {
        return;
    }
    if focused {
        area.render(place, buffer);
    } else {
        let mut quiet = area.clone();
        quiet.set_cursor_style(Style::new().remove_modifier(Modifier::REVERSED));
        quiet.render(place, buffer);
    }
    verbatim::reveal(place, buffer);
}

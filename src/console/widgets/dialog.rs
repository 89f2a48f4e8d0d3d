//! A question before something that is not easily undone: small, over a dimmed screen, the safe answer in focus.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::cells::Row;
use super::pane;
use crate::console::theme::Theme;
use crate::services::handle::{Preview, Wish};
use crate::services::text::{one_line, wrap};

/// What a yes leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// A wish.
    Wish(Wish),
    /// What is wished of all marked rows.
    Marked(Wish),
    /// What is wished with what is being written.
    Written(Wish),
    /// The end of the program.
    Quit,
}

/// The answer in focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// No: the safe one, and the first.
    #[default]
    No,
    /// The third, where there is one.
    Also,
    /// Yes.
    Yes,
}

/// How far the look ahead has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ahead {
    /// Everything is said already.
    Known,
    /// Being looked at; the token of the look.
    Looking(u64),
    /// It cannot be done: the reasons and their mends.
    Blocked,
}

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// What is asked.
    pub title: String,
    /// Exactly what is hit, one by one: where there is no room for all, the rest is counted.
    pub hit: Vec<String>,
    /// What else is to be known.
    pub lines: Vec<String>,
    /// The word for yes.
    pub yes: &'static str,
    /// The word for no.
    pub no: &'static str,
    /// What a yes leads to.
    pub then: Consequence,
    /// How far the look ahead has come.
    pub ahead: Ahead,
    /// A third answer between no and yes: to leave, and leave a supervisor behind.
    pub also: Option<&'static str>,
    /// The answer in focus.
    pub on: Answer,
    /// Merging first would take what is in the way out of it.
    pub merge_helps: bool,
}

impl Dialog {
    /// A question whose answer's consequences are known.
    pub fn new(title: impl Into<String>, lines: Vec<String>, yes: &'static str, then: Consequence) -> Self {
        Self {
            title: title.into(),
            hit: Vec::new(),
            lines,
            yes,
            no: "cancel",
            then,
            ahead: Ahead::Known,
            also: None,
            on: Answer::No,
            merge_helps: false,
        }
    }

    /// Whether a yes may be said now.
    pub fn may(&self) -> bool {
        self.ahead == Ahead::Known
    }

    /// What a wish would do has been found out.
    pub fn found(&mut self, done: Result<Preview, crate::services::handle::Trouble>) {
        match done {
            Ok(preview) if preview.gates.is_empty() => {
                // There is no yes to nothing.
                let nothing = preview.would.is_empty() && !preview.notes.is_empty();
                self.ahead = if nothing { Ahead::Blocked } else { Ahead::Known };
                (self.hit, self.lines) = (preview.would, preview.notes);
            }
            Ok(preview) => {
                self.lines.clear();
                for gate in &preview.gates {
                    self.lines.push(format!("✖ {}: {}", gate.name, gate.reason));
                    if let Some(mend) = &gate.mend {
                        self.lines.push(format!("   {mend}"));
                    }
                }
                let closes = matches!(self.then, Consequence::Wish(Wish::Close { .. }));
                self.merge_helps = closes && preview.gates.iter().all(|gate| gate.name == "merged");
                if self.merge_helps {
                    self.lines.push("m merges first, then closes".to_owned());
                }
                self.ahead = Ahead::Blocked;
            }
            Err(trouble) => {
                self.lines = std::iter::once(trouble.message).chain(trouble.hint).collect();
                self.ahead = Ahead::Blocked;
            }
        }
        self.on = Answer::No;
    }

    /// The answer beside the one in focus.
    pub fn step(&mut self, forward: bool) {
        let mut answers = vec![Answer::No];
        answers.extend(self.also.map(|_| Answer::Also));
        answers.extend(self.may().then_some(Answer::Yes));
        let at = answers.iter().position(|answer| *answer == self.on).unwrap_or(0);
        let next = if forward { at + 1 } else { at + answers.len() - 1 };
        self.on = answers[next % answers.len()];
    }

    /// Draws it in the middle of `area`.
    pub fn draw(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let most = usize::from(area.width.saturating_sub(4)).min(84);
        let looking = [theme.under_way("looking")];
        let shown = if matches!(self.ahead, Ahead::Looking(_)) { &looking[..] } else { &self.lines };
        let wide = most.saturating_sub(4).max(1);
        let room = usize::from(area.height.saturating_sub(5));
        let mut lines = wrapped(shown, wide);
        if !matches!(self.ahead, Ahead::Looking(_)) {
            lines.splice(0..0, fitting(&self.hit, wide, room.saturating_sub(lines.len())));
        }
        let widest = lines.iter().map(|line| line.width()).max().unwrap_or(0);
        let third = self.also.map_or(0, |also| also.width() + 7);
        let answers = format!("  {}   {}  ", self.no, self.yes).width() + 8 + third;
        let width = (widest.max(self.title.width() + 2).max(answers) + 4).min(most + 2);
        let count = lines.len().min(room);
        let place = over(area, u16::try_from(width).unwrap_or(area.width), count + 2, buffer);
        let title = Row::new().text(&format!(" {} ", one_line(&self.title)), theme.strong());
        let inner = pane::frame(title, true, theme, place, buffer);
        for (y, line) in (inner.y..inner.bottom()).zip(lines.iter().take(count)) {
            let style = if line.starts_with('✖') { theme.bad() } else { theme.plain() };
            Row::new()
                .text(line, style)
                .draw(Rect { x: inner.x + 1, y, width: inner.width.saturating_sub(2), height: 1 }, buffer);
        }
        if inner.height > 0 {
            let last = Rect { x: inner.x + 1, y: inner.bottom() - 1, width: inner.width.saturating_sub(2), height: 1 };
            self.answers(theme).draw(last, buffer);
        }
    }

    fn answers(&self, theme: Theme) -> Row {
        let answer = |row: Row, key: &str, word: &str, focused: bool, allowed: bool| {
            let style = match (focused, allowed) {
                (true, _) => theme.accent().add_modifier(ratatui::style::Modifier::REVERSED),
                (false, true) => theme.plain(),
                (false, false) => theme.faint(),
            };
            row.text(&format!(" {word} "), style).text(&format!(" {key}   "), theme.dim())
        };
        let mut row = answer(Row::new(), "n", self.no, self.on == Answer::No, true);
        if let Some(also) = self.also {
            row = answer(row, "b", also, self.on == Answer::Also, true);
        }
        if self.may() { answer(row, "y", self.yes, self.on == Answer::Yes, true) } else { row }
    }
}

fn wrapped(lines: &[String], wide: usize) -> Vec<String> {
    lines.iter().flat_map(|line| wrap(&one_line_indented(line), wide)).collect()
}

/// As many of these as there is room for, and how many more there are.
fn fitting(hit: &[String], wide: usize, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, one) in hit.iter().enumerate() {
        let next = wrap(&one_line_indented(one), wide);
        // The line that counts the rest needs its place, unless there is no rest.
        let kept = usize::from(at + 1 < hit.len());
        if lines.len() + next.len() + kept > room {
            let rest = hit.len() - at;
            lines.push(if at == 0 { format!("{rest} in all") } else { format!("and {rest} more") });
            return lines;
        }
        lines.extend(next);
    }
    lines
}

/// The room in the middle of `area` for so many lines in a frame, cleared.
pub fn over(area: Rect, width: u16, lines: usize, buffer: &mut Buffer) -> Rect {
    let width = width.min(area.width);
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    clear(place, buffer);
    place
}

/// Clears the room for what lies over the screen; a wide sign that would reach into it goes as well.
pub fn clear(place: Rect, buffer: &mut Buffer) {
    Clear.render(place, buffer);
    let Some(x) = place.x.checked_sub(1).filter(|x| *x >= buffer.area.x) else { return };
    for y in place.y..place.bottom().min(buffer.area.bottom()) {
        if buffer[(x, y)].symbol().width() > 1 {
            buffer[(x, y)].set_char(' ');
        }
    }
}

/// One line; the blanks it begins with mean something here.
fn one_line_indented(text: &str) -> String {
    let indent = text.len() - text.trim_start_matches(' ').len();
    format!("{}{}", " ".repeat(indent), one_line(text))
}

//! A small menu: what is legal now, one of it to be taken. Where a name may be typed, typing narrows it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::cells::Row;
use super::pane;
use crate::console::theme::Theme;
use crate::services::handle::Wish;

/// The longest name that can be typed, in characters.
const LONGEST: usize = 64;

/// One row of the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub label: String,
    /// What it means here.
    pub hint: String,
    /// What taking it does.
    pub wish: Wish,
}

/// The menu.
#[derive(Debug, Clone)]
pub struct Picker {
    /// What is chosen.
    pub title: String,
    /// It is about all marked rows, not about the one it was opened on.
    pub of_marked: bool,
    choices: Vec<Choice>,
    at: usize,
    /// What was typed, where typing narrows.
    typed: Option<String>,
    /// Makes a choice of a name that is not in the list.
    other: Option<fn(&Choice, &str) -> Choice>,
}

/// What came of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picked {
    /// Nothing yet.
    Nothing,
    /// This.
    This(Wish),
    /// None of it.
    None,
}

impl Picker {
    /// A menu of a few words: letters jump to them.
    pub fn of(title: impl Into<String>, choices: Vec<Choice>) -> Self {
        Self { title: title.into(), of_marked: false, choices, at: 0, typed: None, other: None }
    }

    /// A menu that typing narrows; a name it has not is made a choice by `other` after the first one's model.
    pub fn typed(title: impl Into<String>, choices: Vec<Choice>, other: fn(&Choice, &str) -> Choice) -> Self {
        Self { title: title.into(), of_marked: false, choices, at: 0, typed: Some(String::new()), other: Some(other) }
    }

    /// What can be taken now.
    pub fn shown(&self) -> Vec<Choice> {
        let Some(typed) = self.typed.as_deref().map(str::trim).filter(|typed| !typed.is_empty()) else {
            return self.choices.clone();
        };
        let wanted = typed.to_lowercase();
        let mut shown: Vec<Choice> =
            self.choices.iter().filter(|choice| choice.label.to_lowercase().contains(&wanted)).cloned().collect();
        let known = shown.iter().any(|choice| choice.label.to_lowercase() == wanted);
        if let (Some(other), Some(model), false) = (self.other, self.choices.first(), known) {
            shown.push(other(model, typed));
        }
        shown
    }

    /// Takes a key.
    pub fn key(&mut self, key: &KeyEvent) -> Picked {
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match (key.code, &mut self.typed) {
            (KeyCode::Esc, _) => return Picked::None,
            (KeyCode::Enter, _) => return shown.get(self.at).map_or(Picked::Nothing, |c| Picked::This(c.wish.clone())),
            (KeyCode::Up, _) => self.at = self.at.saturating_sub(1),
            (KeyCode::Down, _) => self.at = (self.at + 1).min(last),
            (KeyCode::Home, _) => self.at = 0,
            (KeyCode::End, _) => self.at = last,
            (KeyCode::Backspace, Some(typed)) => {
                typed.pop();
                self.at = 0;
            }
            (KeyCode::Char(letter), Some(typed)) if plain && typed.chars().count() < LONGEST => {
                typed.push(letter);
                self.at = 0;
            }
            (KeyCode::Char('q'), None) if plain => return Picked::None,
            (KeyCode::Char('k'), None) if plain => self.at = self.at.saturating_sub(1),
            (KeyCode::Char('j'), None) if plain => self.at = (self.at + 1).min(last),
            (KeyCode::Char(letter), None) if plain => self.jump(letter),
            (_, _) => {}
        }
        Picked::Nothing
    }

    /// To the next word that begins with the letter, round and round.
    fn jump(&mut self, letter: char) {
        let count = self.choices.len();
        let next = (1..=count).map(|step| (self.at + step) % count).find(|at| {
            let first = self.choices[*at].label.chars().next();
            first.is_some_and(|first| first.eq_ignore_ascii_case(&letter))
        });
        self.at = next.unwrap_or(self.at);
    }

    /// Draws it in the middle of `area`.
    pub fn draw(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let shown = self.shown();
        let label = shown.iter().map(|choice| choice.label.width()).max().unwrap_or(0).min(40);
        let widest = shown.iter().map(|choice| choice.hint.width()).max().unwrap_or(0) + label + 7;
        let wanted = widest.max(self.title.width() + 4).max(28);
        let width = u16::try_from(wanted + 2).unwrap_or(area.width).min(area.width);
        let extra = 2 + u16::from(self.typed.is_some());
        let height = u16::try_from(shown.len().max(1)).unwrap_or(u16::MAX).saturating_add(extra).min(area.height);
        let place =
            Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
        super::dialog::clear(place, buffer);
        let title = Row::new().text(&format!(" {} ", self.title), theme.strong());
        let mut inner = pane::frame(title, true, theme, place, buffer);
        inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        if let Some(typed) = &self.typed {
            let cursor = if theme.ascii { "_" } else { "▏" };
            let row = Row::new().text(typed, theme.plain()).text(cursor, theme.accent());
            let hint = if typed.is_empty() { "type a name" } else { "" };
            row.text(hint, theme.dim()).draw(inner, buffer);
            inner.y += 1;
            inner.height = inner.height.saturating_sub(1);
        }
        let room = usize::from(inner.height);
        let first = (self.at + 1).saturating_sub(room);
        for (y, (at, choice)) in (inner.y..inner.bottom()).zip(shown.iter().enumerate().skip(first)) {
            let style = if at == self.at { theme.accent() } else { theme.plain() };
            let pointer = if at == self.at { theme.pointer() } else { " " };
            Row::new()
                .left(pointer, 1, theme.accent())
                .left(&choice.label, label, style)
                .text(&format!(" {}", choice.hint), theme.dim())
                .draw(Rect { y, height: 1, ..inner }, buffer);
        }
    }
}

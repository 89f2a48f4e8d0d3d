//! Colours and signs. A colour never carries a meaning alone: a sign and a word go with it.

use ratatui::style::{Color, Modifier, Style};

use crate::domain::agent::AgentStatus;
use crate::domain::plan::StepStatus;

/// Which colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// On a dark ground.
    Dark,
    /// On a light ground.
    Light,
    /// None: weights only.
    None,
}

/// How the screen looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Which colours.
    pub palette: Palette,
    /// Whether the terminal has 256 of them.
    pub deep: bool,
    /// Signs of ASCII only.
    pub ascii: bool,
}

/// A sign that stands for a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// At work.
    Running,
    /// Being started, or not begun.
    Starting,
    /// Alive and quiet.
    Idle,
    /// Waits for a human.
    Waits,
    /// Quiet for too long.
    Stalled,
    /// Dead or failed.
    Dead,
    /// Done.
    Done,
    /// Stopped.
    Stopped,
    /// Paused.
    Paused,
}

impl Mark {
    /// The sign of an agent's state.
    pub const fn of_agent(status: AgentStatus) -> Self {
        match status {
            AgentStatus::Pending => Self::Starting,
            AgentStatus::Running => Self::Running,
            AgentStatus::Idle => Self::Idle,
            AgentStatus::Stalled => Self::Stalled,
            AgentStatus::Dead | AgentStatus::Failed => Self::Dead,
            AgentStatus::Stopping | AgentStatus::Stopped => Self::Stopped,
            AgentStatus::Done => Self::Done,
        }
    }

    /// The sign of a step's state.
    pub const fn of_step(status: StepStatus) -> Self {
        match status {
            StepStatus::Pending => Self::Idle,
            StepStatus::Running => Self::Starting,
            StepStatus::Done => Self::Done,
            StepStatus::Failed => Self::Dead,
            StepStatus::Skipped => Self::Stopped,
        }
    }
}

impl Theme {
    /// The theme that the environment asks for.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let palette = match given("METAWSM_THEME").as_deref() {
            _ if given("NO_COLOR").is_some() => Palette::None,
            Some("none") => Palette::None,
            Some("light") => Palette::Light,
            Some("dark") => Palette::Dark,
            Some(_) | None => match given("COLORFGBG").as_deref().and_then(|pair| pair.rsplit(';').next()) {
                Some("7" | "15") => Palette::Light,
                Some(_) | None => Palette::Dark,
            },
        };
        let deep = given("COLORTERM").is_some()
            || given("TERM").is_some_and(|term| term.contains("256") || term == "alacritty");
        let ascii = given("METAWSM_ASCII").is_some_and(|value| value != "0");
        Self { palette, deep, ascii }
    }

    fn paint(self, dark: (Color, u8), light: (Color, u8), without: Modifier) -> Style {
        let pick = |(few, many): (Color, u8)| Style::new().fg(if self.deep { Color::Indexed(many) } else { few });
        match self.palette {
            Palette::Dark => pick(dark),
            Palette::Light => pick(light),
            Palette::None => Style::new().add_modifier(without),
        }
    }

    /// Focus and keys.
    pub fn accent(self) -> Style {
        self.paint((Color::Cyan, 80), (Color::Blue, 25), Modifier::BOLD)
    }

    /// Secondary text.
    pub fn dim(self) -> Style {
        self.paint((Color::DarkGray, 244), (Color::DarkGray, 243), Modifier::DIM)
    }

    /// Borders that are not in focus.
    pub fn faint(self) -> Style {
        self.paint((Color::DarkGray, 238), (Color::Gray, 250), Modifier::DIM)
    }

    /// Ordinary text.
    pub fn plain(self) -> Style {
        Style::new().fg(Color::Reset)
    }

    /// What a row is about.
    pub fn strong(self) -> Style {
        self.plain().add_modifier(Modifier::BOLD)
    }

    /// A human must act.
    pub fn bad(self) -> Style {
        self.paint((Color::Red, 203), (Color::Red, 160), Modifier::BOLD)
    }

    /// A human may be needed soon.
    pub fn warn(self) -> Style {
        self.paint((Color::Yellow, 179), (Color::Yellow, 130), Modifier::empty())
    }

    /// All is well; small.
    pub fn good(self) -> Style {
        self.paint((Color::Green, 108), (Color::Green, 28), Modifier::empty())
    }

    /// The ground of the selected row.
    pub fn selected(self, focused: bool) -> Style {
        match self.palette {
            Palette::None => Style::new().add_modifier(if focused { Modifier::REVERSED } else { Modifier::empty() }),
            Palette::Dark if focused && self.deep => Style::new().bg(Color::Indexed(236)),
            Palette::Light if focused && self.deep => Style::new().bg(Color::Indexed(254)),
            Palette::Dark | Palette::Light => Style::new(),
        }
    }

    /// What stands before the selected row.
    pub const fn pointer(self) -> &'static str {
        "▸ "
    }

    /// What stands before a marked row.
    pub const fn marker(self) -> &'static str {
        "┃"
    }

    /// A dot between things.
    pub const fn dot(self) -> &'static str {
        "·"
    }

    /// The sign of a state. In ASCII it becomes another one when the screen is settled.
    pub const fn sign(self, mark: Mark) -> &'static str {
        match mark {
            Mark::Running => "●",
            Mark::Starting => "◐",
            Mark::Idle => "○",
            Mark::Waits => "?",
            Mark::Stalled => "▲",
            Mark::Dead => "✖",
            Mark::Done => "✓",
            Mark::Stopped => "■",
            Mark::Paused => "⏸",
        }
    }

    /// Something under way, in words.
    pub fn under_way(self, words: &str) -> String {
        format!("{words}{}", if self.ascii { "..." } else { "…" })
    }

    /// The colour of a state.
    pub fn tone(self, mark: Mark) -> Style {
        match mark {
            Mark::Running | Mark::Done => self.good(),
            Mark::Starting | Mark::Idle | Mark::Stopped | Mark::Paused => self.dim(),
            Mark::Waits | Mark::Dead => self.bad(),
            Mark::Stalled => self.warn(),
        }
    }
}

//! What comes in, and what a screen asks for.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::domain::agent::AgentKey;
use crate::domain::time::Moment;
use crate::services::behind::Left;
use crate::services::explain::{Explanation, What};
use crate::services::handle::{Preview, Trouble, Wish};
use crate::services::live::{Screen, Target};
use crate::services::report::Told;
use crate::services::snapshot::{Look, RunPage, Want};

/// Something came in.
#[derive(Debug, Clone)]
pub enum Msg {
    /// A key.
    Key(KeyEvent),
    /// Text that was pasted.
    Paste(String),
    /// The terminal has another size.
    Resize(u16, u16),
    /// The home was looked at.
    Look(Look),
    /// An agent's screen.
    Screen(Screen),
    /// A wish was carried out, or not.
    Done(u64, Result<String, Trouble>),
    /// What a wish would do.
    Previewed(u64, Result<Preview, Trouble>),
    /// Why something stands as it does.
    Explained(u64, Result<Box<Explanation>, Trouble>),
    /// A run's page.
    Paged(Result<Box<RunPage>, Trouble>),
    /// A draft that was kept, if there was one, and which asking it answers.
    Draft(u64, Option<String>),
    /// A draft that was written on in another program, or why it was not.
    Edited(String, Result<String, Trouble>),
    /// A supervisor was left behind, or not.
    LeftBehind(Result<Left, Trouble>),
    /// The terminal has the focus.
    Focus,
    /// What happened since somebody left; nothing where nobody was away.
    Since(Result<Option<Box<Told>>, Trouble>),
    /// A deadline has passed.
    Tick,
    /// The screen is ours again after something else had it.
    Back(Option<String>),
    /// A part of the program failed; the rest goes on.
    Defect(String),
    /// The program is to end: a signal, or the terminal is gone.
    End,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Carry out a wish.
    Do(u64, Wish),
    /// Say what a wish would do.
    Preview(u64, Wish),
    /// Say why something stands as it does.
    Explain(u64, What),
    /// Somebody is there: say what happened since he left, if he has been away.
    ComeBack,
    /// Somebody is there still.
    There,
    /// Say what happened since then.
    Since(Moment),
    /// Make a run's page.
    Page(String),
    /// Look at something else in the home.
    Want(Want),
    /// Look at another agent's screen, or at none.
    Watch(Option<Target>),
    /// The agent in view has written something.
    Stirred,
    /// Keep a draft.
    KeepDraft(String, String),
    /// Fetch a draft.
    LoadDraft(u64, String),
    /// Give the terminal to an editor for a while: the draft's name and its text.
    Edit(String, String),
    /// Give the terminal to an agent's session for a while.
    Attach(AgentKey),
    /// The terminal's title.
    Title(String),
    /// Ring the bell.
    Bell,
    /// Show a notification on the desktop, where the terminal can.
    Desktop(String),
    /// Leave a supervisor behind, in our place.
    LeaveBehind,
    /// Ask for the supervision again.
    Supervise,
    /// Suspend the program.
    Suspend,
    /// Draw everything again.
    Redraw,
    /// Leave.
    Quit,
}

/// Two clocks: the calendar's for ages, and one that only goes forward for deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// The calendar's.
    pub now: Moment,
    /// Since the program began.
    pub up: Duration,
}

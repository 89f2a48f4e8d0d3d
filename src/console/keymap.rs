//! The one table of keys: from it come what a key does, the footer and the help.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::action::{Action, Pane};

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The home screen.
    Home,
    /// A run's page.
    Run,
    /// A thread.
    Thread,
    /// A text area.
    Text,
    /// A dialog.
    Dialog,
    /// A menu.
    Picker,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Home, Self::Run, Self::Thread, Self::Text, Self::Dialog, Self::Picker];
}

/// A key as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    with: KeyModifiers,
}

impl Key {
    /// As it is written on screens.
    pub fn label(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "space".to_owned(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Enter => "↵".to_owned(),
            KeyCode::Esc => "esc".to_owned(),
            KeyCode::Tab => "tab".to_owned(),
            KeyCode::BackTab => "shift-tab".to_owned(),
            KeyCode::Up => "↑".to_owned(),
            KeyCode::Down => "↓".to_owned(),
            KeyCode::Left => "←".to_owned(),
            KeyCode::Right => "→".to_owned(),
            other => other.to_string().to_lowercase().replace(' ', ""),
        };
        match self.with {
            KeyModifiers::CONTROL => format!("ctrl-{name}"),
            KeyModifiers::ALT => format!("alt-{name}"),
            _ => name,
        }
    }

    fn is(self, event: &KeyEvent) -> bool {
        let counted = KeyModifiers::CONTROL | KeyModifiers::ALT;
        self.code == event.code && self.with == event.modifiers & counted
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// What it does.
    pub action: Action,
    /// Its keys; the first is shown.
    pub keys: &'static [Key],
    /// A word for the footer.
    pub name: &'static str,
    /// A sentence for the help.
    pub what: &'static str,
    /// Where it is taken.
    pub places: &'static [Place],
    /// Whether it asks before it does anything.
    pub destructive: bool,
    /// Its place in the footer; 0 is none.
    pub rank: u8,
}

const fn k(code: KeyCode) -> Key {
    Key { code, with: KeyModifiers::NONE }
}
const fn c(letter: char) -> Key {
    k(KeyCode::Char(letter))
}
const fn ctrl(letter: char) -> Key {
    Key { code: KeyCode::Char(letter), with: KeyModifiers::CONTROL }
}
const ALT_ENTER: Key = Key { code: KeyCode::Enter, with: KeyModifiers::ALT };

use Place::{Dialog, Home, Picker, Run, Text, Thread};
const PAGES: &[Place] = &[Home, Run, Thread];

macro_rules! table {
    ($($action:expr, [$($key:expr),+], $name:literal, $what:literal, $places:expr, $destructive:literal, $rank:literal;)+) => {
        /// Every key there is.
        pub const TABLE: &[Binding] = &[$(Binding {
            action: $action,
            keys: &[$($key),+],
            name: $name,
            what: $what,
            places: $places,
            destructive: $destructive,
            rank: $rank,
        }),+];
    };
}

table! {
    Action::NextPane, [k(KeyCode::Tab)], "pane", "The next pane", &[Home], false, 90;
    Action::PrevPane, [k(KeyCode::BackTab)], "pane before", "The pane before", &[Home], false, 0;
    Action::Pane(Pane::Runs), [c('1')], "runs", "The runs", &[Home], false, 0;
    Action::Pane(Pane::Agents), [c('2')], "agents", "The agents", &[Home], false, 0;
    Action::Pane(Pane::Attention), [c('3')], "escalations", "Escalations and suggestions", &[Home], false, 0;
    Action::Pane(Pane::Forum), [c('4')], "forum", "The forum's queues", &[Home], false, 0;
    Action::Pane(Pane::Live), [c('5')], "live", "The screen of the selected agent", &[Home], false, 0;
    Action::Left, [k(KeyCode::Left), c('h')], "left", "The tab or pane to the left", &[Home], false, 0;
    Action::Right, [k(KeyCode::Right), c('l')], "right", "The tab or pane to the right", &[Home], false, 0;
    Action::Up, [k(KeyCode::Up), c('k')], "up", "One row up", PAGES, false, 0;
    Action::Down, [k(KeyCode::Down), c('j')], "down", "One row down", PAGES, false, 0;
    Action::PageUp, [k(KeyCode::PageUp), ctrl('b')], "page up", "A page up", PAGES, false, 0;
    Action::PageDown, [k(KeyCode::PageDown), ctrl('f')], "page down", "A page down", PAGES, false, 0;
    Action::First, [k(KeyCode::Home)], "first", "The first row", PAGES, false, 0;
    Action::Last, [k(KeyCode::End)], "last", "The last row", PAGES, false, 0;
    Action::Open, [k(KeyCode::Enter)], "open", "Open what is selected", &[Home], false, 10;
    Action::Back, [k(KeyCode::Esc)], "back", "One level back; at home: dismisses a message, clears a filter", PAGES, false, 80;
    Action::Reply, [c('r')], "reply", "Reply in the thread: an answer where one is waited for", PAGES, false, 20;
    Action::Ask, [c('A')], "ask", "Open a new thread", PAGES, false, 29;
    Action::CloseThread, [c('c')], "close thread", "Close the thread; asks where somebody waits in it", &[Home, Thread], false, 22;
    Action::ReopenThread, [c('o')], "reopen", "Open the closed thread again", &[Home, Thread], false, 21;
    Action::State, [c('s')], "state", "Change the thread's state", &[Home, Thread], false, 23;
    Action::Priority, [c('p')], "priority", "Change the thread's priority", &[Home, Thread], false, 64;
    Action::Assign, [c('g')], "assign", "Assign the thread to somebody", &[Home, Thread], false, 24;
    Action::Restart, [c('R')], "restart", "End the agent's session and start it again", PAGES, true, 30;
    Action::Stop, [c('S')], "stop", "Stop the agent; among runs: stop the run", PAGES, true, 40;
    Action::Attach, [c('a')], "attach", "Attach to the agent's session; C-b d comes back", PAGES, false, 50;
    Action::Pause, [c('P')], "pause", "Pause the run: its sessions live on, rules leave it alone", &[Home, Run], false, 55;
    Action::Resume, [c('u')], "resume", "Resume the run, whatever it stopped at", &[Home, Run], false, 25;
    Action::Merge, [c('M')], "merge", "Merge the run's branches into their bases", &[Home, Run], true, 35;
    Action::CloseRun, [c('C')], "close", "Close the run through its gates", &[Home, Run], true, 36;
    Action::Accept, [c('y')], "accept", "Accept the suggestion", &[Home], false, 15;
    Action::Dismiss, [c('X')], "dismiss", "Dismiss the suggestion", &[Home], false, 16;
    Action::Acknowledge, [c('K')], "acknowledge", "Acknowledge the escalation: you have seen it", &[Home], false, 17;
    Action::Resolve, [c('v')], "resolve", "Resolve the escalation with a note", &[Home], false, 18;
    Action::NextWaiting, [c('w')], "next waiting", "The next thing that waits for a human, anywhere", PAGES, false, 12;
    Action::Filter, [c('/')], "filter", "Narrow the list as you type; esc clears", &[Home], false, 70;
    Action::AllAgents, [c('.')], "all agents", "Agents of all runs, or of the selected one", &[Home], false, 0;
    Action::Help, [c('?')], "help", "All keys", PAGES, false, 99;
    Action::Quit, [c('q')], "quit", "Leave: agents go on, nobody watches them; ctrl-c twice leaves at once", PAGES, false, 0;
    Action::Suspend, [ctrl('z')], "suspend", "Suspend; the right to supervise is given back meanwhile", &[Home, Run, Thread, Text], false, 0;
    Action::Redraw, [ctrl('l')], "redraw", "Draw everything again", PAGES, false, 0;
    Action::Send, [ctrl('s'), ALT_ENTER], "send", "Send what was written", &[Text], false, 10;
    Action::Edit, [ctrl('e')], "editor", "Write it in $VISUAL or $EDITOR, and come back", &[Text], false, 25;
    Action::NextField, [k(KeyCode::Tab)], "next field", "The next field of the form", &[Text], false, 20;
    Action::KeepDraft, [k(KeyCode::Esc)], "keep as draft", "Leave; what was written stays as a draft", &[Text], false, 30;
    Action::Yes, [c('y')], "yes", "Do it", &[Dialog], true, 10;
    Action::No, [c('n'), k(KeyCode::Esc), c('q')], "no", "Leave everything as it is", &[Dialog], false, 20;
    Action::Merge, [c('m')], "merge too", "Merge what is not merged, then close", &[Dialog], false, 0;
    Action::Up, [k(KeyCode::Up)], "up", "One row up", &[Picker], false, 20;
    Action::Down, [k(KeyCode::Down)], "down", "One row down", &[Picker], false, 30;
    Action::Take, [k(KeyCode::Enter)], "take", "Take what is selected", &[Picker], false, 10;
    Action::No, [k(KeyCode::Esc)], "cancel", "Leave everything as it is", &[Picker], false, 40;
    Action::OtherAnswer, [k(KeyCode::Tab), k(KeyCode::BackTab), k(KeyCode::Left), k(KeyCode::Right), c('h'), c('l')], "other answer", "The other answer", &[Dialog], false, 0;
    Action::Take, [k(KeyCode::Enter)], "take", "Take the answer in focus", &[Dialog], false, 30;
}

/// The row that a key means in a place.
pub fn find(place: Place, event: &KeyEvent) -> Option<&'static Binding> {
    TABLE.iter().find(|row| row.places.contains(&place) && row.keys.iter().any(|key| key.is(event)))
}

/// The rows of a place.
pub fn rows(place: Place) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |row| row.places.contains(&place))
}

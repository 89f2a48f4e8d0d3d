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
    /// The operator's page.
    Operator,
    /// A text area.
    Text,
    /// A dialog.
    Dialog,
    /// A menu.
    Picker,
    /// What happened since one left.
    Since,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Home, Self::Run, Self::Thread, Self::Operator, Self::Text, Self::Dialog, Self::Picker, Self::Since];
}

/// A key as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    with: KeyModifiers,
}

impl Key {
    /// As it is written on screens.
    pub fn label(self, ascii: bool) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "space".to_owned(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Enter => if ascii { "enter" } else { "↵" }.to_owned(),
            KeyCode::Esc => "esc".to_owned(),
            KeyCode::Tab => "tab".to_owned(),
            KeyCode::BackTab => "shift-tab".to_owned(),
            KeyCode::Up => if ascii { "up" } else { "↑" }.to_owned(),
            KeyCode::Down => if ascii { "down" } else { "↓" }.to_owned(),
            KeyCode::Left => if ascii { "left" } else { "←" }.to_owned(),
            KeyCode::Right => if ascii { "right" } else { "→" }.to_owned(),
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
    /// The panes it is about; none: it holds everywhere.
    pub panes: &'static [Pane],
}

impl Binding {
    /// Its first key, as it is written on screens.
    pub fn label(&self, ascii: bool) -> String {
        self.keys.first().map(|key| key.label(ascii)).unwrap_or_default()
    }
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

use Place::{Dialog, Home, Operator, Picker, Run, Since, Text, Thread};
const PAGES: &[Place] = &[Home, Run, Thread, Operator];
/// Where rows or lines are gone through.
const LONG: &[Place] = &[Home, Run, Thread, Operator, Since];

/// It holds everywhere.
const ALL: &[Pane] = &[];
const LISTS: &[Pane] = &[Pane::Runs, Pane::Agents, Pane::Attention, Pane::Forum];
const RUNS: &[Pane] = &[Pane::Runs];
const AGENTS: &[Pane] = &[Pane::Agents];
const CALLS: &[Pane] = &[Pane::Attention];
const THREADS: &[Pane] = &[Pane::Forum];
/// Where one agent is meant.
const AGENT: &[Pane] = &[Pane::Agents, Pane::Attention, Pane::Forum, Pane::Live];
const ASKED: &[Pane] = &[Pane::Runs, Pane::Agents, Pane::Attention, Pane::Forum, Pane::Live];

macro_rules! table {
    ($($action:expr, [$($key:expr),+], $name:literal, $what:literal, $places:expr, $destructive:literal, $rank:literal, $panes:expr;)+) => {
        /// Every key there is.
        pub const TABLE: &[Binding] = &[$(Binding {
            action: $action,
            keys: &[$($key),+],
            name: $name,
            what: $what,
            places: $places,
            destructive: $destructive,
            rank: $rank,
            panes: $panes,
        }),+];
    };
}

table! {
    Action::NextPane, [k(KeyCode::Tab)], "pane", "The next pane", &[Home], false, 90, ALL;
    Action::Messages, [c('m')], "messages", "What was said, in full: what is wrong, errors, the last messages", PAGES, false, 0, ALL;
    Action::Explain, [c('x')], "explain", "Why it stands as it does, and what was considered", PAGES, false, 75, ASKED;
    Action::Help, [c('?')], "help", "All keys", PAGES, false, 99, ALL;
    Action::Quit, [c('q')], "quit", "Leave: agents go on; it says who watches, and offers to leave a supervisor. ctrl-c twice leaves at once", PAGES, false, 0, ALL;
    Action::Suspend, [ctrl('z')], "suspend", "Suspend; the right to supervise is given back meanwhile", &[Home, Run, Thread, Operator, Text], false, 0, ALL;
    Action::Redraw, [ctrl('l')], "redraw", "Draw everything again", PAGES, false, 0, ALL;
    Action::PrevPane, [k(KeyCode::BackTab)], "pane before", "The pane before", &[Home], false, 0, ALL;
    Action::Pane(Pane::Runs), [c('1')], "runs", "The runs", &[Home], false, 0, ALL;
    Action::Pane(Pane::Agents), [c('2')], "agents", "The agents", &[Home], false, 0, ALL;
    Action::Pane(Pane::Attention), [c('3')], "escalations", "Escalations and suggestions", &[Home], false, 0, ALL;
    Action::Pane(Pane::Forum), [c('4')], "forum", "The forum's queues", &[Home], false, 0, ALL;
    Action::Pane(Pane::Live), [c('5')], "live", "The screen of the selected agent", &[Home], false, 0, ALL;
    Action::Left, [k(KeyCode::Left), c('h')], "left", "The tab or pane to the left", &[Home], false, 0, ALL;
    Action::Right, [k(KeyCode::Right), c('l')], "right", "The tab or pane to the right", &[Home], false, 0, ALL;
    Action::Up, [k(KeyCode::Up), c('k')], "up", "One row up", LONG, false, 0, ALL;
    Action::Down, [k(KeyCode::Down), c('j')], "down", "One row down", LONG, false, 0, ALL;
    Action::PageUp, [k(KeyCode::PageUp), ctrl('b')], "page up", "A page up", LONG, false, 0, ALL;
    Action::PageDown, [k(KeyCode::PageDown), ctrl('f')], "page down", "A page down", LONG, false, 0, ALL;
    Action::First, [k(KeyCode::Home)], "first", "The first row", LONG, false, 0, ALL;
    Action::Last, [k(KeyCode::End)], "last", "The last row", LONG, false, 0, ALL;
    Action::Open, [k(KeyCode::Enter)], "open", "Open what is selected", &[Home, Operator], false, 10, LISTS;
    Action::Back, [k(KeyCode::Esc)], "back", "One level back; at home: dismisses a message, clears a filter", PAGES, false, 80, ALL;
    Action::Reply, [c('r')], "reply", "Reply in the thread: an answer where one is waited for", PAGES, false, 20, ASKED;
    Action::Ask, [c('A')], "ask", "Open a new thread", &[Home, Run, Thread], false, 29, ALL;
    Action::CloseThread, [c('c')], "close thread", "Close the thread; asks where somebody waits in it", &[Home, Thread], false, 22, THREADS;
    Action::ReopenThread, [c('o')], "reopen", "Open the closed thread again", &[Home, Thread], false, 21, THREADS;
    Action::State, [c('s')], "state", "Change the thread's state", &[Home, Thread], false, 23, THREADS;
    Action::Priority, [c('p')], "priority", "Change the thread's priority", &[Home, Thread], false, 64, THREADS;
    Action::Assign, [c('g')], "assign", "Assign the thread to somebody", &[Home, Thread], false, 24, THREADS;
    Action::Restart, [c('R')], "restart", "End the agent's session and start it again", PAGES, true, 30, AGENT;
    Action::Hold, [c('H')], "hold", "Hold the agent: rules do not start it again; the same key releases it", PAGES, false, 73, AGENT;
    Action::Stop, [c('S')], "stop", "Stop the agent; among runs: stop the run", PAGES, true, 40, ASKED;
    Action::Attach, [c('a')], "attach", "Attach to the agent's session; C-b d comes back", PAGES, false, 50, AGENT;
    Action::Type, [c('i')], "type", "Type a line to the agent; it goes in at the next quiet moment, never into a dialog", PAGES, false, 72, AGENT;
    Action::Pause, [c('P')], "pause", "Pause the run: its sessions live on, rules leave it alone", &[Home, Run], false, 55, RUNS;
    Action::Resume, [c('u')], "resume", "Resume the run, whatever it stopped at", &[Home, Run], false, 25, RUNS;
    Action::Commit, [c('G')], "commit", "Commit what the run's agents left uncommitted", &[Home, Run], true, 31, RUNS;
    Action::PullRequest, [c('U')], "pull request", "Push the run's commits and open or update a pull request", &[Home, Run], true, 32, RUNS;
    Action::Merge, [c('M')], "merge", "Merge the run's branches into their bases", &[Home, Run], true, 35, RUNS;
    Action::CloseRun, [c('C')], "close", "Close the run through its gates", &[Home, Run], true, 36, RUNS;
    Action::ReviewSync, [c('F')], "reviews", "Fetch what reviewers said to the run's pull requests", &[Home, Run], false, 38, RUNS;
    Action::Iterate, [c('I')], "iterate", "Write feedback on the run: its agents start again on it", &[Home, Run], false, 37, RUNS;
    Action::Accept, [c('y')], "accept", "Accept the suggestion", &[Home], false, 15, CALLS;
    Action::Dismiss, [c('X')], "dismiss", "Dismiss the suggestion", &[Home], false, 16, CALLS;
    Action::Acknowledge, [c('K')], "acknowledge", "Acknowledge the escalation: you have seen it", &[Home], false, 17, CALLS;
    Action::Resolve, [c('v')], "resolve", "Resolve the escalation with a note", &[Home], false, 18, CALLS;
    Action::NextWaiting, [c('w')], "next waiting", "The next thing that waits for a human, anywhere", PAGES, false, 12, ALL;
    Action::Filter, [c('/')], "filter", "Narrow the list as you type; esc clears", &[Home, Operator], false, 70, LISTS;
    Action::Mark, [c(' ')], "mark", "Mark the row, or unmark it: what can be done to many is done to all that are marked, asked once", &[Home], false, 71, LISTS;
    Action::Operator, [c('O')], "operator", "The operator: what the rules concluded, restarts used, dead letters", &[Home, Run, Thread], false, 0, ALL;
    Action::Mode, [c('M')], "mode", "Who decides: off, assist or auto; written into the policy file", &[Operator], false, 14, CALLS;
    Action::Retry, [c('t')], "try again", "Try the letter again", &[Operator], false, 11, CALLS;
    Action::Drop, [c('D')], "drop", "Leave undone what the letter was to do", &[Operator], true, 13, CALLS;
    Action::SinceLeft, [c('L')], "since you left", "What happened since you left, once more", PAGES, false, 0, ALL;
    Action::AllAgents, [c('.')], "all agents", "Agents of all runs, or of the selected one", &[Home], false, 0, AGENTS;
    Action::Send, [ctrl('s'), ALT_ENTER], "send", "Send what was written", &[Text], false, 10, ALL;
    Action::Edit, [ctrl('e')], "editor", "Write it in $VISUAL or $EDITOR, and come back", &[Text], false, 25, ALL;
    Action::NextField, [k(KeyCode::Tab)], "next field", "The next field of the form", &[Text], false, 20, ALL;
    Action::KeepDraft, [k(KeyCode::Esc)], "keep as draft", "Leave; what was written stays as a draft", &[Text], false, 30, ALL;
    Action::Yes, [c('y')], "yes", "Do it", &[Dialog], true, 10, ALL;
    Action::No, [c('n'), k(KeyCode::Esc), c('q')], "no", "Leave everything as it is", &[Dialog], false, 20, ALL;
    Action::Merge, [c('m')], "merge too", "Merge what is not merged, then close", &[Dialog], false, 5, ALL;
    Action::LeaveBehind, [c('b')], "leave a supervisor", "Leave, and leave a supervisor behind that watches without a screen", &[Dialog], false, 6, ALL;
    Action::Up, [k(KeyCode::Up)], "up", "One row up", &[Picker], false, 20, ALL;
    Action::Down, [k(KeyCode::Down)], "down", "One row down", &[Picker], false, 30, ALL;
    Action::Take, [k(KeyCode::Enter)], "take", "Take what is selected", &[Picker], false, 10, ALL;
    Action::No, [k(KeyCode::Esc)], "cancel", "Leave everything as it is", &[Picker], false, 40, ALL;
    Action::Take, [k(KeyCode::Enter)], "go there", "To what the line is about", &[Since], false, 10, ALL;
    Action::No, [k(KeyCode::Esc)], "close", "Go on where you were; L shows it again", &[Since], false, 20, ALL;
    Action::OtherAnswer, [k(KeyCode::Tab), k(KeyCode::BackTab), k(KeyCode::Left), k(KeyCode::Right)], "other answer", "The other answer", &[Dialog], false, 0, ALL;
    Action::Take, [k(KeyCode::Enter)], "take", "Take the answer in focus", &[Dialog], false, 30, ALL;
}

/// The row that a key means in a place.
pub fn find(place: Place, event: &KeyEvent) -> Option<&'static Binding> {
    TABLE.iter().find(|row| row.places.contains(&place) && row.keys.iter().any(|key| key.is(event)))
}

/// The rows of a place.
pub fn rows(place: Place) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |row| row.places.contains(&place))
}

//! What a key can mean.

/// One thing a person can do on a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The next pane.
    NextPane,
    /// The pane before.
    PrevPane,
    /// The pane of this number.
    Pane(Pane),
    /// To the left: a tab, or a pane.
    Left,
    /// To the right.
    Right,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// Open what is selected.
    Open,
    /// One level back.
    Back,
    /// Reply in a thread.
    Reply,
    /// Open a thread.
    Ask,
    /// Change a thread's state.
    State,
    /// Change a thread's priority.
    Priority,
    /// Assign a thread.
    Assign,
    /// Close a thread.
    CloseThread,
    /// Open a closed thread again.
    ReopenThread,
    /// Start an agent anew.
    Restart,
    /// Have rules leave an agent alone, or look after it again.
    Hold,
    /// Stop an agent or a run.
    Stop,
    /// Pause a run.
    Pause,
    /// Resume a run.
    Resume,
    /// Attach to an agent's session.
    Attach,
    /// Type a line to an agent.
    Type,
    /// Accept a suggestion.
    Accept,
    /// Dismiss a suggestion.
    Dismiss,
    /// Acknowledge an escalation.
    Acknowledge,
    /// Resolve an escalation.
    Resolve,
    /// Close a run.
    CloseRun,
    /// Merge a run.
    Merge,
    /// Commit what a run's agents left uncommitted.
    Commit,
    /// Push a run's commits and open pull requests for them.
    PullRequest,
    /// Ask what reviewers said to a run's pull requests.
    ReviewSync,
    /// Start a run's agents again with feedback.
    Iterate,
    /// Mark a row, or take its mark away.
    Mark,
    /// Narrow a list.
    Filter,
    /// The next thing that waits for a human.
    NextWaiting,
    /// The agents of all runs, or of the selected one.
    AllAgents,
    /// What was said, in full.
    Messages,
    /// Why the selection stands as it does.
    Explain,
    /// The operator's page.
    Operator,
    /// Who decides.
    Mode,
    /// Try a letter again.
    Retry,
    /// Leave a letter undone.
    Drop,
    /// What happened since one left.
    SinceLeft,
    /// All keys.
    Help,
    /// Leave.
    Quit,
    /// Leave, and leave a supervisor behind.
    LeaveBehind,
    /// Suspend the program.
    Suspend,
    /// Draw everything again.
    Redraw,
    /// Send what was written.
    Send,
    /// Write it in another program.
    Edit,
    /// The next field of a form.
    NextField,
    /// Leave the text as a draft.
    KeepDraft,
    /// Say yes.
    Yes,
    /// Say no.
    No,
    /// The other answer.
    OtherAnswer,
    /// Take the answer in focus.
    Take,
}

/// The panes of the home screen, in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Pane {
    /// The runs.
    #[default]
    Runs,
    /// The agents.
    Agents,
    /// Escalations and suggestions.
    Attention,
    /// The forum's queues.
    Forum,
    /// An agent's screen.
    Live,
}

impl Pane {
    /// In the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Runs, Self::Agents, Self::Attention, Self::Forum, Self::Live];

    /// Its number on the screen.
    pub const fn number(self) -> usize {
        self as usize + 1
    }

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Runs => "Runs",
            Self::Agents => "Agents",
            Self::Attention => "Escalations",
            Self::Forum => "Forum",
            Self::Live => "Live",
        }
    }

    /// The pane `steps` further, round and round.
    pub fn step(self, forward: bool) -> Self {
        let count = Self::ALL.len();
        Self::ALL[(self as usize + if forward { 1 } else { count - 1 }) % count]
    }
}

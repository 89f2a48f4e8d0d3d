//! What a person can wish from a screen, and what comes of it.

use super::Named;
use crate::domain::actor::ActorType;
use crate::domain::agent::AgentKey;
use crate::domain::policy::OperatorMode;
use crate::domain::thread::{Priority, ThreadState};
use crate::services::error::{EngineError, Gate};

/// Something a person wishes from a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Say something in a thread: an answer where one is waited for, else a post.
    Reply {
        /// The thread.
        thread_id: String,
        /// The words.
        body: String,
        /// Whether it answers.
        answer: bool,
    },
    /// Open a thread.
    Ask {
        /// What it is about.
        ticket: String,
        /// One line.
        title: String,
        /// The question.
        body: String,
    },
    /// Type a text into an agent's session, when its moment comes.
    Type {
        /// The agent.
        key: AgentKey,
        /// The words.
        text: String,
    },
    /// Note that a thread was looked at.
    Seen(String),
    /// Change what a thread is.
    Thread(String, Change),
    /// Start an agent anew, ending what runs of it.
    Restart(AgentKey),
    /// Have rules leave an agent alone.
    Hold(AgentKey),
    /// Have rules look after it again.
    Release(AgentKey),
    /// End an agent's session.
    StopAgent(AgentKey),
    /// End a run's sessions.
    StopRun(String),
    /// Hands off.
    Pause(String),
    /// Go on.
    Resume(String),
    /// Close through the gates, merging what is not merged if that is said.
    Close {
        /// The run.
        run_id: String,
        /// Merge first.
        merge: bool,
    },
    /// Merge into the bases.
    Merge(String),
    /// Commit what the run's agents left uncommitted.
    Commit(String),
    /// Push the run's commits, and open pull requests for them or bring those up to date.
    PullRequest(String),
    /// Ask what reviewers said to the run's pull requests.
    ReviewSync(String),
    /// Start the run's agents again with feedback on what they did.
    Iterate {
        /// The run.
        run_id: String,
        /// The words.
        feedback: String,
    },
    /// Do what the operator proposes.
    AcceptSuggestion(String),
    /// Do not.
    DismissSuggestion(String),
    /// A human has seen it.
    AckEscalation(String),
    /// A human has dealt with it.
    ResolveEscalation(String, String),
    /// Who decides: written into the policy file.
    SetMode(OperatorMode),
    /// Try a letter again that was given up.
    RetryLetter(i64),
    /// Leave undone what a letter was to do.
    DropLetter(i64),
    /// All of these, each for itself: what one of them meets does not keep the others.
    All(Vec<Named>),
}

impl Wish {
    /// Whether leaving ends it where it stands: it may take long, and can be wished again.
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::Commit(_) | Self::PullRequest(_) | Self::ReviewSync(_) | Self::AcceptSuggestion(_) => true,
            Self::All(wishes) => wishes.iter().any(|named| named.wish.is_broken_off()),
            _ => false,
        }
    }
}

/// What can be changed of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Where it stands.
    State(ThreadState),
    /// How much it presses.
    Priority(Priority),
    /// Whose it is: kind and name.
    Assignee(ActorType, String),
    /// It is over.
    Close,
    /// It is not.
    Reopen,
}

/// What a wish would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Line by line.
    pub would: Vec<String>,
    /// Gates that are in the way, with their mends.
    pub gates: Vec<Gate>,
    /// What else is to be known; where nothing would be done, why not.
    pub notes: Vec<String>,
}

/// Why a wish was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What was tried and why it did not work.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Of many wishes those that did not come true, where that is known: the others are not to be wished again.
    pub undone: Vec<Wish>,
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self { hint: error.hint(), message: error.to_string(), undone: Vec::new() }
    }
}

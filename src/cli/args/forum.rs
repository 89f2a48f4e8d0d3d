//! The forum's part of the command line.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{AgentSelector, EventsArgs, place};
use crate::domain::time::parse_duration;

/// The forum.
#[derive(Debug, Subcommand)]
pub enum Forum {
    /// Open a thread with a question
    #[command(after_help = "Example: metawsm forum ask --title 'which schema?' --body 'a or b' --wait --timeout 90s")]
    Ask(AskArgs),
    /// Add to a thread
    #[command(after_help = "Example: metawsm forum post --thread-id fthr-1 --body 'one more thing'")]
    Post(PostArgs),
    /// Answer a thread that waits for you
    #[command(after_help = "Example: metawsm forum answer --thread-id fthr-1 --body 'take b'")]
    Answer(AnswerArgs),
    /// Assign a thread
    #[command(after_help = "Example: metawsm forum assign --thread-id fthr-1 --assignee-type human --assignee ada")]
    Assign(AssignArgs),
    /// Change a thread's state
    #[command(after_help = "Example: metawsm forum state --thread-id fthr-1 --state triaged")]
    State(StateArgs),
    /// Change a thread's priority
    #[command(after_help = "Example: metawsm forum priority --thread-id fthr-1 --priority high")]
    Priority(PriorityArgs),
    /// Close a thread
    #[command(after_help = "Example: metawsm forum close --thread-id fthr-1")]
    Close(ThreadArgs),
    /// Open a closed thread again
    #[command(after_help = "Example: metawsm forum reopen --thread-id fthr-1")]
    Reopen(ThreadArgs),
    /// List threads, newest activity first
    #[command(after_help = "Example: metawsm forum list --ticket ACME-12 --state waiting_human")]
    List(ThreadListArgs),
    /// What waits for you, is assigned to you, or is new to you
    #[command(after_help = "Example: metawsm forum queue --type needs_me")]
    Queue(QueueArgs),
    /// Look for words in titles and posts, newest first
    #[command(after_help = "Example: metawsm forum search 'outbox key*' --ticket ACME-12")]
    Search(SearchArgs),
    /// What waits for you, then what is new to you, with the new posts (an agent's: its own threads)
    #[command(after_help = "Example: metawsm forum inbox")]
    Inbox(InboxArgs),
    /// The forum in numbers
    #[command(after_help = "Example: metawsm forum stats --run-id run-20261121-090949")]
    Stats(FilterArgs),
    /// Everything about the forum's inside: events, threads, outbox, search index
    #[command(after_help = "Example: metawsm --json forum debug --limit 100")]
    Debug(ThreadListArgs),
    /// One thread with its posts
    #[command(after_help = "Example: metawsm forum thread --thread-id fthr-1 --tail 20")]
    Thread {
        /// The thread
        #[arg(long, value_name = "ID")]
        thread_id: String,
        /// Only the last posts
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        tail: Option<usize>,
        /// Only the posts after this place in the journal
        #[arg(long, value_name = "SEQ", conflicts_with = "tail", value_parser = place, allow_negative_numbers = true)]
        since: Option<i64>,
    },
    /// Note that you have seen a thread
    #[command(after_help = "Example: metawsm forum seen --thread-id fthr-1")]
    Seen {
        /// The thread
        #[arg(long, value_name = "ID")]
        thread_id: String,
        /// Whose mark (default: yours)
        #[arg(long, value_name = "V")]
        viewer: Option<String>,
        /// Up to where (default: its end)
        #[arg(long, value_name = "SEQ", allow_negative_numbers = true, value_parser = place)]
        seq: Option<i64>,
    },
    /// Send a typed signal of an agent, or answer one
    #[command(after_help = "Example: metawsm forum signal --type completion --summary 'all tests pass'")]
    Signal(SignalArgs),
    /// Wait for the answer to a question
    #[command(after_help = "Example: metawsm forum wait --thread-id fthr-1 --timeout 90s")]
    Wait {
        /// The thread: its last question; of a control thread the oldest open request
        #[arg(long, value_name = "ID")]
        thread_id: Option<String>,
        /// The post that asked
        #[arg(long, value_name = "ID")]
        post_id: Option<String>,
        /// How long at most
        #[arg(long, value_parser = parse_duration, value_name = "DUR", default_value = "30m")]
        timeout: Duration,
    },
    /// Forum events as JSON lines
    #[command(after_help = "Example: metawsm forum watch --since 10 --follow")]
    Watch(EventsArgs),
}

/// Who speaks.
#[derive(Debug, Clone, Default, Args)]
pub struct Speaker {
    /// agent, operator or human (default: agent in a session, human outside)
    #[arg(long, value_name = "TYPE")]
    pub actor_type: Option<String>,
    /// The speaker's name
    #[arg(long, value_name = "NAME")]
    pub actor_name: Option<String>,
    /// The same command under the same key is carried out once
    #[arg(long, value_name = "KEY")]
    pub event_id: Option<String>,
}

/// Options of `forum ask`.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// One line
    #[arg(long, allow_hyphen_values = true)]
    pub title: String,
    /// The question; - reads standard input
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub body: String,
    /// low, normal, high or urgent
    #[arg(long, value_name = "P", default_value = "normal")]
    pub priority: String,
    /// Which agent it belongs to.
    #[command(flatten)]
    pub which: AgentSelector,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
    /// The new thread's id; where the same question waits already, its thread is joined and "warning" says so
    #[arg(long, value_name = "ID")]
    pub thread_id: Option<String>,
    /// Wait for the answer and print it
    #[arg(long)]
    pub wait: bool,
    /// How long at most
    #[arg(long, value_parser = parse_duration, value_name = "DUR", default_value = "30m")]
    pub timeout: Duration,
}

/// Options of `forum post`.
#[derive(Debug, Clone, Args)]
pub struct PostArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// The text; - reads standard input
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub body: String,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
    /// Wait for the answer and print it
    #[arg(long)]
    pub wait: bool,
    /// How long at most
    #[arg(long, value_parser = parse_duration, value_name = "DUR", default_value = "30m")]
    pub timeout: Duration,
}

/// Options of `forum answer`.
#[derive(Debug, Clone, Args)]
pub struct AnswerArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// The text; - reads standard input
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub body: String,
    /// The request answered (default: the oldest open one)
    #[arg(long, value_name = "POST")]
    pub in_reply_to: Option<String>,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
}

/// A thread and who acts on it.
#[derive(Debug, Clone, Args)]
pub struct ThreadArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
}

/// Options of `forum assign`.
#[derive(Debug, Clone, Args)]
pub struct AssignArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// agent, operator or human
    #[arg(long, value_name = "TYPE", default_value = "operator")]
    pub assignee_type: String,
    /// Whom; an agent that has namesakes in its run as WS/NAME
    #[arg(long, value_name = "NAME")]
    pub assignee: String,
    /// The agent's workspace, where the run has several
    #[arg(long, value_name = "WS")]
    pub workspace: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub note: Option<String>,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
}

/// Options of `forum state`.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// triaged, waiting_operator, waiting_human, answered or closed
    #[arg(long, value_name = "S")]
    pub state: String,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
}

/// Options of `forum priority`.
#[derive(Debug, Clone, Args)]
pub struct PriorityArgs {
    /// The thread
    #[arg(long, value_name = "ID")]
    pub thread_id: String,
    /// low, normal, high or urgent
    #[arg(long, value_name = "P", default_value = "normal")]
    pub priority: String,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
}

/// Which threads.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only of this ticket
    #[arg(long, value_name = "T")]
    pub ticket: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "S")]
    pub state: Option<String>,
    /// Only of this priority
    #[arg(long, value_name = "P")]
    pub priority: Option<String>,
    /// Only assigned to this name
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// Only of this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
}

/// A page of threads.
#[derive(Debug, Clone, Args)]
pub struct ThreadListArgs {
    /// Which threads.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    pub limit: usize,
    /// Where to go on
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Options of `forum queue`.
#[derive(Debug, Clone, Args)]
pub struct QueueArgs {
    /// Which queue
    #[arg(long = "type", value_enum, default_value = "needs_me", value_name = "TYPE")]
    pub queue: QueueWord,
    /// Whose (default: yours)
    #[arg(long, value_name = "V")]
    pub viewer: Option<String>,
    /// Which threads.
    #[command(flatten)]
    pub list: ThreadListArgs,
}

/// Options of `forum search`.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// Words; foo* for what begins so, "two words" for a phrase, AND OR NOT between them
    #[arg(value_name = "QUERY")]
    pub query: String,
    /// The best of the newest hits first, instead of the newest
    #[arg(long)]
    pub rank: bool,
    /// Which threads.
    #[command(flatten)]
    pub list: ThreadListArgs,
}

/// Options of `forum inbox`.
#[derive(Debug, Clone, Args)]
pub struct InboxArgs {
    /// Whose, where it is not yours: human:NAME, operator, or agent:RUN/WORKSPACE/AGENT
    #[arg(long, value_name = "V", conflicts_with_all = ["agent", "workspace"])]
    pub viewer: Option<String>,
    /// Which agent's.
    #[command(flatten)]
    pub which: AgentSelector,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true)]
    pub limit: usize,
    /// Where to go on
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Words of `forum queue --type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum QueueWord {
    /// New to you.
    Unseen,
    /// Waiting for your side.
    Unanswered,
    /// Assigned to you.
    Assigned,
    /// Waiting or assigned.
    NeedsMe,
}

/// Options of `forum signal`.
#[derive(Debug, Clone, Args)]
pub struct SignalArgs {
    /// guidance_request, guidance_answer, completion, validation or progress
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// Which agent; in its session it is the agent itself.
    #[command(flatten)]
    pub which: AgentSelector,
    /// Asked by a guidance_request
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub question: Option<String>,
    /// What one should know to answer it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub context: Option<String>,
    /// The answer of a guidance_answer
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub answer: Option<String>,
    /// What was done
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub summary: Option<String>,
    /// passed or failed
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// The criteria that were checked
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub done_criteria: Option<String>,
    /// How far it is, in words
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub note: Option<String>,
    /// How far it is, 0-100
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub percent: Option<u8>,
    /// The request answered
    #[arg(long, value_name = "POST")]
    pub in_reply_to: Option<String>,
    /// Who speaks.
    #[command(flatten)]
    pub speaker: Speaker,
    /// Wait for the answer of a guidance_request
    #[arg(long)]
    pub wait: bool,
    /// How long at most
    #[arg(long, value_parser = parse_duration, value_name = "DUR", default_value = "30m")]
    pub timeout: Duration,
}

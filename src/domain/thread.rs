//! The forum: threads and posts, their states, and who waits for whom (spec 2.5; original 3.7, 7).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::actor::{Actor, ActorType, Side};
use super::refusal::Refusal;
use super::signal::Signal;
use super::time::Moment;

/// The longest body of a post, in bytes.
pub const LONGEST_BODY: usize = 1024 * 1024;
/// The longest id of a thread that a caller may choose, in characters.
pub const LONGEST_THREAD_ID: usize = 200;
/// The longest title, in characters.
pub const LONGEST_TITLE: usize = 300;

/// Where a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadState {
    /// Opened.
    New,
    /// Looked at.
    Triaged,
    /// The operator is to act.
    WaitingOperator,
    /// A human is to act.
    WaitingHuman,
    /// Answered.
    Answered,
    /// Over until reopened.
    Closed,
}

use ThreadState as T;

impl ThreadState {
    /// All of them.
    pub const ALL: [Self; 6] = [T::New, T::Triaged, T::WaitingOperator, T::WaitingHuman, T::Answered, T::Closed];

    /// The states it may turn into. `closed → triaged` is `reopen` and nothing else.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            T::New => &[T::Triaged, T::WaitingOperator, T::WaitingHuman, T::Answered, T::Closed],
            T::Triaged => &[T::WaitingOperator, T::WaitingHuman, T::Answered, T::Closed],
            T::WaitingOperator => &[T::WaitingHuman, T::Answered, T::Triaged, T::Closed],
            T::WaitingHuman => &[T::WaitingOperator, T::Answered, T::Triaged, T::Closed],
            T::Answered => &[T::WaitingOperator, T::WaitingHuman, T::Closed],
            T::Closed => &[T::Triaged],
        }
    }

    /// The word in JSON, SQL and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            T::New => "new",
            T::Triaged => "triaged",
            T::WaitingOperator => "waiting_operator",
            T::WaitingHuman => "waiting_human",
            T::Answered => "answered",
            T::Closed => "closed",
        }
    }

    /// Reads a word in any case, blanks around it ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How much a thread presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Whenever there is time.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Soon.
    High,
    /// Now.
    Urgent,
}

impl Priority {
    /// All of them, rising.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// The word in JSON, SQL and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// 0 for low to 3 for urgent.
    pub const fn rank(self) -> i64 {
        self as i64
    }

    /// Whether what has it is to be seen at once.
    pub const fn presses(self) -> bool {
        matches!(self, Self::High | Self::Urgent)
    }

    /// Reads a word in any case; blank means normal.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.trim().to_ascii_lowercase();
        if word.is_empty() {
            return Some(Self::Normal);
        }
        Self::ALL.into_iter().find(|priority| priority.word() == word)
    }
}

/// A forum conversation as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Identity.
    pub thread_id: String,
    /// The ticket it is about.
    pub ticket: String,
    /// The run it belongs to.
    pub run_id: Option<String>,
    /// The workspace of the agent it belongs to.
    pub workspace: Option<String>,
    /// The agent it belongs to.
    pub agent_name: Option<String>,
    /// One line.
    pub title: String,
    /// Where it stands.
    pub state: ThreadState,
    /// How much it presses.
    pub priority: Priority,
    /// Kind of whom it is assigned to.
    pub assignee_type: Option<ActorType>,
    /// Name of whom it is assigned to.
    pub assignee_name: Option<String>,
    /// Kind of who opened it.
    pub opened_by_type: ActorType,
    /// Name of who opened it.
    pub opened_by_name: String,
    /// How many posts it has.
    pub posts_count: u64,
    /// When the last post was written.
    pub last_post_at: Option<Moment>,
    /// Kind of who wrote it.
    pub last_post_by_type: Option<ActorType>,
    /// Name of who wrote it.
    pub last_post_by_name: Option<String>,
    /// The newest event about it.
    pub last_event_sequence: i64,
    /// Kind of the last actor that was not metawsm itself.
    pub last_actor_type: Option<ActorType>,
    /// When it was opened.
    pub opened_at: Moment,
    /// When anything of it last changed.
    pub updated_at: Moment,
    /// When it was closed.
    pub closed_at: Option<Moment>,
    /// Whether it carries an agent's typed signals.
    pub control: bool,
    /// The side that has to speak.
    pub waiting_on: Option<Side>,
    /// Since when it has to.
    pub waiting_since: Option<Moment>,
    /// An agent waits in `--wait` for the answer: its run awaits guidance.
    pub blocking: bool,
    /// The epoch of the agent that asked.
    pub epoch: Option<u32>,
    /// Fingerprint of the question asked with `--wait`, so that the same ask joins it.
    pub question: Option<String>,
}

impl Thread {
    /// Whether it is open and a human or the operator has to speak.
    pub fn waits_for_human(&self) -> bool {
        self.waiting_on == Some(Side::Human)
    }

    /// When it began to wait, else when it was opened.
    pub fn waits_since(&self) -> Moment {
        self.waiting_since.unwrap_or(self.opened_at)
    }
}

/// One message of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Identity: its event's id with `.post`.
    pub post_id: String,
    /// Its thread.
    pub thread_id: String,
    /// Its event's place in the journal.
    pub seq: i64,
    /// Kind of whose words they are.
    pub author_type: ActorType,
    /// Name of whose words they are.
    pub author_name: String,
    /// Who wrote them down, where that is somebody else.
    pub writer: Option<Actor>,
    /// The words, byte for byte.
    pub body: String,
    /// When they were written.
    pub created_at: Moment,
    /// The signal they carry.
    pub signal: Option<Signal>,
    /// The request they answer.
    pub in_reply_to: Option<String>,
}

/// A guidance request of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The post that made it.
    pub post_id: String,
    /// Its control thread.
    pub thread_id: String,
    /// The run of the agent.
    pub run_id: String,
    /// The workspace of the agent.
    pub workspace: String,
    /// The agent.
    pub agent_name: String,
    /// The agent's epoch when it asked.
    pub epoch: u32,
    /// What it asked.
    pub question: String,
    /// When it asked.
    pub opened_at: Moment,
    /// Place of the asking in the journal; the oldest is answered first.
    pub seq: i64,
    /// The post that answered it, or the reason it needs no answer any more.
    pub settled_by: Option<String>,
}

/// Checks who opens a closed thread again: a human or the operator.
pub fn may_reopen(who: ActorType) -> Result<(), Refusal> {
    if who.side() == Some(Side::Human) {
        return Ok(());
    }
    Err(Refusal::not_allowed(format!("only a human or the operator opens a closed thread again, not the {who}"))
        .hint("ask in a new thread: metawsm forum ask"))
}

/// Checks the id of a new thread: short, printable, and not one of those that are derived for control threads.
pub fn check_thread_id(thread_id: &str) -> Result<(), Refusal> {
    let printable = thread_id.chars().all(|c| c.is_ascii_graphic());
    if thread_id.is_empty() || thread_id.len() > LONGEST_THREAD_ID || !printable {
        return Err(Refusal::invalid("--thread-id is 1 to 200 printable characters without blanks")
            .hint("leave out --thread-id and a free one is chosen"));
    }
    if thread_id.starts_with("fctrl-") {
        return Err(Refusal::invalid(format!("{thread_id}: ids that begin with fctrl- are those of control threads"))
            .hint("leave out --thread-id and a free one is chosen"));
    }
    Ok(())
}

/// Checks a title: one line, not blank, no control characters, at most 300 characters.
pub fn check_title(title: &str) -> Result<(), Refusal> {
    if title.trim().is_empty() {
        return Err(Refusal::invalid("the title is empty").hint("say in one line what it is about: --title"));
    }
    if title.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
        return Err(Refusal::invalid("the title holds a line break or control character")
            .hint("a title is one line; the rest belongs in --body"));
    }
    let length = title.chars().count();
    if length > LONGEST_TITLE {
        return Err(Refusal::invalid(format!("the title has {length} characters, {LONGEST_TITLE} are allowed"))
            .hint("the rest belongs in --body"));
    }
    Ok(())
}

/// Checks a body: not blank, no NUL, at most 1 MiB.
pub fn check_body(body: &str) -> Result<(), Refusal> {
    let mends = [
        "give the text with --body, or --body - and standard input",
        "posts are text; attach binary data as a file",
        "put it into a file in the worktree and post its path",
    ];
    check_text("body", body, mends)
}

/// Checks a text, with what to do about one that is blank, holds a NUL, or has more than 1 MiB.
pub fn check_text(what: &str, text: &str, [blank, nul, long]: [&str; 3]) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::invalid(format!("the {what} is empty")).hint(blank));
    }
    if text.contains('\0') {
        return Err(Refusal::invalid(format!("the {what} holds a NUL byte")).hint(nul));
    }
    if text.len() > LONGEST_BODY {
        let message = format!("the {what} has {} bytes, {LONGEST_BODY} are allowed", text.len());
        return Err(Refusal::invalid(message).hint(long));
    }
    Ok(())
}

/// A stable fingerprint (FNV-1a, 128 bits) of a question, to recognise the same ask.
pub fn fingerprint(title: &str, body: &str) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in title.bytes().chain([0]).chain(body.bytes()) {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

/// The id of an agent's control thread; the workspace is in it when the run has several.
pub fn control_thread_id(run_id: &str, agent: &str, workspace: Option<&str>) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
    };
    match workspace {
        None => format!("fctrl-{}-{}", plain(run_id), plain(agent)),
        Some(workspace) => format!("fctrl-{}-{}-{}", plain(run_id), plain(agent), plain(workspace)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_originals_with_reopen() {
        let table: Vec<String> = ThreadState::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<&str> = from.successors().iter().map(|to| to.word()).collect();
                format!("{from} -> {}", to.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        new -> triaged waiting_operator waiting_human answered closed
        triaged -> waiting_operator waiting_human answered closed
        waiting_operator -> waiting_human answered triaged closed
        waiting_human -> waiting_operator answered triaged closed
        answered -> waiting_operator waiting_human closed
        closed -> triaged
        ");
    }

    #[test]
    fn titles_and_bodies_at_the_door() {
        assert!(check_title("which schema?").is_ok());
        assert!(check_title(&"é".repeat(300)).is_ok());
        for bad in ["", "  ", "two\nlines", "esc\u{1b}[31m", &"x".repeat(301)] {
            assert!(check_title(bad).is_err(), "{bad:?}");
        }
        assert!(check_body(&"x".repeat(LONGEST_BODY)).is_ok());
        for bad in ["", " \n", "nul\0", &"x".repeat(LONGEST_BODY + 1)] {
            assert!(check_body(bad).is_err());
        }
    }

    #[test]
    fn a_fingerprint_tells_title_from_body() {
        assert_ne!(fingerprint("a", "b"), fingerprint("ab", ""));
        assert_eq!(fingerprint("a", "b"), fingerprint("a", "b"));
    }

    #[test]
    fn control_thread_ids() {
        assert_eq!(control_thread_id("run-20261121-080000", "planner", None), "fctrl-run-20261121-080000-planner");
        assert_eq!(control_thread_id("r.1", "A_b", Some("acme-1")), "fctrl-r-1-a-b-acme-1");
    }
}

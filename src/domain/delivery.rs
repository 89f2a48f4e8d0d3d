//! Text on its way into an agent's session: where it stands, what is typed of it, whose turn it is, and (below) when it
//! may be typed (spec 2.5 "Delivery", 7 "Sending text").
//!
//! A text is typed once at most. That it is going to be typed is written down before, what came of it after; where
//! that is not known it stays `typed`, a human is called, and nobody types it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actor::{Actor, ActorType};
use super::agent::AgentKey;
use super::event::{Author, Subject};
use super::runner::SHELL;
use super::thread::Priority;
use super::time::Moment;

pub use moment::{Cue, Hold, Seen, may_type};

mod moment;
pub mod place;
pub mod screen;

/// A text that was typed and not seen to be taken for so long is in doubt.
pub const IN_DOUBT_AFTER: Duration = Duration::from_secs(60);
/// An agent that waits in the forum takes a post there within this; what nobody took is typed.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(3);
/// A terminal that edits lines itself keeps no more than this of one, in bytes.
pub const LONGEST_COOKED_LINE: usize = 4094;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for its moment.
    Queued,
    /// It was typed, or is just being typed; whether it was taken is not known.
    Typed,
    /// The agent has it.
    Submitted,
    /// It does not reach the agent any more.
    Failed,
}

use DeliveryState as D;

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 4] = [D::Queued, D::Typed, D::Submitted, D::Failed];

    /// The states it may turn into. `queued → submitted` is the agent taking it by itself in the forum.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            D::Queued => &[D::Typed, D::Submitted, D::Failed],
            D::Typed => &[D::Submitted, D::Failed],
            D::Submitted | D::Failed => &[],
        }
    }

    /// Whether it may turn into `next`.
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// Whether something may still come of it.
    pub const fn open(self) -> bool {
        matches!(self, D::Queued | D::Typed)
    }

    /// The word in JSON, SQL and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            D::Queued => "queued",
            D::Typed => "typed",
            D::Submitted => "submitted",
            D::Failed => "failed",
        }
    }
}

impl std::fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A text for an agent's session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Identity.
    pub delivery_id: String,
    /// The agent.
    pub key: AgentKey,
    /// Its ticket.
    pub ticket: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Whose words it holds.
    #[serde(flatten)]
    pub from: Author,
    /// Whether it goes before others, and into a turn that runs.
    pub urgent: bool,
    /// The words; absent where they are those of a post.
    pub text: Option<String>,
    /// The post.
    pub post_id: Option<String>,
    /// Its thread.
    pub thread_id: Option<String>,
    /// When it was queued.
    pub queued_at: Moment,
    /// The event that queued it: the order among those of one agent.
    pub queued_seq: i64,
    /// When it was typed.
    pub typed_at: Option<Moment>,
    /// Into which launch.
    pub launch: Option<u32>,
    /// When it was submitted or failed.
    pub settled_at: Option<Moment>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The signals behind its state.
    pub evidence: Value,
    /// The newest event about it.
    pub last_seq: i64,
}

impl Delivery {
    /// What events about it are about.
    pub fn subject(&self) -> Subject {
        Subject {
            run_id: Some(self.key.run_id.clone()),
            ticket: Some(self.ticket.clone()),
            workspace: Some(self.key.workspace.clone()),
            agent_name: Some(self.key.name.clone()),
            thread_id: self.thread_id.clone(),
        }
    }

    /// Whether it was typed so long ago that a human has to look.
    pub fn in_doubt(&self, now: Moment) -> bool {
        self.state == D::Typed && self.typed_at.is_some_and(|at| at.is_over(IN_DOUBT_AFTER, now))
    }
}

/// What an escalation about a delivery is about.
pub fn delivery_target(delivery_id: &str) -> String {
    format!("delivery:{delivery_id}")
}

/// The id of the delivery of a post: there is at most one.
pub fn id_of_post(post_id: &str) -> String {
    format!("dlv-{}", post_id.strip_suffix(".post").unwrap_or(post_id))
}

/// Whether text of this priority goes before others.
pub fn presses(priority: Priority) -> bool {
    priority == Priority::Urgent
}

/// Whether words of this author may be typed for a runner at all: a shell would carry them out, and what agents and
/// the operator write is data.
pub fn may_be_typed(runner: &str, from: ActorType) -> bool {
    runner != SHELL || from == ActorType::Human
}

/// Which of an agent's open deliveries is typed next: the urgent before the others, then the oldest. None while an
/// earlier one may still stand in its composer. What an agent may take by itself gets the time for that.
pub fn next<'a>(open: impl IntoIterator<Item = &'a Delivery>, now: Moment) -> Option<&'a Delivery> {
    let open: Vec<&Delivery> = open.into_iter().collect();
    if open.iter().any(|delivery| delivery.state == D::Typed && !delivery.in_doubt(now)) {
        return None;
    }
    let due = |delivery: &&Delivery| {
        delivery.state == D::Queued && (delivery.post_id.is_none() || delivery.queued_at.is_over(TAKEN_WITHIN, now))
    };
    open.into_iter().filter(due).min_by_key(|delivery| (!delivery.urgent, delivery.queued_seq))
}

/// What is typed: a line that says from whom and about which thread, then the words without anything that a program
/// would take for a key.
///
/// No text begins with `!` or `/`, which programs take for commands; a shell is given a comment.
pub fn typed_text(delivery: &Delivery, words: &str, runner: &str) -> String {
    let from = Actor::new(delivery.from.author_type, delivery.from.author_name.clone());
    let about = delivery.thread_id.as_deref().map(|id| format!(" · thread {id}")).unwrap_or_default();
    let line = clean(&format!("from {from}{about}")).replace(['\n', '\t'], " ");
    let line = if runner == SHELL { format!("# {line}") } else { format!("[{line}]") };
    let mut text = format!("{line}\n{}", clean(words).trim_matches('\n'));
    // Before Enter programs complete a name that begins with `@`, and take a backslash for a line break to come.
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    if last.starts_with('@') || last.ends_with('\\') {
        text.push(' ');
    }
    text
}

/// The text without control characters but newline and tab: no key, no escape sequence, no end of a bracketed paste
/// can be in it. Line ends become ours, for a carriage return is the Enter key.
pub fn clean(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(c),
            '\r' | '\u{85}' => Some('\n'),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

/// The first line that a terminal which edits lines itself would cut off.
pub fn too_long_for_cooked(text: &str) -> Option<usize> {
    text.lines().map(str::len).find(|length| *length > LONGEST_COOKED_LINE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delivery(seq: i64, kind: ActorType) -> Delivery {
        Delivery {
            delivery_id: format!("dlv-{seq}"),
            key: AgentKey::new("run-1", "ws", "coder"),
            ticket: "T-1".into(),
            state: D::Queued,
            from: Author { author_type: kind, author_name: "bo".into() },
            urgent: false,
            text: Some("go".into()),
            post_id: None,
            thread_id: None,
            queued_at: Moment::from_millis(0),
            queued_seq: seq,
            typed_at: None,
            launch: None,
            settled_at: None,
            reason: None,
            evidence: Value::Null,
            last_seq: seq,
        }
    }

    fn human(seq: i64) -> Delivery {
        delivery(seq, ActorType::Human)
    }

    #[test]
    fn only_the_transitions_of_the_spec_are_legal() {
        let table: Vec<String> = D::ALL
            .into_iter()
            .map(|from| {
                let to: Vec<&str> = from.successors().iter().map(|to| to.word()).collect();
                format!("{from} -> {}", to.join(" "))
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        queued -> typed submitted failed
        typed -> submitted failed
        submitted -> 
        failed -> 
        ");
    }

    #[test]
    fn the_urgent_goes_first_then_the_oldest_and_one_at_a_time() {
        let now = Moment::from_millis(10_000);
        let urgent = Delivery { urgent: true, ..human(3) };
        let (first, second) = (human(1), human(2));
        let id = |open: &[&Delivery]| next(open.iter().copied(), now).map(|found| found.queued_seq);
        assert_eq!(id(&[&second, &first]), Some(1));
        assert_eq!(id(&[&second, &first, &urgent]), Some(3));
        let typed = Delivery { state: D::Typed, typed_at: Some(Moment::from_millis(9_000)), ..human(0) };
        assert_eq!(id(&[&typed, &first, &urgent]), None);
        let doubtful = Delivery { typed_at: Some(Moment::from_millis(10_000 - 60_000)), ..typed };
        assert_eq!(id(&[&doubtful, &first]), Some(1));
        let settled = Delivery { state: D::Failed, ..human(0) };
        assert_eq!(id(&[&settled]), None);
    }

    #[test]
    fn an_agent_that_waits_in_the_forum_may_take_a_post_first() {
        let post = Delivery { post_id: Some("e1.post".into()), ..human(1) };
        assert!(next([&post], Moment::from_millis(2_999)).is_none());
        assert!(next([&post], Moment::from_millis(3_000)).is_some());
    }

    #[test]
    fn no_text_waits_for_a_clock_that_was_set_back() {
        let (now, hour) = (Moment::from_millis(10_000), Moment::from_millis(3_610_000));
        let post = Delivery { post_id: Some("e1.post".into()), queued_at: hour, ..human(1) };
        assert!(next([&post], now).is_some());
        let typed = Delivery { state: D::Typed, typed_at: Some(hour), ..human(0) };
        assert!(typed.in_doubt(now) && next([&typed, &post], now).is_some());
    }

    #[test]
    fn it_begins_with_who_says_it_and_where() {
        let post = Delivery { thread_id: Some("fthr-1".into()), ..human(1) };
        assert_eq!(typed_text(&post, "!ls\r\n/help\n\n", "codex"), "[from human:bo · thread fthr-1]\n!ls\n/help");
        assert_eq!(typed_text(&human(1), "make", SHELL), "# from human:bo\nmake");
        let odd = Delivery { from: Author { author_name: "x\u{1b}[201~\n!y".into(), ..human(1).from }, ..human(1) };
        assert_eq!(typed_text(&odd, "a\rb", "codex"), "[from human:x[201~ !y]\na\nb");
        for (end, kept) in [("see @READ", "see @READ "), ("C:\\", "C:\\ "), ("a@b.c", "a@b.c"), ("@a b", "@a b")] {
            assert_eq!(typed_text(&human(1), end, "codex"), format!("[from human:bo]\n{kept}"));
        }
    }

    #[test]
    fn a_line_too_long_for_a_cooked_terminal_is_found() {
        assert_eq!(too_long_for_cooked(&format!("a\n{}", "x".repeat(4094))), None);
        assert_eq!(too_long_for_cooked(&format!("a\n{}", "x".repeat(4095))), Some(4095));
        assert!(may_be_typed("codex", ActorType::Agent) && !may_be_typed(SHELL, ActorType::Agent));
    }

    proptest! {
        #[test]
        fn no_text_holds_a_key(words in any::<String>(), noise in "[\u{0}-\u{1f}\u{7f}-\u{9f}\\[201~a!/ ]{0,40}",
            name in any::<String>())
        {
            let from = Author { author_name: name, ..human(1).from };
            let delivery = Delivery { from, thread_id: Some(words.clone()), ..human(1) };
            for runner in ["codex", SHELL] {
                let typed = typed_text(&delivery, &format!("{words}{noise}{words}"), runner);
                prop_assert!(typed.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
                let begin = if runner == SHELL { "# from human:" } else { "[from human:" };
                prop_assert!(typed.starts_with(begin));
                prop_assert_eq!(clean(&typed), typed.clone());
                let first = typed.lines().next().unwrap_or_default();
                prop_assert!(runner == SHELL || first.ends_with(']'));
            }
        }

        #[test]
        fn text_without_control_characters_stays_as_it_is(words in "[^\u{0}-\u{1f}\u{7f}-\u{9f}]{0,80}") {
            prop_assert_eq!(clean(&words), words);
        }
    }
}

//! The outbox: what is to be done outside once something has happened (spec 2.6). A letter is written in the
//! transaction of the event that causes it; who carries it out, and when, is the worker's business.

use std::time::Duration;

use serde_json::{Value, json};

use super::escalation::Kind;
use super::event::{Event, Fact, Subject};
use super::signal::{Signal, SignalType};
use super::thread::ThreadState;
use super::time::Moment;

/// Topic of the entries in a ticket's changelog.
pub const DOCS_SYNC: &str = "forum.integration.docs_sync.requested";

/// Topic of the user's program that calls a human.
pub const NOTIFY: &str = "escalation.notify.requested";
/// Topic of the entries about calls in a ticket's changelog.
pub const CALL_NOTED: &str = "escalation.docs.requested";

/// The pause after the first error; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Which side effects are wanted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Answers and calls are written into the ticket's changelog.
    pub docs_sync: bool,
    /// A program of the user's is to call.
    pub notify: bool,
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterStatus {
    /// It waits for its time; it failed before where it has attempts.
    Pending,
    /// A worker has it.
    Processing,
    /// It is done.
    Sent,
    /// It was given up.
    Dead,
    /// A human does not want it; its row is gone.
    Dropped,
}

impl LetterStatus {
    /// The word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }

    /// Reads a word of the table.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Processing, Self::Sent, Self::Dead].into_iter().find(|status| status.word() == word)
    }
}

/// A letter that has no row yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLetter {
    /// What is to be done.
    pub topic: &'static str,
    /// What it is about: letters of one key go in order of their events.
    pub key: String,
    /// The details.
    pub payload: Value,
}

/// One letter as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// The event that caused it.
    pub seq: i64,
    /// What is to be done.
    pub topic: String,
    /// What it is about.
    pub key: String,
    /// The details.
    pub payload: Value,
    /// Where it stands.
    pub status: LetterStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// Not before then.
    pub due_at: Moment,
    /// Until when a worker has it.
    pub claimed_until: Option<Moment>,
    /// When it was written.
    pub created_at: Moment,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What there is to say to how it ended.
    pub note: Option<String>,
    /// When it was done.
    pub sent_at: Option<Moment>,
}

impl Letter {
    /// The word on the screen and in JSON: one that waits after an error is `failed`.
    pub const fn word(&self) -> &'static str {
        match self.status {
            LetterStatus::Pending if self.attempts > 0 => "failed",
            status => status.word(),
        }
    }

    /// What events about it are about.
    pub fn subject(&self) -> Subject {
        let field = |name: &str| self.payload.get(name).and_then(Value::as_str).map(str::to_owned);
        Subject {
            run_id: field("run_id"),
            ticket: field("ticket"),
            workspace: field("workspace"),
            agent_name: None,
            thread_id: None,
        }
    }

    /// The commands that are legal now.
    pub const fn next_commands(&self) -> &'static [&'static str] {
        match self.status {
            LetterStatus::Pending | LetterStatus::Dead => &["outbox retry", "outbox drop"],
            LetterStatus::Processing | LetterStatus::Sent | LetterStatus::Dropped => &[],
        }
    }
}

/// The target of the call that a dead letter is, and whose it is: one for each letter, but one for all calls of a kind
/// that reach nobody, for there are as many of them as there is trouble.
pub fn dead_letter_about(letter: &Letter) -> (String, Subject) {
    match letter.topic.as_str() {
        NOTIFY => (format!("outbox:{NOTIFY}"), Subject::default()),
        CALL_NOTED => {
            let run_id = letter.subject().run_id;
            (format!("outbox:{CALL_NOTED}"), Subject { run_id, ticket: letter.subject().ticket, ..Subject::default() })
        }
        _ => (format!("outbox:{}", letter.id), letter.subject()),
    }
}

/// Whether an event makes anything necessary outside, if that is wanted: most do not, and nobody is asked for them.
pub fn may_have_letters(event: &Event) -> bool {
    !letters_of(event, Wanted { docs_sync: true, notify: true }).is_empty()
}

/// What an event makes necessary outside.
pub fn letters_of(event: &Event, wanted: Wanted) -> Vec<NewLetter> {
    let mut letters = Vec::new();
    letters.extend(docs_sync(event).filter(|_| wanted.docs_sync));
    letters.extend(called(event, NOTIFY).filter(|_| wanted.notify));
    // What could not be written down is not written down as that either.
    let lost = matches!(
        event.fact,
        Fact::EscalationOpened { kind: Kind::DeadLetter, .. }
            | Fact::EscalationNotified { kind: Some(Kind::DeadLetter), .. }
    );
    let noted = called(event, CALL_NOTED).filter(|_| wanted.docs_sync && !lost);
    letters.extend(noted.filter(|_| event.subject.run_id.is_some() && event.subject.ticket.is_some()));
    letters
}

/// A human is called, or called again.
fn called(event: &Event, topic: &'static str) -> Option<NewLetter> {
    let (escalation_id, again) = match &event.fact {
        // That nobody could be called is not called out: it would go round in a circle.
        Fact::EscalationOpened { kind: Kind::DeadLetter, evidence, .. } if is_about_calls(evidence) => return None,
        Fact::EscalationNotified { about_calls: true, .. } => return None,
        // What is new about a call is no other call, but for a thread that waits longer: that is how it calls again.
        Fact::EscalationOpened { escalation_id, update: true, kind: Kind::Sla, .. } => (escalation_id, true),
        Fact::EscalationOpened { update: true, .. } => return None,
        Fact::EscalationOpened { escalation_id, .. } => (escalation_id, false),
        Fact::EscalationNotified { escalation_id, .. } => (escalation_id, true),
        _ => return None,
    };
    let subject = &event.subject;
    let payload = json!({
        "escalation_id": escalation_id,
        "again": again,
        "event_id": event.event_id,
        "run_id": subject.run_id,
        "ticket": subject.ticket,
        "workspace": subject.workspace,
        "at": event.occurred_at,
    });
    Some(NewLetter { topic, key: escalation_id.clone(), payload })
}

/// Whether the evidence behind the call that a dead letter is says that it is about calls.
pub fn is_about_calls(evidence: &Value) -> bool {
    evidence["topic"].as_str().is_some_and(calls)
}

/// Whether letters of a topic call humans.
pub fn calls(topic: &str) -> bool {
    [NOTIFY, CALL_NOTED].contains(&topic)
}

/// A thread of a run that was answered or closed.
fn docs_sync(event: &Event) -> Option<NewLetter> {
    let post_of = |event_id: &String| format!("{event_id}.post");
    let (trigger, from, post_id) = match &event.fact {
        // An answer's words are the first event of its command; a state set by hand has none.
        Fact::StateChanged { from_state, to_state: ThreadState::Answered } => {
            ("answered", Some(*from_state), event.causation_id.as_ref().map(post_of))
        }
        Fact::ThreadClosed { from_state, .. } => ("closed", Some(*from_state), None),
        Fact::ControlSignal { body, .. } if is_answer(body) => ("answered", None, Some(post_of(&event.event_id))),
        _ => return None,
    };
    let subject = &event.subject;
    let (thread_id, run_id) = (subject.thread_id.clone()?, subject.run_id.clone()?);
    let payload = json!({
        "trigger": trigger,
        "event_id": event.event_id,
        "seq": event.seq,
        "thread_id": thread_id,
        "run_id": run_id,
        "ticket": subject.ticket,
        "workspace": subject.workspace,
        "from": from,
        "post_id": post_id,
        "by": event.actor.to_string(),
        "at": event.occurred_at,
    });
    Some(NewLetter { topic: DOCS_SYNC, key: thread_id, payload })
}

fn is_answer(body: &str) -> bool {
    serde_json::from_str::<Signal>(body).is_ok_and(|signal| signal.control_type == SignalType::GuidanceAnswer)
}

/// How long to wait after attempt number `attempts` failed: twice as long each time, somewhere in the upper half of
/// it, so that many that failed together do not come back together.
pub fn pause_after(attempts: u32, random: u64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(LONGEST_PAUSE);
    let half = u64::try_from(doubled.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half + random % (half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_with_jitter_in_the_upper_half() {
        let bounds: Vec<(u128, u128)> = (1..=12)
            .map(|attempts| (pause_after(attempts, 0).as_millis(), pause_after(attempts, u64::MAX).as_millis()))
            .collect();
        assert_eq!(bounds[0].0, 500);
        assert_eq!(bounds[3].0, 4_000);
        assert_eq!(bounds[11].0, 150_000);
        for random in 0..5_000 {
            let pause = pause_after(4, random).as_millis();
            assert!((4_000..=8_000).contains(&pause), "{pause}");
        }
        assert!(pause_after(u32::MAX, 7) <= LONGEST_PAUSE);
    }
}

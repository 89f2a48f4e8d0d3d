//! A forum of any size, written as a journal and folded into its tables: quick, and as real as one that grew.

use std::path::Path;
use std::sync::Arc;

use metawsm::store::Ledger;
use metawsm::store::ids::{RandomIds, SystemClock};
use metawsm::store::rebuild::rebuild;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// Words as people use them: few of them often, many of them seldom.
    pub fn words(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            let size = 10_usize.pow(u32::try_from(self.roll(5)).unwrap());
            text.push_str(&format!("w{} ", self.roll(size)));
        }
        text
    }
}

/// Who writes the journal, an event at a time.
pub struct Scribe<'a> {
    insert: rusqlite::Statement<'a>,
    pub seq: i64,
}

impl Scribe<'_> {
    pub fn event(&mut self, kind: &str, thread: &str, actor: (&str, &str), payload: &Value) {
        self.seq += 1;
        let ticket = format!("T-{}", self.seq % 17);
        let ticket = thread.rsplit('-').next().map_or(ticket, |n| format!("T-{}", n.len()));
        self.insert
            .execute(params![
                self.seq,
                format!("fevt-{:09}", self.seq),
                kind,
                1_795_000_000_000_i64 + self.seq * 10,
                ticket,
                thread,
                actor.0,
                actor.1,
                payload.to_string()
            ])
            .unwrap();
    }
}

fn written(path: &Path, write: impl FnOnce(&mut Scribe<'_>)) {
    drop(Ledger::open(path, Arc::new(SystemClock), Arc::new(RandomIds::default())).unwrap());
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
    {
        let insert = conn
            .prepare(
                "INSERT INTO journal (seq, event_id, event_type, event_version, occurred_at, ticket, thread_id, actor_type,
                                      actor_name, correlation_id, payload)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?2, ?9)",
            )
            .unwrap();
        write(&mut Scribe { insert, seq: 0 });
    }
    conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn opened(scribe: &mut Scribe<'_>, dice: &mut Dice, thread: &str) {
    let priority = ["low", "normal", "normal", "normal", "high", "urgent"][dice.roll(6)];
    let payload =
        json!({ "title": dice.words(5).trim(), "body": dice.words(30), "priority": priority, "state": "new" });
    let actor = [("agent", "planner"), ("agent", "coder"), ("human", "ada")][dice.roll(3)];
    scribe.event("forum.thread.opened", thread, actor, &payload);
}

/// So many threads, of which half have a second post; `ada` has seen all but the newest hundred.
pub fn threads(path: &Path, count: usize) {
    let mut dice = Dice::new();
    written(path, |scribe| {
        for number in 0..count {
            let thread = format!("fthr-{number:07}");
            opened(scribe, &mut dice, &thread);
            if dice.roll(2) == 0 {
                let words = json!({ "body": dice.words(30) });
                scribe.event("forum.post.added", &thread, [("human", "bo"), ("agent", "coder")][dice.roll(2)], &words);
            }
            if dice.roll(20) == 0 {
                let to = json!({ "to_assignee_type": "human", "to_assignee_name": "ada" });
                scribe.event("forum.assigned", &thread, ("human", "bo"), &to);
            }
            if dice.roll(4) == 0 {
                let closed = json!({ "from_state": "new", "to_state": "closed" });
                scribe.event("forum.thread.closed", &thread, ("human", "bo"), &closed);
            }
            if number + 100 < count {
                let mark = json!({ "viewer": "human:ada", "last_seen_event_sequence": scribe.seq });
                scribe.event("forum.seen", &thread, ("human", "ada"), &mark);
            }
        }
    });
    rebuild(path).unwrap();
}

/// So many events, in conversations of ten that go on beside each other.
pub fn events(path: &Path, count: usize) {
    let mut dice = Dice::new();
    written(path, |scribe| {
        for group in 0..count.div_ceil(1_000) {
            for round in 0..10 {
                for number in 0..100 {
                    let thread = format!("fthr-{:07}", group * 100 + number);
                    match round {
                        0 => opened(scribe, &mut dice, &thread),
                        4 => {
                            let to = json!({ "from_priority": "normal", "to_priority": "high" });
                            scribe.event("forum.priority.changed", &thread, ("human", "bo"), &to);
                        }
                        8 => {
                            let mark = json!({ "viewer": "human:ada", "last_seen_event_sequence": scribe.seq });
                            scribe.event("forum.seen", &thread, ("human", "ada"), &mark);
                        }
                        9 => {
                            let closed = json!({ "from_state": "new", "to_state": "closed" });
                            scribe.event("forum.thread.closed", &thread, ("human", "bo"), &closed);
                        }
                        _ => {
                            let actor = [("agent", "coder"), ("human", "bo")][round % 2];
                            scribe.event("forum.post.added", &thread, actor, &json!({ "body": dice.words(30) }));
                        }
                    }
                }
            }
        }
    });
}

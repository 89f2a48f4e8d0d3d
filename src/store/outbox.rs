//! The outbox table: letters are written with the events that cause them, claimed by a worker for a while, and end
//! sent or dead (spec 2.6). Delivery state, and no projection: a rebuild leaves it alone.

use std::time::Duration;

use rusqlite::{Connection, Row, named_params};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::ledger::Ledger;
use super::read::Reader;
use super::read::cursor::Cursor;
use super::read::forum::LONGEST_PAGE;
use crate::domain::event::Event;
use crate::domain::outbox::{LONGEST_PAUSE, Letter, LetterStatus, NOTIFY, Wanted, letters_of, may_have_letters};
use crate::domain::time::Moment;

/// Columns of a letter, in the order [`from_row`] reads them.
const COLUMNS: &str = "id, seq, topic, key, payload, status, attempts, due_at, claimed_until, created_at, last_error, \
                       note, sent_at";

/// Which letters `due` may be claimed now: those of one key go one after the other. What lies ahead by more than any
/// pause or claim lasts was written down before the clock was set back.
const DUE: &str = "due.status IN ('pending', 'processing') AND due.due_at NOT BETWEEN :now + 1 AND :ahead
     AND (due.claimed_until IS NULL OR due.claimed_until NOT BETWEEN :now + 1 AND :ahead)
     AND NOT EXISTS (
         SELECT 1 FROM outbox AS before
         WHERE before.status IN ('pending', 'processing')
           AND before.key = due.key AND before.topic = due.topic AND before.id < due.id)";

/// Which letters a worker takes: the user's own program may take its time, and keeps nothing else waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Those that the user's program carries out.
    Calls,
    /// All others.
    Files,
}

impl Lane {
    /// The condition, on the table under the name `due`.
    fn sql(self) -> String {
        match self {
            Self::Calls => format!("due.topic = '{NOTIFY}'"),
            Self::Files => format!("due.topic <> '{NOTIFY}'"),
        }
    }
}

/// Later than every pause and claim that began by this clock ends.
fn ahead(now: Moment) -> i64 {
    now.ahead().plus(LONGEST_PAUSE).millis()
}

/// The run a letter is about.
const RUN_ID: &str = "payload ->> '$.run_id'";

/// Where the tally stands in `meta`.
const TALLY: &str = "outbox";

/// What is kept of the outbox beyond its rows: they are pruned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Letters ever carried out.
    pub processed: u64,
    /// Errors since the last one that was carried out.
    pub consecutive_errors: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Moment>,
    /// When a letter came through after it.
    pub cleared_at: Option<Moment>,
}

/// How the outbox fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxHealth {
    /// Letters that wait for their first attempt.
    pub pending: u64,
    /// Letters that a worker has.
    pub processing: u64,
    /// Letters that failed and will be tried again.
    pub failed: u64,
    /// Letters that were given up.
    pub dead: u64,
    /// When the oldest of those that wait, failed ones too, was written.
    pub oldest_pending_at: Option<Moment>,
    /// What happened so far.
    pub tally: Tally,
}

/// A page of letters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LetterPage {
    /// The letters.
    pub letters: Vec<Letter>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// Which letters are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LetterFilter {
    /// Waiting for the first attempt.
    Pending,
    /// In a worker's hands.
    Processing,
    /// Waiting after an error.
    Failed,
    /// Done.
    Sent,
    /// Given up.
    Dead,
}

impl LetterFilter {
    const fn clause(self) -> &'static str {
        match self {
            Self::Pending => "status = 'pending' AND attempts = 0",
            Self::Processing => "status = 'processing'",
            Self::Failed => "status = 'pending' AND attempts > 0",
            Self::Sent => "status = 'sent'",
            Self::Dead => "status = 'dead'",
        }
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let (payload, status): (String, String) = (row.get(4)?, row.get(5)?);
    Ok(Letter {
        id: row.get(0)?,
        seq: row.get(1)?,
        topic: row.get(2)?,
        key: row.get(3)?,
        payload: serde_json::from_str(&payload).unwrap_or_default(),
        // The table's own check lets no other word in.
        status: LetterStatus::parse(&status).unwrap_or(LetterStatus::Dead),
        attempts: row.get(6)?,
        due_at: Moment::from_millis(row.get(7)?),
        claimed_until: row.get::<_, Option<i64>>(8)?.map(Moment::from_millis),
        created_at: Moment::from_millis(row.get(9)?),
        last_error: row.get(10)?,
        note: row.get(11)?,
        sent_at: row.get::<_, Option<i64>>(12)?.map(Moment::from_millis),
    })
}

/// Writes what the events of one command make necessary, in its transaction.
pub(super) fn write(conn: &Connection, events: &[Event], wanted: &dyn Fn() -> Wanted) -> rusqlite::Result<()> {
    for event in events.iter().filter(|event| may_have_letters(event)) {
        for letter in letters_of(event, wanted()) {
            conn.prepare_cached(
                "INSERT INTO outbox (seq, topic, key, payload, due_at, created_at)
                 VALUES (:seq, :topic, :key, :payload, :now, :now)",
            )?
            .execute(named_params! {
                ":seq": event.seq,
                ":topic": letter.topic,
                ":key": letter.key,
                ":payload": letter.payload.to_string(),
                ":now": event.occurred_at.millis(),
            })?;
        }
    }
    Ok(())
}

/// One letter.
pub(super) fn letter(conn: &Connection, id: i64) -> rusqlite::Result<Option<Letter>> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE id = :id"))?;
    let mut rows = select.query_map(named_params! { ":id": id }, from_row)?;
    rows.next().transpose()
}

/// Writes where a letter stands after a command about it.
pub(super) fn save(conn: &Connection, letter: &Letter) -> rusqlite::Result<()> {
    if letter.status == LetterStatus::Dropped {
        conn.execute("DELETE FROM outbox WHERE id = ?1", [letter.id])?;
        return Ok(());
    }
    conn.prepare_cached(
        "UPDATE outbox SET status = :status, attempts = :attempts, due_at = :due, claimed_until = NULL, last_error = :error
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": letter.id,
        ":status": letter.status.word(),
        ":attempts": letter.attempts,
        ":due": letter.due_at.millis(),
        ":error": letter.last_error,
    })?;
    Ok(())
}

fn tally(conn: &Connection) -> rusqlite::Result<Tally> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE key = :key")?;
    let mut rows = select.query(named_params! { ":key": TALLY })?;
    let text: Option<String> = rows.next()?.map(|row| row.get(0)).transpose()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn count(conn: &Connection, change: impl FnOnce(&mut Tally)) -> rusqlite::Result<()> {
    let mut tally = tally(conn)?;
    change(&mut tally);
    let text = serde_json::to_string(&tally).unwrap_or_default();
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(named_params! { ":key": TALLY, ":value": text })?;
    Ok(())
}

impl Ledger {
    /// Gives up to `most` letters whose time has come to this worker, until `now + hold`; a claim that ran out
    /// is given anew. Each claim counts as an attempt.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn claim_letters(&self, lane: Lane, hold: Duration, most: usize) -> Result<Vec<Letter>, StoreError> {
        self.claim(None, lane, hold, most)
    }

    /// The same for one letter of a run that is no call.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn claim_letter_of(&self, run_id: &str, hold: Duration) -> Result<Option<Letter>, StoreError> {
        Ok(self.claim(Some(run_id), Lane::Files, hold, 1)?.pop())
    }

    fn claim(&self, run_id: Option<&str>, lane: Lane, hold: Duration, most: usize) -> Result<Vec<Letter>, StoreError> {
        let now = self.clock().now();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.beside(|tx| {
            let sql = format!(
                "UPDATE outbox SET status = 'processing', attempts = attempts + 1, claimed_until = :until
                 WHERE id IN (
                     SELECT id FROM outbox AS due
                     WHERE {DUE} AND {} AND (:run_id IS NULL OR due.{RUN_ID} = :run_id)
                     ORDER BY due_at, id LIMIT :most)
                 RETURNING {COLUMNS}",
                lane.sql()
            );
            let mut update = tx.prepare_cached(&sql)?;
            let params = named_params! {
                ":now": now.millis(), ":ahead": ahead(now), ":until": now.plus(hold).millis(), ":run_id": run_id,
                ":most": most,
            };
            let mut letters: Vec<Letter> = update.query_map(params, from_row)?.collect::<rusqlite::Result<_>>()?;
            letters.sort_by_key(|letter| letter.id);
            Ok(letters)
        })
    }

    /// Makes the letters of a run that wait due now, or only those that never failed.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn hurry_letters(&self, run_id: &str, fresh_only: bool) -> Result<usize, StoreError> {
        let now = self.clock().now().millis();
        self.beside(|tx| {
            let sql = format!(
                "UPDATE outbox SET due_at = :now
                 WHERE status = 'pending' AND {RUN_ID} = :run_id AND (attempts = 0 OR NOT :fresh_only)"
            );
            let params = named_params! { ":now": now, ":run_id": run_id, ":fresh_only": fresh_only };
            tx.prepare_cached(&sql)?.execute(params)
        })
    }

    /// A claimed letter could not be carried out yet, through no fault of its own: it waits for `pause`, and the
    /// attempt does not count. False: another worker has it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letter_put_back(&self, letter: &Letter, pause: Duration) -> Result<bool, StoreError> {
        let now = self.clock().now();
        self.beside(|tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE outbox SET status = 'pending', due_at = :due, claimed_until = NULL, attempts = attempts - 1
                     WHERE id = :id AND status = 'processing' AND attempts = :attempts",
                )?
                .execute(named_params! {
                    ":due": now.plus(pause).millis(), ":id": letter.id, ":attempts": letter.attempts,
                })?;
            Ok(changed > 0)
        })
    }

    /// Takes every claim back: their workers are known to be gone. The attempts count.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn release_letters(&self) -> Result<usize, StoreError> {
        self.beside(|tx| {
            tx.execute("UPDATE outbox SET status = 'pending', claimed_until = NULL WHERE status = 'processing'", [])
        })
    }

    /// A claimed letter was carried out. False: the claim had run out and another worker has it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letter_sent(&self, letter: &Letter, note: Option<&str>) -> Result<bool, StoreError> {
        let now = self.clock().now();
        self.beside(|tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE outbox SET status = 'sent', sent_at = :now, claimed_until = NULL, note = :note
                     WHERE id = :id AND status = 'processing' AND attempts = :attempts",
                )?
                .execute(named_params! {
                    ":now": now.millis(), ":note": note, ":id": letter.id, ":attempts": letter.attempts,
                })?;
            if changed > 0 {
                count(tx, |tally| {
                    tally.processed += 1;
                    tally.consecutive_errors = 0;
                    tally.cleared_at = tally.cleared_at.or(tally.last_error_at.map(|_| now));
                })?;
            }
            Ok(changed > 0)
        })
    }

    /// An attempt at a claimed letter failed: it is tried again after `pause`. False: another worker has it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letter_failed(&self, letter: &Letter, error: &str, pause: Duration) -> Result<bool, StoreError> {
        let now = self.clock().now();
        self.beside(|tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE outbox SET status = 'pending', due_at = :due, claimed_until = NULL, last_error = :error
                     WHERE id = :id AND status = 'processing' AND attempts = :attempts",
                )?
                .execute(named_params! {
                    ":due": now.plus(pause).millis(), ":error": error, ":id": letter.id, ":attempts": letter.attempts,
                })?;
            Ok(changed > 0)
        })
    }

    /// Counts an error of the worker.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn note_outbox_error(&self, error: &str) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.beside(|tx| {
            count(tx, |tally| {
                tally.consecutive_errors += 1;
                tally.last_error = Some(error.to_owned());
                tally.last_error_at = Some(now);
                tally.cleared_at = None;
            })
        })
    }

    /// Removes letters that were sent before then; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn prune_letters(&self, before: Moment) -> Result<usize, StoreError> {
        self.beside(|tx| tx.execute("DELETE FROM outbox WHERE status = 'sent' AND sent_at < ?1", [before.millis()]))
    }
}

impl Reader {
    /// Letters, newest first.
    ///
    /// # Errors
    /// A refusal for a cursor of another query; [`StoreError`] from the database.
    pub fn letters(
        &self,
        filter: Option<LetterFilter>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<LetterPage, StoreError> {
        let query = format!("outbox {filter:?}");
        let below = Cursor::open(&query, cursor)?.map_or(Ok(i64::MAX), |key| key.number())?;
        let clause = filter.map_or("1", LetterFilter::clause);
        let limit = limit.clamp(1, LONGEST_PAGE);
        let mut letters: Vec<Letter> = self.with(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM outbox WHERE {clause} AND id < :below ORDER BY id DESC LIMIT {}",
                limit + 1
            );
            let mut select = conn.prepare_cached(&sql)?;
            let rows = select.query_map(named_params! { ":below": below }, from_row)?;
            rows.collect()
        })?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next_cursor = letters.last().filter(|_| more).map(|last| Cursor::write(&query, &[last.id.to_string()]));
        Ok(LetterPage { letters, next_cursor })
    }

    /// One letter.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letter(&self, id: i64) -> Result<Option<Letter>, StoreError> {
        self.with(|conn| letter(conn, id))
    }

    /// Whether a worker has something to do now.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letters_due(&self, lane: Lane, now: Moment) -> Result<bool, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM outbox AS due WHERE {DUE} AND {})", lane.sql()))?
                .query_row(named_params! { ":now": now.millis(), ":ahead": ahead(now) }, |row| row.get(0))
        })
    }

    /// Whether a worker has a letter of the run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letter_in_hand(&self, run_id: &str, now: Moment) -> Result<bool, StoreError> {
        self.with(|conn| {
            let sql = format!(
                "SELECT EXISTS (
                     SELECT 1 FROM outbox AS due
                     WHERE status = 'processing' AND claimed_until BETWEEN :now + 1 AND :ahead AND {RUN_ID} = :run_id AND {})",
                Lane::Files.sql()
            );
            conn.prepare_cached(&sql)?
                .query_row(
                    named_params! { ":now": now.millis(), ":ahead": ahead(now), ":run_id": run_id },
                    |row| row.get(0),
                )
        })
    }

    /// The oldest letter of a topic and a run that failed and was not carried out since, and how many there are.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn letters_stuck(&self, topic: &str, run_id: &str) -> Result<Option<(Letter, usize)>, StoreError> {
        self.with(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM outbox
                 WHERE (status = 'dead' OR (status = 'pending' AND attempts > 0))
                     AND topic = :topic AND {RUN_ID} = :run_id ORDER BY id"
            );
            let mut select = conn.prepare_cached(&sql)?;
            let params = named_params! { ":topic": topic, ":run_id": run_id };
            let stuck: Vec<Letter> = select.query_map(params, from_row)?.collect::<rusqlite::Result<_>>()?;
            let count = stuck.len();
            Ok(stuck.into_iter().next().map(|oldest| (oldest, count)))
        })
    }

    /// How the outbox fares.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn outbox_health(&self) -> Result<OutboxHealth, StoreError> {
        self.with(|conn| {
            let number = |row: &Row<'_>, at: usize| row.get::<_, i64>(at).map(|count| count.try_into().unwrap_or(0));
            // What was sent is left out first: it is most of the table.
            let sql = "SELECT count(*) FILTER (WHERE status = 'pending' AND attempts = 0),
                              count(*) FILTER (WHERE status = 'processing'),
                              count(*) FILTER (WHERE status = 'pending' AND attempts > 0),
                              count(*) FILTER (WHERE status = 'dead'),
                              min(created_at) FILTER (WHERE status = 'pending')
                       FROM outbox WHERE status IN ('pending', 'processing', 'dead')";
            let mut health = conn.prepare_cached(sql)?.query_row([], |row| {
                Ok(OutboxHealth {
                    pending: number(row, 0)?,
                    processing: number(row, 1)?,
                    failed: number(row, 2)?,
                    dead: number(row, 3)?,
                    oldest_pending_at: row.get::<_, Option<i64>>(4)?.map(Moment::from_millis),
                    tally: Tally::default(),
                })
            })?;
            health.tally = tally(conn)?;
            Ok(health)
        })
    }
}

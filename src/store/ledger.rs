//! The one door: lock, load, decide, append, project, commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params};

use super::error::{StoreError, named};
use super::ids::{Clock, Ids};
use super::{journal, load, outbox, project, schema};
use crate::domain::actor::Actor;
use crate::domain::agent::AgentKey;
use crate::domain::command::{Command, DeliveryWish, ThreadWish};
use crate::domain::decide::settle::settle;
use crate::domain::decide::{Context, decide};
use crate::domain::event::{Draft, Event, Fact};
use crate::domain::outbox::Wanted;
use crate::domain::refusal::Refusal;
use crate::domain::scene::Scene;
use crate::domain::thread::fingerprint;

/// More rounds of consequences than any real chain has; a guard against rules that chase each other.
const MOST_CONSEQUENCES: usize = 64;

/// A command with who gives it.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The wish.
    pub command: &'a Command,
    /// Who acts.
    pub actor: &'a Actor,
    /// The agent in whose session the caller runs.
    pub identity: Option<&'a AgentKey>,
    /// The caller's key: the same order under it is carried out once.
    pub key: Option<&'a str>,
}

impl<'a> Order<'a> {
    /// An order of `actor`, without key, outside of any agent's session.
    pub fn new(command: &'a Command, actor: &'a Actor) -> Self {
        Self { command, actor, identity: None, key: None }
    }

    /// What the same order has in common with itself when it is given again.
    fn fingerprint(&self) -> String {
        let content = match self.command {
            // The id of a new thread or delivery is made up anew each time.
            Command::Thread { run_id, wish: wish @ ThreadWish::Ask { .. }, .. } => {
                serde_json::to_string(&(run_id, wish))
            }
            Command::Delivery { wish: wish @ DeliveryWish::Queue { .. }, .. } => serde_json::to_string(wish),
            command @ (Command::Run { .. }
            | Command::Agent { .. }
            | Command::Thread { .. }
            | Command::Operator { .. }
            | Command::Adviser { .. }
            | Command::Escalation { .. }
            | Command::Busy { .. }
            | Command::Suggestion { .. }
            | Command::Tmux { .. }
            | Command::Outbox { .. }
            | Command::Delivery { .. }
            | Command::PolicyChanged { .. }
            | Command::Lease { .. }) => serde_json::to_string(command),
        };
        fingerprint(&self.actor.to_string(), &content.unwrap_or_default())
    }
}

/// What an order came to.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// Its events, in order; none when nothing changed.
    pub events: Vec<Event>,
    /// The newest of them, or the journal's end when nothing changed.
    pub seq: i64,
    /// The thread it is about.
    pub thread_id: Option<String>,
    /// The post it added.
    pub post_id: Option<String>,
    /// Whether it had been carried out before under the same key.
    pub replayed: bool,
}

/// The writing side of the store.
pub struct Ledger {
    path: PathBuf,
    conn: Mutex<Connection>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    wanted: Box<dyn Fn() -> Wanted + Send + Sync>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the database to write, making or migrating it first.
    ///
    /// # Errors
    /// [`StoreError`] names the file's state and its mend.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, StoreError> {
        let conn = schema::open_writer(path)?;
        Ok(Self { path: path.to_path_buf(), conn: Mutex::new(conn), clock, ids, wanted: Box::new(Wanted::default) })
    }

    /// The same, with side effects: `wanted` is asked when an event could have one.
    #[must_use]
    pub fn wanting(mut self, wanted: impl Fn() -> Wanted + Send + Sync + 'static) -> Self {
        self.wanted = Box::new(wanted);
        self
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock that orders are stamped with.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// A new id.
    pub fn new_id(&self, prefix: &str) -> String {
        self.ids.next(prefix, self.clock.now())
    }

    /// Randomness, from where ids come from.
    pub fn random(&self) -> u64 {
        self.ids.random()
    }

    /// 16 random hexadecimal digits.
    pub fn new_hex(&self) -> String {
        format!("{:016x}", self.ids.random())
    }

    /// Carries one order out.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the domain refuses it; then nothing was changed.
    pub fn execute(&self, order: &Order<'_>) -> Result<Receipt, StoreError> {
        let mut receipts = self.execute_all(std::slice::from_ref(order))?;
        Ok(receipts.pop().unwrap_or_default())
    }

    /// Carries orders out in one transaction: all of them or none.
    ///
    /// # Errors
    /// The first refusal or fault; then nothing was changed.
    pub fn execute_all(&self, orders: &[Order<'_>]) -> Result<Vec<Receipt>, StoreError> {
        let fail = |error| named(&self.path, error);
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = self.begin(&mut conn)?;
        let mut receipts = Vec::with_capacity(orders.len());
        for order in orders {
            receipts.push(self.carry_out(&tx, order).map_err(|error| match error {
                StoreError::Sqlite(error) => named(&self.path, error),
                other => other,
            })?);
        }
        tx.commit().map_err(fail)?;
        Ok(receipts)
    }

    /// A transaction that writes. Another process may have migrated the file since we opened it: what we wrote into it
    /// then would lack whatever its program keeps there and ours does not know.
    fn begin<'c>(&self, conn: &'c mut Connection) -> Result<Transaction<'c>, StoreError> {
        let fail = |error| named(&self.path, error);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let found = schema::version(&tx).map_err(fail)?;
        if found > schema::VERSION {
            return Err(StoreError::Newer { path: self.path.clone(), found, known: schema::VERSION });
        }
        Ok(tx)
    }

    fn carry_out(&self, tx: &Transaction<'_>, order: &Order<'_>) -> Result<Receipt, StoreError> {
        if let Some(receipt) = replay(tx, order)? {
            return Ok(receipt);
        }
        let mut scene = load::scene(tx, order.command, order.identity)?;
        let now = self.clock.now();
        let context = Context { now, actor: order.actor.clone(), identity: order.identity.cloned() };
        let decided = decide(&scene, order.command, &context)?;
        let mut writing = Writing { ledger: self, tx, order, events: Vec::new() };
        writing.write(&mut scene, decided.drafts)?;
        writing.consequences(&mut scene)?;
        project::save(tx, project::Target::Live, &mut scene)?;
        if !writing.events.is_empty() {
            outbox::write(tx, &writing.events, &self.wanted).map_err(StoreError::Sqlite)?;
        }
        let mut receipt = receipt(writing.events, order.command);
        if let Some(joined) = decided.joined {
            receipt.thread_id = Some(joined);
        }
        if receipt.events.is_empty() {
            receipt.seq = journal::last_seq(tx).map_err(StoreError::Sqlite)?;
            idle(tx, order, &receipt).map_err(StoreError::Sqlite)?;
        }
        Ok(receipt)
    }

    /// Reads or writes what is no projection (meta, vitals) in a transaction of its own.
    pub(super) fn beside<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let fail = |error| named(&self.path, error);
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = self.begin(&mut conn)?;
        let value = work(&tx).map_err(fail)?;
        tx.commit().map_err(fail)?;
        Ok(value)
    }

    /// Keeps a value of `meta`, which is no projection.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.beside(|tx| {
            tx.prepare_cached(
                "INSERT INTO meta (key, value) VALUES (:key, :value)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?
            .execute(named_params! { ":key": key, ":value": value })
        })?;
        Ok(())
    }

    /// The value of a fact about the file itself, made by `make` when there is none yet.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn meta_or(&self, key: &str, make: impl FnOnce() -> String) -> Result<String, StoreError> {
        self.beside(|tx| {
            let found: Option<String> = {
                let mut select = tx.prepare_cached("SELECT value FROM meta WHERE key = :key")?;
                let mut rows = select.query(named_params! { ":key": key })?;
                rows.next()?.map(|row| row.get(0)).transpose()?
            };
            if let Some(value) = found {
                return Ok(value);
            }
            let value = make();
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (:key, :value)",
                named_params! { ":key": key, ":value": value },
            )?;
            Ok(value)
        })
    }

    /// Notes when agents were last seen and last wrote something; no event, it is no news.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn note_vitals(&self, vitals: &[(AgentKey, super::read::Vitals)]) -> Result<(), StoreError> {
        if vitals.is_empty() {
            return Ok(());
        }
        self.beside(|tx| {
            let mut upsert = tx.prepare_cached(
                "INSERT INTO vitals (run_id, workspace, name, last_output_at, last_seen_at, pid,
                                     last_progress_at)
                 VALUES (:run_id, :workspace, :name, :last_output_at, :last_seen_at, :pid, :last_progress_at)
                 ON CONFLICT (run_id, workspace, name) DO UPDATE SET
                     last_output_at = CASE WHEN excluded.pid IS vitals.pid
                         THEN coalesce(excluded.last_output_at, vitals.last_output_at)
                         ELSE excluded.last_output_at END,
                     last_seen_at = excluded.last_seen_at,
                     pid = excluded.pid,
                     last_progress_at = coalesce(excluded.last_progress_at, last_progress_at)",
            )?;
            for (key, vitals) in vitals {
                upsert.execute(named_params! {
                    ":run_id": key.run_id,
                    ":workspace": key.workspace,
                    ":name": key.name,
                    ":last_output_at": vitals.last_output_at.map(crate::domain::time::Moment::millis),
                    ":last_seen_at": vitals.last_seen_at.millis(),
                    ":pid": vitals.pid,
                    ":last_progress_at": vitals.last_progress_at.map(crate::domain::time::Moment::millis),
                })?;
            }
            Ok(())
        })
    }

    /// Moves what the write-ahead log holds into the file, as far as no reader is in the way.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(|error| named(&self.path, error))
    }
}

struct Writing<'a> {
    ledger: &'a Ledger,
    tx: &'a Transaction<'a>,
    order: &'a Order<'a>,
    events: Vec<Event>,
}

impl Writing<'_> {
    fn write(&mut self, scene: &mut Scene, drafts: Vec<Draft>) -> Result<(), StoreError> {
        for draft in drafts {
            let now = self.ledger.clock.now();
            let first = self.events.first();
            let event_id = match (first, self.order.key) {
                (None, Some(key)) => key.to_owned(),
                (None | Some(_), _) => self.ledger.ids.next("fevt", now),
            };
            let mut event = Event {
                seq: 0,
                correlation_id: first.map_or_else(|| event_id.clone(), |first| first.event_id.clone()),
                causation_id: first.map(|first| first.event_id.clone()),
                event_id,
                occurred_at: now,
                subject: draft.subject,
                actor: draft.actor.unwrap_or_else(|| self.order.actor.clone()),
                fact: draft.fact,
            };
            let command = (self.events.is_empty() && self.order.key.is_some()).then(|| self.order.fingerprint());
            journal::append(self.tx, &mut event, command.as_deref()).map_err(StoreError::Sqlite)?;
            scene.apply(&event);
            self.events.push(event);
        }
        Ok(())
    }

    /// What follows without anybody wishing it, until nothing does.
    fn consequences(&mut self, scene: &mut Scene) -> Result<(), StoreError> {
        if self.events.is_empty() {
            return Ok(());
        }
        let runs: Vec<String> = scene.runs.iter().map(|run| run.id().to_owned()).collect();
        // The home last: what stands outside of every run.
        for run_id in runs.iter().map(|id| Some(id.as_str())).chain([None]) {
            for _ in 0..MOST_CONSEQUENCES {
                let drafts = settle(scene, run_id);
                if drafts.is_empty() {
                    break;
                }
                self.write(scene, drafts)?;
            }
        }
        Ok(())
    }
}

fn replay(tx: &Transaction<'_>, order: &Order<'_>) -> Result<Option<Receipt>, StoreError> {
    let Some(key) = order.key else { return Ok(None) };
    let usable = |c: char| c.is_ascii_graphic();
    if key.is_empty() || key.len() > 200 || !key.chars().all(usable) {
        return Err(Refusal::invalid("--event-id is 1 to 200 printable characters without blanks").into());
    }
    let Some(used) = journal::key_use(tx, key).map_err(StoreError::Sqlite)? else { return replay_idle(tx, order, key) };
    if used.command != Some(order.fingerprint()) {
        return Err(Refusal::key_reused(key, &format!("event {} ({})", used.seq, used.event_type)).into());
    }
    let events = journal::of_command(tx, key, used.seq)?;
    Ok(Some(Receipt { replayed: true, ..receipt(events, order.command) }))
}

/// The key of an order that changed nothing: no event carries it.
fn idle(tx: &Transaction<'_>, order: &Order<'_>, receipt: &Receipt) -> rusqlite::Result<()> {
    let Some(key) = order.key else { return Ok(()) };
    tx.prepare_cached("INSERT INTO idle_key (key, command, seq, thread_id) VALUES (:key, :command, :seq, :thread_id)")?
        .execute(named_params! {
            ":key": key,
            ":command": order.fingerprint(),
            ":seq": receipt.seq,
            ":thread_id": receipt.thread_id,
        })?;
    Ok(())
}

fn replay_idle(tx: &Transaction<'_>, order: &Order<'_>, key: &str) -> Result<Option<Receipt>, StoreError> {
    let used = tx
        .prepare_cached("SELECT command, seq, thread_id FROM idle_key WHERE key = :key")
        .and_then(|mut select| {
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
            select.query_row(named_params! { ":key": key }, read).optional()
        })
        .map_err(StoreError::Sqlite)?;
    let Some((command, seq, thread_id)) = used else { return Ok(None) };
    if command != order.fingerprint() {
        let first = format!("a command that changed nothing, after event {seq}");
        return Err(Refusal::key_reused(key, &first).into());
    }
    Ok(Some(Receipt { seq, thread_id, replayed: true, ..Receipt::default() }))
}

fn receipt(events: Vec<Event>, command: &Command) -> Receipt {
    let adds_post = |event: &&Event| match &event.fact {
        Fact::ThreadOpened { control, .. } => !control,
        Fact::PostAdded { .. } | Fact::ControlSignal { .. } => true,
        _ => false,
    };
    let named = match command {
        Command::Thread { thread_id, .. } => Some(thread_id.clone()),
        Command::Run { .. }
        | Command::Agent { .. }
        | Command::Operator { .. }
        | Command::Adviser { .. }
        | Command::Escalation { .. }
        | Command::Busy { .. }
        | Command::Suggestion { .. }
        | Command::Tmux { .. }
        | Command::Outbox { .. }
        | Command::Delivery { .. }
        | Command::PolicyChanged { .. }
        | Command::Lease { .. } => None,
    };
    let opened = events.iter().find_map(|event| event.subject.thread_id.clone());
    Receipt {
        seq: events.last().map_or(0, |event| event.seq),
        post_id: events.iter().find(adds_post).map(|event| format!("{}.post", event.event_id)),
        thread_id: opened.or(named),
        events,
        replayed: false,
    }
}

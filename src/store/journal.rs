//! The journal table: appending and reading events.

use rusqlite::{Connection, Row, named_params, params};

use super::error::StoreError;
use crate::domain::actor::{Actor, ActorType};
use crate::domain::event::{Event, Fact, Subject};
use crate::domain::time::Moment;

/// The columns of an event, in the order [`from_row`] reads them.
pub const COLUMNS: &str = "seq, event_id, event_type, occurred_at, run_id, ticket, workspace, agent_name, thread_id, \
     actor_type, actor_name, correlation_id, causation_id, payload";

/// Appends an event and gives it its place.
pub fn append(conn: &Connection, event: &mut Event, command: Option<&str>) -> rusqlite::Result<()> {
    let (event_type, payload) = event.fact.split();
    let mut insert = conn.prepare_cached(
        "INSERT INTO journal (event_id, event_type, event_version, occurred_at, run_id, ticket, workspace, agent_name,
                              thread_id, actor_type, actor_name, correlation_id, causation_id, payload, command)
         VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    insert.execute(params![
        event.event_id,
        event_type,
        event.occurred_at.millis(),
        event.subject.run_id,
        event.subject.ticket,
        event.subject.workspace,
        event.subject.agent_name,
        event.subject.thread_id,
        event.actor.kind.word(),
        event.actor.name,
        event.correlation_id,
        event.causation_id,
        payload.to_string(),
        command,
    ])?;
    event.seq = conn.last_insert_rowid();
    Ok(())
}

/// Reads an event from a row of [`COLUMNS`].
pub fn from_row(row: &Row<'_>) -> Result<Event, StoreError> {
    let fields = || -> rusqlite::Result<(Event, String, String)> {
        let kind: String = row.get(9)?;
        let event = Event {
            seq: row.get(0)?,
            event_id: row.get(1)?,
            occurred_at: Moment::from_millis(row.get(3)?),
            subject: Subject {
                run_id: row.get(4)?,
                ticket: row.get(5)?,
                workspace: row.get(6)?,
                agent_name: row.get(7)?,
                thread_id: row.get(8)?,
            },
            actor: Actor::new(ActorType::parse(&kind).unwrap_or(ActorType::System), row.get::<_, String>(10)?),
            correlation_id: row.get(11)?,
            causation_id: row.get(12)?,
            fact: Fact::LeaseLost { pid: 0 },
        };
        Ok((event, row.get(2)?, row.get(13)?))
    };
    let (mut event, event_type, payload) = fields().map_err(StoreError::Sqlite)?;
    let bad = |reason: serde_json::Error| StoreError::BadRow {
        table: "journal",
        reason: format!("event {} ({event_type}): {reason}", event.seq),
    };
    event.fact = Fact::parse(&event_type, &payload).map_err(bad)?;
    Ok(event)
}

/// The bytes of the payload in a row of [`COLUMNS`].
pub fn payload_size(row: &Row<'_>) -> usize {
    row.get_ref(13).ok().and_then(|payload| payload.as_str().ok().map(str::len)).unwrap_or(0)
}

/// What a key was used for before: its place, thread, and the fingerprint of its command.
pub struct KeyUse {
    /// Place of the first event.
    pub seq: i64,
    /// Type of the first event.
    pub event_type: String,
    /// Fingerprint of the command.
    pub command: Option<String>,
}

/// Looks an idempotency key up.
pub fn key_use(conn: &Connection, key: &str) -> rusqlite::Result<Option<KeyUse>> {
    let mut select = conn.prepare_cached("SELECT seq, event_type, command FROM journal WHERE event_id = :key")?;
    let mut rows = select.query(named_params! { ":key": key })?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => Ok(Some(KeyUse { seq: row.get(0)?, event_type: row.get(1)?, command: row.get(2)? })),
    }
}

/// The events of the command whose first event is `key` at `seq`.
pub fn of_command(conn: &Connection, key: &str, seq: i64) -> Result<Vec<Event>, StoreError> {
    let mut select = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM journal WHERE seq BETWEEN :seq AND :seq + 2000 AND correlation_id = :key ORDER BY seq"
        ))
        .map_err(StoreError::Sqlite)?;
    let mut rows = select.query(named_params! { ":seq": seq, ":key": key }).map_err(StoreError::Sqlite)?;
    let mut events = Vec::new();
    while let Some(row) = rows.next().map_err(StoreError::Sqlite)? {
        events.push(from_row(row)?);
    }
    Ok(events)
}

/// The newest place in the journal, 0 when it is empty.
pub fn last_seq(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM journal")?.query_row([], |row| row.get(0))
}

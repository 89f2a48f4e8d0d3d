//! The projections made anew from the journal: to compare them (`doctor --verify`) or to replace them (`--rebuild`).
//!
//! A rebuild makes fresh tables beside the live ones, in small transactions between those of others, and puts them in
//! their place in one. What is folded is not kept: memory is bounded by [`KEPT_THREADS`], whatever the journal's length.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row, TransactionBehavior, named_params};

use super::error::{StoreError, named};
use super::project::{self, Target};
use super::{journal, kept, load, schema, search};
use crate::domain::event::{Event, Fact};
use crate::domain::scene::Scene;
use crate::domain::thread::Thread;

/// The name under which `verify` has the file: a connection that may only read could fill no tables beside it.
const LIVE: &str = "live";
/// Events folded before what they touched is written out.
const BATCH: usize = 10_000;
/// Bytes of posts in a batch at most, but for one more post.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Batches read ahead of the one that is folded.
const READ_AHEAD: usize = 1;
/// Threads kept in memory; an event about another one reads it again.
const KEPT_THREADS: usize = 20_000;
/// Pages of the write-ahead log before it is moved into the file, while the fresh tables are written.
const LOG_PAGES: i64 = 20_000;
/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 48 * 1024;

/// A row that differs between the live tables and the rebuilt ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// Which side has it and the other has not, or has otherwise.
    pub only_in: &'static str,
    /// The row, shortened.
    pub row: String,
}

/// Compares the live projections with what the journal says. Nothing is changed.
///
/// # Errors
/// [`StoreError`] when the file or the journal cannot be read.
pub fn verify(path: &Path) -> Result<Vec<Difference>, StoreError> {
    let fail = |error| named(path, error);
    let conn = schema::open_beside(path, LIVE)?;
    // A temporary file: what does not fit into the cache goes there, and it is gone with the connection.
    conn.execute_batch(&format!(
        "ATTACH DATABASE '' AS apart; PRAGMA apart.cache_size = -{CACHE_KIB}; PRAGMA {LIVE}.cache_size = -{CACHE_KIB}"
    ))
    .map_err(fail)?;
    // One read transaction: journal and tables are compared as they stood at one moment.
    conn.execute_batch("BEGIN").map_err(fail)?;
    let check: String = conn.query_row(&format!("PRAGMA {LIVE}.quick_check(1)"), [], |row| row.get(0)).map_err(fail)?;
    if check != "ok" {
        return Err(StoreError::Corrupt { path: path.to_path_buf(), reason: check });
    }
    let tables = || schema::PROJECTIONS.iter().chain(schema::KEPT);
    for table in tables() {
        make_table(&conn, LIVE, table, Target::Apart).map_err(fail)?;
    }
    let until = conn
        .query_row(&format!("SELECT coalesce(max(seq), 0) FROM {LIVE}.journal"), [], |row| row.get(0))
        .map_err(fail)?;
    let mut fold = Fold::into(Target::Apart);
    with_journal(path, until, |events| fold.fold(&conn, &events))?;
    conn.execute_batch(
        "CREATE INDEX apart.post_thread ON post (thread_id); CREATE INDEX apart.thread_newest ON thread (last_seq DESC)",
    )
    .map_err(fail)?;
    kept::recount(&conn, Target::Apart.at()).map_err(fail)?;
    let mut found = Vec::new();
    for table in tables() {
        found.extend(differences(&conn, table).map_err(fail)?);
    }
    Ok(found)
}

/// Replaces the live projections by what the journal says. Others may write meanwhile.
///
/// The caller holds the supervisor lease.
///
/// # Errors
/// [`StoreError`] when the file or the journal cannot be read or written; then the live tables are as they were.
pub fn rebuild(path: &Path) -> Result<i64, StoreError> {
    rebuild_telling(path, |_, _| {})
}

/// The same; `tell` hears after each batch up to which place of the journal it came, and where that ends.
///
/// # Errors
/// Those of [`rebuild`].
pub fn rebuild_telling(path: &Path, tell: impl FnMut(i64, i64)) -> Result<i64, StoreError> {
    let fail = |error| named(path, error);
    let mut conn = schema::open_writer(path)?;
    // A table is renamed under the view that names it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, true).map_err(fail)?;
    // The fresh tables are nobody's truth yet; only the last transaction has to outlive a power cut.
    conn.execute_batch(&format!("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {LOG_PAGES}"))
        .map_err(fail)?;
    let filled = fill_fresh(&mut conn, path, tell);
    if filled.is_err() {
        // What was begun is of no use to anybody; the error that matters is the first.
        let _ = drop_fresh(&conn);
    }
    let mut fold = filled?;
    conn.execute_batch("PRAGMA synchronous = FULL").map_err(fail)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // What was written since the last look at the journal.
    fold.rest(&tx)?;
    put_in_place(&tx).map_err(fail)?;
    kept::recount(&tx, Target::Live.at()).map_err(fail)?;
    search::begin_anew(&tx).map_err(fail)?;
    search::index_newest(&tx).map_err(fail)?;
    tx.commit().map_err(fail)?;
    Ok(fold.events)
}

/// Folds what the journal holds into fresh tables, in transactions between which others have their turn.
fn fill_fresh(conn: &mut Connection, path: &Path, mut tell: impl FnMut(i64, i64)) -> Result<Fold, StoreError> {
    let fail = |error| named(path, error);
    // A rebuild that was killed leaves its tables behind.
    drop_fresh(conn).map_err(fail)?;
    for table in schema::PROJECTIONS {
        make_table(conn, "main", table, Target::Fresh).map_err(fail)?;
    }
    let until = journal::last_seq(conn).map_err(fail)?;
    let mut fold = Fold::into(Target::Fresh);
    with_journal(path, until, |events| {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        fold.fold(&tx, &events)?;
        tx.commit().map_err(fail)?;
        tell(fold.since, until);
        Ok(())
    })?;
    Ok(fold)
}

/// Hands the events up to a place over, batch by batch. They are read and understood ahead, on a thread of their own.
fn with_journal(
    path: &Path,
    until: i64,
    mut take: impl FnMut(Vec<Event>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(READ_AHEAD);
        scope.spawn(move || {
            let read = || -> Result<(), StoreError> {
                let conn = schema::open_reader(path)?;
                let mut since = 0;
                loop {
                    let batch = next_batch(&conn, since, until)?;
                    let Some(last) = batch.last() else { return Ok(()) };
                    since = last.seq;
                    if sender.send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = read() {
                // Whoever has left already has an error of its own.
                let _ = sender.send(Err(error));
            }
        });
        batches.into_iter().try_for_each(|batch| take(batch?))
    })
}

fn next_batch(conn: &Connection, since: i64, until: i64) -> Result<Vec<Event>, StoreError> {
    let sql = format!(
        "SELECT {} FROM journal WHERE seq > :since AND seq <= :until ORDER BY seq LIMIT {BATCH}",
        journal::COLUMNS
    );
    let mut select = conn.prepare_cached(&sql).map_err(StoreError::Sqlite)?;
    let mut rows = select.query(named_params! { ":since": since, ":until": until }).map_err(StoreError::Sqlite)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(StoreError::Sqlite)? {
        bytes += journal::payload_size(row);
        events.push(journal::from_row(row)?);
        if bytes > BATCH_BYTES {
            break;
        }
    }
    Ok(events)
}

fn drop_fresh(conn: &Connection) -> rusqlite::Result<()> {
    schema::PROJECTIONS.iter().try_for_each(|table| conn.execute_batch(&format!("DROP TABLE IF EXISTS fresh_{table}")))
}

/// The fresh tables become the live ones, with the indexes those had.
fn put_in_place(conn: &Connection) -> rusqlite::Result<()> {
    for table in schema::PROJECTIONS {
        let indexes: Vec<String> = conn
            .prepare("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL")?
            .query_map([table], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        conn.execute_batch(&format!("DROP TABLE {table}; ALTER TABLE fresh_{table} RENAME TO {table}"))?;
        indexes.iter().try_for_each(|sql| conn.execute_batch(sql))?;
    }
    Ok(())
}

/// Makes a table like the live one, without its indexes.
fn make_table(conn: &Connection, live: &str, table: &str, target: Target) -> rusqlite::Result<()> {
    let sql: String = conn.query_row(
        &format!("SELECT sql FROM {live}.sqlite_master WHERE type = 'table' AND name = ?1"),
        [table],
        |row| row.get(0),
    )?;
    let columns = sql.find('(').map_or("", |at| &sql[at..]);
    conn.execute_batch(&format!("CREATE TABLE {}{table} {columns}", target.at()))
}

/// The fold of the journal, a batch at a time.
struct Fold {
    target: Target,
    scene: Scene,
    since: i64,
    events: i64,
}

impl Fold {
    fn into(target: Target) -> Self {
        Self { target, scene: Scene::default(), since: 0, events: 0 }
    }

    /// Folds the next events and writes what they touched.
    fn fold(&mut self, conn: &Connection, events: &[Event]) -> Result<(), StoreError> {
        for event in events {
            self.recall(conn, event)?;
            self.scene.apply(event);
            self.since = event.seq;
            self.events += 1;
        }
        project::save(conn, self.target, &mut self.scene)?;
        self.scene.forget_delivered();
        if self.scene.threads.len() + self.scene.seen.len() > KEPT_THREADS {
            self.scene.forget_settled();
        }
        Ok(())
    }

    /// Folds what was written since.
    fn rest(&mut self, conn: &Connection) -> Result<(), StoreError> {
        loop {
            let events = next_batch(conn, self.since, i64::MAX)?;
            if events.is_empty() {
                return Ok(());
            }
            self.fold(conn, &events)?;
        }
    }

    /// Reads the event's thread again if it was let go of.
    fn recall(&mut self, conn: &Connection, event: &Event) -> Result<(), StoreError> {
        let Some(thread_id) = event.subject.thread_id.as_deref() else { return Ok(()) };
        if matches!(event.fact, Fact::ThreadOpened { .. }) || self.scene.threads.get(thread_id).is_some() {
            return Ok(());
        }
        let sql = format!("SELECT doc FROM {}thread WHERE thread_id = :thread", self.target.at());
        for thread in load::docs::<Thread>(conn, "thread", &sql, &[(":thread", &thread_id)])? {
            self.scene.threads.load(thread_id.to_owned(), thread);
        }
        Ok(())
    }
}

/// The columns of a table that are no others' function, and those among them that are its key.
fn stored_columns(conn: &Connection, table: &str) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    // `table_info` leaves generated columns out.
    let mut select = conn.prepare(&format!("SELECT name, pk > 0 FROM pragma_table_info('{table}', '{LIVE}')"))?;
    let columns: Vec<(String, bool)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let keys = columns.iter().filter(|(_, key)| *key).map(|(name, _)| name.clone()).collect();
    Ok((columns.into_iter().map(|(name, _)| name).collect(), keys))
}

fn differences(conn: &Connection, table: &str) -> rusqlite::Result<Vec<Difference>> {
    let (columns, keys) = stored_columns(conn, table)?;
    let each = |side: &str| columns.iter().map(|name| format!("{side}.{name}")).collect::<Vec<_>>().join(", ");
    let same_key = keys.iter().map(|key| format!("one.{key} = other.{key}")).collect::<Vec<_>>().join(" AND ");
    let mut found = Vec::new();
    for (only_in, one, other) in [("live", LIVE, "apart"), ("rebuilt", "apart", LIVE)] {
        // Row by row along the key: nothing is sorted, however long the table is.
        let sql = format!(
            "SELECT {columns} FROM {one}.{table} AS one LEFT JOIN {other}.{table} AS other ON {same_key}
             WHERE ({columns}) IS NOT ({others}) LIMIT 20",
            columns = each("one"),
            others = each("other"),
        );
        let mut select = conn.prepare(&sql)?;
        let width = select.column_count();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let cells = (0..width).map(|at| cell(row, at)).collect::<rusqlite::Result<Vec<_>>>()?;
            found.push(Difference { table: table.to_owned(), only_in, row: cells.join(" | ") });
        }
    }
    Ok(found)
}

fn cell(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(at)? {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).chars().take(400).collect(),
        ValueRef::Blob(_) => "(bytes)".to_owned(),
    })
}

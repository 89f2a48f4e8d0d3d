//! The projections made anew from the journal: to compare them (`doctor --verify`) or to replace them (`--rebuild`).

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::{StoreError, named};
use super::project::{self, Target};
use super::{journal, schema};
use crate::domain::scene::Scene;

/// The name under which `verify` has the file: a connection that may only read could fill no tables beside it.
const LIVE: &str = "live";

/// Events folded before their posts are written out.
const BATCH: usize = 10_000;

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
    let reader = schema::open_beside(path, LIVE)?;
    reader.execute_batch("ATTACH DATABASE ':memory:' AS rebuilt").map_err(fail)?;
    // One read transaction: journal and tables are compared as they stood at one moment.
    reader.execute_batch("BEGIN").map_err(fail)?;
    let check: String =
        reader.query_row(&format!("PRAGMA {LIVE}.quick_check(1)"), [], |row| row.get(0)).map_err(fail)?;
    if check != "ok" {
        return Err(StoreError::Corrupt { path: path.to_path_buf(), reason: check });
    }
    make_tables(&reader, LIVE).map_err(fail)?;
    fold(&reader, LIVE)?;
    let mut found = Vec::new();
    for table in schema::PROJECTIONS {
        found.extend(differences(&reader, table).map_err(fail)?);
    }
    Ok(found)
}

/// Replaces the live projections by what the journal says, in one transaction.
///
/// The caller holds the supervisor lease.
///
/// # Errors
/// [`StoreError`] when the file or the journal cannot be read or written; then nothing was changed.
pub fn rebuild(path: &Path) -> Result<i64, StoreError> {
    let fail = |error| named(path, error);
    let mut conn = schema::open_writer(path)?;
    conn.execute_batch("ATTACH DATABASE ':memory:' AS rebuilt").map_err(fail)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    make_tables(&tx, "main").map_err(fail)?;
    let events = fold(&tx, "main")?;
    for table in schema::PROJECTIONS {
        let columns = stored_columns(&tx, table).map_err(fail)?;
        tx.execute_batch(&format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM rebuilt.{table};"
        ))
        .map_err(fail)?;
    }
    tx.commit().map_err(fail)?;
    Ok(events)
}

fn make_tables(conn: &Connection, live: &str) -> rusqlite::Result<()> {
    for table in schema::PROJECTIONS {
        let sql: String = conn.query_row(
            &format!("SELECT sql FROM {live}.sqlite_master WHERE type = 'table' AND name = ?1"),
            [table],
            |row| row.get(0),
        )?;
        conn.execute_batch(&sql.replacen("CREATE TABLE ", "CREATE TABLE rebuilt.", 1))?;
    }
    Ok(())
}

fn fold(conn: &Connection, live: &str) -> Result<i64, StoreError> {
    let mut scene = Scene::default();
    let sql = format!("SELECT {} FROM {live}.journal ORDER BY seq", journal::COLUMNS);
    let mut select = conn.prepare(&sql).map_err(StoreError::Sqlite)?;
    let mut rows = select.query([]).map_err(StoreError::Sqlite)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(StoreError::Sqlite)? {
        scene.apply(&journal::from_row(row)?);
        count += 1;
        if scene.posts.len() >= BATCH {
            project::save(conn, Target::Rebuilt, &mut scene)?;
        }
    }
    project::save(conn, Target::Rebuilt, &mut scene)?;
    Ok(count)
}

fn stored_columns(conn: &Connection, table: &str) -> rusqlite::Result<String> {
    // `table_info` leaves generated columns out.
    let mut select = conn.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
    let names: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names.join(", "))
}

fn differences(conn: &Connection, table: &str) -> rusqlite::Result<Vec<Difference>> {
    let columns = stored_columns(conn, table)?;
    let mut found = Vec::new();
    for (only_in, left, right) in [("live", LIVE, "rebuilt"), ("rebuilt", "rebuilt", LIVE)] {
        let sql = format!("SELECT {columns} FROM {left}.{table} EXCEPT SELECT {columns} FROM {right}.{table} LIMIT 20");
        let mut select = conn.prepare(&sql)?;
        let width = select.column_count();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let mut cells = Vec::new();
            for at in 0..width {
                let cell = match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Null => "null".to_owned(),
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    rusqlite::types::ValueRef::Real(number) => number.to_string(),
                    rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).chars().take(400).collect(),
                    rusqlite::types::ValueRef::Blob(_) => "(bytes)".to_owned(),
                };
                cells.push(cell);
            }
            found.push(Difference { table: table.to_owned(), only_in, row: cells.join(" | ") });
        }
    }
    Ok(found)
}

//! Opening the file: pragmas, the ladder of migrations, and who may write.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::error::{LOCK_PATIENCE_SECONDS, StoreError, named};
use super::project::Target;
use super::{kept, search};

/// The ladder: it only grows. Rung N brings a file from version N to N + 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_spine.sql"),
    include_str!("migrations/0002_operator.sql"),
    include_str!("migrations/0003_forum.sql"),
    include_str!("migrations/0004_lost.sql"),
    include_str!("migrations/0005_outbox.sql"),
    include_str!("migrations/0006_waiting.sql"),
    include_str!("migrations/0007_lists.sql"),
    include_str!("migrations/0008_signals.sql"),
    include_str!("migrations/0009_delivery.sql"),
    include_str!("migrations/0010_adviser.sql"),
    include_str!("migrations/0011_pull_requests.sql"),
    include_str!("migrations/0012_review_feedback.sql"),
];

/// The version from which on posts are indexed.
const INDEXED: i64 = 3;
/// The version from which on counts and stretches are kept as they are now.
const COUNTS_KEPT: i64 = 6;

/// What is left of the write-ahead log after something large, in bytes.
const LARGEST_LOG: i64 = 64 * 1024 * 1024;

/// The version this program writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// The tables that the journal rebuilds.
pub const PROJECTIONS: &[&str] = &[
    "run",
    "run_policy",
    "run_ticket",
    "step",
    "agent",
    "workspace",
    "seeding",
    "own_file",
    "own_commit",
    "merged",
    "pull_request",
    "review_feedback",
    "thread",
    "post",
    "request",
    "seen",
    "decision",
    "adviser",
    "escalation",
    "suggestion",
    "delivery",
];

/// What is kept counted beside them: made from them, and compared with what they say.
pub const KEPT: &[&str] = &["thread_tally", "assignee_tally", "post_tally", "viewer", "seen_stretch"];

/// Opens the file to write, making or migrating it first.
///
/// # Errors
/// [`StoreError::Newer`] when a newer program migrated it, and whatever SQLite says.
pub fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let fail = |error| named(path, error);
    make_private(path)?;
    let mut conn = Connection::open(path).map_err(fail)?;
    tune(&mut conn).map_err(fail)?;
    let found = version(&conn).map_err(fail)?;
    if found > VERSION {
        return Err(StoreError::Newer { path: path.to_path_buf(), found, known: VERSION });
    }
    if found != VERSION {
        migrate(&mut conn, path)?;
    }
    // Commits are acknowledged to people and agents: they must outlive a power cut.
    conn.execute_batch(&format!("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {LARGEST_LOG}"))
        .map_err(fail)?;
    Ok(conn)
}

/// Opens the file to read; it is never made, migrated or changed by this.
///
/// # Errors
/// [`StoreError::Absent`] when there is none, [`StoreError::Newer`] when a newer program migrated it.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Absent { path: path.to_path_buf() });
    }
    let fail = |error| named(path, error);
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let (conn, found) = match open_with(path, read_only) {
        Err(error) if is_half_done(&error) => {
            drop(open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?);
            open_with(path, read_only).map_err(fail)?
        }
        opened => opened.map_err(fail)?,
    };
    match found {
        VERSION => Ok(conn),
        0 => Err(StoreError::Absent { path: path.to_path_buf() }),
        found if found > VERSION => Err(StoreError::Newer { path: path.to_path_buf(), found, known: VERSION }),
        _ => {
            // An older file is migrated by whoever may write; then it is read.
            drop(conn);
            drop(open_writer(path)?);
            open_reader(path)
        }
    }
}

/// A connection, and the version of the file.
fn open_with(path: &Path, rights: OpenFlags) -> rusqlite::Result<(Connection, i64)> {
    let mut conn = Connection::open_with_flags(path, rights | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    tune(&mut conn)?;
    let found = version(&conn)?;
    Ok((conn, found))
}

/// Whether somebody was killed while he made the file: what he left half done is undone by the next who may write.
fn is_half_done(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_READONLY_RECOVERY, SQLITE_READONLY_ROLLBACK};
    error
        .sqlite_error()
        .is_some_and(|error| [SQLITE_READONLY_ROLLBACK, SQLITE_READONLY_RECOVERY].contains(&error.extended_code))
}

/// A connection of its own that has the file under the name `schema`, to be read and not written.
///
/// # Errors
/// Those of [`open_reader`].
pub fn open_beside(path: &Path, schema: &str) -> Result<Connection, StoreError> {
    drop(open_reader(path)?);
    let fail = |error| named(path, error);
    let mut conn = Connection::open_in_memory().map_err(fail)?;
    tune(&mut conn).map_err(fail)?;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?mode=ro");
    conn.execute(&format!("ATTACH DATABASE ?1 AS {schema}"), [uri]).map_err(fail)?;
    Ok(conn)
}

/// A new file belongs to its owner alone; SQLite gives its companions the same rights.
fn make_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(StoreError::ReadOnly { path: path.to_path_buf() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            Err(StoreError::DiskFull { path: path.to_path_buf() })
        }
        Err(source) => Err(StoreError::Io { what: format!("{} cannot be made", path.display()), source }),
    }
}

/// Of two who make the file at once each waits for the other here. SQLite sees that and asks nobody for patience, so
/// the one who was refused tries again.
fn take_up_the_log(conn: &Connection) -> rusqlite::Result<String> {
    let mut attempts = 0;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && patience(attempts) => {
                attempts += 1;
            }
            told => return told,
        }
    }
}

/// A file of version 0 is empty; one with tables is another program's, and stays as it is.
fn check_ours(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    // One statement sees one moment: another process may be making the tables just now.
    let table: Option<String> = conn
        .query_row(
            "SELECT min(name) FROM sqlite_master WHERE (SELECT user_version FROM pragma_user_version) = 0",
            [],
            |row| row.get(0),
        )
        .map_err(|error| named(path, error))?;
    match table {
        None => Ok(()),
        Some(table) => Err(StoreError::Corrupt {
            path: path.to_path_buf(),
            reason: format!("it was made by another program, which keeps {table} in it"),
        }),
    }
}

fn tune(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.busy_handler(Some(patience))?;
    conn.set_prepared_statement_cache_capacity(64);
    // One-shot commands come and go; the file is checkpointed by size, not by each of them leaving.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A prepared statement stays as it is: SQLite would else plan it anew for each value of a range.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Waits with short, growing, uneven pauses: twenty writers must all get their turn.
fn patience(attempts: i32) -> bool {
    thread_local! {
        static SINCE: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
    }
    let since = SINCE.with(|cell| {
        if attempts == 0 || cell.get().is_none() {
            cell.set(Some(Instant::now()));
        }
        cell.get()
    });
    if since.is_some_and(|since| since.elapsed() >= Duration::from_secs(LOCK_PATIENCE_SECONDS)) {
        return false;
    }
    let unevenness = u64::from(std::process::id() % 7) * 100;
    let growth = 300 * (u64::try_from(attempts).unwrap_or(0).min(20) + 1);
    std::thread::sleep(Duration::from_micros(growth + unevenness));
    true
}

/// The version of the file's tables.
pub fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| named(path, error);
    check_ours(conn, path)?;
    let mode = take_up_the_log(conn).map_err(fail)?;
    if mode != "wal" {
        return Err(StoreError::Io {
            what: format!("{} lies on a file system that cannot share a write-ahead log", path.display()),
            source: std::io::Error::from(std::io::ErrorKind::Unsupported),
        });
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Another process may have climbed the ladder while this one waited for the lock.
    let found = version(&tx).map_err(fail)?;
    if found > VERSION {
        return Err(StoreError::Newer { path: path.to_path_buf(), found, known: VERSION });
    }
    for rung in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        tx.execute_batch(rung).map_err(fail)?;
    }
    if found < COUNTS_KEPT {
        kept::recount(&tx, Target::Live.at()).map_err(fail)?;
    }
    if found < INDEXED {
        search::index_newest(&tx).map_err(fail)?;
    }
    tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    tx.commit().map_err(fail)
}

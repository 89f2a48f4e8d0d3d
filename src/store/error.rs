//! What can go wrong with the database, each with its mend.

use std::path::PathBuf;

use thiserror::Error;

use crate::domain::refusal::Refusal;

/// Why the store could not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The command was refused by the domain.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no database at that place.
    #[error("no database at {}", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It was written by a newer metawsm.
    #[error("{} has schema {found}, this metawsm knows {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is no SQLite database, or damaged.
    #[error("{} is not a readable database: {reason}", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// Another process kept it locked for longer than we wait.
    #[error("the database stayed locked by another process for {seconds} s")]
    Locked {
        /// How long was waited.
        seconds: u64,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full", path.display())]
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// The operating system would not read or write it: a quota, a limit on the size of files, or a failing disk.
    #[error("{} could not be read or written: {reason}", path.display())]
    Disk {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// File or directory may not be written.
    #[error("{} cannot be written", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// A row does not hold what this program wrote there.
    #[error("a row of table {table} cannot be read: {reason}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A query was stopped by whoever asked for it.
    #[error("the query was stopped")]
    Interrupted,
    /// Anything else SQLite said.
    #[error("database error: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The operating system refused something beside the database.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its reason.
        source: std::io::Error,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Absent { .. } => Some("start one with: metawsm run, or metawsm policy init".to_owned()),
            Self::Newer { .. } => Some("install the newer metawsm; nothing was changed".to_owned()),
            Self::Corrupt { .. } => {
                Some("keep a copy of the file, then restore a backup or try: metawsm doctor --verify".to_owned())
            }
            Self::Locked { .. } => Some("try again; if it stays so, metawsm doctor names who holds it".to_owned()),
            Self::DiskFull { .. } => {
                Some("free some space and repeat the command; nothing of it was written".to_owned())
            }
            Self::Disk { .. } => Some(
                "look for a quota, a limit on the size of files, or a failing disk; nothing of it was written"
                    .to_owned(),
            ),
            Self::ReadOnly { .. } => Some("check owner and rights of the file and of its directory".to_owned()),
            Self::BadRow { .. } => Some("metawsm doctor --rebuild makes the tables anew from the journal".to_owned()),
            Self::Interrupted | Self::Sqlite(_) | Self::Io { .. } => None,
        }
    }
}

/// How long a writer waits for the lock before it gives up.
pub const LOCK_PATIENCE_SECONDS: u64 = 30;

/// Names SQLite's errors that have a mend of their own.
pub fn named(path: &std::path::Path, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => StoreError::Locked { seconds: LOCK_PATIENCE_SECONDS },
        Some(Code::DiskFull) => StoreError::DiskFull { path },
        Some(Code::SystemIoFailure) => StoreError::Disk { path, reason: error.to_string() },
        Some(Code::ReadOnly | Code::PermissionDenied | Code::CannotOpen) => StoreError::ReadOnly { path },
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => StoreError::Corrupt { path, reason: error.to_string() },
        Some(Code::OperationInterrupted) => StoreError::Interrupted,
        _ => StoreError::Sqlite(error),
    }
}

//! The search index: what is posted is indexed at once; what was there before, from the newest to the oldest, in
//! batches that keep nobody waiting.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, named_params};

use super::error::{StoreError, named};
use super::schema;
use crate::domain::thread::{Post, Thread};

/// Posts in a batch that is indexed at once, and how many of those there are.
const BATCH: usize = 250;
const BATCHES_AT_ONCE: usize = 8;
/// Characters of posts in a batch at most, but for its first.
const BATCH_LENGTH: i64 = 256 * 1024;

/// Indexes the posts of a thread that were just written.
pub fn index(conn: &Connection, thread: &Thread, posts: &[&Post]) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached("INSERT INTO search (rowid, title, body) VALUES (:seq, :title, :body)")?;
    // The title goes with the first post, as the view has it.
    let opens = usize::try_from(thread.posts_count).is_ok_and(|count| count == posts.len());
    for (number, post) in posts.iter().enumerate() {
        let title = (opens && number == 0).then_some(&thread.title);
        insert.execute(named_params! { ":seq": post.seq, ":title": title, ":body": post.body })?;
    }
    Ok(())
}

/// Empties the index: from here on it is filled again.
pub fn begin_anew(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "INSERT INTO search (search) VALUES ('delete-all');
         UPDATE search_state SET (below, above) = (SELECT coalesce(max(seq), 0) + 1, coalesce(max(seq), 0) + 1 FROM post);",
    )
}

/// How much is indexed, in percent; nothing once all is.
pub fn progress(conn: &Connection) -> rusqlite::Result<Option<u8>> {
    let (below, above): (i64, i64) = conn
        .prepare_cached("SELECT below, above FROM search_state")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let first: Option<i64> = conn.prepare_cached("SELECT min(seq) FROM post")?.query_row([], |row| row.get(0))?;
    let Some(first) = first.filter(|first| *first < below) else { return Ok(None) };
    let done = (above - below) * 100 / (above - first).max(1);
    Ok(Some(u8::try_from(done.clamp(0, 99)).unwrap_or(99)))
}

/// Indexes the newest `most` posts that are not yet. Says whether any are left.
pub fn index_some(conn: &Connection, most: usize) -> rusqlite::Result<bool> {
    let below: i64 = conn.prepare_cached("SELECT below FROM search_state")?.query_row([], |row| row.get(0))?;
    let from: Option<i64> = conn
        .prepare_cached(
            "SELECT min(seq) FROM (
                 SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) - length(body) AS before
                 FROM (SELECT seq, body FROM post WHERE seq < :below ORDER BY seq DESC LIMIT :most))
             WHERE before < :length",
        )?
        .query_row(
            named_params! {
                ":below": below,
                ":most": i64::try_from(most).unwrap_or(i64::MAX),
                ":length": BATCH_LENGTH,
            },
            |row| row.get(0),
        )?;
    let Some(from) = from else { return Ok(false) };
    // Within a batch in rising order: the index is made for that.
    conn.prepare_cached(
        "INSERT INTO search (rowid, title, body)
         SELECT seq, title, body FROM post_text WHERE seq >= :from AND seq < :below ORDER BY seq",
    )?
    .execute(named_params! { ":from": from, ":below": below })?;
    conn.prepare_cached("UPDATE search_state SET below = :from")?.execute(named_params! { ":from": from })?;
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM post WHERE seq < :from)")?
        .query_row(named_params! { ":from": from }, |row| row.get(0))
}

/// Indexes the newest posts at once, in a moment: a small forum is searchable when this is done.
pub fn index_newest(conn: &Connection) -> rusqlite::Result<()> {
    for _ in 0..BATCHES_AT_ONCE {
        if !index_some(conn, BATCH)? {
            break;
        }
    }
    Ok(())
}

/// Fills the index in the background, on a connection of its own.
#[derive(Debug)]
pub struct Indexer {
    path: PathBuf,
    conn: Connection,
}

impl Indexer {
    /// Opens the database for it.
    ///
    /// # Errors
    /// [`StoreError`] names the file's state and its mend.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = schema::open_writer(path)?;
        // What a power cut takes of the index is made again: `below` goes with it.
        conn.execute_batch("PRAGMA synchronous = NORMAL").map_err(|error| named(path, error))?;
        Ok(Self { path: path.to_path_buf(), conn })
    }

    /// How much is indexed, in percent; nothing once all is.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn progress(&self) -> Result<Option<u8>, StoreError> {
        progress(&self.conn).map_err(|error| named(&self.path, error))
    }

    /// Indexes the newest `most` posts that are not yet. Says whether any are left.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn index_some(&mut self, most: usize) -> Result<bool, StoreError> {
        let work = |conn: &mut Connection| -> rusqlite::Result<bool> {
            if progress(conn)?.is_none() {
                return Ok(false);
            }
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let left = index_some(&tx, most)?;
            tx.commit()?;
            Ok(left)
        };
        work(&mut self.conn).map_err(|error| named(&self.path, error))
    }
}

//! Looking for words in titles and posts: newest first, one hit a thread.

use std::collections::HashSet;
use std::ops::Range;

use rusqlite::{OptionalExtension, ToSql, named_params};

use super::queue::Clauses;
use super::{LONGEST_PAGE, Reader, ThreadFilter};
use crate::domain::refusal::Refusal;
use crate::domain::thread::Thread;
use crate::store::error::StoreError;
use crate::store::read::cursor::Cursor;

/// Hits looked at for one page; where a filter leaves few of very many, the page ends early and says where to go on.
const LOOKED_AT: usize = 20_000;
/// Only the newest hits are ranked: what is common would else take seconds.
const RANKED: i64 = 1_000;
/// The longest query, in characters.
const LONGEST_QUERY: usize = 1_000;
/// What SQLite puts around what matched; taken out before anybody sees it.
const BEGIN: char = '\u{2}';
const END: char = '\u{3}';

/// A thread that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The thread.
    pub thread: Thread,
    /// Its newest post that matches, the best one where hits are ranked.
    pub post_id: String,
    /// That post's place in the journal.
    pub seq: i64,
    /// The words around the match.
    pub snippet: String,
    /// What of the snippet matched, in bytes.
    pub marks: Vec<Range<usize>>,
}

/// A page of hits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// The hits.
    pub hits: Vec<Hit>,
    /// Where the next page begins, if there may be one.
    pub next_cursor: Option<String>,
    /// How much of the posts is indexed, while not all of them are: in percent.
    pub indexed: Option<u8>,
}

/// The query in the index's language; what does not parse there is looked for word by word, as it stands.
enum Wording {
    Syntax,
    Literal,
}

impl Reader {
    /// Looks for words. `ranked` orders the newest hits by how well they match instead of by age; then there is one page.
    ///
    /// # Errors
    /// A refusal for an empty query or a cursor of another one; [`StoreError::Interrupted`] where it was stopped;
    /// [`StoreError`] from the database.
    pub fn search(
        &self,
        query: &str,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
        ranked: bool,
    ) -> Result<Hits, StoreError> {
        let length = query.chars().count();
        if query.trim().is_empty() || length > LONGEST_QUERY || query.contains('\0') {
            return Err(Refusal::invalid(format!("a search is 1 to {LONGEST_QUERY} characters, without NUL"))
                .hint("metawsm forum search 'outbox key'")
                .into());
        }
        if ranked && cursor.is_some() {
            return Err(Refusal::invalid("ranked hits are one page").hint("leave out --cursor or --rank").into());
        }
        let id = format!("search {query} {filter:?}");
        let below = Cursor::open(&id, cursor)?.map(|key| key.number()).transpose()?;
        let limit = limit.clamp(1, LONGEST_PAGE);
        self.at_one_moment(|| {
            let words = match self.wording(query)? {
                Wording::Syntax => query.to_owned(),
                Wording::Literal => literal(query),
            };
            let found = if ranked {
                Found { posts: self.best(&words, filter, limit)?, next: None }
            } else {
                self.newest(&words, filter, below, limit)?
            };
            let mut hits = Vec::with_capacity(found.posts.len());
            for (seq, thread_id) in found.posts {
                hits.extend(self.hit(&words, seq, &thread_id)?);
            }
            let next_cursor = found.next.map(|seq| Cursor::write(&id, &[seq.to_string()]));
            Ok(Hits { hits, next_cursor, indexed: self.indexed()? })
        })
    }

    /// Whether the index understands the query. It is asked about no row at all, which costs nothing.
    fn wording(&self, query: &str) -> Result<Wording, StoreError> {
        let ask = || -> rusqlite::Result<Option<i64>> {
            self.conn
                .prepare_cached("SELECT rowid FROM search WHERE search MATCH :words AND rowid = -1")?
                .query_row(named_params! { ":words": query }, |row| row.get(0))
                .optional()
        };
        match ask() {
            Ok(_) => Ok(Wording::Syntax),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => Ok(Wording::Literal),
            Err(error) => Err(self.named(error)),
        }
    }

    fn newest(
        &self,
        words: &str,
        filter: &ThreadFilter,
        below: Option<i64>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let clauses = Clauses::new("", "", filter);
        let sql = hits_sql(filter, &clauses.sql, "search.rowid < :below ORDER BY search.rowid DESC", "search.rowid");
        let bound = below.unwrap_or(i64::MAX);
        let params = with(&clauses, &[(":words", &words), (":below", &bound)]);
        let mut select = self.conn.prepare_cached(&sql).map_err(|error| self.named(error))?;
        let mut rows = select.query(params.as_slice()).map_err(|error| self.named(error))?;
        let (mut known, mut found, mut looked_at) = (HashSet::new(), Found::default(), 0);
        while let Some(row) = rows.next().map_err(|error| self.named(error))? {
            let read = || -> rusqlite::Result<(i64, String)> { Ok((row.get(0)?, row.get(1)?)) };
            let (seq, thread_id) = read().map_err(|error| self.named(error))?;
            looked_at += 1;
            // A thread that stood on an earlier page is not shown again for its older posts.
            if !known.contains(&thread_id)
                && !below.map_or(Ok(false), |below| self.matches_since(words, &thread_id, below))?
            {
                if found.posts.len() == limit {
                    found.next = found.posts.last().map(|(seq, _)| *seq);
                    break;
                }
                known.insert(thread_id.clone());
                found.posts.push((seq, thread_id));
            }
            if looked_at == LOOKED_AT {
                found.next = Some(seq);
                break;
            }
        }
        Ok(found)
    }

    fn matches_since(&self, words: &str, thread_id: &str, seq: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM post CROSS JOIN search ON search.rowid = post.seq
                                  WHERE post.thread_id = :thread AND post.seq >= :seq AND search MATCH :words)";
        self.conn
            .prepare_cached(sql)
            .and_then(|mut select| {
                let params = named_params! { ":words": words, ":thread": thread_id, ":seq": seq };
                select.query_row(params, |row| row.get(0))
            })
            .map_err(|error| self.named(error))
    }

    /// The best of the newest hits, the best post of each thread.
    fn best(&self, words: &str, filter: &ThreadFilter, limit: usize) -> Result<Vec<(i64, String)>, StoreError> {
        let clauses = Clauses::new("", "", filter);
        let read = || -> rusqlite::Result<Vec<(i64, String)>> {
            let oldest = "SELECT rowid FROM search WHERE search MATCH :words ORDER BY rowid DESC LIMIT 1 OFFSET :most";
            let from: Option<i64> = self
                .conn
                .prepare_cached(oldest)?
                .query_row(named_params! { ":words": words, ":most": RANKED - 1 }, |row| row.get(0))
                .optional()?;
            let from = from.unwrap_or(0);
            let sql = hits_sql(filter, &clauses.sql, "search.rowid >= :from", "bm25(search, 4.0, 1.0)");
            let params = with(&clauses, &[(":words", &words), (":from", &from)]);
            let mut select = self.conn.prepare_cached(&sql)?;
            let rows = select.query_map(params.as_slice(), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, f64>(2)?))
            })?;
            let mut scored: Vec<(i64, String, f64)> = rows.collect::<Result<_, _>>()?;
            scored.sort_by(|left, right| left.2.total_cmp(&right.2).then(right.0.cmp(&left.0)));
            let mut known = HashSet::new();
            scored.retain(|(_, thread_id, _)| known.insert(thread_id.clone()));
            scored.truncate(limit);
            Ok(scored.into_iter().map(|(seq, thread_id, _)| (seq, thread_id)).collect())
        };
        read().map_err(|error| self.named(error))
    }

    fn hit(&self, words: &str, seq: i64, thread_id: &str) -> Result<Option<Hit>, StoreError> {
        let Some(thread) = self.thread(thread_id)? else { return Ok(None) };
        let sql = "SELECT post_id, snippet(search, -1, char(2), char(3), '…', 24)
                   FROM search CROSS JOIN post ON post.seq = search.rowid WHERE search MATCH :words AND search.rowid = :seq";
        let (post_id, marked): (String, String) = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut select| {
                select.query_row(named_params! { ":words": words, ":seq": seq }, |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .map_err(|error| self.named(error))?;
        let (snippet, marks) = unmarked(&marked);
        Ok(Some(Hit { thread, post_id, seq, snippet, marks }))
    }

    /// How much of the posts is indexed, in percent; nothing once all are.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn indexed(&self) -> Result<Option<u8>, StoreError> {
        crate::store::search::progress(&self.conn).map_err(|error| self.named(error))
    }
}

#[derive(Default)]
struct Found {
    posts: Vec<(i64, String)>,
    next: Option<i64>,
}

/// The threads are joined only where a filter asks about them.
fn hits_sql(filter: &ThreadFilter, wanted: &str, place: &str, value: &str) -> String {
    let threads = match *filter == ThreadFilter::default() {
        true => "",
        false => "CROSS JOIN thread ON thread.thread_id = post.thread_id",
    };
    format!(
        "SELECT post.seq, post.thread_id, {value} FROM search CROSS JOIN post ON post.seq = search.rowid {threads}
         WHERE search MATCH :words AND {wanted} AND {place}"
    )
}

fn with<'a>(clauses: &'a Clauses, more: &[(&'a str, &'a dyn ToSql)]) -> Vec<(&'a str, &'a dyn ToSql)> {
    let own = clauses.values.iter().map(|(name, value)| (name.as_str(), &**value));
    own.chain(more.iter().copied()).collect()
}

/// Each word between quotes; a star behind a word still means every word that begins so.
fn literal(query: &str) -> String {
    let quoted = |word: &str| {
        let (word, star) =
            word.strip_suffix('*').filter(|rest| !rest.is_empty()).map_or((word, ""), |rest| (rest, "*"));
        format!("\"{}\"{star}", word.replace('"', "\"\""))
    };
    query.split_whitespace().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The text without the marks, and where they were.
fn unmarked(marked: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut marks, mut begun) = (String::with_capacity(marked.len()), Vec::new(), None);
    for c in marked.chars() {
        match c {
            BEGIN => begun = Some(text.len()),
            END => marks.extend(begun.take().map(|begin| begin..text.len())),
            c => text.push(c),
        }
    }
    (text, marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_literal_stays_so() {
        assert_eq!(literal("C++ \"x"), "\"C++\" \"\"\"x\"");
        assert_eq!(literal("out* * a**"), "\"out\"* \"*\" \"a*\"*");
    }

    #[test]
    fn marks_are_places_in_the_text() {
        let (text, marks) = unmarked("…the \u{2}schlüssel\u{3} of\u{2} b\u{3}\u{3} \u{2}x");
        assert_eq!((text.as_str(), marks), ("…the schlüssel of b x", vec![7..17, 20..22]));
    }
}

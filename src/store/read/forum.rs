//! Reading the forum: threads and posts; `queue` has the pages of threads, `search` what is looked for in their
//! words, `counts` what is kept counted.

use rusqlite::{ToSql, named_params};

use super::Reader;
use crate::domain::actor::{Actor, ActorType};
use crate::domain::signal::Signal;
use crate::domain::thread::{Post, Request, Thread};
use crate::domain::time::Moment;
use crate::store::error::StoreError;
use crate::store::load::docs;

mod counts;
mod queue;
mod search;
mod viewer;

pub use counts::{QueueCounts, Stats};
pub use search::{Hit, Hits};
use viewer::BY_OTHERS;
pub use viewer::{Viewer, viewer_of};

/// The longest page.
pub const LONGEST_PAGE: usize = 500;

/// Which queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Newer than the viewer's mark, own posts aside; newest first.
    Unseen,
    /// Waiting for the viewer's side; most pressing, then longest waiting first.
    Unanswered,
    /// Assigned to the viewer.
    Assigned,
    /// Unanswered and assigned together.
    NeedsMe,
}

/// Which threads are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadFilter {
    /// Only of this ticket.
    pub ticket: Option<String>,
    /// Only of this run.
    pub run_id: Option<String>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only of this priority.
    pub priority: Option<String>,
    /// Only assigned to this name.
    pub assignee: Option<String>,
    /// Only of this agent.
    pub agent: Option<String>,
}

/// A page of threads.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The threads.
    pub threads: Vec<Thread>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// What is new to a viewer in a thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPosts {
    /// The oldest of it.
    pub posts: Vec<Post>,
    /// How many posts after those were left out.
    pub more: u32,
}

impl Reader {
    /// One thread.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn thread(&self, thread_id: &str) -> Result<Option<Thread>, StoreError> {
        let sql = "SELECT doc FROM thread WHERE thread_id = :thread";
        Ok(docs(&self.conn, "thread", sql, &[(":thread", &thread_id)])?.pop())
    }

    /// The threads of a run, or those outside of every run, in which an agent waits.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn blocking_threads(&self, run_id: Option<&str>) -> Result<Vec<Thread>, StoreError> {
        let sql = "SELECT doc FROM thread INDEXED BY thread_blocking WHERE run_id IS :run AND blocking = 1";
        docs(&self.conn, "thread", sql, &[(":run", &run_id)])
    }

    /// Posts of a thread in order; only the last `tail` if that is said.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn posts(&self, thread_id: &str, tail: Option<usize>) -> Result<Vec<Post>, StoreError> {
        let limit = tail.map_or(-1, |tail| i64::try_from(tail).unwrap_or(i64::MAX));
        let sql =
            "SELECT * FROM (SELECT * FROM post WHERE thread_id = :thread ORDER BY seq DESC LIMIT :limit) ORDER BY seq";
        self.read_posts(sql, &[(":thread", &thread_id), (":limit", &limit)])
    }

    /// Posts of a thread after a place in the journal, in order.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn posts_since(&self, thread_id: &str, seq: i64) -> Result<Vec<Post>, StoreError> {
        let sql = "SELECT * FROM post WHERE thread_id = :thread AND seq > :seq ORDER BY seq";
        self.read_posts(sql, &[(":thread", &thread_id), (":seq", &seq)])
    }

    /// What others wrote into a thread after the viewer's mark: the oldest first, at most `most` of it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn new_posts(&self, thread_id: &str, viewer: &Viewer, most: usize) -> Result<NewPosts, StoreError> {
        let (kind, name) = viewer.author();
        let by_others = format!("FROM post WHERE thread_id = :thread AND seq > :seq AND {BY_OTHERS}");
        self.at_one_moment(|| {
            let mark = self.seen_mark(thread_id, viewer)?;
            let sql = format!("SELECT * {by_others} ORDER BY seq LIMIT {most}");
            let key: [(&str, &dyn ToSql); 4] =
                [(":thread", &thread_id), (":seq", &mark), (":kind", &kind), (":name", &name)];
            let posts = self.read_posts(&sql, &key)?;
            let Some(last) = posts.last().filter(|_| posts.len() == most).map(|post| post.seq) else {
                return Ok(NewPosts { posts, more: 0 });
            };
            let more = self.with(|conn| {
                let key: [(&str, &dyn ToSql); 4] =
                    [(":thread", &thread_id), (":seq", &last), (":kind", &kind), (":name", &name)];
                conn.prepare_cached(&format!("SELECT count(*) {by_others}"))?.query_row(&key[..], |row| row.get(0))
            })?;
            Ok(NewPosts { posts, more })
        })
    }

    /// One post.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn post(&self, post_id: &str) -> Result<Option<Post>, StoreError> {
        let Some(event_id) = post_id.strip_suffix(".post") else { return Ok(None) };
        let sql = "SELECT * FROM post WHERE seq = (SELECT seq FROM journal WHERE event_id = :event)";
        Ok(self.read_posts(sql, &[(":event", &event_id)])?.pop())
    }

    /// The requests of a control thread, settled ones too, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn requests_of(&self, thread_id: &str) -> Result<Vec<Request>, StoreError> {
        let sql = "SELECT doc FROM request WHERE thread_id = :thread";
        let mut requests: Vec<Request> = docs(&self.conn, "request", sql, &[(":thread", &thread_id)])?;
        requests.sort_by_key(|request| request.seq);
        Ok(requests)
    }

    /// The post of the newest request of a control thread that asks the same as `signal`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn same_request(&self, thread_id: &str, signal: &Signal) -> Result<Option<String>, StoreError> {
        let Some(wanted) = signal.asks() else { return Ok(None) };
        for request in self.requests_of(thread_id)?.into_iter().rev() {
            let asked = self.post(&request.post_id)?.and_then(|post| post.signal?.asks());
            if asked.as_ref() == Some(&wanted) {
                return Ok(Some(request.post_id));
            }
        }
        Ok(None)
    }

    /// The first reply to what `asker` said at `seq`: to an agent a word of a human or the operator, to a human or the
    /// operator one of anybody else.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn reply_after(&self, thread_id: &str, seq: i64, asker: &Actor) -> Result<Option<Post>, StoreError> {
        let replies = match asker.kind {
            ActorType::Agent => "author_type IN ('human', 'operator')",
            ActorType::Human | ActorType::Operator | ActorType::System => {
                "author_type <> 'system' AND (author_type, author_name) <> (:kind, :name)"
            }
        };
        let sql =
            format!("SELECT * FROM post WHERE thread_id = :thread AND seq > :seq AND {replies} ORDER BY seq LIMIT 1");
        let kind = asker.kind.word();
        let key: [(&str, &dyn ToSql); 4] =
            [(":thread", &thread_id), (":seq", &seq), (":kind", &kind), (":name", &asker.name)];
        let used = if asker.kind == ActorType::Agent { &key[..2] } else { &key[..] };
        Ok(self.read_posts(&sql, used)?.pop())
    }

    fn read_posts(&self, sql: &str, params: &[(&str, &dyn ToSql)]) -> Result<Vec<Post>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Post>> {
            let mut select = self.conn.prepare_cached(sql)?;
            let rows = select.query_map(params, |row| {
                let kind = |word: &str| ActorType::parse(word).unwrap_or(ActorType::System);
                let author: String = row.get("author_type")?;
                let writer: Option<String> = row.get("writer_type")?;
                let signal: Option<String> = row.get("signal")?;
                Ok(Post {
                    post_id: row.get("post_id")?,
                    thread_id: row.get("thread_id")?,
                    seq: row.get("seq")?,
                    author_type: kind(&author),
                    author_name: row.get("author_name")?,
                    writer: match writer {
                        Some(word) => Some(Actor::new(kind(&word), row.get::<_, String>("writer_name")?)),
                        None => None,
                    },
                    body: row.get("body")?,
                    created_at: Moment::from_millis(row.get("created_at")?),
                    signal: signal.and_then(|text| serde_json::from_str(&text).ok()),
                    in_reply_to: row.get("in_reply_to")?,
                })
            })?;
            rows.collect()
        };
        read().map_err(|error| self.named(error))
    }

    /// A viewer's mark on a thread, 0 when it never looked.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn seen_mark(&self, thread_id: &str, viewer: &Viewer) -> Result<i64, StoreError> {
        let read = || -> rusqlite::Result<i64> {
            let mut select =
                self.conn.prepare_cached("SELECT seq FROM seen WHERE thread_id = :thread AND viewer = :viewer")?;
            let mut rows = select.query(named_params! { ":thread": thread_id, ":viewer": viewer.id() })?;
            rows.next()?.map_or(Ok(0), |row| row.get(0))
        };
        read().map_err(|error| self.named(error))
    }

    /// Whether a thread holds posts of others that the viewer has not seen.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn is_unseen(&self, thread: &Thread, viewer: &Viewer) -> Result<bool, StoreError> {
        let mark = self.seen_mark(&thread.thread_id, viewer)?;
        let (kind, name) = viewer.author();
        let read = || -> rusqlite::Result<bool> {
            let mut select = self.conn.prepare_cached(&format!(
                "SELECT EXISTS (SELECT 1 FROM post WHERE thread_id = :thread AND seq > :mark AND {BY_OTHERS})"
            ))?;
            select.query_row(
                named_params! { ":thread": thread.thread_id, ":mark": mark, ":kind": kind, ":name": name },
                |row| row.get(0),
            )
        };
        read().map_err(|error| self.named(error))
    }
}

//! What faces count and what viewers have seen, kept with each change instead of counted at each look.
//!
//! Threads are ordered by their newest event. What somebody has seen of them is kept as stretches of neighbours in that
//! order: every thread between `first` and `last` was seen. A stretch grows, shrinks and meets the next one as threads
//! move to the end of the order and marks are set.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::domain::actor::ActorType;
use crate::domain::thread::{Post, Priority, Thread, ThreadState};

/// Makes all of it anew from threads, posts and marks. `at` is what stands before the names of the tables.
pub fn recount(conn: &Connection, at: &str) -> rusqlite::Result<()> {
    conn.execute_batch(&include_str!("kept.sql").replace("{at}", at))
}

/// What of a thread's row counts: as it stands in the tables, or as it is to stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    state: String,
    urgency: i64,
    waiting: String,
    control: bool,
    assignee: Option<String>,
    last_seq: i64,
}

impl Standing {
    /// A thread as it is to stand.
    pub fn of(thread: &Thread) -> Self {
        Self {
            state: thread.state.word().to_owned(),
            urgency: urgency(thread.priority),
            waiting: thread.waiting_on.map_or(String::new(), |side| side.word().to_owned()),
            control: thread.control,
            assignee: assignee(thread),
            last_seq: thread.last_event_sequence,
        }
    }

    /// A thread as it stands.
    pub fn read(conn: &Connection, thread_id: &str) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT state, urgency, coalesce(waiting_on, ''), control, assignee, last_seq FROM thread WHERE thread_id = :thread",
        )?
        .query_row(named_params! { ":thread": thread_id }, |row| {
            Ok(Self {
                state: row.get(0)?,
                urgency: row.get(1)?,
                waiting: row.get(2)?,
                control: row.get(3)?,
                assignee: row.get(4)?,
                last_seq: row.get(5)?,
            })
        })
        .optional()
    }

    fn counted_alike(&self, other: &Self) -> bool {
        (&self.state, self.urgency, &self.waiting, self.control)
            == (&other.state, other.urgency, &other.waiting, other.control)
    }

    fn held_by(&self) -> Option<(&str, &str)> {
        let open = self.state != ThreadState::Closed.word();
        self.assignee.as_deref().filter(|_| open).map(|assignee| (assignee, self.waiting.as_str()))
    }
}

/// 0 for urgent to 3 for low: the order of queues.
pub fn urgency(priority: Priority) -> i64 {
    3 - priority.rank()
}

/// Whom a thread is assigned to, as the tables say it.
pub fn assignee(thread: &Thread) -> Option<String> {
    let (kind, name) = (thread.assignee_type?, thread.assignee_name.as_ref()?);
    Some(format!("{kind}:{name}"))
}

/// The viewers to whom a post is no news, where their stretches are kept: whose words it holds, and who wrote it down.
fn own_of(post: &Post) -> impl Iterator<Item = String> {
    let writer = post.writer.as_ref().map(|writer| (writer.kind, writer.name.as_str()));
    [Some((post.author_type, post.author_name.as_str())), writer].into_iter().flatten().filter_map(|(kind, name)| {
        match kind {
            ActorType::Human => Some(format!("human:{name}")),
            ActorType::Operator => Some("operator".to_owned()),
            ActorType::Agent | ActorType::System => None,
        }
    })
}

/// Whether a viewer's stretches are kept; an agent's threads are few and looked at one by one.
pub fn is_kept(viewer: &str) -> bool {
    viewer == "operator" || viewer.starts_with("human:")
}

fn know(conn: &Connection, viewer: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO viewer (viewer, seen) VALUES (:viewer, 0)")?
        .execute(named_params! { ":viewer": viewer })?;
    Ok(())
}

/// Counts posts that were just written. From the first word on who spoke or wrote is known as a viewer.
pub fn posted(conn: &Connection, posts: &[Post]) -> rusqlite::Result<()> {
    for post in posts {
        conn.prepare_cached(
            "INSERT INTO post_tally (author_type, n) VALUES (:kind, 1) ON CONFLICT DO UPDATE SET n = n + 1",
        )?
        .execute(named_params! { ":kind": post.author_type.word() })?;
        own_of(post).try_for_each(|viewer| know(conn, &viewer))?;
    }
    Ok(())
}

/// Counts a thread that was just written. `posts` are all that were written with it.
pub fn moved(conn: &Connection, before: Option<&Standing>, after: &Standing, posts: &[&Post]) -> rusqlite::Result<()> {
    if before.is_none_or(|before| !before.counted_alike(after)) {
        if let Some(before) = before {
            tally_thread(conn, before, -1)?;
        }
        tally_thread(conn, after, 1)?;
    }
    let (held, holds) = (before.and_then(Standing::held_by), after.held_by());
    if held != holds {
        for (who, by) in [(held, -1), (holds, 1)] {
            if let Some(who) = who {
                tally_assignee(conn, who, by)?;
            }
        }
    }
    let from = before.map(|before| before.last_seq);
    if from == Some(after.last_seq) {
        return Ok(());
    }
    let viewers: Vec<String> =
        conn.prepare_cached("SELECT viewer FROM viewer")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for viewer in viewers {
        let stretches = Stretches { conn, viewer: &viewer };
        // A thread that is new holds nothing unseen but what was just written into it.
        let had_seen = match from {
            Some(from) => stretches.over(from)?.is_some(),
            None => true,
        };
        let sees = had_seen && posts.iter().all(|post| own_of(post).any(|own| own == viewer));
        match from {
            Some(from) if had_seen => stretches.leave(from)?,
            Some(from) => stretches.close_gap(from)?,
            None => {}
        }
        if sees {
            stretches.join(after.last_seq)?;
        }
        let had_seen = had_seen && from.is_some();
        if sees != had_seen {
            stretches.count(if sees { 1 } else { -1 })?;
        }
    }
    Ok(())
}

/// A mark was set: the thread may be seen now.
pub fn marked(conn: &Connection, thread_id: &str, viewer: &str) -> rusqlite::Result<()> {
    if !is_kept(viewer) {
        return Ok(());
    }
    know(conn, viewer)?;
    let stretches = Stretches { conn, viewer };
    let at: i64 = conn
        .prepare_cached("SELECT last_seq FROM thread WHERE thread_id = :thread")?
        .query_row(named_params! { ":thread": thread_id }, |row| row.get(0))?;
    if stretches.over(at)?.is_some() || unseen(conn, thread_id, viewer)? {
        return Ok(());
    }
    stretches.join(at)?;
    stretches.count(1)
}

/// Whether somebody else has written into the thread after the viewer's mark.
fn unseen(conn: &Connection, thread_id: &str, viewer: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (
             SELECT 1 FROM post WHERE thread_id = :thread
                 AND seq > coalesce((SELECT seq FROM seen WHERE thread_id = :thread AND viewer = :viewer), 0)
                 AND CASE author_type WHEN 'human' THEN 'human:' || author_name ELSE author_type END <> :viewer
                 AND CASE writer_type WHEN 'human' THEN 'human:' || writer_name ELSE writer_type END IS NOT :viewer)",
    )?
    .query_row(named_params! { ":thread": thread_id, ":viewer": viewer }, |row| row.get(0))
}

fn tally_thread(conn: &Connection, thread: &Standing, by: i64) -> rusqlite::Result<()> {
    let key = named_params! {
        ":state": thread.state,
        ":urgency": thread.urgency,
        ":waiting": thread.waiting,
        ":control": thread.control,
    };
    if by > 0 {
        conn.prepare_cached(
            "INSERT INTO thread_tally (state, urgency, waiting, control, n) VALUES (:state, :urgency, :waiting, :control, 1)
             ON CONFLICT DO UPDATE SET n = n + 1",
        )?
        .execute(key)?;
        return Ok(());
    }
    let place = "WHERE state = :state AND urgency = :urgency AND waiting = :waiting AND control = :control";
    conn.prepare_cached(&format!("UPDATE thread_tally SET n = n - 1 {place}"))?.execute(key)?;
    conn.prepare_cached(&format!("DELETE FROM thread_tally {place} AND n = 0"))?.execute(key)?;
    Ok(())
}

fn tally_assignee(conn: &Connection, (assignee, waiting): (&str, &str), by: i64) -> rusqlite::Result<()> {
    let key = named_params! { ":assignee": assignee, ":waiting": waiting };
    if by > 0 {
        conn.prepare_cached(
            "INSERT INTO assignee_tally (assignee, waiting, n) VALUES (:assignee, :waiting, 1)
             ON CONFLICT DO UPDATE SET n = n + 1",
        )?
        .execute(key)?;
        return Ok(());
    }
    let place = "WHERE assignee = :assignee AND waiting = :waiting";
    conn.prepare_cached(&format!("UPDATE assignee_tally SET n = n - 1 {place}"))?.execute(key)?;
    conn.prepare_cached(&format!("DELETE FROM assignee_tally {place} AND n = 0"))?.execute(key)?;
    Ok(())
}

/// The first and the last place of the stretch of `viewer` that holds the place `seq`.
fn stretch_over(conn: &Connection, viewer: &str, seq: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    conn.prepare_cached(
        "SELECT first, last FROM seen_stretch WHERE viewer = :viewer AND last >= :seq ORDER BY last LIMIT 1",
    )?
    .query_row(named_params! { ":viewer": viewer, ":seq": seq }, |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
    .map(|found: Option<(i64, i64)>| found.filter(|(first, _)| *first <= seq))
}

/// The newest stretch of `viewer` that holds a place below `seq`: its first place and its last.
pub fn stretch_below(conn: &Connection, viewer: &str, seq: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    if let Some(over) = stretch_over(conn, viewer, seq - 1)? {
        return Ok(Some(over));
    }
    conn.prepare_cached(
        "SELECT first, last FROM seen_stretch WHERE viewer = :viewer AND last < :seq ORDER BY last DESC LIMIT 1",
    )?
    .query_row(named_params! { ":viewer": viewer, ":seq": seq }, |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

/// The stretches of one viewer. Places are values of `thread.last_seq`.
struct Stretches<'a> {
    conn: &'a Connection,
    viewer: &'a str,
}

impl Stretches<'_> {
    fn over(&self, seq: i64) -> rusqlite::Result<Option<(i64, i64)>> {
        stretch_over(self.conn, self.viewer, seq)
    }

    fn older(&self, seq: i64) -> rusqlite::Result<Option<i64>> {
        self.neighbour("SELECT max(last_seq) FROM thread WHERE last_seq < :seq", seq)
    }

    fn newer(&self, seq: i64) -> rusqlite::Result<Option<i64>> {
        self.neighbour("SELECT min(last_seq) FROM thread WHERE last_seq > :seq", seq)
    }

    fn neighbour(&self, sql: &str, seq: i64) -> rusqlite::Result<Option<i64>> {
        self.conn.prepare_cached(sql)?.query_row(named_params! { ":seq": seq }, |row| row.get(0))
    }

    /// The stretches that end just before and begin just after a place that is in none.
    #[expect(clippy::type_complexity, reason = "two stretches, each there or not")]
    fn around(&self, seq: i64) -> rusqlite::Result<(Option<(i64, i64)>, Option<(i64, i64)>)> {
        let over = |place: Option<i64>| place.map_or(Ok(None), |place| self.over(place));
        Ok((over(self.older(seq)?)?, over(self.newer(seq)?)?))
    }

    /// A thread at a place in no stretch was seen, or a seen one came there.
    fn join(&self, seq: i64) -> rusqlite::Result<()> {
        match self.around(seq)? {
            (None, None) => self.put(seq, seq),
            (Some((first, last)), None) => self.replace(last, first, seq),
            (None, Some((_, last))) => self.replace(last, seq, last),
            (Some((first, end)), Some((_, last))) => {
                self.remove(end)?;
                self.replace(last, first, last)
            }
        }
    }

    /// A seen thread left its place.
    fn leave(&self, seq: i64) -> rusqlite::Result<()> {
        match self.over(seq)? {
            Some((first, last)) if first == last => self.remove(last),
            Some((first, last)) if seq == last => {
                let end = self.older(seq)?.unwrap_or(first);
                self.replace(last, first, end)
            }
            Some((first, last)) if seq == first => {
                let begin = self.newer(seq)?.unwrap_or(last);
                self.replace(last, begin, last)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An unseen thread left its place: what it kept apart may be one stretch now.
    fn close_gap(&self, seq: i64) -> rusqlite::Result<()> {
        if let (Some((first, end)), Some((_, last))) = self.around(seq)? {
            self.remove(end)?;
            self.replace(last, first, last)?;
        }
        Ok(())
    }

    fn put(&self, first: i64, last: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("INSERT INTO seen_stretch (viewer, last, first) VALUES (:viewer, :last, :first)")?
            .execute(named_params! { ":viewer": self.viewer, ":last": last, ":first": first })?;
        Ok(())
    }

    fn remove(&self, last: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("DELETE FROM seen_stretch WHERE viewer = :viewer AND last = :last")?
            .execute(named_params! { ":viewer": self.viewer, ":last": last })?;
        Ok(())
    }

    fn replace(&self, was: i64, first: i64, last: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE seen_stretch SET first = :first, last = :last WHERE viewer = :viewer AND last = :was",
            )?
            .execute(named_params! { ":viewer": self.viewer, ":was": was, ":first": first, ":last": last })?;
        Ok(())
    }

    fn count(&self, by: i64) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("UPDATE viewer SET seen = seen + :by WHERE viewer = :viewer")?
            .execute(named_params! { ":viewer": self.viewer, ":by": by })?;
        Ok(())
    }
}

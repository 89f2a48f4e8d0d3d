//! How many there are: read from what is kept counted, never by counting threads.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, ToSql, named_params};

use super::{Queue, Reader, ThreadFilter, Viewer};
use crate::domain::thread::Priority;
use crate::store::error::StoreError;

/// How long a viewer's queues are, without any filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Threads with posts of others that the viewer has not seen.
    pub unseen: u32,
    /// Threads that wait for the viewer's side.
    pub unanswered: u32,
    /// Open threads assigned to the viewer.
    pub assigned: u32,
    /// Unanswered and assigned together.
    pub needs_me: u32,
    /// All threads there are; an agent's: its own.
    pub all: u32,
}

/// The forum in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Threads, control threads among them.
    pub threads: u32,
    /// Control threads.
    pub control: u32,
    /// Threads by state.
    pub by_state: BTreeMap<String, u32>,
    /// Threads that are not closed, by priority.
    pub open_by_priority: BTreeMap<String, u32>,
    /// Threads by the side that has to speak.
    pub waiting_on: BTreeMap<String, u32>,
    /// Open threads by whom they are assigned to.
    pub assigned: BTreeMap<String, u32>,
    /// Posts by kind of author.
    pub posts: BTreeMap<String, u32>,
    /// The thread that waits longest for a human, and since when.
    pub oldest_waiting: Option<(String, String)>,
}

impl Reader {
    /// How long a viewer's queues are.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn queue_counts(&self, viewer: &Viewer) -> Result<QueueCounts, StoreError> {
        if let Viewer::Agent(_) = viewer {
            return self.counts_of_agent(viewer);
        }
        let read = || -> rusqlite::Result<QueueCounts> {
            let number = |sql: &str, params: &[(&str, &dyn ToSql)]| -> rusqlite::Result<u32> {
                self.conn
                    .prepare_cached(sql)?
                    .query_row(params, |row| row.get(0))
                    .optional()
                    .map(Option::unwrap_or_default)
            };
            let (id, assignee) = (viewer.id(), viewer.assignee());
            let all = number("SELECT coalesce(sum(n), 0) FROM thread_tally", &[])?;
            let seen = number("SELECT seen FROM viewer WHERE viewer = :viewer", &[(":viewer", &id)])?;
            let unanswered = number("SELECT coalesce(sum(n), 0) FROM thread_tally WHERE waiting = 'human'", &[])?;
            let sum = "SELECT coalesce(sum(n), 0) FROM assignee_tally WHERE assignee = :assignee";
            let assigned = number(sum, &[(":assignee", &assignee)])?;
            let besides = number(&format!("{sum} AND waiting <> 'human'"), &[(":assignee", &assignee)])?;
            Ok(QueueCounts {
                unseen: all.saturating_sub(seen),
                unanswered,
                assigned,
                needs_me: unanswered + besides,
                all,
            })
        };
        self.at_one_moment(|| read().map_err(|error| self.named(error)))
    }

    /// An agent's threads are few: they are walked.
    fn counts_of_agent(&self, viewer: &Viewer) -> Result<QueueCounts, StoreError> {
        let length = |queue| -> Result<u32, StoreError> {
            let (mut length, mut cursor) = (0, None::<String>);
            loop {
                let page =
                    self.queue(queue, viewer, &ThreadFilter::default(), cursor.as_deref(), super::LONGEST_PAGE)?;
                length += u32::try_from(page.threads.len()).unwrap_or(0);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    return Ok(length);
                }
            }
        };
        self.at_one_moment(|| {
            let Viewer::Agent(key) = viewer else { return Ok(QueueCounts::default()) };
            let sql = "SELECT count(*) FROM thread INDEXED BY thread_own
                       WHERE run_id = :run AND workspace = :workspace AND agent_name = :name";
            let all = self
                .conn
                .prepare_cached(sql)
                .and_then(|mut select| {
                    let key = named_params! { ":run": key.run_id, ":workspace": key.workspace, ":name": key.name };
                    select.query_row(key, |row| row.get(0))
                })
                .map_err(|error| self.named(error))?;
            Ok(QueueCounts {
                unseen: length(Queue::Unseen)?,
                unanswered: length(Queue::Unanswered)?,
                assigned: length(Queue::Assigned)?,
                needs_me: length(Queue::NeedsMe)?,
                all,
            })
        })
    }

    /// The forum in numbers, of all threads or of those of one run or ticket.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn stats(&self, filter: &ThreadFilter) -> Result<Stats, StoreError> {
        self.at_one_moment(|| self.tallied(filter).map_err(|error| self.named(error)))
    }

    fn tallied(&self, filter: &ThreadFilter) -> rusqlite::Result<Stats> {
        let clauses = super::queue::Clauses::new("", "", filter);
        let all = *filter == ThreadFilter::default();
        let params: Vec<(&str, &dyn ToSql)> =
            clauses.values.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
        // A part of the threads is counted as it is asked for; the whole stands in the tallies.
        let (threads, assigned, posts) = if all {
            (
                "SELECT state, urgency, waiting, control, n FROM thread_tally".to_owned(),
                "SELECT assignee, sum(n) FROM assignee_tally GROUP BY 1".to_owned(),
                "SELECT author_type, n FROM post_tally".to_owned(),
            )
        } else {
            let wanted = &clauses.sql;
            (
                format!(
                    "SELECT state, urgency, coalesce(waiting_on, ''), control, count(*) FROM thread WHERE {wanted} GROUP BY 1, 2, 3, 4"
                ),
                format!(
                    "SELECT assignee, count(*) FROM thread WHERE {wanted} AND assignee IS NOT NULL AND state <> 'closed' GROUP BY 1"
                ),
                format!(
                    "SELECT author_type, count(*) FROM thread CROSS JOIN post USING (thread_id) WHERE {wanted} GROUP BY 1"
                ),
            )
        };
        let mut stats = Stats::default();
        let mut select = self.conn.prepare_cached(&threads)?;
        let mut rows = select.query(params.as_slice())?;
        while let Some(row) = rows.next()? {
            let (state, urgency, waiting): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (control, n): (bool, u32) = (row.get(3)?, row.get(4)?);
            stats.threads += n;
            stats.control += if control { n } else { 0 };
            if state != "closed" {
                let word = Priority::ALL.into_iter().find(|priority| 3 - priority.rank() == urgency);
                *stats.open_by_priority.entry(word.unwrap_or_default().word().to_owned()).or_default() += n;
            }
            if !waiting.is_empty() {
                *stats.waiting_on.entry(waiting).or_default() += n;
            }
            *stats.by_state.entry(state).or_default() += n;
        }
        for (sql, into) in [(assigned, &mut stats.assigned), (posts, &mut stats.posts)] {
            let mut select = self.conn.prepare_cached(&sql)?;
            let mut rows = select.query(params.as_slice())?;
            while let Some(row) = rows.next()? {
                into.insert(row.get(0)?, row.get(1)?);
            }
        }
        // The longest waiting of each priority stands first in the index of what waits.
        for urgency in 0..4 {
            let sql = format!(
                "SELECT thread_id, since FROM thread INDEXED BY thread_waiting
                 WHERE waiting_on = 'human' AND urgency = {urgency} AND {} ORDER BY since, thread_id LIMIT 1",
                clauses.sql
            );
            let first: Option<(String, String)> = self
                .conn
                .prepare_cached(&sql)?
                .query_row(params.as_slice(), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some(first) = first
                && stats.oldest_waiting.as_ref().is_none_or(|oldest| first.1 < oldest.1)
            {
                stats.oldest_waiting = Some(first);
            }
        }
        Ok(stats)
    }
}

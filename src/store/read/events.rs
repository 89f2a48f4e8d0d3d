//! Reading the journal.

use rusqlite::ToSql;

use super::{EventFilter, Reader};
use crate::domain::agent::AgentKey;
use crate::domain::event::Event;
use crate::domain::time::Moment;
use crate::store::error::StoreError;
use crate::store::journal;

impl Reader {
    /// The last event before a moment, 0 where there is none. Where the clock was set back it is one of those that may
    /// be meant: it is looked for as if events stood in order of their times.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn seq_before(&self, moment: Moment) -> Result<i64, StoreError> {
        let (mut below, mut above) = (0, self.last_seq()?);
        while below < above {
            let middle = below + (above - below) / 2;
            let next = self.events(middle, &EventFilter::default(), 1)?;
            match next.first() {
                Some(event) if event.occurred_at < moment => below = event.seq,
                Some(_) | None => above = middle,
            }
        }
        Ok(below)
    }

    /// Events after `since`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn events(&self, since: i64, filter: &EventFilter, limit: usize) -> Result<Vec<Event>, StoreError> {
        let (sql, pattern) = event_query(filter);
        self.read_events(&sql, pattern.as_ref(), filter, since, limit)
    }

    /// The same, with the journal's end at that moment.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn events_to_end(
        &self,
        since: i64,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<(Vec<Event>, i64), StoreError> {
        self.at_one_moment(|| Ok((self.events(since, filter, limit)?, self.last_seq()?)))
    }

    fn read_events(
        &self,
        sql: &str,
        pattern: Option<&String>,
        filter: &EventFilter,
        since: i64,
        most: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut params: Vec<(&str, &dyn ToSql)> = vec![(":since", &since), (":limit", &most)];
        if let Some(pattern) = pattern {
            params.push((":type", pattern));
        }
        for (name, value) in [(":ticket", &filter.ticket), (":run", &filter.run_id), (":thread", &filter.thread_id)] {
            if let Some(value) = value {
                params.push((name, value));
            }
        }
        self.collect_events(sql, &params)
    }

    fn collect_events(&self, sql: &str, params: &[(&str, &dyn ToSql)]) -> Result<Vec<Event>, StoreError> {
        let mut select = self.conn.prepare_cached(sql).map_err(|error| self.named(error))?;
        let mut rows = select.query(params).map_err(|error| self.named(error))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.named(error))? {
            events.push(journal::from_row(row).map_err(|error| self.or_named(error))?);
        }
        Ok(events)
    }

    /// The newest events, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn newest_events(&self, filter: &EventFilter, most: usize) -> Result<Vec<Event>, StoreError> {
        let (sql, pattern) = event_query(filter);
        let sql = sql.replace("ORDER BY seq LIMIT", "ORDER BY seq DESC LIMIT");
        self.read_events(&sql, pattern.as_ref(), filter, 0, most)
    }

    /// One event, by its place in the journal or its id.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        let seq = id.parse::<i64>().ok();
        let column = if seq.is_some() { "seq" } else { "event_id" };
        let sql = format!("SELECT {} FROM journal WHERE {column} = :id", journal::COLUMNS);
        let id: &dyn ToSql = if let Some(seq) = &seq { seq } else { &id };
        Ok(self.collect_events(&sql, &[(":id", id)])?.pop())
    }

    /// The newest events about an agent, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn agent_events(&self, key: &AgentKey, most: usize) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "SELECT {} FROM journal WHERE run_id = :run AND workspace = :workspace AND agent_name = :name
             ORDER BY seq DESC LIMIT :most",
            journal::COLUMNS
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let params: [(&str, &dyn ToSql); 4] =
            [(":run", &key.run_id), (":workspace", &key.workspace), (":name", &key.name), (":most", &most)];
        let mut events = self.collect_events(&sql, &params)?;
        events.reverse();
        Ok(events)
    }

    /// The newest events of a thread, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn thread_events(&self, thread_id: &str, most: usize) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "SELECT {columns} FROM (SELECT {columns} FROM journal WHERE thread_id = :thread ORDER BY seq DESC LIMIT :most) ORDER BY seq",
            columns = journal::COLUMNS
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.collect_events(&sql, &[(":thread", &thread_id), (":most", &most)])
    }
}

fn event_query(filter: &EventFilter) -> (String, Option<String>) {
    let mut sql = format!("SELECT {} FROM journal WHERE seq > :since", journal::COLUMNS);
    // GLOB's own wildcards beyond `*` are words here: only `*` and `?` mean something.
    let pattern = filter.event_type.as_ref().map(|text| text.replace('[', "[[]"));
    for (wanted, clause) in [
        (pattern.is_some(), " AND event_type GLOB :type"),
        (filter.ticket.is_some(), " AND ticket = :ticket"),
        (filter.run_id.is_some(), " AND run_id = :run"),
        (filter.thread_id.is_some(), " AND thread_id = :thread"),
    ] {
        if wanted {
            sql.push_str(clause);
        }
    }
    sql.push_str(" ORDER BY seq LIMIT :limit");
    (sql, pattern)
}

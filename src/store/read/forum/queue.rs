//! Pages of threads: lists and queues, each in the order of one index.

use rusqlite::{ToSql, named_params};

use super::viewer::BY_OTHERS;
use super::{LONGEST_PAGE, Page, Queue, Reader, ThreadFilter, Viewer};
use crate::domain::agent::AgentKey;
use crate::domain::refusal::Refusal;
use crate::domain::thread::{Priority, Thread};
use crate::store::error::StoreError;
use crate::store::kept;
use crate::store::load::{doc, docs};
use crate::store::read::cursor::Cursor;

/// What is asked of the table of threads.
pub(super) struct Clauses {
    /// The one index that has the order of the page: without statistics SQLite would at times rather sort.
    index: &'static str,
    order: &'static str,
    pub(super) sql: String,
    pub(super) values: Vec<(String, Box<dyn ToSql>)>,
}

impl Clauses {
    pub(super) fn new(index: &'static str, order: &'static str, filter: &ThreadFilter) -> Self {
        let mut clauses = Self { index, order, sql: "1".to_owned(), values: Vec::new() };
        for (column, value) in [
            ("ticket", &filter.ticket),
            ("run_id", &filter.run_id),
            ("state", &filter.state),
            ("agent_name", &filter.agent),
        ] {
            if let Some(value) = value {
                clauses.and(&format!("{column} = :{column}"), &format!(":{column}"), value.clone());
            }
        }
        if let Some(word) = &filter.priority {
            let urgency = Priority::parse(word).map_or(-1, kept::urgency);
            clauses.and("urgency = :urgency_is", ":urgency_is", urgency);
        }
        if let Some(name) = &filter.assignee {
            // As the index has it, which leaves out what is assigned to nobody.
            let clause = "assignee IS NOT NULL AND substr(assignee, instr(assignee, ':') + 1) = :assignee_name";
            clauses.and(clause, ":assignee_name", name.clone());
        }
        clauses
    }

    fn select(&self, limit: usize) -> String {
        let Self { index, order, sql, .. } = self;
        format!("SELECT doc FROM thread INDEXED BY {index} WHERE {sql} ORDER BY {order} LIMIT {limit}")
    }

    fn and(&mut self, clause: &str, name: &str, value: impl ToSql + 'static) {
        self.sql.push_str(" AND ");
        self.sql.push_str(clause);
        self.values.push((name.to_owned(), Box::new(value)));
    }
}

impl Reader {
    /// Threads, newest activity first.
    ///
    /// # Errors
    /// A refusal for a cursor of another query; [`StoreError`] from the database.
    pub fn threads(&self, filter: &ThreadFilter, cursor: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let query = format!("list {filter:?}");
        let clauses = list_clauses(&query, filter, cursor)?;
        self.page(&query, &clauses, limit, newest_key)
    }

    /// A page of a viewer's queue.
    ///
    /// # Errors
    /// A refusal for a cursor of another query; [`StoreError`] from the database.
    pub fn queue(
        &self,
        queue: Queue,
        viewer: &Viewer,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        match queue {
            Queue::Unseen => self.unseen(viewer, filter, cursor, limit),
            Queue::Unanswered | Queue::Assigned => {
                let query = pressing_query(queue, viewer, filter);
                self.pressing(&query, queue, viewer, filter, cursor, limit)
            }
            // Each half comes in order of its own index; merged they are in order too.
            Queue::NeedsMe => self.at_one_moment(|| {
                let query = pressing_query(queue, viewer, filter);
                let waiting = self.pressing(&query, Queue::Unanswered, viewer, filter, cursor, limit)?;
                let assigned = self.pressing(&query, Queue::Assigned, viewer, filter, cursor, limit)?;
                Ok(merge(waiting, assigned, &query, limit))
            }),
        }
    }

    /// The cursor is one of `query`, which may be of both halves together.
    fn pressing(
        &self,
        query: &str,
        queue: Queue,
        viewer: &Viewer,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let assignee = match (queue, viewer) {
            (Queue::Assigned, Viewer::Agent(key)) => Some(format!("agent:{}", self.called(key)?)),
            (Queue::Assigned, Viewer::Human(_) | Viewer::Operator) => Some(viewer.assignee()),
            (Queue::Unanswered | Queue::NeedsMe | Queue::Unseen, _) => None,
        };
        let clauses = pressing_clauses(query, assignee, viewer, filter, cursor)?;
        self.page(query, &clauses, limit, pressing_key)
    }

    /// What an agent is called within its run, as [`crate::domain::scene::Scene::called`] has it.
    fn called(&self, key: &AgentKey) -> Result<String, StoreError> {
        let count = || -> rusqlite::Result<u32> {
            self.conn
                .prepare_cached("SELECT count(*) FROM agent WHERE run_id = :run AND name = :name")?
                .query_row(named_params! { ":run": key.run_id, ":name": key.name }, |row| row.get(0))
        };
        let namesakes = count().map_err(|error| self.named(error))?;
        Ok(if namesakes > 1 { key.within_run() } else { key.name.clone() })
    }

    fn unseen(
        &self,
        viewer: &Viewer,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let query = format!("unseen {} {filter:?}", viewer.id());
        if let Viewer::Agent(_) = viewer {
            let clauses = unseen_by_agent(&query, viewer, filter, cursor)?;
            return self.page(&query, &clauses, limit, newest_key);
        }
        let limit = limit.clamp(1, LONGEST_PAGE);
        let clauses = list_clauses(&query, filter, cursor)?;
        let below = Cursor::open(&query, cursor)?.map_or(Ok(i64::MAX), |key| key.number())?;
        let mut threads = self.at_one_moment(|| self.leaping(&clauses, &viewer.id(), below, limit + 1))?;
        let more = threads.len() > limit;
        threads.truncate(limit);
        let next_cursor = threads.last().filter(|_| more).map(|last| Cursor::write(&query, &newest_key(last)));
        Ok(Page { threads, next_cursor })
    }

    /// Walks the list and leaps over each stretch that the viewer has seen, however long it is.
    fn leaping(
        &self,
        clauses: &Clauses,
        viewer: &str,
        mut below: i64,
        wanted: usize,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut found = Vec::new();
        let mut select = self.conn.prepare_cached(&clauses.select(wanted)).map_err(|error| self.named(error))?;
        loop {
            // Nothing between here and the end of this stretch was seen.
            let stretch = kept::stretch_below(&self.conn, viewer, below).map_err(|error| self.named(error))?;
            let (first, last) = stretch.unwrap_or((0, 0));
            let params: Vec<(&str, &dyn ToSql)> = clauses
                .values
                .iter()
                .map(|(name, value)| (name.as_str(), if name == ":seq" { &below as &dyn ToSql } else { &**value }))
                .collect();
            let mut rows = select.query(params.as_slice()).map_err(|error| self.named(error))?;
            let mut at_end = true;
            while let Some(row) = rows.next().map_err(|error| self.named(error))? {
                let thread: Thread = doc("thread", row).map_err(|error| self.or_named(error))?;
                if thread.last_event_sequence <= last {
                    at_end = false;
                    break;
                }
                found.push(thread);
                if found.len() == wanted {
                    return Ok(found);
                }
            }
            if at_end {
                return Ok(found);
            }
            below = first;
        }
    }

    fn page(
        &self,
        query: &str,
        clauses: &Clauses,
        limit: usize,
        key: impl Fn(&Thread) -> Vec<String>,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, LONGEST_PAGE);
        let sql = clauses.select(limit + 1);
        let params: Vec<(&str, &dyn ToSql)> =
            clauses.values.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
        let mut threads: Vec<Thread> = docs(&self.conn, "thread", &sql, &params)?;
        let more = threads.len() > limit;
        threads.truncate(limit);
        let next_cursor = threads.last().filter(|_| more).map(|last| Cursor::write(query, &key(last)));
        Ok(Page { threads, next_cursor })
    }
}

fn list_clauses(query: &str, filter: &ThreadFilter, cursor: Option<&str>) -> Result<Clauses, Refusal> {
    let index = match filter {
        ThreadFilter { run_id: Some(_), .. } => "thread_run",
        ThreadFilter { ticket: Some(_), .. } => "thread_ticket",
        ThreadFilter { agent: Some(_), .. } => "thread_agent",
        ThreadFilter { assignee: Some(_), .. } => "thread_holder",
        ThreadFilter { state: Some(_), .. } => "thread_state",
        ThreadFilter { priority: Some(_), .. } => "thread_urgency",
        ThreadFilter { .. } => "thread_newest",
    };
    let mut clauses = Clauses::new(index, "last_seq DESC", filter);
    // The first page begins above every number there is: it is searched for like the others.
    let below = Cursor::open(query, cursor)?.map_or(Ok(i64::MAX), |key| key.number())?;
    clauses.and("last_seq < :seq", ":seq", below);
    Ok(clauses)
}

/// An agent's queue covers its own threads; they are looked at one by one.
fn unseen_by_agent(
    query: &str,
    viewer: &Viewer,
    filter: &ThreadFilter,
    cursor: Option<&str>,
) -> Result<Clauses, Refusal> {
    let (kind, name) = viewer.author();
    let mut clauses = list_clauses(query, filter, cursor)?;
    clauses.index = "thread_run";
    let unseen = format!(
        "EXISTS (SELECT 1 FROM post WHERE post.thread_id = thread.thread_id AND {BY_OTHERS}
             AND post.seq > coalesce((SELECT seen.seq FROM seen WHERE seen.thread_id = thread.thread_id AND seen.viewer = :viewer), 0))"
    );
    clauses.and(&unseen, ":viewer", viewer.id());
    clauses.values.push((":kind".to_owned(), Box::new(kind)));
    clauses.values.push((":name".to_owned(), Box::new(name.map(str::to_owned))));
    own_threads(&mut clauses, viewer);
    Ok(clauses)
}

fn pressing_clauses(
    query: &str,
    assignee: Option<String>,
    viewer: &Viewer,
    filter: &ThreadFilter,
    cursor: Option<&str>,
) -> Result<Clauses, Refusal> {
    let index = match (viewer, &assignee) {
        (_, Some(_)) => "thread_assigned",
        (Viewer::Agent(_), None) => "thread_own",
        (_, None) => "thread_waiting",
    };
    let mut clauses = Clauses::new(index, "urgency, since, thread_id", filter);
    if let Some(assignee) = assignee {
        clauses.and("assignee = :assignee", ":assignee", assignee);
        clauses.sql.push_str(" AND state <> 'closed'");
        // Whatever agent of its run it belongs to: the same name in another run is another agent.
        if let Viewer::Agent(key) = viewer {
            clauses.and("run_id = :own_run", ":own_run", key.run_id.clone());
        }
    } else {
        clauses.and("waiting_on = :side", ":side", viewer.side());
        own_threads(&mut clauses, viewer);
    }
    if let Some(key) = Cursor::open(query, cursor)? {
        let [urgency, since, id] = key.parts()?;
        let urgency = urgency.parse::<i64>().map_err(|_| Refusal::invalid("--cursor is damaged"))?;
        clauses.and("(urgency, since, thread_id) > (:urgency, :since, :id)", ":urgency", urgency);
        clauses.values.push((":since".to_owned(), Box::new(since)));
        clauses.values.push((":id".to_owned(), Box::new(id)));
    }
    Ok(clauses)
}

fn newest_key(thread: &Thread) -> Vec<String> {
    vec![thread.last_event_sequence.to_string()]
}

fn own_threads(clauses: &mut Clauses, viewer: &Viewer) {
    if let Viewer::Agent(key) = viewer {
        clauses.and("run_id = :own_run", ":own_run", key.run_id.clone());
        clauses.and("workspace = :own_workspace", ":own_workspace", key.workspace.clone());
        clauses.and("agent_name = :own_name", ":own_name", key.name.clone());
    }
}

fn pressing_query(queue: Queue, viewer: &Viewer, filter: &ThreadFilter) -> String {
    format!("{queue:?} {} {filter:?}", viewer.id())
}

fn pressing_key(thread: &Thread) -> Vec<String> {
    let since = thread.waiting_since.unwrap_or(thread.opened_at);
    vec![kept::urgency(thread.priority).to_string(), since.to_string(), thread.thread_id.clone()]
}

fn merge(left: Page, right: Page, query: &str, limit: usize) -> Page {
    let more = left.next_cursor.is_some() || right.next_cursor.is_some();
    let mut threads: Vec<Thread> = left.threads.into_iter().chain(right.threads).collect();
    threads.sort_by_cached_key(pressing_key);
    threads.dedup_by(|a, b| a.thread_id == b.thread_id);
    let limit = limit.clamp(1, LONGEST_PAGE);
    let more = more || threads.len() > limit;
    threads.truncate(limit);
    let next_cursor = threads.last().filter(|_| more).map(|last| Cursor::write(query, &pressing_key(last)));
    Page { threads, next_cursor }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod plan_tests;

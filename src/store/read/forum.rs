//! Reading the forum: threads, posts, queues, pages.

use rusqlite::{ToSql, named_params};

use super::Reader;
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::AgentKey;
use crate::domain::refusal::Refusal;
use crate::domain::thread::{Post, Thread, fingerprint};
use crate::domain::time::Moment;
use crate::store::error::StoreError;
use crate::store::load::docs;

/// The longest page.
pub const LONGEST_PAGE: usize = 500;

/// Whose queue it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// A person.
    Human(String),
    /// The operator.
    Operator,
    /// An agent; its queues cover its own threads.
    Agent(AgentKey),
}

impl Viewer {
    /// Reads `human:<name>`, `operator`, or `agent:<run>/<workspace>/<agent>`.
    ///
    /// # Errors
    /// A [`Refusal`] naming the forms.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || {
            Refusal::invalid(format!("`{text}` is no viewer"))
                .hint("use human:NAME, operator, or agent:RUN/WORKSPACE/AGENT")
        };
        if text == "operator" {
            return Ok(Self::Operator);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        match (kind, rest.split('/').collect::<Vec<_>>().as_slice()) {
            ("human", [name]) if !name.is_empty() => Ok(Self::Human((*name).to_owned())),
            ("agent", [run, workspace, name]) if ![run, workspace, name].iter().any(|part| part.is_empty()) => {
                Ok(Self::Agent(AgentKey::new(*run, *workspace, *name)))
            }
            _ => Err(wrong()),
        }
    }

    /// The viewer as text, as [`Viewer::parse`] reads it.
    pub fn id(&self) -> String {
        match self {
            Self::Human(name) => format!("human:{name}"),
            Self::Operator => "operator".to_owned(),
            Self::Agent(key) => format!("agent:{}/{}/{}", key.run_id, key.workspace, key.name),
        }
    }

    /// The viewer's name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Human(name) => name,
            Self::Operator => "operator",
            Self::Agent(key) => &key.name,
        }
    }

    fn side(&self) -> &'static str {
        match self {
            Self::Human(_) | Self::Operator => "human",
            Self::Agent(_) => "agent",
        }
    }

    fn author(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Human(name) => ("human", Some(name)),
            Self::Operator => ("operator", None),
            Self::Agent(key) => ("agent", Some(&key.name)),
        }
    }

    /// How a thread assigned to this viewer says so.
    fn assignee(&self) -> String {
        match self {
            Self::Human(name) => format!("human:{name}"),
            Self::Operator => "operator:operator".to_owned(),
            Self::Agent(key) => format!("agent:{}", key.name),
        }
    }
}

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

struct Clauses {
    /// The one index that has the order of the page: without statistics SQLite would at times rather sort.
    index: &'static str,
    order: &'static str,
    sql: String,
    values: Vec<(String, Box<dyn ToSql>)>,
}

impl Clauses {
    fn new(index: &'static str, order: &'static str, filter: &ThreadFilter) -> Self {
        let mut clauses = Self { index, order, sql: "1".to_owned(), values: Vec::new() };
        for (column, value) in [
            ("ticket", &filter.ticket),
            ("run_id", &filter.run_id),
            ("state", &filter.state),
            ("priority", &filter.priority),
            ("agent_name", &filter.agent),
        ] {
            if let Some(value) = value {
                clauses.and(&format!("{column} = :{column}"), &format!(":{column}"), value.clone());
            }
        }
        if let Some(name) = &filter.assignee {
            clauses.and("doc ->> '$.assignee_name' = :assignee_name", ":assignee_name", name.clone());
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
    /// One thread.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn thread(&self, thread_id: &str) -> Result<Option<Thread>, StoreError> {
        let sql = "SELECT doc FROM thread WHERE thread_id = :thread";
        Ok(docs(&self.conn, "thread", sql, &[(":thread", &thread_id)])?.pop())
    }

    /// The threads of a run in which an agent waits.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn blocking_threads(&self, run_id: &str) -> Result<Vec<Thread>, StoreError> {
        let sql = "SELECT doc FROM thread WHERE run_id = :run AND blocking = 1";
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

    /// One post.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn post(&self, post_id: &str) -> Result<Option<Post>, StoreError> {
        Ok(self.read_posts("SELECT * FROM post WHERE post_id = :post", &[(":post", &post_id)])?.pop())
    }

    /// The first post after `seq` by the side that is not `asker`'s.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn reply_after(&self, thread_id: &str, seq: i64, asker: ActorType) -> Result<Option<Post>, StoreError> {
        let human = "('human', 'operator')";
        let (wanted, other) = if asker == ActorType::Agent { (human, "") } else { ("('agent')", "") };
        let sql = format!(
            "SELECT * FROM post WHERE thread_id = :thread AND seq > :seq AND author_type IN {wanted}{other} ORDER BY seq LIMIT 1"
        );
        Ok(self.read_posts(&sql, &[(":thread", &thread_id), (":seq", &seq)])?.pop())
    }

    fn read_posts(&self, sql: &str, params: &[(&str, &dyn ToSql)]) -> Result<Vec<Post>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Post>> {
            let mut select = self.conn.prepare_cached(sql)?;
            let rows = select.query_map(params, |row| {
                let author: String = row.get("author_type")?;
                let signal: Option<String> = row.get("signal")?;
                Ok(Post {
                    post_id: row.get("post_id")?,
                    thread_id: row.get("thread_id")?,
                    seq: row.get("seq")?,
                    author_type: ActorType::parse(&author).unwrap_or(ActorType::System),
                    author_name: row.get("author_name")?,
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
            let mut select = self.conn.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM post WHERE thread_id = :thread AND seq > :mark
                     AND NOT (author_type = :kind AND author_name = coalesce(:name, author_name)))",
            )?;
            select.query_row(
                named_params! { ":thread": thread.thread_id, ":mark": mark, ":kind": kind, ":name": name },
                |row| row.get(0),
            )
        };
        read().map_err(|error| self.named(error))
    }

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
            Queue::Unanswered | Queue::Assigned => self.pressing(queue, viewer, filter, cursor, limit),
            Queue::NeedsMe => {
                // Each half comes in order of its own index; merged they are in order too.
                let waiting = self.pressing(Queue::Unanswered, viewer, filter, cursor, limit)?;
                let assigned = self.pressing(Queue::Assigned, viewer, filter, cursor, limit)?;
                Ok(merge(waiting, assigned, &pressing_query(viewer, filter), limit))
            }
        }
    }

    fn pressing(
        &self,
        queue: Queue,
        viewer: &Viewer,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let query = pressing_query(viewer, filter);
        let clauses = pressing_clauses(&query, queue == Queue::Assigned, viewer, filter, cursor)?;
        self.page(&query, &clauses, limit, pressing_key)
    }

    fn unseen(
        &self,
        viewer: &Viewer,
        filter: &ThreadFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let query = format!("unseen {} {filter:?}", viewer.id());
        let (kind, name) = viewer.author();
        let mut clauses = list_clauses(&query, filter, cursor)?;
        clauses.and(
            "EXISTS (SELECT 1 FROM post WHERE post.thread_id = thread.thread_id
                 AND post.seq > coalesce((SELECT seen.seq FROM seen WHERE seen.thread_id = thread.thread_id AND seen.viewer = :viewer), 0)
                 AND NOT (author_type = :kind AND author_name = coalesce(:name, author_name)))",
            ":viewer",
            viewer.id(),
        );
        clauses.values.push((":kind".to_owned(), Box::new(kind)));
        clauses.values.push((":name".to_owned(), Box::new(name.map(str::to_owned))));
        own_threads(&mut clauses, viewer);
        self.page(&query, &clauses, limit, newest_key)
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
        ThreadFilter { .. } => "thread_newest",
    };
    let mut clauses = Clauses::new(index, "last_seq DESC", filter);
    // The first page begins above every number there is: it is searched for like the others.
    let below = Cursor::open(query, cursor)?.map_or(Ok(i64::MAX), |key| key.number())?;
    clauses.and("last_seq < :seq", ":seq", below);
    Ok(clauses)
}

fn pressing_clauses(
    query: &str,
    assigned: bool,
    viewer: &Viewer,
    filter: &ThreadFilter,
    cursor: Option<&str>,
) -> Result<Clauses, Refusal> {
    let index = if assigned { "thread_assigned" } else { "thread_waiting" };
    let mut clauses = Clauses::new(index, "urgency, since, thread_id", filter);
    if assigned {
        clauses.and("assignee = :assignee", ":assignee", viewer.assignee());
        clauses.sql.push_str(" AND state <> 'closed'");
    } else {
        clauses.and("waiting_on = :side", ":side", viewer.side());
    }
    own_threads(&mut clauses, viewer);
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

fn pressing_query(viewer: &Viewer, filter: &ThreadFilter) -> String {
    format!("pressing {} {filter:?}", viewer.id())
}

fn pressing_key(thread: &Thread) -> Vec<String> {
    let since = thread.waiting_since.unwrap_or(thread.opened_at);
    vec![(3 - thread.priority.rank()).to_string(), since.to_string(), thread.thread_id.clone()]
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

/// An opaque place in a page: the sort key of its last row, sealed with the query it belongs to.
struct Cursor(Vec<String>);

impl Cursor {
    fn write(query: &str, key: &[String]) -> String {
        let text = format!("{}\n{}", fingerprint("cursor", query), key.join("\n"));
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn open(query: &str, cursor: Option<&str>) -> Result<Option<Self>, Refusal> {
        let Some(cursor) = cursor else { return Ok(None) };
        let wrong = || Refusal::invalid("--cursor is not one of this query").hint("begin again without --cursor");
        let bytes: Option<Vec<u8>> = (cursor.len().is_multiple_of(2) && cursor.is_ascii())
            .then(|| (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16).ok()).collect())
            .flatten();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
        let mut lines = text.split('\n').map(str::to_owned);
        if lines.next() != Some(fingerprint("cursor", query)) {
            return Err(wrong());
        }
        Ok(Some(Self(lines.collect())))
    }

    fn number(&self) -> Result<i64, Refusal> {
        self.0.first().and_then(|text| text.parse().ok()).ok_or_else(|| Refusal::invalid("--cursor is damaged"))
    }

    fn parts(self) -> Result<[String; 3], Refusal> {
        <[String; 3]>::try_from(self.0).map_err(|_| Refusal::invalid("--cursor is damaged"))
    }
}

/// The viewer that an actor is.
pub fn viewer_of(actor: &Actor, identity: Option<&AgentKey>) -> Viewer {
    match (identity, actor.kind) {
        (Some(key), _) => Viewer::Agent(key.clone()),
        (None, ActorType::Operator) => Viewer::Operator,
        (None, ActorType::Human | ActorType::System | ActorType::Agent) => Viewer::Human(actor.name.clone()),
    }
}

#[cfg(test)]
mod plan_tests;

//! The reading side: snapshots, never a change, never a file made.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, InterruptHandle, ToSql, named_params};

use super::error::{StoreError, named};
use super::load::{FEEDBACK, PULL_REQUESTS, docs};
use super::{journal, schema};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::feedback::Feedback;
use crate::domain::plan::Step;
use crate::domain::pull_request::PullRequest;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::{Merged, Scene, Seeding, Workspace};
use crate::domain::thread::Request;
use crate::domain::time::Moment;

pub(super) mod cursor;
mod delivery;
mod events;
pub mod forum;
mod operator;

/// What is rewritten about an agent without an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vitals {
    /// When its screen last changed.
    pub last_output_at: Option<Moment>,
    /// When a supervisor last looked at it.
    pub last_seen_at: Moment,
    /// Its launcher's pid.
    pub pid: Option<i64>,
    /// When its worktree last showed progress.
    pub last_progress_at: Option<Moment>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// A pattern of types, `*` for any characters.
    pub event_type: Option<String>,
    /// Only of this ticket.
    pub ticket: Option<String>,
    /// Only of this run.
    pub run_id: Option<String>,
    /// Only of this thread.
    pub thread_id: Option<String>,
}

/// Stops the queries of a reader.
pub struct Stopper(InterruptHandle);

impl Stopper {
    /// What is under way ends with [`StoreError::Interrupted`]; what begins later is not touched.
    pub fn stop(&self) {
        self.0.interrupt();
    }
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

/// A read-only view of the database.
pub struct Reader {
    path: PathBuf,
    conn: Connection,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the database to read.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_path_buf(), conn: schema::open_reader(path)? })
    }

    /// Whether the file still is what was opened: a newer program may have migrated it.
    pub fn holds(&self) -> bool {
        schema::version(&self.conn).is_ok_and(|found| found == schema::VERSION)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn named(&self, error: rusqlite::Error) -> StoreError {
        named(&self.path, error)
    }

    fn or_named(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Sqlite(error) => self.named(error),
            other => other,
        }
    }

    /// Reads several things as they stood at one moment, whatever is written meanwhile.
    fn at_one_moment<T>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        if !self.conn.is_autocommit() {
            return read();
        }
        // Nothing is written through it; it ends with this scope.
        let _moment = self.conn.unchecked_transaction().map_err(|error| self.named(error))?;
        read()
    }

    /// What stops a query of this reader that is under way, from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.conn.get_interrupt_handle())
    }

    /// Reads what has a module of its own.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        read(&self.conn).map_err(|error| self.named(error))
    }

    /// A number that changes when another connection has written.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        let ask = || self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        ask().map_err(|error| self.named(error))
    }

    /// The newest place in the journal.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn last_seq(&self) -> Result<i64, StoreError> {
        journal::last_seq(&self.conn).map_err(|error| self.named(error))
    }

    /// Whether an event of this id, or an order under this key, is in the journal.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn has_event(&self, event_id: &str) -> Result<bool, StoreError> {
        self.with(|conn| Ok(journal::key_use(conn, event_id)?.is_some()))
    }

    /// A fact about the file itself.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let read = || -> rusqlite::Result<Option<String>> {
            let mut select = self.conn.prepare_cached("SELECT value FROM meta WHERE key = :key")?;
            let mut rows = select.query(named_params! { ":key": key })?;
            rows.next()?.map(|row| row.get(0)).transpose()
        };
        read().map_err(|error| self.named(error))
    }

    /// One run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn run(&self, run_id: &str) -> Result<Option<Run>, StoreError> {
        let sql = "SELECT doc FROM run WHERE run_id = :run";
        Ok(docs(&self.conn, "run", sql, &[(":run", &run_id)])?.pop())
    }

    /// All runs, newest activity first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn runs(&self) -> Result<Vec<Run>, StoreError> {
        docs(&self.conn, "run", "SELECT doc FROM run ORDER BY last_seq DESC", &[])
    }

    /// The runs of which there is news after a place in the journal.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn runs_touched(&self, since: i64) -> Result<Vec<String>, StoreError> {
        self.with(|conn| {
            conn.prepare_cached(
                "SELECT DISTINCT run_id FROM journal NOT INDEXED WHERE seq > :since AND run_id IS NOT NULL",
            )?
            .query_map(named_params! { ":since": since }, |row| row.get(0))?
            .collect()
        })
    }

    /// The runs of a ticket, newest activity first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn runs_of_ticket(&self, ticket: &str) -> Result<Vec<Run>, StoreError> {
        let sql =
            "SELECT run.doc FROM run JOIN run_ticket USING (run_id) WHERE ticket = :ticket ORDER BY last_seq DESC";
        docs(&self.conn, "run", sql, &[(":ticket", &ticket)])
    }

    /// The runs in these states.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn runs_in(&self, states: &[RunStatus]) -> Result<Vec<Run>, StoreError> {
        let mut found = self.runs()?;
        found.retain(|run| states.contains(&run.status));
        Ok(found)
    }

    /// The policy a run keeps.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn policy(&self, run_id: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let sql = "SELECT doc FROM run_policy WHERE run_id = :run";
        Ok(docs(&self.conn, "run_policy", sql, &[(":run", &run_id)])?.pop())
    }

    /// The steps of a run, in order.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn steps(&self, run_id: &str) -> Result<Vec<Step>, StoreError> {
        let sql = "SELECT doc FROM step WHERE run_id = :run ORDER BY step_index";
        docs(&self.conn, "step", sql, &[(":run", &run_id)])
    }

    /// The agents of a run, by workspace and name.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn agents(&self, run_id: &str) -> Result<Vec<Agent>, StoreError> {
        let sql = "SELECT doc FROM agent WHERE run_id = :run ORDER BY workspace, name";
        docs(&self.conn, "agent", sql, &[(":run", &run_id)])
    }

    /// One agent.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn agent(&self, key: &AgentKey) -> Result<Option<Agent>, StoreError> {
        let sql = "SELECT doc FROM agent WHERE run_id = :run AND workspace = :workspace AND name = :name";
        let place: &[(&str, &dyn ToSql)] =
            &[(":run", &key.run_id), (":workspace", &key.workspace), (":name", &key.name)];
        Ok(docs(&self.conn, "agent", sql, place)?.pop())
    }

    /// All agents.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn all_agents(&self) -> Result<Vec<Agent>, StoreError> {
        docs(&self.conn, "agent", "SELECT doc FROM agent ORDER BY run_id DESC, workspace, name", &[])
    }

    /// Whether any agent has this session.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn session_taken(&self, session: &str) -> Result<bool, StoreError> {
        let read = || -> rusqlite::Result<bool> {
            self.conn
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM agent WHERE session = :session)")?
                .query_row(named_params! { ":session": session }, |row| row.get(0))
        };
        read().map_err(|error| self.named(error))
    }

    /// The vitals of a run's agents.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn vitals(&self, run_id: &str) -> Result<Vec<(AgentKey, Vitals)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(AgentKey, Vitals)>> {
            let mut select = self.conn.prepare_cached(
                "SELECT workspace, name, last_output_at, last_seen_at, pid, last_progress_at FROM vitals WHERE run_id = :run",
            )?;
            let rows = select.query_map(named_params! { ":run": run_id }, |row| {
                let key = AgentKey::new(run_id, row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                let vitals = Vitals {
                    last_output_at: row.get::<_, Option<i64>>(2)?.map(Moment::from_millis),
                    last_seen_at: Moment::from_millis(row.get(3)?),
                    pid: row.get(4)?,
                    last_progress_at: row.get::<_, Option<i64>>(5)?.map(Moment::from_millis),
                };
                Ok((key, vitals))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.named(error))
    }

    /// The workspaces of a run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn workspaces(&self, run_id: &str) -> Result<Vec<Workspace>, StoreError> {
        docs(
            &self.conn,
            "workspace",
            "SELECT doc FROM workspace WHERE run_id = :run ORDER BY name",
            &[(":run", &run_id)],
        )
    }

    /// All workspaces named `name`, newest run first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn workspaces_named(&self, name: &str) -> Result<Vec<Workspace>, StoreError> {
        let sql = "SELECT doc FROM workspace WHERE name = :name ORDER BY run_id DESC";
        docs(&self.conn, "workspace", sql, &[(":name", &name)])
    }

    /// What was seeded into a run's workspaces.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn seedings(&self, run_id: &str) -> Result<Vec<Seeding>, StoreError> {
        docs(&self.conn, "seeding", "SELECT doc FROM seeding WHERE run_id = :run", &[(":run", &run_id)])
    }

    /// The last merge of one repository of a run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn merged(&self, run_id: &str, workspace: &str, repo: &str) -> Result<Option<Merged>, StoreError> {
        let sql = "SELECT doc FROM merged WHERE run_id = :run AND workspace = :workspace AND repo = :repo";
        let key: &[(&str, &dyn ToSql)] = &[(":run", &run_id), (":workspace", &workspace), (":repo", &repo)];
        Ok(docs(&self.conn, "merged", sql, key)?.pop())
    }

    /// The pull requests of a run, by workspace and repository.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn pull_requests(&self, run_id: &str) -> Result<Vec<PullRequest>, StoreError> {
        docs(&self.conn, "pull_request", PULL_REQUESTS, &[(":run", &run_id)])
    }

    /// What reviewers said to the pull requests of a run, by workspace and repository.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn feedback(&self, run_id: &str) -> Result<Vec<Feedback>, StoreError> {
        docs(&self.conn, "review_feedback", FEEDBACK, &[(":run", &run_id)])
    }

    /// The pull request of one repository of a run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn pull_request(&self, run_id: &str, workspace: &str, repo: &str) -> Result<Option<PullRequest>, StoreError> {
        let mut found = self.pull_requests(run_id)?;
        found.retain(|request| request.workspace == workspace && request.repo == repo);
        Ok(found.pop())
    }

    /// Pairs of text of one worktree: (path, hash) of what metawsm wrote, or (commit, first line) of what it committed.
    fn pairs(&self, sql: &str, run_id: &str, workspace: &str, repo: &str) -> Result<Vec<(String, String)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut select = self.conn.prepare_cached(sql)?;
            let rows = select.query_map([run_id, workspace, repo], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map_err(|error| self.named(error))
    }

    /// The files metawsm wrote into a worktree, each with the hash of what it wrote.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn own_files(&self, run_id: &str, workspace: &str, repo: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT path, blob FROM own_file WHERE run_id = ?1 AND workspace = ?2 AND repo = ?3";
        self.pairs(sql, run_id, workspace, repo)
    }

    /// The commits that hold only what metawsm wrote.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn own_commits(&self, run_id: &str, workspace: &str, repo: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT sha, message FROM own_commit WHERE run_id = ?1 AND workspace = ?2 AND repo = ?3";
        Ok(self.pairs(sql, run_id, workspace, repo)?.into_iter().map(|(sha, _)| sha).collect())
    }

    /// The open guidance requests of a run, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn open_requests(&self, run_id: &str) -> Result<Vec<Request>, StoreError> {
        let sql = "SELECT doc FROM request WHERE run_id = :run AND open";
        let mut found: Vec<Request> = docs(&self.conn, "request", sql, &[(":run", &run_id)])?;
        found.sort_by_key(|request| request.seq);
        Ok(found)
    }

    /// The request that a post made.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn request(&self, post_id: &str) -> Result<Option<Request>, StoreError> {
        let sql = "SELECT doc FROM request WHERE post_id = :post";
        Ok(docs(&self.conn, "request", sql, &[(":post", &post_id)])?.pop())
    }

    /// Whether a question of the run's agents waits for a human.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn guidance_open(&self, run_id: &str) -> Result<bool, StoreError> {
        let mut scene = Scene::default();
        for agent in self.agents(run_id)? {
            scene.agents.load(agent.key.clone(), agent);
        }
        for request in self.open_requests(run_id)? {
            scene.requests.load((request.thread_id.clone(), request.post_id.clone()), request);
        }
        for thread in self.blocking_threads(Some(run_id))? {
            scene.threads.load(thread.thread_id.clone(), thread);
        }
        Ok(scene.guidance_open(run_id))
    }
}

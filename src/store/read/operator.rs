//! Reading what the operator concluded: decisions, escalations, suggestions.

use rusqlite::ToSql;

use super::Reader;
use crate::domain::agent::Agent;
use crate::domain::escalation::{Escalation, EscalationState, Suggestion};
use crate::domain::scene::LastDecision;
use crate::domain::thread::Thread;
use crate::store::error::StoreError;
use crate::store::load::{HOME_ESCALATIONS, LOST_AGENTS, docs};

impl Reader {
    /// Escalations of a run, or of all of them, newest first; only those that stand where `open`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn escalations(&self, run_id: Option<&str>, open: bool) -> Result<Vec<Escalation>, StoreError> {
        let sql = list("escalation", "opened_at", "escalation_id", run_id, open.then_some("stands"));
        self.rows("escalation", &sql, run_id)
    }

    /// One escalation.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn escalation(&self, escalation_id: &str) -> Result<Option<Escalation>, StoreError> {
        let sql = "SELECT doc FROM escalation WHERE escalation_id = :id";
        Ok(docs(&self.conn, "escalation", sql, &[(":id", &escalation_id)])?.pop())
    }

    /// Suggestions of a run, or of all of them, newest first; only the open ones where `open`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn suggestions(&self, run_id: Option<&str>, open: bool) -> Result<Vec<Suggestion>, StoreError> {
        let sql = list("suggestion", "created_at", "suggestion_id", run_id, open.then_some("open"));
        self.rows("suggestion", &sql, run_id)
    }

    /// One suggestion.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn suggestion(&self, suggestion_id: &str) -> Result<Option<Suggestion>, StoreError> {
        let sql = "SELECT doc FROM suggestion WHERE suggestion_id = :id";
        Ok(docs(&self.conn, "suggestion", sql, &[(":id", &suggestion_id)])?.pop())
    }

    /// The last decision about each subject of a run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn decisions(&self, run_id: &str) -> Result<Vec<LastDecision>, StoreError> {
        let sql = "SELECT doc FROM decision WHERE run_id = :run ORDER BY target";
        docs(&self.conn, "decision", sql, &[(":run", &run_id)])
    }

    /// The threads of a run that wait for a human, the longest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn waiting_threads(&self, run_id: &str) -> Result<Vec<Thread>, StoreError> {
        // What waits is little, whatever else a run has said: hence not by the index on its threads.
        let sql = "SELECT doc FROM thread WHERE waiting_on = 'human' AND +run_id = :run ORDER BY since, thread_id";
        docs(&self.conn, "thread", sql, &[(":run", &run_id)])
    }

    /// All escalations about a subject of the home that is part of no run, settled ones too.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn home_escalations(&self, target: &str) -> Result<Vec<Escalation>, StoreError> {
        docs(&self.conn, "escalation", HOME_ESCALATIONS, &[(":target", &target)])
    }

    /// The agents whose last launch went with the tmux server, of all runs.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn lost_agents(&self) -> Result<Vec<Agent>, StoreError> {
        docs(&self.conn, "agent", LOST_AGENTS, &[])
    }

    /// Whether something about a run waits on a human: a question, an escalation nobody knows of, a suggestion.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn needs_human(&self, run_id: &str) -> Result<bool, StoreError> {
        let run = Some(run_id);
        Ok(self.guidance_open(run_id)?
            || self.escalations(run, true)?.iter().any(|escalation| escalation.state == EscalationState::Open)
            || !self.suggestions(run, true)?.is_empty())
    }

    fn rows<T: serde::de::DeserializeOwned>(
        &self,
        table: &'static str,
        sql: &str,
        run_id: Option<&str>,
    ) -> Result<Vec<T>, StoreError> {
        let mut params: Vec<(&str, &dyn ToSql)> = Vec::new();
        if let Some(run_id) = &run_id {
            params.push((":run", run_id));
        }
        docs(&self.conn, table, sql, &params)
    }
}

fn list(table: &str, time: &str, id: &str, run_id: Option<&str>, only: Option<&str>) -> String {
    let clauses: Vec<&str> = run_id.map(|_| "run_id = :run").into_iter().chain(only).collect();
    let filter = if clauses.is_empty() { String::new() } else { format!(" WHERE {}", clauses.join(" AND ")) };
    format!("SELECT doc FROM {table}{filter} ORDER BY {time} DESC, {id} DESC")
}

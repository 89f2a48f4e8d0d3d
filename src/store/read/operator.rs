//! Reading what the operator concluded: decisions, escalations, suggestions.

use rusqlite::ToSql;

use super::Reader;
use crate::domain::adviser::Adviser;
use crate::domain::agent::Agent;
use crate::domain::escalation::{Escalation, EscalationState, Suggestion};
use crate::domain::scene::LastDecision;
use crate::domain::thread::{Priority, Thread};
use crate::domain::time::Moment;
use crate::store::error::StoreError;
use crate::store::kept;
use crate::store::load::{ADVISER, DECISION, ESCALATIONS_ABOUT, LIMITED_AGENTS, LOST_AGENTS, docs};

/// One priority's threads of a run, or outside of every run, that have waited for a human since then or longer.
const OVERDUE_THREADS: &str = "SELECT doc FROM thread INDEXED BY thread_waits
     WHERE waiting_on = 'human' AND run_id IS :run AND urgency = :urgency AND since <= :until
     ORDER BY since, thread_id LIMIT :left";

/// One priority's threads whose wait lies ahead: they waited when the clock was set back, nobody knows how long.
const UNDATED_THREADS: &str = "SELECT doc FROM thread INDEXED BY thread_waits
     WHERE waiting_on = 'human' AND run_id IS :run AND urgency = :urgency AND since > :ahead
     ORDER BY since, thread_id LIMIT :left";

/// Whether any thread outside of every run waits for a human.
const WAITS_OUTSIDE: &str = "SELECT EXISTS (
     SELECT 1 FROM thread INDEXED BY thread_waits WHERE waiting_on = 'human' AND run_id IS NULL)";

/// Whether an agent of a run is down or hangs.
const ANY_ILL: &str =
    "SELECT EXISTS (SELECT 1 FROM agent INDEXED BY agent_ill WHERE run_id = :run AND ill IS NOT NULL)";

/// All suggestions about one subject.
const SUGGESTIONS_ABOUT: &str = "SELECT doc FROM suggestion INDEXED BY suggestion_target
     WHERE run_id IS :run AND target = :target";

/// Suggestions by where they stand.
const SUGGESTION_COUNTS: &str = "SELECT doc ->> '$.state' AS state, count(*) FROM suggestion GROUP BY state";

/// Later than every time there is, as text.
const LAST_TIME: &str = "~";

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

    /// The last decision about one subject of a run, or of the home outside of every run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn decision(&self, run_id: Option<&str>, target: &str) -> Result<Option<LastDecision>, StoreError> {
        let key: &[(&str, &dyn ToSql)] = &[(":run", &run_id.unwrap_or_default()), (":target", &target)];
        Ok(docs(&self.conn, "decision", DECISION, key)?.pop())
    }

    /// The last decisions about everything in a run.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn decisions(&self, run_id: &str) -> Result<Vec<LastDecision>, StoreError> {
        docs(
            &self.conn,
            "decision",
            "SELECT doc FROM decision WHERE run_id = :run ORDER BY target",
            &[(":run", &run_id)],
        )
    }

    /// All suggestions about one subject of a run, or of the home outside of every run, settled ones too, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn suggestions_about(&self, run_id: Option<&str>, target: &str) -> Result<Vec<Suggestion>, StoreError> {
        let params: &[(&str, &dyn ToSql)] = &[(":run", &run_id), (":target", &target)];
        let mut found: Vec<Suggestion> = docs(&self.conn, "suggestion", SUGGESTIONS_ABOUT, params)?;
        found.sort_by_key(|suggestion| suggestion.created_at);
        Ok(found)
    }

    /// How many suggestions there have been, by where they stand.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn suggestion_counts(&self) -> Result<Vec<(String, u32)>, StoreError> {
        self.with(|conn| {
            let mut select = conn.prepare_cached(SUGGESTION_COUNTS)?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// What is kept of the adviser about a run, or of its program under [`crate::domain::adviser::PROGRAM`].
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn adviser(&self, run_id: &str) -> Result<Option<Adviser>, StoreError> {
        Ok(docs(&self.conn, "adviser", ADVISER, &[(":run", &run_id)])?.pop())
    }

    /// Whether an agent of a run is dead, failed or stalled.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn any_ill(&self, run_id: &str) -> Result<bool, StoreError> {
        self.with(|conn| conn.prepare_cached(ANY_ILL)?.query_row(&[(":run", &run_id)], |row| row.get(0)))
    }

    /// The threads of a run, or those outside of every run, that call for a human by their waiting: those that press,
    /// and the others where they have waited since `overdue` or longer, or since a moment that is later than `ahead`. Most
    /// pressing, then longest waiting first, and never more than `most`: what it costs does not hang on how many threads
    /// there are.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn overdue_threads(
        &self,
        run_id: Option<&str>,
        (overdue, ahead): (Moment, Moment),
        most: usize,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut found = Vec::new();
        for priority in Priority::ALL.into_iter().rev() {
            let until = if priority.presses() { LAST_TIME.to_owned() } else { overdue.to_string() };
            let left = i64::try_from(most - found.len()).unwrap_or(i64::MAX);
            let params: &[(&str, &dyn ToSql)] =
                &[(":run", &run_id), (":urgency", &kept::urgency(priority)), (":until", &until), (":left", &left)];
            found.extend(docs::<Thread>(&self.conn, "thread", OVERDUE_THREADS, params)?);
            if !priority.presses() && found.len() < most {
                let left = i64::try_from(most - found.len()).unwrap_or(i64::MAX);
                let (urgency, ahead) = (kept::urgency(priority), ahead.to_string());
                let params: &[(&str, &dyn ToSql)] =
                    &[(":run", &run_id), (":urgency", &urgency), (":ahead", &ahead), (":left", &left)];
                found.extend(docs::<Thread>(&self.conn, "thread", UNDATED_THREADS, params)?);
            }
        }
        Ok(found)
    }

    /// Whether a thread outside of every run waits for a human.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn waits_outside(&self) -> Result<bool, StoreError> {
        self.with(|conn| conn.prepare_cached(WAITS_OUTSIDE)?.query_row([], |row| row.get(0)))
    }

    /// All escalations about one subject of a run, or of the home outside of every run, settled ones too.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn escalations_about(&self, run_id: Option<&str>, target: &str) -> Result<Vec<Escalation>, StoreError> {
        docs(&self.conn, "escalation", ESCALATIONS_ABOUT, &[(":run", &run_id), (":target", &target)])
    }

    /// The agents whose last launch went with the tmux server, of all runs.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn lost_agents(&self) -> Result<Vec<Agent>, StoreError> {
        docs(&self.conn, "agent", LOST_AGENTS, &[])
    }

    /// The agents that wait for a limit of their runner to pass, of all runs, by runner.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn limited_agents(&self) -> Result<Vec<Agent>, StoreError> {
        let mut agents: Vec<Agent> = docs(&self.conn, "agent", LIMITED_AGENTS, &[])?;
        agents.retain(Agent::is_limited);
        Ok(agents)
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
    // What stands is little; by itself SQLite would walk all there ever was for the sake of the order.
    let index = match (run_id, only) {
        (None, Some(_)) => format!(" INDEXED BY {table}_standing"),
        (Some(_), _) | (None, None) => String::new(),
    };
    format!("SELECT doc FROM {table}{index}{filter} ORDER BY {time} DESC, {id} DESC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::open_writer;

    /// What is asked at every look of the rules costs the same however many threads and calls there have been.
    #[test]
    fn the_operator_looks_things_up_by_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open_writer(&dir.path().join("db")).unwrap();
        let standing = list("escalation", "opened_at", "escalation_id", None, Some("stands"));
        let open = list("suggestion", "created_at", "suggestion_id", None, Some("open"));
        for (sql, index) in [
            (OVERDUE_THREADS, "thread_waits (run_id=? AND urgency=? AND since<?)"),
            (UNDATED_THREADS, "thread_waits (run_id=? AND urgency=? AND since>?)"),
            (WAITS_OUTSIDE, "thread_waits (run_id=?)"),
            (DECISION, "PRIMARY KEY (run_id=? AND target=?)"),
            (ESCALATIONS_ABOUT, "escalation_target (run_id=? AND target=?)"),
            (SUGGESTIONS_ABOUT, "suggestion_target (run_id=? AND target=?)"),
            (LIMITED_AGENTS, "agent_limited"),
            (ANY_ILL, "agent_ill (run_id=?)"),
            (ADVISER, "PRIMARY KEY (run_id=?)"),
            (&standing, "escalation_standing"),
            (&open, "suggestion_standing"),
        ] {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = explain.raw_query();
            let mut plan = String::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push_str(&format!("{} / ", row.get::<_, String>("detail").unwrap()));
            }
            assert!(plan.contains(index), "{sql}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}

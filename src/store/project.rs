//! Writes what the fold touched: one row of a table for each row of the scene.

use rusqlite::{Connection, ToSql, named_params};
use serde::Serialize;

use super::error::StoreError;
use super::outbox;
use crate::domain::scene::Scene;

/// Where projections are written: the live tables, or those a rebuild makes beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The live tables.
    Live,
    /// The tables of a rebuild.
    Rebuilt,
}

impl Target {
    /// SQLite's name of the database they are in.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Live => "main",
            Self::Rebuilt => "rebuilt",
        }
    }
}

/// Writes every row touched since the last call.
pub fn save(conn: &Connection, target: Target, scene: &mut Scene) -> Result<(), StoreError> {
    save_rows(conn, target.schema(), scene).map_err(StoreError::Sqlite)
}

fn save_rows(conn: &Connection, schema: &str, scene: &mut Scene) -> rusqlite::Result<()> {
    let put =
        |table: &str, keys: &[(&str, &dyn ToSql)], value: (&str, &dyn ToSql)| upsert(conn, schema, table, keys, value);
    for (run_id, run) in scene.runs.take_touched() {
        put("run", &[("run_id", run_id)], ("doc", &json(run)))?;
        for ticket in &run.spec.tickets {
            conn.prepare_cached(&format!(
                "INSERT OR IGNORE INTO {schema}.run_ticket (ticket, run_id) VALUES (?1, ?2)"
            ))?
            .execute([ticket, run_id])?;
        }
    }
    for (run_id, policy) in scene.policies.take_touched() {
        put("run_policy", &[("run_id", run_id)], ("doc", &json(policy)))?;
    }
    for ((run_id, index), step) in scene.steps.take_touched() {
        put("step", &[("run_id", run_id), ("step_index", index)], ("doc", &json(step)))?;
    }
    for (key, agent) in scene.agents.take_touched() {
        let keys: [(&str, &dyn ToSql); 3] =
            [("run_id", &key.run_id), ("workspace", &key.workspace), ("name", &key.name)];
        put("agent", &keys, ("doc", &json(agent)))?;
    }
    for ((run_id, name), workspace) in scene.workspaces.take_touched() {
        put("workspace", &[("run_id", run_id), ("name", name)], ("doc", &json(workspace)))?;
    }
    for ((run_id, workspace, ticket), seeding) in scene.seedings.take_touched() {
        put("seeding", &[("run_id", run_id), ("workspace", workspace), ("ticket", ticket)], ("doc", &json(seeding)))?;
    }
    for ((run_id, workspace, repo, path), blob) in scene.own_files.take_touched() {
        let keys: [(&str, &dyn ToSql); 4] =
            [("run_id", run_id), ("workspace", workspace), ("repo", repo), ("path", path)];
        put("own_file", &keys, ("blob", blob))?;
    }
    for ((run_id, workspace, repo, sha), message) in scene.own_commits.take_touched() {
        let keys: [(&str, &dyn ToSql); 4] =
            [("run_id", run_id), ("workspace", workspace), ("repo", repo), ("sha", sha)];
        put("own_commit", &keys, ("message", message))?;
    }
    for ((run_id, workspace, repo), merged) in scene.merges.take_touched() {
        put("merged", &[("run_id", run_id), ("workspace", workspace), ("repo", repo)], ("doc", &json(merged)))?;
    }
    for (thread_id, thread) in scene.threads.take_touched() {
        put("thread", &[("thread_id", thread_id)], ("doc", &json(thread)))?;
    }
    for ((_, post_id), request) in scene.requests.take_touched() {
        put("request", &[("post_id", post_id)], ("doc", &json(request)))?;
    }
    for ((thread_id, viewer), seq) in scene.seen.take_touched() {
        put("seen", &[("thread_id", thread_id), ("viewer", viewer)], ("seq", seq))?;
    }
    for ((run_id, target), last) in scene.decisions.take_touched() {
        put("decision", &[("run_id", run_id), ("target", target)], ("doc", &json(last)))?;
    }
    for (id, escalation) in scene.escalations.take_touched() {
        put("escalation", &[("escalation_id", id)], ("doc", &json(escalation)))?;
    }
    for (id, suggestion) in scene.suggestions.take_touched() {
        put("suggestion", &[("suggestion_id", id)], ("doc", &json(suggestion)))?;
    }
    for (_, letter) in scene.letters.take_touched() {
        outbox::save(conn, letter)?;
    }
    save_posts(conn, schema, scene)
}

fn save_posts(conn: &Connection, schema: &str, scene: &mut Scene) -> rusqlite::Result<()> {
    for post in scene.posts.drain(..) {
        let mut insert = conn.prepare_cached(&format!(
            "INSERT INTO {schema}.post (post_id, thread_id, seq, author_type, author_name, body, created_at, signal, in_reply_to)
             VALUES (:post_id, :thread_id, :seq, :author_type, :author_name, :body, :created_at, :signal, :in_reply_to)"
        ))?;
        insert.execute(named_params! {
            ":post_id": post.post_id,
            ":thread_id": post.thread_id,
            ":seq": post.seq,
            ":author_type": post.author_type.word(),
            ":author_name": post.author_name,
            ":body": post.body,
            ":created_at": post.created_at.millis(),
            ":signal": post.signal.as_ref().map(json),
            ":in_reply_to": post.in_reply_to,
        })?;
    }
    Ok(())
}

fn upsert(
    conn: &Connection,
    schema: &str,
    table: &str,
    keys: &[(&str, &dyn ToSql)],
    (column, value): (&str, &dyn ToSql),
) -> rusqlite::Result<()> {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let marks = vec!["?"; keys.len() + 1].join(", ");
    let sql = format!(
        "INSERT INTO {schema}.{table} ({names}, {column}) VALUES ({marks})
         ON CONFLICT ({names}) DO UPDATE SET {column} = excluded.{column}"
    );
    let values: Vec<&dyn ToSql> = keys.iter().map(|(_, value)| *value).chain([value]).collect();
    conn.prepare_cached(&sql)?.execute(values.as_slice())?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> String {
    // Our own rows hold only strings as keys and no floats that JSON could refuse.
    serde_json::to_string(value).unwrap_or_default()
}

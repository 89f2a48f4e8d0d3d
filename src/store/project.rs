//! Writes what the fold touched: one row of a table for each row of the scene.

use rusqlite::{Connection, Statement, ToSql, params};
use serde::Serialize;

use super::error::StoreError;
use super::kept::{self, Standing};
use super::{outbox, search};
use crate::domain::actor::Side;
use crate::domain::scene::Scene;
use crate::domain::thread::{Post, Thread};

/// Where projections are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The live tables, with what is kept beside them: counts, stretches, the search index.
    Live,
    /// The tables that `verify` makes in a database of its own.
    Apart,
    /// The tables that a rebuild makes beside the live ones.
    Fresh,
}

impl Target {
    /// What stands before the names of the tables.
    pub const fn at(self) -> &'static str {
        match self {
            Self::Live => "main.",
            Self::Apart => "apart.",
            Self::Fresh => "main.fresh_",
        }
    }
}

/// Writes every row touched since the last call.
pub fn save(conn: &Connection, target: Target, scene: &mut Scene) -> Result<(), StoreError> {
    save_rows(conn, target.at(), scene).and_then(|()| save_forum(conn, target, scene)).map_err(StoreError::Sqlite)
}

fn save_rows(conn: &Connection, at: &str, scene: &mut Scene) -> rusqlite::Result<()> {
    let put =
        |table: &str, keys: &[(&str, &dyn ToSql)], value: (&str, &dyn ToSql)| upsert(conn, at, table, keys, value);
    for (run_id, run) in scene.runs.take_touched() {
        put("run", &[("run_id", run_id)], ("doc", &json(run)))?;
        for ticket in &run.spec.tickets {
            conn.prepare_cached(&format!("INSERT OR IGNORE INTO {at}run_ticket (ticket, run_id) VALUES (?1, ?2)"))?
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
    for ((run_id, workspace, repo), request) in scene.pull_requests.take_touched() {
        let keys: [(&str, &dyn ToSql); 3] = [("run_id", run_id), ("workspace", workspace), ("repo", repo)];
        put("pull_request", &keys, ("doc", &json(request)))?;
    }
    for ((run_id, workspace, repo, id), feedback) in scene.feedback.take_touched() {
        let keys: [(&str, &dyn ToSql); 4] =
            [("run_id", run_id), ("workspace", workspace), ("repo", repo), ("feedback_id", id)];
        put("review_feedback", &keys, ("doc", &json(feedback)))?;
    }
    for ((_, post_id), request) in scene.requests.take_touched() {
        put("request", &[("post_id", post_id)], ("doc", &json(request)))?;
    }
    for (id, delivery) in scene.deliveries.take_touched() {
        put("delivery", &[("delivery_id", id)], ("doc", &json(delivery)))?;
    }
    for ((run_id, target), last) in scene.decisions.take_touched() {
        put("decision", &[("run_id", run_id), ("target", target)], ("doc", &json(last)))?;
    }
    for (run_id, adviser) in scene.advisers.take_touched() {
        put("adviser", &[("run_id", run_id)], ("doc", &json(adviser)))?;
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
    Ok(())
}

/// Posts first: what is kept of threads and marks is judged by them.
///
/// A rebuild writes a million rows here: each statement is prepared once, and its values are bound by place.
fn save_forum(conn: &Connection, target: Target, scene: &mut Scene) -> rusqlite::Result<()> {
    let at = target.at();
    let posts: Vec<Post> = scene.posts.drain(..).collect();
    save_posts(conn, at, &posts)?;
    let live = target == Target::Live;
    if live {
        kept::posted(conn, &posts)?;
    }
    let mut threads: Vec<&Thread> = scene.threads.take_touched().into_iter().map(|(_, thread)| thread).collect();
    // Each comes to the end of the order in its turn.
    threads.sort_by_key(|thread| thread.last_event_sequence);
    let mut save = conn.prepare_cached(&thread_upsert(at))?;
    for thread in threads {
        let before = if live { Standing::read(conn, &thread.thread_id)? } else { None };
        save_thread(&mut save, thread)?;
        if live {
            let written: Vec<&Post> = posts.iter().filter(|post| post.thread_id == thread.thread_id).collect();
            kept::moved(conn, before.as_ref(), &Standing::of(thread), &written)?;
            search::index(conn, thread, &written)?;
        }
    }
    let mut save = conn.prepare_cached(&format!(
        "INSERT INTO {at}seen (thread_id, viewer, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (thread_id, viewer) DO UPDATE SET seq = excluded.seq"
    ))?;
    for ((thread_id, viewer), seq) in scene.seen.take_touched() {
        save.execute(params![thread_id, viewer, seq])?;
        if live {
            kept::marked(conn, thread_id, viewer)?;
        }
    }
    Ok(())
}

fn thread_upsert(at: &str) -> String {
    format!(
        "INSERT INTO {at}thread (thread_id, doc, run_id, ticket, workspace, agent_name, state, urgency, waiting_on,
                                 since, blocking, control, assignee, last_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (thread_id) DO UPDATE SET
             doc = excluded.doc, run_id = excluded.run_id, ticket = excluded.ticket, workspace = excluded.workspace,
             agent_name = excluded.agent_name, state = excluded.state, urgency = excluded.urgency,
             waiting_on = excluded.waiting_on, since = excluded.since, blocking = excluded.blocking,
             control = excluded.control, assignee = excluded.assignee, last_seq = excluded.last_seq"
    )
}

fn save_thread(upsert: &mut Statement<'_>, thread: &Thread) -> rusqlite::Result<()> {
    upsert.execute(params![
        thread.thread_id,
        json(thread),
        thread.run_id,
        thread.ticket,
        thread.workspace,
        thread.agent_name,
        thread.state.word(),
        kept::urgency(thread.priority),
        thread.waiting_on.map(Side::word),
        thread.waiting_since.unwrap_or(thread.opened_at).to_string(),
        thread.blocking,
        thread.control,
        kept::assignee(thread),
        thread.last_event_sequence,
    ])?;
    Ok(())
}

fn save_posts(conn: &Connection, at: &str, posts: &[Post]) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(&format!(
        "INSERT INTO {at}post (seq, post_id, thread_id, author_type, author_name, created_at, signal, in_reply_to, body,
                               writer_type, writer_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    for post in posts {
        insert.execute(params![
            post.seq,
            post.post_id,
            post.thread_id,
            post.author_type.word(),
            post.author_name,
            post.created_at.millis(),
            post.signal.as_ref().map(json),
            post.in_reply_to,
            post.body,
            post.writer.as_ref().map(|writer| writer.kind.word()),
            post.writer.as_ref().map(|writer| &writer.name),
        ])?;
    }
    Ok(())
}

fn upsert(
    conn: &Connection,
    at: &str,
    table: &str,
    keys: &[(&str, &dyn ToSql)],
    (column, value): (&str, &dyn ToSql),
) -> rusqlite::Result<()> {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let marks = vec!["?"; keys.len() + 1].join(", ");
    let sql = format!(
        "INSERT INTO {at}{table} ({names}, {column}) VALUES ({marks})
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

//! Loads the slice of the scene that a command needs.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, Row, ToSql};
use serde::de::DeserializeOwned;

use super::error::{StoreError, named};
use super::outbox;
use crate::domain::adviser::{ADVISER_TARGET, Adviser, PROGRAM};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::{AdviserWish, Command, DeliveryWish, RunWish, ThreadWish};
use crate::domain::delivery::Delivery;
use crate::domain::escalation::{Escalation, Kind, LEASE_TARGET, REVIEWS_TARGET, Suggestion, TMUX_TARGET};
use crate::domain::feedback::Feedback;
use crate::domain::operator::question_target;
use crate::domain::outbox::dead_letter_about;
use crate::domain::plan::Step;
use crate::domain::pull_request::PullRequest;
use crate::domain::run::Run;
use crate::domain::scene::{LastDecision, Merged, Scene, Workspace};
use crate::domain::signal::Signal;
use crate::domain::thread::{Request, Thread, fingerprint};

/// Agents whose last launch went with the tmux server.
pub const LOST_AGENTS: &str = "SELECT doc FROM agent WHERE server_lost IS NOT NULL ORDER BY run_id, workspace, name";

/// Agents whose screens show a limit; of those that ended since, their rows tell.
pub const LIMITED_AGENTS: &str =
    "SELECT doc FROM agent WHERE limited IS NOT NULL ORDER BY limited, run_id, workspace, name";

/// Escalations about one subject of a run, or of the home outside of every run, settled ones too.
pub const ESCALATIONS_ABOUT: &str = "SELECT doc FROM escalation WHERE run_id IS :run AND target = :target";

/// The last decision about one subject; those outside of every run stand under an empty name.
pub const DECISION: &str = "SELECT doc FROM decision WHERE run_id = :run AND target = :target";

/// What is kept of the adviser about one run, or of its program under no name.
pub const ADVISER: &str = "SELECT doc FROM adviser WHERE run_id = :run";

/// The pull requests of a run.
pub const PULL_REQUESTS: &str = "SELECT doc FROM pull_request WHERE run_id = :run ORDER BY workspace, repo";
pub const FEEDBACK: &str = "SELECT doc FROM review_feedback WHERE run_id = :run ORDER BY workspace, repo, feedback_id";

/// Reads the `doc` column of the rows that `sql` selects.
pub fn docs<T: DeserializeOwned>(
    conn: &Connection,
    table: &'static str,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
) -> Result<Vec<T>, StoreError> {
    let fail = |error| named(Path::new(conn.path().unwrap_or_default()), error);
    let mut select = conn.prepare_cached(sql).map_err(fail)?;
    let mut rows = select.query(params).map_err(fail)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fail)? {
        found.push(doc(table, row).map_err(|error| match error {
            StoreError::Sqlite(error) => fail(error),
            other => other,
        })?);
    }
    Ok(found)
}

/// Reads the first column of a row, which is its `doc`.
pub fn doc<T: DeserializeOwned>(table: &'static str, row: &Row<'_>) -> Result<T, StoreError> {
    let text = row.get_ref(0).and_then(|value| Ok(value.as_str()?)).map_err(StoreError::Sqlite)?;
    serde_json::from_str(text).map_err(|error| StoreError::BadRow { table, reason: error.to_string() })
}

/// The scene of a command, with the agent in whose session it is given.
pub fn scene(conn: &Connection, command: &Command, identity: Option<&AgentKey>) -> Result<Scene, StoreError> {
    let mut scene = Scene::default();
    if let Some(key) = identity {
        // It may belong to another run than the one it acts on, and what it may do stands in its row.
        let sql = "SELECT doc FROM agent WHERE run_id = :run AND workspace = :workspace AND name = :name";
        let params: &[(&str, &dyn ToSql)] =
            &[(":run", &key.run_id), (":workspace", &key.workspace), (":name", &key.name)];
        for row in docs::<Agent>(conn, "agent", sql, params)? {
            scene.agents.load(row.key.clone(), row);
        }
    }
    match command {
        Command::Run { run_id, wish } => {
            run(conn, &mut scene, run_id)?;
            if let RunWish::Merged { workspace, repo, .. } = wish {
                merge(conn, &mut scene, run_id, workspace, repo)?;
            }
            // What is pushed addresses what reviewers said.
            if matches!(wish, RunWish::Iterate(_) | RunWish::ReviewSynced(_) | RunWish::PullRequest { .. }) {
                for row in docs::<Feedback>(conn, "review_feedback", FEEDBACK, &[(":run", run_id)])? {
                    let key = (row.run_id.clone(), row.workspace.clone(), row.repo.clone(), row.feedback_id.clone());
                    scene.feedback.load(key, row);
                }
            }
            if matches!(wish, RunWish::ReviewsUnheard { .. }) {
                about(conn, &mut scene, Some(run_id), REVIEWS_TARGET)?;
            }
            let request = match wish {
                RunWish::PullRequest { workspace, request, .. } => Some((workspace, &request.repo)),
                RunWish::ReviewSynced(seen) => Some((&seen.workspace, &seen.repo)),
                _ => None,
            };
            if let Some((workspace, repo)) = request {
                let key = (run_id.clone(), workspace.clone(), repo.clone());
                for row in docs::<PullRequest>(conn, "pull_request", PULL_REQUESTS, &[(":run", run_id)])? {
                    if (&row.workspace, &row.repo) == (&key.1, &key.2) {
                        scene.pull_requests.load(key.clone(), row);
                    }
                }
            }
        }
        Command::Agent { key, .. } => run(conn, &mut scene, &key.run_id)?,
        Command::Thread { thread_id, run_id, wish } => {
            thread(conn, &mut scene, thread_id)?;
            let known = scene.threads.get(thread_id).and_then(|thread| thread.run_id.clone());
            // What the wish itself names is checked against its run, whatever thread stands under that id.
            let opens = matches!(wish, ThreadWish::Ask { .. } | ThreadWish::Signal { .. });
            let named = run_of(wish).or_else(|| run_id.clone());
            let run_id = if opens { named.or(known) } else { known.or(named) };
            match run_id.filter(|_| !matches!(wish, ThreadWish::Seen { .. })) {
                Some(run_id) => run(conn, &mut scene, &run_id)?,
                // A call to it ends with its waiting.
                None => about(conn, &mut scene, None, &question_target(thread_id, None))?,
            }
            match wish {
                ThreadWish::Seen { viewer, .. } => seen(conn, &mut scene, thread_id, viewer)?,
                ThreadWish::Ask { agent: Some(key), title, body, .. } => asked(conn, &mut scene, key, title, body)?,
                ThreadWish::Signal { signal, .. } if signal.asks().is_some() => requested(conn, &mut scene, thread_id)?,
                _ => {}
            }
        }
        Command::Operator { conclusion, .. } => {
            let run_id = conclusion.about.run_id.as_deref();
            if let Some(run_id) = run_id {
                run(conn, &mut scene, run_id)?;
            }
            said_before(conn, &mut scene, run_id, &conclusion.decision.target)?;
            if let Some(thread_id) = conclusion.about.thread_id.as_ref() {
                missing_thread(conn, &mut scene, thread_id)?;
            }
        }
        Command::Adviser { run_id, wish, .. } => {
            run(conn, &mut scene, run_id)?;
            adviser(conn, &mut scene, run_id)?;
            adviser(conn, &mut scene, PROGRAM)?;
            about(conn, &mut scene, None, ADVISER_TARGET)?;
            if let AdviserWish::Told(told) = wish
                && let Ok(advice) = &told.advice
            {
                said_before(conn, &mut scene, Some(run_id), &advice.target)?;
            }
        }
        Command::Escalation { escalation_id, .. } => {
            let sql = "SELECT doc FROM escalation WHERE escalation_id = :id";
            escalations(conn, &mut scene, sql, &[(":id", escalation_id)])?;
            let of = scene.escalations.get(escalation_id).and_then(|escalation| escalation.run_id.clone());
            if let Some(run_id) = of {
                run(conn, &mut scene, &run_id)?;
            }
        }
        Command::Busy { run_id, .. } => {
            run(conn, &mut scene, run_id)?;
            about(conn, &mut scene, Some(run_id), LEASE_TARGET)?;
        }
        Command::Suggestion { suggestion_id, .. } => {
            let sql = "SELECT doc FROM suggestion WHERE suggestion_id = :id";
            suggestions(conn, &mut scene, sql, &[(":id", suggestion_id)])?;
            let of = scene.suggestions.get(suggestion_id).and_then(|suggestion| suggestion.run_id.clone());
            if let Some(run_id) = of {
                run(conn, &mut scene, &run_id)?;
            }
        }
        Command::Tmux { .. } => {
            about(conn, &mut scene, None, TMUX_TARGET)?;
            // Whole runs: what follows from a change is judged by everything in them.
            let lost: Vec<Agent> = docs(conn, "agent", LOST_AGENTS, &[])?;
            let runs: BTreeSet<String> = lost.into_iter().map(|agent| agent.key.run_id).collect();
            for run_id in &runs {
                run(conn, &mut scene, run_id)?;
            }
        }
        Command::Outbox { id, .. } => {
            let Some(letter) = outbox::letter(conn, *id).map_err(StoreError::Sqlite)? else { return Ok(scene) };
            let of = letter.subject().run_id;
            let (target, subject) = dead_letter_about(&letter);
            scene.letters.load(*id, letter);
            about(conn, &mut scene, subject.run_id.as_deref(), &target)?;
            if let Some(run_id) = &of {
                run(conn, &mut scene, run_id)?;
            }
        }
        Command::Delivery { delivery_id, wish, .. } => {
            deliveries(conn, &mut scene, "SELECT doc FROM delivery WHERE delivery_id = :id", &[(":id", delivery_id)])?;
            let of = match wish {
                DeliveryWish::Queue { key, .. } => Some(key.run_id.clone()),
                _ => scene.deliveries.get(delivery_id).map(|delivery| delivery.key.run_id.clone()),
            };
            if let Some(run_id) = of {
                run(conn, &mut scene, &run_id)?;
            }
        }
        Command::PolicyChanged { .. } | Command::Lease { .. } => {}
    }
    called_threads(conn, &mut scene)?;
    if scene.escalations.iter().any(|call| call.stands() && call.target == ADVISER_TARGET) {
        // Whether its program works again is the only thing that ends such a call.
        adviser(conn, &mut scene, PROGRAM)?;
    }
    limited_agents(conn, &mut scene, command)?;
    Ok(scene)
}

/// Who waits for a limit: a call to it ends only with the last of them.
fn limited_agents(conn: &Connection, scene: &mut Scene, command: &Command) -> Result<(), StoreError> {
    let called = scene.escalations.iter().any(|call| call.stands() && call.kind == Kind::Limit);
    let calls = matches!(command, Command::Operator { conclusion, .. }
        if conclusion.call.is_some_and(|(kind, _)| kind == Kind::Limit));
    if called || calls {
        for row in docs::<Agent>(conn, "agent", LIMITED_AGENTS, &[])? {
            if scene.agents.get(&row.key).is_none() {
                scene.agents.load(row.key.clone(), row);
            }
        }
    }
    Ok(())
}

/// The threads that humans are called to: a call ends when its thread waits no longer, which only the thread can tell.
fn called_threads(conn: &Connection, scene: &mut Scene) -> Result<(), StoreError> {
    let called = |escalation: &&Escalation| escalation.stands() && escalation.kind.calls_to_thread();
    let ids: BTreeSet<String> =
        scene.escalations.iter().filter(called).filter_map(|escalation| escalation.thread_id.clone()).collect();
    ids.iter().try_for_each(|thread_id| missing_thread(conn, scene, thread_id))
}

fn run_of(wish: &ThreadWish) -> Option<String> {
    match wish {
        ThreadWish::Ask { agent, .. } => agent.as_ref().map(|key| key.run_id.clone()),
        ThreadWish::Signal { signal, .. } => Some(signal.run_id.clone()),
        ThreadWish::Post { .. }
        | ThreadWish::Answer { .. }
        | ThreadWish::Assign { .. }
        | ThreadWish::State { .. }
        | ThreadWish::Priority { .. }
        | ThreadWish::Close
        | ThreadWish::Reopen
        | ThreadWish::Seen { .. } => None,
    }
}

fn run(conn: &Connection, scene: &mut Scene, run_id: &str) -> Result<(), StoreError> {
    let id: &[(&str, &dyn ToSql)] = &[(":run", &run_id)];
    for row in docs::<Run>(conn, "run", "SELECT doc FROM run WHERE run_id = :run", id)? {
        scene.runs.load(row.id().to_owned(), row);
    }
    for row in docs::<Step>(conn, "step", "SELECT doc FROM step WHERE run_id = :run", id)? {
        scene.steps.load((row.run_id.clone(), row.spec.index), row);
    }
    for row in docs::<Agent>(conn, "agent", "SELECT doc FROM agent WHERE run_id = :run", id)? {
        scene.agents.load(row.key.clone(), row);
    }
    for row in docs::<Workspace>(conn, "workspace", "SELECT doc FROM workspace WHERE run_id = :run", id)? {
        scene.workspaces.load((row.run_id.clone(), row.name.clone()), row);
    }
    for row in docs::<Request>(conn, "request", "SELECT doc FROM request WHERE run_id = :run AND open", id)? {
        scene.requests.load((row.thread_id.clone(), row.post_id.clone()), row);
    }
    let blocking = "SELECT doc FROM thread WHERE run_id = :run AND blocking = 1";
    for row in docs::<Thread>(conn, "thread", blocking, id)? {
        scene.threads.load(row.thread_id.clone(), row);
    }
    deliveries(conn, scene, "SELECT doc FROM delivery WHERE run_id = :run AND open", id)?;
    // What stands about the run ends with its cause, whatever command takes that away.
    escalations(conn, scene, "SELECT doc FROM escalation WHERE run_id = :run AND stands", id)?;
    suggestions(conn, scene, "SELECT doc FROM suggestion WHERE run_id = :run AND open", id)?;
    // A new epoch settles requests, and with them what their control threads wait for.
    let waiting: BTreeSet<String> = scene.requests.iter().map(|request| request.thread_id.clone()).collect();
    for thread_id in &waiting {
        missing_thread(conn, scene, thread_id)?;
    }
    Ok(())
}

fn missing_thread(conn: &Connection, scene: &mut Scene, thread_id: &str) -> Result<(), StoreError> {
    if scene.threads.get(thread_id).is_none() {
        thread(conn, scene, thread_id)?;
    }
    Ok(())
}

fn adviser(conn: &Connection, scene: &mut Scene, run_id: &str) -> Result<(), StoreError> {
    for row in docs::<Adviser>(conn, "adviser", ADVISER, &[(":run", &run_id)])? {
        scene.advisers.load(run_id.to_owned(), row);
    }
    Ok(())
}

/// What was decided, called and offered before about one subject.
fn said_before(conn: &Connection, scene: &mut Scene, run_id: Option<&str>, target: &str) -> Result<(), StoreError> {
    let of = run_id.unwrap_or_default();
    let key: &[(&str, &dyn ToSql)] = &[(":run", &of), (":target", &target)];
    for row in docs::<LastDecision>(conn, "decision", DECISION, key)? {
        scene.decisions.load((of.to_owned(), target.to_owned()), row);
    }
    about(conn, scene, run_id, target)?;
    suggestions(conn, scene, "SELECT doc FROM suggestion WHERE run_id = :run AND target = :target", key)
}

/// What a human was called to about one subject.
fn about(conn: &Connection, scene: &mut Scene, run_id: Option<&str>, target: &str) -> Result<(), StoreError> {
    escalations(conn, scene, ESCALATIONS_ABOUT, &[(":run", &run_id), (":target", &target)])
}

fn escalations(
    conn: &Connection,
    scene: &mut Scene,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
) -> Result<(), StoreError> {
    for row in docs::<Escalation>(conn, "escalation", sql, params)? {
        scene.escalations.load(row.escalation_id.clone(), row);
    }
    Ok(())
}

fn deliveries(
    conn: &Connection,
    scene: &mut Scene,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
) -> Result<(), StoreError> {
    for row in docs::<Delivery>(conn, "delivery", sql, params)? {
        scene.deliveries.load(row.delivery_id.clone(), row);
    }
    Ok(())
}

fn suggestions(
    conn: &Connection,
    scene: &mut Scene,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
) -> Result<(), StoreError> {
    for row in docs::<Suggestion>(conn, "suggestion", sql, params)? {
        scene.suggestions.load(row.suggestion_id.clone(), row);
    }
    Ok(())
}

fn thread(conn: &Connection, scene: &mut Scene, thread_id: &str) -> Result<(), StoreError> {
    let id: &[(&str, &dyn ToSql)] = &[(":thread", &thread_id)];
    for row in docs::<Thread>(conn, "thread", "SELECT doc FROM thread WHERE thread_id = :thread", id)? {
        scene.threads.load(row.thread_id.clone(), row);
    }
    for row in docs::<Request>(conn, "request", "SELECT doc FROM request WHERE thread_id = :thread", id)? {
        scene.requests.load((row.thread_id.clone(), row.post_id.clone()), row);
    }
    Ok(())
}

/// The threads in which the agent asks just this and waits.
fn asked(conn: &Connection, scene: &mut Scene, key: &AgentKey, title: &str, body: &str) -> Result<(), StoreError> {
    let sql = "SELECT doc FROM thread INDEXED BY thread_own
               WHERE run_id = :run AND workspace = :workspace AND agent_name = :name AND waiting_on = 'human'
                 AND NOT control AND doc ->> '$.title' = :title
                 AND (SELECT body FROM post WHERE post.thread_id = thread.thread_id ORDER BY seq LIMIT 1) = :body";
    let params: &[(&str, &dyn ToSql)] = &[
        (":run", &key.run_id),
        (":workspace", &key.workspace),
        (":name", &key.name),
        (":title", &title),
        (":body", &body),
    ];
    for row in docs::<Thread>(conn, "thread", sql, params)? {
        scene.asked.load(row.thread_id.clone(), fingerprint(title, body));
        scene.threads.load(row.thread_id.clone(), row);
    }
    Ok(())
}

/// What the open requests of a control thread ask.
fn requested(conn: &Connection, scene: &mut Scene, thread_id: &str) -> Result<(), StoreError> {
    let open: Vec<(String, i64)> =
        scene.open_requests(thread_id).into_iter().map(|request| (request.post_id.clone(), request.seq)).collect();
    for (post_id, seq) in open {
        for signal in docs::<Signal>(conn, "post", "SELECT signal FROM post WHERE seq = :seq", &[(":seq", &seq)])? {
            signal.asks().into_iter().for_each(|asks| scene.asked.load(post_id.clone(), asks));
        }
    }
    Ok(())
}

fn seen(conn: &Connection, scene: &mut Scene, thread_id: &str, viewer: &str) -> Result<(), StoreError> {
    let mut select = conn
        .prepare_cached("SELECT seq FROM seen WHERE thread_id = :thread AND viewer = :viewer")
        .map_err(StoreError::Sqlite)?;
    let mut rows = select.query(&[(":thread", thread_id), (":viewer", viewer)]).map_err(StoreError::Sqlite)?;
    if let Some(row) = rows.next().map_err(StoreError::Sqlite)? {
        let seq = row.get(0).map_err(StoreError::Sqlite)?;
        scene.seen.load((thread_id.to_owned(), viewer.to_owned()), seq);
    }
    Ok(())
}

fn merge(conn: &Connection, scene: &mut Scene, run_id: &str, workspace: &str, repo: &str) -> Result<(), StoreError> {
    let sql = "SELECT doc FROM merged WHERE run_id = :run AND workspace = :workspace AND repo = :repo";
    let key: &[(&str, &dyn ToSql)] = &[(":run", &run_id), (":workspace", &workspace), (":repo", &repo)];
    for row in docs::<Merged>(conn, "merged", sql, key)? {
        scene.merges.load((run_id.to_owned(), workspace.to_owned(), repo.to_owned()), row);
    }
    Ok(())
}

//! Commands on a run's life: resume, pause, stop, restart, close, merge, cleanup.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{CleanupArgs, CloseArgs, MergeArgs, RestartArgs, ResumeArgs, SelectorAll, StopArgs};
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::{carry_out, changed, start_agents};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::command::{AgentWish, RunWish};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::services::engine::{Engine, PATIENCE};
use crate::services::error::EngineError;
use crate::services::{cleanup as removal, closing, gates, merging, own_work, stopping};
use crate::store::Reader;

fn chosen(
    session: &Session,
    reader: &Reader,
    which: &SelectorAll,
    fits: fn(&Run) -> bool,
) -> Result<Vec<Run>, Failure> {
    if which.all {
        return Ok(reader.runs()?.into_iter().filter(|run| fits(run) && !run.spec.dry_run).collect());
    }
    Ok(vec![select::run(session, reader, &which.selector)?])
}

/// The answers of several runs as one.
fn together(mut replies: Vec<Reply>, all: bool) -> Reply {
    if !all && replies.len() == 1 {
        return replies.remove(0);
    }
    let status = replies.iter().map(|reply| reply.status).max().unwrap_or(exit::DONE);
    let text = if replies.is_empty() {
        "No run this is legal for.\n".to_owned()
    } else {
        replies.iter().map(|reply| reply.text.as_str()).collect::<String>()
    };
    let runs: Vec<Value> = replies.into_iter().map(|reply| reply.json).collect();
    Reply { json: json!({ "results": runs, "next_cursor": null }), text, status }
}

pub fn resume(session: &Session, args: &ResumeArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (_, reader) = session.reader()?;
    let fits = |run: &Run| {
        matches!(run.status, RunStatus::Paused | RunStatus::Failed | RunStatus::Stopped | RunStatus::Planning)
    };
    let mut replies = Vec::new();
    for run in chosen(session, &reader, &args.which, fits)? {
        let engine = session.engine()?;
        Engine::preflight(&engine.git)?;
        engine.order_run(&session.caller(), run.id(), RunWish::Resume)?;
        let mut reply = carry_out(session, &engine, run.id(), "resume")?;
        reply.text.push_str(&down(&engine.reader()?.agents(run.id())?, run.id()));
        replies.push(reply);
    }
    Ok(together(replies, args.which.all))
}

/// Who is down in a run that goes on: what a plan has started once, a plan does not start again.
fn down(agents: &[Agent], run_id: &str) -> String {
    let down = |agent: &&Agent| matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed) && !agent.start_due();
    let names: Vec<&str> = agents.iter().filter(down).map(|agent| agent.key.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("  down: {}; metawsm restart --run-id {run_id} starts them again\n", print::one_line(&names.join(", ")))
}

pub fn pause(session: &Session, args: &SelectorAll) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (_, reader) = session.reader()?;
    let mut replies = Vec::new();
    for run in chosen(session, &reader, args, |run| run.status.at_work())? {
        let engine = session.engine()?;
        engine.order_run(&session.caller(), run.id(), RunWish::Pause)?;
        replies.push(changed(session, &engine, run.id())?);
    }
    Ok(together(replies, args.all))
}

pub fn stop(session: &Session, args: &StopArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let stoppable = |run: &Run| run.status.may_become(RunStatus::Stopping) || run.status == RunStatus::Stopping;
    let runs =
        chosen(session, &reader, &SelectorAll { selector: args.which.selector.clone(), all: args.all }, |run| {
            run.status.may_become(RunStatus::Stopping) && run.status != RunStatus::Failed
        })?;
    let mut replies = Vec::new();
    for run in runs {
        let one = args.which.agent.is_some() || args.which.workspace.is_some();
        let agents = if one { select::agents(&reader, &run, &args.which)? } else { reader.agents(run.id())? };
        if !one && !stoppable(&run) {
            let allowed = run.status.next_commands();
            return Err(Refusal::illegal(
                format!("run {} is {}: there is nothing to stop", run.id(), run.status),
                run.status.word(),
                allowed.to_vec(),
            )
            .hint(format!("legal now: {}", allowed.join(", ")))
            .into());
        }
        let would: Vec<String> = agents
            .iter()
            .filter(|agent| agent.program_may_live())
            .map(|agent| format!("end session {} of agent {}", agent.spec.session, agent.key.name))
            .collect();
        if args.dry_run {
            replies.push(dry(session, &home, &reader, &run, would, false)?);
            continue;
        }
        session.confirm(args.yes, &format!("stop {}: {}", run.id(), describe(&would)))?;
        let engine = session.engine()?;
        if one {
            for agent in &agents {
                stopping::stop_agent(&engine, &session.caller(), agent)?;
            }
        } else {
            stopping::stop_run(&engine, &session.caller(), run.id())?;
        }
        replies.push(changed(session, &engine, run.id())?);
    }
    Ok(together(replies, args.all))
}

fn describe(would: &[String]) -> String {
    if would.is_empty() { "no session is running".to_owned() } else { would.join(", ") }
}

fn dry(
    session: &Session,
    home: &crate::services::home::Home,
    reader: &Reader,
    run: &Run,
    would: Vec<String>,
    merging: bool,
) -> Result<Reply, Failure> {
    let view = session.view(home, reader);
    let gates = gates::evaluate(&Session::git(home), reader, &view.policy(run.id())?, run, merging)?;
    let mut text = format!("Run ID: {} (dry run, nothing was changed)\n", run.id());
    for line in &would {
        text.push_str(&format!("  would {}\n", print::one_line(line)));
    }
    if would.is_empty() {
        text.push_str("  would change nothing\n");
    }
    Ok(Reply::new(json!({ "run": view.run(run)?, "would": would, "gates": gates }), text))
}

pub fn restart(session: &Session, args: &RestartArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.which.selector)?;
    let named = args.which.agent.is_some() || args.which.workspace.is_some();
    let mut agents = if named { select::agents(&reader, &run, &args.which)? } else { reader.agents(run.id())? };
    if !named {
        // Without names every agent that was ever started is meant; the others are the plan's.
        agents.retain(|agent| agent.launch > 0);
    }
    let would: Vec<String> = agents.iter().map(restart_line).collect();
    if args.dry_run {
        return dry(session, &home, &reader, &run, would, false);
    }
    let engine = session.engine()?;
    let caller = session.caller();
    let lease = engine.lease_run_within(run.id(), "restart", &caller, PATIENCE)?;
    if agents.is_empty() {
        return Err(Refusal::illegal(
            format!("no agent of run {} was ever started", run.id()),
            run.status.word(),
            run.status.next_commands().to_vec(),
        )
        .hint(format!("metawsm resume --run-id {} carries the plan on", run.id()))
        .into());
    }
    for agent in &agents {
        let wish = AgentWish::Restart { reason: format!("restarted by {}", caller.actor), by_rule: false };
        engine.order_agent(&caller, &agent.key, wish)?;
    }
    drop(lease);
    start_agents(session, &engine, run.id(), "restart")
}

fn restart_line(agent: &Agent) -> String {
    format!("end session {} of agent {} and start launch {}", agent.spec.session, agent.key.name, agent.launch + 1)
}

pub fn close(session: &Session, args: &CloseArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let policy = session.view(&home, &reader).policy(run.id())?;
    if args.dry_run {
        let gates = gates::evaluate(&Session::git(&home), &reader, &policy, &run, args.merge)?;
        let open = gates.iter().any(|gate| !gate.ok);
        let reply = dry(session, &home, &reader, &run, would_close(&run, &reader, args.merge)?, args.merge)?;
        let mut text = reply.text;
        for gate in &gates {
            text.push_str(&format!(
                "  {} {}: {}\n",
                if gate.ok { "✓" } else { "✖" },
                gate.name,
                print::one_line(&gate.reason)
            ));
        }
        return Ok(Reply { status: if open { exit::REFUSED } else { exit::DONE }, text, json: reply.json });
    }
    if run.status != RunStatus::Closed {
        let gates = gates::evaluate(&Session::git(&home), &reader, &policy, &run, args.merge)?;
        if gates.iter().any(|gate| !gate.ok) {
            return Err(EngineError::Gates { what: format!("run {} is not closed", run.id()), gates }.into());
        }
        session.confirm(args.yes, &format!("close {}", run.id()))?;
    }
    let engine = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "close", &caller, PATIENCE)?;
    let options = closing::Options { changelog_entry: args.changelog_entry.clone(), merge: args.merge };
    closing::close(&engine, &caller, run.id(), &options)?;
    let mut reply = changed(session, &engine, run.id())?;
    if args.changelog_entry.is_some() && !args.merge {
        reply.text.push_str("  the changelog entry is on the run's branch; with --merge it would be in the base too\n");
    }
    Ok(reply)
}

fn would_close(run: &Run, reader: &Reader, merge: bool) -> Result<Vec<String>, Failure> {
    let mut would = Vec::new();
    for agent in reader.agents(run.id())?.iter().filter(|agent| agent.launch > 0) {
        would.push(format!("end session {}", agent.spec.session));
    }
    would.push("commit the ticket docs that metawsm wrote".to_owned());
    if merge {
        would.push("merge every branch into its base".to_owned());
    }
    would.push("close the run".to_owned());
    Ok(would)
}

pub fn merge(session: &Session, args: &MergeArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    gates::settled(&reader, &run, "merged")?;
    let git = Session::git(&home);
    let would = match merging::preview(&git, &reader, &run, args.squash) {
        Ok(would) => would,
        Err(error) => {
            if !args.dry_run {
                // What metawsm wrote itself must not be in the way of whoever mends the conflict in the worktree.
                let engine = session.engine()?;
                let _lease = engine.lease_run_within(run.id(), "merge", &session.caller(), PATIENCE)?;
                own_work::commit(&engine, &session.caller(), run.id())?;
            }
            return Err(error.into());
        }
    };
    if args.dry_run {
        return dry(session, &home, &reader, &run, would, true);
    }
    session.confirm(args.yes, &format!("merge {}: {}", run.id(), describe(&would)))?;
    let engine = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "merge", &caller, PATIENCE)?;
    let done = merging::merge(&engine, &caller, run.id(), args.squash)?;
    let mut reply = changed(session, &engine, run.id())?;
    let lines: Vec<String> = done.iter().map(merging::Tried::describe).collect();
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("merged".to_owned(), json!(lines));
    }
    for line in lines {
        reply.text.push_str(&format!("  {line}\n"));
    }
    Ok(reply)
}

pub fn cleanup(session: &Session, args: &CleanupArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let options = removal::Options {
        keep_workspaces: args.keep_workspaces,
        delete_branch: args.delete_branch,
        force: args.force,
    };
    let would = removal::preview(&Session::git(&home), &reader, &run, options)?;
    if args.dry_run {
        return dry(session, &home, &reader, &run, would, false);
    }
    session.confirm(args.yes, &format!("clean up {}: {}", run.id(), describe(&would)))?;
    let engine: Arc<Engine> = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "cleanup", &caller, PATIENCE)?;
    let done = removal::cleanup(&engine, &caller, run.id(), options)?;
    let mut reply = changed(session, &engine, run.id())?;
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("removed".to_owned(), json!(done));
    }
    for line in done {
        reply.text.push_str(&format!("  {line}\n"));
    }
    Ok(reply)
}

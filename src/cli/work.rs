//! Commands on a run's work: commit, pr.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::args::{CommitArgs, PrArgs};
use super::exit::{self, Failure};
use super::follow;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::changed;
use super::wrong;
use crate::services::committing::{self, Options, Tests};
use crate::services::engine::PATIENCE;
use crate::services::error::Gate;
use crate::services::gates;
use crate::services::git::Author;
use crate::services::pull_requests;

pub fn commit(session: &Session, args: &CommitArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    // Hooks, tests and what GitHub is asked end with whoever began them.
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    let options = Options {
        cancel: Some(cancel),
        message: message(args.message.as_deref())?,
        author: author(args.actor.as_deref())?,
        ticket: args.selector.run_id.as_ref().and(args.selector.ticket.clone()),
        ..Options::default()
    };
    if args.dry_run {
        let view = session.view(&home, &reader);
        let policy = view.policy(run.id())?;
        let prepared = committing::prepare(&Session::git(&home), &reader, &policy, &run, &options, &Tests::Named)?;
        let shape = json!({ "run": view.run(&run)?, "would": prepared.would(), "gates": prepared.gates });
        return Ok(dry(run.id(), &prepared.would(), &prepared.gates, shape));
    }
    gates::settled(&reader, &run, "committed")?;
    let engine = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "commit", &caller, PATIENCE)?;
    let made = committing::commit(&engine, &caller, run.id(), &options)?;
    let mut reply = changed(session, &engine, run.id())?;
    for one in &made {
        reply.text.push_str(&format!("  {}\n", print::one_line(&one.words())));
    }
    if made.is_empty() {
        reply.text.push_str("  there was nothing to commit\n");
    }
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("commits".to_owned(), json!(made));
    }
    Ok(reply)
}

fn message(given: Option<&str>) -> Result<Option<String>, Failure> {
    match given.map(str::trim) {
        Some("") => Err(wrong("the message is empty", "say what changed, or leave --message out")),
        given => Ok(given.map(str::to_owned)),
    }
}

fn author(given: Option<&str>) -> Result<Option<Author>, Failure> {
    let parse = |text: &str| {
        Author::parse(text)
            .ok_or_else(|| wrong(format!("{text:?} is no author"), "name one: --actor NAME, or 'NAME <EMAIL>'"))
    };
    given.map(parse).transpose()
}

pub fn pr(session: &Session, args: &PrArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    let options = pull_requests::Options {
        cancel: Some(cancel),
        title: title(args.title.as_deref())?,
        body: args.body.as_deref().map(|body| session.text(body)).transpose()?,
        draft: args.draft,
        actor: author(args.actor.as_deref())?.and(args.actor.clone()),
        ticket: args.selector.run_id.as_ref().and(args.selector.ticket.clone()),
        ..pull_requests::Options::default()
    };
    if args.dry_run {
        let view = session.view(&home, &reader);
        let policy = view.policy(run.id())?;
        let prepared = pull_requests::prepare(&Session::git(&home), &reader, &policy, &run, &options, &Tests::Named)?;
        let shape = json!({ "run": view.run(&run)?, "would": prepared.would(), "gates": prepared.gates });
        return Ok(dry(run.id(), &prepared.would(), &prepared.gates, shape));
    }
    gates::settled(&reader, &run, "handed on in a pull request")?;
    let engine = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "pr", &caller, PATIENCE)?;
    let prepared = pull_requests::ready(&engine, &caller, run.id(), &options)?;
    let done = pull_requests::carry_out(&engine, &caller, run.id(), &prepared, &options)?;
    let mut reply = changed(session, &engine, run.id())?;
    done.iter().for_each(|request| reply.text.push_str(&format!("  {}\n", print::one_line(&request.words()))));
    if done.is_empty() {
        reply.text.push_str("  every commit is in its base or in a pull request; metawsm commit makes some\n");
    }
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("pull_requests".to_owned(), json!(done));
    }
    Ok(reply)
}

fn title(given: Option<&str>) -> Result<Option<String>, Failure> {
    match given.map(str::trim) {
        Some(title) if title.is_empty() || title.chars().any(char::is_control) => {
            Err(wrong("a title is one line with something on it", "say what changed, or leave --title out"))
        }
        given => Ok(given.map(str::to_owned)),
    }
}

/// What would be done, and the gates; refused where one is in the way.
pub fn dry(run_id: &str, would: &[String], gates: &[Gate], shape: Value) -> Reply {
    let mut text = format!("Run ID: {run_id} (dry run, nothing was changed)\n");
    for line in would {
        text.push_str(&format!("  would {}\n", print::one_line(line)));
    }
    if would.is_empty() {
        text.push_str("  would change nothing\n");
    }
    gates.iter().for_each(|gate| text.push_str(&gate_line(gate)));
    let open = gates.iter().any(|gate| !gate.ok);
    Reply { status: if open { exit::REFUSED } else { exit::DONE }, text, json: shape }
}

fn gate_line(gate: &Gate) -> String {
    format!("  {} {}: {}\n", if gate.ok { "✓" } else { "✖" }, gate.name, print::one_line(&gate.reason))
}

//! Commands on a run's work: commit.

use std::time::Duration;

use serde_json::json;

use super::args::CommitArgs;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::changed;
use super::wrong;
use crate::services::committing::{self, Options, Prepared, Tests};
use crate::services::error::Gate;
use crate::services::gates;
use crate::services::git::Author;

/// How long a command waits for another one on the same run that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn commit(session: &Session, args: &CommitArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let options = Options {
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
        return Ok(dry(run.id(), &prepared, shape));
    }
    gates::settled(&reader, &run, "committed")?;
    let engine = session.engine()?;
    let caller = session.caller();
    let _lease = engine.lease_run_within(run.id(), "commit", &caller, PATIENCE)?;
    let made = committing::commit(&engine, &caller, run.id(), &options)?;
    let mut reply = changed(session, &engine, run.id())?;
    for one in &made {
        let short = one.sha.get(..10).unwrap_or(&one.sha);
        reply.text.push_str(&format!("  {}: {short} {}\n", one.repo, print::one_line(&one.message)));
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

/// What would be done, and the gates; refused where one is in the way.
fn dry(run_id: &str, prepared: &Prepared, shape: serde_json::Value) -> Reply {
    let mut text = format!("Run ID: {run_id} (dry run, nothing was changed)\n");
    let would = prepared.would();
    for line in &would {
        text.push_str(&format!("  would {}\n", print::one_line(line)));
    }
    if would.is_empty() {
        text.push_str("  would change nothing\n");
    }
    prepared.gates.iter().for_each(|gate| text.push_str(&gate_line(gate)));
    let open = prepared.gates.iter().any(|gate| !gate.ok);
    Reply { status: if open { exit::REFUSED } else { exit::DONE }, text, json: shape }
}

fn gate_line(gate: &Gate) -> String {
    format!("  {} {}: {}\n", if gate.ok { "✓" } else { "✖" }, gate.name, print::one_line(&gate.reason))
}

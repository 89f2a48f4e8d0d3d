//! `iterate`: a run begins anew with feedback.

use serde_json::json;

use super::args::IterateArgs;
use super::exit::Failure;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::start_agents;
use super::work::dry;
use crate::services::engine::PATIENCE;
use crate::services::iterate::{self, Begun, Words};

pub fn run(session: &Session, args: &IterateArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let feedback = feedback(session, &args.feedback)?;
    let ticket = args.selector.run_id.as_ref().and(args.selector.ticket.as_deref());
    let workspaces = iterate::workspaces_of(&run, ticket)?;
    let prepared = iterate::prepare(&reader, &run, &workspaces)?;
    if args.dry_run {
        let (view, would) = (session.view(&home, &reader), prepared.would());
        let shape = json!({ "run": view.run(&run)?, "would": would, "gates": [] });
        return Ok(dry(run.id(), &would, &[], shape));
    }
    let engine = session.engine()?;
    let caller = session.caller();
    let lease = engine.lease_run_within(run.id(), "iterate", &caller, PATIENCE)?;
    let words = Words::same(&run, &workspaces, &feedback);
    let begun = iterate::carry_out(&engine, &caller, run.id(), &words, Vec::new())?;
    drop(lease);
    let mut reply = start_agents(session, &engine, run.id(), "iterate")?;
    tell(&mut reply, &begun);
    Ok(reply)
}

/// Adds what was written to the answer.
pub fn tell(reply: &mut Reply, begun: &Begun) {
    begun.files.iter().for_each(|file| reply.text.push_str(&format!("  wrote {}\n", print::one_line(file))));
    begun.warnings.iter().for_each(|line| reply.text.push_str(&format!("  warning: {}\n", print::one_line(line))));
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("files".to_owned(), json!(begun.files));
        fields.insert("warnings".to_owned(), json!(begun.warnings));
    }
}

fn feedback(session: &Session, given: &str) -> Result<String, Failure> {
    let text = session.text(given)?;
    iterate::fits(&text)?;
    Ok(text)
}

//! `agent quiet` and `agent progress`: what an agent says of itself, or a human for it.

use std::time::Duration;

use serde_json::json;

use super::args::AgentSelector;
use super::exit::Failure;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::Agent;
use crate::domain::command::AgentWish;
use crate::services::engine::Engine;

/// Announces silence: until then it is no stall.
pub fn quiet(session: &Session, which: &AgentSelector, span: Duration, reason: &str) -> Result<Reply, Failure> {
    let engine = session.engine()?;
    let agent = meant(session, &engine, which)?;
    let wish = AgentWish::Quiet { until: session.now().plus(span), reason: session.text(reason)? };
    let seq = engine.order_agent(&session.caller(), &agent.key, wish)?.seq;
    told(session, &engine, &agent, seq, |agent| match &agent.quiet {
        Some(quiet) => format!("{} is {}", agent.key.name, print::one_line(&quiet.words())),
        None => format!("{} is to be heard again", agent.key.name),
    })
}

/// Says how far it is.
pub fn progress(
    session: &Session,
    which: &AgentSelector,
    note: Option<&str>,
    percent: Option<u8>,
) -> Result<Reply, Failure> {
    let engine = session.engine()?;
    let agent = meant(session, &engine, which)?;
    let note = note.map(|note| session.text(note)).transpose()?;
    let wish = AgentWish::Progressed { source: "signal".to_owned(), note, percent };
    let seq = engine.order_agent(&session.caller(), &agent.key, wish)?.seq;
    told(session, &engine, &agent, seq, |agent| format!("{} moves on", agent.key.name))
}

/// The agent in whose session this is, where no other is named.
fn meant(session: &Session, engine: &Engine, which: &AgentSelector) -> Result<Agent, Failure> {
    let own = session.identity();
    let which = AgentSelector {
        agent: which.agent.clone().or_else(|| own.as_ref().map(|key| key.name.clone())),
        workspace: which.workspace.clone().or_else(|| {
            own.filter(|key| which.agent.as_ref().is_none_or(|name| *name == key.name)).map(|key| key.workspace)
        }),
        ..which.clone()
    };
    let reader = engine.reader()?;
    let run = select::run(session, &reader, &which.selector)?;
    select::agent(&reader, &run, &which)
}

fn told(
    session: &Session,
    engine: &Engine,
    agent: &Agent,
    seq: i64,
    words: impl FnOnce(&Agent) -> String,
) -> Result<Reply, Failure> {
    let reader = engine.reader()?;
    let agent = reader.agent(&agent.key)?.unwrap_or_else(|| agent.clone());
    let vitals = reader.vitals(&agent.key.run_id)?.into_iter().find(|(key, _)| *key == agent.key).map(|(_, seen)| seen);
    let shape = session.view(&engine.home, &reader).agent(&agent, vitals.as_ref());
    Ok(Reply::new(json!({ "agent": shape, "seq": seq }), words(&agent)))
}

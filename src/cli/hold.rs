//! `hold` and `release`: a person takes an agent in hand, and gives it back to the rules.

use serde_json::json;

use super::args::{AgentSelector, HoldArgs};
use super::exit::Failure;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::command::AgentWish;
use crate::domain::refusal::Refusal;
use crate::services::engine::Engine;

/// Has the rules leave agents alone.
pub fn hold(session: &Session, args: &HoldArgs) -> Result<Reply, Failure> {
    let reason = args.reason.as_deref().map(|reason| session.text(reason)).transpose()?;
    let can = |agent: &Agent| {
        !matches!(agent.status, AgentStatus::Done | AgentStatus::Stopping | AgentStatus::Stopped) && !agent.start_due()
    };
    let wish = AgentWish::Hold { reason };
    let ends = "until it is released, restarted, resumed or stopped by hand, or its run is over";
    carry(session, &args.which, can, &wish, |agent| match &agent.held {
        Some(held) => format!("{} is {}: rules leave it alone {ends}", agent.key.name, held.words(session.now())),
        None => format!("{} is not held", agent.key.name),
    })
}

/// Has the rules look after them again.
pub fn release(session: &Session, which: &AgentSelector) -> Result<Reply, Failure> {
    let held = |agent: &Agent| agent.held.is_some();
    carry(session, which, held, &AgentWish::Release, |agent| {
        format!("{} is released: rules look after it again", agent.key.name)
    })
}

/// For those that are named, or for all of the run for which it makes sense.
fn carry(
    session: &Session,
    which: &AgentSelector,
    sense: impl Fn(&Agent) -> bool,
    wish: &AgentWish,
    words: impl Fn(&Agent) -> String,
) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &which.selector)?;
    let named = which.agent.is_some() || which.workspace.is_some();
    let mut agents = select::agents(&reader, &run, which)?;
    if !named {
        agents.retain(sense);
    }
    if agents.is_empty() {
        return Err(Refusal::illegal(
            format!("run {} has no agent for which that makes sense", run.id()),
            run.status.word(),
            ["agents"],
        )
        .hint("metawsm agents lists them; --agent NAME says why not")
        .into());
    }
    let engine: std::sync::Arc<Engine> = session.engine()?;
    for agent in &agents {
        engine.order_agent(&session.caller(), &agent.key, wish.clone())?;
    }
    let reader = home.reader()?;
    let view = session.view(&home, &reader);
    let vitals = reader.vitals(run.id())?;
    let (mut shapes, mut text) = (Vec::new(), String::new());
    for agent in agents {
        let agent = reader.agent(&agent.key)?.unwrap_or(agent);
        let seen = vitals.iter().find(|(key, _)| *key == agent.key).map(|(_, seen)| seen);
        shapes.push(view.agent(&agent, seen));
        text.push_str(&format!("{}\n", print::one_line(&words(&agent))));
    }
    let run = engine.run(run.id())?;
    Ok(Reply::new(json!({ "run": view.run(&run)?, "agents": shapes, "seq": reader.last_seq()? }), text))
}

//! `send`: types a text into an agent's session, and is done when the agent has taken it.

use std::time::Instant;

use serde_json::json;

use super::args::SendArgs;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::Agent;
use crate::domain::command::DeliveryWish;
use crate::domain::delivery::{Delivery, DeliveryState, Hold};
use crate::services::engine::Engine;
use crate::services::{delivery, view, wake};
use crate::store::{Reader, StoreError};

pub fn run(session: &Session, args: &SendArgs) -> Result<Reply, Failure> {
    let text = session.text(&args.text)?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.which.selector)?;
    let agent = select::agent(&reader, &run, &args.which)?;
    let engine = session.engine()?;
    let caller = session.caller();
    let wish = DeliveryWish::Queue { key: agent.key.clone(), text, urgent: args.urgent };
    // A dialog would be answered by it, and may stand for hours: whoever sends is told now.
    if args.event_id.is_none()
        && agent.program_may_live()
        && let Some(Hold::Dialog(asks)) = delivery::in_the_way(&engine, &agent.key, caller.actor.kind, args.urgent)?
    {
        return Err(shut(&agent, &asks));
    }
    let (id, seq) = delivery::queue(&engine, &caller, wish, args.event_id.as_deref())?;
    let view = session.view(&home, &reader);
    if view.supervisor_holder().is_none() && session.shared.is_none() {
        print::err("nobody supervises: the text waits until a console or metawsm --headless runs");
    }
    session.only_waits();
    let deadline = Instant::now() + args.timeout;
    let settled = wake::until(&home.db, Some(deadline), || look(&reader, &id))?;
    let last = match settled {
        Some(delivery) => delivery,
        None => reader.delivery(&id)?.ok_or_else(|| Failure::new(exit::NOT_FOUND, format!("no delivery {id}")))?,
    };
    match last.state {
        DeliveryState::Submitted => {
            let json = json!({ "delivery": view::delivery(&last), "seq": seq.max(last.last_seq) });
            Ok(Reply::new(json, format!("{} has it\n", agent.key.name)))
        }
        DeliveryState::Failed => {
            let why = last.reason.clone().unwrap_or_default();
            Err(told(&last, exit::REFUSED, format!("the text did not reach {}: {why}", agent.key.name))
                .hint("metawsm agents shows where it stands"))
        }
        DeliveryState::Queued => Err(still_queued(session, &engine, &reader, &agent, &last, args)),
        DeliveryState::Typed => {
            let name = &agent.key.name;
            let supervised = session.view(&home, &reader).supervisor_holder().is_some();
            let why = match delivery::in_the_way(&engine, &agent.key, last.from.author_type, args.urgent) {
                _ if !supervised => ": nobody supervises, whoever does next sees to it".to_owned(),
                Ok(Some(hold @ Hold::Dialog(_))) => format!(": {}", hold.words(name)),
                Ok(_) | Err(_) => String::new(),
            };
            let message = format!("the text was typed to {name} and not seen to be taken{why}; it is not typed again");
            Err(told(&last, exit::TIMEOUT, message).hint(format!("metawsm attach --agent {name}: look")))
        }
    }
}

fn look(reader: &Reader, id: &str) -> Result<Option<Delivery>, StoreError> {
    Ok(reader.delivery(id)?.filter(|delivery| !delivery.state.open()))
}

fn shut(agent: &Agent, asks: &str) -> Failure {
    let name = &agent.key.name;
    let mut failure = Failure::new(exit::REFUSED, format!("{name} shows a dialog, nothing was typed: {asks}"))
        .hint(format!("metawsm attach --agent {name}: answer it, C-b d comes back"));
    failure.details = json!({ "state": "dialog", "allowed": ["attach"] });
    failure
}

/// It waits on, and why.
fn still_queued(
    session: &Session,
    engine: &Engine,
    reader: &Reader,
    agent: &Agent,
    last: &Delivery,
    args: &SendArgs,
) -> Failure {
    let name = &agent.key.name;
    let supervised = session.home().is_ok_and(|home| session.view(&home, reader).supervisor_holder().is_some());
    let why = match delivery::in_the_way(engine, &agent.key, last.from.author_type, args.urgent) {
        _ if !supervised => "nobody supervises".to_owned(),
        Ok(Some(hold)) => hold.words(name),
        Ok(None) => "its turn has not come".to_owned(),
        Err(error) => error.to_string(),
    };
    let hint = match &args.event_id {
        Some(key) => format!("it is typed when its moment comes; the same call with --event-id {key} waits on"),
        None => "it is typed when its moment comes; metawsm events --type 'delivery.*' tells".to_owned(),
    };
    told(last, exit::TIMEOUT, format!("the text for {name} is still queued: {why}")).hint(hint)
}

fn told(last: &Delivery, status: u8, message: String) -> Failure {
    let mut failure = Failure::new(status, message);
    failure.details = json!({ "state": last.state, "allowed": [], "delivery": view::delivery(last) });
    failure
}

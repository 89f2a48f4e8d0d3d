//! `escalations` and `suggestions`: what waits on a human beside the forum, and what is said to it.

use serde_json::{Value, json};

use super::args::{EscalationCommand, EscalationsArgs, Selector, SuggestionCommand, SuggestionsArgs, WaitingList};
use super::exit::Failure;
use super::print::{Style, Table, one_line};
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::start_agents;
use crate::domain::escalation::{Escalation, Suggestion};
use crate::domain::operator::Intent;
use crate::domain::time::Moment;
use crate::services::{operator, view};
use crate::store::Reader;

pub fn escalations(session: &Session, args: &EscalationsArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    match &args.command {
        None => list_escalations(session, &args.list),
        Some(EscalationCommand::List(list)) => list_escalations(session, list),
        Some(EscalationCommand::Ack { id, until, note }) => {
            let until = until.map(|span| session.now().plus(span));
            let engine = session.engine()?;
            let done = operator::acknowledge(&engine, &session.caller(), id, until, note.clone())?;
            said_to(session, &done)
        }
        Some(EscalationCommand::Resolve { id, note }) => {
            let engine = session.engine()?;
            let done = operator::resolve(&engine, &session.caller(), id, note.clone())?;
            said_to(session, &done)
        }
    }
}

fn said_to(session: &Session, escalation: &Escalation) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let json = json!({ "escalation": view::escalation(escalation), "seq": reader.last_seq()? });
    let due = match escalation.due_at.filter(|_| escalation.stands()) {
        Some(due) => format!(", it calls again at {due}"),
        None => String::new(),
    };
    Ok(Reply::new(json, format!("{} is {}{due}\n", escalation.escalation_id, escalation.state.word())))
}

fn run_of(session: &Session, reader: &Reader, selector: &Selector) -> Result<Option<String>, Failure> {
    if selector.run_id.is_none() && selector.ticket.is_none() {
        return Ok(None);
    }
    Ok(Some(select::run(session, reader, selector)?.id().to_owned()))
}

fn list_escalations(session: &Session, list: &WaitingList) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let run = run_of(session, &reader, &list.selector)?;
    let found = reader.escalations(run.as_deref(), list.open)?;
    let shapes: Vec<Value> = found.iter().map(view::escalation).collect();
    let text = if shapes.is_empty() {
        "No escalations. They are opened when a question, a dead agent or a failed run needs you.\n".to_owned()
    } else {
        escalation_table(&shapes, &session.style())
    };
    Ok(Reply::new(json!({ "escalations": shapes, "next_cursor": null }), text))
}

/// Escalations as a table.
pub fn escalation_table(escalations: &[Value], style: &Style) -> String {
    let mut table = Table::new(&["ESCALATION", "KIND", "STATE", "OPENED", "AGENT", "REASON"]);
    for escalation in escalations {
        let word = |key: &str| one_line(escalation[key].as_str().unwrap_or_default());
        let opened = escalation["opened_at"].as_str().and_then(Moment::parse);
        table.row(vec![
            word("escalation_id"),
            word("kind"),
            word("state"),
            style.time(opened),
            word("agent"),
            word("reason"),
        ]);
    }
    table.render(style)
}

pub fn suggestions(session: &Session, args: &SuggestionsArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    match &args.command {
        None => list_suggestions(session, &args.list),
        Some(SuggestionCommand::List(list)) => list_suggestions(session, list),
        Some(SuggestionCommand::Accept { id }) => accept(session, id),
        Some(SuggestionCommand::Dismiss { id }) => {
            let engine = session.engine()?;
            let done = operator::dismiss(&engine, &session.caller(), id)?;
            settled(session, &done, None)
        }
    }
}

fn list_suggestions(session: &Session, list: &WaitingList) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let run = run_of(session, &reader, &list.selector)?;
    let found = reader.suggestions(run.as_deref(), list.open)?;
    let shapes: Vec<Value> = found.iter().map(view::suggestion).collect();
    let text = if shapes.is_empty() {
        "No suggestions. Here the operator offers what it would do and may not do by itself.\n".to_owned()
    } else {
        suggestion_table(&shapes, &session.style())
    };
    Ok(Reply::new(json!({ "suggestions": shapes, "next_cursor": null }), text))
}

/// Suggestions as a table.
pub fn suggestion_table(suggestions: &[Value], style: &Style) -> String {
    let mut table = Table::new(&["SUGGESTION", "INTENT", "STATE", "MADE", "REASON"]);
    for suggestion in suggestions {
        let word = |key: &str| one_line(suggestion[key].as_str().unwrap_or_default());
        let made = suggestion["created_at"].as_str().and_then(Moment::parse);
        table.row(vec![word("suggestion_id"), word("intent"), word("state"), style.time(made), word("reason")]);
    }
    table.render(style)
}

/// Accepts, and carries it out here: it does not matter whether anybody supervises.
fn accept(session: &Session, id: &str) -> Result<Reply, Failure> {
    let engine = session.engine()?;
    let (done, brought) = operator::accept(&engine, &session.caller(), id, None)?;
    let run_id = done.run_id.clone().unwrap_or_default();
    // Commits and pull requests are done when they are accepted; agents are to be started yet.
    let starts = matches!(done.intent, Intent::AutoRestart | Intent::ReviewFeedbackReady);
    let carried = starts.then(|| start_agents(session, &engine, &run_id, "accept")).transpose()?;
    let mut reply = settled(session, &done, carried)?;
    if done.intent.hands_on_work() {
        tell(&mut reply, &brought);
    }
    Ok(reply)
}

/// Adds what an accepted suggestion brought about.
fn tell(reply: &mut Reply, brought: &[operator::Done]) {
    let (mut commits, mut requests) = (Vec::new(), Vec::new());
    for one in brought {
        reply.text.push_str(&format!("  {}\n", one_line(&one.words())));
        match one {
            operator::Done::Commit(made) => commits.push(json!(made)),
            operator::Done::Request(request) => requests.push(json!(request)),
            operator::Done::Dispatch(_, begun) => super::iterate::tell(reply, begun),
        }
    }
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("commits".to_owned(), json!(commits));
        fields.insert("pull_requests".to_owned(), json!(requests));
    }
}

fn settled(session: &Session, suggestion: &Suggestion, carried: Option<Reply>) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let json = json!({ "suggestion": view::suggestion(suggestion), "seq": reader.last_seq()? });
    let mut text = format!("{} is {}\n", suggestion.suggestion_id, suggestion.state.word());
    let mut status = super::exit::DONE;
    if let Some(reply) = carried {
        text.push_str(&reply.text);
        status = reply.status;
    }
    Ok(Reply { json, text, status })
}

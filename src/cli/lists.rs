//! `runs`, `agents`, `steps`.

use serde_json::{Value, json};

use super::args::{ListArgs, Selector};
use super::exit::Failure;
use super::print::{Style, Table};
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::wrong;
use crate::domain::agent::AgentStatus;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;
use crate::services::view::RESPONDS_WITHIN;
use crate::store::Reader;

pub fn runs(session: &Session, args: &ListArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let wanted = match &args.status {
        None => None,
        Some(word) => Some(RunStatus::parse(word).ok_or_else(|| {
            let words: Vec<&str> = RunStatus::ALL.iter().map(|status| status.word()).collect();
            wrong(format!("`{word}` is no status of a run"), format!("use one of {}", words.join(", ")))
        })?),
    };
    let runs: Vec<Run> = some_runs(session, &reader, args)?
        .into_iter()
        .filter(|run| wanted.is_none_or(|status| run.status == status))
        .collect();
    let view = session.view(&home, &reader);
    let json = view.runs(&runs)?;
    let style = session.style();
    let mut table = Table::new(&["RUN", "TICKETS", "STATUS", "AGENTS", "CHANGED", "REASON"]);
    for (run, shape) in runs.iter().zip(json["runs"].as_array().into_iter().flatten()) {
        let counts = &shape["counts"];
        table.row(vec![
            run.id().to_owned(),
            run.spec.tickets.join(","),
            run.status.word().to_owned(),
            format!("{}/{}", counts["done"], counts["agents"]),
            style.time(Some(run.updated_at)),
            run.reason.clone(),
        ]);
    }
    let text = if table.is_empty() {
        "No runs here. `metawsm run --ticket T --repos R` starts one; `--all` shows closed and dry ones too.\n"
            .to_owned()
    } else {
        table.render(&style)
    };
    Ok(Reply::new(json.clone(), text + &supervised(&json["supervisor"], &style)))
}

fn some_runs(session: &Session, reader: &Reader, args: &ListArgs) -> Result<Vec<Run>, Failure> {
    if let Some(id) = &args.selector.run_id {
        return Ok(vec![select::by_id(reader, id)?]);
    }
    let mut runs = match &args.selector.ticket {
        Some(ticket) => reader.runs_of_ticket(ticket)?,
        None => reader.runs()?,
    };
    let own = session.identity().map(|key| key.run_id);
    runs.retain(|run| {
        args.all || (run.status != RunStatus::Closed && !run.spec.dry_run) || own.as_deref() == Some(run.id())
    });
    Ok(runs)
}

/// Which runs a list of agents or steps covers: the one selected, or all there are.
fn listed(session: &Session, reader: &Reader, args: &ListArgs) -> Result<Vec<Run>, Failure> {
    let Selector { run_id, ticket } = &args.selector;
    if run_id.is_some() || ticket.is_some() {
        return Ok(vec![select::run(session, reader, &args.selector)?]);
    }
    some_runs(session, reader, args)
}

pub fn agents(session: &Session, args: &ListArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    if let Some(word) = args.status.as_deref().filter(|word| AgentStatus::parse(word).is_none()) {
        let words: Vec<&str> = AgentStatus::ALL.iter().map(|status| status.word()).collect();
        return Err(wrong(format!("`{word}` is no status of an agent"), format!("use one of {}", words.join(", "))));
    }
    let view = session.view(&home, &reader);
    let mut agents = Vec::new();
    for run in listed(session, &reader, args)? {
        agents.extend(view.agents(run.id())?);
    }
    agents.retain(|agent| args.status.as_ref().is_none_or(|status| agent["status"] == status.as_str()));
    let style = session.style();
    let supervisor = view.supervisor();
    let text = if agents.is_empty() {
        "No agents here. `metawsm run` starts them; `--all` shows those of closed runs too.\n".to_owned()
    } else {
        agent_table(&agents, &style) + &supervised(&supervisor, &style)
    };
    Ok(Reply::new(json!({ "agents": agents, "supervisor": supervisor, "next_cursor": null }), text))
}

/// Agents as a table.
pub fn agent_table(agents: &[Value], style: &Style) -> String {
    let mut table = Table::new(&[
        "AGENT",
        "WORKSPACE",
        "STATUS",
        "HEALTH",
        "WAITS FOR",
        "OUTPUT",
        "PROGRESS",
        "RESTARTS",
        "REASON",
    ]);
    for agent in agents {
        let word = |key: &str| agent[key].as_str().unwrap_or("-").to_owned();
        let at = |key: &str| style.time(agent[key].as_str().and_then(Moment::parse));
        let waits = if agent["waiting_for"] == "none" { "-".to_owned() } else { word("waiting_for") };
        table.row(vec![
            word("name"),
            word("workspace"),
            word("status"),
            word("health"),
            waits,
            at("last_output_at"),
            at("last_progress_at"),
            format!("{}/{}", agent["restarts"]["used"], agent["restarts"]["budget"]),
            match agent["held"]["by"].as_str() {
                Some(by) => format!("held by {by}; {}", word("reason")),
                None => word("reason"),
            },
        ]);
    }
    table.render(style)
}

/// What there is to say where nobody supervises.
pub fn supervised(supervisor: &Value, style: &Style) -> String {
    if !supervisor.is_null() {
        let seen = supervisor["last_seen_at"].as_str().and_then(Moment::parse);
        let silent = seen.map(|seen| style.now.since(seen)).unwrap_or_default();
        if silent <= RESPONDS_WITHIN {
            return String::new();
        }
        let pid = &supervisor["pid"];
        return format!(
            "The supervisor (pid {pid}) is not responding since {}; metawsm doctor says what to do.\n",
            seen.map(|seen| seen.to_string()).unwrap_or_default()
        );
    }
    style.dim("Nobody supervises: agents go on, but nothing is restarted or escalated. `metawsm --headless` does it.")
        + "\n"
}

pub fn steps(session: &Session, args: &ListArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let view = session.view(&home, &reader);
    let mut steps = Vec::new();
    for run in listed(session, &reader, args)? {
        steps.extend(reader.steps(run.id())?.iter().map(|step| view.step(step)));
    }
    steps.retain(|step| args.status.as_ref().is_none_or(|status| step["status"] == status.as_str()));
    let text = if steps.is_empty() {
        "No steps here. `metawsm run` makes a plan of them.\n".to_owned()
    } else {
        step_table(&steps, &session.style())
    };
    Ok(Reply::new(json!({ "steps": steps, "next_cursor": null }), text))
}

/// Steps as a table.
pub fn step_table(steps: &[Value], style: &Style) -> String {
    let mut table = Table::new(&["#", "STEP", "KIND", "STATUS", "TRIES", "ERROR"]);
    for step in steps {
        let word = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
        table.row(vec![
            step["index"].to_string(),
            word("name"),
            word("kind"),
            word("status"),
            step["attempts"].to_string(),
            word("error"),
        ]);
    }
    table.render(style)
}

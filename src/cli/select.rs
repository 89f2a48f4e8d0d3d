//! Which run, which agents.

use super::args::{AgentSelector, Selector};
use super::exit::{self, Failure};
use super::session::Session;
use super::wrong;
use crate::domain::agent::Agent;
use crate::domain::run::{Run, RunStatus};
use crate::store::Reader;

/// The run a selector means: by id; by ticket the newest real one, then the newest dry one; or the only one there is.
pub fn run(session: &Session, reader: &Reader, selector: &Selector) -> Result<Run, Failure> {
    if let Some(id) = &selector.run_id {
        return by_id(reader, id);
    }
    if let Some(ticket) = &selector.ticket {
        let runs = reader.runs_of_ticket(ticket)?;
        let real = runs.iter().position(|run| !run.spec.dry_run).unwrap_or(0);
        return runs.into_iter().nth(real).ok_or_else(|| {
            Failure::new(exit::NOT_FOUND, format!("no run for ticket {ticket}")).hint("metawsm runs --all lists them")
        });
    }
    if let Some(id) = session.identity().map(|key| key.run_id).filter(|id| !id.is_empty()) {
        return by_id(reader, &id);
    }
    let mut open: Vec<Run> =
        reader.runs()?.into_iter().filter(|run| run.status != RunStatus::Closed && !run.spec.dry_run).collect();
    match open.len() {
        1 => Ok(open.remove(0)),
        0 => Err(Failure::new(exit::NOT_FOUND, "there is no open run").hint("metawsm run starts one")),
        _ => {
            let names: Vec<String> =
                open.iter().map(|run| format!("{} ({})", run.id(), run.spec.tickets.join(", "))).collect();
            Err(wrong(format!("there are several runs: {}", names.join("; ")), "name one: --run-id ID or --ticket T"))
        }
    }
}

/// The run with this id.
pub fn by_id(reader: &Reader, id: &str) -> Result<Run, Failure> {
    reader
        .run(id)?
        .ok_or_else(|| Failure::new(exit::NOT_FOUND, format!("no run {id}")).hint("metawsm runs --all lists them"))
}

/// The agents of a run that are meant: all, or those of that name.
pub fn agents(reader: &Reader, run: &Run, which: &AgentSelector) -> Result<Vec<Agent>, Failure> {
    let all = reader.agents(run.id())?;
    let fits = |agent: &&Agent| {
        which.agent.as_ref().is_none_or(|name| agent.key.name == *name)
            && which.workspace.as_ref().is_none_or(|name| agent.key.workspace == *name)
    };
    let found: Vec<Agent> = all.iter().filter(fits).cloned().collect();
    if found.is_empty() {
        let names: Vec<String> =
            all.iter().map(|agent| format!("{} in {}", agent.key.name, agent.key.workspace)).collect();
        let wanted = which.agent.as_deref().or(which.workspace.as_deref()).unwrap_or_default();
        return Err(Failure::new(exit::NOT_FOUND, format!("run {} has no agent {wanted}", run.id()))
            .hint(format!("it has {}", names.join(", "))));
    }
    Ok(found)
}

/// The one agent that is meant.
pub fn agent(reader: &Reader, run: &Run, which: &AgentSelector) -> Result<Agent, Failure> {
    let mut found = agents(reader, run, which)?;
    if found.len() > 1 {
        let names: Vec<String> =
            found.iter().map(|agent| format!("{} in {}", agent.key.name, agent.key.workspace)).collect();
        return Err(wrong(
            format!("that could be {}", names.join(" or ")),
            "name it: --agent NAME, and --workspace WS",
        ));
    }
    Ok(found.remove(0))
}

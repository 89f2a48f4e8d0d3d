//! `wait`: until a run is where one wants it, or can no longer get there.

use std::time::Instant;

use serde_json::json;

use super::args::{AgentSelector, WaitArgs, WaitFor};
use super::exit::{self, Failure};
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::run::{Run, RunStatus};
use crate::services::wake;
use crate::store::{Reader, StoreError};

/// Where the wait stands.
enum Standing {
    Reached(Box<Run>),
    OutOfReach(Box<Run>, String),
}

pub fn run(session: &Session, args: &WaitArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    for name in &args.agents {
        let which = AgentSelector {
            agent: Some(name.clone()),
            workspace: args.workspace.clone(),
            selector: args.selector.clone(),
        };
        select::agents(&reader, &run, &which)?;
    }
    session.only_waits();
    let deadline = args.timeout.map(|limit| Instant::now() + limit);
    let found = wake::until(&home.db, deadline, || look(&reader, run.id(), args))?;
    match found {
        Some(Standing::Reached(run)) => {
            let json = json!({ "run": session.view(&home, &reader).run(&run)?, "reached": true });
            Ok(Reply::new(json, format!("Run {} is {}: {}\n", run.id(), run.status, run.reason)))
        }
        Some(Standing::OutOfReach(run, why)) => {
            let json = json!({ "run": session.view(&home, &reader).run(&run)?, "reached": false });
            Ok(Reply { json, text: format!("Run {}: {why}\n", run.id()), status: exit::FAILED })
        }
        None => Err(Failure::new(exit::TIMEOUT, format!("run {} did not get there in time", run.id()))
            .hint(format!("metawsm status --run-id {}", run.id()))),
    }
}

fn look(reader: &Reader, run_id: &str, args: &WaitArgs) -> Result<Option<Standing>, StoreError> {
    let Some(run) = reader.run(run_id)? else { return Ok(None) };
    let agents: Vec<Agent> = reader
        .agents(run_id)?
        .into_iter()
        .filter(|agent| args.agents.is_empty() || args.agents.contains(&agent.key.name))
        .filter(|agent| args.workspace.as_ref().is_none_or(|name| agent.key.workspace == *name))
        .collect();
    let any = |wanted: &[AgentStatus]| agents.iter().any(|agent| wanted.contains(&agent.status));
    let reached = match args.what {
        WaitFor::Completed => matches!(run.status, RunStatus::Completed | RunStatus::Closing | RunStatus::Closed),
        WaitFor::Done => !agents.is_empty() && agents.iter().all(|agent| agent.status == AgentStatus::Done),
        WaitFor::Guidance => reader.guidance_open(run_id)?,
        WaitFor::Idle => any(&[AgentStatus::Idle]),
        WaitFor::Unhealthy => any(&[AgentStatus::Dead, AgentStatus::Failed, AgentStatus::Stalled]),
    };
    if reached {
        return Ok(Some(Standing::Reached(Box::new(run))));
    }
    let over = out_of_reach(&run, &agents, args.what);
    Ok(over.map(|why| Standing::OutOfReach(Box::new(run), why)))
}

/// Why it can no longer get there, if it cannot.
fn out_of_reach(run: &Run, agents: &[Agent], what: WaitFor) -> Option<String> {
    let ended = match run.status {
        RunStatus::Failed | RunStatus::Stopped | RunStatus::Closed => true,
        RunStatus::Completed | RunStatus::Closing => what != WaitFor::Completed,
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused
        | RunStatus::Stopping => false,
    };
    if ended {
        return Some(format!("is {}: {}", run.status, run.reason));
    }
    let lost = agents.iter().find(|agent| {
        what == WaitFor::Done
            && !agent.start_due()
            && match agent.status {
                AgentStatus::Stopped => true,
                AgentStatus::Dead | AgentStatus::Failed => agent.restarts.used >= agent.restarts.budget,
                AgentStatus::Pending
                | AgentStatus::Running
                | AgentStatus::Idle
                | AgentStatus::Stalled
                | AgentStatus::Stopping
                | AgentStatus::Done => false,
            }
    })?;
    Some(format!("agent {} is {}: {}", lost.key.name, lost.status, lost.reason))
}

//! What nobody wants any more: sessions on our tmux server, directories of workspaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::exit::Failure;
use super::super::session::Session;
use super::{Finding, bad, good};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::run::RunStatus;
use crate::services::agents;
use crate::services::engine::Engine;
use crate::services::error::EngineError;
use crate::services::gates::trees;
use crate::services::home::Home;
use crate::services::tmux::{KEEPER, Observe, Tmux, TmuxError};
use crate::store::Reader;

/// Sessions on our tmux server that belong to no agent that should have one.
pub fn sessions(home: &Home, reader: &Reader, repair: bool, session: &Session) -> Result<Vec<Finding>, Failure> {
    let Some(tmux) = Engine::known_tmux(home)? else { return Ok(vec![good("sessions", "no agent was started yet")]) };
    let panes = match tmux.panes() {
        Ok(panes) => panes.panes,
        Err(TmuxError::NoServer { .. }) => Vec::new(),
        Err(error) => {
            return Ok(vec![bad("sessions", error.to_string(), "metawsm doctor again; if it stays, restart tmux")]);
        }
    };
    let known: Vec<Agent> = reader.all_agents()?;
    let open: BTreeSet<String> = reader
        .runs()?
        .into_iter()
        .filter(|run| run.status != RunStatus::Closed)
        .map(|run| run.id().to_owned())
        .collect();
    let mut findings = Vec::new();
    for pane in panes.iter().filter(|pane| pane.session != KEEPER && tmux.own) {
        let owner = known.iter().find(|agent| agent.spec.session == pane.session);
        let why = match owner.filter(|agent| open.contains(&agent.key.run_id)) {
            Some(agent) if agent.status != AgentStatus::Stopped || agent.start_due() => continue,
            Some(agent) => format!("belongs to agent {} of run {}, which is stopped", agent.key.name, agent.key.run_id),
            None => "belongs to no open run".to_owned(),
        };
        if repair {
            end_orphan(session, home, &tmux, owner, &pane.session)?;
            findings.push(good("sessions", format!("ended the orphaned session {}", pane.session)));
        } else {
            findings.push(bad(
                "sessions",
                format!("session {} {why}", pane.session),
                "metawsm doctor --repair ends it",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(good("sessions", "every session belongs to an open run"));
    }
    Ok(findings)
}

fn end_orphan(session: &Session, home: &Home, tmux: &Tmux, owner: Option<&Agent>, name: &str) -> Result<(), Failure> {
    if let Some(agent) = owner {
        let engine = Engine::open(home.clone(), session.surroundings.clone())?;
        agents::end(&engine, agent)?;
        return Ok(());
    }
    tmux.kill_session(name).map_err(EngineError::from)?;
    Ok(())
}

/// Worktrees that the journal knows and the disk has not.
pub fn worktrees(home: &Home, reader: &Reader) -> Result<Vec<Finding>, Failure> {
    let mut findings = strays(home, reader)?;
    for run in reader.runs()? {
        let mut workspaces = reader.workspaces(run.id())?;
        workspaces.retain(|workspace| !workspace.removed);
        for (workspace, tree) in trees(&workspaces) {
            if !Path::new(&tree.path).is_dir() {
                findings.push(bad(
                    "worktrees",
                    format!("{} of workspace {} is gone", tree.path, workspace.name),
                    format!("metawsm cleanup --run-id {} removes what is left of it", run.id()),
                ));
            }
        }
    }
    if findings.is_empty() {
        findings.push(good("worktrees", "every worktree is where the journal says"));
    }
    Ok(findings)
}

/// Directories of workspaces that belong to no run, or to one that will never finish them.
fn strays(home: &Home, reader: &Reader) -> Result<Vec<Finding>, Failure> {
    let root =
        home.load_policy(&[]).map_or_else(|_| ".metawsm/workspaces".to_owned(), |live| live.policy.workspace.root);
    let mut owners = BTreeMap::new();
    for run in reader.runs()? {
        let removed: Vec<String> = reader
            .workspaces(run.id())?
            .into_iter()
            .filter(|workspace| workspace.removed)
            .map(|workspace| workspace.name)
            .collect();
        for workspace in run.spec.workspaces.iter().filter(|workspace| !removed.contains(&workspace.name)) {
            owners.insert(workspace.name.clone(), run.clone());
        }
    }
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(home.workspace_root(&root)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match owners.get(&name) {
            None => findings.push(bad(
                "worktrees",
                format!("{} belongs to no run", entry.path().display()),
                "look into it, then remove it with git worktree remove",
            )),
            Some(run) if reader.workspaces(run.id())?.iter().all(|workspace| workspace.name != name) => {
                if matches!(run.status, RunStatus::Stopped | RunStatus::Failed | RunStatus::Closed) {
                    findings.push(bad(
                        "worktrees",
                        format!("{} was never finished", entry.path().display()),
                        format!("metawsm resume --run-id {0}, or: metawsm cleanup --run-id {0}", run.id()),
                    ));
                }
            }
            Some(_) => {}
        }
    }
    Ok(findings)
}

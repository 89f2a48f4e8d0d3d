//! What nobody wants any more: sessions on our tmux server, directories of workspaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::exit::Failure;
use super::super::session::Session;
use super::{Finding, bad, good};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::run::RunStatus;
use crate::services::agents::{self, LaunchFiles};
use crate::services::engine::{DATABASE_ID, Engine};
use crate::services::error::EngineError;
use crate::services::gates::trees;
use crate::services::home::Home;
use crate::services::launcher::{MARKER_ENV, Record, read_record};
use crate::services::process::{Processes, default_table};
use crate::services::tmux::{KEEPER, Observe, Tmux, TmuxError};
use crate::store::Reader;

/// A launch whose launcher runs.
struct Living {
    agent: Agent,
    record: Record,
}

fn living(home: &Home, agents: &[Agent], processes: &dyn Processes) -> Vec<Living> {
    let launched = agents.iter().filter(|agent| agent.program_may_live());
    let known = launched.filter_map(|agent| {
        let record = read_record(&LaunchFiles::at(home, &agent.spec.session, agent.launch).record).ok()??;
        Some(Living { agent: agent.clone(), record })
    });
    known.filter(|known| processes.alive(known.record.launcher_pid, known.record.launcher_start)).collect()
}

/// Sessions on our tmux server that belong to no agent that should have one, and agents without a session.
pub fn sessions(home: &Home, reader: &Reader, repair: bool, session: &Session) -> Result<Vec<Finding>, Failure> {
    let Some(tmux) = Engine::known_tmux(home)? else { return Ok(vec![good("sessions", "no agent was started yet")]) };
    let processes = default_table();
    let known: Vec<Agent> = reader.all_agents()?;
    let living = living(home, &known, processes.as_ref());
    let panes = match tmux.panes() {
        Ok(panes) => panes.panes,
        Err(TmuxError::NoServer { .. }) => Vec::new(),
        Err(error) => return Ok(vec![silent(&living, processes.as_ref(), &error)]),
    };
    let open: BTreeSet<String> = reader
        .runs()?
        .into_iter()
        .filter(|run| run.status != RunStatus::Closed)
        .map(|run| run.id().to_owned())
        .collect();
    let mut findings = Vec::new();
    for pane in panes.iter().filter(|pane| pane.session != KEEPER && tmux.own) {
        let renamed = living.iter().find(|one| one.record.launcher_pid == pane.pane_pid);
        if let Some(one) = renamed.filter(|one| one.agent.spec.session != pane.session) {
            findings.push(misnamed(&one.agent, &pane.session, &tmux));
            continue;
        }
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
    let shown: BTreeSet<u32> = panes.iter().map(|pane| pane.pane_pid).collect();
    for one in living.iter().filter(|one| !shown.contains(&one.record.launcher_pid)) {
        findings.push(unseen(&one.agent));
    }
    findings.extend(programs(home, &known, &living, processes.as_ref())?);
    if findings.is_empty() {
        findings.push(good("sessions", "every session belongs to an open run"));
    }
    Ok(findings)
}

/// The server that does not answer, with what may be done that ends nobody.
fn silent(living: &[Living], processes: &dyn Processes, error: &TmuxError) -> Finding {
    let server = living.iter().find_map(|one| one.record.server_pid.map(|pid| (pid, one.record.server_start)));
    match server.filter(|(pid, start)| processes.alive(*pid, *start)) {
        Some((pid, _)) => bad(
            "sessions",
            format!("the tmux server (process {pid}) does not answer; its agents live"),
            format!("kill -CONT {pid} sets it going if it was stopped; to end it ends every agent"),
        ),
        None => bad("sessions", error.to_string(), "metawsm doctor again"),
    }
}

fn misnamed(agent: &Agent, name: &str, tmux: &Tmux) -> Finding {
    let (wanted, socket) = (&agent.spec.session, tmux.socket.display());
    bad(
        "sessions",
        format!("session {name} is that of agent {} of run {}, renamed", agent.key.name, agent.key.run_id),
        format!("tmux -S {socket} rename-session -t '={name}' {wanted}"),
    )
}

fn unseen(agent: &Agent) -> Finding {
    let (name, run_id) = (&agent.key.name, &agent.key.run_id);
    bad(
        "sessions",
        format!("agent {name} of run {run_id} lives on without a session"),
        format!("whoever supervises ends it; else: metawsm restart --run-id {run_id} --agent {name}"),
    )
}

/// Programs that an agent began and that outlived it, told by the marker in their environment.
fn programs(
    home: &Home,
    known: &[Agent],
    living: &[Living],
    processes: &dyn Processes,
) -> Result<Vec<Finding>, Failure> {
    let reader = home.reader()?;
    let Some(database) = reader.meta(DATABASE_ID)? else { return Ok(Vec::new()) };
    let lives = |session: &str, n: u32| living.iter().any(|one| one.agent.spec.session == session && one.record.n == n);
    let mut findings = Vec::new();
    for proc in processes.list().iter().filter(|proc| !proc.zombie) {
        let environment = processes.environment(proc.pid);
        let marker = environment.get(MARKER_ENV).and_then(|marker| marker.strip_prefix(&format!("{database}/")));
        let Some((session, n)) = marker.and_then(|marker| marker.rsplit_once('/')) else { continue };
        let Some(agent) = known.iter().find(|agent| agent.spec.session == session) else { continue };
        // One that is just being started is not noted yet, and adopted by whoever supervises.
        let begins = |n: u32| agent.start_due() && n == agent.wanted;
        if n.parse().is_ok_and(|n| !lives(session, n) && !begins(n)) {
            let (pid, name, run_id) = (proc.pid, &agent.key.name, &agent.key.run_id);
            findings.push(bad(
                "sessions",
                format!("process {pid} is of launch {n} of agent {name} of run {run_id}, which is over"),
                format!("look at it (ps {pid}), then: kill {pid}"),
            ));
        }
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

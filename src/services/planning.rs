//! Compiles a request into a run: repositories found, names derived, the plan laid out. Writes nothing.

use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::error::EngineError;
use super::git::{Git, GitError};
use super::home::Home;
use crate::domain::agent::{AgentKey, AgentSpec, Completion};
use crate::domain::command::RunWish;
use crate::domain::name;
use crate::domain::plan::compile;
use crate::domain::policy::{self, Loaded, Policy, ResolvedAgent};
use crate::domain::run::{Brief, RepoSpec, RunMode, RunSpec, Strategy, WorkspaceSpec};
use crate::domain::time::Moment;
use crate::store::Reader;

/// What `run` or `bootstrap` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--ticket`.
    pub tickets: Vec<String>,
    /// `--repos`.
    pub repos: Vec<String>,
    /// `--doc-home-repo`.
    pub doc_home_repo: Option<String>,
    /// `--agent`.
    pub agents: Vec<String>,
    /// `--strategy`.
    pub strategy: Option<Strategy>,
    /// `--from`.
    pub from: Option<String>,
    /// `--workspace`.
    pub workspace: Option<String>,
    /// `--base-branch`.
    pub base_branch: Option<String>,
    /// `--seed`.
    pub seed: Option<bool>,
    /// `--prompt`.
    pub prompt: Option<String>,
    /// `--run-id`.
    pub run_id: Option<String>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// The brief of a bootstrap run.
    pub brief: Option<Brief>,
}

/// A run ready to be written down.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its id.
    pub run_id: String,
    /// The command that writes it down.
    pub wish: RunWish,
}

/// Compiles a request.
///
/// # Errors
/// A name that is refused, a repository that is not there, a base that is missing; all with their remedy.
pub fn plan(
    home: &Home,
    git: &Git,
    reader: Option<&Reader>,
    loaded: &Loaded,
    request: &Request,
    now: Moment,
) -> Result<Planned, EngineError> {
    let policy = &loaded.policy;
    check_names(request)?;
    let agents = policy.agents_named(&request.agents).map_err(|faults| unknown_agent(home, policy, faults))?;
    let run_id = run_id(reader, request, now)?;
    let strategy = strategy(policy, request)?;
    let base = request.base_branch.clone().unwrap_or_else(|| policy.workspace.base_branch.clone());
    let base = base.strip_prefix("origin/").map_or(base.clone(), str::to_owned);
    let repos = repos(home, git, policy, reader, request, strategy, &base)?;
    let doc_home_repo = doc_home(request, &repos)?;
    let workspaces = workspaces(home, git, policy, reader, request, strategy, &run_id, &repos)?;
    let spec = RunSpec {
        run_id: run_id.clone(),
        mode: if request.brief.is_some() { RunMode::Bootstrap } else { RunMode::Run },
        tickets: request.tickets.clone(),
        repos,
        doc_home_repo,
        base_branch: base,
        strategy,
        from: request.from.clone(),
        seed: request.seed.unwrap_or(policy.docs.seed_mode == policy::SeedMode::CopyFromRepoOnStart),
        prompt: request.prompt.clone(),
        dry_run: request.dry_run,
        workspaces,
        step_retries: policy.execution.step_retries,
    };
    if spec.strategy != Strategy::Reuse {
        check_bases(git, reader, &spec)?;
    }
    let rows = agent_rows(policy, reader, &spec, &agents)?;
    let shown: Vec<(String, String, Vec<String>)> = rows
        .iter()
        .map(|(key, row)| (key.name.clone(), key.workspace.clone(), shown_argv(&agents, &key.name, &row.session)))
        .collect();
    let steps = compile(&spec, &shown);
    let wish = RunWish::Create { spec, brief: request.brief.clone(), policy: policy.stored(), agents: rows, steps };
    Ok(Planned { run_id, wish })
}

/// A name that the policy does not have is the caller's; everything else is the policy's fault.
fn unknown_agent(home: &Home, policy: &Policy, faults: Vec<policy::Fault>) -> EngineError {
    match faults.iter().find(|fault| fault.path == "agent") {
        Some(fault) => {
            let names: Vec<&str> = policy.agents.iter().map(|agent| agent.name.as_str()).collect();
            EngineError::not_found(fault.to_string(), format!("the policy has {}", names.join(", ")))
        }
        None => EngineError::Policy { path: home.policy.display().to_string(), faults },
    }
}

fn check_names(request: &Request) -> Result<(), EngineError> {
    if request.tickets.is_empty() {
        return Err(EngineError::usage("no ticket given", "name one: --ticket ACME-12"));
    }
    for (at, ticket) in request.tickets.iter().enumerate() {
        name::check("ticket", ticket)?;
        if request.tickets[..at].contains(ticket) {
            return Err(EngineError::usage(format!("ticket {ticket} is given twice"), "name each ticket once"));
        }
    }
    if let Some(id) = &request.run_id {
        name::check("run id", id)?;
    }
    if let Some(workspace) = &request.workspace {
        name::check("workspace", workspace)?;
    }
    for agent in &request.agents {
        name::check("agent", agent)?;
    }
    Ok(())
}

fn run_id(reader: Option<&Reader>, request: &Request, now: Moment) -> Result<String, EngineError> {
    let taken = |id: &str| -> bool { reader.is_some_and(|reader| matches!(reader.run(id), Ok(Some(_)))) };
    if let Some(id) = &request.run_id {
        if taken(id) {
            return Err(EngineError::refused(
                format!("run {id} exists already"),
                "leave out --run-id and a free one is chosen",
            ));
        }
        return Ok(id.clone());
    }
    Ok(name::free(&format!("run-{}", now.compact()), taken))
}

fn strategy(policy: &Policy, request: &Request) -> Result<Strategy, EngineError> {
    let strategy = request.strategy.unwrap_or(match policy.workspace.default_strategy {
        policy::Strategy::Create => Strategy::Create,
        policy::Strategy::Fork => Strategy::Fork,
        policy::Strategy::Reuse => Strategy::Reuse,
    });
    match strategy {
        Strategy::Fork if request.from.is_none() => {
            Err(EngineError::usage("fork needs a workspace to start from", "name it: --from WORKSPACE"))
        }
        Strategy::Reuse if request.workspace.is_none() => {
            Err(EngineError::usage("reuse needs a workspace", "name it: --workspace WORKSPACE"))
        }
        Strategy::Reuse if request.tickets.len() > 1 => {
            Err(EngineError::usage("a workspace is reused for one ticket", "give one --ticket"))
        }
        Strategy::Create | Strategy::Fork | Strategy::Reuse => Ok(strategy),
    }
}

fn repos(
    home: &Home,
    git: &Git,
    policy: &Policy,
    reader: Option<&Reader>,
    request: &Request,
    strategy: Strategy,
    base: &str,
) -> Result<Vec<RepoSpec>, EngineError> {
    if strategy == Strategy::Reuse && request.repos.is_empty() {
        return reused_repos(reader, request);
    }
    if request.repos.is_empty() {
        return Err(EngineError::usage("no repository given", "name one or more: --repos api,web or --repos ./path"));
    }
    let mut found: Vec<RepoSpec> = Vec::new();
    for wanted in &request.repos {
        let (path, own_base) = locate(home, git, policy, wanted)?;
        let info = git.inspect(&path)?;
        let path = info.toplevel.display().to_string();
        if found.iter().any(|repo| repo.path == path) {
            return Err(EngineError::usage(format!("repository {wanted} is given twice"), "name each repository once"));
        }
        let plain = info.toplevel.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let taken = |name: &str| found.iter().any(|repo| repo.name == name);
        let name = name::free(&name::derive(&plain), taken);
        let base =
            request.base_branch.as_ref().map(|_| base.to_owned()).or(own_base).unwrap_or_else(|| base.to_owned());
        found.push(RepoSpec { name, path, base });
    }
    Ok(found)
}

fn reused_repos(reader: Option<&Reader>, request: &Request) -> Result<Vec<RepoSpec>, EngineError> {
    let name = request.workspace.as_deref().unwrap_or_default();
    let known = known_workspace(reader, name)?;
    let run = reader.map(|reader| reader.run(&known.run_id)).transpose()?.flatten();
    run.map(|run| run.spec.repos).ok_or_else(|| {
        EngineError::not_found(format!("workspace {name} belongs to no run"), "name its repositories: --repos")
    })
}

fn known_workspace(reader: Option<&Reader>, name: &str) -> Result<crate::domain::scene::Workspace, EngineError> {
    let found = match reader {
        None => None,
        Some(reader) => reader.workspaces_named(name)?.into_iter().find(|workspace| !workspace.removed),
    };
    found.ok_or_else(|| {
        EngineError::not_found(format!("no workspace {name}"), "metawsm runs --all and metawsm status list workspaces")
    })
}

/// Where a repository is: a path, or a name looked up in the policy, in the home and beside it.
fn locate(home: &Home, git: &Git, policy: &Policy, wanted: &str) -> Result<(PathBuf, Option<String>), EngineError> {
    if wanted.contains('/') || wanted == "." || wanted == ".." {
        let path = if Path::new(wanted).is_absolute() {
            PathBuf::from(wanted)
        } else {
            std::env::current_dir().map_err(EngineError::io("find the current directory"))?.join(wanted)
        };
        return Ok((path, None));
    }
    let mut looked = Vec::new();
    if let Some(repo) = policy.repos.get(wanted) {
        let path = home.root.join(&repo.path);
        if path.is_dir() {
            return Ok((path, repo.base.clone()));
        }
        looked.push(format!("{} (policy repos.{wanted})", path.display()));
    }
    let beside = home.root.parent().map(|parent| parent.join(wanted));
    let itself = (home.root.file_name().is_some_and(|name| name == wanted)).then(|| home.root.clone());
    for place in [Some(home.root.join(wanted)), beside, itself].into_iter().flatten() {
        if place.is_dir() {
            match git.inspect(&place) {
                Ok(info) if same(&info.toplevel, &place) => return Ok((place, None)),
                // Without git nothing can be looked for.
                Err(error @ GitError::Missing { .. }) => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        looked.push(place.display().to_string());
    }
    Err(EngineError::not_found(
        format!("no repository {wanted}; looked at {}", looked.join(", ")),
        "give its path: --repos ./path/to/repo, or name it in the policy under repos",
    ))
}

fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn doc_home(request: &Request, repos: &[RepoSpec]) -> Result<String, EngineError> {
    let Some(wanted) = &request.doc_home_repo else {
        return Ok(repos.first().map(|repo| repo.name.clone()).unwrap_or_default());
    };
    let plain = Path::new(wanted).file_name().map_or(wanted.clone(), |name| name.to_string_lossy().into_owned());
    repos
        .iter()
        .find(|repo| repo.name.eq_ignore_ascii_case(&name::derive(&plain)))
        .map(|repo| repo.name.clone())
        .ok_or_else(|| {
            let names: Vec<&str> = repos.iter().map(|repo| repo.name.as_str()).collect();
            EngineError::usage(
                format!("--doc-home-repo {wanted} is none of {}", names.join(", ")),
                "name one of --repos",
            )
        })
}

#[expect(clippy::too_many_arguments, reason = "each is a different thing the names are derived from")]
fn workspaces(
    home: &Home,
    git: &Git,
    policy: &Policy,
    reader: Option<&Reader>,
    request: &Request,
    strategy: Strategy,
    run_id: &str,
    repos: &[RepoSpec],
) -> Result<Vec<WorkspaceSpec>, EngineError> {
    if strategy == Strategy::Reuse {
        let name = request.workspace.clone().unwrap_or_default();
        let known = known_workspace(reader, &name)?;
        let branch = known.worktrees.first().map(|tree| tree.branch.clone()).unwrap_or_default();
        let ticket = request.tickets.first().cloned().unwrap_or_default();
        return Ok(vec![WorkspaceSpec { name, ticket, path: known.path, branch }]);
    }
    let root = home.workspace_root(&policy.workspace.root);
    let token = run_id.strip_prefix("run-").unwrap_or(run_id);
    let mut made: Vec<WorkspaceSpec> = Vec::new();
    for ticket in &request.tickets {
        let plain = match &request.workspace {
            Some(name) if request.tickets.len() == 1 => name::derive(name),
            Some(_) | None => name::derive(&format!("{ticket}-{token}")),
        };
        let branch_of = |name: &str| format!("{}/{name}", policy.workspace.branch_prefix);
        let taken = |name: &str| {
            made.iter().any(|workspace| workspace.name == name)
                || root.join(name).exists()
                || reader.is_some_and(|reader| reader.workspaces_named(name).is_ok_and(|found| !found.is_empty()))
                || repos.iter().any(|repo| git.branch_exists(Path::new(&repo.path), &branch_of(name)).unwrap_or(false))
        };
        let name = name::free(&plain, taken);
        made.push(WorkspaceSpec {
            ticket: ticket.clone(),
            path: root.join(&name).display().to_string(),
            branch: branch_of(&name),
            name,
        });
    }
    Ok(made)
}

/// A base that is missing or has diverged is said now, not after half of the plan.
fn check_bases(git: &Git, reader: Option<&Reader>, spec: &RunSpec) -> Result<(), EngineError> {
    if let Some(from) = &spec.from {
        let source = known_workspace(reader, from)?;
        for repo in &spec.repos {
            if !source.worktrees.iter().any(|tree| tree.repo == repo.name) {
                return Err(EngineError::not_found(
                    format!("workspace {from} has no repository {}", repo.name),
                    "fork with the repositories it has",
                ));
            }
        }
        return Ok(());
    }
    for repo in &spec.repos {
        git.start_point(Path::new(&repo.path), &repo.base)?;
    }
    Ok(())
}

fn agent_rows(
    policy: &Policy,
    reader: Option<&Reader>,
    spec: &RunSpec,
    agents: &[ResolvedAgent],
) -> Result<Vec<(AgentKey, AgentSpec)>, EngineError> {
    let mut rows: Vec<(AgentKey, AgentSpec)> = Vec::new();
    for workspace in &spec.workspaces {
        for agent in agents {
            let key = AgentKey::new(&spec.run_id, &workspace.name, &agent.name);
            if rows.iter().any(|(other, _)| *other == key) {
                return Err(EngineError::usage(format!("agent {} is given twice", agent.name), "name each agent once"));
            }
            let pattern = policy
                .tmux
                .session_pattern
                .replace("{agent}", &agent.name)
                .replace("{workspace}", &workspace.name)
                .replace("{run}", &spec.run_id)
                .replace("{ticket}", &workspace.ticket);
            let taken = |session: &str| {
                rows.iter().any(|(_, row)| row.session == session)
                    || reader.is_some_and(|reader| reader.session_taken(session).unwrap_or(false))
            };
            let row = AgentSpec {
                ticket: workspace.ticket.clone(),
                session: name::free(&name::derive(&pattern), taken),
                profile: agent.profile.name.clone(),
                runner: agent.runner_name.clone(),
                completion: match agent.profile.completion {
                    policy::Completion::Signal => Completion::Signal,
                    policy::Completion::ExitZero => Completion::ExitZero,
                    policy::Completion::Either => Completion::Either,
                },
                restart_budget: policy.operator.restart_budget,
                may: agent.profile.may.iter().map(|policy::Permission::Run| "run".to_owned()).collect(),
                paste: agent.profile.deliver == policy::Deliver::Paste,
            };
            rows.push((key, row));
        }
    }
    Ok(rows)
}

/// What starts the agent, as it may be shown: the prompt and what is only known later stay placeholders.
fn shown_argv(agents: &[ResolvedAgent], name: &str, session: &str) -> Vec<String> {
    let Some(agent) = agents.iter().find(|agent| agent.name == name) else { return Vec::new() };
    let command = if agent.runner.start.is_empty() {
        agent.profile.runner_options.command.clone().unwrap_or_default()
    } else {
        agent.runner.start.clone()
    };
    ["tmux", "new-session", "-d", "-s", session, "metawsm", "agent", "exec", "--"]
        .map(str::to_owned)
        .into_iter()
        .chain(command)
        .collect()
}

impl Engine {
    /// Compiles a request and writes the run down.
    ///
    /// # Errors
    /// Whatever [`plan`] says, or a refusal.
    pub fn create_run(
        &self,
        caller: &super::engine::Caller,
        loaded: &Loaded,
        request: &Request,
    ) -> Result<String, EngineError> {
        let reader = self.reader()?;
        let mut tries = 0;
        loop {
            let planned = plan(&self.home, &self.git, Some(&reader), loaded, request, self.now())?;
            match self.order_run(caller, &planned.run_id, planned.wish) {
                Ok(_) => return Ok(planned.run_id),
                // Another process took the same second's id between our look and our write.
                Err(error) if request.run_id.is_none() && tries < 20 && reader.run(&planned.run_id)?.is_some() => {
                    tries += 1;
                    drop(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

//! Wishes about runs, steps and workspaces.

use std::collections::BTreeSet;

use super::{Context, agent_subject, feedback, hold, run_subject, shortened};
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::command::{RunWish, StepEnd};
use crate::domain::event::{Draft, Fact, LARGEST_PAYLOAD, PullRequestFact, Subject};
use crate::domain::name;
use crate::domain::plan::{Step, StepStatus};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunMode, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::thread::control_thread_id;

/// Files named in one `docs.seeded` event, so that its payload stays below the limit.
const FILES_PER_EVENT: usize = 200;

pub(super) fn decide(scene: &Scene, run_id: &str, wish: &RunWish, context: &Context) -> Result<Vec<Draft>, Refusal> {
    let run = match wish {
        RunWish::Create { .. } => return create(scene, run_id, wish),
        _ => find(scene, run_id)?,
    };
    match wish {
        RunWish::Create { .. } => Ok(Vec::new()),
        RunWish::Pause => turn(run, RunStatus::Paused, "paused by command"),
        RunWish::Resume => resume(scene, run),
        RunWish::Stop => stop(scene, run, "stopped by command"),
        RunWish::FinishStop => finish_stop(scene, run),
        RunWish::BeginClose => begin_close(scene, run),
        RunWish::FinishClose => turn(run, RunStatus::Closed, "closed"),
        RunWish::AbortClose { reason } => abort_close(run, reason),
        RunWish::BeginStep { index } => begin_step(scene, run, *index),
        RunWish::EndStep { index, end } => end_step(scene, run, *index, end),
        RunWish::Iterate(wish) => feedback::iterate(scene, run, wish, context),
        RunWish::ReviewSynced(seen) => Ok(feedback::synced(scene, run, seen)),
        RunWish::ReviewsUnheard { why, since, due_at, escalation_id } => {
            Ok(feedback::unheard(scene, run, (why, *since), *due_at, escalation_id))
        }
        RunWish::WorkspaceCreated { .. }
        | RunWish::WorkspaceRemoved { .. }
        | RunWish::DocsSeeded { .. }
        | RunWish::DocsSynced { .. }
        | RunWish::Committed { .. }
        | RunWish::PullRequest { .. }
        | RunWish::Merged { .. } => work(scene, run, wish),
    }
}

fn find<'a>(scene: &'a Scene, run_id: &str) -> Result<&'a Run, Refusal> {
    scene
        .runs
        .get(run_id)
        .ok_or_else(|| Refusal::not_found(format!("no run {run_id}")).hint("metawsm runs --all lists them"))
}

fn create(scene: &Scene, run_id: &str, wish: &RunWish) -> Result<Vec<Draft>, Refusal> {
    let RunWish::Create { spec, brief, policy, agents, steps } = wish else { return Ok(Vec::new()) };
    if let Some(run) = scene.runs.get(run_id) {
        return Err(Refusal::illegal(format!("run {run_id} exists already"), run.status.word(), ["resume"])
            .hint("leave out --run-id and a free one is chosen"));
    }
    check_new(run_id, wish)?;
    let subject = run_subject(run_id);
    let created = Fact::RunCreated { spec: spec.clone(), brief: brief.clone(), policy: policy.clone() };
    if created.split().1.to_string().len() > LARGEST_PAYLOAD {
        return Err(Refusal::invalid("brief, prompt and policy together are larger than 64 KiB")
            .hint("put the long text into a file of the repository and name it in the prompt"));
    }
    let mut drafts = vec![Draft::new(subject.clone(), created)];
    for (key, agent) in agents {
        drafts.push(Draft::new(agent_subject(key, &agent.ticket), Fact::AgentRegistered(agent.clone())));
    }
    for step in steps {
        let subject = Subject {
            ticket: Some(step.ticket.clone()),
            workspace: Some(step.workspace.clone()),
            agent_name: step.agent.clone(),
            ..subject.clone()
        };
        let planned = Fact::StepTransitioned {
            index: step.index,
            from: None,
            to: StepStatus::Pending,
            attempt: 0,
            error: None,
            spec: Some(step.clone()),
        };
        drafts.push(Draft::new(subject, planned));
    }
    let mut to = |from: RunStatus, to: RunStatus, reason: &str| {
        drafts.push(Draft::new(subject.clone(), Fact::RunTransitioned { from, to, reason: reason.to_owned() }));
    };
    to(RunStatus::Created, RunStatus::Planning, "the plan is compiled");
    if spec.dry_run {
        to(RunStatus::Planning, RunStatus::Paused, "dry run: nothing was started");
    } else {
        to(RunStatus::Planning, RunStatus::Running, "the plan is being executed");
    }
    Ok(drafts)
}

/// The names of a new run, and that it is about itself.
fn check_new(run_id: &str, wish: &RunWish) -> Result<(), Refusal> {
    let RunWish::Create { spec, brief, agents, .. } = wish else { return Ok(()) };
    let tickets = spec.tickets.iter().map(|ticket| ("ticket", ticket.as_str()));
    let names = agents.iter().map(|(key, _)| ("agent", key.name.as_str()));
    for (what, name) in std::iter::once(("run id", run_id)).chain(tickets).chain(names) {
        name::check(what, name).map_err(|bad| Refusal::invalid(bad.to_string()))?;
    }
    if spec.run_id != run_id {
        return Err(Refusal::invalid(format!("the plan of run {run_id} names run {}", spec.run_id)));
    }
    if spec.mode == RunMode::Bootstrap && brief.as_ref().is_none_or(|brief| brief.done_criteria.trim().is_empty()) {
        return Err(Refusal::invalid("a bootstrap run needs a brief with done criteria")
            .hint("say when it is done: --done-criteria"));
    }
    let mut keys = BTreeSet::new();
    let mut controls = BTreeSet::new();
    let several = spec.workspaces.len() > 1;
    for (key, _) in agents {
        if key.run_id != run_id || !keys.insert(key) {
            return Err(Refusal::invalid(format!("agent {} in workspace {} is named twice", key.name, key.workspace))
                .hint("give each agent of a workspace a name of its own"));
        }
        // Names that differ only in case or punctuation would talk in one control thread.
        if !controls.insert(control_thread_id(run_id, &key.name, several.then_some(key.workspace.as_str()))) {
            return Err(Refusal::invalid(format!("the name of agent {} is too much like another's", key.name))
                .hint("names of agents differ in more than case and punctuation"));
        }
    }
    Ok(())
}

/// One transition, or a refusal that names what would be legal; staying where it is changes nothing.
fn turn(run: &Run, to: RunStatus, reason: &str) -> Result<Vec<Draft>, Refusal> {
    if run.status == to {
        return Ok(Vec::new());
    }
    if !run.status.may_become(to) {
        return Err(illegal(run, to.word()));
    }
    let fact = Fact::RunTransitioned { from: run.status, to, reason: reason.to_owned() };
    Ok(vec![Draft::new(run_subject(run.id()), fact)])
}

fn illegal(run: &Run, wish: &str) -> Refusal {
    let allowed = run.status.next_commands();
    Refusal::illegal(
        format!("run {} is {}: it cannot become {wish}", run.id(), run.status),
        run.status.word(),
        allowed.to_vec(),
    )
    .hint(format!("legal now: {}", allowed.join(", ")))
}

fn resume(scene: &Scene, run: &Run) -> Result<Vec<Draft>, Refusal> {
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance => return Ok(Vec::new()),
        RunStatus::Paused | RunStatus::Planning | RunStatus::Failed | RunStatus::Stopped => {}
        RunStatus::Created | RunStatus::Stopping | RunStatus::Closing | RunStatus::Closed | RunStatus::Completed => {
            return Err(illegal(run, "running by resume"));
        }
    }
    not_cleaned_up(scene, run)?;
    let mut drafts = turn(run, RunStatus::Running, "resumed by command")?;
    if run.spec.dry_run {
        drafts.insert(0, Draft::new(run_subject(run.id()), Fact::RunSpecChanged { dry_run: false }));
    }
    for agent in scene.agents_of(run.id()) {
        drafts.extend(hold::release(agent, Some("its run is resumed")));
    }
    if matches!(run.status, RunStatus::Failed | RunStatus::Stopped) {
        for agent in scene.agents_of(run.id()) {
            let ended = matches!(agent.status, AgentStatus::Stopped | AgentStatus::Dead | AgentStatus::Failed);
            if ended && agent.launch > 0 {
                drafts.push(restart(agent, agent.epoch, "the run was resumed"));
            }
        }
    }
    Ok(drafts)
}

/// A run whose workspaces were removed has nothing left to go on in.
pub(super) fn not_cleaned_up(scene: &Scene, run: &Run) -> Result<(), Refusal> {
    there(run, |name| {
        scene.workspaces.get(&(run.id().to_owned(), name.to_owned())).is_none_or(|workspace| !workspace.removed)
    })
}

/// The same, for whoever knows which workspaces are there.
///
/// # Errors
/// A refusal naming the one that is not.
pub fn there(run: &Run, is_there: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match run.spec.workspaces.iter().find(|workspace| !is_there(&workspace.name)) {
        None => Ok(()),
        Some(workspace) => Err(Refusal::illegal(
            format!("workspace {} of run {} was removed by cleanup", workspace.name, run.id()),
            run.status.word(),
            ["run"],
        )
        .hint(format!("start a new run: metawsm run --ticket {}", workspace.ticket))),
    }
}

fn restart(agent: &Agent, epoch: u32, reason: &str) -> Draft {
    let fact = Fact::AgentRestarted {
        launch: agent.launch + 1,
        epoch,
        reason: reason.to_owned(),
        free: true,
        server_lost: false,
        anew: false,
        cooldown_until: None,
    };
    Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)
}

/// The intention to end a run's sessions.
pub(super) fn stop(scene: &Scene, run: &Run, reason: &str) -> Result<Vec<Draft>, Refusal> {
    let mut drafts = turn(run, RunStatus::Stopping, reason)?;
    for agent in scene.agents_of(run.id()).into_iter().filter(|agent| agent.status.working()) {
        drafts.push(agent_turn(agent, AgentStatus::Stopping, "the run is being stopped"));
    }
    Ok(drafts)
}

fn agent_turn(agent: &Agent, to: AgentStatus, reason: &str) -> Draft {
    let fact = Fact::AgentTransitioned { from: agent.status, to, reason: reason.to_owned(), launch: None };
    Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)
}

fn finish_stop(scene: &Scene, run: &Run) -> Result<Vec<Draft>, Refusal> {
    if run.status == RunStatus::Stopped {
        return Ok(Vec::new());
    }
    let alive: Vec<&str> = scene
        .agents_of(run.id())
        .into_iter()
        .filter(|agent| agent.status.alive())
        .map(|agent| agent.key.name.as_str())
        .collect();
    if !alive.is_empty() {
        return Err(Refusal::illegal(format!("{} still to be stopped", alive.join(", ")), run.status.word(), ["stop"]));
    }
    let mut drafts: Vec<Draft> = scene
        .steps_of(run.id())
        .into_iter()
        .filter(|step| step.status == StepStatus::Running)
        .map(|step| step_turn(step, StepStatus::Pending, step.attempts, Some("interrupted by stop".to_owned())))
        .collect();
    // An ended agent of a stopped run was not left for dead: `resume` starts it again.
    for agent in scene.agents_of(run.id()) {
        if matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed) {
            drafts.push(agent_turn(agent, AgentStatus::Stopped, "the run was stopped"));
        }
    }
    // Who wished it, and why, was said when it began.
    let reason = if run.status == RunStatus::Stopping { run.reason.as_str() } else { "stopped by command" };
    drafts.extend(turn(run, RunStatus::Stopped, reason)?);
    Ok(drafts)
}

fn begin_close(scene: &Scene, run: &Run) -> Result<Vec<Draft>, Refusal> {
    let working: Vec<&str> = scene
        .agents_of(run.id())
        .into_iter()
        .filter(|agent| agent.status.working())
        .map(|agent| agent.key.name.as_str())
        .collect();
    if !working.is_empty() {
        return Err(Refusal::illegal(format!("{} still at work", working.join(", ")), run.status.word(), ["stop"]));
    }
    turn(run, RunStatus::Closing, "the gates were passed")
}

/// `completed` is also where working runs go, but not by this way.
fn abort_close(run: &Run, reason: &str) -> Result<Vec<Draft>, Refusal> {
    match run.status {
        RunStatus::Closing | RunStatus::Completed => turn(run, RunStatus::Completed, &shortened(reason)),
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closed => Err(illegal(run, "completed by giving up a close")),
    }
}

fn find_step<'a>(scene: &'a Scene, run: &Run, index: u32) -> Result<&'a Step, Refusal> {
    scene
        .steps
        .get(&(run.id().to_owned(), index))
        .ok_or_else(|| Refusal::not_found(format!("run {} has no step {index}", run.id())))
}

fn step_turn(step: &Step, to: StepStatus, attempt: u32, error: Option<String>) -> Draft {
    let subject = Subject {
        run_id: Some(step.run_id.clone()),
        ticket: Some(step.spec.ticket.clone()),
        workspace: Some(step.spec.workspace.clone()),
        agent_name: step.spec.agent.clone(),
        thread_id: None,
    };
    let fact =
        Fact::StepTransitioned { index: step.spec.index, from: Some(step.status), to, attempt, error, spec: None };
    Draft::new(subject, fact)
}

fn begin_step(scene: &Scene, run: &Run, index: u32) -> Result<Vec<Draft>, Refusal> {
    let step = find_step(scene, run, index)?;
    if !run.status.at_work() {
        return Err(Refusal::illegal(
            format!("run {} is {}: no step is begun", run.id(), run.status),
            run.status.word(),
            run.status.next_commands().to_vec(),
        ));
    }
    let mut drafts = Vec::new();
    let mut from = step.clone();
    if step.status == StepStatus::Running {
        // Only the holder of the run's lease begins steps: whoever began this one is gone.
        drafts.push(step_turn(step, StepStatus::Pending, step.attempts, Some("its process is gone".to_owned())));
        from.status = StepStatus::Pending;
    }
    if !from.status.may_become(StepStatus::Running) {
        return Err(Refusal::illegal(
            format!("step {index} is {}", from.status),
            from.status.word(),
            from.status.successors().iter().map(|next| next.word()),
        ));
    }
    drafts.push(step_turn(&from, StepStatus::Running, step.attempts + 1, None));
    Ok(drafts)
}

fn end_step(scene: &Scene, run: &Run, index: u32, end: &StepEnd) -> Result<Vec<Draft>, Refusal> {
    let step = find_step(scene, run, index)?;
    let (to, attempts, error) = match end {
        StepEnd::Done => (StepStatus::Done, step.attempts, None),
        StepEnd::Failed(error) => (StepStatus::Failed, step.attempts, Some(shortened(error))),
        // An interrupted attempt was no failure: it is given back.
        StepEnd::Interrupted => (StepStatus::Pending, step.attempts.saturating_sub(1), Some("interrupted".to_owned())),
    };
    if step.status == to {
        return Ok(Vec::new());
    }
    if !step.status.may_become(to) {
        return Err(Refusal::illegal(
            format!("step {index} is {}: it cannot become {to}", step.status),
            step.status.word(),
            step.status.successors().iter().map(|next| next.word()),
        ));
    }
    Ok(vec![step_turn(step, to, attempts, error)])
}

fn work(scene: &Scene, run: &Run, wish: &RunWish) -> Result<Vec<Draft>, Refusal> {
    let subject = |workspace: &str| Subject {
        run_id: Some(run.id().to_owned()),
        ticket: run.workspace(workspace).map(|workspace| workspace.ticket.clone()),
        workspace: Some(workspace.to_owned()),
        ..Subject::default()
    };
    let known = |workspace: &str| scene.workspaces.get(&(run.id().to_owned(), workspace.to_owned()));
    Ok(match wish {
        RunWish::WorkspaceCreated { name, path, worktrees, warnings } => {
            if known(name).is_some_and(|known| !known.removed && known.worktrees == *worktrees) {
                return Ok(Vec::new());
            }
            let fact =
                Fact::WorkspaceCreated { path: path.clone(), worktrees: worktrees.clone(), warnings: warnings.clone() };
            vec![Draft::new(subject(name), fact)]
        }
        RunWish::WorkspaceRemoved { name, backups } => match known(name) {
            Some(workspace) if !workspace.removed => {
                let fact = Fact::WorkspaceRemoved { path: workspace.path.clone(), backups: backups.clone() };
                vec![Draft::new(subject(name), fact)]
            }
            Some(_) | None => Vec::new(),
        },
        RunWish::DocsSeeded { workspace, ticket, repo, dir, files, revision } => {
            let subject = Subject { ticket: Some(ticket.clone()), ..subject(workspace) };
            let mut parts: Vec<&[_]> = files.chunks(FILES_PER_EVENT).collect();
            if parts.is_empty() {
                parts.push(&[]);
            }
            let last = parts.len() - 1;
            parts
                .into_iter()
                .enumerate()
                .map(|(number, files)| {
                    let fact = Fact::DocsSeeded {
                        dir: dir.clone(),
                        repo: repo.clone(),
                        files: files.to_vec(),
                        revision: (number == last).then(|| revision.clone()),
                    };
                    Draft::new(subject.clone(), fact)
                })
                .collect()
        }
        RunWish::DocsSynced { workspace, ticket, repo, dir, file, thread_id, event_id } => {
            let fact = Fact::DocsSynced {
                dir: dir.clone(),
                repo: repo.clone(),
                files: file.iter().cloned().collect(),
                of_thread: thread_id.clone(),
                of_event: event_id.clone(),
            };
            vec![Draft::new(Subject { ticket: Some(ticket.clone()), ..subject(workspace) }, fact)]
        }
        RunWish::Committed { workspace, repo, sha, message, own, author } => {
            let fact = Fact::GitCommitted {
                repo: repo.clone(),
                sha: sha.clone(),
                message: shortened(message),
                own: *own,
                author: author.clone(),
            };
            vec![Draft::new(subject(workspace), fact)]
        }
        RunWish::PullRequest { workspace, request, on_behalf_of } => {
            let key = (run.id().to_owned(), workspace.clone(), request.repo.clone());
            let (request, on_behalf_of) = (request.clone(), on_behalf_of.clone());
            let fact = match scene.pull_requests.get(&key).filter(|known| known.number == request.number) {
                Some(known) if PullRequestFact::of(known) == request => return Ok(Vec::new()),
                Some(_) => Fact::GitPrUpdated { request, on_behalf_of },
                None => Fact::GitPrOpened { request, on_behalf_of },
            };
            vec![Draft::new(subject(workspace), fact)]
        }
        RunWish::Merged { workspace, repo, base, old, new, head, how } => {
            let key = (run.id().to_owned(), workspace.clone(), repo.clone());
            if scene.merges.get(&key).is_some_and(|merged| merged.head == *head && merged.new == *new) {
                return Ok(Vec::new());
            }
            let fact = Fact::GitMerged {
                repo: repo.clone(),
                base: base.clone(),
                old: old.clone(),
                new: new.clone(),
                head: head.clone(),
                how: how.clone(),
            };
            vec![Draft::new(subject(workspace), fact)]
        }
        RunWish::Create { .. }
        | RunWish::Pause
        | RunWish::Resume
        | RunWish::Stop
        | RunWish::FinishStop
        | RunWish::BeginClose
        | RunWish::FinishClose
        | RunWish::AbortClose { .. }
        | RunWish::BeginStep { .. }
        | RunWish::EndStep { .. }
        | RunWish::Iterate(_)
        | RunWish::ReviewSynced(_)
        | RunWish::ReviewsUnheard { .. } => Vec::new(),
    })
}

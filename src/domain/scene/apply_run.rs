//! The fold's half for runs, steps, workspaces and agents.

use serde_json::Value;

use super::{Merged, Scene, Seeding, Workspace};
use crate::domain::agent::{
    Agent, AgentKey, AgentSpec, AgentStatus, Exit, Health, Held, Quiet, Restarts, Said, WaitingFor,
};
use crate::domain::event::{Event, Fact, PullRequestFact};
use crate::domain::operator::Intent;
use crate::domain::plan::{Step, StepSpec, StepStatus};
use crate::domain::pull_request::PullRequest;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;

impl Scene {
    pub(super) fn apply_run(&mut self, event: &Event) {
        let Some(run_id) = event.subject.run_id.clone() else { return };
        match &event.fact {
            Fact::RunCreated { spec, brief, policy } => {
                let run = Run {
                    spec: spec.clone(),
                    brief: brief.clone(),
                    status: RunStatus::Created,
                    reason: "created".to_owned(),
                    created_at: event.occurred_at,
                    updated_at: event.occurred_at,
                    last_seq: event.seq,
                };
                self.runs.put(run_id.clone(), run);
                self.policies.put(run_id, policy.clone());
            }
            Fact::RunTransitioned { to, reason, .. } => {
                if let Some(run) = self.runs.touch(&run_id) {
                    run.status = *to;
                    run.reason.clone_from(reason);
                }
                self.reset_attempts(&run_id, event);
                if *to == RunStatus::Stopped {
                    self.forget_starts(&run_id);
                }
            }
            Fact::RunSpecChanged { dry_run } => {
                if let Some(run) = self.runs.touch(&run_id) {
                    run.spec.dry_run = *dry_run;
                }
            }
            Fact::StepTransitioned { index, to, attempt, error, spec, .. } => {
                self.apply_step(event, (run_id, *index), *to, *attempt, error.as_ref(), spec.as_ref());
            }
            _ => self.apply_workspace(event, run_id),
        }
    }

    /// A run that goes on after a failure or a stop gives its steps their attempts back.
    fn reset_attempts(&mut self, run_id: &str, event: &Event) {
        let resumed = matches!(
            event.fact,
            Fact::RunTransitioned { from: RunStatus::Failed | RunStatus::Stopped, to: RunStatus::Running, .. }
        );
        if !resumed {
            return;
        }
        let steps = self.steps.from((run_id.to_owned(), 0), |(of, _)| of == run_id);
        let open: Vec<(String, u32)> =
            steps.filter(|(_, step)| !step.status.settled()).map(|(key, _)| key.clone()).collect();
        for key in open {
            if let Some(step) = self.steps.touch(&key) {
                step.attempts = 0;
            }
        }
    }

    /// Starts that were due when the run was stopped are not wanted any more; `resume` wants them anew.
    fn forget_starts(&mut self, run_id: &str) {
        let agents = self.agents.from(AgentKey::new(run_id, "", ""), |key| key.run_id == run_id);
        let due: Vec<AgentKey> = agents.filter(|(_, agent)| agent.start_due()).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(agent) = self.agents.touch(&key) {
                agent.wanted = agent.launch;
            }
        }
    }

    fn apply_step(
        &mut self,
        event: &Event,
        key: (String, u32),
        to: StepStatus,
        attempt: u32,
        error: Option<&String>,
        spec: Option<&StepSpec>,
    ) {
        if let Some(spec) = spec {
            let step = Step {
                run_id: key.0.clone(),
                spec: spec.clone(),
                status: to,
                attempts: 0,
                error: None,
                started_at: None,
                finished_at: None,
            };
            self.steps.put(key, step);
            return;
        }
        let Some(step) = self.steps.touch(&key) else { return };
        step.status = to;
        step.attempts = attempt;
        step.error = error.cloned();
        match to {
            StepStatus::Running => {
                step.started_at = Some(event.occurred_at);
                step.finished_at = None;
            }
            StepStatus::Done | StepStatus::Failed | StepStatus::Skipped => step.finished_at = Some(event.occurred_at),
            StepStatus::Pending => {}
        }
    }

    fn apply_workspace(&mut self, event: &Event, run_id: String) {
        let name = event.subject.workspace.clone().unwrap_or_default();
        match &event.fact {
            Fact::WorkspaceCreated { path, worktrees, warnings } => {
                let workspace = Workspace {
                    run_id: run_id.clone(),
                    name: name.clone(),
                    path: path.clone(),
                    worktrees: worktrees.clone(),
                    warnings: warnings.clone(),
                    removed: false,
                };
                self.workspaces.put((run_id, name), workspace);
            }
            Fact::WorkspaceRemoved { .. } => {
                if let Some(workspace) = self.workspaces.touch(&(run_id, name)) {
                    workspace.removed = true;
                }
            }
            Fact::DocsSeeded { dir, repo, files, revision } => {
                let ticket = event.subject.ticket.clone().unwrap_or_default();
                let seeding = Seeding {
                    run_id: run_id.clone(),
                    workspace: name.clone(),
                    ticket: ticket.clone(),
                    repo: repo.clone(),
                    dir: dir.clone(),
                    revision: revision.clone(),
                    at: event.occurred_at,
                };
                self.seedings.put((run_id.clone(), name.clone(), ticket), seeding);
                for file in files {
                    let key = (run_id.clone(), name.clone(), repo.clone(), file.path.clone());
                    self.own_files.put(key, file.blob.clone());
                }
            }
            Fact::DocsSynced { repo, files, .. } => {
                for file in files {
                    self.own_files
                        .put((run_id.clone(), name.clone(), repo.clone(), file.path.clone()), file.blob.clone());
                }
            }
            Fact::GitCommitted { repo, sha, message, own: true, .. } => {
                self.own_commits.put((run_id, name, repo.clone(), sha.clone()), message.clone());
            }
            Fact::GitPrOpened { request, .. } | Fact::GitPrUpdated { request, .. } => {
                self.pull_request(event, run_id, name, request);
            }
            Fact::GitMerged { repo, base, new, head, how, .. } => {
                let merged = Merged { base: base.clone(), head: head.clone(), new: new.clone(), how: how.clone() };
                self.merges.put((run_id, name, repo.clone()), merged);
            }
            _ => self.apply_agent(event, run_id, name),
        }
    }

    fn pull_request(&mut self, event: &Event, run_id: String, workspace: String, request: &PullRequestFact) {
        let key = (run_id.clone(), workspace.clone(), request.repo.clone());
        let known = self.pull_requests.get(&key).filter(|known| known.number == request.number);
        let opened_at = known.map_or(event.occurred_at, |known| known.opened_at);
        if known.is_none_or(|known| known.head != request.head) {
            self.pushed((&run_id, &workspace, &request.repo), request.number, event.occurred_at);
        }
        let row = PullRequest {
            ticket: event.subject.ticket.clone(),
            repo: request.repo.clone(),
            number: request.number,
            url: request.url.clone(),
            branch: request.branch.clone(),
            base: request.base.clone(),
            head: request.head.clone(),
            title: request.title.clone(),
            draft: request.draft,
            state: request.state,
            opened_at,
            updated_at: event.occurred_at,
            run_id,
            workspace,
        };
        self.pull_requests.put(key, row);
    }

    fn apply_agent(&mut self, event: &Event, run_id: String, workspace: String) {
        let Some(name) = event.subject.agent_name.clone() else { return };
        let key = AgentKey::new(run_id, workspace, name);
        if let Fact::AgentRegistered(spec) = &event.fact {
            self.agents.put(key.clone(), registered(key, spec, event));
            return;
        }
        let Some(agent) = self.agents.touch(&key) else { return };
        let now = event.occurred_at;
        match &event.fact {
            Fact::AgentTransitioned { to, reason, launch, .. } => {
                agent.status = *to;
                agent.reason.clone_from(reason);
                agent.since = now;
                still_well(agent, now);
                if let Some(launch) = launch {
                    started(agent, *launch, event);
                }
                if *to == AgentStatus::Stopped {
                    // Whoever stops it wants no start of it that was still due.
                    agent.wanted = agent.launch;
                }
                if matches!(to, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stopped) {
                    agent.health = Health::Dead;
                    agent.waiting_for = WaitingFor::None;
                    agent.waiting_since = None;
                }
            }
            Fact::AgentObserved { health, waiting_for, reason, evidence } => {
                agent.health = *health;
                agent.waiting_since = match (agent.waiting_for == *waiting_for, waiting_for.seen_on_screen()) {
                    (_, false) => None,
                    (true, true) => agent.waiting_since.or(Some(now)),
                    (false, true) => Some(now),
                };
                agent.waiting_for = *waiting_for;
                agent.reason.clone_from(reason);
                agent.evidence = evidence.clone();
            }
            Fact::AgentExited { launch, exit } => ended(agent, *launch, exit),
            Fact::AgentRestarted { launch, epoch, free, server_lost, anew, cooldown_until, .. } => {
                agent.wanted = *launch;
                agent.epoch = *epoch;
                agent.fresh |= *anew;
                if *server_lost {
                    // Nothing it did: neither counted nor forgiven.
                    agent.restarts.free_until = *cooldown_until;
                } else if *free {
                    agent.restarts.anew = 0;
                    forget_restarts(agent);
                } else if *anew {
                    agent.restarts.anew += 1;
                } else {
                    agent.restarts.used += 1;
                    agent.restarts.cooldown_until = *cooldown_until;
                }
            }
            Fact::OperatorActed { intent: Intent::ResetRestarts, .. } => forget_restarts(agent),
            Fact::OperatorActed { .. } => {}
            Fact::AgentProgressed { note, percent, .. } => {
                agent.last_progress_at = Some(now);
                if note.is_some() || percent.is_some() {
                    agent.said = Some(Said { at: now, note: note.clone(), percent: *percent });
                }
            }
            Fact::AgentQuietDeclared { until, reason } => {
                let quiet = Quiet { since: now, until: *until, reason: reason.clone() };
                agent.quiet = Some(quiet).filter(|quiet| quiet.holds(now));
            }
            Fact::AgentHeld { by, reason } => {
                agent.held = Some(Held { by: by.clone(), since: now, reason: reason.clone() });
            }
            Fact::AgentReleased { .. } => {
                agent.held = None;
                agent.released_at = Some(now);
            }
            Fact::RunCreated { .. }
            | Fact::RunTransitioned { .. }
            | Fact::RunSpecChanged { .. }
            | Fact::StepTransitioned { .. }
            | Fact::WorkspaceCreated { .. }
            | Fact::WorkspaceRemoved { .. }
            | Fact::AgentRegistered(_)
            | Fact::DocsSeeded { .. }
            | Fact::DocsSynced { .. }
            | Fact::GitCommitted { .. }
            | Fact::GitPrOpened { .. }
            | Fact::GitPrUpdated { .. }
            | Fact::ReviewSynced { .. }
            | Fact::ReviewDispatched { .. }
            | Fact::GitMerged { .. }
            | Fact::OperatorDecided(_)
            | Fact::OperatorAsked(_)
            | Fact::OperatorAdvised(_)
            | Fact::OperatorSuggested { .. }
            | Fact::SuggestionSettled { .. }
            | Fact::EscalationOpened { .. }
            | Fact::EscalationNotified { .. }
            | Fact::EscalationAcknowledged { .. }
            | Fact::EscalationResolved { .. }
            | Fact::DeliveryQueued { .. }
            | Fact::DeliveryTyped { .. }
            | Fact::DeliverySubmitted { .. }
            | Fact::DeliveryFailed { .. }
            | Fact::OutboxDead { .. }
            | Fact::OutboxRetried { .. }
            | Fact::OutboxDropped { .. }
            | Fact::PolicyChanged { .. }
            | Fact::LeaseAcquired { .. }
            | Fact::LeaseLost { .. }
            | Fact::ThreadOpened { .. }
            | Fact::PostAdded { .. }
            | Fact::ControlSignal { .. }
            | Fact::Assigned { .. }
            | Fact::StateChanged { .. }
            | Fact::PriorityChanged { .. }
            | Fact::ThreadClosed { .. }
            | Fact::Seen { .. } => {}
        }
    }
}

fn forget_restarts(agent: &mut Agent) {
    agent.restarts.used = 0;
    agent.restarts.cooldown_until = None;
    agent.restarts.free_until = None;
    agent.well_since = None;
}

/// Running and idle are well; any other status breaks it. Where there is nothing to forget nobody counts.
fn still_well(agent: &mut Agent, now: Moment) {
    let well = matches!(agent.status, AgentStatus::Running | AgentStatus::Idle) && agent.restarts.used > 0;
    agent.well_since = well.then(|| agent.well_since.unwrap_or(now));
}

fn registered(key: AgentKey, spec: &AgentSpec, event: &Event) -> Agent {
    Agent {
        key,
        spec: spec.clone(),
        status: AgentStatus::Pending,
        health: Health::Unknown,
        waiting_for: WaitingFor::None,
        waiting_since: None,
        quiet: None,
        held: None,
        released_at: None,
        said: None,
        reason: "not started yet".to_owned(),
        since: event.occurred_at,
        evidence: Value::Null,
        epoch: 1,
        fresh: false,
        launch: 0,
        wanted: 0,
        exit: None,
        last_progress_at: None,
        well_since: None,
        restarts: Restarts { budget: spec.restart_budget, ..Restarts::default() },
        completed_in: None,
        validated_in: None,
    }
}

fn started(agent: &mut Agent, launch: u32, event: &Event) {
    agent.launch = launch;
    agent.wanted = agent.wanted.max(launch);
    agent.fresh = false;
    agent.exit = None;
    agent.health = Health::Healthy;
    agent.waiting_for = WaitingFor::None;
    agent.waiting_since = None;
    agent.quiet = None;
    agent.released_at = None;
    agent.last_progress_at = Some(event.occurred_at);
    agent.evidence = serde_json::json!({ "signal": "started", "source": "launcher", "launch": launch });
}

fn ended(agent: &mut Agent, launch: u32, exit: &Exit) {
    if launch == agent.launch {
        agent.exit = Some(exit.clone());
        agent.evidence = serde_json::json!({ "signal": "exited", "source": exit.source, "launch": launch });
        if let Some(server) = &exit.server_lost {
            agent.evidence["server_lost"] = server.as_str().into();
        }
    }
}

//! The plan: what a run will do, step by step, as data (spec 2.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::run::RunSpec;
use super::time::Moment;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Looks for the ticket's docs.
    VerifyTicket,
    /// Makes the worktrees of one workspace.
    CreateWorkspace,
    /// Copies ticket docs and brief into the workspace.
    SeedDocs,
    /// Starts one agent.
    StartAgent,
}

impl StepKind {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::VerifyTicket => "verify_ticket",
            Self::CreateWorkspace => "create_workspace",
            Self::SeedDocs => "seed_docs",
            Self::StartAgent => "start_agent",
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun, or begun by a process that is gone.
    Pending,
    /// Being done.
    Running,
    /// Done.
    Done,
    /// Failed; tried again while attempts are left.
    Failed,
    /// Not needed.
    Skipped,
}

impl StepStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Done, Self::Failed, Self::Skipped];

    /// The states it may turn into.
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Running, Self::Skipped],
            Self::Running => &[Self::Done, Self::Failed, Self::Pending],
            Self::Failed => &[Self::Running, Self::Skipped],
            Self::Done | Self::Skipped => &[],
        }
    }

    /// Whether it may turn into `next`.
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more will be done for it.
    pub const fn settled(self) -> bool {
        matches!(self, Self::Done | Self::Skipped)
    }
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a step will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its place in the plan, from 1.
    pub index: u32,
    /// Its name, unique in the run.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
    /// The ticket it belongs to.
    pub ticket: String,
    /// The workspace it works in.
    pub workspace: String,
    /// The agent it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The call it makes, shown before it is made.
    #[serde(default)]
    pub argv: Vec<String>,
    /// The paths it makes or reads.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// A step as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The run it belongs to.
    pub run_id: String,
    /// What it does.
    pub spec: StepSpec,
    /// Where it stands.
    pub status: StepStatus,
    /// Times it was begun since the run was created or resumed.
    pub attempts: u32,
    /// Why its last attempt failed.
    pub error: Option<String>,
    /// When its last attempt began.
    pub started_at: Option<Moment>,
    /// When its last attempt ended.
    pub finished_at: Option<Moment>,
}

impl Step {
    /// Whether it failed and gets no further attempt by itself.
    pub fn given_up(&self, retries: u32) -> bool {
        self.status == StepStatus::Failed && self.attempts > retries
    }
}

/// Whether `step` can be begun: everything of its workspace that comes before it is settled.
pub fn ready(step: &Step, all: &[&Step]) -> bool {
    all.iter()
        .filter(|other| other.spec.workspace == step.spec.workspace && other.spec.kind < step.spec.kind)
        .all(|other| other.status.settled())
}

/// Whether any step is being done or can still be begun.
pub fn can_go_on(steps: &[&Step], retries: u32) -> bool {
    steps.iter().any(|step| match step.status {
        StepStatus::Running => true,
        StepStatus::Pending => !blocked(step, steps, retries),
        StepStatus::Failed => !step.given_up(retries),
        StepStatus::Done | StepStatus::Skipped => false,
    })
}

/// Whether something before `step` in its workspace has failed for good.
pub fn blocked(step: &Step, all: &[&Step], retries: u32) -> bool {
    all.iter().any(|other| {
        other.spec.workspace == step.spec.workspace && other.spec.kind < step.spec.kind && other.given_up(retries)
    })
}

/// The steps of a run: per ticket verify, create, seed, then one start an agent.
///
/// `agents` are the (agent, session, argv shown) of each workspace; the argv shown holds no prompt
/// and no secret.
pub fn compile(spec: &RunSpec, agents: &[(String, String, Vec<String>)]) -> Vec<StepSpec> {
    let mut steps: Vec<StepSpec> = Vec::new();
    for workspace in &spec.workspaces {
        let mut push = |kind: StepKind, agent: Option<&str>, argv: Vec<String>, paths: Vec<String>| {
            let name = match agent {
                Some(agent) => format!("start-{agent}-{}", workspace.name),
                None => format!("{}-{}", kind.word().replace('_', "-"), workspace.name),
            };
            steps.push(StepSpec {
                index: u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1),
                name,
                kind,
                ticket: workspace.ticket.clone(),
                workspace: workspace.name.clone(),
                agent: agent.map(str::to_owned),
                argv,
                paths,
            });
        };
        push(StepKind::VerifyTicket, None, Vec::new(), docs_home(spec).into_iter().collect());
        push(StepKind::CreateWorkspace, None, worktree_argv(spec, &workspace.branch), vec![workspace.path.clone()]);
        if spec.seed {
            let target = format!("{}/{}", workspace.path, spec.doc_home_repo);
            push(StepKind::SeedDocs, None, Vec::new(), docs_home(spec).into_iter().chain([target]).collect());
        }
        let cwd = format!("{}/{}", workspace.path, spec.doc_home_repo);
        for (agent, _, argv) in agents.iter().filter(|(_, at, _)| *at == workspace.name) {
            push(StepKind::StartAgent, Some(agent), argv.clone(), vec![cwd.clone()]);
        }
    }
    steps
}

fn docs_home(spec: &RunSpec) -> Option<String> {
    spec.repos.iter().find(|repo| repo.name == spec.doc_home_repo).map(|repo| repo.path.clone())
}

fn worktree_argv(spec: &RunSpec, branch: &str) -> Vec<String> {
    match spec.strategy {
        super::run::Strategy::Reuse => Vec::new(),
        super::run::Strategy::Create | super::run::Strategy::Fork => {
            ["git", "worktree", "add", "-b", branch].map(str::to_owned).to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_transitions_of_the_spec_are_legal() {
        let legal: Vec<String> = StepStatus::ALL
            .into_iter()
            .flat_map(|from| from.successors().iter().map(move |to| format!("{from}>{to}")))
            .collect();
        assert_eq!(
            legal,
            [
                "pending>running",
                "pending>skipped",
                "running>done",
                "running>failed",
                "running>pending",
                "failed>running",
                "failed>skipped"
            ]
        );
    }
}

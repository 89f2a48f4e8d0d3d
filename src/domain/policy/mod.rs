//! The policy: what a home's `.metawsm/policy.json` says, with defaults ← file ← command-line flags.
//!
//! `fields` is the one table of keys; everything else here is derived from it or checked against it.

pub mod check;
pub mod fields;
pub mod merge;
pub mod migrate;
pub mod profiles;
pub mod rules;
pub mod schema;
pub mod sections;
pub mod span;
mod whole;

pub use check::{Fault, Loaded, ShownKey, load};
pub use merge::Origin;
pub use migrate::migrate;
pub use profiles::*;
pub use schema::schema;
pub use sections::*;

use super::runner::{self, Runner};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The effective policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Version of the file's format.
    pub version: u32,
    /// Workspaces and branches.
    pub workspace: WorkspacePolicy,
    /// Repositories by name.
    pub repos: BTreeMap<String, RepoPolicy>,
    /// Ticket docs.
    pub docs: DocsPolicy,
    /// Our tmux server and its sessions.
    pub tmux: TmuxPolicy,
    /// How plans are executed.
    pub execution: ExecutionPolicy,
    /// When an agent counts as idle or stalled.
    pub health: HealthPolicy,
    /// Gates of `close`.
    pub close: ClosePolicy,
    /// Rules and adviser.
    pub operator: OperatorPolicy,
    /// Forum and bus.
    pub forum: ForumPolicy,
    /// Durable side effects.
    pub outbox: OutboxPolicy,
    /// How a human is called.
    pub notify: NotifyPolicy,
    /// Commits, pull requests, reviews.
    pub git_pr: GitPrPolicy,
    /// How agents are started.
    pub agent_profiles: Vec<AgentProfile>,
    /// The agents of a run.
    pub agents: Vec<AgentPolicy>,
    /// Agent programs, added to or overriding the built-in ones.
    pub runners: BTreeMap<String, RunnerPatch>,
}

/// An agent with everything needed to start it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedAgent {
    /// Name of the agent.
    pub name: String,
    /// Its profile.
    pub profile: AgentProfile,
    /// Name of its runner.
    pub runner_name: String,
    /// Its runner, overrides applied.
    pub runner: Runner,
}

/// The text of a policy file with every key at its default.
pub fn example_text() -> String {
    format!("{:#}\n", fields::default_document())
}

impl Default for Policy {
    #[expect(clippy::expect_used, reason = "the table of fields is constant, and a test loads it")]
    fn default() -> Policy {
        serde_json::from_value(fields::default_document()).expect("the default document is a policy")
    }
}

impl Policy {
    /// The document as it is kept with a run: names of environment variables, never their values.
    pub fn stored(&self) -> Value {
        let mut kept = self.clone();
        for value in kept.agent_profiles.iter_mut().flat_map(|profile| profile.env.values_mut()) {
            if matches!(value, EnvValue::Literal(_)) {
                *value = EnvValue::Withheld { literal: true };
            }
        }
        serde_json::to_value(&kept).unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }

    /// A policy kept with a run. Keys that a newer version added have their defaults, keys it dropped are ignored.
    pub fn from_stored(stored: &Value) -> Result<Policy, String> {
        let mut document = stored.clone();
        fields::fill(fields::tree(), &mut document);
        serde_json::from_value(document).map_err(|error| format!("the stored policy cannot be read: {error}"))
    }

    /// What of a live file holds for runs that were begun before: what [`Self::following`] takes from it, secrets aside.
    pub fn followed(&self) -> Value {
        json!({ "operator": self.operator, "health": self.health, "forum": { "sla": self.forum.sla } })
    }

    /// This stored policy with what follows the live file: `health`, `operator`, `forum.sla`, and the values of
    /// environment variables that were not stored, from the live profile of the same name.
    pub fn following(&self, live: &Policy) -> Policy {
        let mut policy = self.clone();
        policy.health = live.health.clone();
        policy.operator = live.operator.clone();
        policy.forum.sla = live.forum.sla.clone();
        for profile in &mut policy.agent_profiles {
            let Some(source) = live.agent_profiles.iter().find(|other| other.name == profile.name) else { continue };
            for (name, value) in &mut profile.env {
                if let (EnvValue::Withheld { .. }, Some(known)) = (&*value, source.env.get(name)) {
                    *value = known.clone();
                }
            }
        }
        policy
    }

    /// The health policy that holds for agents of a profile; for a profile that is not there, that of all.
    pub fn health_of(&self, profile: &str) -> HealthPolicy {
        let profile = self.agent_profiles.iter().find(|known| known.name == profile);
        profile.map_or_else(|| self.health.clone(), |profile| self.health_for(profile))
    }

    /// The health thresholds that hold for agents of a profile.
    pub fn health_for(&self, profile: &AgentProfile) -> HealthPolicy {
        let (own, all) = (&profile.health, &self.health);
        HealthPolicy {
            idle_seconds: own.idle_seconds.unwrap_or(all.idle_seconds),
            activity_stalled_seconds: own.activity_stalled_seconds.unwrap_or(all.activity_stalled_seconds),
            progress_stalled_seconds: own.progress_stalled_seconds.unwrap_or(all.progress_stalled_seconds),
            ..all.clone()
        }
    }

    /// The runner of this name, with the policy's overrides.
    pub fn runner(&self, name: &str) -> Option<Runner> {
        match (runner::builtin(name), self.runners.get(name)) {
            (None, None) => None,
            (builtin, patch) => {
                let mut runner = builtin.cloned().unwrap_or_default();
                if let Some(patch) = patch {
                    runner.apply(patch);
                }
                Some(runner)
            }
        }
    }

    /// The agents of these names in this order; no names: all agents of the policy. Faults name the agent's path, or
    /// `agent` for a name that does not exist.
    pub fn agents_named(&self, names: &[String]) -> Result<Vec<ResolvedAgent>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut resolved: Vec<ResolvedAgent> = Vec::new();
        let all: Vec<String> = self.agents.iter().map(|agent| agent.name.clone()).collect();
        for name in if names.is_empty() { &all } else { names } {
            if resolved.iter().any(|agent| agent.name == *name) {
                continue;
            }
            match self.agent(name) {
                Ok(agent) => resolved.push(agent),
                Err(fault) => faults.push(*fault),
            }
        }
        if faults.is_empty() { Ok(resolved) } else { Err(faults) }
    }

    fn agent(&self, name: &str) -> Result<ResolvedAgent, Box<Fault>> {
        let known = || self.agents.iter().map(|agent| agent.name.as_str());
        let Some(index) = self.agents.iter().position(|agent| agent.name == name) else {
            let rule = format!("must be an agent of the policy: {}", known().collect::<Vec<_>>().join(", "));
            let mut fault = Fault::new("agent", Some(name.into()), rule);
            fault.hint = check::did_you_mean(name, known());
            return Err(Box::new(fault));
        };
        let agent = self.agents.get(index);
        let profile = agent.and_then(|agent| self.agent_profiles.iter().find(|p| p.name == agent.profile));
        let Some(profile) = profile else {
            let value = agent.map(|agent| agent.profile.as_str().into());
            return Err(Box::new(Fault::new(
                format!("agents[{index}].profile"),
                value,
                "must be the name of a profile",
            )));
        };
        let Some(runner) = self.runner(&profile.runner) else {
            let value = Some(profile.runner.as_str().into());
            return Err(Box::new(Fault::new(
                format!("agents[{index}].profile"),
                value,
                "must be a profile whose runner exists",
            )));
        };
        Ok(ResolvedAgent { name: name.into(), profile: profile.clone(), runner_name: profile.runner.clone(), runner })
    }
}

impl TmuxPolicy {
    /// The socket's name or path for a database, `{db}` replaced by the first 8 characters of its id.
    pub fn socket_for(&self, database_id: &str) -> String {
        let short: String = database_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        self.socket.replace("{db}", &short.to_ascii_lowercase())
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

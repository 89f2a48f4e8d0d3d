//! The typed form of agents, their profiles and runners.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `agent_profiles[].health`: thresholds of one profile; absent ones are those of `health`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthOverride {
    /// Seconds of silence until idle; 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
    /// Seconds of silence until stalled; 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_stalled_seconds: Option<u32>,
    /// Seconds without progress until stalled; 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_stalled_seconds: Option<u32>,
}

/// What makes an agent done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// Its completion signal.
    Signal,
    /// Its program ending with status 0.
    ExitZero,
    /// One of the two.
    Either,
}

/// Whether forum posts are typed into an agent's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    /// They are not.
    None,
    /// They are pasted.
    Paste,
}

/// What an agent may do beyond the forum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Run actions.
    Run,
}

/// One of `agent_profiles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentProfile {
    /// Name of the profile.
    pub name: String,
    /// Name of its runner.
    pub runner: String,
    /// What the agent is told first.
    pub base_prompt: String,
    /// Skills the agent must use.
    pub skills: Vec<String>,
    /// Options of the runner.
    pub runner_options: RunnerOptions,
    /// What makes the agent done.
    pub completion: Completion,
    /// Whether posts are typed into its session.
    pub deliver: Deliver,
    /// Write the configuration of our MCP server into its workspace.
    pub mcp: bool,
    /// What it may do beyond the forum.
    pub may: Vec<Permission>,
    /// Its environment.
    pub env: BTreeMap<String, EnvValue>,
    /// Its own health thresholds.
    #[serde(default, skip_serializing_if = "HealthOverride::is_empty")]
    pub health: HealthOverride,
}

/// `agent_profiles[].runner_options`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerOptions {
    /// Command of the runner `shell`, as argv.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Start codex so that it never asks for approval.
    pub full_auto: bool,
    /// Model; empty: the program's own choice.
    pub model: String,
}

/// One of `agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPolicy {
    /// Name of the agent.
    pub name: String,
    /// Name of its profile.
    pub profile: String,
}

/// One of `runners`: keys that differ from the built-in runner of that name.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunnerPatch {
    /// Command that starts it, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Vec<String>>,
    /// Command that goes on with a session; empty: it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<String>>,
    /// Command that answers one prompt and ends; empty: it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_shot: Option<Vec<String>>,
    /// Where it keeps a file for each conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_files: Option<Vec<String>>,
    /// Command that lists its conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_list: Option<Vec<String>>,
    /// Command that prints one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_show: Option<Vec<String>>,
    /// What `{full_auto}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_auto: Option<Vec<String>>,
    /// Regular expressions that fit when it waits for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_patterns: Option<Vec<String>>,
    /// Those that fit when its model is out of reach or its limit spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_patterns: Option<Vec<String>>,
    /// Those that fit when it takes typed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_patterns: Option<Vec<String>>,
    /// Those that fit when it is at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_patterns: Option<Vec<String>>,
    /// Column of the cursor that means: nothing is typed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_column: Option<u16>,
    /// tmux key that submits typed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit: Option<String>,
    /// Milliseconds between the text and that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit_delay_ms: Option<u32>,
    /// Nobody has tried this runner yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untested: Option<bool>,
}

impl HealthOverride {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == HealthOverride::default()
    }
}

/// Value of a variable in an agent's environment. Its `Debug` never shows the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself, from the policy file.
    Literal(String),
    /// Taken from the starter's environment.
    From {
        /// Name of the variable there.
        from: String,
    },
    /// A stored policy: there was a literal value, and it was not kept.
    Withheld {
        /// Always true.
        literal: bool,
    },
}

impl std::fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EnvValue::Literal(_) => f.write_str("Literal(…)"),
            EnvValue::From { from } => write!(f, "From({from})"),
            EnvValue::Withheld { .. } => f.write_str("Withheld"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_values() {
        assert!(!format!("{:?}", EnvValue::Literal("hunter2".into())).contains("hunter2"));
    }
}

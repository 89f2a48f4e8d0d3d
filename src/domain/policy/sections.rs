//! The typed form of the policy: one struct per section. Rules and defaults live in the table of `fields`.

use crate::domain::health::Thresholds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What makes workspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceProvider {
    /// Git worktrees.
    Git,
    /// The wsm program.
    Wsm,
}

/// How a run gets its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A new one from the base branch.
    Create,
    /// A new one from the branches of another.
    Fork,
    /// An existing one.
    Reuse,
}

/// `workspace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkspacePolicy {
    /// What makes workspaces.
    pub provider: WorkspaceProvider,
    /// Where workspaces are made; relative to the home.
    pub root: String,
    /// How a run gets its workspace when no option says so.
    pub default_strategy: Strategy,
    /// First part of the name of a run's branch.
    pub branch_prefix: String,
    /// Branch that runs start from and merge into.
    pub base_branch: String,
    /// Commands run once in each new worktree.
    pub setup: Vec<Vec<String>>,
    /// Globs of files copied from the repo into each new worktree.
    pub copy: Vec<String>,
}

/// One of `repos`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepoPolicy {
    /// Its checkout; relative to the home.
    pub path: String,
    /// Its base branch; absent: `workspace.base_branch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// What writes ticket docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocsProvider {
    /// metawsm itself.
    Files,
    /// The docmgr program.
    Docmgr,
}

/// Whose copy of the ticket docs holds while a run is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorityMode {
    /// The workspace's.
    WorkspaceActive,
}

/// Whether ticket docs are copied into a new workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// They are not.
    None,
    /// They are, at the start.
    CopyFromRepoOnStart,
}

/// `docs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocsPolicy {
    /// What writes ticket docs.
    pub provider: DocsProvider,
    /// Whose copy holds while a run is open.
    pub authority_mode: AuthorityMode,
    /// Whether docs are copied into a new workspace.
    pub seed_mode: SeedMode,
    /// Seconds after which synced docs are called stale.
    pub stale_warning_seconds: u32,
    /// Docs servers.
    pub api: DocsApi,
}

/// `docs.api`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocsApi {
    /// Time limit of one request, in seconds.
    pub request_timeout_seconds: u32,
    /// Docs servers of workspaces.
    pub workspace_endpoints: Vec<WorkspaceEndpoint>,
    /// Docs servers of repositories.
    pub repo_endpoints: Vec<RepoEndpoint>,
}

/// One of `docs.api.workspace_endpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceEndpoint {
    /// Name, unique across both lists.
    pub name: String,
    /// Address of its API.
    pub base_url: String,
    /// Address for people; empty: none.
    pub web_url: String,
    /// Repository it serves.
    pub repo: String,
    /// Workspace it serves.
    pub workspace: String,
}

/// One of `docs.api.repo_endpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepoEndpoint {
    /// Name, unique across both lists.
    pub name: String,
    /// Address of its API.
    pub base_url: String,
    /// Address for people; empty: none.
    pub web_url: String,
    /// Repository it serves.
    pub repo: String,
}

/// `tmux`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TmuxPolicy {
    /// Socket name or absolute path; `{db}` is 8 hex of the database id; "default" is the user's server.
    pub socket: String,
    /// Name of an agent's session.
    pub session_pattern: String,
    /// Seconds between TERM and KILL.
    pub stop_grace_seconds: u32,
    /// Lines of scrollback per session.
    pub history_lines: u32,
}

/// `execution`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionPolicy {
    /// Extra attempts of a failed step.
    pub step_retries: u32,
    /// Tickets whose steps run at the same time.
    pub max_parallel: u32,
    /// Time limit of one step, in seconds.
    pub step_timeout_seconds: u32,
}

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// Seconds of silence until idle; 0: never.
    pub idle_seconds: u32,
    /// Seconds of silence until stalled; 0: never.
    pub activity_stalled_seconds: u32,
    /// Seconds without progress until stalled; 0: never.
    pub progress_stalled_seconds: u32,
    /// Milliseconds between two looks at the agents.
    pub observe_ms: u32,
    /// Seconds an agent may wait for input before that is escalated.
    pub input_wait_seconds: u32,
}

impl HealthPolicy {
    /// After how many seconds silence means something.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            idle_seconds: self.idle_seconds,
            activity_stalled_seconds: self.activity_stalled_seconds,
            progress_stalled_seconds: self.progress_stalled_seconds,
        }
    }
}

/// `close`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosePolicy {
    /// Refuse to close a run while a worktree is dirty.
    pub require_clean_git: bool,
}

/// Who decides: `operator.llm.mode`, and `git_pr.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorMode {
    /// Rules act, no LLM; for `git_pr`: nothing by rules.
    Off,
    /// Rules only suggest.
    Assist,
    /// Rules act, and an LLM may escalate.
    Auto,
}

impl OperatorMode {
    /// The word in the policy and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Assist => "assist",
            Self::Auto => "auto",
        }
    }
}

/// What one rule of the operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// Act in every mode.
    Act,
    /// Only suggest.
    Suggest,
    /// Nothing.
    Never,
}

/// `operator`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorPolicy {
    /// Seconds between two evaluations of the rules.
    pub interval_seconds: u32,
    /// Observations an agent must be unhealthy before a rule acts.
    pub unhealthy_confirmations: u32,
    /// Restarts an agent gets by itself.
    pub restart_budget: u32,
    /// Seconds before the second restart; doubles with each.
    pub restart_cooldown_seconds: u32,
    /// Seconds of unbroken health after which used restarts are forgotten.
    pub healthy_reset_seconds: u32,
    /// Seconds without a living agent after which a run is stopped.
    pub stale_run_age_seconds: u32,
    /// What a rule may do, by intent.
    pub rules: BTreeMap<String, RuleMode>,
    /// Mode and adviser.
    pub llm: LlmPolicy,
}

/// `operator.llm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmPolicy {
    /// Who decides.
    pub mode: OperatorMode,
    /// Program of the adviser, as argv.
    pub command: Vec<String>,
    /// Its arguments, a template; empty: those of the runner of that name.
    pub args: Vec<String>,
    /// Model; empty: the program's own choice.
    pub model: String,
    /// Time limit of one question, in seconds.
    pub timeout_seconds: u32,
    /// Value of `{max_tokens}` in `args`.
    pub max_tokens: u32,
    /// Shortest time between two questions about one run, in seconds.
    pub min_interval_seconds: u32,
    /// Advice below this confidence (0 to 1) is rejected.
    pub min_confidence: f64,
}

/// Where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bus {
    /// This machine only.
    Local,
    /// Redis too.
    Redis,
}

/// `forum`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForumPolicy {
    /// Whether agents may use the forum.
    pub enabled: bool,
    /// Where events go.
    pub bus: Bus,
    /// Names of topics.
    pub topics: ForumTopics,
    /// The Redis server.
    pub redis: RedisPolicy,
    /// When a question is overdue.
    pub sla: SlaPolicy,
    /// Whether answers go into the changelog.
    pub docs_sync: DocsSyncPolicy,
}

/// `forum.topics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForumTopics {
    /// First part of the topics of commands.
    pub command_prefix: String,
    /// First part of the topics of events.
    pub event_prefix: String,
    /// First part of the topics of integrations.
    pub integration_prefix: String,
}

/// `forum.redis`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedisPolicy {
    /// Address of the server.
    pub url: String,
    /// First part of the names of its streams.
    pub stream: String,
    /// Consumer group.
    pub group: String,
    /// Consumer name.
    pub consumer: String,
    /// Entries at which a stream is trimmed.
    pub max_len: u32,
}

/// `forum.sla`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlaPolicy {
    /// Minutes a question may wait for an answer.
    pub escalation_minutes: u32,
}

/// `forum.docs_sync`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocsSyncPolicy {
    /// Write answered questions into the ticket's changelog.
    pub enabled: bool,
}

/// `outbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxPolicy {
    /// Attempts after which a side effect is given up.
    pub max_attempts: u32,
    /// Hours that rows already sent are kept.
    pub keep_hours: u32,
}

/// `notify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifyPolicy {
    /// Program run when something needs a human, as argv; empty: none.
    pub command: Vec<String>,
    /// Ring the terminal's bell.
    pub bell: bool,
    /// Send a desktop notification.
    pub desktop: bool,
}

/// Whose credentials push and open pull requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialMode {
    /// The user's own, on this machine.
    LocalUserAuth,
}

/// A check before a commit or pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredCheck {
    /// `test_commands` pass.
    Tests,
    /// No forbidden file is in the change.
    ForbiddenFiles,
    /// The ticket allows it.
    TicketWorkflow,
    /// The worktree is clean.
    CleanTree,
}

/// `git_pr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GitPrPolicy {
    /// Whether rules make commits and pull requests.
    pub mode: OperatorMode,
    /// Whose credentials are used.
    pub credential_mode: CredentialMode,
    /// Name of the branch that is pushed.
    pub branch_template: String,
    /// Every required check must pass.
    pub require_all: bool,
    /// Checks before a commit or pull request.
    pub required_checks: Vec<RequiredCheck>,
    /// Shell lines, each run by `sh -c`.
    pub test_commands: Vec<String>,
    /// Globs of files that may not be committed.
    pub forbidden_file_patterns: Vec<String>,
    /// Repositories that may be committed in and get pull requests; empty: all.
    pub allowed_repos: Vec<String>,
    /// Labels of new pull requests.
    pub default_labels: Vec<String>,
    /// Reviewers of new pull requests.
    pub default_reviewers: Vec<String>,
    /// Feedback from reviews.
    pub review_feedback: ReviewFeedbackPolicy,
}

/// What happens to review feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewMode {
    /// It is suggested.
    Assist,
    /// It is dispatched.
    Auto,
}

/// `git_pr.review_feedback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewFeedbackPolicy {
    /// Read review comments.
    pub enabled: bool,
    /// What happens to them.
    pub mode: ReviewMode,
    /// Always true.
    pub include_review_comments: bool,
    /// Authors whose comments are left out.
    pub ignore_authors: Vec<String>,
    /// New comments taken at one sync.
    pub max_items_per_sync: u32,
    /// Dispatches at most per operator interval.
    pub auto_dispatch_cap_per_interval: u32,
    /// Time between two syncs by the supervisor; 0: only by command.
    pub sync_seconds: u32,
}

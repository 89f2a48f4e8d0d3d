//! The command line of what begins a run.

use clap::{Args, ValueEnum};

use super::OperatorWord;
use crate::domain::run::Strategy;

/// Options of `run` that `bootstrap` shares.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// A ticket; several make several workspaces
    #[arg(long = "ticket", value_name = "T", value_delimiter = ',', required = true)]
    pub tickets: Vec<String>,
    /// Repositories, by name or path
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub repos: Vec<String>,
    /// The repository that holds the ticket docs (default: the first)
    #[arg(long, alias = "doc-repo", value_name = "R")]
    pub doc_home_repo: Option<String>,
    /// An agent of the policy (default: all of them)
    #[arg(long = "agent", value_name = "NAME", value_delimiter = ',')]
    pub agents: Vec<String>,
    /// Where workspaces come from
    #[arg(long, alias = "workspace-strategy", value_enum)]
    pub strategy: Option<StrategyWord>,
    /// The workspace to fork from
    #[arg(long, value_name = "WS")]
    pub from: Option<String>,
    /// The workspace to reuse, or the name of the new one
    #[arg(long, value_name = "WS")]
    pub workspace: Option<String>,
    /// The branch work starts from and is merged into
    #[arg(long, value_name = "B")]
    pub base_branch: Option<String>,
    /// Whether ticket docs are copied into the workspace
    #[arg(long, alias = "doc-seed-mode", value_enum)]
    pub seed: Option<SeedWord>,
    /// Your own words to every agent; - reads standard input
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// Store the run and show its plan, start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Return when the plan is executed
    #[arg(long)]
    pub detach: bool,
    /// Exit with 10 when something waits for a human
    #[arg(long)]
    pub exit_on_guidance: bool,
    /// The operator's mode for this process
    #[arg(long, value_enum, value_name = "MODE")]
    pub operator: Option<OperatorWord>,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// How it starts.
    #[command(flatten)]
    pub start: StartArgs,
}

/// Options of `bootstrap`.
#[derive(Debug, Clone, Args)]
pub struct BootstrapArgs {
    /// How it starts.
    #[command(flatten)]
    pub start: StartArgs,
    /// What is wanted
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub goal: Option<String>,
    /// What belongs to it and what does not
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub scope: Option<String>,
    /// When it is done
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub done_criteria: Option<String>,
    /// What must hold meanwhile
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub constraints: Option<String>,
    /// What is to happen with the result
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub merge_intent: Option<String>,
    /// All of that as JSON; - reads standard input
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["goal", "scope", "done_criteria", "constraints", "merge_intent"])]
    pub brief: Option<String>,
}

/// Words of `--strategy`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StrategyWord {
    /// New branches from the base.
    Create,
    /// New branches from another workspace's.
    Fork,
    /// An existing workspace as it is.
    Reuse,
}

impl From<StrategyWord> for Strategy {
    fn from(word: StrategyWord) -> Self {
        match word {
            StrategyWord::Create => Self::Create,
            StrategyWord::Fork => Self::Fork,
            StrategyWord::Reuse => Self::Reuse,
        }
    }
}

/// Words of `--seed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeedWord {
    /// Nothing is copied.
    None,
    /// The ticket's docs are copied when the workspace is made.
    #[value(name = "copy_from_repo_on_start")]
    CopyFromRepoOnStart,
}

//! Arguments of the commands on a run's work.

use clap::{Args, Subcommand};

use super::Selector;

/// Options of `commit`.
#[derive(Debug, Clone, Args)]
pub struct CommitArgs {
    /// Which run; with both, only what belongs to the ticket.
    #[command(flatten)]
    pub selector: Selector,
    /// The message (default: the ticket and what the run is for)
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Who is named as the author: NAME or 'NAME <EMAIL>' (default: git's user)
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Show what would be committed and what is in the way; no test is run
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `pr`.
#[derive(Debug, Clone, Args)]
pub struct PrArgs {
    /// Which run; with both, only what belongs to the ticket.
    #[command(flatten)]
    pub selector: Selector,
    /// The title (default: the ticket and what the run is for)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub title: Option<String>,
    /// The text; - reads it from standard input (default: ticket, run, branch, goal and done criteria)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub body: Option<String>,
    /// Open it as a draft
    #[arg(long)]
    pub draft: bool,
    /// On whose behalf, as it is written into the journal
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Show what would be pushed and what is in the way; no test is run, nobody is asked
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `iterate`.
#[derive(Debug, Clone, Args)]
pub struct IterateArgs {
    /// Which run; with both, only the agents of the ticket.
    #[command(flatten)]
    pub selector: Selector,
    /// What is to be different; - reads it from standard input
    #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
    pub feedback: String,
    /// Show what would be written and who would be started again
    #[arg(long)]
    pub dry_run: bool,
}

/// Words of `review`.
#[derive(Debug, Clone, Subcommand)]
pub enum ReviewCommand {
    /// Fetch what reviewers said to the open pull requests (by gh), and have the agents begin anew with it if that is said
    #[command(after_help = "Example: metawsm review sync --ticket ACME-12 --dispatch")]
    Sync(ReviewSyncArgs),
}

/// Options of `review sync`.
#[derive(Debug, Clone, Args)]
pub struct ReviewSyncArgs {
    /// Which run; with both, only what belongs to the ticket.
    #[command(flatten)]
    pub selector: Selector,
    /// Take so many new remarks at most; 0: as many as the policy says
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_items: u32,
    /// Start the agents again with what is queued, as much as fits
    #[arg(long)]
    pub dispatch: bool,
    /// Fetch and show what is new; nothing is kept, nobody is started
    #[arg(long)]
    pub dry_run: bool,
}

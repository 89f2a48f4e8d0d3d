//! The command line of what an agent says of itself, and of why something stands as it does.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{AgentSelector, Selector};
use crate::domain::time::parse_duration;

/// What an agent says of itself.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Announce silence: until then it is no stall
    #[command(after_help = "Example: metawsm agent quiet --for 20m --reason 'long build'")]
    Quiet {
        /// Which agent (in a session: this one).
        #[command(flatten)]
        which: AgentSelector,
        /// For so long, a day at most: 90s, 20m, 2h; 0s takes it back
        #[arg(long = "for", value_parser = parse_duration, value_name = "DUR")]
        span: Duration,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
        reason: String,
    },
    /// Say how far the work is
    #[command(after_help = "Example: metawsm agent progress --note 'parser done' --percent 60")]
    Progress {
        /// Which agent (in a session: this one).
        #[command(flatten)]
        which: AgentSelector,
        /// In words; - reads standard input
        #[arg(long, value_name = "TEXT|-", allow_hyphen_values = true)]
        note: Option<String>,
        /// From 0 to 100
        #[arg(long, value_name = "P", value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: Option<u8>,
    },
    /// Start the agent described in a file and record how it ends
    #[command(hide = true)]
    Exec {
        /// The file.
        #[arg(long)]
        spec: PathBuf,
    },
}

/// What is to be explained.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// An agent: its signals and their ages, its health, what the operator made of it
    #[command(after_help = "Example: metawsm explain agent coder --ticket ACME-12")]
    Agent {
        /// Its name (in a session: this agent)
        name: Option<String>,
        /// Of which run.
        #[command(flatten)]
        selector: Selector,
        /// Its workspace, where the run has several
        #[arg(long, value_name = "WS")]
        workspace: Option<String>,
    },
    /// A run: what it waits for
    #[command(after_help = "Example: metawsm explain run run-20261121-080000")]
    Run {
        /// Its id
        id: Option<String>,
        /// Or which run.
        #[command(flatten)]
        selector: Selector,
    },
    /// An escalation: its cause, and the rule behind it
    #[command(after_help = "Example: metawsm explain escalation esc-1")]
    Escalation {
        /// Its id
        id: String,
    },
    /// A decision of the operator's rules
    #[command(after_help = "Example: metawsm explain decision 412")]
    Decision {
        /// Its place in the journal, or the id of its event
        id: String,
    },
}

//! The command line of what waits on a human, and of who decides.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{OperatorWord, Selector, SelectorAll};
use crate::domain::time::{Moment, parse_duration};

/// Options of the lists of escalations and suggestions.
#[derive(Debug, Clone, Default, Args)]
pub struct WaitingList {
    /// Which run (default: all).
    #[command(flatten)]
    pub selector: Selector,
    /// Only those that are not settled
    #[arg(long)]
    pub open: bool,
}

/// Options of `escalations`.
#[derive(Debug, Clone, Args)]
pub struct EscalationsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<EscalationCommand>,
    /// Which are listed.
    #[command(flatten)]
    pub list: WaitingList,
}

/// What to do with an escalation.
#[derive(Debug, Clone, Subcommand)]
pub enum EscalationCommand {
    /// List them, newest first
    #[command(after_help = "Example: metawsm escalations list --open")]
    List(WaitingList),
    /// Say that you know: it is silent until it is due
    #[command(after_help = "Example: metawsm escalations ack esc-1 --for 4h --note 'after lunch'")]
    Ack {
        /// Which
        id: String,
        /// Silent for so long: 90s, 30m, 2h, 1d
        #[arg(long = "for", value_parser = parse_duration, value_name = "DUR")]
        until: Option<Duration>,
        /// What there is to say
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        note: Option<String>,
    },
    /// Say that it is settled
    #[command(after_help = "Example: metawsm escalations resolve esc-1 --note 'did it by hand'")]
    Resolve {
        /// Which
        id: String,
        /// What there is to say
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        note: Option<String>,
    },
}

/// Options of `suggestions`.
#[derive(Debug, Clone, Args)]
pub struct SuggestionsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<SuggestionCommand>,
    /// Which are listed.
    #[command(flatten)]
    pub list: WaitingList,
}

/// What to do with a suggestion.
#[derive(Debug, Clone, Subcommand)]
pub enum SuggestionCommand {
    /// List them, newest first
    #[command(after_help = "Example: metawsm suggestions list --open")]
    List(WaitingList),
    /// Do it
    #[command(after_help = "Example: metawsm suggestions accept sug-1")]
    Accept {
        /// Which
        id: String,
    },
    /// Do not do it, and do not offer it again
    #[command(after_help = "Example: metawsm suggestions dismiss sug-1")]
    Dismiss {
        /// Which
        id: String,
    },
}

/// Options of `watch`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Which runs.
    #[command(flatten)]
    pub which: SelectorAll,
    /// Look no more often than this (default: whenever something happened)
    #[arg(long, value_parser = parse_duration, value_name = "DUR")]
    pub interval: Option<Duration>,
    /// A program to run for each alert, as plain words (default: notify.command of the policy)
    #[arg(long, value_name = "COMMAND")]
    pub notify_cmd: Option<String>,
    /// Do not ring the bell
    #[arg(long)]
    pub no_bell: bool,
}

/// Options of `operator`.
#[derive(Debug, Clone, Args)]
pub struct OperatorArgs {
    /// Something else than supervising.
    #[command(subcommand)]
    pub command: Option<OperatorCommand>,
    /// Which runs the rules look at.
    #[command(flatten)]
    pub which: SelectorAll,
    /// Time between two evaluations (default: operator.interval_seconds)
    #[arg(long, value_parser = parse_duration, value_name = "DUR")]
    pub interval: Option<Duration>,
    /// Who decides, for this process (default: operator.llm.mode)
    #[arg(long, value_enum, value_name = "MODE")]
    pub llm_mode: Option<OperatorWord>,
    /// Say what would be decided, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A program to run for each alert, as plain words (default: notify.command of the policy)
    #[arg(long, value_name = "COMMAND")]
    pub notify_cmd: Option<String>,
    /// Do not ring the bell
    #[arg(long)]
    pub no_bell: bool,
}

/// What else the operator can be told.
#[derive(Debug, Clone, Subcommand)]
pub enum OperatorCommand {
    /// Write into the policy file who decides
    #[command(after_help = "Example: metawsm operator mode off")]
    Mode {
        /// The mode
        #[arg(value_enum)]
        mode: OperatorWord,
    },
}

/// What to do with the outbox.
#[derive(Debug, Clone, Subcommand)]
pub enum OutboxCommand {
    /// List letters, newest first
    #[command(after_help = "Example: metawsm outbox list --status failed")]
    List {
        /// Only those
        #[arg(long, value_enum, value_name = "STATUS")]
        status: Option<LetterWord>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
        limit: usize,
        /// Where to go on
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Try one again, as if for the first time
    #[command(after_help = "Example: metawsm outbox retry 12")]
    Retry {
        /// Which
        id: i64,
    },
    /// Leave one undone for good
    #[command(after_help = "Example: metawsm outbox drop 12 --yes")]
    Drop {
        /// Which
        id: i64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LetterWord {
    /// Waits for its first attempt.
    Pending,
    /// In a worker's hands.
    Processing,
    /// Waits after an error.
    Failed,
    /// Done.
    Sent,
    /// Given up.
    Dead,
}

/// Options of `report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Which run (default: all).
    #[command(flatten)]
    pub selector: Selector,
    /// From when on: a time (2026-11-21T08:00:00Z), so long ago (8h), or when you were told last (the first time: 24h)
    #[arg(long, value_name = "TIME|last", default_value = "last", value_parser = since)]
    pub since: Since,
}

/// From when on a report goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From this moment on.
    At(Moment),
    /// From so long ago on.
    Ago(Duration),
    /// From the last report on.
    Last,
}

fn since(text: &str) -> Result<Since, String> {
    if text == "last" {
        return Ok(Since::Last);
    }
    if let Some(moment) = Moment::parse(text) {
        return Ok(Since::At(moment));
    }
    parse_duration(text)
        .map(Since::Ago)
        .map_err(|_| "a time like 2026-11-21T08:00:00Z, 8h, or last is wanted".to_owned())
}

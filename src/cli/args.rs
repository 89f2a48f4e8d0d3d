//! The command line. Doc comments are the help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::time::parse_duration;

mod agent;
mod forum;
mod start;
mod waiting;
mod work;

pub use agent::*;
pub use forum::*;
pub use start::*;
pub use waiting::*;
pub use work::*;

/// Run many coding agents from one place: tickets become runs, agents work in tmux, and you answer what needs you.
#[derive(Debug, Parser)]
#[command(name = "metawsm", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Example: metawsm run --ticket ACME-12 --repos api --agent planner")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// With --headless: who decides in this process (default: as the policy says)
    #[arg(long, value_enum, value_name = "MODE", requires = "headless")]
    pub operator: Option<OperatorWord>,
    /// With --headless: end when no run is left that needs to be watched
    #[arg(long, requires = "headless")]
    pub until_idle: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The directory that holds .metawsm/ (default: the nearest ancestor that has one)
    #[arg(long, global = true, env = "METAWSM_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The database
    #[arg(long, global = true, env = "METAWSM_DB", value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// The policy
    #[arg(long, global = true, env = "METAWSM_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Without a screen: events as lines on stdout, commands as lines on stdin
    #[arg(long, global = true)]
    pub headless: bool,
    /// One JSON document instead of text; streams give one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// Absolute times in UTC instead of ages
    #[arg(long, global = true)]
    pub utc: bool,
    /// Your name (default: the login)
    #[arg(long = "as", global = true, value_name = "NAME", value_parser = crate::domain::name::person)]
    pub name: Option<String>,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a run: workspaces, docs, agents
    #[command(after_help = "Example: metawsm run --ticket ACME-12 --repos api,web --agent planner --agent coder")]
    Run(RunArgs),
    /// Start a run that is measured against a brief
    #[command(after_help = "Example: metawsm bootstrap --ticket ACME-12 --repos api --brief brief.json")]
    Bootstrap(BootstrapArgs),
    /// List runs, newest activity first
    #[command(after_help = "Example: metawsm runs --all --json")]
    Runs(ListArgs),
    /// List agents
    #[command(after_help = "Example: metawsm agents --ticket ACME-12")]
    Agents(ListArgs),
    /// List the steps of a run's plan
    #[command(after_help = "Example: metawsm steps --run-id run-20261121-080000")]
    Steps(ListArgs),
    /// The whole picture of a run
    #[command(after_help = "Example: metawsm status --ticket ACME-12")]
    Status(Selector),
    /// Go on with a run, whatever it stopped at
    #[command(after_help = "Example: metawsm resume --ticket ACME-12")]
    Resume(ResumeArgs),
    /// Hands off: sessions live on, rules leave the run alone
    #[command(after_help = "Example: metawsm pause --ticket ACME-12")]
    Pause(SelectorAll),
    /// End the sessions of a run or of one agent
    #[command(after_help = "Example: metawsm stop --ticket ACME-12 --yes")]
    Stop(StopArgs),
    /// Start agents anew, ending what runs
    #[command(after_help = "Example: metawsm restart --ticket ACME-12 --agent coder")]
    Restart(RestartArgs),
    /// Have the rules leave an agent alone: they do not start it again, call to it, or stop its run
    #[command(after_help = "Example: metawsm hold --agent coder --reason 'I look into it myself'")]
    Hold(HoldArgs),
    /// Have the rules look after a held agent again
    #[command(after_help = "Example: metawsm release --agent coder")]
    Release(AgentSelector),
    /// Close a completed run through its gates
    #[command(after_help = "Example: metawsm close --ticket ACME-12 --merge --yes")]
    Close(CloseArgs),
    /// Commit what agents left uncommitted, on the run's branch
    #[command(after_help = "Example: metawsm commit --ticket ACME-12 --message 'Add the table'")]
    Commit(CommitArgs),
    /// Push what was committed and open a pull request for it, or bring the one that is there up to date (by gh)
    #[command(after_help = "Example: metawsm pr --ticket ACME-12 --draft")]
    Pr(PrArgs),
    /// Begin anew with feedback on what was done: the next epoch of the run's agents
    #[command(after_help = "Example: metawsm iterate --ticket ACME-12 --feedback 'The table lacks an index'")]
    Iterate(IterateArgs),
    /// What reviewers say to the run's pull requests
    #[command(subcommand)]
    Review(ReviewCommand),
    /// Merge a run's branches into their bases: all or nothing
    #[command(after_help = "Example: metawsm merge --ticket ACME-12 --dry-run")]
    Merge(MergeArgs),
    /// Remove a run's sessions, worktrees and merged branches
    #[command(after_help = "Example: metawsm cleanup --ticket ACME-12 --yes")]
    Cleanup(CleanupArgs),
    /// Attach to an agent's session
    #[command(after_help = "Example: metawsm attach --agent planner")]
    Attach(AgentSelector),
    /// What an agent's screen shows, or showed when it ended
    #[command(after_help = "Example: metawsm logs --agent planner --lines 50 --follow")]
    Logs(LogsArgs),
    /// Type a text into an agent's session; done when the agent has taken it
    #[command(after_help = "Example: metawsm send --agent planner 'take the second one, and go on'")]
    Send(SendArgs),
    /// Wait until a run is where you want it
    #[command(after_help = "Example: metawsm wait --ticket ACME-12 --for completed --timeout 2h")]
    Wait(WaitArgs),
    /// Ask, answer, signal: how agents and people talk
    #[command(subcommand)]
    Forum(Forum),
    /// What needs a human: list it, acknowledge it, resolve it
    #[command(after_help = "Example: metawsm escalations --open", args_conflicts_with_subcommands = true)]
    Escalations(EscalationsArgs),
    /// What the operator would do: list it, accept it, dismiss it
    #[command(after_help = "Example: metawsm suggestions accept sug-1", args_conflicts_with_subcommands = true)]
    Suggestions(SuggestionsArgs),
    /// Say what needs a human, and do nothing else
    #[command(after_help = "Example: metawsm watch --ticket ACME-12 --notify-cmd 'notify-send metawsm'")]
    Watch(WatchArgs),
    /// Supervise and act by rule, saying what is decided, until Ctrl-C
    #[command(after_help = "Example: metawsm operator --all --llm-mode off", args_conflicts_with_subcommands = true)]
    Operator(OperatorArgs),
    /// Side effects that wait, failed or were given up: list, try again, leave undone
    #[command(subcommand, after_help = "Example: metawsm outbox list --status dead")]
    Outbox(OutboxCommand),
    /// The journal as JSON lines
    #[command(after_help = "Example: metawsm events --since 120 --follow --type 'agent.*'")]
    Events(EventsArgs),
    /// The policy file
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Write the default policy (the old name of `policy init`)
    #[command(name = "policy-init", hide = true)]
    PolicyInit(PolicyInitArgs),
    /// Look for what is wrong, and say how it is mended
    #[command(after_help = "Example: metawsm doctor --verify")]
    Doctor(DoctorArgs),
    /// Print completions for a shell
    #[command(after_help = "Example: metawsm completions bash > /etc/bash_completion.d/metawsm")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example: metawsm man | man -l -")]
    Man,
    /// Show the main job with scripted agents, and leave nothing behind
    #[command(after_help = "Example: metawsm demo --headless")]
    Demo {
        /// Keep the demo's home.
        #[arg(long)]
        keep: bool,
    },
    /// Why something stands as it does: signals, the rule that fits, what was considered and why not
    #[command(subcommand, after_help = "Example: metawsm explain agent coder")]
    Explain(ExplainCommand),
    /// What happened while you were away: finished, stuck, restarted, waiting, and what the operator did
    #[command(after_help = "Example: metawsm report --since 8h")]
    Report(ReportArgs),
    /// What an agent says of itself
    #[command(subcommand, after_help = "Example: metawsm agent quiet --for 20m --reason 'long build'")]
    Agent(AgentCommand),
}

/// Which run.
#[derive(Debug, Clone, Default, Args)]
pub struct Selector {
    /// The run
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// The newest run of a ticket
    #[arg(long, value_name = "T")]
    pub ticket: Option<String>,
}

/// Which runs.
#[derive(Debug, Clone, Args)]
pub struct SelectorAll {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// Every run it is legal for
    #[arg(long, conflicts_with_all = ["run_id", "ticket"])]
    pub all: bool,
}

/// Which agent.
#[derive(Debug, Clone, Default, Args)]
pub struct AgentSelector {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// The agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Its workspace, where the run has several
    #[arg(long, value_name = "WS")]
    pub workspace: Option<String>,
}

/// Options of lists.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// Closed and dry runs too
    #[arg(long)]
    pub all: bool,
    /// Only in this status
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
}

/// Words of `--operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OperatorWord {
    /// Rules act, no LLM.
    Off,
    /// Nothing is executed.
    Assist,
    /// Rules act, an LLM may escalate.
    Auto,
}

/// Options of `resume`.
#[derive(Debug, Clone, Args)]
pub struct ResumeArgs {
    /// Which runs.
    #[command(flatten)]
    pub which: SelectorAll,
}

/// Options of `stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// Which.
    #[command(flatten)]
    pub which: AgentSelector,
    /// Every run at work
    #[arg(long, conflicts_with_all = ["run_id", "ticket", "agent"])]
    pub all: bool,
    /// Show what would be ended
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Options of `restart`.
#[derive(Debug, Clone, Args)]
pub struct RestartArgs {
    /// Which (default: every agent of the run).
    #[command(flatten)]
    pub which: AgentSelector,
    /// Show what would be restarted
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `hold`.
#[derive(Debug, Clone, Args)]
pub struct HoldArgs {
    /// Which (default: every agent of the run).
    #[command(flatten)]
    pub which: AgentSelector,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Options of `close`.
#[derive(Debug, Clone, Args)]
pub struct CloseArgs {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// Evaluate the gates, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The entry for the ticket's changelog
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub changelog_entry: Option<String>,
    /// Merge what is not merged
    #[arg(long)]
    pub merge: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Options of `merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// Try the merges, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One commit a repository
    #[arg(long)]
    pub squash: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Options of `cleanup`.
#[derive(Debug, Clone, Args)]
pub struct CleanupArgs {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// Show what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// End sessions only
    #[arg(long)]
    pub keep_workspaces: bool,
    /// Delete branches that are not merged too
    #[arg(long)]
    pub delete_branch: bool,
    /// Remove unsaved work too, leaving a backup ref
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Options of `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Which agent.
    #[command(flatten)]
    pub which: AgentSelector,
    /// How many lines of the end
    #[arg(long, value_name = "N", default_value_t = 200, allow_negative_numbers = true)]
    pub lines: usize,
    /// Go on printing what is added
    #[arg(long)]
    pub follow: bool,
}

/// Options of `send`.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// Which agent.
    #[command(flatten)]
    pub which: AgentSelector,
    /// What to type; - reads it from standard input
    pub text: String,
    /// Before other texts, and into a turn that runs
    #[arg(long)]
    pub urgent: bool,
    /// How long to wait until it is taken: 90s, 30m; after that it still waits for its moment
    #[arg(long, value_parser = parse_duration, value_name = "DUR", default_value = "60s")]
    pub timeout: Duration,
    /// The same call under the same key is carried out once, and waits for the first
    #[arg(long, value_name = "KEY")]
    pub event_id: Option<String>,
}

/// Options of `wait`.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Which run.
    #[command(flatten)]
    pub selector: Selector,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "completed", value_name = "STATE")]
    pub what: WaitFor,
    /// Only these agents
    #[arg(long = "agent", value_name = "NAME", value_delimiter = ',')]
    pub agents: Vec<String>,
    /// Their workspace, where the run has several
    #[arg(long, value_name = "WS")]
    pub workspace: Option<String>,
    /// How long at most: 90s, 30m, 2h, 1d
    #[arg(long, value_parser = parse_duration, value_name = "DUR")]
    pub timeout: Option<Duration>,
}

/// Words of `wait --for`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The run is completed.
    Completed,
    /// All (named) agents are done.
    Done,
    /// A question waits for a human.
    Guidance,
    /// Any (named) agent is idle.
    Idle,
    /// Any (named) agent is dead, failed or stalled.
    Unhealthy,
}

/// Options of `events` and `forum watch`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// After this place in the journal
    #[arg(long, alias = "cursor", value_name = "SEQ", default_value_t = 0, allow_negative_numbers = true, value_parser = place)]
    pub since: i64,
    /// At most so many
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub limit: Option<usize>,
    /// Go on as new ones come
    #[arg(long)]
    pub follow: bool,
    /// Only types like this: forum.*, agent.exited
    #[arg(long = "type", value_name = "GLOB")]
    pub event_type: Option<String>,
    /// Only of this ticket
    #[arg(long, value_name = "T")]
    pub ticket: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
}

/// A place in the journal.
fn place(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|seq| *seq >= 0).ok_or("a place in the journal is a whole number from 0 on")
}

/// Options of `policy init`.
#[derive(Debug, Clone, Args)]
pub struct PolicyInitArgs {
    /// Where to write it (default: the home's policy)
    #[arg(long, value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Overwrite
    #[arg(long)]
    pub force: bool,
    /// Add profiles for the agent programs found on PATH
    #[arg(long)]
    pub detect: bool,
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write every key with its default
    #[command(after_help = "Example: metawsm policy init --detect")]
    Init(PolicyInitArgs),
    /// Say everything that is wrong with it
    #[command(after_help = "Example: metawsm policy check")]
    Check,
    /// Show every value and where it comes from
    #[command(after_help = "Example: metawsm policy show --json")]
    Show,
    /// Print its JSON Schema
    #[command(after_help = "Example: metawsm policy schema > policy.schema.json")]
    Schema,
    /// Rewrite an old file in the present version, keeping a backup
    #[command(after_help = "Example: metawsm policy migrate")]
    Migrate,
}

/// Options of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Compare every table with the journal
    #[arg(long)]
    pub verify: bool,
    /// Make every table and the search index anew from the journal
    #[arg(long, conflicts_with = "verify")]
    pub rebuild: bool,
    /// End orphaned sessions and finish the search index
    #[arg(long)]
    pub repair: bool,
    /// Also start each agent program of the policy once, without a prompt, and end it again
    #[arg(long, conflicts_with = "rebuild")]
    pub runners: bool,
}

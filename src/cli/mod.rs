//! Floor 4: the command line. Each subcommand is a call of the engine or a view of the store; no rule lives here.

mod agent;
mod alert;
pub mod args;
mod attach;
mod console;
mod demo;
mod doctor;
mod escalations;
mod events;
mod exit;
mod explain;
mod follow;
mod forum;
mod forum_inbox;
mod forum_read;
mod forum_search;
mod forum_stats;
mod forum_wait;
mod headless;
mod hold;
mod iterate;
mod launch;
mod lifecycle;
mod lists;
mod logs;
mod operator;
mod outbox;
mod policy;
mod print;
mod reply;
mod report;
mod review;
mod select;
mod send;
mod session;
mod start;
mod status;
mod usage;
mod wait;
mod watch;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde_json::json;

use args::{Cli, Command};
use exit::Failure;
use reply::Reply;
use session::Session;

/// Runs the program with these arguments and says how it ended.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, &args),
    };
    if let Some(Command::Agent(args::AgentCommand::Exec { spec })) = &cli.command {
        return ExitCode::from(launch::run(spec));
    }
    let session = Session::new(cli.global.clone());
    // Those that need a valid policy say so themselves.
    let lives_with_a_broken_one = !matches!(
        cli.command,
        Some(
            Command::Run(_)
                | Command::Bootstrap(_)
                | Command::Policy(_)
                | Command::PolicyInit(_)
                | Command::Demo { .. }
                | Command::Doctor(_)
                | Command::Completions { .. }
                | Command::Man
        )
    );
    if lives_with_a_broken_one {
        session.warn_of_policy();
    }
    let face = headless::Face { mode: cli.operator.map(Into::into), until_idle: cli.until_idle };
    match run(&session, cli.command, face) {
        Ok(reply) => ExitCode::from(reply.show(&session)),
        Err(failure) => ExitCode::from(session.fail(&failure)),
    }
}

/// Says why the call does not fit; help and version are what was asked for.
fn misunderstood(error: &clap::Error, args: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    if !error.use_stderr() {
        let _ = print::out(&error.render().to_string());
        return ExitCode::from(exit::DONE);
    }
    let failure = usage::failure(error, args);
    if args.iter().any(|arg| arg == "--json") {
        let _ = print::out(&format!("{}\n", print::json(&failure.to_json())));
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Whoever names a group of commands looks for one of them.
        print::err(error.render().to_string().trim_end());
    } else {
        failure.tell();
    }
    ExitCode::from(failure.status)
}

fn run(session: &Session, command: Option<Command>, face: headless::Face) -> Result<Reply, Failure> {
    if command.is_some() && (face.mode.is_some() || face.until_idle) {
        return Err(Failure::new(exit::USAGE, "--operator and --until-idle before a command say nothing about it")
            .hint("metawsm --headless --operator off, or metawsm run … --operator off"));
    }
    match command {
        None if session.global.headless => headless::run(session, face),
        None => console::run(session),
        Some(Command::Run(args)) => start::run(session, &args),
        Some(Command::Bootstrap(args)) => start::bootstrap(session, &args),
        Some(Command::Demo { keep }) => demo::run(session, keep),
        Some(Command::Attach(args)) => attach::run(session, &args),
        Some(Command::Events(args)) => events::stream(session, &args),
        Some(Command::Forum(args::Forum::Watch(args))) => events::forum(session, &args),
        Some(Command::Watch(args)) => watch::run(session, &args),
        Some(Command::Operator(args)) if args.command.is_none() => operator::run(session, &args),
        Some(Command::Logs(args)) if args.follow => logs::follow(session, &args),
        Some(command) => one_shot(session, command),
    }
}

/// The commands that answer once: also those that headless mode takes on its stdin.
fn one_shot(session: &Session, command: Command) -> Result<Reply, Failure> {
    match command {
        Command::Run(args) => start::detached(session, &args.start, None),
        Command::Bootstrap(args) => start::detached_bootstrap(session, &args),
        Command::Runs(args) => lists::runs(session, &args),
        Command::Agents(args) => lists::agents(session, &args),
        Command::Steps(args) => lists::steps(session, &args),
        Command::Status(selector) => status::run(session, &selector),
        Command::Resume(args) => lifecycle::resume(session, &args),
        Command::Pause(args) => lifecycle::pause(session, &args),
        Command::Stop(args) => lifecycle::stop(session, &args),
        Command::Restart(args) => lifecycle::restart(session, &args),
        Command::Hold(args) => hold::hold(session, &args),
        Command::Release(which) => hold::release(session, &which),
        Command::Close(args) => lifecycle::close(session, &args),
        Command::Commit(args) => work::commit(session, &args),
        Command::Pr(args) => work::pr(session, &args),
        Command::Iterate(args) => iterate::run(session, &args),
        Command::Review(args::ReviewCommand::Sync(args)) => review::sync(session, &args),
        Command::Merge(args) => lifecycle::merge(session, &args),
        Command::Cleanup(args) => lifecycle::cleanup(session, &args),
        Command::Logs(args) => logs::run(session, &args),
        Command::Send(args) => send::run(session, &args),
        Command::Wait(args) => wait::run(session, &args),
        Command::Forum(args) => forum::run(session, args),
        Command::Escalations(args) => escalations::escalations(session, &args),
        Command::Suggestions(args) => escalations::suggestions(session, &args),
        Command::Operator(args::OperatorArgs { command: Some(args::OperatorCommand::Mode { mode }), .. }) => {
            operator::mode(session, mode)
        }
        Command::Outbox(command) => outbox::run(session, &command),
        Command::Policy(args) => policy::run(session, &args),
        Command::PolicyInit(args) => policy::init(session, &args),
        Command::Doctor(args) => doctor::run(session, &args),
        Command::Report(args) => report::run(session, &args),
        Command::Explain(command) => explain::run(session, &command),
        Command::Agent(args::AgentCommand::Quiet { which, span, reason }) => {
            agent::quiet(session, &which, span, &reason)
        }
        Command::Agent(args::AgentCommand::Progress { which, note, percent }) => {
            agent::progress(session, &which, note.as_deref(), percent)
        }
        Command::Completions { shell } => Ok(Reply::text(completions(shell))),
        Command::Man => Ok(Reply::text(manual())),
        Command::Attach(_)
        | Command::Events(_)
        | Command::Watch(_)
        | Command::Operator(_)
        | Command::Demo { .. }
        | Command::Agent(args::AgentCommand::Exec { .. }) => {
            Err(Failure::new(exit::USAGE, "streams, attach and demo are not taken here").hint("call them on their own"))
        }
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "metawsm", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn manual() -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(Cli::command()).render(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A usage failure as every face gives it.
fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure { details: json!(null), ..Failure::new(exit::USAGE, message).hint(hint) }
}

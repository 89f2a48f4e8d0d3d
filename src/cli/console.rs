//! Without a command, and for what is started on a terminal: the console.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::{self, Failure};
use super::follow;
use super::reply::Reply;
use super::session::Session;
use crate::console::app::Opening;
use crate::console::{ConsoleError, open as open_screen};
use crate::domain::policy::OperatorMode;
use crate::services::engine::{Caller, Engine};
use crate::services::operator::Conduct;

/// Opens the console on the home, which is made here if there is none.
pub fn run(session: &Session) -> Result<Reply, Failure> {
    if session.global.json {
        return Err(Failure::new(exit::USAGE, "the console has no JSON form")
            .hint("metawsm --headless runs the engine without a screen; metawsm --help lists the commands"));
    }
    check_terminal(session)?;
    session.may_act_on_runs()?;
    let engine = session.engine_or_new()?;
    let opening = Opening { title: title(&engine), ..Opening::default() };
    Ok(Reply::text(open(&engine, &session.caller(), opening)?))
}

/// Whether what is started is to be shown on a screen.
pub fn wanted(session: &Session) -> bool {
    !session.global.headless && !session.global.json && session.shared.is_none() && check_terminal(session).is_ok()
}

/// Executes a run's plan, the console on it meanwhile.
pub fn on_run(
    session: &Session,
    engine: &Arc<Engine>,
    run_id: &str,
    mode: Option<OperatorMode>,
) -> Result<Reply, Failure> {
    let conduct = Conduct { mode, ..Conduct::default() };
    let opening = Opening { title: title(engine), run_id: Some(run_id.to_owned()), conduct, ..Opening::default() };
    let parting = beside_executor(engine, &session.caller(), run_id, opening)?;
    let run = engine.run(run_id)?;
    let words = format!("Run {run_id} is {}. `metawsm` opens the console on it again.\n{parting}", run.status);
    Ok(Reply::text(words))
}

/// The console, with a run's plan being executed behind it.
pub fn beside_executor(
    engine: &Arc<Engine>,
    caller: &Caller,
    run_id: &str,
    opening: Opening,
) -> Result<String, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let executing = follow::execute_beside(engine, caller, run_id, &cancel)?;
    let shown = open(engine, caller, opening);
    cancel.store(true, Ordering::SeqCst);
    // What it came to stands in the journal.
    let _ = executing.join();
    shown
}

fn open(engine: &Arc<Engine>, caller: &Caller, opening: Opening) -> Result<String, Failure> {
    open_screen(engine, caller, opening).map_err(|error| match error {
        ConsoleError::Engine(error) => error.into(),
        ConsoleError::Terminal(error) => {
            Failure::new(exit::FAILED, format!("the terminal cannot be used: {error}")).hint(WITHOUT)
        }
    })
}

const WITHOUT: &str = "metawsm --headless runs the engine without a screen; metawsm --help lists the commands";

fn check_terminal(session: &Session) -> Result<(), Failure> {
    let refuse =
        |why: &str| Err(Failure::new(exit::USAGE, format!("the console needs a terminal: {why}")).hint(WITHOUT));
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return refuse("standard input and output are not one");
    }
    match session.session_variable("TERM").as_deref() {
        Some("dumb") => refuse("TERM is dumb"),
        None => refuse("TERM is not set"),
        Some(_) => Ok(()),
    }
}

/// The home's own name.
pub fn title(engine: &Engine) -> String {
    let name = engine.home.root.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| engine.home.root.display().to_string())
}

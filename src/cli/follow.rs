//! Following a run without a screen: its plan is executed, everything is supervised, its events are lines.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::events;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::event::Event;
use crate::domain::policy::OperatorMode;
use crate::services::duty::Duty;
use crate::services::engine::{Caller, Engine};
use crate::services::error::EngineError;
use crate::services::executor::{Outcome, execute, no_drill};
use crate::services::feed::{Feed, News};
use crate::services::operator::Conduct;
use crate::services::wake::Wake;
use crate::services::words::words_of;
use crate::store::StoreError;
use crate::store::read::EventFilter;

/// How soon the one who shows a plan's steps sees that the plan has ended.
const BETWEEN: Duration = Duration::from_millis(100);

/// Follows a run to its end.
///
/// `mode` is the operator's for as long as this process supervises; the policy's is left as it is.
pub fn run(
    session: &Session,
    engine: &Arc<Engine>,
    run_id: &str,
    exit_on_guidance: bool,
    mode: Option<OperatorMode>,
) -> Result<Reply, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let signals = cancel_on_signals(&cancel);
    let executing = execute_beside(engine, &session.caller(), run_id, &cancel)?;
    if mode.is_some() {
        note_other_supervisor(session, engine)?;
    }
    let mut duty = Duty::begin_as(engine, Conduct { mode, ..Conduct::default() });
    let status = watch(session, engine, run_id, exit_on_guidance, &cancel, &executing);
    cancel.store(true, Ordering::SeqCst);
    let _ = executing.join();
    duty.end();
    drop(signals);
    let status = status?;
    let reader = engine.reader()?;
    let run = engine.run(run_id)?;
    let json = json!({ "run": session.view(&engine.home, &reader).run(&run)? });
    let last = if lines(session) {
        format!("{}\n", print::json(&json))
    } else {
        format!("Run {run_id} is {}: {}\n", run.status, print::one_line(&run.reason))
    };
    print::out(&last).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    Ok(Reply::silent(status))
}

/// Says that what this process was told about the operator has to wait.
pub fn note_other_supervisor(session: &Session, engine: &Engine) -> Result<(), Failure> {
    let reader = engine.reader()?;
    if let Some(holder) = session.view(&engine.home, &reader).supervisor_holder() {
        print::err(&format!(
            "metawsm: process {} supervises this home and decides as it was told; this one takes over when it ends",
            holder.pid
        ));
    }
    Ok(())
}

/// Whether events are shown as JSON lines: for programs always, for a person only when asked.
fn lines(session: &Session) -> bool {
    session.global.headless || session.global.json || !std::io::stdout().is_terminal()
}

/// Executes a run's plan on a thread of its own.
pub fn execute_beside(
    engine: &Arc<Engine>,
    caller: &Caller,
    run_id: &str,
    cancel: &Arc<AtomicBool>,
) -> Result<JoinHandle<Result<Outcome, EngineError>>, Failure> {
    let lease = engine.lease_run(run_id, "run", caller)?;
    let (engine, caller, run_id, cancel) = (Arc::clone(engine), caller.clone(), run_id.to_owned(), Arc::clone(cancel));
    std::thread::Builder::new()
        .name("executor".to_owned())
        .spawn(move || {
            let _lease = lease;
            execute(&engine, &caller, &run_id, &cancel, &no_drill)
        })
        .map_err(|error| Failure::new(exit::FAILED, format!("no thread could be started: {error}")))
}

fn watch(
    session: &Session,
    engine: &Arc<Engine>,
    run_id: &str,
    exit_on_guidance: bool,
    cancel: &AtomicBool,
    executing: &JoinHandle<Result<Outcome, EngineError>>,
) -> Result<u8, Failure> {
    let wake = Wake::on(&engine.home.db);
    let reader = engine.reader()?;
    let filter = EventFilter { run_id: Some(run_id.to_owned()), ..EventFilter::default() };
    let mut feed = Feed::new(engine.home.reader()?, filter, 0);
    let over = || {
        let verdict = verdict(engine, &reader, run_id, exit_on_guidance && executing.is_finished())?;
        // Nobody reads any more: for the run that is as if it was interrupted here, its agents go on.
        let ends = cancel.load(Ordering::SeqCst) || print::reader_gone();
        Ok(verdict.or(ends.then_some(exit::INTERRUPTED)))
    };
    let as_line = |event: &Event| if lines(session) { print::json(&event.to_json()) } else { words_of(event) };
    feed.follow(&wake, Duration::from_millis(250), over, |news| {
        let read = events::tell(news, as_line)?;
        Ok(if read { ControlFlow::Continue(()) } else { ControlFlow::Break(exit::INTERRUPTED) })
    })
}

/// How the program ends, once the run has come to where it does.
fn verdict(
    engine: &Engine,
    reader: &crate::store::Reader,
    run_id: &str,
    exit_on_guidance: bool,
) -> Result<Option<u8>, Failure> {
    let ended = exit::of_run(engine.run(run_id)?.status);
    if ended.is_none() && exit_on_guidance && reader.needs_human(run_id)? {
        return Ok(Some(exit::GUIDANCE));
    }
    Ok(ended)
}

/// Raises the flag on INT and TERM; a second one ends the program as usual.
pub fn cancel_on_signals(flag: &Arc<AtomicBool>) -> Signals {
    let ids = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]
        .into_iter()
        .flat_map(|signal| {
            // The order counts: the first handler ends the program only when the flag is up already.
            let hard = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag));
            let soft = signal_hook::flag::register(signal, Arc::clone(flag));
            [hard, soft]
        })
        .flatten()
        .collect();
    Signals(ids)
}

/// Handlers that are taken back when dropped.
#[derive(Debug)]
pub struct Signals(Vec<signal_hook::SigId>);

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Shows on stderr what a plan's execution does.
#[derive(Debug)]
pub struct Steps {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Steps {
    /// Begins to show the run's steps, unless nobody reads text.
    pub fn begin(session: &Session, engine: &Arc<Engine>, run_id: &str) -> Result<Self, Failure> {
        Self::of(engine, run_id, session.global.json || session.shared.is_some())
    }

    /// The same, for a run that may have begun already.
    pub fn of(engine: &Arc<Engine>, run_id: &str, quiet: bool) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        if quiet {
            return Ok(Self { stop, thread: None });
        }
        let (engine, told) = (Arc::clone(engine), Arc::clone(&stop));
        let filter = EventFilter { run_id: Some(run_id.to_owned()), ..EventFilter::default() };
        let since = engine.reader()?.last_seq()?;
        let mut feed = Feed::new(engine.home.reader()?, filter, since);
        let thread = std::thread::spawn(move || {
            let wake = Wake::on(&engine.home.db);
            let ended = || told.load(Ordering::SeqCst).then_some(());
            let mut look = || {
                feed.follow(
                    &wake,
                    BETWEEN,
                    || Ok::<_, StoreError>(ended()),
                    |news| {
                        if let News::Event(event) = news
                            && let Some(line) = Some(words_of(event)).filter(|line| !line.is_empty())
                        {
                            print::err(&format!("  {line}"));
                        }
                        Ok(ControlFlow::Continue(()))
                    },
                )
            };
            // What cannot be read just now is read later; the plan does not end for it.
            while look().is_err() && ended().is_none() {
                std::thread::sleep(BETWEEN);
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Shows what is left and ends.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

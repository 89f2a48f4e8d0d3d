//! Calls a human by a program of their choice, `notify.command` of the policy (spec 2.7 "Escalation").

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;

use super::engine::Engine;
use super::error::EngineError;
use super::process::exec::{Exec, Output};
use crate::domain::outbox::Letter;
use crate::domain::run::Run;

/// How long the user's program may take: shorter than its worker has the letter.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the letter says.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub escalation_id: String,
    pub again: bool,
    pub event_id: String,
}

impl Request {
    /// Reads it.
    ///
    /// # Errors
    /// A letter of a newer program.
    pub fn of(letter: &Letter) -> Result<Self, EngineError> {
        serde_json::from_value(letter.payload.clone()).map_err(|error| {
            EngineError::not_found(format!("the letter cannot be read: {error}"), "was it written by a newer metawsm?")
        })
    }
}

/// What a program is told of a call, as `METAWSM_*` variables.
#[derive(Debug, Clone, Default)]
pub struct Notice<'a> {
    /// What it is: the kind of an escalation, or another word.
    pub event: &'a str,
    /// For a person.
    pub message: &'a str,
    /// The run, where it is about one.
    pub run_id: &'a str,
    /// A command that leads on.
    pub hint: &'a str,
}

/// Runs the program, without a shell, and ends it with all it started when it takes too long, or when the caller ends.
///
/// # Errors
/// Why it could not be run, or what it complained of.
pub fn run(argv: &[String], notice: &Notice<'_>, of: Option<&Run>, ending: &AtomicBool) -> Result<(), String> {
    let Some((program, args)) = argv.split_first() else { return Ok(()) };
    let call = Exec::new(program)
        .args(args)
        .env("METAWSM_EVENT", notice.event)
        .env("METAWSM_MESSAGE", notice.message)
        .env("METAWSM_RUN_ID", notice.run_id)
        .env("METAWSM_RUN_STATUS", of.map_or("", |run| run.status.word()))
        .env("METAWSM_TICKETS", of.map(|run| run.spec.tickets.join(",")).unwrap_or_default())
        .env("METAWSM_HINT", notice.hint);
    match call.timeout(PATIENCE).cancel(ending).run() {
        Ok(out) if out.ok() => Ok(()),
        Ok(out) => Err(format!("the notify command failed: {}", complaint(&out))),
        Err(error) => Err(format!("the notify command could not be run: {error}")),
    }
}

fn complaint(out: &Output) -> String {
    let said = out.complaint();
    let how = match (out.status, out.signal) {
        (Some(status), _) => format!("exited with {status}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    if said.is_empty() { how } else { format!("{how}; {said}") }
}

/// Carries a letter out: calls, unless it is settled by now.
///
/// # Errors
/// What kept the program from calling: it is tried again; [`EngineError::Interrupted`] when the caller is to end.
pub fn consume(engine: &Engine, letter: &Letter, ending: &AtomicBool) -> Result<Option<String>, EngineError> {
    let request = Request::of(letter)?;
    let reader = engine.reader()?;
    let Some(call) = reader.escalation(&request.escalation_id)? else {
        return Ok(Some(format!("escalation {} is not there", request.escalation_id)));
    };
    if !call.calls(engine.now()) {
        return Ok(Some(format!("it was {} by then", call.state.word())));
    }
    let argv = engine.home.policy_in_force().unwrap_or_default().notify.command;
    if argv.is_empty() {
        return Ok(Some("the policy names no notify.command any more".to_owned()));
    }
    let run = call.run_id.as_deref().map(|id| reader.run(id)).transpose()?.flatten();
    let message = if request.again { format!("again: {}", call.reason) } else { call.reason.clone() };
    let hint = call.leads_to();
    let run_id = call.run_id.clone().unwrap_or_default();
    let notice = Notice { event: call.kind.word(), message: &message, run_id: &run_id, hint: &hint };
    let done = self::run(&argv, &notice, run.as_ref(), ending);
    if done.is_err() && ending.load(Ordering::SeqCst) {
        // The next supervisor calls.
        return Err(EngineError::Interrupted("the supervisor is to end".to_owned()));
    }
    done.map(|()| None).map_err(|why| EngineError::outside(why, "metawsm policy show names it under notify.command"))
}

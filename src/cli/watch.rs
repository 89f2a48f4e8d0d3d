//! `watch`: tells what needs a human, and does nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::alert::{Alert, Caller};
use super::args::WatchArgs;
use super::exit::{self, Failure};
use super::follow;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::AgentStatus;
use crate::domain::escalation::{Escalation, EscalationState, Kind};
use crate::domain::operator::{agent_cause, agent_target, question_target};
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;
use crate::services::wake::Wake;
use crate::store::{Reader, StoreError};

/// So many runs are named when the watching begins.
const NAMED: usize = 6;

pub fn run(session: &Session, args: &WatchArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let only = if args.which.all { None } else { Some(select::run(session, &reader, &args.which.selector)?) };
    let policy = home.load_policy(&[]).map(|live| live.policy).unwrap_or_default();
    let caller = Caller::new(session, &policy, args.notify_cmd.as_deref(), args.no_bell)?;
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    let wake = Wake::on(&home.db);
    if !session.global.json {
        print::err(&greeting(session, &reader, only.as_ref())?);
    }
    let mut told = BTreeSet::new();
    let mut looked: Option<Instant> = None;
    while !cancel.load(Ordering::SeqCst) {
        // Looked at before anything is told: what ended the run is then among it.
        let verdict = ended(&reader, only.as_ref())?;
        let due =
            verdict.is_some() || args.interval.is_none_or(|interval| looked.is_none_or(|at| at.elapsed() >= interval));
        if due {
            looked = Some(Instant::now());
            for alert in alerts(session, &reader, only.as_ref().map(Run::id))? {
                if told.insert(alert.key.clone()) && !caller.tell(&reader, &alert)? {
                    return Ok(Reply::silent(exit::DONE));
                }
            }
        }
        if let Some(status) = verdict {
            return Ok(Reply::silent(status));
        }
        wake.wait(Duration::from_millis(250));
    }
    Ok(Reply::silent(exit::INTERRUPTED))
}

/// What is watched, and how it is with it: who starts to watch wants to know that somebody does.
fn greeting(session: &Session, reader: &Reader, only: Option<&Run>) -> Result<String, Failure> {
    let runs: Vec<Run> = reader.runs()?.into_iter().filter(is_open).collect();
    let what = match only {
        Some(run) => format!("{} ({}), which is {}", run.id(), run.spec.tickets.join(", "), run.status),
        None if runs.is_empty() => "this home; no run is open yet".to_owned(),
        None => {
            let names: Vec<String> = runs.iter().take(NAMED).map(|run| run.spec.tickets.join("+")).collect();
            let more = runs.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let count = if runs.len() == 1 { "the one run".to_owned() } else { format!("all {} runs", runs.len()) };
            format!("{count} of this home ({}{more})", print::one_line(&names.join(", ")))
        }
    };
    let calls = alerts(session, reader, only.map(Run::id))?.len();
    let how = if calls == 0 { "; nothing needs a human now" } else { "; this needs a human now" };
    Ok(format!("Watching {what}{how}. Ctrl-C ends it."))
}

/// Whether a run is watched with the others.
fn is_open(run: &Run) -> bool {
    run.status != RunStatus::Closed && !run.spec.dry_run
}

/// How the program ends once the one run that it watches has.
fn ended(reader: &Reader, only: Option<&Run>) -> Result<Option<u8>, Failure> {
    let Some(run) = only else { return Ok(None) };
    Ok(match reader.run(run.id())? {
        None => Some(exit::NOT_FOUND),
        Some(run) => exit::of_run(run.status),
    })
}

/// Everything there is to tell now, about one run or all.
pub fn alerts(session: &Session, reader: &Reader, only: Option<&str>) -> Result<Vec<Alert>, StoreError> {
    let mut found = Vec::new();
    for run in reader.runs()? {
        let wanted = only.map_or_else(|| is_open(&run), |id| id == run.id());
        if wanted {
            of_run(session, reader, &run, &mut found)?;
        }
    }
    // What concerns the home concerns every run in it.
    for escalation in reader.escalations(None, true)?.iter().filter(|escalation| escalation.run_id.is_none()) {
        found.extend(of_escalation(escalation, session.now()));
    }
    Ok(found)
}

/// What an escalation says now, if it calls.
fn of_escalation(escalation: &Escalation, now: Moment) -> Option<Alert> {
    let run_id = escalation.run_id.clone().unwrap_or_default();
    let hint = escalation.leads_to();
    let key = match escalation.state {
        // Waiting for longer is news, once for each of its times.
        EscalationState::Open if escalation.kind == Kind::Sla => {
            format!("{} {} {}", escalation.kind, escalation.target, escalation.reason)
        }
        // Nor is the first call another one than what it calls to, which is told without it.
        EscalationState::Open if escalation.notified == 0 => {
            format!("{} {} {}", escalation.kind, escalation.target, escalation.cause)
        }
        EscalationState::Open => format!("{} {}", escalation.escalation_id, escalation.notified),
        EscalationState::Acknowledged | EscalationState::Resolved => {
            format!("{} {:?}", escalation.escalation_id, escalation.due_at)
        }
    };
    let (event, message) = (escalation.kind.word().to_owned(), escalation.reason.clone());
    escalation.calls(now).then_some(Alert { key, event, message, run_id, hint: Some(hint), escalation: true })
}

fn of_run(session: &Session, reader: &Reader, run: &Run, found: &mut Vec<Alert>) -> Result<(), StoreError> {
    let id = run.id();
    let standing = reader.escalations(Some(id), true)?;
    found.extend(standing.iter().filter_map(|known| of_escalation(known, session.now())));
    // What a human knows of is silent until it is due.
    let known_of = |target: &str| standing.iter().any(|known| known.target == target && !known.calls(session.now()));
    let mut add = |key: String, event: &str, message: String, hint: Option<String>| {
        found.push(Alert { key, event: event.to_owned(), message, run_id: id.to_owned(), hint, escalation: false });
    };
    for suggestion in reader.suggestions(Some(id), true)? {
        let hint = format!("metawsm suggestions accept {}", suggestion.suggestion_id);
        add(suggestion.suggestion_id, "suggestion", suggestion.reason, Some(hint));
    }
    // Questions and deaths are told whether anybody supervises or not.
    for thread in reader.blocking_threads(Some(id))?.into_iter().filter(|thread| thread.waits_for_human()) {
        // The escalation of the same question is no further news.
        let (target, since) = (question_target(&thread.thread_id, None), thread.waiting_since);
        if known_of(&target) {
            continue;
        }
        let key = format!("{} {target} waits since {}", Kind::Guidance, since.unwrap_or(thread.opened_at));
        let hint = format!("metawsm forum answer --thread-id {} --body TEXT", thread.thread_id);
        add(key, Kind::Guidance.word(), thread.title, Some(hint));
    }
    for agent in reader.agents(id)? {
        let down = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled);
        if down && !known_of(&agent_target(&agent.key)) {
            let key = format!("{}/{} {}", agent.key.workspace, agent.key.name, agent_cause(&agent));
            add(key, "agent_unhealthy", format!("{} is {}: {}", agent.key.name, agent.status, agent.reason), None);
        }
    }
    let over = match run.status {
        RunStatus::Completed | RunStatus::Closed => Some("run_done"),
        RunStatus::Failed => Some("run_failed"),
        RunStatus::Stopped => Some("run_stopped"),
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Closing => None,
    };
    if let Some(event) = over {
        let message = format!("{}: {}", run.status, run.reason);
        add(format!("{id} {event} {}", run.reason), event, message, Some(format!("metawsm status --run-id {id}")));
    }
    Ok(())
}

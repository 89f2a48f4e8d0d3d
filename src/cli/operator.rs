//! `operator`: supervises and says what the rules decide; `operator mode` changes who decides.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::alert::Caller;
use super::args::{OperatorArgs, OperatorCommand, OperatorWord};
use super::exit::{self, Failure};
use super::follow;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::{events, watch};
use crate::domain::event::{Event, Fact};
use crate::domain::operator::{Action, Conclusion};
use crate::domain::policy::OperatorMode;
use crate::domain::run::RunStatus;
use crate::services::duty::Duty;
use crate::services::engine::Engine;
use crate::services::feed::Feed;
use crate::services::operator::{Conduct, conclude, conclude_limits, conclude_outside};
use crate::services::policy_file::{set_mode, word};
use crate::services::progress::Progress;
use crate::services::wake::Wake;
use crate::store::read::EventFilter;

impl From<OperatorWord> for OperatorMode {
    fn from(word: OperatorWord) -> Self {
        match word {
            OperatorWord::Off => Self::Off,
            OperatorWord::Assist => Self::Assist,
            OperatorWord::Auto => Self::Auto,
        }
    }
}

pub fn run(session: &Session, args: &OperatorArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    match &args.command {
        Some(OperatorCommand::Mode { mode: wanted }) => mode(session, *wanted),
        None => supervise(session, args),
    }
}

pub fn mode(session: &Session, wanted: OperatorWord) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let home = session.home()?;
    let wanted = OperatorMode::from(wanted);
    set_mode(&home, wanted)?;
    let path = home.policy.display().to_string();
    let text = format!("The operator's mode is {} now, written to {path}\n", word(wanted));
    Ok(Reply::new(json!({ "mode": wanted, "path": path }), text))
}

fn supervise(session: &Session, args: &OperatorArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let only =
        if args.which.all { None } else { Some(select::run(session, &reader, &args.which.selector)?.id().to_owned()) };
    // A broken policy is no policy to act by.
    let policy = home.load_policy(&[])?.policy;
    let caller = Caller::new(session, &policy, args.notify_cmd.as_deref(), args.no_bell)?;
    let conduct =
        Conduct { mode: args.llm_mode.map(Into::into), interval: args.interval, only: only.clone(), patience: None };
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    let engine = session.engine()?;
    if args.dry_run {
        return rehearse(session, &engine, &conduct, &cancel);
    }
    let filter = EventFilter { run_id: only.clone(), ..EventFilter::default() };
    let mut feed = Feed::new(engine.home.reader()?, filter, reader.last_seq()?);
    follow::note_other_supervisor(session, &engine)?;
    let mut duty = Duty::begin_as(&engine, conduct);
    let wake = Wake::on(&home.db);
    let mut told = BTreeSet::new();
    while !cancel.load(Ordering::SeqCst) {
        let gone = feed.drain(|news| {
            let read = events::tell(news, |event| line(session, event))?;
            Ok::<_, Failure>(if read { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if gone.is_some() || print::reader_gone() {
            break;
        }
        for alert in watch::alerts(session, &reader, only.as_deref())? {
            if told.insert(alert.key.clone()) && !caller.tell(&reader, &alert)? {
                cancel.store(true, Ordering::SeqCst);
            }
        }
        wake.wait(Duration::from_millis(250));
    }
    duty.end();
    Ok(Reply::silent(exit::INTERRUPTED))
}

/// An event as it is told here.
fn line(session: &Session, event: &Event) -> String {
    if session.global.json {
        return print::json(&event.to_json());
    }
    // What calls a human is told as an alert.
    let alert = matches!(event.fact, Fact::EscalationOpened { .. } | Fact::OperatorSuggested { .. });
    let words = crate::services::words::words_of(event);
    if words.is_empty() || alert {
        return String::new();
    }
    format!("{}  {words}", event.subject.run_id.as_deref().unwrap_or_default())
}

/// Says what would be decided, and changes nothing: the lease is not taken either.
fn rehearse(session: &Session, engine: &Engine, conduct: &Conduct, cancel: &AtomicBool) -> Result<Reply, Failure> {
    let reader = engine.reader()?;
    let mut progress = Progress::default();
    let mut told = BTreeSet::new();
    while !cancel.load(Ordering::SeqCst) {
        let mut pause = Duration::from_secs(15);
        for run in reader.runs_in(&[RunStatus::Running, RunStatus::AwaitingGuidance, RunStatus::Failed])? {
            if conduct.only.as_deref().is_some_and(|only| only != run.id()) {
                continue;
            }
            let measure = conduct.measure(engine, run.id())?;
            pause = pause.min(measure.interval);
            let now = session.now();
            let overdue = progress.overdue_now(engine, &reader, &run, now)?;
            for conclusion in conclude(&reader, &run, &measure, &overdue, now)? {
                tell(session, run.id(), &conclusion, &mut told)?;
            }
        }
        if conduct.only.is_none() {
            let measure = conduct.measure_outside(engine);
            pause = pause.min(measure.interval);
            for conclusion in conclude_outside(&reader, &measure, session.now())? {
                tell(session, "", &conclusion, &mut told)?;
            }
        }
        let limited = reader.limited_agents()?;
        let measure = conduct.measure_outside(engine);
        for conclusion in conclude_limits(&reader, &limited, conduct.only.as_deref(), &measure, session.now())? {
            tell(session, "", &conclusion, &mut told)?;
        }
        let until = Instant::now() + pause;
        while Instant::now() < until && !cancel.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(Reply::silent(exit::INTERRUPTED))
}

fn tell(session: &Session, run_id: &str, conclusion: &Conclusion, told: &mut BTreeSet<String>) -> Result<(), Failure> {
    let decision = &conclusion.decision;
    let key =
        format!("{run_id} {} {} {} {:?}", decision.target, decision.cause, decision.action.word(), decision.due_at);
    if !told.insert(key) {
        return Ok(());
    }
    let line = if session.global.json {
        json!({ "run_id": conclusion.about.run_id, "would": decision }).to_string()
    } else {
        format!(
            "{}  would {}: {}",
            if run_id.is_empty() { "no run" } else { run_id },
            what(decision.action, decision.intent.word()),
            print::one_line(&decision.reason)
        )
    };
    print::out(&format!("{line}\n")).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    Ok(())
}

fn what(action: Action, intent: &str) -> String {
    match action {
        Action::Act => intent.to_owned(),
        Action::Suggest => format!("suggest {intent}"),
        Action::Escalate => format!("call a human ({intent})"),
        Action::Nothing => format!("wait ({intent})"),
    }
}

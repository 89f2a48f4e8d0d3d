//! What happened while nobody looked, and what waits now.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::engine::Engine;
use super::error::EngineError;
use crate::domain::actor::Actor;
use crate::domain::agent::AgentStatus;
use crate::domain::escalation::{Escalation, Kind};
use crate::domain::event::{Event, Subject};
use crate::domain::operator::{agent_target, question_target};
use crate::domain::report::{Line, Report};
use crate::domain::run::RunStatus;
use crate::domain::time::Moment;
use crate::store::Reader;
use crate::store::read::EventFilter;

/// Who was not there for so long has been away.
pub const AWAY: Duration = Duration::from_secs(600);

/// How far somebody was told, or saw it himself: told what happened, or at a console.
///
/// # Errors
/// [`EngineError::Store`].
pub fn last_mark(reader: &Reader, actor: &Actor) -> Result<Option<Mark>, EngineError> {
    Ok(reader.meta(&presence(actor))?.as_deref().and_then(Mark::parse))
}

/// Notes how far somebody was told.
///
/// # Errors
/// [`EngineError::Store`].
pub fn note_told(engine: &Engine, actor: &Actor, mark: Mark) -> Result<(), EngineError> {
    Ok(engine.ledger.set_meta(&presence(actor), &mark.to_string())?)
}

/// Notes that somebody is there now, and sees what happens.
///
/// # Errors
/// [`EngineError::Store`].
pub fn note_there(engine: &Engine, actor: &Actor) -> Result<(), EngineError> {
    let seq = engine.reader()?.last_seq()?;
    note_told(engine, actor, Mark { seq: Some(seq), at: engine.now() })
}

/// Notes that somebody is there now, and tells what happened since he left, if he has been away.
///
/// # Errors
/// [`EngineError::Store`].
pub fn come_back(engine: &Engine, actor: &Actor) -> Result<Option<Told>, EngineError> {
    let (reader, now) = (engine.reader()?, engine.now());
    let left = last_mark(&reader, actor)?.filter(|last| last.at.is_over(AWAY, now));
    let told = left.map(|left| report_after(&reader, None, left, now)).transpose()?;
    // Whom it could not be told to is told the next time.
    match &told {
        Some(told) => note_told(engine, actor, told.mark())?,
        None => note_there(engine, actor)?,
    }
    Ok(told)
}

/// Under this word it is kept when somebody was last there.
fn presence(actor: &Actor) -> String {
    format!("report:{actor}")
}

/// So many events are read at a time.
const PAGE: usize = 2_000;

/// How far somebody was told. The end of the journal then is what counts: whatever clocks do, nothing is told twice or
/// never. The moment is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The end of the journal.
    pub seq: Option<i64>,
    /// When that was.
    pub at: Moment,
}

impl Mark {
    /// Reads what it was written down as; once that was only the moment.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, seq) = text.split_once(' ').map_or((text, None), |(at, seq)| (at, Some(seq)));
        Some(Self { at: Moment::parse(at)?, seq: seq.and_then(|seq| seq.parse().ok()) })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq.map(|seq| format!(" {seq}")).unwrap_or_default();
        write!(f, "{}{seq}", self.at)
    }
}

/// The report of a home since a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// From when on.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
    /// What happened.
    pub report: Report,
    /// What stands still and waits for nobody's word alone.
    pub stuck: Vec<Line>,
    /// What waits for a human's word.
    pub waiting: Vec<Line>,
    /// The last event that was read.
    pub seq: i64,
}

impl Told {
    /// The shape of `report --json`.
    pub fn json(&self) -> Value {
        json!({
            "since": self.since,
            "until": self.until,
            "finished": self.report.finished,
            "stuck": self.stuck,
            "restarted": self.report.restarted,
            "waiting": self.waiting,
            "operator": self.report.operator,
        })
    }

    /// How far this tells.
    pub fn mark(&self) -> Mark {
        Mark { seq: Some(self.seq), at: self.until }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        let Report { finished, restarted, .. } = &self.report;
        finished.is_empty() && restarted.is_empty() && self.stuck.is_empty() && self.waiting.is_empty()
    }
}

/// Reads the journal since a moment, of one run or of all, and what waits now.
///
/// # Errors
/// [`EngineError::Store`].
pub fn report(reader: &Reader, run_id: Option<&str>, since: Moment, until: Moment) -> Result<Told, EngineError> {
    let seq = reader.seq_before(since)?;
    tell(reader, run_id, (seq, since), |event| event.occurred_at >= since, until)
}

/// The same from where somebody was told last.
///
/// # Errors
/// [`EngineError::Store`].
pub fn report_after(reader: &Reader, run_id: Option<&str>, mark: Mark, until: Moment) -> Result<Told, EngineError> {
    match mark.seq {
        Some(seq) => tell(reader, run_id, (seq, mark.at), |_| true, until),
        None => report(reader, run_id, mark.at, until),
    }
}

fn tell(
    reader: &Reader,
    run_id: Option<&str>,
    (mut seq, since): (i64, Moment),
    fits: impl Fn(&Event) -> bool,
    until: Moment,
) -> Result<Told, EngineError> {
    let mut report = Report::default();
    let filter = EventFilter { run_id: run_id.map(str::to_owned), ..EventFilter::default() };
    loop {
        let events = reader.events(seq, &filter, PAGE)?;
        let Some(last) = events.last() else { break };
        seq = last.seq;
        events.iter().filter(|event| fits(event)).for_each(|event| report.take(event));
    }
    let (mut stuck, mut waiting) = (Vec::new(), Vec::new());
    let calls: Vec<Escalation> = reader.escalations(run_id, true)?;
    for call in &calls {
        let line = Line {
            id: Some(call.escalation_id.clone()),
            ..Line::about(&call.subject(), call.kind.word(), call.opened_at, &call.reason)
        };
        let asks = matches!(call.kind, Kind::Guidance | Kind::Sla | Kind::Input | Kind::Limit);
        if asks { waiting.push(line) } else { stuck.push(line) }
    }
    unwatched(reader, run_id, &calls, (&mut stuck, &mut waiting))?;
    for offer in reader.suggestions(run_id, true)? {
        waiting.push(Line {
            id: Some(offer.suggestion_id.clone()),
            ..Line::about(&offer.subject(), "suggestion", offer.created_at, &offer.reason)
        });
    }
    stuck.sort_by_key(|line| line.at);
    waiting.sort_by_key(|line| line.at);
    // A run that was stopped by rule waits for somebody: it is not finished.
    let waits = |one: &Line| stuck.iter().any(|line| line.what == Kind::Stale.word() && line.run_id == one.run_id);
    report.finished.retain(|one| one.agent.is_some() || !waits(one));
    Ok(Told { since, until, report, stuck, waiting, seq })
}

/// What needs a human although nobody supervised and called one.
fn unwatched(
    reader: &Reader,
    only: Option<&str>,
    calls: &[Escalation],
    (stuck, waiting): (&mut Vec<Line>, &mut Vec<Line>),
) -> Result<(), EngineError> {
    let called = |target: &str| calls.iter().any(|call| call.target == target);
    for run in reader.runs_in(&[RunStatus::Running, RunStatus::AwaitingGuidance, RunStatus::Failed])? {
        if only.is_some_and(|only| only != run.id()) {
            continue;
        }
        for thread in reader.blocking_threads(Some(run.id()))?.iter().filter(|thread| thread.waits_for_human()) {
            if !called(&question_target(&thread.thread_id, None)) {
                let subject = Subject {
                    run_id: thread.run_id.clone(),
                    ticket: Some(thread.ticket.clone()),
                    workspace: thread.workspace.clone(),
                    agent_name: thread.agent_name.clone(),
                    thread_id: Some(thread.thread_id.clone()),
                };
                waiting.push(Line::about(&subject, "question", thread.waits_since(), &thread.title));
            }
        }
        for agent in reader.agents(run.id())? {
            let down = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled);
            if down && !agent.start_due() && !called(&agent_target(&agent.key)) {
                let subject = Subject {
                    run_id: Some(run.id().to_owned()),
                    ticket: Some(agent.spec.ticket.clone()),
                    workspace: Some(agent.key.workspace.clone()),
                    agent_name: Some(agent.key.name.clone()),
                    thread_id: None,
                };
                stuck.push(Line::about(&subject, agent.status.word(), agent.since, &agent.reason));
            }
        }
    }
    Ok(())
}

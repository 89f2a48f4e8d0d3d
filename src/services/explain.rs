//! Why something stands as it does: the signals, the rule that fits, what was considered and why not. One account for
//! the command line and the screen, made of what is stored; nothing is asked of tmux or git.

use serde_json::{Value, json};

use super::error::EngineError;
use super::process::lease::Holder;
use super::reviews;
use super::view::{self, RESPONDS_WITHIN, View};
use super::words::words_of;
use crate::domain::agent::AgentKey;
use crate::domain::escalation::{Escalation, LEASE_TARGET};
use crate::domain::event::{Event, Fact};
use crate::domain::operator::{Action, Decision, Intent, repo_of};
use crate::domain::time::{Moment, age};

mod adviser;
mod agent;
mod run;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An agent.
    Agent(AgentKey),
    /// A run, by its id.
    Run(String),
    /// An escalation, by its id.
    Escalation(String),
    /// A decision of the rules, by its place in the journal or the id of its event.
    Decision(String),
    /// The last decision of the rules about a subject: its run, none where it is of no run, and its target.
    LastDecision(Option<String>, String),
}

/// A line of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about, short; empty where it goes on.
    pub name: String,
    /// What there is to say.
    pub text: String,
    /// How it counts.
    pub tone: Tone,
}

/// How a line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any other.
    Plain,
    /// It is the one that fits.
    Fits,
    /// It is secondary: it was considered, and did not fit.
    Not,
}

/// Some lines under a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The heading.
    pub heading: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What it is about.
    pub title: String,
    /// Where that stands, in a sentence.
    pub stands: String,
    /// The account for people.
    pub parts: Vec<Part>,
    /// The same for programs.
    pub json: Value,
}

/// Explains something of a home.
///
/// # Errors
/// When it is not there, or the store cannot be read.
pub fn explain(view: &View<'_>, what: &What) -> Result<Explanation, EngineError> {
    match what {
        What::Agent(key) => agent::explain(view, key),
        What::Run(run_id) => run::explain(view, run_id),
        What::Escalation(id) => escalation(view, id),
        What::Decision(id) => decided(view, id),
        What::LastDecision(run_id, target) => decided_last(view, run_id.as_deref(), target),
    }
}

fn line(name: impl Into<String>, text: impl Into<String>) -> Line {
    Line { name: name.into(), text: text.into(), tone: Tone::Plain }
}

fn not(name: impl Into<String>, text: impl Into<String>) -> Line {
    Line { tone: Tone::Not, ..line(name, text) }
}

/// A part, where it has lines.
fn part(heading: &'static str, lines: Vec<Line>) -> Option<Part> {
    (!lines.is_empty()).then_some(Part { heading, lines })
}

fn ago(now: Moment, at: Option<Moment>) -> String {
    at.map_or_else(|| "unknown".to_owned(), |at| format!("{} ago", age(now.since(at))))
}

/// What became of a decision since it was journaled.
#[derive(Debug, Clone, Copy, Default)]
struct Since<'a> {
    /// What it is about has changed.
    over: bool,
    /// Who has the run, so that nothing is done about it.
    busy: Option<&'a str>,
}

/// What the rules concluded about one subject last.
fn decision_lines(now: Moment, at: Moment, decision: &Decision, since: Since<'_>) -> Vec<Line> {
    let over = since.over;
    let due = match decision.due_at {
        Some(due) if due > now => format!(", due in {}", age(due.since(now))),
        Some(_) | None => String::new(),
    };
    let what = format!("{} {}{due}", decision.action.word(), decision.intent.word());
    let mut lines = vec![
        Line {
            tone: if over { Tone::Not } else { Tone::Fits },
            ..line(
                format!("rule {}", decision.rule),
                format!("{what}: {}{}", decision.reason, if over { " (it has changed since)" } else { "" }),
            )
        },
        line("decided", format!("{}, cause: {}", ago(now, Some(at)), decision.cause)),
    ];
    let others = &decision.considered;
    lines.extend(others.iter().map(|other| {
        let waited = decision.action == Action::Nothing && other.intent == decision.intent && !over;
        let due = decision.due_at.filter(|_| waited);
        not(format!("not {}", other.intent.word()), why_not_yet(now, &other.why_not, due, since.busy))
    }));
    lines
}

/// Why something was not done that was to be done at a time: as long as that is to come because of what was in the way
/// of it then, and afterwards because of what is in the way now.
fn why_not_yet(now: Moment, why: &str, due: Option<Moment>, busy: Option<&str>) -> String {
    match (due, busy) {
        (None, _) => why.to_owned(),
        (Some(due), _) if due > now => format!("{why}; it is at {}", due.clock(now)),
        (Some(due), Some(busy)) => format!("it was due {}, but {busy}", ago(now, Some(due))),
        (Some(due), None) => format!("{why}; that was so {}, and the rules have not looked since", ago(now, Some(due))),
    }
}

/// Who has a run, where somebody has; also one of whom only the call says so that he is in the way.
fn busy(view: &View<'_>, run_id: &str) -> Result<Option<String>, EngineError> {
    if let Some(holder) = view.run_holder(run_id) {
        return Ok(Some(view.busy_by(&holder)));
    }
    let calls = view.reader.escalations_about(Some(run_id), LEASE_TARGET)?;
    Ok(calls.into_iter().find(Escalation::stands).map(|call| call.reason))
}

fn escalation_lines(now: Moment, escalations: &[Escalation]) -> Vec<Line> {
    let told = |call: &Escalation| {
        let known = call.acknowledged_by.as_ref().map(|who| format!(", known to {who}")).unwrap_or_default();
        line(
            call.kind.word(),
            format!("{} ({}, {}{known})", call.reason, call.escalation_id, ago(now, Some(call.opened_at))),
        )
    };
    escalations.iter().map(told).collect()
}

fn event_lines(now: Moment, events: &[Event]) -> Vec<Line> {
    let told = events.iter().map(|event| (event, words_of(event))).filter(|(_, words)| !words.is_empty());
    told.map(|(event, words)| line(age(now.since(event.occurred_at)), words)).collect()
}

fn events_json(events: &[Event]) -> Value {
    let told = events.iter().map(|event| {
        json!({
            "seq": event.seq,
            "event_id": event.event_id,
            "event_type": event.fact.split().0,
            "occurred_at": event.occurred_at,
            "words": words_of(event),
        })
    });
    told.collect()
}

/// Who may act on the home, and who on the run just now.
fn leases(view: &View<'_>, run_id: Option<&str>) -> (Vec<Line>, Value) {
    let supervisor = view.supervisor_holder();
    let words = match &supervisor {
        None => "nobody supervises: health is not looked at, nothing is restarted".to_owned(),
        Some(holder) => {
            let seen = view.now.since(Moment::from_millis(holder.last_seen_at_ms));
            let silent =
                if seen > RESPONDS_WITHIN { format!(", not responding for {}", age(seen)) } else { String::new() };
            format!("process {} on {}{silent}", holder.pid, holder.host)
        }
    };
    let mut lines = vec![line("supervisor", words)];
    let working = run_id.and_then(|run_id| view.run_holder(run_id));
    if run_id.is_some() {
        let words = match &working {
            None => "free".to_owned(),
            Some(holder) => view.busy_by(holder),
        };
        lines.push(line("run", words));
    }
    let shape = |holder: &Holder| {
        json!({
            "operation": holder.operation,
            "holder": holder.holder,
            "pid": holder.pid,
            "since": Moment::from_millis(holder.since_ms),
        })
    };
    (lines, json!({ "supervisor": view.supervisor(), "run": working.as_ref().map(shape) }))
}

/// The fields of a JSON object as lines, nested ones by their path.
fn fields(value: &Value) -> Vec<Line> {
    fn walk(path: &str, value: &Value, lines: &mut Vec<Line>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, lines);
                }
            }
            Value::Null => {}
            Value::String(text) => lines.push(line(path, text.clone())),
            other => lines.push(line(path, other.to_string())),
        }
    }
    let mut lines = Vec::new();
    walk("", value, &mut lines);
    lines
}

fn escalation(view: &View<'_>, id: &str) -> Result<Explanation, EngineError> {
    let call = view
        .reader
        .escalation(id)?
        .ok_or_else(|| EngineError::not_found(format!("no escalation {id}"), "metawsm escalations lists them"))?;
    let last = view.reader.decision(call.run_id.as_deref(), &call.target)?;
    let state = match (&call.resolved_by, &call.acknowledged_by) {
        (Some(who), _) => format!("resolved by {who} {}", ago(view.now, call.resolved_at)),
        (None, Some(who)) => format!("acknowledged by {who}, stands since {}", age(view.now.since(call.opened_at))),
        (None, None) => format!("{}, stands since {}", call.state.word(), age(view.now.since(call.opened_at))),
    };
    let mut about = vec![line("about", call.target.clone()), line("cause", call.cause.clone())];
    let places =
        [("run", &call.run_id), ("agent", &call.agent), ("workspace", &call.workspace), ("thread", &call.thread_id)];
    about.extend(places.into_iter().filter_map(|(name, place)| Some(line(name, place.clone()?))));
    about.extend(call.due_at.map(|due| match due > view.now {
        true => line("calls again", format!("in {}", age(due.since(view.now)))),
        false => line("calls again", format!("overdue for {}", age(view.now.since(due)))),
    }));
    about.extend(call.note.clone().map(|note| line("note", note)));
    about.push(not("ends", "by itself when its cause is gone, or by a human who resolves it"));
    let since = Since { over: !call.stands(), busy: None };
    let decided =
        last.as_ref().map(|last| decision_lines(view.now, last.at, &last.decision, since)).unwrap_or_default();
    let (lines, leases) = leases(view, call.run_id.as_deref());
    Ok(Explanation {
        title: format!("escalation {} ({})", call.escalation_id, call.kind),
        stands: format!("{state}: {}", call.reason),
        parts: [
            part("Call", about),
            part("Evidence", fields(&call.evidence)),
            part("Rule", decided),
            part("Leases", lines),
        ]
        .into_iter()
        .flatten()
        .collect(),
        json: json!({
            "kind": "escalation",
            "escalation": view::escalation(&call),
            "decision": last.map(|last| json!({ "at": last.at, "decision": last.decision })),
            "leases": leases,
        }),
    })
}

fn decided(view: &View<'_>, id: &str) -> Result<Explanation, EngineError> {
    if let Some(offer) = view.reader.suggestion(id)? {
        return decided_last(view, offer.run_id.as_deref(), &offer.target);
    }
    let none =
        || EngineError::not_found(format!("no decision {id}"), "metawsm events --type operator.decided lists them");
    let event = view.reader.event(id)?.ok_or_else(none)?;
    let Fact::OperatorDecided(decision) = &event.fact else { return Err(none()) };
    let last = view.reader.decision(event.subject.run_id.as_deref(), &decision.target)?;
    let current = last.is_some_and(|last| last.decision == *decision);
    let stands = match current {
        true => "the last one about its subject",
        false => "another one about its subject came after it",
    };
    let told = Decided { run_id: event.subject.run_id.as_deref(), at: event.occurred_at, decision, current };
    let (parts, advised) = told.parts(view)?;
    Ok(Explanation {
        title: format!("decision {} about {}", event.seq, decision.target),
        stands: format!("{stands}: {}", decision.reason),
        parts,
        json: json!({
            "kind": "decision",
            "decision": decision,
            "is_last": current,
            "adviser": advised,
            "event": event.to_json(),
        }),
    })
}

/// What was decided about a subject last.
fn decided_last(view: &View<'_>, run_id: Option<&str>, target: &str) -> Result<Explanation, EngineError> {
    let none = || {
        EngineError::not_found(
            format!("nothing was decided about {target}"),
            "metawsm events --type operator.decided lists what was",
        )
    };
    let last = view.reader.decision(run_id, target)?.ok_or_else(none)?;
    let (parts, advised) = Decided { run_id, at: last.at, decision: &last.decision, current: true }.parts(view)?;
    Ok(Explanation {
        title: format!("the last decision about {target}"),
        stands: last.decision.reason.clone(),
        parts,
        json: json!({ "kind": "decision", "decision": last.decision, "is_last": true, "adviser": advised }),
    })
}

/// A decision, and when it was made.
struct Decided<'a> {
    run_id: Option<&'a str>,
    at: Moment,
    decision: &'a Decision,
    /// Whether it is the last one about its subject.
    current: bool,
}

impl Decided<'_> {
    /// What agents would be told of, in full: whoever accepts it is to have read it.
    fn said(&self, view: &View<'_>) -> Result<Vec<Line>, EngineError> {
        let place = repo_of(&self.decision.target).filter(|_| self.decision.intent == Intent::ReviewFeedbackReady);
        let (Some(run_id), Some((workspace, _)), true) = (self.run_id, place, self.current) else {
            return Ok(Vec::new());
        };
        let items = reviews::queued(view.reader, run_id, &[workspace.to_owned()])?;
        let lines = items.iter().flat_map(|item| {
            let stranger = if item.remark.is_trusted() { "" } else { ", who may not write to the repository" };
            let heading = not(item.remark.author.clone(), format!("{}{stranger}", item.remark.place()));
            let body: Vec<Line> = item.remark.body.trim().lines().map(|text| line("", text)).collect();
            std::iter::once(heading).chain(body)
        });
        Ok(lines.collect())
    }

    /// The account of it, and what the adviser said to it.
    fn parts(&self, view: &View<'_>) -> Result<(Vec<Part>, Value), EngineError> {
        let (advice, advised) = adviser::of_decision(view, self.run_id, &self.decision.target, self.at)?;
        let run_id = self.run_id.filter(|_| self.current);
        let busy = run_id.map(|run_id| busy(view, run_id)).transpose()?.flatten();
        let since = Since { over: !self.current, busy: busy.as_deref() };
        let parts = [
            part("Rule", decision_lines(view.now, self.at, self.decision, since)),
            part("Reviewers said", self.said(view)?),
            part("Adviser", advice),
            part("Evidence", fields(&self.decision.evidence)),
        ];
        Ok((parts.into_iter().flatten().collect(), advised))
    }
}

//! Why an agent stands as it does.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Explanation, Line, Since, Tone, ago, busy, decision_lines, escalation_lines, event_lines, events_json, leases,
    line, not, part,
};
use crate::domain::agent::{Agent, AgentKey, WaitingFor};
use crate::domain::health::{Signals, Source, Thresholds, Weighed};
use crate::domain::operator::{agent_target, runner_target};
use crate::domain::scene::LastDecision;
use crate::domain::screen::{Shows, Sign};
use crate::domain::time::{Moment, age, span};
use crate::services::asking::asking;
use crate::services::error::EngineError;
use crate::services::view::View;
use crate::store::read::Vitals;

/// So many of its last events are told.
const EVENTS: usize = 8;

/// What is known of an agent.
struct Known<'a> {
    agent: &'a Agent,
    vitals: Option<Vitals>,
    /// When it was last looked at, where that was not too long ago.
    seen_at: Option<Moment>,
    thresholds: Thresholds,
    asks: bool,
    screen: Option<Sign>,
    now: Moment,
}

pub(super) fn explain(view: &View<'_>, key: &AgentKey) -> Result<Explanation, EngineError> {
    let none =
        || EngineError::not_found(format!("no agent {} in run {}", key.name, key.run_id), "metawsm agents lists them");
    let agents = view.reader.agents(&key.run_id)?;
    let agent = agents.iter().find(|agent| agent.key == *key).ok_or_else(none)?;
    let run = view.reader.run(&key.run_id)?.ok_or_else(none)?;
    let vitals = view.reader.vitals(&key.run_id)?.into_iter().find(|(of, _)| of == key).map(|(_, vitals)| vitals);
    let known = Known {
        agent,
        vitals,
        seen_at: view.seen_at(agent, vitals.as_ref()),
        thresholds: view.policy(&key.run_id)?.health_of(&agent.spec.profile).thresholds(),
        asks: asking(view.reader, &run, &agents)?.contains(key),
        screen: screen(agent),
        now: view.now,
    };
    let shape = view.agent(agent, vitals.as_ref());
    let last = view.reader.decision(Some(&key.run_id), &agent_target(key))?;
    let mut calls = view.reader.escalations_about(Some(&key.run_id), &agent_target(key))?;
    calls.extend(view.reader.escalations_about(None, &runner_target(&agent.spec.runner))?);
    calls.retain(|call| call.stands());
    let events = view.reader.agent_events(key, EVENTS)?;
    let weighed = known.weighed();
    let (lease_lines, leases) = leases(view, Some(&key.run_id));
    let busy = busy(view, &key.run_id)?;
    let held_after = |at: Moment| agent.held.as_ref().is_some_and(|held| held.since >= at);
    let decided = |last: &LastDecision| {
        let since = Since { over: agent.since > last.at || held_after(last.at), busy: busy.as_deref() };
        decision_lines(view.now, last.at, &last.decision, since)
    };
    let mut operator = last.as_ref().map(decided).unwrap_or_default();
    operator.splice(0..0, held_lines(agent, view.now));
    let parts = [
        part("Signals", known.signals()),
        part("Health: the first rule that fits", weighed.iter().map(weighed_line).collect()),
        part("Thresholds in force", known.threshold_lines()),
        part("Operator", operator),
        part("Restarts", known.restarts()),
        part("Waits for you", escalation_lines(view.now, &calls)),
        part("Leases", lease_lines),
        part("Lately", event_lines(view.now, &events)),
    ];
    Ok(Explanation {
        title: format!("{} in {} of {}", key.name, key.workspace, key.run_id),
        stands: known.stands(shape["health"].as_str().unwrap_or_default()),
        parts: parts.into_iter().flatten().collect(),
        json: json!({
            "kind": "agent",
            "signals": known.signals_json(),
            "rule": weighed.iter().find(|weighed| weighed.fits),
            "held": agent.held,
            "considered": weighed.iter().filter(|weighed| !weighed.fits).collect::<Vec<_>>(),
            "thresholds": known.thresholds,
            "operator": last.map(|last| json!({ "decided_at": last.at, "decision": last.decision })),
            "restarts": {
                "used": agent.restarts.used,
                "budget": agent.restarts.budget,
                "cooldown_until": agent.restarts.cooldown_until,
                "free_until": agent.restarts.free_until,
                "well_since": agent.well_since,
            },
            "escalations": calls.iter().map(crate::services::view::escalation).collect::<Vec<_>>(),
            "leases": leases,
            "events": events_json(&events),
            "agent": shape,
        }),
    })
}

/// Who has it in hand, and which rules did not fire for that reason.
fn held_lines(agent: &Agent, now: Moment) -> Vec<Line> {
    let Some(held) = &agent.held else { return Vec::new() };
    let why = format!("{} has it in hand; metawsm release, or H, gives it back to the rules", held.by);
    vec![
        Line { name: "held".to_owned(), text: held.words(now), tone: Tone::Fits },
        not("not rule 3", format!("auto_restart: {why}")),
        not("not rule 4", "escalate_blocked: a human has it in hand"),
        not("not rule 5", "auto_stop_stale: a human has an agent of the run in hand"),
    ]
}

/// What its screen showed when it was last told of.
fn screen(agent: &Agent) -> Option<Sign> {
    let shows = match agent.waiting_for {
        WaitingFor::Limit => Shows::Limit,
        WaitingFor::Input => Shows::Input,
        WaitingFor::None | WaitingFor::Guidance => return None,
    };
    let word = |key: &str| agent.evidence.get(key).and_then(Value::as_str).map(str::to_owned);
    let (line, pattern) = (word("line").unwrap_or_default(), word("pattern").unwrap_or_default());
    Some(Sign { shows, line, question: word("question"), pattern })
}

/// A line of what an agent said: all of it is in the journal.
fn shortened(note: &str) -> String {
    const LONGEST: usize = 200;
    let longer = if note.chars().nth(LONGEST).is_some() { "…" } else { "" };
    note.chars().take(LONGEST).collect::<String>() + longer
}

fn weighed_line(weighed: &Weighed) -> Line {
    let tone = if weighed.fits { Tone::Fits } else { Tone::Not };
    Line { name: format!("{} {}", weighed.rule, weighed.name), text: weighed.why.clone(), tone }
}

impl Known<'_> {
    fn stands(&self, health: &str) -> String {
        let agent = self.agent;
        let since = age(self.now.since(agent.since));
        let waits = match (self.seen_at, agent.waiting_for) {
            (_, WaitingFor::None) => String::new(),
            (None, waits) if waits.seen_on_screen() => String::new(),
            (_, waits) => format!(", waits for {}", waits.word()),
        };
        format!("{} for {since}, health {health}{waits}: {}", agent.status, agent.reason)
    }

    fn looked_after(&self) -> bool {
        self.agent.status.working()
    }

    fn output_at(&self) -> Option<Moment> {
        self.vitals.and_then(|vitals| vitals.last_output_at)
    }

    /// The newest progress, and what showed it.
    fn progress(&self) -> Option<(Moment, Source)> {
        let said = self.agent.last_progress_at.map(|at| (at, Source::Journal));
        let shown = self.vitals.and_then(|vitals| vitals.last_progress_at).map(|at| (at, Source::Git));
        said.max(shown)
    }

    /// The rules as of the last look. What the supervisor did not know then is not known here either.
    fn weighed(&self) -> Vec<Weighed> {
        if !self.looked_after() {
            return vec![self.ended()];
        }
        let Some(seen_at) = self.seen_at else {
            let why = "nobody has looked at it for more than 10 s".to_owned();
            return vec![Weighed { rule: 1, name: "could not be looked at".to_owned(), fits: true, why }];
        };
        let evidence = |key: &str| self.agent.evidence.get(key).and_then(Value::as_str).unwrap_or_default();
        let limit = Duration::from_secs(u64::from(self.thresholds.progress_stalled_seconds));
        let judged = |at: Moment| limit.is_zero() || seen_at.since(at) < limit || evidence("signal") == "progress";
        let signals = Signals {
            now: seen_at,
            output_at: self.output_at(),
            progress: self.progress().filter(|(at, _)| judged(*at)),
            asks: self.asks,
            screen: self.screen.as_ref(),
            quiet: self.agent.quiet.as_ref(),
            stopped: self.stopped(),
        };
        signals.weigh(&self.thresholds)
    }

    /// Its program, where the last look found it stopped.
    fn stopped(&self) -> Option<u32> {
        let pid = self.agent.evidence.get("stopped_pid").and_then(Value::as_u64).filter(|_| self.looked_after())?;
        u32::try_from(pid).ok()
    }

    fn ended(&self) -> Weighed {
        let agent = self.agent;
        let weighed = |rule, name: &str, why: String| Weighed { rule, name: name.to_owned(), fits: true, why };
        match &agent.exit {
            Some(exit) if exit.server_lost.is_some() || exit.source == "missing" => {
                weighed(2, "missing", format!("{} (told by {})", exit.describe(), exit.source))
            }
            Some(exit) => weighed(3, "exited", format!("{} (told by {})", exit.describe(), exit.source)),
            None => weighed(0, "left alone", format!("an agent that is {} is not judged by its signals", agent.status)),
        }
    }

    fn signals(&self) -> Vec<Line> {
        let agent = self.agent;
        let seen = match (self.looked_after(), self.vitals) {
            (_, None) => "never".to_owned(),
            (_, Some(vitals)) => ago(self.now, Some(vitals.last_seen_at)),
        };
        let mut lines = vec![
            line("looked at", format!("{seen} (supervisor)")),
            line("output", format!("{} (tmux)", ago(self.now, self.output_at()))),
            line(
                "progress",
                match self.progress() {
                    Some((at, source)) => format!("{} ({})", ago(self.now, Some(at)), source.word()),
                    None => "none is known".to_owned(),
                },
            ),
        ];
        if let Some(said) = &agent.said {
            let percent = said.percent.map(|percent| format!("{percent} % ")).unwrap_or_default();
            let note = shortened(said.note.as_deref().unwrap_or_default());
            lines.push(line("said", format!("{percent}{note} {} (agent)", ago(self.now, Some(said.at)))));
        }
        if let Some(sign) = &self.screen {
            lines.push(line("screen", format!("{} (tmux, by {})", sign.line, sign.pattern)));
        }
        if self.asks {
            lines.push(line("question", "waits for an answer (forum)"));
        }
        if let Some(quiet) = &agent.quiet {
            let over = if quiet.holds(self.now) { "" } else { ", which is over" };
            lines.push(line("quiet", format!("{}{over} (agent)", quiet.words())));
        }
        let pid = self.vitals.and_then(|vitals| vitals.pid).filter(|_| agent.program_may_live());
        let launch = format!("launch {}, epoch {}", agent.launch, agent.epoch);
        lines.push(match (&agent.exit, pid) {
            (Some(exit), _) => line("program", format!("{launch}: {} ({})", exit.describe(), exit.source)),
            (None, Some(pid)) => line("program", format!("{launch}: launcher {pid} lives (launch record)")),
            (None, None) => line("program", format!("{launch}: no process is known")),
        });
        if let Some(pid) = self.stopped() {
            lines.push(line("stopped", format!("{pid} does nothing until `kill -CONT {pid}` (process table)")));
        }
        lines
    }

    fn signals_json(&self) -> Value {
        let agent = self.agent;
        let signal = |name: &str, source: &str, at: Option<Moment>, value: Value| {
            json!({
                "signal": name,
                "source": source,
                "at": at,
                "age_seconds": at.map(|at| self.now.since(at).as_secs()),
                "value": value,
            })
        };
        let progress = self.progress();
        let mut signals = vec![
            signal("looked_at", "supervisor", self.vitals.map(|vitals| vitals.last_seen_at), Value::Null),
            signal("output", "tmux", self.output_at(), Value::Null),
            signal(
                "progress",
                progress.map_or("none", |(_, source)| source.word()),
                progress.map(|(at, _)| at),
                Value::Null,
            ),
            signal("question", "forum", None, self.asks.into()),
        ];
        let read_at = agent.evidence.get("seen_at").and_then(Value::as_str).and_then(Moment::parse);
        signals.push(signal("screen", "tmux", read_at.filter(|_| self.screen.is_some()), json!(self.screen)));
        signals.push(signal("quiet", "agent", agent.quiet.as_ref().map(|quiet| quiet.since), json!(agent.quiet)));
        signals.push(signal("said", "agent", agent.said.as_ref().map(|said| said.at), json!(agent.said)));
        signals.push(signal(
            "stopped",
            "process table",
            read_at.filter(|_| self.stopped().is_some()),
            json!(self.stopped()),
        ));
        let source = agent.exit.as_ref().map_or("launch record", |exit| exit.source.as_str());
        let ended_at = agent.exit.as_ref().and_then(|exit| exit.at);
        signals.push(signal("exit", source, ended_at, json!(agent.exit)));
        Value::Array(signals)
    }

    fn threshold_lines(&self) -> Vec<Line> {
        let told = |seconds: u32| match seconds {
            0 => "never".to_owned(),
            seconds => span(Duration::from_secs(u64::from(seconds))),
        };
        let Thresholds { idle_seconds, activity_stalled_seconds, progress_stalled_seconds } = self.thresholds;
        vec![
            line("idle", format!("without output for {}", told(idle_seconds))),
            line("stalled", format!("without output for {}", told(activity_stalled_seconds))),
            line("", format!("without progress for {}", told(progress_stalled_seconds))),
            not("", format!("profile {}, runner {}", self.agent.spec.profile, self.agent.spec.runner)),
        ]
    }

    fn restarts(&self) -> Vec<Line> {
        let restarts = &self.agent.restarts;
        let mut lines = vec![line("by rule", format!("{} of {} used", restarts.used, restarts.budget))];
        for (name, until) in [("cooldown", restarts.cooldown_until), ("free one", restarts.free_until)] {
            if let Some(until) = until {
                let left = match until > self.now {
                    true => format!("not before {}, in {}", until.clock(self.now), age(until.since(self.now))),
                    false => format!("over since {}", age(self.now.since(until))),
                };
                lines.push(line(name, left));
            }
        }
        if let Some(since) = self.agent.well_since {
            lines.push(line("well", format!("for {}", age(self.now.since(since)))));
        }
        lines
    }
}

//! `report`: what happened while nobody looked.

use serde_json::json;

use super::args::{ReportArgs, Since};
use super::exit::Failure;
use super::print::{Style, one_line};
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::actor::Actor;
use crate::domain::operator::Intent;
use crate::domain::report::{Deeds, Line};
use crate::domain::time::age;
use crate::services::report::{Mark, Told, report, report_after};

/// So far back the first report goes.
const FIRST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

pub fn run(session: &Session, args: &ReportArgs) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let run = match args.selector.run_id.is_none() && args.selector.ticket.is_none() {
        true => None,
        false => Some(select::run(session, &reader, &args.selector)?.id().to_owned()),
    };
    let now = session.now();
    let key = last_key(&session.caller().actor);
    let last = reader.meta(&key)?.as_deref().and_then(Mark::parse);
    let told = match (args.since, last) {
        (Since::At(moment), _) => report(&reader, run.as_deref(), moment, now)?,
        (Since::Ago(span), _) => report(&reader, run.as_deref(), now.minus(span), now)?,
        (Since::Last, Some(mark)) => report_after(&reader, run.as_deref(), mark, now)?,
        (Since::Last, None) => report(&reader, run.as_deref(), now.minus(FIRST), now)?,
    };
    let reply = Reply::new(json!({ "report": told.json() }), text(&told, &session.style()));
    // Only who was told of everything was told.
    if args.since == Since::Last && run.is_none() {
        session.engine()?.ledger.set_meta(&key, &told.mark().to_string())?;
    }
    Ok(reply)
}

/// Under this word it is kept when somebody was told last.
fn last_key(actor: &Actor) -> String {
    format!("report:{actor}")
}

fn text(told: &Told, style: &Style) -> String {
    let span = age(told.until.since(told.since));
    let mut out = format!("{} {} ago\n", style.strong("Since"), span);
    let lines = |lines: &[Line]| -> Vec<String> { lines.iter().map(|one| line(one, style)).collect() };
    let restarted = told.report.restarted.iter().map(|one| {
        let ways = [
            (one.by_rule, "by rule"),
            (one.free, "with the tmux server"),
            (one.accepted, "as suggested"),
            (one.by_human, "by hand"),
        ];
        let ways: Vec<String> =
            ways.iter().filter(|(times, _)| *times > 0).map(|(times, how)| format!("{times}× {how}")).collect();
        let when = style.dim(&format!("· {}", age(style.now.since(one.last_at))));
        format!(
            "{}/{} of {}: {} · {} {when}",
            one.workspace,
            one.agent,
            one.run_id,
            ways.join(", "),
            one_line(&one.reason)
        )
    });
    let parts = [
        ("Finished", lines(&told.report.finished)),
        ("Stuck", lines(&told.stuck)),
        ("Restarted", restarted.collect()),
        ("Waiting for you", lines(&told.waiting)),
    ];
    for (heading, lines) in parts {
        out.push_str(&format!("\n{} ({})\n", style.strong(heading), lines.len()));
        lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    out.push_str(&format!("\n{}\n", style.strong("The operator")));
    deeds(&told.report.operator).iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    out
}

fn line(line: &Line, style: &Style) -> String {
    let about = match (&line.agent, &line.run_id, &line.ticket) {
        (Some(agent), Some(run), _) => format!("{agent} of {run}"),
        (_, Some(run), _) => run.clone(),
        (_, None, Some(ticket)) => ticket.clone(),
        (_, None, None) => "this home".to_owned(),
    };
    let when = style.dim(&format!("· {}", age(style.now.since(line.at))));
    format!("{} {} {when}", style.status(&line.what), one_line(&format!("{about}: {}", line.reason)))
}

fn deeds(deeds: &Deeds) -> Vec<String> {
    let times = |count: u32| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let mut lines = Vec::new();
    for (intent, count) in &deeds.acted {
        lines.push(format!("{} {}", did(*intent), times(*count)));
    }
    for (intent, offers) in &deeds.suggested {
        let open = offers.made - offers.accepted - offers.dismissed - offers.withdrawn;
        let ends = [
            (offers.accepted, "accepted"),
            (offers.dismissed, "dismissed"),
            (offers.withdrawn, "withdrawn"),
            (open, "open"),
        ];
        let ends: Vec<String> =
            ends.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        lines.push(format!("would have {} {} ({})", did(*intent), times(offers.made), ends.join(", ")));
    }
    if deeds.called + deeds.called_again > 0 {
        let again = if deeds.called_again > 0 { format!(" and {} again", deeds.called_again) } else { String::new() };
        let (eased, settled) = (deeds.eased, deeds.settled);
        lines.push(format!(
            "called a human {}{again}; {eased} ended by themselves, {settled} by a human",
            times(deeds.called)
        ));
    }
    if lines.is_empty() {
        lines.push("did nothing, and would have done nothing".to_owned());
    }
    lines
}

fn did(intent: Intent) -> &'static str {
    match intent {
        Intent::AutoRestart => "restarted an agent",
        Intent::AutoStopStale => "stopped a run",
        Intent::ResetRestarts => "forgot the restarts of an agent",
        Intent::EscalateGuidance
        | Intent::EscalateInput
        | Intent::EscalateBlocked
        | Intent::EscalateSla
        | Intent::EscalateFailed => "called a human",
    }
}

//! `report`: what happened while nobody looked.

use serde_json::json;

use super::args::{ReportArgs, Since};
use super::exit::Failure;
use super::print::{Style, one_line};
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::report::Line;
use crate::domain::time::age;
use crate::services::report::{Told, last_mark, note_told, report, report_after};
use crate::services::report_words::{deeds, ways};

/// So far back the first report goes.
const FIRST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

pub fn run(session: &Session, args: &ReportArgs) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let run = match args.selector.run_id.is_none() && args.selector.ticket.is_none() {
        true => None,
        false => Some(select::run(session, &reader, &args.selector)?.id().to_owned()),
    };
    let now = session.now();
    let actor = session.caller().actor;
    let told = match (args.since, last_mark(&reader, &actor)?) {
        (Since::At(moment), _) => report(&reader, run.as_deref(), moment, now)?,
        (Since::Ago(span), _) => report(&reader, run.as_deref(), now.minus(span), now)?,
        (Since::Last, Some(mark)) => report_after(&reader, run.as_deref(), mark, now)?,
        (Since::Last, None) => report(&reader, run.as_deref(), now.minus(FIRST), now)?,
    };
    let reply = Reply::new(json!({ "report": told.json() }), text(&told, &session.style()));
    // Only who was told of everything was told.
    if args.since == Since::Last && run.is_none() {
        note_told(session.engine()?.as_ref(), &actor, told.mark())?;
    }
    Ok(reply)
}

fn text(told: &Told, style: &Style) -> String {
    let span = age(told.until.since(told.since));
    let mut out = format!("{} {} ago\n", style.strong("Since"), span);
    let lines = |lines: &[Line]| -> Vec<String> { lines.iter().map(|one| line(one, style)).collect() };
    let restarted = told.report.restarted.iter().map(|one| {
        let when = style.dim(&format!("· {}", age(style.now.since(one.last_at))));
        format!("{}/{} of {}: {} · {} {when}", one.workspace, one.agent, one.run_id, ways(one), one_line(&one.reason))
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

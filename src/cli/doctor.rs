//! `doctor`: looks for what is wrong, and says how it is mended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::DoctorArgs;
use super::exit::{self, Failure};
use super::outbox::in_words;
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::escalation::LEASE_TARGET;
use crate::domain::run::RunStatus;
use crate::domain::time::Moment;
use crate::services::error::EngineError;
use crate::services::home::Home;
use crate::services::indexing;
use crate::services::operator::{busy_by, patience};
use crate::services::process::exec::Exec;
use crate::services::process::lease::{Holder, Lease, read_holder};
use crate::services::process::{Processes, default_table};
use crate::services::view::{self, RESPONDS_WITHIN};
use crate::store::Reader;
use crate::store::outbox::OutboxHealth;
use crate::store::rebuild;

mod adviser;
mod orphans;
mod runners;

/// How often long work says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(1);

struct Finding {
    name: &'static str,
    ok: bool,
    message: String,
    mend: Option<String>,
}

fn good(name: &'static str, message: impl Into<String>) -> Finding {
    Finding { name, ok: true, message: message.into(), mend: None }
}

fn bad(name: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { name, ok: false, message: message.into(), mend: Some(mend.into()) }
}

pub fn run(session: &Session, args: &DoctorArgs) -> Result<Reply, Failure> {
    if args.rebuild {
        session.may_act_on_runs()?;
        return rebuild_tables(session);
    }
    let mut findings = vec![git(session), tmux_version()];
    match session.home() {
        Err(_) => findings.push(good("home", "no home here; metawsm run or metawsm policy init makes one")),
        Ok(home) => of_home(session, &home, args, &mut findings)?,
    }
    let health = session.reader().ok().and_then(|(_, reader)| reader.outbox_health().ok());
    let failed = findings.iter().any(|finding| !finding.ok);
    let mut text = String::new();
    for finding in &findings {
        let mark = if finding.ok { "✓" } else { "✖" };
        text.push_str(&format!("{mark} {}: {}\n", finding.name, print::one_line(&finding.message)));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("    {}\n", print::one_line(mend)));
        }
    }
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| json!({ "name": finding.name, "ok": finding.ok, "message": finding.message, "mend": finding.mend }))
        .collect();
    let status = if failed { exit::FAILED } else { exit::DONE };
    let outbox = health.map(|health| view::outbox_health(&health, session.now()));
    Ok(Reply { json: json!({ "ok": !failed, "findings": findings, "outbox": outbox }), text, status })
}

fn of_home(session: &Session, home: &Home, args: &DoctorArgs, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    if args.repair {
        session.may_act_on_runs()?;
    }
    let processes = default_table();
    findings.push(policy(home));
    let reader = match home.reader() {
        Ok(reader) => reader,
        Err(error) => {
            let error = EngineError::from(error);
            let mend = error.hint().unwrap_or_else(|| "keep a copy of the file".to_owned());
            findings.push(bad("database", error.to_string(), mend));
            return Ok(());
        }
    };
    findings.push(good("database", format!("{} events in {}", reader.last_seq()?, home.db.display())));
    findings.push(supervisor(session, home, processes.as_ref()));
    let holder = read_holder(&home.supervisor_lease(), processes.as_ref());
    if args.repair {
        finish_index(home)?;
    }
    findings.extend(leases(session, home, &reader, processes.as_ref())?);
    findings.push(search_index(reader.indexed()?, holder.is_some()));
    findings.push(outbox(session, &reader.outbox_health()?, holder));
    findings.extend(orphans::sessions(home, &reader, args.repair, session)?);
    findings.extend(orphans::worktrees(home, &reader)?);
    findings.extend(runners::used(session, home, &reader, args.runners)?);
    findings.extend(adviser::there(session, home));
    if args.verify {
        findings.push(verified(home)?);
    }
    Ok(())
}

fn git(session: &Session) -> Finding {
    let home = session.home_or_new().map(|home| home.lock_dir()).unwrap_or_default();
    match crate::services::git::Git::new(home).version() {
        Ok(version) if at_least(&version, (2, 38)) => good("git", version),
        Ok(version) => bad("git", format!("{version} is too old"), "install git 2.38 or newer"),
        Err(error) => bad("git", error.to_string(), "install git 2.38 or newer"),
    }
}

fn tmux_version() -> Finding {
    match Exec::new("tmux").arg("-V").timeout(Duration::from_secs(5)).run() {
        Ok(out) if out.ok() && at_least(&out.text(), (3, 2)) => good("tmux", out.text().trim()),
        Ok(out) => bad("tmux", format!("{} is too old", out.text().trim()), "install tmux 3.2 or newer"),
        Err(error) => bad("tmux", error.to_string(), "install tmux 3.2 or newer"),
    }
}

/// Whether the first number in the text with a dot in it is at least this version.
fn at_least(text: &str, wanted: (u32, u32)) -> bool {
    let number = text.split_whitespace().find(|word| word.contains('.')).unwrap_or_default();
    let mut parts = number.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    });
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= wanted
}

fn policy(home: &Home) -> Finding {
    match home.load_policy(&[]) {
        Ok(_) if home.policy.exists() => good("policy", format!("{} is valid", home.policy.display())),
        Ok(_) => good("policy", "no file, the built-in defaults hold"),
        Err(error) => bad("policy", error.to_string(), "mend the file, then: metawsm policy check"),
    }
}

fn supervisor(session: &Session, home: &Home, processes: &dyn Processes) -> Finding {
    let Some(holder) = read_holder(&home.supervisor_lease(), processes) else {
        return good("supervisor", "nobody supervises; metawsm --headless does");
    };
    let silent = session.now().millis().saturating_sub(holder.last_seen_at_ms);
    if silent > i64::try_from(RESPONDS_WITHIN.as_millis()).unwrap_or(i64::MAX) {
        return bad(
            "supervisor",
            format!("pid {} has the lease but has not responded for {} s", holder.pid, silent / 1000),
            format!("look at it (it may be stopped: kill -CONT {0}), or end it: kill -9 {0}", holder.pid),
        );
    }
    good("supervisor", format!("pid {} on {}", holder.pid, holder.host))
}

/// Runs that somebody has: one who was stopped, or is in the way of what was decided, is a finding.
fn leases(session: &Session, home: &Home, reader: &Reader, processes: &dyn Processes) -> Result<Vec<Finding>, Failure> {
    let now = session.now();
    let mut findings = Vec::new();
    for run in reader.runs()?.iter().filter(|run| run.status != RunStatus::Closed) {
        let holder = read_holder(&home.run_lease(run.id()), processes);
        let calls = reader.escalations_about(Some(run.id()), LEASE_TARGET)?;
        let in_the_way = calls.iter().find(|call| call.stands());
        let (words, pid) = match (&holder, in_the_way) {
            (Some(holder), _) => (busy_by(Some(holder), processes, now), Some(holder.pid)),
            (None, Some(call)) => (call.reason.clone(), None),
            (None, None) => continue,
        };
        let stopped = holder.as_ref().is_some_and(|holder| processes.stopped(holder.pid, holder.start_time));
        let words = format!("{}: {words}", run.id());
        let long =
            holder.is_some_and(|holder| now.since(Moment::from_millis(holder.since_ms)) >= patience(Duration::ZERO));
        findings.extend(match (stopped || in_the_way.is_some(), pid) {
            (true, Some(pid)) if stopped => {
                Some(bad("run", words, format!("let it go on (kill -CONT {pid}), or end it: kill -9 {pid}")))
            }
            (true, Some(pid)) => Some(bad("run", words, format!("wait for it, or end it: kill {pid}"))),
            (true, None) => Some(bad("run", words, "find who has the lock file open: fuser, lsof")),
            (false, _) => long.then(|| good("run", words)),
        });
    }
    Ok(findings)
}

/// What is still to be done outside, and whether anybody does it.
fn outbox(session: &Session, health: &OutboxHealth, supervisor: Option<Holder>) -> Finding {
    let mut words = in_words(health, &session.style());
    if let Some(error) = health.tally.last_error.as_ref().filter(|_| health.failed + health.dead > 0) {
        words.push_str(&format!("; the last error: {error}"));
    }
    if health.dead > 0 {
        let mend =
            "metawsm outbox list --status dead says why; then metawsm outbox retry ID, or metawsm outbox drop ID";
        return bad("outbox", words, mend);
    }
    if supervisor.is_none() && health.oldest_pending_at.is_some() {
        words.push_str("; it waits until somebody supervises: metawsm --headless");
    }
    good("outbox", words)
}

/// Whether every post can be found, and who sees to it.
fn search_index(indexed: Option<u8>, supervised: bool) -> Finding {
    let Some(percent) = indexed else { return good("search", "every post is in the search index") };
    let words = format!("{percent} % of the posts are in the search index: the older ones are not found yet");
    if supervised {
        return good("search", format!("{words}; the supervisor goes on with it"));
    }
    bad("search", words, "metawsm doctor --repair finishes it; metawsm --headless does beside everything else")
}

/// Fills the search index to its end, and says how far it is.
fn finish_index(home: &Home) -> Result<(), Failure> {
    let mut said = Instant::now();
    indexing::finish(home, |percent| {
        if said.elapsed() >= SAY_EVERY {
            print::err(&format!("{percent} % of the posts are in the search index"));
            said = Instant::now();
        }
    })?;
    Ok(())
}

fn verified(home: &Home) -> Result<Finding, Failure> {
    let differences = rebuild::verify(&home.db)?;
    if differences.is_empty() {
        return Ok(good("verify", "every table is what the journal says"));
    }
    let lines: Vec<String> = differences
        .iter()
        .take(5)
        .map(|difference| format!("{} only {}: {}", difference.table, difference.only_in, difference.row))
        .collect();
    Ok(bad("verify", format!("{} rows differ: {}", differences.len(), lines.join("; ")), "metawsm doctor --rebuild"))
}

fn rebuild_tables(session: &Session) -> Result<Reply, Failure> {
    let engine = session.engine()?;
    let holder = engine.holder("rebuild", &session.login());
    let lease =
        Lease::try_acquire(&engine.home.supervisor_lease(), holder).map_err(crate::services::engine::lease_error)?;
    let mut said = Instant::now();
    let events = rebuild::rebuild_telling(&engine.home.db, |place, end| {
        if said.elapsed() >= SAY_EVERY {
            print::err(&format!("made anew from {place} of {end} events"));
            said = Instant::now();
        }
    })?;
    // Nobody may supervise for long: what was rebuilt is to be found at once.
    finish_index(&engine.home)?;
    drop(lease);
    Ok(Reply::new(
        json!({ "rebuilt": true, "events": events }),
        format!("made every table and the search index anew from {events} events\n"),
    ))
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, wanted, holds) in [
            ("git version 2.47.3", (2, 38), true),
            ("git version 2.9.1", (2, 38), false),
            ("tmux 3.3a", (3, 2), true),
            ("tmux 3.1c", (3, 2), false),
            ("tmux next-3.6", (3, 2), false),
            ("", (3, 2), false),
        ] {
            assert_eq!(at_least(text, wanted), holds, "{text}");
        }
    }
}

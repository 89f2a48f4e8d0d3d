//! `review sync`: what reviewers said, and the agents begin anew with it.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::ReviewSyncArgs;
use super::exit::Failure;
use super::iterate::tell;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::{carry_out, changed};
use crate::domain::feedback::Feedback;
use crate::services::iterate::{self, Prepared};
use crate::services::reviews::{self, Options, Synced};

/// How long the command waits for another one on the same run that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn sync(session: &Session, args: &ReviewSyncArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let ticket = args.selector.run_id.as_ref().and(args.selector.ticket.clone());
    let workspaces = iterate::workspaces_of(&run, ticket.as_deref())?;
    let options = Options { max_items: Some(args.max_items).filter(|most| *most > 0), ticket, cancel: None };
    if args.dry_run {
        let view = session.view(&home, &reader);
        let policy = view.policy(run.id())?;
        reviews::may_sync(&reader, &policy, &run)?;
        let synced = reviews::fetch(&home.root, &reader, &policy, &run, &options)?;
        synced.complete()?;
        let known = reviews::queued(&reader, run.id(), &workspaces)?.len();
        let waits = known > 0 || synced.fetched.iter().any(|one| one.tally.added + one.tally.updated > 0);
        let begins = (args.dispatch && waits).then(|| iterate::prepare(&reader, &run, &workspaces)).transpose()?;
        let would = would(&synced, begins);
        let mut text = format!("Run ID: {} (dry run, nothing was changed)\n", run.id());
        would.iter().for_each(|line| text.push_str(&format!("  would {}\n", print::one_line(line))));
        let shape = json!({ "run": view.run(&run)?, "would": would, "gates": [], "synced": synced.tallies() });
        return Ok(Reply::new(shape, text + &lines(&synced)));
    }
    let engine = session.engine()?;
    let caller = session.caller();
    // Whoever dispatches what was just fetched has the run while he does both.
    let lease =
        args.dispatch.then(|| engine.lease_run_within(run.id(), "review sync", &caller, PATIENCE)).transpose()?;
    let synced = reviews::sync(&engine, &caller, run.id(), &options)?;
    synced.complete()?;
    let mut items = reviews::queued(&*engine.reader()?, run.id(), &workspaces)?;
    let more = items.split_off(items.len().min(options.most(&engine.policy_of(run.id())?.git_pr.review_feedback)));
    let mut dispatched = Vec::new();
    let mut reply = if args.dispatch && !items.is_empty() {
        let begun = reviews::dispatch(&engine, &caller, run.id(), &items)?;
        drop(lease);
        let mut reply = carry_out(session, &engine, run.id(), "review sync")?;
        tell(&mut reply, &begun);
        dispatched = items;
        reply
    } else {
        changed(session, &engine, run.id())?
    };
    let queued = reviews::queued(&*engine.reader()?, run.id(), &workspaces)?.len();
    reply.text.push_str(&lines(&synced));
    reply.text.push_str(&said(&dispatched, queued, more.len()));
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("synced".to_owned(), json!(synced.tallies()));
        fields.insert("queued".to_owned(), json!(queued));
        fields.insert("dispatched".to_owned(), json!(dispatched.iter().map(name).collect::<Vec<Value>>()));
        let warnings = fields.entry("warnings").or_insert_with(|| json!([]));
        warnings.as_array_mut().into_iter().for_each(|all| all.extend(synced.warnings.iter().map(|line| json!(line))));
    }
    Ok(reply)
}

fn name(item: &Feedback) -> Value {
    json!({ "workspace": item.workspace, "repo": item.repo, "feedback_id": item.feedback_id })
}

fn would(synced: &Synced, prepared: Option<Prepared>) -> Vec<String> {
    let news = synced.fetched.iter().filter(|one| one.tally.added + one.tally.updated > 0);
    let mut would: Vec<String> = news
        .map(|one| {
            format!("keep {} remarks on {} #{}", one.tally.added + one.tally.updated, one.tally.repo, one.tally.number)
        })
        .collect();
    would.extend(prepared.into_iter().flat_map(|prepared| prepared.would()));
    would
}

fn lines(synced: &Synced) -> String {
    let mut text = String::new();
    for one in &synced.fetched {
        text.push_str(&format!("  {}\n", print::one_line(&one.tally.words())));
    }
    if synced.fetched.is_empty() {
        text.push_str("  no pull request is open; metawsm pr opens one\n");
    }
    synced.warnings.iter().for_each(|line| text.push_str(&format!("  warning: {}\n", print::one_line(line))));
    text
}

fn said(dispatched: &[Feedback], queued: usize, more: usize) -> String {
    match (dispatched.len(), queued) {
        (0, 0) => "  nothing waits to be dispatched\n".to_owned(),
        (0, queued) => format!("  {queued} queued; --dispatch starts the agents again with them\n"),
        (told, _) if more > 0 => format!("  {told} dispatched, {more} stay queued for the next time\n"),
        (told, _) => format!("  {told} dispatched\n"),
    }
}

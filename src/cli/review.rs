//! `review sync`: what reviewers said, and the agents begin anew with it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::args::ReviewSyncArgs;
use super::exit::Failure;
use super::follow;
use super::iterate::tell;
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::start::{changed, start_agents};
use super::work::dry;
use crate::domain::feedback::{Feedback, remarks};
use crate::domain::run::Run;
use crate::services::engine::{Engine, PATIENCE};
use crate::services::iterate;
use crate::services::reviews::{self, Options, Synced};

pub fn sync(session: &Session, args: &ReviewSyncArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let (_, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.selector)?;
    let ticket = args.selector.run_id.as_ref().and(args.selector.ticket.clone());
    let cancel = Arc::new(AtomicBool::new(false));
    // What was asked of GitHub ends with whoever asked.
    let _signals = follow::cancel_on_signals(&cancel);
    let max_items = Some(args.max_items).filter(|most| *most > 0);
    let options = Options { max_items, ticket, cancel: Some(cancel) };
    if args.dry_run {
        return foretold(session, &run, &options, args.dispatch);
    }
    let engine = session.engine()?;
    let (synced, mut reply) = match args.dispatch {
        true => dispatched(session, &engine, &run, &options)?,
        false => {
            let synced = reviews::sync(&engine, &session.caller(), run.id(), &options)?;
            synced.complete()?;
            (synced, changed(session, &engine, run.id())?)
        }
    };
    let workspaces = iterate::workspaces_of(&run, options.ticket.as_deref())?;
    let queued = reviews::queued(&*engine.reader()?, run.id(), &workspaces)?.len();
    reply.text.push_str(&lines(&synced));
    if !args.dispatch && queued > 0 {
        reply.text.push_str(&format!("  {queued} queued; --dispatch starts the agents again with them\n"));
    } else if queued > 0 {
        reply.text.push_str(&format!("  {queued} stay queued for the next time\n"));
    }
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("synced".to_owned(), json!(synced.tallies()));
        fields.insert("queued".to_owned(), json!(queued));
        fields.entry("dispatched").or_insert_with(|| json!([]));
        let warnings = fields.entry("warnings").or_insert_with(|| json!([]));
        warnings.as_array_mut().into_iter().for_each(|all| all.extend(synced.warnings.iter().map(|line| json!(line))));
    }
    Ok(reply)
}

/// What a call would keep, and who would be started again.
fn foretold(session: &Session, run: &Run, options: &Options, dispatch: bool) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let view = session.view(&home, &reader);
    let policy = view.policy(run.id())?;
    reviews::may_sync(&reader, &policy, run)?;
    let synced = reviews::fetch(&home.root, &reader, &policy, run, options)?;
    synced.complete()?;
    let news = synced.fetched.iter().map(|one| (&one.tally, one.tally.added + one.tally.updated));
    let mut would: Vec<String> = news
        .filter(|(_, count)| *count > 0)
        .map(|(tally, count)| format!("keep news of {} on {} #{}", remarks(count), tally.repo, tally.number))
        .collect();
    let workspaces = iterate::workspaces_of(run, options.ticket.as_deref())?;
    let waits = synced.would_wait(&reviews::queued(&reader, run.id(), &workspaces)?);
    if dispatch && !waits.is_empty() {
        let waits: Vec<String> = waits.into_iter().collect();
        would.extend(iterate::prepare(&reader, run, &waits)?.would());
    }
    let shape = json!({ "run": view.run(run)?, "would": would, "gates": [], "synced": synced.tallies() });
    let mut reply = dry(run.id(), &would, &[], shape);
    reply.text.push_str(&lines(&synced));
    Ok(reply)
}

/// Whoever dispatches what was just fetched has the run while he does both.
fn dispatched(
    session: &Session,
    engine: &Arc<Engine>,
    run: &Run,
    options: &Options,
) -> Result<(Synced, Reply), Failure> {
    let caller = session.caller();
    let lease = engine.lease_run_within(run.id(), "review sync", &caller, PATIENCE)?;
    let synced = reviews::sync(engine, &caller, run.id(), options)?;
    synced.complete()?;
    let workspaces = iterate::workspaces_of(run, options.ticket.as_deref())?;
    let review = engine.policy_of(run.id())?.git_pr.review_feedback;
    let items = reviews::at_once(reviews::queued(&*engine.reader()?, run.id(), &workspaces)?, &review, options);
    if items.is_empty() {
        let mut reply = changed(session, engine, run.id())?;
        reply.text.push_str("  nothing waits to be dispatched\n");
        return Ok((synced, reply));
    }
    let begun = reviews::dispatch(engine, &caller, run.id(), &items)?;
    drop(lease);
    let mut reply = start_agents(session, engine, run.id(), "review sync")?;
    tell(&mut reply, &begun);
    reply.text.push_str(&format!("  {} dispatched\n", remarks(items.len())));
    if let Some(fields) = reply.json.as_object_mut() {
        fields.insert("dispatched".to_owned(), json!(items.iter().map(name).collect::<Vec<Value>>()));
    }
    Ok((synced, reply))
}

fn name(item: &Feedback) -> Value {
    json!({ "workspace": item.workspace, "repo": item.repo, "feedback_id": item.feedback_id })
}

fn lines(synced: &Synced) -> String {
    let mut text = String::new();
    for one in &synced.fetched {
        text.push_str(&format!("  {}\n", print::one_line(&one.tally.words())));
    }
    if synced.fetched.is_empty() {
        text.push_str("  no pull request is open\n");
    }
    synced.warnings.iter().for_each(|line| text.push_str(&format!("  warning: {}\n", print::one_line(line))));
    text
}

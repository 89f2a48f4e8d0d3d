//! Writes what was asked and answered into the ticket's changelog, in the workspace (spec 2.5).
//!
//! Once for each event: its mark stands in the file, and in the journal. Whichever of the two a crash left out is made
//! up for by the next attempt.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::git::{blob_of, blob_of_bytes};
use super::{notifier, own_work, tickets};
use crate::domain::actor::Side;
use crate::domain::command::{Command, RunWish};
use crate::domain::escalation::Escalation;
use crate::domain::event::{OwnFile, Worktree};
use crate::domain::outbox::Letter;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Workspace;
use crate::domain::thread::{LONGEST_TITLE, Post, Thread};
use crate::domain::time::Moment;
use crate::store::{Order, Reader};

/// More posts than lie between a question and its answer.
const LOOKED_BACK: usize = 500;
/// Words beyond this many bytes are left to the forum.
const LONGEST: usize = 4_000;

/// What the letter says.
#[derive(Debug, Deserialize)]
struct Request {
    trigger: String,
    event_id: String,
    thread_id: String,
    run_id: String,
    by: String,
    at: Moment,
    post_id: Option<String>,
    from: Option<String>,
}

/// Where the entry goes.
struct Place {
    workspace: Workspace,
    tree: Worktree,
    /// The ticket's directory, relative to the worktree.
    dir: PathBuf,
}

/// Carries one letter out. What has no place any more (the run is closed, or it or its workspace is gone) ends with a
/// note; whatever else is in the way can be put right, and is an error until then.
///
/// # Errors
/// What may come through at another time; [`EngineError::Interrupted`] while the run is being closed.
pub fn consume(engine: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
    consume_for(engine, letter, false)
}

/// The same for who closes the run: what was answered meanwhile is written before the docs are committed.
///
/// # Errors
/// What may come through at another time.
pub fn consume_at_close(engine: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
    consume_for(engine, letter, true)
}

/// The same for a call, which is written down below its ticket whether it is about a thread or not.
///
/// # Errors
/// What may come through at another time; [`EngineError::Interrupted`] while the run is being closed.
pub fn consume_call(engine: &Engine, letter: &Letter, closer: bool) -> Result<Option<String>, EngineError> {
    let request = notifier::Request::of(letter)?;
    let reader = engine.reader()?;
    let Some(call) = reader.escalation(&request.escalation_id)? else {
        return Ok(Some(format!("escalation {} is not there", request.escalation_id)));
    };
    let (Some(run_id), Some(ticket)) = (&call.run_id, &call.ticket) else {
        return Ok(Some("it is about no ticket of a run".to_owned()));
    };
    let Some(run) = reader.run(run_id)? else { return Ok(Some(format!("run {run_id} is not there"))) };
    let at = field(letter, "at").and_then(Moment::parse).unwrap_or(call.opened_at);
    let entry = Entry {
        ticket,
        workspace: call.workspace.clone(),
        thread_id: call.thread_id.as_deref().unwrap_or_default(),
        event_id: &request.event_id,
        heading: heading(at, if request.again { "called again" } else { "called" }, &call.reason),
        text: words_of_call(&call, at),
    };
    write(engine, &reader, &run, &entry, (letter, closer))
}

fn field<'a>(letter: &'a Letter, name: &str) -> Option<&'a str> {
    letter.payload.get(name).and_then(serde_json::Value::as_str)
}

/// Why a human was called. What is quoted ends with the quotation, whatever is in it.
fn words_of_call(call: &Escalation, at: Moment) -> String {
    let agent = call.agent.as_deref().map(|name| format!(" about **{}**", plain(name))).unwrap_or_default();
    let thread = call.thread_id.as_deref().map(|id| format!(", thread `{}`", plain(id))).unwrap_or_default();
    format!("A human was called{agent} ({}{thread}) at {at}:\n\n{}", call.kind, quoted(&call.reason))
}

fn consume_for(engine: &Engine, letter: &Letter, closer: bool) -> Result<Option<String>, EngineError> {
    let request: Request = match serde_json::from_value(letter.payload.clone()) {
        Ok(request) => request,
        Err(error) => {
            let hint = "was it written by a newer metawsm?";
            return Err(EngineError::not_found(format!("the letter cannot be read: {error}"), hint));
        }
    };
    let reader = engine.reader()?;
    let (Some(run), Some(thread)) = (reader.run(&request.run_id)?, reader.thread(&request.thread_id)?) else {
        return Ok(Some(format!("run {} or thread {} is not there", request.run_id, request.thread_id)));
    };
    let entry = Entry {
        ticket: &thread.ticket,
        workspace: thread.workspace.clone(),
        thread_id: &thread.thread_id,
        event_id: &request.event_id,
        heading: heading(request.at, &request.trigger, &thread.title),
        text: text(&reader, &request, &thread)?,
    };
    write(engine, &reader, &run, &entry, (letter, closer))
}

/// What is written into a ticket's changelog.
struct Entry<'a> {
    ticket: &'a str,
    workspace: Option<String>,
    /// Empty where it is about none.
    thread_id: &'a str,
    event_id: &'a str,
    heading: String,
    text: String,
}

fn write(
    engine: &Engine,
    reader: &Reader,
    run: &Run,
    entry: &Entry<'_>,
    (letter, closer): (&Letter, bool),
) -> Result<Option<String>, EngineError> {
    match run.status {
        RunStatus::Closed => {
            let stands = match entry.thread_id {
                "" => "the call stands in the journal".to_owned(),
                thread => format!("what was said stands in thread {thread}"),
            };
            return Ok(Some(format!("run {} is closed and its changelog with it: {stands}", run.id())));
        }
        // Its own commit of the docs is just being made.
        RunStatus::Closing if !closer => {
            return Err(EngineError::Interrupted(format!("run {} is being closed", run.id())));
        }
        _ => {}
    }
    let place = match place(reader, run, entry)? {
        Ok(place) => place,
        Err(why_not) => return Ok(Some(why_not)),
    };
    let mark = mark(letter);
    let key = format!("docs-{mark}");
    let journaled = reader.has_event(&key)?;
    let dir = Path::new(&place.tree.path).join(&place.dir);
    let written = tickets::append_entry(&dir, &entry.heading, &entry.text, &mark)?;
    if !journaled {
        journal(engine, reader, run, &place, entry, &key)?;
    }
    Ok((!written).then(|| "it was there already".to_owned()))
}

/// What marks the letter's entry in the file. An event's id may be any word a caller chose, and the same number stands
/// for another event in another journal, whose entries may have come by a merge: so it is the number, and of the rest a
/// digest.
pub fn mark(letter: &Letter) -> String {
    let digest = blob_of_bytes(letter.payload.to_string().as_bytes());
    format!("evt-{}-{}", letter.seq, digest.get(..16).unwrap_or_default())
}

/// The ticket's directory in the entry's workspace, or why there can be none.
///
/// # Errors
/// Where it should be there and is not.
fn place(reader: &Reader, run: &Run, entry: &Entry<'_>) -> Result<Result<Place, String>, EngineError> {
    let ticket = entry.ticket;
    let named = entry.workspace.clone();
    let of_ticket = || run.spec.workspaces.iter().find(|found| found.ticket == ticket).map(|found| found.name.clone());
    let Some(name) = named.or_else(of_ticket) else {
        return Ok(Err(format!("run {} has no workspace for {ticket}", run.id())));
    };
    let workspace = reader.workspaces(run.id())?.into_iter().find(|found| found.name == name && !found.removed);
    let Some(workspace) = workspace.filter(|found| Path::new(&found.path).is_dir()) else {
        return Ok(Err(format!("workspace {name} is gone")));
    };
    let seeding =
        reader.seedings(run.id())?.into_iter().find(|found| found.workspace == name && found.ticket == ticket);
    let tree = seeding.as_ref().and_then(|found| workspace.worktrees.iter().find(|tree| tree.repo == found.repo));
    let (Some(seeding), Some(tree)) = (&seeding, tree) else {
        return Ok(Err(format!("workspace {name} has no docs of {ticket}")));
    };
    let place = Place { tree: tree.clone(), dir: PathBuf::from(&seeding.dir), workspace: workspace.clone() };
    if stays_inside(&place) {
        return Ok(Ok(place));
    }
    let dir = Path::new(&place.tree.path).join(&place.dir);
    let message = format!("the docs of {ticket} in {name} are gone: {} is no directory of the worktree", dir.display());
    Err(EngineError::not_found(message, "put the ticket's directory back where it was"))
}

/// Whether the directory is there, and no link on the way leads out of the worktree.
fn stays_inside(place: &Place) -> bool {
    let tree = Path::new(&place.tree.path);
    let (Ok(real), Ok(top)) = (tree.join(&place.dir).canonicalize(), tree.canonicalize()) else { return false };
    real.is_dir() && real.starts_with(&top)
}

fn journal(
    engine: &Engine,
    reader: &Reader,
    run: &Run,
    place: &Place,
    entry: &Entry<'_>,
    key: &str,
) -> Result<(), EngineError> {
    let path = place.dir.join(own_work::CHANGELOG);
    // Where somebody else has changed the file too and not committed it, it stays theirs.
    let ours = own_work::holds_only_entries(&engine.git, reader, &place.workspace, &place.tree, &path)?;
    let whole = Path::new(&place.tree.path).join(&path);
    let blob = || blob_of(&whole).map_err(EngineError::io(format!("read {}", whole.display())));
    let file = ours.then(blob).transpose()?.map(|blob| OwnFile { path: path.display().to_string(), blob });
    let wish = RunWish::DocsSynced {
        workspace: place.workspace.name.clone(),
        ticket: entry.ticket.to_owned(),
        repo: place.tree.repo.clone(),
        dir: place.dir.display().to_string(),
        file,
        thread_id: entry.thread_id.to_owned(),
        event_id: entry.event_id.to_owned(),
    };
    let caller = Caller::system("docs");
    let command = Command::Run { run_id: run.id().to_owned(), wish };
    engine.ledger.execute(&Order { key: Some(key), ..Order::new(&command, &caller.actor) })?;
    Ok(())
}

fn heading(at: Moment, trigger: &str, title: &str) -> String {
    let (year, month, day) = at.date();
    // A title is one line, and no comment that would hide what follows.
    let title: String = tickets::frontmatter::body(title).chars().take(LONGEST_TITLE).collect();
    format!("{year:04}-{month:02}-{day:02} {trigger}: {title}")
}

/// Who asked what and when, and who said what to it.
fn text(reader: &Reader, request: &Request, thread: &Thread) -> Result<String, EngineError> {
    let posts = reader.posts(&thread.thread_id, Some(LOOKED_BACK))?;
    let id = plain(&thread.thread_id);
    let closed = request.trigger == "closed";
    if closed && request.from.as_deref() == Some("answered") {
        return Ok(format!("**{}** closed thread `{id}` at {}.", plain(&request.by), request.at));
    }
    let side = |post: &&Post, side: Side| post.author_type.side() == Some(side);
    let before = |post: &&Post| post.created_at <= request.at;
    let answer = match &request.post_id {
        Some(post_id) => posts.iter().find(|post| post.post_id == *post_id),
        // Set by hand: what a human said last is the answer only where no agent has spoken since.
        None => posts.iter().rev().filter(before).find(|post| post.author_type.side().is_some()),
    }
    .filter(|post| side(post, Side::Human));
    let asked = match answer.and_then(|post| post.in_reply_to.as_deref()) {
        Some(request) => posts.iter().find(|post| post.post_id == request),
        None => {
            let limit = answer.map_or(i64::MAX, |post| post.seq);
            posts.iter().rev().filter(before).find(|post| post.seq < limit && side(post, Side::Agent))
        }
    };
    let mut text = format!("Thread `{id}`.\n");
    if let Some(post) = asked {
        text.push_str(&said(post, "asked"));
    }
    if let Some(post) = answer {
        text.push_str(&said(post, "answered"));
    }
    let by_hand =
        (closed || request.post_id.is_none()).then_some(if closed { "closed it" } else { "set it to answered" });
    if let Some(done) = by_hand {
        text.push_str(&format!("\n**{}** {done} at {}.\n", plain(&request.by), request.at));
    }
    Ok(text)
}

/// The words of a post as a quotation: whatever is in them, it ends with them.
fn said(post: &Post, what: &str) -> String {
    let (name, at) = (plain(&post.author_name), post.created_at);
    format!("\n**{name}** ({}) {what} at {at}:\n\n{}", post.author_type, quoted(&post.body))
}

fn quoted(body: &str) -> String {
    let body = tickets::frontmatter::body(body);
    let mut end = body.len().min(LONGEST);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    let mut quoted = String::new();
    for line in body[..end].trim_end().split('\n') {
        quoted.push_str(if line.is_empty() { ">" } else { "> " });
        quoted.push_str(line);
        quoted.push('\n');
    }
    if end < body.len() {
        quoted.push_str(&format!(">\n> … {} bytes more in the forum.\n", body.len() - end));
    }
    quoted
}

/// A name within a line of Markdown: without what would be more than a name there.
fn plain(name: &str) -> String {
    let line = tickets::frontmatter::one_line(name);
    line.chars().map(|c| if matches!(c, '`' | '*' | '<' | '>' | '[' | ']') { '\'' } else { c }).collect()
}

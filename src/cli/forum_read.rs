//! Reading the forum on the command line: lists, queues, one thread.

use serde_json::{Value, json};

use super::args::{FilterArgs, QueueArgs, QueueWord, ThreadListArgs};
use super::exit::{self, Failure};
use super::forum::{priority, state, summary};
use super::print::{self, Style, Table};
use super::reply::Reply;
use super::session::Session;
use crate::domain::thread::Post;
use crate::services::{view, words};
use crate::store::read::forum::{Page, Queue, ThreadFilter, Viewer};

/// What a filter's options mean.
pub fn filter(args: &FilterArgs) -> Result<ThreadFilter, Failure> {
    Ok(ThreadFilter {
        ticket: args.ticket.clone(),
        run_id: args.run_id.clone(),
        state: args.state.as_deref().map(|word| state(word).map(|state| state.word().to_owned())).transpose()?,
        priority: args
            .priority
            .as_deref()
            .map(|word| priority(word).map(|priority| priority.word().to_owned()))
            .transpose()?,
        assignee: args.assignee.clone(),
        agent: args.agent.clone(),
    })
}

/// `forum list`.
pub fn list(session: &Session, args: &ThreadListArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    // As the original had it.
    let limit = if args.limit == 0 { 100 } else { args.limit };
    let page = reader.threads(&filter(&args.filter)?, args.cursor.as_deref(), limit)?;
    shown(session, &home, &reader, session.viewer(), page, "No threads here. `metawsm forum ask` opens one.\n")
}

/// `forum queue`.
pub fn queue(session: &Session, args: &QueueArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let viewer = match &args.viewer {
        Some(text) => Viewer::parse(text)?,
        None => session.viewer(),
    };
    let queue = match args.queue {
        QueueWord::Unseen => Queue::Unseen,
        QueueWord::Unanswered => Queue::Unanswered,
        QueueWord::Assigned => Queue::Assigned,
        QueueWord::NeedsMe => Queue::NeedsMe,
    };
    let page =
        reader.queue(queue, &viewer, &filter(&args.list.filter)?, args.list.cursor.as_deref(), args.list.limit)?;
    shown(
        session,
        &home,
        &reader,
        viewer,
        page,
        "Nothing waits for you. Agents' questions come here; `metawsm forum list` shows every thread.\n",
    )
}

fn shown(
    session: &Session,
    home: &crate::services::home::Home,
    reader: &crate::store::Reader,
    viewer: Viewer,
    page: Page,
    empty: &str,
) -> Result<Reply, Failure> {
    let view = view::View::new(home, reader, session.now(), viewer);
    let threads = view.threads(&page.threads)?;
    let style = session.style();
    let mut table = Table::new(&["THREAD", "TICKET", "AGENT", "STATE", "PRIORITY", "WAITING", "TITLE"]);
    for thread in &page.threads {
        table.row(vec![
            thread.thread_id.clone(),
            thread.ticket.clone(),
            thread.agent_name.clone().unwrap_or_else(|| "-".to_owned()),
            thread.state.word().to_owned(),
            thread.priority.word().to_owned(),
            style.time(thread.waiting_since),
            thread.title.clone(),
        ]);
    }
    let mut text = if table.is_empty() { empty.to_owned() } else { table.render(&style) };
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("more: --cursor {cursor}\n"));
    }
    Ok(Reply::new(json!({ "threads": threads, "next_cursor": page.next_cursor }), text))
}

/// `forum thread`.
pub fn thread(session: &Session, id: &str, tail: Option<usize>, since: Option<i64>) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let thread = reader.thread(id)?.ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, format!("no thread {id}")).hint("metawsm forum list shows the threads there are")
    })?;
    let posts = match since {
        Some(seq) => reader.posts_since(id, seq)?,
        None => reader.posts(id, tail)?,
    };
    let events: Vec<Value> = reader.thread_events(id, 500)?.iter().map(crate::domain::event::Event::to_json).collect();
    let json = json!({
        "thread": session.view(&home, &reader).thread(&thread)?,
        "posts": view::posts(&reader, &posts)?,
        "events": events,
    });
    let style = session.style();
    let mut text = format!("{}\n", summary(&thread));
    let ways = reader.deliveries_of_thread(id)?;
    for post in &posts {
        text.push_str(&post_text(post, &style));
        if let Some(way) = ways.iter().find(|way| way.post_id.as_ref() == Some(&post.post_id)) {
            text.push_str(&format!("  {}\n", style.dim(&words::way(way))));
        }
    }
    Ok(Reply::new(json, text))
}

/// A post as a reader sees it: who and when, and the words with nothing in them that a terminal would obey.
pub fn post_text(post: &Post, style: &Style) -> String {
    let who = format!("{} {}", post.author_type, print::one_line(&post.author_name));
    let kind = post.signal.as_ref().map(|signal| format!(" [{}]", signal.control_type.word())).unwrap_or_default();
    let mut text = format!("\n{who}{kind}  {}\n", style.dim(&style.time(Some(post.created_at))));
    for line in print::harmless(&post.body).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

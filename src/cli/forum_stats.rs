//! `forum stats` and `forum debug`: the forum in numbers, and its inside.

use serde_json::json;

use super::args::{FilterArgs, ThreadListArgs};
use super::exit::Failure;
use super::forum_read::filter;
use super::outbox::in_words;
use super::print::Table;
use super::reply::Reply;
use super::session::Session;
use crate::domain::event::Event;
use crate::domain::time::Moment;
use crate::services::view;
use crate::store::read::EventFilter;
use crate::store::read::forum::ThreadFilter;

/// The most rows of each kind that `debug` shows.
const LONGEST: usize = 500;

/// `{"stats":{…},"queues":{…}}`; the queues are the caller's, without any filter.
pub fn stats(session: &Session, args: &FilterArgs) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let filter = filter(args)?;
    let stats = reader.stats(&filter)?;
    let viewer = session.viewer();
    let counts = reader.queue_counts(&viewer)?;
    let posts: u32 = stats.posts.values().sum();
    let oldest = stats.oldest_waiting.as_ref().map(|(id, since)| {
        let age = Moment::parse(since).map(|since| session.now().since(since).as_secs());
        json!({ "thread_id": id, "since": since, "age_seconds": age })
    });
    let queues = json!({
        "viewer": viewer.id(),
        "needs_me": counts.needs_me,
        "unanswered": counts.unanswered,
        "assigned": counts.assigned,
        "unseen": counts.unseen,
        "all": counts.all,
    });
    let json = json!({
        "stats": {
            "threads": stats.threads,
            "control": stats.control,
            "by_state": stats.by_state,
            "open_by_priority": stats.open_by_priority,
            "waiting_on": stats.waiting_on,
            "assigned": stats.assigned,
            "posts": posts,
            "posts_by": stats.posts,
            "oldest_waiting": oldest,
            "indexed": reader.indexed()?,
        },
        "queues": queues,
    });
    let style = session.style();
    let mut table = Table::new(&["WHAT", "HOW MANY"]);
    let mut row = |what: String, n: u32| table.row(vec![what, n.to_string()]);
    row("threads".to_owned(), stats.threads);
    row("control threads".to_owned(), stats.control);
    for (word, kinds) in [
        ("state", &stats.by_state),
        ("open, priority", &stats.open_by_priority),
        ("waiting for", &stats.waiting_on),
        ("assigned to", &stats.assigned),
    ] {
        kinds.iter().for_each(|(kind, n)| row(format!("{word} {kind}"), *n));
    }
    row("posts".to_owned(), posts);
    stats.posts.iter().for_each(|(kind, n)| row(format!("posts by {kind}"), *n));
    for (word, n) in [("needs you", counts.needs_me), ("assigned to you", counts.assigned), ("unseen", counts.unseen)] {
        row(word.to_owned(), n);
    }
    let mut text = table.render(&style);
    if let Some((id, since)) = &stats.oldest_waiting {
        text.push_str(&format!("waiting longest: {id}, {}\n", style.time(Moment::parse(since))));
    }
    Ok(Reply::new(json, text))
}

/// What happened last, newest first, with the threads, the outbox and the index: for those who look for a fault.
pub fn debug(session: &Session, args: &ThreadListArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let limit = args.limit.clamp(1, LONGEST);
    let wanted = filter(&args.filter)?;
    let page = reader.threads(&wanted, args.cursor.as_deref(), limit)?;
    let events = reader.newest_events(
        &EventFilter {
            event_type: Some("forum.*".to_owned()),
            ticket: wanted.ticket.clone(),
            run_id: wanted.run_id.clone(),
            thread_id: None,
        },
        limit,
    )?;
    let shown = session.view(&home, &reader);
    let (control, threads): (Vec<_>, Vec<_>) = page.threads.into_iter().partition(|thread| thread.control);
    let outbox = reader.outbox_health()?;
    let letters = reader.letters(None, None, limit)?.letters;
    let stats = reader.stats(&ThreadFilter::default())?;
    let json = json!({
        "generated_at": session.now(),
        "ticket": wanted.ticket,
        "run_id": wanted.run_id,
        "journal": { "last_seq": reader.last_seq()?, "database": home.db.display().to_string() },
        "outbox": view::outbox_health(&outbox, session.now()),
        "outbox_messages": letters.iter().map(view::letter).collect::<Vec<_>>(),
        "events": events.iter().map(Event::to_json).collect::<Vec<_>>(),
        "threads": shown.threads(&threads)?,
        "control_threads": shown.threads(&control)?,
        "bus": { "kind": "local", "running": shown.supervisor_holder().is_some() },
        "search": { "indexed": reader.indexed()?, "posts": stats.posts.values().sum::<u32>() },
        "supervisor": shown.supervisor(),
        "next_cursor": page.next_cursor,
    });
    let style = session.style();
    let mut text = format!(
        "journal {}  outbox: {}  index {}\n\n",
        reader.last_seq()?,
        in_words(&outbox, &style),
        reader.indexed()?.map_or("complete".to_owned(), |percent| format!("{percent} %")),
    );
    let mut table = Table::new(&["SEQ", "WHEN", "EVENT", "THREAD", "ACTOR"]);
    for event in &events {
        table.row(vec![
            event.seq.to_string(),
            style.time(Some(event.occurred_at)),
            event.fact.split().0,
            event.subject.thread_id.clone().unwrap_or_else(|| "-".to_owned()),
            event.actor.to_string(),
        ]);
    }
    text.push_str(&table.render(&style));
    Ok(Reply::new(json, text))
}

//! `events` and `forum watch`: the journal as JSON lines, resumable by `seq`.

use std::time::Duration;

use super::args::EventsArgs;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::event::Event;
use crate::services::feed::Feed;
use crate::services::wake::Wake;
use crate::store::read::EventFilter;
use crate::store::{Reader, StoreError};

/// Events read at a time.
const PAGE: usize = 500;

pub fn stream(session: &Session, args: &EventsArgs) -> Result<Reply, Failure> {
    follow(session, args, args.event_type.clone())
}

pub fn forum(session: &Session, args: &EventsArgs) -> Result<Reply, Failure> {
    let wanted = args.event_type.clone().unwrap_or_else(|| "forum.*".to_owned());
    follow(session, args, Some(wanted))
}

fn follow(session: &Session, args: &EventsArgs, event_type: Option<String>) -> Result<Reply, Failure> {
    session.only_waits();
    let (home, reader) = session.reader()?;
    let filter = EventFilter { event_type, ticket: args.ticket.clone(), run_id: args.run_id.clone(), thread_id: None };
    let mut feed = Feed::new(reader, filter, args.since);
    let mut left = args.limit.unwrap_or(usize::MAX);
    // Watched before the first look: nothing is written in between.
    let wake = args.follow.then(|| Wake::on(&home.db));
    while left > 0 {
        let batch = feed.next(PAGE.min(left))?;
        for event in &batch.events {
            if !line(event)? {
                return Ok(Reply::silent(exit::DONE));
            }
        }
        left -= batch.events.len();
        match &wake {
            _ if batch.more => {}
            None => break,
            Some(_) if print::reader_gone() => break,
            Some(wake) => wake.wait(Duration::from_secs(1)),
        }
    }
    Ok(Reply::silent(exit::DONE))
}

/// Prints an event; `false` when nobody reads any more.
pub fn line(event: &Event) -> Result<bool, Failure> {
    print::out(&format!("{}\n", event.to_json())).map_err(|error| Failure::new(exit::FAILED, error.to_string()))
}

/// Every event after `since`.
pub fn all(reader: &Reader, filter: &EventFilter, mut since: i64) -> Result<Vec<Event>, StoreError> {
    let mut found = Vec::new();
    loop {
        let page = reader.events(since, filter, PAGE)?;
        let full = page.len() == PAGE;
        since = page.last().map_or(since, |event| event.seq);
        found.extend(page);
        if !full {
            return Ok(found);
        }
    }
}

//! `events` and `forum watch`: the journal as JSON lines, resumable by `seq`.

use std::ops::ControlFlow;
use std::time::Duration;

use super::args::EventsArgs;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::event::Event;
use crate::services::feed::{Feed, News};
use crate::services::wake::Wake;
use crate::store::read::EventFilter;

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
    let mut left = args.limit.unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(Reply::silent(exit::DONE));
    }
    let mut feed = Feed::new(reader, filter, args.since);
    let mut take = |news: News<'_>| -> Result<ControlFlow<()>, Failure> {
        left -= usize::from(matches!(news, News::Event(_)));
        let read = tell(news, |event| print::json(&event.to_json()))?;
        Ok(if read && left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    if args.follow {
        // Watched before the first look: nothing is written in between.
        let wake = Wake::on(&home.db);
        feed.follow(&wake, Duration::from_secs(1), || Ok(print::reader_gone().then_some(())), take)?;
    } else {
        feed.drain(&mut take)?;
    }
    Ok(Reply::silent(exit::DONE))
}

/// Prints an event as a line, unless it is told in no words; `false` when nobody reads any more. Who lags is told so
/// on stderr.
pub fn tell(news: News<'_>, line: impl FnOnce(&Event) -> String) -> Result<bool, Failure> {
    let line = match news {
        News::Event(event) => line(event),
        News::Lag(by) => {
            print::err(&format!("metawsm: what is read here is {by} events behind; each of them comes"));
            return Ok(true);
        }
    };
    if line.is_empty() {
        return Ok(true);
    }
    print::out(&format!("{line}\n")).map_err(|error| Failure::new(exit::FAILED, error.to_string()))
}

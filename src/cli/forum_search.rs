//! `forum search`: words in titles and posts, with what matched made plain.

use serde_json::{Value, json};

use super::args::SearchArgs;
use super::exit::Failure;
use super::forum_read;
use super::print::{self, Style};
use super::reply::Reply;
use super::session::Session;
use crate::store::read::forum::Hit;

/// `{"threads":[Thread + snippet, marks, post_id, post_seq],"next_cursor","indexed"}`.
pub fn run(session: &Session, args: &SearchArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    session.only_waits();
    let filter = forum_read::filter(&args.list.filter)?;
    let found = reader.search(&args.query, &filter, args.list.cursor.as_deref(), args.list.limit, args.rank)?;
    let view = session.view(&home, &reader);
    let mut threads = Vec::with_capacity(found.hits.len());
    for hit in &found.hits {
        let mut thread = view.thread(&hit.thread)?;
        if let Some(fields) = thread.as_object_mut() {
            fields.insert("snippet".to_owned(), hit.snippet.clone().into());
            fields.insert("marks".to_owned(), marks(hit));
            fields.insert("post_id".to_owned(), hit.post_id.clone().into());
            fields.insert("post_seq".to_owned(), hit.seq.into());
        }
        threads.push(thread);
    }
    let style = session.style();
    let mut text: String = found.hits.iter().map(|hit| lines(hit, &style)).collect();
    if text.is_empty() {
        text.push_str(match found.next_cursor {
            None => "Nothing found. `foo*` finds what begins so; every word must be in the same post.\n",
            Some(_) => "Nothing found so far.\n",
        });
    }
    if let Some(percent) = found.indexed {
        let who = match view.supervisor_holder() {
            Some(_) => "the supervisor goes on with it",
            None => "it goes on when somebody supervises (metawsm --headless), or finish it: metawsm doctor --repair",
        };
        text.push_str(&format!("indexing {percent} %: older posts are not found yet; {who}\n"));
    }
    if let Some(cursor) = &found.next_cursor {
        text.push_str(&format!("more: --cursor {cursor}\n"));
    }
    let json = json!({ "threads": threads, "next_cursor": found.next_cursor, "indexed": found.indexed });
    Ok(Reply::new(json, text))
}

/// What of the snippet matched: from which character to which.
fn marks(hit: &Hit) -> Value {
    let place = |byte: usize| hit.snippet.get(..byte).map_or(0, |before| before.chars().count());
    hit.marks.iter().map(|mark| json!([place(mark.start), place(mark.end)])).collect()
}

fn lines(hit: &Hit, style: &Style) -> String {
    let thread = &hit.thread;
    let head = format!(
        "{}  {}  {}  {}",
        thread.thread_id,
        print::one_line(&thread.ticket),
        style.status(thread.state.word()),
        print::one_line(&thread.title)
    );
    let (mut snippet, mut from) = (String::new(), 0);
    for mark in &hit.marks {
        snippet.push_str(&plain(hit.snippet.get(from..mark.start)));
        snippet.push_str(&style.strong(&plain(hit.snippet.get(mark.clone()))));
        from = mark.end;
    }
    snippet.push_str(&plain(hit.snippet.get(from..)));
    format!("{head}\n    {}\n", snippet.trim())
}

/// Harmless, on one line, its blanks at both ends kept.
fn plain(text: Option<&str>) -> String {
    let text = print::harmless(text.unwrap_or_default());
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

//! `forum inbox`: what waits for a viewer, then what is new to it, with the new words themselves.

use serde_json::json;

use super::args::{InboxArgs, Selector};
use super::exit::Failure;
use super::forum;
use super::forum_read::post_text;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::refusal::Refusal;
use crate::services::view::{self, View};
use crate::store::Reader;
use crate::store::read::forum::{LONGEST_PAGE, NewPosts, Page, Queue, ThreadFilter, Viewer};

/// New posts shown of each thread; how many more there are is said.
const POSTS: usize = 20;

/// `{"threads":[Thread + new, more, more_since],"next_cursor"}`: `new` are the posts of others after the viewer's mark,
/// the oldest first; `more` others come after the place `more_since`.
pub fn run(session: &Session, args: &InboxArgs) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let viewer = whose(session, &reader, args)?;
    let Selector { ticket, run_id } = args.which.selector.clone();
    let filter = ThreadFilter { ticket, run_id, ..ThreadFilter::default() };
    let page = page(&reader, &viewer, &filter, args.cursor.as_deref(), args.limit.clamp(1, LONGEST_PAGE))?;
    let view = View::new(&home, &reader, session.now(), viewer.clone());
    let style = session.style();
    let (mut threads, mut text) = (Vec::with_capacity(page.threads.len()), String::new());
    for thread in &page.threads {
        let NewPosts { posts, more } = reader.new_posts(&thread.thread_id, &viewer, POSTS)?;
        let since = posts.last().filter(|_| more > 0).map(|last| last.seq);
        let mut shape = view.thread(thread)?;
        if let Some(fields) = shape.as_object_mut() {
            fields.insert("new".to_owned(), view::posts(&reader, &posts)?.into());
            fields.insert("more".to_owned(), more.into());
            fields.insert("more_since".to_owned(), since.into());
        }
        threads.push(shape);
        text.push_str(&format!("{}\n", forum::summary(thread)));
        posts.iter().for_each(|post| text.push_str(&post_text(post, &style)));
        if let Some(since) = since {
            let id = &thread.thread_id;
            text.push_str(&format!("\n  {more} more: metawsm forum thread --thread-id {id} --since {since}\n"));
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("Nothing waits for you and nothing is new. `metawsm forum list` shows every thread.\n");
    }
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("more: --cursor {cursor}\n"));
    }
    Ok(Reply::new(json!({ "threads": threads, "next_cursor": page.next_cursor }), text))
}

fn whose(session: &Session, reader: &Reader, args: &InboxArgs) -> Result<Viewer, Failure> {
    if let Some(text) = &args.viewer {
        return Ok(Viewer::parse(text)?);
    }
    if args.which.agent.is_none() && args.which.workspace.is_none() {
        return Ok(session.viewer());
    }
    let run = select::run(session, reader, &args.which.selector)?;
    Ok(Viewer::Agent(select::agent(reader, &run, &args.which)?.key))
}

/// First the pages of what waits, then those of what is new besides; the cursor says in which of them it is.
fn page(
    reader: &Reader,
    viewer: &Viewer,
    filter: &ThreadFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page, Failure> {
    let (waits, inner) = match cursor.map(|cursor| (cursor.get(..1), cursor.get(1..))) {
        None => (true, None),
        Some((Some("w"), Some(inner))) => (true, Some(inner)),
        Some((Some("n"), Some(inner))) => (false, Some(inner).filter(|inner| !inner.is_empty())),
        Some(_) => return Err(Refusal::invalid("--cursor is not one of this query").into()),
    };
    let mut page = Page::default();
    if waits {
        page = reader.queue(Queue::NeedsMe, viewer, filter, inner, limit)?;
        if let Some(next) = &page.next_cursor {
            page.next_cursor = Some(format!("w{next}"));
            return Ok(page);
        }
        if page.threads.len() >= limit {
            page.next_cursor = Some("n".to_owned());
            return Ok(page);
        }
    }
    let mut from = inner.filter(|_| !waits).map(str::to_owned);
    loop {
        // What waits was shown before; the rest of a page is filled from the next.
        let new = reader.queue(Queue::Unseen, viewer, filter, from.as_deref(), limit - page.threads.len())?;
        page.threads.extend(new.threads.into_iter().filter(|thread| !viewer.is_needed_in(thread)));
        from = new.next_cursor;
        if from.is_none() || page.threads.len() == limit {
            page.next_cursor = from.map(|next| format!("n{next}"));
            return Ok(page);
        }
    }
}

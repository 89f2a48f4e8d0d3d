//! Waiting for the answer to a question: woken by any process, ended by answer, close or time-out.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::json;

use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::actor::{Actor, ActorType};
use crate::domain::delivery::{Delivery, DeliveryState, id_of_post};
use crate::domain::thread::{Post, Thread, ThreadState};
use crate::services::delivery;
use crate::services::view;
use crate::services::wake;
use crate::store::{Reader, Receipt, StoreError};

/// What a wait came to.
enum End {
    Answered(Box<Thread>, Box<Post>),
    Closed(Box<Thread>),
}

/// What is waited for.
struct Question {
    thread_id: String,
    /// The post that asked.
    post: Option<Post>,
    /// Answers come after this place in the journal.
    seq: i64,
    /// Whose question it is.
    asker: Actor,
}

impl Question {
    fn of(post: Post) -> Self {
        let asker = Actor::new(post.author_type, post.author_name.clone());
        Self { thread_id: post.thread_id.clone(), seq: post.seq, asker, post: Some(post) }
    }

    /// What `forum wait` is to be told to go on with this very question: the thread alone would mean an agent's last
    /// question, or a control thread's oldest open request.
    fn named(&self, reader: &Reader) -> Result<String, StoreError> {
        let control = reader.thread(&self.thread_id)?.is_some_and(|thread| thread.control);
        Ok(match &self.post {
            Some(post) if control || self.asker.kind != ActorType::Agent => format!("--post-id {}", post.post_id),
            Some(_) | None => format!("--thread-id {}", self.thread_id),
        })
    }
}

/// Waits for the answer to what was just written; its thread is named first, in case the wait is cut short.
pub fn after(session: &Session, receipt: &Receipt, limit: Duration) -> Result<Reply, Failure> {
    let thread_id = receipt.thread_id.clone().unwrap_or_default();
    print::err(&format!("thread {thread_id}"));
    let (_, reader) = session.reader()?;
    let question = match &receipt.post_id {
        Some(post) => of_post(&reader, post)?,
        // The same ask joined the open thread: its question is that of the thread.
        None => of_thread(&reader, &thread_id)?,
    };
    wait(session, &reader, &question, limit)
}

/// `forum wait`.
pub fn run(
    session: &Session,
    thread_id: Option<&str>,
    post_id: Option<&str>,
    limit: Duration,
) -> Result<Reply, Failure> {
    let nothing = || Failure::new(exit::USAGE, "nothing to wait for").hint("name it: --thread-id ID or --post-id ID");
    let named = post_id.or(thread_id).ok_or_else(nothing)?;
    let (_, reader) = session.reader()?;
    let question = if post_id.is_some() { of_post(&reader, named)? } else { of_thread(&reader, named)? };
    wait(session, &reader, &question, limit)
}

fn of_post(reader: &Reader, post_id: &str) -> Result<Question, Failure> {
    let post = reader.post(post_id)?.ok_or_else(|| Failure::new(exit::NOT_FOUND, format!("no post {post_id}")))?;
    Ok(Question::of(post))
}

/// The thread's last question: the newest post of the agents where one of them opened it, else of the person who did.
fn of_thread(reader: &Reader, thread_id: &str) -> Result<Question, Failure> {
    let thread =
        reader.thread(thread_id)?.ok_or_else(|| Failure::new(exit::NOT_FOUND, format!("no thread {thread_id}")))?;
    if thread.control {
        return of_control(reader, &thread);
    }
    let mut posts = reader.posts(thread_id, Some(200))?;
    let asker = Actor::new(thread.opened_by_type, thread.opened_by_name);
    let asks = |post: &Post| match asker.kind {
        ActorType::Agent => post.author_type == ActorType::Agent,
        ActorType::Human | ActorType::Operator | ActorType::System => {
            (post.author_type, &post.author_name) == (asker.kind, &asker.name)
        }
    };
    Ok(match posts.iter().rposition(asks) {
        Some(last) => Question::of(posts.swap_remove(last)),
        None => Question { thread_id: thread_id.to_owned(), post: None, seq: 0, asker },
    })
}

/// The oldest open request, which is also the one that an answer without a name answers; where none is open the newest,
/// whose answer is there. Which it is, is said: an answer to another one does not end the wait.
fn of_control(reader: &Reader, thread: &Thread) -> Result<Question, Failure> {
    let requests = reader.requests_of(&thread.thread_id)?;
    let oldest_open = requests.iter().find(|request| request.settled_by.is_none());
    let request = oldest_open.or(requests.last()).ok_or_else(|| {
        Failure::new(exit::REFUSED, format!("thread {} holds no request", thread.thread_id))
            .hint("metawsm forum signal --type guidance_request asks")
    })?;
    let question = of_post(reader, &request.post_id)?;
    print::err(&format!("request {}: {}", request.post_id, print::one_line(&request.question)));
    Ok(question)
}

fn wait(session: &Session, reader: &Reader, question: &Question, limit: Duration) -> Result<Reply, Failure> {
    session.only_waits();
    let deadline = Instant::now() + limit;
    let found = wake::until(reader.path(), Some(deadline), || look(reader, question))?;
    match found {
        Some(End::Answered(thread, post)) => answered(session, reader, &thread, &post),
        Some(End::Closed(thread)) => {
            Err(Failure::new(exit::REFUSED, format!("thread {} was closed without an answer", thread.thread_id))
                .hint(format!("metawsm forum thread --thread-id {}", thread.thread_id)))
        }
        None => Err(Failure::new(
            exit::TIMEOUT,
            format!("no answer in thread {} within {} s", question.thread_id, limit.as_secs()),
        )
        .hint(format!("go on with: metawsm forum wait {} --timeout 90s", question.named(reader)?))),
    }
}

fn look(reader: &Reader, question: &Question) -> Result<Option<End>, StoreError> {
    let Some(thread) = reader.thread(&question.thread_id)? else { return Ok(None) };
    let reply = match question.post.as_ref().and_then(|post| reader.request(&post.post_id).transpose()).transpose()? {
        // A request is answered by the answer that names it, not by the next best word.
        Some(request) => match request.settled_by {
            Some(by) => match reader.post(&by)? {
                Some(post) => Some(post),
                None => return Ok(Some(End::Closed(Box::new(thread)))),
            },
            None => None,
        },
        None => reader.reply_after(&question.thread_id, question.seq, &question.asker)?,
    };
    Ok(match reply {
        Some(post) => Some(End::Answered(Box::new(thread), Box::new(post))),
        None if thread.state == ThreadState::Closed => Some(End::Closed(Box::new(thread))),
        None => None,
    })
}

/// `{"thread","answer":Post}`; as text the body alone, byte for byte into a pipe, harmless on a terminal.
fn answered(session: &Session, reader: &Reader, thread: &Thread, post: &Post) -> Result<Reply, Failure> {
    let (home, _) = session.reader()?;
    let shape = session.view(&home, reader).thread(thread)?;
    let way = take(session, reader, post)?;
    let text = if std::io::stdout().is_terminal() { print::harmless(&post.body) } else { post.body.clone() };
    Ok(Reply::new(json!({ "thread": shape, "answer": view::post(post, way.as_ref()) }), text))
}

/// What the agent has got here is not typed into its session as well.
fn take(session: &Session, reader: &Reader, post: &Post) -> Result<Option<Delivery>, Failure> {
    let id = id_of_post(&post.post_id);
    let Some(way) = reader.delivery(&id)? else { return Ok(None) };
    if way.state != DeliveryState::Queued || session.identity().as_ref() != Some(&way.key) {
        return Ok(Some(way));
    }
    // The answer is there whether or not this can be written down; then it comes once more.
    let _ = session.engine().and_then(|engine| Ok(delivery::taken(&engine, &session.caller(), &id)?));
    Ok(reader.delivery(&id)?)
}

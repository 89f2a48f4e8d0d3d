//! The forum on the command line.

use std::sync::Arc;

use serde_json::json;

use super::args::{AgentSelector, AskArgs, AssignArgs, Forum, SignalArgs, Speaker};
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::wrong;
use super::{forum_inbox, forum_read, forum_search, forum_stats, forum_wait};
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::{Command, ThreadWish};
use crate::domain::delivery::id_of_post;
use crate::domain::name;
use crate::domain::refusal::Refusal;
use crate::domain::signal::{Signal, SignalType};
use crate::domain::thread::{
    Priority, Thread, ThreadState, check_body, check_thread_id, check_title, control_thread_id, may_reopen,
};
use crate::services::engine::Engine;
use crate::services::error::EngineError;
use crate::services::home::Home;
use crate::services::view;
use crate::store::read::forum::Viewer;
use crate::store::{Order, Reader, Receipt};

pub fn run(session: &Session, command: Forum) -> Result<Reply, Failure> {
    match command {
        Forum::Ask(args) => ask(session, &args),
        Forum::Post(args) => {
            let wish =
                ThreadWish::Post { body: session.text(&args.body)?, wait: args.wait, author: speaker(&args.speaker)? };
            let receipt = give(session, &args.thread_id, None, wish, &args.speaker)?;
            match args.wait {
                true => forum_wait::after(session, &receipt, args.timeout),
                false => written(session, &receipt),
            }
        }
        Forum::Answer(args) => {
            let wish = ThreadWish::Answer {
                body: session.text(&args.body)?,
                in_reply_to: args.in_reply_to.clone(),
                author: speaker(&args.speaker)?,
            };
            written(session, &give(session, &args.thread_id, None, wish, &args.speaker)?)
        }
        Forum::Assign(args) => {
            let wish = ThreadWish::Assign {
                assignee_type: actor_type(&args.assignee_type)?,
                assignee: assignee(&args)?,
                note: args.note.clone(),
            };
            written(session, &give(session, &args.thread_id, None, wish, &args.speaker)?)
        }
        Forum::State(args) => {
            let wish = ThreadWish::State { to: state(&args.state)? };
            written(session, &give(session, &args.thread_id, None, wish, &args.speaker)?)
        }
        Forum::Priority(args) => {
            let wish = ThreadWish::Priority { to: priority(&args.priority)? };
            written(session, &give(session, &args.thread_id, None, wish, &args.speaker)?)
        }
        Forum::Close(args) => {
            written(session, &give(session, &args.thread_id, None, ThreadWish::Close, &args.speaker)?)
        }
        Forum::Reopen(args) => {
            let named = args.speaker.actor_type.as_deref().map(actor_type).transpose()?;
            named.map_or(Ok(()), may_reopen)?;
            written(session, &give(session, &args.thread_id, None, ThreadWish::Reopen, &args.speaker)?)
        }
        Forum::List(args) => forum_read::list(session, &args),
        Forum::Queue(args) => forum_read::queue(session, &args),
        Forum::Thread { thread_id, tail, since } => forum_read::thread(session, &thread_id, tail, since),
        Forum::Search(args) => forum_search::run(session, &args),
        Forum::Inbox(args) => forum_inbox::run(session, &args),
        Forum::Stats(args) => forum_stats::stats(session, &args),
        Forum::Debug(args) => forum_stats::debug(session, &args),
        Forum::Seen { thread_id, viewer, seq } => {
            let viewer = viewer.map_or_else(|| Ok(session.viewer()), |text| Viewer::parse(&text))?;
            let wish = ThreadWish::Seen { viewer: viewer.id(), seq };
            let receipt = give(session, &thread_id, None, wish, &Speaker::default())?;
            let mut reply = written(session, &receipt)?;
            let mark = session.reader()?.1.seen_mark(&thread_id, &viewer)?;
            reply.json["seen"] = json!({ "viewer": viewer.id(), "last_seen_event_sequence": mark });
            Ok(reply)
        }
        Forum::Signal(args) => signal(session, &args),
        Forum::Wait { thread_id, post_id, timeout } => {
            forum_wait::run(session, thread_id.as_deref(), post_id.as_deref(), timeout)
        }
        Forum::Watch(_) => Err(Failure::new(exit::USAGE, "streams are not taken here").hint("call it on its own")),
    }
}

/// Gives a command about a thread; a forum write makes the home where there is none.
fn give(
    session: &Session,
    thread_id: &str,
    run_id: Option<String>,
    wish: ThreadWish,
    speaker: &Speaker,
) -> Result<Receipt, Failure> {
    only_itself(session, speaker)?;
    forum_enabled(&session.home_or_new()?)?;
    let engine = if matches!(wish, ThreadWish::Ask { .. }) { session.engine_or_new()? } else { session.engine()? };
    let caller = caller(session, speaker)?;
    let command = Command::Thread { thread_id: thread_id.to_owned(), run_id, wish };
    let identity = session.identity();
    let order =
        Order { command: &command, actor: &caller, identity: identity.as_ref(), key: speaker.event_id.as_deref() };
    Ok(engine.ledger.execute(&order)?)
}

/// In an agent's session a process is that agent: options that say otherwise are refused, not ignored.
fn only_itself(session: &Session, speaker: &Speaker) -> Result<(), Failure> {
    let Some(own) = session.identity() else { return Ok(()) };
    let other_type =
        speaker.actor_type.as_deref().map(actor_type).transpose()?.is_some_and(|kind| kind != ActorType::Agent);
    let other_name = speaker.actor_name.as_ref().is_some_and(|name| *name != own.name);
    let other_login = session.global.name.as_ref().is_some_and(|name| *name != own.name);
    if other_type || other_name || other_login {
        return Err(Refusal::not_allowed(format!("in the session of agent {} nobody else can speak", own.name))
            .hint("leave out --actor-type, --actor-name and --as")
            .into());
    }
    Ok(())
}

/// A forum that is off takes nothing; a home that is not there yet is not made for saying so.
fn forum_enabled(home: &Home) -> Result<(), Failure> {
    // A broken policy file does not silence the forum.
    match home.load_policy(&[]) {
        Ok(live) if !live.policy.forum.enabled => {
            Err(Failure::new(exit::REFUSED, "the forum is off by policy").hint("set forum.enabled to true"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The actor of the command: the agent in its session; else the person, under the name given.
fn caller(session: &Session, speaker: &Speaker) -> Result<Actor, Failure> {
    let actor = session.caller().actor;
    let human = speaker.actor_type.as_deref().map(actor_type).transpose()?.is_none_or(|kind| kind == ActorType::Human);
    match &speaker.actor_name {
        Some(name) if session.identity().is_none() && human => Ok(Actor::human(checked_name(name)?)),
        Some(_) | None => Ok(actor),
    }
}

/// Whose words they are, where the options say so.
fn speaker(speaker: &Speaker) -> Result<Option<Actor>, Failure> {
    let Some(word) = &speaker.actor_type else { return Ok(None) };
    let kind = actor_type(word)?;
    match (&speaker.actor_name, kind) {
        (Some(name), _) => Ok(Some(Actor::new(kind, checked_name(name)?))),
        (None, ActorType::Human) => Ok(None),
        (None, ActorType::Operator) => Ok(Some(Actor::new(kind, "operator"))),
        (None, ActorType::Agent | ActorType::System) => {
            Err(wrong(format!("--actor-type {word} needs a name"), "give it with --actor-name"))
        }
    }
}

/// Whom a thread is assigned to; an agent's workspace goes before its name.
fn assignee(args: &AssignArgs) -> Result<String, Failure> {
    let agent = actor_type(&args.assignee_type)? == ActorType::Agent;
    match &args.workspace {
        None => Ok(args.assignee.clone()),
        Some(workspace) if agent && !args.assignee.contains('/') => Ok(format!("{workspace}/{}", args.assignee)),
        Some(_) => Err(wrong("--workspace tells agents of the same name apart", "leave it out")),
    }
}

fn checked_name(name: &str) -> Result<String, Failure> {
    name::person(name).map_err(|why| wrong(format!("--actor-name {why}"), "give a plain name"))
}

fn actor_type(word: &str) -> Result<ActorType, Failure> {
    ActorType::parse(word).ok_or_else(|| wrong(format!("`{word}` is no actor type"), "use agent, operator or human"))
}

pub fn state(word: &str) -> Result<ThreadState, Failure> {
    ThreadState::parse(word).ok_or_else(|| {
        let words: Vec<&str> = ThreadState::ALL.iter().map(|state| state.word()).collect();
        wrong(format!("`{word}` is no state of a thread"), format!("use one of {}", words.join(", ")))
    })
}

pub fn priority(word: &str) -> Result<Priority, Failure> {
    Priority::parse(word).ok_or_else(|| wrong(format!("`{word}` is no priority"), "use low, normal, high or urgent"))
}

fn ask(session: &Session, args: &AskArgs) -> Result<Reply, Failure> {
    let author = speaker(&args.speaker)?;
    let body = session.text(&args.body)?;
    check_ask(session, args, &body)?;
    // A run or an agent that is named stands in a home that is there; only a ticket alone may begin one.
    let (which, selector) = (&args.which, &args.which.selector);
    let begins = selector.ticket.is_some() && selector.run_id.is_none() && which.agent.is_none();
    let engine = if begins { session.engine_or_new()? } else { session.engine()? };
    let (run_id, agent, ticket) = about(session, &engine, &args.which, author.as_ref())?;
    let ticket = ticket.ok_or_else(no_ticket)?;
    let wish = ThreadWish::Ask {
        ticket,
        agent,
        title: args.title.clone(),
        body,
        priority: priority(&args.priority)?,
        wait: args.wait,
        author,
    };
    let thread_id = match &args.thread_id {
        Some(id) => id.clone(),
        None => engine.ledger.new_id("fthr"),
    };
    let shared = Session { shared: Some(Arc::clone(&engine)), ..session.clone() };
    let receipt = give(&shared, &thread_id, run_id, wish, &args.speaker)?;
    // Said before the wait: it may be long.
    let warning = elsewhere(args, &receipt);
    if let Some(warning) = &warning {
        print::err(&format!("metawsm: note: {}", print::one_line(warning)));
    }
    let mut reply = match args.wait {
        true => forum_wait::after(session, &receipt, args.timeout)?,
        false => written(session, &receipt)?,
    };
    if let (Some(warning), Some(fields)) = (warning, reply.json.as_object_mut()) {
        fields.insert("warning".to_owned(), warning.into());
    }
    Ok(reply)
}

/// The same question that waits already is joined, and the same key answered as before: then no thread of the wished
/// id was opened, and who wished it is told.
fn elsewhere(args: &AskArgs, receipt: &Receipt) -> Option<String> {
    let (wished, stands_in) = (args.thread_id.as_ref()?, receipt.thread_id.as_ref()?);
    (wished != stands_in).then(|| {
        let how = if receipt.replayed { "was asked under this key before" } else { "waits already" };
        format!("the same question {how} in thread {stands_in}: thread {wished} was not opened")
    })
}

/// What is refused whatever stands in the home is refused before one is made for it.
fn check_ask(session: &Session, args: &AskArgs, body: &str) -> Result<(), Failure> {
    only_itself(session, &args.speaker)?;
    forum_enabled(&session.home_or_new()?)?;
    caller(session, &args.speaker)?;
    priority(&args.priority)?;
    let names = [("ticket", &args.which.selector.ticket), ("thread id", &args.thread_id)];
    for (what, given) in names {
        if let Some(given) = given {
            name::check(what, given).map_err(EngineError::from)?;
        }
    }
    args.thread_id.as_deref().map_or(Ok(()), check_thread_id)?;
    check_title(&args.title)?;
    check_body(body)?;
    let (which, selector) = (&args.which, &args.which.selector);
    let named = selector.ticket.is_some() || selector.run_id.is_some() || which.agent.is_some();
    // Who speaks as an agent, or in its session, has the agent's ticket.
    if named || args.speaker.actor_type.is_some() || session.identity().is_some() { Ok(()) } else { Err(no_ticket()) }
}

fn no_ticket() -> Failure {
    wrong("no ticket given", "name one: --ticket ACME-12")
}

/// In its session an agent speaks for no other, whether there is one of that name or not, and about no other ticket.
/// Says what is known of it.
fn only_for_itself(
    session: &Session,
    reader: &Reader,
    own: &AgentKey,
    which: &AgentSelector,
    does: &str,
) -> Result<Option<Agent>, Failure> {
    let named = [(&which.agent, &own.name), (&which.workspace, &own.workspace), (&which.selector.run_id, &own.run_id)];
    let other = named.into_iter().find(|(named, own)| named.as_ref().is_some_and(|name| name != *own));
    if let Some((other, _)) = other {
        let other = other.as_deref().unwrap_or_default();
        return Err(Refusal::not_allowed(format!("agent {} {does} only for itself, not for {other}", own.name))
            .hint("leave out --agent, --workspace and --run-id")
            .into());
    }
    let Some(agent) = reader.agents(&own.run_id)?.into_iter().find(|agent| agent.key == *own) else { return Ok(None) };
    let tickets = [which.selector.ticket.clone(), session.session_variable("METAWSM_TICKET")];
    match tickets.into_iter().flatten().find(|ticket| *ticket != agent.spec.ticket) {
        None => Ok(Some(agent)),
        Some(other) => Err(agent.not_its_ticket(&other).into()),
    }
}

type About = (Option<String>, Option<AgentKey>, Option<String>);

/// The run, agent and ticket a question is about: those of the session, or those named.
fn about(session: &Session, engine: &Engine, which: &AgentSelector, author: Option<&Actor>) -> Result<About, Failure> {
    let reader = engine.reader()?;
    if let Some(key) = session.identity() {
        let own = only_for_itself(session, &reader, &key, which, "asks")?;
        let ticket = own.map(|agent| agent.spec.ticket).or_else(|| session.session_variable("METAWSM_TICKET"));
        return Ok((Some(key.run_id.clone()), Some(key), ticket));
    }
    let selector = &which.selector;
    let speaking = author.filter(|author| author.kind == ActorType::Agent).map(|author| author.name.clone());
    let name = which.agent.clone().or(speaking);
    if selector.run_id.is_none() && name.is_none() {
        return Ok((None, None, selector.ticket.clone()));
    }
    if selector.run_id.is_none() && selector.ticket.is_some() && which.agent.is_none() {
        // An agent named as the speaker only: its run is found if there is one, else the ticket alone must do.
        if reader.runs_of_ticket(selector.ticket.as_deref().unwrap_or_default())?.is_empty() {
            return Ok((None, None, selector.ticket.clone()));
        }
    }
    let run = select::run(session, &reader, selector)?;
    let Some(name) = name else {
        let ticket = selector.ticket.clone().or_else(|| run.spec.tickets.first().cloned());
        return Ok((Some(run.id().to_owned()), None, ticket));
    };
    let found = AgentSelector { agent: Some(name), ..which.clone() };
    let agent = select::agent(&reader, &run, &found)?;
    Ok((Some(run.id().to_owned()), Some(agent.key), Some(agent.spec.ticket)))
}

fn signal(session: &Session, args: &SignalArgs) -> Result<Reply, Failure> {
    let kind = SignalType::parse(&args.kind).ok_or_else(|| {
        let words: Vec<&str> = SignalType::ALL.iter().map(|kind| kind.word()).collect();
        wrong(format!("`{}` is no signal", args.kind), format!("use one of {}", words.join(", ")))
    })?;
    if args.wait && kind != SignalType::GuidanceRequest {
        return Err(wrong("--wait goes with guidance_request", "leave it out"));
    }
    let author = speaker(&args.speaker)?;
    let agent = signalling(session, args, author.as_ref())?;
    let read = |text: &Option<String>| text.as_deref().map(|text| session.text(text)).transpose();
    let epoch =
        session.identity().and_then(|_| session.session_variable("METAWSM_EPOCH")).and_then(|text| text.parse().ok());
    let signal = Signal {
        question: read(&args.question)?,
        context: args.context.clone(),
        answer: read(&args.answer)?,
        summary: args.summary.clone(),
        status: args.status.clone(),
        done_criteria: args.done_criteria.clone(),
        note: args.note.clone(),
        percent: args.percent,
        ..Signal::new(kind, &agent.key.run_id, &agent.key.workspace, &agent.key.name, epoch.unwrap_or(0))
    };
    let several = {
        let (_, reader) = session.reader()?;
        select::by_id(&reader, &agent.key.run_id)?.spec.workspaces.len() > 1
    };
    let workspace = several.then_some(agent.key.workspace.as_str());
    let thread_id = control_thread_id(&agent.key.run_id, &agent.key.name, workspace);
    let speaks = author.or_else(|| for_the_agent(session, kind, &agent));
    let wish = ThreadWish::Signal {
        ticket: agent.spec.ticket.clone(),
        signal: signal.clone(),
        in_reply_to: args.in_reply_to.clone(),
        author: speaks,
    };
    let mut receipt = give(session, &thread_id, Some(agent.key.run_id.clone()), wish, &args.speaker)?;
    if receipt.post_id.is_none() {
        // Nothing was written: the same request stands there already.
        receipt.post_id = session.reader()?.1.same_request(&thread_id, &signal)?;
    }
    match args.wait {
        true => forum_wait::after(session, &receipt, args.timeout),
        false => written(session, &receipt),
    }
}

/// A human who signals for an agent speaks its words; the event keeps who did it.
fn for_the_agent(session: &Session, kind: SignalType, agent: &Agent) -> Option<Actor> {
    let outside = session.identity().is_none();
    (outside && kind != SignalType::GuidanceAnswer).then(|| Actor::agent(agent.key.name.clone()))
}

fn signalling(session: &Session, args: &SignalArgs, author: Option<&Actor>) -> Result<Agent, Failure> {
    let own = session.identity();
    if own.is_some() {
        only_itself(session, &args.speaker)?;
    }
    let (_, reader) = session.reader()?;
    if let Some(key) = &own {
        only_for_itself(session, &reader, key, &args.which, "signals")?;
    }
    let run = select::run(session, &reader, &args.which.selector)?;
    let speaking = author.filter(|author| author.kind == ActorType::Agent).map(|author| author.name.clone());
    let which = AgentSelector {
        agent: args.which.agent.clone().or_else(|| own.as_ref().map(|key| key.name.clone())).or(speaking),
        workspace: args.which.workspace.clone().or_else(|| own.map(|key| key.workspace)),
        selector: args.which.selector.clone(),
    };
    select::agent(&reader, &run, &which)
}

/// `{"thread","post"?,"seq"}`.
fn written(session: &Session, receipt: &Receipt) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let id = receipt.thread_id.clone().unwrap_or_default();
    let thread = reader.thread(&id)?.ok_or_else(|| Failure::new(exit::NOT_FOUND, format!("no thread {id}")))?;
    let shape = session.view(&home, &reader).thread(&thread)?;
    let mut json = json!({ "thread": shape, "seq": receipt.seq });
    if let Some(post) = receipt.post_id.as_deref().map(|id| reader.post(id)).transpose()?.flatten()
        && let Some(fields) = json.as_object_mut()
    {
        let way = reader.delivery(&id_of_post(&post.post_id))?;
        fields.insert("post".to_owned(), view::post(&post, way.as_ref()));
    }
    Ok(Reply::new(json, format!("{}\n", summary(&thread))))
}

/// The thread on one line, as the original printed it.
pub fn summary(thread: &Thread) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let assignee = match (&thread.assignee_type, &thread.assignee_name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        _ => "-".to_owned(),
    };
    print::one_line(&format!(
        "thread={} ticket={} run_id={} state={} priority={} assignee={assignee} posts={} updated_at={} title={}",
        thread.thread_id,
        thread.ticket,
        or_dash(&thread.run_id),
        thread.state,
        thread.priority.word(),
        thread.posts_count,
        thread.updated_at,
        thread.title,
    ))
}

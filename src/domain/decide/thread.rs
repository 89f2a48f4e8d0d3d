//! Wishes about threads.

use super::control::{answer_signal, human_side, request_to_answer, signalled};
use super::{Context, Decided, author, on_behalf};
use crate::domain::actor::{Actor, ActorType, Side};
use crate::domain::agent::AgentKey;
use crate::domain::command::ThreadWish;
use crate::domain::event::{Draft, Fact, Subject};
use crate::domain::name;
use crate::domain::refusal::Refusal;
use crate::domain::scene::Scene;
use crate::domain::thread::{
    Priority, Thread, ThreadState, check_body, check_thread_id, check_title, fingerprint, may_reopen,
};

pub(super) fn decide(
    scene: &Scene,
    thread_id: &str,
    run_id: Option<&str>,
    wish: &ThreadWish,
    context: &Context,
) -> Result<Decided, Refusal> {
    match wish {
        ThreadWish::Ask { .. } => return ask(scene, thread_id, run_id, wish, context),
        ThreadWish::Signal { ticket, signal, in_reply_to, author: speaker } => {
            let author = author(context, speaker.as_ref())?;
            return signalled(scene, thread_id, ticket, signal, in_reply_to.as_deref(), &author, context)
                .map(Decided::from);
        }
        ThreadWish::Post { .. }
        | ThreadWish::Answer { .. }
        | ThreadWish::Assign { .. }
        | ThreadWish::State { .. }
        | ThreadWish::Priority { .. }
        | ThreadWish::Close
        | ThreadWish::Reopen
        | ThreadWish::Seen { .. } => {}
    }
    let thread = scene.threads.get(thread_id).ok_or_else(|| {
        Refusal::not_found(format!("no thread {thread_id}")).hint("metawsm forum list shows the threads there are")
    })?;
    on_thread(scene, thread, wish, context).map(Decided::from)
}

fn on_thread(scene: &Scene, thread: &Thread, wish: &ThreadWish, context: &Context) -> Result<Vec<Draft>, Refusal> {
    match wish {
        ThreadWish::Post { body, wait, author: speaker } => {
            let author = author(context, speaker.as_ref())?;
            own_thread(scene, thread, &author, context)?;
            return post(scene, thread, body, *wait, &author, context);
        }
        ThreadWish::Answer { body, in_reply_to, author: speaker } => {
            let author = author(context, speaker.as_ref())?;
            own_thread(scene, thread, &author, context)?;
            return answer(scene, thread, body, in_reply_to.as_deref(), &author, context);
        }
        // Looking changes nothing for anybody else.
        ThreadWish::Seen { .. } => {}
        _ => own_thread(scene, thread, &context.actor, context)?,
    }
    match wish {
        ThreadWish::Assign { assignee_type, assignee, note } => {
            assign(scene, thread, *assignee_type, assignee, note.as_ref())
        }
        ThreadWish::State { to: ThreadState::Closed } | ThreadWish::Close => Ok(close(thread)),
        ThreadWish::State { to } => change_state(scene, thread, *to),
        ThreadWish::Priority { to } => change_priority(thread, *to),
        ThreadWish::Reopen => reopen(thread, context),
        ThreadWish::Seen { viewer, seq } => {
            own_mark(viewer, context)?;
            Ok(seen(scene, thread, viewer, *seq))
        }
        ThreadWish::Ask { .. } | ThreadWish::Signal { .. } | ThreadWish::Post { .. } | ThreadWish::Answer { .. } => {
            Ok(Vec::new())
        }
    }
}

/// An agent speaks in its own threads, in those assigned to it and in those of no agent, and changes no others: what
/// another agent asked is settled by a human or the operator.
fn own_thread(scene: &Scene, thread: &Thread, who: &Actor, context: &Context) -> Result<(), Refusal> {
    let Some(owner) = thread.agent_name.as_ref().filter(|_| who.kind == ActorType::Agent) else { return Ok(()) };
    let own = match &context.identity {
        // The same name may stand in another workspace or run.
        Some(identity) => {
            *owner == identity.name
                && thread.workspace.as_ref() == Some(&identity.workspace)
                && thread.run_id.as_ref() == Some(&identity.run_id)
        }
        None => *owner == who.name,
    };
    if own || (!thread.control && is_assigned(scene, thread, who, context.identity.as_ref())) {
        return Ok(());
    }
    let what = if thread.control { "is the control thread of" } else { "belongs to" };
    Err(Refusal::not_allowed(format!("thread {} {what} agent {owner}, not {}", thread.thread_id, who.name))
        .hint("ask in a thread of your own: metawsm forum ask"))
}

/// Whether the thread is assigned to this agent, and not to one of the same name in another workspace or run.
fn is_assigned(scene: &Scene, thread: &Thread, who: &Actor, identity: Option<&AgentKey>) -> bool {
    let Some(assignee) = thread.assignee_name.as_ref().filter(|_| thread.assignee_type == Some(ActorType::Agent))
    else {
        return false;
    };
    match identity {
        Some(key) => thread.run_id.as_ref() == Some(&key.run_id) && *assignee == scene.called(key),
        // A human speaks for it, and knows which.
        None => assignee.rsplit('/').next() == Some(who.name.as_str()),
    }
}

pub(super) fn subject_of(thread: &Thread) -> Subject {
    Subject {
        run_id: thread.run_id.clone(),
        ticket: Some(thread.ticket.clone()),
        workspace: thread.workspace.clone(),
        agent_name: thread.agent_name.clone(),
        thread_id: Some(thread.thread_id.clone()),
    }
}

fn ask(
    scene: &Scene,
    thread_id: &str,
    run_id: Option<&str>,
    wish: &ThreadWish,
    context: &Context,
) -> Result<Decided, Refusal> {
    let ThreadWish::Ask { ticket, agent, title, body, priority, wait, author: speaker } = wish else {
        return Ok(Decided::default());
    };
    check_thread_id(thread_id)?;
    check_title(title)?;
    check_body(body)?;
    name::check("ticket", ticket).map_err(|bad| Refusal::invalid(bad.to_string()))?;
    let author = author(context, speaker.as_ref())?;
    if let (Some(identity), Some(key)) = (&context.identity, agent)
        && identity != key
    {
        return Err(Refusal::not_allowed(format!("agent {} asks for itself, not for {}", identity.name, key.name))
            .hint("in a session leave out --run-id, --workspace and --agent"));
    }
    if let Some(run_id) = run_id.filter(|id| scene.runs.get(*id).is_none()) {
        return Err(Refusal::not_found(format!("no run {run_id}")).hint("metawsm runs --all lists them"));
    }
    if let Some(own) = agent.as_ref().and_then(|key| scene.agents.get(key)).filter(|own| own.spec.ticket != *ticket) {
        return Err(own.not_its_ticket(ticket));
    }
    let blocks = *wait && author.kind == ActorType::Agent;
    let epoch = match agent {
        None => None,
        Some(key) => Some(epoch_of(scene, key)?),
    };
    if let Some(key) = agent.as_ref().filter(|_| author.kind == ActorType::Agent)
        && let Some(open) = same_ask(scene, key, epoch, &fingerprint(title, body))
    {
        // Who did not wait before and does now says so: the run is to await the answer.
        let waits_now = blocks && !open.blocking;
        let drafts = if waits_now { post(scene, open, body, true, &author, context)? } else { Vec::new() };
        return Ok(Decided { drafts, joined: Some(open.thread_id.clone()) });
    }
    if let Some(existing) = scene.threads.get(thread_id) {
        return Err(Refusal::illegal(
            format!("thread {thread_id} exists already"),
            existing.state.word(),
            ["forum post"],
        )
        .hint("leave out --thread-id and a free one is chosen"));
    }
    let subject = Subject {
        run_id: agent.as_ref().map(|key| key.run_id.clone()).or_else(|| run_id.map(str::to_owned)),
        ticket: Some(ticket.clone()),
        workspace: agent.as_ref().map(|key| key.workspace.clone()),
        agent_name: agent.as_ref().map(|key| key.name.clone()),
        thread_id: Some(thread_id.to_owned()),
    };
    let opened = Fact::ThreadOpened {
        title: title.clone(),
        body: body.clone(),
        priority: *priority,
        state: if blocks { ThreadState::WaitingHuman } else { ThreadState::New },
        control: false,
        wait: blocks,
        epoch,
        author: on_behalf(context, &author),
    };
    Ok(vec![Draft::new(subject, opened)].into())
}

pub(super) fn epoch_of(scene: &Scene, key: &AgentKey) -> Result<u32, Refusal> {
    scene.agents.get(key).map(|agent| agent.epoch).ok_or_else(|| {
        Refusal::not_found(format!("run {} has no agent {} in workspace {}", key.run_id, key.name, key.workspace))
            .hint("metawsm agents lists them")
    })
}

/// The thread in which the agent's question waits already.
fn same_ask<'a>(scene: &'a Scene, agent: &AgentKey, epoch: Option<u32>, question: &str) -> Option<&'a Thread> {
    scene.threads.iter().find(|thread| {
        thread.run_id.as_deref() == Some(agent.run_id.as_str())
            && thread.workspace.as_deref() == Some(agent.workspace.as_str())
            && thread.agent_name.as_deref() == Some(agent.name.as_str())
            && thread.epoch == epoch
            && thread.opened_by_type == ActorType::Agent
            && thread.waits_for_human()
            && thread.question.as_ref().or(scene.asked.get(&thread.thread_id)).is_some_and(|asked| asked == question)
    })
}

pub(super) fn open_thread(thread: &Thread) -> Result<(), Refusal> {
    if thread.state != ThreadState::Closed {
        return Ok(());
    }
    Err(Refusal::illegal(format!("thread {} is closed", thread.thread_id), "closed", ["forum reopen"])
        .hint(format!("metawsm forum reopen --thread-id {}", thread.thread_id)))
}

fn post(
    scene: &Scene,
    thread: &Thread,
    body: &str,
    wait: bool,
    author: &Actor,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    check_body(body)?;
    open_thread(thread)?;
    // In a control thread the plain word of a human is the answer to what is open.
    let human = author.kind.side() == Some(Side::Human);
    if thread.control && human && !scene.open_requests(&thread.thread_id).is_empty() {
        return answer(scene, thread, body, None, author, context);
    }
    let wait = wait && author.kind == ActorType::Agent && !thread.control;
    let added = Fact::PostAdded { body: body.to_owned(), wait, author: on_behalf(context, author) };
    let mut drafts = vec![Draft::new(subject_of(thread), added)];
    if wait && thread.state != ThreadState::WaitingHuman {
        drafts.push(state_changed(thread, ThreadState::WaitingHuman));
    }
    Ok(drafts)
}

fn answer(
    scene: &Scene,
    thread: &Thread,
    body: &str,
    in_reply_to: Option<&str>,
    author: &Actor,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    check_body(body)?;
    open_thread(thread)?;
    if thread.control {
        human_side(author)?;
        let request = request_to_answer(scene, thread, in_reply_to)?;
        return Ok(vec![answer_signal(thread, request, body, author, context)]);
    }
    if in_reply_to.is_some() {
        return Err(Refusal::invalid(format!(
            "{} is no control thread; --in-reply-to names a guidance request",
            thread.thread_id
        )));
    }
    if thread.waiting_on.is_none() || thread.waiting_on != author.kind.side() {
        let waits = match thread.waiting_on {
            None => "waits for nobody".to_owned(),
            Some(side) => format!("waits for the {} side", side.word()),
        };
        return Err(Refusal::illegal(
            format!("thread {} {waits}, not for {author}", thread.thread_id),
            thread.state.word(),
            ["forum post"],
        )
        .hint("add to it with: metawsm forum post"));
    }
    let added = Fact::PostAdded { body: body.to_owned(), wait: false, author: on_behalf(context, author) };
    let mut drafts = vec![Draft::new(subject_of(thread), added)];
    if thread.state != ThreadState::Answered {
        drafts.push(state_changed(thread, ThreadState::Answered));
    } else {
        // An answer to a follow-up leaves the state as it is, but nobody is waited for any more.
        let fact = Fact::StateChanged { from_state: thread.state, to_state: ThreadState::Answered };
        drafts.push(Draft::new(subject_of(thread), fact));
    }
    Ok(drafts)
}

pub(super) fn state_changed(thread: &Thread, to: ThreadState) -> Draft {
    Draft::new(subject_of(thread), Fact::StateChanged { from_state: thread.state, to_state: to })
}

fn change_state(scene: &Scene, thread: &Thread, to: ThreadState) -> Result<Vec<Draft>, Refusal> {
    // `closed → triaged` is reopen.
    open_thread(thread)?;
    // A control thread waits exactly as long as a request is open; no state set by hand may say otherwise.
    if thread.control && !scene.open_requests(&thread.thread_id).is_empty() {
        return Err(Refusal::illegal(
            format!("thread {} has an open request: it waits until that is answered", thread.thread_id),
            thread.state.word(),
            ["forum answer", "forum close"],
        )
        .hint(format!("answer it: metawsm forum answer --thread-id {}", thread.thread_id)));
    }
    if thread.control && matches!(to, ThreadState::WaitingHuman | ThreadState::WaitingOperator) {
        return Err(Refusal::illegal(
            format!("thread {} is a control thread: it waits for its requests and nothing else", thread.thread_id),
            thread.state.word(),
            ["forum signal", "forum post"],
        )
        .hint("ask with: metawsm forum signal --type guidance_request"));
    }
    if thread.state == to {
        return Ok(vec![state_changed(thread, to)]);
    }
    let legal = thread.state.successors();
    if legal.contains(&to) {
        return Ok(vec![state_changed(thread, to)]);
    }
    let words: Vec<&str> = legal.iter().map(|state| state.word()).collect();
    Err(Refusal::illegal(
        format!("thread {} is {}: it cannot become {to}", thread.thread_id, thread.state),
        thread.state.word(),
        words.clone(),
    )
    .hint(format!("legal now: {}", words.join(", "))))
}

fn change_priority(thread: &Thread, to: Priority) -> Result<Vec<Draft>, Refusal> {
    open_thread(thread)?;
    if thread.priority == to {
        return Ok(Vec::new());
    }
    let fact = Fact::PriorityChanged { from_priority: thread.priority, to_priority: to };
    Ok(vec![Draft::new(subject_of(thread), fact)])
}

fn assign(
    scene: &Scene,
    thread: &Thread,
    assignee_type: ActorType,
    assignee: &str,
    note: Option<&String>,
) -> Result<Vec<Draft>, Refusal> {
    open_thread(thread)?;
    if assignee.trim().is_empty() || assignee.chars().any(char::is_control) {
        return Err(Refusal::invalid("--assignee is empty or holds control characters"));
    }
    let assignee = match &thread.run_id {
        Some(run_id) if assignee_type == ActorType::Agent => agent_called(scene, run_id, assignee)?,
        Some(_) | None => assignee.to_owned(),
    };
    let fact = Fact::Assigned {
        from_assignee_type: thread.assignee_type,
        from_assignee_name: thread.assignee_name.clone(),
        to_assignee_type: assignee_type,
        to_assignee_name: assignee,
        note: note.cloned(),
    };
    Ok(vec![Draft::new(subject_of(thread), fact)])
}

/// The one agent of the run that `named` means, by name or as workspace/name, as it is called within the run.
fn agent_called(scene: &Scene, run_id: &str, named: &str) -> Result<String, Refusal> {
    let agents = scene.agents_of(run_id);
    let meant: Vec<&AgentKey> = agents
        .iter()
        .map(|agent| &agent.key)
        .filter(|key| if named.contains('/') { key.within_run() == named } else { key.name == named })
        .collect();
    let list = |keys: &[&AgentKey]| keys.iter().map(|key| key.within_run()).collect::<Vec<_>>().join(", ");
    match meant.as_slice() {
        [one] => Ok(scene.called(one)),
        [] => {
            let all: Vec<&AgentKey> = agents.iter().map(|agent| &agent.key).collect();
            Err(Refusal::not_found(format!("run {run_id} has no agent {named}")).hint(format!("it has {}", list(&all))))
        }
        several => Err(Refusal::invalid(format!("agent {named} of run {run_id} could be {}", list(several)))
            .hint("name it with its workspace: --workspace WS, or --assignee WS/NAME")),
    }
}

pub(super) fn close(thread: &Thread) -> Vec<Draft> {
    if thread.state == ThreadState::Closed {
        return Vec::new();
    }
    let fact = Fact::ThreadClosed { from_state: thread.state, to_state: ThreadState::Closed };
    vec![Draft::new(subject_of(thread), fact)]
}

fn reopen(thread: &Thread, context: &Context) -> Result<Vec<Draft>, Refusal> {
    may_reopen(context.actor.kind)?;
    if thread.state != ThreadState::Closed {
        return Err(Refusal::illegal(
            format!("thread {} is {}, not closed", thread.thread_id, thread.state),
            thread.state.word(),
            ["forum post"],
        ));
    }
    Ok(vec![state_changed(thread, ThreadState::Triaged)])
}

/// In a session only the agent's own mark is moved.
fn own_mark(viewer: &str, context: &Context) -> Result<(), Refusal> {
    let Some(identity) = &context.identity else { return Ok(()) };
    let own = format!("agent:{}/{}/{}", identity.run_id, identity.workspace, identity.name);
    if viewer == own {
        return Ok(());
    }
    Err(Refusal::not_allowed(format!("agent {} moves its own mark, not that of {viewer}", identity.name))
        .hint("leave out --viewer"))
}

/// Marks never fall and never pass the thread's end.
fn seen(scene: &Scene, thread: &Thread, viewer: &str, seq: Option<i64>) -> Vec<Draft> {
    let end = thread.last_event_sequence;
    let wanted = seq.filter(|seq| *seq > 0).unwrap_or(end).min(end);
    let mark = scene.seen.get(&(thread.thread_id.clone(), viewer.to_owned())).copied().unwrap_or(0);
    if wanted <= mark {
        return Vec::new();
    }
    let fact = Fact::Seen { viewer: viewer.to_owned(), last_seen_event_sequence: wanted };
    vec![Draft::new(subject_of(thread), fact)]
}

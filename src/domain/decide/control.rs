//! Wishes about control threads: signals, requests and their answers.

use super::thread::{epoch_of, open_thread, state_changed, subject_of};
use super::{Context, on_behalf};
use crate::domain::actor::{Actor, ActorType, Side};
use crate::domain::agent::AgentKey;
use crate::domain::event::{Draft, Fact, Subject};
use crate::domain::refusal::Refusal;
use crate::domain::run::RunStatus;
use crate::domain::scene::Scene;
use crate::domain::signal::{Signal, SignalType};
use crate::domain::thread::{Priority, Request, Thread, ThreadState, check_body};

pub(super) fn human_side(author: &Actor) -> Result<(), Refusal> {
    if author.kind.side() == Some(Side::Human) {
        return Ok(());
    }
    Err(Refusal::not_allowed(format!("{author} may not answer a guidance request; a human or the operator may")))
}

pub(super) fn request_to_answer<'a>(
    scene: &'a Scene,
    thread: &Thread,
    named: Option<&str>,
) -> Result<&'a Request, Refusal> {
    let Some(id) = named else {
        return scene.open_requests(&thread.thread_id).into_iter().next().ok_or_else(|| {
            Refusal::illegal(
                format!("thread {} has no open request", thread.thread_id),
                thread.state.word(),
                ["forum post"],
            )
        });
    };
    let request = scene
        .request(&thread.thread_id, id)
        .ok_or_else(|| Refusal::not_found(format!("thread {} has no request {id}", thread.thread_id)))?;
    match &request.settled_by {
        None => Ok(request),
        Some(by) => {
            Err(Refusal::illegal(format!("request {id} was settled already: {by}"), "answered", ["forum post"]))
        }
    }
}

pub(super) fn answer_signal(
    thread: &Thread,
    request: &Request,
    body: &str,
    author: &Actor,
    context: &Context,
) -> Draft {
    let signal = Signal {
        answer: Some(body.to_owned()),
        ..Signal::new(
            SignalType::GuidanceAnswer,
            &request.run_id,
            &request.workspace,
            &request.agent_name,
            request.epoch,
        )
    };
    signal_draft(subject_of(thread), &signal, Some(&request.post_id), author, context)
}

fn signal_draft(
    subject: Subject,
    signal: &Signal,
    in_reply_to: Option<&str>,
    author: &Actor,
    context: &Context,
) -> Draft {
    let fact = Fact::ControlSignal {
        body: serde_json::to_string(signal).unwrap_or_default(),
        in_reply_to: in_reply_to.map(str::to_owned),
        author: on_behalf(context, author),
    };
    Draft::new(subject, fact)
}

pub(super) fn signalled(
    scene: &Scene,
    thread_id: &str,
    ticket: &str,
    signal: &Signal,
    in_reply_to: Option<&str>,
    author: &Actor,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    signal.check()?;
    if in_reply_to.is_some() && signal.control_type != SignalType::GuidanceAnswer {
        return Err(Refusal::invalid(format!("a {} signal has no --in-reply-to", signal.control_type.word()))
            .hint("leave it out: it names the request that a guidance_answer answers"));
    }
    check_body(&signal.words())?;
    let key = AgentKey::new(&signal.run_id, &signal.workspace, &signal.agent_name);
    let epoch = epoch_of(scene, &key)?;
    let run = scene.runs.get(&key.run_id).ok_or_else(|| Refusal::not_found(format!("no run {}", key.run_id)))?;
    if run.status == RunStatus::Closed {
        return Err(Refusal::illegal(
            format!("run {} is closed: nothing is signalled to it", run.id()),
            "closed",
            ["forum post"],
        ));
    }
    if context.identity.as_ref().is_some_and(|identity| *identity != key) {
        return Err(Refusal::not_allowed(format!("only agent {} signals for itself", key.name))
            .hint("in a session leave out --run-id, --workspace and --agent"));
    }
    if signal.epoch > epoch {
        return Err(Refusal::invalid(format!("agent {} is in epoch {epoch}, not {}", key.name, signal.epoch))
            .hint("leave out --epoch: the present one is meant"));
    }
    let signal = Signal { epoch: if signal.epoch == 0 { epoch } else { signal.epoch }, ..signal.clone() };
    let existing = scene.threads.get(thread_id);
    if let Some(thread) = existing.filter(|thread| !is_control_of(thread, &key)) {
        return Err(Refusal::illegal(
            format!("thread {thread_id} is not the control thread of agent {}", key.name),
            thread.state.word(),
            ["forum post"],
        ));
    }
    if signal.control_type == SignalType::GuidanceAnswer {
        human_side(author)?;
        let thread = existing
            .ok_or_else(|| Refusal::illegal(format!("agent {} has asked nothing", key.name), "none", ["forum ask"]))?;
        open_thread(thread)?;
        let request = request_to_answer(scene, thread, in_reply_to)?;
        let words = signal.answer.clone().unwrap_or_default();
        return Ok(vec![answer_signal(thread, request, &words, author, context)]);
    }
    let speaks_for_it = match author.kind {
        ActorType::Agent => author.name == key.name,
        ActorType::Human => true,
        ActorType::Operator | ActorType::System => false,
    };
    if !speaks_for_it {
        return Err(Refusal::not_allowed(format!(
            "only agent {}, or a human for it, signals {}, not {author}",
            key.name,
            signal.control_type.word()
        )));
    }
    if signal.asks().is_some_and(|asks| waits_already(scene, thread_id, signal.epoch, &asks)) {
        return Ok(Vec::new());
    }
    let mut drafts = Vec::new();
    let subject = Subject {
        run_id: Some(key.run_id.clone()),
        ticket: Some(ticket.to_owned()),
        workspace: Some(key.workspace.clone()),
        agent_name: Some(key.name.clone()),
        thread_id: Some(thread_id.to_owned()),
    };
    match existing {
        None => drafts.push(control_thread(subject.clone(), &key, epoch)),
        Some(thread) if thread.state == ThreadState::Closed => {
            // Each agent has one control thread, whose id is derived: what it signals can stand nowhere else, and a
            // completion must not be lost to a thread that somebody closed. So its next signal opens the thread again,
            // as metawsm's own doing, though reopening is otherwise for a human or the operator.
            drafts.push(state_changed(thread, ThreadState::Triaged).by_system());
        }
        Some(_) => {}
    }
    drafts.push(signal_draft(subject.clone(), &signal, None, author, context));
    if signal.control_type == SignalType::Progress {
        let fact =
            Fact::AgentProgressed { source: "signal".to_owned(), note: signal.note.clone(), percent: signal.percent };
        drafts.push(Draft::new(Subject { thread_id: None, ..subject }, fact));
    }
    Ok(drafts)
}

/// Whether the same request of the same epoch is open: it is joined, not asked twice.
fn waits_already(scene: &Scene, thread_id: &str, epoch: u32, asks: &str) -> bool {
    let asked = |request: &Request| scene.asked.get(&request.post_id).is_some_and(|asked| asked == asks);
    scene.open_requests(thread_id).into_iter().any(|request| request.epoch == epoch && asked(request))
}

fn is_control_of(thread: &Thread, key: &AgentKey) -> bool {
    thread.control
        && thread.run_id.as_deref() == Some(key.run_id.as_str())
        && thread.workspace.as_deref() == Some(key.workspace.as_str())
        && thread.agent_name.as_deref() == Some(key.name.as_str())
}

fn control_thread(subject: Subject, key: &AgentKey, epoch: u32) -> Draft {
    let opened = Fact::ThreadOpened {
        title: format!("control: {} in {}", key.name, key.workspace),
        body: String::new(),
        priority: Priority::Normal,
        state: ThreadState::New,
        control: true,
        wait: false,
        epoch: Some(epoch),
        author: None,
    };
    Draft::new(subject, opened).by_system()
}

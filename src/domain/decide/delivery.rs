//! Texts for agents' sessions: who may queue one, what the typist reports, and what follows by itself.

use serde_json::json;

use super::operator::{Call, call_human};
use super::thread::epoch_of;
use super::{Context, agent_subject, may_run, shortened};
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::DeliveryWish;
use crate::domain::delivery::{Delivery, DeliveryState, clean, delivery_target, id_of_post, may_be_typed, presses};
use crate::domain::escalation::{Escalation, Kind};
use crate::domain::event::{Author, Draft, Fact, Subject};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::signal::SignalType;
use crate::domain::thread::{Post, check_text};
use crate::domain::time::Moment;

/// The cause of a call to a text that cannot be delivered; one in doubt has the moment it was typed.
const UNDELIVERED: &str = "not delivered";

/// How a human is called by a command.
pub(super) struct Calling<'a> {
    pub due_at: Option<Moment>,
    pub escalation_id: &'a str,
}

pub(super) fn decide(
    scene: &Scene,
    delivery_id: &str,
    wish: &DeliveryWish,
    context: &Context,
    calling: &Calling<'_>,
) -> Result<Vec<Draft>, Refusal> {
    if let DeliveryWish::Queue { key, text, urgent } = wish {
        may_run(scene, context)?;
        return queue(scene, delivery_id, key, text, *urgent, &context.actor);
    }
    let delivery = scene.deliveries.get(delivery_id).ok_or_else(|| {
        Refusal::not_found(format!("no delivery {delivery_id}")).hint("metawsm events --type 'delivery.*'")
    })?;
    match wish {
        DeliveryWish::Taken => return taken(delivery, context),
        _ if context.actor.kind != ActorType::System => {
            return Err(Refusal::not_allowed("only whoever types a text says what became of it"));
        }
        _ => {}
    }
    let one = |fact| Ok(vec![Draft::new(delivery.subject(), fact)]);
    let delivery_id = delivery_id.to_owned();
    match wish {
        DeliveryWish::Typed { launch, evidence } => {
            may_become(delivery, DeliveryState::Typed)?;
            lives(scene, delivery, *launch)?;
            its_turn(scene, delivery, context.now)?;
            one(Fact::DeliveryTyped { delivery_id, launch: *launch, evidence: evidence.clone() })
        }
        DeliveryWish::Submitted { evidence } => {
            may_become(delivery, DeliveryState::Submitted)?;
            if delivery.state == DeliveryState::Queued {
                return Err(illegal(delivery, DeliveryState::Submitted));
            }
            one(Fact::DeliverySubmitted { delivery_id, evidence: evidence.clone() })
        }
        DeliveryWish::Failed { reason } => {
            may_become(delivery, DeliveryState::Failed)?;
            let fact = Fact::DeliveryFailed { delivery_id, reason: shortened(reason) };
            // Whoever sends waits for the word; whoever answered in the forum has gone on.
            let called = delivery.post_id.as_ref().and_then(|_| call(scene, delivery, Some(reason), calling));
            Ok([Draft::new(delivery.subject(), fact)].into_iter().chain(called).collect())
        }
        DeliveryWish::Doubt if delivery.in_doubt(context.now) => {
            Ok(call(scene, delivery, None, calling).into_iter().collect())
        }
        DeliveryWish::Doubt | DeliveryWish::Queue { .. } | DeliveryWish::Taken => Ok(Vec::new()),
    }
}

fn queue(
    scene: &Scene,
    delivery_id: &str,
    key: &AgentKey,
    text: &str,
    urgent: bool,
    actor: &Actor,
) -> Result<Vec<Draft>, Refusal> {
    if let Some(existing) = scene.deliveries.get(delivery_id) {
        let message = format!("delivery {delivery_id} exists already");
        return Err(Refusal::illegal(message, existing.state.word(), ["send"]));
    }
    epoch_of(scene, key)?;
    let Some(agent) = scene.agents.get(key) else { return Ok(Vec::new()) };
    let file = "put it into a file that the agent can read, and send the file's path";
    check_text("text", text, ["say what is to be typed; with - it is read from standard input", file, file])?;
    if clean(text).trim().is_empty() {
        return Err(Refusal::invalid("the text holds nothing but control characters"));
    }
    if !agent.program_may_live() {
        return Err(Refusal::illegal(
            format!("agent {} has no live session: it is {}", key.name, agent.status),
            agent.status.word(),
            ["restart"],
        )
        .hint("metawsm restart starts it again"));
    }
    if !may_be_typed(&agent.spec.runner, actor.kind) {
        return Err(Refusal::not_allowed(format!(
            "agent {} is a shell, which would carry out what is typed: only a human types there",
            key.name
        )));
    }
    Ok(vec![queued(agent, delivery_id, text, urgent, actor)])
}

/// A text for an agent is waiting to be typed.
pub(super) fn queued(agent: &Agent, delivery_id: &str, text: &str, urgent: bool, actor: &Actor) -> Draft {
    let fact = Fact::DeliveryQueued {
        delivery_id: delivery_id.to_owned(),
        from: Author { author_type: actor.kind, author_name: actor.name.clone() },
        text: Some(text.to_owned()),
        post_id: None,
        urgent,
    };
    Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)
}

fn may_become(delivery: &Delivery, to: DeliveryState) -> Result<(), Refusal> {
    if delivery.state.may_become(to) { Ok(()) } else { Err(illegal(delivery, to)) }
}

fn illegal(delivery: &Delivery, to: DeliveryState) -> Refusal {
    let next: Vec<&str> = delivery.state.successors().iter().map(|state| state.word()).collect();
    let message = format!("delivery {} is {}: it cannot become {to}", delivery.delivery_id, delivery.state);
    Refusal::illegal(message, delivery.state.word(), next)
}

/// Text goes into the launch that was looked at, and into no other.
fn lives(scene: &Scene, delivery: &Delivery, launch: u32) -> Result<(), Refusal> {
    let agent = scene.agents.get(&delivery.key).filter(|agent| agent.program_may_live() && agent.launch == launch);
    if agent.is_some() {
        return Ok(());
    }
    let status = scene.agents.get(&delivery.key).map_or("gone", |agent| agent.status.word());
    let message = format!("launch {launch} of agent {} is over", delivery.key.name);
    Err(Refusal::illegal(message, status, ["restart"]))
}

/// Two texts in one composer would become one.
fn its_turn(scene: &Scene, delivery: &Delivery, now: Moment) -> Result<(), Refusal> {
    let other = scene.deliveries.iter().find(|other| {
        other.key == delivery.key
            && other.delivery_id != delivery.delivery_id
            && other.state == DeliveryState::Typed
            && !other.in_doubt(now)
    });
    let Some(other) = other else { return Ok(()) };
    let message = format!("delivery {} was typed and may still stand in its composer", other.delivery_id);
    Err(Refusal::illegal(message, delivery.state.word(), ["wait"]))
}

/// An agent that waits in the forum has read it there: nobody types it any more.
fn taken(delivery: &Delivery, context: &Context) -> Result<Vec<Draft>, Refusal> {
    if context.identity.as_ref() != Some(&delivery.key) {
        return Err(Refusal::not_allowed(format!("only agent {} takes what is for it", delivery.key.name)));
    }
    if delivery.state != DeliveryState::Queued {
        return Ok(Vec::new());
    }
    let evidence = json!({ "signal": "taken", "source": "forum" });
    let fact = Fact::DeliverySubmitted { delivery_id: delivery.delivery_id.clone(), evidence };
    Ok(vec![Draft::new(delivery.subject(), fact)])
}

/// A human is called to a text of which it is not known whether it was taken, or that cannot be delivered.
fn call(scene: &Scene, delivery: &Delivery, failed: Option<&str>, calling: &Calling<'_>) -> Option<Draft> {
    let (name, who) = (&delivery.key.name, &delivery.from.author_name);
    let (cause, reason) = match (failed, delivery.typed_at) {
        (Some(why), _) => (UNDELIVERED.to_owned(), format!("what {who} wrote did not reach {name}: {why}")),
        (None, Some(at)) => (
            format!("typed at {at}"),
            format!("text of {who} was typed to {name} and not seen to be taken: look at its screen"),
        ),
        (None, None) => return None,
    };
    let call = Call {
        about: &delivery.subject(),
        kind: Kind::Delivery,
        target: &delivery_target(&delivery.delivery_id),
        cause: &cause,
        reason: &reason,
        evidence: json!({
            "signal": if failed.is_some() { "failed" } else { "typed" },
            "source": "typist",
            "delivery_id": delivery.delivery_id,
            "launch": delivery.launch,
            "typed_at": delivery.typed_at,
        }),
        due_at: calling.due_at,
    };
    call_human(scene, call, calling.escalation_id)
}

/// Whether what a human was called to still waits for one.
pub(super) fn cause_holds(scene: &Scene, escalation: &Escalation) -> bool {
    let id = escalation.target.strip_prefix("delivery:").unwrap_or_default();
    let doubtful = scene.deliveries.get(id).is_some_and(|delivery| delivery.state == DeliveryState::Typed);
    doubtful || escalation.cause == UNDELIVERED
}

/// What is said to an agent in the forum waits to be typed where its profile wants that; what can reach nobody any
/// more fails.
pub(super) fn follows(scene: &Scene, run: &Run) -> Vec<Draft> {
    let queued: Vec<Draft> = scene.posts.iter().filter_map(|post| post_queued(scene, run, post)).collect();
    if !queued.is_empty() {
        return queued;
    }
    scene
        .deliveries
        .iter()
        .filter(|delivery| delivery.key.run_id == run.id() && delivery.state.open())
        .filter_map(|delivery| {
            let reason = out_of_reach(run, scene.agents.get(&delivery.key)?, delivery)?;
            let fact = Fact::DeliveryFailed { delivery_id: delivery.delivery_id.clone(), reason };
            Some(Draft::new(delivery.subject(), fact).by_system())
        })
        .collect()
}

fn post_queued(scene: &Scene, run: &Run, post: &Post) -> Option<Draft> {
    let thread = scene.threads.get(&post.thread_id).filter(|thread| thread.run_id.as_deref() == Some(run.id()))?;
    let key = AgentKey::new(run.id(), thread.workspace.as_ref()?, thread.agent_name.as_ref()?);
    let agent = scene.agents.get(&key).filter(|agent| agent.spec.paste)?;
    let own = post.author_type == ActorType::Agent && post.author_name == key.name;
    let for_it = post.signal.as_ref().is_none_or(|signal| signal.control_type == SignalType::GuidanceAnswer);
    let delivery_id = id_of_post(&post.post_id);
    let unknown = scene.deliveries.get(&delivery_id).is_none();
    let said = post.author_type.side().is_some() && may_be_typed(&agent.spec.runner, post.author_type);
    if own || !for_it || !unknown || !said || run.status == RunStatus::Closed {
        return None;
    }
    let fact = Fact::DeliveryQueued {
        delivery_id,
        from: Author { author_type: post.author_type, author_name: post.author_name.clone() },
        text: None,
        post_id: Some(post.post_id.clone()),
        urgent: presses(thread.priority),
    };
    let subject = Subject { thread_id: Some(thread.thread_id.clone()), ..agent_subject(&key, &thread.ticket) };
    Some(Draft::new(subject, fact).by_system())
}

/// Why a text does not reach its agent any more. What was said in the forum waits for the agent's next life; what was
/// sent into a session goes with it.
fn out_of_reach(run: &Run, agent: &Agent, delivery: &Delivery) -> Option<String> {
    let name = &agent.key.name;
    let ended = || match &agent.exit {
        Some(exit) => format!("{name} {}", exit.describe()),
        None => format!("{name} was started again"),
    };
    let over = delivery.launch.is_some_and(|launch| launch != agent.launch) || agent.exit.is_some();
    match delivery.state {
        DeliveryState::Typed if over => Some(format!("{} before it was seen to take what was typed", ended())),
        DeliveryState::Queued if run.status == RunStatus::Closed => Some("the run was closed".to_owned()),
        DeliveryState::Queued if delivery.post_id.is_none() && !agent.program_may_live() && !agent.start_due() => {
            Some(ended())
        }
        _ => None,
    }
}

//! From a wish to facts, or to a refusal: pure, and changing nothing.

use super::actor::{Actor, ActorType};
use super::agent::AgentKey;
use super::command::Command;
use super::event::{Author, Draft, Fact, LARGEST_PAYLOAD, Subject};
use super::refusal::Refusal;
use super::scene::Scene;
use super::time::Moment;

mod adviser;
mod agent;
mod busy;
mod control;
mod delivery;
mod escalation;
mod feedback;
mod hold;
mod operator;
mod outbox;
mod run;
pub mod settle;
mod thread;
pub mod tmux;

pub use feedback::begin_anew;
pub use run::there;

/// Who wishes it, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Now.
    pub now: Moment,
    /// Who acts.
    pub actor: Actor,
    /// The agent in whose session the caller runs.
    pub identity: Option<AgentKey>,
}

/// What a wish comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decided {
    /// The facts, in order; none when nothing changes.
    pub drafts: Vec<Draft>,
    /// The thread it is about, where that is not the one named: the same ask joins an open thread.
    pub joined: Option<String>,
}

impl From<Vec<Draft>> for Decided {
    fn from(drafts: Vec<Draft>) -> Self {
        Self { drafts, joined: None }
    }
}

/// Decides one command against the scene it needs.
///
/// # Errors
/// A [`Refusal`] when the present state, the value, or who wishes it does not allow it.
pub fn decide(scene: &Scene, command: &Command, context: &Context) -> Result<Decided, Refusal> {
    is_itself(context)?;
    let decided = decide_any(scene, command, context)?;
    match decided.drafts.iter().find(|draft| too_large(&draft.fact)) {
        None => Ok(decided),
        Some(draft) => Err(Refusal::invalid(format!("the payload of {} is larger than 64 KiB", draft.fact.split().0))
            .hint("put the long text into a file and name it instead")),
    }
}

fn too_large(fact: &Fact) -> bool {
    !fact.holds_words() && fact.split().1.to_string().len() > LARGEST_PAYLOAD
}

/// In an agent's session the caller is that agent, and nobody else.
fn is_itself(context: &Context) -> Result<(), Refusal> {
    match &context.identity {
        Some(identity) if context.actor != Actor::agent(&identity.name) => Err(Refusal::not_allowed(format!(
            "in the session of agent {} nobody else can act, not {}",
            identity.name, context.actor
        ))
        .hint("leave out --as, --actor-type and --actor-name")),
        Some(_) | None => Ok(()),
    }
}

fn decide_any(scene: &Scene, command: &Command, context: &Context) -> Result<Decided, Refusal> {
    match command {
        Command::Run { run_id, wish } => {
            may_run(scene, context)?;
            run::decide(scene, run_id, wish, context).map(Decided::from)
        }
        Command::Agent { key, wish } => agent::decide(scene, key, wish, context).map(Decided::from),
        Command::Thread { thread_id, run_id, wish } => {
            thread::decide(scene, thread_id, run_id.as_deref(), wish, context)
        }
        Command::Operator { conclusion, escalation_id, suggestion_id } => {
            may_run(scene, context)?;
            let ids = operator::NewIds { escalation: escalation_id, suggestion: suggestion_id };
            operator::decide(scene, conclusion, &ids).map(Decided::from)
        }
        Command::Adviser { run_id, wish, due_at, escalation_ids } => {
            may_run(scene, context)?;
            let call = adviser::Calling { due_at: *due_at, ids: escalation_ids };
            adviser::decide(scene, run_id, wish, context, &call).map(Decided::from)
        }
        Command::Escalation { escalation_id, wish } => {
            may_run(scene, context)?;
            escalation::decide(scene, escalation_id, wish, context).map(Decided::from)
        }
        Command::Busy { run_id, busy, due_at, escalation_id } => {
            may_run(scene, context)?;
            busy::decide(scene, run_id, busy, *due_at, escalation_id).map(Decided::from)
        }
        Command::Suggestion { suggestion_id, wish } => {
            may_run(scene, context)?;
            operator::settle_suggestion(scene, suggestion_id, wish).map(Decided::from)
        }
        Command::Tmux { news, due_at, escalation_id } => {
            may_run(scene, context)?;
            Ok(tmux::decide(scene, news, *due_at, escalation_id).into())
        }
        Command::Outbox { id, wish, due_at, escalation_id } => {
            may_run(scene, context)?;
            outbox::decide(scene, *id, wish, *due_at, escalation_id).map(Decided::from)
        }
        Command::Delivery { delivery_id, wish, due_at, escalation_id } => {
            let call = delivery::Calling { due_at: *due_at, escalation_id };
            delivery::decide(scene, delivery_id, wish, context, &call).map(Decided::from)
        }
        Command::PolicyChanged { mode, changed, followed } => {
            let (mode, changed, followed) = (*mode, changed.clone(), followed.clone());
            Ok(vec![Draft::new(Subject::default(), Fact::PolicyChanged { mode, changed, followed })].into())
        }
        Command::Lease { acquired, pid, host } => {
            let fact = if *acquired {
                Fact::LeaseAcquired { pid: *pid, host: host.clone() }
            } else {
                Fact::LeaseLost { pid: *pid }
            };
            Ok(vec![Draft::new(Subject::default(), fact)].into())
        }
    }
}

/// In an agent's session run actions are refused, unless its profile lets it.
fn may_run(scene: &Scene, context: &Context) -> Result<(), Refusal> {
    let Some(identity) = &context.identity else { return Ok(()) };
    let allowed = scene.agents.get(identity).is_some_and(|agent| agent.spec.may.iter().any(|may| may == "run"));
    if allowed {
        return Ok(());
    }
    Err(Refusal::not_allowed(format!("agent {} may not act on runs", identity.name))
        .hint("ask in the forum, or let its profile say \"may\": [\"run\"]"))
}

/// Whose words they are: the agent's own in its session; elsewhere whom the human speaks for.
fn author(context: &Context, wished: Option<&Actor>) -> Result<Actor, Refusal> {
    let author = wished.unwrap_or(&context.actor);
    if let Some(identity) = &context.identity {
        if author.kind != ActorType::Agent || author.name != identity.name {
            return Err(Refusal::not_allowed(format!(
                "in the session of agent {} nobody else can speak, not {author}",
                identity.name
            ))
            .hint("leave out --actor-type and --actor-name"));
        }
    } else if author.kind == ActorType::System && context.actor.kind != ActorType::System {
        return Err(Refusal::not_allowed("only metawsm itself speaks as system")
            .hint("use --actor-type human, operator or agent"));
    }
    Ok(author.clone())
}

/// The author as an event carries it: only where it is not the actor.
fn on_behalf(context: &Context, author: &Actor) -> Option<Author> {
    (*author != context.actor).then(|| Author { author_type: author.kind, author_name: author.name.clone() })
}

/// Text from outside, bounded: its tail, which is where the reason stands.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 4_000;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut start = text.len() - LONGEST;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("[truncated] {}", &text[start..])
}

/// The subject of facts about an agent.
fn agent_subject(key: &AgentKey, ticket: &str) -> Subject {
    Subject {
        run_id: Some(key.run_id.clone()),
        ticket: Some(ticket.to_owned()),
        workspace: Some(key.workspace.clone()),
        agent_name: Some(key.name.clone()),
        thread_id: None,
    }
}

/// The subject of facts about a run as a whole.
fn run_subject(run_id: &str) -> Subject {
    Subject { run_id: Some(run_id.to_owned()), ..Subject::default() }
}

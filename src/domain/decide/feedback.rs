//! Feedback: a run begins anew with it (`iterate`), and what reviewers say is kept until agents are told of it.

use serde_json::json;

use super::agent::ending;
use super::operator::{Call, call_human};
use super::{Context, agent_subject, hold, run_subject, shortened};
use crate::domain::actor::ActorType;
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::command::Iterate;
use crate::domain::escalation::{Escalation, Kind, REVIEWS_TARGET};
use crate::domain::event::{Draft, Fact, LARGEST_PAYLOAD, PullRequestFact, Subject};
use crate::domain::feedback::{Dispatch, FeedbackStatus, Heard, ITERATED, Reviewed, news};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

/// Remarks named in one `review.dispatched` event, so that its payload stays below the limit.
const NAMES_PER_EVENT: usize = 500;

/// The agents that begin anew: of a run that has worked, those that were ever started, in these workspaces or in all. Who
/// was stopped stays so where another agent of his workspace begins.
///
/// # Errors
/// A refusal where the run is in nobody's hands to begin anew, or nobody was ever started.
pub fn begin_anew<'a>(
    run: &Run,
    agents: impl IntoIterator<Item = &'a Agent>,
    workspaces: &[String],
) -> Result<Vec<&'a Agent>, Refusal> {
    let allowed = run.status.next_commands();
    let legal = match run.status {
        RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Completed => true,
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Closing
        | RunStatus::Closed => false,
    };
    if !legal {
        return Err(Refusal::illegal(
            format!("run {} is {}: it does not begin anew", run.id(), run.status),
            run.status.word(),
            allowed.to_vec(),
        )
        .hint(format!("legal now: {}", allowed.join(", "))));
    }
    let meant = |agent: &&Agent| workspaces.is_empty() || workspaces.contains(&agent.key.workspace);
    let all: Vec<&Agent> = agents.into_iter().filter(meant).filter(|agent| agent.launch > 0).collect();
    // Who was stopped with his run was not stopped for himself.
    let alone = run.status != RunStatus::Stopped;
    let stays = |agent: &Agent| alone && agent.status == AgentStatus::Stopped && !agent.start_due();
    let goes_on = |place: &str| all.iter().any(|other| other.key.workspace == place && !stays(other));
    let begins = |agent: &&Agent| !stays(agent) || !goes_on(&agent.key.workspace);
    let meant: Vec<&Agent> = all.iter().copied().filter(begins).collect();
    if meant.is_empty() {
        return Err(Refusal::illegal(
            format!("no agent of run {} was ever started", run.id()),
            run.status.word(),
            allowed.to_vec(),
        )
        .hint(format!("metawsm resume --run-id {} carries the plan on", run.id())));
    }
    Ok(meant)
}

/// The next epoch: agents are started again, and what they said and asked before does not count for it (D4).
pub(super) fn iterate(scene: &Scene, run: &Run, wish: &Iterate, context: &Context) -> Result<Vec<Draft>, Refusal> {
    super::run::not_cleaned_up(scene, run)?;
    let agents = begin_anew(run, scene.agents_of(run.id()), &wish.workspaces)?;
    let reason = shortened(&format!("{ITERATED}{}", wish.words));
    // Nobody is told of what is said in a workspace where nobody begins.
    let begins = |one: &&Dispatch| agents.iter().any(|agent| agent.key.workspace == one.workspace);
    let mut drafts = dispatched(scene, run, &wish.dispatches.iter().filter(begins).collect::<Vec<_>>())?;
    if !run.status.at_work() {
        let fact = Fact::RunTransitioned { from: run.status, to: RunStatus::Running, reason: reason.clone() };
        drafts.push(Draft::new(run_subject(run.id()), fact));
    }
    for agent in agents {
        drafts.extend(hold::release(agent, Some("its run begins anew")));
        let fact = Fact::AgentRestarted {
            launch: agent.launch + 1,
            epoch: agent.epoch + 1,
            reason: reason.clone(),
            // Only a human forgives restarts.
            free: context.actor.kind != ActorType::Operator,
            server_lost: false,
            anew: true,
            cooldown_until: None,
        };
        drafts.push(Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact));
        drafts.extend(ending(agent));
    }
    Ok(drafts)
}

/// What is queued of these remarks. Where none is, somebody else has told the agents.
fn dispatched(scene: &Scene, run: &Run, dispatches: &[&Dispatch]) -> Result<Vec<Draft>, Refusal> {
    let mut drafts = Vec::new();
    for one in dispatches {
        let key = |id: &String| (run.id().to_owned(), one.workspace.clone(), one.repo.clone(), id.clone());
        let queued = |id: &&String| {
            scene.feedback.get(&key(id)).is_some_and(|feedback| feedback.status == FeedbackStatus::Queued)
        };
        let items: Vec<String> = one.items.iter().filter(queued).cloned().collect();
        for items in items.chunks(NAMES_PER_EVENT) {
            let fact = Fact::ReviewDispatched { repo: one.repo.clone(), items: items.to_vec() };
            drafts.push(Draft::new(subject(run, &one.workspace), fact));
        }
    }
    if drafts.is_empty() && !dispatches.is_empty() {
        let allowed = run.status.next_commands();
        return Err(Refusal::illegal(
            format!("the agents of run {} were told of this feedback already", run.id()),
            run.status.word(),
            allowed.to_vec(),
        )
        .hint("metawsm review sync looks whether there is more"));
    }
    Ok(drafts)
}

/// What reviewers said that is news, and where their pull request stands. What was seen of another one than is known by
/// now is of no concern: somebody has opened another meanwhile.
pub(super) fn synced(scene: &Scene, run: &Run, seen: &Reviewed) -> Vec<Draft> {
    let of = (run.id().to_owned(), seen.workspace.clone(), seen.repo.clone());
    let Some(request) = scene.pull_requests.get(&of).filter(|known| known.number == seen.number) else {
        return Vec::new();
    };
    // Only what is asked for there: what was pushed meanwhile is known better here.
    let now = PullRequestFact {
        state: seen.state.unwrap_or(request.state),
        title: seen.title.clone().unwrap_or_else(|| request.title.clone()),
        draft: seen.draft.unwrap_or(request.draft),
        ..PullRequestFact::of(request)
    };
    let mut drafts = Vec::new();
    if now != PullRequestFact::of(request) {
        let fact = Fact::GitPrUpdated { request: now, on_behalf_of: None };
        drafts.push(Draft::new(subject(run, &seen.workspace), fact));
    }
    let known = |id: &str| {
        let (run_id, workspace, repo) = of.clone();
        let known = scene.feedback.get(&(run_id, workspace, repo, id.to_owned()))?;
        Some((known.status, known.remark.body.clone()))
    };
    let fact = |items| Fact::ReviewSynced { repo: seen.repo.clone(), number: seen.number, items };
    let parts = parts(news(&known, seen.number, &seen.heard));
    drafts.extend(parts.into_iter().map(|items| Draft::new(subject(run, &seen.workspace), fact(items))));
    drafts
}

/// A human is called to it that nobody knows what reviewers say: once, as long as that lasts.
pub(super) fn unheard(
    scene: &Scene,
    run: &Run,
    (why, since): (&str, Moment),
    due_at: Option<Moment>,
    new_id: &str,
) -> Vec<Draft> {
    let mine = |call: &&Escalation| {
        call.run_id.as_deref() == Some(run.id()) && call.kind == Kind::NotActed && call.target == REVIEWS_TARGET
    };
    let standing = scene.escalations.iter().filter(mine).any(Escalation::stands);
    if standing || run.status != RunStatus::Completed {
        return Vec::new();
    }
    let call = Call {
        about: &run_subject(run.id()),
        kind: Kind::NotActed,
        target: REVIEWS_TARGET,
        cause: &format!("unheard since {since}"),
        reason: &format!("what reviewers say cannot be fetched: {why}"),
        evidence: json!({ "signal": "reviews", "source": "gh", "since": since }),
        due_at,
    };
    call_human(scene, call, new_id).into_iter().collect()
}

/// Parts that each fit into an event.
fn parts(items: Vec<Heard>) -> Vec<Vec<Heard>> {
    let mut parts: Vec<Vec<Heard>> = Vec::new();
    let mut size = usize::MAX;
    for item in items {
        let more = serde_json::to_string(&item).map_or(0, |text| text.len());
        // Some room is left for what stands around the remarks.
        if size.saturating_add(more) > LARGEST_PAYLOAD / 2 {
            parts.push(Vec::new());
            size = 0;
        }
        size += more;
        parts.last_mut().into_iter().for_each(|part| part.push(item.clone()));
    }
    parts
}

fn subject(run: &Run, workspace: &str) -> Subject {
    Subject {
        run_id: Some(run.id().to_owned()),
        ticket: run.workspace(workspace).map(|workspace| workspace.ticket.clone()),
        workspace: Some(workspace.to_owned()),
        ..Subject::default()
    }
}

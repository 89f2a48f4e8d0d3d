//! What comes of a rule's conclusion, and of a suggestion that a human settles.

use super::{agent, escalation, run, shortened};
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::command::SuggestionWish;
use crate::domain::escalation::{Escalation, EscalationState, Kind, Suggestion, SuggestionState};
use crate::domain::event::{Draft, Fact, Subject};
use crate::domain::operator::{
    Action, Conclusion, Decision, Intent, agent_cause, failure_cause, is_unhealthy, occurrence,
};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

use serde_json::Value;

/// The ids that new rows get.
pub(super) struct NewIds<'a> {
    pub escalation: &'a str,
    pub suggestion: &'a str,
}

/// The facts that follow from a conclusion: none where it is what was concluded before, or is no longer so.
pub(super) fn decide(scene: &Scene, conclusion: &Conclusion, ids: &NewIds<'_>) -> Result<Vec<Draft>, Refusal> {
    let (run_id, decision) = (conclusion.about.run_id.as_deref(), &conclusion.decision);
    let run = match run_id {
        Some(id) => Some(scene.runs.get(id).ok_or_else(|| Refusal::not_found(format!("no run {id}")))?),
        None => None,
    };
    // The rules looked without the lock: what they saw may have passed.
    if !still_so(scene, run, conclusion) {
        return Ok(Vec::new());
    }
    let effects = match (decision.action, run) {
        (Action::Act, Some(run)) => act(scene, run, &conclusion.about, decision)?,
        (Action::Suggest, _) => {
            let offered = suggest(scene, &conclusion.about, decision, ids.suggestion);
            let unheeded = not_acted(scene, conclusion, ids.escalation).filter(|_| !offered.is_empty());
            offered.into_iter().chain(unheeded).collect()
        }
        (Action::Act | Action::Escalate | Action::Nothing, _) => Vec::new(),
    };
    let call = conclusion.call.filter(|_| decision.action != Action::Nothing);
    let called = call.and_then(|(kind, due_at)| {
        let call = Call {
            about: &conclusion.about,
            kind,
            target: &decision.target,
            cause: &decision.cause,
            reason: &decision.reason,
            evidence: decision.evidence.clone(),
            due_at,
        };
        call_human(scene, call, ids.escalation)
    });
    let passed = superseded(scene, conclusion);
    let last = scene.decisions.get(&(run_id.unwrap_or_default().to_owned(), decision.target.clone()));
    let news = last.is_none_or(|last| !decision.same_as(&last.decision));
    let decided = news.then(|| Draft::new(conclusion.about.clone(), Fact::OperatorDecided(bounded(decision))));
    Ok(decided.into_iter().chain(effects).chain(called).chain(passed).collect())
}

/// The end of the call that nothing starts an agent again, where a rule now would.
fn superseded(scene: &Scene, conclusion: &Conclusion) -> Vec<Draft> {
    let (about, decision) = (&conclusion.about, &conclusion.decision);
    if decision.intent != Intent::AutoRestart || decision.action != Action::Suggest {
        return Vec::new();
    }
    let blocked = scene.escalations.iter().filter(|call| {
        call.kind == Kind::Blocked && call.stands() && (&call.run_id, &call.target) == (&about.run_id, &decision.target)
    });
    blocked.map(escalation::ended).collect()
}

/// Text from outside, such as the words of a question, is kept within bounds.
fn bounded(decision: &Decision) -> Decision {
    Decision { reason: shortened(&decision.reason), ..decision.clone() }
}

fn agent_of<'a>(scene: &'a Scene, about: &Subject) -> Option<&'a Agent> {
    let key = AgentKey::new(about.run_id.as_ref()?, about.workspace.as_ref()?, about.agent_name.as_ref()?);
    scene.agents.get(&key)
}

/// Whether the occurrence that was seen is still there.
fn still_so(scene: &Scene, run: Option<&Run>, conclusion: &Conclusion) -> bool {
    let (about, decision) = (&conclusion.about, &conclusion.decision);
    // What was asked outside of every run waits whatever runs do.
    let looked_after = run.is_none_or(|run| run.status.at_work());
    match decision.intent {
        Intent::EscalateGuidance => looked_after && escalation::question_waits(scene, &decision.target),
        Intent::EscalateInput if conclusion.call.is_some_and(|(kind, _)| kind == Kind::Limit) => {
            escalation::limit_holds(scene, &decision.target)
        }
        Intent::EscalateInput => looked_after && agent_of(scene, about).is_some_and(Agent::waits_for_key),
        Intent::EscalateSla => looked_after && escalation::thread_waits(scene, about.thread_id.as_ref()),
        Intent::EscalateBlocked if conclusion.call.is_some_and(|(kind, _)| kind == Kind::Step) => {
            run.is_some_and(|run| run.status.at_work() && escalation::step_failed(scene, run, &decision.target))
        }
        Intent::AutoRestart | Intent::EscalateBlocked => {
            looked_after
                && agent_of(scene, about)
                    .is_some_and(|agent| is_unhealthy(agent) && agent_cause(agent) == decision.cause)
        }
        Intent::AutoStopStale => run.is_some_and(|run| {
            run.status == RunStatus::Running && escalation::lifeless_cause(scene, run).as_ref() == Some(&decision.cause)
        }),
        Intent::EscalateFailed => run.is_some_and(|run| {
            run.status == RunStatus::Failed
                && failure_cause(&scene.agents_of(run.id()), &scene.steps_of(run.id())) == decision.cause
        }),
        Intent::CommitReady | Intent::PrReady | Intent::ReviewFeedbackReady => {
            run.is_some_and(|run| escalation::holds_work(scene, run, &decision.target))
        }
        Intent::ResetRestarts => agent_of(scene, about)
            .is_some_and(|agent| agent.well_since.is_some_and(|since| decision.cause == format!("well since {since}"))),
    }
}

fn act(scene: &Scene, run: &Run, about: &Subject, decision: &Decision) -> Result<Vec<Draft>, Refusal> {
    let (intent, reason) = (decision.intent, decision.reason.as_str());
    let fact = Fact::OperatorActed { intent, target: decision.target.clone(), reason: shortened(reason) };
    let mut drafts = vec![Draft::new(about.clone(), fact)];
    drafts.extend(effect(scene, run, about, intent, reason, decision.cooldown_until)?);
    Ok(drafts)
}

fn effect(
    scene: &Scene,
    run: &Run,
    about: &Subject,
    intent: Intent,
    reason: &str,
    cooldown_until: Option<Moment>,
) -> Result<Vec<Draft>, Refusal> {
    match intent {
        Intent::AutoRestart => match agent_of(scene, about) {
            Some(found) => agent::restart(run, found, &shortened(reason), true, cooldown_until),
            None => Ok(Vec::new()),
        },
        Intent::AutoStopStale => run::stop(scene, run, &format!("stopped by rule: {}", shortened(reason))),
        // A call has no other effect, forgetting restarts is what its fact says, and what is done in a worktree is
        // told by those who do it.
        Intent::EscalateGuidance
        | Intent::EscalateInput
        | Intent::EscalateBlocked
        | Intent::EscalateSla
        | Intent::EscalateFailed
        | Intent::CommitReady
        | Intent::PrReady
        | Intent::ReviewFeedbackReady
        | Intent::ResetRestarts => Ok(Vec::new()),
    }
}

/// One suggestion at a time for each subject, and none again for what a human dismissed.
fn suggest(scene: &Scene, about: &Subject, decision: &Decision, id: &str) -> Vec<Draft> {
    let same = |suggestion: &&Suggestion| {
        (&suggestion.run_id, &suggestion.target, suggestion.intent)
            == (&about.run_id, &decision.target, decision.intent)
    };
    // Whoever accepts is to have read what is said by then.
    let outdated = |suggestion: &&Suggestion| {
        decision.intent == Intent::ReviewFeedbackReady
            && suggestion.state == SuggestionState::Open
            && suggestion.cause != decision.cause
    };
    let known = scene.suggestions.iter().filter(same).filter(|suggestion| !outdated(suggestion)).any(|suggestion| {
        match suggestion.state {
            SuggestionState::Open => true,
            // What was to be done in a worktree and is still to be done did not come through.
            SuggestionState::Accepted => suggestion.cause == decision.cause && !decision.intent.hands_on_work(),
            SuggestionState::Dismissed => suggestion.cause == decision.cause,
            SuggestionState::Withdrawn => false,
        }
    });
    let outdated = scene.suggestions.iter().filter(same).filter(outdated);
    let mut drafts: Vec<Draft> = outdated
        .map(|one| escalation::settled(one, SuggestionState::Withdrawn, Some("something else was said since")))
        .collect();
    if known {
        return drafts;
    }
    let fact = Fact::OperatorSuggested {
        suggestion_id: id.to_owned(),
        intent: decision.intent,
        target: decision.target.clone(),
        cause: decision.cause.clone(),
        reason: shortened(&decision.reason),
        evidence: decision.evidence.clone(),
    };
    drafts.push(Draft::new(about.clone(), fact));
    drafts
}

/// So many times in a row the same may be offered and not done before that itself is told.
const UNHEEDED: usize = 5;

/// "Decided N times, acted 0": a human is called to what was offered again and again about one launch of an agent, or one
/// time in which nothing of a run lived, and never done. What was done in another way, or is not wanted, is no such thing.
fn not_acted(scene: &Scene, conclusion: &Conclusion, new_id: &str) -> Option<Draft> {
    let (about, decision) = (&conclusion.about, &conclusion.decision);
    // Offers about worktrees are withdrawn when a human commits or asks for the pull request: that is doing it.
    if decision.intent.hands_on_work() {
        return None;
    }
    let same = |offer: &&Suggestion| {
        (&offer.run_id, &offer.target, offer.intent) == (&about.run_id, &decision.target, decision.intent)
    };
    let of_what = occurrence(decision.intent, &decision.cause);
    let unheeded: Vec<&Suggestion> = scene
        .suggestions
        .iter()
        .filter(same)
        .filter(|offer| offer.state == SuggestionState::Withdrawn && occurrence(offer.intent, &offer.cause) == of_what)
        .collect();
    // The one that is just made is not among them yet.
    let times = unheeded.len() + 1;
    let first = unheeded.iter().map(|offer| offer.created_at).min()?;
    if times < UNHEEDED {
        return None;
    }
    let call = Call {
        about,
        kind: Kind::NotActed,
        target: &decision.target,
        cause: &not_done(of_what, first),
        reason: &format!("{} was suggested {times} times and never done: {}", decision.intent.word(), decision.reason),
        evidence: serde_json::json!({ "signal": "suggestions", "source": "journal", "times": times, "since": first }),
        due_at: conclusion.call_again,
    };
    call_human(scene, call, new_id)
}

fn not_done(of_what: &str, first: Moment) -> String {
    format!("{of_what}: not done since {first}")
}

/// Whether what was offered again and again may still be done: it is about the same launch, or the same lifeless time.
pub(super) fn still_not_done(scene: &Scene, run: &Run, call: &Escalation) -> bool {
    let about = call.cause.rsplit_once(": not done since ").map_or(call.cause.as_str(), |(about, _)| about);
    match agent_of(scene, &call.subject()) {
        Some(agent) => {
            let over = matches!(agent.status, AgentStatus::Stopping | AgentStatus::Stopped | AgentStatus::Done);
            !over && !agent.start_due() && about == format!("launch {}", agent.launch)
        }
        None => escalation::lifeless_cause(scene, run).is_some_and(|cause| cause == about),
    }
}

/// What a human is called to.
pub(super) struct Call<'a> {
    pub about: &'a Subject,
    pub kind: Kind,
    pub target: &'a str,
    pub cause: &'a str,
    pub reason: &'a str,
    pub evidence: Value,
    pub due_at: Option<Moment>,
}

/// Opens an escalation, tells the one that stands what is new, or leaves it where a human has settled just this.
pub(super) fn call_human(scene: &Scene, call: Call<'_>, new_id: &str) -> Option<Draft> {
    let reason = shortened(call.reason);
    let (mut id, mut update) = (new_id, false);
    for escalation in scene.escalations.iter() {
        let same =
            escalation.run_id == call.about.run_id && escalation.kind == call.kind && escalation.target == call.target;
        if same && escalation.stands() {
            // The same wait, longer: who knows of it is not told until it is due, and then by its being due.
            let known = call.kind == Kind::Sla && escalation.state == EscalationState::Acknowledged;
            if escalation.cause == call.cause && (escalation.reason == reason || known) {
                return None;
            }
            (id, update) = (&escalation.escalation_id, true);
        } else if same && escalation.by_human && escalation.cause == call.cause {
            return None;
        }
    }
    let fact = Fact::EscalationOpened {
        escalation_id: id.to_owned(),
        kind: call.kind,
        severity: call.kind.severity(),
        target: call.target.to_owned(),
        cause: call.cause.to_owned(),
        reason,
        evidence: call.evidence,
        due_at: call.due_at,
        update,
    };
    Some(Draft::new(call.about.clone(), fact))
}

/// A human accepts or dismisses a suggestion. One whose cause is gone is withdrawn instead of accepted.
pub(super) fn settle_suggestion(
    scene: &Scene,
    suggestion_id: &str,
    wish: &SuggestionWish,
) -> Result<Vec<Draft>, Refusal> {
    let suggestion = scene.suggestions.get(suggestion_id).ok_or_else(|| {
        Refusal::not_found(format!("no suggestion {suggestion_id}")).hint("metawsm suggestions lists them")
    })?;
    match (suggestion.state, wish) {
        (SuggestionState::Open, SuggestionWish::Accept { cooldown_until }) => {
            accept(scene, suggestion, *cooldown_until)
        }
        (SuggestionState::Open, SuggestionWish::Dismiss) => {
            Ok(vec![escalation::settled(suggestion, SuggestionState::Dismissed, None)])
        }
        (SuggestionState::Open, SuggestionWish::Withdraw { reason }) => {
            Ok(vec![escalation::settled(suggestion, SuggestionState::Withdrawn, Some(reason))])
        }
        // Somebody was quicker.
        (_, SuggestionWish::Withdraw { .. }) => Ok(Vec::new()),
        (SuggestionState::Accepted, SuggestionWish::Accept { .. })
        | (SuggestionState::Dismissed, SuggestionWish::Dismiss) => Ok(Vec::new()),
        (SuggestionState::Accepted | SuggestionState::Dismissed | SuggestionState::Withdrawn, _) => {
            Err(Refusal::illegal(
                format!("suggestion {suggestion_id} is {}", suggestion.state.word()),
                suggestion.state.word(),
                Vec::<String>::new(),
            )
            .hint("metawsm suggestions lists those that are open"))
        }
    }
}

fn accept(scene: &Scene, suggestion: &Suggestion, cooldown_until: Option<Moment>) -> Result<Vec<Draft>, Refusal> {
    let run = suggestion.run_id.as_ref().and_then(|id| scene.runs.get(id));
    let Some(run) = run.filter(|_| escalation::still_wanted(scene, suggestion)) else {
        return Ok(vec![escalation::settled(suggestion, SuggestionState::Withdrawn, Some("its cause is gone"))]);
    };
    let about = suggestion.subject();
    let acted = Fact::OperatorActed {
        intent: suggestion.intent,
        target: suggestion.target.clone(),
        reason: suggestion.reason.clone(),
    };
    let mut drafts =
        vec![escalation::settled(suggestion, SuggestionState::Accepted, None), Draft::new(about.clone(), acted)];
    drafts.extend(effect(scene, run, &about, suggestion.intent, &suggestion.reason, cooldown_until)?);
    Ok(drafts)
}

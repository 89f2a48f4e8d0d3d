//! Events in words, for people: one plain sentence each, in the past tense.

use super::text::one_line;
use crate::domain::adviser::{Advice, Advised, Aim, Outcome, Rejection, Tally};
use crate::domain::agent::AgentStatus;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::escalation::Suggestion;
use crate::domain::event::{Event, Fact};
use crate::domain::feedback::ITERATED;
use crate::domain::operator::{Action, Decision, Intent, RUN_TARGET, repo_of};
use crate::domain::outbox::{CALL_NOTED, DOCS_SYNC, NOTIFY};
use crate::domain::plan::StepStatus;
use crate::domain::run::RunStatus;
use crate::domain::time::age;

/// An event for a person; empty for what is too small to tell.
pub fn words_of(event: &Event) -> String {
    let agent = event.subject.agent_name.as_deref().unwrap_or_default();
    let who = event.actor.name.as_str();
    let text = match &event.fact {
        Fact::RunTransitioned { from, to, reason } => run(*from, *to, reason),
        Fact::StepTransitioned { to: StepStatus::Failed, error, index, .. } => {
            because(&format!("step {index} failed"), error.as_deref().unwrap_or_default())
        }
        Fact::StepTransitioned { to: StepStatus::Done, index, .. } => format!("step {index} was done"),
        Fact::AgentRestarted { anew: true, reason, .. } => {
            because(&format!("{agent} was to begin anew"), reason.strip_prefix(ITERATED).unwrap_or(reason))
        }
        Fact::AgentTransitioned { to: AgentStatus::Running, launch: Some(launch), .. } => {
            format!("{agent} was started (launch {launch})")
        }
        Fact::AgentTransitioned { to, reason, .. } => agent_turned(agent, *to, reason),
        Fact::ThreadOpened { title, control: false, .. } => {
            format!("{} asked: {title}", if agent.is_empty() { who } else { agent })
        }
        Fact::PostAdded { body, .. } => format!("{who} wrote: {body}"),
        Fact::WorkspaceCreated { path, .. } => format!("the workspace was made in {path}"),
        Fact::DocsSeeded { dir, .. } => format!("the ticket's docs were put into {dir}"),
        Fact::GitCommitted { repo, message, own: false, .. } => format!("{repo} got a commit: {message}"),
        Fact::GitPrOpened { request, .. } => {
            format!("pull request #{} of {} was opened: {}", request.number, request.repo, request.title)
        }
        Fact::GitPrUpdated { request, .. } if !request.state.is_open() => {
            format!("pull request #{} of {} was {}", request.number, request.repo, request.state.word())
        }
        Fact::GitPrUpdated { request, .. } => {
            format!("pull request #{} of {} was brought up to date", request.number, request.repo)
        }
        Fact::ReviewSynced { repo, number, items } => match items.as_slice() {
            [one] => {
                let (who, place) = (&one.remark.author, one.remark.place());
                format!(
                    "{who} said something to pull request #{number} of {repo}, {place}: {}",
                    one.remark.first_line()
                )
            }
            many => format!("reviewers said {} things to pull request #{number} of {repo}", many.len()),
        },
        Fact::ReviewDispatched { repo, items } if items.len() == 1 => {
            format!("the agents were told of a remark on {repo}")
        }
        Fact::ReviewDispatched { repo, items } => format!("the agents were told of {} remarks on {repo}", items.len()),
        Fact::GitMerged { repo, base, how, .. } if how == "up_to_date" => {
            format!("{repo} held nothing that {base} did not have")
        }
        Fact::GitMerged { repo, base, .. } => format!("{repo} was merged into {base}"),
        Fact::AgentProgressed { note: Some(note), .. } => format!("{agent} reported: {note}"),
        Fact::DeliveryQueued { from, .. } => format!("text of {} for {agent} waited to be typed", from.author_name),
        Fact::DeliveryTyped { .. } => format!("a text was typed to {agent}"),
        Fact::DeliverySubmitted { .. } => format!("{agent} took a text"),
        Fact::DeliveryFailed { reason, .. } => because(&format!("a text did not reach {agent}"), reason),
        Fact::AgentQuietDeclared { until, reason } if *until > event.occurred_at => {
            because(&format!("{agent} announced silence until {}", until.clock(event.occurred_at)), reason)
        }
        Fact::AgentQuietDeclared { .. } => format!("{agent} is to be heard again"),
        Fact::AgentHeld { by, reason } => {
            because(&format!("{by} held {agent}: rules leave it alone"), reason.as_deref().unwrap_or_default())
        }
        Fact::AgentReleased { reason: Some(reason) } => format!("{agent} was held no longer: {reason}"),
        Fact::AgentReleased { reason: None } => format!("{who} released {agent}: rules look after it again"),
        Fact::PolicyChanged { mode, changed, .. } if changed.is_empty() => {
            format!("the rules go by the policy of this home, mode {}", mode.word())
        }
        Fact::PolicyChanged { mode, changed, .. } => {
            format!("the policy changed: {}; mode {}", changed.join(", "), mode.word())
        }
        Fact::OutboxDead { key, error, .. } => format!("what was to be done for {key} was given up: {error}"),
        Fact::OperatorDecided(Decision { action: Action::Nothing, intent, due_at: Some(due), reason, .. }) => {
            let span = age(due.since(event.occurred_at));
            format!("rule {} was going to {} in {span}: {reason}", intent.rule(), aim(*intent, agent))
        }
        Fact::OperatorActed { intent, reason, target } => {
            format!("rule {} {}: {reason}", intent.rule(), done(*intent, object(agent, target)))
        }
        Fact::OperatorAdvised(advised) => format!("the adviser {}", advised_words(advised)),
        Fact::OperatorSuggested { intent, reason, target, .. } => {
            format!("rule {} suggested to {}: {reason}", intent.rule(), aim(*intent, object(agent, target)))
        }
        Fact::SuggestionSettled { to, .. } => format!("the suggestion was {}", to.word()),
        Fact::EscalationOpened { reason, .. } => format!("a human was called: {reason}"),
        Fact::EscalationNotified { times, .. } => format!("a human was called again ({times}×)"),
        Fact::EscalationAcknowledged { note, .. } => {
            because(&format!("{who} acknowledged the call"), note.as_deref().unwrap_or_default())
        }
        Fact::EscalationResolved { note, .. } => because("the call was settled", note.as_deref().unwrap_or_default()),
        _ => return String::new(),
    };
    one_line(&text)
}

/// How a text comes into an agent's session, in words.
pub fn way(delivery: &Delivery) -> String {
    let name = &delivery.key.name;
    match delivery.state {
        DeliveryState::Queued => format!("waits to be typed to {name}"),
        DeliveryState::Typed => format!("typed to {name}, not seen to be taken"),
        DeliveryState::Submitted => format!("{name} has it"),
        DeliveryState::Failed => {
            let why = one_line(delivery.reason.as_deref().unwrap_or_default());
            because(&format!("did not reach {name}"), &why)
        }
    }
}

/// What a suggestion offers, in words.
pub fn offer(suggestion: &Suggestion) -> String {
    let agent = suggestion.agent.as_deref().unwrap_or("the agent");
    let what = aim(suggestion.intent, object(agent, &suggestion.target));
    let restarts = &suggestion.evidence["restarts"];
    if suggestion.evidence["server_lost"].is_string() {
        return format!("{what} (not counted)");
    }
    match (suggestion.intent, restarts["used"].as_u64(), restarts["budget"].as_u64()) {
        (Intent::AutoRestart, Some(used), Some(budget)) => format!("{what} ({} of {budget})", used + 1),
        (_, _, _) => what,
    }
}

fn advised_words(advised: &Advised) -> String {
    advice_words(advised.outcome, advised.advice.as_ref(), advised.rejection.as_ref())
}

/// What the adviser said and what came of it, in words that follow its name.
pub fn advice_words(outcome: Outcome, advice: Option<&Advice>, rejection: Option<&Rejection>) -> String {
    let said = advice.map(|advice| (would(advice), because(&format!(" ({} sure)", advice.confidence), &advice.reason)));
    match (outcome, said, rejection) {
        (Outcome::Agrees, Some((_, why)), _) => format!("agrees{why}"),
        (Outcome::Escalated, Some((would, why)), _) => format!("{would}, and a human was called{why}"),
        (_, Some((would, why)), Some(no)) => format!("{would}{why}; nothing came of it: {}", no.detail),
        (_, None, Some(no)) => format!("was of no use: {}", no.detail),
        (_, Some((would, why)), None) => format!("{would}{why}"),
        (_, None, None) => "said nothing".to_owned(),
    }
}

/// What the adviser has cost, in words.
pub fn cost(tally: &Tally) -> String {
    let questions = if tally.questions == 1 { "question" } else { "questions" };
    format!(
        "{} {questions}, {} of which nothing came, {} in all, {} KiB given, {} KiB written",
        tally.questions,
        tally.rejected,
        age(std::time::Duration::from_millis(tally.duration_ms)),
        tally.bytes_in.div_ceil(1024),
        tally.bytes_out.div_ceil(1024),
    )
}

/// What is to be done outside by a letter, in words.
pub fn errand(topic: &str) -> &str {
    match topic {
        DOCS_SYNC => "write an answer into the changelog",
        CALL_NOTED => "write a call into the changelog",
        NOTIFY => "run the program that calls you",
        other => other,
    }
}

/// What the adviser wants, in words.
fn would(advice: &Advice) -> String {
    // Of an agent its name is enough.
    let what = advice.target.strip_prefix("agent:").and_then(|key| key.split('/').nth(1));
    match (advice.intent, what) {
        (Aim::Noop, _) => "would do nothing".to_owned(),
        (Aim::Rule(Intent::AutoRestart), Some(agent)) => format!("would restart {agent}"),
        (Aim::Rule(Intent::AutoStopStale), _) => "would stop the run".to_owned(),
        (Aim::Rule(_), what) if advice.intent.only_calls() => {
            format!(
                "would call a human to {}",
                what.unwrap_or(if advice.target == RUN_TARGET { "the run" } else { &advice.target })
            )
        }
        (Aim::Rule(intent), _) => format!("would {} {}", intent.word(), advice.target),
    }
}

/// Of a repository its name, else the agent.
fn object<'a>(agent: &'a str, target: &'a str) -> &'a str {
    repo_of(target).map_or(agent, |(_, repo)| repo)
}

/// What a rule wants, in words; of an agent, or of a repository.
fn aim(intent: Intent, agent: &str) -> String {
    match intent {
        Intent::EscalateGuidance => "call a human to a question".to_owned(),
        Intent::EscalateInput if agent.is_empty() => "call a human to a limit".to_owned(),
        Intent::EscalateInput => format!("call a human to the screen of {agent}"),
        Intent::AutoRestart => format!("restart {agent}"),
        Intent::EscalateBlocked if agent.is_empty() => "call a human to a step".to_owned(),
        Intent::EscalateBlocked => format!("call a human to {agent}"),
        Intent::AutoStopStale => "stop the run".to_owned(),
        Intent::EscalateSla => "call a human to a thread that waits".to_owned(),
        Intent::EscalateFailed => "call a human to the failed run".to_owned(),
        Intent::CommitReady => format!("commit {agent}"),
        Intent::PrReady => format!("hand on {agent} in a pull request"),
        Intent::ReviewFeedbackReady => format!("begin anew with what reviewers said to {agent}"),
        Intent::ResetRestarts => format!("forget the restarts of {agent}"),
    }
}

/// What a rule did, in words.
fn done(intent: Intent, agent: &str) -> String {
    match intent {
        Intent::AutoRestart => format!("restarted {agent}"),
        Intent::AutoStopStale => "stopped the run".to_owned(),
        Intent::CommitReady => format!("set about committing {agent}"),
        Intent::PrReady => format!("set about a pull request for {agent}"),
        Intent::ReviewFeedbackReady => format!("told the agents what reviewers said to {agent}"),
        Intent::ResetRestarts => format!("forgot the restarts of {agent}"),
        Intent::EscalateGuidance
        | Intent::EscalateInput
        | Intent::EscalateBlocked
        | Intent::EscalateFailed
        | Intent::EscalateSla => "called a human".to_owned(),
    }
}

fn because(what: &str, why: &str) -> String {
    if why.trim().is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

fn run(from: RunStatus, to: RunStatus, reason: &str) -> String {
    match (from, to) {
        (_, RunStatus::Created) => because("the run was written down", reason),
        (_, RunStatus::Planning) => "the run was being planned".to_owned(),
        (RunStatus::Created | RunStatus::Planning, RunStatus::Running) => "the run began".to_owned(),
        (RunStatus::AwaitingGuidance, RunStatus::Running) => because("the run went on", reason),
        (_, RunStatus::Running) if reason.starts_with(ITERATED) => {
            because("the run began anew", reason.strip_prefix(ITERATED).unwrap_or_default())
        }
        (RunStatus::Completed, RunStatus::Running) => because("the run went on", reason),
        (_, RunStatus::Running) => "the run was resumed".to_owned(),
        (_, RunStatus::AwaitingGuidance) => "the run waited for an answer".to_owned(),
        (_, RunStatus::Paused) => because("the run was paused", reason),
        (_, RunStatus::Failed) => because("the run failed", reason),
        (_, RunStatus::Stopping) => because("the run was told to stop", reason),
        (_, RunStatus::Stopped) => "the run was stopped".to_owned(),
        (_, RunStatus::Closing) => "the run passed its gates and was being closed".to_owned(),
        (_, RunStatus::Closed) => "the run was closed".to_owned(),
        (RunStatus::Closing, RunStatus::Completed) => because("the run was not closed", reason),
        (_, RunStatus::Completed) => because("the run was completed", reason),
    }
}

fn agent_turned(agent: &str, to: AgentStatus, reason: &str) -> String {
    match to {
        AgentStatus::Pending => because(&format!("{agent} was to be started"), reason),
        AgentStatus::Running => format!("{agent} was at work again"),
        AgentStatus::Idle => format!("{agent} became quiet"),
        AgentStatus::Stalled => because(&format!("{agent} stalled"), reason),
        AgentStatus::Dead => because(&format!("{agent} died"), reason),
        AgentStatus::Failed => because(&format!("{agent} failed"), reason),
        AgentStatus::Stopping => format!("{agent} was told to stop"),
        AgentStatus::Stopped => format!("{agent} was stopped"),
        AgentStatus::Done => format!("{agent} was done"),
    }
}

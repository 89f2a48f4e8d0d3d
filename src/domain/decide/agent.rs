//! Wishes about agents.

use super::{Context, agent_subject, delivery, hold, may_run, run_subject, shortened};
use std::time::Duration;

use crate::domain::actor::ActorType;
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Completion, Exit, Health, WaitingFor};
use crate::domain::command::AgentWish;
use crate::domain::event::{Draft, Fact, LARGEST_PAYLOAD};
use crate::domain::health::is_news;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunMode, RunStatus};
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

use serde_json::Value;

pub(super) fn decide(
    scene: &Scene,
    key: &AgentKey,
    wish: &AgentWish,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    let run = scene.runs.get(&key.run_id).ok_or_else(|| Refusal::not_found(format!("no run {}", key.run_id)))?;
    let agent = scene.agents.get(key).ok_or_else(|| {
        Refusal::not_found(format!("run {} has no agent {} in workspace {}", key.run_id, key.name, key.workspace))
            .hint("metawsm agents lists them")
    })?;
    if matches!(wish, AgentWish::Stop | AgentWish::Restart { .. } | AgentWish::Hold { .. } | AgentWish::Release) {
        may_run(scene, context)?;
    }
    match wish {
        AgentWish::Started { launch } => started(run, agent, *launch, ""),
        AgentWish::StartedAgain { launch, how, tell } => {
            let mut drafts = started(run, agent, *launch, &format!(": {}", shortened(how)))?;
            // Together with the start, or a crash in between would leave it waiting for a word that never comes.
            let told = tell.as_ref().filter(|_| !drafts.is_empty());
            drafts.extend(told.map(|(id, text)| delivery::queued(agent, id, text, false, &context.actor)));
            Ok(drafts)
        }
        AgentWish::StartFailed { launch, error } => Ok(start_failed(agent, *launch, &shortened(error))),
        AgentWish::Stop => stop(agent),
        AgentWish::Stopped => Ok(stopped(agent)),
        AgentWish::Exited { launch, exit } => Ok(exited(run, agent, *launch, exit)),
        AgentWish::Observed { health, waiting_for, reason, evidence } => {
            Ok(observed(run, agent, *health, *waiting_for, &shortened(reason), evidence))
        }
        AgentWish::Restart { reason, by_rule } => {
            super::run::not_cleaned_up(scene, run)?;
            restart(run, agent, &shortened(reason), *by_rule, None)
        }
        AgentWish::Progressed { source, note, percent } => {
            progressed(agent, source, note.as_deref(), *percent, context)
        }
        AgentWish::Hold { reason } => hold::hold(run, agent, reason.as_deref(), context),
        AgentWish::Release => Ok(hold::release(agent, None)),
        AgentWish::Quiet { until, reason } => quiet(agent, *until, &shortened(reason), context),
    }
}

/// What an agent says of itself is its own affair, or a human's who says it for it.
fn speaks_for(agent: &Agent, context: &Context) -> Result<(), Refusal> {
    let itself = context.identity.as_ref() == Some(&agent.key);
    if itself || (context.identity.is_none() && context.actor.kind == ActorType::Human) {
        return Ok(());
    }
    Err(Refusal::not_allowed(format!("only agent {}, or a human for it, may say that", agent.key.name))
        .hint("in a session leave out --run-id, --workspace and --agent"))
}

/// Its program has to live for it to say anything of what it does.
fn lives(agent: &Agent, what: &str) -> Result<(), Refusal> {
    if agent.status.working() {
        return Ok(());
    }
    Err(Refusal::illegal(
        format!("agent {} is {}: there is {what}", agent.key.name, agent.status),
        agent.status.word(),
        ["restart"],
    ))
}

fn progressed(
    agent: &Agent,
    source: &str,
    note: Option<&str>,
    percent: Option<u8>,
    context: &Context,
) -> Result<Vec<Draft>, Refusal> {
    if context.actor.kind != ActorType::System {
        speaks_for(agent, context)?;
        lives(agent, "no progress to tell of")?;
        if note.is_none_or(|note| note.trim().is_empty()) && percent.is_none() {
            return Err(Refusal::invalid("there is nothing said of the progress").hint("give --note or --percent"));
        }
        if percent.is_some_and(|percent| percent > 100) {
            return Err(Refusal::invalid("a percentage is a whole number from 0 to 100"));
        }
    }
    let fact = Fact::AgentProgressed { source: source.to_owned(), note: note.map(shortened), percent };
    Ok(vec![Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)])
}

/// The longest silence that is taken on trust.
const LONGEST_QUIET: Duration = Duration::from_secs(24 * 3600);

fn quiet(agent: &Agent, until: Moment, reason: &str, context: &Context) -> Result<Vec<Draft>, Refusal> {
    speaks_for(agent, context)?;
    lives(agent, "no silence to announce")?;
    if until.since(context.now) > LONGEST_QUIET {
        return Err(Refusal::invalid("a silence of more than a day cannot be announced")
            .hint("say --for 24h at most, and say it again when it is over"));
    }
    if until <= context.now && agent.quiet.as_ref().is_none_or(|quiet| !quiet.holds(context.now)) {
        return Ok(Vec::new());
    }
    let fact = Fact::AgentQuietDeclared { until, reason: reason.to_owned() };
    Ok(vec![Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)])
}

fn turn(agent: &Agent, from: AgentStatus, to: AgentStatus, reason: &str, launch: Option<u32>) -> Draft {
    let fact = Fact::AgentTransitioned { from, to, reason: reason.to_owned(), launch };
    Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact)
}

fn started(run: &Run, agent: &Agent, launch: u32, how: &str) -> Result<Vec<Draft>, Refusal> {
    if launch <= agent.launch {
        return Ok(Vec::new());
    }
    if !run.status.at_work() {
        return Err(Refusal::illegal(
            format!("run {} is {}: agent {} is not to be started", run.id(), run.status, agent.key.name),
            run.status.word(),
            run.status.next_commands().to_vec(),
        ));
    }
    Ok(begin(agent, launch, &format!("started, launch {launch}{how}")))
}

/// The way to `running` that is legal from where the agent stands.
fn begin(agent: &Agent, launch: u32, reason: &str) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut from = agent.status;
    if from.working() {
        drafts.push(turn(agent, from, AgentStatus::Stopping, "being restarted", None));
        from = AgentStatus::Stopping;
    }
    if from == AgentStatus::Stopping {
        drafts.push(turn(agent, from, AgentStatus::Stopped, "being restarted", None));
        from = AgentStatus::Stopped;
    }
    drafts.push(turn(agent, from, AgentStatus::Running, reason, Some(launch)));
    drafts
}

fn start_failed(agent: &Agent, launch: u32, error: &str) -> Vec<Draft> {
    let told = agent.status == AgentStatus::Failed && agent.launch == 0;
    if launch <= agent.launch || told {
        return Vec::new();
    }
    if agent.status == AgentStatus::Pending {
        return vec![turn(agent, agent.status, AgentStatus::Failed, error, None)];
    }
    // Elsewhere the attempt counts as a launch that ended at once, so that it is not tried for ever.
    let exit = Exit { error: Some(error.to_owned()), source: "start".to_owned(), ..Exit::default() };
    let mut drafts = begin(agent, launch, &format!("launch {launch} was tried"));
    drafts.push(Draft::new(agent_subject(&agent.key, &agent.spec.ticket), Fact::AgentExited { launch, exit }));
    drafts.push(turn(agent, AgentStatus::Running, AgentStatus::Failed, error, None));
    drafts
}

fn stop(agent: &Agent) -> Result<Vec<Draft>, Refusal> {
    match agent.status {
        AgentStatus::Running | AgentStatus::Idle | AgentStatus::Stalled => {
            Ok(vec![turn(agent, agent.status, AgentStatus::Stopping, "stopped by command", None)])
        }
        AgentStatus::Pending | AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Done => {
            Ok(vec![turn(agent, agent.status, AgentStatus::Stopped, "stopped by command", None)])
        }
        AgentStatus::Stopped if agent.start_due() => Err(Refusal::illegal(
            format!("agent {} is about to be started", agent.key.name),
            agent.status.word(),
            ["stop"],
        )
        .hint("stop it when it runs, or stop the run")),
        AgentStatus::Stopping | AgentStatus::Stopped => Ok(Vec::new()),
    }
}

fn stopped(agent: &Agent) -> Vec<Draft> {
    match agent.status {
        AgentStatus::Stopping => {
            vec![turn(agent, agent.status, AgentStatus::Stopped, "stopped by command", None)]
        }
        AgentStatus::Running | AgentStatus::Idle | AgentStatus::Stalled => vec![
            turn(agent, agent.status, AgentStatus::Stopping, "stopped by command", None),
            turn(agent, AgentStatus::Stopping, AgentStatus::Stopped, "stopped by command", None),
        ],
        AgentStatus::Pending | AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stopped | AgentStatus::Done => {
            Vec::new()
        }
    }
}

/// A second report of the same end yields nothing; one that overtakes its own start brings the start along.
fn exited(run: &Run, agent: &Agent, launch: u32, exit: &Exit) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut status = agent.status;
    if launch == agent.launch + 1 && agent.wanted <= launch && run.status.at_work() {
        let what = if exit.error.is_some() { "was tried" } else { "took place" };
        drafts.extend(begin(agent, launch, &format!("launch {launch} {what}")));
        status = AgentStatus::Running;
    } else if let Some(known) = agent.exit.as_ref().filter(|_| launch == agent.launch) {
        return server_lost_too(run, agent, known, exit);
    } else if launch != agent.launch {
        return Vec::new();
    }
    let subject = agent_subject(&agent.key, &agent.spec.ticket);
    drafts.push(Draft::new(subject, Fact::AgentExited { launch, exit: exit.clone() }));
    if status.working() {
        let (to, reason) = verdict(run, agent, exit);
        drafts.push(turn(agent, status, to, &reason, None));
    }
    drafts
}

/// The launcher may report the end before the tmux server is known to be gone, or after: it comes to the same.
fn server_lost_too(run: &Run, agent: &Agent, known: &Exit, exit: &Exit) -> Vec<Draft> {
    let down = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed);
    if !down || known.server_lost.is_some() || exit.server_lost.is_none() {
        return Vec::new();
    }
    let exit = Exit { server_lost: exit.server_lost.clone(), ..known.clone() };
    let subject = agent_subject(&agent.key, &agent.spec.ticket);
    let mut drafts = vec![Draft::new(subject, Fact::AgentExited { launch: agent.launch, exit })];
    if run.status == RunStatus::Failed {
        let reason = format!("agent {} went with the tmux server and can be started again", agent.key.name);
        let fact = Fact::RunTransitioned { from: run.status, to: RunStatus::Running, reason };
        drafts.push(Draft::new(run_subject(run.id()), fact).by_system());
    }
    drafts
}

/// What an end means: spec 2.4, health rules 2 and 3.
fn verdict(run: &Run, agent: &Agent, exit: &Exit) -> (AgentStatus, String) {
    if exit.server_lost.is_some() {
        return (AgentStatus::Dead, format!("went with the tmux server: {}", exit.describe()));
    }
    match (exit.status, &exit.error) {
        (_, Some(error)) => (AgentStatus::Failed, error.clone()),
        (Some(0), None) => {
            let counts = run.spec.mode == RunMode::Run && agent.spec.completion != Completion::Signal;
            if counts {
                (AgentStatus::Done, "exited with 0".to_owned())
            } else {
                (AgentStatus::Failed, "exited without completion".to_owned())
            }
        }
        (Some(_), None) => (AgentStatus::Failed, exit.describe()),
        (None, None) => (AgentStatus::Dead, exit.describe()),
    }
}

fn observed(
    run: &Run,
    agent: &Agent,
    health: Health,
    waiting_for: WaitingFor,
    reason: &str,
    evidence: &Value,
) -> Vec<Draft> {
    // Agents that are pending, ended or done are left alone (D27), and so is a paused run.
    if !agent.status.working() || !run.status.at_work() {
        return Vec::new();
    }
    let mut drafts = Vec::new();
    let said = |key: &str| evidence.get(key).and_then(Value::as_str).unwrap_or_default();
    if is_news(agent, health, waiting_for, said("signal"), said("line")) {
        let fact = Fact::AgentObserved { health, waiting_for, reason: reason.to_owned(), evidence: bounded(evidence) };
        drafts.push(Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact));
    }
    let to = match health {
        Health::Healthy => AgentStatus::Running,
        Health::Idle => AgentStatus::Idle,
        Health::Stalled => AgentStatus::Stalled,
        // Death comes as an exit; not knowing is no reason to say otherwise than before.
        Health::Dead | Health::Unknown => agent.status,
    };
    if to != agent.status {
        drafts.push(turn(agent, agent.status, to, reason, None));
    }
    drafts
}

/// Evidence keeps its tail when it is larger than an event may be.
fn bounded(evidence: &Value) -> Value {
    // Half the limit: escaped again as text it grows, and the rest of the event wants room too.
    const LARGEST: usize = LARGEST_PAYLOAD / 2;
    let text = evidence.to_string();
    if text.len() <= LARGEST {
        return evidence.clone();
    }
    let mut start = text.len() - LARGEST / 2;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    serde_json::json!({ "truncated": true, "tail": &text[start..] })
}

/// A rule restarts only what is unhealthy, and within the budget: it may have looked before the agent moved on.
fn rule_may_restart(agent: &Agent) -> Result<(), Refusal> {
    let refused = |why: &str| {
        Err(Refusal::illegal(
            format!("agent {} is {}{why}: no rule restarts it", agent.key.name, agent.status),
            agent.status.word(),
            ["restart"],
        )
        .hint("a human may: metawsm restart"))
    };
    if let Some(held) = &agent.held {
        return refused(&format!(", and held by {}", held.by));
    }
    match agent.status {
        AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled if !agent.restart_left() => {
            refused(", its restarts are used up")
        }
        AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled => Ok(()),
        AgentStatus::Pending
        | AgentStatus::Running
        | AgentStatus::Idle
        | AgentStatus::Stopping
        | AgentStatus::Stopped
        | AgentStatus::Done => refused(""),
    }
}

/// The start of an agent anew. A rule's restart counts, unless the agent went with the tmux server, and no other of
/// its kind takes place by rule before `cooldown_until`.
pub(super) fn restart(
    run: &Run,
    agent: &Agent,
    reason: &str,
    by_rule: bool,
    cooldown_until: Option<Moment>,
) -> Result<Vec<Draft>, Refusal> {
    let mut drafts = Vec::new();
    match run.status {
        RunStatus::Running | RunStatus::AwaitingGuidance => {}
        RunStatus::Failed | RunStatus::Stopped | RunStatus::Completed if !by_rule => {
            let reason = format!("agent {} was restarted", agent.key.name);
            let fact = Fact::RunTransitioned { from: run.status, to: RunStatus::Running, reason };
            drafts.push(Draft::new(run_subject(run.id()), fact));
        }
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopping
        | RunStatus::Stopped
        | RunStatus::Closing
        | RunStatus::Closed
        | RunStatus::Completed => {
            let allowed = run.status.next_commands();
            return Err(Refusal::illegal(
                format!("run {} is {}: its agents are not restarted", run.id(), run.status),
                run.status.word(),
                allowed.to_vec(),
            )
            .hint(format!("legal now: {}", allowed.join(", "))));
        }
    }
    if agent.launch == 0 {
        return Err(Refusal::illegal(
            format!("agent {} was never started", agent.key.name),
            agent.status.word(),
            ["resume"],
        )
        .hint("metawsm resume carries the plan on"));
    }
    if agent.start_due() {
        return Ok(drafts);
    }
    if by_rule {
        rule_may_restart(agent)?;
    }
    // A done agent that is started again works at something new; what it said before does not count for it.
    let epoch = if agent.status == AgentStatus::Done { agent.epoch + 1 } else { agent.epoch };
    // What went with the tmux server did nothing wrong; who restarts it by hand forgives it the rest too.
    let server_lost = by_rule && agent.went_with_server().is_some();
    let fact = Fact::AgentRestarted {
        launch: agent.launch + 1,
        epoch,
        reason: reason.to_owned(),
        free: !by_rule || server_lost,
        server_lost,
        anew: false,
        cooldown_until,
    };
    drafts.push(Draft::new(agent_subject(&agent.key, &agent.spec.ticket), fact));
    drafts.extend(ending(agent));
    Ok(drafts)
}

/// The end of what runs of an agent that is started anew.
pub(super) fn ending(agent: &Agent) -> Option<Draft> {
    let working = agent.status.working();
    working.then(|| turn(agent, agent.status, AgentStatus::Stopping, "being restarted", None))
}

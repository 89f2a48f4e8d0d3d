//! What the rules are shown: a run with all that belongs to it, and what waits outside of every run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::actor::ActorType;
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::operator::{
    Conclusion, Limited, Measure, Question, Sight, Waiting, calls, evaluate, limits, runner_target,
};
use crate::domain::run::Run;
use crate::domain::thread::{LONGEST_TITLE, Thread};
use crate::domain::time::Moment;
use crate::store::{Reader, StoreError};

/// So many threads that wait too long are looked at, of each run and outside of every run. Nobody is helped by being
/// called to more of them at once: the others come into sight as these are answered.
const MOST_OVERDUE: usize = 500;

/// What the rules conclude about a run now. Nothing is changed.
///
/// # Errors
/// What the store says.
pub fn conclude(
    reader: &Reader,
    run: &Run,
    measure: &Measure,
    overdue: &[AgentKey],
    now: Moment,
) -> Result<Vec<Conclusion>, StoreError> {
    let agents = reader.agents(run.id())?;
    let steps = reader.steps(run.id())?;
    let questions = questions(reader, run, &agents)?;
    let waiting = waiting(reader, Some(run), &agents, measure, now)?;
    let sight = Sight { run, agents: &agents, steps: &steps, questions: &questions, waiting: &waiting, overdue };
    Ok(evaluate(&sight, measure, now))
}

/// What the rules conclude now about what waits outside of every run. Nothing is changed.
///
/// # Errors
/// What the store says.
pub fn conclude_outside(reader: &Reader, measure: &Measure, now: Moment) -> Result<Vec<Conclusion>, StoreError> {
    let waiting = waiting(reader, None, &[], measure, now)?;
    Ok(calls(&asked(reader, None, &[])?, &waiting, measure, now))
}

/// What the rules conclude now about the limits that agents of runs at work wait for; of one run, where only that is
/// looked after. Nothing is changed.
///
/// # Errors
/// What the store says.
pub fn conclude_limits(
    reader: &Reader,
    limited: &[Agent],
    only: Option<&str>,
    measure: &Measure,
    now: Moment,
) -> Result<Vec<Conclusion>, StoreError> {
    let mut found: BTreeMap<&str, Vec<&Agent>> = BTreeMap::new();
    for agent in limited.iter().filter(|agent| only.is_none_or(|only| only == agent.key.run_id)) {
        if reader.run(&agent.key.run_id)?.is_some_and(|run| run.status.at_work()) {
            found.entry(&agent.spec.runner).or_default().push(agent);
        }
    }
    let mut conclusions = Vec::new();
    for (runner, agents) in found {
        let calls = reader.escalations_about(None, &runner_target(runner))?;
        let standing = calls.iter().find(|call| call.stands());
        conclusions.extend(limits(&[Limited { runner, agents, standing }], measure, now));
    }
    Ok(conclusions)
}

/// Whether something asked in `epoch` belongs to its agent's present one.
fn is_present(agents: &[Agent], workspace: Option<&str>, name: Option<&str>, epoch: Option<u32>) -> bool {
    let agent = agents
        .iter()
        .find(|agent| Some(agent.key.workspace.as_str()) == workspace && Some(agent.key.name.as_str()) == name);
    agent.is_none_or(|agent| epoch.is_none_or(|epoch| agent.epoch == epoch))
}

fn is_present_in(agents: &[Agent], thread: &Thread) -> bool {
    is_present(agents, thread.workspace.as_deref(), thread.agent_name.as_deref(), thread.epoch)
}

/// The threads that have waited too long for a human, or press.
fn waiting(
    reader: &Reader,
    run: Option<&Run>,
    agents: &[Agent],
    measure: &Measure,
    now: Moment,
) -> Result<Vec<Waiting>, StoreError> {
    if measure.call_again == Duration::ZERO {
        return Ok(Vec::new());
    }
    let overdue = (now.minus(measure.call_again), now.ahead());
    let mut found = Vec::new();
    for thread in reader.overdue_threads(run.map(Run::id), overdue, MOST_OVERDUE)? {
        if is_present_in(agents, &thread) {
            found.push(Waiting { priority: thread.priority, question: question_of(reader, thread)? });
        }
    }
    Ok(found)
}

/// What waits for a human while an agent of the run stands still.
///
/// # Errors
/// What the store says.
pub fn questions(reader: &Reader, run: &Run, agents: &[Agent]) -> Result<Vec<Question>, StoreError> {
    let mut questions = requests(reader, run, agents)?;
    questions.extend(asked(reader, Some(run), agents)?);
    Ok(questions)
}

/// The guidance requests of a run's agents that are open, of the present epochs.
fn requests(reader: &Reader, run: &Run, agents: &[Agent]) -> Result<Vec<Question>, StoreError> {
    let mut found = reader.open_requests(run.id())?;
    found
        .retain(|request| is_present(agents, Some(&request.workspace), Some(&request.agent_name), Some(request.epoch)));
    let question = |request: crate::domain::thread::Request| Question {
        run_id: Some(request.run_id),
        ticket: run.workspace(&request.workspace).map(|workspace| workspace.ticket.clone()),
        thread_id: request.thread_id,
        post_id: Some(request.post_id),
        workspace: Some(request.workspace),
        agent: Some(request.agent_name),
        text: request.question,
        since: request.opened_at,
    };
    Ok(found.into_iter().map(question).collect())
}

/// The questions for whose answer an agent waits, of the present epochs.
fn asked(reader: &Reader, run: Option<&Run>, agents: &[Agent]) -> Result<Vec<Question>, StoreError> {
    let threads = reader.blocking_threads(run.map(Run::id))?;
    threads
        .into_iter()
        .filter(|thread| thread.waits_for_human() && is_present_in(agents, thread))
        .map(|thread| question_of(reader, thread))
        .collect()
}

fn question_of(reader: &Reader, thread: Thread) -> Result<Question, StoreError> {
    Ok(Question {
        text: text_of(reader, &thread)?,
        since: thread.waits_since(),
        run_id: thread.run_id,
        post_id: None,
        ticket: Some(thread.ticket),
        workspace: thread.workspace,
        agent: thread.agent_name,
        thread_id: thread.thread_id,
    })
}

/// The title with the last words of the agent.
fn text_of(reader: &Reader, thread: &Thread) -> Result<String, StoreError> {
    let last = reader.posts(&thread.thread_id, Some(5))?;
    let words = last.iter().rev().find(|post| post.author_type == ActorType::Agent).map(|post| post.body.trim());
    Ok(match words.filter(|words| !words.is_empty() && *words != thread.title) {
        Some(words) => format!("{}: {}", thread.title, words.chars().take(4 * LONGEST_TITLE).collect::<String>()),
        None => thread.title.clone(),
    })
}

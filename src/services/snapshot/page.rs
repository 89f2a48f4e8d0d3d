//! A run's page: its plan, its gates, what happened. Gates ask git, so it is made apart from the lists.

use super::RunPage;
use crate::services::engine::Engine;
use crate::services::error::EngineError;
use crate::services::gates;
use crate::services::words::words_of;
use crate::store::read::EventFilter;

/// How far back in the journal is looked for events of a run.
const FAR: i64 = 5_000;
/// Events that are shown.
const EVENTS: usize = 200;

/// Makes the page of a run.
///
/// # Errors
/// [`EngineError`] when the run is not there or the store cannot be read.
pub fn run_page(engine: &Engine, run_id: &str) -> Result<RunPage, EngineError> {
    let reader = engine.reader()?;
    let run = engine.run(run_id)?;
    let gates = engine
        .policy_of(run_id)
        .and_then(|policy| gates::evaluate(&engine.git, &reader, &policy, &run, false))
        .map_err(|error| error.to_string());
    let docs = reader
        .seedings(run_id)?
        .into_iter()
        .map(|seeding| {
            (
                seeding.ticket,
                format!("{}/{}/{}", seeding.workspace, seeding.repo, seeding.dir),
                seeding.revision.is_some(),
            )
        })
        .collect();
    let filter = EventFilter { run_id: Some(run_id.to_owned()), ..EventFilter::default() };
    let since = (run.last_seq - FAR).max(0);
    let mut events: Vec<_> = reader
        .events(since, &filter, usize::try_from(FAR).unwrap_or(usize::MAX))?
        .iter()
        .map(|event| (event.occurred_at, words_of(event)))
        .filter(|(_, words)| !words.is_empty())
        .collect();
    events.drain(..events.len().saturating_sub(EVENTS));
    Ok(RunPage {
        run_id: run_id.to_owned(),
        seq: run.last_seq,
        steps: reader.steps(run_id)?,
        step_retries: run.spec.step_retries,
        gates,
        brief: run.brief.clone(),
        repos: run.spec.repos.iter().map(|repo| (repo.name.clone(), repo.base.clone())).collect(),
        pull_requests: reader.pull_requests(run_id)?,
        feedback: reader.feedback(run_id)?,
        docs,
        events,
    })
}

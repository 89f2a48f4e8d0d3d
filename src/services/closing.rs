//! Closes a run: gates, our own commit, the merge if it is wished, the sessions' end.

use std::path::Path;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::git::blob_of;
use super::outbox::{self, Closer, Consumers};
use super::{gates, merging, own_work, stopping, tickets};
use crate::domain::command::RunWish;
use crate::domain::event::OwnFile;
use crate::domain::run::{Run, RunStatus};

/// What closing is to do beyond closing.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The entry for the ticket's changelog.
    pub changelog_entry: Option<String>,
    /// Merge what is not merged.
    pub merge: bool,
}

/// Closes a run. The caller holds the run's lease.
///
/// # Errors
/// [`EngineError::Gates`] with all gates; or what was in the way on the way, and then the run is completed again.
pub fn close(engine: &Engine, caller: &Caller, run_id: &str, options: &Options) -> Result<(), EngineError> {
    let run = engine.run(run_id)?;
    if run.status == RunStatus::Closed {
        return Ok(());
    }
    // What was answered until now belongs into the commit of the docs.
    outbox::work_off_run(engine, &Consumers::default(), run_id)?;
    let gates = gates::evaluate(&engine.git, &*engine.reader()?, &engine.policy_of(run_id)?, &run, options.merge)?;
    if gates.iter().any(|gate| !gate.ok) {
        return Err(EngineError::Gates { what: format!("run {run_id} is not closed"), gates });
    }
    if run.status != RunStatus::Closing {
        engine.order_run(caller, run_id, RunWish::BeginClose)?;
    }
    match last_things(engine, caller, &run, options) {
        Ok(()) => {
            engine.order_run(caller, run_id, RunWish::FinishClose)?;
            stopping::end_server_if_unused(engine, run_id);
            Ok(())
        }
        Err(error) => {
            engine.order_run(caller, run_id, RunWish::AbortClose { reason: format!("not closed: {error}") })?;
            Err(error)
        }
    }
}

fn last_things(engine: &Engine, caller: &Caller, run: &Run, options: &Options) -> Result<(), EngineError> {
    // Done agents' sessions end first, so that nothing writes into the worktrees any more.
    let agents = engine.reader()?.agents(run.id())?;
    stopping::end_all(engine, caller, &agents)?;
    // That may have taken its time: what was answered meanwhile comes along too.
    outbox::work_off_run(engine, &Closer, run.id())?;
    write_changelog(engine, caller, run, options)?;
    own_work::commit(engine, caller, run.id())?;
    if options.merge {
        merging::merge(engine, caller, run.id(), false)?;
    }
    Ok(())
}

/// The entry goes into the ticket's changelog in the workspace; nothing is written into a user's checkout but by merge.
fn write_changelog(engine: &Engine, caller: &Caller, run: &Run, options: &Options) -> Result<(), EngineError> {
    let wanted = options.changelog_entry.is_some() || options.merge;
    if !wanted || !run.spec.seed {
        return Ok(());
    }
    let entry = options.changelog_entry.clone().unwrap_or_else(|| format!("Run {} was closed.", run.id()));
    for seeding in engine.reader()?.seedings(run.id())? {
        let Some(workspace) = run.workspace(&seeding.workspace) else { continue };
        let worktree = Path::new(&workspace.path).join(&seeding.repo);
        let dir = worktree.join(&seeding.dir);
        let (year, month, day) = engine.now().date();
        let heading = format!("{year:04}-{month:02}-{day:02}");
        tickets::append_entry(&dir, &heading, &entry, &format!("close:{}", run.id()))?;
        tickets::set_status(&dir.join(own_work::INDEX), own_work::CLOSED_STATUS)?;
        let files = [own_work::CHANGELOG, own_work::INDEX]
            .into_iter()
            .map(|name| {
                let path = Path::new(&seeding.dir).join(name);
                let blob = blob_of(&worktree.join(&path))
                    .map_err(EngineError::io(format!("read {}", worktree.join(&path).display())))?;
                Ok(OwnFile { path: path.display().to_string(), blob })
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let wish = RunWish::DocsSeeded {
            workspace: seeding.workspace.clone(),
            ticket: seeding.ticket.clone(),
            repo: seeding.repo.clone(),
            dir: seeding.dir.clone(),
            files,
            revision: seeding.revision.clone().unwrap_or_default(),
        };
        engine.order_run(caller, run.id(), wish)?;
    }
    Ok(())
}

/// A closing whose process is gone: what it did is found done, the rest goes back to completed, where a human
/// closes it again with the options of choice. The caller holds the run's lease.
///
/// # Errors
/// What the store says.
pub fn carry_on(engine: &Engine, caller: &Caller, run_id: &str) -> Result<(), EngineError> {
    if engine.run(run_id)?.status == RunStatus::Closing {
        let reason = "the closing process ended before it was through; close it again".to_owned();
        engine.order_run(caller, run_id, RunWish::AbortClose { reason })?;
    }
    Ok(())
}

//! Whether a silent agent's progress is overdue too: what git shows of its worktrees, beside what it said.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::engine::Engine;
use super::error::EngineError;
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::run::Run;
use crate::domain::scene::Workspace;
use crate::domain::time::Moment;
use crate::store::Reader;

/// A workspace need not be looked at more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When each workspace was looked at last, and its newest change then; `None` when git could not tell.
#[derive(Debug, Default)]
pub struct Progress {
    seen: BTreeMap<(String, String), (Moment, Option<Moment>)>,
}

impl Progress {
    /// The stalled agents of a run whose last progress is longer ago than their profile allows. What is not known
    /// is not overdue.
    ///
    /// # Errors
    /// What the store says.
    pub fn overdue(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        run: &Run,
        now: Moment,
    ) -> Result<Vec<AgentKey>, EngineError> {
        let mut stalled = reader.agents(run.id())?;
        stalled.retain(|agent| agent.status == AgentStatus::Stalled);
        if stalled.is_empty() {
            return Ok(Vec::new());
        }
        let policy = engine.policy_of(run.id())?;
        let workspaces = reader.workspaces(run.id())?;
        let mut overdue = Vec::new();
        for agent in stalled {
            let profile = policy.agent_profiles.iter().find(|profile| profile.name == agent.spec.profile);
            let health = profile.map_or_else(|| policy.health.clone(), |profile| policy.health_for(profile));
            let limit = Duration::from_secs(u64::from(health.progress_stalled_seconds));
            let Some(workspace) = workspaces.iter().find(|workspace| workspace.name == agent.key.workspace) else {
                continue;
            };
            if limit.is_zero() {
                continue;
            }
            let (looked, changed) = self.look(engine, workspace, limit, now);
            // Judged as it was at the look: what has changed since is not known yet.
            if changed.is_some_and(|changed| looked.since(last_progress(&agent, changed)) >= limit) {
                overdue.push(agent.key);
            }
        }
        Ok(overdue)
    }

    /// When the workspace was looked at last, and its newest change then.
    fn look(
        &mut self,
        engine: &Engine,
        workspace: &Workspace,
        limit: Duration,
        now: Moment,
    ) -> (Moment, Option<Moment>) {
        let key = (workspace.run_id.clone(), workspace.name.clone());
        let every = LOOK_EVERY.min(limit / 4);
        if let Some(seen) = self.seen.get(&key).filter(|(at, _)| *at <= now && now.since(*at) < every) {
            return *seen;
        }
        let changes = workspace.worktrees.iter().map(|tree| newest_in(engine, Path::new(&tree.path)));
        let newest = changes.collect::<Option<Vec<Moment>>>().and_then(|all| all.into_iter().max());
        self.seen.insert(key, (now, newest));
        (now, newest)
    }
}

fn last_progress(agent: &Agent, changed: Moment) -> Moment {
    agent.last_progress_at.map_or(changed, |said| said.max(changed))
}

/// The newest change of what git does not have yet; the checkout itself where there is none.
fn newest_in(engine: &Engine, tree: &Path) -> Option<Moment> {
    let changes = engine.git.status(tree).ok()?;
    let paths = changes.iter().map(|change| tree.join(&change.path)).chain([tree.join(".git")]);
    // A file that was deleted has no time; its directory has.
    let time = |path: &Path| modified(path).or_else(|| path.parent().and_then(modified));
    paths.filter_map(|path| time(&path)).max()
}

fn modified(path: &Path) -> Option<Moment> {
    let at = std::fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Moment::from_millis)
}

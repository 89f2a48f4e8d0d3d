//! Where a text is to go.

use super::super::agents::LaunchFiles;
use super::super::engine::Engine;
use super::super::error::EngineError;
use super::super::launcher::read_record;
use super::super::tmux::typing::Looked;
use super::super::tmux::{Tmux, TmuxError};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::delivery::screen::{Patterns, Screen, Shows};
use crate::domain::runner::Runner;
use crate::domain::screen::BadPattern;

/// The pane in which one launch of one agent lives.
pub struct Place<'a> {
    pub tmux: &'a Tmux,
    pub agent: Agent,
    pub runner: Runner,
    pub patterns: Patterns,
    /// The launcher, which is the pane's process.
    pub pid: u32,
}

impl<'a> Place<'a> {
    /// `None` while the agent has no live launch.
    pub fn of(engine: &'a Engine, key: &AgentKey) -> Result<Option<Self>, EngineError> {
        let agents = engine.reader()?.agents(&key.run_id)?;
        let Some(agent) = agents.into_iter().find(|agent| agent.key == *key) else { return Ok(None) };
        let files = LaunchFiles::new(engine, &agent.spec.session, agent.launch);
        let record = read_record(&files.record)?.filter(|record| record.ended_at_ms.is_none());
        let Some(record) = record.filter(|_| agent.program_may_live()) else { return Ok(None) };
        let Some(tmux) = engine.tmux_if_known()? else { return Ok(None) };
        let policy = engine.policy_of(&agent.key.run_id)?;
        let runner = policy.runner(&agent.spec.runner).unwrap_or_default();
        let bad = |bad: BadPattern| {
            EngineError::refused(format!("runner {}: {bad}", agent.spec.runner), "metawsm policy check")
        };
        let patterns = Patterns::of(&runner).map_err(bad)?;
        Ok(Some(Self { tmux, agent, runner, patterns, pid: record.launcher_pid }))
    }

    pub fn session(&self) -> &str {
        &self.agent.spec.session
    }

    /// The pane as it is now; `None` when it is gone, its program has ended, or it is another's.
    pub fn look(&self) -> Result<Option<Looked>, EngineError> {
        match self.tmux.look(self.session()) {
            Ok(looked) => Ok(Some(looked).filter(|looked| !looked.dead && looked.pid == self.pid)),
            Err(TmuxError::NoTarget { .. } | TmuxError::NoServer { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is made of a look.
    pub fn shows(&self, looked: &Looked) -> Shows {
        self.patterns.read(&screen(looked))
    }

    /// Whether the composer is seen to be there and empty.
    pub fn empty(&self, looked: &Looked) -> bool {
        self.patterns.see_empty_composer(&screen(looked))
    }
}

fn screen(looked: &Looked) -> Screen<'_> {
    Screen { text: &looked.screen, title: &looked.title, cursor: looked.cursor.column }
}

//! Watches the tmux server as a whole: whether it answers, and who went with it (spec 2.4, health 1 and 2).
//!
//! What it finds becomes an escalation of the home, which is part of no run. Counted in memory is only how often the
//! server did not answer; what stands is read from the journal's tables.

use std::time::Duration;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::tmux::control::Lookout;
use super::tmux::{Panes, Screen, TmuxError};
use crate::domain::command::{Command, TmuxNews};
use crate::domain::decide::tmux::is_told;
use crate::domain::escalation::{Escalation, Kind, TMUX_TARGET};
use crate::domain::run::RunStatus;
use crate::domain::time::Moment;
use crate::store::Reader;

/// So many times in a row it has to be silent before a human is called.
const TRIES: u32 = 3;

/// What a supervisor remembers of the server.
#[derive(Debug, Default)]
pub struct ServerWatch {
    /// Through this it is asked.
    lookout: Lookout,
    /// Since when, and how often in a row, it could not be asked.
    silence: Option<(Moment, u32)>,
}

impl ServerWatch {
    /// What tmux shows, `None` when it could not be asked or there is no server: neither is a reason to think an
    /// agent dead. It is asked only where that is `needed`: where somebody's program may live.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn look(
        &mut self,
        engine: &Engine,
        caller: &Caller,
        needed: bool,
        complaints: &mut Vec<String>,
    ) -> Result<Option<Panes>, EngineError> {
        let Some(tmux) = engine.tmux_if_known()? else { return Ok(None) };
        let before = engine.now();
        let asked = needed.then(|| self.lookout.panes(tmux));
        let (panes, silence) = match asked.transpose() {
            Ok(panes) => (panes, None),
            // That there is none is an answer.
            Err(TmuxError::NoServer { .. }) => (None, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let reader = engine.reader()?;
        let standing = home_escalations(&reader)?
            .iter()
            .any(|escalation| escalation.kind == Kind::TmuxUnreachable && escalation.stands());
        match silence {
            None => {
                self.silence = None;
                if standing {
                    tell(engine, caller, TmuxNews::Answers)?;
                }
            }
            Some(why) => {
                let (since, tries) = self.silence.map_or((before, 1), |(since, tries)| (since, tries + 1));
                self.silence = Some((since, tries));
                if tries >= TRIES && !standing {
                    tell(engine, caller, TmuxNews::Silent { since, tries, why: why.clone() })?;
                }
                complaints.push(why);
            }
        }
        Ok(panes)
    }

    /// What stands on the screens of panes: of the first ones, where not all could be asked for.
    pub fn screens(&mut self, engine: &Engine, panes: &[&str]) -> Vec<Screen> {
        let Ok(Some(tmux)) = engine.tmux_if_known() else { return Vec::new() };
        self.lookout.screens(tmux, panes)
    }

    /// Tells of agents that went with their server, and when none is left to bring back. `unreported`: agents live
    /// on whose server is gone, so that more deaths may be on their way.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn reckon(&self, engine: &Engine, caller: &Caller, unreported: bool) -> Result<(), EngineError> {
        let reader = engine.reader()?;
        let lost = reader.lost_agents()?;
        let escalations = home_escalations(&reader)?;
        let standing = escalations.iter().any(|found| found.kind == Kind::TmuxServerLost && found.stands());
        if lost.is_empty() && !standing {
            return Ok(());
        }
        let open = |run_id: &str| -> Result<bool, EngineError> {
            Ok(reader.run(run_id)?.is_some_and(|run| run.status.at_work() || run.status == RunStatus::Paused))
        };
        let mut waiting = Vec::new();
        for agent in lost.into_iter().filter(|agent| agent.went_with_server().is_some()) {
            if open(&agent.key.run_id)? {
                waiting.push(agent);
            }
        }
        if !is_told(&escalations, &waiting) {
            tell(engine, caller, TmuxNews::Deaths)?;
        } else if waiting.is_empty() && standing && !unreported {
            tell(engine, caller, TmuxNews::Recovered)?;
        }
        Ok(())
    }
}

fn home_escalations(reader: &Reader) -> Result<Vec<Escalation>, EngineError> {
    Ok(reader.escalations_about(None, TMUX_TARGET)?)
}

fn tell(engine: &Engine, caller: &Caller, news: TmuxNews) -> Result<(), EngineError> {
    let policy = engine.home.policy_in_force().unwrap_or_default();
    let minutes = policy.forum.sla.escalation_minutes;
    let again = Duration::from_secs(u64::from(minutes) * 60);
    let due_at = (minutes > 0).then(|| engine.now().plus(again));
    let escalation_id = engine.ledger.new_id("esc");
    engine.order(caller, &Command::Tmux { news, due_at, escalation_id })?;
    Ok(())
}

//! What an end takes: the screen that is left is kept, what was left running is ended, how it ended is written down.
//!
//! It may take its time, so it is done in threads of its own: who does not want to die keeps nobody else waiting.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::agents::{self, LaunchFiles, exit_of};
use super::super::engine::{Caller, Engine};
use super::super::error::EngineError;
use super::super::launcher::{Record, read_record};
use super::super::process::kill;
use super::super::tmux::Tmux;
use crate::domain::agent::{Agent, AgentKey, Exit};
use crate::domain::command::AgentWish;

/// How long tmux may take to say how the program in a pane ended.
const TMUX_WORD: Duration = Duration::from_millis(300);

/// Ends under way. None of it has to be finished by the one who began it: the next supervisor finds what is left.
pub struct Farewells {
    engine: Arc<Engine>,
    caller: Caller,
    /// Screens are kept one after another.
    screens: Option<Sender<Agent>>,
    /// Launches whose launcher is gone.
    dying: BTreeMap<AgentKey, JoinHandle<()>>,
    troubles: Arc<Mutex<BTreeMap<AgentKey, String>>>,
}

impl Farewells {
    /// Nobody ends yet.
    pub fn new(engine: &Arc<Engine>, caller: &Caller) -> Self {
        Self {
            engine: Arc::clone(engine),
            caller: caller.clone(),
            screens: None,
            dying: BTreeMap::new(),
            troubles: Arc::default(),
        }
    }

    /// Whether an end of this agent is under way.
    pub fn has(&mut self, key: &AgentKey) -> bool {
        self.dying.retain(|_, thread| !thread.is_finished());
        self.dying.contains_key(key)
    }

    /// What did not come through.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Has what stands on the screen of an ended launch kept.
    pub fn keep_screen(&mut self, agent: &Agent) {
        if self.screens.as_ref().is_some_and(|screens| screens.send(agent.clone()).is_ok()) {
            return;
        }
        let (sender, screens) = channel::<Agent>();
        let engine = Arc::clone(&self.engine);
        let keep = move || {
            for agent in screens {
                if let Ok(Some(tmux)) = engine.tmux_if_known() {
                    // A screen that cannot be kept changes nothing about the end.
                    let _ = agents::keep_screen(&engine, tmux, &agent);
                }
            }
        };
        if std::thread::Builder::new().name("screens".to_owned()).spawn(keep).is_ok() {
            let _ = sender.send(agent.clone());
            self.screens = Some(sender);
        }
    }

    /// Nobody can tell any more how the agent ends, its launcher being gone or in a state as if it were: what is left
    /// of it is ended, and it is dead.
    pub fn launcher_gone(&mut self, agent: &Agent, record: &Record, hangs: bool) {
        let (engine, caller, dying) = (Arc::clone(&self.engine), self.caller.clone(), agent.clone());
        let record = record.clone();
        let troubles = Arc::clone(&self.troubles);
        let work = move || {
            let ended = end(&engine, &caller, &dying, record, hangs);
            let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(()) => troubles.remove(&dying.key),
                Err(error) => troubles.insert(dying.key.clone(), format!("ending {}: {error}", dying.key.name)),
            };
        };
        if let Ok(thread) = std::thread::Builder::new().name(format!("end {}", agent.key.name)).spawn(work) {
            self.dying.insert(agent.key.clone(), thread);
        }
    }
}

fn end(engine: &Engine, caller: &Caller, agent: &Agent, known: Record, hangs: bool) -> Result<(), EngineError> {
    let policy = engine.policy_of(&agent.key.run_id)?;
    let tmux = engine.tmux(&policy)?;
    let processes = engine.processes.as_ref();
    agents::end_launch(engine, agent, agent.launch, agents::grace(&policy))?;
    agents::keep_screen(engine, tmux, agent)?;
    if hangs {
        // It has had its time, and is not to tell later what is not so any more.
        kill(processes, known.launcher());
    }
    // It may have written its last word between our two looks.
    let last = read_record(&LaunchFiles::new(engine, &agent.spec.session, agent.launch).record);
    let record = last.ok().flatten().unwrap_or(known);
    let exit = match exit_of(&record, processes) {
        Some(exit) => Exit { source: "record".to_owned(), ..exit },
        None => {
            let told = by_tmux(tmux, agent, record.launcher_pid, hangs);
            Exit { server_lost: record.server_lost(processes), ..told }
        }
    };
    engine.order_agent(caller, &agent.key, AgentWish::Exited { launch: agent.launch, exit })?;
    Ok(())
}

/// The second source: a launcher that could not write hands its agent's status on to tmux. After a KILL there is none.
fn by_tmux(tmux: &Tmux, agent: &Agent, launcher: u32, hung: bool) -> Exit {
    let status = tmux.ended_with(&agent.spec.session, launcher, TMUX_WORD);
    let source = match status {
        Some(_) => "tmux",
        None if hung => "process table, its launcher hung",
        None => "missing",
    };
    Exit { status, source: source.to_owned(), ..Exit::default() }
}

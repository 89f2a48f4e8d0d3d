//! What an end takes: the screen that is left is kept, what was left running is ended, how it ended is written down.
//!
//! It may take its time, so it is done in threads of its own: who does not want to die keeps nobody else waiting.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::agents::{self, LaunchFiles, exit_of};
use super::super::engine::{Caller, Engine};
use super::super::error::EngineError;
use super::super::launcher::{Record, read_record};
use super::super::process::ends::Life;
use super::super::process::kill;
use super::super::tmux::Tmux;
use crate::domain::agent::{Agent, AgentKey, Exit};
use crate::domain::command::AgentWish;

/// How long tmux may take to say how the program in a pane ended.
const TMUX_WORD: Duration = Duration::from_millis(300);
/// How long a launcher may take to write down how its agent ended.
const LAUNCHER_WORD: Duration = Duration::from_secs(2);
/// What did not come through is told for so long.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// Between two looks at who is to end.
const STEP: Duration = Duration::from_millis(2);

/// Ends under way. None of it has to be finished by the one who began it: the next supervisor finds what is left.
pub struct Farewells {
    engine: Arc<Engine>,
    caller: Caller,
    /// Screens are kept one after another.
    screens: Option<Sender<Agent>>,
    /// Launches that are ended: their launcher is gone, or their terminal.
    dying: BTreeMap<AgentKey, JoinHandle<()>>,
    troubles: Arc<Mutex<BTreeMap<AgentKey, (Instant, String)>>>,
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

    /// What did not come through lately: nobody tries it again, so it is not said for ever.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.retain(|_, (since, _)| since.elapsed() < TOLD_FOR);
        troubles.values().map(|(_, words)| words.clone()).collect()
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

    /// The agent has lost its launcher, which may hang instead, or its terminal: what is left of it is ended, and it is
    /// dead. `kin` was seen to be of the launch.
    pub fn end(&mut self, agent: &Agent, record: &Record, kin: Vec<Life>, hangs: bool) {
        let (engine, caller, dying) = (Arc::clone(&self.engine), self.caller.clone(), agent.clone());
        let record = record.clone();
        let troubles = Arc::clone(&self.troubles);
        let work = move || {
            let ended = end(&engine, &caller, &dying, (record, &kin), hangs);
            let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(()) => troubles.remove(&dying.key),
                Err(error) => {
                    let words = format!("ending {}: {error}", dying.key.name);
                    troubles.insert(dying.key.clone(), (Instant::now(), words))
                }
            };
        };
        if let Ok(thread) = std::thread::Builder::new().name(format!("end {}", agent.key.name)).spawn(work) {
            self.dying.insert(agent.key.clone(), thread);
        }
    }
}

fn end(
    engine: &Engine,
    caller: &Caller,
    agent: &Agent,
    (known, kin): (Record, &[Life]),
    hangs: bool,
) -> Result<(), EngineError> {
    let policy = engine.policy_of(&agent.key.run_id)?;
    let tmux = engine.tmux(&policy)?;
    let ended = std::thread::scope(|scope| {
        // tmux is asked while the rest is ended: each may take its time.
        let word = scope.spawn(|| by_tmux(tmux, agent, known.launcher_pid, hangs));
        let ending = scope.spawn(|| agents::end_launch_and(engine, agent, agent.launch, agents::grace(&policy), kin));
        // What the agent left behind may not want to die; the agent itself is dead all the same.
        while !ending.is_finished() && (hangs || known_to_live(engine, &known)) {
            std::thread::sleep(STEP);
        }
        let processes = engine.processes.as_ref();
        if hangs {
            // It has had its time, and is not to tell later what is not so any more.
            kill(processes, known.launcher());
        }
        let record = last_record(engine, agent, &known);
        let exit = match exit_of(&record, processes) {
            Some(exit) => Exit { source: "record".to_owned(), ..exit },
            None => {
                Exit { server_lost: record.server_lost(processes), ..word.join().unwrap_or_else(|_| unsaid(hangs)) }
            }
        };
        let told = engine.order_agent(caller, &agent.key, AgentWish::Exited { launch: agent.launch, exit });
        told.map(|_| ending.join())
    })?;
    if let Ok(ended) = ended {
        ended?;
    }
    let screen = agents::screen_of(tmux, agent);
    // Who starts it again keeps the screen first: what is shown by then may be of the next launch.
    let same = engine.reader()?.agent(&agent.key)?.is_some_and(|now| now.wanted == agent.launch);
    if same { agents::write_screen(engine, agent, screen) } else { Ok(()) }
}

/// Whether its program runs, as far as it is known which one that is.
fn known_to_live(engine: &Engine, record: &Record) -> bool {
    let program = record.agent_pid.zip(record.agent_start);
    program.is_none_or(|(pid, start)| engine.processes.alive(pid, start))
}

/// The launch record, once its launcher has had the time to write it for the last time: it may just be doing so.
fn last_record(engine: &Engine, agent: &Agent, known: &Record) -> Record {
    let file = LaunchFiles::new(engine, &agent.spec.session, agent.launch).record;
    let until = Instant::now() + LAUNCHER_WORD;
    loop {
        let lives = engine.processes.alive(known.launcher_pid, known.launcher_start);
        let record = read_record(&file).ok().flatten().unwrap_or_else(|| known.clone());
        if record.ended_at_ms.is_some() || !lives || Instant::now() >= until {
            return record;
        }
        std::thread::sleep(STEP);
    }
}

/// The second source: a launcher that could not write hands its agent's status on to tmux. After a KILL there is none.
fn by_tmux(tmux: &Tmux, agent: &Agent, launcher: u32, hung: bool) -> Exit {
    match tmux.ended_with(&agent.spec.session, launcher, TMUX_WORD) {
        None => unsaid(hung),
        status => Exit { status, source: "tmux".to_owned(), ..Exit::default() },
    }
}

fn unsaid(hung: bool) -> Exit {
    let source = if hung { "process table, its launcher hung" } else { "missing" };
    Exit { source: source.to_owned(), ..Exit::default() }
}

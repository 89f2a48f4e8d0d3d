//! What one agent's screen shows, for as long as somebody looks at it.
//!
//! tmux is asked when the agent is said to have stirred, and again while its screen goes on changing; a quiet
//! agent costs nothing.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::engine::Engine;
use super::home::Home;
use super::tmux::{Extent, Tmux, without_note};
use crate::domain::agent::AgentKey;

/// Between looks while the screen changes.
const BUSY: Duration = Duration::from_millis(100);
/// Between looks where it has just become quiet.
const QUIET: Duration = Duration::from_millis(400);
/// So many looks without a change end the looking.
const ENOUGH: u32 = 4;
/// Of a kept screen the end is shown.
const TAIL: usize = 64 * 1024;

/// Whose screen is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The agent.
    pub key: AgentKey,
    /// Its session.
    pub session: String,
    /// Its last launch.
    pub launch: u32,
    /// Whether its program may live; of an ended one the kept screen is looked at first.
    pub lives: bool,
}

/// What a screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// Whose.
    pub key: AgentKey,
    /// Lines with their escape sequences, which must be interpreted and never passed on.
    pub bytes: Vec<u8>,
    /// Whether it is what was kept of an ended life.
    pub kept: bool,
}

enum Ask {
    Look(Option<Target>),
    Stirred,
}

/// The thread that looks; it ends when this is dropped.
#[derive(Debug)]
pub struct Live(Sender<Ask>);

impl Live {
    /// Begins; each new screen is handed to `tell`.
    pub fn begin(home: &Home, tell: impl FnMut(Screen) -> bool + Send + 'static) -> Self {
        let (asks, asked) = channel();
        let mut looking =
            Looking { home: home.clone(), asked, tell: Box::new(tell), tmux: None, target: None, last: None };
        drop(std::thread::Builder::new().name("live".to_owned()).spawn(move || looking.run()));
        Self(asks)
    }

    /// Looks at another agent, or at none.
    pub fn look_at(&self, target: Option<Target>) {
        let _ = self.0.send(Ask::Look(target));
    }

    /// The agent has written something.
    pub fn stirred(&self) {
        let _ = self.0.send(Ask::Stirred);
    }
}

struct Looking {
    home: Home,
    asked: Receiver<Ask>,
    tell: Box<dyn FnMut(Screen) -> bool + Send>,
    tmux: Option<Tmux>,
    target: Option<Target>,
    last: Option<Screen>,
}

impl Looking {
    fn run(&mut self) {
        let mut unchanged = ENOUGH;
        loop {
            let pause = match (&self.target, unchanged) {
                (None, _) | (Some(_), ENOUGH..) => Duration::from_secs(3600),
                (Some(_), 0) => BUSY,
                (Some(_), _) => QUIET,
            };
            match self.asked.recv_timeout(pause) {
                Ok(ask) => {
                    self.take(ask);
                    while let Ok(ask) = self.asked.try_recv() {
                        self.take(ask);
                    }
                    unchanged = 0;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some(target) = self.target.clone() else { continue };
            let screen = self.screen(&target);
            if self.last.as_ref() == Some(&screen) {
                unchanged += 1;
                continue;
            }
            unchanged = 0;
            self.last = Some(screen.clone());
            if !(self.tell)(screen) {
                return;
            }
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Look(target) => {
                if target != self.target {
                    self.last = None;
                }
                self.target = target;
            }
            Ask::Stirred => {}
        }
    }

    fn screen(&mut self, target: &Target) -> Screen {
        if self.tmux.is_none() {
            self.tmux = Engine::known_tmux(&self.home).ok().flatten();
        }
        let ended = if target.lives { Vec::new() } else { self.kept(target) };
        if !ended.is_empty() {
            return Screen { key: target.key.clone(), bytes: ended, kept: true };
        }
        // A program's end scrolls its screen: what it said last may stand above.
        let extent = if target.lives { Extent::Screen } else { Extent::WholeScrollback };
        let live = self.tmux.as_ref().and_then(|tmux| tmux.capture(&target.session, extent, true).ok());
        match live {
            Some(bytes) => Screen { key: target.key.clone(), bytes: without_note(bytes), kept: !target.lives },
            None => Screen { key: target.key.clone(), bytes: self.kept(target), kept: true },
        }
    }

    fn kept(&self, target: &Target) -> Vec<u8> {
        let name = format!("{}-{}-{}.txt", target.key.workspace, target.key.name, target.launch.max(1));
        let path: PathBuf = self.home.log_dir(&target.key.run_id).join(name);
        let mut bytes = std::fs::read(path).unwrap_or_default();
        bytes.drain(..bytes.len().saturating_sub(TAIL));
        without_note(bytes)
    }
}

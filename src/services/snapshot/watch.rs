//! Takes a new snapshot whenever the database was written or something else is wanted of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::RecommendedWatcher;

use super::read::Stop;
use super::{Facts, Snapshot, Source, Want};
use crate::services::error::EngineError;
use crate::services::wake::watch;
use crate::store::StoreError;
use crate::store::ids::{Clock, SystemClock};

/// How often at most a home is read: what is written faster is seen together.
const SHORTEST: Duration = Duration::from_millis(30);
/// How often the facts beside the database are looked at.
const FACTS_EVERY: Duration = Duration::from_secs(2);
/// How often the database is asked whether it was written, where the watch does not say so.
const FLOOR: Duration = Duration::from_millis(250);

/// What came of a look.
#[derive(Debug, Clone)]
pub enum Look {
    /// Something is different.
    Changed(Arc<Snapshot>),
    /// Everything is as it was.
    Same,
    /// The database could not be read.
    Failed(String),
}

enum Ask {
    Want(Want),
    Written,
}

/// The thread that takes snapshots; it ends when this is dropped.
pub struct Watch {
    asks: Sender<Ask>,
    stop: Stop,
    /// Dropped with us, which ends the watch: it holds a sender, too.
    _written: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins; each look is handed to `tell`, which says whether somebody still listens.
    pub fn begin(source: Source, mut tell: impl FnMut(Look) -> bool + Send + 'static) -> Self {
        let (asks, asked) = channel();
        let told = asks.clone();
        let written = watch(&source.home.db, move || {
            let _ = told.send(Ask::Written);
        });
        let stop = source.stop.clone();
        let looking = move || Looking { source, asked, want: Want::default(), last: None }.run(&mut tell);
        // Without a thread there is no screen either; the caller sees that nothing comes.
        drop(std::thread::Builder::new().name("snapshot".to_owned()).spawn(looking));
        Self { asks, stop, _written: written }
    }

    /// Wants something else.
    pub fn want(&self, want: Want) {
        // Before it is said: what is looked for next must not be stopped.
        self.stop.now();
        let _ = self.asks.send(Ask::Want(want));
    }
}

struct Looking {
    source: Source,
    asked: Receiver<Ask>,
    want: Want,
    last: Option<Arc<Snapshot>>,
}

impl Looking {
    fn run(&mut self, tell: &mut dyn FnMut(Look) -> bool) {
        let mut version = None;
        let mut facts = self.source.facts(&[], SystemClock.now());
        let mut facts_at = Instant::now();
        let mut wanted = true;
        loop {
            let looked_at = Instant::now();
            let due = looked_at.duration_since(facts_at) >= FACTS_EVERY;
            if due {
                let agents = self.last.as_ref().map_or(&[][..], |last| &last.agents);
                facts = self.source.facts(agents, SystemClock.now());
                facts_at = looked_at;
            }
            let look = match self.source.version() {
                Ok(now) if Some(now) != version || wanted => {
                    let look = self.look(&facts);
                    // What did not come through is tried again, though nothing was written meanwhile.
                    version = matches!(look, Some(Look::Changed(_) | Look::Same)).then_some(now);
                    look
                }
                Ok(_) => due.then(|| self.refresh(&facts)),
                Err(error) => Some(Look::Failed(error.to_string())),
            };
            if look.is_some_and(|look| !tell(look)) {
                return;
            }
            wanted = match self.wait() {
                Some(wanted) => wanted,
                None => return,
            };
            if !wanted {
                std::thread::sleep(SHORTEST.saturating_sub(looked_at.elapsed()));
            }
        }
    }

    /// `None` where a search was stopped because something else is wanted by now.
    fn look(&mut self, facts: &Facts) -> Option<Look> {
        match self.source.read(&self.want, facts) {
            Ok(snapshot) => Some(self.compare(snapshot)),
            Err(EngineError::Store(StoreError::Interrupted)) => None,
            Err(error) => Some(Look::Failed(error.to_string())),
        }
    }

    /// Only the facts beside the database may have changed.
    fn refresh(&mut self, facts: &Facts) -> Look {
        match &self.last {
            Some(last) if last.facts == *facts => Look::Same,
            Some(last) => {
                let snapshot = Snapshot { facts: facts.clone(), ..Snapshot::clone(last) };
                self.compare(snapshot)
            }
            None => Look::Same,
        }
    }

    fn compare(&mut self, snapshot: Snapshot) -> Look {
        if self.last.as_ref().is_some_and(|last| **last == snapshot) {
            return Look::Same;
        }
        let snapshot = Arc::new(snapshot);
        self.last = Some(Arc::clone(&snapshot));
        Look::Changed(snapshot)
    }

    /// Waits for the next reason to look: whether something else is wanted, `None` when nobody listens any more.
    fn wait(&mut self) -> Option<bool> {
        let mut wanted = match self.asked.recv_timeout(FLOOR) {
            Ok(ask) => self.take(ask),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        while let Ok(ask) = self.asked.try_recv() {
            wanted |= self.take(ask);
        }
        Some(wanted)
    }

    fn take(&mut self, ask: Ask) -> bool {
        match ask {
            Ask::Written => false,
            Ask::Want(want) => {
                let news = want != self.want;
                self.want = want;
                news
            }
        }
    }
}

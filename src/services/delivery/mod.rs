//! Types texts into agents' sessions, one at a time into each: the holder of the supervisor lease has one typist, with
//! a thread for each agent that something waits for, so that one who is long at work holds up nobody else.
//!
//! Nothing of it is kept here: what waits, what was begun and what came of it stands in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::log::Log;
use super::outbox::leave;
use crate::domain::agent::AgentKey;
use crate::domain::command::{Command, DeliveryWish};
use crate::domain::delivery::{Delivery, DeliveryState, next};
use crate::domain::time::Moment;
use attempt::{Ended, attempt, resume};

pub use attempt::in_the_way;

pub mod attempt;
mod keys;
mod place;
mod tty;

/// How often the table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A session that takes nothing yet is looked at again so soon at first.
const FIRST_PAUSE: Duration = Duration::from_millis(150);
/// And so late at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Looks at sessions that take nothing yet, over all agents: one in so long.
const PACE: Duration = Duration::from_millis(50);
/// How long a typist that is told to end may take.
const LEAVE: Duration = Duration::from_secs(5);

/// Has a text typed into an agent's session when its moment comes; the delivery's id, and the journal's place.
///
/// # Errors
/// A refusal, or what the store says.
pub fn queue(
    engine: &Engine,
    caller: &Caller,
    wish: DeliveryWish,
    event_id: Option<&str>,
) -> Result<(String, i64), EngineError> {
    use crate::domain::event::Fact;
    let delivery_id = engine.ledger.new_id("dlv");
    let command = Command::Delivery { delivery_id, wish, due_at: None, escalation_id: String::new() };
    let order = crate::store::Order {
        command: &command,
        actor: &caller.actor,
        identity: caller.identity.as_ref(),
        key: event_id,
    };
    let receipt = engine.ledger.execute(&order)?;
    // Under a key that was used before it is the first one's.
    let id = receipt.events.iter().find_map(|event| match &event.fact {
        Fact::DeliveryQueued { delivery_id, .. } => Some(delivery_id.clone()),
        _ => None,
    });
    Ok((id.unwrap_or_default(), receipt.seq))
}

/// Says that the agent in whose session this process runs has a post from the forum: it is not typed any more.
///
/// # Errors
/// A refusal, or what the store says.
pub fn taken(engine: &Engine, caller: &Caller, delivery_id: &str) -> Result<(), EngineError> {
    order(engine, caller, delivery_id, DeliveryWish::Taken)
}

fn order(engine: &Engine, caller: &Caller, delivery_id: &str, wish: DeliveryWish) -> Result<(), EngineError> {
    let policy = engine.home.policy_in_force().unwrap_or_default();
    let minutes = policy.forum.sla.escalation_minutes;
    let again = Duration::from_secs(u64::from(minutes) * 60);
    let command = Command::Delivery {
        delivery_id: delivery_id.to_owned(),
        wish,
        due_at: (minutes > 0).then(|| engine.now().plus(again)),
        escalation_id: engine.ledger.new_id("esc"),
    };
    engine.order(caller, &command)?;
    Ok(())
}

/// A typist on threads of its own; they end with its handle.
#[derive(Debug)]
pub struct Typist {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Typist {
    /// Begins.
    pub fn begin(engine: &Arc<Engine>) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let mut desk = Desk {
            engine: Arc::clone(engine),
            caller: Caller::system("typist"),
            ending: Arc::clone(&ending),
            pace: Arc::default(),
            hands: BTreeMap::new(),
            doubted: BTreeSet::new(),
            said: String::new(),
        };
        let spawned = std::thread::Builder::new().name("typist".to_owned()).spawn(move || desk.serve());
        if let Err(error) = &spawned {
            let words = format!("nobody types to agents: no thread could be started: {error}");
            Log::new(&engine.home).line("typist", &words);
        }
        Self { ending, thread: spawned.ok() }
    }

    /// Says that it is to end, and does not wait for that.
    pub fn end_soon(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.end_soon();
        // One that hangs does not keep the program from ending: what it began is `typed`, and nobody types it again.
        leave(self.thread.take(), LEAVE);
    }
}

struct Desk {
    engine: Arc<Engine>,
    caller: Caller,
    ending: Arc<AtomicBool>,
    pace: Arc<Mutex<Option<Instant>>>,
    /// Who types to which agent.
    hands: BTreeMap<AgentKey, JoinHandle<()>>,
    /// Deliveries to which a human was called, as far as this typist knows.
    doubted: BTreeSet<String>,
    said: String,
}

impl Desk {
    fn serve(&mut self) {
        let log = Log::new(&self.engine.home);
        while !self.ending.load(Ordering::SeqCst) {
            let trouble = self.turn().err().map(|error| error.to_string()).unwrap_or_default();
            if !trouble.is_empty() && trouble != self.said {
                log.line("typist", &trouble);
            }
            self.said = trouble;
            std::thread::park_timeout(LOOK_EVERY);
        }
        for (_, hand) in std::mem::take(&mut self.hands) {
            let _ = hand.join();
        }
    }

    fn turn(&mut self) -> Result<(), EngineError> {
        self.hands.retain(|_, hand| !hand.is_finished());
        let open = self.engine.reader()?.open_deliveries()?;
        let now = self.engine.now();
        self.doubted.retain(|id| open.iter().any(|delivery| delivery.delivery_id == *id));
        let mut new = BTreeSet::new();
        for doubtful in open.iter().filter(|delivery| delivery.in_doubt(now)) {
            if self.doubted.insert(doubtful.delivery_id.clone()) {
                new.insert(&doubtful.key);
                order(&self.engine, &self.caller, &doubtful.delivery_id, DeliveryWish::Doubt)?;
            }
        }
        let agents: BTreeSet<&AgentKey> = open.iter().map(|delivery| &delivery.key).collect();
        for key in agents {
            let of_agent = || open.iter().filter(|delivery| delivery.key == *key);
            let waits = next(of_agent(), now).is_some() || of_agent().any(|delivery| unsettled(delivery, now));
            if (waits || new.contains(key)) && !self.hands.contains_key(key) {
                self.lend_a_hand(key);
            }
        }
        Ok(())
    }

    fn lend_a_hand(&mut self, key: &AgentKey) {
        let hand = Hand {
            engine: Arc::clone(&self.engine),
            caller: self.caller.clone(),
            ending: Arc::clone(&self.ending),
            pace: Arc::clone(&self.pace),
            key: key.clone(),
        };
        let work = move || {
            if let Err(error) = hand.work() {
                Log::new(&hand.engine.home).line("typist", &format!("to {}: {error}", hand.key.name));
                // The desk looks again: what is wrong may last.
                hand.rest(LONGEST_PAUSE);
            }
        };
        if let Ok(thread) = std::thread::Builder::new().name(format!("to {}", key.name)).spawn(work) {
            self.hands.insert(key.clone(), thread);
        }
    }
}

/// Whether a text was typed of which more may be known soon.
fn unsettled(delivery: &Delivery, now: Moment) -> bool {
    delivery.state == DeliveryState::Typed && !delivery.in_doubt(now)
}

/// Types to one agent until nothing waits for it.
struct Hand {
    engine: Arc<Engine>,
    caller: Caller,
    ending: Arc<AtomicBool>,
    pace: Arc<Mutex<Option<Instant>>>,
    key: AgentKey,
}

impl Hand {
    fn work(&self) -> Result<(), EngineError> {
        let mut pause = FIRST_PAUSE;
        while !self.ending.load(Ordering::SeqCst) {
            // Anew each time: something more urgent may have come, or the agent may have taken it by itself.
            let open = self.engine.reader()?.open_deliveries()?;
            let of_agent = || open.iter().filter(|delivery| delivery.key == self.key);
            let now = self.engine.now();
            // What somebody typed who was killed before the key; nobody else of this process types to this agent.
            let begun = of_agent().filter(|delivery| delivery.state == DeliveryState::Typed);
            let begun = begun.max_by_key(|delivery| delivery.typed_at);
            if let Some(delivery) = begun
                && resume(&self.engine, &self.caller, delivery, &self.ending, &attempt::no_drill)? == Ended::Settled
            {
                pause = FIRST_PAUSE;
                continue;
            }
            let ended = match next(of_agent(), now) {
                Some(delivery) => attempt(&self.engine, &self.caller, delivery, &self.ending, &attempt::no_drill)?,
                None if of_agent().any(|delivery| unsettled(delivery, now)) => Ended::NotYet,
                None => return Ok(()),
            };
            match ended {
                Ended::Settled => pause = FIRST_PAUSE,
                Ended::NotYet => {
                    self.rest(pause.max(self.slot()));
                    pause = (pause * 3 / 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// How long until it is our turn to look: many who wait share few looks.
    fn slot(&self) -> Duration {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mine = pace.map_or(now, |last| (last + PACE).max(now));
        *pace = Some(mine);
        mine - now
    }

    fn rest(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.ending.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())));
        }
    }
}

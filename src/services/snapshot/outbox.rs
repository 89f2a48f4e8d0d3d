//! What is still to be done outside metawsm, as a screen tells it.

use crate::domain::time::Moment;

/// A letter that waits for longer than this waits for more than its turn, in seconds.
const TURN_SECONDS: u64 = 60;

/// The outbox in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Letters that wait or are in hand, those that failed and are tried again among them.
    pub waiting: u64,
    /// Those that failed and are tried again.
    pub failed: u64,
    /// Those that were given up: a human has to say what becomes of them.
    pub dead: u64,
    /// When the oldest of those that wait was written.
    pub oldest_at: Option<Moment>,
}

impl Outbox {
    /// Letters that were not carried out.
    pub fn count(&self) -> u64 {
        self.waiting + self.dead
    }

    /// Whether something does not go its way by itself, or not at once.
    pub fn stuck(&self, now: Moment) -> bool {
        let late = |at: Moment| now.since(at).as_secs() >= TURN_SECONDS;
        self.dead > 0 || self.failed > 0 || self.oldest_at.is_some_and(late)
    }
}

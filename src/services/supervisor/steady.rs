//! Keeps ages true where the clock is set, or has stood still while the machine slept: what was written down before is
//! told in the time that is in force now. Nobody is silent for an hour because the clock was put forward by one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::time::Moment;

/// So far a clock may be off what has passed without having been set; tmux tells whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// By how much the clock was set since the last look: milliseconds, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump(i64);

impl Jump {
    /// A moment of the time before, in the time that is in force now.
    pub fn carry(self, at: Moment) -> Moment {
        Moment::from_millis(at.millis().saturating_add(self.0))
    }
}

/// Holds the clock against the time that passes.
#[derive(Debug, Default)]
pub struct Pendulum {
    last: Option<(Instant, Moment)>,
    /// The last time it was put forward: until when the time before went, and by how much.
    forward: Option<(Moment, Jump)>,
    /// When the last look was, in the time that is in force now.
    before: Moment,
    now: Moment,
}

impl Pendulum {
    /// One look at the clock; whether it was set since the last.
    pub fn look(&mut self, now: Moment, passed: Instant) -> Option<Jump> {
        let last = self.last.replace((passed, now));
        self.now = now;
        let Some((then, at)) = last else {
            self.before = now;
            return None;
        };
        let expected = at.plus(passed.saturating_duration_since(then));
        let off = now.since(expected).max(expected.since(now));
        if off <= SLACK {
            self.before = at;
            return None;
        }
        let by = now.millis().saturating_sub(expected.millis());
        let jump = Jump(by.saturating_add(500).div_euclid(1000).saturating_mul(1000));
        self.before = jump.carry(at);
        self.forward = (now > expected).then_some((expected, jump));
        Some(jump)
    }
}

/// A moment as it is told, and in the time that is in force now.
#[derive(Debug, Clone, Copy)]
struct Stands {
    told: Moment,
    at: Moment,
}

/// Moments of many, each as last told.
#[derive(Debug)]
pub struct Steady<K>(BTreeMap<K, Stands>);

impl<K> Default for Steady<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Steady<K> {
    /// A moment that somebody tells, in the time that is in force now. What is `fresh` is told anew at each look: where
    /// it is another one than at the last, that was since then.
    pub fn at(&mut self, key: &K, told: Moment, fresh: bool, clock: &Pendulum) -> Moment {
        let known = self.0.get(key);
        if let Some(stands) = known.filter(|stands| stands.told == told) {
            return stands.at;
        }
        let at = match clock.forward {
            Some((until, jump)) if told <= until => jump.carry(told),
            Some(_) | None => told,
        };
        let at = if at > clock.now.plus(SLACK) { clock.now } else { at };
        let early = fresh && known.is_some() && at < clock.before.minus(SLACK);
        let at = if early { clock.before } else { at };
        self.0.insert(key.clone(), Stands { told, at });
        at
    }

    /// The clock was set.
    pub fn jumped(&mut self, jump: Jump) {
        self.0.values_mut().for_each(|stands| stands.at = jump.carry(stands.at));
    }

    /// What was last made of a moment; itself where it is another one than was told.
    pub fn known(&self, key: &K, told: Moment) -> Moment {
        self.0.get(key).filter(|stands| stands.told == told).map_or(told, |stands| stands.at)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but these.
    pub fn keep(&mut self, wanted: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| wanted(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    /// A clock and what it is held against: each step lasts a second.
    struct Time {
        clock: Pendulum,
        steady: Steady<u8>,
        passed: Instant,
        now: Moment,
    }

    impl Time {
        fn new() -> Self {
            let now = Moment::from_millis(1_795_248_000_000);
            let mut clock = Pendulum::default();
            let passed = Instant::now();
            assert_eq!(clock.look(now, passed), None);
            Self { clock, steady: Steady::default(), passed, now }
        }

        fn step(&mut self, seconds: i64) {
            self.passed += Duration::from_secs(1);
            self.now = Moment::from_millis(self.now.millis() + 1000 + seconds * 1000);
            let jump = self.clock.look(self.now, self.passed);
            assert_eq!(jump.is_some(), seconds != 0);
            if let Some(jump) = jump {
                self.steady.jumped(jump);
            }
        }

        fn age(&mut self, told: Moment) -> u64 {
            self.now.since(self.steady.at(&1, told, true, &self.clock)).as_secs()
        }
    }

    #[test]
    fn what_stands_ages_by_what_passes_however_the_clock_is_set() {
        let mut time = Time::new();
        let told = time.now;
        assert_eq!(time.age(told), 0);
        for (set, age) in [(0, 1), (3600, 2), (0, 3), (-3600, 4), (-3600, 5), (0, 6), (7200, 7)] {
            time.step(set);
            assert_eq!(time.age(told), age, "set by {set}");
        }
    }

    #[test]
    fn what_is_new_is_new_whichever_time_it_is_told_in() {
        let mut time = Time::new();
        let first = time.now;
        time.age(first);
        time.step(3600);
        // Printed right before the clock was set, and right after.
        assert!(time.age(first.plus(Duration::from_millis(500))) <= 1);
        let after = time.now;
        assert_eq!(time.age(after), 0);
        time.step(-3600);
        assert_eq!(time.age(after), 1, "an hour ahead of the clock");
        let set_back = time.now;
        assert_eq!(time.age(set_back), 0);
        // Somebody whose clock is another one altogether.
        time.step(0);
        assert!(time.age(set_back.minus(Duration::from_secs(HOUR))) <= 1);
        time.step(0);
        assert_eq!(time.age(set_back.plus(Duration::from_secs(HOUR))), 0);
    }

    #[test]
    fn a_slow_look_is_no_jump() {
        let mut clock = Pendulum::default();
        let (passed, now) = (Instant::now(), Moment::from_millis(1_795_248_000_000));
        clock.look(now, passed);
        let late = Duration::from_secs(40);
        assert_eq!(clock.look(now.plus(late), passed + late), None);
    }
}

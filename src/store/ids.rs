//! Identities: time and randomness come in here, and only here.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::time::Moment;

/// Where new ids come from.
pub trait Ids: Send + Sync {
    /// A new id that begins with `prefix`.
    fn next(&self, prefix: &str, now: Moment) -> String;
}

/// Ids that sort by time and do not collide between processes.
#[derive(Debug, Default)]
pub struct RandomIds {
    state: RandomState,
    count: AtomicU64,
}

impl Ids for RandomIds {
    fn next(&self, prefix: &str, now: Moment) -> String {
        // `RandomState` is keyed by the operating system's randomness once per process.
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, Ordering::Relaxed));
        hasher.write_i64(now.millis());
        let low = hasher.finish();
        hasher.write_u32(std::process::id());
        let high = hasher.finish();
        format!("{prefix}-{:011x}{:08x}{:08x}", now.millis(), high & 0xffff_ffff, low & 0xffff_ffff)
    }
}

/// Ids that count from 1: for tests.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn next(&self, prefix: &str, _now: Moment) -> String {
        format!("{prefix}-{:06}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Moment::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

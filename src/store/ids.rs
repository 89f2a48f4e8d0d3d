//! Identities: time and randomness come in here, and only here.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::time::Moment;

/// Where new ids come from.
pub trait Ids: Send + Sync {
    /// A new id that begins with `prefix`.
    fn next(&self, prefix: &str, now: Moment) -> String;

    /// 64 bits that nobody could have guessed, and no other call returns.
    fn random(&self) -> u64;
}

/// Ids that sort by time and do not collide between processes.
#[derive(Debug, Default)]
pub struct RandomIds {
    state: RandomState,
    count: AtomicU64,
}

impl Ids for RandomIds {
    fn next(&self, prefix: &str, now: Moment) -> String {
        let time = base32(now.millis().cast_unsigned(), 9);
        format!("{prefix}-{time}{}", base32(self.random(), 8))
    }

    fn random(&self) -> u64 {
        // `RandomState` is keyed by the operating system's randomness once per process.
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, Ordering::Relaxed));
        hasher.write_u32(std::process::id());
        hasher.finish()
    }
}

/// The last `digits` digits in a base of 32 without look-alikes: short enough to be typed.
fn base32(mut number: u64, digits: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut out = vec![b'0'; digits];
    for place in out.iter_mut().rev() {
        *place = ALPHABET[usize::try_from(number % 32).unwrap_or(0)];
        number /= 32;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Ids that count from 1: for tests.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn next(&self, prefix: &str, _now: Moment) -> String {
        format!("{prefix}-{:06}", self.random())
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
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

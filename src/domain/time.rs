//! A moment, as an argument: the domain never looks at a clock.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC, in milliseconds since 1970; in JSON RFC 3339 with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(i64);

/// What is told by processes that run at the same time is at most so far ahead.
const SLIGHT: Duration = Duration::from_secs(60);

impl Moment {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long ago `earlier` was; nothing when it lies ahead, as after a clock was set back.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whether it lies further ahead than a minute: then it was told by a clock that was set back since, and how long
    /// ago it was is not known. Whoever waits for something that began then would wait for that clock.
    pub fn is_of_another_clock(self, now: Moment) -> bool {
        self > now.ahead()
    }

    /// The latest moment that the clock by which this is now may have told.
    pub fn ahead(self) -> Self {
        self.plus(SLIGHT)
    }

    /// Whether at least `span` has passed since then, as far as is known: what a clock told that was set back since is
    /// long past.
    pub fn is_over(self, span: Duration, now: Moment) -> bool {
        self.is_of_another_clock(now) || now.since(self) >= span
    }

    /// The moment `span` later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The moment `span` earlier.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The date and time in UTC as `YYYYMMDD-HHMMSS`, the token in run ids.
    pub fn compact(self) -> String {
        self.timestamp().strftime("%Y%m%d-%H%M%S").to_string()
    }

    /// The time of day in UTC, with the date where that is not the one of `seen_from`.
    pub fn clock(self, seen_from: Moment) -> String {
        let form = if self.date() == seen_from.date() { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
        self.timestamp().strftime(form).to_string()
    }

    /// Year, month and day in UTC.
    pub fn date(self) -> (i16, u8, u8) {
        let date = self.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        (date.year(), date.month().unsigned_abs(), date.day().unsigned_abs())
    }

    /// Reads an RFC 3339 moment.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|stamp| Self(stamp.as_millisecond()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}

/// Reads a duration as typed by a person: `90s`, `30m`, `2h`, `1d`; a bare number means seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 90s, 30m, 2h or 1d");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..split].parse().map_err(|_| wrong())?;
    let unit = match &text[split..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    // A hundred years is more than any wait; beyond it the arithmetic on moments would run over.
    count.checked_mul(unit).filter(|seconds| *seconds <= 3_155_760_000).map(Duration::from_secs).ok_or_else(wrong)
}

/// An age as the screens print it: `<10s <1m 5m 3h 2d`.
pub fn age(span: Duration) -> String {
    match span.as_secs() {
        0..10 => "<10s".to_owned(),
        10..60 => "<1m".to_owned(),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// What is left until something, as the screens count it down: `5s 40s 1m 3h 2d`, the last minute in steps of 5 s.
pub fn left(span: Duration) -> String {
    match span.as_secs().div_ceil(5) * 5 {
        seconds @ 0..60 => format!("{}s", seconds.max(5)),
        _ => age(span.max(Duration::from_secs(60))),
    }
}

/// When something comes that is so far off: `in 40s`, `in 3m`, and `due` once it ought to have come.
pub fn coming(span: Duration) -> String {
    if span.is_zero() { "due".to_owned() } else { format!("in {}", left(span)) }
}

/// A span that was set, exactly, in the largest unit that does: `45s 90s 15m 2h 1d`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    match units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_milliseconds_in_utc() {
        let moment = Moment::from_millis(1_795_248_000_123);
        assert_eq!(moment.to_string(), "2026-11-21T08:00:00.123Z");
        assert_eq!(moment.compact(), "20261121-080000");
        assert_eq!(moment.date(), (2026, 11, 21));
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_age() {
        assert_eq!(Moment::from_millis(5).since(Moment::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn what_lies_further_ahead_than_a_minute_is_long_past() {
        let (now, minute) = (Moment::from_millis(100_000), Duration::from_secs(60));
        let over: Vec<bool> =
            [40_000, 40_001, 100_000, 160_000, 160_001].map(|at| Moment::from_millis(at).is_over(minute, now)).to_vec();
        assert_eq!(over, [true, false, false, false, true]);
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("5", 5)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "m", "-5s", "5w", "1.5h", "99999999999999999999s", "9999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages() {
        let shown: Vec<String> = [3, 59, 60, 3_599, 3_600, 86_400 * 2].map(|s| age(Duration::from_secs(s))).to_vec();
        assert_eq!(shown, ["<10s", "<1m", "1m", "59m", "1h", "2d"]);
        let ahead: Vec<String> = [0, 1, 38, 59, 60, 7_200].map(|s| coming(Duration::from_secs(s))).to_vec();
        assert_eq!(ahead, ["due", "in 5s", "in 40s", "in 1m", "in 1m", "in 2h"]);
        let set: Vec<String> = [0, 45, 60, 90, 900, 7_200, 86_400].map(|s| span(Duration::from_secs(s))).to_vec();
        assert_eq!(set, ["0s", "45s", "1m", "90s", "15m", "2h", "1d"]);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in 0_i64..4_102_444_800_000) {
            let moment = Moment::from_millis(millis);
            prop_assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
        }
    }
}

//! From an agent's signals to its health (spec 2.4, first match wins). Ends are not judged here: they come as
//! exits, from the launcher's record.

use std::time::Duration;

use serde_json::{Value, json};

use super::agent::{Health, WaitingFor};

/// After how many seconds silence means something; 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// Quiet.
    pub idle_seconds: u32,
    /// Quiet for too long.
    pub activity_stalled_seconds: u32,
    /// Without progress for too long.
    pub progress_stalled_seconds: u32,
}

/// What was seen of an agent whose program lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Time since its screen changed; unknown when tmux could not be asked.
    pub output_age: Option<Duration>,
    /// Time since it made progress; unknown when nothing watches for it.
    pub progress_age: Option<Duration>,
    /// Whether a question of it waits for a human.
    pub asks: bool,
}

/// What is made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Health.
    pub health: Health,
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// Why.
    pub reason: String,
    /// The signal behind it, its source, and how old it was.
    pub evidence: Value,
}

/// Judges an agent whose program lives.
pub fn judge(signals: &Signals, thresholds: &Thresholds) -> Verdict {
    let verdict = |health, waiting_for, reason: String, signal: &str, age: Option<Duration>| Verdict {
        health,
        waiting_for,
        reason,
        evidence: json!({
            "signal": signal,
            "source": if signal == "question" { "forum" } else { "tmux" },
            "age_seconds": age.map(|age| age.as_secs()),
        }),
    };
    if signals.asks {
        let reason = "waits for an answer in the forum".to_owned();
        return verdict(Health::Idle, WaitingFor::Guidance, reason, "question", signals.output_age);
    }
    let Some(output) = signals.output_age else {
        return verdict(
            Health::Unknown,
            WaitingFor::None,
            "its screen could not be looked at".to_owned(),
            "none",
            None,
        );
    };
    let past = |age: Duration, limit: u32| limit > 0 && age >= Duration::from_secs(u64::from(limit));
    let minutes = |age: Duration| super::time::age(age);
    if past(output, thresholds.activity_stalled_seconds) {
        let reason = format!("no output for {}", minutes(output));
        return verdict(Health::Stalled, WaitingFor::None, reason, "output", Some(output));
    }
    if let Some(progress) = signals.progress_age.filter(|age| past(*age, thresholds.progress_stalled_seconds)) {
        let reason = format!("no progress for {}", minutes(progress));
        return verdict(Health::Stalled, WaitingFor::None, reason, "progress", Some(progress));
    }
    if past(output, thresholds.idle_seconds) {
        let reason = format!("quiet for {}", minutes(output));
        return verdict(Health::Idle, WaitingFor::None, reason, "output", Some(output));
    }
    verdict(Health::Healthy, WaitingFor::None, "at work".to_owned(), "output", Some(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Thresholds =
        Thresholds { idle_seconds: 300, activity_stalled_seconds: 900, progress_stalled_seconds: 1200 };

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_match_wins() {
        let signals = |output, progress, asks| Signals { output_age: output, progress_age: progress, asks };
        for (given, health, waiting) in [
            (signals(seconds(0), None, false), Health::Healthy, WaitingFor::None),
            (signals(seconds(299), None, false), Health::Healthy, WaitingFor::None),
            (signals(seconds(300), None, false), Health::Idle, WaitingFor::None),
            (signals(seconds(900), None, false), Health::Stalled, WaitingFor::None),
            (signals(seconds(5), seconds(1200), false), Health::Stalled, WaitingFor::None),
            (signals(seconds(5), seconds(1199), false), Health::Healthy, WaitingFor::None),
            (signals(seconds(9_999), seconds(9_999), true), Health::Idle, WaitingFor::Guidance),
            (signals(None, seconds(0), false), Health::Unknown, WaitingFor::None),
        ] {
            let verdict = judge(&given, &LIMITS);
            assert_eq!((verdict.health, verdict.waiting_for), (health, waiting), "{given:?}");
        }
    }

    #[test]
    fn a_threshold_of_zero_means_never() {
        let signals = Signals { output_age: seconds(1_000_000), progress_age: seconds(1_000_000), asks: false };
        assert_eq!(judge(&signals, &Thresholds::default()).health, Health::Healthy);
    }
}

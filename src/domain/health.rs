//! From an agent's signals to its health (spec 2.4, first match wins). Ends are not judged here: they come as
//! exits, from the launcher's record.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agent::{Agent, Health, Quiet, WaitingFor};
use super::screen::{Shows, Sign};
use super::time::{Moment, age, span};

/// A screen that has not changed for so long is read: what is still being printed says nothing.
pub const STILL: Duration = Duration::from_secs(5);

/// After how many seconds silence means something; 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
pub struct Signals<'a> {
    /// Now.
    pub now: Moment,
    /// When its screen changed; unknown when tmux could not be asked.
    pub output_at: Option<Moment>,
    /// When it made progress, and what showed it; unknown where it may have made some that nobody has seen yet.
    pub progress: Option<(Moment, Source)>,
    /// Whether a question of it waits for a human.
    pub asks: bool,
    /// What its screen shows, where it stands still.
    pub screen: Option<&'a Sign>,
    /// The silence it announced.
    pub quiet: Option<&'a Quiet>,
    /// Its program, where that was stopped.
    pub stopped: Option<u32>,
}

/// What shows that an agent moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Its start, its word, or its post.
    Journal,
    /// HEAD or the index of a worktree.
    Git,
    /// A file that git does not have yet.
    Files,
}

impl Source {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Git => "git",
            Self::Files => "files",
        }
    }
}

/// The rules for agents whose program lives, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// It could not be looked at.
    Unreachable,
    /// It waits for an answer in the forum.
    Guidance,
    /// Its provider has had enough.
    Limit,
    /// It waits for a key.
    Input,
    /// Its screen has not changed for too long.
    Silent,
    /// It has made no progress for too long.
    Stuck,
    /// It is quiet.
    Idle,
    /// Nothing is wrong.
    Healthy,
}

impl Rule {
    /// All of them; the first that fits counts.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Guidance,
        Self::Limit,
        Self::Input,
        Self::Silent,
        Self::Stuck,
        Self::Idle,
        Self::Healthy,
    ];

    /// Its number in the table of spec 2.4; 2 and 3 are about ends.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unreachable => 1,
            Self::Guidance => 4,
            Self::Limit => 5,
            Self::Input => 6,
            Self::Silent | Self::Stuck => 7,
            Self::Idle => 8,
            Self::Healthy => 9,
        }
    }

    /// What it says, in words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "could not be looked at",
            Self::Guidance => "waits for an answer",
            Self::Limit => "limit",
            Self::Input => "waits for a key",
            Self::Silent => "no output",
            Self::Stuck => "no progress",
            Self::Idle => "quiet",
            Self::Healthy => "at work",
        }
    }

    /// The health it means.
    pub const fn health(self) -> Health {
        match self {
            Self::Unreachable => Health::Unknown,
            Self::Guidance | Self::Limit | Self::Input | Self::Idle => Health::Idle,
            Self::Silent | Self::Stuck => Health::Stalled,
            Self::Healthy => Health::Healthy,
        }
    }

    /// What it means that the agent waits for.
    pub const fn waiting_for(self) -> WaitingFor {
        match self {
            Self::Guidance => WaitingFor::Guidance,
            Self::Limit => WaitingFor::Limit,
            Self::Input => WaitingFor::Input,
            Self::Unreachable | Self::Silent | Self::Stuck | Self::Idle | Self::Healthy => WaitingFor::None,
        }
    }
}

/// What is made of the signals.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The rule.
    pub rule: Rule,
    /// Why.
    pub reason: String,
    /// The signal behind it, its source, and how old it was.
    pub evidence: Value,
}

/// A rule that was considered: whether it fits, and why or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weighed {
    /// Its number.
    pub rule: u8,
    /// What it says.
    pub name: String,
    /// Whether it fits.
    pub fits: bool,
    /// Why, or why not.
    pub why: String,
}

/// Whether a look says something else of an agent than the last one that was written down: another health, another
/// signal behind it, or another line on its screen. That an agent at work prints is no news.
pub fn is_news(agent: &Agent, health: Health, waiting_for: WaitingFor, signal: &str, line: &str) -> bool {
    let known = |key: &str| agent.evidence.get(key).and_then(Value::as_str).unwrap_or_default();
    let telling = |health: Health, signal: &str| health != Health::Healthy || signal == "quiet";
    let other_signal = known("signal") != signal && (telling(health, signal) || telling(agent.health, known("signal")));
    // Counters run on such lines.
    let letters = |line: &str| line.chars().filter(|c| c.is_alphabetic()).collect::<String>();
    health != agent.health
        || waiting_for != agent.waiting_for
        || other_signal
        || (known("line") != line && letters(known("line")) != letters(line))
}

impl Signals<'_> {
    /// The rule that counts.
    pub fn rule(&self, thresholds: &Thresholds) -> Rule {
        Rule::ALL.into_iter().find(|rule| self.fits(*rule, thresholds)).unwrap_or(Rule::Healthy)
    }

    fn fits(&self, rule: Rule, thresholds: &Thresholds) -> bool {
        let past = |at: Option<Moment>, limit: u32| {
            limit > 0 && at.is_some_and(|at| self.now.since(at) >= Duration::from_secs(u64::from(limit)))
        };
        let shows = |what: Shows| self.screen.is_some_and(|sign| sign.shows == what);
        match rule {
            Rule::Unreachable => self.output_at.is_none(),
            Rule::Guidance => self.asks,
            Rule::Limit => shows(Shows::Limit),
            Rule::Input => shows(Shows::Input),
            Rule::Silent => self.announced().is_none() && past(self.output_at, thresholds.activity_stalled_seconds),
            Rule::Stuck => {
                self.announced().is_none() && past(self.progress.map(|(at, _)| at), thresholds.progress_stalled_seconds)
            }
            Rule::Idle => self.stopped.is_some() || past(self.output_at, thresholds.idle_seconds),
            Rule::Healthy => true,
        }
    }

    /// The silence that is announced for now.
    pub fn announced(&self) -> Option<&Quiet> {
        self.quiet.filter(|quiet| quiet.holds(self.now))
    }

    /// Why a rule fits. Where its words are about a span it is the one allowed, which stays true as time goes by.
    fn reason(&self, rule: Rule, thresholds: &Thresholds) -> String {
        let span = |seconds: u32| span(Duration::from_secs(u64::from(seconds)));
        let screen = self.screen.map(Sign::words).unwrap_or_default();
        let stopped = if self.stopped.is_some() { ": its program is stopped" } else { "" };
        match rule {
            Rule::Unreachable => "its screen could not be looked at".to_owned(),
            Rule::Guidance => "waits for an answer in the forum".to_owned(),
            Rule::Limit => format!("its model is out of reach or its limit spent: {screen}"),
            Rule::Input => format!("waits for a key: {screen}"),
            Rule::Silent => format!("no output for over {}{stopped}", span(thresholds.activity_stalled_seconds)),
            Rule::Stuck => format!("no progress for over {}{stopped}", span(thresholds.progress_stalled_seconds)),
            Rule::Idle if self.stopped.is_some() => "its program is stopped".to_owned(),
            Rule::Idle | Rule::Healthy if self.announced().is_some() => {
                self.announced().map(Quiet::words).unwrap_or_default()
            }
            Rule::Idle => format!("quiet for over {}", span(thresholds.idle_seconds)),
            Rule::Healthy => "at work".to_owned(),
        }
    }

    /// The signal a rule goes by.
    pub fn signal(&self, rule: Rule) -> &'static str {
        match rule {
            Rule::Unreachable => "none",
            Rule::Guidance => "question",
            Rule::Limit | Rule::Input => "screen",
            Rule::Silent | Rule::Stuck | Rule::Idle if self.stopped.is_some() => "program",
            Rule::Stuck => "progress",
            Rule::Idle | Rule::Healthy if self.announced().is_some() => "quiet",
            Rule::Silent | Rule::Idle | Rule::Healthy => "output",
        }
    }

    /// What is made of them.
    pub fn judge(&self, thresholds: &Thresholds) -> Verdict {
        let rule = self.rule(thresholds);
        let signal = self.signal(rule);
        let (source, at) = match signal {
            "progress" => (self.progress.map_or("none", |(_, source)| source.word()), self.progress.map(|(at, _)| at)),
            "question" => ("forum", None),
            "quiet" => ("agent", self.quiet.map(|quiet| quiet.since)),
            "program" => ("process table", self.output_at),
            _ => ("tmux", self.output_at),
        };
        let mut evidence = json!({
            "rule": rule.number(),
            "signal": signal,
            "source": source,
            "at": at,
            "age_seconds": at.map(|at| self.now.since(at).as_secs()),
            "seen_at": self.now,
        });
        if let (Rule::Limit | Rule::Input, Some(sign), Some(fields)) = (rule, self.screen, evidence.as_object_mut()) {
            fields.insert("line".to_owned(), sign.line.as_str().into());
            fields.insert("question".to_owned(), json!(sign.question));
            fields.insert("pattern".to_owned(), sign.pattern.as_str().into());
        }
        if let (Some(pid), Some(fields)) = (self.stopped.filter(|_| signal == "program"), evidence.as_object_mut()) {
            fields.insert("stopped_pid".to_owned(), pid.into());
        }
        Verdict { rule, reason: self.reason(rule, thresholds), evidence }
    }

    /// Every rule with whether it fits, and why or why not; those below the one that counts are not asked any more.
    pub fn weigh(&self, thresholds: &Thresholds) -> Vec<Weighed> {
        let counts = self.rule(thresholds);
        let mut found = Vec::new();
        for rule in Rule::ALL.into_iter().take_while(|rule| *rule <= counts) {
            let fits = rule == counts;
            let why = if fits { self.reason(rule, thresholds) } else { self.why_not(rule, thresholds) };
            found.push(Weighed { rule: rule.number(), name: rule.word().to_owned(), fits, why });
        }
        found
    }

    fn why_not(&self, rule: Rule, thresholds: &Thresholds) -> String {
        let since = |at: Option<Moment>| at.map_or("an unknown time".to_owned(), |at| age(self.now.since(at)));
        let against = |what: &str, at: Option<Moment>, limit: u32| match (limit, self.announced()) {
            (0, _) => "switched off: its threshold is 0".to_owned(),
            (_, Some(quiet)) if rule != Rule::Idle => quiet.words(),
            (_, _) => format!("{what} {}, {} is allowed", since(at), span(Duration::from_secs(u64::from(limit)))),
        };
        match rule {
            Rule::Unreachable => "tmux answered".to_owned(),
            Rule::Guidance => "no question of it waits".to_owned(),
            Rule::Limit | Rule::Input => match self.screen {
                Some(sign) => format!("its screen shows something else: {}", sign.words()),
                None if self.output_at.is_some_and(|at| self.now.since(at) < STILL) => {
                    format!(
                        "its screen had changed {} before: it is read when it has stood still for {}",
                        since(self.output_at),
                        span(STILL)
                    )
                }
                None => "its screen shows none of its runner's patterns".to_owned(),
            },
            Rule::Silent => against("silent for", self.output_at, thresholds.activity_stalled_seconds),
            Rule::Stuck if self.progress.is_none() && thresholds.progress_stalled_seconds > 0 => {
                "whether there was progress is not known".to_owned()
            }
            Rule::Stuck => {
                against("no progress for", self.progress.map(|(at, _)| at), thresholds.progress_stalled_seconds)
            }
            Rule::Idle => against("silent for", self.output_at, thresholds.idle_seconds),
            Rule::Healthy => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Thresholds =
        Thresholds { idle_seconds: 300, activity_stalled_seconds: 900, progress_stalled_seconds: 1200 };
    const NOW: Moment = Moment::from_millis(1_795_248_000_000);

    fn ago(seconds: u64) -> Option<Moment> {
        Some(NOW.minus(Duration::from_secs(seconds)))
    }

    fn sign(shows: Shows) -> Sign {
        Sign { shows, line: "Proceed?".into(), question: None, pattern: "Proceed".into() }
    }

    fn seen(output: u64, progress: u64) -> Signals<'static> {
        let progress = ago(progress).map(|at| (at, Source::Journal));
        Signals { now: NOW, output_at: ago(output), progress, ..Signals::default() }
    }

    #[test]
    fn the_first_match_wins() {
        let (limit, input) = (sign(Shows::Limit), sign(Shows::Input));
        let blind = Signals { output_at: None, ..seen(0, 0) };
        let unsure = Signals { progress: None, ..seen(5, 0) };
        for (given, rule, health, waiting) in [
            (seen(0, 0), Rule::Healthy, Health::Healthy, WaitingFor::None),
            (seen(299, 0), Rule::Healthy, Health::Healthy, WaitingFor::None),
            (seen(300, 0), Rule::Idle, Health::Idle, WaitingFor::None),
            (seen(900, 0), Rule::Silent, Health::Stalled, WaitingFor::None),
            (seen(900, 9_999), Rule::Silent, Health::Stalled, WaitingFor::None),
            // D26: what it prints is no progress.
            (seen(0, 1200), Rule::Stuck, Health::Stalled, WaitingFor::None),
            (seen(0, 1199), Rule::Healthy, Health::Healthy, WaitingFor::None),
            (seen(300, 1200), Rule::Stuck, Health::Stalled, WaitingFor::None),
            // What is not known is not overdue.
            (unsure, Rule::Healthy, Health::Healthy, WaitingFor::None),
            (Signals { asks: true, ..seen(9_999, 9_999) }, Rule::Guidance, Health::Idle, WaitingFor::Guidance),
            (Signals { screen: Some(&limit), ..seen(9_999, 9_999) }, Rule::Limit, Health::Idle, WaitingFor::Limit),
            (Signals { screen: Some(&input), ..seen(9_999, 9_999) }, Rule::Input, Health::Idle, WaitingFor::Input),
            (
                Signals { asks: true, screen: Some(&limit), ..seen(0, 0) },
                Rule::Guidance,
                Health::Idle,
                WaitingFor::Guidance,
            ),
            (blind, Rule::Unreachable, Health::Unknown, WaitingFor::None),
            (Signals { asks: true, ..blind }, Rule::Unreachable, Health::Unknown, WaitingFor::None),
            (Signals { stopped: Some(7), ..seen(6, 0) }, Rule::Idle, Health::Idle, WaitingFor::None),
            (Signals { stopped: Some(7), ..seen(900, 0) }, Rule::Silent, Health::Stalled, WaitingFor::None),
        ] {
            let found = given.judge(&LIMITS).rule;
            assert_eq!((found, found.health(), found.waiting_for()), (rule, health, waiting), "{given:?}");
        }
    }

    #[test]
    fn a_threshold_of_zero_means_never() {
        let given = seen(1_000_000, 1_000_000);
        assert_eq!(given.rule(&Thresholds::default()), Rule::Healthy);
        let only = |thresholds: Thresholds| given.rule(&thresholds);
        assert_eq!(only(Thresholds { idle_seconds: 1, ..Thresholds::default() }), Rule::Idle);
        assert_eq!(only(Thresholds { activity_stalled_seconds: 1, ..Thresholds::default() }), Rule::Silent);
        assert_eq!(only(Thresholds { progress_stalled_seconds: 1, ..Thresholds::default() }), Rule::Stuck);
    }

    #[test]
    fn announced_silence_is_no_stall_until_its_time_and_is_told_as_such() {
        let until = NOW.plus(Duration::from_secs(60));
        let quiet = Quiet { since: NOW.minus(Duration::from_secs(9)), until, reason: "long build".into() };
        let given = Signals { quiet: Some(&quiet), ..seen(9_999, 9_999) };
        let verdict = given.judge(&LIMITS);
        assert_eq!(verdict.rule, Rule::Idle);
        assert_eq!(verdict.reason, "quiet until 08:01 UTC: long build");
        assert_eq!((&verdict.evidence["signal"], &verdict.evidence["age_seconds"]), (&json!("quiet"), &json!(9)));
        let after = Signals { now: until, ..given };
        assert_eq!(after.rule(&LIMITS), Rule::Silent);
        // It hides no dialog and no question.
        let input = sign(Shows::Input);
        assert_eq!(Signals { screen: Some(&input), ..given }.rule(&LIMITS), Rule::Input);
        assert_eq!(Signals { asks: true, ..given }.rule(&LIMITS), Rule::Guidance);
    }

    #[test]
    fn every_verdict_names_its_signal_its_source_and_its_age() {
        let input = sign(Shows::Input);
        let evidence = |given: Signals<'_>| {
            let found = given.judge(&LIMITS).evidence;
            format!("{} {} {} {}", found["rule"], found["signal"], found["source"], found["age_seconds"])
        };
        assert_eq!(evidence(seen(7, 3)), r#"9 "output" "tmux" 7"#);
        assert_eq!(evidence(seen(7, 1300)), r#"7 "progress" "journal" 1300"#);
        assert_eq!(evidence(Signals { asks: true, ..seen(7, 3) }), r#"4 "question" "forum" null"#);
        assert_eq!(evidence(Signals { output_at: None, ..seen(7, 3) }), r#"1 "none" "tmux" null"#);
        let waits = Signals { screen: Some(&input), ..seen(7, 3) };
        assert_eq!(evidence(waits), r#"6 "screen" "tmux" 7"#);
        assert_eq!(waits.judge(&LIMITS).evidence["line"], "Proceed?");
    }

    #[test]
    fn a_stopped_program_is_named_whatever_it_comes_to() {
        for (given, reason) in [
            (seen(6, 0), "its program is stopped"),
            (seen(900, 0), "no output for over 15m: its program is stopped"),
            (seen(6, 1200), "no progress for over 20m: its program is stopped"),
        ] {
            let verdict = Signals { stopped: Some(7), ..given }.judge(&LIMITS);
            assert_eq!(verdict.reason, reason);
            assert_eq!((&verdict.evidence["signal"], &verdict.evidence["stopped_pid"]), (&json!("program"), &json!(7)));
        }
    }

    #[test]
    fn what_was_considered_is_told_up_to_the_rule_that_fits() {
        let told: Vec<String> = seen(900, 0)
            .weigh(&LIMITS)
            .iter()
            .map(|weighed| format!("{} {} {}: {}", weighed.rule, weighed.fits, weighed.name, weighed.why))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        1 false could not be looked at: tmux answered
        4 false waits for an answer: no question of it waits
        5 false limit: its screen shows none of its runner's patterns
        6 false waits for a key: its screen shows none of its runner's patterns
        7 true no output: no output for over 15m
        ");
    }

    proptest! {
        #[test]
        fn exactly_one_rule_counts_and_the_lowest_that_fits(
            output in proptest::option::of(0_u64..2_000), progress in proptest::option::of(0_u64..2_000),
            asks: bool, screen in 0_u8..3, announced: bool, stopped: bool, idle in 0_u32..1_000, silent in 0_u32..1_000, stuck in 0_u32..1_000,
        ) {
            let limits = Thresholds { idle_seconds: idle, activity_stalled_seconds: silent, progress_stalled_seconds: stuck };
            let sign = match screen { 0 => None, 1 => Some(sign(Shows::Limit)), _ => Some(sign(Shows::Input)) };
            let quiet = Quiet { since: NOW, until: NOW.plus(Duration::from_secs(1)), reason: String::new() };
            let given = Signals {
                now: NOW,
                output_at: output.and_then(ago),
                progress: progress.and_then(ago).map(|at| (at, Source::Files)),
                asks,
                screen: sign.as_ref(),
                quiet: announced.then_some(&quiet),
                stopped: stopped.then_some(7),
            };
            let rule = given.rule(&limits);
            let weighed = given.weigh(&limits);
            prop_assert_eq!(weighed.iter().filter(|weighed| weighed.fits).count(), 1);
            prop_assert_eq!(weighed.last().unwrap().rule, rule.number());
            prop_assert!(weighed.iter().all(|weighed| !weighed.why.is_empty()));
            prop_assert_eq!(rule == Rule::Unreachable, output.is_none());
            prop_assert!(!(announced && rule.health() == Health::Stalled));
            let stalled = rule.health() == Health::Stalled;
            prop_assert!(!stalled || (silent > 0 && output.unwrap() >= u64::from(silent)) || (stuck > 0 && progress.unwrap() >= u64::from(stuck)));
        }
    }
}

//! The adviser: a program that is asked what it would do about a run, and of whose answer little comes (spec 2.7). It
//! may call a human where the rules say nothing, and only in mode `auto`; everything else it says is written down and
//! shown. Its answer is text from outside: read strictly, and judged by what the run is like when it comes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operator::{Action, Conclusion, Intent};
use super::time::Moment;

mod prompt;
mod reply;

pub(super) use prompt::as_of;
pub use prompt::{Facts, Request, about};
pub use reply::{Expected, Reading, TAIL, read_reply};

/// The target of what concerns the adviser's program: it belongs to no run.
pub const ADVISER_TARGET: &str = "adviser";

/// The name under which is kept what concerns its program.
pub const PROGRAM: &str = "";

/// So many failures in a row are told to a human.
pub const FAILURES_TOLD: u32 = 3;

/// The word for: nothing is to be done.
pub const NOOP: &str = "noop";

/// However short the interval of the policy is: no two questions about a run within this time.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The longest transcript in the journal, in bytes of JSON: the rest of the payload has to fit beside it.
const LONGEST_TRANSCRIPT: usize = 40 * 1024;

/// What the adviser may wish: what a rule may, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Aim {
    /// Nothing.
    Noop,
    /// What this rule wants.
    Rule(Intent),
}

impl Aim {
    /// The words that an answer may hold.
    pub fn allowed() -> impl Iterator<Item = Self> {
        // That restarts are forgotten is bookkeeping, and nobody's opinion.
        let rules =
            Intent::ALL.into_iter().filter(|intent| *intent != Intent::ResetRestarts && !intent.hands_on_work());
        std::iter::once(Self::Noop).chain(rules.map(Self::Rule))
    }

    /// What the word stands for; none where it is not allowed.
    pub fn parse(word: &str) -> Option<Self> {
        Self::allowed().find(|aim| aim.word() == word)
    }

    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Noop => NOOP,
            Self::Rule(intent) => intent.word(),
        }
    }

    /// Whether it wants a human to be called, and nothing else.
    pub const fn only_calls(self) -> bool {
        match self {
            Self::Noop => false,
            Self::Rule(intent) => intent.only_calls(),
        }
    }
}

impl From<Aim> for String {
    fn from(aim: Aim) -> Self {
        aim.word().to_owned()
    }
}

impl TryFrom<String> for Aim {
    type Error = String;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        Self::parse(&word).ok_or_else(|| format!("{word} is no intent of the adviser"))
    }
}

/// An answer as it was understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What it would do.
    pub intent: Aim,
    /// About what.
    pub target: String,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// Why.
    pub reason: String,
}

/// Why nothing comes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// There is no answer in what it wrote, or not one that can be read.
    Malformed,
    /// It wants something that is not in the list.
    UnknownIntent,
    /// It is about something that was not asked about.
    OtherTarget,
    /// It is about another run.
    OtherRun,
    /// It is not sure enough.
    LowConfidence,
    /// It did not come in time.
    Late,
    /// The program could not be asked, or failed.
    Failed,
    /// What it was asked about has changed since.
    Overtaken,
    /// The rules say otherwise, and they decide.
    Differs,
    /// Who asked was told to end.
    Interrupted,
}

impl Why {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownIntent => "unknown_intent",
            Self::OtherTarget => "other_target",
            Self::OtherRun => "other_run",
            Self::LowConfidence => "low_confidence",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Overtaken => "overtaken",
            Self::Differs => "differs",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether it is the program that does not work.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Malformed | Self::Late | Self::Failed)
    }
}

/// A rejection with its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Why.
    pub why: Why,
    /// In words.
    pub detail: String,
}

impl Rejection {
    /// One in words.
    pub fn new(why: Why, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }
}

/// What comes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It says what the rules say.
    Agrees,
    /// A human is called by it.
    Escalated,
    /// Nothing.
    Rejected,
}

/// What the rules say about a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSays {
    /// The target.
    pub target: String,
    /// What its rule wants.
    pub wants: Intent,
    /// What comes of that.
    pub action: Action,
}

impl RuleSays {
    /// What the rules say by a conclusion; what is only kept in order says nothing.
    pub fn of(conclusion: &Conclusion) -> Option<Self> {
        let decision = &conclusion.decision;
        let says = Self { target: decision.target.clone(), wants: decision.intent, action: decision.action };
        (decision.intent != Intent::ResetRestarts).then_some(says)
    }
}

/// What a question was about, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Agents of the run.
    pub agents: usize,
    /// Those among them that are down or hang.
    pub unhealthy: usize,
    /// Questions that wait for a human.
    pub questions: usize,
    /// What the rules said.
    pub rules: Vec<RuleSays>,
}

/// A question that was put to the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Identity of the question.
    pub question_id: String,
    /// The program.
    pub program: String,
    /// A fingerprint of what was wrong: the same is not asked again soon.
    pub about: String,
    /// What was asked about, in short.
    pub request: Summary,
    /// Bytes that were given to it.
    pub bytes_in: u64,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advised {
    /// Which.
    pub question_id: String,
    /// The program.
    pub program: String,
    /// What was asked about, in short.
    pub request: Summary,
    /// What comes of the answer.
    pub outcome: Outcome,
    /// Why nothing comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// The answer as it was understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// What the rules said about its target when it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Aim>,
    /// The object that was taken for the answer, where one was found and is not large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
    /// The end of what the program wrote.
    pub transcript: String,
    /// Whether it wrote more than that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// Bytes that were given to it.
    pub bytes_in: u64,
    /// Bytes that it wrote.
    pub bytes_out: u64,
}

impl Advised {
    /// Whether it is the program that does not work.
    pub fn is_failure(&self) -> bool {
        self.rejection.as_ref().is_some_and(|rejection| rejection.why.is_failure())
    }
}

/// What questions have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Questions that were put.
    pub questions: u64,
    /// Answers of which nothing came, failures among them.
    pub rejected: u64,
    /// Milliseconds that the program ran.
    pub duration_ms: u64,
    /// Bytes that were given to it.
    pub bytes_in: u64,
    /// Bytes that it wrote.
    pub bytes_out: u64,
}

/// The last question about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAsked {
    /// Identity.
    pub question_id: String,
    /// When.
    pub at: Moment,
    /// A fingerprint of what was wrong.
    pub about: String,
    /// How often just that had been asked before, without anything else between.
    pub repeats: u32,
}

/// The last answer about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastAdvised {
    /// The question.
    pub question_id: String,
    /// When it came.
    pub at: Moment,
    /// What came of it.
    pub outcome: Outcome,
    /// Why nothing.
    pub rejection: Option<Rejection>,
    /// The answer.
    pub advice: Option<Advice>,
    /// What the rules said about its target.
    pub rule: Option<Aim>,
}

/// What is kept of the adviser: for each run, and under [`PROGRAM`] for all of them together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Adviser {
    /// The last question.
    pub asked: Option<LastAsked>,
    /// The last answer.
    pub advised: Option<LastAdvised>,
    /// How often it has failed in a row.
    pub failures: u32,
    /// Since when it fails.
    pub failing_since: Option<Moment>,
    /// What it has cost.
    pub tally: Tally,
}

impl Adviser {
    /// When the next question may be put; now where nothing stands against it.
    ///
    /// The same as before is asked less and less often: an answer to it is there, or none can be had.
    pub fn next_at(&self, about: &str, interval: Duration, now: Moment) -> Moment {
        let Some(asked) = self.asked_before(now) else { return Moment::default() };
        let same = asked.about == about;
        let times = if same { 2_u32.pow(asked.repeats.min(4)) } else { 1 };
        asked.at.plus(interval.max(SHORTEST_INTERVAL).saturating_mul(times))
    }

    /// The earliest time of a next question, whatever it is about.
    pub fn not_before(&self, interval: Duration, now: Moment) -> Moment {
        self.asked_before(now).map_or_else(Moment::default, |asked| asked.at.plus(interval.max(SHORTEST_INTERVAL)))
    }

    /// The last question. One that lies ahead was put before the clock was set back: how long ago is not known, and
    /// nobody is to wait for that time to come again.
    fn asked_before(&self, now: Moment) -> Option<&LastAsked> {
        self.asked.as_ref().filter(|asked| !asked.at.is_of_another_clock(now))
    }

    /// The question that has no answer yet. Of one whose supervisor was killed the next one says that none comes.
    pub fn open(&self) -> Option<&LastAsked> {
        let answered = self.advised.as_ref().map(|advised| &advised.question_id);
        self.asked.as_ref().filter(|asked| answered != Some(&asked.question_id))
    }

    /// Notes a question.
    pub fn note_asked(&mut self, asked: &Asked, at: Moment) {
        let repeats = match &self.asked {
            Some(last) if last.about == asked.about => last.repeats.saturating_add(1),
            Some(_) | None => 0,
        };
        self.asked =
            Some(LastAsked { question_id: asked.question_id.clone(), at, about: asked.about.clone(), repeats });
        self.tally.questions += 1;
        self.tally.bytes_in += asked.bytes_in;
    }

    /// Notes how a question ended.
    pub fn note_advised(&mut self, advised: &Advised, at: Moment) {
        self.tally.duration_ms += advised.duration_ms;
        self.tally.bytes_out += advised.bytes_out;
        self.tally.rejected += u64::from(advised.outcome == Outcome::Rejected);
        if advised.is_failure() {
            self.failures = self.failures.saturating_add(1);
            self.failing_since = self.failing_since.or(Some(at));
        } else if advised.rejection.as_ref().is_none_or(|rejection| rejection.why != Why::Interrupted) {
            (self.failures, self.failing_since) = (0, None);
        }
        self.advised = Some(LastAdvised {
            question_id: advised.question_id.clone(),
            at,
            outcome: advised.outcome,
            rejection: advised.rejection.clone(),
            advice: advised.advice.clone(),
            rule: advised.rule,
        });
    }
}

/// The end of what a program wrote, short enough for the journal however it is escaped there; whether that is less than
/// all of it.
pub fn transcript(text: &str) -> (String, bool) {
    let cost = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    };
    let mut left = LONGEST_TRANSCRIPT;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        match left.checked_sub(cost(c)) {
            Some(rest) => (left, start) = (rest, at),
            None => return (text[start..].to_owned(), true),
        }
    }
    (text.to_owned(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(about: &str) -> Asked {
        Asked {
            question_id: "q".into(),
            program: "p".into(),
            about: about.into(),
            request: Summary::default(),
            bytes_in: 10,
        }
    }

    #[test]
    fn the_same_is_asked_less_and_less_often_and_anything_else_after_the_interval() {
        let (mut kept, minute) = (Adviser::default(), Duration::from_secs(60));
        let mut now = Moment::from_millis(0);
        assert_eq!(kept.next_at("a", minute, now), Moment::default());
        let mut waits = Vec::new();
        for _ in 0..7 {
            kept.note_asked(&asked("a"), now);
            assert_eq!(kept.next_at("b", minute, now).since(now), minute);
            waits.push(kept.next_at("a", minute, now).since(now).as_secs() / 60);
            now = kept.next_at("a", minute, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
        kept.note_asked(&asked("b"), now);
        assert_eq!(kept.next_at("b", minute, now).since(now), minute);
        assert_eq!(
            kept.next_at("a", Duration::ZERO, now).since(now),
            SHORTEST_INTERVAL,
            "never in a circle without rest"
        );
        let earlier = now.minus(Duration::from_secs(3_600));
        assert!(kept.next_at("b", minute, earlier) <= earlier, "a clock that was set back holds nothing up");
        assert!(kept.not_before(minute, earlier) <= earlier);
        assert_eq!((kept.tally.questions, kept.tally.bytes_in), (8, 80));
    }

    #[test]
    fn a_transcript_is_the_end_of_it_and_fits_however_it_is_escaped() {
        assert_eq!(transcript("short"), ("short".to_owned(), false));
        for piece in ["x", "\u{1}", "\"", "ä", "🦀"] {
            let (kept, cut) = transcript(&format!("{}end", piece.repeat(100_000)));
            assert!(cut && kept.ends_with("end"));
            assert!(Value::from(kept).to_string().len() <= LONGEST_TRANSCRIPT + 2);
        }
    }
}

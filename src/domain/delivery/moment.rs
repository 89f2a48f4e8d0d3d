//! When a text may be typed: what was seen of the session, what makes it the moment, and what is in the way.

use std::time::Duration;

use super::screen::Shows;
use crate::domain::actor::ActorType;
use crate::domain::time::Moment;

/// An agent that has printed nothing for so long is quiet.
const QUIET_AFTER: Duration = Duration::from_secs(5);
/// Where nothing says whether the program is at work, a person's text waits for this much silence.
const STILL_FOR: Duration = Duration::from_secs(1);
/// Somebody attached to the session who has pressed a key since then is typing there.
const KEYS_WITHIN: Duration = Duration::from_secs(5);

/// What was seen of a session before something is typed into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What its screen says.
    pub shows: Shows,
    /// Whether the runner's data says how its composer looks.
    pub knows_composer: bool,
    /// Whether somebody attached is scrolling in it.
    pub scrolling: bool,
    /// How long ago at least somebody attached pressed a key in it.
    pub keys: Option<Duration>,
    /// For how long at least it has printed nothing.
    pub quiet: Duration,
    /// Whether what stands in its composer is a text that was typed and that nobody took.
    pub typed_before: bool,
}

/// How long ago something was at least that a clock told which was set back since.
const LONG_AGO: Duration = Duration::from_secs(60);

impl Seen {
    /// How long nothing was printed at least, where tmux says in which second it was. Where that lies well ahead, nothing
    /// was since the clock was set back.
    pub fn quiet_since(now: Moment, second: i64) -> Duration {
        let end = Moment::from_millis(second.saturating_add(1).saturating_mul(1000));
        if end.is_of_another_clock(now) { LONG_AGO } else { now.since(end) }
    }
}

/// What makes it the moment to type a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// The composer is there and empty.
    Ready,
    /// Nothing was printed for a while.
    Quiet,
    /// It does not wait for a better one.
    Urgent,
}

impl Cue {
    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Quiet => "quiet",
            Self::Urgent => "urgent",
        }
    }
}

/// Why a text is not typed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// A dialog is open: what is typed into it answers it.
    Dialog(String),
    /// A turn runs.
    Busy(String),
    /// The place to type in is not there.
    NoComposer,
    /// Somebody's words stand there, and what is typed would join them.
    Draft,
    /// A text that was typed stands there and was not taken.
    Typed,
    /// Somebody scrolls in the session.
    Scrolling,
    /// Somebody types in the session.
    Keys,
    /// It printed something just now.
    NotQuiet,
}

impl Hold {
    /// The word in JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Dialog(_) => "dialog",
            Self::Busy(_) => "busy",
            Self::NoComposer => "no_composer",
            Self::Draft => "draft",
            Self::Typed => "typed",
            Self::Scrolling => "scrolling",
            Self::Keys => "keys",
            Self::NotQuiet => "not_quiet",
        }
    }

    /// The reason in words, of agent `name`.
    pub fn words(&self, name: &str) -> String {
        match self {
            Self::Dialog(asks) => format!("{name} shows a dialog: {asks}"),
            Self::Busy(line) => format!("{name} is at work: {line}"),
            Self::NoComposer => format!("{name} shows no place to type in"),
            Self::Draft => format!("somebody's unsent text stands in the composer of {name}"),
            Self::Typed => format!(
                "text that metawsm typed and nobody took stands in the composer of {name}: attach, and send or clear it"
            ),
            Self::Scrolling => format!("somebody scrolls in the session of {name}"),
            Self::Keys => format!("somebody types in the session of {name}"),
            Self::NotQuiet => format!("{name} is not quiet yet"),
        }
    }
}

/// Whether text of this author may be typed into what was seen.
///
/// Nothing is ever typed into a dialog, over somebody's shoulder, or where the composer should be and is not. A turn
/// that runs is interrupted by what is urgent alone. Otherwise text of a person goes in as soon as there is a place for
/// it, other text when the agent has been quiet for a while.
///
/// # Errors
/// Why not yet.
pub fn may_type(from: ActorType, urgent: bool, seen: &Seen) -> Result<Cue, Hold> {
    if let Shows::Dialog(asks) = &seen.shows {
        return Err(Hold::Dialog(asks.clone()));
    }
    if seen.scrolling {
        return Err(Hold::Scrolling);
    }
    if seen.keys.is_some_and(|age| age < KEYS_WITHIN) {
        return Err(Hold::Keys);
    }
    let cue = match &seen.shows {
        Shows::Busy(line) if !urgent => return Err(Hold::Busy(line.clone())),
        Shows::Draft | Shows::Ready if seen.typed_before => return Err(Hold::Typed),
        Shows::Draft => return Err(Hold::Draft),
        Shows::Unclear if seen.knows_composer => return Err(Hold::NoComposer),
        Shows::Unclear if seen.quiet >= STILL_FOR => Cue::Quiet,
        Shows::Unclear if !urgent => return Err(Hold::NotQuiet),
        Shows::Busy(_) | Shows::Unclear | Shows::Dialog(_) => Cue::Urgent,
        Shows::Ready => Cue::Ready,
    };
    if !urgent && from != ActorType::Human && seen.quiet < QUIET_AFTER {
        return Err(Hold::NotQuiet);
    }
    Ok(cue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm(shows: Shows) -> Seen {
        Seen {
            shows,
            knows_composer: true,
            scrolling: false,
            keys: None,
            quiet: Duration::from_secs(60),
            typed_before: false,
        }
    }

    #[test]
    fn when_it_may_be_typed() {
        let (person, operator) = ((ActorType::Human, false), (ActorType::Operator, false));
        let urgent = (ActorType::Operator, true);
        let busy = || Shows::Busy("esc to interrupt".into());
        let word = |(from, urgent), seen: Seen| match may_type(from, urgent, &seen) {
            Ok(cue) => cue.word(),
            Err(hold) => hold.word(),
        };
        let fresh = |shows| Seen { quiet: Duration::ZERO, ..calm(shows) };
        let table: Vec<String> = [
            ("ready", calm(Shows::Ready)),
            ("ready, just printed", fresh(Shows::Ready)),
            ("busy", fresh(busy())),
            ("dialog", calm(Shows::Dialog("Proceed?".into()))),
            ("draft", calm(Shows::Draft)),
            ("typed, not taken", Seen { typed_before: true, ..calm(Shows::Draft) }),
            ("typed, a line break", Seen { typed_before: true, ..calm(Shows::Ready) }),
            ("no composer", calm(Shows::Unclear)),
            ("unknown program", Seen { knows_composer: false, ..calm(Shows::Unclear) }),
            ("unknown program, printing", Seen { knows_composer: false, ..fresh(Shows::Unclear) }),
            ("scrolled", Seen { scrolling: true, ..calm(Shows::Ready) }),
            ("typed in", Seen { keys: Some(Duration::from_secs(1)), ..calm(Shows::Ready) }),
            ("typed in before", Seen { keys: Some(Duration::from_secs(9)), ..calm(Shows::Ready) }),
        ]
        .into_iter()
        .map(|(name, seen)| {
            let [a, b, c] = [person, operator, urgent].map(|text| word(text, seen.clone()));
            format!("{name}: {a}, {b}, {c}")
        })
        .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        ready: ready, ready, ready
        ready, just printed: ready, not_quiet, ready
        busy: busy, busy, urgent
        dialog: dialog, dialog, dialog
        draft: draft, draft, draft
        typed, not taken: typed, typed, typed
        typed, a line break: typed, typed, typed
        no composer: no_composer, no_composer, no_composer
        unknown program: quiet, quiet, quiet
        unknown program, printing: not_quiet, not_quiet, urgent
        scrolled: scrolling, scrolling, scrolling
        typed in: keys, keys, keys
        typed in before: ready, ready, ready
        ");
    }

    #[test]
    fn silence_is_counted_from_the_end_of_the_second_in_which_something_was_printed() {
        let quiet = |now| Seen::quiet_since(Moment::from_millis(now), 7).as_millis();
        assert_eq!([7_000, 7_999, 8_000, 8_300, 9_500].map(quiet), [0, 0, 0, 300, 1_500]);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_for_it() {
        let quiet = |second| Seen::quiet_since(Moment::from_millis(10_000_000), second);
        assert_eq!([9_989, 10_000, 10_003].map(|second| quiet(second).as_secs()), [10, 0, 0]);
        assert_eq!(quiet(13_600), LONG_AGO);
    }
}

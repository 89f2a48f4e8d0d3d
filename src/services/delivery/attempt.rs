//! One text on its way into one session: look, write down that it is going to be typed, paste, wait until it is seen,
//! press the key that submits it, watch it go (spec 7 "Sending text").
//!
//! What was written down is never typed again, whatever happens after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::agents::LaunchFiles;
use super::super::engine::{Caller, Engine};
use super::super::error::EngineError;
use super::super::launcher::read_record;
use super::super::tmux::typing::{Guarded, Looked};
use super::super::tmux::{Tmux, TmuxError};
use super::order;
use super::tty::Tty;
use crate::domain::actor::ActorType;
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::DeliveryWish;
use crate::domain::delivery::screen::{Patterns, Screen, Shows, place_of};
use crate::domain::delivery::{Delivery, Hold, IN_DOUBT_AFTER, Seen, may_type, too_long_for_cooked, typed_text};
use crate::domain::runner::Runner;
use crate::domain::screen::BadPattern;

/// A moment further ahead than these seconds was told by a clock that was set back since.
const AHEAD: i64 = 60;
/// How long ago it counts then.
const LONG_AGO: Duration = Duration::from_secs(60);
/// A pane that is in the way between the look and the paste may be so for so long.
const GUARD_PATIENCE: Duration = Duration::from_secs(5);
/// A program of which nothing is known gets the key this soon after the text.
const APART: Duration = Duration::from_millis(100);
/// After a key its effect is awaited this long, at first, before the key may be pressed again.
const FIRST_WAIT: Duration = Duration::from_millis(800);
/// And this long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// The key is pressed so often at most.
const PRESSES: u32 = 5;
/// What the terminal does with a key is not asked before.
const SETTLE: Duration = Duration::from_millis(150);
/// Between two looks.
const STEP: Duration = Duration::from_millis(60);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to be done for this delivery here.
    Settled,
    /// It could not begin yet.
    NotYet,
}

/// A place in an attempt, for drills that end a process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// It is written down that it is going to be typed.
    Recorded,
    /// It was pasted.
    Pasted,
    /// The key was pressed.
    Pressed,
    /// It was seen to go; that is not written down yet.
    Seen,
}

/// Says whether to go on from a point.
pub type Drill<'a> = &'a dyn Fn(Point) -> bool;

/// No drill: every point is passed.
pub fn no_drill(_point: Point) -> bool {
    true
}

/// Types one delivery if its moment has come.
///
/// # Errors
/// When store, policy or tmux cannot be used.
pub fn attempt(
    engine: &Engine,
    caller: &Caller,
    delivery: &Delivery,
    ending: &AtomicBool,
    drill: Drill<'_>,
) -> Result<Ended, EngineError> {
    let Some(place) = Place::of(engine, &delivery.key)? else { return Ok(Ended::NotYet) };
    let Some(before) = place.look()? else { return Ok(Ended::NotYet) };
    if before.in_mode && before.attached == 0 {
        // A mode that somebody left behind; where somebody is attached they may be reading, and it waits for them.
        place.tmux.leave_mode(place.session())?;
        return Ok(Ended::NotYet);
    }
    let seen = seen(engine, &place.patterns, &before);
    if may_type(delivery.from.author_type, delivery.urgent, &seen).is_err() {
        return Ok(Ended::NotYet);
    }
    let Some(text) = text_of(engine, &place, delivery)? else {
        return fail(engine, caller, delivery, "its words are gone".to_owned());
    };
    let tty = Tty::open(&before.tty);
    let long = too_long_for_cooked(&text).filter(|_| tty.as_ref().is_some_and(Tty::cooked));
    if let Some(length) = long {
        return fail(engine, caller, delivery, format!("its terminal would cut off a line of {length} bytes"));
    }
    let evidence = json!({ "signal": word(&seen.shows), "source": "screen", "quiet_seconds": seen.quiet.as_secs() });
    let typed = DeliveryWish::Typed { launch: place.agent.launch, evidence };
    match order(engine, caller, &delivery.delivery_id, typed) {
        // The agent took it by itself, or was just ended.
        Err(error) if error.refusal().is_some() => return Ok(Ended::NotYet),
        recorded => recorded?,
    }
    let typing = Typing { place, text, tty, before, ending, drill, began: Instant::now() };
    match typing.run() {
        Came::Taken(evidence) => {
            if drill(Point::Seen) {
                order(engine, caller, &delivery.delivery_id, DeliveryWish::Submitted { evidence })?;
            }
            Ok(Ended::Settled)
        }
        Came::NotTyped(why) => fail(engine, caller, delivery, format!("nothing was typed: {why}")),
        Came::Unknown => Ok(Ended::Settled),
    }
}

/// What keeps text of this author from being typed just now.
///
/// # Errors
/// [`EngineError::Refused`] where there is no session.
pub fn in_the_way(engine: &Engine, key: &AgentKey, from: ActorType, urgent: bool) -> Result<Option<Hold>, EngineError> {
    let none =
        || EngineError::refused(format!("agent {} has no live session", key.name), "metawsm restart starts it again");
    let place = Place::of(engine, key)?.ok_or_else(none)?;
    let looked = place.look()?.ok_or_else(none)?;
    Ok(may_type(from, urgent, &seen(engine, &place.patterns, &looked)).err())
}

fn fail(engine: &Engine, caller: &Caller, delivery: &Delivery, reason: String) -> Result<Ended, EngineError> {
    order(engine, caller, &delivery.delivery_id, DeliveryWish::Failed { reason })?;
    Ok(Ended::Settled)
}

fn text_of(engine: &Engine, place: &Place<'_>, delivery: &Delivery) -> Result<Option<String>, EngineError> {
    let words = match (&delivery.text, &delivery.post_id) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(post_id)) => engine.reader()?.post(post_id)?.map(|post| post.body),
        (None, None) => None,
    };
    Ok(words.map(|words| typed_text(delivery, &words, &place.agent.spec.runner)))
}

fn seen(engine: &Engine, patterns: &Patterns, looked: &Looked) -> Seen {
    let seconds = engine.now().millis().div_euclid(1000);
    let since = |at: i64| ago(seconds, at);
    Seen {
        shows: patterns.read(&screen(looked)),
        knows_composer: patterns.know_composer(),
        scrolling: looked.in_mode && looked.attached > 0,
        keys: looked.keys_at.map(since),
        quiet: since(looked.activity),
    }
}

/// How long ago a moment was. Where it lies well ahead, nothing was printed or typed since the clock was set back.
fn ago(now: i64, at: i64) -> Duration {
    match now - at {
        ahead if ahead < -AHEAD => LONG_AGO,
        passed => Duration::from_secs(u64::try_from(passed).unwrap_or(0)),
    }
}

fn screen(looked: &Looked) -> Screen<'_> {
    Screen { text: &looked.screen, title: &looked.title, cursor: looked.cursor }
}

fn word(shows: &Shows) -> &'static str {
    match shows {
        Shows::Dialog(_) => "dialog",
        Shows::Busy(_) => "busy",
        Shows::Ready => "ready",
        Shows::Draft => "draft",
        Shows::Unclear => "quiet",
    }
}

/// Where a text is to go: the pane in which one launch of one agent lives.
struct Place<'a> {
    tmux: &'a Tmux,
    agent: Agent,
    runner: Runner,
    patterns: Patterns,
    /// The launcher, which is the pane's process.
    pid: u32,
}

impl<'a> Place<'a> {
    /// `None` while the agent has no live launch.
    fn of(engine: &'a Engine, key: &AgentKey) -> Result<Option<Self>, EngineError> {
        let agents = engine.reader()?.agents(&key.run_id)?;
        let Some(agent) = agents.into_iter().find(|agent| agent.key == *key) else { return Ok(None) };
        let files = LaunchFiles::new(engine, &agent.spec.session, agent.launch);
        let record = read_record(&files.record)?.filter(|record| record.ended_at_ms.is_none());
        let Some(record) = record.filter(|_| agent.program_may_live()) else { return Ok(None) };
        let Some(tmux) = engine.tmux_if_known()? else { return Ok(None) };
        let policy = engine.policy_of(&agent.key.run_id)?;
        let runner = policy.runner(&agent.spec.runner).unwrap_or_default();
        let bad = |bad: BadPattern| {
            EngineError::refused(format!("runner {}: {bad}", agent.spec.runner), "metawsm policy check")
        };
        let patterns = Patterns::of(&runner).map_err(bad)?;
        Ok(Some(Self { tmux, agent, runner, patterns, pid: record.launcher_pid }))
    }

    fn session(&self) -> &str {
        &self.agent.spec.session
    }

    /// The pane as it is now; `None` when it is gone, its program has ended, or it is another's.
    fn look(&self) -> Result<Option<Looked>, EngineError> {
        match self.tmux.look(self.session()) {
            Ok(looked) => Ok(Some(looked).filter(|looked| !looked.dead && looked.pid == self.pid)),
            Err(TmuxError::NoTarget { .. } | TmuxError::NoServer { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What came of typing.
enum Came {
    /// It was seen to be taken.
    Taken(Value),
    /// Certainly nothing was typed.
    NotTyped(String),
    /// Nobody knows.
    Unknown,
}

struct Typing<'a> {
    place: Place<'a>,
    text: String,
    tty: Option<Tty>,
    /// What was seen before.
    before: Looked,
    ending: &'a AtomicBool,
    drill: Drill<'a>,
    began: Instant,
}

impl Typing<'_> {
    fn run(&self) -> Came {
        if !(self.drill)(Point::Recorded) {
            return Came::Unknown;
        }
        match self.paste() {
            Ok(()) => {}
            Err(came) => return came,
        }
        if !(self.drill)(Point::Pasted) {
            return Came::Unknown;
        }
        let at = self.until_shown();
        if at.is_none() && self.place.patterns.know_composer() {
            return Came::Unknown;
        }
        self.submit(at).map_or(Came::Unknown, Came::Taken)
    }

    /// Pastes as soon as the pane is what was looked at; while it refuses, nothing was typed.
    fn paste(&self) -> Result<(), Came> {
        let tmux = self.place.tmux;
        let buffer = format!("metawsm-{}-{}", std::process::id(), self.buffer_number());
        loop {
            match tmux.paste(self.place.session(), self.place.pid, &buffer, &self.text) {
                Ok(Guarded::Done) => return Ok(()),
                Ok(Guarded::Refused) if matches!(self.place.look(), Ok(None)) => {
                    return Err(Came::NotTyped("its program has ended".to_owned()));
                }
                Ok(Guarded::Refused) => {}
                Err(TmuxError::NoServer { .. }) => {
                    return Err(Came::NotTyped("the tmux server is gone".to_owned()));
                }
                Err(_) => return Err(Came::Unknown),
            }
            if self.began.elapsed() >= GUARD_PATIENCE || self.ending.load(Ordering::SeqCst) {
                return Err(Came::NotTyped("its session took no keys".to_owned()));
            }
            std::thread::sleep(STEP);
        }
    }

    /// Threads of one process never share a buffer.
    fn buffer_number(&self) -> u32 {
        use std::sync::atomic::AtomicU32;
        static BUFFERS: AtomicU32 = AtomicU32::new(0);
        BUFFERS.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until the text shows, and says how far above the screen's end. One whose composer is known shows it: a key
    /// before that is lost, or does something else.
    fn until_shown(&self) -> Option<usize> {
        let apart = APART.max(Duration::from_millis(u64::from(self.place.runner.submit_delay_ms)));
        let patience = if self.place.patterns.know_composer() { IN_DOUBT_AFTER } else { apart };
        let pasted = Instant::now();
        let old = place_of(&self.before.screen, &self.text);
        let mut at = None;
        while !self.ending.load(Ordering::SeqCst) {
            match self.place.look() {
                // The same text may stand higher up, from before.
                Ok(Some(looked)) => {
                    at = place_of(&looked.screen, &self.text).filter(|at| old.is_none_or(|old| *at < old));
                }
                Ok(None) => return None,
                Err(_) => {}
            }
            let waited = pasted.elapsed();
            if waited >= patience || (at.is_some() && waited >= apart) {
                return at;
            }
            std::thread::sleep(STEP);
        }
        at
    }

    /// Presses the key, again only while the text still stands where it was typed, and says what shows that it went.
    fn submit(&self, at: Option<usize>) -> Option<Value> {
        let mut wait = FIRST_WAIT;
        let mut presses = 0;
        while self.in_time() {
            let Ok(looked) = self.place.look() else { continue };
            let looked = looked?;
            let stands = at.is_some() && self.stands(&looked, at);
            if matches!(self.place.patterns.read(&screen(&looked)), Shows::Dialog(_)) {
                // The key would answer it.
                std::thread::sleep(STEP);
                continue;
            }
            let first = presses == 0;
            if (first || (stands && presses < PRESSES)) && !looked.in_mode {
                match self.place.tmux.press(self.place.session(), self.place.pid, &self.place.runner.submit) {
                    Ok(Guarded::Done) => presses += 1,
                    Ok(Guarded::Refused) => {
                        std::thread::sleep(STEP);
                        continue;
                    }
                    Err(_) => return None,
                }
                if !(self.drill)(Point::Pressed) {
                    return None;
                }
            }
            if let Some(signal) = self.until_gone(at, &looked, wait) {
                let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Some(json!({ "signal": signal, "source": "screen", "presses": presses, "after_ms": after }));
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        None
    }

    /// What shows that the text went, within `wait`.
    fn until_gone(&self, at: Option<usize>, pressed_on: &Looked, wait: Duration) -> Option<&'static str> {
        let until = Instant::now() + wait;
        std::thread::sleep(SETTLE);
        while self.in_time() {
            if let Ok(Some(looked)) = self.place.look()
                && let Some(signal) = self.gone(at, pressed_on, &looked)
            {
                return Some(signal);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(STEP);
        }
        None
    }

    fn gone(&self, at: Option<usize>, pressed_on: &Looked, looked: &Looked) -> Option<&'static str> {
        let all_read = self.tty.as_ref().is_some_and(Tty::all_read);
        let cooked = self.tty.as_ref().is_some_and(Tty::cooked);
        if looked.in_mode || (self.tty.is_some() && !all_read) {
            return None;
        }
        let echoed = looked.screen != self.before.screen;
        match at {
            // The terminal itself edits the line: that its program has read it is what counts.
            _ if cooked => (all_read && echoed).then_some("read"),
            Some(_) => (!self.stands(looked, at)).then_some("left_composer"),
            // Where a composer is known and the text was never seen in it, a change says nothing.
            None if self.place.patterns.know_composer() => None,
            None => (all_read && looked.screen != pressed_on.screen).then_some("screen_changed"),
        }
    }

    /// Whether the text still stands where it was typed. A composer may grow a line or lose one below it.
    fn stands(&self, looked: &Looked, at: Option<usize>) -> bool {
        let slack = usize::from(self.place.patterns.know_composer());
        let now = place_of(&looked.screen, &self.text);
        matches!((at, now), (Some(at), Some(now)) if now <= at + slack)
    }

    fn in_time(&self) -> bool {
        self.began.elapsed() < IN_DOUBT_AFTER && !self.ending.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_for_it() {
        let seconds = |at| ago(10_000, at).as_secs();
        assert_eq!((seconds(9_990), seconds(10_000), seconds(10_003)), (10, 0, 0));
        assert_eq!(ago(10_000, 13_600), LONG_AGO);
    }
}

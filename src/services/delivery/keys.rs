//! The keys of one text: paste it, wait until it is seen, press the key that submits it, watch it go.
//!
//! A key that a program has not read yet waits in its terminal, or in the program itself, and answers whatever the
//! program shows when it comes to it. Hence a second one is pressed on proof alone that the first did not submit.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::tmux::TmuxError;
use super::super::tmux::typing::{Aim, Cursor, Guarded, Looked, Mark};
use super::attempt::{Drill, Point};
use super::place::Place;
use super::tty::Tty;
use crate::domain::delivery::place::{Earlier, ends_of, place_of};
use crate::domain::delivery::screen::Shows;
use crate::domain::delivery::{Hold, IN_DOUBT_AFTER};

/// A pane that is in the way between the look and the paste may be so for so long.
const GUARD_PATIENCE: Duration = Duration::from_secs(5);
/// What keeps a text from being typed in that moment passes, or does not: it ends before the text is in doubt.
const HELD_PATIENCE: Duration = Duration::from_secs(45);
/// A program of which nothing is known gets the key this soon after the text.
const APART: Duration = Duration::from_millis(100);
/// The effect of a key is awaited so long at least before it may be pressed again.
const AGAIN_AFTER: Duration = Duration::from_millis(800);
/// The key is pressed so often at most.
const PRESSES: u32 = 3;
/// A program that reads a key this soon was waiting for one, and showed then what was seen.
const AT_ONCE: Duration = Duration::from_millis(80);
/// What the terminal does with a key is not asked before.
const SETTLE: Duration = Duration::from_millis(150);
/// Between two looks.
const STEP: Duration = Duration::from_millis(60);
/// Between two looks at what takes its time.
const LONG_STEP: Duration = Duration::from_millis(250);
/// What takes longer takes its time.
const SOON: Duration = Duration::from_secs(5);

/// What came of typing.
pub enum Came {
    /// It was seen to be taken.
    Taken(Value),
    /// Certainly nothing was typed.
    NotTyped(String),
    /// Nobody knows.
    Unknown,
}

/// One text and its place.
pub struct Typing<'a> {
    place: &'a Place<'a>,
    /// Its place in the journal.
    seq: i64,
    text: String,
    tty: Option<Tty>,
    /// What was seen before, and what of the text stood there.
    before: Looked,
    earlier: Earlier,
    ending: &'a AtomicBool,
    drill: Drill<'a>,
    began: Instant,
}

/// A key that was pressed.
struct Pressed {
    /// What was seen right before.
    on: Looked,
    at: Instant,
    times: u32,
    /// Whether it was read at once, each time, and no dialog was seen since.
    plain: bool,
}

impl<'a> Typing<'a> {
    /// A text that is about to be typed, or that was typed and not submitted.
    pub fn new(
        place: &'a Place<'a>,
        seq: i64,
        text: String,
        tty: Option<Tty>,
        (before, earlier): (Looked, Earlier),
        ending: &'a AtomicBool,
        drill: Drill<'a>,
    ) -> Self {
        Self { place, seq, text, tty, before, earlier, ending, drill, began: Instant::now() }
    }

    /// All of it; `hold` says what keeps from typing into what is seen.
    pub fn paste_and_submit(&self, hold: &dyn Fn(&Looked) -> Option<Hold>) -> Came {
        if !(self.drill)(Point::Recorded) {
            return Came::Unknown;
        }
        match self.paste(hold) {
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
        self.submit(at, false).map_or(Came::Unknown, Came::Taken)
    }

    /// What is left to be done for a text that stands in the composer, so far above the screen's end.
    pub fn submit_only(&self, at: usize) -> Came {
        self.submit(Some(at), true).map_or(Came::Unknown, Came::Taken)
    }

    /// Where the cursor of a program whose composer is known stands says whether it still shows that. Others may move
    /// it as they like.
    fn aim(&self, cursor: Cursor, presses: u32) -> Aim<'_> {
        Aim {
            session: self.place.session(),
            pid: self.place.pid,
            cursor: Some(cursor).filter(|_| self.place.patterns.know_composer()),
            mark: Mark { launch: self.place.agent.launch, seq: self.seq, presses },
        }
    }

    /// Pastes as soon as the pane is what was looked at; while it refuses, nothing was typed.
    fn paste(&self, hold: &dyn Fn(&Looked) -> Option<Hold>) -> Result<(), Came> {
        let buffer = format!("metawsm-{}-{}", std::process::id(), buffer_number());
        let mut cursor = self.before.cursor;
        let mut held = None;
        loop {
            if held.is_none() {
                match self.place.tmux.paste(&self.aim(cursor, 0), &buffer, &self.text) {
                    Ok(Guarded::Done) => return Ok(()),
                    Ok(Guarded::Refused) => {}
                    Err(TmuxError::NoServer { .. }) => {
                        return Err(Came::NotTyped("the tmux server is gone".to_owned()));
                    }
                    Err(_) => return Err(Came::Unknown),
                }
            }
            std::thread::sleep(STEP);
            match self.place.look() {
                Ok(None) => return Err(Came::NotTyped("its program has ended".to_owned())),
                Ok(Some(looked)) => (cursor, held) = (looked.cursor, hold(&looked)),
                Err(_) => {}
            }
            let patience = if held.is_some() { HELD_PATIENCE } else { GUARD_PATIENCE };
            if self.began.elapsed() >= patience || self.ending.load(Ordering::SeqCst) {
                let name = &self.place.agent.key.name;
                let why = held.map_or("its session took no keys".to_owned(), |hold| hold.words(name));
                return Err(Came::NotTyped(why));
            }
        }
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
            std::thread::sleep(step(waited));
        }
        at
    }

    /// Presses the key, and says what shows that the text went.
    fn submit(&self, at: Option<usize>, resumed: bool) -> Option<Value> {
        let begun = Instant::now();
        let mut last: Option<Pressed> = None;
        let mut seen: Option<Looked> = None;
        while begun.elapsed() < IN_DOUBT_AFTER && !self.ending.load(Ordering::SeqCst) {
            let Ok(looked) = self.place.look() else {
                std::thread::sleep(LONG_STEP);
                continue;
            };
            let looked = looked?;
            if let Some(pressed) = &mut last {
                pressed.plain &= !self.dialog(&looked);
            }
            let press = match &last {
                None => self.may_press(at, &looked),
                Some(pressed) if pressed.at.elapsed() < SETTLE => false,
                Some(pressed) => {
                    if let Some(signal) = self.gone(at, pressed, &looked) {
                        return Some(self.evidence(signal, pressed.times, resumed));
                    }
                    self.was_a_line_break(pressed, &looked, seen.as_ref())
                }
            };
            if press {
                let (times, plain) = last.as_ref().map_or((1, true), |pressed| (pressed.times + 1, pressed.plain));
                match self.place.tmux.press(&self.aim(looked.cursor, times), &self.place.runner.submit) {
                    Ok(Guarded::Done) => {
                        let plain = plain && self.read_at_once();
                        last = Some(Pressed { on: looked.clone(), at: Instant::now(), times, plain });
                        if !(self.drill)(Point::Pressed) {
                            return None;
                        }
                    }
                    Ok(Guarded::Refused) => {}
                    Err(_) => return None,
                }
            }
            seen = Some(looked);
            std::thread::sleep(step(last.as_ref().map_or(begun, |pressed| pressed.at).elapsed()));
        }
        None
    }

    fn evidence(&self, signal: &str, presses: u32, resumed: bool) -> Value {
        let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut evidence = json!({ "signal": signal, "source": "screen", "presses": presses, "after_ms": after });
        if resumed {
            evidence["resumed"] = json!(true);
        }
        evidence
    }

    /// Whether the key would submit the text: it stands where it was typed, and no dialog is open that the key would
    /// answer. A dialog that opens after the key is on its way is answered by it all the same; nobody can call it back.
    fn may_press(&self, at: Option<usize>, looked: &Looked) -> bool {
        let stands = !self.place.patterns.know_composer() || self.stands(looked, at);
        stands && !looked.in_mode && !self.dialog(looked)
    }

    /// What shows that the text went.
    fn gone(&self, at: Option<usize>, pressed: &Pressed, looked: &Looked) -> Option<&'static str> {
        let all_read = self.all_read();
        if looked.in_mode || (self.tty.is_some() && !all_read) {
            return None;
        }
        let known = self.place.patterns.know_composer();
        match at {
            // The terminal itself edits the line: that its program has read it is what counts.
            _ if self.cooked() => (all_read && looked.screen != self.before.screen).then_some("read"),
            Some(_) if self.stands(looked, at) => None,
            // A composer may be empty, or out of sight, because a dialog took its place, and with it the key. Programs
            // show what they were told: the text stands elsewhere. Only of one that was waiting for the key, and opened
            // no dialog, the empty composer says enough.
            Some(_) if known && !pressed.plain || self.dialog(looked) => {
                let empty = self.place.empty(looked);
                self.earlier.once_more_on(&looked.screen, &self.text, empty).then_some("left_composer")
            }
            Some(_) => Some("left_composer"),
            // Where a composer is known and the text was never seen in it, a change says nothing; nor does a dialog.
            None if known || self.dialog(looked) => None,
            None => (all_read && looked.screen != pressed.on.screen).then_some("screen_changed"),
        }
    }

    /// Whether the program has certainly dealt with the key and did not submit: it has taken it for a line break, as
    /// some do right after a paste. The text stands unchanged where it stood, the cursor in the row below it, nobody
    /// else pressed anything, and two looks say the same.
    ///
    /// That the text still stands is no proof: the key may wait in a program that is busy, and the next one would answer
    /// the dialog that comes of the first. Where nothing is known of the program nothing is proof, and a terminal that
    /// edits lines itself has submitted with the first.
    fn was_a_line_break(&self, pressed: &Pressed, looked: &Looked, seen: Option<&Looked>) -> bool {
        let on = &pressed.on;
        let shows = self.place.shows(looked);
        let began_turn = matches!(shows, Shows::Busy(_)) && !matches!(self.place.shows(on), Shows::Busy(_));
        let steady = seen.is_some_and(|seen| seen.cursor == looked.cursor && seen.screen == looked.screen);
        // How far above the screen's end the text stands, and how far below it the cursor.
        let lies = |looked: &Looked| {
            let end = ends_of(&looked.screen, &self.text).first().copied()?;
            Some((end.below, end.rows_to_cursor(looked.rows_below())?))
        };
        let broken = lies(on).is_some_and(|(below, rows)| lies(looked) == Some((below, rows + 1)));
        pressed.times < PRESSES
            && pressed.at.elapsed() >= AGAIN_AFTER
            && self.place.patterns.know_composer()
            && self.all_read()
            && !self.cooked()
            && !looked.in_mode
            && (looked.keys_at, looked.size) == (on.keys_at, on.size)
            && !matches!(shows, Shows::Dialog(_) | Shows::Unclear)
            && !began_turn
            && looked.cursor != on.cursor
            && broken
            && steady
    }

    /// Whether the text still stands where it was typed. A composer may grow a line or lose one below it.
    fn stands(&self, looked: &Looked, at: Option<usize>) -> bool {
        let slack = usize::from(self.place.patterns.know_composer());
        let now = place_of(&looked.screen, &self.text);
        matches!((at, now), (Some(at), Some(now)) if now <= at + slack)
    }

    fn read_at_once(&self) -> bool {
        let until = Instant::now() + AT_ONCE;
        while !self.all_read() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    fn dialog(&self, looked: &Looked) -> bool {
        matches!(self.place.shows(looked), Shows::Dialog(_))
    }

    fn all_read(&self) -> bool {
        self.tty.as_ref().is_some_and(Tty::all_read)
    }

    fn cooked(&self) -> bool {
        self.tty.as_ref().is_some_and(Tty::cooked)
    }
}

fn step(waited: Duration) -> Duration {
    if waited < SOON { STEP } else { LONG_STEP }
}

/// Threads of one process never share a buffer.
fn buffer_number() -> u32 {
    static BUFFERS: AtomicU32 = AtomicU32::new(0);
    BUFFERS.fetch_add(1, Ordering::Relaxed)
}

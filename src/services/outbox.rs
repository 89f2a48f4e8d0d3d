//! Works off the outbox: claims letters, has them carried out, and says how they ended (spec 2.6). The holder of the
//! supervisor lease runs one worker, on a thread of its own: a slow side effect holds nobody up.
//!
//! A letter may be carried out twice, when its worker dies between doing and saying so: consumers bear that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::docs_sync;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::log::Log;
use super::notifier;
use crate::domain::command::{Command, OutboxWish};
use crate::domain::outbox::{CALL_NOTED, DOCS_SYNC, Letter, NOTIFY, calls, dead_letter_about, pause_after};
use crate::domain::policy::Policy;
use crate::domain::time::Moment;
pub use crate::store::outbox::Lane;
use crate::store::outbox::LetterFilter;

/// So long a worker has a letter; after that it counts as lost with its worker. Consumers are quicker by far.
pub const CLAIM: Duration = Duration::from_secs(60);
/// How long a worker that is told to end may take to bring its letter home.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a letter waits for which it is too early.
const NOT_YET: Duration = Duration::from_secs(1);
/// How often the table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often letters that were sent long ago are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How often the log says what was done.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// Carries letters out.
pub trait Consume: Send + Sync {
    /// Carries one out; what there is to say to its end, if anything.
    ///
    /// # Errors
    /// What kept it from coming through: it is tried again. [`EngineError::Interrupted`] is no failure: it is too early.
    fn consume(&self, engine: &Engine, letter: &Letter) -> Result<Option<String>, EngineError>;
}

/// Everybody who carries letters out, by topic, until they are told to end.
#[derive(Debug, Clone, Default)]
pub struct Consumers(Arc<AtomicBool>);

impl Consume for Consumers {
    fn consume(&self, engine: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
        match letter.topic.as_str() {
            DOCS_SYNC => docs_sync::consume(engine, letter),
            CALL_NOTED => docs_sync::consume_call(engine, letter, false),
            NOTIFY => notifier::consume(engine, letter, &self.0),
            other => {
                let hint = "was it written by a newer metawsm?";
                Err(EngineError::not_found(format!("nobody carries out {other}"), hint))
            }
        }
    }
}

/// Who carries out what waits of a run that is just being closed, for who closes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Closer;

impl Consume for Closer {
    fn consume(&self, engine: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
        match letter.topic.as_str() {
            DOCS_SYNC => docs_sync::consume_at_close(engine, letter),
            CALL_NOTED => docs_sync::consume_call(engine, letter, true),
            _ => Consumers::default().consume(engine, letter),
        }
    }
}

/// What became of the letters of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Carried out.
    pub sent: usize,
    /// To be tried again.
    pub failed: usize,
    /// Given up.
    pub dead: usize,
}

/// Carries out the letter that is due first, if any is. One at a time: a claim counts as an attempt, and what takes its
/// worker down is to cost no other letter one.
///
/// # Errors
/// When the store cannot be used; what went wrong with a letter stands in its row.
pub fn work_off(engine: &Engine, lane: Lane, consume: &dyn Consume) -> Result<Round, EngineError> {
    match engine.ledger.claim_letters(lane, CLAIM, 1)?.pop() {
        Some(letter) => carry_out(engine, consume, &letter),
        None => Ok(Round::default()),
    }
}

fn carry_out(engine: &Engine, consume: &dyn Consume, letter: &Letter) -> Result<Round, EngineError> {
    let policy = engine.home.policy_in_force().unwrap_or_default();
    // Each claim counts: one that takes its worker down with it every time is given up too.
    let done = if letter.attempts > policy.outbox.max_attempts {
        Err("its worker ended in the middle of it, again and again".to_owned())
    } else {
        match catch_unwind(AssertUnwindSafe(|| consume.consume(engine, letter))) {
            Ok(Err(EngineError::Interrupted(_))) => {
                engine.ledger.letter_put_back(letter, NOT_YET)?;
                return Ok(Round::default());
            }
            Ok(done) => done.map_err(|error| error.to_string()),
            // A defect in carrying one letter out is that letter's trouble; the worker goes on with the others.
            Err(_) => Err("a defect ended it in the middle".to_owned()),
        }
    };
    let error = match done {
        Ok(note) => {
            engine.ledger.letter_sent(letter, note.as_deref())?;
            // One that was settled by then, or has nowhere to go, reached nobody.
            if note.is_none() {
                works_again(engine, letter)?;
            }
            return Ok(Round { sent: 1, ..Round::default() });
        }
        Err(error) => error,
    };
    engine.ledger.note_outbox_error(&format!("{}: {error}", letter.topic))?;
    if letter.attempts >= policy.outbox.max_attempts {
        give_up(engine, &policy, letter, error)?;
        return Ok(Round { dead: 1, ..Round::default() });
    }
    let pause = pause_after(letter.attempts, engine.ledger.random());
    engine.ledger.letter_failed(letter, &error, pause)?;
    Ok(Round { failed: 1, ..Round::default() })
}

/// Carries out what waits of one run, whoever supervises or nobody, and waits a while for what a worker has in hand.
/// What fails is tried again in its time.
///
/// # Errors
/// As [`work_off`].
pub fn work_off_run(engine: &Engine, consume: &dyn Consume, run_id: &str) -> Result<(), EngineError> {
    let deadline = Instant::now() + LEAVE;
    let mut fresh_only = false;
    loop {
        // Again each time: a worker may have put one back meanwhile. What failed is hurried once.
        engine.ledger.hurry_letters(run_id, fresh_only)?;
        fresh_only = true;
        while let Some(letter) = engine.ledger.claim_letter_of(run_id, CLAIM)? {
            carry_out(engine, consume, &letter)?;
        }
        if !engine.reader()?.letter_in_hand(run_id, engine.now())? || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls reach somebody again: that they did not is no trouble any more.
fn works_again(engine: &Engine, letter: &Letter) -> Result<(), EngineError> {
    let (target, about) = dead_letter_about(letter);
    if !calls(&letter.topic) {
        return Ok(());
    }
    let standing = engine.reader()?.escalations(about.run_id.as_deref(), true)?;
    if standing.iter().any(|call| call.target == target && call.run_id == about.run_id) {
        settle(engine, &Caller::system("outbox"), letter.id, OutboxWish::Done)?;
    }
    Ok(())
}

fn give_up(engine: &Engine, policy: &Policy, letter: &Letter, error: String) -> Result<(), EngineError> {
    let minutes = policy.forum.sla.escalation_minutes;
    let again = Duration::from_secs(u64::from(minutes) * 60);
    let command = Command::Outbox {
        id: letter.id,
        wish: OutboxWish::GiveUp { attempts: letter.attempts, error },
        due_at: (minutes > 0).then(|| engine.now().plus(again)),
        escalation_id: engine.ledger.new_id("esc"),
    };
    engine.order(&Caller::system("outbox"), &command)?;
    Ok(())
}

/// Whether no other dead letter shares the call that this one's being dead is.
fn is_last_of_its_trouble(engine: &Engine, id: i64) -> Result<bool, EngineError> {
    let dead = engine.reader()?.letters(Some(LetterFilter::Dead), None, usize::MAX)?.letters;
    let of = |letter: &Letter| {
        let (target, about) = dead_letter_about(letter);
        (target, about.run_id)
    };
    let Some(ours) = dead.iter().find(|letter| letter.id == id).map(of) else { return Ok(false) };
    Ok(dead.iter().filter(|letter| of(letter) == ours).count() == 1)
}

/// Says of a letter what a human wants: that it is tried again, or left undone.
///
/// # Errors
/// A refusal; [`EngineError::NotFound`].
pub fn settle(engine: &Engine, caller: &Caller, id: i64, wish: OutboxWish) -> Result<(), EngineError> {
    if wish == OutboxWish::Drop && is_last_of_its_trouble(engine, id)? {
        let done = Command::Outbox { id, wish: OutboxWish::Done, due_at: None, escalation_id: String::new() };
        engine.order(&Caller::system("outbox"), &done)?;
    }
    engine.order(caller, &Command::Outbox { id, wish, due_at: None, escalation_id: String::new() })?;
    Ok(())
}

/// A worker on a thread of its own; it ends with its handle.
#[derive(Debug)]
pub struct Worker {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Begins.
    pub fn begin(engine: &Arc<Engine>, lane: Lane) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let (of_worker, told) = (Arc::clone(engine), Arc::clone(&ending));
        let work = move || serve(&of_worker, lane, &Consumers(Arc::clone(&told)), &told);
        let spawned = std::thread::Builder::new().name("outbox".to_owned()).spawn(work);
        if let Err(error) = &spawned {
            let words = format!("nobody works off the outbox: no thread could be started: {error}");
            Log::new(&engine.home).line("outbox", &words);
        }
        Self { ending, thread: spawned.ok() }
    }

    /// Says that it is to end, and does not wait for that.
    pub fn end_soon(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end_soon();
        // One that hangs does not keep the program from ending; its letter goes to the next holder of the lease.
        leave(self.thread.take(), LEAVE);
    }
}

/// Waits for a thread that was told to end, but not for ever: one that hangs is left to the end of the program.
pub fn leave(thread: Option<JoinHandle<()>>, patience: Duration) {
    let Some(thread) = thread else { return };
    thread.thread().unpark();
    let deadline = Instant::now() + patience;
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    if thread.is_finished() {
        let _ = thread.join();
    }
}

fn serve(engine: &Engine, lane: Lane, consume: &dyn Consume, ending: &AtomicBool) {
    let log = Log::new(&engine.home);
    let (mut pruned, mut told) = (None::<Instant>, Instant::now());
    let mut sum = Round::default();
    let mut said = String::new();
    while !ending.load(Ordering::SeqCst) {
        let trouble = match turn(engine, lane, consume, &mut pruned) {
            Ok(round) => {
                sum = Round {
                    sent: sum.sent + round.sent,
                    failed: sum.failed + round.failed,
                    dead: sum.dead + round.dead,
                };
                // There may be more of it.
                if round != Round::default() {
                    continue;
                }
                String::new()
            }
            Err(error) => error.to_string(),
        };
        if !trouble.is_empty() && trouble != said {
            log.line("outbox", &trouble);
        }
        said = trouble;
        if sum != Round::default() && told.elapsed() >= SUMMARY_EVERY {
            log.line("outbox", &format!("{} carried out, {} failed, {} given up", sum.sent, sum.failed, sum.dead));
            (sum, told) = (Round::default(), Instant::now());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

fn turn(
    engine: &Engine,
    lane: Lane,
    consume: &dyn Consume,
    pruned: &mut Option<Instant>,
) -> Result<Round, EngineError> {
    if lane == Lane::Files && pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
        *pruned = Some(Instant::now());
        prune(engine)?;
    }
    // Looking takes no lock; claiming does.
    if engine.reader()?.letters_due(lane, engine.now())? {
        work_off(engine, lane, consume)
    } else {
        Ok(Round::default())
    }
}

/// Removes letters that were sent longer ago than the policy keeps them.
///
/// # Errors
/// When the store cannot be used.
pub fn prune(engine: &Engine) -> Result<usize, EngineError> {
    let policy = engine.home.policy_in_force().unwrap_or_default();
    let kept = i64::from(policy.outbox.keep_hours) * 3_600_000;
    Ok(engine.ledger.prune_letters(Moment::from_millis(engine.now().millis().saturating_sub(kept)))?)
}

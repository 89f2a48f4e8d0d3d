//! The outbox (spec 2.6): letters are written with their events, claimed for a while, and end sent or dead.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metawsm::domain::command::{OutboxWish, ThreadWish};
use metawsm::domain::escalation::{EscalationState, Kind};
use metawsm::domain::event::Fact;
use metawsm::domain::outbox::{DOCS_SYNC, LONGEST_PAUSE, Letter, LetterStatus, Wanted};
use metawsm::services::engine::{Caller, Engine, Surroundings};
use metawsm::services::error::EngineError;
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::outbox::{CLAIM, Consume, Lane, Round, prune, settle, work_off, work_off_run};
use metawsm::store::ids::CountingIds;
use metawsm::store::outbox::LetterFilter;
use metawsm::store::{Ledger, Order};
use serde_json::json;

use crate::core_world::*;

/// An engine whose clock is moved by hand, with a run whose agent a can ask.
pub struct Office {
    pub engine: Engine,
    clock: Arc<HandClock>,
    _dir: tempfile::TempDir,
}

impl Office {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Engine::open(Home::at(dir.path(), &HomeArgs::default()), Surroundings::default()).unwrap();
        let clock = Arc::new(HandClock::default());
        let ledger = Ledger::open(&engine.home.db, clock.clone(), Arc::new(CountingIds::default())).unwrap();
        engine.ledger = ledger.wanting(|| Wanted { docs_sync: true, notify: false });
        std::fs::write(&engine.home.policy, json!({ "version": 3, "outbox": { "max_attempts": 3 } }).to_string())
            .unwrap();
        let office = Self { engine, clock, _dir: dir };
        office.must(&Plan::of(&["a"]).create());
        office
    }

    fn give(&self, key: Option<&str>, command: &metawsm::domain::command::Command) -> usize {
        self.clock.0.fetch_add(1_000, Ordering::SeqCst);
        self.engine.ledger.execute(&Order { key, ..Order::new(command, &human()) }).unwrap().events.len()
    }

    fn must(&self, command: &metawsm::domain::command::Command) {
        self.give(None, command);
    }

    /// A question of a that was asked and answered: one letter.
    pub fn answered(&self, thread: &str) {
        self.must(&ask(thread, "a", "which port?", false));
        self.must(&answer(thread, human(), None));
    }

    pub fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn letters(&self) -> Vec<Letter> {
        let mut letters = self.engine.reader().unwrap().letters(None, None, 100).unwrap().letters;
        letters.reverse();
        letters
    }

    /// Works off what is due now.
    pub fn work(&self, consumer: &dyn Consume) -> Round {
        let mut sum = Round::default();
        loop {
            let round = work_off(&self.engine, Lane::Files, consumer).unwrap();
            if round == Round::default() {
                return sum;
            }
            sum.sent += round.sent;
            sum.failed += round.failed;
            sum.dead += round.dead;
        }
    }

    fn calls(&self) -> Vec<metawsm::domain::escalation::Escalation> {
        let all = self.engine.reader().unwrap().escalations(None, false).unwrap();
        all.into_iter().filter(|found| found.kind == Kind::DeadLetter).collect()
    }

    fn sound(&self) {
        let found = metawsm::store::rebuild::verify(&self.engine.home.db).unwrap();
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Fails while it has words to fail with, and remembers what it was given.
#[derive(Default)]
pub struct Scripted {
    errors: Mutex<Vec<&'static str>>,
    seen: Mutex<Vec<String>>,
}

impl Scripted {
    pub fn failing(errors: &[&'static str]) -> Self {
        Self { errors: Mutex::new(errors.to_vec()), seen: Mutex::default() }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Consume for Scripted {
    fn consume(&self, _: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
        self.seen.lock().unwrap().push(format!("{} {}", letter.key, letter.attempts));
        let mut errors = self.errors.lock().unwrap();
        if errors.is_empty() {
            return Ok(Some("done".to_owned()));
        }
        Err(EngineError::not_found(errors.remove(0), ""))
    }
}

#[test]
fn a_letter_is_written_with_its_event_and_with_nothing_else() {
    let office = Office::new();
    office.must(&ask("t1", "a", "which port?", false));
    assert!(office.letters().is_empty());
    office.give(Some("k1"), &answer("t1", human(), None));
    office.give(Some("k1"), &answer("t1", human(), None));
    let letters = office.letters();
    assert_eq!(letters.len(), 1, "the same order again writes nothing");
    assert_eq!((letters[0].topic.as_str(), letters[0].key.as_str()), (DOCS_SYNC, "t1"));
    assert_eq!((letters[0].status, letters[0].attempts), (LetterStatus::Pending, 0));
    assert_eq!(letters[0].payload["trigger"], "answered");
    assert_eq!(letters[0].payload["run_id"], RUN);
    let event = office.engine.reader().unwrap().events(letters[0].seq - 1, &Default::default(), 1).unwrap().remove(0);
    assert!(matches!(event.fact, Fact::StateChanged { .. }) && event.event_id == letters[0].payload["event_id"]);
    office.must(&thread("t1", ThreadWish::Close));
    assert_eq!(office.letters()[1].payload["trigger"], "closed");
    // What is refused leaves nothing, and neither does what nobody wants.
    let refused = answer("t1", human(), None);
    assert!(office.engine.ledger.execute(&Order::new(&refused, &human())).is_err());
    assert_eq!(office.letters().len(), 2);
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which port?", false));
    shop.must(&answer("t1", human(), None));
    assert!(shop.reader().letters(None, None, 9).unwrap().letters.is_empty());
    office.sound();
}

#[test]
fn a_rebuild_leaves_letters_alone() {
    let office = Office::new();
    office.answered("t1");
    let before = office.letters();
    metawsm::store::rebuild::rebuild(&office.engine.home.db).unwrap();
    assert_eq!(office.letters(), before);
}

#[test]
fn a_claim_is_one_workers_until_it_runs_out_and_the_late_one_changes_nothing() {
    let office = Office::new();
    office.answered("t1");
    let ledger = &office.engine.ledger;
    let first = ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap();
    assert_eq!(first.len(), 1);
    assert!(ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap().is_empty());
    // The worker is gone: nobody says how it ended.
    office.pass(CLAIM - Duration::from_millis(1));
    assert!(ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap().is_empty());
    office.pass(Duration::from_millis(1));
    let second = ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap();
    assert_eq!((second.len(), second[0].attempts), (1, 2));
    assert!(!ledger.letter_sent(&first[0], None).unwrap());
    assert!(!ledger.letter_failed(&first[0], "late", Duration::ZERO).unwrap());
    assert_eq!(office.letters()[0].status, LetterStatus::Processing);
    assert!(ledger.letter_sent(&second[0], Some("there")).unwrap());
    assert!(!ledger.letter_sent(&second[0], None).unwrap());
    let health = office.engine.reader().unwrap().outbox_health().unwrap();
    assert_eq!(health.tally.processed, 1, "what was done once is counted once");
    assert_eq!(office.letters()[0].note.as_deref(), Some("there"));
}

#[test]
fn a_clock_that_is_set_back_holds_no_letter_up() {
    let office = Office::new();
    let ledger = &office.engine.ledger;
    let claim = || ledger.claim_letters(Lane::Files, CLAIM, 1).unwrap();
    let hour = 3_600_000;
    let set = |by: i64| office.clock.0.fetch_add(by, Ordering::SeqCst);
    office.answered("t1");
    // One that was written, one whose worker is gone, one that failed: none waits for that hour to come again.
    set(-hour);
    assert_eq!(claim().len(), 1);
    assert!(claim().is_empty(), "it is in hand");
    set(-hour);
    let letter = claim().pop().unwrap();
    assert!(ledger.letter_failed(&letter, "no", LONGEST_PAUSE).unwrap());
    assert!(claim().is_empty(), "it is tried again later");
    set(-hour);
    assert_eq!(claim().len(), 1);
}

#[test]
fn two_workers_at_once_never_have_the_same_letter() {
    let office = Office::new();
    for n in 0..20 {
        office.answered(&format!("t{n}"));
    }
    let taken: Vec<i64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let clock: Arc<HandClock> = Arc::default();
                    clock.0.store(i64::MAX / 4, Ordering::SeqCst);
                    let ledger = Ledger::open(&office.engine.home.db, clock, Arc::new(CountingIds::default())).unwrap();
                    let mut mine = Vec::new();
                    loop {
                        let letters = ledger.claim_letters(Lane::Files, CLAIM, 3).unwrap();
                        if letters.is_empty() {
                            return mine;
                        }
                        mine.extend(letters.iter().map(|letter| letter.id));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut once = taken.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((taken.len(), once.len()), (20, 20));
}

#[test]
fn letters_of_one_thread_go_in_order_and_others_pass_by() {
    let office = Office::new();
    office.answered("t1");
    office.must(&thread("t1", ThreadWish::Close));
    office.answered("t2");
    let consumer = Scripted::failing(&["no"]);
    assert_eq!(office.work(&consumer), Round { sent: 1, failed: 1, dead: 0 });
    assert_eq!(consumer.seen(), ["t1 1", "t2 1"]);
    assert_eq!(office.work(&consumer), Round::default(), "the second of t1 waits for the first");
    assert!(
        !office.engine.reader().unwrap().letters_due(Lane::Files, office.engine.now()).unwrap(),
        "and no lock is taken for it"
    );
    office.pass(Duration::from_secs(1));
    assert_eq!(office.work(&consumer).sent, 2);
    assert_eq!(consumer.seen()[2..], ["t1 2", "t1 1"]);
}

#[test]
fn what_fails_is_tried_again_later_and_later_and_then_given_up_to_a_human() {
    let office = Office::new();
    office.answered("t1");
    let consumer = Scripted::failing(&["no disk", "no disk", "no disk at all"]);
    let mut waits = Vec::new();
    for attempt in 1..=2 {
        assert_eq!(office.work(&consumer).failed, 1, "{attempt}");
        let letter = office.letters().remove(0);
        assert_eq!((letter.word(), letter.attempts), ("failed", attempt));
        assert!(letter.last_error.as_deref().unwrap().contains("no disk"));
        waits.push(letter.due_at.since(office.engine.now()).as_millis());
        assert_eq!(office.work(&consumer), Round::default(), "not before its time");
        office.pass(Duration::from_millis(u64::try_from(waits[waits.len() - 1]).unwrap()));
    }
    assert!((500..=1_000).contains(&waits[0]) && (1_000..=2_000).contains(&waits[1]), "{waits:?}");
    assert_eq!(office.work(&consumer).dead, 1);
    let letter = office.letters().remove(0);
    assert_eq!((letter.status, letter.attempts), (LetterStatus::Dead, 3));
    let calls = office.calls();
    assert_eq!(calls.len(), 1);
    assert!(
        calls[0].reason.contains("no disk at all") && calls[0].reason.contains("3 attempts"),
        "{}",
        calls[0].reason
    );
    assert_eq!(calls[0].run_id.as_deref(), Some(RUN));
    let health = office.engine.reader().unwrap().outbox_health().unwrap();
    assert_eq!((health.dead, health.failed, health.pending), (1, 0, 0));
    assert_eq!((health.tally.consecutive_errors, health.tally.cleared_at), (3, None));
    assert_eq!(office.work(&consumer), Round::default(), "a dead one is left alone");
    // A human has it tried again: as if for the first time, and the call is over.
    settle(&office.engine, &caller(), letter.id, OutboxWish::Retry).unwrap();
    assert_eq!(office.calls()[0].state, EscalationState::Resolved);
    assert_eq!(office.work(&consumer).sent, 1);
    let health = office.engine.reader().unwrap().outbox_health().unwrap();
    assert_eq!((health.tally.processed, health.tally.consecutive_errors), (1, 0));
    assert!(health.tally.cleared_at.is_some() && health.tally.last_error.is_some());
    assert_eq!(consumer.seen().last().unwrap(), "t1 1");
    office.sound();
}

fn caller() -> Caller {
    Caller { actor: human(), identity: None }
}

#[test]
fn a_letter_that_takes_its_worker_down_each_time_is_given_up_too() {
    let office = Office::new();
    office.answered("t1");
    for _ in 0..3 {
        assert_eq!(office.engine.ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap().len(), 1);
        office.pass(CLAIM);
    }
    let consumer = Scripted::default();
    assert_eq!(office.work(&consumer).dead, 1);
    assert!(consumer.seen().is_empty(), "it is not tried once more");
    assert!(office.calls()[0].reason.contains("again and again"));
}

/// Has a defect that the letters of t1 bring out.
struct Defective;

impl Consume for Defective {
    fn consume(&self, _: &Engine, letter: &Letter) -> Result<Option<String>, EngineError> {
        assert_ne!(letter.key, "t1", "a defect");
        Ok(None)
    }
}

#[test]
fn a_defect_is_its_letters_trouble_alone() {
    let office = Office::new();
    office.answered("t1");
    office.answered("t2");
    assert_eq!(office.work(&Defective), Round { sent: 1, failed: 1, dead: 0 });
    let letters = office.letters();
    assert!(letters[0].last_error.as_deref().unwrap().contains("defect"), "{:?}", letters[0]);
    // A worker that is killed has one letter in hand: no other pays for it.
    let office = Office::new();
    office.answered("t1");
    office.answered("t2");
    assert!(office.engine.reader().unwrap().letters_due(Lane::Files, office.engine.now()).unwrap());
    work_off(&office.engine, Lane::Files, &Scripted::default()).unwrap();
    assert_eq!(office.letters()[1].attempts, 0);
}

/// Always too early.
struct TooEarly;

impl Consume for TooEarly {
    fn consume(&self, _: &Engine, _: &Letter) -> Result<Option<String>, EngineError> {
        Err(EngineError::Interrupted("the run is being closed".into()))
    }
}

#[test]
fn what_it_is_too_early_for_waits_and_costs_no_attempt() {
    let office = Office::new();
    office.answered("t1");
    for _ in 0..5 {
        assert_eq!(office.work(&TooEarly), Round::default());
        assert!(!office.engine.reader().unwrap().letters_due(Lane::Files, office.engine.now()).unwrap());
        office.pass(Duration::from_secs(1));
    }
    let health = office.engine.reader().unwrap().outbox_health().unwrap();
    assert_eq!((office.letters()[0].attempts, health.tally.consecutive_errors), (0, 0));
    // One run's letters are carried out before their time, and no others.
    office.work(&TooEarly);
    let consumer = Scripted::default();
    work_off_run(&office.engine, &consumer, "another").unwrap();
    assert!(consumer.seen().is_empty());
    work_off_run(&office.engine, &consumer, RUN).unwrap();
    assert_eq!(consumer.seen(), ["t1 1"]);
}

#[test]
fn what_is_dropped_is_gone_and_what_is_done_or_in_hand_is_not_touched() {
    let office = Office::new();
    office.answered("t1");
    office.answered("t2");
    office.answered("t3");
    let ids: Vec<i64> = office.letters().iter().map(|letter| letter.id).collect();
    settle(&office.engine, &caller(), ids[2], OutboxWish::Drop).unwrap();
    assert_eq!(office.letters().len(), 2);
    assert!(
        matches!(settle(&office.engine, &caller(), ids[2], OutboxWish::Drop), Err(error) if error.refusal().is_some())
    );
    let claimed = office.engine.ledger.claim_letters(Lane::Files, CLAIM, 1).unwrap();
    assert_eq!(claimed[0].id, ids[0]);
    for wish in [OutboxWish::Drop, OutboxWish::Retry] {
        assert!(settle(&office.engine, &caller(), ids[0], wish).is_err());
    }
    office.engine.ledger.letter_sent(&claimed[0], None).unwrap();
    assert!(settle(&office.engine, &caller(), ids[0], OutboxWish::Retry).is_err());
    let dropped = office.engine.reader().unwrap().events(0, &Default::default(), 1_000).unwrap();
    let dropped: Vec<_> = dropped.iter().filter(|event| matches!(event.fact, Fact::OutboxDropped { .. })).collect();
    assert_eq!(dropped.len(), 1);
    office.sound();
}

#[test]
fn a_new_holder_of_the_lease_takes_the_claims_of_the_last_one_back() {
    let office = Office::new();
    office.answered("t1");
    office.engine.ledger.claim_letters(Lane::Files, CLAIM, 9).unwrap();
    assert_eq!(office.engine.ledger.release_letters().unwrap(), 1);
    let consumer = Scripted::default();
    assert_eq!(office.work(&consumer).sent, 1);
    assert_eq!(consumer.seen(), ["t1 2"], "the attempt counts");
}

#[test]
fn what_was_sent_long_ago_is_removed_and_nothing_else() {
    let office = Office::new();
    office.answered("t1");
    office.answered("t2");
    let first = office.engine.ledger.claim_letters(Lane::Files, CLAIM, 1).unwrap();
    office.engine.ledger.letter_sent(&first[0], None).unwrap();
    assert_eq!(prune(&office.engine).unwrap(), 0);
    office.pass(Duration::from_secs(73 * 3_600));
    assert_eq!(prune(&office.engine).unwrap(), 1);
    assert_eq!(office.letters().iter().map(|letter| letter.key.as_str()).collect::<Vec<_>>(), ["t2"]);
    let health = office.engine.reader().unwrap().outbox_health().unwrap();
    assert_eq!((health.pending, health.tally.processed), (1, 1));
    assert_eq!(health.oldest_pending_at, Some(office.letters()[0].created_at));
}

#[test]
fn each_state_is_listed_by_its_name() {
    let office = Office::new();
    for thread in ["t1", "t2", "t3"] {
        office.answered(thread);
    }
    let consumer = Scripted::failing(&["no"]);
    assert_eq!(office.work(&consumer), Round { sent: 2, failed: 1, dead: 0 });
    office.answered("t4");
    office.answered("t5");
    office.engine.ledger.claim_letters(Lane::Files, CLAIM, 1).unwrap();
    let reader = office.engine.reader().unwrap();
    let keys = |filter| -> Vec<String> {
        reader.letters(Some(filter), None, 9).unwrap().letters.into_iter().map(|letter| letter.key).collect()
    };
    assert_eq!(keys(LetterFilter::Sent), ["t3", "t2"]);
    assert_eq!(keys(LetterFilter::Processing).len(), 1);
    assert_eq!(keys(LetterFilter::Dead).len(), 0);
    let health = reader.outbox_health().unwrap();
    let waiting = keys(LetterFilter::Failed).len() + keys(LetterFilter::Pending).len();
    assert_eq!(u64::try_from(waiting).unwrap(), health.pending + health.failed);
    assert_eq!((health.processing, health.pending + health.failed), (1, 2));
}

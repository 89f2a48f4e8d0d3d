//! The drill (spec 7, Reliability): twenty processes write at once, two consoles watch, two processes follow, and a
//! writer is killed every second.
//!
//! It takes five seconds; `DRILL_SECONDS` makes it longer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metawsm::domain::actor::Actor;
use metawsm::domain::command::ThreadWish;
use metawsm::store::read::forum::{Queue, ThreadFilter, Viewer};
use metawsm::store::{Order, Reader, StoreError};

use crate::console_seat::{Seat, bin};
use crate::core_world::*;
use crate::store_crash::{DATABASE, ORDERS, acknowledge, assert_sound, ledger, next, spawn_test};
use crate::world::{Live, PATIENCE, World, wait_for};

const WRITERS: usize = 20;

fn seconds() -> u64 {
    std::env::var("DRILL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Not a test of its own: one of the twenty. It posts, answers, closes and marks until its time is over.
#[test]
fn the_child_that_drills() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let millis: u64 = std::env::var(ORDERS).unwrap().parse().unwrap();
    let until = Instant::now() + Duration::from_millis(millis);
    let (ledger, reader) = (ledger(Path::new(&path)), Reader::open(Path::new(&path)).unwrap());
    let me = std::process::id();
    let (name, none) = (format!("worker{}", me % 7), ThreadFilter::default());
    let (agent, viewer) = (Actor::agent(&name), Viewer::Human(format!("person{}", me % 3)));
    let person = Actor::human(format!("person{}", me % 3));
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let pick = |queue| {
            let page = reader.queue(queue, &viewer, &none, None, 20).unwrap();
            page.threads.get(number % page.threads.len().max(1)).map(|thread| thread.thread_id.clone())
        };
        let (actor, command) = match number % 5 {
            0 => (&agent, pick(Queue::Unseen).map(|id| post(&id, agent.clone(), "more words"))),
            1 => (&agent, Some(ask_by(&format!("t-{me}-{number}"), None, agent.clone(), "which?", false))),
            2 => (&person, pick(Queue::Unanswered).map(|id| answer(&id, person.clone(), None))),
            3 => (
                &person,
                pick(Queue::Unseen).map(|id| thread(&id, ThreadWish::Seen { viewer: viewer.id(), seq: None })),
            ),
            _ => (&person, pick(Queue::Unanswered).map(|id| thread(&id, ThreadWish::Close))),
        };
        let Some(command) = command else { continue };
        match ledger.execute(&Order::new(&command, actor)) {
            Ok(receipt) => receipt.events.iter().for_each(|event| acknowledge(event.seq)),
            // Somebody else was first.
            Err(StoreError::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

struct Writer {
    child: Child,
    told: JoinHandle<()>,
}

fn writer(path: &Path, millis: u64, acknowledged: &Arc<Mutex<BTreeSet<i64>>>) -> Writer {
    let (child, mut out) = spawn_test("store_drill::the_child_that_drills", path, usize::try_from(millis).unwrap());
    let into = Arc::clone(acknowledged);
    let told = std::thread::spawn(move || {
        while let Some(seq) = next(&mut out) {
            assert!(into.lock().unwrap().insert(seq), "{seq} was acknowledged twice");
        }
    });
    Writer { child, told }
}

fn followers(world: &World) -> [Live; 2] {
    [world.spawn(&["events", "--follow"]), world.spawn(&["forum", "watch", "--follow", "--type", "*"])]
}

/// Consoles of somebody who has never spoken: to them every thread is new.
fn consoles(world: &World) -> [Seat; 2] {
    let home = world.home();
    [(), ()].map(|()| {
        let seat = Seat::new((160, 45), |_| format!("USER=watcher {} --home {}", bin(), home.display()));
        seat.sees("4 Forum");
        seat
    })
}

/// Whoever has to wait for the others waits without a word.
fn is_calm(seat: &Seat) {
    let text = seat.text();
    for word in ["busy", "locked", "back "] {
        assert!(!text.to_lowercase().contains(word), "{word}:\n{text}");
    }
}

#[test]
fn twenty_write_two_consoles_watch_two_follow_and_one_is_killed_every_second() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "the first", "--body", "b"]);
    let path: PathBuf = world.db();
    let followers = followers(&world);
    let consoles = consoles(&world);
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let end = Instant::now() + Duration::from_secs(seconds());
    let left = || u64::try_from(end.saturating_duration_since(Instant::now()).as_millis()).unwrap();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| writer(&path, left(), &acknowledged)).collect();
    let mut killed = 0;
    while left() > 1_000 {
        // A second's pause is the drill itself; nothing is hoped for meanwhile.
        std::thread::sleep(Duration::from_secs(1));
        let mut victim = writers.remove(0);
        victim.child.kill().unwrap();
        victim.child.wait().unwrap();
        victim.told.join().unwrap();
        killed += 1;
        consoles.iter().for_each(is_calm);
        writers.push(writer(&path, left(), &acknowledged));
    }
    for writer in writers {
        let ended = writer.child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        writer.told.join().unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(killed >= 1 && acknowledged.len() > 100, "{killed} killed, {} written", acknowledged.len());
    assert_sound(&path, &acknowledged);
    let journal = world.metawsm(&["events"]).is(0).stdout;
    let lines: Vec<&str> = journal.lines().collect();
    for follower in &followers {
        wait_for("the follower at the end", PATIENCE, || (follower.lines().len() >= lines.len()).then_some(()));
        assert_eq!(follower.lines(), lines);
        assert_eq!(follower.errors(), "");
    }
    let counts = Reader::open(&path).unwrap().queue_counts(&Viewer::Human("watcher".into())).unwrap();
    assert!(counts.all > 10, "{counts:?}");
    for seat in &consoles {
        seat.sees(&format!("needs me {} ", counts.needs_me));
        seat.sees(&format!("unseen {} ", counts.unseen));
        seat.sees(&format!("all {} ", counts.all));
        is_calm(seat);
    }
    let supervisors = journal.lines().filter(|line| line.contains("lease.acquired")).count();
    assert_eq!(supervisors, 1, "one of the two consoles supervises");
}

//! Killed at any moment, and many at once: what was acknowledged is there (spec 7, Reliability).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command as Process, Stdio};
use std::sync::Arc;

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{AgentWish, Command, RunWish, ThreadWish};
use metawsm::domain::signal::SignalType;
use metawsm::store::ids::{RandomIds, SystemClock};
use metawsm::store::read::EventFilter;
use metawsm::store::rebuild::verify;
use metawsm::store::{Ledger, Order, Reader, StoreError};

use crate::core_world::*;

/// Which database the child writes to; without it the child's test is an empty one.
pub const DATABASE: &str = "METAWSM_TEST_CRASH_DB";
/// After how many orders it leaves by itself.
pub const ORDERS: &str = "METAWSM_TEST_CRASH_ORDERS";

pub fn ledger(path: &Path) -> Ledger {
    Ledger::open(path, Arc::new(SystemClock), Arc::new(RandomIds::default())).unwrap()
}

/// A bit of everything: single events, several in one command, and batches.
fn orders(number: usize, me: &str) -> Vec<Command> {
    let id = format!("t-{me}-{}", number / 6);
    match number % 6 {
        0 => vec![ask(&id, "a", &format!("which, {id}?"), number.is_multiple_of(4))],
        1 => vec![post(&id, Actor::agent("a"), "words"), post(&id, human(), "and words")],
        2 => vec![signal("b", SignalType::GuidanceRequest)],
        3 => vec![post(&control("b"), human(), "like this")],
        4 => vec![agent(
            "a",
            observed(if number.is_multiple_of(4) {
                metawsm::domain::agent::Health::Idle
            } else {
                metawsm::domain::agent::Health::Healthy
            }),
        )],
        _ => vec![thread(&id, ThreadWish::Close)],
    }
}

/// Tells the parent that an event was written.
pub fn acknowledge(seq: i64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {seq}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: what the parent starts again and again, as a process.
#[test]
fn the_child_that_writes() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let most: usize = std::env::var(ORDERS).unwrap().parse().unwrap();
    let ledger = ledger(Path::new(&path));
    let me = std::process::id().to_string();
    let actor = human();
    match ledger.execute(&Order::new(&Plan::of(&["a", "b"]).create(), &actor)) {
        Ok(_) => {
            for name in ["a", "b"] {
                ledger.execute(&Order::new(&agent(name, AgentWish::Started { launch: 1 }), &actor)).unwrap();
            }
        }
        Err(StoreError::Refused(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
    for number in 0..most {
        let commands = orders(number, &me);
        let orders: Vec<Order<'_>> = commands.iter().map(|command| Order::new(command, &actor)).collect();
        match ledger.execute_all(&orders) {
            Ok(receipts) => {
                for event in receipts.iter().flat_map(|receipt| &receipt.events) {
                    acknowledge(event.seq);
                }
            }
            // Another one may have answered what this one wanted to.
            Err(StoreError::Refused(_)) => acknowledge(0),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn spawn(path: &Path, most: usize) -> (Child, BufReader<ChildStdout>) {
    spawn_test("store_crash::the_child_that_writes", path, most)
}

/// Starts a test of this program as a process, with a database and a number.
pub fn spawn_test(name: &str, path: &Path, number: usize) -> (Child, BufReader<ChildStdout>) {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(DATABASE, path)
        .env(ORDERS, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The next place that was acknowledged.
pub fn next(out: &mut BufReader<ChildStdout>) -> Option<i64> {
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        // A line that the kill cut off was not told to anybody.
        if let Some(seq) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("acknowledged ")) {
            return Some(seq.parse().unwrap());
        }
    }
}

fn journal(path: &Path) -> BTreeSet<i64> {
    let reader = Reader::open(path).unwrap();
    reader.events(0, &EventFilter::default(), 1_000_000).unwrap().iter().map(|event| event.seq).collect()
}

/// Everything acknowledged is there, the file is whole, and its tables are what the journal says.
pub fn assert_sound(path: &Path, acknowledged: &BTreeSet<i64>) {
    let there = journal(path);
    let lost: Vec<&i64> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?} of {}", there.len());
    let conn = rusqlite::Connection::open(path).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let found = verify(path).unwrap();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn killed_ten_times_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metawsm.db");
    let mut acknowledged = BTreeSet::new();
    // Seeded by nothing: the moment within an order is the scheduler's, the number of orders is spread out.
    for round in 0..10_usize {
        let (mut child, mut out) = spawn(&path, usize::MAX);
        for _ in 0..1 + round * 7 % 40 {
            let seq = next(&mut out).expect("the child writes until it is killed");
            acknowledged.insert(seq);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(seq) = next(&mut out) {
            acknowledged.insert(seq);
        }
        acknowledged.remove(&0);
        assert_sound(&path, &acknowledged);
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    // The next start goes on where the last one was ended.
    let ledger = ledger(&path);
    ledger.execute(&Order::new(&run(RunWish::Pause), &human())).unwrap();
}

#[test]
fn eight_processes_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // None of them finds the file: they all make it.
    let path = dir.path().join("metawsm.db");
    let children: Vec<_> = (0..8).map(|_| spawn(&path, 25)).collect();
    let mut acknowledged = BTreeSet::new();
    let mut told = 0;
    for (child, mut out) in children {
        let mut orders = 0;
        while let Some(seq) = next(&mut out) {
            orders += 1;
            if seq > 0 {
                told += 1;
                acknowledged.insert(seq);
            }
        }
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(orders >= 10, "{orders}");
    }
    assert_eq!(acknowledged.len(), told, "no two were given the same place");
    let there = journal(&path);
    assert_eq!(there.last().copied(), i64::try_from(there.len()).ok(), "the order has no holes");
    assert_sound(&path, &acknowledged);
}

#[test]
fn a_reader_beside_a_writer_sees_every_event_once_and_in_order() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a", "b"]).create());
    let path = shop.path();
    let (mut child, mut out) = spawn(&path, 60);
    let reader = Reader::open(&path).unwrap();
    let (mut cursor, mut seen, mut ended) = (0, 0, false);
    loop {
        let events = reader.events(cursor, &EventFilter::default(), 7).unwrap();
        for event in &events {
            assert_eq!(event.seq, cursor + 1);
            cursor = event.seq;
            seen += 1;
        }
        if events.is_empty() {
            if ended {
                break;
            }
            ended = next(&mut out).is_none();
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(seen, reader.last_seq().unwrap());
    assert!(seen > 60);
}

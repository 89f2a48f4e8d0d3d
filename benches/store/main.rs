//! P4 to P8: what a durable event, a one-shot command, a page, a search and a rebuild cost, each beside its yardstick
//! from the same run.
//!
//! `cargo bench --bench store`, or with the figures wanted: `-- p6 p7`, and `-- quick` to leave the million out.
//! `-- make=FILE` leaves a database of a million threads in FILE, to try the binary with.
//! Times are reported; only the ratios say whether the goal is met.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and a broken bench is to stop")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command, ThreadWish};
use metawsm::domain::thread::Priority;
use metawsm::store::ids::{RandomIds, SystemClock};
use metawsm::store::{Ledger, Order};

const BODY: &str = "The outbox needs a key. Shall it be the event's id, which is unique, or the thread's, which keeps \
    the order of one conversation? The second is what the original does; the first is what the table can enforce. \
    I lean to the first and would add an index for the second. Please say which one it is to be.";

mod data;
mod pages;
mod rebuild;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let quick = words.iter().any(|word| word == "quick");
    let named = words.iter().any(|word| word.starts_with('p'));
    let wanted = |name: &str| !named || words.iter().any(|word| word == name);
    let sizes: Vec<usize> = [1_000, 10_000, 100_000, 1_000_000].into_iter().take(if quick { 3 } else { 4 }).collect();
    if let Some(file) = words.iter().find_map(|word| word.strip_prefix("make=")) {
        return data::threads(Path::new(file), sizes[sizes.len() - 1]);
    }
    if wanted("p4") {
        p4(dir.path());
    }
    if wanted("p5") {
        p5(dir.path(), &sizes);
    }
    if wanted("p6") || wanted("p7") {
        pages::run(dir.path(), &sizes, wanted("p7"));
    }
    if wanted("p8") {
        rebuild::run(dir.path(), &sizes);
    }
}

fn p4(dir: &Path) {
    println!("P4 · a durable event: one command, its projections, synchronous FULL");
    let ledger = open(&dir.join("p4.db"));
    let actor = Actor::human("bench");
    open_thread(&ledger, &actor, 0);
    let singles: Vec<Duration> = (0..800).map(|_| timed(|| post(&ledger, &actor, 1))).collect();
    let batches: Vec<Duration> = (0..200).map(|_| timed(|| post(&ledger, &actor, 10))).collect();
    let syncs: Vec<Duration> = (0..400).map(|_| fdatasync(dir)).collect();
    let shell: Vec<Duration> = (0..20).map(|at| sqlite_per_statement(dir, at)).collect();
    let (single, sync) = (p50(singles), p50(syncs));
    let batch = p50(batches);
    println!("  one command, p50            {}", micros(single));
    println!("  fdatasync of 24 KiB, p50    {}   ratio {:.2} (goal ≤ 3, limit 5)", micros(sync), ratio(single, sync));
    println!(
        "  batch of 10, each           {}   {:.1}× single (goal ≥ 5×)",
        micros(batch / 10),
        ratio(single, batch / 10)
    );
    if let Some(shell) = Some(shell).filter(|times| times.iter().all(|time| !time.is_zero())) {
        let shell = p50(shell);
        println!(
            "  sqlite3 a statement, p50    {}   {:.0}× ours (goal ≥ 40×, limit 25×)",
            micros(shell),
            ratio(shell, single)
        );
    } else {
        println!("  sqlite3 is not installed: no yardstick for the original's way");
    }
}

fn p5(dir: &Path, sizes: &[usize]) {
    println!("P5 · one-shot `metawsm forum ask` as a process");
    let mut before = None;
    for events in [sizes[0], sizes[sizes.len() - 1]] {
        let home = dir.join(format!("home-{events}"));
        std::fs::create_dir_all(home.join(".metawsm")).unwrap();
        let db = home.join(".metawsm/metawsm.db");
        data::threads(&db, events);
        // In turn: what disturbs one disturbs the other.
        let (mut asks, mut tables) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            asks.push(timed(|| ask(&home)));
            tables.push(sqlite_tables(&db));
        }
        let (ours, tables) = (p50(asks), p50(tables));
        print!("  beside {events:>7} threads       {}", micros(ours));
        if tables.is_zero() {
            print!("   (sqlite3 is not installed)");
        } else {
            print!("   sqlite3 .tables {}   ratio {:.2} (goal ≤ 2.5, limit 4)", micros(tables), ratio(ours, tables));
        }
        match before.replace(ours) {
            None => println!(),
            Some(before) => println!("   {:.2}× of the smaller (goal ≤ 1.3)", ratio(ours, before)),
        }
    }
}

fn open(path: &Path) -> Ledger {
    Ledger::open(path, Arc::new(SystemClock), Arc::new(RandomIds::default())).unwrap()
}

fn open_thread(ledger: &Ledger, actor: &Actor, number: usize) {
    let wish = ThreadWish::Ask {
        ticket: "BENCH-1".to_owned(),
        agent: None,
        title: format!("which key? {number}"),
        body: BODY.to_owned(),
        priority: Priority::Normal,
        wait: false,
        author: None,
    };
    let command = Command::Thread { thread_id: format!("fthr-{number}"), run_id: None, wish };
    ledger.execute(&Order::new(&command, actor)).unwrap();
}

fn post(ledger: &Ledger, actor: &Actor, count: usize) {
    let wish = ThreadWish::Post { body: BODY.to_owned(), wait: false, author: None };
    let command = Command::Thread { thread_id: "fthr-0".to_owned(), run_id: None, wish };
    let orders = vec![Order::new(&command, actor); count];
    ledger.execute_all(&orders).unwrap();
}

fn ask(home: &Path) {
    let status = Process::new(env!("CARGO_BIN_EXE_metawsm"))
        .args(["forum", "ask", "--ticket", "BENCH-1", "--title", "which key?", "--body", BODY, "--home"])
        .arg(home)
        .env_remove("METAWSM_AGENT")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn fdatasync(dir: &Path) -> Duration {
    let mut file = File::options().create(true).append(true).open(dir.join("sync")).unwrap();
    let bytes = vec![7_u8; 24 * 1024];
    timed(|| {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    })
}

/// The original's way: a `sqlite3` process for each of the five statements that one post takes.
fn sqlite_per_statement(dir: &Path, number: usize) -> Duration {
    let db = dir.join("cli.db");
    let run =
        |sql: &str| Process::new("sqlite3").arg(&db).arg(sql).stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !run("CREATE TABLE IF NOT EXISTS t (id TEXT, body TEXT)") {
        return Duration::ZERO;
    }
    timed(|| {
        for part in 0..5 {
            run(&format!("INSERT INTO t VALUES ('{number}-{part}', '{}')", BODY.replace('\'', "''")));
        }
    })
}

fn sqlite_tables(db: &Path) -> Duration {
    let started = Instant::now();
    match Process::new("sqlite3").arg(db).arg(".tables").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => started.elapsed(),
        _ => Duration::ZERO,
    }
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-9)
}

fn micros(time: Duration) -> String {
    format!("{:>8.1} µs", time.as_secs_f64() * 1e6)
}

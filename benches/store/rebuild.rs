//! P8: the tables made anew, beside a bare scan of the journal.

use std::path::Path;

use metawsm::store::rebuild::{rebuild, verify};
use rusqlite::Connection;

use crate::{data, ratio, timed};

/// Every column of every event, read and not kept.
fn scan(path: &Path) {
    let conn = Connection::open(path).unwrap();
    let mut select = conn.prepare("SELECT * FROM journal ORDER BY seq").unwrap();
    let width = select.column_count();
    let mut rows = select.query([]).unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().unwrap() {
        for at in 0..width {
            bytes += match row.get_ref(at).unwrap() {
                rusqlite::types::ValueRef::Text(text) => text.len(),
                _ => 8,
            };
        }
    }
    assert!(bytes > 0);
}

/// The most memory this process ever held, in MiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

pub fn run(dir: &Path, sizes: &[usize]) {
    println!("P8 · the tables made anew, but for the search index (goal ≤ 8× a bare scan of the journal, limit 15)");
    for size in sizes {
        let path = dir.join(format!("events-{size}.db"));
        data::events(&path, *size);
        scan(&path);
        let bare = timed(|| scan(&path));
        let before = most_memory();
        let made = timed(|| assert!(rebuild(&path).unwrap() > 0));
        let again = timed(|| assert!(rebuild(&path).unwrap() > 0));
        let memory = most_memory();
        let checked = timed(|| assert_eq!(verify(&path).unwrap(), vec![]));
        println!(
            "  {size:>8} events   scan {:>8.3} s   rebuild {:>8.3} s   {:.1}×   again {:.1}×   verify {:>8.3} s   memory {before} → {memory} MiB",
            bare.as_secs_f64(),
            made.as_secs_f64(),
            ratio(made, bare),
            ratio(again, bare),
            checked.as_secs_f64(),
        );
        std::fs::remove_file(&path).unwrap();
    }
}

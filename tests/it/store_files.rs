//! The file: who makes it, which ones are refused, and what its faults are called (spec 7, Reliability).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use metawsm::domain::command::ThreadWish;
use metawsm::store::ids::{CountingIds, SystemClock};
use metawsm::store::rebuild::{rebuild, verify};
use metawsm::store::{Ledger, Reader, StoreError, schema};
use rusqlite::Connection;

use crate::core_world::*;

fn open(path: &Path) -> Result<Ledger, StoreError> {
    Ledger::open(path, Arc::new(SystemClock), Arc::new(CountingIds::default()))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_is_not_there_or_empty_is_made_private() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["absent.db", "empty.db", "odd ?#%20é.db"] {
        let path = dir.path().join(name);
        if name == "empty.db" {
            fs::write(&path, "").unwrap();
        }
        open(&path).unwrap();
        let conn = Connection::open(&path).unwrap();
        let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, schema::VERSION);
        assert!(verify(&path).unwrap().is_empty());
    }
    let mode = fs::metadata(dir.path().join("absent.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn those_who_make_it_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.db");
    let first = Connection::open(&path).unwrap();
    first.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (begun, beginning) = mpsc::channel();
    let second = std::thread::spawn({
        let path = path.clone();
        move || {
            begun.send(()).unwrap();
            open(&path).map(drop)
        }
    });
    beginning.recv().unwrap();
    // SQLite itself refuses at once here.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!second.is_finished(), "it waits");
    first.execute_batch("ROLLBACK").unwrap();
    second.join().unwrap().unwrap();
    assert!(verify(&path).unwrap().is_empty());
}

#[test]
fn a_file_that_a_newer_program_migrated_meanwhile_is_written_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared.db");
    let ledger = open(&path).unwrap();
    let (create, actor) = (Plan::of(&["a"]).create(), human());
    let order = metawsm::store::Order::new(&create, &actor);
    let newer = open(&path).unwrap();
    newer.meta_or("known", || "before".to_owned()).unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    let refused = |error: StoreError| matches!(error, StoreError::Newer { found, known: schema::VERSION, .. } if found == schema::VERSION + 1);
    assert!(refused(ledger.execute(&order).unwrap_err()));
    assert!(refused(ledger.meta_or("new", || "after".to_owned()).unwrap_err()));
    assert!(refused(newer.execute(&order).unwrap_err()), "also where a statement was prepared before");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", schema::VERSION).unwrap();
    ledger.execute(&order).unwrap();
    assert!(verify(&path).unwrap().is_empty());
}

#[test]
fn a_newer_file_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("newer.db");
    let conn = Connection::open(&path).unwrap();
    let later = schema::VERSION + 2;
    conn.execute_batch(&format!("CREATE TABLE later (x); PRAGMA user_version = {later}")).unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let newer =
        |error: StoreError| matches!(error, StoreError::Newer { found, known: schema::VERSION, .. } if found == later);
    assert!(newer(open(&path).unwrap_err()));
    assert!(newer(Reader::open(&path).unwrap_err()));
    assert!(newer(verify(&path).unwrap_err()));
    assert!(newer(rebuild(&path).unwrap_err()));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(dir.path()), ["newer.db"]);
}

#[test]
fn another_programs_database_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("go.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE runs (run_id TEXT); INSERT INTO runs VALUES ('run-1')").unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("runs")), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_reader_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metawsm.db");
    assert!(matches!(Reader::open(&path), Err(StoreError::Absent { .. })));
    assert!(matches!(verify(&path), Err(StoreError::Absent { .. })));
    assert!(names(dir.path()).is_empty());
    fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open(&path), Err(StoreError::Absent { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn faults_have_names_and_mends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metawsm.db");
    fs::write(&path, "this is a letter, not a database; it is long enough to be looked at, page by page".repeat(20))
        .unwrap();
    for error in [open(&path).unwrap_err(), Reader::open(&path).unwrap_err()] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.hint().is_some() && error.to_string().contains("metawsm.db"));
    }
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "a directory: {error:?}");
    let error = open(&dir.path().join("no/such/metawsm.db")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }) && error.to_string().contains("no/such"), "{error:?}");
}

#[test]
fn a_damaged_page_is_called_so_by_whoever_meets_it() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    for number in 0..200 {
        shop.must(&ask(&format!("t{number}"), "a", &format!("which {number}?"), false));
    }
    let path = shop.path();
    let conn = Connection::open(&path).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let root: u32 =
        conn.query_row("SELECT rootpage FROM sqlite_master WHERE name = 'thread'", [], |row| row.get(0)).unwrap();
    let size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let (root, size) = (root as usize, size as usize);
    drop(conn);
    drop(shop.ledger);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * size..root * size].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let reader = Reader::open(&path).unwrap();
    for error in [
        reader.thread("t1").unwrap_err(),
        reader.threads(&metawsm::store::read::forum::ThreadFilter::default(), None, 10).unwrap_err(),
        verify(&path).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
}

#[test]
fn what_may_not_be_written_is_called_read_only() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    // Rights mean nothing to root, whom tests may run as: a file opened to be read only stands for them.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(shop.path(), flags).unwrap();
    let error = conn.execute("DELETE FROM run", []).unwrap_err();
    let named = metawsm::store::error::named(&shop.path(), error);
    assert!(matches!(named, StoreError::ReadOnly { .. }), "{named:?}");
    let sealed = shop.dir.path().join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
    let may_write_anyway = fs::write(sealed.join("probe"), "").is_ok();
    let opened = open(&sealed.join("metawsm.db"));
    if may_write_anyway {
        opened.unwrap();
    } else {
        assert!(matches!(opened, Err(StoreError::ReadOnly { .. })));
    }
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_locked_database_is_waited_for() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    let (locked, is_locked) = mpsc::channel();
    let path = shop.path();
    let holder = std::thread::spawn(move || {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        locked.send(Instant::now()).unwrap();
        // The lock is held for a time, which is what is tested; nothing is hoped for meanwhile.
        std::thread::sleep(Duration::from_millis(300));
        conn.execute_batch("COMMIT").unwrap();
    });
    let since = is_locked.recv().unwrap();
    // Readers do not wait.
    assert!(shop.reader().run(RUN).unwrap().is_some());
    shop.must(&ask("t1", "a", "which?", false));
    assert!(since.elapsed() >= Duration::from_millis(290), "it cannot have been written before: {:?}", since.elapsed());
    holder.join().unwrap();
    assert!(shop.reader().thread("t1").unwrap().is_some());
}

#[test]
fn the_data_version_tells_what_others_wrote() {
    let shop = Shop::new();
    let reader = shop.reader();
    let before = reader.data_version().unwrap();
    assert_eq!(reader.data_version().unwrap(), before);
    shop.must(&Plan::of(&["a"]).create());
    let after = reader.data_version().unwrap();
    assert_ne!(after, before);
    shop.must(&ask("t1", "a", "which?", false));
    assert_ne!(reader.data_version().unwrap(), after);
    let quiet = reader.data_version().unwrap();
    assert!(shop.give(&human(), None, &thread("t9", ThreadWish::Close)).is_err());
    assert_eq!(reader.data_version().unwrap(), quiet, "a refusal writes nothing");
}

#[test]
fn verify_finds_what_was_changed_behind_the_journals_back_and_rebuild_mends_it() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a", "b"]).create());
    shop.must(&ask("t1", "a", "which?", true));
    shop.must(&post("t1", human(), "this"));
    shop.must(&thread("t1", ThreadWish::Seen { viewer: "human:bo".into(), seq: None }));
    shop.must(&signal("b", metawsm::domain::signal::SignalType::GuidanceRequest));
    shop.assert_sound();
    let conn = Connection::open(shop.path()).unwrap();
    for (table, harm) in [
        ("run", "UPDATE run SET doc = json_set(doc, '$.status', 'closed')"),
        ("run_policy", "UPDATE run_policy SET doc = '{}'"),
        ("run_ticket", "DELETE FROM run_ticket"),
        ("step", "UPDATE step SET doc = json_set(doc, '$.attempts', 9) WHERE step_index = 1"),
        ("agent", "DELETE FROM agent WHERE name = 'a'"),
        ("thread", "UPDATE thread SET doc = json_set(doc, '$.title', 'other') WHERE thread_id = 't1'"),
        ("thread", "UPDATE thread SET since = 'never'"),
        ("post", "UPDATE post SET body = body || ' '"),
        ("request", "UPDATE request SET doc = json_set(doc, '$.settled_by', 'x')"),
        ("seen", "UPDATE seen SET seq = seq + 1"),
        ("thread_tally", "UPDATE thread_tally SET n = n + 1"),
        ("post_tally", "DELETE FROM post_tally WHERE author_type = 'human'"),
        ("viewer", "UPDATE viewer SET seen = seen + 1"),
        ("seen_stretch", "DELETE FROM seen_stretch"),
    ] {
        assert!(conn.execute(harm, []).unwrap() > 0, "{harm}");
        let found = verify(&shop.path()).unwrap();
        assert!(!found.is_empty() && found.iter().all(|difference| difference.table == table), "{table}: {found:?}");
        assert!(rebuild(&shop.path()).unwrap() > 0);
        shop.assert_sound();
    }
    assert!(!shop.reader().posts("t1", None).unwrap().is_empty());
}

/// A file as an older version left it: its tables, with what of them it had.
fn older(shop: Shop, rungs: &[&str], tables: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let path = shop.dir.path().join("older.db");
    let conn = Connection::open(&path).unwrap();
    rungs.iter().for_each(|rung| conn.execute_batch(rung).unwrap());
    conn.pragma_update(None, "user_version", i64::try_from(rungs.len()).unwrap()).unwrap();
    conn.execute("ATTACH DATABASE ?1 AS newer", [shop.path().to_str().unwrap()]).unwrap();
    for table in tables {
        let columns: Vec<String> = conn
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}', 'main')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let columns = columns.join(", ");
        conn.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}"))
            .unwrap();
    }
    (shop.dir, path)
}

const RUNGS: [&str; 2] = [
    include_str!("../../src/store/migrations/0001_spine.sql"),
    include_str!("../../src/store/migrations/0002_operator.sql"),
];
const SPINE: [&str; 9] = ["journal", "run", "run_policy", "run_ticket", "step", "agent", "thread", "post", "request"];

#[test]
fn files_of_older_versions_are_brought_up_to_this_one() {
    for version in [1, 2] {
        let shop = Shop::new();
        shop.must(&Plan::of(&["a"]).create());
        shop.must(&ask("t1", "a", "which?", true));
        shop.must(&ask("t2", "a", "what of the ledger?", false));
        shop.must(&post("t1", human(), "the second"));
        shop.must(&thread("t2", ThreadWish::Seen { viewer: "human:cy".into(), seq: None }));
        let (_dir, path) = older(shop, &RUNGS[..version], &[&SPINE[..], &["seen"]].concat());
        let reader = Reader::open(&path).unwrap();
        assert!(reader.escalations(None, false).unwrap().is_empty());
        let found = verify(&path).unwrap();
        assert!(found.is_empty(), "{found:#?}");
        // What was written down for an agent is no news to who wrote it, here as in a new file.
        assert_eq!(reader.posts("t2", None).unwrap()[0].writer, Some(human()));
        let bo = reader.queue_counts(&metawsm::store::read::forum::Viewer::Human("bo".into())).unwrap();
        assert_eq!((bo.unseen, bo.all), (0, 2));
        let cy = reader.queue_counts(&metawsm::store::read::forum::Viewer::Human("cy".into())).unwrap();
        assert_eq!((cy.unseen, cy.all), (1, 2));
        let hits = reader.search("ledger", &Default::default(), None, 5, false).unwrap();
        assert_eq!((hits.hits.len(), hits.indexed), (1, None));
        let ids = Arc::new(metawsm::store::ids::RandomIds::default());
        let ledger = Ledger::open(&path, Arc::new(SystemClock), ids).unwrap();
        ledger.execute(&metawsm::store::Order::new(&post("t1", human(), "this"), &human())).unwrap();
        assert!(verify(&path).unwrap().is_empty());
    }
}

/// Whoever is killed while it makes the file leaves a rollback journal that a reader may not play back.
#[test]
fn a_file_that_was_half_made_is_none_and_not_one_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (made, left) = (dir.path().join("made.db"), dir.path().join("left.db"));
    let conn = Connection::open(&made).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = DELETE; CREATE TABLE t (x);
         INSERT INTO t WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 200) SELECT randomblob(3000) FROM n;
         DROP TABLE t; PRAGMA cache_size = 2; BEGIN IMMEDIATE; CREATE TABLE u (x);
         INSERT INTO u WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 200) SELECT randomblob(3000) FROM n;",
    )
    .unwrap();
    let journal = |path: &std::path::Path| path.with_extension("db-journal");
    std::fs::copy(&made, &left).unwrap();
    std::fs::copy(journal(&made), journal(&left)).unwrap();
    let read_only = Connection::open_with_flags(&left, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let refused = read_only.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ReadOnly), "what it is about: {refused}");
    drop(read_only);
    let opened = Reader::open(&left).unwrap_err();
    assert!(matches!(opened, StoreError::Absent { .. }), "{opened}");
    assert!(!journal(&left).exists());
}

//! Looking for words (spec 2.5): what is found, in which order, and what the index survives.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command, ThreadWish};
use metawsm::domain::signal::SignalType;
use metawsm::domain::thread::Priority;
use metawsm::store::ids::{CountingIds, SystemClock};
use metawsm::store::read::forum::{Hits, ThreadFilter, Viewer};
use metawsm::store::rebuild::{rebuild, verify};
use metawsm::store::search::Indexer;
use metawsm::store::{Ledger, Order, Reader, StoreError};
use proptest::prelude::*;

use crate::core_world::*;

fn question(id: &str, title: &str, body: &str) -> Command {
    let wish = ThreadWish::Ask {
        ticket: "T-ws".into(),
        agent: None,
        title: title.into(),
        body: body.into(),
        priority: Priority::Normal,
        wait: false,
        author: None,
    };
    Command::Thread { thread_id: id.into(), run_id: None, wish }
}

fn search(reader: &Reader, query: &str) -> Hits {
    reader.search(query, &ThreadFilter::default(), None, 50, false).unwrap()
}

fn found(reader: &Reader, query: &str) -> Vec<String> {
    search(reader, query).hits.into_iter().map(|hit| hit.thread.thread_id).collect()
}

fn shop() -> Shop {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&question("t1", "Which key for the outbox?", "The event's id, or the thread's; see outbox.rs"));
    shop.must(&question("t2", "Naming", "Schlüssel is German for key; C++ has std::map<K, V>"));
    shop.must(&post("t1", Actor::agent("a"), "the outbox key, once more"));
    shop.must(&question("t3", "Out of disk", "100% full: rm -rf *.tmp (or \"df\")"));
    shop
}

#[test]
fn words_prefixes_and_phrases_are_found_newest_first_one_hit_a_thread() {
    let shop = shop();
    let reader = shop.reader();
    assert_eq!(found(&reader, "key"), ["t1", "t2"]);
    assert_eq!(found(&reader, "OUTBOX"), ["t1"]);
    assert_eq!(found(&reader, "out*"), ["t3", "t1"]);
    assert_eq!(found(&reader, "\"key for the outbox\""), ["t1"]);
    assert_eq!(found(&reader, "\"the key outbox\""), [""; 0]);
    assert_eq!(found(&reader, "schlussel"), ["t2"], "without its diacritics");
    assert_eq!(found(&reader, "key NOT german"), ["t1"]);
    assert_eq!(found(&reader, "title:out*"), ["t3", "t1"]);
    assert_eq!(found(&reader, "body:naming"), [""; 0]);
    let hits = search(&reader, "outbox");
    let hit = &hits.hits[0];
    assert_eq!(hit.snippet, "the outbox key, once more", "the newest post that matches");
    assert_eq!(&hit.snippet[hit.marks[0].clone()], "outbox");
    assert_eq!(reader.post(&hit.post_id).unwrap().unwrap().seq, hit.seq);
    // What was just written is found at once, signals too.
    shop.must(&signal("a", SignalType::GuidanceRequest));
    let asked = reader.posts(&control("a"), None).unwrap();
    let word = asked[0].body.split(|c: char| !c.is_alphanumeric()).next().unwrap();
    assert_eq!(found(&reader, word)[0], control("a"));
}

#[test]
fn what_does_not_parse_is_looked_for_as_it_stands() {
    let shop = shop();
    let reader = shop.reader();
    for (query, wanted) in [
        ("C++", &["t2"][..]),
        ("std::map<K, V>", &["t2"]),
        ("(or \"df\")", &["t3"]),
        ("outbox.rs", &["t1"]),
        ("which:", &["t1"]),
        ("'; DROP TABLE post; --", &[]),
        ("AND", &[]),
        ("NOT", &[]),
        ("event's id,", &["t1"]),
        ("((((", &[]),
        ("*", &[]),
        ("???", &[]),
        ("no:such:column", &[]),
        ("\u{202e}\u{1b}[31m", &[]),
    ] {
        assert_eq!(found(&reader, query), wanted, "{query}");
    }
    assert_eq!(found(&reader, "(out*"), ["t3", "t1"], "a star keeps its meaning");
    for bad in ["", "  ", "a\0b", &"x".repeat(1001)] {
        let refused = reader.search(bad, &ThreadFilter::default(), None, 5, false);
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{bad:?}");
    }
}

#[test]
fn filters_hold_and_cursors_belong_to_their_query() {
    let shop = shop();
    shop.must(&thread("t2", ThreadWish::Close));
    shop.must(&ask("t4", "a", "a key of a run", false));
    let reader = shop.reader();
    let none = ThreadFilter::default();
    let with = |filter: &ThreadFilter| -> Vec<String> {
        let hits = reader.search("key", filter, None, 50, false).unwrap().hits;
        hits.into_iter().map(|hit| hit.thread.thread_id).collect()
    };
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(with(&none), ["t4", "t1", "t2"]);
    assert_eq!(with(&ThreadFilter { state: some("closed"), ..none.clone() }), ["t2"]);
    assert_eq!(with(&ThreadFilter { run_id: some(RUN), ..none.clone() }), ["t4"]);
    assert_eq!(with(&ThreadFilter { agent: some("a"), priority: some("normal"), ..none.clone() }), ["t4"]);
    assert_eq!(with(&ThreadFilter { priority: some("urgent"), ..none.clone() }), [""; 0]);
    let cursor = reader.search("key", &none, None, 1, false).unwrap().next_cursor.unwrap();
    assert!(reader.search("key", &none, Some(&cursor), 1, false).is_ok());
    let closed = ThreadFilter { state: some("closed"), ..none.clone() };
    for wrong in [
        reader.search("keys", &none, Some(&cursor), 1, false),
        reader.search("key", &closed, Some(&cursor), 1, false),
        reader.search("key", &none, Some(&cursor), 1, true),
        reader.search("key", &none, Some("zz"), 1, false),
    ] {
        assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    }
}

#[test]
fn ranked_hits_begin_with_the_best() {
    let shop = Shop::new();
    shop.must(&question("best", "lease lease lease", "lease"));
    let words = "something else entirely, with many words in it, of which but one is the lease; and so on and on";
    shop.must(&question("newer", "other", words));
    shop.must(&post("best", human(), words));
    let reader = shop.reader();
    let ranked = reader.search("lease", &ThreadFilter::default(), None, 5, true).unwrap();
    let order: Vec<&str> = ranked.hits.iter().map(|hit| hit.thread.thread_id.as_str()).collect();
    assert_eq!((order, ranked.next_cursor), (vec!["best", "newer"], None));
    assert!(ranked.hits[0].snippet.contains("lease lease"), "the best post of the thread: {:?}", ranked.hits[0]);
}

#[test]
fn the_index_follows_a_rebuild_from_the_newest_to_the_oldest_and_says_how_far_it_is() {
    let shop = Shop::new();
    let actor = human();
    for chunk in 0..25 {
        let commands: Vec<Command> = (0..100)
            .map(|n| question(&format!("t{}", chunk * 100 + n), "what?", &format!("word{chunk} all")))
            .collect();
        let orders: Vec<Order<'_>> = commands.iter().map(|command| Order::new(command, &actor)).collect();
        shop.ledger.execute_all(&orders).unwrap();
    }
    let reader = shop.reader();
    assert_eq!((search(&reader, "word0").hits.len(), search(&reader, "word0").indexed), (50, None));
    rebuild(&shop.path()).unwrap();
    let (newest, oldest) = (search(&reader, "word24"), search(&reader, "word0"));
    assert_eq!((newest.hits.len(), oldest.hits.len(), oldest.indexed), (50, 0, Some(80)));
    // What is posted meanwhile is found at once.
    shop.must(&question("t-new", "meanwhile", "word24 again"));
    assert_eq!(found(&reader, "word24")[0], "t-new");
    let mut indexer = Indexer::open(&shop.path()).unwrap();
    let mut shares = Vec::new();
    while indexer.index_some(100).unwrap() {
        shares.push(search(&reader, "all").indexed.unwrap());
    }
    assert!(shares.is_sorted() && shares.len() == 4, "{shares:?}");
    assert_eq!((search(&reader, "word0").hits.len(), search(&reader, "word0").indexed), (50, None));
    assert!(!indexer.index_some(100).unwrap(), "nothing is left, and nothing is indexed twice");
    shop.assert_sound();
}

#[test]
fn whoever_mends_the_home_finishes_the_index_and_who_does_not_is_told() {
    let world = crate::world::World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T", "--thread-id", "t", "--title", "first words", "--body", "the oldest"]);
    let shop = Ledger::open(&world.db(), Arc::new(SystemClock), Arc::new(CountingIds::default())).unwrap();
    let (actor, filler) = (human(), "filler ".repeat(2_000));
    let posts: Vec<Command> = (0..300).map(|_| post("t", human(), &filler)).collect();
    let orders: Vec<Order<'_>> = posts.iter().map(|command| Order::new(command, &actor)).collect();
    shop.execute_all(&orders).unwrap();
    rebuild(&world.db()).unwrap();
    let percent = world.ask(&["forum", "search", "oldest"])["indexed"].as_u64().unwrap();
    let told = world.metawsm(&["forum", "search", "oldest"]).is(0).stdout;
    assert!(told.contains(&format!("indexing {percent} %")) && told.contains("metawsm --headless"), "{told}");
    let finding = |args: &[&str], status: i32| {
        let out = world.metawsm(&[args, &["--json"]].concat()).is(status).json();
        out["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == "search").unwrap().clone()
    };
    let found = finding(&["doctor"], 1);
    assert_eq!(found["ok"], false);
    assert!(found["message"].as_str().unwrap().contains(&format!("{percent} %")), "{found}");
    assert!(found["mend"].as_str().unwrap().contains("doctor --repair"), "{found}");
    assert_eq!(finding(&["doctor", "--repair"], 0)["ok"], true);
    assert_eq!(world.ask(&["forum", "search", "oldest"])["threads"][0]["thread_id"], "t");
    // A rebuild leaves nothing for later.
    world.metawsm(&["doctor", "--rebuild"]).is(0);
    let after = world.ask(&["forum", "search", "oldest"]);
    assert_eq!((&after["threads"][0]["thread_id"], &after["indexed"]), (&"t".into(), &serde_json::Value::Null));
    world.verified();
}

#[test]
fn after_vacuum_everything_is_found_where_it_was() {
    let shop = shop();
    shop.must(&thread("t1", ThreadWish::Seen { viewer: "human:cy".into(), seq: None }));
    let conn = rusqlite::Connection::open(shop.path()).unwrap();
    // Between the posts lie other events: rows without a place of their own would be numbered anew.
    conn.execute_batch("VACUUM").unwrap();
    let reader = shop.reader();
    assert_eq!(
        (found(&reader, "key"), found(&reader, "out*")),
        (vec!["t1".into(), "t2".into()], vec!["t3".into(), "t1".into()])
    );
    assert_eq!(search(&reader, "full").hits[0].snippet, "100% full: rm -rf *.tmp (or \"df\")");
    assert_eq!(reader.queue_counts(&Viewer::Human("cy".into())).unwrap().unseen, 2);
    shop.must(&post("t3", human(), "and a key of its own"));
    assert_eq!(found(&reader, "key"), ["t3", "t1", "t2"]);
    let left = verify(&shop.path()).unwrap();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_search_that_is_stopped_says_so() {
    let shop = Shop::new();
    let actor = human();
    let commands: Vec<Command> = (0..300).map(|n| question(&format!("t{n}"), "what?", "common")).collect();
    let orders: Vec<Order<'_>> = commands.iter().map(|command| Order::new(command, &actor)).collect();
    shop.ledger.execute_all(&orders).unwrap();
    let reader = shop.reader();
    let stop = reader.stopper();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = over.clone();
    let stopper = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::SeqCst) {
            stop.stop();
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    // Searched until the stop falls into one of them.
    let mut stopped = false;
    for _ in 0..5_000 {
        match reader.search("common", &ThreadFilter::default(), None, 500, false) {
            Ok(_) => {}
            Err(StoreError::Interrupted) => {
                stopped = true;
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    over.store(true, std::sync::atomic::Ordering::SeqCst);
    stopper.join().unwrap();
    assert!(stopped);
    assert_eq!(search(&reader, "common").hits.len(), 50, "the reader is usable afterwards");
}

#[test]
fn a_rebuild_goes_on_beside_those_who_write_and_read() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    for number in 0..300 {
        shop.must(&question(&format!("t{number}"), "what?", "words"));
    }
    // A rebuild that was killed left its tables behind.
    let conn = rusqlite::Connection::open(shop.path()).unwrap();
    conn.execute_batch("CREATE TABLE fresh_thread (x); CREATE TABLE fresh_post (y)").unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) || written < 50 {
                shop.must(&post(&format!("t{}", written % 300), human(), "more words"));
                written += 1;
            }
            written
        });
        let reading = scope.spawn(|| {
            let (reader, none) = (shop.reader(), ThreadFilter::default());
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(reader.threads(&none, None, 500).unwrap().threads.len(), 300);
                assert_eq!(reader.queue_counts(&Viewer::Operator).unwrap().all, 300);
            }
        });
        for _ in 0..3 {
            rebuild(&shop.path()).unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        reading.join().unwrap();
        writing.join().unwrap()
    });
    shop.assert_sound();
    let stats = shop.reader().stats(&ThreadFilter::default()).unwrap();
    assert_eq!(stats.posts.values().sum::<u32>(), 300 + written);
    let left: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_master WHERE name LIKE 'fresh%'", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    assert_eq!(found(&shop.reader(), "words").len(), 50);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_hits_concatenate_to_the_whole_without_repeat(posts in proptest::collection::vec((0_u8..12, any::<bool>()), 1..60)) {
        let shop = Shop::new();
        let mut wanted: Vec<String> = Vec::new();
        for (thread, matches) in posts {
            let id = format!("t{thread}");
            let words = if matches { "the needle" } else { "hay" };
            match shop.reader().thread(&id).unwrap() {
                None => shop.must(&question(&id, "what?", words)),
                Some(_) => shop.must(&post(&id, human(), words)),
            };
            if matches {
                wanted.retain(|other| *other != id);
                wanted.insert(0, id);
            }
        }
        let reader = shop.reader();
        for limit in [1, 2, 5] {
            let (mut all, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let page = reader.search("needle", &ThreadFilter::default(), cursor.as_deref(), limit, false).unwrap();
                all.extend(page.hits.into_iter().map(|hit| hit.thread.thread_id));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&all, &wanted);
        }
        let ranked = reader.search("needle", &ThreadFilter::default(), None, 50, true).unwrap().hits;
        let ranked: BTreeSet<String> = ranked.into_iter().map(|hit| hit.thread.thread_id).collect();
        prop_assert_eq!(ranked, wanted.into_iter().collect::<BTreeSet<_>>());
    }
}

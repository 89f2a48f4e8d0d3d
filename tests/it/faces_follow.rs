//! Following the journal (spec 2.6, 3): every event once and in order, from any place, to a clean end.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::process::Stdio;

use metawsm::domain::actor::Actor;
use metawsm::services::feed::{Feed, News};
use metawsm::store::read::EventFilter;
use metawsm::store::{Order, StoreError};
use serde_json::Value;

use crate::core_world::{Plan, Shop, ask, human, post};
use crate::world::{Live, PATIENCE, World, wait_for};

fn seqs(lines: &[Value]) -> Vec<i64> {
    lines.iter().map(|line| line["seq"].as_i64().unwrap()).collect()
}

fn thread(world: &World, id: &str, ticket: &str) {
    world.ask(&["forum", "ask", "--ticket", ticket, "--title", "t", "--body", "b", "--thread-id", id]);
}

#[test]
fn followers_see_each_event_once_in_order_and_resume_where_they_left_off() {
    let world = World::new(&[]);
    thread(&world, "one", "T-1");
    let live = world.spawn(&["events", "--follow"]);
    let only = world.spawn(&["forum", "watch", "--follow", "--type", "forum.p*", "--ticket", "T-2"]);
    std::thread::scope(|scope| {
        for id in ["two", "three"] {
            let world = &world;
            scope.spawn(move || {
                thread(world, id, if id == "two" { "T-2" } else { "T-3" });
                for _ in 0..3 {
                    world.ask(&["forum", "post", "--thread-id", id, "--body", "p"]);
                    world.ask(&["forum", "priority", "--thread-id", id, "--priority", "high"]);
                }
            });
        }
    });
    let all = world.metawsm(&["events"]).is(0).lines();
    wait_for("all of them", PATIENCE, || (live.json().len() == all.len()).then_some(()));
    assert_eq!(live.json(), all);
    assert!(seqs(&all).is_sorted_by(|one, next| one + 1 == *next), "{:?}", seqs(&all));
    let of_two = |line: &&Value| line["ticket"] == "T-2" && line["event_type"].as_str().unwrap().starts_with("forum.p");
    let wanted: Vec<Value> = all.iter().filter(of_two).cloned().collect();
    wait_for("those of the other", PATIENCE, || (only.json() == wanted).then_some(()));
    assert_eq!(wanted.len(), 4, "three posts and one change of priority");
    for place in [0, all.len() / 2, all.len()] {
        let since = place.checked_sub(1).map_or(0, |at| all[at]["seq"].as_i64().unwrap()).to_string();
        assert_eq!(world.metawsm(&["events", "--cursor", &since]).is(0).lines(), all[place..]);
    }
    let limited = world.metawsm(&["events", "--follow", "--since", "1", "--limit", "2"]).is(0).lines();
    assert_eq!(limited, all[1..3]);
    assert_eq!(world.metawsm(&["events", "--since", "999999"]).is(0).lines(), vec![] as Vec<Value>);
    world.metawsm(&["events", "--since", "soon", "--json"]).is(2).error();
}

#[test]
fn a_follower_ends_when_nobody_reads_it_any_more_even_if_nothing_happens() {
    let world = World::new(&[]);
    thread(&world, "one", "T-1");
    for args in [vec!["events", "--follow", "--since", "100"], vec!["forum", "watch", "--follow"]] {
        let mut child = world.program(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let status = wait_for("its end", PATIENCE, || child.try_wait().unwrap());
        let mut words = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut words).unwrap();
        assert_eq!((status.code(), words.as_str()), (Some(0), ""), "{args:?}");
    }
    // One that is read goes on, until it is interrupted.
    let mut live = Live::start(world.program(&["events", "--follow"]));
    live.line("the thread", |line| line["thread_id"] == "one");
    assert!(live.running());
    live.signal("INT");
    assert_eq!(live.ended(), 130);
}

#[test]
fn a_slow_subscriber_is_told_how_far_it_is_behind_and_misses_nothing() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which?", false));
    let filter = EventFilter { event_type: Some("forum.post.added".into()), ..EventFilter::default() };
    let mut feed = Feed::new(shop.reader(), filter.clone(), 0);
    let first = feed.next(10).unwrap();
    assert_eq!((first.events.len(), first.behind, first.more), (0, 0, false));
    let end = shop.reader().last_seq().unwrap();
    assert_eq!(feed.cursor(), end, "what the filter keeps back is not looked at again");
    for number in 0..25 {
        shop.must(&post("t1", if number % 2 == 0 { human() } else { Actor::agent("a") }, &number.to_string()));
    }
    let (mut read, mut behind) = (Vec::new(), Vec::new());
    loop {
        let batch = feed.next(10).unwrap();
        behind.push((batch.behind, batch.lagged));
        read.extend(batch.events.into_iter().map(|event| event.seq));
        if !batch.more {
            break;
        }
    }
    assert_eq!(behind, [(15, true), (5, false), (0, false)], "told once, when it falls behind");
    assert_eq!(read, (end + 1..=end + 25).collect::<Vec<_>>());
    assert!(feed.next(10).unwrap().events.is_empty());
    // Another one goes on from a cursor that was kept.
    let mut later = Feed::new(shop.reader(), filter, end + 20);
    assert_eq!(later.next(100).unwrap().events.len(), 5);
}

#[test]
fn whoever_breaks_off_goes_on_with_the_next_event() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which?", false));
    for number in 0..9 {
        shop.must(&post("t1", human(), &number.to_string()));
    }
    let mut feed = Feed::new(shop.reader(), EventFilter::default(), 0);
    let (mut read, end) = (Vec::new(), shop.reader().last_seq().unwrap());
    loop {
        let broken = feed.drain(|news| {
            let News::Event(event) = news else { panic!("{news:?}: it never kept up") };
            read.push(event.seq);
            Ok::<_, StoreError>(if event.seq % 4 == 0 {
                ControlFlow::Break(event.seq)
            } else {
                ControlFlow::Continue(())
            })
        });
        match broken.unwrap() {
            Some(seq) => assert_eq!(feed.cursor(), seq),
            None => break,
        }
    }
    assert_eq!(read, (1..=end).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_is_read_slowly_says_so_and_leaves_nothing_out() {
    let world = World::new(&[]);
    thread(&world, "one", "T-1");
    let mut child = world
        .program(&["events", "--follow"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["seq"].as_i64().unwrap();
    let first = next();
    // Far more than a pipe holds; nobody reads meanwhile.
    let posts: Vec<_> = (0..2_500).map(|n| post("one", human(), &format!("{n} {}", "words ".repeat(40)))).collect();
    let actor = human();
    let orders: Vec<Order<'_>> = posts.iter().map(|post| Order::new(post, &actor)).collect();
    let ledger = crate::store_crash::ledger(&world.db());
    orders.chunks(500).for_each(|some| drop(ledger.execute_all(some).unwrap()));
    let end = world.metawsm(&["events"]).is(0).lines().len();
    let read: Vec<i64> = std::iter::once(first).chain((1..end).map(|_| next())).collect();
    assert!(read.is_sorted_by(|one, next| one + 1 == *next), "every one of them, in order");
    crate::harness::signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("events behind") && said.lines().count() < 6, "{said}");
}

#[test]
fn whatever_shows_the_journal_ends_when_nobody_reads_it_any_more() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    // Nothing happens in the home once the agent sits there.
    for (args, ends) in [
        (&["--headless"][..], 0),
        (&["operator", "--all"], 130),
        (&["--headless", "run", "--ticket", "T-2", "--repos", "shop"], 130),
    ] {
        let mut child =
            world.program(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let wanted = if args.contains(&"run") { 2 } else { 1 };
        wait_for("its agents", PATIENCE, || (world.sessions().len() == wanted).then_some(()));
        wait_for("its lease", PATIENCE, || world.ask(&["runs"])["supervisor"]["pid"].as_u64());
        drop(child.stdout.take());
        let status = wait_for("its end", PATIENCE, || child.try_wait().unwrap());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(ends), "{args:?}: {said}");
        assert!(!said.contains("rror") && !said.contains("pipe"), "{said}");
    }
    assert_eq!(world.sessions().len(), 2, "agents go on");
    assert_eq!(world.run_status(&run), "running");
    world.verified();
}

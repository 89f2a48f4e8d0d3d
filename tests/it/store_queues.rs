//! Queues and pages against a plain model of them (spec 2.5; D45, D46).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeSet;

use metawsm::domain::actor::{Actor, ActorType, Side};
use metawsm::domain::agent::AgentKey;
use metawsm::domain::command::{Command, ThreadWish};
use metawsm::domain::signal::SignalType;
use metawsm::domain::thread::{Priority, Thread, ThreadState};
use metawsm::store::Reader;
use metawsm::store::read::forum::{Page, Queue, ThreadFilter, Viewer};
use proptest::prelude::*;

use crate::core_world::*;

const QUEUES: [Queue; 4] = [Queue::Unseen, Queue::Unanswered, Queue::Assigned, Queue::NeedsMe];

fn viewers() -> [Viewer; 4] {
    [
        Viewer::Human("bo".into()),
        Viewer::Human("cy".into()),
        Viewer::Operator,
        Viewer::Agent(AgentKey::new(RUN, "ws", "a")),
    ]
}

fn ids(threads: &[Thread]) -> Vec<String> {
    threads.iter().map(|thread| thread.thread_id.clone()).collect()
}

/// Every page, one after the other.
fn walk(limit: usize, page: impl Fn(Option<&str>) -> Page) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let next = page(cursor.as_deref());
        assert!(next.threads.len() <= limit && (next.next_cursor.is_none() || next.threads.len() == limit));
        all.extend(ids(&next.threads));
        assert!(all.len() < 10_000, "pages without end");
        match next.next_cursor {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

fn is_own(viewer: &Viewer, thread: &Thread) -> bool {
    match viewer {
        Viewer::Human(_) | Viewer::Operator => true,
        Viewer::Agent(key) => {
            thread.run_id.as_ref() == Some(&key.run_id)
                && thread.workspace.as_ref() == Some(&key.workspace)
                && thread.agent_name.as_ref() == Some(&key.name)
        }
    }
}

fn belongs(reader: &Reader, queue: Queue, viewer: &Viewer, thread: &Thread) -> bool {
    let side = if matches!(viewer, Viewer::Agent(_)) { Side::Agent } else { Side::Human };
    let (kind, name) = match viewer {
        Viewer::Human(name) => (ActorType::Human, name.as_str()),
        Viewer::Operator => (ActorType::Operator, "operator"),
        Viewer::Agent(key) => (ActorType::Agent, key.name.as_str()),
    };
    let own_run = match viewer {
        Viewer::Human(_) | Viewer::Operator => true,
        Viewer::Agent(key) => thread.run_id.as_ref() == Some(&key.run_id),
    };
    // What is assigned to an agent may belong to another of its run, or to none.
    (is_own(viewer, thread) || (own_run && matches!(queue, Queue::Assigned | Queue::NeedsMe)))
        && match queue {
            Queue::Unanswered => is_own(viewer, thread) && thread.waiting_on == Some(side),
            Queue::Assigned => {
                thread.state != ThreadState::Closed
                    && (thread.assignee_type, thread.assignee_name.as_deref()) == (Some(kind), Some(name))
            }
            Queue::NeedsMe => {
                belongs(reader, Queue::Unanswered, viewer, thread) || belongs(reader, Queue::Assigned, viewer, thread)
            }
            Queue::Unseen => {
                let mark = reader.seen_mark(&thread.thread_id, viewer).unwrap();
                let posts = reader.posts(&thread.thread_id, None).unwrap();
                let own = |of: ActorType, other: &str| (of, other) == (kind, name);
                posts.iter().any(|post| {
                    let wrote = post.writer.as_ref().is_some_and(|writer| own(writer.kind, &writer.name));
                    post.seq > mark && !own(post.author_type, &post.author_name) && !wrote
                })
            }
        }
}

fn model(reader: &Reader, queue: Queue, viewer: &Viewer, all: &[Thread]) -> Vec<String> {
    let mut found: Vec<&Thread> = all.iter().filter(|thread| belongs(reader, queue, viewer, thread)).collect();
    if queue != Queue::Unseen {
        found.sort_by_key(|thread| {
            let since = thread.waiting_since.unwrap_or(thread.opened_at);
            (std::cmp::Reverse(thread.priority), since, thread.thread_id.clone())
        });
    }
    found.iter().map(|thread| thread.thread_id.clone()).collect()
}

/// Who gives the command: now and then the words in it are another's.
fn giver(x: u8) -> Actor {
    [human(), Actor::human("cy"), operator(), Actor::agent("a")][usize::from(x / 11) % 4].clone()
}

/// One for each index that a list may walk, and some of several parts.
fn filters() -> [ThreadFilter; 8] {
    let none = ThreadFilter::default;
    let some = |text: &str| Some(text.to_owned());
    [
        ThreadFilter { ticket: some("T-ws"), ..none() },
        ThreadFilter { run_id: some(RUN), priority: some("high"), ..none() },
        ThreadFilter { agent: some("a"), state: some("new"), ..none() },
        ThreadFilter { agent: some("a"), ..none() },
        ThreadFilter { assignee: some("bo"), ..none() },
        ThreadFilter { assignee: some("a"), priority: some("low"), ..none() },
        ThreadFilter { priority: some("urgent"), ..none() },
        ThreadFilter { state: some("closed"), ..none() },
    ]
}

fn fits(filter: &ThreadFilter, thread: &Thread) -> bool {
    filter.ticket.as_ref().is_none_or(|ticket| *ticket == thread.ticket)
        && filter.run_id.as_ref().is_none_or(|run| Some(run) == thread.run_id.as_ref())
        && filter.priority.as_ref().is_none_or(|word| word == thread.priority.word())
        && filter.agent.as_ref().is_none_or(|name| Some(name) == thread.agent_name.as_ref())
        && filter.state.as_ref().is_none_or(|word| word == thread.state.word())
        && filter.assignee.as_ref().is_none_or(|name| Some(name) == thread.assignee_name.as_ref())
}

fn wish(kind: u8, x: u8) -> Command {
    let id = format!("t{}", x % 24);
    let by = |x: u8| match x % 5 {
        0 => human(),
        1 => Actor::human("cy"),
        2 => operator(),
        _ => Actor::agent(["a", "b"][usize::from(x % 2)]),
    };
    match kind {
        0..=3 => {
            let name = ["a", "b"][usize::from(x % 2)];
            let of = (!x.is_multiple_of(3)).then(|| key(name));
            let Command::Thread { thread_id, run_id, wish: ThreadWish::Ask { agent, title, body, wait, author, .. } } =
                ask_by(&id, of, by(x / 2), "which?", kind == 0)
            else {
                panic!("an ask")
            };
            let priority = Priority::ALL[usize::from(x / 3) % 4];
            let ticket = if agent.is_some() { "T-ws".to_owned() } else { format!("T-{}", x % 2) };
            let title = format!("{title} {}", x % 5);
            Command::Thread {
                thread_id,
                run_id,
                wish: ThreadWish::Ask { ticket, agent, title, body, priority, wait, author },
            }
        }
        4 | 5 => post(&id, by(x / 5), "words"),
        6 => answer(&id, human(), None),
        7 => {
            let (assignee_type, assignee) = [
                (ActorType::Human, "bo"),
                (ActorType::Human, "cy"),
                (ActorType::Operator, "operator"),
                (ActorType::Agent, "a"),
            ][usize::from(x / 7) % 4];
            thread(&id, ThreadWish::Assign { assignee_type, assignee: assignee.into(), note: None })
        }
        8 => thread(&id, ThreadWish::Close),
        9 => thread(&id, ThreadWish::Reopen),
        10 => thread(&id, ThreadWish::Seen { viewer: viewers()[usize::from(x / 4) % 4].id(), seq: None }),
        _ => signal(
            ["a", "b"][usize::from(x % 2)],
            [SignalType::GuidanceRequest, SignalType::Progress][usize::from(x / 2) % 2],
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn pages_concatenate_to_the_whole_without_repeat(wishes in proptest::collection::vec((0_u8..12, any::<u8>(), 0_u8..3), 1..70)) {
        let shop = Shop::new();
        shop.must(&Plan::of(&["a", "b"]).create());
        for (kind, x, wait) in wishes {
            // Some fall into the same millisecond: then the id decides.
            if wait > 0 {
                shop.clock.0.fetch_sub(1_000, std::sync::atomic::Ordering::SeqCst);
            }
            match shop.give(&giver(x), None, &wish(kind, x)) {
                Ok(_) | Err(metawsm::store::StoreError::Refused(_)) => {}
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
        let reader = shop.reader();
        let none = ThreadFilter::default();
        let all = reader.threads(&none, None, 500).unwrap().threads;
        prop_assert!(all.is_sorted_by_key(|thread| std::cmp::Reverse(thread.last_event_sequence)));
        for limit in [1, 2, 3, 7] {
            prop_assert_eq!(walk(limit, |cursor| reader.threads(&none, cursor, limit).unwrap()), ids(&all));
        }
        for filter in filters() {
            let wanted: Vec<String> =
                all.iter().filter(|thread| fits(&filter, thread)).map(|thread| thread.thread_id.clone()).collect();
            for limit in [1, 3] {
                let found = walk(limit, |cursor| reader.threads(&filter, cursor, limit).unwrap());
                prop_assert_eq!(&found, &wanted, "{:?} {}", &filter, limit);
            }
        }
        for viewer in viewers() {
            let counts = reader.queue_counts(&viewer).unwrap();
            let own = all.iter().filter(|thread| is_own(&viewer, thread)).count();
            prop_assert_eq!(usize::try_from(counts.all).unwrap(), own);
            for (queue, count) in QUEUES.into_iter().zip([counts.unseen, counts.unanswered, counts.assigned, counts.needs_me]) {
                let wanted = model(&reader, queue, &viewer, &all);
                prop_assert_eq!(wanted.iter().collect::<BTreeSet<_>>().len(), wanted.len());
                prop_assert_eq!(usize::try_from(count).unwrap(), wanted.len(), "{:?} of {:?} counted", queue, &viewer);
                for limit in [1, 2, 5, 500] {
                    let found = walk(limit, |cursor| reader.queue(queue, &viewer, &none, cursor, limit).unwrap());
                    prop_assert_eq!(&found, &wanted, "{:?} {:?} {}", queue, &viewer, limit);
                }
                for filter in filters() {
                    let fitting: BTreeSet<String> = all.iter().filter(|thread| fits(&filter, thread)).map(|thread| thread.thread_id.clone()).collect();
                    let some: Vec<String> = wanted.iter().filter(|id| fitting.contains(*id)).cloned().collect();
                    let found = walk(2, |cursor| reader.queue(queue, &viewer, &filter, cursor, 2).unwrap());
                    prop_assert_eq!(&found, &some, "{:?} {:?} {:?}", queue, &viewer, &filter);
                }
            }
        }
        drop(reader);
        shop.assert_sound();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whoever turns pages while others write sees nothing twice, and everything that stayed where it was.
    #[test]
    fn pages_turned_while_threads_change(
        first in proptest::collection::vec((0_u8..12, any::<u8>()), 10..50),
        between in proptest::collection::vec(proptest::collection::vec((4_u8..12, any::<u8>()), 0..3), 30),
        limit in 1_usize..4,
        which in 0_usize..5,
    ) {
        let shop = Shop::new();
        shop.must(&Plan::of(&["a", "b"]).create());
        let give = |(kind, x): &(u8, u8)| match shop.give(&giver(*x), None, &wish(*kind, *x)) {
            Ok(_) | Err(metawsm::store::StoreError::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        };
        first.iter().for_each(give);
        let (reader, none, bo) = (shop.reader(), ThreadFilter::default(), Viewer::Human("bo".into()));
        let page = |cursor: Option<&str>, limit| match which {
            4 => reader.threads(&none, cursor, limit).unwrap(),
            queue => reader.queue(QUEUES[queue], &bo, &none, cursor, limit).unwrap(),
        };
        let before = page(None, 500).threads;
        let (mut seen, mut cursor, mut turns) = (Vec::new(), None::<String>, between.iter());
        loop {
            let next = page(cursor.as_deref(), limit);
            seen.extend(next.threads);
            cursor = next.next_cursor;
            if cursor.is_none() {
                break;
            }
            turns.next().into_iter().flatten().for_each(give);
        }
        let after = page(None, 500).threads;
        let stayed = before.iter().filter(|thread| after.contains(thread));
        let seen = ids(&seen);
        let places: Vec<Option<usize>> = stayed.map(|thread| seen.iter().position(|id| *id == thread.thread_id)).collect();
        prop_assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{:?} of {:?}", places, seen);
        // What moved forward may be met again on a later page of a queue by urgency; by age it is behind us.
        if which == 0 || which == 4 {
            prop_assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{:?}", seen);
        }
    }
}

#[test]
fn a_cursor_belongs_to_its_query() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    for number in 0..4 {
        shop.must(&ask(&format!("t{number}"), "a", &format!("which {number}?"), false));
    }
    let reader = shop.reader();
    let none = ThreadFilter::default();
    let bo = Viewer::Human("bo".into());
    let cursor = reader.queue(Queue::Unanswered, &bo, &none, None, 2).unwrap().next_cursor.unwrap();
    assert!(!cursor.contains("t1"), "it is opaque");
    let other = ThreadFilter { ticket: Some("T-ws".into()), ..none.clone() };
    for wrong in [
        reader.threads(&none, Some(&cursor), 2),
        reader.queue(Queue::Unseen, &bo, &none, Some(&cursor), 2),
        reader.queue(Queue::Assigned, &bo, &none, Some(&cursor), 2),
        reader.queue(Queue::NeedsMe, &bo, &none, Some(&cursor), 2),
        reader.queue(Queue::Unanswered, &Viewer::Operator, &none, Some(&cursor), 2),
        reader.queue(Queue::Unanswered, &bo, &other, Some(&cursor), 2),
        reader.queue(Queue::Unanswered, &bo, &none, Some(&cursor[..cursor.len() - 2].replace('0', "1")), 2),
        reader.queue(Queue::Unanswered, &bo, &none, Some("zz"), 2),
        reader.queue(Queue::Unanswered, &bo, &none, Some("é"), 2),
        reader.queue(Queue::Unanswered, &bo, &none, Some(""), 2),
    ] {
        assert!(matches!(wrong, Err(metawsm::store::StoreError::Refused(_))), "{wrong:?}");
    }
}

#[test]
fn viewers_are_read_as_they_are_written() {
    for viewer in viewers() {
        assert_eq!(Viewer::parse(&viewer.id()).unwrap(), viewer);
    }
    for bad in ["", "human", "human:", "agent:a", "agent:r/w/", "agent:r/w/a/x", "bo"] {
        assert!(Viewer::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn control_threads_wait_only_with_an_open_request_and_own_words_are_seen() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&agent("a", metawsm::domain::command::AgentWish::Started { launch: 1 }));
    let reader = shop.reader();
    let none = ThreadFilter::default();
    let queue = |queue, viewer: &Viewer| ids(&reader.queue(queue, viewer, &none, None, 50).unwrap().threads);
    let bo = Viewer::Human("bo".into());
    shop.give(&Actor::agent("a"), None, &signal("a", SignalType::Progress)).unwrap();
    assert!(queue(Queue::Unanswered, &bo).is_empty());
    assert_eq!(queue(Queue::Unseen, &bo), [control("a")]);
    shop.must(&signal("a", SignalType::GuidanceRequest));
    assert_eq!(queue(Queue::Unanswered, &bo), [control("a")]);
    shop.must(&answer(&control("a"), human(), None));
    assert!(queue(Queue::Unanswered, &bo).is_empty());
    shop.must(&thread(&control("a"), ThreadWish::Seen { viewer: bo.id(), seq: None }));
    shop.must(&post(&control("a"), human(), "and well done"));
    assert!(queue(Queue::Unseen, &bo).is_empty(), "own words");
    assert_eq!(queue(Queue::Unseen, &Viewer::Human("cy".into())), [control("a")]);
}

#[test]
fn what_was_written_down_for_another_is_news_to_neither() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a", "b"]).create());
    shop.must(&agent("a", metawsm::domain::command::AgentWish::Started { launch: 1 }));
    let of = |name: &str| Viewer::Agent(key(name));
    let (bo, cy) = (Viewer::Human("bo".into()), Viewer::Human("cy".into()));
    let all = [&bo, &cy, &Viewer::Operator, &of("a")];
    let news = |shop: &Shop| {
        let reader = shop.reader();
        all.map(|viewer| {
            let page = reader.queue(Queue::Unseen, viewer, &ThreadFilter::default(), None, 50).unwrap().threads;
            let counted = reader.queue_counts(viewer).unwrap().unseen;
            assert_eq!(usize::try_from(counted).unwrap(), page.len(), "{viewer:?}");
            for thread in reader.threads(&ThreadFilter::default(), None, 50).unwrap().threads {
                let listed = page.iter().any(|unseen| unseen.thread_id == thread.thread_id);
                let own = viewer != &of("a") || thread.agent_name.as_deref() == Some("a");
                assert_eq!(
                    reader.is_unseen(&thread, viewer).unwrap() && own,
                    listed,
                    "{viewer:?} {}",
                    thread.thread_id
                );
            }
            page.len()
        })
    };
    // bo writes for agent a: a question, a signal, and a post into a thread of cy's.
    shop.must(&ask("t1", "a", "which?", false));
    assert_eq!(news(&shop), [0, 1, 1, 0]);
    shop.must(&signal("a", SignalType::Completion));
    assert_eq!(news(&shop), [0, 2, 2, 0]);
    shop.give(&Actor::human("cy"), None, &ask_by("t2", Some(key("a")), Actor::human("cy"), "well?", false)).unwrap();
    assert_eq!(news(&shop), [1, 2, 3, 1]);
    shop.must(&post("t2", Actor::agent("a"), "it is"));
    assert_eq!(news(&shop), [1, 3, 3, 1], "what cy wrote there stays new to bo");
    shop.must(&thread("t2", ThreadWish::Seen { viewer: bo.id(), seq: None }));
    shop.must(&post("t2", Actor::agent("a"), "that is"));
    assert_eq!(news(&shop), [0, 3, 3, 1]);
    // An agent itself, and the operator through bo.
    shop.give(&Actor::agent("a"), None, &post("t1", Actor::agent("a"), "now")).unwrap();
    assert_eq!(news(&shop), [1, 3, 3, 1]);
    shop.must(&thread("t1", ThreadWish::Seen { viewer: bo.id(), seq: None }));
    shop.must(&post("t1", operator(), "so be it"));
    assert_eq!(news(&shop), [0, 3, 3, 2], "the operator has not seen what came before");
    shop.assert_sound();
    metawsm::store::rebuild::rebuild(&shop.path()).unwrap();
    assert_eq!(news(&shop), [0, 3, 3, 2]);
    let written = shop.reader().posts("t1", None).unwrap();
    assert_eq!(written[0].writer, Some(human()));
    assert_eq!(written[1].writer, None);
}

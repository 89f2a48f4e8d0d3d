//! The one door: idempotency keys, batches, who may (spec 2.1).

use std::sync::atomic::Ordering;

use metawsm::domain::actor::Actor;
use metawsm::domain::agent::AgentKey;
use metawsm::domain::command::{AgentWish, Command, RunWish, ThreadWish};
use metawsm::domain::refusal::{Refusal, RefusalKind};
use metawsm::domain::run::RunStatus;
use metawsm::domain::signal::SignalType;
use metawsm::store::{Order, StoreError};

use crate::core_world::*;

fn refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_key_with_the_same_content_is_carried_out_once() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    for (name, command) in [
        ("ask", ask("t1", "a", "which?", true)),
        ("post", post("t1", human(), "hm")),
        ("signal", signal("a", SignalType::GuidanceRequest)),
        ("close", thread("t1", ThreadWish::Close)),
        ("stop", run(RunWish::Stop)),
    ] {
        let first = shop.give(&human(), Some(name), &command).unwrap();
        assert!(!first.replayed && first.events[0].event_id == name, "the key is the first event's id");
        let end = shop.reader().last_seq().unwrap();
        let again = shop.give(&human(), Some(name), &command).unwrap();
        assert!(again.replayed);
        assert_eq!(again.events, first.events, "{name}");
        assert_eq!((again.seq, again.thread_id, again.post_id), (first.seq, first.thread_id, first.post_id));
        assert_eq!(shop.reader().last_seq().unwrap(), end, "nothing was written");
    }
    shop.assert_sound();
}

#[test]
fn a_repeated_ask_is_the_same_whatever_id_was_made_up_for_it() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    let first = shop.give(&human(), Some("k"), &ask("t1", "a", "which?", false)).unwrap();
    let again = shop.give(&human(), Some("k"), &ask("t2", "a", "which?", false)).unwrap();
    assert_eq!((again.replayed, again.thread_id), (true, first.thread_id));
    assert!(shop.reader().thread("t2").unwrap().is_none());
}

#[test]
fn the_same_key_with_other_content_is_refused_naming_the_first() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    let first = shop.give(&human(), Some("k"), &ask("t1", "a", "which?", false)).unwrap();
    let end = shop.reader().last_seq().unwrap();
    for (actor, command) in [
        (human(), ask("t1", "a", "what?", false)),
        (Actor::human("cy"), ask("t1", "a", "which?", false)),
        (human(), thread("t1", ThreadWish::Close)),
    ] {
        let refused = refusal(shop.give(&actor, Some("k"), &command).unwrap_err());
        assert_eq!(refused.kind, RefusalKind::KeyReused);
        let named = format!("event {} (forum.thread.opened)", first.events[0].seq);
        assert!(refused.message.contains(&named), "{refused}");
    }
    // An id that metawsm gave to an event of its own is no key of anybody's.
    let own = &first.events[0].correlation_id;
    assert_eq!(own, "k");
    let given = shop.must(&post("t1", human(), "x")).events[0].event_id.clone();
    assert_eq!(
        refusal(shop.give(&human(), Some(&given), &post("t1", human(), "x")).unwrap_err()).kind,
        RefusalKind::KeyReused
    );
    assert_eq!(shop.reader().last_seq().unwrap(), end + 1);
    for bad in ["", "a b", "é", "x\n", &"k".repeat(201)] {
        let refused = refusal(shop.give(&human(), Some(bad), &post("t1", human(), "x")).unwrap_err());
        assert_eq!(refused.kind, RefusalKind::Invalid, "{bad:?}");
    }
}

#[test]
fn the_key_of_a_command_that_changed_nothing_is_used_too() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which?", true));
    let end = shop.must(&thread("t1", ThreadWish::Close)).seq;
    let first = shop.give(&human(), Some("k"), &thread("t1", ThreadWish::Close)).unwrap();
    assert_eq!((first.events.len(), first.seq, first.replayed), (0, end, false));
    let later = shop.must(&thread("t1", ThreadWish::Reopen)).seq;
    let again = shop.give(&human(), Some("k"), &thread("t1", ThreadWish::Close)).unwrap();
    assert_eq!((again.seq, again.thread_id.as_deref(), again.replayed), (end, Some("t1"), true));
    assert_eq!(shop.reader().last_seq().unwrap(), later, "it is not carried out now that it would change something");
    let refused = refusal(shop.give(&human(), Some("k"), &post("t1", human(), "x")).unwrap_err());
    assert_eq!(refused.kind, RefusalKind::KeyReused);
    assert!(refused.message.contains(&format!("after event {end}")), "{refused}");
    shop.assert_sound();
}

#[test]
fn a_batch_is_carried_out_whole_or_not_at_all() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    let end = shop.reader().last_seq().unwrap();
    let actor = human();
    let good = ask("t1", "a", "which?", false);
    let reply = post("t1", human(), "hm");
    let bad = post("t9", human(), "hm");
    let orders = [Order::new(&good, &actor), Order::new(&reply, &actor), Order::new(&bad, &actor)];
    assert_eq!(refusal(shop.ledger.execute_all(&orders).unwrap_err()).kind, RefusalKind::NotFound);
    assert_eq!(shop.reader().last_seq().unwrap(), end);
    let receipts = shop.ledger.execute_all(&orders[..2]).unwrap();
    assert_eq!(receipts[1].seq, end + 2, "the second sees what the first did");
    shop.assert_sound();
}

#[test]
fn the_ask_that_joins_names_the_thread_it_joined() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which?", true));
    let end = shop.reader().last_seq().unwrap();
    let receipt = shop.must(&ask("t2", "a", "which?", true));
    assert_eq!((receipt.thread_id.as_deref(), receipt.seq, receipt.events.len()), (Some("t1"), end, 0));
}

#[test]
fn an_agent_that_may_acts_on_other_runs_and_makes_new_ones() {
    let shop = Shop::new();
    shop.must(&Plan { may: vec!["run".into()], ..Plan::of(&["boss"]) }.create());
    let other = Plan { run_id: "run-2".into(), ..Plan::of(&["a"]) };
    let boss = Actor::agent("boss");
    let give = |identity: &AgentKey, command: &Command| {
        shop.ledger.execute(&Order { identity: Some(identity), ..Order::new(command, &boss) })
    };
    let me = key("boss");
    give(&me, &other.create()).unwrap();
    give(&me, &Command::Run { run_id: "run-2".into(), wish: RunWish::Pause }).unwrap();
    assert_eq!(shop.reader().run("run-2").unwrap().unwrap().status, RunStatus::Paused);
    let stranger = AgentKey::new("run-2", "ws", "boss");
    assert_eq!(refusal(give(&stranger, &run(RunWish::Pause)).unwrap_err()).kind, RefusalKind::NotAllowed);
    shop.assert_sound();
}

#[test]
fn a_question_under_the_id_of_another_runs_thread_is_told_that_it_is_taken() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&Plan { run_id: "run-2".into(), ..Plan::of(&["a"]) }.create());
    shop.must(&ask("t1", "a", "which?", false));
    let of = AgentKey::new("run-2", "ws", "a");
    let command = ask_by("t1", Some(of), Actor::agent("a"), "which?", false);
    assert_eq!(refusal(shop.give(&human(), None, &command).unwrap_err()).kind, RefusalKind::Illegal);
}

#[test]
fn a_clock_set_back_changes_no_order() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "which?", false));
    shop.must(&post("t1", human(), "one"));
    shop.clock.0.fetch_sub(3_600_000, Ordering::SeqCst);
    shop.must(&post("t1", human(), "two"));
    let bodies: Vec<String> = shop.reader().posts("t1", None).unwrap().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, ["why?", "one", "two"]);
    shop.must(&agent("a", AgentWish::Started { launch: 1 }));
    shop.assert_sound();
}

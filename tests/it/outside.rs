//! What waits for a human outside of every run: it calls by the same rules as what waits in one (spec 2.5, 2.7).

use std::sync::atomic::Ordering;

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command, EscalationWish, ThreadWish};
use metawsm::domain::escalation::{Escalation, EscalationState, Kind};
use metawsm::domain::operator::Measure;
use metawsm::domain::policy::{OperatorMode, RuleMode};
use metawsm::domain::thread::{Priority, ThreadState};
use metawsm::domain::time::Moment;
use metawsm::services::operator::conclude_outside;
use serde_json::{Value, json};

use crate::core_world::*;
use crate::world::{PATIENCE, World, wait_for};

fn scout() -> Actor {
    Actor::agent("scout")
}

/// A home without a run, in which an agent has asked.
fn asked(wait: bool) -> Shop {
    let shop = Shop::new();
    shop.must(&ask_by("t1", None, scout(), "which port?", wait));
    shop
}

fn off() -> Measure {
    measure(OperatorMode::Off)
}

/// The rules look so many minutes after the thread began to wait; how many events come of it.
fn look(shop: &Shop, minutes: i64, measure: &Measure) -> usize {
    let reader = shop.reader();
    let since = reader.thread("t1").unwrap().unwrap().waits_since();
    let now = Moment::from_millis(since.millis() + minutes * 60_000);
    shop.clock.0.store(now.millis() - START, Ordering::SeqCst);
    let found = conclude_outside(&reader, measure, now).unwrap();
    let give = |(place, one)| {
        let ids = format!("{}-{place}", reader.last_seq().unwrap());
        shop.give(&operator(), None, &concluded(one, &ids)).unwrap().events.len()
    };
    found.into_iter().enumerate().map(give).sum()
}

fn calls(shop: &Shop) -> Vec<Escalation> {
    let mut found = shop.reader().escalations(None, false).unwrap();
    found.reverse();
    found
}

fn told(shop: &Shop) -> Vec<String> {
    calls(shop).iter().map(|call| format!("{} {}: {}", call.kind, call.state.word(), call.reason)).collect()
}

#[test]
fn what_calls_when() {
    let mut table = Vec::new();
    for wait in [false, true] {
        for priority in Priority::ALL {
            let shop = asked(wait);
            shop.must(&thread("t1", ThreadWish::Priority { to: priority }));
            let at = [0, 29, 30].map(|minutes| {
                look(&shop, minutes, &off());
                calls(&shop).first().map_or("-", |call| call.kind.word())
            });
            let asks = if wait { "waits for the answer" } else { "goes on meanwhile" };
            table.push(format!("{asks}, {}: {}", priority.word(), at.join(" ")));
        }
    }
    // At once, a minute before the time, and when it is over.
    insta::assert_snapshot!(table.join("\n"), @r"
    goes on meanwhile, low: - - sla
    goes on meanwhile, normal: - - sla
    goes on meanwhile, high: sla sla sla
    goes on meanwhile, urgent: sla sla sla
    waits for the answer, low: guidance guidance guidance
    waits for the answer, normal: guidance guidance guidance
    waits for the answer, high: guidance guidance guidance
    waits for the answer, urgent: guidance guidance guidance
    ");
}

#[test]
fn it_is_told_once_and_again_after_each_period_until_it_is_answered() {
    let shop = asked(false);
    assert_eq!(look(&shop, 30, &off()), 2, "decided and called");
    assert_eq!(told(&shop), ["sla open: which port?: why?"]);
    let call = calls(&shop).remove(0);
    assert_eq!((call.run_id.as_deref(), call.ticket.as_deref()), (None, Some("T-ws")));
    assert_eq!((call.thread_id.as_deref(), call.target.as_str()), (Some("t1"), "thread:t1"));
    assert_eq!((look(&shop, 31, &off()), look(&shop, 59, &off())), (0, 0));
    assert_eq!(look(&shop, 60, &off()), 2);
    assert_eq!(told(&shop), ["sla open: which port?: why? (still waits after 1h)"]);
    shop.must(&answer("t1", human(), None));
    assert_eq!(calls(&shop)[0].state, EscalationState::Resolved);
    // Asked on, its time begins anew.
    shop.must(&post("t1", scout(), "and which host?"));
    assert_eq!(look(&shop, 29, &off()), 0);
    assert_eq!(look(&shop, 30, &off()), 2);
    assert_eq!(told(&shop)[1], "sla open: which port?: and which host?");
    shop.assert_sound();
}

#[test]
fn every_way_of_ending_the_wait_ends_the_call() {
    let ways: [(&str, Command); 5] = [
        ("answer", answer("t1", human(), None)),
        ("post", post("t1", human(), "this")),
        ("close", thread("t1", ThreadWish::Close)),
        ("closed by hand", thread("t1", ThreadWish::State { to: ThreadState::Closed })),
        ("answered by hand", thread("t1", ThreadWish::State { to: ThreadState::Answered })),
    ];
    for (way, command) in ways {
        for wait in [false, true] {
            let shop = asked(wait);
            look(&shop, 30, &off());
            let kind = if wait { Kind::Guidance } else { Kind::Sla };
            let only = |shop: &Shop| calls(shop).iter().map(|call| (call.kind, call.state)).collect::<Vec<_>>();
            assert_eq!(only(&shop), [(kind, EscalationState::Open)], "{way}");
            shop.must(&command);
            assert_eq!(only(&shop), [(kind, EscalationState::Resolved)], "{way}");
            shop.assert_sound();
        }
    }
}

#[test]
fn what_has_nothing_to_do_with_the_wait_leaves_the_call() {
    let shop = asked(false);
    look(&shop, 30, &off());
    let id = calls(&shop)[0].escalation_id.clone();
    shop.must(&thread("t1", ThreadWish::Seen { viewer: "human:bo".into(), seq: None }));
    shop.must(&thread("t1", ThreadWish::State { to: ThreadState::Triaged }));
    shop.must(&ask_by("t2", None, scout(), "and this?", false));
    shop.must(&answer("t2", human(), None));
    shop.must(&Command::Escalation {
        escalation_id: id.clone(),
        wish: EscalationWish::Acknowledge { until: None, note: None },
    });
    assert_eq!(calls(&shop)[0].state, EscalationState::Acknowledged);
    assert_eq!(look(&shop, 60, &off()), 1, "decided, and not called: a human knows of it");
    shop.must(&Command::Escalation { escalation_id: id, wish: EscalationWish::Resolve { note: None } });
    look(&shop, 90, &off());
    assert_eq!(calls(&shop).len(), 1, "a human has settled just this wait");
    shop.assert_sound();
}

#[test]
fn it_can_be_switched_off_and_looked_at_too_late() {
    let shop = asked(false);
    let mut never = off();
    never.rules.insert("escalate_sla".to_owned(), RuleMode::Never);
    assert_eq!(look(&shop, 90, &never), 0);
    assert_eq!(look(&shop, 90, &Measure { call_again: std::time::Duration::ZERO, ..off() }), 0);
    // The rules looked, and before they came to say so it was answered.
    let now = Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst));
    let found = conclude_outside(&shop.reader(), &off(), now).unwrap().remove(0);
    shop.must(&answer("t1", human(), None));
    assert!(shop.give(&operator(), None, &concluded(found, "9")).unwrap().events.is_empty());
}

#[test]
fn threads_of_runs_and_those_of_the_other_side_are_not_the_homes() {
    let shop = Shop::new();
    shop.must(&Plan::of(&["a"]).create());
    shop.must(&ask("t1", "a", "mine?", true));
    shop.must(&ask_by("t2", None, human(), "will you?", false));
    assert_eq!(look(&shop, 300, &off()), 0);
}

#[test]
fn only_so_many_at_once_and_the_most_pressing_first() {
    let shop = asked(false);
    for number in 0..600 {
        shop.must(&ask_by(&format!("n{number}"), None, scout(), "which?", false));
    }
    shop.must(&thread("n599", ThreadWish::Priority { to: Priority::Urgent }));
    look(&shop, 600, &off());
    let all = calls(&shop);
    assert_eq!((all.len(), all[0].thread_id.as_deref()), (500, Some("n599")));
    assert!(all.iter().any(|call| call.thread_id.as_deref() == Some("t1")), "then the longest waiting");
    for call in &all[..200] {
        shop.must(&answer(call.thread_id.as_deref().unwrap(), human(), None));
    }
    let now = Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst));
    assert_eq!(conclude_outside(&shop.reader(), &off(), now).unwrap().len(), 401);
}

/// The calls of the home, as a person asks for them.
fn seen(world: &World) -> Vec<Value> {
    let mut all = world.ask(&["escalations"])["escalations"].as_array().unwrap().clone();
    all.reverse();
    all
}

fn until(world: &World, wanted: &[&str]) -> Vec<Value> {
    wait_for(&format!("{wanted:?}"), PATIENCE, || {
        let all = seen(world);
        let words: Vec<String> = all
            .iter()
            .map(|one| format!("{} {}", one["kind"].as_str().unwrap(), one["state"].as_str().unwrap()))
            .collect();
        (words == wanted).then_some(all)
    })
}

#[test]
fn a_supervisor_calls_eases_and_calls_again_until_it_is_answered() {
    let world = World::with(&[], json!({ "operator": { "interval_seconds": 1 } }));
    let ask = ["forum", "ask", "--ticket", "T-9", "--actor-type", "agent", "--actor-name", "scout"];
    let question = ["--title", "which port?", "--body", "is 8080 free", "--thread-id", "t1", "--priority", "urgent"];
    let _supervisor = world.spawn(&["--headless"]);
    world.ask(&[&ask[..], &question].concat());
    let call = until(&world, &["sla open"]).remove(0);
    assert_eq!((&call["reason"], &call["run_id"]), (&json!("which port?: is 8080 free"), &Value::Null));
    assert_eq!((&call["ticket"], &call["thread_id"]), (&json!("T-9"), &json!("t1")));
    let priority = |to: &str| world.ask(&["forum", "priority", "--thread-id", "t1", "--priority", to]);
    priority("normal");
    assert_eq!(until(&world, &["sla resolved"])[0]["note"], "the thread is in time again");
    priority("high");
    until(&world, &["sla resolved", "sla open"]);
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "it is"]);
    assert_eq!(seen(&world)[1]["state"], "resolved", "with the answer itself");
    // A question for whose answer somebody waits calls at once, whatever its priority.
    let mut waits = world.spawn(&[&ask[..], &["--title", "may I?", "--body", "push", "--wait"]].concat());
    let call = until(&world, &["sla resolved", "sla resolved", "guidance open"]).remove(2);
    assert_eq!(call["reason"], "may I?: push");
    let id = call["thread_id"].as_str().unwrap();
    world.ask(&["forum", "answer", "--thread-id", id, "--body", "you may"]);
    assert_eq!((waits.ended(), seen(&world)[2]["state"].clone()), (0, json!("resolved")));
    world.verified();
}

#[test]
fn a_rehearsal_says_it_too_and_one_run_s_operator_does_not() {
    let world = World::with(&[], json!({}));
    let ask = ["forum", "ask", "--ticket", "T-9", "--actor-type", "agent", "--actor-name", "scout"];
    world.ask(&[&ask[..], &["--title", "which?", "--body", "b", "--priority", "high", "--thread-id", "t1"]].concat());
    let mut rehearsal = world.spawn(&["operator", "--all", "--dry-run", "--json"]);
    let said = rehearsal.line("what would be called", |line| line["would"]["target"] == "thread:t1");
    assert_eq!((&said["run_id"], &said["would"]["intent"]), (&Value::Null, &json!("escalate_sla")));
    rehearsal.signal("INT");
    assert_eq!(rehearsal.ended(), 130);
    assert!(seen(&world).is_empty(), "nothing was changed");
}

/// What becomes of the call to a thread of a run when the run itself leaves its work.
#[test]
fn a_call_ends_in_whatever_state_its_run_is() {
    let world = World::with(&[("a", "obeys.sh")], json!({ "operator": { "interval_seconds": 1 } }));
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    let ask = ["forum", "ask", "--run-id", &run, "--agent", "a", "--actor-type", "agent", "--actor-name", "a"];
    for id in ["t1", "t2", "t3"] {
        world.ask(&[&ask[..], &["--title", id, "--body", "b", "--priority", "high", "--thread-id", id]].concat());
    }
    let states = |wanted: &[(&str, &str)]| {
        wait_for(&format!("{wanted:?}"), PATIENCE, || {
            let all = seen(&world);
            let state = |id: &str| all.iter().find(|one| one["thread_id"] == id).map(|one| one["state"].clone());
            wanted.iter().all(|(id, word)| state(id) == Some(json!(word))).then_some(())
        });
    };
    states(&[("t1", "open"), ("t2", "open"), ("t3", "open")]);
    world.ask(&["pause", "--run-id", &run]);
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "this"]);
    states(&[("t1", "resolved"), ("t2", "open"), ("t3", "open")]);
    world.ask(&["forum", "priority", "--thread-id", "t2", "--priority", "low"]);
    states(&[("t2", "resolved"), ("t3", "open")]);
    // A run that is stopped, failed, completed or closed calls to nothing: rule 6 is for those at work.
    world.ask(&["stop", "--run-id", &run, "--yes"]);
    states(&[("t3", "resolved")]);
    world.ask(&["forum", "priority", "--thread-id", "t2", "--priority", "urgent"]);
    world.ask(&["resume", "--run-id", &run]);
    wait_for("the calls of a run that works again", PATIENCE, || {
        let open = seen(&world).iter().filter(|one| one["state"] == "open").count();
        (open == 2).then_some(())
    });
    world.verified();
}

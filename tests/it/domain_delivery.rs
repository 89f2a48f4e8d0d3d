//! Texts for sessions in the core: who may send, what the typist may report, and what follows by itself.

use metawsm::domain::actor::Actor;
use metawsm::domain::agent::AgentKey;
use metawsm::domain::command::{AgentWish, Command, DeliveryWish, RunWish, ThreadWish};
use metawsm::domain::delivery::{Delivery, DeliveryState, id_of_post};
use metawsm::domain::escalation::Kind;
use metawsm::domain::event::{Event, Fact};
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::RunStatus;
use metawsm::domain::signal::SignalType;
use metawsm::domain::thread::Priority;
use serde_json::json;

use crate::core_world::*;

fn pasted(runner: &str) -> Plan {
    Plan { paste: true, runner: runner.into(), budget: 1, ..Plan::of(&["coder"]) }
}

fn delivery(id: &str, wish: DeliveryWish) -> Command {
    Command::Delivery { delivery_id: id.into(), wish, due_at: None, escalation_id: format!("esc-{id}") }
}

fn send(id: &str, text: &str) -> Command {
    delivery(id, DeliveryWish::Queue { key: key("coder"), text: text.into(), urgent: false })
}

fn typed(id: &str, launch: u32) -> Command {
    delivery(id, DeliveryWish::Typed { launch, evidence: json!({ "signal": "ready" }) })
}

fn submitted(id: &str) -> Command {
    delivery(id, DeliveryWish::Submitted { evidence: json!({ "signal": "left_composer" }) })
}

fn failed(id: &str) -> Command {
    delivery(id, DeliveryWish::Failed { reason: "a line is too long".into() })
}

fn typist() -> Actor {
    Actor::system("typist")
}

fn by_typist(stage: &mut Stage, command: &Command) -> Vec<Event> {
    stage.give(typist(), None, command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"))
}

fn one<'a>(stage: &'a Stage, id: &str) -> &'a Delivery {
    stage.scene.deliveries.get(id).unwrap()
}

fn state(stage: &Stage, id: &str) -> DeliveryState {
    one(stage, id).state
}

fn standing(stage: &Stage) -> usize {
    stage.scene.escalations.iter().filter(|found| found.kind == Kind::Delivery && found.stands()).count()
}

/// The deliveries that events queued, by id.
fn queued(events: &[Event]) -> Vec<String> {
    let id = |event: &Event| match &event.fact {
        Fact::DeliveryQueued { delivery_id, .. } => Some(delivery_id.clone()),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

#[test]
fn a_text_goes_from_queued_to_typed_to_submitted() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&send("d1", "go on"));
    assert_eq!((state(&stage, "d1"), one(&stage, "d1").from.author_name.as_str()), (DeliveryState::Queued, "bo"));
    stage.refused_to(typist(), None, &submitted("d1"));
    by_typist(&mut stage, &typed("d1", 1));
    assert_eq!((state(&stage, "d1"), one(&stage, "d1").launch), (DeliveryState::Typed, Some(1)));
    assert_eq!(stage.refused_to(typist(), None, &typed("d1", 1)).kind, RefusalKind::Illegal);
    by_typist(&mut stage, &submitted("d1"));
    assert_eq!(one(&stage, "d1").evidence["signal"], "left_composer");
    for late in [typed("d1", 1), submitted("d1"), failed("d1")] {
        assert_eq!(stage.refused_to(typist(), None, &late).state.as_deref(), Some("submitted"));
    }
}

#[test]
fn who_may_send_and_who_may_report() {
    let mut stage = Stage::running(&pasted("codex"));
    let coder = || (Actor::agent("coder"), Some(key("coder")));
    let (actor, identity) = coder();
    assert_eq!(stage.refused_to(actor, identity, &send("d1", "x")).kind, RefusalKind::NotAllowed);
    for text in ["", " \n", "\u{1b}\u{7}", "\0"] {
        assert_eq!(stage.refused(&send("d1", text)).kind, RefusalKind::Invalid, "{text:?}");
    }
    let nobody = DeliveryWish::Queue { key: AgentKey::new(RUN, "ws", "nobody"), text: "x".into(), urgent: false };
    assert_eq!(stage.refused(&delivery("d1", nobody)).kind, RefusalKind::NotFound);
    assert_eq!(stage.refused(&typed("d9", 1)).kind, RefusalKind::NotFound);
    stage.must(&send("d1", "x"));
    for report in [typed("d1", 1), submitted("d1"), failed("d1"), delivery("d1", DeliveryWish::Doubt)] {
        assert_eq!(stage.refused(&report).kind, RefusalKind::NotAllowed);
        let (actor, identity) = coder();
        assert_eq!(stage.refused_to(actor, identity, &report).kind, RefusalKind::NotAllowed);
    }
    let taken = delivery("d1", DeliveryWish::Taken);
    assert_eq!(stage.refused(&taken).kind, RefusalKind::NotAllowed);
    let (actor, identity) = coder();
    stage.give(actor, identity, &taken).unwrap();
    assert_eq!(state(&stage, "d1"), DeliveryState::Submitted);
    // Twice, or too late, it changes nothing.
    let (actor, identity) = coder();
    assert!(stage.give(actor, identity, &taken).unwrap().is_empty());
}

#[test]
fn a_shell_is_typed_to_by_humans_alone() {
    let mut stage = Stage::running(&pasted("shell"));
    let refused = stage.refused_to(operator(), None, &send("d1", "rm -r ."));
    assert_eq!(refused.kind, RefusalKind::NotAllowed);
    stage.must(&send("d1", "make"));
    stage.must(&ask("t1", "coder", "which?", false));
    assert!(queued(&stage.must(&post("t1", operator(), "words"))).is_empty());
    assert_eq!(queued(&stage.must(&post("t1", human(), "words"))).len(), 1);
}

#[test]
fn one_text_at_a_time_stands_in_a_composer() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&send("d1", "one"));
    stage.must(&send("d2", "two"));
    by_typist(&mut stage, &typed("d1", 1));
    // Each order is a minute after the last: by then the first is in doubt.
    stage.minutes -= 1;
    assert_eq!(stage.refused_to(typist(), None, &typed("d2", 1)).kind, RefusalKind::Illegal);
    stage.minutes += 1;
    by_typist(&mut stage, &typed("d2", 1));
    assert_eq!((state(&stage, "d1"), state(&stage, "d2")), (DeliveryState::Typed, DeliveryState::Typed));
}

#[test]
fn what_is_in_doubt_calls_a_human_once_and_no_longer_than_it_is() {
    let mut stage = Stage::running(&pasted("codex"));
    let doubt = delivery("d1", DeliveryWish::Doubt);
    stage.must(&send("d1", "one"));
    by_typist(&mut stage, &typed("d1", 1));
    stage.minutes -= 1;
    assert!(by_typist(&mut stage, &doubt).is_empty(), "not yet");
    by_typist(&mut stage, &doubt);
    assert_eq!(standing(&stage), 1);
    assert!(by_typist(&mut stage, &doubt).is_empty(), "once");
    assert_eq!(state(&stage, "d1"), DeliveryState::Typed);
    by_typist(&mut stage, &submitted("d1"));
    assert_eq!(standing(&stage), 0);
}

#[test]
fn what_is_said_to_an_agent_is_typed_where_its_profile_wants_that() {
    let mut stage = Stage::running(&pasted("codex"));
    assert!(queued(&stage.must(&ask("t1", "coder", "which?", false))).is_empty(), "its own words");
    assert!(queued(&stage.must(&post("t1", Actor::agent("coder"), "or that?"))).is_empty());
    let events = stage.must(&answer("t1", human(), None));
    let id = queued(&events).remove(0);
    let post_id = format!("{}.post", events[0].event_id);
    assert_eq!((id.clone(), one(&stage, &id).post_id.as_ref()), (id_of_post(&post_id), Some(&post_id)));
    assert_eq!(one(&stage, &id).thread_id.as_deref(), Some("t1"));
    assert!(one(&stage, &id).text.is_none() && !one(&stage, &id).urgent);
    stage.must(&thread("t1", ThreadWish::Priority { to: Priority::Urgent }));
    let id = queued(&stage.must(&post("t1", operator(), "now"))).remove(0);
    assert!(one(&stage, &id).urgent);
    // An answer to a request is for it; what a human signals for it is not.
    stage.must(&signal("coder", SignalType::GuidanceRequest));
    assert_eq!(queued(&stage.must(&answer(&control("coder"), human(), None))).len(), 1);
    let spoken_for = signal_by(full_signal(SignalType::Progress, &key("coder"), 0), human());
    assert!(queued(&stage.must(&spoken_for)).is_empty());
    // Threads of nobody are typed to nobody.
    stage.must(&ask_by("t2", None, human(), "who?", false));
    assert!(queued(&stage.must(&post("t2", human(), "anyone?"))).is_empty());
    // A thread that a human opens for it is.
    assert_eq!(queued(&stage.must(&ask_by("t3", Some(key("coder")), human(), "please", false))).len(), 1);
    let mut quiet = Stage::running(&Plan::of(&["coder"]));
    quiet.must(&ask("t1", "coder", "which?", false));
    assert!(queued(&quiet.must(&answer("t1", human(), None))).is_empty(), "its profile does not want it");
}

#[test]
fn what_was_sent_goes_with_the_session_and_what_was_said_waits_for_the_next_life() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&send("d1", "one"));
    stage.must(&send("d2", "two"));
    stage.must(&ask("t1", "coder", "which?", false));
    let said = queued(&stage.must(&post("t1", human(), "that"))).remove(0);
    by_typist(&mut stage, &typed("d1", 1));
    stage.must(&agent("coder", AgentWish::Exited { launch: 1, exit: killed() }));
    let reason = |stage: &Stage, id: &str| one(stage, id).reason.clone().unwrap_or_default();
    assert_eq!(reason(&stage, "d1"), "coder ended by SIGKILL before it was seen to take what was typed");
    assert_eq!(reason(&stage, "d2"), "coder ended by SIGKILL");
    assert_eq!((state(&stage, "d2"), state(&stage, &said)), (DeliveryState::Failed, DeliveryState::Queued));
    let refused = stage.refused(&send("d3", "three"));
    assert_eq!((refused.kind, refused.state.as_deref()), (RefusalKind::Illegal, Some("dead")));
    stage.refused_to(typist(), None, &typed(&said, 1));
    stage.must(&agent("coder", restart(false)));
    stage.must(&agent("coder", AgentWish::Started { launch: 2 }));
    stage.refused_to(typist(), None, &typed(&said, 1));
    by_typist(&mut stage, &typed(&said, 2));
    by_typist(&mut stage, &submitted(&said));
    assert_eq!(standing(&stage), 0);
}

#[test]
fn a_restart_by_command_keeps_what_waits() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&send("d1", "one"));
    stage.must(&agent("coder", restart(false)));
    stage.must(&agent("coder", AgentWish::Exited { launch: 1, exit: killed() }));
    stage.must(&agent("coder", AgentWish::Started { launch: 2 }));
    assert_eq!(state(&stage, "d1"), DeliveryState::Queued);
}

#[test]
fn what_cannot_be_delivered_of_the_forum_calls_a_human_and_what_was_sent_does_not() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&send("d1", "one"));
    by_typist(&mut stage, &failed("d1"));
    assert_eq!(standing(&stage), 0, "who sent it is told");
    stage.must(&ask("t1", "coder", "which?", false));
    let said = queued(&stage.must(&post("t1", human(), "that"))).remove(0);
    by_typist(&mut stage, &failed(&said));
    assert_eq!(standing(&stage), 1);
    stage.must(&post("t1", human(), "and that"));
    assert_eq!(standing(&stage), 1, "it stands until a human settles it, or the run is over");
}

#[test]
fn when_a_run_is_closed_nothing_waits_any_more() {
    let mut stage = Stage::running(&pasted("codex"));
    stage.must(&ask("t1", "coder", "which?", false));
    let said = queued(&stage.must(&post("t1", human(), "that"))).remove(0);
    stage.put_run(RunStatus::Closing);
    stage.must(&run(RunWish::FinishClose));
    assert_eq!(one(&stage, &said).reason.as_deref(), Some("the run was closed"));
    assert!(queued(&stage.must(&post("t1", human(), "late"))).is_empty());
}

#[test]
fn the_same_order_under_a_key_queues_once() {
    let shop = Shop::new();
    shop.must(&pasted("codex").create());
    shop.must(&agent("coder", AgentWish::Started { launch: 1 }));
    let first = shop.give(&human(), Some("k1"), &send("d1", "x")).unwrap();
    let again = shop.give(&human(), Some("k1"), &send("d2", "x")).unwrap();
    assert_eq!((queued(&first.events), queued(&again.events)), (vec!["d1".to_owned()], vec!["d1".to_owned()]));
    assert!(again.replayed);
    shop.give(&human(), Some("k1"), &send("d3", "y")).unwrap_err();
    let reader = shop.reader();
    assert_eq!(reader.open_deliveries().unwrap().len(), 1);
    assert!(reader.delivery("d2").unwrap().is_none());
    let newest = reader.newest_deliveries(5).unwrap();
    assert_eq!((newest.len(), newest[0].text.as_ref()), (1, None), "a list carries no words");
    shop.assert_sound();
}

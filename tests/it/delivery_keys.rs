//! The key that submits a text: pressed once, again on proof alone, and by whoever comes after one that was killed
//! before it (spec 7 "Sending text").

use std::sync::atomic::{AtomicBool, Ordering};

use metawsm::domain::command::DeliveryWish;
use metawsm::services::delivery::attempt::{Ended, Point, attempt, no_drill};
use metawsm::services::delivery::queue;
use metawsm::services::engine::{Caller, Engine};
use serde_json::{Value, json};

use crate::crash::{caller, engine};
use crate::delivery::{HEAD, send, told, until_state};
use crate::harness::signal;
use crate::tui::{answered, enters, received, sent, set, turn, world};
use crate::world::{PATIENCE, World, wait_for};

fn typed_evidence(world: &World) -> Value {
    let events = world.verified();
    let typed = events.iter().rfind(|event| event["event_type"] == "delivery.typed");
    typed.unwrap()["payload"]["evidence"].clone()
}

#[test]
fn a_line_break_that_was_made_of_the_key_is_no_reason_to_give_up() {
    let (world, _) = world("drowsy");
    let _live = world.spawn(&["--headless"]);
    let out = send(&world, &["--timeout", "30s", "wake up"]).is(0).json();
    assert_eq!(out["delivery"]["evidence"]["presses"], 2);
    assert_eq!(sent(&world), [format!("{HEAD}wake up\n")]);
    assert_eq!(enters(&world), 2);
}

/// A text is given to a program that stands still and then opens a dialog, which the next key would answer.
#[track_caller]
fn stalled(mode: &str, timeout: &str) {
    let (world, _) = world(mode);
    let _live = world.spawn(&["--headless"]);
    let error = send(&world, &["--timeout", timeout, "run it"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed", "{mode}");
    assert!(!answered(&world), "{mode}: nobody approved anything");
    assert_eq!(enters(&world), 1, "{mode}");
    assert_eq!(told(&world), ["queued", "typed"], "{mode}");
}

#[test]
fn no_key_waits_for_the_dialog_of_a_program_that_stalls() {
    stalled("stalls 800", "3s");
    stalled("stalls 1500", "4s");
    stalled("stalls 4000", "7s");
}

#[test]
fn no_key_waits_in_a_program_that_reads_ahead() {
    stalled("takes 1500", "4s");
    stalled("takes 4000", "7s");
}

#[test]
fn what_stands_above_the_dialog_that_came_of_it_was_taken() {
    let (world, _) = world("asks 1000");
    let _live = world.spawn(&["--headless"]);
    let out = send(&world, &["--timeout", "30s", "run it"]).is(0).json();
    let evidence = &out["delivery"]["evidence"];
    assert_eq!((&evidence["signal"], &evidence["presses"]), (&json!("left_composer"), &json!(1)));
    assert!(!answered(&world));
    assert_eq!(sent(&world), [format!("{HEAD}run it")]);
}

#[test]
fn a_program_that_waited_for_the_key_and_shows_nothing_of_the_text_has_taken_it() {
    let (world, _) = world("mute");
    let _live = world.spawn(&["--headless"]);
    let out = send(&world, &["--timeout", "30s", "run it"]).is(0).json();
    assert_eq!(out["delivery"]["evidence"]["presses"], 1);
    assert_eq!(enters(&world), 1);
}

#[test]
fn a_text_in_whose_place_a_dialog_stands_was_not_taken() {
    let (world, _) = world("late");
    let _live = world.spawn(&["--headless"]);
    let error = send(&world, &["--timeout", "5s", "run it"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed");
    assert!(sent(&world).is_empty());
    assert_eq!(told(&world), ["queued", "typed"]);
}

#[test]
fn a_terminal_that_edits_lines_gets_one_key_however_long_its_program_stands_still() {
    let world = World::new(&[("coder", "lines.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "reading lines");
    let program = world.record(&session, 1).agent_pid.unwrap();
    signal(program, "STOP");
    let error = send(&world, &["--timeout", "5s", "one line"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed");
    signal(program, "CONT");
    let id = error["details"]["delivery"]["delivery_id"].as_str().unwrap();
    let delivery = until_state(&world, id, "submitted");
    assert_eq!((&delivery["evidence"]["signal"], &delivery["evidence"]["presses"]), (&json!("read"), &json!(1)));
    wait_for("the line", PATIENCE, || (received(&world, "coder") == b"# from human:tester\none line\n").then_some(()));
}

#[test]
fn what_prints_all_the_time_is_not_quiet() {
    let world = World::new(&[("coder", "ticks.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "tick 3");
    let error = send(&world, &["--timeout", "4s", "hello"]).is(124).error();
    assert_eq!(error["details"]["state"], "queued", "{error}");
    assert!(error["message"].as_str().unwrap().contains("is not quiet yet"), "{error}");
    let error = send(&world, &["--timeout", "2s", "--urgent", "now"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed", "it reads nothing");
    assert_eq!(typed_evidence(&world), json!({ "signal": "urgent", "source": "screen", "quiet_seconds": 0 }));
}

/// Types a text by one who is killed at a point; its id, and an engine that knows nothing of it.
fn killed_at(world: &World, run: &str, point: Point) -> (String, Engine) {
    let dead = engine(world);
    let key = dead.reader().unwrap().agents(run).unwrap()[0].key.clone();
    let wish = DeliveryWish::Queue { key, text: "once".to_owned(), urgent: false };
    let (id, _) = queue(&dead, &caller(), wish, None).unwrap();
    let hit = AtomicBool::new(false);
    let drill = |at| {
        hit.fetch_or(at == point, Ordering::SeqCst);
        at != point
    };
    let delivery = || dead.reader().unwrap().delivery(&id).unwrap().unwrap();
    // A screen that has just changed may not be looked at as quiet.
    wait_for("the attempt", PATIENCE, || {
        let never = AtomicBool::new(false);
        let ended = attempt(&dead, &Caller::system("typist"), &delivery(), &never, &drill).unwrap();
        (ended == Ended::Settled).then_some(())
    });
    assert!(hit.load(Ordering::SeqCst), "{point:?} was never reached");
    assert_eq!(delivery().state.word(), "typed", "{point:?}");
    (id, engine(world))
}

/// Wherever whoever types is killed, the text is typed once at most, and no key pressed that may have been pressed.
#[test]
fn a_crash_between_any_two_steps_never_types_twice() {
    for point in [Point::Recorded, Point::Pressed, Point::Seen] {
        let (world, run) = world("ready");
        turn(&world, "ready");
        let (id, heir) = killed_at(&world, &run, point);
        let delivery = || heir.reader().unwrap().delivery(&id).unwrap().unwrap();
        let again = attempt(&heir, &Caller::system("typist"), &delivery(), &AtomicBool::new(false), &no_drill);
        assert!(matches!(again, Ok(Ended::NotYet)), "{point:?}: {again:?}");
        let _live = world.spawn(&["--headless"]);
        world.until_looked_at(&run, "coder");
        let expected = usize::from(point != Point::Recorded);
        wait_for("what was pressed", PATIENCE, || (sent(&world).len() == expected).then_some(()));
        assert_eq!(delivery().state.word(), "typed", "{point:?}");
        assert_eq!(enters(&world), expected, "{point:?}");
        assert_eq!(told(&world), ["queued", "typed"], "{point:?}");
    }
}

#[test]
fn whoever_comes_after_one_that_was_killed_behind_the_key_does_not_press_it() {
    let (world, run) = world("takes 5000");
    wait_for("its start", PATIENCE, || world.home().join("shown").exists().then_some(()));
    killed_at(&world, &run, Point::Pressed);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "coder");
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "Do you want to proceed?");
    // All that anybody pressed has been dealt with when this is read.
    turn(&world, "blank");
    assert!(!answered(&world), "nobody approved anything");
    assert_eq!((enters(&world), told(&world)), (1, vec!["queued".to_owned(), "typed".to_owned()]));
}

#[test]
fn whoever_comes_after_one_that_was_killed_before_the_key_presses_it() {
    let (world, run) = world("ready");
    turn(&world, "ready");
    let (id, _) = killed_at(&world, &run, Point::Pasted);
    let _live = world.spawn(&["--headless"]);
    let delivery = until_state(&world, &id, "submitted");
    let evidence = &delivery["evidence"];
    assert_eq!((&evidence["resumed"], &evidence["presses"]), (&json!(true), &json!(1)), "{evidence}");
    assert_eq!(sent(&world), [format!("{HEAD}once")]);
    // It left nobody deaf.
    send(&world, &["--timeout", "30s", "next"]).is(0);
    assert_eq!(sent(&world), [format!("{HEAD}once"), format!("{HEAD}next")]);
    assert_eq!(enters(&world), 2);
    assert_eq!(told(&world), ["queued", "typed", "submitted", "queued", "typed", "submitted"]);
}

#[test]
fn a_text_that_was_changed_meanwhile_is_left_to_whoever_changed_it() {
    let (world, run) = world("ready");
    turn(&world, "ready");
    killed_at(&world, &run, Point::Pasted);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.tmux(&["send-keys", "-t", &format!("={session}:"), "-l", " more"]);
    world.shows(&session, "once more");
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "coder");
    let error = send(&world, &["--timeout", "4s", "next"]).is(124).error();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("text that metawsm typed and nobody took stands in the composer of coder"), "{message}");
    assert_eq!(enters(&world), 0);
    // Somebody sends it.
    world.tmux(&["send-keys", "-t", &format!("={session}:"), "Enter"]);
    wait_for("it", PATIENCE, || (sent(&world) == [format!("{HEAD}once more")]).then_some(()));
}

#[test]
fn a_text_that_nobody_took_is_not_told_to_be_somebody_elses() {
    let (world, _) = world("deaf");
    let _live = world.spawn(&["--headless"]);
    send(&world, &["--timeout", "3s", "hello"]).is(124);
    let error = send(&world, &["--timeout", "1s", "more"]).is(124).error();
    assert!(error["message"].as_str().unwrap().contains("text that metawsm typed and nobody took"), "{error}");
    set(&world, "ready");
    assert_eq!(enters(&world), 1);
}

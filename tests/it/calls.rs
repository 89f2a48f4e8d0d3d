//! How a human is called: by a program of theirs, in the ticket's changelog, and again when it is due (spec 2.7).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, merge, wait_for};

/// A world whose one agent nobody restarts, and whose policy has a program that calls.
fn world(script: &str, more: Value) -> World {
    let world = World::new(&[("coder", "obeys.sh")]);
    let program = world.root.join("call");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let rules = json!({ "auto_restart": "never", "auto_stop_stale": "never" });
    let mut policy =
        json!({ "operator": { "rules": rules, "interval_seconds": 1 }, "notify": { "command": [program] } });
    merge(&mut policy, more);
    world.policy(&[("coder", "obeys.sh")], policy);
    world
}

const TELLS: &str = r#"echo "$METAWSM_EVENT|$METAWSM_MESSAGE|$METAWSM_RUN_ID|$METAWSM_RUN_STATUS|$METAWSM_TICKETS|$METAWSM_HINT" >> "$0.log""#;

fn told(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.root.join("call.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn until_told(world: &World, times: usize) -> Vec<String> {
    wait_for(&format!("{times} calls"), PATIENCE, || Some(told(world)).filter(|told| told.len() >= times))
}

fn call(world: &World, kind: &str) -> Value {
    wait_for(&format!("a call of the kind {kind}"), PATIENCE, || {
        let all = world.ask(&["escalations"]);
        all["escalations"].as_array()?.iter().find(|call| call["kind"] == kind).cloned()
    })
}

fn changelog(world: &World, run: &str) -> String {
    let docs = world.ask(&["status", "--run-id", run])["docs"][0]["dir"].as_str().unwrap().to_owned();
    std::fs::read_to_string(world.tree(run).join(docs).join("changelog.md")).unwrap_or_default()
}

#[test]
fn a_human_is_called_once_in_all_ways_and_again_when_they_wanted_to_be() {
    let world = world(TELLS, json!({}));
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.order("coder", 1, "exit 3");
    let blocked = call(&world, "blocked");
    let reason = blocked["reason"].as_str().unwrap();
    let said = format!("|{run}|running|T-1|metawsm restart --run-id {run} --agent coder");
    assert_eq!(until_told(&world, 1), [format!("blocked|{reason}{said}")]);
    let entry = wait_for("the entry in the changelog", PATIENCE, || {
        Some(changelog(&world, &run)).filter(|text| text.contains("A human was called about **coder** (blocked)"))
    });
    assert!(entry.contains(&format!("> {reason}")), "{entry}");
    // Who knows of it is left alone for as long as they said, and told again then.
    let id = blocked["escalation_id"].as_str().unwrap();
    world.ask(&["escalations", "ack", id, "--for", "2s"]);
    assert_eq!(until_told(&world, 2)[1], format!("blocked|again: {reason}{said}"));
    let again = call(&world, "blocked");
    assert_eq!((&again["state"], &again["notified"], &again["escalation_id"]), (&json!("open"), &json!(1), &json!(id)));
    wait_for("the second entry", PATIENCE, || changelog(&world, &run).contains("called again: ").then_some(()));
    let events = world.verified();
    let of = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((of("escalation.opened"), of("escalation.notified")), (1, 1));
    assert_eq!(told(&world).len(), 2);
}

#[test]
fn what_is_settled_before_its_turn_calls_nobody() {
    let world = world(TELLS, json!({}));
    world.run(&[]);
    let ask = ["forum", "ask", "--ticket", "T-9", "--actor-type", "agent", "--actor-name", "scout"];
    world.ask(&[&ask[..], &["--title", "which?", "--body", "b", "--priority", "urgent", "--thread-id", "t1"]].concat());
    let live = world.spawn(&["--headless"]);
    call(&world, "sla");
    until_told(&world, 1);
    drop(live);
    // Nobody supervises while it calls again and is settled.
    let id = call(&world, "sla")["escalation_id"].as_str().unwrap().to_owned();
    world.ask(&["escalations", "ack", &id, "--for", "1s"]);
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "this one"]);
    let _live = world.spawn(&["--headless"]);
    wait_for("an empty outbox", PATIENCE, || {
        let letters = world.ask(&["outbox", "list"]);
        letters["outbox"].as_array()?.iter().all(|letter| letter["status"] == "sent").then_some(())
    });
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn a_program_that_fails_is_tried_again_and_given_up_to_a_human_who_is_not_called_by_it() {
    let world = world("echo tried >> \"$0.log\"; echo no line >&2; exit 4", json!({ "outbox": { "max_attempts": 2 } }));
    world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.order("coder", 1, "exit 3");
    let dead = call(&world, "dead_letter");
    let reason = dead["reason"].as_str().unwrap();
    assert!(reason.contains("the notify command failed: exited with 4; no line"), "{reason}");
    let letters = world.ask(&["outbox", "list"]);
    let topics: Vec<&Value> = letters["outbox"].as_array().unwrap().iter().map(|letter| &letter["topic"]).collect();
    assert_eq!(topics.iter().filter(|topic| **topic == "escalation.notify.requested").count(), 1, "{letters}");
    assert_eq!(told(&world).len(), 2);
}

#[test]
fn a_program_that_hangs_keeps_nothing_else_waiting() {
    let world = world("echo tried >> \"$0.log\"; exec sleep 600", json!({}));
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let ask = ["forum", "ask", "--run-id", &run, "--ticket", "T-1", "--thread-id", "t1", "--priority", "urgent"];
    let asked = ["--actor-type", "agent", "--actor-name", "coder", "--title", "which?", "--body", "b"];
    world.ask(&[&ask[..], &asked].concat());
    until_told(&world, 1);
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "this one"]);
    let began = std::time::Instant::now();
    wait_for("the answer in the changelog", PATIENCE, || changelog(&world, &run).contains("> this one").then_some(()));
    assert!(began.elapsed() < Duration::from_secs(25), "before the program's time was over");
    world.order("coder", 1, "exit 3");
    call(&world, "blocked");
}

#[test]
fn calls_that_reach_nobody_are_one_trouble_until_one_reaches_somebody() {
    let world = world("exit 4", json!({ "outbox": { "max_attempts": 1 } }));
    world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.order("coder", 1, "exit 3");
    let (trouble, blocked) = (call(&world, "dead_letter"), call(&world, "blocked"));
    let dead = || {
        let letters = world.ask(&["outbox", "list", "--status", "dead"]);
        letters["outbox"].as_array().unwrap().len()
    };
    for _ in 0..3 {
        let before = dead();
        for id in [&trouble["escalation_id"], &blocked["escalation_id"]] {
            world.ask(&["escalations", "ack", id.as_str().unwrap(), "--for", "1s"]);
        }
        wait_for("another dead letter", PATIENCE, || (dead() > before).then_some(()));
    }
    let all = world.ask(&["escalations"]);
    let of_letters = all["escalations"].as_array().unwrap().iter().filter(|call| call["kind"] == "dead_letter");
    assert_eq!(of_letters.count(), 1, "{all}");

    // What is done about one of them is not done about the others.
    let letters = world.ask(&["outbox", "list", "--status", "dead"])["outbox"].as_array().unwrap().clone();
    world.ask(&["outbox", "drop", &letters[0]["id"].to_string(), "--yes"]);
    assert_eq!(call(&world, "dead_letter")["resolved_by"], Value::Null);

    std::fs::write(world.root.join("call"), format!("#!/bin/sh\n{TELLS}\n")).unwrap();
    world.ask(&["escalations", "ack", blocked["escalation_id"].as_str().unwrap(), "--for", "1s"]);
    until_told(&world, 1);
    wait_for("the end of the trouble", PATIENCE, || {
        let call = call(&world, "dead_letter");
        call["resolved_by"].as_str().is_some_and(|by| by.starts_with("system:")).then_some(())
    });
}

#[test]
fn who_watches_on_a_terminal_hears_it_and_sees_it_on_the_desktop() {
    let world = world(TELLS, json!({}));
    let run = world.run(&[]);
    world.order("coder", 1, "exit 3");
    world.until_agent(&run, "coder", "failed");
    let socket = world.home().join("seat.sock");
    let tmux = |args: &[&str]| {
        let out = world.command("tmux").arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let program = env!("CARGO_BIN_EXE_metawsm");
    let written = |name: &str| world.home().join(format!("{name}.bytes"));
    for (name, words) in [("watch", "watch --all"), ("operator", "operator --all"), ("silent", "watch --all --no-bell")]
    {
        // What it writes is kept byte for byte, from the first on.
        let line = format!("read go; exec {program} {words}");
        tmux(&["new-session", "-d", "-s", name, "-x", "120", "-y", "30", "sh", "-c", &line]);
        tmux(&["pipe-pane", "-O", "-t", &format!("={name}:"), &format!("exec cat > '{}'", written(name).display())]);
        tmux(&["send-keys", "-t", &format!("={name}:"), "Enter"]);
    }
    for name in ["watch", "operator", "silent"] {
        let (bytes, start) = wait_for(&format!("the notification of {name}"), PATIENCE, || {
            let bytes = std::fs::read(written(name)).unwrap_or_default();
            let start = bytes.windows(b"\x1b]9;metawsm: ".len()).position(|part| part == b"\x1b]9;metawsm: ")?;
            Some((bytes, start))
        });
        let notice = String::from_utf8_lossy(&bytes[start..]).into_owned();
        assert!(notice.split_once("\x1b\\").is_some_and(|(notice, _)| notice.contains("coder")), "{name}: {notice:?}");
    }
    let bell = |name: &str| {
        wait_for("the bell", PATIENCE, || std::fs::read(written(name)).unwrap().contains(&7).then_some(()))
    };
    bell("watch");
    assert!(!std::fs::read(written("silent")).unwrap().contains(&7), "it ends without the bell's byte");
    tmux(&["kill-server"]);
}

//! What does not belong in the forum, and what comes too late (spec 2.1, 2.5, 7 Security).

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::faces_forum::hostile;
use crate::world::{Output, World};

const MIB: usize = 1024 * 1024;

fn asked(world: &World, by_agent: bool) -> String {
    let args = ["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--as", "ada"];
    let agent = ["--actor-type", "agent", "--actor-name", "coder"];
    let more = if by_agent { &agent[..] } else { &[] };
    world.ask(&[&args[..], more].concat())["thread"]["thread_id"].as_str().unwrap().to_owned()
}

/// A post whose text comes on stdin.
fn posted(world: &World, id: &str, text: &str) -> Output {
    world.output(world.program(&["forum", "post", "--thread-id", id, "--body", "-", "--json"]), text)
}

fn bodies(world: &World, id: &str) -> Vec<Value> {
    let thread = world.ask(&["forum", "thread", "--thread-id", id]);
    thread["posts"].as_array().unwrap().iter().map(|post| post["body"].clone()).collect()
}

#[test]
fn a_refused_ask_makes_no_home() {
    let world = World::bare();
    let db = world.home().join(".metawsm/metawsm.db");
    let ask = |more: &[&str]| {
        let args = ["forum", "ask", "--title", "t", "--body", "b", "--json"];
        world.metawsm(&[&args[..], more].concat())
    };
    for more in [
        &["--ticket", "../T"][..],
        &["--ticket", "T-1", "--thread-id", "a b"],
        &["--ticket", "T-1", "--thread-id", "fctrl-x"],
        &["--ticket", "T-1", "--priority", "soon"],
        &["--ticket", "T-1", "--actor-type", "agent"],
        &["--ticket", "T-1", "--actor-name", " "],
        &[],
    ] {
        ask(more).is(2);
        assert!(!db.exists(), "{more:?}");
    }
    world.metawsm(&["forum", "ask", "--ticket", "T-1", "--title", "two\nlines", "--body", "b", "--json"]).is(2);
    for more in [&["--ticket", "T-1", "--run-id", "run-9"][..], &["--ticket", "T-1", "--agent", "coder"]] {
        ask(more).is(3);
        assert!(!db.exists(), "{more:?}");
    }
    ask(&["--ticket", "T-1"]).is(0);
    assert!(db.exists());
}

#[test]
fn texts_of_any_kind_are_kept_or_refused_whole() {
    let world = World::new(&[]);
    let id = asked(&world, false);
    let long = "x".repeat(MIB);
    let many = "line of words\n".repeat(70_000);
    let odd = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2066}\u{feff}\r\n\t'; DROP TABLE post; -- $(id) `id` %s \\";
    let lines = "\n".repeat(99_999) + "the last of 100,000 lines";
    for text in [long.as_str(), many.as_str(), odd, lines.as_str(), "日本語 🎉 e\u{301}"] {
        posted(&world, &id, text).is(0);
        assert_eq!(bodies(&world, &id).last().unwrap(), text, "kept byte for byte");
    }
    let shown = world.metawsm(&["forum", "thread", "--thread-id", &id]).is(0).stdout;
    assert_eq!(hostile(&shown), vec![]);
    assert!(shown.contains("the last of 100,000 lines"));
    let end = world.metawsm(&["events"]).is(0).lines().len();
    for (text, words) in [
        (format!("{long}x"), "1048577 bytes"),
        ("x".repeat(5 * MIB), "are allowed"),
        ("nul \0 byte".to_owned(), "NUL"),
        (String::new(), "empty"),
        (" \n\t ".to_owned(), "empty"),
    ] {
        let error = posted(&world, &id, &text).is(2).error();
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(error["hint"].is_string(), "{error}");
    }
    let mut call = world.program(&["forum", "post", "--thread-id", &id, "--body", "-", "--json"]);
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"good until here \xff\xfe").unwrap();
    let out = child.wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(error["error"]["message"].as_str().unwrap().contains("byte 16"), "{error}");
    for title in ["two\nlines", "esc\u{1b}[2J", "", &"x".repeat(301)] {
        let ask = ["forum", "ask", "--ticket", "T-1", "--title", title, "--body", "b", "--json"];
        world.metawsm(&ask).is(2).error();
    }
    for ticket in ["../up", "a b", "x.lock", ""] {
        let ask = ["forum", "ask", "--ticket", ticket, "--title", "t", "--body", "b", "--json"];
        world.metawsm(&ask).is(2).error();
    }
    assert_eq!(world.metawsm(&["events"]).is(0).lines().len(), end, "what is refused leaves no trace");
    world.verified();
}

#[test]
fn what_comes_too_late_or_twice_is_refused_with_the_state_it_met() {
    let world = World::new(&[]);
    let answer = |id: &str, body: &str| {
        world.metawsm(&["forum", "answer", "--thread-id", id, "--body", body, "--as", "ada", "--json"])
    };
    let id = asked(&world, true);
    answer(&id, "b").is(0);
    let again = answer(&id, "a").is(4).error();
    assert_eq!(again["details"], json!({ "state": "answered", "allowed": ["forum post"] }));
    world.ask(&["forum", "close", "--thread-id", &id]);
    for verb in ["answer", "post"] {
        let late = world.metawsm(&["forum", verb, "--thread-id", &id, "--body", "late", "--json"]).is(4).error();
        assert_eq!(late["details"]["state"], "closed");
        assert!(late["hint"].as_str().unwrap().contains("forum reopen"), "{late}");
    }
    world.metawsm(&["forum", "priority", "--thread-id", &id, "--priority", "high", "--json"]).is(4).error();
    // Two answers at once: one is the answer.
    let id = asked(&world, true);
    let mut ends: Vec<i32> = std::thread::scope(|scope| {
        let calls: Vec<_> = ["a", "b", "c"].map(|body| scope.spawn(|| answer(&id, body).status)).into_iter().collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    ends.sort_unstable();
    assert_eq!(ends, [0, 4, 4]);
    assert_eq!(bodies(&world, &id).len(), 2);
    // A thread of that id is there; another one is not.
    let ask = ["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--json", "--thread-id"];
    assert_eq!(world.metawsm(&[&ask[..], &[&id]].concat()).is(4).error()["details"]["state"], "answered");
    world.metawsm(&[&ask[..], &["fctrl-run-1-a"]].concat()).is(2).error();
    world.metawsm(&["forum", "post", "--thread-id", "absent", "--body", "b", "--json"]).is(3).error();
    // A cursor of another query.
    asked(&world, true);
    asked(&world, true);
    let page = world.ask(&["forum", "list", "--limit", "1"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    for other in [&["forum", "queue", "--cursor", cursor][..], &["forum", "list", "--state", "new", "--cursor", cursor]]
    {
        world.metawsm(&[other, &["--json"]].concat()).is(2).error();
    }
    world.verified();
}

#[test]
fn a_key_stands_for_its_first_use_also_where_that_changed_nothing() {
    let world = World::new(&[]);
    let id = asked(&world, true);
    let keyed = |args: &[&str]| world.metawsm(&[args, &["--thread-id", &id, "--event-id", "k", "--json"]].concat());
    world.ask(&["forum", "close", "--thread-id", &id]);
    let first = keyed(&["forum", "close"]).is(0).json();
    world.ask(&["forum", "reopen", "--thread-id", &id]);
    let again = keyed(&["forum", "close"]).is(0).json();
    assert_eq!((&again["seq"], &again["thread"]["state"]), (&first["seq"], &json!("triaged")), "not carried out now");
    let other = keyed(&["forum", "post", "--body", "x"]).is(4).error();
    assert!(other["message"].as_str().unwrap().contains("changed nothing"), "{other}");
    assert_eq!(bodies(&world, &id).len(), 1);
}

#[test]
fn a_forum_that_is_off_makes_no_home() {
    let world = World::bare();
    let policy = world.root.join("off.json");
    std::fs::write(&policy, json!({ "version": 3, "forum": { "enabled": false } }).to_string()).unwrap();
    let policy = policy.display().to_string();
    let before = std::fs::read_dir(world.home()).unwrap().count();
    let off = |args: &[&str]| {
        let error = world.metawsm(&[args, &["--policy", &policy, "--json"]].concat()).is(4).error();
        assert!(error["hint"].as_str().unwrap().contains("forum.enabled"), "{error}");
        assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), before, "{args:?}");
    };
    off(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    off(&["forum", "ask", "--run-id", "run-9", "--title", "t", "--body", "b"]);
    off(&["forum", "post", "--thread-id", "t1", "--body", "b"]);
    off(&["forum", "close", "--thread-id", "t1"]);
    off(&["forum", "seen", "--thread-id", "t1"]);
}

/// A command given in the session of agent `a`.
fn in_session(world: &World, run: &str, args: &[&str]) -> std::process::Command {
    let mut command = world.program(args);
    let agent = world.agent(run, "a");
    for (name, key) in [("METAWSM_WORKSPACE", "workspace"), ("METAWSM_TICKET", "ticket"), ("METAWSM_AGENT", "name")] {
        command.env(name, agent[key].as_str().unwrap());
    }
    command.env("METAWSM_RUN_ID", run);
    command
}

fn inside(world: &World, run: &str, args: &[&str]) -> Output {
    world.output(in_session(world, run, args), "")
}

#[test]
fn who_speaks_as_another_agent_is_refused_whether_there_is_one_or_not() {
    let world = World::new(&[("a", "obeys.sh"), ("b", "obeys.sh")]);
    let run = world.run(&[]);
    let signal = ["forum", "signal", "--type", "completion", "--json"];
    for more in [
        &["--agent", "b"][..],
        &["--agent", "nobody"],
        &["--run-id", "run-9"],
        &["--workspace", "elsewhere"],
        &["--actor-type", "agent", "--actor-name", "b"],
        &["--actor-type", "human"],
        &["--as", "ada"],
    ] {
        let error = inside(&world, &run, &[&signal[..], more].concat()).is(4).error();
        assert_eq!(error["code"], "refused", "{more:?}: {error}");
    }
    // Outside of a session a human may speak for an agent; what is named has to be there.
    let outside = |more: &[&str]| world.metawsm(&[&signal[..], &["--run-id", &run], more].concat());
    outside(&["--agent", "nobody"]).is(3);
    outside(&["--agent", "b", "--actor-type", "agent", "--actor-name", "a"]).is(4);
    outside(&["--agent", "b", "--actor-type", "operator"]).is(4);
    outside(&["--agent", "b"]).is(0);
    inside(&world, &run, &signal).is(0);
}

#[test]
fn every_command_on_a_closed_thread_names_what_is_allowed() {
    let world = World::new(&[]);
    let id = asked(&world, true);
    world.ask(&["forum", "close", "--thread-id", &id]);
    for (verb, more) in [
        ("state", &["--state", "triaged"][..]),
        ("state", &["--state", "answered"]),
        ("state", &["--state", "waiting_human"]),
        ("priority", &["--priority", "high"]),
        ("assign", &["--assignee-type", "human", "--assignee", "bo"]),
        ("post", &["--body", "b"]),
        ("answer", &["--body", "b"]),
    ] {
        let call = ["forum", verb, "--thread-id", &id, "--json"];
        let error = world.metawsm(&[&call[..], more].concat()).is(4).error();
        assert_eq!(error["details"], json!({ "state": "closed", "allowed": ["forum reopen"] }), "{verb} {more:?}");
        assert!(error["hint"].as_str().unwrap().contains("forum reopen --thread-id"), "{verb}: {error}");
    }
    world.ask(&["forum", "state", "--thread-id", &id, "--state", "closed"]);
}

#[test]
fn a_thread_id_that_is_not_used_is_not_passed_over_in_silence() {
    let world = World::new(&[("a", "obeys.sh")]);
    let run = world.run(&[]);
    let ask = ["forum", "ask", "--title", "which port?", "--body", "b", "--json"];
    let asking = [&ask[..], &["--wait", "--timeout", "1s"]].concat();
    inside(&world, &run, &[&asking[..], &["--thread-id", "t1"]].concat()).is(124);
    let joined = inside(&world, &run, &[&asking[..], &["--thread-id", "t2"]].concat()).is(124);
    let words = "the same question waits already in thread t1: thread t2 was not opened";
    assert!(joined.stderr.contains(words), "{}", joined.stderr);
    world.metawsm(&["forum", "thread", "--thread-id", "t2", "--json"]).is(3);
    let again = inside(&world, &run, &[&asking[..], &["--thread-id", "t1"]].concat()).is(124);
    assert!(!again.stderr.contains("note"), "{}", again.stderr);
    let asks = [&ask[..], &["--wait", "--thread-id", "t2"]].concat();
    let mut waits = crate::world::Live::start(in_session(&world, &run, &asks));
    crate::world::wait_for("its note", crate::world::PATIENCE, || waits.errors().contains(words).then_some(()));
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "9090"]);
    let answered = waits.line("the answer", |line| line["answer"]["body"] == "9090");
    assert_eq!((waits.ended(), answered["warning"].as_str()), (0, Some(words)));
    // The same holds for a key that was used before.
    let keyed = [&ask[..], &["--event-id", "k1"]].concat();
    assert!(inside(&world, &run, &[&keyed[..], &["--thread-id", "t3"]].concat()).is(0).json()["warning"].is_null());
    let again = inside(&world, &run, &[&keyed[..], &["--thread-id", "t4"]].concat()).is(0).json();
    assert_eq!(
        again["warning"],
        "the same question was asked under this key before in thread t3: thread t4 was not opened"
    );
}

#[test]
fn whatever_the_call_lacks_or_has_too_much_comes_in_the_one_shape_of_errors() {
    let world = World::bare();
    for (args, wanted, hint) in [
        (&["forum", "wait"][..], "nothing to wait for", "--thread-id ID or --post-id ID"),
        (&["forum", "watch", "--since", "-1"], "`-1` is no value of --since", "metawsm forum watch --help"),
        (&["forum", "thread", "--thread-id", "t", "--tail", "-1"], "`-1` is no value of --tail", "forum thread --help"),
        (&["forum", "seen", "--thread-id", "t", "--seq", "-1"], "`-1` is no value of --seq", "forum seen --help"),
        (&["forum", "list", "--limit", "many"], "`many` is no value of --limit", "metawsm forum list --help"),
        (&["forum", "ask", "--title", "t"], "forum ask lacks --body", "metawsm forum ask --help"),
        (&["forum", "ask", "--title", "t", "--body"], "--body <TEXT|-> needs a value", "metawsm forum ask --help"),
        (&["forum", "signal", "--type", "progress", "--percent", "101"], "`101` is no value of --percent", "--help"),
        (&["forum"], "forum needs a subcommand", "metawsm forum --help"),
        (&["forum", "frobnicate"], "`frobnicate` is no command of forum", "metawsm forum --help"),
        (&["forun"], "`forun` is no command of metawsm", "perhaps forum"),
        (&["events", "--limt", "3"], "`--limt` is no option of events", "perhaps --limit"),
        (&["events", "extra"], "`extra` is one word too many for events", "metawsm events --help"),
        (&["wait", "--timeout", "-5m"], "`-5` is no option of wait", "--option=VALUE"),
        (&["wait", "--for", "ever"], "`ever` is no value of --for", "metawsm wait --help"),
        (&["run"], "run lacks --ticket", "metawsm run --help"),
        (&["stop", "--all", "--run-id", "r"], "--all does not go with --run-id", "metawsm stop --help"),
        (&["doctor", "--verify", "--verify"], "--verify is given more than once", "metawsm doctor --help"),
        (&["outbox", "retry", "x"], "`x` is no value of <ID>", "metawsm outbox retry --help"),
        (&["--frob"], "`--frob` is no option of metawsm", "metawsm --help"),
    ] {
        for call in [[args, &["--json"]].concat(), [&["--json"], args].concat()] {
            // A word that needs a value takes whatever stands behind it.
            if args.last() == Some(&"--body") && call.last() == Some(&"--json") {
                continue;
            }
            let out = world.metawsm(&call).is(2);
            let shape = out.json();
            let error = &shape["error"];
            assert_eq!((&error["code"], out.stderr.as_str()), (&json!("usage"), ""), "{call:?}");
            assert!(error["message"].as_str().unwrap().contains(wanted), "{call:?}: {error}");
            assert!(error["hint"].as_str().unwrap().contains(hint), "{call:?}: {error}");
        }
        let told = world.metawsm(args).is(2);
        let known = told.stderr.starts_with("metawsm: ") && told.stderr.contains(wanted) && told.stderr.contains(hint);
        // Whoever names a group of commands sees which there are.
        assert!(known || told.stderr.contains("Commands:"), "{args:?}: {}", told.stderr);
        assert_eq!(told.stdout, "", "{args:?}");
    }
    assert!(!world.home().join(".metawsm").exists());
}

#[test]
fn texts_may_begin_with_a_hyphen() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let ask = ["forum", "ask", "--ticket", "T-1", "--title", "- a list?", "--body", "- one\n- two"];
    let agent = ["--actor-type", "agent", "--actor-name", "coder"];
    let id = world.ask(&[&ask[..], &agent].concat())["thread"]["thread_id"].as_str().unwrap().to_owned();
    world.ask(&["forum", "post", "--thread-id", &id, "--body", "--force is missing"]);
    world.ask(&["forum", "assign", "--thread-id", &id, "--assignee", "bo", "--note", "-> bo"]);
    world.ask(&["forum", "post", "--thread-id", &id, "--body", "-1"]);
    assert_eq!(bodies(&world, &id), ["- one\n- two", "--force is missing", "-1"]);
    assert_eq!(world.ask(&["forum", "thread", "--thread-id", &id])["thread"]["title"], "- a list?");
    let run = world.run(&["--prompt", "- first this"]);
    let signal =
        |args: &[&str]| world.ask(&[&["forum", "signal", "--run-id", &run, "--agent", "coder"], args].concat());
    signal(&["--type", "progress", "--note", "-- half", "--percent", "50"]);
    let asked = signal(&["--type", "guidance_request", "--question", "-1 or -2?", "--context", "- none"]);
    let control = asked["thread"]["thread_id"].as_str().unwrap();
    signal(&["--type", "guidance_answer", "--answer", "-1"]);
    assert_eq!(bodies(&world, control).last().unwrap(), "-1");
    for args in [
        &["escalations", "ack", "esc-9", "--note", "- later"][..],
        &["escalations", "resolve", "esc-9", "--note", "-ed"],
        &["close", "--run-id", "run-9", "--changelog-entry", "- done", "--yes"],
    ] {
        world.metawsm(&[args, &["--json"]].concat()).is(3).error();
    }
    let brief =
        ["--goal", "- g", "--scope", "-s", "--done-criteria", "--d", "--constraints", "- c", "--merge-intent", "-"];
    let brief = world.ask(&[&["bootstrap", "--ticket", "T-2", "--repos", "shop", "--dry-run"], &brief[..]].concat());
    assert_eq!(brief["run"]["brief"]["done_criteria"], "--d");
}

#[test]
fn a_signal_takes_no_option_of_another_kind() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let end = || world.metawsm(&["events"]).is(0).lines().len();
    let before = end();
    for (kind, own, other) in [
        ("progress", ["--note", "half"], ["--answer", "yes"]),
        ("progress", ["--note", "half"], ["--in-reply-to", "e.post"]),
        ("completion", ["--summary", "all"], ["--percent", "100"]),
        ("guidance_request", ["--question", "which?"], ["--note", "n"]),
        ("completion", ["--summary", "all"], ["--done-criteria", "c"]),
        ("guidance_answer", ["--answer", "this"], ["--context", "c"]),
    ] {
        let args = ["forum", "signal", "--run-id", &run, "--agent", "coder", "--type", kind, "--json"];
        let error = world.metawsm(&[&args[..], &own, &other].concat()).is(2).error();
        let words = format!("a {kind} signal has no {}", other[0]);
        assert_eq!((&error["code"], &error["message"]), (&json!("usage"), &json!(words)), "{error}");
    }
    assert_eq!(end(), before, "what is refused leaves no trace");
}

#[test]
fn headless_tells_bad_calls_and_help_alike() {
    let world = World::new(&[]);
    let mut live = world.spawn(&["--headless"]);
    for (id, argv, status) in
        [(1, json!(["events", "--limt"]), 2), (2, json!(["forum", "wait"]), 2), (3, json!(["runs", "--help"]), 0)]
    {
        live.say(&json!({ "id": id, "argv": argv }).to_string());
        let said = live.line("its answer", |line| line["id"] == id);
        assert_eq!(said["status"], status, "{said}");
        match status {
            0 => assert!(said["result"].as_str().unwrap().contains("Usage: metawsm runs"), "{said}"),
            _ => assert_eq!(said["result"]["error"]["code"], "usage", "{said}"),
        }
    }
}

#[test]
fn a_line_that_is_no_text_is_answered_and_the_next_one_is_taken() {
    let world = World::new(&[]);
    let mut live = world.spawn(&["--headless"]);
    live.give(b"bad \xff\n");
    let refused = live.line("the refusal", |line| line["status"] == 2);
    assert_eq!(refused["result"]["error"]["code"], "usage", "{refused}");
    live.give(b"{\"id\":2,\"argv\":[\"forum\",\"list\"]}\n");
    assert_eq!(live.line("its answer", |line| line["id"] == 2)["status"], 0);
}

#[test]
fn commands_on_stdin_are_carried_out_in_their_order_and_waits_keep_nobody_waiting() {
    let world = World::new(&[]);
    let mut live = world.spawn(&["--headless"]);
    let call = |id: usize, argv: Value| format!("{}\n", json!({ "id": id, "argv": argv }));
    let mut lines =
        call(0, json!(["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "t0"]));
    lines += &call(1, json!(["forum", "wait", "--thread-id", "t0", "--timeout", "60s"]));
    for round in 1..20 {
        let id = format!("t{round}");
        lines += &call(
            2 * round,
            json!(["forum", "ask", "--ticket", "T-1", "--title", id, "--body", "b", "--thread-id", id]),
        );
        lines += &call(2 * round + 1, json!(["forum", "list"]));
    }
    live.give(lines.as_bytes());
    for round in 1..20 {
        let listed = live.line("a list", |line| line["id"] == 2 * round + 1);
        assert_eq!(listed["result"]["threads"].as_array().unwrap().len(), round + 1, "{round}");
    }
    assert!(!live.json().iter().any(|line| line["id"] == 1), "it waits still");
}

#[test]
fn who_does_not_read_keeps_nobody_from_ending() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    let mut headless = world.program(&["--headless"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let alive = || world.ask(&["runs"])["supervisor"]["pid"].as_u64();
    crate::world::wait_for("a supervisor", crate::world::PATIENCE, alive);
    let body = "x".repeat(60_000);
    for _ in 0..5 {
        world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", &body]);
    }
    crate::harness::signal(headless.id(), "TERM");
    let ended = crate::world::wait_for("its end", crate::world::PATIENCE, || headless.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(world.ask(&["runs"])["supervisor"], Value::Null, "the lease is given back");
}

#[test]
fn nothing_of_a_thread_acts_on_a_terminal_that_reads_json() {
    let world = World::new(&[]);
    let body = "a\u{9b}31m\u{202e}b\u{85}";
    let id =
        world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", body])["thread"]["thread_id"].clone();
    let id = id.as_str().unwrap();
    for call in [&["forum", "thread", "--thread-id", id, "--json"][..], &["events"], &["forum", "watch"]] {
        let out = world.metawsm(call).is(0);
        assert!(!out.stdout.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{call:?}");
        assert!(out.stdout.contains("\\u009b31m\\u202eb\\u0085"), "{call:?}: {}", out.stdout);
    }
}

#[test]
fn a_persons_name_is_checked_at_the_door() {
    let world = World::new(&[]);
    let before = world.metawsm(&["events"]).status;
    for name in ["a\nb\u{1b}]0;x\u{7}", "", " ", &"n".repeat(5000), "\u{202e}ada"] {
        let ask = ["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--as", name, "--json"];
        assert_eq!(world.metawsm(&ask).is(2).error()["code"], "usage", "{name:?}");
    }
    assert_eq!(world.metawsm(&["events"]).status, before);
    let asked = world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--as", " Ada Løve "]);
    assert_eq!(asked["thread"]["opened_by_name"], "Ada Løve", "{asked}");
}

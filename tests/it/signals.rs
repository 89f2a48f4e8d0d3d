//! Signals kept apart, end to end: what a screen shows, what is progress, what was announced; scripted agents that look
//! like real ones, tmux and the real binary.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

/// A world whose agents obey, with a runner that has patterns, and these thresholds.
fn world(agents: &[&str], health: Value, more: Value) -> World {
    let world = World::bare();
    std::fs::create_dir_all(world.home().join(".metawsm")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents/obeys.sh");
    let rows: Vec<Value> = agents.iter().map(|name| json!({ "name": name, "profile": "obeys" })).collect();
    let mut policy = json!({
        "version": 3,
        "tmux": { "socket": world.socket().display().to_string(), "stop_grace_seconds": 1 },
        "health": { "observe_ms": 100, "input_wait_seconds": 1 },
        "operator": {
            "llm": { "mode": "off" },
            "interval_seconds": 1,
            "rules": { "auto_restart": "never", "escalate_blocked": "never" },
        },
        "runners": { "likely": {
            "start": ["sh", script.display().to_string()],
            "waiting_patterns": ["Delete everything\\?", "^title: .*Action Required"],
            "limit_patterns": ["usage limit reached", "^! Retrying in \\d+s"],
            "ready_patterns": ["^> Ask"],
        } },
        "agent_profiles": [{ "name": "obeys", "runner": "likely", "health": health }],
        "agents": rows,
    });
    for (key, value) in more.as_object().unwrap() {
        policy[key] = value.clone();
    }
    std::fs::write(world.home().join(".metawsm/policy.json"), policy.to_string()).unwrap();
    world
}

fn never() -> Value {
    json!({ "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 })
}

impl World {
    #[track_caller]
    pub fn until(&self, run: &str, agent: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{agent}: {what}; it is {}", self.agent(run, agent)), PATIENCE, || {
            Some(self.agent(run, agent)).filter(&fits)
        })
    }

    #[track_caller]
    fn until_waits(&self, run: &str, agent: &str, waiting_for: &str) -> Value {
        self.until(run, agent, waiting_for, |agent| agent["waiting_for"] == waiting_for)
    }

    fn calls(&self, kind: &str) -> Vec<Value> {
        let all = self.ask(&["escalations", "--open"]);
        all["escalations"].as_array().unwrap().iter().filter(|call| call["kind"] == kind).cloned().collect()
    }

    fn until_calls(&self, kind: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} calls of {kind}"), PATIENCE, || {
            Some(self.calls(kind)).filter(|calls| calls.len() == count)
        })
    }
}

/// What was ever made of an agent's signals.
fn observed(world: &World, agent: &str) -> Vec<Value> {
    let events = world.metawsm(&["events", "--type", "agent.observed"]).is(0).lines();
    events.into_iter().filter(|event| event["agent_name"] == agent).map(|event| event["payload"].clone()).collect()
}

#[test]
fn a_dialog_on_a_silent_screen_waits_for_a_key_and_calls_a_human_until_it_is_answered() {
    let world = world(&["plain", "full"], never(), json!({}));
    let mut live = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    world.order("plain", 1, r"printf 'rm -rf build\nDelete everything?\n  1. Yes\n  2. No\n'");
    // The same on the alternate screen, by the title alone.
    world.order(
        "full",
        1,
        r"printf '\033]2;[ ! ] Action Required | shop\007\033[?1049h\033[2J\033[HKeep it?\r\n> 1. Yes\r\n'",
    );
    let agent = world.until_waits(&run, "plain", "input");
    assert_eq!((&agent["status"], &agent["health"]), (&json!("idle"), &json!("idle")));
    assert_eq!(agent["reason"], "waits for a key: Delete everything?");
    let evidence = &agent["evidence"];
    assert_eq!(
        (&evidence["rule"], &evidence["signal"], &evidence["source"]),
        (&json!(6), &json!("screen"), &json!("tmux"))
    );
    assert!(evidence["age_seconds"].as_u64().unwrap() >= 5, "{evidence}");
    assert_eq!(world.until_waits(&run, "full", "input")["reason"], "waits for a key: Keep it?");

    let calls = world.until_calls("input", 2);
    let plain = calls.iter().find(|call| call["agent"] == "plain").unwrap();
    assert!(plain["reason"].as_str().unwrap().contains("Delete everything?"), "{plain}");
    assert_eq!(plain["run_id"], run);

    let told = world.metawsm(&["explain", "agent", "plain"]).is(0).stdout;
    for words in ["waits for input", "✓ 6 waits for a key", "Delete everything?", "rule 2", "supervisor"] {
        assert!(told.contains(words), "{words} is missing in:\n{told}");
    }
    let explained = world.ask(&["explain", "agent", "plain"])["explain"].clone();
    assert_eq!((&explained["rule"]["rule"], &explained["rule"]["fits"]), (&json!(6), &json!(true)));
    assert!(explained["considered"].as_array().unwrap().iter().all(|rule| rule["why"] != ""), "{explained}");
    assert_eq!(explained["operator"]["decision"]["intent"], "escalate_input");
    assert!(explained["leases"]["supervisor"]["pid"].is_u64(), "{explained}");
    let id = plain["escalation_id"].as_str().unwrap();
    let call = world.ask(&["explain", "escalation", id])["explain"].clone();
    assert_eq!(call["escalation"]["kind"], "input");
    let decided = world.metawsm(&["events", "--type", "operator.decided"]).is(0).lines();
    let seq = decided.last().unwrap()["seq"].to_string();
    assert_eq!(world.ask(&["explain", "decision", &seq])["explain"]["decision"]["rule"], 2);
    assert_eq!(world.ask(&["explain", "run"])["explain"]["run"]["run_id"], run);
    for nothing in [["agent", "nobody"], ["escalation", "esc-0"], ["decision", "0"], ["run", "run-0"]] {
        world.metawsm(&[&["explain"], &nothing[..], &["--json"]].concat()).is(3).error();
    }

    // Answered: the composer stands below the dialog, though that is still on the screen.
    world.order("plain", 2, r"printf 'deleted\n> Ask anything\n'");
    world.until_waits(&run, "plain", "none");
    wait_for("its call to be resolved", PATIENCE, || {
        world.calls("input").iter().all(|call| call["agent"] != "plain").then_some(())
    });

    // Nobody looks any more: what only a look can tell is not known, and what was last known is said as that.
    live.signal("TERM");
    live.ended();
    let agent = world.until(&run, "full", "unknown health", |agent| agent["health"] == "unknown");
    assert_eq!((&agent["waiting_for"], &agent["evidence"]["last_waiting_for"]), (&Value::Null, &json!("input")));
    let told = world.metawsm(&["explain", "agent", "full"]).is(0).stdout;
    assert!(told.contains("nobody has looked at it") && told.contains("nobody supervises"), "{told}");
    world.verified();
}

#[test]
fn a_limit_calls_once_a_runner_starts_nobody_again_and_ends_with_the_last_who_waits() {
    let more = json!({ "operator": { "llm": { "mode": "off" }, "interval_seconds": 1 } });
    let world = world(&["a", "b"], never(), more);
    let _live = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    let say = r"printf 'usage limit reached, come back at 5\n'";
    world.order("a", 1, say);
    world.until_waits(&run, "a", "limit");
    let call = world.until_calls("limit", 1).remove(0);
    assert_eq!(
        (&call["run_id"], &call["agent"], &call["target"]),
        (&Value::Null, &Value::Null, &json!("runner:likely"))
    );
    world.order("b", 1, say);
    let agent = world.until_waits(&run, "b", "limit");
    assert_eq!((&agent["status"], &agent["restarts"]["used"]), (&json!("idle"), &json!(0)));
    // A human knows of it; that changes nothing about its cause.
    world.metawsm(&["escalations", "ack", call["escalation_id"].as_str().unwrap()]).is(0);
    world.order("a", 2, r"clear; echo on");
    world.until_waits(&run, "a", "none");
    world.until_looked_at(&run, "b");
    let still = world.until_calls("limit", 1).remove(0);
    assert_eq!(still["escalation_id"], call["escalation_id"]);
    world.order("b", 2, r"clear; echo on");
    world.until_calls("limit", 0);
    let events = world.verified();
    let of = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((of("escalation.opened"), of("escalation.resolved"), of("agent.restarted")), (1, 1, 0));
}

#[test]
fn words_that_go_by_while_an_agent_works_are_none_and_a_counter_that_runs_is_one() {
    let world = world(&["talks", "counts", "blinks"], never(), json!({}));
    let _live = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    // The same words over and over, so that the screen looks the same at any two looks.
    let talk = "stty rows 5; while :; do echo 'Delete everything?'; echo 'usage limit reached'; sleep 0.3; done";
    world.order("talks", 1, talk);
    world.order("counts", 1, r"n=0; while :; do n=$((n+1)); printf '\r! Retrying in %ss' $n; sleep 0.4; done");
    let blink = r"printf 'Delete everything?\n 1. Yes\n'; while :; do printf '\033]2;[ ! ]\007'; sleep 0.5; printf '\033]2;[ . ]\007'; sleep 0.5; done";
    world.order("blinks", 1, blink);
    let agent = world.until_waits(&run, "counts", "limit");
    assert_eq!(agent["status"], "idle");
    world.until_waits(&run, "blinks", "input");
    // As long again as the others took at most, it is looked at as often.
    let until = Instant::now() + Duration::from_secs(8);
    wait_for("some more looks", PATIENCE, || (Instant::now() >= until).then_some(()));
    assert!(
        observed(&world, "talks").iter().all(|seen| seen["waiting_for"] == "none"),
        "{:?}",
        observed(&world, "talks")
    );
    assert_eq!(world.agent(&run, "talks")["status"], "running");
    // Counting on is no news.
    let limits = observed(&world, "counts").iter().filter(|seen| seen["waiting_for"] == "limit").count();
    assert_eq!(limits, 1);
}

#[test]
fn announced_silence_is_no_stall_and_only_the_agent_or_a_human_announces_it() {
    let health = json!({ "idle_seconds": 1, "activity_stalled_seconds": 2, "progress_stalled_seconds": 0 });
    let world = world(&["a", "b"], health, json!({}));
    let _live = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    world.order("a", 1, r#""$METAWSM_BIN" agent quiet --for 20m --reason "$(printf 'long \033[31mbuild')" > "$METAWSM_HOME/quiet"; echo said $?"#);
    let agent = world.until(&run, "a", "quiet", |agent| {
        agent["status"] == "idle" && agent["reason"].as_str().unwrap().starts_with("quiet until ")
    });
    assert!(agent["reason"].as_str().unwrap().ends_with("31mbuild"), "{agent}");
    assert_eq!(agent["quiet"]["reason"], "long \u{1b}[31mbuild");
    let told = std::fs::read_to_string(world.home().join("quiet")).unwrap();
    assert!(told.contains("build") && !told.contains('\u{1b}'), "nothing that acts on a terminal: {told:?}");
    // The other one says nothing, and stalls; the first does not, however long it takes.
    world.until_agent(&run, "b", "stalled");
    let stalled = |name: &str| observed(&world, name).iter().any(|seen| seen["health"] == "stalled");
    assert!(stalled("b"));
    world.until_looked_at(&run, "a");

    // Nobody speaks for another agent, rules do not, and a day is enough.
    world.order("b", 1, r#""$METAWSM_BIN" agent quiet --for 1h --agent a > "$METAWSM_HOME/other" 2>&1; echo $? >> "$METAWSM_HOME/other""#);
    let refused = wait_for("the refusal", PATIENCE, || {
        std::fs::read_to_string(world.home().join("other")).ok().filter(|text| text.ends_with("4\n"))
    });
    assert!(refused.contains("only agent a"), "{refused}");
    world.metawsm(&["agent", "quiet", "--agent", "a", "--for", "2d", "--json"]).is(2).error();
    let until = world.agent(&run, "a")["quiet"]["until"].clone();
    assert!(until.is_string());
    // Taken back by a human for it: the silence counts at once.
    assert!(!stalled("a"));
    let back = world.ask(&["agent", "quiet", "--agent", "a", "--for", "0s"]);
    assert_eq!(back["agent"]["quiet"], Value::Null);
    world.until_agent(&run, "a", "stalled");
    let kinds: Vec<Value> = world.metawsm(&["events", "--type", "agent.quiet_declared"]).is(0).lines();
    assert_eq!(kinds.iter().map(|event| event["actor_type"].as_str().unwrap()).collect::<Vec<_>>(), ["agent", "human"]);
    world.metawsm(&["stop", "--agent", "a", "--yes"]).is(0);
    world.metawsm(&["agent", "quiet", "--agent", "a", "--for", "1m", "--json"]).is(4).error();
    world.verified();
}

#[test]
fn d26_what_an_agent_prints_is_no_progress_and_commits_edits_posts_and_its_word_are() {
    let health = json!({ "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 4 });
    let world = world(&["a"], health, json!({}));
    let _live = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    let chatter = "(while :; do echo still talking; sleep 0.2; done) &";
    world.order("a", 1, chatter);
    let stuck = |agent: &Value| agent["status"] == "stalled";
    let agent = world.until(&run, "a", "stuck", stuck);
    assert_eq!(agent["evidence"]["signal"], "progress");
    assert_eq!(agent["reason"], "no progress for over 4s");
    world.until(&run, "a", "printing", |agent| {
        agent["last_output_at"].as_str().unwrap_or_default() > agent["last_progress_at"].as_str().unwrap()
    });

    // Each of these, and nothing else, sets it going again, for as long as is allowed.
    let edit = "echo more >> README";
    let commit = "git commit -qam more";
    let stage = "echo new > new && git add new";
    let post = r#""$METAWSM_BIN" forum ask --title t --body b > /dev/null"#;
    let word = r#""$METAWSM_BIN" agent progress --note "half way" --percent 50 > /dev/null"#;
    for (n, (what, source)) in
        [(edit, "files"), (commit, "git"), (stage, "git"), (post, "journal"), (word, "journal")].into_iter().enumerate()
    {
        let before = world.until(&run, "a", "stuck again", stuck)["last_progress_at"].clone();
        world.order("a", u32::try_from(n).unwrap() + 2, what);
        world.until(&run, "a", what, |agent| agent["status"] == "running");
        // What shows in worktrees is written down every five seconds.
        world.until(&run, "a", "its age", |agent| agent["last_progress_at"].as_str() > before.as_str());
        let agent = world.until(&run, "a", "stuck again", stuck);
        // A commit writes its event as well, and what is staged was written before.
        let shown = agent["evidence"]["source"].as_str().unwrap();
        let besides = (what == commit && shown == "journal") || (what == stage && shown == "files");
        assert!(shown == source || besides, "{what}: {agent}");
    }
    let agent = world.agent(&run, "a");
    assert_eq!((&agent["said"]["note"], &agent["said"]["percent"]), (&json!("half way"), &json!(50)));
    let progressed = world.metawsm(&["events", "--type", "agent.progressed"]).is(0).lines();
    let sources: Vec<&str> = progressed.iter().map(|event| event["payload"]["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["head", "signal"]);
    world.metawsm(&["agent", "progress", "--agent", "a", "--json"]).is(2).error();
    world.verified();
}

#[test]
fn a_pattern_that_is_none_is_a_fault_of_the_policy_with_its_place() {
    let more = json!({ "runners": { "likely": { "start": ["sh"], "waiting_patterns": ["fine", "network ("] } } });
    let world = world(&["a"], never(), more);
    let refused = world.metawsm(&["policy", "check", "--json"]).is(5).stdout;
    assert!(refused.contains("runners.likely.waiting_patterns[1]") && refused.contains("unclosed group"), "{refused}");
}

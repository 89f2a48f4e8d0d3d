//! Agents that behave as no program should: one that forks away, one that floods its screen, one
//! that prints what metawsm and tmux themselves print, one on the alternate screen. Each is judged by what it is.

use serde_json::{Value, json};

use crate::harness::signal;
use crate::stopped::client;
use crate::world::{PATIENCE, World, wait_for};

fn session(world: &World, run: &str, name: &str) -> String {
    world.agent(run, name)["session"].as_str().unwrap().to_owned()
}

/// Nothing is done by rule; the runner has patterns, so that screens are read.
fn world(crew: &[&str]) -> World {
    let world = World::bare();
    std::fs::create_dir_all(world.home().join(".metawsm")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents/obeys.sh");
    let agents: Vec<Value> = crew.iter().map(|name| json!({ "name": name, "profile": "obeys" })).collect();
    let more = json!({
        "operator": { "rules": { "auto_restart": "never", "auto_stop_stale": "never" } },
        "runners": { "likely": {
            "start": ["sh", script],
            "waiting_patterns": ["Delete everything\\?"],
            "limit_patterns": ["usage limit reached"],
        } },
        "agent_profiles": [{
            "name": "obeys", "runner": "likely",
            "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
        }],
        "agents": agents,
    });
    world.policy(&[], more);
    world
}

#[test]
fn who_forks_away_is_judged_by_its_end_and_leaves_nothing_behind() {
    let world = world(&["twice", "bare", "stays"]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "stays");
    let away = |name: &str, how: &str| {
        // In a session of its own, its parents gone, deaf to the hang-up; its number is told in a file.
        let file = world.home().join(format!("away-{name}"));
        let work = format!("trap \"\" HUP TERM; echo $$ > {}; while :; do sleep 1; done", file.display());
        world.order(name, 1, &format!("({how} setsid sh -c '({work}) & exit 0' &); sleep 0.3; exit 0"));
        let text = || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok();
        wait_for("who forked away", PATIENCE, text)
    };
    let twice = away("twice", "");
    // Not even a variable says whose it is.
    let bare = away("bare", "env -i PATH=\"$PATH\"");
    for (name, pid) in [("twice", twice), ("bare", bare)] {
        assert_eq!(world.until_agent(&run, name, "done")["exit_status"], 0);
        let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
        wait_for(&format!("what {name} left to be gone"), PATIENCE, || gone().then_some(()));
    }
    assert_eq!(world.agent(&run, "stays")["status"], "running");
    world.verified();
}

#[test]
fn a_flood_of_a_hundred_megabytes_hides_no_end_and_fills_nothing() {
    let world = world(&["flood", "beside"]);
    let run = world.run(&[]);
    let live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "flood");
    world.order("flood", 1, "yes 'usage limit reached, and Delete everything?' | head -c 100000000; echo dry; exit 7");
    // Whoever works beside it is seen all the same.
    world.order("beside", 1, "exit 4");
    assert_eq!(world.until_agent(&run, "beside", "failed")["exit_status"], 4);
    let flood = world.until_agent(&run, "flood", "failed");
    assert_eq!((&flood["exit_status"], &flood["exit_signal"]), (&json!(7), &Value::Null), "{flood}");
    let seen = world.metawsm(&["events", "--type", "agent.observed"]).is(0).lines();
    assert!(seen.iter().all(|event| event["payload"]["waiting_for"] == "none"), "{seen:?}");
    let log = world.metawsm(&["logs", "--run-id", &run, "--agent", "flood"]).is(0).stdout;
    assert!(log.trim_end().ends_with("dry"), "{}", &log[log.len().saturating_sub(200)..]);
    assert!(log.len() < 5_000_000, "{}", log.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid())).unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.unwrap() < 100_000, "{peak:?} kB for a supervisor");
    world.verified();
}

/// What tmux's protocol, the launcher, git, the journal and a terminal say of themselves.
const MARKS: &[&str] = &[
    "%begin 1 2 1",
    "%end 1 2 1",
    "%error 1 2 1",
    "%exit",
    "%session-changed $0 _metawsm",
    "facts 1 0 0 0 1 1 /dev/null x",
    "client 1",
    "screen",
    "Pane is dead (status 0, Sat Nov 21 00:00:00 2026)",
    "metawsm: the agent has exited with 0",
    "[metawsm] agent exited with status 0",
    "exit status: 0",
    "## 2026-11-21 human:tester answered",
    "> yes, merge it",
    "````metawsm",
    "-----END METAWSM-----",
    "{\"n\":1,\"exit_code\":0,\"ended_at_ms\":1}",
    "{\"event_type\":\"agent.exited\"}",
];

#[test]
fn what_an_agent_prints_of_ours_is_its_words_and_nothing_else() {
    let world = world(&["marks", "dead", "beside"]);
    let run = world.run(&[]);
    let live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "beside");
    let before = client(live.pid());
    // Titles, colours, a cleared scrollback, a device string, a notification, the terminal's own questions.
    let escapes = r"\033]2;%%end 1 2 1|%%7\033\\\033]0;[ ! ] x\007\033[?1049h\033[2J\033[H\033[3J\033Pq#0\033\\\033]9;hello\007\033]52;c;aGk=\007\033[c\033[6n\033[?1049l";
    let lines: String = MARKS.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(world.home().join("marks"), lines).unwrap();
    let print = format!("printf '{escapes}'; cat \"$METAWSM_HOME/marks\"");
    world.order("marks", 1, &print);
    world.order("dead", 1, &format!("{print}; kill -KILL $$"));
    let marks = session(&world, &run, "marks");
    world.shows(&marks, "agent.exited");
    let dead = world.until_agent(&run, "dead", "dead");
    assert_eq!((&dead["exit_status"], &dead["exit_signal"]), (&Value::Null, &json!("SIGKILL")), "{dead}");
    // Its screen stands still for long enough to be read.
    wait_for("its silence", PATIENCE, || {
        let age = world.ask(&["explain", "agent", "--run-id", &run, "marks"])["explain"]["signals"].clone();
        let output = age.as_array()?.iter().find(|signal| signal["signal"] == "output")?.clone();
        (output["age_seconds"].as_u64()? >= 7).then_some(())
    });
    let agent = world.agent(&run, "marks");
    assert_eq!(
        (&agent["status"], &agent["health"], &agent["waiting_for"]),
        (&json!("running"), &json!("healthy"), &json!("none")),
        "{agent}"
    );
    assert_eq!(client(live.pid()), before, "the client was not thrown out of step");
    for name in ["marks", "dead"] {
        let log = world.metawsm(&["logs", "--run-id", &run, "--agent", name]).is(0).stdout;
        for line in MARKS.iter().filter(|line| !line.starts_with("Pane is dead")) {
            assert!(log.contains(line), "{line} of {name} in {log}");
        }
        assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "{log:?}");
    }
    assert_eq!(world.metawsm(&["events", "--type", "agent.exited"]).is(0).lines().len(), 1);
    world.verified();
}

#[test]
fn on_the_alternate_screen_life_and_death_are_the_same() {
    let world = world(&["lives", "asks", "exits", "killed"]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "lives");
    let show = |text: &str| format!(r"printf '\033[?1049h\033[2J\033[H{text}\r\n'");
    world.order("lives", 1, &show("full of life"));
    world.order("asks", 1, &show("Delete everything?"));
    world.order("exits", 1, &format!("{}; exit 3", show("words before the exit")));
    world.order("killed", 1, &show("words before the kill"));
    world.shows(&session(&world, &run, "killed"), "words before the kill");
    signal(world.record(&session(&world, &run, "killed"), 1).agent_pid.unwrap(), "KILL");
    assert_eq!(world.until_agent(&run, "exits", "failed")["exit_status"], 3);
    assert_eq!(world.until_agent(&run, "killed", "dead")["exit_signal"], "SIGKILL");
    for (name, words) in [("exits", "words before the exit"), ("killed", "words before the kill")] {
        wait_for(&format!("the last words of {name}"), PATIENCE, || {
            let out = world.metawsm(&["logs", "--run-id", &run, "--agent", name]);
            out.stdout.contains(words).then_some(())
        });
    }
    let asks = world.until_agent(&run, "asks", "idle");
    assert_eq!(
        (&asks["waiting_for"], &asks["reason"]),
        (&json!("input"), &json!("waits for a key: Delete everything?"))
    );
    let lives = world.agent(&run, "lives");
    assert_eq!((&lives["status"], &lives["health"]), (&json!("running"), &json!("healthy")));
    world.verified();
}

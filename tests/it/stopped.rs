//! SIGSTOP and kill -9 of everybody there is, alone and together (issue: bad luck): no false death, no missed one, a
//! true end or an unknown one, and nothing left behind.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Stopped, signal, state};
use crate::world::{PATIENCE, World, wait_for};

/// Nothing is done by rule: what is seen is what happened.
fn world(crew: &[(&str, &str)]) -> World {
    World::with(crew, json!({ "operator": { "rules": { "auto_restart": "never", "auto_stop_stale": "never" } } }))
}

fn session(world: &World, run: &str, name: &str) -> String {
    world.agent(run, name)["session"].as_str().unwrap().to_owned()
}

fn server(world: &World) -> u32 {
    world.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap()
}

/// Whether it has ended; tmux may be late to ask how.
fn gone(pid: u32) -> bool {
    let state = state(pid);
    state.is_empty() || state.starts_with('Z')
}

fn exits(world: &World) -> Vec<Value> {
    world.metawsm(&["events", "--type", "agent.exited"]).is(0).lines()
}

/// What explain says of an agent, in words.
fn explained(world: &World, run: &str, name: &str) -> String {
    world.metawsm(&["explain", "agent", "--run-id", run, name]).is(0).stdout
}

#[test]
fn how_an_agent_ended_under_a_stopped_launcher_is_seen_at_once() {
    let world = world(&[("a", "obeys.sh"), ("b", "obeys.sh"), ("c", "obeys.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "a");
    let record = |name: &str| world.record(&session(&world, &run, name), 1);
    // A server that runs lets its panes' processes go on by itself.
    let server = Stopped::new(server(&world));
    let launchers = ["a", "b", "c"].map(|name| Stopped::new(record(name).launcher_pid));
    world.order("a", 1, "exit 7");
    signal(record("b").agent_pid.unwrap(), "KILL");
    let a = world.until_agent(&run, "a", "failed");
    assert_eq!((&a["exit_status"], &a["exit_signal"]), (&json!(7), &Value::Null), "{a}");
    let b = world.until_agent(&run, "b", "dead");
    assert_eq!((&b["exit_status"], &b["exit_signal"]), (&Value::Null, &json!("SIGKILL")), "{b}");
    // Whose agent lives stays stopped: that is somebody's wish.
    assert!(state(record("c").launcher_pid).starts_with('T'));
    assert_eq!(world.agent(&run, "c")["status"], "running");
    assert_eq!(exits(&world).len(), 2);
    // It is ended by command all the same, with its launcher.
    drop(server);
    let launcher = record("c").launcher_pid;
    world.ask(&["stop", "--agent", "c", "--yes"]);
    assert_eq!(world.agent(&run, "c")["status"], "stopped");
    assert!(gone(launcher));
    assert!(world.record(&session(&world, &run, "c"), 1).ended_at_ms.is_some(), "and it has written down how");
    drop(launchers);
    world.verified();
}

#[test]
fn a_launcher_that_hangs_is_not_waited_for_and_how_its_agent_ended_is_unknown() {
    let world = world(&[("a", "obeys.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "a");
    let session = session(&world, &run, "a");
    let record = world.record(&session, 1);
    // Where it writes there is a pipe that nobody reads: it waits for ever.
    let dir = world.home().join(".metawsm/agents").join(&session);
    let pipe = dir.join(format!(".1.json.{}.tmp", record.launcher_pid));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    signal(record.agent_pid.unwrap(), "TERM");
    let dead = world.until_agent(&run, "a", "dead");
    assert_eq!((&dead["exit_status"], &dead["exit_signal"]), (&Value::Null, &Value::Null), "{dead}");
    let told = explained(&world, &run, "a");
    assert!(told.contains("how it ended is not known (told by process table, its launcher hung)"), "{told}");
    assert_eq!(exits(&world).len(), 1);
    wait_for("the launcher to be gone", PATIENCE, || gone(record.launcher_pid).then_some(()));
    world.verified();
}

#[test]
fn a_stopped_agent_is_not_dead_and_its_status_says_what_it_is() {
    let world = world(&[("a", "obeys.sh"), ("b", "obeys.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "a");
    let record = |name: &str, n: u32| world.record(&session(&world, &run, name), n);
    let (a, b) = (record("a", 1).agent_pid.unwrap(), record("b", 1).agent_pid.unwrap());
    let (stopped, other) = (Stopped::new(a), Stopped::new(b));
    for (name, pid) in [("a", a), ("b", b)] {
        let idle = world.until_agent(&run, name, "idle");
        assert_eq!((&idle["health"], &idle["reason"]), (&json!("idle"), &json!("its program is stopped")), "{idle}");
        let told = explained(&world, &run, name);
        assert!(told.contains(&format!("kill -CONT {pid}")), "{told}");
    }
    // It goes on, and that is seen too.
    drop(stopped);
    let back = world.until_agent(&run, "a", "running");
    assert_eq!((&back["health"], &back["launch"]), (&json!("healthy"), &json!(1)));
    assert!(!explained(&world, &run, "a").contains("kill -CONT"));
    assert_eq!(exits(&world).len(), 0);
    // Restarted and stopped it is ended like any other.
    world.ask(&["restart", "--run-id", &run, "--agent", "b"]);
    assert!(gone(b));
    drop(other);
    let second = record("b", 2).agent_pid.unwrap();
    let stopped = Stopped::new(second);
    world.ask(&["stop", "--agent", "b", "--yes"]);
    assert!(gone(second));
    assert_eq!(world.agent(&run, "b")["status"], "stopped");
    drop(stopped);
    world.verified();
}

//! SIGSTOP and kill -9 of everybody there is, alone and together (issue: bad luck): no false death, no missed one, a
//! true end or an unknown one, and nothing left behind.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use metawsm::services::launcher::{Record, write_record};
use metawsm::services::process::default_table;
use serde_json::{Value, json};

use crate::harness::{self, Stopped, os, signal, state};
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
    let server = Stopped::for_certain(server(&world));
    let launchers = ["a", "b", "c"].map(|name| Stopped::for_certain(record(name).launcher_pid));
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
    let (stopped, other) = (Stopped::for_certain(a), Stopped::for_certain(b));
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
    let stopped = Stopped::for_certain(second);
    world.ask(&["stop", "--agent", "b", "--yes"]);
    assert!(gone(second));
    assert_eq!(world.agent(&run, "b")["status"], "stopped");
    drop(stopped);
    world.verified();
}

/// Who can be stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Party {
    Supervisor,
    /// The supervisor's client of the tmux server.
    Client,
    Server,
    Launchers,
    Agents,
}

use Party::{Agents, Client, Launchers, Server, Supervisor};

/// The control client that a supervisor has started.
pub fn client(supervisor: u32) -> u32 {
    wait_for("its client", PATIENCE, || {
        let list = default_table().list();
        let tmux =
            |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("tmux"));
        list.iter().find(|proc| proc.ppid == supervisor && !proc.zombie && tmux(proc.pid)).map(|proc| proc.pid)
    })
}

fn calls(world: &World, kind: &str) -> Vec<Value> {
    let all = world.ask(&["escalations"]);
    all["escalations"].as_array().unwrap().iter().filter(|call| call["kind"] == kind).cloned().collect()
}

/// Four agents: one lives through it, one exits, one is killed, one loses its launcher, while these are stopped. Then
/// all go on, and what is known is what happened.
fn four_fates(stopped: &[Party]) {
    let world = world(&[("lives", "obeys.sh"), ("exits", "obeys.sh"), ("killed", "obeys.sh"), ("orphan", "obeys.sh")]);
    let run = world.run(&[]);
    let mut live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "lives");
    let record = |name: &str| world.record(&session(&world, &run, name), 1);
    let records = ["lives", "exits", "killed", "orphan"].map(record);
    let mut held = Vec::new();
    // Whoever would let another go on is stopped before that one.
    for party in [Server, Client, Supervisor, Launchers, Agents].into_iter().filter(|party| stopped.contains(party)) {
        match party {
            Supervisor => held.push(Stopped::new(live.pid())),
            Client => held.push(Stopped::new(client(live.pid()))),
            Server => held.push(Stopped::new(server(&world))),
            Launchers => held.extend(records.iter().map(|record| Stopped::new(record.launcher_pid))),
            Agents => held.extend(records.iter().map(|record| Stopped::new(record.agent_pid.unwrap()))),
        }
    }
    world.order("exits", 1, "exit 7");
    signal(records[2].agent_pid.unwrap(), "KILL");
    signal(records[3].launcher_pid, "KILL");
    if stopped.contains(&Server) && !stopped.contains(&Supervisor) {
        wait_for("the call about the server", PATIENCE, || {
            (!calls(&world, "tmux_unreachable").is_empty()).then_some(())
        });
    }
    drop(held);
    let fates = [
        ("exits", "failed", json!(7), Value::Null),
        ("killed", "dead", Value::Null, json!("SIGKILL")),
        ("orphan", "dead", Value::Null, Value::Null),
    ];
    for (name, status, exit, by) in fates {
        let agent = world.until_agent(&run, name, status);
        assert_eq!((&agent["exit_status"], &agent["exit_signal"]), (&exit, &by), "{stopped:?}: {agent}");
    }
    let lives = world.until_agent(&run, "lives", "running");
    assert_eq!(lives["launch"], 1, "{stopped:?}");
    wait_for("the call to be taken back", PATIENCE, || {
        calls(&world, "tmux_unreachable").iter().all(|call| call["state"] == "resolved").then_some(())
    });
    world.until_looked_at(&run, "lives");
    assert_eq!(exits(&world).len(), 3, "{stopped:?}: one event for one death, and no other");
    let told = calls(&world, "tmux_unreachable").len();
    assert!(told <= usize::from(stopped.contains(&Server)), "{stopped:?}: {told} calls");
    assert_eq!(calls(&world, "tmux_server_lost").len(), 0, "{stopped:?}");
    assert!(live.running());
    world.ask(&["stop", "--run-id", &run, "--yes"]);
    drop(live);
    wait_for("nothing to be left", PATIENCE, || world.nothing_runs().then_some(()));
    world.verified();
}

#[test]
fn four_fates_under_a_stopped_supervisor() {
    four_fates(&[Supervisor]);
}

#[test]
fn four_fates_under_a_stopped_client() {
    four_fates(&[Client]);
}

#[test]
fn four_fates_under_a_stopped_server() {
    four_fates(&[Server]);
}

#[test]
fn four_fates_with_agents_and_launchers_stopped() {
    four_fates(&[Agents, Launchers]);
}

#[test]
fn four_fates_with_launchers_and_the_client_stopped() {
    four_fates(&[Launchers, Client]);
}

#[test]
fn four_fates_with_the_supervisor_and_agents_stopped() {
    four_fates(&[Supervisor, Agents]);
}

#[test]
fn four_fates_with_the_server_and_the_supervisor_stopped() {
    four_fates(&[Server, Supervisor]);
}

#[test]
fn four_fates_with_everybody_stopped() {
    four_fates(&[Server, Client, Supervisor, Launchers, Agents]);
}

/// Kills these at once, with the agent `a`'s program among the agents; a second supervisor stands by. All come back, or
/// never went.
fn all_back(killed: &[Party]) {
    let world = World::with(
        &[("a", "obeys.sh"), ("b", "obeys.sh")],
        json!({ "operator": { "interval_seconds": 1, "unhealthy_confirmations": 1, "restart_cooldown_seconds": 1 } }),
    );
    let run = world.run(&[]);
    let first = world.spawn(&["--headless"]);
    first.line("the lease", |line| line["event_type"] == "lease.acquired");
    world.until_looked_at(&run, "a");
    let mut second = world.spawn(&["--headless"]);
    let records = ["a", "b"].map(|name| world.record(&session(&world, &run, name), 1));
    let mut pids = Vec::new();
    for party in killed {
        match party {
            Supervisor => pids.push(first.pid()),
            Client => pids.push(client(first.pid())),
            Server => pids.push(server(&world)),
            Launchers => pids.extend(records.iter().map(|record| record.launcher_pid)),
            Agents => pids.push(records[0].agent_pid.unwrap()),
        }
    }
    // Those who would see it first.
    for pid in pids {
        signal(pid, "KILL");
    }
    let lost = killed.contains(&Server);
    let died = |name: &str| lost || killed.contains(&Launchers) || (name == "a" && killed.contains(&Agents));
    for name in ["a", "b"] {
        let launch = if died(name) { 2 } else { 1 };
        let back = wait_for(&format!("{name} at launch {launch} after {killed:?}"), PATIENCE, || {
            Some(world.agent(&run, name)).filter(|agent| agent["launch"] == launch && agent["status"] == "running")
        });
        assert_eq!(back["restarts"]["used"], json!(i32::from(died(name) && !lost)), "{killed:?}: {back}");
    }
    if killed.contains(&Supervisor) {
        second.line("the lease", |line| line["event_type"] == "lease.acquired");
    }
    wait_for("every call to be taken back", PATIENCE, || {
        let all = world.ask(&["escalations", "--open"]);
        all["escalations"].as_array().unwrap().is_empty().then_some(())
    });
    world.until_looked_at(&run, "a");
    assert_eq!(exits(&world).len(), ["a", "b"].iter().filter(|name| died(name)).count(), "{killed:?}");
    assert_eq!(calls(&world, "tmux_server_lost").len(), usize::from(lost), "{killed:?}");
    assert_eq!(calls(&world, "tmux_unreachable").len(), 0, "{killed:?}");
    assert!(second.running());
    world.ask(&["stop", "--run-id", &run, "--yes"]);
    drop((first, second));
    wait_for("nothing to be left", PATIENCE, || world.nothing_runs().then_some(()));
    world.verified();
}

#[test]
fn the_supervisor_and_an_agent_killed_at_once() {
    all_back(&[Supervisor, Agents]);
}

#[test]
fn the_launchers_and_the_client_killed_at_once() {
    all_back(&[Launchers, Client]);
}

#[test]
fn the_agent_before_its_launcher_killed_at_once() {
    all_back(&[Agents, Launchers]);
}

#[test]
fn the_client_killed_alone() {
    all_back(&[Client]);
}

#[test]
fn the_supervisor_and_the_server_killed_at_once() {
    all_back(&[Supervisor, Server]);
}

#[test]
fn everybody_killed_at_once() {
    all_back(&[Supervisor, Client, Launchers, Agents, Server]);
}

#[test]
fn a_console_that_is_stopped_and_then_killed_takes_nobody_with_it() {
    let world = world(&[("a", "obeys.sh"), ("b", "obeys.sh")]);
    let run = world.run(&[]);
    let seat = harness::Server::new();
    let console = world.program(&[]);
    let pair = |(name, value): (&OsStr, Option<&OsStr>)| Some(format!("{}={}", name.to_str()?, value?.to_str()?));
    let given: Vec<String> = console.get_envs().filter_map(pair).collect();
    let home = world.home().display().to_string();
    let given = given.iter().map(String::as_str);
    let argv: Vec<&str> =
        ["env", "-i"].into_iter().chain(given).chain([env!("CARGO_BIN_EXE_metawsm"), "--home", &home]).collect();
    let console = seat.session("seat", &os(&argv)).pane_pid;
    wait_for("the console to supervise", PATIENCE, || {
        (world.ask(&["runs"])["supervisor"]["pid"] == console).then_some(())
    });
    world.until_looked_at(&run, "a");
    let mut next = world.spawn(&["--headless"]);
    // The terminal of a console that is stopped is stopped too, or it lets it go on.
    let terminal = seat.raw(&["display-message", "-p", "#{pid}"]).trim().parse().unwrap();
    let stopped = [Stopped::for_certain(terminal), Stopped::for_certain(console)];
    // An end is told by its launcher whoever looks; of the living nobody knows any more.
    world.order("a", 1, "exit 7");
    assert_eq!(world.until_agent(&run, "a", "failed")["exit_status"], 7);
    wait_for("b to be unknown", PATIENCE, || (world.agent(&run, "b")["health"] == "unknown").then_some(()));
    assert_eq!(world.agent(&run, "b")["status"], "running");
    assert_eq!(world.ask(&["runs"])["supervisor"]["pid"], console, "who is stopped has the lease still");
    drop(stopped);
    wait_for("b to be known", PATIENCE, || (world.agent(&run, "b")["health"] == "healthy").then_some(()));
    let launcher = world.record(&session(&world, &run, "b"), 1).launcher_pid;
    for pid in [console, launcher] {
        signal(pid, "KILL");
    }
    let dead = world.until_agent(&run, "b", "dead");
    assert_eq!((&dead["exit_status"], &dead["exit_signal"]), (&Value::Null, &Value::Null), "{dead}");
    assert_eq!(world.ask(&["runs"])["supervisor"]["pid"], next.pid());
    assert_eq!(exits(&world).len(), 2);
    assert!(next.running());
    world.verified();
}

#[test]
fn a_launcher_that_hangs_before_it_starts_its_agent_is_ended_and_another_one_starts_it() {
    let world = world(&[("a", "obeys.sh")]);
    // It has written down that it began, and goes no further.
    let mut hung = Command::new("sleep").arg("600").spawn().unwrap();
    let start = default_table().start_time(hung.id()).unwrap();
    let record = Record { n: 1, launcher_pid: hung.id(), launcher_start: start, ..Record::default() };
    write_record(&world.home().join(".metawsm/agents/a-t-1-mine/1.json"), &record).unwrap();
    let run = world.run(&["--run-id", "mine"]);
    let agent = world.agent(&run, "a");
    assert_eq!((&agent["status"], &agent["launch"]), (&json!("running"), &json!(1)), "{agent}");
    assert_eq!(hung.wait().unwrap().signal(), Some(9));
    let record = world.record("a-t-1-mine", 1);
    assert!(default_table().alive(record.agent_pid.unwrap(), record.agent_start.unwrap()));
    assert_ne!(record.launcher_pid, hung.id());
    world.verified();
}

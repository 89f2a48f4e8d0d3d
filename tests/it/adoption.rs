//! A supervisor that comes up where agents live already, where some have died unseen, and after a reboot.

use std::process::{Child, Command};

use metawsm::services::launcher::{Record, write_record};
use metawsm::services::process::default_table;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::conversations::{self, NAMES, reasons, said, until_begun};
use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

fn ends(world: &World) -> Vec<Value> {
    world.metawsm(&["events", "--type", "agent.exited"]).is(0).lines()
}

fn is_over(pid: u32, start: u64) -> bool {
    !default_table().alive(pid, start)
}

#[test]
fn who_lives_is_adopted_and_who_died_unseen_is_told_as_it_was() {
    let crew = ["lives", "later", "exited", "killed", "orphan", "recorded"];
    let never = json!({ "operator": { "rules": { "auto_restart": "never", "auto_stop_stale": "never" } } });
    let world = World::with(&crew.map(|name| (name, "obeys.sh")), never);
    let run = world.run(&[]);
    let mut first = world.spawn(&["--headless"]);
    crew.iter().for_each(|name| world.until_looked_at(&run, name));
    let record = |name: &str| world.record(world.agent(&run, name)["session"].as_str().unwrap(), 1);
    let records = crew.map(record);
    first.signal("KILL");
    assert_eq!(first.ended(), -9);
    // Nobody watches now.
    world.order("exited", 1, "exit 3");
    signal(records[3].agent_pid.unwrap(), "TERM");
    signal(records[4].launcher_pid, "KILL");
    world.until_agent(&run, "exited", "failed");
    world.until_agent(&run, "killed", "dead");
    // One writes its end down and is killed before it can tell anybody.
    let lock = Connection::open(world.db()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.order("recorded", 1, "exit 9");
    let session = world.agent(&run, "recorded")["session"].as_str().unwrap().to_owned();
    wait_for("its end in the record", PATIENCE, || world.record(&session, 1).ended_at_ms);
    signal(records[5].launcher_pid, "KILL");
    wait_for("its launcher to be gone", PATIENCE, || {
        is_over(records[5].launcher_pid, records[5].launcher_start).then_some(())
    });
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(world.agent(&run, "recorded")["status"], "running", "nobody has told yet");
    let _second = world.spawn(&["--headless"]);
    for (name, status, exit, by) in [
        ("exited", "failed", json!(3), Value::Null),
        ("killed", "dead", Value::Null, json!("SIGTERM")),
        ("orphan", "dead", Value::Null, Value::Null),
        ("recorded", "failed", json!(9), Value::Null),
    ] {
        let agent = world.until_agent(&run, name, status);
        assert_eq!((&agent["exit_status"], &agent["exit_signal"]), (&exit, &by), "{agent}");
    }
    // Those that live are the same as before, and their ends are seen as those of its own.
    world.until_looked_at(&run, "lives");
    for (name, before) in [("lives", &records[0]), ("later", &records[1])] {
        let agent = world.agent(&run, name);
        assert_eq!(
            (&agent["status"], &agent["launch"], &agent["health"]),
            (&json!("running"), &json!(1), &json!("healthy"))
        );
        assert_eq!(record(name).agent_pid, before.agent_pid);
    }
    signal(records[1].agent_pid.unwrap(), "KILL");
    assert_eq!(world.until_agent(&run, "later", "dead")["exit_signal"], "SIGKILL");
    assert_eq!(ends(&world).len(), 5, "one event for one end");
    let starts = world.metawsm(&["events", "--type", "agent.transitioned"]).is(0).lines();
    let launched = starts.iter().filter(|event| !event["payload"]["launch"].is_null()).count();
    assert_eq!(launched, crew.len(), "nobody was started again");
    world.verified();
}

/// Programs of somebody else, in sessions of their own, which happen to have the numbers that ours had.
struct Strangers(Vec<Child>);

impl Strangers {
    fn new(count: usize) -> Self {
        let start = |_| {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", "sleep 600 & exec sleep 600"]).env_clear().env("PATH", "/usr/bin:/bin");
            // It leads no group yet, so that it need not fork for a session: the number stays.
            command.spawn().unwrap()
        };
        Self((0..count).map(start).collect())
    }

    fn live(&mut self) -> bool {
        self.0.iter_mut().all(|child| child.try_wait().unwrap().is_none())
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn after_a_reboot_everybody_comes_back_to_its_conversation_and_no_stranger_is_touched() {
    let world = conversations::world("codex");
    let run = world.run(&[]);
    let began = NAMES.map(|name| said(&world, &run, name, "began"));
    NAMES.iter().zip(&began).for_each(|(name, id)| until_begun(&world, &run, name, id));
    let sessions = NAMES.map(|name| world.agent(&run, name)["session"].as_str().unwrap().to_owned());
    let records = sessions.clone().map(|session| world.record(&session, 1));
    // All is gone at once, and nobody writes anything down.
    let server: u32 = world.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap();
    for pid in records.iter().map(|record| record.launcher_pid).chain([server]) {
        signal(pid, "KILL");
    }
    for pid in World::marked(&format!("METAWSM_HOME={}", world.home().display())) {
        signal(pid, "KILL");
    }
    // The numbers are others' now, who began at other times.
    let mut strangers = Strangers::new(3);
    let [launcher, program, server] = [0, 1, 2].map(|at: usize| strangers.0[at].id());
    for (session, record) in sessions.iter().zip(&records) {
        let path = world.home().join(format!(".metawsm/agents/{session}/1.json"));
        assert_eq!(record.ended_at_ms, None);
        let reused =
            Record { launcher_pid: launcher, agent_pid: Some(program), server_pid: Some(server), ..record.clone() };
        write_record(&path, &reused).unwrap();
    }
    let _live = world.spawn(&["--headless"]);
    for (name, id) in NAMES.iter().zip(&began) {
        assert_eq!(said(&world, &run, name, "resumed"), *id);
        let back = world.until_agent(&run, name, "running");
        assert_eq!((&back["launch"], &back["restarts"]["used"]), (&json!(2), &json!(0)), "{back}");
        assert_eq!(reasons(&world, name), [format!("started, launch 2: its conversation {id} goes on")]);
    }
    for end in ends(&world) {
        let exit = &end["payload"]["exit"];
        assert!(exit["server_lost"].is_string() && exit["status"].is_null() && exit["signal"].is_null(), "{end}");
    }
    assert_eq!(ends(&world).len(), 2);
    wait_for("the call to be taken back", PATIENCE, || {
        let all = world.ask(&["escalations"]);
        let told: Vec<Value> = all["escalations"].as_array().unwrap().clone();
        assert!(told.len() <= 1, "{told:?}");
        (told.len() == 1 && told[0]["kind"] == "tmux_server_lost" && told[0]["state"] == "resolved").then_some(())
    });
    world.ask(&["stop", "--run-id", &run, "--yes"]);
    assert!(strangers.live(), "who has the numbers now is left alone");
    world.verified();
}

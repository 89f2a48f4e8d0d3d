//! A decision that cannot be carried out because somebody has the run: nothing is done behind his back, and a human is
//! called to it before long. The supervisor is in this process.

use std::fs::File;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use metawsm::services::engine::{Engine, Surroundings};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::operator::{Conduct, patience};
use metawsm::services::process::lease::{Holder, Lease};
use metawsm::services::supervisor::Supervisor;
use serde_json::{Value, json};

use crate::harness::{Stopped, signal};
use crate::world::{PATIENCE, World, wait_for};

struct Desk {
    engine: Arc<Engine>,
    supervisor: Supervisor,
}

impl Desk {
    fn new(world: &World) -> Self {
        let surroundings = Surroundings { program: env!("CARGO_BIN_EXE_metawsm").into(), ..Surroundings::of_process() };
        let home = Home::at(&world.home(), &HomeArgs::default());
        let engine = Arc::new(Engine::open(home, surroundings).unwrap());
        let conduct = Conduct { patience: Some(Duration::from_secs(1)), ..Conduct::default() };
        let supervisor = Supervisor::try_new_as(&engine, conduct).unwrap().unwrap();
        Self { engine, supervisor }
    }

    fn until<T>(&mut self, what: &str, look: impl Fn() -> Option<T>) -> T {
        wait_for(what, PATIENCE, || {
            self.supervisor.tick().unwrap();
            look()
        })
    }
}

/// A program that does nothing, in whose name a lease is held.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn calls(world: &World) -> Vec<Value> {
    let all = world.ask(&["escalations", "--open"])["escalations"].as_array().unwrap().clone();
    all.into_iter().filter(|call| call["kind"] == "not_acted").collect()
}

fn mortal() -> (World, String) {
    let rules = json!({ "mode": "off" });
    let world = World::with(
        &[("a", "obeys.sh"), ("b", "obeys.sh")],
        json!({ "operator": { "llm": rules, "interval_seconds": 1, "unhealthy_confirmations": 2 } }),
    );
    let run = world.run(&[]);
    (world, run)
}

fn kill(world: &World, run: &str, name: &str) {
    let session = world.agent(run, name)["session"].as_str().unwrap().to_owned();
    signal(world.record(&session, 1).agent_pid.unwrap(), "KILL");
}

#[test]
fn who_has_a_run_and_does_nothing_is_told_of_and_named_until_he_lets_go() {
    let (world, run) = mortal();
    let mut desk = Desk::new(&world);
    let sleeper = Sleeper(Command::new("sleep").arg("600").spawn().unwrap());
    let pid = sleeper.0.id();
    let start_time = desk.engine.processes.start_time(pid).unwrap();
    let holder = Holder { pid, start_time, ..desk.engine.holder("restart", "bo") };
    let lease = Lease::try_acquire(&desk.engine.home.run_lease(&run), holder).unwrap();
    let stopped = Stopped::for_certain(pid);
    kill(&world, &run, "a");
    let call = desk.until("the call", || calls(&world).pop());
    let reason = call["reason"].as_str().unwrap();
    for word in ["auto_restart", "a is dead", "restart by bo since", &format!("kill -CONT {pid}")] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    assert_eq!((&call["target"], &call["run_id"]), (&json!("lease"), &json!(run)));
    let told = world.metawsm(&["explain", "agent", "--run-id", &run, "a"]).is(0).stdout;
    assert!(told.contains("the run is busy: restart by bo"), "{told}");
    assert!(!told.contains("confirmed yet"), "{told}");
    let doctor = world.metawsm(&["doctor"]).is(1).stdout;
    assert!(doctor.contains(&format!("kill -CONT {pid}")) && doctor.contains("restart by bo"), "{doctor}");
    // It is one call, however often it is tried.
    kill(&world, &run, "b");
    desk.until("the other's end", || (world.agent(&run, "b")["status"] == "dead").then_some(()));
    for _ in 0..5 {
        desk.supervisor.tick().unwrap();
    }
    assert_eq!(world.metawsm(&["events", "--type", "escalation.opened"]).is(0).lines().len(), 1);
    drop((stopped, lease));
    desk.until("the restart", || (world.agent(&run, "a")["launch"] == 2).then_some(()));
    desk.until("its end", || calls(&world).is_empty().then_some(()));
    desk.supervisor.end();
    world.verified();
}

#[test]
fn a_lock_of_somebody_who_does_not_say_so_is_told_of_too() {
    let (world, run) = mortal();
    let mut desk = Desk::new(&world);
    let path = desk.engine.home.run_lease(&run);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    file.lock().unwrap();
    kill(&world, &run, "a");
    let call = desk.until("the call", || calls(&world).pop());
    assert!(call["reason"].as_str().unwrap().contains("does not say so"), "{call}");
    let told = world.metawsm(&["explain", "agent", "--run-id", &run, "a"]).is(0).stdout;
    assert!(told.contains("the run is busy") && !told.contains("confirmed yet"), "{told}");
    world.metawsm(&["doctor"]).is(1);
    // Who supervises next finds it as it is, and ends it once nobody is in the way.
    desk.supervisor.end();
    let mut desk = Desk::new(&world);
    desk.supervisor.tick().unwrap();
    assert_eq!(calls(&world).len(), 1);
    file.unlock().unwrap();
    desk.until("its end", || calls(&world).is_empty().then_some(()));
    desk.supervisor.end();
}

#[test]
fn a_command_that_takes_its_time_is_not_told_of() {
    assert_eq!(patience(Duration::from_secs(1)), Duration::from_secs(60));
    assert_eq!(patience(Duration::from_secs(15)), Duration::from_secs(75));
}

#[test]
fn who_has_a_completed_run_that_is_to_be_committed_by_rule_is_told_of_too() {
    let rules = json!({ "interval_seconds": 1, "rules": { "commit_ready": "act" } });
    let (world, run) = crate::committing::left(json!({ "operator": rules, "git_pr": { "mode": "auto" } }));
    let mut desk = Desk::new(&world);
    let holder = desk.engine.holder("restart", "bo");
    let lease = Lease::try_acquire(&desk.engine.home.run_lease(&run), holder).unwrap();
    let call = desk.until("the call", || calls(&world).pop());
    let reason = call["reason"].as_str().unwrap();
    assert!(reason.contains("commit_ready") && reason.contains("restart by bo"), "{call}");
    let looks = std::cell::Cell::new(0);
    desk.until("some more looks", || {
        looks.set(looks.get() + 1);
        assert_eq!(calls(&world).len(), 1, "it stands while he has it");
        (looks.get() > 20).then_some(())
    });
    drop(lease);
    desk.until("the commit", || {
        let commits = world.metawsm(&["events", "--type", "git.committed"]).is(0).lines();
        commits.into_iter().find(|event| event["payload"]["own"] == false)
    });
    desk.until("the end of the call", || calls(&world).is_empty().then_some(()));
    assert_eq!(world.metawsm(&["events", "--type", "escalation.opened"]).is(0).lines().len(), 1);
    drop(desk);
    world.verified();
}

//! The drill of deaths (spec 7, P3): by status, by signal, and with the launcher killed; none missed, none wrong, none
//! that was not.
//!
//! It takes twenty deaths; `DRILL_DEATHS` makes it more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

const TOGETHER: usize = 10;

fn deaths() -> usize {
    std::env::var("DRILL_DEATHS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// How one dies, and what is to be known of it: its status and its signal.
#[derive(Debug, Clone, Copy)]
enum Death {
    Status(i32),
    Signal(&'static str),
    Launcher,
}

const WAYS: [Death; 7] = [
    Death::Status(7),
    Death::Signal("KILL"),
    Death::Launcher,
    Death::Status(0),
    Death::Signal("TERM"),
    Death::Signal("USR1"),
    Death::Status(255),
];

impl Death {
    fn comes(self, world: &World, name: &str, session: &str, launch: u32) {
        let record = world.record(session, launch);
        match self {
            Self::Status(status) => world.order(name, 1, &format!("exit {status}")),
            Self::Signal(name) => signal(record.agent_pid.unwrap(), name),
            Self::Launcher => signal(record.launcher_pid, "KILL"),
        }
    }

    fn known(self) -> (Value, Value) {
        match self {
            Self::Status(status) => (json!(status), Value::Null),
            Self::Signal(name) => (Value::Null, json!(format!("SIG{name}"))),
            Self::Launcher => (Value::Null, Value::Null),
        }
    }
}

fn exits(world: &World) -> Vec<Value> {
    world.metawsm(&["events", "--type", "agent.exited"]).is(0).lines()
}

fn drill(agents: usize, total: usize) {
    let names: Vec<String> = (0..agents).map(|at| format!("a{at}")).collect();
    let crew: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "obeys.sh")).collect();
    let world =
        World::with(&crew, json!({ "operator": { "rules": { "auto_restart": "never", "auto_stop_stale": "never" } } }));
    let run = world.run(&[]);
    let live = world.spawn(&["--headless"]);
    // The last one of several lives on.
    let mortal = (agents - 1).max(1);
    let (mut died, mut launch) = (0, 1);
    while died < total {
        for name in &names[..mortal] {
            let way = WAYS[died % WAYS.len()];
            let session = world.agent(&run, name)["session"].as_str().unwrap().to_owned();
            way.comes(&world, name, &session, launch);
            died += 1;
            let ended = wait_for(&format!("the end of {name} by {way:?}"), PATIENCE, || {
                exits(&world).into_iter().skip(died - 1).find(|event| event["agent_name"] == *name)
            });
            assert_eq!(exits(&world).len(), died, "one event for one death, and no other");
            let exit = &ended["payload"]["exit"];
            let (status, by) = way.known();
            assert_eq!((&exit["status"], &exit["signal"]), (&status, &by), "{name} by {way:?}: {ended}");
        }
        if died < total {
            // Who is started anew reads its orders from the first on.
            for order in std::fs::read_dir(world.home().join("orders")).unwrap() {
                std::fs::remove_file(order.unwrap().path()).unwrap();
            }
            for name in &names[..mortal] {
                world.ask(&["restart", "--run-id", &run, "--agent", name]);
            }
            launch += 1;
        }
    }
    assert_eq!(exits(&world).len(), died);
    drop(live);
    world.verified();
}

#[test]
fn of_many_deaths_on_a_busy_server_none_is_missed_and_none_is_wrong() {
    drill(TOGETHER, deaths());
}

#[test]
fn of_the_deaths_of_a_lone_agent_none_is_missed_and_none_is_wrong() {
    drill(1, deaths() / 3);
}

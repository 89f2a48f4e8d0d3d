//! A clock that is set: nobody is quiet, stuck or dead for it, no lease is lost, no call is repeated. The supervisor is
//! in this process, by a clock that can be set; agents, tmux and commands are the real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use metawsm::domain::agent::{Agent, AgentStatus, Health};
use metawsm::domain::time::Moment;
use metawsm::services::engine::{Engine, Surroundings};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::supervisor::Supervisor;
use metawsm::store::ids::{Clock, SystemClock};
use serde_json::json;

use crate::harness::signal;
use crate::world::{World, wait_for};

/// The machine's clock, and by how many seconds it is off.
#[derive(Default)]
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Moment {
        Moment::from_millis(SystemClock.now().millis() + self.0.load(Ordering::SeqCst) * 1000)
    }
}

struct Desk {
    engine: Arc<Engine>,
    supervisor: Supervisor,
    clock: Arc<Set>,
    run: String,
}

impl Desk {
    fn new(world: &World, run: &str) -> Self {
        let clock = Arc::new(Set::default());
        let surroundings = Surroundings { program: env!("CARGO_BIN_EXE_metawsm").into(), ..Surroundings::of_process() };
        let home = Home::at(&world.home(), &HomeArgs::default());
        let engine = Arc::new(Engine::open_by(home, surroundings, Arc::<Set>::clone(&clock)).unwrap());
        let supervisor = Supervisor::try_new(&engine).unwrap().unwrap();
        Self { engine, supervisor, clock, run: run.to_owned() }
    }

    fn set(&self, seconds: i64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
    }

    /// Looks around until it is so.
    fn until(&mut self, what: &str, fits: impl Fn(&Self) -> bool) {
        wait_for(what, Duration::from_secs(30), || {
            self.supervisor.tick().unwrap();
            fits(self).then_some(())
        });
    }

    /// Looks around for a while.
    fn looks(&mut self, span: Duration) {
        let until = Instant::now() + span;
        self.until("a while to pass", |_| Instant::now() >= until);
    }

    fn agent(&self, name: &str) -> Agent {
        let agents = self.engine.reader().unwrap().agents(&self.run).unwrap();
        agents.into_iter().find(|agent| agent.key.name == name).unwrap()
    }

    fn stands(&self, name: &str) -> (AgentStatus, Health) {
        let agent = self.agent(name);
        (agent.status, agent.health)
    }
}

fn told(world: &World, kind: &str) -> Vec<serde_json::Value> {
    world.metawsm(&["events", "--type", kind]).is(0).lines()
}

#[test]
fn a_clock_that_is_set_an_hour_forward_and_back_changes_nothing_about_anybody() {
    let health = json!({ "idle_seconds": 600, "activity_stalled_seconds": 900, "progress_stalled_seconds": 1200 });
    let crew = ["silent", "prints", "quiet", "asks"];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents/obeys.sh");
    let profile = |name: &str| {
        json!({
            "name": format!("of-{name}"), "runner": "shell", "health": health,
            "runner_options": { "command": ["sh", script] },
        })
    };
    let world = World::with(
        &crew.map(|name| (name, "obeys.sh")),
        json!({ "agent_profiles": crew.map(profile), "operator": { "interval_seconds": 1 } }),
    );
    let run = world.run(&[]);
    world.order("prints", 1, "while :; do date; sleep 0.3; done");
    world.ask(&["agent", "quiet", "--run-id", &run, "--agent", "quiet", "--for", "30m", "--reason", "a build"]);
    world.order("asks", 1, "\"$METAWSM_BIN\" forum ask --wait --timeout 5m --title 'which?' --body b > answer");
    let mut desk = Desk::new(&world, &run);
    desk.until("the question to be seen", |desk| desk.stands("asks").1 == Health::Idle);
    desk.until("the call", |_| told(&world, "escalation.opened").len() == 1);
    desk.until("all to be seen", |desk| {
        ["silent", "prints", "quiet"].iter().all(|name| desk.stands(name) == (AgentStatus::Running, Health::Healthy))
    });
    let before = told(&world, "agent.*").len();
    for set in [3600, 0, -3600, 3600, 0] {
        desk.set(set);
        desk.looks(Duration::from_secs(3));
        for name in ["silent", "prints", "quiet"] {
            let agent = desk.agent(name);
            assert_eq!((agent.status, agent.health), (AgentStatus::Running, Health::Healthy), "{set}: {agent:?}");
        }
        assert_eq!(desk.stands("asks"), (AgentStatus::Idle, Health::Idle));
    }
    let after = told(&world, "agent.*");
    assert_eq!(after.len(), before, "{:?}", &after[before..]);
    assert_eq!(told(&world, "lease.lost").len(), 0);
    assert_eq!(told(&world, "escalation.opened").len(), 1);
    // It calls again where a period is over by the clock, or nobody knows how much of it is; not at each look.
    assert!(told(&world, "escalation.notified").len() <= 5, "{:?}", told(&world, "escalation.notified"));
    // By a clock that was set back, a look that is still to come is none.
    desk.set(3600);
    desk.looks(Duration::from_millis(500));
    assert_eq!(world.agent(&run, "prints")["health"], "unknown");
    // An end is seen whatever the clock says.
    desk.set(-3600);
    desk.looks(Duration::from_millis(200));
    let session = desk.agent("silent").spec.session;
    let policy = json!({ "operator": { "rules": { "auto_restart": "never" } }, "agent_profiles": crew.map(profile) });
    world.policy(&crew.map(|name| (name, "obeys.sh")), policy);
    signal(world.record(&session, 1).launcher_pid, "KILL");
    desk.until("its end", |desk| desk.stands("silent").0 == AgentStatus::Dead);
    desk.supervisor.end();
    world.verified();
}

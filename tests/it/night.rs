//! A night: agents that die, hang, ask and finish, in every mode of the operator, while supervisors are killed again
//! and again. In the morning the journal tells one story, and it is what happened (spec 2.7).
//!
//! `DRILL_NIGHT` sets how many supervisors are killed in each, `DRILL_SEED` the dice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

/// Fifty in the three modes together.
const KILLS: u64 = 17;
const BUDGET: usize = 2;

const DIES: &str = "sleep 0.4; kill -9 $$";
const FAILS: &str = "sleep 0.2; exit 3";
const HANGS: &str = "exec sleep 600";
const ASKS: &str =
    r#""$METAWSM_BIN" forum ask --wait --timeout 120s --title "Which way?" --body "left or right" > /dev/null"#;
const ENDS: &str = r#""$METAWSM_BIN" forum signal --type completion --summary "done" > /dev/null"#;

/// What each does in its lives.
const CREW: [(&str, &[&str]); 5] = [
    ("coder", &[DIES, FAILS, ENDS]),
    ("tester", &[FAILS, ENDS]),
    ("doomed", &[DIES, FAILS, DIES, FAILS, DIES, FAILS, DIES]),
    ("hanger", &[HANGS, HANGS, ENDS]),
    ("asker", &[]),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A number below `sides`.
fn roll(dice: &mut u64, sides: u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    (*dice >> 1) % sides
}

struct Night {
    world: World,
    mode: &'static str,
    run: String,
    dice: u64,
}

impl Night {
    fn new(mode: &'static str) -> Self {
        let world = World::new(&[]);
        let path = format!("{}/tests/fixtures/agents/lives.sh", env!("CARGO_MANIFEST_DIR"));
        let profile = |(name, _): &(&str, _)| {
            let soon = i32::from(*name == "hanger");
            json!({
                "name": name, "runner": "shell", "runner_options": { "command": ["sh", path] },
                "health": { "idle_seconds": 0, "activity_stalled_seconds": soon, "progress_stalled_seconds": soon },
            })
        };
        let adviser = world.root.join("adviser.sh");
        let says = r#"sleep 0.$(($$ % 5)); echo 'Let me see. {"intent":"noop","confidence":0.9}'"#;
        std::fs::write(&adviser, format!("{says}\n")).unwrap();
        let more = json!({
            "agent_profiles": CREW.iter().map(profile).collect::<Vec<_>>(),
            "agents": CREW.iter().map(|(name, _)| json!({ "name": name, "profile": name })).collect::<Vec<_>>(),
            "operator": {
                "interval_seconds": 1, "unhealthy_confirmations": 1,
                "restart_budget": BUDGET, "restart_cooldown_seconds": 1,
                "llm": {
                    "mode": mode, "command": ["sh", adviser.display().to_string()], "args": ["{prompt}"],
                    "timeout_seconds": 2, "min_interval_seconds": 1,
                },
            },
        });
        world.policy(&[], more);
        for (name, lives) in CREW {
            let asks = [format!("{ASKS}; {FAILS}"), format!("{ASKS}; {ENDS}")];
            let lives =
                if lives.is_empty() { asks.to_vec() } else { lives.iter().map(|&life| life.to_owned()).collect() };
            std::fs::write(world.home().join("orders").join(name), lives.join("\n") + "\n").unwrap();
        }
        let run = world.run(&[]);
        let seed = number("DRILL_SEED", 1) * 31 + u64::from(mode.as_bytes()[1]);
        Self { world, mode, run, dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        roll(&mut self.dice, sides)
    }

    /// Two who want to supervise, of whom one or both are killed again and again, with a human who comes by.
    fn killed_again_and_again(&mut self) {
        let mut seats = [self.world.spawn(&["--headless"]), self.world.spawn(&["--headless"])];
        let mut killed = 0;
        while killed < number("DRILL_NIGHT", KILLS) {
            // Some are killed before they hold the lease, most in the middle of something.
            std::thread::sleep(Duration::from_millis(20 + self.roll(700)));
            let (first, both) = (usize::try_from(self.roll(2)).unwrap(), self.roll(3) == 0);
            for seat in seats.iter_mut().skip(if both { 0 } else { first }).take(if both { 2 } else { 1 }) {
                seat.signal("KILL");
                assert_eq!(seat.ended(), -9, "{}", seat.errors());
                *seat = self.world.spawn(&["--headless"]);
                killed += 1;
            }
            if self.roll(3) == 0 {
                self.human(true);
            }
        }
    }

    fn listed(&self, what: &str) -> Vec<Value> {
        self.world.ask(&[what, "--open"])[what].as_array().unwrap().clone()
    }

    /// Somebody answers what is asked, and decides about what is offered; moody ones leave some of it.
    fn human(&mut self, moody: bool) {
        for offer in self.listed("suggestions") {
            if moody && self.roll(3) == 0 {
                continue;
            }
            let id = offer["suggestion_id"].as_str().unwrap();
            // Its cause may have gone meanwhile: then it is withdrawn.
            let status = self.world.metawsm(&["suggestions", "accept", id]).status;
            assert!([0, 4].contains(&status), "accept: {status}");
        }
        for call in self.listed("escalations") {
            let id = call["escalation_id"].as_str().unwrap();
            match (call["kind"].as_str().unwrap(), call["thread_id"].as_str()) {
                ("guidance", Some(thread)) if !moody || self.roll(2) == 0 => {
                    let args = ["forum", "answer", "--thread-id", thread, "--body", "left"];
                    let status = self.world.metawsm(&args).status;
                    assert!([0, 4].contains(&status), "answer: {status}");
                }
                _ if moody && self.roll(4) == 0 => {
                    self.world.metawsm(&["escalations", "ack", id]);
                }
                _ => {}
            }
        }
    }

    fn agent(&self, name: &str) -> Value {
        self.world.agent(&self.run, name)
    }

    /// One supervisor that stays, and a human who looks after what is left, until nothing is.
    fn morning(&mut self) {
        let _supervisor = self.world.spawn(&["--headless"]);
        wait_for("nothing to go on by itself", 2 * PATIENCE, || {
            self.human(false);
            (self.world.run_status(&self.run) == "failed").then_some(())
        });
        let left: Vec<&str> =
            CREW.iter().map(|(name, _)| *name).filter(|name| self.agent(name)["status"] != "done").collect();
        assert_eq!(left, ["doomed"]);
        wait_for("a call to it", PATIENCE, || {
            self.listed("escalations").iter().find(|call| call["kind"] == "failed").cloned()
        });
        std::fs::write(self.world.home().join("orders/doomed"), format!("{ENDS}\n").repeat(10)).unwrap();
        self.world.ask(&["resume"]);
        self.world.until_run(&self.run, "completed");
        wait_for("no call that has no cause", PATIENCE, || self.listed("escalations").is_empty().then_some(()));
    }

    fn story(&self) {
        let events = self.world.verified();
        let story = Story { events: &events, mode: self.mode };
        story.lives(&self.world);
        story.restarts();
        story.causes();
        story.decisions();
        story.reported(&self.world);
    }
}

/// What the journal tells.
struct Story<'a> {
    events: &'a [Value],
    mode: &'a str,
}

impl<'a> Story<'a> {
    fn of(&self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event_type"] == kind)
    }

    fn about(&self, agent: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["agent_name"] == agent)
    }

    /// Each life was started once, and ended once at most.
    fn lives(&self, world: &World) {
        for (name, _) in CREW {
            let started: Vec<u64> = self
                .about(name)
                .filter(|event| event["event_type"] == "agent.transitioned")
                .filter_map(|event| event["payload"]["launch"].as_u64())
                .collect();
            let numbers: Vec<u64> = (1..=u64::try_from(started.len()).unwrap()).collect();
            assert_eq!(started, numbers, "{name}");
            let lived = std::fs::read_to_string(world.home().join(format!("orders/{name}.lives"))).unwrap();
            assert_eq!(lived.lines().count(), started.len(), "{name} was started as often as the journal says");
            let ended = self.about(name).filter(|event| event["event_type"] == "agent.exited");
            let ended: Vec<u64> = ended.filter_map(|event| event["payload"]["launch"].as_u64()).collect();
            assert_eq!(ended.iter().collect::<BTreeSet<_>>().len(), ended.len(), "{name} ended once a life: {ended:?}");
        }
    }

    /// Restarts by rule keep budget and cooldown, come of something, and are journaled with who decided.
    fn restarts(&self) {
        let (mut last, mut by_human) = (BTreeMap::<&str, (usize, i64, i64)>::new(), 0);
        for restart in self.of("agent.restarted") {
            let agent = restart["agent_name"].as_str().unwrap();
            let at = millis(&restart["occurred_at"]);
            let acted = self.of("operator.acted").filter(|acted| {
                acted["correlation_id"] == restart["correlation_id"] && acted["agent_name"] == restart["agent_name"]
            });
            if acted.count() == 0 {
                assert_eq!(restart["actor_type"], "human", "who decided {restart}");
                by_human += 1;
                continue;
            }
            let (used, before, rests_until) = last.get(agent).copied().unwrap_or((0, 0, 0));
            assert!(used < BUDGET, "more restarts than there are: {restart}");
            // A human who accepts does not wait.
            assert!(self.mode == "assist" || at >= rests_until, "too soon, by {} ms: {restart}", rests_until - at);
            last.insert(agent, (used + 1, at, millis(&restart["payload"]["cooldown_until"])));
            let fell = self.about(agent).filter(|event| {
                let when = millis(&event["occurred_at"]);
                let to = event["payload"]["to"].as_str().unwrap_or_default();
                before <= when && when <= at && ["dead", "failed", "stalled"].contains(&to)
            });
            assert!(fell.count() > 0, "nothing was wrong: {restart}");
        }
        assert_eq!(by_human, 1, "the doomed one was taken up once");
        assert_eq!(last.get("doomed").map(|(used, ..)| *used), Some(BUDGET), "{last:?}");
        for acted in self.of("operator.acted").filter(|_| self.mode == "assist") {
            let taken = |event: &&Value| {
                event["correlation_id"] == acted["correlation_id"] && event["payload"]["to"] == "accepted"
            };
            assert_eq!(self.of("operator.suggestion_settled").filter(taken).count(), 1, "nobody wanted {acted}");
        }
        let offers = self.of("operator.suggested").count();
        assert_eq!(offers > 0, self.mode == "assist", "{offers} suggestions");
        assert_eq!(self.of("operator.advised").count() > 0, self.mode != "off", "who asks an adviser");
    }

    /// One escalation and one suggestion a cause.
    fn causes(&self) {
        for (kind, id) in [("escalation.opened", "escalation_id"), ("operator.suggested", "suggestion_id")] {
            let mut known: BTreeMap<String, &Value> = BTreeMap::new();
            for event in self.of(kind) {
                let payload = &event["payload"];
                let about = [&payload["kind"], &payload["intent"], &payload["target"], &payload["cause"]];
                let first = known.entry(format!("{about:?}")).or_insert(&payload[id]);
                assert_eq!(*first, &payload[id], "twice for one cause: {event}");
            }
        }
        assert!(self.of("escalation.opened").any(|event| event["payload"]["kind"] == "guidance"));
    }

    /// No decision is written down twice in a row.
    fn decisions(&self) {
        let mut last: BTreeMap<&str, Value> = BTreeMap::new();
        for event in self.of("operator.decided") {
            let payload = &event["payload"];
            let says = json!([payload["intent"], payload["action"], payload["cause"], payload["due_at"]]);
            let before = last.insert(payload["target"].as_str().unwrap(), says.clone());
            assert_ne!(before, Some(says), "said before: {event}");
        }
        assert!(!last.is_empty());
    }

    /// The report counts what the journal holds.
    fn reported(&self, world: &World) {
        let report = world.ask(&["report", "--since", "1d"])["report"].clone();
        let sum = |key: &str| {
            let rows = report["restarted"].as_array().unwrap().iter();
            rows.map(|row| usize::try_from(row[key].as_u64().unwrap()).unwrap()).sum::<usize>()
        };
        assert_eq!(
            sum("by_rule") + sum("free") + sum("accepted") + sum("by_human"),
            self.of("agent.restarted").count(),
            "{report}"
        );
        let calls: BTreeSet<String> =
            self.of("escalation.opened").map(|event| event["payload"]["escalation_id"].to_string()).collect();
        assert_eq!(report["operator"]["called"].as_u64(), u64::try_from(calls.len()).ok(), "{report}");
        let settled = |key: &str| report["operator"][key].as_u64().unwrap();
        assert_eq!(settled("eased") + settled("settled"), settled("called"), "each call ended: {report}");
        for list in ["stuck", "waiting"] {
            assert_eq!(report[list], json!([]), "{list}");
        }
    }
}

fn millis(moment: &Value) -> i64 {
    metawsm::domain::time::Moment::parse(moment.as_str().unwrap()).unwrap().millis()
}

fn night(mode: &'static str) {
    let mut night = Night::new(mode);
    night.killed_again_and_again();
    night.morning();
    night.story();
}

#[test]
fn a_night_of_rules_that_act() {
    night("off");
}

#[test]
fn a_night_of_rules_that_suggest() {
    night("assist");
}

#[test]
fn a_night_with_an_adviser() {
    night("auto");
}

//! What must not change anything: another supervisor, a policy that is broken for a while, a start that does not come
//! through (spec 2.2, 2.7, 3 "Exit status").

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

fn told(world: &World, kind: &str) -> Vec<Value> {
    world.metawsm(&["events", "--type", kind]).is(0).lines()
}

fn restarts(world: &World) -> usize {
    told(world, "agent.restarted").len()
}

/// Whose agent is looked after by rules that are quick about it.
fn quick(script: &str, more: Value) -> World {
    let world = World::new(&[]);
    let path = format!("{}/tests/fixtures/agents/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut profile = json!({
        "name": "p", "runner": "shell", "runner_options": { "command": ["sh", path] },
        "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
    });
    crate::world::merge(&mut profile, more);
    let quick = json!({
        "agent_profiles": [profile],
        "agents": [{ "name": "coder", "profile": "p" }],
        "operator": { "interval_seconds": 1, "unhealthy_confirmations": 1, "restart_budget": 2, "restart_cooldown_seconds": 1 },
    });
    world.policy(&[], quick);
    world
}

#[test]
fn another_supervisor_takes_nothing_back_and_calls_nobody_again() {
    let world = quick("ticks.sh", json!({ "health": { "progress_stalled_seconds": 1 } }));
    let policy = std::fs::read_to_string(world.home().join(".metawsm/policy.json")).unwrap();
    let never = policy.replacen("\"operator\":{", "\"operator\":{\"rules\":{\"auto_restart\":\"never\"},", 1);
    assert_ne!(policy, never);
    std::fs::write(world.home().join(".metawsm/policy.json"), never).unwrap();
    let run = world.run(&[]);
    let mut supervisor = world.spawn(&["--headless"]);
    wait_for("a call", PATIENCE, || told(&world, "escalation.opened").pop());
    for signal in ["KILL", "TERM", "KILL"] {
        supervisor.signal(signal);
        supervisor.ended();
        supervisor = world.spawn(&["--headless"]);
        wait_for("another supervisor", PATIENCE, || {
            world.ask(&["runs"])["supervisor"]["pid"].as_u64().filter(|pid| *pid == u64::from(supervisor.pid()))
        });
        // What git says of its worktree is known to the new one, too, by then.
        wait_for("its verdict", PATIENCE, || {
            let told = world.ask(&["explain", "agent", "coder"]).to_string();
            told.contains("no progress for").then_some(())
        });
        world.until_looked_at(&run, "coder");
    }
    assert_eq!(told(&world, "escalation.opened").len(), 1);
    assert_eq!(told(&world, "escalation.resolved").len(), 0);
    let stalls = told(&world, "agent.transitioned");
    assert_eq!(stalls.iter().filter(|event| event["payload"]["to"] == "stalled").count(), 1, "{stalls:?}");
}

#[test]
fn a_start_that_does_not_come_through_is_tried_as_often_as_there_are_restarts() {
    let world = quick("obeys.sh", json!({}));
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    let status = world.ask(&["status", "--run-id", &run]);
    std::fs::remove_dir_all(status["run"]["workspaces"][0]["path"].as_str().unwrap()).unwrap();
    world.order("coder", 1, "kill -9 $$");
    world.until_run(&run, "failed");
    assert_eq!(restarts(&world), 2);
    assert_eq!(world.agent(&run, "coder")["restarts"]["used"], 2);
    let reason = world.ask(&["status", "--run-id", &run])["run"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.ends_with("no restart left"), "{reason}");
}

#[test]
fn while_the_policy_is_broken_the_last_good_one_holds_with_all_it_says() {
    let world = quick("obeys.sh", json!({ "env": { "TOLD": "by the policy" } }));
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "coder");
    std::fs::write(world.home().join(".metawsm/policy.json"), "{\"version\":3, oops").unwrap();
    world.order("coder", 1, "rm -f \"$METAWSM_HOME/orders/coder-1\"; kill -9 $$");
    wait_for("its second life", PATIENCE, || (world.agent(&run, "coder")["launch"] == 2).then_some(()));
    world.until_agent(&run, "coder", "running");
    world.order("coder", 1, "echo \"$TOLD\" > \"$METAWSM_HOME/told\"");
    let said = wait_for("its word", PATIENCE, || {
        std::fs::read_to_string(world.home().join("told")).ok().filter(|text| !text.is_empty())
    });
    assert_eq!(said, "by the policy\n");
    assert_eq!(restarts(&world), 1);
}

//! What is left of an agent when it ends otherwise than it should: it is found, ended, and keeps no news from anybody
//! (spec 2.4, 7).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::time::Duration;

use metawsm::domain::actor::Actor;
use metawsm::domain::time::Moment;
use metawsm::services::engine::Caller;
use metawsm::services::home::Home;
use metawsm::services::process::default_table;
use metawsm::services::snapshot::{Source, Trouble};
use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

fn world(grace: u32) -> World {
    let rules = json!({ "auto_restart": "never", "auto_stop_stale": "never" });
    World::with(
        &[("coder", "obeys.sh")],
        json!({ "operator": { "rules": rules }, "tmux": { "stop_grace_seconds": grace } }),
    )
}

/// A process that the agent began and that wrote down its number, with when it began.
fn begun(world: &World, name: &str) -> (u32, u64) {
    wait_for(&format!("the process {name}"), PATIENCE, || {
        let text = std::fs::read_to_string(world.root.join(name)).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        default_table().start_time(pid).map(|start| (pid, start))
    })
}

fn lives((pid, start): (u32, u64)) -> bool {
    default_table().alive(pid, start)
}

fn is_gone(what: &str, life: (u32, u64)) {
    wait_for(&format!("the end of {what}"), PATIENCE, || (!lives(life)).then_some(()));
}

fn exit(world: &World) -> Value {
    wait_for("the end of the agent", PATIENCE, || {
        let ended = world.metawsm(&["events", "--type", "agent.exited"]).is(0).lines();
        ended.into_iter().next().map(|event| event["payload"]["exit"].clone())
    })
}

fn looked_at(world: &World, run: &str) {
    wait_for("the first look", PATIENCE, || world.agent(run, "coder")["pid"].is_number().then_some(()));
}

#[test]
fn what_does_not_want_to_die_keeps_nobody_from_knowing_that_its_agent_did() {
    let world = world(60);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let path = world.root.join("stubborn");
    let stubborn = format!("sh -c 'trap \"\" TERM HUP; echo $$ > {}; while :; do sleep 0.1; done' &", path.display());
    world.order("coder", 1, &stubborn);
    let stubborn = begun(&world, "stubborn");
    looked_at(&world, &run);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    signal(world.record(&session, 1).launcher_pid, "KILL");
    let ended = exit(&world);
    assert_eq!((&ended["status"], &ended["signal"]), (&Value::Null, &Value::Null), "nobody knows how: {ended}");
    assert!(lives(stubborn), "its minute is not over");
    signal(stubborn.0, "KILL");
    is_gone("what it left", stubborn);
}

#[test]
fn what_gave_up_its_session_and_its_environment_is_ended_with_its_launch() {
    let world = world(1);
    let run = world.run(&[]);
    let path = world.root.join("stray");
    let stray = format!("(env -i setsid /bin/sh -c 'echo $$ > {}; exec sleep 600' &)", path.display());
    world.order("coder", 1, &stray);
    let stray = begun(&world, "stray");
    let _live = world.spawn(&["--headless"]);
    looked_at(&world, &run);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    signal(world.record(&session, 1).launcher_pid, "KILL");
    exit(&world);
    is_gone("what went its own way", stray);
}

#[test]
fn who_outlives_its_tmux_server_is_ended_and_told_of() {
    let world = world(1);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.order("coder", 1, "trap '' HUP TERM; echo deaf");
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "deaf");
    looked_at(&world, &run);
    let record = world.record(&session, 1);
    signal(record.server_pid.unwrap(), "KILL");
    let ended = exit(&world);
    assert_eq!(ended["signal"], "SIGKILL");
    assert!(ended["server_lost"].is_string(), "{ended}");
    is_gone("its program", (record.agent_pid.unwrap(), record.agent_start.unwrap()));
    wait_for("the call", PATIENCE, || {
        let all = world.ask(&["escalations"]);
        all["escalations"].as_array()?.iter().any(|call| call["kind"] == "tmux_server_lost").then_some(())
    });
    // A plan that was carried out starts nobody again, and who asks for it is told what does.
    let told = world.metawsm(&["resume", "--run-id", &run]).is(0).stdout;
    assert!(told.contains(&format!("down: coder; metawsm restart --run-id {run}")), "{told}");
}

fn findings(world: &World, args: &[&str]) -> Vec<Value> {
    let out = world.metawsm(&[&["doctor", "--json"], args].concat()).json();
    let all = out["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["name"] == "sessions").cloned().collect()
}

#[test]
fn a_session_under_another_name_is_no_orphan() {
    let world = world(1);
    let run = world.run(&[]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    let record = world.record(&session, 1);
    world.tmux(&["rename-session", "-t", &format!("={session}"), "mine"]);
    let found = findings(&world, &["--repair"]);
    assert_eq!(found[0]["message"], format!("session mine is that of agent coder of run {run}, renamed"));
    let mend = found[0]["mend"].as_str().unwrap().to_owned();
    assert!(lives((record.agent_pid.unwrap(), record.agent_start.unwrap())), "nothing of it was ended");
    let out = world.command("sh").args(["-c", &mend]).output().unwrap();
    assert!(out.status.success(), "{mend}");
    assert_eq!(findings(&world, &[])[0]["message"], "every session belongs to an open run");
}

#[test]
fn a_program_that_outlived_its_launch_is_found() {
    let world = world(1);
    let run = world.run(&[]);
    world.order(
        "coder",
        1,
        &format!("setsid sh -c 'echo $$ > {}; exec sleep 600' &", world.root.join("left").display()),
    );
    let left = begun(&world, "left");
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    let record = world.record(&session, 1);
    assert_eq!(findings(&world, &[])[0]["message"], "every session belongs to an open run");
    signal(record.launcher_pid, "KILL");
    signal(record.agent_pid.unwrap(), "KILL");
    is_gone("its program", (record.agent_pid.unwrap(), record.agent_start.unwrap()));
    let wanted = format!("process {} is of launch 1 of agent coder of run {run}, which is over", left.0);
    let found = findings(&world, &[]);
    assert!(found.iter().any(|finding| finding["message"] == wanted), "{found:?}");
    signal(left.0, "KILL");
}

#[test]
fn a_tmux_server_that_was_stopped_is_named_with_what_ends_nobody() {
    let world = world(1);
    let run = world.run(&[]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    let server = world.record(&session, 1).server_pid.unwrap();
    signal(server, "STOP");
    let found = findings(&world, &[]);
    signal(server, "CONT");
    assert_eq!(found[0]["message"], format!("the tmux server (process {server}) does not answer; its agents live"));
    assert!(found[0]["mend"].as_str().unwrap().starts_with(&format!("kill -CONT {server} ")), "{found:?}");
}

#[test]
fn agents_in_nobodys_name_cannot_commit() {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.run(&[]);
    world.git(&world.shop(), &["config", "--remove-section", "user"]);
    let mut command = world.program(&["doctor", "--json"]);
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"] {
        command.env_remove(name);
    }
    let config = world.root.join("nobody");
    std::fs::write(&config, "[user]\nuseConfigOnly = true\n").unwrap();
    command.env("GIT_CONFIG_GLOBAL", &config).env("GIT_CONFIG_SYSTEM", "/dev/null");
    let found = world.output(command, "").is(1).json();
    let runner = found["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == "runners").unwrap();
    let message = runner["message"].as_str().unwrap();
    assert!(message.starts_with("profile ") && message.contains("its agents cannot commit: "), "{message}");
    assert!(runner["mend"].as_str().unwrap().starts_with("git config --global user.name"), "{runner}");
}

#[test]
fn a_supervisor_that_hangs_is_said_with_its_process_and_what_it_saw_is_not_known() {
    let world = world(1);
    let run = world.run(&[]);
    let live = world.spawn(&["--headless"]);
    looked_at(&world, &run);
    let well = |world: &World| world.ask(&["status", "--run-id", &run])["run"]["counts"]["healthy"].clone();
    assert_eq!(well(&world), 1);
    signal(live.pid(), "STOP");
    let caller = Caller { actor: Actor::human("ada"), identity: None };
    let home = Home::at(&world.home(), &Default::default());
    let stopped_at =
        Moment::parse(world.ask(&["status", "--run-id", &run])["supervisor"]["last_seen_at"].as_str().unwrap());
    let stopped_at = stopped_at.unwrap();
    let mut source = Source::open(&home, &caller).unwrap();
    let mut troubles = |seconds: u64| source.facts(&[], stopped_at.plus(Duration::from_secs(seconds))).troubles;
    assert_eq!(troubles(4), [Trouble::Elsewhere(live.pid())].into());
    assert_eq!(troubles(6), [Trouble::Hangs(live.pid(), stopped_at)].into());
    wait_for("what it saw to be too old", PATIENCE, || (well(&world) == 0).then_some(()));
    signal(live.pid(), "CONT");
    wait_for("it to go on", PATIENCE, || (well(&world) == 1).then_some(()));
}

#[test]
fn a_decision_about_what_has_changed_since_is_told_as_such() {
    let world = world(1);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    looked_at(&world, &run);
    world.order("coder", 1, "exit 3");
    let operator = |world: &World| {
        let told = world.metawsm(&["explain", "agent", "coder", "--run-id", &run]).is(0).stdout;
        told.lines().find(|line| line.contains("rule 4")).map(str::to_owned)
    };
    let decided = wait_for("the decision", PATIENCE, || operator(&world));
    assert!(!decided.contains("it has changed since"), "{decided}");
    std::fs::remove_file(world.home().join("orders/coder-1")).unwrap();
    world.ask(&["restart", "--run-id", &run, "--agent", "coder"]);
    wait_for("the decision to be over", PATIENCE, || operator(&world)?.contains("it has changed since").then_some(()));
}

//! Crash drills: wherever a process is killed, the next one ends up at the same place and nothing is done twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metawsm::domain::actor::Actor;
use metawsm::services::engine::{Caller, Engine, Surroundings};
use metawsm::services::executor::{Checkpoint, Outcome, execute, no_drill};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::planning::Request;
use metawsm::services::process::default_table;
use metawsm::services::tickets;
use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

/// An engine in this process, on the home of a world and with its environment.
pub fn engine(world: &World) -> Engine {
    let command = world.command("x");
    let variables: BTreeMap<String, String> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())))
        .collect();
    let surroundings = Surroundings {
        variables,
        user_home: Some(world.root.join("user")),
        tmux_tmpdir: None,
        program: env!("CARGO_BIN_EXE_metawsm").into(),
    };
    Engine::open(Home::at(&world.home(), &HomeArgs::default()), surroundings).unwrap()
}

pub fn caller() -> Caller {
    Caller { actor: Actor::human("tester"), identity: None }
}

fn create(world: &World, engine: &Engine) -> String {
    let loaded = engine.home.load_policy(&[]).unwrap();
    let request = Request {
        tickets: vec!["T-1".to_owned()],
        repos: vec![world.shop().display().to_string()],
        ..Request::default()
    };
    engine.create_run(&caller(), &loaded, &request).unwrap()
}

/// What must hold of a run whose plan is executed, however often it was begun.
#[track_caller]
fn whole(world: &World, run: &str, agents: usize, what: &str) {
    let status = world.ask(&["status", "--run-id", run]);
    assert_eq!(status["run"]["status"], "running", "{what}: {status}");
    let steps = status["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3 + agents, "{what}");
    assert!(steps.iter().all(|step| step["status"] == "done"), "{what}: {steps:?}");
    let rows = status["agents"].as_array().unwrap();
    assert!(rows.iter().all(|agent| agent["status"] == "running" && agent["launch"] == 1), "{what}: {rows:?}");
    let mut sessions: Vec<&str> = rows.iter().map(|agent| agent["session"].as_str().unwrap()).collect();
    sessions.sort_unstable();
    assert_eq!(world.sessions(), sessions, "{what}");
    for session in sessions {
        let record = world.record(session, 1);
        let marker = format!("METAWSM_HOME={}", world.home().display());
        let programs: Vec<u32> =
            World::marked(&marker).into_iter().filter(|pid| parent(*pid) == Some(record.launcher_pid)).collect();
        assert_eq!(programs, [record.agent_pid.unwrap()], "{what}: one program in {session}");
    }
    assert_eq!(world.git(&world.shop(), &["worktree", "list"]).lines().count(), 2, "{what}: one worktree");
    assert_eq!(world.git(&world.shop(), &["branch", "--format=%(refname)"]).lines().count(), 2, "{what}: one branch");
    assert_eq!(status["diffs"][0]["dirty"], json!([]), "{what}: what we wrote is known as ours");
    let docs = world.git(&world.tree(run), &["ls-files", "-o", "--exclude-standard", "ttmp"]);
    assert_eq!(docs.lines().filter(|file| file.ends_with("index.md")).count(), 1, "{what}: {docs}");
    let events = world.verified();
    let count = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((count("run.created"), count("workspace.created"), count("docs.seeded")), (1, 1, 1), "{what}");
    let done = |event: &&Value| event["event_type"] == "step.transitioned" && event["payload"]["to"] == "done";
    assert_eq!(events.iter().filter(done).count(), 3 + agents, "{what}: each step was done once");
    let started = |event: &&Value| event["event_type"] == "agent.transitioned" && event["payload"]["to"] == "running";
    assert_eq!(events.iter().filter(started).count(), agents, "{what}: each agent was started once");
}

fn parent(pid: u32) -> Option<u32> {
    default_table().list().into_iter().find(|proc| proc.pid == pid).map(|proc| proc.ppid)
}

fn drilled(step: u32, point: Checkpoint) {
    let world = World::new(&[("coder", "obeys.sh")]);
    let what = format!("step {step}, {point:?}");
    let run = {
        let engine = engine(&world);
        let run = create(&world, &engine);
        let lease = engine.lease_run(&run, "drill", &caller()).unwrap();
        let hit = AtomicBool::new(false);
        let drill = |at: u32, now: Checkpoint| {
            let here = at == step && now == point;
            hit.fetch_or(here, Ordering::SeqCst);
            !here
        };
        let outcome = execute(&engine, &caller(), &run, &Arc::default(), &drill).unwrap();
        assert_eq!(outcome, Outcome::Interrupted, "{what}");
        assert!(hit.load(Ordering::SeqCst), "{what} was never reached");
        drop(lease);
        run
    };
    // Another process, as after a crash: nothing of the first is known but what it left.
    let engine = engine(&world);
    let lease = engine.lease_run(&run, "drill", &caller()).unwrap();
    let outcome = execute(&engine, &caller(), &run, &Arc::default(), &no_drill).unwrap();
    assert_eq!(outcome, Outcome::Done, "{what}");
    whole(&world, &run, 1, &what);
    // And once more, where there is nothing left to do.
    assert_eq!(execute(&engine, &caller(), &run, &Arc::default(), &no_drill).unwrap(), Outcome::Done);
    drop(lease);
    whole(&world, &run, 1, &what);
}

#[test]
fn a_crash_in_the_first_half_of_the_plan_is_carried_on() {
    for step in [1, 2] {
        for point in [Checkpoint::Begun, Checkpoint::Effected, Checkpoint::Ended] {
            drilled(step, point);
        }
    }
}

#[test]
fn a_crash_in_the_second_half_of_the_plan_is_carried_on() {
    for step in [3, 4] {
        for point in [Checkpoint::Begun, Checkpoint::Effected, Checkpoint::Ended] {
            drilled(step, point);
        }
    }
}

#[test]
fn a_seeding_that_was_killed_before_it_could_say_so_is_finished_and_known_as_ours() {
    // As much as a killed attempt may have written, on another day: the bare directory, some of it, all but the word.
    for written in [&[][..], &["tasks.md"], &["index.md", "tasks.md", "changelog.md"]] {
        let world = World::new(&[("coder", "obeys.sh")]);
        let engine = engine(&world);
        let run = create(&world, &engine);
        let _lease = engine.lease_run(&run, "drill", &caller()).unwrap();
        let until_seeding = |step: u32, point: Checkpoint| !(step == 2 && point == Checkpoint::Ended);
        execute(&engine, &caller(), &run, &Arc::default(), &until_seeding).unwrap();
        let dir = world.tree(&run).join("ttmp/2026/01/02/T-1--work-on-t-1");
        std::fs::create_dir_all(&dir).unwrap();
        for name in written {
            std::fs::write(dir.join(name), "---\nTitle: x\n---\n").unwrap();
        }
        assert_eq!(execute(&engine, &caller(), &run, &Arc::default(), &no_drill).unwrap(), Outcome::Done);
        whole(&world, &run, 1, &format!("after {written:?}"));
        for name in ["index.md", "tasks.md", "changelog.md"] {
            assert!(dir.join(name).is_file(), "{name} after {written:?}");
        }
    }
}

#[test]
fn kill_9_at_any_moment_of_a_run_and_resume() {
    // How long the whole takes here and now, so that the moments lie within it.
    let mut span = {
        let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
        let began = Instant::now();
        world.run(&[]);
        began.elapsed()
    };
    let mut interrupted = 0;
    for round in 0..10_u32 {
        let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
        let live = world.spawn(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--json"]);
        // Uneven moments: from right after its first write to shortly before its end.
        let moment = Instant::now() + span.mul_f64(0.1 + 0.08 * f64::from(round) + f64::from(live.pid() % 7) * 0.01);
        wait_for("the moment", PATIENCE, || (Instant::now() >= moment).then_some(()));
        live.signal("KILL");
        drop(live);
        let Some(run) = known_run(&world) else { continue };
        let what = format!("round {round}");
        let before = world.ask(&["status", "--run-id", &run]);
        if before["steps"].as_array().unwrap().iter().any(|step| step["status"] != "done") {
            interrupted += 1;
        } else {
            span = span.mul_f64(0.75);
        }
        world.metawsm(&["resume", "--run-id", &run]).is(0);
        whole(&world, &run, 2, &what);
    }
    assert!(interrupted >= 3, "only {interrupted} of the kills came in the middle: {span:?}");
}

/// The run that was written down, if the process came so far.
fn known_run(world: &World) -> Option<String> {
    let out = world.metawsm(&["runs", "--json"]);
    if out.status == 3 {
        return None;
    }
    out.is(0).json()["runs"][0]["run_id"].as_str().map(str::to_owned)
}

#[test]
fn a_killed_launcher_leaves_nothing_and_its_agent_is_dead_of_unknown_cause() {
    let world = World::new(&[("coder", "litter.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    let live = world.spawn(&["--headless"]);
    let coder = world.agent(&run, "coder");
    let session = coder["session"].as_str().unwrap();
    world.shows(session, "littered");
    let record = world.record(session, 1);
    signal(record.launcher_pid, "KILL");
    let dead = world.until_agent(&run, "coder", "dead");
    assert_eq!((&dead["exit_status"], &dead["exit_signal"]), (&Value::Null, &Value::Null), "{dead}");
    let ours = |pid: &u32| World::marked(&home(&world)).contains(pid);
    let mine = || World::marked("METAWSM_AGENT=coder").iter().filter(|pid| ours(pid)).count();
    wait_for("the rest of it to be gone", PATIENCE, || (mine() == 0).then_some(()));
    assert_eq!(world.agent(&run, "other")["status"], "running", "the others go on");
    drop(live);
    world.ask(&["restart", "--agent", "coder"]);
    assert_eq!(world.agent(&run, "coder")["status"], "running");
    world.verified();
}

fn home(world: &World) -> String {
    format!("METAWSM_HOME={}", world.home().display())
}

#[test]
fn a_killed_tmux_server_takes_its_agents_and_they_come_back() {
    // That a human can bring them back is looked at here, not that the rules do.
    let never = json!({ "operator": { "rules": { "auto_restart": "never" } } });
    let world = World::with(&[("coder", "obeys.sh"), ("other", "obeys.sh")], never);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    wait_for("a supervisor", PATIENCE, || world.ask(&["runs"])["supervisor"]["pid"].as_u64());
    let server: u32 = world.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap();
    signal(server, "KILL");
    for name in ["coder", "other"] {
        wait_for(&format!("{name} to be known as ended"), PATIENCE, || {
            let status = world.agent(&run, name)["status"].as_str().unwrap().to_owned();
            ["dead", "failed"].contains(&status.as_str()).then_some(())
        });
    }
    world.ask(&["restart"]);
    assert_eq!(world.sessions().len(), 2);
    for name in ["coder", "other"] {
        let agent = world.agent(&run, name);
        assert_eq!((&agent["status"], &agent["launch"]), (&json!("running"), &json!(2)));
        world.shows(agent["session"].as_str().unwrap(), &format!("ready {name}"));
    }
    world.verified();
}

#[test]
fn a_second_headless_takes_over_within_a_second_and_carries_the_plan_on() {
    // The first setup blocks until the test lets it go: its process is killed in the middle of that step.
    let setup = json!({ "workspace": { "setup": [["sh", "-c", "until [ -e ../../../../go ]; do sleep 0.05; done"]] } });
    let world = World::with(&[("coder", "obeys.sh")], setup);
    let mut first = world.spawn(&["--headless", "run", "--ticket", "T-1", "--repos", "shop"]);
    first.line("the workspace step to run", |line| {
        line["event_type"] == "step.transitioned" && line["payload"]["to"] == "running" && line["payload"]["index"] == 2
    });
    wait_for("it to supervise", PATIENCE, || (world.ask(&["runs"])["supervisor"]["pid"] == first.pid()).then_some(()));
    let mut second = world.spawn(&["--headless"]);
    std::fs::write(world.home().join("go"), "").unwrap();
    first.signal("KILL");
    let killed = Instant::now();
    assert_eq!(first.ended(), -9);
    wait_for("the second to supervise", PATIENCE, || {
        (world.ask(&["runs"])["supervisor"]["pid"] == second.pid()).then_some(())
    });
    // It asks twice a second; the rest is this machine's load.
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    let run = world.ask(&["runs"])["runs"][0]["run_id"].as_str().unwrap().to_owned();
    world.until_agent(&run, "coder", "running");
    wait_for("every step to be done", PATIENCE, || {
        let status = world.ask(&["status", "--run-id", &run]);
        status["steps"].as_array().unwrap().iter().all(|step| step["status"] == "done").then_some(())
    });
    whole(&world, &run, 1, "after the take-over");
    assert!(second.running());
    second.signal("TERM");
    assert_eq!(second.ended(), 0);
    assert_eq!(world.ask(&["runs"])["supervisor"], Value::Null, "a lease given back is nobody's");
}

#[test]
fn a_stop_whose_process_was_killed_is_carried_on() {
    let world = World::with(&[("coder", "deaf.sh")], json!({ "tmux": { "stop_grace_seconds": 3 } }));
    let run = world.run(&[]);
    world.shows(world.agent(&run, "coder")["session"].as_str().unwrap(), "deaf");
    let mut stop = world.spawn(&["stop", "--run-id", &run, "--yes"]);
    world.until_run(&run, "stopping");
    stop.signal("KILL");
    assert_eq!(stop.ended(), -9);
    assert_eq!(world.run_status(&run), "stopping");
    let _live = world.spawn(&["--headless"]);
    world.until_run(&run, "stopped");
    assert_eq!(world.sessions(), Vec::<String>::new());
    world.verified();
    // D8: resume starts its agents again.
    world.ask(&["resume", "--run-id", &run]);
    assert_eq!(world.agent(&run, "coder")["status"], "running");
}

#[test]
fn a_close_whose_process_was_killed_is_closed_again() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    // What a write leaves that is killed in the middle is nobody's work.
    std::fs::write(world.tree(&run).join(".metawsm-0123456789abcdef.tmp"), "half an ent").unwrap();
    let mut killed = 0;
    for round in 0..6_u32 {
        let mut live = world.spawn(&["close", "--run-id", &run, "--merge", "--yes", "--json"]);
        let moment = Instant::now() + Duration::from_millis(u64::from(round) * 40 + 20);
        wait_for("the moment", PATIENCE, || (Instant::now() >= moment).then_some(()));
        live.signal("KILL");
        killed += u32::from(live.ended() == -9);
        world.verified();
        let status = world.run_status(&run);
        assert!(["completed", "closing", "closed"].contains(&status.as_str()), "{status}");
        if status == "closed" {
            break;
        }
    }
    assert!(killed > 0);
    world.metawsm(&["close", "--run-id", &run, "--merge", "--yes"]).is(0);
    assert_eq!(world.run_status(&run), "closed");
    assert_eq!(world.git(&world.shop(), &["status", "--porcelain"]), "");
    let log = world.git(&world.shop(), &["log", "--format=%s", "main"]);
    for subject in ["Work of coder".to_owned(), format!("metawsm: ticket docs of {run}")] {
        assert_eq!(log.lines().filter(|line| **line == subject).count(), 1, "{log}");
    }
    let entry = world.git(&world.shop(), &["grep", "-h", "was closed", "main", "--", "ttmp"]);
    assert_eq!(entry.lines().count(), 1, "{entry}");
    assert_eq!(world.sessions(), Vec::<String>::new());
    world.verified();
}

#[test]
fn a_restart_and_a_cleanup_whose_processes_were_killed_are_carried_on() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    let killed_at = |args: &[&str], millis: u64| {
        let live = world.spawn(args);
        let moment = Instant::now() + Duration::from_millis(millis);
        wait_for("the moment", PATIENCE, || (Instant::now() >= moment).then_some(()));
        live.signal("KILL");
    };
    for round in 0..4 {
        killed_at(&["restart", "--run-id", &run, "--json"], 25 + round * 60);
        // Resume finds the starts that are due; what nobody wished for is not started.
        world.metawsm(&["resume", "--run-id", &run]).is(0);
        assert_eq!(world.sessions().len(), 2, "round {round}");
        for name in ["coder", "other"] {
            let agent = world.agent(&run, name);
            assert_eq!(agent["status"], "running", "round {round}: {agent}");
            let mut programs = World::marked(&format!("METAWSM_AGENT={name}"));
            programs.retain(|pid| World::marked(&home(&world)).contains(pid));
            let launch = u32::try_from(agent["launch"].as_u64().unwrap()).unwrap();
            let record = world.record(agent["session"].as_str().unwrap(), launch);
            programs.retain(|pid| parent(*pid) == Some(record.launcher_pid) || *pid == record.agent_pid.unwrap());
            assert_eq!(programs, [record.agent_pid.unwrap()], "round {round}: one life at a time");
        }
        world.verified();
    }
    let tree = world.tree(&run);
    for round in 0..3 {
        killed_at(&["cleanup", "--run-id", &run, "--yes", "--delete-branch", "--json"], 40 + round * 120);
    }
    world.metawsm(&["cleanup", "--run-id", &run, "--yes", "--delete-branch"]).is(0);
    assert_eq!((tree.exists(), world.run_status(&run).as_str(), world.sessions().len()), (false, "stopped", 0));
    assert_eq!(world.git(&world.shop(), &["worktree", "list"]).lines().count(), 1);
    assert_eq!(world.git(&world.shop(), &["branch", "--format=%(refname:short)"]), "main");
    wait_for("nobody left", PATIENCE, || World::marked(&home(&world)).is_empty().then_some(()));
    world.verified();
}

fn docs(world: &World, run: &str) -> std::path::PathBuf {
    let dir = world.ask(&["status", "--run-id", run])["docs"][0]["dir"].as_str().unwrap().to_owned();
    world.tree(run).join(dir)
}

/// What a closing that was killed between the docs and the journal leaves behind is its own work, not an agent's.
#[test]
fn docs_that_a_killed_closing_wrote_are_in_nobodys_way() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let dir = docs(&world, &run);
    let entry = format!("Run {run} was closed.");
    assert!(tickets::append_entry(&dir, "2026-11-21", &entry, &format!("close:{run}")).unwrap());
    assert!(tickets::set_status(&dir.join("index.md"), "complete").unwrap());
    world.metawsm(&["close", "--run-id", &run, "--merge", "--yes"]).is(0);
    let found = world.git(&world.shop(), &["grep", "-h", "was closed", "main", "--", "ttmp"]);
    assert_eq!(found.lines().count(), 1, "{found}");
    world.verified();
}

#[test]
fn docs_that_somebody_changed_keep_a_run_open() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let dir = docs(&world, &run);
    assert!(tickets::set_status(&dir.join("index.md"), "complete").unwrap());
    let index = std::fs::read_to_string(dir.join("index.md")).unwrap();
    std::fs::write(dir.join("index.md"), format!("{index}\na word of mine\n")).unwrap();
    world.metawsm(&["close", "--run-id", &run, "--merge", "--yes"]).is(4);
}

/// A launcher reports its agent's end by itself; what the agent said last, and when, is kept all the same.
#[test]
fn the_last_words_of_an_agent_are_kept_at_its_death() {
    let world = World::with(&[("a", "three.sh")], json!({ "operator": { "rules": { "auto_restart": "never" } } }));
    let _supervisor = world.spawn(&["--headless"]);
    let run = world.run(&[]);
    world.until_agent(&run, "a", "failed");
    let dir = world.home().join(".metawsm/logs").join(&run);
    let log = || {
        std::fs::read_dir(&dir).ok()?.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with("-1.txt"))
    };
    let kept = wait_for("its screen as a file", PATIENCE, log);
    assert!(!std::fs::read_to_string(kept.path()).unwrap().trim().is_empty());
    wait_for("when it last printed", PATIENCE, || world.agent(&run, "a")["last_output_at"].as_str().map(drop));
}

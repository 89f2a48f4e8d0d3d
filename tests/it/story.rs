//! The whole life of a run, by one-shot commands and as a stream, with real git and real tmux.

use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{Live, PATIENCE, World, wait_for};

/// What an obedient agent does when it works: commit, then say that it is done.
pub const WORK: &str = r#"echo new > work.txt && git add work.txt && git commit -q -m "Real work"
"$METAWSM_BIN" forum signal --type completion --summary "work.txt is there" > done.log 2>&1 || echo failed >> done.log
rm -f done.log"#;

#[test]
fn from_nothing_to_closed_by_one_shot_commands() {
    let world = World::new(&[("planner", "asks.sh"), ("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let status = world.ask(&["status", "--ticket", "T-1"]);
    assert_eq!(status["run"]["run_id"], run.as_str());
    assert!(status["steps"].as_array().unwrap().iter().all(|step| step["status"] == "done"), "{status}");
    assert_eq!(world.sessions().len(), 2);

    // A question from inside, answered from outside.
    let thread = wait_for("the question", PATIENCE, || {
        let queue = world.ask(&["forum", "queue", "--type", "needs_me"]);
        queue["threads"].as_array().unwrap().first().cloned()
    });
    assert_eq!((&thread["title"], &thread["agent_name"]), (&json!("Which way?"), &json!("planner")));
    assert_eq!(world.run_status(&run), "awaiting_guidance");
    let id = thread["thread_id"].as_str().unwrap();
    world.metawsm(&["close", "--run-id", &run, "--yes"]).is(4);
    let answered = world.ask(&["forum", "answer", "--thread-id", id, "--body", "left"]);
    assert_eq!(answered["thread"]["state"], "answered");
    world.until_agent(&run, "planner", "done");
    world.until_run(&run, "running");

    // The coder is killed: nobody supervises, and still it is known at once.
    let coder = world.agent(&run, "coder");
    let session = coder["session"].as_str().unwrap();
    let first = world.record(session, 1);
    signal(first.agent_pid.unwrap(), "KILL");
    let dead = world.until_agent(&run, "coder", "dead");
    assert_eq!((&dead["exit_status"], &dead["exit_signal"]), (&json!(null), &json!("SIGKILL")));
    let again = world.ask(&["restart", "--agent", "coder"]);
    assert_eq!(again["run"]["status"], "running");
    let second = world.record(session, 2);
    assert_ne!(first.agent_pid, second.agent_pid);
    assert_eq!(world.agent(&run, "coder")["epoch"], 1, "a restart after a crash keeps the epoch");

    world.order("coder", 1, WORK);
    world.until_run(&run, "completed");
    assert_eq!(world.agent(&run, "planner")["exit_status"], json!(null), "a done agent lives on");
    assert_eq!(world.sessions().len(), 2);

    let refused = world.metawsm(&["close", "--run-id", &run, "--yes", "--json"]).is(4).error();
    let gates = refused["details"]["gates"].as_array().unwrap().clone();
    let open: Vec<&str> = gates.iter().filter(|g| g["ok"] == false).map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(open, ["merged"], "{refused}");
    world.metawsm(&["merge", "--run-id", &run]).is(4);
    let merged = world.ask(&["merge", "--run-id", &run, "--yes"]);
    assert_eq!(merged["merged"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(world.shop().join("answer.txt")).unwrap(), "left\n");
    assert_eq!(std::fs::read_to_string(world.shop().join("work.txt")).unwrap(), "new\n");
    assert_eq!(world.git(&world.shop(), &["status", "--porcelain"]), "");
    world.metawsm(&["close", "--run-id", &run, "--yes"]).is(0);
    assert_eq!(world.run_status(&run), "closed");
    assert_eq!(world.sessions(), Vec::<String>::new(), "close ends the sessions of done agents");

    let tree = world.tree(&run);
    assert!(tree.is_dir());
    world.ask(&["cleanup", "--run-id", &run, "--yes"]);
    assert!(!tree.exists() && !tree.parent().unwrap().exists());
    assert_eq!(world.git(&world.shop(), &["branch", "--format=%(refname:short)"]), "main");
    assert_eq!(world.git(&world.shop(), &["worktree", "list"]).lines().count(), 1);
    let words: Vec<String> = world
        .verified()
        .iter()
        .filter(|event| event["event_type"] == "run.transitioned")
        .map(|event| event["payload"]["to"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["planning", "running", "awaiting_guidance", "running", "completed", "closing", "closed"]);
}

#[test]
fn a_stream_ends_with_the_run_and_0_when_it_is_completed() {
    let world = World::new(&[("planner", "asks.sh"), ("coder", "works.sh")]);
    let mut live = world.spawn(&["--headless", "run", "--ticket", "T-1", "--repos", "shop"]);
    let asked = live.line("the question", |line| {
        line["event_type"] == "forum.thread.opened" && line["payload"]["title"] == "Which way?"
    });
    let thread = asked["thread_id"].as_str().unwrap();
    world.ask(&["forum", "answer", "--thread-id", thread, "--body", "right"]);
    assert_eq!(live.ended(), 0, "{}", live.errors());
    live.line("the run", |line| line["run"].is_object());
    let lines = live.json();
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(last["run"]["status"], "completed");
    assert_eq!(last.as_object().unwrap().keys().collect::<Vec<_>>(), ["run"]);
    assert_eq!(events[0]["event_type"], "run.created");
    let run = last["run"]["run_id"].as_str().unwrap();
    assert!(events.iter().any(|event| event["payload"]["to"] == "completed"), "the last word is among them");
    let mut own: Vec<_> = world.verified().into_iter().filter(|event| event["run_id"] == run).collect();
    own.truncate(events.len());
    assert_eq!(events, own, "every event of the run once, in order");
    assert_eq!(world.sessions().len(), 2, "agents live on");
}

#[test]
fn a_stream_ends_with_1_when_the_run_failed() {
    let broken = json!({ "workspace": { "setup": [["false"]] }, "execution": { "step_retries": 1 } });
    let world = World::with(&[("coder", "works.sh")], broken);
    let mut live = world.spawn(&["--headless", "run", "--ticket", "T-1", "--repos", "shop"]);
    assert_eq!(live.ended(), 1);
    let last = live.json().pop().unwrap();
    assert_eq!(last["run"]["status"], "failed");
    assert!(last["run"]["reason"].as_str().unwrap().contains("setup command false failed"), "{last}");
    let attempts = |line: &&Value| line["payload"]["to"] == "failed" && line["event_type"] == "step.transitioned";
    assert_eq!(live.json().iter().filter(attempts).count(), 2, "one retry");
    assert_eq!(world.sessions(), Vec::<String>::new());
}

#[test]
fn a_stream_ends_with_4_when_the_run_is_stopped_and_130_when_interrupted() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let mut live = world.spawn(&["run", "--ticket", "T-1", "--repos", "shop", "--json"]);
    live.line("the agent at work", |line| line["event_type"] == "agent.transitioned");
    world.metawsm(&["stop", "--ticket", "T-1", "--yes"]).is(0);
    assert_eq!(live.ended(), 4);
    assert_eq!(live.json().pop().unwrap()["run"]["status"], "stopped");
    assert_eq!(world.sessions(), Vec::<String>::new());

    let mut live = world.spawn(&["--headless", "run", "--ticket", "T-2", "--repos", "shop"]);
    live.line("the agent at work", |line| line["event_type"] == "agent.transitioned");
    live.signal("INT");
    assert_eq!(live.ended(), 130);
    let last = live.json().pop().unwrap();
    assert_eq!(last["run"]["status"], "running");
    assert_eq!(world.sessions().len(), 1, "agents go on");
    let session = world.agent(last["run"]["run_id"].as_str().unwrap(), "coder")["session"].clone();
    world.shows(session.as_str().unwrap(), "ready coder");
}

#[test]
fn a_stream_ends_with_10_at_an_open_question_when_asked_to() {
    let world = World::new(&[("planner", "asks.sh")]);
    let args = ["--headless", "run", "--ticket", "T-1", "--repos", "shop", "--exit-on-guidance"];
    let mut live = world.spawn(&args);
    assert_eq!(live.ended(), 10);
    let last = live.json().pop().unwrap();
    assert_eq!(last["run"]["status"], "awaiting_guidance");
    assert_eq!(last["run"]["counts"]["guidance"], 1);
}

#[test]
fn detach_leaves_nothing_but_sessions() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let record = world.record(world.agent(&run, "coder")["session"].as_str().unwrap(), 1);
    let ours = World::marked(&format!("E2E_WORLD={}", world.root.display()));
    let binary = std::fs::canonicalize(env!("CARGO_BIN_EXE_metawsm")).unwrap();
    let left: Vec<u32> = ours
        .into_iter()
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary))
        .collect();
    assert_eq!(left, [record.launcher_pid], "the launcher and no other metawsm");
    let out = world.metawsm(&["run", "--ticket", "T-9", "--repos", "shop", "--detach", "--base-branch", "nope"]);
    out.is(3);
    let broken = json!({ "workspace": { "setup": [["false"]] }, "execution": { "step_retries": 0 } });
    world.policy(&[("coder", "obeys.sh")], broken);
    let failed = world.metawsm(&["run", "--ticket", "T-2", "--repos", "shop", "--detach", "--json"]).is(1).json();
    assert_eq!(failed["run"]["status"], "failed");
    assert!(failed["steps"].to_string().contains("setup command false failed"), "{failed}");
}

#[test]
fn the_demo_plays_itself_and_leaves_nothing() {
    let world = World::bare();
    let temp = world.root.join("tmp");
    std::fs::create_dir_all(&temp).unwrap();
    let mut demo = world.program(&["demo", "--headless"]);
    demo.env("TMPDIR", &temp);
    let began = std::time::Instant::now();
    let out = world.output(demo, "").is(0);
    assert!(began.elapsed() < std::time::Duration::from_secs(40), "{:?}", began.elapsed());
    for word in
        ["asked: Which schema", "you answer it", "started it again by rule", "metawsm merge", "Add the orders table"]
    {
        assert!(out.stderr.contains(word), "{word} in {}", out.stderr);
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    assert_eq!(World::marked(&format!("E2E_WORLD={}", world.root.display())), Vec::<u32>::new());
    assert!(!world.db().exists(), "no home is made where it was called");
}

#[test]
fn an_interrupted_demo_leaves_nothing_either() {
    let world = World::bare();
    let temp = world.root.join("tmp");
    std::fs::create_dir_all(&temp).unwrap();
    let mut demo = world.program(&["demo", "--headless"]);
    demo.env("TMPDIR", &temp);
    let mut live = Live::start(demo);
    wait_for("an agent at work", PATIENCE, || live.errors().contains("planner was started").then_some(()));
    live.signal("INT");
    assert_eq!(live.ended(), 130, "{}", live.errors());
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    assert_eq!(World::marked(&format!("E2E_WORLD={}", world.root.display())), Vec::<u32>::new());
}

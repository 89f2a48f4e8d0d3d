//! Each of these was once true of the program, and is not any more.

use std::time::Duration;

use serde_json::json;

use crate::story::WORK;
use crate::world::{PATIENCE, World, wait_for};

const SETUP: fn(&[&str]) -> serde_json::Value = |argv| json!({ "workspace": { "setup": [argv] } });

#[test]
fn an_agent_that_cannot_be_started_fails_its_step_and_its_run() {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.policy(
        &[("coder", "obeys.sh")],
        json!({ "agent_profiles": [{ "name": "of-coder", "runner": "shell",
            "runner_options": { "command": ["/nonexistent/agent"] } }] }),
    );
    world.metawsm(&["run", "--ticket", "T-1", "--repos", "shop", "--run-id", "r", "--detach"]).is(1);
    assert_eq!(world.run_status("r"), "failed");
    let steps = world.ask(&["steps", "--run-id", "r"]);
    let start = steps["steps"].as_array().unwrap().iter().find(|step| step["kind"] == "start_agent").unwrap().clone();
    assert_eq!((start["status"].as_str(), start["attempts"].as_i64()), (Some("failed"), Some(2)));
    // Mended, the same run goes on.
    world.policy(&[("coder", "obeys.sh")], json!({}));
    world.metawsm(&["resume", "--run-id", "r"]).is(1);
    assert_eq!(world.run_status("r"), "failed", "a run keeps the command it was created with");
}

#[test]
fn cleanup_waits_for_the_lease_and_takes_what_an_unfinished_step_left() {
    let world = World::with(&[("coder", "obeys.sh")], SETUP(&["sleep", "4"]));
    let mut executing = world.spawn(&["run", "--ticket", "T-1", "--repos", "shop", "--run-id", "r", "--detach"]);
    let path = world.home().join(".metawsm/workspaces/t-1-r/shop");
    wait_for("the worktree", PATIENCE, || path.join(".git").exists().then_some(()));
    assert_eq!(world.metawsm(&["cleanup", "--run-id", "r", "--yes", "--json"]).is(7).error()["code"], "busy");
    assert_eq!(executing.ended(), 0);
    world.metawsm(&["cleanup", "--run-id", "r", "--yes"]).is(0);

    world.policy(&[("coder", "obeys.sh")], SETUP(&["false"]));
    world.metawsm(&["run", "--ticket", "T-2", "--repos", "shop", "--run-id", "s", "--detach"]).is(1);
    assert!(world.tree("s").join(".git").exists(), "set-up failed after the worktree was made");
    let found = world.metawsm(&["doctor", "--json"]).is(1).json();
    assert!(found["findings"].to_string().contains("was never finished"), "{found}");
    world.metawsm(&["cleanup", "--run-id", "s", "--yes"]).is(0);
    assert!(!world.tree("s").exists());
    assert_eq!(world.git(&world.shop(), &["branch", "--list", "task/*"]), "");
}

#[test]
fn what_was_cleaned_up_is_neither_restarted_nor_resumed() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.metawsm(&["stop", "--run-id", &run, "--yes"]).is(0);
    world.metawsm(&["cleanup", "--run-id", &run, "--yes"]).is(0);
    for verb in ["restart", "resume"] {
        let error = world.metawsm(&[verb, "--run-id", &run, "--json"]).is(4).error();
        assert!(error["message"].as_str().unwrap().contains("removed by cleanup"), "{error}");
    }
    assert_eq!(world.run_status(&run), "stopped");
}

#[test]
fn in_a_session_options_that_name_another_are_refused() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let workspace = world.agent(&run, "coder")["workspace"].as_str().unwrap().to_owned();
    for (more, status) in [
        (vec![], 0),
        (vec!["--actor-type", "agent", "--actor-name", "coder"], 0),
        (vec!["--actor-type", "human"], 4),
        (vec!["--actor-name", "planner"], 4),
        (vec!["--as", "joe"], 4),
        (vec!["--agent", "planner"], 4),
        (vec!["--run-id", "another"], 4),
    ] {
        let mut command = world.program(&[&["forum", "ask", "--title", "t", "--body", "b"], more.as_slice()].concat());
        command.env("METAWSM_AGENT", "coder").env("METAWSM_RUN_ID", &run).env("METAWSM_WORKSPACE", &workspace);
        command.env("METAWSM_TICKET", "T-1");
        let out = world.output(command, "");
        assert_eq!(out.status, status, "{more:?}: {}", out.stderr);
    }
}

#[test]
fn who_only_waits_is_interrupted_with_130() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "one"]);
    for call in [
        vec!["wait", "--run-id", &run, "--for", "guidance"],
        vec!["forum", "wait", "--thread-id", "one"],
        vec!["events", "--follow", "--since", "1"],
    ] {
        let mut waiting = world.spawn(&call);
        // Its handlers are there once it waits; before that the signal ends it otherwise, so it is asked again.
        wait_for("it to wait", PATIENCE, || {
            let path = format!("/proc/{}/status", waiting.pid());
            let status = std::fs::read_to_string(path).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
            (u64::from_str_radix(&caught, 16).unwrap_or(0) & 0b10 != 0).then_some(())
        });
        waiting.signal("INT");
        assert_eq!(waiting.ended(), 130, "{call:?}");
    }
}

#[test]
fn a_broken_policy_is_said_and_stops_nothing_else() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    std::fs::write(world.home().join(".metawsm/policy.json"), r#"{"versio": 3}"#).unwrap();
    let out = world.metawsm(&["status", "--run-id", &run]).is(0);
    assert!(out.stderr.contains("did you mean `version`"), "{}", out.stderr);
}

#[test]
fn a_squashed_branch_is_cleaned_up_as_merged() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, WORK);
    world.until_run(&run, "completed");
    world.metawsm(&["merge", "--run-id", &run, "--squash", "--yes"]).is(0);
    world.metawsm(&["close", "--run-id", &run, "--yes"]).is(0);
    world.metawsm(&["cleanup", "--run-id", &run, "--yes"]).is(0);
    assert_eq!(world.git(&world.shop(), &["branch", "--list", "task/*"]), "");
}

#[test]
fn a_missing_program_is_named_with_its_status() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let bin = world.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let which = |name: &str| -> std::path::PathBuf {
        std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
            .unwrap()
    };
    for (there, missing) in [("tmux", "git"), ("git", "tmux")] {
        let link = bin.join(there);
        std::os::unix::fs::symlink(which(there), &link).unwrap();
        for call in [vec!["run", "--ticket", "T-1", "--repos", "shop", "--detach"], vec!["demo", "--headless"]] {
            let mut command = world.program(&call);
            command.env("PATH", &bin).env("TMPDIR", &world.root);
            let out = world.output(command, "");
            assert_eq!(out.status, 6, "{call:?} without {missing}: {}", out.stderr);
            assert!(out.stderr.contains(missing), "{}", out.stderr);
        }
        std::fs::remove_file(link).unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(&world.root)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("metawsm-demo"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_supervisor_that_hangs_is_said_to() {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.run(&[]);
    let mut supervisor = world.spawn(&["--headless"]);
    supervisor.line("the lease", |line| line["event_type"] == "lease.acquired");
    supervisor.signal("STOP");
    let found = wait_for("doctor to say so", Duration::from_secs(20), || {
        let out = world.metawsm(&["doctor", "--json"]);
        let text = out.json()["findings"].to_string();
        text.contains("has not responded").then_some(text)
    });
    assert!(found.contains("kill -CONT"), "{found}");
    assert!(world.metawsm(&["runs"]).is(0).stdout.contains("is not responding since"));
    supervisor.signal("CONT");
    supervisor.signal("TERM");
    assert_eq!(supervisor.ended(), 0);
}

//! Many processes at once, and programs of every temper under the launcher.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::state;
use crate::world::{PATIENCE, World, wait_for};

#[test]
fn twenty_processes_write_at_once_and_nothing_is_lost() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "all"]);
    let posts: BTreeSet<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..20)
            .map(|writer| {
                let world = &world;
                scope.spawn(move || {
                    let post = |n: i32| {
                        let body = format!("post {n} of {writer}");
                        let out = world.metawsm(&["forum", "post", "--thread-id", "all", "--body", &body, "--json"]);
                        assert!(!out.stderr.to_lowercase().contains("busy") && !out.stderr.contains("locked"));
                        assert_eq!(out.is(0).json()["post"]["body"], body.as_str());
                        body
                    };
                    (0..4).map(post).collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let thread = world.ask(&["forum", "thread", "--thread-id", "all"]);
    let kept: Vec<&str> =
        thread["posts"].as_array().unwrap().iter().map(|post| post["body"].as_str().unwrap()).collect();
    assert_eq!((posts.len(), kept.len()), (80, 81));
    assert_eq!(kept[1..].iter().map(|body| (*body).to_owned()).collect::<BTreeSet<_>>(), posts);
    assert_eq!(thread["thread"]["posts_count"], 81);
    world.verified();
}

#[test]
fn a_second_supervisor_stays_an_observer() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "one"]);
    let first = world.spawn(&["--headless"]);
    first.line("the lease", |line| line["event_type"] == "lease.acquired");
    let mut second = world.spawn(&["--headless"]);
    // It sees what others write, and takes commands.
    second.say(r#"{"id":1,"argv":["forum","post","--thread-id","one","--body","seen?"]}"#);
    second.line("its answer", |line| line["id"] == 1 && line["status"] == 0);
    let seen = |line: &Value| line["event_type"] == "forum.post.added" && line["payload"]["body"] == "seen?";
    second.line("the post", seen);
    first.line("the post", seen);
    assert_eq!(world.ask(&["runs"])["supervisor"]["pid"], first.pid());
    let taken = world.metawsm(&["events", "--type", "lease.*"]).is(0).lines();
    assert_eq!(taken.len(), 1, "{taken:?}");
}

#[test]
fn work_on_a_run_that_somebody_has_in_hand_is_busy_and_stop_is_not() {
    let setup = json!({ "workspace": { "setup": [["sleep", "300"]] } });
    let world = World::with(&[("coder", "obeys.sh")], setup);
    let mut live = world.spawn(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--run-id", "mine"]);
    wait_for("the step to run", PATIENCE, || {
        let out = world.metawsm(&["steps", "--run-id", "mine", "--json"]);
        (out.status == 0 && out.json()["steps"][1]["status"] == "running").then_some(())
    });
    for verb in ["resume", "restart"] {
        let error = world.metawsm(&[verb, "--run-id", "mine", "--json"]).is(7).error();
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["code"], "busy");
        assert!(message.starts_with("busy: run by tester (pid ") && message.contains(" since 20"), "{message}");
        assert!(message.contains(&format!("pid {}", live.pid())), "{message}");
    }
    let began = std::time::Instant::now();
    world.metawsm(&["stop", "--run-id", "mine", "--yes"]).is(0);
    assert!(began.elapsed() < Duration::from_secs(10), "a running step ends within a second: {:?}", began.elapsed());
    assert_eq!(live.ended(), 130);
    assert_eq!(world.run_status("mine"), "stopped");
    world.verified();
}

#[test]
fn runs_of_the_same_second_get_ids_of_their_own() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let runs: Vec<Value> = std::thread::scope(|scope| {
        let start = || world.ask(&["run", "--ticket", "T-1", "--repos", "shop", "--dry-run"]);
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let ids: BTreeSet<&str> = runs.iter().map(|run| run["run"]["run_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let workspaces: BTreeSet<&str> =
        runs.iter().map(|run| run["run"]["workspaces"][0]["name"].as_str().unwrap()).collect();
    assert_eq!(workspaces.len(), 6, "{workspaces:?}");
    world.verified();
}

#[test]
fn an_interactive_shell_and_a_full_screen_program_have_the_terminal() {
    let world = World::new(&[("shell", "shell.sh"), ("reader", "screen.sh")]);
    let run = world.run(&[]);
    let session = |name: &str| world.agent(&run, name)["session"].as_str().unwrap().to_owned();
    let (shell, reader) = (session("shell"), session("reader"));
    world.shows(&shell, "ready>");
    world.tmux(&["send-keys", "-t", &format!("={shell}:"), "echo typed-$((40+2))", "Enter"]);
    world.shows(&shell, "typed-42");
    let program = |session: &str| world.record(session, 1).agent_pid.unwrap();
    assert!(!state(program(&shell)).starts_with('T'), "{}", state(program(&shell)));
    if which("less") {
        world.shows(&reader, "first line");
        world.tmux(&["send-keys", "-t", &format!("={reader}:"), "/second", "Enter"]);
        world.tmux(&["send-keys", "-t", &format!("={reader}:"), "=", ""]);
        world.shows(&reader, "lines");
        assert!(!state(program(&reader)).starts_with('T'), "{}", state(program(&reader)));
        world.tmux(&["send-keys", "-t", &format!("={reader}:"), "q"]);
        world.until_agent(&run, "reader", "done");
    }
    assert_eq!(world.agent(&run, "shell")["status"], "running");
}

fn which(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file())
}

#[test]
fn an_agent_is_ended_with_all_it_started_even_if_it_will_not() {
    let world = World::new(&[("deaf", "deaf.sh"), ("litter", "litter.sh"), ("stays", "obeys.sh")]);
    let run = world.run(&[]);
    for (name, word) in [("deaf", "deaf"), ("litter", "littered")] {
        world.shows(world.agent(&run, name)["session"].as_str().unwrap(), word);
    }
    let home = format!("METAWSM_HOME={}", world.home().display());
    let left = |name: &str| {
        let own = World::marked(&format!("METAWSM_AGENT={name}"));
        World::marked(&home).into_iter().filter(|pid| own.contains(pid)).count()
    };
    assert!(left("deaf") >= 1 && left("litter") >= 4, "{} {}", left("deaf"), left("litter"));
    for name in ["deaf", "litter"] {
        world.ask(&["stop", "--agent", name, "--yes"]);
        assert_eq!(left(name), 0, "{name}");
        assert_eq!(world.agent(&run, name)["status"], "stopped");
    }
    assert!(left("stays") >= 1);
    assert_eq!(world.agent(&run, "stays")["status"], "running");
    assert_eq!(world.run_status(&run), "running");
}

#[test]
fn how_an_agent_ends_is_known_without_anybody_watching() {
    let world = World::new(&[("zero", "zero.sh"), ("three", "three.sh"), ("stays", "obeys.sh")]);
    let run = world.run(&[]);
    let zero = world.until_agent(&run, "zero", "done");
    assert_eq!((&zero["exit_status"], &zero["reason"]), (&json!(0), &json!("exited with 0")));
    let three = world.until_agent(&run, "three", "failed");
    assert_eq!((&three["exit_status"], &three["exit_signal"]), (&json!(3), &Value::Null));
    let logs = world.metawsm(&["logs", "--agent", "three"]).is(0);
    assert!(logs.stdout.contains("last words"), "{}", logs.stdout);
    assert_eq!(world.run_status(&run), "running", "a failed agent beside living ones");
    world.ask(&["restart", "--agent", "three"]);
    world.until_agent(&run, "three", "failed");
    assert_eq!(world.agent(&run, "three")["launch"], 2);
    assert_eq!(world.agent(&run, "zero")["launch"], 1, "only the one named");
    world.verified();
}

#[test]
fn a_missing_program_is_a_failed_agent_with_its_reason() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let profile =
        json!([{ "name": "of-coder", "runner": "shell", "runner_options": { "command": ["no-such-agent"] } }]);
    world.policy(&[("coder", "obeys.sh")], json!({ "agent_profiles": profile, "execution": { "step_retries": 0 } }));
    let out = world.metawsm(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--json"]).is(1).json();
    let agent = &out["agents"][0];
    assert_eq!(agent["status"], "failed", "{agent}");
    assert!(agent["reason"].as_str().unwrap().contains("not installed"), "{agent}");
    assert_eq!(out["steps"][3]["status"], "failed", "{out}");
    assert_eq!(world.sessions(), Vec::<String>::new());
    world.verified();
}

#[test]
fn a_strangers_session_of_that_name_is_left_alone() {
    let world = World::with(&[("coder", "obeys.sh")], json!({ "execution": { "step_retries": 0 } }));
    world.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "coder-t-1-mine", "sleep 300"]);
    let out = world.metawsm(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--run-id", "mine", "--json"]);
    let out = out.is(1).json();
    assert!(out["steps"].to_string().contains("that metawsm did not make"), "{out}");
    let stop = world.metawsm(&["cleanup", "--run-id", "mine", "--yes", "--json"]);
    assert_eq!(stop.status, 0, "{stop:?}");
    assert_eq!(world.sessions(), ["coder-t-1-mine"]);
    let pid = world.tmux(&["list-panes", "-t", "=coder-t-1-mine:", "-F", "#{pane_dead}"]);
    assert_eq!(pid, "0", "the stranger lives");
}

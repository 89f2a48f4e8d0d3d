//! One test for each defect of the original, in the real binary: it is not here.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::story::WORK;
use crate::world::World;

#[test]
fn d1_a_dry_close_does_not_close() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let last = world.metawsm(&["events"]).lines().len();
    let dry = world.ask(&["close", "--run-id", &run, "--merge", "--dry-run"]);
    assert!(dry["gates"].as_array().unwrap().iter().all(|gate| gate["ok"] == true), "{dry}");
    assert_eq!(world.run_status(&run), "completed");
    assert_eq!(world.metawsm(&["events"]).lines().len(), last);
}

#[test]
fn d7_a_run_is_completed_by_its_agents_not_by_their_start() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    assert_eq!(world.run_status(&run), "running");
    assert_eq!(world.ask(&["runs", "--status", "running"])["runs"][0]["run_id"], run.as_str());
    for verb in ["merge", "close"] {
        let error = world.metawsm(&[verb, "--yes", "--json"]).is(4).error();
        assert!(error.to_string().contains("coder"), "{verb}: {error}");
    }
    world.order("coder", 1, WORK);
    world.until_run(&run, "completed");
    assert_eq!(world.ask(&["wait", "--run-id", &run])["reached"], true);
}

#[test]
fn d8_resume_after_stop_starts_the_agents_again() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    world.ask(&["stop", "--yes"]);
    assert_eq!((world.run_status(&run).as_str(), world.sessions().len()), ("stopped", 0));
    assert_eq!(world.agent(&run, "coder")["status"], "stopped");
    world.ask(&["resume"]);
    assert_eq!((world.run_status(&run).as_str(), world.sessions().len()), ("running", 2));
    let agent = world.agent(&run, "other");
    assert_eq!((&agent["status"], &agent["launch"], &agent["epoch"]), (&json!("running"), &json!(2), &json!(1)));
    world.shows(agent["session"].as_str().unwrap(), "ready other");
}

#[test]
fn d9_a_resumed_dry_run_is_a_real_run() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let dry = world.ask(&["run", "--ticket", "T-1", "--repos", "shop", "--dry-run"]);
    let run = dry["run"]["run_id"].as_str().unwrap();
    assert_eq!(world.ask(&["agents", "--run-id", run, "--all"])["agents"][0]["status"], "pending");
    world.ask(&["resume", "--run-id", run]);
    let status = world.ask(&["status", "--ticket", "T-1"]);
    assert_eq!((&status["run"]["run_id"], &status["run"]["dry_run"]), (&json!(run), &json!(false)));
    assert_eq!(status["run"]["status"], "running");
    assert_eq!(world.sessions().len(), 1);
    // A newer dry run of the ticket does not stand before the real one.
    world.ask(&["run", "--ticket", "T-1", "--repos", "shop", "--dry-run"]);
    assert_eq!(world.ask(&["status", "--ticket", "T-1"])["run"]["run_id"], run);
}

#[test]
fn d10_the_session_pattern_of_the_policy_is_the_one_everybody_uses() {
    let pattern = json!({ "tmux": { "session_pattern": "{run}-{ticket}-{agent}" } });
    let world = World::with(&[("coder", "obeys.sh")], pattern);
    let run = world.run(&["--run-id", "Mine"]);
    assert_eq!(world.sessions(), ["mine-t-1-coder"]);
    assert_eq!(world.agent(&run, "coder")["session"], "mine-t-1-coder");
    world.shows("mine-t-1-coder", "ready coder");
    assert!(world.metawsm(&["logs", "--agent", "coder"]).is(0).stdout.contains("ready coder"));
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "coder");
    assert_eq!(world.agent(&run, "coder")["health"], "healthy");
    world.ask(&["restart", "--agent", "coder"]);
    assert_eq!(world.sessions(), ["mine-t-1-coder"]);
    assert_eq!(world.agent(&run, "coder")["status"], "running");
    // The pattern in the file may change; a name once given stays.
    world.policy(&[("coder", "obeys.sh")], json!({}));
    world.ask(&["stop", "--yes"]);
    assert_eq!(world.sessions(), Vec::<String>::new());
}

#[test]
fn d11_a_name_that_is_anothers_prefix_is_never_mistaken_for_it() {
    let world = World::new(&[("a", "obeys.sh"), ("a-1", "obeys.sh"), ("a-10", "obeys.sh")]);
    let one = world.run(&["--run-id", "r", "--agent", "a", "--agent", "a-1", "--agent", "a-10"]);
    let two = world.run(&["--run-id", "r-2", "--agent", "a"]);
    assert_eq!(world.sessions(), ["a-1-t-1-r", "a-10-t-1-r", "a-t-1-r", "a-t-1-r-2"]);
    world.ask(&["stop", "--run-id", &one, "--agent", "a", "--yes"]);
    assert_eq!(world.sessions(), ["a-1-t-1-r", "a-10-t-1-r", "a-t-1-r-2"]);
    // Its session is gone and another's name begins with it.
    world.metawsm(&["attach", "--run-id", &one, "--agent", "a"]).is(3);
    world.ask(&["stop", "--run-id", &one, "--agent", "a", "--yes"]);
    world.ask(&["stop", "--run-id", &one, "--agent", "a-1", "--yes"]);
    assert_eq!(world.sessions(), ["a-10-t-1-r", "a-t-1-r-2"]);
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&one, "a-10");
    for (run, name, status) in [(&one, "a", "stopped"), (&one, "a-1", "stopped"), (&one, "a-10", "running")] {
        assert_eq!(world.agent(run, name)["status"], status, "{name}");
    }
    assert_eq!(world.agent(&two, "a")["status"], "running");
    world.ask(&["cleanup", "--run-id", &one, "--yes"]);
    assert_eq!(world.sessions(), ["a-t-1-r-2"]);
}

#[test]
fn d12_the_brief_is_there_before_the_agent_and_a_dry_one_makes_nothing() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let brief =
        json!({ "goal": "a table", "scope": "s", "done_criteria": "d", "constraints": "c", "merge_intent": "m" });
    std::fs::write(world.home().join("brief.json"), brief.to_string()).unwrap();
    let args = ["bootstrap", "--ticket", "T-1", "--repos", "shop", "--brief", "brief.json"];
    let dry = world.ask(&[&args[..], &["--dry-run"]].concat());
    let workspace = PathBuf::from(dry["run"]["workspaces"][0]["path"].as_str().unwrap());
    assert!(!workspace.exists() && !world.shop().join("ttmp").exists());
    let out = world.ask(&[&args[..], &["--detach"]].concat());
    let run = out["run"]["run_id"].as_str().unwrap();
    let tree = world.tree(run);
    let seeded = world.metawsm(&["events", "--run-id", run]).lines();
    let place = |kind: &str| seeded.iter().position(|event| event["event_type"] == kind).unwrap();
    let started =
        seeded.iter().position(|e| e["event_type"] == "agent.transitioned" && e["payload"]["to"] == "running");
    assert!(place("docs.seeded") < started.unwrap());
    assert!(std::fs::read_to_string(tree.parent().unwrap().join("brief.md")).unwrap().contains("a table"));
    let session = out["agents"][0]["session"].as_str().unwrap();
    let prompt = std::fs::read_to_string(world.home().join(".metawsm/agents").join(session).join("prompt.md")).unwrap();
    assert!(prompt.contains(run) && prompt.contains("brief.md"), "{prompt}");
    assert_eq!(world.git(&world.shop(), &["status", "--porcelain"]), "");
}

#[test]
fn d13_of_processes_that_close_one_run_at_once_one_does_it() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let statuses: Vec<i32> = std::thread::scope(|scope| {
        let close = || world.metawsm(&["close", "--run-id", &run, "--merge", "--yes"]).status;
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(close)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(statuses.contains(&0) && statuses.iter().all(|status| [0, 4, 7].contains(status)), "{statuses:?}");
    let turns: Vec<(String, String)> = world
        .verified()
        .iter()
        .filter(|event| event["event_type"] == "run.transitioned")
        .map(|event| (event["payload"]["from"].to_string(), event["payload"]["to"].to_string()))
        .collect();
    assert!(turns.windows(2).all(|pair| pair[0].1 == pair[1].0), "each begins where the last ended: {turns:?}");
    assert_eq!(turns.iter().filter(|turn| turn.1 == "\"closed\"").count(), 1);
    assert_eq!(world.git(&world.shop(), &["log", "--merges", "--format=%H"]), "");
}

#[test]
fn d14_illegal_transitions_are_refused_and_every_key_lives() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.ask(&["stop", "--yes"]);
    let error = world.metawsm(&["pause", "--run-id", &run, "--json"]).is(4).error();
    assert_eq!(error["details"], json!({ "state": "stopped", "allowed": ["resume", "restart", "iterate", "cleanup"] }));
    let status = world.ask(&["status", "--run-id", &run]);
    assert_eq!(status["run"]["next"], json!(["resume", "restart", "iterate", "cleanup"]));
    assert!(
        status["steps"].as_array().unwrap().iter().all(|step| step["error"].is_null()),
        "no success in error fields"
    );
    world.policy(&[("coder", "obeys.sh")], json!({ "forum": { "enabled": false } }));
    let error =
        world.metawsm(&["forum", "ask", "--ticket", "T", "--title", "t", "--body", "b", "--json"]).is(4).error();
    assert!(error["hint"].as_str().unwrap().contains("forum.enabled"), "{error}");
}

#[test]
fn d21_a_run_lives_by_the_policy_it_began_with() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    // The file now has neither that agent nor its profile; then it is not even JSON.
    world.policy(&[("another", "zero.sh")], json!({}));
    world.ask(&["restart", "--agent", "coder"]);
    assert_eq!(world.agent(&run, "coder")["status"], "running");
    std::fs::write(world.home().join(".metawsm/policy.json"), "{ broken").unwrap();
    world.ask(&["restart", "--agent", "coder"]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "ready coder");
    for call in ["status", "runs", "agents", "forum list", "stop --yes", "resume"] {
        world.metawsm(&call.split(' ').collect::<Vec<_>>()).is(0);
    }
    for call in
        [&["run", "--ticket", "T-2", "--repos", "shop", "--detach", "--json"][..], &["policy", "check", "--json"]]
    {
        assert_eq!(world.metawsm(call).is(5).error()["code"], "policy_invalid");
    }
    assert_eq!(world.agent(&run, "coder")["launch"], 4);
}

/// A directory of programs that write down their calls before they are what they are called.
fn logged(world: &World, programs: &[&str]) -> (String, PathBuf) {
    let (dir, log) = (world.root.join("shims"), world.root.join("calls"));
    std::fs::create_dir_all(&dir).unwrap();
    let path = std::env::var("PATH").unwrap();
    for program in programs {
        let real = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
        let real = real.map_or("exit 127".to_owned(), |real| format!("exec {} \"$@\"", real.display()));
        let text = format!("#!/bin/sh\necho \"{program} $*\" >> {}\n{real}\n", log.display());
        std::fs::write(dir.join(program), text).unwrap();
        std::fs::set_permissions(dir.join(program), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    (format!("{}:{path}", dir.display()), log)
}

#[test]
fn d22_nothing_needs_a_login_shell() {
    let world = World::new(&[("coder", "works.sh")]);
    // Only these four programs are there at all.
    let bare = world.root.join("bare");
    std::fs::create_dir_all(&bare).unwrap();
    for program in ["git", "tmux", "sh", "sleep"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
            .unwrap();
        symlink(found, bare.join(program)).unwrap();
    }
    let call = |args: &[&str]| {
        let mut command = world.program(&[args, &["--json"]].concat());
        command.env("PATH", &bare);
        world.output(command, "").is(0).json()
    };
    let run = call(&["run", "--ticket", "T-1", "--repos", "shop", "--detach"]);
    world.until_run(run["run"]["run_id"].as_str().unwrap(), "completed");
    call(&["close", "--merge", "--yes"]);
    let (path, log) = logged(&world, &["zsh", "bash", "fish"]);
    let mut command = world.program(&["run", "--ticket", "T-2", "--repos", "shop", "--detach"]);
    command.env("PATH", path).env("SHELL", world.root.join("shims/zsh"));
    world.output(command, "").is(0);
    assert!(!log.exists(), "{}", std::fs::read_to_string(&log).unwrap());
}

#[test]
fn d23_a_childs_words_never_reach_our_terminal() {
    let noise = "echo NOISE; echo NOISE >&2; printf '\\033[2J' > /dev/tty 2>/dev/null; true";
    let world = World::with(&[("coder", "obeys.sh")], json!({ "workspace": { "setup": [["sh", "-c", noise]] } }));
    let hook = world.shop().join(".git/hooks/post-checkout");
    std::fs::write(&hook, "#!/bin/sh\necho HOOK NOISE\necho HOOK NOISE >&2\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let out = world.metawsm(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--json"]).is(0);
    assert!(!out.stdout.contains("NOISE") && out.stdout.lines().count() == 1, "{}", out.stdout);
    assert_eq!(out.stderr, "");
    let text = world.metawsm(&["run", "--ticket", "T-2", "--repos", "shop", "--detach"]).is(0);
    assert!(!text.stdout.contains("NOISE") && !text.stderr.contains("NOISE"), "{text:?}");
}

#[test]
fn d27_stopped_and_pending_agents_are_left_alone() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    let dry = world.ask(&["run", "--ticket", "T-2", "--repos", "shop", "--dry-run"])["run"]["run_id"].clone();
    world.ask(&["stop", "--run-id", &run, "--agent", "coder", "--yes"]);
    let _live = world.spawn(&["--headless"]);
    // The other one is looked at, so the whole home was.
    world.until_looked_at(&run, "other");
    assert_eq!(world.agent(&run, "coder")["status"], "stopped");
    assert_eq!(world.agent(dry.as_str().unwrap(), "coder")["status"], "pending");
    let events = world.metawsm(&["events", "--type", "agent.*"]).lines();
    assert!(!events.iter().any(|event| event["payload"]["to"] == "dead"), "{events:?}");
}

#[test]
fn d28_text_on_the_screen_is_no_exit() {
    let world = World::new(&[("loud", "floods.sh"), ("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    world.shows(world.agent(&run, "loud")["session"].as_str().unwrap(), "flood over");
    world.until_looked_at(&run, "loud");
    assert_eq!(world.agent(&run, "loud")["status"], "running", "it only said that it ended");
    // A real end is known though the screen was cleared.
    world.order("coder", 1, r"printf '\033[2J\033[3J\033[H'; exit 5");
    let ended = world.until_agent(&run, "coder", "failed");
    assert_eq!(ended["exit_status"], 5);
    assert_eq!(world.agent(&run, "loud")["status"], "running");
}

#[test]
fn d47_of_answers_given_at_once_one_is_taken() {
    let world = World::new(&[]);
    let ask = ["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "one"];
    world.ask(&[&ask[..], &["--actor-type", "agent", "--actor-name", "coder"]].concat());
    let statuses: Vec<i32> = std::thread::scope(|scope| {
        let call = |n: i32| {
            let body = format!("answer {n}");
            world.metawsm(&["forum", "answer", "--thread-id", "one", "--body", &body]).status
        };
        let calls: Vec<_> = (0..8).map(|n| scope.spawn(move || call(n))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 0).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [0, 4].contains(status)), "{statuses:?}");
    assert_eq!(world.ask(&["forum", "thread", "--thread-id", "one"])["posts"].as_array().unwrap().len(), 2);
    world.ask(&["forum", "close", "--thread-id", "one"]);
    let late = world.metawsm(&["forum", "post", "--thread-id", "one", "--body", "late", "--json"]).is(4).error();
    assert_eq!(late["details"]["state"], "closed");
    world.verified();
}

#[test]
fn d51_a_question_costs_no_process() {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.run(&[]);
    let (path, log) = logged(&world, &["sqlite3", "tmux", "git", "sh", "zsh", "ps", "env"]);
    let call = |args: &[&str]| {
        let mut command = world.program(args);
        command.env("PATH", &path);
        world.output(command, "").is(0)
    };
    call(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "one"]);
    call(&["forum", "post", "--thread-id", "one", "--body", "more"]);
    call(&["forum", "list"]);
    call(&["runs"]);
    call(&["agents"]);
    assert!(!log.exists(), "{}", std::fs::read_to_string(&log).unwrap());
    call(&["status"]);
    let calls = std::fs::read_to_string(&log).unwrap();
    assert!(calls.lines().all(|line| line.starts_with("git ")) && calls.lines().count() <= 16, "{calls}");
}

#[test]
fn d52_a_long_body_is_kept_byte_for_byte_and_a_too_long_one_is_refused() {
    let world = World::new(&[]);
    let body: String = (0..20_000).map(|n| format!("'{n}\";--\t\n")).collect();
    assert!(body.len() > 200_000);
    let ask = |body: &str, id: &str| {
        let args = ["forum", "ask", "--ticket", "T", "--title", "t", "--body", "-", "--thread-id", id, "--json"];
        world.output(world.program(&args), body)
    };
    ask(&body, "long").is(0);
    let kept = world.ask(&["forum", "thread", "--thread-id", "long"]);
    assert_eq!(kept["posts"][0]["body"], body.as_str());
    ask(&"x".repeat(1024 * 1024), "limit").is(0);
    let error = ask(&"x".repeat(2 * 1024 * 1024), "over").is(2).error();
    assert!(error["message"].as_str().unwrap().contains("1048576 are allowed"), "{error}");
    ask("", "empty").is(2);
    let events = world.metawsm(&["events", "--type", "forum.post.added"]).lines();
    assert!(events.iter().all(|event| event.to_string().len() < 80 * 1024), "payloads are capped");
    world.verified();
}

#[test]
fn d53_a_database_of_a_newer_program_is_left_as_it_is() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T", "--title", "t", "--body", "b"]);
    let conn = rusqlite::Connection::open(world.db()).unwrap();
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert!(version > 0, "the schema has a version");
    conn.pragma_update(None, "user_version", version + 1).unwrap();
    drop(conn);
    let before = std::fs::read(world.db()).unwrap();
    let calls =
        ["runs", "forum list", "status", "forum ask --ticket T --title t --body b", "--headless", "doctor --rebuild"];
    for call in calls {
        let args: Vec<&str> = call.split(' ').chain(["--json"]).collect();
        let error = world.metawsm(&args).is(7).error();
        assert!(error["message"].as_str().unwrap().contains("schema"), "{call}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("newer metawsm"), "{call}: {error}");
    }
    assert_eq!(std::fs::read(world.db()).unwrap(), before);
    let doctor = world.metawsm(&["doctor", "--json"]).is(1).json();
    let named = |finding: &Value| finding["name"] == "database" && finding["ok"] == false;
    assert!(doctor["findings"].as_array().unwrap().iter().any(named), "{doctor}");
}

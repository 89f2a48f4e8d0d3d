//! What scripts rely on: exit statuses, the error shape, JSON keys, names at the door, streams.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

#[test]
fn each_kind_of_failure_has_its_status_and_one_shape() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let newer = World::new(&[]);
    newer.ask(&["forum", "ask", "--ticket", "T", "--title", "t", "--body", "b"]);
    rusqlite::Connection::open(newer.db()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let broken = World::new(&[]);
    std::fs::write(broken.home().join(".metawsm/policy.json"), r#"{"version":3,"tmux":{"sockt":"x"}}"#).unwrap();
    let calls: &[(&World, &[&str], i32, &str)] = &[
        (&world, &["runs", "--status", "nonsense"], 2, "usage"),
        (&world, &["status", "--run-id", "nobody"], 3, "not_found"),
        (&world, &["forum", "thread", "--thread-id", "nobody"], 3, "not_found"),
        (&world, &["logs", "--agent", "nobody"], 3, "not_found"),
        (&world, &["run", "--ticket", "T-9", "--repos", "nowhere"], 3, "not_found"),
        (&world, &["run", "--ticket", "T-9", "--repos", "shop", "--base-branch", "nope"], 3, "not_found"),
        (&world, &["close", "--yes"], 4, "refused"),
        (&world, &["stop"], 4, "refused"),
        (&world, &["policy", "init"], 4, "refused"),
        (&world, &["run", "--ticket", "T-9", "--repos", "shop", "--run-id", &run], 4, "refused"),
        (&world, &["run", "--ticket", "T-9", "--repos", "shop", "--agent", "stranger"], 3, "not_found"),
        (&world, &["bootstrap", "--ticket", "T-9", "--repos", "shop"], 5, "policy_invalid"),
        (&broken, &["run", "--ticket", "T-9", "--repos", "shop"], 5, "policy_invalid"),
        (&broken, &["policy", "check"], 5, "policy_invalid"),
        (&newer, &["runs"], 7, "busy"),
        (&world, &["wait", "--for", "done", "--timeout", "1s"], 124, "timeout"),
    ];
    for (world, call, status, code) in calls {
        let out = world.metawsm(&[*call, &["--json"]].concat()).is(*status);
        let error = out.error();
        assert_eq!((error["code"].as_str(), keys(&error).as_str()), (Some(*code), "code message hint details"));
        assert!(error["hint"].is_string(), "{call:?} says what to do next: {error}");
        assert_eq!(out.stderr, "", "{call:?}");
        let text = world.metawsm(call);
        assert_eq!((text.status, text.stdout.as_str()), (*status, ""), "{call:?}");
        assert!(text.stderr.starts_with("metawsm: ") && text.stderr.contains("next: "), "{call:?}: {}", text.stderr);
    }
    let faults = broken.metawsm(&["policy", "check", "--json"]).error();
    assert!(faults["details"]["faults"][0]["hint"].as_str().unwrap().contains("socket"), "did you mean: {faults}");
}

#[test]
fn a_missing_program_is_named_with_its_remedy() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let empty = world.root.join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let call = |args: &[&str]| {
        let mut command = world.program(&[args, &["--json"]].concat());
        command.env("PATH", &empty);
        world.output(command, "")
    };
    let error = call(&["run", "--ticket", "T-1", "--repos", "shop", "--detach"]).is(6).error();
    assert_eq!((&error["code"], &error["hint"]), (&json!("outside"), &json!("install git 2.38 or newer")));
    let run = world.run(&[]);
    let error = call(&["restart", "--run-id", &run, "--dry-run"]);
    assert!([0, 6].contains(&error.status), "{error:?}");
    let doctor = call(&["doctor"]).is(1).json();
    let bad: Vec<&str> = doctor["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["ok"] == false)
        .map(|finding| finding["name"].as_str().unwrap())
        .collect();
    assert!(bad.contains(&"git") && bad.contains(&"tmux"), "{doctor}");
    // What needs neither goes on.
    call(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]).is(0);
    call(&["runs"]).is(0);
}

#[test]
fn names_are_refused_at_the_door_and_never_repaired() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let long = "x".repeat(300);
    for name in ["..", "a..b", "a b", "a:b", "a/b", "-x", ".x", "x.", "x.lock", "", "é", "a\nb", &long] {
        for option in ["--ticket", "--run-id"] {
            let given = format!("{option}={name}");
            let mut args = vec!["run", &given, "--repos", "shop", "--detach", "--json"];
            args.extend((option == "--run-id").then_some("--ticket=T-1"));
            let out = world.metawsm(&args);
            let error = out.is(2).error();
            assert_eq!(error["code"], "usage", "{name:?}");
        }
    }
    assert!(!world.db().exists(), "what is refused makes no home");
    let error = world.metawsm(&["run", "--ticket", "a b", "--repos", "shop", "--json"]).is(2).error();
    assert!(error.to_string().contains("a-b"), "a valid one is named: {error}");
}

#[test]
fn usage_errors_are_json_too() {
    let world = World::bare();
    let calls: &[&[&str]] = &[&["bogus", "--json"], &["--json", "run"], &["wait", "--for", "x", "--json"], &["--json"]];
    for call in calls {
        let error = world.metawsm(call).is(2).error();
        assert_eq!(error["code"], "usage", "{call:?}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let text = world.metawsm(&["bogus"]).is(2);
    assert!(text.stdout.is_empty() && text.stderr.contains("bogus"), "{text:?}");
    for call in [&["--help"][..], &["run", "--help"], &["forum", "ask", "--help"], &["--version"], &["man"]] {
        assert!(!world.metawsm(call).is(0).stdout.is_empty());
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.metawsm(&["completions", shell]).is(0).stdout.contains("metawsm"));
    }
    assert!(world.metawsm(&["run", "--help"]).stdout.contains("Example: metawsm run"));
}

#[test]
fn an_empty_list_says_so_and_what_fills_it() {
    let world = World::new(&[]);
    world.metawsm(&["policy", "init", "--force"]).is(0);
    for (call, word) in [
        ("runs", "metawsm run"),
        ("agents", "metawsm run"),
        ("steps", "metawsm run"),
        ("forum list", "metawsm forum ask"),
        ("forum queue", "metawsm forum list"),
    ] {
        let args: Vec<&str> = call.split(' ').collect();
        let out = world.metawsm(&args).is(0).stdout;
        assert!(out.contains(word), "{call}: {out:?}");
        let json = world.metawsm(&[&args[..], &["--json"]].concat()).is(0).json();
        let list = json.as_object().unwrap().values().next().unwrap();
        assert_eq!(list, &json!([]), "{call}");
    }
}

fn keys(value: &Value) -> String {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_json_shapes_are_those_of_the_page() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let status = world.ask(&["status", "--run-id", &run]);
    insta::assert_snapshot!(keys(&status), @"run steps agents threads escalations suggestions gates docs diffs pull_requests review_feedback operator supervisor");
    insta::assert_snapshot!(keys(&status["run"]), @"run_id status mode tickets repos doc_home_repo base_branch strategy dry_run created_at updated_at reason counts next brief workspaces paths");
    insta::assert_snapshot!(keys(&status["run"]["counts"]), @"agents healthy unhealthy done guidance escalations");
    insta::assert_snapshot!(keys(&status["steps"][0]), @"index name kind status attempts error started_at finished_at ticket workspace agent argv paths run_id");
    insta::assert_snapshot!(keys(&status["agents"][0]), @"run_id name workspace ticket session profile runner status health waiting_for reason since evidence epoch exit_status exit_signal last_output_at last_progress_at restarts pid launch waiting_since quiet said held");
    insta::assert_snapshot!(keys(&status["agents"][0]["restarts"]), @"used budget cooldown_until");
    insta::assert_snapshot!(keys(&status["gates"][0]), @"name ok reason mend");
    insta::assert_snapshot!(keys(&status["threads"][0]), @"thread_id ticket run_id workspace agent_name title state priority assignee_type assignee_name opened_by_type opened_by_name posts_count last_post_at last_post_by_type last_post_by_name last_event_sequence last_actor_type opened_at updated_at closed_at control waiting_on waiting_since epoch due_at is_unseen is_unanswered");
    insta::assert_snapshot!(keys(&world.ask(&["runs"])), @"runs supervisor");
    insta::assert_snapshot!(keys(&world.ask(&["agents"])), @"agents supervisor next_cursor");
    insta::assert_snapshot!(keys(&world.ask(&["steps"])), @"steps next_cursor");
    insta::assert_snapshot!(keys(&world.ask(&["forum", "list"])), @"threads next_cursor");
    insta::assert_snapshot!(keys(&world.ask(&["forum", "queue"])), @"threads next_cursor");
    let control = status["threads"][0]["thread_id"].as_str().unwrap();
    let thread = world.ask(&["forum", "thread", "--thread-id", control]);
    insta::assert_snapshot!(keys(&thread), @"thread posts events");
    insta::assert_snapshot!(keys(&thread["posts"][0]), @"post_id seq author_type author_name body created_at signal in_reply_to delivery");
    let asked = world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    insta::assert_snapshot!(keys(&asked), @"thread seq post");
    insta::assert_snapshot!(keys(&world.ask(&["close", "--dry-run", "--merge"])), @"run would gates");
    insta::assert_snapshot!(keys(&world.ask(&["merge", "--yes"])), @"run steps agents seq merged");
    insta::assert_snapshot!(keys(&world.ask(&["wait"])), @"run reached");
    let _live = world.spawn(&["--headless"]);
    let supervisor = wait_for("a supervisor", PATIENCE, || {
        Some(world.ask(&["runs"])["supervisor"].clone()).filter(|holder| !holder.is_null())
    });
    insta::assert_snapshot!(keys(&supervisor), @"pid since last_seen_at");
    let events = world.metawsm(&["events", "--type", "run.created"]).is(0).lines();
    insta::assert_snapshot!(keys(&events[0]), @"seq event_id event_type event_version occurred_at run_id actor_type actor_name correlation_id payload");
    assert!(events[0].as_object().unwrap().values().all(|value| !value.is_null()), "empty fields of events are absent");
}

#[test]
fn events_are_resumable_by_seq_and_end_with_their_reader() {
    let world = World::new(&[]);
    let post = |body: &str| world.ask(&["forum", "post", "--thread-id", "one", "--body", body]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b", "--thread-id", "one"]);
    let all = world.metawsm(&["events"]).is(0).lines();
    let middle = all[0]["seq"].as_i64().unwrap();
    let rest = world.metawsm(&["events", "--since", &middle.to_string()]).is(0).lines();
    assert_eq!(rest, all[1..]);
    assert_eq!(world.metawsm(&["events", "--limit", "1"]).is(0).lines(), all[..1]);
    let last = all.last().unwrap()["seq"].as_i64().unwrap().to_string();
    let live = world.spawn(&["events", "--follow", "--since", &last, "--type", "forum.post.*"]);
    let watch = world.spawn(&["forum", "watch", "--follow", "--since", &last]);
    for body in ["first", "second"] {
        post(body);
        live.line(body, |line| line["payload"]["body"] == body);
        watch.line(body, |line| line["payload"]["body"] == body);
    }
    assert_eq!(live.lines().len(), 2, "each once: {:?}", live.lines());

    let mut command = world.program(&["events", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    post("nobody reads this");
    let status = wait_for("its end", PATIENCE, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let mut words = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut words).unwrap();
    assert_eq!(words, "");
}

#[test]
fn headless_takes_commands_on_its_stdin() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let mut live = world.spawn(&["--headless"]);
    live.line("the lease", |line| line["event_type"] == "lease.acquired");
    let answer = |live: &crate::world::Live, id: &str| live.line(id, |line| line["id"] == id);
    live.say(r#"{"id":"run","argv":["run","--ticket","T-1","--repos","shop"]}"#);
    let run = answer(&live, "run");
    assert_eq!((&run["status"], &run["result"]["run"]["status"]), (&json!(0), &json!("running")));
    live.say(r#"{"id":"ask","argv":["forum","ask","--ticket","T-1","--title","t","--body","b","--thread-id","one"]}"#);
    assert_eq!(answer(&live, "ask")["result"]["thread"]["thread_id"], "one");
    live.say("this is no JSON");
    live.line("a refusal", |line| line["id"].is_null() && line["status"] == 2 && line["result"]["error"].is_object());
    for (id, argv) in [
        ("attach", r#"["attach"]"#),
        ("events", r#"["events","--follow"]"#),
        ("none", r#"[]"#),
        ("bogus", r#"["bogus"]"#),
        ("stdin", r#"["forum","post","--thread-id","one","--body","-"]"#),
        ("help", r#"["--no-such-option"]"#),
    ] {
        live.say(&format!(r#"{{"id":"{id}","argv":{argv}}}"#));
        let line = answer(&live, id);
        assert_eq!((&line["status"], &line["result"]["error"]["code"]), (&json!(2), &json!("usage")), "{line}");
    }
    live.say(r#"{"id":"close","argv":["close","--yes"]}"#);
    assert_eq!(answer(&live, "close")["status"], 4);
    live.say(r#"{"id":"confirm","argv":["stop"]}"#);
    assert_eq!(answer(&live, "confirm")["status"], 4, "nobody can be asked here");
    live.hang_up();
    world.ask(&["forum", "post", "--thread-id", "one", "--body", "after the end of stdin"]);
    live.line("the post", |line| line["payload"]["body"] == "after the end of stdin");
    assert!(live.running(), "EOF changes nothing");
    let seqs: Vec<i64> = live.json().iter().filter_map(|line| line["seq"].as_i64()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    live.signal("TERM");
    assert_eq!(live.ended(), 0);
    assert_eq!(world.sessions().len(), 1, "agents go on");
}

#[test]
fn a_policy_is_written_checked_and_shown() {
    let world = World::bare();
    world.metawsm(&["policy", "init"]).is(0);
    assert!(world.db().is_file());
    world.metawsm(&["policy", "check"]).is(0);
    world.metawsm(&["policy-init"]).is(4);
    let shown = world.ask(&["policy", "show"]);
    assert!(shown["keys"].as_array().unwrap().iter().any(|key| key["path"] == "tmux.session_pattern"));
    let schema: Value = serde_json::from_str(&world.metawsm(&["policy", "schema"]).is(0).stdout).unwrap();
    assert!(schema.to_string().contains("stop_grace_seconds"));
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.example.json");
    let policy = world.home().join(".metawsm/policy.json");
    assert_eq!(std::fs::read(&policy).unwrap(), std::fs::read(example).unwrap());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(policy.parent().unwrap()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    // The built-in profile is an interactive shell that needs nothing but sh.
    world.metawsm(&["run", "--ticket", "T-1", "--repos", "shop", "--dry-run"]).is(0);
}

#[test]
fn a_repository_that_cannot_be_started_from_is_refused_with_its_remedy() {
    let world = World::new(&[("coder", "obeys.sh")]);
    std::fs::create_dir_all(world.home().join("plain")).unwrap();
    std::fs::create_dir_all(world.home().join("empty")).unwrap();
    world.git(&world.home().join("empty"), &["init", "-q", "-b", "main"]);
    // `main` here and on origin went different ways.
    let diverged = world.repo("diverged");
    let origin = world.root.join("origin.git");
    world.git(&world.root, &["clone", "-q", "--bare", &diverged.display().to_string(), "origin.git"]);
    world.git(&diverged, &["remote", "add", "origin", &origin.display().to_string()]);
    world.git(&diverged, &["commit", "-q", "--allow-empty", "-m", "theirs"]);
    world.git(&diverged, &["push", "-q", "origin", "main"]);
    world.git(&diverged, &["reset", "-q", "--hard", "HEAD~1"]);
    world.git(&diverged, &["commit", "-q", "--allow-empty", "-m", "ours"]);
    let before = crate::git_world::listing(&diverged);
    for (repo, status, word) in [
        ("./plain", 3, "git repository"),
        ("./nowhere", 3, "does not exist"),
        ("./empty", 3, "no commits yet"),
        ("diverged", 4, "origin/main"),
    ] {
        let out = world.metawsm(&["run", "--ticket", "T-1", "--repos", repo, "--detach", "--json"]).is(status);
        assert!(out.error()["message"].as_str().unwrap().contains(word), "{repo}: {}", out.stdout);
        assert!(out.error()["hint"].is_string(), "{repo}: {}", out.stdout);
    }
    assert_eq!(crate::git_world::listing(&diverged), before);
    assert!(!world.db().exists(), "what is refused makes no home");
    // Behind its origin, a repository starts from where origin is.
    world.git(&diverged, &["reset", "-q", "--hard", "HEAD~1"]);
    let run = world.ask(&["run", "--ticket", "T-1", "--repos", "diverged", "--detach"]);
    let tree = std::path::Path::new(run["run"]["workspaces"][0]["path"].as_str().unwrap()).join("diverged");
    assert_eq!(world.git(&tree, &["log", "-1", "--format=%s"]), "theirs");
    // An origin that is gone is a warning.
    std::fs::rename(&origin, world.root.join("moved.git")).unwrap();
    world.ask(&["run", "--ticket", "T-2", "--repos", "diverged", "--detach"]);
    let warned = world.metawsm(&["events", "--type", "workspace.created", "--ticket", "T-2"]).is(0).lines();
    assert!(warned[0]["payload"]["warnings"][0].as_str().unwrap().contains("origin could not be asked"), "{warned:?}");
}

#[test]
fn damaged_tables_are_found_and_made_anew() {
    let world = World::new(&[("coder", "works.sh")]);
    let run = world.run(&[]);
    world.until_run(&run, "completed");
    let before = world.ask(&["status", "--run-id", &run]);
    world.metawsm(&["doctor", "--verify"]).is(0);
    let conn = rusqlite::Connection::open(world.db()).unwrap();
    conn.execute_batch("DELETE FROM step; DELETE FROM thread").unwrap();
    drop(conn);
    let doctor = world.metawsm(&["doctor", "--verify", "--json"]).is(1).json();
    let verify = doctor["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == "verify").unwrap();
    assert_eq!(verify["mend"], "metawsm doctor --rebuild");
    world.metawsm(&["doctor", "--rebuild"]).is(0);
    world.metawsm(&["doctor", "--verify"]).is(0);
    let after = world.ask(&["status", "--run-id", &run]);
    for key in ["run", "steps", "agents", "threads"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    // While somebody supervises, the tables are not taken from under them.
    let live = world.spawn(&["--headless"]);
    live.line("the lease", |line| line["event_type"] == "lease.acquired");
    assert_eq!(world.metawsm(&["doctor", "--rebuild", "--json"]).is(7).error()["code"], "busy");
}

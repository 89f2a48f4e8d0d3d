//! `doctor` on agent programs and on what nobody wants any more (spec 3).

use serde_json::{Value, json};

use crate::world::World;

fn findings(world: &World, args: &[&str], status: i32, name: &str) -> Vec<Value> {
    let found = world.metawsm(&[&["doctor", "--json"], args].concat()).is(status).json();
    found["findings"].as_array().unwrap().iter().filter(|finding| finding["name"] == name).cloned().collect()
}

/// A world whose one agent has the runner of an agent program that says its version and waits.
fn with_program(script: &str, runner: Value) -> World {
    let world = World::bare();
    std::fs::create_dir_all(world.home().join(".metawsm")).unwrap();
    let program = world.root.join("codex");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut codex = json!({
        "start": [program, "--add-dir", "{metawsm_dir}", "--add-dir", "{git_dirs}", "{prompt}"],
    });
    crate::world::merge(&mut codex, runner);
    world.policy(
        &[],
        json!({
            "agent_profiles": [{ "name": "coder", "runner": "codex", "base_prompt": "Work." }],
            "agents": [{ "name": "coder", "profile": "coder" }],
            "runners": { "codex": codex },
        }),
    );
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    world
}

const WAITS: &str = "#!/bin/sh\n[ \"$1\" = --version ] && { echo codex-cli 1.2.3; exit; }\necho ready for \"$#\"; setsid sleep 600 & exec sleep 600\n";

#[test]
fn an_agent_program_is_found_tells_its_version_can_ask_and_can_commit() {
    let world = with_program(WAITS, json!({}));
    let found = findings(&world, &[], 0, "runners");
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0]["message"],
        "profile coder: codex-cli 1.2.3, can ask, can commit where the repository says in whose name"
    );
    // On demand it is started, shows its screen, and leaves nothing behind.
    let found = findings(&world, &["--runners"], 0, "runners");
    let message = found[0]["message"].as_str().unwrap();
    assert!(
        message.contains("in whose name, starts (its screen after") && message.contains("ready for 0"),
        "{message}"
    );
    let left = std::fs::read_dir(world.home().join(".metawsm")).unwrap().flatten();
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with("trial")));
    assert!(world.nothing_runs(), "the program and what it took into a session of its own are ended");
}

#[test]
fn what_keeps_an_agent_program_from_its_work_is_named_with_its_mend() {
    let world = with_program("#!/bin/sh\n[ \"$1\" = --version ] && exit\necho no licence here; exit 3\n", json!({}));
    let found = findings(&world, &["--runners"], 1, "runners");
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("it does not stay: exited with 3; it says: no licence here"), "{message}");
    assert!(found[0]["mend"].as_str().unwrap().contains("start it by hand"), "{found:?}");

    let world = with_program(WAITS, json!({ "start": ["no-such-program", "{prompt}"] }));
    let found = findings(&world, &[], 1, "runners");
    assert_eq!(found[0]["message"], "profile coder: no-such-program is not installed or not on PATH");
    assert!(found[0]["mend"].as_str().unwrap().starts_with("install no-such-program"));

    let world = with_program(WAITS, json!({ "start": ["sh", "{prompt}"] }));
    let found = findings(&world, &[], 1, "runners");
    assert!(found[0]["message"].as_str().unwrap().contains("cannot commit or ask"), "{found:?}");
}

#[test]
fn a_session_is_an_orphan_when_no_open_run_wants_it() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let closed = world.run(&["--run-id", "first", "--workspace", "same"]);
    let session = world.agent(&closed, "coder")["session"].as_str().unwrap().to_owned();
    let sessions = |status: i32| findings(&world, &[], status, "sessions");
    assert_eq!(sessions(0)[0]["message"], "every session belongs to an open run");
    // What somebody started by hand under the name of an agent that was stopped.
    world.metawsm(&["stop", "--run-id", &closed, "--yes"]).is(0);
    world.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", &session, "sleep 600"]);
    let found = sessions(1);
    assert_eq!(found[0]["message"], format!("session {session} belongs to agent coder of run first, which is stopped"));
    assert_eq!(found[0]["mend"], "metawsm doctor --repair ends it");
    world.metawsm(&["doctor", "--repair"]).is(0);
    assert_eq!(world.sessions(), Vec::<String>::new());
}

#[test]
fn policy_init_finds_the_agent_programs_on_path_and_overwrites_nothing_unasked() {
    let world = World::bare();
    let bin = world.root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    for (name, mode) in [("codex", 0o755), ("opencode", 0o755), ("claude", 0o644)] {
        std::fs::write(bin.join(name), WAITS).unwrap();
        std::fs::set_permissions(bin.join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let call = |args: &[&str]| {
        let mut command = world.program(args);
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        world.output(command, "")
    };
    let made = call(&["policy", "init", "--detect", "--json"]).is(0).json();
    assert_eq!(made["detected"], json!(["codex", "opencode"]), "what cannot be run is not there");
    let policy: Value =
        serde_json::from_slice(&std::fs::read(world.home().join(".metawsm/policy.json")).unwrap()).unwrap();
    let names = |key: &str| policy[key].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names("agent_profiles"), ["default-shell", "codex", "opencode"]);
    assert_eq!(names("agents"), ["agent", "codex", "opencode"]);
    // Each of them has its finding.
    let doctor = call(&["doctor", "--json"]).is(0).json();
    let told = doctor["findings"].as_array().unwrap().iter().filter(|finding| finding["name"] == "runners");
    assert_eq!(told.count(), 3, "{doctor}");
    call(&["policy", "init"]).is(4);
    call(&["policy", "init", "--force"]).is(0);
}

//! An agent that is started again goes on with its own conversation, or it is said that it does not (spec 2.4, 7).

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

pub const NAMES: [&str; 2] = ["one", "two"];

/// A world in which two agents of a program work in the same directory.
pub fn world(program: &str) -> World {
    let world = World::bare();
    let talks = world.root.join("talks");
    std::fs::create_dir_all(&talks).unwrap();
    std::fs::create_dir_all(world.home().join(".metawsm")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents/talks.sh");
    let argv = |rest: &[&str]| json!([&["sh", script.to_str().unwrap(), program], rest].concat());
    let runner = match program {
        "codex" => json!({ "start": argv(&["{prompt}"]), "resume": argv(&["resume", "{session_id}", "{prompt}"]) }),
        "claude" => json!({
            "start": argv(&["--session-id", "{session_id}", "{prompt}"]),
            "resume": argv(&["--resume", "{session_id}", "{prompt}"]),
        }),
        _ => json!({
            "start": argv(&["--prompt", "{prompt}"]), "resume": argv(&["--session", "{session_id}"]),
            "conversation_list": argv(&["list"]), "conversation_show": argv(&["export", "{session_id}"]),
        }),
    };
    let profile = json!({
        "name": program, "runner": program, "base_prompt": "Work.",
        "env": { "TALKS": talks, "CODEX_HOME": talks.join("codex"), "CLAUDE_CONFIG_DIR": talks.join("claude") },
        "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
    });
    let agents: Vec<Value> = NAMES.iter().map(|name| json!({ "name": name, "profile": program })).collect();
    let more = json!({ "agent_profiles": [profile], "agents": agents, "runners": { program: runner } });
    world.policy(&[], more);
    world
}

/// What the program of a launch said: the word, and the id behind it.
pub fn said(world: &World, run: &str, name: &str, word: &str) -> String {
    let session = world.agent(run, name)["session"].as_str().unwrap().to_owned();
    wait_for(&format!("{name} to say {word}"), PATIENCE, || {
        let screen = world.screen(&session).replace('\n', " ");
        let after = screen.split(&format!("{word} ")).nth(1)?.to_owned();
        after.split_whitespace().next().filter(|id| id.len() == 36).map(str::to_owned)
    })
}

fn kept(world: &World, run: &str, name: &str) -> PathBuf {
    let session = world.agent(run, name)["session"].as_str().unwrap().to_owned();
    world.home().join(".metawsm/agents").join(session).join("conversation")
}

pub fn until_begun(world: &World, run: &str, name: &str, id: &str) {
    wait_for(&format!("{id} to be known"), PATIENCE, || {
        let kept: Value = serde_json::from_slice(&std::fs::read(kept(world, run, name)).ok()?).ok()?;
        (kept == json!({ "id": id, "begun": true })).then_some(())
    });
}

/// Why each later launch of an agent stands where it does.
pub fn reasons(world: &World, name: &str) -> Vec<String> {
    let events = world.metawsm(&["events", "--type", "agent.transitioned"]).is(0).lines();
    let again = |event: &&Value| event["agent_name"] == name && event["payload"]["launch"].as_u64() > Some(1);
    events.iter().filter(again).map(|event| event["payload"]["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn who_goes_with_the_tmux_server_comes_back_to_its_own_conversation() {
    let world = world("codex");
    let run = world.run(&[]);
    let began = NAMES.map(|name| said(&world, &run, name, "began"));
    // Somebody's own conversation in the same place, and one from another.
    let place = world.root.join("talks/codex/sessions/2026/11/21");
    for (at, cwd) in [world.tree(&run), world.home()].iter().enumerate() {
        let text = format!("{}\n{{\"user\":\"hello\"}}\n", json!({ "payload": { "cwd": cwd } }));
        std::fs::write(place.join(format!("rollout-0-0000000{at}-0000-4000-8000-000000000000.jsonl")), text).unwrap();
    }
    NAMES.iter().zip(&began).for_each(|(name, id)| until_begun(&world, &run, name, id));
    let _live = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "two");
    world.tmux(&["kill-server"]);
    for (name, id) in NAMES.iter().zip(&began) {
        assert_eq!(said(&world, &run, name, "resumed"), *id);
        // The program may speak before its start is written down.
        world.until_agent(&run, name, "running");
        assert_eq!(reasons(&world, name), [format!("started, launch 2: its conversation {id} goes on")]);
    }
}

#[test]
fn a_conversation_is_found_in_the_programs_list_when_it_is_needed() {
    let world = world("opencode");
    let run = world.run(&[]);
    let began = NAMES.map(|name| said(&world, &run, name, "began"));
    let _live = world.spawn(&["--headless"]);
    for (name, id) in NAMES.iter().zip(&began) {
        let session = world.agent(&run, name)["session"].as_str().unwrap().to_owned();
        signal(world.record(&session, 1).agent_pid.unwrap(), "KILL");
        world.until_agent(&run, name, "dead");
        world.ask(&["restart", "--run-id", &run, "--agent", name]);
        assert_eq!(said(&world, &run, name, "resumed"), *id);
        until_begun(&world, &run, name, id);
        let reasons = reasons(&world, name);
        let whole = format!("started, launch 2: its conversation {id} goes on; it is told so by a typed line");
        assert_eq!(reasons, [whole]);
    }
    // It takes no prompt along, so what it is to do is typed.
    let queued = world.metawsm(&["events", "--type", "delivery.queued"]).is(0).lines();
    let told =
        |event: &Value| (event["agent_name"].clone(), event["payload"]["text"].as_str().unwrap().contains("goes on"));
    assert_eq!(queued.iter().map(told).collect::<Vec<_>>(), [(json!("one"), true), (json!("two"), true)]);
}

#[test]
fn a_chosen_id_is_resumed_only_where_its_conversation_has_begun() {
    let world = world("claude");
    std::fs::write(world.root.join("talks/silent"), "").unwrap();
    let run = world.run(&[]);
    let silent = said(&world, &run, "one", "silent");
    std::fs::remove_file(world.root.join("talks/silent")).unwrap();
    world.ask(&["restart", "--run-id", &run, "--agent", "one"]);
    let began = said(&world, &run, "one", "began");
    assert_ne!(began, silent, "an id that was used is not used again");
    until_begun(&world, &run, "one", &began);
    world.ask(&["restart", "--run-id", &run, "--agent", "one"]);
    assert_eq!(said(&world, &run, "one", "resumed"), began);
    let expected = [
        "started, launch 2: with a new conversation: claude had begun none before".to_owned(),
        format!("started, launch 3: its conversation {began} goes on"),
    ];
    assert_eq!(reasons(&world, "one"), expected);
}

#[test]
fn where_the_conversation_is_not_known_the_restart_says_so() {
    let world = world("codex");
    let run = world.run(&[]);
    let began = said(&world, &run, "one", "began");
    until_begun(&world, &run, "one", &began);
    std::fs::remove_dir_all(world.root.join("talks/codex")).unwrap();
    std::fs::remove_file(kept(&world, &run, "one")).unwrap();
    world.ask(&["restart", "--run-id", &run, "--agent", "one"]);
    assert_ne!(said(&world, &run, "one", "began"), began);
    assert_eq!(reasons(&world, "one"), ["started, launch 2: with a new conversation: codex had begun none before"]);
}

#[test]
fn conversations_that_quote_each_other_are_not_mixed_up() {
    for program in ["codex", "opencode"] {
        let world = world(program);
        let run = world.run(&[]);
        let began = NAMES.map(|name| said(&world, &run, name, "began"));
        NAMES.iter().zip(&began).for_each(|(name, id)| until_begun(&world, &run, name, id));
        // Each has read what the other was told, from the first word to the file it stands in.
        let files = began.clone().map(|id| match program {
            "codex" => {
                world.root.join(format!("talks/codex/sessions/2026/11/21/rollout-2026-11-21T10-00-00-{id}.jsonl"))
            }
            _ => world.root.join(format!("talks/{id}.text")),
        });
        let prompts =
            files.clone().map(|file| std::fs::read_to_string(file).unwrap().lines().nth(1).unwrap().to_owned());
        for (at, file) in files.iter().enumerate() {
            let other = kept(&world, &run, NAMES[1 - at]).with_file_name("prompt.md");
            assert!(other.is_file());
            let text = std::fs::read_to_string(file).unwrap();
            let quoted = format!("{text}{}\n{{\"tool\":\"cat {}\"}}\n", prompts[1 - at], other.display());
            let created = std::fs::metadata(file).unwrap().created().ok();
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|mut file| file.write_all(quoted.as_bytes()))
                .unwrap();
            assert_eq!(std::fs::metadata(file).unwrap().created().ok(), created);
            // Nobody has kept whose is whose.
            std::fs::remove_file(kept(&world, &run, NAMES[at])).unwrap();
        }
        for (name, id) in NAMES.iter().zip(&began) {
            world.ask(&["restart", "--run-id", &run, "--agent", name]);
            assert_eq!(said(&world, &run, name, "resumed"), *id, "{program}: {name}");
        }
    }
}

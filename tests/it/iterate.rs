//! `iterate`: feedback on what was done reaches the agents, which begin their next epoch.

use std::path::PathBuf;

use serde_json::{Value, json};

use metawsm::domain::actor::Actor;
use metawsm::domain::agent::AgentKey;
use metawsm::services::engine::{Caller, Engine, Surroundings};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::iterate::{Words, carry_out};

use crate::committing::left;
use crate::world::World;

const DONE: &str = "\"$METAWSM_BIN\" forum signal --type completion --summary done > /dev/null";

/// What an agent did last time is not what it does now.
fn forget(world: &World) {
    std::fs::remove_file(world.home().join("orders/coder-1")).unwrap();
}

fn finish(world: &World, run: &str) {
    world.order("coder", 1, DONE);
    world.until_run(run, "completed");
    forget(world);
}

/// A run that began anew once and is completed again, all of it committed.
fn iterated() -> (World, String) {
    let (world, run) = left(json!({}));
    forget(&world);
    world.ask(&["commit"]);
    world.ask(&["iterate", "--feedback", "An index"]);
    finish(&world, &run);
    world.ask(&["commit"]);
    (world, run)
}

fn feedback(world: &World, run: &str) -> PathBuf {
    world.tree(run).parent().unwrap().join("operator-feedback.md")
}

/// The feedback among the ticket's docs, as git sees them.
fn reference(world: &World, run: &str) -> PathBuf {
    let found = world.git(&world.tree(run), &["ls-files", "-o", "-c", "*99-operator-feedback.md"]);
    world.tree(run).join(found.lines().next().expect("no feedback among the docs"))
}

fn own(world: &World) -> Vec<String> {
    let dry = world.ask(&["commit", "--dry-run"]);
    dry["would"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn feedback_is_written_where_agents_read_it_and_they_begin_their_next_epoch() {
    let (world, run) = left(json!({}));
    forget(&world);
    world.ask(&["commit"]);
    for bad in ["", "  \n"] {
        assert!(world.metawsm(&["iterate", "--feedback", bad, "--json"]).is(2).error()["hint"].is_string());
    }
    world.metawsm(&["iterate", "--json"]).is(2);
    let text = "The table lacks an index\n<!-- metawsm:x -->\nand a test";
    let answer = world.ask(&["iterate", "--feedback", text]);
    assert_eq!((&answer["agents"][0]["epoch"], &answer["run"]["status"]), (&json!(2), &json!("running")), "{answer}");
    let path = feedback(&world, &run);
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("# Operator feedback\n\n## 20") && written.contains("\nand a test\n"), "{written}");
    assert!(written.contains("&lt;!-- metawsm:x -->"), "it cannot pass for a mark of ours: {written}");
    assert_eq!(std::fs::read_to_string(reference(&world, &run)).unwrap(), written);
    assert_eq!(answer["files"][0], path.to_str().unwrap());
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    let prompt = world.home().join(".metawsm/agents").join(&session).join("prompt.md");
    let prompt = std::fs::read_to_string(prompt).unwrap();
    assert!(prompt.contains(&format!("feedback on it in the file {}", path.display())), "{prompt}");
    // D4: what it said in its first epoch does not end the second.
    world.shows(&session, "ready coder");
    assert_eq!(
        (world.run_status(&run), world.ask(&["status"])["run"]["reason"].clone()),
        ("running".into(), json!("iterated: The table lacks an index…"))
    );
    finish(&world, &run);
    let own = own(&world);
    assert!(own.iter().any(|line| line.contains("ticket docs")) && own.len() == 1, "ours, and nobody else's: {own:?}");
    // Again, with the same words: another epoch, another section.
    for _ in 0..2 {
        world.ask(&["iterate", "--feedback", "Once more"]);
        finish(&world, &run);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().matches("\n## 20").count(), 3);
    let restarts = world.verified().into_iter().filter(|event| event["event_type"] == "agent.restarted");
    let told: Vec<(Value, Value)> =
        restarts.map(|event| (event["payload"]["epoch"].clone(), event["payload"]["reason"].clone())).collect();
    let reasons = [(2, "iterated: The table lacks an index…"), (3, "iterated: Once more"), (4, "iterated: Once more")];
    assert_eq!(told, reasons.map(|(epoch, reason)| (json!(epoch), json!(reason))));
    world.ask(&["commit"]);
    assert_eq!(world.git(&world.tree(&run), &["status", "--porcelain", "-uall"]), "");
}

#[test]
fn feedback_to_agents_at_work_ends_what_runs_and_to_who_is_paused_is_refused() {
    let world = World::new(&[("coder", "obeys.sh"), ("coder-2", "obeys.sh")]);
    let run = world.run(&[]);
    let session = |name: &str| world.agent(&run, name)["session"].as_str().unwrap().to_owned();
    let sessions = [session("coder"), session("coder-2")];
    let first = sessions.each_ref().map(|session| world.record(session, 1).agent_pid);
    let answer = world.ask(&["iterate", "--feedback", "another way"]);
    assert!(first.iter().all(Option::is_some) && answer["run"]["status"] == "running", "{answer}");
    for (session, first) in sessions.iter().zip(first) {
        let before = world.record(session, 1);
        assert!(before.ended_at_ms.is_some() && world.record(session, 2).agent_pid != first, "{before:?}");
    }
    let epochs = answer["agents"].as_array().unwrap().iter().map(|agent| (&agent["status"], &agent["epoch"]));
    assert!(epochs.clone().all(|(status, epoch)| status == "running" && *epoch == 2), "{answer}");
    // Who was stopped stays so where others begin.
    world.ask(&["stop", "--agent", "coder-2", "--yes"]);
    let dry = world.ask(&["iterate", "--feedback", "again", "--dry-run"]);
    assert!(dry["would"].as_array().unwrap().contains(&json!("leave agent coder-2 stopped")), "{dry}");
    world.ask(&["iterate", "--feedback", "again"]);
    let stands = |name: &str| (world.agent(&run, name)["status"].clone(), world.agent(&run, name)["epoch"].clone());
    assert_eq!(stands("coder"), (json!("running"), json!(3)));
    assert_eq!(stands("coder-2"), (json!("stopped"), json!(2)));
    world.ask(&["pause"]);
    let error = world.metawsm(&["iterate", "--feedback", "more", "--json"]).is(4).error();
    assert_eq!(error["details"]["state"], "paused", "{error}");
    let written = std::fs::read_to_string(feedback(&world, &run)).unwrap();
    assert!(!written.contains("more"), "what is refused leaves nothing: {written}");
    // In a session it is an action on runs like the others.
    world.ask(&["resume"]);
    world.order("coder", 1, "\"$METAWSM_BIN\" iterate --feedback mine; echo \"said $?\"");
    world.shows(world.agent(&run, "coder")["session"].as_str().unwrap(), "said 4");
}

#[test]
fn whoever_was_killed_after_writing_writes_nothing_twice_and_it_stays_ours() {
    let (world, run) = iterated();
    // As a process leaves it that is killed before the journal knows: the entry is there and nothing else.
    let path = reference(&world, &run);
    let before = std::fs::read_to_string(&path).unwrap();
    let entry = "\n## 2026-11-21T08:00:00.000Z\n<!-- metawsm:iterate:x -->\n\nA test\n<!-- /metawsm:iterate:x -->\n";
    std::fs::write(&path, format!("{before}{entry}")).unwrap();
    assert!(own(&world).iter().all(|line| line.contains("ticket docs")), "{:?}", own(&world));
    // The same in a file that was not there.
    std::fs::remove_file(&path).unwrap();
    world.git(&world.tree(&run), &["rm", "-q", "--cached", path.to_str().unwrap()]);
    world.git(&world.tree(&run), &["commit", "-qm", "without"]);
    std::fs::write(&path, format!("# Operator feedback\n{entry}")).unwrap();
    assert!(own(&world).iter().all(|line| line.contains("ticket docs")), "{:?}", own(&world));
    // What somebody writes himself is his.
    std::fs::write(&path, format!("# Operator feedback\n{entry}and so on\n")).unwrap();
    assert!(own(&world).iter().any(|line| line.contains("99-operator-feedback.md")), "{:?}", own(&world));
}

#[test]
fn a_ticket_of_several_begins_anew_alone_and_docs_that_are_gone_keep_nobody_from_it() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&["--ticket", "T-2"]);
    let workspaces = world.ask(&["agents"])["agents"].as_array().unwrap().clone();
    let of = |ticket: &str| {
        let agent = workspaces.iter().find(|agent| agent["ticket"] == ticket).unwrap();
        agent["workspace"].as_str().unwrap().to_owned()
    };
    let dir = world.home().join(".metawsm/workspaces").join(of("T-2"));
    let error = world.metawsm(&["iterate", "--run-id", &run, "--ticket", "T-3", "--feedback", "x", "--json"]).error();
    assert!(error["hint"].as_str().unwrap().contains("T-1"), "{error}");
    // Somebody has put a file where the docs were.
    let docs = walk(&dir.join("shop/ttmp")).into_iter().find(|path| path.ends_with("reference")).unwrap();
    std::fs::rename(&docs, docs.with_file_name("elsewhere")).unwrap();
    std::fs::write(&docs, "no directory").unwrap();
    let answer = world.ask(&["iterate", "--run-id", &run, "--ticket", "T-2", "--feedback", "only this"]);
    assert!(answer["warnings"][0].as_str().unwrap().contains("not written into the docs of T-2"), "{answer}");
    let epochs: Vec<(String, u64)> = world.ask(&["agents"])["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| (agent["ticket"].as_str().unwrap().to_owned(), agent["epoch"].as_u64().unwrap()))
        .collect();
    assert!(epochs.contains(&("T-1".into(), 1)) && epochs.contains(&("T-2".into(), 2)), "{epochs:?}");
    assert!(std::fs::read_to_string(dir.join("operator-feedback.md")).unwrap().contains("only this"));
    assert!(!world.home().join(".metawsm/workspaces").join(of("T-1")).join("operator-feedback.md").exists());
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    let mut all = Vec::new();
    while let Some(dir) = found.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                found.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all
}

#[test]
fn what_was_written_by_who_was_then_refused_is_not_written_again() {
    let (world, run) = left(json!({}));
    forget(&world);
    let engine = Engine::open(Home::at(&world.home(), &HomeArgs::default()), Surroundings::default()).unwrap();
    let known = engine.run(&run).unwrap();
    let words = Words::same(&known, &[], "An index");
    let agent = AgentKey::new(&run, &known.spec.workspaces[0].name, "coder");
    let refused = Caller { actor: Actor::agent("coder"), identity: Some(agent) };
    // It stops between writing and ordering, as one does that is killed there.
    carry_out(&engine, &refused, &run, &words, Vec::new()).unwrap_err();
    let sections = || std::fs::read_to_string(feedback(&world, &run)).unwrap().matches("\n## 20").count();
    assert_eq!((sections(), world.run_status(&run)), (1, "completed".into()));
    drop(engine);
    world.ask(&["iterate", "--feedback", "An index"]);
    assert_eq!((sections(), world.agent(&run, "coder")["epoch"].clone()), (1, json!(2)));
    let docs = std::fs::read_to_string(reference(&world, &run)).unwrap();
    assert_eq!(docs.matches("\n## 20").count(), 1, "{docs}");
}

#[test]
fn what_was_cleaned_up_does_not_begin_anew_and_a_run_that_was_stopped_begins_whole() {
    let world = World::new(&[("coder", "obeys.sh"), ("coder-2", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, DONE);
    world.until_agent(&run, "coder", "done");
    forget(&world);
    world.ask(&["stop", "--yes"]);
    let answer = world.ask(&["iterate", "--feedback", "again"]);
    let epochs: Vec<&Value> = answer["agents"].as_array().unwrap().iter().map(|agent| &agent["epoch"]).collect();
    assert_eq!(epochs, [2, 2], "who was stopped with the run goes on with it: {answer}");
    world.ask(&["stop", "--yes"]);
    world.ask(&["cleanup", "--yes", "--force"]);
    for more in [&[][..], &["--dry-run"]] {
        let call = [&["iterate", "--feedback", "more", "--json"], more].concat();
        let error = world.metawsm(&call).is(4).error();
        assert!(error["message"].as_str().unwrap().contains("removed by cleanup"), "{error}");
    }
}

#[test]
fn a_run_in_a_workspace_of_another_is_not_told_of_that_ones_feedback() {
    let (world, run) = iterated();
    let workspace = world.agent(&run, "coder")["workspace"].as_str().unwrap().to_owned();
    let second = world.run(&["--strategy", "reuse", "--workspace", &workspace]);
    let session = world.agent(&second, "coder")["session"].as_str().unwrap().to_owned();
    let prompt = world.home().join(".metawsm/agents").join(&session).join("prompt.md");
    assert!(!std::fs::read_to_string(prompt).unwrap().contains("feedback"));
}

#[test]
fn said_again_before_it_was_begun_it_is_the_same_and_nobody_is_begun_with_who_cannot_be_started() {
    let (world, run) = left(json!({}));
    forget(&world);
    let engine = Engine::open(Home::at(&world.home(), &HomeArgs::default()), Surroundings::default()).unwrap();
    let caller = Caller { actor: Actor::human("ada"), identity: None };
    let say = |words: &str| {
        carry_out(&engine, &caller, &run, &Words::same(&engine.run(&run).unwrap(), &[], words), Vec::new())
    };
    // Killed between the order and the start, and said again.
    say("An index").unwrap();
    say("An index").unwrap();
    let epoch = || world.agent(&run, "coder")["epoch"].clone();
    let sections = || std::fs::read_to_string(feedback(&world, &run)).unwrap().matches("\n## 20").count();
    assert_eq!((epoch(), sections()), (json!(2), 1));
    say("And a test").unwrap();
    assert_eq!((epoch(), sections()), (json!(3), 2));
    drop(engine);
    world.ask(&["resume"]);
    world.ask(&["restart"]);
    finish(&world, &run);
    let before = epoch();
    let tree = world.tree(&run);
    std::fs::rename(&tree, tree.with_file_name("elsewhere")).unwrap();
    let error = world.metawsm(&["iterate", "--feedback", "more", "--json"]).is(3).error();
    assert!(error["message"].as_str().unwrap().contains("is not whole"), "{error}");
    std::fs::rename(tree.with_file_name("elsewhere"), &tree).unwrap();
    assert_eq!((epoch(), sections()), (before, 2));
    world.verified();
}

#[test]
fn what_was_asked_in_the_epoch_before_is_closed() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, "\"$METAWSM_BIN\" forum ask --title which --body 'which?' --wait --timeout 60s");
    world.until_run(&run, "awaiting_guidance");
    forget(&world);
    let answer = world.ask(&["iterate", "--feedback", "neither"]);
    assert_eq!(
        (&answer["run"]["status"], &answer["run"]["counts"]["guidance"]),
        (&json!("running"), &json!(0)),
        "{answer}"
    );
    assert_eq!(world.ask(&["forum", "queue"])["threads"], json!([]));
    let thread = world.ask(&["forum", "list"])["threads"][0].clone();
    assert_eq!((&thread["title"], &thread["state"]), (&json!("which"), &json!("closed")), "{thread}");
    world.verified();
}

#[test]
fn docs_that_cannot_be_looked_for_are_told_of() {
    let world = World::with(&[("coder", "obeys.sh")], json!({}));
    let run = world.run(&["--seed", "none"]);
    // The docs are said to be outside of the repository: nobody looks there.
    std::fs::write(world.tree(&run).join(".ttmp.yaml"), "root: ../out\n").unwrap();
    let answer = world.ask(&["iterate", "--feedback", "again"]);
    assert!(answer["warnings"][0].as_str().unwrap().contains("not written into the docs of T-1"), "{answer}");
    assert!(std::fs::read_to_string(feedback(&world, &run)).unwrap().contains("again"));
}

//! One test for each defect of the original's operator, in the real binary: it is not here. D24, D25, D29 and D30 are
//! beside the rules they are about, D32 beside the adviser.

use serde_json::{Value, json};

use crate::story::WORK;
use crate::world::{PATIENCE, World, wait_for};

fn calls(world: &World) -> Vec<Value> {
    world.ask(&["escalations", "--open"])["escalations"].as_array().unwrap().clone()
}

#[test]
fn d4_what_was_completed_before_counts_no_more_once_it_is_taken_up_again() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    world.order("coder", 1, WORK);
    world.until_run(&run, "completed");
    std::fs::remove_file(world.home().join("orders/coder-1")).unwrap();
    world.ask(&["restart", "--agent", "coder"]);
    world.until_agent(&run, "coder", "running");
    world.until_looked_at(&run, "coder");
    let agent = world.agent(&run, "coder");
    assert_eq!((world.run_status(&run).as_str(), &agent["epoch"]), ("running", &json!(2)));
    world.order("coder", 1, "$METAWSM_BIN forum signal --type completion --summary again > /dev/null");
    world.until_run(&run, "completed");
}

#[test]
fn d31_a_call_says_what_is_asked_and_its_entry_in_the_docs_blocks_no_closing() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    let asks =
        "$METAWSM_BIN forum ask --wait --timeout 60s --title 'Which schema?' --body 'One table or two' > /dev/null";
    world.order("coder", 1, asks);
    let call = wait_for("the call", PATIENCE, || calls(&world).into_iter().find(|call| call["kind"] == "guidance"));
    assert_eq!(call["reason"], "Which schema?: One table or two");
    let changelog = world.git(&world.tree(&run), &["ls-files", "-o", "ttmp"]);
    let changelog = changelog.lines().find(|file| file.ends_with("changelog.md")).unwrap().to_owned();
    wait_for("its entry", PATIENCE, || {
        let text = std::fs::read_to_string(world.tree(&run).join(&changelog)).unwrap();
        text.contains("Which schema?").then_some(())
    });
    world.ask(&["forum", "answer", "--thread-id", call["thread_id"].as_str().unwrap(), "--body", "two"]);
    world.order("coder", 2, WORK);
    world.until_run(&run, "completed");
    let closed = world.ask(&["close", "--run-id", &run, "--merge", "--yes"]);
    assert_eq!(closed["run"]["status"], "closed", "{closed}");
    assert!(world.git(&world.shop(), &["show", &format!("main:{changelog}")]).contains("Which schema?"));
}

#[test]
fn d33_a_run_that_cannot_be_looked_at_keeps_no_other_waiting_and_one_that_is_over_is_left_alone() {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.repo("attic");
    let over = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    world.order("coder", 1, WORK);
    world.until_run(&over, "completed");
    world.ask(&["close", "--run-id", &over, "--merge", "--yes"]);
    std::fs::remove_file(world.home().join("orders/coder-1")).unwrap();

    let start = |ticket: &str, repo: &str| {
        let begun = world.ask(&["run", "--ticket", ticket, "--repos", repo, "--detach"]);
        begun["run"]["run_id"].as_str().unwrap().to_owned()
    };
    let (lost, other) = (start("T-2", "attic"), start("T-3", "shop"));
    let watch = world.spawn(&["watch", "--all", "--no-bell", "--json"]);
    // Nothing is left of the first one's code: neither its worktree nor its repository.
    let status = world.ask(&["status", "--run-id", &lost]);
    std::fs::remove_dir_all(status["run"]["workspaces"][0]["path"].as_str().unwrap()).unwrap();
    std::fs::remove_dir_all(world.home().join("attic")).unwrap();
    let ended = world.metawsm(&["events", "--run-id", &over]).lines().len();
    let pid = world.agent(&other, "coder")["pid"].as_u64();
    let pid = pid.unwrap_or_else(|| wait_for("its pid", PATIENCE, || world.agent(&other, "coder")["pid"].as_u64()));
    crate::harness::signal(u32::try_from(pid).unwrap(), "KILL");
    wait_for("its second life", PATIENCE, || (world.agent(&other, "coder")["launch"] == 2).then_some(()));
    watch.line("its death", |line| line["run_id"] == other.as_str() && line["event"] == "agent_unhealthy");
    world.until_looked_at(&other, "coder");
    assert_eq!(world.ask(&["status", "--run-id", &lost])["run"]["status"], "running");
    assert_eq!(world.metawsm(&["events", "--run-id", &over]).lines().len(), ended, "what is over stays as it is");
}

#[test]
fn d35_what_waits_in_the_forum_for_too_long_is_an_escalation_like_any_other() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    let watch = world.spawn(&["watch", "--run-id", &run, "--no-bell", "--json"]);
    let asks = "$METAWSM_BIN forum ask --priority urgent --title 'Prod is down' --body 'what now' > /dev/null";
    world.order("coder", 1, asks);
    let call = wait_for("the call", PATIENCE, || calls(&world).into_iter().find(|call| call["kind"] == "sla"));
    assert_eq!((&call["run_id"], &call["agent"]), (&json!(run), &json!("coder")));
    let status = world.ask(&["status", "--run-id", &run]);
    assert_eq!(status["escalations"][0]["escalation_id"], call["escalation_id"], "{status}");
    assert_eq!(world.ask(&["runs"])["runs"][0]["counts"]["escalations"], 1);
    watch.line("the call", |line| line["event"] == "sla" && line["run_id"] == run.as_str());
}

//! Bad luck: no room in the middle of a command, a database that somebody keeps locked, a consumer that is killed.
//! Nothing is half done, nothing is lost, and what went wrong has a name.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

fn posts(world: &World) -> usize {
    world.verified().iter().filter(|event| event["event_type"] == "forum.post.added").count()
}

#[test]
fn where_a_file_may_not_grow_a_command_is_whole_or_not_there() {
    let world = World::bare();
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "q", "--body", "b", "--thread-id", "t1"]);
    let log = world.home().join(".metawsm/metawsm.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let body = "x".repeat(20_000);
    let (mut done, mut refused) = (0, 0);
    // From no room at all to enough, in steps smaller than what one command writes.
    for room in [0, 1, 4, 8, 16, 24, 40, 60, 100, 400] {
        let blocks = (size() / 512 + room).to_string();
        // Told by a signal it would die; told by an error it can say what is wrong.
        let line = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
        let mut command = world.command("sh");
        command.args(["-c", line, "sh", &blocks, env!("CARGO_BIN_EXE_metawsm")]);
        command.args(["forum", "post", "--thread-id", "t1", "--body", &body, "--json"]);
        let out = world.output(command, "");
        if out.status == 0 {
            done += 1;
        } else {
            refused += 1;
            let error = out.is(1).error();
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("metawsm.db"), "{message}");
            assert!(error["hint"].as_str().unwrap().contains("nothing of it was written"), "{error}");
        }
        assert_eq!(posts(&world), done, "with room for {room} blocks");
    }
    assert!(done > 0 && refused > 0, "{done} came through, {refused} did not");
    world.ask(&["forum", "post", "--thread-id", "t1", "--body", "after"]);
    assert_eq!(posts(&world), done + 1);
}

/// Somebody who writes and does not end.
struct Lock(Connection);

impl Lock {
    fn on(world: &World) -> Self {
        let conn = Connection::open(world.db()).unwrap();
        conn.busy_timeout(Duration::from_secs(30)).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(conn)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn while_the_database_is_locked_commands_wait_and_then_say_that_it_is_busy() {
    let world = World::new(&[("a", "obeys.sh")]);
    let run = world.run(&[]);
    let mut supervisor = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "a");
    world.ask(&["forum", "ask", "--run-id", &run, "--title", "q", "--body", "b", "--thread-id", "t1"]);
    let post = |words: &str| {
        let mut command = world.program(&["forum", "post", "--thread-id", "t1", "--body", words, "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // For a while: it waits, and comes through.
    let lock = Lock::on(&world);
    let mut waiting = post("patient");
    let until = Instant::now() + Duration::from_secs(2);
    wait_for("two seconds", PATIENCE, || (Instant::now() >= until).then_some(()));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    // Reading waits for nobody.
    assert_eq!(world.run_status(&run), "running");
    lock.release();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(posts(&world), 1);
    // For too long: it says so, and nothing of it was done. The agent ends meanwhile; nobody forgets that.
    let lock = Lock::on(&world);
    world.order("a", 1, "exit 3");
    let begun = Instant::now();
    let out = post("in vain").wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    assert!(begun.elapsed() >= Duration::from_secs(25), "not before it has waited");
    let error: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(error["error"]["code"], "busy");
    lock.release();
    assert!(supervisor.running(), "who supervises goes on");
    world.until_agent(&run, "a", "failed");
    assert_eq!(posts(&world), 1);
    world.ask(&["forum", "post", "--thread-id", "t1", "--body", "now"]);
    assert_eq!(posts(&world), 2);
}

#[test]
fn a_consumer_that_is_killed_in_the_middle_leaves_its_letter_to_the_next_one() {
    let world = World::new(&[("a", "obeys.sh")]);
    let run = world.run(&[]);
    let docs = world.ask(&["status", "--run-id", &run])["docs"][0]["dir"].as_str().unwrap().to_owned();
    let ticket = world.tree(&run).join(docs);
    let letters =
        |status: &str| world.ask(&["outbox", "list", "--status", status])["outbox"].as_array().unwrap().clone();
    world.ask(&["forum", "ask", "--run-id", &run, "--agent", "a", "--title", "q", "--body", "b", "--thread-id", "t1"]);
    // Somebody else has the ticket's directory: the consumer stands still in the middle of its work.
    let held = std::fs::File::open(&ticket).unwrap();
    held.lock().unwrap();
    let mut first = world.spawn(&["--headless"]);
    world.until_looked_at(&run, "a");
    world.ask(&[
        "forum",
        "post",
        "--thread-id",
        "t1",
        "--body",
        "which?",
        "--actor-type",
        "agent",
        "--actor-name",
        "a",
    ]);
    world.ask(&["forum", "answer", "--thread-id", "t1", "--body", "this"]);
    wait_for("the letter to be in hand", PATIENCE, || (letters("processing").len() == 1).then_some(()));
    // It holds up nobody but itself.
    world.until_looked_at(&run, "a");
    first.signal("KILL");
    assert_eq!(first.ended(), -9);
    assert_eq!(letters("processing").len(), 1, "it stays in hand when the hand is gone");
    held.unlock().unwrap();
    let _second = world.spawn(&["--headless"]);
    let sent = wait_for("the letter to be carried out", PATIENCE, || letters("sent").into_iter().next());
    assert!(sent["attempts"].as_u64() >= Some(2), "{sent}");
    let text = std::fs::read_to_string(ticket.join("changelog.md")).unwrap();
    assert_eq!(text.matches("> this\n").count(), 1, "{text}");
    let health = world.ask(&["outbox", "list"])["health"].clone();
    assert_eq!((&health["total_processed"], &health["processing_count"]), (&json!(1), &json!(0)));
    let synced = world.verified().iter().filter(|event| event["event_type"] == "docs.synced").count();
    assert_eq!(synced, 1);
}

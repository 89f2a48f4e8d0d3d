//! Commit and pull request by key, in a real terminal, with real git and a program that stands in for `gh`.

use std::path::Path;

use serde_json::{Value, json};

use super::committing::hook;
use super::console_seat::{Seat, line_of};
use super::harness::{state, wait_for};
use super::pull_requests::Hub;
use super::world::Live;

fn sit_down(hub: &Hub) -> Seat {
    let line = line_of(&hub.with_gh(hub.world.program(&[])));
    let seat = Seat::new((140, 35), |_| line.clone());
    seat.sees("✓ T-1");
    seat
}

#[test]
fn what_was_left_is_committed_and_handed_on_by_key() {
    let hub = Hub::new(json!({ "git_pr": { "test_commands": ["test ! -e broken"] } }));
    let (world, tree) = (&hub.world, hub.world.tree(&hub.run));
    let subject = || world.git(&tree, &["log", "-1", "--format=%s"]);
    let before = subject();
    let seat = sit_down(&hub);
    std::fs::write(tree.join(".env"), "S=1\n").unwrap();
    seat.types(&["G"]);
    seat.sees("forbidden_files: shop/.env");
    seat.sees_no_more(" commit  y");
    seat.escapes("forbidden_files: shop/.env");
    std::fs::rename(tree.join(".env"), tree.join("broken")).unwrap();
    seat.types(&["G"]);
    seat.sees("runs first, in each repository: test ! -e broken");
    // Looking ahead runs none; a test that fails is told when it is done.
    seat.agrees();
    seat.sees("tests (shop: `test ! -e broken` ended with 1)");
    std::fs::remove_file(tree.join("broken")).unwrap();
    seat.escapes("tests (shop: `test");
    seat.types(&["G"]);
    seat.sees("shop: commit README, ");
    seat.types(&["Enter"]);
    seat.sees_no_more("shop: commit README, ");
    assert_eq!(subject(), before, "the safe answer changes nothing");
    seat.types(&["Enter"]);
    seat.sees("What happened");
    seat.types(&["G"]);
    seat.sees("shop: commit README, ");
    seat.agrees();
    seat.sees("✓ shop: ");
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "");
    seat.types(&["U"]);
    seat.sees("open a pull request into main: [T-1]");
    seat.types(&["Enter"]);
    seat.sees_no_more("open a pull request");
    assert!(hub.pushed().is_none() && hub.calls("pr").is_empty(), "nobody was asked");
    seat.types(&["U"]);
    seat.sees("open a pull request into main: [T-1]");
    seat.agrees();
    seat.sees("shop: pull request #41 https://github.com/acme/shop/pull/41");
    assert_eq!(hub.pushed().unwrap(), hub.head());
    seat.types(&["U"]);
    seat.sees("every commit is in its base or in a pull request");
    seat.escapes("in its base or in");
    seat.types(&["G"]);
    seat.sees("nothing is left to commit");
    seat.escapes("nothing is left to commit");
    // What comes after it reaches the same one; what GitHub says stays on the screen.
    std::fs::write(tree.join("second"), "2\n").unwrap();
    hub.ask(&["commit", "--message", "Second"]);
    std::fs::write(hub.kept.join("fails"), "HTTP 502\n").unwrap();
    seat.types(&["U"]);
    seat.sees("bring pull request #41 up to date");
    seat.agrees();
    seat.sees("HTTP 502");
    std::fs::remove_file(hub.kept.join("fails")).unwrap();
    seat.escapes("HTTP 502");
    seat.types(&["U"]);
    seat.sees("bring pull request #41 up to date");
    seat.agrees();
    wait_for("the push", || (hub.pushed().unwrap() == hub.head()).then_some(()));
    let actors: Vec<Value> = world.verified().iter().map(|event| event["actor_name"].clone()).collect();
    assert!(actors.contains(&json!("tester")));
}

/// A line of shell that never ends by itself, with something in its background; it says in a file who it is.
fn endless(told: &Path) -> String {
    format!("sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; sleep 600", told.display())
}

/// Who said so, once they have.
fn started(told: &Path) -> Vec<u32> {
    wait_for("the hook or test to run", || {
        let text = std::fs::read_to_string(told).ok()?;
        std::fs::remove_file(told).unwrap();
        Some(text.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    })
}

/// Leaves while these are at it.
fn leaves(seat: &Seat, pids: &[u32]) {
    seat.types(&["q"]);
    seat.sees("Leaving breaks it off");
    assert!(pids.iter().all(|pid| !state(*pid).is_empty()), "they are at it still");
    seat.agrees();
    seat.sees("back 0");
    // Who is not waited for to his end has nothing to say.
    seat.sees("Not done: ");
    wait_for("their end", || pids.iter().all(|pid| state(*pid).is_empty()).then_some(()));
}

#[test]
fn leaving_breaks_off_what_hangs_and_nothing_of_it_stays() {
    let more = json!({ "execution": { "step_timeout_seconds": 600 } });
    let hub = Hub::new(more);
    let (world, tree) = (&hub.world, hub.world.tree(&hub.run));
    let told = world.root.join("told");
    hook(world, "pre-commit", &endless(&told));
    let seat = sit_down(&hub);
    seat.types(&["G"]);
    seat.sees("shop: commit README, ");
    seat.agrees();
    seat.sees("committing run");
    leaves(&seat, &started(&told));
    assert_eq!(world.git(&tree, &["diff", "--cached", "--name-status"]), "R100\tmoved\telsewhere", "as it was staged");
    // The same of what was accepted; that is offered again, and calls nobody.
    let seat = sit_down(&hub);
    seat.types(&["3"]);
    seat.sees("commit shop");
    seat.types(&["y"]);
    let pids = started(&told);
    leaves(&seat, &pids);
    assert_eq!(world.ask(&["escalations", "--open"])["escalations"], json!([]));
    hook(world, "pre-commit", "exit 0");
    let seat = sit_down(&hub);
    seat.types(&["3"]);
    seat.sees("commit shop");
    seat.types(&["y"]);
    seat.sees("accepted: shop: ");
    // A push is cut off as well: the lock that it held is free, and nothing has arrived.
    hook(world, "pre-push", &endless(&told));
    seat.types(&["1"]);
    seat.types(&["U"]);
    seat.sees("open a pull request into main");
    seat.agrees();
    let pids = started(&told);
    leaves(&seat, &pids);
    assert!(hub.pushed().is_none());
    hook(world, "pre-push", "exit 0");
    hub.ask(&["pr"]);
    assert_eq!(hub.pushed().unwrap(), hub.head());
    world.verified();
}

#[test]
fn whoever_is_interrupted_at_a_shell_leaves_no_hook_and_no_gh_behind() {
    let hub = Hub::new(json!({
        "execution": { "step_timeout_seconds": 600 },
        "git_pr": { "review_feedback": { "enabled": true, "sync_seconds": 0 } },
    }));
    let told = hub.world.root.join("told");
    let interrupted = |args: &[&str]| {
        let mut live = Live::start(hub.with_gh(hub.world.program(args)));
        let pids = started(&told);
        live.signal("INT");
        assert_eq!(live.ended(), 130, "{args:?}: {}", live.errors());
        wait_for("their end", || pids.iter().all(|pid| state(*pid).is_empty()).then_some(()));
    };
    hook(&hub.world, "pre-commit", &endless(&told));
    interrupted(&["commit"]);
    hook(&hub.world, "pre-commit", "exit 0");
    hub.ask(&["commit"]);
    hook(&hub.world, "pre-push", &endless(&told));
    interrupted(&["pr"]);
    hook(&hub.world, "pre-push", "exit 0");
    hub.ask(&["pr"]);
    std::fs::write(hub.kept.join("hangs"), endless(&told)).unwrap();
    interrupted(&["review", "sync"]);
    std::fs::remove_file(hub.kept.join("hangs")).unwrap();
    hub.ask(&["review", "sync"]);
    hub.world.verified();
}

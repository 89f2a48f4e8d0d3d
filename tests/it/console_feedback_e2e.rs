//! Feedback by key, in a real terminal with real agents.

use serde_json::json;

use super::committing::left;
use super::console_seat::{Seat, line_of};
use super::harness::wait_for;
use super::reviews::{comment, opened, says};
use super::world::World;

#[test]
fn feedback_is_written_by_key_and_its_agents_start_again_on_it() {
    let (world, run) = left(json!({}));
    std::fs::remove_file(world.home().join("orders/coder-1")).unwrap();
    let path = world.tree(&run).parent().unwrap().join("operator-feedback.md");
    let line = line_of(&world.program(&[]));
    let seat = Seat::new((120, 32), |_| line.clone());
    seat.sees("✓ T-1");
    seat.types(&["I"]);
    seat.sees(&format!("Feedback for {run}: its agents start again on it"));
    seat.types(&["-l", "an index"]);
    seat.escapes("Feedback for");
    seat.types(&["I"]);
    seat.sees("your draft is back");
    seat.types(&["-l", ", and a test"]);
    seat.sees("an index, and a test");
    seat.types(&["C-s"]);
    seat.sees("start again with your feedback");
    let epoch = |n: u64| {
        wait_for("its next epoch", || {
            let agent = world.agent(&run, "coder");
            (agent["epoch"] == n && agent["status"] == "running").then_some(agent)
        })
    };
    let session = epoch(2)["session"].as_str().unwrap().to_owned();
    assert!(std::fs::read_to_string(&path).unwrap().contains("\nan index, and a test\n"));
    // Now it is at work: its session is named before it ends.
    world.shows(&session, "ready coder");
    seat.sees("● T-1");
    seat.types(&["Enter"]);
    seat.sees("What happened");
    seat.types(&["I"]);
    seat.types(&["-l", "another way"]);
    seat.sees("another way");
    seat.types(&["C-s"]);
    seat.sees(&format!("ends session {session} of coder"));
    seat.types(&["Enter"]);
    seat.sees_no_more("ends session");
    seat.sees("another way");
    seat.types(&["C-s"]);
    seat.sees(&format!("ends session {session} of coder"));
    seat.agrees();
    epoch(3);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\nanother way\n"));
    let drafts = || std::fs::read_dir(world.home().join(".metawsm/drafts")).unwrap().count();
    wait_for("the draft to go", || (drafts() == 0).then_some(()));
    world.verified();
}

#[test]
fn what_reviewers_said_is_fetched_by_key_and_its_offer_is_accepted() {
    let hub = opened(json!({}));
    let line = line_of(&hub.with_gh(hub.world.program(&[])));
    let sit_down = || {
        let seat = Seat::new((140, 38), |_| line.clone());
        seat.sees("✓ T-1");
        seat
    };
    // Nobody ever writes into it: who reads it waits for ever.
    let said = hub.kept.join("api-repos_acme_shop_pulls_41_comments");
    rustix::fs::mkfifoat(rustix::fs::CWD, &said, rustix::fs::Mode::RWXU).unwrap();
    let seat = sit_down();
    seat.types(&["F"]);
    seat.sees("asking what reviewers said");
    wait_for("the question", || hub.calls("api").iter().any(|call| call.contains("/comments")).then_some(()));
    seat.types(&["q"]);
    seat.sees("Leaving breaks it off");
    seat.agrees();
    seat.sees("back 0");
    seat.sees("Not done: asking what reviewers said");
    let asking = || World::marked(&format!("FAKE_GH={}", hub.kept.display()));
    wait_for("nobody to ask any more", || asking().is_empty().then_some(()));
    std::fs::remove_file(&said).unwrap();
    let seat = sit_down();
    seat.types(&["F"]);
    seat.sees("shop #41 (open): 0 fetched, 0 added, 0 updated; nothing waits for the agents");
    says(&hub, "_comments", &[json!([comment(1, "ada", "Why?\nIt is slow.")])]);
    seat.types(&["F"]);
    seat.sees("1 fetched, 1 added, 0 updated; one remark waits for the agents");
    seat.types(&["Enter"]);
    seat.sees("Reviews 1 queued");
    seat.sees("ada          src/a.rs:7  Why?");
    std::fs::write(hub.kept.join("fails"), "HTTP 502\n").unwrap();
    seat.types(&["F"]);
    seat.sees("not all reviews could be fetched");
    std::fs::remove_file(hub.kept.join("fails")).unwrap();
    seat.escapes("not all reviews");
    seat.escapes("What happened");
    seat.types(&["3"]);
    seat.sees("begin anew with what reviewers said");
    seat.types(&["y"]);
    seat.sees("accepted: the agents begin anew with one remark");
    wait_for("its next epoch", || {
        let agent = hub.world.agent(&hub.run, "coder");
        (agent["epoch"] == 2 && agent["status"] == "running").then_some(())
    });
    seat.types(&["1"]);
    seat.types(&["Enter"]);
    seat.sees("Reviews 1 dispatched");
    hub.world.verified();
}

//! Feedback by key, in a real terminal with real agents.

use serde_json::json;

use super::committing::left;
use super::console_seat::{Seat, line_of};
use super::harness::wait_for;

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
    seat.types(&["Escape"]);
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

//! Marks, in a real terminal with real agents.

use super::console_seat::{Seat, agents, bin, home_of};
use super::harness::wait_for;

#[test]
fn marked_agents_are_stopped_and_started_again_with_one_word() {
    let seat = Seat::new((140, 35), |server| {
        let home = home_of(server, &["ada", "ben", "cora"]);
        format!("cd {} && {} run --ticket API-1 --repos api", home.display(), bin())
    });
    for name in ["ada", "ben", "cora"] {
        seat.sees(&format!("● {name}"));
    }
    let session = |name: &str| agents(&seat).lines().any(|session| session.starts_with(name));
    seat.types(&["2"]);
    seat.types(&["Space"]);
    seat.types(&["Space"]);
    seat.sees("2 marked");
    seat.types(&["S"]);
    seat.sees("Stop 2 agents?");
    seat.sees("ada: ends session ada-api-1");
    seat.agrees();
    seat.sees("2 agents are stopped");
    wait_for("their sessions to end", || (!session("ada") && !session("ben")).then_some(()));
    assert!(session("cora"), "who is not marked goes on");
    // The marks went with the question.
    seat.sees_no_more("2 marked");
    seat.types(&["Home"]);
    for _ in 0..3 {
        seat.types(&["Space"]);
    }
    seat.sees("3 marked");
    seat.types(&["i"]);
    seat.sees("To cora");
    seat.types(&["Escape"]);
    seat.types(&["R"]);
    seat.sees("Restart 3 agents?");
    seat.agrees();
    seat.sees("3 agents are being restarted");
    wait_for("their sessions", || ["ada", "ben", "cora"].iter().all(|name| session(name)).then_some(()));
    seat.sees("● cora");
    seat.types(&["H"]);
    seat.sees("cora is held");
    seat.sees("held by ");
    seat.types(&["H"]);
    seat.sees("cora is released");
    seat.sees_no_more("held by ");
}

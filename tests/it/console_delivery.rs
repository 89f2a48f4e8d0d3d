//! Typing to agents from the console, and what is told of texts on their way.

use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::actor::ActorType;
use metawsm::domain::agent::{AgentKey, AgentStatus};
use metawsm::domain::delivery::{Delivery, DeliveryState};
use metawsm::domain::event::Author;
use metawsm::services::handle::{Trouble, Wish};
use metawsm::services::snapshot::{AgentRow, DeliveryRow, Snapshot};

use crate::console_world::*;

const WIDE: (u16, u16) = (160, 45);

fn planner() -> AgentKey {
    AgentKey::new("run-1", "acme-12", "planner")
}

/// The home with the planner alive, and these texts.
fn home(deliveries: Vec<DeliveryRow>) -> Snapshot {
    let mut home = snapshot();
    let living = |agent: AgentRow| AgentRow { may_live: agent.status != AgentStatus::Dead, ..agent };
    home.agents = home.agents.into_iter().map(living).collect();
    let seq = deliveries.iter().map(|row| row.last_seq).max().unwrap_or(home.seq);
    Snapshot { deliveries, seq, ..home }
}

fn row(state: DeliveryState, ours: bool, last_seq: i64) -> DeliveryRow {
    DeliveryRow { key: planner(), state, ours, reason: Some("planner exited with 1".to_owned()), last_seq }
}

#[test]
fn a_line_is_typed_to_the_selected_agent_and_kept_until_it_was_queued() {
    let mut desk = Desk::new(WIDE);
    desk.look(home(vec![])).keys("2i").fetched("");
    assert!(desk.shows("To planner") && desk.shows("enter sends"));
    desk.effects.clear();
    desk.keys("take b<enter>");
    let wish = Wish::Type { key: planner(), text: "take b".to_owned() };
    assert_eq!(wishes(&desk), [wish]);
    let draft = Effect::KeepDraft("to-run-1-acme-12-planner".to_owned(), "take b".to_owned());
    assert!(desk.effects.contains(&draft), "{:?}", desk.effects);
    let token = |desk: &Desk| {
        desk.effects.iter().rev().find_map(|effect| match effect {
            Effect::Do(token, Wish::Type { .. }) => Some(*token),
            _ => None,
        })
    };
    let first = token(&desk).unwrap();
    let trouble = Trouble {
        message: "nothing was typed: planner shows a dialog: Proceed?".to_owned(),
        hint: None,
        undone: vec![],
    };
    desk.tell(Msg::Done(first, Err(trouble)));
    assert!(desk.shows("planner shows a dialog: Proceed?") && desk.shows("take b"));
    desk.keys("<enter>");
    let second = token(&desk).unwrap();
    desk.tell(Msg::Done(second, Ok("it waits: planner is at work".to_owned())));
    assert!(!desk.shows("To planner") && desk.app.composer.is_none());
}

#[test]
fn nothing_is_typed_to_an_agent_that_does_not_live() {
    let mut desk = Desk::new(WIDE);
    desk.look(home(vec![])).keys("2<down>i");
    assert!(desk.app.composer.is_none());
    assert!(desk.shows("nothing here to do that with"));
}

#[test]
fn what_came_of_our_texts_is_told_once() {
    let mut desk = Desk::new(WIDE);
    desk.look(home(vec![row(DeliveryState::Queued, true, 50)])).keys("2");
    assert!(desk.shows("a text waits"));
    desk.look(home(vec![row(DeliveryState::Submitted, true, 52)]));
    assert!(desk.shows("planner has it") && !desk.shows("a text waits"));
    desk.later(std::time::Duration::from_secs(10));
    desk.look(home(vec![row(DeliveryState::Submitted, true, 52)]));
    assert!(!desk.shows("planner has it"));
    desk.look(home(vec![row(DeliveryState::Failed, false, 54)]));
    assert!(!desk.shows("did not reach"), "it is somebody else's");
    desk.look(home(vec![row(DeliveryState::Failed, true, 56)]));
    assert!(desk.shows("what you wrote did not reach planner: planner exited with 1"));
}

#[test]
fn what_was_there_before_the_console_is_no_news() {
    let mut desk = Desk::empty(WIDE);
    desk.look(home(vec![row(DeliveryState::Failed, true, 41)]));
    assert!(!desk.shows("did not reach"));
}

#[test]
fn a_thread_shows_how_each_post_comes_into_the_session() {
    let ways = [
        (DeliveryState::Queued, "waits to be typed to planner"),
        (DeliveryState::Typed, "typed to planner, not seen to be taken"),
        (DeliveryState::Submitted, "planner has it"),
        (DeliveryState::Failed, "did not reach planner: the run was closed"),
    ];
    let mut desk = Desk::new(WIDE);
    desk.keys("4<enter>");
    for (seq, (state, words)) in (60..).zip(ways) {
        let delivery = Delivery {
            delivery_id: "dlv-1".into(),
            key: planner(),
            ticket: "ACME-12".into(),
            state,
            from: Author { author_type: ActorType::Human, author_name: "kim".into() },
            urgent: false,
            text: None,
            post_id: Some("p10".into()),
            thread_id: Some("t1".into()),
            queued_at: before(60),
            queued_seq: 11,
            typed_at: None,
            launch: None,
            settled_at: None,
            reason: Some("the run was closed".into()),
            evidence: serde_json::Value::Null,
            last_seq: seq,
        };
        let mut open = page("t1");
        open.deliveries = vec![delivery];
        desk.look(Snapshot { thread: Some(open), ..snapshot() });
        assert!(desk.shows(&format!("kim  you  {words}")), "{}", desk.drawn());
    }
}

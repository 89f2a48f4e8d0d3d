//! Rows that are marked: what is done to all of them at once, who is left out, and how long a mark lasts.

use metawsm::console::action::Pane;
use metawsm::console::keymap::Place;
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::agent::{AgentKey, AgentStatus, Held};
use metawsm::domain::run::RunStatus;
use metawsm::domain::thread::ThreadState;
use metawsm::services::handle::{Change, Named, Trouble, Wish};
use metawsm::services::snapshot::{EscalationRow, Snapshot};

use super::console_world::{Desk, agent, before, run, snapshot, wishes};

const WIDE: (u16, u16) = (160, 45);

fn key(name: &str) -> AgentKey {
    AgentKey::new("run-1", "acme-12", name)
}

/// One run with these agents, running unless their name says otherwise.
fn crew(names: &[&str]) -> Snapshot {
    let status = |name: &str| match name {
        "done" => AgentStatus::Done,
        "dead" => AgentStatus::Dead,
        _ => AgentStatus::Running,
    };
    Snapshot {
        runs: vec![run("run-1", "ACME-12", RunStatus::Running, &[AgentStatus::Running], 0)],
        agents: names.iter().map(|name| agent("run-1", name, status(name))).collect(),
        escalations: vec![],
        suggestions: vec![],
        ..snapshot()
    }
}

fn desk(names: &[&str]) -> Desk {
    let mut desk = Desk::empty(WIDE);
    desk.look(crew(names));
    desk.effects.clear();
    desk.keys("2");
    desk
}

/// The one wish for many.
fn together(desk: &Desk) -> Vec<Named> {
    match &wishes(desk)[..] {
        [Wish::All(wishes)] => wishes.clone(),
        other => panic!("not one wish for many: {other:?}"),
    }
}

fn hit(desk: &Desk) -> Vec<String> {
    together(desk).into_iter().map(|named| named.name).collect()
}

#[test]
fn all_that_are_marked_are_restarted_asked_once_and_named() {
    let mut desk = desk(&["a", "b", "done", "dead"]);
    desk.keys("  R");
    // Done by a space on a and on b: the third is selected and not meant.
    assert_eq!(desk.app.agent().map(|agent| agent.key.name.as_str()), Some("done"));
    assert!(desk.shows("Restart 2 agents?") && desk.shows("ends session a-acme-12") && desk.shows("launch 3"));
    assert!(!desk.shows("dead-acme-12"));
    desk.keys("<enter>");
    assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]), "the safe answer is in focus");
    assert!(desk.shows("2 marked"), "who says no keeps the marks");
    desk.keys("Ry");
    assert_eq!(hit(&desk), ["a", "b"]);
    assert!(!desk.shows("2 marked") && desk.shows("restarting 2 agents"));
}

#[test]
fn what_makes_no_sense_is_left_out_before_not_failed_after() {
    let mut desk = desk(&["a", "done", "dead"]);
    desk.keys("   R");
    assert!(desk.shows("Restart 2 agents?") && desk.shows("left out: done (done)"), "{}", desk.drawn());
    desk.keys("y");
    assert_eq!(hit(&desk), ["a", "dead"]);
    desk.keys("<home>   S");
    assert!(desk.shows("Stop a?") && desk.shows("left out: done (done), dead (dead)"), "{}", desk.drawn());
    let mut desk = self::desk(&["a", "done", "dead"]);
    desk.keys("<home><down> R");
    assert_eq!(desk.app.place(), Place::Home, "there is nothing to ask");
    assert!(desk.shows("none of the marked; left out: done (done)"), "{}", desk.drawn());
}

#[test]
fn marks_stay_with_their_items_and_go_with_them() {
    let mut desk = desk(&["a", "b", "c", "d"]);
    desk.keys(" <down> ");
    assert!(desk.shows("2 marked"));
    desk.look(crew(&["new", "c", "d", "b", "a"]));
    assert!(desk.shows("2 marked"), "by identity, not by place");
    desk.keys("S");
    assert!(desk.shows("ends session a-") && desk.shows("ends session c-") && !desk.shows("session d-acme-12"));
    desk.keys("n").look(crew(&["new", "c", "d"]));
    assert!(desk.shows("1 marked"));
    desk.keys("<esc>");
    assert!(!desk.shows("marked"));
    desk.keys("S");
    assert!(desk.shows("Stop d?"), "without marks the selected one is meant: {}", desk.drawn());
}

#[test]
fn a_space_on_a_marked_row_takes_the_mark_away_and_esc_leaves_the_filter() {
    let mut desk = desk(&["a", "ab", "zz"]);
    desk.keys("/a<enter> <up> ");
    assert!(!desk.shows("marked"));
    desk.keys("<home> <esc>");
    assert!(!desk.shows("marked") && desk.shows("/a"));
    desk.keys("<home> /<c-u>zz<enter>");
    assert!(desk.shows("1 marked, 1 not shown"), "{}", desk.drawn());
}

#[test]
fn where_there_is_no_room_the_rest_is_counted() {
    let names: Vec<String> = (0..60).map(|n| format!("agent{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for size in [(160, 45), (100, 30), (60, 20)] {
        let mut desk = Desk::empty(size);
        desk.look(crew(&names));
        desk.keys("2").keys(&" ".repeat(60)).keys("S");
        assert!(desk.shows("Stop 60 agents?"));
        let drawn = desk.drawn();
        let named = drawn.matches(": ends session agent").count();
        let more = drawn.split("and ").find_map(|rest| rest.split_once(" more")).map(|(count, _)| count.to_owned());
        assert_eq!(more.and_then(|count| count.parse().ok()), Some(60 - named), "{drawn}");
        assert!(drawn.contains("with everything that was started"), "{drawn}");
        insta::assert_snapshot!(format!("console_marked_{}x{}", size.0, size.1), drawn);
        desk.keys("y");
        assert_eq!(together(&desk).len(), 60);
    }
}

#[test]
fn a_line_goes_to_all_that_are_marked_once_that_is_confirmed() {
    let mut desk = desk(&["a", "dead", "c"]);
    desk.keys("   i").fetched("");
    assert!(desk.shows("To 2 agents: a, c"), "{}", desk.drawn());
    desk.keys("go on<enter>");
    assert!(desk.shows("Send this line to 2 agents?") && desk.shows("session c-acme-12"));
    desk.keys("<enter>");
    assert!(wishes(&desk).is_empty() && desk.shows("go on"), "no: the text is still there");
    desk.keys("<enter>y");
    let all: Vec<Wish> = together(&desk).into_iter().map(|named| named.wish).collect();
    let line = |name: &str| Wish::Type { key: key(name), text: "go on".to_owned() };
    assert_eq!(all, [line("a"), line("c")]);
    let token = desk.effects.iter().rev().find_map(|effect| match effect {
        Effect::Do(token, _) => Some(*token),
        _ => None,
    });
    desk.tell(Msg::Done(token.unwrap(), Ok("2 agents are sent the line".to_owned())));
    assert!(!desk.shows("To 2 agents") && desk.shows("2 agents are sent the line"));
}

#[test]
fn escalations_are_acknowledged_and_resolved_and_suggestions_accepted_together() {
    let call = |id: &str, known: bool| EscalationRow {
        id: id.to_owned(),
        acknowledged: known,
        reason: format!("{id} is down"),
        ..snapshot().escalations.remove(0)
    };
    let calls = vec![call("e1", false), call("e2", false), call("e3", true)];
    let mut desk = Desk::empty(WIDE);
    desk.look(Snapshot { escalations: calls, ..snapshot() });
    desk.keys("3    K");
    assert!(desk.shows("Acknowledge 2 escalations?"), "{}", desk.drawn());
    assert!(desk.shows("e3 is down (acknowledged already)") && desk.shows("suggestion)"), "{}", desk.drawn());
    desk.keys("n");
    desk.keys("v").fetched("");
    assert!(desk.shows("Resolve 3, with a note"));
    desk.keys("seen<c-s>");
    assert!(desk.shows("Resolve 3 escalations?"));
    desk.keys("y");
    let resolved = |id: &str| Wish::ResolveEscalation(id.to_owned(), "seen".to_owned());
    let all: Vec<Wish> = together(&desk).into_iter().map(|named| named.wish).collect();
    assert_eq!(all, [resolved("e1"), resolved("e2"), resolved("e3")]);
    let mut desk = Desk::new(WIDE);
    desk.keys("3  y");
    assert!(desk.shows("Accept restart 審査員") && desk.shows("(an escalation)"), "{}", desk.drawn());
    desk.keys("y");
    assert_eq!(together(&desk)[0].wish, Wish::AcceptSuggestion("s1".to_owned()));
}

#[test]
fn runs_are_stopped_and_paused_together_and_name_their_sessions() {
    let mut desk = Desk::new(WIDE);
    desk.keys("   S");
    assert!(desk.shows("Stop 2 runs?"));
    assert!(desk.shows("planner-acme-12") && desk.shows("solo-acme-12"), "{}", desk.drawn());
    assert!(desk.shows("left out: run-3 (completed)"));
    desk.keys("nP");
    assert!(desk.shows("Pause 2 runs?") && desk.shows("rules leave them alone"));
    desk.keys("y");
    assert_eq!(hit(&desk), ["run-1", "run-2"]);
}

#[test]
fn threads_are_closed_and_changed_together() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4  c");
    assert!(desk.shows("Close 2 threads?") && desk.shows("waits in it and gets no answer"), "{}", desk.drawn());
    desk.keys("np");
    assert!(desk.shows("Priority: 2 marked"), "{}", desk.drawn());
    desk.keys("u<enter>");
    assert!(desk.shows("Change 2 threads?") && desk.shows("priority urgent"), "{}", desk.drawn());
    desk.keys("y");
    let changed = together(&desk);
    assert!(matches!(&changed[0].wish, Wish::Thread(id, Change::Priority(_)) if id == "t1"), "{changed:?}");
    assert_eq!(changed.len(), 2);
}

#[test]
fn an_agents_key_among_threads_means_the_agents_of_the_marked() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4  S");
    assert!(desk.shows("Stop planner?"), "both threads are planner's: {}", desk.drawn());
    desk.keys("n").keys("<esc>").keys("2 5R");
    assert_eq!(desk.app.focus, Pane::Live);
    assert!(desk.shows("Restart coder?"), "the agent in view is meant there");
}

#[test]
fn one_message_counts_what_went_well_and_says_each_failure() {
    let mut desk = desk(&["a", "b"]);
    desk.keys("  Ry");
    let Some(Effect::Do(token, _)) = desk.effects.last().cloned() else { panic!("{:?}", desk.effects) };
    let message = "1 agent is being restarted, 1 not: b: run run-1 is paused".to_owned();
    desk.tell(Msg::Done(token, Err(Trouble { message: message.clone(), hint: None, undone: vec![] })));
    assert!(desk.shows(&message));
    assert_eq!(desk.app.toasts.len(), 1);
}

#[test]
fn agents_are_held_and_released_one_and_many() {
    let mut desk = desk(&["a", "b", "done"]);
    desk.keys("H");
    assert_eq!(wishes(&desk), [Wish::Hold(key("a"))]);
    let held = |names: &[&str]| {
        let mut crew = crew(&["a", "b", "done"]);
        for agent in crew.agents.iter_mut().filter(|agent| names.contains(&agent.key.name.as_str())) {
            agent.held = Some(Held { by: "kim".to_owned(), since: before(60), reason: None });
        }
        crew
    };
    let mut desk = self::desk(&["a", "b", "done"]);
    desk.look(held(&["a"])).keys("H");
    assert_eq!(wishes(&desk), [Wish::Release(key("a"))]);
    desk.keys("   H");
    assert!(desk.shows("Hold b?") && desk.shows("a (held by kim already), done (done)"), "{}", desk.drawn());
    desk.keys("n").look(held(&["a", "b"])).keys("H");
    assert!(desk.shows("Release 2 agents?") && desk.shows("rules look after them again"), "{}", desk.drawn());
    desk.effects.clear();
    desk.keys("y");
    assert_eq!(hit(&desk), ["a", "b"]);
}

fn sent_as(desk: &Desk) -> u64 {
    let token = desk.effects.iter().rev().find_map(|effect| match effect {
        Effect::Do(token, _) => Some(*token),
        _ => None,
    });
    token.unwrap()
}

#[test]
fn a_line_that_did_not_reach_one_is_not_typed_twice_to_the_others() {
    let mut desk = desk(&["a", "b", "c"]);
    desk.keys("   i").fetched("").keys("go on<enter>y");
    let sent = together(&desk);
    let token = sent_as(&desk);
    let trouble =
        Trouble { message: "2 sent, 1 not: b: busy".to_owned(), hint: None, undone: vec![sent[1].wish.clone()] };
    desk.effects.clear();
    desk.tell(Msg::Done(token, Err(trouble)));
    assert!(desk.shows("To b") && !desk.shows("To 3 agents") && desk.shows("go on"), "{}", desk.drawn());
    let drafts: Vec<&str> = desk
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::KeepDraft(_, text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(drafts, ["", "go on"], "the draft is for b alone now");
    desk.keys("<enter>");
    assert!(desk.shows("Send this line to b?"), "{}", desk.drawn());
    desk.keys("y");
    assert_eq!(hit(&desk), ["b"]);
}

#[test]
fn where_only_one_of_the_marked_is_hit_it_is_asked_as_for_many() {
    let mut desk = desk(&["a", "dead"]);
    desk.keys("  i").fetched("").keys("go on<enter>");
    assert!(wishes(&desk).is_empty() && desk.shows("Send this line to a?"), "{}", desk.drawn());
    desk.keys("y");
    assert_eq!(hit(&desk), ["a"]);
    let token = sent_as(&desk);
    desk.tell(Msg::Done(token, Ok("1 agent is sent the line".to_owned())));
    assert!(!desk.shows("2 marked"), "{}", desk.drawn());
}

#[test]
fn what_was_written_for_one_set_of_marked_is_not_brought_back_for_another() {
    let draft = |keys: &str| {
        let mut desk = desk(&["a", "b", "c"]);
        desk.keys(keys).keys("i");
        let asked = |effect: &Effect| match effect {
            Effect::LoadDraft(_, name) => Some(name.clone()),
            _ => None,
        };
        desk.effects.iter().rev().find_map(asked).unwrap()
    };
    assert_ne!(draft("  "), draft("<down>  "));
    assert_eq!(draft("  "), draft("<down> <home> "), "in whatever order they were marked");
}

#[test]
fn a_threads_menu_means_the_marked_ones_or_none() {
    let closed = |id: &str| Snapshot {
        queues: {
            let mut queues = snapshot().queues;
            for row in queues.needs_me.rows.iter_mut().chain(&mut queues.all.rows).filter(|row| row.thread_id == id) {
                row.state = ThreadState::Closed;
            }
            queues
        },
        ..snapshot()
    };
    for key in ["s", "p", "g"] {
        let mut desk = Desk::new(WIDE);
        // The first is marked, the second selected.
        desk.keys("4 ").look(closed("t1"));
        assert!(desk.shows("1 marked"), "{}", desk.drawn());
        desk.keys(key);
        assert_eq!(desk.app.place(), Place::Home, "{key}");
        assert!(desk.shows("none of the marked"), "{}", desk.drawn());
    }
}

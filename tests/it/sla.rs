//! Rule 6: threads that wait for a human longer than they should, and those that press (spec 2.5, 2.7).

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command, EscalationWish, ThreadWish};
use metawsm::domain::escalation::{EscalationState, Kind};
use metawsm::domain::operator::{Conclusion, Measure, Question, Sight, Waiting, evaluate, in_time};
use metawsm::domain::policy::{OperatorMode, RuleMode};
use metawsm::domain::run::RunStatus;
use metawsm::domain::thread::Priority;
use metawsm::domain::time::Moment;
use serde_json::json;

use crate::core_world::*;
use crate::world::{PATIENCE, World, wait_for};

/// A run in which agent a has asked, without waiting for the answer.
fn asked() -> Stage {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&ask("t1", "a", "which port?", false));
    stage
}

fn question(stage: &Stage, id: &str) -> Question {
    let thread = stage.thread(id);
    Question {
        run_id: thread.run_id.clone(),
        thread_id: id.to_owned(),
        post_id: None,
        ticket: Some(thread.ticket.clone()),
        workspace: thread.workspace.clone(),
        agent: thread.agent_name.clone(),
        text: thread.title.clone(),
        since: thread.waiting_since.unwrap(),
    }
}

/// What is concluded so many minutes after the thread began to wait.
fn after(stage: &Stage, minutes: i64, measure: &Measure) -> Vec<Conclusion> {
    let thread = stage.thread("t1");
    let question = question(stage, "t1");
    let questions: Vec<Question> = thread.blocking.then(|| question.clone()).into_iter().collect();
    let now = Moment::from_millis(question.since.millis() + minutes * 60_000);
    let waiting = [Waiting { question, priority: thread.priority }];
    let run = stage.scene.runs.get(RUN).unwrap();
    let sight = Sight { run, agents: &[], steps: &[], questions: &questions, waiting: &waiting, overdue: &[] };
    evaluate(&sight, measure, now).into_iter().filter(|found| found.decision.target != "run").collect()
}

fn words(found: &[Conclusion]) -> Vec<String> {
    found.iter().map(|one| format!("{} {}", one.decision.intent.word(), one.decision.action.word())).collect()
}

fn give(stage: &mut Stage, found: Vec<Conclusion>, id: &str) -> usize {
    found.into_iter().map(|one| stage.give(operator(), None, &concluded(one, id)).unwrap().len()).sum()
}

fn off() -> Measure {
    measure(OperatorMode::Off)
}

#[test]
fn it_is_called_when_its_time_is_over_once_and_again_after_each_such_time() {
    let mut stage = asked();
    assert!(after(&stage, 29, &off()).is_empty());
    let first = after(&stage, 30, &off());
    assert_eq!(words(&first), ["escalate_sla escalate"]);
    assert_eq!(first[0].decision.reason, "which port?");
    assert_eq!(give(&mut stage, first, "1"), 2, "decided and called");
    let events = |stage: &mut Stage, minutes| {
        let found = after(stage, minutes, &off());
        give(stage, found, "2")
    };
    assert_eq!(events(&mut stage, 31), 0);
    assert_eq!(events(&mut stage, 59), 0);
    assert_eq!(events(&mut stage, 60), 2);
    assert_eq!(events(&mut stage, 61), 0);
    let all: Vec<_> = stage.scene.escalations.iter().collect();
    assert_eq!(all.len(), 1, "it is one escalation");
    assert_eq!((all[0].kind, all[0].reason.as_str()), (Kind::Sla, "which port? (still waits after 1h)"));
    stage.must(&answer("t1", human(), None));
    assert_eq!(stage.scene.escalations.get("esc-1").unwrap().state, EscalationState::Resolved);
}

#[test]
fn what_presses_is_called_at_once_and_is_the_same_call_when_its_priority_rose() {
    for priority in Priority::ALL {
        let mut stage = asked();
        stage.must(&thread("t1", ThreadWish::Priority { to: priority }));
        let presses = matches!(priority, Priority::High | Priority::Urgent);
        assert_eq!(!after(&stage, 0, &off()).is_empty(), presses, "{priority:?}");
    }
}

#[test]
fn an_agent_that_stands_still_for_it_is_rule_ones() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&ask("t1", "a", "which port?", true));
    assert_eq!(words(&after(&stage, 100, &off())), ["escalate_guidance escalate"]);
    let mut never = off();
    never.rules.insert("escalate_guidance".to_owned(), RuleMode::Never);
    assert_eq!(words(&after(&stage, 100, &never)), ["escalate_sla escalate"]);
}

#[test]
fn it_can_be_switched_off_and_calls_in_every_mode() {
    let stage = asked();
    for mode in [OperatorMode::Off, OperatorMode::Assist, OperatorMode::Auto] {
        assert_eq!(words(&after(&stage, 30, &measure(mode))), ["escalate_sla escalate"]);
    }
    let mut never = off();
    never.rules.insert("escalate_sla".to_owned(), RuleMode::Never);
    assert!(after(&stage, 30, &never).is_empty());
}

#[test]
fn who_knows_of_it_or_has_settled_it_is_left_alone() {
    let mut stage = asked();
    let first = after(&stage, 30, &off());
    give(&mut stage, first, "1");
    let wish = EscalationWish::Acknowledge { until: None, note: None };
    stage.must(&Command::Escalation { escalation_id: "esc-1".into(), wish });
    let again = after(&stage, 60, &off());
    assert_eq!(give(&mut stage, again, "2"), 1, "decided, and not called");
    assert_eq!(stage.scene.escalations.get("esc-1").unwrap().reason, "which port?");
    let wish = EscalationWish::Resolve { note: None };
    stage.must(&Command::Escalation { escalation_id: "esc-1".into(), wish });
    let again = after(&stage, 90, &off());
    give(&mut stage, again, "3");
    assert_eq!(stage.scene.escalations.iter().count(), 1);
}

#[test]
fn a_paused_run_and_a_new_wait() {
    let mut stage = asked();
    stage.put_run(RunStatus::Paused);
    assert!(after(&stage, 300, &off()).is_empty());
    stage.put_run(RunStatus::Running);
    let first = after(&stage, 30, &off());
    give(&mut stage, first, "1");
    stage.must(&answer("t1", human(), None));
    stage.must(&post("t1", Actor::agent("a"), "and which host?"));
    assert!(after(&stage, 29, &off()).is_empty(), "its time begins anew");
    let second = after(&stage, 30, &off());
    give(&mut stage, second, "2");
    assert_eq!(stage.scene.escalations.get("esc-2").unwrap().state, EscalationState::Open);
}

#[test]
fn a_call_ends_when_its_thread_is_in_time_again() {
    let mut stage = asked();
    stage.must(&thread("t1", ThreadWish::Priority { to: Priority::Urgent }));
    let first = after(&stage, 5, &off());
    give(&mut stage, first, "1");
    let in_time = |stage: &Stage, minutes: i64, measure: &Measure| {
        let thread = stage.thread("t1");
        in_time(thread, measure, Moment::from_millis(thread.waits_since().millis() + minutes * 60_000))
    };
    assert!(!in_time(&stage, 5, &off()), "it presses");
    stage.must(&thread("t1", ThreadWish::Priority { to: Priority::Normal }));
    assert!(in_time(&stage, 29, &off()), "its priority fell");
    assert!(!in_time(&stage, 30, &off()), "it waits too long all the same");
    let longer = Measure { call_again: std::time::Duration::from_secs(3_600), ..off() };
    assert!(in_time(&stage, 30, &longer), "more time is allowed");
    stage.must(&answer("t1", human(), None));
    assert!(!in_time(&stage, 5, &longer), "it waits no longer: its call has ended with that");
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_off_the_list() {
    for priority in [Priority::Normal, Priority::Urgent] {
        let mut stage = asked();
        stage.must(&thread("t1", ThreadWish::Priority { to: priority }));
        let since = stage.thread("t1").waits_since();
        let minutes = |minutes: i64| Moment::from_millis(since.millis() + minutes * 60_000);
        let measure = Measure { even_since: minutes(-20), ..off() };
        let first = after(&stage, 40, &off());
        give(&mut stage, first, "1");
        // An hour back: it has waited nobody knows how long, and is in time for nobody.
        assert!(!in_time(stage.thread("t1"), &measure, minutes(-20)), "{priority:?}");
        let again = after(&stage, -20, &measure);
        assert_eq!(
            (words(&again), &*again[0].decision.reason),
            (vec!["escalate_sla escalate".to_owned()], "which port?")
        );
        let later = after(&stage, -20 + 31, &Measure { even_since: minutes(-20), ..measure });
        assert_eq!(words(&later).len(), usize::from(priority == Priority::Urgent), "by its own time again");
    }
}

#[test]
fn what_presses_no_more_and_then_again_is_called_to_again() {
    let world = World::with(&[("a", "obeys.sh")], json!({ "operator": { "interval_seconds": 1 } }));
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    let ask = ["forum", "ask", "--run-id", &run, "--agent", "a", "--actor-type", "agent", "--actor-name", "a"];
    world.ask(&[&ask[..], &["--title", "which?", "--body", "b", "--priority", "high", "--thread-id", "t1"]].concat());
    let states = |wanted: &[&str]| {
        wait_for(&format!("{wanted:?}"), PATIENCE, || {
            let all = world.ask(&["escalations"]);
            let mut found: Vec<String> = all["escalations"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["kind"] == "sla")
                .map(|one| one["state"].as_str().unwrap().to_owned())
                .collect();
            found.sort();
            (found == wanted).then_some(())
        });
    };
    let priority = |to: &str| world.ask(&["forum", "priority", "--thread-id", "t1", "--priority", to]);
    states(&["open"]);
    priority("normal");
    states(&["resolved"]);
    priority("urgent");
    states(&["open", "resolved"]);
    world.verified();
}

#[test]
fn an_urgent_question_is_told_with_its_text_until_it_is_answered() {
    let world = World::with(&[("a", "obeys.sh")], json!({ "operator": { "interval_seconds": 1 } }));
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    world.order(
        "a",
        1,
        "$METAWSM_BIN forum ask --title 'which port?' --body 'is 8080 free' --priority urgent --thread-id port",
    );
    let sla = || {
        let all = world.ask(&["escalations"]);
        all["escalations"].as_array().unwrap().iter().filter(|one| one["kind"] == "sla").cloned().collect::<Vec<_>>()
    };
    let told = wait_for("the call", PATIENCE, || sla().into_iter().next());
    assert_eq!(told["reason"], "which port?: is 8080 free");
    assert_eq!((&told["thread_id"], &told["run_id"], &told["agent"]), (&json!("port"), &json!(run), &json!("a")));
    assert_eq!(world.run_status(&run), "running", "nobody stands still for it");
    // A command on the run that has nothing to do with the thread leaves the call standing.
    world.ask(&["pause", "--run-id", &run]);
    world.ask(&["resume", "--run-id", &run]);
    assert_eq!(sla()[0]["state"], "open");
    world.ask(&["forum", "answer", "--thread-id", "port", "--body", "it is"]);
    assert_eq!(sla().iter().map(|one| one["state"].clone()).collect::<Vec<_>>(), ["resolved"]);
    world.verified();
}

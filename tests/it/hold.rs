//! Somebody has an agent in hand: which rules leave it alone, until when, and what is said of it meanwhile.

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::agent::AgentStatus;
use metawsm::domain::command::{AgentWish, Command, RunWish};
use metawsm::domain::escalation::{Kind, SuggestionState};
use metawsm::domain::event::{Event, Fact};
use metawsm::domain::operator::{Conclusion, Measure, Sight, evaluate};
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::RunStatus;
use metawsm::domain::signal::SignalType;
use metawsm::services::engine::Caller;
use metawsm::services::home::Home;
use metawsm::services::snapshot::{Source, Want};

use serde_json::json;

use crate::core_world::*;
use crate::world::{PATIENCE, World, wait_for};

fn hold(name: &str) -> Command {
    agent(name, AgentWish::Hold { reason: Some("I look into it".into()) })
}

fn release(name: &str) -> Command {
    agent(name, AgentWish::Release)
}

fn dies(stage: &mut Stage, name: &str) {
    let launch = stage.agent(name).launch;
    stage.must(&agent(name, AgentWish::Exited { launch, exit: killed() }));
}

fn concluded_now(stage: &Stage, measure: &Measure) -> Vec<Conclusion> {
    let scene = &stage.scene;
    let agents: Vec<_> = scene.agents_of(RUN).into_iter().cloned().collect();
    let steps: Vec<_> = scene.steps_of(RUN).into_iter().cloned().collect();
    let run = scene.runs.get(RUN).unwrap();
    let sight = Sight { run, agents: &agents, steps: &steps, questions: &[], waiting: &[], overdue: &[] };
    evaluate(&sight, measure, stage.now())
}

fn intents(stage: &Stage) -> Vec<&'static str> {
    let all = concluded_now(stage, &measure(OperatorMode::Off));
    all.iter().map(|one| one.decision.intent.word()).collect()
}

fn releases(events: &[Event]) -> Vec<String> {
    let why = |event: &Event| match &event.fact {
        Fact::AgentReleased { reason } => Some(reason.clone().unwrap_or_else(|| "released".into())),
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

#[test]
fn rules_3_4_and_5_leave_a_held_agent_alone_until_it_is_released() {
    let mut stage = Stage::running(&Plan { budget: 3, ..Plan::of(&["a"]) });
    dies(&mut stage, "a");
    assert_eq!(intents(&stage), ["auto_restart"]);
    stage.must(&hold("a"));
    let held = stage.agent("a").held.clone().unwrap();
    assert_eq!((held.by.as_str(), held.reason.as_deref()), (human().name.as_str(), Some("I look into it")));
    for _ in 0..3 {
        assert_eq!(intents(&stage), Vec::<&str>::new());
        // Rule 5 would stop a run of which nothing has lived for an hour.
        stage.millis += 7_200_000;
    }
    assert_eq!(stage.status(), RunStatus::Running);
    stage.must(&release("a"));
    assert!(intents(&stage).contains(&"auto_restart"));
    // Rule 4, where no restart is left.
    let mut stage = Stage::running(&Plan { budget: 0, ..Plan::of(&["a", "b"]) });
    dies(&mut stage, "a");
    stage.millis += 60_000;
    assert_eq!(intents(&stage), ["escalate_blocked"]);
    stage.must(&hold("a"));
    assert_eq!(intents(&stage), Vec::<&str>::new());
}

#[test]
fn a_run_whose_last_agent_is_in_hand_does_not_fail_before_it_is_given_back() {
    let mut stage = Stage::running(&Plan { budget: 0, ..Plan::of(&["a"]) });
    stage.must(&hold("a"));
    dies(&mut stage, "a");
    assert_eq!(stage.status(), RunStatus::Running);
    let events = stage.must(&release("a"));
    assert_eq!((stage.status(), moves(&events).as_str()), (RunStatus::Failed, "running>failed"));
}

#[test]
fn what_stands_of_a_held_agent_goes_and_is_another_occurrence_when_it_is_released() {
    for (budget, mode) in [(0, OperatorMode::Off), (3, OperatorMode::Assist)] {
        let mut stage = Stage::running(&Plan { budget, ..Plan::of(&["a", "b"]) });
        dies(&mut stage, "a");
        stage.millis += 60_000;
        let decide = |stage: &mut Stage, id: &str| {
            let conclusion = concluded_now(stage, &measure(mode)).remove(0);
            stage.give(operator(), None, &concluded(conclusion, id)).unwrap();
        };
        let stands = |stage: &Stage| {
            let calls = stage.scene.escalations.iter().filter(|call| call.kind == Kind::Blocked && call.stands());
            let offers = stage.scene.suggestions.iter().filter(|offer| offer.state == SuggestionState::Open);
            (calls.count(), offers.count())
        };
        decide(&mut stage, "1");
        let expected = if budget == 0 { (1, 0) } else { (0, 1) };
        assert_eq!(stands(&stage), expected);
        // Somebody decides just before it is held: that is not carried out.
        let early = concluded_now(&stage, &measure(OperatorMode::Off)).remove(0);
        let events = stage.must(&hold("a"));
        assert_eq!(stands(&stage), (0, 0), "{events:?}");
        assert_eq!(stage.give(operator(), None, &concluded(early, "2")).unwrap(), []);
        stage.must(&release("a"));
        decide(&mut stage, "3");
        assert_eq!(stands(&stage), expected);
    }
}

#[test]
fn a_hold_ends_with_what_a_human_does_to_the_agent_and_with_the_run() {
    let held = |budget| {
        let mut stage = Stage::running(&Plan { budget, ..Plan::of(&["a", "b"]) });
        stage.must(&hold("a"));
        stage
    };
    let mut stage = held(3);
    assert_eq!(releases(&stage.must(&agent("a", restart(false)))), ["it is started again"]);
    let mut stage = held(3);
    assert_eq!(releases(&stage.must(&agent("a", AgentWish::Stop))), ["it is stopped"]);
    let mut stage = held(3);
    assert_eq!(releases(&stage.must(&run(RunWish::Stop))), ["its run is over"]);
    let mut stage = held(3);
    assert_eq!(releases(&stage.must(&run(RunWish::Pause))), Vec::<String>::new());
    assert_eq!(releases(&stage.must(&run(RunWish::Resume))), ["its run is resumed"]);
    let mut stage = held(3);
    assert_eq!(releases(&stage.must(&signal("a", SignalType::Completion))), ["it is done"]);
    let mut stage = held(3);
    dies(&mut stage, "a");
    let refused = stage.refused_to(operator(), None, &agent("a", restart(true)));
    assert!(refused.to_string().contains("held by"), "{refused}");
    assert!(stage.agent("a").held.is_some(), "its death changes nothing");
}

#[test]
fn who_may_hold_and_what() {
    let mut stage = Stage::running(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    let itself = stage.refused_to(Actor::agent("a"), Some(key("a")), &hold("a"));
    assert_eq!(itself.kind, RefusalKind::NotAllowed);
    assert_eq!(stage.refused_to(Actor::agent("a"), Some(key("a")), &release("b")).kind, RefusalKind::NotAllowed);
    assert_eq!(stage.must(&hold("a")).len(), 1);
    assert_eq!(stage.must(&hold("a")).len(), 0, "the same again is nothing");
    let other = Actor::new(ActorType::Human, "lee");
    let events = stage.give(other, None, &agent("a", AgentWish::Hold { reason: None })).unwrap();
    assert_eq!((events.len(), stage.agent("a").held.clone().unwrap().by.as_str()), (1, "lee"));
    assert_eq!(stage.must(&release("b")).len(), 0);
    stage.put_agent("b", AgentStatus::Stopped);
    assert!(stage.refused(&hold("b")).to_string().contains("no rule starts it again"));
    stage.must(&run(RunWish::Stop));
    assert!(stage.refused(&hold("a")).to_string().contains("no rule starts agent a again"));
}

/// Held and released by command: what the screens and `explain` say of it, and what the supervisor does.
#[test]
fn a_countdown_goes_when_the_agent_is_held_and_comes_back_when_it_is_released() {
    let operator = json!({
        "interval_seconds": 1, "unhealthy_confirmations": 1, "restart_cooldown_seconds": 3600,
        "restart_budget": 3,
    });
    let world = World::with(&[("coder", "obeys.sh"), ("other", "obeys.sh")], json!({ "operator": operator }));
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let own = ["--run-id", run.as_str(), "--agent", "coder"];
    let ask = |verb: &str, more: &[&str]| world.ask(&[&[verb], &own[..], more].concat());
    let home = Home::at(&world.home(), &Default::default());
    let caller = Caller { actor: Actor::human("ada"), identity: None };
    let mut source = Source::open(&home, &caller).unwrap();
    let mut row = || {
        let snapshot = source.read(&Want::default(), &Default::default()).unwrap();
        snapshot.agents.into_iter().find(|agent| agent.key.name == "coder").unwrap()
    };
    world.until_looked_at(&run, "coder");
    let well = world.home().join("well");
    world.order("coder", 1, &format!("[ -e {} ] || exit 3", well.display()));
    // The first restart is at once, and it dies again.
    let due = wait_for("the second restart to be decided", PATIENCE, || row().restart_at);
    assert!(due > row().since, "not before the cooldown is over");
    assert_eq!(ask("hold", &["--reason", "mine"])["agents"][0]["held"]["reason"], "mine");
    assert_eq!((row().restart_at, row().held.and_then(|held| held.reason)), (None, Some("mine".to_owned())));
    let told = world.metawsm(&["explain", "agent", "coder", "--run-id", &run]).is(0).stdout;
    assert!(told.contains("held by") && told.contains("not rule 3") && told.contains("mine"), "{told}");
    let status = world.metawsm(&["agents", "--run-id", &run]).is(0).stdout;
    assert!(status.contains("held by"), "{status}");
    assert_eq!(world.agent(&run, "coder")["status"], "failed");
    assert_eq!(world.agent(&run, "other")["held"], serde_json::Value::Null);
    ask("release", &[]);
    wait_for("the countdown to come back", PATIENCE, || row().restart_at);
    assert_eq!(world.agent(&run, "coder")["held"], serde_json::Value::Null);
    world.verified();
    // By itself a hold ends with what a human does.
    std::fs::write(well, "").unwrap();
    ask("hold", &[]);
    ask("restart", &[]);
    wait_for("its start", PATIENCE, || (row().launch == 3 && row().held.is_none()).then_some(()));
    world.metawsm(&["release", "--run-id", &run]).is(4);
    let all = world.ask(&["hold", "--run-id", &run]);
    assert_eq!(all["agents"].as_array().unwrap().len(), 2, "without a name all of the run are meant");
}

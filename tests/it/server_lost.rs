//! The tmux server's death and silence (spec 2.4, health 1 and 2): one cause, one call, and nobody pays for it.

use std::time::Duration;

use metawsm::domain::agent::{AgentStatus, Exit};
use metawsm::domain::command::{AgentWish, Command, EscalationWish, SuggestionWish, TmuxNews};
use metawsm::domain::escalation::{EscalationState, Kind};
use metawsm::domain::operator::{Sight, evaluate};
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::run::RunStatus;
use metawsm::domain::time::Moment;
use serde_json::{Value, json};

use crate::core_world::*;
use crate::harness::{Stopped, signal};
use crate::world::{PATIENCE, World, wait_for};

/// An end by the terminal's going, as the launcher saw it.
fn hung_up(server: Option<&str>) -> Exit {
    Exit {
        signal: Some("SIGHUP".into()),
        source: "launcher".into(),
        at: Some(Moment::from_millis(START)),
        hung_up: true,
        server_lost: server.map(str::to_owned),
        ..Exit::default()
    }
}

fn ends(stage: &mut Stage, name: &str, server: Option<&str>) {
    stage.must(&agent(name, AgentWish::Exited { launch: 1, exit: hung_up(server) }));
}

fn tmux(news: TmuxNews, id: &str) -> Command {
    Command::Tmux { news, due_at: None, escalation_id: format!("esc-{id}") }
}

/// Evaluates the rules now and carries out what they conclude.
fn operate(stage: &mut Stage, mode: OperatorMode) -> String {
    let agents: Vec<_> = stage.scene.agents_of(RUN).into_iter().cloned().collect();
    let steps: Vec<_> = stage.scene.steps_of(RUN).into_iter().cloned().collect();
    let run = stage.scene.runs.get(RUN).unwrap().clone();
    let sight = Sight { run: &run, agents: &agents, steps: &steps, questions: &[], waiting: &[], overdue: &[] };
    let now = Moment::from_millis(START + stage.minutes * 60_000);
    let mut said = Vec::new();
    for (n, conclusion) in evaluate(&sight, &measure(mode), now).into_iter().enumerate() {
        let decision = &conclusion.decision;
        said.push(format!("{} {} {}", decision.target, decision.intent.word(), decision.action.word()));
        stage.give(operator(), None, &concluded(conclusion, &n.to_string())).unwrap();
    }
    said.join(", ")
}

#[test]
fn in_whatever_order_both_ends_are_reported_it_comes_to_the_same_and_costs_nothing() {
    for reports in [&[Some("77/5")][..], &[None, Some("77/5")], &[Some("77/5"), None, Some("77/5")]] {
        // Budget 0, and nothing else lives: an ordinary death would end the run.
        let mut stage = Stage::running(&Plan::of(&["a"]));
        for server in reports {
            ends(&mut stage, "a", *server);
        }
        assert_eq!(stage.agent("a").went_with_server(), Some("77/5"), "{reports:?}");
        assert_eq!(stage.agent("a").status, AgentStatus::Dead);
        assert_eq!(stage.status(), RunStatus::Running, "{reports:?}");
        assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart act");
        let agent = stage.agent("a");
        assert_eq!((agent.wanted, agent.restarts.used, agent.restarts.cooldown_until), (2, 0, None));
        assert_eq!(operate(&mut stage, OperatorMode::Off), "", "a start is due");
    }
}

#[test]
fn an_agent_that_takes_the_server_down_each_time_does_not_go_round_in_a_circle() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let falls = |stage: &mut Stage, launch: u32| {
        let exit = hung_up(Some(&format!("77/{launch}")));
        stage.must(&agent("a", AgentWish::Exited { launch, exit }));
    };
    falls(&mut stage, 1);
    assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart act", "the first time at once");
    for launch in 2..5 {
        // The clock of the stage goes on by a minute with each command; all this takes moments.
        let restarted = stage.minutes - 1;
        stage.must(&agent("a", AgentWish::Started { launch }));
        falls(&mut stage, launch);
        stage.minutes = restarted;
        assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart nothing", "{launch}");
        assert_eq!(stage.agent("a").wanted, launch);
        assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart act", "{launch}");
    }
    assert_eq!((stage.agent("a").restarts.used, stage.status()), (0, RunStatus::Running));
}

#[test]
fn a_session_taken_away_on_a_live_server_is_an_ordinary_death() {
    let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a"]) });
    ends(&mut stage, "a", None);
    stage.minutes += 1;
    assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart act");
    assert_eq!(stage.agent("a").restarts.used, 1);
    assert!(stage.agent("a").restarts.cooldown_until.is_some());
    let mut stage = Stage::running(&Plan::of(&["a"]));
    ends(&mut stage, "a", None);
    assert_eq!(stage.status(), RunStatus::Failed);
    assert!(stage.must(&tmux(TmuxNews::Deaths, "1")).is_empty());
}

#[test]
fn used_restarts_are_neither_counted_nor_forgiven_and_no_cooldown_holds() {
    let mut stage = Stage::running(&Plan { budget: 2, ..Plan::of(&["a"]) });
    let agent = stage.scene.agents.touch(&key("a")).unwrap();
    agent.restarts.used = 2;
    agent.restarts.cooldown_until = Some(Moment::from_millis(START + 1_000_000_000));
    ends(&mut stage, "a", Some("77/5"));
    assert_eq!(operate(&mut stage, OperatorMode::Off), "agent:ws/a auto_restart act");
    assert_eq!(stage.agent("a").restarts.used, 2);
    // By hand it is a human's restart, which forgives.
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.scene.agents.touch(&key("a")).unwrap().restarts.used = 2;
    ends(&mut stage, "a", Some("77/5"));
    stage.must(&crate::core_world::agent("a", restart(false)));
    assert_eq!(stage.agent("a").restarts.used, 0);
}

#[test]
fn in_assist_it_is_offered_and_accepting_it_costs_nothing() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    ends(&mut stage, "a", Some("77/5"));
    assert_eq!(operate(&mut stage, OperatorMode::Assist), "agent:ws/a auto_restart suggest");
    assert_eq!(stage.agent("a").wanted, 1);
    let wish = SuggestionWish::Accept { cooldown_until: Some(Moment::from_millis(START * 2)) };
    stage.must(&Command::Suggestion { suggestion_id: "sug-0".into(), wish });
    let agent = stage.agent("a");
    assert_eq!((agent.wanted, agent.restarts.used, agent.restarts.cooldown_until), (2, 0, None));
}

#[test]
fn one_escalation_for_all_who_went_until_the_last_of_them_is_back() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    assert!(stage.must(&tmux(TmuxNews::Deaths, "0")).is_empty(), "nobody is dead");
    ends(&mut stage, "a", Some("77/5"));
    stage.must(&tmux(TmuxNews::Deaths, "1"));
    ends(&mut stage, "b", Some("77/5"));
    stage.must(&tmux(TmuxNews::Deaths, "2"));
    assert!(stage.must(&tmux(TmuxNews::Deaths, "3")).is_empty(), "it is told");
    let all: Vec<_> = stage.scene.escalations.iter().collect();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].kind, all[0].run_id.as_deref(), all[0].state),
        (Kind::TmuxServerLost, None, EscalationState::Open)
    );
    assert!(all[0].reason.contains("run-1/ws/a, run-1/ws/b"), "{}", all[0].reason);
    operate(&mut stage, OperatorMode::Off);
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    assert!(stage.must(&tmux(TmuxNews::Recovered, "4")).is_empty(), "b is not back");
    stage.must(&agent("b", AgentWish::Started { launch: 2 }));
    assert_eq!(stage.must(&tmux(TmuxNews::Recovered, "5")).len(), 1);
    assert_eq!(stage.scene.escalations.get("esc-1").unwrap().state, EscalationState::Resolved);
}

#[test]
fn who_is_stopped_instead_is_nothing_to_bring_back_and_who_was_settled_by_hand_calls_no_more() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    ends(&mut stage, "a", Some("77/5"));
    stage.must(&tmux(TmuxNews::Deaths, "1"));
    stage.must(&agent("a", AgentWish::Stop));
    assert_eq!(stage.must(&tmux(TmuxNews::Recovered, "2")).len(), 1);
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    ends(&mut stage, "a", Some("77/5"));
    stage.must(&tmux(TmuxNews::Deaths, "1"));
    let wish = EscalationWish::Resolve { note: None };
    stage.must(&Command::Escalation { escalation_id: "esc-1".into(), wish });
    assert!(stage.must(&tmux(TmuxNews::Deaths, "2")).is_empty());
}

#[test]
fn silence_is_told_once_and_taken_back_when_it_answers() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let silent = || TmuxNews::Silent { since: Moment::from_millis(START), tries: 3, why: "no answer".into() };
    stage.must(&tmux(silent(), "1"));
    assert!(stage.must(&tmux(silent(), "2")).is_empty());
    assert_eq!(stage.scene.escalations.get("esc-1").unwrap().kind, Kind::TmuxUnreachable);
    assert_eq!(operate(&mut stage, OperatorMode::Off), "", "it is no reason to restart anybody");
    assert_eq!(stage.must(&tmux(TmuxNews::Answers, "3")).len(), 1);
    assert!(stage.must(&tmux(TmuxNews::Answers, "4")).is_empty());
    let evaluated = stage.scene.escalations.get("esc-1").unwrap();
    assert_eq!(evaluated.resolved_by.as_deref(), Some("system:metawsm"));
}

fn of_kind(world: &World, kind: &str) -> Vec<Value> {
    let all = world.ask(&["escalations"]);
    all["escalations"].as_array().unwrap().iter().filter(|found| found["kind"] == kind).cloned().collect()
}

fn server(world: &World) -> u32 {
    world.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap()
}

#[test]
fn a_killed_server_takes_nobodys_restarts_and_everybody_comes_back() {
    let world = World::with(
        &[("a", "obeys.sh"), ("b", "obeys.sh"), ("c", "deaf.sh")],
        json!({ "operator": { "interval_seconds": 1, "unhealthy_confirmations": 1, "restart_cooldown_seconds": 1 } }),
    );
    // c is deaf to the hang-up: it lives on without a screen until a new server answers and does not know it.
    let one = world.run(&["--agent", "a", "--agent", "b"]);
    let two = world.run(&["--agent", "c"]);
    let all = [(one.as_str(), "a"), (one.as_str(), "b"), (two.as_str(), "c")];
    let _supervisor = world.spawn(&["--headless"]);
    all.iter().for_each(|(run, name)| world.until_looked_at(run, name));
    signal(server(&world), "KILL");
    for (run, name) in all {
        let back = wait_for(&format!("{name} to be back"), PATIENCE, || {
            Some(world.agent(run, name)).filter(|agent| agent["launch"] == 2 && agent["status"] == "running")
        });
        assert_eq!(back["restarts"]["used"], 0, "{back}");
        assert_eq!(back["restarts"]["cooldown_until"], Value::Null);
    }
    wait_for("the call to be taken back", PATIENCE, || {
        of_kind(&world, "tmux_server_lost").iter().all(|found| found["state"] == "resolved").then_some(())
    });
    let told = of_kind(&world, "tmux_server_lost");
    assert_eq!(told.len(), 1, "{told:?}");
    for (run, name) in all {
        assert!(told[0]["reason"].as_str().unwrap().contains(run), "{name} of {run}: {}", told[0]["reason"]);
    }
    assert_eq!(world.sessions().len(), 3);
    assert_eq!(of_kind(&world, "blocked").len() + of_kind(&world, "failed").len(), 0);
    // One session alone is an ordinary death: its restart counts, and nobody speaks of the server.
    let session = world.agent(&two, "c")["session"].as_str().unwrap().to_owned();
    world.tmux(&["kill-session", "-t", &format!("={session}")]);
    let back = wait_for("c to be back", PATIENCE, || {
        Some(world.agent(&two, "c")).filter(|agent| agent["launch"] == 3 && agent["status"] == "running")
    });
    assert_eq!(back["restarts"]["used"], 1);
    assert_eq!(of_kind(&world, "tmux_server_lost").len(), 1);
    // Ended in an orderly way it is gone all the same, and that is another occurrence. What was used stays used.
    world.tmux(&["kill-server"]);
    for (run, name, launch, used) in [(&one, "a", 3, 0), (&one, "b", 3, 0), (&two, "c", 4, 1)] {
        let back = wait_for(&format!("{name} to be back once more"), PATIENCE, || {
            Some(world.agent(run, name)).filter(|agent| agent["launch"] == launch && agent["status"] == "running")
        });
        assert_eq!(back["restarts"]["used"], used, "{back}");
    }
    wait_for("the second call to be taken back", PATIENCE, || {
        let told = of_kind(&world, "tmux_server_lost");
        (told.len() == 2 && told.iter().all(|found| found["state"] == "resolved")).then_some(())
    });
    world.verified();
}

#[test]
fn a_server_that_hangs_is_told_and_nobody_is_restarted() {
    let world = World::new(&[("a", "obeys.sh"), ("b", "obeys.sh")]);
    let run = world.run(&[]);
    let _supervisor = world.spawn(&["--headless"]);
    for name in ["a", "b"] {
        world.until_looked_at(&run, name);
    }
    let stopped = Stopped::new(server(&world));
    wait_for("the call", PATIENCE, || {
        of_kind(&world, "tmux_unreachable").into_iter().find(|found| found["state"] == "open")
    });
    assert_eq!(world.agent(&run, "a")["health"], "unknown");
    assert_eq!(world.run_status(&run), "running");
    drop(stopped);
    wait_for("the call to be taken back", Duration::from_secs(60), || {
        of_kind(&world, "tmux_unreachable").iter().all(|found| found["state"] == "resolved").then_some(())
    });
    wait_for("to be known as well again", PATIENCE, || (world.agent(&run, "a")["health"] == "healthy").then_some(()));
    assert_eq!(of_kind(&world, "tmux_unreachable").len(), 1);
    for name in ["a", "b"] {
        assert_eq!(
            (&world.agent(&run, name)["launch"], &world.agent(&run, name)["status"]),
            (&json!(1), &json!("running"))
        );
    }
    world.verified();
}

#[test]
fn a_server_that_goes_while_nobody_supervises_is_reckoned_with_afterwards() {
    let world = World::with(
        &[("a", "obeys.sh"), ("b", "obeys.sh"), ("c", "obeys.sh")],
        json!({ "operator": { "interval_seconds": 1 } }),
    );
    let run = world.run(&[]);
    let record = |name: &str| world.record(world.agent(&run, name)["session"].as_str().unwrap(), 1);
    let (server, launcher) = (server(&world), record("c").launcher_pid);
    // As where memory runs out, c loses its launcher too: nobody is left to report its end.
    signal(launcher, "KILL");
    signal(server, "KILL");
    for name in ["a", "b"] {
        let dead = world.until_agent(&run, name, "dead");
        assert!(dead["reason"].as_str().unwrap().starts_with("went with the tmux server"), "{dead}");
    }
    assert_eq!(world.run_status(&run), "running", "its launchers' reports alone say that it can go on");
    assert!(of_kind(&world, "tmux_server_lost").is_empty(), "calling is the supervisor's");
    let _supervisor = world.spawn(&["--headless"]);
    for name in ["a", "b", "c"] {
        let back = wait_for(&format!("{name} to be back"), PATIENCE, || {
            Some(world.agent(&run, name)).filter(|agent| agent["launch"] == 2 && agent["status"] == "running")
        });
        assert_eq!(back["restarts"]["used"], 0);
    }
    wait_for("the call to be taken back", PATIENCE, || {
        let told = of_kind(&world, "tmux_server_lost");
        (told.len() == 1 && told[0]["state"] == "resolved").then_some(())
    });
    world.verified();
}

//! What follows without anybody wishing it: completed, failed, awaiting guidance, and epochs (spec 2.2, 2.4, 2.7).

use metawsm::domain::actor::Actor;
use metawsm::domain::agent::AgentStatus;
use metawsm::domain::command::{AgentWish, RunWish, StepEnd, ThreadWish};
use metawsm::domain::run::{RunMode, RunStatus};
use metawsm::domain::signal::SignalType;
use metawsm::domain::thread::ThreadState;

use crate::core_world::*;

fn ended(name: &str, exit: metawsm::domain::agent::Exit) -> metawsm::domain::command::Command {
    agent(name, AgentWish::Exited { launch: 1, exit })
}

#[test]
fn a_run_completes_when_all_are_done_or_stopped_and_one_is_done() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Running, "b works");
    stage.must(&agent("b", AgentWish::Stop));
    assert_eq!(stage.status(), RunStatus::Running, "b is stopping: alive");
    stage.must(&agent("b", AgentWish::Stopped));
    assert_eq!(stage.status(), RunStatus::Completed);

    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    for name in ["a", "b"] {
        stage.must(&agent(name, AgentWish::Stop));
        stage.must(&agent(name, AgentWish::Stopped));
    }
    assert_eq!(stage.status(), RunStatus::Running, "none is done: nothing is completed");
}

#[test]
fn a_run_is_not_completed_while_a_step_or_a_start_is_pending() {
    let mut stage = Stage::default();
    stage.must(&Plan::of(&["a", "b"]).create());
    for index in [1, 2, 3] {
        stage.must(&run(RunWish::BeginStep { index }));
        if index == 3 {
            stage.must(&agent("a", AgentWish::Started { launch: 1 }));
        }
        stage.must(&run(RunWish::EndStep { index, end: StepEnd::Done }));
    }
    stage.must(&signal("a", SignalType::Completion));
    stage.must(&agent("b", AgentWish::Stop));
    assert_eq!(stage.status(), RunStatus::Running, "the step that starts b is pending");
    stage.must(&run(RunWish::BeginStep { index: 4 }));
    stage.must(&run(RunWish::EndStep { index: 4, end: StepEnd::Done }));
    assert_eq!(stage.status(), RunStatus::Completed);

    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&signal("a", SignalType::Completion));
    stage.must(&agent("a", restart(false)));
    stage.must(&signal("b", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Running, "a is to be started again");
}

#[test]
fn a_run_fails_when_nothing_is_alive_and_nothing_can_go_on() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&ended("a", killed()));
    assert_eq!(stage.status(), RunStatus::Running, "b lives");
    stage.must(&signal("b", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Failed, "a is dead and its budget is 0");

    let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a"]) });
    stage.must(&ended("a", exit(3)));
    assert_eq!(stage.status(), RunStatus::Running, "one restart is left");
    stage.must(&agent("a", restart(true)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    stage.must(&agent("a", AgentWish::Exited { launch: 2, exit: exit(3) }));
    assert_eq!(stage.status(), RunStatus::Failed);
    let reason = stage.scene.runs.get(RUN).unwrap().reason.clone();
    assert!(reason.contains('a') && reason.contains("exited with 3"), "{reason}");

    stage.must(&run(RunWish::Resume));
    assert_eq!(stage.status(), RunStatus::Running);
    let again = stage.agent("a");
    assert!(again.start_due() && again.restarts.used == 0, "attempts reset");
}

#[test]
fn a_failed_step_beside_a_living_agent_does_not_fail_the_run() {
    let mut stage = Stage::default();
    stage.must(&Plan::of(&["a", "b"]).create());
    for index in [1, 2, 3] {
        stage.must(&run(RunWish::BeginStep { index }));
        if index == 3 {
            stage.must(&agent("a", AgentWish::Started { launch: 1 }));
        }
        stage.must(&run(RunWish::EndStep { index, end: StepEnd::Done }));
    }
    stage.must(&run(RunWish::BeginStep { index: 4 }));
    stage.must(&agent("b", AgentWish::StartFailed { launch: 1, error: "codex: not found".into() }));
    stage.must(&run(RunWish::EndStep { index: 4, end: StepEnd::Failed("codex: not found".into()) }));
    assert_eq!((stage.status(), stage.agent("b").status), (RunStatus::Running, AgentStatus::Failed));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Failed);
    assert!(stage.scene.runs.get(RUN).unwrap().reason.contains("codex: not found"));
}

#[test]
fn a_step_that_fails_for_good_leaves_nothing_to_wait_for_behind_it() {
    let mut stage = Stage::default();
    stage.must(&Plan::of(&["a"]).create());
    stage.must(&run(RunWish::BeginStep { index: 1 }));
    stage.must(&run(RunWish::EndStep { index: 1, end: StepEnd::Failed("no such ticket".into()) }));
    assert_eq!(stage.status(), RunStatus::Failed, "the steps behind it are blocked");
    // In another ticket's workspace the plan goes on.
    let mut stage = Stage::default();
    stage.must(&Plan { workspaces: vec!["ws".into(), "zz".into()], ..Plan::of(&["a"]) }.create());
    stage.must(&run(RunWish::BeginStep { index: 1 }));
    stage.must(&run(RunWish::EndStep { index: 1, end: StepEnd::Failed("no such ticket".into()) }));
    assert_eq!(stage.status(), RunStatus::Running);
}

#[test]
fn a_question_makes_the_run_await_guidance_and_the_last_answer_ends_it() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&ask("t0", "a", "by the way", false));
    assert_eq!(stage.status(), RunStatus::Running, "nobody waits for it");
    stage.must(&ask("t1", "a", "which?", true));
    assert_eq!((stage.status(), stage.thread("t1").state), (RunStatus::AwaitingGuidance, ThreadState::WaitingHuman));
    stage.must(&signal("b", SignalType::GuidanceRequest));
    stage.must(&answer("t1", human(), None));
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance, "b waits still");
    stage.must(&answer(&control("b"), human(), None));
    assert_eq!(stage.status(), RunStatus::Running);
    // The agent asks on in the answered thread.
    let wish = ThreadWish::Post { body: "and then?".into(), wait: true, author: Some(Actor::agent("a")) };
    assert_eq!(moves(&stage.must(&thread("t1", wish))), "answered>waiting_human running>awaiting_guidance");
    stage.must(&post("t1", operator(), "then that"));
    assert_eq!(stage.status(), RunStatus::Running, "the first word of the other side ends the wait");
    // Closing ends it too.
    stage.must(&ask("t2", "b", "what now?", true));
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance);
    stage.must(&thread("t2", ThreadWish::Close));
    assert_eq!(stage.status(), RunStatus::Running);
}

#[test]
fn a_question_left_open_keeps_the_run_from_being_completed() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&signal("a", SignalType::GuidanceRequest));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!((stage.status(), stage.agent("a").status), (RunStatus::AwaitingGuidance, AgentStatus::Done));
    let events = stage.must(&answer(&control("a"), human(), None));
    assert_eq!(moves(&events), "awaiting_guidance>running running>completed");
}

#[test]
fn a_waiting_run_whose_agents_are_all_gone_fails() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&ask("t1", "a", "which?", true));
    assert_eq!(moves(&stage.must(&ended("a", killed()))), "running>dead awaiting_guidance>failed");
}

#[test]
fn a_paused_run_is_left_alone_until_it_goes_on() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&run(RunWish::Pause));
    stage.must(&ask("t1", "a", "which?", true));
    assert_eq!(stage.status(), RunStatus::Paused);
    assert_eq!(moves(&stage.must(&run(RunWish::Resume))), "paused>running running>awaiting_guidance");
    stage.must(&run(RunWish::Pause));
    stage.must(&signal("a", SignalType::Completion));
    stage.must(&answer("t1", human(), None));
    assert_eq!((stage.status(), stage.agent("a").status), (RunStatus::Paused, AgentStatus::Done));
    assert_eq!(moves(&stage.must(&run(RunWish::Resume))), "paused>running running>completed");
}

#[test]
fn what_was_said_in_an_older_epoch_does_not_count() {
    let mut stage = Stage::running(&Plan { mode: RunMode::Bootstrap, ..Plan::of(&["a"]) });
    stage.must(&signal("a", SignalType::Completion));
    stage.must(&signal("a", SignalType::Validation));
    assert_eq!(stage.status(), RunStatus::Completed);
    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    assert_eq!((stage.agent("a").epoch, stage.agent("a").status), (2, AgentStatus::Running));
    let old = |kind| signal_by(full_signal(kind, &key("a"), 1), Actor::agent("a"));
    stage.must(&old(SignalType::Completion));
    stage.must(&signal("a", SignalType::Validation));
    assert_eq!(stage.agent("a").status, AgentStatus::Running, "the completion was one of epoch 1");
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn a_late_word_of_an_older_epoch_takes_nothing_back() {
    let mut stage = Stage::running(&Plan { mode: RunMode::Bootstrap, ..Plan::of(&["a", "b"]) });
    stage.must(&signal("a", SignalType::Completion));
    stage.must(&signal("a", SignalType::Validation));
    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    stage.must(&signal("a", SignalType::Completion));
    let old = |kind| signal_by(full_signal(kind, &key("a"), 1), Actor::agent("a"));
    stage.must(&old(SignalType::Completion));
    stage.must(&signal("a", SignalType::Validation));
    assert_eq!(stage.agent("a").status, AgentStatus::Done);

    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Started { launch: 3 }));
    stage.must(&signal("a", SignalType::Validation));
    let mut failed = full_signal(SignalType::Validation, &key("a"), 2);
    failed.status = Some("failed".into());
    stage.must(&signal_by(failed, Actor::agent("a")));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.agent("a").status, AgentStatus::Done);

    let ahead = signal_by(full_signal(SignalType::Completion, &key("a"), 9), Actor::agent("a"));
    assert!(stage.refused(&ahead).message.contains("epoch 3"), "an epoch that has not come");
}

#[test]
fn requests_of_an_epoch_that_is_over_are_settled() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&signal("a", SignalType::GuidanceRequest));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance);
    let events = stage.must(&agent("a", restart(false)));
    assert_eq!(moves(&events), "awaiting_guidance>running");
    assert!(stage.scene.open_requests(&control("a")).is_empty());
    assert_eq!(stage.thread(&control("a")).waiting_on, None);
    // One that is asked late, for the epoch that is over, is settled as it comes.
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    stage.must(&signal_by(full_signal(SignalType::GuidanceRequest, &key("a"), 1), Actor::agent("a")));
    assert_eq!((stage.status(), stage.thread(&control("a")).waiting_on), (RunStatus::Running, None));
    assert_eq!(stage.scene.requests_of(&control("a")).count(), 2);
}

#[test]
fn a_crash_restart_keeps_epoch_and_question() {
    let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a"]) });
    stage.must(&signal("a", SignalType::GuidanceRequest));
    stage.must(&ended("a", killed()));
    stage.must(&agent("a", restart(true)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    assert_eq!((stage.status(), stage.agent("a").epoch), (RunStatus::AwaitingGuidance, 1));
    assert_eq!(stage.scene.open_requests(&control("a")).len(), 1);
}

#[test]
fn closing_is_refused_while_an_agent_works() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.put_run(RunStatus::Completed);
    for status in AgentStatus::ALL {
        stage.put_agent("a", status);
        let begun =
            metawsm::domain::decide::decide(&stage.scene, &run(RunWish::BeginClose), &stage.context(human(), None));
        assert_eq!(begun.is_err(), status.working(), "{status}");
    }
}

//! Runs, steps and agents: what each wish does in each state (spec 2.2–2.4).

use metawsm::domain::agent::{AgentStatus, Completion, Exit, Health};
use metawsm::domain::command::{AgentWish, Command, RunWish, StepEnd};
use metawsm::domain::decide::decide;
use metawsm::domain::event::Fact;
use metawsm::domain::plan::StepStatus;
use metawsm::domain::refusal::{Refusal, RefusalKind};
use metawsm::domain::run::{RunMode, RunStatus};
use metawsm::domain::signal::SignalType;

use crate::core_world::*;

/// What one decision comes to, without what follows from it: `x` refused, `=` nothing, or where it goes.
fn outcome(stage: &Stage, command: &Command) -> (String, Option<Refusal>) {
    match decide(&stage.scene, command, &stage.context(human(), None)) {
        Err(refused) => ("x".to_owned(), Some(refused)),
        Ok(decided) => {
            let mut events = Vec::new();
            for draft in decided.drafts {
                events.push(metawsm::domain::event::Event {
                    seq: 1,
                    event_id: "e".into(),
                    occurred_at: metawsm::domain::time::Moment::from_millis(START),
                    subject: draft.subject,
                    actor: human(),
                    correlation_id: "e".into(),
                    causation_id: None,
                    fact: draft.fact,
                });
            }
            let moves = moves(&events);
            (if moves.is_empty() { "=".to_owned() } else { moves }, None)
        }
    }
}

#[test]
fn what_each_wish_does_to_a_run_in_each_state() {
    let wishes = || {
        [
            RunWish::Pause,
            RunWish::Resume,
            RunWish::Stop,
            RunWish::FinishStop,
            RunWish::BeginClose,
            RunWish::FinishClose,
            RunWish::AbortClose { reason: "a conflict".into() },
        ]
    };
    let mut table = Vec::new();
    for status in RunStatus::ALL {
        let mut stage = Stage::default();
        stage.must(&Plan::of(&["a"]).create());
        stage.put_run(status);
        let cells = wishes().map(|wish| {
            let (cell, refused) = outcome(&stage, &run(wish));
            if let Some(refused) = refused {
                assert_eq!(refused.kind, RefusalKind::Illegal);
                assert_eq!(refused.state.as_deref(), Some(status.word()));
                assert_eq!(refused.allowed, status.next_commands(), "{status}");
            }
            cell.trim_start_matches(&format!("{status}>")).to_owned()
        });
        table.push(format!("{status}: {}", cells.join(", ")));
    }
    insta::assert_snapshot!(table.join("\n"), @r"
    created: x, x, x, x, x, x, x
    planning: paused, running, stopping, x, x, x, x
    running: paused, =, stopping, x, x, x, x
    awaiting_guidance: paused, =, stopping, x, x, x, x
    paused: =, running, stopping, x, x, x, x
    failed: x, running, stopping, x, x, x, x
    stopping: x, x, =, stopped, x, x, x
    stopped: x, running, x, =, x, x, x
    closing: x, x, x, x, =, closed, completed
    closed: x, x, x, x, x, =, x
    completed: x, x, x, x, closing, x, =
    ");
}

#[test]
fn what_each_wish_does_to_a_step_in_each_state() {
    let wishes = || {
        let end = |end| RunWish::EndStep { index: 1, end };
        [
            RunWish::BeginStep { index: 1 },
            end(StepEnd::Done),
            end(StepEnd::Failed("no".into())),
            end(StepEnd::Interrupted),
        ]
    };
    let mut table = Vec::new();
    for status in StepStatus::ALL {
        let mut stage = Stage::default();
        stage.must(&Plan::of(&["a"]).create());
        stage.scene.steps.touch(&(RUN.to_owned(), 1)).unwrap().status = status;
        let cells = wishes().map(|wish| {
            let (cell, refused) = outcome(&stage, &run(wish));
            if let Some(refused) = refused {
                assert_eq!(refused.state.as_deref(), Some(status.word()));
                let allowed: Vec<&str> = status.successors().iter().map(|next| next.word()).collect();
                assert_eq!(refused.allowed, allowed);
            }
            cell
        });
        table.push(format!("{status}: {}", cells.join(", ")));
    }
    insta::assert_snapshot!(table.join("\n"), @r"
    pending: pending>running, x, x, =
    running: running>pending pending>running, running>done, running>failed, running>pending
    done: x, =, x, x
    failed: failed>running, x, =, x
    skipped: x, x, x, x
    ");
}

#[test]
fn a_step_is_begun_only_while_its_run_is_at_work() {
    for status in RunStatus::ALL {
        let mut stage = Stage::default();
        stage.must(&Plan::of(&["a"]).create());
        stage.put_run(status);
        let (cell, refused) = outcome(&stage, &run(RunWish::BeginStep { index: 1 }));
        assert_eq!(cell != "x", status.at_work(), "{status}");
        assert_eq!(
            refused.map(|refused| refused.allowed),
            (!status.at_work()).then(|| { status.next_commands().iter().map(|word| (*word).to_owned()).collect() })
        );
    }
}

#[test]
fn an_interrupted_attempt_is_given_back_and_a_failed_one_counts() {
    let mut stage = Stage::default();
    stage.must(&Plan { step_retries: 1, ..Plan::of(&["a"]) }.create());
    let attempts = |stage: &Stage| stage.scene.steps.get(&(RUN.to_owned(), 1)).unwrap().attempts;
    stage.must(&run(RunWish::BeginStep { index: 1 }));
    stage.must(&run(RunWish::EndStep { index: 1, end: StepEnd::Interrupted }));
    assert_eq!(attempts(&stage), 0);
    for attempt in 1..=2 {
        assert_eq!(stage.status(), RunStatus::Running);
        stage.must(&run(RunWish::BeginStep { index: 1 }));
        stage.must(&run(RunWish::EndStep { index: 1, end: StepEnd::Failed("no".into()) }));
        assert_eq!(attempts(&stage), attempt);
    }
    assert_eq!(stage.status(), RunStatus::Failed, "its retries are spent and nothing else is alive");
    stage.must(&run(RunWish::Resume));
    assert_eq!((stage.status(), attempts(&stage)), (RunStatus::Running, 0));
}

#[test]
fn what_each_wish_does_to_an_agent_in_each_state() {
    let wishes = || {
        [
            AgentWish::Stop,
            AgentWish::Stopped,
            AgentWish::Started { launch: 2 },
            AgentWish::StartFailed { launch: 2, error: "no".into() },
            AgentWish::Exited { launch: 1, exit: exit(0) },
            observed(Health::Stalled),
            restart(false),
        ]
    };
    let mut table = Vec::new();
    for status in AgentStatus::ALL {
        let mut stage = Stage::running(&Plan::of(&["a"]));
        stage.put_agent("a", status);
        let cells = wishes().map(|wish| outcome(&stage, &agent("a", wish)).0);
        for cell in &cells {
            for change in cell.split(' ').filter(|change| change.contains('>')) {
                let (from, to) = change.split_once('>').unwrap();
                assert!(AgentStatus::parse(from).unwrap().may_become(AgentStatus::parse(to).unwrap()), "{change}");
            }
        }
        table.push(format!("{status}: {}", cells.join(", ")));
    }
    insta::assert_snapshot!(table.join("\n"), @r"
    pending: pending>stopped, =, pending>running, pending>failed, pending>running running>done, =, x
    running: running>stopping, running>stopping stopping>stopped, running>stopping stopping>stopped stopped>running, running>stopping stopping>stopped stopped>running running>failed, running>done, running>stalled, running>stopping
    idle: idle>stopping, idle>stopping stopping>stopped, idle>stopping stopping>stopped stopped>running, idle>stopping stopping>stopped stopped>running running>failed, idle>done, idle>stalled, idle>stopping
    stalled: stalled>stopping, stalled>stopping stopping>stopped, stalled>stopping stopping>stopped stopped>running, stalled>stopping stopping>stopped stopped>running running>failed, stalled>done, =, stalled>stopping
    dead: dead>stopped, =, dead>running, dead>running running>failed, =, =, =
    failed: failed>stopped, =, failed>running, failed>running running>failed, =, =, =
    stopping: =, stopping>stopped, stopping>stopped stopped>running, stopping>stopped stopped>running running>failed, =, =, =
    stopped: =, =, stopped>running, stopped>running running>failed, =, =, =
    done: done>stopped, =, done>running, done>running running>failed, =, =, =
    ");
}

#[test]
fn what_an_end_means() {
    let ends = [("0", exit(0)), ("3", exit(3)), ("killed", killed()), ("unknown", Exit::default())];
    let mut table = Vec::new();
    for (mode, completion) in [
        (RunMode::Run, Completion::Either),
        (RunMode::Run, Completion::ExitZero),
        (RunMode::Run, Completion::Signal),
        (RunMode::Bootstrap, Completion::ExitZero),
    ] {
        for (name, exit) in &ends {
            let mut stage = Stage::running(&Plan { mode, completion, ..Plan::of(&["a"]) });
            stage.must(&agent("a", AgentWish::Exited { launch: 1, exit: exit.clone() }));
            let agent = stage.agent("a");
            table.push(format!("{mode:?} {completion:?} {name}: {} ({})", agent.status, agent.reason));
        }
    }
    insta::assert_snapshot!(table.join("\n"), @r"
    Run Either 0: done (exited with 0)
    Run Either 3: failed (exited with 3)
    Run Either killed: dead (ended by SIGKILL)
    Run Either unknown: dead (is gone, how it ended is not known)
    Run ExitZero 0: done (exited with 0)
    Run ExitZero 3: failed (exited with 3)
    Run ExitZero killed: dead (ended by SIGKILL)
    Run ExitZero unknown: dead (is gone, how it ended is not known)
    Run Signal 0: failed (exited without completion)
    Run Signal 3: failed (exited with 3)
    Run Signal killed: dead (ended by SIGKILL)
    Run Signal unknown: dead (is gone, how it ended is not known)
    Bootstrap ExitZero 0: failed (exited without completion)
    Bootstrap ExitZero 3: failed (exited with 3)
    Bootstrap ExitZero killed: dead (ended by SIGKILL)
    Bootstrap ExitZero unknown: dead (is gone, how it ended is not known)
    ");
}

#[test]
fn whether_its_word_makes_an_agent_done() {
    for (completion, done) in [(Completion::Signal, true), (Completion::Either, true), (Completion::ExitZero, false)] {
        let mut stage = Stage::running(&Plan { completion, ..Plan::of(&["a"]) });
        stage.must(&signal("a", SignalType::Completion));
        assert_eq!(stage.agent("a").status == AgentStatus::Done, done, "{completion:?}");
        assert_eq!(stage.status() == RunStatus::Completed, done);
    }
}

#[test]
fn a_bootstrap_agent_is_done_with_completion_and_the_briefs_own_criteria() {
    use SignalType::{Completion as Said, Validation as Checked};
    let plan = Plan { mode: RunMode::Bootstrap, criteria: "  all tests pass\n".into(), ..Plan::of(&["a"]) };
    let checked = |status: &str, criteria: &str| {
        let mut signal = full_signal(Checked, &key("a"), 0);
        signal.status = Some(status.into());
        signal.done_criteria = Some(criteria.into());
        signal_by(signal, metawsm::domain::actor::Actor::agent("a"))
    };
    for (name, words, done) in [
        ("completion alone", vec![signal("a", Said)], false),
        ("validation alone", vec![checked("passed", "all tests pass")], false),
        ("both", vec![signal("a", Said), checked("PASSED", "\tall tests pass ")], true),
        ("both the other way round", vec![checked("passed", "all tests pass"), signal("a", Said)], true),
        ("failed", vec![signal("a", Said), checked("failed", "all tests pass")], false),
        ("other criteria", vec![signal("a", Said), checked("passed", "all tests  pass")], false),
        (
            "passed, then failed",
            vec![checked("passed", "all tests pass"), checked("failed", "all tests pass"), signal("a", Said)],
            false,
        ),
        (
            "failed, then passed",
            vec![signal("a", Said), checked("failed", "x"), checked("passed", "all tests pass")],
            true,
        ),
    ] {
        let mut stage = Stage::running(&plan);
        for word in &words {
            stage.must(word);
        }
        assert_eq!(stage.agent("a").status == AgentStatus::Done, done, "{name}");
        assert_eq!(stage.status() == RunStatus::Completed, done, "{name}");
    }
}

#[test]
fn an_end_is_told_once_and_of_the_present_launch() {
    let mut stage = Stage::running(&Plan { budget: 5, ..Plan::of(&["a", "b"]) });
    let ended = |launch, exit| agent("a", AgentWish::Exited { launch, exit });
    assert_eq!(moves(&stage.must(&ended(1, killed()))), "running>dead");
    assert!(stage.must(&ended(1, exit(0))).is_empty(), "the second report of the same end");
    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    assert!(stage.must(&ended(1, killed())).is_empty(), "a stale launch");
    assert!(stage.must(&agent("a", AgentWish::Started { launch: 2 })).is_empty(), "told again");
    assert!(stage.must(&ended(9, exit(0))).is_empty(), "a launch nobody wanted");
    assert_eq!(stage.agent("a").status, AgentStatus::Running);
    // The end of launch 3 is heard of before its start.
    stage.must(&agent("a", restart(false)));
    let events = stage.must(&ended(3, exit(3)));
    assert_eq!(moves(&events), "stopping>stopped stopped>running running>failed");
    assert_eq!((stage.agent("a").launch, stage.agent("a").exit.clone()), (3, Some(exit(3))));
    assert!(stage.must(&agent("a", AgentWish::Started { launch: 3 })).is_empty(), "the start comes late");
    assert_eq!(stage.agent("a").status, AgentStatus::Failed);
}

#[test]
fn only_what_lives_is_observed_and_only_at_work() {
    for status in AgentStatus::ALL {
        let mut stage = Stage::running(&Plan::of(&["a", "b"]));
        stage.put_agent("a", status);
        let events = stage.must(&agent("a", observed(Health::Stalled)));
        assert_eq!(!events.is_empty(), status.working(), "{status}");
    }
    for status in RunStatus::ALL {
        let mut stage = Stage::running(&Plan::of(&["a"]));
        stage.put_run(status);
        let (cell, _) = outcome(&stage, &agent("a", observed(Health::Idle)));
        assert_eq!(cell != "=", status.at_work(), "{status}");
    }
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&agent("a", observed(Health::Idle)));
    assert!(stage.must(&agent("a", observed(Health::Idle))).is_empty(), "seen the same again");
    stage.must(&agent("a", observed(Health::Unknown)));
    assert_eq!(stage.agent("a").status, AgentStatus::Idle, "not knowing is no reason to say otherwise");
}

#[test]
fn restarts_while_alive_dead_and_done() {
    let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
    assert_eq!(moves(&stage.must(&agent("a", restart(false)))), "running>stopping");
    assert!(stage.agent("a").start_due());
    assert!(stage.must(&agent("a", restart(false))).is_empty(), "wanted already");
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    assert_eq!((stage.agent("a").epoch, stage.agent("a").restarts.used), (1, 0));

    stage.must(&agent("a", AgentWish::Exited { launch: 2, exit: killed() }));
    stage.must(&agent("a", restart(true)));
    stage.must(&agent("a", AgentWish::Started { launch: 3 }));
    assert_eq!((stage.agent("a").epoch, stage.agent("a").restarts.used), (1, 1), "a crash keeps the epoch");

    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.agent("a").status, AgentStatus::Done);
    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Started { launch: 4 }));
    let again = stage.agent("a");
    assert_eq!(
        (again.status, again.epoch, again.restarts.used),
        (AgentStatus::Running, 2, 0),
        "its word was for epoch 1"
    );
}

#[test]
fn a_rule_restarts_only_the_unhealthy_and_within_the_budget() {
    for status in AgentStatus::ALL {
        let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
        stage.put_agent("a", status);
        let unhealthy = matches!(status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled);
        if unhealthy {
            stage.must(&agent("a", restart(true)));
        } else {
            let refused = stage.refused(&agent("a", restart(true)));
            assert_eq!(refused.state.as_deref(), Some(status.word()));
        }
    }
    let mut stage = Stage::running(&Plan { budget: 0, ..Plan::of(&["a", "b"]) });
    stage.put_agent("a", AgentStatus::Dead);
    assert!(stage.refused(&agent("a", restart(true))).message.contains("used up"));
    stage.must(&agent("a", restart(false)));
}

#[test]
fn in_which_runs_agents_are_restarted() {
    let mut rows = Vec::new();
    for status in RunStatus::ALL {
        let mut stage = Stage::running(&Plan { budget: 9, ..Plan::of(&["a"]) });
        stage.put_agent("a", AgentStatus::Dead);
        stage.put_run(status);
        let by = |by_rule| outcome(&stage, &agent("a", restart(by_rule))).0;
        rows.push(format!("{status}: {} | {}", by(false), by(true)));
    }
    insta::assert_snapshot!(rows.join("\n"), @r"
    created: x | x
    planning: x | x
    running: = | =
    awaiting_guidance: = | =
    paused: x | x
    failed: failed>running | x
    stopping: x | x
    stopped: stopped>running | x
    closing: x | x
    closed: x | x
    completed: completed>running | x
    ");
}

#[test]
fn a_stop_ends_a_start_that_was_due() {
    let mut stage = Stage::running(&Plan { budget: 9, ..Plan::of(&["a", "b"]) });
    stage.must(&agent("a", AgentWish::Exited { launch: 1, exit: killed() }));
    stage.must(&agent("a", restart(true)));
    stage.must(&agent("a", AgentWish::Stop));
    assert_eq!((stage.agent("a").status, stage.agent("a").start_due()), (AgentStatus::Stopped, false));
    stage.must(&signal("b", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Completed, "nothing of it is pending any more");
    // The same while it is being ended in order to be started anew.
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&agent("a", restart(false)));
    stage.must(&agent("a", AgentWish::Stop));
    stage.must(&agent("a", AgentWish::Stopped));
    assert!(!stage.agent("a").start_due());
    // A stopped agent whose run was resumed says that it cannot be stopped before it runs.
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&run(RunWish::Stop));
    stage.must(&agent("a", AgentWish::Stopped));
    stage.must(&run(RunWish::FinishStop));
    stage.must(&run(RunWish::Resume));
    assert!(stage.agent("a").start_due());
    assert_eq!(stage.refused(&agent("a", AgentWish::Stop)).kind, RefusalKind::Illegal);
    stage.must(&run(RunWish::Stop));
    stage.must(&run(RunWish::FinishStop));
    assert!(!stage.agent("a").start_due(), "the run was stopped before it was started");
}

#[test]
fn stop_and_resume_start_its_agents_again() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    let events = stage.must(&run(RunWish::Stop));
    assert_eq!(moves(&events), "running>stopping running>stopping running>stopping");
    let refused = stage.refused(&run(RunWish::FinishStop));
    assert!(refused.message.contains("a, b"), "{refused}");
    stage.must(&agent("a", AgentWish::Stopped));
    stage.must(&agent("b", AgentWish::Exited { launch: 1, exit: killed() }));
    assert_eq!(stage.agent("b").status, AgentStatus::Stopping, "its end was wanted");
    stage.must(&agent("b", AgentWish::Stopped));
    stage.must(&run(RunWish::FinishStop));
    assert_eq!(stage.status(), RunStatus::Stopped);
    stage.must(&run(RunWish::Resume));
    assert_eq!(stage.status(), RunStatus::Running);
    for name in ["a", "b"] {
        assert_eq!((stage.agent(name).wanted, stage.agent(name).epoch), (2, 1), "{name}");
    }
}

#[test]
fn a_dry_run_is_stored_paused_and_resume_makes_it_real() {
    let mut stage = Stage::default();
    let events = stage.must(&Plan { dry_run: true, ..Plan::of(&["a"]) }.create());
    assert_eq!(moves(&events), "created>planning planning>paused");
    stage.refused(&run(RunWish::BeginStep { index: 1 }));
    stage.must(&run(RunWish::Resume));
    let stored = stage.scene.runs.get(RUN).unwrap();
    assert_eq!((stored.status, stored.spec.dry_run), (RunStatus::Running, false));
}

#[test]
fn names_are_checked_when_a_run_is_made() {
    let create = |edit: &dyn Fn(&mut Plan)| {
        let mut plan = Plan::of(&["a", "b"]);
        edit(&mut plan);
        plan.create()
    };
    let mut stage = Stage::default();
    for (what, command) in [
        ("run", create(&|plan| plan.run_id = "a b".into())),
        ("agent", create(&|plan| plan.agents = vec!["-x".into()])),
        ("ticket", create(&|plan| plan.workspaces = vec!["..".into()])),
        ("twice", create(&|plan| plan.agents = vec!["a".into(), "a".into()])),
        ("alike", create(&|plan| plan.agents = vec!["a.b".into(), "A-b".into()])),
        (
            "brief",
            create(&|plan| {
                plan.mode = RunMode::Bootstrap;
                plan.criteria = " ".into();
            }),
        ),
    ] {
        assert_eq!(stage.refused(&command).kind, RefusalKind::Invalid, "{what}");
    }
    let Command::Run { wish, .. } = create(&|_| {}) else { panic!("a run") };
    assert_eq!(stage.refused(&Command::Run { run_id: "run-2".into(), wish }).kind, RefusalKind::Invalid);
    stage.must(&create(&|_| {}));
    assert_eq!(stage.refused(&create(&|_| {})).kind, RefusalKind::Illegal, "it exists already");
}

#[test]
fn payloads_stay_below_their_limit() {
    let mut stage = Stage::running(&Plan { budget: 1, ..Plan::of(&["a"]) });
    let evidence = serde_json::json!({ "screen": format!("{}\u{1b}end", "é\u{1b}".repeat(60_000)) });
    let wish = AgentWish::Observed {
        health: Health::Idle,
        waiting_for: metawsm::domain::agent::WaitingFor::Input,
        reason: "x".repeat(100_000),
        evidence,
    };
    let events = stage.must(&agent("a", wish));
    for event in &events {
        assert!(event.fact.split().1.to_string().len() <= metawsm::domain::event::LARGEST_PAYLOAD);
    }
    let Fact::AgentObserved { evidence, .. } = &events[0].fact else { panic!("{events:?}") };
    assert_eq!(evidence["truncated"], true);
    assert!(evidence["tail"].as_str().unwrap().ends_with("end\"}"), "the tail is kept");
    let long = RunWish::WorkspaceCreated {
        name: "ws".into(),
        path: "/ws".into(),
        worktrees: vec![],
        warnings: vec!["w".repeat(70_000)],
    };
    assert_eq!(stage.refused(&run(long)).kind, RefusalKind::Invalid);
}

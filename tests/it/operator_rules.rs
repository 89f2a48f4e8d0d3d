//! The operator's rules as tables: what each concludes from what is known, and when (spec 2.7).

use std::time::Duration;

use metawsm::domain::agent::{Agent, AgentKey, AgentStatus, WaitingFor};
use metawsm::domain::command::{AgentWish, RunWish, StepEnd};
use metawsm::domain::escalation::Kind;
use metawsm::domain::operator::{
    Action, Conclusion, Intent, Limited, Measure, Question, Sight, Waiting, evaluate, limits,
};
use metawsm::domain::plan::Step;
use metawsm::domain::policy::{OperatorMode, RuleMode};
use metawsm::domain::run::{Run, RunStatus};
use metawsm::domain::time::Moment;
use proptest::prelude::*;

use crate::core_world::*;

/// A run with its agents and steps, as the rules see it.
struct Seen {
    run: Run,
    agents: Vec<Agent>,
    steps: Vec<Step>,
    questions: Vec<Question>,
    waiting: Vec<Waiting>,
    overdue: Vec<AgentKey>,
}

fn at(seconds: i64) -> Moment {
    Moment::from_millis(START + 1_000_000_000 + seconds * 1_000)
}

impl Seen {
    /// Two agents at work, each with three restarts.
    fn of(agents: &[&str]) -> Self {
        let stage = Stage::running(&Plan { budget: 3, ..Plan::of(agents) });
        let mut agents: Vec<Agent> = stage.scene.agents_of(RUN).into_iter().cloned().collect();
        agents.iter_mut().for_each(|agent| agent.since = at(0));
        Self {
            run: stage.scene.runs.get(RUN).unwrap().clone(),
            agents,
            steps: stage.scene.steps_of(RUN).into_iter().cloned().collect(),
            questions: Vec::new(),
            waiting: Vec::new(),
            overdue: Vec::new(),
        }
    }

    fn put(&mut self, which: usize, status: AgentStatus, since: i64) -> &mut Agent {
        let agent = &mut self.agents[which];
        agent.status = status;
        agent.since = at(since);
        agent
    }

    fn evaluate(&self, measure: &Measure, seconds: i64) -> Vec<Conclusion> {
        let sight = Sight {
            run: &self.run,
            agents: &self.agents,
            steps: &self.steps,
            questions: &self.questions,
            waiting: &self.waiting,
            overdue: &self.overdue,
        };
        evaluate(&sight, measure, at(seconds))
    }

    fn words(&self, measure: &Measure, seconds: i64) -> String {
        let one = |conclusion: &Conclusion| {
            let decision = &conclusion.decision;
            format!("{} {} {}", decision.target, decision.intent.word(), decision.action.word())
        };
        self.evaluate(measure, seconds).iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn off() -> Measure {
    measure(OperatorMode::Off)
}

#[test]
fn d25_a_dead_agent_is_restarted_and_the_healthy_one_beside_it_is_left_alone() {
    let mut seen = Seen::of(&["a", "b"]);
    seen.put(0, AgentStatus::Dead, 0);
    assert_eq!(seen.words(&off(), 14), "agent:ws/a auto_restart nothing");
    assert_eq!(seen.words(&off(), 15), "agent:ws/a auto_restart act");
    // However long it lasts: nothing is stopped while one of them lives.
    assert_eq!(seen.words(&off(), 1_000_000), "agent:ws/a auto_restart act");
}

#[test]
fn d25_an_agent_that_hangs_is_restarted_where_its_progress_is_overdue_and_escalated_where_that_is_not_known() {
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Stalled, 0);
    assert_eq!(seen.words(&off(), 15), "agent:ws/a escalate_blocked escalate");
    seen.overdue.push(key("a"));
    assert_eq!(seen.words(&off(), 15), "agent:ws/a auto_restart act");
}

#[test]
fn that_no_progress_is_seen_is_a_signal_beside_silence() {
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Stalled, 0).evidence = serde_json::json!({ "signal": "output" });
    assert_eq!(seen.words(&off(), 15), "agent:ws/a escalate_blocked escalate");
    seen.agents[0].evidence = serde_json::json!({ "signal": "progress" });
    assert_eq!(seen.words(&off(), 15), "agent:ws/a auto_restart act");
}

#[test]
fn rule_2_calls_to_a_dialog_once_it_has_waited_and_starts_nobody_again() {
    let mut seen = Seen::of(&["a", "b"]);
    let waits = |agent: &mut Agent, what: WaitingFor| {
        agent.waiting_for = what;
        agent.waiting_since = Some(at(0));
        agent.reason = "waits for a key: proceed?".to_owned();
    };
    waits(seen.put(0, AgentStatus::Idle, -500), WaitingFor::Input);
    assert_eq!(seen.words(&off(), 59), "agent:ws/a escalate_input nothing");
    assert_eq!(seen.evaluate(&off(), 59)[0].decision.due_at, Some(at(60)));
    let found = seen.evaluate(&off(), 60);
    assert_eq!((found.len(), found[0].decision.rule, found[0].call.unwrap().0), (1, 2, Kind::Input));
    assert_eq!(found[0].decision.reason, "a waits for a key: proceed?");
    // It only calls: assist leaves it as it is, and it can be switched off.
    assert_eq!(seen.words(&measure(OperatorMode::Assist), 60), "agent:ws/a escalate_input escalate");
    let never = Measure { rules: [("escalate_input".to_owned(), RuleMode::Never)].into(), ..off() };
    assert_eq!(seen.words(&never, 60), "");
    // However long: nothing about it is unhealthy. Ended, it waits for nothing.
    assert_eq!(seen.words(&off(), 1_000_000), "agent:ws/a escalate_input escalate");
    seen.put(0, AgentStatus::Dead, 100);
    assert_eq!(seen.words(&off(), 115), "agent:ws/a auto_restart act");
    // A limit is no affair of one agent.
    waits(seen.put(0, AgentStatus::Idle, 0), WaitingFor::Limit);
    assert_eq!(seen.words(&off(), 1_000_000), "");
}

#[test]
fn rule_2_calls_to_a_limit_at_once_and_once_a_runner() {
    let mut seen = Seen::of(&["a", "b"]);
    for (which, since) in [(0, 30), (1, 20)] {
        let agent = seen.put(which, AgentStatus::Idle, 0);
        (agent.waiting_for, agent.waiting_since) = (WaitingFor::Limit, Some(at(since)));
        agent.reason = format!("limit since {since}");
    }
    let limited = |agents, standing| Limited { runner: "codex", agents, standing };
    let both = limits(&[limited(seen.agents.iter().collect(), None)], &off(), at(30));
    let decision = &both[0].decision;
    assert_eq!((both.len(), decision.target.as_str(), decision.action), (1, "runner:codex", Action::Escalate));
    assert_eq!((both[0].call.unwrap().0, &both[0].about.run_id), (Kind::Limit, &None));
    assert_eq!(decision.reason, "codex: limit since 20");
    assert_eq!(decision.cause, format!("limited since {}", at(20)));
    assert_eq!(limits(&[limited(vec![], None)], &off(), at(30)), []);
}

#[test]
fn d25_paused_and_dry_runs_are_left_alone() {
    let mut seen = Seen::of(&["a", "b"]);
    seen.put(0, AgentStatus::Dead, 0);
    seen.put(1, AgentStatus::Dead, 0);
    for status in RunStatus::ALL {
        seen.run.status = status;
        let touched = !seen.evaluate(&off(), 1_000_000).is_empty();
        let expected = matches!(status, RunStatus::Running | RunStatus::AwaitingGuidance | RunStatus::Failed);
        assert_eq!(touched, expected, "{status}");
    }
}

#[test]
fn d24_a_failed_run_is_escalated() {
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Failed, 0);
    seen.run.status = RunStatus::Failed;
    for mode in [OperatorMode::Off, OperatorMode::Assist, OperatorMode::Auto] {
        let found = seen.evaluate(&measure(mode), 0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].call.map(|(kind, _)| kind), Some(Kind::Failed));
        assert_eq!(found[0].decision.action, Action::Escalate);
    }
}

#[test]
fn the_second_restart_waits_for_the_cooldown_which_doubles_up_to_sixteen_times() {
    let measure = off();
    let seconds: Vec<u64> = (1..=7).map(|used| measure.cooldown_after(used).as_secs()).collect();
    assert_eq!(seconds, [60, 120, 240, 480, 960, 960, 960]);
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Dead, 0);
    let first = seen.evaluate(&measure, 15);
    assert_eq!(first[0].decision.cooldown_until, Some(at(15 + 60)));
    let agent = seen.put(0, AgentStatus::Dead, 30);
    agent.restarts.used = 1;
    agent.restarts.cooldown_until = Some(at(75));
    let waiting = seen.evaluate(&measure, 74);
    assert_eq!((waiting[0].decision.action, waiting[0].decision.due_at), (Action::Nothing, Some(at(75))));
    assert_eq!(waiting[0].decision.considered[0].why_not, "the cooldown is not over");
    let second = seen.evaluate(&measure, 75);
    assert_eq!(second[0].decision.action, Action::Act);
    assert_eq!(second[0].decision.cooldown_until, Some(at(75 + 120)));
    assert!(second[0].decision.reason.ends_with("restart 2 of 3"), "{}", second[0].decision.reason);
}

#[test]
fn no_cooldown_outlasts_a_clock_that_is_set_back() {
    let measure = off();
    let mut seen = Seen::of(&["a"]);
    let hour = 3_600;
    let agent = seen.put(0, AgentStatus::Dead, hour);
    agent.restarts.used = 1;
    agent.restarts.cooldown_until = Some(at(hour + 60));
    // An hour and a bit is more than it can be: it began by another clock.
    assert_eq!(seen.evaluate(&measure, 100)[0].decision.action, Action::Act);
    let agent = seen.put(0, AgentStatus::Dead, 70);
    agent.restarts.used = 1;
    agent.restarts.cooldown_until = Some(at(160));
    assert_eq!(seen.evaluate(&measure, 100)[0].decision.action, Action::Nothing, "as long as it may be it is kept");
}

#[test]
fn no_cooldown_is_cut_short_by_a_clock_that_is_set_back() {
    // 47 seconds of the 60 are left when the clock is set back by an hour, at 100.
    let measure = Measure { even_since: at(100), ..off() };
    let mut seen = Seen::of(&["a"]);
    let agent = seen.put(0, AgentStatus::Dead, 3_700 - 13);
    agent.restarts.used = 1;
    agent.restarts.cooldown_until = Some(at(3_700 + 47));
    assert_eq!(seen.evaluate(&measure, 100)[0].decision.due_at, Some(at(160)), "its whole length from then on");
    assert_eq!(seen.evaluate(&measure, 159)[0].decision.action, Action::Nothing);
    assert_eq!(seen.evaluate(&measure, 160)[0].decision.action, Action::Act);
    // What is to be confirmed is confirmed from then on as well, and so is a wait for a key.
    seen.agents[0].restarts = Default::default();
    seen.agents[0].restarts.budget = 3;
    assert_eq!(seen.evaluate(&measure, 114)[0].decision.action, Action::Nothing);
    assert_eq!(seen.evaluate(&measure, 115)[0].decision.action, Action::Act);
    let agent = seen.put(0, AgentStatus::Idle, 0);
    (agent.waiting_for, agent.waiting_since) = (WaitingFor::Input, Some(at(3_700)));
    assert_eq!(seen.words(&measure, 159), "agent:ws/a escalate_input nothing");
    assert_eq!(seen.words(&measure, 160), "agent:ws/a escalate_input escalate");
}

#[test]
fn a_spent_budget_is_escalated_after_the_same_confirmations() {
    let mut seen = Seen::of(&["a", "b"]);
    seen.put(0, AgentStatus::Failed, 0).restarts.used = 3;
    assert_eq!(seen.words(&off(), 14), "agent:ws/a escalate_blocked nothing");
    let found = seen.evaluate(&off(), 15);
    assert_eq!(found[0].call, Some((Kind::Blocked, Some(at(15 + 1_800)))));
    assert_eq!(found[0].decision.considered[0].why_not, "no restart is left");
}

#[test]
fn one_confirmation_acts_at_once() {
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Dead, 0);
    assert_eq!(seen.words(&Measure { confirmations: 1, ..off() }, 0), "agent:ws/a auto_restart act");
    assert_eq!(seen.words(&Measure { confirmations: 3, ..off() }, 29), "agent:ws/a auto_restart nothing");
    assert_eq!(seen.words(&Measure { confirmations: 3, ..off() }, 30), "agent:ws/a auto_restart act");
}

#[test]
fn modes_and_the_switch_of_a_rule() {
    let mut seen = Seen::of(&["a"]);
    seen.put(0, AgentStatus::Dead, 0);
    let with = |mode, rule: Option<RuleMode>| {
        let mut measure = measure(mode);
        measure.rules.extend(rule.map(|rule| ("auto_restart".to_owned(), rule)));
        seen.words(&measure, 60)
    };
    for (mode, rule, action) in [
        (OperatorMode::Off, None, "auto_restart act"),
        (OperatorMode::Auto, None, "auto_restart act"),
        (OperatorMode::Assist, None, "auto_restart suggest"),
        (OperatorMode::Assist, Some(RuleMode::Act), "auto_restart act"),
        (OperatorMode::Off, Some(RuleMode::Suggest), "auto_restart suggest"),
        // Nothing starts it again: then a human has to know.
        (OperatorMode::Off, Some(RuleMode::Never), "escalate_blocked escalate"),
    ] {
        assert_eq!(with(mode, rule), format!("agent:ws/a {action}"), "{mode:?} {rule:?}");
    }
    let mut never = measure(OperatorMode::Off);
    never.rules.extend(["auto_restart", "escalate_blocked"].map(|rule| (rule.to_owned(), RuleMode::Never)));
    assert_eq!(seen.words(&never, 60), "");
}

#[test]
fn a_start_that_is_due_and_an_agent_that_never_started_are_nobodys_business() {
    let mut seen = Seen::of(&["a", "b"]);
    seen.put(0, AgentStatus::Dead, 0).wanted = 2;
    let never = seen.put(1, AgentStatus::Failed, 0);
    never.launch = 0;
    never.wanted = 0;
    assert_eq!(seen.words(&off(), 60), "");
}

#[test]
fn a_run_of_which_nothing_lives_is_stopped_after_its_age() {
    let mut seen = Seen::of(&["a", "b"]);
    seen.put(0, AgentStatus::Dead, 0);
    seen.put(1, AgentStatus::Stopped, 100);
    let assist = measure(OperatorMode::Assist);
    assert!(!seen.words(&assist, 3_699).contains("stale"));
    assert!(seen.words(&assist, 3_700).ends_with("run auto_stop_stale suggest"));
    assert!(seen.words(&off(), 3_700).ends_with("run auto_stop_stale act"));
    assert!(!seen.words(&Measure { stale_age: Duration::ZERO, ..off() }, 1_000_000).contains("stale"));
    // A start that is due, a step that goes on, a question: it is not given up.
    seen.agents[0].wanted = 2;
    assert_eq!(seen.words(&off(), 1_000_000), "");
    seen.agents[0].wanted = 1;
    seen.run.status = RunStatus::AwaitingGuidance;
    assert!(!seen.words(&off(), 1_000_000).contains("stale"));
}

#[test]
fn a_failed_step_beside_living_agents_is_escalated() {
    let plan = Plan { workspaces: vec!["ws".into(), "zz".into()], ..Plan::of(&["a"]) };
    let mut stage = Stage::default();
    stage.must(&plan.create());
    let first: Vec<(u32, bool)> = stage
        .scene
        .steps_of(RUN)
        .into_iter()
        .filter(|step| step.spec.workspace == "ws")
        .map(|step| (step.spec.index, step.spec.agent.is_some()))
        .collect();
    for (index, starts) in first {
        stage.must(&run(RunWish::BeginStep { index }));
        if starts {
            stage.must(&agent("a", AgentWish::Started { launch: 1 }));
        }
        stage.must(&run(RunWish::EndStep { index, end: StepEnd::Done }));
    }
    let second = stage.scene.steps_of(RUN).into_iter().find(|step| step.spec.workspace == "zz").unwrap().spec.index;
    stage.must(&run(RunWish::BeginStep { index: second }));
    stage.must(&run(RunWish::EndStep { index: second, end: StepEnd::Failed("no branch main".into()) }));
    assert_eq!(stage.status(), RunStatus::Running, "it goes on");
    let mut seen = Seen::of(&["a"]);
    seen.run = stage.scene.runs.get(RUN).unwrap().clone();
    seen.steps = stage.scene.steps_of(RUN).into_iter().cloned().collect();
    let found = seen.evaluate(&off(), 0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].call.map(|(kind, _)| kind), Some(Kind::Step));
    assert!(found[0].decision.reason.contains("no branch main"));
    seen.put(0, AgentStatus::Done, 0);
    assert_eq!(seen.words(&off(), 0), "", "then the run fails, which is another rule's");
}

#[test]
fn long_health_gives_the_restarts_back() {
    let mut seen = Seen::of(&["a"]);
    let agent = seen.put(0, AgentStatus::Idle, 900);
    agent.restarts.used = 2;
    agent.well_since = Some(at(0));
    assert_eq!(seen.words(&off(), 1_799), "");
    assert_eq!(seen.words(&measure(OperatorMode::Assist), 1_800), "agent:ws/a reset_restarts act");
    seen.agents[0].restarts.used = 0;
    assert_eq!(seen.words(&off(), 1_800), "");
}

#[test]
fn health_is_unbroken_only_while_it_runs_or_idles() {
    let mut stage = Stage::running(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    assert_eq!(stage.agent("a").well_since, None, "nothing to forget");
    stage.must(&agent("a", AgentWish::Exited { launch: 1, exit: killed() }));
    stage.must(&agent("a", restart(true)));
    stage.must(&agent("a", AgentWish::Started { launch: 2 }));
    let since = stage.agent("a").well_since;
    assert!(since.is_some());
    stage.must(&agent("a", observed(metawsm::domain::agent::Health::Idle)));
    stage.must(&agent("a", observed(metawsm::domain::agent::Health::Healthy)));
    assert_eq!(stage.agent("a").well_since, since);
    stage.must(&agent("a", observed(metawsm::domain::agent::Health::Stalled)));
    assert_eq!(stage.agent("a").well_since, None);
    stage.must(&agent("a", observed(metawsm::domain::agent::Health::Healthy)));
    assert!(stage.agent("a").well_since > since);
    stage.must(&agent("a", restart(false)));
    assert_eq!((stage.agent("a").restarts.used, stage.agent("a").well_since), (0, None), "a human's is free");
}

#[test]
fn two_questions_are_two_subjects() {
    let mut seen = Seen::of(&["a", "b"]);
    for (place, text) in ["which schema?", "which port?"].into_iter().enumerate() {
        seen.questions.push(Question {
            run_id: Some(RUN.into()),
            thread_id: control("a"),
            post_id: Some(format!("e{place}.post")),
            ticket: None,
            workspace: Some("ws".into()),
            agent: Some("a".into()),
            text: text.into(),
            since: at(0),
        });
    }
    let found = seen.evaluate(&measure(OperatorMode::Assist), 0);
    let reasons: Vec<&str> = found.iter().map(|found| found.decision.reason.as_str()).collect();
    assert_eq!(reasons, ["which schema?", "which port?"]);
    assert!(found.iter().all(|found| found.call.is_some_and(|(kind, _)| kind == Kind::Guidance)));
    assert_ne!(found[0].decision.target, found[1].decision.target);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn rules_act_only_on_what_is_unhealthy_confirmed_cooled_down_and_within_budget(
        statuses in proptest::collection::vec((0_usize..9, 0_u32..5, 0_i64..400, proptest::option::of(0_i64..400)), 2),
        overdue in any::<bool>(),
        now in 0_i64..4_000,
    ) {
        let mut seen = Seen::of(&["a", "b"]);
        for (which, (status, used, since, cool)) in statuses.iter().enumerate() {
            let agent = seen.put(which, AgentStatus::ALL[*status], *since);
            agent.restarts.used = *used;
            agent.restarts.cooldown_until = cool.map(at);
        }
        if overdue {
            seen.overdue.push(key("a"));
        }
        let found = seen.evaluate(&off(), now);
        let mut targets = std::collections::BTreeSet::new();
        for conclusion in &found {
            prop_assert!(targets.insert(&conclusion.decision.target), "one decision a subject");
            let named = |agent: &&Agent| conclusion.about.agent_name.as_ref() == Some(&agent.key.name);
            let Some(agent) = seen.agents.iter().find(named) else { continue };
            // What cannot be that far ahead was written down before the clock was set back.
            let over = |until: Moment, longest: Duration| {
                at(now) >= until || until > at(now).plus(longest).plus(Duration::from_secs(60))
            };
            let confirming = Duration::from_secs(15);
            let confirmed = over(agent.since.plus(confirming), confirming);
            match (conclusion.decision.intent, conclusion.decision.action) {
                (Intent::AutoRestart, Action::Act) => {
                    prop_assert!(confirmed && agent.restarts.used < agent.restarts.budget);
                    let cooldown = off().cooldown_after(agent.restarts.used);
                    prop_assert!(agent.restarts.cooldown_until.is_none_or(|cool| over(cool, cooldown)));
                    prop_assert!(agent.status != AgentStatus::Stalled || seen.overdue.contains(&agent.key));
                }
                (Intent::EscalateBlocked, Action::Escalate) => prop_assert!(confirmed),
                (_, Action::Nothing) => prop_assert!(conclusion.decision.due_at.is_some_and(|due| due > at(now))),
                (_, Action::Act | Action::Suggest | Action::Escalate) => {}
            }
            prop_assert!(matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled));
        }
        let lives = seen.agents.iter().any(|agent| agent.status.alive());
        prop_assert!(!lives || found.iter().all(|found| found.decision.intent != Intent::AutoStopStale));
        // The same facts give the same decisions: nothing is remembered between two evaluations.
        prop_assert_eq!(&found, &seen.evaluate(&off(), now));
    }
}

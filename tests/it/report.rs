//! `report`: what happened while nobody looked, and what waits now (spec 3).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::sync::atomic::Ordering;

use metawsm::domain::command::{AgentWish, Command, RunWish, SuggestionWish};
use metawsm::domain::policy::{OperatorMode, RuleMode};
use metawsm::domain::time::Moment;
use metawsm::services::operator::conclude;
use metawsm::services::report::{Mark, Told, report, report_after};
use serde_json::{Value, json};

use crate::core_world::*;

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

fn of<'a>(report: &'a Value, part: &str) -> Vec<&'a Value> {
    report[part].as_array().unwrap().iter().collect()
}

fn word<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap()
}

#[test]
fn a_run_that_goes_on_is_not_finished() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let finished = || of(&world.ask(&["report", "--since", "1h"])["report"], "finished").len();
    world.ask(&["stop", "--run-id", &run, "--yes"]);
    assert_eq!(finished(), 1);
    world.ask(&["resume", "--run-id", &run]);
    assert_eq!(finished(), 0);
}

#[test]
fn what_happened_is_told_once_and_what_waits_is_told_as_long_as_it_does() {
    let names = ["done", "mortal", "asking", "blocked"];
    let crew: Vec<(&str, &str)> = names.iter().map(|name| (*name, "obeys.sh")).collect();
    let world = World::with(
        &crew,
        json!({
            "operator": { "llm": { "mode": "off" }, "interval_seconds": 1, "unhealthy_confirmations": 1 },
        }),
    );
    let run = world.run(&[]);
    let told = |args: &[&str]| world.ask(&[&["report"], args].concat())["report"].clone();
    let first = told(&[]);
    for part in ["finished", "stuck", "restarted", "waiting"] {
        assert_eq!(first[part], json!([]), "{part}");
    }
    let _live = world.spawn(&["--headless"]);
    world.order("done", 1, r#""$METAWSM_BIN" forum signal --type completion --summary all > /dev/null"#);
    world.order(
        "asking",
        1,
        r#""$METAWSM_BIN" forum signal --type guidance_request --question 'which one?' > /dev/null"#,
    );
    let kill = |name: &str, launch: u32| {
        let session = world.agent(&run, name)["session"].as_str().unwrap().to_owned();
        signal(world.record(&session, launch).agent_pid.unwrap(), "KILL");
    };
    kill("mortal", 1);
    world.until(&run, "mortal", "its second life", |agent| agent["launch"] == 2 && agent["status"] == "running");
    world.ask(&["restart", "--run-id", &run, "--agent", "blocked"]);
    world.until(&run, "blocked", "its second life", |agent| agent["launch"] == 2 && agent["status"] == "running");
    wait_for("the calls", PATIENCE, || {
        let waits = told(&["--since", "1h"]);
        (of(&waits, "waiting").len() == 1 && of(&waits, "finished").len() == 1).then_some(())
    });
    let since_first = told(&[]);
    let finished = of(&since_first, "finished");
    assert_eq!((word(finished[0], "what"), word(finished[0], "agent")), ("done", "done"));
    let restarted: Vec<(&str, &Value, &Value)> = of(&since_first, "restarted")
        .into_iter()
        .map(|one| (word(one, "agent"), &one["by_rule"], &one["by_human"]))
        .collect();
    assert_eq!(restarted, [("blocked", &json!(0), &json!(1)), ("mortal", &json!(1), &json!(0))]);
    let waiting = of(&since_first, "waiting");
    assert_eq!((word(waiting[0], "what"), word(waiting[0], "agent")), ("guidance", "asking"));
    assert!(word(waiting[0], "reason").contains("which one?"));
    assert_eq!(since_first["operator"]["acted"], json!({ "auto_restart": 1 }));
    // Told again, only what still waits is left; from an hour ago it is all there.
    let second = told(&["--since", "last"]);
    assert_eq!((&second["finished"], &second["restarted"]), (&json!([]), &json!([])));
    assert_eq!(of(&second, "waiting").len(), 1);
    assert_eq!(of(&told(&["--since", "1h", "--run-id", &run]), "restarted").len(), 2);
    // The report is what the journal says.
    let events = world.verified();
    let count = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    let whole = told(&["--since", "2000-01-01T00:00:00Z"]);
    let operator = &whole["operator"];
    assert_eq!(operator["decided"], count("operator.decided"));
    assert_eq!(operator["called"], count("escalation.opened"));
    let text = world.metawsm(&["report", "--since", "1h"]).is(0).stdout;
    assert!(text.contains("Waiting for you (1)") && text.contains("restarted an agent once"), "{text}");
    world.metawsm(&["report", "--since", "yesterday"]).is(2);
}

fn now(shop: &Shop) -> Moment {
    Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst))
}

/// A run whose only agent has died.
fn dead() -> Shop {
    let shop = Shop::new();
    shop.must(&Plan { budget: 3, ..Plan::of(&["a"]) }.create());
    for step in shop.reader().steps(RUN).unwrap() {
        let index = step.spec.index;
        shop.must(&run(RunWish::BeginStep { index }));
        if let Some(name) = &step.spec.agent {
            shop.must(&agent(name, AgentWish::Started { launch: 1 }));
        }
        shop.must(&run(RunWish::EndStep { index, end: metawsm::domain::command::StepEnd::Done }));
    }
    shop.must(&agent("a", AgentWish::Exited { launch: 1, exit: killed() }));
    shop
}

fn look(shop: &Shop, mode: OperatorMode, never: &[&str]) {
    let reader = shop.reader();
    let mut measure = measure(mode);
    measure.rules.extend(never.iter().map(|rule| ((*rule).to_owned(), RuleMode::Never)));
    for conclusion in conclude(&reader, &reader.run(RUN).unwrap().unwrap(), &measure, &[], now(shop)).unwrap() {
        let ids = conclusion.decision.target.clone();
        shop.give(&operator(), None, &concluded(conclusion, &ids)).unwrap();
    }
}

fn whole(shop: &Shop) -> Told {
    report(&shop.reader(), None, Moment::default(), now(shop)).unwrap()
}

#[test]
fn who_accepts_a_suggestion_does_not_restart_by_hand() {
    let shop = dead();
    shop.clock.0.fetch_add(100_000, Ordering::SeqCst);
    look(&shop, OperatorMode::Assist, &[]);
    let suggestion_id = shop.reader().suggestions(Some(RUN), true).unwrap().remove(0).suggestion_id;
    shop.must(&Command::Suggestion {
        suggestion_id,
        wish: SuggestionWish::Accept { cooldown_until: Some(now(&shop)) },
    });
    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    shop.must(&agent("a", AgentWish::Exited { launch: 2, exit: killed() }));
    shop.must(&agent("a", restart(false)));
    let restarted = whole(&shop).report.restarted;
    let ways = |one: &metawsm::domain::report::Restarted| (one.by_rule, one.free, one.accepted, one.by_human);
    assert_eq!(restarted.iter().map(ways).collect::<Vec<_>>(), [(0, 0, 1, 1)]);
}

#[test]
fn a_run_that_a_rule_stopped_says_so_and_is_stuck_and_not_finished() {
    let shop = dead();
    shop.clock.0.fetch_add(4_000_000, Ordering::SeqCst);
    look(&shop, OperatorMode::Off, &["auto_restart"]);
    shop.must(&run(RunWish::FinishStop));
    let reason = shop.reader().run(RUN).unwrap().unwrap().reason;
    assert_eq!(reason, "stopped by rule: no agent has been alive for 1h");
    let told = whole(&shop);
    assert!(told.report.finished.is_empty(), "{:?}", told.report.finished);
    assert_eq!(told.stuck.iter().map(|line| line.what.as_str()).collect::<Vec<_>>(), ["stale"]);
    // Who takes it up and stops it himself is done with it.
    shop.must(&run(RunWish::Resume));
    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    shop.must(&run(RunWish::Stop));
    shop.must(&agent("a", AgentWish::Stopped));
    shop.must(&run(RunWish::FinishStop));
    let told = whole(&shop);
    assert_eq!(
        told.report.finished.iter().map(|line| line.reason.as_str()).collect::<Vec<_>>(),
        ["stopped by command"]
    );
}

#[test]
fn nothing_is_told_twice_or_never_whatever_the_clock_does() {
    let shop = dead();
    let hour = 3_600_000;
    let since = |mark: Mark| {
        let told = report_after(&shop.reader(), None, mark, now(&shop)).unwrap();
        (told.report.restarted.iter().map(|one| one.by_human).sum::<u32>(), told.mark())
    };
    let restarts = |launch: u32| {
        shop.must(&agent("a", restart(false)));
        shop.must(&agent("a", AgentWish::Started { launch }));
    };
    restarts(2);
    let first = whole(&shop).mark();
    assert_eq!(Mark::parse(&first.to_string()), Some(first));
    assert_eq!(since(first).0, 0);
    shop.clock.0.fetch_sub(hour, Ordering::SeqCst);
    restarts(3);
    let (told, second) = since(first);
    assert_eq!(told, 1, "an hour before it was told last");
    shop.clock.0.fetch_add(2 * hour, Ordering::SeqCst);
    restarts(4);
    let (told, third) = since(second);
    assert_eq!((told, since(third).0), (1, 0));
    // One that was written down when only the moment was.
    let old = Mark::parse(&now(&shop).plus(std::time::Duration::from_secs(1)).to_string()).unwrap();
    assert_eq!(since(old).0, 0);
}

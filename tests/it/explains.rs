//! What is said of why something stands as it does: true of what is now, not of what was (spec 3 `explain`).

use std::sync::atomic::Ordering;

use metawsm::domain::command::{AgentWish, RunWish, StepEnd};
use metawsm::domain::escalation::Kind;
use metawsm::domain::event::Fact;
use metawsm::domain::operator::Intent;
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::signal::SignalType;
use metawsm::domain::time::Moment;
use metawsm::services::explain::{Explanation, Tone, What, explain};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::operator::conclude;
use metawsm::services::view::View;
use metawsm::store::read::forum::Viewer;

use crate::core_world::*;

/// A run whose steps end as this says.
fn shop(plan: &Plan, end: impl Fn(Option<&str>) -> StepEnd) -> Shop {
    let shop = Shop::new();
    shop.must(&plan.create());
    for step in shop.reader().steps(RUN).unwrap() {
        let index = step.spec.index;
        shop.must(&run(RunWish::BeginStep { index }));
        let end = end(step.spec.agent.as_deref());
        if let (Some(name), StepEnd::Done) = (&step.spec.agent, &end) {
            shop.must(&agent(name, AgentWish::Started { launch: 1 }));
        }
        shop.must(&run(RunWish::EndStep { index, end }));
    }
    shop
}

fn now(shop: &Shop) -> Moment {
    Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst))
}

fn look(shop: &Shop) {
    let reader = shop.reader();
    let measure = measure(OperatorMode::Off);
    for conclusion in conclude(&reader, &reader.run(RUN).unwrap().unwrap(), &measure, &[], now(shop)).unwrap() {
        let ids = conclusion.decision.target.clone();
        shop.give(&operator(), None, &concluded(conclusion, &ids)).unwrap();
    }
}

fn told(shop: &Shop, what: &What) -> Explanation {
    let home = Home { db: shop.path(), ..Home::at(shop.dir.path(), &HomeArgs::default()) };
    let reader = shop.reader();
    explain(&View::new(&home, &reader, now(shop), Viewer::Human("bo".into())), what).unwrap()
}

/// Its lines, one that fits with a tick.
fn lines(told: &Explanation, heading: &str) -> Vec<String> {
    let parts = told.parts.iter().filter(|part| part.heading == heading);
    parts
        .flat_map(|part| &part.lines)
        .map(|line| format!("{}{} {}", if line.tone == Tone::Fits { "✓ " } else { "" }, line.name, line.text))
        .collect()
}

#[test]
fn no_rule_is_ticked_for_a_question_that_was_answered() {
    let shop = shop(&Plan::of(&["a"]), |_| StepEnd::Done);
    shop.must(&signal("a", SignalType::GuidanceRequest));
    look(&shop);
    let run_id = What::Run(RUN.to_owned());
    let ticked = |told: &Explanation| lines(told, "Operator").iter().any(|line| line.starts_with("✓ rule 1"));
    assert!(ticked(&told(&shop, &run_id)));
    let call = shop.reader().escalations(Some(RUN), true).unwrap().remove(0);
    assert_eq!(call.kind, Kind::Guidance);
    shop.must(&answer(&control("a"), human(), None));
    let answered = told(&shop, &run_id);
    assert!(!ticked(&answered), "{:?}", lines(&answered, "Operator"));
    let call = told(&shop, &What::Escalation(call.escalation_id));
    assert!(lines(&call, "Rule").iter().all(|line| !line.starts_with('✓')), "{:?}", lines(&call, "Rule"));
}

#[test]
fn what_is_not_confirmed_yet_says_so_and_when_it_is() {
    let shop = shop(&Plan { budget: 0, ..Plan::of(&["a", "b"]) }, |_| StepEnd::Done);
    shop.must(&agent("a", AgentWish::Exited { launch: 1, exit: killed() }));
    look(&shop);
    let events = shop.reader().events(0, &Default::default(), 1_000).unwrap();
    let decided = events.iter().rfind(
        |event| matches!(&event.fact, Fact::OperatorDecided(decision) if decision.intent == Intent::EscalateBlocked),
    );
    let what = What::Decision(decided.unwrap().seq.to_string());
    let rule = lines(&told(&shop, &what), "Rule").join("\n");
    assert!(rule.contains("not escalate_blocked it is not confirmed yet; it is at "), "{rule}");
    // Its time is over, and nobody has looked: that is another reason.
    shop.clock.0.fetch_add(60_000, Ordering::SeqCst);
    let rule = lines(&told(&shop, &what), "Rule").join("\n");
    assert!(rule.contains("the rules have not looked since"), "{rule}");
}

#[test]
fn what_holds_a_run_is_said_where_a_step_failed() {
    let failed = |agent: Option<&str>| match agent {
        Some("b") => StepEnd::Failed("no branch main".into()),
        _ => StepEnd::Done,
    };
    let shop = shop(&Plan { step_retries: 0, ..Plan::of(&["a", "b"]) }, failed);
    let waits = lines(&told(&shop, &What::Run(RUN.to_owned())), "What it waits for").join("\n");
    assert!(waits.contains("it cannot complete: step") && waits.contains("(no branch main)"), "{waits}");
    assert!(waits.contains("it fails when none of these works any more: a"), "{waits}");
    assert!(!waits.contains("it completes when"), "{waits}");
}

#[test]
fn who_is_called_to_a_key_is_led_to_the_screen_and_not_to_a_restart() {
    let shop = shop(&Plan::of(&["a"]), |_| StepEnd::Done);
    let waits = AgentWish::Observed {
        health: metawsm::domain::agent::Health::Idle,
        waiting_for: metawsm::domain::agent::WaitingFor::Input,
        reason: "waits for a key".into(),
        evidence: serde_json::json!({ "signal": "screen" }),
    };
    shop.must(&agent("a", waits));
    shop.clock.0.fetch_add(100_000, Ordering::SeqCst);
    look(&shop);
    let call = shop.reader().escalations(Some(RUN), true).unwrap().remove(0);
    assert_eq!((call.kind, call.leads_to()), (Kind::Input, format!("metawsm attach --run-id {RUN} --agent a")));
}

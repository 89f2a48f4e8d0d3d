//! The life of escalations and suggestions: opened once a cause, resolved with it, opened anew for the next.

use std::sync::atomic::Ordering;

use metawsm::domain::actor::Actor;
use metawsm::domain::agent::{AgentStatus, Health};
use metawsm::domain::command::{AgentWish, Command, EscalationWish, RunWish, SuggestionWish};
use metawsm::domain::escalation::{Escalation, EscalationState, Kind, Suggestion, SuggestionState};
use metawsm::domain::event::{Event, Fact};
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::{RunMode, RunStatus};
use metawsm::domain::signal::SignalType;
use metawsm::domain::time::Moment;
use metawsm::services::operator::conclude;
use metawsm::store::{Order, StoreError};

use crate::core_world::*;

/// A run at work on a ledger.
fn shop(plan: &Plan) -> Shop {
    let shop = Shop::new();
    shop.must(&plan.create());
    for step in shop.reader().steps(RUN).unwrap() {
        let index = step.spec.index;
        shop.must(&run(RunWish::BeginStep { index }));
        if let Some(name) = &step.spec.agent {
            shop.must(&agent(name, AgentWish::Started { launch: 1 }));
        }
        shop.must(&run(RunWish::EndStep { index, end: metawsm::domain::command::StepEnd::Done }));
    }
    shop
}

fn later(shop: &Shop, seconds: i64) {
    shop.clock.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
}

fn now(shop: &Shop) -> Moment {
    Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst))
}

/// The rules look once, in a supervisor that knows nothing but the journal.
fn look(shop: &Shop, mode: OperatorMode) -> Vec<Event> {
    let reader = shop.reader();
    let mut events = Vec::new();
    for run in reader.runs().unwrap() {
        for conclusion in conclude(&reader, &run, &measure(mode), &[], now(shop)).unwrap() {
            let ids = format!("{}", reader.last_seq().unwrap() + i64::try_from(events.len()).unwrap());
            let command = concluded(conclusion, &ids);
            events.extend(shop.give(&operator(), None, &command).unwrap().events);
        }
    }
    events
}

fn types(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.fact.split().0).collect()
}

fn standing(shop: &Shop) -> Vec<Escalation> {
    shop.reader().escalations(Some(RUN), true).unwrap()
}

fn only(shop: &Shop) -> Escalation {
    let mut all = standing(shop);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn suggestion(shop: &Shop) -> Suggestion {
    shop.reader().suggestions(Some(RUN), false).unwrap().remove(0)
}

fn dies(shop: &Shop, name: &str, launch: u32) {
    shop.must(&agent(name, AgentWish::Exited { launch, exit: killed() }));
}

fn on_escalation(escalation: &Escalation, wish: EscalationWish) -> Command {
    Command::Escalation { escalation_id: escalation.escalation_id.clone(), wish }
}

#[test]
fn d30_a_second_question_opens_its_own_escalation_and_a_restarted_supervisor_repeats_nothing() {
    let shop = shop(&Plan::of(&["a", "b"]));
    shop.must(&signal("a", SignalType::GuidanceRequest));
    assert_eq!(types(&look(&shop, OperatorMode::Off)), ["operator.decided", "escalation.opened"]);
    assert_eq!(only(&shop).reason, "which?");
    assert!(look(&shop, OperatorMode::Off).is_empty(), "each look is that of a new supervisor");
    shop.must(&ask("t1", "b", "which port?", true));
    look(&shop, OperatorMode::Off);
    let both = standing(&shop);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].reason, "which port?: why?");
    assert_eq!((both[0].agent.as_deref(), both[0].thread_id.as_deref()), (Some("b"), Some("t1")));
    // The answer resolves it in its own transaction; the other one stands.
    let answered = shop.must(&answer("t1", human(), None)).events;
    assert!(types(&answered).contains(&"escalation.resolved".to_owned()), "{answered:?}");
    assert_eq!(only(&shop).kind, Kind::Guidance);
    // Asked again in the same thread: another question, another escalation.
    shop.must(&metawsm_post_wait("t1", "b"));
    look(&shop, OperatorMode::Off);
    assert_eq!(standing(&shop).len(), 2);
    assert_eq!(shop.reader().escalations(Some(RUN), false).unwrap().len(), 3);
    shop.assert_sound();
}

fn metawsm_post_wait(id: &str, name: &str) -> Command {
    use metawsm::domain::command::ThreadWish;
    thread(id, ThreadWish::Post { body: "and then?".into(), wait: true, author: Some(Actor::agent(name)) })
}

#[test]
fn d30_two_requests_in_one_control_thread_call_apart() {
    let shop = shop(&Plan::of(&["a"]));
    for question in ["which?", "where?"] {
        let asked = full_signal(SignalType::GuidanceRequest, &key("a"), 0);
        let asked = metawsm::domain::signal::Signal { question: Some(question.into()), ..asked };
        shop.must(&signal_by(asked, Actor::agent("a")));
    }
    look(&shop, OperatorMode::Off);
    assert_eq!(standing(&shop).len(), 2);
    shop.must(&answer(&control("a"), human(), None));
    assert_eq!(standing(&shop).len(), 1);
}

#[test]
fn d29_a_failing_agent_does_not_fail_its_run_before_its_budget_is_spent() {
    let shop = shop(&Plan { mode: RunMode::Bootstrap, budget: 2, ..Plan::of(&["a"]) });
    for launch in 1..=2 {
        shop.must(&agent("a", AgentWish::Exited { launch, exit: exit(3) }));
        assert_eq!(shop.reader().run(RUN).unwrap().unwrap().status, RunStatus::Running);
        later(&shop, 1_000);
        let done = types(&look(&shop, OperatorMode::Off));
        assert_eq!(done, ["operator.decided", "operator.acted", "agent.restarted"]);
        shop.must(&agent("a", AgentWish::Started { launch: launch + 1 }));
    }
    let restarts = shop.reader().agents(RUN).unwrap().remove(0).restarts;
    assert_eq!((restarts.used, restarts.cooldown_until.is_some()), (2, true));
    shop.must(&agent("a", AgentWish::Exited { launch: 3, exit: exit(3) }));
    assert_eq!(shop.reader().run(RUN).unwrap().unwrap().status, RunStatus::Failed);
    // D24: what failed is told, once, and no longer when it goes on.
    look(&shop, OperatorMode::Off);
    assert!(look(&shop, OperatorMode::Off).is_empty());
    let failed = only(&shop);
    assert_eq!(failed.kind, Kind::Failed);
    assert!(failed.reason.contains("no restart left"), "{}", failed.reason);
    shop.must(&run(RunWish::Resume));
    assert!(standing(&shop).is_empty());
    shop.assert_sound();
}

#[test]
fn a_wait_is_journaled_once_and_the_restart_follows_when_it_is_due() {
    let shop = shop(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
    dies(&shop, "a", 1);
    let first = look(&shop, OperatorMode::Off);
    assert!(matches!(&first[0].fact, Fact::OperatorDecided(decision) if decision.due_at.is_some()), "{first:?}");
    assert!(look(&shop, OperatorMode::Off).is_empty());
    later(&shop, 15);
    assert_eq!(types(&look(&shop, OperatorMode::Off)), ["operator.decided", "operator.acted", "agent.restarted"]);
    assert!(look(&shop, OperatorMode::Off).is_empty(), "a start that is due is left to whoever starts it");
    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    dies(&shop, "a", 2);
    later(&shop, 15);
    assert_eq!(types(&look(&shop, OperatorMode::Off)), ["operator.decided", "escalation.opened"]);
    let blocked = only(&shop);
    assert_eq!((blocked.kind, blocked.agent.as_deref()), (Kind::Blocked, Some("a")));
    assert_eq!(shop.reader().run(RUN).unwrap().unwrap().status, RunStatus::Running, "b lives");
    // A human's restart takes the cause away, and is free.
    shop.must(&agent("a", restart(false)));
    assert!(standing(&shop).is_empty());
    assert_eq!(shop.reader().agents(RUN).unwrap()[0].restarts.used, 0);
    shop.assert_sound();
}

#[test]
fn what_passed_between_the_look_and_the_lock_is_not_acted_on() {
    let shop = shop(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
    dies(&shop, "a", 1);
    later(&shop, 60);
    let reader = shop.reader();
    let found = conclude(&reader, &reader.run(RUN).unwrap().unwrap(), &measure(OperatorMode::Off), &[], now(&shop));
    let command = concluded(found.unwrap().remove(0), "1");
    shop.must(&agent("a", restart(false)));
    assert!(shop.give(&operator(), None, &command).unwrap().events.is_empty());
    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    dies(&shop, "a", 2);
    assert!(shop.give(&operator(), None, &command).unwrap().events.is_empty(), "another death is another cause");
}

#[test]
fn an_acknowledged_one_is_silent_until_it_is_due() {
    let shop = shop(&Plan::of(&["a"]));
    shop.must(&signal("a", SignalType::GuidanceRequest));
    look(&shop, OperatorMode::Off);
    let escalation = only(&shop);
    assert!(escalation.calls(now(&shop)) && escalation.due_at.is_some());
    let until = now(&shop).plus(std::time::Duration::from_secs(4 * 3_600));
    let ack = |until, note: Option<&str>| {
        on_escalation(&escalation, EscalationWish::Acknowledge { until, note: note.map(str::to_owned) })
    };
    shop.must(&ack(Some(until), Some("after lunch")));
    let known = only(&shop);
    assert_eq!((known.state, known.due_at), (EscalationState::Acknowledged, Some(until)));
    assert_eq!((known.acknowledged_by.as_deref(), known.note.as_deref()), (Some("human:bo"), Some("after lunch")));
    assert!(!known.calls(now(&shop)) && known.calls(until));
    assert!(shop.must(&ack(Some(until), None)).events.is_empty(), "nothing new is said");
    look(&shop, OperatorMode::Off);
    assert_eq!(only(&shop).state, EscalationState::Acknowledged, "a repeat leaves it as it is");
    shop.must(&on_escalation(&escalation, EscalationWish::Resolve { note: Some("told them".into()) }));
    assert!(standing(&shop).is_empty());
    assert!(look(&shop, OperatorMode::Off).is_empty(), "the same occurrence does not call again");
    let refused = shop.give(&human(), None, &ack(None, None)).unwrap_err();
    assert!(matches!(refused, StoreError::Refused(refusal) if refusal.state.as_deref() == Some("resolved")));
    let again = on_escalation(&escalation, EscalationWish::Resolve { note: None });
    assert!(shop.must(&again).events.is_empty());
    shop.assert_sound();
}

#[test]
fn a_suggestion_is_made_once_accepted_once_and_withdrawn_with_its_cause() {
    let shop = shop(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    dies(&shop, "a", 1);
    later(&shop, 15);
    assert_eq!(types(&look(&shop, OperatorMode::Assist)), ["operator.decided", "operator.suggested"]);
    assert!(look(&shop, OperatorMode::Assist).is_empty());
    let first = suggestion(&shop);
    let settle = |of: &Suggestion, wish| Command::Suggestion { suggestion_id: of.suggestion_id.clone(), wish };
    let accept = || SuggestionWish::Accept { cooldown_until: Some(now(&shop)) };
    let done = shop.must(&settle(&first, accept())).events;
    assert_eq!(types(&done), ["operator.suggestion_settled", "operator.acted", "agent.restarted"]);
    assert_eq!(suggestion(&shop).state, SuggestionState::Accepted);
    assert_eq!(suggestion(&shop).settled_by.as_deref(), Some("human:bo"));
    let restarts = shop.reader().agents(RUN).unwrap()[0].restarts.clone();
    assert_eq!(restarts.used, 1, "the rule acts, on its budget");
    assert!(shop.must(&settle(&first, accept())).events.is_empty(), "accepting twice does it once");

    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    dies(&shop, "a", 2);
    later(&shop, 100);
    look(&shop, OperatorMode::Assist);
    let second = suggestion(&shop);
    assert_ne!(second.suggestion_id, first.suggestion_id);
    let restarted = shop.must(&agent("a", restart(false))).events;
    assert!(types(&restarted).contains(&"operator.suggestion_settled".to_owned()));
    assert_eq!(suggestion(&shop).state, SuggestionState::Withdrawn);
    let refused = shop.give(&human(), None, &settle(&second, accept())).unwrap_err();
    assert!(matches!(&refused, StoreError::Refused(refusal) if refusal.kind == RefusalKind::Illegal), "{refused:?}");

    shop.must(&agent("a", AgentWish::Started { launch: 3 }));
    dies(&shop, "a", 3);
    later(&shop, 100);
    look(&shop, OperatorMode::Assist);
    shop.must(&settle(&suggestion(&shop), SuggestionWish::Dismiss));
    assert!(look(&shop, OperatorMode::Assist).is_empty(), "what was dismissed is not offered again");
    shop.assert_sound();
}

#[test]
fn what_is_offered_again_and_again_and_never_done_calls_a_human_until_it_is() {
    let shop = shop(&Plan { budget: 9, ..Plan::of(&["a", "b"]) });
    // A human's own restart is what was offered: however often he does it so, it was done.
    for launch in 1..=5 {
        dies(&shop, "a", launch);
        later(&shop, 100);
        look(&shop, OperatorMode::Assist);
        assert!(standing(&shop).is_empty());
        shop.must(&agent("a", restart(false)));
        shop.must(&agent("a", AgentWish::Started { launch: launch + 1 }));
    }
    // The same launch, that hangs and moves and hangs.
    for times in 1..=5 {
        hangs(&shop, true);
        later(&shop, 100);
        let told = types(&look(&shop, OperatorMode::Assist));
        assert_eq!(told.contains(&"escalation.opened".to_owned()), times == 5, "{times}: {told:?}");
        if times < 5 {
            hangs(&shop, false);
        }
    }
    let call = only(&shop);
    assert!(call.due_at.is_some_and(|due| due > now(&shop)), "it calls again");
    assert_eq!((call.kind, call.target.as_str()), (Kind::NotActed, "agent:ws/a"));
    assert!(
        call.reason.starts_with("auto_restart was suggested 5 times and never done: a is stalled"),
        "{}",
        call.reason
    );
    let open = shop.reader().suggestions(Some(RUN), true).unwrap().remove(0);
    let wish = SuggestionWish::Accept { cooldown_until: Some(now(&shop)) };
    shop.must(&Command::Suggestion { suggestion_id: open.suggestion_id, wish });
    assert!(standing(&shop).is_empty());
    // Of another launch it is counted anew.
    shop.must(&agent("a", AgentWish::Started { launch: 7 }));
    dies(&shop, "a", 7);
    later(&shop, 10_000);
    assert_eq!(types(&look(&shop, OperatorMode::Assist)), ["operator.decided", "operator.suggested"]);
    assert!(standing(&shop).is_empty());
    shop.assert_sound();
}

/// Agent a hangs, or moves again.
fn hangs(shop: &Shop, hangs: bool) {
    let health = if hangs { Health::Stalled } else { Health::Healthy };
    let wish = AgentWish::Observed {
        health,
        waiting_for: metawsm::domain::agent::WaitingFor::None,
        reason: "looked".into(),
        evidence: serde_json::json!({ "signal": "progress" }),
    };
    shop.must(&agent("a", wish));
}

#[test]
fn what_is_done_otherwise_or_not_wanted_is_no_more_said_to_be_never_done() {
    for way in ["restart", "rule", "stop", "dismissed"] {
        let shop = shop(&Plan { budget: 9, ..Plan::of(&["a", "b"]) });
        for times in 1..=5 {
            hangs(&shop, true);
            later(&shop, 100);
            look(&shop, OperatorMode::Assist);
            if way == "dismissed" {
                let suggestion_id = suggestion(&shop).suggestion_id;
                shop.must(&Command::Suggestion { suggestion_id, wish: SuggestionWish::Dismiss });
            }
            if times < 5 {
                hangs(&shop, false);
            }
        }
        assert_eq!(standing(&shop).len(), usize::from(way != "dismissed"), "{way}");
        match way {
            "restart" => drop(shop.must(&agent("a", restart(false)))),
            "rule" => drop(look(&shop, OperatorMode::Off)),
            "stop" => drop(shop.must(&agent("a", AgentWish::Stop))),
            _ => {}
        }
        assert!(standing(&shop).is_empty(), "{way}");
        shop.assert_sound();
    }
}

#[test]
fn d25_a_lifeless_run_is_stopped_and_told_of_until_somebody_takes_it_up() {
    let shop = shop(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    shop.must(&agent("b", AgentWish::Exited { launch: 1, exit: exit(0) }));
    dies(&shop, "a", 1);
    later(&shop, 4_000);
    let events = look(&shop, OperatorMode::Assist);
    assert_eq!(types(&events).iter().filter(|kind| *kind == "operator.suggested").count(), 2, "{events:?}");
    // Switched to acting: the restart comes first, and then nothing is stale.
    look(&shop, OperatorMode::Off);
    assert_eq!(shop.reader().run(RUN).unwrap().unwrap().status, RunStatus::Running);
    let open = shop.reader().suggestions(Some(RUN), true).unwrap();
    assert!(open.is_empty(), "{open:?}");

    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    dies(&shop, "a", 2);
    later(&shop, 4_000);
    let mut measure = measure(OperatorMode::Off);
    measure.rules.insert("auto_restart".into(), metawsm::domain::policy::RuleMode::Never);
    let reader = shop.reader();
    for conclusion in conclude(&reader, &reader.run(RUN).unwrap().unwrap(), &measure, &[], now(&shop)).unwrap() {
        let ids = conclusion.decision.target.clone();
        shop.give(&operator(), None, &concluded(conclusion, &ids)).unwrap();
    }
    assert_eq!(shop.reader().run(RUN).unwrap().unwrap().status, RunStatus::Stopping);
    assert_eq!(only(&shop).kind, Kind::Stale, "the blocked agent is of no account any more");
    shop.must(&run(RunWish::FinishStop));
    assert_eq!(only(&shop).kind, Kind::Stale);
    shop.must(&run(RunWish::Resume));
    assert!(standing(&shop).is_empty());
    shop.assert_sound();
}

#[test]
fn long_health_is_journaled_and_makes_the_next_death_the_first_again() {
    let shop = shop(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
    dies(&shop, "a", 1);
    later(&shop, 15);
    look(&shop, OperatorMode::Off);
    shop.must(&agent("a", AgentWish::Started { launch: 2 }));
    later(&shop, 1_700);
    assert!(look(&shop, OperatorMode::Off).is_empty());
    later(&shop, 200);
    assert_eq!(types(&look(&shop, OperatorMode::Off)), ["operator.decided", "operator.acted"]);
    let restarts = shop.reader().agents(RUN).unwrap()[0].restarts.clone();
    assert_eq!((restarts.used, restarts.cooldown_until), (0, None));
    assert!(look(&shop, OperatorMode::Off).is_empty());
    dies(&shop, "a", 2);
    later(&shop, 15);
    assert!(types(&look(&shop, OperatorMode::Off)).contains(&"agent.restarted".to_owned()));
    shop.assert_sound();
}

#[test]
fn a_stalled_agent_is_told_of_and_forgotten_when_it_moves() {
    let shop = shop(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    shop.must(&agent("a", observed(Health::Stalled)));
    later(&shop, 15);
    look(&shop, OperatorMode::Off);
    assert_eq!(only(&shop).kind, Kind::Blocked);
    assert_eq!(shop.reader().agents(RUN).unwrap()[0].status, AgentStatus::Stalled, "silence alone restarts nothing");
    shop.must(&agent("a", observed(Health::Healthy)));
    assert!(standing(&shop).is_empty());
    // A repeat tells the one that stands what is new.
    shop.must(&agent("a", observed(Health::Stalled)));
    later(&shop, 15);
    look(&shop, OperatorMode::Off);
    let stalled = only(&shop);
    let mut spent = measure(OperatorMode::Off);
    spent.rules.insert("auto_restart".into(), metawsm::domain::policy::RuleMode::Never);
    dies(&shop, "a", 1);
    later(&shop, 15);
    let reader = shop.reader();
    let found = conclude(&reader, &reader.run(RUN).unwrap().unwrap(), &spent, &[], now(&shop)).unwrap().remove(0);
    shop.give(&operator(), None, &concluded(found, "9")).unwrap();
    let dead = only(&shop);
    assert_eq!(dead.escalation_id, stalled.escalation_id);
    assert_ne!(dead.reason, stalled.reason);
    shop.assert_sound();
}

#[test]
fn a_call_that_nothing_starts_it_ends_when_a_restart_is_offered() {
    let shop = shop(&Plan { budget: 3, ..Plan::of(&["a", "b"]) });
    shop.must(&agent("a", observed(Health::Stalled)));
    later(&shop, 15);
    look(&shop, OperatorMode::Assist);
    assert_eq!(only(&shop).kind, Kind::Blocked);
    // Its progress is overdue as well by now.
    let reader = shop.reader();
    let (run, overdue) = (reader.run(RUN).unwrap().unwrap(), [reader.agents(RUN).unwrap()[0].key.clone()]);
    let found = conclude(&reader, &run, &measure(OperatorMode::Assist), &overdue, now(&shop)).unwrap().remove(0);
    shop.give(&operator(), None, &concluded(found, "9")).unwrap();
    assert!(standing(&shop).is_empty());
    assert_eq!(suggestion(&shop).state, SuggestionState::Open);
    shop.assert_sound();
}

#[test]
fn in_an_agents_session_they_are_refused_unless_its_profile_lets_it() {
    for (may, allowed) in [(vec![], false), (vec!["run".to_owned()], true)] {
        let shop = shop(&Plan { may, ..Plan::of(&["a"]) });
        shop.must(&signal("a", SignalType::GuidanceRequest));
        look(&shop, OperatorMode::Off);
        let command = on_escalation(&only(&shop), EscalationWish::Resolve { note: None });
        let (actor, identity) = (Actor::agent("a"), key("a"));
        let done = shop.ledger.execute(&Order { identity: Some(&identity), ..Order::new(&command, &actor) });
        match done {
            Ok(_) => assert!(allowed),
            Err(StoreError::Refused(refusal)) => {
                assert!(!allowed && refusal.kind == RefusalKind::NotAllowed);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let shop = shop(&Plan::of(&["a"]));
    let unknown = Command::Suggestion { suggestion_id: "sug-9".into(), wish: SuggestionWish::Dismiss };
    let refused = shop.give(&human(), None, &unknown).unwrap_err();
    assert!(matches!(refused, StoreError::Refused(refusal) if refusal.kind == RefusalKind::NotFound));
}

#[test]
fn what_was_changed_behind_the_journals_back_is_found_and_mended() {
    let shop = shop(&Plan { budget: 1, ..Plan::of(&["a", "b"]) });
    dies(&shop, "a", 1);
    shop.must(&signal("b", SignalType::GuidanceRequest));
    later(&shop, 15);
    look(&shop, OperatorMode::Assist);
    let conn = rusqlite::Connection::open(shop.path()).unwrap();
    for (table, harm) in [
        ("decision", "DELETE FROM decision"),
        ("escalation", "UPDATE escalation SET doc = json_set(doc, '$.state', 'resolved')"),
        ("suggestion", "UPDATE suggestion SET doc = json_set(doc, '$.reason', 'x')"),
    ] {
        assert!(conn.execute(harm, []).unwrap() > 0, "{harm}");
        let found = metawsm::store::rebuild::verify(&shop.path()).unwrap();
        assert!(!found.is_empty() && found.iter().all(|difference| difference.table == table), "{found:?}");
        metawsm::store::rebuild::rebuild(&shop.path()).unwrap();
        shop.assert_sound();
    }
    assert_eq!(standing(&shop).len(), 1);
}

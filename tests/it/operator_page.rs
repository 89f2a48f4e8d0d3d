//! What the operator's page and the report since one left are made from: the store.

use std::time::Duration;

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::command::{AgentWish, Command, RunWish, StepEnd};
use metawsm::domain::policy::OperatorMode;
use metawsm::services::engine::Caller;
use metawsm::services::operator::{acknowledge, conclude};
use metawsm::services::report;
use metawsm::services::snapshot::{LetterRow, Source, Want};
use metawsm::store::Order;

use crate::core_world::*;
use crate::outbox::{Office, Scripted};

/// The console's page tells of the same letters as the list; that a thread presses stands until it is answered.
#[test]
fn the_operators_page_is_what_the_store_says() {
    let office = Office::new();
    let page = || {
        let caller = Caller { actor: human(), identity: None };
        let want = Want { operator: true, ..Want::default() };
        let mut source = Source::open(&office.engine.home, &caller).unwrap();
        source.read(&want, &Default::default()).unwrap().operator.unwrap()
    };
    assert!(page().rules.is_empty() && page().letters.is_empty() && page().budgets.is_empty());
    let give = |actor: &Actor, command: &Command| {
        office.engine.ledger.execute(&Order::new(command, actor)).unwrap();
    };
    give(&human(), &ask("t9", "a", "which port?", true));
    let reader = office.engine.reader().unwrap();
    let run = reader.runs().unwrap().remove(0);
    let measure = measure(OperatorMode::Off);
    let now = office.engine.now();
    for conclusion in conclude(&reader, &run, &measure, &[], now).unwrap() {
        give(&operator(), &concluded(conclusion, "1"));
    }
    let rules = page().rules;
    assert_eq!(rules.len(), 1, "{rules:#?}");
    let row = &rules[0];
    assert!((row.rule, row.stands, row.calls, row.outcome.as_str()) == (1, true, true, "called you"), "{row:#?}");
    assert_eq!((row.subject.as_str(), row.thread_id.as_deref()), ("a", Some("t9")));
    let call = reader.escalations(None, true).unwrap().remove(0).escalation_id;
    acknowledge(&office.engine, &Caller { actor: human(), identity: None }, &call, None, None).unwrap();
    assert_eq!((page().rules[0].outcome.as_str(), page().rules[0].calls), ("known to you", false));
    give(&human(), &answer("t9", human(), None));
    let row = page().rules.remove(0);
    assert!(!row.stands && !row.calls, "answered, its cause is gone: {row:#?}");
    // Given up, tried again, given up.
    let failing = Scripted::failing(&["no such file"; 9]);
    for _ in 0..4 {
        office.pass(Duration::from_secs(600));
        office.work(&failing);
    }
    let mut listed = office.engine.reader().unwrap().letters(None, None, 10).unwrap().letters;
    listed.reverse();
    let shown = page();
    let ids = |shown: &[LetterRow]| shown.iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(&shown.letters), listed.iter().map(|letter| letter.id).collect::<Vec<_>>(), "the oldest first");
    // The call and the answer were each to be written down.
    assert_eq!((shown.letters.len(), shown.post.dead, shown.post.errors), (2, 2, 6));
    let answered = shown.letters.iter().find(|row| row.thread_id.as_deref() == Some("t9")).unwrap();
    assert_eq!((answered.error.as_str(), answered.attempts), ("no such file", 3));
}

/// One notion of having been there, for the command line and the console.
#[test]
fn who_was_away_for_ten_minutes_is_told_what_happened_since() {
    let office = Office::new();
    let back = |name: &str| {
        let actor = Actor::new(ActorType::Human, name);
        report::come_back(&office.engine, &actor).unwrap()
    };
    assert!(back("kim").is_none(), "who comes for the first time has not left");
    office.pass(Duration::from_secs(599));
    assert!(back("kim").is_none());
    let left = office.engine.now();
    start_twice(&office);
    office.pass(Duration::from_secs(600));
    assert!(back("bo").is_none(), "another one was never there");
    let told = back("kim").unwrap();
    assert_eq!((told.since, told.report.restarted.len()), (left, 1), "{told:#?}");
    assert!(back("kim").is_none(), "told once");
    // Who is told by the command was there as well.
    office.pass(Duration::from_secs(550));
    let kim = Actor::new(ActorType::Human, "kim");
    report::note_there(&office.engine, &kim).unwrap();
    office.pass(Duration::from_secs(550));
    assert!(back("kim").is_none());
}

/// The agent was started, and is started again.
fn start_twice(office: &Office) {
    let give = |command| drop(office.engine.ledger.execute(&Order::new(&command, &human())).unwrap());
    for step in office.engine.reader().unwrap().steps(&Plan::of(&["a"]).run_id).unwrap() {
        give(run(RunWish::BeginStep { index: step.spec.index }));
        if step.spec.agent.is_some() {
            give(agent("a", AgentWish::Started { launch: 1 }));
        }
        give(run(RunWish::EndStep { index: step.spec.index, end: StepEnd::Done }));
    }
    give(agent("a", restart(false)));
}

//! Since you left: what is told to who comes back, when, and where its lines lead.

use std::time::Duration;

use metawsm::console::app::{Overlay, Page};
use metawsm::console::keymap::Place;
use metawsm::console::msg::{Effect, Msg, Time};
use metawsm::domain::agent::AgentKey;
use metawsm::domain::operator::Intent;
use metawsm::domain::report::{Line, Offers, Report, Restarted};
use metawsm::services::handle::Trouble;
use metawsm::services::report::Told;

use super::console_world::{Desk, HOSTILE, before, snapshot};

const SIZES: [(u16, u16); 4] = [(160, 45), (120, 30), (80, 24), (60, 20)];
const MINUTE: Duration = Duration::from_secs(60);

fn line(what: &str, agent: Option<&str>, age: i64, reason: &str) -> Line {
    Line {
        what: what.to_owned(),
        run_id: Some("run-1".to_owned()),
        ticket: Some("ACME-12".to_owned()),
        workspace: agent.map(|_| "acme-12".to_owned()),
        agent: agent.map(str::to_owned),
        thread_id: None,
        id: None,
        at: before(age),
        reason: reason.to_owned(),
    }
}

pub fn told() -> Told {
    let mut report = Report::default();
    report.finished =
        vec![line("completed", None, 20_000, "every agent is done"), line("done", Some("審査員"), 30_000, HOSTILE)];
    report.restarted = vec![Restarted {
        run_id: "run-1".to_owned(),
        workspace: "acme-12".to_owned(),
        agent: "coder".to_owned(),
        by_rule: 2,
        by_human: 1,
        last_at: before(9000),
        reason: "coder is dead (killed by SIGKILL): restart 2 of 3".to_owned(),
        ..Restarted::default()
    }];
    report.operator.acted.insert(Intent::AutoRestart, 2);
    report.operator.suggested.insert(Intent::AutoStopStale, Offers { made: 3, withdrawn: 2, ..Offers::default() });
    report.operator.called = 4;
    report.operator.adviser.asked = 5;
    report.operator.adviser.rejected = 4;
    report.operator.adviser.agreed = 1;
    let asks = Line { thread_id: Some("t1".to_owned()), ..line("guidance", Some("planner"), 180, "which schema?") };
    Told {
        seq: 0,
        since: before(9 * 3600),
        until: before(0),
        report,
        stuck: vec![line("blocked", Some("coder"), 240, "coder is dead: no restart is left")],
        waiting: vec![
            asks,
            Line { run_id: None, ticket: None, ..line("limit", None, 60, "codex has reached a limit") },
        ],
    }
}

fn back(size: (u16, u16)) -> Desk {
    let mut desk = Desk::new(size);
    desk.tell(Msg::Since(Ok(Some(Box::new(told())))));
    desk
}

#[test]
fn one_panel_tells_what_happened() {
    for size in SIZES {
        insta::assert_snapshot!(format!("since_{}x{}", size.0, size.1), back(size).drawn());
    }
}

#[test]
fn who_opens_the_console_is_asked_for_at_once_and_who_is_there_is_noted_each_minute() {
    let mut desk = Desk::empty((160, 45));
    desk.look(snapshot());
    assert!(desk.effects.contains(&Effect::ComeBack));
    let mut key = |after: Duration| {
        desk.up += after;
        let time = Time { now: before(0).plus(desk.up), up: desk.up };
        let effects = desk.app.update(Msg::Focus, time);
        let there = |effect: &&Effect| matches!(effect, Effect::ComeBack | Effect::There);
        effects.iter().find(there).cloned()
    };
    assert_eq!(key(Duration::from_secs(59)), None);
    assert_eq!(key(Duration::from_secs(1)), Some(Effect::There));
    assert_eq!(key(MINUTE * 9), Some(Effect::There), "nine minutes are not away");
    assert_eq!(key(MINUTE * 10), Some(Effect::ComeBack));
    assert_eq!(key(Duration::from_secs(5)), None, "and not again");
}

#[test]
fn each_line_leads_to_its_cause() {
    let page = |down: usize| {
        let mut desk = back((160, 45));
        desk.keys(&"<down>".repeat(down)).keys("<enter>");
        assert!(desk.app.overlay.is_none());
        (desk.app.page.clone(), desk.app.agent().map(|agent| agent.key.name.clone()).unwrap_or_default())
    };
    assert_eq!(page(0).0, Page::Run("run-1".to_owned()));
    assert_eq!(page(1), (Page::Home, "審査員".to_owned()));
    assert_eq!(page(3), (Page::Home, "coder".to_owned()));
    assert_eq!(page(4).0, Page::Thread("t1".to_owned()));
    assert_eq!(page(5).0, Page::Home);
}

#[test]
fn over_another_runs_page_it_leads_to_the_agent_that_was_chosen() {
    let mut desk = Desk::new((160, 45));
    desk.keys("<end><enter>");
    assert_eq!(desk.app.page, Page::Run("run-3".to_owned()));
    desk.tell(Msg::Since(Ok(Some(Box::new(told())))));
    desk.keys("<down><down><down><enter>");
    assert_eq!(desk.app.page, Page::Home);
    assert_eq!(desk.app.agent().map(|agent| agent.key.clone()), Some(AgentKey::new("run-1", "acme-12", "coder")));
    desk.keys("1<end><enter>w");
    assert_eq!((desk.app.page.clone(), desk.app.run().map(|run| run.run_id.as_str())), (Page::Home, Some("run-1")));
    assert_eq!(desk.app.agent().map(|agent| agent.key.run_id.as_str()), Some("run-1"));
}

#[test]
fn any_other_key_closes_it_and_shift_l_asks_for_it_again() {
    let mut desk = Desk::new((160, 45));
    desk.keys("L");
    assert!(desk.shows("you have not been away"));
    desk.tell(Msg::Since(Ok(Some(Box::new(told())))));
    assert_eq!(desk.app.place(), Place::Since);
    desk.keys("S");
    assert!(desk.app.overlay.is_none() && desk.app.place() == Place::Home, "no key means anything else there");
    desk.keys("L");
    assert_eq!(desk.effects.last(), Some(&Effect::Since(before(9 * 3600))));
}

#[test]
fn it_waits_for_who_writes_or_is_asked_something() {
    let open = |desk: &Desk| matches!(desk.app.overlay, Some(Overlay::Since(_)));
    for (keys, done) in [("4r", "<esc>"), ("S", "n"), ("/plan", "<enter>"), ("?", "<esc>"), ("4s", "<esc>")] {
        let mut desk = Desk::new((160, 45));
        desk.keys(keys).tell(Msg::Since(Ok(Some(Box::new(told())))));
        assert!(!open(&desk), "{keys}");
        desk.keys(done);
        assert!(open(&desk), "{keys}");
    }
}

#[test]
fn where_nothing_happened_a_line_says_so() {
    let mut desk = Desk::new((160, 45));
    let nothing = Told { stuck: vec![], waiting: vec![], report: Report::default(), ..told() };
    desk.tell(Msg::Since(Ok(Some(Box::new(nothing)))));
    assert!(desk.app.overlay.is_none() && desk.shows("nothing happened since you left 9h ago"));
    let mut desk = Desk::new((160, 45));
    desk.tell(Msg::Since(Ok(None)));
    assert!(desk.app.overlay.is_none() && !desk.shows("since you left"));
    let trouble = Trouble { message: "the database is gone".to_owned(), hint: None, undone: vec![] };
    desk.tell(Msg::Since(Err(trouble)));
    assert!(desk.shows("what happened meanwhile cannot be told: the database is gone"));
}

#[test]
fn its_lines_are_gone_through_on_a_small_screen() {
    let mut desk = back((60, 12));
    assert!(desk.shows("Finished 2") && !desk.shows("Waiting for you"));
    desk.keys("<end>");
    assert!(desk.shows("codex has reached") || desk.shows("limit"), "{}", desk.drawn());
    assert!(desk.shows("asked the adviser 5 times"), "{}", desk.drawn());
    let coder = AgentKey::new("run-1", "acme-12", "coder");
    desk.keys("<enter>");
    assert_eq!(desk.app.page, Page::Operator);
    let mut desk = back((60, 12));
    desk.keys("<down><down><down><enter>");
    assert_eq!(desk.app.agent().map(|agent| &agent.key), Some(&coder));
}

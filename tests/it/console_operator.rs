//! The operator's page: what is on it, and what its keys do.

use std::time::Duration;

use metawsm::console::app::{Overlay, Page};
use metawsm::console::keymap::Place;
use metawsm::console::msg::Effect;
use metawsm::domain::adviser::Tally;
use metawsm::domain::agent::{AgentKey, AgentStatus};
use metawsm::domain::operator::{Action, Intent};
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::time::Moment;
use metawsm::services::explain::What;
use metawsm::services::handle::Wish;
use metawsm::services::operator::Conduct;
use metawsm::services::snapshot::{
    Adviser, BudgetRow, EscalationRow, Facts, LetterRow, Offers, OperatorPage, PostOffice, RuleRow, Snapshot,
    Supervising, Trouble,
};

use super::console_world::{Desk, HOSTILE, before, snapshot, wishes};

const SIZES: [(u16, u16); 4] = [(160, 45), (120, 30), (80, 24), (60, 20)];
const WIDE: (u16, u16) = (160, 45);

fn ahead(seconds: u64) -> Option<Moment> {
    Some(before(0).plus(Duration::from_secs(seconds)))
}

fn key(name: &str) -> AgentKey {
    AgentKey::new("run-1", "acme-12", name)
}

fn rule(intent: Intent, action: Action, subject: &str, outcome: &str, age: i64) -> RuleRow {
    RuleRow {
        run_id: Some("run-1".to_owned()),
        target: format!("agent:acme-12/{subject}"),
        rule: intent.rule(),
        intent,
        action,
        outcome: outcome.to_owned(),
        calls: false,
        subject: subject.to_owned(),
        ticket: Some("ACME-12".to_owned()),
        agent: Some(key(subject)),
        thread_id: None,
        reason: format!("{subject} is dead (exited with 137): restart 2 of 3"),
        at: before(age),
        due_at: None,
        stands: true,
    }
}

pub fn concluded() -> OperatorPage {
    let asked = RuleRow {
        calls: true,
        target: "thread:t1".to_owned(),
        thread_id: Some("t1".to_owned()),
        reason: format!("which schema for the outbox? {HOSTILE}"),
        due_at: ahead(1500),
        ..rule(Intent::EscalateGuidance, Action::Escalate, "planner", "called you", 180)
    };
    let waits = RuleRow { due_at: ahead(43), ..rule(Intent::AutoRestart, Action::Nothing, "coder", "waits", 12) };
    let offered =
        RuleRow { calls: true, ..rule(Intent::AutoRestart, Action::Suggest, "審査員", "suggested 4×", 20) };
    let run = RuleRow {
        target: "run".to_owned(),
        agent: None,
        subject: "the run".to_owned(),
        run_id: Some("run-2".to_owned()),
        ticket: None,
        reason: "no agent has been alive for 1h".to_owned(),
        ..rule(Intent::AutoStopStale, Action::Act, "run", "done", 30)
    };
    let passed = RuleRow { stands: false, ..rule(Intent::ResetRestarts, Action::Act, "solo", "done", 7200) };
    let budget = |name: &str, used, status| BudgetRow {
        key: key(name),
        ticket: "ACME-12".to_owned(),
        status,
        used,
        budget: 3,
        cooldown_until: ahead(43),
        reset_at: None,
    };
    let letter = |id, errand: &str, error: &str| LetterRow {
        id,
        errand: errand.to_owned(),
        about: "ACME-12".to_owned(),
        attempts: 8,
        error: error.to_owned(),
        created_at: before(9000),
        run_id: Some("run-1".to_owned()),
        thread_id: None,
        call: (id == 12).then(|| "e9".to_owned()),
    };
    OperatorPage {
        rules: vec![asked, offered, waits, run, passed],
        budgets: vec![
            budget("coder", 1, AgentStatus::Dead),
            BudgetRow { reset_at: ahead(1200), ..budget("審査員", 2, AgentStatus::Running) },
            budget("solo", 3, AgentStatus::Dead),
        ],
        letters: vec![
            letter(7, "write an answer into the changelog", HOSTILE),
            letter(12, "run the program that calls you", "the notify command failed: exited with 3"),
        ],
        post: PostOffice {
            pending: 1,
            failed: 1,
            dead: 2,
            oldest_at: Some(before(300)),
            processed: 120,
            last_error: Some((format!("escalation.notify.requested: {HOSTILE}"), before(60))),
            cleared_at: Some(before(30)),
            ..PostOffice::default()
        },
        adviser: Some(Adviser {
            tally: Tally { questions: 12, rejected: 3, duration_ms: 240_000, bytes_in: 41_000, bytes_out: 9_000 },
            failures: 0,
            asked_at: None,
            last: Some((before(200), "agrees (0.9 sure): the coder's test data is gone".to_owned())),
        }),
        offers: Offers { accepted: 0, dismissed: 2, withdrawn: 8, open: 4 },
    }
}

pub fn with(page: OperatorPage) -> Snapshot {
    Snapshot { operator: Some(page), ..snapshot() }
}

fn opened(size: (u16, u16)) -> Desk {
    let mut desk = Desk::new(size);
    desk.keys("O").look(with(concluded()));
    desk.effects.clear();
    desk
}

fn at_all_sizes(view: &str, prepare: impl Fn((u16, u16)) -> Desk) {
    for size in SIZES {
        insta::assert_snapshot!(format!("operator_{view}_{}x{}", size.0, size.1), prepare(size).drawn());
    }
}

#[test]
fn the_page_with_everything_on_it() {
    at_all_sizes("full", opened);
}

#[test]
fn the_page_of_a_quiet_home() {
    at_all_sizes("empty", |size| {
        let mut desk = Desk::new(size);
        desk.keys("O").look(with(OperatorPage::default()));
        desk
    });
}

#[test]
fn a_policy_that_does_not_hold_is_said_and_not_written() {
    let broken = || {
        let mut home = with(concluded());
        home.facts.troubles.insert(Trouble::Policy("policy.json: line 3, column 9: comma expected".to_owned()));
        home
    };
    at_all_sizes("broken", |size| {
        let mut desk = Desk::new(size);
        desk.keys("O").look(broken());
        desk
    });
    let mut desk = Desk::new(WIDE);
    desk.keys("O").look(broken()).keys("M");
    assert_eq!((desk.app.place(), wishes(&desk)), (Place::Operator, vec![]));
    assert!(desk.shows("has to be mended first (policy.json: line 3"), "{}", desk.drawn());
}

#[test]
fn in_ascii_it_is_ascii() {
    let mut desk = opened(WIDE);
    desk.app.theme.ascii = true;
    let drawn = desk.drawn().replace("審査員", "").replace("日本語", "").replace('🎉', "");
    assert!(drawn.is_ascii(), "{drawn}");
}

#[test]
fn no_control_character_of_a_reason_or_an_error_reaches_the_screen() {
    let mut desk = opened(WIDE);
    for keys in ["", "<down>", "<down>", "<down>", "<down>", "D", "<esc><down>"] {
        desk.keys(keys);
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!desk.drawn().contains(bad), "{keys}: {:?}", desk.drawn());
    }
}

#[test]
fn it_is_read_only_while_it_is_open() {
    let mut desk = Desk::new(WIDE);
    let wanted = |desk: &Desk| {
        let want = desk.effects.iter().rev().find_map(|effect| match effect {
            Effect::Want(want) => Some(want.operator),
            _ => None,
        });
        want.unwrap_or_default()
    };
    desk.keys("O");
    assert!(desk.app.page == Page::Operator && wanted(&desk));
    assert!(desk.shows("looking at what the rules concluded"));
    desk.keys("<esc>");
    assert!(desk.app.page == Page::Home && !wanted(&desk));
}

#[test]
fn who_decides_is_chosen_from_a_menu() {
    let mut desk = opened(WIDE);
    desk.keys("M");
    assert!(matches!(desk.app.overlay, Some(Overlay::Picker(_))));
    assert!(desk.shows("Mode (now assist)") && !desk.shows("▸ assist"));
    desk.keys("au<enter>");
    assert_eq!(wishes(&desk), [Wish::SetMode(OperatorMode::Auto)]);
    assert!(desk.shows("changing the mode to auto"));
}

#[test]
fn what_this_process_was_told_is_said_beside_what_the_policy_says() {
    let mut desk = opened(WIDE);
    desk.app.opening.conduct = Conduct { mode: Some(OperatorMode::Off), ..Conduct::default() };
    assert!(desk.shows("so by --operator while this process supervises; the policy says assist"));
    desk.keys("M");
    assert!(desk.shows("Mode in the policy (now assist; --operator off holds here)"));
}

#[test]
fn enter_goes_to_the_cause_and_esc_comes_back() {
    let mut desk = opened(WIDE);
    desk.keys("<enter>");
    assert_eq!(desk.app.page, Page::Thread("t1".to_owned()));
    desk.keys("<esc>");
    assert_eq!(desk.app.page, Page::Operator);
    desk.look(with(concluded())).keys("<down><enter>");
    let agent = desk.app.agent().map(|agent| agent.key.clone());
    assert_eq!((desk.app.page.clone(), agent), (Page::Home, Some(key("審査員"))));
    desk.keys("<esc>");
    assert_eq!(desk.app.page, Page::Home);
    desk.keys("O").look(with(concluded())).keys("<down><down><enter>");
    assert_eq!(desk.app.page, Page::Run("run-2".to_owned()));
    desk.keys("<esc><esc>");
    assert_eq!(desk.app.page, Page::Home);
}

#[test]
fn x_explains_the_decision_and_the_keys_of_its_agent_work() {
    let mut desk = opened(WIDE);
    desk.keys("<down><down>x");
    let Some(Effect::Explain(_, what)) = desk.effects.last() else { panic!("{:?}", desk.effects) };
    assert_eq!(*what, What::LastDecision(Some("run-1".to_owned()), "agent:acme-12/coder".to_owned()));
    desk.keys("<esc>Ry");
    assert_eq!(wishes(&desk), [Wish::Restart(key("coder"))]);
}

#[test]
fn a_dead_letter_is_tried_again_at_once_and_dropped_only_after_a_question() {
    let mut desk = opened(WIDE);
    desk.keys("<down><down><down><down>t");
    assert_eq!(wishes(&desk), [Wish::RetryLetter(7)]);
    desk.keys("<down>D");
    assert!(desk.shows("Drop letter 12?") && desk.shows("it was to run the program that calls you for ACME-12"));
    desk.keys("<enter>");
    assert_eq!((desk.app.place(), wishes(&desk).len()), (Place::Operator, 1));
    desk.keys("Dy");
    assert_eq!(wishes(&desk)[1..], [Wish::DropLetter(12)]);
    desk.keys("<home>tD");
    assert_eq!((desk.app.place(), wishes(&desk).len()), (Place::Operator, 2), "a decision is no letter");
}

#[test]
fn the_call_to_a_dead_letter_leads_to_the_letter() {
    let mut desk = Desk::new(WIDE);
    let mut home = snapshot();
    let call = EscalationRow { id: "e9".to_owned(), letter: Some(12), agent: None, ..home.escalations[0].clone() };
    home.escalations = vec![call];
    desk.look(home.clone()).keys("3<enter>");
    assert_eq!(desk.app.page, Page::Operator);
    home.operator = Some(concluded());
    desk.look(home).keys("t");
    assert_eq!(wishes(&desk), [Wish::RetryLetter(12)]);
    desk.keys("x");
    assert!(matches!(desk.effects.last(), Some(Effect::Explain(_, What::Escalation(id))) if id == "e9"));
}

#[test]
fn the_selection_stays_on_its_row_when_rows_come_and_go() {
    let mut desk = opened(WIDE);
    desk.keys("<down><down><down><down><down>");
    let mut page = concluded();
    page.rules.remove(2);
    page.letters.remove(0);
    page.rules.insert(0, RuleRow { target: "agent:acme-12/new".to_owned(), ..page.rules[0].clone() });
    desk.look(with(page)).keys("t");
    assert_eq!(wishes(&desk), [Wish::RetryLetter(12)]);
}

#[test]
fn it_is_narrowed_as_one_types() {
    let mut desk = opened(WIDE);
    desk.keys("/審");
    let drawn = desk.drawn();
    assert!(drawn.contains("Rules 1 of 4") && drawn.contains("Dead letters 0 of 2"), "{drawn}");
    assert!(drawn.contains("Restarts used 1 of 3") && !drawn.contains("coder, ACME-12"), "{drawn}");
    desk.keys("<enter><esc>");
    assert!(desk.app.page == Page::Operator && desk.shows("Rules 4"), "esc clears the filter first");
    desk.keys("<esc>");
    assert_eq!(desk.app.page, Page::Home);
}

#[test]
fn countdowns_move_in_steps_of_five_seconds() {
    let mut desk = opened(WIDE);
    assert!(desk.shows("in 45s") && desk.shows("next in 45s"));
    let drawn = desk.drawn();
    desk.pass(Duration::from_secs(4));
    assert_eq!(desk.drawn(), drawn, "not more often than once in five seconds");
    desk.pass(Duration::from_secs(1));
    assert!(desk.shows("in 40s") && !desk.shows("in 45s"), "{}", desk.drawn());
    desk.pass(Duration::from_secs(45));
    let drawn = desk.drawn();
    assert!(drawn.contains(" due") && !drawn.contains("in now") && drawn.contains("next at once"), "{drawn}");
    let nobody = Facts { supervisor: None, ..snapshot().facts };
    let mut desk = opened(WIDE);
    assert!(desk.shows("again 25m"));
    desk.look(Snapshot { facts: nobody, ..with(concluded()) });
    assert!(!desk.shows("again 25m"), "nobody is there who would call: {}", desk.drawn());
}

#[test]
fn thousands_of_decisions_scroll_like_ten() {
    let mut page = concluded();
    let one = page.rules[2].clone();
    page.rules = (0..10_000).map(|n| RuleRow { target: format!("agent:w/{n}"), ..one.clone() }).collect();
    let mut desk = Desk::new((80, 24));
    desk.keys("O").look(with(page)).keys("<end>");
    assert!(desk.shows("Restarts used 3") && !desk.shows("│ mode"), "{}", desk.drawn());
    desk.keys("<home>");
    assert!(desk.shows("│ mode") && desk.shows("Rules 10000"), "{}", desk.drawn());
}

#[test]
fn who_has_the_lease_is_said_and_what_is_so_while_nobody_has_it() {
    let lease = |change: fn(&mut Snapshot)| {
        let mut home = with(concluded());
        change(&mut home);
        let mut desk = Desk::new(WIDE);
        desk.pass(Duration::from_secs(10)).keys("O").look(home);
        let drawn = desk.drawn();
        drawn.lines().find(|line| line.starts_with("│ lease")).unwrap().trim_matches(['│', ' ']).to_owned()
    };
    assert_eq!(lease(|_| {}), "lease     ours, since 15m");
    let other: fn(&mut Snapshot) =
        |home| home.facts.supervisor = Some(Supervising { pid: 42, ours: false, since: before(900), behind: false });
    assert_eq!(lease(other), "lease     process 42, since 15m; this console observes");
    let hangs: fn(&mut Snapshot) = |home| home.facts.troubles.extend([Trouble::Hangs(42, before(120))]);
    assert_eq!(lease(hangs), "lease     process 42 has it and has not responded for 2m: nothing is done");
    let nobody: fn(&mut Snapshot) = |home| home.facts.supervisor = None;
    assert!(lease(nobody).contains("nobody: nothing is observed, restarted or delivered"));
}

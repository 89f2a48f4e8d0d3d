//! What is counted down in the rows: a restart that is decided, a cooldown, a silence, when something is due.

use std::time::Duration;

use metawsm::console::app::{App, Opening};
use metawsm::console::msg::{Msg, Time};
use metawsm::console::screens::draw;
use metawsm::console::theme::{Palette, Theme};
use metawsm::domain::agent::{AgentStatus, Held};
use metawsm::domain::policy::RuleMode;
use metawsm::services::snapshot::{AgentRow, EscalationRow, Facts, Look, Snapshot};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::console_world::{Desk, agent, before, snapshot};

fn counted() -> Snapshot {
    let soon = |name: &str, status: AgentStatus| agent("run-1", name, status);
    let ahead = |seconds: i64| Some(before(-seconds));
    let held = Held { by: "kim".to_owned(), since: before(100), reason: None };
    let agents = vec![
        AgentRow { restart_at: ahead(38), ..soon("coder", AgentStatus::Dead) },
        AgentRow { restart_at: ahead(-3), ..soon("late", AgentStatus::Failed) },
        AgentRow { cooldown_until: ahead(200), ..soon("cool", AgentStatus::Dead) },
        AgentRow { quiet_until: ahead(740), ..soon("quiet", AgentStatus::Running) },
        AgentRow { held: Some(held), restart_at: ahead(90), ..soon("held", AgentStatus::Dead) },
        AgentRow { quiet_until: ahead(-1), cooldown_until: ahead(50), ..soon("plain", AgentStatus::Running) },
    ];
    let call = |id: &str, acknowledged: bool, due: Option<i64>| EscalationRow {
        id: id.to_owned(),
        acknowledged,
        due_at: due.and_then(ahead),
        reason: format!("{id} needs you"),
        ..snapshot().escalations.remove(0)
    };
    let escalations =
        vec![call("soon", false, Some(1640)), call("over", false, Some(-200)), call("asleep", true, Some(11_000))];
    let facts = Facts { operator: "off".to_owned(), ..snapshot().facts };
    Snapshot { agents, escalations, facts, ..snapshot() }
}

#[test]
fn what_comes_next_stands_in_the_row() {
    for size in [(160, 45), (100, 30), (60, 20)] {
        let mut desk = Desk::empty(size);
        desk.look(counted()).keys("2");
        for words in ["restart in 40s", "restart due", "cooldown 3m", "quiet 12m more", "held by kim"] {
            assert!(desk.shows(words), "{words} at {size:?}:\n{}", desk.drawn());
        }
        insta::assert_snapshot!(format!("console_soon_{}x{}", size.0, size.1), desk.drawn());
        desk.keys("3");
        for words in ["due 27m", "overdue 3m", "silent 3h"] {
            assert!(desk.shows(words), "{words} at {size:?}:\n{}", desk.drawn());
        }
    }
}

#[test]
fn where_there_is_no_room_that_it_is_held_stands_for_how_it_is() {
    let mut desk = Desk::empty((80, 24));
    desk.look(counted()).keys("2");
    let row = desk.drawn().lines().find(|line| line.contains(" held ")).unwrap().to_owned();
    assert!(row.matches("held").count() == 2 && !row.contains("dead"), "{row}");
}

#[test]
fn what_is_only_offered_is_not_promised() {
    let mut desk = Desk::empty((160, 45));
    let assist = Facts { operator: "assist".to_owned(), ..counted().facts };
    desk.look(Snapshot { facts: assist.clone(), ..counted() });
    assert!(desk.shows("offer in 40s") && !desk.shows("restart in"), "{}", desk.drawn());
    assert!(desk.shows("offer due"), "{}", desk.drawn());
    // What the policy says of the rule goes before the mode.
    desk.look(Snapshot { facts: Facts { restart_rule: Some(RuleMode::Act), ..assist }, ..counted() });
    assert!(desk.shows("restart in 40s"));
    let suggest = Facts { restart_rule: Some(RuleMode::Suggest), ..counted().facts };
    desk.look(Snapshot { facts: suggest, ..counted() });
    assert!(desk.shows("offer in 40s"));
}

#[test]
fn where_nobody_supervises_no_restart_is_counted_down() {
    let mut desk = Desk::empty((160, 45));
    let nobody = Facts { supervisor: None, ..counted().facts };
    desk.look(Snapshot { facts: nobody, ..counted() }).keys("2");
    assert!(!desk.shows("restart in") && !desk.shows("restart due"), "{}", desk.drawn());
    assert!(desk.shows("cooldown 3m") && desk.shows("quiet 12m more") && desk.shows("held by kim"));
}

/// Countdowns move together with the ages, and not more often than every five seconds.
#[test]
fn a_countdown_moves_with_the_ages() {
    let theme = Theme { palette: Palette::None, deep: false, ascii: false };
    let at = |seconds: u64| Time {
        now: before(0).plus(Duration::from_secs(seconds)),
        up: Duration::from_secs(100 + seconds),
    };
    let mut app = App::new(theme, Opening::default(), at(0), (160, 45));
    app.update(Msg::Look(Look::Changed(std::sync::Arc::new(counted()))), at(0));
    let shown = |app: &App| {
        let mut terminal = Terminal::new(TestBackend::new(160, 45)).unwrap();
        terminal.draw(|frame| draw(app, frame)).unwrap();
        terminal.backend().to_string()
    };
    let first = shown(&app);
    assert!(first.contains("restart in 40s"));
    for seconds in 1..5 {
        app.update(Msg::Tick, at(seconds));
        assert_eq!(shown(&app), first, "nothing is drawn again after {seconds} s");
    }
    app.update(Msg::Tick, at(5));
    assert!(shown(&app).contains("restart in 35s"), "{}", shown(&app));
}

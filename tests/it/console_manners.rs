//! How the console says things: what is known already, what is overdue, what is cut, what is left unsaid.

use std::time::Duration;

use metawsm::domain::agent::{AgentStatus, Health};
use metawsm::domain::run::RunStatus;
use metawsm::services::snapshot::{AgentRow, EscalationRow, Facts, Outbox, RunRow, Snapshot, ThreadRow, Trouble};

use super::console_seat::{Seat, bin, home};
use super::console_world::{Desk, before, page, run, snapshot, thread};
use super::harness::wait_for;
use metawsm::console::action::Action;
use metawsm::console::msg::Msg;
use metawsm::console::screens::draw;
use metawsm::console::theme::{Palette, Theme};
use metawsm::services::handle;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const WIDE: (u16, u16) = (160, 45);

fn escalation(id: &str, reason: &str) -> EscalationRow {
    EscalationRow { id: id.to_owned(), reason: reason.to_owned(), ..snapshot().escalations[0].clone() }
}

#[test]
fn an_acknowledged_escalation_neither_calls_nor_offers_to_be_acknowledged() {
    let known = EscalationRow {
        acknowledged: true,
        due_at: Some(before(-1700)),
        ..escalation("e2", "the planner waits for a key")
    };
    let mut desk = Desk::new(WIDE);
    desk.look(Snapshot { escalations: vec![escalation("e1", "coder dead"), known.clone()], ..snapshot() }).keys("3");
    assert!(desk.shows("Escalations (1) · 1 acknowledged · 1 sug"), "{}", desk.drawn());
    assert!(desk.shows("silent 28m"));
    assert!(desk.app.can(Action::Acknowledge));
    desk.keys("<down>");
    assert!(!desk.app.can(Action::Acknowledge) && desk.app.can(Action::Resolve));
    assert!(!desk.shows("K acknowledge"));
    // What it was silent until is over: it calls again.
    let again = EscalationRow { due_at: Some(before(60)), ..known };
    desk.look(Snapshot { escalations: vec![again], ..snapshot() });
    assert!(desk.shows("Escalations (1)") && desk.shows("overdue 1m") && desk.app.can(Action::Acknowledge));
}

#[test]
fn what_is_overdue_says_for_how_long() {
    let late = ThreadRow { due_at: Some(before(300)), ..thread("t1", "which schema?", Some(2100)) };
    let soon = thread("t2", "which table?", Some(180));
    let mut home = snapshot();
    home.queues.needs_me.rows = vec![late, soon];
    home.escalations[0].due_at = Some(before(-1620));
    let mut desk = Desk::new(WIDE);
    desk.look(home);
    assert!(desk.shows("overdue 5m") && desk.shows("due 27m"), "{}", desk.drawn());
    // What presses calls at once: it is not overdue from its first second.
    let at_once = ThreadRow { due_at: Some(before(60)), ..thread("t1", "which schema?", Some(60)) };
    let mut home = snapshot();
    home.queues.needs_me.rows = vec![at_once];
    desk.look(home);
    assert!(desk.shows("waiting 1m") && !desk.shows("overdue"));
}

#[test]
fn the_ticket_is_the_last_thing_to_be_cut() {
    let mut desk = Desk::new((120, 30));
    let runs = (1..=8).map(|n| RunRow {
        steps: (12, 14),
        ..run(&format!("run-{n}"), &format!("ACME-1{n}"), RunStatus::Completed, &[AgentStatus::Done; 4], 0)
    });
    desk.look(Snapshot { runs: runs.collect(), ..snapshot() });
    let drawn = desk.drawn();
    for n in 1..=8 {
        assert!(drawn.contains(&format!("ACME-1{n} ")), "{drawn}");
    }
}

#[test]
fn what_a_supervisor_that_hangs_saw_is_shown_as_not_known() {
    let mut desk = Desk::new((160, 45));
    let states = [AgentStatus::Running, AgentStatus::Stalled, AgentStatus::Dead];
    let runs = vec![run("run-1", "ACME-1", RunStatus::Running, &states, 0)];
    let stalled = |row: &AgentRow| AgentRow { status: AgentStatus::Stalled, health: Health::Stalled, ..row.clone() };
    let agents: Vec<AgentRow> = snapshot().agents.iter().map(stalled).collect();
    let seen = |ago: i64| -> Vec<AgentRow> {
        let at = |row: &AgentRow| AgentRow { last_seen_at: Some(before(ago)), since: before(600), ..row.clone() };
        agents.iter().map(at).collect()
    };
    desk.look(Snapshot { runs: runs.clone(), agents: seen(1), ..snapshot() });
    assert!(desk.shows("●▲✖") && desk.shows(&format!("{} stalled", agents.len())), "{}", desk.drawn());
    let facts = Facts { troubles: [Trouble::Hangs(4711, before(30))].into(), ..snapshot().facts };
    desk.look(Snapshot { runs, agents: seen(30), facts, ..snapshot() });
    let drawn = desk.drawn();
    assert!(
        drawn.contains("supervisor (process 4711) not responding since") && drawn.contains("kill -CONT 4711"),
        "{drawn}"
    );
    assert!(drawn.contains("○○✖") && !drawn.contains(" stalled"), "{drawn}");
}

#[test]
fn a_long_banner_is_wrapped_and_all_of_it_is_behind_a_key() {
    let reason = format!("policy.json:3: {} the end of it", "agents[0].profile names no profile, ".repeat(12));
    let facts = Facts { troubles: [Trouble::Policy(reason)].into(), ..snapshot().facts };
    for size in [(160, 45), (80, 24), (60, 20)] {
        let mut desk = Desk::new(size);
        desk.look(Snapshot { facts: facts.clone(), ..snapshot() });
        let first = desk.drawn().lines().position(|line| line.contains("1 Runs ")).unwrap();
        assert_eq!(first, 4, "the header and three lines of the banner:\n{}", desk.drawn());
        assert!(desk.shows("m tells all"));
        desk.keys("m");
        for _ in 0..20 {
            desk.keys("<down>");
        }
        assert!(desk.shows("the end of it"), "{}", desk.drawn());
        desk.keys("x");
        assert!(!desk.shows("Messages"));
    }
}

#[test]
fn what_was_said_can_be_read_later_and_in_full() {
    let mut desk = Desk::new((80, 24));
    let message = format!("{} and that is why", "git could not ".repeat(20));
    desk.tell(Msg::Done(1, Err(handle::Trouble { message, hint: None, undone: vec![] })));
    assert!(desk.shows("m tells all   esc dismisses") && !desk.shows("and that is why"));
    desk.keys("<esc>m");
    assert!(desk.shows("and that is why"), "{}", desk.drawn());
}

#[test]
fn a_terminal_that_is_too_small_is_told_so_in_what_room_there_is() {
    for (size, words) in [
        ((39, 12), "metawsm needs 40×10, here are 39×12"),
        ((20, 5), "needs 40×10, is 20×5"),
        ((12, 5), "needs 40×10"),
        ((5, 5), "40×10"),
    ] {
        let desk = Desk::new(size);
        assert_eq!(desk.drawn().lines().next(), Some(words), "{size:?}");
    }
}

#[test]
fn the_reason_fits_what_is_now() {
    let mut desk = Desk::new(WIDE);
    let mut home = snapshot();
    home.runs = vec![
        RunRow { reason: "the question was settled".to_owned(), ..run("run-1", "A-1", RunStatus::Running, &[], 0) },
        RunRow { reason: "closed".to_owned(), ..run("run-2", "A-2", RunStatus::Closed, &[], 0) },
        RunRow { reason: "step setup failed".to_owned(), ..run("run-3", "A-3", RunStatus::Failed, &[], 0) },
    ];
    home.agents.retain(|agent| agent.key.name == "coder");
    desk.look(home.clone());
    assert!(desk.shows("run-1: coder is dead") && !desk.shows("settled"), "{}", desk.drawn());
    home.agents.clear();
    desk.look(home);
    assert!(!desk.shows("settled") && !desk.shows("run-1:"));
    desk.keys("<down><enter>");
    assert!(desk.shows("✓ closed ") && !desk.shows("closed · closed"), "{}", desk.drawn());
    desk.keys("<esc><down>");
    assert!(desk.shows("run-3: step setup failed"));
}

#[test]
fn the_lease_is_not_called_free_before_it_was_asked_for() {
    let mut desk = Desk::empty(WIDE);
    let free = Snapshot { facts: Facts { supervisor: None, ..snapshot().facts }, ..snapshot() };
    desk.look(free.clone());
    assert!(!desk.shows("lease"));
    desk.later(Duration::from_secs(4)).look(free);
    assert!(desk.shows("lease free"));
}

#[test]
fn the_header_tells_what_is_stuck_in_the_outbox_as_long_as_there_is_any_room() {
    let header = |size, outbox| {
        let mut desk = Desk::new(size);
        desk.look(Snapshot { outbox, ..snapshot() });
        desk.drawn().lines().next().unwrap().trim_end().to_owned()
    };
    let waits = |waiting, seconds| Outbox { waiting, oldest_at: Some(before(seconds)), ..Outbox::default() };
    assert!(header(WIDE, Outbox::default()).ends_with(" · outbox 0"));
    assert!(header(WIDE, waits(2, 30)).ends_with(" · outbox 2"));
    assert!(header(WIDE, waits(2, 90)).ends_with(" · outbox 2, oldest 1m"));
    assert!(header(WIDE, Outbox { failed: 1, ..waits(3, 30) }).ends_with(" · outbox 3, 1 failed"));
    let dead = Outbox { failed: 1, dead: 2, ..waits(3, 90) };
    assert!(header(WIDE, dead).ends_with(" · outbox 5, 2 dead"));
    assert!(header((60, 20), dead).ends_with(" outbox 5, 2 dead"), "{}", header((60, 20), dead));
    assert!(!header((60, 20), waits(2, 30)).contains("outbox"));
    // Loud only where a human is needed.
    let tone = |outbox| {
        let mut desk = Desk::new(WIDE);
        desk.app.theme.palette = Palette::Dark;
        desk.look(Snapshot { outbox, ..snapshot() });
        let mut terminal = Terminal::new(TestBackend::new(WIDE.0, WIDE.1)).unwrap();
        terminal.draw(|frame| draw(&desk.app, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let at = |x: u16| buffer.cell((x, 0)).unwrap();
        let place = (0..WIDE.0 - 3).find(|x| [0, 1, 2].map(|n| at(x + n).symbol()).concat() == "out").unwrap();
        at(place).style()
    };
    let styles = [Outbox::default(), waits(2, 90), dead].map(tone);
    let theme = Theme { palette: Palette::Dark, deep: false, ascii: false };
    let wanted = [theme.dim(), theme.warn(), theme.bad()].map(|style| (style.fg, style.add_modifier));
    assert_eq!(styles.map(|style| (style.fg, style.add_modifier)), wanted);
}

/// Drawn piece by piece or all anew, a real terminal shows the same.
#[test]
fn flags_and_families_leave_nothing_behind() {
    let titles = [
        "plain one",
        "🇩🇪🇫🇷 which flag?",
        "👨\u{200d}👩\u{200d}👧 whose family?",
        "👍🏽❤\u{fe0f}1\u{fe0f}\u{20e3} liked",
        "🏳\u{fe0f}\u{200d}🌈\u{1fae8} new",
    ];
    let seat = Seat::new((100, 30), |server| {
        let dir = home(server);
        let asks: Vec<String> = titles
            .iter()
            .map(|title| format!("{} forum ask --ticket API-1 --title '{title}' --body b >ask.log 2>&1", bin()))
            .collect();
        format!("cd {} && {} init >/dev/null 2>&1; {}; {}", dir.display(), bin(), asks.join("; "), bin())
    });
    seat.sees("4 Forum");
    seat.types(&["4", "Right", "Right", "Right"]);
    seat.sees("plain one");
    seat.sees("DEFR which flag?");
    seat.types(&["-l", "/plain"]);
    seat.sees("/ plain");
    seat.types(&["Enter"]);
    seat.sees("found 1");
    seat.sees("? help");
    // Who has the lease is said as soon as it is known.
    let below = || seat.text().split_once('\n').map(|(_, rest)| rest.to_owned());
    let stepwise = below();
    assert!(stepwise.as_ref().is_some_and(|text| !text.contains("family")), "{stepwise:?}");
    seat.types(&["C-l"]);
    seat.types(&["-l", "?"]);
    seat.sees("any other key closes");
    seat.types(&["x"]);
    seat.sees("plain one");
    assert_eq!(below(), stepwise);
    seat.types(&["q"]);
}

#[test]
fn the_terminals_own_title_comes_back() {
    let seat = Seat::new((100, 30), |server| {
        format!("printf '\\033]2;mine\\007'; cd {} && {}", home(server).display(), bin())
    });
    let title = || seat.server.raw(&["display-message", "-p", "-t", "=seat:", "#{pane_title}"]).trim().to_owned();
    seat.sees("No run yet");
    wait_for("our title", || (title() == "metawsm").then_some(()));
    seat.types(&["q"]);
    seat.sees("back 0");
    assert_eq!(title(), "mine");
}

#[test]
fn what_was_not_done_is_not_ticked_off() {
    let mut desk = Desk::new(WIDE);
    desk.keys("C");
    assert!(desk.shows(" close: only a completed run") && !desk.shows("✓ close"));
    desk.tell(Msg::Done(1, Ok("run-1 is paused".to_owned())));
    assert!(desk.shows("✓ run-1 is paused"));
}

#[test]
fn a_long_title_leaves_room_for_what_the_thread_is_and_stands_in_full_below() {
    let mut desk = Desk::new((80, 24));
    let mut open = page("t1");
    open.thread.title = "which schema for the outbox, ".repeat(4) + "and why?";
    desk.keys("4<enter>").look(Snapshot { thread: Some(open), ..snapshot() }).keys("<home>");
    let drawn = desk.drawn();
    assert!(drawn.contains("… · ACME-12 · planner · waiting human · high ─"), "{drawn}");
    assert!(drawn.contains("and why?"), "{drawn}");
}

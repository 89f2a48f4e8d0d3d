//! P12: a frame.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use metawsm::console::app::{App, Opening};
use metawsm::console::msg::{Msg, Time};
use metawsm::console::screens::draw;
use metawsm::console::theme::{Palette, Theme};
use metawsm::domain::agent::{AgentKey, AgentStatus, Health, WaitingFor};
use metawsm::domain::run::RunStatus;
use metawsm::domain::thread::{Priority, ThreadState};
use metawsm::domain::time::Moment;
use metawsm::services::snapshot::{AgentRow, Facts, Look, Queue, Queues, RunRow, Snapshot, ThreadRow};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::median;

const NOW: Moment = Moment::from_millis(1_795_248_000_000);

fn app(snapshot: Snapshot) -> App {
    let theme = Theme { palette: Palette::Dark, deep: true, ascii: false };
    let mut app = App::new(theme, Opening::default(), Time { now: NOW, up: Duration::ZERO }, (200, 50));
    app.update(Msg::Look(Look::Changed(Arc::new(snapshot))), Time { now: NOW, up: Duration::ZERO });
    app
}

/// P12: a frame of 200×50 with 50 and with 50,000 rows in every list; with it a key that moves the selection.
pub fn measure() {
    let mut times = Vec::new();
    for rows in [50, 50_000] {
        let mut app = app(snapshot(rows));
        let mut terminal = Terminal::new(TestBackend::new(200, 50)).unwrap();
        let (mut frames, mut keys) = (Vec::new(), Vec::new());
        for turn in 0..400_u64 {
            let began = Instant::now();
            let key = KeyEvent::new(KeyCode::Down, KeyModifiers::NONE);
            black_box(app.update(Msg::Key(key), Time { now: NOW, up: Duration::from_millis(turn) }));
            keys.push(began.elapsed());
            let began = Instant::now();
            terminal.draw(|frame| draw(&app, frame)).unwrap();
            frames.push(began.elapsed());
        }
        let (frame, key) = (median(frames), median(keys));
        println!("frame 200x50, {rows:>6} rows: draw p50 {frame:?}, key p50 {key:?}");
        times.push(frame);
    }
    let ratio = times[1].as_secs_f64() / times[0].as_secs_f64();
    println!("P12 frame with 50,000 rows / with 50: {ratio:.2} (must be <= 1.3)");
    assert!(ratio <= 1.3, "P12");
}

fn snapshot(rows: usize) -> Snapshot {
    let run = |at: usize| RunRow {
        run_id: format!("run-{at:06}"),
        tickets: vec![format!("ACME-{at}")],
        status: RunStatus::Running,
        reason: "the plan is being executed".to_owned(),
        dry_run: false,
        steps: (3, 4),
        agents: vec![(AgentStatus::Running, WaitingFor::None); 3],
        questions: 0,
        updated_at: NOW,
        last_seq: 1,
    };
    let agent = |at: usize| AgentRow {
        key: AgentKey::new("run-000000", "acme", format!("agent-{at:06}")),
        ticket: "ACME-0".to_owned(),
        session: "agent-acme".to_owned(),
        status: AgentStatus::Running,
        health: Health::Healthy,
        waiting_for: WaitingFor::None,
        reason: "started".to_owned(),
        since: NOW,
        exit: None,
        last_output_at: Some(NOW),
        last_seen_at: Some(NOW),
        last_progress_at: Some(NOW),
        restarts: (0, 3),
        held: None,
        restart_at: None,
        cooldown_until: None,
        quiet_until: None,
        launch: 1,
        may_live: true,
        starting: false,
    };
    let thread = |at: usize| ThreadRow {
        thread_id: format!("t{at}"),
        title: format!("which schema for table {at}?"),
        ticket: "ACME-0".to_owned(),
        run_id: Some("run-000000".to_owned()),
        agent: None,
        opened_by: "planner".to_owned(),
        state: ThreadState::WaitingHuman,
        priority: Priority::Normal,
        waiting_since: Some(NOW),
        due_at: Some(NOW),
        unseen: true,
        control: false,
        assignee: None,
        snippet: None,
        updated_at: NOW,
    };
    let queue = || Queue { rows: (0..rows).map(thread).collect(), more: false, total: rows };
    Snapshot {
        runs: (0..rows).map(run).collect(),
        agents: (0..rows).map(agent).collect(),
        queues: Queues { needs_me: queue(), unseen: queue(), assigned: queue(), all: queue(), waiting: rows },
        facts: Facts::default(),
        ..Snapshot::default()
    }
}

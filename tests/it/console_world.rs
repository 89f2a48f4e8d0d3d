//! What the tests of the console share: a home as it might stand, a screen to draw on, keys to press.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use metawsm::console::app::{App, Opening, READ_FOR};
use metawsm::console::keymap::Place;
use metawsm::console::msg::{Effect, Msg, Time};
use metawsm::console::screens::draw;
use metawsm::console::theme::{Palette, Theme};
use metawsm::domain::actor::{ActorType, Side};
use metawsm::domain::agent::{AgentKey, AgentStatus, Health, WaitingFor};
use metawsm::domain::run::RunStatus;
use metawsm::domain::signal::{Signal, SignalType};
use metawsm::domain::thread::{Post, Priority, Thread, ThreadState};
use metawsm::domain::time::Moment;
use metawsm::services::handle::Wish;
use metawsm::services::live::Screen;
use metawsm::services::snapshot::{
    AgentRow, EscalationRow, Facts, Look, Outbox, Queue, Queues, RunRow, Snapshot, SuggestionRow, Supervising,
    ThreadPage, ThreadRow,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

pub const HOSTILE: &str = "a\u{1b}[31m\u{202e}red\u{9b}2J\u{7}\nb\t日本語 🎉";

/// So many seconds before the tests' now.
pub fn before(seconds: i64) -> Moment {
    Moment::from_millis(1_795_248_000_000 - seconds * 1000)
}

pub fn run(id: &str, ticket: &str, status: RunStatus, agents: &[AgentStatus], questions: usize) -> RunRow {
    RunRow {
        run_id: id.to_owned(),
        tickets: vec![ticket.to_owned()],
        status,
        reason: "the plan is being executed".to_owned(),
        dry_run: false,
        steps: (2, 3),
        agents: agents.iter().map(|status| (*status, WaitingFor::None)).collect(),
        questions,
        updated_at: before(840),
        last_seq: 40,
    }
}

pub fn agent(run: &str, name: &str, status: AgentStatus) -> AgentRow {
    AgentRow {
        key: AgentKey::new(run, "acme-12", name),
        ticket: "ACME-12".to_owned(),
        session: format!("{name}-acme-12"),
        status,
        health: if status.working() { Health::Healthy } else { Health::Dead },
        waiting_for: WaitingFor::None,
        reason: format!("{status} because of {HOSTILE}"),
        since: before(240),
        exit: (status == AgentStatus::Dead).then(|| "137".to_owned()),
        last_output_at: Some(before(4)),
        last_seen_at: Some(before(1)),
        last_progress_at: Some(before(65)),
        restarts: (1, 3),
        held: None,
        restart_at: None,
        cooldown_until: None,
        quiet_until: None,
        launch: 2,
        may_live: status.working(),
        starting: false,
    }
}

pub fn thread(id: &str, title: &str, waiting: Option<i64>) -> ThreadRow {
    ThreadRow {
        thread_id: id.to_owned(),
        title: title.to_owned(),
        ticket: "ACME-12".to_owned(),
        run_id: Some("run-1".to_owned()),
        agent: Some(AgentKey::new("run-1", "acme-12", "planner")),
        opened_by: "planner".to_owned(),
        state: if waiting.is_some() { ThreadState::WaitingHuman } else { ThreadState::Answered },
        priority: Priority::Normal,
        waiting_since: waiting.map(before),
        due_at: waiting.map(|seconds| before(seconds).plus(Duration::from_secs(1800))),
        assignee: None,
        snippet: None,
        unseen: waiting.is_some(),
        control: false,
        updated_at: before(100),
    }
}

pub fn page(id: &str) -> ThreadPage {
    let post = |seq: i64, kind, name: &str, body: &str, signal| Post {
        post_id: format!("p{seq}"),
        thread_id: id.to_owned(),
        seq,
        author_type: kind,
        author_name: name.to_owned(),
        writer: None,
        body: body.to_owned(),
        created_at: before(90_000 / seq),
        signal,
        in_reply_to: None,
    };
    let ask = Signal {
        question: Some("one table, or two?".to_owned()),
        context: Some(HOSTILE.to_owned()),
        ..Signal::new(SignalType::GuidanceRequest, "run-1", "acme-12", "planner", 1)
    };
    ThreadPage {
        thread: Thread {
            thread_id: id.to_owned(),
            ticket: "ACME-12".to_owned(),
            run_id: Some("run-1".to_owned()),
            workspace: Some("acme-12".to_owned()),
            agent_name: Some("planner".to_owned()),
            title: "which schema for the outbox?".to_owned(),
            state: ThreadState::WaitingHuman,
            priority: Priority::High,
            assignee_type: None,
            assignee_name: None,
            opened_by_type: ActorType::Agent,
            opened_by_name: "planner".to_owned(),
            posts_count: 3,
            last_post_at: None,
            last_post_by_type: None,
            last_post_by_name: None,
            last_event_sequence: 30,
            last_actor_type: None,
            opened_at: before(90_000),
            updated_at: before(100),
            closed_at: None,
            control: false,
            waiting_on: Some(Side::Human),
            waiting_since: Some(before(180)),
            blocking: true,
            epoch: Some(1),
            question: None,
        },
        posts: vec![
            post(1, ActorType::Agent, "planner", &format!("a long question, {}", "word ".repeat(60)), None),
            post(10, ActorType::Human, "kim", "日本語 at ease", None),
            post(30, ActorType::Agent, "planner", "", Some(ask)),
        ],
        deliveries: vec![],
        open: vec!["p30".to_owned()],
        earlier: 0,
        seen_to: 10,
        viewer: "human:kim".to_owned(),
    }
}

pub fn snapshot() -> Snapshot {
    let agents = vec![
        AgentRow { waiting_for: WaitingFor::Guidance, ..agent("run-1", "planner", AgentStatus::Idle) },
        agent("run-1", "coder", AgentStatus::Dead),
        agent("run-1", "審査員", AgentStatus::Stalled),
        agent("run-2", "solo", AgentStatus::Running),
    ];
    let waiting = vec![
        ThreadRow { priority: Priority::High, ..thread("t1", "which schema for the outbox?", Some(180)) },
        thread("t2", HOSTILE, Some(540)),
    ];
    let mut all = waiting.clone();
    all.push(thread("t3", "naming of the lease table", None));
    Snapshot {
        seq: 41,
        runs: vec![
            RunRow {
                agents: vec![(AgentStatus::Idle, WaitingFor::Guidance), (AgentStatus::Dead, WaitingFor::None)],
                ..run("run-1", "ACME-12", RunStatus::AwaitingGuidance, &[], 2)
            },
            run("run-2", "ACME-15", RunStatus::Running, &[AgentStatus::Running], 0),
            run("run-3", "ACME-09", RunStatus::Completed, &[AgentStatus::Done; 9], 0),
        ],
        agents,
        escalations: vec![EscalationRow {
            id: "e1".to_owned(),
            kind: "restarts_used".to_owned(),
            severity: "high".to_owned(),
            acknowledged: false,
            reason: "coder dead, restarts used 3/3".to_owned(),
            ticket: Some("ACME-12".to_owned()),
            run_id: Some("run-1".to_owned()),
            workspace: Some("acme-12".to_owned()),
            agent: Some("coder".to_owned()),
            thread_id: None,
            letter: None,
            opened_at: before(240),
            due_at: None,
            notified: 0,
        }],
        suggestions: vec![SuggestionRow {
            id: "s1".to_owned(),
            offer: "restart 審査員 (1 of 3)".to_owned(),
            reason: "審査員 is stalled".to_owned(),
            target: "agent:acme-12/coder".into(),
            ticket: Some("ACME-12".to_owned()),
            run_id: Some("run-1".to_owned()),
            workspace: Some("acme-12".to_owned()),
            agent: Some("審査員".to_owned()),
            created_at: before(20),
        }],
        queues: Queues {
            needs_me: Queue { total: waiting.len(), rows: waiting.clone(), more: false },
            unseen: Queue { total: waiting.len(), rows: waiting, more: false },
            assigned: Queue::default(),
            all: Queue { total: 4, rows: all, more: true },
            waiting: 2,
        },
        deeper: 0,
        found: None,
        operator: None,
        outbox: Outbox::default(),
        deliveries: vec![],
        thread: None,
        facts: Facts {
            supervisor: Some(Supervising { pid: 7, ours: true, behind: false, since: before(900) }),
            viewer: "kim".to_owned(),
            operator: "assist".to_owned(),
            restart_rule: None,
            keeper: true,
            bell: true,
            desktop: true,
            troubles: Default::default(),
        },
    }
}

/// A console under test.
pub struct Desk {
    pub app: App,
    pub up: Duration,
    pub effects: Vec<Effect>,
}

/// What was wished, in order.
pub fn wishes(desk: &Desk) -> Vec<Wish> {
    let wish = |effect: &Effect| match effect {
        Effect::Do(_, wish) => Some(wish.clone()),
        _ => None,
    };
    desk.effects.iter().filter_map(wish).collect()
}

impl Desk {
    pub fn empty(size: (u16, u16)) -> Self {
        let theme = Theme { palette: Palette::None, deep: false, ascii: false };
        let time = Time { now: before(0), up: Duration::ZERO };
        let opening = Opening { title: "acme".to_owned(), ..Opening::default() };
        Self { app: App::new(theme, opening, time, size), up: Duration::ZERO, effects: Vec::new() }
    }

    pub fn new(size: (u16, u16)) -> Self {
        let mut desk = Self::empty(size);
        desk.look(snapshot());
        desk.effects.clear();
        desk
    }

    pub fn tell(&mut self, msg: Msg) -> &mut Self {
        let effects = self.app.update(msg, Time { now: before(0), up: self.up });
        self.effects.extend(effects);
        self
    }

    pub fn look(&mut self, snapshot: Snapshot) -> &mut Self {
        self.tell(Msg::Look(Look::Changed(Arc::new(snapshot))))
    }

    pub fn screen(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        let key = AgentKey::new("run-1", "acme-12", name);
        self.tell(Msg::Screen(Screen { key, bytes: bytes.to_vec(), kept: false }))
    }

    pub fn later(&mut self, span: Duration) -> &mut Self {
        self.up += span;
        self.tell(Msg::Tick)
    }

    /// Time passes, on both clocks.
    pub fn pass(&mut self, span: Duration) -> &mut Self {
        self.up += span;
        let effects = self.app.update(Msg::Tick, Time { now: before(0).plus(self.up), up: self.up });
        self.effects.extend(effects);
        self
    }

    /// A line of keys: letters as they are, others in angle brackets. A question is read before it is agreed to.
    pub fn keys(&mut self, line: &str) -> &mut Self {
        self.pressed(line, READ_FOR)
    }

    /// A line of keys, one right after the other.
    pub fn rushed(&mut self, line: &str) -> &mut Self {
        self.pressed(line, Duration::ZERO)
    }

    fn pressed(&mut self, line: &str, read_for: Duration) -> &mut Self {
        let mut rest = line;
        while let Some(letter) = rest.chars().next() {
            let (key, length) = match rest.strip_prefix('<').and_then(|named| named.split_once('>')) {
                Some((name, _)) => (named(name), name.len() + 2),
                None => (KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE), letter.len_utf8()),
            };
            if self.app.place() == Place::Dialog && key.code == KeyCode::Char('y') {
                self.up += read_for;
            }
            self.tell(Msg::Key(key));
            rest = &rest[length..];
        }
        self
    }

    /// The draft that was asked for last comes.
    pub fn fetched(&mut self, text: &str) -> &mut Self {
        let asked = |effect: &Effect| match effect {
            Effect::LoadDraft(token, _) => Some(*token),
            _ => None,
        };
        let token = self.effects.iter().rev().find_map(asked).unwrap();
        self.tell(Msg::Draft(token, Some(text.to_owned())))
    }

    pub fn drawn(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(self.app.size.0, self.app.size.1)).unwrap();
        terminal.draw(|frame| draw(&self.app, frame)).unwrap();
        let text = terminal.backend().to_string();
        let plain = |line: &'_ str| {
            let shown = line.rsplit_once("\" Hidden by").map_or(line, |(shown, _)| shown);
            shown.trim_matches('"').trim_end().to_owned()
        };
        let lines: Vec<String> = text.lines().map(plain).collect();
        lines.join("\n")
    }

    pub fn shows(&self, text: &str) -> bool {
        self.drawn().contains(text)
    }
}

fn named(name: &str) -> KeyEvent {
    let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
    match name {
        "enter" => plain(KeyCode::Enter),
        "esc" => plain(KeyCode::Esc),
        "tab" => plain(KeyCode::Tab),
        "backtab" => plain(KeyCode::BackTab),
        "up" => plain(KeyCode::Up),
        "down" => plain(KeyCode::Down),
        "left" => plain(KeyCode::Left),
        "right" => plain(KeyCode::Right),
        "end" => plain(KeyCode::End),
        "home" => plain(KeyCode::Home),
        "pgdn" => plain(KeyCode::PageDown),
        "pgup" => plain(KeyCode::PageUp),
        "bs" => plain(KeyCode::Backspace),
        "a-enter" => KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT),
        other => {
            let letter = other.strip_prefix("c-").and_then(|rest| rest.chars().next()).unwrap();
            KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)
        }
    }
}

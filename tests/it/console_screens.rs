//! Each view at three sizes, as text.

use metawsm::domain::plan::{Step, StepKind, StepSpec, StepStatus};
use metawsm::services::error::Gate;
use metawsm::services::handle::Trouble;
use metawsm::services::snapshot::{EscalationRow, Outbox, RunPage, Snapshot};

use super::console_world::{Desk, HOSTILE, before, page, snapshot};
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::agent::AgentKey;
use metawsm::services::explain::{Explanation, Line as Told, Part, Tone, What};

const SIZES: [(u16, u16); 3] = [(160, 45), (100, 30), (60, 20)];

fn at_all_sizes(view: &str, prepare: impl Fn(&mut Desk)) {
    for (width, height) in SIZES {
        let mut desk = Desk::new((width, height));
        prepare(&mut desk);
        insta::assert_snapshot!(format!("console_{view}_{width}x{height}"), desk.drawn());
    }
}

#[test]
fn home() {
    at_all_sizes("home", |desk| {
        desk.screen("planner", "\u{1b}[32m$ cargo test\u{1b}[0m\nrunning 41 tests\n日本語 ok\u{202e}\n\n".as_bytes());
    });
}

#[test]
fn each_pane_in_focus() {
    for pane in ["2", "3", "4", "5"] {
        at_all_sizes(&format!("pane_{pane}"), |desk| {
            desk.screen("planner", b"$ cargo test").keys(pane);
        });
    }
}

#[test]
fn a_thread_with_a_reply() {
    at_all_sizes("thread", |desk| {
        desk.keys("4<enter>").look(Snapshot { thread: Some(page("t1")), ..snapshot() });
        desk.keys("rtwo tables,<enter>please");
    });
}

#[test]
fn a_runs_page() {
    at_all_sizes("run", |desk| {
        desk.keys("<enter>").tell(Msg::Paged(Ok(Box::new(run_page()))));
    });
}

#[test]
fn why_something_stands_as_it_does() {
    at_all_sizes("explain", |desk| {
        desk.keys("2<down>x");
        let Some(Effect::Explain(token, what)) = desk.effects.last().cloned() else { panic!("{:?}", desk.effects) };
        assert_eq!(what, What::Agent(AgentKey::new("run-1", "acme-12", "coder")));
        assert!(desk.shows("looking it up"));
        desk.tell(Msg::Explained(token, Ok(Box::new(explanation()))));
    });
}

fn explanation() -> Explanation {
    let line = |name: &str, text: &str, tone| Told { name: name.to_owned(), text: text.to_owned(), tone };
    Explanation {
        title: "coder in acme-12 of run-1".to_owned(),
        stands: "idle for 4m, health idle, waits for input: waits for a key: Delete everything?".to_owned(),
        parts: vec![
            Part {
                heading: "Signals",
                lines: vec![
                    line("output", "4m ago (tmux)", Tone::Plain),
                    line("screen", &format!("Delete everything? {HOSTILE} (tmux)"), Tone::Plain),
                ],
            },
            Part {
                heading: "Health: the first rule that fits",
                lines: vec![
                    line("5 limit", "its screen shows something else: Delete everything?", Tone::Not),
                    line("6 waits for a key", &"waits for a key: Delete everything? ".repeat(4), Tone::Fits),
                ],
            },
        ],
        json: serde_json::Value::Null,
    }
}

#[test]
fn dialogs_and_help() {
    at_all_sizes("stop", |desk| {
        desk.keys("S");
    });
    at_all_sizes("help", |desk| {
        desk.keys("?");
    });
}

#[test]
fn an_outbox_that_is_stuck() {
    at_all_sizes("stuck", |desk| {
        let outbox = Outbox { waiting: 3, failed: 1, dead: 2, oldest_at: Some(before(300)) };
        desk.look(Snapshot { outbox, ..snapshot() });
    });
}

#[test]
fn a_home_without_anything() {
    for (width, height) in SIZES {
        let mut desk = Desk::empty((width, height));
        desk.look(Snapshot::default());
        insta::assert_snapshot!(format!("console_empty_{width}x{height}"), desk.drawn());
    }
}

#[test]
fn no_control_character_reaches_the_screen() {
    for keys in ["", "2", "3", "4", "4<enter>", "<enter>"] {
        let mut desk = Desk::new((160, 45));
        desk.screen("planner", HOSTILE.as_bytes()).keys(keys);
        desk.look(Snapshot { thread: Some(page("t1")), ..snapshot() });
        desk.tell(Msg::Paged(Ok(Box::new(run_page()))));
        let drawn = desk.drawn();
        let bad = drawn.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(bad, None, "{drawn}");
    }
}

pub fn run_page() -> RunPage {
    let step = |index: u32, name: &str, status, error: Option<&str>| Step {
        run_id: "run-1".to_owned(),
        spec: StepSpec {
            index,
            name: name.to_owned(),
            kind: StepKind::CreateWorkspace,
            ticket: "ACME-12".to_owned(),
            workspace: "acme-12".to_owned(),
            agent: None,
            argv: Vec::new(),
            paths: Vec::new(),
        },
        status,
        attempts: 2,
        error: error.map(str::to_owned),
        started_at: None,
        finished_at: None,
    };
    let gate = |name, ok, reason: &str, mend: Option<&str>| Gate {
        name,
        ok,
        reason: reason.to_owned(),
        mend: mend.map(str::to_owned),
    };
    RunPage {
        run_id: "run-1".to_owned(),
        seq: 40,
        steps: vec![
            step(1, "verify-ticket-acme-12", StepStatus::Done, None),
            step(
                2,
                "create-workspace-acme-12",
                StepStatus::Failed,
                Some("the branch task/acme-12 is checked out elsewhere"),
            ),
        ],
        step_retries: 0,
        gates: Ok(vec![
            gate("completed", false, "the run is running", Some("metawsm wait --run-id run-1 --for completed")),
            gate("clean", true, "every worktree is clean", None),
        ]),
        brief: None,
        repos: vec![("api".to_owned(), "main".to_owned())],
        pull_requests: vec![],
        feedback: vec![],
        docs: vec![("ACME-12".to_owned(), "acme-12/api/ttmp/2026/11/20/ACME-12--outbox".to_owned(), true)],
        events: vec![(before(300), "the run began".to_owned()), (before(60), HOSTILE.to_owned())],
    }
}

/// All views there are, by the keys that lead to them.
const VIEWS: [&str; 10] = ["", "2", "3", "4", "5", "<enter>", "4<enter>", "4<enter>r", "A", "4<right>/x"];

#[test]
fn in_ascii_nothing_else_is_on_the_screen() {
    for (size, keys) in SIZES.iter().flat_map(|size| VIEWS.map(|keys| (*size, keys))) {
        for over in ["", "?", "m", "S", "q"] {
            let mut desk = Desk::new(size);
            desk.app.theme.ascii = true;
            desk.look(plain(snapshot())).screen("planner", b"$ cargo test\nok\n").keys(keys);
            desk.look(plain(Snapshot { thread: Some(page("t1")), ..snapshot() }));
            desk.tell(Msg::Paged(Ok(Box::new(plain_page(run_page())))));
            desk.tell(Msg::Done(
                9,
                Err(Trouble { message: "it broke ".repeat(40), hint: Some("mend it".to_owned()), undone: vec![] }),
            ));
            desk.keys(over);
            let drawn = desk.drawn();
            let other: Vec<char> = drawn.chars().filter(|c| !c.is_ascii()).collect();
            assert!(other.is_empty(), "{size:?} {keys} {over}: {other:?}\n{drawn}");
        }
    }
}

/// The same home, as people who write ASCII would have it.
fn plain(mut home: Snapshot) -> Snapshot {
    for agent in &mut home.agents {
        agent.key.name = agent.key.name.replace("審査員", "reviewer");
        agent.session = agent.session.replace("審査員", "reviewer");
        agent.reason = "exited with 1".to_owned();
    }
    for suggestion in &mut home.suggestions {
        suggestion.offer = "restart reviewer (1 of 3)".to_owned();
        suggestion.reason = "reviewer is stalled".to_owned();
    }
    let queues = &mut home.queues;
    for queue in [&mut queues.needs_me, &mut queues.unseen, &mut queues.all] {
        for row in &mut queue.rows {
            row.title = row.title.replace(HOSTILE, "retry policy");
        }
    }
    for post in home.thread.iter_mut().flat_map(|page| &mut page.posts) {
        post.body = post.body.replace("日本語", "all");
        if let Some(signal) = &mut post.signal {
            signal.context = None;
        }
    }
    home
}

fn plain_page(mut page: RunPage) -> RunPage {
    page.events.truncate(1);
    page
}

#[test]
fn clusters_that_terminals_disagree_on_are_drawn_as_their_parts() {
    let title = "🇩🇪 👨\u{200d}👩\u{200d}👧 👍🏽 ❤\u{fe0f} 1\u{fe0f}\u{20e3} end";
    let mut desk = Desk::new((160, 45));
    let mut home = snapshot();
    home.queues.needs_me.rows[0].title = title.to_owned();
    desk.look(home).screen("planner", format!("{title}\n").as_bytes()).keys("A").tell(Msg::Paste(title.to_owned()));
    let drawn = desk.drawn();
    assert!(!drawn.contains(['\u{1f1e9}', '\u{200d}', '\u{fe0f}', '\u{1f3fd}', '\u{20e3}']), "{drawn}");
    assert!(drawn.contains("DE 👨👩👧 👍 ❤ 1 end"), "{drawn}");
    let text = desk.app.composer.as_ref().map(|composer| composer.text(1));
    assert_eq!(text.as_deref(), Some(title), "what is written stays as it was written");
}

#[test]
fn help_is_about_what_is_in_focus_first_and_never_cut() {
    for size in [(160, 45), (80, 24), (60, 20)] {
        let mut desk = Desk::new(size);
        desk.keys("3?");
        let mut seen = desk.drawn();
        let first = seen.lines().nth(if size.1 == 45 { 8 } else { 1 }).unwrap_or_default().to_owned();
        for _ in 0..60 {
            desk.keys("<down>");
            seen.push_str(&desk.drawn());
        }
        assert!(seen.find("Acknowledge the") < seen.find("Everywhere"), "{first}\n{seen}");
        let words: String = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        for row in metawsm::console::keymap::rows(metawsm::console::keymap::Place::Home) {
            let about = row.panes.is_empty() || row.panes.contains(&metawsm::console::action::Pane::Attention);
            for word in row.what.split_whitespace().filter(|_| about) {
                assert!(words.contains(word), "{size:?} {word} of {}\n{}", row.what, desk.drawn());
            }
        }
    }
}

#[test]
fn menus_of_a_thread() {
    at_all_sizes("state", |desk| {
        desk.keys("4s");
    });
    at_all_sizes("assign", |desk| {
        desk.keys("4gro");
    });
}

#[test]
fn what_waits_is_counted_beyond_what_is_read() {
    let mut all = snapshot();
    all.queues.needs_me.more = true;
    all.queues.needs_me.total = 452_337;
    all.queues.waiting = 452_000;
    let mut desk = Desk::empty((160, 45));
    desk.look(all.clone());
    // One escalation calls that is about no thread.
    assert!(desk.shows("452001 waiting for you"), "{}", desk.drawn());
    assert!(desk.shows("needs me 452337"), "{}", desk.drawn());
    let about = |thread: &str| EscalationRow { thread_id: Some(thread.to_owned()), ..all.escalations[0].clone() };
    all.escalations = vec![about("t1"), about("not read")];
    desk.look(all);
    assert!(desk.shows("452000 waiting for you"), "{}", desk.drawn());
}

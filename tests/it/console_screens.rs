//! Each view at three sizes, as text.

use metawsm::domain::plan::{Step, StepKind, StepSpec, StepStatus};
use metawsm::services::error::Gate;
use metawsm::services::snapshot::{RunPage, Snapshot};

use super::console_world::{Desk, HOSTILE, before, page, snapshot};
use metawsm::console::msg::Msg;

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
fn dialogs_and_help() {
    at_all_sizes("stop", |desk| {
        desk.keys("S");
    });
    at_all_sizes("help", |desk| {
        desk.keys("?");
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
        docs: vec![("ACME-12".to_owned(), "acme-12/api/ttmp/2026/11/20/ACME-12--outbox".to_owned(), true)],
        events: vec![
            (before(300), "run is running: the plan is being executed".to_owned()),
            (before(60), HOSTILE.to_owned()),
        ],
    }
}

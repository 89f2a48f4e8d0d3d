//! Feedback by key: written as a reply is, asked about where agents are at work; and what reviewers said, on a run's page.

use metawsm::console::action::Action;
use metawsm::console::keymap::Place;
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::agent::AgentStatus;
use metawsm::domain::feedback::{Feedback, FeedbackStatus, Remark, Source};
use metawsm::domain::pull_request::{PullRequest, PullRequestState};
use metawsm::domain::run::RunStatus;
use metawsm::services::handle::{Trouble, Wish};
use metawsm::services::snapshot::{RunPage, Snapshot};

use super::console_screens::run_page;
use super::console_world::{Desk, HOSTILE, agent, before, snapshot, wishes};

const SIZES: [(u16, u16); 3] = [(160, 45), (100, 30), (60, 20)];
const WIDE: (u16, u16) = (160, 45);

/// A home whose first run stands so, its agents too.
fn standing(run: RunStatus, status: AgentStatus) -> Snapshot {
    let mut home = snapshot();
    home.runs[0].status = run;
    home.agents = vec![agent("run-1", "planner", status), agent("run-1", "coder", status), home.agents.remove(3)];
    home
}

fn iterates(text: &str) -> Wish {
    Wish::Iterate { run_id: "run-1".to_owned(), feedback: text.to_owned() }
}

#[test]
fn feedback_makes_sense_for_runs_that_have_worked_and_are_nobodys() {
    use RunStatus::{AwaitingGuidance, Completed, Failed, Running, Stopped};
    for status in RunStatus::ALL {
        let makes_sense = [Running, AwaitingGuidance, Failed, Stopped, Completed].contains(&status);
        for page in ["1", "1<enter>"] {
            let mut desk = Desk::new(WIDE);
            desk.look(standing(status, AgentStatus::Done)).keys(page);
            assert_eq!(desk.app.can(Action::Iterate), makes_sense, "{status}");
            desk.keys("I");
            assert_eq!(desk.app.place() == Place::Text, makes_sense, "{status} {page}");
            assert_eq!(desk.shows("iterate: not while it is"), !makes_sense, "{status} {page}:\n{}", desk.drawn());
        }
    }
    let mut desk = Desk::new(WIDE);
    desk.keys("2I");
    assert_eq!(desk.app.place(), Place::Home, "there an agent is meant");
}

#[test]
fn where_nobody_is_at_work_it_is_sent_at_once_and_kept_until_it_was_taken() {
    let mut desk = Desk::new(WIDE);
    desk.look(standing(RunStatus::Completed, AgentStatus::Done)).keys("I");
    assert!(desk.shows("Feedback for run-1: its agents start again on it"), "{}", desk.drawn());
    desk.keys("<c-s>");
    assert!(desk.shows("nothing to send yet"));
    desk.keys("an index<enter>and a test<c-s>");
    assert_eq!(wishes(&desk), [iterates("an index\nand a test")]);
    assert!(desk.effects.contains(&Effect::KeepDraft("feedback-run-1".into(), "an index\nand a test".into())));
    let Some(Effect::Do(token, _)) = desk.effects.last().cloned() else { panic!("{:?}", desk.effects) };
    desk.tell(Msg::Done(token, Err(Trouble { message: "busy".into(), hint: None, undone: vec![] })));
    assert!(desk.shows("and a test") && desk.shows("busy"), "{}", desk.drawn());
    desk.effects.clear();
    desk.keys("<a-enter>");
    let Some(Effect::Do(token, _)) = desk.effects.last().cloned() else { panic!("{:?}", desk.effects) };
    desk.tell(Msg::Done(token, Ok("the agents of run-1 start again".into())));
    assert!(
        desk.app.composer.is_none() && desk.effects.contains(&Effect::KeepDraft("feedback-run-1".into(), "".into()))
    );
}

#[test]
fn agents_at_work_are_named_before_their_sessions_end() {
    let mut desk = Desk::new(WIDE);
    desk.look(standing(RunStatus::Running, AgentStatus::Running)).keys("Ianother way<c-s>");
    for line in ["Start the agents of run-1 again?", "ends session planner-acme-12", "ends session coder-acme-12"] {
        assert!(desk.shows(line), "{line}:\n{}", desk.drawn());
    }
    assert!(!desk.shows("solo-acme-12 of"), "that of another run goes on");
    desk.keys("<enter>");
    assert_eq!((desk.app.place(), wishes(&desk)), (Place::Text, vec![]), "the safe answer leads back to the text");
    desk.keys("<c-s>y");
    assert_eq!(wishes(&desk), [iterates("another way")]);
    assert!(desk.app.composer.as_ref().is_some_and(|composer| composer.sending.is_some()));
}

#[test]
fn reviews_are_asked_for_at_once_where_a_run_is_completed() {
    for status in RunStatus::ALL {
        for page in ["1", "1<enter>"] {
            let mut desk = Desk::new(WIDE);
            desk.look(standing(status, AgentStatus::Done)).keys(page).keys("F");
            let expected = if status == RunStatus::Completed { vec![Wish::ReviewSync("run-1".into())] } else { vec![] };
            assert_eq!(wishes(&desk), expected, "{status} {page}");
            assert_eq!(desk.shows("asking what reviewers said to run-1…"), status == RunStatus::Completed);
            assert_eq!(desk.shows("reviews: only a completed run"), status != RunStatus::Completed);
        }
    }
    let mut desk = Desk::new(WIDE);
    desk.look(standing(RunStatus::Completed, AgentStatus::Done)).keys("2F");
    assert_eq!(wishes(&desk), []);
}

#[test]
fn the_form_and_the_question_at_three_sizes() {
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.look(standing(RunStatus::Running, AgentStatus::Running)).keys("Ianother way");
        insta::assert_snapshot!(format!("iterate_form_{}x{}", size.0, size.1), desk.drawn());
        desk.keys("<c-s>");
        insta::assert_snapshot!(format!("iterate_asked_{}x{}", size.0, size.1), desk.drawn());
    }
}

fn request(repo: &str, number: u64, state: PullRequestState) -> PullRequest {
    PullRequest {
        run_id: "run-1".into(),
        ticket: Some("ACME-12".into()),
        workspace: "acme-12".into(),
        repo: repo.into(),
        number,
        url: format!("https://github.com/acme/{repo}/pull/{number}"),
        branch: "ACME-12/api/run-1".into(),
        base: "main".into(),
        head: "abc".into(),
        title: format!("[ACME-12] one table ({repo})"),
        draft: repo == "web",
        state,
        opened_at: before(3600),
        updated_at: before(60),
    }
}

fn remark(id: u64, status: FeedbackStatus, author: &str, path: Option<&str>, body: &str) -> Feedback {
    Feedback {
        feedback_id: format!("41/pr_review_comment/{id}"),
        run_id: "run-1".into(),
        ticket: Some("ACME-12".into()),
        workspace: "acme-12".into(),
        repo: "api".into(),
        number: 41,
        remark: Remark {
            source: Source::PrReviewComment,
            source_id: id,
            author: author.into(),
            body: body.into(),
            path: path.map(str::to_owned),
            line: path.map(|_| 7),
            url: None,
            association: (id == 3).then(|| "NONE".to_owned()),
            said_at: None,
        },
        status,
        seen_at: before(600),
        since: before(60),
    }
}

/// A run's page with pull requests and what reviewers said to them.
pub fn reviewed() -> RunPage {
    use FeedbackStatus::{Addressed, Dispatched, Ignored, Queued};
    use PullRequestState::{Closed, Merged, Open};
    let deep = "src/store/migrations/generated/review_feedback_and_pull_requests.rs";
    RunPage {
        pull_requests: vec![
            request("api", 41, Open),
            request("web", 42, Open),
            request("docs", 7, Merged),
            request("infrastructure", 12345, Closed),
        ],
        feedback: vec![
            remark(1, Queued, "ada", Some("src/main.rs"), "Rename it.\n\nTo what it is."),
            remark(
                2,
                Queued,
                "日本語-reviewer",
                Some(deep),
                "Why so long? It could be half of that and still say it all.",
            ),
            remark(3, Queued, HOSTILE, None, HOSTILE),
            remark(4, Dispatched, "ada", Some("src/lib.rs"), "already told"),
            remark(5, Addressed, "ada", Some("src/lib.rs"), "done"),
            remark(6, Addressed, "ada", Some("src/lib.rs"), "done too"),
            Feedback {
                remark: Remark {
                    source: Source::PrReview,
                    ..remark(8, Queued, "bo", None, "[state=CHANGES_REQUESTED submitted_at=x]\nNot yet").remark
                },
                ..remark(8, Queued, "bo", None, "")
            },
            remark(7, Ignored, "bot", Some("src/lib.rs"), "coverage"),
        ],
        ..run_page()
    }
}

#[test]
fn a_runs_page_shows_pull_requests_and_what_waits_for_its_agents() {
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.keys("<enter>").tell(Msg::Paged(Ok(Box::new(reviewed())))).keys("<pgdn>");
        insta::assert_snapshot!(format!("reviewed_{}x{}", size.0, size.1), desk.drawn());
    }
    let mut desk = Desk::new(WIDE);
    desk.keys("<enter>").tell(Msg::Paged(Ok(Box::new(reviewed()))));
    assert!(desk.shows("Reviews 4 queued, 1 dispatched, 2 addressed, 1 ignored"), "{}", desk.drawn());
    assert!(!desk.shows("already told") && !desk.shows("coverage"), "only what waits is listed");
    desk.tell(Msg::Paged(Ok(Box::new(run_page()))));
    assert!(!desk.shows("Pull requests") && !desk.shows("Reviews"), "nothing is said of none");
}

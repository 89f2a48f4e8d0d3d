//! Commit and pull request by key: when they make sense, what is asked, and what leaving does to them.

use std::time::Duration;

use metawsm::console::action::Action;
use metawsm::console::keymap::{Place, TABLE};
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::run::RunStatus;
use metawsm::services::error::Gate;
use metawsm::services::handle::{Preview, Trouble, Wish};
use metawsm::services::snapshot::Snapshot;

use super::console_world::{Desk, snapshot, wishes};

const SIZES: [(u16, u16); 3] = [(160, 45), (100, 30), (60, 20)];
const WIDE: (u16, u16) = (160, 45);
/// The key, and what it asks for.
type Asking = (&'static str, Action, fn(String) -> Wish);
const BOTH: [Asking; 2] = [("G", Action::Commit, Wish::Commit), ("U", Action::PullRequest, Wish::PullRequest)];

/// A home whose first run stands so.
fn standing(status: RunStatus) -> Snapshot {
    let mut home = snapshot();
    home.runs[0].status = status;
    home
}

/// The look ahead that was asked for last.
fn looked(desk: &Desk) -> (u64, Wish) {
    let ahead = |effect: &Effect| match effect {
        Effect::Preview(token, wish) => Some((*token, wish.clone())),
        _ => None,
    };
    desk.effects.iter().rev().find_map(ahead).unwrap()
}

fn gate(name: &'static str, reason: &str, mend: &str) -> Gate {
    Gate { name, ok: false, reason: reason.to_owned(), mend: Some(mend.to_owned()) }
}

/// The desk once the look ahead of the completed run has come.
fn asked(size: (u16, u16), keys: &str, preview: Preview) -> Desk {
    let mut desk = Desk::new(size);
    desk.look(standing(RunStatus::Completed)).keys(keys);
    let (token, _) = looked(&desk);
    desk.tell(Msg::Previewed(token, Ok(preview)));
    desk
}

fn two_repositories() -> Preview {
    Preview {
        would: vec![
            "api: commit the ticket docs that metawsm wrote".to_owned(),
            "api: commit src/schema.rs, src/store/outbox.rs, README.md and 4 more to task/acme-12 as \"ACME-12: one table\""
                .to_owned(),
            "web: commit 日本語.txt to task/acme-12 as \"ACME-12: one table\"".to_owned(),
        ],
        notes: vec!["runs first, in each repository: cargo test".to_owned()],
        ..Preview::default()
    }
}

fn in_the_way() -> Preview {
    let url = "git -C /home/kim/acme/web remote add origin URL";
    Preview {
        would: vec![
            "api: push task/acme-12 to ACME-12/api/run-1 of origin and open a pull request into main".to_owned(),
        ],
        gates: vec![
            gate("origin", "web has no remote origin", url),
            gate("clean_tree", "not committed: api: src/schema.rs", "metawsm commit --run-id run-1"),
        ],
        ..Preview::default()
    }
}

#[test]
fn they_make_sense_for_a_completed_run_in_its_pane_and_on_its_page() {
    for (key, action, wish) in BOTH {
        for status in RunStatus::ALL {
            for page in ["1", "1<enter>"] {
                let mut desk = Desk::new(WIDE);
                desk.look(standing(status)).keys(page);
                let makes_sense = status == RunStatus::Completed;
                assert_eq!(desk.app.can(action), makes_sense, "{action:?} {status} {page}");
                let shown = desk.app.footer().iter().any(|row| row.action == action);
                assert_eq!(shown, makes_sense, "{action:?} {status} {page}");
                desk.keys(key);
                let asks = desk.app.place() == Place::Dialog;
                assert_eq!(asks, makes_sense, "{action:?} {status} {page}");
                assert_eq!(desk.shows("only a completed run"), !makes_sense, "{action:?} {status} {page}");
                if makes_sense {
                    assert_eq!(looked(&desk).1, wish("run-1".to_owned()));
                }
            }
        }
        // Elsewhere the run is only what something else is about.
        for keys in ["2", "3", "4", "5", "4<enter>", "O"] {
            let mut desk = Desk::new(WIDE);
            desk.look(standing(RunStatus::Completed)).keys(keys);
            assert!(!desk.app.can(action), "{action:?} {keys}");
            desk.keys(key);
            assert_ne!(desk.app.place(), Place::Dialog, "{action:?} {keys}");
        }
        let row = TABLE.iter().find(|row| row.action == action).unwrap();
        assert_eq!((row.label(false).as_str(), row.destructive), (key, true), "{action:?} asks first");
    }
}

#[test]
fn the_safe_answer_is_in_focus_and_a_yes_is_carried_out_once() {
    for (key, _, wish) in BOTH {
        let mut desk = asked(WIDE, key, two_repositories());
        desk.keys("<enter>");
        assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]));
        let mut desk = asked(WIDE, key, two_repositories());
        desk.keys("y");
        assert_eq!(wishes(&desk), [wish("run-1".to_owned())]);
        assert!(desk.shows("run-1…") || desk.shows("in a pull request…"), "{}", desk.drawn());
        let token = desk.effects.iter().find_map(|effect| match effect {
            Effect::Do(token, _) => Some(*token),
            _ => None,
        });
        let refused = Trouble { message: "tests (api: failed)".into(), hint: Some("cd api".into()), undone: vec![] };
        desk.tell(Msg::Done(token.unwrap(), Err(refused))).later(Duration::from_secs(60));
        assert!(desk.shows("tests (api: failed) — cd api"), "what went wrong stays");
    }
}

#[test]
fn what_is_in_the_way_and_nothing_at_all_leave_only_a_no() {
    let nothing = Preview { notes: vec!["nothing is left to commit".to_owned()], ..Preview::default() };
    for (preview, words) in [(in_the_way(), "not committed: api: src/schema.rs"), (nothing, "nothing is left")] {
        let mut desk = asked(WIDE, "G", preview);
        assert!(desk.shows(words) && !desk.shows("merges first"), "{}", desk.drawn());
        let footer = desk.app.footer();
        assert!(footer.iter().all(|row| row.action != Action::Yes), "{footer:?}");
        desk.keys("y<tab><enter>");
        assert_eq!(wishes(&desk), []);
    }
}

#[test]
fn what_is_asked_names_what_would_be_done_in_each_repository() {
    for size in SIZES {
        let name = |what: &str| format!("work_{what}_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name("commit"), asked(size, "G", two_repositories()).drawn());
        insta::assert_snapshot!(name("request"), asked(size, "U", in_the_way()).drawn());
    }
}

#[test]
fn leaving_while_it_is_done_asks_and_says_what_came_to_nothing() {
    let mut home = standing(RunStatus::Completed);
    // Nobody works: one would leave without a word.
    (home.agents, home.runs) = (vec![], home.runs[..1].to_vec());
    let mut desk = Desk::new(WIDE);
    desk.look(home).keys("q");
    assert!(desk.effects.contains(&Effect::Quit), "{:?}", desk.effects);
    desk.effects.clear();
    desk.keys("G");
    let (token, _) = looked(&desk);
    desk.tell(Msg::Previewed(token, Ok(two_repositories()))).keys("yq");
    assert!(desk.shows("Not done yet: committing run-1.") && desk.shows("Leaving breaks it off."), "{}", desk.drawn());
    assert!(!desk.effects.contains(&Effect::Quit));
    desk.keys("<enter>qy");
    assert!(desk.effects.contains(&Effect::Quit));
    let Some(Effect::Do(token, _)) = desk.effects.iter().find(|effect| matches!(effect, Effect::Do(..))) else {
        panic!("{:?}", desk.effects)
    };
    let trouble = Trouble { message: "git was\ninterrupted".to_owned(), hint: None, undone: vec![] };
    let last = [Msg::Done(*token, Err(trouble)), Msg::Done(99, Ok(String::new()))];
    assert_eq!(desk.app.parting(last.into_iter()), "Not done: committing run-1: git was interrupted\n");
}

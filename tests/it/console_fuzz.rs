//! Any keys at any size, in any storm: no panic, nothing drawn beyond the screen, nothing that harms a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use metawsm::console::app::{Overlay, Page};
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::run::RunStatus;
use metawsm::services::error::Gate;
use metawsm::services::handle::{Preview, Trouble as Fault};
use metawsm::services::snapshot::{Found, Look, Queue, RunPage, Snapshot, Snippet, Trouble};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::console_feedback::reviewed;
use super::console_operator::concluded;
use super::console_since::told;
use super::console_world::{Desk, HOSTILE, page, snapshot};

/// Keys that do something somewhere, so that every view and every dialog is come to.
fn meant() -> impl Strategy<Value = KeyEvent> {
    let plain =
        "12345rARSaPuMCyXKvw/.?qmnhjklspgcoOOtD".chars().map(|c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    let control = "slzcue".chars().map(|c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
    let send = KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT);
    let enter = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE);
    prop::sample::select(plain.chain(control).chain([send, enter, enter, enter]).collect::<Vec<_>>())
}

fn key() -> impl Strategy<Value = KeyEvent> {
    use KeyCode::{
        BackTab, Backspace, Char, Delete, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up,
    };
    let named = [
        Char('語'),
        Char('\u{202e}'),
        Char('\u{301}'),
        Enter,
        Esc,
        Tab,
        BackTab,
        PageDown,
        PageUp,
        Home,
        End,
        Backspace,
        Delete,
        Down,
        Up,
        Left,
        Right,
        KeyCode::F(5),
        KeyCode::Null,
        KeyCode::Insert,
    ];
    let code = prop_oneof![1 => prop::char::range(' ', '~').prop_map(Char), 1 => prop::sample::select(named.to_vec())];
    let with =
        prop_oneof![9 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::ALT)];
    let any = (code, with).prop_map(|(code, with)| KeyEvent::new(code, with));
    prop_oneof![1 => any, 1 => meant()]
}

#[derive(Debug, Clone)]
enum Turn {
    Key(KeyEvent),
    Size(u16, u16),
    /// Sizes one after another with nothing drawn between them.
    Storm(Vec<(u16, u16)>),
    Empty,
    Full(usize, bool),
    Paste,
    Screen(Vec<u8>),
    Failed,
    Defect,
    Back,
    Away,
    Later(u64),
    Settle,
}

fn size() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![1 => (1_u16..=200, 1_u16..=60), 1 => prop::sample::select(vec![(160, 45), (100, 30), (60, 20)])]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        30 => key().prop_map(Turn::Key),
        3 => size().prop_map(|(width, height)| Turn::Size(width, height)),
        1 => prop::collection::vec(size(), 2..20).prop_map(Turn::Storm),
        1 => Just(Turn::Empty),
        4 => (0_usize..4, any::<bool>()).prop_map(|(by, hostile)| Turn::Full(by, hostile)),
        1 => Just(Turn::Paste),
        1 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Turn::Screen),
        1 => Just(Turn::Failed),
        1 => Just(Turn::Defect),
        1 => Just(Turn::Back),
        1 => Just(Turn::Away),
        1 => (100_u64..9000).prop_map(Turn::Later),
        6 => Just(Turn::Settle),
    ]
}

fn turned(by: usize, hostile: bool) -> Snapshot {
    let mut home = snapshot();
    let count = home.runs.len();
    home.runs.rotate_left(by % count);
    home.agents.truncate(4 - by);
    home.queues.needs_me.rows.truncate(2 - by.min(2));
    home.escalations.truncate(by);
    home.thread = Some(page("t1"));
    home.operator = (by != 2).then(concluded);
    if let Some(page) = home.operator.as_mut().filter(|_| by == 1) {
        page.rules.clear();
    }
    let rows = home.queues.all.rows.clone();
    home.found = Some(Found { queue: Queue { total: rows.len(), rows, more: hostile }, ..Found::default() });
    if by == 3 {
        // Only what is completed can be merged and closed.
        home.runs.iter_mut().for_each(|run| run.status = RunStatus::Completed);
    }
    if hostile {
        spoil(&mut home);
    }
    home
}

/// The worst that could stand in each text that somebody else has written.
fn spoil(home: &mut Snapshot) {
    let worst = || HOSTILE.repeat(4);
    for run in &mut home.runs {
        run.tickets = vec![worst(); 3];
        run.reason = worst();
    }
    for agent in &mut home.agents {
        (agent.ticket, agent.session, agent.reason, agent.exit) = (worst(), worst(), worst(), Some(worst()));
    }
    for row in &mut home.escalations {
        (row.kind, row.severity, row.reason, row.agent) = (worst(), worst(), worst(), Some(worst()));
    }
    for row in &mut home.suggestions {
        (row.offer, row.reason, row.agent) = (worst(), worst(), Some(worst()));
    }
    let queues = &mut home.queues;
    for queue in [&mut queues.needs_me, &mut queues.unseen, &mut queues.assigned, &mut queues.all] {
        for row in &mut queue.rows {
            (row.title, row.ticket, row.opened_by) = (worst(), worst(), worst());
        }
    }
    for row in home.found.iter_mut().flat_map(|found| &mut found.queue.rows) {
        let text = worst();
        // Marks that lie across characters, and beyond the end, are none.
        let marks = [1..3, 5..7, 6..text.len() + 9].to_vec();
        (row.title, row.snippet, row.assignee) = (worst(), Some(Snippet { text, marks }), Some(worst()));
    }
    if let Some(page) = &mut home.thread {
        (page.thread.title, page.thread.opened_by_name) = (worst(), worst());
        for post in &mut page.posts {
            (post.body, post.author_name) = (worst(), worst());
        }
    }
    if let Some(page) = &mut home.operator {
        for row in &mut page.rules {
            (row.subject, row.outcome, row.reason, row.ticket) = (worst(), worst(), worst(), Some(worst()));
        }
        for row in &mut page.letters {
            (row.errand, row.about, row.error) = (worst(), worst(), worst());
        }
        page.budgets.iter_mut().for_each(|row| row.ticket = worst());
    }
    home.facts.operator = worst();
    home.facts.troubles = [Trouble::TmuxGone, Trouble::Policy(worst()), Trouble::Store(worst())].into();
}

/// What was asked for is answered, one way or the other.
fn settle(desk: &mut Desk) {
    for effect in std::mem::take(&mut desk.effects) {
        match effect {
            Effect::Do(token, _) if token % 2 == 0 => desk.tell(Msg::Done(token, Ok(HOSTILE.to_owned()))),
            Effect::Do(token, _) => desk.tell(Msg::Done(token, Err(trouble()))),
            Effect::Preview(token, _) if token % 3 == 0 => desk.tell(Msg::Previewed(token, Err(trouble()))),
            Effect::Preview(token, _) => {
                let gates =
                    vec![Gate { name: "clean", ok: false, reason: HOSTILE.to_owned(), mend: None }; token as usize % 2];
                desk.tell(Msg::Previewed(
                    token,
                    Ok(Preview { would: vec![HOSTILE.to_owned(); 30], gates, notes: vec![HOSTILE.to_owned()] }),
                ))
            }
            Effect::Edit(name, text) if text.len() % 2 == 0 => desk.tell(Msg::Edited(name, Ok(HOSTILE.repeat(3)))),
            Effect::Edit(name, _) => desk.tell(Msg::Edited(name, Err(trouble()))),
            Effect::LoadDraft(token, _) => desk.tell(Msg::Draft(token, Some(HOSTILE.to_owned()))),
            Effect::Page(run_id) => {
                let page = RunPage { run_id, ..reviewed() };
                desk.tell(Msg::Paged(if page.run_id.ends_with('3') { Err(trouble()) } else { Ok(Box::new(page)) }))
            }
            _ => desk,
        };
    }
}

fn trouble() -> Fault {
    Fault { message: HOSTILE.repeat(20), hint: Some(HOSTILE.to_owned()), undone: vec![] }
}

fn play(desk: &mut Desk, turn: Turn) {
    match turn {
        Turn::Key(key) => desk.tell(Msg::Key(key)),
        Turn::Size(width, height) => desk.tell(Msg::Resize(width, height)),
        Turn::Storm(sizes) => {
            for (width, height) in sizes {
                desk.tell(Msg::Resize(width, height));
            }
            desk
        }
        Turn::Empty => desk.look(Snapshot::default()),
        Turn::Full(by, hostile) => desk.look(turned(by, hostile)),
        Turn::Paste => desk.tell(Msg::Paste(HOSTILE.repeat(50))),
        Turn::Screen(bytes) => desk.screen("planner", &bytes),
        Turn::Failed => desk.tell(Msg::Look(Look::Failed(HOSTILE.to_owned()))),
        Turn::Defect => desk.tell(Msg::Defect(HOSTILE.to_owned())),
        Turn::Back => desk.tell(Msg::Back(Some(HOSTILE.to_owned()))),
        Turn::Away => desk.tell(Msg::Since(Ok(Some(Box::new(told()))))),
        Turn::Later(millis) => desk.later(Duration::from_millis(millis)),
        Turn::Settle => {
            settle(desk);
            desk.tell(Msg::Look(Look::Same))
        }
    };
}

/// Draws, and finds nothing that a terminal would obey.
fn looked_at(desk: &Desk) {
    let text = desk.drawn();
    let harmless = metawsm::services::text::harmless(&text);
    assert!(text == harmless, "{text}");
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(64))]
    #[test]
    fn nothing_brings_it_down(turns in prop::collection::vec(turn(), 1..120)) {
        let mut desk = Desk::new((160, 45));
        desk.screen("planner", HOSTILE.as_bytes());
        for turn in turns {
            play(&mut desk, turn);
            looked_at(&desk);
        }
    }
}

#[test]
fn the_storm_comes_to_every_view_and_every_question() {
    let mut runner = TestRunner::new_with_rng(config(1), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen = BTreeSet::new();
    for _ in 0..600 {
        let turns = prop::collection::vec(turn(), 1..120).new_tree(&mut runner).unwrap().current();
        let mut desk = Desk::new((160, 45));
        for turn in turns {
            play(&mut desk, turn);
            let page = match desk.app.page {
                Page::Home => "home",
                Page::Run(_) => "run",
                Page::Thread(_) => "thread",
                Page::Operator => "operator",
            };
            seen.insert(format!("{page} {:?} {:?}", desk.app.place(), desk.app.layout()));
            match &desk.app.overlay {
                Some(Overlay::Dialog(dialog)) => drop(seen.insert(format!("asks {}", dialog.yes))),
                Some(Overlay::Help(place, _)) => drop(seen.insert(format!("help {place:?}"))),
                Some(Overlay::Messages(_)) => drop(seen.insert("messages".to_owned())),
                Some(Overlay::Explained(..)) => drop(seen.insert("explains".to_owned())),
                Some(Overlay::Since(_)) => drop(seen.insert("since one left".to_owned())),
                Some(Overlay::Picker(picker)) => {
                    let title = picker.title.split(' ').next().unwrap_or_default();
                    seen.insert(format!("picks {title}"));
                }
                None => {}
            }
            if desk.app.asked.is_some() {
                seen.insert("looks for something".to_owned());
            }
            if let Some(composer) = &desk.app.composer {
                seen.insert(format!("writes {}", composer.purpose.title()));
            }
        }
    }
    let all: String = seen.iter().map(|view| format!("{view}\n")).collect();
    for layout in ["Wide", "Medium", "Narrow", "Tiny"] {
        for view in
            ["home Home", "run Run", "thread Thread", "thread Text", "home Text", "home Dialog", "operator Operator"]
        {
            assert!(seen.contains(&format!("{view} {layout}")), "never at {view} {layout}:\n{all}");
        }
    }
    let picks = ["picks State", "picks Priority", "picks Assign", "messages", "looks for something", "since one left"];
    for view in [
        "asks stop",
        "asks restart",
        "asks close",
        "asks merge",
        "asks commit",
        "asks push",
        "asks drop",
        "picks Mode",
        "help Run",
    ]
    .into_iter()
    .chain(picks)
    {
        assert!(all.contains(view), "never at {view}:\n{all}");
    }
    for view in ["Answers", "New thread", "Resolve", "Feedback for"] {
        assert!(all.contains(&format!("writes {view}")), "never at {view}:\n{all}");
    }
}

#[test]
fn every_size_has_its_screen() {
    for width in 1..=130 {
        for height in [1, 2, 5, 9, 10, 11, 14, 20, 24, 30, 45] {
            let mut desk = Desk::new((width, height));
            desk.drawn();
            desk.keys("S");
            desk.drawn();
            desk.keys("<esc>4r");
            desk.drawn();
            desk.keys("<esc><esc>O").look(turned(3, true));
            desk.drawn();
        }
    }
}

#[test]
fn a_mebibyte_is_pasted_and_shown() {
    let mut desk = Desk::new((160, 45));
    desk.keys("4r").tell(Msg::Paste("all work and no play\n".repeat(1024 * 1024 / 21)));
    assert!(desk.shows("all work and no play"));
    desk.keys("x");
    assert!(desk.shows("x"));
}

//! Any keys at any size: no panic, and nothing drawn beyond the screen.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use metawsm::console::msg::{Effect, Msg};
use metawsm::services::snapshot::{Look, Snapshot};
use proptest::prelude::*;

use super::console_world::{Desk, HOSTILE, page, snapshot};

fn key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        8 => prop::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => Just(KeyCode::Char('語')),
        1 => Just(KeyCode::Enter),
        1 => Just(KeyCode::Esc),
        1 => Just(KeyCode::Tab),
        1 => Just(KeyCode::BackTab),
        1 => Just(KeyCode::PageDown),
        1 => Just(KeyCode::PageUp),
        1 => Just(KeyCode::End),
        1 => Just(KeyCode::Backspace),
        1 => Just(KeyCode::Down),
        1 => Just(KeyCode::Up),
    ];
    let with =
        prop_oneof![9 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL), 1 => Just(KeyModifiers::ALT)];
    (code, with).prop_map(|(code, with)| KeyEvent::new(code, with))
}

#[derive(Debug, Clone)]
enum Turn {
    Key(KeyEvent),
    Size(u16, u16),
    Empty,
    Full(usize),
    Paste,
    Later,
    Settle,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        20 => key().prop_map(Turn::Key),
        3 => (1_u16..=200, 1_u16..=60).prop_map(|(width, height)| Turn::Size(width, height)),
        1 => Just(Turn::Empty),
        2 => (0_usize..4).prop_map(Turn::Full),
        1 => Just(Turn::Paste),
        1 => Just(Turn::Later),
        2 => Just(Turn::Settle),
    ]
}

fn turned(by: usize) -> Snapshot {
    let mut home = snapshot();
    let count = home.runs.len();
    home.runs.rotate_left(by % count);
    home.agents.truncate(4 - by);
    home.queues.needs_me.rows.truncate(2 - by.min(2));
    home.escalations.truncate(by);
    home.thread = Some(page("t1"));
    home
}

/// What was asked for is answered, one way or the other.
fn settle(desk: &mut Desk) {
    for effect in std::mem::take(&mut desk.effects) {
        match effect {
            Effect::Do(token, _) if token % 2 == 0 => desk.tell(Msg::Done(token, Ok("done".to_owned()))),
            Effect::Preview(token, _) => {
                let would = vec![HOSTILE.to_owned(); 30];
                desk.tell(Msg::Previewed(token, Ok(metawsm::services::handle::Preview { would, gates: vec![] })))
            }
            Effect::LoadDraft(token, _) => desk.tell(Msg::Draft(token, Some(HOSTILE.to_owned()))),
            _ => desk,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_brings_it_down(turns in prop::collection::vec(turn(), 1..80)) {
        let mut desk = Desk::new((100, 30));
        desk.screen("planner", HOSTILE.as_bytes());
        for turn in turns {
            match turn {
                Turn::Key(key) => desk.tell(Msg::Key(key)),
                Turn::Size(width, height) => { desk.app.size = (width, height); desk.tell(Msg::Resize(width, height)) }
                Turn::Empty => desk.look(Snapshot::default()),
                Turn::Full(by) => desk.look(turned(by)),
                Turn::Paste => desk.tell(Msg::Paste(HOSTILE.repeat(50))),
                Turn::Later => desk.later(Duration::from_millis(700)),
                Turn::Settle => { settle(&mut desk); desk.tell(Msg::Look(Look::Same)) }
            };
            desk.drawn();
        }
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
        }
    }
}

#[test]
fn a_mebibyte_is_pasted_and_shown() {
    let mut desk = Desk::new((160, 45));
    desk.keys("4r").tell(Msg::Paste("all work and no play\n".repeat(1024 * 1024 / 21)));
    let began = std::time::Instant::now();
    desk.drawn();
    desk.keys("x");
    desk.drawn();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

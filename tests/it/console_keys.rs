//! A line of keys in, effects and a changed screen out; and the table that the keys come from.

use std::time::Duration;

use metawsm::console::action::{Action, Pane};
use metawsm::console::app::Page;
use metawsm::console::keymap::{Place, TABLE, rows};
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::agent::AgentKey;
use metawsm::services::explain::{Explanation, Line, Part, Tone, What};
use metawsm::services::handle::{Preview, Trouble, Wish};
use metawsm::services::snapshot::Snapshot;

use super::console_world::{Desk, page, snapshot, wishes};

const WIDE: (u16, u16) = (160, 45);

fn coder() -> AgentKey {
    AgentKey::new("run-1", "acme-12", "coder")
}

#[test]
fn no_key_has_two_meanings_in_one_place_and_each_is_described() {
    for place in Place::ALL {
        let mut taken: Vec<(String, Action)> = Vec::new();
        for row in rows(place) {
            for key in row.keys {
                let label = key.label(false);
                let other = taken.iter().find(|(known, _)| *known == label);
                assert_eq!(other, None, "{label} of {:?} in {place:?}", row.action);
                taken.push((label, row.action));
            }
        }
    }
    for row in TABLE {
        assert!(!row.name.is_empty() && row.what.len() > 4 && !row.keys.is_empty(), "{:?}", row.action);
        assert!(row.what.chars().next().is_some_and(char::is_uppercase), "{}", row.what);
    }
}

#[test]
fn the_footer_has_at_most_eight_keys_and_help_is_among_them() {
    for keys in ["", "2", "3", "4", "5", "<enter>", "4<enter>"] {
        let mut desk = Desk::new(WIDE);
        desk.keys(keys);
        let footer = desk.app.footer();
        assert!(footer.len() <= 8);
        assert!(footer.iter().any(|row| row.action == Action::Help), "{keys}");
    }
}

#[test]
fn every_destructive_key_asks_and_enter_is_the_safe_answer() {
    for (keys, wish) in [
        ("2<down>R", Wish::Restart(coder())),
        ("2S", Wish::StopAgent(AgentKey::new("run-1", "acme-12", "planner"))),
        ("S", Wish::StopRun("run-1".to_owned())),
    ] {
        let mut desk = Desk::new(WIDE);
        desk.keys(keys);
        assert_eq!(desk.app.place(), Place::Dialog, "{keys}");
        desk.keys("<enter>");
        assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]), "{keys}");
        desk.keys(keys.chars().last().map(String::from).unwrap_or_default().as_str()).keys("y");
        assert_eq!(wishes(&desk), [wish], "{keys}");
    }
}

#[test]
fn the_question_names_what_is_hit() {
    let mut desk = Desk::new(WIDE);
    desk.keys("S");
    assert!(desk.shows("ends session planner-acme-12 of planner with everything it started"));
    assert!(!desk.shows("coder-acme-12"), "what does not run is not stopped");
}

#[test]
fn closing_looks_ahead_and_is_refused_where_gates_are_open() {
    let mut desk = Desk::new(WIDE);
    desk.keys("<end>C");
    let Some(Effect::Preview(token, wish)) = desk.effects.iter().find(|e| matches!(e, Effect::Preview(..))).cloned()
    else {
        panic!("no look ahead: {:?}", desk.effects)
    };
    assert_eq!(wish, Wish::Close { run_id: "run-3".to_owned(), merge: false });
    desk.keys("y");
    assert_eq!(wishes(&desk), [], "nothing is said yes to before it is known");
    desk.tell(Msg::Previewed(token, Ok(Preview { would: vec!["close run-3".to_owned()], ..Preview::default() })));
    desk.keys("<enter>");
    assert_eq!(wishes(&desk), []);
}

#[test]
fn explain_is_about_the_selection_and_scrolls_and_goes() {
    let asked = |keys: &str| {
        let mut desk = Desk::new(WIDE);
        desk.keys(keys);
        match desk.effects.iter().rev().find(|effect| matches!(effect, Effect::Explain(..))) {
            Some(Effect::Explain(token, what)) => (*token, what.clone(), desk),
            _ => panic!("{keys}: {:?}", desk.effects),
        }
    };
    assert_eq!(asked("x").1, What::Run("run-1".to_owned()));
    assert_eq!(asked("<enter>x").1, What::Run("run-1".to_owned()));
    assert!(matches!(asked("3x").1, What::Escalation(_)));
    assert!(matches!(asked("4<enter>x").1, What::Agent(key) if key.name == "planner"));
    let (token, what, mut desk) = asked("2<down>x");
    assert_eq!(what, What::Agent(coder()));
    let lines = (1..200).map(|n| Line { name: n.to_string(), text: format!("line {n}"), tone: Tone::Plain }).collect();
    let long = Explanation {
        title: "coder".into(),
        stands: "dead".into(),
        parts: vec![Part { heading: "Signals", lines }],
        json: serde_json::Value::Null,
    };
    desk.tell(Msg::Explained(token, Ok(Box::new(long.clone()))));
    assert!(desk.shows("line 1") && !desk.shows("line 199"));
    desk.keys("<end>");
    assert!(desk.shows("line 199"));
    desk.keys("<esc>");
    assert!(!desk.shows("line 199"));
    // It came after it was not wanted any more.
    desk.tell(Msg::Explained(token, Ok(Box::new(long))));
    assert!(!desk.shows("line 1"));
    let (token, _, mut desk) = asked("2x");
    let gone = Trouble { message: "no agent planner".to_owned(), hint: None, undone: vec![] };
    desk.tell(Msg::Explained(token, Err(gone)));
    assert!(desk.shows("no agent planner") && desk.app.overlay.is_none());
}

#[test]
fn a_reply_is_given_up_only_when_it_was_taken() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4r").look(Snapshot { thread: Some(page("t1")), ..snapshot() });
    assert_eq!(desk.app.page, Page::Thread("t1".to_owned()));
    assert!(desk.shows("Answers planner's question"));
    desk.keys("two tables<c-s>");
    let Some(Effect::Do(token, Wish::Reply { body, answer, .. })) =
        desk.effects.iter().find(|effect| matches!(effect, Effect::Do(_, Wish::Reply { .. }))).cloned()
    else {
        panic!("nothing was sent: {:?}", desk.effects)
    };
    assert_eq!((body.as_str(), answer), ("two tables", true));
    desk.keys("x<c-s>");
    assert_eq!(wishes(&desk).iter().filter(|wish| matches!(wish, Wish::Reply { .. })).count(), 1);
    desk.tell(Msg::Done(
        token,
        Err(Trouble { message: "locked".to_owned(), hint: Some("try again".to_owned()), undone: vec![] }),
    ));
    assert!(desk.shows("two tables") && desk.shows("locked — try again"));
    desk.effects.clear();
    desk.keys("<c-s>");
    let Some(Effect::Do(token, _)) = desk.effects.iter().find(|effect| matches!(effect, Effect::Do(..))).cloned()
    else {
        panic!("not sent again")
    };
    desk.tell(Msg::Done(token, Ok("answered".to_owned())));
    assert!(desk.app.composer.is_none());
    assert!(desk.effects.contains(&Effect::KeepDraft("t1".to_owned(), String::new())));
}

#[test]
fn a_draft_is_kept_within_a_second_and_comes_back() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4rtwo").later(Duration::from_millis(500));
    assert!(desk.effects.contains(&Effect::KeepDraft("t1".to_owned(), "two".to_owned())));
    desk.effects.clear();
    for _ in 0..10 {
        desk.keys("x").later(Duration::from_millis(100));
    }
    assert!(desk.effects.iter().any(|effect| matches!(effect, Effect::KeepDraft(..))), "also while somebody types");
    desk.keys("<esc>");
    assert!(desk.app.composer.is_none());
    desk.keys("ryes").fetched("from before\n");
    assert!(desk.shows("from before") && desk.shows("yes"));
    // Both are one draft from now on, also when no further key comes; a second answer changes nothing.
    desk.effects.retain(|effect| matches!(effect, Effect::LoadDraft(..)));
    desk.fetched("from before\n").later(Duration::from_secs(1));
    assert!(desk.effects.contains(&Effect::KeepDraft("t1".to_owned(), "from before\n\nyes".to_owned())));
}

#[test]
fn what_is_pasted_is_sent_byte_for_byte_and_shown_without_harm() {
    let body = "\tif x {\n a\u{1b}[31m\u{202e}red\u{9b}2J\u{7}\u{feff}\u{7f} \u{10ff1b} 日本語 🎉  \n\n";
    let mut desk = Desk::new(WIDE);
    desk.keys("4r").tell(Msg::Paste(body.replace('\n', "\r\n"))).tell(Msg::Paste("x\ry\u{200f}".to_owned()));
    let text = desk.drawn();
    assert!(text.contains("a␛[31m\u{fffd}red\u{fffd}2J␇\u{fffd}␡"), "{text}");
    assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None);
    assert!(!text.contains(['\u{202e}', '\u{200f}', '\u{feff}']));
    let whole = format!("{body}x\ny\u{200f}");
    desk.later(Duration::from_secs(1));
    assert!(desk.effects.contains(&Effect::KeepDraft("t1".to_owned(), whole.clone())));
    desk.keys("<c-s>");
    assert_eq!(wishes(&desk).last(), Some(&Wish::Reply { thread_id: "t1".to_owned(), body: whole, answer: true }));
    // A draft comes back as it was kept.
    let mut later = Desk::new(WIDE);
    later.keys("4r").fetched(body).keys("<a-enter>");
    assert_eq!(
        wishes(&later).last(),
        Some(&Wish::Reply { thread_id: "t1".to_owned(), body: body.to_owned(), answer: true })
    );
}

#[test]
fn a_nul_is_refused_with_words() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4rbefore").tell(Msg::Paste("one\0two".to_owned()));
    assert!(desk.shows("holds a NUL byte") && !desk.shows("one"), "{}", desk.drawn());
    desk.keys("<c-s>");
    assert!(matches!(wishes(&desk).last(), Some(Wish::Reply { body, .. }) if body == "before"));
}

#[test]
fn leaving_keeps_the_draft() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4rhalf<c-c><c-c>");
    assert!(desk.effects.contains(&Effect::KeepDraft("t1".to_owned(), "half".to_owned())));
    assert_eq!(desk.effects.last(), Some(&Effect::Quit).filter(|_| true).or(None));
}

#[test]
fn the_selection_stays_on_its_item_when_lists_change() {
    let mut desk = Desk::new(WIDE);
    desk.keys("<down>");
    assert_eq!(desk.app.run().map(|run| run.run_id.as_str()), Some("run-2"));
    let mut turned = snapshot();
    turned.runs.rotate_left(1);
    desk.look(turned.clone());
    assert_eq!(desk.app.run().map(|run| run.run_id.as_str()), Some("run-2"));
    turned.runs.retain(|run| run.run_id != "run-2");
    desk.look(turned);
    assert!(desk.app.run().is_some());
}

#[test]
fn leaving_says_that_nobody_watches() {
    let mut desk = Desk::new(WIDE);
    desk.keys("q");
    assert!(desk.shows("Nobody watches them then, unless another metawsm is open"));
    desk.keys("<enter>");
    assert!(!desk.effects.contains(&Effect::Quit));
    desk.keys("qy");
    assert!(desk.effects.contains(&Effect::Quit));
}

#[test]
fn typing_a_prompt_into_a_list_destroys_nothing() {
    let mut desk = Desk::new(WIDE);
    desk.keys("Please Stop and Restart the coder, then Merge and Close. Really? SRMCX");
    let harmless =
        |wish: &Wish| matches!(wish, Wish::Pause(_) | Wish::Resume(_) | Wish::Seen(_) | Wish::AckEscalation(_));
    assert!(wishes(&desk).iter().all(harmless), "{:?}", wishes(&desk));
    for sentence in ["Really, Surely", "Sync", "Ry", "Rmy", "Rly", "Shy", "Sby", "Syy", "SSy"] {
        let mut desk = Desk::new(WIDE);
        desk.keys("2").rushed(sentence);
        assert_eq!(wishes(&desk), [], "the y of {sentence} is no answer to the question that its first letter asked");
    }
    for slowly in ["Rmy", "Shy", "Sly", "Sby"] {
        let mut desk = Desk::new(WIDE);
        desk.keys("2").keys(slowly);
        assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]), "{slowly}");
    }
    let mut desk = Desk::new(WIDE);
    desk.rushed("2Ry").keys("Ry");
    assert_eq!(wishes(&desk).len(), 1, "who asks again and reads is heard");
}

#[test]
fn escalations_and_suggestions_have_their_keys() {
    let mut desk = Desk::new(WIDE);
    desk.keys("3K<down>yX");
    let expected = [
        Wish::AckEscalation("e1".to_owned()),
        Wish::AcceptSuggestion("s1".to_owned()),
        Wish::DismissSuggestion("s1".to_owned()),
    ];
    assert_eq!(wishes(&desk), expected);
    desk.keys("<up>vlooked at it<a-enter>");
    assert_eq!(wishes(&desk).last(), Some(&Wish::ResolveEscalation("e1".to_owned(), "looked at it".to_owned())));
    desk.keys("<esc><up><enter>");
    assert_eq!((desk.app.focus, desk.app.agent().map(|agent| agent.key.clone())), (Pane::Agents, Some(coder())));
}

#[test]
fn the_bell_rings_once_for_each_escalation() {
    let mut desk = Desk::new(WIDE);
    let mut more = snapshot();
    let second = metawsm::services::snapshot::EscalationRow { id: "e2".to_owned(), ..more.escalations[0].clone() };
    more.escalations.push(second);
    desk.look(more.clone()).look(snapshot()).look(more);
    assert_eq!(desk.effects.iter().filter(|effect| **effect == Effect::Bell).count(), 1);
    assert!(desk.effects.contains(&Effect::Title("(4) metawsm".to_owned())), "{:?}", desk.effects);
}

#[test]
fn the_next_waiting_thing_is_found_from_anywhere() {
    let mut desk = Desk::new(WIDE);
    desk.keys("<down>w");
    assert_eq!((desk.app.focus, desk.app.thread().map(|row| row.thread_id.as_str())), (Pane::Forum, Some("t1")));
    desk.keys("w");
    assert_eq!(desk.app.thread().map(|row| row.thread_id.as_str()), Some("t2"));
    desk.keys("w");
    assert_eq!(desk.app.thread().map(|row| row.thread_id.as_str()), Some("t1"));
}

#[test]
fn a_filter_narrows_as_one_types() {
    let mut desk = Desk::new(WIDE);
    desk.keys("/acme-15");
    assert_eq!((desk.app.runs.len(), desk.app.run().map(|run| run.run_id.as_str())), (1, Some("run-2")));
    desk.keys("<enter><esc>");
    assert_eq!(desk.app.runs.len(), 3);
}

#[test]
fn opening_a_thread_marks_it_as_seen_once() {
    let mut desk = Desk::new(WIDE);
    let opened = Snapshot { thread: Some(page("t1")), ..snapshot() };
    desk.keys("4<enter>").look(opened.clone()).look(opened);
    assert_eq!(wishes(&desk), [Wish::Seen("t1".to_owned())]);
}

#[test]
fn errors_stay_until_they_are_dismissed() {
    let mut desk = Desk::new(WIDE);
    desk.tell(Msg::Done(1, Err(Trouble { message: "it broke".to_owned(), hint: None, undone: vec![] })))
        .later(Duration::from_secs(60));
    assert!(desk.shows("it broke"));
    desk.keys("<esc>");
    assert!(!desk.shows("it broke"));
}

#[test]
fn the_console_never_imports_the_store() {
    fn check(dir: &std::path::Path) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                check(&entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            for word in ["crate::store", "rusqlite", "crate::cli"] {
                assert!(!text.contains(word), "{} imports {word}", entry.path().display());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    check(&root.join("src/console"));
    let elsewhere = std::fs::read_to_string(root.join("src/services/handle.rs")).unwrap();
    assert!(!elsewhere.contains("ratatui"));
}

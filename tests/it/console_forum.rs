//! The forum by keys: changing a thread, writing in an editor, looking for something.

use metawsm::console::app::Page;
use metawsm::console::keymap::Place;
use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::actor::{ActorType, Side};
use metawsm::domain::thread::{Priority, ThreadState};
use metawsm::services::handle::{Change, Trouble, Wish};
use metawsm::services::snapshot::{Asked, Found, Queue, Snapshot, Snippet, Tab, ThreadRow};

use unicode_width::UnicodeWidthStr;

use super::console_world::{Desk, HOSTILE, page, snapshot, thread, wishes};

const WIDE: (u16, u16) = (160, 45);

fn changed(thread_id: &str, change: Change) -> Vec<Wish> {
    vec![Wish::Thread(thread_id.to_owned(), change)]
}

/// A thread in this state, in the queue of all, selected there.
fn at_state(state: ThreadState) -> Desk {
    let mut home = snapshot();
    home.queues.all.rows[2].state = state;
    let mut desk = Desk::new(WIDE);
    desk.look(home).keys("4<left><end>");
    desk.effects.clear();
    desk
}

#[test]
fn the_menu_of_states_holds_what_is_legal_and_nothing_else() {
    for state in ThreadState::ALL.into_iter().filter(|state| *state != ThreadState::Closed) {
        let mut desk = at_state(state);
        desk.keys("s");
        assert_eq!(desk.app.place(), Place::Picker, "{state}");
        for to in ThreadState::ALL {
            let legal = state.successors().contains(&to);
            let mut tried = at_state(state);
            tried.keys("s");
            let place = state.successors().iter().position(|known| *known == to);
            tried.keys(&"<down>".repeat(place.unwrap_or(0))).keys("<enter>");
            let wanted = match to {
                ThreadState::Closed => Change::Close,
                other => Change::State(other),
            };
            assert_eq!(wishes(&tried) == changed("t3", wanted), legal, "{state} to {to}");
        }
    }
}

#[test]
fn a_closed_thread_can_be_opened_again_and_nothing_else() {
    let mut desk = at_state(ThreadState::Closed);
    desk.keys("spgc");
    assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]));
    desk.keys("o");
    assert_eq!(wishes(&desk), changed("t3", Change::Reopen));
    let mut open = at_state(ThreadState::Answered);
    open.keys("o");
    assert_eq!(wishes(&open), []);
}

#[test]
fn closing_asks_only_where_somebody_waits() {
    let mut desk = at_state(ThreadState::Answered);
    desk.keys("c");
    assert_eq!(wishes(&desk), changed("t3", Change::Close));
    let mut waits = Desk::new(WIDE);
    waits.keys("4c");
    assert!(waits.shows("planner waits for an answer in it"));
    waits.keys("<enter>");
    assert_eq!(wishes(&waits), []);
    waits.keys("cy");
    assert_eq!(wishes(&waits), changed("t1", Change::Close));
}

#[test]
fn a_letter_jumps_in_a_menu_and_escape_leaves_it() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4p");
    assert!(desk.shows("Priority (now high)"));
    desk.keys("l<enter>");
    assert_eq!(wishes(&desk), changed("t1", Change::Priority(Priority::Low)));
    desk.effects.clear();
    for leave in ["<esc>", "q"] {
        desk.keys("p").keys(leave);
        assert_eq!((desk.app.place(), wishes(&desk)), (Place::Home, vec![]));
    }
}

#[test]
fn a_thread_is_assigned_to_who_is_known_or_to_a_name_typed() {
    let assigned = |keys: &str| {
        let mut desk = Desk::new(WIDE);
        desk.keys("4g").keys(keys).keys("<enter>");
        wishes(&desk)
    };
    let to = |kind, name: &str| changed("t1", Change::Assignee(kind, name.to_owned()));
    assert_eq!(assigned(""), to(ActorType::Human, "kim"));
    assert_eq!(assigned("oper"), to(ActorType::Operator, "operator"));
    assert_eq!(assigned("plan"), to(ActorType::Agent, "planner"));
    assert_eq!(assigned("robin q"), to(ActorType::Human, "robin q"));
    // A name typed wholly is that one, though a longer one holds it.
    assert_eq!(assigned("kim"), to(ActorType::Human, "kim"));
}

#[test]
fn on_a_threads_page_the_keys_mean_that_thread() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4<enter>").look(Snapshot { thread: Some(page("t1")), ..snapshot() });
    desk.effects.clear();
    desk.keys("pu<enter>");
    assert_eq!(wishes(&desk), changed("t1", Change::Priority(Priority::Urgent)));
    assert_eq!(desk.app.page, Page::Thread("t1".to_owned()));
}

#[test]
fn an_editor_gets_the_text_and_what_it_leaves_takes_its_place() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4<enter>").look(Snapshot { thread: Some(page("t1")), ..snapshot() }).keys("r").fetched("");
    desk.keys("two tables");
    desk.effects.clear();
    desk.keys("<c-e>");
    assert!(desk.effects.contains(&Effect::Edit("t1".to_owned(), "two tables".to_owned())), "{:?}", desk.effects);
    desk.tell(Msg::Edited("t1".to_owned(), Ok("three tables\r\nand a view\n".to_owned())));
    assert!(desk.effects.contains(&Effect::Redraw));
    desk.effects.clear();
    desk.keys("<c-s>");
    let body = "three tables\nand a view".to_owned();
    assert_eq!(wishes(&desk), [Wish::Reply { thread_id: "t1".to_owned(), body, answer: true }]);
}

#[test]
fn an_editor_that_fails_leaves_the_text_as_it_was() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4<enter>").look(Snapshot { thread: Some(page("t1")), ..snapshot() }).keys("r").fetched("");
    desk.keys("keep this<c-e>");
    let trouble = Trouble {
        message: "ed ended with 1".to_owned(),
        hint: Some("the text is in t1.md".to_owned()),
        undone: vec![],
    };
    desk.tell(Msg::Edited("t1".to_owned(), Err(trouble)));
    assert!(desk.shows("ed ended with 1") && desk.shows("keep this"));
}

#[test]
fn a_new_threads_draft_names_its_fields_and_is_read_back_as_it_was() {
    let mut desk = Desk::new(WIDE);
    desk.keys("A").fetched("").keys("naming").keys("<tab>which word?<enter><enter>lease or lock<c-e>");
    let Some(Effect::Edit(name, text)) = desk.effects.iter().find(|e| matches!(e, Effect::Edit(..))).cloned() else {
        panic!("no editor: {:?}", desk.effects)
    };
    assert_eq!(text, "ticket: ACME-12\ntitle: naming\n\nwhich word?\n\nlease or lock");
    for draft in [text, "ticket: ACME-12\ntitle: naming\n\nwhich word?\n\nlease or lock\n\n".to_owned()] {
        desk.tell(Msg::Edited(name.clone(), Ok(draft)));
        desk.effects.clear();
        desk.keys("<c-s>");
        let wish = Wish::Ask {
            ticket: "ACME-12".to_owned(),
            title: "naming".to_owned(),
            body: "which word?\n\nlease or lock".to_owned(),
        };
        assert_eq!(wishes(&desk), [wish]);
        let Some(Effect::Do(token, _)) = desk.effects.iter().find(|e| matches!(e, Effect::Do(..))).cloned() else {
            continue;
        };
        let trouble = Trouble { message: "busy".to_owned(), hint: None, undone: vec![] };
        desk.tell(Msg::Done(token, Err(trouble)));
    }
}

#[test]
fn a_request_says_what_came_of_it() {
    let mut desk = Desk::new(WIDE);
    let mut talk = page("t1");
    desk.keys("4<enter>").look(Snapshot { thread: Some(talk.clone()), ..snapshot() });
    assert!(desk.shows("asks  waits for an answer"));
    talk.open.clear();
    desk.look(Snapshot { thread: Some(talk.clone()), ..snapshot() });
    assert!(desk.shows("asks  got no answer"), "its epoch is over");
    let mut answer = talk.posts[1].clone();
    (answer.post_id, answer.seq, answer.in_reply_to) = ("p31".to_owned(), 31, Some("p30".to_owned()));
    talk.posts.push(answer);
    talk.thread.last_event_sequence = 31;
    desk.look(Snapshot { thread: Some(talk), ..snapshot() });
    assert!(desk.shows("asks  answered by kim"));
}

#[test]
fn closing_through_the_menu_of_states_asks_as_the_key_does() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4sc<enter>");
    assert_eq!((desk.app.place(), wishes(&desk)), (Place::Dialog, vec![]));
}

fn wanted(desk: &Desk) -> Option<(Tab, Asked)> {
    let want = |effect: &Effect| match effect {
        Effect::Want(want) => Some(want.asked.clone()),
        _ => None,
    };
    desk.effects.iter().rev().find_map(want).flatten()
}

#[test]
fn what_is_looked_for_goes_out_as_one_types_and_what_is_found_takes_the_queues_place() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4/lea");
    let asked = Asked { text: "lea".to_owned(), ..Asked::default() };
    assert_eq!(wanted(&desk), Some((Tab::NeedsMe, asked.clone())));
    assert!(desk.shows("looking"), "what was found before is not passed off as found now");
    let found = Found {
        asked: (Tab::NeedsMe, asked),
        queue: Queue { rows: vec![thread("t9", "naming of the lease table", None)], more: true, total: 1 },
        indexed: Some(40),
    };
    desk.look(Snapshot { found: Some(found), ..snapshot() });
    assert!(desk.shows("naming of the lease table") && !desk.shows("which schema"));
    assert!(desk.shows("found 1+") && desk.shows("indexing 40 %"));
    // The keys mean what was found, also beyond the queues.
    desk.effects.clear();
    desk.keys("<enter>pu<enter>");
    assert_eq!(wishes(&desk), changed("t9", Change::Priority(Priority::Urgent)));
    desk.keys("<enter>");
    assert_eq!(desk.app.page, Page::Thread("t9".to_owned()));
    desk.keys("<esc><esc>");
    assert!(desk.shows("which schema") && desk.app.asked.is_none());
    assert_eq!(wanted(&desk), None);
}

#[test]
fn pairs_narrow_the_queue_in_view_and_a_wrong_one_says_what_there_is() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4<right>/state:clo");
    let asked = Asked { state: Some(ThreadState::Closed), ..Asked::default() };
    assert_eq!(wanted(&desk), Some((Tab::Unseen, asked)));
    desk.keys("<esc>/state:x");
    assert!(desk.shows("waiting_operator"));
    assert_eq!(desk.app.asked, None);
}

#[test]
fn the_next_waiting_is_found_whatever_was_looked_for() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4/nothing<enter>w");
    assert_eq!(desk.app.asked, None);
    assert_eq!(desk.app.thread().map(|row| row.thread_id.as_str()), Some("t1"));
}

#[test]
fn what_was_found_stands_out_in_its_snippet_and_keeps_the_columns() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4/lea");
    let row = |id: &str, text: &str, at: usize| ThreadRow {
        snippet: Some(Snippet { text: text.to_owned(), marks: std::iter::once(at..at + 5).collect() }),
        ..thread(id, "naming", None)
    };
    let rows = vec![row("t8", "the lease table", 4), row("t9", &format!("{HOSTILE} lease"), HOSTILE.len() + 1)];
    let asked = (Tab::NeedsMe, Asked { text: "lea".to_owned(), ..Asked::default() });
    let found = Found { asked, queue: Queue { total: 2, rows, more: false }, indexed: None };
    desk.look(Snapshot { found: Some(found), ..snapshot() });
    let drawn = desk.drawn();
    let lines: Vec<&str> = drawn.lines().filter(|line| line.contains("naming")).collect();
    assert_eq!(lines.len(), 2, "{drawn}");
    let column = |line: &str| line[..line.find("ACME-12").unwrap()].width();
    assert_eq!(column(lines[0]), column(lines[1]), "{drawn}");
    assert!(lines[0].contains("the lease table"), "{drawn}");
}

#[test]
fn the_menu_means_the_thread_it_was_opened_on() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4s");
    let mut moved = snapshot();
    moved.queues.needs_me.rows.remove(0);
    desk.look(moved).keys("c<enter>");
    assert_eq!(wishes(&desk), changed("t1", Change::Close), "its list has another thread there by now");
}

#[test]
fn an_editor_waits_for_the_draft_that_is_being_fetched() {
    let mut desk = Desk::new(WIDE);
    desk.keys("4<enter>").look(Snapshot { thread: Some(page("t1")), ..snapshot() });
    desk.effects.clear();
    desk.keys("r<c-e>");
    assert!(!desk.effects.iter().any(|effect| matches!(effect, Effect::Edit(..))), "{:?}", desk.effects);
}

#[test]
fn a_list_is_read_deeper_where_one_scrolls_and_another_begins_at_its_top() {
    let mut desk = Desk::new(WIDE);
    let mut home = snapshot();
    home.queues.all.more = true;
    desk.look(home.clone());
    desk.effects.clear();
    let depth = |desk: &Desk| {
        desk.effects.iter().rev().find_map(|effect| match effect {
            Effect::Want(want) => Some(want.deeper),
            _ => None,
        })
    };
    desk.keys("4<left>");
    desk.keys("<end>");
    assert_eq!(depth(&desk), Some(1));
    desk.look(Snapshot { deeper: 1, ..home.clone() });
    assert_eq!(depth(&desk), Some(2), "what was read is not enough");
    desk.keys("<right>");
    assert_eq!(depth(&desk), Some(0));
}

#[test]
fn a_reply_is_what_its_thread_needs_when_it_is_sent() {
    let with = |waits: bool| {
        let mut all = snapshot();
        let mut open = page("t1");
        open.thread.waiting_on = waits.then_some(Side::Human);
        all.thread = Some(open);
        all
    };
    let mut desk = Desk::new((160, 45));
    desk.keys("4r").fetched("two tables").look(with(true));
    assert!(desk.shows("Answers planner's question"), "{}", desk.drawn());
    desk.look(with(false));
    assert!(desk.shows("was answered meanwhile: what you send is added to it"), "{}", desk.drawn());
    assert!(!desk.shows("Answers planner's question") && desk.shows("two tables"));
    desk.keys("<c-s>");
    let sent = Wish::Reply { thread_id: "t1".to_owned(), body: "two tables".to_owned(), answer: false };
    assert_eq!(wishes(&desk).last(), Some(&sent));
    // What is under way is judged by who takes it.
    desk.look(with(true));
    assert!(!desk.shows("Answers planner's question"));
}

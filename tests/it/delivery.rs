//! Sending text into sessions, with real tmux and programs that take text as agents do (spec 7 "Sending text").

use std::process::Stdio;
use std::sync::Arc;

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command, DeliveryWish};
use metawsm::domain::time::Moment;
use metawsm::services::tmux::TmuxError;
use metawsm::services::tmux::typing::{Aim, Cursor, Guarded, Mark};
use metawsm::store::ids::{Clock, RandomIds, SystemClock};
use metawsm::store::{Ledger, Order};
use serde_json::{Value, json};

use crate::harness::{Server, os};
use crate::tui::{answered, received, sent, set, turn, world};
use crate::world::{Live, PATIENCE, World, wait_for};

pub const HEAD: &str = "[from human:tester]\n";

pub fn send(world: &World, more: &[&str]) -> crate::world::Output {
    world.metawsm(&[&["send", "--agent", "coder", "--json"], more].concat())
}

/// The states that the journal tells of deliveries, in order.
pub fn told(world: &World) -> Vec<String> {
    let events = world.verified();
    let of = |event: &Value| event["event_type"].as_str().unwrap().strip_prefix("delivery.").map(str::to_owned);
    events.iter().filter_map(of).collect()
}

#[track_caller]
pub fn until_state(world: &World, id: &str, state: &str) -> Value {
    wait_for(&format!("{id} to be {state}"), PATIENCE, || {
        let reader = metawsm::store::Reader::open(&world.db()).unwrap();
        let delivery = reader.delivery(id).unwrap()?;
        (delivery.state.word() == state).then(|| metawsm::services::view::delivery(&delivery))
    })
}

#[test]
fn what_was_sent_is_done_when_it_was_taken() {
    let (world, _) = world("ready");
    let _live = world.spawn(&["--headless"]);
    let out = send(&world, &["--timeout", "30s", "!ls\n/help"]).is(0).json();
    assert_eq!(sent(&world), [format!("{HEAD}!ls\n/help")]);
    let delivery = &out["delivery"];
    assert_eq!(
        (&delivery["state"], &delivery["agent"], &delivery["launch"]),
        (&json!("submitted"), &json!("coder"), &json!(1))
    );
    assert_eq!(
        (&delivery["evidence"]["signal"], &delivery["evidence"]["presses"]),
        (&json!("left_composer"), &json!(1))
    );
    assert!(out["seq"].is_i64());
    assert_eq!(told(&world), ["queued", "typed", "submitted"]);
    // The same words again, of which the screen still shows the first.
    send(&world, &["--timeout", "30s", "!ls\n/help"]).is(0);
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn sixty_four_kibibytes_arrive_byte_for_byte() {
    let (world, _) = world("ready");
    let _live = world.spawn(&["--headless"]);
    let mut text = String::new();
    for number in 0.. {
        if text.len() > 64 * 1024 {
            break;
        }
        text.push_str(&format!("{number}\t'quoted' \"twice\" $HOME `x` ; 漢字 🎉 é a;\n"));
    }
    let command = world.program(&["send", "--agent", "coder", "--timeout", "50s", "-"]);
    world.output(command, &text).is(0);
    assert_eq!(sent(&world), [format!("{HEAD}{}", text.trim_end_matches('\n'))]);
}

#[test]
fn nothing_is_typed_into_a_dialog() {
    let (world, _) = world("dialog");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "dialog");
    let error = send(&world, &["go on"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("Do you want to proceed?"), "{error}");
    assert_eq!(error["details"]["state"], "dialog");
    assert!(told(&world).is_empty(), "nothing was queued");
    // One that opens while a text waits keeps it from being typed.
    turn(&world, "busy");
    let error = send(&world, &["--timeout", "1s", "go on"]).is(124).error();
    assert_eq!(error["details"]["state"], "queued");
    assert!(error["message"].as_str().unwrap().contains("is at work: esc to interrupt"), "{error}");
    let id = error["details"]["delivery"]["delivery_id"].as_str().unwrap().to_owned();
    turn(&world, "dialog");
    let urgent = send(&world, &["--timeout", "2s", "--urgent", "--event-id", "k1", "now"]).is(124).error();
    assert_eq!(urgent["details"]["state"], "queued", "{urgent}");
    turn(&world, "blank");
    assert_eq!(told(&world), ["queued", "queued"]);
    turn(&world, "ready");
    until_state(&world, &id, "submitted");
    assert_eq!(sent(&world), [format!("{HEAD}now"), format!("{HEAD}go on")], "the urgent one first");
    assert!(!answered(&world));
    // Under its key it is the same one, and done.
    assert_eq!(send(&world, &["--urgent", "--event-id", "k1", "now"]).is(0).json()["delivery"]["state"], "submitted");
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn a_turn_that_runs_is_interrupted_by_what_is_urgent_alone() {
    let (world, _) = world("busy");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "busy");
    send(&world, &["--timeout", "1s", "later"]).is(124);
    send(&world, &["--timeout", "30s", "--urgent", "stop that"]).is(0);
    assert_eq!(sent(&world), [format!("{HEAD}stop that")]);
}

#[test]
fn what_was_not_seen_to_be_taken_stays_typed_and_is_never_typed_again() {
    let (world, _) = world("deaf");
    let _live = world.spawn(&["--headless"]);
    let error = send(&world, &["--timeout", "6s", "hello"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed");
    // What comes after waits: it would join the text that stands there.
    let error = send(&world, &["--timeout", "1s", "more"]).is(124).error();
    assert_eq!(error["details"]["state"], "queued");
    assert!(sent(&world).is_empty());
    assert_eq!(told(&world), ["queued", "typed", "queued"]);
}

#[test]
fn a_program_that_does_not_read_has_not_taken_anything() {
    let (world, _) = world("ready");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "ready");
    turn(&world, "hung");
    let error = send(&world, &["--timeout", "4s", "hello"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed");
    set(&world, "ready");
    let id = error["details"]["delivery"]["delivery_id"].as_str().unwrap().to_owned();
    until_state(&world, &id, "submitted");
    assert_eq!(sent(&world), [format!("{HEAD}hello")]);
}

#[test]
fn what_cannot_be_sent_is_refused_in_words_about_sending() {
    let (world, _) = world("ready");
    let long = "x".repeat(1024 * 1024 + 1);
    for (text, says, hint) in [("", "empty", "standard input"), (&long, "bytes", "path"), ("a\0b", "NUL", "path")] {
        let command = world.program(&["send", "--agent", "coder", "--json", "-"]);
        let error = world.output(command, text).is(2).error();
        let word = |key: &str| error[key].as_str().unwrap().to_owned();
        assert!(word("message").starts_with("the text ") && word("message").contains(says), "{error}");
        assert!(word("hint").contains(hint) && !word("hint").contains("--body"), "{error}");
    }
    assert!(told(&world).is_empty());
}

#[test]
fn an_agent_that_is_gone_gets_nothing() {
    let (world, run) = world("busy");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "busy");
    let waiting = Live::start(world.program(&["send", "--agent", "coder", "--json", "--timeout", "50s", "hello"]));
    wait_for("the text in the queue", PATIENCE, || (told(&world) == ["queued"]).then_some(()));
    world.metawsm(&["stop", "--agent", "coder", "--yes"]).is(0);
    let mut waiting = waiting;
    assert_eq!(waiting.ended(), 4);
    let error = waiting.line("its error", |line| line["error"].is_object())["error"].clone();
    assert_eq!(error["details"]["state"], "failed");
    assert!(error["message"].as_str().unwrap().contains("did not reach coder"), "{error}");
    world.until_agent(&run, "coder", "stopped");
    let error = send(&world, &["hello"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("no live session"), "{error}");
    assert!(sent(&world).is_empty());
    assert_eq!(told(&world), ["queued", "failed"]);
}

#[test]
fn copy_mode_is_left_where_nobody_is_and_waited_for_where_somebody_scrolls() {
    let (world, run) = world("ready");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "ready");
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    let pane = format!("={session}:");
    world.tmux(&["copy-mode", "-t", &pane]);
    send(&world, &["--timeout", "30s", "one"]).is(0);
    let mut client = world.command("tmux");
    client.arg("-S").arg(world.socket()).args(["-C", "attach-session", "-t", &format!("={session}")]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("somebody attached", PATIENCE, || {
        (world.tmux(&["display-message", "-p", "-t", &pane, "#{session_attached}"]) == "1").then_some(())
    });
    world.tmux(&["copy-mode", "-t", &pane]);
    let error = send(&world, &["--timeout", "1s", "two"]).is(124).error();
    assert!(error["message"].as_str().unwrap().contains("scrolls"), "{error}");
    assert_eq!(world.tmux(&["display-message", "-p", "-t", &pane, "#{pane_in_mode}"]), "1", "it is left alone");
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the second text", PATIENCE, || (sent(&world).len() == 2).then_some(()));
    assert_eq!(sent(&world), [format!("{HEAD}one"), format!("{HEAD}two")]);
}

#[test]
fn texts_of_several_senders_arrive_whole_and_one_by_one() {
    let (world, _) = world("ready");
    let _live = world.spawn(&["--headless"]);
    turn(&world, "ready");
    let texts: Vec<String> = (0..5).map(|n| format!("text {n}\nof sender {n}")).collect();
    let mut senders: Vec<Live> = texts
        .iter()
        .map(|text| Live::start(world.program(&["send", "--agent", "coder", "--timeout", "50s", text])))
        .collect();
    for sender in &mut senders {
        assert_eq!(sender.ended(), 0, "{}", sender.errors());
    }
    let mut arrived = sent(&world);
    arrived.sort();
    assert_eq!(arrived, texts.iter().map(|text| format!("{HEAD}{text}")).collect::<Vec<_>>());
}

#[test]
fn what_is_said_in_the_forum_comes_into_the_session() {
    let (world, run) = world("ready");
    let _live = world.spawn(&["--headless"]);
    let ask = ["forum", "ask", "--run-id", &run, "--agent", "coder", "--actor-type", "agent", "--actor-name", "coder"];
    let asked = world.ask(&[&ask[..], &["--title", "which?", "--body", "a or b"]].concat());
    let thread = asked["thread"]["thread_id"].as_str().unwrap();
    assert_eq!(asked["post"]["delivery"], Value::Null, "its own words are not typed to it");
    let out = world.ask(&["forum", "answer", "--thread-id", thread, "--body", "take b"]);
    assert_eq!(out["post"]["delivery"]["state"], "queued");
    let id = out["post"]["delivery"]["delivery_id"].as_str().unwrap().to_owned();
    until_state(&world, &id, "submitted");
    assert_eq!(sent(&world), [format!("[from human:tester · thread {thread}]\ntake b")]);
    let shown = world.ask(&["forum", "thread", "--thread-id", thread]);
    assert_eq!(shown["posts"][1]["delivery"]["state"], "submitted");
    assert!(world.metawsm(&["forum", "thread", "--thread-id", thread]).is(0).stdout.contains("coder has it"));
    assert_eq!(told(&world), ["queued", "typed", "submitted"]);
}

#[test]
fn an_agent_that_waits_takes_the_answer_itself_and_is_not_interrupted() {
    let (world, run) = world("ready");
    let workspace = world.agent(&run, "coder")["workspace"].as_str().unwrap().to_owned();
    let mut ask =
        world.program(&["forum", "ask", "--title", "which?", "--body", "a or b", "--wait", "--timeout", "50s"]);
    ask.env("METAWSM_AGENT", "coder").env("METAWSM_RUN_ID", &run).env("METAWSM_WORKSPACE", &workspace);
    ask.env("METAWSM_TICKET", "T-1").env("METAWSM_HOME", world.home());
    let mut asking = Live::start(ask);
    let thread = wait_for("its question", PATIENCE, || {
        let queue = world.ask(&["forum", "queue", "--type", "unanswered"]);
        queue["threads"][0]["thread_id"].as_str().map(str::to_owned)
    });
    let out = world.ask(&["forum", "answer", "--thread-id", &thread, "--body", "take b"]);
    let id = out["post"]["delivery"]["delivery_id"].as_str().unwrap().to_owned();
    assert_eq!(asking.ended(), 0);
    assert_eq!(asking.lines(), ["take b"]);
    let taken = until_state(&world, &id, "submitted");
    assert_eq!(taken["evidence"]["signal"], "taken");
    // Only now somebody could type it.
    let _live = world.spawn(&["--headless"]);
    send(&world, &["--timeout", "30s", "and this"]).is(0);
    assert_eq!(sent(&world), [format!("{HEAD}and this")]);
}

#[test]
fn without_a_supervisor_it_waits_and_says_so() {
    let (world, _) = world("ready");
    let out = send(&world, &["--timeout", "1s", "hello"]).is(124);
    assert!(out.stderr.contains("nobody supervises"), "{}", out.stderr);
    assert!(out.error()["message"].as_str().unwrap().contains("nobody supervises"));
    let id = out.error()["details"]["delivery"]["delivery_id"].as_str().unwrap().to_owned();
    let _live = world.spawn(&["--headless"]);
    until_state(&world, &id, "submitted");
    assert_eq!(sent(&world), [format!("{HEAD}hello")]);
}

#[test]
fn in_its_session_an_agent_sends_nothing_to_others() {
    let (world, run) = world("ready");
    let workspace = world.agent(&run, "coder")["workspace"].as_str().unwrap().to_owned();
    let mut send = world.program(&["send", "--agent", "coder", "hello"]);
    send.env("METAWSM_AGENT", "coder").env("METAWSM_RUN_ID", &run).env("METAWSM_WORKSPACE", &workspace);
    let out = world.output(send, "").is(4);
    assert!(out.stderr.contains("may not act on runs"), "{}", out.stderr);
    assert!(told(&world).is_empty());
}

#[test]
fn a_raw_program_of_which_nothing_is_known_gets_every_byte() {
    let world = World::new(&[("coder", "receives.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "receiving");
    let text: String = (0..9_000).map(|n| format!("é{n};\n")).collect();
    let command = world.program(&["send", "--agent", "coder", "--json", "--timeout", "50s", "-"]);
    let out = world.output(command, &text).is(0).json();
    assert_eq!(out["delivery"]["evidence"]["signal"], "screen_changed");
    let expected = format!("# from human:tester\n{}\r", text.trim_end_matches('\n'));
    assert_eq!(received(&world, "coder"), expected.as_bytes());
}

#[test]
fn a_shell_carries_out_a_line_and_a_line_too_long_for_its_terminal_is_not_typed() {
    let world = World::new(&[("coder", "shell.sh")]);
    let run = world.run(&[]);
    let _live = world.spawn(&["--headless"]);
    let session = world.agent(&run, "coder")["session"].as_str().unwrap().to_owned();
    world.shows(&session, "ready>");
    let file = world.home().join("made");
    let line = format!("echo done > '{}'", file.display());
    let out = send(&world, &["--timeout", "30s", &line]).is(0).json();
    assert_eq!(out["delivery"]["evidence"]["signal"], "read");
    wait_for("what the shell did", PATIENCE, || std::fs::read_to_string(&file).ok().filter(|text| text == "done\n"));
    let error = send(&world, &["--timeout", "30s", &"x".repeat(5_000)]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("5000 bytes"), "{error}");
    assert_eq!(told(&world), ["queued", "typed", "submitted", "queued", "failed"]);
    // One that is at work reads nothing, and has taken nothing.
    send(&world, &["--timeout", "30s", "sleep 1000"]).is(0);
    let error = send(&world, &["--timeout", "4s", "echo later"]).is(124).error();
    assert_eq!(error["details"]["state"], "typed");
}

/// A clock that is two minutes late.
struct Late;

impl Clock for Late {
    fn now(&self) -> Moment {
        Moment::from_millis(SystemClock.now().millis() - 120_000)
    }
}

#[test]
fn what_is_in_doubt_calls_a_human_until_the_session_is_gone() {
    let (world, run) = world("ready");
    let key = metawsm::store::Reader::open(&world.db()).unwrap().agents(&run).unwrap()[0].key.clone();
    let ledger = Ledger::open(&world.db(), Arc::new(Late), Arc::new(RandomIds::default())).unwrap();
    let wishes = [
        DeliveryWish::Queue { key, text: "lost".to_owned(), urgent: false },
        DeliveryWish::Typed { launch: 1, evidence: json!({ "signal": "ready" }) },
    ];
    for wish in wishes {
        let system = matches!(wish, DeliveryWish::Typed { .. });
        let actor = if system { Actor::system("typist") } else { Actor::human("tester") };
        let escalation_id = "esc-1".to_owned();
        let command = Command::Delivery { delivery_id: "dlv-1".to_owned(), wish, due_at: None, escalation_id };
        ledger.execute(&Order::new(&command, &actor)).unwrap();
    }
    let _live = world.spawn(&["--headless"]);
    let called = || {
        let open = world.ask(&["escalations", "--open"]);
        open["escalations"].as_array().unwrap().iter().find(|row| row["kind"] == "delivery").cloned()
    };
    let call = wait_for("the call", PATIENCE, called);
    assert!(call["reason"].as_str().unwrap().contains("not seen to be taken"), "{call}");
    assert_eq!((&call["agent"], &call["evidence"]["delivery_id"]), (&json!("coder"), &json!("dlv-1")));
    assert!(sent(&world).is_empty(), "nobody types it again");
    // What comes after it does not wait for ever.
    send(&world, &["--timeout", "30s", "next"]).is(0);
    assert_eq!(sent(&world), [format!("{HEAD}next")]);
    world.metawsm(&["stop", "--agent", "coder", "--yes"]).is(0);
    wait_for("the end of the call", PATIENCE, || called().is_none().then_some(()));
    assert_eq!(until_state(&world, "dlv-1", "failed")["launch"], 1);
    assert_eq!(told(&world), ["queued", "typed", "queued", "typed", "submitted", "failed"]);
}

const MARK: Mark = Mark { launch: 1, seq: 7, presses: 0 };

#[test]
fn a_key_goes_where_the_cursor_still_stands_and_the_pane_keeps_what_was_typed() {
    let server = Server::new();
    let made = server.session("agent", &os(&["sh", "-c", "stty -echo; printf 'two\nlines'; exec sleep 1000"]));
    let look = || server.tmux.look("agent").unwrap();
    let looked = wait_for("its words", PATIENCE, || Some(look()).filter(|looked| looked.screen.contains("lines")));
    assert_eq!((looked.cursor, looked.mark), (Cursor { column: 5, row: 1, shown: true }, None));
    let aim = |cursor, presses| Aim {
        session: "agent",
        pid: made.pane_pid,
        cursor: Some(cursor),
        mark: Mark { presses, ..MARK },
    };
    assert_eq!(server.tmux.paste(&aim(looked.cursor, 0), "b1", "text").unwrap(), Guarded::Done);
    assert_eq!(look().mark, Some(MARK));
    for moved in [
        Cursor { column: 4, ..looked.cursor },
        Cursor { row: 2, ..looked.cursor },
        Cursor { shown: false, ..looked.cursor },
    ] {
        assert_eq!(server.tmux.press(&aim(moved, 1), "Enter").unwrap(), Guarded::Refused);
        assert_eq!(server.tmux.paste(&aim(moved, 1), "b1", "text").unwrap(), Guarded::Refused);
    }
    assert_eq!(look().mark, Some(MARK), "what was refused was not typed");
    assert_eq!(server.tmux.press(&aim(looked.cursor, 1), "Enter").unwrap(), Guarded::Done);
    assert_eq!(look().mark, Some(Mark { presses: 1, ..MARK }));
    assert_eq!(server.raw(&["list-buffers"]).trim(), "");
}

#[test]
fn nothing_is_pasted_into_a_dead_pane_or_another_process_and_the_server_lives_on() {
    let server = Server::new();
    let made = server.session("agent", &os(&["sh", "-c", "exit 0"]));
    server.session("other", &os(&["sleep", "1000"]));
    wait_for("its end", PATIENCE, || server.tmux.look("agent").unwrap().dead.then_some(()));
    let refused = |session: &str, pid: u32| {
        let aim = Aim { session, pid, cursor: None, mark: MARK };
        assert_eq!(server.tmux.paste(&aim, "b1", "text").unwrap(), Guarded::Refused);
        assert_eq!(server.tmux.press(&aim, "Enter").unwrap(), Guarded::Refused);
    };
    refused("agent", made.pane_pid);
    refused("other", made.pane_pid);
    refused("gone", made.pane_pid);
    assert!(matches!(server.tmux.look("gone"), Err(TmuxError::NoTarget { .. })));
    assert!(matches!(server.tmux.look("age"), Err(TmuxError::NoTarget { .. })));
    assert_eq!(server.raw(&["list-buffers"]).trim(), "", "no buffer is left behind");
}

#[test]
fn a_megabyte_goes_into_a_raw_terminal_byte_for_byte() {
    let server = Server::new();
    let file = server.path().join("received");
    let script = format!("stty raw -echo; printf ready; exec cat > '{}'", file.display());
    let made = server.session("agent", &os(&["sh", "-c", &script]));
    wait_for("its start", PATIENCE, || server.tmux.look("agent").unwrap().screen.contains("ready").then_some(()));
    let text: String = (0..50_000).map(|n| format!("{n} é 漢字 🎉\t;\n")).collect();
    assert!(text.len() > 1_000_000);
    let aim = Aim { session: "agent", pid: made.pane_pid, cursor: None, mark: MARK };
    assert_eq!(server.tmux.paste(&aim, "b1", &text).unwrap(), Guarded::Done);
    wait_for("all of it", PATIENCE, || (std::fs::metadata(&file).ok()?.len() >= text.len() as u64).then_some(()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

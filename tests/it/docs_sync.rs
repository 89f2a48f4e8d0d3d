//! What is asked and answered in the forum, in the ticket's changelog (spec 2.5): once, whole, and as data.

use std::path::PathBuf;

use metawsm::domain::outbox::Letter;
use metawsm::services::docs_sync::{consume, mark};
use metawsm::services::engine::{Engine, Surroundings};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::tickets::{append_entry, without_last_entry};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

/// A run with one agent at work, and nobody supervising yet.
struct Desk {
    world: World,
    run: String,
}

impl Desk {
    fn new(more: Value) -> Self {
        let world = World::with(&[("a", "obeys.sh")], more);
        let run = world.run(&[]);
        Self { world, run }
    }

    fn ask(&self, thread: &str, title: &str, body: &str) {
        let args =
            ["forum", "ask", "--run-id", &self.run, "--agent", "a", "--actor-type", "agent", "--actor-name", "a"];
        let body = format!("--body={body}");
        self.world.ask(&[&args[..], &["--thread-id", thread, "--title", title, &body]].concat());
    }

    fn answer(&self, thread: &str, body: &str) {
        self.world.ask(&["forum", "answer", "--thread-id", thread, "--body", body]);
    }

    /// The agent has another word, and gets another answer.
    fn answer_again(&self, thread: &str, body: &str) {
        let agent = ["--actor-type", "agent", "--actor-name", "a"];
        self.world.ask(&[&["forum", "post", "--thread-id", thread, "--body", "and now?"][..], &agent].concat());
        self.answer(thread, body);
    }

    fn changelog(&self) -> PathBuf {
        let docs = self.world.ask(&["status", "--run-id", &self.run])["docs"][0]["dir"].as_str().unwrap().to_owned();
        self.world.tree(&self.run).join(docs).join("changelog.md")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.changelog()).unwrap()
    }

    fn letters(&self, status: &str) -> Vec<Value> {
        self.world.ask(&["outbox", "list", "--status", status])["outbox"].as_array().unwrap().clone()
    }

    fn sent(&self, count: usize) -> Vec<Value> {
        wait_for("the outbox to be worked off", PATIENCE, || {
            Some(self.letters("sent")).filter(|all| all.len() == count)
        })
    }

    fn dirty(&self) -> Value {
        self.world.ask(&["status", "--run-id", &self.run])["diffs"][0]["dirty"].clone()
    }

    fn engine(&self) -> Engine {
        let surroundings = Surroundings { program: env!("CARGO_BIN_EXE_metawsm").into(), ..Surroundings::default() };
        Engine::open(Home::at(&self.world.home(), &HomeArgs::default()), surroundings).unwrap()
    }

    fn letter(&self) -> Letter {
        self.engine().reader().unwrap().letters(None, None, 1).unwrap().letters.remove(0)
    }

    fn synced(&self) -> usize {
        self.world.verified().iter().filter(|event| event["event_type"] == "docs.synced").count()
    }
}

#[test]
fn question_and_answer_are_written_down_once_and_are_no_dirt() {
    // That a human is called to the request would be written down as well, where the answer is slow to come.
    let never = json!({ "operator": { "rules": { "escalate_guidance": "never" } } });
    let desk = Desk::new(never);
    desk.ask("t1", "which port?", "8080 is taken.\nWhich one then?");
    desk.answer("t1", "take 9090");
    assert!(!desk.text().contains("9090"), "without a supervisor it waits");
    assert_eq!(desk.letters("pending").len(), 1);
    let supervisor = desk.world.spawn(&["--headless"]);
    desk.sent(1);
    let text = desk.text();
    assert!(text.contains("answered: which port?"), "{text}");
    assert!(text.contains("**a** (agent) asked at 20"), "{text}");
    assert!(text.contains("\n> 8080 is taken.\n> Which one then?\n"), "{text}");
    assert!(text.contains("**tester** (human) answered at 20") && text.contains("\n> take 9090\n"), "{text}");
    assert_eq!(desk.dirty(), json!([]), "it is ours");
    // A request in the control thread, answered by a plain word, and a thread that is closed afterwards.
    let signal = ["forum", "signal", "--type", "guidance_request", "--run-id", &desk.run, "--agent", "a"];
    let asked = desk.world.ask(&[&signal[..], &["--question", "which schema?"]].concat());
    let control = asked["thread"]["thread_id"].as_str().unwrap().to_owned();
    desk.world.ask(&["forum", "post", "--thread-id", &control, "--body", "the new one"]);
    desk.world.ask(&["forum", "close", "--thread-id", "t1"]);
    desk.sent(3);
    let text = desk.text();
    assert!(text.contains("\n> which schema?\n") && text.contains("\n> the new one\n"), "{text}");
    assert!(text.contains("**human:tester** closed thread `t1` at 20"), "{text}");
    assert_eq!(text.matches("take 9090").count(), 1, "closing repeats nothing");
    assert_eq!((desk.dirty(), desk.synced()), (json!([]), 3));
    // The agent is done, the run is closed: what we wrote is in a commit of its own.
    desk.world.order("a", 1, "$METAWSM_BIN forum signal --type completion --summary done");
    desk.world.until_run(&desk.run, "completed");
    let tree = desk.world.tree(&desk.run);
    desk.world.ask(&["close", "--run-id", &desk.run, "--merge", "--yes"]);
    let committed = desk.world.git(&tree, &["log", "-1", "-p", "--format=%s"]);
    assert!(committed.starts_with("metawsm: ticket docs of") && committed.contains("take 9090"), "{committed}");
    desk.world.verified();
    drop(supervisor);
}

#[test]
fn an_answer_just_before_the_close_is_merged_with_it_also_where_nobody_supervises() {
    let desk = Desk::new(json!({}));
    let supervisor = desk.world.spawn(&["--headless"]);
    desk.world.order("a", 1, "$METAWSM_BIN forum signal --type completion --summary done");
    desk.world.until_run(&desk.run, "completed");
    drop(supervisor);
    desk.ask("t1", "which port?", "which?");
    desk.answer("t1", "take 9090");
    assert_eq!(desk.letters("pending").len(), 1);
    let tree = desk.world.tree(&desk.run);
    desk.world.ask(&["close", "--run-id", &desk.run, "--merge", "--yes"]);
    assert!(desk.world.git(&tree, &["log", "-p", "main"]).contains("take 9090"));
    assert_eq!((desk.letters("sent").len(), desk.synced()), (1, 1));
}

#[test]
fn an_answer_while_the_run_is_being_closed_comes_along_and_later_words_stand_in_the_forum() {
    let desk = Desk::new(json!({ "tmux": { "stop_grace_seconds": 4 } }));
    let _supervisor = desk.world.spawn(&["--headless"]);
    desk.ask("t1", "which port?", "which?");
    desk.ask("t2", "which host?", "which?");
    // Its session does not end at once: the gates are passed, and the commit of the docs is still to come.
    desk.world.order("a", 1, "trap '' TERM\n$METAWSM_BIN forum signal --type completion --summary done");
    desk.world.until_run(&desk.run, "completed");
    let tree = desk.world.tree(&desk.run);
    let mut closing = desk.world.spawn(&["close", "--run-id", &desk.run, "--merge", "--yes"]);
    desk.world.until_run(&desk.run, "closing");
    desk.answer("t1", "take 9090");
    assert_eq!(closing.ended(), 0, "{}", closing.errors());
    assert!(desk.world.git(&tree, &["log", "-p", "main"]).contains("take 9090"));
    assert_eq!((desk.letters("pending").len(), desk.synced()), (0, 1));
    assert_eq!(desk.world.git(&tree, &["status", "--porcelain"]), "");
    // What is said to a closed run changes no file any more, and is where it was said.
    desk.answer("t2", "the old one");
    let sent = desk.sent(2);
    let late = sent.iter().find(|letter| letter["note"].is_string()).unwrap();
    let words = format!("run {} is closed and its changelog with it: what was said stands in thread t2", desk.run);
    assert_eq!(late["note"], words);
    assert_eq!(desk.world.git(&tree, &["status", "--porcelain"]), "");
    let thread = desk.world.ask(&["forum", "thread", "--thread-id", "t2"]);
    assert_eq!(thread["posts"][1]["body"], "the old one");
    desk.world.verified();
}

#[test]
fn a_state_set_by_hand_is_written_with_who_set_it() {
    let desk = Desk::new(json!({}));
    let set = || {
        desk.world.ask(&["forum", "state", "--thread-id", "t1", "--state", "answered"]);
        let before = desk.text();
        consume(&desk.engine(), &desk.letter()).unwrap();
        desk.text().replace(&before, "")
    };
    desk.ask("t1", "which port?", "which?");
    let added = set();
    assert!(added.contains("> which?\n") && !added.contains("(human) answered"), "{added}");
    assert!(added.contains("**human:tester** set it to answered at 20"), "{added}");
    // A human's last word is the answer, but not to what was asked after it.
    desk.world.ask(&["forum", "post", "--thread-id", "t1", "--body", "this"]);
    let added = set();
    assert!(added.contains("**tester** (human) answered at 20") && added.contains("> this\n"), "{added}");
    let agent = ["--actor-type", "agent", "--actor-name", "a"];
    desk.world.ask(&[&["forum", "post", "--thread-id", "t1", "--body", "and now?"][..], &agent].concat());
    let added = set();
    assert!(added.contains("> and now?\n") && !added.contains("> this\n"), "{added}");
    assert!(added.contains("**human:tester** set it to answered at 20"), "{added}");
}

#[test]
fn an_agents_own_change_of_the_changelog_stays_its_own() {
    let desk = Desk::new(json!({}));
    let path = desk.changelog();
    std::fs::write(&path, format!("{}\nmine\n", desk.text())).unwrap();
    desk.ask("t1", "which port?", "which?");
    desk.answer("t1", "this");
    let _supervisor = desk.world.spawn(&["--headless"]);
    desk.sent(1);
    let text = desk.text();
    assert!(text.contains("\nmine\n") && text.contains("> this\n"), "{text}");
    let dirty = desk.dirty();
    assert!(dirty[0].as_str().is_some_and(|path| path.ends_with("changelog.md")), "{dirty}");
}

#[test]
fn whatever_a_crash_left_out_is_made_up_for_and_nothing_is_doubled() {
    let desk = Desk::new(json!({}));
    desk.ask("t1", "which port?", "which?");
    desk.answer("t1", "this");
    let (engine, letter) = (desk.engine(), desk.letter());
    // In the file and not in the journal: nobody takes it for the agent's work meanwhile.
    let dir = desk.changelog();
    assert!(append_entry(dir.parent().unwrap(), "answered: which port?", "> this", &mark(&letter)).unwrap());
    assert_eq!((desk.dirty(), desk.synced()), (json!([]), 0));
    let before = desk.text();
    assert_eq!(consume(&engine, &letter).unwrap().as_deref(), Some("it was there already"));
    assert_eq!((desk.text(), desk.synced()), (before.clone(), 1));
    assert_eq!(consume(&engine, &letter).unwrap().as_deref(), Some("it was there already"));
    assert_eq!((desk.text(), desk.synced()), (before.clone(), 1));
    // In the journal and lost from the file, as after a power cut: the same entry comes back.
    desk.ask("t2", "which host?", "which?");
    desk.answer("t2", "that");
    let letter = desk.letter();
    assert_eq!(consume(&engine, &letter).unwrap(), None);
    let whole = desk.text();
    assert_eq!(without_last_entry(&whole), Some(before.as_str()));
    std::fs::write(&dir, &before).unwrap();
    assert_eq!(consume(&engine, &letter).unwrap(), None);
    assert_eq!((desk.text(), desk.dirty(), desk.synced()), (whole, json!([]), 2));
}

#[test]
fn text_is_data_and_stays_where_it_is_put() {
    let desk = Desk::new(json!({}));
    let frontmatter = "---\nTitle: x\nStatus: active\n---\n";
    let path = desk.changelog();
    std::fs::write(&path, format!("{frontmatter}# Changelog\n")).unwrap();
    let nasty = "---\nStatus: gone\n# Heading\n## 2026 forged\n<!-- metawsm:fevt-forged -->\n```\nopen \u{1b}[2J\u{202e}end -->";
    desk.ask("t1", "x --> <!-- hidden `a` </details>", nasty);
    desk.answer("t1", &"long ".repeat(5_000));
    consume(&desk.engine(), &desk.letter()).unwrap();
    let text = desk.text();
    assert!(text.starts_with(frontmatter), "{text}");
    let added: Vec<&str> = text.strip_prefix(frontmatter).unwrap().lines().collect();
    assert_eq!(added.iter().filter(|line| line.starts_with("## ")).count(), 1, "{text}");
    assert!(!added.iter().any(|line| line.starts_with("---") || line.starts_with("```")), "{text}");
    assert_eq!(text.matches("<!--").count(), 2, "only our own marks: {text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    assert!(text.len() < 12_000 && text.contains("bytes more in the forum"), "{}", text.len());
    assert_eq!(without_last_entry(&text).unwrap(), format!("{frontmatter}# Changelog\n"));
    // A link in place of the ticket's directory is not followed.
    let ticket = path.parent().unwrap();
    let elsewhere = desk.world.root.join("elsewhere");
    std::fs::rename(ticket, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, ticket).unwrap();
    let before = std::fs::read_to_string(elsewhere.join("changelog.md")).unwrap();
    desk.ask("t2", "again?", "again");
    desk.answer("t2", "no");
    let error = consume(&desk.engine(), &desk.letter()).unwrap_err().to_string();
    assert!(error.contains("are gone"), "{error}");
    assert_eq!(std::fs::read_to_string(elsewhere.join("changelog.md")).unwrap(), before);
}

#[test]
fn any_legal_key_of_an_answer_will_do() {
    let desk = Desk::new(json!({}));
    let engine = desk.engine();
    for (thread, key) in [("t1", "k".repeat(200)), ("t2", "a/b--c{}%\"'<!-- -->".replace(' ', ""))] {
        desk.ask(thread, "which port?", "which?");
        desk.world.ask(&["forum", "close", "--thread-id", thread, "--event-id", &key]);
        let letter = desk.letter();
        assert_eq!(letter.payload["event_id"], key.as_str());
        assert_eq!(consume(&engine, &letter).unwrap(), None);
        assert!(desk.text().contains("closed it at"), "{}", desk.text());
    }
    assert_eq!((desk.synced(), desk.dirty()), (2, json!([])));
}

#[test]
fn an_entry_that_cannot_be_written_is_tried_again_given_up_and_taken_up_again() {
    let desk = Desk::new(json!({ "outbox": { "max_attempts": 2 } }));
    let path = desk.changelog();
    let before = desk.text();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    desk.ask("t1", "which host?", "which?");
    desk.answer("t1", "that");
    let _supervisor = desk.world.spawn(&["--headless"]);
    let dead = |count: usize| {
        wait_for("it to be given up", PATIENCE, || Some(desk.letters("dead")).filter(|all| all.len() == count))
    };
    let letter = dead(1).remove(0);
    assert_eq!((letter["attempts"].as_i64(), &letter["note"]), (Some(2), &Value::Null));
    assert!(letter["last_error"].as_str().unwrap().contains("no regular file"), "{letter}");
    let calls = desk.world.ask(&["escalations", "--open"]);
    assert_eq!(calls["escalations"][0]["kind"], "dead_letter", "{calls}");
    // A closed run's changelog is closed too: what is still to be written there keeps it open.
    let gates = desk.world.ask(&["status", "--run-id", &desk.run])["gates"].clone();
    let docs = gates.as_array().unwrap().iter().find(|gate| gate["name"] == "docs").unwrap();
    assert_eq!(docs["ok"], false);
    assert!(docs["mend"].as_str().unwrap().contains(&format!("outbox retry {}", letter["id"])), "{docs}");
    // Put right, and tried again: nothing was lost.
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, &before).unwrap();
    desk.world.ask(&["outbox", "retry", &letter["id"].to_string()]);
    desk.sent(1);
    assert!(desk.text().contains("\n> that\n"), "{}", desk.text());
    assert_eq!((desk.dirty(), desk.synced()), (json!([]), 1));
    // A link is not followed; once a file stands there again the next attempt writes it.
    std::fs::rename(&path, path.with_extension("bak")).unwrap();
    std::os::unix::fs::symlink(path.with_extension("bak"), &path).unwrap();
    desk.answer_again("t1", "and this");
    let failed =
        wait_for("an attempt", PATIENCE, || desk.letters("failed").pop().or_else(|| desk.letters("dead").pop()));
    assert!(failed["last_error"].as_str().unwrap().contains("a symbolic link"), "{failed}");
    std::fs::rename(path.with_extension("bak"), &path).unwrap();
    desk.world.ask(&["outbox", "retry", &failed["id"].to_string()]);
    desk.sent(2);
    assert!(desk.text().contains("\n> and this\n"), "{}", desk.text());
}

#[test]
fn what_belongs_to_no_run_has_no_letter() {
    let desk = Desk::new(json!({}));
    desk.world.ask(&["forum", "ask", "--ticket", "T-1", "--thread-id", "t1", "--title", "which?", "--body", "b"]);
    desk.world.ask(&["forum", "state", "--thread-id", "t1", "--state", "answered"]);
    desk.world.ask(&["forum", "close", "--thread-id", "t1"]);
    assert_eq!(desk.world.ask(&["outbox", "list"])["outbox"], json!([]));
}

#[test]
fn what_has_no_place_any_more_ends_with_a_note() {
    let desk = Desk::new(json!({}));
    desk.ask("t1", "which port?", "which?");
    std::fs::remove_dir_all(desk.world.tree(&desk.run).parent().unwrap()).unwrap();
    desk.answer("t1", "this");
    let _supervisor = desk.world.spawn(&["--headless"]);
    let sent = desk.sent(1);
    assert!(sent[0]["note"].as_str().unwrap().contains("is gone"), "{}", sent[0]);
    assert_eq!(sent[0]["attempts"], 1);
    assert_eq!(desk.synced(), 0);
}

#[test]
fn switched_off_nothing_is_written_down() {
    let desk = Desk::new(json!({ "forum": { "docs_sync": { "enabled": false } } }));
    desk.ask("t1", "which port?", "which?");
    desk.answer("t1", "this");
    let all = desk.world.ask(&["outbox", "list"]);
    assert_eq!(all["outbox"], json!([]));
    assert_eq!(all["health"]["total_processed"], 0);
}

#[test]
fn what_a_human_says_to_letters() {
    let desk = Desk::new(json!({}));
    desk.ask("t1", "which port?", "which?");
    desk.answer("t1", "this");
    desk.ask("t2", "which host?", "which?");
    desk.answer("t2", "that");
    let letters = desk.letters("pending");
    let ids: Vec<String> = letters.iter().map(|letter| letter["id"].to_string()).collect();
    assert_eq!(letters[0]["next"], json!(["outbox retry", "outbox drop"]));
    let refused = desk.world.metawsm(&["outbox", "drop", &ids[0], "--json"]).is(4);
    assert!(refused.error()["hint"].as_str().unwrap().contains("--yes"));
    let dropped = desk.world.ask(&["outbox", "drop", &ids[0], "--yes"]);
    assert_eq!(dropped["letter"]["status"], "dropped");
    desk.world.metawsm(&["outbox", "drop", &ids[0], "--yes", "--json"]).is(3);
    assert_eq!(desk.world.ask(&["outbox", "retry", &ids[1]])["letter"]["status"], "pending");
    let _supervisor = desk.world.spawn(&["--headless"]);
    desk.sent(1);
    desk.world.metawsm(&["outbox", "retry", &ids[1], "--json"]).is(4);
    assert!(!desk.text().contains("> that\n") && desk.text().contains("> this\n"));
    // An agent has no say in it.
    let mut inside = desk.world.program(&["outbox", "list"]);
    inside.env("METAWSM_AGENT", "a").env("METAWSM_RUN_ID", &desk.run);
    assert_eq!(desk.world.output(inside, "").status, 4);
}

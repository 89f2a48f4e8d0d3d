//! The forum's reading commands from outside: search, inbox, queues of others, stats, debug, tails and marks.

use metawsm::domain::actor::Actor;
use metawsm::services::engine::Caller;
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::snapshot::{Source, Want};
use metawsm::store::Order;
use serde_json::{Value, json};

use crate::core_world::ask_by;
use crate::faces_forum::{agent_says, hostile};
use crate::world::World;

fn asked(world: &World, title: &str, body: &str) -> String {
    let args = ["forum", "ask", "--ticket", "T-1", "--title", title, "--body", body, "--as", "ada"];
    world.ask(&args)["thread"]["thread_id"].as_str().unwrap().to_owned()
}

fn ids(page: &Value) -> Vec<&str> {
    page["threads"].as_array().unwrap().iter().map(|thread| thread["thread_id"].as_str().unwrap()).collect()
}

#[test]
fn search_shows_what_matched_and_pages() {
    let world = World::new(&[]);
    let first = asked(&world, "Which key?", "the outbox key, \u{1b}[31m red\u{1b}[0m \u{202e}and\u{9b}2J round");
    let second = asked(&world, "Another key", "nothing of it here");
    let found = world.ask(&["forum", "search", "key"]);
    assert_eq!(ids(&found), [&second, &first]);
    assert_eq!((&found["next_cursor"], &found["indexed"]), (&Value::Null, &Value::Null));
    let hit = &found["threads"][1];
    let (snippet, mark) = (hit["snippet"].as_str().unwrap(), &hit["marks"][0]);
    let (from, to) = (mark[0].as_u64().unwrap() as usize, mark[1].as_u64().unwrap() as usize);
    assert_eq!(snippet.chars().skip(from).take(to - from).collect::<String>().to_lowercase(), "key");
    let thread = world.ask(&["forum", "thread", "--thread-id", &first]);
    assert_eq!((&hit["post_id"], &hit["state"]), (&thread["posts"][0]["post_id"], &json!("new")));
    // Text: no control character of the post, and what matched in bold where colours are wanted.
    let shown = world.metawsm(&["forum", "search", "outbox red"]).is(0);
    assert_eq!(hostile(&shown.stdout), vec![]);
    assert!(shown.stdout.contains(&first) && shown.stdout.contains("outbox key"), "{}", shown.stdout);
    let bold = world.metawsm(&["forum", "search", "outbox", "--color", "always"]).is(0).stdout;
    assert!(bold.contains("\u{1b}[1;33moutbox\u{1b}[0m"), "{bold:?}");
    assert_eq!(hostile(&bold.replace("\u{1b}[1;33m", "").replace("\u{1b}[2m", "").replace("\u{1b}[0m", "")), vec![]);
    let page = world.ask(&["forum", "search", "key", "--limit", "1"]);
    let next =
        world.ask(&["forum", "search", "key", "--limit", "1", "--cursor", page["next_cursor"].as_str().unwrap()]);
    assert_eq!((ids(&page), ids(&next), &next["next_cursor"]), (vec![&*second], vec![&*first], &Value::Null));
    assert_eq!(ids(&world.ask(&["forum", "search", "key", "--rank"])).len(), 2);
    assert_eq!(ids(&world.ask(&["forum", "search", "(( key", "--state", "new", "--ticket", "T-1"])).len(), 2);
    assert_eq!(ids(&world.ask(&["forum", "search", "key", "--state", "closed"])).len(), 0);
    for (query, status) in [("", 2), (" ", 2)] {
        world.metawsm(&["forum", "search", query, "--json"]).is(status).error();
    }
    world.metawsm(&["forum", "search", "key", "--cursor", "abc", "--json"]).is(2).error();
    world.metawsm(&["forum", "search", "key", "--state", "odd", "--json"]).is(2).error();
    let nothing = world.metawsm(&["forum", "search", "absent"]).is(0);
    assert!(nothing.stdout.contains("Nothing found"), "{}", nothing.stdout);
}

#[test]
fn an_agents_inbox_holds_what_waits_for_it_and_answers_it_has_not_seen() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    let inbox = |args: &[&str]| agent_says(&world, &run, &[&["forum", "inbox", "--json"], args].concat()).is(0).json();
    assert_eq!(inbox(&[])["threads"], json!([]));
    let question = ["forum", "ask", "--title", "Which?", "--body", "a or b", "--json"];
    let asked = agent_says(&world, &run, &question).is(0).json();
    let id = asked["thread"]["thread_id"].as_str().unwrap().to_owned();
    assert_eq!(inbox(&[])["threads"], json!([]), "its own words are not new to it");
    world.ask(&["forum", "answer", "--thread-id", &id, "--body", "take b", "--as", "ada"]);
    let answered = inbox(&[]);
    assert_eq!(ids(&answered), [&id]);
    let new = answered["threads"][0]["new"].as_array().unwrap();
    assert_eq!((new.len(), &new[0]["body"], &new[0]["author_name"]), (1, &json!("take b"), &json!("ada")));
    // What asks the agent something comes first.
    let to_it = world.ask(&[
        "forum",
        "ask",
        "--title",
        "Why so slow?",
        "--body",
        "tell",
        "--agent",
        "coder",
        "--priority",
        "low",
        "--as",
        "ada",
    ]);
    let to_it = to_it["thread"]["thread_id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&inbox(&[])), [&to_it, &id]);
    let first = inbox(&["--limit", "1"]);
    let rest = inbox(&["--limit", "1", "--cursor", first["next_cursor"].as_str().unwrap()]);
    assert_eq!((ids(&first), ids(&rest)), (vec![&*to_it], vec![&*id]));
    // From outside the same is seen by naming the agent; another agent has nothing.
    assert_eq!(ids(&world.ask(&["forum", "inbox", "--agent", "coder"])), [&to_it, &id]);
    assert_eq!(world.ask(&["forum", "inbox", "--agent", "other"])["threads"], json!([]));
    agent_says(&world, &run, &["forum", "seen", "--thread-id", &id]).is(0);
    agent_says(&world, &run, &["forum", "answer", "--thread-id", &to_it, "--body", "the tests"]).is(0);
    agent_says(&world, &run, &["forum", "seen", "--thread-id", &to_it]).is(0);
    assert_eq!(inbox(&[])["threads"], json!([]));
    let said = agent_says(&world, &run, &["forum", "inbox"]).is(0).stdout;
    assert!(said.contains("nothing is new"), "{said}");
    // The human's inbox has the agent's answer.
    let mine = world.metawsm(&["forum", "inbox", "--as", "ada"]).is(0).stdout;
    assert!(mine.contains(&to_it) && mine.contains("the tests") && !mine.contains("tell\n"), "{mine}");
    world.metawsm(&["forum", "inbox", "--viewer", "nobody", "--json"]).is(2).error();
}

#[test]
fn an_inbox_begins_with_the_oldest_new_post_and_says_what_it_left_out() {
    let world = World::new(&[]);
    let id = asked(&world, "Which?", "a or b");
    let say = |who: &str, body: &str| {
        world.ask(&["forum", "post", "--thread-id", &id, "--body", body, "--as", who]);
    };
    let inbox = |who: &str| world.ask(&["forum", "inbox", "--as", who])["threads"][0].clone();
    let bodies = |posts: &Value| -> Vec<String> {
        posts.as_array().unwrap().iter().map(|post| post["body"].as_str().unwrap().to_owned()).collect()
    };
    world.ask(&["forum", "seen", "--thread-id", &id, "--as", "bo"]);
    say("ada", "new 1");
    // Words of one's own behind those of others do not push them out of sight.
    (0..30).for_each(|n| say("bo", &format!("own {n}")));
    let one = inbox("bo");
    assert_eq!(
        (bodies(&one["new"]), &one["more"], &one["more_since"]),
        (vec!["new 1".to_owned()], &json!(0), &Value::Null)
    );
    (2..=23).for_each(|n| say("ada", &format!("new {n}")));
    let many = inbox("bo");
    let wanted: Vec<String> = (1..=20).map(|n| format!("new {n}")).collect();
    assert_eq!((bodies(&many["new"]), &many["more"]), (wanted, &json!(3)));
    let since = many["more_since"].as_i64().unwrap();
    assert_eq!(since, many["new"][19]["seq"]);
    let text = world.metawsm(&["forum", "inbox", "--as", "bo"]).is(0).stdout;
    assert!(text.contains(&format!("3 more: metawsm forum thread --thread-id {id} --since {since}")), "{text}");
    let rest = world.ask(&["forum", "thread", "--thread-id", &id, "--since", &since.to_string()]);
    assert_eq!(bodies(&rest["posts"]), ["new 21", "new 22", "new 23"]);
    // Who notes what was read goes on in the inbox itself.
    world.ask(&["forum", "seen", "--thread-id", &id, "--as", "bo", "--seq", &since.to_string()]);
    let next = inbox("bo");
    assert_eq!((bodies(&next["new"]), &next["more"]), (bodies(&rest["posts"]), &json!(0)));
    let both = ["forum", "thread", "--thread-id", &id, "--since", "1", "--tail", "1", "--json"];
    world.metawsm(&both).is(2).error();
}

#[test]
fn queues_and_marks_of_each_viewer() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let question = ["forum", "ask", "--title", "Which?", "--body", "a or b", "--json"];
    let asked = agent_says(&world, &run, &question).is(0).json();
    let id = asked["thread"]["thread_id"].as_str().unwrap().to_owned();
    let coder = world.agent(&run, "coder");
    let agent = format!("agent:{run}/{}/coder", coder["workspace"].as_str().unwrap());
    let queue = |kind: &str, viewer: &str| -> usize {
        ids(&world.ask(&["forum", "queue", "--type", kind, "--viewer", viewer])).len()
    };
    for (viewer, unanswered, unseen) in [("human:ada", 1, 1), ("operator", 1, 1), (agent.as_str(), 0, 0)] {
        assert_eq!((queue("unanswered", viewer), queue("unseen", viewer)), (unanswered, unseen), "{viewer}");
    }
    for (kind, name, viewer) in
        [("human", "ada", "human:ada"), ("operator", "operator", "operator"), ("agent", "coder", agent.as_str())]
    {
        world.ask(&["forum", "assign", "--thread-id", &id, "--assignee-type", kind, "--assignee", name]);
        assert_eq!((queue("assigned", viewer), queue("needs_me", viewer)), (1, 1), "{viewer}");
    }
    assert_eq!(queue("assigned", "human:ada"), 0);
    // A mark does not fall and does not pass the end.
    let end = world.ask(&["forum", "thread", "--thread-id", &id])["thread"]["last_event_sequence"].as_i64().unwrap();
    let seen = |seq: &str| -> i64 {
        let said = world.ask(&["forum", "seen", "--thread-id", &id, "--viewer", "human:ada", "--seq", seq]);
        said["seen"]["last_seen_event_sequence"].as_i64().unwrap()
    };
    assert_eq!((seen("1"), queue("unseen", "human:ada")), (1, 1));
    assert_eq!((seen("999999999"), queue("unseen", "human:ada")), (end, 0));
    assert_eq!(seen("3"), end);
    for bad in ["human", "agent:x", ""] {
        world.metawsm(&["forum", "queue", "--viewer", bad, "--json"]).is(2).error();
    }
    let foreign = ["forum", "seen", "--thread-id", &id, "--viewer", "human:ada", "--json"];
    agent_says(&world, &run, &foreign).is(4).error();
    world.verified();
}

#[test]
fn stats_and_debug_tell_the_whole_and_a_part() {
    let world = World::new(&[]);
    let first = asked(&world, "one", "words");
    asked(&world, "two", "words");
    let other = ["forum", "ask", "--ticket", "T-2", "--title", "three", "--body", "b", "--priority", "urgent"];
    world.ask(&[&other[..], &["--actor-type", "agent", "--actor-name", "coder"]].concat());
    world.ask(&["forum", "close", "--thread-id", &first]);
    let stats = world.ask(&["forum", "stats", "--as", "bo"]);
    let of = |stats: &Value, key: &str| stats["stats"][key].clone();
    assert_eq!((of(&stats, "threads"), of(&stats, "posts")), (json!(3), json!(3)));
    assert_eq!(of(&stats, "by_state"), json!({ "closed": 1, "new": 2 }));
    assert_eq!(of(&stats, "open_by_priority"), json!({ "normal": 1, "urgent": 1 }));
    assert_eq!(of(&stats, "waiting_on"), json!({ "agent": 1, "human": 1 }));
    assert_eq!(of(&stats, "posts_by"), json!({ "agent": 1, "human": 2 }));
    assert_eq!(stats["stats"]["oldest_waiting"]["age_seconds"].as_u64().unwrap() / 3600, 0);
    assert_eq!(stats["queues"]["viewer"], "human:bo");
    assert_eq!((&stats["queues"]["unseen"], &stats["queues"]["needs_me"]), (&json!(3), &json!(1)));
    let part = world.ask(&["forum", "stats", "--ticket", "T-2"]);
    assert_eq!((of(&part, "threads"), of(&part, "posts_by")), (json!(1), json!({ "agent": 1 })));
    let text = world.metawsm(&["forum", "stats"]).is(0).stdout;
    assert!(text.contains("waiting longest") && text.contains("state closed"), "{text}");
    let debug = world.ask(&["forum", "debug", "--limit", "2"]);
    assert_eq!(debug["events"].as_array().unwrap().len(), 2);
    assert_eq!(debug["events"][0]["event_type"], "forum.thread.closed", "the newest first");
    assert_eq!((debug["threads"].as_array().unwrap().len(), &debug["bus"]["kind"]), (2, &json!("local")));
    assert_eq!(debug["search"], json!({ "indexed": null, "posts": 3 }));
    for key in ["generated_at", "outbox", "outbox_messages", "control_threads", "journal", "supervisor"] {
        assert!(debug.get(key).is_some(), "{key}");
    }
    assert!(world.metawsm(&["forum", "debug"]).is(0).stdout.contains("forum.thread.closed"));
}

#[test]
fn a_tail_is_the_end_of_a_thread() {
    let world = World::new(&[]);
    let id = asked(&world, "one", "first");
    for n in 0..4 {
        world.ask(&["forum", "post", "--thread-id", &id, "--body", &format!("post {n}")]);
    }
    let tail = world.ask(&["forum", "thread", "--thread-id", &id, "--tail", "2"]);
    let bodies: Vec<&Value> = tail["posts"].as_array().unwrap().iter().map(|post| &post["body"]).collect();
    assert_eq!(bodies, ["post 2", "post 3"]);
    assert_eq!(tail["thread"]["posts_count"], 5);
    assert_eq!(world.ask(&["forum", "thread", "--thread-id", &id, "--tail", "0"])["posts"], json!([]));
    world.metawsm(&["forum", "thread", "--thread-id", "absent", "--json"]).is(3).error();
}

#[test]
fn the_consoles_tabs_count_what_they_do_not_show() {
    let world = World::new(&[]);
    asked(&world, "the first", "words");
    let ledger = crate::store_crash::ledger(&world.db());
    let agent = Actor::agent("coder");
    let asks: Vec<_> = (0..230).map(|n| ask_by(&format!("t{n}"), None, agent.clone(), "which?", false)).collect();
    let orders: Vec<Order<'_>> = asks.iter().map(|ask| Order::new(ask, &agent)).collect();
    ledger.execute_all(&orders).unwrap();
    let home = Home::at(&world.home(), &HomeArgs::default());
    let caller = Caller { actor: Actor::human("ada"), identity: None };
    let queues = Source::open(&home, &caller).unwrap().read(&Want::default(), &Default::default()).unwrap().queues;
    for (queue, rows, total) in
        [(&queues.needs_me, 200, 230), (&queues.unseen, 200, 230), (&queues.all, 200, 231), (&queues.assigned, 0, 0)]
    {
        assert_eq!((queue.rows.len(), queue.total, queue.count()), (rows, total, total));
    }
}

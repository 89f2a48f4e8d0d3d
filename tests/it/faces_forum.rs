//! The forum from outside: waits, joins, idempotency, who may speak, and hostile text.

use serde_json::{Value, json};

use crate::world::{Live, Output, PATIENCE, World, wait_for};

/// An agent of a run that only follows orders, and its environment.
pub fn inside(world: &World, run: &str, args: &[&str]) -> std::process::Command {
    let agent = world.agent(run, "coder");
    let mut command = world.program(args);
    for (name, key) in [("METAWSM_WORKSPACE", "workspace"), ("METAWSM_AGENT", "name"), ("METAWSM_TICKET", "ticket")] {
        command.env(name, agent[key].as_str().unwrap());
    }
    command.env("METAWSM_RUN_ID", run).env("METAWSM_EPOCH", "1");
    command
}

pub fn agent_says(world: &World, run: &str, args: &[&str]) -> Output {
    world.output(inside(world, run, args), "")
}

const ASK: [&str; 7] = ["forum", "ask", "--wait", "--title", "Which?", "--body", "a or b"];

fn thread_of(live: &Live) -> String {
    wait_for("the thread on stderr", PATIENCE, || {
        live.errors().lines().find_map(|line| line.strip_prefix("thread ").map(str::to_owned))
    })
}

#[test]
fn a_wait_ends_with_the_answer_byte_for_byte() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let mut live = Live::start(inside(&world, &run, &ASK));
    let thread = thread_of(&live);
    assert_eq!(world.run_status(&run), "awaiting_guidance");
    assert_eq!(world.ask(&["wait", "--for", "guidance"])["reached"], true);
    assert!(live.running());
    let body = "  two\tlines\n\u{202e}and \u{1b}[31mred  ";
    world.ask(&["forum", "answer", "--thread-id", &thread, "--body", body]);
    assert_eq!(live.ended(), 0);
    wait_for("its output", PATIENCE, || (live.lines().join("\n") == body).then_some(()));
    assert_eq!(world.run_status(&run), "running");
    // Asked again for the same thread, the answer is there at once.
    let again = agent_says(&world, &run, &["forum", "wait", "--thread-id", &thread, "--json"]).is(0).json();
    assert_eq!((&again["answer"]["body"], &again["thread"]["state"]), (&json!(body), &json!("answered")));
    assert_eq!(again["answer"]["author_type"], "human");
}

#[test]
fn a_wait_ends_with_4_when_the_thread_is_closed_and_124_in_time() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let mut live = Live::start(inside(&world, &run, &ASK));
    let thread = thread_of(&live);
    world.ask(&["forum", "close", "--thread-id", &thread]);
    assert_eq!(live.ended(), 4);
    assert_eq!(world.run_status(&run), "running");
    let late = agent_says(&world, &run, &[&ASK[..], &["--timeout", "1s", "--json"]].concat()).is(124);
    let hint = late.error()["hint"].as_str().unwrap().to_owned();
    let thread = late.stderr.trim().strip_prefix("thread ").unwrap().to_owned();
    assert!(hint.contains(&format!("metawsm forum wait --thread-id {thread}")), "{hint}");
    // The same question joins the thread that still waits for it, and gets its answer.
    let mut live = Live::start(inside(&world, &run, &ASK));
    assert_eq!(thread_of(&live), thread);
    let open = world.ask(&["forum", "list", "--state", "waiting_human"]);
    assert_eq!(open["threads"].as_array().unwrap().len(), 1);
    assert_eq!(open["threads"][0]["posts_count"], 1, "nothing is asked twice");
    world.ask(&["forum", "answer", "--thread-id", &thread, "--body", "b"]);
    assert_eq!(live.ended(), 0);
    wait_for("the answer", PATIENCE, || (live.lines() == ["b"]).then_some(()));
    // An answered question asked once more is a new one.
    let mut live = Live::start(inside(&world, &run, &ASK));
    assert_ne!(thread_of(&live), thread);
    live.signal("TERM");
    assert_ne!(live.ended(), 0);
}

#[test]
fn a_guidance_request_waits_for_the_answer_that_names_it() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let args = ["forum", "signal", "--type", "guidance_request", "--question", "go on?", "--wait", "--json"];
    let mut live = Live::start(inside(&world, &run, &args));
    let thread = thread_of(&live);
    assert_eq!(thread, format!("fctrl-{run}-coder"));
    world.until_run(&run, "awaiting_guidance");
    assert_eq!(world.ask(&["runs"])["runs"][0]["counts"]["guidance"], 1);
    // A plain reply there is its answer.
    world.ask(&["forum", "post", "--thread-id", &thread, "--body", "go"]);
    assert_eq!(live.ended(), 0);
    live.line("the answer", |line| line["answer"]["body"] == "go");
    world.until_run(&run, "running");
    assert_eq!(world.ask(&["forum", "queue"])["threads"], json!([]));
}

#[test]
fn the_same_key_does_it_once() {
    let world = World::new(&[]);
    let ask = |title: &str| {
        let args = ["forum", "ask", "--ticket", "T", "--title", title, "--body", "b", "--event-id", "k1", "--json"];
        world.metawsm(&args)
    };
    let first = ask("one").is(0).json();
    let count = || world.metawsm(&["events"]).is(0).lines().len();
    let before = count();
    let again = ask("one").is(0).json();
    assert_eq!((&first["thread"]["thread_id"], &first["seq"]), (&again["thread"]["thread_id"], &again["seq"]));
    let error = ask("two").is(4).error();
    assert!(error["message"].as_str().unwrap().contains("k1"), "{error}");
    assert_eq!(count(), before);
    let id = first["thread"]["thread_id"].as_str().unwrap();
    let at_once: Vec<i64> = std::thread::scope(|scope| {
        let call = || {
            let args = ["forum", "post", "--thread-id", id, "--body", "p", "--event-id", "k2"];
            world.ask(&args)["seq"].as_i64().unwrap()
        };
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(at_once.iter().all(|seq| *seq == at_once[0]), "{at_once:?}");
    assert_eq!(world.ask(&["forum", "thread", "--thread-id", id])["posts"].as_array().unwrap().len(), 2);
    world.verified();
}

#[test]
fn an_agent_is_itself_and_leaves_runs_alone() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&[]);
    for call in
        ["stop --yes", "close --yes", "restart", "merge --yes", "cleanup --yes", "pause", "resume", "policy init"]
    {
        let args: Vec<&str> = call.split(' ').chain(["--json"]).collect();
        let error = agent_says(&world, &run, &args).is(4).error();
        assert!(error["message"].as_str().unwrap().contains("coder"), "{call}: {error}");
    }
    agent_says(&world, &run, &["run", "--ticket", "T-5", "--repos", "shop", "--detach"]).is(4);
    let ask = ["forum", "ask", "--title", "t", "--body", "b", "--actor-name", "other", "--actor-type"];
    agent_says(&world, &run, &[&ask[..], &["agent"]].concat()).is(4);
    agent_says(&world, &run, &[&ask[..], &["human"]].concat()).is(4);
    let own = agent_says(&world, &run, &["forum", "ask", "--title", "t", "--body", "b", "--json"]).is(0).json();
    assert_eq!(
        (&own["thread"]["opened_by_type"], &own["thread"]["opened_by_name"]),
        (&json!("agent"), &json!("coder"))
    );
    assert_eq!((&own["thread"]["run_id"], &own["thread"]["ticket"]), (&json!(run), &json!("T-1")));
    let id = own["thread"]["thread_id"].as_str().unwrap();
    agent_says(&world, &run, &["forum", "answer", "--thread-id", id, "--body", "myself"]).is(4);
    // Outside, a human may speak for the agent; the event keeps who it was.
    world.ask(&["forum", "signal", "--type", "completion", "--summary", "ok", "--agent", "coder", "--as", "ada"]);
    assert_eq!(world.agent(&run, "coder")["status"], "done");
    let events = world.metawsm(&["events", "--type", "forum.*"]).is(0).lines();
    let last = events.iter().rfind(|event| event["payload"]["author_name"] == "coder" || event["actor_name"] == "ada");
    assert_eq!(last.unwrap()["actor_name"], "ada", "{events:?}");
    assert_eq!(world.sessions().len(), 2);
}

/// What no face may send to a terminal: control characters and marks that turn text around.
pub fn hostile(text: &str) -> Vec<char> {
    text.chars()
        .filter(|c| {
            (c.is_control() && !"\n\t".contains(*c)) || ('\u{202a}'..='\u{202e}').contains(c) || *c == '\u{2066}'
        })
        .collect()
}

#[test]
fn hostile_text_never_reaches_the_terminal() {
    let world = World::new(&[("coder", "obeys.sh"), ("loud", "floods.sh")]);
    let run = world.run(&[]);
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}rtl\u{9b}31m\u{2066}\r";
    let refused = agent_says(&world, &run, &["forum", "ask", "--title", evil, "--body", "b", "--json"]);
    refused.is(2);
    let bidi = agent_says(&world, &run, &["forum", "ask", "--title", "t\u{202e}itle", "--body", evil, "--json"]);
    let thread = if bidi.status == 0 {
        bidi.json()["thread"]["thread_id"].as_str().unwrap().to_owned()
    } else {
        let plain = agent_says(&world, &run, &["forum", "ask", "--title", "t", "--body", evil, "--json"]).is(0).json();
        plain["thread"]["thread_id"].as_str().unwrap().to_owned()
    };
    agent_says(&world, &run, &["forum", "signal", "--type", "progress", "--note", evil]).is(0);
    let tree = world.tree(&run);
    std::fs::write(tree.join("f\u{1b}[2J\u{202e}"), "x").unwrap();
    world.shows(world.agent(&run, "loud")["session"].as_str().unwrap(), "flood over");
    agent_says(&world, &run, &["forum", "signal", "--type", "completion", "--summary", evil]).is(0);
    for call in [
        format!("forum thread --thread-id {thread}"),
        "forum list".to_owned(),
        "forum queue".to_owned(),
        "status".to_owned(),
        "agents".to_owned(),
        "runs".to_owned(),
        "logs --agent loud --lines 99999".to_owned(),
        "close --dry-run".to_owned(),
        "close --yes".to_owned(),
        "stop --agent loud --yes".to_owned(),
        "close --yes --merge".to_owned(),
    ] {
        let out = world.metawsm(&call.split(' ').collect::<Vec<_>>());
        assert_eq!((hostile(&out.stdout), hostile(&out.stderr)), (vec![], vec![]), "{call}: {out:?}");
    }
    let kept = world.ask(&["forum", "thread", "--thread-id", &thread]);
    assert_eq!(kept["posts"][0]["body"], evil, "kept byte for byte all the same");
}

#[test]
fn queues_page_through_everything_once() {
    let world = World::new(&[]);
    for n in 0..7 {
        let (title, priority) = (format!("q{n}"), ["low", "normal", "high", "urgent"][n % 4]);
        let who = ["--actor-type", "agent", "--actor-name", "coder"];
        let args = ["forum", "ask", "--ticket", "T", "--title", &title, "--body", "b", "--priority", priority];
        world.ask(&[&args[..], &who[..]].concat());
    }
    let whole = world.ask(&["forum", "queue", "--type", "unanswered", "--limit", "100"]);
    let ids = |page: &Value| -> Vec<String> {
        let threads = page["threads"].as_array().unwrap();
        threads.iter().map(|thread| thread["thread_id"].as_str().unwrap().to_owned()).collect()
    };
    let mut paged = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["forum", "queue", "--type", "unanswered", "--limit", "2"];
        args.extend(cursor.as_deref().map(|cursor| ["--cursor", cursor]).into_iter().flatten());
        let page = world.ask(&args);
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
        assert!(paged.len() <= 7, "{paged:?}");
    }
    assert_eq!((paged.len(), &paged), (7, &ids(&whole)));
    assert_eq!(whole["threads"][0]["priority"], "urgent");
}

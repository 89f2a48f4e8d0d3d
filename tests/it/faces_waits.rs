//! Waits from outside: whose answer ends which, and what is asked once only.

use serde_json::{Value, json};

use crate::faces_forum::{agent_says, inside};
use crate::world::{Live, PATIENCE, World, wait_for};

fn request(world: &World, run: &str, question: &str, more: &[&str]) -> Value {
    let args = ["forum", "signal", "--type", "guidance_request", "--question", question, "--json"];
    agent_says(world, run, &[&args, more].concat()).is(0).json()
}

#[test]
fn a_wait_for_a_request_ends_with_its_own_answer() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let first = ["forum", "signal", "--type", "guidance_request", "--question", "first?"];
    let late = agent_says(&world, &run, &[&first[..], &["--wait", "--timeout", "1s", "--json"]].concat()).is(124);
    let hint = late.error()["hint"].as_str().unwrap().to_owned();
    let control = format!("fctrl-{run}-coder");
    let asked = world.ask(&["forum", "thread", "--thread-id", &control]);
    let id = asked["posts"][0]["post_id"].as_str().unwrap().to_owned();
    assert!(hint.contains(&format!("metawsm forum wait --post-id {id} ")), "{hint}");
    let second = request(&world, &run, "second?", &[]);
    let second = second["post"]["post_id"].as_str().unwrap();
    let named = ["forum", "wait", "--post-id", &id, "--json"];
    let whole = ["forum", "wait", "--thread-id", &control, "--json"];
    let mut waits = [&named[..], &whole].map(|args| Live::start(inside(&world, &run, args)));
    wait_for("the request on stderr", PATIENCE, || {
        waits[1].errors().contains(&format!("request {id}: first?")).then_some(())
    });
    world.ask(&["forum", "answer", "--thread-id", &control, "--in-reply-to", second, "--body", "to the second"]);
    // The answer of the second is there before that of the first is given: none of the two may take it.
    assert_eq!(world.ask(&["forum", "wait", "--post-id", second])["answer"]["body"], "to the second");
    world.ask(&["forum", "answer", "--thread-id", &control, "--body", "to the first"]);
    for live in &mut waits {
        assert_eq!(live.ended(), 0, "{}", live.errors());
        let answer = live.line("the answer", |line| line["answer"].is_object());
        assert_eq!((&answer["answer"]["body"], &answer["answer"]["in_reply_to"]), (&json!("to the first"), &json!(id)));
    }
}

#[test]
fn what_waits_already_is_not_asked_twice() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let ask = ["forum", "ask", "--title", "Which?", "--body", "a or b", "--json"];
    let first = agent_says(&world, &run, &ask).is(0).json();
    let again = agent_says(&world, &run, &ask).is(0).json();
    assert_eq!(first["thread"]["thread_id"], again["thread"]["thread_id"]);
    let other = agent_says(&world, &run, &["forum", "ask", "--title", "Which?", "--body", "c", "--json"]).is(0).json();
    assert_ne!(first["thread"]["thread_id"], other["thread"]["thread_id"]);
    let one = request(&world, &run, "go on?", &["--context", "tests pass"]);
    for key in ["k1", "k1"] {
        let same = request(&world, &run, "go on?", &["--context", "tests pass", "--event-id", key]);
        assert_eq!(same["post"]["post_id"], one["post"]["post_id"]);
    }
    let two = request(&world, &run, "go on?", &[]);
    assert_ne!(two["post"]["post_id"], one["post"]["post_id"], "without the context it is another");
    assert_eq!(two["thread"]["posts_count"], 2);
    // Who waits for the same waits for the same answer.
    let args = ["forum", "signal", "--type", "guidance_request", "--question", "go on?", "--wait", "--json"];
    let mut live = Live::start(inside(&world, &run, &args));
    wait_for("the thread on stderr", PATIENCE, || live.errors().contains("thread ").then_some(()));
    let (control, id) = (two["thread"]["thread_id"].as_str().unwrap(), two["post"]["post_id"].as_str().unwrap());
    world.ask(&["forum", "answer", "--thread-id", control, "--in-reply-to", id, "--body", "do"]);
    assert_eq!(live.ended(), 0, "{}", live.errors());
    live.line("the answer", |line| line["answer"]["body"] == "do");
    // Answered, it is a new question.
    let three = request(&world, &run, "go on?", &[]);
    assert_ne!(three["post"]["post_id"], two["post"]["post_id"]);
    world.verified();
}

#[test]
fn a_humans_wait_ends_with_the_first_word_of_anybody_else() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let ask = ["forum", "ask", "--run-id", &run, "--title", "How far?", "--body", "tell", "--as", "ada"];
    let late = world.metawsm(&[&ask[..], &["--thread-id", "t1", "--wait", "--timeout", "1s", "--json"]].concat());
    let hint = late.is(124).error()["hint"].as_str().unwrap().to_owned();
    let on: Vec<String> = hint.split_once("metawsm ").unwrap().1.split(' ').take(4).map(str::to_owned).collect();
    let on: Vec<&str> = on.iter().map(String::as_str).chain(["--json"]).collect();
    let say = |who: &[&str], body: &str| {
        world.ask(&[&["forum", "post", "--thread-id", "t1", "--body", body][..], who].concat());
    };
    say(&["--as", "ada"], "well?");
    assert_eq!(world.metawsm(&[&on[..], &["--timeout", "1s"]].concat()).status, 124, "her own word is no answer");
    say(&["--as", "bo"], "half");
    say(&["--actor-type", "agent", "--actor-name", "coder"], "nearly");
    assert_eq!(world.metawsm(&on).is(0).json()["answer"]["body"], "half", "another human's word is");
    let whole = ["forum", "wait", "--thread-id", "t1", "--json"];
    assert_eq!(world.metawsm(&whole).is(0).json()["answer"]["body"], "half", "after her last");
    // The operator's too, and an agent waits for no agent.
    say(&["--as", "ada"], "and now?");
    say(&["--actor-type", "operator"], "it is stopped");
    assert_eq!(world.metawsm(&whole).is(0).json()["answer"]["author_type"], "operator");
}

#[test]
fn an_agent_speaks_of_its_own_ticket() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let ask = ["forum", "ask", "--title", "t", "--body", "b", "--json"];
    let refused = |command: std::process::Command| {
        let error = world.output(command, "").is(4).error();
        let words = error["message"].as_str().unwrap().to_owned();
        assert!(words.contains("T-1") && words.contains("T-2"), "{words}");
    };
    refused(inside(&world, &run, &[&ask[..], &["--ticket", "T-2"]].concat()));
    let mut forged = inside(&world, &run, &ask);
    forged.env("METAWSM_TICKET", "T-2");
    refused(forged);
    let signal = ["forum", "signal", "--type", "completion", "--ticket", "T-2", "--json"];
    refused(inside(&world, &run, &signal));
    let mut bare = inside(&world, &run, &[&ask[..], &["--ticket", "T-1"]].concat());
    bare.env_remove("METAWSM_TICKET");
    assert_eq!(world.output(bare, "").is(0).json()["thread"]["ticket"], "T-1");
    assert_eq!(world.ask(&["forum", "list"])["threads"].as_array().unwrap().len(), 1);
}

#[test]
fn a_thread_is_assigned_to_the_agent_that_is_meant() {
    let world = World::new(&[("coder", "obeys.sh"), ("other", "obeys.sh")]);
    let run = world.run(&["--ticket", "T-2"]);
    let agents = world.ask(&["agents", "--run-id", &run])["agents"].as_array().unwrap().clone();
    let mut places: Vec<&str> = agents
        .iter()
        .filter(|agent| agent["name"] == "coder")
        .map(|agent| agent["workspace"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    let [one, two] = places[..] else { panic!("{agents:?}") };
    world.ask(&["forum", "ask", "--run-id", &run, "--thread-id", "t", "--title", "t", "--body", "b"]);
    let assign = |more: &[&str]| {
        let args = ["forum", "assign", "--thread-id", "t", "--assignee-type", "agent", "--json"];
        world.metawsm(&[&args, more].concat())
    };
    assert!(assign(&["--assignee", "nosuch"]).is(3).error()["hint"].as_str().unwrap().contains("coder"));
    let choices = assign(&["--assignee", "coder"]).is(2).error();
    let words = choices["message"].as_str().unwrap();
    assert!(words.contains(&format!("{one}/coder")) && words.contains(&format!("{two}/coder")), "{words}");
    let human = ["forum", "assign", "--thread-id", "t", "--assignee-type", "human", "--assignee", "bo"];
    world.metawsm(&[&human[..], &["--workspace", one]].concat()).is(2);
    let assigned = assign(&["--assignee", "coder", "--workspace", two]).is(0).json();
    assert_eq!(assigned["thread"]["assignee_name"], format!("{two}/coder"));
    assert_eq!(assign(&["--assignee", &format!("{two}/coder")]).is(0).json()["thread"], assigned_again(&world));
    for queue in ["assigned", "needs_me"] {
        let of = |workspace: &str| {
            let viewer = format!("agent:{run}/{workspace}/coder");
            world.ask(&["forum", "queue", "--type", queue, "--viewer", &viewer])["threads"].as_array().unwrap().len()
        };
        assert_eq!((of(one), of(two)), (0, 1), "{queue}");
    }
}

fn assigned_again(world: &World) -> Value {
    world.ask(&["forum", "thread", "--thread-id", "t"])["thread"].clone()
}

#[test]
fn small_manners() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T", "--thread-id", "t", "--title", "t", "--body", "b"]);
    world.ask(&["forum", "ask", "--ticket", "T", "--title", "u", "--body", "b"]);
    assert_eq!(world.ask(&["forum", "list", "--limit", "0"])["threads"].as_array().unwrap().len(), 2);
    world.metawsm(&["forum", "list", "--limit", "-1", "--json"]).is(2).error();
    world.ask(&["forum", "close", "--thread-id", "t"]);
    let reopen = ["forum", "reopen", "--thread-id", "t", "--json", "--actor-type"];
    world.metawsm(&[&reopen[..], &["agent", "--actor-name", "coder"]].concat()).is(4).error();
    world.metawsm(&[&reopen[..], &["agent"]].concat()).is(4).error();
    world.metawsm(&[&reopen[..], &["operator"]].concat()).is(0);
}

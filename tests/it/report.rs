//! `report`: what happened while nobody looked, and what waits now (spec 3).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{PATIENCE, World, wait_for};

fn of<'a>(report: &'a Value, part: &str) -> Vec<&'a Value> {
    report[part].as_array().unwrap().iter().collect()
}

fn word<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap()
}

#[test]
fn what_happened_is_told_once_and_what_waits_is_told_as_long_as_it_does() {
    let names = ["done", "mortal", "asking", "blocked"];
    let crew: Vec<(&str, &str)> = names.iter().map(|name| (*name, "obeys.sh")).collect();
    let world = World::with(
        &crew,
        json!({
            "operator": { "llm": { "mode": "off" }, "interval_seconds": 1, "unhealthy_confirmations": 1 },
        }),
    );
    let run = world.run(&[]);
    let told = |args: &[&str]| world.ask(&[&["report"], args].concat())["report"].clone();
    let first = told(&[]);
    for part in ["finished", "stuck", "restarted", "waiting"] {
        assert_eq!(first[part], json!([]), "{part}");
    }
    let _live = world.spawn(&["--headless"]);
    world.order("done", 1, r#""$METAWSM_BIN" forum signal --type completion --summary all > /dev/null"#);
    world.order(
        "asking",
        1,
        r#""$METAWSM_BIN" forum signal --type guidance_request --question 'which one?' > /dev/null"#,
    );
    let kill = |name: &str, launch: u32| {
        let session = world.agent(&run, name)["session"].as_str().unwrap().to_owned();
        signal(world.record(&session, launch).agent_pid.unwrap(), "KILL");
    };
    kill("mortal", 1);
    world.until(&run, "mortal", "its second life", |agent| agent["launch"] == 2 && agent["status"] == "running");
    world.ask(&["restart", "--run-id", &run, "--agent", "blocked"]);
    world.until(&run, "blocked", "its second life", |agent| agent["launch"] == 2 && agent["status"] == "running");
    wait_for("the calls", PATIENCE, || {
        let waits = told(&["--since", "1h"]);
        (of(&waits, "waiting").len() == 1 && of(&waits, "finished").len() == 1).then_some(())
    });
    let since_first = told(&[]);
    let finished = of(&since_first, "finished");
    assert_eq!((word(finished[0], "what"), word(finished[0], "agent")), ("done", "done"));
    let restarted: Vec<(&str, &Value, &Value)> = of(&since_first, "restarted")
        .into_iter()
        .map(|one| (word(one, "agent"), &one["by_rule"], &one["by_human"]))
        .collect();
    assert_eq!(restarted, [("blocked", &json!(0), &json!(1)), ("mortal", &json!(1), &json!(0))]);
    let waiting = of(&since_first, "waiting");
    assert_eq!((word(waiting[0], "what"), word(waiting[0], "agent")), ("guidance", "asking"));
    assert!(word(waiting[0], "reason").contains("which one?"));
    assert_eq!(since_first["operator"]["acted"], json!({ "auto_restart": 1 }));
    // Told again, only what still waits is left; from an hour ago it is all there.
    let second = told(&["--since", "last"]);
    assert_eq!((&second["finished"], &second["restarted"]), (&json!([]), &json!([])));
    assert_eq!(of(&second, "waiting").len(), 1);
    assert_eq!(of(&told(&["--since", "1h", "--run-id", &run]), "restarted").len(), 2);
    // The report is what the journal says.
    let events = world.verified();
    let count = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    let whole = told(&["--since", "2000-01-01T00:00:00Z"]);
    let operator = &whole["operator"];
    assert_eq!(operator["decided"], count("operator.decided"));
    assert_eq!(operator["called"], count("escalation.opened"));
    let text = world.metawsm(&["report", "--since", "1h"]).is(0).stdout;
    assert!(text.contains("Waiting for you (1)") && text.contains("restarted an agent once"), "{text}");
    world.metawsm(&["report", "--since", "yesterday"]).is(2);
}

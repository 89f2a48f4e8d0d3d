//! The adviser through the real binary: programs that answer, and programs that do everything else (spec 2.7).

use std::path::PathBuf;

use metawsm::services::process::default_table;
use serde_json::{Value, json};

use crate::harness::signal;
use crate::world::{Live, PATIENCE, World, merge, wait_for};

/// What every script of an adviser begins with: the run, the targets, and how it answers.
const PROLOGUE: &str = r#"
said=$1
run=$(printf '%s\n' "$said" | sed -n 's/.*"run_id": "\([^"]*\)".*/\1/p' | head -n 1)
target() { printf '%s\n' "$said" | sed -n '/^Targets:/p' | grep -o "agent:[^ ,]*/$1" | head -n 1; }
answer() { printf '{"intent":"%s","target":"%s","run_id":"%s","confidence":%s,"reason":"it goes round"}\n' "$1" "$2" "${4:-$run}" "${3:-0.9}"; }
"#;

/// A world whose adviser is a script that the test writes, and whose rules say nothing about agents that are down.
struct Stage {
    world: World,
    agents: Vec<(&'static str, &'static str)>,
}

impl Stage {
    fn new(mode: &str, agents: &[&'static str]) -> Self {
        let agents: Vec<(&str, &str)> = agents.iter().map(|name| (*name, "obeys.sh")).collect();
        let stage = Self { world: World::new(&agents), agents };
        stage.policy(mode, json!({}));
        stage
    }

    fn script(&self) -> PathBuf {
        self.world.root.join("adviser.sh")
    }

    /// The policy, with more of the adviser's part of it.
    fn policy(&self, mode: &str, more: Value) {
        let mut llm = json!({
            "mode": mode,
            "command": ["sh", self.script().display().to_string()],
            "args": ["{prompt}"],
            "timeout_seconds": 2,
            "min_interval_seconds": 0,
        });
        merge(&mut llm, more);
        let operator = json!({
            "interval_seconds": 1,
            "unhealthy_confirmations": 1,
            "rules": { "auto_restart": "never", "escalate_blocked": "never" },
            "llm": llm,
        });
        self.world.policy(&self.agents, json!({ "operator": operator }));
    }

    /// What the adviser does from now on.
    fn does(&self, script: &str) {
        let beside = self.script().with_extension("tmp");
        std::fs::write(&beside, format!("{PROLOGUE}{script}\n")).unwrap();
        std::fs::rename(beside, self.script()).unwrap();
    }

    /// A run, and a supervisor that was started where somebody works.
    fn supervised(&self) -> (String, Live) {
        let run = self.world.run(&[]);
        let mut command = self.world.program(&["--headless"]);
        for name in ["METAWSM_TICKET", "METAWSM_EPOCH", "TMUX_PANE", "GIT_EDITOR"] {
            command.env(name, "1");
        }
        (run, Live::start(command))
    }

    fn kill(&self, name: &str) {
        self.world.order(name, 1, "kill -9 $$");
    }

    fn advised(&self) -> Vec<Value> {
        self.world.metawsm(&["events", "--type", "operator.advised"]).is(0).lines()
    }

    /// The answer about a question that was put after `before` others had ended.
    #[track_caller]
    fn answer(&self, before: usize) -> Value {
        wait_for("an answer", PATIENCE, || self.advised().get(before).map(|event| event["payload"].clone()))
    }

    fn calls(&self) -> Vec<Value> {
        self.world.ask(&["escalations", "--open"])["escalations"].as_array().unwrap().clone()
    }

    /// The one call of the adviser that stands.
    #[track_caller]
    fn call(&self) -> Value {
        wait_for("a call of the adviser", PATIENCE, || {
            let mut calls = self.calls();
            calls.retain(|call| call["kind"] == "adviser");
            assert!(calls.len() < 2, "{calls:?}");
            calls.pop()
        })
    }

    #[track_caller]
    fn until_no_call(&self) {
        wait_for("no call", PATIENCE, || self.calls().is_empty().then_some(()));
    }

    /// Programs of questions that run still.
    fn asked(&self) -> Vec<u32> {
        let (table, home) = (default_table(), self.world.home().display().to_string());
        let of_question =
            |pid: &u32| table.environment(*pid).get("METAWSM_QUESTION").is_some_and(|dir| dir.starts_with(&home));
        let alive = table.list().into_iter().filter(|proc| !proc.zombie).map(|proc| proc.pid);
        alive.filter(of_question).collect()
    }

    /// Processes that have the script's name among their arguments, also where they gave their environment up.
    fn named(&self) -> Vec<u32> {
        let script = self.script().display().to_string();
        let named = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == script.as_bytes())
        };
        default_table().list().into_iter().filter(|proc| !proc.zombie).map(|proc| proc.pid).filter(named).collect()
    }

    /// Nothing of any question is left, neither a process nor a file.
    #[track_caller]
    fn leaves_nothing(&self) {
        wait_for("the end of whoever hides", PATIENCE, || self.named().is_empty().then_some(()));
        wait_for("the end of what was asked", PATIENCE, || self.asked().is_empty().then_some(()));
        let dir = self.world.home().join(".metawsm/adviser");
        wait_for("no directory of a question", PATIENCE, || {
            std::fs::read_dir(&dir).map_or(0, Iterator::count).eq(&0).then_some(())
        });
    }

    /// The end of everything: nothing runs, and the journal agrees with the tables.
    #[track_caller]
    fn over(&self, supervisor: &mut Live) -> Vec<Value> {
        self.world.metawsm(&["stop", "--all", "--yes"]).is(0);
        supervisor.signal("TERM");
        supervisor.ended();
        self.world.tmux(&["kill-server"]);
        wait_for("that nothing runs", PATIENCE, || self.world.nothing_runs().then_some(()));
        self.leaves_nothing();
        self.world.verified()
    }
}

#[test]
fn d32_in_auto_it_calls_where_the_rules_say_nothing_and_the_call_ends_with_its_cause() {
    let stage = Stage::new("auto", &["calm", "doomed"]);
    let seen = stage.world.root.join("seen");
    stage.does(&format!(
        "{{ pwd; ls -A; env; cat; }} >{} 2>&1\nprintf '%s\\n' \"$said\"; answer escalate_blocked \"$(target doomed)\"",
        seen.display()
    ));
    let (run, mut supervisor) = stage.supervised();
    stage.world.until_looked_at(&run, "doomed");
    assert_eq!(stage.advised().len(), 0, "nobody is asked while all is well");
    stage.kill("doomed");
    let answer = stage.answer(0);
    assert_eq!(answer["outcome"], "escalated", "{answer}");
    assert_eq!((&answer["rule"], &answer["advice"]["confidence"]), (&json!("noop"), &json!(0.9)));
    let call = stage.call();
    assert_eq!((&call["reason"], &call["agent"]), (&json!("it goes round"), &json!("doomed")));
    assert_eq!(call["evidence"]["source"], "sh");
    // It said so about an agent that died: that is all that came of it.
    assert_eq!(stage.world.agent(&run, "doomed")["status"], "dead");
    stage.world.ask(&["restart", "--run-id", &run, "--agent", "doomed"]);
    stage.until_no_call();
    let note = stage.world.ask(&["escalations"])["escalations"][0].clone();
    assert!(note["resolved_by"].as_str().unwrap().starts_with("system:"), "{note}");

    // Asked off the loop, in an empty directory of its own, as nobody's agent, and its prompt's echo is no answer.
    let seen = std::fs::read_to_string(seen).unwrap();
    let cwd = seen.lines().next().unwrap();
    assert!(cwd.starts_with(&stage.world.home().join(".metawsm/adviser").display().to_string()), "{seen}");
    assert!(seen.lines().nth(1).unwrap().contains('='), "its directory is empty: {seen}");
    for forbidden in ["METAWSM_TICKET", "METAWSM_EPOCH", "TMUX", "GIT_EDITOR"] {
        assert!(!seen.lines().any(|line| line.starts_with(forbidden)), "{forbidden}: {seen}");
    }
    let events = stage.over(&mut supervisor);
    let asked = events.iter().filter(|event| event["event_type"] == "operator.asked").count();
    assert_eq!(asked, 1, "an answer that is there is not asked for again");
}

#[test]
fn in_assist_its_answer_is_shown_and_nothing_comes_of_it() {
    let stage = Stage::new("assist", &["calm", "doomed"]);
    stage.does("answer escalate_blocked \"$(target doomed)\"");
    let (run, mut supervisor) = stage.supervised();
    stage.kill("doomed");
    let answer = stage.answer(0);
    assert_eq!((&answer["outcome"], &answer["rejection"]["why"]), (&json!("rejected"), &json!("differs")), "{answer}");
    assert_eq!(stage.calls(), [] as [Value; 0]);
    let told = stage.world.metawsm(&["explain", "run", &run]).is(0).stdout;
    assert!(told.contains("would call a human to doomed"), "{told}");
    assert!(told.contains("only in mode auto") && told.contains("1 question"), "{told}");
    let told = stage.world.ask(&["explain", "run", &run]);
    assert_eq!(told["explain"]["adviser"]["tally"]["questions"], 1, "{told}");

    // Where a rule speaks it agrees, and that is shown beside what the rule decided.
    stage.does("answer escalate_guidance \"$(printf '%s\\n' \"$said\" | grep -o 'thread:[^ ,.]*' | head -n 1)\"");
    stage.world.order("calm", 1, "$METAWSM_BIN forum ask --wait --timeout 600s --title 'which port?' --body why &");
    let answer = stage.answer(1);
    assert_eq!((&answer["outcome"], &answer["rule"]), (&json!("agrees"), &json!("escalate_guidance")), "{answer}");
    let decided = stage.world.metawsm(&["events", "--type", "operator.decided"]).is(0).lines();
    let about = |event: &&Value| event["payload"]["target"] == answer["advice"]["target"];
    let seq = decided.iter().find(about).unwrap()["seq"].to_string();
    let told = stage.world.metawsm(&["explain", "decision", &seq]).is(0).stdout;
    assert!(told.contains("agrees (0.9 sure): it goes round"), "{told}");
    let report = stage.world.ask(&["report", "--since", "1h"])["report"]["operator"]["adviser"].clone();
    let events = stage.over(&mut supervisor);
    let asked = events.iter().filter(|event| event["event_type"] == "operator.asked").count();
    assert_eq!((&report["asked"], &report["agreed"], &report["rejected"]), (&json!(asked), &json!(1), &json!(1)));
    let text = stage.world.metawsm(&["report", "--since", "1h"]).is(0).stdout;
    assert!(text.contains("asked the adviser 2 times: 1 agreed with the rules, 1 of no use"), "{text}");
}

#[test]
fn in_off_nobody_is_asked() {
    let stage = Stage::new("off", &["calm", "doomed"]);
    stage.does("answer escalate_blocked \"$(target doomed)\"");
    let (run, mut supervisor) = stage.supervised();
    stage.kill("doomed");
    stage.world.until_agent(&run, "doomed", "dead");
    stage.world.until_looked_at(&run, "calm");
    let events = stage.over(&mut supervisor);
    assert!(!events.iter().any(|event| event["event_type"] == "operator.asked"));
}

/// What a program does, and what is to be said of it.
struct Mischief {
    agent: &'static str,
    what: &'static str,
    script: &'static str,
    /// Why its answer is rejected; empty where it is not.
    why: &'static str,
    holds: fn(&Value) -> bool,
}

const fn mischief(
    agent: &'static str,
    what: &'static str,
    script: &'static str,
    why: &'static str,
    holds: fn(&Value) -> bool,
) -> Mischief {
    Mischief { agent, what, script, why, holds }
}

const MISCHIEF: [Mischief; 9] = [
    mischief("a", "hangs", "echo thinking; exec sleep 600", "late", |told| told["transcript"] == "thinking\n"),
    mischief(
        "b",
        "forks, and does not want to die",
        "trap '' TERM; setsid sh -c \"trap '' TERM; while :; do sleep 1; done\" &
         env -i setsid sh -c 'sleep 600; :' \"$0\" & sh -c \"trap '' TERM; sleep 600\" & sleep 600",
        "late",
        |told| told["duration_ms"].as_u64() >= Some(2_000),
    ),
    mischief("c", "writes 100 MB", "head -c 100000000 /dev/zero | tr '\\0' x; answer noop run", "", |told| {
        told["bytes_out"].as_u64() > Some(100_000_000) && told["truncated"] == true && told["outcome"] == "agrees"
    }),
    mischief(
        "d",
        "answers about another run",
        "answer escalate_blocked \"$(target d)\" 0.9 run-20200101-000000",
        "other_run",
        |told| told["reply"]["run_id"] == "run-20200101-000000",
    ),
    mischief("e", "wants what nobody may", "answer 'rm -rf /' run", "unknown_intent", |_| true),
    mischief("f", "is highly sure", "answer escalate_blocked \"$(target f)\" '\"high\"'", "malformed", |told| {
        told["reply"]["confidence"] == "high"
    }),
    mischief("g", "says nothing", ":", "malformed", |told| told["bytes_out"] == 0),
    mischief(
        "h",
        "repeats what it was asked, with two answers, of which the last counts",
        "printf '%s\\n' \"$said\"; answer noop run; printf '%s\\n' \"$said\"; answer escalate_blocked \"$(target h)\" 0.1",
        "low_confidence",
        |told| told["reply"]["confidence"] == 0.1,
    ),
    mischief(
        "i",
        "fails",
        "answer escalate_blocked \"$(target i)\"; echo 'no credits' >&2; exit 3",
        "failed",
        |told| told["rejection"]["detail"].as_str().is_some_and(|detail| detail.contains("no credits")),
    ),
];

#[test]
fn whatever_the_program_does_the_loop_goes_on_and_nothing_is_left_of_it() {
    let names: Vec<&str> = MISCHIEF.iter().map(|mischief| mischief.agent).chain(["steady", "dies"]).collect();
    let stage = Stage::new("auto", &names);
    stage.does(MISCHIEF[0].script);
    let (run, mut supervisor) = stage.supervised();
    for (at, Mischief { agent, what, script, why, holds }) in MISCHIEF.into_iter().enumerate() {
        let answers = || stage.advised();
        // Another thing is wrong with the run: it is asked about anew, and no old question is under way.
        let before = wait_for("quiet", PATIENCE, || {
            let open = stage.world.metawsm(&["events", "--type", "operator.asked"]).is(0).lines().len();
            (open == answers().len()).then_some(open)
        });
        stage.does(script);
        stage.kill(agent);
        if at == 0 {
            // Somebody dies while the program hangs: that is seen before it is over.
            wait_for("the question", PATIENCE, || (!stage.asked().is_empty()).then_some(()));
            stage.kill("dies");
            stage.world.until_agent(&run, "dies", "dead");
            assert_eq!(answers().len(), before, "the question is under way still");
        }
        // What a question hears that was put before the script was there is another program's answer.
        let told = wait_for(what, PATIENCE, || {
            let mut told = answers().into_iter().skip(before).map(|event| event["payload"].clone());
            told.find(|told| (why.is_empty() || told["rejection"]["why"] == why) && holds(told))
        });
        assert_ne!(told["outcome"], "escalated", "{what}: {told}");
        assert!(told["transcript"].as_str().unwrap().len() <= 64 * 1024);
    }
    stage.leaves_nothing();
    let answers = stage.advised().len();

    // One that is not there; another program is asked though nothing else has changed.
    stage.policy("auto", json!({ "command": ["no-such-adviser"] }));
    let told = wait_for("a missing program", PATIENCE, || {
        let mut told = stage.advised().into_iter().skip(answers).map(|event| event["payload"].clone());
        told.find(|told| told["rejection"]["detail"].as_str().is_some_and(|detail| detail.contains("not installed")))
    });
    assert_eq!(told["rejection"]["why"], "failed");
    let doctor = stage.world.metawsm(&["doctor"]);
    assert!(doctor.stdout.contains("no-such-adviser"), "{}", doctor.stdout);
    let events = stage.over(&mut supervisor);
    // Never two at once, and never two answers to one question.
    let mut open = None;
    for event in &events {
        match event["event_type"].as_str().unwrap() {
            "operator.asked" => assert_eq!(open.replace(&event["payload"]["question_id"]), None, "{event}"),
            "operator.advised" => assert_eq!(open.take(), Some(&event["payload"]["question_id"]), "{event}"),
            _ => {}
        }
    }
}

#[test]
fn that_it_fails_again_and_again_is_told_once_until_it_works_again() {
    let stage = Stage::new("auto", &["one", "two"]);
    stage.does("echo nonsense");
    let (run, mut supervisor) = stage.supervised();
    stage.kill("one");
    let call = stage.call();
    assert_eq!((&call["run_id"], &call["target"]), (&Value::Null, &json!("adviser")), "{call}");
    assert_eq!(call["evidence"]["failures"], 3);
    assert_eq!(stage.advised().len(), 3);
    stage.answer(3);
    assert_eq!(stage.call()["escalation_id"], call["escalation_id"], "it is told once");
    stage.does("answer noop run");
    stage.kill("two");
    stage.until_no_call();

    // One that is not asked any more is nobody's trouble.
    stage.does("echo nonsense");
    stage.world.ask(&["restart", "--run-id", &run, "--agent", "one"]);
    stage.call();
    stage.world.metawsm(&["operator", "mode", "off"]).is(0);
    stage.until_no_call();
    stage.over(&mut supervisor);
}

#[test]
fn whoever_is_ended_while_it_asks_leaves_nothing_and_the_next_does_not_ask_again_at_once() {
    let stage = Stage::new("assist", &["calm", "doomed"]);
    stage.policy("assist", json!({ "timeout_seconds": 600, "min_interval_seconds": 600 }));
    stage.does("setsid sleep 600 & exec sleep 600");
    let (run, mut supervisor) = stage.supervised();
    stage.kill("doomed");
    wait_for("the question", PATIENCE, || (stage.asked().len() >= 2).then_some(()));
    // Told to end it takes the question along, and says so.
    supervisor.signal("TERM");
    supervisor.ended();
    assert_eq!(stage.asked(), [] as [u32; 0]);
    assert_eq!(stage.answer(0)["rejection"]["why"], "interrupted");
    stage.leaves_nothing();

    // The interval holds for whoever supervises.
    let mut next = stage.world.spawn(&["--headless"]);
    stage.world.until_looked_at(&run, "calm");
    assert_eq!(stage.world.metawsm(&["events", "--type", "operator.asked"]).is(0).lines().len(), 1);

    // Killed it can take nothing along; the next one does.
    stage.policy("assist", json!({ "timeout_seconds": 600 }));
    wait_for("another question", PATIENCE, || (stage.asked().len() >= 2).then_some(()));
    signal(next.pid(), "KILL");
    next.ended();
    assert!(!stage.asked().is_empty());
    stage.policy("off", json!({}));
    let mut last = stage.world.spawn(&["--headless"]);
    stage.leaves_nothing();
    let whys = || {
        let answers = stage.world.metawsm(&["events", "--type", "operator.advised"]).is(0).lines();
        answers.iter().map(|answer| answer["payload"]["rejection"]["why"].clone()).collect::<Vec<_>>()
    };
    wait_for("the end of its question", PATIENCE, || (whys() == ["interrupted", "interrupted"]).then_some(()));
    stage.over(&mut last);
}

//! The operator through the real binary, with real agents in a tmux server of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{launcher, wait_for};

/// A home with a repository and a policy; gone with everything it started when the test ends.
struct Home {
    dir: tempfile::TempDir,
    root: PathBuf,
    background: Vec<Child>,
}

impl Home {
    /// Agents by name and shell line; `operator` is that section of the policy.
    fn new(agents: &[(&str, &str)], operator: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let repo = root.join("shop");
        std::fs::create_dir(&repo).unwrap();
        for args in [
            &["init", "-q", "-b", "main"][..],
            &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "Begin"],
        ] {
            assert!(Command::new("git").args(args).current_dir(&repo).status().unwrap().success());
        }
        let home = Self { dir, root, background: Vec::new() };
        home.write_policy(agents, operator);
        home
    }

    fn write_policy(&self, agents: &[(&str, &str)], operator: &Value) {
        let never = json!({ "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 });
        let soon = json!({ "idle_seconds": 1, "activity_stalled_seconds": 2, "progress_stalled_seconds": 4 });
        let profile = |(name, line): &(&str, &str)| {
            let health = if name.starts_with("silent") { &soon } else { &never };
            let options = json!({ "command": ["sh", "-c", line] });
            json!({ "name": name, "runner": "shell", "runner_options": options, "health": health })
        };
        let policy = json!({
            "version": 3,
            "tmux": { "socket": self.root.join("tmux.sock"), "stop_grace_seconds": 1 },
            "health": { "observe_ms": 100 },
            "operator": operator,
            "agent_profiles": agents.iter().map(profile).collect::<Vec<_>>(),
            "agents": agents.iter().map(|(name, _)| json!({ "name": name, "profile": name })).collect::<Vec<_>>(),
        });
        std::fs::create_dir_all(self.root.join(".metawsm")).unwrap();
        std::fs::write(self.policy(), format!("{policy:#}\n")).unwrap();
    }

    fn policy(&self) -> PathBuf {
        self.root.join(".metawsm/policy.json")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(launcher());
        command.args(args).current_dir(&self.root).env("USER", "bo").stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METAWSM_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The answer of a command that is to succeed.
    fn json(&self, args: &[&str]) -> Value {
        let out = self.call(&[args, &["--json"]].concat());
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_str(&text).unwrap()
    }

    fn status(&self, args: &[&str]) -> Option<i32> {
        self.call(args).status.code()
    }

    fn begin(&self) {
        self.json(&["run", "--ticket", "T-1", "--repos", "shop", "--detach"]);
    }

    /// A supervisor in the background.
    fn supervise(&mut self) -> usize {
        let child = self.command(&["--headless"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.background.push(child);
        self.background.len() - 1
    }

    fn kill(&mut self, which: usize) {
        self.background[which].kill().unwrap();
        self.background[which].wait().unwrap();
    }

    fn open(&self) -> Vec<Value> {
        self.json(&["escalations", "--open"])["escalations"].as_array().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.open().iter().map(|escalation| escalation["kind"].as_str().unwrap().to_owned()).collect()
    }

    fn agent(&self, name: &str) -> Value {
        let agents = self.json(&["agents"]);
        agents["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == name).unwrap().clone()
    }

    fn suggestions(&self) -> Vec<Value> {
        self.json(&["suggestions", "list", "--open"])["suggestions"].as_array().unwrap().clone()
    }

    fn sound(&self) {
        let out = self.call(&["doctor", "--verify"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.call(&["stop", "--all", "--yes"]);
        let socket: &Path = &self.dir.path().canonicalize().unwrap_or_default().join("tmux.sock");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").stderr(Stdio::null()).status();
    }
}

fn rules(mode: &str, budget: u32) -> Value {
    json!({
        "interval_seconds": 1,
        "unhealthy_confirmations": 1,
        "restart_budget": budget,
        "restart_cooldown_seconds": 1,
        "llm": { "mode": mode, "command": ["no-adviser-here"] },
    })
}

const CRASHES: (&str, &str) = ("crasher", "sleep 0.2; kill -9 $$");
const SLEEPS: (&str, &str) = ("sleeper", "exec sleep 600");

#[test]
fn a_crashing_agent_is_restarted_within_its_budget_and_then_a_human_is_called() {
    let mut home = Home::new(&[CRASHES, SLEEPS], &rules("off", 1));
    home.begin();
    let first = home.supervise();
    let blocked = wait_for("the escalation", || home.open().into_iter().next());
    assert_eq!((blocked["kind"].as_str(), blocked["agent"].as_str()), (Some("blocked"), Some("crasher")));
    let crasher = home.agent("crasher");
    assert_eq!((crasher["restarts"]["used"].as_u64(), crasher["launch"].as_u64()), (Some(1), Some(2)));
    let sleeper = home.agent("sleeper");
    assert_eq!((sleeper["status"].as_str(), sleeper["launch"].as_u64()), (Some("running"), Some(1)));
    let status = home.json(&["status"]);
    assert_eq!(status["run"]["counts"]["escalations"], 1);
    assert_eq!(status["escalations"][0]["next"][0], "escalations ack");
    // D30: the next supervisor repeats nothing, however hard the first one ended.
    home.kill(first);
    home.supervise();
    wait_for("a second supervisor", || (!home.json(&["runs"])["supervisor"].is_null()).then_some(()));
    let id = blocked["escalation_id"].as_str().unwrap().to_owned();
    let acknowledged = home.json(&["escalations", "ack", &id, "--for", "4h", "--note", "after lunch"]);
    assert_eq!(acknowledged["escalation"]["state"], "acknowledged");
    assert_eq!(acknowledged["escalation"]["acknowledged_by"], "human:bo");
    home.json(&["stop", "--agent", "sleeper", "--yes"]);
    // D24: now nothing lives and nothing can go on.
    wait_for("the run's failure to be told", || (home.kinds() == ["failed"]).then_some(()));
    let all = home.json(&["escalations"]);
    assert_eq!(all["escalations"].as_array().unwrap().len(), 2, "{all}");
    let events = home.call(&["events", "--type", "operator.acted"]);
    assert_eq!(String::from_utf8(events.stdout).unwrap().lines().count(), 1);
    home.sound();
}

#[test]
fn in_assist_a_restart_is_offered_and_accepting_it_restarts() {
    let mut home = Home::new(&[CRASHES, SLEEPS], &rules("assist", 2));
    home.begin();
    home.supervise();
    let first = wait_for("the suggestion", || home.suggestions().into_iter().next());
    assert_eq!((first["intent"].as_str(), first["agent"].as_str()), (Some("auto_restart"), Some("crasher")));
    assert_eq!(home.agent("crasher")["launch"], 1, "nothing is done unasked");
    assert_eq!(home.json(&["status"])["suggestions"].as_array().unwrap().len(), 1);
    let id = first["suggestion_id"].as_str().unwrap();
    let mut session = home.command(&["suggestions", "accept", id]);
    let in_session = [("METAWSM_AGENT", "sleeper"), ("METAWSM_RUN_ID", first["run_id"].as_str().unwrap())];
    assert_eq!(session.envs(in_session).status().unwrap().code(), Some(4));
    assert_eq!(home.status(&["suggestions", "accept", "sug-none"]), Some(3));
    let accepted = home.json(&["suggestions", "accept", id]);
    assert_eq!(accepted["suggestion"]["state"], "accepted");
    let restarted = wait_for("its second life", || Some(home.agent("crasher")).filter(|agent| agent["launch"] == 2));
    assert_eq!(restarted["restarts"]["used"], 1);
    // It dies again; who restarts it by hand takes the cause of the second suggestion away.
    let second = wait_for("another suggestion", || home.suggestions().into_iter().next());
    let id = second["suggestion_id"].as_str().unwrap();
    assert_ne!(id, first["suggestion_id"].as_str().unwrap());
    home.json(&["restart", "--agent", "crasher"]);
    assert_eq!(home.status(&["suggestions", "accept", id]), Some(4));
    home.sound();
}

#[test]
fn a_headless_run_ends_with_ten_when_something_waits_for_a_human() {
    let home = Home::new(&[CRASHES, SLEEPS], &rules("assist", 2));
    let args = ["--headless", "run", "--ticket", "T-1", "--repos", "shop", "--exit-on-guidance"];
    let out = home.call(&args);
    assert_eq!(out.status.code(), Some(10), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8(out.stdout).unwrap().contains("\"operator.suggested\""));
}

#[test]
fn the_mode_given_to_a_process_holds_for_it_and_leaves_the_policy_as_it_is() {
    let home = Home::new(
        &[("crasher", "[ -e $METAWSM_HOME/was-here ] && exit 0; : > $METAWSM_HOME/was-here; kill -9 $$")],
        &rules("assist", 2),
    );
    let before = std::fs::read_to_string(home.policy()).unwrap();
    let args = ["--headless", "run", "--ticket", "T-1", "--repos", "shop", "--operator", "off"];
    let out = home.call(&args);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("\"operator.acted\"") && !text.contains("\"operator.suggested\""));
    assert_eq!(std::fs::read_to_string(home.policy()).unwrap(), before);
    home.json(&["operator", "mode", "off"]);
    let after = std::fs::read_to_string(home.policy()).unwrap();
    assert_eq!(after, before.replace("\"mode\": \"assist\"", "\"mode\": \"off\""));
    std::fs::write(home.policy(), after.replace("\"off\"", "\"of\"")).unwrap();
    assert_eq!(home.status(&["operator", "mode", "auto"]), Some(5), "a broken policy is not touched");
}

#[test]
fn watch_tells_and_ends_with_the_run_and_a_rehearsal_changes_nothing() {
    let mut home = Home::new(&[CRASHES, SLEEPS], &rules("off", 1));
    home.begin();
    let supervisor = home.supervise();
    wait_for("the escalation", || (home.kinds() == ["blocked"]).then_some(()));
    let told = home.root.join("told");
    let notify = format!("sh -c 'echo $METAWSM_EVENT $METAWSM_TICKETS >> {}'", told.display());
    let mut watch = home.command(&["watch", "--no-bell", "--notify-cmd", &notify]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the first alert", || std::fs::read_to_string(&told).ok().filter(|text| text.contains("blocked T-1")));
    home.kill(supervisor);
    let seq = |home: &Home| home.call(&["events"]).stdout.len();
    let before = seq(&home);
    let mut rehearsal = home.command(&["operator", "--all", "--dry-run", "--json"]);
    let mut rehearsal = rehearsal.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(rehearsal.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["would"]["intent"], "escalate_blocked");
    crate::harness::signal(rehearsal.id(), "INT");
    assert_eq!(rehearsal.wait().unwrap().code(), Some(130));
    assert_eq!(seq(&home), before);
    home.json(&["stop", "--yes"]);
    let out = watch.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(4), "{}", String::from_utf8_lossy(&out.stderr));
    let greeting = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(greeting.starts_with("Watching ") && greeting.contains("(T-1)"), "{greeting}");
    assert!(greeting.contains("this needs a human now"), "{greeting}");
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("blocked: crasher is dead") && text.contains("run_stopped"), "{text}");
    assert_eq!(std::fs::read_to_string(&told).unwrap().matches("blocked").count(), 1, "told once");
}

#[test]
fn d25_an_agent_that_hangs_is_restarted_and_a_silent_one_that_works_is_not() {
    let scribbles = ("silent-worker", "while :; do date > notes; sleep 0.2; done");
    for (agent, launches) in [(("silent-hang", "exec sleep 600"), 2), (scribbles, 1)] {
        let mut home = Home::new(&[agent], &rules("off", 3));
        home.begin();
        home.supervise();
        let told = || home.open().into_iter().find(|escalation| escalation["kind"] == "blocked");
        if launches == 1 {
            // Its silence is told; its files show that it works.
            wait_for("the escalation", told);
            let after = std::time::Instant::now() + std::time::Duration::from_secs(6);
            wait_for("the time in which it would be restarted", || (std::time::Instant::now() > after).then_some(()));
            assert_eq!(home.agent(agent.0)["launch"], 1);
        } else {
            wait_for("its second life", || (home.agent(agent.0)["launch"] == 2).then_some(()));
            assert!(told().is_none(), "its restart took the cause away");
        }
        home.sound();
    }
}

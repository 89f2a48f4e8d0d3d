//! `pr`: what was committed, pushed and handed on through a program that stands in for GitHub's `gh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::committing::left;
use crate::world::{Live, Output, PATIENCE, World, merge, wait_for};

/// A world with a bare `origin`, a `gh` on PATH, and what a run left.
pub struct Hub {
    pub world: World,
    pub run: String,
    origin: PathBuf,
    pub kept: PathBuf,
}

impl Hub {
    pub fn new(more: Value) -> Self {
        let mut policy = json!({
            "operator": { "interval_seconds": 1 },
            "git_pr": { "default_labels": ["agents"], "default_reviewers": ["ada"] },
        });
        merge(&mut policy, more);
        let (world, run) = left(policy);
        let (origin, kept) = (world.root.join("origin.git"), world.root.join("hub"));
        std::fs::create_dir(&kept).unwrap();
        world.git(&world.root, &["init", "-q", "--bare", origin.to_str().unwrap()]);
        world.git(&world.shop(), &["remote", "add", "origin", origin.to_str().unwrap()]);
        world.git(&world.shop(), &["push", "-q", "origin", "main"]);
        Self { world, run, origin, kept }
    }

    pub fn with_gh(&self, mut command: Command) -> Command {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("FAKE_GH", &self.kept);
        command
    }

    pub fn call(&self, args: &[&str]) -> Output {
        self.world.output(self.with_gh(self.world.program(args)), "")
    }

    pub fn ask(&self, args: &[&str]) -> Value {
        self.call(&[args, &["--json"]].concat()).is(0).json()
    }

    pub fn supervise(&self) -> Live {
        Live::start(self.with_gh(self.world.program(&["--headless"])))
    }

    pub fn calls(&self, what: &str) -> Vec<String> {
        let all = std::fs::read_to_string(self.kept.join("calls")).unwrap_or_default();
        all.lines().filter(|line| line.starts_with(what)).map(str::to_owned).collect()
    }

    /// The commit of the branch on the other side.
    pub fn pushed(&self) -> Option<String> {
        let branch = format!("refs/heads/T-1/shop/{}", self.run);
        let all = self.world.git(&self.origin, &["for-each-ref", "--format=%(objectname) %(refname)"]);
        all.lines().find_map(|line| line.strip_suffix(&format!(" {branch}")).map(str::to_owned))
    }

    pub fn head(&self) -> String {
        self.world.git(&self.world.tree(&self.run), &["rev-parse", "HEAD"])
    }

    fn gate(&self, name: &str) -> Value {
        let gates = self.world.ask(&["status"])["gates"].as_array().unwrap().clone();
        gates.into_iter().find(|gate| gate["name"] == name).unwrap()
    }
}

#[test]
fn d3_what_was_committed_is_pushed_and_what_comes_after_reaches_the_same_pull_request() {
    let hub = Hub::new(json!({}));
    assert_eq!(hub.ask(&["pr"])["pull_requests"], json!([]), "nothing is committed yet");
    hub.ask(&["commit", "--message", "First"]);
    // Without gh nothing is pushed either.
    let error = hub.world.metawsm(&["pr", "--json"]).is(6).error();
    assert!(!error["hint"].is_null() && hub.pushed().is_none(), "{error}");
    let dry = hub.ask(&["pr", "--dry-run"]);
    assert!(dry["would"][0].as_str().unwrap().contains("open a pull request into main: [T-1]"), "{dry}");
    assert!(hub.pushed().is_none() && hub.calls("pr").is_empty());
    assert_eq!(hub.gate("merged")["ok"], false);
    let opened = hub.ask(&["pr", "--title", "A table", "--draft", "--actor", "Ada"]);
    let request = &opened["pull_requests"][0];
    assert_eq!((request["number"].as_u64(), &request["title"]), (Some(41), &json!("A table")));
    assert_eq!(hub.pushed().unwrap(), hub.head());
    let created = hub.calls("pr create").pop().unwrap();
    for part in ["--base main", "--draft", "--label agents", "--reviewer ada", "* Ticket: T-1"] {
        assert!(created.contains(part), "{part}: {created}");
    }
    assert_eq!(hub.gate("merged")["ok"], true, "in a pull request counts");
    assert_eq!(hub.world.ask(&["status"])["pull_requests"], opened["pull_requests"]);
    // The same again: nothing is new, and nobody is asked.
    assert_eq!(hub.ask(&["pr"])["pull_requests"], json!([]));
    let tree = hub.world.tree(&hub.run);
    std::fs::write(tree.join("second"), "2\n").unwrap();
    hub.ask(&["commit", "--message", "Second"]);
    std::fs::write(tree.join("third"), "3\n").unwrap();
    let error = hub.call(&["pr", "--json"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("clean_tree (not committed: shop: third)"), "{error}");
    std::fs::remove_file(tree.join("third")).unwrap();
    std::fs::write(hub.kept.join("fails"), "HTTP 502\n").unwrap();
    let error = hub.call(&["pr", "--json"]).is(6).error();
    assert!(error["message"].as_str().unwrap().contains("HTTP 502"), "{error}");
    std::fs::remove_file(hub.kept.join("fails")).unwrap();
    let updated = hub.ask(&["pr"]);
    assert_eq!((updated["pull_requests"][0]["number"].as_u64(), hub.calls("pr create").len()), (Some(41), 1));
    assert_eq!(hub.pushed().unwrap(), hub.head());
    hub.ask(&["pr", "--title", "Two tables"]);
    assert_eq!(std::fs::read_to_string(hub.kept.join("retitled-41")).unwrap(), "Two tables\n");
    let told = |event: &Value| (event["event_type"].as_str().unwrap().to_owned(), event["payload"]["title"].clone());
    let events = hub.world.verified();
    let events: Vec<_> = events.iter().map(told).filter(|(word, _)| word.starts_with("git.pr_")).collect();
    let expected = [("git.pr_opened", "A table"), ("git.pr_updated", "A table"), ("git.pr_updated", "Two tables")];
    assert_eq!(events, expected.map(|(word, title)| (word.to_owned(), json!(title))));
    hub.world.git(&hub.world.shop(), &["remote", "remove", "origin"]);
    std::fs::write(tree.join("fourth"), "4\n").unwrap();
    hub.ask(&["commit"]);
    let error = hub.call(&["pr", "--json"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("no remote origin"), "{error}");
}

#[test]
fn rule_9_offers_what_is_in_no_pull_request_and_by_rule_commit_and_request_follow_each_other() {
    let hub = Hub::new(json!({}));
    hub.ask(&["commit", "--message", "By hand"]);
    let live = hub.supervise();
    let offer = wait_for("the suggestion", PATIENCE, || {
        hub.ask(&["suggestions", "list", "--open"])["suggestions"].as_array().unwrap().first().cloned()
    });
    assert_eq!(
        (&offer["intent"], &offer["reason"]),
        (&json!("pr_ready"), &json!("one commit of shop is in no pull request"))
    );
    // What is left uncommitted goes first, and then it is offered again.
    let late = hub.world.tree(&hub.run).join("late");
    std::fs::write(&late, "").unwrap();
    let offered = |intent: &str| {
        let offers = hub.ask(&["suggestions", "list", "--open"])["suggestions"].as_array().unwrap().clone();
        offers.iter().all(|offer| offer["intent"] == intent).then(|| offers.first().cloned()).flatten()
    };
    wait_for("the offer to commit alone", PATIENCE, || offered("commit_ready"));
    std::fs::remove_file(&late).unwrap();
    let offer = wait_for("the offer to hand it on", PATIENCE, || offered("pr_ready"));
    let accepted = hub.ask(&["suggestions", "accept", offer["suggestion_id"].as_str().unwrap()]);
    assert_eq!(accepted["pull_requests"][0]["number"], 41, "{accepted}");
    assert_eq!(hub.pushed().unwrap(), hub.head());
    drop(live);
    // A run keeps the policy of git_pr that it began with: only the rules follow the file.
    let hub = Hub::new(json!({
        "operator": { "rules": { "commit_ready": "act", "pr_ready": "act" } },
        "git_pr": { "mode": "auto" },
    }));
    let _live = hub.supervise();
    wait_for("the pull request", PATIENCE, || {
        hub.world.ask(&["status"])["pull_requests"].as_array().unwrap().first().cloned()
    });
    assert_eq!(hub.pushed().unwrap(), hub.head());
    let acted = hub.world.metawsm(&["events", "--type", "operator.acted"]).is(0).lines();
    let intents: Vec<&str> = acted.iter().map(|event| event["payload"]["intent"].as_str().unwrap()).collect();
    assert_eq!(intents, ["commit_ready", "pr_ready"]);
    assert_eq!(hub.calls("pr create").len(), 1);
    hub.world.verified();
}

#[test]
fn what_is_pushed_is_what_was_judged() {
    let sneaks = "test ! -e \"$(git rev-parse --git-dir)/sneaks\" \
        || git -c user.name=x -c user.email=x@example.org commit -q --allow-empty -m sneaked";
    let more = json!({ "git_pr": { "required_checks": ["forbidden_files", "tests"], "test_commands": [sneaks] } });
    let hub = Hub::new(more);
    hub.ask(&["commit"]);
    let tree = hub.world.tree(&hub.run);
    std::fs::write(tree.join(".env"), "S=1\n").unwrap();
    hub.world.git(&tree, &["add", ".env"]);
    hub.world.git(&tree, &["commit", "-qm", "A secret"]);
    // Gone from the worktree is not gone from the branch.
    std::fs::remove_file(tree.join(".env")).unwrap();
    let error = hub.call(&["pr", "--json"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("forbidden_files (shop/.env"), "{error}");
    // A commit by which it goes may be made, under whatever name it stays.
    hub.world.git(&tree, &["restore", ".env"]);
    hub.world.git(&tree, &["mv", ".env", "sample"]);
    hub.ask(&["commit"]);
    let sneaks = hub.world.git(&tree, &["rev-parse", "--absolute-git-dir"]) + "/sneaks";
    std::fs::write(&sneaks, "").unwrap();
    // What came while the tests ran was judged by nobody.
    let error = hub.call(&["pr", "--json"]).error();
    assert!(error["message"].as_str().unwrap().contains("as last seen") && hub.pushed().is_none(), "{error}");
    std::fs::remove_file(&sneaks).unwrap();
    hub.ask(&["pr"]);
    assert_eq!(hub.pushed().unwrap(), hub.head());
}

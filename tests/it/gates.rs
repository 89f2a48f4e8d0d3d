//! The close gates, our own commits, and merges that are all or nothing.

use std::path::Path;

use serde_json::{Value, json};

use crate::story::WORK;
use crate::world::{PATIENCE, World, wait_for};

/// The gates that are not passed, as a refused `close` reports them; each names its mend.
#[track_caller]
fn open_gates(world: &World, run: &str, more: &[&str]) -> Vec<(String, String, String)> {
    let args = [&["close", "--run-id", run, "--yes", "--json"], more].concat();
    let error = world.metawsm(&args).is(4).error();
    assert_eq!(error["code"], "refused");
    let gates = error["details"]["gates"].as_array().unwrap().clone();
    let word = |gate: &Value, key: &str| gate[key].as_str().unwrap_or_else(|| panic!("{key} of {gate}")).to_owned();
    gates
        .iter()
        .filter(|gate| gate["ok"] == false)
        .map(|gate| (word(gate, "name"), word(gate, "reason"), word(gate, "mend")))
        .collect()
}

fn names(gates: &[(String, String, String)]) -> Vec<&str> {
    gates.iter().map(|gate| gate.0.as_str()).collect()
}

#[test]
fn close_is_refused_at_each_gate_with_its_mend_and_then_passed() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let tree = world.tree(&run);
    let open = open_gates(&world, &run, &[]);
    assert_eq!(names(&open), ["completed", "agents"]);
    assert!(open[0].2.contains("metawsm wait") && open[1].1.contains("coder"), "{open:?}");

    world.order("coder", 1, r#""$METAWSM_BIN" forum ask --wait --timeout 60s --title "Now?" --body b > answer.log"#);
    wait_for("the question", PATIENCE, || tree.join("answer.log").exists().then_some(()));
    world.until_run(&run, "awaiting_guidance");
    let open = open_gates(&world, &run, &[]);
    assert_eq!(names(&open), ["completed", "agents", "guidance", "clean"]);
    assert!(open[2].1.contains("Now?") && open[2].2.contains("metawsm forum answer --thread-id"), "{open:?}");
    let thread = open[2].2.split_whitespace().nth(4).unwrap();
    world.ask(&["forum", "answer", "--thread-id", thread, "--body", "yes"]);
    wait_for("the answer inside", PATIENCE, || {
        std::fs::read_to_string(tree.join("answer.log")).ok().filter(|text| text.trim_end() == "yes")
    });

    world.order("coder", 2, WORK);
    world.until_run(&run, "completed");
    let open = open_gates(&world, &run, &[]);
    assert_eq!(names(&open), ["clean", "merged"]);
    assert!(open[0].1.contains("shop/answer.log") && open[0].2.contains("metawsm commit --run-id"), "{open:?}");
    assert!(open[1].1.contains("1 commit of") && open[1].2.contains("metawsm merge --run-id"), "{open:?}");
    assert_eq!(names(&open_gates(&world, &run, &["--merge"])), ["clean"]);
    std::fs::remove_file(tree.join("answer.log")).unwrap();

    let away = world.root.join("away");
    std::fs::rename(tree.join("ttmp"), &away).unwrap();
    let open = open_gates(&world, &run, &["--merge"]);
    assert_eq!(names(&open), ["docs"]);
    assert!(open[0].2.contains("restore"), "{open:?}");
    std::fs::rename(&away, tree.join("ttmp")).unwrap();

    let text = world.metawsm(&["close", "--run-id", &run, "--yes"]).is(4);
    assert_eq!(text.stdout, "");
    assert!(text.stderr.contains("merged:") && text.stderr.contains("→"), "{}", text.stderr);
    let unconfirmed = world.metawsm(&["close", "--run-id", &run, "--merge"]).is(4);
    assert!(unconfirmed.stderr.contains("--yes"), "{}", unconfirmed.stderr);
    assert_eq!(world.run_status(&run), "completed");
    world.ask(&["close", "--run-id", &run, "--merge", "--yes", "--changelog-entry", "It works now."]);
    assert_eq!(world.run_status(&run), "closed");
    let changelog = world.git(&world.shop(), &["grep", "-h", "It works now.", "main", "--", "ttmp"]);
    assert_eq!(changelog.matches("It works now.").count(), 1);
    world.verified();
}

#[test]
fn the_clean_gate_is_the_policys_to_have() {
    let world = World::with(&[("coder", "obeys.sh")], json!({ "close": { "require_clean_git": false } }));
    let run = world.run(&[]);
    let tree = world.tree(&run);
    world.order("coder", 1, "echo s > staged; git add staged; echo u > untracked");
    world.order("coder", 2, r#""$METAWSM_BIN" forum signal --type completion --summary ok"#);
    world.until_run(&run, "completed");
    // Our own commit goes apart and takes nothing else along, not even what is staged.
    world.ask(&["close", "--run-id", &run, "--yes", "--merge"]);
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "A  staged\n?? untracked");
    let subject = world.git(&tree, &["log", "--format=%s", "main~1..HEAD"]);
    assert_eq!(subject, format!("metawsm: ticket docs of {run}"));
    let files = world.git(&tree, &["show", "--format=", "--name-only", "HEAD"]);
    assert!(files.lines().count() >= 3 && files.lines().all(|file| file.starts_with("ttmp/")), "{files}");
    world.metawsm(&["cleanup", "--run-id", &run, "--yes"]).is(4);
    assert!(tree.join("untracked").exists(), "unsaved work never goes without --force");
    world.ask(&["cleanup", "--run-id", &run, "--yes", "--force"]);
    assert!(!tree.exists());
    let backup = world.git(&world.shop(), &["for-each-ref", "--format=%(refname)", "refs/metawsm/backup"]);
    let kept = world.git(&world.shop(), &["ls-tree", "-r", "--name-only", &backup]);
    assert!(kept.contains("untracked") && kept.contains("staged"), "{kept}");
}

#[test]
fn our_own_docs_are_not_dirt_until_somebody_changes_them() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    let status = world.ask(&["status", "--run-id", &run]);
    let diff = &status["diffs"][0];
    assert_eq!(diff["dirty"], json!([]));
    let own: Vec<&str> = diff["own"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(own.len() >= 3 && own.iter().all(|path| path.starts_with("ttmp/")), "{own:?}");
    assert_eq!(world.git(&world.shop(), &["status", "--porcelain"]), "", "nothing is written into the checkout");
    let index = own.iter().find(|path| path.ends_with("index.md")).unwrap();
    std::fs::write(world.tree(&run).join(index), "mine now\n").unwrap();
    let changed = world.ask(&["status", "--run-id", &run]);
    assert_eq!(changed["diffs"][0]["dirty"], json!([index]));
}

const BRIEF: [&str; 10] = [
    "--goal",
    "a table",
    "--scope",
    "orders",
    "--done-criteria",
    "  tests pass ",
    "--constraints",
    "none",
    "--merge-intent",
    "main",
];

#[test]
fn a_bootstrap_run_needs_completion_and_the_briefs_own_criteria() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let missing = ["bootstrap", "--ticket", "T-1", "--repos", "shop", "--goal", "g", "--json", "--detach"];
    let error = world.metawsm(&missing).is(5).error();
    assert!(error["message"].as_str().unwrap().contains("--done-criteria"), "{error}");
    let args = [&["bootstrap", "--ticket", "T-1", "--repos", "shop", "--detach"], &BRIEF[..]].concat();
    let run = world.ask(&args)["run"]["run_id"].as_str().unwrap().to_owned();
    let tree = world.tree(&run);
    // The brief is there when the agent starts (D12).
    assert!(std::fs::read_to_string(tree.parent().unwrap().join("brief.md")).unwrap().contains("tests pass"));
    let seeded = world.git(&tree, &["ls-files", "-o", "--exclude-standard", "ttmp"]);
    assert!(seeded.lines().any(|file| file.contains("reference/01-brief-")), "{seeded}");

    let gate = |world: &World| names(&open_gates(world, &run, &[])).contains(&"validation");
    let signal =
        |args: &[&str]| world.metawsm(&[&["forum", "signal", "--run-id", &run, "--agent", "coder"], args].concat());
    assert!(gate(&world));
    signal(&["--type", "completion", "--summary", "all there"]).is(0);
    assert_eq!(world.agent(&run, "coder")["status"], "running", "completion alone is not enough");
    let wrong = signal(&["--type", "validation", "--status", "passed", "--done-criteria", "tests run"]);
    assert!([0, 4].contains(&wrong.status), "{wrong:?}");
    signal(&["--type", "validation", "--status", "failed", "--done-criteria", "tests pass"]).is(0);
    assert_eq!(world.run_status(&run), "running");
    assert!(gate(&world));
    signal(&["--type", "validation", "--status", "passed", "--done-criteria", " tests pass\n"]).is(0);
    assert_eq!((world.agent(&run, "coder")["status"].as_str(), gate_free(&world, &run)), (Some("done"), true));
    world.ask(&["close", "--run-id", &run, "--merge", "--yes"]);
    assert_eq!(world.run_status(&run), "closed");
}

fn gate_free(world: &World, run: &str) -> bool {
    let status = world.ask(&["status", "--run-id", run]);
    status["run"]["status"] == "completed"
        && status["gates"].as_array().unwrap().iter().any(|gate| gate["name"] == "validation" && gate["ok"] == true)
}

/// A completed run whose agent changed README in `shop` and in `web`.
fn two_repositories() -> (World, String) {
    let world = World::new(&[("coder", "obeys.sh")]);
    world.repo("web");
    let run = world.ask(&["run", "--ticket", "T-1", "--repos", "shop,web", "--detach"]);
    let run = run["run"]["run_id"].as_str().unwrap().to_owned();
    let text = r#"for repo in . ../web; do (cd $repo && echo theirs > README && echo n > new.txt && git add . ':!ttmp' &&
        git commit -q -m "Change $repo"); done
        "$METAWSM_BIN" forum signal --type completion --summary ok"#;
    world.order("coder", 1, text);
    world.until_run(&run, "completed");
    (world, run)
}

/// Everything of a checkout that a merge could touch.
fn checkout(world: &World, repo: &Path) -> (String, String, String) {
    let head = world.git(repo, &["rev-parse", "HEAD"]);
    (head, world.git(repo, &["status", "--porcelain"]), std::fs::read_to_string(repo.join("README")).unwrap())
}

#[test]
fn a_conflict_in_one_repository_leaves_all_as_they_were_and_is_named() {
    let (world, run) = two_repositories();
    let (shop, web) = (world.shop(), world.home().join("web"));
    std::fs::write(web.join("README"), "ours\n").unwrap();
    world.git(&web, &["commit", "-qam", "ours"]);
    let before = (checkout(&world, &shop), checkout(&world, &web));
    let error = world.metawsm(&["merge", "--run-id", &run, "--yes", "--json"]).is(4).error();
    assert_eq!(error["details"]["files"], json!(["README"]));
    assert!(error["hint"].as_str().unwrap().contains("merge the base into the run's branch"), "{error}");
    let closing = world.metawsm(&["close", "--merge", "--run-id", &run, "--yes", "--json"]).is(4).error();
    assert!(closing["message"].as_str().unwrap().contains("README"), "{closing}");
    assert_eq!((checkout(&world, &shop), checkout(&world, &web)), before);
    assert!(world.metawsm(&["merge", "--dry-run", "--run-id", &run]).status != 0);
    // Mended as the hint says, it goes through.
    let tree = world.tree(&run).parent().unwrap().join("web");
    world.git(&tree, &["merge", "-q", "-s", "ours", "-m", "mended", "main"]);
    world.ask(&["merge", "--run-id", &run, "--yes"]);
    assert_eq!(checkout(&world, &web).2, "theirs\n");
    assert_eq!(checkout(&world, &shop).2, "theirs\n");
}

#[test]
fn files_in_the_way_are_named_and_nothing_is_half_done() {
    let (world, run) = two_repositories();
    let (shop, web) = (world.shop(), world.home().join("web"));
    std::fs::write(web.join("new.txt"), "the user's own\n").unwrap();
    std::fs::write(web.join("README"), "being edited\n").unwrap();
    let before = (checkout(&world, &shop), checkout(&world, &web));
    let error = world.metawsm(&["merge", "--run-id", &run, "--yes", "--json"]).is(4).error();
    let files: Vec<&str> = error["details"]["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(files.contains(&"new.txt") && files.contains(&"README"), "{error}");
    assert_eq!((checkout(&world, &shop), checkout(&world, &web)), before);
    assert_eq!(std::fs::read_to_string(web.join("new.txt")).unwrap(), "the user's own\n");
    std::fs::remove_file(web.join("new.txt")).unwrap();
    world.git(&web, &["checkout", "-q", "README"]);
    world.ask(&["merge", "--run-id", &run, "--yes"]);
    assert_eq!(checkout(&world, &web).2, "theirs\n");
    world.verified();
}

#[test]
fn a_squash_is_one_commit_that_counts_as_merged() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, "for i in 1 2 3; do echo $i > f$i; git add f$i; git commit -q -m part-$i; done");
    world.order("coder", 2, r#""$METAWSM_BIN" forum signal --type completion --summary ok"#);
    world.until_run(&run, "completed");
    std::fs::write(world.shop().join("meanwhile"), "m\n").unwrap();
    world.git(&world.shop(), &["add", "meanwhile"]);
    world.git(&world.shop(), &["commit", "-qm", "meanwhile"]);
    world.ask(&["merge", "--run-id", &run, "--squash", "--yes"]);
    let log = world.git(&world.shop(), &["log", "--format=%s", "main"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(!log.contains("part-1") && world.shop().join("f3").exists() && world.shop().join("meanwhile").exists());
    let again = world.ask(&["merge", "--run-id", &run, "--squash", "--yes"]);
    assert_eq!(again["merged"], json!([]), "nothing is merged twice");
    assert_eq!(world.git(&world.shop(), &["log", "--format=%s", "main"]), log);
    world.ask(&["close", "--run-id", &run, "--yes"]);
    world.ask(&["cleanup", "--run-id", &run, "--yes", "--delete-branch"]);
    assert_eq!(world.git(&world.shop(), &["branch", "--format=%(refname:short)"]), "main");
    world.verified();
}

#[test]
fn nothing_is_merged_or_closed_while_somebody_works() {
    let world = World::new(&[("coder", "obeys.sh"), ("slow", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, WORK);
    world.until_agent(&run, "coder", "done");
    for verb in ["merge", "close"] {
        let error = world.metawsm(&[verb, "--run-id", &run, "--yes", "--json"]).is(4).error();
        assert!(error["message"].as_str().unwrap().contains("slow"), "{verb}: {error}");
    }
    assert_eq!(world.git(&world.shop(), &["log", "--format=%s", "main"]), "first");
    world.metawsm(&["stop", "--run-id", &run, "--agent", "slow", "--yes"]).is(0);
    assert_eq!(world.run_status(&run), "completed", "one done, the other stopped by a human");
    world.metawsm(&["merge", "--run-id", &run, "--yes"]).is(0);
    world.metawsm(&["close", "--run-id", &run, "--yes"]).is(0);
}

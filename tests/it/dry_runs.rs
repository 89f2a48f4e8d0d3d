//! D1: a dry run changes not one byte, and neither does reading.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::git_world::listing;
use crate::story::WORK;
use crate::world::World;

type Tree = BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)>;

/// Every file of the home with content, mode and time of change: the database and its log, workspaces, the checkouts
/// with their git objects, refs, indexes and worktrees. Only SQLite's own lock table in memory is left out.
fn everything(world: &World) -> Tree {
    let mut all = listing(&world.home());
    all.retain(|path, _| !path.to_string_lossy().ends_with(".db-shm"));
    all
}

#[track_caller]
fn same(before: &Tree, after: &Tree, what: &str) {
    let changed: Vec<_> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "{what} changed {changed:?}");
}

/// Each call ends as said and leaves everything as it was.
#[track_caller]
fn untouched(world: &World, calls: &[(&str, i32)]) {
    let before = everything(world);
    for (call, status) in calls {
        let args: Vec<&str> = call.split(' ').collect();
        world.metawsm(&args).is(*status);
        same(&before, &everything(world), call);
    }
}

#[test]
fn a_dry_run_and_reading_change_nothing_while_agents_work() {
    let world = World::new(&[("coder", "obeys.sh"), ("coder-2", "obeys.sh")]);
    let run = world.run(&[]);
    world.shows(world.agent(&run, "coder")["session"].as_str().unwrap(), "ready coder");
    world.shows(world.agent(&run, "coder-2")["session"].as_str().unwrap(), "ready coder-2");
    untouched(
        &world,
        &[
            ("stop --dry-run", 0),
            ("stop --dry-run --agent coder", 0),
            ("stop --dry-run --all --json", 0),
            ("restart --dry-run", 0),
            ("restart --dry-run --agent coder-2 --json", 0),
            ("iterate --feedback x --dry-run", 0),
            ("close --dry-run", 4),
            ("close --dry-run --merge --json", 4),
            ("commit --dry-run", 4),
            ("commit", 4),
            ("pr --dry-run --json", 4),
            ("pr", 4),
            ("merge --dry-run", 4),
            ("cleanup --dry-run", 0),
            ("cleanup --dry-run --force --delete-branch --json", 0),
            ("runs", 0),
            ("agents --json", 0),
            ("steps", 0),
            ("status", 0),
            ("logs --agent coder", 0),
            ("forum list", 0),
            ("forum queue --json", 0),
            ("events", 0),
            ("policy check", 0),
            ("policy show", 0),
            ("doctor", 0),
            ("doctor --verify --json", 0),
            ("wait --for done --timeout 1s", 124),
            ("close --yes", 4),
            ("merge --yes", 4),
            ("stop", 4),
            ("resume --run-id nobody", 3),
        ],
    );
    assert_eq!(world.sessions().len(), 2);
}

#[test]
fn a_dry_run_changes_nothing_when_there_is_something_to_merge() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let run = world.run(&[]);
    world.order("coder", 1, WORK);
    world.until_run(&run, "completed");
    // The base has moved on, so that trying the merge makes a commit and a tree.
    std::fs::write(world.shop().join("other"), "o\n").unwrap();
    world.git(&world.shop(), &["add", "other"]);
    world.git(&world.shop(), &["commit", "-qm", "other"]);
    let calls = [
        ("commit --dry-run", 0),
        // There is no origin to push to.
        ("pr --dry-run", 4),
        ("merge --dry-run", 0),
        ("merge --dry-run --squash --json", 0),
        ("close --dry-run", 4),
        ("close --dry-run --merge", 0),
        ("close --dry-run --merge --changelog-entry x --json", 0),
        ("cleanup --dry-run", 4),
        ("cleanup --dry-run --force", 0),
        ("cleanup --dry-run --keep-workspaces", 0),
        ("restart --dry-run", 0),
        ("merge", 4),
        ("close --merge", 4),
        ("status --json", 0),
    ];
    untouched(&world, &calls);
    let would = world.ask(&["merge", "--dry-run"]);
    assert!(would["would"][0].as_str().unwrap().contains("commit the ticket docs"), "{would}");
    assert!(would["would"][1].as_str().unwrap().contains("main moves from"), "{would}");
    assert_eq!(world.run_status(&run), "completed", "D1: close --dry-run closes nothing");
    // A dirty checkout with a stale index is looked at, not refreshed.
    std::fs::write(world.shop().join("README"), "edited\n").unwrap();
    std::fs::write(world.tree(&run).join("README"), "one\n").unwrap();
    untouched(
        &world,
        &[
            ("commit --dry-run", 0),
            ("commit --dry-run --json", 0),
            ("close --dry-run", 4),
            ("status", 0),
            ("merge --dry-run", 0),
            ("cleanup --dry-run --force", 0),
        ],
    );
}

#[test]
fn a_planned_run_is_stored_and_nothing_else() {
    let world = World::new(&[("coder", "obeys.sh")]);
    let inside = |path: &PathBuf| path.starts_with(world.home().join(".metawsm")) || *path == world.home();
    let outside = |tree: Tree| tree.into_iter().filter(|(path, _)| !inside(path)).collect::<Tree>();
    let before = outside(everything(&world));
    let planned = world.ask(&["run", "--ticket", "T-1", "--repos", "shop", "--dry-run"]);
    assert_eq!((&planned["run"]["status"], &planned["run"]["dry_run"]), (&json!("paused"), &json!(true)));
    assert!(planned["would"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("obeys.sh")));
    let brief = ["--goal", "g", "--scope", "s", "--done-criteria", "d", "--constraints", "c", "--merge-intent", "m"];
    world.ask(&[&["bootstrap", "--ticket", "T-2", "--repos", "shop", "--dry-run"], &brief[..]].concat());
    same(&before, &outside(everything(&world)), "a planned run");
    let made: Vec<String> = std::fs::read_dir(world.home().join(".metawsm"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("metawsm.db") && name != "policy.json" && name != ".gitignore")
        .collect();
    assert_eq!(made, Vec::<String>::new());
    assert!(!world.socket().exists(), "no tmux server was started");
    assert_eq!(world.ask(&["runs"])["runs"], json!([]), "dry ones are not among the runs");
    assert_eq!(world.ask(&["runs", "--all"])["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn reading_makes_no_home() {
    let world = World::bare();
    let before = everything(&world);
    for call in
        ["runs", "status", "agents", "steps", "events", "forum list", "forum queue", "stop --yes", "close --yes"]
    {
        let args: Vec<&str> = call.split(' ').chain(["--json"]).collect();
        let error = world.metawsm(&args).is(3).error();
        assert!(error["message"].as_str().unwrap().contains("no home here"), "{call}: {error}");
    }
    world.metawsm(&["doctor"]).is(0);
    world.metawsm(&["run", "--ticket", "T-1", "--repos", "nowhere", "--detach"]).is(3);
    world.metawsm(&["run", "--ticket", "..", "--repos", "shop", "--detach"]).is(2);
    same(&before, &everything(&world), "reading");
}

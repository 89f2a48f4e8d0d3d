//! `commit`: what agents left uncommitted, on the run's branch, with real git.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

/// What an agent does that leaves its work uncommitted: a new directory, an odd name, a change, a rename.
pub const LEAVES: &str = r#"mkdir -p deep/er && echo new > deep/er/file && echo odd > 'odd "name".txt' && echo more >> README
git mv moved elsewhere
"$METAWSM_BIN" forum signal --type completion --summary "left" > /dev/null"#;

/// A world whose one agent has left work behind in a completed run.
pub fn left(more: Value) -> (World, String) {
    let world = World::with(&[("coder", "obeys.sh")], more);
    std::fs::write(world.shop().join("moved"), "to be renamed\n").unwrap();
    world.git(&world.shop(), &["add", "."]);
    world.git(&world.shop(), &["commit", "-qm", "moved"]);
    let run = world.run(&[]);
    world.metawsm(&["commit"]).is(4);
    world.order("coder", 1, LEAVES);
    world.until_run(&run, "completed");
    (world, run)
}

fn subjects(world: &World, tree: &Path) -> Vec<String> {
    world.git(tree, &["log", "--format=%s", "main..HEAD"]).lines().map(str::to_owned).collect()
}

fn gate(shape: &Value, name: &str) -> Value {
    let gates = shape["gates"].as_array().unwrap();
    gates.iter().find(|gate| gate["name"] == name).unwrap_or_else(|| panic!("no {name} in {shape}")).clone()
}

/// A hook of the repository, for all its worktrees.
pub fn hook(world: &World, name: &str, text: &str) {
    let path = world.shop().join(".git/hooks").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn d2_each_commit_adds_to_the_branch_and_our_own_writing_stays_apart() {
    let (world, run) = left(json!({}));
    let tree = world.tree(&run);
    let dry = world.ask(&["commit", "--dry-run"]);
    let would: Vec<&str> = dry["would"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(would[0].contains("ticket docs") && would[1].contains("deep/er/file"), "{would:?}");
    assert_eq!(gate(&dry, "forbidden_files")["ok"], true);
    let made = world.ask(&["commit", "--message", "First part\n\nand why", "--actor", "Ada <ada@example.org>"]);
    assert_eq!((&made["run"]["status"], made["commits"][0]["files"].as_u64()), (&json!("completed"), Some(4)));
    assert_eq!(subjects(&world, &tree), ["First part", &format!("metawsm: ticket docs of {run}")]);
    assert_eq!(world.git(&tree, &["status", "--porcelain", "-uall"]), "");
    let shown = world.git(&tree, &["show", "--name-status", "--format=%an <%ae> by %cn%n%b", "HEAD"]);
    assert!(shown.starts_with("Ada <ada@example.org> by User\nand why"), "{shown}");
    assert!(shown.contains("R100\tmoved\telsewhere") && !shown.contains("ttmp"), "{shown}");
    // Nothing is left, and that is no failure.
    assert_eq!(world.ask(&["commit"])["commits"], json!([]));
    std::fs::write(tree.join("second"), "2\n").unwrap();
    world.ask(&["commit"]);
    assert_eq!(subjects(&world, &tree)[..2], [format!("T-1: apply {run} updates"), "First part".to_owned()]);
    let events = world.verified();
    let committed: Vec<&Value> = events.iter().filter(|event| event["event_type"] == "git.committed").collect();
    let told = |n: usize| (&committed[n]["payload"]["own"], committed[n]["payload"]["author"].as_str());
    assert_eq!((told(0), told(1)), ((&json!(true), None), (&json!(false), Some("Ada <ada@example.org>"))));
    assert_eq!((told(2).1, &committed[2]["actor_name"]), (Some("User <user@example.org>"), &json!("tester")));
    // Who wandered off to another branch is told how to come back, and nothing is switched for them.
    world.git(&tree, &["switch", "-qc", "elsewhere"]);
    std::fs::write(tree.join("third"), "3\n").unwrap();
    let error = world.metawsm(&["commit", "--json"]).is(4).error();
    assert!(gate(&error["details"], "branch")["mend"].as_str().unwrap().contains("switch"), "{error}");
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "?? third");
    for (args, status) in [
        (&["commit", "--message", " "][..], 2),
        (&["commit", "--actor", "<x>"], 2),
        (&["commit", "--run-id", &run, "--ticket", "T-9"], 2),
        (&["commit", "--run-id", "nobody"], 3),
    ] {
        world.metawsm(args).is(status);
    }
}

#[test]
fn d17_d18_what_may_not_be_committed_is_found_and_a_test_is_one_shell_line() {
    let test = "test -e README, || test -e deep/er/file && ! test -e broken";
    let (world, run) = left(json!({ "git_pr": { "test_commands": [test] } }));
    let tree = world.tree(&run);
    let refused = |name: &str| {
        let error = world.metawsm(&["commit", "--json"]).is(4).error();
        assert!(subjects(&world, &tree).is_empty(), "nothing is committed, ours neither: {error}");
        let gate = gate(&error["details"], name);
        assert_eq!(gate["ok"], false, "{error}");
        gate["reason"].as_str().unwrap().to_owned()
    };
    // In a directory that is new as a whole.
    std::fs::create_dir(tree.join("config")).unwrap();
    std::fs::write(tree.join("config/.env"), "SECRET=1\n").unwrap();
    assert_eq!(refused("forbidden_files"), "shop/config/.env");
    std::fs::remove_dir_all(tree.join("config")).unwrap();
    std::fs::write(tree.join("broken"), "").unwrap();
    assert!(refused("tests").contains("ended with 1"));
    // D16: a dry run names the tests and runs none.
    let dry = world.metawsm(&["commit", "--dry-run", "--json"]).is(0).json();
    assert!(gate(&dry, "tests")["reason"].as_str().unwrap().starts_with("not run now"), "{dry}");
    std::fs::remove_file(tree.join("broken")).unwrap();
    world.git(&world.shop(), &["init", "-q", tree.join("inner").to_str().unwrap()]);
    assert!(refused("files").contains("inner/ is a repository of its own"));
    std::fs::remove_dir_all(tree.join("inner")).unwrap();
    // What an agent has committed itself is in the change as well.
    std::fs::write(tree.join("key.pem"), "k\n").unwrap();
    world.git(&tree, &["add", "key.pem"]);
    world.git(&tree, &["commit", "-qm", "A key", "--", "key.pem"]);
    let error = world.metawsm(&["commit", "--json"]).is(4).error();
    assert_eq!(gate(&error["details"], "forbidden_files")["reason"], "shop/key.pem", "{error}");
    std::fs::remove_file(tree.join("key.pem")).unwrap();
    world.ask(&["commit"]);
}

#[test]
fn a_hook_that_says_no_or_hangs_is_told_and_the_call_can_be_repeated() {
    let (world, run) = left(json!({ "execution": { "step_timeout_seconds": 1 } }));
    let tree = world.tree(&run);
    hook(&world, "pre-commit", "echo 'no commits on fridays' >&2; exit 1");
    let error = world.metawsm(&["commit", "--json"]).is(6).error();
    assert!(error["message"].as_str().unwrap().contains("no commits on fridays"), "{error}");
    assert_eq!(subjects(&world, &tree), [format!("metawsm: ticket docs of {run}")]);
    assert_eq!(world.git(&tree, &["diff", "--cached", "--name-status"]), "R100\tmoved\telsewhere", "as it was staged");
    hook(&world, "pre-commit", "exec sleep 60");
    let error = world.metawsm(&["commit", "--json"]).is(6).error();
    assert!(error["message"].as_str().unwrap().contains("within 1 s"), "{error}");
    // The one who commits is killed while a hook is at it.
    hook(&world, "pre-commit", "echo $$ > \"$METAWSM_HOOKED\"; exec sleep 60");
    let pid = world.root.join("hooked");
    let mut command = world.program(&["commit"]);
    command.env("METAWSM_HOOKED", &pid);
    let mut live = crate::world::Live::start(command);
    let pid: u32 = wait_for("the hook", PATIENCE, || std::fs::read_to_string(&pid).ok()?.trim().parse().ok());
    live.signal("KILL");
    assert_eq!(live.ended(), -9);
    crate::harness::signal(pid, "KILL");
    wait_for("the hook's end", Duration::from_secs(10), || crate::harness::state(pid).is_empty().then_some(()));
    hook(&world, "pre-commit", "exit 0");
    world.ask(&["commit"]);
    assert_eq!(subjects(&world, &tree).len(), 2);
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "");
    world.verified();
}

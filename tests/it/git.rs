//! Repositories, bases, worktrees, commits, backups: with real git.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metawsm::services::git::{ChangeKind, Fetched, Git, GitError, blob_of};

use crate::git_world::{World, hermetic, listing, write};

#[test]
fn a_path_is_told_apart_from_a_repository() {
    let world = World::new();
    let git = &world.git;
    let info = git.inspect(&world.repo()).unwrap();
    assert_eq!((info.toplevel, info.current_branch.as_deref()), (world.repo(), Some("main")));
    assert_eq!(info.common_dir, world.repo().join(".git"));
    assert!(matches!(git.inspect(&world.at("nowhere")), Err(GitError::NoSuchPath { .. })));
    fs::create_dir(world.at("plain")).unwrap();
    assert!(matches!(git.inspect(&world.at("plain")), Err(GitError::NotARepository { .. })));
    world.run(&world.at("plain"), &["init", "-q", "--bare", "bare.git"]);
    assert!(matches!(git.inspect(&world.at("plain/bare.git")), Err(GitError::Bare { .. })));
    assert!(matches!(git.inspect(&world.repo().join(".git")), Err(GitError::Bare { .. })));
    let missing = git.clone().with_program("no-such-git");
    assert!(matches!(missing.inspect(&world.repo()), Err(GitError::Missing { .. })));
    world.run(&world.repo(), &["checkout", "-q", "--detach"]);
    assert_eq!(git.inspect(&world.repo()).unwrap().current_branch, None);
    assert!(git.version().unwrap().starts_with(|c: char| c.is_ascii_digit()));
}

#[test]
fn the_start_is_the_base_that_contains_the_other() {
    let world = World::new();
    let (git, repo) = (&world.git, world.repo());
    let limit = Duration::from_secs(10);
    assert_eq!(git.fetch_base(&repo, "main", limit).unwrap(), Fetched::NoRemote);
    assert_eq!(git.start_point(&repo, "main").unwrap().ref_name, "main");
    world.run(&world.at(""), &["clone", "-q", "repo", "clone"]);
    let clone = world.at("clone");
    let ahead = world.commit(&repo, "README", "two\n", "second");
    assert_eq!(git.fetch_base(&clone, "main", limit).unwrap(), Fetched::Done);
    assert!(!clone.join(".git/FETCH_HEAD").exists());
    let start = git.start_point(&clone, "main").unwrap();
    assert_eq!((start.ref_name.as_str(), start.commit), ("origin/main", ahead));
    world.commit(&clone, "other", "x", "mine");
    let error = git.start_point(&clone, "main").unwrap_err();
    assert!(matches!(&error, GitError::Diverged { local, remote, .. } if local == "main" && remote == "origin/main"));
    assert!(matches!(git.fetch_base(&clone, "gone", limit).unwrap(), Fetched::Failed(why) if why.contains("gone")));
    let error = git.start_point(&clone, "develop").unwrap_err().to_string();
    assert!(error.contains("develop, origin/develop") && error.contains("main"), "{error}");
    world.run(&world.at(""), &["init", "-q", "-b", "main", "empty"]);
    assert!(matches!(git.start_point(&world.at("empty"), "main"), Err(GitError::Empty { .. })));
}

#[test]
fn a_revision_that_is_not_there_is_no_failure_of_git() {
    let world = World::new();
    let (git, repo) = (&world.git, world.repo());
    for name in ["nope", &"0".repeat(40), &"1".repeat(40), "--all", "a b", "main..main", ""] {
        assert!(git.rev_parse(&repo, name).is_err(), "{name}");
    }
    assert!(matches!(git.rev_parse(&repo, &"1".repeat(40)), Err(GitError::NoSuchRef { .. })));
    assert_eq!(git.branch_tip(&repo, "nope").unwrap(), None);
    assert!(git.branch_exists(&repo, "main").unwrap());
    assert!(matches!(git.tip_of(&repo, "nope"), Err(GitError::NoSuchRef { .. })));
    assert!(matches!(git.branch_tip(&repo, "-d"), Err(GitError::BadName { .. })));
}

#[test]
fn a_worktree_is_made_once_and_found_again() {
    let world = World::new();
    let path = world.worktree("run/met-1");
    let start = world.head(&world.repo());
    let again = world.git.ensure_worktree(&world.repo(), &path, "run/met-1", &start, false).unwrap();
    assert!(!again.created);
    assert_eq!(world.git.branch_checked_out_at(&world.repo(), "run/met-1").unwrap().as_deref(), Some(path.as_path()));
    let elsewhere = world.git.ensure_worktree(&world.repo(), &world.at("ws/b"), "run/met-1", &start, false);
    assert!(matches!(elsewhere, Err(GitError::BranchInUse { .. })));
    assert!(!world.at("ws/b").exists());
    // The agent works: neither asking as finished nor as unfinished harms it.
    write(&path.join("work"), "precious");
    let verified = world.git.ensure_worktree(&world.repo(), &path, "run/met-1", &start, true).unwrap();
    assert_eq!((verified.created, verified.head), (false, start.clone()));
    world.commit(&path, "work", "precious", "work");
    let refused = world.git.ensure_worktree(&world.repo(), &path, "run/met-1", &start, false);
    assert!(matches!(refused, Err(GitError::BranchTaken { .. })));
    assert_eq!(fs::read_to_string(path.join("work")).unwrap(), "precious");
}

#[test]
fn what_a_killed_attempt_left_is_made_afresh() {
    type Leave = fn(&World, &Path);
    let leftovers: [(&str, Leave); 8] = [
        ("index.lock", |w, _| write(&w.repo().join(".git/worktrees/x/index.lock"), "")),
        ("half a checkout", |_, path| fs::remove_file(path.join("README")).unwrap()),
        ("no index", |w, _| fs::remove_file(w.repo().join(".git/worktrees/x/index")).unwrap()),
        ("no .git file", |_, path| fs::remove_file(path.join(".git")).unwrap()),
        ("empty .git file", |_, path| fs::write(path.join(".git"), "").unwrap()),
        ("missing directory", |_, path| fs::remove_dir_all(path).unwrap()),
        ("locked and no HEAD", |w, path| {
            fs::write(w.repo().join(".git/worktrees/x/locked"), "initializing\n").unwrap();
            fs::remove_file(w.repo().join(".git/worktrees/x/HEAD")).unwrap();
            fs::remove_file(path.join("README")).unwrap();
        }),
        ("not registered", |w, _| fs::remove_dir_all(w.repo().join(".git/worktrees/x")).unwrap()),
    ];
    for (name, leave) in leftovers {
        let world = World::new();
        // A workspace may lie inside another checkout; git must not take that for the worktree.
        world.run(&world.at(""), &["init", "-q", "."]);
        let path = world.worktree("x");
        leave(&world, &path);
        let start = world.head(&world.repo());
        let finished = world.git.ensure_worktree(&world.repo(), &path, "x", &start, true);
        if !["index.lock", "half a checkout", "no index"].contains(&name) {
            assert!(matches!(finished, Err(GitError::Damaged { .. })), "{name}: {finished:?}");
        }
        let made = world.git.ensure_worktree(&world.repo(), &path, "x", &start, false);
        assert!(made.as_ref().is_ok_and(|made| made.created && made.head == start), "{name}: {made:?}");
        assert_eq!(world.run(&path, &["status", "--porcelain"]), "", "{name}");
        assert_eq!(world.run(&path, &["rev-parse", "--abbrev-ref", "HEAD"]), "x", "{name}");
    }
}

#[test]
fn a_checkout_killed_half_way_is_made_afresh() {
    let world = World::new();
    let (repo, path, marker) = (world.repo(), world.at("ws/x"), world.at("smudging"));
    write(&repo.join(".gitattributes"), "z filter=slow\n");
    world.run(&repo, &["add", "."]);
    let start = world.commit(&repo, "z", "last", "with a filter");
    let smudge = format!("touch '{}'; sleep 600; cat", marker.display());
    world.run(&repo, &["config", "filter.slow.smudge", &smudge]);
    let flag = Arc::new(AtomicBool::new(false));
    let git = hermetic(Git::new(world.at("locks")), world.dir.path()).cancelled_by(Arc::clone(&flag));
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| git.ensure_worktree(&repo, &path, "x", &start, false));
        while !marker.exists() && !adding.is_finished() {
            std::thread::yield_now();
        }
        flag.store(true, Ordering::SeqCst);
        assert!(adding.join().unwrap().is_err_and(|error| error.is_cancelled()));
    });
    assert!(path.join("README").exists() && !path.join("z").exists());
    assert!(repo.join(".git/worktrees/x/index.lock").exists() && repo.join(".git/worktrees/x/locked").exists());
    world.run(&repo, &["config", "--unset", "filter.slow.smudge"]);
    assert!(world.git.ensure_worktree(&repo, &path, "x", &start, false).unwrap().created);
    assert_eq!(world.run(&path, &["status", "--porcelain"]), "");
    assert!(!repo.join(".git/worktrees/x/locked").exists());
}

#[test]
fn what_is_not_ours_is_never_removed() {
    let world = World::new();
    let (git, repo, start) = (&world.git, world.repo(), world.head(&world.repo()));
    let refused =
        |path: &Path| matches!(git.ensure_worktree(&repo, path, "x", &start, false), Err(GitError::Occupied { .. }));
    world.run(&world.at(""), &["init", "-q", "other"]);
    assert!(refused(&world.at("other")));
    assert!(refused(&repo) && refused(&world.at("")));
    let theirs = world.worktree("theirs");
    assert!(refused(&theirs));
    fs::write(world.at("file"), "x").unwrap();
    std::os::unix::fs::symlink(world.at("other"), world.at("link")).unwrap();
    assert!(refused(&world.at("file")) && refused(&world.at("link")));
    world.commit(&world.at("other"), "a", "a", "a");
    world.run(&world.at("other"), &["worktree", "add", "-q", "../foreign"]);
    assert!(refused(&world.at("foreign")));
    assert!(theirs.join("README").exists() && world.at("foreign/a").exists() && world.at("other/.git").is_dir());
    assert!(!git.branch_exists(&repo, "x").unwrap());
}

#[test]
fn status_names_every_file_as_it_is() {
    let world = World::new();
    let repo = world.repo();
    world.commit(&repo, "old name", "same content\nof some\nlength\n", "more");
    world.run(&repo, &["mv", "old name", "new \"name\"\nü"]);
    write(&repo.join("config/.env"), "secret");
    write(&repo.join("-x y"), "");
    fs::remove_file(repo.join("README")).unwrap();
    let before = listing(&repo.join(".git"));
    let mut changes = world.git.status(&repo).unwrap();
    assert_eq!(listing(&repo.join(".git")), before);
    changes.sort();
    let seen: Vec<_> = changes.iter().map(|change| (change.path.to_str().unwrap(), &change.kind)).collect();
    let from = ChangeKind::Renamed { from: "old name".into() };
    assert_eq!(
        seen,
        [
            ("-x y", &ChangeKind::Untracked),
            ("README", &ChangeKind::Deleted),
            ("config/.env", &ChangeKind::Untracked),
            ("new \"name\"\nü", &from),
        ]
    );
}

#[test]
fn our_commit_leaves_a_users_staged_file_alone() {
    let world = World::new();
    let path = world.worktree("x");
    write(&path.join(".gitignore"), "ignored\n");
    world.run(&path, &["add", ".gitignore"]);
    write(&path.join("README"), "changed, not staged\n");
    write(&path.join("docs/a \"b\"\n.md"), "ours");
    write(&path.join("ignored"), "ours too");
    write(&path.join(".git-hooks-would-write"), "");
    fs::create_dir_all(world.repo().join(".git/hooks")).unwrap();
    write(&world.repo().join(".git/hooks/pre-commit"), "#!/bin/sh\nexit 1\n");
    write(&path.join(":(top)[x]*"), "ours");
    let ours = ["docs/a \"b\"\n.md", "ignored", "never/was", ":(top)[x]*"];
    let sha = world.git.commit_paths(&path, &ours, "docs: by metawsm").unwrap().unwrap();
    assert_eq!(world.head(&path), sha);
    assert_eq!(
        world.run(&path, &["log", "-1", "--format=%an <%ae>|%s"]),
        "metawsm <metawsm@localhost>|docs: by metawsm"
    );
    assert_eq!(
        world.run(&path, &["show", "--format=", "--name-only", "-z", "HEAD"]),
        ":(top)[x]*\0docs/a \"b\"\n.md\0"
    );
    let status = world.run(&path, &["status", "--porcelain"]);
    assert_eq!(status, "A  .gitignore\n M README\n?? .git-hooks-would-write");
    assert_eq!(world.git.commit_paths(&path, &ours, "again").unwrap(), None);
    fs::remove_dir_all(path.join("docs")).unwrap();
    world.run(&world.repo(), &["config", "user.name", "Ada"]);
    world.run(&world.repo(), &["config", "user.email", "ada@example.org"]);
    assert!(world.git.commit_paths(&path, &ours, "gone").unwrap().is_some());
    assert_eq!(world.run(&path, &["log", "-1", "--format=%an %cn"]), "Ada Ada");
    assert!(world.git.commit_paths(&path, &["../x"], "no").is_err());
    let listed = world.git.commits_between(&world.repo(), &["main", "no-such"], "x").unwrap();
    assert_eq!(listed.iter().map(|line| line.subject.as_str()).collect::<Vec<_>>(), ["gone", "docs: by metawsm"]);
}

#[test]
fn no_commit_in_the_middle_of_a_merge_and_a_first_one_in_an_empty_repository() {
    let world = World::new();
    world.run(&world.at(""), &["init", "-q", "-b", "main", "empty"]);
    write(&world.at("empty/a"), "a");
    assert!(world.git.commit_paths(&world.at("empty"), &["a"], "first").unwrap().is_some());
    assert_eq!(world.run(&world.at("empty"), &["status", "--porcelain"]), "");
    write(&world.repo().join(".git/MERGE_HEAD"), &format!("{}\n", world.head(&world.repo())));
    write(&world.repo().join("a"), "a");
    let refused = world.git.commit_paths(&world.repo(), &["a"], "no");
    assert!(matches!(refused, Err(GitError::InProgress { what: "merge", .. })), "{refused:?}");
}

#[test]
fn backup_remove_and_restore() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    world.commit(&path, "kept", "v1", "agent's work");
    write(&path.join("kept"), "v2");
    write(&path.join("new/untracked \n"), "u");
    write(&path.join("staged"), "s");
    world.run(&path, &["add", "staged"]);
    fs::remove_file(path.join("README")).unwrap();
    let risk = git.at_risk(&repo, &path, "x", &["main", "origin/main"]).unwrap();
    assert_eq!((risk.dirty.len(), risk.unmerged.len()), (4, 1));
    assert!(matches!(git.remove_worktree(&repo, &path, "x", false), Err(GitError::Dirty { .. })));
    let before = (world.run(&path, &["status", "--porcelain"]), fs::read(repo.join(".git/worktrees/x/index")).unwrap());
    assert!(matches!(git.backup(&repo, &path, "refs/heads/x"), Err(GitError::BadName { .. })));
    let sha = git.backup(&repo, &path, "refs/metawsm/backup/run-1/x").unwrap();
    let index = fs::read(repo.join(".git/worktrees/x/index")).unwrap();
    assert_eq!((world.run(&path, &["status", "--porcelain"]), index), before);
    assert_eq!(git.backup(&repo, &path, "refs/metawsm/backup/run-1/x").unwrap(), sha);
    let tip = world.head(&path);
    assert_eq!(world.run(&repo, &["rev-parse", &format!("{sha}^1")]), tip);
    assert!(matches!(git.delete_branch(&repo, "x", &tip), Err(GitError::BranchInUse { .. })));
    git.remove_worktree(&repo, &path, "x", true).unwrap();
    git.remove_worktree(&repo, &path, "x", true).unwrap();
    assert!(!path.exists() && !repo.join(".git/worktrees").exists());
    assert!(matches!(git.delete_branch(&repo, "x", &sha), Err(GitError::BranchMoved { .. })));
    assert!(git.delete_branch(&repo, "x", &tip).unwrap());
    assert!(!git.delete_branch(&repo, "x", &tip).unwrap());
    let restored = git.ensure_worktree(&repo, &path, "again", &sha, false).unwrap();
    assert!(restored.created && !path.join("README").exists());
    assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "v2");
    assert_eq!(fs::read_to_string(path.join("new/untracked \n")).unwrap(), "u");
    assert_eq!(fs::read_to_string(path.join("staged")).unwrap(), "s");
}

#[test]
fn a_repository_inside_is_not_lost_in_a_backup() {
    let world = World::new();
    let path = world.worktree("x");
    world.run(&path, &["init", "-q", "inner"]);
    write(&path.join("inner/a"), "a");
    let refused = world.git.backup(&world.repo(), &path, "refs/metawsm/backup/a");
    assert!(matches!(&refused, Err(GitError::NestedRepository { .. })), "{refused:?}");
    world.commit(&path.join("inner"), "a", "a", "a");
    let refused = world.git.backup(&world.repo(), &path, "refs/metawsm/backup/a");
    assert!(matches!(&refused, Err(GitError::NestedRepository { .. })), "{refused:?}");
}

#[test]
fn removal_stops_at_locks_other_branches_and_strangers() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    world.run(&repo, &["worktree", "lock", "--reason", "on a stick", path.to_str().unwrap()]);
    assert!(git.remove_worktree(&repo, &path, "x", true).unwrap_err().to_string().contains("on a stick"));
    world.run(&repo, &["worktree", "unlock", path.to_str().unwrap()]);
    assert!(matches!(git.remove_worktree(&repo, &path, "other", false), Err(GitError::Damaged { .. })));
    assert!(matches!(git.remove_worktree(&repo, &repo, "main", true), Err(GitError::Occupied { .. })));
    fs::create_dir(world.at("stranger")).unwrap();
    assert!(matches!(git.remove_worktree(&repo, &world.at("stranger"), "x", true), Err(GitError::Occupied { .. })));
    fs::remove_file(path.join(".git")).unwrap();
    assert!(matches!(git.remove_worktree(&repo, &path, "x", false), Err(GitError::Damaged { .. })));
    git.remove_worktree(&repo, &path, "x", true).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_blob_name_is_that_of_git() {
    let world = World::new();
    let file = world.repo().join("odd\nname");
    for text in [String::new(), "x".repeat(55), "y".repeat(64), "zä\r\n".repeat(10_000)] {
        fs::write(&file, text).unwrap();
        let expected = world.run(&world.repo(), &["hash-object", "--no-filters", "--", "odd\nname"]);
        assert_eq!(blob_of(&file).unwrap(), expected);
    }
    assert!(blob_of(&world.repo()).is_err());
}

#[test]
fn a_second_process_that_holds_the_lock_is_waited_for() {
    let world = World::new();
    let path = world.worktree("x");
    let lock = fs::read_dir(world.at("locks")).unwrap().next().unwrap().unwrap().path();
    // Another program that takes the same lock, says so, and lets go when its stdin ends.
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo lock is held; read -r line; : > \"$1\"", "sh"])
        .arg(lock.with_extension("released"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("lock is held")));
    write(&path.join("a"), "a");
    let git = world.git.clone();
    let waiting = std::thread::spawn({
        let path = path.clone();
        let released = lock.with_extension("released");
        move || (git.commit_paths(&path, &["a"], "a").unwrap(), released.exists())
    });
    for _ in 0..20 {
        assert_eq!(world.git.status(&path).unwrap().len(), 1, "reads do not wait");
    }
    drop(holder.stdin.take());
    let (commit, was_released) = waiting.join().unwrap();
    assert!(commit.is_some() && was_released);
    assert!(holder.wait().unwrap().success());
}

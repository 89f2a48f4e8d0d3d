//! Merges: tried, refused, made.

use std::fs;
use std::path::Path;

use metawsm::services::git::{MergeKind, MergeProblem};

use crate::git_world::{World, listing, write};

#[test]
fn fast_forward_where_the_base_is_checked_out() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    let up_to_date = git.try_merge(&repo, "main", "x", false, "m", false).unwrap();
    assert_eq!(up_to_date.kind, MergeKind::UpToDate);
    git.apply_merge(&up_to_date).unwrap();
    let head = world.commit(&path, "new", "n", "work");
    write(&repo.join("untouched"), "the user's");
    let plan = git.try_merge(&repo, "main", "x", false, "m", false).unwrap();
    assert_eq!((plan.kind, plan.new.as_str()), (MergeKind::FastForward, head.as_str()));
    git.apply_merge(&plan).unwrap();
    git.apply_merge(&plan).unwrap();
    assert_eq!(world.head(&repo), head);
    assert_eq!(world.run(&repo, &["status", "--porcelain"]), "?? untouched");
}

#[test]
fn merge_and_squash_where_it_is_not() {
    for (squash, parents, kind) in [(false, 2, MergeKind::Merge), (true, 1, MergeKind::Squash)] {
        let world = World::new();
        let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
        world.commit(&path, "new", "n", "work");
        world.commit(&path, "new2", "n", "work");
        world.commit(&repo, "mine", "m", "meanwhile");
        world.run(&repo, &["checkout", "-q", "--detach"]);
        let plan = git.try_merge(&repo, "main", "x", squash, "merge: x\n\nbody", false).unwrap();
        assert_eq!(plan.kind, kind);
        assert_eq!(world.run(&repo, &["rev-parse", "main"]), plan.old);
        git.apply_merge(&plan).unwrap();
        assert_eq!(world.run(&repo, &["rev-parse", "main"]), plan.new);
        let line = world.run(&repo, &["rev-list", "--parents", "-1", "main"]);
        assert_eq!(line.split(' ').count(), 1 + parents);
        assert_eq!(world.run(&repo, &["ls-tree", "--name-only", "main"]), "README\nmine\nnew\nnew2");
        let again = git.try_merge(&repo, "main", "x", squash, "m", false).unwrap();
        assert_eq!(again.kind, MergeKind::UpToDate);
    }
}

#[test]
fn a_dry_run_changes_not_one_byte() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    world.commit(&path, "new", "n", "work");
    world.commit(&repo, "mine", "m", "meanwhile");
    let before = (listing(&repo), listing(&path), listing(&world.at("locks")));
    for squash in [false, true] {
        let plan = git.try_merge(&repo, "main", "x", squash, "m", true).unwrap();
        assert!(matches!(git.apply_merge(&plan), Err(MergeProblem::OnlyTried { .. })));
    }
    let in_the_way = repo.join("new");
    write(&in_the_way, "mine");
    assert!(matches!(git.try_merge(&repo, "main", "x", false, "m", true), Err(MergeProblem::InTheWay { .. })));
    fs::remove_file(in_the_way).unwrap();
    git.at_risk(&repo, &path, "x", &["main"]).unwrap();
    git.start_point(&repo, "main").unwrap();
    assert!(git.ensure_worktree(&repo, &path, "x", "main", true).is_ok());
    let after = (listing(&repo), listing(&path), listing(&world.at("locks")));
    assert_eq!(after, before);
}

#[test]
fn conflicts_are_named() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    world.commit(&path, "README", "theirs\n", "work");
    world.commit(&repo, "README", "ours\n", "meanwhile");
    for (squash, dry_run) in [(false, false), (true, true)] {
        let problem = git.try_merge(&repo, "main", "x", squash, "m", dry_run).unwrap_err();
        assert!(
            matches!(&problem, MergeProblem::Conflicts { files, .. } if *files == [Path::new("README")]),
            "{problem}"
        );
    }
    assert!(matches!(git.try_merge(&repo, "develop", "x", false, "m", true), Err(MergeProblem::NoBase { .. })));
}

#[test]
fn files_in_the_way_are_named_and_kept() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    write(&repo.join(".git/info/exclude"), "ignored\nplace\n");
    for (file, text) in [("README", "agent"), ("ignored", "agent"), ("dir/file", "agent"), ("place", "agent")] {
        write(&path.join(file), text);
        world.run(&path, &["add", "-f", file]);
    }
    world.run(&path, &["commit", "-q", "-m", "work"]);
    let plan = git.try_merge(&repo, "main", "x", false, "m", false).unwrap();
    write(&repo.join("README"), "mine");
    write(&repo.join("ignored"), "mine");
    write(&repo.join("dir"), "a file where a directory will be");
    write(&repo.join("place/inside"), "mine");
    write(&repo.join("elsewhere"), "harmless");
    for problem in
        [git.try_merge(&repo, "main", "x", false, "m", true).unwrap_err(), git.apply_merge(&plan).unwrap_err()]
    {
        let MergeProblem::InTheWay { checkout, files } = problem else { panic!("{problem}") };
        assert_eq!(checkout, repo);
        let mut files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(files, ["README", "dir", "ignored", "place/inside"]);
    }
    assert_eq!(fs::read_to_string(repo.join("ignored")).unwrap(), "mine");
    assert_eq!(world.head(&repo), plan.old);
}

#[test]
fn a_file_that_becomes_a_directory_is_not_in_its_own_way() {
    let world = World::new();
    let (git, repo) = (&world.git, world.repo());
    world.commit(&repo, "a/b", "b", "a directory");
    let path = world.worktree("x");
    world.run(&path, &["rm", "-q", "README", "a/b"]);
    write(&path.join("README/inside"), "x");
    write(&path.join("a"), "now a file");
    world.run(&path, &["add", "."]);
    world.run(&path, &["commit", "-q", "-m", "turned round"]);
    let plan = git.try_merge(&repo, "main", "x", false, "m", false).unwrap();
    git.apply_merge(&plan).unwrap();
    assert_eq!(world.run(&repo, &["status", "--porcelain"]), "");
    assert!(repo.join("README/inside").is_file() && repo.join("a").is_file());
}

#[test]
fn a_base_that_moved_or_is_being_rebased_is_refused() {
    let world = World::new();
    let (git, repo, path) = (&world.git, world.repo(), world.worktree("x"));
    world.commit(&path, "new", "n", "work");
    let plan = git.try_merge(&repo, "main", "x", false, "m", false).unwrap();
    world.commit(&repo, "mine", "m", "meanwhile");
    assert!(matches!(git.apply_merge(&plan), Err(MergeProblem::BaseMoved { .. })));
    world.run(&repo, &["checkout", "-q", "--detach"]);
    write(&repo.join(".git/rebase-merge/head-name"), "refs/heads/main\n");
    assert!(matches!(git.try_merge(&repo, "main", "x", false, "m", true), Err(MergeProblem::Busy { .. })));
}

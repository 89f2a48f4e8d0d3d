//! A repository of its own for each test: own HOME, no configuration of the user or the system.
#![allow(clippy::unwrap_used, reason = "a helper of tests: a broken world is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use metawsm::services::git::Git;
use tempfile::TempDir;

pub struct World {
    pub dir: TempDir,
    pub git: Git,
}

pub fn hermetic(git: Git, home: &Path) -> Git {
    git.with_env("HOME", home)
        .with_env("XDG_CONFIG_HOME", home)
        .with_env("GIT_CONFIG_GLOBAL", "/dev/null")
        .with_env("GIT_CONFIG_SYSTEM", "/dev/null")
}

impl World {
    /// A repository `repo` on `main` with one commit.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = hermetic(Git::new(dir.path().join("locks")), dir.path());
        let world = Self { dir, git };
        fs::create_dir(world.repo()).unwrap();
        world.run(&world.repo(), &["init", "-q", "-b", "main"]);
        world.commit(&world.repo(), "README", "one\n", "first");
        world
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("repo")
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// The user's own git.
    pub fn run(&self, dir: &Path, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=User", "-c", "user.email=user@example.org"])
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    pub fn commit(&self, dir: &Path, file: &str, text: &str, message: &str) -> String {
        write(&dir.join(file), text);
        self.run(dir, &["add", "--", file]);
        self.run(dir, &["commit", "-q", "-m", message]);
        self.head(dir)
    }

    pub fn head(&self, dir: &Path) -> String {
        self.run(dir, &["rev-parse", "HEAD"])
    }

    /// A worktree `ws/<branch>` made by the adapter from main.
    pub fn worktree(&self, branch: &str) -> PathBuf {
        let path = self.at("ws").join(branch.replace('/', "-"));
        let start = self.run(&self.repo(), &["rev-parse", "main"]);
        assert!(self.git.ensure_worktree(&self.repo(), &path, branch, &start, false).unwrap().created);
        path
    }
}

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Every entry below a directory: content, mode, and time of change.
pub fn listing(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                open.push(path.clone());
            }
            let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            all.insert(path, (bytes, meta.mode(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    all
}

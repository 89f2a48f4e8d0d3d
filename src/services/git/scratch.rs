//! A directory of our own outside every repository, gone when dropped.

use std::fs::{DirBuilder, remove_dir_all};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::GitError;
use super::error::io;

/// Temporary index files and the objects of dry runs live in one of these.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, GitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("metawsm-git-{}-{nanos:x}-{count}", std::process::id()));
        // Not recursive: a directory that someone else put there first is an error, never ours.
        DirBuilder::new().mode(0o700).create(&dir).map_err(io("create", &dir))?;
        Ok(Self { dir })
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory harms nobody.
        let _ = remove_dir_all(&self.dir);
    }
}

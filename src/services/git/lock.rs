//! One writer per repository at a time, across processes.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::io;
use super::{Git, GitError};

/// The longest pause between two looks at a lock that someone else holds.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The right to write to one repository, until dropped. The kernel gives it back when a process dies.
#[derive(Debug)]
pub(super) struct RepoLock {
    _file: File,
}

impl Git {
    /// Waits for the right to write to the repository with this common directory. Not reentrant: what runs
    /// under it must not ask again.
    pub(super) fn lock_repo(&self, common_dir: &Path) -> Result<RepoLock, GitError> {
        let common = common_dir.canonicalize().unwrap_or_else(|_| common_dir.to_path_buf());
        let path = self.lock_dir.join(format!("repo-{:016x}.lock", fnv1a(common.as_os_str().as_bytes())));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.lock_dir)
            .map_err(io("create the lock directory", &self.lock_dir))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("open the lock file", &path))?;
        self.wait_for(&file, &path)?;
        Ok(RepoLock { _file: file })
    }

    fn wait_for(&self, file: &File, path: &Path) -> Result<(), GitError> {
        let Some(flag) = self.cancel.as_deref() else {
            loop {
                match file.lock() {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => return other.map_err(io("lock", path)),
                }
            }
        };
        // A blocking lock cannot be called off, so with a cancel flag the lock is looked at again and again.
        let mut pause = Duration::from_millis(1);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if flag.load(Ordering::SeqCst) => {
                    return Err(GitError::LockCancelled { lock: path.to_path_buf() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(io("lock", path)(error)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// FNV-1a: the name must be the same in every build, which std's hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn waiting_for_a_lock_can_be_called_off() {
        let dir = tempfile::tempdir().unwrap();
        let locks = dir.path().join("locks");
        let held = Git::new(&locks).lock_repo(dir.path()).unwrap();
        let other = Git::new(&locks).cancelled_by(Arc::new(AtomicBool::new(true)));
        assert!(other.lock_repo(dir.path()).is_err_and(|error| error.is_cancelled()));
        assert!(other.lock_repo(Path::new("/another")).is_ok());
        drop(held);
        assert!(other.lock_repo(dir.path()).is_ok());
    }

    #[test]
    fn the_name_of_a_lock_never_changes_between_builds() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}

//! Leases between processes of one machine: a lock the operating system takes back when its holder
//! dies, in a file that says who holds it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Processes, default_table, host_name};

/// How long a holder may take between locking the file and writing down who he is.
const NAME_WAIT: Duration = Duration::from_millis(300);

/// How long the lock of a dead holder may outlive it: in a process that it was just starting.
const HEIR_WAIT: Duration = Duration::from_secs(2);

/// Longest description that is read; ours are a few hundred bytes.
const CONTENT_LIMIT: u64 = 64 * 1024;

/// Who holds a lease, as written in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What is done under it.
    pub operation: String,
    /// Who does it, in words for people.
    pub holder: String,
    /// The process.
    pub pid: u32,
    /// When the process began, in the unit of [`Processes`].
    pub start_time: u64,
    /// The machine it runs on.
    pub host: String,
    /// When the lease was taken, milliseconds since 1970.
    pub since_ms: i64,
    /// When the holder last said that it goes on, milliseconds since 1970.
    #[serde(default)]
    pub last_seen_at_ms: i64,
}

impl Holder {
    /// This process, from `now_ms` on.
    pub fn this_process(procs: &dyn Processes, operation: &str, holder: &str, now_ms: i64) -> Self {
        let pid = super::own_pid();
        Self {
            operation: operation.to_owned(),
            holder: holder.to_owned(),
            pid,
            start_time: procs.start_time(pid).unwrap_or(0),
            host: host_name(),
            since_ms: now_ms,
            last_seen_at_ms: now_ms,
        }
    }
}

/// Why a lease was not had.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Somebody has it.
    #[error("{} is held by {}", path.display(), describe(holder.as_deref()))]
    Held {
        /// The lease's file.
        path: PathBuf,
        /// Who, if the file tells.
        holder: Option<Box<Holder>>,
    },
    /// The file could not be opened, locked or written.
    #[error("could not {what} the lease {}: {source}; check that its directory is writable and on a local disk", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The lease's file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

fn describe(holder: Option<&Holder>) -> String {
    holder.map_or_else(
        || "a process that has not said who it is".to_owned(),
        |holder| format!("{} (pid {} on {}) for {}", holder.holder, holder.pid, holder.host, holder.operation),
    )
}

/// A lease that is held. Dropping it gives it back; so does the death of the process.
#[derive(Debug)]
pub struct Lease {
    file: File,
    path: PathBuf,
    holder: Holder,
    /// Bytes in the file. It never shrinks while held, so that no reader sees half a description.
    written: usize,
}

impl Lease {
    /// Takes the lease if nobody has it, without waiting.
    ///
    /// # Errors
    /// [`LeaseError::Held`] with the holder's description, [`LeaseError::Io`] otherwise.
    pub fn try_acquire(path: &Path, holder: Holder) -> Result<Self, LeaseError> {
        let io = |what| move |source| LeaseError::Io { what, path: path.to_path_buf(), source };
        if let Some(parent) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io("create the directory of"))?;
        }
        let deadline = Instant::now() + HEIR_WAIT;
        loop {
            let file = open_lock(path).map_err(io("open"))?;
            match file.try_lock() {
                Ok(()) => {}
                // Whoever was being started when the holder died has its lock until it has become another program.
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline && holder_is_dead(path) => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let holder = await_name(path).map(Box::new);
                    return Err(LeaseError::Held { path: path.to_path_buf(), holder });
                }
                Err(std::fs::TryLockError::Error(source)) => return Err(io("lock")(source)),
            }
            // A file that was removed meanwhile locks nobody out: the next one opens another.
            if is_at(&file, path) {
                let mut lease = Self { file, path: path.to_path_buf(), holder, written: 0 };
                // Of one who died holding it.
                lease.file.set_len(0).and_then(|()| lease.write()).map_err(io("write"))?;
                return Ok(lease);
            }
        }
    }

    /// Says that the holder goes on.
    ///
    /// # Errors
    /// [`LeaseError::Io`]; the lease is held all the same.
    pub fn touch(&mut self, now_ms: i64) -> Result<(), LeaseError> {
        self.holder.last_seen_at_ms = now_ms;
        self.write().map_err(|source| LeaseError::Io { what: "write", path: self.path.clone(), source })
    }

    /// Who holds it: us.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One write at the same place, padded to the old length: a reader sees the old or the new.
    fn write(&mut self) -> std::io::Result<()> {
        let mut bytes = serde_json::to_vec(&self.holder)?;
        bytes.resize(bytes.len().max(self.written.saturating_sub(1)), b' ');
        bytes.push(b'\n');
        self.file.write_all_at(&bytes, 0)?;
        self.written = bytes.len();
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of one name.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Whether a process of this machine is named that runs no more.
fn holder_is_dead(path: &Path) -> bool {
    let named = read_content(path).is_some();
    named && read_holder(path, default_table().as_ref()).is_none()
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The description of a lease known to be held, which may be on its way still.
fn await_name(path: &Path) -> Option<Holder> {
    let deadline = Instant::now() + NAME_WAIT;
    loop {
        let found = read_content(path);
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read_content(path: &Path) -> Option<Holder> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, CONTENT_LIMIT), &mut bytes)
        .or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(0) } else { Err(error) })
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Who holds the lease, without locking or creating anything. `None` when nobody does, that is also
/// when the process named in the file runs no more. Of another machine the file is believed.
pub fn read_holder(path: &Path, procs: &dyn Processes) -> Option<Holder> {
    let holder = read_content(path)?;
    (holder.host != host_name() || procs.alive(holder.pid, holder.start_time)).then_some(holder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::default_table;
    use super::*;

    fn me(operation: &str) -> Holder {
        Holder::this_process(&*default_table(), operation, "tests", 1_000)
    }

    #[test]
    fn one_holds_the_others_are_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/run.lease");
        let lease = Lease::try_acquire(&path, me("commit")).unwrap();
        let refused = Lease::try_acquire(&path, me("close")).unwrap_err();
        assert!(refused.to_string().contains("for commit"), "{refused}");
        assert!(matches!(refused, LeaseError::Held { holder: Some(holder), .. } if holder.operation == "commit"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(lease);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        Lease::try_acquire(&path, me("close")).unwrap();
    }

    #[test]
    fn what_a_dead_holder_was_just_starting_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.lease");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        let start_time = default_table().start_time(dead.id()).unwrap_or(1);
        dead.wait().unwrap();
        let holder = Holder { pid: dead.id(), start_time, ..me("commit") };
        std::fs::write(&path, serde_json::to_vec(&holder).unwrap()).unwrap();
        let heir = open_lock(&path).unwrap();
        heir.lock().unwrap();
        let (begun, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.send(()).unwrap();
                Lease::try_acquire(&path, me("close")).unwrap();
            });
            told.recv().unwrap();
            heir.unlock().unwrap();
        });
        // One that lives is not waited for, whoever has the lock.
        std::fs::write(&path, serde_json::to_vec(&me("commit")).unwrap()).unwrap();
        heir.lock().unwrap();
        assert!(matches!(Lease::try_acquire(&path, me("close")), Err(LeaseError::Held { .. })));
    }

    #[test]
    fn a_touch_is_seen_by_readers_who_take_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lease");
        let table = default_table();
        assert_eq!(read_holder(&path, &*table), None);
        assert!(!path.exists(), "looking creates nothing");
        let mut lease = Lease::try_acquire(&path, me("a rather long operation")).unwrap();
        lease.touch(2_000).unwrap();
        lease.touch(5).unwrap();
        let seen = read_holder(&path, &*table).unwrap();
        assert_eq!((seen.last_seen_at_ms, seen.since_ms), (5, 1_000));
    }

    #[test]
    fn a_holder_who_died_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lease");
        let mut dead = me("x");
        dead.start_time += 1;
        std::fs::write(&path, serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(read_holder(&path, &*default_table()), None);
        Lease::try_acquire(&path, me("y")).unwrap();
        std::fs::write(&path, "{\"pid\": ").unwrap();
        assert_eq!(read_holder(&path, &*default_table()), None);
    }

    #[test]
    fn of_twenty_at_once_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lease");
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20).map(|_| scope.spawn(|| Lease::try_acquire(&path, me("x")))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().filter(|got| got.is_ok()).count(), 1);
    }
}

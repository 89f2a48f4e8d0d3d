//! Files that appear whole or not at all, in directories that stay where they seem to be.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::TicketError;
use super::error::io;

/// Mode of a new document, before the umask.
pub(super) const DOCUMENT_MODE: u32 = 0o644;

/// How long another writer is waited for: a write takes milliseconds, so one that takes longer hangs.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// One writer per directory at a time, across processes, until dropped.
pub(super) fn lock_dir(dir: &Path) -> Result<File, TicketError> {
    let file = File::open(dir).map_err(io("open", dir))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Err(TryLockError::WouldBlock) => return Err(io("lock", dir)(ErrorKind::TimedOut.into())),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(io("lock", dir)(error)),
        }
    }
}

/// Writes a file by way of a temporary one beside it: written, fsynced, renamed. A link at `path` is replaced,
/// not followed. The caller holds the directory's lock, so the temporary name is free for the taking.
pub(super) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TicketError> {
    let temporary = temporary_beside(path);
    remove_if_there(&temporary)?;
    let written =
        write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path)).and_then(|()| sync_parent(path));
    written.map_err(|source| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        io("write", path)(source)
    })
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn temporary_beside(path: &Path) -> PathBuf {
    // Not made longer than the name itself by much: names may already be near the limit of 255 bytes.
    let name = path.file_name().map(|name| super::super::git::blob_of_bytes(name.as_encoded_bytes()));
    path.with_file_name(format!(".metawsm-{}.tmp", name.unwrap_or_default().get(..16).unwrap_or_default()))
}

/// Whether a file is what a write left that was killed in the middle: nobody's work.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let blob = name.strip_prefix(".metawsm-").and_then(|rest| rest.strip_suffix(".tmp"));
    blob.is_some_and(|blob| blob.len() == 16 && blob.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove_if_there(path: &Path) -> Result<(), TicketError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes `below` under `root` (which exists), part by part, and refuses a link on the way.
pub(super) fn make_dirs(root: &Path, below: &Path) -> Result<PathBuf, TicketError> {
    let mut dir = root.to_path_buf();
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(TicketError::Outside { path: below.to_path_buf(), root: root.to_path_buf() });
        };
        dir.push(name);
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::symlink_metadata(&dir) {
                Ok(meta) if meta.is_dir() => {}
                _ => return Err(TicketError::Outside { path: dir, root: root.to_path_buf() }),
            },
            Err(error) => return Err(io("create", &dir)(error)),
        }
    }
    Ok(dir)
}

/// Reads a document; a link or anything else that is no regular file is refused, nothing there is `None`.
pub(super) fn read_document(path: &Path) -> Result<Option<String>, TicketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("look at", path)(error)),
        Ok(meta) if meta.is_symlink() => return Err(wrong(path, "a symbolic link")),
        Ok(meta) if !meta.is_file() => return Err(wrong(path, "no regular file")),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(io("read", path))?;
    // A document in another encoding is never rewritten with its bytes replaced.
    String::from_utf8(bytes).map(Some).map_err(|_| wrong(path, "not UTF-8"))
}

/// The mode of the file there, or that of a new document.
pub(super) fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map_or(DOCUMENT_MODE, |meta| meta.permissions().mode() & 0o777)
}

pub(super) fn wrong(path: &Path, what: &'static str) -> TicketError {
    TicketError::WrongKind { path: path.to_path_buf(), what }
}

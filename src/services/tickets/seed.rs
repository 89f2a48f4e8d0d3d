//! A ticket's directory copied from the user's checkout into a workspace (D12).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::error::io;
use super::find::docs_root;
use super::write::{lock_dir, make_dirs, write_whole, wrong};
use super::{TicketDir, TicketError, find};
use crate::services::git::{blob_of, blob_of_bytes};

/// Entries a ticket's directory may hold.
const MOST: usize = 20_000;

/// Directories deep that a ticket's directory may be.
const DEEPEST: usize = 32;

/// A ticket's directory in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeded {
    /// Relative to the top of the workspace's checkout.
    pub dir: PathBuf,
    /// Files that are now as in the source, written just now or before, relative to the workspace's checkout.
    pub files: Vec<PathBuf>,
    /// Files left alone, because someone changed them in the workspace, relative to its checkout.
    pub kept: Vec<PathBuf>,
    /// Blob names of `files`: what to give to the next seeding, and to tell whether a file is still as written.
    pub blobs: BTreeMap<PathBuf, String>,
    /// A name for the content of the source: the same content has the same name.
    pub revision: String,
}

/// One thing to copy.
struct Item {
    /// Relative to the ticket's directory.
    below: PathBuf,
    what: What,
}

enum What {
    Dir,
    File { executable: bool, blob: String },
    Link { target: PathBuf, blob: String },
}

/// Copies the ticket's directory into the workspace: regular files, directories, and links that stay inside. All of
/// the source is looked at before anything is written.
///
/// A file that is there with other content is overwritten only if `earlier` (blob names by path in the workspace's
/// checkout, from [`Seeded::blobs`]) says that a seeding wrote it, or if `overwrite` is given — as for a worktree
/// just made, where nobody has worked yet.
///
/// # Errors
/// [`TicketError::NoTicket`], [`TicketError::LinkOut`], [`TicketError::WrongKind`], [`TicketError::TooMany`],
/// [`TicketError::Outside`], [`TicketError::Io`].
pub fn seed(
    source_checkout: &Path,
    workspace_checkout: &Path,
    ticket: &str,
    earlier: &BTreeMap<PathBuf, String>,
    overwrite: bool,
) -> Result<Seeded, TicketError> {
    let source = find(source_checkout, ticket)?.ok_or_else(|| TicketError::NoTicket {
        ticket: ticket.to_owned(),
        root: source_checkout.join(docs_root(source_checkout).unwrap_or_default()),
    })?;
    let items = scan(&source)?;
    let dir = docs_root(workspace_checkout)?.join(&source.below_root);
    let whole = make_dirs(workspace_checkout, &dir)?;
    let _lock = lock_dir(&whole)?;
    let mut seeded = Seeded {
        dir: dir.clone(),
        files: Vec::new(),
        kept: Vec::new(),
        blobs: BTreeMap::new(),
        revision: revision(&items),
    };
    for item in &items {
        let Some(blob) = item.what.blob() else {
            make_dirs(&whole, &item.below)?;
            continue;
        };
        let relative = dir.join(&item.below);
        let ours = earlier.get(&relative).map(String::as_str);
        if copy(&source, &whole, item, blob, |found| overwrite || Some(found) == ours)? {
            seeded.blobs.insert(relative.clone(), blob.to_owned());
            seeded.files.push(relative);
        } else {
            seeded.kept.push(relative);
        }
    }
    Ok(seeded)
}

/// Copies one file or link. False: what is there is someone else's.
fn copy(
    source: &TicketDir,
    whole: &Path,
    item: &Item,
    blob: &str,
    may_replace: impl Fn(&str) -> bool,
) -> Result<bool, TicketError> {
    let target = whole.join(&item.below);
    match fs::symlink_metadata(&target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at", &target)(error)),
        Ok(meta) if !meta.is_file() && !meta.is_symlink() => return Err(wrong(&target, "no regular file")),
        Ok(meta) => {
            let found = blob_of(&target).map_err(io("read", &target))?;
            if found == blob && meta.is_symlink() == matches!(item.what, What::Link { .. }) {
                return Ok(true);
            }
            if !may_replace(&found) {
                return Ok(false);
            }
        }
    }
    match &item.what {
        What::Dir => {}
        What::File { executable, .. } => {
            let from = source.dir.join(&item.below);
            let bytes = fs::read(&from).map_err(io("read", &from))?;
            write_whole(&target, &bytes, if *executable { 0o755 } else { 0o644 })?;
        }
        What::Link { target: leads_to, .. } => {
            if fs::symlink_metadata(&target).is_ok() {
                fs::remove_file(&target).map_err(io("remove", &target))?;
            }
            std::os::unix::fs::symlink(leads_to, &target).map_err(io("link", &target))?;
        }
    }
    Ok(true)
}

impl What {
    fn blob(&self) -> Option<&str> {
        match self {
            Self::Dir => None,
            Self::File { blob, .. } | Self::Link { blob, .. } => Some(blob),
        }
    }
}

/// Everything in the ticket's directory, each directory before what is in it.
fn scan(source: &TicketDir) -> Result<Vec<Item>, TicketError> {
    let mut items = Vec::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = open.pop() {
        let dir = source.dir.join(&below);
        for entry in fs::read_dir(&dir).map_err(io("read", &dir))? {
            let entry = entry.map_err(io("read", &dir))?;
            let path = below.join(entry.file_name());
            let what = look(source, &path)?;
            if items.len() >= MOST || depth >= DEEPEST {
                return Err(TicketError::TooMany { path: source.dir.clone(), limit: MOST });
            }
            if matches!(what, What::Dir) {
                open.push((path.clone(), depth + 1));
            }
            items.push(Item { below: path, what });
        }
    }
    items.sort_by(|a, b| a.below.cmp(&b.below));
    Ok(items)
}

fn look(source: &TicketDir, below: &Path) -> Result<What, TicketError> {
    let path = source.dir.join(below);
    let meta = fs::symlink_metadata(&path).map_err(io("look at", &path))?;
    if meta.is_dir() {
        return Ok(What::Dir);
    }
    if !meta.is_file() && !meta.is_symlink() {
        return Err(wrong(&path, "a socket, pipe or device"));
    }
    let blob = blob_of(&path).map_err(io("read", &path))?;
    if meta.is_file() {
        return Ok(What::File { executable: meta.permissions().mode() & 0o100 != 0, blob });
    }
    let target = fs::read_link(&path).map_err(io("read", &path))?;
    if stays_inside(below, &target) {
        return Ok(What::Link { target, blob });
    }
    Err(TicketError::LinkOut { path, target })
}

/// Whether a link at `below` stays in the ticket's directory. `..` counts only at the front of the target: after a
/// name that may itself be a link, it would not lead to where it seems to.
fn stays_inside(below: &Path, target: &Path) -> bool {
    let mut up = 0;
    let mut names = false;
    for part in target.components() {
        match part {
            Component::ParentDir if !names => up += 1,
            Component::Normal(_) => names = true,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    up < below.components().count()
}

fn revision(items: &[Item]) -> String {
    let mut listing = Vec::new();
    for item in items {
        let kind: &[u8] = match &item.what {
            What::Dir => b"d",
            What::File { executable: false, .. } => b"f",
            What::File { executable: true, .. } => b"x",
            What::Link { .. } => b"l",
        };
        let blob = item.what.blob().unwrap_or_default().as_bytes();
        for part in [kind, blob, item.below.as_os_str().as_encoded_bytes()] {
            listing.extend_from_slice(part);
            listing.push(0);
        }
    }
    blob_of_bytes(&listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_are_seen() {
        let inside = [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../x/y"), ("a", ".")];
        for (at, to) in inside {
            assert!(stays_inside(Path::new(at), Path::new(to)), "{at} {to}");
        }
        for (at, to) in [("a", "../b"), ("d/a", "../../b"), ("a", "/etc"), ("a", "x/../y"), ("d/a", "e/../../../b")] {
            assert!(!stays_inside(Path::new(at), Path::new(to)), "{at} {to}");
        }
    }
}

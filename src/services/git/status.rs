//! What differs in a checkout: `git status --porcelain=v2 -z`, which is the only form that names every file (D17).

use std::path::{Path, PathBuf};

use super::repo::path_of;
use super::{Git, GitError};

/// One path that differs from HEAD, from the index, or is not tracked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Relative to the top of the checkout, in whatever bytes it has. An untracked repository inside the
    /// checkout is one path with a trailing `/`.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The index differs from HEAD.
    pub staged: bool,
    /// The file differs from the index.
    pub unstaged: bool,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Content, mode or type changed.
    Modified,
    /// New in the index.
    Added,
    /// Gone.
    Deleted,
    /// Renamed or copied in the index.
    Renamed {
        /// Its path before.
        from: PathBuf,
    },
    /// Not tracked and not ignored.
    Untracked,
    /// Left unmerged by a merge or the like.
    Conflicted,
}

/// A change with what only the backup asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub change: Change,
    /// It is a submodule, and its commit, its tracked files or its untracked files differ.
    pub submodule: bool,
}

impl Git {
    /// Every path that differs in this checkout, untracked files one by one, ignored ones not.
    ///
    /// # Errors
    /// [`GitError::NoSuchPath`], [`GitError::Failed`] (not a checkout, unreadable index).
    pub fn status(&self, worktree: &Path) -> Result<Vec<Change>, GitError> {
        Ok(parse_status(&self.status_bytes(worktree)?))
    }

    pub(super) fn status_entries(&self, worktree: &Path) -> Result<Vec<Entry>, GitError> {
        Ok(parse_entries(&self.status_bytes(worktree)?))
    }

    fn status_bytes(&self, worktree: &Path) -> Result<Vec<u8>, GitError> {
        self.read(worktree)
            .args(["status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-ahead-behind", "--find-renames"])
            .args(["--ignored=no"])
            .ok()
    }
}

/// Reads `git status --porcelain=v2 -z`. Records that are not understood are left out; it never panics.
pub fn parse_status(bytes: &[u8]) -> Vec<Change> {
    parse_entries(bytes).into_iter().map(|entry| entry.change).collect()
}

pub(super) fn parse_entries(bytes: &[u8]) -> Vec<Entry> {
    let mut records = bytes.split(|byte| *byte == 0);
    let mut entries = Vec::new();
    while let Some(record) = records.next() {
        let entry = match record.first() {
            Some(b'1') => ordinary(record),
            Some(b'2') => renamed(record, records.next().unwrap_or_default()),
            Some(b'u') => conflicted(record),
            Some(b'?') => untracked(record),
            _ => None,
        };
        entries.extend(entry);
    }
    entries
}

/// `1 XY sub mH mI mW hH hI path`
fn ordinary(record: &[u8]) -> Option<Entry> {
    let (fields, path) = fields::<8>(record)?;
    let (index, worktree) = xy(fields[1])?;
    let kind = match (index, worktree) {
        (_, b'D') | (b'D', _) => ChangeKind::Deleted,
        (b'A', _) | (_, b'A') => ChangeKind::Added,
        _ => ChangeKind::Modified,
    };
    Some(entry(path, kind, (index, worktree), fields[2]))
}

/// `2 XY sub mH mI mW hH hI Xscore path`, and the path before as a record of its own
fn renamed(record: &[u8], from: &[u8]) -> Option<Entry> {
    let (fields, path) = fields::<9>(record)?;
    Some(entry(path, ChangeKind::Renamed { from: path_of(from) }, xy(fields[1])?, fields[2]))
}

/// `u XY sub m1 m2 m3 mW h1 h2 h3 path`
fn conflicted(record: &[u8]) -> Option<Entry> {
    let (fields, path) = fields::<10>(record)?;
    let mut found = entry(path, ChangeKind::Conflicted, xy(fields[1])?, fields[2]);
    (found.change.staged, found.change.unstaged) = (true, true);
    Some(found)
}

/// `? path`
fn untracked(record: &[u8]) -> Option<Entry> {
    let (_, path) = fields::<1>(record)?;
    let change = Change { path: path_of(path), kind: ChangeKind::Untracked, staged: false, unstaged: true };
    Some(Entry { change, submodule: false })
}

fn entry(path: &[u8], kind: ChangeKind, (index, worktree): (u8, u8), sub: &[u8]) -> Entry {
    let change = Change { path: path_of(path), kind, staged: index != b'.', unstaged: worktree != b'.' };
    Entry { change, submodule: sub.first() == Some(&b'S') }
}

fn xy(field: &[u8]) -> Option<(u8, u8)> {
    match field {
        [index, worktree] => Some((*index, *worktree)),
        _ => None,
    }
}

/// The first `N` fields, and all the rest: a path may hold spaces.
fn fields<const N: usize>(record: &[u8]) -> Option<([&[u8]; N], &[u8])> {
    let mut parts = record.splitn(N + 1, |byte| *byte == b' ');
    let mut found = [&record[..0]; N];
    for field in &mut found {
        *field = parts.next()?;
    }
    parts.next().filter(|path| !path.is_empty()).map(|path| (found, path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASHES: &str =
        "N... 100644 100644 100644 ce013625030ba8dba906f756967f9e9ca394464a ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn odd_names_and_renames_arrive_whole() {
        let text = format!(
            "1 .M {HASHES} a b\\\"c\n🦀\x002 R. {HASHES} R100 new name\0old -> name\x001 A. {HASHES} x\0? un tracked\0"
        );
        let found = parse_status(text.as_bytes());
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].path, Path::new("a b\\\"c\n🦀"));
        assert_eq!((&found[0].kind, found[0].staged, found[0].unstaged), (&ChangeKind::Modified, false, true));
        assert_eq!(found[1].kind, ChangeKind::Renamed { from: "old -> name".into() });
        assert_eq!((&found[2].kind, found[2].staged), (&ChangeKind::Added, true));
        assert_eq!((&found[3].kind, found[3].path.to_str()), (&ChangeKind::Untracked, Some("un tracked")));
    }

    #[test]
    fn records_not_understood_are_left_out() {
        assert_eq!(parse_status(b"# branch.oid 1\0! ignored\x001 .M\0? \0\0x\0u UU\0"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_status(&bytes);
        }

        #[test]
        fn no_nearly_right_bytes_make_it_panic(parts in prop::collection::vec("([12u?] ?|XY |N... |\u{0}|[a-f0-9 ]{0,9})", 0..60)) {
            let _ = parse_status(parts.concat().as_bytes());
        }
    }
}

//! The home: the directory that holds `.metawsm/`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::EngineError;
use crate::domain::policy::{self, Loaded, Policy};
use crate::store::{Reader, StoreError};

/// The last text of a policy file that held, and what it says. A pure function of the text, so it may be shared.
static LAST_POLICY: Mutex<Option<(PathBuf, Option<String>, Loaded)>> = Mutex::new(None);

/// Counts the files this process has written.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Where a home's things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The directory that holds `.metawsm/`.
    pub root: PathBuf,
    /// The database.
    pub db: PathBuf,
    /// The policy file.
    pub policy: PathBuf,
}

/// How a home is named on the command line or in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeArgs {
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `--db`.
    pub db: Option<PathBuf>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
}

impl Home {
    /// The home in `dir`, whether it is there or not.
    pub fn at(dir: &Path, args: &HomeArgs) -> Self {
        let inside = dir.join(".metawsm");
        Self {
            root: dir.to_path_buf(),
            db: args.db.clone().unwrap_or_else(|| inside.join("metawsm.db")),
            policy: args.policy.clone().unwrap_or_else(|| inside.join("policy.json")),
        }
    }

    /// The home named, else the nearest ancestor of `cwd` that has a database, else none.
    pub fn find(cwd: &Path, args: &HomeArgs) -> Option<Self> {
        if let Some(dir) = &args.home {
            return Some(Self::at(&absolute(cwd, dir), &args.absolute(cwd)));
        }
        let args = args.absolute(cwd);
        if let Some(db) = &args.db {
            // A database on its own is its own home: <home>/.metawsm/metawsm.db, or the directory it lies in.
            let dir = db.parent().unwrap_or(cwd);
            let root =
                if dir.file_name().is_some_and(|name| name == ".metawsm") { dir.parent().unwrap_or(dir) } else { dir };
            return Some(Self::at(root, &args));
        }
        cwd.ancestors().map(|dir| Self::at(dir, &args)).find(|home| home.db.is_file())
    }

    /// Its `.metawsm/`.
    pub fn inside(&self) -> PathBuf {
        self.root.join(".metawsm")
    }

    /// Launch records of one session.
    pub fn session_dir(&self, session: &str) -> PathBuf {
        self.inside().join("agents").join(session)
    }

    /// Kept screens of one run.
    pub fn log_dir(&self, run_id: &str) -> PathBuf {
        self.inside().join("logs").join(run_id)
    }

    /// The lock file of the right to observe and act by rule.
    pub fn supervisor_lease(&self) -> PathBuf {
        with_suffix(&self.db, ".supervisor.lock")
    }

    /// The lock file of the right to change a run's worktrees and sessions.
    pub fn run_lease(&self, run_id: &str) -> PathBuf {
        with_suffix(&self.db, &format!(".run-{run_id}.lock"))
    }

    /// Where locks of repositories lie.
    pub fn lock_dir(&self) -> PathBuf {
        self.inside().join("locks")
    }

    /// Where workspaces are made.
    pub fn workspace_root(&self, root: &str) -> PathBuf {
        self.root.join(root)
    }

    /// Makes `.metawsm/` with its rights and its `.gitignore`.
    ///
    /// # Errors
    /// [`EngineError::Io`].
    pub fn make(&self) -> Result<(), EngineError> {
        let inside = self.inside();
        make_dir(&inside)?;
        if let Some(dir) = self.db.parent() {
            make_dir(dir)?;
        }
        let ignore = inside.join(".gitignore");
        if !ignore.exists() {
            write_private(&ignore, b"*\n")?;
        }
        Ok(())
    }

    /// Whether its database is there.
    pub fn exists(&self) -> bool {
        self.db.is_file()
    }

    /// A view of its database.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is none.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.db)
    }

    /// The effective policy: defaults, the file where there is one, and flags.
    ///
    /// # Errors
    /// [`EngineError::Policy`] with all faults.
    pub fn load_policy(&self, flags: &[(&str, serde_json::Value)]) -> Result<Loaded, EngineError> {
        let text = match std::fs::read_to_string(&self.policy) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(EngineError::Io { what: format!("read {}", self.policy.display()), source });
            }
        };
        if !flags.is_empty() {
            return self.parsed(text.as_deref(), flags);
        }
        // Every tick and most commands ask; the same text is parsed once.
        let mut last = LAST_POLICY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., loaded)) = last.as_ref().filter(|(path, known, _)| *known == text && *path == self.policy) {
            return Ok(loaded.clone());
        }
        let loaded = self.parsed(text.as_deref(), flags)?;
        *last = Some((self.policy.clone(), text, loaded.clone()));
        Ok(loaded)
    }

    /// The live policy, or the last good one that this process has seen where the file holds no more. A process that has
    /// seen none has none.
    pub fn policy_in_force(&self) -> Option<Policy> {
        if let Ok(live) = self.load_policy(&[]) {
            return Some(live.policy);
        }
        let last = LAST_POLICY.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(path, ..)| *path == self.policy).map(|(.., loaded)| loaded.policy.clone())
    }

    fn parsed(&self, text: Option<&str>, flags: &[(&str, serde_json::Value)]) -> Result<Loaded, EngineError> {
        policy::load(text, flags)
            .map_err(|faults| EngineError::Policy { path: self.policy.display().to_string(), faults })
    }
}

impl HomeArgs {
    fn absolute(&self, cwd: &Path) -> Self {
        let make = |path: &Option<PathBuf>| path.as_ref().map(|path| absolute(cwd, path));
        Self { home: make(&self.home), db: make(&self.db), policy: make(&self.policy) }
    }
}

fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_path_buf() } else { cwd.join(path) }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

/// Makes a directory and its parents, for the owner only.
///
/// # Errors
/// [`EngineError::Io`].
pub fn make_dir(dir: &Path) -> Result<(), EngineError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(EngineError::io(format!("make the directory {}", dir.display())))
}

/// Writes a file for the owner only: whole or not at all.
///
/// # Errors
/// [`EngineError::Io`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    // A name for each write: two threads of one process may write the same file at once.
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let beside = with_suffix(path, &format!(".{}-{number}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(EngineError::io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::write_private;

    /// Who supervises and who closes a run may keep the same screen at the same moment, in one process.
    #[test]
    fn a_file_written_by_several_threads_at_once_is_one_of_theirs_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("screen.txt");
        let texts: Vec<String> = (0..8).map(|n| n.to_string().repeat(5_000)).collect();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                let writers: Vec<_> =
                    texts.iter().map(|text| scope.spawn(|| write_private(&path, text.as_bytes()))).collect();
                for writer in writers {
                    writer.join().unwrap().unwrap();
                }
            });
            assert!(texts.contains(&std::fs::read_to_string(&path).unwrap()));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

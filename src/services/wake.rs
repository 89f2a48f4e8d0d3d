//! Wakes waiters when the database was written, by this process or another.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// How long at most a write may go unnoticed where the watch does not work.
const FLOOR: Duration = Duration::from_millis(250);

/// A watch on the database's directory. The write-ahead log comes and goes, so the file itself is not watched.
pub struct Wake {
    // Dropped with us, which ends the watch.
    _watcher: Option<RecommendedWatcher>,
    signals: Receiver<()>,
    // Keeps the channel open where there is no watcher.
    _sender: Sender<()>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

impl Wake {
    /// Watches the directory of `db`. Where that is not possible, waiting falls back to looking often.
    pub fn on(db: &Path) -> Self {
        let (sender, signals) = channel();
        let told = sender.clone();
        let watcher = watch(db, move || {
            let _ = told.send(());
        });
        Self { _watcher: watcher, signals, _sender: sender }
    }

    /// Waits for a write, but no longer than `limit` and never longer than a quarter of a second: then the
    /// caller looks for itself.
    pub fn wait(&self, limit: Duration) {
        match self.signals.recv_timeout(limit.min(FLOOR)) {
            Ok(()) => while self.signals.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Has `tell` called after each write to `db` for as long as what is returned lives; `None` where that is not possible.
pub fn watch(db: &Path, tell: impl Fn() + Send + 'static) -> Option<RecommendedWatcher> {
    let stem = db.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let Ok(event) = event else { return };
        // Reading also touches files; only what was written or made may be news.
        let news = matches!(event.kind, EventKind::Modify(_) | EventKind::Create(_));
        let ours = event.paths.iter().any(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.strip_prefix(stem.as_str()).is_some_and(|rest| rest.is_empty() || rest == "-wal")
            })
        });
        if news && ours {
            tell();
        }
    });
    let mut watcher = watcher.ok()?;
    watcher.watch(db.parent()?, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// Asks again after each write until there is an answer or the deadline has passed.
///
/// # Errors
/// The first error of `ask`.
pub fn until<T, E>(
    db: &Path,
    deadline: Option<Instant>,
    mut ask: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    if let Some(found) = ask()? {
        return Ok(Some(found));
    }
    let wake = Wake::on(db);
    loop {
        // The watch may have begun after the write that matters.
        if let Some(found) = ask()? {
            return Ok(Some(found));
        }
        let left = deadline.map_or(FLOOR, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(None);
        }
        wake.wait(left);
    }
}

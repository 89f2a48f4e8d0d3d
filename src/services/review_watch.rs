//! Asks for reviews of completed runs by itself, each so often as its policy says: beside the loop, for GitHub takes its
//! time. Nothing of it matters to who comes after: what was said is kept, and asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::log::Log;
use super::outbox::leave;
use super::reviews::{self, Options};
use crate::domain::pull_request::PullRequestState;
use crate::domain::run::{Run, RunStatus};

/// Whoever has no pull request yet is looked at again after this.
const LATER: Duration = Duration::from_secs(60);
/// What could not be asked for is asked for ever more seldom, down to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long a question may take that is told to end.
const LEAVE: Duration = Duration::from_secs(5);

/// What is known of a run.
#[derive(Debug, Clone)]
struct Turn {
    /// When it is asked about again.
    due: Instant,
    /// How often in a row that was in vain.
    in_vain: u32,
    /// What was in the way, as it was told last.
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    turns: BTreeMap<String, Turn>,
    /// Whether GitHub is being asked.
    pending: bool,
}

/// When which run is asked about.
#[derive(Debug, Default)]
pub struct ReviewWatch {
    shared: Arc<Mutex<Shared>>,
    asker: Option<(Sender<String>, JoinHandle<()>)>,
}

impl ReviewWatch {
    /// Has the run asked about that has been due for longest. A run that was just completed is due at once.
    pub fn look<'a>(&mut self, runs: impl Iterator<Item = &'a Run>, engine: &Arc<Engine>, ending: &Arc<AtomicBool>) {
        let completed = runs.filter(|run| run.status == RunStatus::Completed && !run.spec.dry_run);
        let there: BTreeSet<&str> = completed.map(Run::id).collect();
        let mut shared = locked(&self.shared);
        shared.turns.retain(|run_id, _| there.contains(run_id.as_str()));
        if shared.pending {
            return;
        }
        let now = Instant::now();
        let due = |run_id: &&&str| shared.turns.get(**run_id).map(|turn| turn.due);
        let next = there.iter().min_by_key(due).filter(|run_id| due(run_id).is_none_or(|due| due <= now));
        let Some(run_id) = next.map(|run_id| (*run_id).to_owned()) else { return };
        shared.pending = true;
        drop(shared);
        self.ask(run_id, engine, ending);
    }

    fn ask(&mut self, run_id: String, engine: &Arc<Engine>, ending: &Arc<AtomicBool>) {
        if self.asker.is_none() {
            let (sender, questions) = channel();
            let (engine, shared, ending) = (Arc::clone(engine), Arc::clone(&self.shared), Arc::clone(ending));
            let thread = std::thread::Builder::new().name("reviews".to_owned());
            let thread = thread.spawn(move || answer(&engine, &questions, &shared, &ending));
            self.asker = thread.ok().map(|thread| (sender, thread));
        }
        if self.asker.as_ref().is_none_or(|(asker, _)| asker.send(run_id).is_err()) {
            self.asker = None;
            locked(&self.shared).pending = false;
        }
    }
}

impl ReviewWatch {
    /// Waits until nobody is asked any more; that it is to end was said before.
    pub fn end(&mut self) {
        if let Some((asker, thread)) = self.asker.take() {
            drop(asker);
            leave(Some(thread), LEAVE);
        }
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for as long as somebody wants to know.
fn answer(engine: &Engine, questions: &Receiver<String>, shared: &Mutex<Shared>, ending: &Arc<AtomicBool>) {
    for run_id in questions {
        if ending.load(Ordering::SeqCst) {
            return;
        }
        let before = locked(shared).turns.get(&run_id).cloned();
        let (in_vain, told) = before.map_or((0, None), |turn| (turn.in_vain, turn.trouble));
        let asked = ask_one(engine, &run_id, ending);
        if ending.load(Ordering::SeqCst) {
            return;
        }
        let (pause, in_vain, trouble) = match asked {
            Ok(pause) => (pause, 0, None),
            Err(error) => {
                let pause = LATER.saturating_mul(1 << in_vain.min(6)).min(LONGEST_PAUSE);
                (pause, in_vain + 1, Some(error.to_string()))
            }
        };
        if let Some(trouble) = trouble.as_ref().filter(|trouble| told.as_ref() != Some(trouble)) {
            // The same trouble is told once.
            Log::new(&engine.home).line("reviews", &format!("run {run_id}: {trouble}"));
        }
        let due = Instant::now() + pause;
        let mut shared = locked(shared);
        shared.turns.insert(run_id, Turn { due, in_vain, trouble });
        shared.pending = false;
    }
}

/// Asks about one run, and says when it is to be asked about again.
fn ask_one(engine: &Engine, run_id: &str, ending: &Arc<AtomicBool>) -> Result<Duration, EngineError> {
    let policy = engine.policy_of(run_id)?;
    let every = Duration::from_secs(u64::from(policy.git_pr.review_feedback.sync_seconds));
    if every.is_zero() || !reviews::wanted(&policy) {
        // A run keeps the policy it was started with.
        return Ok(LONGEST_PAUSE);
    }
    let has_request =
        engine.reader()?.pull_requests(run_id)?.iter().any(|request| request.state != PullRequestState::Merged);
    if !has_request {
        return Ok(LATER);
    }
    let options = Options { cancel: Some(Arc::clone(ending)), ..Options::default() };
    match reviews::sync(engine, &Caller::system("reviews"), run_id, &options) {
        // Its agents have just begun anew: there is nothing to ask about.
        Err(error) if error.refusal().is_some() => Ok(LATER),
        synced => {
            let synced = synced?;
            for warning in &synced.warnings {
                Log::new(&engine.home).line("reviews", &format!("run {run_id}: {warning}"));
            }
            synced.complete().map(|()| every)
        }
    }
}

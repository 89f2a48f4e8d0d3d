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
use crate::domain::command::{Command, EscalationWish, RunWish};
use crate::domain::escalation::{Escalation, REVIEWS_TARGET};
use crate::domain::pull_request::PullRequestState;
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;

/// Whoever has no pull request yet is looked at again after this.
const LATER: Duration = Duration::from_secs(60);
/// What could not be asked for is asked for ever more seldom, down to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// So often in a row it may be asked for in vain before a human is called.
const PATIENT: u32 = 3;
/// How long a question may take that is told to end.
const LEAVE: Duration = Duration::from_secs(5);

/// What is known of a run.
#[derive(Debug, Clone)]
struct Turn {
    /// When it is asked about again.
    due: Instant,
    /// How often in a row that was in vain, and since when.
    in_vain: Option<(u32, Moment)>,
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
        let (before, told) = before.map_or((None, None), |turn| (turn.in_vain, turn.trouble));
        let asked = ask_one(engine, &run_id, ending);
        if ending.load(Ordering::SeqCst) {
            return;
        }
        let (pause, in_vain, trouble) = match asked {
            Ok(pause) => (pause, None, None),
            Err(error) => {
                let (times, since) = before.map_or((1, engine.now()), |(times, since)| (times + 1, since));
                let pause = soon(engine, &run_id).saturating_mul(1 << (times - 1).min(6)).min(LONGEST_PAUSE);
                (pause, Some((times, since)), Some(error.to_string()))
            }
        };
        let told_human = tell_human(engine, &run_id, in_vain, trouble.as_deref());
        if let Err(error) = told_human {
            Log::new(&engine.home).line("reviews", &format!("run {run_id}: {error}"));
        }
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

/// When it is worth to look again, where nothing is to be had now.
fn soon(engine: &Engine, run_id: &str) -> Duration {
    let every = engine.policy_of(run_id).map_or(0, |policy| policy.git_pr.review_feedback.sync_seconds);
    LATER.min(Duration::from_secs(u64::from(every.max(1))))
}

/// Asks about one run, and says when it is to be asked about again.
fn ask_one(engine: &Engine, run_id: &str, ending: &Arc<AtomicBool>) -> Result<Duration, EngineError> {
    let policy = engine.policy_of(run_id)?;
    let every = Duration::from_secs(u64::from(policy.git_pr.review_feedback.sync_seconds));
    if every.is_zero() || !reviews::wanted(&policy) {
        // A run keeps the policy it was started with.
        return Ok(LONGEST_PAUSE);
    }
    if engine.reader()?.workspaces(run_id)?.iter().all(|workspace| workspace.removed) {
        // Nobody could be told.
        return Ok(LONGEST_PAUSE);
    }
    let has_request =
        engine.reader()?.pull_requests(run_id)?.iter().any(|request| request.state != PullRequestState::Merged);
    if !has_request {
        return Ok(soon(engine, run_id));
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

/// A human is called when it was asked for in vain so often, and that ends when it was answered.
fn tell_human(
    engine: &Engine,
    run_id: &str,
    in_vain: Option<(u32, Moment)>,
    trouble: Option<&str>,
) -> Result<(), EngineError> {
    let caller = Caller::system("reviews");
    match (in_vain, trouble) {
        (Some((times, since)), Some(why)) if times >= PATIENT => {
            // A token that has run out is one cause, of however many runs.
            let others = engine.reader()?.escalations(None, true)?;
            if others.iter().any(|call| call.target == REVIEWS_TARGET && call.run_id.as_deref() != Some(run_id)) {
                return Ok(());
            }
            let minutes = u64::from(engine.policy_of(run_id)?.forum.sla.escalation_minutes);
            let due_at = (minutes > 0).then(|| engine.now().plus(Duration::from_secs(minutes * 60)));
            let (why, escalation_id) = (why.to_owned(), engine.ledger.new_id("esc"));
            engine.order_run(&caller, run_id, RunWish::ReviewsUnheard { why, since, due_at, escalation_id })?;
        }
        (Some(_), _) => {}
        (None, _) => {
            let calls = engine.reader()?.escalations_about(Some(run_id), REVIEWS_TARGET)?;
            for call in calls.into_iter().filter(Escalation::stands) {
                // Not a human's word: when it goes wrong again they are called again.
                let wish = EscalationWish::Resolve { note: Some("reviews are fetched again".to_owned()) };
                engine.order(&caller, &Command::Escalation { escalation_id: call.escalation_id, wish })?;
            }
        }
    }
    Ok(())
}

//! What the rules conclude about worktrees of completed runs, carried out: beside the loop, for a test or a hook takes
//! its time; and looked at once more before, for what was seen may have passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::deeds::{self, Done, Pace, Wanted, Work};
use super::{Conduct, Operator, command, find_suggestion, patience, withdrawn};
use crate::domain::actor::{Actor, ActorType};
use crate::domain::command::{Command, EscalationWish, SuggestionWish};
use crate::domain::escalation::{Kind, Suggestion, SuggestionState};
use crate::domain::operator::{
    Action, Conclusion, Decision, Intent, Measure, RepoSeen, cause_word, failed, repo_of, repo_target, work,
};
use crate::domain::run::Run;
use crate::domain::time::Moment;
use crate::services::engine::{Caller, Engine, PATIENCE};
use crate::services::error::EngineError;
use crate::services::log::Log;
use crate::services::outbox::leave;
use crate::services::process::lease::{Holder, read_holder};
use crate::services::worktrees::{Key, Seen, Worktrees, can_request, see};
use crate::store::Reader;

/// So many runs are worked on at the same time.
const MOST_AT_ONCE: usize = 2;
/// What was tried in vain waits at most this long, however often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long what is told to end may take.
const LEAVE: Duration = Duration::from_secs(5);

/// The right to commit by rule; with its handle ends what is under way, tests and hooks too.
#[derive(Debug)]
pub struct Committer(Arc<Hands>);

/// Where work is handed in.
#[derive(Debug)]
pub struct Hands {
    engine: Arc<Engine>,
    caller: Caller,
    conduct: Conduct,
    ending: Arc<AtomicBool>,
    /// Who works on which run.
    working: Mutex<BTreeMap<String, JoinHandle<()>>>,
    /// How often in a row something was tried in vain, by run and target, and when it may be tried again.
    in_vain: Mutex<BTreeMap<(String, String), (u32, Instant)>>,
    /// When agents were told of a review by rule, of late.
    pace: Mutex<Pace>,
    /// Who had the run when something was to be done in a workspace.
    held: Mutex<BTreeMap<Key, Option<Holder>>>,
}

impl Committer {
    /// Begins.
    pub fn begin(engine: &Arc<Engine>, conduct: Conduct) -> Self {
        Self(Arc::new(Hands {
            engine: Arc::clone(engine),
            caller: Caller { actor: Actor::new(ActorType::Operator, "operator"), identity: None },
            conduct,
            ending: Arc::default(),
            working: Mutex::default(),
            in_vain: Mutex::default(),
            pace: Mutex::default(),
            held: Mutex::default(),
        }))
    }

    /// Where work is handed in.
    pub fn hands(&self) -> Arc<Hands> {
        Arc::clone(&self.0)
    }

    /// Says that it is to end, and does not wait for that.
    pub fn end_soon(&self) {
        self.0.ending.store(true, Ordering::SeqCst);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.end_soon();
        let working = std::mem::take(&mut *self.0.working.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = Instant::now() + LEAVE;
        for hand in working.into_values() {
            leave(Some(hand), deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Hands {
    /// Has a conclusion carried out, unless something is done to its run already, or much else.
    fn lend(self: &Arc<Self>, run_id: &str, target: &str) {
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        working.retain(|_, hand| !hand.is_finished());
        let busy = working.contains_key(run_id) || working.len() >= MOST_AT_ONCE;
        if self.ending.load(Ordering::SeqCst) || busy || self.rests(run_id, target) {
            return;
        }
        let (hands, id, target) = (Arc::clone(self), run_id.to_owned(), target.to_owned());
        let work = move || {
            if let Err(error) = hands.act(&id, &target) {
                Log::new(&hands.engine.home).line("operator", &format!("{target} of {id}: {error}"));
            }
        };
        if let Ok(hand) = std::thread::Builder::new().name("committer".to_owned()).spawn(work) {
            working.insert(run_id.to_owned(), hand);
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Option<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tries(&self) -> MutexGuard<'_, BTreeMap<(String, String), (u32, Instant)>> {
        self.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was tried in vain a moment ago.
    fn rests(&self, run_id: &str, target: &str) -> bool {
        let of = (run_id.to_owned(), target.to_owned());
        self.tries().get(&of).is_some_and(|(_, until)| Instant::now() < *until)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What changes by itself, again and again, is tried ever more seldom.
    fn note_tried(&self, run_id: &str, target: &str, in_vain: bool, interval: Duration) {
        let (mut tries, of) = (self.tries(), (run_id.to_owned(), target.to_owned()));
        if !in_vain {
            tries.remove(&of);
            return;
        }
        let times = tries.get(&of).map_or(0, |(times, _)| *times);
        let pause = interval.saturating_mul(1 << times.min(12)).min(LONGEST_PAUSE);
        tries.insert(of, (times + 1, Instant::now() + pause));
    }

    /// Does what the rule still wants with one repository. What does not come through calls a human.
    fn act(&self, run_id: &str, target: &str) -> Result<(), EngineError> {
        let (engine, caller) = (&self.engine, &self.caller);
        let _lease = match engine.lease_run(run_id, "hand on work", caller) {
            // Who works on the run has it; what is still to be done then is seen again.
            Err(EngineError::Busy { holder }) => {
                self.held().insert(key_of(run_id, target), holder);
                return Ok(());
            }
            lease => lease?,
        };
        self.held().remove(&key_of(run_id, target));
        let measure = self.conduct.measure(engine, run_id)?;
        let conclusion = conclude_now(engine, run_id, target, &measure)?;
        let wanted = conclusion.filter(|found| found.decision.action == Action::Act);
        let Some(mut conclusion) = wanted else { return Ok(()) };
        let wanted = Wanted { run_id, intent: conclusion.decision.intent, only: only(target), by_rule: true };
        let dispatches = wanted.intent == Intent::ReviewFeedbackReady;
        let cap = engine.policy_of(run_id)?.git_pr.review_feedback.auto_dispatch_cap_per_interval;
        if dispatches && !self.pace().allows(cap, measure.interval, Instant::now()) {
            return Ok(());
        }
        let done = Work::ready(engine, caller, &wanted, Some(&self.ending)).and_then(|work| {
            // Written down before it is done: also who is killed meanwhile has acted.
            if work.is_nothing() || engine.order(caller, &command(engine, conclusion.clone()))?.events.is_empty() {
                return Ok(());
            }
            if dispatches {
                self.pace().note(Instant::now());
            }
            let brought = work.carry_out(engine, caller, run_id)?;
            for warning in brought.iter().flat_map(Done::warnings) {
                Log::new(&engine.home).line("operator", &format!("{target} of {run_id}: {warning}"));
            }
            match brought.is_empty() {
                false => Ok(()),
                true => Err(EngineError::refused("nothing came of it", "look there")),
            }
        });
        let in_vain = done.as_ref().is_err_and(|error| !error.is_interruption());
        self.note_tried(run_id, target, in_vain, measure.interval);
        match done {
            Err(error) if in_vain => {
                // What the attempt itself changed is no reason to try again.
                let after = conclude_now(engine, run_id, target, &measure).ok().flatten();
                let same = after.filter(|after| after.decision.intent == wanted.intent);
                conclusion.decision.cause = same.map_or(conclusion.decision.cause, |after| after.decision.cause);
                let why = format!("{target} could not be {}: {error}", deeds::participle(wanted.intent));
                engine.order(caller, &command(engine, failed(conclusion, &why, &measure, engine.now())))?;
                Ok(())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn key_of(run_id: &str, target: &str) -> Key {
    (run_id.to_owned(), repo_of(target).map_or(target, |(workspace, _)| workspace).to_owned())
}

fn only(target: &str) -> Option<(String, String)> {
    repo_of(target).map(|(workspace, repo)| (workspace.to_owned(), repo.to_owned()))
}

/// What the rules conclude about one repository, as it is now.
fn conclude_now(
    engine: &Engine,
    run_id: &str,
    target: &str,
    measure: &Measure,
) -> Result<Option<Conclusion>, EngineError> {
    let (run, reader, policy) = (engine.run(run_id)?, engine.reader()?, engine.policy_of(run_id)?);
    let Some((name, repo)) = only(target) else { return Ok(None) };
    let mut workspaces = reader.workspaces(run_id)?;
    let Some(workspace) = workspaces.iter_mut().find(|workspace| !workspace.removed && workspace.name == name) else {
        return Ok(None);
    };
    workspace.worktrees.retain(|tree| tree.repo == repo);
    let sight = see(&engine.git, &reader, (&policy, can_request(engine)), &run, workspace);
    if let Some(trouble) = sight.troubles.into_iter().next() {
        return Err(EngineError::outside(trouble, "look there"));
    }
    Ok(work(&run, &sight.repos, &policy.git_pr, measure, engine.now()).pop())
}

/// What the rules conclude about the worktrees of a completed run as git shows them now, those left out about which it
/// cannot tell. Nothing is changed.
///
/// # Errors
/// What git or the store says.
pub fn conclude_work(engine: &Engine, run: &Run, measure: &Measure) -> Result<Vec<Conclusion>, EngineError> {
    let (reader, policy) = (engine.reader()?, engine.policy_of(run.id())?);
    let mut conclusions = Vec::new();
    for workspace in reader.workspaces(run.id())?.iter().filter(|workspace| !workspace.removed) {
        let sight = see(&engine.git, &reader, (&policy, can_request(engine)), run, workspace);
        conclusions.extend(work(run, &sight.repos, &policy.git_pr, measure, engine.now()));
    }
    Ok(conclusions)
}

impl Operator {
    /// Asks the rules about what was seen in the worktrees of completed runs.
    pub(super) fn look_at_work(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        worktrees: &Worktrees,
        live: Option<&Measure>,
        now: Moment,
    ) -> Result<Vec<String>, EngineError> {
        let known = worktrees.known();
        // Also while git is asked anew.
        self.hands.held().retain(|key, _| known.contains_key(key));
        self.hands.held().keys().for_each(|(run_id, _)| self.in_the_way.keep(run_id));
        if known.is_empty() {
            return Ok(Vec::new());
        }
        // The same look by the same measure says the same: of five hundred runs only those with news are gone into.
        self.heard.retain(|key, _| known.contains_key(key));
        self.troubled.retain(|key, _| known.contains_key(key));
        let measure = self.measure(engine, live, None)?;
        let mine = |run_id: &str| self.conduct.only.as_deref().is_none_or(|only| only == run_id);
        let heard = |key: &Key, at: Moment| self.heard.get(key).is_some_and(|(then, by)| *then == at && *by == measure);
        let news: Vec<_> = known.into_iter().filter(|(key, seen)| mine(&key.0) && !heard(key, seen.at)).collect();
        if news.is_empty() {
            return Ok(Vec::new());
        }
        let standing = standing(reader)?;
        let mut complaints = Vec::new();
        for (key, seen) in news {
            // The same trouble at every look is told once.
            if self.troubled.get(&key).is_none_or(|told| *told != seen.troubles) {
                complaints.extend(seen.troubles.iter().map(|trouble| format!("worktrees of run {}: {trouble}", key.0)));
                self.troubled.insert(key.clone(), seen.troubles.clone());
            }
            match self.look_at_seen(engine, reader, (&key, &seen), &standing, (live, now)) {
                Ok(true) => drop(self.heard.insert(key, (seen.at, measure.clone()))),
                Ok(false) => {}
                Err(error) => complaints.push(format!("rules for the worktrees of run {}: {error}", key.0)),
            }
        }
        Ok(complaints)
    }

    /// Whether all that this look says is said: what is to be done is asked again until it is.
    fn look_at_seen(
        &mut self,
        engine: &Engine,
        reader: &Reader,
        (key, seen): (&Key, &Seen),
        standing: &BTreeSet<(String, String)>,
        (live, now): (Option<&Measure>, Moment),
    ) -> Result<bool, EngineError> {
        let run_id = key.0.as_str();
        let stands = |target: &str| standing.contains(&(run_id.to_owned(), target.to_owned()));
        let mut over = Vec::new();
        for repo in &seen.repos {
            let target = repo_target(&repo.workspace, &repo.repo);
            // What is not committed goes first.
            let request_over = repo.ahead.is_none() || repo.dirt.is_some();
            let gone = [
                (Intent::CommitReady, repo.dirt.is_none()),
                (Intent::PrReady, request_over),
                (Intent::ReviewFeedbackReady, repo.queued.is_none()),
            ];
            over.extend(
                gone.into_iter()
                    .filter(|(_, gone)| *gone && stands(&target))
                    .map(|(intent, _)| (target.clone(), intent)),
            );
        }
        if over.is_empty() && seen.repos.iter().all(RepoSeen::is_quiet) {
            self.hands.held().remove(key);
            return Ok(true);
        }
        // What has happened since may have changed it: git is asked again.
        let Some(run) = reader.run(run_id)?.filter(|run| run.last_seq == seen.seq) else { return Ok(true) };
        over.iter().try_for_each(|(target, intent)| handed_on(engine, run_id, target, *intent))?;
        let measure = self.measure(engine, live, Some(run_id))?;
        let policy = engine.policy_of(run_id)?.git_pr;
        let (act, tell): (Vec<_>, Vec<_>) = work(&run, &seen.repos, &policy, &measure, now)
            .into_iter()
            .partition(|conclusion| conclusion.decision.action == Action::Act);
        if let Some(conclusion) = act.first() {
            self.next = self.next.min(now.plus(measure.interval));
            let holder = self.hands.held().get(key).cloned();
            if let Some(holder) = holder {
                let patience = self.conduct.patience.unwrap_or_else(|| patience(measure.interval));
                let (about, by) = ((run_id, conclusion), (&measure, patience));
                self.in_the_way.note(engine, about, holder.as_ref(), by, now)?;
            }
            self.hands.lend(run_id, &conclusion.decision.target);
        } else {
            self.hands.held().remove(key);
        }
        if !tell.is_empty() && read_holder(&engine.home.run_lease(run_id), engine.processes.as_ref()).is_some() {
            // Whoever has the run may be doing just that.
            return Ok(false);
        }
        self.carry_out(engine, reader, tell, &measure, now)?;
        Ok(act.is_empty())
    }
}

/// The repositories about which something is offered, or a human is called because it could not be done.
fn standing(reader: &Reader) -> Result<BTreeSet<(String, String)>, EngineError> {
    let offers = reader.suggestions(None, true)?.into_iter().filter(|offer| offer.intent.hands_on_work());
    let calls = reader.escalations(None, true)?.into_iter().filter(|call| call.kind == Kind::NotActed);
    let offers = offers.map(|offer| (offer.run_id, offer.target));
    let all = offers.chain(calls.map(|call| (call.run_id, call.target)));
    Ok(all
        .filter_map(|(run_id, target)| Some((run_id?, target)))
        .filter(|(_, target)| repo_of(target).is_some())
        .collect())
}

/// Nothing is left of this kind in a repository: what was offered about it is withdrawn, and calls about it end.
///
/// # Errors
/// What the store says.
pub fn handed_on(engine: &Engine, run_id: &str, target: &str, intent: Intent) -> Result<(), EngineError> {
    let (reader, caller) = (engine.reader()?, Caller::system("rules"));
    let note = match intent {
        Intent::PrReady => "no pull request is to be made of it any more",
        Intent::ReviewFeedbackReady => "nothing reviewers said waits any more",
        _ => "nothing is left to commit",
    };
    let offers = reader.suggestions(Some(run_id), true)?;
    for offer in offers.into_iter().filter(|offer| offer.target == target && offer.intent == intent) {
        let wish = SuggestionWish::Withdraw { reason: note.to_owned() };
        engine.order(&caller, &Command::Suggestion { suggestion_id: offer.suggestion_id, wish })?;
    }
    let calls = reader.escalations_about(Some(run_id), target)?;
    let about = |cause: &str| cause.split(' ').next() == Some(cause_word(intent));
    for call in calls.into_iter().filter(|call| call.stands() && call.kind == Kind::NotActed && about(&call.cause)) {
        // Not a human's word: where it cannot be done again they are called again.
        let wish = EscalationWish::Resolve { note: Some(note.to_owned()) };
        engine.order(&caller, &Command::Escalation { escalation_id: call.escalation_id, wish })?;
    }
    Ok(())
}

/// Accepts what was offered about a worktree: it is looked at as it is now, and handed on where all checks pass. Where
/// one does not, nothing was accepted.
pub(super) fn accept(
    engine: &Engine,
    caller: &Caller,
    suggestion: &Suggestion,
    cancel: Option<&Arc<AtomicBool>>,
) -> Result<(Suggestion, Vec<Done>), EngineError> {
    let run_id = suggestion.run_id.clone().unwrap_or_default();
    let _lease = engine.lease_run_within(&run_id, "accept", caller, PATIENCE)?;
    if cancel.is_some_and(|flag| flag.load(Ordering::SeqCst)) {
        return Err(EngineError::Interrupted("it was not begun".to_owned()));
    }
    let id = &suggestion.suggestion_id;
    let wanted = Wanted { run_id: &run_id, intent: suggestion.intent, only: only(&suggestion.target), by_rule: false };
    let work = match find_suggestion(engine, id)?.state {
        SuggestionState::Open => Some(Work::ready(engine, caller, &wanted, cancel)?),
        SuggestionState::Accepted | SuggestionState::Dismissed | SuggestionState::Withdrawn => None,
    };
    if work.as_ref().is_some_and(Work::is_nothing) {
        handed_on(engine, &run_id, &suggestion.target, suggestion.intent)?;
        return Err(withdrawn(id, &run_id));
    }
    let wish = SuggestionWish::Accept { cooldown_until: None };
    engine.order(caller, &Command::Suggestion { suggestion_id: id.clone(), wish })?;
    let settled = find_suggestion(engine, id)?;
    match (settled.state, work) {
        (SuggestionState::Withdrawn, _) => Err(withdrawn(id, &run_id)),
        (_, Some(work)) => match work.carry_out(engine, caller, &run_id) {
            Ok(done) => Ok((settled, done)),
            // Who broke it off knows: it is offered again.
            Err(error) if error.is_interruption() => Err(error),
            Err(error) => {
                call_to_failure(engine, &settled, &error)?;
                Err(error)
            }
        },
        (_, None) => Ok((settled, Vec::new())),
    }
}

/// What was accepted and did not come through is not done: that is told, beside the error that who accepted it gets.
fn call_to_failure(engine: &Engine, accepted: &Suggestion, error: &EngineError) -> Result<(), EngineError> {
    let measure = Conduct::default().measure(engine, accepted.run_id.as_deref().unwrap_or_default())?;
    let decision = Decision {
        target: accepted.target.clone(),
        cause: accepted.cause.clone(),
        rule: accepted.intent.rule(),
        intent: accepted.intent,
        action: Action::Act,
        reason: accepted.reason.clone(),
        evidence: accepted.evidence.clone(),
        considered: Vec::new(),
        due_at: None,
        cooldown_until: None,
    };
    let conclusion = Conclusion { about: accepted.subject(), decision, call: None, call_again: None };
    let why = format!("{} was accepted and not done: {error}", accepted.intent.word());
    let rules = Caller { actor: Actor::new(ActorType::Operator, "operator"), identity: None };
    engine.order(&rules, &command(engine, failed(conclusion, &why, &measure, engine.now())))?;
    Ok(())
}

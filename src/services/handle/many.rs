//! One wish for many: each is carried out for itself, and what came of all is told in one go. What needs the same run's
//! lease goes one after the other.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Handle, Trouble, Wish};

/// So many are carried out at the same time: ending a session takes its while.
const AT_ONCE: usize = 8;

/// A wish, and what its object is called where it does not come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What its object is called.
    pub name: String,
    /// The wish.
    pub wish: Wish,
}

impl Wish {
    /// What is said of many wishes of one kind while they are carried out, and when they were.
    pub fn together(wishes: &[Named]) -> (String, String) {
        told(wishes, wishes.len())
    }
}

/// Which go one after the other, by their places: those of one run, where they would wait for each other's lease until
/// their patience ends.
fn lanes(wishes: &[Named], run_of: impl Fn(&Wish) -> Option<String>) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut of_run: BTreeMap<String, usize> = BTreeMap::new();
    for (at, named) in wishes.iter().enumerate() {
        let lane = match run_of(&named.wish) {
            Some(run_id) => *of_run.entry(run_id).or_insert(lanes.len()),
            None => lanes.len(),
        };
        match lanes.get_mut(lane) {
            Some(others) => others.push(at),
            None => lanes.push(vec![at]),
        }
    }
    lanes
}

/// The words for `count` of them.
fn told(wishes: &[Named], count: usize) -> (String, String) {
    let (noun, doing, done) = match wishes.first().map(|named| &named.wish) {
        Some(Wish::Restart(_)) => ("agent", "restarting", "being restarted"),
        Some(Wish::Hold(_)) => ("agent", "holding", "held: rules leave them alone"),
        Some(Wish::Release(_)) => ("agent", "releasing", "released"),
        Some(Wish::StopAgent(_)) => ("agent", "stopping", "stopped"),
        Some(Wish::Type { .. }) => ("agent", "sending the line to", "sent the line"),
        Some(Wish::StopRun(_)) => ("run", "stopping", "stopped"),
        Some(Wish::Pause(_)) => ("run", "pausing", "paused"),
        Some(Wish::Resume(_)) => ("run", "resuming", "resumed"),
        Some(Wish::AcceptSuggestion(_)) => ("suggestion", "accepting", "accepted"),
        Some(Wish::DismissSuggestion(_)) => ("suggestion", "dismissing", "dismissed"),
        Some(Wish::AckEscalation(_)) => ("escalation", "acknowledging", "acknowledged"),
        Some(Wish::ResolveEscalation(..)) => ("escalation", "resolving", "resolved"),
        Some(Wish::Thread(..)) => ("thread", "changing", "changed"),
        Some(_) | None => ("wish", "carrying out", "carried out"),
    };
    let (noun, is) = if count == 1 { (noun.to_owned(), "is") } else { (format!("{noun}s"), "are") };
    (format!("{doing} {count} {noun}"), format!("{count} {noun} {is} {done}"))
}

impl Handle {
    /// Whose lease a wish needs, of those that may meet in one run.
    fn leased_by(&self, wishes: &[Named]) -> impl Fn(&Wish) -> Option<String> + use<> {
        let accepts = wishes.iter().any(|named| matches!(named.wish, Wish::AcceptSuggestion(_)));
        // What cannot be read now fails where it is accepted, with its reason.
        let offers = accepts.then(|| self.engine.reader().ok()?.suggestions(None, true).ok()).flatten();
        let runs: BTreeMap<String, Option<String>> =
            offers.into_iter().flatten().map(|offer| (offer.suggestion_id, offer.run_id)).collect();
        move |wish| match wish {
            Wish::AcceptSuggestion(id) => runs.get(id).cloned().flatten(),
            Wish::StopRun(run_id) | Wish::Resume(run_id) | Wish::Pause(run_id) | Wish::Merge(run_id) => {
                Some(run_id.clone())
            }
            Wish::Restart(key) => Some(key.run_id.clone()),
            _ => None,
        }
    }

    /// Carries them all out; one that fails is told with its reason, the others are counted.
    pub(super) fn do_all(&self, wishes: Vec<Named>) -> Result<String, Trouble> {
        let next = AtomicUsize::new(0);
        let failed: Mutex<Vec<(usize, Trouble)>> = Mutex::default();
        let lanes = lanes(&wishes, self.leased_by(&wishes));
        let work = || {
            while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::SeqCst)) {
                for at in lane {
                    if let Err(error) = self.do_it(wishes[*at].wish.clone()) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((*at, Trouble::from(error)));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..AT_ONCE.min(lanes.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort_by_key(|(at, _)| *at);
        let (_, done) = told(&wishes, wishes.len() - failed.len());
        if failed.is_empty() {
            return Ok(done);
        }
        let each: Vec<String> = failed
            .iter()
            .map(|(at, trouble)| {
                let hint = trouble.hint.as_ref().map(|hint| format!(" — {hint}")).unwrap_or_default();
                format!("{}: {}{hint}", wishes[*at].name, trouble.message)
            })
            .collect();
        let done = if failed.len() == wishes.len() { "none".to_owned() } else { done };
        let undone = failed.iter().map(|(at, _)| wishes[*at].wish.clone()).collect();
        Err(Trouble { message: format!("{done}, {} not: {}", failed.len(), each.join("; ")), hint: None, undone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_one_runs_lease_goes_one_after_the_other_and_runs_go_side_by_side() {
        let accept = |id: &str| Named { name: id.to_owned(), wish: Wish::AcceptSuggestion(id.to_owned()) };
        let wishes = ["a1", "b1", "?", "a2", "b2", "?", "a3"].map(accept);
        let run_of = |wish: &Wish| match wish {
            Wish::AcceptSuggestion(id) if id != "?" => id.get(..1).map(str::to_owned),
            _ => None,
        };
        assert_eq!(lanes(&wishes, run_of), [vec![0, 3, 6], vec![1, 4], vec![2], vec![5]]);
    }
}

//! One wish for many: each is carried out for itself, and what came of all is told in one go.

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
    /// Carries them all out; one that fails is told with its reason, the others are counted.
    pub(super) fn do_all(&self, wishes: Vec<Named>) -> Result<String, Trouble> {
        let next = AtomicUsize::new(0);
        let failed: Mutex<Vec<(usize, Trouble)>> = Mutex::default();
        let work = || {
            while let Some((at, named)) = take(&next, &wishes) {
                if let Err(error) = self.do_it(named.wish.clone()) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push((at, Trouble::from(error)));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..AT_ONCE.min(wishes.len()) {
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
        Err(Trouble { message: format!("{done}, {} not: {}", failed.len(), each.join("; ")), hint: None })
    }
}

fn take<'a>(next: &AtomicUsize, wishes: &'a [Named]) -> Option<(usize, &'a Named)> {
    let at = next.fetch_add(1, Ordering::SeqCst);
    wishes.get(at).map(|named| (at, named))
}

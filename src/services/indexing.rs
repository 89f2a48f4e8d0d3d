//! Fills the search index with what was posted before there was one, a little at a time beside everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::home::Home;
use super::log::Log;
use crate::store::StoreError;
use crate::store::search::Indexer;

/// Posts indexed in one transaction: a few milliseconds for whoever waits to write.
const AT_ONCE: usize = 100;

/// Fills the index to its end, in the foreground; `tell` is told now and then how much of it is done, in percent.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn finish(home: &Home, tell: impl FnMut(u8)) -> Result<(), StoreError> {
    fill(home, &AtomicBool::new(false), tell)
}

/// Begins, unless everything is indexed. It leaves when it is done, or when `ending` is said.
pub fn begin(home: &Home, ending: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let (home, ending) = (home.clone(), Arc::clone(ending));
    let work = move || {
        if let Err(error) = fill(&home, &ending, |_| {}) {
            Log::new(&home).line("search index", &error.to_string());
        }
    };
    std::thread::Builder::new().name("search index".to_owned()).spawn(work).ok()
}

fn fill(home: &Home, ending: &AtomicBool, mut tell: impl FnMut(u8)) -> Result<(), StoreError> {
    let mut indexer = Indexer::open(&home.db)?;
    while !ending.load(Ordering::SeqCst) {
        let begun = Instant::now();
        if !indexer.index_some(AT_ONCE)? {
            break;
        }
        indexer.progress()?.into_iter().for_each(&mut tell);
        // Half of the time belongs to the others.
        std::thread::sleep(begun.elapsed());
    }
    Ok(())
}

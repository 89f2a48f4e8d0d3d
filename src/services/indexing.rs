//! Fills the search index with what was posted before there was one, a little at a time beside everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::home::Home;
use super::log::Log;
use crate::store::search::Indexer;

/// Posts indexed in one transaction: a few milliseconds for whoever waits to write.
const AT_ONCE: usize = 100;

/// Begins, unless everything is indexed. It leaves when it is done, or when `ending` is said.
pub fn begin(home: &Home, ending: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let (home, ending) = (home.clone(), Arc::clone(ending));
    let fill = move || {
        let work = || -> Result<(), crate::store::StoreError> {
            let mut indexer = Indexer::open(&home.db)?;
            while !ending.load(Ordering::SeqCst) {
                let begun = Instant::now();
                if !indexer.index_some(AT_ONCE)? {
                    break;
                }
                // Half of the time belongs to the others.
                std::thread::sleep(begun.elapsed());
            }
            Ok(())
        };
        if let Err(error) = work() {
            Log::new(&home).line("search index", &error.to_string());
        }
    };
    std::thread::Builder::new().name("search index".to_owned()).spawn(fill).ok()
}

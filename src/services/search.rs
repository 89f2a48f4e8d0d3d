//! Searching while somebody types: the last query counts, and what is under way for an older one is stopped.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::domain::thread::ThreadState;
use crate::domain::time::Moment;
use crate::store::read::Stopper;
use crate::store::read::forum::{Hit, Hits, ThreadFilter};
use crate::store::{Reader, StoreError};

/// Hits shown.
const HITS: usize = 50;

/// A thread that was found, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundThread {
    /// Its id.
    pub thread_id: String,
    /// Its ticket.
    pub ticket: String,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub state: ThreadState,
    /// When anything of it last changed.
    pub updated_at: Moment,
    /// The words around the match, as they were written: to be made harmless before they are shown.
    pub snippet: String,
    /// What of the snippet matched, in bytes.
    pub marks: Vec<Range<usize>>,
}

/// What came of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The query.
    pub query: String,
    /// The threads, newest match first.
    pub threads: Vec<FoundThread>,
    /// Whether there are more.
    pub more: bool,
    /// How much of the posts is indexed, while not all of them are: in percent.
    pub indexed: Option<u8>,
    /// Why it could not be looked for.
    pub trouble: Option<String>,
}

/// A thread that searches; it ends when this is dropped.
#[derive(Debug)]
pub struct Seeker {
    queries: Option<Sender<(u64, String)>>,
    stopper: Stopper,
    latest: Arc<AtomicU64>,
}

impl Seeker {
    /// Begins. What is found for the latest query is handed to `tell`; older ones are not answered.
    pub fn begin(reader: Reader, tell: impl FnMut(Found) + Send + 'static) -> Self {
        let (queries, asked) = channel();
        let (stopper, latest) = (reader.stopper(), Arc::new(AtomicU64::new(0)));
        let wanted = Arc::clone(&latest);
        let seek = move || serve(&reader, &asked, &wanted, tell);
        // Without a thread nothing is found, and nobody waits for it.
        drop(std::thread::Builder::new().name("search".to_owned()).spawn(seek));
        Self { queries: Some(queries), stopper, latest }
    }

    /// Looks for these words instead of those before.
    pub fn look_for(&self, query: impl Into<String>) {
        let number = self.latest.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(queries) = &self.queries {
            let _ = queries.send((number, query.into()));
        }
        self.stopper.stop();
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        self.queries = None;
        self.latest.fetch_add(1, Ordering::SeqCst);
        self.stopper.stop();
    }
}

fn serve(reader: &Reader, asked: &Receiver<(u64, String)>, latest: &AtomicU64, mut tell: impl FnMut(Found)) {
    while let Ok((number, query)) = asked.recv() {
        let current = || latest.load(Ordering::SeqCst) == number;
        // The stop is meant for an older query; one that falls into this one's beginning is no answer to it.
        while current() {
            let result = reader.search(&query, &ThreadFilter::default(), None, HITS, false);
            if matches!(result, Err(StoreError::Interrupted)) {
                continue;
            }
            if current() {
                tell(found(query, result));
            }
            break;
        }
    }
}

fn found(query: String, result: Result<Hits, StoreError>) -> Found {
    let (hits, trouble) = match result {
        Ok(hits) => (hits, None),
        Err(error) => (Hits::default(), Some(error.to_string())),
    };
    Found {
        query,
        more: hits.next_cursor.is_some(),
        indexed: hits.indexed,
        threads: hits.hits.into_iter().map(row).collect(),
        trouble,
    }
}

fn row(hit: Hit) -> FoundThread {
    let Hit { thread, snippet, marks, .. } = hit;
    FoundThread {
        thread_id: thread.thread_id,
        ticket: thread.ticket,
        title: thread.title,
        state: thread.state,
        updated_at: thread.updated_at,
        snippet,
        marks,
    }
}

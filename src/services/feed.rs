//! The journal as a subscriber reads it: every event once and in order, from wherever it left off.
//!
//! Nothing is buffered for anybody. Whoever is slow is told how far it is behind and reads on from its own cursor; what
//! it has not read yet is in the journal. This is the one loop over the journal: streams, plans that are watched and
//! the supervisor without a screen differ in what they do with an event, and in when they end.

use std::ops::ControlFlow;
use std::time::Duration;

use super::wake::Wake;
use crate::domain::event::Event;
use crate::store::read::EventFilter;
use crate::store::{Reader, StoreError};

/// Events read at a time.
const PAGE: usize = 500;

/// A place in the journal, and what is wanted from there on.
#[derive(Debug)]
pub struct Feed {
    reader: Reader,
    filter: EventFilter,
    cursor: i64,
    /// The state of the database in which nothing was left to read.
    drained_at: Option<i64>,
}

/// The next events.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order; none when there is nothing new.
    pub events: Vec<Event>,
    /// Whether more may be read at once.
    pub more: bool,
    /// How many places of the journal lie behind these events: 0 for whoever keeps up.
    pub behind: i64,
    /// Whether whoever reads had kept up until now, and does so no more.
    pub lagged: bool,
}

/// What a subscriber is told.
#[derive(Debug)]
pub enum News<'a> {
    /// The next event.
    Event(&'a Event),
    /// It kept up, and now so many places of the journal lie before it; all of them come.
    Lag(i64),
}

impl Feed {
    /// What the filter lets through after the place `since`.
    pub fn new(reader: Reader, filter: EventFilter, since: i64) -> Self {
        Self { reader, filter, cursor: since.max(0), drained_at: None }
    }

    /// The place up to which everything was read: to go on with another time.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// The next events, at most `most`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn next(&mut self, most: usize) -> Result<Batch, StoreError> {
        let version = self.reader.data_version()?;
        if self.drained_at == Some(version) {
            return Ok(Batch::default());
        }
        let (events, end) = self.reader.events_to_end(self.cursor, &self.filter, most)?;
        let more = events.len() == most;
        let lagged = more && self.drained_at.is_some();
        // Where all of it was read, what the filter kept back is not looked at again.
        self.cursor = match events.last() {
            Some(last) if more => last.seq,
            Some(_) | None => self.cursor.max(end),
        };
        self.drained_at = (!more).then_some(version);
        Ok(Batch { more, lagged, behind: (end - self.cursor).max(0), events })
    }

    /// Hands everything over that there is now; the first break ends it, and what comes after that event stays unread.
    ///
    /// # Errors
    /// The first of `take`, and what the database says.
    pub fn drain<T, E: From<StoreError>>(
        &mut self,
        mut take: impl FnMut(News<'_>) -> Result<ControlFlow<T>, E>,
    ) -> Result<Option<T>, E> {
        loop {
            let batch = self.next(PAGE)?;
            if batch.lagged
                && let ControlFlow::Break(end) =
                    take(News::Lag(batch.behind + i64::try_from(batch.events.len()).unwrap_or_default()))?
            {
                return Ok(Some(end));
            }
            for event in &batch.events {
                if let ControlFlow::Break(end) = take(News::Event(event))? {
                    (self.cursor, self.drained_at) = (event.seq, None);
                    return Ok(Some(end));
                }
            }
            if !batch.more {
                return Ok(None);
            }
        }
    }

    /// Hands everything over that there is and comes, until `over` or `take` says how it ends. `over` is asked before
    /// each look and at the latest after `pause`: what an end rests on is handed over before it.
    ///
    /// # Errors
    /// The first of `over` and `take`, and what the database says.
    pub fn follow<T, E: From<StoreError>>(
        &mut self,
        wake: &Wake,
        pause: Duration,
        mut over: impl FnMut() -> Result<Option<T>, E>,
        mut take: impl FnMut(News<'_>) -> Result<ControlFlow<T>, E>,
    ) -> Result<T, E> {
        loop {
            let ends = over()?;
            if let Some(end) = self.drain(&mut take)?.or(ends) {
                return Ok(end);
            }
            wake.wait(pause);
        }
    }
}

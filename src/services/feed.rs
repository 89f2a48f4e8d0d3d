//! The journal as a subscriber reads it: every event once and in order, from wherever it left off.
//!
//! Nothing is buffered for anybody. Whoever is slow is told how far it is behind and reads on from its own cursor; what
//! it has not read yet is in the journal.

use crate::domain::event::Event;
use crate::store::read::EventFilter;
use crate::store::{Reader, StoreError};

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
        // Where all of it was read, what the filter kept back is not looked at again.
        self.cursor = match events.last() {
            Some(last) if more => last.seq,
            Some(_) | None => self.cursor.max(end),
        };
        self.drained_at = (!more).then_some(version);
        Ok(Batch { more, behind: (end - self.cursor).max(0), events })
    }
}

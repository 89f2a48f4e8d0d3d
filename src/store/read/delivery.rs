//! Reading texts on their way into agents' sessions.

use rusqlite::ToSql;

use super::Reader;
use crate::domain::delivery::Delivery;
use crate::store::error::StoreError;
use crate::store::load::docs;

impl Reader {
    /// One delivery.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn delivery(&self, delivery_id: &str) -> Result<Option<Delivery>, StoreError> {
        Ok(self.deliveries("delivery_id = :id", &[(":id", &delivery_id)])?.pop())
    }

    /// All of which something may still come, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn open_deliveries(&self) -> Result<Vec<Delivery>, StoreError> {
        let mut open = self.deliveries("open", &[])?;
        open.sort_by_key(|delivery| delivery.queued_seq);
        Ok(open)
    }

    /// Those of the posts of a thread.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn deliveries_of_thread(&self, thread_id: &str) -> Result<Vec<Delivery>, StoreError> {
        self.deliveries("thread_id = :thread", &[(":thread", &thread_id)])
    }

    /// The last about which something happened, newest first, without their words.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn newest_deliveries(&self, count: usize) -> Result<Vec<Delivery>, StoreError> {
        let sql = "SELECT json_remove(doc, '$.text') FROM delivery ORDER BY last_seq DESC LIMIT :count";
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        docs(&self.conn, "delivery", sql, &[(":count", &count)])
    }

    fn deliveries(&self, which: &str, params: &[(&str, &dyn ToSql)]) -> Result<Vec<Delivery>, StoreError> {
        docs(&self.conn, "delivery", &format!("SELECT doc FROM delivery WHERE {which}"), params)
    }
}

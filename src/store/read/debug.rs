//! What only those want to see who look for a fault.

use std::collections::BTreeMap;

use rusqlite::named_params;
use serde_json::{Value, json};

use super::Reader;
use crate::domain::time::Moment;
use crate::store::error::StoreError;

impl Reader {
    /// How many messages the outbox holds in each state.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn outbox_by_status(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        let read = || -> rusqlite::Result<BTreeMap<String, u32>> {
            let mut select = self.conn.prepare_cached("SELECT status, count(*) FROM outbox GROUP BY 1")?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map_err(|error| self.named(error))
    }

    /// The newest messages of the outbox, newest first, without what they carry.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub fn outbox_messages(&self, most: usize) -> Result<Vec<Value>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Value>> {
            let mut select = self.conn.prepare_cached(
                "SELECT id, seq, topic, key, status, attempts, created_at, last_error FROM outbox ORDER BY id DESC LIMIT :most",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = select.query_map(named_params! { ":most": most }, |row| {
                Ok(json!({
                    "id": row.get::<_, i64>(0)?,
                    "seq": row.get::<_, i64>(1)?,
                    "topic": row.get::<_, String>(2)?,
                    "key": row.get::<_, String>(3)?,
                    "status": row.get::<_, String>(4)?,
                    "attempts": row.get::<_, i64>(5)?,
                    "created_at": Moment::from_millis(row.get(6)?),
                    "last_error": row.get::<_, Option<String>>(7)?,
                }))
            })?;
            rows.collect()
        };
        read().map_err(|error| self.named(error))
    }
}

//! Floor 2: the one SQLite file. The only place with SQL.

pub mod error;
pub mod ids;
mod journal;
mod kept;
pub mod ledger;
mod load;
pub mod outbox;
mod project;
pub mod read;
pub mod rebuild;
pub mod schema;
pub mod search;

pub use error::StoreError;
pub use ledger::{Ledger, Order, Receipt};
pub use read::Reader;

//! metawsm.
pub mod domain;
pub mod store;
pub mod services { pub mod process { pub mod exec; } }

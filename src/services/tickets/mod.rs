//! Ticket docs: plain directories of Markdown, `<root>/YYYY/MM/DD/<TICKET>--<slug>/`, as docmgr lays them out.
//!
//! Nothing here follows a symbolic link out of a checkout, and every file appears whole or not at all.

pub mod create;
pub mod edit;
pub mod error;
pub mod find;
pub mod frontmatter;
pub mod seed;

mod write;

use std::path::PathBuf;

pub use create::{Created, create, slug};
pub use edit::{
    FEEDBACK_REFERENCE, FEEDBACK_TITLE, append_entry, append_feedback, append_reference_feedback, set_status,
    without_last_entry, write_reference,
};
pub use error::TicketError;
pub use find::{docs_root, find};
pub use seed::{Seeded, seed};
pub use write::is_temporary;

/// The directory of a ticket in one checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketDir {
    /// Absolute, or as the checkout was given.
    pub dir: PathBuf,
    /// Relative to the docs root: `YYYY/MM/DD/<TICKET>--<slug>`.
    pub below_root: PathBuf,
    /// Relative to the top of the checkout.
    pub relative: PathBuf,
}

/// Whether a ticket name is one, and stays one part of a path.
///
/// # Errors
/// [`TicketError::BadName`].
pub fn check_ticket(ticket: &str) -> Result<(), TicketError> {
    let first = ticket.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = ticket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let shape = ticket.len() <= 64 && !ticket.contains("..") && !ticket.ends_with('.') && !ticket.ends_with(".lock");
    if first && rest && shape {
        return Ok(());
    }
    Err(TicketError::BadName { what: "ticket name", name: ticket.to_owned(), example: "METAWSM-12" })
}

#[cfg(test)]
mod tests {
    use super::check_ticket;

    #[test]
    fn ticket_names_stay_one_part_of_a_path() {
        for good in ["METAWSM-011", "a", "a.b_c-1"] {
            assert!(check_ticket(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "-a", "a..b", "a.", "x.lock", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(check_ticket(bad).is_err(), "{bad:?}");
        }
    }
}

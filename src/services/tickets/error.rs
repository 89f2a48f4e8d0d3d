//! What can go wrong with ticket docs.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An operation on ticket docs that did not happen. Paths are printed quoted.
#[derive(Debug, Error)]
pub enum TicketError {
    /// A file system operation failed.
    #[error("could not {tried} {path:?}: {source}")]
    Io {
        /// The operation, as a verb.
        tried: &'static str,
        /// The path it was about.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A name that would not be one plain part of a path, or of a mark.
    #[error("{name:?} is not a valid {what}; {example} would be")]
    BadName {
        /// What kind of name.
        what: &'static str,
        /// The name.
        name: String,
        /// A valid one.
        example: &'static str,
    },
    /// A date that no calendar has.
    #[error("{year}-{month}-{day} is not a date")]
    BadDate {
        /// Year.
        year: i16,
        /// Month, 1–12.
        month: u8,
        /// Day, 1–31.
        day: u8,
    },
    /// The docs root, or something on the way to a file, leads out of the checkout.
    #[error("{path:?} leads out of {root:?}; correct `root:` in .ttmp.yaml or remove the link")]
    Outside {
        /// The path.
        path: PathBuf,
        /// What it should stay in.
        root: PathBuf,
    },
    /// The ticket has no directory in this checkout.
    #[error("no directory of ticket {ticket} under {root:?}; create it first")]
    NoTicket {
        /// The ticket.
        ticket: String,
        /// The docs root that was searched.
        root: PathBuf,
    },
    /// A symbolic link in a ticket leads out of it.
    #[error("{path:?} links to {target:?}, out of the ticket's directory; replace the link by a copy")]
    LinkOut {
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// Something that is neither file, directory nor link, or a link where a file is wanted.
    #[error("{path:?} is {what}; ticket docs are regular files and directories, remove it")]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// More than a ticket can sensibly hold.
    #[error("{path:?} holds more than {limit} entries; move what is no documentation out of it")]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A document without the frontmatter that was to be changed.
    #[error("{path:?} has no frontmatter between `---` lines; add one with a `Status:` line")]
    NoFrontmatter {
        /// The document.
        path: PathBuf,
    },
}

/// Makes an `io::Error` into a [`TicketError::Io`] that says what was tried.
pub(super) fn io(tried: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> TicketError {
    let path = path.into();
    move |source| TicketError::Io { tried, path, source }
}

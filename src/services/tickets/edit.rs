//! Changes to a ticket's documents, each of which can be made again without harm.

use std::path::Path;

use super::TicketError;
use super::error::io;
use super::frontmatter::{body, one_line, with_status};
use super::write::{DOCUMENT_MODE, lock_dir, make_dirs, mode_of, read_document, write_whole};

/// The first line of a changelog.
const CHANGELOG_TITLE: &str = "# Changelog\n";
/// The first line of a file of feedback.
pub const FEEDBACK_TITLE: &str = "# Operator feedback\n";
/// The file of feedback among a ticket's documents (original §4.6).
pub const FEEDBACK_REFERENCE: &str = "99-operator-feedback.md";

/// Appends an entry to `changelog.md` of the ticket's directory `dir`, once per `marker` (an event id, say). True:
/// appended; false: it was there. The marker stays in the file as an HTML comment at either end of the entry, so that
/// [`without_last_entry`] can tell it from what others wrote.
///
/// # Errors
/// [`TicketError::BadName`] for a marker other than `[A-Za-z0-9._:-]{1,128}`, [`TicketError::WrongKind`],
/// [`TicketError::Io`].
pub fn append_entry(dir: &Path, heading: &str, text: &str, marker: &str) -> Result<bool, TicketError> {
    append(dir, "changelog.md", CHANGELOG_TITLE, (heading, text, marker))
}

/// The same for `reference/99-operator-feedback.md` of the ticket's directory `dir`.
///
/// # Errors
/// As [`append_entry`], and [`TicketError::Outside`] when `reference` is a link.
pub fn append_reference_feedback(dir: &Path, heading: &str, text: &str, marker: &str) -> Result<bool, TicketError> {
    let reference = make_dirs(dir, Path::new("reference"))?;
    append(&reference, FEEDBACK_REFERENCE, FEEDBACK_TITLE, (heading, text, marker))
}

/// The same for a file of feedback in a directory of metawsm's own.
///
/// # Errors
/// As [`append_entry`].
pub fn append_feedback(dir: &Path, file: &str, heading: &str, text: &str, marker: &str) -> Result<bool, TicketError> {
    append(dir, file, FEEDBACK_TITLE, (heading, text, marker))
}

fn append(
    dir: &Path,
    file: &str,
    title: &str,
    (heading, text, marker): (&str, &str, &str),
) -> Result<bool, TicketError> {
    let plain = marker.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    if marker.is_empty() || marker.len() > 128 || !plain || marker.contains("--") {
        return Err(TicketError::BadName { what: "marker", name: marker.to_owned(), example: "evt-12" });
    }
    let path = dir.join(file);
    let _lock = lock_dir(dir)?;
    let mut document = read_document(&path)?.unwrap_or_else(|| title.to_owned());
    let mark = mark(marker);
    if document.lines().any(|line| line.trim_end() == mark) {
        return Ok(false);
    }
    if !document.is_empty() && !document.ends_with('\n') {
        document.push('\n');
    }
    let text = body(text);
    let end = end_mark(marker);
    document.push_str(&format!("\n## {}\n{mark}\n\n{}\n{end}\n", one_line(heading), text.trim_matches('\n')));
    write_whole(&path, document.as_bytes(), mode_of(&path))?;
    Ok(true)
}

fn mark(marker: &str) -> String {
    format!("<!-- metawsm:{marker} -->")
}

fn end_mark(marker: &str) -> String {
    format!("<!-- /metawsm:{marker} -->")
}

/// The document as it was before its last entry by [`append_entry`]; `None` where it does not end with one.
pub fn without_last_entry(document: &str) -> Option<&str> {
    let (_, last) = document.strip_suffix(" -->\n")?.rsplit_once('\n')?;
    let marker = last.strip_prefix("<!-- /metawsm:")?;
    let (before, _) = document.rsplit_once(&format!("\n{}\n", mark(marker)))?;
    // What is left is its heading, and the blank line before that.
    let (before, heading) = before.rsplit_once('\n')?;
    (heading.starts_with("## ") && before.ends_with('\n')).then_some(before)
}

/// Sets `Status:` in the frontmatter of `index`. True: changed; false: it was so.
///
/// # Errors
/// [`TicketError::NoFrontmatter`], [`TicketError::BadName`] for a status other than lower-case letters and `-`,
/// [`TicketError::WrongKind`], [`TicketError::Io`].
pub fn set_status(index: &Path, status: &str) -> Result<bool, TicketError> {
    if status.is_empty() || !status.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return Err(TicketError::BadName { what: "status", name: status.to_owned(), example: "complete" });
    }
    let _lock = index.parent().map(lock_dir).transpose()?;
    let missing = || io("read", index)(std::io::ErrorKind::NotFound.into());
    let before = read_document(index)?.ok_or_else(missing)?;
    let after = with_status(&before, status).ok_or_else(|| TicketError::NoFrontmatter { path: index.to_path_buf() })?;
    if after == before {
        return Ok(false);
    }
    write_whole(index, after.as_bytes(), mode_of(index))?;
    Ok(true)
}

/// Writes `reference/<file_name>` of the ticket's directory `dir`, whole. True: changed; false: it was so.
///
/// # Errors
/// [`TicketError::BadName`] when `file_name` is not one plain part of a path, [`TicketError::Outside`] when
/// `reference` is a link, [`TicketError::WrongKind`], [`TicketError::Io`].
pub fn write_reference(dir: &Path, file_name: &str, text: &str) -> Result<bool, TicketError> {
    let plain = !file_name.contains('/') && !file_name.starts_with('.') && !file_name.chars().any(char::is_control);
    if file_name.is_empty() || file_name.len() > 200 || !plain {
        let name = file_name.to_owned();
        return Err(TicketError::BadName { what: "file name", name, example: "99-operator-feedback.md" });
    }
    let reference = make_dirs(dir, Path::new("reference"))?;
    let path = reference.join(file_name);
    let _lock = lock_dir(&reference)?;
    if read_document(&path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    let mode = if path.exists() { mode_of(&path) } else { DOCUMENT_MODE };
    write_whole(&path, text.as_bytes(), mode)?;
    Ok(true)
}

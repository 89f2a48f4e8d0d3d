//! A new ticket's directory.

use std::path::{Path, PathBuf};

use super::error::io;
use super::frontmatter::{one_line, scalar};
use super::write::{DOCUMENT_MODE, lock_dir, make_dirs, read_document, write_whole};
use super::{TicketError, check_ticket};

/// Longest slug, in characters.
const SLUG_LIMIT: usize = 60;

/// A ticket's directory that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Relative to the docs root.
    pub below_root: PathBuf,
    /// Files written by this call, relative to the docs root. What was there stays as it was.
    pub files: Vec<PathBuf>,
}

/// Makes `<root>/YYYY/MM/DD/<TICKET>--<slug>/` with `index.md`, `tasks.md`, `changelog.md` and `reference/`, as
/// docmgr does. `root` is made if need be. Done again, it writes what is missing.
///
/// # Errors
/// [`TicketError::BadName`], [`TicketError::BadDate`], [`TicketError::Outside`] (a link on the way),
/// [`TicketError::Io`].
pub fn create(root: &Path, ticket: &str, title: &str, date: (i16, u8, u8)) -> Result<Created, TicketError> {
    check_ticket(ticket)?;
    let (year, month, day) = date;
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(TicketError::BadDate { year, month, day });
    }
    let below_root = PathBuf::from(format!("{year:04}/{month:02}/{day:02}/{ticket}--{}", slug(title)));
    std::fs::create_dir_all(root).map_err(io("create", root))?;
    let dir = make_dirs(root, &below_root)?;
    make_dirs(&dir, Path::new("reference"))?;
    let _lock = lock_dir(&dir)?;
    let today = format!("{year:04}-{month:02}-{day:02}");
    let heading = one_line(title);
    let documents = [
        ("index.md", index(ticket, title, &heading, &today)),
        ("tasks.md", "# Tasks\n\n## TODO\n\n- [ ] Add tasks here\n".to_owned()),
        ("changelog.md", format!("# Changelog\n\n## {today}\n\n- Initial workspace created\n")),
    ];
    let mut files = Vec::new();
    for (name, text) in documents {
        let path = dir.join(name);
        if read_document(&path)?.is_none() {
            write_whole(&path, text.as_bytes(), DOCUMENT_MODE)?;
            files.push(below_root.join(name));
        }
    }
    Ok(Created { below_root, files })
}

fn index(ticket: &str, title: &str, heading: &str, today: &str) -> String {
    format!(
        "---\nTitle: {}\nTicket: {}\nStatus: active\nTopics: []\nDocType: index\nIntent: long-term\nOwners: []\n\
         RelatedFiles: []\nExternalSources: []\nSummary: \"\"\nLastUpdated: {today}T00:00:00Z\nWhatFor: \"\"\n\
         WhenToUse: \"\"\n---\n\n# {heading}\n\n## Overview\n\n## Key Links\n\n\
         - [tasks.md](./tasks.md)\n- [changelog.md](./changelog.md)\n- [reference/](./reference/)\n\n\
         ## Status\n\nCurrent status: **active**\n",
        scalar(title),
        scalar(ticket),
    )
}

/// A title as part of a file name: lower-case ASCII letters and digits, `-` for everything else, at most 60.
pub fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().map(|c| c.to_ascii_lowercase()) {
        if slug.len() >= SLUG_LIMIT {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "untitled".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug("Bootstrap: metawsm & Co."), "bootstrap-metawsm-co");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!((slug("日本").as_str(), slug("").as_str()), ("untitled", "untitled"));
        assert_eq!(slug(&"a".repeat(100)).len(), 60);
    }

    proptest! {
        #[test]
        fn a_slug_is_always_a_plain_name(title in any::<String>()) {
            let slug = slug(&title);
            prop_assert!(!slug.is_empty() && slug.len() <= 60);
            prop_assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
    }
}

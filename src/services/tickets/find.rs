//! Where the docs of a checkout are, and in them the directory of a ticket.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::error::io;
use super::write::read_document;
use super::{TicketDir, TicketError, check_ticket};

/// Directories below the docs root that are looked into: year, month, day, ticket, and some leeway.
const DEEPEST: usize = 6;

/// Directories that are looked into at all; beyond it the tree is not one of ticket docs.
const MOST: usize = 50_000;

/// The docs root of a checkout, relative to it: `root:` of its `.ttmp.yaml`, else `ttmp`. It need not exist yet.
///
/// # Errors
/// [`TicketError::Outside`] when it leads out of the checkout, also by a link; [`TicketError::Io`].
pub fn docs_root(checkout: &Path) -> Result<PathBuf, TicketError> {
    let config = read_document(&checkout.join(".ttmp.yaml"))?;
    let root = PathBuf::from(config.as_deref().and_then(configured_root).unwrap_or_else(|| "ttmp".to_owned()));
    let outside = || TicketError::Outside { path: root.clone(), root: checkout.to_path_buf() };
    let parts = root.components().filter(|part| *part != Component::CurDir);
    let plain: PathBuf = parts.clone().collect();
    if plain.as_os_str().is_empty() || !parts.clone().all(|part| matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    let whole = checkout.join(&plain);
    if whole.exists() {
        let real = whole.canonicalize().map_err(io("look at", &whole))?;
        let real_checkout = checkout.canonicalize().map_err(io("look at", checkout))?;
        if !real.starts_with(&real_checkout) {
            return Err(outside());
        }
    }
    Ok(plain)
}

/// The value of the top-level key `root` of a `.ttmp.yaml`; the file holds nothing else that is needed here.
fn configured_root(yaml: &str) -> Option<String> {
    let value = yaml.lines().find_map(|line| line.strip_prefix("root:"))?.trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    (!value.is_empty() && !value.starts_with('#')).then(|| value.to_owned())
}

/// The directory of a ticket (any case) in a checkout: `…/<TICKET>--<slug>`, by date the newest.
///
/// # Errors
/// [`TicketError::BadName`], [`TicketError::Outside`], [`TicketError::Io`] when the root cannot be read.
pub fn find(checkout: &Path, ticket: &str) -> Result<Option<TicketDir>, TicketError> {
    check_ticket(ticket)?;
    let root = docs_root(checkout)?;
    let below = newest_below(&checkout.join(&root), ticket)?;
    Ok(below.map(|below| {
        let relative = root.join(&below);
        TicketDir { dir: checkout.join(&relative), below_root: below, relative }
    }))
}

fn newest_below(root: &Path, ticket: &str) -> Result<Option<PathBuf>, TicketError> {
    if !root.is_dir() {
        return Ok(None);
    }
    fs::read_dir(root).map_err(io("read", root))?;
    let prefix = format!("{}--", ticket.to_ascii_lowercase());
    let mut newest: Option<PathBuf> = None;
    let mut open = vec![(PathBuf::new(), 0)];
    let mut looked = 0;
    while let Some((below, depth)) = open.pop() {
        looked += 1;
        if looked > MOST {
            return Err(TicketError::TooMany { path: root.to_path_buf(), limit: MOST });
        }
        // A directory that cannot be read hides at most itself.
        for entry in fs::read_dir(root.join(&below)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let text = name.to_string_lossy().to_ascii_lowercase();
            // `file_type` does not follow links.
            if text.starts_with('.') || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = below.join(&name);
            if text.starts_with(&prefix) {
                newest = Some(newer(newest, path));
            } else if depth + 1 < DEEPEST {
                open.push((path, depth + 1));
            }
        }
    }
    Ok(newest)
}

fn newer(found: Option<PathBuf>, other: PathBuf) -> PathBuf {
    match found {
        Some(path) if (date_of(&path), &path) >= (date_of(&other), &other) => path,
        _ => other,
    }
}

/// The date a path begins with, as numbers; other layouts count as oldest.
fn date_of(below: &Path) -> Option<(u32, u32, u32)> {
    let mut parts = below.components().map(|part| part.as_os_str().to_str().and_then(|text| text.parse().ok()));
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_ttmp_yaml() {
        assert_eq!(configured_root("vocabulary: x\nroot: docs/tt # here\n").as_deref(), Some("docs/tt"));
        assert_eq!(configured_root("root: \"my docs\"\n").as_deref(), Some("my docs"));
        assert_eq!(configured_root("  root: nested\nroot:\n"), None);
        assert_eq!(configured_root("root: '"), None);
    }

    #[test]
    fn dates_sort_as_numbers() {
        assert!(date_of(Path::new("2026/10/1/x")) > date_of(Path::new("2026/9/30/x")));
        assert_eq!(date_of(Path::new("archive/x")), None);
    }
}

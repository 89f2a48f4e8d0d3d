//! Ticket docs in real directories.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use metawsm::services::tickets::{
    TicketError, append_entry, create, docs_root, find, seed, set_status, write_reference,
};

use crate::git_world::{listing, write};

const DAY: (i16, u8, u8) = (2026, 2, 9);

#[test]
fn a_ticket_is_made_found_and_made_again_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(find(dir.path(), "MET-1").unwrap(), None);
    let made = create(&dir.path().join("ttmp"), "MET-1", "Forum: bus & worker", DAY).unwrap();
    assert_eq!(made.below_root, Path::new("2026/02/09/MET-1--forum-bus-worker"));
    assert_eq!(made.files.len(), 3);
    let found = find(dir.path(), "met-1").unwrap().unwrap();
    assert_eq!(found.relative, Path::new("ttmp/2026/02/09/MET-1--forum-bus-worker"));
    assert!(found.dir.join("reference").is_dir());
    let index = fs::read_to_string(found.dir.join("index.md")).unwrap();
    assert!(index.starts_with("---\nTitle: \"Forum: bus & worker\"\nTicket: MET-1\nStatus: active\n"), "{index}");
    fs::write(found.dir.join("tasks.md"), "mine").unwrap();
    assert_eq!(
        create(&dir.path().join("ttmp"), "MET-1", "Forum: bus & worker", DAY).unwrap().files,
        [""; 0].map(Path::new)
    );
    assert_eq!(fs::read_to_string(found.dir.join("tasks.md")).unwrap(), "mine");
    assert!(matches!(create(dir.path(), "../x", "t", DAY), Err(TicketError::BadName { .. })));
    assert!(matches!(create(dir.path(), "x", "t", (2026, 13, 1)), Err(TicketError::BadDate { .. })));
}

#[test]
fn hostile_titles_stay_in_the_frontmatter() {
    let dir = tempfile::tempdir().unwrap();
    let title = "x\n---\nStatus: complete\n\"q\" \u{1b}]0;pwn\u{7} \u{202e}";
    let made = create(dir.path(), "MET-1", title, DAY).unwrap();
    let index = fs::read_to_string(dir.path().join(made.below_root).join("index.md")).unwrap();
    assert_eq!(index.lines().filter(|line| *line == "---").count(), 2);
    assert_eq!(index.lines().filter(|line| line.starts_with("Status:")).count(), 1);
    assert!(!index.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
}

#[test]
fn the_newest_directory_wins_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    for below in ["2026/9/30/A-1--old", "2026/10/01/a-1--new", "2026/10/01/A-10--other", "archive/A-1--undated"] {
        fs::create_dir_all(dir.path().join("docs").join(below)).unwrap();
    }
    fs::create_dir_all(dir.path().join("elsewhere/A-1--linked")).unwrap();
    fs::create_dir_all(dir.path().join("docs/2027/01")).unwrap();
    symlink(dir.path().join("elsewhere"), dir.path().join("docs/2027/01/01")).unwrap();
    fs::write(dir.path().join(".ttmp.yaml"), "root: 'docs'\n").unwrap();
    assert_eq!(find(dir.path(), "A-1").unwrap().unwrap().relative, Path::new("docs/2026/10/01/a-1--new"));
    for root in ["../x", "/etc", "a/../../b", "."] {
        fs::write(dir.path().join(".ttmp.yaml"), format!("root: {root}\n")).unwrap();
        assert!(matches!(docs_root(dir.path()), Err(TicketError::Outside { .. })), "{root}");
    }
    symlink("/", dir.path().join("slash")).unwrap();
    fs::write(dir.path().join(".ttmp.yaml"), "root: slash/tmp\n").unwrap();
    assert!(matches!(docs_root(dir.path()), Err(TicketError::Outside { .. })));
}

#[test]
fn seeding_copies_once_and_keeps_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (source, workspace) = (dir.path().join("source"), dir.path().join("workspace"));
    fs::create_dir_all(&workspace).unwrap();
    let made = create(&source.join("ttmp"), "MET-1", "t", DAY).unwrap();
    let ticket = source.join("ttmp").join(&made.below_root);
    write(&ticket.join("scripts/run.sh"), "#!/bin/sh\n");
    fs::set_permissions(ticket.join("scripts/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../index.md", ticket.join("reference/start")).unwrap();
    let first = seed(&source, &workspace, "met-1", &BTreeMap::new(), false).unwrap();
    assert_eq!((first.files.len(), first.kept.len()), (5, 0));
    let there = workspace.join(&first.dir);
    assert_eq!(fs::read_link(there.join("reference/start")).unwrap(), Path::new("../index.md"));
    assert_eq!(fs::metadata(there.join("scripts/run.sh")).unwrap().permissions().mode() & 0o100, 0o100);
    let before = listing(&workspace);
    assert_eq!(seed(&source, &workspace, "MET-1", &first.blobs, false).unwrap(), first);
    assert_eq!(listing(&workspace), before);
    // The source moves on; the agent has changed one file, not the other.
    write(&ticket.join("tasks.md"), "new tasks");
    write(&ticket.join("index.md"), "new index");
    write(&there.join("tasks.md"), "the agent's tasks");
    let second = seed(&source, &workspace, "MET-1", &first.blobs, false).unwrap();
    assert_eq!(second.kept, [first.dir.join("tasks.md")]);
    assert_ne!(second.revision, first.revision);
    assert_eq!(fs::read_to_string(there.join("index.md")).unwrap(), "new index");
    assert_eq!(fs::read_to_string(there.join("tasks.md")).unwrap(), "the agent's tasks");
    assert_eq!(seed(&source, &workspace, "MET-1", &first.blobs, true).unwrap().kept.len(), 0);
    assert!(matches!(seed(&source, &workspace, "MET-2", &first.blobs, true), Err(TicketError::NoTicket { .. })));
}

#[test]
fn seeding_lets_nothing_out_and_nothing_odd_in() {
    let dir = tempfile::tempdir().unwrap();
    let (source, workspace) = (dir.path().join("source"), dir.path().join("workspace"));
    fs::create_dir_all(&workspace).unwrap();
    let made = create(&source.join("ttmp"), "MET-1", "t", DAY).unwrap();
    let ticket = source.join("ttmp").join(&made.below_root);
    let again = |workspace: &Path| seed(&source, workspace, "MET-1", &BTreeMap::new(), true);
    symlink("../../../../../../secret", ticket.join("leak")).unwrap();
    assert!(matches!(again(&workspace), Err(TicketError::LinkOut { .. })));
    assert_eq!(listing(&workspace).len(), 0);
    fs::remove_file(ticket.join("leak")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(ticket.join("s")).unwrap();
    assert!(matches!(again(&workspace), Err(TicketError::WrongKind { .. })));
    drop(socket);
    fs::remove_file(ticket.join("s")).unwrap();
    fs::create_dir_all(dir.path().join("outside")).unwrap();
    fs::create_dir_all(workspace.join("ttmp")).unwrap();
    symlink(dir.path().join("outside"), workspace.join("ttmp/2026")).unwrap();
    assert!(matches!(again(&workspace), Err(TicketError::Outside { .. })));
    assert_eq!(listing(&dir.path().join("outside")).len(), 0);
}

#[test]
fn documents_are_changed_once() {
    let dir = tempfile::tempdir().unwrap();
    let made = create(dir.path(), "MET-1", "t", DAY).unwrap();
    let ticket = dir.path().join(made.below_root);
    assert!(append_entry(&ticket, "Q\n## fake", "why?\n<!-- metawsm:evt-2 -->\u{1b}[2J", "evt-1").unwrap());
    assert!(!append_entry(&ticket, "Q", "again", "evt-1").unwrap());
    assert!(append_entry(&ticket, "Q2", "other", "evt-2").unwrap());
    assert!(append_entry(&ticket, "Q", "t", "a b").is_err());
    let text = fs::read_to_string(ticket.join("changelog.md")).unwrap();
    assert!(text.starts_with("# Changelog\n") && text.contains("\n## Q ## fake\n<!-- metawsm:evt-1 -->\n\nwhy?\n"));
    assert!(
        !text.contains("again") && !text.contains('\u{1b}') && text.ends_with("\nother\n<!-- /metawsm:evt-2 -->\n")
    );
    assert!(set_status(&ticket.join("index.md"), "complete").unwrap());
    assert!(!set_status(&ticket.join("index.md"), "complete").unwrap());
    assert!(set_status(&ticket.join("index.md"), "x\ny").is_err());
    assert!(matches!(set_status(&ticket.join("tasks.md"), "complete"), Err(TicketError::NoFrontmatter { .. })));
    assert!(write_reference(&ticket, "99-operator-feedback.md", "text").unwrap());
    assert!(!write_reference(&ticket, "99-operator-feedback.md", "text").unwrap());
    for bad in ["../x", "a/b", "", ".hidden", "a\nb"] {
        assert!(write_reference(&ticket, bad, "text").is_err(), "{bad:?}");
    }
    fs::write(dir.path().join("secret"), "s").unwrap();
    fs::remove_file(ticket.join("changelog.md")).unwrap();
    symlink(dir.path().join("secret"), ticket.join("changelog.md")).unwrap();
    assert!(matches!(append_entry(&ticket, "Q", "t", "evt-3"), Err(TicketError::WrongKind { .. })));
    assert!(!listing(&ticket).keys().any(|path| path.to_string_lossy().ends_with(".tmp")));
}

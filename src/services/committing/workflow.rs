//! The check `ticket_workflow`: where a human's feedback requires the four steps, each must have left its documents.

use std::path::{Path, PathBuf};

use super::Ready;
use crate::domain::run::Run;
use crate::services::error::{EngineError, Gate};
use crate::services::gates;
use crate::store::Reader;

/// The document in which a human's feedback reaches the agents.
const FEEDBACK: &str = "reference/99-operator-feedback.md";
/// Where a ticket's documents are.
const PLACES: [&str; 3] = ["reference", "design", "design-doc"];
/// Larger documents are not read whole.
const LONGEST: u64 = 1024 * 1024;

/// What a document must hold: a phrase, headings, and that somebody approved.
struct Wanted {
    what: &'static str,
    phrases: &'static [&'static str],
    headings: &'static [&'static str],
}

const WANTED: [Wanted; 3] = [
    Wanted {
        what: "an approved codebase relevance analysis",
        phrases: &["codebase relevance analysis", "approved"],
        headings: &["relevant areas", "feedback request", "feedback response"],
    },
    Wanted {
        what: "an approved implementation plan",
        phrases: &["implementation plan", "approved"],
        headings: &["plan", "feedback request", "feedback response"],
    },
    Wanted { what: "a diary of its steps", phrases: &["## step", "### prompt context"], headings: &["diary"] },
];

/// The gate; `None` where no ticket of these worktrees requires it.
pub(super) fn gate(reader: &Reader, run: &Run, ready: &[Ready]) -> Result<Option<Gate>, EngineError> {
    let mut lacking = Vec::new();
    let mut required = false;
    for seeding in reader.seedings(run.id())? {
        let Some(spec) = run.workspace(&seeding.workspace) else { continue };
        if !ready.iter().any(|ready| ready.workspace == seeding.workspace) {
            continue;
        }
        let dir = Path::new(&spec.path).join(&seeding.repo).join(&seeding.dir);
        if requires_steps(&text(&dir.join(FEEDBACK))) {
            required = true;
            lacking.extend(lacks(&dir).into_iter().map(|what| format!("{}: {what}", seeding.ticket)));
        }
    }
    if !required {
        return Ok(None);
    }
    let mend = "the agents go on by the steps that the ticket's operator feedback requires";
    Ok(Some(if lacking.is_empty() {
        gates::gate("ticket_workflow", true, "the required steps have left their documents", "")
    } else {
        gates::gate("ticket_workflow", false, format!("lacking: {}", lacking.join("; ")), mend)
    }))
}

fn requires_steps(feedback: &str) -> bool {
    feedback.contains("required workflow:") && (1..=4).all(|step| feedback.contains(&format!("step {step}")))
}

fn lacks(dir: &Path) -> Vec<&'static str> {
    let documents: Vec<String> =
        PLACES.iter().flat_map(|place| files_in(&dir.join(place))).map(|file| text(&file)).collect();
    let missing = WANTED.iter().filter(|wanted| !documents.iter().any(|document| holds(document, wanted)));
    let mut lacking: Vec<&'static str> = missing.map(|wanted| wanted.what).collect();
    let tasks = text(&dir.join("tasks.md"));
    if !tasks.contains("[x]") || tasks.contains("[ ]") {
        lacking.push("tasks.md with every task checked");
    }
    if !text(&dir.join("changelog.md")).contains("step ") {
        lacking.push("changelog.md telling of the steps");
    }
    lacking
}

fn holds(document: &str, wanted: &Wanted) -> bool {
    let headings: Vec<&str> =
        document.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim()).collect();
    wanted.phrases.iter().all(|phrase| document.contains(phrase))
        && wanted.headings.iter().all(|heading| headings.iter().any(|line| line.contains(heading)))
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let markdown = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "md"));
    markdown.filter(|path| !path.ends_with("99-operator-feedback.md")).collect()
}

/// A document in lower case; empty where it is none.
fn text(path: &Path) -> String {
    let plain = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST);
    if plain { std::fs::read_to_string(path).unwrap_or_default().to_lowercase() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_required_only_where_feedback_says_so_and_each_leaves_a_document() {
        assert!(!requires_steps("required workflow: step 1, step 2, step 3"));
        assert!(requires_steps("required workflow:\nstep 1 step 2 step 3 step 4"));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lacks(dir.path()).len(), 5);
        let write = |name: &str, words: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, words).unwrap();
        };
        let answers = "## Feedback Request\n## Feedback Response\nApproved.\n";
        write("reference/01.md", &format!("# Codebase relevance analysis\n## Relevant Areas\n{answers}"));
        write("design/02.md", &format!("# Implementation plan\n## Plan\n{answers}"));
        write("reference/03.md", "# Diary\n## Step 1\n### Prompt Context\n");
        write("tasks.md", "- [x] one\n- [ ] two\n");
        write("changelog.md", "Step 1 done\n");
        assert_eq!(lacks(dir.path()), ["tasks.md with every task checked"]);
        write("tasks.md", "- [X] one\n");
        assert_eq!(lacks(dir.path()), Vec::<&str>::new());
    }
}

//! A run begins anew with feedback on what was done (original §4.6, spec 2.8): the feedback is written where its agents
//! read it, and they are started again in their next epoch.
//!
//! Written first, ordered second: whoever is killed in between has lost nothing, and the same call again writes nothing
//! twice.

use std::path::{Path, PathBuf};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::git::{blob_of, blob_of_bytes};
use super::tickets::TicketError;
use super::{own_work, tickets};
use crate::domain::agent::Agent;
use crate::domain::command::{Command, Iterate, RunWish};
use crate::domain::decide::{begin_anew, there};
use crate::domain::event::{OwnFile, Worktree};
use crate::domain::feedback::Dispatch;
use crate::domain::run::Run;
use crate::domain::scene::{Seeding, Workspace};
use crate::domain::thread::LONGEST_BODY;
use crate::store::{Order, Reader};

/// The file of feedback in a workspace, beside the worktrees.
pub const FILE: &str = "operator-feedback.md";
/// Characters of the feedback that stand in reasons.
const SHORT: usize = 120;

/// Where feedback goes and who begins anew.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The workspaces, with the places of their tickets' docs.
    pub places: Vec<Place>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// The names of those who were stopped and stay so.
    pub stopped: Vec<String>,
}

/// Where feedback is written in one workspace.
#[derive(Debug, Clone)]
pub struct Place {
    /// The workspace.
    pub workspace: Workspace,
    /// Its ticket.
    pub ticket: String,
    /// The worktree with the ticket's docs, and their directory relative to it.
    pub docs: Option<(Worktree, PathBuf)>,
    /// Why it is not known where those are.
    pub trouble: Option<String>,
}

impl Place {
    fn file(&self) -> PathBuf {
        Path::new(&self.workspace.path).join(FILE)
    }

    /// The file among the ticket's docs, relative to the worktree.
    fn reference(dir: &Path) -> PathBuf {
        dir.join("reference").join(tickets::FEEDBACK_REFERENCE)
    }
}

impl Prepared {
    /// What would be done, in words.
    pub fn would(&self) -> Vec<String> {
        let mut would = Vec::new();
        for place in &self.places {
            would.push(format!("write the feedback into {}", place.file().display()));
            if let Some((tree, dir)) = &place.docs {
                let whole = Path::new(&tree.path).join(Place::reference(dir));
                would.push(format!("write the feedback into {}", whole.display()));
            }
        }
        would.extend(self.agents.iter().map(|agent| {
            let Agent { key, spec, launch, epoch, .. } = agent;
            let (launch, epoch) = (launch + 1, epoch + 1);
            format!("end session {} of agent {} and start launch {launch} in epoch {epoch}", spec.session, key.name)
        }));
        would.extend(self.stopped.iter().map(|name| format!("leave agent {name} stopped")));
        would
    }
}

/// The workspaces of one ticket of a run; none: all.
///
/// # Errors
/// When the run has no such ticket.
pub fn workspaces_of(run: &Run, ticket: Option<&str>) -> Result<Vec<String>, EngineError> {
    let Some(ticket) = ticket else { return Ok(Vec::new()) };
    let of = run.spec.workspaces.iter().filter(|workspace| workspace.ticket == ticket);
    let names: Vec<String> = of.map(|workspace| workspace.name.clone()).collect();
    if names.is_empty() {
        let tickets = run.spec.tickets.join(", ");
        let what = format!("run {} has no ticket {ticket}", run.id());
        return Err(EngineError::usage(what, format!("its tickets: {tickets}")));
    }
    Ok(names)
}

/// Whether these words can be put to agents.
///
/// # Errors
/// Says why not.
pub fn fits(feedback: &str) -> Result<(), EngineError> {
    if feedback.trim().is_empty() {
        return Err(EngineError::usage("the feedback is empty", "say what is to be different: --feedback TEXT"));
    }
    if feedback.contains('\0') {
        return Err(EngineError::usage("the feedback holds a NUL byte", "leave it out"));
    }
    if feedback.len() > LONGEST_BODY {
        return Err(EngineError::usage(
            format!("the feedback is longer than {LONGEST_BODY} bytes"),
            "put the long text into a file of the repository and name it",
        ));
    }
    Ok(())
}

/// Looks where the feedback is to go, and whether the run may begin anew. Nothing is changed.
///
/// # Errors
/// A refusal, or what the store says.
pub fn prepare(reader: &Reader, run: &Run, workspaces: &[String]) -> Result<Prepared, EngineError> {
    let known = reader.workspaces(run.id())?;
    there(run, |name| known.iter().all(|workspace| workspace.name != name || !workspace.removed))?;
    let all = reader.agents(run.id())?;
    let agents: Vec<Agent> = begin_anew(run, &all, workspaces)?.into_iter().cloned().collect();
    let place = |agent: &&Agent| agents.iter().any(|other| other.key.workspace == agent.key.workspace);
    let others = all.iter().filter(place).filter(|agent| agent.launch > 0 && !agents.contains(agent));
    let stopped: Vec<String> = others.map(|agent| agent.key.name.clone()).collect();
    let seedings = reader.seedings(run.id())?;
    let mut places = Vec::new();
    for workspace in known {
        if !agents.iter().any(|agent| agent.key.workspace == workspace.name) {
            continue;
        }
        let Some(spec) = run.workspace(&workspace.name) else { continue };
        // Nobody would be told who cannot be started.
        let trees = workspace.worktrees.iter().map(|tree| tree.path.as_str());
        if let Some(gone) = trees.chain([workspace.path.as_str()]).find(|path| !Path::new(path).is_dir()) {
            let what = format!("workspace {} is not whole: {gone} is no directory", workspace.name);
            return Err(EngineError::not_found(what, "metawsm doctor says what else is missing"));
        }
        let seeding = seedings.iter().find(|seeding| seeding.workspace == workspace.name);
        let (docs, trouble) = match docs_of(run, &workspace, &spec.ticket, seeding) {
            Ok(docs) => (docs, None),
            Err(error) => (None, Some(error.to_string())),
        };
        places.push(Place { ticket: spec.ticket.clone(), workspace, docs, trouble });
    }
    Ok(Prepared { places, agents, stopped })
}

/// Where the docs of a ticket are: where they were put, or where somebody else has.
fn docs_of(
    run: &Run,
    workspace: &Workspace,
    ticket: &str,
    seeding: Option<&Seeding>,
) -> Result<Option<(Worktree, PathBuf)>, TicketError> {
    let tree = |repo: &str| workspace.worktrees.iter().find(|tree| tree.repo == repo);
    if let Some((seeding, tree)) = seeding.and_then(|seeding| Some((seeding, tree(&seeding.repo)?))) {
        return Ok(Some((tree.clone(), PathBuf::from(&seeding.dir))));
    }
    let Some(tree) = tree(&run.spec.doc_home_repo) else { return Ok(None) };
    Ok(tickets::find(Path::new(&tree.path), ticket)?.map(|found| (tree.clone(), found.relative)))
}

/// The feedback.
#[derive(Debug, Clone)]
pub struct Words {
    /// In a line, for reasons and events.
    pub short: String,
    /// In full, by workspace: its agents begin anew.
    pub texts: Vec<(String, String)>,
}

impl Words {
    /// The same words for several workspaces; for all of the run's where none is named.
    pub fn same(run: &Run, workspaces: &[String], feedback: &str) -> Self {
        let all = run.spec.workspaces.iter().map(|workspace| workspace.name.clone());
        let meant = all.filter(|name| workspaces.is_empty() || workspaces.contains(name));
        Self { short: short(feedback), texts: meant.map(|name| (name, feedback.to_owned())).collect() }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Begun {
    /// The files that the feedback was written into.
    pub files: Vec<String>,
    /// What was tolerated.
    pub warnings: Vec<String>,
}

/// Writes the feedback and orders the next epoch; the agents are started by whoever executes the run next. The caller
/// holds the run's lease.
///
/// # Errors
/// A refusal, what the store says, or that the feedback cannot be written; then nobody is started again.
pub fn carry_out(
    engine: &Engine,
    caller: &Caller,
    run_id: &str,
    words: &Words,
    dispatches: Vec<Dispatch>,
) -> Result<Begun, EngineError> {
    let (reader, run) = (engine.reader()?, engine.run(run_id)?);
    let workspaces: Vec<String> = words.texts.iter().map(|(workspace, _)| workspace.clone()).collect();
    let prepared = prepare(&reader, &run, &workspaces)?;
    let heading = engine.now().to_string();
    let (mut begun, mut written) = (Begun::default(), false);
    for place in &prepared.places {
        let text = words.texts.iter().find(|(workspace, _)| *workspace == place.workspace.name);
        let Some((_, feedback)) = text else { continue };
        let mark = mark(&run, &prepared.agents, feedback);
        let dir = Path::new(&place.workspace.path);
        written |= tickets::append_feedback(dir, FILE, &heading, feedback, &mark)?;
        begun.files.push(place.file().display().to_string());
        let trouble = place.trouble.iter().map(|why| format!("not written into the docs of {}: {why}", place.ticket));
        begun.warnings.extend(trouble);
        let Some((tree, docs)) = &place.docs else { continue };
        match into_docs(engine, &reader, &run, place, (tree, docs), (&heading, feedback, &mark)) {
            Ok(file) => begun.files.push(file),
            // The agents have it all the same.
            Err(error) => begun.warnings.push(format!("not written into the docs of {}: {error}", place.ticket)),
        }
    }
    if !written && prepared.agents.iter().all(|agent| agent.fresh && agent.start_due()) {
        // Ordered with these words already, and not begun yet: whoever was killed in between says it again.
        return Ok(begun);
    }
    let wish = RunWish::Iterate(Iterate { workspaces, words: words.short.clone(), dispatches });
    engine.order_run(caller, run_id, wish)?;
    Ok(begun)
}

/// The same feedback on the same epochs is one and the same.
fn mark(run: &Run, agents: &[Agent], feedback: &str) -> String {
    // The epoch in which they were at work last.
    let epoch = |agent: &Agent| agent.epoch - u32::from(agent.fresh && agent.start_due());
    let epochs = agents.iter().map(|agent| format!("{}/{}:{}", agent.key.workspace, agent.key.name, epoch(agent)));
    let all = format!("{}\n{}\n{feedback}", run.id(), epochs.collect::<Vec<_>>().join("\n"));
    format!("iterate:{}", blob_of_bytes(all.as_bytes()).get(..16).unwrap_or_default())
}

/// The first words, for reasons and events.
fn short(feedback: &str) -> String {
    let line = feedback.trim().lines().next().unwrap_or_default().trim();
    let mut words: String = line.chars().filter(|c| !c.is_control()).take(SHORT).collect();
    if words.len() < feedback.trim().len() {
        words.push('…');
    }
    words
}

fn into_docs(
    engine: &Engine,
    reader: &Reader,
    run: &Run,
    place: &Place,
    (tree, dir): (&Worktree, &Path),
    (heading, feedback, mark): (&str, &str, &str),
) -> Result<String, EngineError> {
    let (top, path) = (Path::new(&tree.path), Place::reference(dir));
    let whole = top.join(dir);
    let inside = whole
        .canonicalize()
        .is_ok_and(|real| real.is_dir() && top.canonicalize().is_ok_and(|top| real.starts_with(top)));
    if !inside {
        let what = format!("{} is no directory of the worktree", whole.display());
        return Err(EngineError::not_found(what, "put the ticket's directory back where it was"));
    }
    tickets::append_reference_feedback(&whole, heading, feedback, mark)?;
    let key = format!("docs-{mark}-{}", place.workspace.name);
    if !reader.has_event(&key)? {
        let ours = own_work::holds_only_entries(&engine.git, reader, &place.workspace, tree, &path)?;
        let file = top.join(&path);
        let blob = || blob_of(&file).map_err(EngineError::io(format!("read {}", file.display())));
        let file = ours.then(blob).transpose()?.map(|blob| OwnFile { path: path.display().to_string(), blob });
        let wish = RunWish::DocsSynced {
            workspace: place.workspace.name.clone(),
            ticket: place.ticket.clone(),
            repo: tree.repo.clone(),
            dir: dir.display().to_string(),
            file,
            thread_id: String::new(),
            event_id: mark.to_owned(),
        };
        let caller = Caller::system("docs");
        let command = Command::Run { run_id: run.id().to_owned(), wish };
        engine.ledger.execute(&Order { key: Some(&key), ..Order::new(&command, &caller.actor) })?;
    }
    Ok(top.join(path).display().to_string())
}

//! What the steps before the agents do: look for the ticket, make the worktrees, seed the docs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use globset::{Glob, GlobSetBuilder};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::git::{Fetched, Git, blob_of};
use super::home::{make_dir, write_private};
use super::process::exec::{Exec, ExecError};
use super::tickets;
use crate::domain::command::RunWish;
use crate::domain::event::{OwnFile, Worktree};
use crate::domain::policy::Policy;
use crate::domain::run::{Brief, RepoSpec, Run, Strategy, WorkspaceSpec};

/// How long `origin` may take to answer before the local branches must do.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);

/// What a step works with.
pub struct StepContext<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Who executes.
    pub caller: &'a Caller,
    /// The run.
    pub run: &'a Run,
    /// Its policy.
    pub policy: &'a Policy,
    /// Raised when the step is to end.
    pub cancel: &'a Arc<AtomicBool>,
}

impl StepContext<'_> {
    fn git(&self) -> Git {
        self.engine.git.clone().cancelled_by(Arc::clone(self.cancel))
    }

    fn doc_home(&self) -> Result<&RepoSpec, EngineError> {
        let name = &self.run.spec.doc_home_repo;
        self.run.spec.repos.iter().find(|repo| repo.name == *name).ok_or_else(|| {
            EngineError::not_found(format!("run {} has no repository {name}", self.run.id()), "metawsm doctor --verify")
        })
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.policy.execution.step_timeout_seconds))
    }
}

/// Looks for the ticket's docs; one without any gets them in the workspace.
///
/// # Errors
/// When the docs directory cannot be read.
pub fn verify_ticket(context: &StepContext<'_>, workspace: &WorkspaceSpec) -> Result<(), EngineError> {
    let home = context.doc_home()?;
    context.engine.git.inspect(Path::new(&home.path))?;
    tickets::find(Path::new(&home.path), &workspace.ticket)?;
    Ok(())
}

/// Makes one worktree a repository, runs setup in the new ones, and journals the workspace.
///
/// # Errors
/// What git, the file system or a setup command says.
pub fn create(context: &StepContext<'_>, workspace: &WorkspaceSpec) -> Result<(), EngineError> {
    let run = context.run;
    let known = context.engine.reader()?.workspaces(run.id())?;
    let finished = known.iter().find(|known| known.name == workspace.name && !known.removed);
    let mut worktrees = Vec::new();
    let mut warnings = Vec::new();
    if run.spec.strategy == Strategy::Reuse {
        worktrees = reused(context, workspace)?;
    } else {
        make_dir(Path::new(&workspace.path))?;
        for repo in &run.spec.repos {
            let (worktree, warning) = one_worktree(context, workspace, repo, finished.is_some())?;
            warnings.extend(warning);
            worktrees.push(worktree);
        }
    }
    write_brief(workspace, run.brief.as_ref())?;
    if finished.is_none() && run.spec.strategy != Strategy::Reuse {
        for (repo, worktree) in run.spec.repos.iter().zip(&worktrees) {
            copy_files(context, Path::new(&repo.path), Path::new(&worktree.path))?;
            set_up(context, Path::new(&worktree.path))?;
        }
    }
    let wish = RunWish::WorkspaceCreated {
        name: workspace.name.clone(),
        path: workspace.path.clone(),
        worktrees,
        warnings: if finished.is_some() {
            finished.map(|known| known.warnings.clone()).unwrap_or_default()
        } else {
            warnings
        },
    };
    context.engine.order_run(context.caller, run.id(), wish)?;
    Ok(())
}

fn one_worktree(
    context: &StepContext<'_>,
    workspace: &WorkspaceSpec,
    repo: &RepoSpec,
    finished: bool,
) -> Result<(Worktree, Option<String>), EngineError> {
    let git = context.git();
    let source = Path::new(&repo.path);
    let path = Path::new(&workspace.path).join(&repo.name);
    let mut warning = None;
    let start = if finished {
        git.tip_of(source, &workspace.branch)?
    } else if let Some(from) = &context.run.spec.from {
        fork_point(context, &git, source, from, &repo.name)?
    } else {
        if let Fetched::Failed(why) = git.fetch_base(source, &repo.base, FETCH_PATIENCE)? {
            warning = Some(format!("{}: origin could not be asked: {why}", repo.name));
        }
        git.start_point(source, &repo.base)?.commit
    };
    let made = git.ensure_worktree(source, &path, &workspace.branch, &start, finished)?;
    let worktree = Worktree {
        repo: repo.name.clone(),
        path: made.path.display().to_string(),
        branch: workspace.branch.clone(),
        base: repo.base.clone(),
        start,
    };
    Ok((worktree, warning))
}

fn fork_point(
    context: &StepContext<'_>,
    git: &Git,
    source: &Path,
    from: &str,
    repo: &str,
) -> Result<String, EngineError> {
    let known = context.engine.reader()?.workspaces_named(from)?;
    let tree = known.iter().flat_map(|workspace| &workspace.worktrees).find(|tree| tree.repo == repo);
    let branch = tree.map(|tree| tree.branch.as_str()).ok_or_else(|| {
        EngineError::not_found(
            format!("workspace {from} has no repository {repo}"),
            "fork with the repositories it has",
        )
    })?;
    Ok(git.tip_of(source, branch)?)
}

fn reused(context: &StepContext<'_>, workspace: &WorkspaceSpec) -> Result<Vec<Worktree>, EngineError> {
    let known = context.engine.reader()?.workspaces_named(&workspace.name)?;
    let known = known.into_iter().find(|known| !known.removed).ok_or_else(|| {
        EngineError::not_found(
            format!("workspace {} was removed", workspace.name),
            "make a new one with --strategy create",
        )
    })?;
    for tree in &known.worktrees {
        context.engine.git.inspect(Path::new(&tree.path))?;
    }
    Ok(known.worktrees)
}

/// The brief lies beside the worktrees, where it makes none of them dirty.
fn write_brief(workspace: &WorkspaceSpec, brief: Option<&Brief>) -> Result<(), EngineError> {
    let Some(brief) = brief else { return Ok(()) };
    let path = Path::new(&workspace.path).join("brief.md");
    write_private(&path, brief_text(&workspace.ticket, brief).as_bytes())
}

fn brief_text(ticket: &str, brief: &Brief) -> String {
    let mut text = format!("# Brief for {ticket}\n");
    for (heading, words) in [
        ("Goal", &brief.goal),
        ("Scope", &brief.scope),
        ("Done criteria", &brief.done_criteria),
        ("Constraints", &brief.constraints),
        ("Merge intent", &brief.merge_intent),
    ] {
        text.push_str(&format!("\n## {heading}\n\n{}\n", words.trim()));
    }
    text
}

/// Copies the files that git does not carry but work needs, such as `.env`. Nothing that is there is overwritten.
fn copy_files(context: &StepContext<'_>, from: &Path, to: &Path) -> Result<(), EngineError> {
    if context.policy.workspace.copy.is_empty() {
        return Ok(());
    }
    let mut globs = GlobSetBuilder::new();
    for pattern in &context.policy.workspace.copy {
        let glob = Glob::new(pattern).map_err(|error| {
            EngineError::refused(format!("workspace.copy {pattern}: {error}"), "mend the pattern in the policy")
        })?;
        globs.add(glob);
    }
    let globs = globs
        .build()
        .map_err(|error| EngineError::refused(format!("workspace.copy: {error}"), "mend the patterns in the policy"))?;
    let mut directories = vec![PathBuf::new()];
    while let Some(relative) = directories.pop() {
        let entries = std::fs::read_dir(from.join(&relative))
            .map_err(EngineError::io(format!("read {}", from.join(&relative).display())))?;
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            // Links are not followed: they could lead out of the repository.
            if kind.is_dir() && entry.file_name() != ".git" && path.components().count() < 6 {
                directories.push(path);
            } else if kind.is_file() && globs.is_match(&path) && !to.join(&path).exists() {
                let target = to.join(&path);
                if let Some(parent) = target.parent() {
                    make_dir(parent)?;
                }
                std::fs::copy(from.join(&path), &target).map_err(EngineError::io(format!(
                    "copy {} to {}",
                    path.display(),
                    target.display()
                )))?;
            }
        }
    }
    Ok(())
}

fn set_up(context: &StepContext<'_>, worktree: &Path) -> Result<(), EngineError> {
    for argv in &context.policy.workspace.setup {
        let Some((program, args)) = argv.split_first() else { continue };
        let out = Exec::new(program)
            .args(args)
            .cwd(worktree)
            .without_env("GIT_")
            .timeout(context.limit())
            .cancel(context.cancel)
            .run()
            .map_err(|error| match error {
                ExecError::Cancelled { program } => EngineError::Interrupted(format!("{program} was ended")),
                error => {
                    EngineError::outside(error.to_string(), "mend workspace.setup in the policy, then: metawsm resume")
                }
            })?;
        if !out.ok() {
            return Err(EngineError::outside(
                format!("setup command {} failed in {}: {}", argv.join(" "), worktree.display(), out.complaint()),
                "mend it, then: metawsm resume",
            ));
        }
    }
    Ok(())
}

/// Copies the ticket's docs into the workspace, makes them where there are none, and adds the brief.
///
/// # Errors
/// What the file system or the docs say.
pub fn seed(context: &StepContext<'_>, workspace: &WorkspaceSpec) -> Result<(), EngineError> {
    let run = context.run;
    let repo = context.doc_home()?;
    let source = Path::new(&repo.path);
    let target = Path::new(&workspace.path).join(&repo.name);
    let ticket = &workspace.ticket;
    let earlier: BTreeMap<PathBuf, String> = context
        .engine
        .reader()?
        .own_files(run.id(), &workspace.name, &repo.name)?
        .into_iter()
        .map(|(path, blob)| (PathBuf::from(path), blob))
        .collect();
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut revision = String::new();
    // Agents start later: without a word in the journal, what lies there was begun by an attempt that was killed.
    let unsaid = earlier.is_empty() && run.spec.strategy != Strategy::Reuse;
    if tickets::find(source, ticket)?.is_some() {
        let seeded = tickets::seed(source, &target, ticket, &earlier, earlier.is_empty())?;
        files.extend(seeded.blobs);
        revision = seeded.revision;
    } else {
        let there = tickets::find(&target, ticket)?;
        let begun = match &there {
            Some(docs) if unsaid && docs.dir.join("index.md").is_file() => {
                !changed_below(context, &target, &docs.relative)?.is_empty()
            }
            // Not even begun to be filled.
            Some(_) => unsaid,
            None => true,
        };
        if begun {
            let date = there.and_then(|docs| date_of(&docs.below_root)).unwrap_or_else(|| context.engine.now().date());
            let root = tickets::docs_root(&target)?;
            let made = tickets::create(&target.join(&root), ticket, &title(run, ticket), date)?;
            for file in made.files {
                let relative = root.join(file);
                files.insert(relative.clone(), hash(&target.join(&relative))?);
            }
        }
    }
    let docs = tickets::find(&target, ticket)?.ok_or_else(|| {
        EngineError::refused(format!("the docs of {ticket} did not arrive in {}", target.display()), "metawsm resume")
    })?;
    if let Some(brief) = &run.brief {
        let name = format!("01-brief-{}.md", run.id());
        if tickets::write_reference(&target.join(&docs.relative), &name, &brief_text(ticket, brief))? {
            let relative = docs.relative.join("reference").join(&name);
            files.insert(relative.clone(), hash(&target.join(&relative))?);
        }
    }
    if unsaid {
        for relative in changed_below(context, &target, &docs.relative)? {
            files.insert(relative.clone(), hash(&target.join(&relative))?);
        }
    }
    let own = only_changes(context, &target, files)?;
    let said = context.engine.reader()?.seedings(run.id())?.into_iter().any(|seeding| {
        seeding.workspace == workspace.name
            && seeding.ticket == *ticket
            && Path::new(&seeding.dir) == docs.relative
            && seeding.revision.is_some_and(|known| revision.is_empty() || known == revision)
    });
    if said && own.iter().all(|file| earlier.get(Path::new(&file.path)) == Some(&file.blob)) {
        return Ok(());
    }
    if revision.is_empty() {
        revision = format!("{:x}", context.engine.now().millis());
    }
    let wish = RunWish::DocsSeeded {
        workspace: workspace.name.clone(),
        ticket: ticket.clone(),
        repo: repo.name.clone(),
        dir: docs.relative.display().to_string(),
        files: own,
        revision,
    };
    context.engine.order_run(context.caller, run.id(), wish)?;
    Ok(())
}

/// Files below a directory of a worktree that git sees as changed or new.
fn changed_below(context: &StepContext<'_>, worktree: &Path, dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let changes = context.engine.git.status(worktree)?.into_iter().map(|change| change.path);
    Ok(changes.filter(|path| path.starts_with(dir) && worktree.join(path).is_file()).collect())
}

/// The date in a ticket's path, `YYYY/MM/DD/…`.
fn date_of(below_root: &Path) -> Option<(i16, u8, u8)> {
    let mut parts = below_root.iter().map(|part| part.to_str());
    let mut next = || parts.next().flatten();
    Some((next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?))
}

fn title(run: &Run, ticket: &str) -> String {
    run.brief.as_ref().map_or_else(|| format!("Work on {ticket}"), |brief| brief.goal.clone())
}

fn hash(path: &Path) -> Result<String, EngineError> {
    blob_of(path).map_err(EngineError::io(format!("read {}", path.display())))
}

/// Of what was written, what git sees as a change: the rest was there before, or is ignored.
fn only_changes(
    context: &StepContext<'_>,
    worktree: &Path,
    files: BTreeMap<PathBuf, String>,
) -> Result<Vec<OwnFile>, EngineError> {
    let changed: std::collections::BTreeSet<PathBuf> =
        context.engine.git.status(worktree)?.into_iter().map(|change| change.path).collect();
    Ok(files
        .into_iter()
        .filter(|(path, _)| changed.contains(path))
        .map(|(path, blob)| OwnFile { path: path.display().to_string(), blob })
        .collect())
}

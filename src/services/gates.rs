//! The close gates (spec 2.8): all evaluated, all reported together, each with its mend. Nothing is changed.

use std::path::Path;

use super::error::EngineError;
pub use super::error::Gate;
use super::git::Git;
use super::merging;
use super::own_work;
use crate::domain::agent::Agent;
use crate::domain::event::Worktree;
use crate::domain::outbox::DOCS_SYNC;
use crate::domain::policy::Policy;
use crate::domain::pull_request::PullRequestState;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, RunMode, RunStatus};
use crate::domain::scene::Workspace;
use crate::store::Reader;

/// Evaluates every gate of a run. With `merging` what is not merged yet passes if it can be.
///
/// # Errors
/// When the store cannot be read; what git says becomes a gate's reason.
pub fn evaluate(
    git: &Git,
    reader: &Reader,
    policy: &Policy,
    run: &Run,
    merging: bool,
) -> Result<Vec<Gate>, EngineError> {
    let agents = reader.agents(run.id())?;
    let workspaces: Vec<Workspace> =
        reader.workspaces(run.id())?.into_iter().filter(|workspace| !workspace.removed).collect();
    let mut gates = vec![completed(run), nobody_works(&agents), no_open_request(reader, run)?];
    if run.spec.mode == RunMode::Bootstrap {
        gates.push(validated(run, &agents));
    }
    if policy.close.require_clean_git {
        gates.push(clean(git, reader, run, &workspaces)?);
    }
    gates.push(merged(git, reader, run, &workspaces, merging)?);
    if run.spec.seed {
        gates.push(docs(reader, run, &workspaces)?);
    }
    Ok(gates)
}

/// A gate; what is passed needs no mend.
pub fn gate(name: &'static str, ok: bool, reason: impl Into<String>, mend: impl Into<String>) -> Gate {
    Gate { name, ok, reason: reason.into(), mend: (!ok).then(|| mend.into()) }
}

/// Refuses to go on with a run that is not completed or whose agents are at work. `what` is not done with it then.
///
/// # Errors
/// A refusal naming state and what is allowed.
pub fn settled(reader: &Reader, run: &Run, what: &str) -> Result<(), EngineError> {
    let working: Vec<String> = reader
        .agents(run.id())?
        .into_iter()
        .filter(|agent| agent.status.working())
        .map(|agent| agent.key.name)
        .collect();
    if matches!(run.status, RunStatus::Completed | RunStatus::Closing) && working.is_empty() {
        return Ok(());
    }
    let allowed = run.status.next_commands();
    let why = if working.is_empty() {
        format!("run {} is {}: only a completed run is {what}", run.id(), run.status)
    } else {
        format!("run {}: {} still at work", run.id(), working.join(", "))
    };
    let refusal = Refusal::illegal(why, run.status.word(), allowed.to_vec());
    Err(refusal.hint(format!("legal now: {}", allowed.join(", "))).into())
}

fn completed(run: &Run) -> Gate {
    let ok = matches!(run.status, RunStatus::Completed | RunStatus::Closing | RunStatus::Closed);
    let mend = match run.status {
        RunStatus::Paused | RunStatus::Stopped | RunStatus::Failed => format!("metawsm resume --run-id {}", run.id()),
        _ => format!("metawsm wait --run-id {} --for completed", run.id()),
    };
    gate("completed", ok, format!("the run is {}", run.status.word().replace('_', " ")), mend)
}

fn nobody_works(agents: &[Agent]) -> Gate {
    let working: Vec<&str> =
        agents.iter().filter(|agent| agent.status.working()).map(|agent| agent.key.name.as_str()).collect();
    if working.is_empty() {
        return gate("agents", true, "no agent is at work", "");
    }
    gate(
        "agents",
        false,
        format!("{} still at work", working.join(", ")),
        "wait for them, or: metawsm stop --agent NAME",
    )
}

fn no_open_request(reader: &Reader, run: &Run) -> Result<Gate, EngineError> {
    if !reader.guidance_open(run.id())? {
        return Ok(gate("guidance", true, "no question is open", ""));
    }
    let request =
        reader.open_requests(run.id())?.into_iter().next().map(|request| (request.thread_id, request.question));
    let asked =
        reader.blocking_threads(Some(run.id()))?.into_iter().next().map(|thread| (thread.thread_id, thread.title));
    let (thread, question) = request.or(asked).unwrap_or_default();
    let short: String = question.chars().take(120).collect();
    Ok(gate("guidance", false, format!("open: {short}"), format!("metawsm forum answer --thread-id {thread} --body …")))
}

fn validated(run: &Run, agents: &[Agent]) -> Gate {
    let criteria = run.brief.as_ref().map(|brief| brief.done_criteria.trim()).unwrap_or_default();
    if criteria.is_empty() {
        return gate("validation", false, "the brief has no done criteria", "start a new run with --done-criteria");
    }
    let lacking: Vec<&str> = agents
        .iter()
        .filter(|agent| agent.validated_in != Some(agent.epoch) || agent.completed_in != Some(agent.epoch))
        .map(|agent| agent.key.name.as_str())
        .collect();
    if lacking.is_empty() {
        return gate("validation", true, "every agent validated the done criteria", "");
    }
    let reason =
        format!("{} without completion and a passed validation of the brief's done criteria", lacking.join(", "));
    gate("validation", false, reason, "metawsm forum signal --type validation --status passed --done-criteria …")
}

fn clean(git: &Git, reader: &Reader, run: &Run, workspaces: &[Workspace]) -> Result<Gate, EngineError> {
    let mut dirty = Vec::new();
    for (workspace, tree) in trees(workspaces) {
        match own_work::changes(git, reader, workspace, tree) {
            Ok(changes) => {
                dirty.extend(changes.others.iter().map(|change| format!("{}/{}", tree.repo, change.path.display())))
            }
            Err(error) => dirty.push(format!("{}: {error}", tree.repo)),
        }
    }
    if dirty.is_empty() {
        return Ok(gate("clean", true, "every worktree is clean", ""));
    }
    let more = dirty.len().saturating_sub(8);
    dirty.truncate(8);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let place = run.spec.workspaces.first().map_or("", |ws| ws.path.as_str());
    let mend = format!("metawsm commit --run-id {}, or remove them in {place}", run.id());
    Ok(gate("clean", false, format!("not committed: {}{tail}", dirty.join(", ")), mend))
}

fn merged(git: &Git, reader: &Reader, run: &Run, workspaces: &[Workspace], merging: bool) -> Result<Gate, EngineError> {
    let mut open = Vec::new();
    for (workspace, tree) in trees(workspaces) {
        match unmerged(git, reader, run, workspace, tree) {
            Ok(0) => {}
            Ok(count) => open.push(format!(
                "{}: {count} commit{} of {} not in {}",
                tree.repo,
                plural(count),
                tree.branch,
                tree.base
            )),
            Err(error) => open.push(format!("{}: {error}", tree.repo)),
        }
    }
    if open.is_empty() {
        return Ok(gate("merged", true, "every commit is in its base, or in a pull request", ""));
    }
    if merging {
        return Ok(match merging::try_all(git, reader, run, false, true) {
            Ok(_) => gate("merged", true, "everything can be merged", ""),
            Err(error) => {
                let mend = error.hint().unwrap_or_else(|| format!("metawsm merge --run-id {} --dry-run", run.id()));
                gate("merged", false, error.to_string(), mend)
            }
        });
    }
    Ok(gate(
        "merged",
        false,
        open.join("; "),
        format!("metawsm merge --run-id {0}, or metawsm pr --run-id {0}, or close with --merge", run.id()),
    ))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Commits of the run's branch that are in neither its base nor `origin`'s nor a pull request, ours aside.
///
/// # Errors
/// What git or the store says.
pub fn unmerged(
    git: &Git,
    reader: &Reader,
    run: &Run,
    workspace: &Workspace,
    tree: &Worktree,
) -> Result<usize, EngineError> {
    let repo = source_of(run, tree);
    let Some(head) = git.branch_tip(Path::new(repo), &tree.branch)? else { return Ok(0) };
    let squashed = reader.merged(run.id(), &workspace.name, &tree.repo)?;
    if squashed.is_some_and(|merged| merged.head == head) {
        return Ok(0);
    }
    let remote = format!("refs/remotes/origin/{}", tree.base);
    let local = format!("refs/heads/{}", tree.base);
    let bases: Vec<&str> = [local.as_str(), remote.as_str()]
        .into_iter()
        .filter(|base| git.rev_parse(Path::new(repo), base).is_ok())
        .collect();
    let own = reader.own_commits(run.id(), &workspace.name, &tree.repo)?;
    // What is in a pull request is handed on, unless that was closed without merging it.
    let request = reader.pull_request(run.id(), &workspace.name, &tree.repo)?;
    let request = request.filter(|request| request.state != PullRequestState::Closed);
    let bases: Vec<&str> = bases.into_iter().chain(request.as_ref().map(|request| request.head.as_str())).collect();
    let commits = git.commits_between(Path::new(repo), &bases, &head)?;
    Ok(commits.iter().filter(|commit| !own.contains(&commit.sha)).count())
}

fn docs(reader: &Reader, run: &Run, workspaces: &[Workspace]) -> Result<Gate, EngineError> {
    let seedings = reader.seedings(run.id())?;
    let mut missing = Vec::new();
    for spec in &run.spec.workspaces {
        let seeding = seedings.iter().find(|seeding| seeding.workspace == spec.name && seeding.ticket == spec.ticket);
        let Some(seeding) = seeding.filter(|seeding| seeding.revision.is_some()) else {
            missing.push(format!("{} was not seeded", spec.ticket));
            continue;
        };
        let there = workspaces.iter().find(|workspace| workspace.name == spec.name).is_some_and(|workspace| {
            Path::new(&workspace.path).join(&seeding.repo).join(&seeding.dir).join("index.md").is_file()
        });
        if !there {
            missing.push(format!("{} has no docs in {}", spec.ticket, spec.path));
        }
    }
    if missing.is_empty() {
        // With the run closed there would be no place for it any more.
        if let Some((letter, count)) = reader.letters_stuck(DOCS_SYNC, run.id())? {
            let error = letter.last_error.unwrap_or_default();
            let mend = format!("put it right, then: metawsm outbox retry {0}, or: metawsm outbox drop {0}", letter.id);
            return Ok(gate("docs", false, format!("entries missing in the changelog: {count} ({error})"), mend));
        }
        return Ok(gate("docs", true, "ticket docs are seeded, present and hold every answer", ""));
    }
    Ok(gate("docs", false, missing.join("; "), "restore the ticket's directory in the workspace, or seed a new run"))
}

/// Every worktree with its workspace.
pub fn trees(workspaces: &[Workspace]) -> impl Iterator<Item = (&Workspace, &Worktree)> {
    workspaces.iter().flat_map(|workspace| workspace.worktrees.iter().map(move |tree| (workspace, tree)))
}

/// The checkout a worktree belongs to.
pub fn source_of<'a>(run: &'a Run, tree: &'a Worktree) -> &'a str {
    run.spec.repos.iter().find(|repo| repo.name == tree.repo).map_or(tree.path.as_str(), |repo| repo.path.as_str())
}

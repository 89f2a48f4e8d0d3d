//! The JSON shapes of spec 3, made from the store: the same for the command line, headless and HTTP.
//! Unknown is `null`; nothing is changed, and tmux is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::error::EngineError;
use super::gates;
use super::git::Git;
use super::home::Home;
use super::operator::busy_by;
use super::process::lease::{Holder, read_holder};
use super::process::{Processes, default_table};
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Health};
use crate::domain::delivery::Delivery;
use crate::domain::escalation::{Escalation, Suggestion};
use crate::domain::outbox::Letter;
use crate::domain::plan::Step;
use crate::domain::policy::Policy;
use crate::domain::run::Run;
use crate::domain::thread::{Post, Priority, Thread};
use crate::domain::time::Moment;
use crate::store::Reader;
use crate::store::outbox::OutboxHealth;
use crate::store::read::Vitals;
use crate::store::read::forum::{ThreadFilter, Viewer};

/// Health not seen for this long is not known.
const SEEN_WITHIN_SECONDS: u64 = 10;

/// A supervisor that has not touched its lease for this long does not respond.
pub const RESPONDS_WITHIN: Duration = Duration::from_secs(5);

/// A view on one home at one moment.
pub struct View<'a> {
    /// The home.
    pub home: &'a Home,
    /// Its database.
    pub reader: &'a Reader,
    /// Now.
    pub now: Moment,
    /// Who looks.
    pub viewer: Viewer,
    processes: Box<dyn Processes>,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("home", &self.home).finish_non_exhaustive()
    }
}

impl<'a> View<'a> {
    /// A view of `viewer`.
    pub fn new(home: &'a Home, reader: &'a Reader, now: Moment, viewer: Viewer) -> Self {
        Self { home, reader, now, viewer, processes: default_table() }
    }

    /// Who supervises.
    pub fn supervisor_holder(&self) -> Option<Holder> {
        read_holder(&self.home.supervisor_lease(), self.processes.as_ref())
    }

    /// Who acts on a run just now.
    pub fn run_holder(&self, run_id: &str) -> Option<Holder> {
        read_holder(&self.home.run_lease(run_id), self.processes.as_ref())
    }

    /// The same in words, and whether that process does anything.
    pub fn busy_by(&self, holder: &Holder) -> String {
        busy_by(Some(holder), self.processes.as_ref(), self.now)
    }

    /// Who supervises, or null.
    pub fn supervisor(&self) -> Value {
        self.supervisor_holder().map_or(Value::Null, |holder| {
            json!({
                "pid": holder.pid,
                "since": Moment::from_millis(holder.since_ms),
                "last_seen_at": Moment::from_millis(holder.last_seen_at_ms),
            })
        })
    }

    /// The policy a run lives by, for its numbers.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn policy(&self, run_id: &str) -> Result<Policy, EngineError> {
        let stored = self.reader.policy(run_id)?.unwrap_or_default();
        let kept = Policy::from_stored(&stored).unwrap_or_default();
        Ok(self.home.policy_in_force().map_or(kept.clone(), |live| kept.following(&live)))
    }

    /// One run.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn run(&self, run: &Run) -> Result<Value, EngineError> {
        let agents = self.reader.agents(run.id())?;
        let count = |wanted: fn(&Agent) -> bool| agents.iter().filter(|agent| wanted(agent)).count();
        let vitals: BTreeMap<AgentKey, Vitals> = self.reader.vitals(run.id())?.into_iter().collect();
        let well = |agent: &&Agent| {
            let (health, _) = self.health(agent, vitals.get(&agent.key));
            agent.status.working() && matches!(health, Health::Healthy | Health::Idle)
        };
        let open = self.reader.open_requests(run.id())?.len()
            + self.reader.blocking_threads(Some(run.id()))?.iter().filter(|thread| thread.waits_for_human()).count();
        Ok(json!({
            "run_id": run.id(),
            "status": run.status,
            "mode": run.spec.mode,
            "tickets": run.spec.tickets,
            "repos": run.spec.repos.iter().map(|repo| repo.name.as_str()).collect::<Vec<_>>(),
            "doc_home_repo": run.spec.doc_home_repo,
            "base_branch": run.spec.base_branch,
            "strategy": run.spec.strategy,
            "dry_run": run.spec.dry_run,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "reason": run.reason,
            "counts": {
                "agents": agents.len(),
                "healthy": agents.iter().filter(well).count(),
                "unhealthy": count(|agent| {
                    matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled)
                }),
                "done": count(|agent| agent.status == AgentStatus::Done),
                "guidance": open,
                "escalations": self.reader.escalations(Some(run.id()), true)?.len(),
            },
            "next": run.status.next_commands(),
            "brief": run.brief,
            "workspaces": run.spec.workspaces,
            "paths": run.spec.repos.iter().map(|repo| repo.path.as_str()).collect::<Vec<_>>(),
        }))
    }

    /// `{"runs":[Run],"supervisor"}`.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn runs(&self, runs: &[Run]) -> Result<Value, EngineError> {
        let runs: Vec<Value> = runs.iter().map(|run| self.run(run)).collect::<Result<_, _>>()?;
        Ok(json!({ "runs": runs, "supervisor": self.supervisor() }))
    }

    /// One step.
    pub fn step(&self, step: &Step) -> Value {
        json!({
            "index": step.spec.index,
            "name": step.spec.name,
            "kind": step.spec.kind,
            "status": step.status,
            "attempts": step.attempts,
            "error": step.error,
            "started_at": step.started_at,
            "finished_at": step.finished_at,
            "ticket": step.spec.ticket,
            "workspace": step.spec.workspace,
            "agent": step.spec.agent,
            "argv": step.spec.argv,
            "paths": step.spec.paths,
            "run_id": step.run_id,
        })
    }

    /// The agents of a run.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn agents(&self, run_id: &str) -> Result<Vec<Value>, EngineError> {
        let vitals: BTreeMap<AgentKey, Vitals> = self.reader.vitals(run_id)?.into_iter().collect();
        let agents = self.reader.agents(run_id)?;
        Ok(agents.iter().map(|agent| self.agent(agent, vitals.get(&agent.key))).collect())
    }

    /// One agent.
    pub fn agent(&self, agent: &Agent, vitals: Option<&Vitals>) -> Value {
        let (health, evidence) = self.health(agent, vitals);
        // What only a look at its screen could tell is as little known as its health.
        let waits_known = !(agent.waiting_for.seen_on_screen() && health == Health::Unknown);
        let shown = vitals.and_then(|vitals| vitals.last_progress_at);
        // What was seen before it was started was another launch.
        let just_started = agent.evidence["signal"] == "started";
        let of_this_launch =
            |vitals: &&Vitals| agent.program_may_live() && !(just_started && vitals.last_seen_at < agent.since);
        let exit = agent.exit.as_ref();
        json!({
            "run_id": agent.key.run_id,
            "name": agent.key.name,
            "workspace": agent.key.workspace,
            "ticket": agent.spec.ticket,
            "session": agent.spec.session,
            "profile": agent.spec.profile,
            "runner": agent.spec.runner,
            "status": agent.status,
            "health": health,
            "waiting_for": waits_known.then_some(agent.waiting_for),
            "reason": agent.reason,
            "since": agent.since,
            "evidence": evidence,
            "epoch": agent.epoch,
            "exit_status": exit.and_then(|exit| exit.status),
            "exit_signal": exit.and_then(|exit| exit.signal.as_deref()),
            "last_output_at": vitals.and_then(|vitals| vitals.last_output_at),
            "last_progress_at": agent.last_progress_at.max(shown),
            "restarts": {
                "used": agent.restarts.used,
                "budget": agent.restarts.budget,
                "cooldown_until": agent.restarts.cooldown_until,
            },
            "pid": vitals.filter(of_this_launch).and_then(|vitals| vitals.pid),
            "launch": agent.launch,
            "waiting_since": agent.waiting_since.filter(|_| waits_known),
            "quiet": agent.quiet.as_ref().filter(|quiet| quiet.holds(self.now)),
            "said": agent.said,
            "held": agent.held,
        })
    }

    /// When an agent that is looked after was last looked at; `None` where that is too long ago to mean anything.
    pub fn seen_at(&self, agent: &Agent, vitals: Option<&Vitals>) -> Option<Moment> {
        let last = self.last_seen(agent, vitals);
        last.filter(|seen| self.now.since(*seen).as_secs() <= SEEN_WITHIN_SECONDS)
    }

    /// When it was last looked at. What lies ahead was told before the clock was set back: it says nothing.
    fn last_seen(&self, agent: &Agent, vitals: Option<&Vitals>) -> Option<Moment> {
        [vitals.map(|vitals| vitals.last_seen_at), Some(agent.since)]
            .into_iter()
            .flatten()
            .filter(|at| !at.is_of_another_clock(self.now))
            .max()
    }

    /// What nobody has looked at for ten seconds is not known; the last value is said with its age.
    fn health(&self, agent: &Agent, vitals: Option<&Vitals>) -> (Health, Value) {
        if !agent.status.working() || self.seen_at(agent, vitals).is_some() {
            return (agent.health, agent.evidence.clone());
        }
        let seen = self.last_seen(agent, vitals);
        let age = seen.map(|seen| self.now.since(seen).as_secs());
        let evidence = json!({
            "signal": "none",
            "source": "no supervisor",
            "last_health": agent.health,
            "last_waiting_for": agent.waiting_for,
            "last_seen_at": seen,
            "age_seconds": age,
            "last_evidence": agent.evidence,
        });
        (Health::Unknown, evidence)
    }

    /// One thread as its viewer sees it.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn thread(&self, thread: &Thread) -> Result<Value, EngineError> {
        let mut out = serde_json::to_value(thread).unwrap_or(Value::Null);
        let due = self.due_at(thread)?;
        let unseen = self.reader.is_unseen(thread, &self.viewer)?;
        if let Some(fields) = out.as_object_mut() {
            for internal in ["blocking", "question"] {
                fields.shift_remove(internal);
            }
            fields.insert("due_at".to_owned(), json!(due));
            fields.insert("is_unseen".to_owned(), unseen.into());
            fields.insert("is_unanswered".to_owned(), thread.waits_for_human().into());
        }
        Ok(out)
    }

    /// When a waiting thread becomes an escalation: at once where it presses, else after the SLA.
    fn due_at(&self, thread: &Thread) -> Result<Option<Moment>, EngineError> {
        let Some(since) = thread.waiting_since.filter(|_| thread.waits_for_human()) else { return Ok(None) };
        if thread.priority >= Priority::High {
            return Ok(Some(since));
        }
        let policy = match &thread.run_id {
            Some(run_id) => self.policy(run_id)?,
            None => self.home.policy_in_force().unwrap_or_default(),
        };
        let minutes = u64::from(policy.forum.sla.escalation_minutes);
        Ok(Some(since.plus(std::time::Duration::from_secs(minutes * 60))))
    }

    /// Threads as their viewer sees them.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn threads(&self, threads: &[Thread]) -> Result<Vec<Value>, EngineError> {
        threads.iter().map(|thread| self.thread(thread)).collect()
    }

    /// The whole picture of a run.
    ///
    /// # Errors
    /// [`EngineError`] from store or git.
    pub fn status(&self, git: &Git, run: &Run) -> Result<Value, EngineError> {
        let policy = self.policy(run.id())?;
        let steps: Vec<Value> = self.reader.steps(run.id())?.iter().map(|step| self.step(step)).collect();
        let filter = ThreadFilter { run_id: Some(run.id().to_owned()), ..ThreadFilter::default() };
        let threads = self.reader.threads(&filter, None, 100)?.threads;
        let gates = gates::evaluate(git, self.reader, &policy, run, false)?;
        Ok(json!({
            "run": self.run(run)?,
            "steps": steps,
            "agents": self.agents(run.id())?,
            "threads": self.threads(&threads)?,
            "escalations": self.reader.escalations(Some(run.id()), true)?.iter().map(escalation).collect::<Vec<_>>(),
            "suggestions": self.reader.suggestions(Some(run.id()), true)?.iter().map(suggestion).collect::<Vec<_>>(),
            "gates": gates,
            "docs": self.docs(run)?,
            "diffs": self.diffs(git, run)?,
            "pull_requests": self.reader.pull_requests(run.id())?,
            "review_feedback": self.reader.feedback(run.id())?,
            "operator": { "mode": policy.operator.llm.mode },
            "supervisor": self.supervisor(),
        }))
    }

    fn docs(&self, run: &Run) -> Result<Vec<Value>, EngineError> {
        Ok(self
            .reader
            .seedings(run.id())?
            .iter()
            .map(|seeding| {
                json!({
                    "ticket": seeding.ticket,
                    "workspace": seeding.workspace,
                    "repo": seeding.repo,
                    "dir": seeding.dir,
                    "status": if seeding.revision.is_some() { "synced" } else { "pending" },
                    "revision": seeding.revision,
                    "at": seeding.at,
                })
            })
            .collect())
    }

    fn diffs(&self, git: &Git, run: &Run) -> Result<Vec<Value>, EngineError> {
        let workspaces = self.reader.workspaces(run.id())?;
        let mut out = Vec::new();
        for (workspace, tree) in gates::trees(&workspaces).filter(|(workspace, _)| !workspace.removed) {
            let changes = super::own_work::changes(git, self.reader, workspace, tree);
            let ahead = gates::unmerged(git, self.reader, run, workspace, tree);
            out.push(match changes {
                Ok(changes) => json!({
                    "workspace": workspace.name,
                    "repo": tree.repo,
                    "branch": tree.branch,
                    "path": tree.path,
                    "dirty": changes.others.iter().map(|change| change.path.display().to_string()).collect::<Vec<_>>(),
                    "own": changes.own.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
                    "unmerged_commits": ahead.ok(),
                    "error": null,
                }),
                Err(error) => json!({
                    "workspace": workspace.name,
                    "repo": tree.repo,
                    "branch": tree.branch,
                    "path": tree.path,
                    "dirty": null,
                    "own": null,
                    "unmerged_commits": null,
                    "error": error.to_string(),
                }),
            });
        }
        Ok(out)
    }
}

/// One escalation.
pub fn escalation(escalation: &Escalation) -> Value {
    let mut out = serde_json::to_value(escalation).unwrap_or(Value::Null);
    if let Some(fields) = out.as_object_mut() {
        fields.shift_remove("by_human");
        fields.insert("notified".to_owned(), json!(escalation.notified));
        fields.insert("notified_at".to_owned(), json!(escalation.notified_at));
        fields.insert("next".to_owned(), json!(escalation.state.next_commands()));
    }
    out
}

/// One suggestion.
pub fn suggestion(suggestion: &Suggestion) -> Value {
    serde_json::to_value(suggestion).unwrap_or(Value::Null)
}

/// One letter of the outbox.
pub fn letter(letter: &Letter) -> Value {
    json!({
        "id": letter.id,
        "seq": letter.seq,
        "topic": letter.topic,
        "key": letter.key,
        "status": letter.word(),
        "attempts": letter.attempts,
        "due_at": letter.due_at,
        "claimed_until": letter.claimed_until,
        "created_at": letter.created_at,
        "sent_at": letter.sent_at,
        "last_error": letter.last_error,
        "note": letter.note,
        "payload": letter.payload,
        "next": letter.next_commands(),
    })
}

/// How the outbox fares.
pub fn outbox_health(health: &OutboxHealth, now: Moment) -> Value {
    let tally = &health.tally;
    json!({
        "pending_count": health.pending,
        "processing_count": health.processing,
        "failed_count": health.failed,
        "dead_count": health.dead,
        "oldest_pending_at": health.oldest_pending_at,
        "oldest_pending_age_seconds": health.oldest_pending_at.map(|at| now.since(at).as_secs()),
        "total_processed": tally.processed,
        "consecutive_errors": tally.consecutive_errors,
        "last_error": tally.last_error,
        "last_error_at": tally.last_error_at,
        "last_error_cleared_at": tally.cleared_at,
    })
}

/// One text for a session, without its words.
pub fn delivery(delivery: &Delivery) -> Value {
    json!({
        "delivery_id": delivery.delivery_id,
        "state": delivery.state,
        "run_id": delivery.key.run_id,
        "workspace": delivery.key.workspace,
        "agent": delivery.key.name,
        "thread_id": delivery.thread_id,
        "post_id": delivery.post_id,
        "author_type": delivery.from.author_type,
        "author_name": delivery.from.author_name,
        "urgent": delivery.urgent,
        "queued_at": delivery.queued_at,
        "typed_at": delivery.typed_at,
        "settled_at": delivery.settled_at,
        "launch": delivery.launch,
        "reason": delivery.reason,
        "evidence": delivery.evidence,
    })
}

/// Posts with how each came, or comes, to its agent's session.
///
/// # Errors
/// [`EngineError::Store`].
pub fn posts(reader: &Reader, posts: &[Post]) -> Result<Vec<Value>, EngineError> {
    let threads: BTreeSet<&str> = posts.iter().map(|post| post.thread_id.as_str()).collect();
    let mut known = Vec::new();
    for thread_id in threads {
        known.extend(reader.deliveries_of_thread(thread_id)?);
    }
    let of = |post: &Post| known.iter().find(|delivery| delivery.post_id.as_ref() == Some(&post.post_id));
    Ok(posts.iter().map(|found| post(found, of(found))).collect())
}

/// One post, with its way into its agent's session where it takes one.
pub fn post(post: &Post, way: Option<&Delivery>) -> Value {
    json!({
        "post_id": post.post_id,
        "seq": post.seq,
        "author_type": post.author_type,
        "author_name": post.author_name,
        "body": post.body,
        "created_at": post.created_at,
        "signal": post.signal,
        "in_reply_to": post.in_reply_to,
        "delivery": way.map(delivery),
    })
}

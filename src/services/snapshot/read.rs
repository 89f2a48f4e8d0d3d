//! From the store to a snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{
    AgentRow, Asked, DeliveryRow, EscalationRow, Facts, Found, Outbox, Queue, Queues, RunRow, Snapshot, Snippet,
    SuggestionRow, Supervising, Tab, ThreadPage, ThreadRow, Trouble, Want,
};
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::escalation::{EscalationState, Kind};
use crate::domain::operator::{Action, Decision, Intent, agent_cause, agent_target, is_unhealthy};
use crate::domain::policy::Policy;
use crate::domain::run::{Run, RunStatus};
use crate::domain::thread::{Priority, Thread};
use crate::domain::time::Moment;
use crate::services::behind;
use crate::services::engine::{Caller, SOCKET};
use crate::services::error::EngineError;
use crate::services::home::Home;
use crate::services::process::lease::read_holder;
use crate::services::process::{Processes, default_table, own_pid};
use crate::services::view::RESPONDS_WITHIN;
use crate::services::words::offer;
use crate::store::Reader;
use crate::store::read::Stopper;
use crate::store::read::Vitals;
use crate::store::read::forum::{Page, Queue as StoreQueue, ThreadFilter, Viewer, viewer_of};

/// Texts for sessions read at most.
const DELIVERIES: usize = 50;
/// Threads read at a time.
const PAGE: usize = 200;
/// Of what is looked for so many characters count.
const LONGEST_SEARCH: usize = 500;
/// Threads found at a time.
const FOUND: usize = 100;
/// The newest posts of a thread that are shown.
const POSTS: usize = 500;

/// Where snapshots come from: a home, its database opened to read, and who looks.
pub struct Source {
    pub(super) home: Home,
    pub(super) reader: Reader,
    viewer: Viewer,
    processes: Box<dyn Processes>,
    pub(super) policy: Policy,
    /// A connection of its own looks for words, so that only that can be stopped.
    finder: Option<Reader>,
    pub(super) stop: Stop,
    /// The open thread and what of it had been seen when it was opened.
    opened: Option<(String, i64)>,
    /// Plans do not change while their runs do not.
    steps: HashMap<String, (i64, (usize, usize))>,
    /// Nor does what the rules decided about its agents.
    due: HashMap<String, (i64, HashMap<String, Decision>)>,
}

/// Stops the search that runs, if one does.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<Mutex<Option<Stopper>>>);

impl Stop {
    fn arm(&self, finder: &Reader) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(finder.stopper());
    }

    pub(super) fn now(&self) {
        if let Some(stop) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            stop.stop();
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens the home's database to read.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn open(home: &Home, caller: &Caller) -> Result<Self, EngineError> {
        Ok(Self {
            reader: home.reader()?,
            home: home.clone(),
            viewer: viewer_of(&caller.actor, caller.identity.as_ref()),
            processes: default_table(),
            policy: Policy::default(),
            finder: None,
            stop: Stop::default(),
            opened: None,
            steps: HashMap::new(),
            due: HashMap::new(),
        })
    }

    /// A number that changes when the database was written.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn version(&self) -> Result<i64, EngineError> {
        Ok(self.reader.data_version()?)
    }

    /// What is true of the home as a whole. The policy file is read again.
    pub fn facts(&mut self, agents: &[AgentRow], now: Moment) -> Facts {
        let mut facts = Facts { viewer: self.viewer.name().to_owned(), ..Facts::default() };
        match self.home.load_policy(&[]) {
            Ok(loaded) => self.policy = loaded.policy,
            Err(error) => {
                facts.troubles.insert(Trouble::Policy(policy_words(&self.home, &error)));
            }
        }
        facts.restart_rule = self.policy.operator.rules.get(Intent::AutoRestart.word()).copied();
        facts.keeper = match self.reader.meta(SOCKET) {
            Ok(Some(socket)) => !socket.ends_with("/default"),
            Ok(None) | Err(_) => self.policy.tmux.socket != "default",
        };
        facts.bell = self.policy.notify.bell;
        facts.desktop = self.policy.notify.desktop;
        facts.operator = serde_json::to_value(self.policy.operator.llm.mode)
            .ok()
            .and_then(|mode| mode.as_str().map(str::to_owned))
            .unwrap_or_default();
        if let Some(holder) = read_holder(&self.home.supervisor_lease(), self.processes.as_ref()) {
            let ours = holder.pid == own_pid();
            let stirred = Moment::from_millis(holder.last_seen_at_ms);
            if now.since(stirred) > RESPONDS_WITHIN {
                facts.troubles.insert(Trouble::Hangs(holder.pid, stirred));
            } else if !ours {
                facts.troubles.insert(Trouble::Elsewhere(holder.pid));
            }
            facts.supervisor = Some(Supervising {
                pid: holder.pid,
                ours,
                behind: holder.holder == behind::WHO,
                since: Moment::from_millis(holder.since_ms),
            });
        }
        let needed = |agent: &AgentRow| agent.may_live || agent.status == AgentStatus::Dead;
        if agents.iter().any(needed) && self.tmux_gone() {
            facts.troubles.insert(Trouble::TmuxGone);
        }
        facts
    }

    /// Whether nobody listens on the socket. Nothing is spawned for it, and the server is not asked anything.
    fn tmux_gone(&self) -> bool {
        let Ok(Some(socket)) = self.reader.meta(SOCKET) else { return false };
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(_) => false,
            Err(error) => {
                matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
            }
        }
    }

    /// Reads everything but the facts, which the caller keeps.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn read(&mut self, want: &Want, facts: &Facts) -> Result<Snapshot, EngineError> {
        let seq = self.reader.last_seq()?;
        let runs = self.reader.runs()?;
        let queues = self.queues(want.deeper)?;
        let operator = if want.operator { Some(self.operator(&runs)?) } else { None };
        let agents = self.agents(&runs)?;
        let runs = self.runs(&runs, &agents, &queues)?;
        let (escalations, suggestions) = attention(&self.reader)?;
        let mut snapshot = Snapshot {
            seq,
            runs,
            agents: agents.into_iter().map(|(_, row)| row).collect(),
            escalations,
            suggestions,
            queues,
            deeper: want.deeper,
            found: want.asked.as_ref().map(|asked| self.found(asked, want.deeper)).transpose()?,
            thread: self.thread(want.thread.as_deref())?,
            operator,
            outbox: self.outbox()?,
            deliveries: self.deliveries()?,
            facts: facts.clone(),
        };
        let place: HashMap<&str, usize> =
            snapshot.runs.iter().enumerate().map(|(at, run)| (run.run_id.as_str(), at)).collect();
        let mut agents = std::mem::take(&mut snapshot.agents);
        agents.sort_by_key(|agent| place.get(agent.key.run_id.as_str()).copied().unwrap_or(usize::MAX));
        snapshot.agents = agents;
        Ok(snapshot)
    }

    fn deliveries(&self) -> Result<Vec<DeliveryRow>, EngineError> {
        let newest = self.reader.newest_deliveries(DELIVERIES)?.into_iter();
        let rows = newest.map(|delivery| DeliveryRow {
            ours: self.viewer.id() == format!("{}:{}", delivery.from.author_type, delivery.from.author_name),
            key: delivery.key,
            state: delivery.state,
            reason: delivery.reason,
            last_seq: delivery.last_seq,
        });
        Ok(rows.collect())
    }

    fn outbox(&self) -> Result<Outbox, EngineError> {
        let health = self.reader.outbox_health()?;
        Ok(Outbox {
            waiting: health.pending + health.processing + health.failed,
            failed: health.failed,
            dead: health.dead,
            oldest_at: health.oldest_pending_at,
        })
    }

    fn agents(&mut self, runs: &[Run]) -> Result<Vec<(String, AgentRow)>, EngineError> {
        let mut vitals: BTreeMap<AgentKey, Vitals> = BTreeMap::new();
        for run in runs.iter().filter(|run| run.status != RunStatus::Closed) {
            vitals.extend(self.reader.vitals(run.id())?);
        }
        let agents = self.reader.all_agents()?;
        let mut rows = Vec::with_capacity(agents.len());
        for agent in agents {
            let mut row = agent_row(&agent, vitals.get(&agent.key));
            if is_unhealthy(&agent)
                && let Some(run) = runs.iter().find(|run| run.id() == agent.key.run_id && run.status.at_work())
            {
                row.restart_at = self.restart_at(run, &agent)?;
            }
            rows.push((agent.key.run_id, row));
        }
        Ok(rows)
    }

    /// When a rule starts an agent again, if that was decided about its present state.
    fn restart_at(&mut self, run: &Run, agent: &Agent) -> Result<Option<Moment>, EngineError> {
        if self.due.get(run.id()).is_none_or(|(seq, _)| *seq != run.last_seq) {
            let last = self.reader.decisions(run.id())?.into_iter().map(|last| last.decision);
            let waiting = last.filter(|it| it.intent == Intent::AutoRestart && it.action == Action::Nothing);
            let waiting = waiting.map(|decision| (decision.target.clone(), decision)).collect();
            self.due.insert(run.id().to_owned(), (run.last_seq, waiting));
        }
        let known = self.due.get(run.id()).and_then(|(_, known)| known.get(&agent_target(&agent.key)));
        Ok(known.filter(|decision| decision.cause == agent_cause(agent)).and_then(|decision| decision.due_at))
    }

    fn runs(
        &mut self,
        runs: &[Run],
        agents: &[(String, AgentRow)],
        queues: &Queues,
    ) -> Result<Vec<RunRow>, EngineError> {
        let mut states: HashMap<&str, Vec<_>> = HashMap::new();
        for (run_id, agent) in agents {
            states.entry(run_id).or_default().push((agent.status, agent.waiting_for));
        }
        let mut questions: HashMap<&str, usize> = HashMap::new();
        for thread in queues.needs_me.rows.iter().filter(|thread| thread.waits()) {
            *questions.entry(thread.run_id.as_deref().unwrap_or_default()).or_default() += 1;
        }
        let mut rows = Vec::with_capacity(runs.len());
        for run in runs {
            rows.push(RunRow {
                run_id: run.id().to_owned(),
                tickets: run.spec.tickets.clone(),
                status: run.status,
                reason: run.reason.clone(),
                dry_run: run.spec.dry_run,
                steps: self.progress(run)?,
                agents: states.get(run.id()).cloned().unwrap_or_default(),
                questions: questions.get(run.id()).copied().unwrap_or_default(),
                updated_at: run.updated_at,
                last_seq: run.last_seq,
            });
        }
        rows.sort_by_key(rank);
        Ok(rows)
    }

    fn progress(&mut self, run: &Run) -> Result<(usize, usize), EngineError> {
        if let Some((seq, progress)) = self.steps.get(run.id())
            && *seq == run.last_seq
        {
            return Ok(*progress);
        }
        let steps = self.reader.steps(run.id())?;
        let progress = (steps.iter().filter(|step| step.status.settled()).count(), steps.len());
        self.steps.insert(run.id().to_owned(), (run.last_seq, progress));
        Ok(progress)
    }

    fn queues(&self, deeper: usize) -> Result<Queues, EngineError> {
        let filter = ThreadFilter::default();
        let queue = |which: StoreQueue| {
            pages(deeper, |cursor| Ok(self.reader.queue(which, &self.viewer, &filter, cursor, PAGE)?))
        };
        let (needs_me, unseen, assigned) =
            (queue(StoreQueue::NeedsMe)?, queue(StoreQueue::Unseen)?, queue(StoreQueue::Assigned)?);
        let all = pages(deeper, |cursor| Ok(self.reader.threads(&filter, cursor, PAGE)?))?;
        let known: HashSet<String> = unseen.threads.iter().map(|thread| thread.thread_id.clone()).collect();
        let every = unseen.next_cursor.is_none();
        let counts = self.reader.queue_counts(&self.viewer)?;
        let rows = |page: Page, tab: Tab, total: u32| -> Result<Queue, EngineError> {
            let more = page.next_cursor.is_some();
            let mut rows = Vec::with_capacity(page.threads.len());
            for thread in &page.threads {
                let unseen = tab == Tab::Unseen
                    || known.contains(&thread.thread_id)
                    || (!every && self.reader.is_unseen(thread, &self.viewer)?);
                rows.push(self.thread_row(thread, unseen));
            }
            Ok(Queue { rows, more, total: usize::try_from(total).unwrap_or(usize::MAX) })
        };
        Ok(Queues {
            needs_me: rows(needs_me, Tab::NeedsMe, counts.needs_me)?,
            unseen: rows(unseen, Tab::Unseen, counts.unseen)?,
            assigned: rows(assigned, Tab::Assigned, counts.assigned)?,
            all: rows(all, Tab::All, counts.all)?,
            waiting: usize::try_from(counts.unanswered).unwrap_or(usize::MAX),
        })
    }

    /// What fits what is looked for: among all threads where there are words, else in the queue of the tab.
    fn found(&mut self, asked: &(Tab, Asked), deeper: usize) -> Result<Found, EngineError> {
        let (tab, wanted) = asked;
        let filter = filter_of(wanted);
        if !wanted.text.is_empty() {
            return self.searched(asked, &filter, deeper);
        }
        let page = pages(deeper, |cursor| {
            Ok(match tab {
                Tab::NeedsMe => self.reader.queue(StoreQueue::NeedsMe, &self.viewer, &filter, cursor, PAGE)?,
                Tab::Unseen => self.reader.queue(StoreQueue::Unseen, &self.viewer, &filter, cursor, PAGE)?,
                Tab::Assigned => self.reader.queue(StoreQueue::Assigned, &self.viewer, &filter, cursor, PAGE)?,
                Tab::All => self.reader.threads(&filter, cursor, PAGE)?,
            })
        })?;
        let more = page.next_cursor.is_some();
        let mut rows = Vec::with_capacity(page.threads.len());
        for thread in &page.threads {
            rows.push(self.thread_row(thread, self.reader.is_unseen(thread, &self.viewer)?));
        }
        Ok(Found { asked: asked.clone(), queue: Queue { total: rows.len(), rows, more }, indexed: None })
    }

    fn searched(&mut self, asked: &(Tab, Asked), filter: &ThreadFilter, deeper: usize) -> Result<Found, EngineError> {
        let words = as_typed(&asked.1.text);
        let finder = match self.finder.take() {
            Some(finder) => finder,
            None => self.home.reader()?,
        };
        self.stop.arm(&finder);
        let (mut rows, mut cursor, mut indexed) = (Vec::new(), None, None);
        for _ in 0..=deeper {
            let page = match finder.search(&words, filter, cursor.as_deref(), FOUND, false) {
                Ok(page) => page,
                Err(error) => {
                    self.finder = Some(finder);
                    return Err(error.into());
                }
            };
            for hit in page.hits {
                let unseen = self.reader.is_unseen(&hit.thread, &self.viewer)?;
                let snippet = Some(Snippet { text: hit.snippet, marks: hit.marks });
                rows.push(ThreadRow { snippet, ..self.thread_row(&hit.thread, unseen) });
            }
            indexed = page.indexed;
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        self.finder = Some(finder);
        Ok(Found { asked: asked.clone(), queue: Queue { total: rows.len(), rows, more: cursor.is_some() }, indexed })
    }

    fn thread_row(&self, thread: &Thread, unseen: bool) -> ThreadRow {
        let waiting_since = thread.waiting_since.filter(|_| thread.waits_for_human());
        let minutes = u64::from(self.policy.forum.sla.escalation_minutes);
        let patience =
            if thread.priority >= Priority::High { Duration::ZERO } else { Duration::from_secs(minutes * 60) };
        let agent = match (&thread.run_id, &thread.workspace, &thread.agent_name) {
            (Some(run), Some(workspace), Some(name)) => Some(AgentKey::new(run, workspace, name)),
            (_, _, _) => None,
        };
        ThreadRow {
            thread_id: thread.thread_id.clone(),
            title: thread.title.clone(),
            ticket: thread.ticket.clone(),
            run_id: thread.run_id.clone(),
            agent,
            opened_by: thread.opened_by_name.clone(),
            state: thread.state,
            priority: thread.priority,
            waiting_since,
            due_at: waiting_since.map(|since| since.plus(patience)),
            assignee: thread.assignee_name.clone(),
            snippet: None,
            unseen,
            control: thread.control,
            updated_at: thread.updated_at,
        }
    }

    fn thread(&mut self, wanted: Option<&str>) -> Result<Option<ThreadPage>, EngineError> {
        let Some(thread_id) = wanted else {
            self.opened = None;
            return Ok(None);
        };
        let Some(thread) = self.reader.thread(thread_id)? else { return Ok(None) };
        // Looking marks as seen; what was new when the thread was opened stays marked as such while it is open.
        let seen_to = match &self.opened {
            Some((opened, seen_to)) if opened == thread_id => *seen_to,
            Some(_) | None => {
                let mark = self.reader.seen_mark(thread_id, &self.viewer)?;
                self.opened = Some((thread_id.to_owned(), mark));
                mark
            }
        };
        let posts = self.reader.posts(thread_id, Some(POSTS))?;
        let deliveries = self.reader.deliveries_of_thread(thread_id)?;
        let earlier = usize::try_from(thread.posts_count).unwrap_or(0).saturating_sub(posts.len());
        let open = match &thread.run_id {
            Some(run_id) if thread.control => self.reader.open_requests(run_id)?,
            Some(_) | None => Vec::new(),
        };
        let open = open.into_iter().filter(|request| request.thread_id == thread_id).map(|request| request.post_id);
        let open = open.collect();
        Ok(Some(ThreadPage { thread, posts, deliveries, open, earlier, seen_to, viewer: self.viewer.id() }))
    }
}

/// The last word may be half typed.
fn as_typed(text: &str) -> String {
    let half =
        text.chars().next_back().is_some_and(char::is_alphanumeric) && text.matches('"').count().is_multiple_of(2);
    let text: String = text.chars().take(LONGEST_SEARCH).collect();
    if half { format!("{text}*") } else { text }
}

fn filter_of(asked: &Asked) -> ThreadFilter {
    ThreadFilter {
        ticket: asked.ticket.clone(),
        run_id: asked.run_id.clone(),
        state: asked.state.map(|state| state.word().to_owned()),
        priority: asked.priority.map(|priority| priority.word().to_owned()),
        assignee: asked.assignee.clone(),
        agent: asked.agent.clone(),
    }
}

/// Needs a human, unhealthy, running, the rest; within each the newest first, as they come.
fn rank(run: &RunRow) -> u8 {
    let over = matches!(run.status, RunStatus::Closed | RunStatus::Stopped | RunStatus::Stopping);
    match (run.needs_human(), run.unhealthy()) {
        (_, _) if over => 4,
        (true, _) => 0,
        (false, true) => 1,
        (false, false) if run.status.at_work() => 2,
        (false, false) => 3,
    }
}

/// What calls for a human: escalations that stand, and suggestions that wait for a word.
fn attention(reader: &Reader) -> Result<(Vec<EscalationRow>, Vec<SuggestionRow>), EngineError> {
    let mut standing = reader.escalations(None, true)?;
    // What a human knows of stands below what calls; otherwise they stay as they come.
    standing.sort_by_key(|escalation| escalation.state == EscalationState::Acknowledged);
    let escalations = standing.into_iter().map(|escalation| EscalationRow {
        id: escalation.escalation_id,
        kind: escalation.kind.word().to_owned(),
        severity: escalation.severity.word().to_owned(),
        acknowledged: escalation.state == EscalationState::Acknowledged,
        reason: escalation.reason,
        ticket: escalation.ticket,
        run_id: escalation.run_id,
        workspace: escalation.workspace,
        agent: escalation.agent,
        letter: escalation.evidence["outbox_id"].as_i64().filter(|_| escalation.kind == Kind::DeadLetter),
        thread_id: escalation.thread_id,
        opened_at: escalation.opened_at,
        due_at: escalation.due_at,
        notified: escalation.notified,
    });
    let suggestions = reader.suggestions(None, true)?.into_iter().map(|suggestion| SuggestionRow {
        offer: offer(&suggestion),
        id: suggestion.suggestion_id,
        reason: suggestion.reason,
        target: suggestion.target,
        ticket: suggestion.ticket,
        run_id: suggestion.run_id,
        workspace: suggestion.workspace,
        agent: suggestion.agent,
        created_at: suggestion.created_at,
    });
    Ok((escalations.collect(), suggestions.collect()))
}

fn pages(deeper: usize, mut read: impl FnMut(Option<&str>) -> Result<Page, EngineError>) -> Result<Page, EngineError> {
    let mut all = read(None)?;
    for _ in 0..deeper {
        let Some(cursor) = all.next_cursor.take() else { break };
        let page = read(Some(&cursor))?;
        all.threads.extend(page.threads);
        all.next_cursor = page.next_cursor;
    }
    Ok(all)
}

fn agent_row(agent: &Agent, vitals: Option<&Vitals>) -> AgentRow {
    let exit = agent.exit.as_ref().map(|exit| match (&exit.status, &exit.signal) {
        (Some(status), _) => status.to_string(),
        (None, Some(signal)) => signal.trim_start_matches("SIG").to_owned(),
        (None, None) => "?".to_owned(),
    });
    AgentRow {
        key: agent.key.clone(),
        ticket: agent.spec.ticket.clone(),
        session: agent.spec.session.clone(),
        status: agent.status,
        health: agent.health,
        waiting_for: agent.waiting_for,
        reason: agent.reason.clone(),
        since: agent.since,
        exit,
        last_output_at: vitals.and_then(|vitals| vitals.last_output_at),
        last_seen_at: vitals.map(|vitals| vitals.last_seen_at),
        last_progress_at: agent.last_progress_at.max(vitals.and_then(|vitals| vitals.last_progress_at)),
        restarts: (agent.restarts.used, agent.restarts.budget),
        held: agent.held.clone(),
        restart_at: None,
        cooldown_until: agent.restarts.cooldown_until,
        quiet_until: agent.quiet.as_ref().filter(|_| agent.status.working()).map(|quiet| quiet.until),
        launch: agent.launch,
        may_live: agent.program_may_live(),
        starting: agent.start_due() && agent.status.working(),
    }
}

/// Where the policy is wrong and why, on one line.
fn policy_words(home: &Home, error: &EngineError) -> String {
    match error {
        EngineError::Policy { path, faults } => {
            // What is wrong stands behind it and must not be pushed off the screen.
            let path = Path::new(path).strip_prefix(&home.root).map_or(path.clone(), |path| path.display().to_string());
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            let more = faults.len().saturating_sub(1);
            let tail = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            format!("{path}: {first}{tail}")
        }
        error => error.to_string(),
    }
}

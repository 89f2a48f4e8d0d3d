//! What is counted and looked up once for each snapshot, so that no frame and no key goes through whole lists.

use std::collections::{BTreeSet, HashMap};

use unicode_width::UnicodeWidthStr;

use crate::domain::agent::{AgentKey, AgentStatus, Health};
use crate::domain::time::Moment;
use crate::services::snapshot::Snapshot;

/// The widest of what stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// A run's tickets.
    pub tickets: usize,
    /// A run's steps.
    pub steps: usize,
    /// A run's agents, a sign each.
    pub signs: usize,
    /// An agent's name.
    pub agent: usize,
    /// An agent's workspace.
    pub workspace: usize,
    /// An agent's restarts.
    pub restarts: usize,
    /// What is counted down about an agent.
    pub soon: usize,
    /// The ticket of an escalation or suggestion.
    pub called: usize,
    /// A thread's ticket.
    pub ticket: usize,
    /// Who opened a thread.
    pub opener: usize,
    /// When a thread is due: more where one is overdue.
    pub due: usize,
}

impl Needs {
    fn of(snapshot: &Snapshot, now: Moment) -> Self {
        let mut needs = Self::default();
        for run in &snapshot.runs {
            let tickets: usize = run.tickets.iter().map(|ticket| ticket.width() + 1).sum();
            needs.tickets = needs.tickets.max(tickets.saturating_sub(1));
            needs.steps = needs.steps.max(digits(run.steps.0) + 1 + digits(run.steps.1));
            needs.signs = needs.signs.max(run.agents.len());
        }
        for agent in &snapshot.agents {
            needs.agent = needs.agent.max(agent.key.name.width());
            needs.workspace = needs.workspace.max(agent.key.workspace.width());
            if agent.held.is_some()
                || (agent.restart_at.is_some() && snapshot.facts.supervisor.is_some())
                || [agent.cooldown_until, agent.quiet_until].iter().any(|at| *at > Some(now))
            {
                needs.soon = "restart in 55s".len();
            }
            if agent.restarts.1 > 0 {
                needs.restarts = needs.restarts.max(4);
            }
        }
        let tickets = snapshot.escalations.iter().map(|row| &row.ticket);
        for ticket in tickets.chain(snapshot.suggestions.iter().map(|row| &row.ticket)).flatten() {
            needs.called = needs.called.max(ticket.width());
        }
        for thread in crate::services::snapshot::Tab::ALL.iter().flat_map(|tab| &snapshot.queues.of(*tab).rows) {
            needs.ticket = needs.ticket.max(thread.ticket.width());
            needs.opener = needs.opener.max(thread.speaker().width());
            let due = thread.due().map_or(0, |due| if due <= now { "overdue <10s".len() } else { "due <10s".len() });
            needs.due = needs.due.max(due);
        }
        needs
    }
}

const fn digits(number: usize) -> usize {
    match number {
        0..10 => 1,
        10..100 => 2,
        _ => 3,
    }
}

/// A snapshot's numbers.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    /// Escalations, and questions that are none yet.
    pub waiting: usize,
    /// Agents at work whose health is known to be good.
    pub healthy: usize,
    /// Agents that are quiet for too long.
    pub stalled: usize,
    /// Agents that are dead or failed.
    pub dead: usize,
    /// Escalations that call, and those that a human knows of.
    pub escalations: (usize, usize),
    /// Questions that wait for a human, escalated or not.
    pub questions: usize,
    /// How wide what stands in columns is.
    pub needs: Needs,
    /// What is not as it should be with the agents of a run, in words.
    pub unwell: HashMap<String, String>,
    /// The thread in which an agent waits for a human.
    pub asks: HashMap<AgentKey, String>,
    /// The most pressing thread of a run that waits for a human.
    pub run_asks: HashMap<String, String>,
}

impl Digest {
    /// The numbers of a snapshot at a moment.
    pub fn of(snapshot: &Snapshot, now: Moment) -> Self {
        let mut digest = Self::default();
        for agent in &snapshot.agents {
            let stalled = agent.status == AgentStatus::Stalled && agent.health_at(now) != Health::Unknown;
            if stalled || matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed) {
                let words = digest.unwell.entry(agent.key.run_id.clone()).or_default();
                let and = if words.is_empty() { "" } else { ", " };
                let is = if agent.status == AgentStatus::Failed { "" } else { "is " };
                words.push_str(&format!("{and}{} {is}{}", agent.key.name, agent.status));
            }
            match agent.status {
                AgentStatus::Stalled => digest.stalled += usize::from(stalled),
                AgentStatus::Dead | AgentStatus::Failed => digest.dead += 1,
                AgentStatus::Running | AgentStatus::Idle => {
                    digest.healthy += usize::from(matches!(agent.health_at(now), Health::Healthy | Health::Idle));
                }
                AgentStatus::Pending | AgentStatus::Stopping | AgentStatus::Stopped | AgentStatus::Done => {}
            }
        }
        let escalated: BTreeSet<&str> =
            snapshot.escalations.iter().filter_map(|row| row.thread_id.as_deref()).collect();
        let calls = snapshot.escalations.iter().filter(|row| row.calls(now)).count();
        digest.escalations = (calls, snapshot.escalations.len() - calls);
        digest.waiting = calls;
        digest.needs = Needs::of(snapshot, now);
        let mut read = BTreeSet::new();
        for row in snapshot.queues.needs_me.rows.iter().filter(|row| row.waits()) {
            read.insert(row.thread_id.as_str());
            if let Some(agent) = &row.agent {
                digest.asks.entry(agent.clone()).or_insert_with(|| row.thread_id.clone());
            }
            if let Some(run_id) = &row.run_id {
                digest.run_asks.entry(run_id.clone()).or_insert_with(|| row.thread_id.clone());
            }
        }
        // Of what waits only the most pressing is read; an escalation of the rest stands for its question as well.
        let unread = snapshot.queues.waiting.saturating_sub(read.len());
        digest.questions = read.len() + unread;
        digest.waiting += read.difference(&escalated).count();
        digest.waiting += unread.saturating_sub(escalated.difference(&read).count());
        digest
    }
}

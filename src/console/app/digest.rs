//! What is counted and looked up once for each snapshot, so that no frame and no key goes through whole lists.

use std::collections::{BTreeSet, HashMap};

use crate::domain::agent::{AgentKey, AgentStatus, Health};
use crate::domain::time::Moment;
use crate::services::snapshot::Snapshot;

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
            match agent.status {
                AgentStatus::Stalled => digest.stalled += 1,
                AgentStatus::Dead | AgentStatus::Failed => digest.dead += 1,
                AgentStatus::Running | AgentStatus::Idle => {
                    digest.healthy += usize::from(matches!(agent.health_at(now), Health::Healthy | Health::Idle));
                }
                AgentStatus::Pending | AgentStatus::Stopping | AgentStatus::Stopped | AgentStatus::Done => {}
            }
        }
        let escalated: BTreeSet<&str> =
            snapshot.escalations.iter().filter_map(|row| row.thread_id.as_deref()).collect();
        digest.waiting = snapshot.escalations.len();
        for row in snapshot.queues.needs_me.rows.iter().filter(|row| row.waits()) {
            digest.waiting += usize::from(!escalated.contains(row.thread_id.as_str()));
            if let Some(agent) = &row.agent {
                digest.asks.entry(agent.clone()).or_insert_with(|| row.thread_id.clone());
            }
            if let Some(run_id) = &row.run_id {
                digest.run_asks.entry(run_id.clone()).or_insert_with(|| row.thread_id.clone());
            }
        }
        digest
    }
}

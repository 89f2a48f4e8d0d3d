//! Whether programs that print nothing were stopped: what does not run cannot print, and nothing else says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::launcher::Record;
use super::super::process::Processes;
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::health::STILL;
use crate::domain::time::Moment;

/// A silent program is looked at this often.
const EVERY: Duration = Duration::from_secs(10);

/// What was found of a launch, and when.
#[derive(Debug)]
struct Found {
    launch: u32,
    at: Instant,
    /// The program that is stopped.
    stopped: Option<u32>,
}

/// What was last found of each; each is looked at now and then, while it is silent.
#[derive(Debug, Default)]
pub struct Stops(BTreeMap<AgentKey, Found>);

impl Stops {
    /// The program of a launch, if that is stopped.
    pub fn look(
        &mut self,
        agent: &Agent,
        record: &Record,
        output_at: Option<Moment>,
        now: Moment,
        procs: &dyn Processes,
    ) -> Option<u32> {
        if output_at.is_none_or(|at| now.since(at) < STILL) {
            self.0.remove(&agent.key);
            return None;
        }
        let known = self.0.get(&agent.key).filter(|found| found.launch == agent.launch && found.at.elapsed() < EVERY);
        if let Some(found) = known {
            return found.stopped;
        }
        let stopped = record.program().filter(|(pid, start)| procs.stopped(*pid, *start)).map(|(pid, _)| pid);
        self.0.insert(agent.key.clone(), Found { launch: agent.launch, at: Instant::now(), stopped });
        stopped
    }

    /// Forgets all but these.
    pub fn keep(&mut self, launches: &BTreeMap<&AgentKey, u32>) {
        self.0.retain(|key, found| launches.get(key) == Some(&found.launch));
    }
}

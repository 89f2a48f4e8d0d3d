//! Which agents of a run wait for an answer in the forum.

use std::collections::BTreeSet;

use crate::domain::agent::{Agent, AgentKey};
use crate::domain::run::{Run, RunStatus};
use crate::store::{Reader, StoreError};

/// The agents of a run with an open request or question of their present epoch.
///
/// # Errors
/// What the store says.
pub fn asking(reader: &Reader, run: &Run, agents: &[Agent]) -> Result<BTreeSet<AgentKey>, StoreError> {
    if run.status != RunStatus::AwaitingGuidance {
        return Ok(BTreeSet::new());
    }
    let mut asking = BTreeSet::new();
    for request in reader.open_requests(run.id())? {
        let key = AgentKey::new(run.id(), request.workspace, request.agent_name);
        if agents.iter().any(|agent| agent.key == key && agent.epoch == request.epoch) {
            asking.insert(key);
        }
    }
    for thread in reader.blocking_threads(Some(run.id()))?.into_iter().filter(|thread| thread.waits_for_human()) {
        if let (Some(workspace), Some(name)) = (thread.workspace, thread.agent_name) {
            asking.insert(AgentKey::new(run.id(), workspace, name));
        }
    }
    Ok(asking)
}

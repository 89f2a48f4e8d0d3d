//! Ends sessions by command: a whole run's, or one agent's.

use std::time::Duration;

use super::agents;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use crate::domain::agent::Agent;
use crate::domain::command::{AgentWish, RunWish};
use crate::domain::run::RunStatus;

/// How long an executor may take to notice that its run was stopped.
const EXECUTOR_PATIENCE: Duration = Duration::from_secs(20);

/// Stops a run: the intention is committed at once, whoever works on the run; then its sessions are ended.
///
/// # Errors
/// A refusal, or what could not be ended.
pub fn stop_run(engine: &Engine, caller: &Caller, run_id: &str) -> Result<(), EngineError> {
    engine.order_run(caller, run_id, RunWish::Stop)?;
    // The executor sees the intention within a moment and lets go.
    let _lease = engine.lease_run_within(run_id, "stop", caller, EXECUTOR_PATIENCE)?;
    finish(engine, caller, run_id)
}

/// Carries a stop on that was begun. The caller holds the run's lease.
///
/// # Errors
/// What could not be ended.
pub fn finish(engine: &Engine, caller: &Caller, run_id: &str) -> Result<(), EngineError> {
    if engine.run(run_id)?.status != RunStatus::Stopping {
        return Ok(());
    }
    let agents = engine.reader()?.agents(run_id)?;
    end_all(engine, caller, &agents)?;
    engine.order_run(caller, run_id, RunWish::FinishStop)?;
    end_server_if_unused(engine, run_id);
    Ok(())
}

/// Ends the sessions of agents, all at once: each has its own grace.
///
/// # Errors
/// The first that could not be ended; the others are ended all the same.
pub fn end_all(engine: &Engine, caller: &Caller, agents: &[Agent]) -> Result<(), EngineError> {
    let ends: Vec<Result<(), EngineError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = agents
            .iter()
            .map(|agent| {
                scope.spawn(move || {
                    agents::end(engine, agent)?;
                    engine.order_agent(caller, &agent.key, AgentWish::Stopped)?;
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(EngineError::Interrupted("a worker ended".to_owned()))))
            .collect()
    });
    ends.into_iter().collect()
}

/// Stops one agent.
///
/// # Errors
/// A refusal, or what could not be ended.
pub fn stop_agent(engine: &Engine, caller: &Caller, agent: &Agent) -> Result<(), EngineError> {
    engine.order_agent(caller, &agent.key, AgentWish::Stop)?;
    end_all(engine, caller, std::slice::from_ref(agent))
}

/// The keeper of our tmux server goes with the last session.
pub fn end_server_if_unused(engine: &Engine, run_id: &str) {
    if let Ok(policy) = engine.policy_of(run_id)
        && let Ok(tmux) = engine.tmux(&policy)
    {
        // The server is of no use to anybody then; that it stays does no harm either.
        let _ = tmux.end_keeper_if_last();
    }
}

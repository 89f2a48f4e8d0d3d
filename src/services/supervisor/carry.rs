//! Carries on what another process began and did not end: plans, starts, stops, closings.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::super::closing;
use super::super::engine::{Caller, Engine};
use super::super::executor::{execute, no_drill};
use super::super::stopping;
use super::standing::Open;
use crate::domain::plan::{Step, can_go_on};
use crate::domain::run::RunStatus;

/// What is carried on by this process, each run in a thread of its own.
pub struct Carrier {
    engine: Arc<Engine>,
    caller: Caller,
    threads: BTreeMap<String, JoinHandle<()>>,
    /// Why what was carried on did not come through, by run.
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
    ending: Arc<AtomicBool>,
}

impl Carrier {
    /// Nothing is carried on yet; `ending` interrupts what will be.
    pub fn new(engine: &Arc<Engine>, caller: &Caller, ending: &Arc<AtomicBool>) -> Self {
        Self {
            engine: Arc::clone(engine),
            caller: caller.clone(),
            threads: BTreeMap::new(),
            troubles: Arc::default(),
            ending: Arc::clone(ending),
        }
    }

    /// What did not come through.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Carries a run on, if there is something to carry on and nobody does.
    pub fn carry_on(&mut self, open: &Open) {
        let run = &open.run;
        self.threads.retain(|_, thread| !thread.is_finished());
        if self.threads.contains_key(run.id()) {
            return;
        }
        if !unfinished(open) {
            self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(run.id());
            return;
        }
        let Ok(lease) = self.engine.lease_run(run.id(), "carry on", &self.caller) else { return };
        let (engine, caller, ending) = (Arc::clone(&self.engine), self.caller.clone(), Arc::clone(&self.ending));
        let (id, status, troubles) = (run.id().to_owned(), run.status, Arc::clone(&self.troubles));
        let work = move || {
            let _lease = lease;
            let carried = match status {
                RunStatus::Stopping => stopping::finish(&engine, &caller, &id),
                RunStatus::Closing => closing::carry_on(&engine, &caller, &id),
                RunStatus::Running | RunStatus::AwaitingGuidance => {
                    execute(&engine, &caller, &id, &ending, &no_drill).map(drop)
                }
                RunStatus::Created
                | RunStatus::Planning
                | RunStatus::Paused
                | RunStatus::Failed
                | RunStatus::Stopped
                | RunStatus::Closed
                | RunStatus::Completed => Ok(()),
            };
            // What did not come through is found again at the next tick; why it did not is said.
            let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
            match carried {
                Ok(()) => troubles.remove(&id),
                Err(error) => troubles.insert(id.clone(), format!("carrying on {id}: {error}")),
            };
        };
        if let Ok(thread) = std::thread::Builder::new().name(format!("carry {}", run.id())).spawn(work) {
            self.threads.insert(run.id().to_owned(), thread);
        }
    }

    /// Interrupts all of it and waits for that.
    pub fn end(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        for thread in std::mem::take(&mut self.threads).into_values() {
            let _ = thread.join();
        }
    }
}

fn unfinished(open: &Open) -> bool {
    match open.run.status {
        RunStatus::Stopping | RunStatus::Closing => true,
        RunStatus::Running | RunStatus::AwaitingGuidance => {
            let all: Vec<&Step> = open.steps.iter().collect();
            can_go_on(&all, open.run.spec.step_retries)
                || open.agents.iter().any(|agent| agent.start_due() && agent.launch > 0)
        }
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Paused
        | RunStatus::Failed
        | RunStatus::Stopped
        | RunStatus::Closed
        | RunStatus::Completed => false,
    }
}

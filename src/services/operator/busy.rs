//! Decisions that cannot be carried out because somebody has the run and does not let go: a human is called after a while.
//!
//! Who begins to supervise counts anew from when it first was in the way; that a human was called stands in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::domain::command::{Busy, Command, EscalationWish};
use crate::domain::escalation::{Escalation, Kind, LEASE_TARGET};
use crate::domain::operator::{Conclusion, Measure};
use crate::domain::time::Moment;
use crate::services::engine::{Caller, Engine};
use crate::services::error::EngineError;
use crate::services::process::Processes;
use crate::services::process::lease::Holder;

/// So many looks a decision may wait for who has its run, and never less than a minute: commands take their time.
const LOOKS: u32 = 5;
const SHORTEST: Duration = Duration::from_secs(60);

/// How long a decision may wait for who has its run.
pub fn patience(interval: Duration) -> Duration {
    SHORTEST.max(interval * LOOKS)
}

/// Who has a run, since when, and whether that process does anything.
pub fn busy_by(holder: Option<&Holder>, procs: &dyn Processes, now: Moment) -> String {
    let Some(holder) = holder else { return "the run is busy: somebody has its lock who does not say so".to_owned() };
    let since = Moment::from_millis(holder.since_ms).clock(now);
    let Holder { operation, holder: who, pid, .. } = holder;
    let stopped = match procs.stopped(*pid, holder.start_time) {
        true => format!(", which was stopped: kill -CONT {pid} lets it go on, kill -9 {pid} ends it"),
        false => String::new(),
    };
    format!("the run is busy: {operation} by {who} since {since} (process {pid}{stopped})")
}

/// The runs that somebody has about which something is decided.
#[derive(Debug, Default)]
pub(super) struct InTheWay {
    since: BTreeMap<String, (Instant, Moment)>,
    /// Those of this look.
    seen: BTreeSet<String>,
}

impl InTheWay {
    pub fn look(&mut self) {
        self.seen.clear();
    }

    /// Somebody still has a run about which something is decided.
    pub fn keep(&mut self, run_id: &str) {
        self.seen.insert(run_id.to_owned());
    }

    /// A decision could not be carried out.
    pub fn note(
        &mut self,
        engine: &Engine,
        (run_id, conclusion): (&str, &Conclusion),
        holder: Option<&Holder>,
        (measure, patience): (&Measure, Duration),
        now: Moment,
    ) -> Result<(), EngineError> {
        self.seen.insert(run_id.to_owned());
        let (begun, since) = *self.since.entry(run_id.to_owned()).or_insert((Instant::now(), now));
        if begun.elapsed() < patience {
            return Ok(());
        }
        let decision = &conclusion.decision;
        let busy = Busy {
            decided: format!("{} ({})", decision.intent.word(), decision.reason),
            since,
            holder: holder.map(|holder| (holder.pid, Moment::from_millis(holder.since_ms))),
            by: busy_by(holder, engine.processes.as_ref(), now),
        };
        let due_at = (!measure.call_again.is_zero()).then(|| now.plus(measure.call_again));
        let escalation_id = engine.ledger.new_id("esc");
        engine.order(
            &Caller::system("rules"),
            &Command::Busy { run_id: run_id.to_owned(), busy, due_at, escalation_id },
        )?;
        Ok(())
    }

    /// Nobody is in the way any more: the run is free, or nothing is decided about it.
    pub fn ease(&mut self, engine: &Engine, calls: &[Escalation]) -> Result<(), EngineError> {
        self.since.retain(|run_id, _| self.seen.contains(run_id));
        let ours = |call: &&Escalation| call.kind == Kind::NotActed && call.target == LEASE_TARGET;
        let over = |call: &&Escalation| call.run_id.as_ref().is_some_and(|run_id| !self.seen.contains(run_id));
        for call in calls.iter().filter(ours).filter(over) {
            // Not a human's word: where somebody is in the way again they are called again.
            let wish = EscalationWish::Resolve { note: Some("nobody is in the way any more".to_owned()) };
            let escalation_id = call.escalation_id.clone();
            engine.order(&Caller::system("rules"), &Command::Escalation { escalation_id, wish })?;
        }
        Ok(())
    }
}

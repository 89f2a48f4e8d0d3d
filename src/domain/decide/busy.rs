//! A decision that cannot be carried out: a human is called to who is in the way, once for each who is.

use serde_json::json;

use super::operator::{Call, call_human};
use super::run_subject;
use crate::domain::command::Busy;
use crate::domain::escalation::{Kind, LEASE_TARGET};
use crate::domain::event::Draft;
use crate::domain::refusal::Refusal;
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

pub(super) fn decide(
    scene: &Scene,
    run_id: &str,
    busy: &Busy,
    due_at: Option<Moment>,
    new_id: &str,
) -> Result<Vec<Draft>, Refusal> {
    if scene.runs.get(run_id).is_none() {
        return Err(Refusal::not_found(format!("no run {run_id}")));
    }
    let cause = match busy.holder {
        Some((pid, since)) => format!("held by process {pid} since {since}"),
        None => "held by nobody knows whom".to_owned(),
    };
    let about = run_subject(run_id);
    let known = scene.escalations.iter().any(|call| {
        let same = call.kind == Kind::NotActed && call.target == LEASE_TARGET && call.run_id == about.run_id;
        same && call.stands() && call.cause == cause
    });
    // What else is decided meanwhile waits for the same.
    if known {
        return Ok(Vec::new());
    }
    let call = Call {
        about: &about,
        kind: Kind::NotActed,
        target: LEASE_TARGET,
        cause: &cause,
        reason: &format!("it was decided and is not done: {}; {}", busy.decided, busy.by),
        evidence: json!({
            "signal": "lease",
            "source": "lock file",
            "since": busy.since,
            "pid": busy.holder.map(|(pid, _)| pid),
            "held_since": busy.holder.map(|(_, since)| since),
        }),
        due_at,
    };
    Ok(call_human(scene, call, new_id).into_iter().collect())
}

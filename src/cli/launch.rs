//! `agent exec`: the process in an agent's pane.

use std::path::Path;
use std::sync::Arc;

use super::print;
use crate::domain::actor::Actor;
use crate::domain::agent::AgentKey;
use crate::domain::command::{AgentWish, Command};
use crate::services::agents::exit_of;
use crate::services::launcher::{LaunchSpec, Record, run as launch};
use crate::services::process::default_table;
use crate::store::ids::{Clock, RandomIds, SystemClock};
use crate::store::{Ledger, Order};

/// Starts the agent that the file describes and returns its exit status.
pub fn run(path: &Path) -> u8 {
    let spec = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice::<LaunchSpec>(&bytes).map_err(|error| error.to_string()));
    let spec = match spec {
        Ok(spec) => spec,
        Err(reason) => {
            print::err(&format!("metawsm: the launch {} cannot be read: {reason}", path.display()));
            return 126;
        }
    };
    let now = || SystemClock.now().millis();
    let mut on_end = |record: &Record| report(&spec, record);
    let status = launch(&spec, &now, &mut on_end);
    // It may hold secrets. Whoever started us removes it as soon as our record is there; it may have died.
    let _ = std::fs::remove_file(path);
    u8::try_from(status).unwrap_or(126)
}

/// The file says it already; the ledger is told so that nobody has to be watching. Where that fails, the
/// supervisor reads the file.
fn report(spec: &LaunchSpec, record: &Record) {
    let variable = |name: &str| spec.env.get(name).cloned();
    let (Some(db), Some(run), Some(workspace), Some(agent)) =
        (variable("METAWSM_DB"), variable("METAWSM_RUN_ID"), variable("METAWSM_WORKSPACE"), variable("METAWSM_AGENT"))
    else {
        return;
    };
    let Some(exit) = exit_of(record, &*default_table()) else { return };
    if !Path::new(&db).exists() {
        return;
    }
    let Ok(ledger) = Ledger::open(Path::new(&db), Arc::new(SystemClock), Arc::new(RandomIds::default())) else {
        return;
    };
    let key = AgentKey::new(run, workspace, agent);
    let command = Command::Agent { key, wish: AgentWish::Exited { launch: spec.n, exit } };
    let _ = ledger.execute(&Order::new(&command, &Actor::system("launcher")));
}

//! A supervisor that is left behind when a console is left: `metawsm --headless` in a window beside the keeper of our
//! tmux server. It goes on until no run is left that needs it, and the keeper with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::EngineError;
use super::home::make_dir;
use super::process::lease::read_holder;
use super::process::{kill, own_pid};
use super::tmux::{Created, Tmux};
use crate::domain::escalation::Kind;
use crate::domain::policy::{OperatorMode, Policy};
use crate::domain::run::{Run, RunStatus};
use crate::store::Reader;

/// Who holds the lease, in words: by them a left supervisor is told from a console.
pub const WHO: &str = "metawsm --headless, left behind";

/// The name of its window.
const WINDOW: &str = "supervisor";
/// It is waited for so long to have the lease.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of what it said before it ended, so much is told.
const LAST_WORDS: usize = 400;

/// Says nothing to the terminal of its window, which nobody looks at, but holds on to it: tmux ends a pane whose terminal
/// nobody has open. Events stand in the journal: they fill no file beside it. `exec` keeps the process that tmux knows.
const QUIETLY: &str = r#"umask 077; log=$1; shift; exec "$@" >/dev/null 2>"$log""#;

/// A supervisor that was left behind, and has the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its process.
    pub pid: u32,
    /// Where what it says goes.
    pub log: PathBuf,
}

/// Leaves a supervisor behind. The caller has given the lease back; if this fails, nothing is left running.
///
/// # Errors
/// Why there is none.
pub fn leave(engine: &Engine, mode: Option<OperatorMode>) -> Result<Left, EngineError> {
    let policy = engine.home.load_policy(&[]).map_or_else(|_| Policy::default(), |live| live.policy);
    let tmux = engine.tmux(&policy)?;
    if !tmux.own {
        return Err(EngineError::refused(
            "tmux.socket is \"default\": your own tmux server has no keeper session to leave a supervisor in",
            "run metawsm --headless in a session of yours",
        ));
    }
    let log = engine.home.inside().join("logs").join("left-behind.log");
    log.parent().map_or(Ok(()), make_dir)?;
    let variables: Vec<(String, String)> = handed_on(engine);
    let argv = argv(engine, mode, &log);
    let window = tmux.new_window_beside_keeper(WINDOW, &argv, &variables, policy.tmux.history_lines)?;
    wait_for_lease(engine, &window, &log).inspect_err(|_| {
        // Whoever did not get the lease watches nobody, nor later, and hears no hang-up. That it is gone already is as well.
        if let Some(start) = engine.processes.start_time(window.pane_pid) {
            kill(engine.processes.as_ref(), (window.pane_pid, start));
        }
        let _ = tmux.kill_pane(&window.pane_id);
    })?;
    Ok(Left { pid: window.pane_pid, log })
}

fn argv(engine: &Engine, mode: Option<OperatorMode>, log: &std::path::Path) -> Vec<OsString> {
    let home = &engine.home;
    let mut argv: Vec<OsString> = ["sh", "-c", QUIETLY, "sh"].map(OsString::from).to_vec();
    argv.extend([log.into(), engine.surroundings.program.clone().into_os_string()]);
    for (flag, path) in [("--home", &home.root), ("--db", &home.db), ("--policy", &home.policy)] {
        argv.extend([OsString::from(flag), path.clone().into_os_string()]);
    }
    argv.extend(["--headless", "--until-idle"].map(OsString::from));
    argv.extend(mode.into_iter().flat_map(|mode| ["--operator".into(), mode.word().into()]));
    argv
}

/// What agents are started with later is looked up in its environment: it has ours, not what tmux once began with.
fn handed_on(engine: &Engine) -> Vec<(String, String)> {
    let own = ["TERM", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "_"];
    let foreign = |name: &str| ["TMUX", "GIT_", "METAWSM_"].iter().any(|start| name.starts_with(start));
    let variables = engine.surroundings.variables.iter();
    variables
        .filter(|(name, _)| !own.contains(&name.as_str()) && !foreign(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn wait_for_lease(engine: &Engine, window: &Created, log: &std::path::Path) -> Result<(), EngineError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let holder = read_holder(&engine.home.supervisor_lease(), engine.processes.as_ref());
        match holder {
            Some(holder) if holder.pid == window.pane_pid => return Ok(()),
            Some(holder) if holder.pid != own_pid() => {
                return Err(EngineError::refused(
                    format!("process {} ({}) took the supervision over meanwhile", holder.pid, holder.holder),
                    "nobody need be left behind: q leaves",
                ));
            }
            Some(_) | None => {}
        }
        if engine.processes.start_time(window.pane_pid).is_none() {
            let said = last_words(log);
            return Err(EngineError::outside(format!("the supervisor ended at once: {said}"), "metawsm doctor"));
        }
        if Instant::now() >= deadline {
            let seconds = PATIENCE.as_secs();
            return Err(EngineError::outside(
                format!("the supervisor did not take the lease within {seconds} s"),
                format!("what it said is in {}", log.display()),
            ));
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn last_words(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let text = crate::services::text::one_line(text.trim());
    let skip = text.chars().count().saturating_sub(LAST_WORDS);
    if text.is_empty() { "it said nothing".to_owned() } else { text.chars().skip(skip).collect() }
}

/// Whether nothing is left to watch: every run is closed, stopped, or done and cleaned up, nobody is called, and nothing is
/// still to be done outside.
///
/// # Errors
/// [`EngineError::Store`].
pub fn is_idle(reader: &Reader) -> Result<bool, EngineError> {
    for run in reader.runs()? {
        if !is_over(reader, &run)? {
            return Ok(false);
        }
    }
    let health = reader.outbox_health()?;
    // Nobody is asked any more where no run is at work: that the adviser does not work changes nothing there.
    let called = reader.escalations(None, true)?.iter().any(|call| call.kind != Kind::Adviser);
    Ok(!called && health.pending + health.processing + health.failed == 0)
}

fn is_over(reader: &Reader, run: &Run) -> Result<bool, EngineError> {
    Ok(match run.status {
        RunStatus::Closed | RunStatus::Stopped => true,
        _ if run.spec.dry_run => true,
        RunStatus::Completed | RunStatus::Failed => {
            let workspaces = reader.workspaces(run.id())?;
            !workspaces.is_empty() && workspaces.iter().all(|workspace| workspace.removed)
        }
        RunStatus::Created
        | RunStatus::Planning
        | RunStatus::Running
        | RunStatus::AwaitingGuidance
        | RunStatus::Paused
        | RunStatus::Stopping
        | RunStatus::Closing => false,
    })
}

/// The keeper of our tmux server goes with the last that was kept, and the window of this process with it.
pub fn end_with_keeper(engine: &Engine) {
    if let Ok(Some(tmux)) = engine.tmux_if_known() {
        // The server is of no use to anybody then; that it stays does no harm either.
        let _ = Tmux::end_keeper_from_beside(tmux);
    }
}

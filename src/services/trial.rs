//! Starts an agent program for a try: without a prompt, in a directory of its own, on a tmux server of its own, and ends
//! it with everything it started. It shows that the program starts, not that its model answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use super::engine::Surroundings;
use super::error::EngineError;
use super::home::{Home, make_dir, write_private};
use super::launcher::{LaunchSpec, MARKER_ENV, read_record};
use super::process::{Tree, default_table, end_tree, own_pid};
use super::tmux::{Extent, NewSession, Tmux, without_note};
use crate::domain::runner::program_name;

/// The longest it may take until its screen shows something: some need long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// A screen that did not change for so long is read.
const STILL: Duration = Duration::from_millis(1500);
/// How long its processes, and then its launcher, may take to end.
const GRACE: Duration = Duration::from_secs(3);
/// How long the last words of a program that ended may take to be on its screen.
const LAST_WORDS: Duration = Duration::from_secs(1);
const SESSION: &str = "trial";

/// Starts the program and returns what came of it in words.
///
/// # Errors
/// In words: it could not be started, it ended, or it showed nothing.
pub fn start(
    home: &Home,
    here: &Surroundings,
    argv: &[String],
    env: &BTreeMap<String, String>,
) -> Result<String, String> {
    let program = argv.first().map(String::as_str).unwrap_or_default();
    let name = format!("trial-{}-{}", own_pid(), program_name(program));
    let dir = home.inside().join(name);
    let tmux = Tmux::new(dir.join("s"), true);
    let tried = make_dir(&dir).and_then(|()| begin(&tmux, &dir, here, argv, env));
    let shown = match &tried {
        Ok(()) => watch(&tmux, &dir),
        Err(error) => Err(error.to_string()),
    };
    end(&tmux, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    shown
}

fn marker(dir: &Path) -> String {
    dir.display().to_string()
}

fn begin(
    tmux: &Tmux,
    dir: &Path,
    here: &Surroundings,
    argv: &[String],
    env: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let cwd = dir.join("cwd");
    make_dir(&cwd)?;
    let spec = LaunchSpec {
        n: 1,
        argv: argv.to_vec(),
        cwd: cwd.clone(),
        env: env.clone(),
        env_remove: ["TMUX", "TMUX_PANE"].map(str::to_owned).to_vec(),
        marker: Some(marker(dir)),
        record: dir.join("1.json"),
        continuation: None,
        search: None,
    };
    let path = dir.join("1.launch.json");
    let text = serde_json::to_vec(&spec).map_err(|error| {
        EngineError::refused(format!("the launch cannot be written down: {error}"), "this is a defect")
    })?;
    write_private(&path, &text)?;
    let argv: Vec<OsString> =
        vec![here.program.clone().into(), "agent".into(), "exec".into(), "--spec".into(), path.into()];
    let new =
        NewSession { name: SESSION, cwd: &cwd, argv: &argv, width: 160, height: 45, env: &[], history_lines: 100 };
    tmux.new_session(&new)?;
    Ok(())
}

/// Waits until its screen stands still with something on it.
fn watch(tmux: &Tmux, dir: &Path) -> Result<String, String> {
    let began = Instant::now();
    let mut last = (String::new(), began);
    let look = |extent: Extent| {
        let screen = without_note(tmux.capture(SESSION, extent, false).unwrap_or_default());
        String::from_utf8_lossy(&screen).trim().to_owned()
    };
    loop {
        let screen = look(Extent::Screen);
        let line = |screen: &str| {
            screen
                .lines()
                .rfind(|line| line.chars().any(char::is_alphanumeric))
                .map(str::trim)
                .unwrap_or_default()
                .to_owned()
        };
        let record = read_record(&dir.join("1.json")).map_err(|error| error.to_string())?.unwrap_or_default();
        if record.ended_at_ms.is_some() {
            let how = super::agents::exit_of(&record, &*default_table()).unwrap_or_default().describe();
            // Its last words may still be on their way through the terminal, and when they are through, tmux moves
            // them up by a line to write below them that the pane is dead.
            let until = Instant::now() + LAST_WORDS;
            let mut said = line(&look(Extent::WholeScrollback));
            while said.is_empty() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
                said = line(&look(Extent::WholeScrollback));
            }
            let said = if said.is_empty() { String::new() } else { format!("; it says: {said}") };
            return Err(format!("it does not stay: {how}{said}"));
        }
        if screen != last.0 {
            last = (screen, Instant::now());
        } else if !last.0.is_empty() && last.1.elapsed() >= STILL {
            return Ok(format!(
                "starts (its screen after {} s ends with: {})",
                began.elapsed().as_secs(),
                line(&last.0)
            ));
        }
        if began.elapsed() >= PATIENCE {
            return match last.0.is_empty() {
                true => Err(format!("its screen shows nothing after {} s", PATIENCE.as_secs())),
                false => Ok("starts (its screen does not stand still)".to_owned()),
            };
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn end(tmux: &Tmux, dir: &Path) {
    let record = read_record(&dir.join("1.json")).ok().flatten();
    let tree = Tree {
        launcher: record.as_ref().map(|record| (record.launcher_pid, record.launcher_start)),
        session_id: record.as_ref().filter(|record| record.ended_at_ms.is_none()).map(|record| record.launcher_pid),
        marker: Some(format!("{MARKER_ENV}={}", marker(dir))),
        ..Tree::default()
    };
    let procs = default_table();
    end_tree(&*procs, &tree, GRACE);
    // The launcher writes how its agent ended, and its files are not removed from under it.
    let deadline = Instant::now() + GRACE;
    while tree.launcher.is_some_and(|(pid, start)| procs.alive(pid, start)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = tmux.kill_session(SESSION);
    let _ = tmux.end_keeper_if_last();
}

//! The launcher: the process in an agent's pane. It starts the agent, waits, and durably writes
//! down how the agent ended, without the database and whatever becomes of tmux.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use thiserror::Error;

use super::conversation::{Environment, Outcome, Search, Span, keep};
use super::process::ends::Life;
use super::process::{Processes, Tree, become_subreaper, default_table, end_tree, own_pid, own_session};
use crate::domain::conversation::{Continuation, Conversation};

/// The environment variable that every process of one launch carries.
pub const MARKER_ENV: &str = "METAWSM_LAUNCH";

/// Time between TERM and KILL for what an agent left behind.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How long the tmux server that took the pane away may take to be gone itself.
const SERVER_PATIENCE: Duration = Duration::from_millis(500);

/// When an agent's conversation is first looked for in files, and the longest pause between two looks.
const QUICK_LOOKS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The same where each look starts the agent's program once more.
const SLOW_LOOKS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Exit code of the launcher when the agent's program is not there.
const NOT_FOUND: i32 = 127;

/// Exit code of the launcher when the agent could not be started for another reason.
const NOT_STARTED: i32 = 126;

/// How often a record that cannot be written (a full disk) is tried again, and at what distance.
const WRITE_TRIES: u32 = 20;
const WRITE_PAUSE: Duration = Duration::from_millis(250);

/// What to launch, as it stands in a file: prompts may be longer than tmux or the system let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// The number of this launch of the agent.
    pub n: u32,
    /// The agent's program and arguments.
    pub argv: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Variables set over the launcher's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables taken out of the launcher's environment before.
    #[serde(default)]
    pub env_remove: Vec<String>,
    /// The value of [`MARKER_ENV`]; unique to this launch.
    #[serde(default)]
    pub marker: Option<String>,
    /// Where the record is written.
    pub record: PathBuf,
    /// What becomes of the conversation of the launch before; for the record.
    #[serde(default)]
    pub continuation: Option<Continuation>,
    /// How the agent's conversation is found, where it is not known yet.
    #[serde(default)]
    pub search: Option<Search>,
}

impl LaunchSpec {
    /// The environment line by which every process of this launch can be found.
    pub fn marker_line(&self) -> Option<String> {
        self.marker.as_ref().map(|marker| format!("{MARKER_ENV}={marker}"))
    }
}

/// How one launch went. While `ended_at_ms` is absent the launcher has not seen the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the launch.
    pub n: u32,
    /// The launcher's process, which also names its session.
    pub launcher_pid: u32,
    /// When the launcher began, in the unit of the process table.
    pub launcher_start: u64,
    /// The agent's process.
    pub agent_pid: Option<u32>,
    /// When the agent began, in the unit of the process table.
    pub agent_start: Option<u64>,
    /// Milliseconds since 1970.
    pub started_at_ms: i64,
    /// The exit code; `None` after a signal.
    pub exit_code: Option<i32>,
    /// The signal that ended it, `SIGKILL`.
    pub exit_signal: Option<String>,
    /// Milliseconds since 1970.
    pub ended_at_ms: Option<i64>,
    /// Why it could not be started, or waited for.
    pub error: Option<String>,
    /// The tmux server in whose pane the launcher runs.
    #[serde(default)]
    pub server_pid: Option<u32>,
    /// When that server began, in the unit of the process table; 0 when it was gone already.
    #[serde(default)]
    pub server_start: u64,
    /// Whether the pane was taken away before the agent ended.
    #[serde(default)]
    pub hung_up: bool,
    /// What became of the conversation of the launch before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuation: Option<Continuation>,
}

impl Record {
    /// The launcher, by pid and start time.
    pub fn launcher(&self) -> Life {
        (self.launcher_pid, self.launcher_start)
    }

    /// The agent's own program, once it runs.
    pub fn program(&self) -> Option<Life> {
        self.agent_pid.zip(self.agent_start)
    }

    /// The tmux server of this launch, if exactly that one does not run any more.
    pub fn server_gone(&self, procs: &dyn Processes) -> Option<String> {
        let pid = self.server_pid?;
        (!procs.alive(pid, self.server_start)).then(|| format!("{pid}/{}", self.server_start))
    }

    /// The tmux server that this launch went with: it is gone, and the end came by that or was seen by nobody.
    pub fn server_lost(&self, procs: &dyn Processes) -> Option<String> {
        self.server_gone(procs).filter(|_| self.hung_up || self.ended_at_ms.is_none())
    }
}

/// Why a record could not be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("could not {what} the launch record {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The record's file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It holds no record.
    #[error("the launch record {} cannot be read: {source}; how this launch ended is unknown", path.display())]
    Broken {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Writes the record so that, after any crash, the file is the old one or the new one whole.
///
/// # Errors
/// [`RecordError::Io`].
pub fn write_record(path: &Path, record: &Record) -> Result<(), RecordError> {
    let io = |what| move |source| RecordError::Io { what, path: path.to_path_buf(), source };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("make the directory of"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}.tmp", own_pid()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Half a file of no further use, maybe on a full disk.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(io("write"))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("make durable"))
}

/// Reads a record; `None` when there is no such file.
///
/// # Errors
/// [`RecordError`].
pub fn read_record(path: &Path) -> Result<Option<Record>, RecordError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecordError::Broken { path: path.to_path_buf(), source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Io { what: "read", path: path.to_path_buf(), source }),
    }
}

/// Runs the agent to its end and returns the code to exit with: the agent's, or 128 + the signal.
///
/// The agent stays in the launcher's process group, which has the terminal: a full-screen program
/// in another group would be stopped at its first word. The end is written to the file first;
/// `on_end` reports it elsewhere second; what the agent left behind is ended last.
pub fn run(spec: &LaunchSpec, now: &dyn Fn() -> i64, on_end: &mut dyn FnMut(&Record)) -> i32 {
    let procs = default_table();
    let mut record = Record {
        n: spec.n,
        launcher_pid: own_pid(),
        launcher_start: procs.start_time(own_pid()).unwrap_or(0),
        started_at_ms: now(),
        continuation: spec.continuation.clone(),
        ..Record::default()
    };
    note_server(&mut record, &*procs);
    // Handlers, not "ignore": a program started later begins with the default again.
    let signals = Signals::new([SIGCHLD, SIGINT, SIGQUIT, SIGTSTP, SIGTERM, SIGHUP]);
    become_subreaper();
    if let Err(error) = write_record(&spec.record, &record) {
        // Nobody could learn of this agent's end after a crash.
        complain(&format!("{error}; the agent was not started"));
        return NOT_STARTED;
    }
    let code = match signals {
        Ok(mut signals) => run_agent(spec, &*procs, &mut signals, &mut record),
        Err(error) => fail(&mut record, NOT_STARTED, format!("could not watch for signals: {error}")),
    };
    record.ended_at_ms = Some(now());
    write_end(&spec.record, &record);
    if record.hung_up {
        await_server_end(&*procs, &record);
    }
    on_end(&record);
    end_leftovers(spec, &*procs, &record);
    code
}

/// tmux tells every pane by `TMUX`, which is socket, pid and session, which server it is of.
fn note_server(record: &mut Record, procs: &dyn Processes) {
    let Ok(words) = std::env::var("TMUX") else { return };
    record.server_pid = words.rsplit(',').nth(1).and_then(|pid| pid.parse().ok());
    record.server_start = record.server_pid.and_then(|pid| procs.start_time(pid)).unwrap_or(0);
}

/// A server that ends takes its panes away first and is gone a moment later: who reports at once would call it alive.
fn await_server_end(procs: &dyn Processes, record: &Record) {
    let deadline = Instant::now() + SERVER_PATIENCE;
    while record.server_pid.is_some() && record.server_gone(procs).is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn run_agent(spec: &LaunchSpec, procs: &dyn Processes, signals: &mut Signals, record: &mut Record) -> i32 {
    let agent = match start(spec) {
        Ok(agent) => agent,
        Err((code, error)) => return fail(record, code, error),
    };
    let pid = agent.as_raw_nonzero().get().cast_unsigned();
    record.agent_pid = Some(pid);
    record.agent_start = procs.start_time(pid);
    if let Err(error) = write_record(&spec.record, record) {
        // The agent runs; its end will be tried again.
        complain(&error.to_string());
    }
    look_for_conversation(spec, pid, record.started_at_ms);
    let ended = await_agent(agent, signals, &mut record.hung_up);
    // It may have ended by the same blow before the launcher came to look at its own.
    record.hung_up |= signals.pending().any(|signal| signal == SIGHUP);
    let Some(status) = ended else {
        record.error = Some("the agent's end could not be waited for; how it ended is unknown".to_owned());
        return NOT_STARTED;
    };
    record.exit_code = status.exit_status();
    record.exit_signal = status.terminating_signal().map(signal_name);
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(NOT_STARTED)
}

/// Looks beside the agent's work for the conversation that it begins, and keeps its id. It ends with the launcher, or
/// as soon as the id is known: a program may begin one only when it is first told something.
fn look_for_conversation(spec: &LaunchSpec, agent_pid: u32, began_ms: i64) {
    let Some(search) = spec.search.clone() else { return };
    let mut given: Environment = std::env::vars().collect();
    given.extend(spec.env.clone());
    let (mut pause, longest) = if search.costs() { SLOW_LOOKS } else { QUICK_LOOKS };
    std::thread::spawn(move || {
        let procs = default_table();
        loop {
            std::thread::sleep(pause);
            pause = longest.min(pause.mul_f32(1.5));
            // A program behind a script has the environment that the script made.
            let own = procs.environment(agent_pid);
            let environment = if own.is_empty() { &given } else { &own };
            let Outcome::Found(id) = search.look(Span { began_ms, ended_ms: None }, environment) else { continue };
            if let Err(error) = keep(&search.keep, &Conversation { id, begun: true }) {
                complain(&error.to_string());
            }
            return;
        }
    });
}

fn fail(record: &mut Record, code: i32, error: String) -> i32 {
    complain(&error);
    record.exit_code = Some(code);
    record.error = Some(error);
    code
}

/// For whoever looks into the pane.
fn complain(error: &str) {
    let _ = writeln!(std::io::stderr(), "metawsm: {error}");
}

/// The signal's name, as in `kill -l`.
pub fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("SIG{signal}"), str::to_owned)
}

fn start(spec: &LaunchSpec) -> Result<Pid, (i32, String)> {
    let [program, args @ ..] = &spec.argv[..] else {
        return Err((NOT_STARTED, "no program was given to run".to_owned()));
    };
    if !spec.cwd.is_dir() {
        let error = format!("could not start {program}: its working directory {} is gone", spec.cwd.display());
        return Err((NOT_STARTED, error));
    }
    let mut command = Command::new(program);
    command.args(args).current_dir(&spec.cwd);
    for name in &spec.env_remove {
        command.env_remove(name);
    }
    command.envs(&spec.env);
    if let Some(marker) = &spec.marker {
        command.env(MARKER_ENV, marker);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => (NOT_FOUND, format!("could not start {program}: it is not installed or not on PATH")),
        _ => (NOT_STARTED, format!("could not start {program}: {error}")),
    })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| (NOT_STARTED, format!("{program} was given the impossible pid {}", child.id())))
}

/// Waits for the agent's end, passing on what asks it to end and reaping whom it orphaned. `None`
/// when somebody else has reaped it.
fn await_agent(agent: Pid, signals: &mut Signals, hung_up: &mut bool) -> Option<WaitStatus> {
    loop {
        match reap(agent) {
            Reaped::Agent(status) => return Some(status),
            Reaped::Nobody => return None,
            Reaped::Others => {}
        }
        for signal in signals.wait() {
            *hung_up |= signal == SIGHUP;
            // The terminal's own signals reach the agent's group by themselves. These two are
            // meant for whoever runs here, and that is the agent.
            let passed = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            let _ = kill_process(agent, passed);
            let _ = kill_process(agent, Signal::CONT);
        }
    }
}

enum Reaped {
    Agent(WaitStatus),
    Others,
    Nobody,
}

fn reap(agent: Pid) -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == agent && status.stopped() => {
                // Ctrl-Z: no shell is here that could take it back, so it would hang for ever. Any
                // other stop is somebody's deliberate act.
                if status.stopping_signal() == Some(SIGTSTP) {
                    let _ = kill_process(agent, Signal::CONT);
                }
            }
            Ok(Some((pid, status))) if pid == agent => return Reaped::Agent(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Reaped::Others,
            Err(_) => return Reaped::Nobody,
        }
    }
}

fn write_end(path: &Path, record: &Record) {
    for attempt in 1..=WRITE_TRIES {
        match write_record(path, record) {
            Ok(()) => return,
            Err(error) if attempt == WRITE_TRIES => complain(&error.to_string()),
            Err(_) => std::thread::sleep(WRITE_PAUSE),
        }
    }
}

/// Ends what the agent left running and reaps it.
fn end_leftovers(spec: &LaunchSpec, procs: &dyn Processes, record: &Record) {
    let launcher = Some((record.launcher_pid, record.launcher_start));
    let tree = Tree { launcher, session_id: own_session(procs), marker: spec.marker_line(), ..Tree::default() };
    let report = end_tree(procs, &tree, LEFTOVER_GRACE);
    for (pid, _) in report.survivors {
        complain(&format!("process {pid} of the agent does not end, not even by KILL"));
    }
    while let Ok(Some(_)) | Err(rustix::io::Errno::INTR) = wait(WaitOptions::NOHANG) {}
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_comes_back_as_written_and_only_we_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agents/a/1.json");
        assert_eq!(read_record(&path).unwrap(), None);
        let record = Record { n: 1, exit_signal: Some(signal_name(9)), ended_at_ms: Some(5), ..Record::default() };
        write_record(&path, &Record::default()).unwrap();
        write_record(&path, &record).unwrap();
        assert_eq!(read_record(&path).unwrap(), Some(record));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_broken_record_is_not_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.json");
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read_record(&path), Err(RecordError::Broken { .. })));
    }

    #[test]
    fn signals_have_their_names() {
        assert_eq!((signal_name(9).as_str(), signal_name(15).as_str()), ("SIGKILL", "SIGTERM"));
        assert_eq!(signal_name(40), "SIG40");
    }
}

//! A private tmux server per test, gone with everything it started when the test ends.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use metawsm::services::launcher::{LaunchSpec, Record, read_record};
use metawsm::services::process::{Tree, default_table, end_tree};
use metawsm::services::tmux::{Created, Extent, NewSession, Observe, Pane, Tmux};

/// Waits for a condition, failing with its description after half a minute.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn os(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), "--", &pid.to_string()]).status().unwrap().success());
}

/// The process's state as `ps` gives it, empty when it is gone.
pub fn state(pid: u32) -> String {
    let out = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A process that is stopped; it goes on with its handle, whatever becomes of the test.
pub struct Stopped(u32);

impl Stopped {
    pub fn new(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }

    /// The same, and it is sure to stand still: nobody lets it go on.
    pub fn for_certain(pid: u32) -> Self {
        let stopped = Self::new(pid);
        wait_for("it to be stopped", || state(pid).starts_with('T').then_some(()));
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been ended, or let go on by somebody else.
        let _ = Command::new("kill").args(["-CONT", "--", &self.0.to_string()]).stderr(Stdio::null()).status();
    }
}

pub struct Server {
    pub tmux: Tmux,
    dir: tempfile::TempDir,
    markers: RefCell<Vec<String>>,
}

/// One agent under the launcher, in a pane or not.
pub struct Launch {
    pub record: PathBuf,
    pub spec: PathBuf,
    pub marker: String,
}

impl Launch {
    pub fn record(&self) -> Option<Record> {
        read_record(&self.record).unwrap()
    }

    pub fn running(&self) -> Record {
        wait_for("the agent's start in the record", || self.record().filter(|record| record.agent_pid.is_some()))
    }

    pub fn ended(&self) -> Record {
        wait_for("the agent's end in the record", || self.record().filter(|record| record.ended_at_ms.is_some()))
    }

    /// Everyone alive who carries the marker.
    pub fn alive(&self) -> Vec<u32> {
        let table = default_table();
        let pids: Vec<u32> = table.list().iter().filter(|proc| !proc.zombie).map(|proc| proc.pid).collect();
        table.marked(&pids, &self.marker)
    }

    pub fn tree<'a>(&self, record: &Record) -> Tree<'a> {
        Tree {
            launcher: Some((record.launcher_pid, record.launcher_start)),
            session_id: Some(record.launcher_pid),
            marker: Some(self.marker.clone()),
            ..Tree::default()
        }
    }
}

impl Server {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tmux = Tmux::new(dir.path().join("sock"), true);
        Self { tmux, dir, markers: RefCell::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn session(&self, name: &str, argv: &[OsString]) -> Created {
        let new = NewSession { name, cwd: self.path(), argv, width: 100, height: 30, env: &[], history_lines: 2000 };
        self.tmux.new_session(&new).unwrap()
    }

    /// Writes the spec of an agent.
    pub fn spec(&self, name: &str, argv: &[&str], cwd: &Path) -> Launch {
        let value = format!("{}-{name}", self.path().display());
        let spec = LaunchSpec {
            n: 1,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cwd: cwd.to_path_buf(),
            env: [("PS1".to_owned(), "ready> ".to_owned())].into(),
            env_remove: vec!["ENV".to_owned()],
            marker: Some(value),
            record: self.path().join(format!("records/{name}.json")),
            continuation: None,
            search: None,
        };
        let marker = spec.marker_line().unwrap();
        self.markers.borrow_mut().push(marker.clone());
        let path = self.path().join(format!("{name}.spec"));
        std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        Launch { record: spec.record, spec: path, marker }
    }

    /// Starts an agent under the launcher in a pane.
    pub fn launch(&self, name: &str, argv: &[&str]) -> (Launch, Created) {
        let launch = self.spec(name, argv, self.path());
        let command =
            [launcher(), "agent".into(), "exec".into(), "--spec".into(), launch.spec.clone().into_os_string()];
        let created = self.session(name, &command);
        (launch, created)
    }

    pub fn pane(&self, session: &str) -> Option<Pane> {
        self.tmux.panes().unwrap().panes.into_iter().find(|pane| pane.session == session)
    }

    /// Whether the program in a session's pane has ended, and with which status: `1|7`; none after a signal.
    pub fn ended(&self, session: &str) -> String {
        self.raw(&["display-message", "-p", "-t", &format!("={session}:"), "#{pane_dead}|#{pane_dead_status}"])
            .trim_end()
            .to_owned()
    }

    /// All that was printed: a tmux before 3.3 scrolls a dead pane by one line to say that it is dead.
    pub fn screen(&self, session: &str) -> String {
        String::from_utf8(self.tmux.capture(session, Extent::WholeScrollback, false).unwrap()).unwrap()
    }

    pub fn shows(&self, session: &str, text: &str) {
        wait_for(text, || self.screen(session).contains(text).then_some(()));
    }

    /// Any tmux command on this server.
    pub fn raw(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").arg("-S").arg(&self.tmux.socket).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Waits until this program has the terminal of the session's pane.
    pub fn foreground(&self, session: &str, program: &str) {
        let target = format!("={session}:");
        wait_for(program, || {
            let now = self.raw(&["display-message", "-p", "-t", &target, "#{pane_current_command}"]);
            (now.trim_end() == program).then_some(())
        });
    }

    pub fn keys(&self, session: &str, keys: &[&str]) {
        let target = format!("={session}:");
        self.raw(&[&["send-keys", "-t", &target], keys].concat());
    }
}

pub fn launcher() -> OsString {
    env!("CARGO_BIN_EXE_metawsm").into()
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut kill = Command::new("tmux");
        kill.arg("-S").arg(&self.tmux.socket).arg("kill-server").stderr(Stdio::null());
        let _ = kill.status();
        for marker in self.markers.borrow().iter() {
            let tree = Tree { marker: Some(marker.clone()), ..Tree::default() };
            end_tree(&*default_table(), &tree, Duration::ZERO);
        }
    }
}

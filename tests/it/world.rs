//! A whole hermetic world for one test: home, repository, policy, tmux server, and the real binary.
//! Whatever was started in it carries its name in the environment and is ended with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use metawsm::services::launcher::{Record, read_record};
use metawsm::services::process::{Tree, default_table, end_tree};
use serde_json::{Value, json};

/// How long anything at all may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The variable by which everything started in a world is found.
const WORLD_ENV: &str = "E2E_WORLD";

/// Waits for a condition until the deadline, and says what was waited for in vain.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How one call ended.
#[derive(Debug)]
pub struct Output {
    pub call: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Fails unless it ended so.
    #[track_caller]
    pub fn is(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\nstdout: {}\nstderr: {}", self.call, self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\nstdout: {}\nstderr: {}", self.call, self.stdout, self.stderr))
    }

    /// The error of the one error shape.
    #[track_caller]
    pub fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        assert!(error["message"].is_string(), "{}: {}", self.call, self.stdout);
        error
    }

    /// Stdout as JSON lines.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

pub struct World {
    dir: tempfile::TempDir,
    pub root: PathBuf,
}

/// A world with one scripted agent for each (name, script).
impl World {
    pub fn new(agents: &[(&str, &str)]) -> Self {
        Self::with(agents, json!({}))
    }

    /// The same, with more of the policy.
    pub fn with(agents: &[(&str, &str)], more: Value) -> Self {
        let world = Self::bare();
        std::fs::create_dir_all(world.home().join(".metawsm")).unwrap();
        world.policy(agents, more);
        world
    }

    /// A directory with a repository `shop` in it; no home was made yet.
    pub fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("mw").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let world = Self { dir, root };
        for dir in ["user", "home/orders"] {
            std::fs::create_dir_all(world.root.join(dir)).unwrap();
        }
        world.repo("shop");
        world
    }

    /// Makes a repository in the home, with an identity of its own.
    pub fn repo(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir_all(&path).unwrap();
        self.git(&path, &["init", "-q", "-b", "main"]);
        for (key, value) in [("user.name", "User"), ("user.email", "user@example.org"), ("commit.gpgsign", "false")] {
            self.git(&path, &["config", key, value]);
        }
        std::fs::write(path.join("README"), "one\n").unwrap();
        self.git(&path, &["add", "."]);
        self.git(&path, &["commit", "-q", "-m", "first"]);
        path
    }

    /// Writes the policy: these agents, each with the profile of its script, and `more` over it.
    pub fn policy(&self, agents: &[(&str, &str)], more: Value) {
        let profiles: Vec<Value> = agents
            .iter()
            .map(|(name, script)| {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents").join(script);
                assert!(path.is_file(), "{script}");
                json!({
                    "name": format!("of-{name}"), "runner": "shell",
                    "runner_options": { "command": ["sh", path.display().to_string()] },
                    "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
                })
            })
            .collect();
        let rows: Vec<Value> =
            agents.iter().map(|(name, _)| json!({ "name": name, "profile": format!("of-{name}") })).collect();
        let mut policy = json!({
            "version": 3,
            "tmux": { "socket": self.socket().display().to_string(), "stop_grace_seconds": 1 },
            "health": { "observe_ms": 100 },
            "operator": { "llm": { "mode": "off", "command": ["no-adviser-here"] }, "restart_budget": 1 },
            "agent_profiles": profiles,
            "agents": rows,
        });
        if agents.is_empty() {
            // An empty list is no policy; without one the built-in agent is there.
            for key in ["agent_profiles", "agents"] {
                policy.as_object_mut().unwrap().remove(key);
            }
        }
        merge(&mut policy, more);
        std::fs::write(self.home().join(".metawsm/policy.json"), policy.to_string()).unwrap();
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn shop(&self) -> PathBuf {
        self.home().join("shop")
    }

    pub fn db(&self) -> PathBuf {
        self.home().join(".metawsm/metawsm.db")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("tmux.sock")
    }

    /// A command in this world: nothing of the caller's configuration reaches it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.home());
        let path = std::env::var("PATH").unwrap();
        for (name, value) in [
            ("PATH", path.as_str()),
            ("HOME", &self.root.join("user").display().to_string()),
            ("USER", "tester"),
            ("LANG", "C.UTF-8"),
            ("TERM", "screen"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            (WORLD_ENV, &self.root.display().to_string()),
        ] {
            command.env(name, value);
        }
        command
    }

    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_metawsm"));
        command.args(args);
        command
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub fn metawsm(&self, args: &[&str]) -> Output {
        self.output(self.program(args), "")
    }

    /// The JSON answer of a call that must come through.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> Value {
        self.metawsm(&[args, &["--json"]].concat()).is(0).json()
    }

    /// Runs a command to its end with this on its stdin. Whoever keeps its stdout open after it is a defect.
    #[track_caller]
    pub fn output(&self, mut command: Command, stdin: &str) -> Output {
        let call = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = stdin.to_owned();
        std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
                panic!("{call} did not end; stderr: {:?}", err.recv_timeout(Duration::from_secs(1)));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let take = |pipe: mpsc::Receiver<Vec<u8>>| {
            let bytes = pipe.recv_timeout(Duration::from_secs(10)).expect("nobody keeps its output open");
            String::from_utf8(bytes).expect("its output is UTF-8")
        };
        let status = status.code().unwrap_or(-1);
        Output { call, status, stdout: take(out), stderr: take(err) }
    }

    /// Starts the binary beside the test.
    pub fn spawn(&self, args: &[&str]) -> Live {
        Live::start(self.program(args))
    }

    /// git as the user calls it.
    #[track_caller]
    pub fn git(&self, dir: &Path, args: &[&str]) -> String {
        let out = self.command("git").current_dir(dir).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Starts a run of T-1 in `shop` and returns its id once the plan is executed.
    #[track_caller]
    pub fn run(&self, more: &[&str]) -> String {
        let out = self.ask(&[&["run", "--ticket", "T-1", "--repos", "shop", "--detach"], more].concat());
        out["run"]["run_id"].as_str().unwrap().to_owned()
    }

    /// The worktree of `shop` of a run's first workspace.
    pub fn tree(&self, run: &str) -> PathBuf {
        let status = self.ask(&["status", "--run-id", run]);
        PathBuf::from(status["run"]["workspaces"][0]["path"].as_str().unwrap()).join("shop")
    }

    /// Has an agent that runs obeys.sh carry out a piece of shell.
    pub fn order(&self, agent: &str, n: u32, text: &str) {
        let path = self.home().join("orders").join(format!("{agent}-{n}"));
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, format!("{text}\n")).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    #[track_caller]
    pub fn agent(&self, run: &str, name: &str) -> Value {
        let all = self.ask(&["agents", "--run-id", run, "--all"]);
        let agents = all["agents"].as_array().unwrap();
        agents.iter().find(|agent| agent["name"] == name).unwrap_or_else(|| panic!("no {name} in {all}")).clone()
    }

    #[track_caller]
    pub fn run_status(&self, run: &str) -> String {
        self.ask(&["status", "--run-id", run])["run"]["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn until_run(&self, run: &str, status: &str) {
        wait_for(&format!("run {run} to be {status}"), PATIENCE, || (self.run_status(run) == status).then_some(()));
    }

    #[track_caller]
    pub fn until_agent(&self, run: &str, name: &str, status: &str) -> Value {
        wait_for(&format!("{name} to be {status}"), PATIENCE, || {
            Some(self.agent(run, name)).filter(|agent| agent["status"] == status)
        })
    }

    /// Waits until a supervisor has looked at everything once more, this agent included.
    #[track_caller]
    pub fn until_looked_at(&self, run: &str, name: &str) {
        wait_for(&format!("a look at {name}"), PATIENCE, || self.agent(run, name)["pid"].as_u64());
        let seen = || self.ask(&["runs"])["supervisor"]["last_seen_at"].clone();
        for _ in 0..2 {
            let before = seen();
            wait_for("another tick", PATIENCE, || (seen() != before).then_some(()));
        }
    }

    /// The launch record of an agent, once its program runs.
    #[track_caller]
    pub fn record(&self, session: &str, launch: u32) -> Record {
        let path = self.home().join(format!(".metawsm/agents/{session}/{launch}.json"));
        wait_for(&format!("the record {}", path.display()), PATIENCE, || {
            read_record(&path).unwrap().filter(|record| record.agent_pid.is_some())
        })
    }

    pub fn tmux(&self, args: &[&str]) -> String {
        let out = self.command("tmux").arg("-S").arg(self.socket()).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// The agents' sessions on our server, sorted, the keeper aside.
    pub fn sessions(&self) -> Vec<String> {
        let out = self.tmux(&["list-sessions", "-F", "#{session_name}"]);
        let mut names: Vec<String> = out.lines().map(str::to_owned).collect();
        names.retain(|name| name != metawsm::services::tmux::KEEPER);
        names.sort();
        names
    }

    pub fn screen(&self, session: &str) -> String {
        self.tmux(&["capture-pane", "-p", "-S", "-", "-t", &format!("={session}:")])
    }

    #[track_caller]
    pub fn shows(&self, session: &str, text: &str) {
        wait_for(&format!("{text:?} on {session}"), PATIENCE, || self.screen(session).contains(text).then_some(()));
    }

    /// Everyone alive with this line in the environment.
    pub fn marked(line: &str) -> Vec<u32> {
        let table = default_table();
        let pids: Vec<u32> = table.list().iter().filter(|proc| !proc.zombie).map(|proc| proc.pid).collect();
        table.marked(&pids, line)
    }

    /// The journal, and that the tables are what it says.
    #[track_caller]
    pub fn verified(&self) -> Vec<Value> {
        let differences = metawsm::store::rebuild::verify(&self.db()).unwrap();
        assert!(differences.is_empty(), "{differences:?}");
        let events = self.metawsm(&["events"]).is(0).lines();
        let seqs: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        events
    }

    /// Whether nothing runs any more that was started in this world.
    pub fn nothing_runs(&self) -> bool {
        let table = default_table();
        let pids: Vec<u32> = table.list().iter().filter(|proc| !proc.zombie).map(|proc| proc.pid).collect();
        table.marked(&pids, &self.marker()).is_empty()
    }

    fn marker(&self) -> String {
        format!("{WORLD_ENV}={}", self.root.display())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let kill = || {
            let mut tmux = self.command("tmux");
            tmux.arg("-S").arg(self.socket()).arg("kill-server").stderr(Stdio::null()).stdout(Stdio::null());
            let _ = tmux.status();
        };
        kill();
        // Agents carry their home too, also where a test's own process started the server.
        for marker in [self.marker(), format!("METAWSM_HOME={}", self.home().display())] {
            let tree = Tree { marker: Some(marker), ..Tree::default() };
            end_tree(&*default_table(), &tree, Duration::ZERO);
        }
        kill();
    }
}

/// Lays one document over another, key by key.
pub fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// A program beside the test; it is killed with its handle.
pub struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Live {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let lines = gather(child.stdout.take().unwrap());
        let errors = gather(child.stderr.take().unwrap());
        Self { child, stdin, lines, errors }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn lines(&self) -> Vec<String> {
        locked(&self.lines).clone()
    }

    pub fn errors(&self) -> String {
        locked(&self.errors).join("\n")
    }

    pub fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// The first line on stdout that fits.
    #[track_caller]
    pub fn line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{what} among its lines"), PATIENCE, || self.json().into_iter().find(|line| fits(line)))
    }

    /// Gives a line to its stdin.
    pub fn say(&mut self, line: &str) {
        self.give(format!("{line}\n").as_bytes());
    }

    pub fn give(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, name: &str) {
        crate::harness::signal(self.pid(), name);
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its exit status; minus the signal's number where it was one.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = wait_for("its end", PATIENCE, || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn locked(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap()
}

fn gather(pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            told.lock().unwrap().push(line);
        }
    });
    lines
}

//! The released program beside agents in tmux: a key's way while one of them chatters (P11), a hundred idle ones (P13).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::terminal::{FULL, Seat, WATCHED, of_a_core, spent, yardstick};
use super::{median, share};

/// What agent-of-empires 1.9.5 was measured at, with fifty and with a hundred idle agents.
const BESIDE: &str = "agent-of-empires 1.9.5: 50 agents 16.4 % of a core, 32 processes/s, first frame 1.1 s; \
                      100 agents 27 %, 45/s, 2.1 s";

/// A home with agents in a tmux of their own, all gone with it.
struct Crowd {
    dir: tempfile::TempDir,
}

impl Crowd {
    fn new(agents: usize, work: &str) -> Self {
        let crowd = Self { dir: tempfile::tempdir().unwrap() };
        let repo = crowd.home().join("api");
        std::fs::create_dir_all(crowd.home().join(".metawsm")).unwrap();
        std::fs::create_dir_all(&repo).unwrap();
        for args in [&["init", "-q", "-b", "main"][..], &["commit", "-q", "--allow-empty", "-m", "begin"]] {
            let mut git = Command::new("git");
            git.current_dir(&repo).args(["-c", "user.name=B", "-c", "user.email=b@example.org"]).args(args);
            assert!(git.status().unwrap().success());
        }
        let names: Vec<_> =
            (0..agents).map(|at| serde_json::json!({ "name": format!("a{at:03}"), "profile": "bench" })).collect();
        let policy = serde_json::json!({
            "version": 3,
            "tmux": { "socket": crowd.socket().display().to_string(), "stop_grace_seconds": 1 },
            "operator": { "llm": { "mode": "off" } },
            "agent_profiles": [{
                "name": "bench", "runner": "shell", "runner_options": { "command": ["sh", "-c", work] },
            }],
            "agents": names,
        });
        std::fs::write(crowd.home().join(".metawsm/policy.json"), policy.to_string()).unwrap();
        crowd.start(agents);
        crowd
    }

    /// Starts them and leaves them alone.
    fn start(&self, agents: usize) {
        let mut run = self.metawsm(&["--headless", "run", "--ticket", "API-1", "--repos", "api"]);
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.running() < agents {
            assert!(Instant::now() < deadline, "the agents do not start");
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&run), rustix::process::Signal::TERM);
        let _ = run.wait();
    }

    fn running(&self) -> usize {
        let out = self.metawsm(&["--json", "agents", "--all"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).matches("\"status\":\"running\"").count()
    }

    fn metawsm(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metawsm"));
        command.current_dir(self.home()).args(args);
        command
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").arg("-S").arg(self.socket()).args(args).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.metawsm(&["stop", "--all", "--yes"]).output();
        self.tmux(&["kill-server"]);
    }
}

/// P11: the help is asked for while an agent's screen in view moves twenty times a second.
pub fn keys() {
    let crowd = Crowd::new(1, "while :; do date +%s%N; sleep 0.05; done");
    let mut seat = Seat::console(&crowd.home());
    seat.sees(FULL);
    let mut times = Vec::new();
    for turn in 0..300_u64 {
        seat.rest(Duration::from_millis(30 + turn * 7 % 40));
        let pressed = seat.types(b"?");
        times.push(seat.sees("any other key closes") - pressed);
        seat.types(b"\x1b");
    }
    drop(seat);
    let echo = echo();
    let (half, most) = (median(times.clone()), share(times, 99));
    println!(
        "P11 key to bytes on the terminal, one agent chattering: p50 {half:.1?} (goal 5ms), p99 {most:.1?} (goal 33ms); cat on a terminal p50 {echo:.1?}"
    );
}

/// A line's way through `cat` on a terminal of the same kind.
fn echo() -> Duration {
    let mut seat = Seat::begin(Command::new("cat"));
    let mut times = Vec::new();
    for turn in 0..100 {
        seat.rest(Duration::from_millis(10));
        let pressed = seat.types(format!("{turn:03}\n").as_bytes());
        // The terminal's own echo comes first, then what `cat` writes.
        times.push(seat.sees(&format!("{turn:03}\r\n{turn:03}")) - pressed);
    }
    median(times)
}

/// P13: a hundred idle agents.
pub fn hundred() {
    let agents = 100;
    let crowd = Crowd::new(agents, "echo ready; exec sleep 86400");
    let db = crowd.home().join(".metawsm/metawsm.db");
    let (mut first, mut asked, mut yard) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        first.push(Seat::console(&crowd.home()).sees(FULL));
        let began = Instant::now();
        crowd.metawsm(&["--json", "agents", "--all"]).output().unwrap();
        asked.push(began.elapsed());
        yard.push(yardstick(&db));
    }
    let (first, asked, yard) = (median(first), median(asked), median(yard));
    let ratio = |time: Duration| time.as_secs_f64() / yard.as_secs_f64();
    let server: u32 = crowd.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap();
    let mut seat = Seat::console(&crowd.home());
    seat.sees(FULL);
    seat.rest(Duration::from_secs(8));
    let before = (spent(seat.child.id()), spent(server));
    let bytes = seat.rest(WATCHED);
    let ours = of_a_core(spent(seat.child.id()) - before.0, WATCHED);
    let theirs = of_a_core(spent(server) - before.1, WATCHED);
    drop(seat);
    let spawned = spawned(&crowd);
    println!(
        "P13 {agents} idle agents: first full frame {first:.1?} (goal 50ms), {:.2}x sqlite3 .tables {yard:.1?}",
        ratio(first)
    );
    println!(
        "P13 {agents} idle agents, {WATCHED:?}: console and its children {ours:.2} % + tmux server {theirs:.2} % = {:.2} % of a core (goal 1), {bytes} bytes, {spawned:.1} processes/s",
        ours + theirs
    );
    println!("P13 agents --all --json {asked:.1?}, {:.2}x sqlite3 .tables (goal 2.5)", ratio(asked));
    println!("P13 beside {BESIDE}");
    assert!(ratio(first) <= 4.0 || first <= Duration::from_millis(50), "P13");
}

/// Programs that a console starts in a second: each leaves a line before it is what was asked for.
fn spawned(crowd: &Crowd) -> f64 {
    let (bin, count) = (crowd.dir.path().join("bin"), crowd.dir.path().join("count"));
    std::fs::create_dir_all(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    for program in ["tmux", "git"] {
        let real = path.split(':').map(|dir| Path::new(dir).join(program)).find(|file| file.is_file()).unwrap();
        let script = format!("#!/bin/sh\necho {program} >> '{}'\nexec '{}' \"$@\"\n", count.display(), real.display());
        std::fs::write(bin.join(program), script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join(program), executable).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_metawsm"));
    command.current_dir(crowd.home()).env("PATH", format!("{}:{path}", bin.display()));
    let mut seat = Seat::begin(command);
    seat.sees(FULL);
    seat.rest(Duration::from_secs(3));
    let lines = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
    let before = lines();
    seat.rest(Duration::from_secs(10));
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let started = (lines() - before) as f64;
    started / 10.0
}

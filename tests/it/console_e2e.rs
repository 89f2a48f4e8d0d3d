//! The real console in a real terminal, which is a tmux of our own: text is waited for, keys are typed.

use std::path::PathBuf;
use std::process::Command;

use metawsm::services::tmux::NewSession;

use super::harness::{Server, launcher, os, signal, wait_for};

/// A console in a pane.
pub struct Seat {
    pub server: Server,
}

impl Seat {
    /// Runs a line of shell in a pane of that size; it prints `back` and its status when it has ended.
    pub fn new(size: (u16, u16), line: impl Fn(&Server) -> String) -> Self {
        let server = Server::new();
        let line = format!("{}; echo \"back $?\"; stty -a; exec cat", line(&server));
        let argv = os(&["sh", "-c", &line]);
        let (width, height) = size;
        let dir = server.path().to_path_buf();
        let new = NewSession { name: "seat", cwd: &dir, argv: &argv, width, height, env: &[], history_lines: 2000 };
        server.tmux.new_session(&new).unwrap();
        server.raw(&["set-option", "-t", "=seat:", "status", "off"]);
        Self { server }
    }

    pub fn text(&self) -> String {
        self.server.raw(&["capture-pane", "-p", "-t", "=seat:"])
    }

    pub fn sees(&self, text: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !self.text().contains(text) {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {text}:\n{}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub fn types(&self, keys: &[&str]) {
        self.server.keys("seat", keys);
    }

    fn alternate(&self) -> String {
        self.server.raw(&["display-message", "-p", "-t", "=seat:", "#{alternate_on}"]).trim().to_owned()
    }

    /// The terminal is as it was before.
    fn is_restored(&self, status: &str) {
        self.sees(&format!("back {status}"));
        assert_eq!(self.alternate(), "0");
        let text = self.text();
        assert!(text.contains(" icanon") && text.contains(" echo "), "{text}");
    }
}

pub fn bin() -> String {
    launcher().into_string().unwrap()
}

/// A home with a repository and one agent that works for ever.
pub fn home(server: &Server) -> PathBuf {
    let home = server.path().join("home");
    let repo = home.join("api");
    std::fs::create_dir_all(home.join(".metawsm")).unwrap();
    std::fs::create_dir_all(&repo).unwrap();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(&repo).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]).args(args);
        assert!(command.status().unwrap().success(), "git {args:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["commit", "-q", "--allow-empty", "-m", "begin"]);
    let work = "echo hello from the worker; while :; do sleep 1; done";
    let policy = serde_json::json!({
        "version": 3,
        "tmux": { "socket": home.join("agents.sock").display().to_string(), "stop_grace_seconds": 1 },
        "health": { "observe_ms": 100 },
        "operator": { "llm": { "mode": "off" } },
        "agent_profiles": [{
            "name": "worker", "runner": "shell", "runner_options": { "command": ["sh", "-c", work] },
        }],
        "agents": [{ "name": "worker", "profile": "worker" }],
    });
    std::fs::write(home.join(".metawsm/policy.json"), policy.to_string()).unwrap();
    home
}

#[test]
fn the_demo_is_played_by_a_human() {
    let tmp = tempfile::tempdir().unwrap();
    let line = |_: &Server| format!("TMPDIR={} {} demo", tmp.path().display(), bin());
    let seat = Seat::new((160, 45), line);
    seat.sees("The planner asks soon");
    seat.sees("asks you");
    seat.types(&["w"]);
    seat.types(&["r"]);
    seat.sees("Answers planner's question");
    seat.types(&["-l", "two tables, please"]);
    seat.sees("two tables, please");
    seat.types(&["C-s"]);
    seat.sees("answered");
    seat.types(&["Escape"]);
    // The coder crashed meanwhile, and rule 3 has started it again: one restart of three is used.
    seat.sees("1/3");
    seat.sees("✓ SHOP-7");
    seat.types(&["1"]);
    seat.types(&["C"]);
    seat.sees("m merges first");
    seat.types(&["m"]);
    seat.sees("merge and close");
    seat.types(&["y"]);
    seat.sees("is closed");
    seat.types(&["q"]);
    seat.sees("Everything of the demo is removed");
    seat.types(&["y"]);
    seat.is_restored("0");
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

#[test]
fn a_run_is_stopped_and_restarted_and_outlives_the_console() {
    let seat = Seat::new((80, 24), |server| {
        let home = home(server);
        format!("cd {} && {} run --ticket API-1 --repos api", home.display(), bin())
    });
    seat.sees("● worker");
    seat.types(&["2"]);
    seat.types(&["S"]);
    seat.sees("Stop worker?");
    seat.types(&["Enter"]);
    seat.types(&["S"]);
    seat.sees("Stop worker?");
    seat.types(&["y"]);
    seat.sees("stopped");
    seat.types(&["R"]);
    seat.sees("Restart worker?");
    seat.types(&["y"]);
    seat.sees("● worker");
    seat.types(&["5"]);
    seat.sees("hello from the worker");
    for (width, height) in (0..30).map(|turn| (20 + turn * 37 % 180, 5 + turn * 17 % 50)) {
        seat.server.raw(&["resize-window", "-t", "=seat:", "-x", &width.to_string(), "-y", &height.to_string()]);
    }
    seat.server.raw(&["resize-window", "-t", "=seat:", "-x", "160", "-y", "45"]);
    seat.sees("3 Escalations");
    seat.types(&["q"]);
    seat.sees("Nobody watches them then");
    seat.types(&["y"]);
    seat.is_restored("0");
    let home = seat.server.path().join("home");
    let sessions =
        Command::new("tmux").arg("-S").arg(home.join("agents.sock")).args(["ls", "-F", "#S"]).output().unwrap();
    assert!(String::from_utf8_lossy(&sessions.stdout).contains("worker"), "the agent goes on");
}

#[test]
fn terminated_it_gives_the_terminal_back_and_keeps_the_draft() {
    let seat = Seat::new((100, 30), |server| format!("cd {} && {}", home(server).display(), bin()));
    seat.sees("No run yet");
    assert_eq!(seat.alternate(), "1");
    seat.types(&["A"]);
    seat.sees("New thread");
    seat.types(&["-l", "API-2"]);
    seat.types(&["Tab"]);
    seat.types(&["-l", "half a thought"]);
    seat.sees("half a thought");
    let draft = seat.server.path().join("home/.metawsm/drafts/new-thread.md");
    wait_for("the draft", || std::fs::read_to_string(&draft).ok().filter(|text| text.contains("half a thought")));
    let shell = seat.server.pane("seat").unwrap().pane_pid.to_string();
    let child = Command::new("pgrep").args(["-P", &shell]).output().unwrap();
    let pid: u32 = String::from_utf8_lossy(&child.stdout).trim().parse().unwrap();
    signal(pid, "TERM");
    seat.is_restored("0");
    assert!(draft.exists());
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let seat = Seat::new((80, 24), |server| format!("cd {} && TERM=dumb {}", home(server).display(), bin()));
    seat.sees("TERM is dumb");
    seat.sees("metawsm --headless");
}

/// Also a test that failed leaves nothing running.
impl Drop for Seat {
    fn drop(&mut self) {
        let home = self.server.path().join("home");
        if home.join(".metawsm/metawsm.db").exists() {
            stop(&home);
        }
    }
}

/// Ends what a test has left running.
fn stop(home: &std::path::Path) {
    let _ = Command::new(launcher()).args(["stop", "--all", "--yes", "--home"]).arg(home).output();
    let _ = Command::new("tmux").arg("-S").arg(home.join("agents.sock")).arg("kill-server").output();
}

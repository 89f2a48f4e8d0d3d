//! A console in a real terminal, which is a pane of a tmux of our own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use metawsm::console::app::READ_FOR;
use metawsm::services::tmux::NewSession;

use super::harness::{Server, launcher, os, wait_for};

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

    pub fn sees_no_more(&self, text: &str) {
        wait_for(&format!("{text} to go"), || (!self.text().contains(text)).then_some(()));
    }

    pub fn types(&self, keys: &[&str]) {
        self.server.keys("seat", keys);
    }

    /// Presses Escape and waits until this is gone: a key right after it would be one with Alt.
    pub fn escapes(&self, text: &str) {
        self.types(&["Escape"]);
        self.sees_no_more(text);
    }

    /// Says yes to the question that is seen, once it has been there long enough to be read.
    pub fn agrees(&self) {
        std::thread::sleep(READ_FOR + Duration::from_millis(50));
        self.types(&["y"]);
    }

    pub fn alternate(&self) -> String {
        self.server.raw(&["display-message", "-p", "-t", "=seat:", "#{alternate_on}"]).trim().to_owned()
    }

    /// The terminal is as it was before.
    pub fn is_restored(&self, status: &str) {
        self.sees(&format!("back {status}"));
        assert_eq!(self.alternate(), "0");
        // What `stty` says of it comes last.
        self.sees("echoke");
        let text = self.text();
        assert!(text.contains(" icanon") && text.contains(" echo "), "{text}");
    }
}

/// A command as a line of shell, with its environment and nothing else of ours.
pub fn line_of(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', "'\\''"));
    let set = |(name, value): (&std::ffi::OsStr, Option<&std::ffi::OsStr>)| {
        Some(format!("{}={}", name.to_str().unwrap(), quoted(value?)))
    };
    let mut words = vec!["env -i".to_owned()];
    words.extend(command.get_envs().filter_map(set));
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    format!("cd {} && {}", quoted(command.get_current_dir().unwrap().as_os_str()), words.join(" "))
}

pub fn bin() -> String {
    launcher().into_string().unwrap()
}

/// A home with a repository and one agent that works for ever.
pub fn home(server: &Server) -> PathBuf {
    home_of(server, &["worker"])
}

/// A home with a repository and agents that work for ever.
pub fn home_of(server: &Server, names: &[&str]) -> PathBuf {
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
        "operator": { "llm": { "mode": "off", "command": ["no-adviser-here"] } },
        "agent_profiles": [{
            "name": "worker", "runner": "shell", "runner_options": { "command": ["sh", "-c", work] },
        }],
        "agents": names.iter().map(|name| serde_json::json!({ "name": name, "profile": "worker" })).collect::<Vec<_>>(),
    });
    std::fs::write(home.join(".metawsm/policy.json"), policy.to_string()).unwrap();
    home
}

/// The sessions of the home's agents.
pub fn agents(seat: &Seat) -> String {
    agents_tmux(seat, &["ls", "-F", "#S"])
}

/// A command for the tmux server of the home's agents.
pub fn agents_tmux(seat: &Seat, args: &[&str]) -> String {
    let socket = seat.server.path().join("home/agents.sock");
    let out = Command::new("tmux").arg("-S").arg(socket).args(args).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
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

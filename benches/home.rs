//! A home with agents that benches are run beside.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The agents of one run.
const RUN: usize = 50;

/// A home with agents in a tmux of their own, all gone with it.
pub struct Crowd {
    pub dir: tempfile::TempDir,
}

impl Crowd {
    pub fn new(agents: usize, work: &str) -> Self {
        let crowd = Self { dir: tempfile::tempdir().unwrap() };
        let repo = crowd.home().join("api");
        std::fs::create_dir_all(crowd.home().join(".metawsm")).unwrap();
        std::fs::create_dir_all(&repo).unwrap();
        for args in [&["init", "-q", "-b", "main"][..], &["commit", "-q", "--allow-empty", "-m", "begin"]] {
            let mut git = Command::new("git");
            git.current_dir(&repo).args(["-c", "user.name=B", "-c", "user.email=b@example.org"]).args(args);
            assert!(git.status().unwrap().success());
        }
        let names: Vec<_> = (0..agents.min(RUN))
            .map(|at| serde_json::json!({ "name": format!("a{at:03}"), "profile": "bench" }))
            .collect();
        let policy = serde_json::json!({
            "version": 3,
            "tmux": { "socket": crowd.socket().display().to_string(), "stop_grace_seconds": 1 },
            "operator": { "llm": { "mode": "assist" } },
            // As the runners of real programs: their screens are read.
            "runners": { "likely": {
                "start": ["sh", "-c", work],
                "waiting_patterns": ["Do you want to proceed\\?", "^Press enter to confirm.*\\z"],
                "limit_patterns": ["usage limit reached"],
            } },
            "agent_profiles": [{ "name": "bench", "runner": "likely" }],
            "agents": names,
        });
        std::fs::write(crowd.home().join(".metawsm/policy.json"), policy.to_string()).unwrap();
        for run in 0..agents.div_ceil(RUN) {
            crowd.start(run);
        }
        assert_eq!(crowd.running(), agents);
        crowd
    }

    /// Starts a run's and leaves them alone.
    fn start(&self, run: usize) {
        let ticket = format!("API-{run}");
        let mut start = self.metawsm(&["run", "--detach", "--ticket", &ticket, "--repos", "api"]);
        let started = start.stdin(Stdio::null()).output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    pub fn running(&self) -> usize {
        let out = self.metawsm(&["--json", "agents", "--all"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).matches("\"status\":\"running\"").count()
    }

    pub fn metawsm(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metawsm"));
        command.current_dir(self.home()).args(args);
        command
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    pub fn tmux(&self, args: &[&str]) -> String {
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

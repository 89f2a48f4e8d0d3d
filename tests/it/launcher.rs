//! The launcher through the real binary, mostly in real panes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use metawsm::services::launcher::LaunchSpec;
use metawsm::services::process::default_table;

use crate::harness::{Server, launcher, signal, state, wait_for};

fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

/// The agent must neither be stopped by the terminal nor miss what is typed.
fn answers(argv: &[&str], ready: &str, keys: &[&str], answer: &str) {
    let server = Server::new();
    std::fs::write(server.path().join("text"), "first line\n".repeat(200) + "the very last\n").unwrap();
    let (launch, _) = server.launch("screen", argv);
    server.shows("screen", ready);
    let agent = launch.running().agent_pid.unwrap();
    assert!(!state(agent).starts_with('T'), "{argv:?} was stopped: {}", state(agent));
    server.keys("screen", keys);
    server.shows("screen", answer);
    assert!(!state(agent).starts_with('T'), "{argv:?} was stopped: {}", state(agent));
}

#[test]
fn an_interactive_shell_has_the_terminal() {
    answers(&["sh", "-i"], "ready>", &["echo typed-$((40+2))", "Enter"], "typed-42");
}

#[test]
fn a_shell_with_job_control_can_stop_and_continue_its_own_jobs() {
    if !installed("bash") {
        return;
    }
    let server = Server::new();
    let (launch, _) = server.launch("jobs", &["bash", "--norc", "-i"]);
    server.shows("jobs", "ready>");
    server.keys("jobs", &["cat", "Enter"]);
    server.foreground("jobs", "cat");
    server.keys("jobs", &["C-z"]);
    server.shows("jobs", "Stopped");
    server.foreground("jobs", "bash");
    server.keys("jobs", &["fg", "Enter"]);
    server.foreground("jobs", "cat");
    server.keys("jobs", &["C-c"]);
    server.foreground("jobs", "bash");
    server.keys("jobs", &["echo back-$((1+1)); exit 6", "Enter"]);
    assert_eq!(launch.ended().exit_code, Some(6));
    server.shows("jobs", "back-2");
}

#[test]
fn full_screen_programs_have_the_terminal() {
    if installed("vi") {
        answers(&["vi", "-u", "NONE", "text"], "first line", &["Oint", "o", "words"], "intowords");
    }
    if installed("less") {
        answers(&["less", "text"], "first line", &["G"], "the very last");
    }
    if installed("top") {
        answers(&["top"], "PID", &["h"], "Help for");
    }
}

#[test]
fn curses_has_the_terminal() {
    let program = "import curses\ndef main(s):\n s.addstr(0,0,'ready now'); s.refresh()\n while True:\n  \
                   s.addstr(1,0,'key '+s.getkey()); s.refresh()\ncurses.wrapper(main)";
    if Command::new("python3").args(["-c", "import curses"]).output().is_ok_and(|out| out.status.success()) {
        answers(&["python3", "-c", program], "ready now", &["x"], "key x");
    }
}

#[test]
fn an_instant_exit_keeps_the_pane_and_the_record() {
    let server = Server::new();
    let (launch, created) = server.launch("brief", &["sh", "-c", "echo last words; exit 7"]);
    let record = launch.ended();
    assert_eq!((record.exit_code, record.exit_signal, record.error), (Some(7), None, None));
    assert_eq!(record.launcher_pid, created.pane_pid);
    wait_for("tmux to see it", || {
        server.tmux.nudge().unwrap();
        (server.ended("brief") == "1|7").then_some(())
    });
    server.shows("brief", "last words");
}

#[test]
fn a_killed_agent_is_recorded_with_its_signal() {
    let server = Server::new();
    let (launch, _) = server.launch("victim", &["sleep", "1000"]);
    signal(launch.running().agent_pid.unwrap(), "KILL");
    let record = launch.ended();
    assert_eq!((record.exit_code, record.exit_signal.as_deref()), (None, Some("SIGKILL")));
    wait_for("tmux to see it", || {
        server.tmux.nudge().unwrap();
        (server.ended("victim") == "1|137").then_some(())
    });
}

#[test]
fn what_cannot_be_started_is_recorded_as_such() {
    let server = Server::new();
    let (missing, _) = server.launch("missing", &["no-such-program-here"]);
    let record = missing.ended();
    assert_eq!(record.exit_code, Some(127));
    assert!(record.error.unwrap().contains("not installed"));
    server.shows("missing", "no-such-program-here: it is not installed");
    let (refused, _) = server.launch("refused", &["/etc/hostname"]);
    assert_eq!(refused.ended().exit_code, Some(126));
    let (empty, _) = server.launch("empty", &[]);
    assert_eq!(empty.ended().exit_code, Some(126));
    let gone = server.spec("gone", &["true"], &server.path().join("nowhere"));
    let status = Command::new(launcher()).args(["agent", "exec", "--spec"]).arg(&gone.spec).output().unwrap().status;
    assert_eq!(status.code(), Some(126));
    assert!(gone.ended().error.unwrap().contains("is gone"));
}

#[test]
fn term_and_hup_go_to_the_agent_and_the_launcher_stays_for_its_end() {
    for (name, code) in [("TERM", 21), ("HUP", 22)] {
        let server = Server::new();
        let script = format!("trap 'sleep 0.2; exit {code}' {name}; echo up; while :; do sleep 0.02; done");
        let (launch, _) = server.launch("polite", &["sh", "-c", &script]);
        server.shows("polite", "up");
        signal(launch.running().launcher_pid, name);
        assert_eq!(launch.ended().exit_code, Some(code));
    }
}

#[test]
fn the_agents_end_is_recorded_when_its_pane_is_taken_away() {
    let server = Server::new();
    let (launch, _) = server.launch("pane", &["sh", "-c", "trap 'exit 23' HUP; echo up; while :; do sleep 0.02; done"]);
    server.shows("pane", "up");
    server.tmux.kill_session("pane").unwrap();
    assert_eq!(launch.ended().exit_code, Some(23));
    wait_for("nobody left", || launch.alive().is_empty().then_some(()));
}

#[test]
fn keys_that_interrupt_reach_the_agent_and_spare_the_launcher() {
    let server = Server::new();
    let script = "trap 'echo quit' QUIT; trap 'echo int; exit 24' INT; echo up; while :; do sleep 0.02; done";
    let (launch, _) = server.launch("keys", &["sh", "-c", script]);
    server.shows("keys", "up");
    server.keys("keys", &["C-z", "C-\\"]);
    server.shows("keys", "quit");
    let record = launch.running();
    assert!(default_table().alive(record.launcher_pid, record.launcher_start));
    server.keys("keys", &["C-c"]);
    assert_eq!(launch.ended().exit_code, Some(24));
}

#[test]
fn a_suspended_agent_goes_on() {
    let server = Server::new();
    let launch =
        server.spec("tstp", &["sh", "-c", "trap 'exit 25' USR1; : > up; while :; do sleep 0.02; done"], server.path());
    // Outside tmux, in a group that is no orphan: there the kernel does stop it.
    let mut command = Command::new(launcher());
    let mut child = command.args(["agent", "exec", "--spec"]).arg(&launch.spec).process_group(0).spawn().unwrap();
    wait_for("the agent to be up", || server.path().join("up").exists().then_some(()));
    let agent = launch.running().agent_pid.unwrap();
    signal(agent, "TSTP");
    signal(agent, "USR1");
    assert_eq!(child.wait().unwrap().code(), Some(25));
    assert_eq!(launch.ended().exit_code, Some(25));
}

#[test]
fn the_launcher_ends_what_its_agent_left_behind() {
    let server = Server::new();
    let script =
        "sleep 1001 & setsid sleep 1002 & (setsid sh -c 'trap \"\" TERM; sleep 1003 & wait' &); sleep 0.1; exit 3";
    let (launch, _) = server.launch("leaver", &["sh", "-c", script]);
    let record = launch.ended();
    assert_eq!(record.exit_code, Some(3));
    wait_for("nobody left", || launch.alive().is_empty().then_some(()));
    wait_for("the launcher's own end", || {
        (!default_table().alive(record.launcher_pid, record.launcher_start)).then_some(())
    });
}

#[test]
fn the_launcher_finds_its_descendants_by_descent_alone() {
    let server = Server::new();
    let script = "setsid sleep 1001 & echo $! > pid; exit 3";
    let launch = server.spec("bare", &["sh", "-c", script], server.path());
    let mut spec: LaunchSpec = serde_json::from_slice(&std::fs::read(&launch.spec).unwrap()).unwrap();
    spec.marker = None;
    std::fs::write(&launch.spec, serde_json::to_vec(&spec).unwrap()).unwrap();
    // No session of its own, no marker: only its being their adopted parent is left.
    let status = Command::new(launcher()).args(["agent", "exec", "--spec"]).arg(&launch.spec).status().unwrap();
    assert_eq!(status.code(), Some(3));
    let left = std::fs::read_to_string(server.path().join("pid")).unwrap();
    assert_eq!(state(left.trim().parse().unwrap()), "", "it is gone when the launcher is");
}

#[test]
fn a_record_that_cannot_be_written_starts_nothing() {
    let server = Server::new();
    let launch = server.spec("disk", &["touch", "ran"], server.path());
    std::fs::write(server.path().join("records"), "in the way").unwrap();
    let out = Command::new(launcher()).args(["agent", "exec", "--spec"]).arg(&launch.spec).output().unwrap();
    assert_eq!(out.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the agent was not started"));
    assert!(!server.path().join("ran").exists());
}

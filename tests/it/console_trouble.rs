//! What may happen to a console while it is open: it says so, goes on, and leaves the terminal as it was.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::console_seat::{Seat, agents, agents_tmux, bin, home};
use super::harness::{launcher, wait_for};

/// A console on a home with one agent.
fn at_work(size: (u16, u16), environment: &str) -> Seat {
    at_work_with(size, environment, "")
}

fn at_work_with(size: (u16, u16), environment: &str, options: &str) -> Seat {
    let seat = Seat::new(size, |server| {
        format!("cd {} && {environment} {} run --ticket API-1 --repos api {options}", home(server).display(), bin())
    });
    seat.sees("● worker");
    seat
}

/// A console on a home without anything.
fn alone(size: (u16, u16)) -> Seat {
    let seat = Seat::new(size, |server| format!("cd {} && {}", home(server).display(), bin()));
    seat.sees("No run yet");
    seat
}

fn json(home: &Path, args: &[&str]) -> serde_json::Value {
    let out = Command::new(launcher()).arg("--json").args(args).arg("--home").arg(home).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_defect_gives_the_terminal_back_and_says_where_its_report_is() {
    let seat = at_work((120, 30), "METAWSM_DRILL_DEFECT=1");
    seat.types(&["C-l"]);
    seat.sees("the console failed");
    seat.sees("the report is in");
    seat.is_restored("101");
    let logs = seat.server.path().join("home/.metawsm/logs");
    let reports = std::fs::read_dir(&logs).unwrap().flatten().map(|entry| entry.path());
    let report = reports.into_iter().find(|path| path.to_string_lossy().contains("panic-")).unwrap();
    assert!(seat.text().replace('\n', "").contains(&report.display().to_string()), "{}", seat.text());
    let text = std::fs::read_to_string(report).unwrap();
    assert!(text.contains("a drill") && text.contains("console::defect::drill"), "{text}");
    assert!(agents(&seat).contains("worker"), "the agent goes on");
}

#[test]
fn suspended_it_gives_back_the_terminal_and_the_lease() {
    let seat = Seat::new((100, 30), |server| {
        format!("cd {} && PS1='shell> ' bash --norc --noprofile -i", home(server).display())
    });
    let lease = seat.server.path().join("home/.metawsm/metawsm.db.supervisor.lock");
    let held = || std::fs::read_to_string(&lease).is_ok_and(|text| !text.is_empty());
    seat.sees("shell>");
    seat.types(&["-l", &bin()]);
    seat.types(&["Enter"]);
    seat.sees("No run yet");
    wait_for("the lease", || held().then_some(()));
    for _ in 0..2 {
        seat.types(&["C-z"]);
        seat.sees("Stopped");
        assert!(!held(), "another process may supervise");
        assert_eq!(seat.alternate(), "0");
        seat.types(&["-l", "clear; stty -a"]);
        seat.types(&["Enter"]);
        seat.sees(" icanon");
        seat.types(&["-l", "clear; fg"]);
        seat.types(&["Enter"]);
        seat.sees("No run yet");
        assert_eq!(seat.alternate(), "1");
        wait_for("the lease again", || held().then_some(()));
        // Keys arrive as before.
        seat.types(&["?"]);
        seat.sees("any other key closes");
        // Together with the next key it would be another one.
        seat.types(&["Escape"]);
        seat.sees_no_more("any other key closes");
    }
    seat.types(&["C-c", "C-c"]);
    seat.sees_no_more("No run yet");
    seat.types(&["-l", "exit"]);
    seat.types(&["Enter"]);
    seat.is_restored("0");
}

#[test]
fn attaching_leaves_the_screen_and_comes_back_to_it() {
    let seat = at_work((100, 30), "");
    seat.types(&["2"]);
    seat.types(&["a"]);
    seat.sees("[worker");
    seat.sees("hello from the worker");
    seat.sees_no_more("● worker");
    seat.types(&["C-b", "d"]);
    seat.sees("● worker");
    assert_eq!(seat.alternate(), "1");
    seat.types(&["?"]);
    seat.sees("any other key closes");
    seat.types(&["Escape"]);
    assert!(agents(&seat).contains("worker"), "the agent goes on");
}

#[test]
fn a_broken_policy_is_said_and_the_last_good_one_stays() {
    let seat = alone((120, 30));
    let policy = seat.server.path().join("home/.metawsm/policy.json");
    let good = std::fs::read_to_string(&policy).unwrap();
    seat.sees("operator off");
    std::fs::write(&policy, "{\n  \"version\": 3,\n  \"operator\": { \"llm\": { \"mode\": \"often\" } }\n}\n").unwrap();
    seat.sees("policy not valid");
    seat.sees("in force: .metawsm/policy.json: operator.llm.mode (line 3, column");
    seat.sees("operator off");
    seat.types(&["?"]);
    seat.sees("esc");
    seat.types(&["Escape"]);
    std::fs::write(&policy, good.replace("\"off\"", "\"assist\"")).unwrap();
    seat.sees_no_more("policy not valid");
    seat.sees("operator assist");
}

#[test]
fn a_tmux_server_that_is_gone_is_said() {
    // Where the rules may act the agents are back before one has read it.
    let seat = at_work_with((120, 30), "", "--operator assist");
    agents_tmux(&seat, &["kill-server"]);
    seat.sees("the tmux server is gone");
    seat.sees("✖ the tmux serve");
    seat.types(&["2"]);
    seat.types(&["R"]);
    seat.sees("Restart worker?");
    seat.agrees();
    seat.sees_no_more("the tmux server is gone");
    seat.sees("● worker");
}

#[test]
fn a_locked_database_keeps_no_key_waiting() {
    let seat = alone((120, 30));
    let home = seat.server.path().join("home");
    let lock = rusqlite::Connection::open(home.join(".metawsm/metawsm.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = Instant::now();
    seat.types(&["A"]);
    seat.sees("New thread");
    for line in ["API-7", "locked out?"] {
        seat.types(&["-l", line]);
        seat.types(&["Tab"]);
    }
    seat.types(&["-l", "nobody waits for it"]);
    seat.types(&["C-s"]);
    seat.sees("sending");
    seat.sees("the database or the run may be held");
    seat.types(&["C-l"]);
    seat.sees("nobody waits for it");
    std::thread::sleep(Duration::from_secs(10).saturating_sub(locked.elapsed()));
    seat.sees("nobody waits for it");
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    // Either it went through, or it was said that it did not and it is still there to be sent.
    wait_for("the thread", || {
        if seat.text().contains("✖") {
            seat.types(&["C-s"]);
        }
        let threads = json(&home, &["forum", "list"]);
        (threads["threads"].as_array().is_some_and(|threads| threads.len() == 1)).then_some(())
    });
}

#[test]
fn what_is_pasted_in_a_terminal_arrives_byte_for_byte() {
    let seat = alone((120, 30));
    let body = "\tindented\n\u{1b}[31mred\u{1b}[0m \u{202e}mirrored\u{7}\n日本語 🎉\n\n";
    let file = seat.server.path().join("paste");
    seat.types(&["A"]);
    seat.sees("New thread");
    for line in ["API-7", "pasted"] {
        seat.types(&["-l", line]);
        seat.types(&["Tab"]);
    }
    // As terminals do it: each line ends with CR; then as some programs do it.
    for (text, flags) in [(body.to_owned(), "-dp"), (body.replace('\n', "\r\n"), "-dpr")] {
        std::fs::write(&file, text).unwrap();
        seat.server.raw(&["load-buffer", "-b", "pasted", &file.display().to_string()]);
        seat.server.raw(&["paste-buffer", flags, "-b", "pasted", "-t", "=seat:"]);
        seat.sees("␛[31mred␛[0m");
    }
    wait_for("both", || (seat.text().matches("mirrored␇").count() == 2).then_some(()));
    seat.types(&["C-s"]);
    seat.sees_no_more("New thread");
    let home = seat.server.path().join("home");
    let threads = json(&home, &["forum", "list"]);
    let id = threads["threads"][0]["thread_id"].as_str().unwrap();
    let page = json(&home, &["forum", "thread", "--thread-id", id]);
    assert_eq!(page["posts"][0]["body"].as_str().unwrap(), format!("{body}{body}"));
}

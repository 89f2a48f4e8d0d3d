//! A supervisor that is left behind: in a real terminal, with real agents, until nothing needs it any more.

use std::path::PathBuf;
use std::process::Command;

use metawsm::console::msg::{Effect, Msg};
use metawsm::domain::agent::AgentStatus;
use metawsm::services::behind::Left;
use metawsm::services::handle::Trouble;
use metawsm::services::process::default_table;
use metawsm::services::process::lease::{Holder, read_holder};
use metawsm::services::snapshot::{Facts, Snapshot, Supervising};

use super::console_seat::{Seat, agents, agents_tmux, bin, home, home_of};
use super::console_world::{Desk, before, snapshot};
use super::harness::{Server, signal, wait_for};

fn home_dir(seat: &Seat) -> PathBuf {
    seat.server.path().join("home")
}

fn holder(seat: &Seat) -> Option<Holder> {
    read_holder(&home_dir(seat).join(".metawsm/metawsm.db.supervisor.lock"), default_table().as_ref())
}

fn metawsm(seat: &Seat, args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(bin()).args(args).current_dir(home_dir(seat)).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

fn windows(seat: &Seat) -> String {
    agents_tmux(seat, &["list-windows", "-t", "=_metawsm:", "-F", "#W"])
}

/// The console again, in the same terminal.
fn open_again(seat: &Seat) {
    let home = home_dir(seat);
    let line = format!("clear; cd {} && {}; echo \"back $?\"", home.display(), bin());
    seat.server.raw(&["respawn-pane", "-k", "-t", "=seat:", "sh", "-c", &format!("{line}; stty -a; exec cat")]);
}

fn run_line(server: &Server, names: &[&str], options: &str) -> String {
    format!("cd {} && {} run --ticket API-1 --repos api {options}", home_of(server, names).display(), bin())
}

#[test]
fn one_leaves_and_a_supervisor_watches_on_until_no_run_needs_it() {
    let seat = Seat::new((140, 35), |server| run_line(server, &["worker"], "--operator off"));
    seat.sees("● worker");
    seat.sees("lease ours");
    let console = holder(&seat).unwrap().pid;
    seat.types(&["q"]);
    seat.sees("leave a supervisor");
    seat.sees("just leave");
    // Enter is the safe answer.
    seat.types(&["Enter"]);
    seat.sees_no_more("just leave");
    seat.types(&["q"]);
    seat.sees("just leave");
    seat.types(&["b"]);
    seat.sees("A supervisor watches on (process ");
    seat.is_restored("0");
    let left = holder(&seat).expect("somebody supervises");
    assert!(left.pid != console && left.holder.contains("left behind"), "{left:?}");
    assert_eq!(windows(&seat).lines().filter(|name| *name == "supervisor").count(), 1);
    let argv = std::fs::read_to_string(format!("/proc/{}/cmdline", left.pid)).unwrap_or_default().replace('\0', " ");
    assert!(argv.is_empty() || argv.contains("--headless --until-idle --operator off"), "{argv}");
    let (status, doctor) = metawsm(&seat, &["doctor"]);
    assert!(!doctor.contains("supervisor belongs") && !doctor.contains("_metawsm"), "{status:?}: {doctor}");
    // It does what a supervisor does: rule 3 starts again what dies.
    let worker = agents_tmux(&seat, &["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]);
    let pid = worker.lines().find_map(|line| line.strip_prefix("worker-")?.split(' ').nth(1)?.parse().ok());
    signal(pid.unwrap(), "KILL");
    wait_for("its restart", || {
        let (_, text) = metawsm(&seat, &["agents", "--json"]);
        text.contains("\"launch\":2").then_some(())
    });
    // The next console observes, its keys work, and leaving says who watches.
    open_again(&seat);
    seat.sees("● worker");
    seat.sees(&format!("process {} does; this console observes", left.pid));
    seat.types(&["2", "H"]);
    seat.sees("worker is held");
    seat.types(&["q"]);
    seat.sees(&format!("The supervisor left behind (process {}) watches on.", left.pid));
    assert!(!seat.text().contains("leave a supervisor"));
    seat.agrees();
    seat.is_restored("0");
    assert_eq!(holder(&seat).map(|holder| holder.pid), Some(left.pid));
    // The last session ends: the keeper stays while it serves, and goes with it.
    let (status, said) = metawsm(&seat, &["stop", "--all", "--yes"]);
    assert_eq!(status, Some(0), "{said}");
    wait_for("it to end", || holder(&seat).is_none().then_some(()));
    let (status, said) = metawsm(&seat, &["cleanup", "--ticket", "API-1", "--yes", "--force"]);
    assert_eq!(status, Some(0), "{said}");
    wait_for("the server to end", || agents(&seat).is_empty().then_some(()));
}

/// The keeper is not ended under it, also where the last session is gone; and without its terminal it watches on.
#[test]
fn the_keeper_stays_while_it_serves_and_it_outlives_its_terminal() {
    let seat = Seat::new((120, 30), |server| run_line(server, &["worker"], ""));
    seat.sees("● worker");
    seat.sees("lease ours");
    seat.types(&["q"]);
    seat.sees("just leave");
    seat.types(&["Tab"]);
    seat.types(&["Enter"]);
    seat.is_restored("0");
    let left = holder(&seat).unwrap();
    let another = ["run", "--ticket", "API-2", "--repos", "api", "--detach"];
    assert_eq!(metawsm(&seat, &another).0, Some(0));
    // One of two runs is cleaned up, then the session of the other is taken away.
    assert_eq!(metawsm(&seat, &["cleanup", "--ticket", "API-1", "--yes", "--force"]).0, Some(0));
    assert!(windows(&seat).contains("supervisor"));
    agents_tmux(&seat, &["kill-server"]);
    wait_for("the agent to be back, on another server", || {
        let there = agents(&seat).lines().any(|name| name.starts_with("worker-"));
        there.then_some(())
    });
    assert_eq!(holder(&seat).map(|holder| holder.pid), Some(left.pid), "it is the same that watches");
    signal(left.pid, "TERM");
    wait_for("it to end", || holder(&seat).is_none().then_some(()));
}

#[test]
fn what_does_not_come_up_is_said_and_one_stays() {
    let seat = Seat::new((140, 35), |server| {
        let home = home(server);
        format!("cd {} && {} run --ticket API-1 --repos api", home.display(), bin())
    });
    seat.sees("● worker");
    seat.sees("lease ours");
    // It cannot write its log, and ends at once.
    std::fs::create_dir_all(home_dir(&seat).join(".metawsm/logs/left-behind.log")).unwrap();
    seat.types(&["q"]);
    seat.sees("just leave");
    seat.types(&["b"]);
    seat.sees("none was left behind: ");
    wait_for("the console to supervise again", || holder(&seat).filter(|holder| holder.holder == "metawsm"));
    assert!(!windows(&seat).contains("supervisor"));
    seat.types(&["Escape"]);
    seat.sees_no_more("none was left behind");
    seat.types(&["q"]);
    seat.sees("just leave");
    seat.agrees();
    seat.is_restored("0");
}

fn supervised(supervisor: Option<Supervising>, keeper: bool) -> Snapshot {
    Snapshot { facts: Facts { supervisor, keeper, ..snapshot().facts }, ..snapshot() }
}

#[test]
fn leaving_says_who_watches_and_offers_what_there_is() {
    let other = |behind| Some(Supervising { pid: 42, ours: false, behind, since: before(900) });
    let ours = Some(Supervising { pid: 7, ours: true, behind: false, since: before(900) });
    for (view, supervisor, keeper, words, offered) in [
        ("ours", ours.clone(), true, "Nobody watches them then", true),
        ("default", ours, false, "that server has no keeper session", false),
        ("left", other(true), true, "The supervisor left behind (process 42) watches on.", false),
        ("other", other(false), true, "Process 42 supervises, and watches on.", false),
    ] {
        for size in [(160, 45), (100, 30), (60, 20)] {
            let mut desk = Desk::empty(size);
            desk.look(supervised(supervisor.clone(), keeper)).keys("q");
            let text: String =
                desk.drawn().split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
            assert!(size.0 < 100 || text.contains(words), "{view}: {}", desk.drawn());
            assert_eq!(desk.shows("leave a supervisor"), offered, "{view}: {}", desk.drawn());
            insta::assert_snapshot!(format!("console_leave_{view}_{}x{}", size.0, size.1), desk.drawn());
            desk.keys("b");
            assert_eq!(desk.effects.contains(&Effect::LeaveBehind), offered, "{view}");
        }
    }
}

#[test]
fn who_is_down_in_a_run_at_work_is_not_left_without_a_word() {
    let home = supervised(None, true);
    let down: Vec<_> = home.agents.iter().filter(|agent| agent.status == AgentStatus::Dead).cloned().collect();
    assert!(!down.is_empty());
    let mut desk = Desk::empty((100, 30));
    desk.look(Snapshot { agents: down, ..home }).keys("q");
    assert!(desk.shows("Leave metawsm?") && !desk.effects.contains(&Effect::Quit), "{}", desk.drawn());
}

#[test]
fn one_leaves_only_when_it_has_the_lease() {
    let mut desk = Desk::empty((100, 30));
    desk.look(supervised(None, true)).keys("q<right><enter>");
    assert!(desk.shows("leaving a supervisor behind") && !desk.effects.contains(&Effect::Quit));
    desk.keys("q");
    assert!(!desk.shows("just leave"), "once is enough");
    let why = Trouble {
        message: "process 9 took the supervision over".to_owned(),
        hint: Some("q leaves".to_owned()),
        undone: vec![],
    };
    desk.tell(Msg::LeftBehind(Err(why)));
    assert!(desk.shows("none was left behind: process 9 took") && desk.effects.contains(&Effect::Supervise));
    assert!(!desk.effects.contains(&Effect::Quit));
    desk.keys("<esc>q<left><left><enter>").tell(Msg::LeftBehind(Ok(Left { pid: 11, log: "/x/log".into() })));
    assert!(desk.effects.contains(&Effect::Quit));
    let words = desk.app.parting(std::iter::empty());
    assert!(words.contains("kill 11") && words.contains("/x/log"), "{words}");
}

//! Ending what an agent started.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use metawsm::services::process::{
    Ends, ListedEnds, PortableTable, Processes, Tree, default_ends, default_table, end_tree,
};

use crate::harness::{Launch, Server, signal, wait_for};

/// A plain background child, one in a session of its own, and one that forked twice, all deaf to HUP.
const LITTER: &str = "trap '' HUP; sleep 1001 & setsid sleep 1002 & (setsid sh -c 'sleep 1003 & exit 0' &); \
     exec sleep 1004";

/// Waits until all four are there and the shells between them gone.
fn littered(launch: &Launch) {
    wait_for("four sleeping processes", || {
        let alive = launch.alive();
        let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (alive.len() == 4 && alive.iter().all(|pid| name(pid) == "sleep\n")).then_some(())
    });
}

#[test]
fn an_agent_that_ignores_term_is_killed_and_the_launcher_says_so() {
    let server = Server::new();
    let (launch, _) = server.launch("deaf", &["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]);
    server.shows("deaf", "deaf");
    let record = launch.running();
    let report = end_tree(&*default_table(), &launch.tree(&record), Duration::from_millis(300));
    assert!(report.all_gone(), "{report:?}");
    let agent = (record.agent_pid.unwrap(), record.agent_start.unwrap());
    assert!(report.killed.contains(&agent), "{report:?}");
    assert!(!report.ended.contains(&(record.launcher_pid, record.launcher_start)), "the launcher is spared");
    assert_eq!(launch.ended().exit_signal.as_deref(), Some("SIGKILL"));
}

#[test]
fn nothing_an_agent_scattered_is_left_by_either_table() {
    let tables: [Box<dyn Processes>; 2] = [default_table(), Box::new(PortableTable)];
    for (name, table) in ["native", "portable"].into_iter().zip(tables) {
        let server = Server::new();
        let (launch, _) = server.launch(name, &["sh", "-c", LITTER]);
        littered(&launch);
        let mut record = launch.running();
        record.launcher_start = table.start_time(record.launcher_pid).unwrap();
        let report = end_tree(&*table, &launch.tree(&record), Duration::from_secs(5));
        assert!(report.all_gone() && report.ended.len() >= 4, "{name}: {report:?}");
        assert_eq!(launch.alive(), Vec::<u32>::new(), "{name}");
        assert_eq!(launch.ended().exit_signal.as_deref(), Some("SIGTERM"));
    }
}

#[test]
fn what_outlives_a_killed_launcher_is_found_and_ended() {
    let server = Server::new();
    let (launch, _) = server.launch("orphans", &["sh", "-c", LITTER]);
    littered(&launch);
    let record = launch.running();
    signal(record.launcher_pid, "KILL");
    wait_for("the launcher's death", || {
        (!default_table().alive(record.launcher_pid, record.launcher_start)).then_some(())
    });
    assert!(launch.alive().len() >= 3, "they outlive it");
    let report = end_tree(&*default_table(), &launch.tree(&record), Duration::from_secs(5));
    assert!(report.all_gone() && report.ended.len() >= 3, "{report:?}");
    assert_eq!(launch.alive(), Vec::<u32>::new());
    assert_eq!(launch.record().unwrap().ended_at_ms, None, "how it ended is not known, and not invented");
}

#[test]
fn the_session_alone_suffices_without_a_marker() {
    let server = Server::new();
    let (launch, _) = server.launch("session", &["sh", "-c", "trap '' HUP; sleep 1001 & exec sleep 1002"]);
    wait_for("two processes", || (launch.alive().len() >= 2).then_some(()));
    let record = launch.running();
    signal(record.launcher_pid, "KILL");
    let tree = Tree { marker: None, launcher: None, ..launch.tree(&record) };
    assert!(end_tree(&*default_table(), &tree, Duration::from_secs(5)).all_gone());
    assert_eq!(launch.alive(), Vec::<u32>::new());
}

#[test]
fn stopped_processes_die_too() {
    let server = Server::new();
    let (launch, _) = server.launch("stopped", &["sh", "-c", "trap '' TERM; sleep 1001 & echo up; wait"]);
    server.shows("stopped", "up");
    let record = launch.running();
    for pid in launch.alive() {
        signal(pid, "STOP");
    }
    let report = end_tree(&*default_table(), &launch.tree(&record), Duration::from_millis(200));
    assert!(report.all_gone(), "{report:?}");
    assert_eq!(launch.alive(), Vec::<u32>::new());
}

#[test]
fn newcomers_born_of_the_stop_itself_are_ended_too() {
    let server = Server::new();
    let script = "trap 'setsid sleep 1001 & sleep 1002 & echo more' TERM; echo up; while :; do sleep 0.02; done";
    let (launch, _) = server.launch("hydra", &["sh", "-c", script]);
    server.shows("hydra", "up");
    let record = launch.running();
    let report = end_tree(&*default_table(), &launch.tree(&record), Duration::from_millis(500));
    assert!(report.all_gone() && report.ended.len() >= 3, "{report:?}");
    assert_eq!(launch.alive(), Vec::<u32>::new());
}

#[test]
fn the_spared_and_strangers_in_a_session_of_the_same_number_live() {
    let table = default_table();
    let mut stranger = Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
    let pid = stranger.id();
    wait_for("its session", || table.list().iter().any(|proc| proc.pid == pid && proc.sid == pid).then_some(()));
    let start = table.start_time(pid).unwrap();
    let tree = Tree { launcher: Some((pid, start - 1)), session_id: Some(pid), marker: None, ..Tree::default() };
    assert_eq!(end_tree(&*table, &tree, Duration::from_secs(1)).ended, []);
    let spare = [pid];
    let tree = Tree { launcher: None, session_id: Some(pid), spare: &spare, ..Tree::default() };
    assert_eq!(end_tree(&*table, &tree, Duration::from_secs(1)).ended, []);
    assert!(table.alive(pid, start));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A table that cannot be read.
struct Blind;

impl Processes for Blind {
    fn start_time(&self, _: u32) -> Option<u64> {
        None
    }
    fn alive(&self, _: u32, _: u64) -> bool {
        false
    }
    fn stopped(&self, _: u32, _: u64) -> bool {
        false
    }
    fn list(&self) -> Vec<metawsm::services::process::Proc> {
        Vec::new()
    }
    fn environ_has(&self, _: u32, _: &str) -> bool {
        false
    }
}

#[test]
fn without_a_table_nothing_is_called_ended() {
    let tree = Tree { session_id: Some(4_000_000), ..Tree::default() };
    let report = end_tree(&Blind, &tree, Duration::ZERO);
    assert!(report.blind && !report.all_gone());
}

/// What each form of the watch says of a life, an end, a number used again and one that nobody has.
#[test]
fn ends_are_told_by_either_form() {
    let (told, woken) = std::sync::mpsc::channel();
    let native = default_ends(move || {
        let _ = told.send(());
    });
    let listed: Box<dyn Ends> = Box::new(ListedEnds::new(Box::new(PortableTable)));
    let portable: Box<dyn Processes> = Box::new(PortableTable);
    let forms = [(native, default_table()), (listed, portable)];
    for (mut ends, table) in forms {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let life = (child.id(), table.start_time(child.id()).unwrap());
        let another = (child.id(), life.1 + 1000);
        ends.watch(life);
        ends.watch(another);
        ends.look();
        assert!(!ends.ended(life) && ends.ended(another), "the number alone names nobody");
        assert!(ends.ended((u32::MAX / 2, 1)), "nobody has this number");
        child.kill().unwrap();
        // It stays a zombie: nobody has asked how it ended.
        wait_for("its end", || {
            ends.look();
            ends.ended(life).then_some(())
        });
        child.wait().unwrap();
        ends.keep(&BTreeSet::new());
        ends.look();
        assert!(ends.ended(life), "also when it is looked up");
    }
    woken.recv_timeout(Duration::from_secs(10)).expect("the native form wakes who waits");
}

#[test]
fn the_end_of_one_who_is_watched_aside_is_told_and_wakes_nobody() {
    let (told, woken) = std::sync::mpsc::channel();
    let mut ends = default_ends(move || {
        let _ = told.send(());
    });
    let kill = |ends: &mut Box<dyn Ends>, aside: bool| {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let life = (child.id(), default_table().start_time(child.id()).unwrap());
        if aside {
            assert!(ends.watch_aside(life), "there is room");
        } else {
            ends.watch(life);
        }
        child.kill().unwrap();
        wait_for("its end", || ends.ended(life).then_some(()));
        child.wait().unwrap();
    };
    kill(&mut ends, true);
    assert!(woken.try_recv().is_err());
    kill(&mut ends, false);
    woken.recv_timeout(Duration::from_secs(10)).unwrap();
}

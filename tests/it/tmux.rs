//! The tmux adapter against real servers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use metawsm::services::tmux::control::Lookout;
use metawsm::services::tmux::{Extent, KEEPER, NewSession, Observe, Panes, Tmux, TmuxError, resolve_socket};

use crate::harness::{Server, os, signal, wait_for};
use crate::world::World;

#[test]
fn a_name_becomes_one_absolute_socket() {
    let at = |name, dir: Option<&str>| resolve_socket(name, dir.map(Path::new), 7);
    assert_eq!(at("default", None), PathBuf::from("/tmp/tmux-7/default"));
    assert_eq!(at("metawsm-1", Some("/run/me")), PathBuf::from("/run/me/tmux-7/metawsm-1"));
    assert_eq!(at("/srv/s", Some("/run/me")), PathBuf::from("/srv/s"));
    assert!(at("./s", None).is_absolute());
}

#[test]
fn twenty_starts_at_once_make_one_server() {
    let server = Server::new();
    let tmux = Tmux::new(server.path().join("private/sock"), true);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..20).map(|_| scope.spawn(|| tmux.ensure_server(777))).collect();
        for start in starts {
            start.join().unwrap().unwrap();
        }
    });
    let panes = tmux.panes().unwrap();
    assert_eq!(panes.panes.iter().map(|pane| pane.session.as_str()).collect::<Vec<_>>(), [KEEPER]);
    assert_eq!(panes.server_pid, tmux.server_pid().unwrap());
    let mode = std::fs::metadata(server.path().join("private")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let shown = Command::new("tmux").arg("-S").arg(&tmux.socket).args(["show-options", "-g", "history-limit"]).output();
    assert_eq!(String::from_utf8_lossy(&shown.unwrap().stdout), "history-limit 777\n");
    assert!(tmux.end_keeper_if_last().unwrap());
    wait_for("the server's end", || matches!(tmux.panes(), Err(TmuxError::NoServer { .. })).then_some(()));
}

#[test]
fn a_start_right_after_a_kill_succeeds() {
    let server = Server::new();
    for _ in 0..10 {
        server.session("agent", &os(&["sleep", "1000"]));
        server.raw(&["kill-server"]);
    }
    server.tmux.ensure_server(10).unwrap();
}

#[test]
fn no_server_is_not_the_same_as_no_answer() {
    let server = Server::new();
    assert!(matches!(server.tmux.panes(), Err(TmuxError::NoServer { .. })), "never started");
    server.tmux.ensure_server(10).unwrap();
    let pid = server.tmux.server_pid().unwrap();
    signal(pid, "STOP");
    let asked = server.tmux.panes();
    signal(pid, "CONT");
    assert!(matches!(asked, Err(TmuxError::Unreachable { .. })), "{asked:?}");
    signal(pid, "KILL");
    wait_for("the server's absence", || match server.tmux.panes() {
        Err(TmuxError::NoServer { .. }) => Some(()),
        _ => None,
    });
    assert!(matches!(server.tmux.has_session("a"), Err(TmuxError::NoServer { .. })));
    let missing = Tmux { program: "no-such-tmux".into(), ..server.tmux.clone() };
    assert!(matches!(missing.panes(), Err(TmuxError::NotInstalled { .. })));
}

#[test]
fn only_the_exact_name_is_ever_hit() {
    let server = Server::new();
    server.session("agent-1", &os(&["sleep", "1000"]));
    server.session("agent-100", &os(&["sleep", "1000"]));
    for missing in ["agent-10", "agent", "agent-", "a"] {
        assert!(!server.tmux.has_session(missing).unwrap(), "{missing}");
        assert!(matches!(server.tmux.kill_session(missing), Err(TmuxError::NoTarget { .. })), "{missing}");
        assert!(matches!(server.tmux.capture(missing, Extent::Screen, false), Err(TmuxError::NoTarget { .. })));
    }
    for bad in ["agent*", "agent-1:", "", "a.b", "=agent-1", "@0", "$1", "-t"] {
        if bad != "-t" {
            assert!(matches!(server.tmux.has_session(bad), Err(TmuxError::BadName { .. })), "{bad}");
        }
    }
    server.tmux.kill_session("agent-1").unwrap();
    assert!(!server.tmux.has_session("agent-1").unwrap());
    assert!(server.tmux.has_session("agent-100").unwrap());
}

#[test]
fn a_name_in_use_is_refused() {
    let server = Server::new();
    server.session("agent", &os(&["sleep", "1000"]));
    let argv = os(&["true", "x"]);
    let mut new = NewSession {
        name: "agent",
        cwd: server.path(),
        argv: &argv,
        width: 80,
        height: 24,
        env: &[],
        history_lines: 1,
    };
    let again = server.tmux.new_session(&new);
    assert!(matches!(&again, Err(TmuxError::SessionExists { session }) if session == "agent"), "{again:?}");
    new.name = "other";
    new.argv = &[];
    assert!(matches!(server.tmux.new_session(&new), Err(TmuxError::NoCommand { .. })));
    new.argv = &argv;
    new.cwd = Path::new("/no/such/dir");
    assert!(matches!(server.tmux.new_session(&new), Err(TmuxError::Refused { .. })));
}

#[test]
fn arguments_directories_and_variables_pass_unread() {
    let server = Server::new();
    let cwd = server.path().join("a #(touch pwned) #{pid} 'b'; c");
    std::fs::create_dir(&cwd).unwrap();
    let odd = ["$HOME", "a;", ";", "\\;", "#{pid}", "{", "}", "it's \"so\"", "", "-x", "a\nb", "%1", "~"];
    let mut argv = os(&["sh", "-c", "printf '<%s>' \"$@\" \"$ODD\" > out.tmp; mv out.tmp out", "sh"]);
    argv.extend(os(&odd));
    let env = [("ODD".to_owned(), "#{pid} $HOME;".to_owned())];
    let new = NewSession { name: "odd", cwd: &cwd, argv: &argv, width: 80, height: 24, env: &env, history_lines: 1 };
    server.tmux.new_session(&new).unwrap();
    let out = wait_for("its output", || std::fs::read_to_string(cwd.join("out")).ok());
    let want: String = odd.iter().chain(["#{pid} $HOME;"].iter()).map(|word| format!("<{word}>")).collect();
    assert_eq!(out, want);
    assert!(!server.path().join("pwned").exists() && !cwd.join("pwned").exists());
    // One word alone would be read by a shell.
    let script = server.path().join("one; touch pwned");
    std::fs::write(&script, "#!/bin/sh\necho alone\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    server.session("single", &[script.into_os_string()]);
    server.shows("single", "alone");
}

#[test]
fn an_instant_exit_keeps_its_pane_and_a_signals_status_is_unknown() {
    let server = Server::new();
    for round in 0..10 {
        server.session(&format!("quick-{round}"), &os(&["sh", "-c", "exit 9"]));
    }
    server.session("killed", &os(&["sh", "-c", "kill -9 $$"]));
    wait_for("all to be dead and known", || {
        server.tmux.nudge().unwrap();
        let known = (0..10).filter(|round| server.ended(&format!("quick-{round}")) == "1|9").count();
        (known == 10 && server.ended("killed") == "1|").then_some(())
    });
}

#[test]
fn the_keeper_ends_only_when_it_is_alone() {
    let server = Server::new();
    server.session("agent", &os(&["sleep", "1000"]));
    assert!(!server.tmux.end_keeper_if_last().unwrap());
    assert!(server.tmux.has_session(KEEPER).unwrap());
    server.tmux.kill_session("agent").unwrap();
    assert!(server.tmux.end_keeper_if_last().unwrap());
    wait_for("the server's end", || matches!(server.tmux.panes(), Err(TmuxError::NoServer { .. })).then_some(()));
    assert!(server.tmux.end_keeper_if_last().unwrap(), "no server: nothing to do");
    server.session("agent", &os(&["sleep", "1000"]));
    assert!(server.tmux.has_session(KEEPER).unwrap(), "it comes back with the next session");
}

#[test]
fn the_users_server_keeps_its_options() {
    let server = Server::new();
    let user = Tmux { own: false, ..server.tmux.clone() };
    let argv = os(&["sh", "-c", "exit 3"]);
    let new = NewSession {
        name: "agent",
        cwd: server.path(),
        argv: &argv,
        width: 80,
        height: 24,
        env: &[],
        history_lines: 5,
    };
    user.new_session(&new).unwrap();
    assert!(user.has_session("agent").unwrap(), "its pane stays");
    assert!(!user.has_session(KEEPER).unwrap());
    assert_eq!(server.raw(&["show-options", "-gw", "remain-on-exit"]), "remain-on-exit off\n");
    assert_eq!(server.raw(&["show-options", "-g", "history-limit"]), "history-limit 2000\n");
    assert!(!user.end_keeper_if_last().unwrap());
}

#[test]
fn the_screen_and_all_that_scrolled_off_are_read() {
    let server = Server::new();
    let created = server.session("long", &os(&["sh", "-c", "seq 1 500; printf '\\033[31mred\\033[0m\\n'; sleep 1000"]));
    server.shows("long", "red");
    let all = server.tmux.capture(&created.pane_id, Extent::WholeScrollback, false).unwrap();
    assert!(all.starts_with(b"1\n2\n3\n"));
    let screen = server.tmux.capture("long", Extent::Screen, true).unwrap();
    assert!(!screen.starts_with(b"1\n") && String::from_utf8(screen).unwrap().contains("\u{1b}[31mred"));
    assert!(matches!(server.tmux.capture("%999", Extent::Screen, false), Err(TmuxError::NoTarget { .. })));
}

#[test]
fn one_attaches_from_inside_another_tmux_and_is_told_the_way_back() {
    let server = Server::new();
    server.session("inner", &os(&["sh", "-c", "echo inside; sleep 1000"]));
    let outer = Server::new();
    let attach = server.tmux.attach_command("inner").unwrap();
    let mut argv = os(&["env"]);
    argv.extend(attach.unset.iter().flat_map(|name| os(&["-u", name])));
    argv.extend(attach.argv);
    outer.session("outer", &argv);
    outer.shows("outer", "inside");
    outer.shows("outer", "C-b d: back");
    assert!(matches!(server.tmux.attach_command("in*"), Err(TmuxError::BadName { .. })));
}

#[test]
fn a_server_inherits_none_of_our_own_variables() {
    // The real binary with all of them set starts a server, and its agent says what reached it.
    let world = World::new(&[("coder", "obeys.sh")]);
    let mut start = world.program(&["run", "--ticket", "T-1", "--repos", "shop", "--detach", "--json"]);
    start.envs([("GIT_DIR", "/nowhere"), ("TMUX", "x,1,1"), ("METAWSM_EPOCH", "99"), ("OTHER_ONE", "stays")]);
    world.output(start, "").is(0);
    let server: u32 = world.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap();
    let started = std::fs::read(format!("/proc/{server}/environ")).unwrap_or_default();
    let started = String::from_utf8_lossy(&started).replace('\0', "\n");
    world.order("coder", 1, "env > \"$METAWSM_HOME/out.tmp\"; mv \"$METAWSM_HOME/out.tmp\" \"$METAWSM_HOME/out\"");
    let seen = wait_for("its environment", || std::fs::read_to_string(world.home().join("out")).ok());
    assert!(seen.contains("OTHER_ONE=stays") && !seen.contains("GIT_DIR="), "{seen}");
    assert!(seen.contains("METAWSM_EPOCH=1\n"), "its own, not ours: {seen}");
    assert!(!started.contains("METAWSM_") && !started.contains("GIT_DIR"), "{started}");
    let shown = world.tmux(&["show-environment", "-g"]);
    assert!(shown.contains("OTHER_ONE=stays") && !shown.contains("METAWSM_") && !shown.contains("GIT_"), "{shown}");
}

fn by_session(mut panes: Panes) -> Panes {
    panes.panes.sort_by(|a, b| a.session.cmp(&b.session));
    panes
}

#[test]
fn a_control_client_sees_what_a_new_client_sees_and_none_is_started() {
    let server = Server::new();
    server.session("one", &os(&["cat"]));
    server.session("two", &os(&["sh", "-c", "exit 3"]));
    wait_for("the end of two", || server.pane("two").filter(|pane| pane.dead));
    let mut lookout = Lookout::default();
    for _ in 0..20 {
        let seen = by_session(lookout.panes(&server.tmux).unwrap());
        assert_eq!(seen, by_session(server.tmux.panes().unwrap()));
        assert_eq!(seen.panes.len(), 3, "the keeper's, and two");
    }
    assert_eq!(lookout.spawned(), 1, "the first one, which showed that the server answers");
    let clients = server.raw(&["list-clients", "-F", "#{client_control_mode} #{client_flags}"]);
    assert_eq!(clients.lines().count(), 1, "{clients}");
    assert!(clients.contains("ignore-size") && clients.contains("no-output"), "{clients}");
    drop(lookout);
    wait_for("no client", || server.raw(&["list-clients"]).is_empty().then_some(()));
}

#[test]
fn screens_are_read_at_once_by_the_client_that_is_there_and_one_of_them_without() {
    let server = Server::new();
    // Lines of the protocol on a screen are lines of the screen.
    let show = r"printf '\033]2;a|b c\007%%end 1 2 1\r\n\342\235\257 1. Yes'; exec cat";
    server.session("one", &os(&["sh", "-c", show]));
    server.session("two", &os(&["sh", "-c", "seq 100; exec cat"]));
    let mut lookout = Lookout::default();
    let id =
        |name: &str| server.tmux.panes().unwrap().panes.into_iter().find(|pane| pane.session == name).unwrap().pane_id;
    let (one, two) = (id("one"), id("two"));
    wait_for("both screens", || {
        let shown = |pane: &str, text: &str| server.tmux.screen(pane).unwrap().text.contains(text);
        (shown(&one, "1. Yes") && shown(&two, "100")).then_some(())
    });
    let asked = [one.as_str(), "%999", two.as_str()];
    let spawned = lookout.screens(&server.tmux, &asked);
    assert_eq!((spawned.len(), lookout.spawned()), (1, 1), "one client of its own is enough");
    lookout.panes(&server.tmux).unwrap();
    let before = lookout.spawned();
    let screens = lookout.screens(&server.tmux, &asked);
    assert_eq!((screens.len(), lookout.spawned()), (3, before));
    assert_eq!(screens[0].text.trim_end(), spawned[0].text.trim_end());
    assert_eq!((screens[0].title.as_str(), &screens[0].title, screens[0].history), ("a|b c", &spawned[0].title, 0));
    assert!(screens[0].text.starts_with("%end 1 2 1\n❯ 1. Yes"), "{:?}", screens[0]);
    assert_eq!(screens[1], metawsm::services::tmux::Screen::default(), "it is gone");
    assert!(screens[2].text.contains("100") && screens[2].history > 50, "{:?}", screens[2]);
    assert_eq!(server.tmux.screen(&two).unwrap(), screens[2]);
    // Whoever was asked goes on to answer.
    assert_eq!(lookout.panes(&server.tmux).unwrap().panes.len(), 3);
    assert_eq!(lookout.spawned(), before);
}

#[test]
fn a_control_client_that_is_lost_is_replaced_by_a_new_client() {
    let server = Server::new();
    server.session("one", &os(&["cat"]));
    let mut lookout = Lookout::default();
    lookout.panes(&server.tmux).unwrap();
    let client = server.raw(&["list-clients", "-F", "#{client_pid}"]).trim().parse::<u32>().unwrap();
    signal(client, "KILL");
    wait_for("the client's end", || server.raw(&["list-clients"]).is_empty().then_some(()));
    assert_eq!(lookout.panes(&server.tmux).unwrap().panes.len(), 2, "the look itself comes through");
    assert_eq!(lookout.spawned(), 2);
    wait_for("a control client again", || {
        let before = lookout.spawned();
        lookout.panes(&server.tmux).unwrap();
        (lookout.spawned() == before).then_some(())
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_taken_for_gone() {
    let server = Server::new();
    server.session("one", &os(&["cat"]));
    let mut lookout = Lookout::default();
    let pid = lookout.panes(&server.tmux).unwrap().server_pid;
    signal(pid, "STOP");
    // More than once: tmux 3.3a does not survive every client that was killed while it hung.
    let hung = [lookout.panes(&server.tmux), lookout.panes(&server.tmux), lookout.panes(&server.tmux)];
    signal(pid, "CONT");
    for look in hung {
        assert!(matches!(look, Err(TmuxError::Unreachable { .. })), "{look:?}");
    }
    let seen = wait_for("an answer", || lookout.panes(&server.tmux).ok());
    assert_eq!((seen.server_pid, seen.panes.len()), (pid, 2));
}

#[test]
fn a_server_that_is_gone_is_gone_and_one_that_comes_back_is_another() {
    let server = Server::new();
    server.session("one", &os(&["cat"]));
    let mut lookout = Lookout::default();
    let before = lookout.panes(&server.tmux).unwrap();
    signal(before.server_pid, "KILL");
    wait_for("no server", || matches!(lookout.panes(&server.tmux), Err(TmuxError::NoServer { .. })).then_some(()));
    server.session("two", &os(&["cat"]));
    let after = wait_for("a control client again", || {
        let spawned = lookout.spawned();
        lookout.panes(&server.tmux).ok().filter(|_| lookout.spawned() == spawned)
    });
    assert_ne!(after.server_pid, before.server_pid);
    assert!(after.panes.iter().any(|pane| pane.session == "two"), "{after:?}");
}

#[test]
fn tmux_is_the_second_source_of_a_status_and_of_nothing_else() {
    let server = Server::new();
    let patience = std::time::Duration::from_secs(10);
    let started = |name: &str, line: &str| server.session(name, &os(&["sh", "-c", line])).pane_pid;
    let seven = started("seven", "exit 7");
    wait_for("its end", || server.pane("seven")?.dead.then_some(()));
    assert_eq!(server.tmux.ended_with("seven", seven, patience), Some(7));
    assert_eq!(server.tmux.ended_with("seven", seven + 1, patience), None, "of another process nothing is known");
    let killed = started("killed", "exec sleep 1000");
    assert_eq!(server.tmux.ended_with("killed", killed, patience), None, "it lives");
    signal(killed, "KILL");
    wait_for("its death", || server.pane("killed")?.dead.then_some(()));
    assert_eq!(server.tmux.ended_with("killed", killed, patience), None, "a signal is no status");
    assert_eq!(server.tmux.ended_with("nobody", 1, patience), None);
}

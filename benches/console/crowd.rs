//! The released program beside agents in tmux: a key's way while one of them chatters (P11), a hundred idle ones (P13).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::home::Crowd;
use super::terminal::{FULL, Seat, WATCHED, of_a_core, spent, yardstick};
use super::{median, share};

/// What agent-of-empires 1.9.5 was measured at, with fifty and with a hundred idle agents.
const BESIDE: &str = "agent-of-empires 1.9.5: 50 agents 16.4 % of a core, 32 processes/s, first frame 1.1 s; \
                      100 agents 27 %, 45/s, 2.1 s";

/// One moves its screen twenty times a second, a fifth of the others once a second, and the rest are idle.
const CHATTER: &str = "case $METAWSM_AGENT in a0|a00|a000|a1|a01|a001) while :; do date +%s%N; sleep 0.05; done;; \
                       *0|*5) while :; do echo working; sleep 1; done;; *) echo ready; exec sleep 86400;; esac";

/// P11: the help is asked for while an agent's screen in view moves twenty times a second, alone and among five hundred.
pub fn keys() {
    for agents in [1, 500] {
        keys_beside(agents);
    }
}

fn keys_beside(agents: usize) {
    let crowd = Crowd::new(agents, CHATTER);
    let mut seat = Seat::console(&crowd.home());
    seat.sees(FULL);
    let mut times = Vec::new();
    for turn in 0..300_u64 {
        seat.rest(Duration::from_millis(30 + turn * 7 % 40));
        let pressed = seat.types(b"?");
        times.push(seat.sees("key closes") - pressed);
        seat.types(b"\x1b");
    }
    drop(seat);
    let echo = echo();
    let (half, most) = (median(times.clone()), share(times, 99));
    println!(
        "P11 key to bytes on the terminal beside {agents} agents, a fifth of them chattering: p50 {half:.1?} (goal 5ms), p99 {most:.1?} (goal 33ms); cat on a terminal p50 {echo:.1?}"
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

/// P13: a hundred idle agents, and five times as many.
pub fn idle_crowds() {
    for agents in [100, 500] {
        idle_crowd(agents);
    }
}

fn idle_crowd(agents: usize) {
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

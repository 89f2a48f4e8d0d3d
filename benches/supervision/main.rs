//! What it costs to look after 500 sessions (P1, P2), and how soon a death is known (P3).
//!
//! `cargo bench --bench supervision`, or with the figures wanted: `-- p1 p3`, and `-- 50` for fewer sessions.
//! Times are reported beside yardsticks from the same run; only ratios judge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench prints")]

#[path = "../home.rs"]
mod home;

use std::sync::Arc;
use std::time::{Duration, Instant};

use home::Crowd;
use metawsm::domain::agent::Agent;
use metawsm::services::agents::LaunchFiles;
use metawsm::services::duty::Duty;
use metawsm::services::engine::{Engine, Surroundings};
use metawsm::services::home::{Home, HomeArgs};
use metawsm::services::launcher::read_record;
use metawsm::services::supervisor::Supervisor;
use rustix::process::{Pid, Signal, kill_process};

/// Four of five are silent, the fifth says something every five seconds.
const WORK: &str = "case $METAWSM_AGENT in *0|*5) while :; do date; sleep 5; done;; *) exec sleep 86400;; esac";
/// So long CPU time is taken.
const WATCHED: Duration = Duration::from_secs(20);
/// So many die.
const DEATHS: usize = 200;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let sessions = words.iter().find_map(|word| word.parse().ok()).unwrap_or(500);
    let named = words.iter().any(|word| word.starts_with('p'));
    let wanted = |name: &str| !named || words.iter().any(|word| word == name);
    let began = Instant::now();
    let crowd = Crowd::new(sessions, WORK);
    println!("{sessions} sessions, started in {:.1?}", began.elapsed());
    let mut surroundings = Surroundings::of_process();
    surroundings.program = env!("CARGO_BIN_EXE_metawsm").into();
    let engine = Arc::new(Engine::open(Home::at(&crowd.home(), &HomeArgs::default()), surroundings).unwrap());
    if wanted("p1") {
        tick(&crowd, &engine);
    }
    if wanted("p2") {
        cost(&crowd, &engine);
    }
    if wanted("p3") {
        deaths(&engine);
    }
}

/// P1: one look at everything, beside one client that asks for seven fields.
fn tick(crowd: &Crowd, engine: &Arc<Engine>) {
    let mut supervisor = Supervisor::try_new(engine).unwrap().expect("nobody else supervises");
    for _ in 0..3 {
        supervisor.tick().unwrap();
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        ours.push(timed(|| drop(supervisor.tick().unwrap())));
        let format = "#{pane_id} #{pane_pid} #{pane_dead} #{pane_dead_status} #{window_activity} #{session_name} \
                      #{pane_current_command}";
        theirs.push(timed(|| drop(crowd.tmux(&["list-panes", "-a", "-F", format]))));
    }
    supervisor.end();
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "P1 one tick {ours:.1?}, tmux list-panes -a {theirs:.1?}: {:.2}x (goal 0.4, limit 1.0)",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

/// P2: what a second's tick costs this process and the tmux server, above what the sessions cost it anyway.
fn cost(crowd: &Crowd, engine: &Arc<Engine>) {
    let server: u32 = crowd.tmux(&["display-message", "-p", "#{pid}"]).parse().unwrap();
    let rest = measured(server);
    let mut duty = Duty::begin(engine);
    std::thread::sleep(Duration::from_secs(5));
    let busy = measured(server);
    duty.end();
    let points = |of: fn(&(Duration, Duration)) -> Duration| {
        100.0 * (of(&busy).as_secs_f64() - of(&rest).as_secs_f64()) / WATCHED.as_secs_f64()
    };
    let (ours, theirs) = (points(|spent| spent.0), points(|spent| spent.1));
    println!(
        "P2 supervision {ours:.2} + tmux server {theirs:.2} = {:.2} points of a core (goal 1, limit 3)",
        ours + theirs
    );
}

/// CPU time that this process and the server spend while one waits.
fn measured(server: u32) -> (Duration, Duration) {
    let before = (spent(std::process::id()), spent(server));
    std::thread::sleep(WATCHED);
    (spent(std::process::id()) - before.0, spent(server) - before.1)
}

/// CPU time of all threads of a process, in nanoseconds: ticks of the clock are too coarse.
fn spent(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// P3: agents that are killed, that end by themselves, and whose launcher is killed; the journal is read until it says so.
fn deaths(engine: &Arc<Engine>) {
    let mut duty = Duty::begin(engine);
    std::thread::sleep(Duration::from_secs(3));
    let reader = engine.home.reader().unwrap();
    let agents = reader.all_agents().unwrap();
    let (mut known, mut wrong) = ([Vec::new(), Vec::new()], 0);
    for (turn, agent) in agents.iter().filter(|agent| agent.exit.is_none()).take(DEATHS).enumerate() {
        let files = LaunchFiles::new(engine, &agent.spec.session, agent.launch);
        let record = read_record(&files.record).unwrap().unwrap();
        let launcher = turn % 4 == 3;
        let (victim, signal, name) = match turn % 4 {
            0 => (record.agent_pid.unwrap(), Signal::KILL, "SIGKILL"),
            1 => (record.agent_pid.unwrap(), Signal::TERM, "SIGTERM"),
            2 => (record.agent_pid.unwrap(), Signal::USR1, "SIGUSR1"),
            _ => (record.launcher_pid, Signal::KILL, ""),
        };
        let pid = Pid::from_raw(i32::try_from(victim).unwrap()).unwrap();
        let began = Instant::now();
        kill_process(pid, signal).unwrap();
        let Some(ended) = until_ended(&reader, agent, began) else {
            println!("   {}: not seen within 20 s", agent.key.name);
            wrong += 1;
            continue;
        };
        known[usize::from(launcher)].push(began.elapsed());
        let exit = ended.exit.unwrap();
        if exit.signal.as_deref().unwrap_or_default() != name || exit.status.is_some() {
            println!("   {}: {exit:?} instead of {name}", agent.key.name);
            wrong += 1;
        }
    }
    duty.end();
    for (times, what) in known.into_iter().zip(["agent killed", "launcher killed"]) {
        let (half, most) = (median(times.clone()), times.iter().max().unwrap());
        println!(
            "P3 {} times {what}, known after: p50 {half:.1?} (goal 10ms seen, 50ms status), max {most:.1?} (goal 100ms, 500ms)",
            times.len()
        );
    }
    println!("P3 missed or wrong: {wrong} (goal 0)");
}

fn until_ended(reader: &metawsm::store::Reader, agent: &Agent, began: Instant) -> Option<Agent> {
    while began.elapsed() < Duration::from_secs(20) {
        let found = reader.agent(&agent.key).unwrap()?;
        if found.exit.is_some() && found.launch == agent.launch {
            return Some(found);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    None
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

//! A word to one process alone, named by its number and when it began.

use rustix::process::{Pid, Signal, kill_process};

use super::Processes;
use super::ends::Life;

/// Lets a process go on that was stopped; whether it was.
pub fn let_go_on(procs: &dyn Processes, life: Life) -> bool {
    procs.stopped(life.0, life.1) && tell(procs, life, Signal::CONT)
}

/// Ends a process at once, if exactly that one lives.
pub fn kill(procs: &dyn Processes, life: Life) {
    tell(procs, life, Signal::KILL);
}

fn tell(procs: &dyn Processes, (pid, start): Life, signal: Signal) -> bool {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| procs.alive(pid, start));
    raw.is_some_and(|raw| kill_process(raw, signal).is_ok())
}

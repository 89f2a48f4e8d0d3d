//! Processes of this machine: who lives, who descends from whom, and how they are ended.
//!
//! This folder is the only place that knows one operating system from another. The rest of the
//! program sees [`Processes`].

use std::collections::BTreeMap;

pub mod ends;
pub mod exec;
pub mod kill;
pub mod lease;
pub mod one;
pub mod table;

pub use ends::{Ends, ListedEnds, default_ends};
pub use kill::{EndReport, Tree, end_tree};
pub use one::{kill, let_go_on};
pub use table::{PortableTable, default_table};

/// One process as the operating system lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proc {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub ppid: u32,
    /// The session it belongs to: the number of the process that opened it. 0 where unknown.
    pub sid: u32,
    /// When it began, in the table's own unit; comparable only with values of the same table.
    pub start_time: u64,
    /// Whether it has ended and merely waits for its parent to ask how.
    pub zombie: bool,
    /// Whether it was stopped and waits to be told to go on.
    pub stopped: bool,
}

/// What can be asked about processes. A pid alone names nobody, because numbers are used again;
/// pid and start time together do.
pub trait Processes: Send + Sync {
    /// When the process began, `None` when there is no such process (zombies have one still).
    fn start_time(&self, pid: u32) -> Option<u64>;

    /// Whether exactly this process still runs. A zombie does not run.
    fn alive(&self, pid: u32, start_time: u64) -> bool;

    /// Whether exactly this process was stopped and waits to be told to go on.
    fn stopped(&self, pid: u32, start_time: u64) -> bool;

    /// All processes. Empty means that they could not be listed: there is always at least our own.
    fn list(&self) -> Vec<Proc>;

    /// Whether the process was started with the environment line `NAME=value`; `false` when it
    /// may not be looked at.
    fn environ_has(&self, pid: u32, line: &str) -> bool;

    /// The environment with which the process was started; empty where the system does not tell.
    fn environment(&self, _pid: u32) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Those of `among` that [`Processes::environ_has`] the line.
    fn marked(&self, among: &[u32], line: &str) -> Vec<u32> {
        among.iter().copied().filter(|pid| self.environ_has(*pid, line)).collect()
    }

    /// Whether two start times of one pid mean the same process, as exactly as this table can tell.
    fn same_start(&self, one: u64, other: u64) -> bool {
        one == other
    }
}

/// Makes this process the parent of every descendant whose own parent ends, where the system can.
/// Returns whether it could.
pub fn become_subreaper() -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// The number of this process.
pub fn own_pid() -> u32 {
    std::process::id()
}

/// The session of this process, if it is the one who opened it.
pub fn own_session(procs: &dyn Processes) -> Option<u32> {
    let own = procs.list().into_iter().find(|proc| proc.pid == own_pid())?;
    (own.sid == own.pid).then_some(own.sid)
}

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

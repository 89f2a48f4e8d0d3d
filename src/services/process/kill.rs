//! Ends everything an agent started, wherever it went, and says who would not go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Proc, Processes, own_pid};

/// How long a killed process may take to vanish: longer means that it hangs inside the kernel.
const KILL_WAIT: Duration = Duration::from_secs(3);

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A list is no snapshot: one who forks and ends while it is read may be missing from it with its
/// child. Nothing is left once this many in a row are empty.
const CLEAR_LISTS: u32 = 2;

/// How often a process is looked at for the marker: at its very start it has no environment yet.
const MARKER_LOOKS: u8 = 3;

/// What belongs to one launch of one agent.
#[derive(Debug, Clone, Default)]
pub struct Tree<'a> {
    /// The launcher, by pid and start time. Its descendants are ended, itself it is not.
    pub launcher: Option<(u32, u64)>,
    /// The session the launcher opened; outlives the launcher in everything that did not leave it.
    pub session_id: Option<u32>,
    /// An environment line (`METAWSM_LAUNCH=…`) that all of them carry; finds those who left the
    /// session and lost their parent.
    pub marker: Option<String>,
    /// Processes that were seen to be of it while they still had their parents.
    pub kin: &'a [(u32, u64)],
    /// Processes to leave alone, with their pids.
    pub spare: &'a [u32],
}

/// What became of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndReport {
    /// Those who ended, by pid and start time.
    pub ended: Vec<(u32, u64)>,
    /// Those of `ended` who needed KILL.
    pub killed: Vec<(u32, u64)>,
    /// Those who live still, confirmed by pid and start time.
    pub survivors: Vec<(u32, u64)>,
    /// The process table could not be read: whether anything is left is unknown.
    pub blind: bool,
}

impl EndReport {
    /// Whether it is certain that nothing is left.
    pub fn all_gone(&self) -> bool {
        self.survivors.is_empty() && !self.blind
    }
}

/// Ends the tree: TERM to all, up to `grace` of waiting in which newcomers get TERM too, then KILL
/// until nothing is left or KILL itself does not help. Our own process and the launcher are spared.
pub fn end_tree(procs: &dyn Processes, target: &Tree<'_>, grace: Duration) -> EndReport {
    let mut hunt = Hunt { procs, target, seen: BTreeMap::new(), unmarked: BTreeMap::new(), killed: BTreeSet::new() };
    let termed = hunt.round(grace, |hunt, prey, new| {
        if new {
            hunt.signal(prey, Signal::TERM);
            // A stopped process hears TERM only once it goes on.
            hunt.signal(prey, Signal::CONT);
        }
    });
    let blind = match termed {
        Round::Clear => false,
        Round::Left | Round::Blind => {
            let last = hunt.round(KILL_WAIT, |hunt, prey, _| {
                hunt.killed.insert(prey.0);
                hunt.signal(prey, Signal::KILL);
            });
            last == Round::Blind
        }
    };
    hunt.report(blind)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Clear,
    Left,
    Blind,
}

struct Hunt<'a> {
    procs: &'a dyn Processes,
    target: &'a Tree<'a>,
    /// Everyone found so far, by pid, with the start time. They stay roots of the search, so a
    /// child is found although its parent has been adopted away meanwhile.
    seen: BTreeMap<u32, u64>,
    /// Who was looked at for the marker and has none, and how often.
    unmarked: BTreeMap<(u32, u64), u8>,
    killed: BTreeSet<u32>,
}

impl Hunt<'_> {
    fn round(&mut self, limit: Duration, mut act: impl FnMut(&mut Self, (u32, u64), bool)) -> Round {
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        let mut clear = 0;
        loop {
            let list = self.procs.list();
            // We are in every honest list.
            let blind = !list.iter().any(|proc| proc.pid == own_pid());
            let prey = if blind { self.known() } else { self.collect(&list) };
            for one in &prey {
                let new = self.seen.insert(one.0, one.1).is_none();
                act(self, *one, new);
            }
            clear = if prey.is_empty() && !blind { clear + 1 } else { 0 };
            if clear == CLEAR_LISTS {
                return Round::Clear;
            }
            if clear == 0 && Instant::now() >= deadline {
                return if blind { Round::Blind } else { Round::Left };
            }
            // What cannot be listed now may be a moment later.
            if clear > 0 || blind {
                std::thread::sleep(if blind { LONGEST_PAUSE } else { FIRST_PAUSE });
                continue;
            }
            // To ask for those who were found costs little, and a list much: the next one is made when they are gone.
            let next = (Instant::now() + LONGEST_PAUSE).min(deadline);
            while Instant::now() < next && !self.known().is_empty() {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Those found earlier who live still.
    fn known(&self) -> Vec<(u32, u64)> {
        self.seen
            .iter()
            .map(|(pid, start)| (*pid, *start))
            .filter(|(pid, start)| self.procs.alive(*pid, *start))
            .collect()
    }

    /// Everyone of the tree in this list who is not a zombie.
    fn collect(&mut self, list: &[Proc]) -> Vec<(u32, u64)> {
        let launcher = self.launcher_here(list);
        let ours = self.session_is_ours(list);
        let roots = list.iter().filter(|proc| self.is_root(proc, ours)).map(|proc| proc.pid);
        let mut members: BTreeSet<u32> = roots.collect();
        members.extend(self.marked(list, &members));
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for proc in list.iter().filter(|proc| proc.pid != proc.ppid) {
            children.entry(proc.ppid).or_default().push(proc.pid);
        }
        let mut open: Vec<u32> = members.iter().copied().collect();
        while let Some(pid) = open.pop() {
            // Not ours to end: what we ourselves started (unless we are the launcher, whose
            // children are the agent's), and what the spared started.
            if (pid == own_pid() && launcher != Some(pid)) || self.target.spare.contains(&pid) {
                continue;
            }
            open.extend(children.get(&pid).into_iter().flatten().filter(|child| members.insert(**child)));
        }
        let spared =
            |pid: u32| pid <= 1 || pid == own_pid() || self.target.spare.contains(&pid) || launcher == Some(pid);
        let found = list.iter().filter(|proc| members.contains(&proc.pid) && !proc.zombie && !spared(proc.pid));
        found.map(|proc| (proc.pid, proc.start_time)).collect()
    }

    /// The launcher's pid, if it is the launcher still who has it.
    fn launcher_here(&self, list: &[Proc]) -> Option<u32> {
        let (pid, start) = self.target.launcher?;
        list.iter().find(|proc| proc.pid == pid && self.procs.same_start(proc.start_time, start)).map(|_| pid)
    }

    fn is_root(&self, proc: &Proc, session_is_ours: bool) -> bool {
        let same = |start| self.procs.same_start(start, proc.start_time);
        let launcher = self.target.launcher;
        let known = self.seen.get(&proc.pid).is_some_and(|start| same(*start));
        let is_launcher = launcher.is_some_and(|(pid, start)| pid == proc.pid && same(start));
        // Nobody of ours is older than the launcher.
        let in_time = launcher.is_none_or(|(_, start)| proc.start_time >= start || same(start));
        let in_session = session_is_ours && in_time && Some(proc.sid) == self.target.session_id;
        let kin = self.target.kin.iter().any(|(pid, start)| *pid == proc.pid && same(*start));
        known || is_launcher || in_session || kin
    }

    /// Whether the session's number still means our session: after all of it ended the number may
    /// have been given to a stranger, whose process then leads the session of that number.
    fn session_is_ours(&self, list: &[Proc]) -> bool {
        let Some(sid) = self.target.session_id.filter(|sid| *sid > 1) else { return false };
        let leader = list.iter().find(|proc| proc.pid == sid);
        let stranger = |proc: &Proc| {
            let ours = self.target.launcher.filter(|(pid, _)| *pid == sid);
            ours.is_some_and(|(_, start)| !self.procs.same_start(start, proc.start_time))
        };
        !leader.is_some_and(stranger)
    }

    fn marked(&mut self, list: &[Proc], members: &BTreeSet<u32>) -> Vec<u32> {
        let Some(line) = self.target.marker.as_deref() else { return Vec::new() };
        let settled =
            |proc: &Proc| self.unmarked.get(&(proc.pid, proc.start_time)).is_some_and(|looks| *looks >= MARKER_LOOKS);
        let begun: BTreeMap<u32, u64> = list.iter().map(|proc| (proc.pid, proc.start_time)).collect();
        let unknown = |proc: &&Proc| {
            let parent = begun.get(&proc.ppid).copied();
            !proc.zombie && !members.contains(&proc.pid) && !settled(proc) && self.may_have_strayed(proc, parent)
        };
        let fresh: Vec<&Proc> = list.iter().filter(unknown).collect();
        let pids: Vec<u32> = fresh.iter().map(|proc| proc.pid).collect();
        let hits = self.procs.marked(&pids, line);
        let misses = fresh.iter().filter(|proc| !hits.contains(&proc.pid));
        for proc in misses {
            *self.unmarked.entry((proc.pid, proc.start_time)).or_default() += 1;
        }
        hits
    }

    /// Whether only its marker can tell if a process is of the tree. Who lost its parent was adopted by an ancestor of
    /// the launcher, or taken over by a service that was there before it: what somebody younger started is found with
    /// that somebody, or not ours.
    fn may_have_strayed(&self, proc: &Proc, parent: Option<u64>) -> bool {
        let Some((_, launched)) = self.target.launcher else { return true };
        let not_before = |start| start >= launched || self.procs.same_start(start, launched);
        let not_after = |start| start <= launched || self.procs.same_start(start, launched);
        not_before(proc.start_time) && parent.is_none_or(not_after)
    }

    fn signal(&self, (pid, start): (u32, u64), signal: Signal) {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // Asked again right before, so that a number given to someone else meanwhile is not hit.
        if let Some(raw) = raw.filter(|_| self.procs.alive(pid, start)) {
            // A refusal shows as a survivor in the report.
            let _ = kill_process(raw, signal);
        }
    }

    fn report(self, blind: bool) -> EndReport {
        let all = self.seen.iter().map(|(pid, start)| (*pid, *start));
        let (survivors, ended): (Vec<_>, Vec<_>) = all.partition(|(pid, start)| self.procs.alive(*pid, *start));
        let killed = ended.iter().copied().filter(|(pid, _)| self.killed.contains(pid)).collect();
        EndReport { ended, killed, survivors, blind }
    }
}

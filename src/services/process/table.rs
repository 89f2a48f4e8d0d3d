//! The process table: from `/proc` on Linux, from `ps` elsewhere. Both are compiled and tested on Linux.

use std::time::Duration;

use rustix::process::{Pid, getsid, test_kill_process};

use super::exec::Exec;
use super::{Proc, Processes, own_pid};

/// The longest `ps` may take. Past it the table counts as unreadable, never as empty.
const PS_TIMEOUT: Duration = Duration::from_secs(5);

/// Seconds by which two readings of one start time may differ: `ps` reckons it from the boot time,
/// which moves when the clock is set.
const PS_START_SLACK: u64 = 2;

/// The table that fits this system best.
pub fn default_table() -> Box<dyn Processes> {
    #[cfg(target_os = "linux")]
    if std::path::Path::new("/proc/self/stat").exists() {
        return Box::new(ProcTable);
    }
    Box::new(PortableTable)
}

#[cfg(target_os = "linux")]
pub use linux::ProcTable;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use super::super::{Proc, Processes};
    use super::parse_stat;

    /// The table as `/proc` shows it; start times are clock ticks since boot.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct ProcTable;

    fn read(pid: u32) -> Option<Proc> {
        parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    impl Processes for ProcTable {
        fn start_time(&self, pid: u32) -> Option<u64> {
            read(pid).map(|proc| proc.start_time)
        }

        fn alive(&self, pid: u32, start_time: u64) -> bool {
            read(pid).is_some_and(|proc| !proc.zombie && proc.start_time == start_time)
        }

        fn stopped(&self, pid: u32, start_time: u64) -> bool {
            read(pid).is_some_and(|proc| proc.stopped && proc.start_time == start_time)
        }

        fn list(&self) -> Vec<Proc> {
            let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
            let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.filter_map(read).collect()
        }

        fn environ_has(&self, pid: u32, line: &str) -> bool {
            let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
            !line.is_empty() && environ.split(|byte| *byte == 0).any(|entry| entry == line.as_bytes())
        }

        fn environment(&self, pid: u32) -> BTreeMap<String, String> {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let lines = environ.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
            lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
        }
    }
}

/// Reads one `/proc/PID/stat`. The program's name stands second, in parentheses, and may itself
/// hold spaces, parentheses, newlines and bytes that are no text: the last `)` ends it.
pub fn parse_stat(stat: &[u8]) -> Option<Proc> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(stat.get(..open)?).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(stat.get(close.checked_add(1)?..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Counted from the state: ppid 1, session 3, start time 19.
    Some(Proc {
        pid,
        ppid: fields.get(1)?.parse().ok()?,
        sid: fields.get(3)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
        zombie: is_over(fields.first()?),
        stopped: is_stopped(fields.first()?),
    })
}

fn is_over(state: &str) -> bool {
    state.starts_with(['Z', 'X'])
}

/// By a signal; who is held by a debugger is not meant, for that one lets it go on.
fn is_stopped(state: &str) -> bool {
    state.starts_with('T')
}

/// The table as `ps` prints it; start times are seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortableTable;

const PS_COLUMNS: &str = "pid=,ppid=,sess=,stat=,lstart=";

impl PortableTable {
    /// `None`: `ps` could not be asked. An empty text: it knows no such process.
    fn ps(args: &[&str]) -> Option<String> {
        // Dates must not depend on the language or the zone of whoever started us.
        let call = Exec::new("ps").args(args).env("LC_ALL", "C").env("TZ", "UTC0").timeout(PS_TIMEOUT);
        call.run().ok().filter(|out| out.ok() || out.stdout.is_empty()).map(|out| out.text())
    }

    fn one(pid: u32) -> Option<Option<Proc>> {
        let text = Self::ps(&["-o", PS_COLUMNS, "-p", &pid.to_string()])?;
        Some(text.lines().find_map(parse_ps_line))
    }
}

impl Processes for PortableTable {
    fn start_time(&self, pid: u32) -> Option<u64> {
        Self::one(pid).flatten().map(|proc| proc.start_time)
    }

    fn alive(&self, pid: u32, start_time: u64) -> bool {
        match Self::one(pid) {
            Some(found) => found.is_some_and(|proc| !proc.zombie && self.same_start(proc.start_time, start_time)),
            // Who cannot be asked about is not declared dead.
            None => exists(pid),
        }
    }

    fn stopped(&self, pid: u32, start_time: u64) -> bool {
        let found = Self::one(pid).flatten().filter(|proc| self.same_start(proc.start_time, start_time));
        found.is_some_and(|proc| proc.stopped)
    }

    fn list(&self) -> Vec<Proc> {
        let text = Self::ps(&["-axo", PS_COLUMNS]).unwrap_or_default();
        let mut procs: Vec<Proc> = text.lines().filter_map(parse_ps_line).collect();
        // The `ps` that was just asked is over by now. It would be in every list.
        procs.retain(|proc| proc.ppid != own_pid() || exists(proc.pid));
        // macOS prints an address or 0 in place of the session. (On Linux 0 is the kernel's, and true.)
        for proc in procs.iter_mut().filter(|proc| proc.sid == 0 && !cfg!(target_os = "linux")) {
            let sid = raw(proc.pid).and_then(|pid| getsid(Some(pid)).ok());
            proc.sid = sid.map_or(0, |sid| sid.as_raw_nonzero().get().cast_unsigned());
        }
        procs
    }

    fn environ_has(&self, pid: u32, line: &str) -> bool {
        !self.marked(&[pid], line).is_empty()
    }

    fn marked(&self, among: &[u32], line: &str) -> Vec<u32> {
        if line.is_empty() || among.is_empty() {
            return Vec::new();
        }
        let how = if cfg!(target_os = "linux") { "axeww" } else { "-axEww" };
        let text = Self::ps(&[how, "-o", "pid=,command="]).unwrap_or_default();
        let hit = |row: &str| {
            let (pid, command) = row.trim_start().split_once(' ')?;
            let pid = pid.parse().ok().filter(|pid| among.contains(pid))?;
            command.split_ascii_whitespace().any(|word| word == line).then_some(pid)
        };
        text.lines().filter_map(hit).collect()
    }

    fn same_start(&self, one: u64, other: u64) -> bool {
        one.abs_diff(other) <= PS_START_SLACK
    }
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.try_into().ok()?)
}

/// Whether the number is in use, by a zombie too.
fn exists(pid: u32) -> bool {
    raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Reads one line of `ps -o pid=,ppid=,sess=,stat=,lstart=`, printed in English and UTC.
pub fn parse_ps_line(line: &str) -> Option<Proc> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [pid, ppid, sess, stat, _weekday, month, day, clock, year] = fields[..] else { return None };
    Some(Proc {
        pid: pid.parse().ok()?,
        ppid: ppid.parse().ok()?,
        sid: sess.parse().unwrap_or(0),
        start_time: epoch_seconds(year, month, day, clock)?,
        zombie: is_over(stat),
        stopped: is_stopped(stat),
    })
}

fn epoch_seconds(year: &str, month: &str, day: &str, clock: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let mut clock = clock.splitn(3, ':').map(str::parse::<i8>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let moment =
        jiff::civil::DateTime::new(year.parse().ok()?, month, day.parse().ok()?, hour, minute, second, 0).ok()?;
    let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    zoned.timestamp().as_second().try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tables() -> Vec<Box<dyn Processes>> {
        vec![default_table(), Box::new(PortableTable)]
    }

    fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        }
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = b"42 (a) R 9 (b\n) S 7 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 1 18446744073709551615";
        let want = Proc { pid: 42, ppid: 7, sid: 41, start_time: 9876, zombie: false, stopped: false };
        assert_eq!(parse_stat(stat), Some(want));
    }

    #[test]
    fn a_line_of_ps_is_read_with_its_date() {
        let proc = parse_ps_line("   42     7    41 Z+   Thu Jan  1 00:01:05 1970").unwrap();
        assert_eq!(proc, Proc { pid: 42, ppid: 7, sid: 41, start_time: 65, zombie: true, stopped: false });
        assert_eq!(parse_ps_line("42 7 41 S Thu Foo  1 00:01:05 1970"), None);
    }

    #[test]
    fn every_table_knows_us_our_parent_and_our_child() {
        for table in tables() {
            let mut child = std::process::Command::new("sleep").arg("60").env("MARK_OF", "table-test").spawn().unwrap();
            let start = table.start_time(child.id()).unwrap();
            assert!(table.alive(child.id(), start));
            assert!(!table.alive(child.id(), start + 100), "a pid used again is somebody else");
            let list = table.list();
            let of = |pid| *list.iter().find(|proc| proc.pid == pid).unwrap();
            assert_eq!(of(child.id()).ppid, own_pid());
            assert_eq!(of(child.id()).sid, of(own_pid()).sid);
            // A process that has only just begun may have no environment yet.
            until("its environment", || table.environ_has(child.id(), "MARK_OF=table-test"));
            assert!(!table.environ_has(child.id(), "MARK_OF=table"));
            child.kill().unwrap();
            until("a zombie to count as dead", || !table.alive(child.id(), start));
            child.wait().unwrap();
            assert_eq!(table.start_time(child.id()), None);
        }
    }

    proptest! {
        #[test]
        fn any_name_is_survived(pid in 1u32..4_000_000, name in proptest::collection::vec(any::<u8>(), 0..16),
            ppid: u32, sid: u32, start: u64)
        {
            let mut stat = format!("{pid} (").into_bytes();
            stat.extend(name);
            stat.extend(format!(") S {ppid} 1 {sid} {} {start} 0 0", "0 ".repeat(15)).bytes());
            prop_assert_eq!(parse_stat(&stat), Some(Proc { pid, ppid, sid, start_time: start, zombie: false, stopped: false }));
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let _ = parse_stat(&bytes);
            let _ = parse_ps_line(&text);
        }
    }
}

//! Runs an outside program to its end: argv in, captured bytes out, never a shell, never our terminal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Bytes kept of each of stdout and stderr: the head and then nothing, the rest is read and dropped.
const CAPTURE_LIMIT: usize = 64 * 1024 * 1024;

/// What is kept of each of stdout and stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// So many bytes of its beginning.
    Head(usize),
    /// So many bytes of its end.
    Tail(usize),
}

/// How long output is awaited after the program itself has ended; a daemon it left behind may hold the pipe for ever.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

/// One call of an outside program.
#[derive(Debug, Clone)]
pub struct Exec<'a> {
    argv: Vec<OsString>,
    cwd: Option<PathBuf>,
    set: BTreeMap<OsString, OsString>,
    drop_prefixes: Vec<&'static str>,
    stdin: Option<Vec<u8>>,
    timeout: Option<Duration>,
    cancel: Option<&'a AtomicBool>,
    keep: Keep,
    pid: Option<&'a AtomicU32>,
}

/// What cut a program short: it was ended with its whole process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It ran longer than allowed.
    TimedOut,
    /// The caller's cancel flag was raised.
    Cancelled,
}

/// How a program ended and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status 0–255, `None` when a signal ended it.
    pub status: Option<i32>,
    /// Number of the signal that ended it. Neither is known where somebody else in this process has reaped it.
    pub signal: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// How many bytes it wrote to both that were not kept.
    pub dropped: u64,
}

impl Output {
    /// Whether it exited with 0.
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// stdout as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines of stderr (or of stdout where stderr is empty), for an error message.
    pub fn complaint(&self) -> String {
        let source = if self.stderr.iter().all(u8::is_ascii_whitespace) { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(source);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let tail = &lines[lines.len().saturating_sub(6)..];
        tail.join("; ")
    }
}

/// Why a program gave no output.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The program is not on `PATH` or not executable.
    #[error("{program} is not installed or not on PATH")]
    Missing {
        /// The program as called.
        program: String,
    },
    /// The operating system refused to start it.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program as called.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It ran longer than allowed and was ended with its whole process group.
    #[error("{program} did not end within {} s", after.as_secs_f32())]
    TimedOut {
        /// The program as called.
        program: String,
        /// The time it was given.
        after: Duration,
    },
    /// The caller's cancel flag was raised; it was ended with its whole process group.
    #[error("{program} was interrupted")]
    Cancelled {
        /// The program as called.
        program: String,
    },
}

impl<'a> Exec<'a> {
    /// A call of `program` with no arguments yet, an empty stdin, and our own environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            argv: vec![program.into()],
            cwd: None,
            set: BTreeMap::new(),
            drop_prefixes: Vec::new(),
            stdin: None,
            timeout: None,
            cancel: None,
            keep: Keep::Head(CAPTURE_LIMIT),
            pid: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// The working directory.
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_path_buf());
        self
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Removes every inherited variable whose name begins with `prefix`.
    pub fn without_env(mut self, prefix: &'static str) -> Self {
        self.drop_prefixes.push(prefix);
        self
    }

    /// Bytes for its stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// The longest it may run.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// A flag that, once raised, ends it.
    pub fn cancel(mut self, flag: &'a AtomicBool) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// Keeps the last so many bytes of each of stdout and stderr, instead of the first.
    pub fn keep_tail(mut self, bytes: usize) -> Self {
        self.keep = Keep::Tail(bytes);
        self
    }

    /// Says its number, which is also that of its process group, to others while it runs.
    pub fn tell_pid(mut self, to: &'a AtomicU32) -> Self {
        self.pid = Some(to);
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`ExecError`] when it could not be started, ran too long, or was cancelled. An exit status
    /// other than 0 is no error here.
    pub fn run(self) -> Result<Output, ExecError> {
        let program = self.argv[0].to_string_lossy().into_owned();
        let after = self.timeout.unwrap_or_default();
        match self.run_or_cut()? {
            (output, None) => Ok(output),
            (_, Some(Cut::TimedOut)) => Err(ExecError::TimedOut { program, after }),
            (_, Some(Cut::Cancelled)) => Err(ExecError::Cancelled { program }),
        }
    }

    /// The same for whom also the output counts of a program that was cut short.
    ///
    /// # Errors
    /// [`ExecError`] when it could not be started.
    pub fn run_or_cut(self) -> Result<(Output, Option<Cut>), ExecError> {
        let program = self.argv[0].to_string_lossy().into_owned();
        let mut child = self.spawn(&program)?;
        if let Some(pid) = self.pid {
            pid.store(child.id(), Ordering::SeqCst);
        }
        let feeder = self.stdin.clone().and_then(|bytes| feed(&mut child, bytes));
        let stdout = Drain::start(child.stdout.take(), self.keep);
        let stderr = Drain::start(child.stderr.take(), self.keep);
        let (status, cut) = self.wait(&mut child, &program)?;
        let deadline = Instant::now() + DRAIN_GRACE;
        if let Some(feeder) = feeder.filter(JoinHandle::is_finished) {
            let _ = feeder.join();
        }
        let (stdout, dropped) = stdout.finish(deadline);
        let (stderr, dropped_too) = stderr.finish(deadline);
        let output = Output {
            status: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            stdout,
            stderr,
            dropped: dropped + dropped_too,
        };
        Ok((output, cut))
    }

    fn spawn(&self, program: &str) -> Result<Child, ExecError> {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        for (name, _) in std::env::vars_os() {
            if self.drop_prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(&self.set);
        command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound if self.cwd.as_deref().is_none_or(Path::is_dir) => {
                ExecError::Missing { program: program.to_owned() }
            }
            _ => ExecError::Start { program: program.to_owned(), source },
        })
    }

    /// How it ended, where it was not cut short; `None` too when somebody else has reaped it, as the launcher does with
    /// all its children.
    fn wait(&self, child: &mut Child, program: &str) -> Result<(Option<ExitStatus>, Option<Cut>), ExecError> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            let waits_for_ever = self.timeout.is_none() && self.cancel.is_none();
            let ended = if waits_for_ever { child.wait().map(Some) } else { child.try_wait() };
            match ended {
                Ok(Some(status)) => return Ok((Some(status), None)),
                Ok(None) => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CHILD.raw_os_error()) => {
                    return Ok((None, None));
                }
                Err(source) => return Err(ExecError::Start { program: program.to_owned(), source }),
            }
            if self.cancel.is_some_and(|flag| flag.load(Ordering::SeqCst)) {
                end_group(child);
                return Ok((None, Some(Cut::Cancelled)));
            }
            if self.timeout.is_some_and(|limit| started.elapsed() >= limit) {
                end_group(child);
                return Ok((None, Some(Cut::TimedOut)));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

fn feed(child: &mut Child, bytes: Vec<u8>) -> Option<JoinHandle<()>> {
    let mut pipe = child.stdin.take()?;
    // A program may end without reading all of it; that shows in its exit status, not here.
    Some(std::thread::spawn(move || drop(pipe.write_all(&bytes))))
}

fn end_group(child: &mut Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        // Already gone is what we want; there is nothing else to do about a failure here.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// What was read so far, and how many bytes of it were let go of.
#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Captured {
    fn take_in(&mut self, chunk: &[u8], keep: Keep) {
        match keep {
            Keep::Head(limit) => {
                let room = limit.saturating_sub(self.bytes.len()).min(chunk.len());
                self.bytes.extend_from_slice(&chunk[..room]);
                self.dropped += (chunk.len() - room) as u64;
            }
            Keep::Tail(limit) => {
                self.bytes.extend_from_slice(chunk);
                // Moved up only once in a while: what is read is copied about once.
                if self.bytes.len() > limit.saturating_mul(2) {
                    self.cut_to(limit);
                }
            }
        }
    }

    fn cut_to(&mut self, limit: usize) {
        let over = self.bytes.len().saturating_sub(limit);
        self.bytes.drain(..over);
        self.dropped += over as u64;
    }
}

struct Drain {
    captured: Arc<Mutex<Captured>>,
    keep: Keep,
    reader: Option<JoinHandle<()>>,
}

impl Drain {
    fn start(pipe: Option<impl Read + Send + 'static>, keep: Keep) -> Self {
        let captured = Arc::new(Mutex::new(Captured::default()));
        let sink = Arc::clone(&captured);
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut chunk = [0_u8; 16 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).take_in(&chunk[..count], keep);
                }
            })
        });
        Self { captured, keep, reader }
    }

    /// What was kept, and how much was not.
    fn finish(self, deadline: Instant) -> (Vec<u8>, u64) {
        let Some(reader) = self.reader else { return (Vec::new(), 0) };
        let mut pause = Duration::from_micros(50);
        while !reader.is_finished() && Instant::now() < deadline {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        let mut captured = std::mem::take(&mut *self.captured.lock().unwrap_or_else(PoisonError::into_inner));
        if let Keep::Tail(limit) = self.keep {
            captured.cut_to(limit);
        }
        (captured.bytes, captured.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_streams_and_the_status() {
        let out = Exec::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]).run().unwrap();
        assert_eq!((out.status, out.text().as_str(), out.complaint().as_str()), (Some(7), "out\n", "err"));
    }

    #[test]
    fn a_missing_program_and_a_missing_directory_are_told_apart() {
        assert!(matches!(Exec::new("no-such-program-here").run(), Err(ExecError::Missing { .. })));
        assert!(matches!(Exec::new("sh").cwd(Path::new("/no/such/dir")).run(), Err(ExecError::Start { .. })));
    }

    #[test]
    fn too_long_ends_the_whole_group() {
        let out = Exec::new("sh").args(["-c", "sleep 60 & sleep 60"]).timeout(Duration::from_millis(100)).run();
        assert!(matches!(out, Err(ExecError::TimedOut { .. })));
    }

    #[test]
    fn who_is_cut_short_has_said_something_all_the_same() {
        let exec = || Exec::new("sh").args(["-c", "echo here; exec sleep 60"]);
        let (out, cut) = exec().timeout(Duration::from_millis(300)).run_or_cut().unwrap();
        assert_eq!((out.text().as_str(), out.status, cut), ("here\n", None, Some(Cut::TimedOut)));
        let (flag, pid) = (AtomicBool::new(true), AtomicU32::new(0));
        let (_, cut) = exec().cancel(&flag).tell_pid(&pid).run_or_cut().unwrap();
        assert_eq!(cut, Some(Cut::Cancelled));
        assert_ne!(pid.into_inner(), 0);
    }

    #[test]
    fn the_end_is_kept_of_what_is_too_much() {
        let script = "head -c 3000000 /dev/zero; printf end; printf err >&2";
        let out = Exec::new("sh").args(["-c", script]).keep_tail(1_000).run().unwrap();
        assert_eq!((out.stdout.len(), &out.stdout[997..], out.stderr.as_slice()), (1_000, &b"end"[..], &b"err"[..]));
        assert_eq!(out.dropped, 3_000_003 - 1_000);
    }

    #[test]
    fn a_daemon_left_behind_does_not_hold_us() {
        let started = Instant::now();
        let out = Exec::new("sh").args(["-c", "echo here; sleep 30 & exit 0"]).run().unwrap();
        assert_eq!(out.text(), "here\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn stdin_arrives_whole() {
        let bytes = vec![b'x'; 300_000];
        let out = Exec::new("cat").stdin(bytes.clone()).run().unwrap();
        assert_eq!(out.stdout, bytes);
    }

    #[test]
    fn variables_are_dropped_by_prefix_before_others_are_set() {
        let out = Exec::new("sh").args(["-c", "echo ${PATH:-none} $GIVEN"]).without_env("PATH").env("GIVEN", "1").run();
        // `sh` has a built-in PATH of its own, so only the given variable is certain.
        assert!(out.is_err() || out.unwrap().text().trim_end().ends_with('1'));
    }
}

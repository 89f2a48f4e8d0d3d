//! One call of the adviser's program: in an empty directory of its own, bounded in time and output, and ended with
//! everything it started, wherever that went.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::adviser::{Rejection, TAIL, Why};
use crate::domain::policy::Policy;
use crate::domain::runner::{adviser_argv, program_name};
use crate::services::engine::Engine;
use crate::services::home::{Home, make_dir, write_private};
use crate::services::process::exec::{Cut, Exec, ExecError, Output};
use crate::services::process::{Processes, Tree, end_tree};

/// The variable by which everything that a question started is found; its value is the question's directory.
const MARKER_ENV: &str = "METAWSM_QUESTION";

/// How often who descends from the program is written down: later its parent may be gone.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A question to be put.
pub struct Call<'a> {
    pub engine: &'a Engine,
    pub question_id: &'a str,
    pub policy: &'a Policy,
    pub prompt: &'a str,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Answer {
    /// Why there is none.
    pub trouble: Option<Rejection>,
    /// Whether the program is not there at all.
    pub missing: bool,
    /// The end of what it wrote to its output.
    pub stdout: Vec<u8>,
    /// All that is known of what it wrote, its output last.
    pub transcript: String,
    /// Bytes it wrote.
    pub bytes: u64,
    /// Those of them that were not kept.
    pub dropped: u64,
    /// How long it took.
    pub took: Duration,
}

impl Call<'_> {
    /// Puts it, and waits for the answer or for the time to be over. Nothing of it runs afterwards.
    pub fn put(&self, ending: &AtomicBool) -> Answer {
        let dir = questions_dir(&self.engine.home).join(self.question_id);
        let began = Instant::now();
        let answer = self.put_in(&dir, ending);
        let _ = std::fs::remove_dir_all(&dir);
        Answer { took: began.elapsed(), ..answer }
    }

    fn put_in(&self, dir: &Path, ending: &AtomicBool) -> Answer {
        let (cwd, file) = (dir.join("cwd"), dir.join("prompt.txt"));
        let made = make_dir(&cwd).and_then(|()| write_private(&file, self.prompt.as_bytes()));
        if let Err(error) = made {
            return failed(error.to_string());
        }
        let llm = &self.policy.operator.llm;
        let runner = llm.command.first().and_then(|program| self.policy.runner(program_name(program)));
        let argv = adviser_argv(llm, runner.as_ref(), self.prompt, &file.display().to_string());
        let Some((program, args)) = argv.split_first() else { return failed("it has no command".to_owned()) };
        let limit = Duration::from_secs(u64::from(llm.timeout_seconds));
        let pid = AtomicU32::new(0);
        // Nothing of an agent's identity, of its terminal, or of somebody's repository reaches it.
        let exec = Exec::new(program_in(&self.engine.home, program))
            .args(args)
            .cwd(&cwd)
            .without_env("METAWSM_")
            .without_env("TMUX")
            .without_env("GIT_")
            .env(MARKER_ENV, dir.as_os_str())
            .timeout(limit)
            .cancel(ending)
            .keep_tail(TAIL)
            .tell_pid(&pid);
        let (ran, kin) = with_kin(self.engine.processes.as_ref(), &pid, || exec.run_or_cut());
        let tree = Tree { marker: Some(marker(dir)), kin: &kin, ..Tree::default() };
        end_tree(self.engine.processes.as_ref(), &tree, Duration::ZERO);
        match ran {
            Ok((output, cut)) => told(output, cut, program, limit),
            Err(ExecError::Missing { .. }) => {
                Answer { missing: true, ..failed(format!("{program} is not installed or not on PATH")) }
            }
            Err(error) => failed(error.to_string()),
        }
    }
}

fn failed(detail: String) -> Answer {
    Answer { trouble: Some(Rejection::new(Why::Failed, detail)), ..Answer::default() }
}

fn told(output: Output, cut: Option<Cut>, program: &str, limit: Duration) -> Answer {
    let trouble = match cut {
        Some(Cut::TimedOut) => {
            Some(Rejection::new(Why::Late, format!("{program} did not end within {} s", limit.as_secs())))
        }
        Some(Cut::Cancelled) => Some(Rejection::new(Why::Interrupted, "the supervisor was told to end")),
        None if output.ok() => None,
        None => {
            let how = match (output.status, output.signal) {
                (Some(status), _) => format!("exited with {status}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended, nobody knows how".to_owned(),
            };
            Some(Rejection::new(Why::Failed, format!("{program} {how}: {}", output.complaint())))
        }
    };
    let mut transcript = String::from_utf8_lossy(&output.stderr).into_owned();
    transcript.push_str(&output.text());
    Answer {
        trouble,
        missing: false,
        bytes: (output.stdout.len() + output.stderr.len()) as u64 + output.dropped,
        dropped: output.dropped,
        stdout: output.stdout,
        transcript,
        took: Duration::ZERO,
    }
}

/// Where questions have their directories.
fn questions_dir(home: &Home) -> PathBuf {
    home.inside().join("adviser")
}

fn marker(dir: &Path) -> String {
    format!("{MARKER_ENV}={}", dir.display())
}

/// A program named by a path is found from the home, wherever it runs.
pub fn program_in(home: &Home, program: &str) -> PathBuf {
    if program.contains('/') { home.root.join(program) } else { PathBuf::from(program) }
}

/// Runs something and writes down meanwhile who descends from the process whose number it tells: with the program's
/// environment and session given up, and its parent gone, nothing else would say whose it is.
fn with_kin<T>(procs: &dyn Processes, pid: &AtomicU32, run: impl FnOnce() -> T) -> (T, Vec<(u32, u64)>) {
    let (done, kin) = (Mutex::new(false), Mutex::new(BTreeSet::new()));
    let ended = std::sync::Condvar::new();
    let ran = std::thread::scope(|scope| {
        let (done, kin, ended) = (&done, &kin, &ended);
        scope.spawn(move || {
            let mut pause = FIRST_LOOK;
            let mut over = done.lock().unwrap_or_else(PoisonError::into_inner);
            while !*over {
                over = ended.wait_timeout(over, pause).unwrap_or_else(PoisonError::into_inner).0;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let root = pid.load(Ordering::SeqCst);
                if root != 0 && !*over {
                    descendants(procs, root, &mut kin.lock().unwrap_or_else(PoisonError::into_inner));
                }
            }
        });
        let ran = run();
        *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        ended.notify_all();
        ran
    });
    (ran, kin.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect())
}

/// Adds who descends from `root`, or from those found before.
fn descendants(procs: &dyn Processes, root: u32, kin: &mut BTreeSet<(u32, u64)>) {
    let list = procs.list();
    if kin.is_empty() {
        // With its start time: the number may be another's once it has ended.
        kin.extend(list.iter().find(|proc| proc.pid == root).map(|proc| (root, proc.start_time)));
    }
    let mut children: BTreeMap<u32, Vec<(u32, u64)>> = BTreeMap::new();
    for proc in list.iter().filter(|proc| proc.pid != proc.ppid) {
        children.entry(proc.ppid).or_default().push((proc.pid, proc.start_time));
    }
    let lives = |(pid, start): &(u32, u64)| list.iter().any(|proc| proc.pid == *pid && proc.start_time == *start);
    let mut open: Vec<u32> = kin.iter().filter(|one| lives(one)).map(|(pid, _)| *pid).collect();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if kin.insert(*child) {
                open.push(child.0);
            }
        }
    }
}

/// Ends what is left of questions whose supervisor was killed, beside everything else. Only the holder of the lease asks:
/// what is there before its first question is nobody's.
pub fn end_leftovers(engine: &Arc<Engine>) {
    let Ok(entries) = std::fs::read_dir(questions_dir(&engine.home)) else { return };
    let left: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    if left.is_empty() {
        return;
    }
    let engine = Arc::clone(engine);
    let work = move || {
        for dir in left {
            let tree = Tree { marker: Some(marker(&dir)), ..Tree::default() };
            end_tree(engine.processes.as_ref(), &tree, Duration::ZERO);
            let _ = std::fs::remove_dir_all(dir);
        }
    };
    // Where no thread can be had they are left to the next who begins.
    drop(std::thread::Builder::new().name("leftovers".to_owned()).spawn(work));
}

//! The released program on a terminal of its own: the first full frame (P9), and what it costs when idle (P10).

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use metawsm::domain::actor::Actor;
use metawsm::domain::command::{Command as Wish, ThreadWish};
use metawsm::domain::thread::Priority;
use metawsm::services::home::{Home, HomeArgs};
use metawsm::store::ids::{RandomIds, SystemClock};
use metawsm::store::{Ledger, Order};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::median;

/// In the header as soon as a snapshot is shown, never before.
pub const FULL: &str = "operator ";
/// How long a console is watched.
pub const WATCHED: Duration = Duration::from_secs(24);

/// A program on a terminal.
pub struct Seat {
    pub child: Child,
    began: Instant,
    keys: File,
    pieces: Receiver<(Instant, Vec<u8>)>,
    /// What has come since it was last asked.
    seen: Vec<u8>,
    /// Bytes so far.
    pub bytes: usize,
}

impl Seat {
    pub fn begin(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let slave = || File::from(open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        command.env("TERM", "xterm-256color").stdin(slave()).stdout(slave()).stderr(slave());
        let mut out = File::from(master);
        let keys = out.try_clone().unwrap();
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                if sender.send((Instant::now(), buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        let child = command.spawn().unwrap();
        // Only the program holds the other end now.
        drop(command);
        Self { child, began, keys, pieces, seen: Vec::new(), bytes: 0 }
    }

    pub fn console(home: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metawsm"));
        command.current_dir(home);
        Self::begin(command)
    }

    /// When the text came, since the program began.
    pub fn sees(&mut self, text: &str) -> Duration {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Others may write all the while.
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, piece) = self.pieces.recv_timeout(left).unwrap_or_else(|_| {
                panic!("waited in vain for {text}: {}", String::from_utf8_lossy(&self.seen));
            });
            self.bytes += piece.len();
            self.seen.extend(piece);
            if self.seen.windows(text.len()).any(|window| window == text.as_bytes()) {
                self.seen.clear();
                return at.duration_since(self.began);
            }
        }
    }

    /// Takes whatever comes in this time, and says how many bytes.
    pub fn rest(&mut self, span: Duration) -> usize {
        let (until, before) = (Instant::now() + span, self.bytes);
        while let Ok((_, piece)) = self.pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.bytes += piece.len();
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        self.seen.clear();
        self.bytes - before
    }

    pub fn types(&mut self, keys: &[u8]) -> Duration {
        let at = self.began.elapsed();
        self.keys.write_all(keys).unwrap();
        at
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Processor time that a process and the children it has waited for have had.
pub fn spent(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(4).map(|n| n.parse().unwrap()).collect();
    let tick = 1000 / rustix::param::clock_ticks_per_second();
    Duration::from_millis(fields.iter().sum::<u64>() * tick)
}

pub fn of_a_core(spent: Duration, span: Duration) -> f64 {
    100.0 * spent.as_secs_f64() / span.as_secs_f64()
}

/// `sqlite3 db .tables` on a terminal of its own.
pub fn yardstick(db: &Path) -> Duration {
    let mut command = Command::new("sqlite3");
    command.arg(db).arg(".tables");
    let mut seat = Seat::begin(command);
    seat.child.wait().unwrap();
    seat.began.elapsed()
}

/// P9: from the start of the program to the first frame with everything on it, beside few and many events.
pub fn first_frame() {
    let mut ratios = Vec::new();
    for events in [1_000, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        fill(&home, events);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..15 {
            ours.push(Seat::console(dir.path()).sees(FULL));
            theirs.push(yardstick(&home.db));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        println!(
            "P9 first full frame, {events:>6} events: {ours:.1?}; sqlite3 .tables {theirs:.1?}; {ratio:.2}x (goal 2.5, limit 4)"
        );
        ratios.push(ratio);
    }
    assert!(ratios.iter().all(|ratio| *ratio <= 4.0), "P9");
}

/// P10: nothing happens.
pub fn idle() {
    let dir = tempfile::tempdir().unwrap();
    fill(&home(dir.path()), 1_000);
    let mut seat = Seat::console(dir.path());
    seat.sees(FULL);
    seat.rest(Duration::from_secs(3));
    let before = spent(seat.child.id());
    let bytes = seat.rest(WATCHED);
    let cpu = of_a_core(spent(seat.child.id()) - before, WATCHED);
    println!(
        "P10 idle for {WATCHED:?}: {cpu:.2} % of a core (goal 0.2, limit 1), {bytes} bytes to the terminal (must be 0)"
    );
    assert!(cpu <= 1.0 && bytes == 0, "P10");
}

/// A home without agents: threads whose ages do not move on the screen while it is watched.
fn home(dir: &Path) -> Home {
    let home = Home::at(dir, &HomeArgs::default());
    home.make().unwrap();
    home
}

fn fill(home: &Home, threads: usize) {
    let ledger = Ledger::open(&home.db, Arc::new(SystemClock), Arc::new(RandomIds::default())).unwrap();
    let actor = Actor::human("somebody");
    let ask = |at: usize| Wish::Thread {
        thread_id: format!("t{at}"),
        run_id: None,
        wish: ThreadWish::Ask {
            ticket: "ACME-1".to_owned(),
            agent: None,
            title: format!("thread {at}"),
            body: "a question".to_owned(),
            priority: Priority::Normal,
            wait: false,
            author: None,
        },
    };
    let wishes: Vec<Wish> = (0..threads).map(ask).collect();
    for batch in wishes.chunks(500) {
        let orders: Vec<Order<'_>> = batch.iter().map(|wish| Order::new(wish, &actor)).collect();
        ledger.execute_all(&orders).unwrap();
    }
}

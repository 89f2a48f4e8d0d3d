//! One tmux client for as long as the server lives, asked over its pipes: a question costs the server a fraction of
//! what a new client does, and no process is started for it. The server itself reads and writes the pipes: a client
//! that is stopped still answers.
//!
//! It sits in the keeper's session, takes no part in sizes and gets nobody's output. Where it does not answer, or
//! answers what it never should, it is ended: then whoever asks starts a client as before, and this one is tried again
//! later. Its end says nothing about the server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{KEEPER, Observe, Panes, Screen, Tmux, TmuxError, parse};
use blocks::{Block, Broken, Cut, Cutter};

pub mod blocks;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a client was lost the next one is tried so much later, at first.
const FIRST_REST: Duration = Duration::from_secs(1);
/// And so much later at most.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Every so many looks all about the panes is asked: a session may be given another name.
const ALL_EVERY: u32 = 10;

/// A client in control mode. Dropping it ends it.
#[derive(Debug)]
pub struct Control {
    child: Child,
    stdin: ChildStdin,
    blocks: Receiver<Result<Block, Broken>>,
    /// The server's process, asked once: a client has one server.
    server_pid: u32,
    /// The panes as last seen, and how many looks ago all about them was asked.
    known: Option<(Panes, u32)>,
}

/// Why a question got no answer. The client is of no use then.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no client program, or it could not be started.
    #[error("a tmux client could not be started: {0}")]
    Start(#[from] std::io::Error),
    /// The client ended, or its pipe did.
    #[error("the tmux client ended")]
    Ended,
    /// No answer came in time.
    #[error("the tmux client did not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// tmux refused.
    #[error("tmux refused: {0}")]
    Refused(String),
    /// It printed what it never should.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Control {
    /// Starts a client for the keeper's session of a server of our own that runs; [`Control::greet`] comes next.
    ///
    /// # Errors
    /// [`ControlError`].
    fn start(tmux: &Tmux) -> Result<Self, ControlError> {
        let mut command = Command::new(&tmux.program);
        command.args(tmux.base()).args(["-N", "-C", "attach-session", "-f", "no-output,ignore-size"]);
        command.args(["-t", &format!("={KEEPER}")]).current_dir("/");
        for (name, _) in std::env::vars_os() {
            let ours = ["TMUX", "GIT_", "METAWSM_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
            if ours {
                command.env_remove(name);
            }
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (sender, blocks) = channel();
        let listening = pipes.ok_or(ControlError::Ended).and_then(|(stdin, stdout)| {
            let listen = move || read(stdout, &sender);
            std::thread::Builder::new().name("tmux control".to_owned()).spawn(listen)?;
            Ok(stdin)
        });
        match listening {
            Ok(stdin) => Ok(Self { child, stdin, blocks, server_pid: 0, known: None }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// The first question: whose client it is.
    fn greet(&mut self) -> Result<(), ControlError> {
        let pid = self.ask("display-message -p '#{pid}'")?;
        let number = pid.first().and_then(|line| parse::number(line));
        self.server_pid = number.ok_or_else(|| Broken(pid.join("\n")))?;
        Ok(())
    }

    /// Asks one thing, in tmux's own words, and waits for the answer.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn ask(&mut self, question: &str) -> Result<Vec<String>, ControlError> {
        let answer = self.ask_all(&[question.to_owned()])?.pop().ok_or(ControlError::Ended)?;
        answer.map_err(ControlError::Refused)
    }

    /// Asks several things at once, which costs the server little more than asking one: each answer, or tmux's refusal,
    /// in their order.
    ///
    /// # Errors
    /// [`ControlError`], but no refusal.
    pub fn ask_all(&mut self, questions: &[String]) -> Result<Vec<Result<Vec<String>, String>>, ControlError> {
        debug_assert!(questions.iter().all(|question| !question.contains('\n')), "one question, one line");
        let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
        self.stdin.write_all(lines.as_bytes()).and_then(|()| self.stdin.flush()).map_err(|_| ControlError::Ended)?;
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(questions.len());
        while answers.len() < questions.len() {
            let block = match self.blocks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(block) => block?,
                Err(RecvTimeoutError::Timeout) => return Err(ControlError::Late),
                Err(RecvTimeoutError::Disconnected) => return Err(ControlError::Ended),
            };
            match block {
                Block { ours: false, .. } => {}
                Block { ok: true, lines, .. } => answers.push(Ok(lines)),
                Block { lines, .. } => answers.push(Err(lines.join("; "))),
            }
        }
        Ok(answers)
    }

    /// What stands on the screens of panes; nothing on that of a pane that is gone.
    fn screens(&mut self, panes: &[&str]) -> Result<Vec<Screen>, ControlError> {
        let ask = |pane: &&str| {
            let rest = format!("display-message -p -t {pane} '{}'", parse::SCREEN_FORMAT);
            [format!("capture-pane -p -t {pane}"), rest]
        };
        let questions: Vec<String> = panes.iter().flat_map(ask).collect();
        let answers = self.ask_all(&questions)?;
        let screen = |both: &[Result<Vec<String>, String>]| match both {
            [Ok(lines), Ok(rest)] => parse::screen(lines.join("\n"), rest.first().map_or("", String::as_str)),
            _ => Screen::default(),
        };
        Ok(answers.chunks(2).map(screen).collect())
    }

    /// All panes: only what is new about them, as long as they are the same.
    fn panes(&mut self) -> Result<Panes, ControlError> {
        if let Some((mut panes, looks)) = self.known.take().filter(|(_, looks)| *looks < ALL_EVERY) {
            let lines = self.list(parse::NEWS_FORMAT)?;
            if parse::take_news(&mut panes, &lines).map_err(Broken)? {
                self.known = Some((panes.clone(), looks + 1));
                return Ok(panes);
            }
        }
        let lines = self.list(parse::PANE_FORMAT)?;
        let text = format!("{}\n{}", self.server_pid, lines.join("\n"));
        let panes = parse::parse_panes(&text).map_err(Broken)?;
        self.known = Some((panes.clone(), 1));
        Ok(panes)
    }

    fn list(&mut self, format: &str) -> Result<Vec<String>, ControlError> {
        self.ask(&format!("list-panes -a -F '{format}'"))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Until the pipe ends or breaks; nobody listening ends it too.
fn read(stdout: ChildStdout, told: &Sender<Result<Block, Broken>>) {
    let mut cutter = Cutter::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(line) = line else { return };
        let block = match cutter.line(&String::from_utf8_lossy(&line)) {
            Ok(Cut::Answer(block)) => Ok(block),
            Ok(Cut::Inside | Cut::Notice(_)) => continue,
            Err(broken) => Err(broken),
        };
        let broken = block.is_err();
        if told.send(block).is_err() || broken {
            return;
        }
    }
}

/// Looks at the panes of one server again and again: through a control client where one can be had, else through a
/// client of its own each time.
///
/// A server that hangs is never attached to, and its client is not ended before it answers again: tmux 3.3a crashes
/// when it comes back to the third control client that was killed while it hung.
#[derive(Debug, Default)]
pub struct Lookout {
    control: Option<(Tmux, Control)>,
    /// One that did not answer in time.
    late: Option<Control>,
    /// The next client is not tried before then, and how long that was.
    rest: Option<(Instant, Duration)>,
    /// Clients that were started for a look of their own.
    spawned: u64,
}

impl Lookout {
    /// All panes of the server.
    ///
    /// # Errors
    /// As [`Observe::panes`].
    pub fn panes(&mut self, tmux: &Tmux) -> Result<Panes, TmuxError> {
        if self.control.as_ref().is_some_and(|(known, _)| known.socket != tmux.socket) {
            self.control = None;
        }
        if let Some((known, mut control)) = self.control.take() {
            match control.panes() {
                Ok(panes) => {
                    self.control = Some((known, control));
                    self.rest = None;
                    return Ok(panes);
                }
                Err(ControlError::Late) => self.late = Some(control),
                Err(_) => {}
            }
            self.later();
        }
        self.spawned += 1;
        let seen = Observe::panes(tmux)?;
        // It answers: what was late may go, and a new client may come.
        self.late = None;
        if tmux.own && self.rest.is_none_or(|(until, _)| until <= Instant::now()) {
            self.attach(tmux);
        }
        Ok(seen)
    }

    /// What stands on the screens of panes, as many of them as could be asked for: all through the control client, else
    /// the first through a client of its own.
    pub fn screens(&mut self, tmux: &Tmux, panes: &[&str]) -> Vec<Screen> {
        if let Some((known, mut control)) = self.control.take() {
            match control.screens(panes) {
                Ok(screens) => {
                    self.control = Some((known, control));
                    return screens;
                }
                Err(ControlError::Late) => self.late = Some(control),
                Err(_) => {}
            }
            self.later();
            return Vec::new();
        }
        let Some(pane) = panes.first() else { return Vec::new() };
        self.spawned += 1;
        match tmux.screen(pane) {
            Ok(screen) => vec![screen],
            Err(TmuxError::NoTarget { .. }) => vec![Screen::default()],
            Err(_) => Vec::new(),
        }
    }

    fn attach(&mut self, tmux: &Tmux) {
        if let Ok(mut control) = Control::start(tmux) {
            match control.greet() {
                Ok(()) => {
                    self.control = Some((tmux.clone(), control));
                    return;
                }
                // The server began to hang just now: the client is kept until it answers again.
                Err(ControlError::Late) => self.late = Some(control),
                Err(_) => {}
            }
        }
        self.later();
    }

    /// How many looks cost a client of their own.
    pub fn spawned(&self) -> u64 {
        self.spawned
    }

    fn later(&mut self) {
        let rest = self.rest.map_or(FIRST_REST, |(_, before)| (before * 2).min(LONGEST_REST));
        self.rest = Some((Instant::now() + rest, rest));
    }
}

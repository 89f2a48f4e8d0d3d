//! tmux: one server per database of ours (or the user's own), one session per agent.
//!
//! Every target is exact: `=name` or a pane's id. A bare name would match the beginnings of others.

pub mod control;
mod keeper;
mod parse;
pub mod typing;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::process::exec::{Exec, ExecError, Output};
pub use parse::{parse_panes, without_note};

/// The session that keeps a server of our own alive while no agent is there.
pub const KEEPER: &str = "_metawsm";

/// Past this a question counts as not answered.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server that is just starting or just ending is waited for.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// What is said of a client that failed and did not say why.
const SILENT: &str = "it ended without a word";

/// Longest path of a socket that every system takes (macOS: 104 bytes with the closing zero).
const SOCKET_PATH_LIMIT: usize = 103;

/// One pane, as tmux lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// The session's name.
    pub session: String,
    /// Its id, `%7`; unique while the server lives.
    pub pane_id: String,
    /// The process tmux started in it, also after that ended.
    pub pane_pid: u32,
    /// Whether that process has ended.
    pub dead: bool,
    /// When its window last printed something, seconds since 1970.
    pub activity: i64,
}

/// What stands on a pane's screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Screen {
    /// Its lines.
    pub text: String,
    /// The pane's title.
    pub title: String,
    /// How many lines have left it above.
    pub history: u32,
}

/// How the program in a dead pane ended, as tmux saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// With this status.
    Status(i32),
    /// By a signal.
    Signal,
    /// tmux has not asked yet.
    NotSaid,
}

/// All panes of one server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panes {
    /// The server's process: ids of panes mean something only together with it.
    pub server_pid: u32,
    /// The panes, by session.
    pub panes: Vec<Pane>,
}

/// Where is asked what is there.
pub trait Observe {
    /// All panes of the server.
    ///
    /// # Errors
    /// [`TmuxError::NoServer`] when there is certainly no server; any other error means that
    /// nothing is known.
    fn panes(&self) -> Result<Panes, TmuxError>;
}

/// Why tmux did not do what it was asked.
#[derive(Debug, Error)]
pub enum TmuxError {
    /// Nobody listens on the socket.
    #[error("no tmux server runs on {}", socket.display())]
    NoServer {
        /// The socket.
        socket: PathBuf,
    },
    /// The server could not be asked, or did not answer: whether it lives is unknown.
    #[error("tmux on {} could not be asked to {what}: {why}; run `metawsm doctor`", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The command.
        what: String,
        /// What happened.
        why: String,
    },
    /// The program is not there.
    #[error("{program} is not installed or not on PATH; install tmux 3.2 or newer")]
    NotInstalled {
        /// The program as called.
        program: String,
    },
    /// A session of that exact name exists.
    #[error("a tmux session named {session} exists already; stop or attach to it, or choose another name")]
    SessionExists {
        /// The name.
        session: String,
    },
    /// No session or pane of that exact name exists on the live server.
    #[error("there is no tmux session or pane {target}")]
    NoTarget {
        /// The name or id.
        target: String,
    },
    /// The name holds something tmux would change or read as a pattern.
    #[error("{name:?} cannot name a tmux session: use letters, digits, - and _ only")]
    BadName {
        /// The name.
        name: String,
    },
    /// There is nothing to run.
    #[error("no program was given to run in the session {session}")]
    NoCommand {
        /// The session's name.
        session: String,
    },
    /// The socket's directory is not fit for it.
    #[error("the tmux socket {} cannot be used: {why}", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// tmux said no.
    #[error("tmux refused to {what}: {why}")]
    Refused {
        /// The command.
        what: String,
        /// Its words.
        why: String,
    },
    /// tmux printed what it never should.
    #[error("tmux answered {what} with a line that cannot be read: {line:?}; tmux 3.2 or newer is needed")]
    Unreadable {
        /// The command.
        what: String,
        /// The line.
        line: String,
    },
}

/// A session to be made.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Its name, of `[A-Za-z0-9_-]`.
    pub name: &'a str,
    /// The working directory.
    pub cwd: &'a Path,
    /// The program and its arguments; no shell reads them.
    pub argv: &'a [OsString],
    /// Columns until somebody attaches.
    pub width: u16,
    /// Rows until somebody attaches.
    pub height: u16,
    /// Variables for it. They pass through tmux's argv, which others can read: no secrets.
    pub env: &'a [(String, String)],
    /// Lines of scrollback, where the server is our own.
    pub history_lines: u32,
}

/// A session just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its pane.
    pub pane_id: String,
    /// The pane's process.
    pub pane_pid: u32,
}

/// What of a pane to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What is visible.
    Screen,
    /// All that is kept, the visible part last.
    WholeScrollback,
}

/// How to attach a terminal to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The command.
    pub argv: Vec<OsString>,
    /// Variables to take out of its environment; inside another tmux it would refuse otherwise.
    pub unset: Vec<&'static str>,
}

/// One tmux server.
#[derive(Debug, Clone)]
pub struct Tmux {
    /// Its socket, an absolute path.
    pub socket: PathBuf,
    /// Whether it is ours: then we choose its options and its life.
    pub own: bool,
    /// The program.
    pub program: OsString,
    /// What the keeper session runs: something that waits and does nothing.
    pub keeper: Vec<OsString>,
}

/// The socket that a configured name means: `default` is the user's server, a name without `/`
/// lies beside that, anything else is a path.
pub fn resolve_socket(name: &str, tmux_tmpdir: Option<&Path>, uid: u32) -> PathBuf {
    if name.contains('/') {
        return std::path::absolute(name).unwrap_or_else(|_| PathBuf::from(name));
    }
    let base = tmux_tmpdir.filter(|dir| dir.is_absolute()).unwrap_or(Path::new("/tmp"));
    base.join(format!("tmux-{uid}")).join(name)
}

/// Whether tmux takes the name as it is.
pub fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn exact(name: &str) -> Result<String, TmuxError> {
    if valid_name(name) { Ok(format!("={name}")) } else { Err(TmuxError::BadName { name: name.to_owned() }) }
}

fn words(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

impl Tmux {
    /// The server on this socket; `own` unless it is the user's.
    pub fn new(socket: PathBuf, own: bool) -> Self {
        Self { socket, own, program: "tmux".into(), keeper: words(&["cat"]) }
    }

    fn base(&self) -> Vec<OsString> {
        let mut argv = vec!["-u".into(), "-S".into(), self.socket.clone().into_os_string()];
        if self.own {
            argv.extend(words(&["-f", "/dev/null"]));
        }
        argv
    }

    /// Runs one command list. `start`: it may start the server. The lists' `;` stand alone.
    fn call(&self, start: bool, list: Vec<OsString>, cwd: &Path) -> Result<Output, TmuxError> {
        self.call_with(start, list, cwd, None)
    }

    /// The same, with something for tmux to read.
    fn call_with(
        &self,
        start: bool,
        list: Vec<OsString>,
        cwd: &Path,
        stdin: Option<Vec<u8>>,
    ) -> Result<Output, TmuxError> {
        let what = list.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let mut call = Exec::new(&self.program).args(self.base()).cwd(cwd).timeout(ASK_TIMEOUT);
        if !start {
            call = call.arg("-N");
        }
        if let Some(bytes) = stdin {
            call = call.stdin(bytes);
        }
        // What starts the server gives it its environment, and every session inherits that.
        call = call.without_env("TMUX").without_env("GIT_").without_env("METAWSM_");
        let out = call.args(list).run().map_err(|error| self.not_run(error, &what))?;
        if out.ok() { Ok(out) } else { Err(self.complaint(&what, &out)) }
    }

    fn not_run(&self, error: ExecError, what: &str) -> TmuxError {
        match error {
            ExecError::Missing { program } => TmuxError::NotInstalled { program },
            ExecError::Start { .. } | ExecError::TimedOut { .. } | ExecError::Cancelled { .. } => {
                TmuxError::Unreachable { socket: self.socket.clone(), what: what.to_owned(), why: error.to_string() }
            }
        }
    }

    fn complaint(&self, what: &str, out: &Output) -> TmuxError {
        let (what, why) = (what.to_owned(), out.complaint());
        if parse::says_no_server(&why) {
            return TmuxError::NoServer { socket: self.socket.clone() };
        }
        if parse::says_lost_server(&why) || why.contains("error connecting to ") || why.is_empty() {
            let why = if why.is_empty() { SILENT.to_owned() } else { why };
            return TmuxError::Unreachable { socket: self.socket.clone(), what, why };
        }
        if let Some(session) = why.strip_prefix("duplicate session: ") {
            return TmuxError::SessionExists { session: session.to_owned() };
        }
        let gone = ["can't find session: ", "can't find pane: ", "can't find window: "];
        if let Some(target) = gone.iter().find_map(|words| why.strip_prefix(words)) {
            return TmuxError::NoTarget { target: target.to_owned() };
        }
        TmuxError::Refused { what, why }
    }

    fn ask(&self, list: &[&str]) -> Result<Output, TmuxError> {
        self.call(false, words(list), Path::new("/"))
    }

    /// Makes the socket's directory, for us only.
    fn prepare_socket(&self) -> Result<(), TmuxError> {
        let refuse = |why: String| TmuxError::Socket { socket: self.socket.clone(), why };
        if self.socket.as_os_str().as_bytes().len() > SOCKET_PATH_LIMIT {
            return Err(refuse(format!(
                "its path is longer than {SOCKET_PATH_LIMIT} bytes; set a shorter tmux.socket"
            )));
        }
        let Some(parent) = self.socket.parent() else { return Err(refuse("it has no directory".to_owned())) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| refuse(format!("its directory cannot be made: {error}")))?;
        let uid = rustix::process::getuid().as_raw();
        let shared = parent.file_name() == Some(OsStr::new(&format!("tmux-{uid}")));
        let meta = std::fs::metadata(parent).map_err(|error| refuse(error.to_string()))?;
        // It lies in a directory anyone may write to: whoever made it first could read every agent.
        if shared && (meta.uid() != uid || meta.mode() & 0o007 != 0) {
            return Err(refuse(format!("{} is open to others; make it yours with mode 0700", parent.display())));
        }
        Ok(())
    }

    /// Tries until a server that is just coming up or going down has done so.
    fn insist<T>(&self, mut attempt: impl FnMut() -> Result<T, TmuxError>) -> Result<T, TmuxError> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match attempt() {
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                done => return done,
            }
        }
    }

    /// Starts a program in a session of its own. The pane stays when the program ends, even at once.
    ///
    /// # Errors
    /// [`TmuxError::SessionExists`] for a name in use; [`TmuxError`].
    pub fn new_session(&self, new: &NewSession<'_>) -> Result<Created, TmuxError> {
        let target = format!("{}:", exact(new.name)?);
        let (width, height) = (new.width.max(1).to_string(), new.height.max(1).to_string());
        let mut list = words(&["new-session", "-d", "-P", "-F", "#{pane_id} #{pane_pid}", "-s", new.name]);
        list.extend(words(&["-x", &width, "-y", &height]));
        for (name, value) in new.env {
            list.extend([OsString::from("-e"), parse::quoted(OsStr::new(&format!("{name}={value}")))]);
        }
        list.extend(program(new.name, new.argv)?);
        if !new.cwd.is_dir() {
            let why = format!("the directory {} is gone", new.cwd.display());
            return Err(TmuxError::Refused { what: format!("make the session {}", new.name), why });
        }
        // In the same list: the server learns of the program's end only after the whole list.
        list.extend(words(&[";", "set-option", "-w", "-t", &target, "remain-on-exit", "on"]));
        // The client's own directory is the session's; `-c` would read `#(…)` in it as a command.
        let out = self.insist(|| {
            self.ensure_server(new.history_lines)?;
            self.call(!self.own, list.clone(), new.cwd)
        })?;
        let (pane_id, pane_pid) = parse::parse_created(&out.text())
            .ok_or_else(|| TmuxError::Unreadable { what: "new-session".to_owned(), line: out.text() })?;
        Ok(Created { pane_id, pane_pid })
    }

    /// Whether a session of exactly that name is there.
    ///
    /// # Errors
    /// [`TmuxError::NoServer`] and whenever it is not known.
    pub fn has_session(&self, name: &str) -> Result<bool, TmuxError> {
        match self.ask(&["has-session", "-t", &exact(name)?]) {
            Ok(_) => Ok(true),
            Err(TmuxError::NoTarget { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the session of exactly that name. Its processes get a HUP only: end them before.
    ///
    /// # Errors
    /// [`TmuxError::NoTarget`] when it is not there; [`TmuxError`].
    pub fn kill_session(&self, name: &str) -> Result<(), TmuxError> {
        self.ask(&["kill-session", "-t", &exact(name)?]).map(drop)
    }

    /// What stands in a pane, given by its id (`%7`) or its session's exact name; with the
    /// colours' escape sequences or without.
    ///
    /// # Errors
    /// [`TmuxError::NoTarget`] when it is not there; [`TmuxError`].
    pub fn capture(&self, pane: &str, extent: Extent, escapes: bool) -> Result<Vec<u8>, TmuxError> {
        let is_id = pane.strip_prefix('%').is_some_and(|id| parse::number::<u32>(id).is_some());
        let target = if is_id { pane.to_owned() } else { format!("{}:", exact(pane)?) };
        let mut list = vec!["capture-pane", "-p", "-t", &target];
        match extent {
            Extent::Screen => {}
            Extent::WholeScrollback => list.extend(["-S", "-"]),
        }
        if escapes {
            list.push("-e");
        }
        self.ask(&list).map(|out| out.stdout)
    }

    /// What stands on a pane's screen, given by the pane's id.
    ///
    /// # Errors
    /// [`TmuxError::NoTarget`] when it is not there; [`TmuxError`].
    pub fn screen(&self, pane: &str) -> Result<Screen, TmuxError> {
        let list = ["capture-pane", "-p", "-t", pane, ";", "display-message", "-p", "-t", pane, parse::SCREEN_FORMAT];
        let out = String::from_utf8_lossy(&self.ask(&list)?.stdout).into_owned();
        let (text, rest) = out.trim_end_matches('\n').rsplit_once('\n').unwrap_or(("", &out));
        Ok(parse::screen(text.to_owned(), rest))
    }

    /// Has the server start and reap a child, so that it also sees the ends of others: tmux 3.3a
    /// overlooks some when it is quiet.
    ///
    /// # Errors
    /// [`TmuxError`].
    pub fn nudge(&self) -> Result<(), TmuxError> {
        self.ask(&["run-shell", "-b", "true"]).map(drop)
    }

    /// The exit status of the program that was started in a session's pane as this process, once it has ended; `None`
    /// after a signal and whenever tmux does not know within `patience`.
    pub fn ended_with(&self, session: &str, pane_pid: u32, patience: Duration) -> Option<i32> {
        let target = format!("{}:", exact(session).ok()?);
        let deadline = Instant::now() + patience;
        loop {
            let said = self.ask(&["display-message", "-p", "-t", &target, parse::END_FORMAT]).ok()?.text();
            match parse::parse_end(&said, pane_pid)? {
                Ended::Status(status) => return Some(status),
                Ended::Signal => return None,
                Ended::NotSaid if Instant::now() >= deadline => return None,
                Ended::NotSaid => self.nudge().ok()?,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server's process.
    ///
    /// # Errors
    /// [`TmuxError`].
    pub fn server_pid(&self) -> Result<u32, TmuxError> {
        let text = self.ask(&["display-message", "-p", "#{pid}"])?.text();
        parse::number(text.trim_end())
            .ok_or_else(|| TmuxError::Unreadable { what: "display-message".to_owned(), line: text })
    }

    /// The command that shows the session in a terminal.
    ///
    /// # Errors
    /// [`TmuxError::BadName`].
    pub fn attach_command(&self, session: &str) -> Result<Attach, TmuxError> {
        let target = exact(session)?;
        let mut argv = vec![self.program.clone()];
        argv.extend(self.base());
        argv.extend(words(&["-N", "attach-session", "-t", &target]));
        Ok(Attach { argv, unset: vec!["TMUX", "TMUX_PANE"] })
    }
}

impl Observe for Tmux {
    fn panes(&self) -> Result<Panes, TmuxError> {
        // One client for both: every client costs the server time for each of its sessions.
        let out = self.ask(&["display-message", "-p", "#{pid}", ";", "list-panes", "-a", "-F", parse::PANE_FORMAT])?;
        parse_panes(&out.text()).map_err(|line| TmuxError::Unreadable { what: "list-panes".to_owned(), line })
    }
}

/// Whether the server was just coming up or going down, so that asking again may help.
fn is_passing(error: &TmuxError) -> bool {
    match error {
        TmuxError::NoServer { .. } => true,
        TmuxError::Unreachable { why, .. } => why == SILENT || parse::says_lost_server(why),
        TmuxError::NotInstalled { .. }
        | TmuxError::SessionExists { .. }
        | TmuxError::NoTarget { .. }
        | TmuxError::BadName { .. }
        | TmuxError::NoCommand { .. }
        | TmuxError::Socket { .. }
        | TmuxError::Refused { .. }
        | TmuxError::Unreadable { .. } => false,
    }
}

/// A program as tmux must be given it. A single word would be handed to a shell, hence `env`.
fn program(session: &str, argv: &[OsString]) -> Result<Vec<OsString>, TmuxError> {
    if argv.first().is_none_or(|word| word.is_empty()) {
        return Err(TmuxError::NoCommand { session: session.to_owned() });
    }
    let mut list = words(&["--"]);
    if argv.len() == 1 {
        list.push("env".into());
    }
    list.extend(argv.iter().map(|word| parse::quoted(word)));
    Ok(list)
}

//! The keeper session of a server of our own: how long it stays, and a program of ours in a window beside it.

use std::ffi::OsString;
use std::path::Path;

use super::{Created, KEEPER, Tmux, TmuxError, parse, program, words};

/// The longest value of a variable that is handed on.
const LONGEST_VALUE: usize = 8 * 1024;

impl Tmux {
    /// Sees to it that a server of our own runs, with our options and its keeper session. Any
    /// number of processes may do so at once. The user's server is left as it is.
    ///
    /// # Errors
    /// [`TmuxError`] when it does not run after some seconds of trying.
    pub fn ensure_server(&self, history_lines: u32) -> Result<(), TmuxError> {
        self.prepare_socket()?;
        if !self.own {
            return Ok(());
        }
        let mut list = own_options(history_lines);
        list.extend(words(&["new-session", "-d", "-s", KEEPER, "-x", "80", "-y", "24"]));
        list.extend(program(KEEPER, &self.keeper)?);
        self.insist(|| match self.call(true, list.clone(), Path::new("/")) {
            Ok(_) | Err(TmuxError::SessionExists { .. }) => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Ends a server of our own if nothing but the keeper is left, in one step within the server: a session made
    /// meanwhile is never lost, nor is what runs beside the keeper. Returns whether the server had nothing else.
    ///
    /// # Errors
    /// [`TmuxError`]; no server is no error.
    pub fn end_keeper_if_last(&self) -> Result<bool, TmuxError> {
        self.end_keeper(1)
    }

    /// The same for what runs in the one window beside the keeper: it goes with the server.
    ///
    /// # Errors
    /// [`TmuxError`]; no server is no error.
    pub fn end_keeper_from_beside(&self) -> Result<bool, TmuxError> {
        self.end_keeper(2)
    }

    fn end_keeper(&self, windows: u32) -> Result<bool, TmuxError> {
        if !self.own {
            return Ok(false);
        }
        // The loop prints one name per session: the keeper's alone means that it is the last.
        let last = format!("#{{==:#{{S:#{{session_name}} #{{session_windows}} }},{KEEPER} {windows} }}");
        let end = format!("display-message -p last ; set-option -s exit-empty on ; kill-session -t ={KEEPER}");
        match self.ask(&["if-shell", "-F", &last, &end]) {
            Ok(out) => Ok(out.text().trim_end() == "last"),
            Err(TmuxError::NoServer { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Starts a program in a window beside the keeper; the window goes when the program ends.
    ///
    /// It is told to tmux on its standard input: what stands in the variables is secret, and arguments can be read by all.
    ///
    /// # Errors
    /// [`TmuxError`].
    pub fn new_window_beside_keeper(
        &self,
        name: &str,
        argv: &[OsString],
        variables: &[(String, String)],
        history_lines: u32,
    ) -> Result<Created, TmuxError> {
        self.ensure_server(history_lines)?;
        let target = format!("={KEEPER}:");
        let mut line = format!("new-window -d -P -F '#{{pane_id}} #{{pane_pid}}' -t '{target}' -n {}", quoted(name));
        for (name, value) in variables.iter().filter(|(name, value)| is_plain(name, value)) {
            line.push_str(&format!(" -e {}", quoted(&format!("{name}={value}"))));
        }
        line.push_str(" --");
        for word in argv {
            line.push_str(&format!(" {}", quoted(&word.to_string_lossy())));
        }
        // In the same list: the server learns of the program's end only after the whole list.
        line.push_str(&format!(" ; set-option -w -t '{target}{{end}}' remain-on-exit off\n"));
        let out = self.call_with(false, words(&["source-file", "-"]), Path::new("/"), Some(line.into_bytes()))?;
        let (pane_id, pane_pid) = parse::parse_created(&out.text())
            .ok_or_else(|| TmuxError::Unreadable { what: "new-window".to_owned(), line: out.text() })?;
        Ok(Created { pane_id, pane_pid })
    }

    /// Removes a pane, given by its id.
    ///
    /// # Errors
    /// [`TmuxError`].
    pub fn kill_pane(&self, pane_id: &str) -> Result<(), TmuxError> {
        self.ask(&["kill-pane", "-t", pane_id]).map(drop)
    }
}

/// A word as tmux reads it from a file: between single quotes nothing has a meaning.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn is_plain(name: &str, value: &str) -> bool {
    let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    named && !name.is_empty() && value.len() <= LONGEST_VALUE && !value.chars().any(char::is_control)
}

/// The options of a server of our own. They come before the keeper's session in one list: the
/// session is there already when another process was first, which ends the list.
fn own_options(history_lines: u32) -> Vec<OsString> {
    let history = history_lines.to_string();
    let options: [&[&str]; 10] = [
        &["-s", "exit-empty", "off"],
        &["-s", "escape-time", "10"],
        &["-g", "history-limit", &history],
        &["-g", "default-terminal", "screen-256color"],
        &["-g", "status-left", "[#{session_name}]#{?pane_dead, ended,} "],
        &["-g", "status-left-length", "60"],
        &["-g", "status-right", " C-b d: back (inside another tmux: C-b C-b d) "],
        &["-g", "status-right-length", "60"],
        &["-gw", "remain-on-exit", "on"],
        // A note on the screen pushes its first line away, for good where a program has the whole of it. 3.2 knows none.
        &["-gwq", "remain-on-exit-format", ""],
    ];
    let mut list = words(&["start-server", ";"]);
    for option in options {
        list.push("set-option".into());
        list.extend(words(option));
        list.push(";".into());
    }
    list
}

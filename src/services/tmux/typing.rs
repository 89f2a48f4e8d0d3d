//! Typing into a pane: looking at it first, pasting, pressing a key; each only into the process that was looked at.
//!
//! Measured on tmux 3.3a: `paste-buffer -p -r` is byte for byte the same up to a megabyte; `send-keys` ends at 16 KiB,
//! loses what is sent into copy mode, and says nothing of a dead pane. Hence the paste, and the guard that the server
//! itself asks in the step in which it pastes.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Tmux, TmuxError, exact, parse, words};

/// What `look` prints before the screen.
const FACTS: &str = "facts #{pane_pid} #{pane_dead} #{pane_in_mode} #{session_attached} #{window_activity} #{cursor_x} \
                     #{cursor_y} #{cursor_flag} #{pane_width} #{pane_height} =#{@metawsm_typed} #{pane_tty} \
                     #{pane_title}";
/// What it prints of each attached terminal.
const CLIENT: &str = "client #{client_activity}";
/// What separates that from the screen.
const SCREEN: &str = "screen";

/// A session's pane at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The process tmux started in it.
    pub pid: u32,
    /// Whether that has ended.
    pub dead: bool,
    /// Whether it is in a mode of tmux, copy mode for one: keys do not reach the program.
    pub in_mode: bool,
    /// How many terminals are attached.
    pub attached: u32,
    /// When it last printed something, seconds since 1970.
    pub activity: i64,
    /// When a key was last pressed in one of the attached terminals, seconds since 1970.
    pub keys_at: Option<i64>,
    /// The cursor.
    pub cursor: Cursor,
    /// Its columns and rows.
    pub size: (u16, u16),
    /// What was typed into it last by us.
    pub mark: Option<Mark>,
    /// The terminal of its program.
    pub tty: PathBuf,
    /// The title that its program has given it.
    pub title: String,
    /// What it shows; lines that tmux wrapped are whole.
    pub screen: String,
}

impl Looked {
    /// How many rows there are below the cursor.
    pub fn rows_below(&self) -> usize {
        usize::from(self.size.1.saturating_sub(1).saturating_sub(self.cursor.row))
    }
}

/// Where a cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Its column.
    pub column: u16,
    /// Its row, from the top.
    pub row: u16,
    /// Whether it is shown.
    pub shown: bool,
}

/// What was typed into a pane, kept by the pane itself: written in the step that types, and gone with the pane. Whoever
/// comes after one that was killed knows by it how far that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The launch that lives in the pane.
    pub launch: u32,
    /// The place of the text in the journal.
    pub seq: i64,
    /// How often the key was pressed that submits it.
    pub presses: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.launch, self.seq, self.presses)
    }
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mark = Self {
            launch: parse::number(parts.next()?)?,
            seq: parse::number(parts.next()?)?,
            presses: parse::number(parts.next()?)?,
        };
        parts.next().is_none().then_some(mark)
    }
}

/// Whether something was done, or the pane was not as it was any more and nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// It was done.
    Done,
    /// It was not.
    Refused,
}

/// Holds of the pane that was looked at, while keys reach its program and, where that says something, the cursor stands
/// where it stood: a program that has drawn something else meanwhile, such as a dialog, has moved it.
///
/// It is what tmux knows in the step in which it types. What the program has not drawn yet nobody can know.
fn guard(pid: u32, cursor: Option<Cursor>) -> String {
    let Some(Cursor { column, row, shown }) = cursor else {
        return format!("#{{==:#{{pane_dead}} #{{pane_in_mode}} #{{pane_pid}},0 0 {pid}}}");
    };
    let facts = "#{pane_dead} #{pane_in_mode} #{pane_pid} #{cursor_x} #{cursor_y} #{cursor_flag}";
    format!("#{{==:{facts},0 0 {pid} {column} {row} {}}}", u8::from(shown))
}

impl Tmux {
    /// Looks at the pane of a session.
    ///
    /// # Errors
    /// [`TmuxError::NoTarget`] when it is not there; [`TmuxError`].
    pub fn look(&self, session: &str) -> Result<Looked, TmuxError> {
        let (name, pane) = (exact(session)?, pane_of(session)?);
        let list = [
            &["display-message", "-p", "-t", &pane, FACTS, ";"][..],
            &["list-clients", "-t", &name, "-F", CLIENT, ";"],
            &["display-message", "-p", SCREEN, ";"],
            &["capture-pane", "-p", "-J", "-t", &pane],
        ];
        let text = self.ask(&list.concat())?.text();
        read(&text).ok_or_else(|| {
            let line = text.lines().next().unwrap_or_default().to_owned();
            TmuxError::Unreadable { what: "display-message".to_owned(), line }
        })
    }

    /// Pastes a text into the pane of a session, if its process still is `pid` and reads keys, and its cursor stands
    /// where it did, and marks it.
    ///
    /// # Errors
    /// [`TmuxError`]: then it is not known whether it was pasted.
    pub fn paste(&self, to: &Aim<'_>, buffer: &str, text: &str) -> Result<Guarded, TmuxError> {
        let pane = pane_of(to.session)?;
        let mark = mark(&pane, to.mark);
        let done = format!("{mark} ; paste-buffer -p -r -d -b {buffer} -t {pane} ; display-message -p done");
        let refused = format!("delete-buffer -b {buffer} ; display-message -p refused");
        let guard = guard(to.pid, to.cursor);
        let mut list = words(&["load-buffer", "-b", buffer, "-", ";", "if-shell", "-F", "-t", &pane, &guard]);
        list.extend([OsString::from(done), OsString::from(refused)]);
        let out = self.call_with(false, list, Path::new("/"), Some(text.as_bytes().to_vec()))?;
        guarded("paste-buffer", &out.text())
    }

    /// Presses a key in the pane of a session, if its process still is `pid` and reads keys, and its cursor stands where
    /// it did, and marks it.
    ///
    /// # Errors
    /// [`TmuxError`]: then it is not known whether it was pressed.
    pub fn press(&self, to: &Aim<'_>, key: &str) -> Result<Guarded, TmuxError> {
        let pane = pane_of(to.session)?;
        let key: String = key.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let done = format!("{} ; send-keys -t {pane} {key} ; display-message -p done", mark(&pane, to.mark));
        let guard = guard(to.pid, to.cursor);
        let list = ["if-shell", "-F", "-t", &pane, &guard, &done, "display-message -p refused"];
        guarded("send-keys", &self.ask(&list)?.text())
    }

    /// Takes a pane out of copy mode and the like.
    ///
    /// # Errors
    /// [`TmuxError`].
    pub fn leave_mode(&self, session: &str) -> Result<(), TmuxError> {
        let pane = pane_of(session)?;
        let leave = format!("send-keys -t {pane} -X cancel");
        self.ask(&["if-shell", "-F", "-t", &pane, "#{pane_in_mode}", &leave]).map(drop)
    }
}

/// Into what is typed, what it must still be then, and what is noted there.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// The session.
    pub session: &'a str,
    /// The process in its pane.
    pub pid: u32,
    /// Where the cursor must stand; `None` where that says nothing.
    pub cursor: Option<Cursor>,
    /// What the pane keeps of it.
    pub mark: Mark,
}

fn mark(pane: &str, mark: Mark) -> String {
    format!("set-option -p -t {pane} @metawsm_typed {mark}")
}

fn pane_of(session: &str) -> Result<String, TmuxError> {
    Ok(format!("{}:", exact(session)?))
}

fn guarded(what: &str, said: &str) -> Result<Guarded, TmuxError> {
    match said.trim_end() {
        "done" => Ok(Guarded::Done),
        "refused" => Ok(Guarded::Refused),
        line => Err(TmuxError::Unreadable { what: what.to_owned(), line: line.to_owned() }),
    }
}

/// Reads what `look` has tmux print. An agent's own text stands behind everything that is read.
fn read(text: &str) -> Option<Looked> {
    let (mut facts, mut keys_at, mut rest) = (None, None, text);
    loop {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if line == SCREEN {
            rest = after;
            break;
        }
        match line.strip_prefix("client ") {
            Some(at) => keys_at = keys_at.max(parse::number::<i64>(at)),
            // A title may hold anything, but no line break.
            None => facts = Some(line.strip_prefix("facts ")?),
        }
        if after.is_empty() {
            return None;
        }
        rest = after;
    }
    let mut fields = facts?.splitn(13, ' ');
    let mut number = || parse::number::<i64>(fields.next()?);
    let (pid, dead, in_mode, attached) = (number()?, number()?, number()?, number()?);
    let activity = number()?;
    let mut small = || u16::try_from(number()?).ok();
    let cursor = Cursor { column: small()?, row: small()?, shown: small()? != 0 };
    let size = (small()?, small()?);
    Some(Looked {
        pid: u32::try_from(pid).ok()?,
        dead: dead != 0,
        in_mode: in_mode != 0,
        attached: u32::try_from(attached).ok()?,
        activity,
        keys_at,
        cursor,
        size,
        mark: Mark::parse(fields.next()?.strip_prefix('=')?),
        tty: PathBuf::from(fields.next()?),
        title: fields.next().unwrap_or_default().to_owned(),
        screen: rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let seen = read(
            "facts 12 0 1 2 1795 4 7 1 80 24 =3:99:1 /dev/pts/3 a client 8 title\nclient 7\nclient 9\nscreen\nfacts\nscreen\nclient 99\n",
        )
        .unwrap();
        assert_eq!((seen.pid, seen.dead, seen.in_mode, seen.attached, seen.keys_at), (12, false, true, 2, Some(9)));
        assert_eq!((seen.tty.to_str(), seen.title.as_str()), (Some("/dev/pts/3"), "a client 8 title"));
        assert_eq!((seen.cursor, seen.rows_below()), (Cursor { column: 4, row: 7, shown: true }, 16));
        assert_eq!(seen.mark, Some(Mark { launch: 3, seq: 99, presses: 1 }));
        assert_eq!(seen.screen, "facts\nscreen\nclient 99\n");
        for bad in [
            "",
            "screen\n",
            "facts 12 0 1 2 1795 4 7 1 80 24 = /dev/pts/3 t\n",
            "facts x 0 0 0 1 4 7 1 80 24 = /dev/pts/3 t\nscreen\n",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        for odd in ["", "1", "1:2", "1:2:3:4", "a:b:c", "-1:2:3"] {
            assert_eq!(Mark::parse(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_screen_is_taken_for_facts(screen in "(?s).{0,80}") {
            let seen = read(&format!("facts 12 0 0 0 1795 4 7 1 80 24 = /dev/pts/3 \nscreen\n{screen}")).unwrap();
            prop_assert_eq!(seen.screen, screen);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,80}") {
            let _ = read(&text);
        }
    }
}

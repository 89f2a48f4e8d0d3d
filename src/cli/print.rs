//! The only printer: tables, ages, colours, and what agents wrote made harmless.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::Value;
use signal_hook::iterator::Signals;
use unicode_width::UnicodeWidthStr;

use super::args::Color;
use crate::domain::time::{Moment, age};
use crate::services::text::{acts, cut};
pub use crate::services::text::{harmless, one_line};

/// How text is to look.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// With colours.
    pub color: bool,
    /// Absolute times.
    pub utc: bool,
    /// Columns, `None` in a pipe.
    pub width: Option<usize>,
    /// Now.
    pub now: Moment,
}

impl Style {
    /// The style of this process's stdout.
    pub fn of_stdout(color: Color, utc: bool, now: Moment) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let wanted = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let width = terminal
            .then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok())
            .flatten()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0);
        Self { color: wanted, utc, width, now }
    }

    /// A moment as this style shows it.
    pub fn time(&self, at: Option<Moment>) -> String {
        match at {
            None => "-".to_owned(),
            Some(at) if self.utc => at.to_string(),
            Some(at) => age(self.now.since(at)),
        }
    }

    /// A status word in its colour.
    pub fn status(&self, word: &str) -> String {
        if !self.color {
            return word.to_owned();
        }
        let code = match word {
            "dead" | "failed" => "31",
            "stalled" | "awaiting_guidance" | "waiting_human" | "stopping" => "33",
            "running" | "healthy" | "done" | "completed" | "closed" => "32",
            _ => "2",
        };
        format!("\u{1b}[{code}m{word}\u{1b}[0m")
    }

    /// Text that matters.
    pub fn strong(&self, text: &str) -> String {
        if self.color { format!("\u{1b}[1;33m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Secondary text.
    pub fn dim(&self, text: &str) -> String {
        if self.color { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A table sized to the terminal: the widest of the flexible columns gives way.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Whether there is nothing but headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The table as text.
    pub fn render(&self, style: &Style) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let mut widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max().unwrap_or(0))
            .collect();
        if let Some(limit) = style.width {
            while widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1) > limit {
                let Some(widest) = (0..columns).max_by_key(|at| widths[*at]).filter(|at| widths[*at] > 8) else {
                    break;
                };
                widths[widest] -= 1;
            }
        }
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let cell = cut(cell, widths[at]);
                let gap = widths[at].saturating_sub(cell.width());
                line.push_str(&if number == 0 { style.dim(&cell) } else { style.status_cell(&cell) });
                if at + 1 < row.len() {
                    line.push_str(&" ".repeat(gap + 2));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

impl Style {
    fn status_cell(&self, cell: &str) -> String {
        let known = crate::domain::run::RunStatus::parse(cell).is_some()
            || crate::domain::agent::AgentStatus::parse(cell).is_some();
        if known || matches!(cell, "healthy" | "unknown") { self.status(cell) } else { cell.to_owned() }
    }
}

/// A JSON value on one line. Where it is read by a terminal nothing in it does anything: what could is escaped, which
/// means the same to whoever parses it.
pub fn json(value: &Value) -> String {
    let text = value.to_string();
    // serde_json escapes C0 itself; what is left stands inside of strings only.
    if !text.chars().any(acts) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a reader who does not read is waited for no longer.
static LEAVING: AtomicBool = AtomicBool::new(false);
/// So much fits into a pipe that has room at all.
const PIECE: usize = 4096;

/// From the first of these signals on a reader who does not read is waited for no longer.
///
/// # Errors
/// When the signals cannot be taken.
pub fn leave_on(signals: &[i32]) -> std::io::Result<()> {
    let mut signals = Signals::new(signals)?;
    std::thread::Builder::new().name("leaving".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            LEAVING.store(true, Ordering::SeqCst);
        }
    })?;
    Ok(())
}

/// Writes to stdout; a reader that has gone away is no error of ours.
///
/// # Errors
/// Anything but a closed pipe.
pub fn out(text: &str) -> std::io::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    for piece in text.as_bytes().chunks(PIECE) {
        while !room(&stdout) {
            if LEAVING.load(Ordering::SeqCst) {
                return Ok(false);
            }
        }
        match stdout.write_all(piece).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether something can be written at once; asks for a moment. What cannot be asked is taken to have room.
fn room(stdout: &impl AsFd) -> bool {
    let mut output = [PollFd::new(stdout, PollFlags::OUT)];
    let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match poll(&mut output, Some(&moment)) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => false,
        Err(_) => true,
    }
}

/// Whether whoever read our output has gone, so that waiting for more to say is for nothing.
pub fn reader_gone() -> bool {
    let stdout = std::io::stdout();
    let mut output = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A pipe without a reader says so unasked; what cannot be asked is taken to be read.
    poll(&mut output, Some(&at_once)).is_ok_and(|_| output[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Writes a line to stderr; where that is not possible there is nobody to tell.
pub fn err(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { color: false, utc: false, width: Some(30), now: Moment::from_millis(0) };

    #[test]
    fn nothing_in_json_acts_on_a_terminal_and_all_of_it_is_read_back() {
        let value = serde_json::json!({ "body": "a\u{1b}[2J\u{9b}31m\u{202e}b\u{7f}\u{feff}é", "\u{2066}": 1 });
        let text = json(&value);
        assert!(!text.chars().any(acts), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains('é'));
    }

    #[test]
    fn a_table_gives_way_where_it_is_widest() {
        let mut table = Table::new(&["id", "title"]);
        table.row(vec!["1".into(), "a very long title that does not fit at all".into()]);
        table.row(vec!["22".into(), "日本語".into()]);
        assert_eq!(table.render(&PLAIN), "id  title\n1   a very long title that do…\n22  日本語\n");
    }
}

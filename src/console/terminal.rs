//! The terminal, taken and given back: also after a panic.

use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::style::Print;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::app::App;
use super::screens;
use crate::services::text::one_line;

/// The screen while it is ours; dropping it gives it back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<io::BufWriter<Stdout>>>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    /// When there is no terminal.
    pub fn take() -> io::Result<Self> {
        enter()?;
        // One write for a whole frame: nobody sees half of it.
        let out = io::BufWriter::with_capacity(64 * 1024, io::stdout());
        match Terminal::new(CrosstermBackend::new(out)) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Its columns and rows.
    pub fn size(&self) -> (u16, u16) {
        self.terminal.size().map_or((80, 24), |size| (size.width, size.height))
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| screens::draw(app, frame)).map(drop)
    }

    /// Forgets what is on the screen: the next drawing draws everything.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Gives the screen away for a while.
    pub fn lend(&mut self) {
        give_back();
    }

    /// Takes it again.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resume(&mut self) -> io::Result<()> {
        enter()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The title that was set last: it comes back with the screen.
static TITLE: Mutex<String> = Mutex::new(String::new());
/// Whether the terminal keeps the title that it had before.
static KEPT: AtomicBool = AtomicBool::new(false);
/// Keep the title; fetch it again. Terminals that cannot do it let it pass.
const KEEP_TITLE: Print<&str> = Print("\x1b[22;0t");
const FETCH_TITLE: Print<&str> = Print("\x1b[23;0t");

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    if !KEPT.swap(true, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), KEEP_TITLE);
    }
    let known = TITLE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !known.is_empty() {
        let _ = execute!(io::stdout(), SetTitle(known));
    }
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste).inspect_err(|_| give_back())
}

/// Gives the terminal back as it was found. Doing so twice does no harm.
pub fn give_back() {
    let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
    if KEPT.swap(false, Ordering::SeqCst) {
        // Where nothing was kept, no title is better than ours.
        let _ = execute!(io::stdout(), SetTitle(""), FETCH_TITLE);
    }
    let _ = disable_raw_mode();
}

/// Sets the terminal's title.
pub fn title(text: &str) {
    let text = one_line(text);
    let _ = execute!(io::stdout(), SetTitle(&text));
    *TITLE.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// Rings the bell.
pub fn bell() {
    let mut out = io::stdout();
    let _ = out.write_all(b"\x07").and_then(|()| out.flush());
}

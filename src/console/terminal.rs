//! The terminal, taken and given back: also after a panic.

use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange};
use crossterm::execute;
use crossterm::style::Print;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};

use super::app::App;
use super::screens;
use crate::services::text::{desktop_notice, one_line};

/// The screen while it is ours; dropping it gives it back.
pub struct Screen {
    terminal: Terminal<Quiet<io::BufWriter<Stdout>>>,
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
        match Terminal::new(Quiet::new(out)) {
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
        self.terminal.backend_mut().cursor = None;
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
/// A terminal that is told nothing twice: a frame like the last one writes no byte.
struct Quiet<W: Write> {
    inner: CrosstermBackend<W>,
    /// Whether the cursor shows, as far as that is known.
    cursor: Option<bool>,
}

impl<W: Write> Quiet<W> {
    fn new(out: W) -> Self {
        Self { inner: CrosstermBackend::new(out), cursor: None }
    }
}

impl<W: Write> Backend for Quiet<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        // Drawing nothing would still set and reset colours.
        let mut content = content.peekable();
        if content.peek().is_none() { Ok(()) } else { self.inner.draw(content) }
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        if self.cursor != Some(false) {
            self.inner.hide_cursor()?;
            self.cursor = Some(false);
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if self.cursor != Some(true) {
            self.inner.show_cursor()?;
            self.cursor = Some(true);
        }
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        self.inner.get_cursor_position()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.inner.clear_region(region)
    }

    fn append_lines(&mut self, lines: u16) -> io::Result<()> {
        self.inner.append_lines(lines)
    }

    fn size(&self) -> io::Result<Size> {
        self.inner.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.inner)
    }
}

/// Whether the terminal is ours now. Leaving the alternate screen twice would write over what was said in between.
static TAKEN: AtomicBool = AtomicBool::new(false);

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    if !KEPT.swap(true, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), KEEP_TITLE);
    }
    let known = TITLE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !known.is_empty() {
        let _ = execute!(io::stdout(), SetTitle(known));
    }
    TAKEN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange).inspect_err(|_| give_back())
}

/// Gives the terminal back as it was found, once.
pub fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = execute!(io::stdout(), DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, Show);
    if KEPT.swap(false, Ordering::SeqCst) {
        // Where nothing was kept, no title is better than ours.
        let _ = execute!(io::stdout(), SetTitle(""), FETCH_TITLE);
    }
    let _ = disable_raw_mode();
}

/// Says something on a terminal that was given back.
pub fn say(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
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

/// Shows a notification on the desktop.
pub fn desktop(words: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(desktop_notice(words).as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use ratatui::{TerminalOptions, Viewport};

    use super::*;

    #[test]
    fn a_frame_like_the_last_one_writes_nothing() {
        let mut written = Vec::new();
        let mut lengths = Vec::new();
        for frames in 1..=3 {
            written.clear();
            let area = ratatui::layout::Rect::new(0, 0, 20, 3);
            let options = TerminalOptions { viewport: Viewport::Fixed(area) };
            let mut terminal = Terminal::with_options(Quiet::new(&mut written), options).unwrap();
            for _ in 0..frames {
                terminal.draw(|frame| frame.render_widget("the same", frame.area())).unwrap();
            }
            terminal.draw(|frame| frame.render_widget("another", frame.area())).unwrap();
            // Dropping a terminal shows the cursor again, once.
            drop(terminal);
            lengths.push(written.len());
        }
        assert!(lengths[0] > 0);
        assert_eq!(lengths, [lengths[0]; 3], "{}", String::from_utf8_lossy(&written));
    }
}

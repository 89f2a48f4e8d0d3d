//! The thread that reads the terminal: it sleeps until there is something to read, and lets go of the terminal while
//! something else has it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::SigId;
use signal_hook::consts::SIGWINCH;

use super::msg::Msg;

/// What was announced and is not there yet is waited for so long.
const ANNOUNCED: Duration = Duration::from_millis(100);
/// So long at most the terminal is not given away.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The reader of the terminal.
pub struct Input {
    state: Arc<State>,
    /// Wakes the reader: so does another size of the terminal.
    bell: UnixStream,
    resized: SigId,
}

#[derive(Default)]
struct State {
    over: AtomicBool,
    /// Whether reading is paused, and whether the reader has let go.
    paused: Mutex<(bool, bool)>,
    turned: Condvar,
}

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// When the system has no pipe left for it.
    pub fn begin(sender: Sender<Msg>) -> io::Result<Self> {
        let (bell, rung) = UnixStream::pair()?;
        rung.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let resized = signal_hook::low_level::pipe::register(SIGWINCH, bell.try_clone()?)?;
        let state = Arc::new(State::default());
        let read = Arc::clone(&state);
        let reading = move || {
            while !read.over.load(Ordering::SeqCst) && read.rest() {
                let going = match next(&rung, &read) {
                    Ok(None) => true,
                    Ok(Some(msg)) => sender.send(msg).is_ok(),
                    // The terminal is gone.
                    Err(_) => {
                        let _ = sender.send(Msg::End);
                        false
                    }
                };
                if !going {
                    return read.leave();
                }
            }
        };
        std::thread::Builder::new().name("input".to_owned()).spawn(reading)?;
        Ok(Self { state, bell, resized })
    }

    /// Returns when nobody reads the terminal any more.
    pub fn pause(&self) {
        let mut paused = self.state.paused.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (true, false);
        self.ring();
        while !paused.1 && !self.state.over.load(Ordering::SeqCst) {
            let (guard, timeout) =
                self.state.turned.wait_timeout(paused, LETTING_GO).unwrap_or_else(PoisonError::into_inner);
            paused = guard;
            if timeout.timed_out() {
                return;
            }
        }
    }

    /// Reads again.
    pub fn resume(&self) {
        *self.state.paused.lock().unwrap_or_else(PoisonError::into_inner) = (false, false);
        self.state.turned.notify_all();
    }

    /// Reads no more.
    pub fn stop(&self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.resume();
        self.ring();
    }

    fn ring(&self) {
        // Full means that it rings already.
        let _ = (&self.bell).write(&[0]);
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.stop();
        signal_hook::low_level::unregister(self.resized);
    }
}

impl State {
    /// Waits while reading is paused; `false` when it is over.
    fn rest(&self) -> bool {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        while paused.0 && !self.over.load(Ordering::SeqCst) {
            paused.1 = true;
            self.turned.notify_all();
            paused = self.turned.wait(paused).unwrap_or_else(PoisonError::into_inner);
        }
        !self.over.load(Ordering::SeqCst)
    }

    /// Whether the reader is to let go.
    fn turns(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.paused.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nobody reads, and nobody will.
    fn leave(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.turned.notify_all();
    }
}

/// What the terminal says next. Nobody is woken by the clock for it: the system says when there is something.
fn next(rung: &UnixStream, state: &State) -> io::Result<Option<Msg>> {
    // What was read already and not handed on would not be announced again.
    if !event::poll(Duration::ZERO)? && (!announced(rung)? || state.turns() || !event::poll(ANNOUNCED)?) {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) => Some(Msg::Key(key)),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(width, height) => Some(Msg::Resize(width, height)),
        Event::FocusGained => Some(Msg::Focus),
        Event::FocusLost | Event::Mouse(_) => None,
    })
}

/// Sleeps until the terminal has something or the bell was rung: whether there may be something to read.
fn announced(rung: &UnixStream) -> io::Result<bool> {
    let terminal = io::stdin();
    let terminal = terminal.as_fd();
    let mut fds = [PollFd::new(&terminal, PollFlags::IN), PollFd::new(rung, PollFlags::IN)];
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let (terminal, bell) = (fds[0].revents(), fds[1].revents());
    if terminal.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bell.contains(PollFlags::IN) {
        let mut rings = [0; 64];
        while matches!(io::Read::read(&mut &*rung, &mut rings), Ok(1..)) {}
    }
    // A new size comes with the signal that has rung; a pause is seen at the next turn.
    Ok(terminal.contains(PollFlags::IN) || bell.contains(PollFlags::IN))
}

//! The terminal of a program, looked at from outside: who edits its lines, and what of its input nobody has read yet.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::termios::{LocalModes, tcgetattr};

/// A terminal; it is neither read from nor written to, and does not become ours.
#[derive(Debug)]
pub struct Tty(File);

impl Tty {
    /// The terminal at this path; `None` where it cannot be looked at.
    pub fn open(path: &Path) -> Option<Self> {
        let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(flags).open(path).ok().map(Self)
    }

    /// Whether it edits lines itself and hands them on whole, as before a shell that reads them one by one.
    pub fn cooked(&self) -> bool {
        tcgetattr(&self.0).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
    }

    /// Whether its program has read everything that was typed.
    pub fn all_read(&self) -> bool {
        ioctl_fionread(&self.0).is_ok_and(|unread| unread == 0)
    }
}

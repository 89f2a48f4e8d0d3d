//! The program's own log: `logs/metawsm.log`, for the owner only, rotated. It is no source of truth.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::home::{Home, make_dir};
use crate::store::ids::{Clock, SystemClock};

/// A file this long is put aside.
const LONGEST: u64 = 10 * 1024 * 1024;
/// So many are kept.
const KEPT: u32 = 5;

/// The log of a home.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log of `home`; nothing is made before the first line.
    pub fn new(home: &Home) -> Self {
        Self { path: home.inside().join("logs").join("metawsm.log") }
    }

    /// Adds a line. A log that cannot be written is not worth failing for.
    pub fn line(&self, part: &str, words: &str) {
        let _ = self.try_line(part, words);
    }

    fn try_line(&self, part: &str, words: &str) -> std::io::Result<()> {
        if let Some(dir) = self.path.parent() {
            make_dir(dir).map_err(std::io::Error::other)?;
        }
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() > LONGEST) {
            self.rotate()?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(file, "{} {} {part}: {words}", SystemClock.now(), std::process::id())
    }

    fn rotate(&self) -> std::io::Result<()> {
        let numbered = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..KEPT).rev() {
            if numbered(number).exists() {
                std::fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }
}

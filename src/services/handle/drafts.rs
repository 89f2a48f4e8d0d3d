//! Drafts of what is being written: files, written and read by one thread, in order.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};

use super::{Handle, Trouble};
use crate::services::engine::PATIENCE;
use crate::services::error::EngineError;
use crate::services::home::{make_dir, write_private};

/// What is to be done with a draft.
pub(super) enum Draft {
    Keep(PathBuf, String),
    Drop(PathBuf),
    /// Everything before it is written.
    Settled(Sender<()>),
    Fetch(PathBuf, Box<dyn FnOnce(Option<String>) + Send>),
}

impl Handle {
    /// The file of a draft.
    fn draft_file(&self, name: &str) -> PathBuf {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        self.engine.home.inside().join("drafts").join(format!("{}.md", plain.trim_start_matches('.')))
    }

    /// Keeps a draft, or removes it when it is empty.
    pub fn keep_draft(&self, name: &str, text: String) {
        let file = self.draft_file(name);
        self.of_draft(if text.trim().is_empty() { Draft::Drop(file) } else { Draft::Keep(file, text) });
    }

    /// The file of a draft with `text` in it, for another program to write on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn draft_to_edit(&self, name: &str, text: &str) -> Result<PathBuf, Trouble> {
        let (settled, wait) = channel();
        // What was typed before must not be written over what the other program makes of it.
        self.of_draft(Draft::Settled(settled));
        let _ = wait.recv_timeout(PATIENCE);
        let file = self.draft_file(name);
        settle(Draft::Keep(file.clone(), text.to_owned())).map_err(Trouble::from)?;
        Ok(file)
    }

    /// Hands the draft that was kept to `tell`, if there is one.
    pub fn draft(&self, name: &str, tell: impl FnOnce(Option<String>) + Send + 'static) {
        self.of_draft(Draft::Fetch(self.draft_file(name), Box::new(tell)));
    }

    fn of_draft(&self, draft: Draft) {
        self.busy.fetch_add(1, Ordering::SeqCst);
        if self.drafts.send(draft).is_err() {
            self.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Does what is to be done with a draft.
pub(super) fn settle(draft: Draft) -> Result<(), EngineError> {
    let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    match draft {
        Draft::Settled(told) => {
            let _ = told.send(());
            Ok(())
        }
        Draft::Keep(file, text) => {
            if let Some(dir) = file.parent() {
                make_dir(dir)?;
            }
            write_private(&file, text.as_bytes())
        }
        Draft::Drop(file) => match std::fs::remove_file(&file) {
            Err(source) if !absent(&source) => {
                Err(EngineError::Io { what: format!("remove {}", file.display()), source })
            }
            Ok(()) | Err(_) => Ok(()),
        },
        Draft::Fetch(file, tell) => {
            let read = std::fs::read_to_string(&file);
            tell(read.as_ref().ok().cloned());
            match read {
                Err(source) if !absent(&source) => {
                    Err(EngineError::Io { what: format!("read {}", file.display()), source })
                }
                Ok(_) | Err(_) => Ok(()),
            }
        }
    }
}

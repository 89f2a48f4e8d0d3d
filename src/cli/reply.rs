//! What a command answers: one JSON document, its text, and the exit status.

use serde_json::Value;

use super::session::Session;
use super::{exit, print};

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The document of `--json`.
    pub json: Value,
    /// The text otherwise.
    pub text: String,
    /// The exit status.
    pub status: u8,
}

impl Reply {
    /// An answer that succeeded.
    pub fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into(), status: exit::DONE }
    }

    /// Text that is the same with `--json`.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { json: Value::Null, text, status: exit::DONE }
    }

    /// Nothing to print any more.
    pub fn silent(status: u8) -> Self {
        Self { json: Value::Null, text: String::new(), status }
    }

    /// Prints it and says how the program ends.
    pub fn show(self, session: &Session) -> u8 {
        let text = if session.global.json && !self.json.is_null() {
            format!("{}\n", print::json(&self.json))
        } else if self.text.is_empty() || self.text.ends_with('\n') {
            self.text
        } else {
            format!("{}\n", self.text)
        };
        match print::out(&text) {
            Ok(_) => self.status,
            Err(error) => {
                print::err(&format!("metawsm: could not write the answer: {error}"));
                exit::FAILED
            }
        }
    }
}

//! Why a command was not done: what was refused, the present state, and what is allowed instead.

use thiserror::Error;

/// What kind of refusal it is; faces turn it into an exit status or an HTTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The thing named does not exist.
    NotFound,
    /// The value is malformed.
    Invalid,
    /// The present state does not allow it.
    Illegal,
    /// The actor may not do it.
    NotAllowed,
    /// The idempotency key was used before with other content.
    KeyReused,
}

/// A command refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// What was refused and why.
    pub message: String,
    /// The present state, where there is one.
    pub state: Option<String>,
    /// What is allowed in that state.
    pub allowed: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Refusal {
    fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), state: None, allowed: Vec::new(), hint: None }
    }

    /// The thing named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, message)
    }

    /// The value is malformed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message)
    }

    /// The actor may not do it.
    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotAllowed, message)
    }

    /// The present state does not allow it.
    pub fn illegal<S: Into<String>>(
        message: impl Into<String>,
        state: impl Into<String>,
        allowed: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            state: Some(state.into()),
            allowed: allowed.into_iter().map(Into::into).collect(),
            ..Self::new(RefusalKind::Illegal, message)
        }
    }

    /// The key was used before with other content; `first` names what it did then.
    pub fn key_reused(key: &str, first: &str) -> Self {
        Self::new(
            RefusalKind::KeyReused,
            format!("--event-id {key} was used before with other content: it was {first}"),
        )
        .hint("use a new key for new content")
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

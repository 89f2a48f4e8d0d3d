//! One call of git: its environment, its limits, and how its failure is told.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Git, GitError};
use crate::services::process::exec::{Exec, ExecError, Output};

/// The longest a read may take; `status` of a very large, cold checkout needs tens of seconds.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// The longest a write may take; checking out a large repository is the slowest of them.
const WRITE_LIMIT: Duration = Duration::from_secs(900);

/// Characters of a call that are repeated in an error.
const TRIED_LIMIT: usize = 160;

/// What kind of call it is, which decides about locks, time and cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Leaves the repository as it is.
    Read,
    /// Changes the repository, is short, and is not cut off by the cancel flag.
    Write,
    /// Changes the repository in a way that may be cut off and done again.
    Interruptible,
    /// Talks to a remote, for at most this long.
    Network(Duration),
    /// Changes the repository through the hooks that its owner put there, for at most this long.
    Hooked(Duration),
}

/// A call being put together.
pub(super) struct Call<'a> {
    exec: Exec<'a>,
    dir: PathBuf,
    tried: String,
}

impl Git {
    /// A call of `git` in `dir`, with the environment that every call of its kind gets.
    pub(super) fn call(&self, kind: Kind, dir: &Path) -> Call<'_> {
        let mut exec = Exec::new(self.program.clone())
            .cwd(dir)
            .without_env("GIT_")
            .without_env("SSH_ASKPASS")
            .env("GIT_TERMINAL_PROMPT", "0")
            // An empty GIT_ASKPASS wins over core.askPass and SSH_ASKPASS alike.
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GCM_INTERACTIVE", "never")
            .env("GIT_EDITOR", ":")
            .env("LC_ALL", "C")
            .arg("--no-pager");
        if !matches!(kind, Kind::Hooked(_)) {
            exec = exec.args(["-c", "core.hooksPath=/dev/null"]);
        }
        exec = match kind {
            Kind::Read => exec.env("GIT_OPTIONAL_LOCKS", "0").args(["-c", "core.fsmonitor=false"]).timeout(READ_LIMIT),
            Kind::Write | Kind::Interruptible => exec
                .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "submodule.recurse=false"])
                .timeout(WRITE_LIMIT),
            Kind::Hooked(limit) => exec
                .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "commit.gpgSign=false"])
                .timeout(limit),
            Kind::Network(limit) => exec
                .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "credential.interactive=false"])
                .timeout(limit),
        };
        if let Some(flag) = self.cancel.as_deref().filter(|_| kind != Kind::Write) {
            exec = exec.cancel(flag);
        }
        for (name, value) in &self.env {
            exec = exec.env(name, value);
        }
        Call { exec, dir: dir.to_path_buf(), tried: self.program.to_string_lossy().into_owned() }
    }

    /// A read in `dir`.
    pub(super) fn read(&self, dir: &Path) -> Call<'_> {
        self.call(Kind::Read, dir)
    }

    /// A short write in `dir`; the caller holds the repository's lock.
    pub(super) fn write(&self, dir: &Path) -> Call<'_> {
        self.call(Kind::Write, dir)
    }
}

impl Call<'_> {
    pub(super) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        let arg = arg.into();
        if self.tried.len() < TRIED_LIMIT {
            self.tried.push(' ');
            self.tried.extend(arg.to_string_lossy().chars().filter(|c| !c.is_control()).take(TRIED_LIMIT));
        }
        self.exec = self.exec.arg(arg);
        self
    }

    pub(super) fn args<I, S>(self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        args.into_iter().fold(self, Self::arg)
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.exec = self.exec.env(name, value.as_ref());
        self
    }

    pub(super) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.exec = self.exec.stdin(bytes);
        self
    }

    /// Runs it; an exit status other than 0 is left to the caller.
    pub(super) fn output(self) -> Result<(Output, String), GitError> {
        let Self { exec, dir, tried } = self;
        match exec.run() {
            Ok(output) => Ok((output, tried)),
            Err(ExecError::Missing { program }) => Err(GitError::Missing { program }),
            Err(ExecError::Start { .. }) if !dir.is_dir() => Err(GitError::NoSuchPath { path: dir }),
            Err(source) => Err(GitError::Run { tried, dir, source }),
        }
    }

    /// Runs it; an exit status other than 0 is an error.
    pub(super) fn ok(self) -> Result<Vec<u8>, GitError> {
        let dir = self.dir.clone();
        let (output, tried) = self.output()?;
        if output.ok() { Ok(output.stdout) } else { Err(refused(tried, dir, &output)) }
    }

    /// Runs it; its one line of output as text, without the line end.
    pub(super) fn line(self) -> Result<String, GitError> {
        Ok(String::from_utf8_lossy(&self.ok()?).trim_end_matches('\n').to_owned())
    }

    /// Runs a question: exit status 0 is yes, 1 is no, anything else an error.
    pub(super) fn yes(self) -> Result<bool, GitError> {
        self.maybe().map(|answer| answer.is_some())
    }

    /// Runs a question with an answer: exit status 0 is the answer, 1 is none, anything else an error.
    pub(super) fn maybe(self) -> Result<Option<Vec<u8>>, GitError> {
        let dir = self.dir.clone();
        let (output, tried) = self.output()?;
        match output.status {
            Some(0) => Ok(Some(output.stdout)),
            Some(1) => Ok(None),
            _ => Err(refused(tried, dir, &output)),
        }
    }
}

/// The error for a call that git ended with a status that means failure.
pub(super) fn refused(tried: String, dir: PathBuf, output: &Output) -> GitError {
    let why = match (output.complaint(), output.status, output.signal) {
        (text, _, _) if !text.is_empty() => text,
        (_, Some(status), _) => format!("exit status {status}, and nothing said"),
        (_, None, Some(signal)) => format!("ended by signal {signal}"),
        (_, None, None) => "ended without a status".to_owned(),
    };
    GitError::Failed { tried, dir, why }
}

//! Calling a human: a line, the terminal's bell, a notification on the desktop, a program of the user's choice.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::exit::{self, Failure};
use super::print;
use super::session::Session;
use super::wrong;
use crate::domain::policy::{Policy, rules};
use crate::services::notifier::{self, Notice};
use crate::services::process::default_table;
use crate::services::process::lease::read_holder;
use crate::services::text::desktop_notice;
use crate::store::Reader;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// The same occurrence is told once.
    pub key: String,
    /// A word for programs: `guidance_needed`, `agent_unhealthy`, …
    pub event: String,
    /// For a person.
    pub message: String,
    /// The run.
    pub run_id: String,
    /// A command that leads on.
    pub hint: Option<String>,
    /// It is an escalation: whoever supervises has the policy's program run for it.
    pub escalation: bool,
}

/// How a human is called.
#[derive(Debug, Clone)]
pub struct Caller {
    argv: Vec<String>,
    /// The program is one for this process, not the policy's.
    asked: bool,
    /// By this it is known whether anybody supervises.
    lease: PathBuf,
    bell: bool,
    desktop: bool,
    lines: bool,
}

impl Caller {
    /// As the options say, else as the policy does.
    pub fn new(session: &Session, policy: &Policy, command: Option<&str>, no_bell: bool) -> Result<Self, Failure> {
        let argv = match command {
            None => policy.notify.command.clone(),
            Some(text) => rules::argv(&Value::from(text))
                .map_err(|rule| wrong(format!("--notify-cmd {rule}"), "or set notify.command in the policy"))?,
        };
        Ok(Self {
            argv,
            asked: command.is_some(),
            lease: session.home()?.supervisor_lease(),
            bell: policy.notify.bell && !no_bell,
            desktop: policy.notify.desktop,
            lines: session.global.json,
        })
    }

    /// Tells one thing, and says whether anybody still reads.
    pub fn tell(&self, reader: &Reader, alert: &Alert) -> Result<bool, Failure> {
        let line = if self.lines {
            print::json(
                &json!({ "event": alert.event, "run_id": alert.run_id, "message": alert.message, "hint": alert.hint }),
            )
        } else {
            let hint = alert.hint.as_ref().map(|hint| format!("\n    {hint}")).unwrap_or_default();
            format!("{}  {}: {}{hint}", alert.run_id, alert.event, print::one_line(&alert.message))
        };
        let read = print::out(&format!("{line}\n")).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        self.ring(&alert.message);
        self.run(reader, alert);
        Ok(read)
    }

    fn ring(&self, message: &str) {
        let mut stderr = std::io::stderr().lock();
        if !stderr.is_terminal() {
            return;
        }
        let notice = if self.desktop { desktop_notice(&format!("metawsm: {message}")) } else { String::new() };
        let bell = if self.bell { "\x07" } else { "" };
        // A terminal that is gone is found out where the line is written.
        let _ = write!(stderr, "{notice}{bell}").and_then(|()| stderr.flush());
    }

    /// What the program writes goes nowhere; that it failed is a warning.
    fn run(&self, reader: &Reader, alert: &Alert) {
        if alert.escalation && !self.asked && read_holder(&self.lease, default_table().as_ref()).is_some() {
            return;
        }
        let run = reader.run(&alert.run_id).ok().flatten();
        let hint = alert.hint.as_deref().unwrap_or_default();
        let notice = Notice { event: &alert.event, message: &alert.message, run_id: &alert.run_id, hint };
        if let Err(why) = notifier::run(&self.argv, &notice, run.as_ref(), &AtomicBool::new(false)) {
            print::err(&print::one_line(&why));
        }
    }
}

//! What is done to each of many, line by line, and for which of them it makes no sense.

use crate::console::action::Action;
use crate::console::app::sense::{holdable, resumable, stoppable};
use crate::console::app::{App, Attention, pick};
use crate::domain::agent::AgentStatus;
use crate::domain::run::RunStatus;
use crate::domain::thread::ThreadState;
use crate::services::handle::{Change, Wish};
use crate::services::snapshot::{AgentRow, RunRow, ThreadRow};
use crate::services::text::{cut, one_line};

use super::TITLE;

/// What happens to one, in a line, and the wish for it; or why it is left out.
pub type Judged = Result<(String, Wish), String>;

/// How it is asked.
#[derive(Clone, Copy)]
pub struct Words {
    pub verb: &'static str,
    pub yes: &'static str,
    pub noun: &'static str,
    pub after: Option<&'static str>,
}

/// How a release is asked, which has no key of its own.
pub const RELEASE: Words =
    Words { verb: "Release", yes: "release", noun: "agent", after: Some("rules look after them again") };

impl Words {
    pub fn of(action: Action, runs: bool) -> Self {
        let words = |verb, yes, noun, after| Self { verb, yes, noun, after };
        match action {
            Action::Restart => words("Restart", "restart", "agent", Some("a session ends with everything it started")),
            Action::Hold => words("Hold", "hold", "agent", Some("rules leave them alone until they are released")),
            Action::Stop if runs => words("Stop", "stop", "run", Some("their worktrees stay as they are; u resumes")),
            Action::Stop => {
                let after = "with everything that was started in it; worktrees stay as they are";
                words("Stop", "stop", "agent", Some(after))
            }
            Action::Pause => words("Pause", "pause", "run", Some("sessions live on, rules leave them alone")),
            Action::Resume => words("Resume", "resume", "run", None),
            Action::Type => words("Send this line to", "send", "agent", None),
            Action::Accept => words("Accept", "accept", "suggestion", None),
            Action::Dismiss => words("Dismiss", "dismiss", "suggestion", None),
            Action::Acknowledge => words("Acknowledge", "acknowledge", "escalation", None),
            Action::Resolve => words("Resolve", "resolve", "escalation", None),
            Action::CloseThread => words("Close", "close", "thread", None),
            Action::ReopenThread => words("Reopen", "reopen", "thread", None),
            _ => words("Do it to", "do it", "row", None),
        }
    }
}

fn named_run(run: &RunRow) -> String {
    format!("{} ({})", run.run_id, run.tickets.join(", "))
}

pub fn stop_run(app: &App, run: &RunRow) -> Judged {
    if !stoppable(run) {
        return Err(run.status.word().to_owned());
    }
    let live = app.snapshot.agents.iter().filter(|agent| agent.key.run_id == run.run_id && agent.may_live);
    let sessions: Vec<&str> = live.map(|agent| agent.session.as_str()).collect();
    let ends = match &sessions[..] {
        [] => "no session is running".to_owned(),
        [one] => format!("ends session {one}"),
        many => format!("ends sessions {}", many.join(", ")),
    };
    Ok((format!("{}: {ends}", named_run(run)), Wish::StopRun(run.run_id.clone())))
}

pub fn pause_run(_: &App, run: &RunRow) -> Judged {
    if !run.status.at_work() {
        return Err(run.status.word().to_owned());
    }
    Ok((named_run(run), Wish::Pause(run.run_id.clone())))
}

pub fn resume_run(_: &App, run: &RunRow) -> Judged {
    if !resumable(run) {
        return Err(run.status.word().to_owned());
    }
    Ok((format!("{}: it is {}", named_run(run), run.status), Wish::Resume(run.run_id.clone())))
}

pub fn restart_agent(app: &App, agent: &AgentRow) -> Judged {
    let run = app.snapshot.run(&agent.key.run_id).map(|run| run.status);
    match (agent.status, run) {
        (AgentStatus::Done, _) => return Err("done".to_owned()),
        _ if agent.launch == 0 => return Err("never started".to_owned()),
        _ if agent.starting => return Err("starting already".to_owned()),
        (_, Some(RunStatus::Paused | RunStatus::Stopping | RunStatus::Closing | RunStatus::Closed)) => {
            return Err(format!("its run is {}", run.map_or("gone", RunStatus::word)));
        }
        _ => {}
    }
    let name = &agent.key.name;
    let line = if agent.may_live {
        format!("{name}: ends session {}, starts launch {}", agent.session, agent.launch + 1)
    } else {
        format!("{name}: starts launch {} in session {}", agent.launch + 1, agent.session)
    };
    Ok((line, Wish::Restart(agent.key.clone())))
}

pub fn stop_agent(_: &App, agent: &AgentRow) -> Judged {
    if !agent.status.alive() && !agent.may_live {
        return Err(agent.status.word().to_owned());
    }
    let line = format!("{}: ends session {}", agent.key.name, agent.session);
    Ok((line, Wish::StopAgent(agent.key.clone())))
}

pub fn hold_agent(_: &App, agent: &AgentRow) -> Judged {
    match &agent.held {
        Some(held) => return Err(format!("held by {} already", held.by)),
        None if !holdable(agent) => return Err(agent.status.word().to_owned()),
        None => {}
    }
    Ok((format!("{}: session {}", agent.key.name, agent.session), Wish::Hold(agent.key.clone())))
}

pub fn release_agent(_: &App, agent: &AgentRow) -> Judged {
    let Some(held) = &agent.held else { return Err("not held".to_owned()) };
    Ok((format!("{}: held by {}", agent.key.name, held.by), Wish::Release(agent.key.clone())))
}

pub fn type_to(text: &str) -> impl Fn(&App, &AgentRow) -> Judged {
    let text = text.to_owned();
    move |_, agent| {
        if !agent.may_live {
            return Err(format!("{}, no session", agent.status));
        }
        let line = format!("{}: session {}", agent.key.name, agent.session);
        Ok((line, Wish::Type { key: agent.key.clone(), text: text.clone() }))
    }
}

pub fn reason_of<'a>(item: Attention<'a>) -> &'a str {
    match item {
        Attention::Escalation(row) => &row.reason,
        Attention::Suggestion(row) => &row.offer,
    }
}

pub fn judge_item(app: &App, item: Attention<'_>, action: Action, note: &str) -> Judged {
    let of = |ticket: &Option<String>| ticket.as_ref().map(|ticket| format!(" ({ticket})")).unwrap_or_default();
    match (item, action) {
        (Attention::Escalation(row), Action::Acknowledge) if !row.calls(app.time.now) => {
            Err("acknowledged already".to_owned())
        }
        (Attention::Escalation(row), Action::Acknowledge) => {
            Ok((format!("{}{}", row.reason, of(&row.ticket)), Wish::AckEscalation(row.id.clone())))
        }
        (Attention::Escalation(row), Action::Resolve) => {
            let wish = Wish::ResolveEscalation(row.id.clone(), note.to_owned());
            Ok((format!("{}{}", row.reason, of(&row.ticket)), wish))
        }
        (Attention::Suggestion(row), Action::Accept) => {
            let why = format!("{}{}: {}", row.offer, of(&row.ticket), row.reason);
            Ok((why, Wish::AcceptSuggestion(row.id.clone())))
        }
        (Attention::Suggestion(row), Action::Dismiss) => {
            Ok((format!("{}{}", row.offer, of(&row.ticket)), Wish::DismissSuggestion(row.id.clone())))
        }
        (Attention::Suggestion(_), _) => Err("a suggestion".to_owned()),
        (Attention::Escalation(_), _) => Err("an escalation".to_owned()),
    }
}

pub fn change_thread(row: &ThreadRow, change: Change) -> Judged {
    let closed = row.state == ThreadState::Closed;
    match &change {
        Change::Reopen if !closed => return Err("open".to_owned()),
        Change::Reopen => {}
        _ if closed => return Err("closed".to_owned()),
        Change::State(to) if *to == row.state => return Err(format!("{} already", to.word().replace('_', " "))),
        Change::State(to) if !pick::may_become(row, *to) => {
            return Err(format!("{}: not from there", row.state.word().replace('_', " ")));
        }
        Change::Priority(to) if *to == row.priority => return Err(format!("{} already", to.word())),
        Change::Assignee(_, name) if row.assignee.as_ref() == Some(name) => return Err(format!("{name}'s already")),
        Change::State(_) | Change::Priority(_) | Change::Assignee(..) | Change::Close => {}
    }
    let becomes = match &change {
        Change::State(to) => format!(": {}", to.word().replace('_', " ")),
        Change::Priority(to) => format!(": priority {}", to.word()),
        Change::Assignee(_, name) => format!(": to {name}"),
        Change::Close if row.waits() => format!(": {} waits in it and gets no answer", row.speaker()),
        Change::Close | Change::Reopen => String::new(),
    };
    let line = format!("{} ({}){becomes}", cut(&one_line(&row.title), TITLE), row.ticket);
    Ok((line, Wish::Thread(row.thread_id.clone(), change)))
}

//! Which actions make sense now: from it come footer, and what a key may do.

use super::{App, Attention, Overlay, Page, Pane};
use crate::console::action::Action;
use crate::console::keymap::{Binding, Place, rows};
use crate::domain::agent::AgentStatus;
use crate::domain::run::RunStatus;
use crate::domain::thread::ThreadState;
use crate::services::explain::What;
use crate::services::snapshot::{AgentRow, EscalationRow, RunRow};

/// The most keys in a footer.
const FOOTER: usize = 8;

impl App {
    /// The agent that an action is about.
    pub fn target_agent(&self) -> Option<&AgentRow> {
        match (&self.page, self.focus) {
            (Page::Thread(_), _) | (Page::Home, Pane::Forum) => {
                let key = self.thread_page().and_then(|page| {
                    let thread = &page.thread;
                    Some(crate::domain::agent::AgentKey::new(
                        thread.run_id.as_ref()?,
                        thread.workspace.as_ref()?,
                        thread.agent_name.as_ref()?,
                    ))
                });
                let key = key.or_else(|| self.thread()?.agent.clone())?;
                self.snapshot.agent(&key)
            }
            (Page::Home, Pane::Agents | Pane::Live) => self.agent(),
            (Page::Home, Pane::Attention) => self.snapshot.agent(&self.item()?.agent()?),
            (Page::Operator, _) => self.snapshot.agent(self.entry()?.agent()?),
            (Page::Home, Pane::Runs) | (Page::Run(_), _) => None,
        }
    }

    /// The run that an action is about.
    pub fn target_run(&self) -> Option<&RunRow> {
        match (&self.page, self.focus) {
            (Page::Run(_), _) | (Page::Home, Pane::Runs) => self.run(),
            (Page::Home, Pane::Agents | Pane::Live) => self.snapshot.run(&self.agent()?.key.run_id),
            (Page::Home, Pane::Attention) => self.snapshot.run(self.item()?.run_id()?),
            (Page::Operator, _) => self.snapshot.run(self.entry()?.run_id()?),
            (Page::Home, Pane::Forum) | (Page::Thread(_), _) => self.snapshot.run(self.thread()?.run_id.as_ref()?),
        }
    }

    /// What would be explained here.
    pub(super) fn explained(&self) -> Option<What> {
        if self.page == Page::Operator {
            return self.explained_entry();
        }
        if self.about_runs() {
            return self.target_run().map(|run| What::Run(run.run_id.clone()));
        }
        if let Some(call) = self.escalation().filter(|_| self.page == Page::Home) {
            return Some(What::Escalation(call.id.clone()));
        }
        self.target_agent().map(|agent| What::Agent(agent.key.clone()))
    }

    /// Whether runs, not agents, are what a key means here.
    pub(super) fn about_runs(&self) -> bool {
        match self.page {
            Page::Run(_) => true,
            Page::Home => self.focus == Pane::Runs,
            Page::Operator => self.entry().is_some_and(|entry| entry.about_run()),
            Page::Thread(_) => false,
        }
    }

    /// Whether an action makes sense on the selection now.
    pub fn can(&self, action: Action) -> bool {
        if let Some(batch) = self.batch(action) {
            return batch.any();
        }
        let run = |fits: fn(&RunRow) -> bool| self.target_run().is_some_and(fits);
        let agent = |fits: fn(&AgentRow) -> bool| self.target_agent().is_some_and(fits);
        match action {
            Action::Open => self.opens(),
            Action::Reply => self.reply_target().is_some(),
            Action::Explain => self.explained().is_some(),
            Action::Restart => agent(|agent| agent.launch > 0),
            Action::Stop if self.about_runs() => run(stoppable),
            Action::Stop => agent(|agent| agent.status.alive() || agent.may_live),
            Action::Hold => agent(holdable),
            Action::Attach | Action::Type => agent(|agent| agent.may_live),
            Action::Pause => self.about_runs() && run(|run| run.status.at_work()),
            Action::Resume => self.about_runs() && run(resumable),
            Action::Commit | Action::PullRequest | Action::ReviewSync => {
                self.about_runs() && run(|run| run.status == RunStatus::Completed)
            }
            Action::Iterate => self.about_runs() && run(iterable),
            Action::Merge | Action::CloseRun => run(|run| run.status == RunStatus::Completed),
            Action::Accept | Action::Dismiss => {
                self.focus == Pane::Attention && matches!(self.item(), Some(Attention::Suggestion(_)))
            }
            Action::State | Action::Priority | Action::Assign if self.marks_threads() => self.marked_thread().is_some(),
            Action::State | Action::Priority | Action::Assign | Action::CloseThread => {
                self.target_thread().is_some_and(|thread| thread.state != ThreadState::Closed)
            }
            Action::ReopenThread => self.target_thread().is_some_and(|thread| thread.state == ThreadState::Closed),
            Action::Resolve => self.escalation().is_some(),
            Action::Acknowledge => self.escalation().is_some_and(|row| row.calls(self.time.now)),
            Action::NextWaiting => self.waiting() > 0 || self.digest.questions > 0,
            Action::Filter => self.page == Page::Operator || (self.page == Page::Home && self.focus != Pane::Live),
            Action::Mark => self.page == Page::Home && self.focus != Pane::Live,
            Action::SinceLeft => self.seat.left.is_some(),
            Action::Retry | Action::Drop => self.letter().is_some(),
            Action::Back => {
                self.page != Page::Home
                    || self.toasts.iter().any(|toast| toast.error)
                    || self.means_marked()
                    || self.narrowed().is_some()
            }
            Action::NextField => self.composer.as_ref().is_some_and(|composer| composer.height() > 12),
            Action::NextPane
            | Action::PrevPane
            | Action::Pane(_)
            | Action::Left
            | Action::Right
            | Action::Up
            | Action::Down
            | Action::PageUp
            | Action::PageDown
            | Action::First
            | Action::Last
            | Action::Ask
            | Action::AllAgents
            | Action::Operator
            | Action::Mode
            | Action::Help
            | Action::Messages
            | Action::Quit
            | Action::LeaveBehind
            | Action::Suspend
            | Action::Redraw
            | Action::Send
            | Action::Edit
            | Action::KeepDraft
            | Action::Yes
            | Action::No
            | Action::OtherAnswer
            | Action::Take => true,
        }
    }

    /// The selected escalation.
    fn escalation(&self) -> Option<&EscalationRow> {
        match self.item().filter(|_| self.focus == Pane::Attention)? {
            Attention::Escalation(row) => Some(row),
            Attention::Suggestion(_) => None,
        }
    }

    fn opens(&self) -> bool {
        if self.page == Page::Operator {
            return self.entry().is_some_and(|entry| entry.leads_on());
        }
        match self.focus {
            Pane::Runs => self.runs.place().is_some(),
            Pane::Agents => self.agents.place().is_some() && self.layout() != super::Layout::Wide,
            Pane::Attention => self.attention.place().is_some(),
            Pane::Forum => self.thread().is_some(),
            Pane::Live => false,
        }
    }

    /// The keys for the footer: the most useful first.
    pub fn footer(&self) -> Vec<&'static Binding> {
        let place = self.place();
        let fits = |row: &&Binding| match (&self.overlay, row.action) {
            (Some(Overlay::Dialog(dialog)), Action::Yes | Action::Take) => dialog.may(),
            (Some(Overlay::Dialog(dialog)), Action::Merge) => dialog.merge_helps,
            (Some(Overlay::Dialog(dialog)), Action::LeaveBehind) => dialog.also.is_some(),
            (_, action) => self.can(action),
        };
        let mut shown: Vec<&Binding> = rows(place).filter(|row| row.rank > 0).filter(fits).collect();
        shown.sort_by_key(|row| row.rank);
        // Help is always among them: it has the others.
        if shown.len() > FOOTER && place != Place::Text {
            shown.drain(FOOTER - 1..shown.len() - 1);
        }
        shown.truncate(FOOTER);
        shown
    }

    /// Whether somebody would go on working when the screen is left, or is to be looked after: who is down in a run at work
    /// needs it most.
    pub(super) fn anybody_works(&self) -> bool {
        self.snapshot.agents.iter().any(|agent| {
            let down = matches!(agent.status, AgentStatus::Pending | AgentStatus::Dead | AgentStatus::Failed);
            agent.status.alive() || agent.starting || (down && self.run_works(agent))
        })
    }

    fn run_works(&self, agent: &AgentRow) -> bool {
        self.snapshot.run(&agent.key.run_id).is_some_and(|run| run.status.at_work())
    }
}

/// Whether rules may be told to leave it alone, or are told so already.
pub(super) fn holdable(agent: &AgentRow) -> bool {
    let over = matches!(agent.status, AgentStatus::Done | AgentStatus::Stopping | AgentStatus::Stopped);
    agent.held.is_some() || !(over || agent.starting)
}

pub(super) fn stoppable(run: &RunRow) -> bool {
    run.status.may_become(RunStatus::Stopping) || run.status == RunStatus::Stopping
}

fn iterable(run: &RunRow) -> bool {
    run.status.next_commands().contains(&"iterate")
}

pub(super) fn resumable(run: &RunRow) -> bool {
    matches!(run.status, RunStatus::Paused | RunStatus::Failed | RunStatus::Stopped | RunStatus::Planning)
}

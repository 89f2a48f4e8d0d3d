//! What each action does.

use super::lists::Attention;
use super::marks::Batch;
use super::update::step_of;
use super::{App, Overlay, Page, Pane, Pending};
use crate::console::action::Action;
use crate::console::keymap::TABLE;
use crate::console::msg::Effect;
use crate::console::widgets::composer::Purpose;
use crate::console::widgets::dialog::{Ahead, Consequence, Dialog};
use crate::console::widgets::list::Scroll;
use crate::services::handle::{Change, Wish};
use crate::services::snapshot::{AgentRow, EscalationRow, Tab};

impl App {
    pub(super) fn act(&mut self, action: Action, effects: &mut Vec<Effect>) {
        if let Some(step) = step_of(action) {
            return self.navigate(step);
        }
        if let Some(batch) = self.batch(action) {
            return self.act_on_marked(action, batch, effects);
        }
        if !self.can(action) {
            return self.refuse(action);
        }
        match action {
            Action::NextPane => self.look_at(self.focus.step(true)),
            Action::PrevPane => self.look_at(self.focus.step(false)),
            Action::Pane(pane) => self.look_at(pane),
            Action::Left => self.sideways(false),
            Action::Right => self.sideways(true),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::Reply => self.reply(effects),
            Action::Ask => {
                let ticket = self.target_run().or(self.run()).and_then(|run| run.tickets.first().cloned());
                self.compose(Purpose::Ask, &ticket.unwrap_or_default(), effects);
            }
            Action::State | Action::Priority | Action::Assign | Action::CloseThread | Action::ReopenThread => {
                self.change_thread(action, effects);
            }
            Action::Restart => self.ask_restart(),
            Action::Stop => self.ask_stop(),
            Action::Hold => {
                if let Some(agent) = self.target_agent() {
                    let key = agent.key.clone();
                    let wish = if agent.held.is_some() { Wish::Release(key) } else { Wish::Hold(key) };
                    self.wish(wish, effects);
                }
            }
            Action::Pause => self.on_run(Wish::Pause, effects),
            Action::Resume => self.on_run(Wish::Resume, effects),
            Action::Attach => {
                if let Some(agent) = self.target_agent() {
                    effects.push(Effect::Attach(agent.key.clone()));
                }
            }
            Action::Type => {
                if let Some(key) = self.target_agent().map(|agent| agent.key.clone()) {
                    self.compose(Purpose::Type(vec![key]), "", effects);
                }
            }
            Action::Accept => self.on_item(Wish::AcceptSuggestion, effects),
            Action::Dismiss => self.on_item(Wish::DismissSuggestion, effects),
            Action::Acknowledge => self.on_item(Wish::AckEscalation, effects),
            Action::Resolve => {
                if let Some(id) = self.item().map(|item| item.id().to_owned()) {
                    self.compose(Purpose::Note(vec![id]), "", effects);
                }
            }
            Action::CloseRun => {
                self.ask_ahead("Close", "close", |run_id| Wish::Close { run_id, merge: false }, effects)
            }
            Action::Merge => self.ask_ahead("Merge", "merge", Wish::Merge, effects),
            Action::Commit => self.ask_ahead("Commit", "commit", Wish::Commit, effects),
            Action::PullRequest => self.ask_ahead("Pull request for", "push", Wish::PullRequest, effects),
            Action::ReviewSync => self.on_run(Wish::ReviewSync, effects),
            Action::Iterate => {
                if let Some(run_id) = self.target_run().map(|run| run.run_id.clone()) {
                    self.compose(Purpose::Iterate(run_id), "", effects);
                }
            }
            Action::Mark => self.mark(),
            Action::Filter => self.filtering = true,
            Action::Operator => self.open_operator(None),
            Action::SinceLeft => effects.extend(self.seat.left.map(Effect::Since)),
            Action::Mode => self.pick_mode(),
            Action::Retry => self.retry_letter(effects),
            Action::Drop => self.ask_drop(),
            Action::NextWaiting => self.next_waiting(),
            Action::AllAgents => {
                self.all_agents = !self.all_agents;
                self.refresh_agents();
            }
            Action::Explain => self.explain(effects),
            Action::Messages => self.overlay = Some(Overlay::Messages(Scroll::top())),
            Action::Help => self.overlay = Some(Overlay::Help(self.place(), Scroll::top())),
            Action::Quit => self.quit(effects),
            Action::Suspend => {
                self.keep_draft(effects);
                effects.push(Effect::Suspend);
            }
            Action::Redraw => effects.push(Effect::Redraw),
            Action::Send => self.send(effects),
            Action::NextField => {
                if let Some(composer) = &mut self.composer {
                    composer.next_field();
                }
            }
            Action::Edit => self.edit(effects),
            Action::KeepDraft => {
                self.keep_draft(effects);
                self.composer = None;
            }
            Action::Up
            | Action::Down
            | Action::PageUp
            | Action::PageDown
            | Action::First
            | Action::Last
            | Action::Yes
            | Action::No
            | Action::OtherAnswer
            | Action::LeaveBehind
            | Action::Take => {}
        }
    }

    /// Says why a key does nothing here.
    fn refuse(&mut self, action: Action) {
        let name = TABLE.iter().find(|row| row.action == action).map_or("", |row| row.name);
        match action {
            Action::Back | Action::Open | Action::NextField => {}
            Action::NextWaiting => self.say("nothing waits for you"),
            Action::SinceLeft => self.say("you have not been away; metawsm report tells of any time"),
            Action::Acknowledge if self.focus == Pane::Attention => self.say("acknowledged already"),
            Action::Merge | Action::CloseRun | Action::Commit | Action::PullRequest | Action::ReviewSync => {
                self.say(format!("{name}: only a completed run"));
            }
            Action::Iterate if self.about_runs() => {
                let status = self.target_run().map_or("gone", |run| run.status.word());
                self.say(format!("{name}: not while it is {}", status.replace('_', " ")));
            }
            _ if self.means_marked() => self.say(format!("{name}: none of the marked")),
            _ => self.say(format!("{name}: nothing here to do that with")),
        }
    }

    pub(super) fn look_at(&mut self, pane: Pane) {
        self.focus = pane;
        self.go_home();
    }

    /// To the home screen, whatever was opened from where.
    pub(super) fn go_home(&mut self) {
        self.page = Page::Home;
        self.beneath = None;
    }

    /// Among threads the tabs, elsewhere the panes.
    fn sideways(&mut self, forward: bool) {
        if self.focus != Pane::Forum {
            return self.look_at(self.focus.step(forward));
        }
        let at = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0);
        let next = if forward { at + 1 } else { at + Tab::ALL.len() - 1 };
        self.tab = Tab::ALL[next % Tab::ALL.len()];
    }

    fn open(&mut self) {
        if self.page == Page::Operator {
            return self.open_concluded();
        }
        match self.focus {
            Pane::Runs => {
                if let Some(run_id) = self.run().map(|run| run.run_id.clone()) {
                    self.page = Page::Run(run_id);
                    self.scroll = Scroll::top();
                }
            }
            Pane::Agents => self.look_at(Pane::Live),
            Pane::Attention => self.open_cause(),
            Pane::Forum => {
                if let Some(thread_id) = self.thread().map(|thread| thread.thread_id.clone()) {
                    self.open_thread(&thread_id);
                }
            }
            Pane::Live => {}
        }
    }

    /// To what an escalation or suggestion is about.
    fn open_cause(&mut self) {
        let Some(item) = self.item() else { return };
        let (agent, run) = (item.agent(), item.run_id().map(str::to_owned));
        if let Attention::Escalation(EscalationRow { letter: Some(letter), .. }) = item {
            return self.open_operator(Some(*letter));
        }
        let thread = match item {
            Attention::Escalation(row) => row.thread_id.clone(),
            Attention::Suggestion(_) => None,
        };
        match (thread, agent, run) {
            (Some(thread_id), _, _) => self.open_thread(&thread_id),
            (None, Some(key), _) => {
                self.select_agent(&key);
                self.look_at(Pane::Agents);
            }
            (None, None, Some(run_id)) => {
                self.select_run(&run_id);
                self.look_at(Pane::Runs);
            }
            (None, None, None) => {}
        }
    }

    /// One level back; at the top, what is in the way is cleared.
    fn back(&mut self) {
        if let Some(at) = self.toasts.iter().rposition(|toast| toast.error) {
            self.toasts.remove(at);
        } else if self.page == Page::Home && self.means_marked() {
            self.unmark();
        } else if self.page == Page::Home || (self.page == Page::Operator && self.narrowed().is_some()) {
            self.narrowing().clear();
            self.refresh();
        } else {
            self.page = self.beneath.take().unwrap_or(Page::Home);
        }
    }

    fn next_waiting(&mut self) {
        let waiting: Vec<String> = self
            .snapshot
            .queues
            .needs_me
            .rows
            .iter()
            .filter(|row| row.waits())
            .map(|row| row.thread_id.clone())
            .collect();
        let here = self.thread().map(|row| row.thread_id.clone());
        let there = self.page != Page::Home || self.focus == Pane::Forum;
        let at = waiting.iter().position(|id| there && Some(id) == here.as_ref());
        let next = at.map_or(0, |at| (at + 1) % waiting.len().max(1));
        let Some(thread_id) = waiting.get(next).cloned() else { return self.look_at(Pane::Attention) };
        // Over a run's page the agents would be those of that run.
        let reading = matches!(self.page, Page::Thread(_));
        if !reading {
            self.go_home();
        }
        if let Some(run_id) = self.snapshot.thread_row(&thread_id).and_then(|row| row.run_id.clone()) {
            self.select_run(&run_id);
        }
        self.select_thread(Tab::NeedsMe, &thread_id);
        if reading {
            self.focus = Pane::Forum;
            return self.open_thread(&thread_id);
        }
        self.look_at(Pane::Forum);
    }

    /// What is done to many is asked once; what needs words first, after they are written.
    fn act_on_marked(&mut self, action: Action, batch: Batch, effects: &mut Vec<Effect>) {
        if let (Action::Type | Action::Resolve, true, Some(words)) = (action, batch.any(), batch.left_out()) {
            self.say(words);
        }
        let purpose = match action {
            Action::Type if batch.any() => Purpose::Type(batch.keys()),
            Action::Resolve if batch.any() => Purpose::Note(batch.ids()),
            _ => return self.ask_many(action, batch),
        };
        self.compose(purpose, "", effects);
        if let Some(composer) = &mut self.composer {
            composer.of_marked = true;
        }
    }

    fn ask_restart(&mut self) {
        let Some(agent) = self.target_agent() else { return };
        let (name, key) = (agent.key.name.clone(), agent.key.clone());
        let mut lines = vec![format!("agent {name} in {}", agent.key.workspace)];
        if agent.may_live {
            lines.push(format!("ends session {} with everything it started", agent.session));
        }
        lines.push(format!("starts launch {}", agent.launch + 1));
        let then = Consequence::Wish(Wish::Restart(key));
        self.overlay = Some(Overlay::Dialog(Dialog::new(format!("Restart {name}?"), lines, "restart", then)));
    }

    fn ask_stop(&mut self) {
        if !self.about_runs() {
            let Some(agent) = self.target_agent() else { return };
            let lines = vec![session_line(agent), "its worktree stays as it is".to_owned()];
            let then = Consequence::Wish(Wish::StopAgent(agent.key.clone()));
            let title = format!("Stop {}?", agent.key.name);
            self.overlay = Some(Overlay::Dialog(Dialog::new(title, lines, "stop", then)));
            return;
        }
        let Some(run) = self.target_run() else { return };
        let agents = self.snapshot.agents.iter();
        let mut lines: Vec<String> =
            agents.filter(|agent| agent.key.run_id == run.run_id && agent.may_live).map(session_line).collect();
        if lines.is_empty() {
            lines.push("no session is running".to_owned());
        }
        lines.push("its worktrees stay as they are; u resumes it".to_owned());
        let then = Consequence::Wish(Wish::StopRun(run.run_id.clone()));
        let title = format!("Stop {} ({})?", run.run_id, run.tickets.join(", "));
        self.overlay = Some(Overlay::Dialog(Dialog::new(title, lines, "stop", then)));
    }

    /// A question whose consequences have to be looked at first.
    fn ask_ahead(&mut self, verb: &str, yes: &'static str, wish: fn(String) -> Wish, effects: &mut Vec<Effect>) {
        let Some(run) = self.target_run() else { return };
        let title = format!("{verb} {} ({})?", run.run_id, run.tickets.join(", "));
        let wish = wish(run.run_id.clone());
        let token = self.token();
        let mut dialog = Dialog::new(title, Vec::new(), yes, Consequence::Wish(wish.clone()));
        dialog.ahead = Ahead::Looking(token);
        self.overlay = Some(Overlay::Dialog(dialog));
        effects.push(Effect::Preview(token, wish));
    }

    fn on_run(&mut self, wish: fn(String) -> Wish, effects: &mut Vec<Effect>) {
        if let Some(run_id) = self.target_run().map(|run| run.run_id.clone()) {
            self.wish(wish(run_id), effects);
        }
    }

    fn on_item(&mut self, wish: fn(String) -> Wish, effects: &mut Vec<Effect>) {
        if let Some(id) = self.item().map(|item| item.id().to_owned()) {
            self.wish(wish(id), effects);
        }
    }

    /// Why the selection stands as it does is looked up; meanwhile that is said.
    fn explain(&mut self, effects: &mut Vec<Effect>) {
        let Some(what) = self.explained() else { return };
        let token = self.token();
        self.overlay = Some(Overlay::Explained(token, None, Scroll::top()));
        effects.push(Effect::Explain(token, what));
    }

    /// A wish goes out; that it was taken shows at once.
    pub(super) fn wish(&mut self, wish: Wish, effects: &mut Vec<Effect>) {
        let token = self.token();
        self.pending.insert(token, Pending::of(&wish, self.time.up));
        effects.push(Effect::Do(token, wish));
    }
}

pub(super) fn session_line(agent: &AgentRow) -> String {
    format!("ends session {} of {} with everything it started", agent.session, agent.key.name)
}

/// What is said while a wish is carried out.
pub(super) fn under_way(wish: &Wish) -> String {
    match wish {
        Wish::Reply { .. } => "sending the reply".to_owned(),
        Wish::Ask { title, .. } => format!("asking {title}"),
        Wish::Type { key, .. } => format!("typing to {}", key.name),
        Wish::Seen(_) => String::new(),
        Wish::Thread(_, change) => match change {
            Change::State(_) => "changing its state".to_owned(),
            Change::Priority(_) => "changing its priority".to_owned(),
            Change::Assignee(_, name) => format!("assigning to {name}"),
            Change::Close => "closing the thread".to_owned(),
            Change::Reopen => "opening it again".to_owned(),
        },
        Wish::Restart(key) => format!("restarting {}", key.name),
        Wish::Hold(key) => format!("holding {}", key.name),
        Wish::Release(key) => format!("releasing {}", key.name),
        Wish::StopAgent(key) => format!("stopping {}", key.name),
        Wish::StopRun(run_id) => format!("stopping {run_id}"),
        Wish::Pause(run_id) => format!("pausing {run_id}"),
        Wish::Resume(run_id) => format!("resuming {run_id}"),
        Wish::Close { run_id, .. } => format!("closing {run_id}"),
        Wish::Merge(run_id) => format!("merging {run_id}"),
        Wish::Commit(run_id) => format!("committing {run_id}"),
        Wish::ReviewSync(run_id) => format!("asking what reviewers said to {run_id}"),
        Wish::Iterate { run_id, .. } => format!("starting the agents of {run_id} again"),
        Wish::PullRequest(run_id) => format!("handing on {run_id} in a pull request"),
        Wish::AcceptSuggestion(_) => "accepting the suggestion".to_owned(),
        Wish::DismissSuggestion(_) => "dismissing the suggestion".to_owned(),
        Wish::AckEscalation(_) => "acknowledging".to_owned(),
        Wish::ResolveEscalation(_, _) => "resolving".to_owned(),
        Wish::SetMode(mode) => format!("changing the mode to {}", mode.word()),
        Wish::RetryLetter(id) => format!("trying letter {id} again"),
        Wish::DropLetter(id) => format!("dropping letter {id}"),
        Wish::All(wishes) => Wish::together(wishes).0,
    }
}

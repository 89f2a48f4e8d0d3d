//! Changing what a thread is: small menus that show only what is legal now.

use super::{App, Overlay, Page, Pane};
use crate::console::action::Action;
use crate::console::msg::Effect;
use crate::console::widgets::dialog::{Consequence, Dialog};
use crate::console::widgets::picker::{Choice, Picked, Picker};
use crate::domain::actor::ActorType;
use crate::domain::thread::{Priority, ThreadState};
use crate::services::handle::{Change, Wish};
use crate::services::snapshot::ThreadRow;

/// What a thread is now, from wherever it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Identity.
    pub thread_id: String,
    /// Where it stands.
    pub state: ThreadState,
    /// How much it presses.
    pub priority: Priority,
    /// Who has it.
    pub assignee: Option<String>,
    /// Its agent.
    pub agent: Option<String>,
    /// Who waits in it for a human.
    pub waits: Option<String>,
    /// Whether it carries an agent's signals.
    pub control: bool,
}

impl App {
    /// The thread that a key is about.
    pub fn target_thread(&self) -> Option<About> {
        let fits = matches!(self.page, Page::Thread(_)) || (self.page == Page::Home && self.focus == Pane::Forum);
        if let Some(page) = self.thread_page() {
            let thread = &page.thread;
            let who = thread.agent_name.clone().unwrap_or_else(|| thread.opened_by_name.clone());
            return Some(About {
                thread_id: thread.thread_id.clone(),
                state: thread.state,
                priority: thread.priority,
                assignee: thread.assignee_name.clone(),
                agent: thread.agent_name.clone(),
                waits: thread.waits_for_human().then_some(who),
                control: thread.control,
            });
        }
        self.thread().filter(|_| fits).map(about)
    }

    pub(super) fn change_thread(&mut self, action: Action, effects: &mut Vec<Effect>) {
        let marked = self.marked_thread();
        let count = marked.as_ref().map(|(_, count)| *count);
        // Where threads are marked, the one that is only selected is never meant.
        let selected = || self.target_thread().filter(|_| !self.marks_threads());
        let Some(about) = marked.map(|(about, _)| about).or_else(selected) else { return };
        let id = about.thread_id.clone();
        let mut picker = match action {
            Action::State => pick_state(&about),
            Action::Priority => pick_priority(&about),
            Action::Assign => self.pick_assignee(&about),
            Action::CloseThread => return self.close_thread(&about, effects),
            Action::ReopenThread => return self.wish(Wish::Thread(id, Change::Reopen), effects),
            _ => return,
        };
        if let Some(count) = count {
            let what = picker.title.split(" (now").next().unwrap_or_default();
            picker.title = format!("{what}: {count} marked");
            picker.of_marked = true;
        }
        self.overlay = Some(Overlay::Picker(picker));
    }

    /// Whoever waits in it would get no answer: then it asks first.
    fn close_thread(&mut self, about: &About, effects: &mut Vec<Effect>) {
        let wish = Wish::Thread(about.thread_id.clone(), Change::Close);
        let Some(who) = &about.waits else { return self.wish(wish, effects) };
        let lines = vec![
            format!("{who} waits for an answer in it, and is told that it gets none"),
            "o opens it again".to_owned(),
        ];
        let dialog = Dialog::new("Close this thread?", lines, "close it", Consequence::Wish(wish));
        self.overlay = Some(Overlay::Dialog(dialog));
    }

    fn pick_assignee(&self, about: &About) -> Picker {
        let me = self.snapshot.facts.viewer.clone();
        let mut names = vec![(ActorType::Human, me.clone(), "you".to_owned())];
        names.push((ActorType::Operator, "operator".to_owned(), "the operator loop".to_owned()));
        if let Some(agent) = &about.agent {
            names.push((ActorType::Agent, agent.clone(), "its agent".to_owned()));
        }
        let rows = &self.snapshot.queues;
        for name in
            [&rows.all, &rows.assigned].iter().flat_map(|queue| &queue.rows).filter_map(|row| row.assignee.as_ref())
        {
            if names.len() < 12 && !names.iter().any(|(_, known, _)| known == name) {
                names.push((ActorType::Human, name.clone(), String::new()));
            }
        }
        names.retain(|(_, name, _)| about.assignee.as_ref() != Some(name) && !name.is_empty());
        let id = &about.thread_id;
        let choices = names.into_iter().map(|(kind, name, hint)| Choice {
            wish: Wish::Thread(id.clone(), Change::Assignee(kind, name.clone())),
            label: name,
            hint,
        });
        let has = about.assignee.as_ref().map_or(String::new(), |name| format!(" (now {name})"));
        Picker::typed(format!("Assign to{has}"), choices.collect(), somebody_else)
    }

    pub(super) fn picker_key(&mut self, key: &crossterm::event::KeyEvent, effects: &mut Vec<Effect>) {
        let Some(Overlay::Picker(picker)) = &mut self.overlay else { return };
        let of_marked = picker.of_marked;
        match picker.key(key) {
            Picked::Nothing => {}
            Picked::None => self.overlay = None,
            Picked::This(wish) => {
                self.overlay = None;
                // The list may have changed under the menu: it means the thread that it was opened on.
                match (&wish, self.target_thread()) {
                    (Wish::Thread(_, change), _) if of_marked => self.ask_change(change),
                    (Wish::Thread(id, Change::Close), Some(about)) if *id == about.thread_id => {
                        self.close_thread(&about, effects);
                    }
                    (_, _) => self.wish(wish, effects),
                }
            }
        }
    }
}

/// What a row of a list says of its thread.
pub(super) fn about(row: &ThreadRow) -> About {
    let agent = row.agent.as_ref().map(|agent| agent.name.clone());
    About {
        thread_id: row.thread_id.clone(),
        state: row.state,
        priority: row.priority,
        assignee: row.assignee.clone(),
        waits: row.waits().then(|| agent.clone().unwrap_or_else(|| row.opened_by.clone())),
        agent,
        control: row.control,
    }
}

/// Whether a thread may be made this by hand.
pub(super) fn may_become(row: &ThreadRow, to: ThreadState) -> bool {
    states(&about(row)).any(|state| *state == to)
}

/// What it may become by hand. A control thread waits for its open requests: no other state says that, or hides it.
fn states(about: &About) -> impl Iterator<Item = &'static ThreadState> {
    let (control, asks) = (about.control, about.waits.is_some());
    about.state.successors().iter().filter(move |to| match to {
        ThreadState::Closed => true,
        ThreadState::WaitingHuman | ThreadState::WaitingOperator => !control,
        ThreadState::New | ThreadState::Triaged | ThreadState::Answered => !(control && asks),
    })
}

fn pick_state(about: &About) -> Picker {
    let choices = states(about).map(|to| {
        let hint = match to {
            ThreadState::New => "",
            ThreadState::Triaged => "looked at",
            ThreadState::WaitingOperator => "the operator is to act",
            ThreadState::WaitingHuman => "a human is to act",
            ThreadState::Answered => "it has its answer",
            ThreadState::Closed => "over until reopened",
        };
        let change = if *to == ThreadState::Closed { Change::Close } else { Change::State(*to) };
        Choice {
            label: to.word().replace('_', " "),
            hint: hint.to_owned(),
            wish: Wish::Thread(about.thread_id.clone(), change),
        }
    });
    Picker::of(format!("State (now {})", about.state.word().replace('_', " ")), choices.collect())
}

fn pick_priority(about: &About) -> Picker {
    let others = Priority::ALL.into_iter().rev().filter(|priority| *priority != about.priority);
    let choices = others.map(|to| Choice {
        label: to.word().to_owned(),
        hint: if to >= Priority::High { "escalates as soon as it waits" } else { "" }.to_owned(),
        wish: Wish::Thread(about.thread_id.clone(), Change::Priority(to)),
    });
    Picker::of(format!("Priority (now {})", about.priority.word()), choices.collect())
}

/// A name that is not in the list is a person's.
fn somebody_else(model: &Choice, name: &str) -> Choice {
    let Wish::Thread(thread_id, _) = &model.wish else { return model.clone() };
    Choice {
        label: name.to_owned(),
        hint: "somebody else".to_owned(),
        wish: Wish::Thread(thread_id.clone(), Change::Assignee(ActorType::Human, name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_threads_menu_leaves_its_requests_alone() {
        let words = |control: bool, waits: bool| {
            let about = About {
                thread_id: "t".to_owned(),
                state: ThreadState::New,
                priority: Priority::Normal,
                assignee: None,
                agent: Some("a".to_owned()),
                waits: waits.then(|| "a".to_owned()),
                control,
            };
            states(&about).map(|to| to.word()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(true, true), "closed");
        assert_eq!(words(true, false), "triaged answered closed");
        assert_eq!(words(false, true), "triaged waiting_operator waiting_human answered closed");
    }
}

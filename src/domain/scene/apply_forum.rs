//! The fold's half for threads, posts, requests and seen marks.

use super::Scene;
use crate::domain::actor::{Actor, ActorType, Side};
use crate::domain::agent::AgentKey;
use crate::domain::event::{Author, Event, Fact};
use crate::domain::signal::{Signal, SignalType};
use crate::domain::thread::{Post, Request, Thread, ThreadState, fingerprint};

/// Why a request of an older epoch needs no answer.
const EPOCH_OVER: &str = "its epoch is over";

impl Scene {
    pub(super) fn apply_forum(&mut self, event: &Event) {
        if let Fact::AgentRestarted { epoch, .. } = &event.fact {
            self.expire_requests(event, *epoch);
        }
        let Some(thread_id) = event.subject.thread_id.clone() else { return };
        let reopened = matches!(&event.fact, Fact::StateChanged { from_state: ThreadState::Closed, .. });
        match &event.fact {
            Fact::ThreadOpened { .. } => self.open(event, thread_id.clone()),
            Fact::PostAdded { body, wait, author } => {
                let author = writer(event, author.as_ref());
                self.add_post(event, &thread_id, &author, body.clone(), None, None);
                self.spoken(event, &thread_id, &author, *wait);
            }
            Fact::ControlSignal { body, in_reply_to, author } => {
                let author = writer(event, author.as_ref());
                self.signalled(event, &thread_id, &author, body, in_reply_to.clone());
            }
            Fact::Assigned { to_assignee_type, to_assignee_name, .. } => {
                if let Some(thread) = self.threads.touch(&thread_id) {
                    thread.assignee_type = Some(*to_assignee_type);
                    thread.assignee_name = Some(to_assignee_name.clone());
                }
            }
            Fact::StateChanged { to_state, .. } | Fact::ThreadClosed { to_state, .. } => {
                self.change_state(event, &thread_id, *to_state);
                if reopened {
                    self.wait_again(event, &thread_id);
                }
            }
            Fact::PriorityChanged { to_priority, .. } => {
                if let Some(thread) = self.threads.touch(&thread_id) {
                    thread.priority = *to_priority;
                }
            }
            Fact::Seen { viewer, last_seen_event_sequence } => {
                self.seen.put((thread_id, viewer.clone()), *last_seen_event_sequence);
                // Looking at a thread is not news about it: its sequence stays.
                return;
            }
            Fact::RunCreated { .. }
            | Fact::RunTransitioned { .. }
            | Fact::RunSpecChanged { .. }
            | Fact::StepTransitioned { .. }
            | Fact::WorkspaceCreated { .. }
            | Fact::WorkspaceRemoved { .. }
            | Fact::AgentRegistered(_)
            | Fact::AgentTransitioned { .. }
            | Fact::AgentObserved { .. }
            | Fact::AgentExited { .. }
            | Fact::AgentRestarted { .. }
            | Fact::AgentProgressed { .. }
            | Fact::AgentHeld { .. }
            | Fact::AgentReleased { .. }
            | Fact::AgentQuietDeclared { .. }
            | Fact::DocsSeeded { .. }
            | Fact::DocsSynced { .. }
            | Fact::GitCommitted { .. }
            | Fact::GitPrOpened { .. }
            | Fact::GitPrUpdated { .. }
            | Fact::ReviewSynced { .. }
            | Fact::ReviewDispatched { .. }
            | Fact::GitMerged { .. }
            | Fact::OperatorDecided(_)
            | Fact::OperatorAsked(_)
            | Fact::OperatorAdvised(_)
            | Fact::OperatorActed { .. }
            | Fact::OperatorSuggested { .. }
            | Fact::SuggestionSettled { .. }
            | Fact::EscalationOpened { .. }
            | Fact::EscalationNotified { .. }
            | Fact::EscalationAcknowledged { .. }
            | Fact::EscalationResolved { .. }
            | Fact::DeliveryQueued { .. }
            | Fact::DeliveryTyped { .. }
            | Fact::DeliverySubmitted { .. }
            | Fact::DeliveryFailed { .. }
            | Fact::OutboxDead { .. }
            | Fact::OutboxRetried { .. }
            | Fact::OutboxDropped { .. }
            | Fact::PolicyChanged { .. }
            | Fact::LeaseAcquired { .. }
            | Fact::LeaseLost { .. } => return,
        }
        if let Some(thread) = self.threads.touch(&thread_id) {
            thread.last_event_sequence = event.seq;
            thread.updated_at = event.occurred_at;
            if event.actor.kind != ActorType::System {
                thread.last_actor_type = Some(event.actor.kind);
            }
        }
    }

    fn open(&mut self, event: &Event, thread_id: String) {
        let Fact::ThreadOpened { title, body, priority, state, control, wait, epoch, author } = &event.fact else {
            return;
        };
        let author = writer(event, author.as_ref());
        let thread = Thread {
            thread_id: thread_id.clone(),
            ticket: event.subject.ticket.clone().unwrap_or_default(),
            run_id: event.subject.run_id.clone(),
            workspace: event.subject.workspace.clone(),
            agent_name: event.subject.agent_name.clone(),
            title: title.clone(),
            state: *state,
            priority: *priority,
            assignee_type: None,
            assignee_name: None,
            opened_by_type: author.kind,
            opened_by_name: author.name.clone(),
            posts_count: 0,
            last_post_at: None,
            last_post_by_type: None,
            last_post_by_name: None,
            last_event_sequence: event.seq,
            last_actor_type: None,
            opened_at: event.occurred_at,
            updated_at: event.occurred_at,
            closed_at: None,
            control: *control,
            waiting_on: None,
            waiting_since: None,
            blocking: false,
            epoch: *epoch,
            question: wait.then(|| fingerprint(title, body)),
        };
        self.threads.put(thread_id.clone(), thread);
        if !*control && author.kind == ActorType::Agent {
            self.asked.put(thread_id.clone(), fingerprint(title, body));
        }
        if !*control {
            self.add_post(event, &thread_id, &author, body.clone(), None, None);
            self.spoken(event, &thread_id, &author, *wait);
        }
    }

    fn add_post(
        &mut self,
        event: &Event,
        thread_id: &str,
        author: &Actor,
        body: String,
        signal: Option<Signal>,
        in_reply_to: Option<String>,
    ) {
        self.posts.push(Post {
            post_id: post_id(event),
            thread_id: thread_id.to_owned(),
            seq: event.seq,
            author_type: author.kind,
            author_name: author.name.clone(),
            writer: (event.actor != *author).then(|| event.actor.clone()),
            body,
            created_at: event.occurred_at,
            signal,
            in_reply_to,
        });
        if let Some(thread) = self.threads.touch(thread_id) {
            thread.posts_count += 1;
            thread.last_post_at = Some(event.occurred_at);
            thread.last_post_by_type = Some(author.kind);
            thread.last_post_by_name = Some(author.name.clone());
        }
        if author.kind == ActorType::Agent && event.subject.agent_name.as_ref() == Some(&author.name) {
            self.progressed(event);
        }
    }

    /// A word of an agent in the forum is progress of it.
    fn progressed(&mut self, event: &Event) {
        let subject = &event.subject;
        if let (Some(run), Some(workspace), Some(name)) = (&subject.run_id, &subject.workspace, &subject.agent_name)
            && let Some(agent) = self.agents.touch(&AgentKey::new(run, workspace, name))
        {
            agent.last_progress_at = Some(event.occurred_at);
        }
    }

    /// After a plain post the other side has to speak; control threads wait only for open requests.
    fn spoken(&mut self, event: &Event, thread_id: &str, author: &Actor, wait: bool) {
        let Some(side) = author.kind.side() else { return };
        let Some(thread) = self.threads.touch(thread_id).filter(|thread| !thread.control) else { return };
        if thread.waiting_on != Some(side.other()) {
            thread.waiting_on = Some(side.other());
            thread.waiting_since = Some(event.occurred_at);
        }
        if side == Side::Human {
            thread.blocking = false;
        } else if wait {
            thread.blocking = true;
        }
    }

    fn signalled(&mut self, event: &Event, thread_id: &str, author: &Actor, body: &str, in_reply_to: Option<String>) {
        // What decide let through parses; an older or foreign journal entry that does not is kept as plain words.
        let signal: Option<Signal> = serde_json::from_str(body).ok();
        let words = signal.as_ref().map_or_else(|| body.to_owned(), Signal::words);
        self.add_post(event, thread_id, author, words, signal.clone(), in_reply_to.clone());
        let Some(signal) = signal else { return };
        if let Some(asked) = signal.asks() {
            self.asked.put(post_id(event), asked);
        }
        let agent = AgentKey::new(&signal.run_id, &signal.workspace, &signal.agent_name);
        match signal.control_type {
            SignalType::GuidanceRequest => {
                // Asked in an epoch that is over by now: nobody waits for the answer any more.
                let late = self.agents.get(&agent).is_some_and(|agent| signal.epoch < agent.epoch);
                let request = Request {
                    post_id: post_id(event),
                    thread_id: thread_id.to_owned(),
                    run_id: signal.run_id.clone(),
                    workspace: signal.workspace.clone(),
                    agent_name: signal.agent_name.clone(),
                    epoch: signal.epoch,
                    question: signal.question.clone().unwrap_or_default(),
                    opened_at: event.occurred_at,
                    seq: event.seq,
                    settled_by: late.then(|| EPOCH_OVER.to_owned()),
                };
                self.requests.put((thread_id.to_owned(), post_id(event)), request);
            }
            SignalType::GuidanceAnswer => {
                if let Some(request) = in_reply_to.and_then(|id| self.requests.touch(&(thread_id.to_owned(), id))) {
                    request.settled_by = Some(post_id(event));
                }
            }
            SignalType::Completion => {
                if let Some(agent) = self.agents.touch(&agent).filter(|agent| agent.epoch == signal.epoch) {
                    agent.completed_in = Some(signal.epoch);
                }
            }
            SignalType::Validation => self.validated(&agent, &signal),
            SignalType::Progress => {}
        }
        self.await_requests(event, thread_id);
    }

    fn validated(&mut self, agent: &AgentKey, signal: &Signal) {
        let repeats_brief = self
            .runs
            .get(&agent.run_id)
            .and_then(|run| run.brief.as_ref())
            .is_none_or(|brief| signal.done_criteria.as_deref().map(str::trim) == Some(brief.done_criteria.trim()));
        let counts = signal.passed() == Some(true) && repeats_brief;
        if let Some(agent) = self.agents.touch(agent).filter(|agent| agent.epoch == signal.epoch) {
            agent.validated_in = counts.then_some(signal.epoch);
        }
    }

    /// A control thread waits for the human side from its oldest open request on.
    fn await_requests(&mut self, event: &Event, thread_id: &str) {
        let oldest = self.open_requests(thread_id).first().map(|request| request.opened_at);
        if let Some(thread) = self.threads.touch(thread_id).filter(|thread| thread.state != ThreadState::Closed) {
            thread.waiting_on = oldest.map(|_| Side::Human);
            thread.waiting_since = oldest;
            thread.updated_at = event.occurred_at;
        }
    }

    fn change_state(&mut self, event: &Event, thread_id: &str, to: ThreadState) {
        let Some(thread) = self.threads.touch(thread_id) else { return };
        thread.state = to;
        thread.closed_at = None;
        match to {
            ThreadState::Answered | ThreadState::Closed => {
                thread.waiting_on = None;
                thread.waiting_since = None;
                thread.blocking = false;
            }
            ThreadState::WaitingHuman | ThreadState::WaitingOperator if thread.waiting_on != Some(Side::Human) => {
                thread.waiting_on = Some(Side::Human);
                thread.waiting_since = Some(event.occurred_at);
            }
            ThreadState::WaitingHuman | ThreadState::WaitingOperator | ThreadState::New | ThreadState::Triaged => {}
        }
        if to == ThreadState::Closed {
            thread.closed_at = Some(event.occurred_at);
            let reason = format!("thread closed by {}", event.actor);
            let open: Vec<String> =
                self.open_requests(thread_id).iter().map(|request| request.post_id.clone()).collect();
            for post_id in open {
                self.settle_request((thread_id.to_owned(), post_id), &reason);
            }
        }
    }

    /// A thread that is opened again waits as it did before: for the side that was not the last to speak.
    fn wait_again(&mut self, event: &Event, thread_id: &str) {
        let Some(thread) = self.threads.touch(thread_id).filter(|thread| !thread.control) else { return };
        thread.waiting_on = thread.last_post_by_type.and_then(ActorType::side).map(Side::other);
        thread.waiting_since = thread.waiting_on.map(|_| event.occurred_at);
    }

    /// Requests of epochs that are over are closed by metawsm.
    fn expire_requests(&mut self, event: &Event, epoch: u32) {
        let subject = &event.subject;
        let (Some(run), Some(workspace), Some(name)) = (&subject.run_id, &subject.workspace, &subject.agent_name)
        else {
            return;
        };
        let key = AgentKey::new(run, workspace, name);
        // A crash restart keeps the epoch, and with it what was asked.
        if self.agents.get(&key).is_none_or(|agent| agent.epoch >= epoch) {
            return;
        }
        let old: Vec<(String, String)> = self
            .requests
            .iter()
            .filter(|request| request.settled_by.is_none() && request.epoch < epoch)
            .filter(|request| {
                request.run_id == key.run_id && request.workspace == key.workspace && request.agent_name == key.name
            })
            .map(|request| (request.thread_id.clone(), request.post_id.clone()))
            .collect();
        for (thread_id, post_id) in old {
            self.settle_request((thread_id.clone(), post_id), EPOCH_OVER);
            self.await_requests(event, &thread_id);
        }
    }

    fn settle_request(&mut self, key: (String, String), reason: &str) {
        if let Some(request) = self.requests.touch(&key) {
            request.settled_by = Some(reason.to_owned());
        }
    }
}

/// The id of the post that an event adds.
pub fn post_id(event: &Event) -> String {
    format!("{}.post", event.event_id)
}

fn writer(event: &Event, author: Option<&Author>) -> Actor {
    match author {
        Some(author) => Actor::new(author.author_type, author.author_name.clone()),
        None => event.actor.clone(),
    }
}

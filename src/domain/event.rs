//! Events: facts in the past tense, in one envelope everywhere (spec 2.1).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actor::{Actor, ActorType};
use super::adviser::{Advised, Asked};
use super::agent::{AgentSpec, AgentStatus, Exit, Health, WaitingFor};
use super::escalation::{Kind, Severity, SuggestionState};
use super::feedback::Heard;
use super::operator::{Decision, Intent};
use super::plan::{StepSpec, StepStatus};
use super::policy::OperatorMode;
use super::pull_request::{PullRequest, PullRequestState};
use super::run::{Brief, RunSpec, RunStatus};
use super::thread::{Priority, ThreadState};
use super::time::Moment;

mod envelope;

/// The largest payload of an event that is no post, in bytes.
pub const LARGEST_PAYLOAD: usize = 64 * 1024;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The run.
    pub run_id: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: Option<String>,
    /// The agent.
    pub agent_name: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the journal.
    pub seq: i64,
    /// Identity.
    pub event_id: String,
    /// When it happened.
    pub occurred_at: Moment,
    /// What it is about.
    pub subject: Subject,
    /// Who did it.
    pub actor: Actor,
    /// The first event of the command it belongs to.
    pub correlation_id: String,
    /// The event that brought it about.
    pub causation_id: Option<String>,
    /// What happened.
    pub fact: Fact,
}

/// An event that has no place in the journal yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub fact: Fact,
    /// Who did it, where that is not the actor of the command.
    pub actor: Option<Actor>,
}

impl Draft {
    /// A fact about `subject`.
    pub fn new(subject: Subject, fact: Fact) -> Self {
        Self { subject, fact, actor: None }
    }

    /// The same, done by metawsm itself.
    #[must_use]
    pub fn by_system(mut self) -> Self {
        self.actor = Some(Actor::system("metawsm"));
        self
    }
}

/// Whose words a post holds, where that is not who wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Kind.
    pub author_type: ActorType,
    /// Name.
    pub author_name: String,
}

/// One repository's worktree in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worktree {
    /// Name of the repository.
    pub repo: String,
    /// The worktree's directory.
    pub path: String,
    /// Its branch.
    pub branch: String,
    /// The branch it is merged into.
    pub base: String,
    /// The commit it started from.
    pub start: String,
}

/// A file that metawsm itself wrote into a worktree, with the hash of what it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// Path relative to the worktree.
    pub path: String,
    /// git's hash of the content.
    pub blob: String,
}

impl PullRequestFact {
    /// One as it is known.
    pub fn of(known: &PullRequest) -> Self {
        Self {
            repo: known.repo.clone(),
            number: known.number,
            url: known.url.clone(),
            branch: known.branch.clone(),
            base: known.base.clone(),
            head: known.head.clone(),
            title: known.title.clone(),
            draft: known.draft,
            state: known.state,
        }
    }
}

/// A pull request, as events tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestFact {
    /// The repository.
    pub repo: String,
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub url: String,
    /// The branch that was pushed.
    pub branch: String,
    /// The branch it is to be merged into.
    pub base: String,
    /// The commit that was pushed.
    pub head: String,
    /// Its title.
    pub title: String,
    /// Whether it was opened as a draft.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// Where it stands there.
    #[serde(default, skip_serializing_if = "PullRequestState::is_open")]
    pub state: PullRequestState,
}

/// What happened. The JSON of each is a promise: fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event_type", content = "payload")]
pub enum Fact {
    /// A run was written down.
    #[serde(rename = "run.created")]
    RunCreated {
        /// What was asked for.
        spec: RunSpec,
        /// The brief of a bootstrap run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brief: Option<Brief>,
        /// The policy it keeps, without secrets.
        policy: Value,
    },
    /// A run changed its status.
    #[serde(rename = "run.transitioned")]
    RunTransitioned {
        /// Before.
        from: RunStatus,
        /// After.
        to: RunStatus,
        /// Why.
        reason: String,
    },
    /// A dry run became a real one.
    #[serde(rename = "run.spec_changed")]
    RunSpecChanged {
        /// Whether it is a dry run now.
        dry_run: bool,
    },
    /// A step was planned (`from` absent) or changed its status.
    #[serde(rename = "step.transitioned")]
    StepTransitioned {
        /// Its place in the plan.
        index: u32,
        /// Before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<StepStatus>,
        /// After.
        to: StepStatus,
        /// Which attempt it was.
        attempt: u32,
        /// Why it failed, or what it found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What it does, when it was planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<StepSpec>,
    },
    /// The worktrees of a workspace are there.
    #[serde(rename = "workspace.created")]
    WorkspaceCreated {
        /// Its directory.
        path: String,
        /// One a repository.
        worktrees: Vec<Worktree>,
        /// What was tolerated on the way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// A workspace was removed.
    #[serde(rename = "workspace.removed")]
    WorkspaceRemoved {
        /// Its directory.
        path: String,
        /// What it held that is kept: `repo ref sha`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        backups: Vec<String>,
    },
    /// An agent was planned.
    #[serde(rename = "agent.registered")]
    AgentRegistered(AgentSpec),
    /// An agent changed its status.
    #[serde(rename = "agent.transitioned")]
    AgentTransitioned {
        /// Before.
        from: AgentStatus,
        /// After.
        to: AgentStatus,
        /// Why.
        reason: String,
        /// The launch that took place, when it was started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launch: Option<u32>,
    },
    /// What is made of an agent's signals changed.
    #[serde(rename = "agent.observed")]
    AgentObserved {
        /// Health now.
        health: Health,
        /// What it waits for now.
        waiting_for: WaitingFor,
        /// Why.
        reason: String,
        /// The signals behind it.
        evidence: Value,
    },
    /// An agent's program ended.
    #[serde(rename = "agent.exited")]
    AgentExited {
        /// Which launch of it.
        launch: u32,
        /// How.
        exit: Exit,
    },
    /// A new start of an agent is wanted.
    #[serde(rename = "agent.restarted")]
    AgentRestarted {
        /// The launch that is wanted.
        launch: u32,
        /// The epoch it belongs to.
        epoch: u32,
        /// Why.
        reason: String,
        /// Whether it costs nothing of the budget.
        free: bool,
        /// Whether it went with the tmux server: then the restarts it has used stay as they are.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        server_lost: bool,
        /// Whether it begins anew with feedback: by rule that is counted apart, and costs nothing of the budget.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        anew: bool,
        /// No other restart by rule before then; with `server_lost`, no other that costs nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cooldown_until: Option<Moment>,
    },
    /// An agent moved on.
    #[serde(rename = "agent.progressed")]
    AgentProgressed {
        /// What showed it: `signal`, `head`.
        source: String,
        /// In words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// 0–100.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
    },
    /// An agent announced that nothing will be heard of it for a while.
    #[serde(rename = "agent.quiet_declared")]
    AgentQuietDeclared {
        /// Until when; what lies in the past ends an announcement.
        until: Moment,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Somebody has an agent in hand: rules leave it alone.
    #[serde(rename = "agent.held")]
    AgentHeld {
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Rules look after an agent again.
    #[serde(rename = "agent.released")]
    AgentReleased {
        /// Why, where nobody wished just that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Ticket docs were copied into a workspace (a part of them, where they are many).
    #[serde(rename = "docs.seeded")]
    DocsSeeded {
        /// The ticket's directory, relative to the worktree.
        dir: String,
        /// The repository that holds it.
        repo: String,
        /// What was written.
        files: Vec<OwnFile>,
        /// The revision, absent on all parts but the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
    },
    /// Something said in the forum was written into a ticket's changelog.
    #[serde(rename = "docs.synced")]
    DocsSynced {
        /// The ticket's directory, relative to the worktree.
        dir: String,
        /// The repository that holds it.
        repo: String,
        /// The file as it was written, where nobody else has changed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<OwnFile>,
        /// The thread; the event is not about it, for nothing was said there.
        of_thread: String,
        /// The event that was written down.
        of_event: String,
    },
    /// A commit was made on a run's branch.
    #[serde(rename = "git.committed")]
    GitCommitted {
        /// The repository.
        repo: String,
        /// The commit.
        sha: String,
        /// Its first line.
        message: String,
        /// Whether it holds only what metawsm wrote.
        own: bool,
        /// Who is named as its author, where it holds agents' work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        author: Option<String>,
    },
    /// A pull request was opened, or one that was there is known now.
    #[serde(rename = "git.pr_opened")]
    GitPrOpened {
        /// What it is.
        #[serde(flatten)]
        request: PullRequestFact,
        /// On whose behalf, where that is not who did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// What was committed since was pushed to a pull request, or its words were changed.
    #[serde(rename = "git.pr_updated")]
    GitPrUpdated {
        /// What it is now.
        #[serde(flatten)]
        request: PullRequestFact,
        /// On whose behalf, where that is not who did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
    },
    /// Reviewers said something new to a pull request.
    #[serde(rename = "review.synced")]
    ReviewSynced {
        /// The repository.
        repo: String,
        /// The pull request.
        number: u64,
        /// What was said.
        items: Vec<Heard>,
    },
    /// Agents are started again with what reviewers said.
    #[serde(rename = "review.dispatched")]
    ReviewDispatched {
        /// The repository.
        repo: String,
        /// The names of the remarks.
        items: Vec<String>,
    },
    /// A branch was merged into its base.
    #[serde(rename = "git.merged")]
    GitMerged {
        /// The repository.
        repo: String,
        /// The base branch.
        base: String,
        /// Where the base stood.
        old: String,
        /// Where it stands.
        new: String,
        /// The commit of the run's branch that is in it.
        head: String,
        /// `up_to_date`, `fast_forward`, `merge` or `squash`.
        how: String,
    },
    /// A text waits to be typed into an agent's session.
    #[serde(rename = "delivery.queued")]
    DeliveryQueued {
        /// Its identity.
        delivery_id: String,
        /// Whose words they are.
        #[serde(flatten)]
        from: Author,
        /// The words; absent where they are those of a post.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The post.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        post_id: Option<String>,
        /// Whether it goes before others.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        urgent: bool,
    },
    /// It is going to be typed: from here on nobody types it again.
    #[serde(rename = "delivery.typed")]
    DeliveryTyped {
        /// Which.
        delivery_id: String,
        /// Into which launch of the agent.
        launch: u32,
        /// What was seen before.
        evidence: Value,
    },
    /// The agent has it.
    #[serde(rename = "delivery.submitted")]
    DeliverySubmitted {
        /// Which.
        delivery_id: String,
        /// What shows it.
        evidence: Value,
    },
    /// It does not reach the agent any more.
    #[serde(rename = "delivery.failed")]
    DeliveryFailed {
        /// Which.
        delivery_id: String,
        /// Why.
        reason: String,
    },
    /// A side effect was given up.
    #[serde(rename = "outbox.dead")]
    OutboxDead {
        /// Which letter.
        id: i64,
        /// What was to be done.
        topic: String,
        /// What it was about.
        key: String,
        /// How often it was tried.
        attempts: u32,
        /// Why it failed last.
        error: String,
    },
    /// A human wants a side effect tried again.
    #[serde(rename = "outbox.retried")]
    OutboxRetried {
        /// Which letter.
        id: i64,
        /// What is to be done.
        topic: String,
        /// What it is about.
        key: String,
    },
    /// A human wants a side effect left undone.
    #[serde(rename = "outbox.dropped")]
    OutboxDropped {
        /// Which letter.
        id: i64,
        /// What was to be done.
        topic: String,
        /// What it was about.
        key: String,
        /// Its details.
        payload: Value,
    },
    /// What the rules go by is another policy than before.
    #[serde(rename = "policy.changed")]
    PolicyChanged {
        /// Who decides now.
        mode: OperatorMode,
        /// The paths that changed; none the first time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changed: Vec<String>,
        /// The parts that runs follow while they are open.
        followed: Value,
    },
    /// This process supervises now.
    #[serde(rename = "lease.acquired")]
    LeaseAcquired {
        /// Its pid.
        pid: u32,
        /// Its host.
        host: String,
    },
    /// This process supervises no longer.
    #[serde(rename = "lease.lost")]
    LeaseLost {
        /// Its pid.
        pid: u32,
    },
    /// The rules came to another conclusion about a subject than before.
    #[serde(rename = "operator.decided")]
    OperatorDecided(Decision),
    /// A rule was carried out; what it changed follows.
    #[serde(rename = "operator.acted")]
    OperatorActed {
        /// What the rule wanted.
        intent: Intent,
        /// What it was about.
        target: String,
        /// Why.
        reason: String,
    },
    /// A rule offers to a human what it may not do by itself.
    #[serde(rename = "operator.suggested")]
    OperatorSuggested {
        /// Identity of the suggestion.
        suggestion_id: String,
        /// What the rule wants.
        intent: Intent,
        /// What it is about.
        target: String,
        /// Which occurrence.
        cause: String,
        /// Why.
        reason: String,
        /// The facts behind it.
        evidence: Value,
    },
    /// A suggestion waits no longer.
    #[serde(rename = "operator.suggestion_settled")]
    SuggestionSettled {
        /// Which.
        suggestion_id: String,
        /// How.
        to: SuggestionState,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A question about a run is put to the adviser.
    #[serde(rename = "operator.asked")]
    OperatorAsked(Asked),
    /// A question to the adviser ended; where a human is called by its answer, that follows.
    #[serde(rename = "operator.advised")]
    OperatorAdvised(Advised),
    /// A human is called, or one that stands is told of again.
    #[serde(rename = "escalation.opened")]
    EscalationOpened {
        /// Identity.
        escalation_id: String,
        /// What it is about.
        kind: Kind,
        /// How bad it is.
        severity: Severity,
        /// What exactly it is about.
        target: String,
        /// Which occurrence.
        cause: String,
        /// Why.
        reason: String,
        /// The facts behind it.
        evidence: Value,
        /// When it calls again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<Moment>,
        /// Whether it stands already, and is only told what is new.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        update: bool,
    },
    /// A human is called to it again: it was due, and nobody has settled it.
    #[serde(rename = "escalation.notified")]
    EscalationNotified {
        /// Which.
        escalation_id: String,
        /// What it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Kind>,
        /// Whether it is about calls that reach nobody: those are not made of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        about_calls: bool,
        /// How often it has called again, this time too.
        times: u32,
        /// When it calls the next time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<Moment>,
    },
    /// A human knows of it.
    #[serde(rename = "escalation.acknowledged")]
    EscalationAcknowledged {
        /// Which.
        escalation_id: String,
        /// When it calls again; absent: not any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<Moment>,
        /// What was said to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Its cause is gone, or a human settled it.
    #[serde(rename = "escalation.resolved")]
    EscalationResolved {
        /// Which.
        escalation_id: String,
        /// What was said to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A thread was opened with its first post.
    #[serde(rename = "forum.thread.opened")]
    ThreadOpened {
        /// One line.
        title: String,
        /// The first post; empty for a control thread, which begins with its first signal.
        body: String,
        /// How much it presses.
        priority: Priority,
        /// The state it opens in.
        state: ThreadState,
        /// Whether it carries an agent's signals.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        control: bool,
        /// Whether an agent waits for the answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
        /// The asking agent's epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
        /// Whose words they are.
        #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
        author: Option<Author>,
    },
    /// A post was added.
    #[serde(rename = "forum.post.added")]
    PostAdded {
        /// The words.
        body: String,
        /// Whether an agent waits for the answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
        /// Whose words they are.
        #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
        author: Option<Author>,
    },
    /// A typed post was added to a control thread.
    #[serde(rename = "forum.control.signal")]
    ControlSignal {
        /// The control payload as JSON text.
        body: String,
        /// The request it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_reply_to: Option<String>,
        /// Whose words they are.
        #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
        author: Option<Author>,
    },
    /// A thread was assigned.
    #[serde(rename = "forum.assigned")]
    Assigned {
        /// Kind before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_assignee_type: Option<ActorType>,
        /// Name before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_assignee_name: Option<String>,
        /// Kind after.
        to_assignee_type: ActorType,
        /// Name after.
        to_assignee_name: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A thread changed its state.
    #[serde(rename = "forum.state.changed")]
    StateChanged {
        /// Before.
        from_state: ThreadState,
        /// After.
        to_state: ThreadState,
    },
    /// A thread changed its priority.
    #[serde(rename = "forum.priority.changed")]
    PriorityChanged {
        /// Before.
        from_priority: Priority,
        /// After.
        to_priority: Priority,
    },
    /// A thread was closed.
    #[serde(rename = "forum.thread.closed")]
    ThreadClosed {
        /// Before.
        from_state: ThreadState,
        /// After.
        to_state: ThreadState,
    },
    /// A viewer has seen a thread up to a place in the journal.
    #[serde(rename = "forum.seen")]
    Seen {
        /// Who.
        viewer: String,
        /// Up to where.
        last_seen_event_sequence: i64,
    },
}

impl Fact {
    /// Its type and payload, as they stand in the journal.
    pub fn split(&self) -> (String, Value) {
        let whole = serde_json::to_value(self).unwrap_or(Value::Null);
        let kind = whole.get("event_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        (kind, whole.get("payload").cloned().unwrap_or(Value::Null))
    }

    /// Reads type and payload back.
    ///
    /// # Errors
    /// When this program does not know the type, or the payload lacks a field or is no JSON.
    pub fn parse(event_type: &str, payload: &str) -> Result<Self, serde_json::Error> {
        // Read in one go, with no tree of values in between: a rebuild reads a million of them.
        serde_json::from_str(&format!("{{\"event_type\":{},\"payload\":{payload}}}", Value::from(event_type)))
    }

    /// Whether its payload may exceed [`LARGEST_PAYLOAD`], because it holds the words of a post or of a text for a session.
    pub const fn holds_words(&self) -> bool {
        matches!(
            self,
            Self::ThreadOpened { .. }
                | Self::PostAdded { .. }
                | Self::ControlSignal { .. }
                | Self::DeliveryQueued { .. }
        )
    }
}

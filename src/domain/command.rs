//! Commands: wishes, which [`super::decide`] turns into facts or refuses.

use serde::Serialize;
use serde_json::Value;

use super::actor::{Actor, ActorType};
use super::adviser::{Advice, Asked, Rejection, RuleSays};
use super::agent::{AgentKey, AgentSpec, Exit, Health, WaitingFor};
use super::event::{OwnFile, PullRequestFact, Worktree};
use super::feedback::{Dispatch, Reviewed};
use super::operator::Conclusion;
use super::plan::StepSpec;
use super::policy::OperatorMode;
use super::run::{Brief, RunSpec};
use super::signal::Signal;
use super::thread::{Priority, ThreadState};
use super::time::Moment;

/// A wish to change something.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// About a run.
    Run {
        /// Which.
        run_id: String,
        /// What.
        wish: RunWish,
    },
    /// About an agent.
    Agent {
        /// Which.
        key: AgentKey,
        /// What.
        wish: AgentWish,
    },
    /// About a thread.
    Thread {
        /// Which; for a new one the id it gets, for a signal that of the control thread.
        thread_id: String,
        /// The run it belongs to, where the caller knows it.
        run_id: Option<String>,
        /// What.
        wish: ThreadWish,
    },
    /// What a rule concluded about a run, or about what waits outside of every run, with what is to come of it.
    Operator {
        /// The conclusion.
        conclusion: Box<Conclusion>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
        /// The id that a suggestion made by it gets.
        suggestion_id: String,
    },
    /// About a question to the adviser.
    Adviser {
        /// The run it is about.
        run_id: String,
        /// What.
        wish: AdviserWish,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The ids that escalations opened by it get: one about the run, one about the program.
        escalation_ids: [String; 2],
    },
    /// About an escalation.
    Escalation {
        /// Which.
        escalation_id: String,
        /// What.
        wish: EscalationWish,
    },
    /// What was decided about a run is not done: somebody has the run and does not let go.
    Busy {
        /// The run.
        run_id: String,
        /// What is in the way.
        busy: Busy,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
    },
    /// About a suggestion.
    Suggestion {
        /// Which.
        suggestion_id: String,
        /// What.
        wish: SuggestionWish,
    },
    /// What was seen of the tmux server as a whole.
    Tmux {
        /// What.
        news: TmuxNews,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
    },
    /// About a letter of the outbox.
    Outbox {
        /// Which.
        id: i64,
        /// What.
        wish: OutboxWish,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
    },
    /// About a text for an agent's session.
    Delivery {
        /// Which; for a new one the id it gets.
        delivery_id: String,
        /// What.
        wish: DeliveryWish,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
    },
    /// What the rules go by is another policy than the journal was told of.
    PolicyChanged {
        /// Who decides now.
        mode: OperatorMode,
        /// The paths that changed.
        changed: Vec<String>,
        /// The parts that runs follow while they are open.
        followed: Value,
    },
    /// This process took or gave back the supervisor lease.
    Lease {
        /// Taken or given back.
        acquired: bool,
        /// Its pid.
        pid: u32,
        /// Its host.
        host: String,
    },
}

/// What keeps a decision from being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Busy {
    /// What was decided, in words.
    pub decided: String,
    /// Since when it could not be done, as far as this process knows.
    pub since: Moment,
    /// Who has the run, and since when: another holder is another occurrence. None where nobody says that he has it.
    pub holder: Option<(u32, Moment)>,
    /// Who has it, in words.
    pub by: String,
}

/// What was seen of the tmux server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TmuxNews {
    /// Agents went with it and are not back.
    Deaths,
    /// Nothing that went with it is left to bring back.
    Recovered,
    /// It could not be asked, several times in a row.
    Silent {
        /// Since when.
        since: Moment,
        /// How often it was tried.
        tries: u32,
        /// What was said last.
        why: String,
    },
    /// It answers.
    Answers,
}

/// What may be wished of a letter of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxWish {
    /// It is not tried any more.
    GiveUp {
        /// The attempt that failed last.
        attempts: u32,
        /// Why.
        error: String,
    },
    /// Try it again, as if for the first time.
    Retry,
    /// It was done: whatever stood about calls that reach nobody is over.
    Done,
    /// Leave it undone.
    Drop,
}

/// What may be wished of a text for an agent's session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryWish {
    /// Have it typed when its moment comes.
    Queue {
        /// The agent.
        key: AgentKey,
        /// The words.
        text: String,
        /// Whether it goes before others, and into a turn that runs.
        urgent: bool,
    },
    /// It is going to be typed now.
    Typed {
        /// Into which launch.
        launch: u32,
        /// What was seen before.
        evidence: Value,
    },
    /// It was seen to be taken.
    Submitted {
        /// What shows it.
        evidence: Value,
    },
    /// It cannot reach the agent.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was not seen to be taken for long.
    Doubt,
    /// The agent has it from the forum.
    Taken,
}

/// What may be wished of the adviser.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviserWish {
    /// Put a question to it, unless one was put not long ago.
    Ask {
        /// The question.
        asked: Asked,
        /// The shortest time between two questions about a run, in milliseconds.
        interval_ms: u64,
    },
    /// A question ended: judge the answer.
    Told(Box<AdviserTold>),
}

/// How a question to the adviser ended, and what is so now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdviserTold {
    /// The question.
    pub asked: Asked,
    /// The answer, or why it is none.
    pub advice: Result<Advice, Rejection>,
    /// The object that was taken for the answer.
    pub reply: Option<Value>,
    /// Which occurrence it was asked about, of the answer's target.
    pub cause: Option<String>,
    /// What the rules say about the answer's target now.
    pub says: Option<RuleSays>,
    /// Who decides now.
    pub mode: OperatorMode,
    /// Whether the program is not there at all.
    pub missing: bool,
    /// What the program wrote.
    pub transcript: String,
    /// Whether that is not all of it.
    pub truncated: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// Bytes that it wrote.
    pub bytes_out: u64,
}

/// What may be wished of an escalation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalationWish {
    /// A human knows of it.
    Acknowledge {
        /// Silent until then; absent: until it is due as it is, or for good when it is due already.
        until: Option<Moment>,
        /// What is said to it.
        note: Option<String>,
    },
    /// It is due: a human is called again.
    CallAgain {
        /// When the next time.
        due_at: Option<Moment>,
    },
    /// A human has settled it.
    Resolve {
        /// What is said to it.
        note: Option<String>,
    },
}

/// What may be wished of a suggestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionWish {
    /// Do it.
    Accept {
        /// After this restart, no other by rule before then.
        cooldown_until: Option<Moment>,
    },
    /// Do not do it, and do not offer it again.
    Dismiss,
    /// Its cause was seen to be gone, where the journal cannot tell.
    Withdraw {
        /// How.
        reason: String,
    },
}

/// What may be wished of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a process holds a handful of commands at a time")]
pub enum RunWish {
    /// Write it down; a dry run is paused at once, another is ready to be executed.
    Create {
        /// What was asked for.
        spec: RunSpec,
        /// The brief of a bootstrap run.
        brief: Option<Brief>,
        /// The policy it keeps, without secrets.
        policy: Value,
        /// Its agents.
        agents: Vec<(AgentKey, AgentSpec)>,
        /// Its plan.
        steps: Vec<StepSpec>,
    },
    /// Hands off.
    Pause,
    /// Go on, whatever it stopped at.
    Resume,
    /// End its sessions.
    Stop,
    /// Its sessions are ended.
    FinishStop,
    /// The gates were passed.
    BeginClose,
    /// All that closing does is done.
    FinishClose,
    /// Closing did not come through and nothing irreversible happened.
    AbortClose {
        /// Why.
        reason: String,
    },
    /// A step begins.
    BeginStep {
        /// Which.
        index: u32,
    },
    /// A step ended.
    EndStep {
        /// Which.
        index: u32,
        /// How.
        end: StepEnd,
    },
    /// The worktrees of a workspace are there.
    WorkspaceCreated {
        /// Its name.
        name: String,
        /// Its directory.
        path: String,
        /// One a repository.
        worktrees: Vec<Worktree>,
        /// What was tolerated on the way.
        warnings: Vec<String>,
    },
    /// A workspace is gone.
    WorkspaceRemoved {
        /// Its name.
        name: String,
        /// What of it is kept.
        backups: Vec<String>,
    },
    /// Ticket docs are in a workspace, or were added to by metawsm.
    DocsSeeded {
        /// The workspace.
        workspace: String,
        /// The ticket.
        ticket: String,
        /// The repository.
        repo: String,
        /// The ticket's directory relative to the worktree.
        dir: String,
        /// What was written.
        files: Vec<OwnFile>,
        /// The revision.
        revision: String,
    },
    /// Something said in the forum is in a ticket's changelog.
    DocsSynced {
        /// The workspace.
        workspace: String,
        /// The ticket.
        ticket: String,
        /// The repository.
        repo: String,
        /// The ticket's directory relative to the worktree.
        dir: String,
        /// The file, where nobody else has changed it.
        file: Option<OwnFile>,
        /// The thread.
        thread_id: String,
        /// The event that was written down.
        event_id: String,
    },
    /// A commit was made: of metawsm's own files, or of agents' work.
    Committed {
        /// The workspace.
        workspace: String,
        /// The repository.
        repo: String,
        /// The commit.
        sha: String,
        /// Its first line.
        message: String,
        /// Whether it holds only what metawsm wrote.
        own: bool,
        /// Who is named as its author.
        author: Option<String>,
    },
    /// What was committed is in a pull request.
    PullRequest {
        /// The workspace.
        workspace: String,
        /// The pull request as it is now.
        request: PullRequestFact,
        /// On whose behalf, where that is not who did it.
        on_behalf_of: Option<String>,
    },
    /// Begin anew with feedback on what was done: the next epoch of its agents.
    Iterate(Iterate),
    /// What reviewers said to a pull request was asked for.
    ReviewSynced(Reviewed),
    /// It cannot be asked for, again and again.
    ReviewsUnheard {
        /// Why.
        why: String,
        /// Since when.
        since: Moment,
        /// When an escalation opened by it calls again.
        due_at: Option<Moment>,
        /// The id that an escalation opened by it gets.
        escalation_id: String,
    },
    /// A branch was merged into its base.
    Merged {
        /// The workspace.
        workspace: String,
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
        /// How.
        how: String,
    },
}

/// What a run begins anew with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Iterate {
    /// Only the agents of these workspaces; of all where none is named.
    pub workspaces: Vec<String>,
    /// The feedback, shortened to a line.
    pub words: String,
    /// What reviewers said that is among it.
    pub dispatches: Vec<Dispatch>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// Done.
    Done,
    /// Failed, with the reason.
    Failed(String),
    /// Interrupted; it will be begun again.
    Interrupted,
}

/// What may be wished of an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentWish {
    /// A launch took place.
    Started {
        /// Which launch.
        launch: u32,
    },
    /// A launch took place that was not the first.
    StartedAgain {
        /// Which launch.
        launch: u32,
        /// What became of its conversation, in words.
        how: String,
        /// What is to be typed to it, where its program takes no prompt along: the id of the delivery, and the text.
        tell: Option<(String, String)>,
    },
    /// A launch did not take place.
    StartFailed {
        /// Which launch.
        launch: u32,
        /// Why.
        error: String,
    },
    /// End its session.
    Stop,
    /// Its session is ended.
    Stopped,
    /// Its program ended.
    Exited {
        /// Which launch.
        launch: u32,
        /// How.
        exit: Exit,
    },
    /// Its signals were read.
    Observed {
        /// What is made of them.
        health: Health,
        /// What it waits for.
        waiting_for: WaitingFor,
        /// Why.
        reason: String,
        /// The signals.
        evidence: Value,
    },
    /// Start it anew, ending what runs.
    Restart {
        /// Why.
        reason: String,
        /// Whether a rule wishes it, on the agent's budget.
        by_rule: bool,
    },
    /// It moved on.
    Progressed {
        /// What showed it: its own word (`signal`), or a commit (`head`).
        source: String,
        /// In words.
        note: Option<String>,
        /// 0–100.
        percent: Option<u8>,
    },
    /// Have rules leave it alone.
    Hold {
        /// Why.
        reason: Option<String>,
    },
    /// Have rules look after it again.
    Release,
    /// Expect nothing of it for a while.
    Quiet {
        /// Until when; now or before: no longer.
        until: Moment,
        /// Why.
        reason: String,
    },
}

/// What may be wished of a thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadWish {
    /// Open it with a question.
    Ask {
        /// The ticket.
        ticket: String,
        /// The agent it belongs to.
        agent: Option<AgentKey>,
        /// One line.
        title: String,
        /// The question.
        body: String,
        /// How much it presses.
        priority: Priority,
        /// Whether the asker waits for the answer.
        wait: bool,
        /// Whose words they are, where not the caller's.
        author: Option<Actor>,
    },
    /// Add a post.
    Post {
        /// The words.
        body: String,
        /// Whether the author waits for the answer.
        wait: bool,
        /// Whose words they are, where not the caller's.
        author: Option<Actor>,
    },
    /// Answer what waits.
    Answer {
        /// The words.
        body: String,
        /// The request answered; the oldest open one if none is named.
        in_reply_to: Option<String>,
        /// Whose words they are, where not the caller's.
        author: Option<Actor>,
    },
    /// Assign it.
    Assign {
        /// Kind of assignee.
        assignee_type: ActorType,
        /// Name of assignee.
        assignee: String,
        /// Why.
        note: Option<String>,
    },
    /// Change its state.
    State {
        /// The state wished for.
        to: ThreadState,
    },
    /// Change its priority.
    Priority {
        /// The priority wished for.
        to: Priority,
    },
    /// Close it.
    Close,
    /// Open it again.
    Reopen,
    /// Note that a viewer has seen it.
    Seen {
        /// Who.
        viewer: String,
        /// Up to where; to its end if not said.
        seq: Option<i64>,
    },
    /// Add a typed post to an agent's control thread.
    Signal {
        /// The agent's ticket.
        ticket: String,
        /// The payload.
        signal: Signal,
        /// The request answered; the oldest open one if none is named.
        in_reply_to: Option<String>,
        /// Whose words they are, where not the caller's.
        author: Option<Actor>,
    },
}

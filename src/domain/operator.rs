//! The operator's rules: from what is known of a run to a decision per subject (spec 2.7). The lowest number wins.
//!
//! Nothing is remembered here: how long, how often and not before when are facts of the journal, so that the next
//! supervisor concludes what this one would have.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agent::{Agent, AgentKey, AgentStatus};
use super::escalation::Kind;
use super::event::Subject;
use super::plan::{Step, StepStatus, blocked};
use super::policy::{OperatorMode, OperatorPolicy, RuleMode};
use super::run::{Run, RunStatus};
use super::thread::Priority;
use super::time::{Moment, age};

mod keys;
mod rules;
mod waits;
mod work;

pub use keys::{Limited, limits, runner_target};
pub use rules::evaluate;
pub use waits::{calls, in_time};
pub use work::{Queued, RepoSeen, cause_word, failed, repo_of, repo_target, stands as work_stands, work};

/// What a rule wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Call a human to a question.
    EscalateGuidance,
    /// Call a human to a screen that waits for a key, or shows a limit.
    EscalateInput,
    /// Start an agent again.
    AutoRestart,
    /// Call a human to an agent or step that nothing starts again.
    EscalateBlocked,
    /// Stop a run of which nothing lives.
    AutoStopStale,
    /// Call a human to a thread that has waited for too long, or presses.
    EscalateSla,
    /// Call a human to a failed run.
    EscalateFailed,
    /// Commit what agents left uncommitted in a completed run.
    CommitReady,
    /// Hand on in a pull request what a completed run has committed.
    PrReady,
    /// Have the agents begin anew with what reviewers said.
    ReviewFeedbackReady,
    /// Forget the restarts of an agent that has been well for long; no rule of the table, but done like one.
    ResetRestarts,
}

impl Intent {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::EscalateGuidance,
        Self::EscalateInput,
        Self::AutoRestart,
        Self::EscalateBlocked,
        Self::AutoStopStale,
        Self::EscalateSla,
        Self::EscalateFailed,
        Self::CommitReady,
        Self::PrReady,
        Self::ReviewFeedbackReady,
        Self::ResetRestarts,
    ];

    /// The word in JSON, in the policy and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::EscalateGuidance => "escalate_guidance",
            Self::EscalateInput => "escalate_input",
            Self::AutoRestart => "auto_restart",
            Self::EscalateBlocked => "escalate_blocked",
            Self::AutoStopStale => "auto_stop_stale",
            Self::EscalateSla => "escalate_sla",
            Self::EscalateFailed => "escalate_failed",
            Self::CommitReady => "commit_ready",
            Self::PrReady => "pr_ready",
            Self::ReviewFeedbackReady => "review_feedback_ready",
            Self::ResetRestarts => "reset_restarts",
        }
    }

    /// Its number in the table of rules; the lowest wins.
    pub const fn rule(self) -> u8 {
        match self {
            Self::ResetRestarts => 0,
            Self::EscalateGuidance => 1,
            Self::EscalateInput => 2,
            Self::AutoRestart => 3,
            Self::EscalateBlocked => 4,
            Self::AutoStopStale => 5,
            Self::EscalateSla => 6,
            Self::EscalateFailed => 7,
            Self::CommitReady => 8,
            Self::PrReady => 9,
            Self::ReviewFeedbackReady => 10,
        }
    }

    /// Whether it only calls a human and does nothing itself.
    pub const fn only_calls(self) -> bool {
        match self {
            Self::EscalateGuidance
            | Self::EscalateInput
            | Self::EscalateBlocked
            | Self::EscalateSla
            | Self::EscalateFailed => true,
            Self::AutoRestart
            | Self::AutoStopStale
            | Self::CommitReady
            | Self::PrReady
            | Self::ReviewFeedbackReady
            | Self::ResetRestarts => false,
        }
    }

    /// Whether it is about the work in a repository of a completed run.
    pub const fn hands_on_work(self) -> bool {
        matches!(self, Self::CommitReady | Self::PrReady | Self::ReviewFeedbackReady)
    }
}

/// What comes of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is done.
    Act,
    /// It is offered to a human.
    Suggest,
    /// A human is called.
    Escalate,
    /// Nothing, for now.
    Nothing,
}

impl Action {
    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Suggest => "suggest",
            Self::Escalate => "escalate",
            Self::Nothing => "nothing",
        }
    }
}

/// A rule that was considered for the same subject and did not fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// Its intent.
    pub intent: Intent,
    /// Why it did not fire.
    pub why_not: String,
}

/// What the rules concluded about one subject, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What exactly it is about within its run: `agent:<workspace>/<name>`, `run`, `step:<index>`, …
    pub target: String,
    /// Which occurrence: a second death is another cause.
    pub cause: String,
    /// The number of the rule.
    pub rule: u8,
    /// What the rule wants.
    pub intent: Intent,
    /// What comes of it.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// The facts behind it.
    pub evidence: Value,
    /// What else was considered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
    /// When it will be acted on, where that is not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Moment>,
    /// After this restart, no other by rule before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_until: Option<Moment>,
}

impl Decision {
    /// Whether it says the same about its subject as an earlier one.
    pub fn same_as(&self, earlier: &Self) -> bool {
        self.intent == earlier.intent
            && self.action == earlier.action
            && self.cause == earlier.cause
            && self.due_at == earlier.due_at
    }
}

/// A decision with what it is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conclusion {
    /// What its events are about.
    pub about: Subject,
    /// The decision.
    pub decision: Decision,
    /// The escalation that goes with it, and when that calls again.
    pub call: Option<(Kind, Option<Moment>)>,
    /// When another call that comes of it calls again: that it was offered again and again and not done.
    pub call_again: Option<Moment>,
}

/// A question that waits for a human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its run; none where it was asked outside of every run.
    pub run_id: Option<String>,
    /// Its thread.
    pub thread_id: String,
    /// The request's post in a control thread.
    pub post_id: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// The asking agent's workspace.
    pub workspace: Option<String>,
    /// The asking agent.
    pub agent: Option<String>,
    /// What is asked.
    pub text: String,
    /// Since when it waits.
    pub since: Moment,
}

/// A thread that waits for a human, whether or not an agent stands still for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What waits.
    pub question: Question,
    /// How much it presses.
    pub priority: Priority,
}

/// What differs in a worktree and is committed nowhere, metawsm's own writing aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dirt {
    /// Tells it from another change.
    pub print: String,
    /// How many files differ.
    pub files: usize,
    /// The first of them, by name.
    pub first: Vec<String>,
}

/// What is committed on a run's branch and neither in its base nor in a pull request, metawsm's own commits aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ahead {
    /// How many commits.
    pub commits: usize,
    /// The newest of them.
    pub head: String,
    /// The pull request in which earlier ones are.
    pub request: Option<u64>,
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub struct Sight<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its agents.
    pub agents: &'a [Agent],
    /// Its steps.
    pub steps: &'a [Step],
    /// Its questions that wait for a human while an agent stands still.
    pub questions: &'a [Question],
    /// Its threads that wait for a human, those of the questions among them.
    pub waiting: &'a [Waiting],
    /// Agents whose progress is overdue too, as far as that is known.
    pub overdue: &'a [AgentKey],
}

/// The numbers and switches that the rules go by.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Who decides.
    pub mode: OperatorMode,
    /// What a rule may do, by intent.
    pub rules: BTreeMap<String, RuleMode>,
    /// Time between two evaluations.
    pub interval: Duration,
    /// Evaluations an agent must be unhealthy before a rule acts.
    pub confirmations: u32,
    /// The wait before the second restart; doubled with each.
    pub cooldown: Duration,
    /// Unbroken health after which restarts are forgotten.
    pub healthy_reset: Duration,
    /// How long an agent may wait for a key before a human is called.
    pub input_wait: Duration,
    /// Time without a living agent after which a run is stopped; zero is never.
    pub stale_age: Duration,
    /// When an escalation calls again, and how long a thread may wait.
    pub call_again: Duration,
    /// Since when the clock is known to have gone evenly: what one told that was set back since is counted from then.
    pub even_since: Moment,
}

impl Measure {
    /// The measure of a policy; `mode` where the process was given one.
    pub fn of(policy: &OperatorPolicy, sla_minutes: u32, input_seconds: u32, mode: Option<OperatorMode>) -> Self {
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        Self {
            mode: mode.unwrap_or(policy.llm.mode),
            rules: policy.rules.clone(),
            interval: seconds(policy.interval_seconds),
            confirmations: policy.unhealthy_confirmations,
            cooldown: seconds(policy.restart_cooldown_seconds),
            healthy_reset: seconds(policy.healthy_reset_seconds),
            input_wait: seconds(input_seconds),
            stale_age: seconds(policy.stale_run_age_seconds),
            call_again: seconds(sla_minutes.saturating_mul(60)),
            even_since: Moment::default(),
        }
    }

    /// The end of a span that is at most `longest` long. One that lies further ahead began by a clock that was set back
    /// since: to wait for it would be to wait for that clock, so that it is waited for once more from when it was set.
    pub(super) fn attainable(&self, until: Moment, longest: Duration, now: Moment) -> Moment {
        if until.minus(longest).is_of_another_clock(now) { self.even_since.plus(longest) } else { until }
    }

    /// What comes of this intent where its rule fires; `None` when the rule is switched off.
    ///
    /// An escalation is only a call and executes nothing: `assist` and `suggest` leave it as it is.
    pub fn action(&self, intent: Intent) -> Option<Action> {
        let mode = match (self.rules.get(intent.word()), self.mode) {
            (Some(rule), _) => *rule,
            (None, OperatorMode::Off | OperatorMode::Auto) => RuleMode::Act,
            (None, OperatorMode::Assist) => RuleMode::Suggest,
        };
        match mode {
            RuleMode::Never => None,
            RuleMode::Act | RuleMode::Suggest if intent.only_calls() => Some(Action::Escalate),
            RuleMode::Act => Some(Action::Act),
            RuleMode::Suggest => Some(Action::Suggest),
        }
    }

    /// When an escalation that is opened now calls again.
    pub fn again(&self, now: Moment) -> Option<Moment> {
        (!self.call_again.is_zero()).then(|| now.plus(self.call_again))
    }

    /// How long after restart number `used` no other takes place by rule.
    pub fn cooldown_after(&self, used: u32) -> Duration {
        self.cooldown * 2_u32.pow(used.saturating_sub(1).min(4))
    }
}

/// The target of what concerns an agent.
pub fn agent_target(key: &AgentKey) -> String {
    format!("agent:{}/{}", key.workspace, key.name)
}

/// The target of what concerns a run as a whole.
pub const RUN_TARGET: &str = "run";

/// The target of what concerns a step.
pub fn step_target(index: u32) -> String {
    format!("step:{index}")
}

/// The target of a question.
pub fn question_target(thread_id: &str, post_id: Option<&str>) -> String {
    match post_id {
        Some(post) => format!("request:{post}"),
        None => format!("thread:{thread_id}"),
    }
}

/// Which life of an agent, and since when it is as it is, or is the rules' business: a second death is another
/// occurrence, and so is one that somebody had in hand and gave back.
pub fn agent_cause(agent: &Agent) -> String {
    let since = agent.released_at.map_or(agent.since, |released| released.max(agent.since));
    format!("launch {} {} since {since}", agent.launch, agent.status)
}

/// The part of a cause by which offers are of one thing: of an agent its launch, whatever became of that meanwhile.
pub fn occurrence(intent: Intent, cause: &str) -> &str {
    let of_launch = cause.strip_prefix("launch ").filter(|_| intent == Intent::AutoRestart);
    match of_launch.and_then(|rest| rest.find(' ')) {
        Some(end) => &cause[.."launch ".len() + end],
        None => cause,
    }
}

/// Whether an agent is down, or hangs, and that is the rules' business: no start of it is due, and nobody has it in hand.
pub fn is_unhealthy(agent: &Agent) -> bool {
    let bad = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed | AgentStatus::Stalled);
    bad && agent.launch > 0 && !agent.start_due() && agent.held.is_none()
}

/// Since when nothing of a run lives, if nothing does, nothing is about to, and nobody has an agent of it in hand; `None`
/// too before anything lived.
pub fn lifeless_since(run: &Run, agents: &[&Agent], steps: &[&Step]) -> Option<Moment> {
    let retries = run.spec.step_retries;
    let goes_on = steps.iter().any(|step| match step.status {
        StepStatus::Running => true,
        StepStatus::Pending => !blocked(step, steps, retries),
        StepStatus::Failed => !step.given_up(retries),
        StepStatus::Done | StepStatus::Skipped => false,
    });
    if goes_on || agents.iter().any(|agent| agent.status.alive() || agent.start_due() || agent.held.is_some()) {
        return None;
    }
    agents.iter().map(|agent| agent.since).max()
}

/// Which failure of a run: the last thing that ended in it. A run that goes on and fails again fails at another.
pub fn failure_cause(agents: &[&Agent], steps: &[&Step]) -> String {
    let ended = steps.iter().filter_map(|step| step.finished_at);
    let last = agents.iter().map(|agent| agent.since).chain(ended).max().unwrap_or_default();
    format!("at {last}")
}

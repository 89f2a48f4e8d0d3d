//! Rules 8 and on of spec 2.7: what agents left in the worktrees of a completed run, and what reviewers said to it. What
//! is seen there comes from git, so that it is shown to the rules as it was at the last look.

use std::time::Duration;

use super::rules::Found;
use super::{
    Action, Ahead, Conclusion, Decision, Dirt, Intent, Kind, Measure, Moment, OperatorMode, RuleMode, Run, RunStatus,
    Subject, Value, json,
};
use crate::domain::escalation::{Escalation, Suggestion, SuggestionState};
use crate::domain::feedback::remarks;
use crate::domain::policy::{GitPrPolicy, ReviewMode};
use crate::domain::scene::LastDecision;

/// The target of what concerns one repository of a workspace.
pub fn repo_target(workspace: &str, repo: &str) -> String {
    format!("repo:{workspace}/{repo}")
}

/// Workspace and repository that a target means.
pub fn repo_of(target: &str) -> Option<(&str, &str)> {
    target.strip_prefix("repo:")?.rsplit_once('/')
}

/// A repository of a completed run as it was last looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct RepoSeen {
    /// Its workspace.
    pub workspace: String,
    /// Its name.
    pub repo: String,
    /// What is not committed in it.
    pub dirt: Option<Dirt>,
    /// What is not in a pull request, where one can be made.
    pub ahead: Option<Ahead>,
    /// What reviewers said that no agent was told of, where anybody listens to them.
    pub queued: Option<Queued>,
    /// What was decided about it last: there it stands whether it was tried in vain.
    pub last: Option<Decision>,
}

impl RepoSeen {
    /// Whether nothing of it concerns a rule.
    pub const fn is_quiet(&self) -> bool {
        self.dirt.is_none() && self.ahead.is_none() && self.queued.is_none()
    }
}

/// What reviewers said to the pull request of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// How much.
    pub count: usize,
    /// How much of it rules may put to agents.
    pub trusted: usize,
    /// How often agents there have begun anew by rule since a human did something about them, and may at most.
    pub anew: (u32, u32),
    /// Who said the first of it, and where.
    pub first: Vec<String>,
    /// It is another one when something else is said.
    pub print: String,
}

/// What the rules conclude about the repositories of a run, as far as the policy lets them go with commits at all.
pub fn work(run: &Run, repos: &[RepoSeen], policy: &GitPrPolicy, measure: &Measure, now: Moment) -> Vec<Conclusion> {
    if run.status != RunStatus::Completed || run.spec.dry_run || policy.mode == OperatorMode::Off {
        return Vec::new();
    }
    let look = Look { run, policy, measure, now };
    let of = |repo| look.commit(repo).or_else(|| look.request(repo)).or_else(|| look.feedback(repo));
    repos.iter().filter_map(of).collect()
}

impl Measure {
    /// Work is handed on without a human only where the rule and the mode of commits, or of reviews, both say so.
    fn hands_on(&self, intent: Intent, policy: &GitPrPolicy) -> Option<Action> {
        let auto = match intent {
            Intent::ReviewFeedbackReady => policy.review_feedback.mode == ReviewMode::Auto,
            _ => policy.mode == OperatorMode::Auto,
        };
        match self.rules.get(intent.word()) {
            Some(RuleMode::Never) => None,
            Some(RuleMode::Act) if auto => Some(Action::Act),
            Some(RuleMode::Act | RuleMode::Suggest) | None => Some(Action::Suggest),
        }
    }
}

struct Look<'a> {
    run: &'a Run,
    policy: &'a GitPrPolicy,
    measure: &'a Measure,
    now: Moment,
}

impl Look<'_> {
    /// Rule 8.
    fn commit(&self, seen: &RepoSeen) -> Option<Conclusion> {
        let dirt = seen.dirt.as_ref()?;
        let more = dirt.files.saturating_sub(dirt.first.len());
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let files = if dirt.files == 1 { "one file is".to_owned() } else { format!("{} files are", dirt.files) };
        let reason = format!("{files} not committed in {}: {}{tail}", seen.repo, dirt.first.join(", "));
        let evidence = json!({ "signal": "worktree", "source": "git", "files": dirt.files, "first": dirt.first });
        self.conclude(seen, Intent::CommitReady, cause(Intent::CommitReady, &dirt.print), reason, evidence)
    }

    /// Rule 9: all is committed, and not all of it is in a pull request.
    fn request(&self, seen: &RepoSeen) -> Option<Conclusion> {
        let ahead = seen.ahead.as_ref().filter(|_| seen.dirt.is_none())?;
        let commits = if ahead.commits == 1 { "one commit".to_owned() } else { format!("{} commits", ahead.commits) };
        let verb = if ahead.commits == 1 { "is" } else { "are" };
        let whose = match ahead.request {
            Some(number) => format!("not in pull request #{number} yet"),
            None => "in no pull request".to_owned(),
        };
        let reason = format!("{commits} of {} {verb} {whose}", seen.repo);
        let evidence = json!({ "signal": "branch", "source": "git", "commits": ahead.commits, "head": ahead.head });
        self.conclude(seen, Intent::PrReady, cause(Intent::PrReady, &ahead.head), reason, evidence)
    }

    /// Rule 10.
    fn feedback(&self, seen: &RepoSeen) -> Option<Conclusion> {
        let queued = seen.queued.as_ref()?;
        let count = remarks(queued.count);
        let more = queued.count.saturating_sub(queued.first.len());
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let reason = format!(
            "reviewers made {count} on {} that no agent was told of: {}{tail}",
            seen.repo,
            queued.first.join(", ")
        );
        let evidence =
            json!({ "signal": "reviews", "source": "journal", "remarks": queued.count, "first": queued.first });
        let (intent, (times, most)) = (Intent::ReviewFeedbackReady, queued.anew);
        let why_not = if times >= most {
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            Some(format!("agents have begun anew {times} by rule since a human did something about it"))
        } else {
            (queued.trusted == 0).then(|| "of nobody who may write to the repository".to_owned())
        };
        let cause = cause(intent, &queued.print);
        let acts = self.measure.hands_on(intent, self.policy) == Some(Action::Act);
        let strangers = queued.count.saturating_sub(queued.trusted);
        let reason = match strangers {
            0 => reason,
            _ if !acts || why_not.is_some() => reason,
            _ => format!("{reason}; {} of strangers not put to agents by rule", remarks(strangers)),
        };
        match why_not.filter(|_| acts) {
            // Reviews by programs, or answers of the agents themselves, would have them begin anew for ever.
            Some(why) => {
                let (about, target) = (about(self.run, seen), repo_target(&seen.workspace, &seen.repo));
                let reason = format!("{reason}; not done by rule: {why}");
                let found = Found { about, target, cause, reason, evidence, considered: Vec::new() };
                Some(found.decide(intent, Action::Suggest))
            }
            None => self.conclude(seen, intent, cause, reason, evidence),
        }
    }

    fn conclude(
        &self,
        seen: &RepoSeen,
        intent: Intent,
        cause: String,
        reason: String,
        evidence: Value,
    ) -> Option<Conclusion> {
        let action = self.measure.hands_on(intent, self.policy)?;
        let (about, target) = (about(self.run, seen), repo_target(&seen.workspace, &seen.repo));
        let found = Found { about, target, cause, reason, evidence, considered: Vec::new() };
        let in_vain = seen
            .last
            .as_ref()
            .filter(|last| last.intent == intent && last.action == Action::Escalate && last.cause == found.cause);
        let rests = |last: &&Decision| action == Action::Act && last.due_at.is_none_or(|due| due > self.now);
        Some(match in_vain.filter(rests) {
            Some(last) => {
                let due_at = last.due_at;
                let mut again = failed(found.decide(intent, action), &last.reason, self.measure, self.now);
                again.decision.due_at = due_at;
                again
            }
            None => found.decide(intent, action),
        })
    }
}

/// Which occurrence: the kind shows in its first word.
fn cause(intent: Intent, print: &str) -> String {
    format!("{} {print}", cause_word(intent))
}

/// The first word of the causes of an intent that hands on work.
pub const fn cause_word(intent: Intent) -> &'static str {
    match intent {
        Intent::PrReady => "head",
        Intent::ReviewFeedbackReady => "feedback",
        _ => "change",
    }
}

/// What was tried in vain is tried again after this where humans are not called again.
const TRY_AGAIN: Duration = Duration::from_secs(30 * 60);

/// The same where it was tried and did not come through: a human is called, and it is tried again when they are called
/// again, or when it is another change.
pub fn failed(mut conclusion: Conclusion, why: &str, measure: &Measure, now: Moment) -> Conclusion {
    conclusion.decision.action = Action::Escalate;
    why.clone_into(&mut conclusion.decision.reason);
    conclusion.decision.due_at = measure.again(now).or(Some(now.plus(TRY_AGAIN)));
    conclusion.call = Some((Kind::NotActed, measure.again(now)));
    conclusion
}

/// Whether a decision about a worktree still stands: its offer is open, or the call to it. Doing it takes its time, and is
/// told when it is over.
pub fn stands(run: &Run, last: &LastDecision, offers: &[Suggestion], calls: &[Escalation]) -> bool {
    let decision = &last.decision;
    let offered = |offer: &Suggestion| {
        (&offer.target, &offer.cause, offer.intent) == (&decision.target, &decision.cause, decision.intent)
            && offer.state == SuggestionState::Open
    };
    let called =
        |call: &Escalation| call.stands() && (&call.target, &call.cause) == (&decision.target, &decision.cause);
    match decision.action {
        Action::Suggest => offers.iter().any(offered),
        Action::Escalate => calls.iter().any(called),
        Action::Act => run.updated_at <= last.at,
        Action::Nothing => false,
    }
}

fn about(run: &Run, seen: &RepoSeen) -> Subject {
    Subject {
        run_id: Some(run.id().to_owned()),
        ticket: run.workspace(&seen.workspace).map(|workspace| workspace.ticket.clone()),
        workspace: Some(seen.workspace.clone()),
        ..Subject::default()
    }
}

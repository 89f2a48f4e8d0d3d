//! What is true of the repositories in the simulated week of rules 8 to 10, kept beside what the journal says: what is in
//! each worktree, what was pushed, and what reviewers said to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeSet;

use metawsm::domain::event::PullRequestFact;
use metawsm::domain::feedback::{FeedbackStatus, Heard, Remark, Source};
use metawsm::domain::operator::{Action, Ahead, Dirt, Intent, Measure, Queued, RepoSeen};
use metawsm::domain::policy::{GitPrPolicy, OperatorMode, Policy, ReviewMode, RuleMode};
use metawsm::domain::pull_request::PullRequestState;

use crate::core_world::measure;

/// So many new remarks are taken at one sync.
const NEW_AT_ONCE: usize = 4;
/// Nobody listens to it.
pub const IGNORED: &str = "lint";

pub const KINDS: [Intent; 3] = [Intent::CommitReady, Intent::PrReady, Intent::ReviewFeedbackReady];

pub fn kind(intent: Intent) -> usize {
    KINDS.iter().position(|one| *one == intent).unwrap()
}

/// How a run is to be looked after, and what each rule may do by that, written down by hand.
pub struct Setting {
    pub policy: GitPrPolicy,
    pub measure: Measure,
    pub may: [Option<Action>; 3],
}

fn setting(
    mode: OperatorMode,
    rules: [Option<RuleMode>; 3],
    (git, reviews): (OperatorMode, ReviewMode),
    may: [Option<Action>; 3],
) -> Setting {
    let mut policy = Policy::default().git_pr;
    policy.mode = git;
    policy.review_feedback.mode = reviews;
    let rules = KINDS.iter().zip(rules).filter_map(|(kind, rule)| Some((kind.word().to_owned(), rule?)));
    Setting { policy, measure: Measure { rules: rules.collect(), ..measure(mode) }, may }
}

pub fn settings() -> Vec<Setting> {
    use OperatorMode::{Assist, Auto, Off};
    use ReviewMode::{Assist as Asked, Auto as Unasked};
    let [act, suggest, never] = [RuleMode::Act, RuleMode::Suggest, RuleMode::Never].map(Some);
    let (acts, offers) = (Some(Action::Act), Some(Action::Suggest));
    vec![
        setting(Off, [None; 3], (Auto, Unasked), [offers; 3]),
        setting(Off, [act; 3], (Auto, Unasked), [acts; 3]),
        setting(Auto, [act, never, act], (Auto, Unasked), [acts, None, acts]),
        setting(Auto, [never, act, suggest], (Auto, Unasked), [None, acts, offers]),
        setting(Assist, [act; 3], (Assist, Unasked), [offers, offers, acts]),
        setting(Off, [act; 3], (Auto, Asked), [acts, acts, offers]),
        setting(Auto, [act; 3], (Off, Unasked), [None; 3]),
    ]
}

/// Something a reviewer said.
pub struct Said {
    pub number: u64,
    pub id: u64,
    source: Source,
    author: &'static str,
    /// Of somebody who may not write to the repository: no rule puts it to agents.
    pub stranger: bool,
    pub dismissed: bool,
    /// Each time other words.
    pub wording: u32,
    /// The wordings that agents were told of.
    pub told: BTreeSet<u32>,
    /// Where it is to stand, and in which words, once it was heard.
    pub stands: Option<(FeedbackStatus, u32)>,
}

impl Said {
    fn listened_to(&self) -> bool {
        self.author != IGNORED && !self.dismissed
    }

    fn in_words(&self, wording: u32) -> Remark {
        Remark {
            source: self.source,
            source_id: self.id,
            author: self.author.into(),
            body: format!("wording {wording}"),
            path: None,
            line: None,
            url: None,
            said_at: None,
            association: self.stranger.then(|| "NONE".to_owned()),
        }
    }

    fn heard(&self) -> Heard {
        let status = if self.listened_to() { FeedbackStatus::Queued } else { FeedbackStatus::Ignored };
        Heard { remark: self.in_words(self.wording), status }
    }

    pub fn name(&self) -> String {
        self.in_words(self.wording).id(self.number)
    }

    pub fn waits(&self) -> bool {
        matches!(self.stands, Some((FeedbackStatus::Queued, _)))
    }
}

/// A repository of a workspace.
#[derive(Default)]
pub struct Repo {
    /// Which change is not committed in it.
    pub dirt: Option<u32>,
    /// A change that was put aside.
    pub aside: Option<u32>,
    pub commits: u32,
    pub pushed: u32,
    /// What does not work now: commits, pushes, telling agents.
    pub broken: [bool; 3],
    /// Number and state on the other side.
    pub request: Option<(u64, PullRequestState)>,
    pub said: Vec<Said>,
}

impl Repo {
    /// Whether what a rule is about is there.
    pub fn has(&self, intent: Intent) -> bool {
        match intent {
            Intent::CommitReady => self.dirt.is_some(),
            Intent::PrReady => self.dirt.is_none() && self.commits > self.pushed,
            _ => self.said.iter().any(Said::waits),
        }
    }

    /// As git shows it; what was said to it stands in the journal.
    pub fn seen(&self, workspace: &str, repo: &str, queued: Option<Queued>) -> RepoSeen {
        let dirt = self.dirt.map(|print| Dirt { print: print.to_string(), files: 1, first: vec![format!("f{print}")] });
        let commits = usize::try_from(self.commits - self.pushed).unwrap();
        let request = self.request.map(|(number, _)| number);
        let ahead = Some(Ahead { commits, head: format!("h{}", self.commits), request }).filter(|_| commits > 0);
        RepoSeen { workspace: workspace.into(), repo: repo.into(), dirt, ahead, queued, last: None }
    }

    /// All that is committed is pushed: to the pull request that is open, else to another one.
    pub fn push(&mut self) {
        let number = match self.request {
            Some((number, PullRequestState::Open)) => number,
            Some((number, _)) => number + 1,
            None => 7,
        };
        self.request = Some((number, PullRequestState::Open));
        let news = self.pushed < self.commits || number > self.said.last().map_or(0, |said| said.number);
        self.pushed = self.commits;
        for said in self.said.iter_mut().filter(|_| news) {
            said.stands = match said.stands {
                Some((FeedbackStatus::Dispatched, wording)) => Some((FeedbackStatus::Addressed, wording)),
                Some((FeedbackStatus::Queued, wording)) if said.number != number => {
                    Some((FeedbackStatus::Ignored, wording))
                }
                stands => stands,
            };
        }
    }

    pub fn fact(&self, repo: &str) -> PullRequestFact {
        let (number, state) = self.request.unwrap();
        PullRequestFact {
            repo: repo.into(),
            number,
            url: format!("https://forge/o/{repo}/pull/{number}"),
            branch: "b".into(),
            base: "main".into(),
            head: format!("h{}", self.pushed),
            title: "Work".into(),
            draft: false,
            state,
        }
    }

    pub fn says(&mut self, wording: u32, (ignored, stranger): (bool, bool), whole: bool) {
        let (number, _) = self.request.unwrap();
        // Every pull request counts anew, so that only number and source tell one from another.
        let id = 1 + self.said.iter().filter(|said| said.number == number).count() as u64 / 2;
        let source = if whole { Source::PrReview } else { Source::PrReviewComment };
        if self.said.iter().any(|said| (said.number, said.id, said.source) == (number, id, source)) {
            return;
        }
        let author = if ignored { IGNORED } else { "ada" };
        let told = BTreeSet::new();
        self.said.push(Said { number, id, source, author, stranger, dismissed: false, wording, told, stands: None });
    }

    /// What is heard at a sync, and where all then is to stand: of an open pull request waits what is listened to and
    /// was never told in these words, of another one nothing.
    pub fn hear(&mut self) -> Vec<Heard> {
        use FeedbackStatus::{Ignored, Queued};
        let (number, state) = self.request.unwrap();
        let (mut heard, mut new) = (Vec::new(), 0);
        for said in self.said.iter_mut().filter(|said| said.number == number) {
            if !state.is_open() {
                // Nobody asks what is said there: it stands in the words in which it was heard.
                if let Some((Queued, wording)) = said.stands {
                    heard.push(Heard { status: Ignored, remark: said.in_words(wording) });
                    said.stands = Some((Ignored, wording));
                }
                continue;
            }
            let listened = said.listened_to();
            if said.stands.is_none() && listened {
                new += 1;
                if new > NEW_AT_ONCE {
                    continue;
                }
            }
            heard.push(said.heard());
            if listened && !said.told.contains(&said.wording) {
                said.stands = Some((Queued, said.wording));
            } else if !listened && said.waits() {
                said.stands = Some((Ignored, said.wording));
            }
        }
        heard
    }
}

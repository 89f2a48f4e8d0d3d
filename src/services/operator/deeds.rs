//! What is done where the rules want work handed on: a commit, a pull request, or a new beginning with what reviewers said.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::domain::feedback::{Feedback, remarks};
use crate::domain::operator::Intent;
use crate::domain::pull_request::PullRequest;
use crate::services::committing::{self, Made};
use crate::services::engine::{Caller, Engine};
use crate::services::error::EngineError;
use crate::services::iterate::{self, Begun};
use crate::services::{pull_requests, reviews};

/// What is to be handed on.
pub(super) struct Wanted<'a> {
    pub run_id: &'a str,
    pub intent: Intent,
    /// Whether nobody has said that it is to be done.
    pub by_rule: bool,
    pub only: Option<(String, String)>,
}

/// What was looked at and may be handed on: all checks passed.
pub(super) enum Work {
    Commit(committing::Prepared, committing::Options),
    Request(pull_requests::Prepared, pull_requests::Options),
    Dispatch(Vec<Feedback>),
}

impl Work {
    pub(super) fn ready(
        engine: &Engine,
        caller: &Caller,
        wanted: &Wanted<'_>,
        cancel: Option<&Arc<AtomicBool>>,
    ) -> Result<Self, EngineError> {
        let (only, cancel) = (wanted.only.clone(), cancel.cloned());
        if wanted.intent == Intent::ReviewFeedbackReady {
            // The agents of a workspace begin anew together, with all that was said to it.
            let workspaces: Vec<String> = only.into_iter().map(|(workspace, _)| workspace).collect();
            let reader = engine.reader()?;
            iterate::prepare(&reader, &engine.run(wanted.run_id)?, &workspaces)?;
            let mut items = reviews::queued(&reader, wanted.run_id, &workspaces)?;
            // A stranger's word is put to agents only by a human who has read it.
            items.retain(|item| !wanted.by_rule || item.remark.is_trusted());
            let review = engine.policy_of(wanted.run_id)?.git_pr.review_feedback;
            return Ok(Self::Dispatch(reviews::at_once(items, &review, &reviews::Options::default())));
        }
        if wanted.intent == Intent::PrReady {
            let options = pull_requests::Options { only, cancel, ..pull_requests::Options::default() };
            return Ok(Self::Request(pull_requests::ready(engine, caller, wanted.run_id, &options)?, options));
        }
        let options = committing::Options { only, cancel, ..committing::Options::default() };
        Ok(Self::Commit(committing::ready(engine, wanted.run_id, &options)?, options))
    }

    /// Whether nothing is left to do.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Commit(prepared, _) => prepared.ready.is_empty(),
            Self::Request(prepared, _) => prepared.ready.is_empty(),
            Self::Dispatch(items) => items.is_empty(),
        }
    }

    pub(super) fn carry_out(&self, engine: &Engine, caller: &Caller, run_id: &str) -> Result<Vec<Done>, EngineError> {
        match self {
            Self::Commit(prepared, options) => {
                let made = committing::carry_out(engine, caller, run_id, prepared, options)?;
                Ok(made.into_iter().map(Done::Commit).collect())
            }
            Self::Request(prepared, options) => {
                let done = pull_requests::carry_out(engine, caller, run_id, prepared, options)?;
                Ok(done.into_iter().map(|request| Done::Request(Box::new(request))).collect())
            }
            Self::Dispatch(items) => {
                let begun = reviews::dispatch(engine, caller, run_id, items)?;
                Ok(vec![Done::Dispatch(items.len(), begun)])
            }
        }
    }
}

/// What an accepted suggestion brought about in a repository.
#[derive(Debug, Clone)]
pub enum Done {
    /// A commit.
    Commit(Made),
    /// A pull request, opened or brought up to date.
    Request(Box<PullRequest>),
    /// So many remarks, with which the agents begin anew.
    Dispatch(usize, Begun),
}

impl Done {
    /// What was tolerated.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Dispatch(_, begun) => &begun.warnings,
            Self::Commit(_) | Self::Request(_) => &[],
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Commit(made) => made.words(),
            Self::Request(request) => request.words(),
            Self::Dispatch(count, _) => format!("the agents begin anew with {}", remarks(*count)),
        }
    }
}

/// What did not become of a repository.
pub(super) const fn participle(intent: Intent) -> &'static str {
    match intent {
        Intent::PrReady => "handed on in a pull request",
        Intent::ReviewFeedbackReady => "begun anew with its review",
        _ => "committed",
    }
}

/// How often something was done of late.
#[derive(Debug, Default)]
pub(super) struct Pace(Vec<Instant>);

impl Pace {
    /// Whether it may be done once more: at most so many times in a span.
    pub(super) fn allows(&mut self, most: u32, span: Duration, now: Instant) -> bool {
        self.0.retain(|at| now.saturating_duration_since(*at) < span);
        self.0.len() < usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// It was done.
    pub(super) fn note(&mut self, now: Instant) {
        self.0.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_times_in_a_span_and_then_again_when_it_is_over() {
        let (begin, span) = (Instant::now(), Duration::from_secs(15));
        let mut pace = Pace::default();
        for at in [0, 5] {
            assert!(pace.allows(2, span, begin + Duration::from_secs(at)));
            pace.note(begin + Duration::from_secs(at));
        }
        assert!(!pace.allows(2, span, begin + Duration::from_secs(14)));
        assert!(pace.allows(2, span, begin + Duration::from_secs(15)));
        assert!(!pace.allows(1, span, begin + Duration::from_secs(15)), "the second counts still");
    }
}

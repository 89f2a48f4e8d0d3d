//! What is wished of a run's work: commit, pull request, reviews of it, feedback on it, merge, close; and what each of these would do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Handle, Preview, Wish};
use crate::domain::feedback::remarks;
use crate::domain::policy::Policy;
use crate::services::committing::{self, Tests};
use crate::services::engine::PATIENCE;
use crate::services::error::{EngineError, Gate};
use crate::services::{closing, gates, iterate, merging, pull_requests, reviews};

/// What is said where every commit is handed on.
const ALL_HANDED_ON: &str = "every commit is in its base or in a pull request";

impl Handle {
    pub(super) fn close(&self, run_id: &str, merge: bool) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        let _lease = engine.lease_run_within(run_id, "close", caller, PATIENCE)?;
        closing::close(engine, caller, run_id, &closing::Options { changelog_entry: None, merge })?;
        Ok(format!("{run_id} is closed"))
    }

    pub(super) fn merge(&self, run_id: &str) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        gates::settled(&*engine.reader()?, &engine.run(run_id)?, "merged")?;
        let _lease = engine.lease_run_within(run_id, "merge", caller, PATIENCE)?;
        let done = merging::merge(engine, caller, run_id, false)?;
        let lines: Vec<String> = done.iter().map(merging::Tried::describe).collect();
        Ok(if lines.is_empty() { "nothing was left to merge".to_owned() } else { lines.join("; ") })
    }

    pub(super) fn commit(&self, run_id: &str) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        gates::settled(&*engine.reader()?, &engine.run(run_id)?, "committed")?;
        let _lease = engine.lease_run_within(run_id, "commit", caller, PATIENCE)?;
        self.go_on("the commit")?;
        let options = committing::Options { cancel: Some(Arc::clone(&self.ending)), ..Default::default() };
        let prepared = committing::ready(engine, run_id, &options)?;
        let made = committing::carry_out(engine, caller, run_id, &prepared, &options)?;
        let lines: Vec<String> = made.iter().map(committing::Made::words).collect();
        Ok(match (lines.is_empty(), prepared.own.is_empty()) {
            (false, _) => lines.join("; "),
            (true, false) => "only ticket docs were left to commit".to_owned(),
            (true, true) => "nothing was left to commit".to_owned(),
        })
    }

    pub(super) fn pull_request(&self, run_id: &str) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        gates::settled(&*engine.reader()?, &engine.run(run_id)?, "handed on in a pull request")?;
        let _lease = engine.lease_run_within(run_id, "pr", caller, PATIENCE)?;
        self.go_on("the pull request")?;
        let options = pull_requests::Options { cancel: Some(Arc::clone(&self.ending)), ..Default::default() };
        let prepared = pull_requests::ready(engine, caller, run_id, &options)?;
        let done = pull_requests::carry_out(engine, caller, run_id, &prepared, &options)?;
        let lines: Vec<String> = done.iter().map(|request| request.words()).collect();
        Ok(if lines.is_empty() { ALL_HANDED_ON.to_owned() } else { lines.join("; ") })
    }

    /// What could be fetched is kept, also where not all could be.
    pub(super) fn review_sync(&self, run_id: &str) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        let options = reviews::Options { cancel: Some(Arc::clone(&self.ending)), ..Default::default() };
        let synced = reviews::sync(engine, caller, run_id, &options)?;
        synced.complete()?;
        let queued = reviews::queued(&*engine.reader()?, run_id, &[])?.len();
        let mut words: Vec<String> = synced.tallies().iter().map(reviews::Tally::words).collect();
        words.push(match (words.is_empty(), queued) {
            (true, _) => "no pull request is open".to_owned(),
            (false, 0) => "nothing waits for the agents".to_owned(),
            (false, 1) => "one remark waits for the agents".to_owned(),
            (false, queued) => format!("{} wait for the agents", remarks(queued)),
        });
        words.extend(synced.warnings);
        Ok(words.join("; "))
    }

    /// What is ordered here is begun by whoever supervises.
    pub(super) fn iterate(&self, run_id: &str, feedback: &str) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        iterate::fits(feedback)?;
        let _lease = engine.lease_run_within(run_id, "iterate", caller, PATIENCE)?;
        let words = iterate::Words::same(&engine.run(run_id)?, &[], feedback);
        let begun = iterate::carry_out(engine, caller, run_id, &words, Vec::new())?;
        let mut words = vec![format!("the agents of {run_id} start again with your feedback")];
        words.extend(begun.warnings);
        Ok(words.join("; "))
    }

    /// Who has left meanwhile does not begin any more.
    fn go_on(&self, what: &str) -> Result<(), EngineError> {
        if self.ending.load(Ordering::SeqCst) {
            return Err(EngineError::Interrupted(format!("{what} was not begun")));
        }
        Ok(())
    }

    /// What a wish would do; nothing is said of one that asks about nothing but itself.
    pub(super) fn would(&self, wish: &Wish) -> Result<Preview, EngineError> {
        match wish {
            Wish::Close { run_id, merge } => self.would_close(run_id, *merge),
            Wish::Merge(run_id) => self.would_merge(run_id),
            Wish::Commit(run_id) => self.would_commit(run_id),
            Wish::PullRequest(run_id) => self.would_request(run_id),
            Wish::StopRun(run_id) => Ok(Preview { would: self.ends(run_id)?, ..Preview::default() }),
            Wish::Reply { .. }
            | Wish::Ask { .. }
            | Wish::Type { .. }
            | Wish::Seen(_)
            | Wish::Thread(..)
            | Wish::Restart(_)
            | Wish::Hold(_)
            | Wish::Release(_)
            | Wish::StopAgent(_)
            | Wish::Pause(_)
            | Wish::Resume(_)
            | Wish::Iterate { .. }
            | Wish::ReviewSync(_)
            | Wish::AcceptSuggestion(_)
            | Wish::DismissSuggestion(_)
            | Wish::AckEscalation(_)
            | Wish::ResolveEscalation(..)
            | Wish::SetMode(_)
            | Wish::RetryLetter(_)
            | Wish::DropLetter(_)
            | Wish::All(_) => Ok(Preview::default()),
        }
    }

    /// The sessions that would end with the run's work.
    fn ends(&self, run_id: &str) -> Result<Vec<String>, EngineError> {
        let agents = self.engine.reader()?.agents(run_id)?;
        let live = agents.iter().filter(|agent| agent.program_may_live());
        Ok(live.map(|agent| format!("end session {} of {}", agent.spec.session, agent.key.name)).collect())
    }

    fn would_merge(&self, run_id: &str) -> Result<Preview, EngineError> {
        let (reader, run) = (self.engine.reader()?, self.engine.run(run_id)?);
        gates::settled(&reader, &run, "merged")?;
        let would = merging::preview(&self.engine.git, &reader, &run, false)?;
        Ok(ahead(would, Vec::new(), "nothing is left to merge"))
    }

    fn would_close(&self, run_id: &str, merge: bool) -> Result<Preview, EngineError> {
        let (reader, run) = (self.engine.reader()?, self.engine.run(run_id)?);
        let policy = self.engine.policy_of(run_id)?;
        let gates = gates::evaluate(&self.engine.git, &reader, &policy, &run, merge)?;
        let mut would = self.ends(run_id)?;
        if merge {
            // What is in the way of a merge stands among the gates.
            would.extend(merging::preview(&self.engine.git, &reader, &run, false).unwrap_or_default());
        } else {
            would.push("commit the ticket docs that metawsm wrote".to_owned());
        }
        would.push(format!("close {run_id}; its worktrees stay until cleanup"));
        Ok(ahead(would, gates, ""))
    }

    fn would_commit(&self, run_id: &str) -> Result<Preview, EngineError> {
        let (reader, run) = (self.engine.reader()?, self.engine.run(run_id)?);
        let (policy, options) = (self.engine.policy_of(run_id)?, committing::Options::default());
        let found = committing::prepare(&self.engine.git, &reader, &policy, &run, &options, &Tests::Named)?;
        let tests = tests_first(&found.gates, &policy);
        Ok(ahead(found.would(), found.gates, "nothing is left to commit").noting(tests))
    }

    fn would_request(&self, run_id: &str) -> Result<Preview, EngineError> {
        let (reader, run) = (self.engine.reader()?, self.engine.run(run_id)?);
        let (policy, options) = (self.engine.policy_of(run_id)?, pull_requests::Options::default());
        let found = pull_requests::prepare(&self.engine.git, &reader, &policy, &run, &options, &Tests::Named)?;
        let tests = tests_first(&found.gates, &policy);
        Ok(ahead(found.would(), found.gates, ALL_HANDED_ON).noting(tests))
    }
}

impl Preview {
    fn noting(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }
}

/// What was found, the gates that are passed left out; where there is nothing to do, that is said.
fn ahead(would: Vec<String>, mut gates: Vec<Gate>, nothing: &str) -> Preview {
    gates.retain(|gate| !gate.ok);
    let notes = if would.is_empty() && gates.is_empty() { vec![nothing.to_owned()] } else { Vec::new() };
    Preview { would, gates, notes }
}

/// Looking ahead runs no tests: what they say is known only when it is done.
fn tests_first(gates: &[Gate], policy: &Policy) -> Option<String> {
    let tests = gates.iter().any(|gate| gate.name == "tests");
    tests.then(|| format!("runs first, in each repository: {}", policy.git_pr.test_commands.join("; ")))
}

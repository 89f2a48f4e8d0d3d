//! The operator's page: what the rules last concluded, what restarts are left, what was given up. All of it is read
//! from the store; nothing is decided here.

use crate::domain::adviser::{PROGRAM, Tally};
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::escalation::{EscalationState, SuggestionState};
use crate::domain::operator::{Action, Conclusion, Decision, Intent, Measure, work_stands};
use crate::domain::outbox::{Letter, dead_letter_about};
use crate::domain::run::{Run, RunStatus};
use crate::domain::scene::LastDecision;
use crate::domain::time::Moment;
use crate::services::error::EngineError;
use crate::services::operator::{conclude, conclude_limits, conclude_outside};
use crate::services::words::{advice_words, errand};
use crate::store::ids::{Clock, SystemClock};
use crate::store::outbox::LetterFilter;

use super::Source;

/// Decisions whose cause is gone that are shown at most, the newest of them.
const PASSED: usize = 100;
/// Letters that are shown at most.
const LETTERS: usize = 200;

/// What the operator concluded, and what it has left to do it with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorPage {
    /// The last decision about each subject: those that stand, the newest first, then those whose cause is gone.
    pub rules: Vec<RuleRow>,
    /// Agents that have used restarts.
    pub budgets: Vec<BudgetRow>,
    /// Letters that were given up, the oldest first.
    pub letters: Vec<LetterRow>,
    /// How the outbox fares.
    pub post: PostOffice,
    /// What is kept of the adviser, once it was asked.
    pub adviser: Option<Adviser>,
    /// What became of what was suggested.
    pub offers: Offers,
}

/// What the rules concluded about one subject last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// The run; none where it is of no run.
    pub run_id: Option<String>,
    /// What exactly it is about.
    pub target: String,
    /// The number of the rule.
    pub rule: u8,
    /// What the rule wants.
    pub intent: Intent,
    /// What was to come of it.
    pub action: Action,
    /// What came of it, in a few words.
    pub outcome: String,
    /// Whether a human has to do something about it.
    pub calls: bool,
    /// Its subject, in words.
    pub subject: String,
    /// Its ticket.
    pub ticket: Option<String>,
    /// The agent it is about.
    pub agent: Option<AgentKey>,
    /// The thread it is about.
    pub thread_id: Option<String>,
    /// Why.
    pub reason: String,
    /// Since when that is concluded.
    pub at: Moment,
    /// When it is acted on, or a human is called again.
    pub due_at: Option<Moment>,
    /// Whether its cause is still there.
    pub stands: bool,
}

/// The restarts of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRow {
    /// The agent.
    pub key: AgentKey,
    /// Its ticket.
    pub ticket: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// Restarts by rule.
    pub used: u32,
    /// How many there may be.
    pub budget: u32,
    /// No other before then.
    pub cooldown_until: Option<Moment>,
    /// They are forgotten then, if it stays well.
    pub reset_at: Option<Moment>,
}

/// A letter that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterRow {
    /// Its number.
    pub id: i64,
    /// What it was to do, in words.
    pub errand: String,
    /// What it is about: its ticket, else its key.
    pub about: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed.
    pub error: String,
    /// When it was written.
    pub created_at: Moment,
    /// Its run.
    pub run_id: Option<String>,
    /// Its thread.
    pub thread_id: Option<String>,
    /// The escalation that stands because of it.
    pub call: Option<String>,
}

/// How the outbox fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostOffice {
    /// Letters that wait for their first attempt.
    pub pending: u64,
    /// Letters in hand.
    pub processing: u64,
    /// Letters that failed and are tried again.
    pub failed: u64,
    /// Letters that were given up.
    pub dead: u64,
    /// When the oldest of those that wait was written.
    pub oldest_at: Option<Moment>,
    /// Letters ever carried out.
    pub processed: u64,
    /// Errors since the last one that was.
    pub errors: u64,
    /// What went wrong last, and when.
    pub last_error: Option<(String, Moment)>,
    /// When a letter came through after it.
    pub cleared_at: Option<Moment>,
}

/// What is kept of the adviser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adviser {
    /// What it has cost.
    pub tally: Tally,
    /// How often it has failed in a row.
    pub failures: u32,
    /// Since when it is being asked.
    pub asked_at: Option<Moment>,
    /// What it said last, and what came of that.
    pub last: Option<(Moment, String)>,
}

/// What became of what was suggested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    /// Done, because a human said so.
    pub accepted: u32,
    /// Not wanted.
    pub dismissed: u32,
    /// Their cause went.
    pub withdrawn: u32,
    /// They wait for a word.
    pub open: u32,
}

impl Offers {
    /// How many were made.
    pub const fn made(&self) -> u32 {
        self.accepted + self.dismissed + self.withdrawn + self.open
    }
}

impl Source {
    /// The operator's page of these runs.
    pub(super) fn operator(&self, runs: &[Run]) -> Result<OperatorPage, EngineError> {
        let letters = self.reader.letters(Some(LetterFilter::Dead), None, LETTERS)?.letters;
        Ok(OperatorPage {
            rules: self.rules(runs)?,
            budgets: self.budgets(runs)?,
            letters: letters.into_iter().rev().map(|letter| self.letter_row(letter)).collect::<Result<_, _>>()?,
            post: self.post()?,
            adviser: self.adviser()?,
            offers: self.offers()?,
        })
    }

    fn measure(&self) -> Measure {
        let policy = &self.policy;
        let (sla, wait) = (policy.forum.sla.escalation_minutes, policy.health.input_wait_seconds);
        Measure::of(&policy.operator, sla, wait, None)
    }

    fn rules(&self, runs: &[Run]) -> Result<Vec<RuleRow>, EngineError> {
        let (measure, now) = (self.measure(), SystemClock.now());
        let (mut rows, mut passed) = (Vec::new(), Vec::new());
        let mut sort = |run_id: Option<&str>, decided: Vec<LastDecision>, stands: &dyn Fn(&LastDecision) -> bool| {
            for last in decided {
                let (row, stands) = (self.rule_row(run_id, last.clone())?, stands(&last));
                if stands { rows.push(row) } else { passed.push(RuleRow { stands, calls: false, ..row }) }
            }
            Ok::<_, EngineError>(())
        };
        for run in runs.iter().filter(|run| run.status != RunStatus::Closed) {
            let decided = self.reader.decisions(run.id())?;
            if decided.is_empty() {
                continue;
            }
            // Whether progress is overdue only git can tell: it is so where it was so when that was decided.
            let overdue = |last: &&LastDecision| last.decision.evidence["progress_overdue"] == true;
            let overdue: Vec<AgentKey> = decided.iter().filter(overdue).filter_map(agent_of).collect();
            let concluded = conclude(&self.reader, run, &measure, &overdue, now)?;
            let offers = self.reader.suggestions(Some(run.id()), true)?;
            let calls = self.reader.escalations(Some(run.id()), true)?;
            // What is in worktrees only git can tell: what was said of it stands until it is taken back.
            sort(Some(run.id()), decided, &|last| match last.decision.intent.hands_on_work() {
                true => work_stands(run, last, &offers, &calls),
                false => is_among(&concluded, last),
            })?;
        }
        let mut concluded = conclude_outside(&self.reader, &measure, now)?;
        concluded.extend(conclude_limits(&self.reader, &self.reader.limited_agents()?, None, &measure, now)?);
        sort(None, self.reader.decisions("")?, &|last| is_among(&concluded, last))?;
        // What a human has to do something about comes first.
        rows.sort_by_key(|row| (!row.calls, std::cmp::Reverse(row.at)));
        passed.sort_by_key(|row| std::cmp::Reverse(row.at));
        passed.truncate(PASSED);
        rows.extend(passed);
        Ok(rows)
    }

    fn rule_row(&self, run_id: Option<&str>, last: LastDecision) -> Result<RuleRow, EngineError> {
        let agent = agent_of(&last);
        let LastDecision { about, at, decision } = last;
        let (outcome, calls, again) = self.outcome(run_id, &decision)?;
        Ok(RuleRow {
            run_id: run_id.map(str::to_owned),
            rule: decision.rule,
            intent: decision.intent,
            action: decision.action,
            outcome,
            calls,
            subject: subject_words(about.agent_name.as_deref(), &decision.target),
            ticket: about.ticket,
            agent,
            thread_id: about.thread_id,
            reason: decision.reason,
            at,
            due_at: decision.due_at.or(again),
            stands: true,
            target: decision.target,
        })
    }

    /// What came of a decision, whether a human has to do something about it, and when one is called again.
    fn outcome(
        &self,
        run_id: Option<&str>,
        decision: &Decision,
    ) -> Result<(String, bool, Option<Moment>), EngineError> {
        Ok(match decision.action {
            Action::Act => ("done".to_owned(), false, None),
            Action::Nothing => ("waits".to_owned(), false, None),
            Action::Suggest => {
                let offers = self.reader.suggestions_about(run_id, &decision.target)?;
                let offers: Vec<_> = offers.iter().filter(|offer| offer.intent == decision.intent).collect();
                let last = offers.last().map_or(SuggestionState::Open, |offer| offer.state);
                let taken = offers.iter().any(|offer| offer.state == SuggestionState::Accepted);
                let open = last == SuggestionState::Open;
                let word = if open { "suggested" } else { last.word() };
                let often = if offers.len() > 1 && !taken { format!(" {}×", offers.len()) } else { String::new() };
                (format!("{word}{often}"), open, None)
            }
            Action::Escalate => {
                let calls = self.reader.escalations_about(run_id, &decision.target)?;
                let standing = calls.iter().find(|call| call.stands());
                match standing {
                    Some(call) if call.state == EscalationState::Acknowledged => {
                        ("known to you".to_owned(), false, call.due_at)
                    }
                    Some(call) => ("called you".to_owned(), true, call.due_at),
                    None => ("settled".to_owned(), false, None),
                }
            }
        })
    }

    fn budgets(&self, runs: &[Run]) -> Result<Vec<BudgetRow>, EngineError> {
        let reset = self.measure().healthy_reset;
        let row = |agent: Agent| BudgetRow {
            used: agent.restarts.used,
            budget: agent.restarts.budget,
            cooldown_until: agent.restarts.cooldown_until.max(agent.restarts.free_until),
            reset_at: agent.well_since.filter(|_| !reset.is_zero()).map(|since| since.plus(reset)),
            ticket: agent.spec.ticket,
            status: agent.status,
            key: agent.key,
        };
        let at_work = |agent: &Agent| runs.iter().any(|run| run.id() == agent.key.run_id && run.status.at_work());
        let used = |agent: &Agent| agent.restarts.used > 0 || agent.restarts.free_until.is_some();
        let agents = self.reader.all_agents()?.into_iter().filter(|agent| used(agent) && at_work(agent));
        Ok(agents.map(row).collect())
    }

    fn post(&self) -> Result<PostOffice, EngineError> {
        let health = self.reader.outbox_health()?;
        let tally = health.tally;
        Ok(PostOffice {
            pending: health.pending,
            processing: health.processing,
            failed: health.failed,
            dead: health.dead,
            oldest_at: health.oldest_pending_at,
            processed: tally.processed,
            errors: tally.consecutive_errors,
            last_error: tally.last_error.zip(tally.last_error_at),
            cleared_at: tally.cleared_at,
        })
    }

    fn letter_row(&self, letter: Letter) -> Result<LetterRow, EngineError> {
        let (target, about) = dead_letter_about(&letter);
        let calls = self.reader.escalations_about(about.run_id.as_deref(), &target)?;
        let subject = letter.subject();
        let thread = letter.payload.get("thread_id").and_then(serde_json::Value::as_str);
        Ok(LetterRow {
            id: letter.id,
            errand: errand(&letter.topic).to_owned(),
            about: subject.ticket.unwrap_or(letter.key),
            attempts: letter.attempts,
            created_at: letter.created_at,
            run_id: subject.run_id,
            thread_id: thread.map(str::to_owned),
            call: calls.into_iter().find(|call| call.stands()).map(|call| call.escalation_id),
            error: letter.last_error.unwrap_or_default(),
        })
    }

    fn adviser(&self) -> Result<Option<Adviser>, EngineError> {
        let Some(kept) = self.reader.adviser(PROGRAM)? else { return Ok(None) };
        let words = |last: &crate::domain::adviser::LastAdvised| {
            (last.at, advice_words(last.outcome, last.advice.as_ref(), last.rejection.as_ref()))
        };
        Ok(Some(Adviser {
            tally: kept.tally,
            failures: kept.failures,
            asked_at: kept.open().map(|asked| asked.at),
            last: kept.advised.as_ref().map(words),
        }))
    }

    fn offers(&self) -> Result<Offers, EngineError> {
        let mut offers = Offers::default();
        for (state, count) in self.reader.suggestion_counts()? {
            match state.as_str() {
                "accepted" => offers.accepted += count,
                "dismissed" => offers.dismissed += count,
                "withdrawn" => offers.withdrawn += count,
                _ => offers.open += count,
            }
        }
        Ok(offers)
    }
}

/// Whether what was decided is concluded now as well.
fn is_among(concluded: &[Conclusion], last: &LastDecision) -> bool {
    let decided = &last.decision;
    let same =
        |now: &Decision| (&now.target, now.intent, &now.cause) == (&decided.target, decided.intent, &decided.cause);
    concluded.iter().any(|one| same(&one.decision))
}

fn agent_of(last: &LastDecision) -> Option<AgentKey> {
    let about = &last.about;
    Some(AgentKey::new(about.run_id.as_ref()?, about.workspace.as_ref()?, about.agent_name.as_ref()?))
}

/// What a decision is about: its agent, else what its target names.
fn subject_words(agent: Option<&str>, target: &str) -> String {
    match (agent, target.split_once(':')) {
        (Some(agent), Some(("step", index))) => format!("step {index}, {agent}"),
        (Some(agent), _) => agent.to_owned(),
        (None, Some(("thread" | "request", _))) => "a thread".to_owned(),
        (None, Some((what, name))) => format!("{what} {name}"),
        (None, None) => format!("the {target}"),
    }
}

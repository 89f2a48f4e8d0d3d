//! Asks the adviser (spec 2.7), beside the loop and never on it: the loop only says that something is wrong with a run,
//! a thread of its own asks, and what the answer comes to is decided like everything else.
//!
//! Nothing of it is kept here: what was asked, when, and what came of it stands in the journal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::log::Log;
use super::operator::{Conduct, conclude, questions};
use super::outbox::leave;
use crate::domain::adviser::{
    ADVISER_TARGET, Asked, Expected, Facts, Reading, Rejection, Request, RuleSays, Summary, Why, about, read_reply,
    transcript,
};
use crate::domain::agent::AgentKey;
use crate::domain::command::{AdviserTold, AdviserWish, Command, EscalationWish};
use crate::domain::escalation::{Escalation, Kind};
use crate::domain::operator::{Conclusion, Measure, RUN_TARGET};
use crate::domain::policy::{LlmPolicy, OperatorMode, Policy};
use crate::domain::run::{Run, RunStatus};
use crate::domain::time::Moment;
use crate::store::Reader;
use call::{Answer, Call, end_leftovers};

pub use call::program_in;

mod call;

/// So many runs are asked about at the same time.
const MOST_AT_ONCE: usize = 4;
/// How long questions that are told to end may take.
const LEAVE: Duration = Duration::from_secs(5);

/// The right to ask; it ends with its handle, and every program that was asked ends with it.
#[derive(Debug)]
pub struct Adviser(Arc<Desk>);

/// Where questions are handed in.
#[derive(Debug)]
pub struct Desk {
    engine: Arc<Engine>,
    caller: Caller,
    conduct: Conduct,
    ending: AtomicBool,
    /// Who asks about which run.
    hands: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

impl Adviser {
    /// Begins; what a supervisor left behind that was killed while it asked is ended.
    pub fn begin(engine: &Arc<Engine>, conduct: Conduct) -> Self {
        let desk = Desk {
            engine: Arc::clone(engine),
            caller: Caller::system("adviser"),
            conduct,
            ending: AtomicBool::new(false),
            hands: Mutex::default(),
        };
        end_leftovers(engine);
        if let Err(error) = desk.close_open() {
            Log::new(&engine.home).line("adviser", &format!("questions that were left open: {error}"));
        }
        Self(Arc::new(desk))
    }

    /// Where questions are handed in.
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.0)
    }
}

impl Adviser {
    /// Says that it is to end, and does not wait for that.
    pub fn end_soon(&self) {
        self.0.ending.store(true, Ordering::SeqCst);
    }
}

impl Drop for Adviser {
    fn drop(&mut self) {
        self.end_soon();
        let hands = std::mem::take(&mut *self.0.hands.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = Instant::now() + LEAVE;
        // One that hangs does not keep the program from ending; the next to ask ends what it left.
        for hand in hands.into_values() {
            leave(Some(hand), deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Desk {
    /// Has a question put about a run where something is wrong with it and none was put not long ago. When the next
    /// could be due, where that is known.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn consider(
        self: &Arc<Self>,
        reader: &Reader,
        run: &Run,
        conclusions: &[Conclusion],
        overdue: &[AgentKey],
        mode: OperatorMode,
        now: Moment,
    ) -> Result<Option<Moment>, EngineError> {
        let fired = conclusions.iter().any(|conclusion| RuleSays::of(conclusion).is_some());
        if !fired && !reader.any_ill(run.id())? {
            self.calm(reader, run.id())?;
            return Ok(None);
        }
        if mode == OperatorMode::Off || !run.status.at_work() {
            return Ok(None);
        }
        let llm = self.policy(run.id())?.operator.llm;
        let interval = Duration::from_secs(u64::from(llm.min_interval_seconds));
        if let Some(kept) = reader.adviser(run.id())? {
            let first = kept.not_before(interval, now);
            if now < first {
                return Ok(Some(first));
            }
            let next = kept.next_at(&about(run, &reader.agents(run.id())?, conclusions, &llm), interval, now);
            if now < next {
                return Ok(Some(next));
            }
        }
        self.lend_a_hand(run.id(), overdue);
        Ok(None)
    }

    /// The policy that a run is asked about by; it is asked for often, and the live file is at hand.
    fn policy(&self, run_id: &str) -> Result<Policy, EngineError> {
        self.engine.home.policy_in_force().map_or_else(|| self.engine.policy_of(run_id), Ok)
    }

    /// No answer comes to a question whose supervisor was killed: that is said, once.
    fn close_open(&self) -> Result<(), EngineError> {
        let reader = self.engine.reader()?;
        for run in reader.runs_in(&[RunStatus::Running, RunStatus::AwaitingGuidance])? {
            let Some(kept) = reader.adviser(run.id())? else { continue };
            let Some(last) = kept.open() else { continue };
            let policy = self.policy(run.id())?;
            let asked = Asked {
                question_id: last.question_id.clone(),
                program: policy.operator.llm.command.first().cloned().unwrap_or_default(),
                about: last.about.clone(),
                request: Summary::default(),
                bytes_in: 0,
            };
            let gone = "who asked was ended before the answer came";
            let told = AdviserTold {
                asked,
                advice: Err(Rejection::new(Why::Interrupted, gone)),
                reply: None,
                cause: None,
                says: None,
                mode: policy.operator.llm.mode,
                missing: false,
                transcript: String::new(),
                truncated: false,
                duration_ms: 0,
                bytes_out: 0,
            };
            self.order(run.id(), AdviserWish::Told(Box::new(told)), &policy)?;
        }
        Ok(())
    }

    /// Nothing is wrong with a run any more: what it was called to as a whole is over.
    fn calm(&self, reader: &Reader, run_id: &str) -> Result<(), EngineError> {
        let calls = reader.escalations_about(Some(run_id), RUN_TARGET)?;
        for call in calls.iter().filter(|call| call.kind == Kind::Adviser && call.stands()) {
            self.resolve(call, "nothing is wrong with the run any more")?;
        }
        Ok(())
    }

    /// Nobody is asked any more, or another program: that the one of then does not work is nobody's trouble.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn ease(&self, calls: &[Escalation], mode: OperatorMode) -> Result<(), EngineError> {
        let of_program = |call: &&Escalation| call.kind == Kind::Adviser && call.target == ADVISER_TARGET;
        for call in calls.iter().filter(of_program) {
            let live = || self.engine.home.load_policy(&[]).ok()?.policy.operator.llm.command.into_iter().next();
            if mode == OperatorMode::Off {
                self.resolve(call, "the adviser is not asked any more")?;
            } else if live().is_some_and(|program| call.evidence["source"] != program) {
                self.resolve(call, "another program is asked now")?;
            }
        }
        Ok(())
    }

    /// Not a human's word: where it is so again, a human is called again.
    fn resolve(&self, call: &Escalation, note: &str) -> Result<(), EngineError> {
        let wish = EscalationWish::Resolve { note: Some(note.to_owned()) };
        let escalation_id = call.escalation_id.clone();
        self.engine.order(&self.caller, &Command::Escalation { escalation_id, wish })?;
        Ok(())
    }

    /// Asks on a thread of its own, unless just that is done already, or much else.
    fn lend_a_hand(self: &Arc<Self>, run_id: &str, overdue: &[AgentKey]) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        hands.retain(|_, hand| !hand.is_finished());
        if self.ending.load(Ordering::SeqCst) || hands.contains_key(run_id) || hands.len() >= MOST_AT_ONCE {
            return;
        }
        let (desk, id, overdue) = (Arc::clone(self), run_id.to_owned(), overdue.to_vec());
        let work = move || {
            if let Err(error) = desk.ask(&id, &overdue) {
                Log::new(&desk.engine.home).line("adviser", &format!("about {id}: {error}"));
            }
        };
        if let Ok(hand) = std::thread::Builder::new().name("adviser".to_owned()).spawn(work) {
            hands.insert(run_id.to_owned(), hand);
        }
    }

    /// One question, from what is so to what comes of the answer.
    fn ask(&self, run_id: &str, overdue: &[AgentKey]) -> Result<(), EngineError> {
        let engine = &self.engine;
        let policy = engine.policy_of(run_id)?;
        let llm = &policy.operator.llm;
        let Some(request) = self.request(run_id, overdue, llm)? else { return Ok(()) };
        let prompt = request.prompt();
        let asked = Asked {
            question_id: engine.ledger.new_id("q"),
            program: llm.command.first().cloned().unwrap_or_default(),
            about: request.about().to_owned(),
            request: request.summary().clone(),
            bytes_in: prompt.len() as u64,
        };
        let interval_ms = u64::from(llm.min_interval_seconds) * 1_000;
        let ask = AdviserWish::Ask { asked: asked.clone(), interval_ms };
        // Written down before it is put: also who is killed meanwhile has asked.
        if self.order(run_id, ask, &policy)?.is_none() {
            return Ok(());
        }
        let answer =
            Call { engine, question_id: &asked.question_id, policy: &policy, prompt: &prompt }.put(&self.ending);
        let expected =
            Expected { run_id, targets: request.targets(), min_confidence: llm.min_confidence, prompt: &prompt };
        let told = self.told(asked, answer, &expected, &request, overdue)?;
        self.order(run_id, AdviserWish::Told(Box::new(told)), &policy)?;
        Ok(())
    }

    fn order(&self, run_id: &str, wish: AdviserWish, policy: &Policy) -> Result<Option<()>, EngineError> {
        let minutes = policy.forum.sla.escalation_minutes;
        let again = Duration::from_secs(u64::from(minutes) * 60);
        let command = Command::Adviser {
            run_id: run_id.to_owned(),
            wish,
            due_at: (minutes > 0).then(|| self.engine.now().plus(again)),
            escalation_ids: [self.engine.ledger.new_id("esc"), self.engine.ledger.new_id("esc")],
        };
        let receipt = self.engine.order(&self.caller, &command)?;
        Ok((!receipt.events.is_empty()).then_some(()))
    }

    /// The question as things stand; none where the run is gone.
    fn request(&self, run_id: &str, overdue: &[AgentKey], llm: &LlmPolicy) -> Result<Option<Request>, EngineError> {
        let (engine, now) = (&self.engine, self.engine.now());
        let reader = engine.reader()?;
        let Some(run) = reader.run(run_id)? else { return Ok(None) };
        let measure = self.conduct.measure(engine, run_id)?;
        let agents = reader.agents(run_id)?;
        let output: BTreeMap<AgentKey, Moment> = reader
            .vitals(run_id)?
            .into_iter()
            .filter_map(|(key, vitals)| Some((key, vitals.last_output_at?)))
            .collect();
        let questions = questions(&reader, &run, &agents)?;
        let conclusions = conclude(&reader, &run, &measure, overdue, now)?;
        let facts = Facts {
            run: &run,
            agents: &agents,
            output: &output,
            questions: &questions,
            conclusions: &conclusions,
            llm,
        };
        Ok(Some(Request::of(&facts, now)))
    }

    /// What is to be judged: the answer, and what the rules say about its target now.
    fn told(
        &self,
        asked: Asked,
        answer: Answer,
        expected: &Expected<'_>,
        request: &Request,
        overdue: &[AgentKey],
    ) -> Result<AdviserTold, EngineError> {
        let Reading { reply, advice } = match answer.trouble {
            None => read_reply(&answer.stdout, expected),
            Some(rejection) => Reading { reply: None, advice: Err(rejection) },
        };
        let run_id = request.run_id();
        let measure = self.conduct.measure(&self.engine, run_id)?;
        let target = advice.as_ref().ok().map(|advice| advice.target.as_str());
        let says = target.map(|target| self.says(run_id, target, &measure, overdue)).transpose()?.flatten();
        let cause = target.and_then(|target| request.cause(target)).map(str::to_owned);
        let (transcript, cut) = transcript(&answer.transcript);
        Ok(AdviserTold {
            asked,
            advice,
            reply,
            cause,
            says,
            mode: measure.mode,
            missing: answer.missing,
            transcript,
            truncated: cut || answer.dropped > 0,
            duration_ms: u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
            bytes_out: answer.bytes,
        })
    }

    fn says(
        &self,
        run_id: &str,
        target: &str,
        measure: &Measure,
        overdue: &[AgentKey],
    ) -> Result<Option<RuleSays>, EngineError> {
        let reader = self.engine.reader()?;
        let Some(run) = reader.run(run_id)? else { return Ok(None) };
        let conclusions = conclude(&reader, &run, measure, overdue, self.engine.now())?;
        Ok(conclusions.iter().filter_map(RuleSays::of).find(|says| says.target == target))
    }
}

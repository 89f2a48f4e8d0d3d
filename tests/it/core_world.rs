//! What the tests of the core share: plans to give, a stage without a file, and a ledger with a clock of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of tests: a broken world is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::agent::{Agent, AgentKey, AgentSpec, AgentStatus, Completion, Exit, Health, WaitingFor};
use metawsm::domain::command::{AgentWish, Command, RunWish, ThreadWish};
use metawsm::domain::decide::settle::settle;
use metawsm::domain::decide::{Context, decide};
use metawsm::domain::event::{Draft, Event, Fact};
use metawsm::domain::operator::{Conclusion, Measure};
use metawsm::domain::plan::compile;
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::refusal::Refusal;
use metawsm::domain::run::{Brief, RepoSpec, RunMode, RunSpec, RunStatus, Strategy, WorkspaceSpec};
use metawsm::domain::scene::Scene;
use metawsm::domain::signal::{Signal, SignalType};
use metawsm::domain::thread::{Priority, Thread, ThreadState};
use metawsm::domain::time::Moment;
use metawsm::store::ids::{Clock, CountingIds};
use metawsm::store::{Ledger, Order, Reader, Receipt, StoreError};
use tempfile::TempDir;

pub const START: i64 = 1_795_248_000_000;
pub const RUN: &str = "run-1";

/// What a run is to look like.
#[derive(Clone)]
pub struct Plan {
    pub run_id: String,
    pub mode: RunMode,
    pub workspaces: Vec<String>,
    pub agents: Vec<String>,
    pub completion: Completion,
    pub budget: u32,
    pub dry_run: bool,
    pub step_retries: u32,
    pub criteria: String,
    pub may: Vec<String>,
    pub paste: bool,
    pub runner: String,
}

impl Plan {
    pub fn of(agents: &[&str]) -> Self {
        Self {
            run_id: RUN.to_owned(),
            mode: RunMode::Run,
            workspaces: vec!["ws".to_owned()],
            agents: agents.iter().map(|name| (*name).to_owned()).collect(),
            completion: Completion::Either,
            budget: 0,
            dry_run: false,
            step_retries: 0,
            criteria: "all tests pass".to_owned(),
            may: Vec::new(),
            paste: false,
            runner: "shell".into(),
        }
    }

    pub fn spec(&self) -> RunSpec {
        RunSpec {
            run_id: self.run_id.clone(),
            mode: self.mode,
            tickets: self.workspaces.iter().map(|name| ticket(name)).collect(),
            repos: vec![RepoSpec { name: "repo".into(), path: "/repo".into(), base: "main".into() }],
            doc_home_repo: "repo".into(),
            base_branch: "main".into(),
            strategy: Strategy::Create,
            from: None,
            seed: false,
            prompt: None,
            dry_run: self.dry_run,
            workspaces: self
                .workspaces
                .iter()
                .map(|name| WorkspaceSpec {
                    name: name.clone(),
                    ticket: ticket(name),
                    path: format!("/home/{name}"),
                    branch: format!("task/{name}"),
                })
                .collect(),
            step_retries: self.step_retries,
        }
    }

    pub fn create(&self) -> Command {
        let spec = self.spec();
        let mut agents = Vec::new();
        let mut shown = Vec::new();
        for workspace in &self.workspaces {
            for name in &self.agents {
                let spec = AgentSpec {
                    ticket: ticket(workspace),
                    session: format!("{name}-{workspace}"),
                    profile: "shell".into(),
                    runner: self.runner.clone(),
                    completion: self.completion,
                    restart_budget: self.budget,
                    may: self.may.clone(),
                    paste: self.paste,
                };
                agents.push((AgentKey::new(&self.run_id, workspace, name), spec));
                shown.push((name.clone(), workspace.clone(), vec!["sh".to_owned()]));
            }
        }
        let steps = compile(&spec, &shown);
        let brief = (self.mode == RunMode::Bootstrap).then(|| Brief {
            goal: "goal".into(),
            done_criteria: self.criteria.clone(),
            ..Brief::default()
        });
        let wish = RunWish::Create { spec, brief, policy: serde_json::json!({ "version": 2 }), agents, steps };
        Command::Run { run_id: self.run_id.clone(), wish }
    }
}

pub fn ticket(workspace: &str) -> String {
    format!("T-{workspace}")
}

pub fn key(name: &str) -> AgentKey {
    AgentKey::new(RUN, "ws", name)
}

pub fn human() -> Actor {
    Actor::human("bo")
}

pub fn operator() -> Actor {
    Actor::new(ActorType::Operator, "operator")
}

pub fn run(wish: RunWish) -> Command {
    Command::Run { run_id: RUN.to_owned(), wish }
}

pub fn agent(name: &str, wish: AgentWish) -> Command {
    Command::Agent { key: key(name), wish }
}

pub fn thread(id: &str, wish: ThreadWish) -> Command {
    Command::Thread { thread_id: id.to_owned(), run_id: None, wish }
}

pub fn ask_by(id: &str, of: Option<AgentKey>, author: Actor, title: &str, wait: bool) -> Command {
    let wish = ThreadWish::Ask {
        ticket: "T-ws".into(),
        agent: of,
        title: title.to_owned(),
        body: "why?".into(),
        priority: Priority::Normal,
        wait,
        author: Some(author),
    };
    thread(id, wish)
}

/// A question of agent `name`.
pub fn ask(id: &str, name: &str, title: &str, wait: bool) -> Command {
    ask_by(id, Some(key(name)), Actor::agent(name), title, wait)
}

pub fn post(id: &str, author: Actor, body: &str) -> Command {
    thread(id, ThreadWish::Post { body: body.to_owned(), wait: false, author: Some(author) })
}

pub fn answer(id: &str, author: Actor, to: Option<&str>) -> Command {
    let in_reply_to = to.map(str::to_owned);
    thread(id, ThreadWish::Answer { body: "so it is".into(), in_reply_to, author: Some(author) })
}

pub fn control(name: &str) -> String {
    format!("fctrl-{RUN}-{name}")
}

/// A signal of this kind with everything in it that its kind needs.
pub fn full_signal(kind: SignalType, of: &AgentKey, epoch: u32) -> Signal {
    let blank = Signal::new(kind, &of.run_id, &of.workspace, &of.name, epoch);
    match kind {
        SignalType::GuidanceRequest => Signal { question: Some("which?".into()), ..blank },
        SignalType::GuidanceAnswer => Signal { answer: Some("this".into()), ..blank },
        SignalType::Completion => blank,
        SignalType::Validation => {
            Signal { status: Some("passed".into()), done_criteria: Some("all tests pass".into()), ..blank }
        }
        SignalType::Progress => Signal { percent: Some(50), ..blank },
    }
}

pub fn signal_by(signal: Signal, author: Actor) -> Command {
    let id = control(&signal.agent_name);
    thread(&id, ThreadWish::Signal { ticket: "T-ws".into(), signal, in_reply_to: None, author: Some(author) })
}

/// A signal of agent `name` for itself.
pub fn signal(name: &str, kind: SignalType) -> Command {
    signal_by(full_signal(kind, &key(name), 0), Actor::agent(name))
}

pub fn exit(status: i32) -> Exit {
    Exit { status: Some(status), source: "launcher".into(), ..Exit::default() }
}

pub fn killed() -> Exit {
    Exit { signal: Some("SIGKILL".into()), source: "launcher".into(), ..Exit::default() }
}

pub fn observed(health: Health) -> AgentWish {
    AgentWish::Observed {
        health,
        waiting_for: WaitingFor::None,
        reason: "looked".into(),
        evidence: serde_json::json!({ "signal": "age" }),
    }
}

pub fn restart(by_rule: bool) -> AgentWish {
    AgentWish::Restart { reason: "again".into(), by_rule }
}

/// The core without a file: decide, fold, settle.
#[derive(Default)]
pub struct Stage {
    pub scene: Scene,
    pub log: Vec<Event>,
    pub minutes: i64,
    /// Milliseconds beyond the minutes.
    pub millis: i64,
}

impl Stage {
    /// A run as planned, its steps done, its agents running.
    pub fn running(plan: &Plan) -> Self {
        let mut stage = Self::default();
        stage.begin(plan);
        stage
    }

    /// One more of them.
    pub fn begin(&mut self, plan: &Plan) {
        self.must(&plan.create());
        let steps: Vec<(u32, Option<String>, String)> = self
            .scene
            .steps_of(&plan.run_id)
            .iter()
            .map(|step| (step.spec.index, step.spec.agent.clone(), step.spec.workspace.clone()))
            .collect();
        for (index, agent, workspace) in steps {
            let run = |wish| Command::Run { run_id: plan.run_id.clone(), wish };
            self.must(&run(RunWish::BeginStep { index }));
            if let Some(name) = agent {
                let key = AgentKey::new(&plan.run_id, workspace, name);
                self.must(&Command::Agent { key, wish: AgentWish::Started { launch: 1 } });
            }
            self.must(&run(RunWish::EndStep { index, end: metawsm::domain::command::StepEnd::Done }));
        }
        assert_eq!(self.scene.runs.get(plan.run_id.as_str()).unwrap().status, RunStatus::Running);
    }

    pub fn context(&self, actor: Actor, identity: Option<AgentKey>) -> Context {
        Context { now: self.now(), actor, identity }
    }

    pub fn now(&self) -> Moment {
        Moment::from_millis(START + self.minutes * 60_000 + self.millis)
    }

    pub fn give(&mut self, actor: Actor, identity: Option<AgentKey>, command: &Command) -> Result<Vec<Event>, Refusal> {
        self.minutes += 1;
        self.give_now(actor, identity, command)
    }

    /// The same, at once.
    pub fn give_now(
        &mut self,
        actor: Actor,
        identity: Option<AgentKey>,
        command: &Command,
    ) -> Result<Vec<Event>, Refusal> {
        let decided = decide(&self.scene, command, &self.context(actor.clone(), identity))?;
        let first = self.log.len();
        self.apply(decided.drafts, &actor);
        let runs: Vec<String> = self.scene.runs.iter().map(|run| run.id().to_owned()).collect();
        for run_id in runs.iter().map(|id| Some(id.as_str())).chain([None]) {
            for round in 0.. {
                assert!(round < 50, "consequences without end");
                let drafts = settle(&self.scene, run_id);
                if drafts.is_empty() {
                    break;
                }
                self.apply(drafts, &actor);
            }
        }
        Ok(self.log[first..].to_vec())
    }

    fn apply(&mut self, drafts: Vec<Draft>, actor: &Actor) {
        for draft in drafts {
            let seq = i64::try_from(self.log.len()).unwrap() + 1;
            let event = Event {
                seq,
                event_id: format!("e{seq}"),
                occurred_at: self.now(),
                subject: draft.subject,
                actor: draft.actor.unwrap_or_else(|| actor.clone()),
                correlation_id: format!("e{seq}"),
                causation_id: None,
                fact: draft.fact,
            };
            self.scene.apply(&event);
            self.log.push(event);
        }
    }

    /// The human's order, which is to be carried out.
    pub fn must(&mut self, command: &Command) -> Vec<Event> {
        self.give(human(), None, command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"))
    }

    /// The human's order, which is to be refused and change nothing.
    pub fn refused(&mut self, command: &Command) -> Refusal {
        self.refused_to(human(), None, command)
    }

    pub fn refused_to(&mut self, actor: Actor, identity: Option<AgentKey>, command: &Command) -> Refusal {
        let before = self.scene.clone();
        let refused = self.give(actor, identity, command).expect_err(&format!("{command:?}"));
        assert_eq!(self.scene, before);
        assert!(!refused.message.is_empty());
        refused
    }

    pub fn status(&self) -> RunStatus {
        self.scene.runs.get(RUN).unwrap().status
    }

    pub fn agent(&self, name: &str) -> &Agent {
        self.scene.agents.get(&key(name)).unwrap()
    }

    pub fn thread(&self, id: &str) -> &Thread {
        self.scene.threads.get(id).unwrap()
    }

    pub fn put_run(&mut self, status: RunStatus) {
        self.scene.runs.touch(RUN).unwrap().status = status;
    }

    pub fn put_agent(&mut self, name: &str, status: AgentStatus) {
        let agent = self.scene.agents.touch(&key(name)).unwrap();
        agent.status = status;
        if status == AgentStatus::Pending {
            agent.launch = 0;
            agent.wanted = 0;
        }
    }

    pub fn put_thread(&mut self, id: &str, state: ThreadState) {
        self.scene.threads.touch(id).unwrap().state = state;
    }
}

/// Numbers small enough for stories: a look every 15 s, two of them, a cooldown of a minute, half an hour of health.
pub fn measure(mode: OperatorMode) -> Measure {
    Measure {
        mode,
        rules: BTreeMap::new(),
        interval: Duration::from_secs(15),
        confirmations: 2,
        cooldown: Duration::from_secs(60),
        healthy_reset: Duration::from_secs(1_800),
        input_wait: Duration::from_secs(60),
        stale_age: Duration::from_secs(3_600),
        call_again: Duration::from_secs(1_800),
        even_since: Moment::default(),
    }
}

/// The command that a conclusion comes to, with ids that end like this.
pub fn concluded(conclusion: Conclusion, ids: &str) -> Command {
    Command::Operator {
        conclusion: Box::new(conclusion),
        escalation_id: format!("esc-{ids}"),
        suggestion_id: format!("sug-{ids}"),
    }
}

/// The changes of status in these events, in words: `running>done`.
pub fn moves(events: &[Event]) -> String {
    let one = |event: &Event| match &event.fact {
        Fact::RunTransitioned { from, to, .. } => Some(format!("{from}>{to}")),
        Fact::AgentTransitioned { from, to, .. } => Some(format!("{from}>{to}")),
        Fact::StepTransitioned { from: Some(from), to, .. } => Some(format!("{from}>{to}")),
        Fact::StateChanged { from_state, to_state } | Fact::ThreadClosed { from_state, to_state } => {
            Some(format!("{from_state}>{to_state}"))
        }
        _ => None,
    };
    events.iter().filter_map(one).collect::<Vec<_>>().join(" ")
}

/// A clock that is moved by hand, also backwards.
#[derive(Default)]
pub struct HandClock(pub AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment::from_millis(START + self.0.load(Ordering::SeqCst))
    }
}

/// A home with a ledger whose ids count and whose clock is moved by hand.
pub struct Shop {
    pub dir: TempDir,
    pub ledger: Ledger,
    pub clock: Arc<HandClock>,
}

impl Shop {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::default());
        let ledger =
            Ledger::open(&dir.path().join("metawsm.db"), clock.clone(), Arc::new(CountingIds::default())).unwrap();
        Self { dir, ledger, clock }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("metawsm.db")
    }

    pub fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    pub fn give(&self, actor: &Actor, key: Option<&str>, command: &Command) -> Result<Receipt, StoreError> {
        self.clock.0.fetch_add(1_000, Ordering::SeqCst);
        self.ledger.execute(&Order { key, ..Order::new(command, actor) })
    }

    pub fn must(&self, command: &Command) -> Receipt {
        self.give(&human(), None, command).unwrap_or_else(|error| panic!("{command:?}: {error:?}"))
    }

    /// The journal and the tables agree.
    pub fn assert_sound(&self) {
        let found = metawsm::store::rebuild::verify(&self.path()).unwrap();
        assert!(found.is_empty(), "{found:#?}");
    }
}

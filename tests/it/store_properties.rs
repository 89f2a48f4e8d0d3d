//! Any sequence of commands leaves only legal transitions, and tables that the journal makes again (spec 7).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use metawsm::domain::actor::{Actor, ActorType, Side};
use metawsm::domain::adviser::{Advice, Aim, Asked, Rejection, Summary, Why};
use metawsm::domain::agent::{AgentKey, AgentStatus, Health, WaitingFor};
use metawsm::domain::command::{
    AdviserTold, AdviserWish, AgentWish, Command, DeliveryWish, EscalationWish, Iterate, RunWish, StepEnd,
    SuggestionWish, ThreadWish,
};
use metawsm::domain::delivery::DeliveryState;
use metawsm::domain::escalation::{Kind, SuggestionState};
use metawsm::domain::event::{Event, Fact, OwnFile, PullRequestFact, Worktree};
use metawsm::domain::feedback::{Dispatch, FeedbackStatus, Heard, Remark, Reviewed, Source};
use metawsm::domain::operator::{Intent, agent_cause, agent_target};
use metawsm::domain::plan::StepStatus;
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::pull_request::PullRequestState;
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::{RunMode, RunStatus};
use metawsm::domain::signal::{Signal, SignalType};
use metawsm::domain::thread::{Priority, ThreadState, control_thread_id};
use metawsm::domain::time::Moment;
use metawsm::services::operator::{conclude, conclude_outside};
use metawsm::store::StoreError;
use metawsm::store::read::EventFilter;
use metawsm::store::read::forum::ThreadFilter;
use metawsm::store::rebuild::{rebuild, verify};
use proptest::prelude::*;

use crate::core_world::*;

/// Two runs: a plain one with two agents, and a bootstrap run of two tickets whose agents share a name.
fn plan(run: u8) -> Plan {
    if run == 0 {
        let may = vec!["run".into()];
        Plan { budget: 1, step_retries: 1, may, paste: true, runner: "codex".into(), ..Plan::of(&["a", "b"]) }
    } else {
        Plan {
            run_id: "run-2".into(),
            mode: RunMode::Bootstrap,
            workspaces: vec!["ws".into(), "zz".into()],
            ..Plan::of(&["a"])
        }
    }
}

fn key_of(run: u8, which: u8) -> AgentKey {
    let plan = plan(run);
    let workspace = &plan.workspaces[usize::from(which) % plan.workspaces.len()];
    let name = &plan.agents[usize::from(which) % plan.agents.len()];
    AgentKey::new(&plan.run_id, workspace, name)
}

/// One of a few remarks, which changes its words now and then.
fn heard(id: u64, op: &Op) -> Heard {
    let remark = Remark {
        source: if id.is_multiple_of(2) { Source::PrReview } else { Source::PrReviewComment },
        source_id: id,
        author: "ada".into(),
        body: format!("words {}", op.actor % 3),
        path: None,
        line: None,
        url: None,
        said_at: None,
        association: None,
    };
    let status = if op.actor == 5 { FeedbackStatus::Ignored } else { FeedbackStatus::Queued };
    Heard { remark, status }
}

fn control_of(key: &AgentKey, run: u8) -> String {
    control_thread_id(&key.run_id, &key.name, (run == 1).then_some(key.workspace.as_str()))
}

#[derive(Debug, Clone)]
struct Op {
    kind: u8,
    run: u8,
    which: u8,
    x: u8,
    actor: u8,
    keyed: bool,
}

fn op() -> impl Strategy<Value = Op> {
    (0_u8..54, 0_u8..2, 0_u8..2, 0_u8..12, 0_u8..8, proptest::bool::weighted(0.1))
        .prop_map(|(kind, run, which, x, actor, keyed)| Op { kind, run, which, x, actor, keyed })
}

fn author(op: &Op) -> Option<Actor> {
    match op.actor {
        0 => Some(operator()),
        1..=4 => Some(Actor::agent(key_of(op.run, op.which).name)),
        _ => None,
    }
}

fn command(op: &Op) -> Command {
    let key = key_of(op.run, op.which);
    let run = |wish| Command::Run { run_id: plan(op.run).run_id, wish };
    let agent = |wish| Command::Agent { key: key.clone(), wish };
    let control = control_of(&key, op.run);
    let id = if op.x < 3 { control.clone() } else { format!("t{}", op.x % 4) };
    let on = |wish| thread(&id, wish);
    let launch = u32::from(op.x % 4) + 1;
    let index = u32::from(op.x % 7) + 1;
    match op.kind {
        0 => run(RunWish::Pause),
        1 | 2 => run(RunWish::Resume),
        3 => run(RunWish::Stop),
        4 => run(RunWish::FinishStop),
        5 => run(RunWish::BeginClose),
        6 => match op.x {
            0 => run(RunWish::FinishClose),
            _ => run(RunWish::AbortClose { reason: "conflict".into() }),
        },
        7 => run(RunWish::BeginStep { index }),
        8 => {
            let end = match op.actor % 3 {
                0 => StepEnd::Done,
                1 => StepEnd::Failed("no".into()),
                _ => StepEnd::Interrupted,
            };
            run(RunWish::EndStep { index, end })
        }
        9 | 10 => agent(AgentWish::Started { launch }),
        11 => agent(AgentWish::StartFailed { launch, error: "not found".into() }),
        12 => agent(AgentWish::Stop),
        13 => agent(AgentWish::Stopped),
        14 | 15 => agent(AgentWish::Exited {
            launch,
            exit: if op.actor.is_multiple_of(2) { exit(i32::from(op.x % 3)) } else { killed() },
        }),
        16 => {
            let healths = [Health::Healthy, Health::Idle, Health::Stalled, Health::Dead, Health::Unknown];
            let health = healths[usize::from(op.x) % healths.len()];
            let waits = [WaitingFor::None, WaitingFor::Input, WaitingFor::Limit, WaitingFor::Guidance];
            let waiting_for = waits[usize::from(op.actor) % waits.len()];
            let evidence = serde_json::json!({ "signal": if op.x > 6 { "screen" } else { "output" }, "line": "l" });
            agent(AgentWish::Observed { health, waiting_for, reason: "seen".into(), evidence })
        }
        17 | 18 => agent(restart(op.x.is_multiple_of(2))),
        19 | 20 => {
            let of = (!op.x.is_multiple_of(3)).then(|| key.clone());
            let author = author(op).unwrap_or_else(human);
            ask_by(&format!("t{}", op.x % 4), of, author, ["which?", "what?"][usize::from(op.x % 2)], op.actor > 2)
        }
        21 | 22 => on(ThreadWish::Post { body: "words".into(), wait: op.actor.is_multiple_of(2), author: author(op) }),
        23 => on(ThreadWish::Answer { body: "so".into(), in_reply_to: None, author: author(op) }),
        24 => on(ThreadWish::Assign { assignee_type: ActorType::Human, assignee: "bo".into(), note: None }),
        25 => on(ThreadWish::State { to: ThreadState::ALL[usize::from(op.actor) % 6] }),
        26 => on(ThreadWish::Priority { to: Priority::ALL[usize::from(op.actor) % 4] }),
        27 => on(if op.actor.is_multiple_of(2) { ThreadWish::Close } else { ThreadWish::Reopen }),
        28 => on(ThreadWish::Seen { viewer: "human:bo".into(), seq: (op.actor > 3).then(|| i64::from(op.x) * 7) }),
        29..=31 => {
            let kind = SignalType::ALL[usize::from(op.x) % 5];
            let signal = Signal { epoch: u32::from(op.actor % 4), ..full_signal(kind, &key, 0) };
            let author = if op.actor.is_multiple_of(2) { Some(Actor::agent(&key.name)) } else { None };
            thread(&control, ThreadWish::Signal { ticket: ticket(&key.workspace), signal, in_reply_to: None, author })
        }
        32 => run(match op.x % 8 {
            0 => RunWish::WorkspaceCreated {
                name: key.workspace.clone(),
                path: "/ws".into(),
                worktrees: vec![Worktree {
                    repo: "repo".into(),
                    path: "/ws/repo".into(),
                    branch: "b".into(),
                    base: "main".into(),
                    start: "0".into(),
                }],
                warnings: vec![],
            },
            1 => RunWish::WorkspaceRemoved { name: key.workspace.clone(), backups: vec![] },
            2 => RunWish::DocsSeeded {
                workspace: key.workspace.clone(),
                ticket: ticket(&key.workspace),
                repo: "repo".into(),
                dir: "ttmp".into(),
                files: (0..u16::from(op.actor) * 100)
                    .map(|number| OwnFile { path: format!("f{number}"), blob: format!("{}", op.actor) })
                    .collect(),
                revision: "1".into(),
            },
            3 => RunWish::Committed {
                workspace: key.workspace.clone(),
                repo: "repo".into(),
                sha: format!("{}", op.actor),
                message: "own".into(),
                own: op.x.is_multiple_of(2),
                author: None,
            },
            4 => RunWish::PullRequest {
                workspace: key.workspace.clone(),
                request: PullRequestFact {
                    repo: "repo".into(),
                    number: u64::from(op.actor % 2),
                    url: "https://example.org/pull/1".into(),
                    branch: "b".into(),
                    base: "main".into(),
                    head: format!("{}", op.actor),
                    title: "t".into(),
                    draft: false,
                    state: PullRequestState::Open,
                },
                on_behalf_of: None,
            },
            5 => RunWish::ReviewSynced(Reviewed {
                workspace: key.workspace.clone(),
                repo: "repo".into(),
                number: u64::from(op.actor % 2),
                state: [None, Some(PullRequestState::Open), Some(PullRequestState::Closed)][usize::from(op.actor % 3)],
                title: (op.actor > 4).then(|| "another".into()),
                draft: None,
                heard: (0..u64::from(op.actor % 4)).map(|id| heard(id, op)).collect(),
            }),
            6 => RunWish::Iterate(Iterate {
                workspaces: vec![key.workspace.clone()].into_iter().take(usize::from(op.actor % 2)).collect(),
                words: "again".into(),
                dispatches: vec![Dispatch {
                    workspace: key.workspace.clone(),
                    repo: "repo".into(),
                    items: (0..4).map(|id| heard(id, op).remark.id(u64::from(op.actor % 2))).collect(),
                }],
            }),
            _ => RunWish::Merged {
                workspace: key.workspace.clone(),
                repo: "repo".into(),
                base: "main".into(),
                old: "0".into(),
                new: format!("{}", op.actor),
                head: "2".into(),
                how: "merge".into(),
            },
        }),
        42 => delivery(op, DeliveryWish::Queue { key, text: "words".into(), urgent: op.actor.is_multiple_of(2) }),
        43 => delivery(op, DeliveryWish::Typed { launch, evidence: serde_json::json!({ "signal": "ready" }) }),
        44 => delivery(op, DeliveryWish::Submitted { evidence: serde_json::json!({ "signal": "read" }) }),
        45 => delivery(
            op,
            match op.actor {
                0..=2 => DeliveryWish::Failed { reason: "no".into() },
                3..=5 => DeliveryWish::Taken,
                _ => DeliveryWish::Doubt,
            },
        ),
        33 => agent(AgentWish::Progressed {
            source: "signal".into(),
            note: op.x.is_multiple_of(2).then(|| "on".into()),
            percent: Some(op.x * 9),
        }),
        34 => agent(AgentWish::Quiet {
            until: Moment::from_millis(START + i64::from(op.x) * 1_000_000),
            reason: "long".into(),
        }),
        35 => agent(match op.x {
            0..=6 => AgentWish::Hold { reason: op.x.is_multiple_of(2).then(|| "mine".into()) },
            _ => AgentWish::Release,
        }),
        _ => match op.x {
            0..=5 => plan(op.run).create(),
            _ => Command::Lease { acquired: op.x.is_multiple_of(2), pid: 7, host: "here".into() },
        },
    }
}

/// About one of few texts, so that most are met again.
fn delivery(op: &Op, wish: DeliveryWish) -> Command {
    let escalation_id = format!("esc-d{}-{}", op.x, op.actor);
    Command::Delivery { delivery_id: format!("dlv-{}", op.x % 4), wish, due_at: None, escalation_id }
}

/// The states that the events alone tell of, each transition checked against the tables of the spec.
#[derive(Default)]
struct Told {
    runs: BTreeMap<String, RunStatus>,
    agents: BTreeMap<AgentKey, AgentStatus>,
    steps: BTreeMap<(String, u32), StepStatus>,
    threads: BTreeMap<String, ThreadState>,
    /// Whether each stands.
    escalations: BTreeMap<String, bool>,
    suggestions: BTreeMap<String, SuggestionState>,
    deliveries: BTreeMap<String, DeliveryState>,
    /// The question to the adviser that is open, by run.
    asked: BTreeMap<String, String>,
}

impl Told {
    fn delivered(&mut self, id: &str, to: DeliveryState) -> Result<(), TestCaseError> {
        let from = self.deliveries.insert(id.to_owned(), to);
        prop_assert!(from.is_some_and(|from| from.may_become(to)), "delivery {} {:?} > {}", id, from, to);
        Ok(())
    }

    fn check(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let run = event.subject.run_id.clone().unwrap_or_default();
        let thread = event.subject.thread_id.clone().unwrap_or_default();
        let agent = || {
            let subject = &event.subject;
            AgentKey::new(
                &run,
                subject.workspace.clone().unwrap_or_default(),
                subject.agent_name.clone().unwrap_or_default(),
            )
        };
        match &event.fact {
            Fact::OperatorAsked(asked) => drop(self.asked.insert(run, asked.question_id.clone())),
            Fact::OperatorAdvised(advised) => {
                prop_assert_eq!(self.asked.remove(&run), Some(advised.question_id.clone()))
            }
            Fact::RunCreated { .. } => {
                prop_assert_eq!(self.runs.insert(run, RunStatus::Created), None);
            }
            Fact::RunTransitioned { from, to, .. } => {
                prop_assert!(from.may_become(*to), "run {} {} > {}", run, from, to);
                prop_assert_eq!(self.runs.insert(run, *to), Some(*from));
            }
            Fact::AgentRegistered(_) => {
                prop_assert_eq!(self.agents.insert(agent(), AgentStatus::Pending), None);
            }
            Fact::AgentTransitioned { from, to, .. } => {
                prop_assert!(from.may_become(*to), "agent {:?} {} > {}", agent(), from, to);
                prop_assert_eq!(self.agents.insert(agent(), *to), Some(*from));
            }
            Fact::StepTransitioned { index, from, to, .. } => {
                prop_assert!(from.is_none_or(|from| from.may_become(*to)), "step {} {:?} > {}", index, from, to);
                prop_assert_eq!(self.steps.insert((run, *index), *to), *from);
            }
            Fact::ThreadOpened { state, .. } => {
                prop_assert_eq!(self.threads.insert(thread, *state), None);
            }
            Fact::StateChanged { from_state, to_state } | Fact::ThreadClosed { from_state, to_state } => {
                let legal = from_state == to_state || from_state.successors().contains(to_state);
                prop_assert!(legal, "thread {} {} > {}", thread, from_state, to_state);
                prop_assert_eq!(self.threads.insert(thread, *to_state), Some(*from_state));
            }
            Fact::PostAdded { .. }
            | Fact::ControlSignal { .. }
            | Fact::Assigned { .. }
            | Fact::PriorityChanged { .. } => {
                prop_assert!(
                    self.threads.get(&thread).is_some_and(|state| *state != ThreadState::Closed),
                    "{:?}",
                    event
                );
            }
            Fact::AgentExited { .. } | Fact::AgentObserved { .. } | Fact::AgentRestarted { .. } => {
                prop_assert!(self.agents.contains_key(&agent()));
            }
            Fact::EscalationOpened { escalation_id, .. } => {
                prop_assert_ne!(
                    self.escalations.get(escalation_id),
                    Some(&false),
                    "a resolved one is not opened again"
                );
                self.escalations.insert(escalation_id.clone(), true);
            }
            Fact::EscalationNotified { escalation_id, .. } | Fact::EscalationAcknowledged { escalation_id, .. } => {
                prop_assert_eq!(self.escalations.get(escalation_id), Some(&true));
            }
            Fact::EscalationResolved { escalation_id, .. } => {
                prop_assert_eq!(self.escalations.insert(escalation_id.clone(), false), Some(true));
            }
            Fact::OperatorSuggested { suggestion_id, .. } => {
                prop_assert_eq!(self.suggestions.insert(suggestion_id.clone(), SuggestionState::Open), None);
            }
            Fact::SuggestionSettled { suggestion_id, to, .. } => {
                prop_assert_eq!(self.suggestions.insert(suggestion_id.clone(), *to), Some(SuggestionState::Open));
            }
            Fact::DeliveryQueued { delivery_id, .. } => {
                prop_assert_eq!(self.deliveries.insert(delivery_id.clone(), DeliveryState::Queued), None);
            }
            Fact::DeliveryTyped { delivery_id, .. } => self.delivered(delivery_id, DeliveryState::Typed)?,
            Fact::DeliverySubmitted { delivery_id, .. } => self.delivered(delivery_id, DeliveryState::Submitted)?,
            Fact::DeliveryFailed { delivery_id, .. } => self.delivered(delivery_id, DeliveryState::Failed)?,
            Fact::OperatorDecided(_) | Fact::OperatorActed { .. } => {}
            Fact::Seen { .. }
            | Fact::RunSpecChanged { .. }
            | Fact::WorkspaceCreated { .. }
            | Fact::WorkspaceRemoved { .. }
            | Fact::AgentProgressed { .. }
            | Fact::AgentHeld { .. }
            | Fact::AgentReleased { .. }
            | Fact::AgentQuietDeclared { .. }
            | Fact::DocsSeeded { .. }
            | Fact::DocsSynced { .. }
            | Fact::GitCommitted { .. }
            | Fact::GitPrOpened { .. }
            | Fact::GitPrUpdated { .. }
            | Fact::ReviewSynced { .. }
            | Fact::ReviewDispatched { .. }
            | Fact::GitMerged { .. }
            | Fact::OutboxDead { .. }
            | Fact::OutboxRetried { .. }
            | Fact::OutboxDropped { .. }
            | Fact::PolicyChanged { .. }
            | Fact::LeaseAcquired { .. }
            | Fact::LeaseLost { .. } => {}
        }
        Ok(())
    }
}

/// Starts a run's agents, so that most sequences have something alive to play with.
fn begin(shop: &Shop, run: u8) {
    let plan = plan(run);
    shop.must(&plan.create());
    let steps = shop.reader().steps(&plan.run_id).unwrap();
    for step in steps {
        let on_run = |wish| Command::Run { run_id: plan.run_id.clone(), wish };
        shop.must(&on_run(RunWish::BeginStep { index: step.spec.index }));
        if let Some(name) = step.spec.agent {
            let key = AgentKey::new(&plan.run_id, &step.spec.workspace, name);
            shop.must(&Command::Agent { key, wish: AgentWish::Started { launch: 1 } });
        }
        shop.must(&on_run(RunWish::EndStep { index: step.spec.index, end: StepEnd::Done }));
    }
}

/// The rules look and do what they conclude, or a human says something to what waits.
fn operate(shop: &Shop, op: &Op, number: usize) -> Result<(), TestCaseError> {
    let reader = shop.reader();
    let now = Moment::from_millis(START + shop.clock.0.load(Ordering::SeqCst));
    let mut commands = Vec::new();
    if op.kind < 39 {
        let modes = [OperatorMode::Off, OperatorMode::Assist];
        let measure = measure(modes[usize::from(op.actor) % 2]);
        for run in reader.runs().unwrap() {
            for (place, conclusion) in conclude(&reader, &run, &measure, &[], now).unwrap().into_iter().enumerate() {
                commands.push(concluded(conclusion, &format!("{number}-{place}-{}", run.id())));
            }
        }
        for (place, conclusion) in conclude_outside(&reader, &measure, now).unwrap().into_iter().enumerate() {
            commands.push(concluded(conclusion, &format!("{number}-{place}")));
        }
    } else {
        for escalation in reader.escalations(None, false).unwrap().into_iter().take(1) {
            let wish = if op.x.is_multiple_of(2) {
                EscalationWish::Acknowledge { until: (op.x > 5).then_some(now), note: None }
            } else {
                EscalationWish::Resolve { note: Some("done".into()) }
            };
            commands.push(Command::Escalation { escalation_id: escalation.escalation_id, wish });
        }
        for suggestion in reader.suggestions(None, op.x > 2).unwrap().into_iter().take(1) {
            let wish = if op.actor.is_multiple_of(3) {
                SuggestionWish::Dismiss
            } else if op.x == 5 {
                SuggestionWish::Withdraw { reason: "gone".into() }
            } else {
                SuggestionWish::Accept { cooldown_until: Some(now) }
            };
            commands.push(Command::Suggestion { suggestion_id: suggestion.suggestion_id, wish });
        }
    }
    for command in commands {
        match shop.give(&human(), None, &command) {
            Ok(_) | Err(StoreError::Refused(_)) => {}
            Err(other) => prop_assert!(false, "{:?}: {:?}", command, other),
        }
    }
    Ok(())
}

/// The adviser is asked, or answers.
fn advise(shop: &Shop, op: &Op, number: usize) -> Result<(), TestCaseError> {
    let (reader, key) = (shop.reader(), key_of(op.run, op.which));
    let asked = Asked {
        question_id: format!("q-{number}"),
        program: "p".into(),
        about: format!("{}", op.actor % 2),
        request: Summary::default(),
        bytes_in: 7,
    };
    let open = reader.adviser(&key.run_id).unwrap().and_then(|kept| kept.open().cloned());
    let wish = match open {
        Some(open) if !op.kind.is_multiple_of(4) => {
            let agents = reader.agents(&key.run_id).unwrap();
            let agent = agents.iter().find(|agent| agent.key == key).unwrap();
            let (target, cause) = match op.actor {
                0..=1 => ("run".to_owned(), format!("as of {}", open.about)),
                _ => (agent_target(&key), agent_cause(agent)),
            };
            let intent = Aim::Rule(Intent::EscalateBlocked);
            let advice = match op.x {
                0..=5 => Ok(Advice { intent, target, confidence: 0.5, reason: "look".into() }),
                6 => Err(Rejection::new(Why::OtherTarget, "it is not")),
                _ => Err(Rejection::new(Why::Failed, "it is not there")),
            };
            AdviserWish::Told(Box::new(AdviserTold {
                asked: Asked { question_id: open.question_id, ..asked },
                advice,
                reply: None,
                cause: Some(cause),
                says: None,
                mode: OperatorMode::Auto,
                missing: op.actor.is_multiple_of(2),
                transcript: "words".into(),
                truncated: false,
                duration_ms: 5,
                bytes_out: 3,
            }))
        }
        _ => AdviserWish::Ask { asked, interval_ms: 0 },
    };
    let escalation_ids = [format!("esc-q{number}"), format!("esc-p{number}")];
    let command = Command::Adviser { run_id: key.run_id, wish, due_at: None, escalation_ids };
    match shop.give(&Actor::system("adviser"), None, &command) {
        Ok(_) | Err(StoreError::Refused(_)) => Ok(()),
        Err(other) => Err(TestCaseError::fail(format!("{command:?}: {other:?}"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 56, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_is_legal_and_made_again(begun in 0_u8..4, ops in proptest::collection::vec(op(), 1..70)) {
        let shop = Shop::new();
        for run in 0..2 {
            if begun & (1 << run) != 0 {
                begin(&shop, run);
            }
        }
        let mut end = shop.reader().last_seq().unwrap();
        for (number, op) in ops.iter().enumerate() {
            let key = op.keyed.then(|| format!("key-{}", number % 3));
            if (35..42).contains(&op.kind) || op.kind > 45 {
                if op.kind > 45 { advise(&shop, op, number)? } else { operate(&shop, op, number)? }
                end = shop.reader().last_seq().unwrap();
                continue;
            }
            let command = command(op);
            // What becomes of a text is said by whoever types it.
            let actor = if op.kind > 42 { Actor::system("typist") } else { human() };
            match shop.give(&actor, key.as_deref(), &command) {
                Ok(receipt) => {
                    prop_assert!(receipt.replayed || receipt.events.first().is_none_or(|event| event.seq == end + 1));
                    prop_assert!(receipt.replayed || receipt.seq >= end);
                    end = shop.reader().last_seq().unwrap();
                }
                Err(StoreError::Refused(refusal)) => {
                    prop_assert!(refusal.kind != RefusalKind::Illegal || refusal.state.is_some(), "{:?}", refusal);
                    prop_assert_eq!(shop.reader().last_seq().unwrap(), end);
                }
                Err(other) => prop_assert!(false, "{:?}: {:?}", command, other),
            }
        }
        let reader = shop.reader();
        let events = reader.events(0, &EventFilter::default(), 100_000).unwrap();
        let mut told = Told::default();
        for (place, event) in events.iter().enumerate() {
            prop_assert_eq!(event.seq, i64::try_from(place).unwrap() + 1);
            told.check(event)?;
            let (event_type, payload) = event.fact.split();
            prop_assert_eq!(&Fact::parse(&event_type, &payload.to_string()).unwrap(), &event.fact);
        }
        for run in reader.runs().unwrap() {
            prop_assert_eq!(told.runs.get(run.id()), Some(&run.status));
            let waits = reader.guidance_open(run.id()).unwrap();
            prop_assert!(!waits || run.status != RunStatus::Running, "a question is open and the run is running");
            prop_assert!(waits || run.status != RunStatus::AwaitingGuidance, "no question is open");
        }
        let mut standing = std::collections::BTreeSet::new();
        for escalation in reader.escalations(None, false).unwrap() {
            prop_assert_eq!(told.escalations.get(&escalation.escalation_id), Some(&escalation.stands()));
            if escalation.stands() {
                let subject = (escalation.run_id.clone(), escalation.kind, escalation.target.clone());
                prop_assert!(standing.insert(subject), "two stand for one subject: {:?}", escalation);
            }
            if let (Kind::Adviser, true, Some(run)) = (escalation.kind, escalation.stands(), &escalation.run_id) {
                prop_assert!(reader.run(run).unwrap().unwrap().status.at_work());
                let agents = reader.agents(run).unwrap();
                let causes = agents.iter().map(|agent| (agent_target(&agent.key), agent_cause(agent)));
                let so = causes.into_iter().any(|one| one == (escalation.target.clone(), escalation.cause.clone()));
                prop_assert!(so || escalation.target == "run", "nobody is as it was: {:?}", escalation);
            }
        }
        for suggestion in reader.suggestions(None, false).unwrap() {
            prop_assert_eq!(told.suggestions.get(&suggestion.suggestion_id), Some(&suggestion.state));
        }
        for delivery in reader.newest_deliveries(10_000).unwrap() {
            prop_assert_eq!(told.deliveries.get(&delivery.delivery_id), Some(&delivery.state));
        }
        for thread in reader.threads(&ThreadFilter::default(), None, 500).unwrap().threads {
            prop_assert_eq!(told.threads.get(&thread.thread_id), Some(&thread.state));
            let posts = reader.posts(&thread.thread_id, None).unwrap();
            prop_assert_eq!(thread.posts_count, u64::try_from(posts.len()).unwrap());
            prop_assert!(thread.state != ThreadState::Closed || thread.waiting_on.is_none());
            prop_assert_eq!(thread.waiting_on.is_some(), thread.waiting_since.is_some());
            if thread.control {
                let asked = reader.open_requests(thread.run_id.as_deref().unwrap()).unwrap();
                let open = asked.iter().any(|request| request.thread_id == thread.thread_id);
                let set_by_hand = matches!(thread.state, ThreadState::WaitingHuman | ThreadState::WaitingOperator);
                prop_assert!(thread.waiting_on == open.then_some(Side::Human) || set_by_hand || thread.state == ThreadState::Answered, "{:?}", thread);
            }
        }
        prop_assert_eq!(verify(&shop.path()).unwrap(), vec![]);
        prop_assert_eq!(rebuild(&shop.path()).unwrap(), end);
        prop_assert_eq!(verify(&shop.path()).unwrap(), vec![]);
        prop_assert_eq!(shop.reader().last_seq().unwrap(), end, "the journal is left as it is");
    }
}

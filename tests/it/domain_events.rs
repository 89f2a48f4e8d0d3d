//! The JSON of each event is a promise (architecture, rule 12).

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::adviser::{Advice, Advised, Aim, Asked, Outcome, Rejection, RuleSays, Summary, Why};
use metawsm::domain::agent::{AgentSpec, AgentStatus, Completion, Exit, Health, WaitingFor};
use metawsm::domain::escalation::{Kind, Severity, SuggestionState};
use metawsm::domain::event::{Author, Event, Fact, OwnFile, PullRequestFact, Subject, Worktree};
use metawsm::domain::feedback::{FeedbackStatus, Heard, Remark, Source};
use metawsm::domain::operator::{Action, Considered, Decision, Intent};
use metawsm::domain::plan::{StepKind, StepSpec, StepStatus};
use metawsm::domain::pull_request::PullRequestState;
use metawsm::domain::run::{Brief, RunMode, RunStatus};
use metawsm::domain::thread::{Priority, ThreadState};
use metawsm::domain::time::Moment;
use metawsm::services::words::words_of;
use proptest::prelude::*;

use crate::core_world::*;

fn request(head: &str, draft: bool) -> PullRequestFact {
    PullRequestFact {
        repo: "repo".into(),
        number: 7,
        url: "https://example.org/acme/repo/pull/7".into(),
        branch: "T-1/repo/run-1".into(),
        base: "main".into(),
        head: head.into(),
        title: "[T-1] a table".into(),
        draft,
        state: PullRequestState::Open,
    }
}

/// The name under which the snapshot of each is kept; a new variant does not compile until it has one.
fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::RunCreated { .. } => "run.created",
        Fact::RunTransitioned { .. } => "run.transitioned",
        Fact::RunSpecChanged { .. } => "run.spec_changed",
        Fact::StepTransitioned { from: None, .. } => "step.transitioned (planned)",
        Fact::StepTransitioned { .. } => "step.transitioned",
        Fact::WorkspaceCreated { .. } => "workspace.created",
        Fact::WorkspaceRemoved { .. } => "workspace.removed",
        Fact::AgentRegistered(_) => "agent.registered",
        Fact::AgentTransitioned { .. } => "agent.transitioned",
        Fact::AgentObserved { .. } => "agent.observed",
        Fact::AgentExited { .. } => "agent.exited",
        Fact::AgentRestarted { .. } => "agent.restarted",
        Fact::AgentProgressed { .. } => "agent.progressed",
        Fact::AgentQuietDeclared { .. } => "agent.quiet_declared",
        Fact::AgentHeld { .. } => "agent.held",
        Fact::AgentReleased { .. } => "agent.released",
        Fact::DocsSeeded { .. } => "docs.seeded",
        Fact::DocsSynced { .. } => "docs.synced",
        Fact::GitCommitted { .. } => "git.committed",
        Fact::GitPrOpened { .. } => "git.pr_opened",
        Fact::GitPrUpdated { .. } => "git.pr_updated",
        Fact::ReviewSynced { .. } => "review.synced",
        Fact::ReviewDispatched { .. } => "review.dispatched",
        Fact::GitMerged { .. } => "git.merged",
        Fact::OperatorDecided(_) => "operator.decided",
        Fact::OperatorAsked(_) => "operator.asked",
        Fact::OperatorAdvised(_) => "operator.advised",
        Fact::OperatorActed { .. } => "operator.acted",
        Fact::OperatorSuggested { .. } => "operator.suggested",
        Fact::SuggestionSettled { .. } => "operator.suggestion_settled",
        Fact::EscalationOpened { .. } => "escalation.opened",
        Fact::EscalationNotified { .. } => "escalation.notified",
        Fact::EscalationAcknowledged { .. } => "escalation.acknowledged",
        Fact::EscalationResolved { .. } => "escalation.resolved",
        Fact::DeliveryQueued { .. } => "delivery.queued",
        Fact::DeliveryTyped { .. } => "delivery.typed",
        Fact::DeliverySubmitted { .. } => "delivery.submitted",
        Fact::DeliveryFailed { .. } => "delivery.failed",
        Fact::OutboxDead { .. } => "outbox.dead",
        Fact::OutboxRetried { .. } => "outbox.retried",
        Fact::OutboxDropped { .. } => "outbox.dropped",
        Fact::PolicyChanged { .. } => "policy.changed",
        Fact::LeaseAcquired { .. } => "lease.acquired",
        Fact::LeaseLost { .. } => "lease.lost",
        Fact::ThreadOpened { .. } => "forum.thread.opened",
        Fact::PostAdded { .. } => "forum.post.added",
        Fact::ControlSignal { .. } => "forum.control.signal",
        Fact::Assigned { .. } => "forum.assigned",
        Fact::StateChanged { .. } => "forum.state.changed",
        Fact::PriorityChanged { .. } => "forum.priority.changed",
        Fact::ThreadClosed { .. } => "forum.thread.closed",
        Fact::Seen { .. } => "forum.seen",
    }
}

const VARIANTS: usize = 52;

fn author() -> Option<Author> {
    Some(Author { author_type: ActorType::Agent, author_name: "planner".into() })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn facts() -> Vec<Fact> {
    let plan = Plan { mode: RunMode::Bootstrap, ..Plan::of(&["planner"]) };
    let step = StepSpec {
        index: 4,
        name: "start-planner-ws".into(),
        kind: StepKind::StartAgent,
        ticket: "T-ws".into(),
        workspace: "ws".into(),
        agent: some("planner"),
        argv: vec!["codex".into()],
        paths: vec!["/home/ws/repo".into()],
    };
    vec![
        Fact::RunCreated {
            spec: plan.spec(),
            brief: Some(Brief {
                goal: "g".into(),
                scope: "s".into(),
                done_criteria: "d".into(),
                constraints: "c".into(),
                merge_intent: "m".into(),
            }),
            policy: serde_json::json!({ "version": 2 }),
        },
        Fact::RunTransitioned { from: RunStatus::Running, to: RunStatus::AwaitingGuidance, reason: "asked".into() },
        Fact::RunSpecChanged { dry_run: false },
        Fact::StepTransitioned {
            index: 4,
            from: None,
            to: StepStatus::Pending,
            attempt: 0,
            error: None,
            spec: Some(step),
        },
        Fact::StepTransitioned {
            index: 4,
            from: Some(StepStatus::Running),
            to: StepStatus::Failed,
            attempt: 2,
            error: some("codex: not found"),
            spec: None,
        },
        Fact::WorkspaceCreated {
            path: "/home/ws".into(),
            worktrees: vec![Worktree {
                repo: "repo".into(),
                path: "/home/ws/repo".into(),
                branch: "task/ws".into(),
                base: "main".into(),
                start: "0123abc".into(),
            }],
            warnings: vec!["fetch failed".into()],
        },
        Fact::WorkspaceRemoved { path: "/home/ws".into(), backups: vec!["repo refs/metawsm/backup/ws 0123abc".into()] },
        Fact::AgentRegistered(AgentSpec {
            ticket: "T-ws".into(),
            session: "planner-ws".into(),
            profile: "codex".into(),
            runner: "codex".into(),
            completion: Completion::Either,
            restart_budget: 3,
            may: vec!["run".into()],
            paste: true,
        }),
        Fact::AgentTransitioned {
            from: AgentStatus::Pending,
            to: AgentStatus::Running,
            reason: "started, launch 1".into(),
            launch: Some(1),
        },
        Fact::AgentObserved {
            health: Health::Idle,
            waiting_for: WaitingFor::Input,
            reason: "a question on its screen".into(),
            evidence: serde_json::json!({ "signal": "waiting_pattern", "age_seconds": 7 }),
        },
        Fact::AgentExited {
            launch: 1,
            exit: Exit {
                status: Some(3),
                signal: some("SIGKILL"),
                error: some("not found"),
                at: Some(Moment::from_millis(START)),
                source: "launcher".into(),
                hung_up: true,
                server_lost: some("77/4711"),
            },
        },
        Fact::AgentRestarted {
            launch: 2,
            epoch: 1,
            reason: "dead".into(),
            free: false,
            anew: false,
            server_lost: true,
            cooldown_until: Some(Moment::from_millis(START + 60_000)),
        },
        Fact::AgentProgressed { source: "signal".into(), note: some("half way"), percent: Some(50) },
        Fact::AgentHeld { by: "kim".into(), reason: some("I look into it myself") },
        Fact::AgentReleased { reason: some("it is started again") },
        Fact::AgentQuietDeclared { until: Moment::from_millis(START + 1_200_000), reason: "long build".into() },
        Fact::DocsSeeded {
            dir: "ttmp/2026/11/21/T-ws--x".into(),
            repo: "repo".into(),
            files: vec![OwnFile { path: "ttmp/index.md".into(), blob: "e69de29".into() }],
            revision: some("1795248000000"),
        },
        Fact::DocsSynced {
            dir: "ttmp/2026/11/21/T-ws--x".into(),
            repo: "repo".into(),
            files: vec![OwnFile { path: "ttmp/2026/11/21/T-ws--x/changelog.md".into(), blob: "e69de29".into() }],
            of_thread: "t1".into(),
            of_event: "fevt-1".into(),
        },
        Fact::DeliveryQueued {
            delivery_id: "dlv-1".into(),
            from: Author { author_type: ActorType::Human, author_name: "bo".into() },
            text: some("go on"),
            post_id: some("e1.post"),
            urgent: true,
        },
        Fact::DeliveryTyped {
            delivery_id: "dlv-1".into(),
            launch: 2,
            evidence: serde_json::json!({ "signal": "ready", "source": "screen" }),
        },
        Fact::DeliverySubmitted {
            delivery_id: "dlv-1".into(),
            evidence: serde_json::json!({ "signal": "left_composer", "source": "screen" }),
        },
        Fact::DeliveryFailed { delivery_id: "dlv-1".into(), reason: "coder exited with 1".into() },
        Fact::OutboxDead {
            id: 3,
            topic: "forum.integration.docs_sync.requested".into(),
            key: "t1".into(),
            attempts: 8,
            error: "the disk is full".into(),
        },
        Fact::OutboxRetried { id: 3, topic: "forum.integration.docs_sync.requested".into(), key: "t1".into() },
        Fact::OutboxDropped {
            id: 3,
            topic: "forum.integration.docs_sync.requested".into(),
            key: "t1".into(),
            payload: serde_json::json!({ "thread_id": "t1" }),
        },
        Fact::GitCommitted {
            repo: "repo".into(),
            sha: "0123abc".into(),
            message: "docs".into(),
            own: true,
            author: None,
        },
        Fact::GitPrOpened { request: request("0123abc", true), on_behalf_of: None },
        Fact::GitPrUpdated { request: request("4567def", false), on_behalf_of: Some("Ada".into()) },
        Fact::ReviewSynced {
            repo: "repo".into(),
            number: 7,
            items: vec![Heard {
                remark: Remark {
                    source: Source::PrReviewComment,
                    source_id: 99,
                    author: "ada".into(),
                    body: "Why?".into(),
                    path: some("src/main.rs"),
                    line: Some(7),
                    url: some("https://example.org/acme/repo/pull/7#r99"),
                    said_at: some("2026-11-21T08:00:00Z"),
                    association: some("MEMBER"),
                },
                status: FeedbackStatus::Queued,
            }],
        },
        Fact::ReviewDispatched { repo: "repo".into(), items: vec!["7/pr_review_comment/99".into()] },
        Fact::GitMerged {
            repo: "repo".into(),
            base: "main".into(),
            old: "0".into(),
            new: "2".into(),
            head: "1".into(),
            how: "merge".into(),
        },
        Fact::OperatorDecided(Decision {
            target: "agent:ws/planner".into(),
            cause: "launch 1 dead since 2026-11-21T08:00:00.000Z".into(),
            rule: 3,
            intent: Intent::AutoRestart,
            action: Action::Nothing,
            reason: "planner is dead (ended by SIGKILL): restart 1 of 3".into(),
            evidence: serde_json::json!({ "status": "dead" }),
            considered: vec![Considered { intent: Intent::AutoRestart, why_not: "it is not confirmed yet".into() }],
            due_at: Some(Moment::from_millis(START + 15_000)),
            cooldown_until: Some(Moment::from_millis(START + 75_000)),
        }),
        Fact::OperatorAsked(Asked {
            question_id: "q-1".into(),
            program: "codex".into(),
            about: "0123abc".into(),
            request: summary(),
            bytes_in: 2_000,
        }),
        Fact::OperatorAdvised(Advised {
            question_id: "q-1".into(),
            program: "codex".into(),
            request: summary(),
            outcome: Outcome::Rejected,
            rejection: Some(Rejection::new(Why::Differs, "the rules say otherwise, and they decide")),
            advice: Some(Advice {
                intent: Aim::Rule(Intent::EscalateBlocked),
                target: "agent:ws/planner".into(),
                confidence: 0.75,
                reason: "it goes round in a circle".into(),
            }),
            rule: Some(Aim::Rule(Intent::AutoRestart)),
            reply: Some(serde_json::json!({ "intent": "escalate_blocked" })),
            transcript: "thinking".into(),
            truncated: true,
            duration_ms: 1_500,
            bytes_in: 2_000,
            bytes_out: 90_000,
        }),
        Fact::OperatorActed {
            intent: Intent::AutoRestart,
            target: "agent:ws/planner".into(),
            reason: "restart 1 of 3".into(),
        },
        Fact::OperatorSuggested {
            suggestion_id: "sug-1".into(),
            intent: Intent::AutoRestart,
            target: "agent:ws/planner".into(),
            cause: "launch 1".into(),
            reason: "dead".into(),
            evidence: serde_json::json!({ "status": "dead" }),
        },
        Fact::SuggestionSettled {
            suggestion_id: "sug-1".into(),
            to: SuggestionState::Withdrawn,
            reason: some("its cause is gone"),
        },
        Fact::EscalationOpened {
            escalation_id: "esc-1".into(),
            kind: Kind::TmuxServerLost,
            severity: Severity::Critical,
            target: "request:e1.post".into(),
            cause: "waits".into(),
            reason: "which schema?".into(),
            evidence: serde_json::json!({ "signal": "question" }),
            due_at: Some(Moment::from_millis(START)),
            update: true,
        },
        Fact::EscalationNotified {
            escalation_id: "esc-1".into(),
            kind: Some(Kind::DeadLetter),
            about_calls: true,
            times: 2,
            due_at: Some(Moment::from_millis(START)),
        },
        Fact::EscalationAcknowledged {
            escalation_id: "esc-1".into(),
            due_at: Some(Moment::from_millis(START)),
            note: some("after lunch"),
        },
        Fact::EscalationResolved { escalation_id: "esc-1".into(), note: some("by hand") },
        Fact::PolicyChanged {
            mode: metawsm::domain::policy::OperatorMode::Auto,
            changed: vec!["operator.llm.mode".into()],
            followed: serde_json::json!({ "operator": { "llm": { "mode": "auto" } } }),
        },
        Fact::LeaseAcquired { pid: 4711, host: "here".into() },
        Fact::LeaseLost { pid: 4711 },
        Fact::ThreadOpened {
            title: "which schema?".into(),
            body: "v1 or v2".into(),
            priority: Priority::High,
            state: ThreadState::WaitingHuman,
            control: true,
            wait: true,
            epoch: Some(1),
            author: author(),
        },
        Fact::PostAdded { body: "words".into(), wait: true, author: author() },
        Fact::ControlSignal { body: "{\"schema_version\":1}".into(), in_reply_to: some("e1.post"), author: author() },
        Fact::Assigned {
            from_assignee_type: Some(ActorType::Operator),
            from_assignee_name: some("operator"),
            to_assignee_type: ActorType::Human,
            to_assignee_name: "bo".into(),
            note: some("yours"),
        },
        Fact::StateChanged { from_state: ThreadState::New, to_state: ThreadState::WaitingOperator },
        Fact::PriorityChanged { from_priority: Priority::Normal, to_priority: Priority::Urgent },
        Fact::ThreadClosed { from_state: ThreadState::Answered, to_state: ThreadState::Closed },
        Fact::Seen { viewer: "human:bo".into(), last_seen_event_sequence: 7 },
    ]
}

fn summary() -> Summary {
    let target = "agent:ws/planner".into();
    let rules = vec![RuleSays { target, wants: Intent::AutoRestart, action: Action::Nothing }];
    Summary { agents: 2, unhealthy: 1, questions: 0, rules }
}

fn event(fact: Fact) -> Event {
    Event {
        seq: 7,
        event_id: "fevt-1".into(),
        occurred_at: Moment::from_millis(START + 123),
        subject: Subject {
            run_id: some(RUN),
            ticket: some("T-ws"),
            workspace: some("ws"),
            agent_name: some("planner"),
            thread_id: some("t1"),
        },
        actor: Actor::human("bo"),
        correlation_id: "fevt-1".into(),
        causation_id: some("fevt-0"),
        fact,
    }
}

#[test]
fn the_json_of_each_event() {
    let facts = facts();
    let names: std::collections::BTreeSet<&str> = facts.iter().map(name).collect();
    assert_eq!(names.len(), VARIANTS, "one of each");
    for fact in facts {
        let name = name(&fact);
        let event = event(fact);
        let (event_type, payload) = event.fact.split();
        assert!(name.starts_with(&event_type));
        assert_eq!(Fact::parse(&event_type, &payload.to_string()).unwrap(), event.fact, "{name}");
        insta::assert_json_snapshot!(name.replace(' ', "_"), event.to_json());
    }
}

/// For people: no times of the journal, no identities, no words of programs.
#[test]
fn each_event_in_words() {
    let lines: Vec<String> = facts()
        .into_iter()
        .map(|fact| (name(&fact), words_of(&event(fact))))
        .filter(|(_, words)| !words.is_empty())
        .map(|(name, words)| format!("{name}: {words}"))
        .collect();
    for line in &lines {
        let words = line.split_once(": ").map_or(line.as_str(), |(_, words)| words);
        assert!(!words.contains('_') && !words.contains("T0") && !words.contains("00Z"), "{line}");
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn empty_fields_are_absent() {
    let mut bare = event(Fact::LeaseLost { pid: 1 });
    bare.subject = Subject { ticket: some(""), ..Subject::default() };
    bare.causation_id = None;
    let json = bare.to_json();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "seq",
            "event_id",
            "event_type",
            "event_version",
            "occurred_at",
            "actor_type",
            "actor_name",
            "correlation_id",
            "payload"
        ]
    );
    let minimal = Fact::PostAdded { body: "x".into(), wait: false, author: None };
    assert_eq!(minimal.split().1.to_string(), r#"{"body":"x"}"#);
}

#[test]
fn what_this_program_does_not_know_is_an_error_not_a_panic() {
    assert!(Fact::parse("agent.danced", "{}").is_err());
    assert!(Fact::parse("lease.lost", "{}").is_err());
    let newer = serde_json::json!({ "body": "x", "mood": "good" });
    assert!(Fact::parse("forum.post.added", &newer.to_string()).is_ok(), "fields are added");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn words_come_back_as_they_went(body in any::<String>(), title in any::<String>(), spoken in any::<bool>(), wait in any::<bool>()) {
        let author = spoken.then(|| Author { author_type: ActorType::Agent, author_name: title.clone() });
        for fact in [
            Fact::PostAdded { body: body.clone(), wait, author: author.clone() },
            Fact::ControlSignal { body: body.clone(), in_reply_to: wait.then(|| title.clone()), author: author.clone() },
            Fact::ThreadOpened {
                title: title.clone(),
                body: body.clone(),
                priority: Priority::Low,
                state: ThreadState::New,
                control: false,
                wait,
                epoch: None,
                author: author.clone(),
            },
            Fact::RunTransitioned { from: RunStatus::Created, to: RunStatus::Planning, reason: body.clone() },
        ] {
            let (event_type, payload) = fact.split();
            let text = payload.to_string();
            prop_assert_eq!(Fact::parse(&event_type, &text).unwrap(), fact);
        }
    }
}

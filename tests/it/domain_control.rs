//! Control threads: requests, answers, signals, and who may (spec 2.1, 2.5; D34).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use metawsm::domain::actor::{Actor, Side};
use metawsm::domain::agent::AgentKey;
use metawsm::domain::command::{Command, RunWish, ThreadWish};
use metawsm::domain::event::Fact;
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::RunStatus;
use metawsm::domain::signal::{Signal, SignalType};
use metawsm::domain::thread::ThreadState;

use crate::core_world::*;

fn request(question: &str) -> Command {
    let signal =
        Signal { question: Some(question.into()), ..Signal::new(SignalType::GuidanceRequest, RUN, "ws", "a", 0) };
    signal_by(signal, Actor::agent("a"))
}

fn open(stage: &Stage) -> Vec<String> {
    stage.scene.open_requests(&control("a")).iter().map(|request| request.question.clone()).collect()
}

fn id_of(stage: &Stage, question: &str) -> String {
    stage.scene.requests_of(&control("a")).find(|request| request.question == question).unwrap().post_id.clone()
}

fn three_questions() -> Stage {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    for question in ["first", "second", "third"] {
        stage.must(&request(question));
    }
    stage
}

#[test]
fn the_first_signal_opens_the_control_thread() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let events = stage.must(&signal("a", SignalType::Progress));
    assert!(matches!(events[0].fact, Fact::ThreadOpened { control: true, .. }));
    let thread = stage.thread(&control("a"));
    assert_eq!((thread.state, thread.waiting_on, thread.posts_count), (ThreadState::New, None, 1));
    assert!(
        stage
            .must(&signal("a", SignalType::Progress))
            .iter()
            .all(|event| !matches!(event.fact, Fact::ThreadOpened { .. }))
    );
}

#[test]
fn each_request_is_answered_by_an_answer_naming_it() {
    let mut stage = three_questions();
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance);
    let second = id_of(&stage, "second");
    stage.must(&answer(&control("a"), human(), Some(&second)));
    assert_eq!(open(&stage), ["first", "third"]);
    stage.must(&answer(&control("a"), operator(), None));
    assert_eq!(open(&stage), ["third"], "the oldest when none is named");
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance);
    let since = stage.thread(&control("a")).waiting_since;
    assert_eq!(
        since,
        Some(stage.scene.open_requests(&control("a"))[0].opened_at),
        "it waits since the oldest open one"
    );
    let refused = stage.refused(&answer(&control("a"), human(), Some(&second)));
    assert_eq!((refused.kind, refused.state.as_deref()), (RefusalKind::Illegal, Some("answered")));
    stage.must(&answer(&control("a"), human(), None));
    assert_eq!((stage.status(), stage.thread(&control("a")).waiting_on), (RunStatus::Running, None));
    assert_eq!(stage.refused(&answer(&control("a"), human(), None)).kind, RefusalKind::Illegal, "nothing is open");
    assert_eq!(stage.refused(&answer(&control("a"), human(), Some("e999.post"))).kind, RefusalKind::NotFound);
}

#[test]
fn a_plain_word_of_a_human_is_the_answer_to_the_oldest() {
    let mut stage = three_questions();
    let events = stage.must(&post(&control("a"), human(), "like this"));
    let Fact::ControlSignal { in_reply_to, body, .. } = &events[0].fact else { panic!("{events:?}") };
    assert_eq!(in_reply_to.as_deref(), Some(id_of(&stage, "first").as_str()));
    assert!(body.contains("guidance_answer") && body.contains("like this"));
    assert_eq!(open(&stage), ["second", "third"]);
    stage.must(&post(&control("a"), Actor::agent("a"), "hurry"));
    assert_eq!(open(&stage), ["second", "third"], "an agent's plain word answers nothing");
    stage.must(&post(&control("a"), operator(), "b"));
    stage.must(&post(&control("a"), human(), "c"));
    let events = stage.must(&post(&control("a"), human(), "anything else?"));
    assert!(matches!(events[0].fact, Fact::PostAdded { .. }), "with nothing open it is a word");
    assert_eq!(stage.thread(&control("a")).waiting_on, None, "and nobody is waited for");
}

#[test]
fn agents_do_not_answer() {
    let mut stage = three_questions();
    let control = control("a");
    assert_eq!(stage.refused(&answer(&control, Actor::agent("b"), None)).kind, RefusalKind::NotAllowed);
    let refused = stage.refused_to(Actor::agent("a"), Some(key("a")), &answer(&control, Actor::agent("a"), None));
    assert_eq!(refused.kind, RefusalKind::NotAllowed);
    let by_signal = signal_by(full_signal(SignalType::GuidanceAnswer, &key("a"), 0), Actor::agent("a"));
    assert_eq!(stage.refused(&by_signal).kind, RefusalKind::NotAllowed);
    stage.must(&signal_by(full_signal(SignalType::GuidanceAnswer, &key("a"), 0), operator()));
    assert_eq!(open(&stage), ["second", "third"]);
    let nothing_asked = signal_by(full_signal(SignalType::GuidanceAnswer, &key("b"), 0), human());
    assert_eq!(stage.refused(&nothing_asked).kind, RefusalKind::Illegal);
}

#[test]
fn an_agent_changes_its_own_threads_and_no_others() {
    let mut stage = three_questions();
    stage.must(&ask("t", "a", "which?", false));
    let (other, itself) = (Actor::agent("b"), Actor::agent("a"));
    let changes = || {
        [
            ThreadWish::State { to: ThreadState::Triaged },
            ThreadWish::Priority { to: metawsm::domain::thread::Priority::Urgent },
            ThreadWish::Assign {
                assignee_type: metawsm::domain::actor::ActorType::Human,
                assignee: "bo".into(),
                note: None,
            },
            ThreadWish::Close,
        ]
    };
    for id in ["t".to_owned(), control("a")] {
        let words = [post(&id, other.clone(), "mine"), answer(&id, other.clone(), None)];
        for command in changes().into_iter().map(|wish| thread(&id, wish)).chain(words.clone()) {
            let refused = stage.refused_to(other.clone(), Some(key("b")), &command);
            assert_eq!(refused.kind, RefusalKind::NotAllowed, "{command:?}");
        }
        for command in words {
            assert_eq!(stage.refused(&command).kind, RefusalKind::NotAllowed, "a human who speaks for b");
        }
        // The same name in another workspace is another agent.
        let namesake = AgentKey::new(RUN, "zz", "a");
        let refused = stage.refused_to(itself.clone(), Some(namesake), &thread(&id, ThreadWish::Close));
        assert_eq!(refused.kind, RefusalKind::NotAllowed);
        let seen = ThreadWish::Seen { viewer: format!("agent:{RUN}/ws/b"), seq: None };
        stage.give(other.clone(), Some(key("b")), &thread(&id, seen)).unwrap();
    }
    assert_eq!(open(&stage).len(), 3);
    for wish in changes() {
        stage.give(itself.clone(), Some(key("a")), &thread("t", wish)).unwrap();
    }
    stage.give(itself, Some(key("a")), &thread(&control("a"), ThreadWish::Close)).unwrap();
    assert_eq!(open(&stage).len(), 0, "what it asked itself it may let go");
}

#[test]
fn a_state_set_by_hand_hides_no_open_request() {
    let mut stage = three_questions();
    let id = control("a");
    for to in ThreadState::ALL.into_iter().filter(|to| *to != ThreadState::Closed) {
        let refused = stage.refused(&thread(&id, ThreadWish::State { to }));
        assert_eq!(refused.kind, RefusalKind::Illegal, "{to}");
        assert!(refused.hint.unwrap().contains("forum answer"), "{to}");
    }
    for _ in 0..3 {
        assert_eq!(stage.thread(&id).waiting_on, Some(Side::Human));
        stage.must(&answer(&id, human(), None));
    }
    let waits = stage.refused(&thread(&id, ThreadWish::State { to: ThreadState::WaitingHuman }));
    assert_eq!(waits.kind, RefusalKind::Illegal, "nothing is asked: it waits for nobody");
    stage.must(&thread(&id, ThreadWish::State { to: ThreadState::Triaged }));
}

#[test]
fn only_the_agent_or_a_human_for_it_signals() {
    for kind in [SignalType::GuidanceRequest, SignalType::Completion, SignalType::Validation, SignalType::Progress] {
        let by = |author| signal_by(full_signal(kind, &key("a"), 0), author);
        let mut stage = Stage::running(&Plan::of(&["a", "b"]));
        for other in [operator(), Actor::agent("b")] {
            assert_eq!(stage.refused(&by(other)).kind, RefusalKind::NotAllowed, "{kind:?}");
        }
        let system = Actor::system("rules");
        assert_eq!(stage.refused_to(system.clone(), None, &by(system)).kind, RefusalKind::NotAllowed);
        let in_session = stage.refused_to(Actor::agent("b"), Some(key("b")), &by(Actor::agent("b")));
        assert_eq!(in_session.kind, RefusalKind::NotAllowed);
        stage.must(&by(human()));
        stage.give(Actor::agent("a"), Some(key("a")), &by(Actor::agent("a"))).unwrap();
    }
}

#[test]
fn a_human_speaks_for_an_agent_and_the_event_keeps_who_it_was() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let events = stage.must(&signal("a", SignalType::Completion));
    let said = events.iter().find(|event| matches!(event.fact, Fact::ControlSignal { .. })).unwrap();
    assert_eq!(said.actor, human());
    let Fact::ControlSignal { author: Some(author), .. } = &said.fact else { panic!("{said:?}") };
    assert_eq!(author.author_name, "a");
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn with_several_workspaces_a_completion_counts_for_its_own() {
    let plan = Plan { workspaces: vec!["ws".into(), "zz".into()], ..Plan::of(&["a"]) };
    let mut stage = Stage::running(&plan);
    let of = |workspace: &str| {
        let key = AgentKey::new(RUN, workspace, "a");
        thread(
            &metawsm::domain::thread::control_thread_id(RUN, "a", Some(workspace)),
            ThreadWish::Signal {
                ticket: ticket(workspace),
                signal: full_signal(SignalType::Completion, &key, 0),
                in_reply_to: None,
                author: Some(Actor::agent("a")),
            },
        )
    };
    stage.must(&of("zz"));
    assert_eq!(stage.status(), RunStatus::Running, "the agent of the same name in the other workspace works");
    stage.must(&of("ws"));
    assert_eq!(stage.status(), RunStatus::Completed);
}

#[test]
fn signals_belong_in_the_agents_own_control_thread() {
    let mut stage = three_questions();
    stage.must(&ask("t", "a", "which?", false));
    let into = |id: &str, name: &str| {
        let wish = ThreadWish::Signal {
            ticket: "T-ws".into(),
            signal: full_signal(SignalType::Completion, &key(name), 0),
            in_reply_to: None,
            author: Some(Actor::agent(name)),
        };
        thread(id, wish)
    };
    assert_eq!(stage.refused(&into("t", "a")).kind, RefusalKind::Illegal, "a plain thread");
    assert_eq!(stage.refused(&into(&control("a"), "b")).kind, RefusalKind::Illegal, "another's");
}

#[test]
fn closing_settles_the_requests_and_the_next_signal_opens_it_again() {
    let mut stage = three_questions();
    stage.must(&thread(&control("a"), ThreadWish::Close));
    assert_eq!((open(&stage).len(), stage.status()), (0, RunStatus::Running));
    stage.refused(&answer(&control("a"), human(), None));
    stage.must(&request("fourth"));
    let again = stage.thread(&control("a"));
    assert_eq!((again.state, again.waiting_on), (ThreadState::Triaged, Some(Side::Human)));
    assert_eq!(open(&stage), ["fourth"]);
    // Opened again by a human it waits for nobody: its requests were settled.
    let mut stage = three_questions();
    stage.must(&thread(&control("a"), ThreadWish::Close));
    stage.must(&thread(&control("a"), ThreadWish::Reopen));
    assert_eq!(stage.thread(&control("a")).waiting_on, None);
}

#[test]
fn a_signal_lacks_nothing_and_fits() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    for kind in [SignalType::GuidanceRequest, SignalType::Validation, SignalType::Progress] {
        let blank = Signal::new(kind, RUN, "ws", "a", 0);
        assert_eq!(stage.refused(&signal_by(blank, Actor::agent("a"))).kind, RefusalKind::Invalid, "{kind:?}");
    }
    let with =
        |summary: &str| Signal { summary: Some(summary.into()), ..full_signal(SignalType::Completion, &key("a"), 0) };
    for bad in ["nul\0", &"x".repeat(1024 * 1024 + 1)] {
        assert_eq!(stage.refused(&signal_by(with(bad), Actor::agent("a"))).kind, RefusalKind::Invalid);
    }
    let blank = Signal { summary: Some(" ".into()), ..Signal::new(SignalType::Completion, RUN, "ws", "a", 0) };
    stage.must(&signal_by(blank, Actor::agent("a")));
    assert_eq!(stage.status(), RunStatus::Completed, "a completion needs nothing more");
}

#[test]
fn nothing_is_signalled_to_a_closed_run() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.put_run(RunStatus::Closed);
    let refused = stage.refused(&signal("a", SignalType::Completion));
    assert_eq!((refused.kind, refused.state.as_deref()), (RefusalKind::Illegal, Some("closed")));
}

#[test]
fn in_a_session_the_caller_is_that_agent() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&ask("t", "a", "which?", false));
    let me = Some(key("a"));
    // Another actor is refused, whatever is wished.
    for wish in [
        ThreadWish::Close,
        ThreadWish::State { to: ThreadState::Triaged },
        ThreadWish::Assign {
            assignee_type: metawsm::domain::actor::ActorType::Human,
            assignee: "bo".into(),
            note: None,
        },
        ThreadWish::Seen { viewer: "human:bo".into(), seq: None },
        ThreadWish::Post { body: "x".into(), wait: false, author: None },
    ] {
        let refused = stage.refused_to(human(), me.clone(), &thread("t", wish));
        assert_eq!(refused.kind, RefusalKind::NotAllowed);
    }
    // Its own actor, another's words or affairs.
    let itself = Actor::agent("a");
    for command in [
        post("t", human(), "x"),
        ask_by("t2", Some(key("b")), itself.clone(), "which?", true),
        thread("t", ThreadWish::Seen { viewer: "human:bo".into(), seq: None }),
        run(RunWish::Stop),
        agent("b", restart(false)),
    ] {
        assert_eq!(stage.refused_to(itself.clone(), me.clone(), &command).kind, RefusalKind::NotAllowed, "{command:?}");
    }
    for command in [
        post("t", itself.clone(), "x"),
        ask_by("t2", me.clone(), itself.clone(), "which?", true),
        thread("t", ThreadWish::Seen { viewer: format!("agent:{RUN}/ws/a"), seq: None }),
    ] {
        stage.give(itself.clone(), me.clone(), &command).unwrap();
    }
    let refused = stage.refused(&post("t", Actor::system("x"), "x"));
    assert_eq!(refused.kind, RefusalKind::NotAllowed, "only metawsm speaks as system");
}

#[test]
fn an_agent_whose_profile_says_so_acts_on_runs() {
    let mut stage = Stage::running(&Plan { may: vec!["run".into()], ..Plan::of(&["a", "b"]) });
    stage.give(Actor::agent("a"), Some(key("a")), &agent("b", restart(false))).unwrap();
    stage.give(Actor::agent("a"), Some(key("a")), &run(RunWish::Pause)).unwrap();
    assert_eq!(stage.status(), RunStatus::Paused);
    let stranger = AgentKey::new("run-0", "ws", "a");
    let refused = stage.refused_to(Actor::agent("a"), Some(stranger), &run(RunWish::Resume));
    assert_eq!(refused.kind, RefusalKind::NotAllowed, "an agent nobody knows");
}

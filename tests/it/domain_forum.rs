//! Threads: states, waiting, answers, marks (spec 2.5; original 3.7 and 7).

use metawsm::domain::actor::{Actor, ActorType, Side};
use metawsm::domain::agent::AgentKey;
use metawsm::domain::command::{Command, ThreadWish};
use metawsm::domain::event::Fact;
use metawsm::domain::refusal::RefusalKind;
use metawsm::domain::run::RunStatus;
use metawsm::domain::thread::{Priority, ThreadState};

use crate::core_world::*;

fn state(id: &str, to: ThreadState) -> Command {
    thread(id, ThreadWish::State { to })
}

fn with_thread() -> Stage {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&ask("t", "a", "which?", false));
    stage
}

#[test]
fn states_change_along_the_table_and_not_otherwise() {
    for from in ThreadState::ALL {
        for to in ThreadState::ALL {
            let mut stage = with_thread();
            stage.put_thread("t", from);
            let reopening = from == ThreadState::Closed;
            let closing_again = from == ThreadState::Closed && to == ThreadState::Closed;
            if closing_again {
                assert!(stage.must(&state("t", to)).is_empty(), "closing the closed does nothing");
            } else if from == to {
                assert_eq!(moves(&stage.must(&state("t", to))), format!("{from}>{to}"), "said again");
            } else if from.successors().contains(&to) && !reopening {
                stage.must(&state("t", to));
                assert_eq!(stage.thread("t").state, to);
            } else {
                let refused = stage.refused(&state("t", to));
                assert_eq!(refused.state.as_deref(), Some(from.word()));
                let legal: Vec<&str> = match from {
                    ThreadState::Closed => vec!["forum reopen"],
                    _ => from.successors().iter().map(|state| state.word()).collect(),
                };
                assert_eq!(refused.allowed, legal, "{from} to {to}");
                assert!(refused.hint.is_some());
            }
        }
    }
}

#[test]
fn closing_by_state_equals_closing() {
    let mut one = with_thread();
    let mut other = with_thread();
    let closed = one.must(&thread("t", ThreadWish::Close));
    let stated = other.must(&state("t", ThreadState::Closed));
    assert_eq!(closed, stated);
    assert!(matches!(closed[0].fact, Fact::ThreadClosed { .. }));
    assert_eq!(one.scene, other.scene);
}

#[test]
fn a_closed_thread_takes_nothing_and_says_how_to_open_it() {
    let mut stage = with_thread();
    stage.must(&thread("t", ThreadWish::Close));
    let seen = stage.thread("t").clone();
    assert_eq!((seen.waiting_on, seen.blocking, seen.closed_at.is_some()), (None, false, true));
    for wish in [
        ThreadWish::Post { body: "x".into(), wait: false, author: None },
        ThreadWish::Answer { body: "x".into(), in_reply_to: None, author: None },
        ThreadWish::Assign { assignee_type: ActorType::Human, assignee: "bo".into(), note: None },
        ThreadWish::Priority { to: Priority::High },
    ] {
        let refused = stage.refused(&thread("t", wish));
        assert_eq!(
            (refused.state.as_deref(), refused.allowed.as_slice()),
            (Some("closed"), &["forum reopen".to_owned()][..])
        );
        assert!(refused.hint.unwrap().contains("forum reopen"));
    }
    assert!(stage.must(&thread("t", ThreadWish::Close)).is_empty(), "a no-op");
}

#[test]
fn reopen_is_for_the_human_side_and_for_the_closed() {
    let mut stage = with_thread();
    let refused = stage.refused(&thread("t", ThreadWish::Reopen));
    assert_eq!((refused.kind, refused.state.as_deref()), (RefusalKind::Illegal, Some("new")));
    stage.must(&thread("t", ThreadWish::Close));
    let agent = Actor::agent("a");
    let refused = stage.refused_to(agent, Some(key("a")), &thread("t", ThreadWish::Reopen));
    assert_eq!(refused.kind, RefusalKind::NotAllowed);
    stage.give(operator(), None, &thread("t", ThreadWish::Reopen)).unwrap();
    let open = stage.thread("t");
    assert_eq!((open.state, open.closed_at), (ThreadState::Triaged, None));
    assert_eq!(open.waiting_on, Some(Side::Human), "the agent spoke last: it waits again");
}

#[test]
fn whom_a_thread_waits_for() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let waits = |stage: &Stage| stage.thread("t").waiting_on;
    stage.must(&ask_by("t", None, human(), "how far?", false));
    assert_eq!(waits(&stage), Some(Side::Agent));
    stage.must(&post("t", operator(), "and?"));
    assert_eq!(waits(&stage), Some(Side::Agent), "humans and the operator are one side");
    stage.must(&post("t", Actor::agent("a"), "half"));
    assert_eq!(waits(&stage), Some(Side::Human));
    let since = stage.thread("t").waiting_since;
    stage.must(&post("t", Actor::agent("a"), "nearly"));
    assert_eq!(stage.thread("t").waiting_since, since, "it waits since the first of them");
    stage.give(Actor::system("docs"), None, &post("t", Actor::system("docs"), "noted")).unwrap();
    assert_eq!(waits(&stage), Some(Side::Human), "system's words are on no side");
    stage.must(&answer("t", human(), None));
    assert_eq!((waits(&stage), stage.thread("t").state), (None, ThreadState::Answered));
}

#[test]
fn an_answer_is_legal_only_for_the_side_that_is_waited_for() {
    let mut stage = with_thread();
    let refused = stage.refused(&answer("t", Actor::agent("a"), None));
    assert_eq!((refused.kind, refused.allowed.as_slice()), (RefusalKind::Illegal, &["forum post".to_owned()][..]));
    let events = stage.must(&answer("t", human(), None));
    assert!(matches!(events[0].fact, Fact::PostAdded { .. }));
    assert_eq!(moves(&events), "new>answered");
    stage.refused(&answer("t", human(), None));
    stage.must(&post("t", human(), "one more thing"));
    stage.refused(&answer("t", operator(), None));
    stage.must(&answer("t", Actor::agent("a"), None));
    let refused = stage.refused(&answer("t", human(), Some("e1.post")));
    assert_eq!(refused.kind, RefusalKind::Invalid, "--in-reply-to is for control threads");
}

#[test]
fn the_same_ask_joins_the_open_thread() {
    let mut stage = Stage::running(&Plan::of(&["a", "b"]));
    stage.must(&ask("t1", "a", "which?", true));
    let joined = |stage: &Stage, command: &Command| {
        metawsm::domain::decide::decide(&stage.scene, command, &stage.context(human(), None)).unwrap().joined
    };
    assert_eq!(joined(&stage, &ask("t2", "a", "which?", true)).as_deref(), Some("t1"));
    assert!(stage.must(&ask("t2", "a", "which?", true)).is_empty());
    assert_eq!(joined(&stage, &ask("t2", "a", "which?", false)).as_deref(), Some("t1"), "without --wait too");
    for (why, other) in [
        ("another title", ask("t2", "a", "what?", true)),
        ("another agent", ask("t2", "b", "which?", true)),
        ("of nobody", ask_by("t2", None, Actor::agent("a"), "which?", true)),
    ] {
        assert_eq!(joined(&stage, &other), None, "{why}");
    }
    stage.must(&answer("t1", human(), None));
    assert_eq!(joined(&stage, &ask("t2", "a", "which?", true)), None, "answered");
    stage.must(&ask("t2", "a", "which?", true));
    stage.must(&agent("a", metawsm::domain::command::AgentWish::Exited { launch: 1, exit: exit(0) }));
    stage.must(&agent("a", restart(false)));
    assert_eq!(joined(&stage, &ask("t3", "a", "which?", true)), None, "another epoch");
}

#[test]
fn who_did_not_wait_and_asks_again_to_wait_waits_in_the_open_thread() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&ask("t1", "a", "which?", false));
    assert!(stage.must(&ask("t2", "a", "which?", false)).is_empty());
    assert_eq!(stage.status(), RunStatus::Running);
    let events = stage.must(&ask("t2", "a", "which?", true));
    assert!(matches!(&events[0].fact, Fact::PostAdded { wait: true, .. }), "{events:?}");
    assert!(stage.scene.threads.get("t2").is_none());
    let open = stage.thread("t1");
    assert_eq!((open.state, open.blocking), (ThreadState::WaitingHuman, true));
    assert_eq!(stage.status(), RunStatus::AwaitingGuidance);
    assert!(stage.must(&ask("t2", "a", "which?", true)).is_empty(), "it waits already");
    // What a human asks the agent is another question, however it is worded.
    stage.must(&ask_by("t3", Some(key("a")), human(), "how far?", false));
    stage.must(&post("t3", Actor::agent("a"), "half"));
    stage.must(&ask("t4", "a", "how far?", false));
    assert!(stage.scene.threads.get("t4").is_some());
}

#[test]
fn an_agents_question_is_about_its_own_ticket() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let Command::Thread { wish: ThreadWish::Ask { agent, title, body, priority, wait, author, .. }, .. } =
        ask("t", "a", "which?", false)
    else {
        panic!("an ask")
    };
    let other = ThreadWish::Ask { ticket: "T-2".into(), agent, title, body, priority, wait, author };
    let refused = stage.refused_to(Actor::agent("a"), Some(key("a")), &thread("t", other));
    assert_eq!(refused.kind, RefusalKind::NotAllowed);
    assert!(refused.message.contains("T-ws") && refused.message.contains("T-2"), "{refused}");
}

#[test]
fn a_thread_is_assigned_to_one_agent_that_is_there() {
    let plan = Plan { workspaces: vec!["ws".into(), "zz".into()], ..Plan::of(&["a", "b"]) };
    let mut stage = Stage::running(&plan);
    stage.must(&ask("t", "b", "which?", false));
    let to = |name: &str| {
        thread("t", ThreadWish::Assign { assignee_type: ActorType::Agent, assignee: name.into(), note: None })
    };
    for nobody in ["nosuch", "ws/nosuch", "nosuch/a", "/a"] {
        let refused = stage.refused(&to(nobody));
        assert_eq!(refused.kind, RefusalKind::NotFound, "{nobody}");
        assert!(refused.hint.unwrap().contains("zz/b"));
    }
    let refused = stage.refused(&to("a"));
    assert_eq!(refused.kind, RefusalKind::Invalid);
    assert!(refused.message.contains("ws/a, zz/a"), "{refused}");
    stage.must(&to("zz/a"));
    assert_eq!(stage.thread("t").assignee_name.as_deref(), Some("zz/a"));
    let itself = Actor::agent("a");
    let word = post("t", itself.clone(), "mine");
    for other in [key("a"), AgentKey::new("run-0", "zz", "a")] {
        assert_eq!(stage.refused_to(itself.clone(), Some(other), &word).kind, RefusalKind::NotAllowed);
    }
    stage.give(itself.clone(), Some(AgentKey::new(RUN, "zz", "a")), &word).unwrap();
    // Where nobody else has the name it stands alone, however it was said.
    let mut stage = with_thread();
    stage.must(&to("ws/b"));
    assert_eq!(stage.thread("t").assignee_name.as_deref(), Some("b"));
    let word = post("t", Actor::agent("b"), "mine");
    let stranger = AgentKey::new("run-0", "ws", "b");
    assert_eq!(stage.refused_to(Actor::agent("b"), Some(stranger), &word).kind, RefusalKind::NotAllowed);
    stage.give(Actor::agent("b"), Some(key("b")), &word).unwrap();
}

#[test]
fn a_human_who_waits_blocks_no_run() {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    stage.must(&ask_by("t", Some(key("a")), human(), "how far?", true));
    assert_eq!((stage.status(), stage.thread("t").state), (RunStatus::Running, ThreadState::New));
    assert!(!stage.thread("t").blocking);
}

#[test]
fn marks_never_fall_and_never_pass_the_end() {
    let mut stage = with_thread();
    let end = stage.thread("t").last_event_sequence;
    let seen = |seq| thread("t", ThreadWish::Seen { viewer: "human:bo".into(), seq });
    let mark = |stage: &Stage| stage.scene.seen.get(&("t".to_owned(), "human:bo".to_owned())).copied();
    stage.must(&seen(Some(end + 100)));
    assert_eq!(mark(&stage), Some(end), "clamped");
    assert_eq!(stage.thread("t").last_event_sequence, end, "to look is no news");
    assert!(stage.must(&seen(Some(end - 1))).is_empty(), "it does not fall");
    assert!(stage.must(&seen(None)).is_empty());
    stage.must(&post("t", Actor::agent("a"), "more"));
    stage.must(&seen(Some(0)));
    assert_eq!(mark(&stage), Some(stage.thread("t").last_event_sequence), "to its end when not said");
}

#[test]
fn assignment_and_priority() {
    let mut stage = with_thread();
    let assign = |name: &str| {
        thread("t", ThreadWish::Assign { assignee_type: ActorType::Human, assignee: name.into(), note: None })
    };
    stage.must(&assign("bo"));
    let events = stage.must(&assign("cy"));
    let Fact::Assigned { from_assignee_name, to_assignee_name, .. } = &events[0].fact else { panic!("{events:?}") };
    assert_eq!((from_assignee_name.as_deref(), to_assignee_name.as_str()), (Some("bo"), "cy"));
    for bad in ["", " ", "a\u{1b}[31m"] {
        assert_eq!(stage.refused(&assign(bad)).kind, RefusalKind::Invalid);
    }
    stage.must(&thread("t", ThreadWish::Priority { to: Priority::Urgent }));
    assert!(stage.must(&thread("t", ThreadWish::Priority { to: Priority::Urgent })).is_empty());
    assert_eq!(stage.thread("t").waiting_on, Some(Side::Human), "neither is a word");
}

#[test]
fn texts_are_checked_at_the_door() {
    let mut stage = with_thread();
    let long = "x".repeat(1024 * 1024 + 1);
    for body in ["", " \n\t", "nul\0", &long] {
        assert_eq!(stage.refused(&post("t", human(), body)).kind, RefusalKind::Invalid);
    }
    for title in ["", "two\nlines", "bell\u{7}", "c1\u{85}", &"é".repeat(301)] {
        assert_eq!(stage.refused(&ask("t2", "a", title, false)).kind, RefusalKind::Invalid);
    }
    for id in ["", "a b", "a\nb", "é", "fctrl-run-1-a", &"x".repeat(201)] {
        assert_eq!(stage.refused(&ask(id, "a", "which?", false)).kind, RefusalKind::Invalid, "{id}");
    }
    assert_eq!(stage.refused(&ask("t", "a", "what?", false)).kind, RefusalKind::Illegal, "the id is taken");
    let kept = "\u{1b}[31m \r\n é\u{202e}  ";
    stage.must(&post("t", human(), kept));
    assert_eq!(stage.scene.posts.last().unwrap().body, kept, "byte for byte");
    stage.must(&ask("t3", "a", &"é".repeat(300), false));
    stage.must(&post("t", human(), &long[1..]));
}

#[test]
fn what_does_not_exist_is_said_so() {
    let mut stage = with_thread();
    for command in [
        post("no", human(), "x"),
        thread("no", ThreadWish::Close),
        ask("t9", "nobody", "which?", false),
        Command::Thread {
            thread_id: "t9".into(),
            run_id: Some("run-9".into()),
            wish: ThreadWish::Ask {
                ticket: "T-1".into(),
                agent: None,
                title: "x".into(),
                body: "x".into(),
                priority: Priority::Low,
                wait: false,
                author: None,
            },
        },
    ] {
        assert_eq!(stage.refused(&command).kind, RefusalKind::NotFound, "{command:?}");
    }
}

#[test]
fn only_the_agents_own_words_are_its_progress() {
    let mut stage = with_thread();
    let before = stage.agent("a").last_progress_at;
    let to_b = ThreadWish::Assign { assignee_type: ActorType::Agent, assignee: "b".into(), note: None };
    stage.must(&thread("t", to_b));
    stage.must(&post("t", Actor::agent("b"), "me too"));
    stage.must(&post("t", human(), "well"));
    assert_eq!(stage.agent("a").last_progress_at, before);
    stage.must(&post("t", Actor::agent("a"), "done"));
    assert!(stage.agent("a").last_progress_at > before);
}

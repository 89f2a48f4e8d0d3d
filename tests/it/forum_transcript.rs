//! The original's forum (reference, section 7) replayed: each line says what was done and what came of it. Where this
//! forum differs on purpose, the line before it begins with `differs:` and says how the original did.

use std::fmt::Write;

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::command::{Command, ThreadWish};
use metawsm::domain::event::Event;
use metawsm::domain::signal::{Signal, SignalType};
use metawsm::domain::thread::{Priority, ThreadState};
use metawsm::store::StoreError;
use metawsm::store::read::EventFilter;
use metawsm::store::read::forum::{Queue, ThreadFilter, Viewer};

use crate::core_world::*;

/// A shop whose doings are written down.
struct Scribe {
    shop: Shop,
    text: String,
}

impl Scribe {
    fn differs(&mut self, how: &str) {
        writeln!(self.text, "differs: {how}").unwrap();
    }

    fn heading(&mut self, words: &str) {
        writeln!(self.text, "\n## {words}").unwrap();
    }

    fn tells(&mut self, what: &str, result: &str) {
        writeln!(self.text, "{what}: {result}").unwrap();
    }

    /// Gives a command and writes down its events, or why it was refused.
    fn does(&mut self, what: &str, command: &Command) {
        self.does_keyed(what, None, command);
    }

    fn does_keyed(&mut self, what: &str, key: Option<&str>, command: &Command) {
        let result = match self.shop.give(&giver(command), key, command) {
            Ok(receipt) if receipt.replayed => "the first result, nothing written".to_owned(),
            Ok(receipt) if receipt.events.is_empty() => "nothing changes".to_owned(),
            Ok(receipt) => receipt.events.iter().map(told).collect::<Vec<_>>().join(" + "),
            Err(StoreError::Refused(refusal)) => format!("refused, {}", refusal.message),
            Err(other) => panic!("{other:?}"),
        };
        self.tells(what, &result);
    }

    fn queue(&mut self, queue: Queue, viewer: &Viewer) {
        let page = self.shop.reader().queue(queue, viewer, &ThreadFilter::default(), None, 50).unwrap();
        let ids: Vec<String> = page.threads.into_iter().map(|thread| thread.thread_id).collect();
        self.tells(&format!("{queue:?} of {}", viewer.id()), &format!("[{}]", ids.join(" ")));
    }

    fn stands(&mut self, id: &str) {
        let thread = self.shop.reader().thread(id).unwrap().unwrap();
        let waits = thread.waiting_on.map_or("nobody".to_owned(), |side| format!("the {} side", side.word()));
        let words = format!(
            "{}, {}, {} posts, opened by {} {}, waits for {waits}",
            thread.state,
            thread.priority.word(),
            thread.posts_count,
            thread.opened_by_type,
            thread.opened_by_name
        );
        self.tells(id, &words);
    }
}

/// An agent gives what it says itself, a human everything else.
fn giver(command: &Command) -> Actor {
    let author = match command {
        Command::Thread { wish: ThreadWish::Ask { author, .. } | ThreadWish::Post { author, .. }, .. } => {
            author.clone()
        }
        _ => None,
    };
    author.filter(|author| author.kind == ActorType::Agent).unwrap_or_else(human)
}

fn told(event: &Event) -> String {
    let (kind, payload) = event.fact.split();
    let mut payload = payload;
    if let Some(body) = payload.get("body").and_then(|body| body.as_str()).filter(|body| body.starts_with('{')) {
        payload["body"] = serde_json::from_str(body).unwrap();
    }
    format!("{kind} {payload}")
}

fn opened(id: &str, by: Actor) -> Command {
    ask_by(id, Some(key("a")), by, "which?", false)
}

fn to(id: &str, state: ThreadState) -> Command {
    thread(id, ThreadWish::State { to: state })
}

#[test]
fn the_originals_semantics_replayed() {
    let mut scribe = Scribe { shop: Shop::new(), text: String::new() };
    scribe.shop.must(&Plan::of(&["a"]).create());
    scribe.shop.must(&agent("a", metawsm::domain::command::AgentWish::Started { launch: 1 }));
    let (agent, bo) = (Actor::agent("a"), Viewer::Human("bo".into()));

    scribe.heading("7.1, 7.2 commands and their events");
    scribe.does("an agent asks", &opened("t1", agent.clone()));
    scribe.stands("t1");
    scribe.does("a human adds a post", &post("t1", human(), "say more"));
    scribe.does(
        "it is assigned",
        &thread(
            "t1",
            ThreadWish::Assign {
                assignee_type: ActorType::Operator,
                assignee: "operator".into(),
                note: Some("look".into()),
            },
        ),
    );
    scribe.does(
        "assigned to a blank name",
        &thread("t1", ThreadWish::Assign { assignee_type: ActorType::Human, assignee: " ".into(), note: None }),
    );
    scribe.does("its priority rises", &thread("t1", ThreadWish::Priority { to: Priority::High }));
    scribe.does("the same priority", &thread("t1", ThreadWish::Priority { to: Priority::High }));
    scribe.does("an agent posts", &post("t1", agent.clone(), "which of the two"));
    scribe.differs("answer was two commands, and over HTTP only a post");
    scribe.does("a human answers", &answer("t1", human(), None));
    scribe.differs("an answer to what waits for nobody was taken");
    scribe.does("answered again", &answer("t1", human(), None));
    scribe.stands("t1");
    scribe.differs("through `state` it was a forum.state.changed");
    scribe.does("closed through state", &to("t1", ThreadState::Closed));

    scribe.heading("3.7 closed threads, and transitions");
    for (what, command) in [
        ("a post", post("t1", human(), "late")),
        (
            "an assignment",
            thread("t1", ThreadWish::Assign { assignee_type: ActorType::Human, assignee: "bo".into(), note: None }),
        ),
        ("a priority", thread("t1", ThreadWish::Priority { to: Priority::Low })),
        ("closing once more", thread("t1", ThreadWish::Close)),
        ("a transition", to("t1", ThreadState::Triaged)),
    ] {
        scribe.does(what, &command);
    }
    scribe.differs("there was no reopening");
    scribe.does("reopened", &thread("t1", ThreadWish::Reopen));
    scribe.does("a transition to itself", &to("t1", ThreadState::Triaged));
    scribe.does("back to new", &to("t1", ThreadState::New));

    scribe.heading("7.3 the same event id");
    scribe.does_keyed("a post under k1", Some("k1"), &post("t1", human(), "once"));
    scribe.does_keyed("the same again", Some("k1"), &post("t1", human(), "once"));
    scribe.differs("other content was taken for the same");
    scribe.does_keyed("another under k1", Some("k1"), &post("t1", human(), "twice"));

    scribe.heading("7.5 queues and marks");
    scribe.does("an agent asks", &opened("t2", agent.clone()));
    scribe.does("a human asks the agent", &opened("t3", human()));
    scribe.differs("a human's question was nobody's, and triaged threads were left out");
    scribe.queue(Queue::Unanswered, &bo);
    scribe.queue(Queue::Unanswered, &Viewer::Agent(key("a")));
    scribe.differs("one's own posts counted as unseen");
    scribe.queue(Queue::Unseen, &bo);
    scribe.queue(Queue::Unseen, &Viewer::Human("cy".into()));
    let mark = |seq| thread("t2", ThreadWish::Seen { viewer: "human:bo".into(), seq });
    scribe.does("seen up to its end", &mark(Some(0)));
    scribe.does("seen up to a lower place", &mark(Some(1)));
    scribe.differs("a mark could pass the end");
    scribe.does("seen beyond the end", &mark(Some(1_000_000)));
    scribe.queue(Queue::Unseen, &bo);
    scribe.differs("lists were ordered by priority, and cursors by sequence skipped rows");
    let listed = scribe.shop.reader().threads(&ThreadFilter::default(), None, 50).unwrap().threads;
    scribe.tells("list", &listed.iter().map(|thread| thread.thread_id.as_str()).collect::<Vec<_>>().join(" "));
    let found = |query: &str| {
        let hits = scribe.shop.reader().search(query, &ThreadFilter::default(), None, 50, false).unwrap().hits;
        hits.iter().map(|hit| hit.thread.thread_id.as_str()).collect::<Vec<_>>().join(" ")
    };
    let (words, part) = (found("MORE"), found("hic"));
    scribe.tells("search MORE", &format!("[{words}]"));
    scribe.differs("any part of a word was found, and % and _ were wildcards");
    scribe.tells("search hic", &format!("[{part}]"));
    let since = scribe.shop.reader().last_seq().unwrap() - 2;
    let events = scribe.shop.reader().events(since, &EventFilter::default(), 10).unwrap();
    scribe
        .tells("watch after a cursor", &events.iter().map(|event| event.fact.split().0).collect::<Vec<_>>().join(" "));

    scribe.heading("7.6 control threads");
    scribe.does("a guidance request", &signal("a", SignalType::GuidanceRequest));
    scribe.differs("the same request stood there twice");
    scribe.does("the same again", &signal("a", SignalType::GuidanceRequest));
    let second = Signal { question: Some("where?".into()), ..full_signal(SignalType::GuidanceRequest, &key("a"), 0) };
    scribe.does("a second one", &signal_by(second, Actor::agent("a")));
    scribe.differs("they stood among the unanswered also when nothing was open");
    scribe.queue(Queue::NeedsMe, &bo);
    scribe.differs("any answer cleared whatever was pending; a plain reply cleared nothing");
    scribe.does("a plain reply", &post(&control("a"), human(), "like this"));
    scribe.stands(&control("a"));
    scribe.differs("actor types were not checked");
    scribe.does("an agent answers itself", &answer(&control("a"), agent.clone(), None));
    scribe.does("answered once more", &answer(&control("a"), human(), None));
    scribe.does("answered a third time", &answer(&control("a"), human(), None));
    scribe.does("progress", &signal("a", SignalType::Progress));
    scribe.differs("a completion stayed for ever; now it counts in its epoch");
    scribe.does("completion", &signal("a", SignalType::Completion));
    scribe.shop.assert_sound();
    insta::assert_snapshot!(scribe.text);
}

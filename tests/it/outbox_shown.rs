//! The outbox as people see it: lists and their pages, debug, doctor, and what the console's header is made from.

use std::time::Duration;

use metawsm::domain::outbox::Wanted;
use metawsm::services::engine::Caller;
use metawsm::services::snapshot::{Source, Want};
use metawsm::store::Order;
use serde_json::json;

use crate::core_world::*;
use crate::outbox::{Office, Scripted};
use crate::world::World;

#[test]
fn pages_of_letters_make_up_the_whole_and_a_cursor_belongs_to_its_list() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    let ledger = crate::store_crash::ledger(&world.db()).wanting(|| Wanted { docs_sync: true, notify: false });
    let give = |command| drop(ledger.execute(&Order::new(&command, &human())).unwrap());
    give(Plan::of(&["a"]).create());
    for n in 0..7 {
        give(ask(&format!("t{n}"), "a", "which port?", false));
        give(answer(&format!("t{n}"), human(), None));
    }
    let list = |more: &[&str]| world.ask(&[&["outbox", "list"], more].concat());
    let whole = list(&[]);
    assert_eq!((whole["outbox"].as_array().unwrap().len(), &whole["next_cursor"]), (7, &json!(null)));
    let (mut read, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let from = cursor.as_deref().map_or(vec![], |cursor| vec!["--cursor", cursor]);
        let page = list(&[&["--status", "pending", "--limit", "3"][..], &from].concat());
        read.extend(page["outbox"].as_array().unwrap().clone());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
        // What is written meanwhile comes before the first page, and moves nothing on the later ones.
        give(ask(&format!("u{pages}"), "a", "which port?", false));
        give(answer(&format!("u{pages}"), human(), None));
    }
    assert_eq!((json!(read), pages), (whole["outbox"].clone(), 3));
    let cursor = cursor.unwrap();
    for other in [
        &["outbox", "list", "--cursor", &cursor][..],
        &["outbox", "list", "--status", "dead", "--cursor", &cursor],
        &["outbox", "list", "--status", "pending", "--cursor", "00ff"],
        &["forum", "list", "--cursor", &cursor],
    ] {
        let error = world.metawsm(&[other, &["--json"]].concat()).is(2).error();
        assert!(error["message"].as_str().unwrap().contains("--cursor"), "{error}");
    }
    let text = world.metawsm(&["outbox", "list", "--limit", "2"]).is(0).stdout;
    assert!(text.contains("more: --cursor "), "{text}");
    let none = world.metawsm(&["outbox", "list", "--status", "dead"]).is(0).stdout;
    assert!(none.starts_with("No such letter."), "{none}");
}

#[test]
fn a_letter_looks_the_same_wherever_it_is_shown() {
    let world = World::new(&[]);
    world.ask(&["forum", "ask", "--ticket", "T-1", "--title", "t", "--body", "b"]);
    let ledger = crate::store_crash::ledger(&world.db()).wanting(|| Wanted { docs_sync: true, notify: false });
    for command in [Plan::of(&["a"]).create(), ask("t1", "a", "which port?", false), answer("t1", human(), None)] {
        ledger.execute(&Order::new(&command, &human())).unwrap();
    }
    let list = world.ask(&["outbox", "list"]);
    let debug = world.ask(&["forum", "debug"]);
    assert_eq!(debug["outbox_messages"], list["outbox"]);
    assert_eq!(
        (&list["outbox"][0]["payload"]["trigger"], &list["outbox"][0]["status"]),
        (&json!("answered"), &json!("pending"))
    );
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&debug["outbox"]), keys(&list["health"]));
    assert_eq!(debug["outbox"]["pending_count"], 1);
    let text = world.metawsm(&["forum", "debug"]).is(0).stdout;
    assert!(text.contains("outbox: 1 pending; oldest "), "{text}");
}

#[test]
fn doctor_and_the_console_tell_how_the_outbox_fares() {
    let office = Office::new();
    let home = office.engine.home.root.display().to_string();
    let world = World::bare();
    let doctor = |status: i32| {
        let said = world.metawsm(&["doctor", "--home", &home, "--json"]).is(status).json();
        let findings = said["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["name"] == "outbox").unwrap().clone();
        (found, said["outbox"].clone())
    };
    let shown = || {
        let caller = Caller { actor: human(), identity: None };
        let snapshot = Source::open(&office.engine.home, &caller).unwrap().read(&Want::default(), &Default::default());
        snapshot.unwrap().outbox
    };
    let (found, health) = doctor(0);
    assert_eq!(
        (&found["ok"], &found["message"], &health["pending_count"]),
        (&json!(true), &json!("nothing waits"), &json!(0))
    );
    office.answered("t1");
    office.answered("t2");
    let (found, health) = doctor(0);
    let message = found["message"].as_str().unwrap();
    assert!(message.starts_with("2 pending; oldest ") && message.contains("metawsm --headless"), "{message}");
    assert_eq!((&health["pending_count"], &health["dead_count"]), (&json!(2), &json!(0)));
    assert!(health["oldest_pending_age_seconds"].is_u64(), "{health}");
    let now = office.engine.ledger.clock().now();
    assert!((shown().count(), shown().waiting, shown().stuck(now)) == (2, 2, false), "{:?}", shown());
    assert!(shown().stuck(now.plus(Duration::from_secs(61))));
    // One that does not come through is tried again, and then given up: that is a human's.
    let failing = Scripted::failing(&["no such file"; 9]);
    office.work(&failing);
    let (found, _) = doctor(0);
    assert!(found["message"].as_str().unwrap().contains("2 failed"), "{found}");
    assert!((shown().failed, shown().dead, shown().stuck(now)) == (2, 0, true), "{:?}", shown());
    for _ in 0..2 {
        office.pass(Duration::from_secs(600));
        office.work(&failing);
    }
    let (found, health) = doctor(1);
    assert_eq!((&found["ok"], &health["dead_count"]), (&json!(false), &json!(2)));
    let (message, mend) = (found["message"].as_str().unwrap(), found["mend"].as_str().unwrap());
    assert!(message.contains("2 dead") && message.contains("no such file"), "{message}");
    assert!(mend.contains("outbox retry ID") && mend.contains("outbox drop ID"), "{mend}");
    assert_eq!((shown().count(), shown().dead, shown().waiting), (2, 2, 0));
}

//! What SQLite makes of the queries (spec 7, P6): no row is looked at that is not asked for, none is sorted.

use rusqlite::Connection;

use super::*;

fn plan(conn: &Connection, clauses: &Clauses) -> String {
    let mut select = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", clauses.select(51))).unwrap();
    let params: Vec<(&str, &dyn ToSql)> =
        clauses.values.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    let rows = select.query_map(params.as_slice(), |row| row.get::<_, String>("detail")).unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join(" / ")
}

fn filters() -> Vec<ThreadFilter> {
    let none = ThreadFilter::default;
    let some = |text: &str| Some(text.to_owned());
    vec![
        none(),
        ThreadFilter { ticket: some("T-1"), ..none() },
        ThreadFilter { run_id: some("r"), ..none() },
        ThreadFilter { run_id: some("r"), ticket: some("T-1"), ..none() },
        ThreadFilter { state: some("new"), ..none() },
        ThreadFilter { state: some("new"), ticket: some("T-1"), priority: some("high"), ..none() },
        ThreadFilter { priority: some("high"), ..none() },
        ThreadFilter { agent: some("a"), ..none() },
        ThreadFilter { agent: some("a"), priority: some("high"), assignee: some("bo"), ..none() },
        ThreadFilter { assignee: some("bo"), ..none() },
        ThreadFilter { assignee: some("bo"), state: some("new"), ..none() },
    ]
}

/// What a list is looked up by: few of a million threads may fit.
fn searched_by(filter: &ThreadFilter) -> &'static str {
    match filter {
        ThreadFilter { run_id: Some(_), .. } => "(run_id=? AND last_seq<?)",
        ThreadFilter { ticket: Some(_), .. } => "(ticket=? AND last_seq<?)",
        ThreadFilter { agent: Some(_), .. } => "(agent_name=? AND last_seq<?)",
        ThreadFilter { assignee: Some(_), .. } => "(<expr>=? AND last_seq<?)",
        ThreadFilter { state: Some(_), .. } => "(state=? AND last_seq<?)",
        ThreadFilter { priority: Some(_), .. } => "(urgency=? AND last_seq<?)",
        ThreadFilter { .. } => "(last_seq<?)",
    }
}

fn viewers() -> [Viewer; 3] {
    [Viewer::Human("bo".into()), Viewer::Operator, Viewer::Agent(AgentKey::new("r", "ws", "a"))]
}

#[test]
fn lists_and_queues_are_walked_in_the_order_of_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let conn = crate::store::schema::open_writer(&dir.path().join("db")).unwrap();
    let good = |plan: &str| plan.contains("SEARCH thread") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE");
    for filter in filters() {
        let next = Cursor::write("q", &["7".to_owned()]);
        for cursor in [None, Some(next.as_str())] {
            let plan = plan(&conn, &list_clauses("q", &filter, cursor).unwrap());
            assert!(good(&plan) && plan.contains(searched_by(&filter)), "list {filter:?} {cursor:?}: {plan}");
        }
        let next = Cursor::write("q", &["1".to_owned(), "2026".to_owned(), "t".to_owned()]);
        for viewer in viewers() {
            for (assigned, cursor) in
                [(true, None), (true, Some(next.as_str())), (false, None), (false, Some(next.as_str()))]
            {
                let assignee = assigned.then(|| viewer.assignee());
                let plan = plan(&conn, &pressing_clauses("q", assignee, &viewer, &filter, cursor).unwrap());
                assert!(good(&plan), "{assigned} {viewer:?} {filter:?} {cursor:?}: {plan}");
            }
            if let Viewer::Agent(_) = viewer {
                let plan = plan(&conn, &unseen_by_agent("q", &viewer, &filter, None).unwrap());
                assert!(good(&plan), "unseen {viewer:?} {filter:?}: {plan}");
            }
        }
    }
    // The yardstick can fail: the same page without its index is sorted.
    let sorted =
        "EXPLAIN QUERY PLAN SELECT doc FROM thread NOT INDEXED WHERE waiting_on = 'human' ORDER BY urgency, since";
    let detail: Vec<String> =
        conn.prepare(sorted).unwrap().query_map([], |row| row.get("detail")).unwrap().map(Result::unwrap).collect();
    assert!(!good(&detail.join(" ")), "{detail:?}");
}

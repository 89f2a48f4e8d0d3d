use super::*;
use crate::domain::policy::merge::leaves;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

/// A policy that uses every key.
fn full() -> Value {
    let mut document = fields::default_document();
    let more = json!({
        "workspace": {"setup": [["npm", "ci"]], "copy": [".env"]},
        "repos": {"my.repo": {"path": "../r", "base": "main"}},
        "docs": {"api": {
            "workspace_endpoints": [{"name": "a", "base_url": "http://h", "web_url": "", "repo": "r", "workspace": "w"}],
            "repo_endpoints": [{"name": "b", "base_url": "http://h", "web_url": "", "repo": "r"}],
        }},
        "operator": {"rules": {"auto_restart": "never"}, "llm": {"args": ["{prompt}"]}},
        "notify": {"command": ["say"]},
        "git_pr": {"test_commands": ["a, b"], "allowed_repos": ["r"], "default_labels": ["l"], "default_reviewers": ["x"],
            "review_feedback": {"ignore_authors": ["bot"]}},
        "agent_profiles": [{
            "name": "p", "runner": "mine", "base_prompt": "b", "skills": ["s"],
            "runner_options": {"command": ["c"], "full_auto": true, "model": "m"},
            "completion": "signal", "deliver": "paste", "mcp": true, "may": ["run"],
            "env": {"A": "secret", "B": {"from": "C"}},
            "health": {"idle_seconds": 1, "activity_stalled_seconds": 2, "progress_stalled_seconds": 3},
        }],
        "agents": [{"name": "agent", "profile": "p"}],
        "runners": {"mine": {
            "start": ["m", "{prompt}"], "resume": ["m"], "one_shot": ["m"],
            "conversation_files": ["$HOME/m"], "conversation_list": ["m"], "conversation_show": ["m", "{session_id}"],
            "full_auto": ["-y"], "waiting_patterns": ["w"],
            "limit_patterns": ["l"], "ready_patterns": ["r"], "working_patterns": ["o"], "home_column": 2,
            "submit": "Enter",
            "submit_delay_ms": 1, "untested": true,
        }},
    });
    merge::merge(&mut document, &more);
    document
}

fn field_paths(document: &Value) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    leaves(document, &mut |path, steps, _| {
        // Below an environment variable the table does not go on.
        let field = (0..=steps.len()).rev().find_map(|n| fields::find(&steps[..n]));
        found.insert(field.unwrap_or_else(|| panic!("{path} is not in the table")).path);
    });
    found
}

#[test]
fn struct_and_table_hold_the_same_keys() {
    let text = full().to_string();
    let policy = load(Some(&text), &[]).unwrap().policy;
    let typed = serde_json::to_value(&policy).unwrap();
    assert_eq!(typed, full());
    let is_leaf = |f: &&fields::Field| {
        !matches!(f.kind, rules::Kind::Objects(_) | rules::Kind::Map(_) | rules::Kind::Shorthand(_))
    };
    let table: BTreeSet<_> = fields::FIELDS.iter().filter(is_leaf).map(|f| f.path).collect();
    assert_eq!(field_paths(&typed), table);
}

#[test]
fn the_example_is_the_default_and_is_valid() {
    let text = example_text();
    assert_eq!(text, include_str!("../../../policy.example.json"));
    let from_text = load(Some(&text), &[]).unwrap();
    let built_in = load(None, &[]).unwrap();
    assert_eq!((&from_text.policy, &from_text.document), (&built_in.policy, &built_in.document));
    assert_eq!(built_in.policy, Policy::default());
    assert!(from_text.warnings.is_empty(), "{:?}", from_text.warnings);
    let policy = built_in.policy;
    assert_eq!(policy.version, 3);
    assert_eq!(policy.agents, [AgentPolicy { name: "agent".into(), profile: "default-shell".into() }]);
    assert_eq!(policy.agent_profiles[0].runner_options.command.as_deref().unwrap(), ["sh", "-i"]);
    assert_eq!(policy.health_for(&policy.agent_profiles[0]).activity_stalled_seconds, 0);
    assert_eq!(policy.health.activity_stalled_seconds, 900);
}

#[test]
fn stored_policies_keep_names_and_no_values() {
    let policy = load(Some(&full().to_string()), &[]).unwrap().policy;
    let stored = policy.stored();
    assert_eq!(stored["agent_profiles"][0]["env"], json!({"A": {"literal": true}, "B": {"from": "C"}}));
    assert!(!stored.to_string().contains("secret"));
    let back = Policy::from_stored(&stored).unwrap();
    assert_eq!(back.stored(), stored);
    assert_eq!(back.following(&policy), policy);
    assert!(Policy::from_stored(&json!([])).is_err());
    assert_eq!(Policy::from_stored(&json!({"a key of later": 1})).unwrap(), Policy::default());
}

#[test]
fn show_names_layers_and_hides_values() {
    let flags = [("operator.llm.mode", json!("off"))];
    let rows = load(Some(&full().to_string()), &flags).unwrap().shown();
    let row = |path: &str| rows.iter().find(|row| row.path == path).unwrap_or_else(|| panic!("{path}"));
    assert_eq!((row("operator.llm.mode").origin, &row("operator.llm.mode").value), (Origin::Flag, &json!("off")));
    assert_eq!(
        (row("agent_profiles[0].env.A").origin, &row("agent_profiles[0].env.A").value),
        (Origin::File, &json!("(hidden)"))
    );
    assert_eq!(row("health.idle_seconds").unit, "seconds");
    assert!(rows.iter().all(|row| !row.doc.is_empty()), "{rows:?}");
    assert!(load(None, &[]).unwrap().shown().iter().all(|row| row.origin == Origin::Default));
}

#[test]
fn only_some_sections_follow_the_live_file() {
    let live = json!({"health": {"idle_seconds": 1}, "operator": {"restart_budget": 9}, "forum": {"sla": {"escalation_minutes": 5}}, "execution": {"max_parallel": 9}});
    let live = load(Some(&live.to_string()), &[]).unwrap().policy;
    let now = Policy::default().following(&live);
    assert_eq!((now.health.idle_seconds, now.operator.restart_budget, now.forum.sla.escalation_minutes), (1, 9, 5));
    assert_eq!(now.execution.max_parallel, 4);
}

#[test]
fn agents_by_name() {
    let text = json!({"agents": [{"name": "planner", "profile": "default-shell"}, {"name": "coder", "profile": "default-shell"}]}).to_string();
    let policy = load(Some(&text), &[]).unwrap().policy;
    let names = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        policy.agents_named(&list).map(|agents| agents.into_iter().map(|a| a.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&[]).unwrap(), ["planner", "coder"]);
    assert_eq!(names(&["coder", "planner", "coder"]).unwrap(), ["coder", "planner"]);
    let faults = names(&["coda", "codr", "planner"]).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert_eq!(
        faults[1].to_string(),
        "agent: must be an agent of the policy: planner, coder, not \"codr\"; did you mean `coder`?"
    );
    assert_eq!(policy.agents_named(&[]).unwrap()[0].runner_name, "shell");
}

#[test]
fn sockets() {
    let mut tmux = Policy::default().tmux;
    assert_eq!(tmux.socket_for("0123ABCD-ef45"), "metawsm-0123abcd");
    tmux.socket = "default".into();
    assert_eq!(tmux.socket_for("0123abcd"), "default");
}

proptest! {
    /// parse(print(x)) = x
    #[test]
    fn printed_policies_are_read_again(
        idle in 0u32..100_000, parallel in 1u32..256, confidence in 0u32..=1000, prompt in "\\PC*",
        argument in "[^\\x00]{1,8}", key in "[A-Za-z0-9][A-Za-z0-9_-]{0,9}", clean in any::<bool>(),
    ) {
        let mut policy = Policy::default();
        policy.health.idle_seconds = idle;
        policy.health.activity_stalled_seconds = 0;
        policy.execution.max_parallel = parallel;
        policy.operator.llm.min_confidence = f64::from(confidence) / 1000.0;
        policy.close.require_clean_git = clean;
        policy.agent_profiles[0].base_prompt = prompt;
        policy.agent_profiles[0].runner_options.command = Some(vec!["p".into(), argument.clone()]);
        policy.agent_profiles[0].env.insert("A".into(), EnvValue::Literal(argument));
        policy.repos.insert(key, RepoPolicy { path: "../r".into(), base: None });
        let text = format!("{:#}", serde_json::to_value(&policy).unwrap());
        let read = load(Some(&text), &[]).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        prop_assert_eq!(&read.policy, &policy);
        prop_assert_eq!(Policy::from_stored(&policy.stored()).unwrap().following(&policy), policy);
    }
}

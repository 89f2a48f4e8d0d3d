use super::*;
use proptest::prelude::*;
use serde_json::json;

fn faults(text: &str) -> Vec<Fault> {
    load(Some(text), &[]).unwrap_err()
}

/// Puts a value at a table path, in a document that is fine but for it.
fn with(path: &'static str, value: Value) -> (Value, String) {
    let mut document = json!({
        "repos": {"x": {"path": "p"}},
        "docs": {"api": {
            "workspace_endpoints": [{"name": "a", "base_url": "http://h", "repo": "r", "workspace": "w"}],
            "repo_endpoints": [{"name": "b", "base_url": "http://h", "repo": "r"}],
        }},
        "agent_profiles": [{"name": "p", "runner": "shell", "runner_options": {"command": ["c"]}, "env": {"x": "1"}}],
        "agents": [{"name": "a", "profile": "p"}],
        "runners": {"x": {"start": ["x"]}},
        "operator": {"rules": {}},
    });
    let key = |segment: &'static str| match segment {
        "*" if path.starts_with("operator.rules") => "auto_restart",
        "*" => "x",
        segment => segment,
    };
    let mut at = &mut document;
    let mut shown = String::new();
    for segment in fields::segments(path) {
        if segment == "[]" {
            shown = join_index(&shown, 0);
            at = &mut at[0];
        } else {
            shown = join_key(&shown, key(segment));
            at = &mut at[key(segment)];
        }
    }
    *at = value;
    (document, shown)
}

fn bad_values(kind: Kind) -> Vec<Value> {
    match kind {
        Kind::Bool => vec![json!("yes"), json!(1)],
        Kind::Only(value) => vec![json!(!value), json!(null)],
        Kind::Int(min, max) => vec![json!(min - 1), json!(max + 1), json!(1.5), json!("7"), json!([])],
        Kind::Number(..) => vec![json!(-0.1), json!(1.1), json!("0.5")],
        Kind::Choice(_) => vec![json!("nonsense"), json!(true), json!("")],
        Kind::Choices(words) => vec![json!(["nonsense"]), json!([words[0], words[0]]), json!("x")],
        Kind::Text(Text::Any) => vec![json!(1), json!("a\u{0}")],
        Kind::Text(Text::HttpUrlOrEmpty) => vec![json!("x"), json!(1)],
        Kind::Text(Text::NonBlank) => vec![json!(""), json!(" \t"), json!(5), json!({})],
        Kind::Text(_) => vec![json!(""), json!("a b\u{7f} /.."), json!(5), json!({})],
        Kind::Texts(_) => vec![json!([""]), json!("x"), json!([1])],
        Kind::Argv(min) => vec![json!("a | b"), json!(1), json!([" "]), json!("it's")]
            .into_iter()
            .chain((min > 0).then(|| json!([])))
            .collect(),
        Kind::Argvs => vec![json!(["a;b"]), json!([[]]), json!("x")],
        Kind::Template(_) => vec![json!(["{nope}"]), json!("x"), json!([1])],
        Kind::Objects(min) => vec![json!({}), json!("x")].into_iter().chain((min > 0).then(|| json!([]))).collect(),
        Kind::Map(_) => vec![json!([]), json!("x")],
        Kind::Shorthand(_) => vec![json!(1), json!([])],
        Kind::Env => vec![json!(1), json!({"from": "a b"}), json!({"literal": true}), json!({"from": "A", "x": 1})],
    }
}

#[test]
fn every_bad_value_of_every_field_is_refused_with_its_path() {
    for field in fields::FIELDS {
        for bad in bad_values(field.kind) {
            if field.preset == Preset::Absent && bad.is_null() {
                continue;
            }
            let (document, path) = with(field.path, bad.clone());
            let found = load(Some(&document.to_string()), &[]).expect_err(&format!("{path} {bad}"));
            assert!(found.iter().any(|f| f.path.starts_with(&path) && f.line == Some(1)), "{path} {bad}: {found:?}");
        }
    }
}

#[test]
fn every_required_key_is_missed() {
    for field in fields::FIELDS.iter().filter(|field| field.preset == Preset::Required) {
        let (mut document, path) = with(field.path, json!(null));
        let (parent, key) = path.rsplit_once('.').unwrap();
        let pointer = format!("/{}", parent.replace(['.', '['], "/").replace(']', ""));
        document.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(key);
        let found = faults(&document.to_string());
        assert!(
            found.iter().any(|f| f.path == path && f.rule == "must be there" && f.line == Some(1)),
            "{path}: {found:?}"
        );
    }
}

#[test]
fn all_faults_at_once_in_the_order_of_the_file() {
    let text = r#"{
  "version": 3,
  "health": {"idle_secs": 5, "idle_seconds": -1, "idle_seconds": 400},
  "operator": {"llm": {"mode": "asist"}, "rules": {"auto_restrat": "act"}},
  "agents": [{"name": "a..b", "profile": "default-shel"}],
  "git_pr": {"required_checks": ["tests", "test"]},
  "idle_seconds": 5,
  "tmux": 7
}"#;
    let lines: Vec<String> = faults(text).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "health.idle_secs (line 3, column 14): is not a key of the policy; did you mean `idle_seconds`?",
            "health.idle_seconds (line 3, column 50): must be there only once; it is already in line 3, column 30",
            "operator.llm.mode (line 4, column 32): must be one of off, assist, auto, not \"asist\"; did you mean `assist`?",
            "operator.rules.auto_restrat (line 4, column 52): the key must be one of escalate_guidance, escalate_input, auto_restart, escalate_blocked, auto_stop_stale, escalate_sla, escalate_failed, commit_ready, pr_ready, review_feedback_ready; did you mean `auto_restart`?",
            "agents[0].name (line 5, column 23): must be a name: a letter or digit, then at most 63 of letters, digits, . _ -; without .., a trailing . or .lock, not \"a..b\"",
            "agents[0].profile (line 5, column 42): must be the name of a profile: default-shell, not \"default-shel\"; did you mean `default-shell`?",
            "git_pr.required_checks[1] (line 6, column 43): must be one of tests, forbidden_files, ticket_workflow, clean_tree, not \"test\"; did you mean `tests`?",
            "idle_seconds (line 7, column 3): is not a key of the policy; did you mean `health.idle_seconds`?",
            "tmux (line 8, column 11): must be an object, not 7",
        ]
    );
}

#[test]
fn syntax_errors_have_a_place() {
    for (text, line, column) in
        [("{\n  \"version\": 3,\n  \"é\" 5\n}", 3, 7), ("", 1, 1), ("{", 1, 1), ("{\"a\": tru}", 1, 10), ("{}x", 1, 3)]
    {
        let found = faults(text);
        assert_eq!(
            (found.len(), found[0].line, found[0].column),
            (1, Some(line), Some(column)),
            "{text:?} {}",
            found[0]
        );
        assert!(found[0].rule.starts_with("must be JSON: "));
    }
    assert_eq!(faults("[]")[0].to_string(), "policy (line 1, column 1): must be an object, not []");
    assert!(load(Some("\u{feff}{}"), &[]).is_ok());
}

#[test]
fn keys_that_belong_together() {
    let profile = |more: Value| {
        let mut profile = json!({"name": "p", "runner": "shell", "runner_options": {"command": "sh"}});
        merge(&mut profile, &more);
        json!({"agent_profiles": [profile], "agents": [{"name": "a", "profile": "p"}]})
    };
    let table = [
        (json!({"health": {"idle_seconds": 901}}), "health.activity_stalled_seconds"),
        (
            profile(json!({"health": {"activity_stalled_seconds": 5}})),
            "agent_profiles[0].health.activity_stalled_seconds",
        ),
        (profile(json!({"runner": "codx"})), "agent_profiles[0].runner"),
        (profile(json!({"runner": "codex"})), "agent_profiles[0].base_prompt"),
        (profile(json!({"runner_options": {"command": null}})), "agent_profiles[0].runner_options.command"),
        (profile(json!({"env": {"METAWSM_HOME": "x"}})), "agent_profiles[0].env.METAWSM_HOME"),
        (profile(json!({"env": {"A-B": "x"}})), "agent_profiles[0].env.A-B"),
        (
            json!({"agents": [{"name": "a", "profile": "default-shell"}, {"name": "a", "profile": "default-shell"}]}),
            "agents[1].name",
        ),
        (json!({"runners": {"own": {"submit": "Enter"}}}), "runners.own.start"),
        (json!({"runners": {"codex": {"start": []}}}), "runners.codex.start"),
        (json!({"runners": {"shell": {"start": ["x"]}}}), "runners.shell.start"),
        (json!({"repos": {"a/b": "x"}}), "repos[\"a/b\"]"),
        (
            json!({"docs": {"api": {
            "workspace_endpoints": [{"name": "n", "base_url": "http://h", "repo": "r", "workspace": "w"}],
            "repo_endpoints": [{"name": "n", "base_url": "http://h", "repo": "r"}]}}}),
            "docs.api.repo_endpoints[0].name",
        ),
    ];
    for (document, path) in table {
        let found = load(Some(&document.to_string()), &[]).expect_err(path);
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), [path]);
        assert!(found[0].line.is_some() && found[0].column.is_some(), "{path}");
    }
    assert!(load(Some(&json!({"health": {"activity_stalled_seconds": 0}}).to_string()), &[]).is_ok());
    let secret = profile(json!({"env": {"METAWSM_X": "hunter2", "B": ["hunter2"]}}));
    assert!(!format!("{:?}", faults(&secret.to_string())).contains("hunter2"));
}

#[test]
fn files_are_laid_over_defaults_and_flags_over_files() {
    let text = r#"{"health": {"idle_seconds": 60}, "operator": {"llm": {"mode": "off", "command": "codex --x"}}, "repos": {"a": "../a"}, "git_pr": {"required_checks": []}}"#;
    let read =
        load(Some(text), &[("operator.llm.mode", json!("auto")), ("workspace.base_branch", json!("dev"))]).unwrap();
    assert_eq!(read.policy.operator.llm.command, ["codex", "--x"]);
    assert_eq!(read.document["operator"]["llm"]["command"], json!(["codex", "--x"]));
    assert_eq!(read.policy.repos["a"].path, "../a");
    assert!(read.policy.git_pr.required_checks.is_empty());
    assert_eq!((read.policy.health.idle_seconds, read.policy.health.activity_stalled_seconds), (60, 900));
    let layer = |path: &str| read.origins[path];
    assert_eq!(layer("operator.llm.mode"), Origin::Flag);
    assert_eq!(layer("workspace.base_branch"), Origin::Flag);
    assert_eq!(layer("health.idle_seconds"), Origin::File);
    assert_eq!(layer("repos.a.path"), Origin::File);
    assert_eq!(layer("git_pr.required_checks"), Origin::File);
    assert_eq!(layer("health.activity_stalled_seconds"), Origin::Default);
    assert_eq!(layer("agents[0].name"), Origin::Default);
}

#[test]
fn faults_of_flags_have_no_line() {
    let found = load(
        Some("{\"operator\": {\"llm\": {\"mode\": \"off\"}}}"),
        &[("operator.llm.mode", json!("on")), ("nope", json!(1))],
    )
    .unwrap_err();
    assert_eq!(
        found.iter().map(|f| (f.path.as_str(), f.line)).collect::<Vec<_>>(),
        [("operator.llm.mode", None), ("nope", None)]
    );
}

#[test]
fn what_is_unusual_is_a_warning() {
    let text = json!({"health": {"idle_seconds": 5, "progress_stalled_seconds": 0}}).to_string();
    assert_eq!(
        load(Some(&text), &[]).unwrap().warnings,
        ["health.idle_seconds: 5 seconds is outside the usual 30 to 7200"]
    );
}

#[test]
fn test_commands_are_never_split() {
    let text = json!({"git_pr": {"test_commands": ["cargo test --all, && echo $HOME | cat", "a,b"]}}).to_string();
    let commands = load(Some(&text), &[]).unwrap().policy.git_pr.test_commands;
    assert_eq!(commands, ["cargo test --all, && echo $HOME | cat", "a,b"]);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-5i64..2000).prop_map(Value::from),
        "[a-z$| {}]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("name|profile|from|health|[a-z*]{0,3}", inner), 0..3)
                .prop_map(|kv| Value::Object(kv.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "\\PC*") {
        let _ = load(Some(&text), &[]);
        let _ = crate::domain::policy::migrate(&text);
    }

    /// Whatever stands at a key: either the policy is typed, or a fault names the key or something below it.
    #[test]
    fn no_value_makes_reading_panic(index in 0..fields::FIELDS.len(), value in any_value(), version in 1..=3) {
        let (mut document, path) = with(fields::FIELDS[index].path, value);
        if path != "version" {
            document["version"] = json!(version);
        }
        match load(Some(&document.to_string()), &[]) {
            Ok(read) => prop_assert!(load(Some(&read.document.to_string()), &[]).is_ok_and(|again| again.policy == read.policy)),
            Err(found) => prop_assert!(found.iter().all(|f| !f.path.is_empty() && f.line.is_some()), "{:?}", found),
        }
    }
}

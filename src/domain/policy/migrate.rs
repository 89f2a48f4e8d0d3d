//! Policy files of versions 1 and 2, read as version 3.

use super::check::{self, Fault};
use super::rules::{Kind, shell_syntax};
use crate::domain::runner;
use serde_json::{Map, Value, json};

/// The version this program writes.
pub const CURRENT: u32 = 3;

/// The version of a document; one that names none is taken as current.
pub(super) fn version(document: &Value) -> Result<u32, Box<Fault>> {
    let Some(value) = document.get("version") else { return Ok(CURRENT) };
    let fault = |rule: String| Fault::new("version", Some(value.clone()), rule);
    match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (1..=CURRENT).contains(&n) => Ok(n),
        Some(n) if n > CURRENT => {
            let rule = format!("must be at most {CURRENT}: the file was written for a newer metawsm");
            let hint = format!("use that metawsm, or write the file anew as version {CURRENT}");
            Err(Box::new(fault(rule).hinted(Some(hint))))
        }
        Some(_) | None => Err(Box::new(fault(format!("must be {}", Kind::Int(1, CURRENT.into()).rule())))),
    }
}

/// Rewrites a document in place; returns what was changed, for the reader.
pub(super) fn migrate_value(document: &mut Value, from: u32) -> Vec<String> {
    let mut changes = Vec::new();
    let Some(root) = document.as_object_mut().filter(|_| from < CURRENT) else { return changes };
    root.insert("version".into(), CURRENT.into());
    for (index, profile) in
        root.get_mut("agent_profiles").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    {
        if let Some(options) = profile.get_mut("runner_options").and_then(Value::as_object_mut) {
            shell_line(options, &format!("agent_profiles[{index}].runner_options.command"), &mut changes);
        }
    }
    if let Some(llm) = section(root, &["operator", "llm"]) {
        shell_line(llm, "operator.llm.command", &mut changes);
        adviser_args(llm, &mut changes);
        lower_case(llm, "operator.llm.mode", &mut changes);
    }
    if let Some(git_pr) = section(root, &["git_pr"]) {
        lower_case(git_pr, "git_pr.mode", &mut changes);
    }
    if let Some(docs) = section(root, &["docs"]) {
        authority(docs, &mut changes);
    }
    changes
}

fn section<'a>(root: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(root, |map, key| map.get_mut(*key).and_then(Value::as_object_mut))
}

/// Versions 1 and 2 handed commands to a shell; those that need one keep it.
fn shell_line(map: &mut Map<String, Value>, path: &str, changes: &mut Vec<String>) {
    let Some(Value::String(line)) = map.get("command") else { return };
    if shell_syntax(line).is_some() || shell_words::split(line).is_err() {
        let array = json!(["sh", "-c", line]);
        changes.push(format!("{path}: a shell line, now {array}"));
        map.insert("command".into(), array);
    }
}

/// Versions 1 and 2 always ran `<command> exec [--model M] <prompt>`.
fn adviser_args(llm: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(command) = llm.get("command").and_then(Value::as_str) else { return };
    if !llm.contains_key("args") && runner::builtin(runner::program_name(command)).is_none() {
        let args = json!(["exec", "--model", "{model}", "{prompt}"]);
        changes.push(format!("operator.llm.args: as before, {args}"));
        llm.insert("args".into(), args);
    }
}

fn lower_case(map: &mut Map<String, Value>, path: &str, changes: &mut Vec<String>) {
    let Some(mode) = map.get("mode").and_then(Value::as_str) else { return };
    let lower = mode.trim().to_lowercase();
    if lower != mode {
        changes.push(format!("{path}: {mode:?}, now {lower:?}"));
        map.insert("mode".into(), lower.into());
    }
}

fn authority(docs: &mut Map<String, Value>, changes: &mut Vec<String>) {
    const ONLY: &str = "workspace_active";
    if let Some(mode) = docs.get("authority_mode").and_then(Value::as_str).filter(|mode| *mode != ONLY) {
        changes.push(format!("docs.authority_mode: {mode:?} is gone, now {ONLY:?}"));
        docs.insert("authority_mode".into(), ONLY.into());
    }
}

/// The text of a policy file rewritten for the current version; a current one comes back unchanged.
pub fn migrate(text: &str) -> Result<String, Vec<Fault>> {
    check::load(Some(text), &[])?;
    let (mut document, _) = check::parse(text)?;
    let from = version(&document).map_err(|fault| vec![*fault])?;
    if from == CURRENT {
        return Ok(text.to_string());
    }
    migrate_value(&mut document, from);
    Ok(format!("{document:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::check::load;

    const OLD: &str = r#"{
        "version": 2,
        "docs": {"authority_mode": "repo_active"},
        "operator": {"llm": {"mode": "Auto", "command": "my-llm"}},
        "agent_profiles": [
            {"name": "a", "runner": "shell", "runner_options": {"command": "cargo watch && echo done"}},
            {"name": "b", "runner": "shell", "runner_options": {"command": "bash -l"}}
        ],
        "agents": [{"name": "x", "profile": "a"}, {"name": "y", "profile": "b"}]
    }"#;

    #[test]
    fn old_files_are_read_and_rewritten_alike() {
        for version in [1, 2] {
            let old = OLD.replace("\"version\": 2", &format!("\"version\": {version}"));
            let read = load(Some(&old), &[]).unwrap();
            assert_eq!(read.policy.version, 3);
            let commands: Vec<_> =
                read.policy.agent_profiles.iter().map(|p| p.runner_options.command.clone().unwrap()).collect();
            assert_eq!(commands, [vec!["sh", "-c", "cargo watch && echo done"], vec!["bash", "-l"]]);
            assert_eq!(read.policy.operator.llm.args, ["exec", "--model", "{model}", "{prompt}"]);
            assert_eq!(read.warnings.len(), 4, "{:?}", read.warnings);
            let rewritten = migrate(&old).unwrap();
            let again = load(Some(&rewritten), &[]).unwrap();
            assert_eq!((again.policy, again.document), (read.policy, read.document));
            assert!(again.warnings.is_empty() && rewritten.ends_with("}\n"));
            assert_eq!(migrate(&rewritten).unwrap(), rewritten);
        }
    }

    #[test]
    fn a_current_file_names_the_array_form_instead() {
        let faults = load(Some(&OLD.replace("\"version\": 2", "\"version\": 3")), &[]).unwrap_err();
        let fault = faults.iter().find(|f| f.path == "agent_profiles[0].runner_options.command").unwrap();
        assert!(fault.rule.contains(r#"["sh","-c","cargo watch && echo done"]"#), "{fault}");
    }

    #[test]
    fn versions_out_of_range() {
        for (bad, word) in [
            ("4", "newer"),
            ("0", "from 1 to 3"),
            ("\"3\"", "from 1 to 3"),
            ("-1", "from 1 to 3"),
            ("null", "from 1 to 3"),
            ("2.5", "from 1 to 3"),
            ("99999999999", "from 1 to 3"),
        ] {
            let faults = load(Some(&format!("{{\"version\": {bad}, \"nope\": 1}}")), &[]).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!((faults[0].path.as_str(), faults[0].line, faults[0].column), ("version", Some(1), Some(13)));
            assert!(faults[0].rule.contains(word), "{}", faults[0]);
        }
    }
}

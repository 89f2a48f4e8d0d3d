//! Rules that join several keys. They run on the filled document, faulty or not, so that all faults come at once.

use super::check::{Checker, Fault, did_you_mean};
use super::span::{join_index, join_key};
use crate::domain::{runner, screen};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn check(document: &Value, found: &mut Checker) {
    thresholds(document, found);
    endpoints(document, found);
    runners(document, found);
    profiles(document, found);
    agents(document, found);
}

fn list<'a>(document: &'a Value, pointer: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    document.pointer(pointer).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// A fault for every name that an earlier element of these lists has already.
fn unique<'a>(items: impl Iterator<Item = (String, &'a Value)>, found: &mut Checker) {
    let mut seen = HashSet::new();
    for (path, item) in items {
        if let Some(name) = text(item, "name").filter(|name| !seen.insert(name.to_string())) {
            found.faults.push(Fault::new(join_key(&path, "name"), Some(name.into()), "must be unique"));
        }
    }
}

fn thresholds(document: &Value, found: &mut Checker) {
    let global = document.get("health");
    order(None, global, "health", found);
    for (index, profile) in list(document, "/agent_profiles") {
        if let Some(own) = profile.get("health") {
            order(Some(own), global, &format!("agent_profiles[{index}].health"), found);
        }
    }
}

/// Stalled comes after idle, unless one of the two never comes.
fn order(own: Option<&Value>, global: Option<&Value>, path: &str, found: &mut Checker) {
    let number = |key: &str| own.and_then(|h| h.get(key)).or_else(|| global?.get(key)).and_then(Value::as_i64);
    if let (Some(idle), Some(stalled)) = (number("idle_seconds"), number("activity_stalled_seconds"))
        && stalled != 0
        && stalled < idle
    {
        let rule = format!("must be 0 or at least idle_seconds ({idle})");
        found.faults.push(Fault::new(join_key(path, "activity_stalled_seconds"), Some(stalled.into()), rule));
    }
}

fn endpoints(document: &Value, found: &mut Checker) {
    let of = |kind: &'static str| {
        list(document, &format!("/docs/api/{kind}"))
            .map(move |(index, value)| (join_index(&format!("docs.api.{kind}"), index), value))
            .collect::<Vec<_>>()
    };
    unique(of("workspace_endpoints").into_iter().chain(of("repo_endpoints")), found);
}

fn runners(document: &Value, found: &mut Checker) {
    for (name, patch) in document.get("runners").and_then(Value::as_object).into_iter().flatten() {
        let path = join_key(&join_key("runners", name), "start");
        let start = patch.get("start").and_then(Value::as_array);
        match start {
            None if runner::builtin(name).is_none() => {
                found.faults.push(Fault::new(path, None, "must be there: no built-in runner has this name"));
            }
            Some(start) if start.is_empty() && name != runner::SHELL => {
                found.faults.push(Fault::new(path, None, "must name a program"));
            }
            Some(start) if !start.is_empty() && name == runner::SHELL => {
                let rule = "must be absent: the runner shell starts the profile's runner_options.command";
                found.faults.push(Fault::new(path, None, rule));
            }
            None | Some(_) => {}
        }
        patterns(&join_key("runners", name), patch, found);
    }
}

/// Each pattern has to be one: found out here, and not when an agent waits.
fn patterns(path: &str, patch: &Value, found: &mut Checker) {
    for key in ["waiting_patterns", "limit_patterns", "ready_patterns", "working_patterns"] {
        let texts = patch.get(key).and_then(Value::as_array).into_iter().flatten().enumerate();
        for (index, text) in texts {
            if let Some(Err(bad)) = text.as_str().map(screen::compile) {
                let rule = format!("must be a regular expression: {}", bad.why);
                found.faults.push(Fault::new(join_index(&join_key(path, key), index), Some(text.clone()), rule));
            }
        }
    }
}

fn profiles(document: &Value, found: &mut Checker) {
    unique(list(document, "/agent_profiles").map(|(i, p)| (join_index("agent_profiles", i), p)), found);
    let own = document.get("runners").and_then(Value::as_object);
    let mut known: Vec<&str> = runner::builtin_names().collect();
    known.extend(own.into_iter().flat_map(|map| map.keys()).map(String::as_str));
    known.sort_unstable();
    known.dedup();
    for (index, profile) in list(document, "/agent_profiles") {
        let path = join_index("agent_profiles", index);
        let Some(name) = text(profile, "runner") else { continue };
        if !name.trim().is_empty() && !known.contains(&name) {
            let rule = format!("must be a runner: {}", known.join(", "));
            let hint = did_you_mean(name, known.iter().copied());
            found.faults.push(Fault::new(join_key(&path, "runner"), Some(name.into()), rule).hinted(hint));
        }
        options(name, profile, &path, found);
    }
}

fn options(runner_name: &str, profile: &Value, path: &str, found: &mut Checker) {
    let options = profile.get("runner_options");
    let command = options.and_then(|o| o.get("command"));
    if runner_name == runner::SHELL && command.is_none() {
        let path = join_key(&join_key(path, "runner_options"), "command");
        found.faults.push(Fault::new(path, None, "must be there: the runner shell starts this command"));
    }
    if runner_name != runner::SHELL && command.is_some() {
        found.warnings.push(format!("{path}.runner_options.command: only the runner shell reads it"));
    }
    if runner_name == "codex" && text(profile, "base_prompt").is_some_and(|prompt| prompt.trim().is_empty()) {
        let rule = "must be there and not be blank: the runner codex needs it";
        found.faults.push(Fault::new(join_key(path, "base_prompt"), None, rule));
    }
    if runner_name == runner::SHELL && text(profile, "deliver") == Some("paste") {
        found.warnings.push(format!("{path}.deliver: a shell would run pasted posts as commands"));
    }
}

fn agents(document: &Value, found: &mut Checker) {
    unique(list(document, "/agents").map(|(i, agent)| (join_index("agents", i), agent)), found);
    let known: Vec<&str> = list(document, "/agent_profiles").filter_map(|(_, p)| text(p, "name")).collect();
    for (index, agent) in list(document, "/agents") {
        if let Some(profile) = text(agent, "profile").filter(|p| !p.trim().is_empty() && !known.contains(p)) {
            let rule = format!("must be the name of a profile: {}", known.join(", "));
            let path = join_key(&join_index("agents", index), "profile");
            let hint = did_you_mean(profile, known.iter().copied());
            found.faults.push(Fault::new(path, Some(profile.into()), rule).hinted(hint));
        }
    }
}

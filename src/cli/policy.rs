//! `policy init|check|show|schema|migrate`.

use std::path::Path;

use serde_json::{Value, json};

use super::args::{PolicyCommand, PolicyInitArgs};
use super::exit::{self, Failure};
use super::print::{self, Table};
use super::reply::Reply;
use super::session::Session;
use crate::domain::policy::{self, Origin};
use crate::services::engine::Engine;
use crate::services::home::{Home, write_private};

pub fn run(session: &Session, command: &PolicyCommand) -> Result<Reply, Failure> {
    match command {
        PolicyCommand::Init(args) => init(session, args),
        PolicyCommand::Check => check(session),
        PolicyCommand::Show => show(session),
        PolicyCommand::Schema => {
            let schema = policy::schema();
            let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
            Ok(Reply::new(schema, text))
        }
        PolicyCommand::Migrate => migrate(session),
    }
}

pub fn init(session: &Session, args: &PolicyInitArgs) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let home = session.home_or_new()?;
    let path = match &args.path {
        None => home.policy.clone(),
        Some(path) => std::path::absolute(path)
            .map_err(|error| Failure::new(exit::USAGE, format!("{} is no path: {error}", path.display())))?,
    };
    if path.exists() && !args.force {
        return Err(Failure::new(exit::REFUSED, format!("{} exists already", path.display()))
            .hint("look at it with metawsm policy show, or overwrite it with --force"));
    }
    let found = if args.detect { detect(session) } else { Vec::new() };
    let text = with_profiles(&policy::example_text(), &found)?;
    // Making the home also makes its database, so that commands find it from now on.
    Engine::open(home, session.surroundings.clone())?;
    write_private(&path, text.as_bytes())?;
    let words = match found.is_empty() {
        false => format!(" with profiles for {}", found.join(", ")),
        true if args.detect => "; none of the agent programs that metawsm knows is on PATH".to_owned(),
        true => String::new(),
    };
    let json = json!({ "path": path.display().to_string(), "detected": found });
    Ok(Reply::new(json, format!("wrote {}{words}\n", path.display())))
}

/// The agent programs on PATH.
fn detect(session: &Session) -> Vec<String> {
    let path = session.session_variable("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| is_program(&dir.join(program)));
    crate::domain::runner::builtin_names().filter(|name| *name != "shell" && there(name)).map(str::to_owned).collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn with_profiles(text: &str, programs: &[String]) -> Result<String, Failure> {
    let broken =
        |error: serde_json::Error| Failure::new(exit::FAILED, format!("the default policy cannot be written: {error}"));
    let mut document: Value = serde_json::from_str(text).map_err(broken)?;
    for program in programs {
        let profile = json!({
            "name": program,
            "runner": program,
            "base_prompt": "Work on the ticket named below until it is done.",
            "deliver": "paste",
        });
        for (key, entry) in [("agent_profiles", profile), ("agents", json!({ "name": program, "profile": program }))] {
            if let Some(list) = document[key].as_array_mut() {
                list.push(entry);
            }
        }
    }
    let text = serde_json::to_string_pretty(&document).map_err(broken)? + "\n";
    policy::load(Some(&text), &[]).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::new(exit::POLICY, lines.join("\n"))
    })?;
    Ok(text)
}

fn present(session: &Session) -> Result<Home, Failure> {
    session.home_or_new()
}

fn check(session: &Session) -> Result<Reply, Failure> {
    let home = present(session)?;
    let loaded = home.load_policy(&[])?;
    let source =
        if home.policy.exists() { home.policy.display().to_string() } else { "the built-in defaults".to_owned() };
    let mut text = format!("{source}: valid\n");
    for warning in &loaded.warnings {
        text.push_str(&format!("  note: {}\n", print::one_line(warning)));
    }
    let json = json!({ "path": home.policy.display().to_string(), "valid": true, "warnings": loaded.warnings });
    Ok(Reply::new(json, text))
}

fn show(session: &Session) -> Result<Reply, Failure> {
    let home = present(session)?;
    let loaded = home.load_policy(&[])?;
    let mut table = Table::new(&["KEY", "VALUE", "FROM", "UNIT"]);
    let mut keys = Vec::new();
    for key in loaded.shown() {
        let from = match key.origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Flag => "flag",
        };
        table.row(vec![
            key.path.clone(),
            key.value.to_string(),
            from.to_owned(),
            Some(key.unit.to_string()).filter(|unit| !unit.is_empty()).unwrap_or_else(|| "-".to_owned()),
        ]);
        keys.push(json!({ "path": key.path, "value": key.value, "origin": from }));
    }
    let json = json!({ "policy": loaded.policy.stored(), "keys": keys, "path": home.policy.display().to_string() });
    Ok(Reply::new(json, table.render(&session.style())))
}

fn migrate(session: &Session) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let home = present(session)?;
    let path = &home.policy;
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(exit::NOT_FOUND, format!("{} cannot be read: {error}", path.display())))?;
    let migrated = policy::migrate(&text)
        .map_err(|faults| crate::services::error::EngineError::Policy { path: path.display().to_string(), faults })?;
    if migrated == text {
        return Ok(Reply::new(json!({ "migrated": false }), format!("{} is of the present version\n", path.display())));
    }
    let backup = path.with_extension("json.bak");
    write_private(&backup, text.as_bytes())?;
    write_private(path, migrated.as_bytes())?;
    let json = json!({ "migrated": true, "backup": backup.display().to_string() });
    Ok(Reply::new(json, format!("rewrote {}, the old one is {}\n", path.display(), backup.display())))
}

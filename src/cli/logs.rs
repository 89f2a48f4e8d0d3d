//! `logs`: what an agent's screen shows, or showed when it ended.

use std::time::Duration;

use serde_json::json;

use super::args::LogsArgs;
use super::exit::{self, Failure};
use super::print;
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::agent::Agent;
use crate::services::agents::log_path;
use crate::services::engine::Engine;
use crate::services::home::Home;
use crate::services::tmux::{Extent, without_note};

struct Screen {
    text: String,
    source: &'static str,
}

/// The live pane where there is one, else what was kept of the last life.
fn screen(home: &Home, agent: &Agent) -> Option<Screen> {
    let live = Engine::known_tmux(home)
        .ok()
        .flatten()
        .and_then(|tmux| tmux.capture(&agent.spec.session, Extent::WholeScrollback, false).ok());
    if let Some(bytes) = live {
        let text = String::from_utf8_lossy(&without_note(bytes)).trim_end().to_owned();
        return Some(Screen { text, source: "live" });
    }
    (1..=agent.launch).rev().find_map(|launch| {
        let text = std::fs::read_to_string(log_path(home, agent, launch)).ok()?;
        Some(Screen { text: text.trim_end().to_owned(), source: "kept" })
    })
}

fn chosen(session: &Session, args: &LogsArgs) -> Result<(Home, Agent), Failure> {
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &args.which.selector)?;
    let agent = select::agent(&reader, &run, &args.which)?;
    Ok((home, agent))
}

fn missing(agent: &Agent) -> Failure {
    Failure::new(exit::NOT_FOUND, format!("nothing is kept of agent {}: it is {}", agent.key.name, agent.status))
        .hint("metawsm steps says whether it was started")
}

pub fn run(session: &Session, args: &LogsArgs) -> Result<Reply, Failure> {
    let (home, agent) = chosen(session, args)?;
    let screen = screen(&home, &agent).ok_or_else(|| missing(&agent))?;
    let lines: Vec<&str> = screen.text.lines().collect();
    let tail = lines[lines.len().saturating_sub(args.lines)..].join("\n");
    let json = json!({
        "agent": agent.key.name,
        "workspace": agent.key.workspace,
        "run_id": agent.key.run_id,
        "source": screen.source,
        "lines": tail.lines().collect::<Vec<_>>(),
    });
    Ok(Reply::new(json, print::harmless(&tail)))
}

pub fn follow(session: &Session, args: &LogsArgs) -> Result<Reply, Failure> {
    let (home, agent) = chosen(session, args)?;
    session.only_waits();
    let mut shown: Vec<String> = Vec::new();
    let mut first = true;
    loop {
        let Some(screen) = screen(&home, &agent) else {
            return if first { Err(missing(&agent)) } else { Ok(Reply::silent(exit::DONE)) };
        };
        let now: Vec<String> = screen.text.lines().map(print::harmless).collect();
        let news = if first { now[now.len().saturating_sub(args.lines)..].to_vec() } else { added(&shown, &now) };
        for line in news {
            let line = if session.global.json { print::json(&json!({ "line": line })) } else { line };
            let open =
                print::out(&format!("{line}\n")).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
            if !open {
                return Ok(Reply::silent(exit::DONE));
            }
        }
        if screen.source == "kept" {
            return Ok(Reply::silent(exit::DONE));
        }
        shown = now;
        first = false;
        std::thread::sleep(Duration::from_millis(400));
    }
}

/// What came after the longest end of `before` that `now` goes on from; a redrawn screen shows its changed lines.
fn added(before: &[String], now: &[String]) -> Vec<String> {
    let same = before.iter().zip(now).take_while(|(one, other)| one == other).count();
    if same == before.len() {
        return now[same..].to_vec();
    }
    // History was cut at its front: look for where our last lines are now.
    let tail = &before[before.len().saturating_sub(3)..];
    if let Some(at) = (0..now.len().saturating_sub(tail.len())).rev().find(|at| now[*at..].starts_with(tail)) {
        return now[at + tail.len()..].to_vec();
    }
    now[same.min(now.len())..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::added;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_is_new_is_printed() {
        assert_eq!(added(&lines("a b"), &lines("a b c d")), lines("c d"));
        assert_eq!(added(&lines("a b c d"), &lines("b c d e f")), lines("e f"));
        assert_eq!(added(&lines("a b"), &lines("a x c")), lines("x c"));
        assert!(added(&lines("a b"), &lines("a b")).is_empty());
    }
}

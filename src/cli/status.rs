//! `status`: the whole picture of a run.

use serde_json::Value;

use super::args::Selector;
use super::escalations::{escalation_table, suggestion_table};
use super::exit::Failure;
use super::lists::{agent_table, step_table, supervised};
use super::print::{Style, Table, one_line};
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::domain::feedback::{FeedbackStatus, tally};

pub fn run(session: &Session, selector: &Selector) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, selector)?;
    let json = session.view(&home, &reader).status(&Session::git(&home), &run)?;
    let text = picture(&json, &session.style());
    Ok(Reply::new(json, text))
}

fn picture(status: &Value, style: &Style) -> String {
    let run = &status["run"];
    let word = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let list = |value: &Value| {
        let words: Vec<String> = value.as_array().into_iter().flatten().map(&word).collect();
        words.join(", ")
    };
    let mut out = format!(
        "{}  {}  {}\n  {}\n  tickets {}  repos {}  base {}\n",
        word(&run["run_id"]),
        style.status(&word(&run["status"])),
        if run["dry_run"] == true { "(dry run)" } else { "" },
        word(&run["reason"]),
        list(&run["tickets"]),
        list(&run["repos"]),
        word(&run["base_branch"]),
    );
    out.push_str(&format!("  next: {}\n\n", list(&run["next"])));
    out.push_str(&step_table(array(&status["steps"]), style));
    out.push('\n');
    out.push_str(&agent_table(array(&status["agents"]), style));
    out.push_str(&threads(array(&status["threads"]), style));
    for (heading, rows, table) in [
        ("Needs you", array(&status["escalations"]), escalation_table as fn(&[Value], &Style) -> String),
        ("Suggestions", array(&status["suggestions"]), suggestion_table),
    ] {
        if !rows.is_empty() {
            out.push_str(&format!("\n{heading}\n{}", table(rows, style)));
        }
    }
    out.push_str("\nGates\n");
    for gate in array(&status["gates"]) {
        let mark = if gate["ok"] == true { "✓" } else { "✖" };
        out.push_str(&format!("  {mark} {}: {}\n", word(&gate["name"]), word(&gate["reason"])));
        if let Some(mend) = gate["mend"].as_str() {
            out.push_str(&format!("      {}\n", style.dim(&one_line(mend))));
        }
    }
    for diff in array(&status["diffs"]) {
        let files = list(&diff["dirty"]);
        if !files.is_empty() {
            out.push_str(&format!("  not committed in {}: {files}\n", word(&diff["repo"])));
        }
    }
    for request in array(&status["pull_requests"]) {
        let (repo, state, url) = (word(&request["repo"]), word(&request["state"]), word(&request["url"]));
        out.push_str(&format!("  pull request #{} of {repo} ({state}): {url}\n", request["number"]));
    }
    out.push_str(&feedback(array(&status["review_feedback"])));
    out.push_str(&supervised(&status["supervisor"], style));
    out
}

/// How much reviewers said, by where it stands.
fn feedback(items: &[Value]) -> String {
    let status = |item: &Value| serde_json::from_value::<FeedbackStatus>(item["status"].clone()).ok();
    match tally(items.iter().filter_map(status)).as_str() {
        "" => String::new(),
        counts => format!("  review feedback: {counts}\n"),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn threads(threads: &[Value], style: &Style) -> String {
    if threads.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["THREAD", "STATE", "WAITS FOR", "TITLE"]);
    for thread in threads {
        let word = |key: &str| thread[key].as_str().unwrap_or("-").to_owned();
        table.row(vec![word("thread_id"), word("state"), word("waiting_on"), word("title")]);
    }
    format!("\n{}", table.render(style))
}

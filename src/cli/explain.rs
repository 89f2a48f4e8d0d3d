//! `explain`: why something stands as it does.

use serde_json::json;

use super::args::{AgentSelector, ExplainCommand, Selector};
use super::exit::Failure;
use super::print::{Style, one_line};
use super::reply::Reply;
use super::select;
use super::session::Session;
use super::wrong;
use crate::services::explain::{Explanation, Tone, What, explain};
use crate::services::text::wrap;
use crate::store::Reader;

/// In a pipe lines are not wrapped.
const UNBOUNDED: usize = 10_000;
/// Names of lines stand in a column of at most this width.
const WIDEST_NAME: usize = 24;

pub fn run(session: &Session, command: &ExplainCommand) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let what = what(session, &reader, command)?;
    let told = explain(&session.view(&home, &reader), &what)?;
    Ok(Reply::new(json!({ "explain": told.json }), text(&told, &session.style())))
}

fn what(session: &Session, reader: &Reader, command: &ExplainCommand) -> Result<What, Failure> {
    Ok(match command {
        ExplainCommand::Agent { name, selector, workspace } => {
            let own = session.identity();
            let name = name.clone().or_else(|| own.as_ref().map(|key| key.name.clone()));
            let name = name.ok_or_else(|| wrong("which agent is not said", "metawsm explain agent NAME"))?;
            let workspace = workspace.clone().or_else(|| own.filter(|key| key.name == name).map(|key| key.workspace));
            let which = AgentSelector { selector: selector.clone(), agent: Some(name), workspace };
            let run = select::run(session, reader, selector)?;
            What::Agent(select::agent(reader, &run, &which)?.key)
        }
        ExplainCommand::Run { id, selector } => {
            let selector = Selector { run_id: id.clone().or_else(|| selector.run_id.clone()), ..selector.clone() };
            What::Run(select::run(session, reader, &selector)?.id().to_owned())
        }
        ExplainCommand::Escalation { id } => What::Escalation(id.clone()),
        ExplainCommand::Decision { id } => What::Decision(id.clone()),
    })
}

fn text(told: &Explanation, style: &Style) -> String {
    let mut out = format!("{}\n  {}\n", style.strong(&one_line(&told.title)), one_line(&told.stands));
    for part in &told.parts {
        out.push_str(&format!("\n{}\n", part.heading));
        let names = part.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default().min(WIDEST_NAME);
        let room = style.width.map_or(UNBOUNDED, |width| width.saturating_sub(names + 6).max(20));
        for line in &part.lines {
            let mark = if line.tone == Tone::Fits { "✓" } else { " " };
            for (at, words) in wrap(&one_line(&line.text), room).iter().enumerate() {
                let (mark, name) = if at == 0 { (mark, one_line(&line.name)) } else { (" ", String::new()) };
                let row = format!("{mark} {name:<names$}  {words}");
                let row = row.trim_end();
                let row = if line.tone == Tone::Not { style.dim(row) } else { row.to_owned() };
                out.push_str(&format!("{row}\n"));
            }
        }
    }
    out
}

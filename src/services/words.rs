//! Events in words, for people.

use super::text::one_line;
use crate::domain::event::{Event, Fact};
use crate::domain::operator::{Action, Decision};
use crate::domain::plan::StepStatus;

/// An event for a person; empty for what is too small to tell.
pub fn words_of(event: &Event) -> String {
    let agent = event.subject.agent_name.clone().unwrap_or_default();
    let text = match &event.fact {
        Fact::RunTransitioned { to, reason, .. } => format!("run is {to}: {reason}"),
        Fact::StepTransitioned { to: StepStatus::Failed, error, index, .. } => {
            format!("step {index} failed: {}", error.clone().unwrap_or_default())
        }
        Fact::StepTransitioned { to: StepStatus::Done, index, .. } => format!("step {index} done"),
        Fact::AgentTransitioned { to, reason, .. } => format!("{agent} is {to}: {reason}"),
        Fact::ThreadOpened { title, control: false, .. } => format!("{agent} asks: {title}"),
        Fact::PostAdded { body, .. } => format!("{}: {body}", event.actor.name),
        Fact::WorkspaceCreated { path, .. } => format!("workspace {path}"),
        Fact::DocsSeeded { dir, .. } => format!("docs {dir}"),
        Fact::OutboxDead { topic, key, error, .. } => format!("{topic} for {key} was given up: {error}"),
        Fact::GitMerged { repo, base, how, .. } => format!("{repo} merged into {base} ({how})"),
        Fact::AgentProgressed { note: Some(note), .. } => format!("{agent}: {note}"),
        Fact::OperatorDecided(Decision { action: Action::Nothing, intent, due_at: Some(due), reason, .. }) => {
            format!("rule {} ({}) waits until {due}: {reason}", intent.rule(), intent.word())
        }
        Fact::OperatorActed { intent, reason, .. } => format!("rule {} ({}): {reason}", intent.rule(), intent.word()),
        Fact::OperatorSuggested { suggestion_id, intent, reason, .. } => {
            format!("rule {} suggests {}: {reason} ({suggestion_id})", intent.rule(), intent.word())
        }
        Fact::SuggestionSettled { suggestion_id, to, .. } => format!("{suggestion_id} is {}", to.word()),
        Fact::EscalationOpened { escalation_id, kind, reason, .. } => {
            format!("needs you ({kind}): {reason} ({escalation_id})")
        }
        Fact::EscalationResolved { escalation_id, .. } => format!("{escalation_id} is resolved"),
        _ => return String::new(),
    };
    one_line(&text)
}

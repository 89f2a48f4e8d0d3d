//! Who looks: whose queues, whose marks.

use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::AgentKey;
use crate::domain::refusal::Refusal;
use crate::domain::thread::{Thread, ThreadState};
use crate::store::kept;

/// Which posts are news to the viewer of this `:kind` and `:name`: neither the viewer's own words nor written down by
/// the viewer for somebody else.
pub(super) const BY_OTHERS: &str = "NOT (author_type = :kind AND author_name = coalesce(:name, author_name))
     AND (writer_type IS NOT :kind OR writer_name IS NOT coalesce(:name, writer_name))";

/// Whose queue it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// A person.
    Human(String),
    /// The operator.
    Operator,
    /// An agent; its queues cover its own threads.
    Agent(AgentKey),
}

impl Viewer {
    /// Reads `human:<name>`, `operator`, or `agent:<run>/<workspace>/<agent>`.
    ///
    /// # Errors
    /// A [`Refusal`] naming the forms.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || {
            Refusal::invalid(format!("`{text}` is no viewer"))
                .hint("use human:NAME, operator, or agent:RUN/WORKSPACE/AGENT")
        };
        if text == "operator" {
            return Ok(Self::Operator);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        match (kind, rest.split('/').collect::<Vec<_>>().as_slice()) {
            ("human", [name]) if !name.is_empty() => Ok(Self::Human((*name).to_owned())),
            ("agent", [run, workspace, name]) if ![run, workspace, name].iter().any(|part| part.is_empty()) => {
                Ok(Self::Agent(AgentKey::new(*run, *workspace, *name)))
            }
            _ => Err(wrong()),
        }
    }

    /// The viewer as text, as [`Viewer::parse`] reads it.
    pub fn id(&self) -> String {
        match self {
            Self::Human(name) => format!("human:{name}"),
            Self::Operator => "operator".to_owned(),
            Self::Agent(key) => format!("agent:{}/{}/{}", key.run_id, key.workspace, key.name),
        }
    }

    /// Whether a thread of its queues waits for the viewer's side or is assigned to it.
    pub fn is_needed_in(&self, thread: &Thread) -> bool {
        let waited_for = thread.waiting_on.is_some_and(|side| side.word() == self.side());
        let open = thread.state != ThreadState::Closed;
        let assigned = match self {
            Self::Human(_) | Self::Operator => kept::assignee(thread) == Some(self.assignee()),
            // Its threads are those of its run, where one name alone or one with a workspace is nobody else's.
            Self::Agent(key) => {
                let names = [&key.name, &key.within_run()];
                thread.run_id.as_ref() == Some(&key.run_id)
                    && thread.assignee_type == Some(ActorType::Agent)
                    && thread.assignee_name.as_ref().is_some_and(|name| names.contains(&name))
            }
        };
        waited_for || (open && assigned)
    }

    /// The viewer's name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Human(name) => name,
            Self::Operator => "operator",
            Self::Agent(key) => &key.name,
        }
    }

    pub(super) fn side(&self) -> &'static str {
        match self {
            Self::Human(_) | Self::Operator => "human",
            Self::Agent(_) => "agent",
        }
    }

    pub(super) fn author(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Human(name) => ("human", Some(name)),
            Self::Operator => ("operator", None),
            Self::Agent(key) => ("agent", Some(&key.name)),
        }
    }

    /// How a thread assigned to this viewer says so.
    pub(super) fn assignee(&self) -> String {
        match self {
            Self::Human(name) => format!("human:{name}"),
            Self::Operator => "operator:operator".to_owned(),
            Self::Agent(key) => format!("agent:{}", key.name),
        }
    }
}

/// The viewer that an actor is.
pub fn viewer_of(actor: &Actor, identity: Option<&AgentKey>) -> Viewer {
    match (identity, actor.kind) {
        (Some(key), _) => Viewer::Agent(key.clone()),
        (None, ActorType::Operator) => Viewer::Operator,
        (None, ActorType::Human | ActorType::System | ActorType::Agent) => Viewer::Human(actor.name.clone()),
    }
}

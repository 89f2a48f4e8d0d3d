//! Who did it, and whose words they are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The four kinds of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// A worker in a tmux session.
    Agent,
    /// The loop that acts by rule.
    Operator,
    /// A person.
    Human,
    /// metawsm itself.
    System,
}

impl ActorType {
    /// The word in JSON, SQL and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Human => "human",
            Self::System => "system",
        }
    }

    /// Reads a word in any case, blanks around it ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.trim().to_ascii_lowercase();
        [Self::Agent, Self::Operator, Self::Human, Self::System].into_iter().find(|kind| kind.word() == word)
    }

    /// The side of a conversation this actor speaks on; metawsm's own words are on none.
    pub const fn side(self) -> Option<Side> {
        match self {
            Self::Agent => Some(Side::Agent),
            Self::Operator | Self::Human => Some(Side::Human),
            Self::System => None,
        }
    }
}

impl fmt::Display for ActorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The two sides of a conversation: agents, and humans with the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The agents.
    Agent,
    /// Humans and the operator.
    Human,
}

impl Side {
    /// The side that has to speak after this one has.
    pub const fn other(self) -> Self {
        match self {
            Self::Agent => Self::Human,
            Self::Human => Self::Agent,
        }
    }

    /// The word in JSON and SQL.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
        }
    }
}

/// One actor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Its kind.
    #[serde(rename = "actor_type")]
    pub kind: ActorType,
    /// Its name within the kind.
    #[serde(rename = "actor_name")]
    pub name: String,
}

impl Actor {
    /// An actor of `kind` named `name`.
    pub fn new(kind: ActorType, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// A person.
    pub fn human(name: impl Into<String>) -> Self {
        Self::new(ActorType::Human, name)
    }

    /// A worker.
    pub fn agent(name: impl Into<String>) -> Self {
        Self::new(ActorType::Agent, name)
    }

    /// metawsm itself; `part` names the part of it that acted.
    pub fn system(part: impl Into<String>) -> Self {
        Self::new(ActorType::System, part)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

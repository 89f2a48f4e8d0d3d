//! Signals: typed control posts (original 3.7 "Control payload v1", plus workspace, epoch and `progress`).

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::thread::LONGEST_BODY;

/// The kind of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalType {
    /// An agent asks.
    GuidanceRequest,
    /// A human or the operator answers.
    GuidanceAnswer,
    /// An agent says that it is done.
    Completion,
    /// An agent says whether the done criteria hold.
    Validation,
    /// An agent says how far it is.
    Progress,
}

impl SignalType {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GuidanceRequest, Self::GuidanceAnswer, Self::Completion, Self::Validation, Self::Progress];

    /// The word in JSON and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::GuidanceRequest => "guidance_request",
            Self::GuidanceAnswer => "guidance_answer",
            Self::Completion => "completion",
            Self::Validation => "validation",
            Self::Progress => "progress",
        }
    }

    /// Reads a word in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// The payload of a control post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Always 1.
    pub schema_version: u32,
    /// What it is.
    pub control_type: SignalType,
    /// The run of the agent.
    pub run_id: String,
    /// The agent.
    pub agent_name: String,
    /// The workspace of the agent.
    pub workspace: String,
    /// The agent's epoch.
    pub epoch: u32,
    /// Asked by a guidance request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What one should know to answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// `passed` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The criteria that were checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_criteria: Option<String>,
    /// How far it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How far it is, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

impl Signal {
    /// A signal of this kind with nothing in it yet.
    pub fn new(
        control_type: SignalType,
        run_id: impl Into<String>,
        workspace: impl Into<String>,
        agent_name: impl Into<String>,
        epoch: u32,
    ) -> Self {
        Self {
            schema_version: 1,
            control_type,
            run_id: run_id.into(),
            agent_name: agent_name.into(),
            workspace: workspace.into(),
            epoch,
            question: None,
            context: None,
            answer: None,
            summary: None,
            status: None,
            done_criteria: None,
            note: None,
            percent: None,
        }
    }

    /// Checks that it holds what its kind needs.
    pub fn check(&self) -> Result<(), Refusal> {
        let blank = |field: &Option<String>| field.as_deref().is_none_or(|text| text.trim().is_empty());
        let lacks = |what: &str| Err(Refusal::invalid(format!("a {} signal needs --{what}", self.control_type.word())));
        if self.schema_version != 1 {
            return Err(Refusal::invalid(format!(
                "control payload version {} is not known; 1 is",
                self.schema_version
            )));
        }
        let texts =
            [&self.question, &self.context, &self.answer, &self.summary, &self.status, &self.done_criteria, &self.note];
        let texts = || texts.iter().filter_map(|text| text.as_deref());
        if texts().any(|text| text.contains('\0')) {
            return Err(Refusal::invalid("the signal holds a NUL byte"));
        }
        if texts().map(str::len).sum::<usize>() > LONGEST_BODY {
            return Err(Refusal::invalid(format!("the signal is longer than {LONGEST_BODY} bytes"))
                .hint("put it into a file in the worktree and signal its path"));
        }
        match self.control_type {
            SignalType::GuidanceRequest if blank(&self.question) => lacks("question"),
            SignalType::GuidanceAnswer if blank(&self.answer) => lacks("answer"),
            SignalType::Validation if self.passed().is_none() => {
                Err(Refusal::invalid("a validation signal needs --status passed or --status failed"))
            }
            SignalType::Validation if blank(&self.done_criteria) => lacks("done-criteria"),
            SignalType::Progress if blank(&self.note) && self.percent.is_none() => lacks("note"),
            SignalType::Progress if self.percent.is_some_and(|percent| percent > 100) => {
                Err(Refusal::invalid("--percent is a number from 0 to 100"))
            }
            SignalType::GuidanceRequest
            | SignalType::GuidanceAnswer
            | SignalType::Completion
            | SignalType::Validation
            | SignalType::Progress => Ok(()),
        }
    }

    /// What a validation says: whether the criteria hold.
    pub fn passed(&self) -> Option<bool> {
        match self.status.as_deref()?.trim().to_ascii_lowercase().as_str() {
            "passed" => Some(true),
            "failed" => Some(false),
            _ => None,
        }
    }

    /// The words a reader sees.
    pub fn words(&self) -> String {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        match self.control_type {
            SignalType::GuidanceRequest => match &self.context {
                Some(context) => format!("{}\n\n{context}", text(&self.question)),
                None => text(&self.question),
            },
            SignalType::GuidanceAnswer => text(&self.answer),
            SignalType::Completion => match &self.summary {
                Some(summary) if !summary.trim().is_empty() => summary.clone(),
                Some(_) | None => "done".to_owned(),
            },
            SignalType::Validation => format!("validation {}: {}", text(&self.status), text(&self.done_criteria)),
            SignalType::Progress => match self.percent {
                Some(percent) => format!("{percent} % {}", text(&self.note)).trim_end().to_owned(),
                None => text(&self.note),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(kind: SignalType) -> Signal {
        Signal::new(kind, "run-1", "ws", "planner", 1)
    }

    #[test]
    fn each_kind_needs_its_own() {
        for kind in SignalType::ALL {
            assert_eq!(signal(kind).check().is_ok(), kind == SignalType::Completion, "{kind:?}");
        }
        let full = Signal {
            question: Some("q".into()),
            answer: Some("a".into()),
            status: Some("PASSED".into()),
            done_criteria: Some("c".into()),
            note: Some("n".into()),
            ..signal(SignalType::Progress)
        };
        for kind in SignalType::ALL {
            assert!(Signal { control_type: kind, ..full.clone() }.check().is_ok(), "{kind:?}");
        }
        assert!(
            Signal { status: Some("maybe".into()), control_type: SignalType::Validation, ..full.clone() }
                .check()
                .is_err()
        );
        assert!(Signal { percent: Some(101), ..full.clone() }.check().is_err());
        assert!(Signal { schema_version: 2, ..full }.check().is_err());
    }
}

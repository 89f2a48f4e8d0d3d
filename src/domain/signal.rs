//! Signals: typed control posts (original 3.7 "Control payload v1", plus workspace, epoch and `progress`).

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::thread::{LONGEST_BODY, fingerprint};

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

    /// Checks that it holds what its kind needs, and nothing that its kind has no place for.
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
        if let Some(what) = self.out_of_place() {
            let words = format!("a {} signal has no --{what}", self.control_type.word());
            return Err(Refusal::invalid(words).hint("leave it out: nobody would read it there"));
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

    /// The first thing it holds that belongs to other kinds.
    fn out_of_place(&self) -> Option<&'static str> {
        let fields = [
            ("question", self.question.is_some(), SignalType::GuidanceRequest),
            ("context", self.context.is_some(), SignalType::GuidanceRequest),
            ("answer", self.answer.is_some(), SignalType::GuidanceAnswer),
            ("summary", self.summary.is_some(), SignalType::Completion),
            ("status", self.status.is_some(), SignalType::Validation),
            ("done-criteria", self.done_criteria.is_some(), SignalType::Validation),
            ("note", self.note.is_some(), SignalType::Progress),
            ("percent", self.percent.is_some(), SignalType::Progress),
        ];
        fields.into_iter().find(|(_, given, of)| *given && *of != self.control_type).map(|(name, _, _)| name)
    }

    /// A fingerprint of what a guidance request asks, to recognise the same again.
    pub fn asks(&self) -> Option<String> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        (self.control_type == SignalType::GuidanceRequest)
            .then(|| fingerprint(&text(&self.question), &text(&self.context)))
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
        let full = |kind| {
            let own = |of: SignalType, text: &str| (kind == of).then(|| text.to_owned());
            Signal {
                question: own(SignalType::GuidanceRequest, "q"),
                answer: own(SignalType::GuidanceAnswer, "a"),
                status: own(SignalType::Validation, "PASSED"),
                done_criteria: own(SignalType::Validation, "c"),
                note: own(SignalType::Progress, "n"),
                ..signal(kind)
            }
        };
        for kind in SignalType::ALL {
            assert!(full(kind).check().is_ok(), "{kind:?}");
        }
        let wrong = [
            Signal { status: Some("maybe".into()), ..full(SignalType::Validation) },
            Signal { percent: Some(101), ..full(SignalType::Progress) },
            Signal { schema_version: 2, ..full(SignalType::Progress) },
        ];
        assert!(wrong.iter().all(|signal| signal.check().is_err()));
    }

    #[test]
    fn what_belongs_to_another_kind_is_named_and_refused() {
        let text = || Some("x".to_owned());
        let each = |kind| {
            [
                ("question", Signal { question: text(), ..signal(kind) }),
                ("context", Signal { context: text(), ..signal(kind) }),
                ("answer", Signal { answer: text(), ..signal(kind) }),
                ("summary", Signal { summary: text(), ..signal(kind) }),
                ("status", Signal { status: text(), ..signal(kind) }),
                ("done-criteria", Signal { done_criteria: text(), ..signal(kind) }),
                ("note", Signal { note: text(), ..signal(kind) }),
                ("percent", Signal { percent: Some(1), ..signal(kind) }),
            ]
        };
        let taken = |kind| -> Vec<&str> {
            let refused = |name: &str, signal: &Signal| {
                let words = format!("a {} signal has no --{name}", kind_word(signal));
                signal.check().is_err_and(|refusal| refusal.message == words)
            };
            each(kind).iter().filter(|(name, signal)| !refused(name, signal)).map(|(name, _)| *name).collect()
        };
        for (kind, own) in [
            (SignalType::GuidanceRequest, &["question", "context"][..]),
            (SignalType::GuidanceAnswer, &["answer"]),
            (SignalType::Completion, &["summary"]),
            (SignalType::Validation, &["status", "done-criteria"]),
            (SignalType::Progress, &["note", "percent"]),
        ] {
            assert_eq!(taken(kind), own, "{kind:?}");
        }
    }

    fn kind_word(signal: &Signal) -> &'static str {
        signal.control_type.word()
    }
}

//! What reviewers said to the pull requests of a run, and how it is put to its agents (original §4.7, without D19).

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::pull_request::PullRequestState;
use super::time::Moment;

/// Reasons begin with it where a run began anew with feedback.
pub const ITERATED: &str = "iterated: ";

/// Where something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A comment on a line of the change.
    PrReviewComment,
    /// The words of a review as a whole.
    PrReview,
}

impl Source {
    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PrReviewComment => "pr_review_comment",
            Self::PrReview => "pr_review",
        }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackStatus {
    /// No agent was told of it yet.
    Queued,
    /// The agents were started again with it.
    Dispatched,
    /// Something was pushed since.
    Addressed,
    /// It is of nobody who is listened to, was taken back, or its pull request is over.
    Ignored,
}

impl FeedbackStatus {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Dispatched, Self::Addressed, Self::Ignored];

    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Addressed => "addressed",
            Self::Ignored => "ignored",
        }
    }
}

/// Something a reviewer said, as GitHub has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Where.
    pub source: Source,
    /// GitHub's number of it.
    pub source_id: u64,
    /// Who.
    pub author: String,
    /// The words.
    pub body: String,
    /// The file it is about.
    #[serde(default)]
    pub path: Option<String>,
    /// The line there, as far as it is known.
    #[serde(default)]
    pub line: Option<u64>,
    /// Where it is to be read.
    #[serde(default)]
    pub url: Option<String>,
    /// When it was said, as GitHub writes it.
    #[serde(default)]
    pub said_at: Option<String>,
    /// What its author is to the repository, as GitHub writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<String>,
}

/// Those whose word counts without a human reading it first: GitHub's names for who may write to the repository.
const TRUSTED: [&str; 3] = ["OWNER", "MEMBER", "COLLABORATOR"];

/// The longest words that are kept of one remark, in bytes; the rest is read where it was said.
const LONGEST_BODY: usize = 16 * 1024;

impl Remark {
    /// Whether rules may put it to agents: on a public repository anybody may say something. Where nobody tells what its
    /// author is, it is somebody known.
    pub fn is_trusted(&self) -> bool {
        self.association.as_deref().is_none_or(|word| TRUSTED.contains(&word))
    }

    /// With words that fit into an event.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.body.len() > LONGEST_BODY {
            let mut end = LONGEST_BODY;
            while !self.body.is_char_boundary(end) {
                end -= 1;
            }
            let more = self.body.len() - end;
            self.body.truncate(end);
            let _ = write!(self.body, "\n… {more} bytes more where it was said");
        }
        self
    }

    /// Its name among all of a repository's.
    pub fn id(&self, number: u64) -> String {
        format!("{number}/{}/{}", self.source.word(), self.source_id)
    }

    /// Its first line; of a review, what became of it goes before.
    pub fn first_line(&self) -> String {
        let mut lines = self.body.trim().lines().map(str::trim);
        let first = lines.next().unwrap_or_default();
        let state = first.strip_prefix("[state=").and_then(|rest| rest.split([' ', ']']).next());
        match state.filter(|_| self.source == Source::PrReview) {
            Some(state) => {
                let words = lines.find(|line| !line.is_empty()).unwrap_or_default();
                format!("{}: {words}", state.to_lowercase().replace('_', " "))
            }
            None => first.to_owned(),
        }
    }

    /// The place it is about, in words: file and line, or the pull request as a whole.
    pub fn place(&self) -> String {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => format!("{path}:{line}"),
            (Some(path), None) => path.clone(),
            (None, _) => "the whole change".to_owned(),
        }
    }
}

/// A remark that was seen, with what is to be made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// What was said.
    #[serde(flatten)]
    pub remark: Remark,
    /// Queued, or ignored.
    pub status: FeedbackStatus,
}

/// A remark on the work of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Its name within the repository.
    pub feedback_id: String,
    /// The run.
    pub run_id: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// The pull request.
    pub number: u64,
    /// What was said.
    #[serde(flatten)]
    pub remark: Remark,
    /// Where it stands.
    pub status: FeedbackStatus,
    /// When it was seen first.
    pub seen_at: Moment,
    /// When it came to stand where it stands.
    pub since: Moment,
}

/// What came of the remarks that were just heard: those that are new or were changed, or of whom it is known only now
/// that they are not listened to. What was said before in the same words is no news, wherever it stands.
pub fn news(known: &dyn Fn(&str) -> Option<(FeedbackStatus, String)>, number: u64, heard: &[Heard]) -> Vec<Heard> {
    let is_news = |heard: &&Heard| {
        let before = known(&heard.remark.id(number));
        match (before, heard.status) {
            (None, status) => status == FeedbackStatus::Queued,
            (Some((was, _)), FeedbackStatus::Ignored) => was == FeedbackStatus::Queued,
            (Some((was, body)), _) => was == FeedbackStatus::Ignored || body != heard.remark.body,
        }
    };
    heard.iter().filter(is_news).cloned().collect()
}

/// A pull request as it was just seen on the other side, with what was said to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reviewed {
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// Its number.
    pub number: u64,
    /// Where it stands; none where that could not be asked for.
    pub state: Option<PullRequestState>,
    /// Its title.
    pub title: Option<String>,
    /// Whether it is a draft.
    pub draft: Option<bool>,
    /// What was said.
    pub heard: Vec<Heard>,
}

/// Remarks of one repository that agents are told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dispatch {
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// The remarks' names.
    pub items: Vec<String>,
}

/// The remarks by workspace and repository.
pub fn dispatches(items: &[Feedback]) -> Vec<Dispatch> {
    let mut all: Vec<Dispatch> = Vec::new();
    for item in items {
        let same = |one: &&mut Dispatch| (&one.workspace, &one.repo) == (&item.workspace, &item.repo);
        match all.iter_mut().find(same) {
            Some(one) => one.items.push(item.feedback_id.clone()),
            None => all.push(Dispatch {
                workspace: item.workspace.clone(),
                repo: item.repo.clone(),
                items: vec![item.feedback_id.clone()],
            }),
        }
    }
    all
}

/// So many remarks, in words.
pub fn remarks(count: usize) -> String {
    if count == 1 { "one remark".to_owned() } else { format!("{count} remarks") }
}

/// How many stand where, those left out of which there are none.
pub fn tally(statuses: impl Iterator<Item = FeedbackStatus> + Clone) -> String {
    let count = |status| (statuses.clone().filter(|one| *one == status).count(), status);
    let counts = FeedbackStatus::ALL.into_iter().map(count).filter(|(count, _)| *count > 0);
    counts.map(|(count, status)| format!("{count} {}", status.word())).collect::<Vec<_>>().join(", ")
}

/// The words with which remarks are put to agents: a list, each with who, where, and what was said.
pub fn as_text(items: &[Feedback]) -> String {
    let count = remarks(items.len());
    let mut text = format!(
        "Reviewers made {count} on your pull request. Answer each with a change, or say why there is none when you report \
         that you are done; write nothing to the pull request yourself.\n"
    );
    for item in items {
        let remark = &item.remark;
        let _ = write!(text, "\n- {} on {}", remark.author, remark.place());
        let _ = write!(text, " ({} #{}", item.repo, item.number);
        if let Some(url) = &remark.url {
            let _ = write!(text, ", {url}");
        }
        text.push_str("):\n");
        for line in remark.body.trim().lines() {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(id: u64, body: &str, status: FeedbackStatus) -> Heard {
        let remark = Remark {
            source: Source::PrReviewComment,
            source_id: id,
            author: "ada".into(),
            body: body.into(),
            path: Some("src/main.rs".into()),
            line: Some(7),
            url: None,
            said_at: None,
            association: None,
        };
        Heard { remark, status }
    }

    #[test]
    fn d19_only_new_and_changed_words_are_news() {
        use FeedbackStatus::{Addressed, Dispatched, Ignored, Queued};
        let table = [
            (None, Queued, true),
            (None, Ignored, false),
            (Some((Queued, "a")), Queued, false),
            (Some((Dispatched, "a")), Queued, false),
            (Some((Addressed, "a")), Queued, false),
            (Some((Addressed, "b")), Queued, true),
            (Some((Ignored, "a")), Queued, true),
            (Some((Queued, "a")), Ignored, true),
            (Some((Dispatched, "a")), Ignored, false),
            (Some((Ignored, "a")), Ignored, false),
        ];
        for (before, status, expected) in table {
            let known = |id: &str| {
                assert_eq!(id, "41/pr_review_comment/9");
                before.map(|(status, body)| (status, body.to_owned()))
            };
            assert_eq!(!news(&known, 41, &[heard(9, "a", status)]).is_empty(), expected, "{before:?} {status:?}");
        }
    }

    #[test]
    fn agents_are_told_who_said_what_and_where() {
        let item = |id: u64, body: &str| Feedback {
            feedback_id: format!("41/pr_review_comment/{id}"),
            run_id: "run-1".into(),
            ticket: None,
            workspace: "ws".into(),
            repo: "shop".into(),
            number: 41,
            remark: heard(id, body, FeedbackStatus::Queued).remark,
            status: FeedbackStatus::Queued,
            seen_at: Moment::from_millis(0),
            since: Moment::from_millis(0),
        };
        let items = [item(1, "Rename it.\n\nTo what it is."), item(2, "Why?")];
        let text = as_text(&items);
        assert!(text.contains("2 remarks"), "{text}");
        assert!(text.contains("- ada on src/main.rs:7 (shop #41):\n  Rename it.\n\n  To what it is.\n"), "{text}");
        let told = dispatches(&items);
        assert_eq!((told.len(), told[0].items.len(), told[0].repo.as_str()), (1, 2, "shop"));
    }

    #[test]
    fn the_first_line_of_a_review_says_what_became_of_it() {
        let plain = heard(1, "\n Why?\nSo.", FeedbackStatus::Queued).remark;
        assert_eq!(plain.first_line(), "Why?");
        let body = "[state=CHANGES_REQUESTED submitted_at=2026-11-21T09:00:00Z]\n\nNot yet.\nMore".to_owned();
        assert_eq!(
            Remark { body: body.clone(), ..plain.clone() }.first_line(),
            body.lines().next().unwrap_or_default()
        );
        let review = Remark { source: Source::PrReview, body, ..plain };
        assert_eq!(review.first_line(), "changes requested: Not yet.");
    }

    #[test]
    fn on_a_public_repository_not_everybody_is_trusted() {
        let by = |word: Option<&str>| {
            let association = word.map(str::to_owned);
            Remark { association, ..heard(1, "a", FeedbackStatus::Queued).remark }.is_trusted()
        };
        assert!([None, Some("OWNER"), Some("MEMBER"), Some("COLLABORATOR")].into_iter().all(by));
        assert!(![Some("NONE"), Some("CONTRIBUTOR"), Some("FIRST_TIMER"), Some("")].into_iter().any(by));
        let statuses = [FeedbackStatus::Queued, FeedbackStatus::Ignored, FeedbackStatus::Queued];
        assert_eq!(tally(statuses.into_iter()), "2 queued, 1 ignored");
    }

    #[test]
    fn long_words_are_cut_between_characters_and_it_is_said() {
        let long = heard(1, &"ä".repeat(LONGEST_BODY), FeedbackStatus::Queued).remark.bounded();
        assert!(long.body.len() < LONGEST_BODY + 60 && long.body.ends_with("bytes more where it was said"));
        assert_eq!(heard(1, "short", FeedbackStatus::Queued).remark.bounded().body, "short");
    }
}

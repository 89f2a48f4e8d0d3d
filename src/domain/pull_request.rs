//! A pull request of one repository of a run, as metawsm knows it.

use serde::{Deserialize, Serialize};

use super::time::Moment;

/// Where a pull request stands on the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestState {
    /// It may be reviewed and merged.
    #[default]
    Open,
    /// It was closed and not merged.
    Closed,
    /// It is in its base.
    Merged,
}

impl PullRequestState {
    /// Whether it may still be reviewed.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// The word in JSON and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// The run.
    pub run_id: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub url: String,
    /// The branch that was pushed.
    pub branch: String,
    /// The branch it is to be merged into.
    pub base: String,
    /// The commit that was pushed last.
    pub head: String,
    /// Its title.
    pub title: String,
    /// Whether it was opened as a draft.
    pub draft: bool,
    /// Where it stands, as far as that was seen.
    #[serde(default)]
    pub state: PullRequestState,
    /// When it was opened.
    pub opened_at: Moment,
    /// When something was pushed to it last.
    pub updated_at: Moment,
}

impl PullRequest {
    /// In words.
    pub fn words(&self) -> String {
        format!("{}: pull request #{} {}", self.repo, self.number, self.url)
    }
}

/// Name of the branch that is pushed, from the policy's template. What git would not have in a name becomes `-`.
pub fn branch_of(template: &str, ticket: &str, repo: &str, run: &str) -> String {
    let filled = template.replace("{ticket}", ticket).replace("{repo}", repo).replace("{run}", run);
    let parts = filled.split('/').map(|part| {
        let plain: String = part
            .chars()
            .map(|c| if c.is_control() || c.is_whitespace() || r#"~^:?*[]\{}@"'"#.contains(c) { '-' } else { c })
            .collect();
        let mut plain = plain.replace("..", "-");
        while plain.contains("--") {
            plain = plain.replace("--", "-");
        }
        let plain = plain.trim_matches(['-', '.']).trim_end_matches(".lock").to_owned();
        if plain.is_empty() { "x".to_owned() } else { plain }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_made_of_the_template_and_git_takes_it() {
        let branch = |template: &str| branch_of(template, "ACME-1", "shop", "run-20261121-080000");
        assert_eq!(branch("{ticket}/{repo}/{run}"), "ACME-1/shop/run-20261121-080000");
        assert_eq!(branch("feature/{ticket}"), "feature/ACME-1");
        assert_eq!(branch("{ticket}.lock/a..b/ x~y /"), "ACME-1/a-b/x-y/x");
    }
}

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
    /// When it was seen to change last.
    pub updated_at: Moment,
}

impl PullRequest {
    /// The host it is on, and its repository's full name there; nothing where its address is no such thing.
    pub fn place(&self) -> Option<(&str, &str)> {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let (host, path) = rest.split_once('/')?;
        let (full, number) = path.split_once("/pull/")?;
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let plain = |part: &str| part.bytes().any(|b| b != b'.') && part.bytes().all(letter);
        let names = full.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name));
        (names && plain(host) && number.starts_with(|c: char| c.is_ascii_digit())).then_some((host, full))
    }

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
    fn its_place_is_told_by_its_address_and_by_nothing_else() {
        let of = |url: &str| {
            let fields = serde_json::json!({
                "run_id": "r", "ticket": null, "workspace": "w", "repo": "shop", "number": 1, "url": url, "branch": "b",
                "base": "main", "head": "0", "title": "t", "draft": false, "opened_at": "2026-11-21T08:00:00.000Z",
                "updated_at": "2026-11-21T08:00:00.000Z",
            });
            let request: PullRequest = serde_json::from_value(fields).unwrap();
            assert_eq!(request.state, PullRequestState::Open, "what was written before states were known");
            request.place().map(|(host, full)| (host.to_owned(), full.to_owned()))
        };
        let place = |host: &str, full: &str| Some((host.to_owned(), full.to_owned()));
        assert_eq!(of("https://github.com/acme/shop/pull/41"), place("github.com", "acme/shop"));
        assert_eq!(of("https://git.acme.example/a.b/c_d-e/pull/7"), place("git.acme.example", "a.b/c_d-e"));
        for bad in
            ["", "x", "https://github.com/acme/pull/1", "https://github.com/a/b/pull/x", "https://h/a/../pull/1?"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_branch_is_made_of_the_template_and_git_takes_it() {
        let branch = |template: &str| branch_of(template, "ACME-1", "shop", "run-20261121-080000");
        assert_eq!(branch("{ticket}/{repo}/{run}"), "ACME-1/shop/run-20261121-080000");
        assert_eq!(branch("feature/{ticket}"), "feature/ACME-1");
        assert_eq!(branch("{ticket}.lock/a..b/ x~y /"), "ACME-1/a-b/x-y/x");
    }
}

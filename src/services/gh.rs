//! GitHub's own program `gh`: pull requests are found, opened and changed by it, with the user's own login.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::error::EngineError;
use super::process::exec::{Exec, ExecError, Output};

/// The longest a call may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The same for what may have many pages.
const LONG_LIMIT: Duration = Duration::from_secs(120);
/// Bytes kept of what it says.
const KEPT: usize = 256 * 1024;

/// `gh`, in one checkout.
#[derive(Debug, Clone, Copy)]
pub struct Gh<'a> {
    /// The checkout.
    pub dir: &'a Path,
    /// Ends a call.
    pub cancel: Option<&'a AtomicBool>,
}

/// A pull request as GitHub has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Whether it is a draft.
    #[serde(default)]
    pub is_draft: bool,
}

/// What a new pull request is to be.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// The branch it is to be merged into.
    pub base: &'a str,
    /// The branch that was pushed.
    pub head: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its text.
    pub body: &'a str,
    /// Whether it is a draft.
    pub draft: bool,
    /// Its labels.
    pub labels: &'a [String],
    /// Who is asked to review it.
    pub reviewers: &'a [String],
}

impl Gh<'_> {
    /// The open pull request from this branch, if there is one.
    ///
    /// # Errors
    /// When `gh` is not there, nobody is logged in, or GitHub cannot be asked.
    pub fn open_from(&self, branch: &str) -> Result<Option<Found>, EngineError> {
        let fields = "number,url,title,isDraft";
        let out = self.call(&["pr", "list", "--state", "open", "--head", branch, "--limit", "1", "--json", fields])?;
        let mut found: Vec<Found> =
            serde_json::from_str(out.trim()).map_err(|error| not_understood(&error.to_string()))?;
        Ok(found.pop())
    }

    /// Opens a pull request.
    ///
    /// # Errors
    /// What `gh` says.
    pub fn open(&self, new: &New<'_>) -> Result<Found, EngineError> {
        let mut args = vec!["pr", "create", "--base", new.base, "--head", new.head];
        args.extend(["--title", new.title, "--body", new.body]);
        if new.draft {
            args.push("--draft");
        }
        args.extend(new.labels.iter().flat_map(|label| ["--label", label.as_str()]));
        args.extend(new.reviewers.iter().flat_map(|reviewer| ["--reviewer", reviewer.as_str()]));
        let out = self.call(&args)?;
        let (number, url) = address(&out).ok_or_else(|| {
            EngineError::outside("gh told no address of the pull request", "gh pr list shows whether it is there")
        })?;
        Ok(Found { number, url, title: new.title.to_owned(), is_draft: new.draft })
    }

    /// Changes title and text of a pull request, as far as they are given.
    ///
    /// # Errors
    /// What `gh` says.
    pub fn edit(&self, number: u64, title: Option<&str>, body: Option<&str>) -> Result<(), EngineError> {
        let number = number.to_string();
        let mut args = vec!["pr", "edit", number.as_str()];
        args.extend(title.into_iter().flat_map(|title| ["--title", title]));
        args.extend(body.into_iter().flat_map(|body| ["--body", body]));
        self.call(&args).map(drop)
    }

    /// Asks GitHub's API for what stands at a path.
    ///
    /// # Errors
    /// What `gh` says, or that it does not answer with JSON.
    pub fn api(&self, host: &str, path: &str) -> Result<Value, EngineError> {
        let out = self.ask(&["api", path], host, LIMIT)?;
        serde_json::from_str(out.trim()).map_err(|error| not_understood(&error.to_string()))
    }

    /// The same for a list, all pages of it.
    ///
    /// # Errors
    /// What `gh` says, or that it does not answer with lists.
    pub fn api_all(&self, host: &str, path: &str) -> Result<Vec<Value>, EngineError> {
        pages(&self.ask(&["api", path, "--paginate"], host, LONG_LIMIT)?).map_err(|error| not_understood(&error))
    }

    /// What is asked for is wanted whole, and many pages take their time.
    fn ask(&self, args: &[&str], host: &str, limit: Duration) -> Result<String, EngineError> {
        let mut args = args.to_vec();
        if host != "github.com" {
            args.extend(["--hostname", host]);
        }
        self.call_keeping(&args, None, limit)
    }

    fn call(&self, args: &[&str]) -> Result<String, EngineError> {
        self.call_keeping(args, Some(KEPT), LIMIT)
    }

    fn call_keeping(&self, args: &[&str], tail: Option<usize>, limit: Duration) -> Result<String, EngineError> {
        let mut exec = Exec::new("gh")
            .args(args.iter().copied())
            .cwd(self.dir)
            .without_env("GIT_")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GH_PROMPT_DISABLED", "1")
            .env("GH_NO_UPDATE_NOTIFIER", "1")
            .env("NO_COLOR", "1")
            .env("GH_PAGER", "cat")
            .timeout(limit);
        if let Some(bytes) = tail {
            exec = exec.keep_tail(bytes);
        }
        if let Some(flag) = self.cancel {
            exec = exec.cancel(flag);
        }
        match exec.run() {
            Ok(output) if output.ok() => Ok(output.text()),
            Ok(output) => Err(failed(args, &output)),
            Err(ExecError::Cancelled { .. }) => Err(EngineError::Interrupted("gh".to_owned())),
            Err(ExecError::Missing { .. }) => Err(EngineError::outside(
                "gh is not installed or not on PATH: pull requests are made by it",
                "install GitHub's gh, then: gh auth login",
            )),
            Err(error) => Err(EngineError::outside(error.to_string(), "gh auth status says whether GitHub is reached")),
        }
    }
}

/// The values of all pages: each is a list, and several follow each other without anything between them (D19).
fn pages(text: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for page in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match page.map_err(|error| error.to_string())? {
            Value::Array(items) => all.extend(items),
            other => return Err(format!("no list: {}", other.to_string().chars().take(200).collect::<String>())),
        }
    }
    Ok(all)
}

fn not_understood(why: &str) -> EngineError {
    EngineError::outside(format!("gh answered in a form that is not understood: {why}"), "update gh")
}

fn failed(args: &[&str], output: &Output) -> EngineError {
    let what = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    let said = output.complaint();
    // gh's own status for somebody who is not logged in.
    let hint = if output.status == Some(4) { "gh auth login" } else { "gh auth status says whether GitHub is reached" };
    EngineError::outside(format!("gh {what} failed: {said}"), hint)
}

/// The last address of a pull request in a text, with its number.
fn address(text: &str) -> Option<(u64, String)> {
    let word = |word: &str| {
        let (_, rest) = word.split_once("/pull/")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let end = word.len() - rest.len() + digits.len();
        Some((digits.parse().ok()?, word.get(..end)?.to_owned()))
    };
    text.split_whitespace().filter(|word| word.starts_with("http")).filter_map(word).next_back()
}

/// Whether `gh` is to be found on a search path.
pub fn is_on(path: &str) -> bool {
    std::env::split_paths(path).any(|dir| dir.join("gh").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d19_pages_that_follow_each_other_are_one_list() {
        let all = pages("[1,2][3]\n[]\n[{\"id\":4}]").unwrap();
        assert_eq!(Value::from(all).to_string(), r#"[1,2,3,{"id":4}]"#);
        assert!(pages("{\"message\":\"Not Found\"}").unwrap_err().contains("Not Found"));
        assert!(pages("[1,2").is_err() && pages("no").is_err() && pages("").unwrap().is_empty());
    }

    #[test]
    fn the_address_is_found_in_what_gh_says() {
        let said = "Warning: 1 uncommitted change\nsee https://x/pull/1\nhttps://github.com/acme/shop/pull/23#new\n";
        assert_eq!(address(said), Some((23, "https://github.com/acme/shop/pull/23".to_owned())));
        assert_eq!(address("https://github.com/acme/shop/pull/x"), None);
        assert_eq!(address("nothing"), None);
    }
}

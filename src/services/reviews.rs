//! What reviewers say to the pull requests of a run: fetched by `gh`, kept until the agents are told of it, and put to
//! them by beginning anew (original §4.7, without D16, D18 and D19).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde_json::Value;

use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::gates;
use super::gh::Gh;
use super::iterate::{self, Begun, Words};
use super::text::one_line;
use crate::domain::command::RunWish;
use crate::domain::feedback::{
    Feedback, FeedbackStatus, Heard, Remark, Reviewed, Source, as_text, dispatches, news, remarks,
};
use crate::domain::policy::{OperatorMode, Policy, ReviewFeedbackPolicy};
use crate::domain::pull_request::{PullRequest, PullRequestState};
use crate::domain::refusal::Refusal;
use crate::domain::run::Run;
use crate::domain::thread::LONGEST_BODY;
use crate::store::Reader;

/// What is to be fetched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// So many new remarks at most; none: as many as the policy says.
    pub max_items: Option<u32>,
    /// Only what belongs to this ticket.
    pub ticket: Option<String>,
    /// Ends it where it stands.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Options {
    /// How many remarks are taken at once.
    pub fn most(&self, policy: &ReviewFeedbackPolicy) -> usize {
        let most = self.max_items.map_or(policy.max_items_per_sync, |most| most.min(policy.max_items_per_sync));
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// What was fetched of one pull request, and what of it is news.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What is to be kept of it.
    seen: Reviewed,
    /// In numbers.
    pub tally: Tally,
}

/// One pull request in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The workspace.
    pub workspace: String,
    /// The repository.
    pub repo: String,
    /// Its number.
    pub number: u64,
    /// Where it stands.
    pub state: PullRequestState,
    /// Remarks that are there and listened to.
    pub fetched: usize,
    /// Those that were not known.
    pub added: usize,
    /// Those whose words were changed, or who are not listened to any more.
    pub updated: usize,
    /// Those that are left for the next time.
    pub left: usize,
}

impl Tally {
    /// In words.
    pub fn words(&self) -> String {
        let left = if self.left > 0 { format!(", {} left for the next time", self.left) } else { String::new() };
        let Self { repo, number, state, fetched, added, updated, .. } = self;
        format!("{repo} #{number} ({}): {fetched} fetched, {added} added, {updated} updated{left}", state.word())
    }
}

/// What came of asking.
#[derive(Debug, Clone, Default)]
pub struct Synced {
    /// By pull request.
    pub fetched: Vec<Fetched>,
    /// What could not be asked for.
    pub troubles: Vec<String>,
    /// What is not known and was not needed.
    pub warnings: Vec<String>,
}

impl Synced {
    /// In numbers.
    pub fn tallies(&self) -> Vec<Tally> {
        self.fetched.iter().map(|one| one.tally.clone()).collect()
    }

    /// The workspaces in which something would wait for agents once this is kept, `queued` being what waits now.
    pub fn would_wait(&self, queued: &[Feedback]) -> BTreeSet<String> {
        let over = |item: &Feedback| {
            let mine = |seen: &Reviewed| {
                (&seen.workspace, &seen.repo, seen.number) == (&item.workspace, &item.repo, item.number)
            };
            let now = self.fetched.iter().filter(|one| mine(&one.seen)).flat_map(|one| &one.seen.heard);
            let mut same = now.filter(|heard| heard.remark.id(item.number) == item.feedback_id);
            same.any(|heard| heard.status == FeedbackStatus::Ignored)
        };
        let waits = queued.iter().filter(|item| !over(item)).map(|item| &item.workspace);
        let comes = |one: &&Fetched| one.seen.heard.iter().any(|heard| heard.status == FeedbackStatus::Queued);
        waits.chain(self.fetched.iter().filter(comes).map(|one| &one.seen.workspace)).cloned().collect()
    }

    /// An error where something could not be asked for; what could be is kept all the same.
    ///
    /// # Errors
    /// That one.
    pub fn complete(&self) -> Result<(), EngineError> {
        match self.troubles.as_slice() {
            [] => Ok(()),
            troubles => Err(EngineError::outside(
                format!("not all reviews could be fetched: {}", troubles.join("; ")),
                "gh auth status says whether GitHub is reached",
            )),
        }
    }
}

/// Whether reviews of a run are asked for at all.
pub fn wanted(policy: &Policy) -> bool {
    policy.git_pr.review_feedback.enabled && policy.git_pr.mode != OperatorMode::Off
}

/// Whether reviews of a run may be asked for.
///
/// # Errors
/// A refusal where they are not wanted, or the run is not completed.
pub fn may_sync(reader: &Reader, policy: &Policy, run: &Run) -> Result<(), EngineError> {
    if !wanted(policy) {
        let key =
            if policy.git_pr.mode == OperatorMode::Off { "mode is off" } else { "review_feedback.enabled is false" };
        let what = format!("run {} listens to no reviews: git_pr.{key} in the policy it was started with", run.id());
        let refusal = Refusal::illegal(what, run.status.word(), run.status.next_commands().to_vec());
        return Err(refusal.hint("enable it in the policy file: runs that are started then listen").into());
    }
    gates::settled(reader, run, "asked for reviews")
}

/// Asks for what was said to the pull requests that are open, and what of it is news. Nothing is kept yet.
///
/// # Errors
/// What the store says; what GitHub says is in the answer.
pub fn fetch(
    dir: &Path,
    reader: &Reader,
    policy: &Policy,
    run: &Run,
    options: &Options,
) -> Result<Synced, EngineError> {
    let workspaces = iterate::workspaces_of(run, options.ticket.as_deref())?;
    let review = &policy.git_pr.review_feedback;
    let mut most = options.most(review);
    let mut synced = Synced::default();
    let known: BTreeMap<(String, String, String), Feedback> =
        reader.feedback(run.id())?.into_iter().map(|item| (key_of(&item), item)).collect();
    for request in reader.pull_requests(run.id())? {
        let meant = workspaces.is_empty() || workspaces.contains(&request.workspace);
        if !meant || request.state == PullRequestState::Merged {
            continue;
        }
        let waits = |item: &&Feedback| {
            let of = (&item.workspace, &item.repo, item.number);
            of == (&request.workspace, &request.repo, request.number) && item.status == FeedbackStatus::Queued
        };
        let queued = known.values().filter(waits).collect();
        let asked = Asked { dir, request: &request, queued, cancel: options.cancel.as_deref() };
        let before = |id: &str| {
            let key = (request.workspace.clone(), request.repo.clone(), id.to_owned());
            known.get(&key).map(|known: &Feedback| (known.status, known.remark.body.clone()))
        };
        match asked.fetch(review, &before, &mut most, &mut synced.warnings) {
            Ok(fetched) => synced.fetched.push(fetched),
            Err(error) if error.is_interruption() => return Err(error),
            Err(error) => {
                synced.troubles.push(format!("pull request #{} of {}: {error}", request.number, request.repo))
            }
        }
    }
    Ok(synced)
}

fn key_of(item: &Feedback) -> (String, String, String) {
    (item.workspace.clone(), item.repo.clone(), item.feedback_id.clone())
}

/// Asks, and keeps what is news.
///
/// # Errors
/// What the store says; what GitHub says is in the answer.
pub fn sync(engine: &Engine, caller: &Caller, run_id: &str, options: &Options) -> Result<Synced, EngineError> {
    let (run, policy) = (engine.run(run_id)?, engine.policy_of(run_id)?);
    may_sync(&*engine.reader()?, &policy, &run)?;
    let synced = fetch(&engine.home.root, &*engine.reader()?, &policy, &run, options)?;
    for one in &synced.fetched {
        engine.order_run(caller, run_id, RunWish::ReviewSynced(one.seen.clone()))?;
    }
    Ok(synced)
}

/// What agents were not told of yet, the oldest first: of one ticket, or of one workspace.
///
/// # Errors
/// What the store says.
pub fn queued(reader: &Reader, run_id: &str, workspaces: &[String]) -> Result<Vec<Feedback>, EngineError> {
    let mut items = reader.feedback(run_id)?;
    items.retain(|item| {
        item.status == FeedbackStatus::Queued && (workspaces.is_empty() || workspaces.contains(&item.workspace))
    });
    // By time within each repository: its numbers are no order of what was said.
    let key = |item: &Feedback| (item.workspace.clone(), item.repo.clone(), item.number);
    let said = |item: &Feedback| (item.remark.said_at.clone(), item.remark.source_id);
    items.sort_by_cached_key(|item| (key(item), said(item)));
    Ok(items)
}

/// As many of them as agents can be told of at once; the others stay queued.
pub fn at_once(items: Vec<Feedback>, review: &ReviewFeedbackPolicy, options: &Options) -> Vec<Feedback> {
    let mut room = LONGEST_BODY / 2;
    let fits = |item: &Feedback| {
        // Each line is set in, and who said it where stands before.
        let size = item.remark.body.len() * 2 + 1024;
        room = room.saturating_sub(size);
        room > 0
    };
    items.into_iter().take(options.most(review)).take_while(fits).collect()
}

/// Begins anew with what was said: each workspace with its own. The caller holds the run's lease.
///
/// # Errors
/// A refusal, and what the store says.
pub fn dispatch(engine: &Engine, caller: &Caller, run_id: &str, items: &[Feedback]) -> Result<Begun, EngineError> {
    let mut by_workspace: BTreeMap<String, Vec<Feedback>> = BTreeMap::new();
    for item in items {
        by_workspace.entry(item.workspace.clone()).or_default().push(item.clone());
    }
    let texts = by_workspace.iter().map(|(workspace, items)| (workspace.clone(), as_text(items))).collect();
    let words = Words { short: format!("{} of reviewers", remarks(items.len())), texts };
    iterate::carry_out(engine, caller, run_id, &words, dispatches(items))
}

/// Where a remark stands and its words, by its name.
type Known<'a> = dyn Fn(&str) -> Option<(FeedbackStatus, String)> + 'a;

/// One pull request that is asked about.
struct Asked<'a> {
    dir: &'a Path,
    request: &'a PullRequest,
    /// What was said to it and nobody was told of.
    queued: Vec<&'a Feedback>,
    cancel: Option<&'a AtomicBool>,
}

impl Asked<'_> {
    fn fetch(
        &self,
        review: &ReviewFeedbackPolicy,
        known: &Known<'_>,
        most: &mut usize,
        warnings: &mut Vec<String>,
    ) -> Result<Fetched, EngineError> {
        let request = self.request;
        let number = request.number;
        let (host, full) = request.place().ok_or_else(|| {
            EngineError::outside(format!("{} is no address of a pull request", request.url), "metawsm pr makes another")
        })?;
        let base = format!("repos/{full}/pulls/{number}");
        let (workspace, repo) = (request.workspace.clone(), request.repo.clone());
        let now = match self.now(host, &base) {
            Ok(now) => now,
            Err(error) if error.is_interruption() => return Err(error),
            Err(error) => {
                // What was said can be had all the same.
                warnings.push(format!("where pull request #{number} of {repo} stands: {error}"));
                Now::default()
            }
        };
        let state = now.state.unwrap_or(request.state);
        let (mut all, mut bots) = (Vec::new(), BTreeSet::new());
        let over = |item: &&Feedback| Heard { remark: item.remark.clone(), status: FeedbackStatus::Ignored };
        if state.is_open() {
            for (heard, bot) in self.remarks(host, &base, review)? {
                bots.extend(bot.then(|| heard.remark.id(number)));
                all.push(heard);
            }
            let there: BTreeSet<String> = all.iter().map(|heard| heard.remark.id(number)).collect();
            // What is not there any more was taken back.
            all.extend(self.queued.iter().filter(|item| !there.contains(&item.feedback_id)).map(over));
        } else {
            // What nobody was told of is of no concern any more, unless it is opened again.
            all.extend(self.queued.iter().map(over));
        }
        all.sort_by(|a, b| (&a.remark.said_at, a.remark.source_id).cmp(&(&b.remark.said_at, b.remark.source_id)));
        let fetched = all.iter().filter(|heard| heard.status == FeedbackStatus::Queued).count();
        let mut tally = Tally { workspace, repo, number, state, fetched, ..Tally::default() };
        let heard = pick(news(known, number, &all), known, &bots, (most, &mut tally));
        let (workspace, repo) = (request.workspace.clone(), request.repo.clone());
        let Now { state, title, draft } = now;
        Ok(Fetched { seen: Reviewed { workspace, repo, number, state, title, draft, heard }, tally })
    }

    /// What was said to it with what is to be made of that, and whether a program said it.
    fn remarks(
        &self,
        host: &str,
        base: &str,
        review: &ReviewFeedbackPolicy,
    ) -> Result<Vec<(Heard, bool)>, EngineError> {
        let mut all = Vec::new();
        let gh = self.gh();
        for comment in gh.api_all(host, &format!("{base}/comments"))? {
            all.extend(comment_of(&comment).map(|remark| (judged(remark, false, review), is_bot(&comment))));
        }
        for said in gh.api_all(host, &format!("{base}/reviews"))? {
            all.extend(review_of(&said).map(|(remark, back)| (judged(remark, back, review), is_bot(&said))));
        }
        Ok(all)
    }

    fn gh(&self) -> Gh<'_> {
        Gh { dir: self.dir, cancel: self.cancel }
    }

    /// Where it stands.
    fn now(&self, host: &str, path: &str) -> Result<Now, EngineError> {
        let found = self.gh().api(host, path)?;
        let unknown = || EngineError::outside("gh told nothing of it", "update gh");
        let state = match (found["state"].as_str(), found["merged_at"].is_string()) {
            (_, true) => PullRequestState::Merged,
            (Some("closed"), _) => PullRequestState::Closed,
            (Some("open"), _) => PullRequestState::Open,
            _ => return Err(unknown()),
        };
        let title = text_of(&found, "title").map(|title| one_line(&title));
        Ok(Now { state: Some(state), title, draft: found["draft"].as_bool() })
    }
}

/// What GitHub tells of a pull request.
#[derive(Debug, Default)]
struct Now {
    state: Option<PullRequestState>,
    title: Option<String>,
    draft: Option<bool>,
}

/// What of the news is kept: as many new remarks as may be taken, and for nothing what is known (D19).
fn pick(
    news: Vec<Heard>,
    known: &Known<'_>,
    bots: &BTreeSet<String>,
    (most, tally): (&mut usize, &mut Tally),
) -> Vec<Heard> {
    use FeedbackStatus::{Ignored, Queued};
    let mut kept = Vec::new();
    for item in news {
        let id = item.remark.id(tally.number);
        match known(&id) {
            // Programs rewrite what they said at each push: agents that answer by pushing would never come to an end.
            Some((was, _)) if bots.contains(&id) && was != Ignored && item.status == Queued => continue,
            Some(_) => tally.updated += 1,
            None if *most == 0 => {
                tally.left += 1;
                continue;
            }
            None => {
                *most -= 1;
                tally.added += 1;
            }
        }
        kept.push(item);
    }
    kept
}

/// Whether it is listened to.
fn judged(remark: Remark, dismissed: bool, review: &ReviewFeedbackPolicy) -> Heard {
    let ignored =
        dismissed || review.ignore_authors.iter().any(|name| name.trim().eq_ignore_ascii_case(&remark.author));
    let status = if ignored { FeedbackStatus::Ignored } else { FeedbackStatus::Queued };
    Heard { remark: remark.bounded(), status }
}

/// Words without what acts on a terminal.
fn clean(text: &str) -> String {
    let unix = text.replace("\r\n", "\n");
    unix.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect::<String>().trim().to_owned()
}

fn author_of(said: &Value) -> String {
    let login = said["user"]["login"].as_str().map(one_line).filter(|login| !login.is_empty());
    // GitHub's own name for who has left.
    login.unwrap_or_else(|| "ghost".to_owned())
}

/// What its author is there; what is no word is nothing to rely on.
fn association_of(said: &Value) -> Option<String> {
    let told = said.get("author_association").filter(|told| !told.is_null())?;
    Some(told.as_str().unwrap_or("unknown").to_owned())
}

fn is_bot(said: &Value) -> bool {
    said["user"]["type"] == "Bot"
}

fn text_of(said: &Value, name: &str) -> Option<String> {
    said[name].as_str().map(clean).filter(|text| !text.is_empty())
}

/// A comment on a line; none where it has no number or no words.
fn comment_of(said: &Value) -> Option<Remark> {
    Some(Remark {
        source: Source::PrReviewComment,
        source_id: said["id"].as_u64()?,
        author: author_of(said),
        body: text_of(said, "body")?,
        // A file's name may hold anything, and is one line in what agents read.
        path: text_of(said, "path").map(|path| one_line(&path)),
        line: said["line"].as_u64().or_else(|| said["original_line"].as_u64()),
        url: text_of(said, "html_url"),
        said_at: text_of(said, "created_at"),
        association: association_of(said),
    })
}

/// A review as a whole, and whether it was taken back; none where it has no words or was not sent yet.
fn review_of(said: &Value) -> Option<(Remark, bool)> {
    let state = said["state"].as_str().unwrap_or("COMMENTED");
    if state == "PENDING" {
        return None;
    }
    let at = text_of(said, "submitted_at");
    let prefix = format!("[state={state} submitted_at={}]", at.as_deref().unwrap_or("unknown"));
    let remark = Remark {
        source: Source::PrReview,
        source_id: said["id"].as_u64()?,
        author: author_of(said),
        body: format!("{prefix}\n{}", text_of(said, "body")?),
        path: None,
        line: None,
        url: text_of(said, "html_url"),
        said_at: at,
        association: association_of(said),
    };
    Some((remark, state == "DISMISSED"))
}

//! The scene: the things an event can change, and the one fold that changes them.
//!
//! Live commands load the slice they need; a rebuild folds the whole journal. Both run [`Scene::apply`],
//! which makes no choices and knows no clock: times and ids come from the event.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::adviser::Adviser;
use super::agent::{Agent, AgentKey};
use super::delivery::Delivery;
use super::escalation::{Escalation, Suggestion};
use super::event::{Event, Fact, Subject, Worktree};
use super::feedback::Feedback;
use super::operator::Decision;
use super::outbox::Letter;
use super::plan::Step;
use super::pull_request::PullRequest;
use super::run::Run;
use super::thread::{Post, Request, Thread};

mod apply_delivery;
mod apply_feedback;
mod apply_forum;
mod apply_operator;
mod apply_run;

/// Rows by key, remembering which were touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<K: Ord, V> {
    rows: BTreeMap<K, Row<V>>,
    touched: Vec<K>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row<V> {
    value: V,
    touched: bool,
}

impl<K: Ord, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: Vec::new() }
    }
}

impl<K: Ord + Clone, V> Rows<K, V> {
    /// Puts a row in as it stands in the store.
    pub fn load(&mut self, key: K, value: V) {
        self.rows.insert(key, Row { value, touched: false });
    }

    /// Puts a new or changed row in.
    pub fn put(&mut self, key: K, value: V) {
        let before = self.rows.insert(key.clone(), Row { value, touched: true });
        if before.is_none_or(|row| !row.touched) {
            self.touched.push(key);
        }
    }

    /// The row with this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|row| &row.value)
    }

    /// The row with this key, to be changed.
    pub fn touch<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // A long fold touches the same row again and again: only the first time asks for its key.
        if !self.rows.get(key)?.touched
            && let Some((owned, _)) = self.rows.get_key_value(key)
        {
            self.touched.push(owned.clone());
        }
        self.rows.get_mut(key).map(|row| {
            row.touched = true;
            &mut row.value
        })
    }

    /// All rows in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|row| &row.value)
    }

    /// The rows from `first` on in order of their keys, as long as `within` holds of the key.
    pub fn from<'a>(&'a self, first: K, within: impl Fn(&K) -> bool + 'a) -> impl Iterator<Item = (&'a K, &'a V)> {
        self.rows.range(first..).map(|(key, row)| (key, &row.value)).take_while(move |(key, _)| within(key))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lets go of the rows of which `keep` does not hold; they stand in the store.
    fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.rows.retain(|key, row| keep(key, &row.value));
    }

    /// The rows that were touched since the last call, in order of their keys.
    pub fn take_touched(&mut self) -> Vec<(&K, &V)> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        for key in &touched {
            if let Some(row) = self.rows.get_mut(key) {
                row.touched = false;
            }
        }
        touched.iter().filter_map(|key| self.rows.get_key_value(key)).map(|(key, row)| (key, &row.value)).collect()
    }
}

/// A workspace as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Its run.
    pub run_id: String,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// Its worktrees.
    pub worktrees: Vec<Worktree>,
    /// What was tolerated when it was made.
    pub warnings: Vec<String>,
    /// Whether it was removed.
    pub removed: bool,
}

/// Ticket docs copied into a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeding {
    /// The run.
    pub run_id: String,
    /// The workspace.
    pub workspace: String,
    /// The ticket.
    pub ticket: String,
    /// The repository that holds the docs.
    pub repo: String,
    /// The ticket's directory relative to the worktree.
    pub dir: String,
    /// The revision; absent while only a part is recorded.
    pub revision: Option<String>,
    /// When it was last written.
    pub at: super::time::Moment,
}

/// Key of something in one worktree: run, workspace, repository, and a path or commit.
pub type WorktreeKey = (String, String, String, String);

/// What a merge of a run's branch brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// The base branch.
    pub base: String,
    /// The commit of the run's branch that is in it.
    pub head: String,
    /// Where the base stood afterwards.
    pub new: String,
    /// How.
    pub how: String,
}

/// The last decision about one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastDecision {
    /// What it was about.
    pub about: Subject,
    /// When it was made.
    pub at: super::time::Moment,
    /// The decision.
    pub decision: Decision,
}

/// Everything an event can change, or the slice of it that a command needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// Runs by id.
    pub runs: Rows<String, Run>,
    /// The policy each run keeps.
    pub policies: Rows<String, serde_json::Value>,
    /// Steps by run and index.
    pub steps: Rows<(String, u32), Step>,
    /// Agents by identity.
    pub agents: Rows<AgentKey, Agent>,
    /// Workspaces by run and name.
    pub workspaces: Rows<(String, String), Workspace>,
    /// Seeded docs by run, workspace and ticket.
    pub seedings: Rows<(String, String, String), Seeding>,
    /// Hashes of the files metawsm wrote into worktrees.
    pub own_files: Rows<WorktreeKey, String>,
    /// Commits that hold only what metawsm wrote; the value is the first line.
    pub own_commits: Rows<WorktreeKey, String>,
    /// Merges by run, workspace and repository.
    pub merges: Rows<(String, String, String), Merged>,
    /// Pull requests by run, workspace and repository.
    pub pull_requests: Rows<(String, String, String), PullRequest>,
    /// What reviewers said, by run, workspace, repository and its name there.
    pub feedback: Rows<WorktreeKey, Feedback>,
    /// Threads by id.
    pub threads: Rows<String, Thread>,
    /// Guidance requests by control thread and the post that made them.
    pub requests: Rows<(String, String), Request>,
    /// Texts for sessions by id.
    pub deliveries: Rows<String, Delivery>,
    /// What threads of agents and guidance requests ask, as fingerprints by thread or post: the same is not asked twice.
    /// They are no projection: the words stand in the posts.
    pub asked: Rows<String, String>,
    /// Seen marks by thread and viewer.
    pub seen: Rows<(String, String), i64>,
    /// Escalations by id.
    pub escalations: Rows<String, Escalation>,
    /// Suggestions by id.
    pub suggestions: Rows<String, Suggestion>,
    /// The last decisions by run and target.
    pub decisions: Rows<(String, String), LastDecision>,
    /// What is kept of the adviser by run, and under no name of its program.
    pub advisers: Rows<String, Adviser>,
    /// The letter of the outbox that a command is about. They are no projection: a rebuild has none.
    pub letters: Rows<i64, Letter>,
    /// Posts written since the scene was loaded.
    pub posts: Vec<Post>,
}

impl Scene {
    /// Changes the scene as the event says.
    pub fn apply(&mut self, event: &Event) {
        // The forum first: whether an epoch is over shows in what the agent's was before.
        self.apply_forum(event);
        self.apply_run(event);
        self.apply_feedback(event);
        self.apply_operator(event);
        self.apply_delivery(event);
        // That somebody looked is no news about the run.
        if matches!(event.fact, Fact::Seen { .. }) {
            return;
        }
        if let Some(run) = event.subject.run_id.as_deref().and_then(|id| self.runs.touch(id)) {
            run.updated_at = event.occurred_at;
            run.last_seq = event.seq;
        }
    }

    /// Lets go of what stands in the store and no event changes unasked: marks, what was asked, settled requests, and the threads in
    /// which none is open. A fold that goes on afterwards has to load the thread of an event again.
    pub fn forget_settled(&mut self) {
        self.requests.retain(|_, request| request.settled_by.is_none());
        let asked: BTreeSet<String> = self.requests.iter().map(|request| request.thread_id.clone()).collect();
        self.threads.retain(|id, _| asked.contains(id));
        self.seen.retain(|_, _| false);
        self.asked = Rows::default();
    }

    /// Lets go of the texts of which nothing comes any more: no event changes them.
    pub fn forget_delivered(&mut self) {
        self.deliveries.retain(|_, delivery| delivery.state.open());
    }

    /// The steps of a run, in order.
    pub fn steps_of(&self, run_id: &str) -> Vec<&Step> {
        self.steps.iter().filter(|step| step.run_id == run_id).collect()
    }

    /// The agents of a run, by workspace and name.
    pub fn agents_of(&self, run_id: &str) -> Vec<&Agent> {
        self.agents.iter().filter(|agent| agent.key.run_id == run_id).collect()
    }

    /// What an agent is called within its run: by its name alone where no other has it, else with its workspace.
    pub fn called(&self, key: &AgentKey) -> String {
        let namesakes = self.agents_of(&key.run_id).into_iter().filter(|agent| agent.key.name == key.name).count();
        if namesakes > 1 { key.within_run() } else { key.name.clone() }
    }

    /// Whether a question of a run's agents waits for a human: an open request of the present epoch,
    /// or a question asked with `--wait`.
    pub fn guidance_open(&self, run_id: &str) -> bool {
        let present = |workspace: &str, name: &str, epoch: u32| {
            self.agents.get(&AgentKey::new(run_id, workspace, name)).is_none_or(|agent| agent.epoch == epoch)
        };
        let request = self.requests.iter().any(|request| {
            request.run_id == run_id
                && request.settled_by.is_none()
                && present(&request.workspace, &request.agent_name, request.epoch)
        });
        let asked_now = |thread: &Thread| match (&thread.workspace, &thread.agent_name, thread.epoch) {
            (Some(workspace), Some(name), Some(epoch)) => present(workspace, name, epoch),
            _ => true,
        };
        request
            || self.threads.iter().any(|thread| {
                thread.run_id.as_deref() == Some(run_id)
                    && thread.blocking
                    && thread.waits_for_human()
                    && asked_now(thread)
            })
    }

    /// The request of a control thread that a post made.
    pub fn request(&self, thread_id: &str, post_id: &str) -> Option<&Request> {
        self.requests.get(&(thread_id.to_owned(), post_id.to_owned()))
    }

    /// All requests of a control thread, in order of their posts' ids.
    pub fn requests_of(&self, thread_id: &str) -> impl Iterator<Item = &Request> {
        let first = (thread_id.to_owned(), String::new());
        let thread_id = thread_id.to_owned();
        self.requests.from(first, move |(of, _)| *of == thread_id).map(|(_, request)| request)
    }

    /// The open requests of a control thread, oldest first.
    pub fn open_requests(&self, thread_id: &str) -> Vec<&Request> {
        let mut open: Vec<&Request> =
            self.requests_of(thread_id).filter(|request| request.settled_by.is_none()).collect();
        open.sort_by_key(|request| request.seq);
        open
    }
}

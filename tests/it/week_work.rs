//! A week of rules 8 to 10 in seconds: forty-two repositories in runs that complete, are committed, pushed and reviewed,
//! by rule or by hand, and do not always come through (spec 2.7, 2.8). After every step what the journal says is held
//! against what is true (`week_work/truth.rs`).
//!
//! `DRILL_SEED` sets the dice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::collections::{BTreeMap, BTreeSet};

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::agent::{AgentKey, AgentStatus};
use metawsm::domain::command::{AgentWish, Command, EscalationWish, Iterate, RunWish, SuggestionWish};
use metawsm::domain::escalation::{Escalation, Kind, Suggestion, SuggestionState};
use metawsm::domain::event::{Event, Fact, Worktree};
use metawsm::domain::feedback::{Feedback, FeedbackStatus, Reviewed, dispatches};
use metawsm::domain::operator::{
    Action, Conclusion, Decision, Intent, Queued, RepoSeen, cause_word, failed, repo_of, repo_target, work,
};
use metawsm::domain::pull_request::PullRequestState;
use metawsm::domain::refusal::Refusal;
use metawsm::domain::run::RunStatus;

use crate::core_world::*;
use crate::week::{Dice, is_known, number};

mod holds;
mod looks;
mod truth;

use truth::*;

const WORKSPACES: [&str; 3] = ["one", "two", "three"];
const REPOS: [&str; 2] = ["barn", "shop"];
const MINUTE: i64 = 60_000;
const WEEK: i64 = 7 * 24 * 60 * MINUTE;
/// So many remarks are put to agents at once.
const MOST: usize = 3;
/// So often agents begin anew by rule before a human has to do something about them.
const BUDGET: u32 = 2;

/// A repository: run, workspace, repository.
type Spot = (usize, usize, usize);

struct Week {
    stage: Stage,
    dice: Dice,
    settings: Vec<Setting>,
    repos: BTreeMap<Spot, Repo>,
    /// Epochs, and how often in a row they were begun by rule.
    epochs: BTreeMap<AgentKey, (u32, u32)>,
    time: i64,
    /// When something is due by itself.
    due: i64,
    ids: u32,
    /// Calls by what they are about: run, target, cause.
    opened: BTreeMap<(usize, String, String), String>,
    /// What happened, by name.
    seen: BTreeMap<String, u32>,
}

fn run_id(run: usize) -> String {
    format!("run-{run}")
}

fn run_of(id: Option<&String>) -> usize {
    id.unwrap()["run-".len()..].parse().unwrap()
}

fn target((_, workspace, repo): Spot) -> String {
    repo_target(WORKSPACES[workspace], REPOS[repo])
}

fn spot_of(run: usize, target: &str) -> Spot {
    let (workspace, repo) = repo_of(target).unwrap();
    let place = |all: &[&str], name: &str| all.iter().position(|one| *one == name).unwrap();
    (run, place(&WORKSPACES, workspace), place(&REPOS, repo))
}

fn kind_of(cause: &str) -> Intent {
    KINDS.into_iter().find(|kind| cause.split(' ').next() == Some(cause_word(*kind))).unwrap()
}

fn opens(event: &Event) -> bool {
    matches!(event.fact, Fact::OperatorSuggested { .. } | Fact::EscalationOpened { .. })
}

fn suggestion(offer: &Suggestion, wish: SuggestionWish) -> Command {
    Command::Suggestion { suggestion_id: offer.suggestion_id.clone(), wish }
}

fn escalation(call: &Escalation, wish: EscalationWish) -> Command {
    Command::Escalation { escalation_id: call.escalation_id.clone(), wish }
}

fn of_run(run: usize, wish: RunWish) -> Command {
    Command::Run { run_id: run_id(run), wish }
}

impl Week {
    fn new(seed: u64) -> Self {
        let (mut stage, settings) = (Stage::default(), settings());
        for run in 0..settings.len() {
            let workspaces = WORKSPACES.map(str::to_owned).to_vec();
            stage.begin(&Plan { run_id: run_id(run), workspaces, budget: BUDGET, ..Plan::of(&["a", "b"]) });
            for name in WORKSPACES {
                let [path, branch, base, start] = ["/w", "b", "main", "0"].map(str::to_owned);
                let tree = Worktree { repo: String::new(), path, branch, base, start };
                let worktrees = REPOS.map(|repo| Worktree { repo: repo.into(), ..tree.clone() }).to_vec();
                let (name, path) = (name.to_owned(), format!("/{name}"));
                stage.must(&of_run(run, RunWish::WorkspaceCreated { name, path, worktrees, warnings: vec![] }));
            }
        }
        stage.minutes = 0;
        let epochs = stage.scene.agents.iter().map(|agent| (agent.key.clone(), (agent.epoch, 0))).collect();
        let all = (0..settings.len()).flat_map(|run| (0..3).flat_map(move |at| [(run, at, 0), (run, at, 1)]));
        let repos = all.map(|spot| (spot, Repo::default())).collect();
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (opened, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { stage, dice, settings, repos, epochs, time: 0, due: i64::MAX, ids: 0, opened, seen }
    }

    fn run(&mut self) {
        while self.time < WEEK {
            let next = self.time + self.dice.about(10 * MINUTE);
            if self.due < next {
                self.time = self.due.max(self.time + 1);
                self.look();
            } else {
                self.time = next;
                // What was seen a moment ago is told late, and by two at once.
                let late = if self.dice.chance(8) { self.all_concluded() } else { Vec::new() };
                for _ in 0..=self.dice.roll(5) {
                    self.happens();
                }
                for found in late.into_iter().filter(|found| found.decision.action == Action::Suggest) {
                    self.tell(found.clone());
                    self.tell(found);
                }
                self.look();
            }
            self.check();
        }
    }

    fn completed(&self, run: usize) -> bool {
        self.stage.scene.runs.get(run_id(run).as_str()).unwrap().status == RunStatus::Completed
    }

    fn new_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    fn give(&mut self, actor: Actor, command: &Command) -> Result<Vec<Event>, Refusal> {
        self.stage.millis = self.time;
        let events = self.stage.give_now(actor, None, command)?;
        events.iter().for_each(|event| self.note(command, &events, event));
        Ok(events)
    }

    fn must(&mut self, actor: Actor, command: &Command) -> Vec<Event> {
        self.give(actor, command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"))
    }

    fn happens(&mut self) {
        let run = usize::try_from(self.dice.roll(7)).unwrap();
        let spot = (run, usize::try_from(self.dice.roll(3)).unwrap(), usize::try_from(self.dice.roll(2)).unwrap());
        match self.dice.roll(20) {
            0..6 => self.agents(run),
            6..12 => self.reviewers(spot),
            12..14 => self.sync(run),
            14..16 => self.settles(run),
            16 => self.hands(spot),
            17 => self.begins_anew(spot),
            _ => self.luck(spot),
        }
    }

    /// Agents are started, work, say that they are done, and die; humans stop them and start them again.
    fn agents(&mut self, run: usize) {
        for agent in self.stage.scene.agents_of(&run_id(run)).into_iter().cloned().collect::<Vec<_>>() {
            let order = |wish| Command::Agent { key: agent.key.clone(), wish };
            let (launch, place) = (agent.launch, agent.key.workspace.as_str());
            let wish = if agent.start_due() {
                AgentWish::Started { launch: agent.wanted }
            } else if agent.status.working() {
                let at = usize::try_from(self.dice.roll(2)).unwrap();
                let print = self.new_id();
                let repo = self.repos.get_mut(&spot_of(run, &repo_target(place, REPOS[at]))).unwrap();
                match self.dice.roll(12) {
                    0 => repo.commits += 1,
                    1..4 => repo.dirt = Some(print),
                    _ => {}
                }
                match self.dice.roll(10) {
                    0..6 => AgentWish::Exited { launch, exit: exit(0) },
                    6 => AgentWish::Exited { launch, exit: killed() },
                    7 if self.dice.chance(30) => {
                        self.must(human(), &order(AgentWish::Stop));
                        AgentWish::Stopped
                    }
                    _ => continue,
                }
            } else if matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed) {
                restart(false)
            } else {
                continue;
            };
            self.must(human(), &order(wish));
        }
        // Who has stopped all of them wants one again.
        let all = self.stage.scene.agents_of(&run_id(run));
        let idle = all.iter().all(|agent| agent.status == AgentStatus::Stopped && !agent.start_due());
        if let Some(key) = all.first().map(|agent| agent.key.clone()).filter(|_| idle) {
            self.must(human(), &Command::Agent { key, wish: restart(false) });
        }
    }

    fn reviewers(&mut self, spot: Spot) {
        let (wording, sort, whole) = (self.new_id(), self.dice.roll(20), self.dice.chance(40));
        let repo = self.repos.get_mut(&spot).unwrap();
        let Some((number, state)) = &mut repo.request else { return };
        let at = usize::try_from(self.dice.roll(i64::try_from(repo.said.len()).unwrap())).unwrap();
        let said = repo.said.get_mut(at).filter(|said| said.number == *number);
        match (sort, said) {
            (0, _) => *state = PullRequestState::Merged,
            (1, _) if state.is_open() => *state = PullRequestState::Closed,
            (1..3, _) if *state == PullRequestState::Closed => *state = PullRequestState::Open,
            (3..6, Some(said)) => said.wording = wording,
            (6..8, Some(said)) => said.dismissed = !said.dismissed,
            (8.., _) if state.is_open() => repo.says(wording, (sort < 10, sort > 16), whole),
            _ => {}
        }
    }

    /// Only a completed run is asked for reviews, and only where anybody listens.
    fn sync(&mut self, run: usize) {
        if !self.completed(run) || self.settings[run].may[2].is_none() {
            return;
        }
        for (at, name) in (0..6).map(|at| ((run, at / 2, at % 2), REPOS[at % 2])) {
            let workspace = WORKSPACES[at.1].to_owned();
            let key = (run_id(run), workspace.clone(), name.to_owned());
            let known = self.stage.scene.pull_requests.get(&key).map(|known| known.state);
            if known.is_none_or(|state| state == PullRequestState::Merged) {
                continue;
            }
            let repo = self.repos.get_mut(&at).unwrap();
            let ((number, state), heard, name) = (repo.request.unwrap(), repo.hear(), name.to_owned());
            let (state, title, draft) = (Some(state), None, None);
            let seen = Reviewed { workspace, repo: name, number, state, title, draft, heard };
            self.must(Actor::system("reviews"), &of_run(run, RunWish::ReviewSynced(seen)));
        }
    }

    /// Somebody looks at what a run offers and calls for.
    fn settles(&mut self, run: usize) {
        let id = Some(run_id(run));
        let calls = self.stage.scene.escalations.iter().filter(|call| call.stands() && call.run_id == id);
        for call in calls.cloned().collect::<Vec<_>>() {
            match self.dice.roll(5) {
                0 => drop(
                    self.must(human(), &escalation(&call, EscalationWish::Acknowledge { until: None, note: None })),
                ),
                1 => drop(self.must(human(), &escalation(&call, EscalationWish::Resolve { note: None }))),
                2 | 3 => self.repos.get_mut(&spot_of(run, &call.target)).unwrap().broken = [false; 3],
                _ => {}
            }
        }
        let offers = self.stage.scene.suggestions.iter();
        let offers = offers.filter(|offer| offer.state == SuggestionState::Open && offer.run_id == id);
        for offer in offers.cloned().collect::<Vec<_>>() {
            let open = self.stage.scene.suggestions.get(&offer.suggestion_id).unwrap().state == SuggestionState::Open;
            match self.dice.roll(4) {
                0 | 1 if open => self.accepts(&offer),
                2 if open => drop(self.must(human(), &suggestion(&offer, SuggestionWish::Dismiss))),
                _ => {}
            }
        }
    }

    fn accepts(&mut self, offer: &Suggestion) {
        let spot = spot_of(run_of(offer.run_id.as_ref()), &offer.target);
        if offer.intent == Intent::PrReady && self.repos[&spot].dirt.is_some() {
            return;
        }
        let both = [(spot.0, spot.1, 0), (spot.0, spot.1, 1)];
        let review =
            offer.intent == Intent::ReviewFeedbackReady && both.iter().any(|at| self.repos[at].has(offer.intent));
        if !review && !self.repos[&spot].has(offer.intent) {
            return self.handed_on(spot, offer.intent);
        }
        let events = self.must(human(), &suggestion(offer, SuggestionWish::Accept { cooldown_until: None }));
        assert!(matches!(events[1].fact, Fact::OperatorActed { .. }), "{events:?}");
        if self.carries_out(spot, offer.intent, &human()) == Some(false) {
            let Suggestion { target, cause, intent, reason, .. } = offer.clone();
            let rule = intent.rule();
            let (evidence, considered, action) = (offer.evidence.clone(), Vec::new(), Action::Act);
            let (due_at, cooldown_until) = (None, None);
            let decision =
                Decision { target, cause, rule, intent, action, reason, evidence, considered, due_at, cooldown_until };
            let found = Conclusion { about: offer.subject(), decision, call: None, call_again: None };
            self.fails(found);
        }
    }

    /// A human does it all by hand, in git or by metawsm.
    fn hands(&mut self, spot: Spot) {
        if !self.completed(spot.0) {
            return;
        }
        match self.dice.roll(4) {
            0 if self.repos[&spot].has(Intent::CommitReady) => {
                let repo = self.repos.get_mut(&spot).unwrap();
                (repo.dirt, repo.commits) = (None, repo.commits + 1);
            }
            1 | 2 => {
                for intent in &KINDS[..2] {
                    if self.repos[&spot].has(*intent) {
                        self.carries_out(spot, *intent, &human());
                    }
                }
            }
            3 if self.repos[&spot].has(Intent::ReviewFeedbackReady) => {
                self.carries_out(spot, Intent::ReviewFeedbackReady, &human());
            }
            _ => {}
        }
    }

    fn begins_anew(&mut self, (run, at, _): Spot) {
        let status = self.stage.scene.runs.get(run_id(run).as_str()).unwrap().status;
        let workspaces = if self.dice.chance(50) { vec![WORKSPACES[at].to_owned()] } else { Vec::new() };
        match self.dice.roll(if status == RunStatus::Completed { 3 } else { 12 }) {
            0 => self.iterates(&human(), run, workspaces, &[]),
            1 => {
                let name = if self.dice.chance(50) { "a" } else { "b" };
                let key = AgentKey::new(run_id(run), WORKSPACES[at], name);
                self.must(human(), &Command::Agent { key, wish: restart(false) });
            }
            _ => {}
        }
    }

    /// Those begin anew who are meant, but for who was stopped where another of his workspace goes on.
    fn iterates(&mut self, actor: &Actor, run: usize, workspaces: Vec<String>, items: &[Feedback]) {
        let agents = self.stage.scene.agents_of(&run_id(run));
        let stays = |key: &AgentKey| {
            let agent = self.stage.scene.agents.get(key).unwrap();
            agent.status == AgentStatus::Stopped && !agent.start_due()
        };
        let meant = agents.iter().map(|agent| &agent.key);
        let meant: Vec<&AgentKey> =
            meant.filter(|key| workspaces.is_empty() || workspaces.contains(&key.workspace)).collect();
        let goes_on = |key: &AgentKey| meant.iter().any(|other| other.workspace == key.workspace && !stays(other));
        let begin = meant.iter().filter(|key| !stays(key) || !goes_on(key));
        let expected: BTreeSet<(AgentKey, u32)> = begin.map(|key| ((*key).clone(), self.epochs[*key].0 + 1)).collect();
        let wish = RunWish::Iterate(Iterate { workspaces, words: "again".into(), dispatches: dispatches(items) });
        let events = self.must(actor.clone(), &of_run(run, wish.clone()));
        let begun = events.iter().filter_map(|event| match &event.fact {
            Fact::AgentRestarted { epoch, .. } => {
                let about = event.subject.clone();
                Some((AgentKey::new(about.run_id?, about.workspace?, about.agent_name?), *epoch))
            }
            _ => None,
        });
        assert_eq!(begun.collect::<BTreeSet<_>>(), expected);
        // Somebody else had seen the same remarks.
        let again = !items.is_empty() && self.dice.chance(30);
        assert!(!again || self.give(human(), &of_run(run, wish)).is_err(), "told twice");
    }

    /// Changes come and go unasked, and what works breaks.
    fn luck(&mut self, spot: Spot) {
        let (sort, at, print) = (self.dice.roll(6), usize::try_from(self.dice.roll(3)).unwrap(), self.new_id());
        let repo = self.repos.get_mut(&spot).unwrap();
        match sort {
            0 => repo.dirt = Some(print),
            1 if repo.dirt.is_some() => repo.aside = repo.dirt.take(),
            1 | 2 if repo.dirt.is_none() => repo.dirt = repo.aside.take(),
            3 | 4 => repo.broken[at] = true,
            5 => repo.broken[at] = false,
            _ => {}
        }
    }
}

fn week(nth: u64) {
    let mut week = Week::new(number("DRILL_SEED", 1) * 1_000 + nth);
    week.run();
    for what in ["operator.acted", "operator.suggested", "escalation.opened", "review.dispatched"] {
        assert!(week.seen[what] > 5, "a week without {what} tells nothing: {:?}", week.seen);
    }
}

#[test]
fn a_week_of_work_that_is_handed_on() {
    week(1);
}

#[test]
fn another_week_of_work_that_is_handed_on() {
    week(2);
}

#[test]
fn a_third_week_of_work_that_is_handed_on() {
    week(3);
}

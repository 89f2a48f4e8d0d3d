//! A week of five hundred agents in seconds: random faults and random humans against the rules alone, by a clock of its
//! own (spec 2.7). What is true of the agents is kept beside what the journal says, and both are held against each other
//! after every step.
//!
//! `DRILL_WEEK` sets the number of agents, `DRILL_SEED` the dice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use metawsm::domain::actor::{Actor, ActorType};
use metawsm::domain::agent::{Agent, Exit, Health, WaitingFor};
use metawsm::domain::command::{AgentWish, Command, EscalationWish, RunWish, SuggestionWish};
use metawsm::domain::escalation::{Escalation, Kind, Suggestion, SuggestionState};
use metawsm::domain::event::{Event, Fact};
use metawsm::domain::operator::{
    Action, Conclusion, Intent, Measure, Question, Sight, Waiting, agent_cause, agent_target, evaluate,
};
use metawsm::domain::policy::OperatorMode;
use metawsm::domain::report::Report;
use metawsm::domain::run::RunStatus;
use metawsm::domain::scene::Scene;
use metawsm::domain::signal::SignalType;
use metawsm::domain::thread::Priority;
use metawsm::domain::time::Moment;
use serde_json::json;

use crate::core_world::*;

/// Agents of one run: what a run costs grows with its past, which the store does not load.
const CREW: usize = 10;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const WEEK: i64 = 7 * 24 * HOUR;
const BUDGET: u32 = 3;

pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 1).unwrap() % sides.max(1)
    }

    /// Around this many milliseconds.
    pub fn about(&mut self, millis: i64) -> i64 {
        millis / 4 + self.roll(millis * 3 / 2)
    }

    pub fn chance(&mut self, percent: i64) -> bool {
        self.roll(100) < percent
    }
}

/// What is the matter with an agent, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Well,
    Down,
    WithServer,
    /// It neither prints nor moves on.
    Hangs,
    /// It does not print; whether it moves on is not known.
    Silent,
    Dialog,
    Asks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Fault(usize),
    Recovers(usize),
    Comes(usize),
    ServerLost,
    Human,
    Looks,
    Paused(bool),
    ClockSetBack,
}

struct Week {
    stage: Stage,
    measure: Measure,
    dice: Dice,
    truth: Vec<(Truth, i64)>,
    /// Some die soon after each start.
    sickly: Vec<bool>,
    /// Real milliseconds since the start.
    time: i64,
    /// What the clock shows beyond that.
    shift: i64,
    plan: BinaryHeap<Reverse<(i64, Happening)>>,
    ids: u32,
    paused: bool,
    /// Escalations that were opened, by what they are about: kind, target, cause.
    opened: BTreeMap<(Kind, String, String), String>,
    /// Real times of counted restarts by rule since they were last forgotten, by agent.
    restarts: BTreeMap<String, Vec<i64>>,
    checked: usize,
}

fn name(at: usize) -> String {
    format!("a{at:02}")
}

/// Whether all that it says stands already: whoever supervises gives no command for it.
pub fn is_known(scene: &Scene, conclusion: &Conclusion) -> bool {
    let (run_id, decision) = (&conclusion.about.run_id, &conclusion.decision);
    let last = scene.decisions.get(&(run_id.clone().unwrap_or_default(), decision.target.clone()));
    last.is_some_and(|last| decision.same_as(&last.decision))
        && match decision.action {
            Action::Nothing => true,
            Action::Act => false,
            Action::Suggest => scene.suggestions.iter().any(|offer| {
                offer.state == SuggestionState::Open
                    && (&offer.run_id, &offer.target, offer.intent) == (run_id, &decision.target, decision.intent)
            }),
            Action::Escalate => scene.escalations.iter().any(|call| {
                call.stands()
                    && (&call.run_id, &call.target, &call.cause) == (run_id, &decision.target, &decision.cause)
            }),
        }
}

fn rules() -> Actor {
    Actor::new(ActorType::System, "rules")
}

impl Week {
    fn new(seed: u64, mode: OperatorMode) -> Self {
        let names: Vec<String> = (0..CREW).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = Plan { budget: BUDGET, ..Plan::of(&names) };
        let mut stage = Stage::running(&plan);
        stage.millis += stage.minutes * MINUTE;
        stage.minutes = 0;
        let offset = stage.millis;
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let sickly = (0..CREW).map(|_| dice.chance(8)).collect();
        let mut week = Self {
            stage,
            measure: measure(mode),
            dice,
            truth: vec![(Truth::Well, 0); CREW],
            sickly,
            time: 0,
            shift: offset,
            plan: BinaryHeap::new(),
            ids: 0,
            paused: false,
            opened: BTreeMap::new(),
            restarts: BTreeMap::new(),
            checked: 0,
        };
        for at in 0..CREW {
            let when = week.dice.about(12 * HOUR);
            week.at(when, Happening::Fault(at));
        }
        for happening in [Happening::ServerLost, Happening::Human, Happening::Paused(true), Happening::Looks] {
            let when = week.dice.about(8 * HOUR);
            week.at(when, happening);
        }
        week
    }

    fn at(&mut self, when: i64, happening: Happening) {
        self.plan.push(Reverse((when, happening)));
    }

    fn now(&mut self) -> Moment {
        self.stage.millis = self.time + self.shift;
        self.stage.now()
    }

    fn give(&mut self, actor: Actor, command: &Command) -> Vec<Event> {
        self.now();
        let identity = None;
        self.stage.give_now(actor, identity, command).unwrap_or_else(|refused| panic!("{command:?}: {refused:?}"))
    }

    fn seen(&self, at: usize) -> &Agent {
        self.stage.agent(&name(at))
    }

    /// A week, the clock set back an hour in the middle of it where that is wanted.
    fn run(&mut self, set_back: bool) {
        if set_back {
            self.at(WEEK / 2, Happening::ClockSetBack);
        }
        while let Some(Reverse((when, happening))) = self.plan.pop() {
            if when > WEEK {
                break;
            }
            self.time = self.time.max(when);
            self.happens(happening);
            let next = self.look();
            self.check();
            // Where nothing is pending the rules would say the same at each interval: those looks are left out.
            if next < self.plan.peek().map_or(i64::MAX, |next| next.0.0) {
                self.at(next.max(self.time + 1), Happening::Looks);
            }
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Fault(at) => self.fault(at),
            Happening::Recovers(at) => self.recovers(at),
            Happening::Comes(at) => self.comes(at),
            Happening::ServerLost => self.server_lost(),
            Happening::Human => self.human(),
            Happening::Looks => {}
            Happening::Paused(pause) => self.pause(pause),
            Happening::ClockSetBack => {
                self.shift -= HOUR;
                self.measure.even_since = self.now();
            }
        }
    }

    fn fault(&mut self, at: usize) {
        let next = self.time + if self.sickly[at] { self.dice.about(20 * SECOND) } else { self.dice.about(12 * HOUR) };
        let next = if self.sickly[at] && self.dice.chance(20) { next + 4 * HOUR } else { next };
        self.at(next, Happening::Fault(at));
        if self.truth[at].0 != Truth::Well || !self.seen(at).status.working() {
            return;
        }
        let launch = self.seen(at).launch;
        let truth = match self.dice.roll(if self.sickly[at] { 2 } else { 6 }) {
            0 | 1 => Truth::Down,
            2 => Truth::Hangs,
            3 => Truth::Silent,
            4 => Truth::Dialog,
            _ => Truth::Asks,
        };
        let command = match truth {
            Truth::Down | Truth::WithServer | Truth::Well => {
                Some(agent(&name(at), AgentWish::Exited { launch, exit: killed() }))
            }
            Truth::Asks => Some(signal(&name(at), SignalType::GuidanceRequest)),
            // The next look sees it.
            Truth::Hangs | Truth::Silent | Truth::Dialog => None,
        };
        if let Some(command) = command {
            let actor = if truth == Truth::Asks { Actor::agent(name(at)) } else { Actor::system("supervisor") };
            self.give(actor, &command);
        }
        self.truth[at] = (truth, self.time);
        // Much passes by itself, some before anybody was to be told.
        if !matches!(truth, Truth::Down | Truth::Asks) && self.dice.chance(50) {
            let when =
                self.time + if self.dice.chance(50) { self.dice.about(20 * SECOND) } else { self.dice.about(HOUR) };
            self.at(when, Happening::Recovers(at));
        }
    }

    fn recovers(&mut self, at: usize) {
        if matches!(self.truth[at].0, Truth::Hangs | Truth::Silent | Truth::Dialog) && self.seen(at).status.working() {
            self.truth[at] = (Truth::Well, self.time);
        }
    }

    /// The supervisor has carried a start out.
    fn comes(&mut self, at: usize) {
        if !self.seen(at).start_due() {
            return;
        }
        let launch = self.seen(at).wanted;
        self.give(Actor::system("supervisor"), &agent(&name(at), AgentWish::Started { launch }));
        self.give(Actor::system("supervisor"), &agent(&name(at), observed(Health::Healthy)));
        // What it asked before its end it still waits for.
        let asks = self.stage.scene.open_requests(&control(&name(at))).iter().any(|open| open.agent_name == name(at));
        self.truth[at] = (if asks { Truth::Asks } else { Truth::Well }, self.time);
    }

    fn server_lost(&mut self) {
        let next = self.time + self.dice.about(30 * HOUR);
        self.at(next, Happening::ServerLost);
        for at in 0..CREW {
            let agent_ = self.seen(at);
            if !agent_.program_may_live() || agent_.start_due() {
                continue;
            }
            let exit = Exit { hung_up: true, server_lost: Some(format!("{}", self.time)), ..killed() };
            let launch = agent_.launch;
            self.give(Actor::system("supervisor"), &agent(&name(at), AgentWish::Exited { launch, exit }));
            self.truth[at] = (Truth::WithServer, self.time);
        }
    }

    fn pause(&mut self, pause: bool) {
        let status = self.stage.status();
        if pause && matches!(status, RunStatus::Running | RunStatus::AwaitingGuidance) {
            self.give(human(), &run(RunWish::Pause));
            self.paused = true;
            let when = self.time + self.dice.about(HOUR);
            self.at(when, Happening::Paused(false));
        } else if !pause {
            if self.paused && status == RunStatus::Paused {
                self.give(human(), &run(RunWish::Resume));
            }
            self.paused = false;
            let when = self.time + self.dice.about(40 * HOUR);
            self.at(when, Happening::Paused(true));
        }
    }

    /// Somebody comes by and does this and that.
    fn human(&mut self) {
        let next = self.time + self.dice.about(3 * HOUR);
        self.at(next, Happening::Human);
        self.holds_some();
        let calls: Vec<Escalation> = self.stage.scene.escalations.iter().filter(|one| one.stands()).cloned().collect();
        for call in calls {
            let wish = |wish| Command::Escalation { escalation_id: call.escalation_id.clone(), wish };
            match self.dice.roll(5) {
                0 => {
                    let until = self.now().plus(Duration::from_secs(4 * 3600));
                    self.give(human(), &wish(EscalationWish::Acknowledge { until: Some(until), note: None }));
                }
                1 => {
                    self.give(human(), &wish(EscalationWish::Resolve { note: None }));
                }
                2 | 3 => self.helps(&call),
                _ => {}
            }
        }
        let open = |offer: &Suggestion| offer.state == SuggestionState::Open;
        let offers = self.stage.scene.suggestions.iter().filter(|offer| open(offer));
        let offers: Vec<String> = offers.map(|offer| offer.suggestion_id.clone()).collect();
        for suggestion_id in offers {
            let stands = self.stage.scene.suggestions.get(&suggestion_id).is_some_and(open);
            if !stands || self.dice.chance(30) || self.paused {
                continue;
            }
            let cooldown_until = Some(self.now().plus(self.measure.cooldown));
            let accept = SuggestionWish::Accept { cooldown_until };
            let wish = if self.dice.chance(70) { accept } else { SuggestionWish::Dismiss };
            self.give(human(), &Command::Suggestion { suggestion_id, wish });
        }
    }

    /// Some are taken in hand for a while.
    fn holds_some(&mut self) {
        for at in 0..CREW {
            let seen = self.seen(at);
            let held = seen.held.is_some();
            let due =
                seen.start_due() || !matches!(self.stage.status(), RunStatus::Running | RunStatus::AwaitingGuidance);
            let wish = match held {
                true if self.dice.chance(40) => AgentWish::Release,
                false if !due && !self.paused && self.dice.chance(10) => AgentWish::Hold { reason: None },
                true | false => continue,
            };
            self.give(human(), &agent(&name(at), wish));
        }
    }

    fn helps(&mut self, call: &Escalation) {
        let Some(at) = call.agent.as_ref().and_then(|agent| agent[1..].parse::<usize>().ok()) else { return };
        match call.kind {
            Kind::Guidance => {
                let post = call.target.strip_prefix("request:").unwrap().to_owned();
                self.give(human(), &answer(&control(&name(at)), human(), Some(&post)));
                if self.truth[at].0 == Truth::Asks {
                    self.truth[at] = (Truth::Well, self.time);
                }
            }
            Kind::Blocked if !self.paused => {
                self.give(human(), &agent(&name(at), restart(false)));
                self.restarts.remove(&name(at));
                let when = self.time + self.dice.about(3 * SECOND);
                self.at(when, Happening::Comes(at));
            }
            Kind::Input => self.recovers(at),
            _ => {}
        }
    }

    /// What the supervisor sees of who lives, where it is news.
    fn observe(&mut self) {
        for at in 0..CREW {
            let seen = self.seen(at);
            let shows = match self.truth[at].0 {
                Truth::Hangs if seen.health != Health::Stalled => stalled("progress"),
                Truth::Silent if seen.health != Health::Stalled => stalled("output"),
                Truth::Dialog if seen.waiting_for != WaitingFor::Input => dialog(),
                Truth::Well | Truth::Asks
                    if seen.health == Health::Stalled || seen.waiting_for == WaitingFor::Input =>
                {
                    observed(Health::Healthy)
                }
                _ => continue,
            };
            if seen.status.working() {
                self.give(Actor::system("supervisor"), &agent(&name(at), shows));
            }
        }
    }

    /// What the supervisor does at each look; when it is due to look again, in real time.
    fn look(&mut self) -> i64 {
        self.observe();
        let now = self.now();
        let mut next = now.plus(Duration::from_secs(7 * 24 * 3600));
        for conclusion in self.conclusions(now) {
            next = conclusion.decision.due_at.map_or(next, |due| next.min(due));
            if is_known(&self.stage.scene, &conclusion) {
                continue;
            }
            let (intent, action) = (conclusion.decision.intent, conclusion.decision.action);
            let about = conclusion.about.agent_name.clone();
            self.ids += 1;
            let events = self.give(operator(), &concluded(conclusion, &self.ids.to_string()));
            let acted = events.iter().any(|event| matches!(event.fact, Fact::OperatorActed { .. }));
            assert_eq!(acted, action == Action::Act && !events.is_empty(), "{intent:?} {action:?}: {events:?}");
            self.took(&events, intent, about.as_deref());
        }
        let calls: Vec<Escalation> = self.stage.scene.escalations.iter().filter(|one| one.stands()).cloned().collect();
        for call in calls {
            if call.is_due(now) {
                let due_at = Some(now.plus(self.measure.call_again));
                let wish = EscalationWish::CallAgain { due_at };
                self.give(rules(), &Command::Escalation { escalation_id: call.escalation_id, wish });
                next = next.min(now.plus(self.measure.call_again));
            } else if let Some(due) = call.due_at.filter(|due| *due > now) {
                next = next.min(due);
            }
        }
        next.millis() - START - self.shift
    }

    fn took(&mut self, events: &[Event], intent: Intent, about: Option<&str>) {
        for event in events {
            match &event.fact {
                Fact::AgentRestarted { free: false, server_lost: false, .. } => {
                    assert!(self.stage.agent(about.unwrap()).held.is_none(), "rules leave it alone");
                    let name = about.unwrap().to_owned();
                    let times = self.restarts.entry(name).or_default();
                    times.push(self.time);
                    let used = u32::try_from(times.len()).unwrap();
                    assert!(used <= BUDGET, "restart {used} of {BUDGET} at {}", event.occurred_at);
                    if let [.., before, last] = times[..] {
                        let wait = i64::try_from(self.measure.cooldown_after(used - 1).as_millis()).unwrap();
                        assert!(last - before >= wait, "restart {used} after {} ms, not {wait}", last - before);
                    }
                }
                Fact::OperatorActed { intent: Intent::ResetRestarts, .. } => {
                    self.restarts.remove(about.unwrap());
                }
                _ => {}
            }
        }
        if intent == Intent::AutoRestart
            && let Some(at) = about.and_then(|name| name[1..].parse::<usize>().ok())
            && self.seen(at).start_due()
        {
            let when = self.time + self.dice.about(3 * SECOND);
            self.at(when, Happening::Comes(at));
        }
    }

    fn conclusions(&mut self, now: Moment) -> Vec<Conclusion> {
        let scene = &self.stage.scene;
        let the_run = scene.runs.get(RUN).unwrap();
        let agents: Vec<Agent> = scene.agents.iter().cloned().collect();
        let steps: Vec<_> = scene.steps_of(RUN).into_iter().cloned().collect();
        let questions: Vec<Question> = scene
            .requests
            .iter()
            .filter(|request| request.settled_by.is_none())
            .map(|request| Question {
                run_id: Some(RUN.to_owned()),
                thread_id: request.thread_id.clone(),
                post_id: Some(request.post_id.clone()),
                ticket: Some("T-ws".to_owned()),
                workspace: Some(request.workspace.clone()),
                agent: Some(request.agent_name.clone()),
                text: request.question.clone(),
                since: request.opened_at,
            })
            .collect();
        let waiting: Vec<Waiting> = questions
            .iter()
            .map(|question| Waiting { question: question.clone(), priority: Priority::Normal })
            .collect();
        let overdue: Vec<_> =
            (0..CREW).filter(|at| self.truth[*at].0 == Truth::Hangs).map(|at| key(&name(at))).collect();
        let sight = Sight {
            run: the_run,
            agents: &agents,
            steps: &steps,
            questions: &questions,
            waiting: &waiting,
            overdue: &overdue,
        };
        evaluate(&sight, &self.measure, now)
    }

    /// What stands is so, what is so stands, and nothing is called twice.
    fn check(&mut self) {
        self.new_calls();
        let mut standing: BTreeMap<(Kind, String), &Escalation> = BTreeMap::new();
        for call in self.stage.scene.escalations.iter().filter(|one| one.stands()) {
            assert!(standing.insert((call.kind, call.target.clone()), call).is_none(), "twice: {call:?}");
            self.holds(call);
        }
        if !matches!(self.stage.status(), RunStatus::Running | RunStatus::AwaitingGuidance) {
            return;
        }
        for at in 0..CREW {
            self.is_looked_after(at, &standing);
        }
    }

    fn new_calls(&mut self) {
        for event in &self.stage.log[self.checked..] {
            if let Fact::EscalationOpened { escalation_id, kind, target, cause, .. } = &event.fact {
                let about = (*kind, target.clone(), cause.clone());
                let first = self.opened.entry(about).or_insert_with(|| escalation_id.clone());
                assert_eq!(first, escalation_id, "one cause, one call: {event:?}");
            }
        }
        self.checked = self.stage.log.len();
    }

    fn holds(&self, call: &Escalation) {
        let truth = call.agent.as_ref().map(|agent| self.truth[agent[1..].parse::<usize>().unwrap()].0);
        // In a paused run nobody looks at agents.
        let looked_at = matches!(self.stage.status(), RunStatus::Running | RunStatus::AwaitingGuidance);
        let so = match call.kind {
            Kind::Blocked | Kind::Input if !looked_at => true,
            Kind::Blocked => {
                let held = call.agent.as_ref().is_some_and(|agent| self.stage.agent(agent).held.is_some());
                !held && matches!(truth, Some(Truth::Down | Truth::WithServer | Truth::Hangs | Truth::Silent))
            }
            Kind::Input => truth == Some(Truth::Dialog),
            Kind::Guidance | Kind::Sla => {
                let open = self.stage.scene.open_requests(call.thread_id.as_ref().unwrap());
                open.iter().any(|open| Some(&open.agent_name) == call.agent.as_ref())
            }
            Kind::Stale | Kind::Failed => true,
            Kind::NotActed => self.measure.mode == OperatorMode::Assist,
            other => panic!("nobody called for {other}"),
        };
        assert!(so, "{:?} is not so any more: {call:?}", truth);
    }

    fn is_looked_after(&self, at: usize, standing: &BTreeMap<(Kind, String), &Escalation>) {
        let (truth, since) = self.truth[at];
        let agent = self.seen(at);
        let target = agent_target(&agent.key);
        // In a paused run nobody looks: it counts from when it was seen.
        let seen = agent.waiting_since.unwrap_or(agent.since).millis() - START - self.shift;
        let lasts = self.time - since.max(seen);
        let cause = match truth {
            Truth::Dialog => {
                format!("launch {} waits for a key since {}", agent.launch, agent.waiting_since.unwrap_or(agent.since))
            }
            _ => agent_cause(agent),
        };
        // What a human said is settled is not told again.
        let settled = |call: &Escalation| call.target == target && call.by_human && call.cause == cause;
        let told = |kind: Kind| {
            let calls = &self.stage.scene.escalations;
            standing.contains_key(&(kind, target.clone()))
                || calls.iter().any(|call| call.kind == kind && settled(call))
        };
        let confirm = i64::try_from(self.measure.interval.as_millis()).unwrap();
        let ok = match truth {
            Truth::Well | Truth::Asks => true,
            Truth::Dialog => lasts < MINUTE || agent.start_due() || told(Kind::Input),
            Truth::Silent | Truth::Down | Truth::Hangs | Truth::WithServer if agent.held.is_some() => {
                !standing.contains_key(&(Kind::Blocked, target.clone()))
            }
            Truth::Silent => lasts < confirm || agent.start_due() || told(Kind::Blocked),
            Truth::Down | Truth::Hangs | Truth::WithServer => {
                let last = self.stage.scene.decisions.get(&(RUN.to_owned(), target.clone()));
                let waits = last.is_some_and(|last| last.decision.due_at.is_some_and(|due| due > self.stage.now()));
                let offered = self.stage.scene.suggestions.iter().any(|offer| {
                    offer.target == target && matches!(offer.state, SuggestionState::Open | SuggestionState::Dismissed)
                });
                agent.start_due()
                    || waits
                    || told(Kind::Blocked)
                    || (self.measure.mode == OperatorMode::Assist && offered)
            }
        };
        assert!(ok, "{} is {truth:?} for {lasts} ms and nobody was told: {agent:?}", agent.key.name);
        if truth == Truth::Asks {
            let open = self.stage.scene.open_requests(&control(&name(at)));
            assert!(!open.is_empty());
        }
    }

    /// The report agrees with the journal, counted in another way.
    fn reported(&self) {
        let mut report = Report::default();
        self.stage.log.iter().for_each(|event| report.take(event));
        let of = |fits: &dyn Fn(&Event) -> bool| {
            u32::try_from(self.stage.log.iter().filter(|event| fits(event)).count()).unwrap()
        };
        let sum =
            |count: fn(&metawsm::domain::report::Restarted) -> u32| report.restarted.iter().map(count).sum::<u32>();
        let by = |free: bool, kind: ActorType| {
            of(&|event| {
                matches!(event.fact, Fact::AgentRestarted { server_lost, .. } if server_lost == free)
                    && event.actor.kind == kind
            })
        };
        if self.measure.mode != OperatorMode::Assist {
            assert_eq!(sum(|one| one.by_rule), by(false, ActorType::Operator));
            assert_eq!(
                report.operator.acted.get(&Intent::AutoRestart).copied().unwrap_or(0),
                sum(|one| one.by_rule + one.free)
            );
        }
        let ids: std::collections::BTreeSet<&String> = self.opened.values().collect();
        assert_eq!(report.operator.called, u32::try_from(ids.len()).unwrap());
        assert_eq!(report.operator.called_again, of(&|event| matches!(event.fact, Fact::EscalationNotified { .. })));
        let standing = u32::try_from(self.stage.scene.escalations.iter().filter(|one| one.stands()).count()).unwrap();
        assert_eq!(report.operator.called, report.operator.eased + report.operator.settled + standing);
        let open = self.stage.scene.suggestions.iter().filter(|one| one.state == SuggestionState::Open).count();
        let offers = report.operator.suggested.values();
        let left: u32 = offers.map(|one| one.made - one.accepted - one.dismissed - one.withdrawn).sum();
        assert_eq!(left, u32::try_from(open).unwrap());
    }
}

fn stalled(signal: &str) -> AgentWish {
    AgentWish::Observed {
        health: Health::Stalled,
        waiting_for: WaitingFor::None,
        reason: "stands still".into(),
        evidence: json!({ "signal": signal }),
    }
}

fn dialog() -> AgentWish {
    AgentWish::Observed {
        health: Health::Idle,
        waiting_for: WaitingFor::Input,
        reason: "waits for a key".into(),
        evidence: json!({ "signal": "screen" }),
    }
}

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn weeks(mode: OperatorMode, agents: u64, set_back: bool) {
    let (seed, mut held) = (number("DRILL_SEED", 1), 0);
    for one in 0..number("DRILL_WEEK", agents).div_ceil(u64::try_from(CREW).unwrap()) {
        let mut week = Week::new(seed * 1_000 + one, mode);
        week.run(set_back);
        week.reported();
        let acted = week.stage.log.iter().filter(|event| matches!(event.fact, Fact::OperatorActed { .. })).count();
        assert!(acted > 0, "a week in which nothing was done tells nothing");
        held += week.stage.log.iter().filter(|event| matches!(event.fact, Fact::AgentHeld { .. })).count();
    }
    assert!(held > 0, "weeks in which nobody was held tell nothing of that");
}

#[test]
fn a_week_of_rules_that_act() {
    weeks(OperatorMode::Off, 250, false);
}

#[test]
fn a_week_of_rules_that_suggest() {
    weeks(OperatorMode::Assist, 150, false);
}

#[test]
fn a_week_in_which_the_clock_is_set_back() {
    weeks(OperatorMode::Auto, 100, true);
}

//! One agent whose program may live: its end, or what its signals say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::agents::{LaunchFiles, exit_of};
use super::super::engine::{Caller, Engine};
use super::super::error::EngineError;
use super::super::launcher::{Record, read_record};
use super::super::process::Proc;
use super::super::process::ends::{Ends, Life};
use super::super::process::let_go_on;
use super::super::progress::Progress;
use super::super::tmux::{Pane, Panes};
use super::farewell::Farewells;
use super::screens::Screens;
use super::standing::Open;
use super::steady::{Jump, Pendulum, Steady};
use super::stops::Stops;
use crate::domain::agent::{Agent, AgentKey, AgentStatus, Exit, Health, Quiet};
use crate::domain::command::AgentWish;
use crate::domain::health::{Rule, Signals, is_news};
use crate::domain::policy::HealthPolicy;
use crate::domain::time::Moment;
use crate::store::read::Vitals;
use serde_json::Value;

/// How long a launcher that lost its terminal may take to find out whether its tmux server is gone too.
const LAUNCHER_WORD: Duration = Duration::from_secs(2);
/// How long a launcher whose program is gone may take to write down how it ended: it tries again where it cannot.
const LAUNCHER_HANGS: Duration = Duration::from_secs(10);
/// A record is read again this often, also where nothing says that it is another one.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The panes of one look, found by what is asked for.
pub struct Shown<'a> {
    by_session: HashMap<&'a str, &'a Pane>,
    pids: HashSet<u32>,
}

impl<'a> Shown<'a> {
    /// What tmux listed.
    pub fn of(panes: &'a Panes) -> Self {
        Self {
            by_session: panes.panes.iter().map(|pane| (pane.session.as_str(), pane)).collect(),
            pids: panes.panes.iter().map(|pane| pane.pane_pid).collect(),
        }
    }

    /// The pane of a session.
    pub fn of_session(&self, session: &str) -> Option<&'a Pane> {
        self.by_session.get(session).copied()
    }
}

/// A launch record as last read.
struct Known {
    launch: u32,
    record: Record,
    read_at: Instant,
    /// Whether its program's end is told; where it is not, whether it had ended then.
    program_watched: bool,
    program_gone: bool,
    /// Since when it is known to have no tmux server.
    alone_since: Option<Instant>,
}

/// What is remembered of living agents between two looks. Nothing of it matters to who comes after.
pub struct Eye {
    engine: Arc<Engine>,
    caller: Caller,
    ends: Box<dyn Ends>,
    records: BTreeMap<AgentKey, Known>,
    /// Launches of which the server showed no pane at the last look.
    missing: BTreeMap<AgentKey, u32>,
    /// Launches whose program is gone, since when, and whose launcher has not said how.
    unheard: BTreeMap<AgentKey, (u32, Instant)>,
    /// Programs that print nothing: whether they were stopped.
    stops: Stops,
    /// When silence was announced.
    announced: Steady<AgentKey>,
    /// What their screens show.
    pub screens: Screens,
    /// What the launches began that left their sessions, as last listed: when a launcher is gone nothing shows any more
    /// that they are of it.
    strays: BTreeMap<AgentKey, Vec<Life>>,
    strays_at: Option<Instant>,
    /// Whose end was dealt with in this look.
    ended: BTreeSet<AgentKey>,
    /// Whether an end may not be reported yet: an agent lives whose server is gone, or one just ends.
    pub orphans: bool,
}

impl Eye {
    /// An eye that has not looked; `ends` tells of deaths.
    pub fn new(engine: &Arc<Engine>, caller: &Caller, ends: Box<dyn Ends>) -> Self {
        Self {
            engine: Arc::clone(engine),
            caller: caller.clone(),
            ends,
            records: BTreeMap::new(),
            missing: BTreeMap::new(),
            unheard: BTreeMap::new(),
            stops: Stops::default(),
            announced: Steady::default(),
            screens: Screens::default(),
            strays: BTreeMap::new(),
            strays_at: None,
            ended: BTreeSet::new(),
            orphans: false,
        }
    }

    /// Begins a look: what is remembered of launches goes with them.
    pub fn open<'a>(&mut self, living: impl Iterator<Item = &'a Agent>) {
        let launches: BTreeMap<&AgentKey, u32> = living.map(|agent| (&agent.key, agent.launch)).collect();
        self.records.retain(|key, known| launches.get(key) == Some(&known.launch));
        self.missing.retain(|key, _| launches.contains_key(key));
        self.unheard.retain(|key, (launch, _)| launches.get(key) == Some(&*launch));
        self.stops.keep(&launches);
        self.announced.keep(|key| launches.contains_key(key));
        self.screens.keep(&launches);
        let lives: BTreeSet<Life> =
            self.records.values().flat_map(|known| lives(&known.record).chain(known.record.program())).collect();
        self.ends.keep(&lives);
        self.ends.look();
        self.ended.clear();
        self.orphans = false;
    }

    /// Whether its launcher is known to be gone: nothing that tmux shows matters to its end.
    pub fn is_gone(&self, agent: &Agent) -> bool {
        let known = self.records.get(&agent.key).map(|known| &known.record);
        known.is_some_and(|record| self.ends.ended((record.launcher_pid, record.launcher_start)))
    }

    /// The clock was set.
    pub fn jumped(&mut self, jump: Jump) {
        self.announced.jumped(jump);
        self.screens.jumped(jump);
    }

    /// The silence that an agent announced, in the time that is in force now.
    fn quiet(&mut self, agent: &Agent, clock: &Pendulum) -> Option<Quiet> {
        let quiet = agent.quiet.clone()?;
        let since = self.announced.at(&agent.key, quiet.since, false, clock);
        Some(Quiet { since, until: since.plus(quiet.until.since(quiet.since)), ..quiet })
    }

    /// One agent: its end is reported, or what its signals say; its vitals are returned.
    ///
    /// # Errors
    /// When the store cannot be used, or its launch record not be read.
    pub fn look(
        &mut self,
        open: &Open,
        agent: &Agent,
        shown: Option<&Shown<'_>>,
        (farewells, progress, clock): (&mut Farewells, &Progress, &Pendulum),
        now: Moment,
    ) -> Result<Option<Vitals>, EngineError> {
        if self.ended.contains(&agent.key) {
            return Ok(None);
        }
        if farewells.has(&agent.key) {
            // How it ended is just being found out.
            self.orphans = true;
            return Ok(None);
        }
        let health = open.health_of(agent)?;
        let Some(record) = self.record(agent)? else { return Ok(None) };
        let launcher_lives = !self.ends.ended(record.launcher());
        let server_gone = record.server_pid.is_some_and(|pid| self.ends.ended((pid, record.server_start)));
        if let Some(exit) = exit_of(&record, self.engine.processes.as_ref()) {
            let fresh = exit.at.is_some_and(|at| now.since(at) < LAUNCHER_WORD);
            if record.hung_up && !server_gone && launcher_lives && fresh {
                // It is just finding out whether its server is gone as well.
                self.orphans = true;
                return Ok(None);
            }
            farewells.keep_screen(agent);
            self.ended.insert(agent.key.clone());
            let exit = Exit { source: "record".to_owned(), ..exit };
            self.engine.order_agent(&self.caller, &agent.key, AgentWish::Exited { launch: agent.launch, exit })?;
            return Ok(None);
        }
        let unheard = self.unheard(agent, &record);
        let hangs = unheard.is_some_and(|since| since.elapsed() >= LAUNCHER_HANGS);
        let over = !launcher_lives || hangs || self.is_missing(agent, &record, shown);
        if over || self.is_alone(agent, server_gone) {
            self.ended.insert(agent.key.clone());
            farewells.end(agent, &record, self.strays.get(&agent.key).cloned().unwrap_or_default(), hangs);
            self.orphans = true;
            return Ok(None);
        }
        if unheard.is_some() {
            // How it ended is just being written down.
            self.orphans = true;
            return Ok(None);
        }
        self.orphans |= server_gone;
        let pane = shown.and_then(|shown| shown.of_session(&agent.spec.session));
        let pane = pane.filter(|pane| pane.pane_pid == record.launcher_pid);
        let output_at = pane.map(last_output);
        let limit = Duration::from_secs(u64::from(health.progress_stalled_seconds));
        let quiet = self.quiet(agent, clock);
        let signals = Signals {
            now,
            output_at,
            progress: progress.judged(agent, limit, now),
            asks: open.asking.contains(&agent.key),
            screen: output_at.and_then(|at| self.screens.sign(agent, at)),
            quiet: quiet.as_ref(),
            stopped: self.stops.look(agent, &record, output_at, now, self.engine.processes.as_ref()),
        };
        if !self.lacks(agent, &signals, health, progress) {
            self.tell(agent, &signals, health)?;
        }
        Ok(Some(Vitals {
            last_output_at: output_at,
            last_seen_at: now,
            pid: Some(i64::from(record.launcher_pid)),
            last_progress_at: progress.in_worktrees(&agent.key).map(|(at, _)| at),
        }))
    }

    /// Whether what the last verdict went by is not known to this supervisor yet: who has just begun to look takes
    /// nothing back, and calls nobody again.
    fn lacks(&self, agent: &Agent, signals: &Signals<'_>, health: &HealthPolicy, progress: &Progress) -> bool {
        let Some(output_at) = signals.output_at else { return false };
        let weaker = |than: Rule| signals.rule(&health.thresholds()) > than;
        match agent.evidence.get("signal").and_then(Value::as_str) {
            Some("progress") => weaker(Rule::Stuck) && signals.progress.is_none() && progress.is_open(agent),
            Some("screen") => weaker(Rule::Input) && self.screens.is_open(agent, output_at),
            _ => false,
        }
    }

    /// What its signals say, where that is news.
    fn tell(&self, agent: &Agent, signals: &Signals<'_>, health: &HealthPolicy) -> Result<(), EngineError> {
        let thresholds = health.thresholds();
        let rule = signals.rule(&thresholds);
        let line = signals.screen.filter(|_| rule.waiting_for().seen_on_screen()).map_or("", |sign| &sign.line);
        let news = is_news(agent, rule.health(), rule.waiting_for(), signals.signal(rule), line)
            || (rule.health() == Health::Healthy && agent.status != AgentStatus::Running);
        if news && agent.status.working() {
            let verdict = signals.judge(&thresholds);
            let wish = AgentWish::Observed {
                health: rule.health(),
                waiting_for: rule.waiting_for(),
                reason: verdict.reason,
                evidence: verdict.evidence,
            };
            self.engine.order_agent(&self.caller, &agent.key, wish)?;
        }
        Ok(())
    }

    /// The launch record, read again where it may be another one: a launcher writes for the last time when it ends.
    fn record(&mut self, agent: &Agent) -> Result<Option<Record>, EngineError> {
        if let Some(known) = self.records.get(&agent.key) {
            let fresh = known.read_at.elapsed() < READ_EVERY && known.record.agent_pid.is_some();
            if fresh && !self.ends.ended(known.record.launcher()) && !self.program_gone(known) {
                return Ok(Some(known.record.clone()));
            }
        }
        let read = read_record(&LaunchFiles::new(&self.engine, &agent.spec.session, agent.launch).record);
        let record = match (read, self.records.get(&agent.key)) {
            // Whose launcher is known is still looked after.
            (Err(_), Some(known)) => return Ok(Some(known.record.clone())),
            (read, _) => read?,
        };
        if let Some(record) = &record {
            lives(record).for_each(|life| self.ends.watch(life));
            let alone_since = self.records.get(&agent.key).and_then(|known| known.alone_since);
            let procs = self.engine.processes.as_ref();
            let watched = record.program().is_some_and(|life| self.ends.watch_aside(life));
            let known = Known {
                launch: agent.launch,
                record: record.clone(),
                read_at: Instant::now(),
                program_watched: watched,
                alone_since,
                program_gone: !watched && record.program().is_some_and(|(pid, start)| !procs.alive(pid, start)),
            };
            self.records.insert(agent.key.clone(), known);
        }
        Ok(record)
    }

    /// Whether its program has outlived its tmux server for longer than it takes to end by that: nobody sees or reaches
    /// it any more.
    fn is_alone(&mut self, agent: &Agent, server_gone: bool) -> bool {
        let Some(known) = self.records.get_mut(&agent.key) else { return false };
        if !server_gone {
            known.alone_since = None;
            return false;
        }
        known.alone_since.get_or_insert_with(Instant::now).elapsed() >= LAUNCHER_WORD
    }

    /// Lists what living launches began that left their sessions, from time to time.
    pub fn note_strays(&mut self) {
        if self.records.is_empty() || self.strays_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return;
        }
        self.strays_at = Some(Instant::now());
        let list = self.engine.processes.list();
        let mut children: HashMap<u32, Vec<&Proc>> = HashMap::new();
        for proc in list.iter().filter(|proc| proc.pid != proc.ppid) {
            children.entry(proc.ppid).or_default().push(proc);
        }
        let there: HashSet<u32> = list.iter().map(|proc| proc.pid).collect();
        // A launcher that has just ended shows its kin no more: they are still what they were.
        self.strays.retain(|key, _| self.records.contains_key(key));
        for (key, known) in self.records.iter().filter(|(_, known)| there.contains(&known.record.launcher_pid)) {
            let mut open = vec![known.record.launcher_pid];
            let (mut strays, mut seen) = (Vec::new(), HashSet::new());
            while let Some(pid) = open.pop() {
                for child in children.get(&pid).into_iter().flatten().filter(|child| seen.insert(child.pid)) {
                    open.push(child.pid);
                    if child.sid != known.record.launcher_pid {
                        strays.push((child.pid, child.start_time));
                    }
                }
            }
            self.strays.insert(key.clone(), strays);
        }
    }

    fn program_gone(&self, known: &Known) -> bool {
        let told = known.record.program().filter(|_| known.program_watched).is_some_and(|life| self.ends.ended(life));
        told || known.program_gone
    }

    /// Since when the program of a launch is gone and its launcher has not said how it ended. One that was stopped
    /// cannot, so it is let go on: how its agent ended is known to nobody else.
    fn unheard(&mut self, agent: &Agent, record: &Record) -> Option<Instant> {
        if !self.records.get(&agent.key).is_some_and(|known| self.program_gone(known)) {
            return None;
        }
        let_go_on(self.engine.processes.as_ref(), record.launcher());
        Some(self.unheard.entry(agent.key.clone()).or_insert((agent.launch, Instant::now())).1)
    }

    /// Whether a server that answers shows no pane of a launch, twice in a row: at the first look it may have been
    /// started after the server was asked. A pane that somebody moved elsewhere is still there.
    fn is_missing(&mut self, agent: &Agent, record: &Record, shown: Option<&Shown<'_>>) -> bool {
        match shown {
            Some(shown) if record.server_pid.is_some() && !shown.pids.contains(&record.launcher_pid) => {
                self.missing.insert(agent.key.clone(), agent.launch) == Some(agent.launch)
            }
            Some(_) | None => {
                self.missing.remove(&agent.key);
                false
            }
        }
    }
}

/// Those whose end matters to a launch: its launcher, and the server in whose pane that runs.
fn lives(record: &Record) -> impl Iterator<Item = Life> {
    let server = record.server_pid.map(|pid| (pid, record.server_start));
    [record.launcher()].into_iter().chain(server)
}

/// When a pane's window last printed something.
pub fn last_output(pane: &Pane) -> Moment {
    Moment::from_millis(pane.activity.saturating_mul(1000))
}

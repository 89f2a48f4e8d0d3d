//! What the journal says should be, kept between two looks: only what has news is read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::asking::asking;
use super::super::engine::Engine;
use super::super::error::EngineError;
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::plan::Step;
use crate::domain::policy::{HealthPolicy, Policy};
use crate::domain::run::{Run, RunStatus};
use crate::domain::runner::Runner;
use crate::domain::scene::Workspace;
use crate::domain::screen::Patterns;
use crate::store::Reader;

/// A run that is not closed, with what belongs to it.
#[derive(Debug)]
pub struct Open {
    /// The run.
    pub run: Run,
    /// Its agents.
    pub agents: Vec<Agent>,
    /// The steps of its plan.
    pub steps: Vec<Step>,
    /// Its workspaces.
    pub workspaces: Vec<Workspace>,
    /// Its agents who wait for an answer.
    pub asking: BTreeSet<AgentKey>,
    /// After how long an agent's silence means something, by the policy the run keeps or the live one; or why that is
    /// not known.
    health: Result<BTreeMap<String, HealthPolicy>, String>,
    /// What is recognised on the screens of a runner's agents, by runner; those without patterns are left out.
    patterns: BTreeMap<String, Arc<Patterns>>,
}

impl Open {
    /// The run, read anew; `None` when it is closed, or only planned.
    fn read(
        engine: &Engine,
        reader: &Reader,
        run_id: &str,
        compiled: &mut Compiled,
    ) -> Result<Option<Self>, EngineError> {
        let Some(run) = reader.run(run_id)?.filter(is_open) else { return Ok(None) };
        let agents = reader.agents(run_id)?;
        let mut open = Self {
            steps: reader.steps(run_id)?,
            workspaces: reader.workspaces(run_id)?,
            asking: asking(reader, &run, &agents)?,
            health: Ok(BTreeMap::new()),
            patterns: BTreeMap::new(),
            run,
            agents,
        };
        open.follow(engine, compiled);
        Ok(Some(open))
    }

    /// Takes the policy anew.
    fn follow(&mut self, engine: &Engine, compiled: &mut Compiled) {
        let policy = engine.policy_of(self.run.id()).map_err(|error| error.to_string());
        if let Ok(policy) = &policy {
            self.patterns = compiled.of(&self.agents, policy);
        }
        let by_profile = |policy: Policy| {
            let profiles = policy.agent_profiles.iter();
            let known = profiles.map(|profile| (profile.name.clone(), policy.health_for(profile))).collect();
            let rest: BTreeMap<String, HealthPolicy> = [(String::new(), policy.health.clone())].into();
            rest.into_iter().chain::<BTreeMap<_, _>>(known).collect()
        };
        self.health = policy.map(by_profile);
    }

    /// What is recognised on an agent's screen; nothing where its runner has no patterns.
    pub fn patterns_of(&self, agent: &Agent) -> Option<&Patterns> {
        self.patterns.get(&agent.spec.runner).map(Arc::as_ref)
    }

    /// After how long an agent's silence means something.
    ///
    /// # Errors
    /// Why that is not known: the policy that the run keeps cannot be read.
    pub fn health_of(&self, agent: &Agent) -> Result<&HealthPolicy, EngineError> {
        let known = self.health.as_ref().map_err(|why| EngineError::refused(why.clone(), "metawsm doctor"))?;
        known.get(&agent.spec.profile).or_else(|| known.get("")).ok_or_else(|| {
            EngineError::not_found(format!("no profile {}", agent.spec.profile), "metawsm doctor --verify")
        })
    }
}

fn is_open(run: &Run) -> bool {
    !matches!(run.status, RunStatus::Closed | RunStatus::Created)
}

/// Patterns, compiled once for each runner that looks alike.
#[derive(Debug, Default)]
struct Compiled(HashMap<String, Option<Arc<Patterns>>>);

impl Compiled {
    fn of(&mut self, agents: &[Agent], policy: &Policy) -> BTreeMap<String, Arc<Patterns>> {
        let names: BTreeSet<&str> = agents.iter().map(|agent| agent.spec.runner.as_str()).collect();
        let found = names.into_iter().filter_map(|name| Some((name.to_owned(), self.one(&policy.runner(name)?)?)));
        found.collect()
    }

    /// A runner whose patterns do not hold is recognised by nothing: policies that are checked have none such.
    fn one(&mut self, runner: &Runner) -> Option<Arc<Patterns>> {
        let lists = [&runner.limit_patterns, &runner.waiting_patterns, &runner.ready_patterns];
        let compile = || Patterns::of(runner).ok().filter(|patterns| !patterns.is_empty()).map(Arc::new);
        self.0.entry(format!("{lists:?}")).or_insert_with(compile).clone()
    }
}

/// All open runs as of one place in the journal.
#[derive(Debug, Default)]
pub struct Standing {
    /// The place; `None` before the first look.
    seq: Option<i64>,
    /// The live policy file as it was then.
    live: Option<Policy>,
    compiled: Compiled,
    /// The runs by id.
    pub runs: BTreeMap<String, Open>,
}

impl Standing {
    /// Catches up with the journal and the policy file.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn refresh(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let reader = engine.reader()?;
        // Read first: what comes meanwhile is read again next time.
        let seq = reader.last_seq()?;
        let touched = match self.seq {
            Some(known) if known == seq => Vec::new(),
            // A rebuild may have begun anew with fewer.
            Some(known) if known < seq => reader.runs_touched(known)?,
            Some(_) | None => {
                self.runs.clear();
                reader.runs()?.iter().filter(|run| is_open(run)).map(|run| run.id().to_owned()).collect()
            }
        };
        for run_id in touched {
            match Open::read(engine, &reader, &run_id, &mut self.compiled)? {
                Some(open) => drop(self.runs.insert(run_id, open)),
                None => drop(self.runs.remove(&run_id)),
            }
        }
        self.seq = Some(seq);
        let live = engine.home.policy_in_force();
        if live != self.live {
            let compiled = &mut self.compiled;
            self.runs.values_mut().for_each(|open| open.follow(engine, compiled));
            self.live = live;
        }
        Ok(())
    }

    /// All their agents.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.runs.values().flat_map(|open| &open.agents)
    }
}

//! Looks at the screens of agents whose runner has patterns: once a silence, and now and then where something is
//! printed all the time, for a blinking title or a running counter is no work.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::tmux::Screen;
use super::observe::{Shown, last_output};
use super::standing::Open;
use super::steady::Jump;
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::health::STILL;
use crate::domain::screen::{Patterns, Sign};
use crate::domain::time::Moment;

/// So many screens are read within a second, of all agents; a quarter of them of those that are not silent.
const A_SECOND: (usize, usize) = (20, 5);
/// A screen on which something is printed all the time is read this often.
const BUSY_EVERY: Duration = Duration::from_secs(10);

/// A screen as last read.
#[derive(Debug)]
struct Read {
    launch: u32,
    at: Moment,
    /// When something had been printed last.
    output_at: Moment,
    sign: Option<Sign>,
    /// What stood on it beside the sign, and how much had left it above.
    standing: String,
    history: u32,
    /// Since when that has been the same.
    since: Moment,
}

/// Which screens were read.
#[derive(Debug, Default)]
pub struct Screens {
    read: BTreeMap<AgentKey, Read>,
    /// When the last ones were read, for their number within a second.
    spent: Vec<Moment>,
}

/// A screen that is to be read.
struct Wanted<'a> {
    agent: &'a Agent,
    patterns: &'a Patterns,
    pane: &'a str,
    output_at: Moment,
    silent: bool,
    /// When it was read last.
    before: Moment,
}

impl Screens {
    /// Reads those screens that it is time for, with the one who can ask tmux.
    pub fn look<'a>(
        &mut self,
        runs: impl Iterator<Item = &'a Open>,
        shown: &Shown<'_>,
        now: Moment,
        ask: impl FnOnce(&[&str]) -> Vec<Screen>,
    ) {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for open in runs.filter(|open| open.run.status.at_work()) {
            wanted.extend(open.agents.iter().filter_map(|agent| self.wanted(open, agent, shown, now)));
        }
        if wanted.is_empty() {
            return;
        }
        // What is silent first, and then what was not read for longest.
        wanted.sort_by_key(|wanted| (!wanted.silent, wanted.before));
        self.spent.retain(|at| now.since(*at) < Duration::from_secs(1));
        let (left, mut busy) = (A_SECOND.0.saturating_sub(self.spent.len()), A_SECOND.1);
        wanted.retain(|wanted| {
            let fits = wanted.silent || busy > 0;
            busy -= usize::from(fits && !wanted.silent);
            fits
        });
        wanted.truncate(left);
        if wanted.is_empty() {
            return;
        }
        let panes: Vec<&str> = wanted.iter().map(|wanted| wanted.pane).collect();
        for (wanted, screen) in wanted.iter().zip(ask(&panes)) {
            self.spent.push(now);
            self.note(wanted, &screen, now);
        }
    }

    fn wanted<'a>(&self, open: &'a Open, agent: &'a Agent, shown: &Shown<'a>, now: Moment) -> Option<Wanted<'a>> {
        let patterns = open.patterns_of(agent).filter(|_| agent.status.working() && agent.program_may_live())?;
        let pane = shown.of_session(&agent.spec.session).filter(|pane| !pane.dead)?;
        let output_at = last_output(pane);
        let silent = now.since(output_at) >= STILL;
        let read = self.of(agent);
        let due = match read {
            Some(read) if silent => read.output_at != output_at || read.at.since(output_at) < STILL,
            Some(read) => now.since(read.at) >= if read.sign.is_some() { STILL } else { BUSY_EVERY },
            None => true,
        };
        let before = read.map(|read| read.at).unwrap_or_default();
        due.then_some(Wanted { agent, patterns, pane: &pane.pane_id, output_at, silent, before })
    }

    fn note(&mut self, wanted: &Wanted<'_>, screen: &Screen, now: Moment) {
        let sign = wanted.patterns.read(&screen.text, &screen.title);
        // Only of what may be waiting it matters whether it stands still.
        let standing = sign.as_ref().map(|_| wanted.patterns.standing(&screen.text, &screen.title)).unwrap_or_default();
        let before = self.of(wanted.agent).filter(|read| {
            read.sign.as_ref().map(|sign| &sign.pattern) == sign.as_ref().map(|sign| &sign.pattern)
                && (&read.standing, read.history) == (&standing, screen.history)
        });
        let since = before.map_or(now, |read| read.since);
        let read = Read {
            launch: wanted.agent.launch,
            at: now,
            output_at: wanted.output_at,
            sign,
            standing,
            history: screen.history,
            since,
        };
        self.read.insert(wanted.agent.key.clone(), read);
    }

    fn of(&self, agent: &Agent) -> Option<&Read> {
        self.read.get(&agent.key).filter(|read| read.launch == agent.launch)
    }

    /// What an agent's screen shows, where that stands: nothing was printed since it was read, or nothing but what
    /// blinks and counts.
    pub fn sign(&self, agent: &Agent, output_at: Moment) -> Option<&Sign> {
        let read = self.of(agent)?;
        let silent = read.output_at == output_at && read.at.since(output_at) >= STILL;
        let stands = read.at.since(read.since) >= STILL;
        read.sign.as_ref().filter(|_| silent || stands)
    }

    /// Whether what its screen shows is not known yet: it was not read, or may only be about to change.
    pub fn is_open(&self, agent: &Agent, output_at: Moment) -> bool {
        self.of(agent).is_none_or(|read| read.sign.is_some() && self.sign(agent, output_at).is_none())
    }

    /// The clock was set.
    pub fn jumped(&mut self, jump: Jump) {
        for read in self.read.values_mut() {
            for at in [&mut read.at, &mut read.output_at, &mut read.since] {
                *at = jump.carry(*at);
            }
        }
        self.spent.iter_mut().for_each(|at| *at = jump.carry(*at));
    }

    /// Forgets all but these.
    pub fn keep(&mut self, launches: &BTreeMap<&AgentKey, u32>) {
        self.read.retain(|key, read| launches.get(key) == Some(&read.launch));
    }
}

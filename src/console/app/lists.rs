//! Keeping lists and selections true to what is there.

use super::{App, Page, Pane, operator, query};
use crate::domain::agent::AgentKey;
use crate::services::snapshot::{AgentRow, Asked, EscalationRow, RunRow, Snapshot, SuggestionRow, Tab, ThreadRow};

/// One row of the pane of escalations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention<'a> {
    /// A human is needed.
    Escalation(&'a EscalationRow),
    /// The operator proposes something.
    Suggestion(&'a SuggestionRow),
}

impl Attention<'_> {
    /// Identity.
    pub fn id(&self) -> &str {
        match self {
            Self::Escalation(row) => &row.id,
            Self::Suggestion(row) => &row.id,
        }
    }

    /// The agent it is about.
    pub fn agent(&self) -> Option<AgentKey> {
        let (run, workspace, agent) = match self {
            Self::Escalation(row) => (&row.run_id, &row.workspace, &row.agent),
            Self::Suggestion(row) => (&row.run_id, &row.workspace, &row.agent),
        };
        Some(AgentKey::new(run.as_ref()?, workspace.as_ref()?, agent.as_ref()?))
    }

    /// The run it is about.
    pub fn run_id(&self) -> Option<&str> {
        match self {
            Self::Escalation(row) => row.run_id.as_deref(),
            Self::Suggestion(row) => row.run_id.as_deref(),
        }
    }
}

/// Escalations first, then suggestions.
pub fn attention_at(snapshot: &Snapshot, place: usize) -> Option<Attention<'_>> {
    match snapshot.escalations.get(place) {
        Some(row) => Some(Attention::Escalation(row)),
        None => snapshot.suggestions.get(place - snapshot.escalations.len()).map(Attention::Suggestion),
    }
}

fn attention_id(snapshot: &Snapshot, place: usize) -> String {
    attention_at(snapshot, place).map(|item| item.id().to_owned()).unwrap_or_default()
}

pub(super) fn holds(filter: &str, parts: &[&str]) -> bool {
    filter.is_empty() || parts.iter().any(|part| part.to_lowercase().contains(filter))
}

fn run_fits(run: &RunRow, filter: &str) -> bool {
    holds(filter, &[&run.run_id, run.status.word(), &run.reason]) || run.tickets.iter().any(|t| holds(filter, &[t]))
}

fn agent_fits(agent: &AgentRow, filter: &str) -> bool {
    holds(filter, &[&agent.key.name, &agent.key.workspace, agent.status.word(), &agent.ticket, &agent.reason])
}

/// The rows of what was found, or of a queue.
pub fn thread_rows(snapshot: &Snapshot, asked: bool, tab: Tab) -> &[ThreadRow] {
    match (&snapshot.found, asked) {
        (Some(found), true) => &found.queue.rows,
        (None, true) => &[],
        (_, false) => &snapshot.queues.of(tab).rows,
    }
}

impl App {
    fn filter(&self, pane: Pane) -> String {
        self.filters.get(&pane).map(|text| text.to_lowercase()).unwrap_or_default()
    }

    /// What the list in focus is narrowed to.
    pub(super) fn narrowing(&mut self) -> &mut String {
        match self.page {
            Page::Operator => &mut self.operator.filter,
            Page::Home | Page::Run(_) | Page::Thread(_) => self.filters.entry(self.focus).or_default(),
        }
    }

    /// What the list in focus is narrowed to, if it is.
    pub fn narrowed(&self) -> Option<&str> {
        let filter = match self.page {
            Page::Operator => Some(&self.operator.filter),
            Page::Home | Page::Run(_) | Page::Thread(_) => self.filters.get(&self.focus),
        };
        filter.map(String::as_str).filter(|filter| !filter.is_empty())
    }

    /// The lists follow the snapshot and what is wanted of it.
    pub(super) fn refresh(&mut self) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let filter = self.filter(Pane::Runs);
        let runs = &snapshot.runs;
        self.runs.refresh(runs.len(), |at| runs[at].run_id.clone(), |at| run_fits(&runs[at], &filter));
        self.refresh_agents();
        let filter = self.filter(Pane::Attention);
        let count = snapshot.escalations.len() + snapshot.suggestions.len();
        self.attention.refresh(
            count,
            |at| attention_id(&snapshot, at),
            |at| match attention_at(&snapshot, at) {
                Some(Attention::Escalation(row)) => {
                    holds(&filter, &[&row.reason, &row.kind, row.ticket.as_deref().unwrap_or_default()])
                }
                Some(Attention::Suggestion(row)) => {
                    holds(&filter, &[&row.reason, &row.offer, row.ticket.as_deref().unwrap_or_default()])
                }
                None => false,
            },
        );
        self.operator.refresh(&snapshot);
        self.refresh_asked();
        for (tab, list) in &mut self.threads {
            let rows = &snapshot.queues.of(*tab).rows;
            list.refresh(rows.len(), |at| rows[at].thread_id.clone(), |_| true);
        }
        let rows = thread_rows(&snapshot, true, self.tab);
        self.found.refresh(rows.len(), |at| rows[at].thread_id.clone(), |_| true);
    }

    /// Threads are looked for in the database: a screen holds only the first of them.
    fn refresh_asked(&mut self) {
        let line = self.filters.get(&Pane::Forum).map(String::as_str).unwrap_or_default();
        let (asked, misread) = query::parse(line);
        self.asked = Some(asked).filter(|asked| *asked != Asked::default());
        self.misread = misread;
    }

    /// The agents follow the selected run.
    pub(super) fn refresh_agents(&mut self) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let filter = self.filter(Pane::Agents);
        let agents = &snapshot.agents;
        let run = if self.all_agents { None } else { self.run().map(|run| run.run_id.clone()) };
        let fits = |at: usize| {
            let agent = &agents[at];
            run.as_ref().is_none_or(|run| agent.key.run_id == *run) && agent_fits(agent, &filter)
        };
        self.agents.refresh(agents.len(), |at| agents[at].key.clone(), fits);
    }

    /// Moves the selection of the focused pane.
    pub(super) fn navigate(&mut self, step: Step) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        match (&self.page, self.focus) {
            (Page::Run(_) | Page::Thread(_), _) => step.scroll(&self.scroll),
            (Page::Operator, _) => match &snapshot.operator {
                Some(page) if !self.operator.list.is_empty() => {
                    step.select(&mut self.operator.list, |at| operator::id_at(page, at));
                }
                // There is nothing to select, but there may be more to read than there is room for.
                Some(_) | None => step.scroll(&self.scroll),
            },
            (Page::Home, Pane::Runs) => {
                step.select(&mut self.runs, |at| snapshot.runs[at].run_id.clone());
                self.refresh_agents();
            }
            (Page::Home, Pane::Agents) => step.select(&mut self.agents, |at| snapshot.agents[at].key.clone()),
            (Page::Home, Pane::Attention) => step.select(&mut self.attention, |at| attention_id(&snapshot, at)),
            (Page::Home, Pane::Forum) => {
                let rows = thread_rows(&snapshot, self.asked.is_some(), self.tab);
                let list = if self.asked.is_some() { Some(&mut self.found) } else { self.threads.get_mut(&self.tab) };
                if let Some(list) = list {
                    step.select(list, |at| rows[at].thread_id.clone());
                }
            }
            (Page::Home, Pane::Live) => step.scroll(&self.live_scroll),
        }
    }

    /// Selects a thread in a queue; nothing is looked for then.
    pub(super) fn select_thread(&mut self, tab: Tab, thread_id: &str) {
        self.filters.remove(&Pane::Forum);
        self.refresh_asked();
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let rows = &snapshot.queues.of(tab).rows;
        self.tab = tab;
        if let Some(list) = self.threads.get_mut(&tab) {
            list.select(thread_id.to_owned(), |at| rows[at].thread_id.clone());
        }
    }

    /// Selects a run and with it its agents.
    pub(super) fn select_run(&mut self, run_id: &str) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        self.runs.select(run_id.to_owned(), |at| snapshot.runs[at].run_id.clone());
        self.refresh_agents();
    }

    /// Selects an agent, and its run.
    pub(super) fn select_agent(&mut self, key: &AgentKey) {
        self.select_run(&key.run_id);
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        self.agents.select(key.clone(), |at| snapshot.agents[at].key.clone());
    }
}

/// A step through a list or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// By rows.
    By(isize),
    /// By a page.
    Page(bool),
    /// To the first or the last.
    Edge(bool),
}

impl Step {
    pub(super) fn select<K: Clone + PartialEq>(
        self,
        list: &mut crate::console::widgets::list::List<K>,
        id_of: impl Fn(usize) -> K,
    ) {
        match self {
            Self::By(rows) => list.step(rows, id_of),
            Self::Page(forward) => list.page(forward, id_of),
            Self::Edge(end) => list.go(if end { usize::MAX } else { 0 }, id_of),
        }
    }

    pub(super) fn scroll(self, scroll: &crate::console::widgets::list::Scroll) {
        match self {
            Self::By(rows) => scroll.by(rows),
            Self::Page(forward) => scroll.page(forward),
            Self::Edge(end) => scroll.edge(end),
        }
    }
}

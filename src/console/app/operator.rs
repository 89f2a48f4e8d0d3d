//! The operator's page: what is selected on it, and what its keys do.

use super::lists::holds;
use super::{App, Overlay, Page, Pane};
use crate::console::msg::Effect;
use crate::console::widgets::dialog::{Consequence, Dialog};
use crate::console::widgets::list::{List, Scroll};
use crate::console::widgets::picker::{Choice, Picker};
use crate::domain::agent::AgentKey;
use crate::domain::operator::RUN_TARGET;
use crate::domain::policy::OperatorMode;
use crate::services::explain::What;
use crate::services::handle::Wish;
use crate::services::snapshot::{BudgetRow, LetterRow, OperatorPage, RuleRow, Snapshot, Trouble};

/// What of the page is selected, and what it is narrowed to.
#[derive(Debug, Default)]
pub struct View {
    /// Its rows.
    pub list: List<Id>,
    /// What they are narrowed to.
    pub filter: String,
}

/// Which row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// A decision, by its run and its target.
    Rule(Option<String>, String),
    /// A letter.
    Letter(i64),
    /// An agent's restarts.
    Budget(AgentKey),
    /// None.
    Nothing,
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// A decision.
    Rule(&'a RuleRow),
    /// A letter that was given up.
    Letter(&'a LetterRow),
    /// An agent's restarts.
    Budget(&'a BudgetRow),
}

/// How many rows of each kind there are, in the order they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Decisions that stand.
    pub standing: usize,
    /// Letters that were given up.
    pub letters: usize,
    /// Agents that have used restarts.
    pub budgets: usize,
    /// Decisions whose cause is gone.
    pub passed: usize,
}

impl Counts {
    /// Those of a page.
    pub fn of(page: &OperatorPage) -> Self {
        let standing = page.rules.partition_point(|row| row.stands);
        let passed = page.rules.len() - standing;
        Self { standing, letters: page.letters.len(), budgets: page.budgets.len(), passed }
    }

    const fn all(self) -> usize {
        self.standing + self.letters + self.budgets + self.passed
    }
}

/// The row at a place.
pub fn entry_at(page: &OperatorPage, place: usize) -> Option<Entry<'_>> {
    let counts = Counts::of(page);
    if place < counts.standing {
        return page.rules.get(place).map(Entry::Rule);
    }
    let place = place - counts.standing;
    if place < counts.letters {
        return page.letters.get(place).map(Entry::Letter);
    }
    let place = place - counts.letters;
    if place < counts.budgets {
        return page.budgets.get(place).map(Entry::Budget);
    }
    page.rules.get(place - counts.budgets + counts.standing).map(Entry::Rule)
}

/// What the row at a place is known by.
pub fn id_at(page: &OperatorPage, place: usize) -> Id {
    match entry_at(page, place) {
        Some(Entry::Rule(row)) => Id::Rule(row.run_id.clone(), row.target.clone()),
        Some(Entry::Letter(row)) => Id::Letter(row.id),
        Some(Entry::Budget(row)) => Id::Budget(row.key.clone()),
        None => Id::Nothing,
    }
}

impl<'a> Entry<'a> {
    /// The agent it is about.
    pub fn agent(self) -> Option<&'a AgentKey> {
        match self {
            Self::Rule(row) => row.agent.as_ref(),
            Self::Budget(row) => Some(&row.key),
            Self::Letter(_) => None,
        }
    }

    /// The run it is about.
    pub fn run_id(self) -> Option<&'a str> {
        match self {
            Self::Rule(row) => row.run_id.as_deref(),
            Self::Budget(row) => Some(&row.key.run_id),
            Self::Letter(row) => row.run_id.as_deref(),
        }
    }

    /// The thread it is about.
    pub fn thread_id(self) -> Option<&'a str> {
        match self {
            Self::Rule(row) => row.thread_id.as_deref(),
            Self::Letter(row) => row.thread_id.as_deref(),
            Self::Budget(_) => None,
        }
    }

    /// Whether it is about a run as a whole.
    pub fn about_run(self) -> bool {
        matches!(self, Self::Rule(row) if row.target == RUN_TARGET)
    }

    /// Whether there is somewhere to go from it.
    pub fn leads_on(self) -> bool {
        self.agent().is_some() || self.run_id().is_some() || self.thread_id().is_some()
    }

    fn fits(self, filter: &str) -> bool {
        match self {
            Self::Rule(row) => {
                let (ticket, run) = (row.ticket.as_deref().unwrap_or_default(), row.run_id.as_deref());
                let run = run.unwrap_or_default();
                holds(filter, &[&row.subject, row.intent.word(), &row.outcome, &row.reason, ticket, run])
            }
            Self::Letter(row) => holds(filter, &[&row.errand, &row.about, &row.error, &row.id.to_string()]),
            Self::Budget(row) => holds(filter, &[&row.key.name, &row.ticket, &row.key.run_id, row.status.word()]),
        }
    }
}

impl View {
    /// The rows follow the snapshot.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        // Between opening the page and its coming the selection stays what it was.
        let Some(page) = &snapshot.operator else { return };
        let filter = self.filter.to_lowercase();
        self.list.refresh(
            Counts::of(page).all(),
            |at| id_at(page, at),
            |at| entry_at(page, at).is_some_and(|entry| entry.fits(&filter)),
        );
    }
}

impl App {
    /// The selected row of the operator's page.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let page = self.snapshot.operator.as_ref().filter(|_| self.page == Page::Operator)?;
        entry_at(page, self.operator.list.place()?)
    }

    /// The selected letter that was given up.
    pub(super) fn letter(&self) -> Option<&LetterRow> {
        match self.entry()? {
            Entry::Letter(row) => Some(row),
            Entry::Rule(_) | Entry::Budget(_) => None,
        }
    }

    /// Opens the page, at a letter where one is meant.
    pub(super) fn open_operator(&mut self, letter: Option<i64>) {
        self.beneath = None;
        self.page = Page::Operator;
        self.scroll = Scroll::top();
        if let Some(letter) = letter {
            self.operator.filter.clear();
            let snapshot = std::sync::Arc::clone(&self.snapshot);
            let id_of = |at| snapshot.operator.as_ref().map_or(Id::Nothing, |page| id_at(page, at));
            self.operator.list.select(Id::Letter(letter), id_of);
        }
    }

    /// To what the selected row is about.
    pub(super) fn open_concluded(&mut self) {
        let Some(entry) = self.entry() else { return };
        let thread = entry.thread_id().map(str::to_owned);
        let (agent, run) = (entry.agent().cloned(), entry.run_id().map(str::to_owned));
        match (thread, agent, run) {
            (Some(thread_id), _, _) => {
                self.open_thread(&thread_id);
                self.beneath = Some(Page::Operator);
            }
            (None, Some(key), _) => {
                self.select_agent(&key);
                self.look_at(Pane::Agents);
            }
            (None, None, Some(run_id)) => {
                self.select_run(&run_id);
                self.page = Page::Run(run_id);
                self.scroll = Scroll::top();
                self.beneath = Some(Page::Operator);
            }
            (None, None, None) => {}
        }
    }

    /// What would be explained of the selected row: the decision, or the call to the letter.
    pub(super) fn explained_entry(&self) -> Option<What> {
        match self.entry()? {
            Entry::Rule(row) => Some(What::LastDecision(row.run_id.clone(), row.target.clone())),
            Entry::Budget(row) => Some(What::Agent(row.key.clone())),
            Entry::Letter(row) => row.call.clone().map(What::Escalation),
        }
    }

    /// A menu of who decides. A file that does not hold is not written, so there nothing is to be chosen.
    pub(super) fn pick_mode(&mut self) {
        let facts = &self.snapshot.facts;
        let broken = facts.troubles.iter().find_map(|trouble| match trouble {
            Trouble::Policy(reason) => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = broken {
            return self.complain(format!("the mode stays: the policy file has to be mended first ({reason})"));
        }
        let choice = |mode: OperatorMode| Choice {
            label: mode.word().to_owned(),
            hint: mode_words(mode).to_owned(),
            wish: Wish::SetMode(mode),
        };
        let modes = [OperatorMode::Off, OperatorMode::Assist, OperatorMode::Auto];
        let choices = modes.into_iter().filter(|mode| mode.word() != facts.operator).map(choice).collect();
        let title = match self.told_mode() {
            Some(told) => format!("Mode in the policy (now {}; --operator {} holds here)", facts.operator, told.word()),
            None => format!("Mode (now {})", facts.operator),
        };
        self.overlay = Some(Overlay::Picker(Picker::of(title, choices)));
    }

    /// The mode that this process was told, which holds while it supervises.
    pub fn told_mode(&self) -> Option<OperatorMode> {
        let ours = self.snapshot.facts.supervisor.as_ref().is_some_and(|holder| holder.ours);
        self.opening.conduct.mode.filter(|_| ours)
    }

    pub(super) fn retry_letter(&mut self, effects: &mut Vec<Effect>) {
        if let Some(id) = self.letter().map(|letter| letter.id) {
            self.wish(Wish::RetryLetter(id), effects);
        }
    }

    /// What a letter was to do is lost with it.
    pub(super) fn ask_drop(&mut self) {
        let Some(letter) = self.letter() else { return };
        let lines = vec![
            format!("it was to {} for {}", letter.errand, letter.about),
            format!("after {} attempts: {}", letter.attempts, letter.error),
            "that is then left undone for good; t tries it again".to_owned(),
        ];
        let then = Consequence::Wish(Wish::DropLetter(letter.id));
        let title = format!("Drop letter {}?", letter.id);
        self.overlay = Some(Overlay::Dialog(Dialog::new(title, lines, "drop", then)));
    }
}

/// What a mode means.
pub const fn mode_words(mode: OperatorMode) -> &'static str {
    match mode {
        OperatorMode::Off => "the rules act; no adviser is asked",
        OperatorMode::Assist => "the rules only suggest; nothing is done without you",
        OperatorMode::Auto => "the rules act; an adviser may call you as well",
    }
}

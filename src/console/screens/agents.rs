//! The agents of the selected run, or of all.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{ago, home};
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::theme::Mark;
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::pane;
use crate::domain::agent::{AgentStatus, Health, WaitingFor};
use crate::domain::time::{Moment, age, coming, left};
use crate::services::snapshot::AgentRow;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Agents;
    let of = match (app.all_agents, app.run()) {
        (true, _) => format!("({}) of all runs", app.agents.len()),
        (false, Some(run)) => format!("({}) {} {}", app.agents.len(), app.theme.dot(), run.run_id),
        (false, None) => String::new(),
    };
    let inner = pane::frame(home::title(app, Pane::Agents, "Agents", &of), focused, app.theme, area, buffer);
    if app.agents.is_empty() {
        return pane::empty(
            "The agents of the selected run come here; . shows those of all runs.",
            app.theme,
            inner,
            buffer,
        );
    }
    let width = usize::from(inner.width.saturating_sub(3));
    app.agents.draw(
        inner,
        buffer,
        app.theme,
        focused,
        |place| app.is_marked(Pane::Agents, place),
        |place| row(app, &app.snapshot.agents[place], width),
    );
}

fn row(app: &App, agent: &AgentRow, width: usize) -> Line<'static> {
    let (theme, now) = (app.theme, app.time.now);
    let (word, mark) = state(agent, now);
    let needs = app.digest.needs;
    let called = (needs.agent.min(20), 4);
    let ([wide, name, mut spent, mut output, mut progress, mut place], mut spare) =
        share(width.saturating_sub(2), [(11, 8), called, (needs.restarts, 4), (8, 8), (9, 9), (needs.workspace, 7)]);
    // Where ages have no room for what is counted down in their place, that has a column before the others.
    if needs.soon > 0 && (output == 0 || progress == 0) {
        let columns = [(11, 8), called, (needs.soon, needs.soon), (needs.restarts, 4), (needs.workspace, 7)];
        let given = share(width.saturating_sub(2), columns);
        ([_, _, output, spent, place], spare) = given;
        progress = 0;
    }
    let soon = soon(app, agent).map(|soon| soon.words()).unwrap_or_default();
    // Where there is no room for both, that somebody has it in hand says more: the sign tells the rest.
    let word = if agent.held.is_some() && output == 0 { "held".to_owned() } else { word };
    let restarts =
        if agent.restarts.1 > 0 { format!("{}/{}", agent.restarts.0, agent.restarts.1) } else { String::new() };
    let used_up = agent.restarts.1 > 0 && agent.restarts.0 >= agent.restarts.1;
    let quiet =
        |what: &str, at: Option<Moment>| at.map(|at| format!("{what} {}", age(now.since(at)))).unwrap_or_default();
    let row = Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .left(&agent.key.name, name, super::bold_if(mark == Mark::Waits || mark == Mark::Dead, theme.plain()))
        .left(&agent.key.workspace, place, theme.dim())
        .left(&word, wide, theme.tone(mark));
    // What comes next says more than how old what was is.
    let row = if soon.is_empty() {
        row.left(&quiet("out", agent.last_output_at), output, theme.dim()).left(
            &quiet("prog", agent.last_progress_at),
            progress,
            theme.dim(),
        )
    } else {
        row.left(&soon, output + usize::from(progress > 0) + progress, theme.plain())
    };
    row.text(&" ".repeat(spare), theme.plain())
        .right(&restarts, spent, if used_up { theme.warn() } else { theme.dim() })
        .line()
}

/// What is going to happen with an agent, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soon {
    /// Nothing by rule: somebody has it in hand.
    Held(String),
    /// A rule starts it again.
    Restart(Duration),
    /// A rule offers to.
    Offer(Duration),
    /// No rule starts it again before then.
    Cooldown(Duration),
    /// It has announced that nothing will be heard of it.
    Quiet(Duration),
}

impl Soon {
    /// In words that fit a row.
    pub fn words(self) -> String {
        match self {
            Self::Held(by) => format!("held by {by}"),
            Self::Restart(span) => format!("restart {}", coming(span)),
            Self::Offer(span) => format!("offer {}", coming(span)),
            Self::Cooldown(span) => format!("cooldown {}", left(span)),
            Self::Quiet(span) => format!("quiet {} more", left(span)),
        }
    }
}

/// What is going to happen with an agent, if that is known.
pub fn soon(app: &App, agent: &AgentRow) -> Option<Soon> {
    let now = app.time.now;
    let ahead = |at: Option<Moment>| at.filter(|at| *at > now).map(|at| at.since(now));
    let down = matches!(agent.status, AgentStatus::Dead | AgentStatus::Failed);
    if let Some(held) = &agent.held {
        return Some(Soon::Held(held.by.clone()));
    }
    // Where nobody supervises, no rule does anything: nothing is promised.
    match agent.restart_at.filter(|_| app.snapshot.facts.supervisor.is_some()) {
        Some(at) if app.rules_restart() => return Some(Soon::Restart(at.since(now))),
        Some(at) => return Some(Soon::Offer(at.since(now))),
        None => {}
    }
    let cooldown = ahead(agent.cooldown_until).filter(|_| down && agent.restarts.0 < agent.restarts.1);
    cooldown.map(Soon::Cooldown).or_else(|| ahead(agent.quiet_until).map(Soon::Quiet))
}

/// An agent's state in words and a sign.
pub fn state(agent: &AgentRow, now: Moment) -> (String, Mark) {
    if agent.starting {
        return ("starting".to_owned(), Mark::Starting);
    }
    let mark = mark(agent.status, agent.waiting_for);
    let exit = agent.exit.as_deref().map(|exit| format!(" {exit}")).unwrap_or_default();
    match (agent.status, agent.waiting_for) {
        (AgentStatus::Dead | AgentStatus::Failed, _) => (format!("{}{exit}", agent.status), mark),
        (status, WaitingFor::Guidance) if status.working() => ("asks you".to_owned(), mark),
        (status, _) if status.working() && agent.health_at(now) == Health::Unknown => {
            ("unknown".to_owned(), Mark::Idle)
        }
        (status, WaitingFor::Input) if status.working() => ("wants a key".to_owned(), mark),
        (status, WaitingFor::Limit) if status.working() => ("at a limit".to_owned(), mark),
        (status, _) => (status.word().to_owned(), mark),
    }
}

/// The sign of an agent that stands so and waits for this.
pub const fn mark(status: AgentStatus, waiting_for: WaitingFor) -> Mark {
    match waiting_for {
        WaitingFor::Guidance | WaitingFor::Input if status.working() => Mark::Waits,
        WaitingFor::Limit if status.working() => Mark::Stalled,
        WaitingFor::None | WaitingFor::Guidance | WaitingFor::Input | WaitingFor::Limit => Mark::of_agent(status),
    }
}

/// Since when an agent is as it is.
pub fn since(agent: &AgentRow, now: Moment) -> String {
    ago(now, Some(agent.since))
}

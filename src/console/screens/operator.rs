//! The operator's page: who decides, what the rules concluded, what restarts are left, what was given up.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::ago;
use crate::console::app::App;
use crate::console::app::operator::{Counts, Entry, entry_at, mode_words};
use crate::console::theme::{Mark, Theme};
use crate::console::widgets::cells::{Row, share};
use crate::console::widgets::pane;
use crate::domain::operator::Action;
use crate::domain::policy::OperatorMode;
use crate::domain::time::{age, coming, left};
use crate::services::snapshot::{BudgetRow, LetterRow, OperatorPage, RuleRow, Trouble};
use crate::services::text::{cut, one_line, wrap};
use crate::services::words::cost;

/// The column of names at the left.
const NAME: usize = 9;
/// Longer lines are hard to read.
const WIDEST: usize = 132;
/// From this height on everything above the rows is told in full.
const ROOMY: u16 = 26;

/// Draws the page.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let mode = match app.told_mode() {
        Some(told) => told.word(),
        None => app.snapshot.facts.operator.as_str(),
    };
    let title = Row::new().text(" Operator ", theme.strong()).text(&format!("{} {mode} ", theme.dot()), theme.dim());
    let title = match app.narrowed() {
        Some(filter) => title.text(&format!("/{filter} "), theme.accent()),
        None => title,
    };
    let inner = pane::frame(title, true, theme, area, buffer);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(page) = &app.snapshot.operator else {
        return pane::empty(&theme.under_way("looking at what the rules concluded"), theme, inner, buffer);
    };
    let width = usize::from(inner.width);
    let parts = parts(app, page, inner);
    if app.operator.list.is_empty() {
        let lines: Vec<&Line<'_>> = parts.iter().flat_map(|(_, lines)| lines).collect();
        let first = app.scroll.first(lines.len(), usize::from(inner.height));
        for (y, line) in (inner.y..inner.bottom()).zip(lines.into_iter().skip(first)) {
            buffer.set_line(inner.x, y, line, inner.width);
        }
        return;
    }
    let needs = Needs::of(app, page);
    app.operator.list.draw_parted(&parts, inner, buffer, theme, |place| match entry_at(page, place) {
        Some(Entry::Rule(row)) => rule(app, row, &needs, width.saturating_sub(2)),
        Some(Entry::Letter(row)) => letter(app, row, &needs, width.saturating_sub(2)),
        Some(Entry::Budget(row)) => budget(app, row, &needs, width.saturating_sub(2)),
        None => Line::default(),
    });
}

/// Why the selected row is as it is, in full.
pub fn why(entry: Entry<'_>) -> String {
    match entry {
        Entry::Rule(row) => row.reason.clone(),
        Entry::Letter(row) => format!("letter {}: {}", row.id, row.error),
        Entry::Budget(row) => {
            format!("{} of {}: {} of {} restarts used", row.key.name, row.key.run_id, row.used, row.budget)
        }
    }
}

/// What stands between the rows: the numbers first, then a heading for each kind, and what fills it where it is empty.
fn parts(app: &App, page: &OperatorPage, area: Rect) -> Vec<(usize, Vec<Line<'static>>)> {
    let (theme, whole) = (app.theme, Counts::of(page));
    let (shown, width) = (shown(app, whole), usize::from(area.width));
    let mut lines = summary(app, page, area);
    let mut parts = Vec::new();
    let mut at = 0;
    let calm = match app.snapshot.facts.supervisor {
        Some(_) => "Nothing is to be decided. What is dead, silent, asked or overdue comes here.",
        None => "Nothing was decided. Whoever supervises evaluates the rules.",
    };
    for (heading, count, of, empty) in [
        ("Rules", shown.standing, whole.standing, calm),
        ("Dead letters", shown.letters, whole.letters, ""),
        ("Restarts used", shown.budgets, whole.budgets, ""),
        ("Passed", shown.passed, whole.passed, ""),
    ] {
        if of == 0 && empty.is_empty() {
            continue;
        }
        let number = match (of, count == of) {
            (0, _) => String::new(),
            (_, true) => format!(" {of}"),
            (_, false) => format!(" {count} of {of}"),
        };
        lines.push(Line::default());
        lines.push(Row::new().text(heading, theme.accent()).text(&number, theme.dim()).line());
        if of == 0 {
            let texts = wrap(empty, width.saturating_sub(2)).into_iter();
            lines.extend(texts.map(|text| Row::new().text(&format!("  {text}"), theme.dim()).line()));
        }
        parts.push((at, std::mem::take(&mut lines)));
        at += count;
    }
    parts
}

/// How many rows of each kind are left by the filter.
fn shown(app: &App, whole: Counts) -> Counts {
    if app.narrowed().is_none() {
        return whole;
    }
    let places = |from: usize, count: usize| app.operator.list.among(from..from + count);
    let (letters, budgets) = (whole.standing, whole.standing + whole.letters);
    Counts {
        standing: places(0, whole.standing),
        letters: places(letters, whole.letters),
        budgets: places(budgets, whole.budgets),
        passed: places(budgets + whole.budgets, whole.passed),
    }
}

/// What is said of one thing, line by line, each in its style.
type Told = Vec<(String, Style)>;

/// The numbers above the rows.
fn summary(app: &App, page: &OperatorPage, area: Rect) -> Vec<Line<'static>> {
    let (theme, width) = (app.theme, usize::from(area.width));
    let mut lines = Vec::new();
    for (name, told) in [
        ("mode", mode(app)),
        ("lease", lease(app)),
        ("adviser", adviser(app, page)),
        ("outbox", post(app, page)),
        ("so far", vec![(offers(page), theme.plain())]),
    ] {
        for (at, (words, style)) in told.iter().enumerate() {
            // Where there is little room the rows below are to have it: what comes second is cut, not wrapped.
            let cut_off = at > 0 && area.height < ROOMY;
            let room = width.min(WIDEST).saturating_sub(NAME + 1).max(10);
            let words = if cut_off { cut(&one_line(words), room) } else { words.clone() };
            beside(if at == 0 { name } else { "" }, &words, *style, room, theme, &mut lines);
        }
    }
    lines
}

/// A name, and words that are wrapped beside it.
fn beside(name: &str, words: &str, style: Style, room: usize, theme: Theme, lines: &mut Vec<Line<'static>>) {
    for (at, text) in wrap(&one_line(words), room).iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        lines.push(Row::new().left(name, NAME, theme.dim()).text(text, style).line());
    }
}

fn mode(app: &App) -> Told {
    let (theme, facts) = (app.theme, &app.snapshot.facts);
    let meaning = |word: &str| {
        let modes = [OperatorMode::Off, OperatorMode::Assist, OperatorMode::Auto];
        let mode = modes.into_iter().find(|mode| mode.word() == word);
        mode.map_or_else(String::new, |mode| format!("{word}: {}", mode_words(mode)))
    };
    let mut told = match app.told_mode() {
        None => vec![(meaning(&facts.operator), theme.plain())],
        Some(mode) => vec![
            (meaning(mode.word()), theme.plain()),
            (
                format!("so by --operator while this process supervises; the policy says {}", facts.operator),
                theme.warn(),
            ),
        ],
    };
    if facts.troubles.iter().any(|trouble| matches!(trouble, Trouble::Policy(_))) {
        let words = "the policy file does not hold: what it last said is in force, and M cannot write it";
        told.push((words.to_owned(), theme.bad()));
    }
    told
}

/// Who has the right to act, and what is so while nobody has it.
fn lease(app: &App) -> Told {
    let (theme, facts, now) = (app.theme, &app.snapshot.facts, app.time.now);
    let hangs = facts.troubles.iter().find_map(|trouble| match trouble {
        Trouble::Hangs(pid, since) => Some((*pid, *since)),
        _ => None,
    });
    let one = match (&facts.supervisor, hangs) {
        (_, Some((pid, since))) => {
            let silent = age(now.since(since));
            (format!("process {pid} has it and has not responded for {silent}: nothing is done"), theme.bad())
        }
        (Some(holder), None) if holder.ours => (format!("ours, since {}", ago(now, Some(holder.since))), theme.plain()),
        (Some(holder), None) => {
            let since = ago(now, Some(holder.since));
            (format!("process {}, since {since}; this console observes", holder.pid), theme.plain())
        }
        (None, None) if app.settling() => (theme.under_way("asking for it"), theme.dim()),
        (None, None) => {
            let words = "nobody: nothing is observed, restarted or delivered, and nobody is called";
            (words.to_owned(), theme.warn())
        }
    };
    vec![one]
}

fn adviser(app: &App, page: &OperatorPage) -> Told {
    let (theme, now) = (app.theme, app.time.now);
    let Some(adviser) = &page.adviser else { return vec![("it was not asked yet".to_owned(), theme.dim())] };
    let mut told = vec![(cost(&adviser.tally), theme.plain())];
    if let Some(asked) = adviser.asked_at {
        told.push((format!("asked {} ago, no answer yet", ago(now, Some(asked))), theme.plain()));
    }
    if let Some((at, words)) = &adviser.last {
        told.push((format!("{} ago it {words}", ago(now, Some(*at))), theme.dim()));
    }
    if adviser.failures > 1 {
        told.push((format!("it has failed {} times in a row", adviser.failures), theme.warn()));
    }
    told
}

fn post(app: &App, page: &OperatorPage) -> Told {
    let (theme, now, post) = (app.theme, app.time.now, &page.post);
    let counts =
        [(post.pending, "pending"), (post.processing, "processing"), (post.failed, "failed"), (post.dead, "dead")];
    let counts = counts.map(|(count, word)| format!("{count} {word}")).join(", ");
    let oldest = post.oldest_at.map(|at| format!("; oldest {}", ago(now, Some(at)))).unwrap_or_default();
    // What was given up is called out by its rows.
    let words = format!("{counts}{oldest}; {} done; bus local", post.processed);
    let mut told = vec![(words, theme.plain())];
    if let Some((error, at)) = &post.last_error {
        let (cleared, style) = match post.cleared_at {
            Some(cleared) => (format!("came through again {} ago", ago(now, Some(cleared))), theme.dim()),
            None if post.errors > 1 => (format!("{} errors in a row", post.errors), theme.warn()),
            None => ("nothing has come through since".to_owned(), theme.warn()),
        };
        told.push((format!("last error {} ago, {cleared}: {error}", ago(now, Some(*at))), style));
    }
    told
}

/// What was suggested and what became of it, and whether anything ever did.
fn offers(page: &OperatorPage) -> String {
    let offers = &page.offers;
    let made = offers.made();
    if made == 0 {
        return "nothing was suggested".to_owned();
    }
    let ends = [
        (offers.accepted, "accepted"),
        (offers.dismissed, "dismissed"),
        (offers.withdrawn, "withdrawn"),
        (offers.open, "open"),
    ];
    let ends: Vec<String> =
        ends.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
    let times = if made == 1 { "once".to_owned() } else { format!("{made} times") };
    let never = if offers.accepted == 0 { format!("; decided {times}, acted 0") } else { String::new() };
    format!("suggested {times}: {}{never}", ends.join(", "))
}

/// The widest of what stands in a column.
struct Needs {
    subject: usize,
    intent: usize,
    outcome: usize,
    due: usize,
    errand: usize,
    key: usize,
    agent: usize,
    id: usize,
}

impl Needs {
    fn of(app: &App, page: &OperatorPage) -> Self {
        let most = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or_default();
        Self {
            subject: most(&mut page.rules.iter().map(|row| about(&row.subject, row.ticket.as_deref()).width())).min(32),
            intent: most(&mut page.rules.iter().map(|row| row.intent.word().len())),
            outcome: most(&mut page.rules.iter().map(|row| row.outcome.width())),
            due: most(&mut page.rules.iter().map(|row| due(app, row).width())),
            errand: most(&mut page.letters.iter().map(|row| row.errand.width())).min(40),
            key: most(&mut page.letters.iter().map(|row| row.about.width())).min(24),
            agent: most(&mut page.budgets.iter().map(|row| about(&row.key.name, Some(&row.ticket)).width())).min(32),
            id: most(&mut page.letters.iter().map(|row| row.id.to_string().len())),
        }
    }
}

fn about(subject: &str, ticket: Option<&str>) -> String {
    match ticket {
        Some(ticket) => format!("{subject}, {ticket}"),
        None => subject.to_owned(),
    }
}

/// When it is acted on, or a human is called again; where nobody supervises, neither happens.
fn due(app: &App, row: &RuleRow) -> String {
    let stands = row.stands && app.snapshot.facts.supervisor.is_some();
    match (row.due_at.filter(|_| stands).map(|due| due.since(app.time.now)), row.action) {
        (None, _) => String::new(),
        (Some(span), Action::Escalate) if !span.is_zero() => format!("again {}", left(span)),
        (Some(span), _) => coming(span),
    }
}

fn rule(app: &App, row: &RuleRow, needs: &Needs, width: usize) -> Line<'static> {
    let (theme, now) = (app.theme, app.time.now);
    let mark = match (row.action, row.calls) {
        (_, true) => Mark::Waits,
        (Action::Nothing, false) => Mark::Starting,
        (_, false) => Mark::Done,
    };
    let (plain, tone, word) = match (row.stands, row.calls) {
        (false, _) => (theme.dim(), theme.dim(), theme.dim()),
        (true, true) => (theme.plain(), theme.tone(mark), theme.tone(mark)),
        (true, false) => (theme.plain(), theme.tone(mark), theme.dim()),
    };
    let intent = row.intent.word();
    let ([subject, wants, outcome, since, wide, reason], spare) = share(
        width.saturating_sub(5),
        [
            (needs.subject, 8),
            (needs.intent, 12),
            (needs.outcome, needs.outcome),
            (4, 4),
            (needs.due, needs.due),
            (200, 12),
        ],
    );
    let (subject, reason) = if reason > 0 { (subject, reason + spare) } else { (subject + spare, 0) };
    Row::new()
        .left(theme.sign(mark), 1, tone)
        .right(&row.rule.to_string(), 2, theme.dim())
        .left(&about(&row.subject, row.ticket.as_deref()), subject, plain)
        .left(intent, wants, theme.dim())
        .left(&row.outcome, outcome, word)
        .left(&row.reason, reason, if row.stands { theme.plain() } else { theme.dim() })
        .right(&due(app, row), wide, if row.action == Action::Nothing { theme.plain() } else { theme.dim() })
        .right(&ago(now, Some(row.at)), since, theme.dim())
        .line()
}

fn letter(app: &App, row: &LetterRow, needs: &Needs, width: usize) -> Line<'static> {
    let (theme, now) = (app.theme, app.time.now);
    let tries = format!("{} tries", row.attempts);
    let ([errand, key, since, tried, error], spare) = share(
        width.saturating_sub(needs.id + 3),
        [(needs.errand, 12), (needs.key, needs.key.min(8)), (4, 4), (tries.width().max(8), 8), (200, 12)],
    );
    let (errand, error) = if error > 0 { (errand, error + spare) } else { (errand + spare, 0) };
    Row::new()
        .left(theme.sign(Mark::Dead), 1, theme.bad())
        .right(&row.id.to_string(), needs.id, theme.dim())
        .left(&row.errand, errand, theme.plain())
        .left(&row.about, key, theme.dim())
        .left(&row.error, error, theme.plain())
        .right(&tries, tried, theme.dim())
        .right(&ago(now, Some(row.created_at)), since, theme.dim())
        .line()
}

fn budget(app: &App, row: &BudgetRow, needs: &Needs, width: usize) -> Line<'static> {
    let (theme, now) = (app.theme, app.time.now);
    let mark = Mark::of_agent(row.status);
    let spent = row.used >= row.budget;
    let cool = match row.cooldown_until.filter(|until| *until > now) {
        _ if spent => "none left".to_owned(),
        Some(over) => format!("next {}", coming(over.since(now))),
        None => "next at once".to_owned(),
    };
    let reset = match row.reset_at {
        Some(at) if at <= now => "due to be reset".to_owned(),
        Some(at) => format!("forgotten {}", coming(at.since(now))),
        None => String::new(),
    };
    let ([agent, used, cooling, reset_wide], spare) =
        share(width.saturating_sub(2), [(needs.agent, 8), (5, 5), (12, 9), (16, 12)]);
    let (agent, reset_wide) = if reset_wide > 0 { (agent, reset_wide + spare) } else { (agent + spare, 0) };
    Row::new()
        .left(theme.sign(mark), 1, theme.tone(mark))
        .left(&about(&row.key.name, Some(&row.ticket)), agent, theme.plain())
        .right(&format!("{}/{}", row.used, row.budget), used, if spent { theme.bad() } else { theme.plain() })
        .left(&cool, cooling, if spent { theme.bad() } else { theme.plain() })
        .left(&reset, reset_wide, theme.dim())
        .line()
}

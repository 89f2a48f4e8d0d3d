//! The screen of the selected agent.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{agents, home};
use crate::console::action::{Action, Pane};
use crate::console::app::App;
use crate::console::theme::Mark;
use crate::console::widgets::cells::Row;
use crate::console::widgets::pane;
use crate::services::snapshot::AgentRow;

/// Draws the pane.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Pane::Live;
    let agent = app.agent();
    let screen = app.screen.as_ref().filter(|(key, ..)| agent.is_some_and(|agent| agent.key == *key));
    let of = match (agent, screen) {
        (Some(agent), Some((_, _, kept))) => {
            let what = if *kept || !agent.may_live { "last screen" } else { "screen" };
            let state = agents::state(agent, app.time.now).0;
            let since = agents::since(agent, app.time.now);
            let dot = app.theme.dot();
            format!("{dot} {} {dot} {what} {dot} {state} {since}", agent.key.name)
        }
        (Some(agent), None) => format!("{} {}", app.theme.dot(), agent.key.name),
        (None, _) => String::new(),
    };
    let waits = agent.and_then(|agent| waiting(app, agent));
    let of = waits.map_or(of.clone(), |words| format!("{of} {} {words}", app.theme.dot()));
    let inner = pane::frame(home::title(app, Pane::Live, "Live", &of), focused, app.theme, area, buffer);
    match (agent, screen) {
        (None, _) => pane::empty("The screen of the selected agent comes here.", app.theme, inner, buffer),
        (Some(agent), _) if agent.launch == 0 => {
            pane::empty("It has not been started yet.", app.theme, inner, buffer);
        }
        (Some(_), None) => pane::empty(&app.theme.under_way("looking"), app.theme, inner, buffer),
        (Some(agent), Some((_, screen, _))) => {
            let inner = ending(app, agent, inner, buffer);
            let first = app.live_scroll.first(screen.rows(), usize::from(inner.height));
            let place = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
            screen.draw(first, app.theme, place, buffer);
        }
    }
}

/// Texts that are on their way into its session.
fn waiting(app: &App, agent: &AgentRow) -> Option<String> {
    let open = app.snapshot.deliveries.iter().filter(|row| row.key == agent.key && row.state.open()).count();
    match open {
        0 => None,
        1 => Some("a text waits".to_owned()),
        count => Some(format!("{count} texts wait")),
    }
}

/// How an ended program ended, below its last screen; what room is left above.
fn ending(app: &App, agent: &AgentRow, inner: Rect, buffer: &mut Buffer) -> Rect {
    let Some(exit) = agent.exit.as_deref().filter(|_| !agent.may_live && inner.height > 2) else { return inner };
    let how = match exit {
        "?" => "The program is gone, how it ended is not known".to_owned(),
        status if status.bytes().all(|byte| byte.is_ascii_digit()) => format!("The program ended with status {status}"),
        signal => format!("The program was ended by SIG{signal}"),
    };
    let (mark, words) = if exit == "0" {
        (Mark::Done, how)
    } else {
        (Mark::Dead, format!("{how}; {} starts it again", super::key(Action::Restart, app.theme)))
    };
    let above = Rect { height: inner.height - 1, ..inner };
    let row = Row::new().text(&format!(" {} ", app.theme.sign(mark)), app.theme.tone(mark));
    row.text(&words, app.theme.dim()).draw(Rect { y: above.bottom(), height: 1, ..inner }, buffer);
    above
}

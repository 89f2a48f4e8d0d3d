//! The screen of the selected agent.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{agents, home};
use crate::console::action::Pane;
use crate::console::app::App;
use crate::console::widgets::pane;

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
    let inner = pane::frame(home::title(app, Pane::Live, "Live", &of), focused, app.theme, area, buffer);
    match (agent, screen) {
        (None, _) => pane::empty("The screen of the selected agent comes here.", app.theme, inner, buffer),
        (Some(agent), _) if agent.launch == 0 => {
            pane::empty("It has not been started yet.", app.theme, inner, buffer);
        }
        (Some(_), None) => pane::empty("looking…", app.theme, inner, buffer),
        (Some(_), Some((_, screen, _))) => {
            let first = app.live_scroll.first(screen.rows(), usize::from(inner.height));
            let place = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
            screen.draw(first, app.theme, place, buffer);
        }
    }
}

//! The report in words, alike on every face.

use crate::domain::operator::Intent;
use crate::domain::report::{Advices, Deeds, Restarted};
use crate::domain::time::age;

/// How often an agent was started again, and how.
pub fn ways(one: &Restarted) -> String {
    let ways = [
        (one.by_rule, "by rule"),
        (one.accepted, "as suggested"),
        (one.free, "with the tmux server"),
        (one.by_human, "by hand"),
        (one.anew, "anew with feedback"),
    ];
    let ways: Vec<String> =
        ways.iter().filter(|(times, _)| *times > 0).map(|(times, how)| format!("{times}× {how}")).collect();
    ways.join(", ")
}

/// What the operator did and would have done, a line each.
pub fn deeds(deeds: &Deeds) -> Vec<String> {
    let mut lines = Vec::new();
    for (intent, count) in &deeds.acted {
        lines.push(format!("{} {}", did(*intent), times(*count)));
    }
    for (intent, offers) in &deeds.suggested {
        let open = offers.made - offers.accepted - offers.dismissed - offers.withdrawn;
        let ends = [
            (offers.accepted, "accepted"),
            (offers.dismissed, "dismissed"),
            (offers.withdrawn, "withdrawn"),
            (open, "open"),
        ];
        let ends: Vec<String> =
            ends.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        lines.push(format!("would have {} {} ({})", did(*intent), times(offers.made), ends.join(", ")));
    }
    if deeds.called + deeds.called_again > 0 {
        let again = if deeds.called_again > 0 { format!(" and {} again", deeds.called_again) } else { String::new() };
        let (eased, settled) = (deeds.eased, deeds.settled);
        lines.push(format!(
            "called a human {}{again}; {eased} ended by themselves, {settled} by a human",
            times(deeds.called)
        ));
    }
    lines.extend(advised(&deeds.adviser));
    if lines.is_empty() {
        lines.push("did nothing, and would have done nothing".to_owned());
    }
    lines
}

/// What was asked of the adviser, and what came of it.
fn advised(adviser: &Advices) -> Option<String> {
    if adviser.asked + adviser.agreed + adviser.called + adviser.rejected == 0 {
        return None;
    }
    let ends = [
        (adviser.agreed, "agreed with the rules"),
        (adviser.called, "called a human"),
        (adviser.rejected, "of no use"),
    ];
    let ends: Vec<String> =
        ends.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
    let ends = if ends.is_empty() { "no answer yet".to_owned() } else { ends.join(", ") };
    let took = age(std::time::Duration::from_millis(adviser.duration_ms));
    Some(format!("asked the adviser {}: {ends}; it ran for {took}", times(adviser.asked)))
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn did(intent: Intent) -> &'static str {
    match intent {
        Intent::AutoRestart => "restarted an agent",
        Intent::AutoStopStale => "stopped a run",
        Intent::CommitReady => "committed what was left",
        Intent::PrReady => "handed on a pull request",
        Intent::ReviewFeedbackReady => "started agents again with a review",
        Intent::ResetRestarts => "forgot the restarts of an agent",
        Intent::EscalateGuidance
        | Intent::EscalateInput
        | Intent::EscalateBlocked
        | Intent::EscalateSla
        | Intent::EscalateFailed => "called a human",
    }
}

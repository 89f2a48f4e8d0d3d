//! What the adviser said of a run, what came of it, and what it has cost.

use serde_json::{Value, json};

use super::{Line, Tone, ago, line, not};
use crate::domain::adviser::{Aim, LastAdvised, Outcome};
use crate::domain::time::Moment;
use crate::services::error::EngineError;
use crate::services::view::View;
use crate::services::words::{advice_words, cost};

/// An account of the adviser for people, and the same for programs.
pub(super) fn of_run(view: &View<'_>, run_id: &str) -> Result<(Vec<Line>, Value), EngineError> {
    let Some(kept) = view.reader.adviser(run_id)? else { return Ok((Vec::new(), Value::Null)) };
    let mut lines = Vec::new();
    if let Some(asked) = kept.open() {
        lines.push(line("asked", format!("{}, no answer yet", ago(view.now, Some(asked.at)))));
    }
    if let Some(advised) = &kept.advised {
        lines.push(said(view.now, advised));
    }
    lines.push(not("so far", cost(&kept.tally)));
    Ok((lines, json!(kept)))
}

/// What was said last about what a decision is about, where that was after it.
pub(super) fn of_decision(
    view: &View<'_>,
    run_id: Option<&str>,
    target: &str,
    decided: Moment,
) -> Result<(Vec<Line>, Value), EngineError> {
    let kept = run_id.map(|run_id| view.reader.adviser(run_id)).transpose()?.flatten();
    let about = |advised: &LastAdvised| {
        advised.at >= decided && advised.advice.as_ref().is_some_and(|advice| advice.target == target)
    };
    let Some(advised) = kept.and_then(|kept| kept.advised).filter(about) else { return Ok((Vec::new(), Value::Null)) };
    Ok((vec![said(view.now, &advised)], json!(advised)))
}

fn said(now: Moment, advised: &LastAdvised) -> Line {
    let words = advice_words(advised.outcome, advised.advice.as_ref(), advised.rejection.as_ref());
    let rule = match advised.rule {
        Some(Aim::Rule(intent)) if advised.outcome == Outcome::Rejected => format!(" (the rule: {})", intent.word()),
        Some(_) | None => String::new(),
    };
    let tone = if advised.outcome == Outcome::Rejected { Tone::Plain } else { Tone::Fits };
    Line { tone, ..line(ago(now, Some(advised.at)), format!("{words}{rule}")) }
}

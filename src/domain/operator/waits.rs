//! Rules 1 and 6 of spec 2.7: a human is called to what waits for one, in a run or outside of every run.

use super::rules::Found;
use super::{
    Conclusion, Intent, Kind, Measure, Moment, Priority, Question, Subject, Waiting, age, json, question_target,
};
use crate::domain::thread::Thread;

/// What the rules conclude about the questions and the threads that wait, those of the questions among them.
pub fn calls(questions: &[Question], waiting: &[Waiting], measure: &Measure, now: Moment) -> Vec<Conclusion> {
    let mut found: Vec<Conclusion> = questions.iter().filter_map(|question| asked(question, measure, now)).collect();
    // Rule 1 has the lower number: what it calls to is not called to again for its waiting.
    let called = |waiting: &&Waiting| {
        let thread = Some(&waiting.question.thread_id);
        !found.iter().any(|found| found.about.thread_id.as_ref() == thread)
    };
    let overdue: Vec<Conclusion> =
        waiting.iter().filter(called).filter_map(|waiting| overdue(waiting, measure, now)).collect();
    found.extend(overdue);
    found
}

/// From when on a thread has waited too long: at once where it presses, and where it has waited since before the clock
/// was set back, nobody knows how long.
fn due(priority: Priority, since: Moment, measure: &Measure, now: Moment) -> Moment {
    match since.is_of_another_clock(now) {
        true => measure.even_since.min(now),
        false if priority.presses() => since,
        false => since.plus(measure.call_again),
    }
}

/// Whether a thread waits for a human, but not too long yet, or not any more: its priority fell, or more time was
/// allowed.
pub fn in_time(thread: &Thread, measure: &Measure, now: Moment) -> bool {
    thread.waits_for_human() && now < due(thread.priority, thread.waits_since(), measure, now)
}

fn about(question: &Question) -> Subject {
    Subject {
        run_id: question.run_id.clone(),
        ticket: question.ticket.clone(),
        workspace: question.workspace.clone(),
        agent_name: question.agent.clone(),
        thread_id: Some(question.thread_id.clone()),
    }
}

fn waits_since(since: Moment) -> String {
    format!("waits since {since}")
}

/// Rule 1.
fn asked(question: &Question, measure: &Measure, now: Moment) -> Option<Conclusion> {
    let found = Found {
        about: about(question),
        target: question_target(&question.thread_id, question.post_id.as_deref()),
        cause: waits_since(question.since),
        reason: question.text.clone(),
        evidence: json!({ "signal": "question", "source": "forum", "since": question.since, "post_id": question.post_id }),
        considered: Vec::new(),
    };
    found.call(Intent::EscalateGuidance, Kind::Guidance, measure, now)
}

/// Rule 6: at once where it presses, else when its time is over; and once more after each such time.
fn overdue(waiting: &Waiting, measure: &Measure, now: Moment) -> Option<Conclusion> {
    let (question, period) = (&waiting.question, measure.call_again);
    let due = due(waiting.priority, question.since, measure, now);
    if period.is_zero() || now < due {
        return None;
    }
    let times = u32::try_from(now.since(due).as_millis() / period.as_millis()).unwrap_or(u32::MAX);
    let repeated = due.plus(period.saturating_mul(times));
    let reason = match times {
        0 => question.text.clone(),
        _ => format!("{} (still waits after {})", question.text, age(repeated.since(question.since.min(due)))),
    };
    let found = Found {
        about: about(question),
        target: question_target(&question.thread_id, None),
        cause: waits_since(question.since),
        reason,
        evidence: json!({
            "signal": "question",
            "source": "forum",
            "since": question.since,
            "priority": waiting.priority,
            "due_at": due,
        }),
        considered: Vec::new(),
    };
    let mut conclusion = found.call(Intent::EscalateSla, Kind::Sla, measure, now)?;
    // That it is said again is due then: by this one time of waiting is told from the next.
    conclusion.decision.due_at = Some(repeated.plus(period));
    Some(conclusion)
}

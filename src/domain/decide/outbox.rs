//! Letters of the outbox that are given up, tried again, or not wanted any more.

use serde_json::json;

use super::escalation;
use super::operator::{Call, call_human};
use super::shortened;
use crate::domain::command::OutboxWish;
use crate::domain::escalation::Kind;
use crate::domain::event::{Draft, Fact};
use crate::domain::outbox::{Letter, LetterStatus, calls, dead_letter_about};
use crate::domain::refusal::Refusal;
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

pub(super) fn decide(
    scene: &Scene,
    id: i64,
    wish: &OutboxWish,
    due_at: Option<Moment>,
    new_id: &str,
) -> Result<Vec<Draft>, Refusal> {
    let letter = scene.letters.get(&id).ok_or_else(|| {
        Refusal::not_found(format!("the outbox has no letter {id}")).hint("metawsm outbox list shows them")
    })?;
    let (topic, key) = (letter.topic.clone(), letter.key.clone());
    match wish {
        OutboxWish::GiveUp { attempts, error } => {
            // Another worker may have it by now.
            if letter.status != LetterStatus::Processing || letter.attempts != *attempts {
                return Ok(Vec::new());
            }
            Ok(give_up(scene, letter, &shortened(error), due_at, new_id))
        }
        OutboxWish::Retry => {
            waits_for_human(letter, "tried again")?;
            let fact = Draft::new(letter.subject(), Fact::OutboxRetried { id, topic, key });
            Ok([fact].into_iter().chain(ended_call(scene, letter)).collect())
        }
        OutboxWish::Drop => {
            waits_for_human(letter, "dropped")?;
            let fact = Fact::OutboxDropped { id, topic, key, payload: letter.payload.clone() };
            Ok([Draft::new(letter.subject(), fact)].into_iter().chain(ended_call(scene, letter)).collect())
        }
        OutboxWish::Done => Ok(ended_calls(scene, letter)),
    }
}

fn give_up(scene: &Scene, letter: &Letter, error: &str, due_at: Option<Moment>, new_id: &str) -> Vec<Draft> {
    let (target, about) = dead_letter_about(letter);
    // Calls that reach nobody are one trouble for as long as it lasts.
    let standing = scene.escalations.iter().find(|call| {
        call.kind == Kind::DeadLetter && call.target == target && call.run_id == about.run_id && call.stands()
    });
    let cause = standing.map_or_else(|| format!("letter {}, {}", letter.id, letter.due_at), |call| call.cause.clone());
    let fact = Fact::OutboxDead {
        id: letter.id,
        topic: letter.topic.clone(),
        key: letter.key.clone(),
        attempts: letter.attempts,
        error: error.to_owned(),
    };
    let call = Call {
        about: &about,
        kind: Kind::DeadLetter,
        target: &target,
        cause: &cause,
        reason: &format!(
            "{} for {} was given up after {} attempts: {error}",
            letter.topic, letter.key, letter.attempts
        ),
        evidence: json!({ "signal": "dead_letter", "source": "outbox", "outbox_id": letter.id, "topic": letter.topic, "error": error }),
        due_at,
    };
    let called = call_human(scene, call, new_id);
    [Draft::new(letter.subject(), fact)].into_iter().chain(called).collect()
}

/// A worker that has it is not interfered with, and what is done is done.
fn waits_for_human(letter: &Letter, what: &str) -> Result<(), Refusal> {
    match letter.status {
        LetterStatus::Pending | LetterStatus::Dead => Ok(()),
        LetterStatus::Processing | LetterStatus::Sent | LetterStatus::Dropped => Err(Refusal::illegal(
            format!("letter {} is {}: it cannot be {what}", letter.id, letter.status.word()),
            letter.status.word(),
            letter.next_commands().to_vec(),
        )
        .hint("metawsm outbox list shows where each stands")),
    }
}

/// The end of the call that this letter's being dead was, where it is about no others.
fn ended_call(scene: &Scene, letter: &Letter) -> Vec<Draft> {
    if calls(&letter.topic) { Vec::new() } else { ended_calls(scene, letter) }
}

/// The end of what stands about a letter and all that share its trouble.
fn ended_calls(scene: &Scene, letter: &Letter) -> Vec<Draft> {
    let (target, about) = dead_letter_about(letter);
    let standing = scene.escalations.iter().filter(|found| {
        found.kind == Kind::DeadLetter && found.target == target && found.run_id == about.run_id && found.stands()
    });
    standing.map(escalation::ended).collect()
}

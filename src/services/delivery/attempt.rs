//! One text on its way into one session: look, write down that it is going to be typed, and type it; or complete what
//! somebody else began who was killed (spec 7 "Sending text").
//!
//! What was written down is never typed again, whatever happens after.

use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::super::engine::{Caller, Engine};
use super::super::error::EngineError;
use super::super::tmux::typing::{Looked, Mark};
use super::keys::{Came, Typing};
use super::order;
use super::place::Place;
use super::tty::Tty;
use crate::domain::actor::ActorType;
use crate::domain::agent::AgentKey;
use crate::domain::command::DeliveryWish;
use crate::domain::delivery::place::{Earlier, ends_of};
use crate::domain::delivery::screen::Shows;
use crate::domain::delivery::{Delivery, DeliveryState, Hold, Seen, may_type, too_long_for_cooked, typed_text};

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to be done for this delivery here.
    Settled,
    /// It could not begin yet.
    NotYet,
}

/// A place in an attempt, for drills that end a process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// It is written down that it is going to be typed.
    Recorded,
    /// It was pasted.
    Pasted,
    /// The key was pressed.
    Pressed,
    /// It was seen to go; that is not written down yet.
    Seen,
}

/// Says whether to go on from a point.
pub type Drill<'a> = &'a dyn Fn(Point) -> bool;

/// No drill: every point is passed.
pub fn no_drill(_point: Point) -> bool {
    true
}

/// Types one delivery if its moment has come.
///
/// # Errors
/// When store, policy or tmux cannot be used.
pub fn attempt(
    engine: &Engine,
    caller: &Caller,
    delivery: &Delivery,
    ending: &AtomicBool,
    drill: Drill<'_>,
) -> Result<Ended, EngineError> {
    let Some(place) = Place::of(engine, &delivery.key)? else { return Ok(Ended::NotYet) };
    let Some(before) = place.look()? else { return Ok(Ended::NotYet) };
    if before.in_mode && before.attached == 0 {
        // A mode that somebody left behind; where somebody is attached they may be reading, and it waits for them.
        place.tmux.leave_mode(place.session())?;
        return Ok(Ended::NotYet);
    }
    let seen = seen(engine, &place, &before)?;
    let Ok(cue) = may_type(delivery.from.author_type, delivery.urgent, &seen) else { return Ok(Ended::NotYet) };
    let Some(text) = text_of(engine, &place, delivery)? else {
        return fail(engine, caller, delivery, "its words are gone".to_owned());
    };
    let tty = Tty::open(&before.tty);
    let long = too_long_for_cooked(&text).filter(|_| tty.as_ref().is_some_and(Tty::cooked));
    if let Some(length) = long {
        return fail(engine, caller, delivery, format!("its terminal would cut off a line of {length} bytes"));
    }
    let evidence = json!({ "signal": cue.word(), "source": "screen", "quiet_seconds": seen.quiet.as_secs() });
    let typed = DeliveryWish::Typed { launch: place.agent.launch, evidence };
    match order(engine, caller, &delivery.delivery_id, typed) {
        // The agent took it by itself, or was just ended.
        Err(error) if error.refusal().is_some() => return Ok(Ended::NotYet),
        recorded => recorded?,
    }
    let earlier = Earlier::on(&before.screen, &text);
    let still = |looked: &Looked| match self::seen(engine, &place, looked) {
        Ok(seen) => may_type(delivery.from.author_type, delivery.urgent, &seen).err(),
        Err(_) => None,
    };
    let typing = Typing::new(&place, delivery.queued_seq, text, tty, (before, earlier), ending, drill);
    settle(engine, caller, delivery, typing.paste_and_submit(&still), drill)
}

/// Completes the submission of a text that somebody typed who did not get to press the key: it stands in the composer,
/// just as it was typed, and its pane says that the key was never pressed. Any other is left to a human.
///
/// # Errors
/// When store, policy or tmux cannot be used.
pub fn resume(
    engine: &Engine,
    caller: &Caller,
    delivery: &Delivery,
    ending: &AtomicBool,
    drill: Drill<'_>,
) -> Result<Ended, EngineError> {
    let Some(place) = Place::of(engine, &delivery.key)? else { return Ok(Ended::NotYet) };
    let untouched = Mark { launch: place.agent.launch, seq: delivery.queued_seq, presses: 0 };
    if delivery.launch != Some(place.agent.launch) || !place.patterns.know_composer() {
        return Ok(Ended::NotYet);
    }
    let Some(looked) = place.look()?.filter(|looked| looked.mark == Some(untouched)) else { return Ok(Ended::NotYet) };
    let Some(text) = text_of(engine, &place, delivery)? else { return Ok(Ended::NotYet) };
    let seen = Seen { typed_before: false, ..seen(engine, &place, &looked)? };
    // Any reason but the words that stand there: somebody may just be reading or changing them.
    let calm = match may_type(ActorType::Human, false, &seen) {
        Ok(_) => place.runner.home_column.is_none(),
        Err(hold) => hold == Hold::Draft,
    };
    let end = ends_of(&looked.screen, &text).first().copied();
    let column = usize::from(looked.cursor.column);
    let stands = end.filter(|end| end.before_cursor(&text, column, looked.rows_below()));
    let tty = Tty::open(&looked.tty);
    let (Some(end), true) = (stands.filter(|_| calm), tty.as_ref().is_some_and(Tty::all_read)) else {
        return Ok(Ended::NotYet);
    };
    let earlier = Earlier::beside_the_lowest(&looked.screen, &text);
    let typing = Typing::new(&place, delivery.queued_seq, text, tty, (looked, earlier), ending, drill);
    settle(engine, caller, delivery, typing.submit_only(end.below), drill)
}

fn settle(
    engine: &Engine,
    caller: &Caller,
    delivery: &Delivery,
    came: Came,
    drill: Drill<'_>,
) -> Result<Ended, EngineError> {
    match came {
        Came::Taken(evidence) => {
            if drill(Point::Seen) {
                order(engine, caller, &delivery.delivery_id, DeliveryWish::Submitted { evidence })?;
            }
            Ok(Ended::Settled)
        }
        Came::NotTyped(why) => fail(engine, caller, delivery, format!("nothing was typed: {why}")),
        Came::Unknown => Ok(Ended::Settled),
    }
}

/// What keeps text of this author from being typed just now.
///
/// # Errors
/// [`EngineError::Refused`] where there is no session.
pub fn in_the_way(engine: &Engine, key: &AgentKey, from: ActorType, urgent: bool) -> Result<Option<Hold>, EngineError> {
    let none =
        || EngineError::refused(format!("agent {} has no live session", key.name), "metawsm restart starts it again");
    let place = Place::of(engine, key)?.ok_or_else(none)?;
    let looked = place.look()?.ok_or_else(none)?;
    Ok(may_type(from, urgent, &seen(engine, &place, &looked)?).err())
}

fn fail(engine: &Engine, caller: &Caller, delivery: &Delivery, reason: String) -> Result<Ended, EngineError> {
    order(engine, caller, &delivery.delivery_id, DeliveryWish::Failed { reason })?;
    Ok(Ended::Settled)
}

fn text_of(engine: &Engine, place: &Place<'_>, delivery: &Delivery) -> Result<Option<String>, EngineError> {
    let words = match (&delivery.text, &delivery.post_id) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(post_id)) => engine.reader()?.post(post_id)?.map(|post| post.body),
        (None, None) => None,
    };
    Ok(words.map(|words| typed_text(delivery, &words, &place.agent.spec.runner)))
}

fn seen(engine: &Engine, place: &Place<'_>, looked: &Looked) -> Result<Seen, EngineError> {
    let now = engine.now();
    let shows = place.shows(looked);
    let typed_before = matches!(shows, Shows::Draft | Shows::Ready) && typed_before(engine, place, looked)?;
    Ok(Seen {
        shows,
        knows_composer: place.patterns.know_composer(),
        scrolling: looked.in_mode && looked.attached > 0,
        keys: looked.keys_at.map(|at| Seen::quiet_since(now, at)),
        quiet: Seen::quiet_since(now, looked.activity),
        typed_before,
    })
}

/// Whether what stands in the composer is a text that was typed into this launch and not seen to be taken.
fn typed_before(engine: &Engine, place: &Place<'_>, looked: &Looked) -> Result<bool, EngineError> {
    let open = engine.reader()?.open_deliveries()?;
    let here = |delivery: &&Delivery| {
        delivery.key == place.agent.key
            && delivery.state == DeliveryState::Typed
            && delivery.launch == Some(place.agent.launch)
    };
    for delivery in open.iter().filter(here) {
        let Some(text) = text_of(engine, place, delivery)? else { continue };
        let near = ends_of(&looked.screen, &text).first().is_some_and(|end| end.near_cursor(looked.rows_below()));
        if near {
            return Ok(true);
        }
    }
    Ok(false)
}

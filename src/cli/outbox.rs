//! `outbox`: side effects that wait, failed or were given up, and what is said to them.

use serde_json::{Value, json};

use super::args::{LetterWord, OutboxCommand};
use super::exit::Failure;
use super::print::{Style, Table, one_line};
use super::reply::Reply;
use super::session::Session;
use crate::domain::command::OutboxWish;
use crate::domain::time::Moment;
use crate::services::{outbox, view};
use crate::store::outbox::{LetterFilter, OutboxHealth};

pub fn run(session: &Session, command: &OutboxCommand) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    match command {
        OutboxCommand::List { status, limit, cursor } => list(session, *status, *limit, cursor.as_deref()),
        OutboxCommand::Retry { id } => settle(session, *id, OutboxWish::Retry),
        OutboxCommand::Drop { id, yes } => {
            // Whether it is there at all is said before anything is asked.
            let (_, reader) = session.reader()?;
            if let Some(letter) = reader.letter(*id)? {
                session.confirm(*yes, &format!("leave undone letter {id}: {} for {}", letter.topic, letter.key))?;
            }
            settle(session, *id, OutboxWish::Drop)
        }
    }
}

fn list(session: &Session, status: Option<LetterWord>, limit: usize, cursor: Option<&str>) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let filter = status.map(|word| match word {
        LetterWord::Pending => LetterFilter::Pending,
        LetterWord::Processing => LetterFilter::Processing,
        LetterWord::Failed => LetterFilter::Failed,
        LetterWord::Sent => LetterFilter::Sent,
        LetterWord::Dead => LetterFilter::Dead,
    });
    let page = reader.letters(filter, cursor, limit)?;
    let letters: Vec<Value> = page.letters.iter().map(view::letter).collect();
    let health = view::outbox_health(&reader.outbox_health()?, session.now());
    let mut text = if letters.is_empty() && filter.is_some() {
        "No such letter. `metawsm outbox list` shows every one.\n".to_owned()
    } else if letters.is_empty() {
        "The outbox is empty. What follows from events outside metawsm waits here until it is carried out.\n".to_owned()
    } else {
        table(session, &letters)
    };
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("more: --cursor {cursor}\n"));
    }
    Ok(Reply::new(json!({ "outbox": letters, "next_cursor": page.next_cursor, "health": health }), text))
}

/// How the outbox fares, by the words of `--status`.
pub fn in_words(health: &OutboxHealth, style: &Style) -> String {
    let counts = [
        (health.pending, "pending"),
        (health.processing, "processing"),
        (health.failed, "failed"),
        (health.dead, "dead"),
    ];
    let parts: Vec<String> =
        counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    match health.oldest_pending_at {
        _ if parts.is_empty() => "nothing waits".to_owned(),
        Some(_) => format!("{}; oldest {}", parts.join(", "), style.time(health.oldest_pending_at)),
        None => parts.join(", "),
    }
}

fn table(session: &Session, letters: &[Value]) -> String {
    let style = session.style();
    let mut table = Table::new(&["ID", "STATUS", "ATTEMPTS", "WRITTEN", "TOPIC", "FOR", "SAID"]);
    for letter in letters {
        let word = |key: &str| one_line(letter[key].as_str().unwrap_or_default());
        let written = letter["created_at"].as_str().and_then(Moment::parse);
        let said = if letter["status"] == "sent" { word("note") } else { word("last_error") };
        table.row(vec![
            letter["id"].to_string(),
            word("status"),
            letter["attempts"].to_string(),
            style.time(written),
            word("topic"),
            word("key"),
            said,
        ]);
    }
    table.render(&style)
}

fn settle(session: &Session, id: i64, wish: OutboxWish) -> Result<Reply, Failure> {
    let engine = session.engine()?;
    outbox::settle(&engine, &session.caller(), id, wish)?;
    let (_, reader) = session.reader()?;
    let letter = reader.letter(id)?.as_ref().map(view::letter);
    let text = match &letter {
        Some(letter) => format!("letter {id} is {}\n", one_line(letter["status"].as_str().unwrap_or_default())),
        None => format!("letter {id} is dropped\n"),
    };
    let shown = letter.unwrap_or_else(|| json!({ "id": id, "status": "dropped" }));
    Ok(Reply::new(json!({ "letter": shown, "seq": reader.last_seq()? }), text))
}

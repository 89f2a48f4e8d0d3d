//! `outbox`: side effects that wait, failed or were given up, and what is said to them.

use serde_json::{Value, json};

use super::args::{LetterWord, OutboxCommand};
use super::exit::Failure;
use super::print::{Table, one_line};
use super::reply::Reply;
use super::session::Session;
use crate::domain::command::OutboxWish;
use crate::domain::time::Moment;
use crate::services::{outbox, view};
use crate::store::outbox::LetterFilter;

/// So many letters are listed at most.
const MOST: usize = 100;

pub fn run(session: &Session, command: &OutboxCommand) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    match command {
        OutboxCommand::List { status } => list(session, *status),
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

fn list(session: &Session, status: Option<LetterWord>) -> Result<Reply, Failure> {
    let (_, reader) = session.reader()?;
    let filter = status.map(|word| match word {
        LetterWord::Pending => LetterFilter::Pending,
        LetterWord::Processing => LetterFilter::Processing,
        LetterWord::Failed => LetterFilter::Failed,
        LetterWord::Sent => LetterFilter::Sent,
        LetterWord::Dead => LetterFilter::Dead,
    });
    let letters: Vec<Value> = reader.letters(filter, MOST)?.iter().map(view::letter).collect();
    let health = view::outbox_health(&reader.outbox_health()?, session.now());
    let text = if letters.is_empty() {
        "The outbox is empty. What follows from events outside metawsm waits here until it is carried out.\n".to_owned()
    } else {
        table(session, &letters)
    };
    Ok(Reply::new(json!({ "outbox": letters, "next_cursor": null, "health": health }), text))
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

//! `metawsm --headless`: the engine without a screen. Events are lines on stdout, commands are lines on stdin.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Cli, Command, Forum};
use super::exit::{self, Failure};
use super::reply::Reply;
use super::session::Session;
use super::{events, one_shot, print, usage};
use crate::services::duty::Duty;
use crate::services::engine::Engine;
use crate::services::feed::Feed;
use crate::services::wake::Wake;
use crate::store::read::EventFilter;

/// The longest command line taken from stdin, in bytes: a post and its frame.
const LONGEST_LINE: usize = 8 * 1024 * 1024;

/// A command from stdin.
#[derive(Debug, Deserialize)]
struct Call {
    #[serde(default)]
    id: Value,
    argv: Vec<String>,
}

/// `--headless` without a command: this face takes the console's place until SIGINT or SIGTERM.
pub fn run(session: &Session) -> Result<Reply, Failure> {
    session.may_act_on_runs()?;
    let engine = session.engine_or_new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::FAILED, format!("the engine could not be started: {error}")))?;
    let reader = engine.home.reader()?;
    // Looked up before anything is done here: what this process writes itself is among what it shows.
    let since = reader.last_seq()?;
    let mut feed = Feed::new(reader, EventFilter::default(), since);
    let mut duty = Duty::begin(&engine);
    let status = runtime.block_on(serve(session, &engine, &mut feed));
    duty.end();
    // A read of stdin may be under way for ever; it is not waited for.
    runtime.shutdown_background();
    status.map(Reply::silent)
}

async fn serve(session: &Session, engine: &Arc<Engine>, feed: &mut Feed) -> Result<u8, Failure> {
    let failed = |error: std::io::Error| Failure::new(exit::FAILED, format!("signals cannot be taken: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut written = writes(engine);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut listening = true;
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel::<Value>();
    // Who reads no more needs nobody who shows: another metawsm takes the supervision over, if one is there.
    while show(feed)? {
        tokio::select! {
            _ = interrupt.recv() => return Ok(exit::INTERRUPTED),
            _ = terminate.recv() => return Ok(exit::DONE),
            Some(()) = written.recv() => {}
            Some(answer) = answered.recv() => {
                // What the command did comes before its answer.
                if !show(feed)? || !say(&answer)? {
                    break;
                }
            }
            line = lines.next_line(), if listening => match line {
                Ok(Some(line)) => take(session, engine, &line, &answers),
                // EOF changes nothing.
                Ok(None) | Err(_) => listening = false,
            },
        }
    }
    Ok(exit::DONE)
}

/// A channel that says when the database was written.
fn writes(engine: &Arc<Engine>) -> tokio::sync::mpsc::Receiver<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let db = engine.home.db.clone();
    std::thread::spawn(move || {
        let wake = Wake::on(&db);
        // A full channel means that a look is due anyway.
        while !sender.is_closed() {
            wake.wait(Duration::from_millis(250));
            let _ = sender.try_send(());
        }
    });
    receiver
}

/// Shows what is new; `false` when nobody reads any more.
fn show(feed: &mut Feed) -> Result<bool, Failure> {
    if print::reader_gone() {
        return Ok(false);
    }
    let gone = feed.drain(|news| {
        let read = events::tell(news, |event| event.to_json().to_string())?;
        Ok::<_, Failure>(if read { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(gone.is_none())
}

fn say(answer: &Value) -> Result<bool, Failure> {
    print::out(&format!("{answer}\n")).map_err(|error| Failure::new(exit::FAILED, error.to_string()))
}

/// Carries a command out beside the loop; its answer comes back as a line.
fn take(session: &Session, engine: &Arc<Engine>, line: &str, answers: &tokio::sync::mpsc::UnboundedSender<Value>) {
    if line.trim().is_empty() {
        return;
    }
    if line.len() > LONGEST_LINE {
        let _ = answers.send(answer(&Value::Null, &Failure::new(exit::USAGE, "the line is longer than 8 MiB")));
        return;
    }
    let call: Call = match serde_json::from_str(line) {
        Ok(call) => call,
        Err(error) => {
            let id = serde_json::from_str::<Value>(line).ok().and_then(|call| call.get("id").cloned());
            let failure = Failure::new(exit::USAGE, format!("the line is no command: {error}"))
                .hint(r#"write {"id":1,"argv":["runs"]}"#);
            let _ = answers.send(answer(&id.unwrap_or_default(), &failure));
            return;
        }
    };
    let session = Session { shared: Some(Arc::clone(engine)), ..session.clone() };
    let answers = answers.clone();
    let spawned = std::thread::Builder::new().name("command".to_owned()).spawn(move || {
        let value = match carry_out(&session, &call) {
            Ok(reply) => json!({ "id": call.id, "status": reply.status, "result": result(reply) }),
            Err(failure) => answer(&call.id, &failure),
        };
        let _ = answers.send(value);
    });
    drop(spawned);
}

fn result(reply: Reply) -> Value {
    if reply.json.is_null() { Value::String(reply.text) } else { reply.json }
}

fn answer(id: &Value, failure: &Failure) -> Value {
    json!({ "id": id, "status": failure.status, "result": failure.to_json() })
}

fn carry_out(session: &Session, call: &Call) -> Result<Reply, Failure> {
    let argv: Vec<OsString> =
        std::iter::once("metawsm").chain(call.argv.iter().map(String::as_str)).map(Into::into).collect();
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        // Help and version are what was asked for.
        Err(error) if !error.use_stderr() => return Ok(Reply::text(error.render().to_string())),
        Err(error) => return Err(usage::failure(&error, &argv)),
    };
    let streams = || Failure::new(exit::USAGE, "streams and attach are not taken here").hint("call them on their own");
    let session = Session {
        global: super::args::Global {
            json: true,
            name: cli.global.name.clone().or_else(|| session.global.name.clone()),
            ..session.global.clone()
        },
        ..session.clone()
    };
    match cli.command {
        None
        | Some(
            Command::Events(_) | Command::Watch(_) | Command::Attach(_) | Command::Demo { .. } | Command::Agent(_),
        ) => Err(streams()),
        Some(Command::Forum(Forum::Watch(_))) => Err(streams()),
        Some(Command::Logs(args)) if args.follow => Err(streams()),
        Some(command) => one_shot(&session, command),
    }
}

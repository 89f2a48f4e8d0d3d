//! `metawsm --headless`: the engine without a screen. Events are lines on stdout, commands are lines on stdin.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

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
use crate::domain::policy::OperatorMode;
use crate::services::behind;
use crate::services::duty::Duty;
use crate::services::engine::Engine;
use crate::services::feed::Feed;
use crate::services::operator::Conduct;
use crate::services::wake::Wake;
use crate::store::read::EventFilter;

/// The longest command line taken from stdin, in bytes: a post and its frame.
const LONGEST_LINE: usize = 8 * 1024 * 1024;

/// Who ends when nothing is left to watch looks so often whether that is so.
const IDLE_EVERY: Duration = Duration::from_secs(2);

/// What this process was told on its command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Face {
    /// Who decides, where not the policy says so.
    pub mode: Option<OperatorMode>,
    /// It ends when nothing is left to watch.
    pub until_idle: bool,
}

/// A command from stdin.
#[derive(Debug, Deserialize)]
struct Call {
    #[serde(default)]
    id: Value,
    argv: Vec<String>,
}

/// `--headless` without a command: this face takes the console's place until SIGINT or SIGTERM.
pub fn run(session: &Session, face: Face) -> Result<Reply, Failure> {
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
    let conduct = Conduct { mode: face.mode, behind: face.until_idle, ..Conduct::default() };
    let mut duty = Duty::begin_as(&engine, conduct);
    let status = runtime.block_on(serve(session, &engine, &mut feed, face.until_idle));
    duty.end();
    if face.until_idle {
        behind::end_with_keeper(&engine);
    }
    // A read of stdin may be under way for ever; it is not waited for.
    runtime.shutdown_background();
    status.map(Reply::silent)
}

async fn serve(session: &Session, engine: &Arc<Engine>, feed: &mut Feed, until_idle: bool) -> Result<u8, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(exit::FAILED, format!("the engine could not be started: {error}"));
    print::leave_on(&[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    // The terminal of a window that goes is no reason to leave agents alone: a handler, so that no child inherits it.
    let mut hung_up = until_idle.then(|| signal(SignalKind::hangup())).transpose().map_err(failed)?;
    let mut written = writes(engine);
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let hands = Hands::new(session, engine).map_err(failed)?;
    let (mut listening, mut asked) = (true, Instant::now());
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
    // Who reads no more needs nobody who shows: another metawsm takes the supervision over, if one is there.
    while show(feed)? {
        tokio::select! {
            _ = interrupt.recv() => return Ok(exit::INTERRUPTED),
            _ = terminate.recv() => return Ok(exit::DONE),
            _ = async { if let Some(hung_up) = &mut hung_up { hung_up.recv().await } else { std::future::pending().await } } => {}
            Some(()) = written.recv() => {
                if until_idle && asked.elapsed() >= IDLE_EVERY {
                    asked = Instant::now();
                    // What cannot be read now is read the next time.
                    if engine.reader().is_ok_and(|reader| behind::is_idle(&reader).unwrap_or(false)) {
                        break;
                    }
                }
            }
            Some(answer) = answered.recv() => {
                // What the command did comes before its answer.
                if !show(feed)? || !say(&answer)? {
                    break;
                }
            }
            line = lines.next_segment(), if listening => match line {
                Ok(Some(line)) => hands.take(&line, &answers),
                // EOF changes nothing.
                Ok(None) | Err(_) => listening = false,
            },
        }
    }
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(exit::INTERRUPTED),
        () = std::future::ready(()) => Ok(exit::DONE),
    }
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
        let read = events::tell(news, |event| print::json(&event.to_json()))?;
        Ok::<_, Failure>(if read { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(gone.is_none())
}

fn say(answer: &Value) -> Result<bool, Failure> {
    print::out(&format!("{}\n", print::json(answer))).map_err(|error| Failure::new(exit::FAILED, error.to_string()))
}

/// Where the answers go.
type Answers = tokio::sync::mpsc::UnboundedSender<Value>;

/// Carries commands out beside the loop: each begins when the one before has ended, but that nobody waits for those that
/// take their time.
struct Hands(Sender<(Call, Answers)>);

impl Hands {
    fn new(session: &Session, engine: &Arc<Engine>) -> std::io::Result<Self> {
        let session = Session { shared: Some(Arc::clone(engine)), ..session.clone() };
        let (queue, calls) = channel::<(Call, Answers)>();
        let work = move || {
            for (call, answers) in calls {
                let session = session.clone();
                let long = takes_its_time(&call);
                let work = move || {
                    let _ = answers.send(answer_to(&session, &call));
                };
                if long {
                    drop(std::thread::Builder::new().name("command".to_owned()).spawn(work));
                } else {
                    work();
                }
            }
        };
        std::thread::Builder::new().name("commands".to_owned()).spawn(work)?;
        Ok(Self(queue))
    }

    /// Takes a line; its answer comes as one.
    fn take(&self, line: &[u8], answers: &Answers) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match read(line) {
            Ok(call) => drop(self.0.send((call, answers.clone()))),
            Err((id, failure)) => drop(answers.send(answer(&id, &failure))),
        }
    }
}

fn answer_to(session: &Session, call: &Call) -> Value {
    match carry_out(session, call) {
        Ok(reply) => json!({ "id": call.id, "status": reply.status, "result": result(reply) }),
        Err(failure) => answer(&call.id, &failure),
    }
}

/// The command of a line, or to whom to say why it is none.
fn read(line: &[u8]) -> Result<Call, (Value, Failure)> {
    if line.len() > LONGEST_LINE {
        return Err((Value::Null, Failure::new(exit::USAGE, "the line is longer than 8 MiB")));
    }
    serde_json::from_slice(line).map_err(|error| {
        let id = serde_json::from_slice::<Value>(line).ok().and_then(|call| call.get("id").cloned());
        let failure = Failure::new(exit::USAGE, format!("the line is no command: {error}"))
            .hint(r#"write {"id":1,"argv":["runs"]}"#);
        (id.unwrap_or_default(), failure)
    })
}

/// Whether a command waits for something, or for the end of what it starts.
fn takes_its_time(call: &Call) -> bool {
    const LONG: [&str; 14] = [
        "wait",
        "run",
        "bootstrap",
        "resume",
        "restart",
        "stop",
        "close",
        "merge",
        "cleanup",
        "doctor",
        "--wait",
        "commit",
        "pr",
        "accept",
    ];
    call.argv.iter().any(|word| LONG.contains(&word.as_str()))
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

//! Finds the conversation that an agent's program began, among all that the program keeps: in the files it writes or in
//! the list it gives. The launcher looks while the agent lives, in the agent's own environment; whoever starts the
//! agent again looks once more where nothing was found by then.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::EngineError;
use super::home::write_private;
use super::process::exec::Exec;
use crate::domain::conversation::{
    Candidate, Continuation, Conversation, id_of_file, listed, names_directory, of_launch, own,
};
use crate::domain::prompt::begins;
use crate::domain::runner::Runner;

/// How long a program may take to list its conversations: some need long to start on a busy machine.
const LIST_PATIENCE: Duration = Duration::from_secs(45);
/// How deep below its place a program keeps conversations.
const DEEPEST: usize = 4;
/// How many files are looked at in one search.
const MOST_FILES: usize = 200_000;
/// The prompt is looked for in this many bytes from the beginning of a conversation.
const HEAD: u64 = 2 * 1024 * 1024;

/// The environment of a program.
pub type Environment = BTreeMap<String, String>;

/// What is looked for, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// The runner's `conversation_files`.
    pub files: Vec<String>,
    /// The runner's `conversation_list`.
    pub list: Vec<String>,
    /// The runner's `conversation_show`.
    pub show: Vec<String>,
    /// The agent's working directory.
    pub directory: PathBuf,
    /// Words of its prompt that are in no other agent's; one of them is enough.
    pub marks: Vec<String>,
    /// The id that was chosen for it, where one was.
    pub chosen: Option<String>,
    /// Where it is kept.
    pub keep: PathBuf,
}

/// What a launch begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Talk {
    /// The id for its command: known or just chosen.
    pub session_id: Option<String>,
    /// What becomes of the conversation of the launch before, where there was one.
    pub continuation: Option<Continuation>,
    /// What is to be looked for while it lives.
    pub search: Option<Search>,
}

impl Talk {
    /// That of a launch after those of these spans, the newest first.
    ///
    /// # Errors
    /// When what is known cannot be kept.
    pub fn of(
        search: Search,
        (name, runner): (&str, &Runner),
        spans: &[Span],
        environment: &Environment,
        fresh: impl FnOnce() -> String,
    ) -> Result<Self, EngineError> {
        let kept = kept(&search.keep);
        let sought = Search { chosen: kept.as_ref().map(|kept| kept.id.clone()), ..search };
        let because = if spans.is_empty() {
            None
        } else {
            let before = match &kept {
                _ if runner.resume.is_none() => Outcome::Unable(format!("{name} cannot go on with one")),
                Some(kept) if kept.begun => Outcome::Found(kept.id.clone()),
                Some(_) | None => sought.look_back(name, spans, environment),
            };
            match before {
                Outcome::Found(id) => {
                    keep(&sought.keep, &Conversation { id: id.clone(), begun: true })?;
                    let goes_on = Continuation::GoesOn { id: id.clone(), prompted: runner.resume_takes_prompt() };
                    return Ok(Self { session_id: Some(id), continuation: Some(goes_on), search: None });
                }
                Outcome::None => Some(format!("{name} had begun none before")),
                Outcome::Unable(why) => Some(why),
            }
        };
        // A command of the profile's own has no conversation that could be lost.
        let continuation = because.filter(|_| !runner.start.is_empty()).map(|because| Continuation::Anew { because });
        let mut session_id = None;
        if runner.chooses_session_id() {
            let unused = kept.filter(|_| spans.is_empty()).map(|kept| kept.id);
            let id = unused.unwrap_or_else(fresh);
            keep(&sought.keep, &Conversation { id: id.clone(), begun: false })?;
            session_id = Some(id);
        }
        let search = Search { chosen: session_id.clone(), ..sought };
        Ok(Self { session_id, continuation, search: Some(search).filter(Search::possible) })
    }
}

/// When a launch took place, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// When it began.
    pub began_ms: i64,
    /// When it ended, where it has.
    pub ended_ms: Option<i64>,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This one it is.
    Found(String),
    /// There is none.
    None,
    /// It could not be looked for, in words.
    Unable(String),
}

impl Search {
    /// That for the conversations of a runner. The marks are words of the prompt; conversations hold them as JSON.
    pub fn new(runner: &Runner, directory: &Path, marks: &[&str], keep: &Path) -> Self {
        let escaped = |mark: &&str| Value::from(*mark).to_string().trim_matches('"').to_owned();
        Self {
            files: runner.conversation_files.clone(),
            list: runner.conversation_list.clone(),
            show: runner.conversation_show.clone(),
            directory: directory.to_path_buf(),
            marks: marks.iter().map(escaped).collect(),
            chosen: None,
            keep: keep.to_path_buf(),
        }
    }

    /// Looks for what one of these launches began, the newest first.
    fn look_back(&self, name: &str, spans: &[Span], environment: &Environment) -> Outcome {
        if !self.possible() || !self.can_look(environment) {
            return match self.chosen.clone() {
                Some(id) => Outcome::Found(id),
                None => Outcome::Unable(format!("nobody knows which one {name} had before")),
            };
        }
        let mut outcome = Outcome::None;
        for span in spans {
            match self.look(*span, environment) {
                Outcome::None => {}
                Outcome::Unable(why) => outcome = Outcome::Unable(format!("the one before is not known: {why}")),
                found @ Outcome::Found(_) => return found,
            }
        }
        outcome
    }

    fn can_look(&self, environment: &Environment) -> bool {
        self.files.is_empty() || self.files.iter().any(|place| expand(place, environment).is_some())
    }

    /// Whether there is anything to look at.
    pub fn possible(&self) -> bool {
        !self.files.is_empty() || !self.list.is_empty()
    }

    /// Whether looking starts a program.
    pub fn costs(&self) -> bool {
        self.files.is_empty()
    }

    /// Looks once.
    pub fn look(&self, span: Span, environment: &Environment) -> Outcome {
        if self.files.is_empty() { self.in_list(span, environment) } else { self.in_files(span, environment) }
    }

    fn in_files(&self, span: Span, environment: &Environment) -> Outcome {
        let Some(place) = self.files.iter().find_map(|place| expand(place, environment)) else {
            return Outcome::Unable("nobody knows where its program keeps conversations".to_owned());
        };
        let mut files = Vec::new();
        if let Err(error) = walk(&place, 0, &mut files) {
            return match error.kind() {
                ErrorKind::NotFound => Outcome::None,
                _ => Outcome::Unable(format!("{} cannot be read: {error}", place.display())),
            };
        }
        let named = files.iter().filter_map(|path| Some((id_of_file(path.file_name()?.to_str()?)?.to_owned(), path)));
        if let Some(chosen) = &self.chosen {
            return if named.into_iter().any(|(id, _)| id == *chosen) {
                Outcome::Found(chosen.clone())
            } else {
                Outcome::None
            };
        }
        let paths: BTreeMap<String, &PathBuf> = named.collect();
        let all = paths
            .iter()
            .filter_map(|(id, path)| Some(Candidate { id: id.clone(), created_ms: created_ms(path)?, ours: None }));
        let mut candidates = of_launch(all.collect(), span.began_ms, span.ended_ms);
        for candidate in &mut candidates {
            candidate.ours = paths.get(&candidate.id).map(|path| self.holds_our_prompt(path));
        }
        outcome(&candidates)
    }

    fn holds_our_prompt(&self, path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        let mut lines = BufReader::new(file.take(HEAD)).lines().map_while(Result::ok);
        let about = lines.next().and_then(|line| serde_json::from_str::<Value>(&line).ok());
        about.is_some_and(|about| self.is_here(&about)) && lines.find_map(|line| self.is_ours(&line)) == Some(true)
    }

    fn is_here(&self, about: &Value) -> bool {
        let real = self.directory.canonicalize().ok();
        [Some(&self.directory), real.as_ref()].into_iter().flatten().any(|here| names_directory(about, here))
    }

    /// Whether it is our prompt that a text begins with; `None` where it holds nobody's. Further down it may quote the
    /// prompts of others: agents who work side by side read and write of each other.
    fn is_ours(&self, text: &str) -> Option<bool> {
        let ours = self.marks.iter().filter_map(|mark| text.find(mark.as_str())).min();
        match (ours, begins(text)) {
            (None, None) => None,
            (ours, any) => Some(ours.is_some_and(|ours| any.is_none_or(|any| ours <= any))),
        }
    }

    fn in_list(&self, span: Span, environment: &Environment) -> Outcome {
        let listing = match self.ask(&self.list, environment) {
            Ok(listing) => listing,
            Err(error) => return Outcome::Unable(error),
        };
        let here = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
        let mut candidates = of_launch(listed(&listing, &here), span.began_ms, span.ended_ms);
        if self.show.is_empty() {
            // Without a look into them one alone is the agent's, and of several none is.
            return match &candidates[..] {
                [] => Outcome::None,
                [only] => Outcome::Found(only.id.clone()),
                [..] => Outcome::Unable(format!("{} conversations began there at the same time", candidates.len())),
            };
        }
        for candidate in &mut candidates {
            let argv: Vec<String> = self.show.iter().map(|word| word.replace("{session_id}", &candidate.id)).collect();
            match self.ask(&argv, environment) {
                Ok(text) => candidate.ours = Some(self.is_ours(&text) == Some(true)),
                Err(error) => return Outcome::Unable(error),
            }
            if candidate.ours == Some(true) {
                break;
            }
        }
        outcome(&candidates)
    }

    fn ask(&self, argv: &[String], environment: &Environment) -> Result<String, String> {
        let [program, args @ ..] = argv else { return Err("no command lists its conversations".to_owned()) };
        let mut exec = Exec::new(program.clone()).args(args.iter().cloned()).cwd(&self.directory);
        for (name, value) in environment {
            exec = exec.env(name.clone(), value.clone());
        }
        let out = exec.timeout(LIST_PATIENCE).run().map_err(|error| error.to_string())?;
        // The launcher reaps every child of its own process, and may be quicker: then the status is not known.
        match out.ok() || (out.status.is_none() && out.signal.is_none()) {
            true => Ok(out.text()),
            false => Err(format!("{program} does not list its conversations: {}", out.complaint())),
        }
    }
}

fn outcome(candidates: &[Candidate]) -> Outcome {
    own(candidates).map_or(Outcome::None, |candidate| Outcome::Found(candidate.id.clone()))
}

/// `$NAME/rest`, where the variable is set, or a path as it stands.
fn expand(place: &str, environment: &Environment) -> Option<PathBuf> {
    let Some(rest) = place.strip_prefix('$') else { return Some(PathBuf::from(place)) };
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let value = environment.get(name).filter(|value| !value.is_empty())?;
    Some(Path::new(value).join(rest))
}

/// Every file below a directory. What goes away meanwhile is not there.
fn walk(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_file() && files.len() < MOST_FILES {
            files.push(entry.path());
        } else if kind.is_dir() && depth < DEEPEST {
            let _ = walk(&entry.path(), depth + 1, files);
        }
    }
    Ok(())
}

fn created_ms(path: &Path) -> Option<i64> {
    let meta = std::fs::metadata(path).ok()?;
    let at = meta.created().or_else(|_| meta.modified()).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(at.as_millis()).ok()
}

/// The conversation kept in a file, if one is.
pub fn kept(path: &Path) -> Option<Conversation> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Keeps it.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(path: &Path, conversation: &Conversation) -> Result<(), EngineError> {
    write_private(path, serde_json::to_string(conversation).unwrap_or_default().as_bytes())
}

/// A version 4 UUID out of 32 random hexadecimal digits.
pub fn uuid(one: &str, other: &str) -> String {
    let hex = format!("{one}{other}");
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

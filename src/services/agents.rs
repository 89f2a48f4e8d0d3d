//! Starts and ends one agent: its launch files, its tmux session, its processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::conversation::{Search, Span, Talk, uuid};
use super::engine::{Caller, Engine, Surroundings};
use super::error::EngineError;
use super::home::Home;
use super::home::{make_dir, write_private};
use super::launcher::{LaunchSpec, MARKER_ENV, Record, read_record};
use super::process::{EndReport, Processes, Tree, end_tree, kill, let_go_on};
use super::tmux::{Extent, NewSession, Tmux, TmuxError, without_note};
use super::{iterate, skills};
use crate::domain::agent::{Agent, Exit};
use crate::domain::command::AgentWish;
use crate::domain::conversation::Continuation;
use crate::domain::policy::{AgentProfile, EnvValue, Policy, ResolvedAgent};
use crate::domain::prompt::{PromptInputs, PromptMode, Skill, agent_prompt, who};
use crate::domain::run::{Run, RunMode};
use crate::domain::runner::{LaunchInputs, resume_argv, start_argv};
use crate::domain::time::Moment;

/// How long a launcher may take to write down that it began.
const RECORD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a launcher may take to write down an end that was commanded, with its own tries where it cannot.
const END_PATIENCE: Duration = Duration::from_secs(6);
/// The size of a session nobody looks at.
const WIDTH: u16 = 160;
/// Its height in lines.
const HEIGHT: u16 = 45;
/// What is typed to an agent whose program takes no prompt along when it goes on.
const GO_ON: &str = "You were started again, and this conversation goes on. Do what is left to do.";
/// The same where there is feedback on what it did.
const GO_ON_WITH: &str = "You were started again, and this conversation goes on. Do what is left to do of the feedback \
                          under the last time in the file";
/// Where it reads the rest.
const TOLD: &str = "What you were told is in the file";
/// The longest kept screen, in bytes; the tail counts.
const LONGEST_LOG: usize = 4 * 1024 * 1024;

/// The files of one launch.
#[derive(Debug, Clone)]
pub struct LaunchFiles {
    /// What to launch; removed once the record tells that it was read.
    pub spec: PathBuf,
    /// How it went.
    pub record: PathBuf,
    /// The prompt.
    pub prompt: PathBuf,
    /// The agent's conversation with its program, as far as it is known.
    pub conversation: PathBuf,
}

impl LaunchFiles {
    /// Those of launch `n` of `session`.
    pub fn new(engine: &Engine, session: &str, n: u32) -> Self {
        Self::at(&engine.home, session, n)
    }

    /// Those of launch `n` of `session` of a home.
    pub fn at(home: &Home, session: &str, n: u32) -> Self {
        let dir = home.session_dir(session);
        Self {
            spec: dir.join(format!("{n}.launch.json")),
            record: dir.join(format!("{n}.json")),
            prompt: dir.join("prompt.md"),
            conversation: dir.join("conversation"),
        }
    }
}

/// The end that a record tells, if it tells one.
pub fn exit_of(record: &Record, processes: &dyn Processes) -> Option<Exit> {
    let at = record.ended_at_ms?;
    Some(Exit {
        hung_up: record.hung_up,
        server_lost: record.server_lost(processes),
        status: record.exit_code,
        signal: record.exit_signal.clone(),
        error: record.error.clone(),
        at: Some(Moment::from_millis(at)),
        source: "launcher".to_owned(),
    })
}

/// Starts launch `n` of an agent, or finds that it was started already.
///
/// # Errors
/// [`EngineError::Interrupted`] when the run was stopped meanwhile (then nothing of the launch is left);
/// otherwise what kept the agent from starting.
pub fn start(
    engine: &Engine,
    caller: &Caller,
    run: &Run,
    agent: &Agent,
    n: u32,
    cancel: &AtomicBool,
) -> Result<(), EngineError> {
    let files = LaunchFiles::new(engine, &agent.spec.session, n);
    let policy = engine.policy_of(run.id())?;
    let tmux = engine.tmux(&policy)?;
    let begun = read_record(&files.record)?;
    if !begun.as_ref().is_some_and(|record| may_yet_tell(engine, record)) {
        if begun.is_some() {
            // Its launcher ended before it could say whether it had started anybody.
            end_launch(engine, agent, n, Duration::ZERO)?;
        }
        clear_session(engine, tmux, agent, n)?;
        launch(engine, tmux, &policy, run, agent, n, &files)?;
    }
    let record = await_record(&files.record, cancel);
    let record = match record {
        Ok(record) => record,
        Err(error) => {
            let left = end_launch(engine, agent, n, Duration::from_secs(1));
            if let Ok(Some(record)) = left {
                // Or it would start the agent some time later, when nobody reckons with it any more.
                kill(engine.processes.as_ref(), record.launcher());
            }
            return Err(error);
        }
    };
    // It may hold secrets, and it has served.
    let _ = std::fs::remove_file(&files.spec);
    if let Some(error) = &record.error {
        let _ = tmux.kill_session(&agent.spec.session);
        return Err(EngineError::outside(
            error.clone(),
            format!("check the command of profile {} in the policy", agent.spec.profile),
        ));
    }
    let wish = match &record.continuation {
        Some(continuation) => {
            let told = matches!(continuation, Continuation::GoesOn { prompted: false, .. });
            let feedback =
                run.workspace(&agent.key.workspace).and_then(|spec| feedback_file(agent, Path::new(&spec.path)));
            let text = || match feedback {
                Some(path) => format!("{GO_ON_WITH} {}. {TOLD} {}.", path.display(), files.prompt.display()),
                None => format!("{GO_ON} {TOLD} {}.", files.prompt.display()),
            };
            let tell = told.then(|| (engine.ledger.new_id("dlv"), text()));
            AgentWish::StartedAgain { launch: n, how: continuation.in_words(), tell }
        }
        None => AgentWish::Started { launch: n },
    };
    match engine.order_agent(caller, &agent.key, wish) {
        Ok(_) => Ok(()),
        Err(refused) => {
            let grace = grace(&policy);
            end_launch(engine, agent, n, grace)?;
            match refused.refusal() {
                Some(refusal) => Err(EngineError::Interrupted(refusal.message.clone())),
                None => Err(refused),
            }
        }
    }
}

/// Whether a record tells of a start, or its launcher may yet tell of one.
fn may_yet_tell(engine: &Engine, record: &Record) -> bool {
    let (pid, start) = record.launcher();
    record.agent_pid.is_some() || record.ended_at_ms.is_some() || engine.processes.alive(pid, start)
}

/// The time between TERM and KILL.
pub fn grace(policy: &Policy) -> Duration {
    Duration::from_secs(u64::from(policy.tmux.stop_grace_seconds))
}

fn launch(
    engine: &Engine,
    tmux: &Tmux,
    policy: &Policy,
    run: &Run,
    agent: &Agent,
    n: u32,
    files: &LaunchFiles,
) -> Result<(), EngineError> {
    make_dir(&engine.home.session_dir(&agent.spec.session))?;
    let spec = launch_spec(engine, policy, run, agent, n, files)?;
    let text = serde_json::to_vec(&spec).map_err(|error| {
        EngineError::refused(format!("the launch cannot be written down: {error}"), "this is a defect")
    })?;
    write_private(&files.spec, &text)?;
    let argv: Vec<OsString> = vec![
        engine.surroundings.program.clone().into(),
        "agent".into(),
        "exec".into(),
        "--spec".into(),
        files.spec.clone().into(),
    ];
    let new = NewSession {
        name: &agent.spec.session,
        cwd: &spec.cwd,
        argv: &argv,
        width: WIDTH,
        height: HEIGHT,
        env: &[],
        history_lines: policy.tmux.history_lines,
    };
    tmux.new_session(&new)?;
    Ok(())
}

fn launch_spec(
    engine: &Engine,
    policy: &Policy,
    run: &Run,
    agent: &Agent,
    n: u32,
    files: &LaunchFiles,
) -> Result<LaunchSpec, EngineError> {
    let workspace = run
        .workspace(&agent.key.workspace)
        .ok_or_else(|| EngineError::not_found(format!("no workspace {}", agent.key.workspace), "metawsm doctor"))?;
    let cwd = Path::new(&workspace.path).join(&run.spec.doc_home_repo);
    let resolved = resolved(policy, agent)?;
    let prompt = prompt(engine, run, agent, &resolved, policy, Path::new(&workspace.path))?;
    write_private(&files.prompt, prompt.as_bytes())?;
    let env = environment(engine, run, agent, &resolved)?;
    let talk = conversation(engine, agent, n, &resolved, &env, &cwd)?;
    let git_dirs = git_dirs(engine, run);
    let inputs = LaunchInputs {
        prompt: &prompt,
        prompt_file: &files.prompt.display().to_string(),
        metawsm_dir: &engine.home.inside().display().to_string(),
        git_dirs: &git_dirs,
        model: None,
        session_id: talk.session_id.as_deref(),
    };
    let resumed = match &talk.continuation {
        Some(Continuation::GoesOn { .. }) => resume_argv(&resolved.profile, &resolved.runner, &inputs),
        Some(Continuation::Anew { .. }) | None => None,
    };
    let argv = resumed.unwrap_or_else(|| start_argv(&resolved.profile, &resolved.runner, &inputs));
    if argv.is_empty() {
        return Err(EngineError::refused(
            format!("profile {} has no command", agent.spec.profile),
            "give it runner_options.command in the policy",
        ));
    }
    Ok(LaunchSpec {
        n,
        argv,
        cwd,
        env,
        env_remove: ["TMUX", "TMUX_PANE"].map(str::to_owned).to_vec(),
        marker: Some(marker(engine, agent, n)?),
        record: files.record.clone(),
        continuation: talk.continuation,
        search: talk.search,
    })
}

fn resolved(policy: &Policy, agent: &Agent) -> Result<ResolvedAgent, EngineError> {
    let gone = || {
        EngineError::not_found(
            format!("the run's policy has no profile {}", agent.spec.profile),
            "metawsm doctor --verify",
        )
    };
    let profile = policy.agent_profiles.iter().find(|profile| profile.name == agent.spec.profile).ok_or_else(gone)?;
    let runner = policy.runner(&profile.runner).ok_or_else(gone)?;
    Ok(ResolvedAgent {
        name: agent.key.name.clone(),
        profile: profile.clone(),
        runner_name: profile.runner.clone(),
        runner,
    })
}

fn prompt(
    engine: &Engine,
    run: &Run,
    agent: &Agent,
    resolved: &ResolvedAgent,
    policy: &Policy,
    workspace: &Path,
) -> Result<String, EngineError> {
    let mut found = Vec::new();
    for name in &resolved.profile.skills {
        let path = skills::find(&engine.home.root, engine.surroundings.user_home.as_deref(), name)?;
        found.push((name.clone(), path.display().to_string()));
    }
    let skills: Vec<Skill<'_>> = found.iter().map(|(name, path)| Skill { name, path }).collect();
    let brief = workspace.join("brief.md");
    let feedback = feedback_file(agent, workspace);
    let criteria = run.brief.as_ref().map(|brief| brief.done_criteria.clone()).unwrap_or_default();
    Ok(agent_prompt(&PromptInputs {
        agent: &agent.key.name,
        run_id: run.id(),
        ticket: &agent.spec.ticket,
        workspace: &agent.key.workspace,
        brief_path: &if brief.is_file() { brief.display().to_string() } else { String::new() },
        base_prompt: &resolved.profile.base_prompt,
        user_prompt: run.spec.prompt.as_deref().unwrap_or_default(),
        feedback_path: &feedback.map(|path| path.display().to_string()).unwrap_or_default(),
        skills: &skills,
        mode: match run.spec.mode {
            RunMode::Run => PromptMode::Run,
            RunMode::Bootstrap => PromptMode::Bootstrap { done_criteria: &criteria },
        },
        forum: policy.forum.enabled,
    }))
}

/// The feedback on what an agent has done, where it begins anew: another run may have left some in the same workspace.
fn feedback_file(agent: &Agent, workspace: &Path) -> Option<PathBuf> {
    Some(workspace.join(iterate::FILE)).filter(|path| agent.epoch > 1 && path.is_file())
}

/// The conversation of a launch: a second life goes on with that of the first, where it is known.
fn conversation(
    engine: &Engine,
    agent: &Agent,
    n: u32,
    resolved: &ResolvedAgent,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<Talk, EngineError> {
    let files = |n| LaunchFiles::new(engine, &agent.spec.session, n);
    let mut spans = Vec::new();
    for record in (1..n).rev().map(|n| read_record(&files(n).record)) {
        let begun = record?.filter(|record| record.agent_pid.is_some());
        spans.extend(begun.map(|record| Span { began_ms: record.started_at_ms, ended_ms: record.ended_at_ms }));
    }
    let (spec, key, prompt) = (&agent.spec, &agent.key, files(n).prompt);
    let identity = who(&key.name, &key.run_id, &spec.ticket, &key.workspace);
    let search =
        Search::new(&resolved.runner, cwd, &[&identity, &prompt.display().to_string()], &files(n).conversation);
    let mut environment = engine.surroundings.variables.clone();
    environment.extend(env.clone());
    let fresh = || uuid(&engine.ledger.new_hex(), &engine.ledger.new_hex());
    Talk::of(search, (&resolved.runner_name, &resolved.runner), &spans, &environment, fresh)
}

/// The git directories of the worktrees lie outside the workspace; a sandboxed agent needs them to commit.
fn git_dirs(engine: &Engine, run: &Run) -> Vec<String> {
    run.spec
        .repos
        .iter()
        .filter_map(|repo| engine.git.inspect(Path::new(&repo.path)).ok())
        .map(|info| info.common_dir.display().to_string())
        .collect()
}

fn marker(engine: &Engine, agent: &Agent, n: u32) -> Result<String, EngineError> {
    Ok(format!("{}/{}/{n}", engine.database_id()?, agent.spec.session))
}

/// The variables that a profile gives its agents.
///
/// # Errors
/// When one of them is taken from a variable that is not set here, or is not known any more.
pub fn own_environment(profile: &AgentProfile, here: &Surroundings) -> Result<BTreeMap<String, String>, EngineError> {
    let mut env = BTreeMap::new();
    for (name, value) in &profile.env {
        let value = match value {
            EnvValue::Literal(value) => value.clone(),
            EnvValue::From { from } => here.variables.get(from).cloned().ok_or_else(|| {
                EngineError::refused(
                    format!("profile {} takes {name} from ${from}, which is not set here", profile.name),
                    format!("export {from} and repeat the command"),
                )
            })?,
            EnvValue::Withheld { .. } => {
                return Err(EngineError::refused(
                    format!("the value of {name} of profile {} is kept only in the policy file", profile.name),
                    "put the profile back into the policy file",
                ));
            }
        };
        env.insert(name.clone(), value);
    }
    Ok(env)
}

fn environment(
    engine: &Engine,
    run: &Run,
    agent: &Agent,
    resolved: &ResolvedAgent,
) -> Result<BTreeMap<String, String>, EngineError> {
    let mut env = own_environment(&resolved.profile, &engine.surroundings)?;
    let home = &engine.home;
    let bin = &engine.surroundings.program;
    let path = engine.surroundings.variables.get("PATH").cloned().unwrap_or_default();
    let ours = bin.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    for (name, value) in [
        ("METAWSM_HOME", home.root.display().to_string()),
        ("METAWSM_DB", home.db.display().to_string()),
        ("METAWSM_POLICY", home.policy.display().to_string()),
        ("METAWSM_BIN", bin.display().to_string()),
        ("METAWSM_RUN_ID", run.id().to_owned()),
        ("METAWSM_TICKET", agent.spec.ticket.clone()),
        ("METAWSM_WORKSPACE", agent.key.workspace.clone()),
        ("METAWSM_AGENT", agent.key.name.clone()),
        ("METAWSM_EPOCH", agent.epoch.to_string()),
        ("PATH", format!("{ours}:{path}")),
    ] {
        env.insert(name.to_owned(), value);
    }
    Ok(env)
}

fn await_record(path: &Path, cancel: &AtomicBool) -> Result<Record, EngineError> {
    let deadline = Instant::now() + RECORD_PATIENCE;
    let mut pause = Duration::from_millis(2);
    loop {
        let record = read_record(path)?;
        // The first record is written before the agent is started; the second tells that it was.
        if let Some(record) = record.filter(|record| record.agent_pid.is_some() || record.ended_at_ms.is_some()) {
            return Ok(record);
        }
        if cancel.load(Ordering::SeqCst) {
            return Err(EngineError::Interrupted("the run is stopped or paused".to_owned()));
        }
        if Instant::now() >= deadline {
            return Err(EngineError::outside(
                format!("the launcher wrote no record within {} s", RECORD_PATIENCE.as_secs()),
                "metawsm logs shows its screen",
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Whoever has the session's name before launch `n`: an earlier launch of ours is ended, a stranger is left alone.
fn clear_session(engine: &Engine, tmux: &Tmux, agent: &Agent, n: u32) -> Result<(), EngineError> {
    match tmux.has_session(&agent.spec.session) {
        Ok(false) | Err(TmuxError::NoServer { .. }) => {
            for earlier in 1..n {
                end_launch(engine, agent, earlier, Duration::ZERO)?;
            }
            return Ok(());
        }
        Ok(true) => {}
        Err(error) => return Err(error.into()),
    }
    let ours = (1..=n).any(|launch| LaunchFiles::new(engine, &agent.spec.session, launch).record.exists())
        || LaunchFiles::new(engine, &agent.spec.session, n).spec.exists();
    if !ours {
        return Err(EngineError::refused(
            format!("tmux has a session {} that metawsm did not make", agent.spec.session),
            "rename or end that session, or change tmux.session_pattern",
        ));
    }
    if !log_file(engine, agent, agent.launch.max(1)).exists() {
        keep_screen(engine, tmux, agent)?;
    }
    let policy = engine.policy_of(&agent.key.run_id)?;
    for launch in 1..=n {
        end_launch(engine, agent, launch, grace(&policy))?;
    }
    end_session(tmux, &agent.spec.session)
}

fn end_session(tmux: &Tmux, session: &str) -> Result<(), EngineError> {
    match tmux.kill_session(session) {
        Ok(()) | Err(TmuxError::NoTarget { .. } | TmuxError::NoServer { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends every process of a launch: TERM, grace, KILL, confirmed by pid and start time.
///
/// # Errors
/// When something of it would not die.
pub fn end_launch(engine: &Engine, agent: &Agent, n: u32, grace: Duration) -> Result<Option<Record>, EngineError> {
    end_launch_and(engine, agent, n, grace, &[])
}

/// The same, with processes that are known to be of the launch, wherever they went.
///
/// # Errors
/// When something of it would not die.
pub fn end_launch_and(
    engine: &Engine,
    agent: &Agent,
    n: u32,
    grace: Duration,
    kin: &[(u32, u64)],
) -> Result<Option<Record>, EngineError> {
    let files = LaunchFiles::new(engine, &agent.spec.session, n);
    let record = read_record(&files.record)?;
    let marker = format!("{MARKER_ENV}={}", marker(engine, agent, n)?);
    let tree = Tree {
        launcher: record.as_ref().map(|record| (record.launcher_pid, record.launcher_start)),
        // After an end that its launcher saw the number may be anybody's by now.
        session_id: record.as_ref().filter(|record| record.ended_at_ms.is_none()).map(|record| record.launcher_pid),
        marker: Some(marker),
        kin,
        spare: &[],
    };
    let report: EndReport = end_tree(engine.processes.as_ref(), &tree, grace);
    if !report.survivors.is_empty() {
        let pids: Vec<String> = report.survivors.iter().map(|(pid, _)| pid.to_string()).collect();
        return Err(EngineError::outside(
            format!("processes {} of agent {} would not die", pids.join(", "), agent.key.name),
            "look at them with ps; a process in the kernel's hands ends only with its device",
        ));
    }
    Ok(record)
}

/// Ends an agent's session for good: its screen is kept, its processes are ended, its session removed.
///
/// # Errors
/// When something of it would not die, or tmux could not be asked.
pub fn end(engine: &Engine, agent: &Agent) -> Result<(), EngineError> {
    let policy = engine.policy_of(&agent.key.run_id)?;
    let tmux = engine.tmux(&policy)?;
    for n in 1..=agent.wanted.max(agent.launch) {
        let current = n == agent.launch.max(1);
        let grace = if current { grace(&policy) } else { Duration::from_secs(1) };
        if current {
            // The last screen is worth more after the end than before it, but then it may be gone.
            keep_screen(engine, tmux, agent)?;
        }
        end_launch(engine, agent, n, grace)?;
        await_end_record(engine, agent, n);
        if current {
            keep_screen(engine, tmux, agent)?;
        }
    }
    let session_is_ours = agent.launch > 0 || agent.wanted > 0;
    if session_is_ours {
        end_session(tmux, &agent.spec.session)?;
    }
    Ok(())
}

/// The launcher writes how its agent ended; its session is not removed from under it.
fn await_end_record(engine: &Engine, agent: &Agent, n: u32) {
    let path = LaunchFiles::new(engine, &agent.spec.session, n).record;
    let deadline = Instant::now() + END_PATIENCE;
    let processes = engine.processes.as_ref();
    while let Ok(Some(record)) = read_record(&path) {
        if !processes.alive(record.launcher_pid, record.launcher_start) {
            break;
        }
        // One that was stopped cannot write, and one that hangs would be left behind.
        let_go_on(processes, record.launcher());
        if Instant::now() >= deadline {
            if record.ended_at_ms.is_none() {
                kill(processes, record.launcher());
            }
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where the screen of a launch is kept.
pub fn log_file(engine: &Engine, agent: &Agent, n: u32) -> PathBuf {
    log_path(&engine.home, agent, n)
}

/// Where the screen of a launch is kept, for a home that is only read.
pub fn log_path(home: &super::home::Home, agent: &Agent, n: u32) -> PathBuf {
    home.log_dir(&agent.key.run_id).join(format!("{}-{}-{n}.txt", agent.key.workspace, agent.key.name))
}

/// Keeps the whole scrollback of an agent's pane as a file. A session that is gone has none.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_screen(engine: &Engine, tmux: &Tmux, agent: &Agent) -> Result<(), EngineError> {
    write_screen(engine, agent, screen_of(tmux, agent))
}

/// The whole scrollback of an agent's pane; none where the session is gone.
pub fn screen_of(tmux: &Tmux, agent: &Agent) -> Option<Vec<u8>> {
    tmux.capture(&agent.spec.session, Extent::WholeScrollback, false).ok().map(without_note)
}

/// Keeps what was on the screen of an agent's present launch.
///
/// # Errors
/// When the file cannot be written.
pub fn write_screen(engine: &Engine, agent: &Agent, screen: Option<Vec<u8>>) -> Result<(), EngineError> {
    let screen = screen.unwrap_or_default();
    let text = String::from_utf8_lossy(&screen);
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(());
    }
    let mut start = text.len().saturating_sub(LONGEST_LOG);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    make_dir(&engine.home.log_dir(&agent.key.run_id))?;
    write_private(&log_file(engine, agent, agent.launch.max(1)), format!("{}\n", &text[start..]).as_bytes())
}

//! `run` and `bootstrap`: plan, write down, execute, follow.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::args::{BootstrapArgs, RunArgs, SeedWord, StartArgs};
use super::console;
use super::exit::{self, Failure};
use super::follow;
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::domain::policy::OperatorMode;
use crate::domain::run::Brief;
use crate::services::engine::Engine;
use crate::services::executor::{Outcome, execute, no_drill};
use crate::services::gates;
use crate::services::planning::Request;

pub fn run(session: &Session, args: &RunArgs) -> Result<Reply, Failure> {
    begin(session, &args.start, None)
}

pub fn bootstrap(session: &Session, args: &BootstrapArgs) -> Result<Reply, Failure> {
    let brief = brief(session, args)?;
    begin(session, &args.start, Some(brief))
}

pub fn detached_bootstrap(session: &Session, args: &BootstrapArgs) -> Result<Reply, Failure> {
    let brief = brief(session, args)?;
    detached(session, &args.start, Some(brief))
}

fn begin(session: &Session, args: &StartArgs, brief: Option<Brief>) -> Result<Reply, Failure> {
    if args.dry_run || args.detach {
        return detached(session, args, brief);
    }
    let (engine, run_id) = create(session, args, brief)?;
    if console::wanted(session) && !args.exit_on_guidance {
        return console::on_run(session, &engine, &run_id, args.operator.map(Into::into));
    }
    follow::run(session, &engine, &run_id, args.exit_on_guidance, args.operator.map(Into::into))
}

/// Executes the plan and returns: nothing is left but sessions.
pub fn detached(session: &Session, args: &StartArgs, brief: Option<Brief>) -> Result<Reply, Failure> {
    let (engine, run_id) = create(session, args, brief)?;
    if args.dry_run {
        return planned(session, &engine, &run_id);
    }
    carry_out(session, &engine, &run_id, if session.identity().is_some() { "run by an agent" } else { "run" })
}

fn create(session: &Session, args: &StartArgs, brief: Option<Brief>) -> Result<(Arc<Engine>, String), Failure> {
    session.may_act_on_runs()?;
    // A policy or brief that does not hold makes no home.
    let home = session.home_or_new()?;
    Engine::preflight(&Session::git(&home))?;
    let mode = args.operator.map(OperatorMode::from);
    let flags: Vec<(&str, Value)> = mode.map(|mode| ("operator.llm.mode", json!(mode))).into_iter().collect();
    let loaded = home.load_policy(&flags)?;
    let request = Request {
        tickets: args.tickets.clone(),
        repos: args.repos.clone(),
        doc_home_repo: args.doc_home_repo.clone(),
        agents: args.agents.clone(),
        strategy: args.strategy.map(Into::into),
        from: args.from.clone(),
        workspace: args.workspace.clone(),
        base_branch: args.base_branch.clone(),
        seed: args.seed.map(|seed| seed == SeedWord::CopyFromRepoOnStart),
        prompt: args.prompt.as_deref().map(|prompt| session.text(prompt)).transpose()?,
        run_id: args.run_id.clone(),
        dry_run: args.dry_run,
        brief,
    };
    if !home.exists() {
        // Everything that can be refused without a database is refused before one is made.
        crate::services::planning::plan(&home, &Session::git(&home), None, &loaded, &request, session.now())?;
    }
    let engine = match &session.shared {
        Some(engine) => Arc::clone(engine),
        None => Arc::new(Engine::open(home, session.surroundings.clone())?),
    };
    let run_id = engine.create_run(&session.caller(), &loaded, &request)?;
    Ok((engine, run_id))
}

/// The answer to a dry run: what would be done.
fn planned(session: &Session, engine: &Engine, run_id: &str) -> Result<Reply, Failure> {
    let reader = engine.reader()?;
    let run = engine.run(run_id)?;
    let view = session.view(&engine.home, &reader);
    let steps = reader.steps(run_id)?;
    let would: Vec<String> = steps
        .iter()
        .map(|step| {
            let what = if step.spec.argv.is_empty() { step.spec.paths.join(" ") } else { step.spec.argv.join(" ") };
            format!("[{:02}] {} ({}) {what}", step.spec.index, step.spec.name, step.spec.kind.word())
        })
        .collect();
    let gates = gates::evaluate(&engine.git, &reader, &view.policy(run_id)?, &run, false)?;
    let json = json!({
        "run": view.run(&run)?,
        "would": would,
        "gates": gates,
        "steps": steps.iter().map(|step| view.step(step)).collect::<Vec<_>>(),
        "agents": view.agents(run_id)?,
    });
    let mut text = format!("Run ID: {run_id} (dry run, nothing was started)\n");
    for line in &would {
        text.push_str(&format!("  {}\n", print::one_line(line)));
    }
    text.push_str(&format!("`metawsm resume --run-id {run_id}` executes it.\n"));
    Ok(Reply::new(json, text))
}

/// Executes a run's plan in this process and answers with the run.
pub fn carry_out(session: &Session, engine: &Arc<Engine>, run_id: &str, operation: &str) -> Result<Reply, Failure> {
    let caller = session.caller();
    let _lease = engine.lease_run(run_id, operation, &caller)?;
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    let shown = follow::Steps::begin(session, engine, run_id)?;
    let outcome = execute(engine, &caller, run_id, &cancel, &no_drill);
    shown.end();
    let reply = changed(session, engine, run_id)?;
    match outcome? {
        Outcome::Done => Ok(reply),
        Outcome::Interrupted => Ok(Reply { status: exit::INTERRUPTED, ..reply }),
        Outcome::Failed(steps) => {
            let mut text = reply.text;
            for (name, reason) in steps {
                text.push_str(&format!("  failed: {name}: {}\n", print::one_line(&reason)));
            }
            text.push_str(&format!("  next: mend it, then: metawsm resume --run-id {run_id}\n"));
            Ok(Reply { status: exit::FAILED, text, json: reply.json })
        }
    }
}

/// The same for agents whose start is ordered already: where somebody was quicker, he starts them.
pub fn start_agents(session: &Session, engine: &Arc<Engine>, run_id: &str, operation: &str) -> Result<Reply, Failure> {
    match carry_out(session, engine, run_id, operation) {
        Err(failure) if failure.status == exit::BUSY => changed(session, engine, run_id),
        done => done,
    }
}

/// `{"run","steps","agents","seq"}`: the answer of everything that changes a run.
pub fn changed(session: &Session, engine: &Engine, run_id: &str) -> Result<Reply, Failure> {
    let reader = engine.reader()?;
    let run = engine.run(run_id)?;
    let view = session.view(&engine.home, &reader);
    let steps: Vec<Value> = reader.steps(run_id)?.iter().map(|step| view.step(step)).collect();
    let agents = view.agents(run_id)?;
    let text = format!("Run ID: {run_id}\n  {}: {}\n", run.status, print::one_line(&run.reason));
    let json = json!({ "run": view.run(&run)?, "steps": steps, "agents": agents, "seq": reader.last_seq()? });
    Ok(Reply::new(json, text))
}

fn brief(session: &Session, args: &BootstrapArgs) -> Result<Brief, Failure> {
    if let Some(source) = &args.brief {
        return brief_file(session, source);
    }
    let mut answers: Vec<Option<String>> =
        [&args.goal, &args.scope, &args.done_criteria, &args.constraints, &args.merge_intent]
            .into_iter()
            .map(|given| given.clone().filter(|text| !text.trim().is_empty()))
            .collect();
    let names = ["goal", "scope", "done-criteria", "constraints", "merge-intent"];
    let may_ask = std::io::stdin().is_terminal() && !session.global.json && session.shared.is_none();
    for (answer, name) in answers.iter_mut().zip(names).filter(|(answer, _)| answer.is_none()) {
        if may_ask {
            *answer = Some(ask(name)?);
        }
    }
    let missing: Vec<String> =
        answers.iter().zip(names).filter(|(answer, _)| answer.is_none()).map(|(_, name)| format!("--{name}")).collect();
    if !missing.is_empty() {
        return Err(Failure::new(exit::POLICY, format!("the brief lacks {}", missing.join(", ")))
            .hint("give them as options, or all at once with --brief FILE"));
    }
    let mut next = answers.into_iter().map(Option::unwrap_or_default);
    let mut take = || next.next().unwrap_or_default();
    Ok(Brief { goal: take(), scope: take(), done_criteria: take(), constraints: take(), merge_intent: take() })
}

fn ask(name: &str) -> Result<String, Failure> {
    loop {
        print::err(&format!("{name}?"));
        let mut line = String::new();
        let count = std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| Failure::new(exit::FAILED, format!("standard input cannot be read: {error}")))?;
        if !line.trim().is_empty() {
            return Ok(line.trim().to_owned());
        }
        if count == 0 {
            return Err(Failure::new(exit::POLICY, format!("the brief lacks --{name}")).hint("begin again"));
        }
    }
}

fn brief_file(session: &Session, source: &str) -> Result<Brief, Failure> {
    let text = if source == "-" {
        session.text("-")?
    } else {
        std::fs::read_to_string(source)
            .map_err(|error| Failure::new(exit::NOT_FOUND, format!("the brief {source} cannot be read: {error}")))?
    };
    let brief: Brief = serde_json::from_str(&text).map_err(|error| {
        Failure::new(exit::POLICY, format!("the brief is not valid: {error}"))
            .hint("it is an object with goal, scope, done_criteria, constraints and merge_intent")
    })?;
    let blank: Vec<&str> = [
        ("goal", &brief.goal),
        ("scope", &brief.scope),
        ("done_criteria", &brief.done_criteria),
        ("constraints", &brief.constraints),
        ("merge_intent", &brief.merge_intent),
    ]
    .into_iter()
    .filter(|(_, text)| text.trim().is_empty())
    .map(|(name, _)| name)
    .collect();
    if blank.is_empty() {
        return Ok(brief);
    }
    Err(Failure::new(exit::POLICY, format!("the brief lacks {}", blank.join(", ")))
        .hint("none of its fields may be blank"))
}

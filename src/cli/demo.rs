//! `demo`: the main job on a real repository with scripted agents, played through by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::console;
use super::exit::{self, Failure};
use super::follow;
use super::print;
use super::reply::Reply;
use super::session::Session;
use crate::console::app::Opening;
use crate::domain::actor::Actor;
use crate::domain::agent::Restarts;
use crate::domain::command::{Command, ThreadWish};
use crate::domain::run::RunStatus;
use crate::services::cleanup as removal;
use crate::services::closing;
use crate::services::duty::Duty;
use crate::services::engine::{Caller, Engine};
use crate::services::error::EngineError;
use crate::services::executor::{execute, no_drill};
use crate::services::home::{Home, HomeArgs, make_dir, write_private};
use crate::services::merging;
use crate::services::operator::Conduct;
use crate::services::planning::Request;
use crate::services::process::exec::Exec;
use crate::services::stopping;
use crate::services::wake;
use crate::store::Order;
use crate::store::read::forum::{Queue, ThreadFilter, Viewer};

/// Played by itself the story takes about fifteen seconds; what takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the scripts have in common.
const COMMON: &str = include_str!("../../assets/demo/common.sh");

const SCRIPTS: [(&str, &str); 3] = [
    ("planner", include_str!("../../assets/demo/planner.sh")),
    ("coder", include_str!("../../assets/demo/coder.sh")),
    ("reviewer", include_str!("../../assets/demo/reviewer.sh")),
];

/// What stands over the demo's console; keys in backquotes.
const GUIDE: [&str; 3] = [
    "Three agents at work. The planner asks soon: `w` goes there, `r` replies.",
    "The coder crashes; rule 3 starts it again. `2` agents: `R` restart, `S` stop.",
    "Run completed: `1`, then `M` merge, `C` close. `?` all keys, `q` ends it all.",
];

const ANSWER: &str = "Two tables with a key: we will want to query them.";

pub fn run(session: &Session, keep: bool) -> Result<Reply, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let _signals = follow::cancel_on_signals(&cancel);
    Engine::preflight(&Session::git(&Home::at(Path::new("."), &HomeArgs::default())))?;
    let dir = std::env::temp_dir().join(format!(
        "metawsm-demo-{}-{}",
        std::process::id(),
        session.now().millis() % 1_000_000
    ));
    let shown = console::wanted(session);
    let demo = match Demo::prepare(session, &dir, shown, &cancel) {
        Ok(demo) => demo,
        Err(failure) => {
            // Half a demo is of no use to anybody.
            let _ = std::fs::remove_dir_all(&dir);
            return Err(failure);
        }
    };
    let told = if shown { demo.show() } else { demo.play() };
    let left = demo.end(keep);
    told?;
    left?;
    if keep {
        return Ok(Reply::new(json!({ "kept": dir }), format!("The demo's home is kept: {}\n", dir.display())));
    }
    Ok(Reply::new(json!({ "done": true }), "Nothing of the demo is left. Yours: metawsm run --ticket T --repos PATH\n"))
}

struct Demo {
    dir: PathBuf,
    engine: Arc<Engine>,
    caller: Caller,
    cancel: Arc<AtomicBool>,
    quiet: bool,
    deadline: Instant,
}

impl Demo {
    fn prepare(session: &Session, dir: &Path, shown: bool, cancel: &Arc<AtomicBool>) -> Result<Self, Failure> {
        make_dir(dir)?;
        let dir = dir.canonicalize().map_err(EngineError::io("find the demo's directory"))?;
        make_repository(&dir.join("shop"))?;
        let home = Home::at(&dir, &HomeArgs::default());
        home.make()?;
        let scripts = dir.join("scripts");
        make_dir(&scripts)?;
        write_private(&scripts.join("common.sh"), format!("pace={}\n{COMMON}", u8::from(shown)).as_bytes())?;
        let mut commands = Vec::new();
        for (name, text) in SCRIPTS {
            let path = scripts.join(format!("{name}.sh"));
            write_private(&path, text.as_bytes())?;
            commands.push((name, path));
        }
        write_private(&home.policy, policy(&dir, &commands, shown).to_string().as_bytes())?;
        let mut surroundings = session.surroundings.clone();
        surroundings.variables.retain(|name, _| !name.starts_with("METAWSM_"));
        let engine = Arc::new(Engine::open(home, surroundings)?);
        Ok(Self {
            dir,
            engine,
            caller: Caller { actor: Actor::human(session.login()), identity: None },
            cancel: Arc::clone(cancel),
            quiet: session.global.json,
            deadline: Instant::now() + PATIENCE,
        })
    }

    fn say(&self, words: &str) {
        if !self.quiet {
            print::err(words);
        }
    }

    fn play(&self) -> Result<(), Failure> {
        self.say(&format!(
            "A home in {}, with a git repository `shop` and three scripted agents.\n",
            self.dir.display()
        ));
        self.say("$ metawsm run --ticket SHOP-7 --repos shop");
        let run_id = self.begin()?;
        let teller = follow::Steps::of(&self.engine, &run_id, self.quiet)?;
        let told = self.story(&run_id);
        teller.end();
        told
    }

    /// The human plays: the console on the demo's home, with a few words for a newcomer.
    fn show(&self) -> Result<(), Failure> {
        let run_id = self.begin()?;
        let opening = Opening {
            conduct: Conduct::default(),
            title: "demo".to_owned(),
            guide: GUIDE.map(str::to_owned).to_vec(),
            run_id: Some(run_id.clone()),
            farewell: Some("Everything of the demo is removed then.".to_owned()),
        };
        console::beside_executor(&self.engine, &self.caller, &run_id, opening).map(drop)
    }

    fn begin(&self) -> Result<String, Failure> {
        let loaded = self.engine.home.load_policy(&[])?;
        let request = Request {
            tickets: vec!["SHOP-7".to_owned()],
            repos: vec![self.dir.join("shop").display().to_string()],
            ..Request::default()
        };
        Ok(self.engine.create_run(&self.caller, &loaded, &request)?)
    }

    fn story(&self, run_id: &str) -> Result<(), Failure> {
        let mut duty = Duty::begin(&self.engine);
        let executed = std::thread::scope(|scope| {
            let plan = scope.spawn(|| self.execute(run_id));
            let lived = self.live(run_id);
            self.cancel_if(lived.is_err());
            let planned = plan.join().unwrap_or_else(|_| Err(Failure::new(exit::FAILED, "the executor ended")));
            lived.and(planned)
        });
        duty.end();
        executed?;
        self.finish(run_id)
    }

    fn cancel_if(&self, failed: bool) {
        if failed {
            self.cancel.store(true, Ordering::SeqCst);
        }
    }

    fn execute(&self, run_id: &str) -> Result<(), Failure> {
        let _lease = self.engine.lease_run(run_id, "demo", &self.caller)?;
        execute(&self.engine, &self.caller, run_id, &self.cancel, &no_drill)?;
        Ok(())
    }

    /// What a human does meanwhile: answer the question. Who died is restarted by rule.
    fn live(&self, run_id: &str) -> Result<(), Failure> {
        let thread = self.until("a question", || self.question())?;
        self.say("\n  ↳ you answer it: metawsm forum answer");
        let answer = ThreadWish::Answer { body: ANSWER.to_owned(), in_reply_to: None, author: None };
        let command = Command::Thread { thread_id: thread, run_id: None, wish: answer };
        self.engine.ledger.execute(&Order::new(&command, &self.caller.actor))?;
        let restarted = self.until("the coder's restart by rule", || {
            let agents = self.engine.reader()?.agents(run_id)?;
            Ok(agents.into_iter().find(|agent| agent.restarts.used > 0))
        })?;
        let Restarts { used, budget, .. } = restarted.restarts;
        self.say(&format!(
            "\n  ↳ {} had crashed; the operator started it again by rule 3, restart {used} of {budget}",
            restarted.key.name
        ));
        self.until("the end of the work", || {
            let run = self.engine.run(run_id)?;
            Ok((run.status == RunStatus::Completed).then_some(()))
        })
    }

    fn question(&self) -> Result<Option<String>, EngineError> {
        let reader = self.engine.reader()?;
        let viewer = Viewer::Human(self.caller.actor.name.clone());
        let page = reader.queue(Queue::Unanswered, &viewer, &ThreadFilter::default(), None, 1)?;
        Ok(page.threads.into_iter().next().map(|thread| thread.thread_id))
    }

    fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Result<Option<T>, EngineError>) -> Result<T, Failure> {
        let found = wake::until(&self.engine.home.db, Some(self.deadline), || {
            if self.cancel.load(Ordering::SeqCst) {
                return Err(EngineError::Interrupted("the demo was ended".to_owned()));
            }
            let failed = self.engine.reader()?.runs_in(&[RunStatus::Failed])?;
            if let Some(run) = failed.first() {
                return Err(EngineError::refused(format!("the run failed: {}", run.reason), "this is a defect"));
            }
            ask()
        })?;
        found.ok_or_else(|| {
            Failure::new(exit::TIMEOUT, format!("the demo waited for {what} in vain"))
                .hint("try again with --keep and look at metawsm status")
        })
    }

    fn finish(&self, run_id: &str) -> Result<(), Failure> {
        let lease = self.engine.lease_run_within(run_id, "demo", &self.caller, Duration::from_secs(5))?;
        self.say("\n$ metawsm merge");
        for merged in merging::merge(&self.engine, &self.caller, run_id, false)? {
            self.say(&format!("  {}", merged.describe()));
        }
        self.say("$ metawsm close");
        closing::close(&self.engine, &self.caller, run_id, &closing::Options::default())?;
        self.say("$ metawsm cleanup");
        for line in removal::cleanup(&self.engine, &self.caller, run_id, removal::Options::default())? {
            self.say(&format!("  {line}"));
        }
        drop(lease);
        let log = git(&self.dir.join("shop"), &["log", "--format=  %h %s", "--no-merges", "-8"])?;
        self.say(&format!("\nmain of `shop` now holds:\n{}", log.trim_end()));
        let commits = git(&self.dir.join("shop"), &["log", "--format=%s"])?;
        for wanted in ["Write down the plan for SHOP-7", "Add the orders table", "Review the orders table"] {
            if !commits.lines().any(|line| line == wanted) {
                return Err(Failure::new(exit::FAILED, format!("main lacks the commit `{wanted}`")));
            }
        }
        Ok(())
    }

    /// Ends whatever is left, whether the story came to its end or not.
    fn end(self, keep: bool) -> Result<(), Failure> {
        let runs = self.engine.reader()?.runs()?;
        for run in &runs {
            if run.status.may_become(RunStatus::Stopping) || run.status == RunStatus::Stopping {
                stopping::stop_run(&self.engine, &self.caller, run.id())?;
            } else {
                stopping::end_all(&self.engine, &self.caller, &self.engine.reader()?.agents(run.id())?)?;
            }
            stopping::end_server_if_unused(&self.engine, run.id());
        }
        if keep {
            return Ok(());
        }
        let dir = self.dir.clone();
        drop(self);
        // tmux removes its socket while it ends; a directory that just lost a file is tried again.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match std::fs::remove_dir_all(&dir) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !dir.exists() => return Ok(()),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(EngineError::io(format!("remove {}", dir.display()))(error).into()),
            }
        }
    }
}

fn policy(dir: &Path, commands: &[(&str, PathBuf)], shown: bool) -> serde_json::Value {
    let profiles: Vec<serde_json::Value> = commands
        .iter()
        .map(|(name, path)| {
            json!({
                "name": name,
                "runner": "shell",
                "runner_options": { "command": ["sh", path.display().to_string()] },
                "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
            })
        })
        .collect();
    let agents: Vec<serde_json::Value> =
        commands.iter().map(|(name, _)| json!({ "name": name, "profile": name })).collect();
    json!({
        "version": 3,
        "tmux": { "socket": dir.join("tmux.sock").display().to_string(), "stop_grace_seconds": 2 },
        "health": { "observe_ms": 250 },
        // Two looks, so that one sees the rule wait and then act; on the screen there is time to read what it says.
        "operator": {
            "interval_seconds": if shown { 5 } else { 1 },
            "restart_cooldown_seconds": 1,
            "llm": { "mode": "off" },
        },
        "agent_profiles": profiles,
        "agents": agents,
    })
}

fn git(dir: &Path, args: &[&str]) -> Result<String, Failure> {
    let out = Exec::new("git")
        .args(args)
        .cwd(dir)
        .without_env("GIT_")
        .timeout(Duration::from_secs(20))
        .run()
        .map_err(|error| Failure::new(exit::OUTSIDE, error.to_string()).hint("install git 2.38 or newer"))?;
    if out.ok() {
        return Ok(out.text());
    }
    Err(Failure::new(exit::OUTSIDE, format!("git {}: {}", args.join(" "), out.complaint())))
}

fn make_repository(dir: &Path) -> Result<(), Failure> {
    make_dir(dir)?;
    git(dir, &["init", "-q", "-b", "main"])?;
    // The demo must not depend on who is configured on this machine.
    git(dir, &["config", "user.name", "Demo"])?;
    git(dir, &["config", "user.email", "demo@example.org"])?;
    git(dir, &["config", "commit.gpgsign", "false"])?;
    std::fs::write(dir.join("README.md"), "# shop\n").map_err(EngineError::io("write the demo's README"))?;
    git(dir, &["add", "README.md"])?;
    git(dir, &["commit", "-q", "-m", "Begin the shop"])?;
    Ok(())
}

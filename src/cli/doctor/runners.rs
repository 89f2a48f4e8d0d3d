//! Whether the agent programs that the policy uses are there, can ask, and can commit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use super::super::exit::Failure;
use super::super::print;
use super::super::session::Session;
use super::{Finding, bad, good};
use crate::domain::policy::{AgentProfile, Policy};
use crate::domain::run::RunStatus;
use crate::domain::runner::{self, LaunchInputs, Runner, SHELL, start_argv};
use crate::services::agents::own_environment;
use crate::services::git::Git;
use crate::services::home::Home;
use crate::services::process::exec::{Exec, ExecError};
use crate::services::trial;
use crate::store::Reader;

/// The longest a program may take to tell its version, or ours to answer.
const PATIENCE: Duration = Duration::from_secs(10);

type Environment = BTreeMap<String, String>;

/// One finding for each profile that an agent of the policy has.
pub fn used(session: &Session, home: &Home, reader: &Reader, start: bool) -> Result<Vec<Finding>, Failure> {
    let Ok(live) = home.load_policy(&[]) else { return Ok(Vec::new()) };
    let policy = live.policy;
    let git_dirs = git_dirs(home, reader)?;
    let mut profiles: Vec<&AgentProfile> = policy.agent_profiles.iter().collect();
    profiles.retain(|profile| policy.agents.iter().any(|agent| agent.profile == profile.name));
    let look =
        |profile: &&AgentProfile| Look { session, home, policy: &policy, git_dirs: &git_dirs, profile }.tell(start);
    // Some programs take seconds to say which they are.
    Ok(std::thread::scope(|scope| {
        let looks: Vec<_> = profiles.iter().map(|profile| scope.spawn(|| look(profile))).collect();
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    }))
}

/// The git directories of the repositories of open runs.
fn git_dirs(home: &Home, reader: &Reader) -> Result<Vec<PathBuf>, Failure> {
    let git = Git::new(home.lock_dir());
    let mut dirs = Vec::new();
    for run in reader.runs()?.into_iter().filter(|run| run.status != RunStatus::Closed) {
        let repos = run.spec.repos.iter().filter_map(|repo| git.inspect(Path::new(&repo.path)).ok());
        dirs.extend(repos.map(|info| info.common_dir));
    }
    dirs.sort();
    dirs.dedup();
    Ok(dirs)
}

struct Look<'a> {
    session: &'a Session,
    home: &'a Home,
    policy: &'a Policy,
    git_dirs: &'a [PathBuf],
    profile: &'a AgentProfile,
}

impl Look<'_> {
    fn tell(&self, start: bool) -> Finding {
        let profile = self.profile;
        match self.look(start) {
            Ok(words) => good("runners", format!("profile {}: {}", profile.name, words.join(", "))),
            Err((what, mend)) => bad("runners", format!("profile {}: {what}", profile.name), mend),
        }
    }

    /// What is well, or what is not and its mend.
    fn look(&self, start: bool) -> Result<Vec<String>, (String, String)> {
        let profile = self.profile;
        let edit = || format!("metawsm policy show; then mend profile {}", profile.name);
        let runner = self.policy.runner(&profile.runner).ok_or_else(|| ("its runner is nowhere".to_owned(), edit()))?;
        let env = self.environment().map_err(|error| (error, edit()))?;
        let argv = start_argv(profile, &runner, &LaunchInputs::default());
        let Some(program) = argv.first() else { return Err(("it has no command".to_owned(), edit())) };
        let found = find(program, &env).ok_or_else(|| {
            let mend = format!("install {program}, or give its agents another profile in the policy");
            (format!("{program} is not installed or not on PATH"), mend)
        })?;
        let mut words = vec![version(&profile.runner, program, &found, &env)];
        self.can_ask(&env)?;
        words.push("can ask".to_owned());
        words.push(self.can_commit(&runner, &env)?);
        if start && profile.runner == SHELL {
            words.push("its own command is not started for a try".to_owned());
        } else if start {
            let tried = trial::start(self.home, &self.session.surroundings, &argv, &env);
            words.push(tried.map_err(|error| (error, format!("start it by hand: {}", shell_words::join(&argv))))?);
        }
        if runner.untested {
            words.push("nobody has tried this runner yet".to_owned());
        }
        Ok(words)
    }

    fn environment(&self) -> Result<Environment, String> {
        let here = &self.session.surroundings;
        let mut env = own_environment(self.profile, here).map_err(|error| error.to_string())?;
        let ours = here.program.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        let path = here.variables.get("PATH").cloned().unwrap_or_default();
        for (name, value) in [
            ("METAWSM_HOME", self.home.root.display().to_string()),
            ("METAWSM_DB", self.home.db.display().to_string()),
            ("METAWSM_POLICY", self.home.policy.display().to_string()),
            ("METAWSM_BIN", here.program.display().to_string()),
            ("PATH", format!("{ours}:{path}")),
        ] {
            env.insert(name.to_owned(), value);
        }
        Ok(env)
    }

    /// Whether `$METAWSM_BIN forum` answers where its agents run.
    fn can_ask(&self, env: &Environment) -> Result<(), (String, String)> {
        if !self.policy.forum.enabled {
            return Ok(());
        }
        let script = "exec \"$METAWSM_BIN\" forum list --limit 1 --json";
        let out = with(Exec::new("sh").args(["-c", script]).cwd(&self.home.root), env).timeout(PATIENCE).run();
        let mend = "metawsm forum list in its environment says more; its env in the policy may stand in the way";
        match out {
            Ok(out) if out.ok() => Ok(()),
            Ok(out) => Err((format!("it cannot ask: {}", print::one_line(&out.complaint())), mend.to_owned())),
            Err(error) => Err((format!("it cannot ask: {error}"), mend.to_owned())),
        }
    }

    /// Whether its agents may write where commits are kept, by the system and by what its program is told.
    fn can_commit(&self, runner: &Runner, env: &Environment) -> Result<String, (String, String)> {
        for dir in self.git_dirs.iter().chain([&self.home.inside()]) {
            if access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                let mend = format!("ls -ld {}; its owner is to be who runs metawsm", dir.display());
                return Err((format!("its agents cannot write to {}", dir.display()), mend));
            }
        }
        let told = |name: &str| runner.start.iter().any(|argument| argument.contains(name));
        let boxed = !runner.full_auto.is_empty() || told("{git_dirs}") || told("{metawsm_dir}");
        match boxed && !(told("{git_dirs}") && told("{metawsm_dir}")) {
            true => Err((
                "its sandbox is not told of {git_dirs} and {metawsm_dir}: its agents cannot commit or ask".to_owned(),
                format!("add both to runners.{}.start in the policy", self.profile.runner),
            )),
            false => self.in_whose_name(env),
        }
    }

    /// Whether git knows in whose name its agents commit: without that it refuses each commit.
    fn in_whose_name(&self, env: &Environment) -> Result<String, (String, String)> {
        for dir in self.git_dirs {
            if let Some(why) = self.nameless(&[OsStr::new("--git-dir"), dir.as_os_str()], env) {
                let mend = "git config --global user.name NAME; git config --global user.email ADDRESS";
                return Err((format!("its agents cannot commit: {why}"), mend.to_owned()));
            }
        }
        // Before the first run there is no repository to ask, and each may have a name of its own.
        let unknown = self.git_dirs.is_empty() && self.nameless(&[], env).is_some();
        Ok(if unknown { "can commit where the repository says in whose name" } else { "can commit" }.to_owned())
    }

    /// Why git knows no name to commit in, if it knows none.
    fn nameless(&self, place: &[&OsStr], env: &Environment) -> Option<String> {
        let git = Exec::new("git").args(place).args(["var", "GIT_COMMITTER_IDENT"]).cwd(&self.home.root);
        let why = match with(git, env).timeout(PATIENCE).run() {
            Ok(out) if out.ok() => return None,
            Ok(out) => out.complaint(),
            Err(error) => error.to_string(),
        };
        let why = print::one_line(&why);
        Some(why.rsplit_once("fatal: ").map_or(why.clone(), |(_, cause)| cause.to_owned()))
    }
}

fn with<'a>(mut exec: Exec<'a>, env: &Environment) -> Exec<'a> {
    for (name, value) in env {
        exec = exec.env(name, value);
    }
    // An agent that asks its doctor is not the agent of the profile.
    exec.without_env("METAWSM_")
}

/// Where a program is: as it stands, or on PATH.
/// Where a program is, if it is there and may be run.
pub(super) fn find(program: &str, env: &Environment) -> Option<PathBuf> {
    let there = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| there(path));
    }
    let path = env.get("PATH")?;
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| there(path))
}

/// Its version, where it is a program that we know to tell it; any other is not started for that.
fn version(runner: &str, program: &str, found: &Path, env: &Environment) -> String {
    let known = runner::builtin(runner).and_then(|runner| runner.start.first());
    if known.map(String::as_str) != Some(runner::program_name(program)) {
        return found.display().to_string();
    }
    let told = match with(Exec::new(found).arg("--version"), env).timeout(PATIENCE).run() {
        Ok(out) if out.ok() => print::one_line(out.text().lines().next().unwrap_or_default().trim()),
        Ok(out) => format!("says no version: {}", print::one_line(&out.complaint())),
        Err(ExecError::TimedOut { after, .. }) => format!("says no version within {} s", after.as_secs()),
        Err(error) => format!("says no version: {error}"),
    };
    let name = runner::program_name(program);
    if told.contains(name) { told } else { format!("{name} {told}") }
}

//! One call of the program: its options, its home, and who calls.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Global;
use super::exit::{self, Failure};
use super::print::{self, Style};
use crate::domain::actor::{Actor, ActorType};
use crate::domain::agent::AgentKey;
use crate::domain::refusal::Refusal;
use crate::domain::time::Moment;
use crate::services::engine::{Caller, Engine, Surroundings};
use crate::services::git::Git;
use crate::services::home::{Home, HomeArgs};
use crate::services::view::View;
use crate::store::Reader;
use crate::store::ids::{Clock, SystemClock};
use crate::store::read::forum::{Viewer, viewer_of};

/// One call.
#[derive(Debug, Clone)]
pub struct Session {
    /// The options of every command.
    pub global: Global,
    /// What of the environment matters.
    pub surroundings: Surroundings,
    /// An engine that is open already, in headless mode.
    pub shared: Option<Arc<Engine>>,
}

impl Session {
    /// The call with these options.
    pub fn new(global: Global) -> Self {
        Self { global, surroundings: Surroundings::of_process(), shared: None }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        SystemClock.now()
    }

    /// How text is to look.
    pub fn style(&self) -> Style {
        Style::of_stdout(self.global.color, self.global.utc, self.now())
    }

    fn home_args(&self) -> HomeArgs {
        HomeArgs { home: self.global.home.clone(), db: self.global.db.clone(), policy: self.global.policy.clone() }
    }

    fn cwd() -> Result<PathBuf, Failure> {
        std::env::current_dir()
            .map_err(|error| Failure::new(exit::FAILED, format!("the current directory cannot be read: {error}")))
    }

    /// The home, which must be there.
    pub fn home(&self) -> Result<Home, Failure> {
        let cwd = Self::cwd()?;
        Home::find(&cwd, &self.home_args()).filter(Home::exists).ok_or_else(|| {
            Failure::new(
                exit::NOT_FOUND,
                "no home here: neither this directory nor one above it has .metawsm/metawsm.db",
            )
            .hint("start one with: metawsm run, or name one with --home DIR")
        })
    }

    /// The home, or the one that would be made here.
    pub fn home_or_new(&self) -> Result<Home, Failure> {
        let cwd = Self::cwd()?;
        let args = self.home_args();
        Ok(Home::find(&cwd, &args).unwrap_or_else(|| Home::at(&cwd, &args)))
    }

    /// A view of the database of the home, which must be there.
    pub fn reader(&self) -> Result<(Home, Reader), Failure> {
        let home = self.home()?;
        let reader = home.reader()?;
        Ok((home, reader))
    }

    /// The engine of the home, which must be there.
    pub fn engine(&self) -> Result<Arc<Engine>, Failure> {
        match &self.shared {
            Some(engine) => Ok(Arc::clone(engine)),
            None => Ok(Arc::new(Engine::open(self.home()?, self.surroundings.clone())?)),
        }
    }

    /// The engine of the home, which is made here if there is none.
    pub fn engine_or_new(&self) -> Result<Arc<Engine>, Failure> {
        match &self.shared {
            Some(engine) => Ok(Arc::clone(engine)),
            None => Ok(Arc::new(Engine::open(self.home_or_new()?, self.surroundings.clone())?)),
        }
    }

    /// git, for looking.
    pub fn git(home: &Home) -> Git {
        Git::new(home.lock_dir())
    }

    /// The agent in whose session this process runs.
    pub fn identity(&self) -> Option<AgentKey> {
        let variable = |name: &str| self.surroundings.variables.get(name).filter(|value| !value.is_empty()).cloned();
        let name = variable("METAWSM_AGENT")?;
        Some(AgentKey::new(
            variable("METAWSM_RUN_ID").unwrap_or_default(),
            variable("METAWSM_WORKSPACE").unwrap_or_default(),
            name,
        ))
    }

    /// In an agent's session runs are acted on only where the agent's profile lets it.
    pub fn may_act_on_runs(&self) -> Result<(), Failure> {
        let Some(identity) = self.identity() else { return Ok(()) };
        let (_, reader) = self.reader()?;
        let agents = reader.agents(&identity.run_id)?;
        if agents.iter().any(|agent| agent.key == identity && agent.spec.may.iter().any(|may| may == "run")) {
            return Ok(());
        }
        Err(Refusal::not_allowed(format!("agent {} may not act on runs", identity.name))
            .hint("ask in the forum, or let its profile say \"may\": [\"run\"]")
            .into())
    }

    /// A variable of the session this process runs in.
    pub fn session_variable(&self, name: &str) -> Option<String> {
        self.surroundings.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The person at the keyboard.
    pub fn login(&self) -> String {
        let named = self.global.name.clone().filter(|name| !name.trim().is_empty());
        let variable = |name: &str| self.session_variable(name);
        named
            .or_else(|| variable("USER"))
            .or_else(|| variable("LOGNAME"))
            .or_else(account_name)
            .unwrap_or_else(|| "human".to_owned())
    }

    /// Who calls: the agent in its session, else the person.
    pub fn caller(&self) -> Caller {
        match self.identity() {
            Some(key) => Caller { actor: Actor::agent(key.name.clone()), identity: Some(key) },
            None => Caller { actor: Actor::new(ActorType::Human, self.login()), identity: None },
        }
    }

    /// Whose marks and queues are meant when none are named.
    pub fn viewer(&self) -> Viewer {
        let caller = self.caller();
        viewer_of(&caller.actor, caller.identity.as_ref())
    }

    /// A view of a home.
    pub fn view<'a>(&self, home: &'a Home, reader: &'a Reader) -> View<'a> {
        View::new(home, reader, self.now(), self.viewer())
    }

    /// Text given as an option, or from standard input for `-`.
    pub fn text(&self, given: &str) -> Result<String, Failure> {
        if given != "-" {
            return Ok(given.to_owned());
        }
        if self.shared.is_some() {
            return Err(Failure::new(exit::USAGE, "standard input carries commands here").hint("give the text itself"));
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(crate::domain::thread::LONGEST_BODY).unwrap_or(u64::MAX).saturating_mul(4);
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::new(exit::FAILED, format!("standard input cannot be read: {error}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::new(exit::USAGE, format!("standard input is not UTF-8: byte {at} cannot be read"))
                .hint("convert it first, for example with iconv")
        })
    }

    /// From here on INT and TERM end the program with 130: it only waits, and there is nothing to put away.
    pub fn only_waits(&self) {
        if self.shared.is_some() {
            return;
        }
        let always = Arc::new(std::sync::atomic::AtomicBool::new(true));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Without the handler the signal still ends us, only with another status.
            let _ = signal_hook::flag::register_conditional_shutdown(
                signal,
                i32::from(exit::INTERRUPTED),
                Arc::clone(&always),
            );
        }
    }

    /// A policy that does not hold is said once; the last good copies serve.
    pub fn warn_of_policy(&self) {
        let Ok(home) = self.home_or_new() else { return };
        if let Err(error) = home.load_policy(&[]) {
            print::err(&format!("metawsm: note: {}", print::harmless(&error.to_string())));
        }
    }

    /// Asks before something that cannot be undone; in scripts `--yes` answers.
    pub fn confirm(&self, yes: bool, question: &str) -> Result<(), Failure> {
        use std::io::{IsTerminal, Write};
        if yes {
            return Ok(());
        }
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !terminal || self.global.json || self.shared.is_some() {
            return Err(
                Failure::new(exit::REFUSED, format!("{question} needs a confirmation")).hint("repeat with --yes")
            );
        }
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question}? [y/N] ");
        let _ = stderr.flush();
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        if read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(exit::REFUSED, "not confirmed, nothing was done"))
    }

    /// Prints a failure and says how the program ends.
    pub fn fail(&self, failure: &Failure) -> u8 {
        if self.global.json {
            let _ = print::out(&format!("{}\n", print::json(&failure.to_json())));
        } else {
            failure.tell();
        }
        failure.status
    }
}

/// The name of the account this process runs under, as the system's list of accounts has it.
fn account_name() -> Option<String> {
    let own = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    name_of(&own, &accounts)
}

fn name_of(uid: &str, accounts: &str) -> Option<String> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid)).then(|| fields[0].to_owned()).filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn an_account_is_found_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n:x:7:7::/:\n";
        for (uid, name) in [("0", Some("root")), ("1000", Some("ada")), ("100", None), ("7", None)] {
            assert_eq!(name_of(uid, accounts).as_deref(), name, "{uid}");
        }
    }
}

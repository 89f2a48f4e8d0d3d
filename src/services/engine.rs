//! The engine: one home's ledger and adapters, held by every face.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::error::EngineError;
use super::git::Git;
use super::home::Home;
use super::process::exec::Exec;
use super::process::lease::{Holder, Lease, LeaseError};
use super::process::{Processes, default_table};
use super::tmux::{Tmux, resolve_socket};
use crate::domain::actor::Actor;
use crate::domain::agent::{Agent, AgentKey, AgentStatus};
use crate::domain::command::{AgentWish, Command, RunWish};
use crate::domain::outbox::Wanted;
use crate::domain::policy::Policy;
use crate::domain::run::Run;
use crate::domain::time::Moment;
use crate::store::ids::{Clock, RandomIds, SystemClock};
use crate::store::{Ledger, Order, Reader, Receipt};

/// What of the caller's environment matters.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Where `policy`'s `{"from": "VAR"}` is looked up.
    pub variables: BTreeMap<String, String>,
    /// The user's home directory.
    pub user_home: Option<PathBuf>,
    /// Where tmux keeps its sockets.
    pub tmux_tmpdir: Option<PathBuf>,
    /// This program.
    pub program: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect::<BTreeMap<_, _>>();
        let path = |name: &str| variables.get(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        Self {
            user_home: path("HOME"),
            tmux_tmpdir: path("TMUX_TMPDIR"),
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("metawsm")),
            variables,
        }
    }
}

/// Who acts through the engine.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The actor of its commands.
    pub actor: Actor,
    /// The agent in whose session it runs.
    pub identity: Option<AgentKey>,
}

impl Caller {
    /// A part of metawsm itself.
    pub fn system(part: &str) -> Self {
        Self { actor: Actor::system(part), identity: None }
    }
}

/// One home, opened to write.
pub struct Engine {
    /// Where its things are.
    pub home: Home,
    /// The store's one door.
    pub ledger: Ledger,
    /// git.
    pub git: Git,
    /// The process table.
    pub processes: Box<dyn Processes>,
    /// What of the caller's environment matters.
    pub surroundings: Surroundings,
    tmux: OnceLock<Tmux>,
    /// Views nobody uses at the moment: opening one costs more than what is mostly asked of it.
    readers: Mutex<Vec<Reader>>,
}

/// Under this word the store keeps what tells this database from every other.
pub const DATABASE_ID: &str = "database_id";
/// Under this name the socket of the tmux server is stored.
pub const SOCKET: &str = "tmux_socket";
/// So many views are kept open.
const READERS: usize = 4;

/// A view of the database, given back when it is dropped.
#[derive(Debug)]
pub struct View<'a> {
    /// There until it is given back.
    reader: Option<Reader>,
    engine: &'a Engine,
}

impl Deref for View<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        match &self.reader {
            Some(reader) => reader,
            None => unreachable!("a view is given back only when it is dropped"),
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut kept = self.engine.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < READERS {
            kept.extend(self.reader.take());
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("home", &self.home).finish_non_exhaustive()
    }
}

/// How long a command waits for another one on the same run that is about to end.
pub const PATIENCE: Duration = Duration::from_secs(2);

impl Engine {
    /// Opens a home to write, making it where it is not there.
    ///
    /// # Errors
    /// [`EngineError`] names what is in the way.
    pub fn open(home: Home, surroundings: Surroundings) -> Result<Self, EngineError> {
        Self::open_by(home, surroundings, Arc::new(SystemClock))
    }

    /// The same, by another clock than the machine's.
    ///
    /// # Errors
    /// [`EngineError`] names what is in the way.
    pub fn open_by(home: Home, surroundings: Surroundings, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        home.make()?;
        let ledger = Ledger::open(&home.db, clock, Arc::new(RandomIds::default()))?;
        let asked = home.clone();
        let ledger = ledger.wanting(move || {
            let policy = asked.policy_in_force().unwrap_or_default();
            Wanted { docs_sync: policy.forum.docs_sync.enabled, notify: !policy.notify.command.is_empty() }
        });
        let git = Git::new(home.lock_dir());
        Ok(Self {
            git,
            ledger,
            home,
            processes: default_table(),
            surroundings,
            tmux: OnceLock::new(),
            readers: Mutex::default(),
        })
    }

    /// A view of the database.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn reader(&self) -> Result<View<'_>, EngineError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match kept.filter(Reader::holds) {
            Some(reader) => reader,
            None => self.home.reader()?,
        };
        Ok(View { reader: Some(reader), engine: self })
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.ledger.clock().now()
    }

    /// Gives a command.
    ///
    /// # Errors
    /// A refusal, or what the store says.
    pub fn order(&self, caller: &Caller, command: &Command) -> Result<Receipt, EngineError> {
        let order = Order { command, actor: &caller.actor, identity: caller.identity.as_ref(), key: None };
        Ok(self.ledger.execute(&order)?)
    }

    /// Gives a command about a run.
    ///
    /// # Errors
    /// A refusal, or what the store says.
    pub fn order_run(&self, caller: &Caller, run_id: &str, wish: RunWish) -> Result<Receipt, EngineError> {
        self.order(caller, &Command::Run { run_id: run_id.to_owned(), wish })
    }

    /// Gives a command about an agent.
    ///
    /// # Errors
    /// A refusal, or what the store says.
    pub fn order_agent(&self, caller: &Caller, key: &AgentKey, wish: AgentWish) -> Result<Receipt, EngineError> {
        self.order(caller, &Command::Agent { key: key.clone(), wish })
    }

    /// The run, or an error that says it is not there.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn run(&self, run_id: &str) -> Result<Run, EngineError> {
        self.reader()?
            .run(run_id)?
            .ok_or_else(|| EngineError::not_found(format!("no run {run_id}"), "metawsm runs --all lists them"))
    }

    /// The policy a run lives by: its own, with what follows the live file. A broken live file changes nothing.
    ///
    /// # Errors
    /// [`EngineError`] when the stored policy cannot be read.
    pub fn policy_of(&self, run_id: &str) -> Result<Policy, EngineError> {
        let stored = self.reader()?.policy(run_id)?.unwrap_or_default();
        let kept = Policy::from_stored(&stored)
            .map_err(|reason| EngineError::refused(reason, "metawsm doctor --rebuild makes the tables anew"))?;
        Ok(match self.home.policy_in_force() {
            Some(live) => kept.following(&live),
            None => kept,
        })
    }

    /// An id of this database that no other has.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn database_id(&self) -> Result<String, EngineError> {
        Ok(self.ledger.meta_or(DATABASE_ID, || self.ledger.new_hex())?)
    }

    /// The tmux server of this home: its socket is resolved once and stored.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn tmux(&self, policy: &Policy) -> Result<&Tmux, EngineError> {
        if let Some(tmux) = self.tmux.get() {
            return Ok(tmux);
        }
        let id = self.database_id()?;
        let wanted = policy.tmux.socket_for(&id);
        let resolve = || {
            let uid = rustix::process::getuid().as_raw();
            resolve_socket(&wanted, self.surroundings.tmux_tmpdir.as_deref(), uid).display().to_string()
        };
        let socket = self.ledger.meta_or(SOCKET, resolve)?;
        Ok(self.tmux.get_or_init(|| tmux_at(Path::new(&socket), &wanted)))
    }

    /// The tmux server if one was ever resolved; asking creates nothing.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn known_tmux(home: &Home) -> Result<Option<Tmux>, EngineError> {
        Ok(home.reader()?.meta(SOCKET)?.as_deref().map(tmux_stored))
    }

    /// The same, kept once it was found.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn tmux_if_known(&self) -> Result<Option<&Tmux>, EngineError> {
        if self.tmux.get().is_none()
            && let Some(socket) = self.reader()?.meta(SOCKET)?
        {
            let _ = self.tmux.set(tmux_stored(&socket));
        }
        Ok(self.tmux.get())
    }

    /// The right to change a run's worktrees and sessions.
    ///
    /// # Errors
    /// [`EngineError::Busy`] naming who has it.
    pub fn lease_run(&self, run_id: &str, operation: &str, caller: &Caller) -> Result<Lease, EngineError> {
        let holder = self.holder(operation, &caller.actor.name);
        Lease::try_acquire(&self.home.run_lease(run_id), holder).map_err(lease_error)
    }

    /// The same, waiting for at most `patience`.
    ///
    /// # Errors
    /// [`EngineError::Busy`] naming who has it.
    pub fn lease_run_within(
        &self,
        run_id: &str,
        operation: &str,
        caller: &Caller,
        patience: Duration,
    ) -> Result<Lease, EngineError> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            match self.lease_run(run_id, operation, caller) {
                Err(EngineError::Busy { .. }) if std::time::Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(25));
                }
                done => return done,
            }
        }
    }

    /// This process as the holder of a lease.
    pub fn holder(&self, operation: &str, who: &str) -> Holder {
        Holder::this_process(self.processes.as_ref(), operation, who, self.now().millis())
    }

    /// Whether the programs are there that every run needs.
    ///
    /// # Errors
    /// Names the one that is missing.
    pub fn preflight(git: &Git) -> Result<(), EngineError> {
        git.version()?;
        match Exec::new("tmux").arg("-V").timeout(Duration::from_secs(5)).run() {
            Ok(_) => Ok(()),
            Err(error) => Err(EngineError::outside(error.to_string(), "install tmux 3.2 or newer")),
        }
    }

    /// The agents of a run that work.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub fn working_agents(&self, run_id: &str) -> Result<Vec<Agent>, EngineError> {
        let mut agents = self.reader()?.agents(run_id)?;
        agents.retain(|agent| agent.status.working() || agent.status == AgentStatus::Stopping);
        Ok(agents)
    }
}

/// The server on a socket that was resolved before.
fn tmux_stored(socket: &str) -> Tmux {
    tmux_at(Path::new(socket), if socket.ends_with("/default") { "default" } else { "own" })
}

fn tmux_at(socket: &Path, name: &str) -> Tmux {
    Tmux::new(socket.to_path_buf(), name != "default")
}

/// A lease that is held is a named state of its own.
pub fn lease_error(error: LeaseError) -> EngineError {
    match error {
        LeaseError::Held { holder, .. } => EngineError::Busy { holder: holder.map(|holder| *holder) },
        error @ LeaseError::Io { .. } => EngineError::Lease(error),
    }
}

//! What a screen holds of the engine: wishes go in, are carried out on threads of their own, and answer when done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::behind::{self, Left};
use super::duty::Duty;
use super::engine::{Caller, Engine};
use super::error::EngineError;
use super::explain::{Explanation, What, explain};
use super::log::Log;
use super::operator::Conduct;
use super::policy_file::set_mode;
use super::report::{self, Told};
use super::snapshot::{RunPage, run_page};
use super::tmux::Attach;
use super::view::View;
use super::words::offer;
use super::{delivery, operator, outbox, stopping};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::{AgentWish, Command, DeliveryWish, OutboxWish, RunWish, ThreadWish};
use crate::domain::delivery::Hold;
use crate::domain::policy::OperatorMode;
use crate::domain::thread::Priority;
use crate::domain::time::Moment;
use crate::store::Order;
use crate::store::read::forum::viewer_of;

mod drafts;
mod many;
mod wish;
mod work;

use drafts::Draft;
pub use many::Named;
pub use wish::{Change, Preview, Trouble, Wish};

/// The engine as a screen holds it.
#[derive(Debug, Clone)]
pub struct Handle {
    engine: Arc<Engine>,
    caller: Caller,
    /// Wishes under way.
    busy: Arc<AtomicUsize>,
    /// Once raised, what may take long ends where it stands.
    ending: Arc<AtomicBool>,
    drafts: Sender<Draft>,
}

impl Handle {
    /// A handle for wishes of `caller`.
    pub fn new(engine: Arc<Engine>, caller: Caller) -> Self {
        let (drafts, written) = channel();
        let log = Log::new(&engine.home);
        let busy: Arc<AtomicUsize> = Arc::default();
        let under_way = Arc::clone(&busy);
        // One thread reads and writes them all, in order.
        let writing = move || {
            for draft in written {
                if let Err(error) = drafts::settle(draft) {
                    log.line("drafts", &error.to_string());
                }
                under_way.fetch_sub(1, Ordering::SeqCst);
            }
        };
        drop(std::thread::Builder::new().name("drafts".to_owned()).spawn(writing));
        Self { engine, caller, busy, ending: Arc::default(), drafts }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Who wishes.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Supervises in the background while it may, the operator conducted as this process was told.
    pub fn begin_duty(&self, conduct: &Conduct) -> Duty {
        Duty::begin_as(&self.engine, conduct.clone())
    }

    /// Gives `duty` back and leaves a supervisor behind in its place; `tell` gets it once it has the lease, or why there is
    /// none.
    pub fn leave_behind(
        &self,
        duty: Option<Duty>,
        mode: Option<OperatorMode>,
        tell: impl FnOnce(Result<Left, Trouble>) + Send + 'static,
    ) {
        let work = move |handle: &Self| {
            drop(duty);
            behind::leave(&handle.engine, mode)
        };
        self.beside(work, tell);
    }

    /// Does `work` on a thread of its own, and hands what came of it to `tell`.
    fn beside<T: Send + 'static, E: Into<Trouble>>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
        tell: impl FnOnce(Result<T, Trouble>) + Send + 'static,
    ) {
        let handle = self.clone();
        self.busy.fetch_add(1, Ordering::SeqCst);
        let run = move || {
            // A defect in one wish must not leave it pending for ever.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&handle)));
            let lost = || Trouble { message: "a defect of metawsm ended it".to_owned(), hint: None, undone: vec![] };
            tell(done.map_or_else(|_| Err(lost()), |done| done.map_err(Into::into)));
            handle.busy.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("wish".to_owned()).spawn(run).is_err() {
            self.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Carries a wish out; `tell` gets words for what was done.
    pub fn carry_out(&self, wish: Wish, tell: impl FnOnce(Result<String, Trouble>) + Send + 'static) {
        self.beside(
            move |handle| match wish {
                Wish::All(wishes) => handle.do_all(wishes),
                wish => handle.do_it(wish).map_err(Trouble::from),
            },
            tell,
        );
    }

    /// Says what a wish would do, without doing it.
    pub fn preview(&self, wish: Wish, tell: impl FnOnce(Result<Preview, Trouble>) + Send + 'static) {
        self.beside(move |handle| handle.would(&wish), tell);
    }

    /// Makes a run's page.
    pub fn page(&self, run_id: String, tell: impl FnOnce(Result<RunPage, Trouble>) + Send + 'static) {
        self.beside(move |handle| run_page(&handle.engine, &run_id), tell);
    }

    /// Says why something stands as it does.
    pub fn explain(&self, what: What, tell: impl FnOnce(Result<Explanation, Trouble>) + Send + 'static) {
        let look = move |handle: &Self| {
            let engine = &handle.engine;
            let reader = engine.reader()?;
            let viewer = viewer_of(&handle.caller.actor, handle.caller.identity.as_ref());
            explain(&View::new(&engine.home, &reader, engine.now(), viewer), &what)
        };
        self.beside(look, tell);
    }

    /// Notes that who wishes is there, and tells what happened since he left, if he has been away.
    pub fn come_back(&self, tell: impl FnOnce(Result<Option<Told>, Trouble>) + Send + 'static) {
        self.beside(|handle| report::come_back(&handle.engine, &handle.caller.actor), tell);
    }

    /// Notes that who wishes is there.
    pub fn note_there(&self) {
        let log = Log::new(&self.engine.home);
        let note = move |done: Result<(), Trouble>| {
            if let Err(trouble) = done {
                log.line("presence", &trouble.message);
            }
        };
        self.beside(|handle| report::note_there(&handle.engine, &handle.caller.actor), note);
    }

    /// Tells what happened since then.
    pub fn tell_since(&self, since: Moment, tell: impl FnOnce(Result<Told, Trouble>) + Send + 'static) {
        let look = move |handle: &Self| {
            let engine = &handle.engine;
            report::report(&*engine.reader()?, None, since, engine.now())
        };
        self.beside(look, tell);
    }

    /// Who wishes leaves: what may take long and can be wished again ends where it stands, with the tests, hooks and
    /// pushes that it has started.
    pub fn break_off(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// How many wishes are under way.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }

    /// How a terminal is attached to an agent's session.
    ///
    /// # Errors
    /// When it has none.
    pub fn attach(&self, key: &AgentKey) -> Result<Attach, Trouble> {
        let find = || -> Result<Attach, EngineError> {
            let agent = self.agent(key)?;
            let none = || EngineError::not_found(format!("agent {} has no session", key.name), "R restarts it");
            let tmux = Engine::known_tmux(&self.engine.home)?.ok_or_else(none)?;
            if !tmux.has_session(&agent.spec.session)? {
                return Err(none());
            }
            Ok(tmux.attach_command(&agent.spec.session)?)
        };
        find().map_err(Trouble::from)
    }

    fn agent(&self, key: &AgentKey) -> Result<Agent, EngineError> {
        self.engine
            .reader()?
            .agents(&key.run_id)?
            .into_iter()
            .find(|agent| agent.key == *key)
            .ok_or_else(|| EngineError::not_found(format!("no agent {}", key.name), "the list shows those there are"))
    }

    fn do_it(&self, wish: Wish) -> Result<String, EngineError> {
        let (engine, caller) = (self.engine.as_ref(), &self.caller);
        match wish {
            Wish::Reply { thread_id, body, answer } => self.reply(thread_id, body, answer),
            Wish::Ask { ticket, title, body } => {
                let ask = ThreadWish::Ask {
                    ticket,
                    agent: caller.identity.clone(),
                    title,
                    body,
                    priority: Priority::Normal,
                    wait: false,
                    author: None,
                };
                self.say(engine.ledger.new_id("fthr"), ask)?;
                Ok("asked".to_owned())
            }
            Wish::Type { key, text } => self.type_to(key, text),
            Wish::Seen(thread_id) => {
                self.say(thread_id, ThreadWish::Seen { viewer: self.viewer_id(), seq: None })?;
                Ok(String::new())
            }
            Wish::Thread(thread_id, change) => self.change(thread_id, change),
            Wish::Restart(key) => self.restart(&key),
            Wish::Hold(key) => {
                engine.order_agent(caller, &key, AgentWish::Hold { reason: None })?;
                Ok(format!("{} is held: rules leave it alone; H releases it", key.name))
            }
            Wish::Release(key) => {
                engine.order_agent(caller, &key, AgentWish::Release)?;
                Ok(format!("{} is released: rules look after it again", key.name))
            }
            Wish::StopAgent(key) => {
                stopping::stop_agent(engine, caller, &self.agent(&key)?)?;
                Ok(format!("{} is stopped", key.name))
            }
            Wish::StopRun(run_id) => {
                stopping::stop_run(engine, caller, &run_id)?;
                Ok(format!("{run_id} is stopped; u resumes it"))
            }
            Wish::Pause(run_id) => {
                engine.order_run(caller, &run_id, RunWish::Pause)?;
                Ok(format!("{run_id} is paused; its sessions live on"))
            }
            Wish::Resume(run_id) => {
                engine.order_run(caller, &run_id, RunWish::Resume)?;
                Ok(format!("{run_id} goes on"))
            }
            Wish::Close { run_id, merge } => self.close(&run_id, merge),
            Wish::Merge(run_id) => self.merge(&run_id),
            Wish::Commit(run_id) => self.commit(&run_id),
            Wish::PullRequest(run_id) => self.pull_request(&run_id),
            Wish::ReviewSync(run_id) => self.review_sync(&run_id),
            Wish::Iterate { run_id, feedback } => self.iterate(&run_id, &feedback),
            Wish::AcceptSuggestion(id) => {
                let (accepted, done) = operator::accept(engine, caller, &id, Some(&self.ending))?;
                let made: Vec<String> = done.iter().map(operator::Done::words).collect();
                Ok(format!("accepted: {}", if made.is_empty() { offer(&accepted) } else { made.join("; ") }))
            }
            Wish::DismissSuggestion(id) => {
                let dismissed = operator::dismiss(engine, caller, &id)?;
                Ok(format!("dismissed: {}", offer(&dismissed)))
            }
            Wish::AckEscalation(id) => {
                operator::acknowledge(engine, caller, &id, None, None)?;
                Ok("acknowledged; it is silent until due".to_owned())
            }
            Wish::ResolveEscalation(id, note) => {
                operator::resolve(engine, caller, &id, Some(note).filter(|note| !note.trim().is_empty()))?;
                Ok("resolved".to_owned())
            }
            Wish::SetMode(mode) => {
                set_mode(&engine.home, mode)?;
                Ok(format!("the policy's mode is {} now", mode.word()))
            }
            Wish::RetryLetter(id) => {
                outbox::settle(engine, caller, id, OutboxWish::Retry)?;
                Ok(format!("letter {id} is tried again"))
            }
            Wish::DropLetter(id) => {
                outbox::settle(engine, caller, id, OutboxWish::Drop)?;
                Ok(format!("letter {id} is dropped"))
            }
            Wish::All(wishes) => {
                for named in wishes {
                    self.do_it(named.wish)?;
                }
                Ok(String::new())
            }
        }
    }

    fn viewer_id(&self) -> String {
        crate::store::read::forum::viewer_of(&self.caller.actor, self.caller.identity.as_ref()).id()
    }

    fn say(&self, thread_id: String, wish: ThreadWish) -> Result<(), EngineError> {
        let command = Command::Thread { thread_id, run_id: None, wish };
        let order =
            Order { command: &command, actor: &self.caller.actor, identity: self.caller.identity.as_ref(), key: None };
        self.engine.ledger.execute(&order)?;
        Ok(())
    }

    fn reply(&self, thread_id: String, body: String, answer: bool) -> Result<String, EngineError> {
        let wish = if answer {
            ThreadWish::Answer { body, in_reply_to: None, author: None }
        } else {
            ThreadWish::Post { body, wait: false, author: None }
        };
        self.say(thread_id, wish)?;
        Ok(if answer { "answered" } else { "posted" }.to_owned())
    }

    /// What comes of it later is seen in the home.
    fn type_to(&self, key: AgentKey, text: String) -> Result<String, EngineError> {
        let (engine, name) = (self.engine.as_ref(), key.name.clone());
        let hold = delivery::in_the_way(engine, &key, self.caller.actor.kind, false)?;
        if let Some(Hold::Dialog(_)) = &hold {
            let words = hold.map(|hold| hold.words(&name)).unwrap_or_default();
            return Err(EngineError::refused(format!("nothing was typed: {words}"), "a attaches: answer it there"));
        }
        let wish = DeliveryWish::Queue { key, text, urgent: false };
        delivery::queue(engine, &self.caller, wish, None)?;
        Ok(match hold {
            Some(hold) => format!("it waits: {}", hold.words(&name)),
            None => String::new(),
        })
    }

    fn change(&self, thread_id: String, change: Change) -> Result<String, EngineError> {
        let (wish, words) = match change {
            Change::State(to) => (ThreadWish::State { to }, format!("it is {} now", to.word().replace('_', " "))),
            Change::Priority(to) => (ThreadWish::Priority { to }, format!("its priority is {} now", to.word())),
            Change::Assignee(assignee_type, assignee) => {
                let words = format!("assigned to {assignee}");
                (ThreadWish::Assign { assignee_type, assignee, note: None }, words)
            }
            Change::Close => (ThreadWish::Close, "closed; o opens it again".to_owned()),
            Change::Reopen => (ThreadWish::Reopen, "open again".to_owned()),
        };
        self.say(thread_id, wish)?;
        Ok(words)
    }

    /// The wish is written down; whoever supervises carries it out.
    fn restart(&self, key: &AgentKey) -> Result<String, EngineError> {
        let reason = format!("restarted by {}", self.caller.actor);
        self.engine.order_agent(&self.caller, key, AgentWish::Restart { reason, by_rule: false })?;
        Ok(format!("{} is being restarted", key.name))
    }
}

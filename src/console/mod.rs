//! Floor 4: the full-screen console.
//!
//! The only loop: wait, take all that is waiting, update, then draw once, and only when something changed, at most
//! every 16 ms. Nothing here waits for a database, for git or for tmux: snapshots come in as messages, wishes go
//! out and answer as messages.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGTERM};
use thiserror::Error;

use crate::domain::agent::AgentKey;
use crate::services::duty::Duty;
use crate::services::engine::{Caller, Engine};
use crate::services::error::EngineError;
use crate::services::handle::Handle;
use crate::services::live::Live;
use crate::services::snapshot::{Look, Source, Watch};

pub mod action;
pub mod app;
mod defect;
mod editor;
mod input;
pub mod keymap;
pub mod msg;
pub mod screens;
pub mod terminal;
pub mod theme;
pub mod widgets;

use app::{App, Opening};
use input::Input;
use msg::{Effect, Msg, Time};
use terminal::Screen;
use theme::Theme;

/// Between two drawings at least.
const FRAME: Duration = Duration::from_millis(16);
/// So long the first frame waits for something to show.
const FIRST: Duration = Duration::from_millis(150);
/// Wishes under way are waited for so long when the screen is left.
const LAST_WISHES: Duration = Duration::from_secs(20);

/// Why the console did not open, or did not go on.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Opens the console on a home and stays until it is left; what is to be said then is handed back.
///
/// # Errors
/// [`ConsoleError`].
pub fn open(engine: &Arc<Engine>, caller: &Caller, opening: Opening) -> Result<String, ConsoleError> {
    let source = Source::open(&engine.home, caller)?;
    let handle = Handle::new(Arc::clone(engine), caller.clone());
    let (sender, messages) = channel();
    let signals = signals(&sender)?;
    defect::report(engine, &sender);
    let mut screen = Screen::take()?;
    let variables = engine.surroundings.variables.clone();
    let theme = Theme::of(|name| variables.get(name).cloned());
    let began = Instant::now();
    let clock = move |engine: &Engine| Time { now: engine.now(), up: began.elapsed() };
    let app = App::new(theme, opening, clock(engine), screen.size());
    let input = Input::begin(sender.clone())?;
    let mut running = Running {
        watch: Watch::begin(source, tell(&sender, Msg::Look)),
        live: Live::begin(&engine.home, tell(&sender, Msg::Screen)),
        duty: Some(handle.begin_duty(&app.opening.conduct)),
        handle,
        sender,
        messages,
        input,
        app,
        began,
    };
    let done = running.run(&mut screen);
    running.input.stop();
    drop(screen);
    let parting = running.end();
    signals.close();
    defect::report_no_more();
    done?;
    Ok(parting)
}

fn tell<T>(sender: &Sender<Msg>, make: fn(T) -> Msg) -> impl FnMut(T) -> bool + Send + use<T> {
    let sender = sender.clone();
    move |value| sender.send(make(value)).is_ok()
}

/// What the loop holds.
struct Running {
    app: App,
    handle: Handle,
    watch: Watch,
    live: Live,
    duty: Option<Duty>,
    input: Input,
    sender: Sender<Msg>,
    messages: Receiver<Msg>,
    began: Instant,
}

/// What follows from a round of the loop.
enum Next {
    Go,
    Leave,
}

impl Running {
    fn run(&mut self, screen: &mut Screen) -> io::Result<()> {
        // An empty frame first would keep the full one back by the time between two frames.
        while let Some(left) = FIRST.checked_sub(self.began.elapsed()).filter(|_| !self.app.loaded) {
            let Ok(msg) = self.messages.recv_timeout(left) else { break };
            if let Next::Leave = self.take(msg, screen)? {
                return Ok(());
            }
        }
        screen.draw(&self.app)?;
        let mut drawn = Instant::now();
        let mut dirty = false;
        loop {
            let first = self.wait(dirty.then(|| FRAME.saturating_sub(drawn.elapsed())));
            let mut waiting = first;
            while let Some(msg) = waiting {
                dirty |= self.is_news(&msg);
                if let Next::Leave = self.take(msg, screen)? {
                    return Ok(());
                }
                waiting = self.messages.try_recv().ok();
            }
            if dirty && drawn.elapsed() >= FRAME {
                screen.draw(&self.app)?;
                drawn = Instant::now();
                dirty = false;
            }
        }
    }

    /// Whether something may look different now.
    fn is_news(&self, msg: &Msg) -> bool {
        !matches!(msg, Msg::Look(Look::Same)) || self.app.store_trouble.is_some()
    }

    /// The next message: `None` when a frame is due and nothing came.
    fn wait(&self, frame: Option<Duration>) -> Option<Msg> {
        let tick = self.app.deadline().saturating_sub(self.began.elapsed());
        match self.messages.recv_timeout(frame.unwrap_or(tick).min(tick)) {
            Ok(msg) => Some(msg),
            Err(RecvTimeoutError::Timeout) => (tick <= frame.unwrap_or(tick)).then_some(Msg::Tick),
            Err(RecvTimeoutError::Disconnected) => Some(Msg::End),
        }
    }

    fn take(&mut self, msg: Msg, screen: &mut Screen) -> io::Result<Next> {
        let time = Time { now: self.handle.engine().now(), up: self.began.elapsed() };
        for effect in self.app.update(msg, time) {
            match effect {
                Effect::Quit => return Ok(Next::Leave),
                Effect::Redraw => {
                    defect::drill(self.handle.engine());
                    screen.clear()?;
                }
                Effect::Attach(key) => self.attach(&key, screen)?,
                Effect::Edit(name, text) => self.edit(name, &text, screen)?,
                Effect::Suspend => self.suspend(screen)?,
                Effect::LeaveBehind => self.leave_behind(),
                Effect::Supervise => self.duty = Some(self.handle.begin_duty(&self.app.opening.conduct)),
                effect => self.ask(effect),
            }
        }
        Ok(Next::Go)
    }

    /// What does not concern the terminal as a whole.
    fn ask(&self, effect: Effect) {
        let sender = self.sender.clone();
        match effect {
            Effect::Do(token, wish) => self.handle.carry_out(wish, move |done| {
                let _ = sender.send(Msg::Done(token, done));
            }),
            Effect::Preview(token, wish) => self.handle.preview(wish, move |done| {
                let _ = sender.send(Msg::Previewed(token, done));
            }),
            Effect::Explain(token, what) => self.handle.explain(what, move |told| {
                let _ = sender.send(Msg::Explained(token, told.map(Box::new)));
            }),
            Effect::ComeBack => self.handle.come_back(move |told| {
                let _ = sender.send(Msg::Since(told.map(|told| told.map(Box::new))));
            }),
            Effect::There => self.handle.note_there(),
            Effect::Since(since) => self.handle.tell_since(since, move |told| {
                let _ = sender.send(Msg::Since(told.map(|told| Some(Box::new(told)))));
            }),
            Effect::Page(run_id) => self.handle.page(run_id, move |page| {
                let _ = sender.send(Msg::Paged(page.map(Box::new)));
            }),
            Effect::Want(want) => self.watch.want(want),
            Effect::Watch(target) => self.live.look_at(target),
            Effect::Stirred => self.live.stirred(),
            Effect::KeepDraft(name, text) => self.handle.keep_draft(&name, text),
            Effect::LoadDraft(token, name) => self.handle.draft(&name, move |text| {
                let _ = sender.send(Msg::Draft(token, text));
            }),
            Effect::Title(text) => terminal::title(&text),
            Effect::Bell => terminal::bell(),
            Effect::Desktop(words) => terminal::desktop(&words),
            Effect::Quit | Effect::Redraw | Effect::Attach(_) | Effect::Edit(..) | Effect::Suspend => {}
            Effect::LeaveBehind | Effect::Supervise => {}
        }
    }

    /// The agent's session has the terminal until it is detached from. Everything else goes on meanwhile.
    fn attach(&mut self, key: &AgentKey, screen: &mut Screen) -> io::Result<()> {
        let trouble = match self.handle.attach(key) {
            Err(trouble) => Some(trouble.message),
            Ok(attach) => {
                self.input.pause();
                screen.lend();
                let ended = run_attached(&attach.argv, &attach.unset);
                self.input.resume();
                screen.resume()?;
                match ended {
                    Ok(status) if status.success() => None,
                    Ok(status) => Some(format!("the session was left with {status}")),
                    Err(error) => Some(format!("tmux could not be started: {error}")),
                }
            }
        };
        let _ = self.sender.send(Msg::Back(trouble));
        let (width, height) = screen.size();
        let _ = self.sender.send(Msg::Resize(width, height));
        Ok(())
    }

    /// An editor has the terminal until it is left; what it leaves in the draft's file is the text.
    fn edit(&mut self, name: String, text: &str, screen: &mut Screen) -> io::Result<()> {
        let variables = self.handle.engine().surroundings.variables.clone();
        let done = match self.handle.draft_to_edit(&name, text) {
            Err(trouble) => Err(trouble),
            Ok(file) => {
                self.input.pause();
                screen.lend();
                let done = editor::write_on(&file, |name| variables.get(name).cloned());
                self.input.resume();
                screen.resume()?;
                done
            }
        };
        let _ = self.sender.send(Msg::Edited(name, done));
        let (width, height) = screen.size();
        let _ = self.sender.send(Msg::Resize(width, height));
        Ok(())
    }

    /// What supervises here ends first, or the other could not begin.
    fn leave_behind(&mut self) {
        let sender = self.sender.clone();
        self.handle.leave_behind(self.duty.take(), self.app.opening.conduct.mode, move |done| {
            let _ = sender.send(Msg::LeftBehind(done));
        });
    }

    /// Stopped, this process cannot watch anybody: another one may.
    fn suspend(&mut self, screen: &mut Screen) -> io::Result<()> {
        self.input.pause();
        self.duty = None;
        screen.lend();
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        self.duty = Some(self.handle.begin_duty(&self.app.opening.conduct));
        self.input.resume();
        screen.resume()?;
        let (width, height) = screen.size();
        let _ = self.sender.send(Msg::Resize(width, height));
        Ok(())
    }

    /// What was begun comes to its end, or is broken off where that may take long; then the right to supervise is given
    /// back. What is still to be said then, also of what came to nothing.
    fn end(mut self) -> String {
        self.handle.break_off();
        let deadline = Instant::now() + LAST_WISHES;
        while self.handle.busy() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.duty = None;
        self.app.parting(self.messages.try_iter())
    }
}

fn run_attached(argv: &[std::ffi::OsString], unset: &[&str]) -> io::Result<ExitStatus> {
    let Some((program, args)) = argv.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(args);
    for name in unset {
        command.env_remove(name);
    }
    command.status()
}

/// SIGTERM and SIGHUP end the program as leaving it does.
fn signals(sender: &Sender<Msg>) -> io::Result<signal_hook::iterator::Handle> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP])?;
    let (handle, sender) = (signals.handle(), sender.clone());
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            let _ = sender.send(Msg::End);
        }
    })?;
    Ok(handle)
}

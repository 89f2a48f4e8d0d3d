//! Supervision in the background: asks for the lease, and looks after everything while it has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::engine::Engine;
use super::log::Log;
use super::operator::Conduct;
use super::supervisor::Supervisor;

/// How often the lease is asked for while another process has it: it is taken over within a second.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A thread that supervises while it may.
#[derive(Debug)]
pub struct Duty {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Duty {
    /// Begins.
    pub fn begin(engine: &Arc<Engine>) -> Self {
        Self::begin_as(engine, Conduct::default())
    }

    /// Begins, with the operator conducted as this process was told.
    pub fn begin_as(engine: &Arc<Engine>, conduct: Conduct) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, told) = (Arc::clone(engine), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || serve(&engine, &conduct, &told))
            .ok();
        Self { stop, thread }
    }

    /// Ends: the lease is given back, agents go on.
    pub fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(engine: &Arc<Engine>, conduct: &Conduct, stop: &AtomicBool) {
    let log = Log::new(&engine.home);
    let mut holder: Option<Supervisor> = None;
    let mut said = String::new();
    while !stop.load(Ordering::SeqCst) {
        let pause = match &mut holder {
            None => match Supervisor::try_new_as(engine, conduct.clone()) {
                Ok(Some(supervisor)) => {
                    holder = Some(supervisor);
                    Duration::ZERO
                }
                Ok(None) => ASK_EVERY,
                Err(error) => {
                    say(&log, &mut said, &format!("the supervisor lease: {error}"));
                    ASK_EVERY
                }
            },
            Some(supervisor) => {
                match supervisor.tick() {
                    Ok(complaints) => say(&log, &mut said, &complaints.join("; ")),
                    Err(error) => say(&log, &mut said, &error.to_string()),
                }
                observe_every(engine)
            }
        };
        std::thread::park_timeout(pause);
    }
    if let Some(supervisor) = holder {
        supervisor.end();
    }
}

fn observe_every(engine: &Engine) -> Duration {
    let millis = engine.home.load_policy(&[]).map_or(1000, |live| live.policy.health.observe_ms);
    Duration::from_millis(u64::from(millis.max(50)))
}

/// The same complaint at every tick is said once.
fn say(log: &Log, said: &mut String, words: &str) {
    if !words.is_empty() && words != said {
        log.line("supervisor", words);
    }
    words.clone_into(said);
}

//! A defect of the console: the terminal is given back before a word is said, and the report is a file of its own.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::msg::Msg;
use super::terminal;
use crate::services::engine::Engine;
use crate::services::home::{Home, make_dir, write_private};
use crate::services::log::Log;
use crate::services::text::one_line;

/// With this in its environment a debug build fails at ctrl-l, so that tests see what a defect leaves behind.
#[cfg(debug_assertions)]
const DRILL: &str = "METAWSM_DRILL_DEFECT";

/// Has defects written down. One on the screen's thread ends the console, which says where the report is; one on
/// another thread is told to the console, which goes on.
pub fn report(engine: &Arc<Engine>, sender: &Sender<Msg>) {
    let before = std::panic::take_hook();
    let (engine, sender) = (Arc::downgrade(engine), sender.clone());
    let screen = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let ours = std::thread::current().id() == screen;
        if ours {
            terminal::give_back();
        }
        let Some(engine) = engine.upgrade() else { return before(info) };
        let words = one_line(&info.to_string());
        Log::new(&engine.home).line("panic", &words);
        match (write(&engine.home, &engine.now().compact(), info), ours) {
            (Some(file), true) => terminal::say(&format!(
                "metawsm: the console failed: {words}\n  the report is in {}\n  agents go on; `metawsm` opens the \
                 console again",
                file.display()
            )),
            (Some(file), false) => {
                let _ = sender.send(Msg::Defect(format!("a part of metawsm failed; see {}", file.display())));
            }
            (None, true) => before(info),
            (None, false) => {}
        }
    }));
}

/// Takes back what [`report`] has set up.
pub fn report_no_more() {
    let _ = std::panic::take_hook();
}

/// The file that holds the report, where it could be written.
fn write(home: &Home, now: &str, info: &PanicHookInfo<'_>) -> Option<PathBuf> {
    let thread = std::thread::current();
    let report = format!(
        "metawsm {} ({} {})\n{now}, process {}, thread {}\n\n{info}\n\n{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        std::process::id(),
        thread.name().unwrap_or("?"),
        Backtrace::force_capture()
    );
    let logs = home.inside().join("logs");
    let file = logs.join(format!("panic-{now}-{}.txt", std::process::id()));
    make_dir(&logs).ok()?;
    write_private(&file, report.as_bytes()).ok()?;
    Some(file)
}

/// Fails where a test has asked for it; nothing at all in a release.
pub fn drill(_engine: &Engine) {
    #[cfg(debug_assertions)]
    assert!(!_engine.surroundings.variables.contains_key(DRILL), "a drill");
}

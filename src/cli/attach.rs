//! `attach`: becomes tmux, attached to an agent's session.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::args::AgentSelector;
use super::exit::{self, Failure};
use super::reply::Reply;
use super::select;
use super::session::Session;
use crate::services::engine::Engine;
use crate::services::error::EngineError;

pub fn run(session: &Session, which: &AgentSelector) -> Result<Reply, Failure> {
    let (home, reader) = session.reader()?;
    let run = select::run(session, &reader, &which.selector)?;
    let agent = select::agent(&reader, &run, which)?;
    let tmux = Engine::known_tmux(&home)?.ok_or_else(|| {
        Failure::new(exit::NOT_FOUND, "no agent was started here yet").hint("metawsm run, or metawsm resume")
    })?;
    if !tmux.has_session(&agent.spec.session).map_err(EngineError::from)? {
        return Err(Failure::new(
            exit::NOT_FOUND,
            format!("agent {} has no session: it is {}", agent.key.name, agent.status),
        )
        .hint("metawsm logs shows its last screen, metawsm restart starts it again"));
    }
    let attach = tmux.attach_command(&agent.spec.session).map_err(EngineError::from)?;
    let mut command = Command::new(&attach.argv[0]);
    command.args(&attach.argv[1..]);
    for name in attach.unset {
        command.env_remove(name);
    }
    // Only a failure comes back.
    let error = command.exec();
    Err(Failure::new(exit::OUTSIDE, format!("tmux could not be started: {error}")).hint("install tmux 3.2 or newer"))
}

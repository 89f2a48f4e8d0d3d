//! Whether the adviser's program is there, where the mode asks it.

use super::super::session::Session;
use super::runners::find;
use super::{Finding, bad, good};
use crate::domain::policy::OperatorMode;
use crate::services::adviser::program_in;
use crate::services::home::Home;

/// Without it the rules go on as they are: only who lets it call humans relies on it.
pub fn there(session: &Session, home: &Home) -> Option<Finding> {
    let llm = home.load_policy(&[]).ok()?.policy.operator.llm;
    let program = llm.command.first()?;
    let mode = llm.mode.word();
    if llm.mode == OperatorMode::Off {
        return Some(good("adviser", "nobody is asked in mode off"));
    }
    let path = program_in(home, program).display().to_string();
    Some(match find(&path, &session.surroundings.variables) {
        Some(found) => good("adviser", format!("{} is asked in mode {mode}", found.display())),
        None => {
            let what = format!("{program} is not installed or not on PATH: nobody advises in mode {mode}");
            let mend = "install it, name another in operator.llm.command, or: metawsm operator mode off";
            let finding = bad("adviser", what, mend);
            Finding { ok: llm.mode == OperatorMode::Assist, ..finding }
        }
    })
}

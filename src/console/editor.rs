//! A person's own editor, for a text of more than a few lines.

use std::path::Path;
use std::process::Command;

use crate::domain::thread::LONGEST_BODY;
use crate::services::handle::Trouble;

/// Where nothing is said; every system has it.
const USUAL: &str = "vi";

/// Lets `$VISUAL`, `$EDITOR` or vi write on a file, and says what is in it then.
///
/// # Errors
/// When there is no such program, it fails, or what it leaves is no text. The file stays.
pub fn write_on(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<String, Trouble> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let line = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| USUAL.to_owned());
    let trouble = |message: String| Trouble {
        message,
        hint: Some("$VISUAL or $EDITOR names the editor".to_owned()),
        undone: vec![],
    };
    let words = shell_words::split(&line).map_err(|_| trouble(format!("`{line}` is no command")))?;
    let Some((program, args)) = words.split_first() else { return Err(trouble(format!("`{line}` is no command"))) };
    let status = Command::new(program)
        .args(args)
        .arg(file)
        .status()
        .map_err(|error| trouble(format!("{program} could not be started: {error}")))?;
    let kept =
        |message: String| Trouble { message, hint: Some(format!("the text is in {}", file.display())), undone: vec![] };
    if !status.success() {
        return Err(kept(format!("{program} ended with {status}: the text is as it was")));
    }
    let bytes = std::fs::read(file).map_err(|error| kept(format!("the draft cannot be read: {error}")))?;
    if bytes.len() > LONGEST_BODY {
        return Err(kept(format!("{} bytes are too many: at most {LONGEST_BODY} can be sent", bytes.len())));
    }
    String::from_utf8(bytes).map_err(|_| kept("what the editor left is not UTF-8".to_owned()))
}

//! Finds the SKILL.md of a skill (original 2): the home's own, then the user's.

use std::path::{Path, PathBuf};

use super::error::EngineError;

/// The file that describes skill `name`.
///
/// # Errors
/// [`EngineError::NotFound`] naming every place that was looked at.
pub fn find(home: &Path, user_home: Option<&Path>, name: &str) -> Result<PathBuf, EngineError> {
    let file = Path::new("skills").join(name).join("SKILL.md");
    let mut places = vec![home.join(".metawsm").join(&file)];
    if let Some(user) = user_home {
        places.push(user.join(".codex").join(&file));
        places.push(user.join(".claude").join(&file));
    }
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(EngineError::not_found(
        format!("skill {name} is not there; looked at {}", looked.join(", ")),
        "put its SKILL.md into one of these places, or take it out of the profile",
    ))
}

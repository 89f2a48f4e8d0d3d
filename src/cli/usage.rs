//! What the command line does not understand, in the words and the one shape of every other error.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::exit::{self, Failure};

/// A call that does not fit: what is wrong with it, and where its help is.
pub fn failure(error: &clap::Error, args: &[OsString]) -> Failure {
    let call = call(args);
    let help = format!("metawsm {call} --help").replace("  ", " ");
    let hint = match suggestion(error) {
        Some(meant) => format!("perhaps {meant}; {help} has all there is"),
        None if looks_negative(error) => format!("a value that begins so is given as --option=VALUE; {help}"),
        None => help,
    };
    let what = if call.is_empty() { "metawsm" } else { &call };
    Failure::new(exit::USAGE, message(error, what)).hint(hint)
}

fn message(error: &clap::Error, call: &str) -> String {
    let text = |kind| error.get(kind).map(words).unwrap_or_default();
    let (option, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("{call} lacks {option}"),
        ErrorKind::UnknownArgument if option.starts_with('-') => format!("`{option}` is no option of {call}"),
        ErrorKind::UnknownArgument => format!("`{option}` is one word too many for {call}"),
        ErrorKind::InvalidValue if value.is_empty() => format!("{option} needs a value"),
        ErrorKind::InvalidValue => {
            format!("`{value}` is no value of {option}: it is one of {}", text(ContextKind::ValidValue))
        }
        ErrorKind::ValueValidation => format!("`{value}` is no value of {option}: {}", cause(error)),
        ErrorKind::ArgumentConflict => {
            let what = if option.is_empty() { text(ContextKind::InvalidSubcommand) } else { option };
            match text(ContextKind::PriorArg) {
                prior if prior == what => format!("{what} is given more than once"),
                prior if prior.is_empty() => format!("{what} does not go with the rest"),
                prior => format!("{what} does not go with {prior}"),
            }
        }
        ErrorKind::InvalidSubcommand => format!("`{}` is no command of {call}", text(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("{call} needs a subcommand")
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => plain(error),
    }
}

/// The command as far as it was understood: `forum wait`.
fn call(args: &[OsString]) -> String {
    let (mut command, mut words) = (Cli::command(), Vec::new());
    for arg in args.iter().skip(1) {
        if let Some(next) = command.find_subcommand(arg).cloned() {
            words.push(next.get_name().to_owned());
            command = next;
        }
    }
    words.join(" ")
}

/// Why a value is none.
fn cause(error: &clap::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) if cause.is::<std::num::ParseIntError>() => "a whole number from 0 on is wanted".to_owned(),
        Some(cause) => cause.to_string(),
        None => "it is not understood".to_owned(),
    }
}

fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        other => other.to_string(),
    }
}

/// What was meant, where a letter or two make the difference.
fn suggestion(error: &clap::Error) -> Option<String> {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| error.get(kind))
        .map(words)
        .filter(|words| !words.is_empty())
}

/// Whether what was taken for an option may have been meant as the value of one: `-5m`.
fn looks_negative(error: &clap::Error) -> bool {
    let arg = error.get(ContextKind::InvalidArg).map(words).unwrap_or_default();
    let digit = arg.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    error.kind() == ErrorKind::UnknownArgument && digit
}

/// clap's own message on one line, without its usage and tips.
fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .trim_start_matches("error: ")
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ")
}

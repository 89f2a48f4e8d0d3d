//! The metawsm command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A broken report of a defect is no reason not to run.
    let _ = color_eyre::install();
    metawsm::cli::main(std::env::args_os().collect())
}

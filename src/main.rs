//! The binary: parse, and hand over to the role.

use std::process::ExitCode;

fn main() -> ExitCode {
    everstep::app::run(everstep::cli::parse())
}

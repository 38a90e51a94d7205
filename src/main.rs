//! The program. Everything is in the library; this is where it starts and how it ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    farshore::cli::run()
}

//! The `capsd` program: everything is in the library, this only ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic on this thread is a bug of ours; its message is already on standard error.
    let outcome = std::panic::catch_unwind(|| capsd::cli::run(std::env::args_os()));
    outcome.unwrap_or(capsd::cli::Exit::Bug).into()
}

//! The command `capsd`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    capsd::cli::main()
}

//! The commands.

pub mod check;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A shared, verifying cache for XMPP entity capabilities.
#[derive(Debug, Parser)]
#[command(name = "capsd", version, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::RunArguments),
    /// Check a configuration without starting anything
    Check(check::CheckArguments),
}

/// Runs the command that the arguments of the process name.
///
/// Exit codes: 0 done; 1 the answer is no; 2 usage, configuration or an unreadable file; 3 the store is in use or newer than this
/// version; 4 no daemon answers; 70 a bug.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
    }
}

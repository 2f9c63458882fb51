//! The commands of `capsd`.
//!
//! Standard output carries data only, explanations go to standard error, and the exit code says how it went (see [`Exit`]).
//! Each command has a module of its own, with its arguments beside what it does.

mod ask;
pub mod check;
mod doctor;
mod document;
mod export;
mod hash;
mod import;
mod interrupt;
mod order;
mod progress;
mod run;
mod screen;
mod tier;
mod top;
mod verify;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; the answer is yes.
    Done,
    /// The answer is no: rejected, quarantined, not found, some refused.
    No,
    /// Wrong usage, wrong configuration or an unreadable file.
    Usage,
    /// The store is in use, or newer than this version.
    Store,
    /// No daemon answers.
    NoDaemon,
    /// The HTTP address cannot be had now; the same command may work later.
    NotNow,
    /// A bug of ours.
    Bug,
}

impl Exit {
    /// Every way to end.
    pub const ALL: [Exit; 7] = [
        Exit::Done,
        Exit::No,
        Exit::Usage,
        Exit::Store,
        Exit::NoDaemon,
        Exit::Bug,
        Exit::NotNow,
    ];

    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Store => 3,
            Exit::NoDaemon => 4,
            Exit::Bug => 70,
            // That of sysexits.h for what may work when it is tried again.
            Exit::NotNow => 75,
        }
    }

    /// What it says, for the manual; `literals` in backticks.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done; `verify`: verified; `check`: usable",
            Exit::No => {
                "the answer is no: rejected, quarantined or not found; some of an import was refused, or it was interrupted; a \
                 directory or bundle that cannot be used; a link that cannot be opened; `doctor`: there is a problem"
            }
            Exit::Usage => "usage, configuration, or a file that cannot be read",
            Exit::Store => "the store is in use, or was written by a newer version",
            Exit::NoDaemon => "no daemon answers, or it has no time now: it is ending, or busy",
            Exit::Bug => "a bug",
            Exit::NotNow => {
                "`run`: `http.listen` is an address that no interface has now, or that another program listens on; it may work when it \
                 is tried again, as the systemd unit does"
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The command line as a whole, of which manual and completions are made.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Why a command could not do its work, before it printed any data: one message, which says what to do about it, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// For people: symptom, cause and next step.
    pub message: String,
    /// The exit code that goes with it.
    pub exit: Exit,
}

/// A shared, verifying cache for XMPP entity capabilities.
#[derive(Debug, Parser)]
#[command(name = "capsd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::CheckArguments),
    Verify(verify::Arguments),
    Hash(hash::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    Lookup(ask::LookupArguments),
    Resolve(ask::ResolveArguments),
    Status(ask::StatusArguments),
    Reload(order::ReloadArguments),
    Flush(order::FlushArguments),
    Deny(order::DenyArguments),
    Undeny(order::UndenyArguments),
    Pin(order::PinArguments),
    Unpin(order::UnpinArguments),
    LogLevel(order::LogLevelArguments),
    Doctor(doctor::Arguments),
    Top(top::TopArguments),
    Flights(top::FlightsArguments),
    Sync(order::SyncArguments),
}

impl Command {
    /// Whether standard output is to be JSON.
    fn is_json(&self) -> bool {
        match self {
            Command::Verify(arguments) => arguments.json,
            Command::Hash(arguments) => arguments.json,
            Command::Import(arguments) => arguments.json,
            Command::Export(arguments) => arguments.json,
            Command::Lookup(arguments) => arguments.is_json(),
            Command::Resolve(arguments) => arguments.is_json(),
            Command::Status(arguments) => arguments.json,
            Command::Reload(arguments) => arguments.order.json,
            Command::Flush(arguments) => arguments.order.json,
            Command::Deny(arguments) => arguments.order.json,
            Command::Undeny(arguments) => arguments.order.json,
            Command::Pin(arguments) => arguments.order.json,
            Command::Unpin(arguments) => arguments.order.json,
            Command::LogLevel(arguments) => arguments.order.json,
            Command::Sync(arguments) => arguments.order.json,
            Command::Doctor(arguments) => arguments.json,
            Command::Top(arguments) => arguments.json,
            Command::Flights(arguments) => arguments.json,
            // `check` says itself all that there is to say.
            Command::Check(_) | Command::Run(_) => false,
        }
    }
}

/// Runs the command that the arguments name; the first of them is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows which stream they belong on.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return error.print().map_or(Exit::Usage, |()| exit);
        }
    };
    let is_json = arguments.command.is_json();
    let outcome = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => Ok(check::check(&arguments)),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Hash(arguments) => hash::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Lookup(arguments) => ask::look_up(&arguments),
        Command::Resolve(arguments) => ask::resolve(&arguments),
        Command::Status(arguments) => ask::show_status(&arguments),
        Command::Reload(arguments) => order::reload(&arguments),
        Command::Flush(arguments) => order::flush(&arguments),
        Command::Deny(arguments) => order::deny(&arguments),
        Command::Undeny(arguments) => order::undeny(&arguments),
        Command::Pin(arguments) => order::pin(&arguments),
        Command::Unpin(arguments) => order::unpin(&arguments),
        Command::LogLevel(arguments) => order::log_level(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Flights(arguments) => top::flights(&arguments),
        Command::Sync(arguments) => order::sync(&arguments),
    };
    outcome.unwrap_or_else(|failure| {
        if is_json {
            // Whoever reads JSON finds some in any case. There is nowhere to report that it could not be written.
            let _ = print(&json!({ "error": failure.message }).to_string());
        }
        explain(&failure.message);
        failure.exit
    })
}

/// Writes lines of data to standard output.
///
/// # Errors
/// A [`Failure`] where they cannot be written; a reader that has gone away is none.
fn print(lines: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{lines}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure {
            message: format!("cannot write to standard output: {error}"),
            exit: Exit::Usage,
        }),
        _ => Ok(()),
    }
}

/// Writes an explanation to standard error. There is nowhere to report that this failed.
fn explain(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "capsd: {message}");
}

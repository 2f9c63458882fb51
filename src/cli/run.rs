//! `capsd run`: the daemon, in the foreground.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, DEFAULT_PATH};
use crate::{daemon, trace};

/// What `capsd run` is told on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reads the configuration again.
///
/// Exit code 0: ended by a signal; 2: the configuration, the store's directory or the HTTP port is at fault; 3: the store is in use or
/// newer than this version.
pub fn run(arguments: &RunArguments) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(faults) => return refused(&faults),
    };
    if let Err(fault) = trace::start(&config.log) {
        return refused(&fault);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %arguments.config.display(), "capsd starts");
    daemon::run(&config, || Config::load(&arguments.config))
}

fn refused(fault: &dyn std::fmt::Display) -> ExitCode {
    // If even standard error is gone, the exit code has to do.
    let _ = writeln!(std::io::stderr(), "{fault}");
    ExitCode::from(2)
}

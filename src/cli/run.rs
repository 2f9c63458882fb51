//! `capsd run`: the daemon, in the foreground.

use std::path::PathBuf;

use super::{Exit, Failure};
use crate::config::DEFAULT_PATH;
use crate::daemon::{self, StartError, trust};
use crate::store::StoreRefusal;
use crate::trace;

/// Run the daemon in the foreground, until SIGTERM or SIGINT; SIGHUP reads the configuration again
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// Exit code 0: ended by a signal; 2: the configuration, the store's directory or the HTTP address is at fault; 3: the store is in use or
/// newer than this version; 75: the HTTP address cannot be had now, and may be later.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let read = trust::configuration(&arguments.config);
    let (config, overrides) = read.map_err(|faults| usage(&faults))?;
    trace::start(&config.log).map_err(|fault| usage(&fault))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %arguments.config.display(),
        "capsd starts"
    );
    let file = arguments.config.clone();
    let reload = Box::new(move || trust::configuration(&file));
    match daemon::run(&config, overrides, reload) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure {
            message: error.to_string(),
            exit: exit_of(&error),
        }),
    }
}

fn usage(fault: &dyn std::fmt::Display) -> Failure {
    Failure {
        message: fault.to_string(),
        exit: Exit::Usage,
    }
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Store(StoreRefusal::InUse { .. } | StoreRefusal::Newer { .. }) => Exit::Store,
        StartError::Http { error, .. } if daemon::may_pass(error) => Exit::NotNow,
        StartError::Store(_) | StartError::Http { .. } | StartError::Control(_) => Exit::Usage,
        StartError::System { .. } | StartError::Metrics(_) => Exit::Bug,
    }
}

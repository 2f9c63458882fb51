//! Sets up what is written to standard error.
//!
//! `[log] level` is that of capsd itself; the libraries beneath it write warnings and errors only. The environment variable
//! `CAPSD_LOG` overrides it with the directives of tracing-subscriber: `debug`, or `warn,capsd::resolver=trace`.
//! A reload and `capsd log-level` change the level while capsd runs.
//! Colours are used on a terminal only, and not when `NO_COLOR` is set.

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// The environment variable that overrides `[log] level`.
pub const VARIABLE: &str = "CAPSD_LOG";

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TraceFault {
    /// The variable is not what it should be; a usage error, exit code 2.
    #[error(
        "error: the environment variable {VARIABLE} is {value:?}, which cannot be read: {fault}\n\n\
         hint: set it to a level such as `debug`, or to levels of parts as in `info,capsd::resolver=debug`, or unset it"
    )]
    Variable {
        /// What it is set to.
        value: String,
        /// What is wrong with it.
        fault: String,
    },
    /// It was set up before, in the same process; a bug.
    #[error("error: the log was set up twice")]
    Twice,
}

/// Begins to log to standard error.
///
/// # Errors
///
/// When `CAPSD_LOG` cannot be read, or the log was set up before.
pub fn start(log: &Log) -> Result<(), TraceFault> {
    let directives = env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned());
    let filter = filter(log.level, directives.as_deref())?;
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    let (subscriber, change) = subscriber(log.format, filter, colours, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TraceFault::Twice)?;
    CHANGE.set(change).map_err(|_| TraceFault::Twice)
}

/// Takes another level, that of `CAPSD_LOG` notwithstanding; false where the log was not set up.
pub fn change(level: LogLevel) -> bool {
    let filter = filter(level, None).ok();
    CHANGE
        .get()
        .zip(filter)
        .is_some_and(|(change, filter)| change(filter))
}

/// Whether the environment says what is logged.
pub fn is_overridden() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| !value.to_string_lossy().trim().is_empty())
}

/// Puts another filter in force.
type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// That of the process: its log is one.
static CHANGE: OnceLock<Change> = OnceLock::new();

fn changing<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Change
where
    reload::Handle<EnvFilter, S>: Send + Sync,
{
    Box::new(move |filter| handle.reload(filter).is_ok())
}

fn filter(level: LogLevel, directives: Option<&str>) -> Result<EnvFilter, TraceFault> {
    let level = match level {
        LogLevel::Error => "error,capsd=error",
        LogLevel::Warn => "warn,capsd=warn",
        LogLevel::Info => "warn,capsd=info",
        LogLevel::Debug => "warn,capsd=debug",
        LogLevel::Trace => "warn,capsd=trace",
    };
    let directives = directives.filter(|directives| !directives.trim().is_empty());
    let directives = directives.unwrap_or(level);
    EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map_err(|fault| TraceFault::Variable {
            value: directives.to_owned(),
            fault: fault.to_string(),
        })
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, Change)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours)
        // A fault of standard error would be reported by printing to it, which panics.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let change = changing(builder.reload_handle());
            (Box::new(builder.finish()), change)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let change = changing(builder.reload_handle());
            (Box::new(builder.finish()), change)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written so far.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written for one event of each level, from capsd and from a library.
    fn lines(format: LogFormat, level: LogLevel, directives: Option<&str>) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let filter = filter(level, directives).unwrap();
        let (subscriber, _) = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "capsd::x", "own error");
            tracing::info!(target: "capsd::x", links = 2, "own info");
            tracing::debug!(target: "capsd::x", "own debug");
            tracing::warn!(target: "library", "foreign warn");
            tracing::info!(target: "library", "foreign info");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn messages(level: LogLevel, directives: Option<&str>) -> Vec<String> {
        let lines = lines(LogFormat::Json, level, directives);
        let parsed = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        parsed
            .map(|event: serde_json::Value| event["message"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_level_is_that_of_capsd_and_libraries_warn() {
        assert_eq!(messages(LogLevel::Error, None), ["own error"]);
        assert_eq!(
            messages(LogLevel::Warn, None),
            ["own error", "foreign warn"]
        );
        assert_eq!(
            messages(LogLevel::Info, None),
            ["own error", "own info", "foreign warn"]
        );
        let all_but_one = ["own error", "own info", "own debug", "foreign warn"];
        assert_eq!(messages(LogLevel::Trace, None), all_but_one);
    }

    #[test]
    fn the_variable_overrides_the_level() {
        assert_eq!(messages(LogLevel::Info, Some("error")), ["own error"]);
        let directives = Some("error,library=info");
        assert_eq!(
            messages(LogLevel::Trace, directives),
            ["own error", "foreign warn", "foreign info"]
        );
        assert_eq!(messages(LogLevel::Error, Some(" ")), ["own error"]);
    }

    #[test]
    fn a_wrong_variable_is_refused_with_a_remedy() {
        let fault = filter(LogLevel::Info, Some("capsd=loud"))
            .unwrap_err()
            .to_string();
        assert!(fault.contains("CAPSD_LOG is \"capsd=loud\""), "{fault}");
        assert!(
            fault.contains("\n\nhint: set it to a level such as `debug`"),
            "{fault}"
        );
    }

    #[test]
    fn the_level_changes_while_it_is_written() {
        let written = Written::default();
        let writer = written.clone();
        let quiet = filter(LogLevel::Warn, None).unwrap();
        let (subscriber, change) =
            subscriber(LogFormat::Json, quiet, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            for level in [LogLevel::Debug, LogLevel::Error, LogLevel::Info] {
                tracing::debug!(target: "capsd::x", "before {level:?}");
                assert!(change(filter(level, None).unwrap()));
                tracing::debug!(target: "capsd::x", "after {level:?}");
                tracing::info!(target: "capsd::x", "after {level:?}");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let events = events.map(|event: serde_json::Value| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            format!("{} {}", text("level"), text("message"))
        });
        let expected = [
            "DEBUG after Debug",
            "INFO after Debug",
            "DEBUG before Error",
            "INFO after Info",
        ];
        assert_eq!(events.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn text_has_no_colours_and_json_is_one_object_in_a_line() {
        let text = lines(LogFormat::Text, LogLevel::Info, None);
        assert!(
            text[1].ends_with("INFO capsd::x: own info links=2"),
            "{text:?}"
        );
        assert!(text.iter().all(|line| !line.contains('\u{1b}')), "{text:?}");
        let json = lines(LogFormat::Json, LogLevel::Info, None);
        let event: serde_json::Value = serde_json::from_str(&json[1]).unwrap();
        assert_eq!(
            (&event["level"], &event["links"]),
            (&"INFO".into(), &2.into())
        );
    }
}

//! The commands by which an operator changes something while the daemon runs.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::tier::{Place, ask};
use super::{Exit, Failure, explain, print};
use crate::config::LogLevel;
use crate::control::protocol::Answer;
use crate::control::{Request, words};
use crate::trusted::MAX_FILE_LEN;

/// Where an order is given, and how what came of it is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Order {
    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

/// Read configuration, secrets, overrides and trusted content again, and apply what can be applied
///
/// What changed is printed: each key as `applied` or as `needs a restart`. Exit code 2: something is at fault, and nothing was changed.
#[derive(Debug, clap::Args)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    pub(super) order: Order,
}

/// Forget what was learned, in every tier, so that it is asked for again; what you trust or pinned stays
#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = false, args = ["key", "all"])]
pub(super) struct FlushArguments {
    /// A key as the log has it, or a caps node: `NODE#VER` or `urn:xmpp:caps#ALGO.BASE64`
    #[arg(value_name = "KEY")]
    key: Option<String>,

    /// Everything
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    pub(super) order: Order,
}

/// Make the daemon put on disk what it has learned, and wait for it
#[derive(Debug, clap::Args)]
pub(super) struct SyncArguments {
    #[command(flatten)]
    pub(super) order: Order,
}

/// Serve a key no more, and ask nobody for it; kept over a restart
#[derive(Debug, clap::Args)]
pub(super) struct DenyArguments {
    /// A key as the log has it, or a caps node
    #[arg(value_name = "KEY")]
    key: String,

    /// Why; whoever asks for the key is told
    #[arg(value_name = "REASON")]
    reason: String,

    #[command(flatten)]
    pub(super) order: Order,
}

/// Serve a key again that was denied by `capsd deny`
#[derive(Debug, clap::Args)]
pub(super) struct UndenyArguments {
    /// A key as the log has it, or a caps node
    #[arg(value_name = "KEY")]
    key: String,

    #[command(flatten)]
    pub(super) order: Order,
}

/// Serve this content under a key, whatever anybody else says; kept over a restart
#[derive(Debug, clap::Args)]
pub(super) struct PinArguments {
    /// A key as the log has it, or a caps node
    #[arg(value_name = "KEY")]
    key: String,

    /// The file with the disco#info <query/>; it must have the hash
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "pinned by command")]
    reason: String,

    #[command(flatten)]
    pub(super) order: Order,
}

/// End a pin that was made by `capsd pin`
#[derive(Debug, clap::Args)]
pub(super) struct UnpinArguments {
    /// A key as the log has it, or a caps node
    #[arg(value_name = "KEY")]
    key: String,

    #[command(flatten)]
    pub(super) order: Order,
}

/// Log more, or less, until a reload or a restart
#[derive(Debug, clap::Args)]
pub(super) struct LogLevelArguments {
    /// error, warn, info, debug, or trace, which alone names users: accounts beyond a quota, clients whose answers prove nothing, domains that crowd others out
    #[arg(value_name = "LEVEL", value_parser = level)]
    level: LogLevel,

    #[command(flatten)]
    pub(super) order: Order,
}

fn level(text: &str) -> Result<LogLevel, String> {
    LogLevel::from_word(text).ok_or_else(|| "it is error, warn, info, debug or trace".to_owned())
}

/// Exit code 0: applied; 2: at fault, nothing was changed; 4: no daemon answers.
pub(super) fn reload(arguments: &ReloadArguments) -> Result<Exit, Failure> {
    let answer = ask(&mut arguments.order.place.daemon()?, &Request::Reload)?;
    let exit = match &answer {
        Answer::NotReloaded { faults } => {
            if arguments.order.json {
                print(&json!({ "reloaded": false, "faults": faults }).to_string())?;
            } else {
                explain(&words::words(&answer).1);
            }
            Exit::Usage
        }
        Answer::Reloaded(changes) if arguments.order.json => {
            let (applied, restart) = (&changes.applied, &changes.needs_restart);
            print(
                &json!({ "reloaded": true, "applied": applied, "needs-restart": restart })
                    .to_string(),
            )?;
            Exit::Done
        }
        answer => {
            print(&words::words(answer).1)?;
            Exit::Done
        }
    };
    Ok(exit)
}

/// Gives an order; `done` is what programs read of one that is carried out, beside what the answer says of it.
fn give(order: &Order, request: &Request, mut done: Value) -> Result<Exit, Failure> {
    let answer = ask(&mut order.place.daemon()?, request)?;
    match &answer {
        Answer::Flushed { contents, stays } => {
            done["contents"] = json!(contents);
            done["stays"] = json!(stays);
        }
        Answer::Ordered { until_restart } => done["until-restart"] = json!(until_restart),
        _ => {}
    }
    match (order.json, request) {
        (true, _) => print(&done.to_string())?,
        // Scripts wait for it: there is nothing to read.
        (_, Request::Sync) => {}
        _ => print(&words::words(&answer).1)?,
    }
    Ok(Exit::Done)
}

/// Exit code 0: forgotten; 2: no key, or the disk does not take it; 4: no daemon answers.
pub(super) fn flush(arguments: &FlushArguments) -> Result<Exit, Failure> {
    let request = match arguments.key.clone() {
        Some(key) => Request::FlushKey { key },
        None => Request::FlushAll,
    };
    give(&arguments.order, &request, json!({ "flushed": true }))
}

/// Exit code 0: it is on disk; 2: the disk does not take it; 4: no daemon answers.
pub(super) fn sync(arguments: &SyncArguments) -> Result<Exit, Failure> {
    give(&arguments.order, &Request::Sync, json!({ "synced": true }))
}

/// Exit code 0: denied; 2: it cannot be; 4: no daemon answers.
pub(super) fn deny(arguments: &DenyArguments) -> Result<Exit, Failure> {
    let (key, reason) = (arguments.key.clone(), arguments.reason.clone());
    let request = Request::Deny { key, reason };
    give(&arguments.order, &request, json!({ "denied": true }))
}

/// Exit code 0: done; 1: it was not denied by command; 2: the file of overrides speaks for it; 4: no daemon answers.
pub(super) fn undeny(arguments: &UndenyArguments) -> Result<Exit, Failure> {
    let key = arguments.key.clone();
    let request = Request::Undeny { key };
    give(&arguments.order, &request, json!({ "undenied": true }))
}

/// Exit code 0: pinned; 1: the content is not what the key means; 2: the file cannot be read; 4: no daemon answers.
pub(super) fn pin(arguments: &PinArguments) -> Result<Exit, Failure> {
    let file = arguments.file.display();
    let unreadable = |why: String| Failure {
        message: format!(
            "{file} cannot be pinned: {why}. Name a file that holds one disco#info <query/>"
        ),
        exit: Exit::Usage,
    };
    let mut query = String::new();
    File::open(&arguments.file)
        .and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_string(&mut query))
        .map_err(|error| unreadable(error.to_string()))?;
    if query.len() as u64 > MAX_FILE_LEN {
        return Err(unreadable(format!(
            "it is larger than {MAX_FILE_LEN} bytes"
        )));
    }
    let request = Request::Pin {
        key: arguments.key.clone(),
        query,
        reason: arguments.reason.clone(),
    };
    give(&arguments.order, &request, json!({ "pinned": true }))
}

/// Exit code 0: done; 1: it was not pinned by command; 2: the file of overrides speaks for it; 4: no daemon answers.
pub(super) fn unpin(arguments: &UnpinArguments) -> Result<Exit, Failure> {
    let key = arguments.key.clone();
    let request = Request::Unpin { key };
    give(&arguments.order, &request, json!({ "unpinned": true }))
}

/// Exit code 0: in force; 4: no daemon answers.
pub(super) fn log_level(arguments: &LogLevelArguments) -> Result<Exit, Failure> {
    let level = arguments.level;
    let request = Request::LogLevel { level };
    give(
        &arguments.order,
        &request,
        json!({ "log-level": level.word() }),
    )
}

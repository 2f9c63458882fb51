//! `capsd lookup`, `capsd status` and `capsd flush`: questions to the daemon that runs.

use serde_json::{Value, json};

use super::tier::{Place, ask, status};
use super::{Exit, Failure, print};
use crate::caps::Reason;
use crate::control::Request;
use crate::control::protocol::{Answer, Content};

/// Print what a hash stands for, as far as the daemon knows; nobody is asked
///
/// The <query/> is printed, or a JSON object with all that is known of it. Exit code 1: it is not stored.
#[derive(Debug, clap::Args)]
pub(super) struct LookupArguments {
    /// `NODE#VER` (XEP-0115; NODE may be empty) or `urn:xmpp:caps#ALGO.BASE64` (XEP-0390)
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// Print how the daemon and its store are
#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// Make the daemon put on disk what it has learned, and wait for it
#[derive(Debug, clap::Args)]
pub(super) struct FlushArguments {
    #[command(flatten)]
    place: Place,
}

/// Exit code 0: found; 1: not stored; 2: not a caps node; 4: no daemon answers.
pub(super) fn look_up(arguments: &LookupArguments) -> Result<Exit, Failure> {
    let request = Request::Lookup {
        node: arguments.node.clone(),
    };
    let (found, why_not) = match ask(&mut arguments.place.daemon()?, &request)? {
        Answer::Found(content) => (Some(content), String::new()),
        Answer::NotFound {
            denied: Some(reason),
        } => (None, format!("{}: {reason}", Reason::Denied)),
        _ => (None, format!("{}: it is not stored", Reason::Unknown)),
    };
    match (&found, arguments.json) {
        (Some(content), false) => print(&content.query)?,
        (Some(content), true) => print(&found_json(content).to_string())?,
        (None, true) => print(&json!({ "found": false, "reason": why_not }).to_string())?,
        (None, false) => {}
    }
    match found {
        Some(_) => Ok(Exit::Done),
        None => Err(Failure {
            message: why_not,
            exit: Exit::No,
        }),
    }
}

fn found_json(content: &Content) -> Value {
    json!({
        "found": true,
        "tier": content.tier,
        "keys": content.keys,
        "nodes": content.nodes,
        "common": content.seen_nodes.is_some(),
        "query": content.query,
    })
}

/// Exit code 0, and 4 where no daemon answers.
pub(super) fn show_status(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let status = status(&mut arguments.place.daemon()?)?;
    if arguments.json {
        print(&json!(status).to_string())?;
        return Ok(Exit::Done);
    }
    let state = match &status.memory_only {
        None => "on disk".to_owned(),
        Some(cause) => format!("in memory only, a restart loses what is learned: {cause}"),
    };
    let trusted = match status.trusted {
        Some(contents) => format!("{contents} contents"),
        None => "being listed".to_owned(),
    };
    print(&format!(
        "capsd {}, process {}\nlearned: {} contents, {} bytes, {state} ({})\ntrusted: {trusted}",
        status.version, status.process, status.entries, status.bytes, status.store
    ))?;
    Ok(Exit::Done)
}

/// Exit code 0: it is on disk; 2: the disk does not take it; 4: no daemon answers.
pub(super) fn flush(arguments: &FlushArguments) -> Result<Exit, Failure> {
    ask(&mut arguments.place.daemon()?, &Request::Flush).map(|_| Exit::Done)
}

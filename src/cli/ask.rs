//! `capsd lookup`, `capsd resolve` and `capsd status`: questions to the daemon that runs.

use serde_json::{Value, json};

use super::tier::{Place, failed, status};
use super::{Exit, Failure, explain, print};
use crate::control::client::{Client, ClientFault};
use crate::control::protocol::{Answer, Content};
use crate::control::{Request, words};

/// Print what a hash stands for, as far as the daemon knows; nobody is asked
///
/// What is served is said with where it is served from, the `tier` of `--json`: `pinned`, `trusted`, `learned`, or in memory only: `hot`
/// (the store has let go of it, or could not take it) or `probation` (it is written to disk when a second account uses it). Exit code 1:
/// nothing is served.
#[derive(Debug, clap::Args)]
pub(super) struct LookupArguments {
    #[command(flatten)]
    question: Question,
}

/// Print what a hash stands for; whoever announces it is asked now if nothing is served
///
/// Those who failed to prove it before are asked again. Exit code 1: there is no answer.
#[derive(Debug, clap::Args)]
pub(super) struct ResolveArguments {
    #[command(flatten)]
    question: Question,
}

#[derive(Debug, clap::Args)]
struct Question {
    /// `NODE#VER` (XEP-0115; NODE may be empty), `urn:xmpp:caps#ALGO.BASE64` (XEP-0390), or a key as the log has it
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead: `found`, the content and its `tier`, or `reason` (a word) and `detail`
    #[arg(long)]
    json: bool,

    /// Print the disco#info <query/> instead
    #[arg(long, conflicts_with = "json")]
    xml: bool,
}

/// Print how the daemon, its links and its store are
#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

impl LookupArguments {
    pub(super) fn is_json(&self) -> bool {
        self.question.json
    }
}

impl ResolveArguments {
    pub(super) fn is_json(&self) -> bool {
        self.question.json
    }
}

/// Exit code 0: found; 1: nothing is served; 2: not a caps node; 4: no daemon answers.
pub(super) fn look_up(arguments: &LookupArguments) -> Result<Exit, Failure> {
    let node = arguments.question.node.clone();
    answer(&arguments.question, &Request::Lookup { node })
}

/// Exit code 0: found; 1: nobody can say; 2: not a caps node; 4: no daemon answers.
pub(super) fn resolve(arguments: &ResolveArguments) -> Result<Exit, Failure> {
    let key = arguments.question.node.clone();
    answer(&arguments.question, &Request::Resolve { key })
}

fn answer(question: &Question, request: &Request) -> Result<Exit, Failure> {
    let (answer, exit) = asked(&mut question.place.daemon()?, request)?;
    let Answer::Found(content) = &answer else {
        if let (true, Some((reason, detail))) = (question.json, words::why_not(&answer)) {
            print(&json!({ "found": false, "reason": reason, "detail": detail }).to_string())?;
        }
        explain(&words::words(&answer).1);
        return Ok(exit);
    };
    print(&match (question.json, question.xml) {
        (true, _) => found_json(content).to_string(),
        (_, true) => content.query.clone(),
        _ => words::content(content),
    })?;
    Ok(Exit::Done)
}

/// The daemon's answer, and the exit code if it is none that finds something; a refusal for which there is a word is one.
fn asked(client: &mut Client, request: &Request) -> Result<(Answer, Exit), Failure> {
    match client.ask(request) {
        Ok(answer) => Ok((answer, Exit::No)),
        Err(fault) => {
            let failure = failed(&fault);
            match fault {
                ClientFault::Refused {
                    reason: Some(reason),
                    message,
                } => Ok((Answer::refused_for(reason, message), failure.exit)),
                _ => Err(failure),
            }
        }
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
    match arguments.json {
        true => print(&json!(status).to_string())?,
        false => print(&words::status(&status))?,
    }
    Ok(Exit::Done)
}

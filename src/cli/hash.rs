//! `capsd hash`: every caps key of a disco#info answer, and the rules that refuse it.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use super::document::{Document, MAX_FILE_BYTES, WHOLE_FILE};
use super::{Exit, Failure, explain, print};
use crate::caps::{Hashed, Policy, hashes};

/// Print every caps hash of a disco#info answer
///
/// One line each: family, algorithm, hash, the node to ask for it (NODE is the announced node URL), and the verdict of
/// `capsd verify`. Where implementations differ, both ways of hashing are printed, the second marked: `joined-order` for
/// identities sorted as joined strings, `inherited-lang` for a language taken from the <query/>.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    document: Document,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let answer = arguments.document.read(WHOLE_FILE)?;
    if answer.too_large {
        return Err(Failure {
            message: format!("too-large: a file of more than {MAX_FILE_BYTES} bytes is not hashed"),
            exit: Exit::Usage,
        });
    }
    let hashed = hashes(&answer, &Policy::default());
    if arguments.json {
        let keys: Vec<Value> = hashed.iter().map(object).collect();
        print(&json!({ "keys": keys }).to_string())?;
    } else {
        let lines: Vec<String> = hashed.iter().map(line).collect();
        print(&lines.join("\n"))?;
        let details = hashed.iter().filter_map(|hashed| hashed.verdict.refusal());
        let details: BTreeSet<&str> = details.map(|(_, detail)| detail).collect();
        details.into_iter().for_each(explain);
    }
    Ok(Exit::Done)
}

fn line(hashed: &Hashed) -> String {
    let Hashed {
        key,
        variant,
        verdict,
    } = hashed;
    let refusal = verdict.refusal();
    let reason = refusal.map_or(String::new(), |(reason, _)| format!(": {reason}"));
    let variant = variant.map_or(String::new(), |variant| format!(" ({variant})"));
    format!(
        "{} {} {} {} {}{reason}{variant}",
        key.family().as_str(),
        key.algorithm().name(),
        key.digest_base64(),
        key.to_node("NODE"),
        verdict.word(),
    )
}

fn object(hashed: &Hashed) -> Value {
    let Hashed {
        key,
        variant,
        verdict,
    } = hashed;
    let refusal = verdict.refusal();
    json!({
        "family": key.family().as_str(),
        "algorithm": key.algorithm().name(),
        "hash": key.digest_base64(),
        "node": key.to_node("NODE"),
        "variant": variant,
        "verdict": verdict.word(),
        "reason": refusal.map(|(reason, _)| reason.as_str()),
        "detail": refusal.map(|(_, detail)| detail),
    })
}

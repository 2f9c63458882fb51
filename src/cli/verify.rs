//! `capsd verify`: whether a disco#info answer is what a caps hash means.

use clap::Args;
use serde_json::json;

use super::document::{Document, WHOLE_FILE};
use super::{Exit, Failure, explain, print};
use crate::caps::{CapsKey, Family, Policy, Reason, Verdict, verify};

/// Check a disco#info answer against a caps hash
///
/// Prints `verified`, `rejected: REASON` (the content does not prove the hash) or `quarantined: REASON` (the hash matches,
/// but the content is ill-formed or could mean something else), and exits with 0 for the first and 1 for the others.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The specification that the hash follows: XEP-0115 or XEP-0390
    #[arg(long, default_value = "0115", value_parser = parse_family)]
    family: Family,
    /// The algorithm, as in the `hash` or `algo` attribute: sha-1, sha-256, sha3-256, blake2b-512, …
    #[arg(long = "hash", value_name = "ALGO")]
    algorithm: String,
    /// The hash in base64, as in the `ver` attribute or the <hash/> element
    #[arg(long, value_name = "BASE64", allow_hyphen_values = true)]
    ver: String,
    /// Print a JSON object instead, with the same words
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    document: Document,
}

fn parse_family(text: &str) -> Result<Family, String> {
    Family::ALL
        .into_iter()
        .find(|family| family.as_str() == text)
        .ok_or_else(|| "expected 0115 or 0390".to_owned())
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    // The whole file is read even where the key is hopeless, so that an unreadable file is always noticed.
    let answer = arguments.document.read(WHOLE_FILE)?;
    let key = CapsKey::from_base64(arguments.family, &arguments.algorithm, &arguments.ver);
    let verdict = match key {
        Ok(key) => verify(&key, &answer, &Policy::default()),
        Err(error) => Verdict::Rejected(error.reason(), error.to_string()),
    };
    let word = verdict.word();
    let refusal = verdict.refusal();
    let reason = refusal.map(|(reason, _)| reason);
    let detail = refusal.map(|(_, detail)| detail);
    if arguments.json {
        let object = json!({
            "verdict": word,
            "reason": reason.map(Reason::as_str),
            "detail": detail,
            "key": key.ok().map(|key| key.to_string()),
        });
        print(&object.to_string())?;
    } else {
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        print(&format!("{word}{reason}"))?;
        if let Some(detail) = detail {
            explain(detail);
        }
    }
    match reason {
        None => Ok(Exit::Done),
        Some(_) => Ok(Exit::No),
    }
}

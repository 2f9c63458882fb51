//! `capsd hash`: every caps key of a disco#info answer, and the rules that refuse it.

use clap::Args;
use serde_json::{Value, json};

use super::document::{Document, MAX_FILE_BYTES, WHOLE_FILE};
use super::verify::words;
use super::{Exit, Failure, explain, print};
use crate::caps::digest::key_of;
use crate::caps::xep0115::{self, IdentityOrder};
use crate::caps::xep0390::{self, Inheritance};
use crate::caps::{Algorithm, Answer, CapsKey, Family, Policy, Reason, verify};

/// Print every caps hash of a disco#info answer
///
/// One line each: family, algorithm, hash, the node to ask for it (NODE is the announced node URL), and the verdict of
/// `capsd verify`. Where implementations differ, both ways of hashing are printed, the second marked: `joined-order` for
/// identities sorted as joined strings, `inherited-lang` for a language taken from the <query/>.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    document: Document,
}

/// One way to make a string from the answer that is then hashed.
struct Input {
    family: Family,
    /// What sets it apart where it is not the only way of its family.
    variant: Option<&'static str>,
    bytes: Vec<u8>,
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
    let mut lines = Vec::new();
    let mut objects = Vec::new();
    let mut details: Vec<String> = Vec::new();
    for input in inputs(&answer) {
        for algorithm in Algorithm::ALL {
            let Ok(key) = key_of(input.family, algorithm, &input.bytes) else {
                continue;
            };
            let (word, reason, detail) = words(verify(&key, &answer, &Policy::default()));
            lines.push(line(&key, input.variant, word, reason));
            objects.push(object(&key, input.variant, word, reason, detail.as_deref()));
            details.extend(detail);
        }
    }
    if arguments.json {
        print(&json!({ "keys": objects }).to_string())?;
    } else {
        print(&lines.join("\n"))?;
        details.sort();
        details.dedup();
        details.iter().for_each(|detail| explain(detail));
    }
    Ok(Exit::Done)
}

/// Everything that may be hashed for the answer, as it was sent: what is ill-formed has a hash, too.
fn inputs(answer: &Answer) -> Vec<Input> {
    let (info, _) = xep0115::canonical(answer);
    let of_0115 = |order, variant| Input {
        family: Family::Xep0115,
        variant,
        bytes: xep0115::verification_string(&info, order),
    };
    let of_0390 = |inheritance, variant| Input {
        family: Family::Xep0390,
        variant,
        bytes: xep0390::hash_input_as_sent(answer, inheritance),
    };
    let mut inputs = vec![of_0115(IdentityOrder::Tuple, None)];
    if xep0115::orders_differ(&info) {
        inputs.push(of_0115(IdentityOrder::Joined, Some("joined-order")));
    }
    inputs.push(of_0390(Inheritance::Ignored, None));
    if xep0390::inherits(answer) {
        inputs.push(of_0390(Inheritance::Applied, Some("inherited-lang")));
    }
    inputs
}

fn line(key: &CapsKey, variant: Option<&str>, word: &str, reason: Option<Reason>) -> String {
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    let variant = variant.map_or(String::new(), |variant| format!(" ({variant})"));
    format!(
        "{} {} {} {} {word}{reason}{variant}",
        key.family().as_str(),
        key.algorithm().name(),
        key.digest_base64(),
        key.to_node("NODE"),
    )
}

fn object(
    key: &CapsKey,
    variant: Option<&str>,
    word: &str,
    reason: Option<Reason>,
    detail: Option<&str>,
) -> Value {
    json!({
        "family": key.family().as_str(),
        "algorithm": key.algorithm().name(),
        "hash": key.digest_base64(),
        "node": key.to_node("NODE"),
        "variant": variant,
        "verdict": word,
        "reason": reason.map(Reason::as_str),
        "detail": detail,
    })
}

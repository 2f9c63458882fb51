//! `[population]`: what is counted of who is online.

use serde::Serialize;
use toml::de::DeValue;

use super::bounds::{self, MAX_FEATURE_LEN, MAX_POPULATION_FEATURES};
use super::fault::Wrong;
use super::quantity::shown;
use super::source::{Table, string};

/// What is counted unless told otherwise: what users notice of each other's clients.
const DEFAULT_FEATURES: [&str; 16] = [
    "urn:xmpp:caps",
    "http://jabber.org/protocol/chatstates",
    "urn:xmpp:receipts",
    "urn:xmpp:chat-markers:0",
    "urn:xmpp:message-correct:0",
    "urn:xmpp:message-retract:1",
    "urn:xmpp:reactions:0",
    "urn:xmpp:reply:0",
    "eu.siacs.conversations.axolotl.devicelist+notify",
    "urn:xmpp:omemo:2:devices+notify",
    "urn:xmpp:jingle:apps:file-transfer:5",
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:video",
    "urn:xmpp:avatar:metadata+notify",
    "urn:xmpp:bookmarks:1+notify",
    "http://jabber.org/protocol/muc",
];

/// `[population]`: what is counted of who is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Population {
    /// The features that are counted, at most 20, each once.
    pub features: Vec<String>,
    /// How many clients are shown by name.
    pub clients: usize,
    /// How many kinds of software are told apart.
    pub kinds: usize,
}

impl Population {
    pub(super) fn read(table: &mut Table<'_>) -> Population {
        let given = table.list("features", feature);
        let features = given.unwrap_or_else(|| DEFAULT_FEATURES.map(str::to_owned).to_vec());
        if features.len() > MAX_POPULATION_FEATURES {
            let message = format!(
                "has {} members, but may have {MAX_POPULATION_FEATURES}: each is a series of the metrics",
                features.len()
            );
            table.fault("features", Wrong::new(message, "shorten the list"));
        }
        let twice = features
            .iter()
            .enumerate()
            .find(|(place, feature)| features[..*place].contains(feature));
        if let Some((_, twice)) = twice {
            let message = format!("holds \"{twice}\" twice");
            table.fault("features", Wrong::new(message, "remove one of the two"));
        }
        Population {
            clients: table.bounded("clients", &bounds::POPULATION_CLIENTS).0,
            kinds: table.bounded("kinds", &bounds::POPULATION_KINDS).0,
            features,
        }
    }
}

/// A feature, as it stands in disco#info (XEP-0030 section 3.1); blanks would be a mistake.
fn feature(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = string(value)?;
    let fit = !text.is_empty()
        && text.len() <= MAX_FEATURE_LEN
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    match fit {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new(
            format!("holds {}, which is not a feature", shown(value)),
            "write the `var` of a feature, as in \"urn:xmpp:receipts\": ASCII without blanks, at most 128 characters",
        )),
    }
}

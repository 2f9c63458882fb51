//! What is said over the control socket.

use serde::{Deserialize, Serialize};

/// The longest request, in bytes. A file of the largest size that is imported (512 KiB) fits, even if JSON takes six bytes for each of
/// its own.
pub const MAX_LINE: usize = 4 << 20;

/// The most contents of one request or answer.
pub const MAX_BATCH: usize = 64;

/// About how many bytes of contents a request or answer should not exceed: a step that nobody who waits for the tiers feels.
pub const BATCH_BYTES: usize = 64 * 1024;

/// The most flights of one answer: the oldest ones.
pub const MAX_FLIGHTS: usize = 256;

/// What is asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is.
    Status,
    /// What is being resolved now.
    Flights {
        /// Whether keys that fewer than three accounts announced are told too: such a key may tell who is online.
        #[serde(default)]
        all: bool,
    },
    /// Make durable what was learned.
    Flush,
    /// What is stored under a caps node.
    Lookup {
        /// `NODE#VER` or `urn:xmpp:caps#ALGO.BASE64`.
        node: String,
    },
    /// Verify contents by the rules for strangers and put them into the learned tier; at most [`MAX_BATCH`].
    Import {
        /// The contents.
        items: Vec<Item>,
    },
    /// Some entries of the learned tier.
    Entries {
        /// The `next` of the answer before; none at the beginning.
        from: Option<String>,
    },
}

/// A content that is to be imported, as somebody has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its keys as caps nodes; a 0115 one may be without its node URL (`#VER`).
    pub keys: Vec<String>,
    /// The node URLs that it was announced with.
    pub nodes: Vec<String>,
    /// The disco#info `<query/>`; one wrapped in a second one is unwrapped.
    pub query: String,
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Answer {
    /// How the daemon is.
    Status(Status),
    /// What is being resolved now.
    Flights(Flights),
    /// What was learned is on disk.
    Flushed,
    /// What is stored under the node.
    Found(Content),
    /// Nothing is served under the node.
    NotFound {
        /// Why, where the operator says so.
        denied: Option<String>,
    },
    /// What came of the items of an import, in their order.
    Judged {
        /// One for each.
        judged: Vec<Judged>,
    },
    /// Some entries.
    Entries {
        /// In no particular order.
        entries: Vec<Content>,
        /// To be given back for more; none at the end.
        next: Option<String>,
    },
    /// The request cannot be carried out.
    Refused {
        /// Why, and what to do, for people.
        message: String,
    },
}

/// How the daemon is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The version of capsd.
    pub version: String,
    /// The process id.
    pub process: u32,
    /// `store.path`.
    pub store: String,
    /// Why the learned tier is in memory only; none while it is on disk.
    pub memory_only: Option<String>,
    /// How many contents are in the learned tier.
    pub entries: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How many trusted contents there are; none while they are being listed.
    pub trusted: Option<u64>,
}

/// What is being resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flights {
    /// How many flights are in progress.
    pub in_progress: usize,
    /// How many look-ups in the tiers are under way, which are flights only if they find nothing.
    pub looking: usize,
    /// How many requests wait, for flights and look-ups.
    pub waiters: usize,
    /// The oldest flights, the oldest first; at most [`MAX_FLIGHTS`].
    pub flights: Vec<Flight>,
}

/// A flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flight {
    /// The keys that it resolves as caps nodes, the 0115 ones without a node URL.
    pub keys: Vec<String>,
    /// How many more keys it resolves, which are not told because fewer than three accounts announced them.
    pub rare_keys: usize,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// How many requests wait for it.
    pub waiters: usize,
    /// How many clients were asked.
    pub asked: usize,
    /// How many of them may still answer.
    pub awaited: usize,
}

/// Where a content is served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// An operator pinned it.
    Pinned,
    /// An operator installed it.
    Trusted,
    /// capsd learned it, or it was imported.
    Learned,
}

/// A content of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Content {
    /// Where it is served from.
    pub tier: Tier,
    /// Its keys as caps nodes, the 0115 ones without a node URL.
    pub keys: Vec<String>,
    /// The node URLs that it was announced with.
    pub nodes: Vec<String>,
    /// Whether several accounts announced one of its keys, or it was imported; then how many of the nodes, from the first on, are
    /// common too.
    pub seen_nodes: Option<usize>,
    /// The `<query/>`.
    pub query: String,
}

/// What came of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Judged {
    /// It is verified, and in the learned tier.
    Verified {
        /// Whether it was not there before.
        new: bool,
    },
    /// Its hash is right, but it is ill-formed or ambiguous; it was not taken.
    Quarantined {
        /// The word.
        reason: String,
        /// For people.
        detail: String,
    },
    /// It proves nothing; it was not taken.
    Rejected {
        /// The word.
        reason: String,
        /// For people.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_short_lines_that_people_can_write() {
        for (line, request) in [
            (r#"{"do":"status"}"#, Request::Status),
            (r#"{"do":"entries"}"#, Request::Entries { from: None }),
            (r#"{"do":"flights"}"#, Request::Flights { all: false }),
            (
                r##"{"do":"lookup","node":"a#b"}"##,
                Request::Lookup {
                    node: "a#b".to_owned(),
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        for line in [
            "",
            "{}",
            r#"{"do":"dance"}"#,
            r#"{"do":"lookup"}"#,
            "[]",
            "7",
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}

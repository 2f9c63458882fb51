//! What is said over the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::caps::Reason;
use crate::config::changes::Changes;
use crate::config::{Fault, LogLevel};

pub use crate::component::examine::{DomainStatus, LinkStatus, Tried};

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
    Sync,
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
    /// What can be told of the links and of the surroundings; each link that is up is tried.
    Examine,
    /// What is served under a key. Where it is not stored, those who announce it are asked now, and waited for.
    Resolve {
        /// The key, as the log has it, or as a caps node.
        key: String,
    },
    /// Read configuration, secrets, overrides and trusted content again.
    Reload,
    /// Forget what was learned under a key, so that it is asked for again.
    FlushKey {
        /// As above.
        key: String,
    },
    /// Forget all that was learned.
    FlushAll,
    /// Serve a key no more, and ask nobody for it.
    Deny {
        /// As above.
        key: String,
        /// Why; whoever asks for the key is told.
        reason: String,
    },
    /// Serve a key again that was denied by command.
    Undeny {
        /// As above.
        key: String,
    },
    /// Serve this content under a key, whatever anybody else says.
    Pin {
        /// As above.
        key: String,
        /// The disco#info `<query/>`, as a document.
        query: String,
        /// Why.
        reason: String,
    },
    /// End a pin that was made by command.
    Unpin {
        /// As above.
        key: String,
    },
    /// Log more, or less, until a reload or the end.
    LogLevel {
        /// The level.
        level: LogLevel,
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
    Status(Box<Status>),
    /// What is being resolved now.
    Flights(Flights),
    /// What was learned is on disk.
    Synced,
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
    /// What was found out about links and surroundings.
    Examined(Examined),
    /// Nobody could say what the key stands for.
    Unresolved {
        /// The word.
        reason: String,
    },
    /// The configuration was read again; trusted content follows when it has been listed.
    Reloaded(Changes),
    /// The configuration, or what it names, is at fault; the old one stays in force.
    NotReloaded {
        /// What is wrong.
        faults: Vec<Fault>,
    },
    /// It is forgotten, in every tier.
    Flushed {
        /// How many contents were in the learned tier.
        contents: u64,
        /// Whether something is served all the same, because the operator trusts or pinned it.
        stays: bool,
    },
    /// The key is denied or pinned, or is so no more.
    Ordered {
        /// Why that lasts until a restart only; none where it is kept.
        until_restart: Option<String>,
    },
    /// The level is in force.
    Level,
    /// The request cannot be carried out.
    Refused {
        /// Why, and what to do, for people.
        message: String,
        /// The word, where there is one for it; none where the request makes no sense, or the disk does not take it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Answer {
    /// A refusal for which there is no word.
    pub fn refused(message: impl Into<String>) -> Answer {
        Answer::Refused {
            reason: None,
            message: message.into(),
        }
    }

    /// A refusal for that reason.
    pub fn refused_for(reason: Reason, message: impl Into<String>) -> Answer {
        Answer::Refused {
            reason: Some(reason.to_string()),
            message: message.into(),
        }
    }
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
    /// How many keys are denied.
    pub denied: u64,
    /// How many keys are pinned.
    pub pinned: u64,
    /// For how many seconds the daemon has been running.
    pub uptime_seconds: u64,
    /// The links, in the order of the configuration.
    pub links: Vec<LinkStatus>,
    /// What was counted since the start.
    pub counts: Counts,
}

/// What was counted since the start, and what there is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Queries over XMPP, by how they ended: the labels of `capsd_lookups_total`.
    pub lookups: BTreeMap<String, u64>,
    /// Questions to clients.
    pub questions: u64,
    /// Flights in progress.
    pub flights: u64,
    /// Requests that wait.
    pub waiters: u64,
    /// Clients that are known to announce something.
    pub holders: u64,
    /// Contents that are hot, counted for each of their keys.
    pub hot_entries: u64,
    /// The bytes that they take.
    pub hot_bytes: u64,
}

/// What the daemon found out about its links and surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Examined {
    /// Seconds since 1970, by the daemon's clock.
    pub clock: u64,
    /// Where HTTP listens.
    pub http: String,
    /// The links, in the order of the configuration; what was tried over each.
    pub links: Vec<Tried>,
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
    /// capsd learned it, and it is in memory only: the store has let go of it, or could not take it.
    Hot,
    /// capsd learned it, and it is in memory only: it is written to disk with its second use.
    Probation,
}

impl Tier {
    /// All of them.
    pub const ALL: [Tier; 5] = [
        Tier::Pinned,
        Tier::Trusted,
        Tier::Learned,
        Tier::Hot,
        Tier::Probation,
    ];

    /// Whether it is there because an operator put it there.
    pub fn is_operators(self) -> bool {
        matches!(self, Tier::Pinned | Tier::Trusted)
    }
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

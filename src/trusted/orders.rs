//! What an operator denies and pins by command while capsd runs. It is kept in a file of capsd's own beside the learned tier, so that it
//! outlives a restart; the operator's own file of overrides counts before it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::caps::{CapsKey, Policy, Reason, Verdict, VerifiedInfo, verify};
use crate::config::overrides::{MAX_PINS, MAX_REASON_LEN};
use crate::layout::read_bounded;
use crate::stanza::answer::{AnswerLimits, parse_query_unwrapped};

/// The most keys that are denied by command.
pub const MAX_DENIED: usize = 10_000;

/// The name of the file in the directory of the store.
const FILE: &str = "orders.json";

/// The largest file that is read, in bytes: more than the bounds above come to.
const MAX_FILE_LEN: u64 = 128 << 20;

/// The form of the file that this version writes and reads.
const VERSION: u32 = 1;

/// What was ordered for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is not served and not asked for.
    Deny,
    /// This content counts; the document is kept as it was given.
    Pin(VerifiedInfo, String),
}

/// Why an order is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// The reason is empty, too long, or has several lines.
    #[error(
        "the reason must have 1 to {MAX_REASON_LEN} bytes, in one line: whoever asks for the key is told it"
    )]
    Reason,
    /// There are too many.
    #[error(
        "{0} keys are {1} by command already, and no more may be: put such rules into the file `trusted.overrides` instead"
    )]
    TooMany(usize, &'static str),
    /// It is no disco#info `<query/>`.
    #[error("it cannot be pinned: {0}")]
    Document(String),
    /// The content cannot be pinned under the key.
    #[error("it cannot be pinned: {0}: {1}")]
    Content(Reason, String),
}

impl OrderFault {
    /// The word, where there is one for it.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            OrderFault::Content(reason, _) => Some(*reason),
            OrderFault::Reason | OrderFault::TooMany(..) | OrderFault::Document(_) => None,
        }
    }
}

/// Keys that are denied or pinned by command, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders(BTreeMap<CapsKey, (Order, String)>);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    orders: Vec<WrittenOrder>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOrder {
    key: String,
    reason: String,
    /// The `<query/>` of a pinned content; none where the key is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
}

impl Orders {
    /// Where the orders of a store are kept.
    pub fn path(store: &Path) -> PathBuf {
        store.join(FILE)
    }

    /// Reads them; none where there is no file. What is pinned is verified again.
    ///
    /// # Errors
    /// Why the file cannot be used, in words for an operator.
    pub fn load(file: &Path) -> Result<Orders, String> {
        let bytes = match read_bounded(file, MAX_FILE_LEN) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Orders::default()),
            Err(error) => return Err(error.to_string()),
        };
        let written: Written = serde_json::from_slice(&bytes).map_err(|fault| fault.to_string())?;
        if written.version != VERSION {
            return Err(format!("its form has the version {}", written.version));
        }
        let mut orders = Orders::default();
        for WrittenOrder { key, reason, query } in written.orders {
            let parsed: CapsKey = key.parse().map_err(|fault| format!("{key}: {fault}"))?;
            let taken = match query {
                None => orders.deny(parsed, &reason),
                Some(query) => orders.pin(parsed, &query, &reason),
            };
            taken.map_err(|fault| format!("{key}: {fault}"))?;
        }
        Ok(orders)
    }

    /// Writes them, whole or not at all; an empty file is none.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let orders = self.0.iter().map(|(key, (order, reason))| WrittenOrder {
            key: key.to_string(),
            reason: reason.clone(),
            query: match order {
                Order::Deny => None,
                Order::Pin(_, query) => Some(query.clone()),
            },
        });
        let written = Written {
            version: VERSION,
            orders: orders.collect(),
        };
        let bytes = serde_json::to_vec_pretty(&written)?;
        let new = file.with_extension("new");
        let mut unfinished = File::create(&new)?;
        unfinished.write_all(&bytes)?;
        unfinished.sync_all()?;
        fs::rename(&new, file)?;
        file.parent()
            .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    /// Denies a key; a pin of it ends.
    ///
    /// # Errors
    /// An [`OrderFault`].
    pub fn deny(&mut self, key: CapsKey, reason: &str) -> Result<(), OrderFault> {
        self.has_room(&key, MAX_DENIED, "denied", |order| {
            matches!(order, Order::Deny)
        })?;
        self.give(key, Order::Deny, reason)
    }

    /// Pins a content, the document of a disco#info `<query/>`, which must have the hash; a denial of the key ends.
    ///
    /// # Errors
    /// An [`OrderFault`].
    pub fn pin(&mut self, key: CapsKey, query: &str, reason: &str) -> Result<(), OrderFault> {
        self.has_room(&key, MAX_PINS, "pinned", |order| {
            matches!(order, Order::Pin(..))
        })?;
        let policy = Policy::trusted();
        let limits = AnswerLimits {
            max_bytes: policy.max_bytes,
            max_features: policy.max_features,
        };
        let answer = parse_query_unwrapped(query.as_bytes(), limits)
            .map_err(|fault| OrderFault::Document(fault.to_string()))?;
        let info = match verify(&key, &answer, &policy) {
            Verdict::Verified(info) => info,
            Verdict::Quarantined(reason, detail) | Verdict::Rejected(reason, detail) => {
                return Err(OrderFault::Content(reason, detail));
            }
        };
        self.give(key, Order::Pin(info, query.to_owned()), reason)
    }

    /// Takes back that a key is denied, or pinned; false if it is not.
    pub fn withdraw(&mut self, key: &CapsKey, pinned: bool) -> bool {
        let ordered = self.0.get(key);
        let found = ordered.is_some_and(|(order, _)| matches!(order, Order::Pin(..)) == pinned);
        found && self.0.remove(key).is_some()
    }

    /// What was ordered, by key, with the reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&CapsKey, &Order, &str)> {
        self.0
            .iter()
            .map(|(key, (order, reason))| (key, order, reason.as_str()))
    }

    /// How many keys something was ordered for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was ordered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has_room(
        &self,
        key: &CapsKey,
        most: usize,
        what: &'static str,
        same: impl Fn(&Order) -> bool,
    ) -> Result<(), OrderFault> {
        if self.0.len() < most {
            return Ok(());
        }
        let others = self
            .0
            .iter()
            .filter(|(other, (order, _))| *other != key && same(order));
        match others.count() {
            count if count >= most => Err(OrderFault::TooMany(count, what)),
            _ => Ok(()),
        }
    }

    fn give(&mut self, key: CapsKey, order: Order, reason: &str) -> Result<(), OrderFault> {
        if !(1..=MAX_REASON_LEN).contains(&reason.len()) || reason.contains(char::is_control) {
            return Err(OrderFault::Reason);
        }
        self.0.insert(key, (order, reason.to_owned()));
        Ok(())
    }
}

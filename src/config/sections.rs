//! The sections that hold single settings: what is in each, and how it is read.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use toml::de::DeValue;

use super::bounds;
use super::fault::Wrong;
use super::quantity::{Period, Rate, Size, shown};
use super::source::{Table, absolute_path, string};

/// `[store]`: the learned tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Store {
    /// The directory of the store; absolute.
    pub path: PathBuf,
    /// How often what was learned is made durable.
    #[serde(serialize_with = "as_period")]
    pub flush_interval: Duration,
    /// The most entries.
    pub max_entries: usize,
    /// The most bytes of values.
    #[serde(serialize_with = "as_size")]
    pub max_bytes: u64,
    /// In hundredths of entries and bytes: above it, a new content is written with its second use only.
    pub high_water_percent: usize,
    /// Bytes of its files that may lie idle.
    #[serde(serialize_with = "as_size")]
    pub max_waste: u64,
    /// Bytes of memory for the store's engine.
    #[serde(serialize_with = "as_size")]
    pub cache: u64,
}

impl Store {
    pub(super) fn read(table: &mut Table<'_>) -> Store {
        Store {
            path: table.path("path", "/var/lib/capsd"),
            flush_interval: table
                .bounded("flush-interval", &bounds::STORE_FLUSH_INTERVAL)
                .0,
            max_entries: table.bounded("max-entries", &bounds::STORE_MAX_ENTRIES).0,
            max_bytes: table.bounded("max-bytes", &bounds::STORE_MAX_BYTES).0,
            high_water_percent: table
                .bounded("high-water-percent", &bounds::STORE_HIGH_WATER_PERCENT)
                .0,
            max_waste: table.bounded("max-waste", &bounds::STORE_MAX_WASTE).0,
            cache: table.bounded("cache", &bounds::STORE_CACHE).0,
        }
    }
}

/// `[hot]`: the tier in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hot {
    /// The most bytes of entries.
    #[serde(serialize_with = "as_size")]
    pub max_bytes: u64,
    /// The most bytes of what is not written before its second use.
    #[serde(serialize_with = "as_size")]
    pub probation_bytes: u64,
}

impl Hot {
    pub(super) fn read(table: &mut Table<'_>) -> Hot {
        Hot {
            max_bytes: table.bounded("max-bytes", &bounds::HOT_MAX_BYTES).0,
            probation_bytes: table
                .bounded("probation-bytes", &bounds::HOT_PROBATION_BYTES)
                .0,
        }
    }
}

/// What is done with a bundle that nobody in `public-keys` signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnsignedBundles {
    /// It is not used.
    Refuse,
    /// It is used as if it were signed.
    Accept,
}

/// `[trusted]`: what the operator installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trusted {
    /// The directories, absolute, in order of precedence; bundles may lie in them too.
    pub directories: Vec<PathBuf>,
    /// More bundles, absolute, after those in the directories.
    pub bundles: Vec<PathBuf>,
    /// Whose signature of a bundle counts: public keys of minisign.
    pub public_keys: Vec<String>,
    /// What becomes of bundles without such a signature.
    pub unsigned_bundles: UnsignedBundles,
    /// The file of pinned and denied keys, absolute; `None` where there is none, which is written as an empty string.
    #[serde(serialize_with = "as_path_or_nothing")]
    pub overrides: Option<PathBuf>,
}

impl Trusted {
    pub(super) fn read(table: &mut Table<'_>) -> Trusted {
        let words = [
            ("refuse", UnsignedBundles::Refuse),
            ("accept", UnsignedBundles::Accept),
        ];
        let given = table.list("directories", absolute_path);
        Trusted {
            directories: given.unwrap_or_else(|| vec![PathBuf::from("/usr/share/capsd/trusted")]),
            bundles: table.list("bundles", absolute_path).unwrap_or_default(),
            public_keys: table.list("public-keys", public_key).unwrap_or_default(),
            unsigned_bundles: table.word("unsigned-bundles", &words, UnsignedBundles::Refuse),
            overrides: table.optional("overrides", path_or_nothing).flatten(),
        }
    }
}

/// A public key as minisign writes it into the second line of its `.pub` file.
fn public_key(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = string(value)?;
    match minisign_verify::PublicKey::from_base64(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Wrong::new(
            format!(
                "holds {}, which is not a public key of minisign",
                shown(value)
            ),
            "write the second line of the maker's `.pub` file, which begins with `RW`",
        )),
    }
}

fn path_or_nothing(value: &DeValue<'_>) -> Result<Option<PathBuf>, Wrong> {
    match string(value)? {
        "" => Ok(None),
        _ => absolute_path(value).map(Some),
    }
}

/// When an unknown key is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolve {
    /// As soon as somebody announces it.
    OnAnnounce,
    /// When somebody asks for it.
    OnDemand,
}

/// `[resolver]`: how holders are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resolver {
    /// When an unknown key is resolved.
    pub resolve: Resolve,
    /// How long one lookup may take, over all holders.
    #[serde(serialize_with = "as_period")]
    pub deadline: Duration,
    /// How long one holder may take before the next is asked; at most `deadline`.
    #[serde(serialize_with = "as_period")]
    pub holder_timeout: Duration,
    /// How long the failure of a holder with a key is remembered.
    #[serde(serialize_with = "as_period")]
    pub retry_after: Duration,
}

impl Resolver {
    /// The longest [`Resolver::deadline`] that can be set.
    pub const LONGEST_DEADLINE: Duration = bounds::RESOLVER_DEADLINE.max.0;

    pub(super) fn read(table: &mut Table<'_>) -> Resolver {
        let words = [
            ("on-announce", Resolve::OnAnnounce),
            ("on-demand", Resolve::OnDemand),
        ];
        let deadline = table.bounded("deadline", &bounds::RESOLVER_DEADLINE);
        let one_is_set = table.has("holder-timeout");
        let holder_timeout = table.bounded("holder-timeout", &bounds::RESOLVER_HOLDER_TIMEOUT);
        if holder_timeout.0 > deadline.0 {
            // Said where a line can be corrected: the default of the other one may be what does not fit.
            let key = if one_is_set {
                "holder-timeout"
            } else {
                "deadline"
            };
            let message = format!(
                "does not fit: one holder may take {holder_timeout}, and all together {deadline}"
            );
            let hint = "set `holder-timeout` to at most `deadline`";
            table.fault(key, Wrong::new(message, hint));
        }
        Resolver {
            resolve: table.word("resolve", &words, Resolve::OnAnnounce),
            deadline: deadline.0,
            holder_timeout: holder_timeout.0,
            retry_after: table
                .bounded("retry-after", &bounds::RESOLVER_RETRY_AFTER)
                .0,
        }
    }
}

/// `[holders]`: what is remembered of who announced what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Holders {
    /// The most holders.
    pub max: usize,
    /// How long a holder is remembered after it was last heard of.
    #[serde(serialize_with = "as_period")]
    pub expire_after: Duration,
    /// The most holders that may be asked for one key.
    pub per_key: usize,
    /// The most bytes for those whose announcements cannot be verified, and what each of them answered.
    #[serde(serialize_with = "as_size")]
    pub unverifiable_bytes: u64,
}

impl Holders {
    pub(super) fn read(table: &mut Table<'_>) -> Holders {
        Holders {
            max: table.bounded("max", &bounds::HOLDERS_MAX).0,
            expire_after: table
                .bounded("expire-after", &bounds::HOLDERS_EXPIRE_AFTER)
                .0,
            per_key: table.bounded("per-key", &bounds::HOLDERS_PER_KEY).0,
            unverifiable_bytes: table
                .bounded("unverifiable-bytes", &bounds::HOLDERS_UNVERIFIABLE_BYTES)
                .0,
        }
    }
}

/// `[limits]`: the bounds of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// The most flights at once.
    pub flights: usize,
    /// The most waiters, over all flights.
    pub waiters: usize,
    /// The most waiters of one flight.
    pub waiters_per_flight: usize,
    /// The most subscribers that are remembered, over all links.
    pub subscribers: usize,
    /// How fast one asker may ask.
    #[serde(serialize_with = "as_text")]
    pub queries_per_asker: Rate,
    /// How many keys one asker may look up in batches, and contents hand over.
    #[serde(serialize_with = "as_text")]
    pub batch_keys_per_asker: Rate,
    /// The most bytes of contents in the answer to one batch.
    #[serde(serialize_with = "as_size")]
    pub batch_bytes: u64,
    /// The most bytes of batches that wait.
    #[serde(serialize_with = "as_size")]
    pub waiting_batch_bytes: u64,
    /// How fast one domain may bring unknown keys that are resolved and written at once.
    #[serde(serialize_with = "as_text")]
    pub new_keys_per_domain: Rate,
    /// How fast one account may bring unknown keys that are resolved and written at once.
    #[serde(serialize_with = "as_text")]
    pub new_keys_per_account: Rate,
    /// How fast the accounts of one domain are asked for those who want to know, once that is spent.
    #[serde(serialize_with = "as_text")]
    pub questions_per_domain: Rate,
    /// How fast one account is asked for those who want to know, once that is spent.
    #[serde(serialize_with = "as_text")]
    pub questions_per_account: Rate,
    /// How many second uses by one account lead to the disk.
    #[serde(serialize_with = "as_text")]
    pub second_uses_per_account: Rate,
    /// The most bytes of one disco#info answer.
    #[serde(serialize_with = "as_size")]
    pub max_disco_bytes: u64,
    /// The most features of one disco#info answer.
    pub max_features: usize,
    /// Whether 0115 hashes by MD5 are verified at all; XEP-0414 says that they must not be.
    pub allow_md5: bool,
    /// The most bytes that wait to be written to one server.
    #[serde(serialize_with = "as_size")]
    pub link_queue_bytes: u64,
}

impl Limits {
    pub(super) fn read(table: &mut Table<'_>) -> Limits {
        Limits {
            flights: table.bounded("flights", &bounds::LIMITS_FLIGHTS).0,
            waiters: table.bounded("waiters", &bounds::LIMITS_WAITERS).0,
            waiters_per_flight: table
                .bounded("waiters-per-flight", &bounds::LIMITS_WAITERS_PER_FLIGHT)
                .0,
            subscribers: table.bounded("subscribers", &bounds::LIMITS_SUBSCRIBERS).0,
            queries_per_asker: table
                .bounded("queries-per-asker", &bounds::LIMITS_QUERIES_PER_ASKER),
            batch_keys_per_asker: table
                .bounded("batch-keys-per-asker", &bounds::LIMITS_BATCH_KEYS_PER_ASKER),
            batch_bytes: table.bounded("batch-bytes", &bounds::LIMITS_BATCH_BYTES).0,
            waiting_batch_bytes: table
                .bounded("waiting-batch-bytes", &bounds::LIMITS_WAITING_BATCH_BYTES)
                .0,
            new_keys_per_domain: table
                .bounded("new-keys-per-domain", &bounds::LIMITS_NEW_KEYS_PER_DOMAIN),
            new_keys_per_account: table
                .bounded("new-keys-per-account", &bounds::LIMITS_NEW_KEYS_PER_ACCOUNT),
            questions_per_domain: table
                .bounded("questions-per-domain", &bounds::LIMITS_QUESTIONS_PER_DOMAIN),
            questions_per_account: table.bounded(
                "questions-per-account",
                &bounds::LIMITS_QUESTIONS_PER_ACCOUNT,
            ),
            second_uses_per_account: table.bounded(
                "second-uses-per-account",
                &bounds::LIMITS_SECOND_USES_PER_ACCOUNT,
            ),
            max_disco_bytes: table
                .bounded("max-disco-bytes", &bounds::LIMITS_MAX_DISCO_BYTES)
                .0,
            max_features: table
                .bounded("max-features", &bounds::LIMITS_MAX_FEATURES)
                .0,
            allow_md5: table.boolean("allow-md5", false),
            link_queue_bytes: table
                .bounded("link-queue-bytes", &bounds::LIMITS_LINK_QUEUE_BYTES)
                .0,
        }
    }
}

/// `[http]`: where the page, `/api/v1`, `/metrics`, `/healthz` and `/readyz` are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Http {
    /// The IP address and port to listen at; port 0 is any free one.
    pub listen: SocketAddr,
    /// The names, in lower case, by which it may be asked on a loopback address, besides `localhost` and IP addresses.
    pub names: Vec<String>,
    /// The most connections at once.
    pub connections: usize,
    /// How long one connection may last, from its request to the end of the answer.
    #[serde(serialize_with = "as_period")]
    pub timeout: Duration,
}

impl Http {
    pub(super) fn read(table: &mut Table<'_>) -> Http {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9116));
        Http {
            listen: table.optional("listen", socket_address).unwrap_or(default),
            names: table.list("names", host_name).unwrap_or_default(),
            connections: table.bounded("connections", &bounds::HTTP_CONNECTIONS).0,
            timeout: table.bounded("timeout", &bounds::HTTP_TIMEOUT).0,
        }
    }
}

/// Where the control socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/capsd/control.sock";

/// `[control]`: the socket of the commands that speak to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Control {
    /// The socket; absolute. Whoever may write to it may use those commands.
    pub socket: PathBuf,
    /// The most connections at once.
    pub connections: usize,
    /// How long a request may take to come, and an answer to be taken.
    #[serde(serialize_with = "as_period")]
    pub timeout: Duration,
}

impl Control {
    pub(super) fn read(table: &mut Table<'_>) -> Control {
        Control {
            socket: table.path("socket", DEFAULT_SOCKET),
            connections: table.bounded("connections", &bounds::CONTROL_CONNECTIONS).0,
            timeout: table.bounded("timeout", &bounds::CONTROL_TIMEOUT).0,
        }
    }

    /// Whether it is where it is by default, where it may not be possible for a daemon that is started by hand.
    pub fn is_default(&self) -> bool {
        self.socket == Path::new(DEFAULT_SOCKET)
    }
}

fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    string(value)?.parse().map_err(|_| {
        let message = format!("is {}, which is not an IP address and a port", shown(value));
        Wrong::new(
            message,
            "write an address of this machine, as in \"127.0.0.1:9116\" or \"[::1]:9116\"",
        )
    })
}

/// The most characters of a host name (RFC 1035 section 2.3.4), and of one label of it.
const MAX_HOST_NAME_LEN: usize = 253;
const MAX_LABEL_LEN: usize = 63;

/// A host name as it stands in `Host`, without the port; in lower case.
fn host_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = string(value)?;
    let is_label = |label: &str| {
        let in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=MAX_LABEL_LEN).contains(&label.len()) && label.bytes().all(in_label)
    };
    match text.len() <= MAX_HOST_NAME_LEN && text.split('.').all(is_label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Wrong::new(
            format!("holds {}, which is not a host name", shown(value)),
            "write names alone, as in \"caps.example.org\": without `http://`, port or path, in ASCII (`xn--…` where there are others)",
        )),
    }
}

/// `[contact]`: the addresses that capsd gives to those who look for somebody in charge (XEP-0157).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contact {
    /// For complaints about abuse.
    pub abuse: Vec<String>,
    /// Of those who run it.
    pub admin: Vec<String>,
    /// For feedback.
    pub feedback: Vec<String>,
    /// For questions about prices.
    pub sales: Vec<String>,
    /// For reports of security faults.
    pub security: Vec<String>,
    /// Where the state of the service is published.
    pub status: Vec<String>,
    /// For help.
    pub support: Vec<String>,
}

impl Contact {
    pub(super) fn read(table: &mut Table<'_>) -> Contact {
        let mut uris = |key| table.list(key, uri).unwrap_or_default();
        Contact {
            abuse: uris("abuse"),
            admin: uris("admin"),
            feedback: uris("feedback"),
            sales: uris("sales"),
            security: uris("security"),
            status: uris("status"),
            support: uris("support"),
        }
    }
}

/// A URI, by its scheme and characters (RFC 3986 sections 2 and 3.1); XEP-0157 asks for no more.
fn uri(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = string(value)?;
    let valid = text.split_once(':').is_some_and(|(scheme, rest)| {
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let in_rest = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(in_scheme)
            && !rest.is_empty()
            && rest.bytes().all(in_rest)
    });
    match valid {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new(
            format!("holds {}, which is not a URI", shown(value)),
            "write URIs, as in \"mailto:admin@example.org\" or \"xmpp:admin@example.org\"",
        )),
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object in each line.
    Json,
}

/// Which log lines are written: those of the level, and of all that stand before it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What somebody must attend to.
    Error,
    /// What somebody should know.
    Warn,
    /// What changed.
    Info,
    /// How it came about.
    Debug,
    /// Who caused trouble: the only level with addresses of users. Accounts beyond a quota, clients whose answers do not prove what they
    /// announce, domains whose announcements push others out.
    Trace,
}

impl LogLevel {
    /// Every level, with its word.
    pub const WORDS: [(&'static str, LogLevel); 5] = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];

    /// The level of that word.
    pub fn from_word(word: &str) -> Option<LogLevel> {
        let found = LogLevel::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, level)| *level)
    }

    /// The word of the level.
    pub fn word(self) -> &'static str {
        let found = LogLevel::WORDS.iter().find(|(_, level)| *level == self);
        found.map_or("", |(word, _)| word)
    }
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// How a line is written.
    pub format: LogFormat,
    /// Which lines are written.
    pub level: LogLevel,
}

impl Log {
    pub(super) fn read(table: &mut Table<'_>) -> Log {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Log {
            format: table.word("format", &formats, LogFormat::Text),
            level: table.word("level", &LogLevel::WORDS, LogLevel::Info),
        }
    }
}

fn as_period<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Period(*duration))
}

fn as_size<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Size(*bytes))
}

fn as_text<S: Serializer>(rate: &Rate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rate)
}

fn as_path_or_nothing<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.clone().unwrap_or_default().serialize(serializer)
}

//! What an operator may do while capsd runs: every verb once, whoever it comes from. Who did what is logged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::desk::{self, key_of};
use super::protocol::{Answer, Content, Counts, Examined, Request, Status, Tier};
use super::server::Desk;
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::config::ConfigFaults;
use crate::config::changes::Changes;
use crate::http::Readiness;
use crate::metrics::{Labels as _, LookupResult, Metrics};
use crate::resolver::forgetting::{Forgotten, Unforgotten};
use crate::service::Links;
use crate::trace;

/// Who wants something done. It is logged; no JID is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user of this machine, by the control socket; none where the operating system does not tell who.
    User(Option<u32>),
    /// An account that the configuration names under `admins`.
    Admin {
        /// The name of the component that was spoken to.
        component: String,
        /// Its place under `admins`, counted from 1.
        place: usize,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::User(Some(user)) => write!(f, "user {user} of this machine"),
            Actor::User(None) => f.write_str("a user of this machine"),
            Actor::Admin { component, place } => write!(f, "admin {place} of {component}"),
        }
    }
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word, where there is one for it.
    pub reason: Option<Reason>,
    /// In words for an operator.
    pub message: String,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        Answer::Refused {
            reason: refusal.reason.map(|reason| reason.to_string()),
            message: refusal.message,
        }
    }
}

/// What came of an order: carried out, and why it lasts until a restart only, if it does.
pub type Ordered = Result<Option<String>, Refusal>;

/// What the process can do beyond its tiers.
pub trait Process: Send + Sync + fmt::Debug {
    /// Reads configuration, secrets, overrides and trusted content again, and applies what can be applied. May wait for the file system.
    ///
    /// # Errors
    /// What is wrong; everything stays as it was.
    fn reload(&self) -> Result<Changes, ConfigFaults>;

    /// Denies a key. May wait for the file system.
    ///
    /// # Errors
    /// Why it cannot be done.
    fn deny(&self, key: CapsKey, reason: &str) -> Ordered;

    /// Pins a content; as [`Process::deny`].
    ///
    /// # Errors
    /// As there.
    fn pin(&self, key: CapsKey, query: &str, reason: &str) -> Ordered;

    /// Ends a denial by command, or a pin; as [`Process::deny`].
    ///
    /// # Errors
    /// As there.
    fn withdraw(&self, key: &CapsKey, pinned: bool) -> Ordered;
}

/// What a desk sees beside the tiers.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What the process can do.
    pub process: Arc<dyn Process>,
    /// The links.
    pub links: Arc<Links>,
    /// Why a link is down.
    pub readiness: Arc<Readiness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When the process began to serve, by the clock of the desk.
    pub started: Instant,
    /// Where HTTP listens.
    pub http: String,
}

impl Desk {
    /// Carries out a request, and logs who asked for it if it changes anything.
    pub async fn act(self: &Arc<Self>, by: &Actor, request: Request) -> Answer {
        let Some(act) = act(&request) else {
            return self.answer(request).await;
        };
        if matches!(request, Request::LogLevel { .. }) {
            // The level that is wanted may keep the line from the log that says who wanted it.
            tracing::info!(%by, "wanted: {act}");
        }
        let answer = self.carry_out(request).await;
        log(by, &act, &answer);
        answer
    }

    async fn carry_out(self: &Arc<Self>, request: Request) -> Answer {
        match request {
            Request::Reload => {
                self.blocking(|desk| match desk.around.process.reload() {
                    Ok(changes) => Answer::Reloaded(changes),
                    Err(faults) => Answer::NotReloaded {
                        faults: faults.faults,
                    },
                })
                .await
            }
            Request::FlushAll => flushed(self.resolver.forget_all().await),
            Request::FlushKey { key } => match key_of(&key) {
                Ok(key) => flushed(self.resolver.forget(key).await),
                Err(refused) => refused,
            },
            Request::Resolve { key } => match key_of(&key) {
                Ok(key) => self.resolve(key).await,
                Err(refused) => refused,
            },
            Request::LogLevel { level } => match trace::change(level) {
                true => Answer::Level,
                false => {
                    Answer::refused("this process does not write a log whose level can change")
                }
            },
            Request::Deny { key, reason } => {
                self.order(&key, move |process, key| process.deny(key, &reason))
                    .await
            }
            Request::Undeny { key } => {
                self.order(&key, |process, key| process.withdraw(&key, false))
                    .await
            }
            Request::Pin { key, query, reason } => {
                self.order(&key, move |process, key| process.pin(key, &query, &reason))
                    .await
            }
            Request::Unpin { key } => {
                self.order(&key, |process, key| process.withdraw(&key, true))
                    .await
            }
            request => self.answer(request).await,
        }
    }

    async fn order(
        self: &Arc<Self>,
        key: &str,
        order: impl FnOnce(&dyn Process, CapsKey) -> Ordered + Send + 'static,
    ) -> Answer {
        let key = match key_of(key) {
            Ok(key) => key,
            Err(refused) => return refused,
        };
        let answer = self
            .blocking(move |desk| match order(&*desk.around.process, key) {
                Ok(until_restart) => Answer::Ordered { until_restart },
                Err(refusal) => refusal.into(),
            })
            .await;
        // Whoever is told that it is done must not be served what was before: the tiers' thread takes orders in their turn.
        self.resolver.pulse().await;
        answer
    }

    /// Where a file system may be waited for.
    async fn blocking(
        self: &Arc<Self>,
        work: impl FnOnce(&Desk) -> Answer + Send + 'static,
    ) -> Answer {
        let desk = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&desk)).await;
        done.unwrap_or_else(|_| ending())
    }

    /// What is served under a key; those who announce it are asked now if nothing is, those who failed before included.
    async fn resolve(&self, key: CapsKey) -> Answer {
        let served = self.look_up(key).await;
        if !matches!(served, Answer::NotFound { denied: None }) {
            return served;
        }
        self.resolver.forgive(&key);
        let (tell, told) = oneshot::channel();
        let waiter = Box::new(move |_, outcome| {
            // Whoever wanted to know may be gone.
            let _ = tell.send(outcome);
        });
        self.resolver.resolve((self.clock)(), key, OPERATOR, waiter);
        match told.await {
            // Where it is kept, more is known of it.
            Ok(Ok((entry, _))) => match self.look_up(key).await {
                Answer::Found(content) => Answer::Found(content),
                _ => found(&key, &entry),
            },
            Ok(Err(reason)) => Answer::Unresolved {
                reason: reason.to_string(),
            },
            Err(_) => ending(),
        }
    }

    /// The status of the tiers, with that of everything around them.
    pub(super) fn with_surroundings(&self, tiers: Status) -> Status {
        let around = &self.around;
        let now = (self.clock)();
        let report = around.readiness.report();
        let links = around.links.0.iter().zip(report.links);
        let metrics = &around.metrics;
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        let tier = crate::metrics::Tier::Hot;
        Status {
            uptime_seconds: now.saturating_duration_since(around.started).as_secs(),
            links: links
                .map(|(link, state)| link.status(now, state.name, state.down))
                .collect(),
            counts: Counts {
                lookups: lookups(metrics),
                questions: metrics.upstream_queries_sent.get(),
                flights: count(metrics.flights.get()),
                waiters: count(metrics.waiters.get()),
                holders: count(metrics.holders.get()),
                hot_entries: count(metrics.cache_entries.get(tier).get()),
                hot_bytes: count(metrics.cache_bytes.get(tier).get()),
            },
            ..tiers
        }
    }

    /// Tries every link that is up.
    pub(super) async fn examine(&self) -> Answer {
        let links = self.around.links.0.iter().map(|link| link.examine());
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
        Answer::Examined(Examined {
            clock: now.unwrap_or_default().as_secs(),
            http: self.around.http.clone(),
            links: futures::future::join_all(links).await,
        })
    }
}

/// What a request does, as the log has it; none for what only looks, and for the parts of imports and exports, which are logged as a whole
/// (see [`transfers`](super::transfers)).
fn act(request: &Request) -> Option<String> {
    let act = match request {
        Request::Status
        | Request::Flights { .. }
        | Request::Lookup { .. }
        | Request::Examine
        | Request::Sync => return None,
        Request::Import { .. } | Request::Entries { .. } => return None,
        Request::Reload => "reload".to_owned(),
        Request::FlushAll => "flush of everything".to_owned(),
        Request::FlushKey { key } => format!("flush of {}", shown(key)),
        Request::Deny { key, reason } => {
            format!("denial of {}: {}", shown(key), one_line(reason))
        }
        Request::Undeny { key } => format!("end of the denial of {}", shown(key)),
        Request::Pin { key, reason, .. } => {
            format!("pin of {}: {}", shown(key), one_line(reason))
        }
        Request::Unpin { key } => format!("end of the pin of {}", shown(key)),
        Request::Resolve { key } => format!("resolution of {}", shown(key)),
        Request::LogLevel { level } => format!("log level {}", level.word()),
    };
    Some(act)
}

/// Logs who had something done, and whether it was.
pub(super) fn log(by: &Actor, act: &str, answer: &Answer) {
    match answer {
        Answer::Refused { message, .. } => {
            tracing::warn!(%by, "not carried out: {act}: {message}");
        }
        Answer::NotReloaded { .. } => tracing::warn!(%by, "not carried out: {act}"),
        _ => tracing::info!(%by, "carried out: {act}"),
    }
}

/// The address in whose name an operator asks: that of nobody, so that it is no use of what is found.
const OPERATOR: &str = "";

/// Those over XMPP, by how they ended.
fn lookups(metrics: &Metrics) -> BTreeMap<String, u64> {
    let counted = LookupResult::all().into_iter().filter_map(|result| {
        let count = metrics.lookups.get(result).get();
        match result.values()[..] {
            ["xmpp", word] => Some((word.to_owned(), count)),
            _ => None,
        }
    });
    counted.collect()
}

/// What was proven just now, where there was no room for it: as with what is on probation, its holder is asked again.
fn found(key: &CapsKey, entry: &Entry) -> Answer {
    Answer::Found(Content {
        tier: Tier::Probation,
        keys: vec![key.to_node("")],
        nodes: Vec::new(),
        seen_nodes: None,
        query: desk::query_of(entry.children()),
    })
}

fn flushed(forgotten: Result<Forgotten, Unforgotten>) -> Answer {
    match forgotten {
        Ok(Forgotten { contents, stays }) => Answer::Flushed { contents, stays },
        Err(Unforgotten::InMemory(cause)) => Answer::refused(format!(
            "the store is in memory only: {cause}. What is on disk would be served again afterwards; once that is mended, flush again. \
             To serve a key no more at once, deny it"
        )),
        Err(Unforgotten::Ending) => ending(),
    }
}

/// The process is about to end.
pub(super) fn ending() -> Answer {
    Answer::refused_for(
        Reason::Overloaded,
        "the daemon is ending; try again when it runs",
    )
}

/// A key as the log has keys; what is none is not repeated there.
fn shown(text: &str) -> String {
    key_of(text).map_or_else(|_| Reason::MalformedNode.to_string(), |key| key.to_string())
}

fn one_line(text: &str) -> String {
    text.chars()
        .take(crate::config::overrides::MAX_REASON_LEN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

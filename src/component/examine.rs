//! What can be found out over a link about itself: whether a query comes through the server and back, and whether the server lists the
//! component. `capsd doctor` asks for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Link;
use crate::metrics::{Direction, StanzaKind};
use crate::stanza::write::{self, Route};
use crate::stanza::{Iq, Payload};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many questions may wait for an answer at once; more are not asked.
const MAX_WAITING: usize = 16;

/// Since when a link is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Up {
    since: Instant,
    /// How many presences had come before.
    presences: u64,
}

/// Questions to the server that wait for an answer, by id, each with whom was asked.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Question>>);

/// Whom it was put to, and who waits for what the answer says of being listed.
type Question = (String, oneshot::Sender<Option<bool>>);

impl Waiting {
    fn add(&self, id: &str, to: &str) -> Option<oneshot::Receiver<Option<bool>>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, answered)| !answered.is_closed());
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let (answered, answer) = oneshot::channel();
        waiting.insert(id.to_owned(), (to.to_owned(), answered));
        Some(answer)
    }

    /// Takes an answer, if it is one to a question that waits, from whom was asked.
    fn answered(&self, iq: &Iq) {
        let (Some(id), Some(from)) = (iq.id.as_deref(), iq.from.as_deref()) else {
            return;
        };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(id).is_none_or(|(asked, _)| asked != from) {
            return;
        }
        if let Some((_, answered)) = waiting.remove(id) {
            let listed = match iq.payload {
                Payload::Items { lists_us } => Some(lists_us),
                _ => None,
            };
            let _ = answered.send(listed);
        }
    }
}

/// How a link is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LinkStatus {
    /// What it is called in log and metrics.
    pub name: String,
    /// The component's JID.
    pub jid: String,
    /// The server.
    pub server: String,
    /// Why it is down, and what to do; none while it is up.
    pub down: Option<String>,
    /// For how many seconds it has been up.
    pub up_seconds: Option<u64>,
    /// How many presences came since it is up.
    pub presences: u64,
    /// The domains that it serves, and what their server grants for each.
    pub domains: Vec<DomainStatus>,
}

/// What a server grants for one of its domains (XEP-0356).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DomainStatus {
    /// The domain.
    pub name: String,
    /// Whether the server said what it grants.
    pub told: bool,
    /// Whether presence of its users is forwarded.
    pub presence: bool,
    /// Whether disco#info questions may be asked in the name of its users.
    pub disco_info: bool,
}

/// What was tried over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tried {
    /// How many milliseconds a query to the component itself took through the server and back; none where it did not come back, or the
    /// link is down.
    pub round_trip_ms: Option<u64>,
    /// Whether the disco#items of the first domain name the component; none where the server did not say.
    pub listed: Option<bool>,
}

impl Link {
    /// How the link is. `name` is what it is called, `down` why it is down, as those who watch it were told.
    pub fn status(&self, now: Instant, name: String, down: Option<String>) -> LinkStatus {
        let settings = self.settings();
        let presences = self.presences();
        let up = *self.up.lock().unwrap_or_else(PoisonError::into_inner);
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        let domains = settings.domains.iter().map(|domain| {
            let grant = grants.get(domain);
            DomainStatus {
                name: domain.clone(),
                told: grant.is_some(),
                presence: grant.is_some_and(|grant| grant.presence),
                disco_info: grant.is_some_and(|grant| grant.disco_info),
            }
        });
        LinkStatus {
            name,
            jid: self.jid().to_owned(),
            server: settings.server.clone(),
            down,
            up_seconds: up.map(|up| now.saturating_duration_since(up.since).as_secs()),
            presences: up.map_or(0, |up| presences.saturating_sub(up.presences)),
            domains: domains.collect(),
        }
    }

    fn is_up(&self) -> bool {
        self.up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn presences(&self) -> u64 {
        self.metrics
            .stanzas
            .get((Direction::In, StanzaKind::Presence))
            .get()
    }

    /// The server accepted the handshake.
    pub(super) fn came_up(&self, now: Instant) {
        let up = Up {
            since: now,
            presences: self.presences(),
        };
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) = Some(up);
    }

    /// The stream ended.
    pub(super) fn went_down(&self) {
        *self.up.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tries the link; nothing is known of one that is down.
    pub async fn examine(&self) -> Tried {
        if !self.is_up() {
            return Tried::default();
        }
        let began = tokio::time::Instant::now();
        let round_trip = async {
            // Whatever comes back has been through the server twice.
            self.asked(self.jid(), write::disco_info_question).await?;
            u64::try_from(began.elapsed().as_millis()).ok()
        };
        let settings = self.settings();
        let listed = async {
            let domain = settings.domains.first()?;
            self.asked(domain, write::disco_items_question).await?
        };
        let (round_trip_ms, listed) = tokio::join!(round_trip, listed);
        Tried {
            round_trip_ms,
            listed,
        }
    }

    /// Takes an answer to what was asked by [`Link::examine`].
    pub fn examined(&self, iq: &Iq) {
        self.waiting.answered(iq);
    }

    async fn asked(
        &self,
        to: &str,
        write: impl FnOnce(&mut Vec<u8>, Route<'_>),
    ) -> Option<Option<bool>> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let id = format!("examine-{:032x}", u128::from_be_bytes(random));
        let answer = self.waiting.add(&id, to)?;
        let route = Route {
            from: self.jid(),
            to,
            id: &id,
        };
        self.outbox.push(|out| write(out, route));
        self.outbox.wake();
        self.count_out(StanzaKind::Iq);
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

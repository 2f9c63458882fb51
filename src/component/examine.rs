//! What can be found out over a link about itself: whether a query comes through the server and back, and whether the server lists the
//! component. `capsd doctor` asks for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::session::{Handler, serve};
use super::{Link, Settings, connect, in_time, remedy};
use crate::holders::LinkId;
use crate::metrics::{ComponentMetrics, Stanza};
use crate::stanza::write::{self, ErrorReply, Route};
use crate::stanza::{Inbound, Iq, IqKind, Payload};

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
type Question = (String, oneshot::Sender<Said>);

/// What an answer says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// That the component is listed, or not.
    Listed(bool),
    /// What time it is, in seconds since 1970.
    Time(u64),
    /// That it is forbidden, which is what this component says to itself.
    Forbidden,
    /// Something else.
    Other,
}

impl Said {
    fn by(iq: &Iq) -> Said {
        match &iq.payload {
            Payload::Items { lists_us } => Said::Listed(*lists_us),
            Payload::TimeIs(utc) => DateTime::parse_from_rfc3339(utc)
                .ok()
                .and_then(|time| u64::try_from(time.timestamp()).ok())
                .map_or(Said::Other, Said::Time),
            _ if iq.condition.as_deref() == Some("forbidden") => Said::Forbidden,
            _ => Said::Other,
        }
    }
}

impl Waiting {
    fn add(&self, id: &str, to: &str) -> Option<oneshot::Receiver<Said>> {
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
            let _ = answered.send(Said::by(iq));
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
    /// The time by the clock of the first domain's server, in seconds since 1970; none where it did not say.
    pub server_clock: Option<u64>,
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
        self.metrics.stanzas.get(Stanza::PresenceIn).get()
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
            // The component has no rights with itself; anything else was said by the server.
            match self.asked(self.jid(), write::disco_info_question).await? {
                Said::Forbidden => u64::try_from(began.elapsed().as_millis()).ok(),
                _ => None,
            }
        };
        let settings = self.settings();
        let domain = settings.domains.first().map_or("", String::as_str);
        let (round_trip_ms, listed, time) = tokio::join!(
            round_trip,
            self.asked(domain, write::disco_items_question),
            self.asked(domain, write::time_question),
        );
        Tried {
            round_trip_ms,
            listed: match listed {
                Some(Said::Listed(listed)) => Some(listed),
                _ => None,
            },
            server_clock: match time {
                Some(Said::Time(time)) => Some(time),
                _ => None,
            },
        }
    }

    /// Takes an answer to what was asked by [`Link::examine`].
    pub fn examined(&self, iq: &Iq) {
        self.waiting.answered(iq);
    }

    async fn asked(&self, to: &str, write: impl FnOnce(&mut Vec<u8>, Route<'_>)) -> Option<Said> {
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
        self.count_out(Stanza::IqOut);
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

/// How long a server may take to say what it grants; it does so right after the handshake.
const GRANTING: Duration = Duration::from_secs(3);

/// Opens a stream for as long as it takes to try the link. For whoever runs no daemon: the server has one connection for a component.
///
/// # Errors
/// Why it cannot be opened, and what to do.
pub async fn visit(
    settings: Settings,
    metrics: ComponentMetrics,
    name: String,
) -> Result<(LinkStatus, Tried), String> {
    let link = Arc::new(Link::new(LinkId(0), settings, metrics));
    let settings = link.settings();
    let close = CancellationToken::new();
    let visitor = Visitor {
        link: Arc::clone(&link),
        opened: Notify::new(),
    };
    let now = || tokio::time::Instant::now().into_std();
    let serving = async {
        let (reader, writer) = in_time(connect(&settings.server)).await?;
        let credentials = &settings.credentials;
        Err::<(), _>(
            serve(
                reader,
                writer,
                credentials,
                &link.outbox,
                &visitor,
                now,
                &close,
            )
            .await,
        )
    };
    let trying = async {
        visitor.opened.notified().await;
        let granted = async {
            while link
                .status(now(), String::new(), None)
                .domains
                .iter()
                .any(|domain| !domain.told)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(GRANTING, granted).await;
        (link.status(now(), name, None), link.examine().await)
    };
    let found = tokio::select! {
        Err(ended) = serving => return Err(remedy(&ended, &settings)),
        found = trying => found,
    };
    // The stream is closed by letting go of it: nothing is pending.
    Ok(found)
}

/// Takes note of what a server says of itself.
struct Visitor {
    link: Arc<Link>,
    opened: Notify,
}

impl Handler for Visitor {
    fn opened(&self, now: Instant) {
        self.link.came_up(now);
        self.opened.notify_one();
    }

    fn stanza(&self, _: Instant, stanza: Inbound) {
        match stanza {
            Inbound::Message(message) => self.link.granted(&message),
            Inbound::Presence(_) => {
                let presences = Stanza::PresenceIn;
                self.link.metrics.stanzas.get(presences).inc();
            }
            Inbound::Iq(iq) if matches!(iq.kind, IqKind::Get | IqKind::Set) => self.refuse(&iq),
            Inbound::Iq(iq) => self.link.examined(&iq),
            _ => {}
        }
    }

    fn silent(&self) {}
}

impl Visitor {
    /// Nobody is served here; the component least of all by itself.
    fn refuse(&self, iq: &Iq) {
        if let (Some(to), Some(id)) = (&iq.from, &iq.id) {
            let error = match to == self.link.jid() {
                true => ErrorReply::plain("auth", "forbidden"),
                false => ErrorReply::plain("wait", "service-unavailable"),
            };
            let from = self.link.jid();
            self.link
                .outbox
                .push(|out| write::error(out, Route { from, to, id }, error, ""));
        }
    }
}

//! The links to servers: connect, prove the secret, serve, notice the end, come back (XEP-0114).
//!
//! | room | what lives there |
//! |---|---|
//! | [`examine`] | what can be found out over a link about itself |
//! | [`outbox`] | what is to be sent |
//! | [`session`] | one stream |
//! | `shortening` | what is too long for the XML reader |
//! | this file | [`Link`]: what outlives a stream, and the loop that keeps one open |

pub mod examine;
pub mod outbox;
pub mod session;
mod shortening;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::HashMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use crate::holders::LinkId;
use crate::metrics::{ComponentMetrics, ConnectResult, Stanza};
use crate::resolver::flights::QuestionId;
use crate::stanza::write::{self, Route};
use crate::stanza::{Inbound, Message, jid, ns};
use examine::{Up, Waiting};
use outbox::Outbox;
use session::{Credentials, Ended, Handler, serve};

/// How long a TCP connection may take.
const CONNECTING: Duration = Duration::from_secs(5);

/// The longest pause between attempts after a network fault or a conflict.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause after a refusal that only an operator can mend.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// How many domains' grants are remembered.
const MAX_GRANTING: usize = 4096;

/// How a component is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// JID and secret.
    pub credentials: Credentials,
    /// `host:port` of the server's component port.
    pub server: String,
    /// The domains whose users and bare domain may ask, and whose presences count.
    pub domains: Vec<String>,
    /// The accounts that administer capsd.
    pub admins: Vec<String>,
    /// The domains whose own stanzas are believed as a feed.
    pub feeds: Vec<String>,
    /// How many bytes may wait to be sent.
    pub queue_bytes: usize,
}

/// What a server grants for one of its domains (XEP-0356).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Presence of the domain's own users is forwarded.
    pub presence: bool,
    /// Presence of their contacts is forwarded too; what comes from elsewhere then was not necessarily sent to capsd.
    pub contacts: bool,
    /// disco#info questions may be asked in the name of the domain's users.
    pub disco_info: bool,
}

/// A link to a server: what outlives a stream.
#[derive(Debug)]
pub struct Link {
    /// Its place in the configuration.
    pub id: LinkId,
    jid: String,
    /// How it is set up; secret and domains may change while it is up.
    settings: RwLock<Arc<Settings>>,
    /// What is to be sent.
    pub outbox: Arc<Outbox>,
    /// Its metrics.
    pub metrics: ComponentMetrics,
    grants: RwLock<HashMap<String, Grant>>,
    up: Mutex<Option<Up>>,
    waiting: Waiting,
    pings: AtomicU64,
}

impl Link {
    /// A link that is down.
    pub fn new(id: LinkId, settings: Settings, metrics: ComponentMetrics) -> Link {
        Link {
            id,
            jid: settings.credentials.jid.clone(),
            outbox: Arc::new(Outbox::new(settings.queue_bytes)),
            settings: RwLock::new(Arc::new(settings)),
            metrics,
            grants: RwLock::default(),
            up: Mutex::default(),
            waiting: Waiting::default(),
            pings: AtomicU64::new(0),
        }
    }

    /// The component's JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// How it is set up at present.
    pub fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other settings: whom it serves changes at once, the secret with the next connection. JID, server and the length of the queue
    /// stay what they were.
    pub fn change(&self, settings: Settings) {
        let mut current = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let (jid, server) = (self.jid.clone(), current.server.clone());
        *current = Arc::new(Settings {
            credentials: Credentials {
                jid,
                ..settings.credentials
            },
            server,
            queue_bytes: current.queue_bytes,
            ..settings
        });
    }

    /// Whether the domain is one of those that the link serves.
    pub fn serves(&self, domain: &str) -> bool {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.domains.iter().any(|served| served == domain)
    }

    /// The place of an account among those that administer capsd, counted from 1; `None` for others.
    pub fn admin(&self, account: &str) -> Option<usize> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let place = settings.admins.iter().position(|admin| admin == account)?;
        Some(place + 1)
    }

    /// Whether it is the address of a domain whose reports are believed: the domain itself, to the letter, which no user can have; alone, or
    /// with the resource `capsd`, because ejabberd's mod_privilege drops what a component answers to the domain alone (24.12).
    pub fn is_feed(&self, address: &str) -> bool {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let domain = address.strip_suffix("/capsd").unwrap_or(address);
        settings.feeds.iter().any(|feed| feed == domain)
    }

    /// What the server grants for a domain.
    pub fn grant(&self, domain: &str) -> Grant {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.get(domain).copied().unwrap_or_default()
    }

    /// Whether presences of a foreign domain may reach this link without having been sent to capsd: because the server forwards
    /// those of contacts, or because the domain is another of its own hosts and forwards its users'.
    pub fn forwards_presences_of(&self, domain: &str) -> bool {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        // Only a served domain's server forwards contacts; what a stranger claims must not make capsd deaf to others.
        let forwards_contacts =
            |(domain, grant): (&String, &Grant)| grant.contacts && self.serves(domain);
        grants.contains_key(domain) || grants.iter().any(forwards_contacts)
    }

    /// Takes note of what a server grants; each domain grants for itself. That a domain grants something does not make it one
    /// that the link serves. At most 4,096 are remembered beside those.
    pub fn granted(&self, message: &Message) {
        let (Some(from), Some(namespace)) = (&message.from, &message.privilege) else {
            return;
        };
        let mut grant = Grant::default();
        for permission in &message.permissions {
            match (permission.access.as_str(), permission.extent.as_str()) {
                ("presence", "managed_entity") => grant.presence = true,
                ("presence", "roster") => {
                    grant.presence = true;
                    grant.contacts = true;
                }
                ("iq", _) if namespace == ns::PRIVILEGE_2 => {
                    grant.disco_info |= permission.namespaces.iter().any(|(namespace, kind)| {
                        namespace == ns::DISCO_INFO && matches!(kind.as_str(), "get" | "both")
                    });
                }
                _ => {}
            }
        }
        if !self.serves(from) {
            let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
            if !jid::has_local_part(from) && !jid::is_full(from) && grants.len() < MAX_GRANTING {
                grants.insert(from.clone(), grant);
            }
            return;
        }
        tracing::info!(
            component = self.jid(),
            domain = from,
            presence = grant.presence,
            disco_info = grant.disco_info,
            "the server grants privileges"
        );
        if !grant.presence {
            tracing::warn!(
                component = self.jid(),
                domain = from,
                "presence is not granted, so announcements of users are not seen. Next step: grant `presence = \"managed_entity\"` \
                 to the component in the server's configuration"
            );
        }
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.insert(from.clone(), grant);
    }

    fn revoke_all(&self) {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.clear();
    }

    /// Sends a disco#info question: in the name of the holder's own account where that is granted, else from the component.
    pub fn ask(&self, id: QuestionId, address: &str, node: &str) -> bool {
        let inner_id = question_id_text(id);
        let outer_id = account_question_id_text(id);
        let own_name = jid::has_local_part(address)
            && jid::is_full(address)
            && self.serves(jid::domain(address))
            && self.grant(jid::domain(address)).disco_info;
        let to = if own_name {
            jid::bare(address)
        } else {
            address
        };
        let route = Route {
            from: self.jid(),
            to,
            id: if own_name { &outer_id } else { &inner_id },
        };
        let sent = self.outbox.push(|out| {
            if own_name {
                write::privileged_question(out, route, address, &inner_id, node);
            } else {
                write::question(out, route, node);
            }
        });
        if sent {
            self.count_out(Stanza::IqOut);
        }
        sent
    }

    /// Counts a stanza that was sent.
    pub fn count_out(&self, stanza: Stanza) {
        self.metrics.stanzas.get(stanza).inc();
    }

    /// Asks the server for a sign of life (XEP-0199).
    fn ping(&self) {
        let id = format!("ping-{}", self.pings.fetch_add(1, Ordering::Relaxed));
        let settings = self.settings();
        let route = Route {
            from: self.jid(),
            to: settings.domains.first().map_or("", String::as_str),
            id: &id,
        };
        self.outbox.push(|out| write::ping(out, route));
        self.count_out(Stanza::IqOut);
    }
}

/// The text of a question's id: 32 hexadecimal digits.
pub fn question_id_text(id: QuestionId) -> String {
    format!("{:032x}", id.0)
}

/// The text of the id that the outer stanza of a privileged question carries.
pub fn account_question_id_text(id: QuestionId) -> String {
    format!("{ACCOUNT_PREFIX}{:032x}", id.0)
}

const ACCOUNT_PREFIX: &str = "account-";

/// The question that the id of an outer stanza names, if it can be one of ours.
pub fn parse_account_question_id(text: &str) -> Option<QuestionId> {
    parse_question_id(text.strip_prefix(ACCOUNT_PREFIX)?)
}

/// The question that an id names, if it can be one of ours.
pub fn parse_question_id(text: &str) -> Option<QuestionId> {
    if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(QuestionId)
}

/// Takes what a link brings, and learns of its ups and downs.
pub trait LinkHandler: Send + Sync {
    /// The link is up.
    fn up(&self, now: Instant, link: &Arc<Link>);
    /// A stanza came.
    fn stanza(&self, now: Instant, link: &Arc<Link>, stanza: Inbound);
    /// The link is down, or still down; the words say why and what to do.
    fn down(&self, now: Instant, link: &Arc<Link>, cause: &str);
}

struct Session<'a> {
    link: &'a Arc<Link>,
    handler: &'a dyn LinkHandler,
}

impl Handler for Session<'_> {
    fn opened(&self, now: Instant) {
        tracing::info!(
            component = self.link.jid(),
            server = self.link.settings().server,
            "the link is up"
        );
        self.link.metrics.up.set(1);
        self.link.came_up(now);
        self.link.metrics.connects.get(ConnectResult::Ok).inc();
        self.handler.up(now, self.link);
    }

    fn stanza(&self, now: Instant, stanza: Inbound) {
        let kind = match &stanza {
            Inbound::Iq(_) => Some(Stanza::IqIn),
            Inbound::Presence(_) => Some(Stanza::PresenceIn),
            Inbound::Message(_) => Some(Stanza::MessageIn),
            // Counted as ignored.
            _ => None,
        };
        if let Some(kind) = kind {
            self.link.metrics.stanzas.get(kind).inc();
        }
        self.handler.stanza(now, self.link, stanza);
    }

    fn silent(&self) {
        self.link.ping();
    }
}

/// Keeps a link open over TCP until `close` is cancelled. `now` is the clock of the runtime's timers.
pub async fn run(
    link: Arc<Link>,
    handler: Arc<dyn LinkHandler>,
    now: impl Fn() -> Instant + Clone,
    close: CancellationToken,
) {
    let server = link.settings().server.clone();
    let connect = || connect(&server);
    run_over(Arc::clone(&link), handler, connect, now, close).await;
}

async fn connect(server: &str) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let connection = TcpStream::connect(server).await?;
    // Replies are written in large pieces already; waiting for more would only add latency.
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    Ok(connection.into_split())
}

/// As [`run`], over whatever `connect` gives: a half to read from and one to write to.
pub async fn run_over<R, W, F>(
    link: Arc<Link>,
    handler: Arc<dyn LinkHandler>,
    connect: impl Fn() -> F,
    now: impl Fn() -> Instant + Clone,
    close: CancellationToken,
) where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = io::Result<(R, W)>>,
{
    let mut pause = Pause::new();
    let mut said = None;
    loop {
        let began = now();
        let ended = connect_and_serve(&link, &*handler, connect(), now.clone(), &close).await;
        let was_up = link.metrics.up.get() == 1;
        link.metrics.up.set(0);
        link.went_down();
        link.revoke_all();
        if ended == Ended::Closed {
            handler.down(now(), &link, "closed");
            return;
        }
        if !was_up {
            link.metrics.connects.get(connect_result(&ended)).inc();
        }
        let words = remedy(&ended, &link.settings());
        handler.down(now(), &link, &words);
        if was_up || said.as_ref() != Some(&words) {
            tracing::warn!(
                component = link.jid(),
                server = link.settings().server,
                was_up,
                "the link is down: {words}"
            );
        }
        said = Some(words);
        // A link that held for a while is tried again at once; one that breaks at once must not be tried in a tight loop.
        if was_up && now().saturating_duration_since(began) > LONGEST_PAUSE {
            pause = Pause::new();
        }
        tokio::select! {
            () = tokio::time::sleep(pause.next(&ended)) => {}
            () = close.cancelled() => return,
        }
    }
}

async fn connect_and_serve<R, W>(
    link: &Arc<Link>,
    handler: &dyn LinkHandler,
    connecting: impl Future<Output = io::Result<(R, W)>>,
    now: impl Fn() -> Instant,
    close: &CancellationToken,
) -> Ended
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (reader, writer) = tokio::select! {
        connected = in_time(connecting) => match connected {
            Ok(halves) => halves,
            Err(ended) => return ended,
        },
        () = close.cancelled() => return Ended::Closed,
    };
    let session = Session { link, handler };
    serve(
        reader,
        writer,
        &link.settings().credentials,
        &link.outbox,
        &session,
        now,
        close,
    )
    .await
}

async fn in_time<C>(connecting: impl Future<Output = io::Result<C>>) -> Result<C, Ended> {
    match tokio::time::timeout(CONNECTING, connecting).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(Ended::Network(error.to_string())),
        Err(_) => Err(Ended::Network(
            "the connection was not accepted in time".to_owned(),
        )),
    }
}

fn connect_result(ended: &Ended) -> ConnectResult {
    match ended {
        Ended::NotAuthorized => ConnectResult::Auth,
        Ended::HostUnknown => ConnectResult::HostUnknown,
        Ended::Conflict => ConnectResult::Conflict,
        _ => ConnectResult::Error,
    }
}

/// What happened, and what to do about it.
fn remedy(ended: &Ended, settings: &Settings) -> String {
    let (jid, server) = (&settings.credentials.jid, &settings.server);
    match ended {
        Ended::Closed => "closed".to_owned(),
        Ended::Network(error) => format!(
            "network: {error}. Next step: see whether the server runs and listens for components on {server}; capsd keeps trying"
        ),
        Ended::Dead => format!(
            "dead: the server at {server} gives no sign of life. Next step: see whether it hangs; capsd keeps trying"
        ),
        Ended::NotAuthorized => format!(
            "wrong secret: the server refused the handshake (not-authorized). Next step: make the secret of `{jid}` the same in capsd's \
             configuration and the server's (Prosody: `component_secret`; ejabberd: `password` under `hosts` of `ejabberd_service`, \
             and see that `{jid}` stands there, because ejabberd says the same for a host that it does not know)"
        ),
        Ended::HostUnknown => format!(
            "unknown host: the server does not know `{jid}` (host-unknown). Next step: add the component to the server's configuration \
             (Prosody: `Component \"{jid}\"`; ejabberd: `{jid}` under `hosts` of `ejabberd_service`), or correct `jid`"
        ),
        Ended::Conflict => format!(
            "conflict: another connection holds `{jid}`, or it is one of the server's own hosts. Next step: stop the other capsd, or give \
             each its own JID"
        ),
        Ended::Refused(words) => format!(
            "refused: {words}. Next step: see the server's log for `{jid}`; capsd keeps trying"
        ),
    }
}

/// The pauses between attempts: they double up to a bound, with jitter so that many daemons do not come at once.
#[derive(Debug)]
struct Pause {
    doubled: u32,
    dice: ahash::RandomState,
}

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(200);

    fn new() -> Pause {
        Pause {
            doubled: 0,
            dice: ahash::RandomState::new(),
        }
    }

    /// The next pause: between half and all of the doubled one.
    fn next(&mut self, ended: &Ended) -> Duration {
        let longest = match ended {
            Ended::NotAuthorized | Ended::HostUnknown => LONGEST_PAUSE_REFUSED,
            _ => LONGEST_PAUSE,
        };
        let whole = Self::SHORTEST
            .saturating_mul(1 << self.doubled.min(16))
            .min(longest);
        self.doubled += 1;
        let share = self.dice.hash_one(self.doubled) % 512;
        whole / 2 + whole / 1024 * share as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_no_further() {
        for (ended, bound) in [
            (Ended::Conflict, Duration::from_secs(5)),
            (Ended::Network(String::new()), Duration::from_secs(5)),
            (Ended::NotAuthorized, Duration::from_secs(60)),
            (Ended::HostUnknown, Duration::from_secs(60)),
        ] {
            let mut pause = Pause::new();
            let pauses: Vec<Duration> = (0..40).map(|_| pause.next(&ended)).collect();
            assert!(pauses.iter().all(|p| *p <= bound), "{ended:?}: {pauses:?}");
            assert!(pauses[0] <= Pause::SHORTEST);
            assert!(pauses[39] >= bound / 2, "{ended:?}: {pauses:?}");
        }
    }

    #[test]
    fn question_ids_have_one_spelling() {
        let id = QuestionId(0x00ab_cdef);
        assert_eq!(parse_question_id(&question_id_text(id)), Some(id));
        for text in [
            "",
            "ping-1",
            "abcdef",
            "+0000000000000000000000000abcdef",
            "000000000000000000000000 0abcdef",
        ] {
            assert_eq!(parse_question_id(text), None, "{text}");
        }
        assert_eq!(
            parse_question_id(&question_id_text(id).to_uppercase()),
            None
        );
    }
}

//! From an inbound stanza to what is done about it: access, queries, announcements, and what capsd says about itself.
//!
//! | room | what lives there |
//! |---|---|
//! | this file | [`Service`]: who may ask what, and the answers |
//! | [`announced`] | what a presence announces |
//! | [`commands`] | ad-hoc commands of those who administer capsd |
//! | [`own`] | capsd's own disco info and caps |
//! | `extension`, `lookup` | requests of `urn:capsd:0` |
//! | `instance` | which process answers, and whether it is the only one |
//! | `presence` | presences and subscriptions |

pub mod announced;
pub mod commands;
mod extension;
mod instance;
mod lookup;
pub mod own;
mod presence;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use crate::cache::{Entry, Front};
use crate::caps::{Algorithm, CapsKey, NodeError, Reason};
use crate::component::{Link, LinkHandler, parse_account_question_id, parse_question_id};
use crate::holders::LinkId;
use crate::metrics::{LookupOutcome, LookupResult, Metrics, RateScope, Stanza, UpstreamResult};
use crate::resolver::flights::{Outcome, QuestionId, Served};
use crate::resolver::limits::{self, Quotas, Rate};
use crate::resolver::{Reply, Resolver, Upstream};
use crate::stanza::write::{self, ErrorReply, Route};
use crate::stanza::{Inbound, Iq, IqKind, Payload, jid};
use announced::LegacyNodes;
use commands::AdminDesk;
use instance::Instance;
use lookup::Waiting;
use own::{Contacts, OwnCaps, OwnHistory};
use presence::Subscribers;

/// How the service is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether md5 keys are looked up.
    pub allow_md5: bool,
    /// How many queries one bare JID may make.
    pub queries_per_asker: Rate,
    /// How many keys one bare JID may look up in batches.
    pub batch_keys_per_asker: Rate,
    /// The most bytes of contents in one answer to a batch.
    pub batch_bytes: usize,
    /// The most bytes of all batches that wait.
    pub waiting_batch_bytes: usize,
    /// How many subscribers are remembered.
    pub max_subscribers: usize,
    /// The time of day, for XEP-0202.
    pub wall_clock: fn() -> SystemTime,
}

/// Is told when a link comes and goes.
pub trait LinkWatcher: Send + Sync {
    /// The link is up.
    fn up(&self, link: LinkId);
    /// The link is down; why, and what to do.
    fn down(&self, link: LinkId, cause: &str);
}

/// The service.
pub struct Service {
    settings: Settings,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    askers: Quotas,
    batch_keys: Quotas,
    waiting: Arc<Waiting>,
    instance: Instance,
    own: RwLock<OwnHistory>,
    legacy: Mutex<LegacyNodes>,
    subscribers: Mutex<Subscribers>,
    watcher: Arc<dyn LinkWatcher>,
    /// One for each link. Only the link's own task takes it, so there is never anybody to wait for.
    fronts: Vec<Mutex<Front>>,
    stopping: AtomicBool,
    admin_desk: OnceLock<Arc<dyn AdminDesk>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// What is known at once of a key that is not hot.
enum Beside {
    /// The operator denies it.
    Denied,
    /// It is one of capsd's own.
    Own(Arc<OwnCaps>),
    /// It is on probation.
    Entry(Arc<Entry>),
    /// Nothing.
    Nothing,
}

/// The links, as the resolver sees them.
#[derive(Debug)]
pub struct Links(pub Vec<Arc<Link>>);

impl Upstream for Links {
    fn ask(&self, link: LinkId, id: QuestionId, address: &str, node: &str) -> bool {
        self.0
            .get(usize::from(link.0))
            .is_some_and(|link| link.ask(id, address, node))
    }

    fn flush(&self) {
        for link in self.0.iter().filter(|link| !link.outbox.is_empty()) {
            link.outbox.wake();
        }
    }
}

/// A request that can be answered.
struct Request<'a> {
    link: &'a Arc<Link>,
    from: &'a str,
    id: &'a str,
}

impl Request<'_> {
    fn route(&self) -> Route<'_> {
        Route {
            from: self.link.jid(),
            to: self.from,
            id: self.id,
        }
    }

    fn reply(&self, write: impl FnOnce(&mut Vec<u8>, Route<'_>)) {
        if self.link.outbox.push(|out| write(out, self.route())) {
            self.link.count_out(Stanza::IqOut);
        } else {
            self.link.metrics.ignored.inc();
        }
    }

    fn refuse(&self, error: ErrorReply) {
        self.reply(|out, route| write::error(out, route, error, ""));
    }
}

impl Service {
    /// A service over a resolver for that many links; `now` is the beginning of its time.
    pub fn new(
        settings: Settings,
        contacts: &Contacts,
        resolver: Arc<Resolver>,
        watcher: Arc<dyn LinkWatcher>,
        links: usize,
        metrics: Arc<Metrics>,
        now: Instant,
    ) -> Service {
        Service {
            askers: Quotas::new(settings.queries_per_asker, now),
            batch_keys: Quotas::new(settings.batch_keys_per_asker, now),
            waiting: Waiting::new(settings.waiting_batch_bytes, &metrics),
            instance: Instance::new(),
            own: RwLock::new(OwnHistory::new(OwnCaps::new(contacts))),
            legacy: Mutex::default(),
            subscribers: Mutex::new(Subscribers::new(settings.max_subscribers)),
            fronts: (0..links).map(|_| Mutex::default()).collect(),
            stopping: AtomicBool::new(false),
            admin_desk: OnceLock::new(),
            settings,
            resolver,
            watcher,
            metrics,
        }
    }

    fn iq(self: &Arc<Self>, now: Instant, link: &Arc<Link>, iq: Iq) {
        match iq.kind {
            IqKind::Get | IqKind::Set => self.request(now, link, iq),
            IqKind::Result | IqKind::Error => self.response(now, link, iq),
            IqKind::Invalid => link.metrics.ignored.inc(),
        }
    }

    fn request(self: &Arc<Self>, now: Instant, link: &Arc<Link>, iq: Iq) {
        // Without a sender or an id there is nobody to answer (RFC 6120 section 8.2.3).
        let (Some(from), Some(id)) = (&iq.from, &iq.id) else {
            link.metrics.ignored.inc();
            return;
        };
        let request = Request { link, from, id };
        let permitted = link.serves(jid::domain(from)) || link.is_feed(from);
        if !permitted && link.admin(jid::bare(from)).is_none() {
            // Its own question, by which a link is tried, is no asker's that was refused.
            if from != link.jid() {
                self.rejected(Reason::Forbidden);
            }
            request.refuse(ErrorReply::for_reason(Reason::Forbidden));
            return;
        }
        if iq.to.as_deref() != Some(link.jid()) {
            request.refuse(ErrorReply::plain("cancel", "service-unavailable"));
            return;
        }
        if self.stops() {
            request.refuse(ErrorReply::plain("wait", "service-unavailable"));
            return;
        }
        if iq.children != 1 {
            request.refuse(ErrorReply::plain("modify", "bad-request"));
            return;
        }
        // What a server asks in batches, it asks for many.
        let of_feed = matches!(iq.payload, Payload::Extension(_)) && link.is_feed(from);
        if !of_feed && !self.askers.take(jid::bare(from), now) {
            limits::beyond(&self.metrics, RateScope::Asker, from);
            self.rejected(Reason::RateLimited);
            request.refuse(ErrorReply::for_reason(Reason::RateLimited));
            return;
        }
        match (iq.kind, iq.payload) {
            (IqKind::Get, Payload::DiscoInfo(Some(node))) if !node.is_empty() => {
                self.query(now, &request, &node);
            }
            (kind, Payload::Extension(extension)) => {
                self.extension(now, &request, kind, *extension);
            }
            (IqKind::Get, Payload::DiscoInfo(node)) => {
                let own = Arc::clone(self.own_history().current());
                request.reply(|out, route| {
                    write::disco_info(out, route, node.as_deref(), &own.children);
                });
            }
            (IqKind::Get, Payload::DiscoItems(node))
                if self.command_items(&request, node.as_deref()) => {}
            (IqKind::Set, Payload::Command(command)) => self.command(&request, &command),
            (IqKind::Get, Payload::DiscoItems(node)) => {
                request.reply(|out, route| write::disco_items(out, route, node.as_deref()));
            }
            (IqKind::Get, Payload::Ping) => request.reply(write::empty_result),
            (IqKind::Get, Payload::Version) => request.reply(|out, route| {
                write::version(out, route, env!("CARGO_PKG_VERSION"));
            }),
            (IqKind::Get, Payload::Time) => {
                let utc = chrono::DateTime::<chrono::Utc>::from((self.settings.wall_clock)());
                let utc = utc.format("%Y-%m-%dT%H:%M:%SZ").to_string();
                request.reply(|out, route| write::time(out, route, &utc));
            }
            _ => request.refuse(ErrorReply::plain("cancel", "service-unavailable")),
        }
    }

    fn rejected(&self, reason: Reason) {
        self.metrics.lookups.get(LookupResult::Rejected).inc();
        self.metrics.lookup_failures.get(reason).inc();
    }

    /// A disco#info question about the node of a caps key.
    fn query(self: &Arc<Self>, now: Instant, request: &Request<'_>, node: &str) {
        let mut front = self
            .fronts
            .get(usize::from(request.link.id.0))
            .map(|front| front.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(front) = &mut front {
            front.keep_up(self.resolver.withdrawals());
        }
        let shown = |key: &CapsKey| drop(self.resolver.hot(key));
        if let Some(entry) = front.as_mut().and_then(|front| front.get(node, shown)) {
            self.hit(request, node, &entry);
            return;
        }
        let key = match self.key_of(node) {
            Ok(key) => key,
            Err(_) if self.command_info(request, node) => return,
            Err(reason) => {
                self.rejected(reason);
                request.refuse(ErrorReply::for_reason(reason));
                return;
            }
        };
        if let Some(entry) = self.resolver.hot(&key) {
            self.hit(request, node, &entry);
            if let Some(front) = &mut front {
                front.insert(node, key, entry);
            }
            return;
        }
        drop(front);
        match self.beside_hot(now, &key, request.from) {
            Beside::Denied => self.fail(request, &key, Reason::Denied),
            Beside::Own(own) => request.reply(|out, route| {
                write::disco_info(out, route, Some(node), &own.children);
            }),
            Beside::Entry(entry) => self.hit(request, node, &entry),
            Beside::Nothing => self.resolve(now, request, key, node),
        }
    }

    /// What is known at once of a key that is not hot.
    fn beside_hot(&self, now: Instant, key: &CapsKey, from: &str) -> Beside {
        if self.resolver.denial(key).is_some() {
            self.metrics.lookups.get(LookupResult::Rejected).inc();
            return Beside::Denied;
        }
        if let Some(own) = self.own_history().of_key(key) {
            return Beside::Own(Arc::clone(own));
        }
        let entry = self.resolver.on_probation(now, key, from);
        entry.map_or(Beside::Nothing, Beside::Entry)
    }

    fn key_of(&self, node: &str) -> Result<CapsKey, Reason> {
        match CapsKey::from_node(node) {
            // By md5, only what the operator installed is found, unless it is allowed.
            Ok(key) => Ok(key),
            Err(NodeError::TooLarge) => Err(Reason::TooLarge),
            Err(error) => {
                let legacy = self.legacy.lock().unwrap_or_else(PoisonError::into_inner);
                Err(match error {
                    _ if legacy.contains(node) => Reason::Legacy,
                    NodeError::UnsupportedAlgorithm => Reason::UnsupportedAlgorithm,
                    NodeError::Malformed | NodeError::TooLarge => Reason::MalformedNode,
                })
            }
        }
    }

    fn count_hit(&self, entry: &Entry) {
        let result = if entry.is_trusted() {
            LookupResult::Override
        } else {
            LookupResult::Hit
        };
        self.metrics.lookups.get(result).inc();
    }

    fn hit(&self, request: &Request<'_>, node: &str, entry: &Entry) {
        self.count_hit(entry);
        request.reply(|out, route| {
            write::disco_info(out, route, Some(node), entry.children());
        });
    }

    fn resolve(self: &Arc<Self>, asked: Instant, request: &Request<'_>, key: CapsKey, node: &str) {
        let service = Arc::clone(self);
        let link = Arc::clone(request.link);
        let [from, id, node] = [request.from, request.id, node].map(str::to_owned);
        let waiter = move |now: Instant, outcome: Outcome| {
            let request = Request {
                link: &link,
                from: &from,
                id: &id,
            };
            service.observe(asked, now, &outcome);
            match outcome {
                Ok((entry, _)) => request.reply(|out, route| {
                    write::disco_info(out, route, Some(&node), entry.children());
                }),
                Err(_) if service.stops() => {
                    request.refuse(ErrorReply::plain("wait", "service-unavailable"));
                }
                Err(reason) => service.fail(&request, &key, reason),
            }
        };
        self.resolver
            .resolve(asked, key, request.from, Box::new(waiter));
    }

    /// Counts how long an asker waited.
    fn observe(&self, asked: Instant, now: Instant, outcome: &Outcome) {
        let counted = match outcome {
            Ok((_, Served::Stored)) => LookupOutcome::Cached,
            Ok((_, Served::Resolved)) => LookupOutcome::Resolved,
            Err(_) => LookupOutcome::Failed,
        };
        let elapsed = now.saturating_duration_since(asked).as_secs_f64();
        self.metrics.lookup_duration.get(counted).observe(elapsed);
    }

    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tells an asker why there is no answer; of a denied key also what the operator says.
    fn fail(&self, request: &Request<'_>, key: &CapsKey, reason: Reason) {
        let reason = self.reason_for(key, reason);
        self.metrics.lookup_failures.get(reason).inc();
        let text = match reason {
            Reason::Denied => self.resolver.denial(key).unwrap_or_default(),
            _ => String::new(),
        };
        request.reply(|out, route| {
            write::error(out, route, ErrorReply::for_reason(reason), &text);
        });
    }

    /// The reason as it is told of that key.
    fn reason_for(&self, key: &CapsKey, reason: Reason) -> Reason {
        match reason {
            // Nobody is asked for such a key, so that nobody answers says nothing.
            Reason::Unknown if !self.permits(key) => Reason::UnsupportedAlgorithm,
            reason => reason,
        }
    }

    /// Whether a key counts if strangers prove it.
    fn permits(&self, key: &CapsKey) -> bool {
        key.algorithm() != Algorithm::Md5 || self.settings.allow_md5
    }

    /// An answer or a refusal; only those to questions of ours mean anything (invariant 5).
    fn response(&self, now: Instant, link: &Arc<Link>, iq: Iq) {
        let (Some(from), Some(id)) = (iq.from.as_deref(), iq.id.as_deref()) else {
            return;
        };
        let result = refusal(iq.condition.as_deref());
        if let Some(id) = parse_account_question_id(id) {
            // The answer to a question in the name of an account stands inside; who sent it is said there.
            match iq.payload {
                Payload::Forwarded(inner) => {
                    let holder = inner.from.clone().unwrap_or_default();
                    if jid::bare(&holder) == from {
                        let reply = reply_of(*inner);
                        self.resolver.reply(now, id, link.id, &holder, reply);
                    }
                }
                _ => {
                    self.resolver.refused(now, id, link.id, from, result);
                }
            }
        } else if let Some(id) = parse_question_id(id) {
            let from = from.to_owned();
            self.resolver.reply(now, id, link.id, &from, reply_of(iq));
        } else {
            link.examined(&iq);
        }
    }

    fn own_history(&self) -> std::sync::RwLockReadGuard<'_, OwnHistory> {
        self.own.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another rate of queries and another bound on subscribers.
    pub fn change_limits(&self, queries_per_asker: Rate, max_subscribers: usize) {
        self.askers.change(queries_per_asker);
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.change_max(max_subscribers);
    }

    /// Takes other contact addresses; subscribers are sent the new caps if they change. Returns whether they did.
    pub fn change_contacts(&self, contacts: &Contacts, links: &Links) -> bool {
        let changed = self
            .own
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .change(OwnCaps::new(contacts));
        if changed {
            for link in &links.0 {
                self.broadcast(link, None);
            }
        }
        changed
    }

    /// From now on requests are told to come back later; whoever waits is told too, and subscribers that capsd is gone.
    pub fn stop(&self, now: Instant, links: &Links) {
        self.stopping.store(true, Ordering::Relaxed);
        self.resolver.stop(now);
        for link in &links.0 {
            self.broadcast(link, Some("unavailable"));
        }
    }

    /// Drops what is no longer needed of the askers' quotas; to be called now and then.
    pub fn sweep(&self) {
        self.askers.sweep();
        self.batch_keys.sweep();
    }
}

/// What a refusal's condition means for the holder: gone, or unwilling.
fn refusal(condition: Option<&str>) -> UpstreamResult {
    match condition {
        Some(
            "service-unavailable"
            | "item-not-found"
            | "recipient-unavailable"
            | "gone"
            | "remote-server-not-found"
            | "remote-server-timeout",
        ) => UpstreamResult::Unreachable,
        _ => UpstreamResult::Error,
    }
}

fn reply_of(iq: Iq) -> Reply {
    match (iq.kind, iq.payload, iq.children) {
        (IqKind::Result, Payload::Answer(answer), 1) => Reply::Answer(answer),
        _ => Reply::Refusal(refusal(iq.condition.as_deref())),
    }
}

/// The service with its links: the form in which the component loops know it.
#[derive(Debug)]
pub struct ServiceHandler(pub Arc<Service>);

impl LinkHandler for ServiceHandler {
    fn up(&self, _: Instant, link: &Arc<Link>) {
        self.0.resolver.link_up(link.id);
        self.0.watcher.up(link.id);
        self.0.greet(link);
    }

    fn stanza(&self, now: Instant, link: &Arc<Link>, stanza: Inbound) {
        match stanza {
            Inbound::Iq(iq) => self.0.iq(now, link, iq),
            Inbound::Presence(presence) => self.0.presence(now, link, &presence),
            Inbound::Message(message) => link.granted(&message),
            Inbound::Handshake | Inbound::StreamError(_) | Inbound::Other => {
                link.metrics.ignored.inc();
            }
        }
    }

    fn down(&self, now: Instant, link: &Arc<Link>, cause: &str) {
        self.0.resolver.link_down(now, link.id);
        self.0.instance.link_down(link.id);
        self.0.watcher.down(link.id, cause);
    }
}

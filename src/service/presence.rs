//! Presences: announcements of holders, and subscriptions that users make.
//!
//! capsd approves every subscription of a permitted user and asks back only then; it never asks first. What it learns of
//! subscribers stays in memory.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use ahash::HashMap;

use super::Service;
use super::announced::{Announced, announced};
use crate::caps::key::MAX_NODE_LEN;
use crate::component::Link;
use crate::holders::LinkId;
use crate::metrics::{AnnouncementKind, Stanza};
use crate::stanza::{Presence, PresenceKind, jid, write};

/// A subscriber's two directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Subscription {
    /// They see capsd's presence.
    sees: bool,
    /// They let capsd see theirs.
    shows: bool,
}

/// Users who subscribed, by link and bare JID; in memory only, at most so many.
#[derive(Debug)]
pub(super) struct Subscribers {
    max: usize,
    known: HashMap<(LinkId, String), Subscription>,
}

impl Subscribers {
    pub(super) fn new(max: usize) -> Subscribers {
        Subscribers {
            max,
            known: HashMap::default(),
        }
    }

    /// Takes another bound; who is known already stays known.
    pub(super) fn change_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Changes what is known of a user; false if there is no room for a new one.
    fn change(&mut self, link: LinkId, bare: &str, change: impl FnOnce(&mut Subscription)) -> bool {
        let key = (link, bare.to_owned());
        if !self.known.contains_key(&key) && self.known.len() >= self.max {
            return false;
        }
        let subscription = self.known.entry(key.clone()).or_default();
        change(subscription);
        if *subscription == Subscription::default() {
            self.known.remove(&key);
        }
        true
    }

    fn get(&self, link: LinkId, bare: &str) -> Subscription {
        let key = (link, bare.to_owned());
        self.known.get(&key).copied().unwrap_or_default()
    }

    fn of_link(&self, link: LinkId) -> Vec<(String, Subscription)> {
        let of_link = self.known.iter().filter(|((of, _), _)| *of == link);
        of_link.map(|((_, bare), s)| (bare.clone(), *s)).collect()
    }
}

impl Service {
    pub(super) fn presence(&self, now: Instant, link: &Arc<Link>, presence: &Presence) {
        let Some(from) = presence.from.as_deref() else {
            link.metrics.ignored.inc();
            return;
        };
        let permitted = link.serves(jid::domain(from));
        match presence.kind {
            PresenceKind::Available => self.available(now, link, from, presence),
            PresenceKind::Unavailable => self.resolver.depart(now, link.id, from),
            PresenceKind::Subscribe if permitted => self.subscribe(link, from),
            PresenceKind::Subscribe => send_presence(link, from, Some("unsubscribed"), b""),
            PresenceKind::Subscribed => {
                self.change_subscription(link, from, |s| s.shows |= permitted);
            }
            PresenceKind::Unsubscribe => {
                self.change_subscription(link, from, |s| s.sees = false);
                send_presence(link, from, Some("unsubscribed"), b"");
            }
            PresenceKind::Unsubscribed => {
                self.change_subscription(link, from, |s| s.shows = false);
            }
            PresenceKind::Probe if permitted => {
                self.change_subscription(link, from, |s| s.sees = true);
                self.send_own_presence(link, from);
            }
            PresenceKind::Probe | PresenceKind::Other => link.metrics.ignored.inc(),
        }
    }

    fn available(&self, now: Instant, link: &Arc<Link>, from: &str, presence: &Presence) {
        if !self.believed(link, from, presence) {
            link.metrics.ignored.inc();
            return;
        }
        self.announced(now, link, from, presence, true);
    }

    /// Takes note of what an address announces.
    pub(super) fn announced(
        &self,
        now: Instant,
        link: &Link,
        from: &str,
        presence: &Presence,
        askable: bool,
    ) {
        let kind = match announced(presence, self.settings.allow_md5) {
            Announced::Nothing => {
                self.resolver.heard(now, link.id, from);
                AnnouncementKind::None
            }
            Announced::Keys(announcement, kind) => {
                self.resolver
                    .announce(now, link.id, from, &announcement, askable);
                kind
            }
            Announced::Legacy(nodes) => {
                self.unverifiable(now, link, from, nodes.clone(), askable);
                let mut legacy = self.legacy.lock().unwrap_or_else(PoisonError::into_inner);
                legacy.remember(nodes);
                AnnouncementKind::Legacy
            }
            Announced::Unsupported(nodes) => {
                self.unverifiable(now, link, from, nodes, askable);
                AnnouncementKind::Unsupported
            }
        };
        self.metrics.announcements.get(kind).inc();
    }

    fn unverifiable(
        &self,
        now: Instant,
        link: &Link,
        from: &str,
        mut nodes: Vec<String>,
        askable: bool,
    ) {
        nodes.retain(|node| node.len() <= MAX_NODE_LEN);
        self.resolver
            .announce_unverifiable(now, link.id, from, nodes, askable);
    }

    /// Whether a presence counts: it is of a user of a domain that the link serves, of a subscriber, or was sent to capsd itself.
    ///
    /// A forwarded presence is addressed to capsd just as one that was sent to it. So a foreign one does not count where the server
    /// may have forwarded it, nor when it is repeated (Prosody repeats those of all its hosts when capsd connects).
    fn believed(&self, link: &Link, from: &str, presence: &Presence) -> bool {
        if link.serves(jid::domain(from)) {
            return true;
        }
        let subscribers = self.subscribers.lock();
        let subscribers = subscribers.unwrap_or_else(PoisonError::into_inner);
        if subscribers.get(link.id, jid::bare(from)).shows {
            return true;
        }
        presence.to.as_deref() == Some(link.jid())
            && !presence.delayed
            && !link.forwards_presences_of(jid::domain(from))
    }

    fn subscribe(&self, link: &Arc<Link>, from: &str) {
        let bare = jid::bare(from);
        self.change_subscription(link, from, |s| s.sees = true);
        send_presence(link, bare, Some("subscribed"), b"");
        // The user asked first; without the other direction capsd would not see what the user announces.
        send_presence(link, bare, Some("subscribe"), b"");
        self.send_own_presence(link, bare);
    }

    fn change_subscription(&self, link: &Link, from: &str, change: impl FnOnce(&mut Subscription)) {
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !subscribers.change(link.id, jid::bare(from), change) {
            link.metrics.ignored.inc();
        }
    }

    fn send_own_presence(&self, link: &Link, to: &str) {
        let own = Arc::clone(self.own_history().current());
        send_presence(link, to, None, &own.announcement);
    }

    /// Sends capsd's presence, or one of another type, to all who see it over the link.
    pub(super) fn broadcast(&self, link: &Link, kind: Option<&str>) {
        for (bare, subscription) in self.subscribers_of(link) {
            match kind {
                Some(_) if subscription.sees => send_presence(link, &bare, kind, b""),
                None if subscription.sees => self.send_own_presence(link, &bare),
                _ => {}
            }
        }
        link.outbox.wake();
    }

    fn subscribers_of(&self, link: &Link) -> Vec<(String, Subscription)> {
        let subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.of_link(link.id)
    }

    /// A link is back: its subscribers are told that capsd is, and asked who of them is online, because ejabberd does not say.
    pub(super) fn greet(&self, link: &Link) {
        for (bare, subscription) in self.subscribers_of(link) {
            if subscription.sees {
                self.send_own_presence(link, &bare);
            }
            if subscription.shows {
                send_presence(link, &bare, Some("probe"), b"");
            }
        }
    }
}

fn send_presence(link: &Link, to: &str, kind: Option<&str>, caps: &[u8]) {
    let sent = link
        .outbox
        .push(|out| write::presence(out, link.jid(), to, kind, caps));
    if sent {
        link.count_out(Stanza::PresenceOut);
    } else {
        link.metrics.ignored.inc();
    }
}

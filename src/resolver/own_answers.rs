//! What one address says, for itself alone: the resolver's side of [`unverified`](super::unverified).

use std::sync::Arc;
use std::time::Instant;

use super::flights::{Question, QuestionId, Verdicts, random_id};
use super::unverified::{Listener, Said, Unproven, Wanted};
use super::{Reply, Resolver};
use crate::caps::{Answer, CapsKey, Reason, Verdict, verify};
use crate::holders::{Announcement, LinkId};
use crate::stanza::jid;

impl Resolver {
    /// Somebody announced nodes, none of which is that of a key that can be verified.
    pub fn announce_unverifiable(
        &self,
        now: Instant,
        link: LinkId,
        address: &str,
        nodes: Vec<String>,
        askable: bool,
    ) {
        self.step(now, |flights| flights.depart(now, link, address));
        let ended = self.unverified.announce(link, address, nodes, askable);
        self.tell_all(now, ended, &Err(Reason::Unreachable));
    }

    /// Forgets what the address said alone, unless that was under this announcement.
    pub(super) fn forget_said(
        &self,
        now: Instant,
        link: LinkId,
        address: &str,
        unless: Option<&Announcement>,
    ) {
        if self.unverified.is_empty() {
            return;
        }
        let unless = unless.map(nodes).unwrap_or_default();
        let ended = self.unverified.forget(link, address, &unless);
        self.tell_all(now, ended, &Err(Reason::Unreachable));
    }

    /// Keeps an answer for the one who gave it, under those keys whose hash it has without being fit for anybody else.
    pub(super) fn keep_quarantined(
        &self,
        question: &Question,
        verdicts: &Verdicts,
        answer: &Answer,
    ) {
        let Verdicts::Content { refused, .. } = verdicts else {
            return;
        };
        for (key, reason) in refused {
            if matches!(reason, Reason::Ambiguous | Reason::IllFormed) {
                let node = key.to_node(&question.announcement.node_url);
                let nodes = nodes(&question.announcement);
                let (link, address) = (question.link, &question.address);
                let content = Unproven::new(answer);
                self.unverified.keep(link, address, nodes, &node, content);
            }
        }
    }

    /// What the address, heard over that link, said to a node that it announces and that cannot be verified; for whoever may know what
    /// that very address says. `None` where it does not announce the node or has not been asked.
    pub fn said(&self, now: Instant, link: LinkId, address: &str, node: &str) -> Option<Said> {
        self.unverified.said(now, link, address, node)
    }

    /// As [`Resolver::said`], but the address is asked, over that link, if it may be: once for all who want to know. `otherwise` is why
    /// there is no answer if it does not announce the node or may not be asked.
    pub fn ask_alone(
        &self,
        now: Instant,
        (link, address, node): (LinkId, &str, &str),
        otherwise: Reason,
        listener: Listener,
    ) {
        let may_ask = || self.lock().flights.may_ask_more(now, address);
        let id = QuestionId(random_id());
        let of = (link, address, node);
        let wanted = self
            .unverified
            .want(now, of, otherwise, id, may_ask, listener);
        match wanted {
            Wanted::Tell(listener, said) => listener(now, said),
            Wanted::Waits => {}
            Wanted::Ask(id) => {
                let upstream = self.upstream.get();
                if upstream.is_some_and(|upstream| upstream.ask(link, id, address, node)) {
                    self.metrics.upstream_queries_sent.inc();
                    self.rearm.notify_one();
                } else {
                    let ended = self.unverified.unsent(id);
                    self.tell_all(now, ended, &Err(Reason::Unreachable));
                }
            }
        }
        self.flush();
    }

    /// An address replied to what it was asked alone; whether it was.
    pub(super) fn reply_alone(
        &self,
        now: Instant,
        id: QuestionId,
        link: LinkId,
        from: &str,
        reply: &Reply,
    ) -> bool {
        let exact = |asked_over, address: &str| asked_over == link && address == from;
        let Some(node) = self.unverified.asked(id, exact) else {
            return false;
        };
        let said = match reply {
            Reply::Answer(answer) => self.judged_alone(&node, answer),
            Reply::Refusal(_) => Err(Reason::Unreachable),
        };
        self.settle_alone(now, id, said);
        true
    }

    /// A server refused such a question in the name of the account; whether it was one.
    pub(super) fn refused_alone(
        &self,
        now: Instant,
        id: QuestionId,
        link: LinkId,
        account: &str,
    ) -> bool {
        let of_account =
            |asked_over, address: &str| asked_over == link && jid::bare(address) == account;
        let asked = self.unverified.asked(id, of_account).is_some();
        if asked {
            self.settle_alone(now, id, Err(Reason::Unreachable));
        }
        asked
    }

    /// An answer within the bounds is good for whoever gave it, unless the node has a hash and the answer another.
    fn judged_alone(&self, node: &str, answer: &Answer) -> Said {
        let features = answer.features.len();
        if answer.too_large
            || answer.size > self.policy.max_bytes
            || features > self.policy.max_features
        {
            return Err(Reason::TooLarge);
        }
        if let Ok(key) = CapsKey::from_node(node)
            && let Verdict::Rejected(reason, _) = verify(&key, answer, &self.policy)
            && reason != Reason::UnsupportedAlgorithm
        {
            return Err(reason);
        }
        Ok(Arc::new(Unproven::new(answer)))
    }

    fn settle_alone(&self, now: Instant, id: QuestionId, said: Said) {
        let (listeners, said) = self.unverified.settle(now, id, said);
        self.tell_all(now, listeners, &said);
    }

    /// Ends what is overdue.
    pub(super) fn expire_alone(&self, now: Instant) {
        for id in self.unverified.overdue(now) {
            self.settle_alone(now, id, Err(Reason::Timeout));
        }
        self.unverified.sweep();
    }

    pub(super) fn tell_all(&self, now: Instant, listeners: Vec<Listener>, said: &Said) {
        if listeners.is_empty() {
            return;
        }
        for listener in listeners {
            listener(now, said.clone());
        }
        self.flush();
    }

    fn flush(&self) {
        if let Some(upstream) = self.upstream.get() {
            upstream.flush();
        }
    }
}

fn nodes(announcement: &Announcement) -> Vec<String> {
    let keys = announcement.keys.iter();
    keys.map(|key| key.to_node(&announcement.node_url))
        .collect()
}

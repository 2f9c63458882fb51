//! Requests of `urn:capsd:0` (deploy/protocol.md): who may make which, and what `<contribute/>` and `<feed/>` do.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::{Request, Service};
use crate::caps::{CapsKey, Family, Reason};
use crate::metrics::{ContributionResult, Operation, OperationResult, RateScope};
use crate::stanza::read::{self, Contribution, Extension, Feed, Report};
use crate::stanza::write::{self, ErrorReply, InfoAnswer};
use crate::stanza::{IqKind, jid};

impl Service {
    /// A request of somebody who may ask.
    pub(super) fn extension(
        self: &Arc<Self>,
        now: Instant,
        request: &Request<'_>,
        kind: IqKind,
        extension: Extension,
    ) {
        let trusted = request.link.is_feed(request.from);
        let operation = match (kind, &extension.operation) {
            (IqKind::Get, read::Operation::Lookup(_)) => Operation::Lookup,
            (IqKind::Set, read::Operation::Contribute(_)) => Operation::Contribute,
            (IqKind::Set, read::Operation::Feed(_)) => Operation::Feed,
            _ => return request.refuse(ErrorReply::plain("cancel", "service-unavailable")),
        };
        if operation == Operation::Feed && !trusted {
            self.ended(operation, OperationResult::Forbidden);
            return request.refuse(ErrorReply::for_reason(Reason::Forbidden));
        }
        if let Some(reason) = extension.fault {
            self.ended(operation, OperationResult::Malformed);
            return request.refuse(ErrorReply::bad_request(reason));
        }
        let items = match &extension.operation {
            read::Operation::Lookup(lookup) => lookup.keys.len(),
            read::Operation::Contribute(infos) => infos.len(),
            read::Operation::Feed(_) => 0,
        };
        if !trusted && !self.charge(now, request, items) {
            self.metrics.rate_limited.get(RateScope::BatchKeys).inc();
            self.ended(operation, OperationResult::RateLimited);
            return request.refuse(ErrorReply::for_reason(Reason::RateLimited));
        }
        match extension.operation {
            read::Operation::Lookup(lookup) => self.lookup(now, request, lookup, trusted),
            read::Operation::Contribute(infos) => self.contribute(now, request, &infos, trusted),
            read::Operation::Feed(feed) => self.feed(now, request, feed),
        }
    }

    pub(super) fn ended(&self, operation: Operation, result: OperationResult) {
        self.metrics.operations.get((operation, result)).inc();
    }

    /// Takes that many keys from the asker's quota.
    fn charge(&self, now: Instant, request: &Request<'_>, items: usize) -> bool {
        let items = u32::try_from(items).ok().and_then(NonZeroU32::new);
        items.is_none_or(|items| {
            self.batch_keys
                .take_all(jid::bare(request.from), items, now)
        })
    }

    fn contribute(
        &self,
        now: Instant,
        request: &Request<'_>,
        infos: &[Contribution],
        trusted: bool,
    ) {
        let answers = infos.iter().map(|info| InfoAnswer {
            node: info.node.as_deref(),
            outcome: self.contribution(now, request, info, trusted),
        });
        let answers: Vec<InfoAnswer<'_>> = answers.collect();
        for answer in &answers {
            let result = match answer.outcome {
                Ok(_) => ContributionResult::Taken,
                Err(_) => ContributionResult::Refused,
            };
            self.metrics.contributions.get(result).inc();
        }
        self.ended(Operation::Contribute, OperationResult::Ok);
        request.reply(|out, route| {
            write::contribute(out, route, self.instance.name(), &answers);
        });
    }

    /// The nodes that a content is known under from now on.
    fn contribution(
        &self,
        now: Instant,
        request: &Request<'_>,
        info: &Contribution,
        trusted: bool,
    ) -> Result<Vec<String>, Reason> {
        let address = match &info.jid {
            // What it says would be attributed to another account.
            Some(_) if !trusted => return Err(Reason::Forbidden),
            Some(jid) => jid,
            None => request.from,
        };
        let node = info.node.as_deref();
        let key = node.map(|node| Ok((self.key_of(node)?, node_url(node))));
        let key: Option<(CapsKey, &str)> = key.transpose()?;
        let keys = self.resolver.contribute(now, address, key, &info.answer)?;
        let url = key.map_or("", |(_, url)| url);
        Ok(keys.iter().map(|key| key.to_node(url)).collect())
    }

    fn feed(&self, now: Instant, request: &Request<'_>, feed: Feed) {
        let link = request.link;
        self.instance
            .believed(link, request.from, feed.instance.as_deref());
        for report in feed.reports {
            match report {
                Report::Gone(jid) => self.resolver.depart(now, link.id, &jid),
                Report::Holder { presence, askable } => {
                    let from = presence.from.as_deref().unwrap_or_default();
                    let askable = askable && link.is_feed(jid::domain(from));
                    self.announced(now, link, from, &presence, askable);
                }
            }
        }
        self.ended(Operation::Feed, OperationResult::Ok);
        request.reply(|out, route| write::feed(out, route, self.instance.name()));
    }
}

/// The node URL within the node of a 0115 key; empty for others.
fn node_url(node: &str) -> &str {
    let of_0115 = CapsKey::from_node(node).is_ok_and(|key| key.family() == Family::Xep0115);
    match node.rsplit_once('#') {
        Some((url, _)) if of_0115 => url,
        _ => "",
    }
}

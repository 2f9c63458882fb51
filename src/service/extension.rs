//! Requests of `urn:capsd:0` (deploy/protocol.md): who may make which, and what `<contribute/>` and `<feed/>` do.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::{Request, Service};
use crate::caps::{CapsKey, Family, Reason};
use crate::metrics::{ContributionResult, Operation, RateScope};
use crate::resolver::limits;
use crate::stanza::read::{self, Contribution, Extension, Feed, Report};
use crate::stanza::write::{self, ErrorReply, InfoAnswer, Source};
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
        let Extension { operation, fault } = extension;
        let trusted = request.link.is_feed(request.from);
        match (kind, operation) {
            (IqKind::Get, read::Operation::Lookup(lookup)) => {
                if self.is_whole(request, fault, Operation::LookupMalformed)
                    && (trusted
                        || self.charge(
                            now,
                            request,
                            lookup.keys.len(),
                            Operation::LookupRateLimited,
                        ))
                {
                    self.lookup(now, request, lookup, trusted);
                }
            }
            (IqKind::Set, read::Operation::Contribute(infos)) => {
                if self.is_whole(request, fault, Operation::ContributeMalformed)
                    && (trusted
                        || self.charge(now, request, infos.len(), Operation::ContributeRateLimited))
                {
                    self.contribute(now, request, &infos, trusted);
                }
            }
            (IqKind::Set, read::Operation::Feed(_)) if !trusted => {
                self.ended(Operation::FeedForbidden);
                request.refuse(ErrorReply::for_reason(Reason::Forbidden));
            }
            (IqKind::Set, read::Operation::Feed(feed)) => {
                if self.is_whole(request, fault, Operation::FeedMalformed) {
                    self.feed(now, request, feed);
                }
            }
            _ => request.refuse(ErrorReply::plain("cancel", "service-unavailable")),
        }
    }

    /// Who answers, as of now.
    pub(super) fn source(&self) -> Source<'_> {
        Source {
            instance: self.instance.name(),
            withdrawals: self.resolver.withdrawals(),
        }
    }

    /// Whether a request can be taken as a whole; refuses and counts it if not.
    fn is_whole(&self, request: &Request<'_>, fault: Option<Reason>, malformed: Operation) -> bool {
        if let Some(reason) = fault {
            self.ended(malformed);
            request.refuse(ErrorReply::bad_request(reason));
        }
        fault.is_none()
    }

    pub(super) fn ended(&self, operation: Operation) {
        self.metrics.operations.get(operation).inc();
    }

    /// Takes that many keys from the asker's quota; refuses and counts the request if they are not there.
    fn charge(
        &self,
        now: Instant,
        request: &Request<'_>,
        items: usize,
        limited: Operation,
    ) -> bool {
        let asker = jid::bare(request.from);
        let items = u32::try_from(items).ok().and_then(NonZeroU32::new);
        let taken = items.is_none_or(|items| self.batch_keys.take_all(asker, items, now));
        if !taken {
            limits::beyond(&self.metrics, RateScope::BatchKeys, asker);
            self.ended(limited);
            request.refuse(ErrorReply::for_reason(Reason::RateLimited));
        }
        taken
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
        self.ended(Operation::ContributeOk);
        request.reply(|out, route| {
            write::contribute(out, route, self.source(), &answers);
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
        let domain = jid::bare(request.from);
        self.instance
            .believed(link, domain, feed.instance.as_deref());
        let name = feed.feeder.unwrap_or_default();
        let feeder = self.resolver.feeder(link.id, domain, &name);
        if feed.anew {
            self.resolver.begin_anew(now, feeder);
        }
        for report in feed.reports {
            match report {
                Report::Gone(jid) => self.resolver.depart(now, link.id, &jid),
                Report::Holder { presence, askable } => {
                    let from = presence.from.as_deref().unwrap_or_default();
                    let askable = askable && link.is_feed(jid::domain(from));
                    self.announced(now, link, from, &presence, askable);
                    self.resolver.told_by(feeder, link.id, from);
                }
            }
        }
        self.ended(Operation::FeedOk);
        request.reply(|out, route| write::feed(out, route, self.source()));
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

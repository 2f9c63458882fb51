//! What comes of flights without a question: who wants no more than what is stored, and contents that somebody hands over.

use std::sync::Arc;
use std::time::Instant;

use super::{Effect, FlightId, Flights, Patience, Served};
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::metrics::{LookupResult, Metrics, RateScope};
use crate::resolver::limits::{self, SourceQuotas, Spent};

impl<W> Flights<W> {
    /// The tiers do not have what is left of a flight: who wants no more than that is told, and the flight ends if nobody does.
    pub(super) fn looked(&mut self, now: Instant, id: FlightId, effects: &mut Vec<Effect<W>>) {
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        let looks = |patience: Patience| patience == Patience::Looking;
        let told: Vec<_> = flight
            .waiters
            .extract_if(.., |(_, patience, _)| looks(*patience))
            .collect();
        if !told.is_empty() && flight.waiters.is_empty() && std::mem::take(&mut flight.uncounted) {
            self.metrics.lookups.get(LookupResult::Negative).inc();
        }
        let only_looks = flight.only_looks;
        self.waiters -= told.len();
        self.metrics.waiters.set(self.waiters as i64);
        for (key, _, waiter) in told {
            let reason = self.known_failure(now, &key);
            effects.push(Effect::Tell(waiter, Err(reason)));
        }
        if only_looks {
            self.end(id, Reason::Unknown, effects);
        }
    }

    /// Why nobody who may be asked for a key proves it, as far as that is known without asking.
    pub(super) fn known_failure(&self, now: Instant, key: &CapsKey) -> Reason {
        let failures = self
            .holders
            .of_key(key)
            .filter_map(|holder| self.holders.failure(holder, key, now));
        failures.last().unwrap_or(Reason::Unknown)
    }

    /// Contents were proven other than by an answer to a question: whoever waits for them is told.
    pub fn proven(
        &mut self,
        now: Instant,
        proven: &[(CapsKey, Arc<Entry>)],
        written: bool,
    ) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        for (key, entry) in proven {
            let flight = self.by_key.get(key);
            if let Some(flight) = flight.and_then(|id| self.flights.get_mut(id)) {
                // See `answered`.
                flight.whole = flight.whole.take().filter(|_| written);
                self.settle(
                    *key,
                    &Ok((Arc::clone(entry), Served::Resolved)),
                    &mut effects,
                );
            }
        }
        self.begin_queued(now, &mut effects);
        effects
    }

    /// Takes from the quotas of an account one content that it brings without being asked: which of those of new keys was spent
    /// before, so that it is not written before its second use.
    ///
    /// # Errors
    /// Where those of more contents are spent too.
    pub fn admit(&self, now: Instant, address: &str) -> Result<Option<Spent>, Reason> {
        let Err(spent) = self.new_keys.take(address, now) else {
            return Ok(None);
        };
        limits::beyond(&self.metrics, spent.into(), address);
        self.may_ask_more(now, address)
            .then_some(Some(spent))
            .ok_or(Reason::RateLimited)
    }

    /// Takes one from the quotas of questions to an account that has spent those of new keys; false, and counted, if they are spent.
    pub fn may_ask_more(&self, now: Instant, address: &str) -> bool {
        take_question(&self.more_questions, &self.metrics, now, address)
    }
}

/// See [`Flights::may_ask_more`].
pub(super) fn take_question(
    quotas: &SourceQuotas,
    metrics: &Metrics,
    now: Instant,
    address: &str,
) -> bool {
    let scope = match quotas.take(address, now) {
        Ok(()) => return true,
        Err(Spent::Account) => RateScope::AccountQuestions,
        Err(Spent::Domain) => RateScope::DomainQuestions,
    };
    limits::beyond(metrics, scope, address);
    false
}

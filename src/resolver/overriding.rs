//! What the operator trusts, pins and denies takes the place of whatever was there before.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::Resolver;
use crate::cache::Entry;
use crate::caps::CapsKey;
use crate::trusted::{Overrides, Trusted};

impl Resolver {
    /// Grows whenever something is withdrawn from the hot tier: what was taken from it before may no longer be true.
    pub fn withdrawals(&self) -> u64 {
        self.withdrawals.load(Ordering::Acquire)
    }

    pub(super) fn overrides(&self) -> Arc<Overrides> {
        let overrides = self.overrides.read();
        Arc::clone(&overrides.unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the operator denies a key; `None` where he does not.
    pub fn denial(&self, key: &CapsKey) -> Option<String> {
        self.overrides().denial(key).map(str::to_owned)
    }

    /// Puts another trusted tier and other overrides in force, both at once, without waiting for it. Nothing that they contradict is
    /// served from then on; everything else stays where it is.
    pub fn trust(&self, trusted: Trusted, overrides: Arc<Overrides>) {
        if let Some(tiers) = self.tiers.get() {
            tiers.trust(trusted, overrides);
        }
    }

    /// Puts other overrides in force, without waiting for it; the trusted tier stays.
    pub fn rule(&self, overrides: Arc<Overrides>) {
        if let Some(tiers) = self.tiers.get() {
            tiers.rule(overrides);
        }
    }

    /// The other half of [`Resolver::rule`].
    pub(super) fn ruled(&self, now: Instant, overrides: &Arc<Overrides>) {
        let before = self.overrides();
        self.take_overrides(now, overrides);
        // A key that is overridden no more may be hot with what was pinned.
        let keys: Vec<CapsKey> = before.keys().chain(overrides.keys()).copied().collect();
        self.withdraw(&keys);
        self.step(now, |flights| flights.look_again());
    }

    fn take_overrides(&self, now: Instant, overrides: &Arc<Overrides>) {
        // First this: whoever makes something hot looks here afterwards.
        *self
            .overrides
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(overrides);
        self.step(now, |flights| flights.deny(now, overrides));
    }

    /// The other half of [`Resolver::trust`]: the tiers' thread has the new ones, and has reported all that it found in the old ones.
    pub(super) fn trusted(&self, now: Instant, trusted: &Trusted, overrides: &Arc<Overrides>) {
        self.take_overrides(now, overrides);
        let spoken_for = |key: &CapsKey| overrides.concerns(key) || trusted.contains(key);
        let contradicted = |key: &CapsKey, entry: &Entry| entry.is_trusted() || spoken_for(key);
        let withdrawn = self.hot.withdraw(contradicted);
        self.probation.withdraw(spoken_for);
        self.withdrawals.fetch_add(1, Ordering::Release);
        // What was being asked for may be trusted, or pinned, by now.
        self.step(now, |flights| flights.look_again());
        tracing::info!(
            contents = trusted.entries(),
            denied = overrides.denials(),
            pinned = overrides.pins(),
            looked_up_again = withdrawn,
            "trusted content and overrides are in force"
        );
    }

    /// Takes keys out of the hot tier.
    pub(super) fn withdraw(&self, keys: &[CapsKey]) {
        keys.iter().for_each(|key| self.hot.remove(key));
        keys.iter().for_each(|key| self.probation.remove(key));
        self.withdrawals.fetch_add(1, Ordering::Release);
    }

    /// The overrides may have changed since `before` was looked at; what was made hot after that has not been withdrawn by the change.
    pub(super) fn withdraw_what_was_overridden_meanwhile(
        &self,
        before: &Arc<Overrides>,
        keys: &[CapsKey],
    ) {
        let overrides = self.overrides();
        if !Arc::ptr_eq(before, &overrides) {
            let keys = keys.iter().filter(|key| overrides.concerns(key));
            self.withdraw(&keys.copied().collect::<Vec<_>>());
        }
    }
}

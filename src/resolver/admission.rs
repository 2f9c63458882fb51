//! Where what was proven goes: to the hot and the learned tier at once, or on probation first.

use std::sync::Arc;

use super::Resolver;
use super::limits::Spent;
use super::probation::Unwritten;
use super::tiers::Tiers;
use crate::cache::Entry;
use crate::caps::{CapsKey, DiscoInfo, Verdict, VerifiedInfo, verify_canonical};
use crate::holders::accounts::Common;
use crate::metrics::Deferral;
use crate::store::{Learned, standard_keys};
use crate::trusted::Overrides;

/// Where a proven content comes from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The account that proved it.
    pub(super) account: &'a str,
    /// The node URL that it was announced with; empty without one.
    pub(super) node_url: &'a str,
    /// Why it is not written before its second use, if it is not.
    pub(super) deferral: Option<Deferral>,
}

impl Resolver {
    /// Takes in what was proven for these keys: it is made hot and stored under them and those of its standard keys that it was not tried
    /// for, or put on probation. What the operator speaks for is left out. Returns the keys under which it is served, the given ones first.
    pub(super) fn admit(
        &self,
        overrides: &Arc<Overrides>,
        info: VerifiedInfo,
        mut keys: Vec<CapsKey>,
        tried: &[CapsKey],
        source: Source<'_>,
    ) -> Vec<(CapsKey, Arc<Entry>)> {
        let entry = Arc::new(Entry::new(&info, false));
        let mut more = standard_keys(&info, &self.policy);
        more.retain(|key| !tried.contains(key) && !overrides.concerns(key));
        keys.retain(|key| !overrides.concerns(key));
        for key in &keys {
            tracing::debug!(%key, "verified");
        }
        if source.deferral.is_none() {
            self.heat(&keys, &entry);
        }
        self.withdraw_what_was_overridden_meanwhile(overrides, &keys);
        keys.append(&mut more);
        let served = keys.iter().map(|key| (*key, Arc::clone(&entry))).collect();
        let Some(reason) = source.deferral else {
            self.store(info, keys, source.node_url);
            return served;
        };
        self.metrics.cache_admission_deferred.get(reason).inc();
        let unwritten = Unwritten {
            entry,
            content: info.info().encode(),
            keys: keys.clone(),
            node_url: source.node_url.to_owned(),
        };
        self.probation.begin(unwritten, source.account);
        self.withdraw_what_was_overridden_meanwhile(overrides, &keys);
        served
    }

    /// Why what the holder proves is not written before its second use, if it is not.
    pub(super) fn deferral(&self, spent: Option<Spent>) -> Option<Deferral> {
        let above = self.tiers.get().is_some_and(Tiers::is_above_high_water);
        match spent {
            Some(Spent::Account) => Some(Deferral::Account),
            Some(Spent::Domain) => Some(Deferral::Domain),
            None => above.then_some(Deferral::HighWater),
        }
    }

    /// Those of the keys that several accounts announced, the node with them where it is common too.
    fn common_among(&self, keys: &[CapsKey], node_url: &str) -> Vec<Common> {
        let state = self.lock();
        let holders = state.flights.holders();
        let common = keys.iter().filter(|key| holders.is_common(key, None));
        let common = common.map(|key| Common {
            key: *key,
            node_url: Some(node_url)
                .filter(|node_url| holders.is_common(key, Some(node_url)))
                .map(str::to_owned),
        });
        common.collect()
    }

    /// Makes hot what was on probation, and stores it.
    pub(super) fn write(&self, unwritten: &Unwritten) {
        // It is checked again, as whatever else is stored.
        let verified = DiscoInfo::decode(&unwritten.content)
            .ok()
            .zip(unwritten.keys.first())
            .map(|(info, key)| verify_canonical(key, info, &self.policy));
        if let Some(Verdict::Verified(info)) = verified {
            let overrides = self.overrides();
            let mut keys = unwritten.keys.clone();
            keys.retain(|key| !overrides.concerns(key));
            self.heat(&keys, &unwritten.entry);
            self.withdraw_what_was_overridden_meanwhile(&overrides, &keys);
            self.store(info, keys, &unwritten.node_url);
        }
    }

    fn heat(&self, keys: &[CapsKey], entry: &Arc<Entry>) {
        for key in keys {
            self.hot.insert(*key, Arc::clone(entry));
        }
    }

    fn store(&self, info: VerifiedInfo, keys: Vec<CapsKey>, node_url: &str) {
        let Some(tiers) = self.tiers.get() else {
            return;
        };
        let common = self.common_among(&keys, node_url);
        let nodes = Some(node_url).filter(|node| !node.is_empty());
        let nodes = nodes.into_iter().map(str::to_owned).collect();
        tiers.learn(Learned { info, keys, nodes });
        // After what was learned, so that it is found; what becomes common from now on comes later still.
        for common in common {
            tiers.common(common);
        }
    }
}

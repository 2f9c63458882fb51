//! Contents on probation: verified and served, but not written to disk before they are used a second time.
//!
//! A content gets here instead of into the hot and the learned tier if whoever proved it had spent its quota of new keys, or
//! if the learned tier is above its high-water mark. Its first use is the announcement by the account that proved it; the
//! second is an announcement or a query by any other account. With the second use it goes where it would have gone at once.
//!
//! So what an account can write is bounded by the quotas of accounts: its own, and for each other account that helps
//! it [`Settings::second_uses_per_account`]. What is on probation is bounded by bytes, and the longest unused makes room: whoever
//! asks for that later has its holder asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ahash::RandomState;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::limits::{self, Quotas, Rate};
use crate::cache::Entry;
use crate::caps::CapsKey;
use crate::metrics::{Eviction, Metrics, RateScope, Tier};

/// What a content costs beside its bytes, for each of its keys, in bytes: key, counters and links of the cache.
const OVERHEAD: usize = 500;

/// The bounds of what is on probation; every one is a setting.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most bytes of memory that it takes.
    pub max_bytes: u64,
    /// How many second uses of one account count.
    pub second_uses_per_account: Rate,
    /// How full the learned tier may be, in hundredths of its bounds, before every new content begins on probation.
    pub high_water_percent: u64,
}

/// A content that was not written yet.
#[derive(Debug)]
pub struct Unwritten {
    /// As it is served.
    pub entry: Arc<Entry>,
    /// As it will be written: the encoded disco info.
    pub content: Vec<u8>,
    /// What it is known by.
    pub keys: Vec<CapsKey>,
    /// The node URL that it was announced with; empty without one.
    pub node_url: String,
}

/// What a use found.
#[derive(Debug)]
pub struct Used {
    /// The content as it is served.
    pub entry: Arc<Entry>,
    /// The content, if this was its second use: it is on probation no more, and is to be written.
    pub second: Option<Arc<Unwritten>>,
}

#[derive(Clone, Debug)]
struct Place {
    unwritten: Arc<Unwritten>,
    /// The keyed hash of the account that proved it.
    prover: u64,
}

/// What is on probation.
#[derive(Debug)]
pub struct Probation {
    places: Cache<CapsKey, Place, RandomState>,
    /// How many keys are there, at the least: what `places` says lags behind.
    count: Arc<AtomicUsize>,
    second_uses: Quotas,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

impl Probation {
    /// Nothing is on probation; `now` is the beginning of its time.
    pub fn new(settings: Settings, metrics: &Arc<Metrics>, now: Instant) -> Probation {
        metrics
            .cache_limit_bytes
            .get(Tier::Probation)
            .set(i64::try_from(settings.max_bytes).unwrap_or(i64::MAX));
        let count = Arc::new(AtomicUsize::new(0));
        let (removed, evictions) = (Arc::clone(&count), Arc::clone(metrics));
        let places = Cache::builder()
            .max_capacity(settings.max_bytes)
            // Whoever is being looked for now is worth more than whoever was often looked for.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_: &CapsKey, place: &Place| {
                let unwritten = &place.unwritten;
                let bytes = unwritten.entry.children().len() + unwritten.content.len() + OVERHEAD;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, _, cause| {
                removed.fetch_sub(1, Ordering::Relaxed);
                if cause == RemovalCause::Size {
                    evictions.cache_evictions.get(Eviction::ProbationSize).inc();
                }
            })
            .build_with_hasher(RandomState::new());
        Probation {
            places,
            count,
            second_uses: Quotas::new(settings.second_uses_per_account, now),
            hasher: RandomState::new(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Takes another rate of second uses.
    pub fn change(&self, second_uses_per_account: Rate) {
        self.second_uses.change(second_uses_per_account);
    }

    /// Puts a content on probation that an account proved: that is its first use.
    pub fn begin(&self, unwritten: Unwritten, account: &str) {
        let place = Place {
            prover: self.hasher.hash_one(account),
            unwritten: Arc::new(unwritten),
        };
        for key in &place.unwritten.keys {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.places.insert(*key, place.clone());
        }
    }

    /// Whether there is nothing; cheap.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// What is on probation under a key, if anything is. It is not used by that.
    pub fn get(&self, key: &CapsKey) -> Option<Arc<Unwritten>> {
        Some(self.places.get(key)?.unwritten)
    }

    /// The keys of every content for which that is so, as it is served: all contents are looked at.
    pub fn keys_of(&self, which: impl Fn(&Entry) -> bool) -> Vec<CapsKey> {
        let places = self.places.iter();
        let keys = places.filter(|(_, place)| which(&place.unwritten.entry));
        keys.map(|(key, _)| *key).collect()
    }

    /// Forgets a key, whatever it is known by besides.
    pub fn remove(&self, key: &CapsKey) {
        self.places.invalidate(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.places.invalidate_all();
    }

    /// Forgets the keys of which that is so, whatever they are known by besides.
    pub fn withdraw(&self, which: impl Fn(&CapsKey) -> bool) {
        for (key, _) in &self.places {
            if which(&key) {
                self.places.invalidate(&*key);
            }
        }
    }

    /// An account announces the key or asks for it: what is on probation under it, if anything is. The account with the empty name is
    /// that of nobody, and does not use what it looks at.
    pub fn used(&self, now: Instant, key: &CapsKey, account: &str) -> Option<Used> {
        let Place { unwritten, prover } = self.places.get(key)?;
        let entry = Arc::clone(&unwritten.entry);
        let another = !account.is_empty() && prover != self.hasher.hash_one(account);
        let second = another && self.counts(now, account);
        // Of two that come at once, one takes it away.
        let second = second && self.places.remove(key).is_some();
        if second {
            for other in unwritten.keys.iter().filter(|other| *other != key) {
                self.places.invalidate(other);
            }
            self.metrics
                .cache_evictions
                .get(Eviction::ProbationUsed)
                .inc();
        }
        Some(Used {
            entry,
            second: second.then_some(unwritten),
        })
    }

    /// Whether a second use by that account counts.
    fn counts(&self, now: Instant, account: &str) -> bool {
        let counts = self.second_uses.take(account, now);
        if !counts {
            limits::beyond(&self.metrics, RateScope::SecondUse, account);
        }
        counts
    }

    /// Drops what is no longer needed, and brings the gauges up to date.
    pub fn sweep(&self) {
        self.second_uses.sweep();
        self.places.run_pending_tasks();
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics
            .cache_entries
            .get(Tier::Probation)
            .set(gauge(self.places.entry_count()));
        metrics
            .cache_bytes
            .get(Tier::Probation)
            .set(gauge(self.places.weighted_size()));
    }
}

//! The hot tier: prepared answers in memory, bounded by bytes.

use std::sync::Arc;

use moka::sync::Cache;

use crate::caps::{CapsKey, VerifiedInfo};
use crate::metrics::{Eviction, Metrics, Tier};

/// What an entry costs beside its bytes: key, counters and links of the cache, in bytes; measured, rounded up.
const OVERHEAD: usize = 400;

/// A verified info as it is served: the inside of a `<query/>`, escaped once and for all.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    children: Box<[u8]>,
    trusted: bool,
}

impl Entry {
    /// Prepares a verified info for serving; `trusted` says which tier it came from.
    pub fn new(info: &VerifiedInfo, trusted: bool) -> Entry {
        // Copied to its exact size: shrinking in place would leave a hole beside every entry.
        let mut children = Vec::with_capacity(4096);
        info.info().write_children(&mut children);
        Entry {
            children: children.as_slice().into(),
            trusted,
        }
    }

    /// The inside of the `<query/>`.
    pub fn children(&self) -> &[u8] {
        &self.children
    }

    /// Whether it came from the trusted tier.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }
}

/// The hot tier.
#[derive(Debug)]
pub struct HotTier {
    entries: Cache<CapsKey, Arc<Entry>, ahash::RandomState>,
}

impl HotTier {
    /// An empty tier of at most that many bytes.
    pub fn new(max_bytes: u64, metrics: &Arc<Metrics>) -> HotTier {
        metrics
            .cache_limit_bytes
            .get(Tier::Hot)
            .set(i64::try_from(max_bytes).unwrap_or(i64::MAX));
        let evictions = Arc::clone(metrics);
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_: &CapsKey, entry: &Arc<Entry>| {
                u32::try_from(entry.children.len() + OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, _, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    evictions.cache_evictions.get(Eviction::HotSize).inc();
                }
            })
            .build_with_hasher(ahash::RandomState::new());
        HotTier { entries }
    }

    /// The prepared answer, if it is hot.
    pub fn get(&self, key: &CapsKey) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// Makes a prepared answer hot.
    pub fn insert(&self, key: CapsKey, entry: Arc<Entry>) {
        self.entries.insert(key, entry);
    }

    /// Writes entries and bytes to their gauges; both lag behind by what the cache has not yet worked off.
    pub fn measure(&self, metrics: &Metrics) {
        self.entries.run_pending_tasks();
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics
            .cache_entries
            .get(Tier::Hot)
            .set(gauge(self.entries.entry_count()));
        metrics
            .cache_bytes
            .get(Tier::Hot)
            .set(gauge(self.entries.weighted_size()));
    }
}

//! The hot tier: prepared answers in memory, bounded by bytes; and a small table of the very hottest in front of it.

use std::sync::Arc;

use moka::sync::Cache;

use crate::caps::{CapsKey, DiscoInfo, VerifiedInfo, xep0115};
use crate::metrics::{Eviction, Metrics, Tier};
use crate::stanza::answer::{AnswerLimits, parse_query};

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

    /// The disco info that it was made from. It is read again from the bytes: this is for what is seldom wanted.
    pub fn info(&self) -> Option<DiscoInfo> {
        let mut query = b"<query xmlns='http://jabber.org/protocol/disco#info'>".to_vec();
        query.extend_from_slice(&self.children);
        query.extend_from_slice(b"</query>");
        let limits = AnswerLimits {
            max_bytes: usize::MAX,
            max_features: usize::MAX,
        };
        let answer = parse_query(&query, limits).ok()?;
        Some(xep0115::canonical(&answer).0)
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

    /// Takes an answer out.
    pub fn remove(&self, key: &CapsKey) {
        self.entries.invalidate(key);
    }

    /// Takes out everything for which that is so; how much it was. What is inserted meanwhile may be missed.
    pub fn withdraw(&self, which: impl Fn(&CapsKey, &Entry) -> bool) -> usize {
        let mut withdrawn = 0;
        for (key, entry) in &self.entries {
            if which(&key, &entry) {
                self.entries.invalidate(&*key);
                withdrawn += 1;
            }
        }
        withdrawn
    }

    /// The keys of every entry for which that is so: all entries are looked at. What is inserted meanwhile may be missed.
    pub fn keys_of(&self, which: impl Fn(&Entry) -> bool) -> Vec<CapsKey> {
        let keys = self.entries.iter().filter(|(_, entry)| which(entry));
        keys.map(|(key, _)| *key).collect()
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

/// How many entries a [`Front`] holds at the most.
const FRONT_PLACES: usize = 1024;

/// Every so many-th query that the front table answers is shown to the hot tier, so that it knows what is popular.
const SHOWN_TO_HOT: u32 = 16;

/// What one link asked for lately, by the node as it was asked: saves decoding the node and the bookkeeping of the hot tier, which
/// together cost as much as everything else that capsd does for a hit.
///
/// Each node has one place, and the latest takes it. Entries never change, so what is here is as good as what is there, until something
/// is withdrawn there: then everything here is forgotten.
#[derive(Debug)]
pub struct Front {
    hasher: ahash::RandomState,
    places: Box<[Option<Place>]>,
    answered: u32,
    /// The withdrawals from the hot tier that are known here.
    withdrawals: u64,
}

#[derive(Debug)]
struct Place {
    node: Box<str>,
    key: CapsKey,
    entry: Arc<Entry>,
}

impl Default for Front {
    fn default() -> Front {
        Front {
            hasher: ahash::RandomState::new(),
            places: (0..FRONT_PLACES).map(|_| None).collect(),
            answered: 0,
            withdrawals: 0,
        }
    }
}

impl Front {
    /// Forgets everything if there were withdrawals from the hot tier since this was called last. To be called before the hot tier is
    /// looked in: what it gives then may be kept until the next call.
    pub fn keep_up(&mut self, withdrawals: u64) {
        if self.withdrawals != withdrawals {
            self.withdrawals = withdrawals;
            self.places.fill_with(|| None);
        }
    }

    fn place(&self, node: &str) -> usize {
        self.hasher.hash_one(node) as usize % FRONT_PLACES
    }

    /// The prepared answer for the node, if it was asked for lately. `hot` is shown some of the keys that are answered.
    pub fn get(&mut self, node: &str, hot: impl FnOnce(&CapsKey)) -> Option<Arc<Entry>> {
        let place = self.places[self.place(node)].as_ref()?;
        if *place.node != *node {
            return None;
        }
        self.answered = self.answered.wrapping_add(1);
        if self.answered.is_multiple_of(SHOWN_TO_HOT) {
            hot(&place.key);
        }
        Some(Arc::clone(&place.entry))
    }

    /// Takes note of what the hot tier answered.
    pub fn insert(&mut self, node: &str, key: CapsKey, entry: Arc<Entry>) {
        let place = self.place(node);
        self.places[place] = Some(Place {
            node: node.into(),
            key,
            entry,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_table_answers_for_the_very_node_and_stays_small() {
        let entry = |n: usize| {
            Arc::new(Entry {
                children: n.to_string().into_bytes().into_boxed_slice(),
                trusted: false,
            })
        };
        let key = CapsKey::from_node("a#QgayPKawpkPSDYmwT/WM94uAlu0=").unwrap();
        let mut front = Front::default();
        for n in 0..10 * FRONT_PLACES {
            front.insert(&n.to_string(), key, entry(n));
            let found = front.get(&n.to_string(), |_| {}).unwrap();
            assert_eq!(found.children(), n.to_string().as_bytes());
        }
        let mut shown = 0;
        let held = (0..10 * FRONT_PLACES)
            .filter_map(|n| Some((n, front.get(&n.to_string(), |_| shown += 1)?)))
            .inspect(|(n, found)| assert_eq!(found.children(), n.to_string().as_bytes()))
            .count();
        assert!(held <= FRONT_PLACES);
        assert!(shown >= held / SHOWN_TO_HOT as usize);
    }
}

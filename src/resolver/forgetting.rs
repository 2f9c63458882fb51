//! What was learned is forgotten, in every tier, so that it is asked for again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Resolver;
use crate::cache::Entry;
use crate::caps::CapsKey;
use crate::resolver::tiers::Below;
use crate::store::PagePlace;

/// How many contents are forgotten in one step: look-ups wait for as long.
const STEP: usize = 32;

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many contents the learned tier had.
    pub contents: u64,
    /// Whether something is served all the same, because the operator trusts or pinned it.
    pub stays: bool,
}

/// Why a flush was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unforgotten {
    /// The store is in memory only, for that cause: what is on disk cannot be removed.
    InMemory(String),
    /// The process is ending.
    Ending,
}

impl Resolver {
    /// Forgets what was learned under a key, with all other keys of that content: on disk, on probation, in the hot tier and in front of
    /// it, wherever it is still known under the key. What is being resolved goes on: its answer is a new one.
    ///
    /// # Errors
    /// An [`Unforgotten`].
    pub async fn forget(&self, key: CapsKey) -> Result<Forgotten, Unforgotten> {
        let known = self.with_the_same_in_memory(&[key]);
        // First this, or a second use could write it to disk again after it was removed there.
        known.iter().for_each(|key| self.probation.remove(key));
        let forget = move |below: &mut Below| {
            let stays = below.overrides.pinned(&key).is_some()
                || below
                    .trusted
                    .as_ref()
                    .is_some_and(|trusted| trusted.contains(&key));
            let forgotten = below.store.forget(&known);
            forgotten.map(|(contents, stored)| (contents, [known, stored].concat(), stays))
        };
        let forgotten = self.work(forget).await.ok_or(Unforgotten::Ending)?;
        let (contents, keys, stays) = forgotten.map_err(Unforgotten::InMemory)?;
        // What is stored under a key that is not hot may be hot under others.
        let keys = self.with_the_same_in_memory(&keys);
        self.withdraw(&keys);
        let mut state = self.lock();
        keys.iter().for_each(|key| state.flights.forget_key(key));
        Ok(Forgotten { contents, stays })
    }

    /// The keys, and all under which the same is hot or on probation as under one of them. The store may have let go of it, and not
    /// know them any more. What is trusted or pinned is looked for below.
    fn with_the_same_in_memory(&self, keys: &[CapsKey]) -> Vec<CapsKey> {
        let hot = keys.iter().filter_map(|key| self.hot.get(key));
        let hot = hot.filter(|entry| !entry.is_trusted());
        let on_probation = keys.iter().filter_map(|key| self.probation.get(key));
        let on_probation = on_probation.map(|unwritten| Arc::clone(&unwritten.entry));
        let mut contents: Vec<Arc<Entry>> = hot.chain(on_probation).collect();
        contents.dedup();
        let is_same = |entry: &Entry| contents.iter().any(|content| **content == *entry);
        let mut same: HashSet<CapsKey> = keys.iter().copied().collect();
        same.extend(self.hot.keys_of(is_same));
        same.extend(self.probation.keys_of(is_same));
        same.into_iter().collect()
    }

    /// Forgets all that was learned, in steps between which others are served.
    ///
    /// # Errors
    /// An [`Unforgotten`]; some may be forgotten then.
    pub async fn forget_all(&self) -> Result<Forgotten, Unforgotten> {
        // As above.
        self.probation.clear();
        let stays = |below: &mut Below| {
            // What waits for the disk is found there afterwards.
            below.store.flush();
            below.overrides.pins() > 0 || below.trusted.as_ref().is_some_and(|t| t.entries() > 0)
        };
        let stays = self.work(stays).await.ok_or(Unforgotten::Ending)?;
        let mut contents = 0;
        let mut from = PagePlace::default();
        loop {
            let step = move |below: &mut Below| below.store.forget_some(from, STEP);
            let step = self.work(step).await.ok_or(Unforgotten::Ending)?;
            let (forgotten, next) = step.map_err(Unforgotten::InMemory)?;
            contents += forgotten as u64;
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        self.work(|below| below.store.flush())
            .await
            .ok_or(Unforgotten::Ending)?;
        self.hot.withdraw(|_, _| true);
        self.withdrawals.fetch_add(1, Ordering::Release);
        self.lock().flights.forget_all_keys();
        Ok(Forgotten { contents, stays })
    }

    /// What the holders of a key failed to prove counts no more: they are asked again.
    pub fn forgive(&self, key: &CapsKey) {
        self.lock().flights.forget_key(key);
    }
}

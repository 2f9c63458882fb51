//! What was learned is forgotten, in every tier, so that it is asked for again.

use std::sync::atomic::Ordering;

use super::Resolver;
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
    /// it. What is being resolved goes on: its answer is a new one.
    ///
    /// # Errors
    /// An [`Unforgotten`].
    pub async fn forget(&self, key: CapsKey) -> Result<Forgotten, Unforgotten> {
        let forget = move |below: &mut Below| {
            let stays = below.overrides.pinned(&key).is_some()
                || below
                    .trusted
                    .as_ref()
                    .is_some_and(|trusted| trusted.contains(&key));
            below.store.forget(&key).map(|keys| (keys, stays))
        };
        let forgotten = self.work(forget).await.ok_or(Unforgotten::Ending)?;
        let (mut keys, stays) = forgotten.map_err(Unforgotten::InMemory)?;
        let contents = u64::from(!keys.is_empty());
        if !keys.contains(&key) {
            keys.push(key);
        }
        self.withdraw(&keys);
        let mut state = self.lock();
        keys.iter().for_each(|key| state.flights.forget_key(key));
        Ok(Forgotten { contents, stays })
    }

    /// Forgets all that was learned, in steps between which others are served.
    ///
    /// # Errors
    /// An [`Unforgotten`]; some may be forgotten then.
    pub async fn forget_all(&self) -> Result<Forgotten, Unforgotten> {
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
        self.probation.clear();
        self.withdrawals.fetch_add(1, Ordering::Release);
        self.lock().flights.forget_all_keys();
        Ok(Forgotten { contents, stays })
    }

    /// What the holders of a key failed to prove counts no more: they are asked again.
    pub fn forgive(&self, key: &CapsKey) {
        self.lock().flights.forget_key(key);
    }
}

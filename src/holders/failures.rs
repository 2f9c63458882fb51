//! Which keys holders failed to prove, so that they are not asked again at once.

use std::time::Instant;

use super::{HolderId, Holders};
use crate::caps::{CapsKey, Reason};

#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) key: CapsKey,
    until: Instant,
    reason: Reason,
}

impl Holders {
    /// Remembers that the holder did not prove the key, until that time. What it does not announce any more is of no interest.
    pub fn fail(&mut self, id: HolderId, key: CapsKey, until: Instant, reason: Reason) {
        let announced = self.view(id);
        if !announced.is_some_and(|view| view.announcement.keys.contains(&key)) {
            return;
        }
        let failures = self.failures.entry(id.slot).or_default();
        let failure = Failure { key, until, reason };
        match failures.iter_mut().find(|failure| failure.key == key) {
            Some(old) => *old = failure,
            None => {
                failures.push(failure);
                self.failed += 1;
            }
        }
    }

    /// Why the holder failed to prove the key, within the time that it is remembered.
    pub fn failure(&self, id: HolderId, key: &CapsKey, now: Instant) -> Option<Reason> {
        self.holder(id)?;
        let failures = self.failures.get(&id.slot)?;
        failures
            .iter()
            .find(|failure| failure.key == *key && failure.until > now)
            .map(|failure| failure.reason)
    }

    /// Forgets what the holder at the place failed to prove.
    pub(super) fn forgive(&mut self, slot: u32) {
        self.failed -= self
            .failures
            .remove(&slot)
            .map_or(0, |failures| failures.len());
    }
}

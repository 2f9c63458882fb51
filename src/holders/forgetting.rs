//! How holders are forgotten: by their own word, by time, and because an operator wants it.

use std::time::Instant;

use super::{Holder, HolderId, Holders, LinkId};
use crate::caps::CapsKey;
use crate::stanza::jid;

impl Holders {
    /// Forgets a holder that said it is gone.
    pub fn depart(&mut self, link: LinkId, address: &str) -> Option<HolderId> {
        let slot = self.find(link, address)?;
        let generation = self.slots[slot as usize].as_ref()?.generation;
        self.remove(slot);
        Some(HolderId { slot, generation })
    }

    /// Forgets up to `most` holders that were silent for too long; true if there may be more.
    pub fn expire(&mut self, now: Instant, most: usize) -> bool {
        let now = self.seconds(now);
        let limit = u32::try_from(self.settings.expire_after.as_secs()).unwrap_or(u32::MAX);
        for _ in 0..most {
            let longest = self.silence.longest();
            let seen = longest
                .and_then(|slot| self.slots[slot as usize].as_ref())
                .map(|holder| holder.seen);
            match (longest, seen) {
                (Some(slot), Some(seen)) if now.saturating_sub(seen) >= limit => {
                    self.remove(slot);
                    self.counts.expired += 1;
                }
                _ => return false,
            }
        }
        true
    }

    /// Forgets all holders of a domain on a link. It takes some milliseconds where there are many holders.
    pub fn forget_domain(&mut self, link: LinkId, domain: &str) {
        let addresses = &self.addresses;
        let of_domain = |holder: &Holder| {
            holder.link == link && jid::domain(addresses.get(holder.address)) == domain
        };
        let slots: Vec<u32> = (0u32..)
            .zip(&self.slots)
            .filter(|(_, holder)| holder.as_ref().is_some_and(of_domain))
            .map(|(slot, _)| slot)
            .collect();
        slots.into_iter().for_each(|slot| self.remove(slot));
    }

    /// Forgets that the holders of a key failed to prove it, and that their announcements are known.
    pub fn forget_key(&mut self, key: &CapsKey) {
        for slot in self.by_key.get(key).into_iter().flatten() {
            if let Some(failures) = self.failures.get_mut(slot) {
                let before = failures.len();
                failures.retain(|failure| failure.key != *key);
                self.failed -= before - failures.len();
                if failures.is_empty() {
                    self.failures.remove(slot);
                }
            }
            let holder = self.slots.get(*slot as usize).and_then(Option::as_ref);
            let shared =
                holder.and_then(|holder| self.shared.get_mut(holder.announcement as usize));
            if let Some(Some(shared)) = shared {
                shared.known = false;
            }
        }
    }

    /// Forgets all failures, and that any announcement is known.
    pub fn forget_all_keys(&mut self) {
        self.failures.clear();
        self.failed = 0;
        self.shared
            .iter_mut()
            .flatten()
            .for_each(|shared| shared.known = false);
    }
}

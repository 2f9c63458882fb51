//! Forgetting what was learned, because an operator wants it asked for again.

use super::engine::FLUSH_PATIENCE;
use super::{PagePlace, Store, StoreState};
use crate::caps::CapsKey;
use crate::metrics::Eviction;

impl Store {
    /// Forgets the content of a key, with all of its keys, and waits for the disk; the keys that it had, none where it was not stored.
    ///
    /// # Errors
    /// Words for an operator where the store is in memory only: what is on disk would be served again afterwards.
    pub fn forget(&mut self, key: &CapsKey) -> Result<Vec<CapsKey>, String> {
        self.must_be_on_disk()?;
        let keys = self.get(key).map_or_else(Vec::new, |stored| stored.keys);
        for key in &keys {
            self.remove(key, Eviction::LearnedFlushed);
        }
        self.flush();
        self.must_be_on_disk()?;
        Ok(keys)
    }

    /// Forgets at most so many contents from that place on; how many there were, and where to go on. [`Store::flush`] comes before the
    /// first step, so that what waits for the disk is forgotten too, and after the last.
    ///
    /// # Errors
    /// As [`Store::forget`].
    pub fn forget_some(
        &mut self,
        from: PagePlace,
        most: usize,
    ) -> Result<(usize, Option<PagePlace>), String> {
        self.must_be_on_disk()?;
        // While nothing is in the way, what is removed is removed at once.
        self.end_flush(FLUSH_PATIENCE);
        self.finish_held(FLUSH_PATIENCE);
        let (entries, next) = self.page(from, most)?;
        for key in entries.iter().flat_map(|entry| &entry.keys) {
            self.remove(key, Eviction::LearnedFlushed);
        }
        self.must_be_on_disk()?;
        Ok((entries.len(), next))
    }

    fn must_be_on_disk(&self) -> Result<(), String> {
        match self.state() {
            StoreState::Disk => Ok(()),
            StoreState::MemoryOnly { cause, .. } => Err(cause),
        }
    }
}

//! Forgetting what was learned, because an operator wants it asked for again.

use super::engine::FLUSH_PATIENCE;
use super::{PagePlace, Store, StoreState};
use crate::caps::CapsKey;
use crate::metrics::Eviction;

impl Store {
    /// Forgets the contents of some keys, each with all of its keys, and waits for the disk; how many contents there were, and the keys
    /// that they had.
    ///
    /// # Errors
    /// Words for an operator where the store is in memory only: what is on disk would be served again afterwards.
    pub fn forget(&mut self, keys: &[CapsKey]) -> Result<(u64, Vec<CapsKey>), String> {
        self.must_be_on_disk()?;
        let (mut contents, mut forgotten) = (0, Vec::new());
        for key in keys {
            let Some(stored) = self.get(key) else {
                continue;
            };
            for key in &stored.keys {
                self.remove(key, Eviction::LearnedFlushed);
            }
            contents += 1;
            forgotten.extend(stored.keys);
        }
        self.flush();
        self.must_be_on_disk()?;
        Ok((contents, forgotten))
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

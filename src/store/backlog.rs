//! What was learned but is not confirmed on disk yet.
//!
//! Every entry stays here from the moment it is put until a flush that covers it has ended well. So nothing is lost when
//! the disk fails between writing and flushing, or fails for hours: the same list is written again once it works.

use std::collections::{HashMap, VecDeque};

use crate::caps::CapsKey;

use super::record::Names;

/// The most entries that wait for confirmation.
pub(super) const MAX_ENTRIES: usize = 16_384;

/// The most bytes that wait for confirmation.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// From this many bytes on, a flush is begun early.
pub(super) const FLUSH_BYTES: usize = 2 << 20;

/// One entry that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its keys and nodes.
    pub(super) names: Names,
    /// Its encoded disco info.
    pub(super) content: Vec<u8>,
}

impl Waiting {
    fn size(&self) -> usize {
        let nodes: usize = self.names.nodes.iter().map(String::len).sum();
        self.content.len() + self.names.keys.len() * size_of::<CapsKey>() + nodes + 128
    }
}

/// The list, oldest first: entries under flush, then written ones, then unwritten ones.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    /// The number of the first entry; numbers only grow, so that `by_key` stays valid as the front is taken off.
    first: u64,
    by_key: HashMap<CapsKey, u64, ahash::RandomState>,
    bytes: usize,
    under_flush: usize,
    written: usize,
}

impl Backlog {
    /// Adds an entry, unwritten.
    pub(super) fn push(&mut self, names: Names, content: Vec<u8>) {
        let number = self.first + self.waiting.len() as u64;
        for key in &names.keys {
            self.by_key.insert(*key, number);
        }
        let waiting = Waiting { names, content };
        self.bytes += waiting.size();
        self.waiting.push_back(waiting);
    }

    /// The latest entry with that key, if it is not written: whether one that is written still stands, the disk knows.
    pub(super) fn get(&self, key: &CapsKey) -> Option<&Waiting> {
        let place = (self.by_key.get(key)? - self.first) as usize;
        self.waiting.get(place).filter(|_| place >= self.written)
    }

    /// Takes a key from the entry that has it.
    pub(super) fn remove_key(&mut self, key: &CapsKey) {
        if let Some(number) = self.by_key.remove(key)
            && let Some(waiting) = self.waiting.get_mut((number - self.first) as usize)
        {
            let before = waiting.size();
            waiting.names.keys.retain(|known| known != key);
            self.bytes -= before - waiting.size();
        }
    }

    /// The oldest entry that is not written yet.
    pub(super) fn unwritten(&self) -> Option<&Waiting> {
        self.waiting.get(self.written)
    }

    /// Says that the entry that [`Backlog::unwritten`] gave is written.
    pub(super) fn wrote_one(&mut self) {
        self.written = (self.written + 1).min(self.waiting.len());
    }

    /// Says that a flush of all that is written has begun.
    pub(super) fn flush_began(&mut self) {
        self.under_flush = self.written;
    }

    /// Says that the flush ended well: what it covered is forgotten here.
    pub(super) fn flush_confirmed(&mut self) {
        for _ in 0..self.under_flush {
            self.forget_oldest();
        }
        self.under_flush = 0;
    }

    /// Says that nothing of this can be relied on to be on disk: all is to be written again.
    pub(super) fn rewind(&mut self) {
        self.under_flush = 0;
        self.written = 0;
    }

    /// Forgets the oldest entry.
    pub(super) fn forget_oldest(&mut self) {
        let Some(waiting) = self.waiting.pop_front() else {
            return;
        };
        self.bytes -= waiting.size();
        for key in &waiting.names.keys {
            if self.by_key.get(key) == Some(&self.first) {
                self.by_key.remove(key);
            }
        }
        self.first += 1;
        self.written = self.written.saturating_sub(1);
    }

    /// Whether a bound is reached.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_ENTRIES || self.bytes >= MAX_BYTES
    }

    /// Whether so much waits that a flush should not wait for its time.
    pub(super) fn wants_flush(&self) -> bool {
        self.bytes >= FLUSH_BYTES || self.waiting.len() >= MAX_ENTRIES / 2
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::{Algorithm, Family};

    fn key(number: u8) -> CapsKey {
        CapsKey::new(Family::Xep0115, Algorithm::Sha1, &[number; 20]).unwrap()
    }

    fn names(numbers: &[u8]) -> Names {
        let mut names = Names::default();
        for number in numbers {
            names.add_key(key(*number));
        }
        names
    }

    fn content_of(backlog: &Backlog, number: u8) -> Option<&[u8]> {
        backlog.get(&key(number)).map(|w| w.content.as_slice())
    }

    #[test]
    fn what_a_flush_covered_is_forgotten_and_nothing_else() {
        let mut backlog = Backlog::default();
        for number in 0..3 {
            backlog.push(names(&[number]), vec![number]);
        }
        backlog.wrote_one();
        backlog.flush_began();
        backlog.wrote_one();
        backlog.push(names(&[3]), vec![3]);
        backlog.flush_confirmed();
        assert_eq!(backlog.len(), 3);
        assert_eq!(backlog.unwritten().unwrap().content, [2]);
        for number in 0..4 {
            let expected = (number >= 2).then_some([number]);
            assert_eq!(
                content_of(&backlog, number),
                expected.as_ref().map(|c| &c[..])
            );
        }
    }

    #[test]
    fn after_a_fault_all_is_written_again() {
        let mut backlog = Backlog::default();
        backlog.push(names(&[0]), vec![0]);
        backlog.push(names(&[1]), vec![1]);
        backlog.wrote_one();
        backlog.flush_began();
        backlog.wrote_one();
        backlog.rewind();
        backlog.flush_confirmed();
        assert_eq!(backlog.len(), 2);
        assert_eq!(backlog.unwritten().unwrap().content, [0]);
    }

    #[test]
    fn a_key_finds_its_latest_entry_and_can_be_taken_away() {
        let mut backlog = Backlog::default();
        backlog.push(names(&[0, 1]), vec![0]);
        backlog.push(names(&[1]), vec![1]);
        assert_eq!(content_of(&backlog, 1), Some(&[1][..]));
        backlog.forget_oldest();
        assert_eq!(content_of(&backlog, 0), None);
        assert_eq!(content_of(&backlog, 1), Some(&[1][..]));
        backlog.remove_key(&key(1));
        assert_eq!(content_of(&backlog, 1), None);
        assert!(backlog.unwritten().unwrap().names.keys.is_empty());
        backlog.forget_oldest();
        assert_eq!((backlog.len(), backlog.bytes), (0, 0));
    }

    #[test]
    fn bytes_and_entries_are_bounds() {
        let mut backlog = Backlog::default();
        backlog.push(names(&[0]), vec![0; FLUSH_BYTES]);
        assert!(backlog.wants_flush() && !backlog.is_full());
        backlog.push(names(&[0]), vec![0; MAX_BYTES]);
        assert!(backlog.is_full());

        let mut backlog = Backlog::default();
        for _ in 0..MAX_ENTRIES {
            assert!(!backlog.is_full());
            backlog.push(names(&[0]), Vec::new());
        }
        assert!(backlog.is_full());
    }
}

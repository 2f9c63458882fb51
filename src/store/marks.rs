//! Which entries were used lately, in memory.

use super::record::ContentId;

/// The fewest and the most marks of used entries; the most are two megabytes.
const MARKS: (u64, u64) = (1 << 16, 1 << 24);

/// How many marks there are for each entry, so that few entries share one.
const MARKS_PER_ENTRY: u64 = 8;

/// Which entries were read since eviction last came by: one bit for each, shared by those whose ids begin alike.
#[derive(Debug)]
pub(super) struct Marks {
    bits: Vec<u64>,
}

impl Marks {
    /// None is set; there are enough for a small store.
    pub(super) fn new() -> Marks {
        Marks {
            bits: vec![0; (MARKS.0 / 64) as usize],
        }
    }

    /// Makes them enough for that many entries. Marks that are set stay set, for entries too that shared one before.
    pub(super) fn fit(&mut self, entries: u64) {
        let wanted = entries.saturating_mul(MARKS_PER_ENTRY).min(MARKS.1);
        while (self.bits.len() as u64) * 64 < wanted {
            self.bits.extend_from_within(..);
        }
    }

    fn place(&self, id: &ContentId) -> (usize, u64) {
        let [a, b, c, d, bit, ..] = id.0;
        let word = u32::from_be_bytes([a, b, c, d]) as usize % self.bits.len();
        (word, 1 << (bit % 64))
    }

    /// Marks an entry as used.
    pub(super) fn set(&mut self, id: &ContentId) {
        let (word, bit) = self.place(id);
        self.bits[word] |= bit;
    }

    /// Clears the mark and says whether it was set.
    pub(super) fn take(&mut self, id: &ContentId) -> bool {
        let (word, bit) = self.place(id);
        let was = self.bits[word] & bit != 0;
        self.bits[word] &= !bit;
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ContentId {
        ContentId::of(&number.to_be_bytes())
    }

    #[test]
    fn a_mark_is_taken_once() {
        let mut marks = Marks::new();
        assert!(!marks.take(&id(1)));
        marks.set(&id(1));
        marks.set(&id(1));
        assert!(marks.take(&id(1)));
        assert!(!marks.take(&id(1)));
    }

    #[test]
    fn few_entries_share_a_mark() {
        let mut marks = Marks::new();
        marks.fit(100_000);
        for number in 0..100_000 {
            marks.set(&id(number));
        }
        let shared = (100_000..200_000)
            .filter(|number| marks.take(&id(*number)))
            .count();
        assert!(shared < 10_000, "{shared} of 100,000");
    }

    #[test]
    fn marks_outlive_growth() {
        let mut marks = Marks::new();
        for number in 0..1_000 {
            marks.set(&id(number));
        }
        marks.fit(1_000_000);
        assert!((0..1_000).all(|number| marks.take(&id(number))));
    }

    #[test]
    fn memory_is_bounded_and_grows_with_the_entries() {
        let mut marks = Marks::new();
        let mut bytes = |entries| {
            marks.fit(entries);
            marks.bits.len() * 8
        };
        assert_eq!(bytes(0), 8 << 10);
        assert_eq!(bytes(10_000), 16 << 10);
        assert_eq!(bytes(u64::MAX), 2 << 20);
    }
}

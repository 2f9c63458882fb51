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
    /// None is set; there are enough for that many entries.
    pub(super) fn new(max_entries: u64) -> Marks {
        let bits = max_entries
            .saturating_mul(MARKS_PER_ENTRY)
            .clamp(MARKS.0, MARKS.1)
            .next_power_of_two();
        Marks {
            bits: vec![0; (bits / 64) as usize],
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
        let mut marks = Marks::new(100);
        assert!(!marks.take(&id(1)));
        marks.set(&id(1));
        marks.set(&id(1));
        assert!(marks.take(&id(1)));
        assert!(!marks.take(&id(1)));
    }

    #[test]
    fn few_entries_share_a_mark() {
        let mut marks = Marks::new(100_000);
        for number in 0..100_000 {
            marks.set(&id(number));
        }
        let shared = (100_000..200_000)
            .filter(|number| marks.take(&id(*number)))
            .count();
        assert!(shared < 10_000, "{shared} of 100,000");
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!(Marks::new(u64::MAX).bits.len() * 8, 2 << 20);
        assert_eq!(Marks::new(0).bits.len() * 8, 8 << 10);
    }
}

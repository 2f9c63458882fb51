//! How many entries there are and what they take, and the form in which that is saved.

/// How many entries there are, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Contents.
    pub(super) entries: u64,
    /// Bytes of keys and values in all trees, as given to the engine.
    pub(super) bytes: u64,
}

impl Totals {
    /// Counts one more.
    pub(super) fn add(&mut self, size: u64) {
        self.entries += 1;
        self.bytes += size;
    }

    /// Counts one less.
    pub(super) fn take(&mut self, size: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }
}

/// What is saved at every flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// The counts.
    pub(super) totals: Totals,
    /// The place in the order of use that the next entry gets.
    pub(super) next_use: u64,
    /// Whether nothing was written after it.
    pub(super) clean: bool,
}

impl Counters {
    /// What is saved.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.totals.entries, self.totals.bytes, self.next_use];
        let mut bytes = numbers.map(u64::to_be_bytes).concat();
        bytes.push(self.clean.into());
        bytes
    }

    /// What [`Counters::to_bytes`] gave; `None` for anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Counters> {
        let (numbers, clean) = bytes.split_at_checked(24)?;
        let number = |place: usize| {
            numbers[place * 8..][..8]
                .try_into()
                .map(u64::from_be_bytes)
                .ok()
        };
        Some(Counters {
            totals: Totals {
                entries: number(0)?,
                bytes: number(1)?,
            },
            next_use: number(2)?,
            clean: clean == [1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read() {
        for clean in [false, true] {
            let counters = Counters {
                totals: Totals {
                    entries: 1,
                    bytes: u64::MAX,
                },
                next_use: 3,
                clean,
            };
            assert_eq!(Counters::from_bytes(&counters.to_bytes()), Some(counters));
        }
        assert_eq!(Counters::from_bytes(&[0; 23]), None);
    }

    #[test]
    fn counts_do_not_go_below_zero() {
        let mut totals = Totals::default();
        totals.add(5);
        totals.take(7);
        totals.take(7);
        assert_eq!(totals, Totals::default());
    }
}

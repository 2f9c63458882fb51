//! Which names are shown, and so become the labels of a metric.
//!
//! There are as many places as `population.clients` says. A name keeps its place, at zero if need be, until another one takes it that has
//! more sessions: a series does not come and go with every logout. Names are made up by clients, and each new one is a new series for
//! whoever collects the metrics; so beyond the first, a new name is let in every [`PAUSE`] only, whoever floods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long it takes until one more new name may be let in.
const PAUSE: Duration = Duration::from_secs(600);

/// The names that are shown.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    shown: Vec<Box<str>>,
    /// How many new names may be let in now.
    allowance: usize,
    /// Since when the allowance grows.
    since: Instant,
}

impl Places {
    pub(super) fn new(most: usize, now: Instant) -> Places {
        Places {
            most,
            shown: Vec::new(),
            allowance: most,
            since: now,
        }
    }

    /// Gives places to names, those with most sessions first; returns whose place was taken. `counts` are of names that several
    /// accounts have.
    pub(super) fn settle(&mut self, now: Instant, counts: &BTreeMap<&str, u64>) -> Vec<Box<str>> {
        self.grow(now);
        let count = |name: &str| counts.get(name).copied().unwrap_or(0);
        let mut new: Vec<&str> = counts.keys().copied().collect();
        new.retain(|name| !self.shown.iter().any(|shown| **shown == **name));
        new.sort_by_key(|name| std::cmp::Reverse(count(name)));
        let mut out = Vec::new();
        for name in new {
            if self.allowance == 0 {
                break;
            }
            if self.shown.len() < self.most {
                self.shown.push(name.into());
            } else {
                let least = self.shown.iter_mut().min_by_key(|shown| count(shown));
                match least.filter(|shown| count(shown) < count(name)) {
                    Some(place) => out.push(std::mem::replace(place, name.into())),
                    // The rest have no more sessions than this one.
                    None => break,
                }
            }
            self.allowance -= 1;
        }
        out
    }

    fn grow(&mut self, now: Instant) {
        while self.allowance < self.most && now.saturating_duration_since(self.since) >= PAUSE {
            self.allowance += 1;
            self.since += PAUSE;
        }
        if self.allowance == self.most {
            self.since = now;
        }
    }

    /// The names that have a place.
    pub(super) fn shown(&self) -> &[Box<str>] {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<'a>(counts: &[(&'a str, u64)]) -> BTreeMap<&'a str, u64> {
        counts.iter().copied().collect()
    }

    #[test]
    fn the_largest_have_the_places_and_keep_them_while_nobody_is_larger() {
        let now = Instant::now();
        let mut places = Places::new(2, now);
        assert!(
            places
                .settle(now, &counts(&[("a", 1), ("b", 2), ("c", 3)]))
                .is_empty()
        );
        assert_eq!(places.shown(), ["c".into(), "b".into()]);
        // Both were let in, so nobody else is for a while, however large; and those that are shown stay at zero.
        assert!(places.settle(now, &counts(&[("d", 9)])).is_empty());
        assert!(
            places
                .settle(now + PAUSE / 2, &counts(&[("d", 9)]))
                .is_empty()
        );
        let later = now + PAUSE;
        assert_eq!(
            places.settle(later, &counts(&[("b", 1), ("d", 9), ("e", 8)])),
            ["c".into()]
        );
        assert_eq!(places.shown(), ["d".into(), "b".into()]);
        // As large is not larger.
        assert!(
            places
                .settle(later + PAUSE, &counts(&[("b", 1), ("d", 9), ("e", 1)]))
                .is_empty()
        );
    }

    #[test]
    fn rotating_names_bring_a_few_series_a_day() {
        let begin = Instant::now();
        let mut places = Places::new(20, begin);
        let mut seen = std::collections::BTreeSet::new();
        for second in 0..24 * 3600 {
            let names: Vec<_> = (0..5).map(|n| format!("{second} {n}")).collect();
            let counts = names
                .iter()
                .map(|name| (name.as_str(), 3 + second))
                .collect();
            places.settle(begin + Duration::from_secs(second), &counts);
            seen.extend(places.shown().to_vec());
            assert!(places.shown().len() <= 20);
        }
        // Twenty at first, then one in ten minutes.
        assert!(seen.len() <= 20 + 24 * 6, "{}", seen.len());
    }
}

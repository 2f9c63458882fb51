//! The table of flights as people look at it: counts and keys, nobody's address.

use std::time::{Duration, Instant};

use super::Flights;
use crate::caps::CapsKey;

/// The flights in progress, as they were at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest ones, the oldest first.
    pub flights: Vec<FlightView>,
    /// How many are in progress.
    pub in_progress: usize,
    /// How many look-ups in the tiers are under way, which are flights only if they find nothing.
    pub looking: usize,
    /// How many waiters there are, in all flights and look-ups.
    pub waiters: usize,
}

/// One flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightView {
    /// The keys that it resolves and has not proven yet.
    pub keys: Vec<KeyView>,
    /// How long ago it began.
    pub age: Duration,
    /// How many wait for it.
    pub waiters: usize,
    /// How many holders were asked so far.
    pub asked: usize,
    /// How many of them may still answer, those that are overdue included.
    pub awaited: usize,
}

/// A key that is being resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub key: CapsKey,
    /// Whether several accounts announced it; one that is not common may tell who is online.
    pub common: bool,
}

impl<W> Flights<W> {
    /// What is in progress beyond the tiers: the `most` oldest flights, and how many there are.
    pub fn snapshot(&self, now: Instant, most: usize) -> Snapshot {
        let beyond = self.flights.iter().filter(|(_, flight)| !flight.looking);
        let mut oldest: Vec<_> = beyond.map(|(id, flight)| (flight.began, *id)).collect();
        let in_progress = oldest.len();
        if most < oldest.len() {
            oldest.select_nth_unstable(most);
            oldest.truncate(most);
        }
        oldest.sort_unstable();
        let flights = oldest.into_iter().filter_map(|(began, id)| {
            let flight = self.flights.get(&id)?;
            let keys = flight.keys.iter().map(|key| KeyView {
                key: *key,
                common: self.holders.is_common(key, None),
            });
            Some(FlightView {
                keys: keys.collect(),
                age: now.saturating_duration_since(began),
                waiters: flight.waiters.len(),
                asked: flight.tried.len(),
                awaited: flight.questions.len(),
            })
        });
        Snapshot {
            flights: flights.collect(),
            in_progress,
            looking: self.looking,
            waiters: self.waiters,
        }
    }
}

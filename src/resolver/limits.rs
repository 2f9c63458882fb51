//! Quotas: how many questions an asker, an account and a domain may cause.
//!
//! The buckets are governor's; their clock is the `now` of the caller, so that tests need no real time. Keys are kept as keyed
//! hashes, so no address is stored, and a table is swept when it grows past [`SWEEP_AT`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// How many buckets a table may hold before the full ones are dropped.
pub const SWEEP_AT: usize = 100_000;

/// A rate: how long it takes until one more may come, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time in which one place of the bucket fills; at least a nanosecond.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// A clock that shows what it was told last.
#[derive(Clone, Debug, Default)]
struct ToldClock(Arc<AtomicU64>);

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

/// One table of buckets.
pub struct Quotas {
    epoch: Instant,
    clock: ToldClock,
    hasher: RandomState,
    limiter:
        RateLimiter<u64, HashMapStateStore<u64, RandomState>, ToldClock, NoOpMiddleware<Nanos>>,
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quotas")
            .field("buckets", &self.limiter.len())
            .finish()
    }
}

impl Quotas {
    /// A table whose buckets begin full; `now` is the beginning of its time.
    pub fn new(rate: Rate, now: Instant) -> Quotas {
        let clock = ToldClock::default();
        // Only an interval of nothing has no quota; then the bucket fills as fast as the clock can tell.
        let quota = Quota::with_period(rate.interval)
            .unwrap_or(Quota::per_second(NonZeroU32::MAX))
            .allow_burst(rate.burst);
        Quotas {
            epoch: now,
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
            clock,
            hasher: RandomState::new(),
        }
    }

    /// Takes one from the bucket of `who`; false if it is empty.
    pub fn take(&self, who: &str, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.clock.0.fetch_max(elapsed, Ordering::Relaxed);
        self.limiter.check_key(&self.hasher.hash_one(who)).is_ok()
    }

    /// Drops the buckets that are full again, if there are many.
    pub fn sweep(&self) {
        if self.limiter.len() > SWEEP_AT {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_by_the_time_it_is_told() {
        let start = Instant::now();
        let quotas = Quotas::new(
            Rate {
                interval: Duration::from_secs(180),
                burst: NonZeroU32::new(20).unwrap(),
            },
            start,
        );
        let taken = (0..30).filter(|_| quotas.take("a@b", start)).count();
        assert_eq!(taken, 20);
        assert!(quotas.take("c@b", start));
        let later = start + Duration::from_secs(180);
        assert!(quotas.take("a@b", later));
        assert!(!quotas.take("a@b", later));
    }
}

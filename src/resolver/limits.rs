//! Quotas: how many questions an asker, an account and a domain may cause.
//!
//! The buckets are governor's; their clock is the `now` of the caller, so that tests need no real time. Whose a bucket is, is kept
//! as a keyed hash, so no address is stored. There are at most [`MAX_BUCKETS`] in a table, however many come: with more, some share
//! one, and nobody can choose with whom.

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

use crate::stanza::jid;

/// How many buckets a table holds at the most; each takes some 30 bytes.
pub const MAX_BUCKETS: u64 = 1 << 18;

/// How many buckets a table may hold before the full ones are dropped.
const SWEEP_AT: usize = 100_000;

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
        let bucket = self.hasher.hash_one(who) % MAX_BUCKETS;
        self.limiter.check_key(&bucket).is_ok()
    }

    /// Drops the buckets that are full again, if there are many.
    pub fn sweep(&self) {
        if self.limiter.len() > SWEEP_AT {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }
}

/// Which part of a source's quota is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// That of the account.
    Account,
    /// That of its domain.
    Domain,
}

/// The quotas of those who bring something: of each account, and of all accounts of a domain together.
#[derive(Debug)]
pub struct SourceQuotas {
    accounts: Quotas,
    domains: Quotas,
}

impl SourceQuotas {
    /// Tables whose buckets begin full; `now` is the beginning of their time.
    pub fn new(per_account: Rate, per_domain: Rate, now: Instant) -> SourceQuotas {
        SourceQuotas {
            accounts: Quotas::new(per_account, now),
            domains: Quotas::new(per_domain, now),
        }
    }

    /// Takes one for the address from the bucket of its account and from that of its domain.
    ///
    /// # Errors
    /// Which of them is empty. The account comes first: one that is over its quota does not spend that of its domain.
    pub fn take(&self, address: &str, now: Instant) -> Result<(), Spent> {
        if !self.accounts.take(jid::bare(address), now) {
            Err(Spent::Account)
        } else if !self.domains.take(jid::domain(address), now) {
            Err(Spent::Domain)
        } else {
            Ok(())
        }
    }

    /// See [`Quotas::sweep`].
    pub fn sweep(&self) {
        self.accounts.sweep();
        self.domains.sweep();
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

    #[test]
    fn there_are_only_so_many_buckets_however_many_come() {
        let start = Instant::now();
        let quotas = Quotas::new(
            Rate {
                interval: Duration::from_secs(180),
                burst: NonZeroU32::new(20).unwrap(),
            },
            start,
        );
        for account in 0..3 * MAX_BUCKETS {
            quotas.take(&account.to_string(), start);
        }
        let buckets = quotas.limiter.len() as u64;
        assert!(buckets <= MAX_BUCKETS, "{buckets}");
        assert!(buckets > MAX_BUCKETS * 9 / 10, "{buckets}: they are spread");
        quotas.take("a@b", start + Duration::from_secs(3600));
        quotas.sweep();
        assert_eq!(quotas.limiter.len(), 1);
    }
}

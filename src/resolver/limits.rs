//! Quotas: how many questions an asker, an account and a domain may cause.
//!
//! The buckets are governor's; their clock is the `now` of the caller, so that tests need no real time. Whose a bucket is, is kept
//! as a keyed hash, so no address is stored. There are at most [`MAX_BUCKETS`] in a table, however many come: with more, some share
//! one, and nobody can choose with whom.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config;
use crate::metrics::{Labels as _, Metrics, RateScope};
use crate::stanza::jid;

/// How many buckets a table holds at the most; each takes some 30 bytes.
pub const MAX_BUCKETS: u64 = 1 << 18;

/// How many buckets a table may hold before the full ones are dropped.
const SWEEP_AT: usize = 100_000;

/// How often a table is swept: it takes milliseconds where there are many buckets.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A rate: how long it takes until one more may come, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time in which one place of the bucket fills; at least a nanosecond.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

impl From<config::Rate> for Rate {
    fn from(rate: config::Rate) -> Rate {
        Rate {
            interval: rate.interval(),
            burst: rate.burst(),
        }
    }
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
    /// Buckets that were found empty, with the time at which they are no more.
    empty: Mutex<HashMap<u64, u64>>,
    /// When it was swept last, by its clock.
    swept: AtomicU64,
    /// The rate, and the buckets with it.
    limiter: RwLock<(Rate, Limiter)>,
}

type Limiter =
    RateLimiter<u64, HashMapStateStore<u64, RandomState>, ToldClock, NoOpMiddleware<Nanos>>;

fn limiter(rate: Rate, clock: &ToldClock) -> Limiter {
    // Only an interval of nothing has no quota; then the bucket fills as fast as the clock can tell.
    let quota = Quota::with_period(rate.interval)
        .unwrap_or(Quota::per_second(NonZeroU32::MAX))
        .allow_burst(rate.burst);
    RateLimiter::new(quota, HashMapStateStore::default(), clock.clone())
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quotas")
            .field("buckets", &self.buckets())
            .finish()
    }
}

impl Quotas {
    /// A table whose buckets begin full; `now` is the beginning of its time.
    pub fn new(rate: Rate, now: Instant) -> Quotas {
        let clock = ToldClock::default();
        Quotas {
            epoch: now,
            limiter: RwLock::new((rate, limiter(rate, &clock))),
            clock,
            hasher: RandomState::new(),
            empty: Mutex::default(),
            swept: AtomicU64::new(0),
        }
    }

    /// Takes that many from the bucket of `who` at once; false, and nothing is taken, if they are not there.
    pub fn take_all(&self, who: &str, count: NonZeroU32, now: Instant) -> bool {
        self.clock.0.fetch_max(self.elapsed(now), Ordering::Relaxed);
        let current = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let taken = current.1.check_key_n(&self.bucket(who), count);
        matches!(taken, Ok(Ok(())))
    }

    /// Takes another rate. If it is another one, all buckets are full.
    pub fn change(&self, rate: Rate) {
        let mut current = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != rate {
            *current = (rate, limiter(rate, &self.clock));
            let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
            empty.clear();
        }
    }

    fn buckets(&self) -> usize {
        let current = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        current.1.len()
    }

    /// Takes one from the bucket of `who`; false if it is empty.
    pub fn take(&self, who: &str, now: Instant) -> bool {
        let elapsed = self.elapsed(now);
        self.clock.0.fetch_max(elapsed, Ordering::Relaxed);
        let bucket = self.bucket(who);
        let current = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let taken = current.1.check_key(&bucket);
        if let Err(not_until) = &taken {
            let until = not_until.earliest_possible().as_u64();
            let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
            empty.insert(bucket, until);
        }
        taken.is_ok()
    }

    /// Whether the bucket of `who` was found empty, and still is. Nothing is taken; that an empty one is found full is possible.
    pub fn is_empty(&self, who: &str, now: Instant) -> bool {
        let empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let until = empty.get(&self.bucket(who));
        until.is_some_and(|until| self.elapsed(now) < *until)
    }

    fn elapsed(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    fn bucket(&self, who: &str) -> u64 {
        self.hasher.hash_one(who) % MAX_BUCKETS
    }

    /// Drops what is not needed any more, if there is much of it, at most once in a minute; cheap otherwise.
    pub fn sweep(&self) {
        let now = self.clock.0.load(Ordering::Relaxed);
        let due = self.swept.load(Ordering::Relaxed) + SWEEP_EVERY.as_nanos() as u64;
        if now < due {
            return;
        }
        self.swept.store(now, Ordering::Relaxed);
        let current = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        if current.1.len() > SWEEP_AT {
            current.1.retain_recent();
            current.1.shrink_to_fit();
        }
        drop(current);
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        empty.retain(|_, until| *until > now);
        empty.shrink_to(64);
    }
}

/// Counts what went beyond the quota of an address. At the level `trace`, and only there, the log says whose account it was.
pub fn beyond(metrics: &Metrics, scope: RateScope, address: &str) {
    metrics.rate_limited.get(scope).inc();
    tracing::trace!(
        account = jid::bare(address),
        quota = scope.values().concat(),
        "beyond a quota"
    );
}

/// Which part of a source's quota is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// That of the account.
    Account,
    /// That of its domain.
    Domain,
}

impl From<Spent> for RateScope {
    fn from(spent: Spent) -> RateScope {
        match spent {
            Spent::Account => RateScope::Account,
            Spent::Domain => RateScope::Domain,
        }
    }
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

    /// Takes other rates; see [`Quotas::change`].
    pub fn change(&self, per_account: Rate, per_domain: Rate) {
        self.accounts.change(per_account);
        self.domains.change(per_domain);
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

    /// Which of the buckets that one would be taken from for the address was found empty, and still is. Nothing is taken.
    pub fn spent(&self, address: &str, now: Instant) -> Option<Spent> {
        if self.accounts.is_empty(jid::bare(address), now) {
            Some(Spent::Account)
        } else if self.domains.is_empty(jid::domain(address), now) {
            Some(Spent::Domain)
        } else {
            None
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

    fn twenty_an_hour(start: Instant) -> Quotas {
        let rate = Rate {
            interval: Duration::from_secs(180),
            burst: NonZeroU32::new(20).unwrap(),
        };
        Quotas::new(rate, start)
    }

    #[test]
    fn a_bucket_empties_and_fills_by_the_time_it_is_told() {
        let start = Instant::now();
        let quotas = twenty_an_hour(start);
        let taken = (0..30).filter(|_| quotas.take("a@b", start)).count();
        assert_eq!(taken, 20);
        assert!(quotas.take("c@b", start));
        let just_before = start + Duration::from_secs(179);
        assert!(quotas.is_empty("a@b", just_before) && !quotas.is_empty("c@b", just_before));
        assert!(!quotas.is_empty("a@b", start + Duration::from_secs(180)));
        let later = start + Duration::from_secs(180);
        assert!(quotas.take("a@b", later));
        assert!(!quotas.take("a@b", later));
    }

    #[test]
    fn another_rate_counts_at_once_and_the_same_rate_changes_nothing() {
        let start = Instant::now();
        let quotas = twenty_an_hour(start);
        let taken = |quotas: &Quotas| (0..30).filter(|_| quotas.take("a@b", start)).count();
        assert_eq!(taken(&quotas), 20);
        let same = quotas.limiter.read().unwrap().0;
        quotas.change(same);
        assert_eq!(taken(&quotas), 0, "the buckets stay as they are");
        assert!(quotas.is_empty("a@b", start));
        quotas.change(Rate {
            burst: NonZeroU32::new(5).unwrap(),
            ..same
        });
        assert!(!quotas.is_empty("a@b", start));
        assert_eq!(taken(&quotas), 5);
    }

    #[test]
    fn there_are_only_so_many_buckets_however_many_come() {
        let start = Instant::now();
        let quotas = twenty_an_hour(start);
        for account in 0..3 * MAX_BUCKETS {
            quotas.take(&account.to_string(), start);
        }
        let buckets = quotas.buckets() as u64;
        assert!(buckets <= MAX_BUCKETS, "{buckets}");
        assert!(buckets > MAX_BUCKETS * 9 / 10, "{buckets}: they are spread");
        quotas.take("a@b", start + Duration::from_secs(3600));
        quotas.sweep();
        assert_eq!(quotas.buckets(), 1);
    }
}

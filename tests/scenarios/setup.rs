//! What a resolver under test is made of: the settings of the design, and a small store.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use capsd::holders;
use capsd::metrics::Metrics;
use capsd::resolver::flights::Settings;
use capsd::resolver::limits::Rate;
use capsd::resolver::probation;
use capsd::resolver::tiers::Below;
use capsd::resolver::unverified;
use capsd::store::{Store, StoreSettings};
use capsd::trusted::Trusted;

/// The settings of the design.
pub(crate) fn settings() -> Settings {
    Settings {
        on_announce: true,
        deadline: Duration::from_secs(5),
        holder_timeout: Duration::from_secs(2),
        retry_after: Duration::from_secs(600),
        max_flights: 4096,
        max_waiters: 65_536,
        max_waiters_per_flight: 16_384,
        new_keys_per_account: rate(20, Duration::from_secs(3600)),
        new_keys_per_domain: rate(200, Duration::from_secs(1)),
        questions_per_account: rate(600, Duration::from_secs(3600)),
        questions_per_domain: rate(400, Duration::from_secs(1)),
        probation: probation::Settings {
            max_bytes: 1 << 20,
            second_uses_per_account: rate(100, Duration::from_secs(3600)),
            high_water_percent: 90,
        },
        unverified: unverified::Settings {
            max_bytes: 1 << 20,
            max_questions: 4096,
            timeout: Duration::from_secs(2),
            retry_after: Duration::from_secs(600),
        },
        holders: holders::Settings {
            max: 1_000_000,
            expire_after: Duration::from_secs(24 * 3600),
            per_key: 64,
        },
    }
}

/// So many in that time, and all of them at once.
pub(crate) fn rate(count: u32, per: Duration) -> Rate {
    Rate {
        interval: per / count,
        burst: NonZeroU32::new(count).unwrap(),
    }
}

/// A store of at most a thousand entries.
pub(crate) fn open_store(path: PathBuf, metrics: &Arc<Metrics>, now: Instant) -> Store {
    let settings = StoreSettings {
        max_entries: 1000,
        max_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        ..StoreSettings::new(path)
    };
    Store::open(settings, Arc::clone(metrics), now, SystemTime::now()).unwrap()
}

/// Both tiers; what is learned is kept in that directory, in `store`.
pub(crate) fn tiers_in(
    directory: &Path,
    trusted: Option<Trusted>,
    metrics: &Arc<Metrics>,
    now: Instant,
) -> Below {
    Below {
        store: open_store(directory.join("store"), metrics, now),
        trusted,
        overrides: Arc::default(),
        watcher: Box::new(|_| {}),
    }
}

//! How the resolver is set up.

use std::time::Duration;

use crate::config::{self, Config};
use crate::holders;
use crate::resolver::limits::Rate;
use crate::resolver::{probation, unverified};

/// Bounds and times of the resolver; every one is a setting.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether an unknown key is resolved as soon as it is announced, or only when it is asked for.
    pub on_announce: bool,
    /// How long a flight may take from beginning to end.
    pub deadline: Duration,
    /// How long one holder may take before the next one is asked too.
    pub holder_timeout: Duration,
    /// How long a holder is not asked again for a key that it did not prove.
    pub retry_after: Duration,
    /// How many flights may be in progress.
    pub max_flights: usize,
    /// How many waiters there may be in all.
    pub max_waiters: usize,
    /// How many waiters one flight may have.
    pub max_waiters_per_flight: usize,
    /// How many new keys an account may have resolved as soon as it announces them, and written at once.
    pub new_keys_per_account: Rate,
    /// How many new keys the accounts of a domain may have so, together.
    pub new_keys_per_domain: Rate,
    /// How many questions an account that has spent that quota is asked for those who want to know.
    pub questions_per_account: Rate,
    /// How many questions the accounts of a domain are asked so, together.
    pub questions_per_domain: Rate,
    /// The bounds of what is not written before its second use.
    pub probation: probation::Settings,
    /// The bounds of what cannot be verified.
    pub unverified: unverified::Settings,
    /// The bounds of the table of holders.
    pub holders: holders::Settings,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Settings {
        Settings::of_sections(
            &config.resolver,
            &config.limits,
            &config.holders,
            &config.hot,
            &config.store,
        )
    }

    fn of_sections(
        resolver: &config::Resolver,
        limits: &config::Limits,
        holders: &config::Holders,
        hot: &config::Hot,
        store: &config::Store,
    ) -> Settings {
        Settings {
            on_announce: resolver.resolve == config::Resolve::OnAnnounce,
            deadline: resolver.deadline,
            holder_timeout: resolver.holder_timeout,
            retry_after: resolver.retry_after,
            max_flights: limits.flights,
            max_waiters: limits.waiters,
            max_waiters_per_flight: limits.waiters_per_flight,
            new_keys_per_account: limits.new_keys_per_account.into(),
            new_keys_per_domain: limits.new_keys_per_domain.into(),
            questions_per_account: limits.questions_per_account.into(),
            questions_per_domain: limits.questions_per_domain.into(),
            probation: probation::Settings {
                max_bytes: hot.probation_bytes,
                second_uses_per_account: limits.second_uses_per_account.into(),
                high_water_percent: store.high_water_percent as u64,
            },
            unverified: unverified::Settings {
                max_bytes: holders.unverifiable_bytes,
                max_questions: limits.flights,
                timeout: resolver.holder_timeout,
                retry_after: resolver.retry_after,
            },
            holders: holders::Settings {
                max: holders.max,
                expire_after: holders.expire_after,
                per_key: holders.per_key,
            },
        }
    }
}

impl Default for Settings {
    /// Those of a configuration that sets nothing.
    fn default() -> Settings {
        Settings::of_sections(
            &Default::default(),
            &Default::default(),
            &Default::default(),
            &Default::default(),
            &Default::default(),
        )
    }
}

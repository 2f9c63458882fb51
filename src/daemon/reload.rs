//! A reload: everything that can change while links and cache stay is put in force at once, or nothing is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::trust::{self, Trust};
use super::{contacts, link_settings, store_settings};
use crate::caps::CapsKey;
use crate::config::changes::{Changes, changes, with_applied};
use crate::config::{Config, ConfigFaults};
use crate::control::act::{Ordered, Process};
use crate::metrics::Metrics;
use crate::resolver::{Resolver, flights};
use crate::service::{Links, Service};
use crate::trace;
use crate::trusted::Overrides;

/// Reads the configuration again, and the overrides that it names.
pub type Load = Box<dyn Fn() -> Result<(Config, Arc<Overrides>), ConfigFaults> + Send + Sync>;

/// What a reload acts on.
pub struct Reload {
    /// Reads the configuration.
    pub load: Load,
    /// The configuration in force: that of the start, with everything that was applied since.
    pub in_force: Mutex<Config>,
    /// The way to the trusted tier and the overrides.
    pub trust: Arc<Trust>,
    /// Flights, quotas, and the way to the store.
    pub resolver: Arc<Resolver>,
    /// Contacts and the quotas of askers.
    pub service: Arc<Service>,
    /// The links.
    pub links: Arc<Links>,
    /// Whether the last reload was successful.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Process for Reload {
    fn reload(&self) -> Result<Changes, ConfigFaults> {
        Reload::reload(self)
    }

    fn deny(&self, key: CapsKey, reason: &str) -> Ordered {
        Ok(self.trust.deny(key, reason)?)
    }

    fn pin(&self, key: CapsKey, query: &str, reason: &str) -> Ordered {
        Ok(self.trust.pin(key, query, reason)?)
    }

    fn withdraw(&self, key: &CapsKey, pinned: bool) -> Ordered {
        Ok(self.trust.withdraw(key, pinned)?)
    }
}

impl Reload {
    /// Reads configuration, secrets and overrides, and applies what can be applied. Waits for the file system.
    ///
    /// # Errors
    /// What is wrong with any of them; everything stays as it was then.
    pub fn reload(&self) -> Result<Changes, ConfigFaults> {
        // One after the other: what is in force is what was read last.
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let (config, overrides) = (self.load)().inspect_err(|faults| {
            self.metrics.config_last_reload_successful.set(0);
            tracing::error!(
                "neither the configuration nor the overrides were read again, the old ones stay in force: {faults}"
            );
        })?;
        self.metrics.configuration_was_read(SystemTime::now());
        let mut changes = changes(&in_force, &config);
        let next = with_applied(&in_force, config);
        self.apply(&in_force, &next, overrides);
        *in_force = next;
        if trace::is_overridden() && changes.applied.iter().any(|key| key == "log.level") {
            changes.applied.retain(|key| key != "log.level");
            let shown = format!(
                "log.level (the environment variable {} counts before it)",
                trace::VARIABLE
            );
            changes.needs_restart.push(shown);
        }
        tracing::info!(
            applied = changes.applied.join(", "),
            "configuration read again; directories, bundles and overrides follow when they have been read"
        );
        if !changes.needs_restart.is_empty() {
            tracing::warn!(
                keys = changes.needs_restart.join(", "),
                "these keys have changed, and need a restart to be in force"
            );
        }
        Ok(changes)
    }

    fn apply(&self, old: &Config, next: &Config, overrides: Arc<Overrides>) {
        if !trace::is_overridden() {
            trace::change(next.log.level);
        }
        self.apply_links(old, next);
        self.resolver.change(flights::Settings::of(next));
        let store = store_settings(next);
        self.resolver.order(move |below| below.store.change(store));
        let limits = &next.limits;
        self.service
            .change_limits(limits.queries_per_asker.into(), limits.subscribers);
        self.service
            .change_contacts(&contacts(&next.contact), &self.links);
        overrides.announce();
        self.trust.read(trust::sources(&next.trusted), overrides);
    }

    fn apply_links(&self, old: &Config, next: &Config) {
        let components = old.components.iter().zip(&next.components);
        for (link, (before, after)) in self.links.0.iter().zip(components) {
            link.change(link_settings(next, after));
            // Who may not ask any more is not asked any more either.
            let gone = before
                .domains
                .iter()
                .filter(|domain| !after.domains.contains(domain));
            gone.for_each(|domain| self.resolver.forget_domain(link.id, domain.as_str()));
        }
    }
}

//! What differs between the configuration in force and one that was read again, and what a reload can do about it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Component, Config, Holders, Limits, Log, Store};

/// The keys that a reload applies. `secret` stands for what the secret is, wherever it comes from.
pub const APPLIED: &[&str] = &[
    "component.secret-file",
    "component.secret-env",
    "component.secret",
    "component.domains",
    "component.feeds",
    "component.admins",
    "store.flush-interval",
    "store.max-entries",
    "store.max-bytes",
    "store.high-water-percent",
    "store.max-waste",
    "trusted.directories",
    "trusted.bundles",
    "trusted.public-keys",
    "trusted.unsigned-bundles",
    "trusted.overrides",
    "resolver.resolve",
    "resolver.deadline",
    "resolver.holder-timeout",
    "resolver.retry-after",
    "holders.expire-after",
    "limits.flights",
    "limits.waiters",
    "limits.waiters-per-flight",
    "limits.subscribers",
    "limits.queries-per-asker",
    "limits.new-keys-per-domain",
    "limits.new-keys-per-account",
    "limits.questions-per-domain",
    "limits.questions-per-account",
    "limits.second-uses-per-account",
    "contact.abuse",
    "contact.admin",
    "contact.feedback",
    "contact.sales",
    "contact.security",
    "contact.status",
    "contact.support",
    "log.level",
];

/// The keys that need a restart: what is made at the start in the size that they say, or is open under the name that they give.
pub const NEEDS_RESTART: &[&str] = &[
    "component",
    "store.path",
    "store.cache",
    "hot.max-bytes",
    "hot.probation-bytes",
    "holders.max",
    "holders.per-key",
    "holders.unverifiable-bytes",
    "limits.max-disco-bytes",
    "limits.max-features",
    "limits.allow-md5",
    "limits.link-queue-bytes",
    "limits.batch-keys-per-asker",
    "limits.batch-bytes",
    "limits.waiting-batch-bytes",
    "http.listen",
    "http.names",
    "http.connections",
    "http.timeout",
    "control.socket",
    "control.connections",
    "control.timeout",
    "log.format",
    "population.clients",
    "population.features",
    "population.kinds",
];

/// What differs between two configurations, each key by its name in the file; those of a component with its JID behind, as in
/// `component.domains (caps.example.org)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// What a reload applies.
    pub applied: Vec<String>,
    /// What stays as it was until a restart.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }

    fn add(&mut self, key: &str, shown: String) {
        // What is forgotten above is safe below.
        if APPLIED.contains(&key) {
            self.applied.push(shown);
        } else {
            self.needs_restart.push(shown);
        }
    }
}

/// What differs between the configuration in force and a new one.
pub fn changes(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    let (before, after) = (sections(old), sections(new));
    if same_links(old, new) {
        for (old, new) in old.components.iter().zip(&new.components) {
            component_changes(old, new, &mut changes);
        }
    } else {
        changes.add("component", "component".to_owned());
    }
    for (section, keys) in &after {
        let Value::Object(keys) = keys else { continue };
        let before = before.get(section).and_then(Value::as_object);
        for key in differing(before, keys) {
            let key = format!("{section}.{key}");
            changes.add(&key, key.clone());
        }
    }
    changes
}

/// What is in force after a reload: the new configuration, with what needs a restart as it was.
pub fn with_applied(old: &Config, new: Config) -> Config {
    Config {
        components: match same_links(old, &new) {
            true => new.components,
            false => old.components.clone(),
        },
        store: Store {
            path: old.store.path.clone(),
            cache: old.store.cache,
            ..new.store
        },
        hot: old.hot.clone(),
        trusted: new.trusted,
        resolver: new.resolver,
        holders: Holders {
            expire_after: new.holders.expire_after,
            ..old.holders
        },
        limits: Limits {
            max_disco_bytes: old.limits.max_disco_bytes,
            max_features: old.limits.max_features,
            allow_md5: old.limits.allow_md5,
            link_queue_bytes: old.limits.link_queue_bytes,
            batch_keys_per_asker: old.limits.batch_keys_per_asker,
            batch_bytes: old.limits.batch_bytes,
            waiting_batch_bytes: old.limits.waiting_batch_bytes,
            ..new.limits
        },
        http: old.http.clone(),
        control: old.control.clone(),
        contact: new.contact,
        population: old.population.clone(),
        log: Log {
            format: old.log.format,
            level: new.log.level,
        },
    }
}

/// Whether both have the same links in the same order: a link that comes, goes or moves needs a restart, and then none is touched.
fn same_links(old: &Config, new: &Config) -> bool {
    let links = |config: &Config| -> Vec<_> {
        let links = config.components.iter();
        links.map(|c| (c.jid.clone(), c.server.clone())).collect()
    };
    links(old) == links(new)
}

fn component_changes(old: &Component, new: &Component, changes: &mut Changes) {
    let named = |key: &str| format!("{key} ({})", new.name);
    let (before, after) = (object(old), object(new));
    for key in differing(Some(&before), &after) {
        let key = format!("component.{key}");
        changes.add(&key, named(&key));
    }
    if old.secret != new.secret {
        changes.add("component.secret", named("component.secret"));
    }
}

/// The keys with another value, those that are in one of them only included.
fn differing(before: Option<&Map<String, Value>>, after: &Map<String, Value>) -> Vec<String> {
    let old = |key: &str| before.and_then(|before| before.get(key));
    let mut keys: Vec<_> = after
        .iter()
        .filter(|(key, value)| old(key) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    let gone = before.into_iter().flat_map(Map::keys);
    keys.extend(gone.filter(|key| !after.contains_key(*key)).cloned());
    keys
}

fn sections(config: &Config) -> Map<String, Value> {
    let mut sections = object(config);
    sections.remove("component");
    sections
}

fn object(of: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

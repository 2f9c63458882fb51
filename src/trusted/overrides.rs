//! Overrides: what the operator says about single keys, before any tier is looked at.

use std::collections::HashMap;
use std::path::Path;

use super::files::read_answer;
use super::orders::{Order, Orders};
use super::verified;
use crate::caps::{CapsKey, Policy, VerifiedInfo, verify};
use crate::config::{ConfigFaults, overrides};

/// Pinned and denied keys, each with the operator's reason.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    denied: HashMap<CapsKey, String, ahash::RandomState>,
    pinned: HashMap<CapsKey, (VerifiedInfo, String), ahash::RandomState>,
}

impl Overrides {
    /// Reads a file of overrides, and the contents that it pins. A content that does not have the hash of its key is a fault: an
    /// operator may say which of several contents counts, but not what a hash means.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Overrides, ConfigFaults> {
        let policy = Policy::trusted();
        let rules = overrides::read(file, |key, file| {
            let answer = read_answer(file, &policy)?;
            verified(verify(key, &answer, &policy))
        })?;
        let pinned = rules.pinned.into_iter();
        Ok(Overrides {
            denied: rules.denied.into_iter().collect(),
            pinned: pinned
                .map(|(key, info, reason)| (key, (info, reason)))
                .collect(),
        })
    }

    /// These, and what was ordered for keys of which nothing is said here.
    pub fn with(&self, orders: &Orders) -> Overrides {
        let mut all = self.clone();
        for (key, order, reason) in orders.iter().filter(|(key, ..)| !self.concerns(key)) {
            match order {
                Order::Deny => {
                    all.denied.insert(*key, reason.to_owned());
                }
                Order::Pin(info, _) => {
                    all.pinned.insert(*key, (info.clone(), reason.to_owned()));
                }
            }
        }
        all
    }

    /// The keys that anything is said about.
    pub fn keys(&self) -> impl Iterator<Item = &CapsKey> {
        self.denied.keys().chain(self.pinned.keys())
    }

    /// Why a key is denied; `None` where it is not.
    pub fn denial(&self, key: &CapsKey) -> Option<&str> {
        self.denied.get(key).map(String::as_str)
    }

    /// The content that counts for a key, if the operator says so.
    pub fn pinned(&self, key: &CapsKey) -> Option<&VerifiedInfo> {
        self.pinned.get(key).map(|(info, _)| info)
    }

    /// The content that counts for a key, with the operator's reason, if he says so.
    pub fn pin(&self, key: &CapsKey) -> Option<(&VerifiedInfo, &str)> {
        let pin = self.pinned.get(key);
        pin.map(|(info, reason)| (info, reason.as_str()))
    }

    /// Whether anything is said about a key.
    pub fn concerns(&self, key: &CapsKey) -> bool {
        self.denied.contains_key(key) || self.pinned.contains_key(key)
    }

    /// How many keys are denied.
    pub fn denials(&self) -> usize {
        self.denied.len()
    }

    /// How many keys have a pinned content.
    pub fn pins(&self) -> usize {
        self.pinned.len()
    }

    /// Says in the log what is in force, rule by rule.
    pub fn announce(&self) {
        for (key, reason) in &self.denied {
            tracing::info!(%key, reason, "a key is denied");
        }
        for (key, (info, reason)) in &self.pinned {
            let waived = info.waived();
            tracing::info!(%key, reason, waived, "the content of a key is pinned");
        }
    }
}

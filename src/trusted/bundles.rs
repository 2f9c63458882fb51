//! Bundles as a part of the trusted tier.

use std::path::PathBuf;

use super::{MAX_BUNDLES, TrustedEntry, name_of, verified};
use crate::bundle::{Bundle, Entries, Signers};
use crate::caps::{CapsKey, Policy};

/// The bundles that may be used, the one that counts first.
#[derive(Debug, Default)]
pub(super) struct Bundles(Vec<TrustedBundle>);

#[derive(Debug)]
struct TrustedBundle {
    path: PathBuf,
    bundle: Bundle,
    /// Where [`Bundles::next_keys`] is; `None` after the end.
    entries: Option<Entries>,
    /// How often something in it was refused.
    refused: u64,
}

impl Bundles {
    /// Opens bundles. One that may not be used is said in the log with the remedy, and left out.
    pub(super) fn open(mut paths: Vec<PathBuf>, signers: &Signers) -> Bundles {
        if paths.len() > MAX_BUNDLES {
            let bundles = paths.len();
            tracing::warn!(
                bundles,
                "there are more than {MAX_BUNDLES} trusted bundles; the rest is left out. Put them together"
            );
            paths.truncate(MAX_BUNDLES);
        }
        let open = |path: PathBuf| match Bundle::open(&path, signers) {
            Ok(bundle) => {
                tracing::info!(
                    bundle = %path.display(),
                    contents = bundle.len(),
                    created = bundle.created(),
                    generator = bundle.generator(),
                    signed = bundle.signed().is_some(),
                    "a bundle of trusted content is in use"
                );
                Some(TrustedBundle {
                    path,
                    entries: Some(bundle.entries()),
                    bundle,
                    refused: 0,
                })
            }
            Err(error) => {
                tracing::warn!(
                    bundle = %path.display(),
                    "a bundle of trusted content is not used: {error}. Then send SIGHUP"
                );
                None
            }
        };
        Bundles(paths.into_iter().filter_map(open).collect())
    }

    pub(super) fn get(&mut self, key: &CapsKey) -> Option<TrustedEntry> {
        self.0.iter_mut().find_map(|bundle| bundle.get(key))
    }

    pub(super) fn contains(&self, key: &CapsKey) -> bool {
        let contains = |bundle: &TrustedBundle| bundle.bundle.contains(key);
        self.0
            .iter()
            .any(|bundle| contains(bundle).unwrap_or(false))
    }

    /// The keys of the next entry; `None` after the last.
    pub(super) fn next_keys(&mut self) -> Option<Vec<CapsKey>> {
        self.0.iter_mut().find_map(TrustedBundle::next_keys)
    }

    pub(super) fn entries(&self) -> u64 {
        let lengths = self.0.iter().map(|bundle| bundle.bundle.len());
        // What a bundle says of itself may be anything, where nobody has to have signed it.
        lengths.fold(0, u64::saturating_add)
    }
}

impl TrustedBundle {
    fn get(&mut self, key: &CapsKey) -> Option<TrustedEntry> {
        let entry = match self.bundle.look_up(key) {
            Ok(entry) => entry?,
            Err(error) => {
                self.refuse(Some(key), &error.to_string());
                return None;
            }
        };
        match verified(entry.verified(key, &Policy::trusted())) {
            Ok(info) => Some(TrustedEntry {
                info,
                nodes: entry.nodes,
                source: name_of(&self.path),
            }),
            Err(cause) => {
                self.refuse(Some(key), &cause);
                None
            }
        }
    }

    fn next_keys(&mut self) -> Option<Vec<CapsKey>> {
        match self.entries.as_mut()?.next() {
            Some(Ok(entry)) => Some(entry.keys),
            Some(Err(error)) => {
                self.entries = None;
                self.refuse(None, &error.to_string());
                None
            }
            None => {
                self.entries = None;
                None
            }
        }
    }

    fn refuse(&mut self, key: Option<&CapsKey>, cause: &str) {
        self.refused += 1;
        // One line for the first, and ever fewer for the many.
        if self.refused.is_power_of_two() {
            tracing::warn!(
                bundle = %self.path.display(),
                key = key.map(tracing::field::display),
                refused = self.refused,
                cause,
                "something in a trusted bundle is not what its index says and is not served; replace or remove the bundle, \
                 then send SIGHUP"
            );
        }
    }
}

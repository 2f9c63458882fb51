//! Reads what the operator trusts, at start and again on SIGHUP, in a thread of its own: listing a large directory takes time, and one
//! on a network may never end.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::bundle::Signers;
use crate::config::{self, ConfigFaults, UnsignedBundles};
use crate::metrics::Metrics;
use crate::resolver::Resolver;
use crate::trusted::{Overrides, Sources, Trusted};

/// Reads the overrides that a configuration names; none where it names none.
///
/// # Errors
/// What is wrong with the file.
pub fn overrides(config: &config::Trusted) -> Result<Arc<Overrides>, ConfigFaults> {
    let overrides = match &config.overrides {
        Some(file) => Overrides::load(file)?,
        None => Overrides::default(),
    };
    Ok(Arc::new(overrides))
}

/// Where a configuration says that trusted content is.
pub fn sources(config: &config::Trusted) -> Sources {
    let accept = config.unsigned_bundles == UnsignedBundles::Accept;
    Sources {
        directories: config.directories.clone(),
        bundles: config.bundles.clone(),
        // The configuration holds none that is no key.
        signers: Signers::new(&config.public_keys, accept).unwrap_or_default(),
    }
}

/// The way to the thread that reads.
#[derive(Debug)]
pub(super) struct Reader(Sender<(Sources, Arc<Overrides>)>);

impl Reader {
    /// Starts the thread, which gives what it read to the resolver.
    pub(super) fn start(
        resolver: &Arc<Resolver>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Reader> {
        let resolver: Weak<Resolver> = Arc::downgrade(resolver);
        let (requests, queue) = mpsc::channel::<(Sources, Arc<Overrides>)>();
        std::thread::Builder::new()
            .name("trusted".to_owned())
            .spawn(move || {
                while let Ok(request) = queue.recv() {
                    // Only what was asked for last counts.
                    let (sources, overrides) = queue.try_iter().last().unwrap_or(request);
                    let began = Instant::now();
                    let trusted = Trusted::open(&sources, &metrics);
                    tracing::debug!(
                        seconds = began.elapsed().as_secs_f64(),
                        "trusted content was listed"
                    );
                    if let Some(resolver) = resolver.upgrade() {
                        resolver.trust(trusted, overrides);
                    }
                }
            })?;
        Ok(Reader(requests))
    }

    /// Has everything read, and put in force together with the overrides. Returns at once.
    pub(super) fn read(&self, sources: Sources, overrides: Arc<Overrides>) {
        // The thread ends only with the process.
        let _ = self.0.send((sources, overrides));
    }
}

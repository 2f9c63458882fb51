//! What the operator trusts, pins and denies: by files, read at start and again at a reload, and by command.
//!
//! Directories are listed in a thread of its own: listing a large one takes time, and one on a network may never end.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::bundle::Signers;
use crate::caps::{CapsKey, Reason};
use crate::config::{self, Config, ConfigFaults, UnsignedBundles};
use crate::control::act::Refusal;
use crate::metrics::Metrics;
use crate::resolver::Resolver;
use crate::trusted::orders::{OrderFault, Orders};
use crate::trusted::{Overrides, Sources, Trusted};

/// Reads a configuration file, and the overrides that it names.
///
/// # Errors
/// Everything that is wrong with either.
pub fn configuration(file: &Path) -> Result<(Config, Arc<Overrides>), ConfigFaults> {
    Config::load_with(file, |config| overrides(&config.trusted))
}

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

/// What was denied and pinned by command beside that store. A file that cannot be read is said in the log, and nothing is in force of
/// it: it must not keep capsd from starting.
pub fn orders(store: &Path) -> Orders {
    let file = Orders::path(store);
    Orders::load(&file).unwrap_or_else(|cause| {
        tracing::error!(
            file = %file.display(),
            cause,
            "what was denied and pinned by command cannot be read, and is not in force. Mend or remove the file and restart, or give the \
             commands again, which replaces it"
        );
        Orders::default()
    })
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unordered {
    /// The operator's file of overrides speaks for the key.
    #[error(
        "the file of overrides speaks for this key, and counts before commands: change it there, then `capsd reload`"
    )]
    ByFile,
    /// Nothing was ordered for the key.
    #[error("the key is not {0} by command")]
    Nothing(&'static str),
    /// It is not one that can be taken.
    #[error("{0}")]
    Fault(#[from] OrderFault),
}

impl From<Unordered> for Refusal {
    fn from(unordered: Unordered) -> Refusal {
        Refusal {
            reason: match &unordered {
                Unordered::ByFile => None,
                Unordered::Nothing(_) => Some(Reason::Unknown),
                Unordered::Fault(fault) => fault.reason(),
            },
            message: unordered.to_string(),
        }
    }
}

/// What is in force, and where the orders are kept.
struct Standing {
    by_file: Arc<Overrides>,
    orders: Orders,
    kept_in: PathBuf,
}

impl Standing {
    fn in_force(&self) -> Arc<Overrides> {
        match self.orders.is_empty() {
            true => Arc::clone(&self.by_file),
            false => Arc::new(self.by_file.with(&self.orders)),
        }
    }
}

/// The way to what is trusted, pinned and denied.
pub struct Trust {
    resolver: Weak<Resolver>,
    /// Held while it is sent, so that the resolver hears of changes in their order.
    standing: Arc<Mutex<Standing>>,
    requests: Sender<(Sources, Arc<Overrides>)>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trust {
    /// Starts the thread, which gives what it read to the resolver. `by_file` and `orders` are in force there already.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub fn start(
        resolver: &Arc<Resolver>,
        metrics: Arc<Metrics>,
        by_file: Arc<Overrides>,
        orders: Orders,
        store: &Path,
    ) -> std::io::Result<Trust> {
        let standing = Arc::new(Mutex::new(Standing {
            by_file,
            orders,
            kept_in: Orders::path(store),
        }));
        let (requests, queue) = mpsc::channel();
        let trust = Trust {
            resolver: Arc::downgrade(resolver),
            standing: Arc::clone(&standing),
            requests,
        };
        let resolver = Arc::downgrade(resolver);
        std::thread::Builder::new()
            .name("trusted".to_owned())
            .spawn(move || list(&queue, &resolver, &standing, &metrics))?;
        Ok(trust)
    }

    /// Has everything read, and put in force together with the overrides of the operator's file. Returns at once.
    pub fn read(&self, sources: Sources, by_file: Arc<Overrides>) {
        // The thread ends only with the process.
        let _ = self.requests.send((sources, by_file));
    }

    /// Denies a key; says why that lasts only until a restart, if it does.
    ///
    /// # Errors
    /// An [`Unordered`]; nothing has changed then.
    pub fn deny(&self, key: CapsKey, reason: &str) -> Result<Option<String>, Unordered> {
        self.order(&key, |orders| Ok(orders.deny(key, reason)?))
    }

    /// Pins the content in a disco#info `<query/>` document under a key; says why that lasts only until a restart, if it does.
    ///
    /// # Errors
    /// An [`Unordered`]; nothing has changed then.
    pub fn pin(
        &self,
        key: CapsKey,
        query: &str,
        reason: &str,
    ) -> Result<Option<String>, Unordered> {
        self.order(&key, |orders| Ok(orders.pin(key, query, reason)?))
    }

    /// Takes back the denial of a key, or its pin; says why that lasts only until a restart, if it does.
    ///
    /// # Errors
    /// An [`Unordered`]; nothing has changed then.
    pub fn withdraw(&self, key: &CapsKey, pinned: bool) -> Result<Option<String>, Unordered> {
        self.order(key, |orders| match orders.withdraw(key, pinned) {
            true => Ok(()),
            false => Err(Unordered::Nothing(if pinned { "pinned" } else { "denied" })),
        })
    }

    fn order(
        &self,
        key: &CapsKey,
        change: impl FnOnce(&mut Orders) -> Result<(), Unordered>,
    ) -> Result<Option<String>, Unordered> {
        let mut standing = lock(&self.standing);
        if standing.by_file.concerns(key) {
            return Err(Unordered::ByFile);
        }
        change(&mut standing.orders)?;
        let kept = standing.orders.save(&standing.kept_in);
        if let Some(resolver) = self.resolver.upgrade() {
            resolver.rule(standing.in_force());
        }
        let file = standing.kept_in.display();
        Ok(kept
            .err()
            .map(|error| format!("{file} cannot be written: {error}")))
    }
}

/// Lists what it is asked to, and puts it in force.
fn list(
    queue: &Receiver<(Sources, Arc<Overrides>)>,
    resolver: &Weak<Resolver>,
    standing: &Mutex<Standing>,
    metrics: &Metrics,
) {
    while let Ok(request) = queue.recv() {
        // Only what was asked for last counts.
        let (sources, by_file) = queue.try_iter().last().unwrap_or(request);
        let began = Instant::now();
        let trusted = Trusted::open(&sources, metrics);
        tracing::debug!(
            seconds = began.elapsed().as_secs_f64(),
            "trusted content was listed"
        );
        let mut standing = lock(standing);
        standing.by_file = by_file;
        if let Some(resolver) = resolver.upgrade() {
            resolver.trust(trusted, standing.in_force());
        }
    }
}

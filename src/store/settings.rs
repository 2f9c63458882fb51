//! How a store is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::caps::Policy;

use super::CHECKPOINT_WRITES;

/// How a store is opened. The ranges are those of the configuration.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Its directory; the one above it must exist.
    pub path: PathBuf,
    /// How long what was learned may wait for the disk.
    pub flush_interval: Duration,
    /// How many contents are kept at most.
    pub max_entries: u64,
    /// How many bytes they may take: keys and values as given to the engine, whose files take up to about twice as much.
    pub max_bytes: u64,
    /// The engine's page cache, in bytes.
    pub cache_bytes: u64,
    /// How many bytes of the engine's files may lie idle before what is stored is written anew.
    pub max_waste: u64,
    /// After how many written rows the database is closed and opened, as soon as there is nothing to write;
    /// [`CHECKPOINT_WRITES`] unless a test wants it otherwise.
    pub checkpoint_writes: u64,
    /// The rules that whatever is read must meet.
    pub policy: Policy,
}

impl StoreSettings {
    /// A store in that directory, with the defaults of the configuration.
    pub fn new(path: PathBuf) -> StoreSettings {
        StoreSettings {
            path,
            flush_interval: Duration::from_secs(1),
            max_entries: 1_000_000,
            max_bytes: 2 << 30,
            cache_bytes: 16 << 20,
            max_waste: 256 << 20,
            checkpoint_writes: CHECKPOINT_WRITES,
            policy: Policy::default(),
        }
    }
}

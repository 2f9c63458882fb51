//! The learned tier: what capsd verified itself, on disk.
//!
//! | room | what lives there |
//! |---|---|
//! | [`directory`] | the directory, its format file and lock, damaged stores that were set aside; [`StoreRefusal`] |
//! | `engine` | guarded calls to sled, faults, the flush thread |
//! | `disk`, `counters`, `marks` | the trees, the order of writes, eviction |
//! | `record`, `packing` | the bytes of one value |
//! | `confirmed` | the note of how far the last flush reached |
//! | `salvage` | taking over what is legible from a damaged store |
//! | `backlog` | what is not confirmed on disk yet |
//! | `upkeep` | writing, flushing, evicting |
//! | `recovery` | opening, failing, coming back, checkpoints |
//!
//! # How it is used
//!
//! One thread owns a [`Store`] and calls it; every call may block on the disk. [`Store::tick`] does what is due (flushing,
//! evicting, trying again after a fault) in bounded steps and says when it wants to be called again. Time is an argument.
//!
//! # Error handling
//!
//! After [`Store::open`] nothing fails: faults are handled inside, logged once with cause and next step, counted, and
//! shown by [`Store::state`].
//!
//! | fault | what happens |
//! |---|---|
//! | one value is damaged, or does not have its hash | it is removed, counted, and was never there |
//! | disk full, I/O error, a disk that does not answer | memory only; what the engine can still read is read (in tests nine entries of ten); tried again after 1 s, then at growing intervals of at most a minute; nothing is lost |
//! | the engine gives up on its files | memory only; opened anew at once |
//! | it cannot open them, gives up again, or has less than a flush confirmed | set aside and a fresh one begun; what is legible is taken over |
//!
//! Everything that is put stays in memory, within bounds, until a flush has confirmed it, and is written again after a
//! fault. So the disk may fail at any moment and what was learned meanwhile still gets there.
//!
//! # What is on disk
//!
//! No JID (a node URL that could be one is not kept), no time, nothing about who announced what.

mod backlog;
mod confirmed;
mod counters;
pub mod directory;
mod disk;
mod engine;
mod marks;
mod packing;
mod record;
mod recovery;
mod salvage;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use directory::StoreRefusal;
pub use record::{MAX_CONTENT_LEN, MAX_KEYS, MAX_NODES};

use crate::caps::verify::verify_canonical;
use crate::caps::{Algorithm, CapsKey, DiscoInfo, Family, Policy, Reason, Verdict, VerifiedInfo};
use crate::metrics::{Eviction, LoadResult, Metrics, StoreOperation};

use backlog::Backlog;
use directory::{Obstacle, StoreDirectory};
use disk::{Disk, Found};
use engine::{FLUSH_PATIENCE, Fault};
use record::Names;
use recovery::{CHECKPOINT_WRITES, Trouble};
use salvage::Salvage;

/// How long the last flush may take when the store is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

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
    /// The rules that whatever is read must meet.
    pub policy: Policy,
}

/// What is put: a verified content, the keys that it is known by and node URLs that were announced with it.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The content.
    pub info: VerifiedInfo,
    /// Keys of it; any that does not belong to it is left out. At most [`MAX_KEYS`] are kept.
    pub keys: Vec<CapsKey>,
    /// Node URLs, uncovered by the hash; the first [`MAX_NODES`] are kept.
    pub nodes: Vec<String>,
}

/// What is got: content that was verified for the key that was asked for.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The content.
    pub info: VerifiedInfo,
    /// All keys that are recorded with it. Only the one that was asked for has been verified by this read.
    pub keys: Vec<CapsKey>,
    /// Node URLs that were announced with it.
    pub nodes: Vec<String>,
}

/// Where the learned tier is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// On disk.
    Disk,
    /// In memory only.
    MemoryOnly {
        /// Since when.
        since: Instant,
        /// Why, in words for an operator.
        cause: String,
    },
}

/// The keys by which every content is indexed: 0115 sha-1, and 0390 sha-256, sha3-256 and blake2b-512 (the algorithms that
/// XEP-0414 requires), each only where the family's rules accept the content under that policy.
pub fn standard_keys(info: &VerifiedInfo, policy: &Policy) -> Vec<CapsKey> {
    const STANDARD: [(Family, Algorithm); 4] = [
        (Family::Xep0115, Algorithm::Sha1),
        (Family::Xep0390, Algorithm::Sha256),
        (Family::Xep0390, Algorithm::Sha3_256),
        (Family::Xep0390, Algorithm::Blake2b512),
    ];
    STANDARD
        .into_iter()
        .filter_map(|(family, algorithm)| info.key(family, algorithm, policy))
        .collect()
}

/// The learned tier.
pub struct Store {
    settings: StoreSettings,
    metrics: Arc<Metrics>,
    /// Held from the first success on, so that the lock is never let go of between two attempts.
    directory: Option<StoreDirectory>,
    /// The open database; while there is trouble it is only read.
    disk: Option<Disk>,
    /// Whether the database may be written to.
    writable: bool,
    trouble: Option<Trouble>,
    /// When the last trouble ended, and how long the pause between two attempts had become in it.
    recovered: Option<(Instant, Duration)>,
    /// How often the engine gave up on the present files while they were open.
    gave_up: u32,
    /// The damaged database that was set aside last, as long as it is being read.
    salvage: Option<Salvage>,
    /// How many values were found damaged.
    discarded: u64,
    backlog: Backlog,
    /// Keys to be forgotten as soon as the disk may be written to.
    removals: VecDeque<(CapsKey, Eviction)>,
    /// After how many written rows the database is closed and opened.
    checkpoint_writes: u64,
    /// When the flush began that has not ended.
    flushing_since: Option<Instant>,
    dirty: bool,
    last_flush: Instant,
    /// What the caller last said the time is.
    now: Instant,
    /// The calendar time at which `opened` was.
    opened_date: SystemTime,
    opened: Instant,
}

impl Store {
    /// Opens the store, or makes one. A damaged one is set aside and a fresh one begun; on a disk that is full or fails it
    /// begins in memory.
    ///
    /// `date` is the calendar time at `now`; it only names what is set aside.
    ///
    /// # Errors
    /// A [`StoreRefusal`] where only an operator can help; nothing was touched then.
    pub fn open(
        settings: StoreSettings,
        metrics: Arc<Metrics>,
        now: Instant,
        date: SystemTime,
    ) -> Result<Store, StoreRefusal> {
        let mut store = Store {
            settings,
            metrics,
            directory: None,
            disk: None,
            writable: false,
            trouble: None,
            recovered: None,
            gave_up: 0,
            salvage: None,
            discarded: 0,
            backlog: Backlog::default(),
            removals: VecDeque::new(),
            checkpoint_writes: CHECKPOINT_WRITES,
            flushing_since: None,
            dirty: false,
            last_flush: now,
            now,
            opened_date: date,
            opened: now,
        };
        match store.open_disk() {
            Ok(()) => {}
            Err(Obstacle::Refusal(refusal)) => return Err(refusal),
            Err(Obstacle::Fault(fault)) => store.fail(StoreOperation::Open, fault),
        }
        store.show();
        Ok(store)
    }

    /// What is stored under a key, verified for it. What is stored but damaged is removed, counted, and absent.
    pub fn get(&mut self, key: &CapsKey) -> Option<Stored> {
        self.end_flush(Duration::ZERO);
        if let Some(stored) = self.get_waiting(key) {
            return Some(stored);
        }
        match self.disk.as_mut()?.find(key) {
            Ok(Found::Entry(names, info)) => self.verified(key, names, info),
            Ok(Found::Damaged) => {
                self.discard(key, LoadResult::Corrupt);
                None
            }
            Ok(Found::Absent) => None,
            Err(fault) if self.writable => {
                self.fail(StoreOperation::Read, fault);
                // What was written but not confirmed waits again.
                self.get_waiting(key)
            }
            // An engine that has failed can no longer read what it could not write; that says nothing of the files.
            Err(_) => {
                self.metrics.store_errors.get(StoreOperation::Read).inc();
                None
            }
        }
    }

    fn get_waiting(&mut self, key: &CapsKey) -> Option<Stored> {
        let waiting = self.backlog.get(key)?;
        let names = waiting.names.clone();
        let info = DiscoInfo::decode(&waiting.content).ok()?;
        self.verified(key, names, info)
    }

    /// Stores a content, or adds keys and nodes to it where it is stored already. A key that stands for another content
    /// is left to that one: the first that was verified wins.
    pub fn put(&mut self, learned: Learned) {
        let Learned { info, keys, nodes } = learned;
        let policy = &self.settings.policy;
        let mut names = Names::default();
        for key in keys {
            let derived = info.key(key.family(), key.algorithm(), policy);
            if derived == Some(key) || disk::is_verified(&key, info.info().clone(), policy) {
                names.add_key(key);
            }
        }
        for node in &nodes {
            names.add_node(node);
        }
        let content = info.info().encode();
        if names.keys.is_empty() || content.len() > MAX_CONTENT_LEN {
            self.metrics.cache_admission_rejected.inc();
            return;
        }

        self.end_flush(Duration::ZERO);
        self.make_room();
        self.backlog.push(names, content);
        self.dirty = true;
        self.write_some();
        if self.backlog.wants_flush() {
            self.start_flush(false);
        }
    }

    /// Forgets a key, because the trusted tier has it; the content goes with its last key.
    pub fn remove_key(&mut self, key: &CapsKey) {
        self.remove(key, Eviction::LearnedOverridden);
    }

    /// Makes durable what was put, and waits for it, ten seconds at most. Where there is trouble it returns at once.
    pub fn flush(&mut self) {
        self.write_and_flush(FLUSH_PATIENCE, false);
        if self.flushing_since.is_some() && self.writable {
            self.fail(StoreOperation::Flush, Fault::Stalled);
        }
        self.show();
    }

    fn write_and_flush(&mut self, patience: Duration, last: bool) {
        self.end_flush(patience);
        while self.is_usable() && self.flushing_since.is_none() && self.has_unwritten() {
            self.write_some();
        }
        self.start_flush(last);
        self.end_flush(patience);
    }

    /// Does what is due, in bounded steps, and says when it wants to be called again.
    pub fn tick(&mut self, now: Instant) -> Instant {
        self.now = now;
        self.end_flush(Duration::ZERO);
        self.give_up_on_slow_flush();
        self.try_again();
        self.checkpoint_if_due();
        self.write_some();
        self.evict_some();
        self.count_some();
        self.salvage_some();
        self.flush_if_due();
        self.show();
        self.next_tick()
    }

    /// Whether the store is on disk, and if not, why.
    pub fn state(&self) -> StoreState {
        match &self.trouble {
            None => StoreState::Disk,
            Some(trouble) => StoreState::MemoryOnly {
                since: trouble.since,
                cause: trouble.fault.to_string(),
            },
        }
    }

    /// How many contents are stored; after a crash an estimate until they were counted again.
    pub fn entries(&self) -> u64 {
        match &self.disk {
            Some(disk) => disk.totals().entries,
            None => self.backlog.len() as u64,
        }
    }

    /// How many bytes they take, as `max_bytes` counts them; after a crash an estimate until they were counted again.
    pub fn bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.totals().bytes)
    }

    /// Whether it holds more than so many hundredths of the entries or bytes that it may.
    pub fn is_above(&self, percent: u64) -> bool {
        let above =
            |is: u64, bound: u64| u128::from(is) * 100 > u128::from(bound) * u128::from(percent);
        above(self.entries(), self.settings.max_entries)
            || above(self.bytes(), self.settings.max_bytes)
    }

    /// Flushes and closes the store; waits six seconds at most, for a disk that does not answer.
    pub fn close(mut self) {
        self.write_and_flush(CLOSE_PATIENCE, true);
        if self.backlog.len() > 0 {
            tracing::error!(
                store = %self.settings.path.display(),
                entries = self.backlog.len(),
                "the store was closed before the disk had taken the last learned entries; they will be asked for again"
            );
        }
    }

    fn verified(&mut self, key: &CapsKey, names: Names, info: DiscoInfo) -> Option<Stored> {
        let loaded = &self.metrics.cache_loaded;
        match verify_canonical(key, info, &self.settings.policy) {
            Verdict::Verified(info) => {
                loaded.get(LoadResult::Ok).inc();
                let Names { keys, nodes } = names;
                Some(Stored { info, keys, nodes })
            }
            Verdict::Rejected(Reason::Mismatch, _) => {
                self.discard(key, LoadResult::Mismatch);
                None
            }
            // What the rules of today do not allow is not damaged; the rules may change again.
            Verdict::Rejected(..) | Verdict::Quarantined(..) => None,
        }
    }

    /// Removes a value that is not what was stored. What an engine that has failed reads is not judged.
    fn discard(&mut self, key: &CapsKey, found: LoadResult) {
        if !self.writable {
            return;
        }
        self.metrics.cache_loaded.get(found).inc();
        self.discarded += 1;
        // One line for the first, and ever fewer for the many.
        if self.discarded.is_power_of_two() {
            tracing::warn!(
                store = %self.settings.path.display(),
                %key,
                damaged = self.discarded,
                "a stored value was damaged: it was removed and not served, and will be learned again. If there are \
                 more, check the disk"
            );
        }
        self.remove(key, Eviction::LearnedDamaged);
    }

    /// Makes room for one more entry that waits for the disk: by waiting for it, or else by forgetting the oldest.
    fn make_room(&mut self) {
        if self.backlog.is_full() && self.is_usable() {
            self.flush();
        }
        while self.backlog.is_full() {
            self.backlog.forget_oldest();
            self.metrics.cache_admission_rejected.inc();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.take() {
            if self.flushing_since.is_some() {
                // Closing would wait for the disk that does not answer.
                std::mem::forget(disk);
            } else {
                disk.close();
            }
        }
        if let Some(salvage) = self.salvage.take() {
            salvage.close();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.settings.path)
            .field("state", &self.state())
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

//! The learned tier: what capsd verified itself, on disk.
//!
//! | room | what lives there |
//! |---|---|
//! | [`directory`] | the directory, its format file and lock, damaged stores that were set aside |
//! | `refusal` | what only an operator can change: [`StoreRefusal`] |
//! | `engine` | guarded calls to sled, faults, the flush thread |
//! | `disk`, `uses`, `counters`, `marks` | the trees, the order of writes, the order of use, eviction |
//! | `record`, `packing` | the bytes of one value |
//! | `confirmed` | the note of how far the last flush reached |
//! | `salvage` | taking over what is legible from a damaged store |
//! | `backlog` | what is not confirmed on disk yet |
//! | `upkeep` | writing, flushing, evicting |
//! | `compaction` | giving disk space back |
//! | `migration` | values of older formats |
//! | `opening` | waiting with patience until the engine has opened its files |
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
//! | disk full, I/O error, a disk that does not answer | memory only; what the engine can still read is read (mostly nine entries of ten, but none if it was about to split the first page); tried again after 1 s, then at growing intervals of at most a minute; nothing is lost |
//! | the engine does not end opening its files | memory only; after five minutes, on a disk that answers, as below |
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
mod common;
mod compaction;
mod confirmed;
mod counters;
pub mod directory;
mod disk;
mod engine;
mod forgetting;
mod marks;
mod migration;
mod opening;
mod packing;
mod record;
mod recovery;
mod refusal;
mod salvage;
mod settings;
mod upkeep;
mod uses;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use record::{MAX_CONTENT_LEN, MAX_KEYS, MAX_NODES, may_be_kept};
pub use recovery::CHECKPOINT_WRITES;
pub use refusal::StoreRefusal;
pub use settings::StoreSettings;

use crate::caps::verify::verify_canonical;
use crate::caps::{Algorithm, CapsKey, DiscoInfo, Family, Policy, Reason, Verdict, VerifiedInfo};
use crate::metrics::{Eviction, LoadResult, Metrics, StoreOperation};

use backlog::Backlog;
use compaction::{Compaction, Measured};
use directory::StoreDirectory;
use disk::{Disk, Found};
use engine::{FLUSH_PATIENCE, Fault};
use migration::Migration;
use opening::Opening;
use record::{ID_LEN, Names};
use recovery::Trouble;
use refusal::Obstacle;
use salvage::Salvage;

/// How long the last flush may take when the store is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

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
    /// As [`PagedEntry::seen_nodes`].
    pub seen_nodes: Option<usize>,
}

/// One entry as [`Store::page`] gives it.
#[derive(Clone, Debug)]
pub struct PagedEntry {
    /// The content, with those of its keys that it was found to have; at least one.
    pub info: VerifiedInfo,
    /// The keys, each verified.
    pub keys: Vec<CapsKey>,
    /// Node URLs that were announced with it; the first [`seen_nodes`](PagedEntry::seen_nodes) of them by several accounts.
    pub nodes: Vec<String>,
    /// `None` where no key is known to be announced by several accounts, or imported; else how many of the nodes are.
    pub seen_nodes: Option<usize>,
}

/// Where [`Store::page`] goes on: opaque, valid as long as the store is, whatever is put or removed meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagePlace([u8; ID_LEN]);

impl std::fmt::Display for PagePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::str::FromStr for PagePlace {
    type Err = std::num::ParseIntError;

    /// The place that was written with `Display`.
    fn from_str(text: &str) -> Result<PagePlace, std::num::ParseIntError> {
        u128::from_str_radix(text, 16).map(|place| PagePlace(place.to_be_bytes()))
    }
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

/// The content in one value of the store, as it lies on disk under that id; `None` for whatever the store did not write so. Of the
/// content nothing is proven.
pub fn content_of_value(id: &[u8], value: &[u8]) -> Option<DiscoInfo> {
    let record = record::Record::decode(&record::ContentId::from_bytes(id)?, value)?;
    DiscoInfo::decode(&record.content).ok()
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
    /// The files that are being opened, if that takes longer than it should.
    opening: Option<Opening>,
    /// When the last trouble ended, and how long the pause between two attempts had become in it.
    recovered: Option<(Instant, Duration)>,
    /// How often the engine gave up on the present files while they were open.
    gave_up: u32,
    /// The damaged database that was set aside last, as long as it is being read.
    salvage: Option<Salvage>,
    /// How many values were found damaged.
    discarded: u64,
    backlog: Backlog,
    /// Keys that became common, which is not written yet, each with the node URL that did, as the node to ask for.
    common: VecDeque<Box<str>>,
    /// Keys to be forgotten as soon as the disk may be written to.
    removals: VecDeque<(CapsKey, Eviction)>,
    /// The rewriting of values of older formats that is under way.
    migration: Option<Migration>,
    /// The compaction that is under way.
    compaction: Option<Compaction>,
    measured: Measured,
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
            opening: None,
            recovered: None,
            gave_up: 0,
            salvage: None,
            discarded: 0,
            backlog: Backlog::default(),
            common: VecDeque::new(),
            removals: VecDeque::new(),
            migration: None,
            compaction: None,
            measured: Measured::new(now),
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

    /// Takes other intervals and bounds; the path, the engine's cache and the rules stay what they were. Something may be due at once then:
    /// [`Store::tick`] tells.
    pub fn change(&mut self, settings: StoreSettings) {
        let current = &mut self.settings;
        current.flush_interval = settings.flush_interval;
        current.max_entries = settings.max_entries;
        current.max_bytes = settings.max_bytes;
        current.max_waste = settings.max_waste;
        self.show();
    }

    /// How it is set up at present.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
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
        self.take_in(learned, false);
    }

    /// As [`Store::put`], and notes the fact that several accounts announced a key of it, with these nodes; what is
    /// imported counts as that too. The fact stays with the content; what it rests on is not kept.
    pub fn put_seen(&mut self, learned: Learned) {
        self.take_in(learned, true);
    }

    fn take_in(&mut self, learned: Learned, seen: bool) {
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
        if seen {
            names.mark_seen(&nodes);
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
        self.show_unconfirmed();
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
        self.finish_held(patience);
        self.write_all_common();
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
        self.migrate_some();
        self.compact_some();
        self.write_some_common();
        self.flush_if_due();
        self.show();
        self.next_tick()
    }

    /// At most so many entries from that place on, and where to go on; the places begin with the default one.
    ///
    /// What is damaged, or does not meet the rules of today, is left out. What waits for the disk is not looked at:
    /// [`Store::flush`] comes first where it matters.
    ///
    /// # Errors
    /// Words for an operator where the store is in memory only, or cannot be read.
    pub fn page(
        &mut self,
        from: PagePlace,
        most: usize,
    ) -> Result<(Vec<PagedEntry>, Option<PagePlace>), String> {
        if let StoreState::MemoryOnly { cause, .. } = self.state() {
            return Err(cause);
        }
        let Some(disk) = self.disk.as_mut() else {
            return Err("the store is not open".to_owned());
        };
        let legible = match disk.entries_from(&from.0, most) {
            Ok(legible) => legible,
            Err(fault) => {
                let text = fault.to_string();
                self.fail(StoreOperation::Read, fault);
                return Err(text);
            }
        };
        let policy = &self.settings.policy;
        let entries = legible.entries.into_iter();
        let entries = entries.filter_map(|(names, info)| paged(names, &info, policy));
        Ok((entries.collect(), legible.next.map(PagePlace)))
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
        self.drop_compaction();
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
                let Names { keys, nodes, seen } = names;
                Some(Stored {
                    info,
                    keys,
                    nodes,
                    seen_nodes: seen.map(usize::from),
                })
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

/// An entry with those of its keys that it has.
fn paged(names: Names, info: &DiscoInfo, policy: &Policy) -> Option<PagedEntry> {
    let mut proven = None;
    let mut keys = Vec::new();
    for key in &names.keys {
        if let Verdict::Verified(info) = verify_canonical(key, info.clone(), policy) {
            keys.push(*key);
            proven = Some(info);
        }
    }
    Some(PagedEntry {
        info: proven?,
        keys,
        seen_nodes: names.seen.map(usize::from),
        nodes: names.nodes,
    })
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
        if let Some(compaction) = self.compaction.take() {
            compaction.close();
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

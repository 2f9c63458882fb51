//! Giving disk space back: what is stored is written anew, and the old files are removed.
//!
//! sled reuses what becomes free in its file, but the file does not shrink. When more of it lies idle than the settings allow,
//! every entry is copied into a second database, in the order of use, a few at a time beside the service; reads and writes go
//! on in the first. What is written meanwhile gets the newest places and so is copied as well; what is removed is removed from
//! both. At the end of the order writes wait in memory until a flush of the second has ended; then it takes the place of the
//! first. What no flush of the first had confirmed is written again, as at every opening.
//!
//! Killed at any moment, the process finds the first database or the second one whole.

use std::time::{Duration, Instant};

use crate::caps::CapsKey;
use crate::metrics::StoreOperation;

use super::Store;
use super::disk::{Disk, DiskSettings, OpenFault};
use super::engine::{FLUSH_PATIENCE, Fault};
use super::record::ContentId;

/// How many entries are copied in one step.
const STEP: usize = 32;

/// How often the files are measured, and how long a compaction that failed is not tried again.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The page cache of the second database, in bytes: it is hardly read.
const CACHE_BYTES: u64 = 2 << 20;

/// How many times as many bytes as were given to it the engine's files take when nothing in them is idle.
const FILES_PER_BYTE: u64 = 2;

/// What is known about the engine's files.
#[derive(Debug)]
pub(super) struct Measured {
    /// When they are measured again.
    next: Instant,
    /// What they took last.
    pub(super) bytes: u64,
    /// What they, and the entries in them, took after the last compaction.
    settled: Option<(u64, u64)>,
}

impl Measured {
    pub(super) fn new(now: Instant) -> Measured {
        Measured {
            next: now,
            bytes: 0,
            settled: None,
        }
    }

    /// How many bytes of the files lie idle, with entries of so many bytes in them.
    fn waste(&self, entries: u64) -> u64 {
        let mut needed = entries.saturating_mul(FILES_PER_BYTE);
        // Where even fresh files take more than that, writing them anew once more gives nothing back.
        if let Some((files, settled)) = self.settled.filter(|(_, settled)| *settled > 0) {
            let scaled = u128::from(files) * u128::from(entries) / u128::from(settled);
            needed = needed.max(u64::try_from(scaled).unwrap_or(u64::MAX));
        }
        self.bytes.saturating_sub(needed)
    }
}

/// What the second database waits for. As long as it waits for a flush, nothing is written to either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing: entries are copied.
    Copying,
    /// A flush after which it is opened anew, so that the last opening is short.
    Checkpoint(Instant),
    /// The last flush, after which it takes the place of the first.
    Last(Instant),
}

/// A compaction under way.
pub(super) struct Compaction {
    /// The second database.
    disk: Disk,
    /// The places of the first below this one were copied.
    reached: u64,
    stage: Stage,
    began: Instant,
    /// What the files took when it began.
    before: u64,
}

impl Compaction {
    /// Removes a key from what was copied.
    fn remove_key(&mut self, key: &CapsKey) -> Result<(), Fault> {
        self.disk.remove_key(key).map(drop)
    }

    pub(super) fn close(self) {
        if self.stage == Stage::Copying || self.disk.flush_ended(Duration::ZERO).is_some() {
            self.disk.close();
        } else {
            // Closing would wait for the disk that does not answer.
            std::mem::forget(self.disk);
        }
    }
}

impl Store {
    /// Whether writing waits for a flush of the second database: what is removed meanwhile would have to be removed from both,
    /// and nothing is written beside a flush.
    pub(super) fn is_held(&self) -> bool {
        let compaction = self.compaction.as_ref();
        compaction.is_some_and(|compaction| compaction.stage != Stage::Copying)
    }

    /// Goes one step on with the compaction, or begins one if the waste passes the setting.
    pub(super) fn compact_some(&mut self) {
        match self.compaction.as_ref().map(|compaction| compaction.stage) {
            None => self.compact_if_due(),
            Some(Stage::Copying) => self.copy_some(),
            Some(_) => self.end_compaction_flush(Duration::ZERO),
        }
    }

    /// Waits for the flush of a compaction that holds up writing; gives it up if that takes longer.
    pub(super) fn finish_held(&mut self, patience: Duration) {
        if !self.is_held() {
            return;
        }
        self.end_flush(patience);
        self.end_compaction_flush(patience);
        if self.is_held() {
            self.give_up_compaction("the disk does not take what is written");
        }
    }

    fn compact_if_due(&mut self) {
        if self.now < self.measured.next || !self.is_usable() || self.salvage.is_some() {
            return;
        }
        self.measured.next = self.now + MEASURE_EVERY;
        let (Some(directory), Some(disk)) = (&self.directory, &self.disk) else {
            return;
        };
        // Where they cannot be measured the next flush finds out why.
        let Ok(bytes) = directory.engine_bytes() else {
            return;
        };
        self.measured.bytes = bytes;
        let counted = !disk.is_counting();
        if counted && self.measured.waste(disk.totals().bytes) > self.settings.max_waste {
            self.begin_compaction();
        }
    }

    fn begin_compaction(&mut self) {
        let before = self.measured.bytes;
        match self.open_anew() {
            Some(Ok(disk)) => {
                tracing::info!(
                    store = %self.settings.path.display(),
                    file_bytes = before,
                    entry_bytes = self.bytes(),
                    "more of the store's files lies idle than store.max-waste: what is stored is written anew beside the service"
                );
                self.compaction = Some(Compaction {
                    disk,
                    reached: 0,
                    stage: Stage::Copying,
                    began: self.now,
                    before,
                });
            }
            Some(Err(cause)) => self.give_up_compaction(&cause),
            None => {}
        }
    }

    /// Opens the second database, after what an earlier one may have left was removed.
    fn open_anew(&self) -> Option<Result<Disk, String>> {
        let directory = self.directory.as_ref()?;
        if let Err(error) = directory.remove_anew() {
            return Some(Err(error.to_string()));
        }
        Some(self.open_second().map_err(|fault| fault.to_string()))
    }

    fn open_second(&self) -> Result<Disk, Fault> {
        let Some(directory) = self.directory.as_ref() else {
            return Err(Fault::Locked);
        };
        let settings = DiskSettings {
            cache_bytes: CACHE_BYTES,
            policy: &self.settings.policy,
        };
        let opened = super::opening::open_patiently(&directory.engine_anew(), settings);
        opened.map_err(|fault| match fault {
            OpenFault::Fault(fault) => fault,
            OpenFault::Newer(found) => Fault::Damage {
                text: format!("it has format {found}"),
            },
        })
    }

    fn copy_some(&mut self) {
        let (Some(compaction), Some(disk)) = (&mut self.compaction, &self.disk) else {
            return;
        };
        if !self.writable {
            return;
        }
        let found = match disk.in_order(compaction.reached, STEP) {
            Ok(found) => found,
            Err(fault) => return self.fail(StoreOperation::Read, fault),
        };
        let at_end = found.rows < STEP;
        compaction.reached = found.next;
        let mut copied = Ok(());
        for (id, record) in found.entries {
            copied = copied.and_then(|()| compaction.disk.take_over(&id, record));
        }
        let due = compaction.disk.writes() >= self.settings.checkpoint_writes;
        if copied.is_ok() && (at_end || due) {
            copied = compaction.disk.start_flush(true);
            compaction.stage = match at_end {
                true => Stage::Last(self.now),
                false => Stage::Checkpoint(self.now),
            };
        }
        if let Err(fault) = copied {
            self.give_up_compaction(&fault.to_string());
        }
    }

    fn end_compaction_flush(&mut self, patience: Duration) {
        let Some(compaction) = &mut self.compaction else {
            return;
        };
        let (Stage::Checkpoint(since) | Stage::Last(since)) = compaction.stage else {
            return;
        };
        let last = compaction.stage == Stage::Last(since);
        // The first database must not be closed under its own flush.
        if last && self.flushing_since.is_some() {
            return;
        }
        match compaction.disk.flush_ended(patience) {
            Some(Ok(())) if last => self.switch(),
            Some(Ok(())) => self.checkpoint_second(),
            Some(Err(fault)) => {
                compaction.stage = Stage::Copying;
                self.give_up_compaction(&fault.to_string());
            }
            None if self.now.saturating_duration_since(since) > FLUSH_PATIENCE => {
                self.give_up_compaction(&Fault::Stalled.to_string());
            }
            None => {}
        }
    }

    /// Closes and opens the second database.
    fn checkpoint_second(&mut self) {
        let Some(mut compaction) = self.compaction.take() else {
            return;
        };
        compaction.disk.close();
        match self.open_second() {
            Ok(disk) if disk.is_shortened() => {
                disk.close();
                self.give_up_compaction("entries are missing that the disk had confirmed");
            }
            Ok(disk) => {
                compaction.disk = disk;
                compaction.stage = Stage::Copying;
                self.compaction = Some(compaction);
            }
            Err(fault) => self.give_up_compaction(&fault.to_string()),
        }
    }

    /// Puts the second database, all of which is on the disk, in the place of the first.
    fn switch(&mut self) {
        let (Some(compaction), Some(disk)) = (self.compaction.take(), self.disk.take()) else {
            return;
        };
        compaction.disk.close();
        // What no flush has confirmed is written again: most of it is found to be there.
        self.backlog.rewind();
        self.dirty = true;
        let marks = disk.close_for_good();
        let replaced = match &self.directory {
            Some(directory) => directory.replace_engine(),
            None => Ok(()),
        };
        if let Err(error) = replaced {
            return self.fail(StoreOperation::Write, Fault::from_io(&error));
        }
        self.open_again();
        if let Some(disk) = &mut self.disk {
            disk.go_on_with(marks);
        }
        self.metrics.store_compactions.inc();
        let files = self
            .directory
            .as_ref()
            .map(|directory| directory.engine_bytes());
        if let Some(Ok(bytes)) = files {
            self.measured.bytes = bytes;
            self.measured.settled = Some((bytes, self.bytes()));
        }
        let took = self.now.saturating_duration_since(compaction.began);
        tracing::info!(
            store = %self.settings.path.display(),
            before = compaction.before,
            after = self.measured.bytes,
            seconds = took.as_secs(),
            "what is stored was written anew: the bytes that lay idle are given back"
        );
    }

    /// Gives up a compaction, or one that could not begin, and says so; it is begun again later.
    pub(super) fn give_up_compaction(&mut self, cause: &str) {
        self.drop_compaction();
        self.measured.next = self.now + AGAIN_AFTER;
        tracing::warn!(
            store = %self.settings.path.display(),
            cause,
            "what is stored could not be written anew, so the files keep what lies idle in them; nothing is lost, and it is \
             tried again in {} minutes. It needs as much free space as the entries take, about twice",
            AGAIN_AFTER.as_secs() / 60
        );
    }

    /// Forgets the compaction that is under way, if one is.
    pub(super) fn drop_compaction(&mut self) {
        let Some(compaction) = self.compaction.take() else {
            return;
        };
        self.measured.next = self.now + AGAIN_AFTER;
        compaction.close();
        if let Some(directory) = &self.directory
            && let Err(error) = directory.remove_anew()
        {
            tracing::warn!(store = %self.settings.path.display(), %error, "db.new could not be removed; the next start does it");
        }
    }

    /// Removes from what was copied a key that was removed.
    pub(super) fn remove_copied_key(&mut self, key: &CapsKey) {
        self.with_copy(|compaction| compaction.remove_key(key));
    }

    /// Removes from what was copied an entry that was evicted.
    pub(super) fn forget_copied(&mut self, id: &ContentId) {
        self.with_copy(|compaction| compaction.disk.forget(id));
    }

    fn with_copy(&mut self, work: impl FnOnce(&mut Compaction) -> Result<(), Fault>) {
        if let Some(Err(fault)) = self.compaction.as_mut().map(work) {
            self.give_up_compaction(&fault.to_string());
        }
    }
}

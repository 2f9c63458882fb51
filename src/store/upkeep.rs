//! What the store does beside answering: writing, flushing, evicting, and coming back after a fault.

use std::time::Duration;

use crate::caps::CapsKey;
use crate::metrics::{Eviction, StoreOperation, Tier};

use super::directory::{LOCK_ATTEMPTS, LOCK_PAUSE, Obstacle, StoreDirectory};
use super::disk::{Disk, DiskSettings, Evicted, OpenFault};
use super::engine::{FLUSH_PATIENCE, Fault};
use super::salvage::Salvage;
use super::{Store, StoreRefusal};

/// The shortest pause between two attempts to use a failing disk again; it doubles from one to the next.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
const RETRY_MOST: Duration = Duration::from_secs(60);

/// How long the store must have worked for the pauses to begin with the shortest again.
const STEADY: Duration = Duration::from_secs(600);

/// How many entries are written, evicted or removed in one step at most.
const STEP: usize = 64;

/// How many used entries are spared at most before one is evicted all the same.
const SPARED_IN_A_ROW: usize = 128;

/// How soon a running flush is looked after again.
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// How soon a step is followed by the next.
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// Removals that wait for a flush to end; any more are dropped, and made again when the value is read again.
const MAX_REMOVALS: usize = 1024;

/// From how many times that the engine gives up on the same files on they are set aside without trying them again.
const GIVEN_UP: u32 = 2;

/// What keeps the store from the disk.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) since: std::time::Instant,
    pub(super) fault: Fault,
    retry_at: std::time::Instant,
    pause: Duration,
}

impl Store {
    /// Opens the database: claims the directory, sets aside what is damaged, begins a fresh one where there is none.
    pub(super) fn open_disk(&mut self) -> Result<(), Obstacle> {
        let path = self.settings.path.clone();
        let mut directory = match self.directory.take() {
            Some(directory) => directory,
            None => StoreDirectory::claim(&path)?,
        };
        let opened = self.open_engine(&mut directory);
        self.directory = Some(directory);
        self.disk = Some(opened?);
        self.writable = true;
        Ok(())
    }

    fn open_engine(&mut self, directory: &mut StoreDirectory) -> Result<Disk, Obstacle> {
        let path = self.settings.path.clone();
        if directory.lost_its_format() {
            tracing::warn!(
                store = %path.display(),
                "the format file of the store is lost or not legible; its database says itself which format it has, \
                 and the file is written again"
            );
        }
        directory
            .remove_unfinished()
            .map_err(|error| Obstacle::at(&path, &error))?;
        let disk = match self.open_files(directory) {
            Err(OpenFault::Fault(fault)) if fault.is_damage() => {
                self.metrics.store_errors.get(StoreOperation::Open).inc();
                self.set_aside(directory, &fault.to_string())?;
                self.open_files(directory)
            }
            Ok(disk) if disk.is_shortened() => {
                self.metrics.store_errors.get(StoreOperation::Open).inc();
                let cause = "entries are missing that the disk had confirmed";
                self.begin_anew(directory, disk, cause)?
            }
            Ok(disk) if self.gave_up >= GIVEN_UP => {
                let cause = "the storage engine gave up on it again";
                self.begin_anew(directory, disk, cause)?
            }
            opened => opened,
        };
        let disk = disk.map_err(|fault| match fault {
            OpenFault::Newer(found) => Obstacle::newer(&path, found),
            OpenFault::Fault(fault) => Obstacle::of_engine(&path, fault),
        })?;
        directory
            .write_format()
            .map_err(|error| Obstacle::at(&path, &error))?;
        Ok(disk)
    }

    fn open_files(&self, directory: &StoreDirectory) -> Result<Disk, OpenFault> {
        let settings = DiskSettings {
            cache_bytes: self.settings.cache_bytes,
            max_entries: self.settings.max_entries,
            policy: &self.settings.policy,
        };
        // Nobody else can have it, for the lock of the directory is held. But the engine lets go of its files a moment after
        // it was closed, when the last of its threads is done.
        for _ in 0..LOCK_ATTEMPTS {
            match Disk::open(&directory.engine(), settings) {
                Err(OpenFault::Fault(Fault::Locked)) => std::thread::sleep(LOCK_PAUSE),
                opened => return opened,
            }
        }
        Disk::open(&directory.engine(), settings)
    }

    /// Sets aside a database that opens but is not sound, and opens a fresh one that takes over what is legible.
    fn begin_anew(
        &mut self,
        directory: &StoreDirectory,
        damaged: Disk,
        cause: &str,
    ) -> Result<Result<Disk, OpenFault>, Obstacle> {
        self.set_aside(directory, cause)?;
        if let Some(salvage) = self.salvage.replace(Salvage::of(damaged)) {
            salvage.close();
        }
        Ok(self.open_files(directory))
    }

    fn set_aside(&mut self, directory: &StoreDirectory, cause: &str) -> Result<(), Obstacle> {
        let date = self.opened_date + self.now.saturating_duration_since(self.opened);
        let (aside, removed) = directory
            .set_aside(date)
            .map_err(|error| Obstacle::Fault(Fault::from_io(&error)))?;
        self.gave_up = 0;
        self.metrics.store_set_aside.inc();
        tracing::error!(
            store = %self.settings.path.display(),
            cause,
            aside = %aside.display(),
            "the store was damaged: it is kept under another name and a fresh one was begun; what is still legible of \
             it is taken over, the rest will be learned again. Check the disk, and remove the damaged one when nobody \
             wants to look at it"
        );
        for path in removed {
            tracing::warn!(removed = %path.display(), "removed the oldest of the damaged stores");
        }
        Ok(())
    }

    /// Whether the database is open and has not failed.
    pub(super) fn is_usable(&self) -> bool {
        self.disk.is_some() && self.writable
    }

    /// Takes note of a fault: from now on memory only, and another attempt later.
    pub(super) fn fail(&mut self, operation: StoreOperation, fault: Fault) {
        self.metrics.store_errors.get(operation).inc();
        self.writable = false;
        self.dirty = true;
        self.backlog.rewind();
        if fault.is_damage() {
            self.gave_up += 1;
            self.flushing_since = None;
            if let Some(disk) = self.disk.take() {
                disk.close();
            }
        }
        let relapse = self
            .recovered
            .filter(|(end, _)| self.now.saturating_duration_since(*end) < STEADY);
        let (known, since, pause) = match (self.trouble.take(), relapse) {
            (Some(trouble), _) => (
                trouble.fault.is_like(&fault),
                trouble.since,
                trouble.pause * 2,
            ),
            (None, Some((_, pause))) => (false, self.now, pause * 2),
            // Damage gets better by opening anew, or never.
            (None, None) if fault.is_damage() => (false, self.now, Duration::ZERO),
            (None, None) => (false, self.now, RETRY_FIRST),
        };
        let pause = pause.min(RETRY_MOST);
        if known {
            tracing::debug!(cause = %fault, "the store still fails");
        } else {
            tracing::error!(
                store = %self.settings.path.display(),
                cause = %fault,
                "the store failed: capsd goes on with what it can read and keeps in memory what it learns, and tries \
                 again by itself, at least every minute. {}",
                fault.remedy()
            );
        }
        self.trouble = Some(Trouble {
            since,
            retry_at: self.now + pause,
            pause: pause.max(RETRY_FIRST),
            fault,
        });
    }

    /// Opens the database anew, if it is time and the disk takes anything at all.
    pub(super) fn try_again(&mut self) {
        let due = self
            .trouble
            .as_ref()
            .is_some_and(|t| self.now >= t.retry_at);
        if !due || self.writable {
            return;
        }
        if self.flushing_since.is_some() {
            // The engine that hangs still holds the files.
            self.fail(StoreOperation::Flush, Fault::Stalled);
            return;
        }
        if let Some(directory) = &self.directory
            && let Err(error) = directory.probe()
        {
            let fault = Fault::from_io(&error);
            if !fault.is_damage() {
                self.fail(StoreOperation::Write, fault);
                return;
            }
            // The directory itself is gone: it is made again, lock and all.
            self.directory = None;
        }
        if let Some(disk) = self.disk.take() {
            disk.close();
        }
        match self.open_disk() {
            Ok(()) => {}
            Err(Obstacle::Refusal(StoreRefusal::InUse { .. })) => {
                self.fail(StoreOperation::Open, Fault::Locked);
            }
            Err(Obstacle::Refusal(refusal)) => {
                let text = refusal.to_string();
                self.fail(StoreOperation::Open, Fault::Refused { text });
            }
            Err(Obstacle::Fault(fault)) => self.fail(StoreOperation::Open, fault),
        }
    }

    /// Says that the disk has taken all that was under flush.
    fn confirm(&mut self) {
        self.backlog.flush_confirmed();
        if let Some(trouble) = self.trouble.take() {
            self.recovered = Some((self.now, trouble.pause));
            let lasted = self.now.saturating_duration_since(trouble.since);
            tracing::info!(
                store = %self.settings.path.display(),
                seconds = lasted.as_secs(),
                "the store works again; what was learned meanwhile is being written"
            );
        }
    }

    /// Begins a flush of what is written, unless one is running.
    pub(super) fn start_flush(&mut self, last: bool) {
        let writable = self.writable && self.flushing_since.is_none();
        let Some(disk) = self.disk.as_mut().filter(|_| writable) else {
            return;
        };
        let clean = last && self.backlog.unwritten().is_none();
        match disk.start_flush(clean) {
            Ok(()) => {
                self.backlog.flush_began();
                self.flushing_since = Some(self.now);
                self.last_flush = self.now;
                self.dirty = false;
            }
            Err(fault) => self.fail(StoreOperation::Write, fault),
        }
    }

    /// Sees to the end of the flush that is running; waits for it at most for `patience`.
    pub(super) fn end_flush(&mut self, patience: Duration) {
        if self.flushing_since.is_none() {
            return;
        }
        let ended = self.disk.as_ref().and_then(|d| d.flush_ended(patience));
        let Some(result) = ended else {
            return;
        };
        self.flushing_since = None;
        match result {
            // After a fault nothing of it is relied on, however it ends.
            Ok(()) if self.writable => self.confirm(),
            Ok(()) => {}
            Err(fault) => self.fail(StoreOperation::Flush, fault),
        }
    }

    /// Takes a flush that has not ended for long for a fault.
    pub(super) fn give_up_on_slow_flush(&mut self) {
        let slow = self
            .flushing_since
            .is_some_and(|began| self.now.saturating_duration_since(began) > FLUSH_PATIENCE);
        if slow && self.writable {
            self.fail(StoreOperation::Flush, Fault::Stalled);
        }
    }

    /// Forgets a key, now or when the flush that is running has ended.
    pub(super) fn remove(&mut self, key: &CapsKey, reason: Eviction) {
        self.backlog.remove_key(key);
        if self.removals.len() < MAX_REMOVALS {
            self.removals.push_back((*key, reason));
        }
        self.write_some();
    }

    /// Whether something waits to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.removals.is_empty() || self.backlog.unwritten().is_some()
    }

    /// Writes one step of what waits. Nothing is written while a flush is running: sled is only ever used by one thread
    /// at a time, except for reads beside a flush.
    pub(super) fn write_some(&mut self) {
        for _ in 0..STEP {
            if !self.writable || self.flushing_since.is_some() {
                return;
            }
            let Some(disk) = self.disk.as_mut() else {
                return;
            };
            let written = if let Some((key, reason)) = self.removals.front().copied() {
                disk.remove_key(&key).map(|removed| {
                    if removed {
                        self.metrics.cache_evictions.get(reason).inc();
                    }
                    self.removals.pop_front();
                })
            } else if let Some(waiting) = self.backlog.unwritten() {
                disk.write(&waiting.names, &waiting.content)
                    .map(|()| self.backlog.wrote_one())
            } else {
                return;
            };
            match written {
                Ok(()) => self.dirty = true,
                Err(fault) => return self.fail(StoreOperation::Write, fault),
            }
            self.evict_some();
        }
    }

    /// Evicts while there is too much, in one bounded step.
    pub(super) fn evict_some(&mut self) {
        for spared in 0..SPARED_IN_A_ROW + STEP {
            if !self.is_over() || !self.writable || self.flushing_since.is_some() {
                return;
            }
            let Some(disk) = self.disk.as_mut() else {
                return;
            };
            match disk.evict(spared < SPARED_IN_A_ROW) {
                Ok(Evicted::Nothing) => return,
                Ok(Evicted::Moved) => self.dirty = true,
                Ok(Evicted::Entry) => {
                    self.dirty = true;
                    self.metrics
                        .cache_evictions
                        .get(Eviction::LearnedSize)
                        .inc();
                }
                Err(fault) => return self.fail(StoreOperation::Write, fault),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| {
            let totals = disk.totals();
            totals.entries > self.settings.max_entries || totals.bytes > self.settings.max_bytes
        })
    }

    /// Counts one step, where a crash left the counters unsure.
    pub(super) fn count_some(&mut self) {
        let counted = match self.disk.as_mut().filter(|disk| disk.is_counting()) {
            Some(disk) if self.writable => disk.count_on(),
            _ => return,
        };
        if let Err(fault) = counted {
            self.fail(StoreOperation::Read, fault);
        }
    }

    /// Takes over one step of what is legible of a store that was set aside.
    pub(super) fn salvage_some(&mut self) {
        if !self.is_usable() || self.flushing_since.is_some() || self.backlog.wants_flush() {
            return;
        }
        let Some(salvage) = &mut self.salvage else {
            return;
        };
        if let Some(entries) = salvage.next(&self.settings.policy) {
            for (names, info) in entries {
                self.backlog.push(names, info.encode());
            }
            self.write_some();
        } else if let Some(salvage) = self.salvage.take() {
            tracing::info!(
                store = %self.settings.path.display(),
                entries = salvage.taken(),
                "took over what was legible of the damaged store"
            );
            salvage.close();
        }
    }

    /// Flushes if it is time to.
    pub(super) fn flush_if_due(&mut self) {
        if self.dirty && self.now >= self.last_flush + self.settings.flush_interval {
            self.start_flush(false);
        }
    }

    /// When there will be something to do.
    pub(super) fn next_tick(&self) -> std::time::Instant {
        let counting = self.disk.as_ref().is_some_and(Disk::is_counting);
        let busy = counting || self.salvage.is_some() || self.has_unwritten() || self.is_over();
        let flush_due = self.last_flush + self.settings.flush_interval;
        match &self.trouble {
            Some(trouble) if !self.writable => trouble.retry_at.max(self.now + STEP_PAUSE),
            _ if self.flushing_since.is_some() => self.now + FLUSH_POLL,
            _ if busy => self.now + STEP_PAUSE,
            _ if self.dirty => flush_due.max(self.now + STEP_PAUSE),
            _ => self.now + self.settings.flush_interval,
        }
    }

    /// Brings the gauges up to date.
    pub(super) fn show(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        metrics.store_state.set(self.trouble.is_none().into());
        metrics
            .cache_entries
            .get(Tier::Learned)
            .set(gauge(self.entries()));
        metrics
            .cache_bytes
            .get(Tier::Learned)
            .set(gauge(self.bytes()));
        metrics
            .cache_limit_bytes
            .get(Tier::Learned)
            .set(gauge(self.settings.max_bytes));
    }
}

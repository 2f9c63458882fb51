//! Opening the store, noting that it failed, and coming back.

use std::time::{Duration, Instant};

use crate::metrics::StoreOperation;

use super::directory::StoreDirectory;
use super::disk::{Disk, DiskSettings, OpenFault};
use super::engine::Fault;
use super::opening::{OPEN_MOST, open_within_patience};
use super::refusal::Obstacle;
use super::salvage::Salvage;
use super::{Store, StoreRefusal};

/// The shortest pause between two attempts to use a failing disk again; it doubles from one to the next.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest pause between two attempts.
pub(super) const RETRY_MOST: Duration = Duration::from_secs(60);

/// How long the store must have worked for the pauses to begin with the shortest again.
const STEADY: Duration = Duration::from_secs(600);

/// After how many rows that were written the database is closed and opened, as soon as there is nothing to write: about
/// 35,000 new entries; and after how many times as much it is whatever there is to do.
pub const CHECKPOINT_WRITES: u64 = 200_000;
pub(super) const CHECKPOINT_PATIENCE: u64 = 2;

/// From how many times that the engine gives up on the same files on they are set aside without trying them again.
const GIVEN_UP: u32 = 2;

/// What keeps the store from the disk.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Since when.
    pub(super) since: Instant,
    /// The last fault.
    pub(super) fault: Fault,
    /// When it is tried again.
    pub(super) retry_at: Instant,
    /// The pause before that attempt.
    pause: Duration,
}

impl Store {
    /// Opens the database: claims the directory, sets aside what is damaged, begins a fresh one where there is none.
    pub(super) fn open_disk(&mut self) -> Result<(), Obstacle> {
        let path = self.settings.path.clone();
        let mut directory = match self.directory.take() {
            Some(directory) => directory,
            None => {
                let directory = StoreDirectory::claim(&path)?;
                let settled = directory.settle();
                settled.map_err(|error| Obstacle::at(&path, &error))?;
                directory
            }
        };
        let opened = self.open_engine(&mut directory);
        self.directory = Some(directory);
        self.disk = Some(opened?);
        self.writable = true;
        Ok(())
    }

    fn open_engine(&mut self, directory: &mut StoreDirectory) -> Result<Disk, Obstacle> {
        let path = self.settings.path.clone();
        let lasts = self.opening.as_ref().map(|opening| opening.lasts(self.now));
        match lasts {
            None => self.prepare_to_open(directory)?,
            // The disk answers, or this would not have been tried again.
            Some(lasts) if lasts >= OPEN_MOST => {
                self.opening = None;
                self.metrics.store_errors.get(StoreOperation::Open).inc();
                self.set_aside(directory, &Fault::SlowOpen.to_string())?;
            }
            Some(_) => {}
        }
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
        let written = directory.write_format();
        written.map_err(|error| Obstacle::at(&path, &error))?;
        self.look_for_older_values(&disk);
        Ok(disk)
    }

    /// Does what must be done before the engine's files are opened, and not while they are.
    fn prepare_to_open(&self, directory: &mut StoreDirectory) -> Result<(), Obstacle> {
        let path = &self.settings.path;
        if directory.lost_its_format() {
            tracing::warn!(
                store = %path.display(),
                "the format file of the store is lost or not legible; its database says itself which format it has, \
                 and the file is written again"
            );
        }
        if directory.lost_its_engine() {
            tracing::error!(
                store = %path.display(),
                "the files of the store are gone, although it was in use before: a fresh one is begun, and what was known is learned \
                 again. If they were not removed on purpose, put them back from a backup while capsd is stopped"
            );
        }
        for foreign in directory.foreign() {
            tracing::warn!(
                file = %foreign.display(),
                "this lies among the files of the store but is not capsd's: it is left alone. Keep it elsewhere"
            );
        }
        let removed = directory.remove_unfinished();
        // Before anything is written by which an older version could be misled.
        let raised = removed.and_then(|()| directory.raise_format());
        raised.map_err(|error| Obstacle::at(path, &error))
    }

    fn open_files(&mut self, directory: &StoreDirectory) -> Result<Disk, OpenFault> {
        let settings = DiskSettings {
            cache_bytes: self.settings.cache_bytes,
            policy: &self.settings.policy,
        };
        open_within_patience(&mut self.opening, &directory.engine(), settings, self.now)
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
        // What was copied of it may lack what cannot be read.
        self.drop_compaction();
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

    /// Takes note of a fault: from now on memory only, and another attempt later.
    pub(super) fn fail(&mut self, operation: StoreOperation, fault: Fault) {
        self.metrics.store_errors.get(operation).inc();
        self.drop_compaction();
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
        self.open_again();
    }

    /// Opens the database, which was open before; that only an operator can help is a fault like any other now.
    pub(super) fn open_again(&mut self) {
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

    /// Closes and opens the database when much was written to it. Only at open does sled note where everything is, and all
    /// that was written since it has to read again at the next start. Doing it now and then keeps each start short; it
    /// takes as long as a start does.
    pub(super) fn checkpoint_if_due(&mut self) {
        if !self.is_usable() || self.flushing_since.is_some() || self.is_held() {
            return;
        }
        let idle = !self.dirty && !self.has_unwritten();
        let patience = if idle { 1 } else { CHECKPOINT_PATIENCE };
        let due = |disk: &mut Disk| disk.writes() >= self.settings.checkpoint_writes * patience;
        let Some(disk) = self.disk.take_if(due) else {
            return;
        };
        // What no flush has confirmed is written again: most of it is found to be there.
        self.backlog.rewind();
        self.dirty = true;
        match disk.close_for_now() {
            Ok(marks) => {
                self.open_again();
                if let Some(disk) = &mut self.disk {
                    disk.go_on_with(marks);
                }
            }
            Err(fault) => self.fail(StoreOperation::Write, fault),
        }
    }

    /// Says that the disk has taken all that was under flush.
    pub(super) fn confirm(&mut self) {
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
}

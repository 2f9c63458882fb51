//! What the store does beside answering: writing, flushing, evicting.

use std::time::Duration;

use crate::caps::CapsKey;
use crate::metrics::{Eviction, StoreOperation, Tier};

use super::Store;
use super::disk::Disk;
use super::engine::{FLUSH_PATIENCE, Fault};
use super::uses::Evicted;

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

impl Store {
    /// Whether the database is open and has not failed.
    pub(super) fn is_usable(&self) -> bool {
        self.disk.is_some() && self.writable
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
            if !self.writable || self.flushing_since.is_some() || self.is_held() {
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
                    self.remove_copied_key(&key);
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
            let waits = self.flushing_since.is_some() || self.is_held();
            if !self.is_over() || !self.writable || waits {
                return;
            }
            let Some(disk) = self.disk.as_mut() else {
                return;
            };
            match disk.evict(spared < SPARED_IN_A_ROW) {
                Ok(Evicted::Nothing) => return,
                Ok(Evicted::Moved) => self.dirty = true,
                Ok(Evicted::Entry(id)) => {
                    self.dirty = true;
                    self.forget_copied(&id);
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
        let busy = busy || self.compaction.is_some() || self.migration.is_some();
        let flush_due = self.last_flush + self.settings.flush_interval;
        match &self.trouble {
            Some(trouble) if !self.writable => trouble.retry_at.max(self.now + STEP_PAUSE),
            _ if self.flushing_since.is_some() => self.now + FLUSH_POLL,
            _ if self.is_held() => self.now + FLUSH_POLL,
            _ if busy => self.now + STEP_PAUSE,
            _ if self.dirty => flush_due.max(self.now + STEP_PAUSE),
            _ => self.now + self.settings.flush_interval,
        }
    }

    /// Brings the gauge of what a crash would lose up to date.
    pub(super) fn show_unconfirmed(&self) {
        let unconfirmed = i64::try_from(self.backlog.len()).unwrap_or(i64::MAX);
        self.metrics.store_unconfirmed.set(unconfirmed);
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
        metrics.store_file_bytes.set(gauge(self.measured.bytes));
        self.show_unconfirmed();
    }
}

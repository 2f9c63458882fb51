//! What is due by time, and what is shown of the table.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::{EXPIRE_STEP, Effect, Flights, Timer};
use crate::caps::Reason;

impl<W> Flights<W> {
    /// When [`Flights::expire`] is to be called next.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Does what is due: overdue holders, deadlines, silent holders; writes the gauges.
    pub fn expire(&mut self, now: Instant) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Question(id) => self.overdue(now, id, &mut effects),
                Timer::Flight(id) => self.end(id, Reason::Timeout, &mut effects),
            }
        }
        self.begin_queued(now, &mut effects);
        self.holders.expire(now, EXPIRE_STEP);
        self.new_keys.sweep();
        self.more_questions.sweep();
        self.shrink();
        self.measure();
        effects
    }

    /// Gives back what a burst of flights made the tables grow to.
    fn shrink(&mut self) {
        const KEEP: usize = 64;
        if self.flights.capacity() > KEEP.max(self.flights.len() * 8) {
            self.flights.shrink_to(KEEP);
            self.by_key.shrink_to(KEEP);
            self.questions.shrink_to(KEEP);
            self.asked.shrink_to(KEEP);
        }
        if self.timers.capacity() > KEEP.max(self.timers.len() * 8) {
            self.timers.shrink_to(KEEP);
        }
        if self.queued.capacity() > KEEP.max(self.queued.len() * 8) {
            self.queued.shrink_to(KEEP);
        }
    }

    /// How long ago the oldest flight began.
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        let began = self.flights.values().map(|flight| flight.began).min()?;
        Some(now.saturating_duration_since(began))
    }

    fn measure(&mut self) {
        let metrics = &self.metrics;
        metrics.flights.set(self.in_progress() as i64);
        metrics.holders.set(self.holders.len() as i64);
        metrics
            .upstream_penalized
            .set(self.holders.failures() as i64);
        let counts = self.holders.take_counts();
        use crate::metrics::HolderEviction::{Accounts, Expired, Full, PerKey};
        for (reason, count) in [
            (Expired, counts.expired),
            (Full, counts.full),
            (PerKey, counts.per_key),
            (Accounts, counts.accounts),
        ] {
            metrics.holders_evicted.get(reason).inc_by(count);
        }
    }
}

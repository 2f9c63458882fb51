//! The thread that owns the tiers below the hot one, so that no stream ever waits for a disk.
//!
//! Jobs are worked off in the order in which they came: a key that was learned is found by whoever looks for it afterwards. Jobs that
//! came meanwhile are worked off together and reported together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::flights::FlightId;
use crate::cache::Entry;
use crate::caps::CapsKey;
use crate::metrics::Metrics;
use crate::store::{Learned, Store, StoreState};
use crate::trusted::Trusted;

/// How many learned contents may wait to be written, in all; more are dropped and learned again later.
pub const MAX_WAITING: usize = 16_384;

/// How many jobs are worked off before their results are reported: fewer, and the thread and the streams wait for each other's lock more
/// than they work (the throughput benchmark shows it).
const BATCH: usize = 64;

/// How long the thread sleeps at the most when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// The result of one look-up: the flight that wanted it and what was found.
pub type Found = (FlightId, Vec<(CapsKey, Arc<Entry>)>);

/// How a batch of results is given back.
pub type Report = Box<dyn Fn(Vec<Found>) + Send>;

/// Is told the state of the learned tier whenever it was looked at; cheap to call.
pub type StateWatcher = Box<dyn Fn(&StoreState) + Send>;

enum Job {
    Load(FlightId, Vec<CapsKey>),
    Learn(Learned),
    Close(tokio::sync::oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Debug)]
pub struct Tiers {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    above_high_water: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// Both tiers, before their thread runs.
pub struct Below {
    /// The learned tier.
    pub store: Store,
    /// The trusted tier.
    pub trusted: Trusted,
    /// Is told how the learned tier is.
    pub watcher: StateWatcher,
}

impl std::fmt::Debug for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below").finish_non_exhaustive()
    }
}

impl Tiers {
    /// Starts the thread; results go to `report`, which is called on it. `clock` gives the time to the store's own intervals. Above
    /// `high_water` hundredths of its bounds the store is said to be above its high-water mark.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub fn start(
        below: Below,
        high_water: u64,
        metrics: Arc<Metrics>,
        clock: impl Fn() -> Instant + Send + 'static,
        report: Report,
    ) -> std::io::Result<Tiers> {
        let (jobs, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let above = below.store.is_above(high_water);
        let above_high_water = Arc::new(AtomicBool::new(above));
        let worker = Worker {
            below,
            waiting: Arc::clone(&waiting),
            high_water,
            above_high_water: Arc::clone(&above_high_water),
            report,
            overridden: 0,
        };
        std::thread::Builder::new()
            .name("tiers".to_owned())
            .spawn(move || worker.run(&queue, clock))?;
        Ok(Tiers {
            jobs,
            waiting,
            above_high_water,
            metrics,
        })
    }

    /// Looks for keys on behalf of a flight.
    pub fn load(&self, flight: FlightId, keys: Vec<CapsKey>) {
        // The thread ends only with the process; a job that finds it gone is not missed by anybody.
        let _ = self.jobs.send(Job::Load(flight, keys));
    }

    /// Stores what was learned.
    pub fn learn(&self, learned: Learned) {
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            self.metrics.cache_admission_rejected.inc();
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.jobs.send(Job::Learn(learned));
    }

    /// Whether the learned tier was above its high-water mark when it was last written to.
    pub fn is_above_high_water(&self) -> bool {
        self.above_high_water.load(Ordering::Relaxed)
    }

    /// Flushes and closes the store; returns when that is done.
    pub async fn close(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.jobs.send(Job::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }
}

struct Worker {
    below: Below,
    waiting: Arc<AtomicUsize>,
    report: Report,
    /// In hundredths of the store's bounds.
    high_water: u64,
    above_high_water: Arc<AtomicBool>,
    /// How many of the trusted keys were taken out of the learned tier so far.
    overridden: usize,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>, clock: impl Fn() -> Instant) {
        let mut next = clock();
        loop {
            let first = match queue.recv_timeout(next.saturating_duration_since(clock()).min(IDLE))
            {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut found = Vec::new();
            let jobs = first.into_iter().chain(queue.try_iter()).take(BATCH);
            for job in jobs {
                match job {
                    Job::Load(flight, keys) => found.push((flight, self.load(keys))),
                    Job::Learn(learned) => {
                        // Writing may take its time; what was found before need not wait for it.
                        if !found.is_empty() {
                            (self.report)(std::mem::take(&mut found));
                        }
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        self.below.store.put(learned);
                    }
                    Job::Close(done) => {
                        self.below.store.close();
                        let _ = done.send(());
                        return;
                    }
                }
            }
            self.look_at_high_water();
            if !found.is_empty() {
                (self.report)(found);
            }
            let now = clock();
            if now >= next {
                self.override_learned();
                next = self.below.store.tick(now);
                (self.below.watcher)(&self.below.store.state());
            }
        }
        self.below.store.close();
    }

    fn look_at_high_water(&self) {
        let above = self.below.store.is_above(self.high_water);
        self.above_high_water.store(above, Ordering::Relaxed);
    }

    fn load(&mut self, keys: Vec<CapsKey>) -> Vec<(CapsKey, Arc<Entry>)> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let entry = match self.below.trusted.get(&key) {
                Some(trusted) => Some(Entry::new(&trusted.info, true)),
                None => self
                    .below
                    .store
                    .get(&key)
                    .map(|stored| Entry::new(&stored.info, false)),
            };
            found.extend(entry.map(|entry| (key, Arc::new(entry))));
        }
        found
    }

    /// Takes some more of the trusted keys out of the learned tier: they are served from the trusted one.
    fn override_learned(&mut self) {
        const STEP: usize = 256;
        let keys = self.below.trusted.keys().skip(self.overridden).take(STEP);
        let keys: Vec<CapsKey> = keys.collect();
        for key in &keys {
            self.below.store.remove_key(key);
        }
        self.overridden += keys.len();
    }
}

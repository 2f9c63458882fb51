//! The thread that owns the tiers below the hot one, so that no stream ever waits for a disk.
//!
//! Jobs are worked off in the order in which they came: a key that was learned is found by whoever looks for it afterwards. Jobs that
//! came meanwhile are worked off together and reported together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::flights::FlightId;
use crate::cache::Entry;
use crate::caps::{CapsKey, VerifiedInfo};
use crate::holders::accounts::Common;
use crate::metrics::Metrics;
use crate::store::{Learned, Store, StoreState};
use crate::trusted::{Overrides, Trusted};

/// How many learned contents may wait to be written, in all; more are dropped and learned again later.
pub const MAX_WAITING: usize = 16_384;

/// How many jobs are worked off before their results are reported: fewer, and the thread and the streams wait for each other's lock more
/// than they work (the throughput benchmark shows it).
const BATCH: usize = 64;

/// How long the thread sleeps at the most when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// The result of one look-up: the flight that wanted it and what was found.
pub type Found = (FlightId, Vec<(CapsKey, Arc<Entry>)>);

/// Who is told what the thread found. Called on the thread.
pub trait Above: Send {
    /// Look-ups ended.
    fn found(&self, found: Vec<Found>);

    /// Another trusted tier is in force: what it knows must no longer be served from elsewhere.
    fn trust(&self, trusted: &Trusted, overrides: &Arc<Overrides>);

    /// Other overrides are in force: what they contradict must no longer be served from elsewhere.
    fn rule(&self, overrides: &Arc<Overrides>);

    /// What was learned last for these keys does not count: the trusted tier has them.
    fn outdone(&self, keys: &[CapsKey]);
}

/// Is told the state of the learned tier whenever it was looked at; cheap to call.
pub type StateWatcher = Box<dyn Fn(&StoreState) + Send>;

/// Work on both tiers; see [`Tiers::work`].
type Work = Box<dyn FnOnce(&mut Below) + Send>;

enum Job {
    Load(FlightId, Vec<CapsKey>),
    Learn(Learned),
    Common(Common),
    Work(Work),
    Order(Work),
    Trust(Box<Trusted>, Arc<Overrides>),
    Rule(Arc<Overrides>),
    Close(tokio::sync::oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Debug)]
pub struct Tiers {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    /// In hundredths of the store's bounds.
    high_water: Arc<AtomicU64>,
    above_high_water: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// What the thread begins with.
pub struct Below {
    /// The learned tier.
    pub store: Store,
    /// The trusted tier; `None` where it is still being read. Look-ups wait then until [`Tiers::trust`] brings it: before it is known
    /// what the operator trusts, nothing can be said.
    pub trusted: Option<Trusted>,
    /// What the operator says about single keys.
    pub overrides: Arc<Overrides>,
    /// Is told how the learned tier is.
    pub watcher: StateWatcher,
}

impl std::fmt::Debug for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below").finish_non_exhaustive()
    }
}

impl Below {
    /// What is served under a key, and whether it is trusted: what is pinned, else what is trusted, else what was learned; nothing where
    /// it is denied. `with` makes of it what is wanted.
    pub fn find<T>(
        &mut self,
        key: &CapsKey,
        with: impl FnOnce(&VerifiedInfo, bool) -> T,
    ) -> Option<T> {
        if self.overrides.denial(key).is_some() {
            return None;
        }
        if let Some(pinned) = self.overrides.pinned(key) {
            return Some(with(pinned, true));
        }
        let trusted = self.trusted.as_mut();
        match trusted.and_then(|trusted| trusted.get(key)) {
            Some(trusted) => Some(with(&trusted.info, true)),
            None => Some(with(&self.store.get(key)?.info, false)),
        }
    }
}

impl Tiers {
    /// Starts the thread; results go to `above`. `clock` gives the time to the store's own intervals. Above `high_water` hundredths
    /// of its bounds the store is said to be above its high-water mark.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub fn start(
        below: Below,
        high_water: u64,
        metrics: Arc<Metrics>,
        clock: impl Fn() -> Instant + Send + 'static,
        above: Box<dyn Above>,
    ) -> std::io::Result<Tiers> {
        let (jobs, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let above_high_water = Arc::new(AtomicBool::new(below.store.is_above(high_water)));
        let high_water = Arc::new(AtomicU64::new(high_water));
        let worker = Worker {
            below,
            waiting: Arc::clone(&waiting),
            high_water: Arc::clone(&high_water),
            above_high_water: Arc::clone(&above_high_water),
            above,
            parked: Vec::new(),
        };
        std::thread::Builder::new()
            .name("tiers".to_owned())
            .spawn(move || worker.run(&queue, clock))?;
        Ok(Tiers {
            jobs,
            waiting,
            high_water,
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

    /// Takes another high-water mark, in hundredths of the store's bounds; it counts from the next job on, within a second at most.
    pub fn change_high_water(&self, high_water: u64) {
        self.high_water.store(high_water, Ordering::Relaxed);
    }

    /// Whether the learned tier was above its high-water mark when it was last looked at.
    pub fn is_above_high_water(&self) -> bool {
        self.above_high_water.load(Ordering::Relaxed)
    }

    /// Notes that a key is common, if its content is stored.
    pub fn common(&self, common: Common) {
        // It is said again when the process has forgotten that it was.
        if self.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _ = self.jobs.send(Job::Common(common));
        }
    }

    /// Has something done on the thread, in its turn, and returns what came of it; `None` once the thread has ended.
    ///
    /// Look-ups wait as long as it takes: what is long is done in several steps.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Below) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, outcome) = tokio::sync::oneshot::channel();
        let work = Box::new(move |below: &mut Below| {
            // Whoever wanted to know may be gone.
            let _ = done.send(work(below));
        });
        self.jobs.send(Job::Work(work)).ok()?;
        outcome.await.ok()
    }

    /// Has something done on the thread, in its turn, and does not wait for it. The store sees at once to what is due after it, as where
    /// its bounds and intervals were changed.
    pub fn order(&self, work: impl FnOnce(&mut Below) + Send + 'static) {
        let _ = self.jobs.send(Job::Order(Box::new(work)));
    }

    /// Puts another trusted tier and other overrides in force, both at once.
    pub fn trust(&self, trusted: Trusted, overrides: Arc<Overrides>) {
        let _ = self.jobs.send(Job::Trust(Box::new(trusted), overrides));
    }

    /// Puts other overrides in force.
    pub fn rule(&self, overrides: Arc<Overrides>) {
        let _ = self.jobs.send(Job::Rule(overrides));
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
    high_water: Arc<AtomicU64>,
    above_high_water: Arc<AtomicBool>,
    above: Box<dyn Above>,
    /// Look-ups that wait for the trusted tier. Their flights end by their own deadlines; what is beyond the bound is dropped.
    parked: Vec<(FlightId, Vec<CapsKey>)>,
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
                    Job::Load(flight, keys) => found.extend(self.load_or_park(flight, keys)),
                    Job::Learn(learned) => {
                        // Writing may take its time; what was found before need not wait for it.
                        self.report(std::mem::take(&mut found));
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        self.learn(learned);
                    }
                    Job::Trust(trusted, overrides) => {
                        // What was found before must arrive before it is withdrawn.
                        self.report(std::mem::take(&mut found));
                        found = self.trust(*trusted, overrides);
                    }
                    Job::Common(common) => {
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        let Common { key, node_url } = common;
                        self.below.store.note_common(&key, node_url.as_deref());
                    }
                    Job::Rule(overrides) => {
                        // As above.
                        self.report(std::mem::take(&mut found));
                        self.below.overrides = overrides;
                        self.above.rule(&self.below.overrides);
                    }
                    Job::Work(work) => {
                        // What it removes must not be reported as found afterwards.
                        self.report(std::mem::take(&mut found));
                        work(&mut self.below);
                    }
                    Job::Order(work) => {
                        self.report(std::mem::take(&mut found));
                        work(&mut self.below);
                        next = clock();
                    }
                    Job::Close(done) => {
                        self.below.store.close();
                        let _ = done.send(());
                        return;
                    }
                }
            }
            self.look_at_high_water();
            self.report(found);
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
        let above = self
            .below
            .store
            .is_above(self.high_water.load(Ordering::Relaxed));
        self.above_high_water.store(above, Ordering::Relaxed);
    }

    fn report(&self, found: Vec<Found>) {
        if !found.is_empty() {
            self.above.found(found);
        }
    }

    fn load_or_park(&mut self, flight: FlightId, keys: Vec<CapsKey>) -> Option<Found> {
        if self.below.trusted.is_some() {
            return Some((flight, self.load(keys)));
        }
        if self.parked.len() < MAX_WAITING {
            self.parked.push((flight, keys));
        }
        None
    }

    fn load(&mut self, keys: Vec<CapsKey>) -> Vec<(CapsKey, Arc<Entry>)> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let entry = self.below.find(&key, Entry::new);
            found.extend(entry.map(|entry| (key, Arc::new(entry))));
        }
        found
    }

    /// Stores what was learned, but under no key that the operator speaks for.
    fn learn(&mut self, mut learned: Learned) {
        let below = &mut self.below;
        let outdone = |key: &CapsKey| {
            below.overrides.concerns(key) || below.trusted.as_ref().is_some_and(|t| t.contains(key))
        };
        let (outdone, keys): (Vec<_>, Vec<_>) = learned.keys.into_iter().partition(outdone);
        if !outdone.is_empty() {
            self.above.outdone(&outdone);
        }
        if !keys.is_empty() {
            learned.keys = keys;
            below.store.put(learned);
        }
    }

    /// Puts another trusted tier in force; what the look-ups that waited for one found.
    fn trust(&mut self, trusted: Trusted, overrides: Arc<Overrides>) -> Vec<Found> {
        self.below.overrides = overrides;
        let trusted = self.below.trusted.insert(trusted);
        self.above.trust(trusted, &self.below.overrides);
        let parked = std::mem::take(&mut self.parked).into_iter();
        parked
            .map(|(flight, keys)| (flight, self.load(keys)))
            .collect()
    }

    /// Takes some more of the trusted keys out of the learned tier: they are served from the trusted one.
    fn override_learned(&mut self) {
        const STEP: usize = 256;
        if let Some(trusted) = &mut self.below.trusted {
            for key in trusted.next_keys(STEP) {
                self.below.store.remove_key(&key);
            }
        }
    }
}

//! Opening the engine's files beside everything else.
//!
//! Opening takes as long as it takes to read what was written last: a moment, or longer on a slow disk. And an engine that reads
//! damaged files could go round in circles. So it is opened by a thread of its own, and whoever wants it waits with
//! patience; the store begins in memory meanwhile, like one whose disk fails.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::caps::Policy;

use super::directory::{LOCK_ATTEMPTS, LOCK_PAUSE};
use super::disk::{Disk, DiskSettings, OpenFault};
use super::engine::Fault;

/// How long the store waits for its files to be opened before it goes on in memory.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// How long opening may take, on a disk that answers, before the files count as damaged.
///
/// The thread that hangs in them cannot be ended. It has the files open that were set aside; if it came to its end after all, it
/// could leave a page table beside the fresh files, which the next start would take for damage and salvage.
pub(super) const OPEN_MOST: Duration = Duration::from_secs(300);

/// The files that are being opened.
pub(super) struct Opening {
    began: Instant,
    opened: Receiver<Result<Disk, OpenFault>>,
}

impl Opening {
    /// Begins to open the files in that directory.
    fn begin(
        path: PathBuf,
        cache_bytes: u64,
        policy: Policy,
        now: Instant,
    ) -> Result<Opening, Fault> {
        let (report, opened) = mpsc::channel();
        let work = move || {
            let settings = DiskSettings {
                cache_bytes,
                policy: &policy,
            };
            // Whoever gave up waiting for it has no use for it.
            if let Err(mpsc::SendError(Ok(disk))) = report.send(open_patiently(&path, settings)) {
                disk.close();
            }
        };
        let thread = thread::Builder::new().name("store-open".to_owned());
        let thread = thread.spawn(work);
        thread.map_err(|error| Fault::from_io(&error))?;
        Ok(Opening { began: now, opened })
    }

    /// How long it has been going on.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// One that takes a while.
    #[cfg(test)]
    pub(super) fn late(path: PathBuf, now: Instant) -> Opening {
        let (report, opened) = mpsc::channel();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let settings = DiskSettings {
                cache_bytes: 1 << 20,
                policy: &Policy::default(),
            };
            report.send(open_patiently(&path, settings)).unwrap();
        });
        Opening { began: now, opened }
    }

    /// One that never ends.
    #[cfg(test)]
    pub(super) fn endless(now: Instant) -> Opening {
        let (report, opened) = mpsc::channel();
        std::mem::forget(report);
        Opening { began: now, opened }
    }
}

/// The database in that directory: opened now, or by a thread that began earlier and is left in `pending` if it needs longer.
pub(super) fn open_within_patience(
    pending: &mut Option<Opening>,
    path: &Path,
    settings: DiskSettings<'_>,
    now: Instant,
) -> Result<Disk, OpenFault> {
    let (opening, patience) = match pending.take() {
        Some(opening) => (opening, Duration::ZERO),
        None => {
            let begun = Opening::begin(
                path.to_owned(),
                settings.cache_bytes,
                settings.policy.clone(),
                now,
            );
            (begun.map_err(OpenFault::Fault)?, OPEN_PATIENCE)
        }
    };
    match opening.opened.recv_timeout(patience) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => {
            *pending = Some(opening);
            Err(OpenFault::Fault(Fault::SlowOpen))
        }
        Err(RecvTimeoutError::Disconnected) => Err(OpenFault::Fault(Fault::Engine {
            text: "the thread that opens it has ended".to_owned(),
        })),
    }
}

/// Opens the database in that directory, of a store whose lock is held.
///
/// So nobody else can have it. But the engine lets go of its files a moment after it was closed, when the last of its
/// threads is done.
pub(super) fn open_patiently(path: &Path, settings: DiskSettings<'_>) -> Result<Disk, OpenFault> {
    for _ in 0..LOCK_ATTEMPTS {
        match Disk::open(path, settings) {
            Err(OpenFault::Fault(Fault::Locked)) => thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    Disk::open(path, settings)
}

//! What stands between capsd and the storage engine: every call is guarded, every failure becomes a [`Fault`].
//!
//! sled 0.34 answers a damaged file with a panic as often as with an error, so both are caught and told apart from the
//! faults of the file system below it. Flushing runs on a thread of its own, which may be waited for with patience: a
//! disk that does not answer must not hold up those who only read.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

use super::confirmed::Confirmed;

/// Why an operation on the store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file system refused: full, an I/O error, no permission. The stored data is as it was.
    Io {
        /// The kind that the operating system's error belongs to.
        kind: io::ErrorKind,
        /// What the operating system said.
        text: String,
    },
    /// The stored data is not what was written.
    Damage {
        /// What the engine said.
        text: String,
    },
    /// Another process, or an earlier store of this one that has not let go yet, holds the engine's own lock.
    Locked,
    /// The engine no longer works in this process; the stored data is as it was.
    Engine {
        /// What the engine said.
        text: String,
    },
    /// A flush has not ended for [`FLUSH_PATIENCE`].
    Stalled,
    /// The engine has been opening its files for longer than the store waits for it.
    SlowOpen,
    /// The directory was found in a state, while trying again, that would have been refused at start.
    Refused {
        /// The refusal, remedy included.
        text: String,
    },
}

/// How long a flush may take before the store counts as failing.
pub(super) const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

impl Fault {
    /// The fault that an error of the file system below the engine amounts to.
    ///
    /// A file that is shorter than it says, missing, or not a file at all is damage: trying again would not help.
    pub(super) fn from_io(error: &io::Error) -> Fault {
        use io::ErrorKind::*;
        // The engine makes an error of its own of a lock that is held.
        if error.to_string().contains("could not acquire lock") {
            return Fault::Locked;
        }
        let original = original_of_copy(error);
        let error = original.as_ref().unwrap_or(error);
        let text = error.to_string();
        match error.kind() {
            UnexpectedEof | InvalidData | NotFound | IsADirectory | NotADirectory => {
                Fault::Damage { text }
            }
            kind => Fault::Io { kind, text },
        }
    }

    fn from_engine(error: sled::Error) -> Fault {
        match error {
            sled::Error::Io(error) => Fault::from_io(&error),
            // This one is about the engine's threads, not about the data.
            sled::Error::ReportableBug(text) if text.contains("thread") => Fault::Engine { text },
            error => Fault::Damage {
                text: error.to_string(),
            },
        }
    }

    /// Whether trying the same again cannot help, because what is stored is wrong.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Fault::Damage { .. })
    }

    /// Whether this is the same trouble as the other, as far as an operator is concerned.
    pub(super) fn is_like(&self, other: &Fault) -> bool {
        match (self, other) {
            (Fault::Io { kind: a, .. }, Fault::Io { kind: b, .. }) => a == b,
            (Fault::Refused { text: a }, Fault::Refused { text: b }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// What an operator can do about it, as a sentence.
    pub(super) fn remedy(&self) -> &'static str {
        use io::ErrorKind::*;
        match self {
            Fault::Io { kind, .. } => match kind {
                StorageFull | QuotaExceeded => "Free space on that file system.",
                FileTooLarge => "Raise the limit on the size of files (ulimit -f, LimitFSIZE=).",
                PermissionDenied => {
                    "Give the directory and all in it to the user that capsd runs as."
                }
                ReadOnlyFilesystem => {
                    "Mount the file system writable, or set store.path elsewhere."
                }
                _ => "Look for errors of that disk in the kernel's log.",
            },
            Fault::Damage { .. } => "Check the disk; the damaged store is kept for inspection.",
            Fault::Locked => "Stop whatever else has the store open.",
            Fault::Engine { .. } => "Restart capsd, and report this as a bug.",
            Fault::Stalled => "See whether that disk answers; look in the kernel's log.",
            Fault::SlowOpen => {
                "If it does not end by itself, the files are set aside after five minutes; see whether that disk answers."
            }
            Fault::Refused { .. } => "capsd need not be restarted for it.",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Io { text, .. } | Fault::Refused { text } => f.write_str(text),
            Fault::Damage { text } => write!(f, "damaged: {text}"),
            Fault::Locked => f.write_str("held by another process"),
            Fault::Engine { text } => write!(f, "the storage engine failed: {text}"),
            Fault::SlowOpen => f.write_str("the storage engine has not finished opening its files"),
            Fault::Stalled => write!(
                f,
                "the disk has not taken what was written for {} seconds",
                FLUSH_PATIENCE.as_secs()
            ),
        }
    }
}

/// The operating system's error that the engine made a copy of: sled copies an error by printing it.
fn original_of_copy(error: &io::Error) -> Option<io::Error> {
    let text = error.to_string();
    let (_, rest) = text.split_once("Os { code: ")?;
    let (code, _) = rest.split_once(',')?;
    code.parse().ok().map(io::Error::from_raw_os_error)
}

thread_local! {
    /// Within [`guarded`], what the last panic said; `None` outside of it.
    static GUARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs work on the engine and turns errors and panics into faults.
///
/// After a fault the engine must not be written to again: it is dropped and opened anew, which is why it may cross the
/// unwind boundary.
pub(super) fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Fault> {
    quiet_guarded_panics();
    GUARD.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let said = GUARD.take().unwrap_or_default();
    match outcome {
        Ok(result) => result.map_err(Fault::from_engine),
        Err(_) => Err(Fault::Damage {
            text: format!("the storage engine gave up on it ({said})"),
        }),
    }
}

/// Makes the panic hook note, instead of printing, what panics within [`guarded`] say; any other panic goes to the hook
/// that was there before. A panic of the engine's own threads is logged as one line.
fn quiet_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let noted = GUARD
                .try_with(|guard| {
                    let mut guard = guard.borrow_mut();
                    guard.as_mut().map(|said| *said = info.to_string())
                })
                .ok()
                .flatten()
                .is_some();
            let of_engine = thread::current()
                .name()
                .is_some_and(|name| name.starts_with("sled-io"));
            if of_engine {
                tracing::error!(cause = %info, "a thread of the storage engine failed");
            } else if !noted {
                previous(info);
            }
        }));
    });
}

/// The thread that makes durable what was written.
pub(super) struct Flusher {
    work: mpsc::Sender<(sled::Db, u64)>,
    done: mpsc::Receiver<Result<(), Fault>>,
}

impl Flusher {
    /// Starts the thread; `file` is the engine's data file, `confirmed` where it is noted how far a flush reached.
    ///
    /// The engine waits until the written ranges are on the disk (`sync_file_range`), but a file that has grown is only
    /// whole after a power cut if its size was synced as well; hence the file.
    pub(super) fn new(file: File, confirmed: Confirmed) -> io::Result<Flusher> {
        let (work, jobs) = mpsc::channel::<(sled::Db, u64)>();
        let (report, done) = mpsc::channel();
        thread::Builder::new()
            .name("store-flush".to_owned())
            .spawn(move || {
                for (db, next_use) in jobs {
                    let flushed = guarded(|| db.flush().map(drop));
                    let synced = flushed.and_then(|()| {
                        file.sync_data()
                            .and_then(|()| confirmed.write(next_use))
                            .map_err(|error| Fault::from_io(&error))
                    });
                    // This may be the last handle, and closing may fail as well.
                    let closed = guarded(|| {
                        drop(db);
                        Ok(())
                    });
                    if report.send(synced.and(closed)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Flusher { work, done })
    }

    /// Begins a flush of all entries before that place in the order of use. One at a time: the one before must have ended.
    pub(super) fn start(&self, db: &sled::Db, next_use: u64) {
        // Where the thread is gone, the end of the flush is what says so.
        let _ = self.work.send((db.clone(), next_use));
    }

    /// How the flush that was begun has ended, or `None` if it has not within `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Option<Result<(), Fault>> {
        match self.done.recv_timeout(patience) {
            Ok(result) => Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(Fault::Engine {
                text: "its flush thread has ended".to_owned(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_damage_with_its_words() {
        let fault = guarded::<()>(|| panic!("assertion of the engine")).unwrap_err();
        assert!(fault.is_damage());
        assert!(
            fault.to_string().contains("assertion of the engine"),
            "{fault}"
        );
    }

    #[test]
    fn panics_are_noted_within_the_guard_alone() {
        let noted = || GUARD.with_borrow(Option::is_some);
        assert!(guarded(|| Ok(noted())).unwrap());
        assert!(!noted());
        guarded::<()>(|| panic!("assertion of the engine")).unwrap_err();
        assert!(!noted());
    }

    #[test]
    fn disk_faults_and_damage_are_told_apart() {
        // EIO, ENOSPC, EROFS, EFBIG, EDQUOT as the operating system numbers them.
        for code in [5, 28, 30, 27, 122] {
            let fault = Fault::from_engine(sled::Error::Io(io::Error::from_raw_os_error(code)));
            assert!(matches!(fault, Fault::Io { .. }), "{fault}");
        }
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound] {
            assert!(Fault::from_engine(sled::Error::Io(kind.into())).is_damage());
        }
        let unsupported = sled::Error::Unsupported("segment size".to_owned());
        assert!(Fault::from_engine(unsupported).is_damage());
        let broken = sled::Error::ReportableBug("IO thread unexpectedly panicked".to_owned());
        assert!(matches!(Fault::from_engine(broken), Fault::Engine { .. }));
    }

    #[test]
    fn an_error_that_the_engine_copied_is_still_that_error() {
        for code in [28, 5] {
            let original = sled::Error::Io(io::Error::from_raw_os_error(code));
            let copy_of_copy = original.clone().clone();
            assert_eq!(
                Fault::from_engine(copy_of_copy),
                Fault::from_engine(original)
            );
        }
        let full = Fault::from_io(&io::Error::from_raw_os_error(28));
        assert_eq!(full.remedy(), "Free space on that file system.");
    }
}

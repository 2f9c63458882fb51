//! Whether capsd can serve, and if not, what is missing.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

/// The state of the learned tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It is being opened.
    Opening,
    /// It is on disk.
    OnDisk,
    /// It is in memory only, for that cause, and the disk is tried again.
    InMemory(String),
}

impl fmt::Display for StoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreState::Opening => f.write_str("being opened"),
            StoreState::OnDisk => f.write_str("on disk"),
            StoreState::InMemory(cause) => {
                write!(
                    f,
                    "in memory only, a restart loses what is learned: {cause}"
                )
            }
        }
    }
}

/// What is said of a link before it was tried.
pub const NOT_TRIED: &str = "not connected yet";

/// The state of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The name of the component.
    pub name: String,
    /// Why it is down; `None` while it is up.
    pub down: Option<String>,
}

/// One reading of the whole state; its text is the body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The learned tier.
    pub store: StoreState,
    /// The links, in the order of the configuration.
    pub links: Vec<LinkState>,
}

impl Report {
    /// Whether capsd can serve everybody: the store is open, on disk or in memory, and every link is up.
    pub fn is_ready(&self) -> bool {
        self.store != StoreState::Opening && self.links.iter().all(|link| link.down.is_none())
    }

    /// Whether every link was tried, with whatever outcome.
    pub fn is_attempted(&self) -> bool {
        let mut links = self.links.iter();
        links.all(|link| link.down.as_deref() != Some(NOT_TRIED))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.is_ready(), &self.store) {
            (false, _) => "not ready",
            (true, StoreState::InMemory(_)) => "ready, degraded",
            (true, _) => "ready",
        };
        writeln!(f, "{word}\nstore: {}", self.store)?;
        for LinkState { name, down } in &self.links {
            match down {
                None => writeln!(f, "link {name}: up")?,
                Some(cause) => writeln!(f, "link {name}: down: {cause}")?,
            }
        }
        Ok(())
    }
}

/// The state that is reported at `/readyz` and in `capsd_ready`; those who know a part of it tell it here.
///
/// A cause is a phrase for an operator. It must not name a user.
#[derive(Debug)]
pub struct Readiness {
    report: Mutex<Report>,
    ready: IntGauge,
}

impl Readiness {
    /// The store is being opened and every link is down. `names` are those of the components, in the order of the
    /// configuration; `ready` is [`Metrics::ready`](crate::metrics::Metrics::ready).
    pub fn new(names: impl IntoIterator<Item = String>, ready: IntGauge) -> Readiness {
        let not_yet = |name| LinkState {
            name,
            down: Some(NOT_TRIED.to_owned()),
        };
        Readiness {
            report: Mutex::new(Report {
                store: StoreState::Opening,
                links: names.into_iter().map(not_yet).collect(),
            }),
            ready,
        }
    }

    /// The learned tier is on disk.
    pub fn store_on_disk(&self) {
        self.change(|report| report.store = StoreState::OnDisk);
    }

    /// The learned tier is in memory only, for that cause.
    pub fn store_in_memory(&self, cause: impl AsRef<str>) {
        self.change(|report| report.store = StoreState::InMemory(one_line(cause.as_ref())));
    }

    /// The link with that place in the configuration is up.
    pub fn link_up(&self, link: usize) {
        self.set_link(link, None);
    }

    /// The link with that place in the configuration is down, for that cause.
    pub fn link_down(&self, link: usize, cause: impl AsRef<str>) {
        self.set_link(link, Some(one_line(cause.as_ref())));
    }

    /// The state as it is now.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    fn set_link(&self, link: usize, down: Option<String>) {
        self.change(|report| {
            if let Some(state) = report.links.get_mut(link) {
                state.down = down;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.lock();
        change(&mut report);
        // Set under the lock, so that the gauge follows the last change.
        self.ready.set(report.is_ready().into());
    }

    /// Each change is one assignment, so the report is whole even if somebody panicked while holding it.
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cause may hold what a server wrote; it stays on its line.
fn one_line(cause: &str) -> String {
    cause.replace(char::is_control, " ")
}

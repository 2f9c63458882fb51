//! What a service manager is told: systemd with `Type=notify`, or whatever else speaks the protocol of `sd_notify(3)`. Without
//! `NOTIFY_SOCKET` in the environment nothing here does anything.
//!
//! | message | is sent |
//! |---|---|
//! | `READY=1` | when the store is open (on disk, or in memory with the cause said), the HTTP port and the control socket are there, and each link is up or was refused for the first time; at the latest after [`ATTEMPT`]. A server that is not up yet holds up no start of the machine |
//! | `STATUS=` | with it, and whenever links or store have changed: one line, as `systemctl status` shows it |
//! | `WATCHDOG=1` | a few times in each interval of the watchdog, and only after [`Resolver::pulse`]: the runtime's timers ran, the tiers' thread worked off what stood before, and the table of flights was free. Whoever hangs misses it |
//! | `RELOADING=1` | before a configuration is read again; `READY=1` after that, whether it was good or not |
//! | `STOPPING=1` | when the end was asked for |

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::http::{Readiness, Report};
use crate::resolver::Resolver;

/// How long the first attempts to open links are waited for before the start is reported as done.
pub const ATTEMPT: Duration = Duration::from_secs(5);

/// How often the start is looked at, until it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How often the status is looked at.
const STATUS: Duration = Duration::from_secs(1);

/// How many beats fit into an interval of the watchdog: two may come late.
const BEATS: u32 = 3;

/// Whether there is anybody to tell.
fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Says that the configuration is being read again; [`ready`] says that it was.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // From systemd 253 on it wants to know when that began.
    states.extend(NotifyState::monotonic_usec_now());
    send(&states);
}

/// Says that capsd serves, or serves again.
pub(super) fn ready(readiness: &Readiness) {
    if is_managed() {
        let status = status(&readiness.report());
        send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }
}

/// Says that the end was asked for.
pub(super) fn stopping() {
    send(&[
        NotifyState::Stopping,
        NotifyState::Status("ending: requests are told to come back later"),
    ]);
}

/// Reports the start, then the status and the beats of the watchdog, until the resolver is closed. Ends at once where nobody is to be
/// told.
pub(super) async fn run(readiness: Arc<Readiness>, resolver: Arc<Resolver>) {
    if !is_managed() {
        return;
    }
    let attempts = async {
        while !readiness.report().is_attempted() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Whether it came to that or not, the status says how the links are.
    let _ = tokio::time::timeout(ATTEMPT, attempts).await;
    ready(&readiness);
    let watchdog = sd_notify::watchdog_enabled();
    let beat = watchdog.map_or(STATUS, |interval| (interval / BEATS).min(STATUS));
    let mut said = String::new();
    while resolver.pulse().await {
        let now = status(&readiness.report());
        if watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
        if now != said {
            send(&[NotifyState::Status(&now)]);
            said = now;
        }
        tokio::time::sleep(beat).await;
    }
}

/// One line: what `/readyz` says in several.
fn status(report: &Report) -> String {
    let lines: Vec<_> = report.to_string().lines().map(str::to_owned).collect();
    lines.join("; ")
}

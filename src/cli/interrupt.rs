//! SIGINT and SIGTERM while a command is at work: the first is taken note of, so that the work ends in good order, a second ends
//! the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Whether the work is to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. Where that cannot be done, a signal ends the process at once, as ever.
    pub(super) fn listen() -> Interrupt {
        Interrupt::listen_until(|| {})
    }

    /// The same; `at_end` is done before a second signal ends the process.
    pub(super) fn listen_until(at_end: fn()) -> Interrupt {
        let interrupt = Interrupt::default();
        let flag = interrupt.clone();
        // The thread ends with the process.
        let _ = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                if let Ok(runtime) = runtime {
                    runtime.block_on(wait(&flag, at_end));
                }
            });
        interrupt
    }

    /// Whether somebody wants the work to end.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn wait(flag: &Interrupt, at_end: fn()) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    for exit in [None, Some(1)] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        match exit {
            None => flag.0.store(true, Ordering::Relaxed),
            Some(code) => {
                at_end();
                std::process::exit(code)
            }
        }
    }
}

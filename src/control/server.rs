//! The socket: made, kept, served, removed.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use super::act::{Actor, Surroundings, ending};
use super::desk::{self, Finding, key_of};
use super::protocol::{Answer, MAX_FLIGHTS, MAX_LINE, Request, Status};
use super::transfers::{Part, Transfers};
use crate::caps::{CapsKey, Policy, Reason};
use crate::config;
use crate::metrics::Metrics;
use crate::resolver::Resolver;
use crate::resolver::tiers::Below;
use crate::store::StoreState;
use crate::trusted::Trusted;

/// Who may connect: the daemon's user and group.
const MODE: u32 = 0o660;

/// How long nothing is accepted after accepting failed, which is for want of file descriptors or memory.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketFault {
    /// Another daemon has it.
    #[error(
        "control.socket: {} is that of another capsd{}\n\nhint: stop that one, or give this one another control.socket",
        path.display(), holder.map(|pid| format!(", process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// `control.socket`.
        path: PathBuf,
        /// The other one, as far as it is known.
        holder: Option<u32>,
    },
    /// Something that is no socket has its name.
    #[error(
        "control.socket: {} is there and is no socket\n\nhint: remove it, or choose another path", path.display()
    )]
    NotASocket {
        /// `control.socket`.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error(
        "control.socket: {} cannot be made: {error}\n\nhint: {}", path.display(), remedy(path, error)
    )]
    Refused {
        /// `control.socket`.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

fn remedy(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "make the directory {directory} for the user that capsd runs as (under systemd: RuntimeDirectory=capsd), or \
             choose another path"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "give the directory {directory} to the user that capsd runs as, or choose another path"
            )
        }
        // The names of sockets are short: 107 bytes on Linux.
        io::ErrorKind::InvalidInput => "choose a shorter path".to_owned(),
        _ => "choose another path".to_owned(),
    }
}

/// The socket of this process; removed when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is.
    _lock: File,
}

impl ControlSocket {
    /// Makes the socket. That of a daemon which died is taken over; whether one lives is told by a lock on `PATH.lock`,
    /// which ends with its process however that ends.
    ///
    /// # Errors
    /// A [`SocketFault`]; nothing was changed then but that the lock file may have been made.
    pub fn bind(path: &Path) -> Result<ControlSocket, SocketFault> {
        let refused = |error| SocketFault::Refused {
            path: path.to_owned(),
            error,
        };
        let lock = take_lock(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                let path = path.to_owned();
                return Err(SocketFault::NotASocket { path });
            }
            _ => {}
        }
        // Under its own name it appears with its mode, and in place of that of a dead daemon, in one step.
        let new = beside(path, ".new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(refused)?;
        fs::set_permissions(&new, Permissions::from_mode(MODE)).map_err(refused)?;
        fs::rename(&new, path).map_err(refused)?;
        Ok(ControlSocket {
            listener,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn take_lock(path: &Path) -> Result<File, SocketFault> {
    let refused = |error| SocketFault::Refused {
        path: path.to_owned(),
        error,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(beside(path, ".lock"))
        .map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(16).read_to_string(&mut holder);
            return Err(SocketFault::InUse {
                path: path.to_owned(),
                holder: holder.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(refused(error)),
    }
    // The process id only makes a message better.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// What requests are carried out with.
#[derive(Debug)]
pub struct Desk {
    /// The way to the tiers.
    pub resolver: Arc<Resolver>,
    /// The rules for what is imported.
    pub policy: Policy,
    /// `store.path`, to be told.
    pub store: PathBuf,
    /// The clock of the daemon.
    pub clock: fn() -> Instant,
    /// What there is beside the tiers.
    pub around: Surroundings,
}

impl Desk {
    /// What is served under a key; nobody is asked, and it is not used by being looked at. `None` once the daemon is ending.
    pub async fn find(&self, key: CapsKey) -> Option<Finding> {
        let policy = self.policy.clone();
        let find = move |below: &mut Below| desk::find(below, &key, &policy);
        Some(match self.resolver.work(find).await? {
            Finding::Unknown => desk::find_in_memory(&self.resolver, &key, &self.policy),
            found => found,
        })
    }

    /// The same, as an answer.
    pub(super) async fn look_up(&self, key: CapsKey) -> Answer {
        let finding = self.find(key).await;
        finding.map_or_else(ending, Answer::from)
    }

    /// At most that many entries of the learned tier, from there on.
    pub(super) async fn entries(&self, from: Option<String>, most: usize) -> Answer {
        let entries = move |below: &mut Below| {
            desk::entries(&mut below.store, &below.overrides, from.as_deref(), most)
        };
        self.resolver.work(entries).await.unwrap_or_else(ending)
    }

    /// Carries out a request that changes nothing but the learned tier.
    pub async fn answer(&self, request: Request) -> Answer {
        let policy = self.policy.clone();
        let answer = match request {
            Request::Status => {
                let store = self.store.display().to_string();
                let tiers = self.resolver.work(|below| desk_status(below, store)).await;
                tiers.map(|tiers| Answer::Status(Box::new(self.with_surroundings(tiers))))
            }
            Request::Flights { all } => {
                let snapshot = self.resolver.snapshot((self.clock)(), MAX_FLIGHTS);
                Some(Answer::Flights(desk::flights(snapshot, all)))
            }
            Request::Sync => {
                self.resolver
                    .work(|below| desk::sync(&mut below.store))
                    .await
            }
            Request::Lookup { node } => Some(match key_of(&node) {
                Ok(key) => self.look_up(key).await,
                Err(refused) => refused,
            }),
            Request::Import { items } => {
                let check = move || desk::check_all(&items, &policy);
                // Verification would hold up the streams, and then the tiers.
                match tokio::task::spawn_blocking(check).await {
                    Ok(Ok(checked)) => {
                        let take_in = |below: &mut Below| {
                            let trusted = below.trusted.as_ref();
                            desk::take_in(&mut below.store, &below.overrides, trusted, checked)
                        };
                        self.resolver.work(take_in).await
                    }
                    Ok(Err(refused)) => Some(refused),
                    Err(_) => None,
                }
            }
            Request::Entries { from } => Some(self.entries(from, desk::PAGE).await),
            Request::Examine => Some(self.examine().await),
            _ => Some(Answer::refused(
                "that is not answered here: it changes something",
            )),
        };
        answer.unwrap_or_else(ending)
    }
}

fn desk_status(below: &mut Below, store: String) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        store,
        memory_only: match below.store.state() {
            StoreState::Disk => None,
            StoreState::MemoryOnly { cause, .. } => Some(cause),
        },
        entries: below.store.entries(),
        bytes: below.store.bytes(),
        trusted: below.trusted.as_ref().map(Trusted::entries),
        denied: below.overrides.denials() as u64,
        pinned: below.overrides.pins() as u64,
        ..Status::default()
    }
}

/// Serves the socket until `shutdown` completes. What is being answered then is cut off: no request is half done by it.
pub async fn serve(
    socket: ControlSocket,
    desk: Arc<Desk>,
    settings: config::Control,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= settings.connections => {
                    metrics.control_connections_rejected.inc();
                    connections.spawn(turn_away(stream));
                    // Even those who are turned away are not let wait in a crowd.
                    if connections.len() > 2 * settings.connections {
                        connections.join_next().await;
                    }
                }
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&desk), settings.timeout));
                }
                Err(fault) => {
                    tracing::debug!(%fault, "a connection to the control socket cannot be accepted");
                    tokio::time::sleep(PAUSE_AFTER_FAULT).await;
                }
            },
        }
    }
}

type Lines = Framed<UnixStream, LinesCodec>;

async fn turn_away(stream: UnixStream) {
    let mut lines = Framed::new(stream, LinesCodec::new());
    let full = Answer::refused_for(
        Reason::Overloaded,
        "as many connections as control.connections allows are open; try again",
    );
    let _ = tokio::time::timeout(PAUSE_AFTER_FAULT, send(&mut lines, &full)).await;
}

/// Answers one line after the other, until the client goes away or takes too long.
async fn converse(stream: UnixStream, desk: Arc<Desk>, timeout: Duration) {
    let user = stream.peer_cred().ok().map(|peer| peer.uid());
    let by = Actor::User(user);
    let mut transfers = Transfers::new(by.clone());
    let mut lines: Lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    while let Ok(Some(line)) = tokio::time::timeout(timeout, lines.next()).await {
        let request = match line {
            Ok(line) => serde_json::from_str(&line).map_err(|fault| fault.to_string()),
            Err(LinesCodecError::MaxLineLengthExceeded) => {
                let refusal = Answer::refused(format!("a request has at most {MAX_LINE} bytes"));
                let _ = tokio::time::timeout(timeout, send(&mut lines, &refusal)).await;
                return;
            }
            Err(LinesCodecError::Io(_)) => return,
        };
        let answer = match request {
            Ok(request) => {
                let part = Part::of(&request);
                let answer = desk.act(&by, request).await;
                transfers.note(part, &answer);
                answer
            }
            Err(fault) => Answer::refused(format!(
                "no request that this version of capsd knows: {fault}"
            )),
        };
        match tokio::time::timeout(timeout, send(&mut lines, &answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn send(lines: &mut Lines, answer: &Answer) -> Result<(), LinesCodecError> {
    let line = serde_json::to_string(answer).map_err(io::Error::other)?;
    lines.send(line).await
}

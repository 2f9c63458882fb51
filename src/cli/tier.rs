//! The learned tier for a command: that of the daemon which runs, through its control socket, or the store itself where none does.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Exit, Failure};
use crate::caps::{Policy, Reason};
use crate::config::{self, Config, DEFAULT_PATH, Log, LogFormat, LogLevel};
use crate::control::Request;
use crate::control::client::{Client, ClientFault};
use crate::control::desk;
use crate::control::protocol::{Answer, Content, Item, Judged, Status};
use crate::daemon;
use crate::metrics::Metrics;
use crate::store::{Store, StoreRefusal, StoreState};
use crate::trace;
use crate::trusted::Overrides;

/// Where the daemon or its store is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// The configuration file; it names the control socket of the daemon and, where none runs, the store
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,

    /// The control socket of a daemon that runs; the configuration is not read then
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

/// The learned tier.
pub(super) enum Tier {
    /// Of a daemon.
    Running(Client),
    /// Of nobody else.
    Stopped(Box<Stopped>),
}

/// A store that was opened for a command.
pub(super) struct Stopped {
    store: Store,
    policy: Policy,
    overrides: Arc<Overrides>,
}

fn usage(message: String) -> Failure {
    Failure {
        message,
        exit: Exit::Usage,
    }
}

/// What a fault of the conversation means for a command.
pub(super) fn failed(fault: &ClientFault) -> Failure {
    let exit = match fault {
        ClientFault::NoDaemon { .. } | ClientFault::Lost { .. } => Exit::NoDaemon,
        ClientFault::Forbidden { .. } => Exit::Usage,
        ClientFault::Refused { reason, .. } => exit_of(*reason),
        ClientFault::Unexpected => Exit::Bug,
    };
    Failure {
        message: fault.to_string(),
        exit,
    }
}

/// How a command ends that was refused for that reason.
fn exit_of(reason: Option<Reason>) -> Exit {
    match reason {
        // The disk does not take it, or it makes no sense.
        None => Exit::Usage,
        Some(
            Reason::MalformedNode
            | Reason::UnsupportedAlgorithm
            | Reason::Legacy
            | Reason::TooLarge
            | Reason::Forbidden,
        ) => Exit::Usage,
        // The daemon has no time.
        Some(Reason::Overloaded | Reason::RateLimited) => Exit::NoDaemon,
        Some(
            Reason::Unknown
            | Reason::Unreachable
            | Reason::Mismatch
            | Reason::IllFormed
            | Reason::Ambiguous
            | Reason::Timeout
            | Reason::Denied,
        ) => Exit::No,
    }
}

pub(super) fn unexpected() -> Failure {
    failed(&ClientFault::Unexpected)
}

impl Place {
    /// The daemon; where none answers, the exit code is 4.
    pub(super) fn daemon(&self) -> Result<Client, Failure> {
        let found = match &self.socket {
            Some(socket) => Client::connect(socket),
            None => Client::connect(&self.control_socket()?),
        };
        found.map_err(|fault| {
            let mut failure = failed(&fault);
            if matches!(fault, ClientFault::NoDaemon { .. }) {
                failure.message += ". Start it (`capsd run`), or name its socket with --socket; one that was started with another control.socket \
                                    in the configuration is at that one until it is restarted";
            }
            failure
        })
    }

    /// The learned tier, whoever has it. Without a daemon the store is opened; `make` says that it may be made.
    pub(super) fn open(&self, make: bool) -> Result<Tier, Failure> {
        if self.socket.is_some() {
            return self.daemon().map(Tier::Running);
        }
        let config = self.read()?;
        match Client::connect(&config.control.socket) {
            Ok(client) => Tier::running(client, &config),
            Err(fault @ ClientFault::NoDaemon { .. }) => {
                Stopped::open(&config, make, &fault).map(|stopped| Tier::Stopped(Box::new(stopped)))
            }
            Err(fault) => Err(failed(&fault)),
        }
    }

    /// The socket that the configuration names, even if there is something else in it that is wrong: the daemon runs with an older one.
    fn control_socket(&self) -> Result<PathBuf, Failure> {
        match self.read() {
            Ok(config) => Ok(config.control.socket),
            Err(failure) => config::control_socket(&self.config).ok_or(failure),
        }
    }

    /// Without the secrets: no link is opened here, and they are root's where the package put them.
    fn read(&self) -> Result<Config, Failure> {
        Config::load_without_secrets(&self.config).map_err(|faults| {
            usage(format!(
                "{faults}\n\nhint: a daemon that runs can be spoken to without its configuration: --socket SOCKET"
            ))
        })
    }
}

impl Stopped {
    fn open(config: &Config, make: bool, nobody: &ClientFault) -> Result<Stopped, Failure> {
        let path = &config.store.path;
        if !make && !path.exists() {
            return Err(usage(format!(
                "there is no store at {}. Name another configuration with --config",
                path.display()
            )));
        }
        check_owner(path)?;
        let overrides = daemon::trust::overrides(&config.trusted);
        let overrides = overrides.map_err(|faults| usage(faults.to_string()))?;
        // What the store has to say while it is open: only what somebody must attend to.
        let log = Log {
            format: LogFormat::Text,
            level: LogLevel::Warn,
        };
        trace::start(&log).map_err(|fault| usage(fault.to_string()))?;
        let metrics = Metrics::new().map_err(|fault| Failure {
            message: fault.to_string(),
            exit: Exit::Bug,
        })?;
        let settings = daemon::store_settings(config);
        let policy = settings.policy.clone();
        let store = Store::open(
            settings,
            Arc::new(metrics),
            Instant::now(),
            SystemTime::now(),
        );
        let store = store.map_err(|refusal| refused(&refusal, nobody))?;
        match store.state() {
            StoreState::Disk => Ok(Stopped {
                store,
                policy,
                overrides,
            }),
            StoreState::MemoryOnly { cause, .. } => Err(on_no_disk(path, &cause)),
        }
    }
}

fn refused(refusal: &StoreRefusal, nobody: &ClientFault) -> Failure {
    let message = match refusal {
        StoreRefusal::InUse { .. } => format!(
            "{refusal}. If it is a daemon, name its control socket in the configuration or with --socket: {nobody}"
        ),
        _ => refusal.to_string(),
    };
    let exit = match refusal.exit_code() {
        3 => Exit::Store,
        _ => Exit::Usage,
    };
    Failure { message, exit }
}

fn on_no_disk(path: &Path, cause: &str) -> Failure {
    usage(format!(
        "the store {} cannot be used: {cause}. Mend that and run this again: what is there already is kept",
        path.display()
    ))
}

/// What somebody else makes in the store of a user, root above all, that user's daemon cannot open.
fn check_owner(path: &Path) -> Result<(), Failure> {
    let own = rustix::process::geteuid();
    match fs::metadata(path) {
        Ok(found) if found.uid() != own.as_raw() => Err(usage(format!(
            "the store {} belongs to user {}, and what another one writes there its daemon could not read. Run this as that \
             user (`runuser -u USER -- capsd …`), or start the daemon first",
            path.display(),
            found.uid()
        ))),
        _ => Ok(()),
    }
}

impl Tier {
    fn running(mut client: Client, config: &Config) -> Result<Tier, Failure> {
        let status = status(&mut client)?;
        if Path::new(&status.store) != config.store.path {
            return Err(usage(format!(
                "the daemon at {} keeps its store in {}, and the configuration says {}. Give each daemon its own \
                 control.socket",
                config.control.socket.display(),
                status.store,
                config.store.path.display()
            )));
        }
        Ok(Tier::Running(client))
    }

    /// How many contents there are.
    pub(super) fn entries(&mut self) -> Result<u64, Failure> {
        match self {
            Tier::Running(client) => status(client).map(|status| status.entries),
            Tier::Stopped(stopped) => Ok(stopped.store.entries()),
        }
    }

    /// Verifies contents and takes them in; what came of each.
    pub(super) fn import(&mut self, items: Vec<Item>) -> Result<Vec<Judged>, Failure> {
        let given = items.len();
        let answer = match self {
            Tier::Running(client) => client
                .ask(&Request::Import { items })
                .map_err(|fault| failed(&fault))?,
            Tier::Stopped(stopped) => stopped.import(&items),
        };
        match self.checked(answer)? {
            Answer::Judged { judged } if judged.len() == given => Ok(judged),
            _ => Err(unexpected()),
        }
    }

    /// Some entries from there on, and where to go on.
    pub(super) fn page(
        &mut self,
        from: Option<String>,
    ) -> Result<(Vec<Content>, Option<String>), Failure> {
        let answer = match self {
            Tier::Running(client) => client
                .ask(&Request::Entries { from })
                .map_err(|fault| failed(&fault))?,
            Tier::Stopped(stopped) => {
                let overrides = &stopped.overrides;
                desk::entries(&mut stopped.store, overrides, from.as_deref(), desk::PAGE)
            }
        };
        match self.checked(answer)? {
            Answer::Entries { entries, next } => Ok((entries, next)),
            _ => Err(unexpected()),
        }
    }

    /// Makes durable what was taken in.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let answer = match self {
            Tier::Running(client) => client.ask(&Request::Sync).map_err(|fault| failed(&fault))?,
            Tier::Stopped(stopped) => desk::sync(&mut stopped.store),
        };
        match self.checked(answer)? {
            Answer::Synced => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn checked(&self, answer: Answer) -> Result<Answer, Failure> {
        match answer {
            Answer::Refused { reason, message } => Err(Failure {
                message,
                exit: exit_of(reason.as_deref().and_then(Reason::from_word)),
            }),
            answer => Ok(answer),
        }
    }

    /// Lets go of it.
    pub(super) fn close(self) {
        if let Tier::Stopped(stopped) = self {
            stopped.store.close();
        }
    }
}

impl Stopped {
    fn import(&mut self, items: &[Item]) -> Answer {
        let answer = match desk::check_all(items, &self.policy) {
            Ok(checked) => desk::take_in(&mut self.store, &self.overrides, None, checked),
            Err(refused) => refused,
        };
        self.store.tick(Instant::now());
        match self.store.state() {
            StoreState::Disk => answer,
            // Without a disk there is nothing that it could be taken into.
            StoreState::MemoryOnly { .. } => desk::sync(&mut self.store),
        }
    }
}

/// How the daemon is.
pub(super) fn status(client: &mut Client) -> Result<Status, Failure> {
    match client
        .ask(&Request::Status)
        .map_err(|fault| failed(&fault))?
    {
        Answer::Status(status) => Ok(*status),
        _ => Err(unexpected()),
    }
}

/// Asks the daemon for something else.
pub(super) fn ask(client: &mut Client, request: &Request) -> Result<Answer, Failure> {
    client.ask(request).map_err(|fault| failed(&fault))
}

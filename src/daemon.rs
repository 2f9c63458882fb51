//! The process: everything is opened, started, watched and ended here.
//!
//! What can be refused is refused before anything is started: the configuration first, then the overrides, the store, and the HTTP port.
//! From then on nothing ends the process but a signal. At the end, requests are told to come back later, whoever waits is told, the store is
//! flushed, and the streams are closed, all within [`END`].

pub mod notify;
pub mod reload;
pub mod trust;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::component::session::Credentials;
use crate::component::{self, Link};
use crate::config::{self, Config};
use crate::control::act::{Process, Surroundings};
use crate::control::adhoc::AdHoc;
use crate::control::server::{self, ControlSocket, Desk, SocketFault};
use crate::history::{self, History};
use crate::holders::LinkId;
use crate::http::{self, Readiness, Sources};
use crate::metrics::Metrics;
use crate::population::{self, Census};
use crate::resolver::tiers::Below;
use crate::resolver::{Resolver, flights, limits};
use crate::service::own::Contacts;
use crate::service::{self, LinkWatcher, Links, Service, ServiceHandler};
use crate::stanza::read::MAX_KEYS;
use crate::store::{Store, StoreRefusal, StoreSettings, StoreState};
use crate::trusted::Overrides;
use crate::trusted::orders::Orders;
use reload::{Load, Reload};
use trust::Trust;

/// How long the end may take.
pub const END: Duration = Duration::from_secs(5);

/// How long requests are still told to come back later after the end was asked for. Clients that ask in this time learn at once
/// what they would otherwise wait for in vain.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long the closing of streams may take.
const CLOSING: Duration = Duration::from_millis(1500);

/// How often quotas are swept.
const SWEEP: Duration = Duration::from_secs(60);

/// Why the daemon did not start, or ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store refused.
    #[error("{0}")]
    Store(#[from] StoreRefusal),
    /// The HTTP port cannot be had.
    #[error(
        "http.listen: {address} cannot be listened on: {error}\n\nhint: {}",
        remedy(error)
    )]
    Http {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The control socket cannot be had, although the configuration names one.
    #[error("{0}")]
    Control(#[from] SocketFault),
    /// The operating system refused something that it does not refuse.
    #[error("the operating system refused {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// A metric was registered twice, which is a bug.
    #[error("a metric cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop what listens there, or choose another address or port; under systemd capsd is started again until it is free"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address. If it comes later (a VPN, IPv6), systemd starts capsd again until it is there; \
             else choose one that `ip address` lists"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege that capsd does not have: choose a higher one"
        }
        _ => "choose another address or port",
    }
}

/// Whether listening failed for something that may be otherwise in a moment, without a change of the configuration.
pub fn may_pass(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// Runs the daemon until a signal ends it. `overrides` are those of the operator's file; `reload` reads both again.
///
/// # Errors
/// What keeps it from starting; nothing was started then.
pub fn run(config: &Config, overrides: Arc<Overrides>, reload: Load) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("a runtime"))?;
    let ended = runtime.block_on(serve(config, overrides, reload));
    // Nothing that still runs may hold up the end; the store is closed already.
    runtime.shutdown_background();
    ended
}

struct Watcher(Arc<Readiness>);

impl LinkWatcher for Watcher {
    fn up(&self, link: LinkId) {
        self.0.link_up(usize::from(link.0));
    }

    fn down(&self, link: LinkId, cause: &str) {
        self.0.link_down(usize::from(link.0), cause);
    }
}

/// The clock: that of the runtime's timers, so that both agree when time is paused in tests.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct Daemon {
    resolver: Arc<Resolver>,
    reload: Arc<Reload>,
    service: Arc<Service>,
    links: Arc<Links>,
}

async fn serve(config: &Config, by_file: Arc<Overrides>, reload: Load) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(system("signal handlers"))?;
    let metrics = Arc::new(Metrics::new()?);
    let names = config.components.iter().map(|c| c.name.clone());
    let readiness = Arc::new(Readiness::new(names, metrics.ready.clone()));
    let (below, standing) = open_tiers(config, by_file, &metrics, &readiness)?;
    metrics.configuration_was_read(SystemTime::now());
    let listener = TcpListener::bind(config.http.listen).await;
    let listener = listener.map_err(|error| StartError::Http {
        address: config.http.listen,
        error,
    })?;
    let address = listener.local_addr().unwrap_or(config.http.listen);
    tracing::info!(%address, "HTTP: /, /api/v1, /metrics, /healthz, /readyz");
    let control = control_socket(&config.control)?;
    let daemon = Daemon::start(config, (below, standing), &metrics, &readiness, reload)?;
    let desk = daemon.desk(config, &readiness, address);
    let census = Census::new(
        population_settings(&config.population),
        Arc::clone(&metrics),
    );
    let census = Arc::new(census);
    let ended = CancellationToken::new();
    let history = Arc::new(History::new(Arc::clone(&metrics), clock()));
    let sources = Sources {
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        desk: Arc::clone(&desk),
        history: Arc::clone(&history),
        census: Arc::clone(&census),
    };
    let http = http::serve(
        listener,
        sources,
        config.http.clone(),
        ended.clone().cancelled_owned(),
    );
    let http = tokio::spawn(http);
    daemon
        .service
        .connect(Arc::new(AdHoc::new(Arc::clone(&desk))));
    let control = control.map(|socket| {
        let settings = config.control.clone();
        let ended = ended.clone().cancelled_owned();
        let metrics = Arc::clone(&metrics);
        tokio::spawn(server::serve(socket, desk, settings, metrics, ended))
    });
    let close = CancellationToken::new();
    let links: Vec<_> = daemon
        .links
        .0
        .iter()
        .map(|link| daemon.open(link, &close))
        .collect();
    let timers = {
        let resolver = Arc::clone(&daemon.resolver);
        tokio::spawn(async move { resolver.run_timers(clock).await })
    };
    let counting = {
        let resolver = Arc::clone(&daemon.resolver);
        tokio::spawn(async move { census.run(&resolver, clock).await })
    };
    let manager = notify::run(Arc::clone(&readiness), Arc::clone(&daemon.resolver));
    tokio::spawn(manager);
    let mut sweep = tokio::time::interval(SWEEP);
    let mut tick = tokio::time::interval(history::TICK);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                notify::reloading();
                // What came of it stands in the log.
                drop(daemon.reload.reload());
                notify::ready(&readiness);
            }
            _ = sweep.tick() => daemon.service.sweep(),
            _ = tick.tick() => history.observe(clock()),
        }
    }
    notify::stopping();
    tracing::info!("ending: requests are told to come back later, the store is flushed");
    let orderly = daemon.end(links, &close);
    let end = tokio::select! {
        end = tokio::time::timeout(END, orderly) => end.is_ok(),
        () = signals.end() => false,
    };
    timers.abort();
    counting.abort();
    ended.cancel();
    http.abort();
    if let Some(control) = control {
        // The socket is removed with it.
        let _ = control.await;
    }
    if end {
        tracing::info!("ended");
    } else {
        tracing::warn!("ended in haste; what was learned last may be asked for again");
    }
    Ok(())
}

/// What the operator's file of overrides says, and what he ordered besides.
type Standing = (Arc<Overrides>, Orders);

fn open_tiers(
    config: &Config,
    by_file: Arc<Overrides>,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
) -> Result<(Below, Standing), StartError> {
    let settings = store_settings(config);
    let orders = trust::orders(&config.store.path);
    let overrides = Arc::new(by_file.with(&orders));
    overrides.announce();
    let store = Store::open(settings, Arc::clone(metrics), clock(), SystemTime::now())?;
    let readiness = Arc::clone(readiness);
    let watcher = Box::new(move |state: &StoreState| match state {
        StoreState::Disk => readiness.store_on_disk(),
        StoreState::MemoryOnly { cause, .. } => readiness.store_in_memory(cause),
    });
    watcher(&store.state());
    let below = Below {
        store,
        trusted: None,
        overrides,
        watcher,
    };
    Ok((below, (by_file, orders)))
}

/// The control socket. Where it cannot be made at the place where packages put it, capsd goes on without it: it may have been started
/// by hand.
fn control_socket(settings: &config::Control) -> Result<Option<ControlSocket>, SocketFault> {
    match ControlSocket::bind(&settings.socket) {
        Ok(socket) => Ok(Some(socket)),
        Err(fault) if settings.is_default() => {
            tracing::warn!(
                "there is no control socket, so commands cannot speak to this daemon. {fault}"
            );
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// How the configuration says that the learned tier is opened, by a daemon or by a command.
pub fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        flush_interval: config.store.flush_interval,
        max_entries: config.store.max_entries as u64,
        max_bytes: config.store.max_bytes,
        cache_bytes: config.store.cache,
        max_waste: config.store.max_waste,
        policy: policy(config),
        ..StoreSettings::new(config.store.path.clone())
    }
}

/// The rules that the configuration sets for what strangers teach.
pub fn policy(config: &Config) -> crate::caps::Policy {
    crate::caps::Policy {
        allow_md5: config.limits.allow_md5,
        max_bytes: usize::try_from(config.limits.max_disco_bytes).unwrap_or(usize::MAX),
        max_features: config.limits.max_features,
        ..crate::caps::Policy::default()
    }
}

/// With room for one whole batch at once.
fn batch_rate(of: config::Rate) -> limits::Rate {
    let limits::Rate { interval, burst } = of.into();
    let whole = u32::try_from(MAX_KEYS).unwrap_or(u32::MAX);
    let burst = burst.max(NonZeroU32::new(whole).unwrap_or(burst));
    limits::Rate { interval, burst }
}

/// How a component of the configuration is set up. One that was read without its secret has an empty one, which no server accepts.
pub fn link_settings(config: &Config, component: &config::Component) -> component::Settings {
    component::Settings {
        credentials: Credentials {
            jid: component.jid.to_string(),
            secret: component
                .secret
                .as_ref()
                .map_or_else(String::new, |secret| secret.expose().to_owned()),
        },
        server: component.server.to_string(),
        domains: component.domains.iter().map(ToString::to_string).collect(),
        admins: component.admins.iter().map(ToString::to_string).collect(),
        feeds: component.feeds.iter().map(ToString::to_string).collect(),
        queue_bytes: usize::try_from(config.limits.link_queue_bytes).unwrap_or(usize::MAX),
    }
}

fn population_settings(config: &config::Population) -> population::Settings {
    population::Settings {
        features: config.features.clone(),
        clients: config.clients,
        kinds: config.kinds,
    }
}

/// The contact addresses, by their fields in XEP-0157.
fn contacts(contact: &config::Contact) -> Contacts {
    [
        ("abuse-addresses", &contact.abuse),
        ("admin-addresses", &contact.admin),
        ("feedback-addresses", &contact.feedback),
        ("sales-addresses", &contact.sales),
        ("security-addresses", &contact.security),
        ("status-addresses", &contact.status),
        ("support-addresses", &contact.support),
    ]
    .into_iter()
    .map(|(var, values)| (var.to_owned(), values.clone()))
    .collect()
}

impl Daemon {
    fn start(
        config: &Config,
        (below, (by_file, orders)): (Below, Standing),
        metrics: &Arc<Metrics>,
        readiness: &Arc<Readiness>,
        load: Load,
    ) -> Result<Daemon, StartError> {
        let mut links = Vec::with_capacity(config.components.len());
        for (place, component) in config.components.iter().enumerate() {
            // The configuration allows 16 at the most.
            let id = LinkId(u16::try_from(place).unwrap_or(u16::MAX));
            let counted = metrics.component(&component.name)?;
            links.push(Arc::new(Link::new(
                id,
                link_settings(config, component),
                counted,
            )));
        }
        let links = Arc::new(Links(links));
        let resolver = Resolver::start(
            flights::Settings::of(config),
            policy(config),
            config.hot.max_bytes,
            links.0.len(),
            below,
            Arc::clone(metrics),
            Instant::now,
        )
        .map_err(system("a thread"))?;
        resolver.connect(Arc::clone(&links) as Arc<dyn crate::resolver::Upstream>);
        let store = &config.store.path;
        let trust = Trust::start(
            &resolver,
            Arc::clone(metrics),
            Arc::clone(&by_file),
            orders,
            store,
        );
        let trust = Arc::new(trust.map_err(system("a thread"))?);
        trust.read(trust::sources(&config.trusted), by_file);
        let settings = service::Settings {
            allow_md5: config.limits.allow_md5,
            queries_per_asker: config.limits.queries_per_asker.into(),
            batch_keys_per_asker: batch_rate(config.limits.batch_keys_per_asker),
            batch_bytes: config.limits.batch_bytes as usize,
            waiting_batch_bytes: config.limits.waiting_batch_bytes as usize,
            max_subscribers: config.limits.subscribers,
            wall_clock: SystemTime::now,
        };
        let service = Arc::new(Service::new(
            settings,
            &contacts(&config.contact),
            Arc::clone(&resolver),
            Arc::new(Watcher(Arc::clone(readiness))),
            links.0.len(),
            Arc::clone(metrics),
            clock(),
        ));
        let reload = Arc::new(Reload {
            load,
            in_force: Mutex::new(config.clone()),
            trust,
            resolver: Arc::clone(&resolver),
            service: Arc::clone(&service),
            links: Arc::clone(&links),
            metrics: Arc::clone(metrics),
        });
        Ok(Daemon {
            resolver,
            reload,
            service,
            links,
        })
    }

    /// Where requests are carried out, whoever they come from.
    fn desk(&self, config: &Config, readiness: &Arc<Readiness>, http: SocketAddr) -> Arc<Desk> {
        Arc::new(Desk {
            resolver: Arc::clone(&self.resolver),
            policy: policy(config),
            store: config.store.path.clone(),
            clock,
            around: Surroundings {
                process: Arc::clone(&self.reload) as Arc<dyn Process>,
                links: Arc::clone(&self.links),
                readiness: Arc::clone(readiness),
                metrics: Arc::clone(&self.reload.metrics),
                started: clock(),
                http: http.to_string(),
            },
        })
    }

    fn open(&self, link: &Arc<Link>, close: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let handler = Arc::new(ServiceHandler(Arc::clone(&self.service)));
        let (link, close) = (Arc::clone(link), close.clone());
        tokio::spawn(async move {
            // A panic would be a bug of ours; it must cost one stream, not the service.
            while !close.is_cancelled() {
                let running = component::run(
                    Arc::clone(&link),
                    Arc::clone(&handler) as Arc<dyn component::LinkHandler>,
                    clock,
                    close.clone(),
                );
                if let Err(fault) = tokio::spawn(running).await {
                    tracing::error!(
                        component = link.jid(),
                        %fault,
                        "a bug ended the stream; it is opened again. Next step: report it with the lines before this one"
                    );
                    link.outbox.close();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        })
    }

    async fn end(&self, links: Vec<tokio::task::JoinHandle<()>>, close: &CancellationToken) {
        self.service.stop(clock(), &self.links);
        tokio::join!(self.resolver.close(), tokio::time::sleep(FAREWELL));
        close.cancel();
        let closed = futures::future::join_all(links);
        // A server that does not take our last bytes cannot hold us.
        let _ = tokio::time::timeout(CLOSING, closed).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! The pauses between streams, with paused time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capsd::component::session::Credentials;
use capsd::component::{Link, LinkHandler, Settings, run_over};
use capsd::holders::LinkId;
use capsd::metrics::{ConnectResult, Metrics};
use capsd::stanza::Inbound;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use crate::server::{COMPONENT, HEADER, SECRET, Server};
use crate::session::clock;

/// The ups and downs of a link.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(Instant, String)>>);

impl LinkHandler for Log {
    fn up(&self, now: Instant, _: &Arc<Link>) {
        self.0.lock().unwrap().push((now, "up".to_owned()));
    }

    fn stanza(&self, _: Instant, _: &Arc<Link>, _: Inbound) {}

    fn down(&self, now: Instant, _: &Arc<Link>, cause: &str) {
        self.0.lock().unwrap().push((now, cause.to_owned()));
    }
}

type Connecting = Pin<
    Box<dyn Future<Output = io::Result<(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>)>> + Send>,
>;

/// What a server does with one connection.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a link for a while against a server that treats each connection so; the ups and downs.
async fn run_for(
    time: Duration,
    serve: impl Fn(Server<DuplexStream>) -> Serving + Send + 'static,
) -> (Vec<(Instant, String)>, Arc<Link>) {
    let (log, link) = run_connecting(time, move || {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(serve(Server::new(far)));
        Box::pin(async { Ok(tokio::io::split(near)) })
    })
    .await;
    (log, link)
}

async fn run_connecting(
    time: Duration,
    connect: impl Fn() -> Connecting + Send + 'static,
) -> (Vec<(Instant, String)>, Arc<Link>) {
    let settings = Settings {
        credentials: Credentials {
            jid: COMPONENT.to_owned(),
            secret: SECRET.to_owned(),
        },
        server: "127.0.0.1:5347".to_owned(),
        domains: vec!["example.org".to_owned()],
        admins: vec!["admin@example.org".to_owned()],
        feeds: Vec::new(),
        queue_bytes: 1 << 20,
    };
    let metrics = Metrics::new().unwrap().component(COMPONENT).unwrap();
    let link = Arc::new(Link::new(LinkId(0), settings, metrics));
    let log = Arc::new(Log::default());
    let close = CancellationToken::new();
    let running = tokio::spawn({
        let (link, log, close) = (Arc::clone(&link), Arc::clone(&log), close.clone());
        async move { run_over(link, log, connect, clock, close).await }
    });
    tokio::time::sleep(time).await;
    let events = log.0.lock().unwrap().clone();
    close.cancel();
    tokio::time::timeout(Duration::from_secs(2), running)
        .await
        .expect("it does not end")
        .unwrap();
    (events, link)
}

/// The times between downs.
fn pauses(log: &[(Instant, String)]) -> Vec<Duration> {
    let downs: Vec<Instant> = log
        .iter()
        .filter(|(_, event)| event != "up")
        .map(|(at, _)| *at)
        .collect();
    downs.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn refuse_with(
    condition: &'static str,
) -> impl Fn(Server<DuplexStream>) -> Serving + Send + 'static {
    move |mut server| {
        Box::pin(async move {
            server.take_header().await;
            server.send(HEADER).await;
            server.next().await;
            let error = format!(
                "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
            );
            server.send(&error).await;
        })
    }
}

/// Every pause is within the bound, none is shorter than the shortest, and in the end they come near the bound.
fn assert_bounded(log: &[(Instant, String)], bound: Duration, beside: Duration) {
    let pauses = pauses(log);
    assert!(pauses.len() >= 10, "{pauses:?}");
    let shortest = Duration::from_millis(100);
    assert!(
        pauses
            .iter()
            .all(|pause| (shortest..=bound + beside).contains(pause)),
        "{pauses:?}"
    );
    let last = pauses[pauses.len() - 5..].iter().max().unwrap();
    assert!(*last >= bound / 2, "{pauses:?}");
    assert!(
        pauses[0] <= Duration::from_millis(500) + beside,
        "{pauses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_waited_for() {
    let (log, link) = run_connecting(Duration::from_secs(300), || {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    })
    .await;
    assert_bounded(&log, Duration::from_secs(5), Duration::ZERO);
    assert!(log[0].1.starts_with("network: "), "{}", log[0].1);
    assert!(log[0].1.contains("127.0.0.1:5347"), "{}", log[0].1);
    let failed = link.metrics.connects.get(ConnectResult::Error).get();
    assert!(failed as usize >= log.len(), "{failed}");
    assert_eq!(link.metrics.up.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_accept_is_given_up() {
    let (log, _) = run_connecting(
        Duration::from_secs(300),
        || Box::pin(std::future::pending()),
    )
    .await;
    assert_bounded(&log, Duration::from_secs(5), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_has_to_mend_is_tried_seldom() {
    for (condition, word, counted) in [
        ("not-authorized", "wrong secret: ", ConnectResult::Auth),
        ("host-unknown", "unknown host: ", ConnectResult::HostUnknown),
    ] {
        let (log, link) = run_for(Duration::from_secs(3600), refuse_with(condition)).await;
        assert_bounded(&log, Duration::from_secs(60), Duration::ZERO);
        assert!(
            log.iter().all(|(_, cause)| cause.starts_with(word)),
            "{log:?}"
        );
        assert!(log[0].1.contains("Next step: "), "{}", log[0].1);
        assert!(log[0].1.contains(COMPONENT), "{}", log[0].1);
        assert!(!log[0].1.contains(SECRET), "{}", log[0].1);
        assert!(link.metrics.connects.get(counted).get() as usize >= log.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_soon() {
    let (log, link) = run_for(Duration::from_secs(300), refuse_with("conflict")).await;
    assert_bounded(&log, Duration::from_secs(5), Duration::ZERO);
    assert!(
        log.iter().all(|(_, cause)| cause.starts_with("conflict: ")),
        "{log:?}"
    );
    assert!(link.metrics.connects.get(ConnectResult::Conflict).get() as usize >= log.len());
}

/// A link that comes up and breaks at once, again and again, is not tried in a tight loop.
#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_at_once_is_tried_ever_more_seldom() {
    let (log, _) = run_for(Duration::from_secs(300), |server| {
        Box::pin(async move {
            drop(Server::accept(server.io).await);
        })
    })
    .await;
    assert_bounded(&log, Duration::from_secs(5), Duration::ZERO);
    assert_eq!(log[0].1, "up");
}

/// A link that held is opened again at once, however often it was tried before.
#[tokio::test(start_paused = true)]
async fn a_link_that_held_is_opened_again_at_once() {
    let began = clock();
    let (log, link) = run_for(Duration::from_secs(600), move |mut server| {
        Box::pin(async move {
            if clock() - began < Duration::from_secs(100) {
                return;
            }
            server = Server::accept(server.io).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(server);
        })
    })
    .await;
    let ups: Vec<usize> = (0..log.len()).filter(|n| log[*n].1 == "up").collect();
    assert!(ups.len() >= 10, "{log:?}");
    for up in &ups[1..] {
        let pause = log[*up].0 - log[up - 1].0;
        assert!(pause <= Duration::from_millis(200), "{pause:?}");
    }
    assert!(link.metrics.connects.get(ConnectResult::Ok).get() as usize >= ups.len());
}

/// A conflict with another instance that takes the name again and again: both are told, and neither spins.
#[tokio::test(start_paused = true)]
async fn a_conflict_after_a_while_is_no_loop() {
    let (log, _) = run_for(Duration::from_secs(300), |server| {
        Box::pin(async move {
            let mut server = Server::accept(server.io).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            server
                .send(
                    "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
                )
                .await;
        })
    })
    .await;
    assert_bounded(&log, Duration::from_secs(5), Duration::from_secs(1));
    assert!(
        log.iter()
            .all(|(_, e)| e == "up" || e.starts_with("conflict: ")),
        "{log:?}"
    );
}
